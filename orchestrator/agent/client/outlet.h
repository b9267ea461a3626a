/* SPDX-License-Identifier: MIT */
/* A descriptor of our own that somebody else empties at a pace of their own: the standard output, a pipe, a terminal.
 *
 * A write to it must never hold up the rest of the process, and must lose nothing: outlet_write() takes what there is room
 * for, and the caller comes back when outlet_fd() polls writable.  The flags of the descriptor that we were given stay as
 * they are, since it is shared with the shell that started us: a pipe or a terminal is opened a second time for the purpose,
 * a socket has MSG_DONTWAIT, a file never waits.  Where a second opening is refused (a terminal of another user), no more is
 * written at once than a pipe that polls writable has room for.
 */
#ifndef AGENT_CLIENT_OUTLET_H
#define AGENT_CLIENT_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct outlet {
	int fd;
	bool own;    /* opened by us: closed by outlet_done() */
	bool socket; /* send(2) can be told not to wait */
	bool small;  /* writes of at most PIPE_BUF, after poll(2) */
};

/* fd stays the caller's. */
void outlet_init(struct outlet *o, int fd);
void outlet_done(struct outlet *o);

/* What to poll for POLLOUT. */
static inline int outlet_fd(const struct outlet *o)
{
	return o->fd;
}

/* How many bytes were taken, 0 if there is no room now; or -errno: -EPIPE when nobody reads any more. */
ssize_t outlet_write(struct outlet *o, const void *bytes, size_t len);

#endif
