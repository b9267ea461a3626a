/* SPDX-License-Identifier: MIT */
/* A packed ring's record that changes while it is read.
 *
 * The record may lie in a region that the frontend has mapped, too, so what was checked is not what is there later.  The
 * change is made to happen at its worst moment, and each time: the record's batch and the ring are pages that cannot be
 * read, and who tries to is held up.  The first to be read is the batch, in order to check it; the next is the ring,
 * to see whether the batch is in it.  Then the batch is changed, and read once more in order to be published.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "driver.h"
#include "place.h"
#include "vq.h"

#define NUM                 16
#define CHAINS              8
#define PAGE                4096u
#define HEAD(id, n_entries) ((uint32_t)(n_entries) << 16 | (id))

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	uint8_t *pages;         /* two, */
	struct vq_place *place; /* whose border is where the batch begins */
	uint8_t *ring;          /* the device's view of it: a page */
};

/* What the handler of signals needs. */
static struct {
	struct fixture *f;
	unsigned n_traps;
	unsigned at;   /* this chain of the batch, */
	uint32_t head; /* becomes this */
} trap;

static void protect(void *page, int how)
{
	if (mprotect(page, PAGE, how) < 0)
		_exit(3);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct fixture *f = trap.f;
	uint8_t *at = info->si_addr, *batch = f->pages + PAGE;

	if (trap.n_traps == 0 && at >= batch && at < batch + PAGE) {
		protect(batch, PROT_READ | PROT_WRITE);
		protect(f->ring, PROT_NONE);
	} else if (trap.n_traps == 1 && at >= f->ring && at < f->ring + PAGE) {
		protect(f->ring, PROT_READ | PROT_WRITE);
		f->place->batch[trap.at].head = trap.head;
	} else {
		static const char text[] = "# read where nothing was expected to be read\n";

		(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
		_exit(3);
	}
	trap.n_traps++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;
	void *ring;

	assert_int_equal(sysconf(_SC_PAGESIZE), PAGE);
	guest_init(&f->guest, 1, 1 << 20);
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_init(&f->driver, &f->guest, NUM, BIT_ULL(VIRTIO_F_RING_PACKED));
	driver_params(&f->driver, &p);
	assert_int_equal(mem_uva_to_va(&f->mem, p.desc, PAGE, &ring), 0);
	f->ring = ring;
	f->pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->pages != MAP_FAILED);
	f->place = (void *)(f->pages + PAGE - offsetof(struct vq_place, batch));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	munmap(f->pages, 2 * PAGE);
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	free(f);
	return 0;
}

static void start(struct fixture *f, struct vq *vq)
{
	struct vq_params p;

	driver_params(&f->driver, &p);
	p.place = f->place;
	assert_int_equal(vq_start(vq, &f->mem, &p), 0);
}

/* A device takes CHAINS chains and dies with its batch on record and nothing of it in the ring. */
static void die_before_the_ring(struct fixture *f)
{
	static struct vq_burst burst;
	struct driver_buf buf = { guest_alloc(&f->guest, 64, 64), 64 };
	uint8_t before[NUM * sizeof(struct vring_packed_desc)];
	struct vq vq = { 0 };

	start(f, &vq);
	for (unsigned i = 0; i < CHAINS; i++)
		assert_true(driver_add(&f->driver, &buf, 0, 1) >= 0);
	driver_publish(&f->driver);
	assert_int_equal(vq_pop(&vq, &burst, CHAINS), CHAINS);
	for (unsigned i = 0; i < CHAINS; i++)
		vq_push(&vq, burst.chain[i].head, 8);
	memcpy(before, f->ring, sizeof(before));
	vq_write_staged(&vq);
	memcpy(f->ring, before, sizeof(before));
	assert_int_equal(PLACE_N(f->place->word), CHAINS);
}

/* The successor repeats what is as it was when it looked, and is none the worse for the rest. */
static void expect_redone(struct fixture *f, unsigned n)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	static struct vq_burst burst;
	struct vq vq = { 0 };
	uint32_t base, len;

	trap.f = f;
	trap.n_traps = 0;
	assert_int_equal(sigaction(SIGSEGV, &action, NULL),
			 0); /* here: cmocka has one of its own */
	protect(f->pages + PAGE, PROT_NONE);
	start(f, &vq);
	assert_int_equal(trap.n_traps, 2);
	assert_int_equal(vq.in_flight, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(driver_used(&f->driver, &len), i);
		assert_int_equal(len, 8);
	}
	assert_true(driver_used(&f->driver, &len) < 0);
	assert_int_equal(vq_pop(&vq, &burst, VQ_BURST), 0);
	vq_stop(&vq, &base);
	assert_int_equal(base & 0xffff, CHAINS | VRING_PACKED_WRAP);
}

static void test_as_it_was(void **state)
{
	struct fixture *f = *state;

	die_before_the_ring(f);
	trap.at = 3;
	trap.head = f->place->batch[3].head;
	expect_redone(f, CHAINS);
}

/* A chain of no entries: the place would not move. */
static void test_becomes_nothing(void **state)
{
	struct fixture *f = *state;

	die_before_the_ring(f);
	trap.at = 3;
	trap.head = HEAD(3, 0);
	expect_redone(f, 3);
}

/* Chains that take more entries than were found to be in flight, by one and by all that fit the field. */
static void test_becomes_too_much(void **state)
{
	struct fixture *f = *state;

	die_before_the_ring(f);
	trap.at = 3;
	trap.head = HEAD(3, CHAINS - 3 + 1);
	expect_redone(f, 3);
}

static void test_becomes_far_too_much(void **state)
{
	struct fixture *f = *state;

	die_before_the_ring(f);
	trap.at = 0;
	trap.head = HEAD(0, UINT16_MAX);
	expect_redone(f, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_as_it_was),
		CASE(test_becomes_nothing),
		CASE(test_becomes_too_much),
		CASE(test_becomes_far_too_much),
	};

	return cmocka_run_group_tests_name("place_hostile", tests, NULL, NULL);
}
