/* SPDX-License-Identifier: MIT */
/* Ports with real sessions behind them: scripted frontends and drivers in this thread, the switch between them.  All of
 * it with split rings, with packed ones, and with a packed guest among split ones. */
#include "port_vu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "driver.h"
#include "frontend.h"
#include "listen.h"
#include "nethdr.h"
#include "tmp.h"
#include "vu_station.h"

static void test_forwards(void **state)
{
	static struct station a, b, c;
	struct fixture *fx = *state;

	assert_string_equal(port_vu_state(fx->port[0]), "listening");
	bring_up(&a, fx, 0, MRG, 1);
	assert_string_equal(port_vu_state(fx->port[0]), "running");
	bring_up(&b, fx, 1, MRG | BIT_ULL(VIRTIO_RING_F_EVENT_IDX), 1);
	bring_up(&c, fx, 2, 0, 1);
	post_buffers(&a, 0, BUF_SIZE);
	post_buffers(&b, 0, BUF_SIZE);
	post_buffers(&c, 0, BUF_SIZE);

	send_frame(&a, 60, 0xb, 0xa);
	expect_frame(&b, 60, 0xb, 0xa, 7);
	expect_frame(&c, 60, 0xb, 0xa, 7);
	assert_int_equal(driver_calls(&b.rx[0]), 1);
	send_frame(&b, 1514, 0xa, 0xb);
	expect_frame(&a, 1514, 0xa, 0xb, 7);
	expect_nothing(&c);
	send_frame(&a, 61, 0xb, 0xa);
	expect_frame(&b, 61, 0xb, 0xa, 7);
	expect_nothing(&c);
	expect_nothing(&a);

	assert_int_equal(fx->port[0]->port.stats.ingress_frames, 2);
	assert_int_equal(fx->port[0]->port.stats.ingress_bytes, 121);
	assert_int_equal(fx->port[1]->port.stats.egress_frames, 2);
	assert_int_equal(fx->port[0]->port.stats.ingress_flooded, 1);

	/* By queue, and how many at once; the first burst of a queue is timed. */
	assert_int_equal(fx->port[0]->queue[1].frames, 2);
	assert_int_equal(fx->port[0]->queue[1].bytes, 121);
	assert_int_equal(fx->port[1]->queue[0].frames, 2);
	assert_int_equal(fx->port[1]->queue[0].dropped, 0);
	assert_int_equal(fx->port[0]->port.histograms.ingress_burst.bucket[0], 2);
	assert_int_equal(fx->port[1]->port.histograms.egress_burst.sum, 2);
	assert_int_equal(histogram_count(&fx->port[0]->port.histograms.latency), 1);
	assert_true(fx->port[0]->port.histograms.latency.sum > 0);
	go_away(&a);
	go_away(&b);
	go_away(&c);
}

/* A burst is published once and called once; order is kept. */
static void test_burst(void **state)
{
	static struct station a, b;
	struct fixture *fx = *state;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	post_buffers(&a, 0, BUF_SIZE);
	send_frame(&b, 60, 0xa, 0xb);
	expect_frame(&a, 60, 0xa, 0xb, 7);
	driver_calls(&b.rx[0]);

	for (uint8_t i = 0; i < RING_NUM; i++)
		queue_frame(&a, 60 + i * 20u, 0xb, 0xa, i, 0);
	driver_kick(&a.tx[0]);
	settle(fx);
	assert_int_equal(driver_calls(&b.rx[0]), 1);
	assert_int_equal(driver_calls(&a.tx[0]), 1);
	assert_int_equal(reap_sent(&a), RING_NUM);
	for (uint8_t i = 0; i < RING_NUM; i++)
		expect_frame(&b, 60 + i * 20u, 0xb, 0xa, i);
	go_away(&a);
	go_away(&b);
}

/* Every length of interest, cut everywhere a driver might cut it, into whole and into small
 * buffers. */
static void test_lengths_and_cuts(void **state)
{
	static const uint32_t lens[] = { 14, 15, 16, 17, 60, 64, 255, 256, 257, 1514, 9000, 65558 };
	static const uint32_t cuts[] = { 0, 1, 5, NETHDR_LEN, NETHDR_LEN + 1, 20, 25 };
	static const uint32_t sizes[] = { BUF_SIZE, 1500 };
	struct fixture *fx = *state;
	static struct station a, b;

	for (unsigned s = 0; s < array_size(sizes); s++) {
		for (unsigned l = 0; l < array_size(lens); l++) {
			bring_up(&a, fx, 0, MRG, 1);
			bring_up(&b, fx, 1, MRG, 1);
			for (unsigned c = 0; c < array_size(cuts); c++) {
				post_buffers(&b, 0, sizes[s]);
				queue_frame(&a, lens[l], 0xb, 0xa, (uint8_t)c, cuts[c]);
				driver_kick(&a.tx[0]);
				settle(fx);
				assert_int_equal(reap_sent(&a), 1);
				expect_frame(&b, lens[l], 0xb, 0xa, (uint8_t)c);
			}
			expect_nothing(&b);
			go_away(&a);
			go_away(&b);
		}
	}
}

/* A receive buffer in two parts: header and data, the classic layout, and an odd one. */
static void test_receive_layouts(void **state)
{
	static const uint32_t first[] = { NETHDR_LEN, 5, NETHDR_LEN + 3 };
	struct fixture *fx = *state;
	static struct station a, b;

	bring_up(&a, fx, 0, 0, 1);
	bring_up(&b, fx, 1, 0, 1);
	for (unsigned i = 0; i < array_size(first); i++) {
		gpa_t at = guest_alloc(&b.guest, BUF_SIZE, 64);
		struct driver_buf buf[2] = { { at, first[i] },
					     { GPA(at.v + first[i]), BUF_SIZE - first[i] } };
		int head = driver_add(&b.rx[0], buf, 0, 2);

		b.rx_buf[0][head] = at;
		driver_publish(&b.rx[0]);
		send_frame(&a, 700, 0xb, 0xa);
		expect_frame(&b, 700, 0xb, 0xa, 7);
	}
	go_away(&a);
	go_away(&b);
}

static void test_drops(void **state)
{
	uint8_t bytes[NETHDR_LEN + 60] = { VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct fixture *fx = *state;
	struct port_stats *in = &fx->port[0]->port.stats, *out = &fx->port[1]->port.stats;
	static struct station a, b;

	bring_up(&a, fx, 0, 0, 1);
	bring_up(&b, fx, 1, 0, 1); /* no MRG_RXBUF */

	/* An offload that nobody offered, as flag and as type; a chain that is all header. */
	make_frame(bytes + NETHDR_LEN, 60, 0xb, 0xa, 0);
	queue_bytes(&a, 0, bytes, sizeof(bytes), 0);
	bytes[0] = 0;
	bytes[1] = VIRTIO_NET_HDR_GSO_TCPV4;
	queue_bytes(&a, 0, bytes, sizeof(bytes), 1);
	queue_bytes(&a, 0, bytes, NETHDR_LEN - 1, 0);
	bytes[1] = 0;
	queue_bytes(&a, 0, bytes, NETHDR_LEN, 0);
	driver_kick(&a.tx[0]);
	settle(fx);
	assert_int_equal(reap_sent(&a), 4);
	assert_int_equal(in->ingress_drop_header, 2);
	assert_int_equal(in->ingress_drop_short, 2);

	/* Nobody is ready to receive: waited for once, then dropped at once. */
	send_frame(&a, 60, 0xb, 0xa);
	assert_int_equal(out->egress_drop_full, 1);
	assert_true(fx->port[1]->receiveq[0].starved);
	send_frame(&a, 60, 0xb, 0xa);
	assert_int_equal(out->egress_drop_full, 2);

	/* Too large for one buffer, and there is no merging; the small one behind it fits. */
	post_buffers(&b, 0, 256);
	queue_frame(&a, 245, 0xb, 0xa, 1, 0);
	queue_frame(&a, 244, 0xb, 0xa, 2, 0);
	driver_kick(&a.tx[0]);
	settle(fx);
	expect_frame(&b, 244, 0xb, 0xa, 2);
	expect_nothing(&b);
	assert_int_equal(out->egress_drop_size, 1);
	assert_false(fx->port[1]->receiveq[0].starved);

	/* More than the ring holds. */
	for (uint8_t i = 0; i < RING_NUM - 4; i++)
		queue_frame(&a, 60, 0xb, 0xa, i, 0);
	driver_kick(&a.tx[0]);
	settle(fx);
	assert_int_equal(reap_sent(&a), RING_NUM - 4 + 2);
	for (uint8_t i = 0; i < RING_NUM - 4; i++)
		queue_frame(&a, 60, 0xb, 0xa, i, 0);
	driver_kick(&a.tx[0]);
	settle(fx);
	assert_int_equal(out->egress_frames, RING_NUM);
	assert_int_equal(out->egress_drop_full, 2 + 2 * (RING_NUM - 4) + 1 - RING_NUM);
	assert_int_equal(fx->port[0]->queue[1].dropped, in->ingress_drop_header);
	assert_int_equal(fx->port[1]->queue[0].frames, out->egress_frames);
	assert_int_equal(fx->port[1]->queue[0].dropped,
			 out->egress_drop_full + out->egress_drop_size);

	/* A frame sent on a queue that is off is taken and forgotten. */
	reap_sent(&a);
	assert_int_equal(frontend_ask_state(&a.fe, VHOST_USER_SET_VRING_ENABLE, 1, 0), 0);
	assert_string_equal(port_vu_state(fx->port[0]), "negotiated");
	send_frame(&a, 60, 0xb, 0xa);
	assert_int_equal(in->ingress_drop_disabled, 1);
	go_away(&a);
	go_away(&b);
}

/* Buffers that follow one another in memory are filled at once, whatever comes between two others: gaps, and a way back.
 * What is in the gaps stays. */
static void lay_out(struct station *b, uint8_t *ret_used, gpa_t area, uint32_t size)
{
	uint32_t forwards = 0, backwards = size;

	while (b->rx[0].n_free > 0) {
		uint32_t len = 200 + (uint32_t)rand() % 400, gap = rand() % 3 ? 0 : 1 + rand() % 40;
		bool back = rand() % 4 == 0;
		uint32_t at = back ? backwards - len - gap : forwards + gap;
		struct driver_buf buf = { GPA(area.v + at), len };

		if (back)
			backwards = at;
		else
			forwards = at + len;
		memset(ret_used + at, 1, len);
		b->rx_buf[0][driver_add(&b->rx[0], &buf, 0, 1)] = buf.addr;
	}
	assert_true(forwards <= backwards);
	driver_publish(&b->rx[0]);
}

/* A frame in so many pieces, of which most follow one another. */
static void queue_pieces(struct station *a, uint32_t len, uint8_t tag, unsigned n)
{
	static uint8_t bytes[MAX_SIZE];
	gpa_t at = guest_alloc(&a->guest, NETHDR_LEN + len + 8 * n, 64);
	uint32_t left = NETHDR_LEN + len, done = 0;
	struct driver_buf buf[16];

	memset(bytes, 0, NETHDR_LEN);
	make_frame(bytes + NETHDR_LEN, len, 0xb, 0xa, tag);
	for (unsigned i = 0; i < n; i++) {
		uint32_t take = i + 1 < n ? 1 + (uint32_t)rand() % (left / 2) : left;

		buf[i] = (struct driver_buf){ at, take };
		memcpy(guest_ptr(&a->guest, at, take), bytes + done, take);
		at = GPA(at.v + take + (rand() % 3 ? 0 : 8));
		done += take;
		left -= take;
	}
	assert_true(driver_add(&a->tx[0], buf, n, 0) >= 0);
	driver_kick(&a->tx[0]);
}

static void test_neighbours(void **state)
{
	static uint8_t used[64 << 10];
	struct fixture *fx = *state;
	static struct station a, b;
	gpa_t area;
	uint8_t *bytes;

	srand(1);
	for (unsigned round = 0; round < 30; round++) {
		bring_up(&a, fx, 0, MRG, 1);
		bring_up(&b, fx, 1, MRG, 1);
		area = guest_alloc(&b.guest, sizeof(used), 64);
		bytes = guest_ptr(&b.guest, area, sizeof(used));
		memset(bytes, 0xee, sizeof(used));
		memset(used, 0, sizeof(used));
		lay_out(&b, used, area, sizeof(used));
		for (uint8_t tag = 0; tag < 5; tag++) {
			uint32_t len = 60 + (uint32_t)rand() % 2300;

			queue_pieces(&a, len, tag, 1 + (unsigned)rand() % 8);
			settle(fx);
			reap_sent(&a);
			expect_frame(&b, len, 0xb, 0xa, tag);
		}
		for (unsigned i = 0; i < sizeof(used); i++)
			assert_true(used[i] || bytes[i] == 0xee);
		go_away(&a);
		go_away(&b);
	}
}

/* A driver that puts a buffer into its receiveq that cannot be written to gets it back, and the frame in the others. */
static void test_merged_over_useless(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct driver_buf buf = { guest_alloc(&b.guest, 500, 64), 500 };

		b.rx_buf[0][driver_add(&b.rx[0], &buf, i == 1, i != 1)] = buf.addr;
	}
	driver_publish(&b.rx[0]);
	send_frame(&a, 900, 0xb, 0xa);
	expect_frame(&b, 900, 0xb, 0xa, 7);
	go_away(&a);
	go_away(&b);
}

/* Merged frames where the ring has some buffers, but not enough: the frame is dropped whole, and
 * its buffers serve the next. */
static void test_merged_too_few(void **state)
{
	struct fixture *fx = *state;
	struct port_stats *out = &fx->port[1]->port.stats;
	static struct station a, b;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct driver_buf buf = { guest_alloc(&b.guest, 500, 64), 500 };

		b.rx_buf[0][driver_add(&b.rx[0], &buf, 0, 1)] = buf.addr;
	}
	driver_publish(&b.rx[0]);
	send_frame(&a, 1489, 0xb, 0xa);
	expect_nothing(&b);
	assert_int_equal(out->egress_drop_full, 1);
	send_frame(&a, 1488, 0xb, 0xa);
	expect_frame(&b, 1488, 0xb, 0xa, 7);

	/* No ring of 64 can hold this one. */
	post_buffers(&b, 0, 500);
	send_frame(&a, 32000, 0xb, 0xa);
	assert_int_equal(out->egress_drop_size, 1);
	send_frame(&a, 31988, 0xb, 0xa);
	expect_frame(&b, 31988, 0xb, 0xa, 7);
	go_away(&a);
	go_away(&b);
}

/* A driver that breaks its ring loses that ring; the others go on, and the port comes back when
 * the ring is set up anew. */
static void test_broken_queue(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b, c;
	uint32_t base;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	bring_up(&c, fx, 2, MRG, 1);
	post_buffers(&c, 0, BUF_SIZE);

	if (b.rx[0].packed) {
		driver_raw_packed(&b.rx[0], 0, 0xdead00000000, 2048, 0, VRING_DESC_F_WRITE);
	} else {
		driver_raw_desc(&b.rx[0], 0, 0xdead00000000, 2048, VRING_DESC_F_WRITE, 0);
		driver_raw_avail(&b.rx[0], 0);
	}
	send_frame(&a, 60, 0xff, 0xa);
	assert_int_equal(fx->port[1]->port.stats.queue_broken, 1);
	assert_int_equal(fx->port[1]->port.stats.egress_drop_down, 1);
	expect_frame(&c, 60, 0xff, 0xa, 7);
	assert_string_equal(port_vu_state(fx->port[1]), "negotiated");
	send_frame(&a, 60, 0xff, 0xa);
	expect_frame(&c, 60, 0xff, 0xa, 7);
	assert_int_equal(fx->port[1]->port.stats.egress_drop_down, 1); /* flooding passes it by */

	/* Its transmitq still works. */
	send_frame(&b, 60, 0xc, 0xb);
	expect_frame(&c, 60, 0xc, 0xb, 7);

	if (a.tx[0].packed)
		driver_raw_packed(&a.tx[0], a.tx[0].avail_at.idx, guest_alloc(&a.guest, 64, 64).v,
				  64, RING_NUM, 0);
	else
		driver_raw_avail(&a.tx[0], RING_NUM);
	driver_kick(&a.tx[0]);
	eventfd_write(a.tx[0].kick_fd, 1);
	settle(fx);
	assert_int_equal(fx->port[0]->port.stats.queue_broken, 1);
	assert_int_equal(frontend_ring_stop(&a.fe, 1, &base), 0);
	driver_done(&a.tx[0]);
	driver_init(&a.tx[0], &a.guest, RING_NUM, a.fe.features);
	start_ring(&a, 1, &a.tx[0]);
	send_frame(&a, 60, 0xc, 0xa);
	expect_frame(&c, 60, 0xc, 0xa, 7);
	go_away(&a);
	go_away(&b);
	go_away(&c);
}

/* A frontend that takes its memory away loses its session; the other end of the switch lives. */
static void test_truncated_memory(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b, c;

	assert_int_equal(mem_guard_install(), 0); /* here: cmocka has a handler of its own */
	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	bring_up(&c, fx, 2, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	post_buffers(&c, 0, BUF_SIZE);
	queue_frame(&a, 60, 0xff, 0xa, 7, 0);
	driver_publish(&a.tx[0]);
	for (unsigned i = 0; i < b.guest.n_regions; i++)
		assert_int_equal(ftruncate(b.guest.fd[i], 0), 0);
	eventfd_write(a.tx[0].kick_fd, 1);
	settle(fx);
	expect_frame(&c, 60, 0xff, 0xa, 7);
	assert_true(frontend_hung_up(&b.fe));
	assert_string_equal(port_vu_state(fx->port[1]), "listening");
	assert_string_equal(port_vu_state(fx->port[0]), "running");

	for (unsigned i = 0; i < b.guest.n_regions; i++)
		assert_int_equal(ftruncate(b.guest.fd[i], (off_t)b.guest.region_size), 0);
	go_away(&a);
	go_away(&b);
	go_away(&c);
}

/* Nor does it take a burst to notice: a kick is enough, whatever the ring was used for before. */
static void test_truncated_when_idle(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;

	assert_int_equal(mem_guard_install(), 0);
	bring_up(&b, fx, 1, MRG, 1);
	for (unsigned i = 0; i < 4; i++) {
		bring_up(&a, fx, 0, i & 1 ? BIT_ULL(VIRTIO_RING_F_EVENT_IDX) : 0, 1);
		if (i & 2)
			send_frame(&a, 60, 0xb, 0xa);
		fall_asleep(fx);
		for (unsigned k = 0; k < a.guest.n_regions; k++)
			assert_int_equal(ftruncate(a.guest.fd[k], 0), 0);
		eventfd_write(a.tx[0].kick_fd, 1);
		fall_asleep(fx);
		assert_true(frontend_hung_up(&a.fe));
		assert_string_equal(port_vu_state(fx->port[0]), "listening");
		assert_string_equal(port_vu_state(fx->port[1]), "running");
		for (unsigned k = 0; k < a.guest.n_regions; k++)
			assert_int_equal(ftruncate(a.guest.fd[k], (off_t)a.guest.region_size), 0);
		go_away(&a);
		loop_timer_set(&fx->loop, &fx->port[0]->seat.backoff, 1);
	}
	go_away(&b);
}

/* Frontends come and go; stations go with them. */
static void test_reconnect(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	post_buffers(&a, 0, BUF_SIZE);
	send_frame(&b, 60, 0xa, 0xb);
	send_frame(&a, 60, 0xb, 0xa);
	assert_int_equal(fdb_count(&fx->sw.fdb), 2);
	go_away(&b);
	assert_string_equal(port_vu_state(fx->port[1]), "listening");
	assert_int_equal(fdb_count(&fx->sw.fdb), 1);

	bring_up(&b, fx, 1, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	send_frame(&a, 60, 0xb, 0xa);
	expect_frame(&b, 60, 0xb, 0xa, 7);
	assert_int_equal(fx->port[1]->port.stats.sessions, 2);
	go_away(&a);
	go_away(&b);
}

/* Who breaks the rules keeps the next one waiting for a second, and nobody else; who only hangs up
 * does not. */
static void test_backs_off(void **state)
{
	struct fixture *fx = *state;
	struct port_stats *stats = &fx->port[0]->port.stats;
	struct station bad = { 0 }, waiting = { 0 }, other = { 0 };
	static struct station a;
	uint64_t offered;

	connect_to(&bad, fx, 0);
	settle(fx);
	connect_to(&waiting, fx, 0);
	settle(fx);
	assert_int_equal(frontend_send(&bad.fe, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0), 0);
	settle(fx);
	assert_true(frontend_hung_up(&bad.fe));
	frontend_done(&bad.fe);
	connect_to(&bad, fx, 0);
	settle(fx);
	assert_int_equal(stats->sessions, 1);
	assert_string_equal(port_vu_state(fx->port[0]), "listening");
	connect_to(&other, fx, 1);
	assert_int_equal(frontend_get_u64(&other.fe, VHOST_USER_GET_FEATURES, &offered), 0);

	/* The one that waited is served, the one behind it gets in its place. */
	assert_in_range(fx->port[0]->seat.backoff.at_ns - loop_now_ns(), 0, SEAT_BACKOFF_NS);
	loop_timer_set(&fx->loop, &fx->port[0]->seat.backoff, 1);
	settle(fx);
	assert_int_equal(frontend_get_u64(&waiting.fe, VHOST_USER_GET_FEATURES, &offered), 0);
	frontend_done(&waiting.fe);
	settle(fx);
	assert_int_equal(frontend_get_u64(&bad.fe, VHOST_USER_GET_FEATURES, &offered), 0);
	assert_int_equal(stats->sessions, 3);
	assert_int_equal(stats->sessions_refused, 0);
	frontend_done(&bad.fe);
	frontend_done(&other.fe);
	settle(fx);

	/* The same for memory taken away; and a port can go meanwhile. */
	assert_int_equal(mem_guard_install(), 0);
	bring_up(&a, fx, 0, MRG, 1);
	for (unsigned k = 0; k < a.guest.n_regions; k++)
		assert_int_equal(ftruncate(a.guest.fd[k], 0), 0);
	eventfd_write(a.tx[0].kick_fd, 1);
	fall_asleep(fx);
	assert_true(fx->port[0]->seat.backoff.set);
	for (unsigned k = 0; k < a.guest.n_regions; k++)
		assert_int_equal(ftruncate(a.guest.fd[k], (off_t)a.guest.region_size), 0);
	port_vu_close(fx->port[0]);
	fx->port[0] = NULL;
	go_away(&a);
}

/* One at a time.  The second is kept waiting for a moment, the third refused. */
static void test_second_frontend(void **state)
{
	struct fixture *fx = *state;
	struct station second = { 0 }, third = { 0 };
	static struct station a;
	uint64_t offered;

	bring_up(&a, fx, 0, MRG, 1);
	connect_to(&second, fx, 0);
	settle(fx);
	assert_false(frontend_hung_up(&second.fe));
	connect_to(&third, fx, 0);
	settle(fx);
	assert_true(frontend_hung_up(&third.fe));
	assert_int_equal(fx->port[0]->port.stats.sessions_refused, 1);

	/* The first goes, the second is served. */
	go_away(&a);
	assert_int_equal(frontend_get_u64(&second.fe, VHOST_USER_GET_FEATURES, &offered), 0);
	assert_true(offered & MRG);
	assert_string_equal(port_vu_state(fx->port[0]), "connected");

	/* The first stays: the second is refused when its time is over. */
	frontend_done(&third.fe);
	connect_to(&third, fx, 0);
	settle(fx);
	loop_timer_set(&fx->loop, &fx->port[0]->seat.pending, 1);
	settle(fx);
	assert_true(frontend_hung_up(&third.fe));
	assert_int_equal(fx->port[0]->port.stats.sessions_refused, 2);
	frontend_done(&second.fe);
	frontend_done(&third.fe);
	settle(fx);
}

/* Ports are added and removed while frames are on their way. */
static void test_add_and_remove(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b, c;
	struct port_vu *extra;
	int fd;

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG, 1);
	post_buffers(&b, 0, BUF_SIZE);
	queue_frame(&a, 60, 0xff, 0xa, 7, 0);
	driver_kick(&a.tx[0]);
	port_vu_close(fx->port[0]); /* before the loop has looked at the kick */
	fx->port[0] = NULL;
	settle(fx);
	expect_nothing(&b);
	assert_true(frontend_hung_up(&a.fe));
	go_away(&a);
	assert_null(sw_find(&fx->sw, "p0"));

	memset(&c, 0, sizeof(c));
	assert_int_equal(frontend_pair(&c.fe, &fd), 0);
	assert_int_equal(port_vu_adopt(&fx->group, "p0", fd, &extra), 0);
	assert_string_equal(port_vu_state(extra), "connected");
	frontend_done(&c.fe);
	settle(fx);
	assert_string_equal(port_vu_state(extra), "closed");
	port_vu_close(extra);
	go_away(&b);
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"", "a b", "a/b", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct fixture *fx = *state;
	struct port_vu *p;

	for (unsigned i = 0; i < array_size(bad); i++)
		assert_int_equal(port_vu_open(&fx->group, bad[i], NULL, eventfd(0, EFD_CLOEXEC),
					      &p),
				 -EINVAL);
	assert_int_equal(port_vu_open(&fx->group, "p1", NULL, eventfd(0, EFD_CLOEXEC), &p),
			 -EEXIST);
	assert_int_equal(port_vu_open(&fx->group, bad[4] + 1, NULL, eventfd(0, EFD_CLOEXEC), &p),
			 0);
	port_vu_close(p);
}

/* Two queue pairs: flows are spread over the receiveqs, and each stays on its own. */
static void test_multiqueue(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;
	unsigned count[2] = { 0 };
	uint64_t max_queues;

	bring_up(&a, fx, 0, MRG | BIT_ULL(VIRTIO_NET_F_MQ), 1);
	bring_up(&b, fx, 1, MRG | BIT_ULL(VIRTIO_NET_F_MQ), 2);
	assert_int_equal(frontend_get_u64(&b.fe, VHOST_USER_GET_QUEUE_NUM, &max_queues), 0);
	assert_int_equal(max_queues, PORT_VU_MAX_PAIRS);
	post_buffers(&b, 0, BUF_SIZE);
	post_buffers(&b, 1, BUF_SIZE);
	assert_int_equal(fx->port[1]->n_receiveq, 2);

	for (unsigned i = 0; i < 48; i++) {
		uint8_t bytes[NETHDR_LEN + 60] = { 0 }, *f = bytes + NETHDR_LEN;

		make_frame(f, 60, 0xb, 0xa, 0);
		memcpy(f + 12, "\x08\x00\x45\0\0\x2e\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2", 22);
		f[34] = 1;
		f[35] = (uint8_t)(i % 16); /* the flow */
		f[36] = 2;
		f[37] = 3;
		f[59] = (uint8_t)i; /* its place */
		queue_bytes(&a, 0, bytes, sizeof(bytes), 0);
	}
	driver_kick(&a.tx[0]);
	settle(fx);
	for (unsigned pair = 0; pair < 2; pair++) {
		int last[16];

		memset(last, 0xff, sizeof(last));
		while (receive(&b, pair) == 60) {
			const uint8_t *f = b.got + NETHDR_LEN;

			assert_int_equal(f[59] % 16, f[35]);
			assert_int_equal(f[59], last[f[35]] < 0 ? f[35] : last[f[35]] + 16);
			last[f[35]] = f[59];
			count[pair]++;
		}
	}
	assert_int_equal(count[0] + count[1], 48);
	assert_true(count[0] >= 9 && count[1] >= 9);

	/* One queue goes: all flows use the other. */
	assert_int_equal(frontend_ask_state(&b.fe, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(fx->port[1]->n_receiveq, 1);
	send_frame(&a, 60, 0xb, 0xa);
	assert_int_equal(receive(&b, 0), -1);
	assert_int_equal(receive(&b, 1), 60);
	go_away(&a);
	go_away(&b);
}

/* A UDP frame of flow `flow`, its header in front. */
static void make_flow(uint8_t b[NETHDR_LEN + 60], uint8_t to, uint8_t from, uint8_t flow)
{
	uint8_t *f = b + NETHDR_LEN;

	memset(b, 0, NETHDR_LEN);
	make_frame(f, 60, to, from, 0);
	memcpy(f + 12, "\x08\x00\x45\0\0\x2e\0\0\0\0\x40\x11\0\0\x0a\0\0", 17);
	f[29] = from;
	memcpy(f + 30, "\x0a\0\0", 3);
	f[33] = to;
	memcpy(f + 34, from < to ? "\1\2\3\4" : "\3\4\1\2", 4);
	f[from < to ? 35 : 37] = flow;
}

/* What a guest sends on a pair is answered on that pair, also when it thinks better of it. */
static void test_answers_on_the_same_pair(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;
	uint8_t bytes[NETHDR_LEN + 60];

	bring_up(&a, fx, 0, MRG, 1);
	bring_up(&b, fx, 1, MRG | BIT_ULL(VIRTIO_NET_F_MQ), 2);
	post_buffers(&a, 0, BUF_SIZE);
	post_buffers(&b, 0, BUF_SIZE);
	post_buffers(&b, 1, BUF_SIZE);
	for (unsigned i = 0; i < 40; i++) {
		uint8_t flow = (uint8_t)(i % 20);
		unsigned pair = (i / 3 + i / 20) % 2;

		make_flow(bytes, 0xa, 0xb, flow);
		queue_bytes(&b, pair, bytes, sizeof(bytes), 0);
		driver_kick(&b.tx[pair]);
		settle(fx);
		assert_int_equal(receive(&a, 0), 60);
		make_flow(bytes, 0xb, 0xa, flow);
		queue_bytes(&a, 0, bytes, sizeof(bytes), 0);
		driver_kick(&a.tx[0]);
		settle(fx);
		assert_int_equal(receive(&b, !pair), -1);
		assert_int_equal(receive(&b, pair), 60);
	}
	go_away(&a);
	go_away(&b);
}

/* Idle queues are not polled, and a kick brings them back. */
static void test_goes_idle(void **state)
{
	struct fixture *fx = *state;
	static struct station a, b;

	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		bring_up(&a, fx, 0, event_idx ? BIT_ULL(VIRTIO_RING_F_EVENT_IDX) : 0, 1);
		bring_up(&b, fx, 1, 0, 1);
		post_buffers(&b, 0, BUF_SIZE);
		for (unsigned i = 0; i < 3; i++) {
			fall_asleep(fx);
			assert_false(fx->group.polling);
			queue_frame(&a, 60, 0xb, 0xa, 7, 0);
			assert_true(driver_kick(&a.tx[0]));
			loop_once(&fx->loop, LOOP_NEVER);
			assert_non_null(fx->group.active);
			settle(fx);
			expect_frame(&b, 60, 0xb, 0xa, 7);
		}
		/* While polled it wants no kicks. */
		assert_non_null(fx->group.active);
		queue_frame(&a, 60, 0xb, 0xa, 7, 0);
		assert_false(driver_kick(&a.tx[0]));
		go_away(&a);
		go_away(&b);
	}
}

/* A link that is precise wants it awake: for as long as it says, and no longer. */
static void test_stays_awake(void **state)
{
	struct fixture *fx = *state;
	static struct station a;

	bring_up(&a, fx, 0, 0, 1);
	fall_asleep(fx);
	fx->sw.awake_ns = loop_now_ns() + 20 * (uint64_t)SPIN_MAX_NS;
	queue_frame(&a, 60, 0xb, 0xa, 7, 0);
	driver_kick(&a.tx[0]);
	loop_once(&fx->loop, LOOP_NEVER);
	assert_non_null(fx->group.active);
	while (fx->group.active)
		loop_once(&fx->loop, 0);
	assert_true(loop_now_ns() >= fx->sw.awake_ns);
	go_away(&a);
}

static void test_config_space(void **state)
{
	struct fixture *fx = *state;
	struct virtio_net_config c;
	struct vu_session *s;
	static struct station a;

	bring_up(&a, fx, 0, MRG, 1);
	s = fx->port[0]->seat.session;
	assert_int_equal(port_vu_ops.get_config(s, &c, 0, sizeof(c)), 0);
	assert_int_equal(c.mtu, PORT_VU_MTU_DEFAULT);
	assert_int_equal(c.max_virtqueue_pairs, PORT_VU_MAX_PAIRS);
	assert_int_equal(port_vu_ops.get_config(s, &c, 1, sizeof(c)), -EINVAL);
	assert_int_equal(port_vu_ops.get_config(s, &c, UINT32_MAX, 2), -EINVAL);
	go_away(&a);
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
		PORT_TEST(test_forwards),
		PORT_TEST(test_burst),
		PORT_TEST(test_lengths_and_cuts),
		PORT_TEST(test_receive_layouts),
		PORT_TEST(test_drops),
		PORT_TEST(test_neighbours),
		PORT_TEST(test_merged_over_useless),
		PORT_TEST(test_merged_too_few),
		PORT_TEST(test_broken_queue),
		PORT_TEST(test_truncated_memory),
		PORT_TEST(test_truncated_when_idle),
		PORT_TEST(test_reconnect),
		PORT_TEST(test_backs_off),
		PORT_TEST(test_second_frontend),
		PORT_TEST(test_add_and_remove),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		PORT_TEST(test_multiqueue),
		PORT_TEST(test_answers_on_the_same_pair),
		PORT_TEST(test_goes_idle),
		PORT_TEST(test_stays_awake),
		PORT_TEST(test_config_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
