/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base.h"
#include "cleanup.h"
#include "eventfd.h"
#include "log.h"
#include "session_impl.h"

static void ring_log(struct vu_queue *q, const char *what, const char *detail)
{
	log_limited(q->session->log, LOG_LEVEL_WARNING, q->session->tag, "vq%u: %s: %s", q->index,
		    what, detail);
}

/* The device looks at the ring, and then so do we: on a quiet ring nobody else
 * notices that there is no memory behind it any more. */
static void kicked(struct vu_session *s, struct vu_queue *q)
{
	s->ops->queue_kick(s, q);
	(void)vu_session_check(s);
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct vu_queue *q = container_of(src, struct vu_queue, kick);
	struct vu_session *s = q->session;
	int r = eventfd_drain(q->kick_fd);

	if (r < 0) {
		ring_log(q, "kick descriptor is of no use", strerror(-r));
		vu_session_close(s, -EPROTO);
		return;
	}
	kicked(s, q);
}

static void on_poll_timer(struct loop_timer *timer)
{
	struct vu_queue *q = container_of(timer, struct vu_queue, poll);
	struct vu_session *s = q->session;

	loop_timer_set(s->loop, timer, loop_now_ns() + VU_POLL_NS);
	kicked(s, q);
}

/* Listen to the driver: through the kick descriptor, or by the clock. */
static int arm(struct vu_session *s, struct vu_queue *q)
{
	if (q->kick_fd >= 0)
		return loop_add(s->loop, &q->kick, q->kick_fd, EPOLLIN, on_kick);
	loop_timer_set(s->loop, &q->poll, loop_now_ns() + VU_POLL_NS);
	return 0;
}

void session_ring_disarm(struct vu_session *s, struct vu_queue *q)
{
	loop_del(&q->kick);
	loop_timer_cancel(s->loop, &q->poll);
}

/* Where the ring's place is recorded: in the frontend's region if it gave one, else in the file. */
static int find_records(struct vu_session *s, struct vu_queue *q, struct vq_params *p)
{
	bool packed = s->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	struct vq_place *own = s->places ? places_ring(s->places, q->index) : NULL;
	int r = inflight_ring(&s->inflight, q->index, q->num, packed, &p->place, &p->inflight);

	if (r < 0)
		return r;
	if (!own)
		return 0;
	if (p->place || !packed) {
		place_forget(own);
		return 0;
	}
	/* A ring without a record runs, too. */
	r = places_reserve(s->places, q->index, q->num);
	if (r < 0)
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag, "vq%u: no room for its place: %s",
			    q->index, strerror(-r));
	else
		p->place = own;
	return 0;
}

int session_ring_start(struct vu_session *s, struct vu_queue *q)
{
	struct vq_params params = {
		.num = q->num,
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.base = q->base,
		.features = s->features,
		.call_fd = q->call_fd,
		.blocked = &s->blocked,
		.log = s->features & BIT_ULL(VHOST_USER_F_LOG_ALL) ? &s->dirty : NULL,
		.log_used = q->log_used,
		.used_gpa = q->log_gpa,
	};
	int r;

	if (q->started || q->broken || !q->has_kick || !q->has_addr || !q->num ||
	    !s->has_features || s->mem.n == 0 || s->state == VU_STATE_CLOSING)
		return 0;
	r = find_records(s, q, &params);
	if (r == 0)
		r = vq_start(&q->vq, &s->mem, &params);
	if (r < 0)
		return r;
	r = arm(s, q);
	if (r < 0) {
		vq_stop(&q->vq, &q->base);
		return r;
	}
	q->started = true;
	s->n_started++;
	s->ops->queue_start(s, q);
	return 0;
}

void session_ring_stop(struct vu_session *s, struct vu_queue *q)
{
	if (!q->started)
		return;
	session_ring_disarm(s, q);
	s->ops->queue_stop(s, q);
	vq_stop(&q->vq, &q->base);
	q->started = false;
	s->n_started--;
}

void session_ring_finish(struct vu_session *s, struct vu_queue *q)
{
	struct vq_place *place = NULL;
	struct inflight_packed *packed;

	session_ring_stop(s, q);
	q->broken = false;
	q->has_kick = false;
	fd_drop(&q->kick_fd);
	if (s->places)
		place_forget(places_ring(s->places, q->index));
	(void)inflight_ring(&s->inflight, q->index, 0, s->inflight.shape.packed, &place, &packed);
	if (place)
		place_forget(place);
}

void session_ring_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	if (q->enabled == on)
		return;
	q->enabled = on;
	if (s->ops->queue_enable)
		s->ops->queue_enable(s, q, on);
}

void session_ring_stop_all(struct vu_session *s)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		session_ring_stop(s, &s->queue[i]);
}

void session_ring_start_all(struct vu_session *s)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++) {
		int r = session_ring_start(s, &s->queue[i]);

		if (r < 0)
			ring_log(&s->queue[i], "cannot start", strerror(-r));
	}
}

int session_ring_set_kick(struct vu_session *s, struct vu_queue *q, int fd)
{
	int r;

	session_ring_disarm(s, q);
	fd_drop(&q->kick_fd);
	q->kick_fd = fd;
	q->has_kick = true;
	if (!q->started)
		return session_ring_start(s, q);
	r = arm(s, q);
	if (r < 0)
		session_ring_stop(s, q); /* nobody would wake it */
	else
		kicked(s, q); /* for a kick that the old descriptor swallowed */
	return r;
}

void vu_session_queue_broken(struct vu_session *s, struct vu_queue *q)
{
	if (!q->started)
		return;
	q->broken = true;
	q->n_broken++;
	if (vu_session_check(s)) /* zeros in the place of a ring are not the driver's doing */
		ring_log(q, "stopped, the driver broke it", vq_cause_name(q->vq.cause));
	session_ring_stop(s, q);
	if (q->err_fd >= 0 && !s->blocked) {
		(void)fcntl(q->err_fd, F_SETFL, O_NONBLOCK);
		(void)eventfd_signal(q->err_fd, &s->blocked);
	}
	session_update_state(s);
}

void session_ring_init(struct vu_session *s, unsigned i)
{
	struct vu_queue *q = &s->queue[i];

	q->index = i;
	q->session = s;
	q->kick_fd = -1;
	q->call_fd = -1;
	q->err_fd = -1;
	loop_timer_init(&q->poll, on_poll_timer);
}

void session_ring_done(struct vu_queue *q)
{
	fd_drop(&q->kick_fd);
	fd_drop(&q->call_fd);
	fd_drop(&q->err_fd);
}
