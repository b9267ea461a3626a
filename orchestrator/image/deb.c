/* SPDX-License-Identifier: MIT */
#include "image/deb.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "image/libarchive.h"

#define BLOCK (1u << 16)

/* Two archives, one inside the other: the inner one reads the data member of the outer. */
struct nest {
	struct archive *ar, *tar;
	char block[BLOCK];
	const struct deb_unpack *how;
};

static gboolean fail(struct archive *a, GError **error)
{
	const char *why = la.archive_error_string(a);

	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "damaged package: %s",
		    why ? why : "not an archive");
	return FALSE;
}

static la_ssize_t read_member(struct archive *tar, void *data, const void **ret_block)
{
	struct nest *n = data;
	la_ssize_t len = la.archive_read_data(n->ar, n->block, sizeof(n->block));

	if (len < 0)
		la.archive_set_error(tar, EIO, "%s", la.archive_error_string(n->ar));
	if (n->how->tick)
		n->how->tick(n->how->tick_data, la.archive_filter_bytes(n->ar, -1));
	*ret_block = n->block;
	return len;
}

static gboolean open_data(struct nest *n, const char *path, GError **error)
{
	struct archive_entry *entry;
	int r;

	la.archive_read_support_format_ar(n->ar);
	if (la.archive_read_open_filename(n->ar, path, BLOCK))
		return fail(n->ar, error);
	while (!(r = la.archive_read_next_header(n->ar, &entry))) {
		if (g_str_has_prefix(la.archive_entry_pathname(entry), "data.tar"))
			break;
	}
	if (r != ARCHIVE_OK)
		return fail(n->ar, error);
	la.archive_read_support_format_tar(n->tar);
	la.archive_read_support_filter_gzip(n->tar);
	la.archive_read_support_filter_xz(n->tar);
	la.archive_read_support_filter_zstd(n->tar);
	if (la.archive_read_open(n->tar, n, NULL, read_member, NULL))
		return fail(n->tar, error);
	return TRUE;
}

static gboolean safe(const char *path)
{
	g_auto(GStrv) parts = g_strsplit(path, "/", -1);

	return *path && *path != '/' && !g_strv_contains((const char *const *)parts, "..");
}

static gboolean copy(struct nest *n, int fd, const char *to, GError **error)
{
	const void *block;
	size_t len;
	la_int64_t off;
	int r;

	while (!(r = la.archive_read_data_block(n->tar, &block, &len, &off))) {
		if (pwrite(fd, block, len, off) != (ssize_t)len) {
			err_set_errno(error, ORCH_ERROR_FAILED, errno ? errno : ENOSPC, "%s", to);
			return FALSE;
		}
	}
	return r == ARCHIVE_EOF || fail(n->tar, error);
}

static gboolean take(struct nest *n, const char *path, GError **error)
{
	g_autofree char *to = g_build_filename(n->how->dest, path, NULL);
	g_autofree char *dir = g_path_get_dirname(to);
	gboolean ok;
	int fd;

	if (!safe(path)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "damaged package: path \"%s\"",
			    path);
		return FALSE;
	}
	fd = g_mkdir_with_parents(dir, 0755) ?
		     -1 :
		     open(to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", to);
		return FALSE;
	}
	errno = 0;
	ok = copy(n, fd, to, error);
	close(fd);
	return ok;
}

static gboolean walk(struct nest *n, GError **error)
{
	struct archive_entry *entry;
	int r;

	while (!(r = la.archive_read_next_header(n->tar, &entry))) {
		const char *path = la.archive_entry_pathname(entry);

		if (g_cancellable_set_error_if_cancelled(n->how->cancellable, error))
			return FALSE;
		if (!path || la.archive_entry_filetype(entry) != AE_IFREG)
			continue;
		if (g_str_has_prefix(path, "./"))
			path += 2;
		if (n->how->want(path) && !take(n, path, error))
			return FALSE;
	}
	return r == ARCHIVE_EOF || fail(n->tar, error);
}

gboolean deb_unpack(const char *path, const struct deb_unpack *how, GError **error)
{
	struct nest *n;
	gboolean ok;

	if (!libarchive_load(error))
		return FALSE;
	n = g_new0(struct nest, 1);
	n->ar = la.archive_read_new();
	n->tar = la.archive_read_new();
	n->how = how;
	ok = open_data(n, path, error) && walk(n, error);
	la.archive_read_free(n->tar);
	la.archive_read_free(n->ar);
	g_free(n);
	if (!ok)
		g_prefix_error(error, "%s: ", path);
	return ok;
}
