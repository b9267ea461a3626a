/* SPDX-License-Identifier: MIT */
/* The portal's heap: sizes, blocks, errors, handing over, threads, and what a death leaves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "ground.h"
#include "heap_check.h"
#include "heap_class.h"

#define EXTENTS 64u

struct fixture {
	struct ground ground;
	struct ground_client a, b;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	ground_up(&f->ground, EXTENTS);
	ground_enter(&f->ground, &f->a, 3, 1);
	ground_enter(&f->ground, &f->b, 200, 7);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	heap_close(f->a.heap);
	heap_close(f->b.heap);
	ground_down(&f->ground);
	free(f);
	return 0;
}

static unsigned roll(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

static const struct heap_leases nobody, everybody = { { ~0ULL, ~0ULL, ~0ULL, ~0ULL } };

/* ---- size classes ---------------------------------------------------------- */

static void test_classes_fit(void **state)
{
	unsigned last = 0;

	for (size_t size = 1; size <= HEAP_BLOCK_MAX; size += size < 20000 ? 1 : 61) {
		unsigned class = heap_class_of(size);

		assert_true(class < HEAP_CLASSES && class >= last);
		assert_true(heap_classes[class].size >= size);
		assert_true(class == 0 ||
			    heap_classes[class - 1].size < size); /* the smallest that does */
		last = class;
	}
	assert_int_equal(heap_classes[HEAP_CLASSES - 1].size, HEAP_BLOCK_MAX);
	for (unsigned class = 0; class < HEAP_CLASSES; class ++) {
		const struct heap_class *c = &heap_classes[class];
		uint32_t span = c->n_slots * HEAP_SLOT;

		assert_int_equal(c->size % (c->size >= 4096 ? 4096 : 64), 0);
		assert_true(c->n_blocks <= heap_slot_words(c->kind));
		assert_true(c->n_blocks * c->size <= span &&
			    span - c->n_blocks * c->size <= span / 16);
		assert_true(heap_first_slot(c->kind) + c->n_slots <= HEAP_SLOTS);
	}
}

static void test_index_is_exact(void **state)
{
	for (unsigned class = 0; class < HEAP_CLASSES; class ++) {
		const struct heap_class *c = &heap_classes[class];

		for (uint32_t at = 0; at < c->n_slots * HEAP_SLOT; at += 16) {
			bool begins = at % c->size == 0 && at / c->size < c->n_blocks;
			uint32_t index = ~0u;

			assert_int_equal(heap_class_index(c, at, &index), begins);
			assert_true(!begins || index == at / c->size);
		}
	}
}

/* ---- allocating and freeing --------------------------------------------------- */

static void test_sizes(void **state)
{
	struct fixture *f = *state;

	for (size_t size = 1; size < 6u << 20; size += 1 + size / 7) {
		uint8_t *p = heap_alloc(f->a.heap, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % (size >= 4096 ? 4096 : 64), 0);
		assert_true(heap_usable(f->a.heap, p) >= size);
		assert_true(p >= f->ground.base + 2 * PORTAL_EXTENT &&
			    p + size <= f->ground.base + f->ground.size);
		memset(p, 0x5a, heap_usable(f->a.heap, p));
		assert_int_equal(heap_free(f->a.heap, p), 0);
		assert_int_equal(heap_usable(f->a.heap, p), 0);
	}
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

#define LIVE 3000u

struct live {
	uint8_t *p;
	size_t size;
	uint8_t fill;
};

static void check_fill(const struct live *l)
{
	assert_int_equal(l->p[0], l->fill);
	assert_int_equal(l->p[l->size / 2], l->fill);
	assert_int_equal(l->p[l->size - 1], l->fill);
}

/* Blocks of random sizes come and go in random order; each keeps what was written into it. */
static void test_random(void **state)
{
	static struct live live[LIVE];
	struct fixture *f = *state;
	unsigned seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		struct live *l = &live[roll(&seed) % LIVE];

		if (l->p) {
			check_fill(l);
			assert_int_equal(heap_free(f->a.heap, l->p), 0);
		}
		l->size = 1 + roll(&seed) % (roll(&seed) % 64 ? 2000 : 100000);
		l->fill = (uint8_t)roll(&seed);
		l->p = heap_alloc(f->a.heap, l->size);
		if (l->p)
			memset(l->p, l->fill, l->size);
	}
	for (unsigned i = 0; i < LIVE; i++) {
		if (!live[i].p)
			continue;
		check_fill(&live[i]);
		assert_int_equal(heap_free(f->a.heap, live[i].p), 0);
		live[i].p = NULL;
	}
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

/* Every block of a full arena is another one, and after the last comes an error. */
static void test_full(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;
	uint64_t **last = NULL;

	for (uint64_t **p; (p = heap_alloc(f->a.heap, 4096)); n++) {
		*p = (uint64_t *)last;
		last = p;
	}
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(n, (EXTENTS - 2) * 31 * 16);
	assert_int_equal(ground_has(&f->ground, 3), EXTENTS - 2);
	while (last) {
		uint64_t **before = (uint64_t **)*last;

		assert_int_equal(heap_free(f->a.heap, last), 0);
		last = before;
		n--;
	}
	assert_int_equal(n, 0);
	assert_non_null(heap_alloc(f->a.heap, 4096));
}

static void test_quota(void **state)
{
	struct fixture *f = *state;

	f->ground.books->quota = 3;
	assert_null(heap_alloc(f->a.heap, 3 * PORTAL_EXTENT));
	assert_int_equal(errno, EDQUOT);
	void *huge = heap_alloc(f->a.heap, 3 * PORTAL_EXTENT - HEAP_HEAD);
	assert_non_null(huge);
	assert_null(heap_alloc(f->a.heap, 1));
	assert_int_equal(errno, EDQUOT);
	assert_int_equal(heap_free(f->a.heap, huge), 0);
	assert_non_null(heap_alloc(f->a.heap, 1));
}

static void test_errors(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = heap_alloc(f->a.heap, 100), *huge = heap_alloc(f->a.heap, 2u << 20),
		*spare = heap_alloc(f->a.heap, 100);

	assert_true(p && huge && spare);
	assert_int_equal(heap_free(f->a.heap, NULL), 0);
	assert_int_equal(heap_free(f->a.heap, p + 1), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, p + 64), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, huge + 4096), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, &f->a), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, f->ground.base), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, f->ground.base + f->ground.size), -EINVAL);
	assert_int_equal(heap_free(f->a.heap, f->ground.base + f->ground.size - 64), -EINVAL);
	assert_int_equal(heap_free(f->b.heap, p), -EPERM);
	assert_int_equal(heap_free(f->b.heap, p + 64), -EINVAL);
	assert_int_equal(heap_free(f->b.heap, huge), -EPERM);
	assert_int_equal(heap_usable(f->b.heap, p), 0);
	assert_int_equal(heap_free(f->a.heap, p), 0);
	assert_int_equal(heap_free(f->a.heap, p), -ENOENT);
	assert_int_equal(heap_free(f->b.heap, p), -ENOENT);
	assert_int_equal(heap_free(f->a.heap, huge), 0);
	assert_int_equal(heap_free(f->a.heap, huge), -EINVAL);
	assert_null(heap_alloc(f->a.heap, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(heap_alloc(f->a.heap, SIZE_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_null(heap_alloc(f->a.heap, f->ground.size));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(heap_free(f->a.heap, spare), 0);
}

static void test_observer(void **state)
{
	struct fixture *f = *state;
	struct heap_options options = { .base = f->ground.base, .size = f->ground.size };
	struct heap *observer;
	void *p = heap_alloc(f->a.heap, 100);

	assert_int_equal(heap_open(&options, &observer), 0);
	uint64_t handle = heap_handle(observer, p);
	assert_true(handle);
	assert_ptr_equal(heap_resolve(observer, handle, 100), p);
	assert_null(heap_take(observer, handle, 1));
	assert_int_equal(errno, EROFS);
	assert_null(heap_alloc(observer, 1));
	assert_int_equal(errno, EROFS);
	assert_null(heap_alloc(observer, 4u << 20));
	assert_int_equal(errno, EROFS);
	assert_int_equal(heap_free(observer, p), -EROFS);
	heap_close(observer);
	options.size -= 1;
	assert_int_equal(heap_open(&options, &observer), -EINVAL);
}

/* ---- handles ------------------------------------------------------------------- */

static void test_handles(void **state)
{
	struct fixture *f = *state;

	for (size_t size = 64; size <= 3u << 20; size *= 7) {
		uint8_t *p = heap_alloc(f->a.heap, size);
		uint64_t handle = heap_handle(f->a.heap, p);

		assert_true(handle);
		assert_int_equal(heap_handle(f->a.heap, p + 64), 0);
		assert_ptr_equal(heap_resolve(f->b.heap, handle, size), p);
		assert_null(heap_resolve(f->b.heap, handle, heap_usable(f->a.heap, p) + 1));
		assert_int_equal(errno, EINVAL);
		assert_null(heap_resolve(f->b.heap, handle ^ HEAP_TAG_ONE, 1));
		assert_int_equal(errno, ESTALE);
		assert_int_equal(heap_free(f->a.heap, p), 0);
		assert_null(heap_resolve(f->b.heap, handle, size));
		assert_int_equal(errno, ESTALE);
		assert_int_equal(heap_handle(f->a.heap, p), 0);
		assert_ptr_equal(heap_alloc(f->a.heap, size),
				 p); /* the same place, another block */
		assert_null(heap_resolve(f->b.heap, handle, size));
		assert_int_equal(heap_free(f->a.heap, p), 0);
	}
	assert_null(heap_resolve(f->a.heap, 0, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(heap_resolve(f->a.heap, ~0ULL, 0));
}

/* A handle stays stale when its slot is cut anew for another class, or its extent is granted to another client. */
static void test_stale_for_ever(void **state)
{
	struct fixture *f = *state;
	static uint64_t handles[4096];
	static void *blocks[4096];

	for (unsigned round = 0; round < 8; round++) {
		size_t size = 64u << round % 4;

		for (unsigned i = 0; i < array_size(blocks); i++) {
			blocks[i] = heap_alloc(round & 1 ? f->a.heap : f->b.heap, size);
			assert_non_null(blocks[i]);
			assert_true(round == 0 || !heap_resolve(f->a.heap, handles[i], 1));
		}
		for (unsigned i = 0; i < array_size(blocks); i++) {
			handles[i] = heap_handle(round & 1 ? f->a.heap : f->b.heap, blocks[i]);
			assert_true(handles[i]);
			assert_int_equal(heap_free(round & 1 ? f->a.heap : f->b.heap, blocks[i]),
					 0);
		}
		heap_collect(round & 1 ? f->a.heap : f->b.heap);
	}
}

static void test_take(void **state)
{
	struct fixture *f = *state;

	for (size_t size = 64; size <= 3u << 20; size *= 6) {
		void *p = heap_alloc(f->a.heap, size);
		uint64_t handle = heap_handle(f->a.heap, p);

		assert_ptr_equal(heap_take(f->b.heap, handle, size), p);
		assert_null(heap_take(f->b.heap, handle, size)); /* of two takers one wins */
		assert_int_equal(errno, ESTALE);
		assert_int_equal(heap_free(f->a.heap, p), -EPERM);
		assert_true(heap_usable(f->b.heap, p) >= size);
		uint64_t again = heap_handle(f->b.heap, p);
		assert_true(again != handle);
		assert_ptr_equal(heap_resolve(f->a.heap, again, size), p);
		assert_int_equal(heap_free(f->b.heap, p), 0);
		assert_int_equal(heap_free(f->b.heap, p), -ENOENT);
		assert_int_equal(heap_free(f->a.heap, p), -ENOENT);
		assert_null(heap_resolve(f->b.heap, again, 1));
	}
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

/* Given to and fro: who holds it at the end frees it. */
static void test_take_back(void **state)
{
	struct fixture *f = *state;
	void *p = heap_alloc(f->a.heap, 1000);

	for (unsigned i = 0; i < 5; i++) {
		assert_ptr_equal(heap_take(f->b.heap, heap_handle(f->a.heap, p), 1000), p);
		assert_int_equal(heap_free(f->a.heap, p), -EPERM);
		assert_ptr_equal(heap_take(f->a.heap, heap_handle(f->b.heap, p), 1000), p);
		assert_int_equal(heap_free(f->b.heap, p), -EPERM);
	}
	assert_int_equal(heap_free(f->a.heap, p), 0);
	assert_int_equal(heap_free(f->a.heap, p), -ENOENT);
}

/* What a consumer frees is used again: the producer needs no more memory than what is on the way. */
static void test_remote_frees_come_back(void **state)
{
	struct fixture *f = *state;
	struct heap_stats stats;

	for (unsigned i = 0; i < 200000; i++) {
		void *p = heap_alloc(f->a.heap, 64);

		assert_non_null(p);
		assert_ptr_equal(heap_take(f->b.heap, heap_handle(f->a.heap, p), 64), p);
		assert_int_equal(heap_free(f->b.heap, p), 0);
	}
	heap_stats(f->a.heap, &stats);
	assert_int_equal(stats.segments, 1);
	assert_true(stats.collected > 190000);
	assert_int_equal(stats.lies, 0);
}

/* ---- deaths ---------------------------------------------------------------------- */

static void test_dead_owner(void **state)
{
	struct fixture *f = *state;
	struct heap_recovered sum;

	for (unsigned i = 0; i < 100000; i++)
		assert_non_null(heap_alloc(f->a.heap, 100));
	assert_non_null(heap_alloc(f->a.heap, 5u << 20));
	ground_recover(&f->ground, 3, &everybody, &sum);
	assert_int_equal(sum.blocks, 100001);
	assert_int_equal(sum.bytes, 100000 * 128 + (6u << 20) - 4096);
	assert_int_equal(sum.kept, 0);
	assert_int_equal(ground_has(&f->ground, 3), 0);
	ground_recover(&f->ground, 3, &everybody, &sum);
	assert_int_equal(sum.blocks, 0);
}

/* Taken blocks outlive their owner, and then their memory comes back, too. */
static void test_orphans(void **state)
{
	struct fixture *f = *state;
	struct heap_leases alive = { { 0, 0, 0, 1ULL << 200 % 64 } };
	uint8_t *small = heap_alloc(f->a.heap, 100), *huge = heap_alloc(f->a.heap, 3u << 20),
		*other = heap_alloc(f->a.heap, 100);
	uint64_t handle = heap_handle(f->a.heap, other);
	struct heap_recovered sum;

	memset(small, 0x77, 100);
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, small), 100));
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, huge), 100));
	ground_recover(&f->ground, 3, &alive, &sum);
	assert_int_equal(sum.blocks, 1);
	assert_int_equal(sum.kept, 2);
	assert_int_equal(ground_has(&f->ground, GROUND_ORPHAN), 3);
	assert_int_equal(ground_has(&f->ground, 3), 0);
	assert_int_equal(small[99], 0x77);
	assert_null(heap_take(f->b.heap, handle, 1)); /* died with its holder */
	assert_ptr_equal(heap_resolve(f->b.heap, heap_handle(f->b.heap, small), 100), small);
	assert_int_equal(heap_free(f->b.heap, huge), 0);
	ground_recover(&f->ground, 3, &alive, &sum);
	assert_int_equal(ground_has(&f->ground, GROUND_ORPHAN), 1);
	assert_int_equal(heap_free(f->b.heap, small), 0);
	ground_recover(&f->ground, 3, &alive, &sum);
	assert_int_equal(ground_has(&f->ground, GROUND_ORPHAN), 0);
}

/* Orphans are nobody's when their holder dies; and with no one's holdings counting there are none at all. */
static void test_dead_holder_of_orphans(void **state)
{
	struct fixture *f = *state;
	struct heap_leases alive = { { 0, 0, 0, 1ULL << 200 % 64 } };
	struct heap_recovered sum;

	for (unsigned i = 0; i < 2; i++) {
		assert_non_null(heap_take(f->b.heap,
					  heap_handle(f->a.heap, heap_alloc(f->a.heap, 100)), 100));
		ground_recover(&f->ground, 3, i ? &nobody : &alive, &sum);
		assert_int_equal(sum.kept, !i);
		assert_int_equal(ground_has(&f->ground, GROUND_ORPHAN), !i);
		ground_recover(&f->ground, 200, &nobody, &sum);
		assert_int_equal(ground_has(&f->ground, GROUND_ORPHAN), 0);
		heap_close(f->a.heap); /* its notes are void */
		ground_enter(&f->ground, &f->a, 3, 2 + i);
	}
}

/* What the dead one held of others goes back to them. */
static void test_dead_holder(void **state)
{
	struct fixture *f = *state;
	static void *blocks[3000];
	void *huge = heap_alloc(f->a.heap, 2u << 20);
	struct heap_recovered sum;

	for (unsigned i = 0; i < array_size(blocks); i++)
		blocks[i] = heap_alloc(f->a.heap, 300);
	for (unsigned i = 0; i < array_size(blocks); i++) {
		if (i % 3 == 0)
			assert_non_null(
				heap_take(f->b.heap, heap_handle(f->a.heap, blocks[i]), 300));
		if (i % 6 == 0)
			assert_int_equal(heap_free(f->b.heap, blocks[i]), 0);
	}
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, huge), 300));
	ground_recover(&f->ground, 200, &everybody, &sum);
	assert_int_equal(sum.blocks, 500 + 1);
	for (unsigned i = 0; i < array_size(blocks); i++)
		assert_int_equal(heap_free(f->a.heap, blocks[i]), i % 3 == 0 ? -ENOENT : 0);
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

/* ---- checking ---- */

static bool check(struct fixture *f, struct heap_census *census, struct heap_flaw *flaw)
{
	bool good = true;

	*census = (struct heap_census){ 0 };
	for (uint32_t e = 2; e < EXTENTS && good; e++) {
		struct heap_head *head =
			(struct heap_head *)(void *)(f->ground.base + (uint64_t)e * PORTAL_EXTENT);
		unsigned kind = HEAP_WHAT_KIND(le64_load(&head->what));

		if (kind == HEAP_FINE || kind == HEAP_COARSE)
			good = heap_check(head, kind, census, flaw);
	}
	return good;
}

/* The census is right, and each lie is found. */
static void test_check(void **state)
{
	struct fixture *f = *state;
	struct heap_head *head = (struct heap_head *)(void *)(f->ground.base + 3 * PORTAL_EXTENT);
	le64_t *words = (le64_t *)(void *)((uint8_t *)head + HEAP_HEAD);
	struct heap_census census;
	struct heap_flaw flaw;
	void *p[300]; /* the first makes extent 2 a coarse segment, the others 3 a fine one */

	for (unsigned i = 0; i < array_size(p); i++) {
		p[i] = heap_alloc(f->a.heap, i % 50 ? 64 : 70000);
		if (i % 3 == 0)
			assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, p[i]), 1));
	}
	for (unsigned i = 0; i < array_size(p); i += 30)
		assert_int_equal(heap_free(f->b.heap, p[i]), 0);
	assert_true(check(f, &census, &flaw));
	assert_int_equal(census.live, 290);
	assert_int_equal(census.handed_over, 90);
	assert_int_equal(census.freed, 10);
	assert_int_equal(census.bytes, 286 * 64 + 4 * 81920);
	for (unsigned i = 0; i < 5; i++) {
		le64_t word = words[7];
		le32_t slot = head->slots[HEAP_FINE_FIRST];
		const uint64_t lies[] = { 3, HEAP_WORD(HEAP_BLOCK_LIVE, 9, 3),
					  HEAP_WORD(HEAP_BLOCK_LIVE, 0, 999),
					  HEAP_WORD(HEAP_BLOCK_FREED, 0, 0), word.raw };

		le64_store(&words[7], lies[i]);
		le64_store(&head->inbox[HEAP_FINE_FIRST], 0);
		if (i == 4)
			le32_store(&head->slots[HEAP_FINE_FIRST], HEAP_SLOT_WORD(HEAP_CLASSES, 0));
		assert_false(check(f, &census, &flaw));
		assert_int_equal(flaw.slot, HEAP_FINE_FIRST);
		words[7] = word;
		head->slots[HEAP_FINE_FIRST] = slot;
	}
}

/* ---- threads ------------------------------------------------------------------------ */

#define PER_THREAD 20000u

struct crossing {
	struct heap *heap;
	void *blocks[PER_THREAD];
	pthread_t thread;
};

static void *fill(void *arg)
{
	struct crossing *c = arg;

	for (unsigned i = 0; i < PER_THREAD; i++) {
		c->blocks[i] = heap_alloc(c->heap, 64 + i % 300);
		*(uint64_t *)c->blocks[i] = i;
	}
	return NULL;
}

static void *drain(void *arg)
{
	struct crossing *c = arg;
	unsigned wrong = 0;

	for (unsigned i = 0; i < PER_THREAD; i++) {
		wrong += *(uint64_t *)c->blocks[i] != i;
		wrong += heap_free(c->heap, c->blocks[i]) != 0;
		wrong += heap_free(c->heap, c->blocks[i]) != -ENOENT;
	}
	return wrong ? c : NULL;
}

static void start(struct crossing *c, void *(*run)(void *))
{
	assert_int_equal(pthread_create(&c->thread, NULL, run, c), 0);
}

static void *end(struct crossing *c)
{
	void *result;

	assert_int_equal(pthread_join(c->thread, &result), 0);
	return result;
}

/* One thread's blocks are freed by another one, while both allocate; threads end and others take over. */
static void test_threads(void **state)
{
	struct fixture *f = *state;
	static struct crossing c[2];
	struct heap_stats stats;
	uint32_t first = 0;

	c[0].heap = c[1].heap = f->a.heap;
	for (unsigned round = 0; round < 6; round++) {
		start(&c[0], fill);
		start(&c[1], fill);
		assert_null(end(&c[0]));
		assert_null(end(&c[1]));
		start(&c[0], drain);
		start(&c[1], drain);
		assert_null(end(&c[0]));
		assert_null(end(&c[1]));
		heap_stats(f->a.heap, &stats);
		first = round == 0 ? stats.segments : first;
		assert_true(stats.segments <= 2 * first);
	}
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

struct relay {
	struct heap *heap;
	void *box[64];
	unsigned errors;
};

static void *consume(void *arg)
{
	struct relay *r = arg;

	for (unsigned i = 0; i < 100000; i++) {
		void *p;

		while (!(p = __atomic_exchange_n(&r->box[i % 64], NULL, __ATOMIC_ACQUIRE)))
			;
		r->errors += heap_free(r->heap, p) != 0;
	}
	return NULL;
}

static void test_producer_consumer(void **state)
{
	struct fixture *f = *state;
	struct relay relay = { .heap = f->a.heap };
	struct heap_stats stats;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, consume, &relay), 0);
	for (unsigned i = 0; i < 100000; i++) {
		void *p = heap_alloc(f->a.heap, 64), *none = NULL;

		assert_non_null(p);
		while (!__atomic_compare_exchange_n(&relay.box[i % 64], &none, p, false,
						    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			none = NULL;
	}
	pthread_join(thread, NULL);
	assert_int_equal(relay.errors, 0);
	heap_stats(f->a.heap, &stats);
	assert_int_equal(stats.segments, 1);
	heap_collect(f->a.heap);
	assert_int_equal(ground_has(&f->ground, 3), 0);
}

/* ---- the source ------------------------------------------------------------------------ */

static int fail_put;
static struct heap_source real;

static int put_or_not(void *ctx, uint32_t first, uint32_t n)
{
	return fail_put ? -ENOTCONN : real.put(ctx, first, n);
}

static int get_really(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first)
{
	return real.get(ctx, kind, n, ret_first);
}

/* Extents that the source does not take stay, and are offered again. */
static void test_source_away(void **state)
{
	struct fixture *f = *state;
	struct ground_client client;
	struct heap_options options = { .base = f->ground.base,
					.size = f->ground.size,
					.owner = portal_owner(9, 9) };
	void *p;

	ground_source(&f->ground, &client, 9, &real);
	options.source = (struct heap_source){ get_really, put_or_not, real.ctx };
	assert_int_equal(heap_open(&options, &client.heap), 0);
	p = heap_alloc(client.heap, 3u << 20);
	fail_put = 1;
	assert_int_equal(heap_free(client.heap, p), 0);
	assert_int_equal(ground_has(&f->ground, 9), 2);
	fail_put = 0;
	p = heap_alloc(client.heap, 64);
	assert_int_equal(ground_has(&f->ground, 9), 1);
	assert_int_equal(heap_free(client.heap, p), 0);
	heap_close(client.heap);
	assert_int_equal(ground_has(&f->ground, 9), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes_fit),
		cmocka_unit_test(test_index_is_exact),
		TEST(test_sizes),
		TEST(test_random),
		TEST(test_full),
		TEST(test_quota),
		TEST(test_errors),
		TEST(test_observer),
		TEST(test_handles),
		TEST(test_stale_for_ever),
		TEST(test_take),
		TEST(test_take_back),
		TEST(test_remote_frees_come_back),
		TEST(test_dead_owner),
		TEST(test_orphans),
		TEST(test_dead_holder_of_orphans),
		TEST(test_dead_holder),
		TEST(test_check),
		TEST(test_threads),
		TEST(test_producer_consumer),
		TEST(test_source_away),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_heap", tests, NULL, NULL);
}
