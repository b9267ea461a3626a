/* SPDX-License-Identifier: MIT */
/* The other end of a ring writes what it likes, whenever it likes: nobody reads or writes outside of the ring, nobody loops, and
 * the end that sees it is poisoned.
 *
 * The ring lies in memory of exactly its size, so that the address sanitizer sees every step beyond it.  The loads of shared
 * words go through a hook: one that gives another value to whoever loads the same word a second time for one decision.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "le.h"

static uint64_t hooked(const le64_t *p, uint64_t value);

#define RING_LOAD(p)         hooked(p, le64_load(p))
#define RING_LOAD_ACQUIRE(p) hooked(p, le64_load_acquire(p))

#include "broadcast.c"
#include "lane.c"
#include "ring.c"
#include "ring_data.c"
#include "ring_wait.c"

#define SIZE    4096u
#define LONGEST 1000u

/* ---- the hook ---------------------------------------------------------------------- */

#define SEEN_MAX 64

static struct {
	bool on;
	const le64_t *at[SEEN_MAX]; /* words loaded by this operation */
	unsigned n, again;
} hook;

static uint64_t hooked(const le64_t *p, uint64_t value)
{
	if (!hook.on)
		return value;
	for (unsigned i = 0; i < hook.n; i++)
		if (hook.at[i] == p) {
			hook.again++;
			/* As far out as it goes: longest length, another kind, another tag, another place. */
			return ~value;
		}
	assert_true(hook.n < SEEN_MAX);
	hook.at[hook.n++] = p;
	return value;
}

static void operation(void)
{
	hook.on = true;
	hook.n = 0;
}

/* ---- the ring ----------------------------------------------------------------------- */

struct fixture {
	uint64_t total;
	uint8_t *mem;
	struct portal_ring *producer, *consumer;
};

static int try_open(struct fixture *f, enum portal_role role, struct portal_ring **ret)
{
	struct ring_env env = { .self = role == PORTAL_PRODUCER ? 0x10001 : 0x10002 };

	return ring_open(f->mem, f->total, role, &env, ret);
}

static void make(struct fixture *f, enum portal_ring_kind kind)
{
	struct portal_ring_options options = {
		.kind = kind, .size = SIZE, .max_record = LONGEST, .lanes = 2
	};
	struct ring_geometry geo;

	*f = (struct fixture){ 0 };
	hook.on = false;
	assert_int_equal(ring_plan(&options, &geo), 0);
	f->total = ring_total(geo.lanes, geo.size);
	f->mem = aligned_alloc(RING_PAGE, f->total);
	assert_non_null(f->mem);
	memset(f->mem, 0x5a, f->total);
	ring_format(f->mem, &geo);
	assert_int_equal(try_open(f, PORTAL_PRODUCER, &f->producer), 0);
	assert_int_equal(try_open(f, PORTAL_CONSUMER, &f->consumer), 0);
}

static void drop(struct fixture *f)
{
	hook.on = false;
	ring_close(f->producer);
	ring_close(f->consumer);
	free(f->mem);
}

static bool within(const struct fixture *f, const void *data, uint64_t len)
{
	const uint8_t *at = data, *lane = f->mem + ring_lane_offset(0, SIZE) + 2 * RING_PAGE;

	return at >= lane && at + len <= f->mem + f->total;
}

static le64_t *word_at(struct fixture *f, uint64_t position)
{
	return (le64_t *)(void *)(ring_lane_data(f->consumer, 0) + position % SIZE);
}

/* ---- second loads --------------------------------------------------------------------- */

static void nothing_is_loaded_twice_for_one_decision(void **state)
{
	const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_MPSC, PORTAL_BROADCAST };
	uint8_t data[LONGEST] = { 0 };

	for (unsigned k = 0; k < array_size(kinds); k++) {
		struct fixture f;
		unsigned got = 0, sent = 0;

		make(&f, kinds[k]);
		for (unsigned i = 0; i < 3000; i++) {
			struct portal_record record;
			uint32_t len = i * 7919 % 300;
			int r;

			hook.again = 0;
			operation();
			r = i % 3 ? portal_send(f.producer, data, len, 1) :
				    portal_send_array(f.producer, data, len % 20 + 1, 5, 1);
			assert_true(r >= 0 || r == -EAGAIN);
			sent += r > 0 ? (unsigned)r : r == 0;
			assert_int_equal(hook.again, 0);
			operation();
			r = i % 2 ? portal_peek(f.consumer, &record) : -EAGAIN;
			assert_int_equal(hook.again, 0);
			if (r < 0)
				continue;
			assert_true(within(&f, record.data, record.len));
			got++;
			operation();
			assert_int_equal(portal_release(f.consumer), 0);
			assert_int_equal(hook.again, 0);
			for (;;) {
				operation();
				if (portal_recv(f.consumer, data, sizeof(data), NULL) < 0)
					break;
				/* A broadcast's reader looks at the claim before, and after it has copied. */
				assert_int_equal(hook.again, 0);
				got++;
			}
		}
		assert_true(got > 1000 && got <= sent);
		drop(&f);
	}
}

/* ---- every kind of nonsense ------------------------------------------------------------- */

static uint64_t nonsense(unsigned i, uint64_t position)
{
	static const uint32_t lengths[] = { 0,           1,         7,           8,
					    9,           16,        LONGEST - 1, LONGEST,
					    LONGEST + 1, SIZE - 16, SIZE - 8,    SIZE - 7,
					    SIZE,        SIZE + 8,  0xfffff8,    RING_LEN_MAX };
	static const uint64_t moved[] = { 0, 8, SIZE, ~0ULL, 1ULL << 32 };
	uint32_t len = lengths[i % array_size(lengths)];
	uint64_t at = position + moved[i / array_size(lengths) % array_size(moved)];
	unsigned kind = i / array_size(lengths) / array_size(moved) % 4;

	return ring_word(at, kind, 3, len);
}
#define NONSENSE (16u * 5 * 4)

/* Whatever the word is, a record lies in the lane, and what is refused is refused for ever. */
static void any_word_gives_a_record_in_the_lane_or_none(void **state)
{
	for (unsigned before = 0; before < 130; before += 3)
		for (unsigned i = 0; i < NONSENSE; i++) {
			struct fixture f;
			struct portal_record record;
			uint8_t data[28] = { 0 };
			uint64_t at, value;
			int r = 0;

			make(&f, i % 7 ? PORTAL_SPSC : PORTAL_BROADCAST);
			for (unsigned k = 0; k < before; k++) {
				assert_int_equal(portal_send(f.producer, data, sizeof(data), 0), 0);
				assert_int_equal(portal_peek(f.consumer, &record), 0);
				assert_int_equal(portal_release(f.consumer), 0);
			}
			at = f.consumer->lane->next;
			le64_store(word_at(&f, at), nonsense(i, at));
			/* An array's own header, too. */
			le64_store(word_at(&f, at + 8), (uint64_t)(i * 2654435761u) << 32 | i % 40);
			for (unsigned k = 0; k < 200 && (r = portal_peek(f.consumer, &record)) == 0;
			     k++) {
				assert_true(within(&f, record.data, record.len));
				assert_in_range(record.len, 0, LONGEST);
			}
			if (r == -EPROTO && !f.consumer->broadcast) {
				le64_store(word_at(&f, at), ring_word(at, RING_DATA, 0, 0));
				assert_int_equal(portal_peek(f.consumer, &record), -EPROTO);
				assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EPROTO);
				assert_int_equal(portal_recv_array(f.consumer, &value, 8, 1),
						 -EPROTO);
			}
			drop(&f);
		}
}

static void pads_without_end_are_refused(void **state)
{
	struct fixture f;
	struct portal_record record;

	make(&f, PORTAL_SPSC);
	le64_store(word_at(&f, 0), ring_word(0, RING_PAD, 0, SIZE - 8));
	/* The same word again, one lap on: the tag of a lap is 30 bits of it. */
	assert_int_equal(portal_peek(f.consumer, &record), -EPROTO);
	assert_int_equal(f.consumer->lane->fault, RING_FAULT_TAG);
	drop(&f);
}

static void a_consumers_position_is_not_believed(void **state)
{
	const int64_t wrong[] = { -8, -1, -(int64_t)SIZE, 1, 4, 1 << 20, INT64_MAX, INT64_MIN };
	uint8_t data[100] = { 0 };

	for (unsigned i = 0; i < array_size(wrong); i++) {
		struct fixture f;
		struct portal_record record;
		void *at;
		int r;

		make(&f, PORTAL_SPSC);
		for (unsigned k = 0; k < 60; k++) {
			assert_int_equal(portal_send(f.producer, data, sizeof(data), 0), 0);
			assert_int_equal(portal_peek(f.consumer, &record), 0);
			assert_int_equal(portal_release(f.consumer), 0);
		}
		le64_store(&f.consumer->lane->place->position,
			   f.producer->producer.tail + (wrong[i] < 0 ? -2ULL * SIZE : 0) +
				   (uint64_t)wrong[i]);
		for (unsigned k = 0; k < 100; k++) {
			r = portal_reserve(f.producer, 90, &at);
			if (r < 0)
				break;
			assert_true(within(&f, at, 90));
			assert_int_equal(portal_commit(f.producer, 90, 0), 0);
		}
		assert_int_equal(r, -EPROTO);
		assert_int_equal(portal_reserve(f.producer, 90, &at), -EPROTO);
		assert_int_equal(portal_send(f.producer, data, 1, 0), -EPROTO);
		assert_int_equal(portal_send_array(f.producer, data, 1, 2, 0), -EPROTO);
		assert_int_equal(f.producer->producer.fault, RING_FAULT_POSITION);
		drop(&f);
	}
}

/* ---- all the time ------------------------------------------------------------------------ */

struct mutator {
	struct fixture *f;
	bool stop;
};

/* Other threads do not assert with cmocka. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t seed = 1;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		uint64_t at, value;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		at = (seed >> 20) % (m->f->total / 8) * 8;
		/* The words that count more often than payload; pages are long and empty. */
		if (seed >> 62)
			at = RING_PAGE + ((seed >> 30) % 4) * RING_PAGE +
			     ((seed >> 40) % 5) * 64 % RING_PAGE;
		value = seed >> 61 == 7 ? seed : nonsense((unsigned)(seed >> 33), at);
		if (at + 8 <= m->f->total && at >= RING_PAGE)
			__atomic_store_n((uint64_t *)(void *)(m->f->mem + at), value,
					 __ATOMIC_RELAXED);
		if (seed >> 59 == 0)
			sched_yield();
	}
	return NULL;
}

static void use(struct fixture *f, unsigned i)
{
	struct portal_record records[4];
	uint8_t data[LONGEST];
	void *at;
	int n;

	memset(data, (int)i, 256);
	if (portal_reserve(f->producer, i % LONGEST, &at) == 0) {
		assert_true(within(f, at, i % LONGEST));
		memset(at, (int)i, i % LONGEST);
		(void)portal_commit(f->producer, i % LONGEST, 0);
	}
	(void)portal_send_array(f->producer, data, i % 60, 4, 0);
	n = portal_peek_batch(f->consumer, records, 4);
	for (int k = 0; k < n; k++) {
		assert_true(within(f, records[k].data, records[k].len));
		memcpy(data, records[k].data, records[k].len);
	}
	(void)portal_release(f->consumer);
	(void)portal_recv(f->consumer, data, sizeof(data), NULL);
	(void)portal_recv_array(f->consumer, data, 8, 100);
}

static void somebody_writes_everywhere_all_the_time(void **state)
{
	const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_MPSC, PORTAL_BROADCAST };
	struct mutator m = { 0 };
	pthread_t thread;
	struct fixture f;
	unsigned used = 0;

	for (unsigned round = 0; round < 300; round++) {
		make(&f, kinds[round % 3]);
		m.f = &f;
		m.stop = false;
		assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
		for (unsigned i = 0; i < 300; i++, used++)
			use(&f, i * 31 + round);
		__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
		drop(&f);
	}
	assert_int_equal(used, 300 * 300);
}

/* A wait comes back by its deadline, whatever is written into the words it looks at. */
static void a_wait_ends_whatever_is_written(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		struct fixture f;
		uint64_t begin = clock_ns();

		make(&f, PORTAL_SPSC);
		memset(&f.consumer->far->sleep, (int)(i * 17), 256);
		memset(&ring_producer_end(f.consumer, 0)->sleep, (int)(i * 31), 256);
		(void)portal_wait(f.consumer, begin + 2 * NS_PER_MS);
		while (portal_send(f.producer, "x", 1, 0) == 0)
			;
		(void)portal_wait(f.producer, clock_ns() + 2 * NS_PER_MS);
		assert_true(clock_ns() - begin < 10 * NS_PER_SEC);
		drop(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_loaded_twice_for_one_decision),
		cmocka_unit_test(any_word_gives_a_record_in_the_lane_or_none),
		cmocka_unit_test(pads_without_end_are_refused),
		cmocka_unit_test(a_consumers_position_is_not_believed),
		cmocka_unit_test(somebody_writes_everywhere_all_the_time),
		cmocka_unit_test(a_wait_ends_whatever_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
