/* SPDX-License-Identifier: MIT */
/* The tiny guest: the distribution's own kernel, busybox, the agent, the tool portal(1) and a few modules in one initramfs.
 *
 * Nothing is downloaded but one distribution package (Debian: what linux-image-cloud-amd64 depends on; Ubuntu: what
 * linux-image-virtual depends on, with its modules package), by `apt-get download`, without privilege; it is unpacked
 * with libarchive, never installed.  Where apt cannot help, a kernel installed on this host (/boot/vmlinuz-* with
 * /lib/modules) serves, and the progress callback says so.
 *
 * What such a guest does, the agent being its PID 1 (vhost-lab-agent(8)): loads its modules, reads opt/org.vhost-lab/config from fw_cfg
 * (guest_conf.h), sets hostname, hosts, and each NIC by its MAC, writes "ready 1" to ttyS1, keeps a root shell on ttyS0,
 * and powers off on the ACPI button.
 *
 * The image is content-addressed: the same kernel package, busybox, agent, tool and builder give the same key and the same
 * bytes.  Once built it stays in use until its busybox, agent, tool or this program changes or image_gc() removes it: a new kernel
 * in the archive does not change labs behind their owner's back. */
#ifndef ORCHESTRATOR_IMAGE_TINY_H
#define ORCHESTRATOR_IMAGE_TINY_H

#include <gio/gio.h>
#include "image/image.h"

/* Where a build looks.  Members left NULL mean this host; tests name their own. */
struct tiny_env {
	const char *cache_dir; /* required; created when missing */
	const char *root;      /* prefix of /boot, /lib/modules and /etc/os-release */
	const char *agent;     /* the static program */
	const char *portal;    /* another: the tool portal(1) */
	const char *path;      /* where apt-get, apt-cache and busybox are found, like $PATH */
};

/* The tiny image of this host, built if the cache in CACHE_DIR has none.  A call that finds it takes milliseconds and
 * starts no process; one that builds takes seconds, blocks, and downloads some 30 MB (Ubuntu: 170 MB).  Two builders at a time: the
 * second waits and takes the first one's result.
 * PROGRESS and CANCELLABLE may be NULL.  A cancelled or failed build leaves nothing but the lock file.
 * Errors: ORCH_ERROR_HOST_UNFIT (no static busybox, no agent or tool, no kernel package and none installed, and what to install),
 * ORCH_ERROR_FAILED (disk full, damaged package, …), ORCH_ERROR_INTERRUPTED. */
gboolean tiny_ensure(const char *cache_dir, image_progress_fn *progress, void *data,
		     GCancellable *cancellable, struct image **ret_image, GError **error);

/* The same, in a described environment. */
gboolean tiny_ensure_in(const struct tiny_env *env, image_progress_fn *progress, void *data,
			GCancellable *cancellable, struct image **ret_image, GError **error);

#endif
