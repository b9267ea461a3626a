/* SPDX-License-Identifier: MIT */
/* Guest memory: what a frontend may describe, what it may not, and what happens when it takes the memory away. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "fds.h"
#include "mem.h"

#define KB 1024ULL

struct fixture {
	struct mem mem;
	unsigned n_fds; /* open in the process when the test began */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	mem_init(&f->mem);
	f->n_fds = count_fds();
	*state = f;
	return 0;
}

/* Every test ends without a descriptor more than it began with: whatever was refused, was closed. */
static int teardown(void **state)
{
	struct fixture *f = *state;

	mem_done(&f->mem);
	assert_int_equal(count_fds(), f->n_fds);
	free(f);
	return 0;
}

static int memory_file(uint64_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static struct mem_region_desc region(uint64_t gpa, uint64_t uva, uint64_t size, uint64_t offset)
{
	return (struct mem_region_desc){ GPA(gpa), UVA(uva), size, offset };
}

static int set_one(struct mem *m, struct mem_region_desc r, uint64_t file_size)
{
	int fd = memory_file(file_size);

	return mem_set_table(m, &r, 1, &fd);
}

static void test_translates(void **state)
{
	struct fixture *f = *state;
	int fd = memory_file(64 * KB), kept = dup(fd);
	struct mem_region_desc r = region(0x10000, 0x7f0000000000, 32 * KB, 16 * KB);
	char text[8] = { 0 };
	void *va, *same;

	assert_int_equal(mem_set_table(&f->mem, &r, 1, &fd), 0);
	assert_int_equal(pwrite(kept, "hello", 5, 16 * KB + 100), 5);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000 + 100), 5, &va), 0);
	assert_memory_equal(va, "hello", 5);
	assert_int_equal(mem_uva_to_va(&f->mem, UVA(0x7f0000000000 + 100), 5, &same), 0);
	assert_ptr_equal(va, same);

	/* And what we write is in the file. */
	memcpy(va, "world", 5);
	assert_int_equal(pread(kept, text, 5, 16 * KB + 100), 5);
	assert_string_equal(text, "world");
	close(kept);
}

static void test_edges(void **state)
{
	struct fixture *f = *state;
	void *va = NULL;

	assert_int_equal(set_one(&f->mem, region(0x10000, 0x50000, 0x4000, 0), 0x4000), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x4000, &va), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x13fff), 1, &va), 0);
	va = NULL;
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x4001, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x14000), 1, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0xffff), 2, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x13fff), SIZE_MAX, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(UINT64_MAX), 2, &va), -EFAULT);
	assert_int_equal(mem_uva_to_va(&f->mem, UVA(0x10000), 1, &va), -EFAULT);
	assert_int_equal(mem_uva_to_va(&f->mem, UVA(0x53fff), 2, &va), -EFAULT);
	assert_null(va); /* untouched on failure */
}

/* CVE-2018-1059: an address that is mapped says nothing about where its range ends. */
static void test_range_across_regions(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[2] = {
		region(0x10000, 0x50000, 0x1000, 0),
		region(0x11000, 0x90000, 0x1000, 0),
	};
	int fds[2] = { memory_file(0x1000), memory_file(0x1000) };
	unsigned hint = 0;
	void *va, *first, *second;

	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10800), 0x1000, &va), -EFAULT);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x1000, &first), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x11000), 0x1000, &second), 0);

	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x10800), 0x1000, &va), 0x800);
	assert_ptr_equal(va, (char *)first + 0x800);
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x11000), 0x800, &va), 0x800);
	assert_ptr_equal(va, second);
	assert_int_equal(hint, 1);
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x10fff), 1, &va), 1);
	assert_int_equal(hint, 0);
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x12000), 1, &va), 0);
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0xffff), 1, &va), 0);
}

/* CVE-2026-86561 and its family: sizes and offsets that wrap, or that the file does not have. */
static void test_refuses_impossible_regions(void **state)
{
	struct fixture *f = *state;
	const struct mem_region_desc bad[] = {
		region(0x10000, 0x50000, 0, 0),
		region(0x10000, 0x50000, 0x2001, 0),
		region(0x10000, 0x50000, 0x1000, 0x1001),
		region(0x10000, 0x50000, 0x1000, UINT64_MAX),
		region(0x10000, 0x50000, 0x1000, UINT64_MAX - 0xfff),
		region(0x10000, 0x50000, UINT64_MAX, 0),
		region(0x10000, 0x50000, UINT64_MAX, 0x1000),
		region(UINT64_MAX - 0xffe, 0x50000, 0x1000, 0),
		region(0x10000, UINT64_MAX - 0xffe, 0x1000, 0),
	};

	for (unsigned i = 0; i < array_size(bad); i++)
		assert_int_equal(set_one(&f->mem, bad[i], 0x2000), -EINVAL);
	assert_int_equal(f->mem.n, 0);
	/* The last byte of either address space may be used. */
	assert_int_equal(set_one(&f->mem, region(UINT64_MAX - 0xfff, UINT64_MAX - 0xfff, 0x1000, 0),
				 0x1000),
			 0);
}

static void test_refuses_overlap(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[2] = {
		region(0x10000, 0x50000, 0x2000, 0),
		region(0x11fff, 0x90000, 0x1000, 0),
	};
	int fds[2];

	fds[0] = memory_file(0x2000), fds[1] = memory_file(0x2000);
	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), -EINVAL);

	r[1] = region(0x90000, 0x4f001, 0x1000, 0);
	fds[0] = memory_file(0x2000), fds[1] = memory_file(0x2000);
	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), -EINVAL);

	r[1] = region(0x12000, 0x4f000, 0x1000, 0); /* both touch, neither overlaps */
	fds[0] = memory_file(0x2000), fds[1] = memory_file(0x2000);
	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), 0);

	assert_int_equal(mem_add_region(&f->mem, &r[1], memory_file(0x2000)), -EINVAL);
	assert_int_equal(f->mem.n, 2);
}

static void test_refuses_what_is_no_file(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r = region(0x10000, 0x50000, 0x1000, 0);
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(mem_add_region(&f->mem, &r, pipes[0]), -ENODEV);
	close(pipes[1]);
	assert_int_equal(mem_add_region(&f->mem, &r, eventfd(0, 0)), -ENODEV);
	assert_int_equal(mem_add_region(&f->mem, &r, open("/dev/zero", O_RDWR)), -ENODEV);
	assert_int_equal(mem_add_region(&f->mem, &r, open("/", O_RDONLY)), -ENODEV);
	assert_int_equal(mem_add_region(&f->mem, &r, -1), -EBADF);
}

static void test_refuses_read_only_file(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r = region(0x10000, 0x50000, 0x1000, 0);
	int fd = memory_file(0x1000), read_only;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY);
	assert_true(read_only >= 0);
	close(fd);
	assert_int_equal(mem_add_region(&f->mem, &r, read_only), -EACCES);
}

static void test_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[2] = {
		region(0x20000, 0x60000, 0x1000, 0),
		region(0x30000, 0x70000, 0x1000, 0),
	};
	int fds[2] = { memory_file(0x1000), memory_file(0xfff) };
	uint32_t generation;
	void *va, *again;

	assert_int_equal(set_one(&f->mem, region(0x10000, 0x50000, 0x1000, 0), 0x1000), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x1000, &va), 0);
	generation = mem_generation(&f->mem);

	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), -EINVAL);
	assert_int_equal(mem_generation(&f->mem), generation);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x1000, &again), 0);
	assert_ptr_equal(va, again);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x20000), 1, &again), -EFAULT);

	/* A good one takes its place, and the old pages are gone. */
	fds[0] = memory_file(0x1000), fds[1] = memory_file(0x1000);
	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), 0);
	assert_int_not_equal(mem_generation(&f->mem), generation);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 1, &again), -EFAULT);
	assert_int_equal(msync(va, 0x1000, MS_ASYNC), -1);
	assert_int_equal(errno, ENOMEM);

	assert_int_equal(mem_set_table(&f->mem, NULL, 0, NULL), 0);
	assert_int_equal(f->mem.n, 0);
}

static void test_limit_of_regions(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[MEM_MAX_REGIONS + 1];
	int fds[MEM_MAX_REGIONS + 1];

	for (unsigned i = 0; i < array_size(r); i++) {
		r[i] = region(0x10000 + i * 0x1000, 0x90000000 + i * 0x1000, 0x1000, 0);
		fds[i] = memory_file(0x1000);
	}
	assert_int_equal(mem_set_table(&f->mem, r, MEM_MAX_REGIONS + 1, fds), -EINVAL);

	for (unsigned i = 0; i < MEM_MAX_REGIONS; i++)
		fds[i] = memory_file(0x1000);
	assert_int_equal(mem_set_table(&f->mem, r, MEM_MAX_REGIONS, fds), 0);
	assert_int_equal(mem_add_region(&f->mem, &r[MEM_MAX_REGIONS], memory_file(0x1000)),
			 -ENOSPC);
}

/* Sparse files are as large as their owner says. */
static void test_limit_of_bytes(void **state)
{
	struct fixture *f = *state;
	const uint64_t half = MEM_MAX_BYTES / 2;
	struct mem_region_desc r[3] = {
		region(0, 0, half, 0),
		region(half, half, half, 0),
		region(2 * half, 2 * half, 1, 0),
	};
	int all[2] = { memory_file(half), memory_file(half) };
	int beyond[3] = { memory_file(half), memory_file(half), memory_file(1) };

	assert_int_equal(set_one(&f->mem, region(0, 0, MEM_MAX_BYTES, 0), MEM_MAX_BYTES), 0);
	assert_int_equal(set_one(&f->mem, region(0, 0, MEM_MAX_BYTES + 1, 0), MEM_MAX_BYTES + 1),
			 -ENOSPC);
	assert_int_equal(mem_set_table(&f->mem, r, 3, beyond), -ENOSPC);
	assert_int_equal(mem_set_table(&f->mem, r, 2, all), 0);
	assert_int_equal(mem_add_region(&f->mem, &r[2], memory_file(1)), -ENOSPC);
	assert_int_equal(f->mem.n, 2);

	/* What is taken out makes room. */
	assert_int_equal(mem_del_region(&f->mem, &r[0]), 0);
	r[0].size--;
	assert_int_equal(mem_add_region(&f->mem, &r[0], memory_file(half)), 0);
	assert_int_equal(mem_add_region(&f->mem, &r[2], memory_file(1)), 0);
}

static void test_offset_need_not_be_aligned(void **state)
{
	struct fixture *f = *state;
	int fd = memory_file(0x4000), kept = dup(fd);
	struct mem_region_desc r = region(0x10000, 0x50000, 0x1801, 0x1234);
	void *va;

	assert_int_equal(pwrite(kept, "x", 1, 0x1234), 1);
	assert_int_equal(pwrite(kept, "y", 1, 0x1234 + 0x1800), 1);
	assert_int_equal(mem_set_table(&f->mem, &r, 1, &fd), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x1801, &va), 0);
	assert_int_equal(*(char *)va, 'x');
	assert_int_equal(((char *)va)[0x1800], 'y');
	close(kept);
}

static void test_add_and_remove(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc a = region(0x10000, 0x50000, 0x1000, 0);
	struct mem_region_desc b = region(0x20000, 0x60000, 0x1000, 0);
	struct mem_region_desc other = a;
	uint32_t generation = mem_generation(&f->mem);
	unsigned hint = 0;
	void *va;

	assert_int_equal(mem_add_region(&f->mem, &a, memory_file(0x1000)), 0);
	assert_int_equal(mem_add_region(&f->mem, &b, memory_file(0x1000)), 0);
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x20000), 1, &va), 1);
	assert_int_equal(hint, 1);

	other.size = 0x800;
	assert_int_equal(mem_del_region(&f->mem, &other), -ENOENT);
	other = a, other.uva.v++;
	assert_int_equal(mem_del_region(&f->mem, &other), -ENOENT);
	other = a, other.mmap_offset = 0x7777; /* does not count */
	assert_int_equal(mem_del_region(&f->mem, &other), 0);
	assert_int_equal(mem_del_region(&f->mem, &a), -ENOENT);
	assert_int_equal(mem_generation(&f->mem), generation + 3);

	/* The stale hint points behind the table now, and harms nobody. */
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x20000), 1, &va), 1);
	hint = 1;
	assert_int_equal(mem_gpa_span(&f->mem, &hint, GPA(0x10000), 1, &va), 0);
}

/* Each system call below a table change fails once: nothing is lost, and the old table works on.  The teardown counts
 * descriptors. */
static void test_each_call_fails(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[3] = {
		region(0x20000, 0x60000, 0x1000, 0),
		region(0x30000, 0x70000, 0x1000, 0),
		region(0x40000, 0x80000, 0x1000, 0),
	};
	unsigned n = 1;
	void *va;

	assert_int_equal(set_one(&f->mem, region(0x10000, 0x50000, 0x1000, 0), 0x1000), 0);
	for (;; n++) {
		int fds[3] = { memory_file(0x1000), memory_file(0x1000), memory_file(0x1000) }, err;

		fault_arm(n);
		err = mem_set_table(&f->mem, r, 3, fds);
		if (!fault_disarm())
			break;
		assert_true(err == -ENOMEM || err == -EIO);
		assert_int_equal(f->mem.n, 1);
		assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x1000, &va), 0);
	}
	assert_int_equal(n, 7); /* an fstat() and an mmap() for each of the three */
	assert_int_equal(f->mem.n, 3);
}

static void test_truncated_file_reads_zeros(void **state)
{
	struct fixture *f = *state;
	struct mem_region_desc r[2] = {
		region(0x10000, 0x50000, 0x8000, 0),
		region(0x20000, 0x60000, 0x1000, 0),
	};
	int fds[2] = { memory_file(0x8000), memory_file(0x1000) }, kept = dup(fds[0]);
	volatile char *victim, *bystander;
	struct mem other;
	void *va;

	assert_int_equal(mem_guard_install(), 0);
	mem_init(&other);
	assert_int_equal(set_one(&other, region(0x10000, 0x50000, 0x1000, 0), 0x1000), 0);
	assert_int_equal(mem_set_table(&f->mem, r, 2, fds), 0);
	assert_int_equal(mem_gpa_to_va(&f->mem, GPA(0x10000), 0x8000, &va), 0);
	victim = va;
	assert_int_equal(mem_gpa_to_va(&other, GPA(0x10000), 0x1000, &va), 0);
	bystander = va;
	victim[0] = 1, victim[0x7fff] = 2, bystander[0] = 3;

	assert_int_equal(ftruncate(kept, 0x1000), 0);
	assert_int_equal(victim[0], 1); /* still there, and no harm noticed */
	assert_false(mem_damaged(&f->mem));
	assert_int_equal(victim[0x7fff], 0); /* the fault */
	assert_true(mem_damaged(&f->mem));
	assert_int_equal(victim[0], 0); /* all of the region, not its page */
	victim[0x2000] = 4;
	assert_int_equal(victim[0x2000], 4);

	assert_false(mem_damaged(&other));
	assert_int_equal(bystander[0], 3);
	mem_done(&other);
	close(kept);
}

/* Run fn in a child with the guard in place and the default action behind it; the signal that ended it. */
static int signal_of_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGBUS, SIG_DFL);
		if (mem_guard_install() == 0)
			fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fault_outside(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	volatile char *p;

	if (ftruncate(fd, 0x1000) < 0)
		return;
	p = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED || ftruncate(fd, 0) < 0)
		return;
	(void)*p;
}

static void kill_self(void)
{
	kill(getpid(), SIGBUS);
}

static void test_guard_leaves_other_faults_alone(void **state)
{
	assert_int_equal(signal_of_child(fault_outside), SIGBUS);
	assert_int_equal(signal_of_child(kill_self), SIGBUS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_translates),
		TEST(test_edges),
		TEST(test_range_across_regions),
		TEST(test_refuses_impossible_regions),
		TEST(test_refuses_overlap),
		TEST(test_refuses_what_is_no_file),
		TEST(test_refuses_read_only_file),
		TEST(test_all_or_nothing),
		TEST(test_limit_of_regions),
		TEST(test_limit_of_bytes),
		TEST(test_offset_need_not_be_aligned),
		TEST(test_add_and_remove),
		TEST(test_each_call_fails),
		TEST(test_truncated_file_reads_zeros),
		TEST(test_guard_leaves_other_faults_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
