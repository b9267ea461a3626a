/* SPDX-License-Identifier: MIT */
/* SET_VRING_CALL: may come before anything else, and at any time again. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "wire.h"

static int set(struct wire *w, uint32_t index, int fd)
{
	return frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_CALL, index, fd);
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	(void)!read(fd, &n, sizeof(n));
	return n;
}

/* DPDK's virtio-user announces its rings with it, before SET_FEATURES. */
static void before_the_rest(void **state)
{
	struct wire *w = *state;

	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		assert_int_equal(set(w, i, w->ring[i].call_fd), 0);
	assert_int_equal(frontend_negotiate(&w->fe, ~0ull, ~0ull), 0);
	assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	assert_int_equal(frontend_ring_start(&w->fe, 1, &w->ring[1], true), 0);
	assert_int_equal(w->queue[1].n_start, 1);
}

/* Use up one (empty) chain on each kick, so that there is something to call for. */
static void use_one(struct wire *w, struct vu_queue *q)
{
	vq_push(&q->vq, 0, 0);
	vq_publish(&q->vq);
	(void)vq_call(&q->vq);
}

static void kick(struct wire *w)
{
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
}

/* A driver masks and unmasks its vector: the call goes where it was last sent. */
static void replaced_while_running(void **state)
{
	struct wire *w = *state;
	auto_fd int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	w->on_kick = use_one;
	kick(w);
	assert_int_equal(count(w->ring[0].call_fd), 1);

	assert_int_equal(set(w, 0, other), 0);
	kick(w);
	assert_int_equal(count(w->ring[0].call_fd), 0);
	assert_int_equal(count(other), 1);

	assert_int_equal(set(w, 0, -1), 0);
	kick(w);
	assert_int_equal(count(other), 0);

	assert_int_equal(set(w, 0, w->ring[0].call_fd), 0);
	kick(w);
	assert_int_equal(count(w->ring[0].call_fd), 1);
	assert_int_equal(w->queue[0].n_stop, 0);
}

/* CVE-2019-14818: repeated, each descriptor closes the one before. */
static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	unsigned before = wire_count_fds();

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, 0, w->ring[0].call_fd), 0);
	assert_int_equal(wire_count_fds(), before);
	assert_int_equal(set(w, 0, -1), 0);
	assert_int_equal(wire_count_fds(), before - 1);
}

static void acks(void **state)
{
	struct wire *w = *state;
	const uint64_t word = 1, none = 1 | VU_VRING_NOFD;

	wire_check_ack(w, VHOST_USER_SET_VRING_CALL, &word, 8, &w->ring[1].call_fd, 1, false);
	wire_check_ack(w, VHOST_USER_SET_VRING_CALL, &none, 8, NULL, 0, false);
}

static void descriptor_and_bit_disagree(void **state)
{
	struct wire *w = *state;
	const uint64_t with = 0, without = VU_VRING_NOFD;

	wire_drops(w, VHOST_USER_SET_VRING_CALL, &with, 8, NULL, 0);
	wire_drops(w, VHOST_USER_SET_VRING_CALL, &without, 8, &w->ring[0].call_fd, 1);
}

static void no_such_ring(void **state)
{
	struct wire *w = *state;
	const uint64_t bad[] = { WIRE_QUEUES, 0xff, 0x200, 1ull << 32 };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		wire_drops(w, VHOST_USER_SET_VRING_CALL, &bad[i], 8, &w->ring[0].call_fd, 1);
}

static void shape(void **state)
{
	const uint64_t word = 0;

	wire_check_shape(*state, VHOST_USER_SET_VRING_CALL, &word, sizeof(word), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(before_the_rest, acks),
		WIRE_TEST(replaced_while_running, running),
		WIRE_TEST(repeated_cve_2019_14818, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(descriptor_and_bit_disagree, acks),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_CALL", tests, NULL, NULL);
}
