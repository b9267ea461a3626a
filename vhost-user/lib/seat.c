/* SPDX-License-Identifier: MIT */
#include "seat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"

static void count(uint64_t *counter)
{
	if (counter)
		++*counter;
}

/* ---- the usual frontend: a session of vhost-user ------------------------ */

static int vhost_user_begin(struct seat *s, int fd)
{
	int r = vu_session_new(s->loop, fd, s->ops, s->device, s->tag, &s->log, &s->session);

	if (r == 0)
		vu_session_set_places(s->session, s->places);
	return r;
}

static void vhost_user_end(struct seat *s)
{
	vu_session_close(s->session, 0);
}

static const char *vhost_user_state(const struct seat *s)
{
	return vu_session_state(s->session);
}

static const struct seat_protocol vhost_user = {
	.begin = vhost_user_begin,
	.end = vhost_user_end,
	.state = vhost_user_state,
};

/* ---- one frontend after the other --------------------------------------- */

static void serve(struct seat *s, int fd)
{
	int r;

	if (s->seating)
		s->seating(s);
	r = s->protocol->begin(s, fd);
	if (r < 0) {
		log_limited(&s->log, LOG_LEVEL_ERROR, s->tag, "cannot serve a frontend: %s",
			    strerror(-r));
		return;
	}
	s->taken = true;
	count(s->n_sessions);
	if (s->seated)
		s->seated(s);
}

static void serve_pending(struct seat *s)
{
	int fd = fd_take(&s->pending_fd);

	loop_timer_cancel(s->loop, &s->pending);
	if (fd >= 0)
		serve(s, fd);
}

/* The last frontend broke the rules.  The next one, also if it waits already, has to wait. */
static void back_off(struct seat *s)
{
	(void)loop_mod(&s->listener, 0);
	loop_timer_cancel(s->loop, &s->pending);
	loop_timer_set(s->loop, &s->backoff, loop_now_ns() + SEAT_BACKOFF_NS);
}

static void on_backoff_over(struct loop_timer *timer)
{
	struct seat *s = container_of(timer, struct seat, backoff);

	(void)loop_mod(&s->listener, EPOLLIN);
	serve_pending(s);
}

static void refuse(struct seat *s, int fd)
{
	close(fd);
	count(s->n_refused);
	log_limited(&s->log, LOG_LEVEL_WARNING, s->tag,
		    "turned a second frontend away: one is connected");
}

static void on_pending_over(struct loop_timer *timer)
{
	struct seat *s = container_of(timer, struct seat, pending);

	refuse(s, fd_take(&s->pending_fd));
}

static void on_listener(struct loop_source *src, uint32_t events)
{
	struct seat *s = container_of(src, struct seat, listener);
	int fd, r = listen_accept(s->listen_fd, &fd);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		log_limited(&s->log, LOG_LEVEL_ERROR, s->tag, "accept: %s", strerror(-r));
	} else if (!s->taken) {
		serve(s, fd);
	} else if (s->pending_fd < 0) {
		s->pending_fd = fd;
		loop_timer_set(s->loop, &s->pending, loop_now_ns() + SEAT_PENDING_NS);
	} else {
		refuse(s, fd);
	}
}

/* ---- a frontend that listens ------------------------------------------ */

/* A Unix socket is connected at once or not at all; a full backlog says EAGAIN. */
static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	memcpy(sa.sun_path, path, strlen(path)); /* seat_dial() has measured it */
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

static void dial_after(struct seat *s, uint64_t ns)
{
	loop_timer_set(s->loop, &s->dial, loop_now_ns() + ns);
}

static void on_dial(struct loop_timer *timer)
{
	struct seat *s = container_of(timer, struct seat, dial);
	int fd = -1, r = connect_to(s->dial_path, &fd);

	if (r < 0) {
		log_debug(s->tag, "%s: %s", s->dial_path, strerror(-r));
		dial_after(s, s->dial_wait_ns);
		s->dial_wait_ns = min(2 * s->dial_wait_ns, (uint64_t)SEAT_DIAL_MAX_NS);
		return;
	}
	s->dial_wait_ns = SEAT_DIAL_MIN_NS;
	serve(s, fd);
	if (!s->taken)
		dial_after(s, SEAT_DIAL_MAX_NS);
}

int seat_dial(struct seat *seat, const char *path)
{
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return -ENAMETOOLONG;
	seat->dial_path = strdup(path);
	if (!seat->dial_path)
		return -ENOMEM;
	seat->dial_wait_ns = SEAT_DIAL_MIN_NS;
	dial_after(seat, 0);
	return 0;
}

/* ---- life --------------------------------------------------------------- */

void seat_init(struct seat *seat, struct loop *loop, const struct vu_device_ops *ops, void *device,
	       const char *tag)
{
	*seat = (struct seat){
		.loop = loop,
		.ops = ops,
		.device = device,
		.tag = tag,
		.protocol = &vhost_user,
		.listen_fd = -1,
		.pending_fd = -1,
	};
	loop_timer_init(&seat->pending, on_pending_over);
	loop_timer_init(&seat->backoff, on_backoff_over);
	loop_timer_init(&seat->dial, on_dial);
}

int seat_open(struct seat *seat, const char *path, int listen_fd)
{
	auto_fd int fd = listen_fd;
	auto_free char *copy = path ? strdup(path) : NULL;
	int r;

	if (path && !copy)
		return -ENOMEM;
	r = loop_add(seat->loop, &seat->listener, fd, EPOLLIN, on_listener);
	if (r < 0)
		return r;
	seat->listen_fd = fd_take(&fd);
	seat->path = copy;
	copy = NULL;
	return 0;
}

void seat_adopt(struct seat *seat, int fd)
{
	serve(seat, fd);
}

void seat_vacate(struct seat *seat)
{
	seat->session = NULL;
	seat->taken = false;
}

void seat_next(struct seat *seat, int reason)
{
	bool broke_rules = reason == -EPROTO || reason == -EFAULT;

	if (seat->dial_path)
		dial_after(seat, broke_rules ? SEAT_BACKOFF_NS : SEAT_DIAL_MIN_NS);
	else if (seat->listen_fd >= 0 && broke_rules)
		back_off(seat);
	else
		serve_pending(seat);
}

bool seat_close(struct seat *seat)
{
	loop_del(&seat->listener);
	loop_timer_cancel(seat->loop, &seat->pending);
	loop_timer_cancel(seat->loop, &seat->backoff);
	fd_drop(&seat->pending_fd);
	fd_drop(&seat->listen_fd);
	if (seat->path)
		listen_unlink(seat->path);
	free(seat->path);
	seat->path = NULL;
	loop_timer_cancel(seat->loop, &seat->dial);
	free(seat->dial_path);
	seat->dial_path = NULL;
	if (seat->taken)
		seat->protocol->end(seat);
	return seat->taken;
}

const char *seat_state(const struct seat *seat)
{
	const char *state = seat->taken ? seat->protocol->state(seat) : "closing";

	if (strcmp(state, "closing") != 0)
		return state;
	if (seat->dial_path)
		return "dialling";
	return seat->listen_fd >= 0 ? "listening" : "closed";
}
