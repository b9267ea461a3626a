/* SPDX-License-Identifier: MIT */
/* The ELF kernel inside an x86 bzImage.
 *
 * QEMU starts a vmlinux with a PVH entry point at once, where a bzImage first decompresses itself: under TCG that is
 * half a second of every boot, paid here once instead. */
#ifndef ORCHESTRATOR_IMAGE_KERNEL_H
#define ORCHESTRATOR_IMAGE_KERNEL_H

#include <glib.h>

/* The vmlinux in BZIMAGE, or NULL if that is no bzImage, is packed in a way libarchive does not know, or its kernel has no
 * PVH entry: then the file serves as it is.  Pure. */
GBytes *kernel_vmlinux(GBytes *bzimage);

#endif
