/* SPDX-License-Identifier: MIT */
/* Ends of a ring in threads of their own, as they are in processes of their own: every record arrives once, whole and in
 * order, and no wake-up is lost.
 *
 * Ends sleep whenever they have nothing to do, and each sleep is bounded far beyond what a test may take; so a lost wake-up
 * shows as slowness at most, and the number of naps that ended by themselves is what is looked at.  Under the thread
 * sanitizer a missing acquire or release shows as a race on the payloads.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base.h"
#include "clock.h"
#include "ring.h"

#define RECORDS 60000u
#define LONGEST 200u

/* Assertions of threads that are not cmocka's. */
#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                   \
		}                                                                  \
	} while (0)

struct fixture {
	uint64_t total;
	void *mem;
	unsigned producers, done;
};

static struct portal_ring *end_of(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self };
	struct portal_ring *r;

	CHECK(ring_open(f->mem, f->total, role, &env, &r) == 0);
	return r;
}

static void make(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t lanes)
{
	struct portal_ring_options options = {
		.kind = kind, .size = size, .max_record = LONGEST + 8, .lanes = lanes
	};
	struct ring_geometry geo;

	CHECK(ring_plan(&options, &geo) == 0);
	f->total = ring_total(geo.lanes, geo.size);
	f->mem = aligned_alloc(RING_PAGE, f->total);
	CHECK(f->mem);
	ring_format(f->mem, &geo);
	f->producers = lanes;
	f->done = 0;
}

/* What record number i looks like: its length follows from its number, and every byte from both. */
static uint32_t length_of(uint32_t i)
{
	return 4 + i * 2654435761u % LONGEST;
}

static void write_record(uint8_t *at, uint32_t i)
{
	uint32_t len = length_of(i);

	memcpy(at, &i, sizeof(i));
	for (uint32_t k = sizeof(i); k < len; k++)
		at[k] = (uint8_t)(i + k);
}

static void check_record(const uint8_t *at, uint32_t len, uint32_t i)
{
	uint32_t number;

	memcpy(&number, at, sizeof(number));
	CHECK(number == i && len == length_of(i));
	for (uint32_t k = sizeof(i); k < len; k++)
		CHECK(at[k] == (uint8_t)(i + k));
}

static void *produce(void *arg)
{
	struct fixture *f = arg;
	struct portal_ring *r = end_of(f, PORTAL_PRODUCER,
				       0x10001 + __atomic_fetch_add(&f->done, 1, __ATOMIC_RELAXED));

	for (uint32_t i = 0; i < RECORDS; i++) {
		void *at;
		int res;

		while ((res = portal_reserve(r, length_of(i), &at)) == -EAGAIN)
			CHECK(portal_wait(r, PORTAL_FOREVER) == 0);
		CHECK(res == 0);
		write_record(at, i);
		CHECK(portal_commit(r, length_of(i), i & 0xff) == 0);
		/* The other one runs dry, and sleeps. */
		if (i % 20000 == 0)
			nanosleep(&(struct timespec){ 0, 3000000 }, NULL);
	}
	ring_close(r);
	return NULL;
}

static void consume_all(struct fixture *f, struct portal_ring *r)
{
	uint32_t next[RING_LANES_MAX] = { 0 };
	uint64_t left = (uint64_t)f->producers * RECORDS;

	while (left > 0) {
		struct portal_record record;
		int res = portal_peek(r, &record);

		if (res == -EAGAIN)
			CHECK(portal_wait(r, PORTAL_FOREVER) == 0);
		else
			CHECK(res == 0);
		if (res < 0)
			continue;
		CHECK(record.type == (next[record.lane] & 0xff));
		check_record(record.data, record.len, next[record.lane]++);
		CHECK(portal_release(r) == 0);
		left--;
	}
}

static void race(unsigned producers, uint64_t size)
{
	struct fixture f;
	struct portal_ring *r;
	pthread_t threads[4];
	struct portal_ring_info info;

	make(&f, producers > 1 ? PORTAL_MPSC : PORTAL_SPSC, size, producers);
	r = end_of(&f, PORTAL_CONSUMER, 0x20000);
	for (unsigned i = 0; i < producers; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, produce, &f), 0);
	consume_all(&f, r);
	for (unsigned i = 0; i < producers; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	portal_ring_info(r, &info);
	assert_int_equal(info.fault, PORTAL_FAULT_NONE);
	ring_close(r);
	free(f.mem);
}

static void one_to_one(void **state)
{
	race(1, 1 << 16);
}

static void one_to_one_through_a_small_lane(void **state)
{
	race(1, 4096);
}

static void many_to_one(void **state)
{
	race(3, 4096);
}

static void *broadcast(void *arg)
{
	struct fixture *f = arg;
	struct portal_ring *r = end_of(f, PORTAL_PRODUCER, 0x10001);

	for (uint32_t i = 0; i < RECORDS; i++) {
		uint8_t data[LONGEST + 8];

		write_record(data, i);
		CHECK(portal_send(r, data, length_of(i), 0) == 0);
		/* Now and then readers may keep up. */
		if (i % 1000 == 0)
			nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	}
	ring_close(r);
	return NULL;
}

/* A reader may lose records, but never sees a torn one, an old one, or one twice. */
static void *listen_in(void *arg)
{
	struct fixture *f = arg;
	struct portal_ring *r = end_of(f, PORTAL_CONSUMER, 0x30000);
	uint32_t last = 0, heard = 0;
	uint8_t data[LONGEST + 8];

	for (;;) {
		int64_t len = portal_recv(r, data, sizeof(data), NULL);
		uint32_t number;

		if (len == -EPIPE)
			break;
		if (len == -EAGAIN)
			(void)portal_wait(r, clock_ns() + 100 * NS_PER_MS);
		if (len < 0) {
			CHECK(len == -EAGAIN || len == -EOVERFLOW);
			continue;
		}
		memcpy(&number, data, sizeof(number));
		CHECK(heard == 0 || number > last);
		check_record(data, (uint32_t)len, number);
		last = number;
		heard++;
	}
	CHECK(heard > 0);
	ring_close(r);
	return NULL;
}

static void one_to_several(void **state)
{
	struct fixture f;
	pthread_t readers[2], writer;

#ifdef __SANITIZE_THREAD__
	print_message(
		"# SKIP readers of a broadcast race with its writer, and ask afterwards: ThreadSanitizer does not know\n");
	skip();
#endif
	make(&f, PORTAL_BROADCAST, 1 << 14, 1);
	/* A first record's place is taken before anybody sends. */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, listen_in, &f), 0);
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	assert_int_equal(pthread_create(&writer, NULL, broadcast, &f), 0);
	assert_int_equal(pthread_join(writer, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(readers[i], NULL), 0);
	free(f.mem);
}

/* ---- sleeping ------------------------------------------------------------------- */

static void *send_late(void *arg)
{
	nanosleep(&(struct timespec){ 0, 30000000 }, NULL);
	CHECK(portal_send(arg, "late", 4, 0) == 0);
	return NULL;
}

static void *take_late(void *arg)
{
	struct portal_record record;

	nanosleep(&(struct timespec){ 0, 30000000 }, NULL);
	while (portal_peek(arg, &record) == 0)
		CHECK(portal_release(arg) == 0);
	return NULL;
}

static void a_sleeping_consumer_is_woken_by_the_record(void **state)
{
	struct fixture f;
	struct portal_ring *p, *c;
	struct portal_ring_info info;
	pthread_t thread;

	make(&f, PORTAL_SPSC, 4096, 1);
	p = end_of(&f, PORTAL_PRODUCER, 1);
	c = end_of(&f, PORTAL_CONSUMER, 2);
	assert_int_equal(pthread_create(&thread, NULL, send_late, p), 0);
	assert_int_equal(portal_wait(c, PORTAL_FOREVER), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	portal_ring_info(p, &info);
	assert_int_equal(info.wakes, 1);
	/* Nobody sleeps: nobody is woken. */
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(portal_send(p, "more", 4, 0), 0);
	portal_ring_info(p, &info);
	assert_int_equal(info.wakes, 1);
	ring_close(p);
	ring_close(c);
	free(f.mem);
}

static void a_sleeping_producer_is_woken_by_room(void **state)
{
	struct fixture f;
	struct portal_ring *p, *c;
	struct portal_ring_info info;
	pthread_t thread;

	make(&f, PORTAL_SPSC, 4096, 1);
	p = end_of(&f, PORTAL_PRODUCER, 1);
	c = end_of(&f, PORTAL_CONSUMER, 2);
	while (portal_send(p, "full", 4, 0) == 0)
		;
	assert_int_equal(pthread_create(&thread, NULL, take_late, c), 0);
	assert_int_equal(portal_wait(p, PORTAL_FOREVER), 0);
	assert_int_equal(portal_send(p, "room", 4, 0), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	portal_ring_info(c, &info);
	assert_int_equal(info.wakes, 1);
	ring_close(p);
	ring_close(c);
	free(f.mem);
}

static void a_wait_ends_at_its_deadline(void **state)
{
	struct fixture f;
	struct portal_ring *c;
	uint64_t begin = clock_ns();

	make(&f, PORTAL_SPSC, 4096, 1);
	c = end_of(&f, PORTAL_CONSUMER, 2);
	assert_int_equal(portal_wait(c, 0), -ETIMEDOUT);
	assert_int_equal(portal_wait(c, begin + 30 * NS_PER_MS), -ETIMEDOUT);
	assert_true(clock_ns() >= begin + 30 * NS_PER_MS);
	ring_close(c);
	free(f.mem);
}

static void *close_late(void *arg)
{
	nanosleep(&(struct timespec){ 0, 30000000 }, NULL);
	ring_close(arg);
	return NULL;
}

static void a_sleeper_is_told_that_the_other_one_goes(void **state)
{
	struct fixture f;
	struct portal_ring *p, *c;
	pthread_t thread;

	make(&f, PORTAL_SPSC, 4096, 1);
	p = end_of(&f, PORTAL_PRODUCER, 1);
	c = end_of(&f, PORTAL_CONSUMER, 2);
	assert_int_equal(pthread_create(&thread, NULL, close_late, p), 0);
	assert_int_equal(portal_wait(c, PORTAL_FOREVER), -EPIPE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	ring_close(c);
	free(f.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_to_one),
		cmocka_unit_test(one_to_one_through_a_small_lane),
		cmocka_unit_test(many_to_one),
		cmocka_unit_test(one_to_several),
		cmocka_unit_test(a_sleeping_consumer_is_woken_by_the_record),
		cmocka_unit_test(a_sleeping_producer_is_woken_by_room),
		cmocka_unit_test(a_wait_ends_at_its_deadline),
		cmocka_unit_test(a_sleeper_is_told_that_the_other_one_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
