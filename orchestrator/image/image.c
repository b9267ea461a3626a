/* SPDX-License-Identifier: MIT */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "image/cache.h"

const char *image_stage_name(enum image_stage stage)
{
	static const char *const names[IMAGE_STAGE_COUNT] = {
		[IMAGE_STAGE_WAIT] = "wait",         [IMAGE_STAGE_RESOLVE] = "resolve",
		[IMAGE_STAGE_DOWNLOAD] = "download", [IMAGE_STAGE_UNPACK] = "unpack",
		[IMAGE_STAGE_PACK] = "pack",         [IMAGE_STAGE_DONE] = "done",
	};

	return (guint)stage < IMAGE_STAGE_COUNT ? names[stage] : "unknown";
}

static gboolean readable(const char *path, GError **error)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int errnum = fd < 0 ? errno : 0;

	if (fd >= 0 && !fstat(fd, &st) && !S_ISREG(st.st_mode))
		errnum = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	if (fd >= 0)
		close(fd);
	if (!errnum)
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errnum, "%s", path);
	return FALSE;
}

gboolean image_from_files(const char *kernel, const char *initrd, const char *append,
			  struct image **ret_image, GError **error)
{
	struct image *image;

	if (!readable(kernel, error) || (initrd && *initrd && !readable(initrd, error)))
		return FALSE;
	image = g_new0(struct image, 1);
	image->key = g_strdup("");
	image->kernel = g_strdup(kernel);
	image->initrd = g_strdup(initrd ? initrd : "");
	image->append = g_strdup(append ? append : "");
	image->origin = g_strdup(kernel);
	*ret_image = image;
	return TRUE;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	g_free(image->key);
	g_free(image->kernel);
	g_free(image->initrd);
	g_free(image->append);
	g_free(image->origin);
	g_free(image);
}

/* --- garbage ---------------------------------------------------------------------------------------------- */

struct sweep {
	const char *images_dir;
	const char *const *keep;
	gint64 oldest; /* a last use before this, in seconds, is too long ago */
	gboolean dry_run;
	struct image_gc *result;
};

static gboolean in_use(const struct sweep *s, const char *dir)
{
	g_autofree char *kernel = g_build_filename(dir, "kernel", NULL);

	return s->keep && g_strv_contains(s->keep, kernel);
}

/* The time of the manifest is the time of the last use; without one, nothing was ever finished here. */
static gboolean recent(const struct sweep *s, const char *dir)
{
	g_autofree char *manifest = g_build_filename(dir, "manifest", NULL);
	struct stat st;

	return !stat(manifest, &st) && st.st_mtime >= s->oldest;
}

static void count_bytes(const char *dir, guint64 *bytes)
{
	g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
	const char *file;

	while (d && (file = g_dir_read_name(d))) {
		g_autofree char *path = g_build_filename(dir, file, NULL);
		struct stat st;

		if (lstat(path, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			count_bytes(path, bytes);
		else
			*bytes += st.st_size;
	}
}

static void sweep_dir(const struct sweep *s, const char *name)
{
	g_autofree char *dir = g_build_filename(s->images_dir, name, NULL);
	gboolean leftover = g_str_has_prefix(name, CACHE_BUILD_PREFIX);

	if (!leftover && (in_use(s, dir) || recent(s, dir))) {
		s->result->kept++;
		return;
	}
	s->result->removed++;
	if (s->dry_run)
		count_bytes(dir, &s->result->freed);
	else
		cache_remove(dir, &s->result->freed);
}

/* A link whose image is gone serves nobody; it is not counted, being part of its image. */
static void sweep_link(const struct sweep *s, const char *name)
{
	g_autofree char *path = g_build_filename(s->images_dir, name, NULL);

	if (!s->dry_run && g_file_test(path, G_FILE_TEST_IS_SYMLINK) &&
	    !g_file_test(path, G_FILE_TEST_EXISTS))
		unlink(path);
}

static void sweep_all(const struct sweep *s,
		      void (*sweep_one)(const struct sweep *s, const char *name), gboolean links)
{
	g_autoptr(GDir) dir = g_dir_open(s->images_dir, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(s->images_dir, name, NULL);
		gboolean is_link = g_file_test(path, G_FILE_TEST_IS_SYMLINK);

		if (is_link == links && (links || g_file_test(path, G_FILE_TEST_IS_DIR)))
			sweep_one(s, name);
	}
}

gboolean image_gc(const char *cache_dir, const char *const *keep, guint64 max_age_s,
		  gboolean dry_run, struct image_gc *ret_result, GError **error)
{
	g_autofree char *images_dir = cache_images_dir(cache_dir);
	struct image_gc result = { 0 };
	struct sweep s = { .images_dir = images_dir,
			   .keep = keep,
			   .oldest = g_get_real_time() / G_USEC_PER_SEC - (gint64)max_age_s,
			   .dry_run = dry_run,
			   .result = &result };
	int lock;

	if (max_age_s == 0)
		s.oldest = G_MAXINT64;
	if (g_file_test(images_dir, G_FILE_TEST_IS_DIR)) {
		lock = cache_lock(images_dir, NULL, NULL, NULL, error);
		if (lock < 0)
			return FALSE;
		sweep_all(&s, sweep_dir, FALSE);
		sweep_all(&s, sweep_link, TRUE);
		close(lock);
	}
	*ret_result = result;
	return TRUE;
}
