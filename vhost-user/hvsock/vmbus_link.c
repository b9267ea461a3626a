/* SPDX-License-Identifier: MIT */
#include "vmbus_link.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base.h"
#include "cleanup.h"

/* Messages served in one pass of the loop, and how long, since some mean much work: one that never stops talking leaves time for
 * the others. */
#define MESSAGES_PER_PASS 32
#define PASS_NS           1000000

/* The first size of the buffer for what the socket did not take. */
#define OUT_MIN 4096

/* ---- out ---------------------------------------------------------------------------------------- */

/* Send what waits.  -EAGAIN: some of it still does. */
static int push(struct vmbus_link *link)
{
	while (link->out_sent < link->out_len) {
		ssize_t n = send(link->fd, link->out + link->out_sent,
				 link->out_len - link->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		link->out_sent += (size_t)n;
	}
	link->out_sent = link->out_len = 0;
	return 0;
}

static int watch(struct vmbus_link *link, uint32_t events)
{
	if (link->events == events)
		return 0;
	link->events = events;
	return loop_mod(&link->source, events);
}

static void flush(struct vmbus_link *link)
{
	int r = push(link);
	bool stuck = r == -EAGAIN || r == -EINTR || r == -ENOBUFS;

	if (stuck || r == 0)
		r = watch(link, stuck ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (r < 0)
		vmbus_link_end(link, r, "connection lost: %s", strerror(-r));
}

static void compact(struct vmbus_link *link)
{
	if (link->out_sent == 0)
		return;
	memmove(link->out, link->out + link->out_sent, link->out_len - link->out_sent);
	link->out_len -= link->out_sent;
	link->out_sent = 0;
}

/* Room for `size` bytes more. */
static int reserve(struct vmbus_link *link, size_t size)
{
	size_t want = max(link->out_size, (size_t)OUT_MIN);
	uint8_t *bigger;

	if (link->out_len + size > link->out_size)
		compact(link);
	if (link->out_len + size <= link->out_size)
		return 0;
	while (want < link->out_len + size)
		want *= 2;
	if (want > VMBUS_LINK_UNSENT)
		return -ENOBUFS;
	bigger = realloc(link->out, want);
	if (!bigger)
		return -ENOMEM;
	link->out = bigger;
	link->out_size = want;
	return 0;
}

void vmbus_link_send(struct vmbus_link *link, enum vmbus_message number, const void *payload)
{
	uint32_t size = vmbus_message_size(number);
	struct proto_header hdr = { number, VU_FLAG_VERSION, size };
	bool idle = link->out_len == 0;
	int r;

	if (!link->open)
		return;
	r = reserve(link, sizeof(hdr) + size);
	if (r < 0) {
		vmbus_link_end(link, r, "dropped: it does not read what it is told");
		return;
	}
	memcpy(link->out + link->out_len, &hdr, sizeof(hdr));
	memcpy(link->out + link->out_len + sizeof(hdr), payload, size);
	link->out_len += sizeof(hdr) + size;
	if (idle)
		flush(link);
}

/* ---- in ----------------------------------------------------------------------------------------- */

/* True: there may be more. */
static bool receive(struct vmbus_link *link)
{
	const char *why = "";
	struct msg msg;
	int r = msg_recv_as(&link->rx, link->fd, &vmbus_protocol, &msg, &why);

	if (r == 1) {
		log_debug(link->tag, "%s", vmbus_message_name(msg.hdr.request));
		link->ops->message(link, &msg);
		msg_done(&msg);
	} else if (r == -ENODATA) {
		vmbus_link_end(link, 0, "frontend disconnected");
	} else if (r == -EPROTO) {
		vmbus_link_end(link, r, "%s: %s", vmbus_message_name(link->rx.msg.hdr.request),
			       why);
	} else if (r < 0) {
		vmbus_link_end(link, r, "connection lost: %s", strerror(-r));
	}
	return r == 1 && link->open;
}

static void on_socket(struct loop_source *src, uint32_t events)
{
	struct vmbus_link *link = container_of(src, struct vmbus_link, source);
	uint64_t until_ns = loop_now_ns() + PASS_NS;

	if (events & EPOLLOUT)
		flush(link);
	for (unsigned i = 0; i < MESSAGES_PER_PASS && link->open; i++)
		if (!receive(link) || loop_now_ns() >= until_ns)
			return;
}

bool vmbus_link_hung_up(const struct vmbus_link *link)
{
	struct pollfd p = { .fd = link->fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

/* ---- life --------------------------------------------------------------------------------------- */

int vmbus_link_open(struct vmbus_link *link, struct loop *loop, int fd,
		    const struct vmbus_link_ops *ops, const char *tag, struct log_limit *log)
{
	int r;

	*link = (struct vmbus_link){
		.loop = loop, .ops = ops, .tag = tag, .log = log, .fd = fd, .events = EPOLLIN
	};
	msg_rx_init(&link->rx);
	r = loop_add(loop, &link->source, fd, link->events, on_socket);
	if (r < 0)
		fd_drop(&link->fd);
	link->open = r == 0;
	return r;
}

static void on_closed(struct loop_work *work)
{
	struct vmbus_link *link = container_of(work, struct vmbus_link, work);

	msg_rx_done(&link->rx);
	fd_drop(&link->fd);
	free(link->out);
	link->out = NULL;
	link->ops->closed(link, link->reason);
}

void vmbus_link_close(struct vmbus_link *link, int reason)
{
	if (!link->open)
		return;
	link->open = false;
	link->reason = reason;
	loop_del(&link->source);
	loop_defer(link->loop, &link->work, on_closed);
}

void vmbus_link_end(struct vmbus_link *link, int reason, const char *fmt, ...)
{
	va_list ap;

	if (!link->open)
		return;
	va_start(ap, fmt);
	log_vlimited(link->log, reason ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, link->tag, fmt, ap);
	va_end(ap);
	vmbus_link_close(link, reason);
}
