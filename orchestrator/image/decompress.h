/* SPDX-License-Identifier: MIT */
/* Whole files and buffers, decompressed in memory by whatever libarchive recognises: gzip, xz, zstd, lz4, or nothing.
 *
 * Trust: bounded.  What unpacks to more than DECOMPRESS_MAX is an error, not an out-of-memory kill. */
#ifndef ORCHESTRATOR_IMAGE_DECOMPRESS_H
#define ORCHESTRATOR_IMAGE_DECOMPRESS_H

#include <glib.h>

#define DECOMPRESS_MAX (256u << 20) /* the largest thing we unpack is a vmlinux, some 50 MiB */

/* NULL with *error set (ORCH_ERROR_FAILED, naming the path; G_FILE_ERROR_NOENT if there is no such file). */
GBytes *decompress_file(const char *path, GError **error);

/* NULL with *error set if BYTES are damaged.  Bytes that are not compressed come back as they are. */
GBytes *decompress_bytes(GBytes *bytes, GError **error);

#endif
