/* SPDX-License-Identifier: MIT */
#include "agent/client/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_again(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void outlet_init(struct outlet *o, int fd)
{
	struct stat st;
	int again;

	*o = (struct outlet){ .fd = fd };
	if (fstat(fd, &st) < 0)
		return; /* the first write tells */
	o->socket = S_ISSOCK(st.st_mode);
	if (!S_ISFIFO(st.st_mode) && !isatty(fd))
		return;
	again = open_again(fd);
	o->own = again >= 0;
	o->small = again < 0;
	if (o->own)
		o->fd = again;
}

void outlet_done(struct outlet *o)
{
	if (o->own)
		close(o->fd);
	*o = (struct outlet){ .fd = -1 };
}

static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0;
}

ssize_t outlet_write(struct outlet *o, const void *bytes, size_t len)
{
	ssize_t n;

	if (o->small && !has_room(o->fd))
		return 0;
	if (o->small && len > PIPE_BUF)
		len = PIPE_BUF;
	n = o->socket ? send(o->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) :
			write(o->fd, bytes, len);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}
