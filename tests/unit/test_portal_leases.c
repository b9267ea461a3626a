/* SPDX-License-Identifier: MIT */
/* Leases, over real connections: what clients get, what they cannot take, and what their end gives back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "leases_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hello, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_hello_refused, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_faults, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_half_open_are_bounded, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_silent, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_lease_limit, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_generations, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_extents, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_quota_is_shared, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_read_only_clients, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_names, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_death, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_revoked, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_lingers, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_bye, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_bye_with_answers_not_read, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_bye_behind_many, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_bye_behind_answers_that_wait, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_another_door, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_bells, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_bells_of_a_sleeper, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_requests_without_reading, lf_setup,
						lf_teardown),
		cmocka_unit_test_setup_teardown(test_pieces, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_laggard, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_ack_in_page, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_death_in_a_freeze, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_thawed_before_frozen, lf_setup, lf_teardown),
		cmocka_unit_test_setup_teardown(test_flush, lf_setup, lf_teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
