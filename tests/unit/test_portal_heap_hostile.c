/* SPDX-License-Identifier: MIT */
/* Every word of the heap that lies in the arena is a stranger's: rewritten at any moment, by good words and by
 * nonsense.
 *
 * One thread does nothing but write: heads, slots, block words, inboxes, visitors, often what was there a moment
 * before.  Two clients allocate, free, hand over, resolve and collect, and the daemon's part recovers one of them
 * again and again.  Behind the arena lies a wall, before it the daemon's extents, which nobody may touch.  Each
 * client's own blocks stay its own: what it never offered to anybody is neither granted twice nor lost, whatever the
 * arena says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base.h"
#include "ground.h"
#include "heap_class.h"

#define EXTENTS 12u
#define A       3u
#define B       200u
#define SECONDS 3 /* at most, for */
#define ROUNDS  30000u

struct fixture {
	struct ground ground;
	struct ground_client a, b;
	bool stop; /* atomic */
	unsigned seed;
};

static unsigned roll(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

/* ---- the mutator ---------------------------------------------------------------- */

static uint64_t a_word(unsigned *seed)
{
	unsigned holder = roll(seed) & 1 ? A : B;

	switch (roll(seed) % 10) {
	case 0:
		return HEAP_WHAT(roll(seed) % 6, roll(seed) % 5,
				 roll(seed) % (roll(seed) & 1 ? 4 : 65536));
	case 1:
		return HEAP_SLOT_WORD(roll(seed) % 64, roll(seed) % 20) |
		       (uint64_t)HEAP_SLOT_WORD(roll(seed) % 64, 0) << 32;
	case 2:
	case 3:
		return HEAP_WORD(roll(seed) % 4, roll(seed) % HEAP_CLASSES, holder);
	case 4:
		return HEAP_WORD(HEAP_BLOCK_LIVE, HEAP_CLASS_HUGE, holder);
	case 5:
		return ~0ULL;
	case 6:
		return portal_owner(holder, roll(seed) % 3);
	case 7:
		return BIT_ULL(roll(seed) % 64);
	case 8:
		return (uint64_t)roll(seed) << roll(seed) % 48;
	default:
		return 0;
	}
}

/* Mostly words that mean something: the head's, and those of the first blocks of each slot. */
static uint64_t a_place(unsigned *seed)
{
	uint64_t extent = (2 + roll(seed) % (EXTENTS - 2)) * (uint64_t)PORTAL_EXTENT;

	switch (roll(seed) % 4) {
	case 0:
		return extent + roll(seed) % sizeof(struct heap_head);
	case 1:
		return extent + HEAP_HEAD + roll(seed) % 28 * HEAP_FINE_WORDS * 8 +
		       roll(seed) % 512;
	case 2:
		return extent + HEAP_HEAD + roll(seed) % 4096;
	default:
		return extent + roll(seed) % (HEAP_FINE_FIRST * HEAP_SLOT);
	}
}

static void *mutate(void *arg)
{
	struct fixture *f = arg;
	unsigned seed = 99;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		uint64_t *at = (uint64_t *)(void *)(f->ground.base + (a_place(&seed) & ~7ULL));
		uint64_t before = __atomic_load_n(at, __ATOMIC_RELAXED);

		switch (roll(&seed) % 4) {
		case 0: /* the old one, with another bit */
			__atomic_store_n(at, before ^ BIT_ULL(roll(&seed) % 64), __ATOMIC_RELAXED);
			break;
		case 1: /* there and back */
			__atomic_store_n(at, a_word(&seed), __ATOMIC_RELAXED);
			__atomic_store_n(at, before, __ATOMIC_RELAXED);
			break;
		default:
			__atomic_store_n(at, (before & HEAP_TAG_MASK) | a_word(&seed),
					 __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* ---- two clients and a daemon ------------------------------------------------------ */

#define OWN 200u

/* Blocks that are never offered: no two overlap while both are allocated. */
struct own {
	uint8_t *p[OWN];
	size_t size[OWN];
};

static void check_apart(const struct own *own, unsigned i)
{
	for (unsigned k = 0; k < OWN; k++)
		assert_true(k == i || !own->p[k] || own->p[k] + own->size[k] <= own->p[i] ||
			    own->p[i] + own->size[i] <= own->p[k]);
}

static void inside(const struct fixture *f, const uint8_t *p, size_t size)
{
	assert_true(p >= f->ground.base + 2 * PORTAL_EXTENT &&
		    p + size <= f->ground.base + f->ground.size);
}

static void turn_over(struct fixture *f, struct heap *heap, struct own *own)
{
	unsigned i = roll(&f->seed) % OWN;

	if (own->p[i]) {
		assert_int_equal(heap_free(heap, own->p[i]), 0);
		assert_int_equal(heap_usable(heap, own->p[i]), 0);
		assert_true(heap_free(heap, own->p[i]) != 0);
		own->p[i] = NULL;
		return;
	}
	own->size[i] = 1 + roll(&f->seed) % (roll(&f->seed) % 8 ? 1500 : 40000);
	own->p[i] = heap_alloc(heap, own->size[i]);
	if (!own->p[i])
		return;
	inside(f, own->p[i], own->size[i]);
	check_apart(own, i);
	assert_true(heap_usable(heap, own->p[i]) >= own->size[i]);
}

/* What is offered may come to nothing, but only in the ways that are said. */
static void hand_over(struct fixture *f, struct heap *from, struct heap *to)
{
	size_t size = 1 + roll(&f->seed) % (roll(&f->seed) % 32 ? 3000 : 3u << 20);
	uint8_t *p = heap_alloc(from, size), *got;
	uint64_t handle;
	int r;

	if (!p)
		return;
	handle = heap_handle(from, p);
	got = heap_resolve(to, handle, size);
	assert_true(!got || got == p);
	got = heap_take(to, handle ^ (roll(&f->seed) % 16 == 0 ? BIT_ULL(roll(&f->seed) % 64) : 0),
			size);
	if (got) {
		inside(f, got, size);
		r = heap_free(to, got);
		assert_true(r == 0 || r == -EPERM || r == -ENOENT || r == -EINVAL);
	}
	r = heap_free(from, p);
	assert_true(r == 0 || r == -EPERM || r == -ENOENT || r == -EINVAL);
}

static void recover(struct fixture *f)
{
	static const struct heap_leases everybody = { { ~0ULL, ~0ULL, ~0ULL, ~0ULL } }, nobody;
	struct heap_recovered sum = { 0 };

	for (uint32_t e = 2; e < EXTENTS; e++)
		heap_recover_visit(f->ground.base, f->ground.size, e, 1 + roll(&f->seed) % 3, B,
				   &sum);
	ground_recover(&f->ground, 7, roll(&f->seed) & 1 ? &everybody : &nobody,
		       &sum); /* of somebody else */
	assert_true(sum.blocks < (uint64_t)EXTENTS * 4 * HEAP_SLOTS * HEAP_FINE_WORDS);
}

static void test_words_rewritten(void **state)
{
	struct fixture f = { .seed = 7 };
	static struct own a, b;
	pthread_t thread;
	time_t begun = time(NULL);
	uint8_t *edge;

	ground_up(&f.ground, EXTENTS);
	ground_enter(&f.ground, &f.a, A, 1);
	ground_enter(&f.ground, &f.b, B, 1);
	edge = f.ground.base + 2 * PORTAL_EXTENT;
	assert_int_equal(mprotect(f.ground.base, (size_t)(edge - f.ground.base), PROT_NONE), 0);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &f), 0);
	for (unsigned i = 0; i < ROUNDS && time(NULL) < begun + SECONDS; i++) {
		turn_over(&f, f.a.heap, &a);
		turn_over(&f, f.b.heap, &b);
		hand_over(&f, f.a.heap, f.b.heap);
		hand_over(&f, f.b.heap, f.a.heap);
		if (i % 64 == 0) {
			heap_collect(f.a.heap);
			recover(&f);
		}
	}
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < OWN; i++) {
		assert_true(!a.p[i] || heap_free(f.a.heap, a.p[i]) == 0);
		assert_true(!b.p[i] || heap_free(f.b.heap, b.p[i]) == 0);
	}
	heap_close(f.a.heap);
	heap_close(f.b.heap);
	ground_down(&f.ground);
}

/* ---- recovery of nonsense ------------------------------------------------------------ */

/* Whatever the dead one left, its extents come back, or are kept in the name of one who lives; and nothing else is
 * touched. */
static void test_recovery_of_nonsense(void **state)
{
	static const struct heap_leases nobody;
	struct ground ground;
	unsigned seed = 5;

	ground_up(&ground, 4);
	for (unsigned round = 0; round < 300; round++) {
		struct heap_recovered sum = { 0 };
		uint64_t *at = (uint64_t *)(void *)(ground.base + 2 * PORTAL_EXTENT);
		uint64_t *beyond = at + PORTAL_EXTENT / 8;

		for (unsigned i = 0; i < HEAP_FINE_FIRST * HEAP_SLOT / 8; i += 1 + roll(&seed) % 7)
			at[i] = a_word(&seed);
		at[0] = HEAP_WHAT(1 + round % 3, 1 + round % 2, round % 4 ? 1 : roll(&seed) % 9);
		memset(beyond, 0x31, PORTAL_PAGE);
		assert_true(heap_recover_grant(ground.base, ground.size, 2, 1, A, &nobody, &sum));
		assert_true(sum.kept == 0);
		for (unsigned i = 0; i < PORTAL_PAGE / 8; i++)
			assert_true(beyond[i] == 0x3131313131313131);
	}
	ground_down(&ground);
}

static const uint8_t *arena_end;
static unsigned n_asked;

static unsigned reads_the_block(const struct heap_leases *leases, const void *block, uint64_t size)
{
	assert_true((const uint8_t *)block + size <= arena_end);
	n_asked++;
	return HEAP_NOBODY;
}

/* A slot at the very end of the arena that claims to begin a span of many: nobody is sent to look there. */
static void test_span_beyond_the_end(void **state)
{
	static const struct heap_leases living = { .heir = reads_the_block };
	struct heap_recovered sum = { 0 };
	struct ground ground;
	uint32_t last;

	ground_up(&ground, 4);
	arena_end = ground.base + ground.size;
	last = (uint32_t)(ground.size / PORTAL_EXTENT) - 1;
	for (unsigned class = 0; class < HEAP_CLASSES; class ++) {
		struct heap_head *head = (void *)(ground.base + (uint64_t)last * PORTAL_EXTENT);
		unsigned kind = heap_classes[class].kind;

		memset(head, 0, HEAP_FINE_FIRST * HEAP_SLOT);
		for (unsigned slot = heap_first_slot(kind); slot < HEAP_SLOTS; slot++) {
			le64_t *words = (void *)((uint8_t *)head + heap_words_offset(kind, slot));

			head->slots[slot] = le32_of(HEAP_SLOT_WORD(class, 0));
			le64_store(words, HEAP_WORD(HEAP_BLOCK_LIVE, class, A));
			le64_store(words + heap_classes[class].n_blocks - 1,
				   HEAP_WORD(HEAP_BLOCK_LIVE, class, A));
		}
		le64_store(&head->what, HEAP_WHAT(kind, HEAP_LIVE, 1));
		assert_true(
			heap_recover_grant(ground.base, ground.size, last, 1, A, &living, &sum));
	}
	assert_true(n_asked > HEAP_CLASSES);
	ground_down(&ground);
}

/* ---- what was never offered ------------------------------------------------------------ */

/* A block's handle, made by somebody who reads its word: nobody was given it. */
static uint64_t forged(const struct fixture *f, const void *p, const le64_t *word)
{
	return HEAP_HANDLE((uint64_t)((const uint8_t *)p - f->ground.base), le64_load(word));
}

/* Who is sent a handle of what is his own and was never offered does not take it, or he had it twice. */
static void test_own_memory_is_not_taken(void **state)
{
	struct fixture f = { 0 };
	struct heap_head *head;
	uint8_t *p, *huge;
	le64_t *word;

	ground_up(&f.ground, EXTENTS);
	ground_enter(&f.ground, &f.a, A, 1);
	ground_enter(&f.ground, &f.b, B, 1);
	p = heap_alloc(f.a.heap, 1024);
	huge = heap_alloc(f.a.heap, 3u << 20);
	assert_true(p && huge);
	head = (void *)(huge - HEAP_HEAD);
	word = (void *)(p - HEAP_FINE_FIRST * HEAP_SLOT + HEAP_HEAD);
	assert_true(HEAP_WORD_STATE(le64_load(word)) == HEAP_BLOCK_LIVE);
	assert_null(heap_take(f.a.heap, forged(&f, p, word), 1));
	assert_int_equal(errno, ESTALE);
	assert_null(heap_take(f.a.heap, forged(&f, huge, &head->huge), 1));
	/* A heap in the middle of a block. */
	head = (void *)(huge - HEAP_HEAD + PORTAL_EXTENT);
	le64_store(&head->what, HEAP_WHAT(HEAP_HUGE, HEAP_LIVE, 1));
	le64_store(&head->huge, HEAP_WORD(HEAP_BLOCK_LIVE, HEAP_CLASS_HUGE, B));
	assert_null(heap_take(f.a.heap, forged(&f, huge + PORTAL_EXTENT, &head->huge), 1));
	assert_int_equal(heap_free(f.a.heap, huge + PORTAL_EXTENT), -EINVAL);
	assert_int_equal(heap_usable(f.a.heap, huge + PORTAL_EXTENT), 0);
	/* Offered, it may come back. */
	assert_ptr_equal(heap_take(f.a.heap, heap_handle(f.a.heap, p), 1), p);
	assert_ptr_equal(heap_take(f.b.heap, heap_handle(f.a.heap, huge), 1), huge);
	assert_ptr_equal(heap_take(f.a.heap, heap_handle(f.b.heap, huge), 1), huge);
	assert_int_equal(heap_free(f.a.heap, p), 0);
	assert_int_equal(heap_free(f.a.heap, huge), 0);
	heap_close(f.a.heap);
	heap_close(f.b.heap);
	ground_down(&f.ground);
}

/* The owner asks his notes how large his block is, and nobody how large another's is that was his. */
static void test_usable(void **state)
{
	struct fixture f = { 0 };
	struct heap_head *head;
	uint8_t *p, *huge;

	ground_up(&f.ground, EXTENTS);
	ground_enter(&f.ground, &f.a, A, 1);
	ground_enter(&f.ground, &f.b, B, 1);
	p = heap_alloc(f.a.heap, 1000);
	huge = heap_alloc(f.a.heap, 3u << 20);
	assert_true(p && huge);
	head = (void *)(huge - HEAP_HEAD);
	le64_store(&head->what, HEAP_WHAT(HEAP_HUGE, HEAP_LIVE, 5));
	assert_int_equal(heap_usable(f.a.heap, huge), 2 * PORTAL_EXTENT - HEAP_HEAD);
	le64_store(&head->what, HEAP_WHAT(HEAP_HUGE, HEAP_LIVE, 2));
	assert_non_null(heap_take(f.b.heap, heap_handle(f.a.heap, p), 1));
	assert_non_null(heap_take(f.b.heap, heap_handle(f.a.heap, huge), 1));
	assert_int_equal(heap_usable(f.a.heap, p), 0);
	assert_int_equal(heap_usable(f.a.heap, huge), 0);
	assert_int_equal(heap_usable(f.b.heap, p), 1024);
	assert_int_equal(heap_usable(f.b.heap, huge), 2 * PORTAL_EXTENT - HEAP_HEAD);
	heap_close(f.b.heap);
	heap_close(f.a.heap);
	ground_down(&f.ground);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_rewritten),
		cmocka_unit_test(test_recovery_of_nonsense),
		cmocka_unit_test(test_span_beyond_the_end),
		cmocka_unit_test(test_own_memory_is_not_taken),
		cmocka_unit_test(test_usable),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_heap_hostile", tests, NULL, NULL);
}
