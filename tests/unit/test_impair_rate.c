/* SPDX-License-Identifier: MIT */
/* Rates and queues: ten links at once, and what CoDel makes of a queue that stands. */
#include <math.h>
#include <stdio.h>

#include "impair_fixture.h"

#define N_LINKS 10

static struct road links[N_LINKS];

static void set_link(struct road *r, unsigned i)
{
	struct impair_config *c = &r->c;

	road_init(r, i);
	c->rate_bps = 100000000;
	c->delay_ns = i * 3 * MS;
	c->jitter_ns = i % 3 * MS;
	c->distribution = (enum dist)(i % DIST_COUNT);
	c->keep_order = i % 2;
	c->loss = i == 3 ? 0.01 : 0;
	c->duplicate = i == 4 ? 0.05 : 0;
	c->burst_bytes = i == 5 ? 20000 : 0;
	c->codel = i == 6;
	c->limit_ns = i == 7 ? 20 * MS : 0;
	c->gap = i == 8 ? 10 : 0;
	c->packet_overhead = i == 9 ? 24 : 0;
	road_set(r, 0);
}

/* More than fits comes to each of ten different links for five seconds; each lets 100 Mbit/s through. */
static void test_ten_links(void **state)
{
	struct impair_stats before[N_LINKS];
	struct chance c;

	chance_seed(&c, 1, 1);
	for (unsigned i = 0; i < N_LINKS; i++)
		set_link(&links[i], i);
	for (uint64_t now = 0; now < 6 * S; now += 100 * US)
		for (unsigned i = 0; i < N_LINKS; i++) {
			road_send(&links[i], now, 0, (uint32_t)(1400 + chance_below(&c, 119)));
			road_take(&links[i], now);
			if (now == S)
				before[i] = links[i].im.stats;
		}
	for (unsigned i = 0; i < N_LINKS; i++) {
		const struct impair_stats *s = &links[i].im.stats;
		uint64_t bytes = s->out_bytes - before[i].out_bytes;
		uint64_t frames = s->out_frames - before[i].out_frames;
		double rate = (double)(bytes + frames * links[i].c.packet_overhead) * 8 / 5;

		if (fabs(rate - 1e8) > 1e8 * 0.001)
			fail_msg("link %u: %.0f bit/s", i, rate);
		assert_true(s->dropped_limit > 0 || links[i].c.codel);
		road_done(&links[i]);
	}
}

/* The rate holds at odd numbers too, where a frame's time is no whole nanosecond. */
static void test_exact(void **state)
{
	const uint64_t rates[] = { 9600, 33333333, 999999937, 25000000000, 999999999989 };

	for (unsigned i = 0; i < array_size(rates); i++) {
		struct road *r = &links[0];
		double expected = 3000 * 64 * 8 * 1e9 / (double)rates[i];

		road_init(r, 1);
		r->c.rate_bps = rates[i];
		r->c.limit_packets = 0;
		road_set(r, 0);
		for (unsigned k = 0; k < 3000; k++)
			road_send(r, 0, k, 64);
		assert_int_equal(road_take(r, 10000 * S), 3000);
		assert_true(fabs((double)r->taken[2999].at_ns - expected) <= 1);
		road_done(r);
	}
}

/* What leaves within the microsecond that is as good as now need not be kept; what leaves later is. */
static void test_near_frames_go_on(void **state)
{
	struct road *r = &links[0];
	uint64_t frames, bytes;

	road_init(r, 1);
	r->im.near_ns = US;
	r->c.rate_bps = 8000000000; /* a byte a nanosecond */
	road_set(r, 0);
	for (unsigned i = 0; i < 25; i++)
		assert_int_equal(road_send(r, 0, i, 100), 1);
	assert_int_equal(r->im.stats.out_frames, 10);
	impair_held(&r->im, &frames, &bytes);
	assert_int_equal(frames, 15);
	assert_int_equal(road_take(r, 2500), 15);
	for (unsigned i = 0; i < 15; i++) {
		assert_int_equal(road_number(&r->taken[i]), 10 + i);
		assert_int_equal(r->taken[i].at_ns, 1100 + 100 * i);
	}
	road_done(r);
}

/* Nor does it change the rate, or when a frame with a delay is due. */
static void test_near_changes_nothing_else(void **state)
{
	struct road *near = &links[0], *exact = &links[1];

	for (unsigned i = 0; i < 2; i++) {
		road_init(&links[i], 1);
		links[i].im.near_ns = i == 0 ? US : 0;
		links[i].c.rate_bps = 2000000000;
		links[i].c.delay_ns = MS;
		links[i].c.limit_packets = 0;
		road_set(&links[i], 0);
		for (unsigned k = 0; k < 3000; k++)
			road_send(&links[i], k / 20 * US, k, 60);
		assert_int_equal(road_take(&links[i], S), 3000);
	}
	for (unsigned k = 0; k < 3000; k++)
		assert_int_equal(near->taken[k].at_ns, exact->taken[k].at_ns);
	road_done(near);
	road_done(exact);

	road_init(near, 1);
	near->im.near_ns = US;
	near->c.rate_bps = 2000000000;
	near->c.limit_packets = 20;
	road_set(near, 0);
	for (uint64_t now = 0; now < 10 * MS; now += US) {
		for (unsigned k = 0; k < 10; k++) /* twice what fits */
			road_send(near, now, k, 60);
		road_take(near, now);
	}
	assert_true(near->im.stats.dropped_limit > 0);
	assert_true(fabs((double)near->im.stats.out_bytes * 8 - 2e9 / 100) < 2e9 / 100 * 0.001);
	road_done(near);
}

/* Of a burst that does not pass within the microsecond as a whole the first frames go on at once, and the rest leave when they
 * would have left without that: none before its turn, and each is counted. */
static void test_a_burst_is_split(void **state)
{
	struct road *r = &links[0], *exact = &links[1];
	uint64_t frames, bytes, now = S;
	uint32_t len[10];

	for (unsigned i = 0; i < 2; i++) {
		road_init(&links[i], 1);
		links[i].im.near_ns = i == 0 ? US : 0;
		links[i].c.rate_bps = 25000000000; /* 484.48 ns for a frame */
		road_set(&links[i], 0);
	}
	for (unsigned i = 0; i < array_size(len); i++)
		len[i] = 1514;
	assert_true(impair_only_rates(&r->im));
	for (unsigned burst = 0; burst < 3; burst++, now += MS) {
		assert_int_equal(impair_straight(&r->im, now, len, 10), 2);
		assert_int_equal(r->im.stats.in_frames, 10 * burst + 2);
		assert_int_equal(r->im.stats.out_bytes, (10 * burst + 2) * 1514);
		for (unsigned i = 2; i < 10; i++)
			assert_int_equal(road_send(r, now, i, 1514), 1);
		assert_int_equal(impair_straight(&r->im, now, len, 10),
				 0); /* they are in its way */
		impair_held(&r->im, &frames, &bytes);
		assert_int_equal(frames, 8);
		assert_int_equal(r->im.stats.in_frames, r->im.stats.out_frames + frames);
		assert_int_equal(r->im.stats.in_bytes, r->im.stats.out_bytes + bytes);

		for (unsigned i = 0; i < 10; i++)
			road_send(exact, now, i, 1514);
		assert_int_equal(road_take(exact, now + MS), 10);
		assert_int_equal(road_take(r, now + MS), 8);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(road_number(&r->taken[i]), 2 + i);
			assert_int_equal(r->taken[i].at_ns, exact->taken[2 + i].at_ns);
		}
	}
	assert_int_equal(r->im.stats.out_frames, 30);
	road_done(r);
	road_done(exact);
}

/* The same with a bucket, in which four frames find room, and some of which have to be kept although they pass at once: these
 * have had their time at the rate, and nothing overtakes them. */
static void test_a_burst_through_a_bucket(void **state)
{
	struct road *r = &links[0];
	struct impair_verdict v;
	uint64_t frames, bytes;

	road_init(r, 1);
	r->c.rate_bps = 8000000; /* a byte a microsecond */
	r->c.burst_bytes = 4 * 1514;
	road_set(r, 0);
	assert_int_equal(impair_straight(&r->im, S, (const uint32_t[]){ 1514, 1514 }, 2), 2);
	impair_judge(&r->im, S, 1514, false, &v);
	assert_true(v.straight);
	impair_push_straight(&r->im, S, road_frame(2), 1514);
	for (unsigned i = 3; i < 10; i++)
		assert_int_equal(road_send(r, S, i, 1514), 1);
	impair_held(&r->im, &frames, &bytes);
	assert_int_equal(frames, 8);
	assert_int_equal(r->im.stats.in_frames, 10);
	assert_int_equal(r->im.stats.out_frames, 2);
	assert_int_equal(impair_next(&r->im), S);
	assert_int_equal(road_take(r, S), 2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(road_number(&r->taken[i]), 2 + i);
	assert_int_equal(road_take(r, 2 * S), 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(road_number(&r->taken[i]), 4 + i);
		assert_int_equal(r->taken[i].at_ns, S + (i + 1) * 1514 * US);
	}
	road_done(r);
}

/* ---- CoDel ---- */

/* The spacing of drops while a queue does not yield (RFC 8289, 4.2): after an interval, then by the root. */
static void test_control_law(void **state)
{
	struct codel c = { 0 };
	uint64_t dropped[6];
	unsigned n = 0;

	for (uint64_t now = S; n < 6; now += 100 * US)
		if (codel_judge(&c, 5 * MS, 100 * MS, now, 20 * MS, false))
			dropped[n++] = now;
	assert_in_range(dropped[0] - S, 100 * MS, 101 * MS);
	assert_in_range(dropped[1] - dropped[0], 99 * MS, 101 * MS);
	for (unsigned i = 2; i < 6; i++)
		assert_in_range(dropped[i] - dropped[i - 1], (uint64_t)(99 * MS / sqrt(i)),
				(uint64_t)(101 * MS / sqrt(i)));
	/* It yields for one frame: the spell is over. */
	assert_false(codel_judge(&c, 5 * MS, 100 * MS, 3 * S, 4 * MS, false));
	assert_false(codel_judge(&c, 5 * MS, 100 * MS, 3 * S, 20 * MS, false));
	/* A burst that is gone within the interval costs nothing; nor does the last frame of a queue. */
	c = (struct codel){ 0 };
	for (uint64_t now = S; now < S + 99 * MS; now += MS)
		assert_false(codel_judge(&c, 5 * MS, 100 * MS, now, 50 * MS, false));
	for (uint64_t now = 2 * S; now < 3 * S; now += MS)
		assert_false(codel_judge(&c, 5 * MS, 100 * MS, now, 50 * MS, true));
}

struct flow {
	double window;
	uint64_t halved_ns;
	unsigned in_flight;
};

/* A sender that doubles back, as TCP does: one packet more a round trip, half of it at a loss or a mark, at most once
 * a round trip of 40 ms.  Returns the mean time in the queue over the second half of ten seconds. */
static uint64_t standing_delay(struct road *r, bool ect)
{
	struct flow f = { .window = 10 };
	uint64_t wait = 0, n = 0, bad = 0;
	static uint64_t sent_at[65536];

	for (uint64_t now = 0; now < 10 * S; now += 50 * US) {
		const struct impair_stats *s = &r->im.stats;
		struct impair_out out[16];
		unsigned got = impair_take(&r->im, now, out, array_size(out));

		for (unsigned i = 0; i < got; i++) {
			f.in_flight--;
			f.window += 1 / f.window;
			if (now > 5 * S) {
				wait += out[i].at_ns - 40 * MS -
					sent_at[road_number(&out[i]) % 65536];
				n++;
			}
		}
		while (f.in_flight < f.window) {
			struct impair_verdict v;
			static unsigned number;

			sent_at[++number % 65536] = now;
			impair_judge(&r->im, now, 1500, ect, &v);
			if (v.copies == 0)
				break;
			impair_push(&r->im, now, road_frame(number), 1500, ect);
			f.in_flight++;
		}
		if (s->dropped_limit + s->dropped_codel + s->marked != bad) {
			f.in_flight -= road_dropped;
			road_dropped = 0;
			bad = s->dropped_limit + s->dropped_codel + s->marked;
			if (now - f.halved_ns > 60 * MS) {
				f.window = fmax(2, f.window / 2);
				f.halved_ns = now;
			}
		}
	}
	assert_true(r->im.stats.out_bytes * 8 > 10 * 8000000ull); /* the link was kept busy */
	return wait / n;
}

static void test_codel_ends_a_standing_queue(void **state)
{
	struct road *r = &links[0];
	uint64_t without, with, marking;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t *to = i == 0 ? &without : i == 1 ? &with : &marking;

		road_init(r, 1);
		r->c.rate_bps = 10000000;
		r->c.delay_ns = 40 * MS;
		r->c.limit_packets = 200;
		r->c.codel = i > 0;
		r->c.codel_ecn = i == 2;
		road_set(r, 0);
		*to = standing_delay(r, i == 2);
		assert_true(i != 1 || r->im.stats.dropped_codel > 10);
		assert_true(i != 2 || (r->im.stats.dropped_codel == 0 && r->im.stats.marked > 10));
		road_done(r);
	}
	assert_true(without > 80 * MS);
	assert_true(with < 15 * MS);
	assert_true(marking < 15 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ten_links),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_near_frames_go_on),
		cmocka_unit_test(test_near_changes_nothing_else),
		cmocka_unit_test(test_a_burst_is_split),
		cmocka_unit_test(test_a_burst_through_a_bucket),
		cmocka_unit_test(test_control_law),
		cmocka_unit_test(test_codel_ends_a_standing_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
