/* SPDX-License-Identifier: MIT */
#include "image/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "image/image.h"

#define WAIT_US 200000
#define GROUP   "image"

char *cache_images_dir(const char *cache_dir)
{
	return g_build_filename(cache_dir, "images", NULL);
}

/* 0 when held, else an errno value; EAGAIN: cancelled. */
static int lock_wait(int fd, void (*waiting)(void *data), void *data, GCancellable *cancellable)
{
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return errno;
		if (g_cancellable_is_cancelled(cancellable))
			return EAGAIN;
		if (waiting)
			waiting(data);
		g_usleep(WAIT_US);
	}
	return 0;
}

int cache_lock(const char *images_dir, void (*waiting)(void *data), void *data,
	       GCancellable *cancellable, GError **error)
{
	g_autofree char *path = g_build_filename(images_dir, "lock", NULL);
	int fd, errnum;

	fd = g_mkdir_with_parents(images_dir, 0755) ?
		     -1 :
		     open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	errnum = fd < 0 ? errno : lock_wait(fd, waiting, data, cancellable);
	if (!errnum)
		return fd;
	if (errnum != EAGAIN || !g_cancellable_set_error_if_cancelled(cancellable, error))
		err_set_errno(error, ORCH_ERROR_FAILED, errnum, "%s", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* --- one image -------------------------------------------------------------------------------------------- */

static gboolean has_size(const char *dir, const char *file, GKeyFile *manifest)
{
	g_autofree char *path = g_build_filename(dir, file, NULL);
	g_autofree char *key = g_strconcat(file, "-bytes", NULL);
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && st.st_size > 0 &&
	       (guint64)st.st_size == g_key_file_get_uint64(manifest, GROUP, key, NULL);
}

static char *get(GKeyFile *manifest, const char *key)
{
	char *value = g_key_file_get_string(manifest, GROUP, key, NULL);

	return value ? value : g_strdup("");
}

struct image *cache_find(const char *images_dir, const char *name)
{
	g_autofree char *link = g_build_filename(images_dir, name, NULL);
	g_autofree char *key = g_file_read_link(link, NULL);
	g_autofree char *dir = key ? g_build_filename(images_dir, key, NULL) : NULL;
	g_autofree char *path = key ? g_build_filename(dir, "manifest", NULL) : NULL;
	g_autoptr(GKeyFile) manifest = g_key_file_new();
	struct image *image;

	if (!key || strchr(key, '/') || !g_key_file_load_from_file(manifest, path, 0, NULL) ||
	    !has_size(dir, "kernel", manifest) || !has_size(dir, "initrd", manifest))
		return NULL;
	utimensat(AT_FDCWD, path, NULL, 0); /* last use; a cache we may not write is still of use */
	image = g_new0(struct image, 1);
	image->key = g_steal_pointer(&key);
	image->kernel = g_build_filename(dir, "kernel", NULL);
	image->initrd = g_build_filename(dir, "initrd", NULL);
	image->append = get(manifest, "append");
	image->origin = get(manifest, "origin");
	return image;
}

static gboolean note_size(GKeyFile *manifest, const char *dir, const char *file, GError **error)
{
	g_autofree char *path = g_build_filename(dir, file, NULL);
	g_autofree char *key = g_strconcat(file, "-bytes", NULL);
	struct stat st;

	if (stat(path, &st)) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", path);
		return FALSE;
	}
	g_key_file_set_uint64(manifest, GROUP, key, st.st_size);
	return TRUE;
}

static gboolean write_manifest(const char *dir, const char *origin, const char *append,
			       GError **error)
{
	g_autoptr(GKeyFile) manifest = g_key_file_new();
	g_autofree char *path = g_build_filename(dir, "manifest", NULL);

	g_key_file_set_string(manifest, GROUP, "origin", origin);
	g_key_file_set_string(manifest, GROUP, "append", append);
	return note_size(manifest, dir, "kernel", error) &&
	       note_size(manifest, dir, "initrd", error) &&
	       g_key_file_save_to_file(manifest, path, error);
}

/* Replace the link atomically: readers find the old image or the new one. */
static gboolean point(const char *images_dir, const char *name, const char *key, GError **error)
{
	g_autofree char *link = g_build_filename(images_dir, name, NULL);
	g_autofree char *fresh = g_strconcat(link, ".new", NULL);

	unlink(fresh);
	if (!symlink(key, fresh) && !rename(fresh, link))
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", link);
	unlink(fresh);
	return FALSE;
}

/* Put BUILD_DIR where an image of the same key is already: that one is whole, or somebody damaged it.  0 or an errno
 * value. */
static int publish_again(const char *images_dir, const char *build_dir, const char *key,
			 const char *name)
{
	g_autofree char *final = g_build_filename(images_dir, key, NULL);
	g_autofree char *old = g_build_filename(images_dir, CACHE_BUILD_PREFIX "old", NULL);
	struct image *same = point(images_dir, name, key, NULL) ? cache_find(images_dir, name) :
								  NULL;
	int errnum = 0;

	cache_remove(old, NULL);
	if (!same && (rename(final, old) || rename(build_dir, final)))
		errnum = errno;
	cache_remove(old, NULL);
	image_free(same);
	return errnum;
}

gboolean cache_publish(const char *images_dir, const char *build_dir, const char *key,
		       const char *name, const char *origin, const char *append, GError **error)
{
	g_autofree char *final = g_build_filename(images_dir, key, NULL);
	int errnum;

	if (!write_manifest(build_dir, origin, append, error))
		return FALSE;
	errnum = rename(build_dir, final) ? errno : 0;
	if (errnum == EEXIST || errnum == ENOTEMPTY)
		errnum = publish_again(images_dir, build_dir, key, name);
	if (!errnum)
		return point(images_dir, name, key, error);
	err_set_errno(error, ORCH_ERROR_FAILED, errnum, "%s", final);
	return FALSE;
}

void cache_remove(const char *path, guint64 *freed)
{
	struct stat st;

	if (lstat(path, &st))
		return;
	if (S_ISDIR(st.st_mode)) {
		g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
		const char *file;

		while (dir && (file = g_dir_read_name(dir))) {
			g_autofree char *child = g_build_filename(path, file, NULL);

			cache_remove(child, freed);
		}
	}
	if (!remove(path) && freed && S_ISREG(st.st_mode))
		*freed += st.st_size;
}
