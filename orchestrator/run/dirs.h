/* SPDX-License-Identifier: MIT */
/* The directories of labs: made private, looked through, and removed down to the last thing we made.
 *
 * Trust: the runtime directory may be below /tmp, where anybody can put something in our place first: a base directory
 *        that others can write to, that is another's, or a symbolic link is refused; it is closed to others.
 */
#ifndef RUN_DIRS_H
#define RUN_DIRS_H

#include <stdbool.h>
#include <glib.h>

struct lab_dirs;
struct lab_paths;

/* Make the state and runtime directories of a lab, mode 0700.  ORCH_ERROR_FAILED, naming the path. */
gboolean dirs_make(const struct lab_dirs *dirs, const struct lab_paths *paths, GError **error);

/* Remove what a lab leaves when it has gone down: sockets, configurations, state; and directories that are empty then.
 * Logs stay; with everything, they go too.  Files that are not ours are left alone, and so are their directories.  True:
 * the state directory is gone. */
bool dirs_clear(const struct lab_dirs *dirs, const struct lab_paths *paths, bool everything);

/* Whether anybody listens on a socket in the lab's runtime directory. */
bool dirs_in_use(const struct lab_paths *paths);

/* Names of all labs that have a state or runtime directory, sorted; free with g_ptr_array_unref(). */
GPtrArray *dirs_labs(const struct lab_dirs *dirs);

#endif
