/* SPDX-License-Identifier: MIT */
/* The directory of images (layout: image.h), for those who put something in or take it out: tiny.c and image_gc(). */
#ifndef ORCHESTRATOR_IMAGE_CACHE_H
#define ORCHESTRATOR_IMAGE_CACHE_H

#include <gio/gio.h>

struct image;

#define CACHE_BUILD_PREFIX ".build-"

/* DIR/images; free with g_free(). */
char *cache_images_dir(const char *cache_dir);

/* Take the lock of IMAGES_DIR, created when missing.  While another one holds it: WAITING is called about five times a
 * second, if not NULL.  Returns the file descriptor whose close() is the unlock; -1 with *error set. */
int cache_lock(const char *images_dir, void (*waiting)(void *data), void *data,
	       GCancellable *cancellable, GError **error);

/* The finished image that the link NAME ("tiny-…") leads to; NULL if there is none, or if its files are not as long as
 * its manifest says.  Notes the time of use. */
struct image *cache_find(const char *images_dir, const char *name);

/* Make the finished image in BUILD_DIR (files kernel and initrd) the one called KEY, and NAME lead to it.  KEY may be there
 * already: it has the same content then, and stays.  BUILD_DIR is gone or may be removed afterwards.
 * The caller holds the lock. */
gboolean cache_publish(const char *images_dir, const char *build_dir, const char *key,
		       const char *name, const char *origin, const char *append, GError **error);

/* Remove PATH and what is below it; never follows links.  *freed, if not NULL, grows by the bytes.  Best effort: what
 * cannot be removed stays. */
void cache_remove(const char *path, guint64 *freed);

#endif
