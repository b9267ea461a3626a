/* SPDX-License-Identifier: MIT */
#include "image/initramfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "image/libarchive.h"

struct entry {
	guint mode; /* with the type */
	guint major, minor;
	GBytes *bytes; /* content, or a link's target; never NULL */
};

struct initramfs {
	GTree *entries; /* path -> struct entry */
};

static void entry_free(void *data)
{
	struct entry *e = data;

	g_bytes_unref(e->bytes);
	g_free(e);
}

static int compare(const void *a, const void *b, void *data)
{
	return strcmp(a, b);
}

struct initramfs *initramfs_new(void)
{
	struct initramfs *fs = g_new0(struct initramfs, 1);

	fs->entries = g_tree_new_full(compare, NULL, g_free, entry_free);
	return fs;
}

void initramfs_free(struct initramfs *fs)
{
	if (!fs)
		return;
	g_tree_unref(fs->entries);
	g_free(fs);
}

static struct entry *put(struct initramfs *fs, const char *path, guint mode, GBytes *bytes)
{
	struct entry *e = g_new0(struct entry, 1);

	g_assert(*path && *path != '/' && !strstr(path, ".."));
	e->mode = mode;
	e->bytes = bytes;
	g_tree_replace(fs->entries, g_strdup(path), e);
	return e;
}

static void put_parents(struct initramfs *fs, const char *path)
{
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		g_autofree char *dir = g_strndup(path, slash - path);

		if (!g_tree_lookup(fs->entries, dir))
			put(fs, dir, S_IFDIR | 0755, g_bytes_new(NULL, 0));
	}
}

void initramfs_add_file(struct initramfs *fs, const char *path, guint mode, GBytes *bytes)
{
	put_parents(fs, path);
	put(fs, path, S_IFREG | mode, g_bytes_ref(bytes));
}

void initramfs_add_text(struct initramfs *fs, const char *path, guint mode, const char *text)
{
	put_parents(fs, path);
	put(fs, path, S_IFREG | mode, g_bytes_new(text, strlen(text)));
}

void initramfs_add_dir(struct initramfs *fs, const char *path, guint mode)
{
	put_parents(fs, path);
	put(fs, path, S_IFDIR | mode, g_bytes_new(NULL, 0));
}

void initramfs_add_link(struct initramfs *fs, const char *path, const char *target)
{
	put_parents(fs, path);
	put(fs, path, S_IFLNK | 0777, g_bytes_new(target, strlen(target)));
}

void initramfs_add_chardev(struct initramfs *fs, const char *path, guint mode, guint major,
			   guint minor)
{
	struct entry *e;

	put_parents(fs, path);
	e = put(fs, path, S_IFCHR | mode, g_bytes_new(NULL, 0));
	e->major = major;
	e->minor = minor;
}

/* --- hashing ---------------------------------------------------------------------------------------------- */

/* Path, then a line of numbers that says how long the content is: no two sets of entries hash the same text. */
static gboolean hash_entry(void *path, void *value, void *data)
{
	const struct entry *e = value;
	GChecksum *sum = data;
	gsize size;
	const void *bytes = g_bytes_get_data(e->bytes, &size);
	g_autofree char *head = g_strdup_printf("%s\n%o %u %u %" G_GSIZE_FORMAT "\n",
						(const char *)path, e->mode, e->major, e->minor,
						size);

	g_checksum_update(sum, (const guchar *)head, -1);
	if (size)
		g_checksum_update(sum, bytes, (gssize)size);
	return FALSE;
}

void initramfs_hash(const struct initramfs *fs, GChecksum *sum)
{
	g_tree_foreach(fs->entries, hash_entry, sum);
}

/* --- writing ---------------------------------------------------------------------------------------------- */

struct writer {
	struct archive *archive;
	guint64 done;
	guint ino;
	gboolean failed;
	void (*tick)(void *data, guint64 done);
	void *data;
};

static void describe(struct archive_entry *ae, const char *path, const struct entry *e, guint ino)
{
	gsize size;
	const void *bytes = g_bytes_get_data(e->bytes, &size);

	la.archive_entry_set_pathname(ae, path);
	la.archive_entry_set_mode(ae, e->mode);
	la.archive_entry_set_ino(ae, ino);
	la.archive_entry_set_nlink(ae, S_ISDIR(e->mode) ? 2 : 1);
	la.archive_entry_set_uid(ae, 0);
	la.archive_entry_set_gid(ae, 0);
	la.archive_entry_set_mtime(ae, 0, 0);
	la.archive_entry_set_size(ae, S_ISREG(e->mode) ? size : 0);
	if (S_ISCHR(e->mode)) {
		la.archive_entry_set_rdevmajor(ae, e->major);
		la.archive_entry_set_rdevminor(ae, e->minor);
	}
	if (S_ISLNK(e->mode)) {
		g_autofree char *target = g_strndup(bytes, size);

		la.archive_entry_set_symlink(ae, target);
	}
}

/* Stops the traversal (TRUE) at the first failure. */
static gboolean write_entry(void *path, void *value, void *data)
{
	const struct entry *e = value;
	struct writer *w = data;
	struct archive_entry *ae = la.archive_entry_new();
	gsize size;
	const void *bytes = g_bytes_get_data(e->bytes, &size);

	describe(ae, path, e, ++w->ino);
	w->failed = la.archive_write_header(w->archive, ae) != ARCHIVE_OK;
	if (!w->failed && S_ISREG(e->mode) && size) {
		w->failed = la.archive_write_data(w->archive, bytes, size) != (la_ssize_t)size;
		w->done += size;
	}
	la.archive_entry_free(ae);
	if (w->tick)
		w->tick(w->data, w->done);
	return w->failed;
}

static gboolean write_all(const struct initramfs *fs, struct writer *w, int fd)
{
	struct archive *a = w->archive;

	if (la.archive_write_set_format_cpio_newc(a) || la.archive_write_add_filter_none(a) ||
	    la.archive_write_set_bytes_per_block(a, 1 << 16) ||
	    la.archive_write_set_bytes_in_last_block(a, 1) || la.archive_write_open_fd(a, fd))
		return FALSE;
	g_tree_foreach(fs->entries, write_entry, w);
	return !w->failed && la.archive_write_close(a) == ARCHIVE_OK && !fsync(fd);
}

gboolean initramfs_write(const struct initramfs *fs, const char *path,
			 void (*tick)(void *data, guint64 done), void *data, GError **error)
{
	struct writer w = { .tick = tick, .data = data };
	gboolean ok;
	int fd;

	if (!libarchive_load(error))
		return FALSE;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", path);
		return FALSE;
	}
	w.archive = la.archive_write_new();
	ok = write_all(fs, &w, fd);
	if (!ok) {
		int errnum = la.archive_errno(w.archive);

		err_set_errno(error, ORCH_ERROR_FAILED, errnum > 0 ? errnum : EIO, "%s", path);
		unlink(path);
	}
	la.archive_write_free(w.archive);
	close(fd);
	return ok;
}
