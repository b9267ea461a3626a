/* SPDX-License-Identifier: MIT */
/* What the QEMU and the daemons of this host can do, as far as rendering a command line depends on it.
 *
 * struct qemu_caps is plain data: render/ takes it as an argument and does no probing; a test fills it by hand.
 * The probing asks the binary itself (QMP's query-command-line-options and device-list-properties, `-machine none`), never its
 * version number alone, and remembers the answer in CACHE_DIR/qemu-caps by path, size and time of the binary.
 *
 * Ownership: every string belongs to its struct. */
#ifndef ORCHESTRATOR_HOST_CAPS_H
#define ORCHESTRATOR_HOST_CAPS_H

#include <stdbool.h>
#include <glib.h>

struct qemu_caps {
	char *arch;    /* "x86_64" */
	char *binary;  /* absolute path */
	char *version; /* "7.2.22" */
	unsigned major, minor, micro;
	bool has_reconnect_ms; /* chardev socket: reconnect-ms=; false: only reconnect= (seconds) */
	bool has_vsock;   /* device vhost-user-vsock-pci; false: VMs of this QEMU have no sockets */
	bool has_hvsock;  /* device vmbus-hvsock: qemu-patches has it */
	bool has_pmem;    /* device virtio-pmem-pci */
	bool has_ivshmem; /* device ivshmem-doorbell */
	bool has_vhost_user_pmem; /* device vhost-user-pmem-pci: qemu-patches has it */
	bool has_fsrs;            /* property of the CPU "max"; 8.1 and newer */
	bool has_vhost_user_device; /* device vhost-user-test-device-pci, for any backend; 11.1 and newer */
	bool kvm_usable; /* accel "auto" becomes kvm; false: tcg.  A fact about the host, not cached */
};

/* Probe the QEMU for ARCH: $ORCHESTRATOR_QEMU, else qemu-system-ARCH in $PATH.
 * CACHE_DIR may be NULL (nothing is remembered).  A cache that cannot be written is no error.
 * Errors: ORCH_ERROR_HOST_UNFIT: no such program, or one that does not answer as QEMU does. */
gboolean qemu_caps_probe(const char *arch, const char *cache_dir, struct qemu_caps **ret_caps,
			 GError **error);

/* The same for a binary that is already known, by its absolute path. */
gboolean qemu_caps_probe_binary(const char *arch, const char *binary, const char *cache_dir,
				struct qemu_caps **ret_caps, GError **error);

/* What is known of a QEMU that cannot be asked, by its version ("10.0.13"): a build that lacks none of the devices that its
 * version has.  KVM: not usable. */
struct qemu_caps *qemu_caps_assume(const char *arch, const char *binary, const char *version);

/* The series of qemu-patches that is meant by "patched". */
#define QEMU_SERIES "10.0"

/* The same for the QEMU that a VM names (struct vm): NULL, the host's; "patched": $ORCHESTRATOR_QEMU, else what qemu-patches/build has
 * made in CACHE_DIR, else an installed one, else the host's, which may have been patched, too; or a path. */
gboolean qemu_caps_probe_named(const char *arch, const char *name, const char *cache_dir,
			       struct qemu_caps **ret_caps, GError **error);

/* QEMUs by their names, each asked once. */
GHashTable *qemu_table_new(void);
/* Borrowed; NULL with *error set. */
const struct qemu_caps *qemu_table_get(GHashTable *table, const char *arch, const char *name,
				       const char *cache_dir, GError **error);
/* One that is in it; NULL: none. */
const struct qemu_caps *qemu_table_find(GHashTable *table, const char *arch, const char *name);
/* Have it asked anew. */
void qemu_table_forget(GHashTable *table, const char *arch, const char *name);
/* caps is taken over. */
void qemu_table_put(GHashTable *table, const char *arch, const char *name, struct qemu_caps *caps);

/* Whether what "patched" means has still to be built. */
bool qemu_patched_is_missing(const char *arch, const char *cache_dir);

/* qemu-patches/build, in the source tree that this program was built in, or installed with it; NULL: it is not here.  g_free(). */
char *host_find_qemu_build(void);

void qemu_caps_free(struct qemu_caps *caps);

/* Find the daemon NAME ("vhost-user-net"): in $ORCHESTRATOR_DAEMON_DIR and nowhere else if that is set; else in the
 * build tree this program runs from (../vhost-user/net/ seen from the directory of /proc/self/exe); else in the
 * installed libexec directory.  *ret_path: g_free().
 * Errors: ORCH_ERROR_HOST_UNFIT, naming every place looked at. */
gboolean host_find_daemon(const char *name, char **ret_path, GError **error);

#endif
