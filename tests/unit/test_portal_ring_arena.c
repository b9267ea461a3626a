/* SPDX-License-Identifier: MIT */
/* Rings of an arena, against the daemon's own code: pauses, leases that end, daemons that are away, memory that is somebody
 * else's by now. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "heap_impl.h"
#include "impl.h"
#include "portal_server.h"
#include "ring.h"

static struct portal_server server;
static bool stop; /* atomic: threads are to end */

static int set_up(void **state)
{
	portal_server_init(&server);
	stop = false;
	return 0;
}

static int tear_down(void **state)
{
	portal_server_done(&server);
	return 0;
}

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static struct portal *attach_for(const char *client, uint32_t timeout_ms)
{
	struct portal_options options = { .timeout_ms = timeout_ms };
	struct portal *p = NULL;

	assert_int_equal(portal_attach(portal_server_where(&server, client), &options, &p), 0);
	return p;
}

static struct portal *attach(const char *client)
{
	return attach_for(client, 3000);
}

static struct portal_ring *create(struct portal *p, const char *name, enum portal_ring_kind kind,
				  enum portal_role role)
{
	struct portal_ring_options options = { .kind = kind, .role = role, .size = 4096 };
	struct portal_ring *ring = NULL;

	assert_int_equal(portal_ring_create(p, name, &options, &ring), 0);
	return ring;
}

static struct portal_ring *open_ring(struct portal *p, const char *name, enum portal_role role)
{
	struct portal_ring *ring = NULL;

	assert_int_equal(portal_ring_open(p, name, role, &ring), 0);
	return ring;
}

static uint64_t in_ms(unsigned ms)
{
	return clock_ns() + ms * NS_PER_MS;
}

static void sleep_ms(unsigned ms)
{
	struct timespec moment = timespec_of_ns(ms * NS_PER_MS);

	nanosleep(&moment, NULL);
}

static void run(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

/* ---- pauses ----------------------------------------------------------------------- */

/* Threads do not assert with cmocka: what they see is counted. */
static void *send_all_the_time(void *arg)
{
	struct portal_ring *ring = arg;
	uint8_t bytes[700];
	void *at;

	for (uint32_t i = 0; !stopped(); i++) {
		uint32_t len = i * 7919 % sizeof(bytes);
		int r;

		memset(bytes, (int)i, len);
		if (i % 3 == 0)
			r = portal_send(ring, bytes, len, 0);
		else if (i % 3 == 1)
			r = portal_send_array(ring, bytes, len / 16, 16, 0);
		else if ((r = portal_reserve(ring, len, &at)) == 0) {
			memcpy(at, bytes, len);
			r = portal_commit(ring, len, 1);
		}
		if (r == -EAGAIN)
			(void)portal_wait(ring, in_ms(20));
	}
	return NULL;
}

static void *receive_all_the_time(void *arg)
{
	struct portal_ring *ring = arg;
	struct portal_record records[4];
	uint8_t bytes[4096];
	uintptr_t n = 0;

	for (uint32_t i = 0; !stopped(); i++) {
		int64_t r = i % 2 ? portal_recv(ring, bytes, sizeof(bytes), NULL) :
				    portal_peek_batch(ring, records, 4);

		if (r >= 0 && i % 2 == 0)
			(void)portal_release(ring);
		if (r > 0)
			n++;
		else if (r == -EAGAIN)
			(void)portal_wait(ring, in_ms(20));
	}
	return (void *)n;
}

static void *allocate_all_the_time(void *arg)
{
	struct portal_ring_options options = { .size = 4096 };
	struct portal *p = arg;
	void *blocks[16] = { NULL };

	for (uint32_t i = 0; !stopped(); i++) {
		void **block = &blocks[i % 16];
		struct portal_ring *ring;

		if (portal_free(p, *block) == 0)
			*block = portal_alloc(p, i * 7919 % 3000 + 1);
		if (i % 64 == 0 && portal_ring_create(p, "another", &options, &ring) == 0)
			portal_ring_close(ring);
		if (i % 64 == 1)
			(void)portal_quiesce_wait(p, in_ms(20));
	}
	return NULL;
}

/* All but the daemon's own page. */
static uint64_t digest(const struct portal *p)
{
	const uint64_t *words = (const uint64_t *)(const void *)(p->map.base + PORTAL_EXTENT);
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < (p->geo.arena_size - PORTAL_EXTENT) / 8; i++)
		sum = (sum ^ __atomic_load_n(&words[i], __ATOMIC_RELAXED)) * 0x100000001b3;
	return sum;
}

/* Whatever threads of a client do: from the freeze to the thaw no byte changes, also when somebody leaves. */
static void a_frozen_arena_is_still(void **state)
{
	static const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_MPSC, PORTAL_BROADCAST };
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_ring *producers[3], *consumers[3];
	pthread_t threads[7];
	uintptr_t received;

	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "ring%u", i);
		producers[i] = create(b, name, kinds[i], PORTAL_PRODUCER);
		consumers[i] = open_ring(b, name, PORTAL_CONSUMER);
		run(&threads[i], send_all_the_time, producers[i]);
		run(&threads[3 + i], receive_all_the_time, consumers[i]);
	}
	run(&threads[6], allocate_all_the_time, b);
	for (unsigned round = 0; round < 6; round++) {
		struct portal *leaver = attach("b");
		struct portal_ring *left = create(leaver, "left", PORTAL_SPSC, PORTAL_PRODUCER);
		uint64_t sum;

		assert_non_null(portal_alloc(leaver, 100));
		sleep_ms(10);
		/* The leaver did not answer. */
		assert_int_equal(portal_quiesce(a, in_ms(1500)), 1);
		sum = digest(a);
		portal_ring_close(left);
		portal_detach(leaver);
		sleep_ms(60);
		assert_true(digest(a) == sum);
		assert_int_equal(portal_thaw(a), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 7; i++) {
		pthread_join(threads[i], (void **)&received);
		if (i >= 3 && i < 6)
			assert_true(received > 10);
	}
	for (unsigned i = 0; i < 3; i++) {
		portal_ring_close(producers[i]);
		portal_ring_close(consumers[i]);
	}
	portal_detach(b);
	portal_detach(a);
}

struct pause {
	struct portal *p;
	int laggards;
};

static void *pause_now(void *arg)
{
	struct pause *pause = arg;

	pause->laggards = portal_quiesce(pause->p, in_ms(300));
	return NULL;
}

/* A record that is being written is not rest, whoever asks. */
static void a_reservation_is_no_rest(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_ring *ring = create(b, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	struct pause pause = { .p = a };
	pthread_t thread;
	void *at;

	assert_int_equal(portal_reserve(ring, 100, &at), 0);
	run(&thread, pause_now, &pause);
	while (portal_quiesce_point(b) == 0)
		sleep_ms(1);
	assert_null(portal_alloc(b, 10));
	assert_int_equal(portal_wait(ring, 0), -ETIMEDOUT);
	assert_int_equal(portal_quiesce_wait(b, in_ms(20)), -ETIMEDOUT);
	pthread_join(thread, NULL);
	assert_int_equal(pause.laggards, 1);
	assert_int_equal(portal_thaw(a), 0);
	assert_int_equal(portal_quiesce_wait(b, in_ms(5000)), 0);

	/* Once it is committed, any of these is an answer. */
	run(&thread, pause_now, &pause);
	while (portal_quiesce_point(b) == 0)
		sleep_ms(1);
	assert_int_equal(portal_commit(ring, 100, 0), 0);
	assert_null(portal_alloc(b, 10));
	pthread_join(thread, NULL);
	assert_int_equal(pause.laggards, 0);
	assert_int_equal(portal_thaw(a), 0);

	/* Nor is one of whoever pauses the arena. */
	portal_ring_close(ring);
	ring = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	assert_int_equal(portal_reserve(ring, 100, &at), 0);
	assert_int_equal(portal_quiesce(a, in_ms(30)), 2);
	assert_int_equal(portal_thaw(a), 0);
	portal_detach(b);
	portal_detach(a);
}

/* An end that is closed meanwhile keeps nobody waiting: there is nobody to give its reservation up. */
static void a_closed_end_is_at_rest(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_ring *ring = create(b, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	struct pause pause = { .p = a };
	pthread_t thread;
	void *at;

	assert_int_equal(portal_reserve(ring, 100, &at), 0);
	run(&thread, pause_now, &pause);
	while (portal_quiesce_point(b) == 0)
		sleep_ms(1);
	portal_ring_close(ring);
	assert_int_equal(portal_quiesce_point(b), -EAGAIN);
	pthread_join(thread, NULL);
	assert_int_equal(pause.laggards, 0);
	assert_int_equal(portal_thaw(a), 0);
	portal_detach(b);
	portal_detach(a);
}

static void *look_at_rings(void *arg)
{
	while (!stopped())
		(void)ring_any_writing(arg);
	return NULL;
}

/* Threads of ends look at all of the portal's rings while it opens and closes some. */
static void rings_come_and_go(void **state)
{
	struct portal *a = attach("a");
	pthread_t thread;

	run(&thread, look_at_rings, a);
	for (unsigned i = 0; i < 200; i++)
		portal_ring_close(create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER));
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	portal_detach(a);
}

/* ---- memory ------------------------------------------------------------------------- */

/* A name must not lead to memory that is not a ring's any more. */
static void a_ring_closed_without_the_daemon_keeps_its_memory(void **state)
{
	struct portal *a = attach_for("a", 200), *b = attach("b");
	struct portal_ring *ring = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	const void *mem = ring->mem;
	struct portal_object object;

	portal_server_stop(&server);
	portal_ring_close(ring);
	assert_true(portal_usable(a, mem) > 0);
	portal_server_start(&server);
	assert_int_equal(portal_lookup(b, "ring", PORTAL_OBJECT_RING, &object), 0);
	for (int i = 0; i < 5000 && portal_dispatch(a) < 0; i++)
		sleep_ms(1);
	portal_ring_close(create(a, "another", PORTAL_SPSC, PORTAL_PRODUCER));
	assert_int_equal(portal_lookup(b, "ring", PORTAL_OBJECT_RING, &object), -ENOENT);
	assert_int_equal(portal_usable(a, mem), 0);
	assert_int_equal(*(const uint64_t *)mem, 0); /* no ring for anybody who came too late */
	/* The name is free for the next one. */
	ring = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	portal_detach(b);
	portal_detach(a);
}

/* A name that was withdrawn, and is another ring's by now, is not this one's to withdraw. */
static void a_ring_withdraws_its_own_name(void **state)
{
	struct portal *a = attach("a");
	struct portal_ring *first = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER), *second;
	const void *mem = first->mem;
	struct portal_object object;

	assert_int_equal(portal_unpublish(a, "ring"), 0);
	second = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	portal_ring_close(first);
	assert_int_equal(portal_usable(a, mem), 0);
	assert_int_equal(portal_lookup(a, "ring", PORTAL_OBJECT_RING, &object), 0);
	assert_ptr_equal(object.ptr, second->mem);
	portal_ring_close(second);
	assert_int_equal(portal_lookup(a, "ring", PORTAL_OBJECT_RING, &object), -ENOENT);
	portal_detach(a);
}

/* Both ends of a ring are its maker's: its memory is freed once. */
static void both_ends_free_the_memory_once(void **state)
{
	struct portal *a = attach("a");
	struct portal_ring *producer = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	struct portal_ring *consumer = open_ring(a, "ring", PORTAL_CONSUMER);
	void *mem = producer->mem, *next;
	struct portal_ring stale;

	portal_ring_close(producer);
	assert_true(portal_usable(a, mem) > 0);
	stale = *consumer;
	portal_ring_close(consumer);
	assert_int_equal(portal_usable(a, mem), 0);
	assert_null(a->rings);
	next = portal_alloc(a, ring_total(1, 4096));
	assert_ptr_equal(next, mem);
	/* An end that comes late finds something else there. */
	stale.next = NULL;
	consumer = malloc(sizeof(*consumer));
	*consumer = stale;
	consumer->closing = consumer->closed = true;
	a->rings = consumer;
	portal_ring_close(create(a, "another", PORTAL_SPSC, PORTAL_PRODUCER));
	assert_null(a->rings);
	assert_true(portal_usable(a, next) > 0);
	assert_false(heap_offered(a->heap, portal_offset(a, next)));
	portal_detach(a);
}

/* A reader looks whether the memory is still the ring's: what lies there now has not been offered to anybody by that. */
static void who_looks_offers_nothing(void **state)
{
	struct portal *a = attach("a");
	struct portal_ring *maker = create(a, "ring", PORTAL_BROADCAST, PORTAL_PRODUCER);
	struct portal_ring *reader = open_ring(a, "ring", PORTAL_CONSUMER);
	const void *mem = maker->mem;
	void *next;

	portal_ring_close(maker);
	next = portal_alloc(a, ring_total(1, 4096));
	assert_ptr_equal(next, mem);
	assert_int_equal(portal_wait(reader, 0), -EPIPE);
	assert_false(heap_offered(a->heap, portal_offset(a, next)));
	portal_detach(a);
}

/* Who has no lease, and sees the arena's file. */
static struct portal *observe(void)
{
	char where[sizeof(server.pf.path) + 8];
	struct portal *p = NULL;

	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	assert_int_equal(portal_attach(where, NULL, &p), 0);
	return p;
}

/* The maker of a broadcast goes, and a ring like it lies in its place: a reader of the old one reads no record of the new. */
static void reads_no_other_broadcast(struct portal *b)
{
	struct portal *a = attach("a");
	struct portal_ring *maker = create(a, "one", PORTAL_BROADCAST, PORTAL_PRODUCER), *reader;
	const void *mem = maker->mem;
	struct portal_record record;
	char bytes[16];

	reader = open_ring(b, "one", PORTAL_CONSUMER);
	assert_int_equal(portal_send(maker, "first", 6, 0), 0);
	assert_int_equal(portal_recv(reader, bytes, sizeof(bytes), NULL), 6);
	portal_ring_close(maker);
	maker = create(a, "two", PORTAL_BROADCAST, PORTAL_PRODUCER);
	assert_ptr_equal(maker->mem, mem);
	assert_int_equal(portal_send(maker, "other", 6, 0), 0);
	assert_int_equal(portal_send(maker, "other", 6, 0), 0);
	assert_int_equal(portal_recv(reader, bytes, sizeof(bytes), NULL), -EPIPE);
	assert_int_equal(portal_peek(reader, &record), -EPIPE);
	assert_int_equal(portal_wait(reader, in_ms(5000)), -EPIPE);
	portal_ring_close(reader);
	/* One in whose hand it was. */
	reader = open_ring(b, "two", PORTAL_CONSUMER);
	assert_int_equal(portal_send(maker, "third", 6, 0), 0);
	assert_int_equal(portal_peek(reader, &record), 0);
	portal_ring_close(maker);
	assert_int_equal(portal_release(reader), -EPIPE);
	portal_detach(b);
	portal_detach(a);
}

static void a_readers_broadcast_is_not_another_one(void **state)
{
	reads_no_other_broadcast(attach("b"));
	reads_no_other_broadcast(attach("r"));
	reads_no_other_broadcast(observe());
}

/* ---- leases --------------------------------------------------------------------------- */

struct wait {
	struct portal_ring *ring;
	int result;
	bool done; /* atomic */
};

static void *wait_for_ever(void *arg)
{
	struct wait *wait = arg;

	wait->result = portal_wait(wait->ring, PORTAL_FOREVER);
	__atomic_store_n(&wait->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void revoke(struct pf *pf, void *arg)
{
	assert_int_equal(leases_revoke(&pf->leases, *(uint32_t *)arg), 0);
}

static uint32_t id_of(struct portal *p)
{
	return portal_owner_id(portal_self(p));
}

/* Who sleeps on a futex, and hears nobody, learns that the lease is over. */
static void a_sleeper_learns_that_the_lease_is_over(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_ring *producer = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	struct wait wait = { .ring = open_ring(b, "ring", PORTAL_CONSUMER) };
	uint32_t id = id_of(b);
	pthread_t thread;

	run(&thread, wait_for_ever, &wait);
	while (!(le64_load(&producer->far->sleep) & RING_SLEEP_FUTEX))
		sleep_ms(1);
	portal_server_do(&server, revoke, &id);
	pthread_join(thread, NULL);
	assert_int_equal(wait.result, -ESTALE);
	assert_int_equal(portal_quiesce_point(b), -ESTALE);
	assert_int_equal(portal_wait(wait.ring, 0), -ESTALE);
	portal_detach(b);
	portal_detach(a);
}

static void nobody_asks_and_learns_it_too(void **state)
{
	struct portal *b = attach("b");
	uint32_t id = id_of(b);

	assert_int_equal(portal_quiesce_point(b), 0);
	portal_server_do(&server, revoke, &id);
	for (int i = 0; i < 5000 && portal_quiesce_point(b) == 0; i++)
		sleep_ms(1);
	assert_int_equal(portal_quiesce_point(b), -ESTALE);
	assert_int_equal(portal_quiesce_wait(b, PORTAL_FOREVER), -ESTALE);
	portal_detach(b);
}

/* Nor does a reader without a lease wait for a producer that died. */
static void an_observer_learns_of_a_death(void **state)
{
	struct portal *a = attach("a"), *o = observe();
	struct portal_ring *maker = create(a, "ring", PORTAL_BROADCAST, PORTAL_PRODUCER);
	struct portal_ring *reader = open_ring(o, "ring", PORTAL_CONSUMER);
	uint32_t id = id_of(a);
	char bytes[16];

	assert_int_equal(portal_send(maker, "last", 5, 0), 0);
	assert_int_equal(portal_wait(reader, in_ms(5000)), 0);
	assert_int_equal(portal_recv(reader, bytes, sizeof(bytes), NULL), 5);
	portal_server_do(&server, revoke, &id);
	assert_int_equal(portal_wait(reader, in_ms(5000)), -EPIPE);
	portal_detach(o);
	portal_detach(a);
}

/* Nobody loses his lease to a daemon that was started anew. */
static void a_sleeper_comes_back(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_ring *producer = create(a, "ring", PORTAL_SPSC, PORTAL_PRODUCER);
	struct wait wait = { .ring = open_ring(b, "ring", PORTAL_CONSUMER) };
	struct portal_client client = { .state = PORTAL_CLIENT_LOST };
	pthread_t thread;

	run(&thread, wait_for_ever, &wait);
	while (!(le64_load(&producer->far->sleep) & RING_SLEEP_FUTEX))
		sleep_ms(1);
	portal_server_stop(&server);
	portal_server_start(&server);
	for (int i = 0; i < 5000 && client.state != PORTAL_CLIENT_LIVE; i++) {
		sleep_ms(1);
		assert_int_equal(portal_client_at(a, id_of(b), &client), 0);
	}
	assert_int_equal(client.state, PORTAL_CLIENT_LIVE);
	assert_false(__atomic_load_n(&wait.done, __ATOMIC_ACQUIRE));
	assert_int_equal(portal_send(producer, "x", 1, 0), 0);
	pthread_join(thread, NULL);
	assert_int_equal(wait.result, 0);
	portal_detach(b);
	portal_detach(a);
}

int main(void)
{
#define ARENA_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		ARENA_TEST(a_frozen_arena_is_still),
		ARENA_TEST(a_reservation_is_no_rest),
		ARENA_TEST(a_closed_end_is_at_rest),
		ARENA_TEST(rings_come_and_go),
		ARENA_TEST(a_ring_closed_without_the_daemon_keeps_its_memory),
		ARENA_TEST(a_ring_withdraws_its_own_name),
		ARENA_TEST(both_ends_free_the_memory_once),
		ARENA_TEST(who_looks_offers_nothing),
		ARENA_TEST(a_readers_broadcast_is_not_another_one),
		ARENA_TEST(a_sleeper_learns_that_the_lease_is_over),
		ARENA_TEST(nobody_asks_and_learns_it_too),
		ARENA_TEST(an_observer_learns_of_a_death),
		ARENA_TEST(a_sleeper_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
