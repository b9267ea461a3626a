/* SPDX-License-Identifier: MIT */
#include "msg.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "scm.h"

#pragma GCC diagnostic warning "-Wconversion"

#define HEADER_SIZE sizeof(struct proto_header)

void msg_rx_init(struct msg_rx *rx)
{
	memset(rx, 0, sizeof(*rx));
	for (unsigned i = 0; i < VU_MAX_FDS; i++)
		rx->msg.fds[i] = -1;
}

void msg_done(struct msg *msg)
{
	for (unsigned i = 0; i < msg->n_fds; i++)
		fd_drop(&msg->fds[i]);
	msg->n_fds = 0;
}

void msg_rx_done(struct msg_rx *rx)
{
	msg_done(&rx->msg);
	rx->have = 0;
}

int msg_take_fd(struct msg *msg, unsigned i)
{
	return i < msg->n_fds ? fd_take(&msg->fds[i]) : -1;
}

/* Take over the descriptors of one recvmsg(); those beyond the limit are closed.
 * Returns 0, or -EPROTO if any were beyond it or were cut off by the kernel. */
static int collect_fds(struct msg *msg, struct msghdr *mh)
{
	int r = mh->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->n_fds < VU_MAX_FDS) {
				msg->fds[msg->n_fds++] = fd;
			} else {
				close(fd);
				r = -EPROTO;
			}
		}
	}
	return r;
}

/* Where the next byte belongs, and how many are wanted there. */
static struct iovec next_part(struct msg_rx *rx)
{
	size_t have = rx->have;

	if (have < HEADER_SIZE)
		return (struct iovec){ (uint8_t *)&rx->msg.hdr + have, HEADER_SIZE - have };
	have -= HEADER_SIZE;
	return (struct iovec){ rx->msg.payload.bytes + have, rx->msg.hdr.size - have };
}

static bool complete(const struct msg_rx *rx)
{
	return rx->have >= HEADER_SIZE && rx->have - HEADER_SIZE == rx->msg.hdr.size;
}

/* One recvmsg().  Returns 1 if bytes came, else what msg_recv() returns. */
static int receive_part(struct msg_rx *rx, int sock, const struct msg_protocol *protocol,
			const char **ret_why)
{
	/* The union is what aligns the buffer for its headers. */
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = next_part(rx);
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	if (collect_fds(&rx->msg, &mh) < 0) {
		msg_done(&rx->msg);
		if (!protocol->without_fds) {
			*ret_why = "too many descriptors, or none left for them here";
			return -EPROTO;
		}
	}
	if (n == 0)
		return rx->have ? -ECONNRESET : -ENODATA;
	rx->have += (size_t)n;
	return 1;
}

int msg_recv(struct msg_rx *rx, int sock, struct msg *ret_msg, const char **ret_why)
{
	static const struct msg_protocol vhost_user = { .check_header = proto_check_header,
							.check = proto_check };

	return msg_recv_as(rx, sock, &vhost_user, ret_msg, ret_why);
}

int msg_recv_as(struct msg_rx *rx, int sock, const struct msg_protocol *protocol,
		struct msg *ret_msg, const char **ret_why)
{
	int r;

	do {
		r = receive_part(rx, sock, protocol, ret_why);
		if (r <= 0)
			return r;
		if (rx->have == HEADER_SIZE) {
			r = protocol->check_header(&rx->msg.hdr, ret_why);
			if (r < 0)
				return r;
		}
	} while (!complete(rx));

	r = protocol->check(&rx->msg.hdr, &rx->msg.payload, rx->msg.n_fds, ret_why);
	if (r < 0)
		return r;
	*ret_msg = rx->msg;
	msg_rx_init(rx);
	return 1;
}

void msg_reply(struct msg_tx *tx, const struct proto_header *to, const void *payload, size_t size)
{
	assert(msg_tx_idle(tx) && size <= sizeof(tx->wire.payload));
	tx->wire.hdr = (struct proto_header){
		.request = to->request,
		.flags = VU_FLAG_VERSION | VU_FLAG_REPLY,
		.size = (uint32_t)size,
	};
	memcpy(tx->wire.payload, payload, size);
	tx->size = HEADER_SIZE + size;
	tx->sent = 0;
}

void msg_reply_fd(struct msg_tx *tx, const struct proto_header *to, const void *payload,
		  size_t size, int fd)
{
	msg_reply(tx, to, payload, size);
	tx->fd = fd;
	tx->has_fd = true;
}

void msg_tx_done(struct msg_tx *tx)
{
	if (tx->has_fd)
		close(tx->fd);
	tx->has_fd = false;
	tx->size = 0;
}

int msg_send(struct msg_tx *tx, int sock)
{
	static_assert(offsetof(struct msg_tx, wire.payload) - offsetof(struct msg_tx, wire) ==
			      HEADER_SIZE,
		      "header and payload leave as one run of bytes");

	while (tx->sent < tx->size) {
		const struct iovec left = { (uint8_t *)&tx->wire + tx->sent, tx->size - tx->sent };
		ssize_t n = scm_send(sock, &left, 1, tx->has_fd ? tx->fd : -1);

		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		tx->sent += (size_t)n;
		if (tx->has_fd)
			close(tx->fd);
		tx->has_fd = false;
	}
	tx->size = 0;
	return 1;
}
