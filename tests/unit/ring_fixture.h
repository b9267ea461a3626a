/* SPDX-License-Identifier: MIT */
/* A ring on memory of this process, its ends, and a world in which owners are alive until the test says otherwise. */
#ifndef RING_FIXTURE_H
#define RING_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "clock.h"
#include "ring.h"

#define ALICE 0x10001 /* owner words: generation 1 of leases 1, 2, 3 */
#define BOB   0x10002
#define CAROL 0x10003

/* Who has died, by the number of its lease; nobody has when a ring is made. */
extern bool dead[4];

/* Everybody is in this kernel and lives unless `dead`; a bell that is rung, and a nap, fail the test. */
extern const struct ring_ops world;

/* A ring on memory of exactly its size, so that ASan sees every step beyond it. */
struct fixture {
	struct ring_geometry geo;
	uint64_t total;
	void *mem;
	struct portal_ring *producer, *consumer;
};

/* Format a ring; max_record and lanes as in portal_ring_options.  Its ends are still to be opened. */
void make(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t max_record,
	  uint32_t lanes);
/* One that ALICE produces and BOB consumes. */
void make_pair(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t max_record);
struct portal_ring *end_of(struct fixture *f, enum portal_role role, uint64_t self);
/* What ring_open() says to one more; where it opens, the end is closed again. */
int try_open(struct fixture *f, enum portal_role role, uint64_t self);
/* Closes the ends that there are, and frees the memory. */
void drop(struct fixture *f);

void send_text(struct portal_ring *r, const char *text);
/* The next record is this; expect_text() releases it. */
void expect(struct portal_ring *r, const void *data, uint32_t len, uint32_t type);
void expect_text(struct portal_ring *r, const char *text);

#endif
