/* SPDX-License-Identifier: MIT */
/* What a libvirt can, as far as rendering a domain depends on it.
 *
 * struct libvirt_caps is plain data: render/ takes it as an argument, a test fills it by hand.  It is asked of the libvirt
 * itself, never of this host's packages: of whoever answers at the URI, by virsh, or by an engine's own connection.  Nothing
 * is remembered: the daemon may be another one a moment later, and asking takes a tenth of a second.
 *
 * Trust:     a libvirt's XML is read with bounds, by glib's own parser; what it does not say counts as lacking.
 * Ownership: every string belongs to its struct.
 */
#ifndef ORCHESTRATOR_HOST_LIBVIRT_CAPS_H
#define ORCHESTRATOR_HOST_LIBVIRT_CAPS_H

#include <glib.h>
#include <stdbool.h>

#include "model/lab.h"

struct libvirt_uri;
struct qemu_caps;

/* Versions as libvirt writes them into one number. */
#define LIBVIRT_VERSION(major, minor, micro) ((major)*1000000ul + (minor)*1000ul + (micro))
/* The oldest one that a rendering is for, and what is assumed where none can be asked. */
#define LIBVIRT_VERSION_MIN LIBVIRT_VERSION(9, 0, 0)

struct libvirt_caps {
	char *uri;
	bool assumed;                   /* nobody was asked */
	bool system;                    /* libvirt_is_system() */
	unsigned long version;          /* the daemon's; LIBVIRT_VERSION() */
	char *qemu_version;             /* of the QEMU it found, "7.2.22"; NULL: not known */
	bool has_pmem;                  /* it starts domains with <memory model='virtio-pmem'> */
	char *emulator[LAB_ARCH_COUNT]; /* the QEMU it runs for that architecture; NULL: none */
	bool has_kvm[LAB_ARCH_COUNT];   /* and whether it runs it under KVM */
	/* "+1000:+64055": the lab's owner and the group of libvirt's QEMUs, whose directories only that group may enter;
	 * NULL: QEMU runs as the lab's owner anyway. */
	char *label;
	gint64 qemu_uid; /* whom QEMUs without a label run as, where that is another user; -1: it is not, or not known */
	bool apparmor, selinux; /* it confines its QEMUs by them */
};

/* Whether it runs QEMUs as a user of its own: /system, and what root on this host calls its session, which is the same. */
bool libvirt_is_system(const struct libvirt_uri *parts);

/* Ask it, by virsh: starts a session's daemon if none runs, as virsh does.  Blocks up to 60 s (a libvirt that sees its
 * QEMUs for the first time asks each of them).  Errors: ORCH_ERROR_USAGE: no such URI; ORCH_ERROR_HOST_UNFIT: there is no
 * virsh, or it does not get through; with the way out. */
gboolean libvirt_caps_probe(const char *uri, struct libvirt_caps **ret_caps, GError **error);

/* What is known without asking: a libvirt of LIBVIRT_VERSION_MIN at that URI (which has no libvirt_uri_fault()), whose QEMU
 * is that of $PATH.  For files that go to another host. */
struct libvirt_caps *libvirt_caps_assume(const char *uri);

/* What a connection to URI said: virConnectGetLibVersion(), virConnectGetVersion() (0: not known) and
 * virConnectGetCapabilities().  No I/O.  NULL, *error set (ORCH_ERROR_HOST_UNFIT): that is no such XML. */
struct libvirt_caps *libvirt_caps_read(const char *uri, unsigned long version,
				       unsigned long qemu_version, const char *capabilities,
				       GError **error);

void libvirt_caps_free(struct libvirt_caps *caps);

/* "9.0.0"; g_free(). */
char *libvirt_version_text(unsigned long version);

/* The QEMU that this libvirt will run for ARCH, as render/ wants to know it: the one that a VM names (struct vm), which is this host's;
 * else (NULL) $ORCHESTRATOR_QEMU where that is set; else libvirt's own.  That one is asked if it is what libvirt says it is, which it is not where libvirt sees another root
 * directory; then its version has to do.  Cached as qemu_caps_probe() does.  Errors: ORCH_ERROR_HOST_UNFIT: libvirt has
 * none for ARCH. */
gboolean libvirt_caps_qemu(const struct libvirt_caps *caps, enum lab_arch arch, const char *named,
			   const char *cache_dir, struct qemu_caps **ret_qemu, GError **error);

#endif
