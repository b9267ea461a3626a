/* SPDX-License-Identifier: MIT */
/* What an impaired link does to frames, to the nanosecond. */
#include "impair_fixture.h"

#define BURST_FRAMES 48

static struct road road;

static void test_does_nothing_at_first(void **state)
{
	struct impair_verdict v;

	road_init(&road, 1);
	impair_judge(&road.im, 5, 60, false, &v);
	assert_int_equal(v.copies, 1);
	assert_true(v.straight);
	assert_false(v.mark || v.corrupt[0] || v.corrupt[1]);
	impair_went(&road.im, 60);
	assert_int_equal(impair_next(&road.im), IMPAIR_NEVER);
	assert_true(impair_config_idle(&road.c));
	road_done(&road);
}

static void test_delay(void **state)
{
	road_init(&road, 1);
	road.c.delay_ns = 10 * MS;
	road_set(&road, 0);
	assert_int_equal(road_send(&road, 1 * MS, 0, 60), 1);
	assert_int_equal(road_send(&road, 2 * MS, 1, 60), 1);
	assert_int_equal(impair_next(&road.im), 11 * MS);
	assert_int_equal(road_take(&road, 11 * MS - 1), 0);
	assert_int_equal(road_take(&road, 11 * MS), 1);
	assert_int_equal(road_number(&road.taken[0]), 0);
	assert_int_equal(road.taken[0].at_ns, 11 * MS);
	assert_int_equal(impair_next(&road.im), 12 * MS);
	assert_int_equal(road_take(&road, 20 * MS), 1);
	assert_int_equal(road.taken[0].at_ns, 12 * MS);
	assert_int_equal(impair_next(&road.im), IMPAIR_NEVER);
	road_done(&road);
}

static void hold(struct road *r, uint64_t now_ns, unsigned first, unsigned n)
{
	uint32_t len[BURST_FRAMES];
	void *frame[BURST_FRAMES];

	assert_true(impair_holds_all(&r->im));
	for (unsigned i = 0; i < n; i++) {
		len[i] = 60 + i;
		frame[i] = road_frame(first + i);
	}
	impair_hold(&r->im, now_ns, frame, len, n);
}

/* Bursts that only wait: in the order they are due, and within a burst in the order they came, however the settings
 * change. */
static void test_bursts(void **state)
{
	uint64_t frames, bytes;

	road_init(&road, 1);
	road.c.delay_ns = 10 * MS;
	road_set(&road, 0);
	for (unsigned i = 0; i < 5; i++) /* the ring grows meanwhile */
		hold(&road, i * MS, 100 * i, BURST_FRAMES);
	road.c.delay_ns = 1 * MS;
	road_set(&road, 5 * MS);
	hold(&road, 5 * MS, 500, BURST_FRAMES); /* overtake */
	impair_hold_failed(&road.im, 60);
	assert_int_equal(road.im.stats.dropped_memory, 1);
	impair_held(&road.im, &frames, &bytes);
	assert_int_equal(frames, 6 * BURST_FRAMES);
	assert_int_equal(bytes, 6 * (60 * BURST_FRAMES + BURST_FRAMES * (BURST_FRAMES - 1) / 2));
	assert_int_equal(road_take(&road, 6 * MS - 1), 0);
	assert_int_equal(road_take(&road, 20 * MS), 6 * BURST_FRAMES);
	for (unsigned i = 0; i < 6 * BURST_FRAMES; i++) {
		unsigned burst = i / BURST_FRAMES, number = i % BURST_FRAMES;

		number += burst == 0 ? 500 : 100 * (burst - 1);
		assert_int_equal(road_number(&road.taken[i]), number);
		assert_int_equal(road.taken[i].at_ns, burst == 0 ? 6 * MS : (9 + burst) * MS);
	}
	impair_held(&road.im, &frames, &bytes);
	assert_int_equal(frames + bytes, 0);
	road_done(&road);
}

/* Frames that are in keep their time when the settings change; what comes after has the new ones. */
static void test_change_under_way(void **state)
{
	road_init(&road, 1);
	road.c.delay_ns = 10 * MS;
	road.c.rate_bps = 8000000; /* a byte a microsecond */
	road_set(&road, 0);
	for (unsigned i = 0; i < 5; i++)
		road_send(&road, 0, i, 1000);
	road.c.delay_ns = 1 * MS;
	road.c.rate_bps = 0;
	road_set(&road, 1500 * US);
	road_send(&road, 2 * MS, 5, 1000);
	assert_int_equal(road_take(&road, S), 6);
	assert_int_equal(road_number(&road.taken[0]), 5);
	assert_int_equal(road.taken[0].at_ns, 3 * MS);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(road_number(&road.taken[1 + i]), i);
		assert_int_equal(road.taken[1 + i].at_ns, 11 * MS + i * MS);
	}
	assert_int_equal(road_dropped, 0);
	road_done(&road);
}

static void test_rate(void **state)
{
	road_init(&road, 1);
	road.c.rate_bps = 8000000;
	road_set(&road, 0);
	road_send(&road, 100 * US, 0, 500);
	road_send(&road, 100 * US, 1, 300);
	road_send(&road, 2000 * US, 2, 100);
	assert_int_equal(impair_next(&road.im), 600 * US);
	assert_int_equal(road_take(&road, 5000 * US), 3);
	assert_int_equal(road.taken[0].at_ns, 600 * US);
	assert_int_equal(road.taken[1].at_ns, 900 * US);
	assert_int_equal(road.taken[2].at_ns, 2100 * US);
	road_done(&road);
}

/* ATM: 48 bytes of 53, and 8 bytes of AAL5 trailer. */
static void test_overhead_and_cells(void **state)
{
	road_init(&road, 1);
	road.c.rate_bps = 8000000;
	road.c.packet_overhead = 8;
	road.c.cell_size = 48;
	road.c.cell_overhead = 5;
	road_set(&road, 0);
	road_send(&road, 0, 0, 40);
	road_send(&road, 0, 1, 41);
	road.c.cell_size = 0;
	road.c.packet_overhead = -14;
	road_set(&road, 0);
	road_send(&road, 0, 2, 114);
	road_send(&road, 0, 3, 10); /* never less than a byte */
	assert_int_equal(road_take(&road, S), 4);
	assert_int_equal(road.taken[0].at_ns, 53 * US);
	assert_int_equal(road.taken[1].at_ns, (53 + 106) * US);
	assert_int_equal(road.taken[2].at_ns, (53 + 106 + 100) * US);
	assert_int_equal(road.taken[3].at_ns, (53 + 106 + 100 + 1) * US);
	road_done(&road);
}

static void test_burst(void **state)
{
	road_init(&road, 1);
	road.c.rate_bps = 8000000;
	road.c.burst_bytes = 3000;
	road_set(&road, 10 * MS);
	for (unsigned i = 0; i < 5; i++)
		road_send(&road, 10 * MS, i, 1000);
	assert_int_equal(road.im.stats.out_frames, 3); /* those at once need not be kept */
	assert_int_equal(road_take(&road, 20 * MS), 2);
	assert_int_equal(road.taken[0].at_ns, 11 * MS);
	assert_int_equal(road.taken[1].at_ns, 12 * MS);
	/* After a while some of the bucket is full again: two frames' worth. */
	for (unsigned i = 0; i < 4; i++)
		road_send(&road, 14 * MS, i, 1000);
	assert_int_equal(road.im.stats.out_frames, 7);
	assert_int_equal(road_take(&road, 17 * MS), 2);
	assert_int_equal(road.taken[0].at_ns, 15 * MS);
	assert_int_equal(road.taken[1].at_ns, 16 * MS);
	road_done(&road);
}

/* Of ten frames at once: one is being sent, `n` may wait. */
static unsigned accepted_of_ten(uint64_t packets, uint64_t bytes, uint64_t ns)
{
	unsigned n = 0;

	road_init(&road, 1);
	road.c.rate_bps = 8000000;
	road.c.limit_packets = packets;
	road.c.limit_bytes = bytes;
	road.c.limit_ns = ns;
	road_set(&road, 0);
	for (unsigned i = 0; i < 10; i++)
		n += road_send(&road, 0, i, 1000);
	assert_int_equal(road.im.stats.dropped_limit, 10 - n);
	assert_int_equal(road_take(&road, S), n);
	road_done(&road);
	return n;
}

static void test_limits(void **state)
{
	assert_int_equal(accepted_of_ten(0, 0, 0), 10);
	assert_int_equal(accepted_of_ten(9, 0, 0), 10);
	assert_int_equal(accepted_of_ten(8, 0, 0), 9);
	assert_int_equal(accepted_of_ten(0, 9000, 0), 10);
	assert_int_equal(accepted_of_ten(0, 8999, 0), 9);
	assert_int_equal(accepted_of_ten(0, 0, 9 * MS), 10);
	assert_int_equal(accepted_of_ten(0, 0, 9 * MS - 1), 9);
}

static void test_reorder_by_gap(void **state)
{
	road_init(&road, 1);
	road.c.delay_ns = 10 * MS;
	road.c.gap = 5;
	road_set(&road, 0);
	for (unsigned i = 0; i < 100; i++)
		road_send(&road, i, i, 60);
	assert_int_equal(road_take(&road, 1 * MS), 20); /* each fifth, at once */
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(road_number(&road.taken[i]), 5 * i + 4);
		assert_int_equal(road.taken[i].at_ns, 5 * i + 4);
	}
	assert_int_equal(road.im.stats.reordered, 20);
	assert_int_equal(road_take(&road, S), 80);
	road_done(&road);
}

static void test_keep_order(void **state)
{
	for (unsigned keep = 0; keep < 2; keep++) {
		unsigned turned = 0;
		uint64_t last = 0;

		road_init(&road, 7);
		road.c.delay_ns = 10 * MS;
		road.c.jitter_ns = 5 * MS;
		road.c.keep_order = keep;
		road_set(&road, 0);
		for (unsigned i = 0; i < 1000; i++)
			road_send(&road, i * 10 * US, i, 60);
		assert_int_equal(road_take(&road, S), 1000);
		for (unsigned i = 1; i < 1000; i++) {
			turned += road_number(&road.taken[i]) < road_number(&road.taken[i - 1]);
			assert_true(road.taken[i].at_ns >= last);
			last = road.taken[i].at_ns;
		}
		if (keep)
			assert_int_equal(turned, 0);
		else
			assert_in_range(turned, 300, 600);
		road_done(&road);
	}
}

static void test_slot(void **state)
{
	uint64_t slot = 0;
	unsigned in_slot = 0;

	road_init(&road, 3);
	road.c.slot = true;
	road.c.slot_min_ns = 2 * MS;
	road.c.slot_max_ns = 5 * MS;
	road.c.slot_packets = 4;
	road_set(&road, 0);
	for (unsigned i = 0; i < 1000; i++)
		road_send(&road, i * MS, i, 60);
	assert_int_equal(road_take(&road, 100 * S), 1000);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t at = road.taken[i].at_ns;

		assert_int_equal(road_number(&road.taken[i]), i);
		assert_true(at >= i * MS); /* not before it came */
		if (at == slot) {
			assert_true(++in_slot <= 4);
			continue;
		}
		if (slot != 0)
			assert_in_range(at - slot, 2 * MS, 5 * MS);
		slot = at;
		in_slot = 1;
	}
	assert_in_range(slot, 999 * MS, 1010 * MS); /* 4 per 3.5 ms are more than come */

	/* Bytes: the frame that goes over is the last of its slot. */
	road.c.slot_packets = 0;
	road.c.slot_bytes = 2500;
	road.c.slot_max_ns = 2 * MS;
	road_set(&road, 200 * S);
	for (unsigned i = 0; i < 30; i++)
		road_send(&road, 200 * S, i, 1000);
	assert_int_equal(road_take(&road, 300 * S), 30);
	for (unsigned i = 3; i < 27; i += 3) {
		assert_int_equal(road.taken[i].at_ns, road.taken[i + 2].at_ns);
		assert_int_equal(road.taken[i + 3].at_ns, road.taken[i].at_ns + 2 * MS);
	}
	road_done(&road);
}

static void test_flap(void **state)
{
	uint64_t until;

	road_init(&road, 1);
	road.c.flap = true;
	road.c.flap_up_ns = 30 * MS;
	road.c.flap_down_ns = 10 * MS;
	road_set(&road, 100 * MS);
	for (unsigned i = 0; i < 80; i++)
		assert_int_equal(road_send(&road, 100 * MS + i * MS, i, 60), i % 40 < 30);
	assert_int_equal(road.im.stats.dropped_flap, 20);
	assert_false(impair_is_down(&road.im, 129 * MS, &until));
	assert_int_equal(until, 130 * MS);
	assert_true(impair_is_down(&road.im, 130 * MS, &until));
	assert_int_equal(until, 140 * MS);
	road_done(&road);
}

static void test_ecn_in_place_of_loss(void **state)
{
	struct impair_verdict v;

	road_init(&road, 1);
	road.c.loss = 1;
	road.c.ecn = true;
	road_set(&road, 0);
	impair_judge(&road.im, 0, 60, true, &v);
	assert_true(v.copies == 1 && v.mark);
	impair_went(&road.im, 60);
	impair_judge(&road.im, 0, 60, false, &v);
	assert_true(v.copies == 0 && !v.mark);
	assert_int_equal(road.im.stats.marked, 1);
	assert_int_equal(road.im.stats.dropped_loss, 1);
	road_done(&road);
}

static void test_drop_held(void **state)
{
	uint64_t frames, bytes;

	road_init(&road, 1);
	road.c.delay_ns = 10 * MS;
	road.c.rate_bps = 800000;
	road_set(&road, 0);
	for (unsigned i = 0; i < 10; i++)
		road_send(&road, 0, i, 1000);
	assert_int_equal(road_take(&road, 21 * MS), 1);
	impair_held(&road.im, &frames, &bytes);
	assert_int_equal(frames, 9);
	assert_int_equal(bytes, 9000);
	impair_drop_held(&road.im);
	assert_int_equal(road_dropped, 9);
	assert_int_equal(road.im.stats.dropped_reset, 9);
	/* The link is free again, at once. */
	road_send(&road, 22 * MS, 0, 1000);
	assert_int_equal(road_take(&road, S), 1);
	assert_int_equal(road.taken[0].at_ns, 42 * MS);
	road_done(&road);
}

/* Everything on: what happens depends on seed and arrivals, not on when somebody looks. */
static void set_all(struct road *r)
{
	r->c.delay_ns = 5 * MS;
	r->c.jitter_ns = 2 * MS;
	r->c.delay_correlation = 0.3;
	r->c.distribution = DIST_PARETONORMAL;
	r->c.gemodel = true;
	r->c.gemodel_p = 0.05;
	r->c.gemodel_r = 0.3;
	r->c.gemodel_k = 0.99;
	r->c.duplicate = 0.05;
	r->c.duplicate_correlation = 0.2;
	r->c.corrupt = 0.05;
	r->c.reorder = 0.1;
	r->c.gap = 3;
	r->c.rate_bps = 20000000;
	r->c.burst_bytes = 5000;
	r->c.limit_packets = 50;
	r->c.codel = true;
	r->c.codel_target_ns = 1 * MS;
	r->c.codel_interval_ns = 10 * MS;
	r->c.slot = true;
	r->c.slot_min_ns = 100 * US;
	r->c.slot_max_ns = 900 * US;
	r->c.slot_packets = 3;
	road_set(r, 0);
}

static unsigned replay(struct impair_out *out, uint64_t seed, uint64_t look_every_ns)
{
	struct chance c;
	uint64_t now = 0, look = look_every_ns;
	unsigned n = 0;

	road_init(&road, seed);
	set_all(&road);
	chance_seed(&c, 99, 0);
	for (unsigned i = 0; i < 4000; i++) {
		now += chance_below(&c, 500 * US);
		for (; look_every_ns && look < now; look += look_every_ns)
			n += impair_take(&road.im, look, out + n, 8192 - n);
		road_send(&road, now, i, (uint32_t)(60 + chance_below(&c, 1400)));
	}
	n += impair_take(&road.im, 100 * S, out + n, 8192 - n);
	assert_true(road.im.stats.dropped_codel > 0 && road.im.stats.dropped_loss > 0 &&
		    road.im.stats.reordered > 0 && road.im.stats.duplicated > 0);
	road_done(&road);
	return n;
}

static void test_replays(void **state)
{
	static struct impair_out a[8192], b[8192];
	unsigned n = replay(a, 42, 0), differs = 0;

	for (uint64_t every = 17 * US; every < S; every *= 5) {
		assert_int_equal(replay(b, 42, every), n);
		for (unsigned i = 0; i < n; i++) {
			assert_ptr_equal(a[i].frame, b[i].frame);
			assert_int_equal(a[i].at_ns, b[i].at_ns);
		}
	}
	replay(b, 43, 0);
	for (unsigned i = 0; i < n; i++)
		differs += a[i].frame != b[i].frame;
	assert_true(differs > n / 2);
}

/* One setting's random numbers are none of another's business. */
static void test_streams_are_apart(void **state)
{
	static bool lost[2][1000];

	for (unsigned with = 0; with < 2; with++) {
		road_init(&road, 5);
		road.c.loss = 0.3;
		if (with) {
			road.c.corrupt = 0.5;
			road.c.duplicate = 0.5;
			road.c.jitter_ns = 5;
		}
		road_set(&road, 0);
		for (unsigned i = 0; i < 1000; i++) {
			uint64_t before = road.im.stats.dropped_loss;

			road_send(&road, i, i, 60);
			lost[with][i] = road.im.stats.dropped_loss != before;
		}
		road_done(&road);
	}
	assert_memory_equal(lost[0], lost[1], sizeof(lost[0]));
}

/* impair_next() never lies: taking at that time brings something, or a later time is told; taking just before brings
 * nothing. */
static void test_next_is_true(void **state)
{
	struct chance c;
	uint64_t now = 0;
	unsigned empty = 0;

	road_init(&road, 11);
	set_all(&road);
	chance_seed(&c, 1, 0);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t next = impair_next(&road.im);

		if (next < now + 400 * US) {
			if (next > now)
				assert_int_equal(road_take(&road, next - 1), 0);
			now = max(now, next);
			empty += road_take(&road, now) == 0;
			assert_true(impair_next(&road.im) > now);
		} else {
			now += 400 * US;
			road_send(&road, now, i, 1000);
		}
	}
	assert_true(empty < 2500);
	road_done(&road);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_does_nothing_at_first),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_change_under_way),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_overhead_and_cells),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_reorder_by_gap),
		cmocka_unit_test(test_keep_order),
		cmocka_unit_test(test_slot),
		cmocka_unit_test(test_flap),
		cmocka_unit_test(test_ecn_in_place_of_loss),
		cmocka_unit_test(test_drop_held),
		cmocka_unit_test(test_replays),
		cmocka_unit_test(test_streams_are_apart),
		cmocka_unit_test(test_next_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
