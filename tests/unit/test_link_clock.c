/* SPDX-License-Identifier: MIT */
/* Are frames given back when they are due, by the real clock?  How late is bounded loosely here, because a test may run
 * on a machine that is busy; tests/bench measures it. */
#include "link_fixture.h"

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* ---- the heap ---- */

struct counted {
	struct link_event event;
	unsigned calls;
	uint64_t called_ns;
};

static struct counted events[200];
static uint64_t last_ns;

static void on_event(struct link_event *e, uint64_t now_ns)
{
	struct counted *c = container_of(e, struct counted, event);

	assert_true(e->at_ns <= now_ns);
	assert_true(e->at_ns >= last_ns); /* in order */
	last_ns = e->at_ns;
	c->calls++;
}

static uint64_t no_clock(void)
{
	return 0;
}

static void test_events_in_order(void **state)
{
	struct link_clock c;
	struct chance random;
	uint64_t now = 0;

	link_clock_init(&c, NULL, no_clock);
	chance_seed(&random, 1, 1);
	assert_int_equal(link_clock_room(&c, array_size(events)), 0);
	for (unsigned i = 0; i < array_size(events); i++)
		events[i] = (struct counted){ .event.fn = on_event };
	for (unsigned round = 0; round < 2000; round++) {
		struct counted *e = &events[chance_below(&random, array_size(events))];
		uint64_t expected = 0, calls = 0;

		switch (chance_below(&random, 4)) {
		case 0:
			link_clock_set(&c, &e->event, IMPAIR_NEVER, now);
			assert_int_equal(e->event.place, 0);
			break;
		case 1:
			now += chance_below(&random, 200);
			last_ns = 0;
			for (unsigned i = 0; i < array_size(events); i++) {
				expected += events[i].event.place && events[i].event.at_ns <= now;
				calls -= events[i].calls;
			}
			while (c.n > 0 && c.heap[0]->at_ns <= now)
				link_clock_run(&c, now);
			for (unsigned i = 0; i < array_size(events); i++)
				calls += events[i].calls;
			assert_int_equal(calls, expected);
			break;
		default:
			link_clock_set(&c, &e->event, now + chance_below(&random, 1000), now);
		}
	}
	link_clock_leave(&c, array_size(events));
	link_clock_done(&c);
}

/* ---- the real clock ---- */

static void test_delay_is_kept(void **state)
{
	const uint64_t delays[] = { 100 * US, 1 * MS, 10 * MS };
	static uint64_t late[200];

	lab_start(true);
	for (unsigned k = 0; k < array_size(delays); k++) {
		char params[128];
		unsigned n = k == 2 ? 20 : 200;

		snprintf(params, sizeof(params),
			 "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":%llu}",
			 (unsigned long long)delays[k]);
		lab_do("link.set", params);
		for (unsigned i = 0; i < n; i++) {
			uint64_t sent;

			lab_forget();
			backend.loop.woke_ns = 0; /* this frame woke nobody */
			sent = loop_now_ns();
			lab_send(0, 1, 100, 0);
			while (port[1].n == 0)
				assert_int_equal(loop_once(&backend.loop, loop_now_ns() + MS), 0);
			assert_true(port[1].got[0].at_ns >= sent + delays[k]); /* never early */
			late[i] = port[1].got[0].at_ns - sent - delays[k];
		}
		qsort(late, n, sizeof(*late), by_value);
		print_message("# delay of %llu us: late by %llu ns (p50), %llu ns (p99)\n",
			      (unsigned long long)(delays[k] / US), (unsigned long long)late[n / 2],
			      (unsigned long long)late[n * 99 / 100]);
		assert_true(late[n / 2] < 500 * US);
	}
	/* All is quiet: the clock neither spins nor sleeps. */
	assert_int_equal(net.links.clock.n, 0);
	while (net.links.clock.poller.added)
		assert_int_equal(loop_once(&backend.loop, 0), 0);
	assert_false(net.links.clock.timer.set);
	lab_finish();
}

/* A frame that ended a sleep came before that: as long as sleeps have been late to end. */
static void test_arrival(void **state)
{
	struct link_clock *c = &net.links.clock;
	uint64_t now;

	lab_start(true);
	now = loop_now_ns();
	c->late_ns = 30 * US;
	assert_int_equal(link_clock_arrival(c, now), now);
	backend.loop.woke_ns = now - 2 * US;
	assert_int_equal(link_clock_arrival(c, now), now - 32 * US);
	assert_int_equal(link_clock_arrival(c, now + 100 * US), now + 100 * US); /* long awake */
	/* It never goes back behind what the engine has seen. */
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":1000000}");
	backend.loop.woke_ns = loop_now_ns();
	c->late_ns = S;
	lab_send(0, 1, 100, 0);
	assert_true(lab_way(1, SW_EGRESS)->im.line.ring.n == 1);
	assert_true(impair_next(&lab_way(1, SW_EGRESS)->im) >= now + MS);
	lab_finish();
}

/* A frame far away does not keep the processor busy. */
static void test_sleeps(void **state)
{
	unsigned passes = 0;

	lab_start(true);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":50000000}");
	lab_send(0, 1, 100, 0);
	while (port[1].n == 0) {
		passes += !net.links.clock.poller.added;
		assert_int_equal(loop_once(&backend.loop, loop_now_ns() + 20 * MS), 0);
	}
	assert_true(passes < 20);
	lab_finish();
}

/* What is precise does: while it is under way and for a while after, and no longer. */
static void test_precise_stays_awake(void **state)
{
	struct link_clock *c = &net.links.clock;
	uint64_t left;

	lab_start(true);
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":50000000,\"precise\":true}");
	assert_false(c->poller.added); /* nothing came yet */
	lab_send(0, 1, 100, 0);
	while (port[1].n == 0) {
		assert_true(c->poller.added && !c->timer.set);
		assert_int_equal(loop_once(&backend.loop, 0), 0);
	}
	left = port[1].got[0].at_ns;
	while (c->poller.added)
		assert_int_equal(loop_once(&backend.loop, LOOP_NEVER), 0);
	assert_true(loop_now_ns() >= left + 100 * MS);
	assert_false(c->timer.set);
	lab_finish();
}

/* One that is far away lets it sleep first. */
static void test_precise_wakes_early(void **state)
{
	struct link_clock *c = &net.links.clock;
	uint64_t sent;

	lab_start(true);
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":300000000,\"precise\":true}");
	sent = loop_now_ns();
	lab_send(0, 1, 100, 0);
	while (c->poller.added)
		assert_int_equal(loop_once(&backend.loop, 0), 0);
	assert_true(loop_now_ns() >= sent + 100 * MS);
	if (loop_now_ns() < sent + 190 * MS)
		assert_true(c->timer.set && c->timer_ns <= sent + 200 * MS);
	while (port[1].n == 0)
		assert_int_equal(loop_once(&backend.loop, LOOP_NEVER), 0);
	assert_true(port[1].got[0].at_ns >= sent + 300 * MS);
	lab_finish();
}

/* Also where something that is not precise comes first. */
static void test_precise_behind_another(void **state)
{
	struct link_clock *c = &net.links.clock;
	uint64_t sent;

	lab_start(true);
	lab_do("link.set", "{\"port\":\"a\",\"direction\":\"to-guest\",\"delay-ns\":290000000}");
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":300000000,\"precise\":true}");
	sent = loop_now_ns();
	lab_send(1, 0, 100, 0);
	lab_send(0, 1, 100, 0);
	while (c->poller.added)
		assert_int_equal(loop_once(&backend.loop, 0), 0);
	if (loop_now_ns() < sent + 190 * MS)
		assert_true(c->timer.set && c->timer_ns <= sent + 200 * MS);
	while (port[0].n == 0 || port[1].n == 0)
		assert_int_equal(loop_once(&backend.loop, LOOP_NEVER), 0);
	assert_true(port[0].got[0].at_ns >= sent + 290 * MS);
	assert_true(port[1].got[0].at_ns >= sent + 300 * MS);
	lab_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_in_order),
		cmocka_unit_test(test_delay_is_kept),
		cmocka_unit_test(test_arrival),
		cmocka_unit_test(test_sleeps),
		cmocka_unit_test(test_precise_stays_awake),
		cmocka_unit_test(test_precise_wakes_early),
		cmocka_unit_test(test_precise_behind_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
