/* SPDX-License-Identifier: MIT */
#include "agent/client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "err.h"
#include "run/watch.h"

#define BUSY_STEP_MS 10

/* EAGAIN: as many as may wait to be accepted do. */
static int dial(const char *path)
{
	int fd = dial_now(path);

	for (int waited = 0; fd == -EAGAIN && waited < LINK_BUSY_MS; waited += BUSY_STEP_MS) {
		(void)poll(NULL, 0, BUSY_STEP_MS);
		fd = dial_now(path);
	}
	return fd;
}

/* One message, so that the other side reads it at once; a fresh socket has room for all of it. */
static bool send_first(int fd, const char *request, const void *first, size_t len)
{
	union {
		const void *from;
		void *to; /* struct iovec serves readv(), too */
	} cast = { .from = first }, line = { .from = request };
	struct iovec iov[] = {
		{ .iov_base = line.to, .iov_len = strlen(request) },
		{ .iov_base = cast.to, .iov_len = len },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t whole = iov[0].iov_len + len;
	ssize_t n;

	if (whole == 0)
		return true;
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	if (n >= 0 && (size_t)n < whole)
		errno = ENOBUFS;
	return n >= 0 && (size_t)n == whole;
}

int link_dial(const struct link_address *address, char ret_request[LINK_REQUEST_MAX],
	      GError **error)
{
	int fd = dial(address->path);

	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, -fd, "cannot connect to %s", address->path);
		return -1;
	}
	*ret_request = '\0';
	if (address->port)
		snprintf(ret_request, LINK_REQUEST_MAX, "CONNECT %u\n", address->port);
	return fd;
}

int link_open(const struct link_address *address, const void *first, size_t len, GError **error)
{
	char request[LINK_REQUEST_MAX];
	int fd;

	g_assert(len <= LINK_FIRST_MAX);
	fd = link_dial(address, request, error);
	if (fd < 0)
		return -1;
	if (send_first(fd, request, first, len))
		return fd;
	err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", address->path);
	close(fd);
	return -1;
}

void link_answer_init(struct link_answer *a, const struct link_address *address)
{
	*a = (struct link_answer){ .done = address->port == 0 };
}

ssize_t link_answer_take(struct link_answer *a, const void *bytes, size_t len)
{
	const char *text = bytes;
	size_t n = 0;

	while (n < len && !a->done) {
		if (a->n == LINK_ANSWER_MAX)
			return -EPROTO;
		a->line[a->n++] = text[n];
		a->done = text[n++] == '\n';
	}
	if (strncmp(a->line, "OK ", MIN(a->n, 3u)) != 0)
		return -EPROTO;
	return (ssize_t)n;
}

/* Byte by byte: what follows the line is not ours to read. */
static gboolean wait_answer(int fd, struct link_answer *a, gint64 deadline_us, GError **error)
{
	while (!a->done) {
		gint64 left_ms = (deadline_us - g_get_monotonic_time()) / 1000;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char byte;
		ssize_t n;

		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0) {
			g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_TIMEOUT,
					    "the guest has not answered in time");
			return FALSE;
		}
		n = recv(fd, &byte, 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0 || link_answer_take(a, &byte, 1) < 0) {
			g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED,
					    "nobody in the guest takes the connection");
			return FALSE;
		}
	}
	return TRUE;
}

gboolean link_wait(int fd, const struct link_address *address, int timeout_ms, GError **error)
{
	gint64 deadline_us = g_get_monotonic_time() + timeout_ms * G_GINT64_CONSTANT(1000);
	struct link_answer a;

	link_answer_init(&a, address);
	if (!wait_answer(fd, &a, deadline_us, error))
		return FALSE;
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return TRUE;
}
