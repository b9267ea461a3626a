/* SPDX-License-Identifier: MIT */
/* Broadcasts on plain memory: readers that keep up, fall behind, or outlive them; and errors that are told once. */
#include "ring_fixture.h"

/* ---- broadcast --------------------------------------------------------------------------- */

static void everybody_reads_a_broadcast(void **state)
{
	struct fixture f;
	struct portal_ring *late;
	struct portal_record record;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	send_text(f.producer, "one");
	late = end_of(&f, PORTAL_CONSUMER, 0); /* who may not write may read */
	assert_int_equal(portal_peek(late, &record), -EAGAIN);
	send_text(f.producer, "two");
	expect_text(f.consumer, "one");
	expect_text(f.consumer, "two");
	expect_text(late, "two");
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	ring_close(late);
	drop(&f);
}

/* A producer that says it sleeps is not woken: its readers may not be allowed to write. */
static void readers_of_a_broadcast_write_nothing(void **state)
{
	struct fixture f;
	struct portal_record record;
	struct portal_ring *reader;
	void *before;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	reader = end_of(&f, PORTAL_CONSUMER, 0);
	before = malloc(f.total);
	send_text(f.producer, "one");
	le64_store(&f.producer->end->sleep, 1 << 2 | RING_SLEEP_FUTEX);
	memcpy(before, f.mem, f.total);
	expect_text(reader, "one");
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_peek(reader, &record), -EAGAIN);
	assert_int_equal(portal_wait(reader, clock_ns() + 2 * NS_PER_MS), -ETIMEDOUT);
	ring_close(reader);
	assert_memory_equal(f.mem, before, f.total);
	free(before);
	drop(&f);
}

static void the_slow_are_overtaken(void **state)
{
	struct fixture f;
	struct portal_record record;
	struct portal_ring_info info;
	uint64_t i = 0, value;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	/* Seven eighths of the lane are the reader's, whatever happens. */
	for (; i < 4096 / 16 * 7 / 8 - 2; i++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	expect(f.consumer, &(uint64_t){ 0 }, 8, 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	for (; i < 1000; i++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	/* What is in its hand is gone, and said to be. */
	assert_int_equal(portal_release(f.consumer), -EOVERFLOW);
	portal_ring_info(f.consumer, &info);
	assert_true(info.lost >= 4096);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), 8);
	assert_int_equal(value, i);
	for (unsigned k = 0; k < 1000; k++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EOVERFLOW);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EAGAIN);
	drop(&f);
}

static void a_dead_broadcaster_is_followed(void **state)
{
	struct fixture f;
	struct portal_ring *corpse;
	struct portal_record record;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 500; i++) {
		send_text(f.producer, "on and on");
		expect_text(f.consumer, "on and on");
	}
	corpse = f.producer;
	dead[ALICE & 3] = true;
	f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(f.producer, "anew");
	expect_text(f.consumer, "anew");
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	free(corpse);
	drop(&f);
}

static void arrays_and_batches_are_broadcast(void **state)
{
	struct fixture f;
	uint64_t out[16], in[16], next = 0, got = 0;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned round = 0; round < 500; round++) {
		struct portal_record pair[2] = { { &out[0], 8, 0 }, { &out[1], 8, 0 } };

		for (unsigned i = 0; i < 16; i++)
			out[i] = next + i;
		assert_int_equal(portal_send_array(f.producer, out, 8, 16, 0), 16);
		next += 16;
		out[0] = next++;
		out[1] = next++;
		assert_int_equal(portal_send_batch(f.producer, pair, 2), 2);
		for (int n; (n = portal_recv_array(f.consumer, in, 8, 16)) > 0;)
			for (int i = 0; i < n; i++)
				assert_int_equal(in[i], got++);
	}
	assert_int_equal(got, next);
	drop(&f);
}

/* Records so long that the producer must say again and again what it overwrites: a reader that keeps up gets each one, and
 * one that does not is told, whatever lies where its record was. */
static void large_broadcasts_are_sound(void **state)
{
	static const uint32_t lens[] = { 1024, 4000, 200000 };
	static uint8_t bytes[200000];

	for (unsigned k = 0; k < array_size(lens); k++) {
		struct portal_record record;
		struct fixture f;
		unsigned told = 0;

		make_pair(&f, PORTAL_BROADCAST, 1 << 20, 0);
		for (unsigned round = 0; round < 400; round++) {
			unsigned more = round * 8 % (3 * (1 << 20) / lens[k] / 2);
			int r;

			while (portal_peek(f.consumer, &record) == -EOVERFLOW)
				;
			memset(bytes, (int)(round & 0x7f), lens[k]);
			assert_int_equal(portal_send(f.producer, bytes, lens[k], 1), 0);
			expect(f.consumer, bytes, lens[k], 1);
			assert_int_equal(portal_release(f.consumer), 0);
			assert_int_equal(portal_send(f.producer, bytes, lens[k], 1), 0);
			assert_int_equal(portal_peek(f.consumer, &record), 0);
			memset(bytes, 0xff, lens[k]);
			for (unsigned i = 0; i < more; i++)
				assert_int_equal(
					portal_send(f.producer, bytes, lens[k] - i % 100, 2), 0);
			r = *(const uint8_t *)record.data == 0xff ? -EOVERFLOW : 0;
			if (portal_release(f.consumer) < 0)
				told++;
			else
				assert_int_equal(r, 0);
			/* What it still has to read, or has missed. */
			while ((r = portal_peek(f.consumer, &record)) == 0 || r == -EOVERFLOW)
				if (r == 0)
					(void)portal_release(f.consumer);
			assert_int_equal(r, -EAGAIN);
		}
		assert_true(told > 10);
		drop(&f);
	}
}

/* A reader has just released a record, and looks whether the memory is still the ring's: a lap goes by. */
static bool a_lap_goes_by(void *ctx, const void *mem, uint64_t block)
{
	struct portal_ring **producer = ctx, *p = *producer;
	uint64_t value = 8;

	*producer = NULL;
	for (unsigned i = 0; p && i < 1000; i++)
		assert_int_equal(portal_send(p, &value, 8, 0), 0);
	return true;
}

/* What a call of several records cannot return, because it has some, the next one does; it is not waited for. */
static void what_is_told_once_is_told(void **state)
{
	struct ring_ops ops = world;
	struct portal_ring *p[2];
	struct ring_env env = { .self = BOB, .ops = &ops, .ctx = p, .block = 1 };
	struct fixture f;
	struct portal_record records[4];
	uint64_t value = 7, values[4];

	make(&f, PORTAL_BROADCAST, 4096, 0, 0);
	ops.intact = a_lap_goes_by;
	p[0] = f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_CONSUMER, &env, &f.consumer), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_recv_array(f.consumer, values, 8, 4), 1);
	assert_int_equal(values[0], 7);
	assert_int_equal(portal_wait(f.consumer, 0), 0);
	assert_int_equal(portal_recv_array(f.consumer, values, 8, 4), -EOVERFLOW);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EAGAIN);
	assert_int_equal(portal_wait(f.consumer, 0), -ETIMEDOUT);
	drop(&f);

	for (unsigned way = 0; way < 2; way++) {
		make(&f, PORTAL_MPSC, 4096, 0, 2);
		f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
		p[0] = end_of(&f, PORTAL_PRODUCER, ALICE);
		p[1] = end_of(&f, PORTAL_PRODUCER, CAROL);
		assert_int_equal(portal_send(p[0], &value, 8, 0), 0);
		*(uint64_t *)(void *)ring_lane_data(f.consumer, 1) = ring_word(8, RING_DATA, 0, 5);
		f.consumer->budget = 32; /* lane 0 first */
		assert_int_equal(way ? portal_recv_array(f.consumer, values, 8, 4) :
				       portal_peek_batch(f.consumer, records, 4),
				 1);
		assert_int_equal(portal_wait(f.consumer, 0), 0);
		assert_int_equal(portal_peek(f.consumer, records), -EPROTO);
		assert_int_equal(portal_peek(f.consumer, records), -EAGAIN);
		ring_close(p[0]);
		ring_close(p[1]);
		drop(&f);
	}
}

/* A producer waits for what it was refused last, and no longer when it has got it, or a part. */
static void room_that_was_had_is_not_waited_for(void **state)
{
	static const uint8_t bytes[4096];
	struct portal_record record;
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 1000);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(portal_send(f.producer, bytes, 1000, 0), 0);
	assert_int_equal(portal_send_array(f.producer, bytes, 100, 15, 0), 9);
	assert_int_equal(portal_wait(f.producer, 0), 0);
	assert_int_equal(portal_send(f.producer, bytes, 1000, 0), -EAGAIN);
	assert_int_equal(portal_wait(f.producer, 0), -ETIMEDOUT);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 1000, 0), 0);
	assert_int_equal(f.producer->producer.wanted, 0);
	drop(&f);
}

/* What is left of a batch that went by is not given out as sound. */
static void a_batch_that_went_by_is_not_had(void **state)
{
	struct portal_record records[8];
	struct fixture f;
	uint64_t value = 1;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 2), 2);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 8), -EOVERFLOW);
	assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 8), 1);
	assert_int_equal(portal_release(f.consumer), 0);
	drop(&f);
}

static bool is_there(void *ctx, const void *mem, uint64_t block)
{
	return !*(bool *)ctx;
}

/* Asked when a sleep is about to be told of. */
static bool goes_now(void *ctx, uint64_t owner)
{
	*(bool *)ctx = true;
	return true;
}

/* A reader that falls asleep while the ring goes leaves its memory alone. */
static void nobody_sleeps_in_anothers_memory(void **state)
{
	struct ring_ops ops = world;
	bool gone = false;
	struct ring_env env = { .self = BOB, .ops = &ops, .ctx = &gone, .block = 1 };
	struct fixture f;

	ops.intact = is_there;
	ops.near = goes_now;
	make(&f, PORTAL_BROADCAST, 4096, 0, 0);
	f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_CONSUMER, &env, &f.consumer), 0);
	assert_false(gone);
	assert_int_equal(portal_wait(f.consumer, clock_ns() + 1000 * NS_PER_MS), -EPIPE);
	assert_true(gone);
	assert_int_equal(le64_load(&f.producer->far->sleep), 0);
	drop(&f);
}

/* Each sleep of a broadcast's reader is ended, not the first one alone. */
static void a_broadcast_wakes_each_time(void **state)
{
	struct fixture f;
	uint64_t rung = 99;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct portal_record record;
		uint32_t bell = le32_load(&f.producer->far->bell);

		assert_int_equal(portal_wait(f.consumer, clock_ns() + 2 * NS_PER_MS), -ETIMEDOUT);
		assert_int_not_equal(le64_load(&f.producer->far->sleep), 0);
		send_text(f.producer, "wake up");
		assert_int_equal(le64_load(&f.producer->far->sleep), 0);
		assert_int_equal(le32_load(&f.producer->far->bell), bell + 1);
		assert_int_equal(f.producer->producer.rung, 0);
		assert_int_equal(portal_peek(f.consumer, &record), 0);
		assert_int_equal(portal_release(f.consumer), 0);
	}
	ring_wake(f.producer, f.producer->far, 0, &rung);
	assert_int_equal(rung, 0);
	drop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_reads_a_broadcast),
		cmocka_unit_test(readers_of_a_broadcast_write_nothing),
		cmocka_unit_test(the_slow_are_overtaken),
		cmocka_unit_test(a_dead_broadcaster_is_followed),
		cmocka_unit_test(arrays_and_batches_are_broadcast),
		cmocka_unit_test(large_broadcasts_are_sound),
		cmocka_unit_test(what_is_told_once_is_told),
		cmocka_unit_test(room_that_was_had_is_not_waited_for),
		cmocka_unit_test(a_batch_that_went_by_is_not_had),
		cmocka_unit_test(nobody_sleeps_in_anothers_memory),
		cmocka_unit_test(a_broadcast_wakes_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
