/* SPDX-License-Identifier: MIT */
/* How a ring lies in memory that strangers share.
 *
 *	page 0        head: what the ring is; its maker writes it once
 *	page 1        the consumer's end (of a broadcast: the consumers' bells)
 *	then, for each lane
 *	  page        the producer's end
 *	  page        the consumer's place in this lane
 *	  2^n bytes   records, written by the producer
 *
 * A ring of one producer and one consumer has one lane, a ring of many producers one for each, a broadcast has one that
 * everybody reads.  No page has two writers, but for the words said to be shared below.
 *
 * A position counts the bytes of a lane since it was made and never wraps; its place is position % size.  Records lie one
 * behind the other, each begun by one 64-bit word at a multiple of 8:
 *
 *	bits  0-23  len: bytes of payload that follow; the next record begins behind them, rounded up to 8, or, behind a
 *	            large one, to a multiple of 64 from where this one began: if its payload began at a cache line, that of the
 *	            next one does
 *	bits 24-31  type: the user's
 *	bits 32-60  tag: position / 8, its low bits
 *	bits 61-62  kind: DATA; ARRAY, whose payload is {len, n} of 32 bits each and n messages of len bytes, each rounded
 *	            up to 8; PAD, to be skipped
 *	bit     63  committed
 *
 * The word is what publishes a record: there is no shared index to read, and so a message of up to 56 bytes can travel in
 * the one cache line its reader looks at.  A producer clears the word *behind* a record before it publishes the record,
 * so a reader never meets what an earlier lap left there, whatever the payloads were; the tag is a check upon that, not what
 * it rests on.  A record does not wrap: PAD fills a lane's end, and what lies before the first of some large payloads, which
 * are to begin at cache lines.
 *
 * The consumer says how far it has read now and then only (ring_end.position); the producer reads that when it seems to
 * have run out of room.
 *
 * Trust: each end believes its own private copy of all that it wrote, and checks what the other one wrote: see lane.h.
 */
#ifndef PORTAL_RING_FORMAT_H
#define PORTAL_RING_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

#define RING_MAGIC   "VHLPRING" /* 8 bytes, no terminator */
#define RING_VERSION 2

#define RING_PAGE      4096u
#define RING_LANES_MAX 64u
#define RING_SIZE_MIN  4096u
#define RING_SIZE_MAX  (1u << 30)

#define RING_READERS 256u /* of a broadcast that sleep by their bells: one a lease */

/* Two cache lines: processors fetch them in pairs. */
#define RING_APART 128

struct ring_head {
	uint8_t magic[8];
	le32_t version;
	le32_t kind; /* enum portal_ring_kind */
	le32_t lanes;
	le32_t size_log2; /* of each lane's records: cannot be malformed into something that is no mask */
	le32_t max_record;
	le32_t reserved;
};
static_assert(sizeof(struct ring_head) == 32, "the head's layout");

enum ring_end_state {
	RING_END_NEW = 0,    /* nobody has had it */
	RING_END_OPEN = 1,   /* its owner's, as long as that lives */
	RING_END_CLOSED = 2, /* given back in order: nothing more will come */
	RING_END_POISONED =
		3, /* its owner has seen the other end break a rule, and will not go on */
};

/* Why an end was poisoned. */
enum ring_fault {
	RING_FAULT_NONE = 0,
	RING_FAULT_TAG = 1,    /* a record that does not say where it is */
	RING_FAULT_LENGTH = 2, /* longer than allowed, or than what is left of the lane */
	RING_FAULT_ARRAY = 3,  /* an array that does not fill its record */
	RING_FAULT_PADS = 4,   /* more of them than a producer has reason for */
	RING_FAULT_POSITION =
		5, /* a consumer behind what it said before, or ahead of the producer */
};

/* One end of a lane. */
struct ring_end {
	/* Shared: an owner word (layout.h).  Who wants the end puts itself here, in place of 0 or of a dead owner, by
	 * compare and swap. */
	le64_t owner;
	le32_t state; /* enum ring_end_state */
	le32_t fault; /* enum ring_fault */
	le64_t wakes; /* how often this end has woken the other */
	uint8_t line0[RING_APART - 24];

	/* Of a consumer: where it will read next, or a place it was at not long ago.  Of a broadcasting producer: where it
	 * will write next, or was about to when it died. */
	le64_t position;
	/* Of a broadcasting producer: what lies a lane's size or more before this is overwritten, or about to be. */
	le64_t claim;
	uint8_t line1[RING_APART - 16];

	/* Shared: how to wake who sleeps at this end, enum ring_sleep, and in the bits above it the number of this sleep.  The
	 * sleeper sets it, and clears the low bits when it is awake: who takes the end over counts on, so that nobody takes
	 * a sleep for one that he has ended.  Of a broadcast's page 1: the ways in which its readers sleep; they add
	 * theirs, and the producer clears it. */
	le64_t sleep;
	le64_t until; /* of a producer that sleeps: the consumer's position that it waits for */
	uint8_t line2[RING_APART - 16];

	/* Shared: counted up by whoever wakes this end; the futex that it sleeps on. */
	le32_t bell;
	uint8_t line3[RING_APART - 4];

	/* Of a broadcast's page 1, shared: the readers that sleep until their bell, each in the place of its lease. */
	le64_t sleepers[RING_READERS];
	uint8_t reserved[RING_PAGE - 4 * RING_APART - 8 * RING_READERS];
};
static_assert(sizeof(struct ring_end) == RING_PAGE, "one page, one writer");
static_assert(offsetof(struct ring_end, position) == 128, "the end's layout");
static_assert(offsetof(struct ring_end, sleep) == 256, "the end's layout");
static_assert(offsetof(struct ring_end, bell) == 384, "the end's layout");

enum ring_sleep {
	RING_AWAKE = 0,
	RING_SLEEP_FUTEX = 1, /* on `bell`, in the kernel that the waker runs on, too */
	RING_SLEEP_BELL = 2,  /* until its lease is rung */
	RING_SLEEP_MASK = 3,
};

#define RING_COMMITTED  (1ULL << 63)
#define RING_KIND_SHIFT 61
#define RING_LEN_MAX    0xffffffu

enum ring_record_kind { RING_DATA = 0, RING_ARRAY = 1, RING_PAD = 2 };

/* Begins the payload of an ARRAY. */
struct ring_array {
	le32_t len, n;
};

/* A pause of the arena, enum portal_quiesce_state of layout.h in the low byte. */
#define RING_QUIESCE_MASK 0xffu

/* An end begins to write to the arena, unless there is a pause: until ring_end() its client acknowledges none. */
static inline bool ring_begin(bool *writing, const le64_t *quiesce)
{
	__atomic_store_n(writing, true, __ATOMIC_RELAXED);
	/* Partner: is_writing() of quiesce.c, whose barrier is for both. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if ((le64_load(quiesce) & RING_QUIESCE_MASK) == 0)
		return true;
	__atomic_store_n(writing, false, __ATOMIC_RELEASE);
	return false;
}

static inline void ring_end(bool *writing)
{
	__atomic_store_n(writing, false, __ATOMIC_RELEASE);
}

/* What bits 32 to 63 of a record of this kind are at this position. */
static inline uint32_t ring_mark(uint64_t position, enum ring_record_kind kind)
{
	return (uint32_t)(RING_COMMITTED >> 32) | (uint32_t)kind << (RING_KIND_SHIFT - 32) |
	       (uint32_t)(position >> 3 & 0x1fffffff);
}

static inline uint64_t ring_word(uint64_t position, enum ring_record_kind kind, uint32_t type,
				 uint32_t len)
{
	return (uint64_t)ring_mark(position, kind) << 32 | (uint64_t)(type & 0xff) << 24 | len;
}

/* Bytes from one message of an ARRAY to the next. */
static inline uint64_t ring_stride(uint32_t len)
{
	return ((uint64_t)len + 7) & ~7ULL;
}

/* Payloads of this length begin at a cache line where they can: processors copy them faster. */
#define RING_LARGE 1024u
#define RING_LINE  64u

/* Bytes that a PAD takes in a lane, and a record that is not large. */
static inline uint64_t ring_span_small(uint32_t len)
{
	return sizeof(le64_t) + ring_stride(len);
}

/* Bytes that a record of len bytes takes in a lane. */
static inline uint64_t ring_span(uint32_t len)
{
	uint64_t span = ring_span_small(len);

	return len < RING_LARGE ? span : (span + RING_LINE - 1) & ~(uint64_t)(RING_LINE - 1);
}

/* The longest payload of all.  It ends a line, and the PAD that fills a lane's end because it does not fit there, with one more
 * line before it, has a length, too. */
#define RING_RECORD_MAX ((RING_LEN_MAX & ~7u) - RING_LINE)
static_assert((sizeof(le64_t) + RING_RECORD_MAX) % RING_LINE == 0 &&
		      RING_RECORD_MAX + RING_LINE - sizeof(le64_t) <= RING_LEN_MAX,
	      "the longest PAD is 8 bytes shorter than the span that did not fit, and begun by 8");

/* The longest record that a lane can always take: with a PAD before it, it must still fit into an empty one. */
static inline uint32_t ring_longest(uint64_t size)
{
	uint64_t half = size / 2 - sizeof(le64_t);

	return half < RING_RECORD_MAX ? (uint32_t)half : RING_RECORD_MAX;
}

/* Bytes before a record at this position, so that its payload begins at a cache line. */
static inline uint64_t ring_gap(uint64_t position)
{
	return (0 - position - sizeof(le64_t)) % RING_LINE;
}

static inline uint64_t ring_lane_offset(uint32_t lane, uint64_t size)
{
	return 2ULL * RING_PAGE + lane * (2ULL * RING_PAGE + size);
}

/* Bytes of memory that a ring takes. */
static inline uint64_t ring_total(uint32_t lanes, uint64_t size)
{
	return ring_lane_offset(lanes, size);
}

#endif
