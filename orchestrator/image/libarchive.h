/* SPDX-License-Identifier: MIT */
/* libarchive, loaded when an image is made.
 *
 * Linked, it and the twelve libraries behind it (one of them ICU's data) would take 2 ms of the start of every command, most of which
 * never read an archive: `exec` alone wants to take less than that.
 *
 * The functions have libarchive's own names and types: la.archive_read_new().  A call before libarchive_load() has returned TRUE is a
 * crash.
 *
 * Threads: any. */
#ifndef ORCHESTRATOR_IMAGE_LIBARCHIVE_H
#define ORCHESTRATOR_IMAGE_LIBARCHIVE_H

#include <archive.h>
#include <archive_entry.h>
#include <glib.h>

#define LIBARCHIVE_SONAME "libarchive.so.13" /* of every 3.x */

#define LIBARCHIVE_FUNCTIONS(X)                  \
	X(archive_entry_filetype)                \
	X(archive_entry_free)                    \
	X(archive_entry_new)                     \
	X(archive_entry_pathname)                \
	X(archive_entry_set_gid)                 \
	X(archive_entry_set_ino)                 \
	X(archive_entry_set_mode)                \
	X(archive_entry_set_mtime)               \
	X(archive_entry_set_nlink)               \
	X(archive_entry_set_pathname)            \
	X(archive_entry_set_rdevmajor)           \
	X(archive_entry_set_rdevminor)           \
	X(archive_entry_set_size)                \
	X(archive_entry_set_symlink)             \
	X(archive_entry_set_uid)                 \
	X(archive_errno)                         \
	X(archive_error_string)                  \
	X(archive_filter_bytes)                  \
	X(archive_read_data)                     \
	X(archive_read_data_block)               \
	X(archive_read_free)                     \
	X(archive_read_new)                      \
	X(archive_read_next_header)              \
	X(archive_read_open)                     \
	X(archive_read_open_filename)            \
	X(archive_read_open_memory)              \
	X(archive_read_support_filter_gzip)      \
	X(archive_read_support_filter_lz4)       \
	X(archive_read_support_filter_xz)        \
	X(archive_read_support_filter_zstd)      \
	X(archive_read_support_format_ar)        \
	X(archive_read_support_format_empty)     \
	X(archive_read_support_format_raw)       \
	X(archive_read_support_format_tar)       \
	X(archive_set_error)                     \
	X(archive_write_add_filter_none)         \
	X(archive_write_close)                   \
	X(archive_write_data)                    \
	X(archive_write_free)                    \
	X(archive_write_header)                  \
	X(archive_write_new)                     \
	X(archive_write_open_fd)                 \
	X(archive_write_set_bytes_in_last_block) \
	X(archive_write_set_bytes_per_block)     \
	X(archive_write_set_format_cpio_newc)

struct libarchive {
#define X(name) __typeof__(name) *name;
	LIBARCHIVE_FUNCTIONS(X)
#undef X
};

extern struct libarchive la;

/* FALSE: it is not there, or is another one, and *error says so.  Once loaded it stays. */
gboolean libarchive_load(GError **error);

#endif
