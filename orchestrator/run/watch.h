/* SPDX-License-Identifier: MIT */
/* Files and sockets that are about to appear or to grow, told by inotify: nothing in the way from `up` to ready polls.
 *
 * One inotify instance per process, made at the first use.  Threads: the thread of the default main context.
 */
#ifndef RUN_WATCH_H
#define RUN_WATCH_H

#include <stdbool.h>
#include <glib.h>

struct watch;
/* Something happened; look for yourself what.  May free the watch. */
typedef void watch_fn(void *data);

/* Tell when an existing file is written to.  NULL, with *error set: it does not exist, or the user's inotify watches are
 * used up (the message says how to have more). */
struct watch *watch_file(const char *path, watch_fn *fn, void *data, GError **error);
void watch_free(struct watch *w);

/* Connect to a Unix stream socket as soon as somebody listens on it: now, or when it appears in its directory.  fd is the
 * caller's, non-blocking; -1 if it can never be (error says why).  Comes once, from the main loop; may free the dial. */
struct dial;
typedef void dial_fn(int fd, const GError *error, void *data);
struct dial *dial_new(const char *path, dial_fn *fn, void *data);
void dial_free(struct dial *d);

/* One attempt, now: the descriptor, or -errno. */
int dial_now(const char *path);

/* Whether somebody listens at path, without calling there: a service manager that does would start a daemon.  False also of
 * who is in another network namespace. */
bool listened_at(const char *path);

/* A listening, non-blocking socket at path, mode as umask says; whatever lies there is left over and removed.  -1: *error
 * says why. */
int listen_now(const char *path, GError **error);

#endif
