/* SPDX-License-Identifier: MIT */
/* A guest image: what QEMU's -kernel, -initrd and -append want.
 *
 * Two sources make one: tiny_ensure() (tiny.h), which builds into the cache, and image_from_files(), for what a lab
 * names under "images".  Whoever renders a command line sees only this struct.
 *
 * The cache, DIR being the cache directory ($XDG_CACHE_HOME/vhost-lab):
 *
 *   DIR/images/KEY/{kernel,initrd,manifest}   one finished image; KEY is the hash of everything that went into it
 *   DIR/images/tiny-FASTKEY                   symlink to KEY: the inputs that can be checked without asking apt
 *   DIR/images/lock                           flock()ed by a builder and by image_gc()
 *   DIR/images/.build-XXXXXX                  a build under way; a leftover when nobody holds the lock
 *
 * A directory KEY appears by rename() and never changes after, so a running QEMU and a reader need no lock.
 *
 * Ownership: every string belongs to its struct.
 * Threads:   none of the functions keeps state; each may run in any thread. */
#ifndef ORCHESTRATOR_IMAGE_IMAGE_H
#define ORCHESTRATOR_IMAGE_IMAGE_H

#include <glib.h>

struct image {
	char *key;    /* "" for files a lab names: they are not ours */
	char *kernel; /* absolute path */
	char *initrd; /* absolute path, "" for none */
	char *append; /* kernel command line, "" for none */
	char *origin; /* for people: "linux-image-6.1.0-56-cloud-amd64 6.1.192-2", or the path of the kernel */
};

/* Stages of making an image, in order.  TOTAL may be 0 (not known). */
enum image_stage {
	IMAGE_STAGE_WAIT,     /* another process builds; done, total: 0 */
	IMAGE_STAGE_RESOLVE,  /* asking the package manager which kernel */
	IMAGE_STAGE_DOWNLOAD, /* bytes of the packages */
	IMAGE_STAGE_UNPACK,   /* bytes of the packages read */
	IMAGE_STAGE_PACK,     /* bytes of the initramfs written */
	IMAGE_STAGE_DONE,     /* total: bytes of kernel and initramfs */
	IMAGE_STAGE_COUNT
};

/* Called in the thread that runs the build, a few times a second at most and once at each change of stage.
 * DETAIL is a short text for people ("linux-image-6.1.0-56-cloud-amd64", never NULL), valid during the call only. */
typedef void image_progress_fn(void *data, enum image_stage stage, guint64 done, guint64 total,
			       const char *detail);

/* "download" and so on: for progress lines and JSON.  Never NULL. */
const char *image_stage_name(enum image_stage stage);

/* Files that exist already.  INITRD and APPEND may be NULL.  Both files are opened once for reading, so that a path
 * with a mistake fails here (ORCH_ERROR_FAILED, naming the path) and not inside QEMU. */
gboolean image_from_files(const char *kernel, const char *initrd, const char *append,
			  struct image **ret_image, GError **error);

void image_free(struct image *image);

struct image_gc {
	guint removed; /* images and leftovers */
	guint kept;
	guint64 freed; /* bytes */
};

/* Remove from CACHE_DIR what no longer serves: leftovers of builds that died, and images that are not in KEEP and that
 * nobody asked for during the last MAX_AGE_S seconds (0: whatever their age).
 * KEEP:    NULL-terminated kernel paths that running labs use (struct image.kernel), or NULL.
 * DRY_RUN: count, remove nothing.
 * Waits for a build under way.  A cache that does not exist is an empty one. */
gboolean image_gc(const char *cache_dir, const char *const *keep, guint64 max_age_s,
		  gboolean dry_run, struct image_gc *ret_result, GError **error);

#endif
