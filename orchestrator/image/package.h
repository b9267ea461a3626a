/* SPDX-License-Identifier: MIT */
/* The distribution's kernel, asked of apt: which packages hold it, and the packages themselves.
 *
 * Needs no privilege and changes nothing on the host: `apt-cache show` and `apt-get download` only.  Run as root, apt
 * is told to stay root, because its usual user _apt may not write where we want the file. */
#ifndef ORCHESTRATOR_IMAGE_PACKAGE_H
#define ORCHESTRATOR_IMAGE_PACKAGE_H

#include <gio/gio.h>

struct package {
	char *name;    /* "linux-image-6.1.0-56-cloud-amd64" */
	char *version; /* "6.1.192-2" */
	guint64 size;  /* bytes of the .deb; 0: apt does not say */
};

/* Where apt-get and apt-cache are found, as $PATH; NULL: the process's own. */

/* The packages that hold kernel and modules, the kernel's first: what the first of linux-image-cloud-amd64 (Debian),
 * linux-image-virtual (Ubuntu), linux-image-amd64 and linux-image-generic that apt knows leads to; Ubuntu's
 * linux-modules-extra with them, where qemu_fw_cfg is.
 * *ret_packages: array of struct package, never empty; free with g_ptr_array_unref().
 * Errors: ORCH_ERROR_HOST_UNFIT: there is no apt, or it knows none of them (no `apt-get update` yet). */
gboolean package_find_kernel(const char *path, GCancellable *cancellable, GPtrArray **ret_packages,
			     GError **error);

/* Fetch PACKAGES into the existing directory DIR.  TICK gets the bytes there so far, a few times a second.
 * *ret_files: their paths, in no order; free with g_strfreev().
 * Errors: ORCH_ERROR_HOST_UNFIT with apt's own last line (no network, a package gone from the archive); ORCH_ERROR_FAILED. */
gboolean package_download(const char *path, const GPtrArray *packages, const char *dir,
			  void (*tick)(void *data, guint64 done), void *tick_data,
			  GCancellable *cancellable, char ***ret_files, GError **error);

#endif
