/* SPDX-License-Identifier: MIT */
/* A client of the portal's heap dies at every step of everything it does.
 *
 * The memory is shared and outlives the process; so whatever is to be seen in it between two instructions is what a
 * death there leaves.  Each operation runs in a traced child, one instruction at a time; whenever shared memory has
 * changed, a second child plays the rest of the story: recovery, and then the survivor, who must find exactly what is
 * his: nothing lost, nothing granted twice.  Then the memory is put back as it was, and the first child goes on.  At
 * some of these steps the child is really killed, and there recovery itself runs under the same eyes: cut off at
 * every change, begun anew, with the same end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "ground.h"
#include "heap_layout.h"

#define EXTENTS 9u
#define A       3u
#define B       200u
#define SIZE    1024u /* of most blocks: few words to a span, so that all of them can be looked at */
#define HEADS   (HEAP_HEAD + 4u * HEAP_FINE_WORDS * 8) /* and the words of the first spans */
#define WORDS   (128u * 8)                             /* of each span that are used */

#define STEPS_MAX  400000u
#define FULL_LOOKS 512u /* steps from one look at everything to the next */
#define JUDGED_ALL 200u /* changes after each of which the story is played; */
#define JUDGED_NTH 16u  /* of those that follow, one in so many */
#define KILLS      9u
#define RECOVERIES 2u /* of the killed ones */

struct state {
	uint8_t heads[EXTENTS][HEADS];
	struct ground_books books;
};

struct fixture {
	struct ground ground;
	struct ground_client a, b;
	uint8_t *taken, *offered, *own, *known, *freed, *huge; /* of a */
	uint64_t offer, offer_huge;                            /* handles */
	uint8_t *mine;                                         /* of b */
	struct state before, last, saved;
};

struct stage {
	const char *name;
	uint32_t dead;
	void (*act)(struct fixture *f);
};

/* ---- shared memory, now and then ------------------------------------------------ */

static void save(const struct fixture *f, struct state *s)
{
	for (uint32_t e = 0; e < EXTENTS; e++)
		memcpy(s->heads[e], f->ground.base + (uint64_t)e * PORTAL_EXTENT, HEADS);
	memcpy(&s->books, f->ground.books, sizeof(s->books));
}

static void restore(const struct fixture *f, const struct state *s)
{
	for (uint32_t e = 0; e < EXTENTS; e++)
		memcpy(f->ground.base + (uint64_t)e * PORTAL_EXTENT, s->heads[e], HEADS);
	memcpy(f->ground.books, &s->books, sizeof(s->books));
}

static bool has_changed(const struct fixture *f, const struct state *s)
{
	for (uint32_t e = 2; e < EXTENTS; e++)
		if (memcmp(f->ground.base + (uint64_t)e * PORTAL_EXTENT, s->heads[e], HEADS) != 0)
			return true;
	return memcmp(f->ground.books, &s->books, offsetof(struct ground_books, grants[EXTENTS])) !=
	       0;
}

/* The same of what these stages write, an eighth of it: a look after each instruction is what this test spends its time on.
 * Whoever looks at all of it now and then finds out if that is not all. */
static bool has_stirred(const struct fixture *f, const struct state *s)
{
	for (uint32_t e = 2; e < EXTENTS; e++) {
		const uint8_t *now = f->ground.base + (uint64_t)e * PORTAL_EXTENT;
		const uint8_t *then = s->heads[e];

		if (memcmp(now, then, sizeof(struct heap_head)) != 0)
			return true;
		for (uint32_t at = HEAP_HEAD; at < HEADS; at += HEAP_FINE_WORDS * 8)
			if (memcmp(now + at, then + at, WORDS) != 0)
				return true;
	}
	return memcmp(f->ground.books, &s->books, offsetof(struct ground_books, grants[EXTENTS])) !=
	       0;
}

/* ---- the rest of the story -------------------------------------------------------- */

#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

/* New blocks are none of those that somebody has. */
static void check_new(struct heap *heap, uint8_t *const *taken, unsigned n_taken)
{
	static uint8_t *got[300];

	for (unsigned i = 0; i < array_size(got); i++) {
		got[i] = heap_alloc(heap, SIZE);
		CHECK(got[i]);
		for (unsigned k = 0; k < n_taken; k++)
			CHECK(got[i] != taken[k]);
		for (unsigned k = 0; k < i; k++)
			CHECK(got[i] != got[k]);
	}
	for (unsigned i = 0; i < array_size(got); i++)
		CHECK(heap_free(heap, got[i]) == 0);
}

/* B died; A lives.  What B held of A's is free, what it did not take is A's. */
static void judge_b(struct fixture *f)
{
	static const struct heap_leases alive = { { 1u << A } };
	uint8_t *const had[] = { f->own, f->known };
	struct heap_recovered sum;
	int offered;

	ground_recover(&f->ground, B, &alive, &sum);
	CHECK(ground_has(&f->ground, B) == 0);
	CHECK(ground_has(&f->ground, GROUND_ORPHAN) == 0);
	check_new(f->a.heap, had, array_size(had));
	offered = heap_free(f->a.heap, f->offered);
	CHECK(offered == 0 || offered == -ENOENT);
	CHECK(heap_free(f->a.heap, f->own) == 0);
	CHECK(heap_free(f->a.heap, f->known) == 0);
	offered = heap_free(f->a.heap, f->huge);
	CHECK(offered == 0 || offered == -ENOENT);
	heap_collect(f->a.heap);
	CHECK(ground_has(&f->ground, A) == 0);
}

/* A died; B lives, and still has what it took. */
static void judge_a(struct fixture *f)
{
	static const struct heap_leases alive = { { 0, 0, 0, 1ULL << B % 64 } };
	uint8_t *const had[] = { f->taken, f->mine };
	struct heap_recovered sum;

	ground_recover(&f->ground, A, &alive, &sum);
	CHECK(ground_has(&f->ground, A) == 0);
	CHECK(ground_has(&f->ground, GROUND_ORPHAN) == 1);
	CHECK(heap_resolve(f->b.heap, heap_handle(f->b.heap, f->taken), SIZE) == f->taken);
	CHECK(!heap_take(f->b.heap, f->offer, 1));
	check_new(f->b.heap, had, array_size(had));
	CHECK(heap_free(f->b.heap, f->taken) == 0);
	CHECK(heap_free(f->b.heap, f->mine) == 0);
	ground_recover(&f->ground, A, &alive, &sum);
	CHECK(ground_has(&f->ground, GROUND_ORPHAN) == 0);
	heap_collect(f->b.heap);
	CHECK(ground_has(&f->ground, B) == 0);
}

/* Play it in a child, who may change its notes; shared memory is as before in the end. */
static void judge(struct fixture *f, uint32_t dead)
{
	int status;
	pid_t pid;

	save(f, &f->saved);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dead == A)
			judge_a(f);
		else
			judge_b(f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	restore(f, &f->saved);
	assert_int_equal(status, 0);
}

/* ---- one instruction after the other ------------------------------------------------ */

static pid_t begin(struct fixture *f, void (*act)(struct fixture *f))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		act(f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return 0;
	assert_true(WIFSTOPPED(status));
	return pid;
}

/* False: it ended. */
static bool step(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return WIFSTOPPED(status);
}

/* Run it once and judge each change.  Returns how many there were; their steps go to ret_steps. */
static unsigned watch(struct fixture *f, void (*act)(struct fixture *f), uint32_t dead,
		      unsigned *ret_steps, unsigned size)
{
	pid_t pid = begin(f, act);
	unsigned n = 0;

	save(f, &f->last);
	for (unsigned i = 0; step(pid); i++) {
		assert_true(i < STEPS_MAX);
		if (!has_stirred(f, &f->last)) {
			assert_true(i % FULL_LOOKS != 0 || !has_changed(f, &f->last));
			continue;
		}
		save(f, &f->last);
		if (n < size)
			ret_steps[n] = i + 1;
		if (n < JUDGED_ALL || n % JUDGED_NTH == 0)
			judge(f, dead);
		n++;
	}
	assert_false(has_changed(f, &f->last));
	judge(f, dead);
	return n;
}

static void kill_after(struct fixture *f, void (*act)(struct fixture *f), unsigned steps)
{
	pid_t pid = begin(f, act);
	int status;

	while (steps-- && step(pid))
		;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void recover_a(struct fixture *f)
{
	static const struct heap_leases alive = { { 0, 0, 0, 1ULL << B % 64 } };
	struct heap_recovered sum;

	ground_recover(&f->ground, A, &alive, &sum);
}

static void recover_b(struct fixture *f)
{
	static const struct heap_leases alive = { { 1u << A } };
	struct heap_recovered sum;

	ground_recover(&f->ground, B, &alive, &sum);
}

static void run_stage(struct fixture *f, const struct stage *stage)
{
	static unsigned steps[4096];
	unsigned n, n_recovery = 0;

	save(f, &f->before);
	n = watch(f, stage->act, stage->dead, steps, array_size(steps));
	assert_true(n > 0);
	restore(f, &f->before);
	n = min(n, (unsigned)array_size(steps));
	for (unsigned k = 0; k < KILLS; k++) {
		kill_after(f, stage->act, steps[(uint64_t)k * (n - 1) / (KILLS - 1)]);
		judge(f, stage->dead);
		if (k % (KILLS / RECOVERIES) == RECOVERIES)
			n_recovery += watch(f, stage->dead == A ? recover_a : recover_b,
					    stage->dead, NULL, 0);
		restore(f, &f->before);
	}
	print_message("# %s: %u changes, %u of the recovery's\n", stage->name, n, n_recovery);
}

/* ---- what a client does ---------------------------------------------------------------- */

#define DO(condition)             \
	do {                      \
		if (!(condition)) \
			_exit(2); \
	} while (0)

static void b_takes(struct fixture *f)
{
	DO(heap_take(f->b.heap, f->offer, SIZE) == f->offered);
}

static void b_takes_and_frees(struct fixture *f)
{
	DO(heap_take(f->b.heap, f->offer, SIZE) == f->offered);
	DO(heap_free(f->b.heap, f->offered) == 0);
}

static void b_frees_foreign(struct fixture *f)
{
	DO(heap_free(f->b.heap, f->taken) == 0);
}

static void b_allocates(struct fixture *f)
{
	DO(heap_alloc(f->b.heap, SIZE));
}

static void b_allocates_huge(struct fixture *f)
{
	DO(heap_alloc(f->b.heap, 3u << 20));
}

static void b_takes_huge(struct fixture *f)
{
	DO(heap_take(f->b.heap, f->offer_huge, 3u << 20) == f->huge);
	DO(heap_free(f->b.heap, f->huge) == 0);
}

static void b_leaves(struct fixture *f)
{
	DO(heap_free(f->b.heap, f->mine) == 0);
	heap_close(f->b.heap);
}

static void a_allocates(struct fixture *f)
{
	DO(heap_alloc(f->a.heap, SIZE));
}

static void a_cuts_a_span(struct fixture *f)
{
	DO(heap_alloc(f->a.heap, 896));
}

static void a_grows(struct fixture *f)
{
	DO(heap_alloc(f->a.heap, 983040));
}

static void a_frees(struct fixture *f)
{
	DO(heap_free(f->a.heap, f->own) == 0);
}

static void a_frees_known(struct fixture *f)
{
	DO(heap_free(f->a.heap, f->known) == 0);
}

static void a_collects(struct fixture *f)
{
	DO(heap_free(f->a.heap, f->own) == 0);
	DO(heap_free(f->a.heap, f->known) == 0);
	heap_collect(f->a.heap);
}

static void a_frees_huge(struct fixture *f)
{
	DO(heap_free(f->a.heap, f->huge) == 0);
}

static struct stage stages[] = {
	{ "b takes", B, b_takes },
	{ "b takes and frees", B, b_takes_and_frees },
	{ "b frees what was a's", B, b_frees_foreign },
	{ "b allocates", B, b_allocates },
	{ "b allocates huge", B, b_allocates_huge },
	{ "b takes and frees huge", B, b_takes_huge },
	{ "b leaves", B, b_leaves },
	{ "a allocates", A, a_allocates },
	{ "a cuts a span", A, a_cuts_a_span },
	{ "a grows", A, a_grows },
	{ "a frees", A, a_frees },
	{ "a frees what b knows", A, a_frees_known },
	{ "a collects", A, a_collects },
	{ "a frees huge", A, a_frees_huge },
};

/* ---- the tests --------------------------------------------------------------------------- */

/* Have the heap make its notes for every extent: to fill fresh ones with zeros takes more instructions than all else, and is
 * private. */
static void make_notes(struct heap *heap)
{
	void *block[EXTENTS - 2];

	for (unsigned i = 0; i < array_size(block); i++) {
		block[i] = heap_alloc(heap, PORTAL_EXTENT - HEAP_HEAD);
		assert_non_null(block[i]);
	}
	for (unsigned i = 0; i < array_size(block); i++)
		assert_int_equal(heap_free(heap, block[i]), 0);
	heap_collect(heap);
}

static struct fixture *set_up(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	ground_up(&f->ground, EXTENTS);
	ground_enter(&f->ground, &f->a, A, 1);
	ground_enter(&f->ground, &f->b, B, 1);
	make_notes(f->a.heap);
	make_notes(f->b.heap);
	f->taken = heap_alloc(f->a.heap, SIZE);
	f->offered = heap_alloc(f->a.heap, SIZE);
	f->own = heap_alloc(f->a.heap, SIZE);
	f->known = heap_alloc(f->a.heap, SIZE);
	f->freed = heap_alloc(f->a.heap, SIZE);
	f->huge = heap_alloc(f->a.heap, 3u << 20);
	f->mine = heap_alloc(f->b.heap, SIZE);
	assert_true(heap_handle(f->a.heap, f->known));
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, f->taken), SIZE));
	assert_non_null(heap_take(f->b.heap, heap_handle(f->a.heap, f->freed), SIZE));
	assert_int_equal(heap_free(f->b.heap, f->freed), 0);
	f->offer_huge = heap_handle(f->a.heap, f->huge);
	f->offer = heap_handle(f->a.heap, f->offered);
	return f;
}

static void tear_down(struct fixture *f)
{
	heap_close(f->a.heap);
	heap_close(f->b.heap);
	ground_down(&f->ground);
	free(f);
}

static void test_stage(void **state)
{
	struct fixture *f = set_up();
	pid_t pid = begin(f, b_takes);
	int status;

	if (!pid) {
		tear_down(f);
		print_message("# SKIP a process may not trace its children here\n");
		skip();
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	run_stage(f, *state);
	tear_down(f);
}

int main(void)
{
	struct CMUnitTest tests[array_size(stages)];

	for (unsigned i = 0; i < array_size(stages); i++)
		tests[i] =
			(struct CMUnitTest){ stages[i].name, test_stage, NULL, NULL, &stages[i] };
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("portal_heap_death", tests, NULL, NULL);
}
