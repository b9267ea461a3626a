/* SPDX-License-Identifier: MIT */
#include "agent/copy_stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/protocol.h"

#define PIECES_MAX 3
/* Linux has no patience for more at once on Hyper-V's sockets: ENOMEM. */
#define HV_SOCK_WAITALL ((size_t)16 << 10)

static int wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	while (poll(&p, 1, -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* What to do about a failed call: 0, try again. */
static int retry(int fd, int err, short events)
{
	if (err == EINTR)
		return 0;
	return err == EAGAIN ? wait_for(fd, events) : -err;
}

int copy_stream_read(int fd, void *buf, size_t size)
{
	size_t most = SIZE_MAX;
	uint8_t *p = buf;

	while (size > 0) {
		ssize_t n = recv(fd, p, size < most ? size : most, MSG_WAITALL);
		int r;

		if (n < 0 && errno == ENOMEM && most > HV_SOCK_WAITALL) {
			most = HV_SOCK_WAITALL;
			continue;
		}
		r = n < 0 ? retry(fd, errno, POLLIN) : 0;

		if (r < 0)
			return r;
		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			p += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* Pass over N bytes that have been written. */
static void advance(struct msghdr *msg, size_t n)
{
	while (msg->msg_iovlen > 0 && n >= msg->msg_iov->iov_len) {
		n -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen > 0) {
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
		msg->msg_iov->iov_len -= n;
	}
}

int copy_stream_write(int fd, uint32_t type, const struct iovec *body, int n)
{
	struct agent_header header = { .type = type, .size = AGENT_HEADER_SIZE };
	uint8_t bytes[AGENT_HEADER_SIZE];
	struct iovec iov[1 + PIECES_MAX] = { { bytes, sizeof(bytes) } };
	struct msghdr msg = { .msg_iov = iov };

	for (int i = 0; i < n; i++) {
		iov[1 + i] = body[i];
		header.size += (uint32_t)body[i].iov_len;
	}
	agent_header_put(bytes, &header);
	msg.msg_iovlen = (size_t)n + 1;
	advance(&msg, 0);
	while (msg.msg_iovlen > 0) {
		ssize_t written = sendmsg(fd, &msg, MSG_NOSIGNAL);
		int r = written < 0 ? retry(fd, errno, POLLOUT) : 0;

		if (r < 0)
			return r;
		if (written > 0)
			advance(&msg, (size_t)written);
	}
	return 0;
}

bool copy_stream_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

void copy_stream_drain(int fd)
{
	char buf[65536];
	size_t dropped = 0;

	while (dropped < COPY_DRAIN_MAX) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n == 0 || (n < 0 && retry(fd, errno, POLLIN) < 0))
			return;
		if (n > 0)
			dropped += (size_t)n;
	}
}
