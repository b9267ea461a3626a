/* SPDX-License-Identifier: MIT */
/* What becomes of leases, grants and orphans when the daemon ends and another one takes over, or somebody forges its tables. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "leases_fixture.h"

/* ---- the daemon's end ---- */

static void restart(void)
{
	pf_stop(&pf);
	pf_start(&pf);
}

static void test_restart(void **state)
{
	struct portal_frame f;
	uint32_t s = 0, h = 0, n = free_extents();

	pf_hello(&pf, &a, "a", "stays");
	pf_hello(&pf, &b, "b", "goes");
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_publish(&a, "mine", 9, s * E, 10), 0);
	assert_int_equal(pf_get(&b, 4, PORTAL_EXTENT_HUGE, &h), 0);
	assert_int_equal(pf_publish(&b, "his", 9, h * E, 10), 0);
	restart();
	assert_false(pf_next(&a, &f));
	pf_hang_up(&a);
	pf_hang_up(&b);
	assert_int_equal(word(0), PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_LOST));
	assert_int_equal(names_find(&pf.leases.names, "mine"), 0);
	assert_int_equal(free_extents(), n - 5);
	assert_int_equal(hello(&a, "a", 1, a.owner, 0, &f), 0);
	assert_int_equal(pf_arg(&f, 0), portal_owner(0, 1));
	until_free(portal_owner(1, 1)); /* who does not come in time */
	assert_int_equal(free_extents(), n - 1);
	assert_int_equal(names_find(&pf.leases.names, "his"), -1);
	assert_int_equal(pf_publish(&a, "mine", 9, s * E, 10), -EEXIST);
	assert_int_equal(pf_unpublish(&a, "mine"), 0);
	assert_int_equal(pf_get(&a, 8, PORTAL_EXTENT_HUGE, &h), -EDQUOT); /* what it had counts */
	assert_int_equal(pf_get(&a, 7, PORTAL_EXTENT_HUGE, &h), 0);
	pf_hello(&pf, &c, "b", "");
	assert_int_not_equal(c.owner, b.owner);
}

/* Killed in the middle of a recovery: the next daemon ends it, without waiting. */
static void test_restart_within_recovery(void **state)
{
	uint32_t s = 0, n = free_extents();

	pf_hello(&pf, &a, "l", "");
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_publish(&a, "x", 9, s * E, 10), 0);
	le64_store(&arena_leases(&pf.arena)[0].word,
		   PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_RECOVERING));
	pf_stop(&pf);
	/* The stop does not write the table: what is there is what a killed one left. */
	pf_start(&pf);
	until_free(a.owner);
	assert_int_equal(free_extents(), n);
	assert_int_equal(pf.leases.names.n_used, 0);
}

/* What clients may have done to the tables while no daemon looked. */
static void test_restart_over_lies(void **state)
{
	uint32_t seed = 3;

	pf.config.grace_ms = 100;
	for (unsigned round = 0; round < 40; round++) {
		struct portal_lease *l = arena_leases(&pf.arena);
		uint32_t n_granted = 0;

		for (unsigned i = 0; i < 2000; i++) {
			uint32_t where;

			seed = seed * 1664525u + 1013904223u;
			where = (seed >> 8) %
				(PORTAL_NAMES_OFFSET + 8 * sizeof(struct portal_name) -
				 PORTAL_LEASES_OFFSET);
			pf.arena.base[PORTAL_LEASES_OFFSET + where] =
				(uint8_t)(seed >> 24 & seed >> 16);
		}
		memset(l[5].client, 'z', sizeof(l[5].client));
		restart();
		for (uint32_t at = 0; extents_find(&pf.leases.extents, 0, &at);
		     at += pf.leases.extents.e[at].run)
			n_granted += pf.leases.extents.e[at].run;
		assert_int_equal(n_granted + pf.leases.extents.n_free +
					 pf.leases.extents.n_quarantined,
				 PF_EXTENTS - 2);
		pf_run_for(&pf, 5);
	}
	pf_run_for(&pf, 150); /* the grace of all who never were */
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		assert_int_equal(pf.leases.lease[i].state, PORTAL_LEASE_FREE);
	pf_run_for(&pf, 20);
	assert_int_equal(pf.leases.names.n_used, 0);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf_simple(&a, PORTAL_STAT, 0, 0), 0);
}

static void add_late_as(enum portal_mode mode)
{
	char path[96];
	const struct leases_client_config late = {
		.name = "late",
		.socket_path = tmp_path(&pf.dir, "late", path, sizeof(path)),
		.mode = mode,
		.quota = 4,
		.max_leases = 3,
	};

	assert_int_equal(leases_add_client(&pf.leases, &late), 0);
}

static void add_late(void)
{
	add_late_as(PORTAL_READ_WRITE);
}

/* The next daemon does not know of a client that was added to the last one, until it is added again. */
static void test_restart_of_an_added_client(void **state)
{
	struct portal_frame f;
	uint32_t first = 0, n = free_extents();
	uint64_t owner;

	add_late();
	pf_hello(&pf, &a, "late", "");
	owner = a.owner;
	assert_int_equal(pf_get(&a, 3, PORTAL_EXTENT_HUGE, &first), 0);
	restart();
	pf_hang_up(&a);
	pf_run_for(&pf, 20);
	add_late();
	assert_int_equal(hello(&a, "late", 1, owner, 0, &f), 0);
	assert_int_equal(pf_arg(&f, 0), owner);
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &first), -EDQUOT);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_HUGE, &first), 0);
	restart();
	pf_hang_up(&a);
	until_free(owner); /* nobody adds it */
	assert_int_equal(free_extents(), n);
}

static bool is_frozen(struct pf *p, void *arg)
{
	return p->leases.quiesce.state == PORTAL_FROZEN;
}

/* A client that the next daemon does not know yet has the memory mapped, and may be writing. */
static void test_quiesce_before_a_client_is_added(void **state)
{
	add_late();
	pf_hello(&pf, &a, "late", "");
	pf_hello(&pf, &b, "r", "");
	restart();
	assert_int_equal(leases_quiesce(&pf.leases, 50, 0), 0);
	assert_int_equal(pf.leases.quiesce.state, PORTAL_DRAINING);
	assert_int_equal(pf.leases.quiesce.n_waiting, 1);
	assert_true(pf_run(&pf, is_frozen, NULL, PF_PATIENCE_MS));
	assert_int_equal(pf.leases.quiesce.n_laggards, 1);
	assert_int_equal(quiesce_thaw(&pf.leases.quiesce), 0);
}

/* What no client can have said, somebody has written into the table: it is not repeated. */
static void test_restart_over_forged_labels(void **state)
{
	struct portal_lease *m = arena_leases(&pf.arena);

	pf_hello(&pf, &a, "a", "me");
	pf_hello(&pf, &b, "b", "you");
	memcpy(m[0].name, "m\xff", 3);
	memset(m[1].name, 'x', sizeof(m[1].name));
	memcpy(m[1].client, "b\n", 3);
	restart();
	m = arena_leases(&pf.arena);
	assert_string_equal(pf.leases.lease[0].name, "");
	assert_string_equal(pf.leases.lease[1].name, "");
	assert_string_equal(pf.leases.lease[1].client_name, "");
	assert_string_equal(m[0].name, "");
	assert_string_equal(m[0].client, "a");
	assert_string_equal(m[1].client, "");
	assert_ptr_equal(pf.leases.lease[0].client, pf.leases.client[0]);
	assert_null(pf.leases.lease[1].client);
}

static void forge_leases(uint32_t first, uint32_t n, const char *client)
{
	for (uint32_t i = first; i < first + n; i++) {
		struct portal_lease *m = &arena_leases(&pf.arena)[i];

		(void)snprintf(m->client, sizeof(m->client), "%s", client);
		le64_store(&m->word, PORTAL_LEASE_WORD(portal_owner(i, 1), PORTAL_LEASE_LIVE));
	}
}

/* A table that gives a client more leases than it may have does not keep it out. */
static void test_restart_over_forged_leases(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &a, "a", "");
	forge_leases(1, PORTAL_LEASES - 1, "a");
	restart();
	pf_run_for(&pf, 20);
	assert_int_equal(pf.leases.client[0]->n_leases, LEASES_EACH);
	pf_hello(&pf, &b, "b", "");
	pf_hang_up(&a);
	assert_int_equal(hello(&a, "a", 1, portal_owner(0, 1), 0, &f), 0);
}

/* Nor do leases of somebody who never comes keep anybody out, however long they could. */
static void test_restart_over_leases_of_nobody(void **state)
{
	struct portal_frame f;

	pf.config.grace_ms = 600000;
	pf_hello(&pf, &a, "a", "");
	forge_leases(1, PORTAL_LEASES - 1, "zzz");
	restart();
	assert_int_equal(hello(&b, "b", 1, 0, 0, &f), -EAGAIN);
	pf_run_for(&pf, 20);
	assert_int_equal(hello(&b, "b", 1, 0, 0, &f), 0);
	assert_int_equal(hello(&c, "b", 1, 0, 0, &f), -EAGAIN); /* one makes room for one */
	assert_int_equal(hello(&c, "b", 1, 0, 0, &f), 0);
	pf_hang_up(&a);
	assert_int_equal(hello(&a, "a", 1, portal_owner(0, 1), 0, &f), 0);
}

/* ---- orphans ---- */

static uint64_t n_visits, keep_until;
static uint32_t kept_first;

static bool heap_recover(const struct arena *arena, uint32_t first, uint32_t n, uint32_t dead,
			 const uint64_t alive[PORTAL_LEASES])
{
	return first != kept_first || --keep_until == 0;
}

static void heap_visit(const struct arena *arena, uint32_t first, uint32_t n, uint32_t dead)
{
	n_visits++;
}

/* Somebody holds a block of the dead: the grant stays, as nobody's, until he lets go. */
static void test_orphans(void **state)
{
	static const struct leases_heap heap = { heap_recover, heap_visit };
	uint32_t s = 0, t = 0, n = free_extents();

	pf.leases.config.heap = &heap;
	keep_until = 3;
	n_visits = 0;
	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &kept_first), 0);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &t), 0);
	pf_hang_up(&a);
	until_free(a.owner);
	assert_int_equal(n_visits, 1); /* b's */
	assert_int_equal(pf.leases.n_orphans, 1);
	assert_int_equal(free_extents(), n - 3);
	assert_int_equal(pf_put(&b, kept_first, 2), -EPERM);
	restart(); /* it is still an orphan then */
	pf.leases.config.heap = &heap;
	assert_int_equal(pf.leases.n_orphans, 1);
	pf_run_for(&pf, 20);
	assert_int_equal(keep_until, 1);
	assert_int_equal(pf.leases.n_orphans, 1);
	until_free(b.owner); /* a lease ends: another look */
	assert_int_equal(pf.leases.n_orphans, 0);
	assert_int_equal(free_extents(), n);
}

/* As if somebody held blocks in everything. */
static bool keep_all;
static unsigned recover_ms, n_recovers;

static bool keep_recover(const struct arena *arena, uint32_t first, uint32_t n, uint32_t dead,
			 const uint64_t alive[PORTAL_LEASES])
{
	usleep(recover_ms * 1000);
	n_recovers++;
	return !keep_all;
}

static const struct leases_heap keeper = { keep_recover, heap_visit };

static void use_keeper(unsigned ms)
{
	pf.leases.config.heap = &keeper;
	keep_all = true;
	recover_ms = ms;
	n_recovers = 0;
}

static bool no_orphans(struct pf *p, void *arg)
{
	return pf.leases.n_orphans == 0;
}

/* Somebody lets go of everything, and the next look at orphans finds it. */
static void let_go(void)
{
	keep_all = false;
	loop_timer_set(pf.loop, &pf.leases.orphan_timer, 0);
	assert_true(pf_run(&pf, no_orphans, NULL, PF_PATIENCE_MS));
}

/* Who leaves his quota behind in others' names has used it up, whatever lease he comes with, and whatever daemon he meets. */
static void test_orphans_are_paid_for(void **state)
{
	uint32_t first = 0, n = free_extents();

	use_keeper(0);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf_get(&a, 5, PORTAL_EXTENT_HUGE, &first), 0);
	pf_hang_up(&a);
	until_free(a.owner);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf.leases.client[0]->n_extents, 5);
	assert_int_equal(pf_get(&a, 4, PORTAL_EXTENT_HUGE, &first), -EDQUOT);
	assert_int_equal(pf_get(&a, 3, PORTAL_EXTENT_HUGE, &first), 0);
	pf.config.heap = &keeper;
	restart();
	pf_hang_up(&a);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf.leases.client[0]->n_extents, 8);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_HUGE, &first), -EDQUOT);
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_HUGE, &first), 0); /* it is not his affair */
	until_free(portal_owner(1, 1));
	assert_int_equal(free_extents(), n - 9);
	let_go();
	assert_int_equal(pf.leases.client[0]->n_extents, 0);
	assert_int_equal(pf_get(&a, 8, PORTAL_EXTENT_HUGE, &first), 0);
}

/* The entry that names the payer is given to another lease last. */
static void test_ids_of_orphans_rest(void **state)
{
	uint32_t first = 0;

	use_keeper(0);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf_get(&a, 8, PORTAL_EXTENT_HUGE, &first), 0);
	for (unsigned i = 0; i < PORTAL_LEASES + 2; i++) {
		pf_hang_up(&a);
		until_free(a.owner);
		pf_hello(&pf, &a, "b", "");
		assert_int_not_equal(portal_owner_id(a.owner), 0);
	}
	restart();
	assert_int_equal(pf.leases.client[0]->n_extents, 8);
}

static void test_orphans_of_a_client_that_goes(void **state)
{
	uint32_t first = 0, n = free_extents();

	use_keeper(0);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf_get(&a, 8, PORTAL_EXTENT_HUGE, &first), 0);
	pf_hang_up(&a);
	until_free(a.owner);
	assert_int_equal(leases_remove_client(&pf.leases, "a"), 0);
	let_go();
	assert_int_equal(free_extents(), n);
}

static bool one_orphan(struct pf *p, void *arg)
{
	return pf.leases.n_orphans == 1;
}

/* A look at orphans in the middle of a recovery counts none twice, and forgets none. */
static void test_orphans_are_counted(void **state)
{
	uint32_t first = 0, n = free_extents();

	use_keeper(5); /* one in each pass */
	pf_hello(&pf, &a, "a", "");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &first), 0);
	pf_hang_up(&a);
	assert_true(pf_run(&pf, one_orphan, NULL, PF_PATIENCE_MS));
	leases_on_orphans(&pf.leases.orphan_timer);
	until_free(a.owner);
	assert_int_equal(pf.leases.n_orphans, 3);
	keep_all = false;
	pf_hello(&pf, &b, "b", "");
	pf_hang_up(&b);
	until_free(b.owner);
	assert_int_equal(pf.leases.n_orphans, 0);
	assert_int_equal(free_extents(), n);
}

/* However long it takes to look into orphans: others have their turn in between. */
static void test_orphans_hold_up_nobody(void **state)
{
	uint32_t first = 0;

	use_keeper(5);
	pf_hello(&pf, &a, "a", "");
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &first), 0);
	pf_hang_up(&a);
	until_free(a.owner);
	n_recovers = 0;
	leases_on_orphans(&pf.leases.orphan_timer);
	assert_int_equal(n_recovers, 1);
	recover_ms = 0;
	let_go();
}

static void forge_grants(uint64_t owner)
{
	for (uint32_t i = 2; i < PF_EXTENTS; i++) {
		struct portal_extent *e = &arena_extents(&pf.arena)[i];

		le64_store(&e->what, PORTAL_WHAT(PORTAL_EXTENT_SEGMENT, 0, 1, 1));
		le64_store(&e->owner, owner);
	}
}

/* Who writes himself grants while no daemon looks has no more than his quota, and who may not write has none. */
static void test_restart_over_forged_grants(void **state)
{
	pf_hello(&pf, &a, "a", "");
	forge_grants(a.owner);
	restart();
	assert_int_equal(pf.leases.client[0]->n_extents, 8);
	assert_int_equal(pf.leases.lease[0].n_extents, 8);
	assert_int_equal(pf.leases.extents.n_quarantined, PF_EXTENTS - 2 - 8);
	until_free(a.owner);
	assert_int_equal(free_extents(), PF_EXTENTS - 2);
	pf_hang_up(&a);
	pf_hello(&pf, &a, "r", "");
	forge_grants(a.owner);
	restart();
	assert_int_equal(pf.leases.extents.n_quarantined, PF_EXTENTS - 2);
}

/* Nor does it help to write them to a lease that will be given next. */
static void test_restart_over_grants_of_a_lease_to_come(void **state)
{
	uint32_t first = 0;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	pf_hang_up(&a);
	until_free(a.owner);
	forge_grants(portal_owner(0, 2));
	restart();
	assert_int_equal(pf.leases.n_orphans, 0);
	assert_int_equal(pf.leases.extents.n_quarantined, PF_EXTENTS - 2);
	pf_hello(&pf, &a, "a", "");
	assert_int_equal(a.owner, portal_owner(0, 2));
	assert_int_equal(pf.leases.lease[0].n_extents, 0);
	assert_int_equal(pf_put(&a, 2, 1), -EPERM);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &first), -ENOSPC);
}

/* Who was added to the last daemon, and writes himself grants and leases before he is added to the next one, has no more. */
static void test_restart_over_forgeries_of_an_added_client(void **state)
{
	struct portal_frame f;
	uint32_t first = 0;

	add_late();
	pf_hello(&pf, &a, "late", "");
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(pf_publish(&a, "beyond", 1, first * E, 1), 0);
	forge_grants(a.owner);
	forge_leases(1, 6, "late");
	restart();
	assert_int_equal(pf.leases.lease[0].n_extents, PF_EXTENTS - 2);
	assert_int_equal(pf.leases.names.n_used, 1);
	add_late();
	assert_int_equal(pf.leases.client[4]->n_extents, 4);
	assert_int_equal(pf.leases.lease[0].n_extents, 4);
	assert_int_equal(le32_load(&arena_leases(&pf.arena)[0].extents), 4);
	assert_int_equal(pf.leases.extents.n_quarantined, PF_EXTENTS - 2 - 4);
	assert_int_equal(le32_load(&arena_live(&pf.arena)->extents_quarantined),
			 PF_EXTENTS - 2 - 4);
	assert_int_equal(pf.leases.names.n_used, 0); /* it lay in the last ones */
	until_free(portal_owner(6, 1));
	assert_int_equal(pf.leases.client[4]->n_leases, 3);
	pf_hang_up(&a);
	assert_int_equal(hello(&b, "late", 1, 0, 0, &f), -EUSERS);
	assert_int_equal(hello(&b, "late", 1, portal_owner(0, 1), 0, &f), 0);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &first), -EDQUOT);
	assert_int_equal(pf_put(&b, 2, 1), 0);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &first), 0);
}

static void test_restart_over_forged_grants_of_an_added_reader(void **state)
{
	add_late_as(PORTAL_READ_ONLY);
	pf_hello(&pf, &a, "late", "");
	forge_grants(a.owner);
	restart();
	add_late_as(PORTAL_READ_ONLY);
	assert_int_equal(pf.leases.client[4]->n_extents, 0);
	assert_int_equal(pf.leases.extents.n_quarantined, PF_EXTENTS - 2);
	until_free(a.owner);
	assert_int_equal(free_extents(), PF_EXTENTS - 2);
}

/* What a client that went still has to give back is not taken from it because it comes again with less. */
static void test_orphans_of_a_client_that_comes_again(void **state)
{
	uint32_t first = 0, n = free_extents();

	use_keeper(0);
	add_late();
	pf_hello(&pf, &a, "late", "");
	assert_int_equal(pf_get(&a, 4, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(leases_remove_client(&pf.leases, "late"), 0);
	add_late_as(PORTAL_READ_ONLY);
	until_free(a.owner);
	assert_int_equal(pf.leases.client[4]->n_extents, 4);
	assert_int_equal(pf.leases.extents.n_quarantined, 0);
	let_go();
	assert_int_equal(pf.leases.client[4]->n_extents, 0);
	assert_int_equal(free_extents(), n);
}

/* The end of the last lease was cut off within a run of extents: nobody is left whose they could be. */
static void test_restart_over_half_a_grant(void **state)
{
	struct portal_extent *e;

	pf_hello(&pf, &a, "a", "");
	pf_hang_up(&a);
	until_free(a.owner);
	e = &arena_extents(&pf.arena)[5];
	le64_store(&e->what, PORTAL_WHAT(PORTAL_EXTENT_HUGE, 1, 2, 1));
	le64_store(&e->owner, a.owner);
	restart();
	assert_int_equal(pf.leases.extents.n_quarantined, 0);
	assert_int_equal(free_extents(), PF_EXTENTS - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_restart, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_within_recovery, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_lies, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_of_an_added_client, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_quiesce_before_a_client_is_added, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_labels, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_leases, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_leases_of_nobody, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans_are_paid_for, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_ids_of_orphans_rest, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans_of_a_client_that_goes, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans_are_counted, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans_hold_up_nobody, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_grants, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_grants_of_a_lease_to_come,
						lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forgeries_of_an_added_client,
						lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_grants_of_an_added_reader,
						lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_orphans_of_a_client_that_comes_again, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_half_a_grant, lf_setup,
						lf_teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
