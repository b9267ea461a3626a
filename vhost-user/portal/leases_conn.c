/* SPDX-License-Identifier: MIT */
/* Leases: the connections, frames in and out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base.h"
#include "leases_impl.h"
#include "log.h"
#include "scm.h"

#define MS 1000000ull
#define IN_PER_PASS \
	(2 * LEASES_IN_MAX) /* frames of one connection, before others have their turn */

/* ---- out ---- */

static uint32_t room(const struct leases_conn *c)
{
	return LEASES_OUT_MAX - c->n_out;
}

/* So many replies wait that no more requests are read. */
static bool is_full(const struct leases_conn *c)
{
	return c->n_out >= PORTAL_UNREAD_MAX;
}

static void enqueue(struct leases_conn *c, const struct portal_frame *frame)
{
	if (c->deaf)
		return;
	c->out[(c->out_at + c->n_out++) % LEASES_OUT_MAX] = *frame;
	loop_defer(c->leases->loop, &c->send_work, c->send_work.fn);
}

void leases_conn_send(struct leases_conn *c, const struct portal_frame *frame)
{
	if (room(c) == 0)
		leases_conn_end(
			c); /* replies that were not asked for in this pass: it is far beyond its share */
	else if (!c->ended)
		enqueue(c, frame);
}

bool leases_conn_tell(struct leases_conn *c, const struct portal_frame *frame)
{
	if (c->ended || c->n_out >= PORTAL_UNREAD_MAX / 2)
		return false;
	enqueue(c, frame);
	return true;
}

void leases_conn_kick(struct leases_conn *c)
{
	if (!c->ended)
		loop_defer(c->leases->loop, &c->send_work, c->send_work.fn);
}

void leases_conn_ring(struct leases_conn *c, uint64_t from, uint32_t cookie)
{
	struct leases_stats *stats = &c->leases->stats;

	for (uint32_t i = 0; i < c->n_bells; i++) {
		if (c->bell[i].from == from && c->bell[i].cookie == cookie) {
			stats->bells_merged++;
			return;
		}
	}
	stats->bells++;
	if (c->bell_all)
		stats->bells_merged++;
	else if (c->n_bells == PORTAL_BELLS_MAX)
		c->bell_all = true;
	else
		c->bell[c->n_bells++] = (struct leases_bell){ from, cookie };
	leases_conn_kick(c);
}

static bool tell_rang(struct leases_conn *c, uint64_t from, uint64_t cookie)
{
	const struct portal_frame frame = {
		.type = le32_of(PORTAL_RANG),
		.args = { le64_of(from), le64_of(cookie) },
	};

	return leases_conn_tell(c, &frame);
}

/* Turn bits into frames, as far as there is room. */
static void tell_pending(struct leases_conn *c)
{
	const struct quiesce *q = &c->leases->quiesce;
	const struct portal_frame quiesced = {
		.type = le32_of(PORTAL_QUIESCED),
		.args = { le64_of(q->epoch), le64_of(q->state), le64_of(quiesce_left_ms(q)) },
	};
	uint32_t n = 0;

	if (!c->lease)
		return;
	if (c->tell_quiesce && leases_conn_tell(c, &quiesced))
		c->tell_quiesce = false;
	if (c->bell_all && tell_rang(c, 0, PORTAL_BELL_ALL)) {
		c->bell_all = false;
		c->n_bells = 0;
	}
	while (n < c->n_bells && tell_rang(c, c->bell[n].from, c->bell[n].cookie))
		n++;
	c->n_bells -= n;
	memmove(c->bell, c->bell + n, c->n_bells * sizeof(c->bell[0]));
}

/* What goes with the first byte of the frame that welcomes, when that is the first one out: the arena's descriptor, or -1. */
static int next_fd(const struct leases_conn *c)
{
	const struct arena *a = c->leases->arena;

	if (!c->wants_fd || c->n_before_fd > 0)
		return -1;
	return c->client->mode == PORTAL_READ_WRITE ? a->fd : a->ro_fd;
}

/* Send of all there is what fits; the descriptor's frame begins anew.  Bytes, or -errno. */
static ssize_t send_once(struct leases_conn *c)
{
	uint32_t n_out = c->wants_fd && c->n_before_fd ? c->n_before_fd : c->n_out;
	uint32_t first = min(n_out, LEASES_OUT_MAX - c->out_at);
	const struct iovec iov[2] = {
		{ (uint8_t *)&c->out[c->out_at] + c->out_sent,
		  (size_t)first * PORTAL_FRAME - c->out_sent },
		{ c->out, (size_t)(n_out - first) * PORTAL_FRAME },
	};

	return scm_send(c->fd, iov, 2, next_fd(c));
}

static void sent(struct leases_conn *c, size_t n)
{
	uint32_t frames;

	if (c->n_before_fd == 0)
		c->wants_fd = false;
	c->out_sent += n;
	frames = (uint32_t)(c->out_sent / PORTAL_FRAME);
	c->out_sent %= PORTAL_FRAME;
	c->out_at = (c->out_at + frames) % LEASES_OUT_MAX;
	c->n_out -= frames;
	c->n_before_fd -= min(frames, c->n_before_fd);
}

/* 0, or -errno: the connection is of no more use. */
static int send_all(struct leases_conn *c)
{
	for (;;) {
		ssize_t n;

		tell_pending(c);
		if (c->n_out == 0)
			return 0;
		n = send_once(c);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		sent(c, (size_t)n);
	}
}

static void wait_for(struct leases_conn *c)
{
	uint32_t events = (is_full(c) ? 0 : (uint32_t)EPOLLIN) |
			  (c->n_out ? (uint32_t)EPOLLOUT : 0);

	if (events != c->events && loop_mod(&c->src, events) == 0)
		c->events = events;
}

/* ---- in ---- */

/* Carry out the frames that have come whole.  False: it has ended. */
static bool take_frames(struct leases_conn *c)
{
	size_t at = 0;

	while (c->n_in - at >= PORTAL_FRAME && !is_full(c)) {
		struct portal_frame frame;

		memcpy(&frame, c->in + at, sizeof(frame));
		at += PORTAL_FRAME;
		if (!leases_request(c, &frame)) {
			c->leases->stats.faults++;
			log_limited(&c->client->log, LOG_LEVEL_WARNING, c->client->name,
				    "a connection is ended: it does not speak the lease protocol");
			leases_conn_end(c);
		}
		if (c->ended)
			return false;
	}
	c->n_in -= at;
	memmove(c->in, c->in + at, c->n_in);
	return true;
}

/* One look at the socket.  True: there may be more. */
static bool receive(struct leases_conn *c)
{
	ssize_t n;

	if (!take_frames(c) || c->n_in == sizeof(c->in) || is_full(c))
		return false;
	n = recv(c->fd, c->in + c->n_in, sizeof(c->in) - c->n_in, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && !c->deaf)
		return false;
	if (n <= 0) {
		leases_conn_end(c);
		return false;
	}
	c->n_in += (size_t)n;
	return take_frames(c) && c->n_in < PORTAL_FRAME;
}

/* Its turn to say something. */
static void listen_to(struct leases_conn *c)
{
	for (unsigned i = 0; i < IN_PER_PASS / LEASES_IN_MAX && receive(c); i++)
		continue;
}

/* Nobody is there to be told anything.  What he said last is still to be read, a BYE perhaps: the end is behind it. */
static void outlive(struct leases_conn *c)
{
	c->deaf = true;
	c->n_out = 0;
}

static void on_send(struct loop_work *work)
{
	struct leases_conn *c = container_of(work, struct leases_conn, send_work);

	if (c->ended)
		return;
	if (send_all(c) < 0) {
		outlive(c);
		listen_to(c);
	}
	/* Requests that were left because their replies had no room. */
	if (c->ended || (c->n_in >= PORTAL_FRAME && !take_frames(c)))
		return;
	wait_for(c);
}

static void on_event(struct loop_source *src, uint32_t events)
{
	struct leases_conn *c = container_of(src, struct leases_conn, src);

	if (events & (EPOLLERR | EPOLLHUP))
		outlive(c);
	listen_to(c);
	if (!c->ended)
		leases_conn_kick(c);
}

/* ---- coming and going ---- */

void leases_conn_welcome(struct leases_conn *c)
{
	if (!c->half_open)
		return;
	c->half_open = false;
	c->client->n_half_open--;
	loop_timer_cancel(c->leases->loop, &c->hello);
}

static void on_silence(struct loop_timer *timer)
{
	struct leases_conn *c = container_of(timer, struct leases_conn, hello);

	c->leases->stats.silent++;
	leases_conn_end(c);
}

static void on_free(struct loop_work *work)
{
	free(container_of(work, struct leases_conn, free_work));
}

static int peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

static void link_conn(struct leases_conn *c)
{
	struct leases *l = c->leases;

	c->next = l->conns;
	if (c->next)
		c->next->prev = c;
	l->conns = c;
	c->half_open = true;
	c->client->n_half_open++;
	loop_timer_set(l->loop, &c->hello, loop_now_ns() + LEASES_HELLO_MS * MS);
}

void leases_conn_accept(struct acceptor *acceptor, int fd)
{
	struct leases_client *client = container_of(acceptor, struct leases_client, acceptor);
	struct leases_conn *c = NULL;

	if (client->n_half_open < LEASES_HALF_OPEN)
		c = calloc(1, sizeof(*c));
	else
		client->leases->stats.silent++;
	if (!c) {
		close(fd);
		return;
	}
	c->leases = client->leases;
	c->client = client;
	c->fd = fd;
	c->pid = peer_pid(fd);
	c->events = EPOLLIN;
	c->send_work.fn = on_send;
	loop_timer_init(&c->hello, on_silence);
	for (unsigned i = 0; i < PORTAL_FLUSHES_MAX; i++)
		c->flush[i].conn = c;
	if (loop_add(c->leases->loop, &c->src, fd, EPOLLIN, on_event) < 0) {
		close(fd);
		free(c);
		return;
	}
	link_conn(c);
}

static void unlink_conn(struct leases_conn *c)
{
	struct leases *l = c->leases;

	if (c->prev)
		c->prev->next = c->next;
	else
		l->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

void leases_conn_end(struct leases_conn *c)
{
	struct leases *l = c->leases;

	if (c->ended)
		return;
	(void)send_all(c); /* what it is still to be told, if it reads: why it ends */
	c->ended = true;
	loop_del(&c->src);
	close(c->fd);
	leases_conn_welcome(c);
	loop_defer_cancel(l->loop, &c->send_work);
	for (unsigned i = 0; i < PORTAL_FLUSHES_MAX; i++)
		flush_cancel(l->flush, &c->flush[i].request);
	unlink_conn(c);
	if (c->lease)
		lease_lose(c->lease);
	c->lease = NULL;
	loop_defer(l->loop, &c->free_work, on_free);
}
