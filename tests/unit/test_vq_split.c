/* SPDX-License-Identifier: MIT */
/* A split ring whose driver breaks the rules: each rule, and what past holes taught. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checked.h"
#include "driver.h"
#include "vq.h"

#define NUM     8
#define REGION  (1ULL << 30) /* sparse: four readable gigabytes take five descriptors */
#define NEXT    VRING_DESC_F_NEXT
#define WRITE   VRING_DESC_F_WRITE
#define INDIR   VRING_DESC_F_INDIRECT
#define DATA    (GUEST_GPA + (1 << 20))
#define TABLE   (GUEST_GPA + (2 << 20))
#define END     (GUEST_GPA + REGION)
#define NOWHERE 0x1000ULL

#ifndef __has_feature
#define __has_feature(name) 0 /* clang's way of asking */
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define THREAD_SANITIZER true
#else
#define THREAD_SANITIZER false
#endif

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
};

static int setup_features(void **state, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	guest_init(&f->guest, 1, REGION);
	driver_init(&f->driver, &f->guest, NUM, features);
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_features(state, BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
}

static int setup_no_indirect(void **state)
{
	return setup_features(state, 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	uint32_t base;

	vq_stop(&f->vq, &base);
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	free(f);
	return 0;
}

static void desc(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	driver_raw_desc(&f->driver, i, addr, len, flags, next);
}

static void table(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		  uint16_t next)
{
	struct vring_desc *d = guest_ptr(&f->guest, GPA(TABLE), 64 * sizeof(*d));

	d[i] = (struct vring_desc){ le64_of(addr), le32_of(len), le16_of(flags), le16_of(next) };
}

/* The chain at descriptor 0 breaks the ring for this cause, and it stays broken. */
static void expect_broken(struct fixture *f, enum vq_cause cause)
{
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, cause);
	assert_int_equal(f->burst.n, 0);
	desc(f, 0, DATA, 1, 0, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, cause);
}

/* CVE-2026-86846: the available index is the guest's to write. */
static void test_avail_index_jumps(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, DATA, 1, 0, 0);
	le16_store(&f->driver.avail->idx, NUM);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), NUM);
	/* Eight are in flight: a ninth cannot be. */
	le16_store(&f->driver.avail->idx, NUM + 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_AVAIL_JUMP);
}

static void test_avail_index_goes_back(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, DATA, 1, 0, 0);
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	le16_store(&f->driver.avail->idx, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_AVAIL_JUMP);
}

/* CVE-2020-10723: an index is compared with the ring's size before it is used. */
static void test_head_out_of_range(void **state)
{
	struct fixture *f = *state;

	desc(f, NUM - 1, DATA, 1, 0, 0);
	driver_raw_avail(&f->driver, NUM - 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	driver_raw_avail(&f->driver, NUM);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_HEAD_RANGE);
}

static void test_next_out_of_range(void **state)
{
	desc(*state, 0, DATA, 1, NEXT, NUM);
	expect_broken(*state, VQ_NEXT_RANGE);
}

static void test_next_out_of_indirect_range(void **state)
{
	desc(*state, 0, TABLE, 2 * 16, INDIR, 0);
	table(*state, 0, DATA, 1, NEXT, 2); /* inside the ring's size, outside the table's */
	expect_broken(*state, VQ_NEXT_RANGE);
}

/* CVE-2026-86847: chains that never end. */
static void test_loop_of_one(void **state)
{
	desc(*state, 0, DATA, 1, NEXT, 0);
	expect_broken(*state, VQ_CHAIN_LOOP);
}

static void test_loop_of_all(void **state)
{
	for (uint16_t i = 0; i < NUM; i++)
		desc(*state, i, DATA, 1, NEXT, (uint16_t)((i + 1) % NUM));
	expect_broken(*state, VQ_CHAIN_LOOP);
}

static void test_chain_of_all(void **state)
{
	struct fixture *f = *state;

	for (uint16_t i = 0; i < NUM; i++)
		desc(f, i, DATA, 1, i < NUM - 1 ? NEXT : 0, (uint16_t)(i + 1));
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(f->burst.chain[0].n_out, NUM);
}

static void test_loop_in_indirect_table(void **state)
{
	desc(*state, 0, TABLE, 3 * 16, INDIR, 0);
	table(*state, 0, DATA, 1, NEXT, 1);
	table(*state, 1, DATA, 1, NEXT, 2);
	table(*state, 2, DATA, 1, NEXT, 1);
	expect_broken(*state, VQ_CHAIN_LOOP);
}

static void test_zero_length(void **state)
{
	desc(*state, 0, DATA, 0, 0, 0);
	expect_broken(*state, VQ_ZERO_LEN);
}

static void test_zero_length_later_in_chain(void **state)
{
	desc(*state, 0, DATA, 1, NEXT, 1);
	desc(*state, 1, DATA, 0, WRITE, 0);
	expect_broken(*state, VQ_ZERO_LEN);
}

/* CVE-2020-10725: a translation can fail. */
static void test_address_unmapped(void **state)
{
	desc(*state, 0, NOWHERE, 64, 0, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

static void test_address_null(void **state)
{
	desc(*state, 0, 0, 64, WRITE, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

/* CVE-2018-1059: the start is mapped, the end is not. */
static void test_address_ends_outside(void **state)
{
	struct fixture *f = *state;

	desc(f, 1, END - 64, 64, 0, 0);
	driver_raw_avail(&f->driver, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	desc(f, 0, END - 64, 65, 0, 0);
	expect_broken(f, VQ_UNMAPPED);
}

static void test_address_wraps(void **state)
{
	desc(*state, 0, UINT64_MAX - 15, 64, 0, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

/* A region at the very end of the address space and one at its start are no neighbours. */
static void test_address_wraps_into_a_region(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[GUEST_MAX_REGIONS];
	int fds[GUEST_MAX_REGIONS];
	struct vq_params p;
	uint32_t base;

	vq_stop(&f->vq, &base);
	assert_int_equal(guest_table(&f->guest, r, fds), 1);
	r[1] = (struct mem_region_desc){ GPA(UINT64_MAX - 0xfff), UVA(0x10000), 0x1000, 0 };
	r[2] = (struct mem_region_desc){ GPA(0), UVA(0x20000), 0x1000, 0 };
	fds[1] = dup(fds[0]), fds[2] = dup(fds[0]);
	assert_int_equal(mem_set_table(&f->mem, r, 3, fds), 0);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);

	desc(f, 1, UINT64_MAX - 15, 16, 0, 0);
	driver_raw_avail(&f->driver, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	desc(f, 0, UINT64_MAX - 15, 17, 0, 0);
	expect_broken(f, VQ_UNMAPPED);
}

static void test_readable_after_writable(void **state)
{
	desc(*state, 0, DATA, 1, NEXT | WRITE, 1);
	desc(*state, 1, DATA, 1, 0, 0);
	expect_broken(*state, VQ_ORDER);
}

/* Lengths are 32 bits each, and so is their sum. */
static void test_chain_of_four_gigabytes(void **state)
{
	struct fixture *f = *state;
	const uint32_t len = 0x3ffff000; /* five of them are more than 4 GiB, four are not */

	for (uint16_t i = 0; i < 5; i++)
		desc(f, i, DATA - (1 << 20), len, i < 4 ? NEXT : 0, (uint16_t)(i + 1));
	driver_raw_avail(&f->driver, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_true(f->burst.chain[0].out_len == 4 * len);
	expect_broken(f, VQ_CHAIN_SIZE);
}

static void test_indirect_not_negotiated(void **state)
{
	desc(*state, 0, TABLE, 16, INDIR, 0);
	table(*state, 0, DATA, 1, 0, 0);
	expect_broken(*state, VQ_INDIRECT_OFF);
}

static void test_indirect_with_next(void **state)
{
	desc(*state, 0, TABLE, 16, INDIR | NEXT, 1);
	table(*state, 0, DATA, 1, 0, 0);
	desc(*state, 1, DATA, 1, 0, 0);
	expect_broken(*state, VQ_INDIRECT_NEXT);
}

static void test_indirect_in_indirect(void **state)
{
	desc(*state, 0, TABLE, 16, INDIR, 0);
	table(*state, 0, TABLE, 16, INDIR, 0);
	expect_broken(*state, VQ_INDIRECT_NESTED);
}

static void test_indirect_later_in_indirect(void **state)
{
	desc(*state, 0, TABLE, 32, INDIR, 0);
	table(*state, 0, DATA, 16, NEXT, 1);
	table(*state, 1, TABLE, 16, INDIR, 0);
	expect_broken(*state, VQ_INDIRECT_NESTED);
}

/* The ring itself as an indirect table: still one level. */
static void test_indirect_into_the_ring(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, f->driver.desc_gpa.v, NUM * 16, INDIR, 0);
	expect_broken(f, VQ_INDIRECT_NESTED);
}

static void test_indirect_into_the_ring_later(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, DATA, 16, NEXT, 1);
	desc(f, 1, f->driver.desc_gpa.v, NUM * 16, INDIR, 0);
	expect_broken(f, VQ_INDIRECT_NESTED);
}

static void test_indirect_size(void **state)
{
	struct fixture *f = *state;
	const uint32_t bad[] = { 0, 1, 15, 17, 24, (NUM + 1) * 16, UINT32_MAX, 0xfffffff0 };

	for (uint16_t i = 0; i < NUM; i++)
		table(f, i, DATA, 1, i < NUM - 1 ? NEXT : 0, (uint16_t)(i + 1));
	desc(f, 0, TABLE, NUM * 16, INDIR, 0);
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(f->burst.chain[0].n_out, NUM);

	for (unsigned i = 0; i < array_size(bad); i++) {
		uint32_t base;
		struct vq_params p;

		vq_stop(&f->vq, &base);
		f->driver.avail_idx = 0;
		le16_store(&f->driver.avail->idx, 0);
		driver_params(&f->driver, &p);
		assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
		desc(f, 0, TABLE, bad[i], INDIR, 0);
		expect_broken(f, VQ_INDIRECT_SIZE);
	}
}

static void test_indirect_table_unmapped(void **state)
{
	desc(*state, 0, NOWHERE, 16, INDIR, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

/* CVE-2026-93683: the table's start is mapped, its end is not. */
static void test_indirect_table_ends_outside(void **state)
{
	desc(*state, 0, END - 16, 32, INDIR, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

/* What came in front of a bad chain is handed out, and what it gave is not lost. */
static void test_good_chains_first(void **state)
{
	struct fixture *f = *state;

	desc(f, 1, DATA, 10, 0, 0);
	desc(f, 2, DATA, 0, 0, 0);
	driver_raw_avail(&f->driver, 1);
	driver_raw_avail(&f->driver, 1);
	driver_raw_avail(&f->driver, 2);
	driver_raw_avail(&f->driver, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 2);
	assert_int_equal(f->vq.cause, VQ_OK);
	vq_push(&f->vq, f->burst.chain[0].head, 0);
	vq_push(&f->vq, f->burst.chain[1].head, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_ZERO_LEN);
	vq_publish(&f->vq);
	assert_int_equal(le16_load(&f->driver.used->idx), 2);
}

static void test_good_chains_before_bad_head(void **state)
{
	struct fixture *f = *state;

	desc(f, 1, DATA, 10, 0, 0);
	driver_raw_avail(&f->driver, 1);
	driver_raw_avail(&f->driver, 0xffff);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_HEAD_RANGE);
}

struct mutator {
	struct fixture *f;
	bool stop;
};

/* Flip descriptors and the indirect table between good and bad, as fast as can be. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	struct vring_desc *ring = m->f->driver.desc;
	struct vring_desc *t = guest_ptr(&m->f->guest, GPA(TABLE), 64 * sizeof(*t));

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		le32_store(&ring[0].len, 0xffffffff);
		le64_store(&t[0].addr, NOWHERE);
		le16_store(&t[1].next, 0xffff);
		le32_store(&ring[1].len, 0x7fffffff & ~15U);
		le32_store(&ring[0].len, 64);
		le64_store(&t[0].addr, DATA);
		le16_store(&t[1].next, 2);
		le32_store(&ring[1].len, 3 * 16);
	}
	return NULL;
}

static void check_inside_guest(const struct fixture *f, const struct vq_chain *c)
{
	const struct mem_region *r = &f->mem.region[0];
	uint64_t total = 0;

	for (unsigned i = 0; i < (unsigned)c->n_out + c->n_in; i++) {
		uint64_t off = (uint64_t)((uint8_t *)c->iov[i].iov_base - r->va);

		assert_true(c->iov[i].iov_len > 0);
		assert_true(range_within(off, c->iov[i].iov_len, r->size));
		total += c->iov[i].iov_len;
	}
	assert_true(total == (uint64_t)c->out_len + c->in_len);
}

/* CVE-2026-86562, CVE-2026-86848: descriptors that change between the check and the use.  Whatever is handed out lies
 * in guest memory, and is what was checked. */
static void test_descriptors_change_under_us(void **state)
{
	struct fixture *f = *state;
	struct mutator m = { .f = f };
	unsigned good = 0, bad = 0;
	struct vq_params p;
	pthread_t thread;
	uint32_t base;

	if (THREAD_SANITIZER) {
		print_message("# SKIP under the thread sanitizer: the race is the test\n");
		skip();
	}
	desc(f, 0, DATA, 64, 0, 0);
	desc(f, 1, TABLE, 3 * 16, INDIR, 0);
	for (uint16_t i = 0; i < 3; i++)
		table(f, i, DATA, 64, i < 2 ? NEXT : WRITE, (uint16_t)(i + 1));
	driver_params(&f->driver, &p);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	for (unsigned round = 0; round < 20000; round++) {
		int n;

		driver_raw_avail(&f->driver, (uint16_t)(round % 2));
		n = vq_pop(&f->vq, &f->burst, VQ_BURST);
		if (n == 1) {
			check_inside_guest(f, &f->burst.chain[0]);
			vq_push(&f->vq, f->burst.chain[0].head, 0);
			vq_publish(&f->vq);
			good++;
			continue;
		}
		assert_int_equal(n, -EBADMSG);
		bad++;
		vq_stop(&f->vq, &base);
		/* As if the driver had begun anew: the chain that broke the ring is not looked at again. */
		p.base = f->driver.avail_idx;
		f->driver.used->idx = le16_of(f->driver.avail_idx);
		assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(good + bad, 20000);
	assert_true(good > 0);
}

/* CVE-2026-86567: ring pointers die with the memory table.  Going on with them is our own mistake, and ends at once. */
static void test_table_changed_while_running(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		if (freopen("/dev/null", "w", stderr) && mem_set_table(&f->mem, NULL, 0, NULL) == 0)
			vq_pop(&f->vq, &f->burst, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Memory that its owner truncates reads as zeros: the ring has nothing more to say, and nobody dies. */
static void test_memory_truncated_while_running(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, DATA, 64, 0, 0);
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	vq_push(&f->vq, f->burst.chain[0].head, 0);

	assert_int_equal(ftruncate(f->guest.fd[0], 0), 0);
	assert_int_equal(*(volatile uint8_t *)f->burst.iov[0].iov_base, 0);
	assert_true(mem_damaged(&f->mem));
	vq_publish(&f->vq);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_AVAIL_JUMP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_avail_index_jumps),
		TEST(test_avail_index_goes_back),
		TEST(test_head_out_of_range),
		TEST(test_next_out_of_range),
		TEST(test_next_out_of_indirect_range),
		TEST(test_loop_of_one),
		TEST(test_loop_of_all),
		TEST(test_chain_of_all),
		TEST(test_loop_in_indirect_table),
		TEST(test_zero_length),
		TEST(test_zero_length_later_in_chain),
		TEST(test_address_unmapped),
		TEST(test_address_null),
		TEST(test_address_ends_outside),
		TEST(test_address_wraps),
		TEST(test_address_wraps_into_a_region),
		TEST(test_readable_after_writable),
		TEST(test_chain_of_four_gigabytes),
		cmocka_unit_test_setup_teardown(test_indirect_not_negotiated, setup_no_indirect,
						teardown),
		TEST(test_indirect_with_next),
		TEST(test_indirect_in_indirect),
		TEST(test_indirect_later_in_indirect),
		TEST(test_indirect_into_the_ring),
		TEST(test_indirect_into_the_ring_later),
		TEST(test_indirect_size),
		TEST(test_indirect_table_unmapped),
		TEST(test_indirect_table_ends_outside),
		TEST(test_good_chains_first),
		TEST(test_good_chains_before_bad_head),
		TEST(test_descriptors_change_under_us),
		TEST(test_table_changed_while_running),
		TEST(test_memory_truncated_while_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
