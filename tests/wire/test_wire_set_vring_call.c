/* SPDX-License-Identifier: MIT */
/* SET_VRING_CALL: may come before anything else, and at any time again. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "driver.h"
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

/* Use all that is available. */
static void use_all(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n = vq_pop(&q->vq, &burst, VQ_BURST);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		vq_push(&q->vq, burst.chain[i].head, 0);
	vq_publish(&q->vq);
	(void)vq_call(&q->vq);
}

static void use_one(struct wire *w, struct driver *d)
{
	const struct driver_buf buf = { GPA(GUEST_GPA), 16 };
	uint32_t len;

	assert_true(driver_add(d, &buf, 1, 0) >= 0);
	driver_publish(d);
	assert_int_equal(write(d->kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	assert_true(driver_used(d, &len) >= 0);
}

/* A driver masks and unmasks its vector: the call goes where it was last sent. */
static void replaced_while_running(void **state)
{
	struct wire *w = *state;
	auto_fd int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct guest guest;
	struct driver d;

	guest_init(&guest, 2, 1 << 20);
	driver_init(&d, &guest, 64, 0);
	w->on_kick = use_all;
	assert_int_equal(frontend_negotiate(&w->fe, 1ull << 32, ~0ull), 0);
	assert_int_equal(frontend_guest(&w->fe, &guest), 0);
	assert_int_equal(frontend_driver_start(&w->fe, 0, &d, true), 0);
	use_one(w, &d);
	assert_int_equal(driver_calls(&d), 1);

	assert_int_equal(set(w, 0, other), 0);
	use_one(w, &d);
	assert_int_equal(driver_calls(&d), 0);
	assert_int_equal(count(other), 1);

	assert_int_equal(set(w, 0, -1), 0);
	use_one(w, &d);
	assert_int_equal(count(other), 0);

	assert_int_equal(set(w, 0, d.call_fd), 0);
	use_one(w, &d);
	assert_int_equal(driver_calls(&d), 1);
	assert_int_equal(w->queue[0].n_stop, 0);

	/* What is refused changes nothing. */
	wire_check_no_eventfd(w, VHOST_USER_SET_VRING_CALL, 0);
	use_one(w, &d);
	assert_int_equal(driver_calls(&d), 1);
	w->on_kick = NULL;
	driver_done(&d);
	guest_done(&guest);
}

/* Made blocking after we got it, and full: our write is held up once, by the
 * guard's time at most, and that is the end of the session. */
static void made_blocking(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct guest guest;
	struct driver d;

	assert_int_equal(loop_guard(&w->loop), 0);
	guest_init(&guest, 2, 1 << 20);
	driver_init(&d, &guest, 64, 0);
	w->on_kick = use_all;
	assert_int_equal(frontend_negotiate(&w->fe, 1ull << 32, ~0ull), 0);
	assert_int_equal(frontend_guest(&w->fe, &guest), 0);
	assert_int_equal(frontend_driver_start(&w->fe, 0, &d, true), 0);
	assert_int_equal(set(w, 0, fd), 0);
	use_one(w, &d);
	assert_int_equal(count(fd), 1);

	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(write(fd, &(uint64_t){ UINT64_MAX - 1 }, 8), 8);
	alarm(20); /* ends the program if the write hangs */
	use_one(w, &d);
	alarm(0);
	wire_expect_ended(w, -EPROTO);
	w->on_kick = NULL;
	wire_restart(w);
	driver_done(&d);
	guest_done(&guest);
}

/* CVE-2019-14818: repeated, each descriptor closes the one before. */
static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, 0, w->ring[0].call_fd), 0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(set(w, 0, -1), 0);
	assert_int_equal(count_fds(), before - 1);
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
		WIRE_TEST(replaced_while_running, acks),
		WIRE_TEST(made_blocking, acks),
		WIRE_TEST(repeated_cve_2019_14818, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(descriptor_and_bit_disagree, acks),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_CALL", tests, NULL, NULL);
}
