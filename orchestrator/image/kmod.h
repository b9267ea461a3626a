/* SPDX-License-Identifier: MIT */
/* Kernel modules of an unpacked kernel: which files a guest needs, and in which order to load them.
 *
 * Debian's package carries no modules.dep (its postinst makes one), so the dependencies are read where depmod reads
 * them: from each module's .modinfo section.  Modules come as .ko, .ko.xz (Debian 13), .ko.zst (Ubuntu) or .ko.gz;
 * what leaves here is always the plain ELF file, since busybox's insmod and small kernels cannot all decompress.
 *
 * Names are compared with '-' and '_' taken as the same, as everywhere in Linux.
 *
 * Trust: the modules come from a package that apt verified, or from this host; the ELF reader still checks every
 * offset, because a truncated file must be an error and not a crash. */
#ifndef ORCHESTRATOR_IMAGE_KMOD_H
#define ORCHESTRATOR_IMAGE_KMOD_H

#include <glib.h>

struct kmod {
	char *name;    /* "virtio_net" */
	GBytes *bytes; /* the ELF file */
};

/* Find WANTED and everything that it depends on below DIR (a /lib/modules/VERSION directory).
 * A name followed by '?' may be missing.  Modules compiled into the kernel (modules.builtin) are left out silently.
 * *ret_modules: array of struct kmod in loading order, each once; free with g_ptr_array_unref().
 * Errors: ORCH_ERROR_HOST_UNFIT, a needed module is missing; ORCH_ERROR_FAILED, one cannot be read. */
gboolean kmod_collect(const char *dir, const char *const *wanted, GPtrArray **ret_modules,
		      GError **error);

/* The names in "depends=" of a module's .modinfo: the module loads after them.  Pure.  Errors: not a 64-bit
 * little-endian ELF file, or damaged.  Free with g_strfreev(). */
gboolean kmod_depends(GBytes *elf, char ***ret_names, GError **error);

#endif
