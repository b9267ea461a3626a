/* SPDX-License-Identifier: MIT */
/* A copy between two guests: the host in the middle passes bytes on, the result the other way. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent/copy.h"

#define CHUNK (256ul * 1024)

static int wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int write_all(int fd, const uint8_t *buf, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, buf, size, MSG_NOSIGNAL);
		int r = n >= 0 || errno == EINTR ? 0 :
			errno == EAGAIN          ? wait_for(fd, POLLOUT) :
						   -errno;

		if (r < 0)
			return r;
		if (n > 0) {
			buf += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* What IN has goes to OUT.  Its end is passed on, too, and *open becomes -1. */
static int pass(int in, int out, uint8_t *buf, int *open)
{
	ssize_t n = recv(in, buf, CHUNK, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n > 0)
		return write_all(out, buf, (size_t)n);
	*open = -1;
	shutdown(out, SHUT_WR);
	return 0;
}

int copy_relay(int from, int to)
{
	struct pollfd fds[] = { { .fd = from, .events = POLLIN }, { .fd = to, .events = POLLIN } };
	uint8_t *buf = malloc(CHUNK);
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && (fds[0].fd >= 0 || fds[1].fd >= 0)) {
		if (poll(fds, 2, -1) < 0) {
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (fds[1].revents)
			r = pass(to, from, buf, &fds[1].fd);
		if (r == 0 && fds[0].revents)
			r = pass(from, to, buf, &fds[0].fd);
	}
	free(buf);
	return r;
}
