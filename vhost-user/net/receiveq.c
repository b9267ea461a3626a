/* SPDX-License-Identifier: MIT */
#include "receiveq.h"

#include <assert.h>
#include <string.h>

#include "base.h"
#include "copy.h"
#include "flow.h"
#include "nethdr.h"
#include "port_vu.h"
#include "relax.h"

/* How often a full receiver is looked at again within one burst, about 10 us in all. */
#define EGRESS_PATIENCE 300

/* What is written to a receiveq for one frame is a stream: virtio's header and the frame's own, then
 * its pieces from behind that on.  This is the place in it. */
struct out_stream {
	uint8_t front[NETHDR_LEN + SW_HEAD_LEN_MAX];
	uint32_t front_len, front_done;
	const struct iovec *iov; /* the next piece, */
	size_t at;               /* and what was taken of it */
};

static inline void stream_begin(struct out_stream *s, const struct sw_frame *f, uint16_t n_buffers,
				uint8_t flags)
{
	nethdr_write(s->front, &f->hdr, n_buffers, flags);
	memcpy(s->front + NETHDR_LEN, f->head, SW_HEAD_LEN_MAX);
	s->front_len = NETHDR_LEN + f->head_len;
	s->front_done = 0;
	s->iov = f->iov;
	s->at = f->skip;
	while (unlikely(s->iov->iov_len < s->at)) /* a head in pieces */
		s->at -= s->iov++->iov_len;
}

/* Where the next bytes lie in a row, at most len, which there are: pieces that follow one another in memory are one.
 * Returns how many. */
static inline uint32_t stream_row(struct out_stream *s, uint32_t len, const uint8_t **ret_from)
{
	const uint8_t *from = (const uint8_t *)s->iov->iov_base + s->at;
	uint32_t n = 0;

	for (;;) {
		size_t left = s->iov->iov_len - s->at;

		if (left > len - n) {
			s->at += len - n;
			n = len;
			break;
		}
		n += (uint32_t)left;
		s->iov++;
		s->at = 0;
		if (n == len || s->iov->iov_base != from + n)
			break;
	}
	*ret_from = from;
	return n;
}

/* The next len bytes, which there are. */
static inline void stream_read(struct out_stream *s, uint8_t *to, uint32_t len)
{
	if (s->front_done < s->front_len) {
		uint32_t n = min(len, s->front_len - s->front_done);

		memcpy(to, s->front + s->front_done, n);
		s->front_done += n;
		to += n;
		len -= n;
	}
	while (len > 0) {
		const uint8_t *from;
		uint32_t n = stream_row(s, len, &from);

		copy_bulk(to, from, n);
		to += n;
		len -= n;
	}
}

/* Room that was given to the stream and not filled yet: buffers that follow one another in memory are filled by one
 * copy.  Kernels cut them from larger blocks, so that most do. */
struct room {
	uint8_t *at, *end;
};

static inline void room_fill(const struct room *room, struct out_stream *s)
{
	if (room->at != room->end)
		stream_read(s, room->at, (uint32_t)(room->end - room->at));
}

/* Give a chain's buffers, if it has any, to the stream, of which `left` bytes have no place yet; returns how many got
 * one. */
static inline uint32_t room_add(struct room *room, struct out_stream *s, const struct vq_chain *c,
				uint32_t left)
{
	const struct iovec *v = c->iov + c->n_out, *end = v + c->n_in;
	uint32_t placed = 0;

	for (; v < end && placed < left; v++) {
		uint32_t n = (uint32_t)min(v->iov_len, (size_t)(left - placed));

		if (v->iov_base != room->end) {
			room_fill(room, s);
			room->at = room->end = v->iov_base;
		}
		room->end += n;
		placed += n;
	}
	return placed;
}

/* A frame into a chain that is large enough for it. */
static inline void put_whole(const struct vq_chain *c, const struct sw_frame *f, uint8_t flags,
			     const struct copy_ahead *next)
{
	const struct iovec *v = c->iov + c->n_out;

	if (likely(v[0].iov_len >= NETHDR_LEN + f->len)) {
		nethdr_write(v[0].iov_base, &f->hdr, 1, flags);
		copy_frame((uint8_t *)v[0].iov_base + NETHDR_LEN, f, next);
	} else if (v[0].iov_len == NETHDR_LEN && v[1].iov_len >= f->len) {
		nethdr_write(v[0].iov_base, &f->hdr, 1, flags);
		copy_frame(v[1].iov_base, f, next);
	} else {
		struct room room = { 0 };
		struct out_stream s;

		stream_begin(&s, f, 1, flags);
		room_add(&room, &s, c, NETHDR_LEN + f->len);
		room_fill(&room, &s);
	}
}

/* A frame over as many of the n chains, at most VQ_BURST, as it takes (VIRTIO_NET_F_MRG_RXBUF).  Returns how many, or
 * 0: they are too few. */
static unsigned put_merged(struct vq *vq, const struct vq_chain *c, unsigned n,
			   const struct sw_frame *f, uint8_t flags)
{
	uint32_t left = NETHDR_LEN + f->len, placed[VQ_BURST];
	struct room room = { 0 };
	struct out_stream s;
	uint64_t fits = 0;
	unsigned used = 0;

	while (used < n && fits < left)
		fits += c[used++].in_len;
	if (fits < left)
		return 0;
	stream_begin(&s, f, (uint16_t)used, flags);
	for (unsigned i = 0; i < used; i++) {
		placed[i] = room_add(&room, &s, &c[i], left);
		left -= placed[i];
	}
	room_fill(&room, &s);
	/* Only now: a push may log, or write down, what was pushed before. */
	for (unsigned i = 0; i < used; i++)
		vq_push(vq, c[i].head, placed[i]);
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
	port_vu_count_calls(p, vq_call(vq));
	for (unsigned looks = 1; *patience > 0; looks++, --*patience) {
		cpu_relax();
		if (looks >= least && vq_more(vq))
			return true;
	}
	rq->starved = true;
	return false;
}

/* What is fetched for the burst at hand. */
static _Thread_local struct vq_burst fetched;

struct egress {
	struct port_vu *port;
	struct receiveq *rq;
	struct sw_frame *const *frame;
	unsigned n, done;
	bool merged; /* the frame at `done` needs more chains than were fetched */
};

/* What is probably copied after frame e->done into chain k. */
static inline struct copy_ahead look_ahead(const struct egress *e, unsigned k, unsigned got)
{
	const struct sw_frame *f;

	if (e->done + 1 == e->n || k + 1 == got)
		return (struct copy_ahead){ 0 };
	f = e->frame[e->done + 1];
	return (struct copy_ahead){ f->iov->iov_base, fetched.chain[k + 1].iov->iov_base, f->len };
}

/* Put frames into the `got` chains fetched.  Returns how many chains were used. */
static inline unsigned fill_chains(struct egress *e, unsigned got)
{
	struct port_vu *p = e->port;
	const struct vq_burst *b = &fetched;
	struct vq *vq = &e->rq->q->vq;
	uint64_t bytes = 0, frames = 0;
	unsigned k = 0;

	while (k < got && e->done < e->n) {
		const struct sw_frame *f = e->frame[e->done];
		const struct vq_chain *c = &b->chain[k];

		if (likely(c->in_len >= NETHDR_LEN + f->len)) {
			struct copy_ahead next = look_ahead(e, k, got);

			put_whole(c, f, p->hdr_flags, &next);
			vq_push(vq, c->head, NETHDR_LEN + f->len);
			k++;
		} else if (p->mrg_rxbuf) {
			unsigned used = put_merged(vq, c, got - k, f, p->hdr_flags);

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
	if (likely(k > 0))
		e->rq->chain_len = b->chain[k - 1].in_len;
	p->port.stats.egress_frames += frames;
	p->port.stats.egress_bytes += bytes;
	return k;
}

/* How many chains to fetch: as many as the next frames take, if they are like the one filled last.  What is
 * fetched in vain has to be given back and fetched again. */
static inline unsigned chains_wanted(const struct egress *e)
{
	uint32_t size = max(e->rq->chain_len, 1u);
	unsigned want = 0;

	if (e->merged)
		return VQ_BURST; /* they are not */
	if (likely(e->frame[e->done]->len + NETHDR_LEN <= size) || !e->port->mrg_rxbuf)
		return e->n - e->done;
	for (unsigned i = e->done; i < e->n; i++) {
		unsigned more = (e->frame[i]->len + NETHDR_LEN + size - 1) / size;

		if (want > 0 && want + more > VQ_BURST)
			break;
		want += more;
	}
	return min(want, (unsigned)VQ_BURST);
}

static void put_burst(struct port_vu *p, struct receiveq *rq, struct sw_frame *const *frame,
		      unsigned n)
{
	struct egress e = { .port = p, .rq = rq, .frame = frame, .n = n };
	struct vu_queue *q = rq->q;
	struct vq *vq = &q->vq;
	unsigned patience = EGRESS_PATIENCE;

	if (unlikely(p->broken[q->index])) { /* and nobody had the time yet to end it */
		p->port.stats.egress_drop_down += n;
		return;
	}
	while (e.done < n) {
		unsigned want = chains_wanted(&e), used;
		int got = vq_pop(vq, &fetched, want);

		if (unlikely(got < 0)) {
			p->port.stats.egress_drop_down += n - e.done;
			port_vu_queue_broken(p, q);
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
	port_vu_count_calls(p, vq_call(vq));
	port_vu_check(p, q->session);
}

/* A queue that breaks is gone from p->receiveq after that. */
static void receive_burst(struct port_vu *p, struct receiveq *rq, struct sw_frame *const *frame,
			  unsigned n)
{
	struct queue_stats *counted = &p->queue[rq->q->index];
	uint64_t frames = p->port.stats.egress_frames, bytes = p->port.stats.egress_bytes;

	put_burst(p, rq, frame, n);
	frames = p->port.stats.egress_frames - frames;
	counted->frames += frames;
	counted->bytes += p->port.stats.egress_bytes - bytes;
	counted->dropped += n - frames;
}

/* Where in p->receiveq a frame goes: to the pair that its flow is sent on, if that can receive. */
static uint8_t choose(const struct port_vu *p, const struct sw_frame *f)
{
	uint32_t hash = flow_hash(f);
	int pair = flow_pair(&p->flows, hash);

	assert(p->n_receiveq > 0);
	for (unsigned i = 0; pair >= 0 && i < p->n_receiveq; i++)
		if (p->receiveq[i].q->index / 2 == (unsigned)pair)
			return (uint8_t)i;
	return (uint8_t)(hash % p->n_receiveq);
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
		choice[i] = choose(p, frame[i]);

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

void receiveq_deliver(struct port_vu *p, struct sw_frame *const *frame, unsigned n)
{
	if (likely(p->n_receiveq == 1))
		receive_burst(p, &p->receiveq[0], frame, n);
	else if (p->n_receiveq > 1)
		receive_spread(p, frame, n);
	else
		p->port.stats.egress_drop_down += n;
}
