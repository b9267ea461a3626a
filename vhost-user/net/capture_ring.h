/* SPDX-License-Identifier: MIT */
/* The way of frames from the switch's thread to a capture's writer: a ring of bytes, one thread at each end, no lock.
 *
 * The producer reserves room for a record, fills it, and commits it, cut to what it turned out to need, or
 * leaves it.  A record lies in one piece; the end of the ring is skipped where it would not.  What does not fit is not
 * waited for.
 *
 * The consumer looks at the first record, and releases it.  When there is none it may sleep: it says so
 * (capture_ring_will_sleep), looks once more, and waits for wake_fd; the producer calls capture_ring_wake() after a
 * burst, which makes a system call only if the consumer said so.
 *
 * Threads: as named. */
#ifndef NET_CAPTURE_RING_H
#define NET_CAPTURE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "nethdr.h"

#define CAPTURE_RING_ALIGN 16

/* As `len` of a record: the rest of the ring is skipped. */
#define CAPTURE_RING_SKIP UINT32_MAX

struct capture_record {
	uint32_t size;    /* in the ring, all included */
	uint32_t len;     /* of the frame */
	uint32_t cap_len; /* bytes that follow */
	uint16_t interface;
	uint8_t direction; /* PCAPNG_INBOUND, PCAPNG_OUTBOUND */
	uint64_t time_ns;
	struct nethdr hdr;
	_Alignas(CAPTURE_RING_ALIGN) uint8_t bytes[];
};

struct capture_ring {
	/* The producer's. */
	_Alignas(CACHE_LINE) _Atomic uint64_t head; /* bytes committed, ever */
	uint64_t tail_seen;
	uint64_t reserved; /* where the record under way begins */

	/* The consumer's. */
	_Alignas(CACHE_LINE) _Atomic uint64_t tail; /* bytes released, ever */

	_Alignas(CACHE_LINE) _Atomic bool asleep;
	int wake_fd; /* an eventfd */
	uint32_t size;
	uint8_t *bytes;
};

/* size: a multiple of CAPTURE_RING_ALIGN, of memory that is not there yet.  0, -ENOMEM, -EMFILE. */
int capture_ring_init(struct capture_ring *r, uint32_t size);
void capture_ring_done(struct capture_ring *r);

/* Consumer, at first: have the kernel bring in all memory now, or the producer pays for each page when it comes to it. */
void capture_ring_populate(struct capture_ring *r);

/* Producer.  Room for a record of up to cap_len bytes, or NULL.  One at a time. */
struct capture_record *capture_ring_reserve(struct capture_ring *r, uint32_t cap_len);
/* cap_len as reserved, or less; all else of the record has been filled in, but for `size`. */
void capture_ring_commit(struct capture_ring *r, struct capture_record *record, uint32_t cap_len);
void capture_ring_wake(struct capture_ring *r);

/* Consumer.  The first record, or NULL. */
const struct capture_record *capture_ring_first(struct capture_ring *r);
void capture_ring_release(struct capture_ring *r, const struct capture_record *record);
/* Before waiting for wake_fd.  True: it is empty, and the next commit will be told by wake_fd. */
bool capture_ring_will_sleep(struct capture_ring *r);

#endif
