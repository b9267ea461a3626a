/* SPDX-License-Identifier: MIT */
/* Workers: three guests in threads of their own, two workers between them, and a main thread that changes what it can
 * while the frames fly.  Under the thread sanitizer a missing lock shows as a race; in every build a frame that is lost
 * without being counted shows in the sums. */
#include "workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "listen.h"
#include "vu_station.h"

#define FRAMES  20000 /* from each guest */
#define LEN     60
#define BUFS    (RING_NUM / 2)
#define PATIENT UINT64_C(60000000000)

struct rig {
	struct fixture fx;
	struct workers workers;
};

static int rig_up(void **state, unsigned n_workers)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fixture *fx = &r->fx;
	char path[128], name[8];
	int fd;

	assert_non_null(r);
	assert_int_equal(loop_init(&fx->loop), 0);
	assert_int_equal(sw_init(&fx->sw, &(struct fdb_config){ .ageing_s = 300 }, 1), 0);
	fx->group.loop = &fx->loop;
	fx->group.sw = &fx->sw;
	port_vu_group_init(&fx->group);
	tmp_dir_init(&fx->dir);
	assert_int_equal(workers_start(&r->workers, &fx->loop, &fx->sw, &fx->group, n_workers), 0);
	for (unsigned i = 0; i < N_PORT; i++) {
		(void)snprintf(name, sizeof(name), "p%u", i);
		tmp_path(&fx->dir, name, path, sizeof(path));
		assert_int_equal(listen_unix(path, 0600, &fd), 0);
		assert_int_equal(port_vu_open(workers_group(&r->workers, i % n_workers), name, path,
					      fd, &fx->port[i]),
				 0);
	}
	*state = r;
	return 0;
}

static int rig_two(void **state)
{
	return rig_up(state, 2);
}

static int rig_many(void **state)
{
	return rig_up(state, WORKERS_MAX);
}

static int rig_down(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < N_PORT; i++)
		if (r->fx.port[i])
			port_vu_close(r->fx.port[i]);
	settle(&r->fx);
	workers_stop(&r->workers);
	workers_stop(&r->workers); /* of none */
	loop_done(&r->fx.loop);
	sw_done(&r->fx.sw);
	tmp_dir_done(&r->fx.dir);
	free(r);
	return 0;
}

/* ---- a guest ------------------------------------------------------------------------------------ */

struct talker {
	struct station st;
	unsigned number, to;
	unsigned sent, got; /* got: any frame */
	uint32_t last;      /* sequence number got from the one who talks to us */
	unsigned disorder;
	gpa_t tx_buf[BUFS];
	unsigned tx_of[RING_NUM], n_idle;
	unsigned idle[BUFS];
	bool stop; /* set by main */
	bool done;
	pthread_t thread;
};

static void talker_post(struct talker *t, gpa_t at)
{
	struct driver_buf buf = { at, BUF_SIZE };
	int head = driver_add(&t->st.rx[0], &buf, 0, 1);

	if (head < 0)
		abort(); /* cmocka knows its own thread alone */
	t->st.rx_buf[0][head] = at;
}

static void talker_receive(struct talker *t)
{
	struct driver *d = &t->st.rx[0];
	uint32_t len, sequence;
	bool any = false;
	int head;

	while ((head = driver_used(d, &len)) >= 0) {
		gpa_t at = t->st.rx_buf[0][head];
		const uint8_t *f = (const uint8_t *)guest_ptr(&t->st.guest, at, len) + NETHDR_LEN;

		t->got++;
		if (len == NETHDR_LEN + LEN && f[5] == t->number) {
			memcpy(&sequence, f + 14, sizeof(sequence));
			t->disorder += sequence <= t->last;
			t->last = sequence;
		}
		talker_post(t, at);
		any = true;
	}
	if (any)
		driver_kick(d);
}

static void talker_send(struct talker *t)
{
	struct driver *d = &t->st.tx[0];
	uint32_t len, sequence;
	bool any = false;
	int head;

	while ((head = driver_used(d, &len)) >= 0)
		t->idle[t->n_idle++] = t->tx_of[head];
	while (t->n_idle > 0 && t->sent < FRAMES) {
		unsigned i = t->idle[--t->n_idle];
		struct driver_buf buf = { t->tx_buf[i], NETHDR_LEN + LEN };
		uint8_t *f = guest_ptr(&t->st.guest, t->tx_buf[i], NETHDR_LEN + LEN);

		memset(f, 0, NETHDR_LEN);
		make_frame(f + NETHDR_LEN, LEN, (uint8_t)t->to, (uint8_t)t->number, 0);
		sequence = ++t->sent;
		memcpy(f + NETHDR_LEN + 14, &sequence, sizeof(sequence));
		head = driver_add(d, &buf, 1, 0);
		if (head < 0)
			abort();
		t->tx_of[head] = i;
		any = true;
	}
	if (any)
		driver_kick(d);
}

static void *talk(void *arg)
{
	struct talker *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		talker_receive(t);
		talker_send(t);
		if (t->sent == FRAMES && t->n_idle == BUFS)
			__atomic_store_n(&t->done, true, __ATOMIC_RELEASE);
	}
	talker_receive(t);
	return NULL;
}

static void talker_begin(struct talker *t, struct rig *r, unsigned number)
{
	*t = (struct talker){ .number = number, .to = (number + 1) % N_PORT };
	bring_up(&t->st, &r->fx, number, MRG | (number == 1 ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0),
		 1);
	for (unsigned i = 0; i < BUFS; i++) {
		t->tx_buf[i] = guest_alloc(&t->st.guest, BUF_SIZE, 64);
		t->idle[t->n_idle++] = i;
	}
	for (unsigned i = 0; i < RING_NUM; i++)
		talker_post(t, guest_alloc(&t->st.guest, BUF_SIZE, 64));
	driver_kick(&t->st.rx[0]);
}

static void talk_to_each_other(struct talker *t, struct rig *r)
{
	for (unsigned i = 0; i < N_PORT; i++)
		talker_begin(&t[i], r, i);
	for (unsigned i = 0; i < N_PORT; i++)
		assert_int_equal(pthread_create(&t[i].thread, NULL, talk, &t[i]), 0);
}

static void talker_end(struct talker *t)
{
	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	pthread_join(t->thread, NULL);
}

/* ---- the main thread ---------------------------------------------------------------------------- */

static unsigned seen;

static void see(struct sw_tap *t, struct sw_port *p, enum sw_direction d, struct sw_frame *const *f,
		unsigned n)
{
	assert_int_equal(sw_thread, 0);
	seen += n;
}

static void unplugged(struct sw_tap *t, struct sw_port *p)
{
}

static const struct sw_tap_ops tap_ops = { see, unplugged };

/* One more thing that an operator does. */
static void change_something(struct rig *r, unsigned n)
{
	static struct sw_tap tap = { &tap_ops };
	struct sw_port *p = &r->fx.port[n / 8 % N_PORT]->port;
	struct sw_port *from[] = { &r->fx.port[0]->port };

	switch (n % 8) {
	case 0:
		fdb_flush(&r->fx.sw.fdb);
		break;
	case 1:
		p->tap = &tap;
		break;
	case 2:
		p->tap = NULL;
		break;
	case 3:
		sw_set_storm(p, STORM_BROADCAST, 5);
		break;
	case 4:
		sw_set_storm(p, STORM_BROADCAST, 0);
		break;
	case 5:
		assert_int_equal(sw_mirror_add(&r->fx.sw, "m", &r->fx.port[2]->port, from, 1, true,
					       false),
				 0);
		break;
	case 6:
		assert_int_equal(sw_mirror_remove(&r->fx.sw, "m"), 0);
		break;
	default:
		sw_tick(&r->fx.sw, r->fx.sw.now_s + 1);
		break;
	}
}

static bool all_done(const struct talker *t)
{
	for (unsigned i = 0; i < N_PORT; i++)
		if (!__atomic_load_n(&t[i].done, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

static void let_talk(struct rig *r, struct talker *t, bool change)
{
	uint64_t until = loop_now_ns() + PATIENT;

	for (unsigned n = 0; !all_done(t) || n % 8 != 0; n++) {
		assert_true(loop_now_ns() < until);
		loop_once(&r->fx.loop, loop_now_ns() + 500000);
		if (change)
			change_something(r, n);
	}
	for (unsigned i = 0; i < 20; i++) /* what is on its way */
		loop_once(&r->fx.loop, loop_now_ns() + 1000000);
}

/* Each way that a frame took is counted once: given to a guest, or lost for one cause. */
static void check_sums(const struct rig *r, struct talker *t)
{
	int64_t ways = 0, ends = 0;

	for (unsigned i = 0; i < N_PORT; i++) {
		const struct port_stats *s = &r->fx.port[i]->port.stats;

		assert_int_equal(t[i].sent, FRAMES);
		assert_int_equal(s->ingress_frames, FRAMES);
		assert_int_equal(s->egress_frames, t[i].got);
		assert_int_equal(t[i].disorder, 0);
		assert_int_equal(s->queue_broken, 0);
		assert_int_equal(
			s->ingress_drop_source + s->ingress_drop_local + s->ingress_drop_header, 0);
		ways += (int64_t)(s->ingress_frames + s->ingress_flooded * (N_PORT - 2) -
				  s->ingress_drop_busy + s->egress_mirrored);
		ends += (int64_t)(s->egress_frames + s->egress_drop_full);
	}
	assert_int_equal(ways, ends);
}

static void talk_all(struct rig *r, bool change)
{
	static struct talker t[N_PORT];

	talk_to_each_other(t, r);
	let_talk(r, t, change);
	for (unsigned i = 0; i < N_PORT; i++)
		talker_end(&t[i]);
	check_sums(r, t);
	for (unsigned i = 0; i < N_PORT; i++)
		go_away(&t[i].st);
}

static void test_quiet(void **state)
{
	talk_all(*state, false);
}

static void test_changes(void **state)
{
	seen = 0;
	talk_all(*state, true);
	assert_true(seen > 0);
}

/* Idle workers are woken by a kick, each time. */
static void test_wakes(void **state)
{
	struct rig *r = *state;
	struct station a, b;

	bring_up(&a, &r->fx, 0, MRG, 1);
	bring_up(&b, &r->fx, 1, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t until = loop_now_ns() + PATIENT;
		int got = -1;

		loop_once(&r->fx.loop, loop_now_ns() + 2 * SPIN_MAX_NS + 1000000);
		queue_frame(&a, 60, 0xb, 0xa, 7, 0);
		driver_kick(&a.tx[0]);
		while (got < 0 && loop_now_ns() < until) {
			loop_once(&r->fx.loop, loop_now_ns() + 1000000);
			got = receive(&b, 0);
		}
		assert_int_equal(got, 60);
		reap_sent(&a);
	}
	assert_true(r->fx.port[0]->port.stats.queue_kicks >= 10);
	go_away(&a);
	go_away(&b);
}

/* Run the loop until *counter is not zero. */
static void await(struct rig *r, const uint64_t *counter)
{
	uint64_t until = loop_now_ns() + PATIENT;

	while (*counter == 0 && loop_now_ns() < until)
		loop_once(&r->fx.loop, loop_now_ns() + 1000000);
	assert_int_not_equal(*counter, 0);
}

/* A head that the ring does not have. */
static void break_ring(struct driver *d)
{
	const uint64_t one = 1;

	driver_raw_avail(d, 1000);
	assert_int_equal(write(d->kick_fd, &one, sizeof(one)), sizeof(one));
}

/* A guest that breaks a ring of either kind loses it, with a worker as with the main thread. */
static void test_broken_rings(void **state)
{
	struct rig *r = *state;
	struct port_stats *sa = &r->fx.port[0]->port.stats, *sb = &r->fx.port[1]->port.stats;
	struct station a, b;
	uint64_t before;

	bring_up(&a, &r->fx, 0, MRG, 1);
	bring_up(&b, &r->fx, 1, MRG, 1);
	break_ring(&b.rx[0]);
	queue_frame(&a, 60, 0xb, 0xa, 7, 0);
	driver_kick(&a.tx[0]);
	await(r, &sb->queue_broken);
	assert_int_equal(sb->egress_drop_down, 1);
	assert_string_equal(port_vu_state(r->fx.port[1]), "negotiated");

	break_ring(&a.tx[0]);
	await(r, &sa->queue_broken);
	before = sa->ingress_frames;
	queue_frame(&b, 60, 0xa, 0xb, 7, 0); /* a can still receive */
	post_buffers(&a, 0, BUF_SIZE);
	driver_kick(&b.tx[0]);
	await(r, &sa->egress_frames);
	assert_int_equal(sa->ingress_frames, before);
	go_away(&a);
	go_away(&b);
}

/* A frontend that takes memory away under a worker's hands loses its session, and nobody else theirs. */
static void test_truncated(void **state)
{
	struct rig *r = *state;
	uint64_t until = loop_now_ns() + PATIENT;
	struct station a, b;

	assert_int_equal(mem_guard_install(), 0);
	bring_up(&a, &r->fx, 0, MRG, 1);
	bring_up(&b, &r->fx, 1, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	queue_frame(&a, 60, 0xb, 0xa, 7, 0);
	for (unsigned i = 0; i < b.guest.n_regions; i++)
		assert_int_equal(ftruncate(b.guest.fd[i], 0), 0);
	driver_kick(&a.tx[0]);
	while (r->fx.port[1]->seat.session && loop_now_ns() < until)
		loop_once(&r->fx.loop, loop_now_ns() + 1000000);
	assert_null(r->fx.port[1]->seat.session);
	assert_string_equal(port_vu_state(r->fx.port[0]), "running");
	go_away(&a);
	go_away(&b);
}

/* Ports that go while frames are on their way to them. */
static void test_removal(void **state)
{
	static struct talker t[N_PORT];
	struct rig *r = *state;

	talk_to_each_other(t, r);
	for (unsigned i = 0; i < N_PORT; i++) {
		for (unsigned j = 0; j < 20; j++)
			loop_once(&r->fx.loop, loop_now_ns() + 500000);
		r->fx.port[i]->port.tap = NULL;
		port_vu_close(r->fx.port[i]);
		r->fx.port[i] = NULL;
	}
	settle(&r->fx);
	for (unsigned i = 0; i < N_PORT; i++)
		talker_end(&t[i]);
	for (unsigned i = 0; i < N_PORT; i++)
		go_away(&t[i].st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_quiet, rig_two, rig_down),
		cmocka_unit_test_setup_teardown(test_changes, rig_two, rig_down),
		cmocka_unit_test_setup_teardown(test_changes, rig_many, rig_down),
		cmocka_unit_test_setup_teardown(test_wakes, rig_two, rig_down),
		cmocka_unit_test_setup_teardown(test_broken_rings, rig_two, rig_down),
		cmocka_unit_test_setup_teardown(test_truncated, rig_two, rig_down),
		cmocka_unit_test_setup_teardown(test_removal, rig_two, rig_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
