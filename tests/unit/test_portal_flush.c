/* SPDX-License-Identifier: MIT */
/* Group commit, with a disk that is as slow, and as broken, as the test wants. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "base.h"
#include "flush.h"

static struct loop loop;
static struct flush flush;
static sem_t begun, go_on;
static int disk_error;

static int slow_sync(int fd)
{
	sem_post(&begun);
	sem_wait(&go_on);
	errno = disk_error;
	return disk_error ? -1 : 0;
}

struct request {
	struct flush_request r;
	int n_done, status;
	struct request *cancels;
};

static void on_done(struct flush_request *r, int status)
{
	struct request *q = container_of(r, struct request, r);

	q->n_done++;
	q->status = status;
	if (q->cancels)
		flush_cancel(&flush, &q->cancels->r);
}

static int setup(void **state)
{
	disk_error = 0;
	assert_int_equal(sem_init(&begun, 0, 0), 0);
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(flush_init(&flush, &loop, 5, true, 0), 0);
	flush.sync = slow_sync;
	return 0;
}

static int teardown(void **state)
{
	flush_done(&flush);
	loop_done(&loop);
	return 0;
}

static void ask(struct request *q)
{
	flush_request(&flush, &q->r, on_done);
}

static void pass(void)
{
	assert_int_equal(loop_once(&loop, loop_now_ns() + 1000000), 0);
}

static void until_done(const struct request *q)
{
	for (int i = 0; i < 5000 && q->n_done == 0; i++)
		pass();
	assert_int_equal(q->n_done, 1);
}

static void test_grouped(void **state)
{
	struct request a = { 0 }, b = { 0 }, late[3] = { 0 };

	ask(&a);
	ask(&b);
	pass();
	sem_wait(&begun);
	for (unsigned i = 0; i < 3; i++)
		ask(&late[i]); /* the call that runs began before them */
	pass();
	assert_int_equal(a.n_done + b.n_done, 0);
	sem_post(&go_on);
	until_done(&a);
	assert_int_equal(b.n_done, 1);
	assert_int_equal(late[0].n_done, 0);
	sem_wait(&begun);
	sem_post(&go_on);
	until_done(&late[2]);
	assert_int_equal(late[0].n_done + late[1].n_done, 2);
	assert_int_equal(late[2].status, 0);
	assert_int_equal(flush.n_syncs, 2);
	assert_int_equal(flush.n_requests, 5);
}

/* One failure, and nothing succeeds any more, without asking the disk. */
static void test_error_is_latched(void **state)
{
	struct request a = { 0 }, b = { 0 }, waiting = { 0 };

	disk_error = EIO;
	ask(&a);
	pass();
	sem_wait(&begun);
	ask(&waiting);
	pass();
	sem_post(&go_on);
	until_done(&a);
	assert_int_equal(a.status, -EIO);
	disk_error = 0;
	if (waiting.n_done == 0) {
		sem_wait(&begun);
		sem_post(&go_on);
	}
	until_done(&waiting);
	assert_int_equal(waiting.status, -EIO);
	ask(&b);
	assert_int_equal(b.n_done, 0); /* never from inside the call */
	until_done(&b);
	assert_int_equal(b.status, -EIO);
	assert_int_equal(flush.error, -EIO);
	assert_int_equal(flush.n_syncs, 0);
}

static void test_cancel(void **state)
{
	struct request a = { 0 }, b = { 0 }, c = { 0 };

	a.cancels = &c; /* from inside a callback of the same group */
	ask(&a);
	ask(&b);
	ask(&c);
	flush_cancel(&flush, &b.r);
	pass();
	sem_wait(&begun);
	sem_post(&go_on);
	until_done(&a);
	for (int i = 0; i < 5; i++)
		pass();
	assert_int_equal(b.n_done, 0);
	assert_int_equal(c.n_done, 0);
	flush_cancel(&flush, &c.r); /* legal */
	ask(&c);
	pass();
	sem_wait(&begun);
	sem_post(&go_on);
	until_done(&c);
}

static void test_ends_while_one_runs(void **state)
{
	struct request a = { 0 }, b = { 0 };

	ask(&a);
	pass();
	sem_wait(&begun);
	ask(&b);
	sem_post(&go_on);
	/* teardown joins the thread; neither is answered any more */
}

static void test_memory_alone(void **state)
{
	struct request a = { 0 };

	flush_done(&flush);
	assert_int_equal(flush_init(&flush, &loop, -1, false, 0), 0);
	ask(&a);
	assert_int_equal(a.n_done, 0);
	pass();
	assert_int_equal(a.n_done, 1);
	assert_int_equal(a.status, 0);
	assert_int_equal(flush.n_syncs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_grouped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_error_is_latched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_while_one_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_alone, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
