/* SPDX-License-Identifier: MIT */
/* SET_VRING_ERR: rings when the driver has broken its ring. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wire.h"

static int set(struct wire *w, uint32_t index, int fd)
{
	return frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_ERR, index, fd);
}

static void break_it(struct wire *w, struct vu_queue *q)
{
	vu_session_queue_broken(q->session, q);
	assert_false(q->started);
}

static void rings_when_broken(void **state)
{
	struct wire *w = *state;
	struct vu_queue *q = vu_session_queue(w->session, 0);
	uint64_t n;
	uint32_t base;

	w->on_kick = break_it;
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	assert_int_equal(read(w->ring[0].err_fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_true(q->broken);
	assert_int_equal(q->n_broken, 1);
	assert_string_equal(vu_session_state(w->session), "negotiated");

	/* It stays down, over new memory and a new kick, until it is set up anew. */
	assert_int_equal(set(w, 0, w->ring[0].err_fd), 0);
	assert_int_equal(frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_KICK, 0, w->ring[0].kick_fd),
			 0);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_false(q->broken);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_int_equal(q->n_broken, 1);
	wire_expect_alive(w);
}

static void fill_and_break(struct wire *w, struct vu_queue *q)
{
	(void)!write(w->ring[0].err_fd, &(uint64_t){ UINT64_MAX - 1 }, 8);
	vu_session_queue_broken(q->session, q);
}

/* A full counter is an error still untold. */
static void full(void **state)
{
	struct wire *w = *state;

	alarm(20);
	w->on_kick = fill_and_break;
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	alarm(0);
	assert_int_equal(w->queue[0].n_stop, 1);
	wire_expect_alive(w);
}

static void *make_blocking(void *arg)
{
	struct wire *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED))
		fcntl(w->stolen_fd, F_SETFL, 0);
	return NULL;
}

/* Made blocking between our looking and our writing.  It is a race; whoever wins it,
 * nothing hangs. */
static void made_blocking(void **state)
{
	struct wire *w = *state;
	bool ended = false;
	pthread_t thread;

	assert_int_equal(loop_guard(&w->loop), 0);
	w->on_kick = fill_and_break;
	w->stolen_fd = w->ring[0].err_fd;
	w->stop = false;
	assert_int_equal(pthread_create(&thread, NULL, make_blocking, w), 0);
	for (unsigned i = 0; i < 200 && !ended; i++) {
		assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
		frontend_pump(&w->fe);
		ended = !w->session;
		if (ended)
			wire_expect_ended(w, -EPROTO);
		wire_restart(w);
	}
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	w->on_kick = NULL;
}

static void no_eventfd(void **state)
{
	struct wire *w = *state;
	struct vu_queue *q = vu_session_queue(w->session, 0);
	int before = q->err_fd;

	wire_check_no_eventfd(w, VHOST_USER_SET_VRING_ERR, 0);
	assert_int_equal(q->err_fd, before);
}

static void broken_without_descriptor(void **state)
{
	struct wire *w = *state;

	assert_int_equal(set(w, 0, -1), 0);
	w->on_kick = break_it;
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[0].n_stop, 1);
	wire_expect_alive(w);
}

static void repeated_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set(w, 0, w->ring[0].err_fd), 0);
	assert_int_equal(count_fds(), before);
}

static void acks(void **state)
{
	struct wire *w = *state;
	const uint64_t word = 1, none = 1 | VU_VRING_NOFD;

	wire_check_ack(w, VHOST_USER_SET_VRING_ERR, &word, 8, &w->ring[1].err_fd, 1, false);
	wire_check_ack(w, VHOST_USER_SET_VRING_ERR, &none, 8, NULL, 0, false);
}

static void descriptor_and_bit_disagree(void **state)
{
	struct wire *w = *state;
	const uint64_t with = 0, without = VU_VRING_NOFD;

	wire_drops(w, VHOST_USER_SET_VRING_ERR, &with, 8, NULL, 0);
	wire_drops(w, VHOST_USER_SET_VRING_ERR, &without, 8, &w->ring[0].err_fd, 1);
}

static void no_such_ring(void **state)
{
	struct wire *w = *state;
	const uint64_t bad[] = { WIRE_QUEUES, 0xff, 0x200, 1ull << 32 };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		wire_drops(w, VHOST_USER_SET_VRING_ERR, &bad[i], 8, &w->ring[0].err_fd, 1);
}

static void shape(void **state)
{
	const uint64_t word = 0;

	wire_check_shape(*state, VHOST_USER_SET_VRING_ERR, &word, sizeof(word), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(rings_when_broken, running),
		WIRE_TEST(full, running),
		WIRE_TEST(made_blocking, running),
		WIRE_TEST(no_eventfd, running),
		WIRE_TEST(broken_without_descriptor, running),
		WIRE_TEST(repeated_cve_2019_14818, running),
		WIRE_TEST(acks, acks),
		WIRE_TEST(descriptor_and_bit_disagree, acks),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_ERR", tests, NULL, NULL);
}
