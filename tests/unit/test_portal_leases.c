/* SPDX-License-Identifier: MIT */
/* Leases, over real connections: what clients get, what they cannot take, and what their end gives back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "leases_impl.h"
#include "portal_fixture.h"

#define E ((uint64_t)PORTAL_EXTENT)

static struct pf pf;
static struct pf_client a, b, c;

static int setup(void **state)
{
	a.fd = b.fd = c.fd = a.arena_fd = b.arena_fd = c.arena_fd = -1;
	pf_init(&pf);
	pf_start(&pf);
	return 0;
}

static int teardown(void **state)
{
	pf_hang_up(&a);
	pf_hang_up(&b);
	pf_hang_up(&c);
	pf_done(&pf);
	return 0;
}

static uint64_t word(uint32_t id)
{
	return le64_load(&arena_leases(&pf.arena)[id].word);
}

static uint32_t free_extents(void)
{
	return le32_load(&arena_live(&pf.arena)->extents_free);
}

static bool is_free(struct pf *p, void *arg)
{
	const uint32_t *id = arg;

	return PORTAL_LEASE_STATE(word(*id)) == PORTAL_LEASE_FREE;
}

/* Until a lease has been recovered. */
static void until_free(uint64_t owner)
{
	uint32_t id = portal_owner_id(owner);

	assert_true(pf_run(&pf, is_free, &id, PF_PATIENCE_MS));
}

/* ---- coming ---- */

static void test_hello(void **state)
{
	const struct portal_lease *m;
	const uint8_t *map;

	pf_hello(&pf, &a, "a", "first");
	assert_int_equal(a.owner, portal_owner(0, 1));
	assert_int_equal(word(0), PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_LIVE));
	m = &arena_leases(&pf.arena)[0];
	assert_string_equal(m->client, "a");
	assert_string_equal(m->name, "first");
	assert_int_equal(le32_load(&m->quota), 8);
	assert_int_equal(le64_load(&arena_page(&pf.arena, 0)->owner), a.owner);
	assert_int_equal(le32_load(&arena_live(&pf.arena)->leases_live), 1);
	assert_true(a.arena_fd >= 0);
	map = mmap(NULL, PF_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, a.arena_fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_memory_equal(map + PORTAL_LABEL_SIZE, PORTAL_MAGIC, 8);
	munmap((void *)(uintptr_t)map, PF_FILE_SIZE);

	pf_hello(&pf, &b, "r", "reader");
	assert_int_equal(portal_owner_id(b.owner), 1);
	assert_ptr_equal(mmap(NULL, PF_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b.arena_fd,
			      0),
			 MAP_FAILED);
}

static int hello(struct pf_client *client, const char *door, uint64_t version, uint64_t owner,
		 uint64_t flags, struct portal_frame *ret)
{
	*ret = (struct portal_frame){
		.type = le32_of(PORTAL_HELLO),
		.args = { le64_of(version), le64_of(1), le64_of(owner), le64_of(flags) },
	};
	if (client->fd < 0)
		pf_connect(&pf, client, door);
	return pf_ask(client, ret);
}

static void test_hello_refused(void **state)
{
	static const char *const no_labels[] = { "\xff", "gr\xc3\xbc\xc3\x9f", "\n", "\x7f" };
	struct portal_frame f;

	assert_int_equal(hello(&a, "a", 77, 0, 0, &f), -EPROTONOSUPPORT);
	assert_int_equal(pf_arg(&f, 0), PORTAL_WIRE_VERSION);
	assert_int_equal(hello(&a, "a", 1, 0, 2, &f), -EINVAL);
	assert_int_equal(hello(&a, "a", 1, portal_owner(0, 1), 0, &f), -ESTALE);
	assert_int_equal(hello(&a, "a", 1, UINT64_MAX, 0, &f), -ESTALE);
	f = (struct portal_frame){ .type = le32_of(PORTAL_HELLO), .args = { le64_of(1) } };
	memset(f.name, 'x', sizeof(f.name));
	assert_int_equal(pf_ask(&a, &f), -EINVAL);
	for (unsigned i = 0; i < array_size(no_labels); i++) {
		f = (struct portal_frame){ .type = le32_of(PORTAL_HELLO), .args = { le64_of(1) } };
		(void)snprintf(f.name, sizeof(f.name), "%s", no_labels[i]);
		assert_int_equal(pf_ask(&a, &f), -EINVAL);
	}
	assert_int_equal(hello(&a, "a", 1, 0, 0, &f), 0); /* the connection is as good as before */
	assert_int_equal(a.arena_fd, -1);                 /* which was not asked for */
	assert_int_equal(le32_load(&arena_live(&pf.arena)->leases_live), 1);
}

/* What is no lease protocol ends the connection, and nothing else. */
static void test_faults(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &a, "a", "");
	assert_int_equal(hello(&a, "a", 1, 0, 0, &f), -ECONNRESET); /* twice */
	until_free(portal_owner(0, 1));
	pf_connect(&pf, &b, "b");
	assert_int_equal(pf_simple(&b, PORTAL_STAT, 0, 0), -ECONNRESET); /* not first */
	assert_int_equal(pf.leases.stats.faults, 2);
	pf_hello(&pf, &c, "b", "");
	assert_int_equal(pf_simple(&c, 999, 0, 0), -EINVAL); /* no request, but a frame */
	assert_int_equal(pf_simple(&c, PORTAL_RANG, 0, 0), -EINVAL);
	f = (struct portal_frame){ .type = le32_of(PORTAL_STAT), .flags = le32_of(1) };
	assert_int_equal(pf_ask(&c, &f), -EINVAL);
	assert_int_equal(pf_simple(&c, PORTAL_STAT, 0, 0), 0);
}

static void test_half_open_are_bounded(void **state)
{
	struct pf_client many[LEASES_HALF_OPEN], more;
	struct portal_frame f;

	for (unsigned i = 0; i < LEASES_HALF_OPEN; i++)
		pf_connect(&pf, &many[i], "a");
	pf_run_for(&pf, 20);
	pf_connect(&pf, &more, "a");
	assert_false(pf_next(&more, &f));
	pf_hello(&pf, &b, "b", ""); /* another door is open */
	pf_hang_up(&many[0]);
	pf_run_for(&pf, 20);
	pf_hello(&pf, &a, "a", "");
	for (unsigned i = 1; i < LEASES_HALF_OPEN; i++)
		pf_hang_up(&many[i]);
	pf_hang_up(&more);
}

/* Who says nothing in time is closed, and counts no more; who has said HELLO is not. */
static void test_silent(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &b, "a", "");
	for (unsigned i = 0; i < 2 * LEASES_HALF_OPEN; i++) {
		pf_connect(&pf, &a, "a");
		pf_run_for(&pf, 5);
		assert_int_equal(pf.leases.client[0]->n_half_open, 1);
		loop_timer_set(pf.loop, &pf.leases.conns->hello, 0);
		assert_false(pf_next(&a, &f));
		assert_int_equal(pf.leases.client[0]->n_half_open, 0);
		pf_hang_up(&a);
	}
	assert_int_equal(pf.leases.stats.silent, 2 * LEASES_HALF_OPEN);
	assert_false(pf.leases.conns->hello.set);
	assert_int_equal(pf_simple(&b, PORTAL_STAT, 0, 0), 0);
}

static void test_lease_limit(void **state)
{
	struct pf_client many[LEASES_EACH];
	struct portal_frame f;

	for (unsigned i = 0; i < LEASES_EACH; i++)
		pf_hello(&pf, &many[i], "a", "");
	assert_int_equal(hello(&c, "a", 1, 0, 0, &f), -EUSERS);
	pf_hello(&pf, &b, "b", "");
	pf_hang_up(&many[7]);
	until_free(many[7].owner);
	assert_int_equal(hello(&c, "a", 1, 0, 0, &f), 0);
	for (unsigned i = 0; i < LEASES_EACH; i++)
		pf_hang_up(&many[i]);
}

/* An id that is given again has another generation, and rests as long as it can. */
static void test_generations(void **state)
{
	uint64_t first;

	pf_hello(&pf, &a, "a", "");
	first = a.owner;
	for (unsigned i = 1; i <= PORTAL_LEASES; i++) {
		pf_hang_up(&a);
		until_free(a.owner);
		pf_hello(&pf, &a, "a", "");
		assert_int_equal(portal_owner_id(a.owner), i % PORTAL_LEASES);
	}
	assert_int_equal(a.owner,
			 portal_owner(portal_owner_id(first), portal_owner_generation(first) + 1));
}

/* ---- extents ---- */

static void test_extents(void **state)
{
	uint32_t s = 0, h = 0, n = free_extents();

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_get(&a, 3, PORTAL_EXTENT_HUGE, &h), 0);
	assert_int_equal(free_extents(), n - 4);
	assert_int_equal(le32_load(&arena_leases(&pf.arena)[0].extents), 4);
	assert_int_equal(le64_load(&arena_extents(&pf.arena)[h + 2].owner), a.owner);
	assert_int_equal(pf_get(&a, 5, PORTAL_EXTENT_HUGE, &h), -EDQUOT);
	assert_int_equal(pf_get(&a, 0, PORTAL_EXTENT_HUGE, &h), -EINVAL);
	assert_int_equal(pf_get(&a, UINT64_MAX, PORTAL_EXTENT_HUGE, &h), -EINVAL);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SYSTEM, &h), -EINVAL);
	assert_int_equal(pf_get(&a, 1, (1ull << 32) | PORTAL_EXTENT_HUGE, &h), -EINVAL);
	assert_int_equal(pf_get(&b, 8, PORTAL_EXTENT_HUGE, &h), 0); /* of another's quota */
	assert_int_equal(pf_put(&b, s, 1), -EPERM);
	assert_int_equal(pf_put(&a, 0, 1), -EPERM);
	assert_int_equal(pf_put(&a, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(pf_put(&a, s, (1ull << 32) + 1), -EINVAL);
	assert_int_equal(pf_put(&a, s, 1), 0);
	assert_int_equal(pf_put(&a, s, 1), -EPERM);
	assert_int_equal(le32_load(&arena_leases(&pf.arena)[0].extents), 3);
}

/* The quota is the client's, however many leases he takes. */
static void test_quota_is_shared(void **state)
{
	uint32_t first = 0;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "a", "");
	assert_int_equal(pf_get(&a, 7, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(pf_get(&b, 2, PORTAL_EXTENT_HUGE, &first), -EDQUOT);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_HUGE, &first), 0);
	pf_hang_up(&a);
	until_free(a.owner);
	assert_int_equal(pf_get(&b, 7, PORTAL_EXTENT_HUGE, &first), 0);
}

static void test_read_only_clients(void **state)
{
	uint32_t first = 0;

	pf_hello(&pf, &a, "r", "");
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_HUGE, &first), -EACCES);
	assert_int_equal(pf_put(&a, 2, 1), -EACCES);
	assert_int_equal(pf_publish(&a, "x", 1, 0, 1), -EACCES);
	assert_int_equal(pf_unpublish(&a, "x"), -EACCES);
	assert_int_equal(pf_simple(&a, PORTAL_QUIESCE, 10, 10), -EACCES);
	assert_int_equal(pf_simple(&a, PORTAL_STAT, 0, 0), 0);
}

/* ---- names ---- */

static void test_names(void **state)
{
	struct portal_frame f;
	uint32_t s = 0, t = 0;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_simple(&b, PORTAL_NOTIFY, PORTAL_NOTIFY_NAMES, 0), 0);
	assert_int_equal(pf_simple(&b, PORTAL_NOTIFY, 4, 0), -EINVAL);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &t), 0);
	assert_int_equal(pf_publish(&a, "box", 7, s * E + 100, 50), 0);
	pf_notice(&b, PORTAL_NAMED, &f);
	assert_string_equal(f.name, "box");
	assert_int_equal(pf_arg(&f, 1), 1);

	assert_int_equal(pf_publish(&b, "box", 7, t * E, 50), -EEXIST);
	assert_int_equal(pf_publish(&b, "theft", 7, s * E, 50), -EPERM);
	assert_int_equal(pf_publish(&b, "long", 7, t * E, E + 1), -EPERM);
	assert_int_equal(pf_publish(&b, "far", 7, UINT64_MAX, 2), -EPERM);
	assert_int_equal(pf_publish(&b, "typeless", 0, t * E, 50), -EINVAL);
	assert_int_equal(pf_publish(&b, "big-type", 1ull << 32, t * E, 50), -EINVAL);
	assert_int_equal(pf_publish(&b, "", 7, t * E, 50), -EINVAL);
	assert_int_equal(pf_publish(&b, "with space", 7, t * E, 50), -EINVAL);
	assert_int_equal(pf_unpublish(&b, "box"), -EPERM);
	assert_int_equal(pf_unpublish(&a, "no-such"), -ENOENT);
	assert_int_equal(pf_put(&a, s, 1), -EBUSY); /* a name lies in it */
	assert_int_equal(pf_unpublish(&a, "box"), 0);
	pf_notice(&b, PORTAL_NAMED, &f);
	assert_int_equal(pf_arg(&f, 1), 0);
	assert_int_equal(pf_put(&a, s, 1), 0);
}

/* ---- the end ---- */

static void test_death(void **state)
{
	struct portal_frame f;
	uint32_t s = 0, n = free_extents();

	pf_hello(&pf, &a, "a", "mortal");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(
		pf_simple(&b, PORTAL_NOTIFY, PORTAL_NOTIFY_DEATHS | PORTAL_NOTIFY_NAMES, 0), 0);
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_publish(&a, "will", 1, s * E, 1), 0);
	assert_int_equal(pf_get(&a, 4, PORTAL_EXTENT_HUGE, &s), 0);
	pf_hang_up(&a);
	pf_notice(&b, PORTAL_DIED, &f);
	assert_int_equal(pf_arg(&f, 0), a.owner);
	pf_notice(&b, PORTAL_NAMED, &f);
	pf_notice(&b, PORTAL_NAMED, &f);
	assert_string_equal(f.name, "will");
	assert_int_equal(pf_arg(&f, 1), 0);
	assert_int_equal(free_extents(), n);
	assert_int_equal(le32_load(&arena_live(&pf.arena)->names_used), 0);
	assert_int_equal(le64_load(&arena_live(&pf.arena)->leases_recovered), 1);
	assert_int_equal(le64_load(&arena_live(&pf.arena)->extents_recovered), 5);
	assert_int_equal(word(0), PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_FREE));
}

static void test_revoked(void **state)
{
	struct portal_frame f;
	uint32_t s = 0, n = free_extents();

	pf_hello(&pf, &a, "l", ""); /* lingering does not help it */
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &s), 0);
	assert_int_equal(leases_revoke(&pf.leases, PORTAL_LEASES), -ENOENT);
	assert_int_equal(leases_revoke(&pf.leases, 1), -ENOENT);
	assert_int_equal(leases_revoke(&pf.leases, 0), 0);
	pf_notice(&a, PORTAL_REVOKED, &f);
	assert_int_equal(pf_arg(&f, 0), EPERM);
	assert_false(pf_next(&a, &f));
	until_free(a.owner);
	assert_int_equal(free_extents(), n);
	pf_hang_up(&a);
	assert_int_equal(hello(&a, "l", 1, portal_owner(0, 1), 0, &f), -ESTALE);
}

static void test_lingers(void **state)
{
	struct portal_frame f;
	uint32_t s = 0;
	uint64_t owner;

	pf_hello(&pf, &a, "l", "");
	owner = a.owner;
	assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(hello(&b, "l", 1, owner, 0, &f), -EBUSY); /* it stands */
	pf_hang_up(&a);
	pf_run_for(&pf, 20);
	assert_int_equal(word(0), PORTAL_LEASE_WORD(owner, PORTAL_LEASE_LOST));
	pf_hello(&pf, &c, "a", "");
	assert_int_equal(pf_simple(&c, PORTAL_BELL, owner, 1), -ESRCH);
	assert_int_equal(hello(&b, "l", 1, owner, 0, &f), 0);
	assert_int_equal(pf_arg(&f, 0), owner);
	pf_notice(&b, PORTAL_RANG, &f); /* whoever rang meanwhile */
	assert_int_equal(pf_arg(&f, 1), PORTAL_BELL_ALL);
	pf_run_for(&pf, PF_LINGER_MS + 100);
	assert_int_equal(word(0), PORTAL_LEASE_WORD(owner, PORTAL_LEASE_LIVE));
	assert_int_equal(pf_put(&b, s, 1), 0); /* it is still its own */
	pf_hang_up(&b);
	until_free(owner); /* and this time nobody comes */
}

/* Who takes leave is not waited for. */
static void test_bye(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_BYE) };
	uint32_t s = 0, n = free_extents();

	pf_hello(&pf, &a, "l", "");
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &s), 0);
	pf_send(&a, &f);
	assert_false(pf_next(&a, &f));
	assert_int_not_equal(word(0), PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_LOST));
	until_free(a.owner);
	assert_int_equal(free_extents(), n);
	assert_int_equal(pf.leases.stats.faults, 0);
	pf_hang_up(&a);
	assert_int_equal(hello(&a, "l", 1, portal_owner(0, 1), 0, &f), -ESTALE);
}

static bool is_not_live(struct pf *p, void *arg)
{
	return PORTAL_LEASE_STATE(word(0)) != PORTAL_LEASE_LIVE;
}

/* It says `n` requests that it will not hear the answers of, takes leave and is gone: that it took leave is not lost. */
static void leave_behind(unsigned n)
{
	struct portal_frame f = { .type = le32_of(PORTAL_STAT) };

	for (unsigned i = 0; i < n; i++) {
		f.seq = le32_of(100 + i);
		pf_send(&a, &f);
	}
	f = (struct portal_frame){ .type = le32_of(PORTAL_BYE) };
	pf_send(&a, &f);
	pf_hang_up(&a);
	assert_true(pf_run(&pf, is_not_live, NULL, PF_PATIENCE_MS));
	assert_int_not_equal(word(0), PORTAL_LEASE_WORD(a.owner, PORTAL_LEASE_LOST));
}

/* The kernel tells of an error when a peer goes that has not read everything. */
static void test_bye_with_answers_not_read(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_STAT), .seq = le32_of(7) };

	pf_hello(&pf, &a, "l", "");
	pf_send(&a, &f);
	pf_run_for(&pf, 20);
	leave_behind(0);
}

/* More than is read in one turn: the answers of the first are sent to nobody before the last has been read. */
static void test_bye_behind_many(void **state)
{
	pf_hello(&pf, &a, "l", "");
	leave_behind(100);
}

/* Nothing was being read any more, because so many answers wait. */
static void test_bye_behind_answers_that_wait(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_STAT), .seq = le32_of(7) };

	pf_hello(&pf, &a, "l", "");
	for (unsigned i = 0; pf.leases.conns->n_out < PORTAL_UNREAD_MAX; i++) {
		assert_true(i < 100000);
		pf_send(&a, &f);
		assert_int_equal(loop_once(pf.loop, 0), 0);
	}
	leave_behind(0);
}

/* By another door nobody comes back to a lease, even if it is the right one's word. */
static void test_another_door(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &a, "l", "");
	pf_hang_up(&a);
	pf_run_for(&pf, 20);
	assert_int_equal(hello(&b, "b", 1, a.owner, 0, &f), -ESTALE);
}

/* ---- bells ---- */

static void test_bells(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_simple(&a, PORTAL_BELL, b.owner, 5), 0);
	pf_notice(&b, PORTAL_RANG, &f);
	assert_int_equal(pf_arg(&f, 0), a.owner);
	assert_int_equal(pf_arg(&f, 1), 5);
	assert_int_equal(pf_simple(&a, PORTAL_BELL, b.owner + (1 << 16), 5), -ESRCH);
	assert_int_equal(pf_simple(&a, PORTAL_BELL, UINT64_MAX, 5), -ESRCH);
	assert_int_equal(pf_simple(&a, PORTAL_BELL, 0, 5), -ESRCH);
}

static unsigned count_rang(const struct pf_client *client, bool *ret_all)
{
	unsigned n = 0;

	for (unsigned i = 0; i < client->n_notices; i++) {
		n += le32_get(client->notice[i].type) == PORTAL_RANG;
		*ret_all |= pf_arg(&client->notice[i], 1) == PORTAL_BELL_ALL;
	}
	return n;
}

/* A client that does not read is waited for by nobody; when it reads again it knows that it was rung. */
static void test_bells_of_a_sleeper(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_BELL) };
	bool all = false;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	f.args[0] = le64_of(b.owner);
	for (uint32_t i = 0; i < 20000; i++) {
		f.args[1] = le64_of(i);
		pf_send(&a, &f); /* seq 0: no answer */
	}
	assert_int_equal(pf_simple(&a, PORTAL_STAT, 0, 0), 0); /* they have all been taken */
	assert_int_equal(pf.leases.stats.requests, 20003);
	c = b;
	for (uint32_t i = 0; !all; i++) {
		assert_true(i < 20000);
		assert_true(pf_next(&c, &f));
		assert_int_equal(le32_get(f.type), PORTAL_RANG);
		all = pf_arg(&f, 1) == PORTAL_BELL_ALL;
	}
	c.fd = c.arena_fd = -1;
	assert_int_equal(pf_simple(&b, PORTAL_STAT, 0, 0), 0);
	assert_in_range(count_rang(&b, &all), 0, PORTAL_UNREAD_MAX);
}

/* Replies that are not read: the client is not read from either, holds up nobody, and loses nothing. */
static void test_requests_without_reading(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_STAT) };
	unsigned sent = 0;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	fcntl(a.fd, F_SETFL, O_NONBLOCK);
	for (int idle = 0; idle < 20;) {
		f.seq = le32_of(sent + 2);
		if (send(a.fd, &f, sizeof(f), MSG_NOSIGNAL) == sizeof(f)) {
			sent++;
			idle = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			pf_run_for(&pf, 1);
			idle++;
		}
		assert_true(sent < 1000000);
	}
	assert_int_equal(pf_simple(&b, PORTAL_STAT, 0, 0), 0);
	for (unsigned i = 0; i < sent; i++) {
		assert_true(pf_next(&a, &f));
		assert_int_equal(le32_get(f.seq), i + 2);
	}
	a.seq = sent + 2;
	assert_int_equal(pf_simple(&a, PORTAL_STAT, 0, 0), 0);
}

/* Frames that come byte by byte, and many at once. */
static void test_pieces(void **state)
{
	struct portal_frame f[40];

	pf_hello(&pf, &a, "a", "");
	memset(f, 0, sizeof(f));
	for (unsigned i = 0; i < 40; i++) {
		f[i].type = le32_of(PORTAL_STAT);
		f[i].seq = le32_of(100 + i);
	}
	for (unsigned i = 0; i < sizeof(f[0]); i++) {
		assert_int_equal(send(a.fd, (uint8_t *)f + i, 1, 0), 1);
		pf_run_for(&pf, 1);
	}
	assert_int_equal(send(a.fd, f + 1, sizeof(f) - sizeof(f[0]), 0), sizeof(f) - sizeof(f[0]));
	for (unsigned i = 0; i < 40; i++) {
		struct portal_frame reply;

		assert_true(pf_next(&a, &reply));
		assert_int_equal(le32_get(reply.seq), 100 + i);
	}
}

/* ---- quiescence ---- */

static void ask_quiesce(struct pf_client *client, uint64_t deadline, uint64_t hold)
{
	struct portal_frame f = {
		.type = le32_of(PORTAL_QUIESCE),
		.seq = le32_of(++client->seq),
		.args = { le64_of(deadline), le64_of(hold) },
	};

	pf_send(client, &f);
}

static void expect_state(struct pf_client *client, enum portal_quiesce_state state)
{
	struct portal_frame f;

	pf_notice(client, PORTAL_QUIESCED, &f);
	assert_int_equal(pf_arg(&f, 1), state);
}

static void expect_frozen_reply(struct pf_client *client, uint64_t laggards)
{
	struct portal_frame f;

	do
		assert_true(pf_next(client, &f));
	while (le32_get(f.seq) == 0);
	assert_int_equal(le32_get(f.status), 0);
	assert_int_equal(pf_arg(&f, 0), 1);
	assert_int_equal(pf_arg(&f, 1), laggards);
}

static void test_quiesce(void **state)
{
	struct portal_frame f;
	uint32_t s = 0, t = 0;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &t), 0);
	assert_int_equal(pf_simple(&b, PORTAL_QUIESCE, 10, 10), -EACCES);
	ask_quiesce(&a, 5000, 0);
	expect_state(&b, PORTAL_DRAINING);
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &t), -EAGAIN);
	assert_int_equal(pf_publish(&b, "x", 1, s * E, 1), -EAGAIN);
	assert_int_equal(pf_put(&b, t, 1), 0); /* finishing is allowed */
	assert_int_equal(pf_simple(&b, PORTAL_ACK, 7, 0), -ESTALE);
	assert_int_equal(pf_simple(&b, PORTAL_ACK, 1, 0), 0);
	expect_frozen_reply(&a, 0);
	expect_state(&b, PORTAL_FROZEN);
	assert_int_equal(pf_put(&b, s, 1), -EAGAIN);
	assert_int_equal(hello(&c, "b", 1, 0, 0, &f), -EAGAIN);
	assert_int_equal(pf_simple(&b, PORTAL_THAW, 0, 0), -EINVAL);
	assert_int_equal(pf_simple(&a, PORTAL_THAW, 0, 0), 0);
	expect_state(&b, PORTAL_RUNNING);
	assert_int_equal(pf_put(&b, s, 1), 0);
	assert_int_equal(hello(&c, "b", 1, 0, 0, &f), 0);
}

static void test_laggard(void **state)
{
	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	ask_quiesce(&a, 20, 0);
	expect_frozen_reply(&a, 1);
	pf_hang_up(&a); /* who froze it has died */
	expect_state(&b, PORTAL_DRAINING);
	expect_state(&b, PORTAL_FROZEN);
	expect_state(&b, PORTAL_RUNNING);
}

/* A client whose connection does not take its word writes it into its page. */
static void test_ack_in_page(void **state)
{
	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	pf_hello(&pf, &c, "b", "");
	ask_quiesce(&a, 50, 0);
	expect_state(&b, PORTAL_DRAINING);
	le64_store(&arena_page(&pf.arena, portal_owner_id(b.owner))->ack_epoch, 1);
	le64_store(&arena_page(&pf.arena, portal_owner_id(c.owner))->ack_epoch, 2);
	expect_frozen_reply(&a, 1); /* c's is for another epoch */
}

/* While somebody copies the arena a death changes nothing in it; afterwards it does. */
static void test_death_in_a_freeze(void **state)
{
	static uint8_t before[PORTAL_NAMES_OFFSET + PORTAL_NAMES * sizeof(struct portal_name)];
	uint32_t s = 0, n = free_extents();

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	assert_int_equal(pf_get(&b, 1, PORTAL_EXTENT_SEGMENT, &s), 0);
	assert_int_equal(pf_publish(&b, "x", 1, s * E, 1), 0);
	ask_quiesce(&a, 0, 0);
	expect_frozen_reply(&a, 1);
	memcpy(before, pf.arena.base, sizeof(before));
	pf_hang_up(&b);
	pf_run_for(&pf, 50);
	assert_int_equal(free_extents(), n - 1);
	assert_memory_equal(before + PORTAL_EXTENTS_OFFSET, pf.arena.base + PORTAL_EXTENTS_OFFSET,
			    sizeof(before) - PORTAL_EXTENTS_OFFSET);
	assert_int_equal(pf_simple(&a, PORTAL_THAW, 0, 0), 0);
	until_free(b.owner);
	assert_int_equal(free_extents(), n);
}

static void test_thawed_before_frozen(void **state)
{
	struct portal_frame f;

	pf_hello(&pf, &a, "a", "");
	pf_hello(&pf, &b, "b", "");
	ask_quiesce(&a, 5000, 0);
	expect_state(&b, PORTAL_DRAINING);
	assert_int_equal(quiesce_thaw(&pf.leases.quiesce), 0); /* by the control socket */
	do
		assert_true(pf_next(&a, &f));
	while (le32_get(f.seq) == 0);
	assert_int_equal((int)le32_get(f.status), -ECANCELED);
}

/* ---- flush ---- */

static void test_flush(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_FLUSH) };

	pf_hello(&pf, &a, "a", "");
	assert_int_equal(pf_ask(&a, &f), 0);
	assert_int_equal(pf_arg(&f, 0), pf.arena.durable);
	for (unsigned i = 0; i < 20; i++) {
		f = (struct portal_frame){ .type = le32_of(PORTAL_FLUSH), .seq = le32_of(50 + i) };
		pf_send(&a, &f);
	}
	for (unsigned i = 0; i < 20; i++) {
		assert_true(pf_next(&a, &f));
		if ((int)le32_get(f.status) != 0)
			assert_int_equal((int)le32_get(f.status), -EBUSY);
	}
	for (unsigned i = 0; i < 5; i++) { /* and one that dies with flushes under way */
		f = (struct portal_frame){ .type = le32_of(PORTAL_FLUSH), .seq = le32_of(80 + i) };
		pf_send(&a, &f);
	}
	pf_run_for(&pf, 1);
	pf_hang_up(&a);
	until_free(a.owner);
}

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
		cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hello_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_open_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lease_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_generations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quota_is_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_death, setup, teardown),
		cmocka_unit_test_setup_teardown(test_revoked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lingers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bye, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bye_with_answers_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bye_behind_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bye_behind_answers_that_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_door, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bells, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bells_of_a_sleeper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_without_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_laggard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ack_in_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_death_in_a_freeze, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thawed_before_frozen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_within_recovery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_of_an_added_client, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce_before_a_client_is_added, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_labels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_leases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_leases_of_nobody, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_orphans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphans_are_paid_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_of_orphans_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphans_of_a_client_that_goes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_orphans_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphans_hold_up_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_grants, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_grants_of_a_lease_to_come, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forgeries_of_an_added_client,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_forged_grants_of_an_added_reader,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphans_of_a_client_that_comes_again, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_restart_over_half_a_grant, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
