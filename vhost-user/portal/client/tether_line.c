/* SPDX-License-Identifier: MIT */
#include "tether_impl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "clock.h"
#include "dial.h"

/* While the daemon is away: how often to look for it. */
#define RETRY_NS (100 * NS_PER_MS)

/* ---- the connection ---------------------------------------------------------- */

static void answer_all(struct tether *t, int status)
{
	for (struct question *q = t->questions; q; q = q->next) {
		q->answered = true;
		q->status = status;
	}
	t->questions = NULL;
}

static void watch_room(struct tether *t, bool wanted)
{
	struct epoll_event event = { .events = EPOLLIN | (wanted ? EPOLLOUT : 0) };

	if (wanted == t->waiting_for_room || t->sock < 0)
		return;
	(void)epoll_ctl(t->epoll, EPOLL_CTL_MOD, t->sock, &event);
	t->waiting_for_room = wanted;
}

static void set_timer(struct tether *t, uint64_t period_ns)
{
	struct timespec period = timespec_of_ns(period_ns);
	struct itimerspec spec = { .it_interval = period, .it_value = period };

	(void)timerfd_settime(t->timer, 0, &spec, NULL);
}

/* The connection has ended, for the reason `why`; it may be made anew unless the lease is over. */
static void hang_up(struct tether *t, enum tether_state state, int why)
{
	uint64_t now = clock_ns();

	fd_drop(&t->sock);
	if (t->state == CONNECTED)
		t->away_since_ns = now;
	t->state = state;
	t->why = why;
	t->next_try_ns = now + RETRY_NS;
	t->in_len = 0;
	t->out_len = 0;
	t->waiting_for_room = false;
	memset(t->late, 0, sizeof(t->late));
	t->bells++;
	if (state == OVER && t->over)
		t->over(t->ctx);
	answer_all(t, state == OVER ? -ESTALE : -ENOTCONN);
	set_timer(t, state == OVER ? 0 : RETRY_NS);
}

static void send_out(struct tether *t)
{
	while (t->out_len > 0) {
		ssize_t n = send(t->sock, t->out, t->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				hang_up(t, AWAY, -errno);
			break;
		}
		t->out_len -= (size_t)n;
		memmove(t->out, t->out + n, t->out_len);
	}
	watch_room(t, t->out_len > 0);
}

int tether_put(struct tether *t, const struct portal_frame *frame)
{
	if (sizeof(t->out) - t->out_len < sizeof(*frame))
		return -EAGAIN;
	memcpy(t->out + t->out_len, frame, sizeof(*frame));
	t->out_len += sizeof(*frame);
	send_out(t);
	return t->sock < 0 ? -ENOTCONN : 0;
}

uint32_t tether_next_seq(struct tether *t)
{
	if (++t->last_seq == 0)
		t->last_seq = 1;
	return t->last_seq;
}

static void say_hello(struct tether *t)
{
	struct portal_frame hello = {
		.type = le32_of(PORTAL_HELLO),
		.seq = le32_of(tether_next_seq(t)),
		.args = { le64_of(PORTAL_WIRE_VERSION), le64_of(t->kernel), le64_of(t->grant.owner),
			  le64_of(t->want_fd && !t->greeted ? PORTAL_HELLO_FD : 0) },
	};

	memcpy(hello.name, t->name, strlen(t->name));
	t->state = GREETING;
	(void)tether_put(t, &hello);
}

static void begin_to_connect(struct tether *t)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	int sock = dial(t->where);

	if (sock >= 0 && epoll_ctl(t->epoll, EPOLL_CTL_ADD, sock, &event) < 0) {
		int why = -errno;

		close(sock);
		sock = why;
	}
	if (sock < 0) {
		t->why = sock;
		t->next_try_ns = clock_ns() + RETRY_NS;
		set_timer(t, RETRY_NS);
		return;
	}
	t->sock = sock;
	t->waiting_for_room = true;
	t->greeting_since_ns = clock_ns();
	t->state = CONNECTING;
}

static void go_on_connecting(struct tether *t)
{
	struct pollfd pfd = { .fd = t->sock, .events = POLLOUT };
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&pfd, 1, 0) <= 0)
		return;
	if (getsockopt(t->sock, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error) {
		hang_up(t, AWAY, -error);
		return;
	}
	say_hello(t);
}

/* ---- what the daemon says ---------------------------------------------------- */

static void ask_for_notices(struct tether *t)
{
	struct portal_frame notify = {
		.type = le32_of(PORTAL_NOTIFY),
		.args = { le64_of(PORTAL_NOTIFY_DEATHS |
				  (t->watch_names ? PORTAL_NOTIFY_NAMES : 0)) },
	};

	(void)tether_put(t, &notify);
}

static enum portal_mode mode_of(uint64_t word)
{
	return word == PORTAL_READ_WRITE ? PORTAL_READ_WRITE : PORTAL_READ_ONLY;
}

/* The first HELLO's answer decides what the lease is; later ones must say the same. */
static void take_grant(struct tether *t, const struct portal_frame *frame)
{
	struct tether_grant grant = {
		.owner = le64_get(frame->args[0]),
		.generation = le64_get(frame->args[1]),
		.mode = mode_of(le64_get(frame->args[2])),
		.quota = (uint32_t)min(le64_get(frame->args[3]), (uint64_t)PORTAL_EXTENTS_MAX),
		.arena_size = le64_get(frame->args[4]),
		.arena_offset = le64_get(frame->args[5]),
		.fd = t->grant.fd,
	};

	memcpy(grant.arena, frame->name, sizeof(grant.arena));
	grant.arena[sizeof(grant.arena) - 1] = '\0';
	if (!portal_owner_valid(grant.owner))
		hang_up(t, AWAY, -EPROTO);
	else if (t->greeted &&
		 (grant.owner != t->grant.owner || grant.generation != t->grant.generation ||
		  grant.mode != t->grant.mode))
		hang_up(t, OVER, -ESTALE);
	else {
		t->grant = grant;
		t->greeted = true;
		t->state = CONNECTED;
		t->bells++;
		set_timer(t, 0);
		ask_for_notices(t);
	}
}

static void on_hello(struct tether *t, const struct portal_frame *frame)
{
	int status = (int32_t)le32_get(frame->status);

	if (status == 0)
		take_grant(t, frame);
	else if (status == -ESTALE)
		hang_up(t, OVER, status);
	else if (status == -EPROTONOSUPPORT)
		hang_up(t, AWAY, -EOPNOTSUPP);
	else
		hang_up(t, AWAY, status < 0 ? status : -EPROTO);
}

/* Extents that were granted to a question nobody waits for any more go back, unasked. */
static void give_back_late(struct tether *t, const struct portal_frame *frame)
{
	struct portal_frame put = { .type = le32_of(PORTAL_EXTENT_PUT),
				    .args = { frame->args[0] } };

	for (unsigned i = 0; i < LATE_MAX; i++) {
		struct late *late = &t->late[i];

		if (late->n == 0 || late->seq != le32_get(frame->seq))
			continue;
		put.args[1] = le64_of(late->n);
		late->n = 0;
		if (le32_get(frame->status) == 0)
			(void)tether_put(t, &put);
	}
}

static void on_reply(struct tether *t, const struct portal_frame *frame)
{
	uint32_t seq = le32_get(frame->seq);

	for (struct question **q = &t->questions; *q; q = &(*q)->next) {
		struct question *found = *q;

		if (found->seq != seq || le32_get(found->frame->type) != le32_get(frame->type))
			continue;
		*q = found->next;
		*found->frame = *frame;
		found->answered = true;
		found->status = min((int32_t)le32_get(frame->status), 0);
		return;
	}
	if (le32_get(frame->type) == PORTAL_EXTENT_GET)
		give_back_late(t, frame);
}

static void on_notice(struct tether *t, const struct portal_frame *frame)
{
	t->bells++;
	switch (le32_get(frame->type)) {
	case PORTAL_RANG:
		t->rung++;
		break;
	case PORTAL_REVOKED:
		hang_up(t, OVER, -ESTALE);
		break;
	default: /* QUIESCED, DIED, NAMED, and what a later daemon may say: look again */
		break;
	}
}

static void on_frame(struct tether *t, const struct portal_frame *frame)
{
	if (le32_get(frame->seq) == 0)
		on_notice(t, frame);
	else if (t->state != GREETING)
		on_reply(t, frame);
	else if (le32_get(frame->type) == PORTAL_HELLO && le32_get(frame->seq) == t->last_seq)
		on_hello(t, frame);
	else
		hang_up(t, AWAY, -EPROTO);
}

/* A descriptor is the arena if it was asked for and is the first; any other is nothing we know. */
static void take_fds(struct tether *t, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (t->want_fd && !t->greeted && t->grant.fd < 0)
				t->grant.fd = fd;
			else
				close(fd);
		}
	}
}

static ssize_t receive(struct tether *t)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = { t->in + t->in_len, sizeof(t->in) - t->in_len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	ssize_t n;

	do
		n = recvmsg(t->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_fds(t, &msg);
	return n ? n : -ECONNRESET;
}

/* All that has arrived by now, bounded by what one buffer holds so that a chattering daemon does not keep us. */
static void take_in(struct tether *t)
{
	ssize_t n = receive(t);
	size_t done = 0, len;

	if (n < 0) {
		if (n != -EAGAIN)
			hang_up(t, AWAY, (int)n);
		return;
	}
	len = t->in_len + (size_t)n;
	t->in_len = len;
	for (; len - done >= PORTAL_FRAME && t->sock >= 0; done += PORTAL_FRAME) {
		struct portal_frame frame;

		memcpy(&frame, t->in + done, sizeof(frame));
		on_frame(t, &frame);
	}
	if (t->sock >= 0) { /* else hang_up() has forgotten the rest */
		t->in_len = len - done;
		memmove(t->in, t->in + done, t->in_len);
	}
}

void tether_step(struct tether *t)
{
	uint64_t ticks;

	if (t->state != CONNECTED)
		(void)!read(t->timer, &ticks, sizeof(ticks));
	if (t->state == AWAY && clock_ns() >= t->next_try_ns)
		begin_to_connect(t);
	if (t->state == CONNECTING)
		go_on_connecting(t);
	if ((t->state == CONNECTING || t->state == GREETING) &&
	    clock_ns() - t->greeting_since_ns > t->timeout_ms * NS_PER_MS)
		hang_up(t, AWAY, -ETIMEDOUT);
	if (t->sock >= 0 && t->out_len > 0)
		send_out(t);
	if (t->sock >= 0 && t->state != CONNECTING && !t->polling)
		take_in(t);
}
