/* SPDX-License-Identifier: MIT */
/* Frames that wait: in the order they came (a ring), or in the order they are due (a ring and a heap).
 *
 * A delay without jitter keeps frames in the order they came in, and so does most jitter: a frame that is not due
 * before the latest one goes to the end of a ring, without a search.  Only what overtakes goes into a binary heap.
 * Entries lie in the arrays themselves: nothing is allocated per frame, and what is next is in the cache.
 *
 * Ownership: frames are the owner's; a queue forgets them.
 * Threads:   plain data. */
#ifndef NET_IMPAIR_QUEUE_H
#define NET_IMPAIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

struct impair_entry {
	uint64_t at_ns; /* when it came, or is due */
	uint64_t seq;   /* among those due at once the first that came is first */
	void *frame;
	uint32_t len;
	bool ect;  /* may be marked instead of dropped */
	bool mark; /* is to be */
};

/* Zero-filled is an empty one, also below. */
struct impair_ring {
	struct impair_entry *entry;
	uint32_t size; /* 0 or a power of two */
	uint32_t head; /* free-running: the first is entry[head % size] */
	uint32_t n;
};

struct impair_due {
	struct impair_ring ring; /* in order of at_ns */
	struct impair_entry *heap;
	uint32_t heap_size, n_heap;
	uint64_t seq;
};

/* Make room for one more.  0 or -ENOMEM, and nothing has changed. */
int impair_ring_grow(struct impair_ring *r);
void impair_ring_done(struct impair_ring *r);

/* 0 or -ENOMEM, and nothing has changed. */
static inline int impair_ring_push(struct impair_ring *r, const struct impair_entry *e)
{
	if (unlikely(r->n == r->size)) {
		int err = impair_ring_grow(r);

		if (err < 0)
			return err;
	}
	r->entry[(r->head + r->n++) & (r->size - 1)] = *e;
	return 0;
}

static inline struct impair_entry *impair_ring_first(const struct impair_ring *r)
{
	return r->n ? &r->entry[r->head & (r->size - 1)] : NULL;
}

static inline void impair_ring_pop(struct impair_ring *r)
{
	r->head++;
	r->n--;
}

/* The half of the below that is about what overtakes. */
int impair_due_push_before(struct impair_due *q, const struct impair_entry *e);
const struct impair_entry *impair_due_first_of(const struct impair_due *q);
void impair_due_pop_first_of(struct impair_due *q, struct impair_entry *ret);

/* Fills in e->seq.  0 or -ENOMEM, and nothing has changed. */
static inline int impair_due_push(struct impair_due *q, struct impair_entry *e)
{
	const struct impair_ring *r = &q->ring;

	e->seq = q->seq++;
	if (likely(r->n == 0 || e->at_ns >= r->entry[(r->head + r->n - 1) & (r->size - 1)].at_ns))
		return impair_ring_push(&q->ring, e);
	return impair_due_push_before(q, e);
}

/* n of them that are all due at at_ns, as impair_due_push() would take them.  0 or -ENOMEM, and nothing has changed. */
int impair_due_push_together(struct impair_due *q, uint64_t at_ns, void *const *frame,
			     const uint32_t *len, unsigned n);

/* The first that is due; valid until the queue is changed.  NULL: empty. */
static inline const struct impair_entry *impair_due_first(const struct impair_due *q)
{
	return likely(q->n_heap == 0) ? impair_ring_first(&q->ring) : impair_due_first_of(q);
}

/* Take it out. */
static inline void impair_due_pop(struct impair_due *q, struct impair_entry *ret)
{
	if (unlikely(q->n_heap > 0)) {
		impair_due_pop_first_of(q, ret);
		return;
	}
	*ret = *impair_ring_first(&q->ring);
	impair_ring_pop(&q->ring);
}

static inline uint32_t impair_due_count(const struct impair_due *q)
{
	return q->ring.n + q->n_heap;
}

void impair_due_done(struct impair_due *q);

#endif
