/* SPDX-License-Identifier: MIT */
/* Drivers that mean no good, behind real sessions: what they do to their rings costs nobody else a frame, a byte or a turn. */
#include "port_vu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "driver.h"
#include "frontend.h"
#include "vu_station.h"

#define LEN 60 /* of a frame */

/* ---- buffers that are smaller than virtio's header -------------------------------------------------- */

#define ROOM   256 /* of which a buffer is the beginning; nobody may write behind it */
#define CANARY 0xa5

struct runts {
	gpa_t room[RING_NUM]; /* by head */
	uint32_t size;
};

/* One buffer of `size` bytes, in two pieces cut at `cut`, or in one.  Its head, or -ENOSPC. */
static int post_runt(struct station *st, struct runts *r, uint32_t cut)
{
	gpa_t at = guest_alloc(&st->guest, 2 * ROOM, 64);
	struct driver_buf piece[2] = { { at, cut ? cut : r->size },
				       { GPA(at.v + ROOM), r->size - cut } };
	int head = driver_add(&st->rx[0], piece, 0, cut ? 2 : 1);

	memset(guest_ptr(&st->guest, at, 2 * ROOM), CANARY, 2 * ROOM);
	if (head >= 0)
		r->room[head] = at;
	return head;
}

static void expect_canary(const uint8_t *b, uint32_t from)
{
	for (uint32_t i = from; i < ROOM; i++)
		assert_int_equal(b[i], CANARY);
}

/* Nothing was written but to the first `used` bytes of what was posted. */
static void expect_untouched(struct station *st, gpa_t at, uint32_t used, uint32_t cut)
{
	const uint8_t *b = guest_ptr(&st->guest, at, 2 * ROOM);
	uint32_t first = cut ? min(used, cut) : used;

	expect_canary(b, first);
	expect_canary(b + ROOM, used - first);
}

/* CVE-2026-86566: the room left behind the header is less than nothing.  The naive room, in_len - NETHDR_LEN, is 4 GiB. */
static void test_runt_buffers(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b, c;

	for (uint32_t size = 1; size < NETHDR_LEN + LEN; size++) {
		struct port_stats *s = &fx->port[1]->port.stats;
		uint64_t dropped = s->egress_drop_size;
		uint32_t cut = size % 3 ? size / 3 : 0, len;
		struct runts r = { .size = size };
		int head;

		bring_up(&a, fx, 0, 0, 1);
		bring_up(&b, fx, 1, 0, 1); /* each frame in a buffer of its own */
		bring_up(&c, fx, 2, 0, 1);
		post_buffers(&c, 0, BUF_SIZE);
		head = post_runt(&b, &r, cut);
		assert_true(head >= 0);
		driver_publish(&b.rx[0]);
		send_frame(&a, LEN, 0xff, 0xa);
		assert_int_equal(s->egress_drop_size, dropped + 1);
		assert_true(driver_used(&b.rx[0], &len) < 0);
		expect_untouched(&b, r.room[head], 0, cut);
		expect_frame(&c, LEN, 0xff, 0xa, 7);

		/* Its own affair: the other direction works, as does everything between the others. */
		send_frame(&b, LEN, 0xc, 0xb);
		expect_frame(&c, LEN, 0xc, 0xb, 7);
		go_away(&a);
		go_away(&b);
		go_away(&c);
	}
}

/* What came in such buffers, header first: all of a frame, in order, or nothing.  Returns how many buffers it took. */
static unsigned gather(struct station *st, const struct runts *r, uint32_t cut)
{
	uint32_t total = 0, len;
	unsigned n = 0;
	int head;

	while ((head = driver_used(&st->rx[0], &len)) >= 0) {
		const uint8_t *b = guest_ptr(&st->guest, r->room[head], 2 * ROOM);
		uint32_t first = cut ? min(len, cut) : len;

		assert_in_range(len, 1, r->size);
		assert_true(total + len <= NETHDR_LEN + LEN);
		memcpy(st->got + total, b, first);
		memcpy(st->got + total + first, b + ROOM, len - first);
		expect_untouched(st, r->room[head], len, cut);
		total += len;
		n++;
	}
	assert_true(n == 0 || total == NETHDR_LEN + LEN);
	return n;
}

/* The same where a frame may be spread over buffers (VIRTIO_NET_F_MRG_RXBUF): so may its header. */
static void test_runt_buffers_merged(void **state)
{
	struct fixture *fx = *state;
	uint8_t frame[LEN];
	static struct station a, b;

	make_frame(frame, LEN, 0xb, 0xa, 7);
	for (uint32_t size = 1; size < NETHDR_LEN + LEN; size++) {
		unsigned want = (NETHDR_LEN + LEN + size - 1) / size;
		uint32_t cut = size % 3 ? size / 3 : 0;
		struct runts r = { .size = size };

		bring_up(&a, fx, 0, MRG, 1);
		bring_up(&b, fx, 1, MRG, 1);
		while (post_runt(&b, &r, cut) >= 0)
			;
		driver_publish(&b.rx[0]);
		send_frame(&a, LEN, 0xb, 0xa);
		if (want <= (cut ? RING_NUM / 2 : RING_NUM)) {
			const struct nethdr *hdr = (const void *)b.got;

			assert_int_equal(gather(&b, &r, cut), want);
			assert_int_equal(le16_get(hdr->num_buffers), want);
			assert_memory_equal(b.got + NETHDR_LEN, frame, LEN);
		} else {
			assert_int_equal(gather(&b, &r, cut), 0);
		}
		go_away(&a);
		go_away(&b);
	}
}

/* ---- a transmitq that never empties ------------------------------------------------------------------ */

#define ENOUGH 100000 /* frames after which it ends, lest this test does not */

/* A port whose receipt of a frame makes the guest send another: the ring is full again before its burst is done with. */
struct spring {
	struct sw_port port;
	struct driver *d;
	struct driver_buf frame; /* the one that is sent again and again */
	unsigned n;
};

static void spring_send(struct spring *s)
{
	if (s->n < ENOUGH && driver_add(s->d, &s->frame, 1, 0) >= 0)
		s->n++;
}

static void spring_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct spring *s = container_of(p, struct spring, port);
	uint32_t len;

	while (driver_used(s->d, &len) >= 0)
		;
	while (n-- > 0)
		spring_send(s);
	driver_publish(s->d);
}

static const struct sw_port_ops spring_ops = { .type = "spring", .egress = spring_egress };

static void spring_attach(struct spring *s, struct station *st)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 0xe };
	struct sw *sw = &st->fx->sw;
	uint8_t *bytes;

	*s = (struct spring){ .port = { .ops = &spring_ops, .name = "spring" }, .d = &st->tx[0] };
	s->frame.len = NETHDR_LEN + LEN;
	s->frame.addr = guest_alloc(&st->guest, s->frame.len, 64);
	bytes = guest_ptr(&st->guest, s->frame.addr, s->frame.len);
	make_frame(bytes + NETHDR_LEN, LEN, mac[5], 0xa, 0);
	assert_int_equal(sw_attach(sw, &s->port), 0);
	sw_set_up(&s->port, true);
	assert_int_equal(fdb_pin(&sw->fdb, fdb_key(mac), s->port.id), 0);
}

static void on_time(struct loop_timer *timer)
{
}

/* CVE-2019-3900: who stays with a queue until it is empty stays for ever.  It gets a burst in each pass; so do the others,
 * and timers and sockets get theirs. */
static void test_never_empty(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b, c;
	struct loop_timer timer = { .fn = on_time };
	static struct spring spring;
	uint32_t len;

	bring_up(&a, fx, 0, 0, 1);
	bring_up(&b, fx, 1, 0, 1);
	bring_up(&c, fx, 2, 0, 1);
	post_buffers(&c, 0, BUF_SIZE);
	spring_attach(&spring, &a);
	while (spring.n < RING_NUM / 2)
		spring_send(&spring);
	driver_kick(&a.tx[0]);
	queue_frame(&b, LEN, 0xc, 0xb, 7, 0);
	driver_kick(&b.tx[0]);
	loop_timer_set(&fx->loop, &timer, loop_now_ns());
	for (unsigned i = 0; i < 4; i++)
		loop_once(&fx->loop, 0);
	assert_in_range(spring.n, RING_NUM / 2 + 1, 4 * SW_BURST);
	expect_frame(&c, LEN, 0xc, 0xb, 7);

	/* Nor does it starve what is not polled. */
	for (unsigned i = 0; i < 2 * LOOP_PEEK_PASSES; i++)
		loop_once(&fx->loop, 0);
	assert_false(timer.set);
	assert_in_range(spring.n, 4 * SW_BURST, (4 + 2 * LOOP_PEEK_PASSES) * SW_BURST);
	assert_true(fx->port[0]->transmitq[0].active);
	while (driver_used(&a.tx[0], &len) >= 0)
		;
	sw_detach(&spring.port);
	go_away(&a);
	go_away(&b);
	go_away(&c);
}

/* ---- a queue that broke and is set up anew ------------------------------------------------------------ */

static unsigned n_rings;

static void on_ring(struct port_vu_group *g)
{
	n_rings++;
}

static void start_again(struct station *st, unsigned index, struct driver *d)
{
	uint32_t base;

	assert_int_equal(frontend_ring_stop(&st->fe, index, &base), 0);
	driver_done(d);
	driver_init(d, &st->guest, RING_NUM, st->fe.features);
	start_ring(st, index, d);
}

/* A worker finds a ring broken and tells the main thread, who first hears that the ring is stopped and started anew.  The
 * news are of the old one. */
static void test_broken_and_anew(void **state)
{
	struct fixture *fx = *state;
	struct port_vu *p = fx->port[0];
	static struct station a, b;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	for (unsigned index = 0; index < 2; index++) {
		struct vu_queue *q = index ? p->transmitq[0].q : p->started[0];

		n_rings = 0;
		p->group->ring = on_ring;
		sw_thread = 1;
		port_vu_queue_broken(p, q);
		sw_thread = 0;
		assert_int_equal(n_rings, 1);
		assert_true(p->trouble);

		start_again(&a, index, index ? &a.tx[0] : &a.rx[0]);
		port_vu_look_into(p);
		assert_int_equal(p->port.stats.queue_broken, 0);
		assert_false(p->trouble);
		assert_string_equal(port_vu_state(p), "running");
	}
	post_buffers(&a, 0, BUF_SIZE);
	post_buffers(&b, 0, BUF_SIZE);
	send_frame(&a, LEN, 0xb, 0xa);
	expect_frame(&b, LEN, 0xb, 0xa, 7);
	send_frame(&b, LEN, 0xa, 0xb);
	expect_frame(&a, LEN, 0xa, 0xb, 7);

	/* One that is not set up anew ends. */
	sw_thread = 1;
	port_vu_queue_broken(p, p->started[0]);
	sw_thread = 0;
	port_vu_look_into(p);
	assert_int_equal(p->port.stats.queue_broken, 1);
	assert_string_equal(port_vu_state(p), "negotiated");
	go_away(&a);
	go_away(&b);
}

#define PORT_TEST(name)                                                  \
	cmocka_unit_test_setup_teardown(name, setup, teardown),          \
		{ #name "_packed", name, setup_packed, teardown, NULL }, \
	{                                                                \
#name "_mixed", name, setup_mixed, teardown, NULL        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PORT_TEST(test_runt_buffers),
		PORT_TEST(test_runt_buffers_merged),
		PORT_TEST(test_never_empty),
		PORT_TEST(test_broken_and_anew),
	};

	return cmocka_run_group_tests_name("port_vu_hostile", tests, NULL, NULL);
}
