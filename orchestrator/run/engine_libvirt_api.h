/* SPDX-License-Identifier: MIT */
/* libvirt, loaded by the first lab that runs on it.
 *
 * Linked, it and the 55 libraries behind it would take 70 ms of the start of every command, most of which have nothing to do
 * with it; loaded, it may be missing from a host whose labs do without.
 *
 * The functions have libvirt's own names and types: vir.virConnectOpen().  A call before libvirt_load() has returned TRUE is a
 * crash.  Every one may block for as long as libvirtd likes: none is called in the main thread but those of the first group.
 *
 * Trust:   libvirtd is the operator's; its words are shown, and cleaned first.
 * Threads: any.
 */
#ifndef RUN_ENGINE_LIBVIRT_API_H
#define RUN_ENGINE_LIBVIRT_API_H

#include <stdbool.h>
#include <glib.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define LIBVIRT_SONAME      "libvirt.so.0"
#define LIBVIRT_QEMU_SONAME "libvirt-qemu.so.0"

#define LIBVIRT_FUNCTIONS(X)                  \
	/* These do not block. */             \
	X(virConnectRef)                      \
	X(virDomainFree)                      \
	X(virDomainGetName)                   \
	X(virEventRegisterDefaultImpl)        \
	X(virFreeError)                       \
	X(virGetLastError)                    \
	X(virInitialize)                      \
	X(virSetErrorFunc)                    \
	/* These do. */                       \
	X(virConnectClose)                    \
	X(virConnectDomainEventDeregisterAny) \
	X(virConnectDomainEventRegisterAny)   \
	X(virConnectGetCapabilities)          \
	X(virConnectGetHostname)              \
	X(virConnectGetLibVersion)            \
	X(virConnectGetVersion)               \
	X(virConnectListAllDomains)           \
	X(virConnectOpen)                     \
	X(virConnectRegisterCloseCallback)    \
	X(virConnectSetKeepAlive)             \
	X(virConnectUnregisterCloseCallback)  \
	X(virDomainCreateWithFlags)           \
	X(virDomainDefineXMLFlags)            \
	X(virDomainDestroyFlags)              \
	X(virDomainGetMetadata)               \
	X(virDomainGetState)                  \
	X(virDomainGetXMLDesc)                \
	X(virDomainHasManagedSaveImage)       \
	X(virDomainIsActive)                  \
	X(virDomainLookupByName)              \
	X(virDomainManagedSaveRemove)         \
	X(virDomainResume)                    \
	X(virDomainShutdownFlags)             \
	X(virDomainSuspend)                   \
	X(virDomainUndefineFlags)

#define LIBVIRT_QEMU_FUNCTIONS(X) X(virDomainQemuMonitorCommand)

struct libvirt_api {
#define X(name) __typeof__(&name) name;
	LIBVIRT_FUNCTIONS(X)
	LIBVIRT_QEMU_FUNCTIONS(X)
#undef X
};
extern struct libvirt_api vir;

/* Load it, once.  ORCH_ERROR_HOST_UNFIT: it is not there. */
gboolean libvirt_load(GError **error);

/* What the last call in this thread complained about, as one clean line; g_free(). */
char *libvirt_words(void);
/* Whether that was because the connection is gone. */
bool libvirt_lost(void);
/* The same as an error of that code behind the formatted text. */
void libvirt_set_error(GError **error, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);

#endif
