/* SPDX-License-Identifier: MIT */
/* What the daemon answers to what it does not do: each errno that wire.h names, where it names it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "leases_impl.h"
#include "portal_fixture.h"

#define E ((uint64_t)PORTAL_EXTENT)

/* Clients of the fixture; each row begins where "a" has extent 2, in which "box" lies, and the last two, and "b" and "r" have
 * nothing. */
enum who { A, B, R, NEW_A, NEW_B, N_WHO };
#define A_SEGMENT 2u
#define A_HUGE    (PF_EXTENTS - 2)

static struct pf pf;
static struct pf_client client[N_WHO];

/* ---- what comes before ---- */

static void running(void)
{
}

static void b_has_its_share(void)
{
	uint32_t first = 0;

	assert_int_equal(pf_get(&client[B], 8, PORTAL_EXTENT_HUGE, &first), 0);
}

static void names_are_full(void)
{
	struct name entry = { .type = 1, .offset = 2 * E, .len = 1, .owner = client[A].owner };
	uint32_t index;

	for (unsigned i = 1; i < PORTAL_NAMES; i++) {
		(void)snprintf(entry.name, sizeof(entry.name), "n%u", i);
		assert_int_equal(names_publish(&pf.leases.names, &entry, &index), 0);
	}
}

static void one_lease_each(void)
{
	pf.leases.client[0]->max_leases = 1;
}

static void draining(void)
{
	assert_int_equal(leases_quiesce(&pf.leases, 60000, 0), 0);
}

static void frozen(void)
{
	assert_int_equal(leases_quiesce(&pf.leases, 0, 0), 0);
	pf_run_for(&pf, 5);
	assert_int_equal(pf.leases.quiesce.state, PORTAL_FROZEN);
}

static void disk_failed(void)
{
	pf.flush.error = -EIO;
}

static void disk_was_full(void)
{
	pf.flush.error = -ENOSPC;
}

static void say_that_flushes_run(bool do_run)
{
	struct leases_conn *c = pf.leases.lease[portal_owner_id(client[A].owner)].conn;

	for (unsigned i = 0; i < PORTAL_FLUSHES_MAX; i++)
		c->flush[i].request.queued = do_run;
}

static void flushes_under_way(void)
{
	say_that_flushes_run(true);
}

/* ---- the table ---- */

#define NO_LEASE_EVER (1ull << 16 | 200)
#define OF_B          UINT64_MAX /* stands for b's owner word */

static const struct row {
	void (*before)(void);
	enum who who;
	enum portal_message type;
	uint64_t args[3];
	const char *name;
	int error;
} rows[] = {
	{ running, NEW_A, PORTAL_HELLO, { 77 }, "", -EPROTONOSUPPORT },
	{ running, NEW_A, PORTAL_HELLO, { 1, 0, NO_LEASE_EVER }, "", -ESTALE },
	{ running, NEW_A, PORTAL_HELLO, { 1, 0, OF_B }, "", -ESTALE }, /* another door's */
	{ running, NEW_B, PORTAL_HELLO, { 1, 0, OF_B }, "", -EBUSY },
	{ running, NEW_A, PORTAL_HELLO, { 1 }, "a\nb", -EINVAL },
	{ one_lease_each, NEW_A, PORTAL_HELLO, { 1 }, "", -EUSERS },
	{ frozen, NEW_A, PORTAL_HELLO, { 1 }, "", -EAGAIN },

	{ running, A, PORTAL_EXTENT_GET, { 0, PORTAL_EXTENT_HUGE }, "", -EINVAL },
	{ running, A, PORTAL_EXTENT_GET, { 2, PORTAL_EXTENT_SEGMENT }, "", -EINVAL },
	{ running, A, PORTAL_EXTENT_GET, { 1, PORTAL_EXTENT_QUARANTINE }, "", -EINVAL },
	{ running, A, PORTAL_EXTENT_GET, { 6, PORTAL_EXTENT_HUGE }, "", -EDQUOT },
	{ b_has_its_share, A, PORTAL_EXTENT_GET, { 3, PORTAL_EXTENT_HUGE }, "", -ENOSPC },
	{ running, R, PORTAL_EXTENT_GET, { 1, PORTAL_EXTENT_HUGE }, "", -EACCES },
	{ draining, A, PORTAL_EXTENT_GET, { 1, PORTAL_EXTENT_HUGE }, "", -EAGAIN },
	{ frozen, A, PORTAL_EXTENT_GET, { 1, PORTAL_EXTENT_HUGE }, "", -EAGAIN },

	{ running, B, PORTAL_EXTENT_PUT, { A_SEGMENT, 1 }, "", -EPERM },
	{ running, A, PORTAL_EXTENT_PUT, { 0, 1 }, "", -EPERM },
	{ running, A, PORTAL_EXTENT_PUT, { A_HUGE, 1 }, "", -EINVAL },
	{ running, A, PORTAL_EXTENT_PUT, { PF_EXTENTS, 1 }, "", -EINVAL },
	{ running, A, PORTAL_EXTENT_PUT, { A_SEGMENT, 1 }, "", -EBUSY },
	{ running, R, PORTAL_EXTENT_PUT, { A_SEGMENT, 1 }, "", -EACCES },
	{ draining, A, PORTAL_EXTENT_PUT, { A_HUGE, 2 }, "", 0 },
	{ frozen, A, PORTAL_EXTENT_PUT, { A_HUGE, 2 }, "", -EAGAIN },

	{ running, A, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "box", -EEXIST },
	{ running, A, PORTAL_PUBLISH, { 0, A_HUGE *E, 8 }, "x", -EINVAL },
	{ running, A, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "a box", -EINVAL },
	{ running, A, PORTAL_PUBLISH, { 1, A_HUGE *E, 2 * E + 1 }, "x", -EPERM },
	{ running, B, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "x", -EPERM },
	{ names_are_full, A, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "x", -ENOSPC },
	{ running, R, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "x", -EACCES },
	{ draining, A, PORTAL_PUBLISH, { 1, A_HUGE *E, 8 }, "x", -EAGAIN },

	{ running, A, PORTAL_UNPUBLISH, { 0 }, "x", -ENOENT },
	{ running, A, PORTAL_UNPUBLISH, { 0 }, "", -EINVAL },
	{ running, B, PORTAL_UNPUBLISH, { 0 }, "box", -EPERM },
	{ running, R, PORTAL_UNPUBLISH, { 0 }, "box", -EACCES },
	{ draining, A, PORTAL_UNPUBLISH, { 0 }, "box", 0 },
	{ frozen, A, PORTAL_UNPUBLISH, { 0 }, "box", -EAGAIN },

	{ running, A, PORTAL_BELL, { NO_LEASE_EVER }, "", -ESRCH },
	{ running, B, PORTAL_QUIESCE, { 10, 10 }, "", -EACCES },
	{ draining, A, PORTAL_QUIESCE, { 10, 10 }, "", -EALREADY },
	{ running, A, PORTAL_THAW, { 0 }, "", -EINVAL },
	{ frozen, A, PORTAL_THAW, { 0 }, "", -EINVAL },
	{ running, A, PORTAL_ACK, { 1 }, "", -ESTALE },
	{ draining, A, PORTAL_ACK, { 2 }, "", -ESTALE },
	{ disk_failed, A, PORTAL_FLUSH, { 0 }, "", -EIO },
	{ disk_was_full, A, PORTAL_FLUSH, { 0 }, "", -ENOSPC },
	{ flushes_under_way, A, PORTAL_FLUSH, { 0 }, "", -EBUSY },
	{ running, A, PORTAL_NOTIFY, { 4 }, "", -EINVAL },
	{ running, A, PORTAL_RANG, { 0 }, "", -EINVAL },
};

/* ---- each row in a portal of its own ---- */

static void set_up(void)
{
	uint32_t first = 0;

	pf_init(&pf);
	pf_start(&pf);
	pf_hello(&pf, &client[A], "a", "");
	pf_hello(&pf, &client[B], "b", "");
	pf_hello(&pf, &client[R], "r", "");
	pf_connect(&pf, &client[NEW_A], "a");
	pf_connect(&pf, &client[NEW_B], "b");
	assert_int_equal(pf_get(&client[A], 1, PORTAL_EXTENT_SEGMENT, &first), 0);
	assert_int_equal(first, A_SEGMENT);
	assert_int_equal(pf_get(&client[A], 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(first, A_HUGE);
	assert_int_equal(pf_publish(&client[A], "box", 1, A_SEGMENT * E, 8), 0);
}

static void tear_down(void)
{
	for (unsigned i = 0; i < N_WHO; i++)
		pf_hang_up(&client[i]);
	pf_done(&pf);
}

static int answer(const struct row *row)
{
	struct portal_frame f = { .type = le32_of(row->type) };

	for (unsigned i = 0; i < array_size(row->args); i++)
		f.args[i] = le64_of(row->args[i] == OF_B ? client[B].owner : row->args[i]);
	(void)snprintf(f.name, sizeof(f.name), "%s", row->name);
	return pf_ask(&client[row->who], &f);
}

static void test_answers(void **state)
{
	for (unsigned i = 0; i < array_size(rows); i++) {
		int r;

		set_up();
		rows[i].before();
		r = answer(&rows[i]);
		if (rows[i].before == flushes_under_way)
			say_that_flushes_run(false);
		if (r != rows[i].error)
			fail_msg("row %u, request %u: %d, not %d", i, rows[i].type, r,
				 rows[i].error);
		tear_down();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_errnos", tests, NULL, NULL);
}
