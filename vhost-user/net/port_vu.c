/* SPDX-License-Identifier: MIT */
#include "port_vu.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"

/* How often a full receiver is looked at again within one burst, about 10 us in all. */
#define EGRESS_PATIENCE 300

/* Up to this length a copy inline is quicker than a call. */
#define COPY_INLINE_MAX 256

/* A longer one goes in pieces of this size, between which the lines of the next are fetched. */
#define COPY_BLOCK 256

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

/* ---- copying ---------------------------------------------------------------------------------- */

struct sixteen {
	uint64_t a, b;
};

static inline void copy_16(uint8_t *to, const uint8_t *from)
{
	struct sixteen v;

	memcpy(&v, from, sizeof(v));
	memcpy(to, &v, sizeof(v));
}

/* memcpy() for the lengths of most frames: whole sixteens, the last one overlapping. */
static inline void copy_bytes(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (len > COPY_INLINE_MAX || len < 16) {
		memcpy(to, from, len);
		return;
	}
	for (uint32_t i = 0; i + 16 < len; i += 16)
		copy_16(to + i, from + i);
	copy_16(to + len - 16, from + len - 16);
}

/* The copy that follows the one at hand.  Its lines are fetched while this one is done: guests' buffers
 * are rarely in a near cache, and lie too far apart for the processor to guess.  Addresses are hints and
 * never used otherwise.  Worth a tenth to a quarter of what a frame of 1514 bytes takes. */
struct ahead {
	const uint8_t *from;
	uint8_t *to;
	uint32_t len;
};

static inline void copy_long(uint8_t *to, const uint8_t *from, uint32_t len,
			     const struct ahead *next)
{
	uint32_t i = 0;

	for (; i + COPY_BLOCK <= len; i += COPY_BLOCK) {
		for (uint32_t j = i; j < i + COPY_BLOCK && j < next->len; j += CACHE_LINE) {
			__builtin_prefetch(next->from + j, 0);
			__builtin_prefetch(next->to + j, 1);
		}
		memcpy(to + i, from + i, COPY_BLOCK);
	}
	memcpy(to + i, from + i, len - i);
}

/* A whole frame to one place.  The header goes in last, over what the guest may have made of its
 * own since it was looked at. */
static inline void copy_frame(uint8_t *to, const struct sw_frame *f, const struct ahead *next)
{
	if (likely(f->n_iov == 1)) {
		if (f->len <= COPY_INLINE_MAX)
			copy_bytes(to, f->iov[0].iov_base, f->len);
		else
			copy_long(to, f->iov[0].iov_base, f->len, next);
		memcpy(to, f->head, SW_HEAD_LEN);
	} else {
		sw_frame_copy(f, 0, f->len, to);
	}
}

/* ---- egress: receiveqs -------------------------------------------------------------------------- */

/* What is written to a receiveq for one frame is a stream: header, then frame.  This is the place
 * in it. */
struct out_stream {
	const struct sw_frame *f;
	uint8_t hdr[NETHDR_LEN];
	uint32_t pos;
};

static void stream_read(struct out_stream *s, uint8_t *to, uint32_t len)
{
	if (s->pos < NETHDR_LEN) {
		uint32_t n = min(len, NETHDR_LEN - s->pos);

		memcpy(to, s->hdr + s->pos, n);
		s->pos += n;
		to += n;
		len -= n;
	}
	sw_frame_copy(s->f, s->pos - NETHDR_LEN, len, to);
	s->pos += len;
}

/* Fill one chain from the stream; returns the bytes written. */
static uint32_t stream_fill(struct out_stream *s, const struct vq_chain *c)
{
	uint32_t left = NETHDR_LEN + s->f->len - s->pos, done = 0;

	for (unsigned i = c->n_out; i < c->n_out + c->n_in && done < left; i++) {
		uint32_t n = (uint32_t)min(c->iov[i].iov_len, (size_t)(left - done));

		stream_read(s, c->iov[i].iov_base, n);
		done += n;
	}
	return done;
}

/* A frame into a chain that is large enough for it. */
static inline void put_whole(const struct vq_chain *c, const struct sw_frame *f,
			     const struct ahead *next)
{
	const struct iovec *v = c->iov + c->n_out;

	if (likely(v[0].iov_len >= NETHDR_LEN + f->len)) {
		nethdr_write(v[0].iov_base, 1);
		copy_frame((uint8_t *)v[0].iov_base + NETHDR_LEN, f, next);
	} else if (v[0].iov_len == NETHDR_LEN && v[1].iov_len >= f->len) {
		nethdr_write(v[0].iov_base, 1);
		copy_frame(v[1].iov_base, f, next);
	} else {
		struct out_stream s = { .f = f };

		nethdr_write(s.hdr, 1);
		stream_fill(&s, c);
	}
}

/* A frame over as many of the n chains as it takes (VIRTIO_NET_F_MRG_RXBUF).  Returns how many, or
 * 0: they are too few. */
static unsigned put_merged(struct vq *vq, const struct vq_chain *c, unsigned n,
			   const struct sw_frame *f)
{
	struct out_stream s = { .f = f };
	uint64_t room = 0;
	unsigned used = 0;

	while (used < n && room < NETHDR_LEN + f->len)
		room += c[used++].in_len;
	if (room < NETHDR_LEN + f->len)
		return 0;
	nethdr_write(s.hdr, (uint16_t)used);
	for (unsigned i = 0; i < used; i++)
		vq_push(vq, c[i].head, stream_fill(&s, &c[i]));
	return used;
}

/* No buffer is left, or too few for a frame that takes several: then there is something to see at
 * once, and `least` looks are waited before it is worth fetching again.  Show the guest what it got
 * so far and give it a moment to post more. */
static bool await_buffers(struct port_vu *p, struct receiveq *rq, unsigned least,
			  unsigned *patience)
{
	struct vq *vq = &rq->q->vq;

	if (rq->starved)
		return false;
	vq_publish(vq);
	p->port.stats.queue_calls += vq_call(vq);
	for (unsigned looks = 1; *patience > 0; looks++, --*patience) {
		cpu_relax();
		if (looks >= least && vq_more(vq))
			return true;
	}
	rq->starved = true;
	return false;
}

struct egress {
	struct port_vu *port;
	struct receiveq *rq;
	struct sw_frame *const *frame;
	unsigned n, done;
	bool merged; /* the frame at `done` needs more chains than were fetched */
};

/* What is probably copied after frame e->done into chain k. */
static inline struct ahead look_ahead(const struct egress *e, unsigned k, unsigned got)
{
	const struct sw_frame *f;

	if (e->done + 1 == e->n || k + 1 == got)
		return (struct ahead){ 0 };
	f = e->frame[e->done + 1];
	return (struct ahead){ f->iov->iov_base, e->port->group->egress.chain[k + 1].iov->iov_base,
			       f->len };
}

/* Put frames into the `got` chains fetched.  Returns how many chains were used. */
static inline unsigned fill_chains(struct egress *e, unsigned got)
{
	struct port_vu *p = e->port;
	const struct vq_burst *b = &p->group->egress;
	struct vq *vq = &e->rq->q->vq;
	uint64_t bytes = 0, frames = 0;
	unsigned k = 0;

	while (k < got && e->done < e->n) {
		const struct sw_frame *f = e->frame[e->done];
		const struct vq_chain *c = &b->chain[k];

		if (likely(c->in_len >= NETHDR_LEN + f->len)) {
			struct ahead next = look_ahead(e, k, got);

			put_whole(c, f, &next);
			vq_push(vq, c->head, NETHDR_LEN + f->len);
			k++;
		} else if (p->mrg_rxbuf) {
			unsigned used = put_merged(vq, c, got - k, f);

			if (used == 0) {
				e->merged = true;
				break;
			}
			k += used;
		} else {
			p->port.stats.egress_drop_size++;
			e->done++;
			continue;
		}
		e->done++;
		frames++;
		bytes += f->len;
	}
	p->port.stats.egress_frames += frames;
	p->port.stats.egress_bytes += bytes;
	return k;
}

static void receive_burst(struct port_vu *p, struct receiveq *rq, struct sw_frame *const *frame,
			  unsigned n)
{
	struct egress e = { .port = p, .rq = rq, .frame = frame, .n = n };
	struct vu_queue *q = rq->q;
	struct vq *vq = &q->vq;
	unsigned patience = EGRESS_PATIENCE;

	while (e.done < n) {
		unsigned want = e.merged ? VQ_BURST : n - e.done, used;
		int got = vq_pop(vq, &p->group->egress, want);

		if (unlikely(got < 0)) {
			p->port.stats.egress_drop_down += n - e.done;
			p->port.stats.queue_broken++;
			vu_session_queue_broken(q->session, q);
			return;
		}
		e.merged = false;
		used = fill_chains(&e, (unsigned)got);
		vq_unpop(vq, (unsigned)got - used);
		if (used > 0) {
			rq->starved = false;
		} else if (e.merged && got == VQ_BURST) {
			/* No ring holds this frame: 64 KiB in buffers of less than 1 KiB. */
			p->port.stats.egress_drop_size++;
			e.merged = false;
			e.done++;
		} else if (e.done < n && (!e.merged || (unsigned)got < want) &&
			   !await_buffers(p, rq, got > 0 ? EGRESS_PATIENCE / 8 : 1, &patience)) {
			p->port.stats.egress_drop_full += n - e.done;
			break;
		}
	}
	vq_publish(vq);
	p->port.stats.queue_calls += vq_call(vq);
	vu_session_check(q->session);
}

static inline uint32_t mix(uint32_t h, uint32_t v)
{
	h = (h ^ v) * 0x9e3779b1u;
	return h ^ h >> 15;
}

/* The same for all frames of a flow, both directions alike: addresses, and of TCP and UDP the
 * ports.  Fragments have no ports and go by address alone. */
static uint32_t flow_hash(const struct sw_frame *f)
{
	uint8_t b[74] = { 0 }; /* Ethernet, IPv6 or IPv4 with options up to the ports */
	uint32_t n = min(f->len, (uint32_t)sizeof(b));
	uint16_t type;
	uint32_t h = 0, w[8] = { 0 };
	unsigned ports = 0;

	sw_frame_copy(f, 0, n, b);
	type = (uint16_t)(b[12] << 8 | b[13]);
	if (type == 0x0800 && n >= 34) {
		bool fragment = (b[20] & 0x3f) | b[21];

		memcpy(w, b + 26, 8);
		h = w[0] ^ w[1];
		if (!fragment && (b[23] == 6 || b[23] == 17))
			ports = 14 + 4u * (b[14] & 15);
	} else if (type == 0x86dd && n >= 54) {
		memcpy(w, b + 22, 32);
		h = w[0] ^ w[1] ^ w[2] ^ w[3] ^ w[4] ^ w[5] ^ w[6] ^ w[7];
		if (b[20] == 6 || b[20] == 17)
			ports = 54;
	} else {
		memcpy(w, b, 12);
		return mix(mix(0, (b[4] ^ b[10]) << 8 | (b[5] ^ b[11])), type);
	}
	if (ports >= 34 && ports + 4 <= n)
		h = mix(h,
			(uint32_t)((b[ports] ^ b[ports + 2]) << 8 | (b[ports + 1] ^ b[ports + 3])));
	return mix(0, h);
}

/* Several receiveqs: each gets its flows, in order. */
static void receive_spread(struct port_vu *p, struct sw_frame *const *frame, unsigned n)
{
	struct vu_queue *queue[PORT_VU_MAX_PAIRS];
	uint8_t choice[SW_BURST];
	unsigned n_queue = p->n_receiveq;

	/* A queue that breaks takes itself out of p->receiveq. */
	for (unsigned i = 0; i < n_queue; i++)
		queue[i] = p->receiveq[i].q;
	for (unsigned i = 0; i < n; i++)
		choice[i] = (uint8_t)(flow_hash(frame[i]) % n_queue);

	for (unsigned i = 0; i < n_queue; i++) {
		struct sw_frame *part[SW_BURST];
		struct receiveq *rq = NULL;
		unsigned n_part = 0;

		for (unsigned j = 0; j < n; j++)
			if (choice[j] == i)
				part[n_part++] = frame[j];
		for (unsigned j = 0; j < p->n_receiveq; j++)
			if (p->receiveq[j].q == queue[i])
				rq = &p->receiveq[j];
		if (rq && n_part > 0)
			receive_burst(p, rq, part, n_part);
		else
			p->port.stats.egress_drop_down += n_part;
	}
}

static_assert(SW_BURST <= VQ_BURST, "a burst of frames is fetched in one go");

static void port_vu_egress(struct sw_port *sp, struct sw_frame *const *frame, unsigned n)
{
	struct port_vu *p = container_of(sp, struct port_vu, port);

	if (likely(p->n_receiveq == 1))
		receive_burst(p, &p->receiveq[0], frame, n);
	else if (p->n_receiveq > 1)
		receive_spread(p, frame, n);
	else
		p->port.stats.egress_drop_down += n;
}

static const struct sw_port_ops port_ops = { .type = "vhost-user", .egress = port_vu_egress };

/* ---- ingress: transmitqs ------------------------------------------------------------------------ */

/* A header in pieces: take its bytes off the front of the chain. */
static bool take_header(struct iovec **iov, unsigned *n_iov)
{
	uint8_t hdr[NETHDR_LEN];
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
	return nethdr_is_plain(hdr);
}

/* Turn a chain into a frame.  False: it asks for what we did not offer. */
static inline bool chain_to_frame(const struct vq_chain *c, struct sw_frame *f)
{
	struct iovec *v = c->iov;
	unsigned n = c->n_out;
	bool plain;

	if (unlikely(c->out_len < NETHDR_LEN)) {
		*f = (struct sw_frame){ 0 }; /* sw_input() counts it as too short */
		return true;
	}
	if (likely(v[0].iov_len > NETHDR_LEN)) {
		plain = nethdr_is_plain(v[0].iov_base);
		v[0].iov_base = (char *)v[0].iov_base + NETHDR_LEN;
		v[0].iov_len -= NETHDR_LEN;
	} else if (v[0].iov_len == NETHDR_LEN) {
		plain = nethdr_is_plain(v[0].iov_base);
		v++;
		n--;
	} else {
		plain = take_header(&v, &n);
	}
	f->iov = v;
	f->n_iov = (uint16_t)n;
	f->len = c->out_len - NETHDR_LEN;
	return plain;
}

static inline unsigned chains_to_frames(struct port_vu *p, unsigned n)
{
	struct port_vu_group *g = p->group;
	unsigned n_frame = 0;

	for (unsigned i = 0; i < n; i++) {
		if (likely(chain_to_frame(&g->ingress.chain[i], &g->frame[n_frame]))) {
			n_frame++;
		} else {
			p->port.stats.ingress_frames++;
			p->port.stats.ingress_drop_header++;
		}
	}
	return n_frame;
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
		p->port.stats.queue_broken++;
		vu_session_queue_broken(q->session, q); /* queue_stop() makes it idle */
		return true;
	}

	if (likely(q->enabled)) {
		unsigned n_frame = chains_to_frames(p, (unsigned)n);

		sw_input(&p->port, p->group->frame, n_frame);
	} else {
		p->port.stats.ingress_drop_disabled += (unsigned)n;
	}
	for (int i = 0; i < n; i++)
		vq_push(&q->vq, b->chain[i].head, 0);
	vq_publish(&q->vq);
	p->port.stats.queue_calls += vq_call(&q->vq);
	vu_session_check(q->session);
	return true;
}

/* ---- adaptive polling --------------------------------------------------------------------------- */

static void deactivate(struct transmitq *t)
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

static void activate(struct transmitq *t)
{
	struct port_vu_group *g = t->port->group;

	if (t->active)
		return;
	vq_kick_off(&t->q->vq);
	t->idle_since_ns = 0;
	t->active = true;
	t->prev = NULL;
	t->next = g->active;
	if (g->active)
		g->active->prev = t;
	g->active = t;
	if (!g->polling) {
		loop_poller_add(g->loop, &g->poller, group_poll);
		g->polling = true;
	}
}

/* Nothing came.  Go on looking for a while, then ask for a kick. */
static void found_nothing(struct transmitq *t, uint64_t now_ns)
{
	if (t->idle_since_ns == 0)
		t->idle_since_ns = now_ns;
	if (now_ns - t->idle_since_ns < PORT_VU_SPIN_NS)
		return;
	if (vq_kick_on(&t->q->vq)) {
		vq_kick_off(&t->q->vq);
		t->idle_since_ns = 0;
		return;
	}
	deactivate(t);
}

static bool group_poll(struct loop_poller *poller)
{
	struct port_vu_group *g = container_of(poller, struct port_vu_group, poller);
	bool found = false;
	uint64_t now_ns = 0;

	for (struct transmitq *t = g->active, *next; t; t = next) {
		next = t->next; /* a burst may take t out, and nobody else */
		if (transmit_burst(t)) {
			t->idle_since_ns = 0;
			found = true;
			continue;
		}
		if (now_ns == 0)
			now_ns = loop_now_ns();
		found_nothing(t, now_ns);
	}
	if (!found)
		cpu_relax();
	if (g->active)
		return true;
	loop_poller_del(g->loop, &g->poller);
	g->polling = false;
	return false;
}

/* ---- the device --------------------------------------------------------------------------------- */

static bool is_transmitq(const struct vu_queue *q)
{
	return q->index & 1; /* virtio 1.3, 5.1.2: receiveq1, transmitq1, receiveq2, ... */
}

static bool any_transmitq(const struct port_vu *p)
{
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		if (p->transmitq[i].q && p->transmitq[i].q->enabled)
			return true;
	return false;
}

const char *port_vu_state(const struct port_vu *p)
{
	const char *state;

	if (!p->session)
		return p->listen_fd >= 0 ? "listening" : "closed";
	if (p->n_receiveq > 0 && any_transmitq(p))
		return "running";
	state = vu_session_state(p->session);
	if (strcmp(state, "running") == 0)
		return "negotiated";
	return state;
}

static void tell_state(struct port_vu *p)
{
	const char *state = port_vu_state(p);

	if (p->closing || strcmp(state, p->state) == 0)
		return;
	p->state = state;
	log_debug(p->port.name, "%s", state);
	if (p->group->state_changed)
		p->group->state_changed(p);
}

/* Keep the list of receiveqs that can be given frames, in the order of their index. */
static void collect_receiveqs(struct port_vu *p)
{
	p->n_receiveq = 0;
	for (unsigned i = 0; !p->closing && i < PORT_VU_MAX_PAIRS; i++) {
		struct vu_queue *q = p->started[i];

		if (q && q->enabled)
			p->receiveq[p->n_receiveq++] = (struct receiveq){ .q = q };
	}
	if (p->port.sw)
		sw_set_up(&p->port, p->n_receiveq > 0);
	tell_state(p);
}

static void on_queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);
	struct transmitq *t = &p->transmitq[q->index / 2];

	if (p->closing)
		return;
	if (is_transmitq(q)) {
		t->q = q;
		activate(t);
		tell_state(p);
	} else {
		vq_kick_off(&q->vq); /* buffers are looked for when there is a frame */
		p->started[q->index / 2] = q;
		collect_receiveqs(p);
	}
}

static void on_queue_stop(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);
	struct transmitq *t = &p->transmitq[q->index / 2];

	if (is_transmitq(q)) {
		deactivate(t);
		t->q = NULL;
		tell_state(p);
	} else {
		p->started[q->index / 2] = NULL;
		collect_receiveqs(p);
	}
}

static void on_queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	struct port_vu *p = vu_session_device(s);

	if (is_transmitq(q))
		tell_state(p);
	else
		collect_receiveqs(p);
}

static void on_queue_kick(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);

	p->port.stats.queue_kicks++;
	if (is_transmitq(q) && !p->closing)
		activate(&p->transmitq[q->index / 2]);
}

static void on_negotiated(struct vu_session *s, uint64_t features)
{
	struct port_vu *p = vu_session_device(s);

	p->mrg_rxbuf = features & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF);
}

static void on_state_changed(struct vu_session *s)
{
	struct port_vu *p = vu_session_device(s);

	if (p->session)
		tell_state(p);
}

/* The address and the link state in it are for drivers that negotiated those features; none does. */
static int on_get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	const struct port_vu *p = vu_session_device(s);
	struct virtio_net_config c = {
		.max_virtqueue_pairs = htole16(PORT_VU_MAX_PAIRS),
		.mtu = htole16(p->group->mtu),
	};

	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (const char *)&c + off, len);
	return 0;
}

static void port_free(struct port_vu *p)
{
	free(p->path);
	free(p);
}

static void serve(struct port_vu *p, int fd);

static void on_closed(struct vu_session *s, int reason)
{
	struct port_vu *p = vu_session_device(s);
	int fd = fd_take(&p->pending_fd);

	p->session = NULL;
	if (p->closing) {
		port_free(p);
		return;
	}
	collect_receiveqs(p);
	if (fd >= 0) {
		loop_timer_cancel(p->group->loop, &p->pending);
		serve(p, fd);
	}
}

const struct vu_device_ops port_vu_ops = {
	.name = "net",
	.features = BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_MTU) |
		    BIT_ULL(VIRTIO_NET_F_MQ),
	.max_queues = 2 * PORT_VU_MAX_PAIRS,
	.rings_per_queue = 2,
	.get_config = on_get_config,
	.negotiated = on_negotiated,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.queue_enable = on_queue_enable,
	.queue_kick = on_queue_kick,
	.state_changed = on_state_changed,
	.closed = on_closed,
};

/* ---- frontends come and go ---------------------------------------------------------------------- */

static void serve(struct port_vu *p, int fd)
{
	int r = vu_session_new(p->group->loop, fd, &port_vu_ops, p, p->port.name, &p->session);

	if (r < 0) {
		log_limited(&p->log, LOG_LEVEL_ERROR, p->port.name, "cannot serve a frontend: %s",
			    strerror(-r));
		return;
	}
	p->port.stats.sessions++;
	p->mrg_rxbuf = false;
	tell_state(p);
}

static void refuse(struct port_vu *p, int fd)
{
	close(fd);
	p->port.stats.sessions_refused++;
	log_limited(&p->log, LOG_LEVEL_WARNING, p->port.name,
		    "turned a second frontend away: one is connected");
}

static void on_pending_over(struct loop_timer *timer)
{
	struct port_vu *p = container_of(timer, struct port_vu, pending);

	refuse(p, fd_take(&p->pending_fd));
}

static void on_listener(struct loop_source *src, uint32_t events)
{
	struct port_vu *p = container_of(src, struct port_vu, listener);
	int fd, r = listen_accept(p->listen_fd, &fd);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		log_limited(&p->log, LOG_LEVEL_ERROR, p->port.name, "accept: %s", strerror(-r));
	} else if (!p->session) {
		serve(p, fd);
	} else if (p->pending_fd < 0) {
		p->pending_fd = fd;
		loop_timer_set(p->group->loop, &p->pending, loop_now_ns() + PORT_VU_PENDING_NS);
	} else {
		refuse(p, fd);
	}
}

/* ---- making and closing ------------------------------------------------------------------------- */

static bool name_is_good(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	return n > 0 && n < SW_PORT_NAME_MAX && name[n] == '\0';
}

static int port_new(struct port_vu_group *g, const char *name, const char *path,
		    struct port_vu **ret_port)
{
	struct port_vu *p;
	int r;

	if (!name_is_good(name))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->group = g;
	p->port.ops = &port_ops;
	strcpy(p->port.name, name);
	p->state = "";
	p->listen_fd = -1;
	p->pending_fd = -1;
	loop_timer_init(&p->pending, on_pending_over);
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		p->transmitq[i].port = p;
	p->path = path ? strdup(path) : NULL;

	r = path && !p->path ? -ENOMEM : sw_attach(g->sw, &p->port);
	if (r < 0) {
		port_free(p);
		return r;
	}
	*ret_port = p;
	return 0;
}

int port_vu_open(struct port_vu_group *g, const char *name, const char *path, int listen_fd,
		 struct port_vu **ret_port)
{
	auto_fd int fd = listen_fd;
	struct port_vu *p;
	int r = port_new(g, name, path, &p);

	if (r < 0)
		return r;
	r = loop_add(g->loop, &p->listener, fd, EPOLLIN, on_listener);
	if (r < 0) {
		sw_detach(&p->port);
		port_free(p);
		return r;
	}
	p->listen_fd = fd_take(&fd);
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

int port_vu_adopt(struct port_vu_group *g, const char *name, int fd, struct port_vu **ret_port)
{
	auto_fd int owned = fd;
	struct port_vu *p;
	int r = port_new(g, name, NULL, &p);

	if (r < 0)
		return r;
	serve(p, fd_take(&owned));
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

void port_vu_close(struct port_vu *p)
{
	if (p->closing)
		return;
	p->closing = true;
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		deactivate(&p->transmitq[i]);
	p->n_receiveq = 0;
	sw_detach(&p->port);

	loop_del(&p->listener);
	loop_timer_cancel(p->group->loop, &p->pending);
	fd_drop(&p->pending_fd);
	fd_drop(&p->listen_fd);
	if (p->path)
		listen_unlink(p->path);
	if (p->session)
		vu_session_close(p->session, 0); /* on_closed() frees the port */
	else
		port_free(p);
}

struct port_vu *port_vu_of(struct sw_port *p)
{
	return p->ops == &port_ops ? container_of(p, struct port_vu, port) : NULL;
}

void port_vu_group_init(struct port_vu_group *g)
{
	if (g->mtu == 0)
		g->mtu = PORT_VU_MTU_DEFAULT;
}
