/* SPDX-License-Identifier: MIT */
/* The event loop: order, deletion in the middle of a batch, timers, deferred work, pollers. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "loop.h"

#define MS UINT64_C(1000000)

static struct loop loop;

static int setup(void **state)
{
	return loop_init(&loop);
}

static int teardown(void **state)
{
	loop_done(&loop);
	return 0;
}

/* A source that is always readable, and what its callback does. */
struct bell {
	struct loop_source src;
	int fd;
	unsigned rung;
	struct bell *kill; /* deleted by the callback */
	bool kill_self;
};

static void bell_rings(struct loop_source *src, uint32_t events)
{
	struct bell *b = container_of(src, struct bell, src);

	assert_true(events & EPOLLIN);
	b->rung++;
	if (b->kill)
		loop_del(&b->kill->src);
	if (b->kill_self)
		loop_del(&b->src);
}

static void bell_init(struct bell *b)
{
	*b = (struct bell){ .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
	assert_true(b->fd >= 0);
	assert_int_equal(loop_add(&loop, &b->src, b->fd, EPOLLIN, bell_rings), 0);
}

static void bell_done(struct bell *b)
{
	loop_del(&b->src);
	close(b->fd);
}

static void test_source_is_called_while_ready(void **state)
{
	struct bell b;
	uint64_t n;

	bell_init(&b);
	assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_int_equal(b.rung, 2);
	assert_int_equal(read(b.fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 2);
	bell_done(&b);
}

static void test_source_deleted_in_the_same_batch(void **state)
{
	struct bell b[8];

	/* Each kills its neighbour in both directions in turn, whatever order the kernel chose. */
	for (unsigned i = 0; i < array_size(b); i++)
		bell_init(&b[i]);
	for (unsigned i = 0; i < array_size(b); i++)
		b[i].kill = &b[i ^ 1];
	assert_int_equal(loop_once(&loop, 0), 0);
	for (unsigned i = 0; i < array_size(b); i += 2)
		assert_int_equal(b[i].rung + b[i + 1].rung, 1);
	for (unsigned i = 0; i < array_size(b); i++)
		bell_done(&b[i]);
}

static void reap(struct loop_source *src, uint32_t events)
{
	struct bell *b = container_of(src, struct bell, src), *victim = b->kill;

	b->rung++;
	if (!victim)
		return;
	b->kill = NULL;
	bell_done(victim);
	free(victim); /* ASan sees it if the loop comes back to it */
}

static void forget_source(struct loop *l, bool on)
{
	struct bell *b = l->waiting_arg;

	if (!on)
		loop_del(&b->src);
}

static void test_source_deleted_behind_the_wait(void **state)
{
	struct bell b;

	bell_init(&b);
	loop.waiting_arg = &b;
	loop.waiting = forget_source;
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 0);
	loop.waiting = NULL;
	bell_done(&b);
}

static void test_other_owner_freed_in_the_same_batch(void **state)
{
	struct bell *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));

	a->fd = eventfd(1, EFD_CLOEXEC);
	b->fd = eventfd(1, EFD_CLOEXEC);
	a->kill = b;
	assert_int_equal(loop_add(&loop, &a->src, a->fd, EPOLLIN, reap), 0);
	assert_int_equal(loop_add(&loop, &b->src, b->fd, EPOLLIN, reap), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(a->rung, 2);
	bell_done(a);
	free(a);
}

static void test_source_deletes_itself_and_comes_back(void **state)
{
	struct bell b;

	bell_init(&b);
	b.kill_self = true;
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 1);
	loop_del(&b.src); /* twice is once */
	assert_int_equal(loop_add(&loop, &b.src, b.fd, EPOLLIN, bell_rings), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 2);
	bell_done(&b);
}

static void test_mod_pauses(void **state)
{
	struct bell b;

	bell_init(&b);
	assert_int_equal(loop_mod(&b.src, 0), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 0);
	assert_int_equal(loop_mod(&b.src, EPOLLIN), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(b.rung, 1);
	bell_done(&b);
}

static void test_unwatchable_file_is_refused(void **state)
{
	struct loop_source src = { 0 };
	char path[] = "/tmp/test_loop_XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(loop_add(&loop, &src, fd, EPOLLIN, bell_rings), -EPERM);
	assert_null(src.loop);
	close(fd);
}

static void test_more_sources_than_a_batch(void **state)
{
	struct bell b[LOOP_BATCH * 2 + 1];

	for (unsigned i = 0; i < array_size(b); i++)
		bell_init(&b[i]);
	for (unsigned pass = 0; pass < 6; pass++)
		assert_int_equal(loop_once(&loop, 0), 0);
	for (unsigned i = 0; i < array_size(b); i++)
		assert_true(b[i].rung >= 1); /* the kernel takes turns; nobody starves */
	for (unsigned i = 0; i < array_size(b); i++)
		bell_done(&b[i]);
}

/* ---- timers ---- */

struct alarm {
	struct loop_timer timer;
	uint64_t due;
	unsigned rung;
	struct alarm *cancel;
	bool again;
};

static uint64_t last_due;

static void alarm_rings(struct loop_timer *timer)
{
	struct alarm *a = container_of(timer, struct alarm, timer);

	assert_false(timer->set);
	assert_true(loop_now_ns() >= a->due);
	assert_true(a->due >= last_due);
	last_due = a->due;
	a->rung++;
	if (a->cancel)
		loop_timer_cancel(&loop, &a->cancel->timer);
	if (a->again)
		loop_timer_set(&loop, &a->timer, 0);
}

static void alarm_set(struct alarm *a, uint64_t due)
{
	a->due = due;
	loop_timer_set(&loop, &a->timer, due);
}

static void alarm_init(struct alarm *a)
{
	*a = (struct alarm){ 0 };
	loop_timer_init(&a->timer, alarm_rings);
}

static void test_timers_against_a_sorted_list(void **state)
{
	enum { N = 200 };
	static struct alarm a[N];
	uint64_t base = loop_now_ns() - MS; /* all due already: the order is what is tested */
	unsigned expected = 0, rung = 0;
	unsigned seed = 1;

	last_due = 0;
	for (unsigned i = 0; i < N; i++)
		alarm_init(&a[i]);
	for (unsigned i = 0; i < 4 * N; i++) {
		struct alarm *one = &a[(unsigned)rand_r(&seed) % N];

		if (rand_r(&seed) % 4 == 0)
			loop_timer_cancel(&loop, &one->timer);
		else
			alarm_set(one, base + (uint64_t)(rand_r(&seed) % 1000));
	}
	for (unsigned i = 0; i < N; i++)
		expected += a[i].timer.set;
	assert_true(expected > N / 2);
	assert_int_equal(loop_once(&loop, 0), 0);
	for (unsigned i = 0; i < N; i++) {
		assert_true(a[i].rung <= 1);
		rung += a[i].rung;
	}
	assert_int_equal(rung, expected);
	assert_null(loop.timers);
}

static void test_timer_wakes_the_loop_on_time(void **state)
{
	struct alarm a;
	uint64_t start = loop_now_ns();

	last_due = 0;
	alarm_init(&a);
	alarm_set(&a, start + 300000); /* 0.3 ms: finer than epoll_wait() could */
	while (!a.rung)
		assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_true(loop_now_ns() >= start + 300000);
}

static void test_timer_wakes_the_loop_without_pwait2(void **state)
{
	struct alarm a;
	uint64_t start = loop_now_ns();
	unsigned passes = 0;

	last_due = 0;
	loop.no_pwait2 = true;
	alarm_init(&a);
	alarm_set(&a, start + 2500000);
	for (; !a.rung; passes++)
		assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_true(passes <= 3); /* rounding up: no spinning through the last half millisecond */
}

static void test_timer_cancels_another_due_one(void **state)
{
	struct alarm a, b;

	last_due = 0;
	alarm_init(&a);
	alarm_init(&b);
	a.cancel = &b;
	alarm_set(&a, 1);
	alarm_set(&b, 2);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(a.rung, 1);
	assert_int_equal(b.rung, 0);
}

static void test_timer_set_into_the_past_waits_a_pass(void **state)
{
	struct alarm a;

	last_due = 0;
	alarm_init(&a);
	a.again = true;
	alarm_set(&a, 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
		assert_int_equal(a.rung, i);
	}
	loop_timer_cancel(&loop, &a.timer);
}

/* ---- deferred work ---- */

struct chore {
	struct loop_work work;
	unsigned done;
	bool again;
	struct chore *cancel;
};

static void chore_done(struct loop_work *work)
{
	struct chore *c = container_of(work, struct chore, work);

	assert_false(work->queued);
	c->done++;
	if (c->again)
		loop_defer(&loop, work, chore_done);
	if (c->cancel)
		loop_defer_cancel(&loop, &c->cancel->work);
}

static void test_deferred_once_and_in_the_next_pass(void **state)
{
	struct chore c = { .again = true };

	loop_defer(&loop, &c.work, chore_done);
	loop_defer(&loop, &c.work, chore_done);
	/* LOOP_NEVER: pending work forbids sleeping. */
	assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_int_equal(c.done, 1);
	c.again = false;
	assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_int_equal(c.done, 2);
	assert_null(loop.work);
}

static void test_deferred_cancel(void **state)
{
	struct chore c[3] = { 0 };

	c[0].cancel = &c[2]; /* the last of the queue, from within */
	for (unsigned i = 0; i < array_size(c); i++)
		loop_defer(&loop, &c[i].work, chore_done);
	loop_defer_cancel(&loop, &c[1].work);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(c[0].done, 1);
	assert_int_equal(c[1].done, 0);
	assert_int_equal(c[2].done, 0);
	loop_defer(&loop, &c[1].work, chore_done); /* the queue's tail is in order */
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(c[1].done, 1);
}

struct mortal {
	struct bell bell;
	struct loop_work bury;
};

static void mortal_bury(struct loop_work *work)
{
	struct mortal *m = container_of(work, struct mortal, bury);

	free(m);
}

static void mortal_rings(struct loop_source *src, uint32_t events)
{
	struct mortal *m = container_of(src, struct mortal, bell.src);

	bell_done(&m->bell);
	loop_defer(&loop, &m->bury, mortal_bury);
}

static void test_owner_goes_away_by_deferring(void **state)
{
	struct mortal *m = calloc(1, sizeof(*m));

	m->bell.fd = eventfd(1, EFD_CLOEXEC);
	assert_int_equal(loop_add(&loop, &m->bell.src, m->bell.fd, EPOLLIN, mortal_rings), 0);
	assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
	assert_null(loop.work);
}

static void test_done_runs_what_is_deferred(void **state)
{
	struct mortal *m = calloc(1, sizeof(*m));
	struct loop other;

	assert_int_equal(loop_init(&other), 0);
	loop_defer(&other, &m->bury, mortal_bury);
	loop_done(&other); /* LeakSanitizer is the assertion */
	loop_done(&other);
}

/* ---- pollers and loop_run ---- */

struct spinner {
	struct loop_poller poller;
	unsigned busy_for;
	unsigned polled;
	struct spinner *remove;
};

static bool spin(struct loop_poller *poller)
{
	struct spinner *s = container_of(poller, struct spinner, poller);

	s->polled++;
	if (s->remove)
		loop_poller_del(&loop, &s->remove->poller);
	return s->polled < s->busy_for;
}

static void stop_run(struct loop_timer *timer)
{
	loop_stop(&loop);
}

static void stop_source(struct loop_source *src, uint32_t events)
{
	loop_del(src);
	loop_stop(&loop);
}

static void test_busy_poller_keeps_the_loop_awake_and_fair(void **state)
{
	struct spinner s = { .busy_for = UINT32_MAX };
	struct loop_source src = { 0 };
	int fd = eventfd(1, EFD_CLOEXEC);

	loop_poller_add(&loop, &s.poller, spin);
	assert_int_equal(loop_add(&loop, &src, fd, EPOLLIN, stop_source), 0);
	assert_int_equal(loop_run(&loop), 0);
	/* The descriptor was looked at after LOOP_PEEK_PASSES passes, not before and not much later. */
	assert_int_equal(s.polled, LOOP_PEEK_PASSES);
	loop_poller_del(&loop, &s.poller);
	close(fd);
}

static void test_idle_pollers_let_the_loop_sleep(void **state)
{
	struct spinner s = { .busy_for = 100 };
	struct loop_timer timer;

	loop_poller_add(&loop, &s.poller, spin);
	loop_timer_init(&timer, stop_run);
	loop_timer_set(&loop, &timer, loop_now_ns() + 200 * MS);
	assert_int_equal(loop_run(&loop), 0);
	/* A loop that did not sleep would have asked the poller at every turn of these 200 ms. */
	assert_in_range(s.polled, 100, 105);
	loop_poller_del(&loop, &s.poller);
}

static void test_pollers_removed_while_polling(void **state)
{
	struct spinner s[4] = { 0 };
	unsigned polled = 0;

	for (unsigned i = 0; i < array_size(s); i++)
		loop_poller_add(&loop, &s[i].poller, spin);
	for (unsigned i = 0; i < array_size(s); i++)
		s[i].remove = &s[(i + array_size(s) - 1) % array_size(s)];
	assert_int_equal(loop_once(&loop, 0), 0);
	for (unsigned i = 0; i < array_size(s); i++)
		polled += s[i].polled;
	assert_int_equal(polled, 2); /* each of the two that ran removed the next in line */
	s[0].remove = &s[0];
	for (unsigned i = 0; i < array_size(s); i++)
		loop_poller_del(&loop, &s[i].poller);
	loop_poller_add(&loop, &s[0].poller, spin);
	assert_int_equal(loop_once(&loop, 0), 0); /* itself */
	assert_null(loop.pollers);
}

/* ---- the guard ---- */

static int stuck_errno;

static void get_stuck(struct loop_source *src, uint32_t events)
{
	int pipe_fds[2];
	char byte;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	stuck_errno = read(pipe_fds[0], &byte, 1) < 0 ? errno : 0; /* nobody will write */
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	loop_stop(&loop);
}

static void test_guard_frees_a_callback_that_waits(void **state)
{
	struct loop_source src = { 0 };
	int fd = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(loop_guard(&loop), 0);
	assert_int_equal(loop_add(&loop, &src, fd, EPOLLIN, get_stuck), 0);
	for (unsigned i = 0; i < 3; i++) { /* each time, not the first alone */
		stuck_errno = 0;
		assert_int_equal(loop_run(&loop), 0);
		assert_int_equal(stuck_errno, EINTR);
	}
	loop_del(&src);
	close(fd);
}

static void test_guard_rests_while_the_loop_sleeps(void **state)
{
	struct loop_timer timer;
	struct itimerspec left;
	uint64_t due;

	assert_int_equal(loop_guard(&loop), 0);
	for (unsigned i = 0; i < 2; i++) {
		/* Awake, it ticks; after a period asleep it does not. */
		assert_int_equal(loop_once(&loop, 0), 0);
		assert_int_equal(timer_gettime(loop.guard, &left), 0);
		assert_true(left.it_value.tv_nsec > 0);
		assert_int_equal(loop_once(&loop, LOOP_NEVER), 0);
		assert_int_equal(timer_gettime(loop.guard, &left), 0);
		assert_int_equal(left.it_value.tv_nsec, 0);
	}
	/* Timers keep their time across it. */
	due = loop_now_ns() + 3 * LOOP_GUARD_MS * MS;
	loop_timer_init(&timer, stop_run);
	loop_timer_set(&loop, &timer, due);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(loop_now_ns() >= due);
}

static void test_stop_before_run_counts(void **state)
{
	loop_stop(&loop);
	assert_int_equal(loop_run(&loop), 0);
}

static void test_zero_loop_done(void **state)
{
	struct loop zero = { 0 };

	loop_done(&zero);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_source_is_called_while_ready),
		T(test_source_deleted_in_the_same_batch),
		T(test_source_deleted_behind_the_wait),
		T(test_other_owner_freed_in_the_same_batch),
		T(test_source_deletes_itself_and_comes_back),
		T(test_mod_pauses),
		T(test_unwatchable_file_is_refused),
		T(test_more_sources_than_a_batch),
		T(test_timers_against_a_sorted_list),
		T(test_timer_wakes_the_loop_on_time),
		T(test_timer_wakes_the_loop_without_pwait2),
		T(test_timer_cancels_another_due_one),
		T(test_timer_set_into_the_past_waits_a_pass),
		T(test_deferred_once_and_in_the_next_pass),
		T(test_deferred_cancel),
		T(test_owner_goes_away_by_deferring),
		T(test_done_runs_what_is_deferred),
		T(test_busy_poller_keeps_the_loop_awake_and_fair),
		T(test_idle_pollers_let_the_loop_sleep),
		T(test_pollers_removed_while_polling),
		T(test_guard_frees_a_callback_that_waits),
		T(test_guard_rests_while_the_loop_sleeps),
		T(test_stop_before_run_counts),
		T(test_zero_loop_done),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
