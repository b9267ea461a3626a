/* SPDX-License-Identifier: MIT */
/* One lane of a ring (ring_format.h), from the producer's side and from the consumer's: the data path.
 *
 * Each side keeps what it needs in private memory and touches, in the common case, nothing shared but the records
 * themselves and the word that says whether the other side sleeps.  The common case is inline here; what happens when a
 * lane seems full or empty, or is broken, is in lane.c.
 *
 * Waking: a producer publishes a record and then looks whether the consumer sleeps, without a fence between the two, which
 * would cost more than the rest of a send.  So a processor may look too early, and miss that the consumer is about to
 * sleep.  But it cannot hold the record back for long: the consumer's first nap is short (ring_wait.c), and
 * after it the consumer looks again.  ring.pml is the model of that, store buffers included.
 *
 * Trust: what the other side may write is loaded once for one decision, with RING_LOAD or its kin, checked, and used from
 *        the copy.  A side that sees a rule broken poisons its end: that call and all later ones return -EPROTO.  Nothing
 *        that lies in shared memory leads to an access outside of the lane, or to a loop that its content could prolong.
 *        Payloads are the other side's to change at any time.
 * Threads: a side belongs to one thread at a time.
 */
#ifndef PORTAL_LANE_H
#define PORTAL_LANE_H

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base.h"
#include "portal.h"
#include "ring_format.h"

/* Tests count loads, and give another answer to the second one. */
#ifndef RING_LOAD
#define RING_LOAD(p)         le64_load(p)
#define RING_LOAD_ACQUIRE(p) le64_load_acquire(p)
#endif

struct lane_producer {
	uint8_t *data;
	uint64_t mask;
	uint64_t tail;     /* where the next record begins */
	uint64_t limit;    /* where it may end without a further look */
	uint64_t reserved; /* bytes of the reservation, and one more; 0: there is none */
	uint64_t wanted;   /* bytes that were not there when last asked for */
	uint32_t max_record;
	int64_t short_most; /* what portal_send() does at once: max_record, at most LANE_SHORT; -1: nothing */
	uint32_t fault;               /* enum ring_fault */
	uint64_t seen;                /* the consumer's position when last looked at */
	uint64_t rung;                /* the sleep that we have ended, or tried to */
	struct ring_end *own;         /* the producer's page */
	const struct ring_end *place; /* the consumer's page of this lane: its position */
	const struct ring_end *peer;  /* the consumer's end: does it sleep? */
};

/* Messages of an ARRAY that have not been peeked at yet. */
struct lane_array {
	const uint8_t *at;
	uint32_t left; /* 0: no array is open */
	uint32_t len, stride;
	uint32_t type;
	uint64_t end; /* position behind the record */
};

struct lane_consumer {
	const uint8_t *data;
	uint64_t mask;
	uint64_t next; /* the record to peek at next */
	uint64_t pos;  /* records before it have been released */
	uint64_t said; /* the position that the producer can see */
	uint64_t quantum;
	uint32_t max_record;
	uint32_t short_most; /* max_record, at most LANE_SHORT */
	uint32_t fault;      /* enum ring_fault */
	bool told;           /* that it was empty: does the producer sleep? */
	uint32_t looks;      /* in vain, since the last record */
	int32_t streak; /* runs of records that came right behind one another; below 0: none counts yet */
	uint32_t pause; /* made behind such a run */
	uint64_t since; /* the position at which the lane was empty last */
	uint32_t index; /* of the lane */
	struct lane_array array;
	uint64_t rung;               /* the producer's sleep that we have ended */
	struct ring_end *place;      /* our page of this lane */
	const le64_t *quiesce;       /* the arena's: what we say waits for the end of a pause */
	bool *writing;               /* the end's: it is being said; atomic */
	bool untold;                 /* the fault, because of a pause */
	const struct ring_end *peer; /* the producer's end */
};

static inline le64_t *lane_word(const struct lane_producer *p, uint64_t position)
{
	return (le64_t *)(void *)(p->data + (position & p->mask));
}

/* ---- producer ------------------------------------------------------------- */

/* Begin to fetch the line that a producer will write in a while.  The store buffer hides the wait for one or two lines
 * that the consumer has read, not for one after the other. */
#define LANE_AHEAD 512

static inline void lane_fetch_line(const struct lane_producer *p, uint64_t ahead)
{
	const uint8_t *line = p->data + ((p->tail + ahead) & p->mask);

	/* Not what the consumer has yet to read. */
	if (p->tail + ahead > p->limit)
		return;
#ifdef __x86_64__
	/* The compiler has this instruction only where it may assume newer processors; older ones pass it by. */
	__asm__ volatile("prefetchw %0" : : "m"(*line));
#else
	__builtin_prefetch(line, 1);
#endif
}

/* Room for a record of len bytes at the tail, PAD before it if need be.  0; -EAGAIN (full); -EPROTO. */
int lane_make_room(struct lane_producer *p, uint64_t span);

/* As lane_reserve(), where that has to look further: no room that it knows of, or a large payload that would not begin at a
 * cache line. */
int lane_reserve_slowly(struct lane_producer *p, uint32_t len, void **ret_data);

/* Is there room for len bytes of payload at the tail, as far as we know, and without a PAD? */
static inline bool lane_has_room(const struct lane_producer *p, uint32_t len)
{
	return p->tail + ring_span(len) <= p->limit && (len < RING_LARGE || !ring_gap(p->tail));
}

static inline void lane_reserve_here(struct lane_producer *p, uint32_t len, void **ret_data)
{
	p->reserved = (uint64_t)len + 1;
	*ret_data = p->data + (p->tail & p->mask) + sizeof(le64_t);
}

/* A place for len bytes of payload.  0; -EAGAIN, -EPROTO.  len is at most what ring_longest() says. */
static inline int lane_reserve(struct lane_producer *p, uint32_t len, void **ret_data)
{
	if (unlikely(!lane_has_room(p, len)))
		return lane_reserve_slowly(p, len, ret_data);
	lane_reserve_here(p, len, ret_data);
	return 0;
}

/* Publish the record that `word` begins and that ends at position `end`, where the word `behind` is.  Does the consumer
 * sleep?  See lane_sleeper(). */
static inline void lane_publish_at(struct lane_producer *p, uint64_t end, le64_t *word,
				   le64_t *behind, uint64_t value)
{
	le64_store(behind, 0);
	/* Partner: lane_front(). */
	le64_store_release(word, value);
	p->tail = end;
	p->reserved = 0;
}

static inline void lane_publish_span(struct lane_producer *p, enum ring_record_kind kind,
				     uint32_t len, uint32_t type, uint64_t span)
{
	lane_publish_at(p, p->tail + span, lane_word(p, p->tail), lane_word(p, p->tail + span),
			ring_word(p->tail, kind, type, len));
}

static inline void lane_publish(struct lane_producer *p, enum ring_record_kind kind, uint32_t len,
				uint32_t type)
{
	lane_publish_span(p, kind, len, type, ring_span(len));
	/* Large ones fetch by themselves. */
	if (len < RING_LARGE)
		lane_fetch_line(p, LANE_AHEAD);
}

/* Fill this many bytes, at least 8. */
static inline void lane_pad(struct lane_producer *p, uint64_t span)
{
	assert(span - sizeof(le64_t) <= RING_LEN_MAX);
	lane_publish_span(p, RING_PAD, (uint32_t)(span - sizeof(le64_t)), 0, span);
}

/* The sleep to end, if the consumer sleeps and we have not rung for this one yet; otherwise 0. */
static inline uint64_t lane_sleeper(const struct lane_producer *p)
{
	uint64_t sleep;

	/* Not a fence: see the top. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	sleep = RING_LOAD(&p->peer->sleep);
	return likely((sleep & RING_SLEEP_MASK) == 0) || sleep == p->rung ? 0 : sleep;
}

/* What is longer is worth a call of memcpy(). */
#define LANE_SHORT 64u

/* memcpy() of up to LANE_SHORT bytes, by two that overlap. */
static inline void lane_copy_short(void *to, const void *from, uint32_t len)
{
	uint8_t *d = to;
	const uint8_t *s = from;

	if (len >= 8 && len <= 16) {
		memcpy(d, s, 8);
		memcpy(d + len - 8, s + len - 8, 8);
	} else if (len > 32) {
		memcpy(d, s, 32);
		memcpy(d + len - 32, s + len - 32, 32);
	} else if (len > 16) {
		memcpy(d, s, 16);
		memcpy(d + len - 16, s + len - 16, 16);
	} else if (len >= 4) {
		memcpy(d, s, 4);
		memcpy(d + len - 4, s + len - 4, 4);
	} else if (len > 0) {
		d[0] = s[0];
		d[len / 2] = s[len / 2];
		d[len - 1] = s[len - 1];
	}
}

/* n messages of len bytes each, one behind the other at `data`, as few records as possible.  Returns how many went, at least
 * one, or errors of lane_reserve(). */
int lane_send_array(struct lane_producer *p, const void *data, uint32_t len, unsigned n,
		    uint32_t type);

/* n records, published together where they lie together.  Returns how many went, at least one; -EMSGSIZE (the first one
 * that did not go is too long), or errors of lane_reserve(). */
int lane_send_batch(struct lane_producer *p, const struct portal_record *records, unsigned n);

/* ---- consumer -------------------------------------------------------------- */

/* A consumer of the lane at `data` that goes on at a position.  place and peer: see above. */
void lane_consumer_init(struct lane_consumer *c, const uint8_t *data, uint64_t size,
			uint64_t position);

/* What is not a plain record: an empty lane, an array, a PAD, a broken rule.  As lane_front(). */
int lane_front_odd(struct lane_consumer *c, uint64_t word, struct portal_record *ret_record);
void lane_array_advance(struct lane_consumer *c, unsigned n);

/* The word at the consumer's next position. */
static inline uint64_t lane_next_word(const struct lane_consumer *c)
{
	/* Partner: lane_publish(). */
	return RING_LOAD_ACQUIRE((const le64_t *)(const void *)(c->data + (c->next & c->mask)));
}

/* Would lane_front() find something, or fault? */
static inline bool lane_ready(const struct lane_consumer *c)
{
	return c->array.left || lane_next_word(c) & RING_COMMITTED;
}

/* Is this word, that at the next position, a plain record's that lies in the lane? */
static inline bool lane_is_plain(const struct lane_consumer *c, uint64_t word)
{
	uint32_t len = word & RING_LEN_MAX;

	return likely(word >> 32 == ring_mark(c->next, RING_DATA)) &&
	       likely(len <= c->max_record) &&
	       likely(ring_span(len) <= c->mask + 1 - (c->next & c->mask));
}

static inline struct portal_record lane_record(const struct lane_consumer *c, uint64_t word)
{
	return (struct portal_record){ c->data + (c->next & c->mask) + sizeof(le64_t),
				       word & RING_LEN_MAX, word >> 24 & 0xff, c->index };
}

/* The first message that has not been peeked at, given the word at the next position.  0; -EAGAIN (none); -EPROTO. */
static inline int lane_front_of(struct lane_consumer *c, uint64_t word,
				struct portal_record *ret_record)
{
	if (unlikely(!lane_is_plain(c, word)))
		return lane_front_odd(c, word, ret_record);
	*ret_record = lane_record(c, word);
	return 0;
}

static inline int lane_front(struct lane_consumer *c, struct portal_record *ret_record)
{
	return lane_front_of(c, lane_next_word(c), ret_record);
}

/* What lane_front() gave has been peeked at. */
static inline void lane_advance(struct lane_consumer *c, uint32_t len)
{
	if (unlikely(c->array.left)) {
		lane_array_advance(c, 1);
		return;
	}
	c->next += ring_span(len);
}

/* No position. */
#define LANE_NEVER 1

/* Is this one more look in vain of many?  What an empty lane asks for has been done then, but for every 64th. */
static inline bool lane_still_empty(struct lane_consumer *c, uint64_t word)
{
	return word == 0 && c->next == c->since && ++c->looks % 64 != 0;
}

/* Let the producer see how far we are.  Between ring_begin() and ring_end(). */
static inline void lane_say(struct lane_consumer *c)
{
	c->said = c->pos;
	/* Partner: lane_make_room().  What we have read was read before the producer may write there. */
	le64_store_release(&c->place->position, c->pos);
}

/* The same, unless the arena pauses: then false, and it is said with what is released later. */
bool lane_tell(struct lane_consumer *c);

/* Give back everything that was peeked at.  Returns the producer's sleep that is now to be ended, or 0. */
static inline uint64_t lane_release(struct lane_consumer *c)
{
	uint64_t sleep;

	c->pos = c->next;
	if (unlikely(c->pos - c->said >= c->quantum))
		(void)lane_tell(c);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	sleep = RING_LOAD(&c->peer->sleep);
	return likely((sleep & RING_SLEEP_MASK) == 0) || sleep == c->rung ? 0 : sleep;
}

/* Copy up to n messages of exactly len bytes each, one behind the other, and release them.  Returns how many, at least one;
 * -EMSGSIZE (the next one has another length); errors of lane_front().  The caller asks lane_release() for who sleeps. */
int lane_recv_array(struct lane_consumer *c, void *data, uint32_t len, unsigned n);

/* Does the producer sleep for room that there is now?  Says the position, as lane_say() does.  Returns as lane_release(). */
uint64_t lane_room_wanted(struct lane_consumer *c, uint64_t sleep);

/* ---- both ------------------------------------------------------------------- */

/* Where the records end that a producer committed, beginning at a position that is known to begin one: what a new producer
 * goes on from when the last one died.  0; -EPROTO: what lies there is not what a producer writes. */
int lane_find_tail(const uint8_t *data, uint64_t size, uint32_t max_record, uint64_t from,
		   uint64_t *ret_tail);

/* Is this a record that may lie at this position?  Gives its span. */
bool lane_record_valid(uint64_t word, uint64_t position, uint64_t size, uint32_t max_record,
		       uint64_t *ret_span);

#endif
