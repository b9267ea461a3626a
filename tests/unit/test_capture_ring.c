/* SPDX-License-Identifier: MIT */
/* The ring between a switch and a capture's writer: every size, both ends, and two threads. */
#include "capture_ring.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 4096

static struct capture_ring ring;

static int setup(void **state)
{
	return capture_ring_init(&ring, SIZE);
}

static int teardown(void **state)
{
	capture_ring_done(&ring);
	return 0;
}

static bool put(uint32_t number, uint32_t reserve, uint32_t len)
{
	struct capture_record *r = capture_ring_reserve(&ring, reserve);

	if (!r)
		return false;
	memset(r->bytes, (int)number, reserve);
	r->len = number;
	capture_ring_commit(&ring, r, len);
	return true;
}

static void expect(uint32_t number, uint32_t len)
{
	const struct capture_record *r = capture_ring_first(&ring);

	assert_non_null(r);
	assert_int_equal(r->len, number);
	assert_int_equal(r->cap_len, len);
	assert_true((uintptr_t)r->bytes % CAPTURE_RING_ALIGN == 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(r->bytes[i], (uint8_t)number);
	capture_ring_release(&ring, r);
}

static void test_in_order(void **state)
{
	assert_null(capture_ring_first(&ring));
	assert_true(put(1, 100, 100));
	assert_true(put(2, 1000, 10)); /* cut to what it needs */
	assert_true(put(3, 0, 0));
	expect(1, 100);
	expect(2, 10);
	expect(3, 0);
	assert_null(capture_ring_first(&ring));
}

static void test_left_records(void **state)
{
	assert_non_null(capture_ring_reserve(&ring, 100));
	assert_null(capture_ring_first(&ring));
	assert_true(put(1, 50, 50));
	expect(1, 50);
}

static void test_full(void **state)
{
	const uint32_t most = SIZE - sizeof(struct capture_record);
	unsigned n = 0;

	assert_false(put(1, most + 1, 1));
	assert_false(put(1, UINT32_MAX, 1));
	assert_true(put(1, most, most));
	assert_false(put(2, 0, 0));
	expect(1, most);
	while (put(n, 10, 10))
		n++;
	assert_int_equal(n, SIZE / (sizeof(struct capture_record) + 16));
	expect(0, 10);
	assert_true(put(n, 10, 10));
	for (unsigned i = 1; i <= n; i++)
		expect(i, 10);
}

/* Every place at which the end can be reached, and every length there. */
static void test_wraps(void **state)
{
	for (uint32_t len = 0; len < 700; len += 7)
		for (uint32_t i = 0; i < 40; i++) {
			assert_true(put(i, len, len));
			assert_true(put(i + 100, (len * i) % 900, (len * i) % 900));
			expect(i, len);
			expect(i + 100, (len * i) % 900);
		}
	assert_null(capture_ring_first(&ring));
}

static bool is_woken(void)
{
	struct pollfd p = { .fd = ring.wake_fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void test_wakes_a_sleeper_alone(void **state)
{
	assert_true(put(1, 10, 10));
	capture_ring_wake(&ring);
	assert_false(is_woken());
	assert_false(capture_ring_will_sleep(&ring)); /* there is something */
	expect(1, 10);
	assert_true(capture_ring_will_sleep(&ring));
	assert_true(put(2, 10, 10));
	capture_ring_wake(&ring);
	assert_true(is_woken());
	expect(2, 10);
	assert_true(capture_ring_will_sleep(&ring));
	assert_false(is_woken());
}

#define N_RECORDS 50000u

static uint32_t length_of(uint32_t number)
{
	return number * 2654435761u >> 23;
}

static void *produce(void *arg)
{
	for (uint32_t i = 0; i < N_RECORDS;) {
		uint32_t len = length_of(i);

		if (put(i, len + i % 3, len)) {
			i++;
			capture_ring_wake(&ring);
		}
	}
	return NULL;
}

static void test_two_threads(void **state)
{
	pthread_t producer;

	assert_int_equal(pthread_create(&producer, NULL, produce, NULL), 0);
	for (uint32_t i = 0; i < N_RECORDS;) {
		const struct capture_record *r = capture_ring_first(&ring);
		struct pollfd p = { .fd = ring.wake_fd, .events = POLLIN };

		if (!r) {
			if (capture_ring_will_sleep(&ring))
				assert_int_equal(poll(&p, 1, 10000), 1); /* no waking is lost */
			continue;
		}
		assert_int_equal(r->len, i);
		assert_int_equal(r->cap_len, length_of(i));
		if (r->cap_len > 0)
			assert_int_equal(r->bytes[r->cap_len - 1], (uint8_t)i);
		capture_ring_release(&ring, r);
		i++;
	}
	pthread_join(producer, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wraps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wakes_a_sleeper_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
