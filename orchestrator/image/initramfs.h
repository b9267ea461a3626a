/* SPDX-License-Identifier: MIT */
/* An initramfs in memory: a set of files that is hashed, then written as a cpio archive ("newc").
 *
 * Reproducible: entries are kept sorted, every time is 0, every owner is root, inode numbers follow the order; the same
 * entries give the same bytes.  Missing parent directories are added, mode 0755.
 *
 * Paths are relative ("etc/rc"), without "." and "..": they are our own, so anything else is an assertion. */
#ifndef ORCHESTRATOR_IMAGE_INITRAMFS_H
#define ORCHESTRATOR_IMAGE_INITRAMFS_H

#include <glib.h>

struct initramfs;

struct initramfs *initramfs_new(void);
void initramfs_free(struct initramfs *fs);

/* Adding a path twice replaces what was there.  BYTES: a reference is taken. */
void initramfs_add_file(struct initramfs *fs, const char *path, guint mode, GBytes *bytes);
void initramfs_add_text(struct initramfs *fs, const char *path, guint mode, const char *text);
void initramfs_add_dir(struct initramfs *fs, const char *path, guint mode);
void initramfs_add_link(struct initramfs *fs, const char *path, const char *target);
void initramfs_add_chardev(struct initramfs *fs, const char *path, guint mode, guint major,
			   guint minor);

/* Feed every path, mode and content to SUM. */
void initramfs_hash(const struct initramfs *fs, GChecksum *sum);

/* Write the archive to PATH, which must not exist.  TICK, if not NULL, is called as it grows.  On failure (a full disk, mostly)
 * the file is removed again. */
gboolean initramfs_write(const struct initramfs *fs, const char *path,
			 void (*tick)(void *data, guint64 done), void *data, GError **error);

#endif
