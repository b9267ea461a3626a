/* SPDX-License-Identifier: MIT */
/* The ends of rings: who has them, who dies, who sleeps; and many producers. */
#include "ring_fixture.h"

/* ---- ends ----------------------------------------------------------------------------- */

static void an_end_has_one_owner(void **state)
{
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, CAROL), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, BOB), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, 0), -EROFS);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, 0), -EROFS);
	ring_close(f.producer);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), 0);
	f.producer = NULL;
	drop(&f);
}

static void a_closed_producer_is_told_of_behind_its_last_record(void **state)
{
	struct fixture f;
	struct portal_record record;
	int r;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	send_text(f.producer, "last");
	ring_close(f.producer);
	f.producer = NULL;
	expect_text(f.consumer, "last");
	while ((r = portal_peek(f.consumer, &record)) == -EAGAIN)
		;
	assert_int_equal(r, -EPIPE);
	assert_int_equal(portal_wait(f.consumer, PORTAL_FOREVER), -EPIPE);
	/* Another one comes, and goes on. */
	f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(f.producer, "more");
	expect_text(f.consumer, "more");
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	drop(&f);
}

static void nobody_yet_is_not_nobody_any_more(void **state)
{
	struct fixture f;
	struct portal_record record;

	make(&f, PORTAL_SPSC, 4096, 0, 0);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	drop(&f);
	make(&f, PORTAL_SPSC, 4096, 0, 0);
	f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	while (portal_send(f.producer, &f, sizeof(f), 0) == 0)
		;
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_send(f.producer, &f, sizeof(f), 0), -EAGAIN);
	drop(&f);
}

/* A producer dies with records committed and one reserved; the next one goes on behind the committed ones. */
static void a_dead_producers_records_are_all_read(void **state)
{
	for (unsigned before = 0; before < 300; before += 7) {
		struct fixture f;
		struct portal_ring *corpse;
		void *at;

		make_pair(&f, PORTAL_SPSC, 4096, 0);
		for (unsigned i = 0; i < before; i++) {
			send_text(f.producer, "sixteen bytes ..");
			expect_text(f.consumer, "sixteen bytes ..");
		}
		send_text(f.producer, "first");
		assert_int_equal(portal_send_array(f.producer, "abcdef", 3, 2, 0), 2);
		assert_int_equal(portal_reserve(f.producer, 500, &at), 0);
		memset(at, 0xff, 500);
		corpse = f.producer;
		dead[ALICE & 3] = true;
		f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
		send_text(f.producer, "second");
		expect_text(f.consumer, "first");
		expect_text(f.consumer, "abc");
		expect_text(f.consumer, "def");
		expect_text(f.consumer, "second");
		free(corpse);
		drop(&f);
	}
}

/* A consumer dies; the next one sees what it had not said it had read, in order, and all that is new. */
static void a_dead_consumers_place_is_taken(void **state)
{
	struct fixture f;
	struct portal_ring *corpse;
	unsigned value, first;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_send(f.producer, &i, sizeof(i), 0), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(portal_recv(f.consumer, &value, sizeof(value), NULL),
				 sizeof(value));
	corpse = f.consumer;
	dead[BOB & 3] = true;
	f.consumer = end_of(&f, PORTAL_CONSUMER, CAROL);
	assert_int_equal(portal_recv(f.consumer, &first, sizeof(first), NULL), sizeof(first));
	assert_in_range(first, 100 - 4096 / 8 / 16, 100);
	for (unsigned i = first + 1; i < 200; i++) {
		assert_int_equal(portal_recv(f.consumer, &value, sizeof(value), NULL),
				 sizeof(value));
		assert_int_equal(value, i);
	}
	free(corpse->lanes);
	free(corpse);
	drop(&f);
}

static void a_producer_hears_that_the_consumer_is_gone(void **state)
{
	struct fixture f;
	int r;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	dead[BOB & 3] = true;
	while ((r = portal_send(f.producer, "x", 1, 0)) == 0 || r == -EAGAIN)
		;
	assert_int_equal(r, -EPIPE);
	assert_int_equal(portal_wait(f.producer, PORTAL_FOREVER), -EPIPE);
	drop(&f);
}

static void a_pause_lets_nothing_new_begin(void **state)
{
	struct fixture f;
	le64_t quiesce = le64_of(PORTAL_QUIESCE(1, PORTAL_RUNNING));
	struct ring_env env = { .self = ALICE, .quiesce = &quiesce };
	struct portal_record record = { "x", 1 };
	void *at;

	make(&f, PORTAL_SPSC, 4096, 0, 0);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_PRODUCER, &env, &f.producer), 0);
	assert_int_equal(portal_reserve(f.producer, 1, &at), 0);
	le64_store(&quiesce, PORTAL_QUIESCE(2, PORTAL_DRAINING));
	/* What is begun may be ended. */
	assert_int_equal(portal_commit(f.producer, 1, 0), 0);
	assert_int_equal(portal_reserve(f.producer, 1, &at), -EAGAIN);
	assert_int_equal(portal_send(f.producer, "x", 1, 0), -EAGAIN);
	assert_int_equal(portal_send_array(f.producer, "x", 1, 1, 0), -EAGAIN);
	assert_int_equal(portal_send_batch(f.producer, &record, 1), -EAGAIN);
	le64_store(&quiesce, PORTAL_QUIESCE(2, PORTAL_RUNNING));
	assert_int_equal(portal_send(f.producer, "x", 1, 0), 0);
	drop(&f);
}

static void memory_is_inherited_by_who_lives(void **state)
{
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(ring_heir(f.mem, f.total, world.alive, NULL), BOB);
	dead[BOB & 3] = true;
	assert_int_equal(ring_heir(f.mem, f.total, world.alive, NULL), ALICE);
	dead[ALICE & 3] = true;
	assert_int_equal(ring_heir(f.mem, f.total, world.alive, NULL), 0);
	assert_int_equal(ring_heir("no ring", 8, world.alive, NULL), 0);
	drop(&f);
}

/* ---- many producers ------------------------------------------------------------------- */

static void lanes_are_swept_in_turn(void **state)
{
	struct fixture f;
	struct portal_ring *p[3];
	unsigned seen[3] = { 0 }, in_a_row = 0, longest = 0;
	uint32_t last = 99;

	make(&f, PORTAL_MPSC, 4096, 0, 3);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	for (unsigned i = 0; i < 3; i++)
		p[i] = end_of(&f, PORTAL_PRODUCER, i == 0 ? ALICE : CAROL);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	for (unsigned round = 0; round < 1000; round++) {
		struct portal_record record;

		for (unsigned i = 0; i < 3; i++)
			(void)portal_send(p[i], &round, sizeof(round), i);
		assert_int_equal(portal_peek(f.consumer, &record), 0);
		assert_int_equal(record.lane, record.type);
		seen[record.lane]++;
		in_a_row = record.lane == last ? in_a_row + 1 : 1;
		longest = max(longest, in_a_row);
		last = record.lane;
		assert_int_equal(portal_release(f.consumer), 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_in_range(seen[i], 280, 380);
		ring_close(p[i]);
	}
	assert_in_range(longest, 1, 32);
	/* A lane that was given back is another one's. */
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), 0);
	drop(&f);
}

static void a_poisoned_lane_does_not_stop_the_others(void **state)
{
	struct fixture f;
	struct portal_ring *p[2];
	struct portal_record record;
	struct portal_ring_info info;

	make(&f, PORTAL_MPSC, 4096, 0, 2);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	p[0] = end_of(&f, PORTAL_PRODUCER, ALICE);
	p[1] = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(p[0], "good");
	*(uint64_t *)(void *)ring_lane_data(f.consumer, 1) = ring_word(8, RING_DATA, 0, 5);
	assert_int_equal(portal_peek(f.consumer, &record), -EPROTO);
	expect_text(f.consumer, "good");
	send_text(p[0], "better");
	expect_text(f.consumer, "better");
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	portal_ring_info(f.consumer, &info);
	assert_int_equal(info.fault, PORTAL_FAULT_TAG);
	/* Its producer is told, and nobody gets that lane again. */
	while (portal_send(p[1], &info, sizeof(info), 0) == 0)
		;
	assert_int_equal(portal_wait(p[1], PORTAL_FOREVER), -EPIPE);
	ring_close(p[1]);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EPIPE);
	ring_close(p[0]);
	drop(&f);
}

/* Who goes to sleep behind a release has said how far it is: the producer may be waiting for just that. */
static void who_waits_has_said_where_it_is(void **state)
{
	static const uint8_t bytes[2040];
	struct portal_record record;
	struct fixture f;
	void *at;

	make_pair(&f, PORTAL_SPSC, 4096, 2040);
	assert_int_equal(portal_send(f.producer, bytes, 300, 0), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 2040, 0), 0);
	assert_int_equal(portal_reserve(f.producer, 2000, &at), -EAGAIN);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(record.len, 2040);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 400, 0), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_not_equal(f.consumer->lane->said, f.consumer->lane->pos);
	assert_int_equal(portal_wait(f.consumer, 0), -ETIMEDOUT);
	assert_int_equal(le64_load(&f.consumer->lane->place->position), f.consumer->lane->pos);
	drop(&f);
}

/* An end's sleeps are counted on by whoever has it next: a waker takes none for one that it has ended. */
static void sleeps_are_counted_across_owners(void **state)
{
	struct fixture f;
	uint64_t last;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_wait(f.consumer, clock_ns() + NS_PER_MS), -ETIMEDOUT);
	last = f.consumer->sleep_number;
	assert_true(last > 0);
	for (unsigned i = 0; i < 3; i++) {
		ring_close(f.consumer);
		f.consumer = end_of(&f, PORTAL_CONSUMER, i % 2 ? BOB : CAROL);
		assert_int_equal(portal_wait(f.consumer, clock_ns() + NS_PER_MS), -ETIMEDOUT);
		assert_true(f.consumer->sleep_number > last);
		last = f.consumer->sleep_number;
	}
	drop(&f);
}

static bool is_withdrawn(void *ctx, const struct portal_object *object)
{
	return false;
}

/* Who has just put itself into an end of a ring that was withdrawn takes itself out again, and touches nothing else. */
static void a_withdrawn_ring_is_left_alone(void **state)
{
	struct ring_ops ops = world;
	struct portal_object object = { 0 };
	struct ring_env env = { .self = CAROL, .ops = &ops, .object = &object };
	static const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_MPSC };

	ops.still = is_withdrawn;
	for (unsigned i = 0; i < 8; i++) {
		struct portal_ring *r;
		struct fixture f;
		void *before;

		make(&f, kinds[i / 2 % 2], 4096, 0, 2);
		if (i >= 4) { /* somebody had the end, and died */
			r = end_of(&f, (enum portal_role)(i % 2), ALICE);
			dead[ALICE & 3] = true;
			free(r->lanes);
			free(r);
		}
		before = malloc(f.total);
		memcpy(before, f.mem, f.total);
		assert_int_equal(ring_open(f.mem, f.total, (enum portal_role)(i % 2), &env, &r),
				 -ENOENT);
		assert_memory_equal(f.mem, before, f.total);
		free(before);
		free(f.mem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_has_one_owner),
		cmocka_unit_test(a_closed_producer_is_told_of_behind_its_last_record),
		cmocka_unit_test(nobody_yet_is_not_nobody_any_more),
		cmocka_unit_test(a_dead_producers_records_are_all_read),
		cmocka_unit_test(a_dead_consumers_place_is_taken),
		cmocka_unit_test(a_producer_hears_that_the_consumer_is_gone),
		cmocka_unit_test(a_pause_lets_nothing_new_begin),
		cmocka_unit_test(memory_is_inherited_by_who_lives),
		cmocka_unit_test(lanes_are_swept_in_turn),
		cmocka_unit_test(a_poisoned_lane_does_not_stop_the_others),
		cmocka_unit_test(who_waits_has_said_where_it_is),
		cmocka_unit_test(sleeps_are_counted_across_owners),
		cmocka_unit_test(a_withdrawn_ring_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
