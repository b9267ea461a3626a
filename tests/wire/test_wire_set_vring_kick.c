/* SPDX-License-Identifier: MIT */
/* SET_VRING_KICK: starts the ring; then each kick reaches the device. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "wire.h"

static int set(struct wire *w, uint32_t index, int fd)
{
	return frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_KICK, index, fd);
}

static void kick(int fd)
{
	assert_int_equal(write(fd, &(uint64_t){ 1 }, 8), 8);
}

/* Everything about ring 1 but its kick. */
static void all_but_kick(struct wire *w)
{
	const struct proto_vring_addr addr = {
		.index = 1,
		.desc_uva = FRONTEND_UVA + w->ring[1].desc,
		.avail_uva = FRONTEND_UVA + w->ring[1].avail,
		.used_uva = FRONTEND_UVA + w->ring[1].used,
	};

	assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 1, WIRE_RING_NUM), 0);
	assert_int_equal(
		frontend_ask(&w->fe, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(w->queue[1].n_start, 0);
}

static void starts_the_ring(void **state)
{
	struct wire *w = *state;

	all_but_kick(w);
	assert_int_equal(set(w, 1, w->ring[1].kick_fd), 0);
	assert_int_equal(w->queue[1].n_start, 1);
	assert_false(w->queue[1].enabled);
	assert_string_equal(vu_session_state(w->session), "running");
}

/* Without features or memory it waits for them. */
static void before_the_rest(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 0, w->ring[0].kick_fd), 0);
	assert_int_equal(w->queue[0].n_start, 0);
	assert_int_equal(frontend_negotiate(&w->fe, ~0ull, ~0ull), 0);
	assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	assert_int_equal(w->queue[0].n_start, 0);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(w->queue[0].n_start, 1);
}

static void each_kick_arrives(void **state)
{
	struct wire *w = *state;

	for (unsigned i = 1; i <= 3; i++) {
		kick(w->ring[0].kick_fd);
		frontend_pump(&w->fe);
		assert_int_equal(w->queue[0].n_kick, i);
	}
	/* It has been read: the loop does not spin on it. */
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[0].n_kick, 3);
}

static void *kick_and_empty(void *arg)
{
	struct wire *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint64_t count = 1;
		struct pollfd pfd = { .fd = w->stolen_fd, .events = POLLIN };

		(void)!write(w->stolen_fd, &count, sizeof(count));
		if (poll(&pfd, 1, 0) == 1)
			(void)!preadv2(w->stolen_fd, &(struct iovec){ &count, 8 }, 1, -1,
				       RWF_NOWAIT);
	}
	return NULL;
}

/* A frontend makes its descriptor blocking, and empties it between our epoll_wait()
 * and our read: that read must not hang.  An alarm ends the program if it does. */
static void emptied_behind_our_back(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = eventfd(0, EFD_CLOEXEC); /* blocking */
	uint64_t end = loop_now_ns() + 200 * 1000 * 1000;
	pthread_t thread;

	assert_int_equal(set(w, 0, fd), 0);
	w->stolen_fd = fd;
	w->stop = false;
	alarm(20);
	assert_int_equal(pthread_create(&thread, NULL, kick_and_empty, w), 0);
	while (loop_now_ns() < end)
		wire_turn(w);
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	alarm(0);
	assert_true(w->queue[0].n_kick > 0);
	wire_expect_alive(w);
}

/* bit 8: the ring is polled. */
static void without_descriptor(void **state)
{
	struct wire *w = *state;
	const struct timespec nap = { .tv_nsec = (long)(2 * VU_POLL_NS) };

	all_but_kick(w);
	assert_int_equal(set(w, 1, -1), 0);
	assert_int_equal(w->queue[1].n_start, 1);
	for (unsigned i = 0; i < 3; i++) {
		unsigned before = w->queue[1].n_kick;

		nanosleep(&nap, NULL);
		frontend_pump(&w->fe);
		assert_true(w->queue[1].n_kick > before);
	}
	/* A descriptor ends the polling. */
	assert_int_equal(set(w, 1, w->ring[1].kick_fd), 0);
	w->queue[1].n_kick = 0;
	nanosleep(&nap, NULL);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[1].n_kick, 0);
}

static void replaced_while_running(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	unsigned before = count_fds();

	assert_int_equal(set(w, 0, fd), 0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_int_equal(w->queue[0].n_kick, 1); /* for what the old one may have swallowed */
	kick(w->ring[0].kick_fd);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[0].n_kick, 1);
	kick(fd);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[0].n_kick, 2);
}

/* What is no eventfd is refused: a ring without a kick does not start by it, one
 * with a kick keeps it. */
static void no_eventfd(void **state)
{
	struct wire *w = *state;

	all_but_kick(w);
	wire_check_no_eventfd(w, VHOST_USER_SET_VRING_KICK, 1);
	assert_int_equal(w->queue[1].n_start, 0);
	assert_int_equal(set(w, 1, w->ring[1].kick_fd), 0);
	assert_int_equal(w->queue[1].n_start, 1);

	wire_check_no_eventfd(w, VHOST_USER_SET_VRING_KICK, 1);
	assert_int_equal(w->queue[1].n_stop, 0);
	w->queue[1].n_kick = 0;
	kick(w->ring[1].kick_fd);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[1].n_kick, 1);
}

/* Looks at the ring, as a device does, and finds nothing there. */
static void look(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;

	assert_int_equal(vq_pop(&q->vq, &burst, VQ_BURST), 0);
}

/* A ring of which nothing is left looks like one without work. */
static void truncated_and_quiet(void **state)
{
	struct wire *w = *state;

	assert_int_equal(mem_guard_install(), 0); /* here: cmocka has a handler of its own */
	w->on_kick = look;
	kick(w->ring[0].kick_fd);
	frontend_pump(&w->fe);
	assert_non_null(w->session);

	assert_int_equal(ftruncate(w->fe.mem_fd, 0), 0);
	kick(w->ring[0].kick_fd);
	wire_expect_ended(w, -EFAULT);
	w->on_kick = NULL;
	wire_restart(w);
}

static void use_and_break(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;

	assert_int_equal(vq_pop(&q->vq, &burst, VQ_BURST), -EBADMSG);
	vu_session_queue_broken(q->session, q);
	assert_false(q->started);
}

/* One that has been used before looks like one that its driver broke. */
static void truncated_and_used(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	w->ring[0].base = 1000; /* an available index of 0 is far away */
	*(uint16_t *)(void *)(w->fe.mem + w->ring[0].avail + 2) = 1000;
	*(uint16_t *)(void *)(w->fe.mem + w->ring[0].used + 2) = 1000;
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	w->on_kick = use_and_break;
	assert_int_equal(ftruncate(w->fe.mem_fd, 0), 0);
	kick(w->ring[0].kick_fd);
	wire_expect_ended(w, -EFAULT);
	assert_int_equal(w->queue[0].n_start, w->queue[0].n_stop);
	w->on_kick = NULL;
	w->ring[0].base = 0;
	wire_restart(w);
}

/* Sent again and again, each descriptor closes the one before (CVE-2019-14818). */
static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	unsigned before;

	assert_int_equal(set(w, 2, w->ring[2].kick_fd), 0);
	before = count_fds();
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, 2, w->ring[2].kick_fd), 0);
	assert_int_equal(count_fds(), before);
}

static void acks(void **state)
{
	struct wire *w = *state;
	const uint64_t word = 1, none = 1 | VU_VRING_NOFD;

	wire_check_ack(w, VHOST_USER_SET_VRING_KICK, &word, 8, &w->ring[1].kick_fd, 1, false);
	wire_check_ack(w, VHOST_USER_SET_VRING_KICK, &none, 8, NULL, 0, false);
}

static void descriptor_and_bit_disagree(void **state)
{
	struct wire *w = *state;
	const uint64_t with = 0, without = VU_VRING_NOFD;
	const int fds[2] = { w->ring[0].kick_fd, w->ring[0].kick_fd };

	wire_drops(w, VHOST_USER_SET_VRING_KICK, &with, 8, NULL, 0);
	wire_drops(w, VHOST_USER_SET_VRING_KICK, &with, 8, fds, 2);
	wire_drops(w, VHOST_USER_SET_VRING_KICK, &without, 8, fds, 1);
}

/* CVE-2020-10723: the index is in the low byte, and nothing is above bit 8. */
static void no_such_ring_cve_2020_10723(void **state)
{
	struct wire *w = *state;
	const uint64_t bad[] = { WIRE_QUEUES, 0xff, 0x200, 0x10000, 1ull << 32, 1ull << 63 };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		wire_drops(w, VHOST_USER_SET_VRING_KICK, &bad[i], 8, &w->ring[0].kick_fd, 1);
}

static void shape(void **state)
{
	const uint64_t word = 0;

	wire_check_shape(*state, VHOST_USER_SET_VRING_KICK, &word, sizeof(word), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(starts_the_ring, negotiated),
		WIRE_TEST(before_the_rest, acks),
		WIRE_TEST(each_kick_arrives, running),
		WIRE_TEST(emptied_behind_our_back, running),
		WIRE_TEST(without_descriptor, negotiated),
		WIRE_TEST(replaced_while_running, running),
		WIRE_TEST(no_eventfd, negotiated),
		WIRE_TEST(truncated_and_quiet, running),
		WIRE_TEST(truncated_and_used, running),
		WIRE_TEST(repeated_cve_2019_14818, acks),
		WIRE_TEST(acks, acks),
		WIRE_TEST(descriptor_and_bit_disagree, acks),
		WIRE_TEST(no_such_ring_cve_2020_10723, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_KICK", tests, NULL, NULL);
}
