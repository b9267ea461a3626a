/* SPDX-License-Identifier: MIT */
/* The nth system call or allocation of the backend fails, for every n of a whole
 * life of a session: set-up, traffic, changes of memory, teardown.  Whatever
 * fails, the backend neither crashes nor leaks a descriptor, and it ends. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "fault.h"
#include "log.h"
#include "wire.h"

/* No session has more calls that can fail; a mistake here would loop for ever. */
#define MOST_CALLS 2000

struct scene {
	struct loop loop;
	struct vu_session *session;
	struct log_limit log;
	struct frontend fe;
	struct guest guest;
	struct driver driver[2];
	unsigned n_start, n_stop, n_closed;
};

static struct scene *of(struct vu_session *s)
{
	return vu_session_device(s);
}

static void queue_start(struct vu_session *s, struct vu_queue *q)
{
	of(s)->n_start++;
}

static void queue_stop(struct vu_session *s, struct vu_queue *q)
{
	of(s)->n_stop++;
}

static void queue_kick(struct vu_session *s, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n = vq_pop(&q->vq, &burst, VQ_BURST);

	for (int i = 0; i < n; i++)
		vq_push(&q->vq, burst.chain[i].head, 0);
	vq_publish(&q->vq);
	(void)vq_call(&q->vq);
}

static void closed(struct vu_session *s, int reason)
{
	of(s)->n_closed++;
	of(s)->session = NULL;
}

static const struct vu_device_ops ops = {
	.name = "scene",
	.max_queues = 2,
	.rings_per_queue = 2,
	.queue_start = queue_start,
	.queue_stop = queue_stop,
	.queue_kick = queue_kick,
	.closed = closed,
};

/* Only the backend meets the fault: the frontend's and the test's calls are paused. */
static void pump(void *ctx)
{
	struct scene *sc = ctx;

	fault_pause(false);
	(void)loop_once(&sc->loop, 0);
	fault_pause(true);
}

/* All that a frontend does in its life.  Stops at the first thing that fails. */
static int live(struct scene *sc)
{
	struct frontend *fe = &sc->fe;
	const struct driver_buf buf = { GPA(GUEST_GPA), 64 };
	const struct proto_mem_reg reg = { .region = { .gpa = 0, .uva = 0, .size = 4096 } };
	uint32_t base;
	int r;

	r = frontend_negotiate(fe, ~0ull, ~0ull);
	if (r == 0)
		r = frontend_guest(fe, &sc->guest);
	for (uint32_t i = 0; r == 0 && i < 2; i++)
		r = frontend_driver_start(fe, i, &sc->driver[i], true);
	for (uint32_t i = 0; r == 0 && i < 2; i++) {
		(void)driver_add(&sc->driver[i], &buf, 1, 0);
		(void)driver_kick(&sc->driver[i]);
		frontend_pump(fe);
	}
	if (r == 0)
		r = frontend_ask(fe, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg), sc->guest.fd, 1);
	if (r == 0)
		r = frontend_ask(fe, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), NULL, 0);
	if (r == 0)
		r = frontend_guest(fe, &sc->guest);
	if (r == 0)
		r = frontend_ask_fd(fe, VHOST_USER_SET_VRING_KICK, 0, -1);
	for (uint32_t i = 0; r == 0 && i < 2; i++)
		r = frontend_ring_stop(fe, i, &base);
	return r;
}

static void begin(struct scene *sc, int *ret_backend_fd)
{
	memset(sc, 0, sizeof(*sc));
	assert_int_equal(loop_init(&sc->loop), 0);
	guest_init(&sc->guest, 2, 1 << 20);
	for (unsigned i = 0; i < 2; i++)
		driver_init(&sc->driver[i], &sc->guest, 64, 0);
	assert_int_equal(frontend_pair(&sc->fe, ret_backend_fd), 0);
	sc->fe.pump = pump;
	sc->fe.ctx = sc;
}

static void finish(struct scene *sc)
{
	frontend_done(&sc->fe);
	for (unsigned i = 0; sc->session && i < 16; i++)
		(void)loop_once(&sc->loop, 0);
	assert_null(sc->session);
	assert_int_equal(sc->n_start, sc->n_stop);
	for (unsigned i = 0; i < 2; i++)
		driver_done(&sc->driver[i]);
	guest_done(&sc->guest);
	loop_done(&sc->loop);
}

/* One life with its nth call failing.  Returns false if there were not that many. */
static bool one_life(unsigned n)
{
	struct scene sc;
	unsigned before = count_fds();
	int fd, created, lived = 0;
	bool happened;

	fault_pause(true);
	begin(&sc, &fd);
	fault_arm(n);
	fault_pause(false);
	created = vu_session_new(&sc.loop, fd, &ops, &sc, "scene", &sc.log, &sc.session);
	fault_pause(true);
	if (created == 0)
		lived = live(&sc);
	else
		assert_null(sc.session);
	happened = fault_disarm();
	if (!happened)
		assert_true(created == 0 && lived == 0);
	finish(&sc);
	assert_int_equal(sc.n_closed, created == 0);
	if (count_fds() != before)
		fail_msg("%u: %s failed, and a descriptor was lost", n, fault_name());
	fault_pause(false);
	return happened;
}

static void nth_call_fails(void **state)
{
	unsigned n = 1;

	log_set_level(LOG_LEVEL_ERROR);
	while (n < MOST_CALLS && one_life(n))
		n++;
	print_message("# %u calls, each has failed once\n", n - 1);
	assert_in_range(n, 50, MOST_CALLS - 1); /* fewer: the wrapping does not work */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nth_call_fails),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
