/* SPDX-License-Identifier: MIT */
/* The far ends of connections: bytes to and from a descriptor, or a sibling's buffer.
 *
 * A descriptor is watched edge-triggered: what it said last is remembered in conn->readable, so that a connection
 * whose guest has no room costs nothing, and no system call is made to look away.  Only the wish to write comes and
 * goes (EPOLLOUT while conn->out holds something): a far end that reads would wake us for each of its reads.
 *
 * All calls are MSG_DONTWAIT: whoever shares the descriptor may change its flags. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base.h"
#include "cleanup.h"
#include "relay_impl.h"

/* Messages sent by one call. */
#define MESSAGES 64

/* Empty messages passed over in one go. */
#define EMPTY_MAX 16

/* The send buffer of a descriptor that has been full once.  The default (208 KiB with all its overhead) holds two or
 * three packets of a stream; what it holds is the kernel's memory, so it is not made as large as it can be. */
#define SEND_BUFFER (256 << 10)

#define WATCH_IN ((uint32_t)EPOLLIN | (uint32_t)EPOLLPRI | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLET)

/* What is thrown away in one go, of a far end whose guest does not listen. */
#define DISCARD_BYTES (1u << 20)
#define DISCARD_CALLS 16

/* ---- ends --------------------------------------------------------------------------------------- */

/* Tell the transport what the far end has given up, if that is news. */
static void tell(struct hv_conn *conn)
{
	unsigned how = conn->far_told;

	if (conn->ended)
		how |= HV_SHUTDOWN_SEND;
	if (conn->deaf || (conn->ended && (conn->hung_up || conn->shut_wr)))
		how |= HV_SHUTDOWN_RCV;
	if (how == conn->far_told)
		return;
	conn->far_told = (uint8_t)how;
	conn->vm->ops->far_shutdown(conn, how);
}

/* What waits will not be taken any more. */
static void drop_out(struct hv_conn *conn)
{
	uint32_t len = conn->out_len;

	buffer_clear(&conn->out, &conn->vm->pool);
	conn->out_len = 0;
	if (len > 0)
		conn->vm->ops->taken(conn, len);
}

static void drop_one(struct hv_conn *conn)
{
	loop_forget(&conn->source);
	fd_drop(&conn->fd);
	conn->sibling = NULL;
	conn->readable = false;
	conn->ended = true;
	conn->deaf = true;
	tell(conn);
	drop_out(conn);
	conn_far_gone(conn);
}

void far_drop(struct hv_conn *conn)
{
	struct hv_conn *other = conn->sibling;

	drop_one(conn);
	if (other)
		drop_one(other);
}

static void become_readable(struct hv_conn *conn)
{
	if (conn->readable || conn->ended)
		return;
	conn->readable = true;
	if (conn->state == HV_CONN_CONNECTED)
		conn->vm->ops->readable(conn);
}

/* Is there nothing left to be moved in either direction? */
static bool is_over(const struct hv_conn *conn)
{
	if (conn->far_told == HV_SHUTDOWN_BOTH)
		return true;
	if (conn->guest_shutdown != HV_SHUTDOWN_BOTH || conn->out_len > 0)
		return false;
	return !conn->sibling || conn->sibling->ended;
}

/* A message whose end will not come any more, and nothing in front of it. */
static bool holds_a_torso(const struct hv_conn *conn)
{
	uint32_t len;
	uint8_t flags;

	return conn->seqpacket && conn->out_len > 0 && conn->guest_shutdown & HV_SHUTDOWN_SEND &&
	       !buffer_message(&conn->out, &len, &flags);
}

void far_settle(struct hv_conn *conn)
{
	if (conn->far_done || conn->state != HV_CONN_CONNECTED)
		return;
	if (holds_a_torso(conn))
		drop_out(conn);
	if (conn->fd >= 0 && conn->guest_shutdown == HV_SHUTDOWN_SEND && conn->out_len == 0 &&
	    !conn->shut_wr) {
		(void)shutdown(conn->fd, SHUT_WR);
		conn->shut_wr = true;
	}
	tell(conn);
	if (is_over(conn))
		far_drop(conn);
}

/* A far end that waits to be listened to would never take what waits for it.  One of AF_UNIX has been told by SHUT_RD, and
 * recv() fails; with TCP nothing tells it, and its bytes are passed over without being copied. */
static void discard(struct hv_conn *conn)
{
	for (unsigned i = 0; i < DISCARD_CALLS; i++)
		if (recv(conn->fd, NULL, DISCARD_BYTES, MSG_TRUNC | MSG_DONTWAIT) <= 0)
			return;
	(void)loop_mod(&conn->source, conn->events); /* that there is more has been told once */
}

void far_guest_shutdown(struct hv_conn *conn)
{
	struct hv_conn *other = conn->sibling;
	bool both = conn->guest_shutdown == HV_SHUTDOWN_BOTH;

	if (conn->far_done)
		return;
	if (conn->guest_shutdown & HV_SHUTDOWN_RCV) {
		conn->ended = true;
		conn->far_told |= HV_SHUTDOWN_SEND; /* who does not listen need not hear it */
		if (conn->fd >= 0 && (!both || conn->out_len > 0)) {
			(void)shutdown(conn->fd, SHUT_RD);
			discard(conn);
		}
	}
	if (other) {
		other->fin = conn->guest_shutdown & HV_SHUTDOWN_SEND;
		other->hung_up = both;
		if (conn->guest_shutdown & HV_SHUTDOWN_RCV) {
			other->deaf = true;
			tell(other);
			drop_out(other);
		}
		if (other->fin)
			become_readable(other);
	}
	far_settle(conn);
}

/* ---- a descriptor ------------------------------------------------------------------------------- */

/* Wait for room, or no longer. */
static void watch(struct hv_conn *conn)
{
	uint32_t events = conn->full ? WATCH_IN | (uint32_t)EPOLLOUT : WATCH_IN;
	int size = SEND_BUFFER;

	if (conn->events == events)
		return;
	if (!conn->widened)
		(void)setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	conn->widened = true;
	conn->events = events;
	(void)loop_mod(&conn->source, events);
}

/* sendmsg() without waiting.  Returns the bytes taken, -EAGAIN, -EFAULT, -EMSGSIZE, or -EPIPE for all that means that
 * nothing will be taken any more. */
static ssize_t send_pieces(int fd, struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (r >= 0)
		return r;
	switch (errno) {
	case EAGAIN:
	case EINTR:
	case ENOBUFS:
	case ENOMEM:
		return -EAGAIN;
	case EFAULT:
	case EMSGSIZE:
		return -errno;
	default:
		return -EPIPE;
	}
}

/* The far end takes nothing any more. */
static void become_deaf(struct hv_conn *conn)
{
	conn->deaf = true;
	drop_out(conn);
	far_settle(conn);
}

/* Something waits, and if it is a message then all of it. */
static bool can_flush(const struct hv_conn *conn)
{
	uint32_t len;
	uint8_t flags;

	return conn->seqpacket ? buffer_message(&conn->out, &len, &flags) :
				 !buffer_is_empty(&conn->out);
}

/* One call's worth of it: the bytes taken, or -errno. */
static ssize_t flush_some(struct hv_conn *conn)
{
	struct iovec iov[BUFFER_IOVS];
	ssize_t r;

	if (conn->seqpacket) {
		r = send_pieces(conn->fd, iov, buffer_peek_message(&conn->out, iov));
		if (r >= 0)
			buffer_consume_message(&conn->out, &conn->vm->pool);
	} else {
		r = send_pieces(conn->fd, iov, buffer_peek(&conn->out, UINT32_MAX, iov));
		if (r > 0)
			buffer_consume(&conn->out, &conn->vm->pool, (uint32_t)r);
	}
	return r;
}

/* The descriptor may have room. */
static void flush(struct hv_conn *conn)
{
	uint32_t total = 0;
	ssize_t r = 0;

	while (can_flush(conn) && (r = flush_some(conn)) > 0)
		total += (uint32_t)r;
	conn->full = r == -EAGAIN;
	watch(conn);
	conn->out_len -= total;
	if (total > 0 || conn->held) {
		conn->held = false;
		conn->vm->ops->taken(conn, total);
	}
	if (r == -EMSGSIZE) {
		conn->vm->stats.reset_message++;
		drop_out(conn); /* or its end would wait for it */
		conn->vm->ops->reset(conn);
	} else if (r < 0 && r != -EAGAIN) {
		become_deaf(conn);
	} else {
		far_settle(conn);
	}
}

static void on_far(struct loop_source *src, uint32_t events)
{
	struct hv_conn *conn = container_of(src, struct hv_conn, source);

	if (events & (EPOLLHUP | EPOLLERR))
		conn->hung_up = true;
	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		conn->fin = true;
	if (events & EPOLLPRI)
		conn->urgent = true;
	if (conn->full && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		flush(conn);
	if (conn->hung_up && conn->state == HV_CONN_CONNECTING) {
		conn_give_up(conn, -ECONNABORTED);
		return;
	}
	if (conn->far_done)
		return;
	if (conn->guest_shutdown & HV_SHUTDOWN_RCV)
		discard(conn);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		become_readable(conn);
	far_settle(conn);
}

int far_join(struct hv_conn *conn)
{
	conn->events = WATCH_IN;
	return loop_add(conn->vm->relay->loop, &conn->source, conn->fd, conn->events, on_far);
}

/* ---- from the guest ----------------------------------------------------------------------------- */

/* What was kept cannot be completed: the connection is about to be reset, and not a byte follows. */
static int lose(struct hv_conn *conn, int r)
{
	buffer_clear(&conn->out, &conn->vm->pool);
	conn->out_len = 0;
	conn->deaf = true;
	return r;
}

/* Keep bytes [skip, skip + len) for later. */
static int keep(struct hv_conn *conn, const struct iovec *iov, uint32_t skip, uint32_t len)
{
	int r = buffer_append(&conn->out, &conn->vm->pool, iov, skip, len);

	if (r < 0)
		return lose(conn, r);
	conn->out_len += len;
	conn->vm->stats.bytes_buffered += len;
	if (conn->sibling) {
		become_readable(conn->sibling);
	} else {
		conn->full = true; /* or there would be nothing to keep */
		watch(conn);
	}
	return 0;
}

ssize_t hv_far_write(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len)
{
	ssize_t took = 0;
	int r;

	conn->bytes_from_guest += len;
	if (unlikely(conn->far_done || conn->deaf))
		return len;
	if (!conn->sibling && buffer_is_empty(&conn->out)) {
		took = send_pieces(conn->fd, iov, n);
		if (likely(took == (ssize_t)len))
			return took;
		if (took == -EAGAIN) {
			took = 0;
		} else if (took == -EPIPE) {
			become_deaf(conn);
			return len;
		} else if (took < 0) {
			return took;
		}
	}
	r = keep(conn, iov, (uint32_t)took, len - (uint32_t)took);
	return r < 0 ? r : took;
}

ssize_t hv_far_send(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len)
{
	ssize_t took = len;

	if (likely(!conn->far_done && !conn->deaf))
		took = send_pieces(conn->fd, iov, n);
	if (took == -EPIPE) {
		become_deaf(conn);
		took = len;
	} else if (took == -EAGAIN) {
		took = 0;
	} else if (took < 0) {
		return took;
	}
	conn->bytes_from_guest += (uint64_t)took;
	if (took < (ssize_t)len) {
		conn->full = conn->held = true;
		watch(conn);
	}
	return took;
}

/* Whole messages in front of parts[0..n), straight to the descriptor.  *ret_done: parts that are dealt with.  Returns
 * the bytes taken, or -errno. */
static ssize_t send_messages(struct hv_conn *conn, struct iovec *iov, const struct hv_part *part,
			     unsigned n, unsigned *ret_done)
{
	struct mmsghdr msgs[MESSAGES];
	unsigned end[MESSAGES] = { 0 }, n_msgs = 0, first = 0;
	ssize_t took = 0;
	int r;

	for (unsigned i = 0; i < n && n_msgs < MESSAGES; i++) {
		first += part[i].n_iov;
		if (!(part[i].flags & HV_MSG_END))
			continue;
		msgs[n_msgs] =
			(struct mmsghdr){ .msg_hdr = { .msg_iov = iov, .msg_iovlen = first } };
		iov += first;
		first = 0;
		end[n_msgs++] = i + 1;
	}
	*ret_done = 0;
	if (n_msgs == 0)
		return 0;
	r = sendmmsg(conn->fd, msgs, n_msgs, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (r < 0)
		return errno == EFAULT || errno == EMSGSIZE || errno == EPIPE ||
				       errno == ECONNRESET || errno == ENOTCONN ?
			       -errno :
			       0;
	for (int i = 0; i < r; i++)
		took += msgs[i].msg_len;
	*ret_done = r > 0 ? end[r - 1] : 0;
	return took;
}

static int keep_parts(struct hv_conn *conn, const struct iovec *iov, const struct hv_part *part,
		      unsigned n)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		r = buffer_append_part(&conn->out, &conn->vm->pool, iov, 0, part[i].len,
				       part[i].flags & HV_MSG_END, part[i].flags);
		if (r == 0) {
			conn->out_len += part[i].len;
			conn->vm->stats.bytes_buffered += part[i].len;
		}
		iov += part[i].n_iov;
	}
	if (r < 0)
		return lose(conn, r);
	if (n > 0 && conn->sibling)
		become_readable(conn->sibling);
	else if (!conn->full) /* what was the middle of a message may have got its end */
		flush(conn);
	return 0;
}

ssize_t hv_far_write_parts(struct hv_conn *conn, struct iovec *iov, const struct hv_part *part,
			   unsigned n)
{
	unsigned done = 0;
	uint32_t len = 0;
	ssize_t took = 0;
	int r;

	for (unsigned i = 0; i < n; i++)
		len += part[i].len;
	conn->bytes_from_guest += len;
	if (conn->far_done || conn->deaf)
		return len;
	if (!conn->sibling && buffer_is_empty(&conn->out)) {
		took = send_messages(conn, iov, part, n, &done);
		if (took == -EFAULT || took == -EMSGSIZE)
			return took;
		if (took < 0) {
			become_deaf(conn);
			return len;
		}
	}
	for (unsigned i = 0; i < done; i++)
		iov += part[i].n_iov;
	r = keep_parts(conn, iov, part + done, n - done);
	return r < 0 ? r : took;
}

/* ---- to the guest ------------------------------------------------------------------------------- */

static ssize_t at_end(struct hv_conn *conn)
{
	conn->readable = false;
	conn->ended = true;
	far_settle(conn);
	return 0;
}

static ssize_t nothing_yet(struct hv_conn *conn)
{
	conn->readable = false;
	return -EAGAIN;
}

/* What recvmsg() said. */
static ssize_t judge(struct hv_conn *conn, ssize_t r)
{
	if (r > 0)
		return r;
	if (r == 0)
		return at_end(conn);
	if (errno == EAGAIN)
		return nothing_yet(conn);
	if (errno == EINTR || errno == ENOMEM)
		return -EAGAIN; /* conn->readable stands: it is tried again */
	if (errno == EFAULT)
		return -EFAULT;
	conn->hung_up = true; /* ECONNRESET and its like */
	return at_end(conn);
}

/* Copy pieces to pieces; returns the bytes copied. */
static uint32_t copy_pieces(const struct iovec *to, unsigned n_to, const struct iovec *from,
			    unsigned n_from)
{
	size_t at_to = 0, at_from = 0;
	uint32_t total = 0;

	while (n_to > 0 && n_from > 0) {
		size_t n = min(to->iov_len - at_to, from->iov_len - at_from);

		memcpy((char *)to->iov_base + at_to, (const char *)from->iov_base + at_from, n);
		total += (uint32_t)n;
		at_to += n;
		at_from += n;
		if (at_to == to->iov_len) {
			to++;
			n_to--;
			at_to = 0;
		}
		if (at_from == from->iov_len) {
			from++;
			n_from--;
			at_from = 0;
		}
	}
	return total;
}

/* A sibling's buffer is empty, or holds no whole message. */
static ssize_t sibling_empty(struct hv_conn *conn)
{
	return conn->fin ? at_end(conn) : nothing_yet(conn);
}

static void sibling_took(struct hv_conn *conn, uint32_t len)
{
	struct hv_conn *other = conn->sibling;

	conn->bytes_to_guest += len;
	other->out_len -= len;
	other->vm->ops->taken(other, len);
}

static ssize_t read_sibling(struct hv_conn *conn, const struct iovec *iov, unsigned n)
{
	struct hv_conn *other = conn->sibling;
	struct iovec from[BUFFER_IOVS];
	unsigned n_from = buffer_peek(&other->out, UINT32_MAX, from);
	uint32_t len = copy_pieces(iov, n, from, n_from);

	if (len == 0)
		return sibling_empty(conn);
	buffer_consume(&other->out, &other->vm->pool, len);
	sibling_took(conn, len);
	return len;
}

ssize_t hv_far_read(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r;

	if (conn->ended)
		return 0;
	if (!conn->readable)
		return -EAGAIN;
	if (conn->sibling)
		return read_sibling(conn, iov, n);
	r = judge(conn, recvmsg(conn->fd, &msg, MSG_DONTWAIT));
	if (r <= 0)
		return r;
	/* Less than there was room for: it is empty, and the next byte will tell.  An end has told already; and a read stops,
	 * too, at what lies in a stream besides its bytes: descriptors, urgent data. */
	if (r < (ssize_t)len && !conn->fin && !conn->urgent && !(msg.msg_flags & MSG_CTRUNC))
		conn->readable = false;
	conn->bytes_to_guest += (uint64_t)r;
	return r;
}

ssize_t hv_far_peek(struct hv_conn *conn)
{
	uint8_t flags;
	uint32_t len;
	int behind;

	if (conn->ended)
		return 0;
	if (!conn->readable)
		return -EAGAIN;
	if (conn->sibling)
		return buffer_message(&conn->sibling->out, &len, &flags) ? (ssize_t)len :
									   sibling_empty(conn);
	for (unsigned i = 0; i < EMPTY_MAX; i++) {
		ssize_t r = recv(conn->fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);

		if (r != 0)
			return judge(conn, r);
		/* Nothing, or a message that is nothing: they look alike. */
		(void)recv(conn->fd, NULL, 0, MSG_DONTWAIT);
	}
	if (ioctl(conn->fd, FIONREAD, &behind) == 0 && behind > 0)
		return -EAGAIN; /* conn->readable stands: it is tried again */
	return conn->fin ? at_end(conn) : nothing_yet(conn);
}

static ssize_t read_message_of_sibling(struct hv_conn *conn, const struct iovec *iov, unsigned n,
				       unsigned *ret_flags)
{
	struct hv_conn *other = conn->sibling;
	struct iovec from[BUFFER_IOVS];
	uint8_t flags = 0;
	uint32_t len = 0;

	(void)buffer_message(&other->out, &len, &flags);
	(void)copy_pieces(iov, n, from, buffer_peek_message(&other->out, from));
	buffer_consume_message(&other->out, &other->vm->pool);
	sibling_took(conn, len);
	*ret_flags = flags & HV_MSG_EOR;
	return len;
}

ssize_t hv_far_read_message(struct hv_conn *conn, struct iovec *iov, unsigned n, uint32_t len,
			    unsigned *ret_flags)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r;

	if (conn->sibling)
		return read_message_of_sibling(conn, iov, n, ret_flags);
	r = judge(conn, recvmsg(conn->fd, &msg, MSG_DONTWAIT));
	if (r <= 0)
		return r;
	conn->bytes_to_guest += (uint64_t)r;
	*ret_flags = msg.msg_flags & MSG_EOR ? HV_MSG_EOR : 0;
	return r;
}
