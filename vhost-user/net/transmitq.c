/* SPDX-License-Identifier: MIT */
#include "transmitq.h"

#include <string.h>

#include "base.h"
#include "nethdr.h"
#include "port_vu.h"
#include "relax.h"

/* A header in pieces: take its bytes off the front of the chain. */
static void take_header(struct iovec **iov, unsigned *n_iov, uint8_t hdr[NETHDR_LEN])
{
	size_t have = 0;

	while (have < NETHDR_LEN) {
		struct iovec *v = *iov;
		size_t n = min(v->iov_len, NETHDR_LEN - have);

		memcpy(hdr + have, v->iov_base, n);
		have += n;
		v->iov_base = (char *)v->iov_base + n;
		v->iov_len -= n;
		if (v->iov_len == 0) {
			++*iov;
			--*n_iov;
		}
	}
}

/* Turn a chain into a frame.  False: it asks for what was not negotiated, or cannot be. */
static inline bool chain_to_frame(const struct port_vu *p, const struct vq_chain *c,
				  struct sw_frame *f)
{
	struct iovec *v = c->iov;
	unsigned n = c->n_out;
	uint8_t pieces[NETHDR_LEN];
	const void *hdr = v[0].iov_base;

	if (unlikely(c->out_len < NETHDR_LEN)) {
		*f = (struct sw_frame){ 0 }; /* sw_input() counts it as too short */
		return true;
	}
	if (likely(v[0].iov_len > NETHDR_LEN)) {
		v[0].iov_base = (char *)v[0].iov_base + NETHDR_LEN;
		v[0].iov_len -= NETHDR_LEN;
	} else if (v[0].iov_len == NETHDR_LEN) {
		v++;
		n--;
	} else {
		take_header(&v, &n, pieces);
		hdr = pieces;
	}
	f->iov = v;
	f->n_iov = (uint16_t)n;
	f->len = c->out_len - NETHDR_LEN;
	f->buf = NULL;
	return nethdr_read(hdr, f->len, p->may_ask, &f->hdr);
}

static inline unsigned chains_to_frames(struct port_vu *p, unsigned n)
{
	struct port_vu_group *g = p->group;
	unsigned n_frame = 0;

	for (unsigned i = 0; i < n; i++) {
		if (likely(chain_to_frame(p, &g->ingress.chain[i], &g->frame[n_frame]))) {
			n_frame++;
		} else {
			p->port.stats.ingress_frames++;
			p->port.stats.ingress_drop_header++;
		}
	}
	return n_frame;
}

/* Remember on which of several pairs these flows are sent.  Their heads have not been read yet. */
static void note_flows(struct port_vu *p, unsigned pair, unsigned n)
{
	struct sw_frame *f = p->group->frame;

	for (unsigned i = 0; i < n; i++) {
		f[i].head_len = f[i].skip = 0;
		if (f[i].len >= SW_HEAD_LEN)
			flow_note(&p->flows, flow_hash(&f[i]), pair);
	}
}

/* What is done with it before this returns is done: the receivers have it, or a stage that keeps it. */
static inline void forward(struct transmitq *t, unsigned n)
{
	struct port_vu *p = t->port;
	struct queue_stats *counted = &p->queue[t->q->index];
	uint64_t bytes = p->port.stats.ingress_bytes;
	uint64_t taken_ns = unlikely(t->n_bursts++ % LATENCY_SAMPLE == 0) ? loop_now_ns() : 0;

	sw_input(&p->port, p->group->frame, n);
	if (unlikely(taken_ns))
		histogram_add(&p->port.histograms.latency, loop_now_ns() - taken_ns);
	counted->frames += n;
	counted->bytes += p->port.stats.ingress_bytes - bytes;
}

/* Forward one burst.  False: there was none. */
static bool transmit_burst(struct transmitq *t)
{
	struct port_vu *p = t->port;
	struct vu_queue *q = t->q;
	struct vq_burst *b = &p->group->ingress;
	int n = vq_pop(&q->vq, b, SW_BURST);

	if (n == 0)
		return false;
	if (unlikely(n < 0)) {
		port_vu_queue_broken(p, q); /* queue_stop() makes it idle */
		return true;
	}

	if (likely(q->enabled)) {
		unsigned n_frame = chains_to_frames(p, (unsigned)n);

		if (unlikely(p->n_receiveq > 1))
			note_flows(p, q->index / 2, n_frame);
		p->queue[q->index].dropped += (unsigned)n - n_frame;
		forward(t, n_frame);
	} else {
		p->queue[q->index].dropped += (unsigned)n;
		p->port.stats.ingress_drop_disabled += (unsigned)n;
	}
	for (int i = 0; i < n; i++)
		vq_push(&q->vq, b->chain[i].head, 0);
	vq_publish(&q->vq);
	port_vu_count_calls(p, vq_call(&q->vq));
	port_vu_check(p, q->session);
	return true;
}

void transmitq_deactivate(struct transmitq *t)
{
	struct port_vu_group *g = t->port->group;

	if (!t->active)
		return;
	if (t->next)
		t->next->prev = t->prev;
	if (t->prev)
		t->prev->next = t->next;
	else
		g->active = t->next;
	t->next = t->prev = NULL;
	t->active = false;
}

static bool group_poll(struct loop_poller *poller);

static void group_wake(struct port_vu_group *g)
{
	if (g->awake) {
		g->awake(g);
	} else if (!g->polling) {
		loop_poller_add(g->loop, &g->poller, group_poll);
		g->polling = true;
	}
}

void transmitq_activate(struct transmitq *t)
{
	struct port_vu_group *g = t->port->group;

	if (t->active)
		return;
	vq_kick_off(&t->q->vq);
	t->active = true;
	t->prev = NULL;
	t->next = g->active;
	if (g->active)
		g->active->prev = t;
	g->active = t;
	group_wake(g);
}

/* Something came, and the last look was in vain. */
static void found_again(struct transmitq *t)
{
	spin_found(&t->spin, loop_now_ns() - t->idle_since_ns);
	t->idle_since_ns = 0;
}

/* Nothing came.  Go on looking for a while, then ask for a kick. */
static void found_nothing(struct transmitq *t, uint64_t now_ns)
{
	if (t->idle_since_ns == 0)
		t->idle_since_ns = now_ns;
	if (now_ns - t->idle_since_ns < spin_ns(&t->spin, t->port->group->spin_ns) ||
	    now_ns < t->port->group->sw->awake_ns)
		return;
	if (vq_kick_on(&t->q->vq)) {
		vq_kick_off(&t->q->vq);
		return;
	}
	transmitq_deactivate(t);
	port_vu_check(t->port, t->q->session); /* a ring of which nothing is left looks idle */
}

void transmitq_pass(struct port_vu_group *g)
{
	bool found = false;
	uint64_t now_ns = 0;

	for (struct transmitq *t = g->active, *next; t; t = next) {
		next = t->next; /* a burst may take t out, and nobody else */
		if (transmit_burst(t)) {
			if (t->idle_since_ns != 0)
				found_again(t);
			found = true;
			continue;
		}
		if (now_ns == 0)
			now_ns = loop_now_ns();
		found_nothing(t, now_ns);
	}
	if (!found)
		cpu_relax();
}

static bool group_poll(struct loop_poller *poller)
{
	struct port_vu_group *g = container_of(poller, struct port_vu_group, poller);

	transmitq_pass(g);
	if (g->active)
		return true;
	loop_poller_del(g->loop, &g->poller);
	g->polling = false;
	return false;
}
