/* SPDX-License-Identifier: MIT */
/* VIRTIO_F_IN_ORDER: batches shown by one used entry where nothing is lost by that, in both formats. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "driver.h"
#include "vq.h"

#define NUM      16
#define IN_ORDER BIT_ULL(VIRTIO_F_IN_ORDER)
#define PACKED   BIT_ULL(VIRTIO_F_RING_PACKED)

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	gpa_t data;
};

static int setup_features(void **state, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	guest_init(&f->guest, 1, 1 << 20);
	driver_init(&f->driver, &f->guest, NUM, features);
	f->data = guest_alloc(&f->guest, 4096, 64);
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	*state = f;
	return 0;
}

static int setup_split(void **state)
{
	return setup_features(state, IN_ORDER | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
}

static int setup_packed(void **state)
{
	return setup_features(state, IN_ORDER | PACKED | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
}

static int setup_split_plain(void **state)
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

/* One chain of n_out readable and n_in writable buffers. */
static int add(struct fixture *f, unsigned n_out, unsigned n_in)
{
	struct driver_buf bufs[8];

	for (unsigned i = 0; i < n_out + n_in; i++)
		bufs[i] = (struct driver_buf){ f->data, 64 };
	return driver_add(&f->driver, bufs, n_out, n_in);
}

/* Everything that is available goes back at once, filled as far as `fill` says. */
static void serve(struct fixture *f, uint32_t fill)
{
	int n;

	driver_publish(&f->driver);
	n = vq_pop(&f->vq, &f->burst, VQ_BURST);
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		const struct vq_chain *c = &f->burst.chain[i];

		vq_push(&f->vq, c->head, c->n_in > 0 ? fill : 0);
	}
	vq_publish(&f->vq);
}

/* Chains come back in the order in which they were added: heads[0..n). */
static void expect(struct fixture *f, const int *heads, unsigned n, const uint32_t *lens)
{
	uint32_t len;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(driver_used(&f->driver, &len), heads[i]);
		assert_int_equal(len, lens ? lens[i] : 0);
	}
	assert_int_equal(driver_used(&f->driver, &len), -EAGAIN);
}

/* How many of the used entries in places [from, from + n) were written since they were all ones. */
static void mark(struct fixture *f)
{
	for (unsigned i = 0; i < NUM && !f->driver.packed; i++)
		f->driver.used->ring[i].id = le32_of(UINT32_MAX);
}

static unsigned written(const struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NUM; i++)
		n += le32_get(f->driver.used->ring[i].id) != UINT32_MAX;
	return n;
}

/* Read-only chains: one entry, at the place of the first, with the id of the last. */
static void one_entry_for_a_batch(void **state)
{
	struct fixture *f = *state;
	int heads[5];

	mark(f);
	for (unsigned i = 0; i < 5; i++)
		heads[i] = add(f, 1, 0);
	serve(f, 0);
	assert_int_equal(le16_get(f->driver.used->idx), 5);
	assert_int_equal(written(f), 1);
	assert_int_equal(le32_get(f->driver.used->ring[0].id), heads[4]);
	expect(f, heads, 5, NULL);
}

static void packed_one_entry_for_a_batch(void **state)
{
	struct fixture *f = *state;
	uint64_t before[NUM], n = 0;
	int heads[3];

	for (unsigned i = 0; i < 3; i++)
		heads[i] = add(f, 2, 0); /* entries 0 to 5 */
	driver_publish(&f->driver);
	for (unsigned i = 0; i < NUM; i++)
		before[i] = le64_load(&f->driver.ring[i].state);
	serve(f, 0);
	for (unsigned i = 0; i < NUM; i++)
		n += le64_load(&f->driver.ring[i].state) != before[i];
	assert_int_equal(n, 1);
	assert_int_equal((uint16_t)(le64_load(&f->driver.ring[0].state) >> 32), heads[2]);
	expect(f, heads, 3, NULL);
}

/* A driver that was not asked gets all entries. */
static void not_negotiated(void **state)
{
	struct fixture *f = *state;
	int heads[5];

	mark(f);
	for (unsigned i = 0; i < 5; i++)
		heads[i] = add(f, 1, 0);
	serve(f, 0);
	assert_int_equal(written(f), 5);
	expect(f, heads, 5, NULL);
}

/* A chain with room is never left out: the driver would take it for filled to the end. */
static void writable_chains_have_their_own(void **state)
{
	static const uint32_t lens[] = { 7, 7, 7 }, none[] = { 0, 0 };
	struct fixture *f = *state;
	int heads[3];

	mark(f);
	for (unsigned i = 0; i < 3; i++)
		heads[i] = add(f, i % 2, 1);
	serve(f, 7);
	if (!f->driver.packed)
		assert_int_equal(written(f), 3);
	expect(f, heads, 3, lens);
	for (unsigned i = 0; i < 2; i++)
		heads[i] = add(f, 1, 1);
	serve(f, 0); /* nothing written: still not "filled" */
	expect(f, heads, 2, none);
}

/* A batch may end with one that was written. */
static void mixed(void **state)
{
	static const uint32_t lens[] = { 0, 0, 9, 0, 9, 9, 0, 0 };
	static const uint8_t room[] = { 0, 0, 1, 0, 1, 1, 0, 0 };
	struct fixture *f = *state;
	int heads[8];

	mark(f);
	for (unsigned i = 0; i < 8; i++)
		heads[i] = add(f, !room[i], room[i]);
	serve(f, 9);
	if (!f->driver.packed)
		assert_int_equal(written(f), 4); /* 0-2, 3-4, 5, 6-7 */
	expect(f, heads, 8, lens);
}

/* Many laps, batches of all sizes, chains of all kinds. */
static void round_and_round(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 1;

	for (unsigned lap = 0; lap < 2000; lap++) {
		int heads[NUM];
		uint32_t lens[NUM];
		unsigned n = 0;

		for (unsigned want = lap % NUM; n < want; n++) {
			unsigned kind = (seed = seed * 1103515245 + 12345) >> 16;
			unsigned n_out = 1 + kind % 2, n_in = kind / 2 % 3;
			struct driver_buf bufs[4];

			for (unsigned i = 0; i < 4; i++)
				bufs[i] = (struct driver_buf){ f->data, 32 };
			heads[n] = kind & 64 ? driver_add_indirect(&f->driver, bufs, n_out, n_in) :
					       driver_add(&f->driver, bufs, n_out, n_in);
			if (heads[n] < 0)
				break;
			lens[n] = n_in > 0 ? 3 : 0;
		}
		serve(f, 3);
		expect(f, heads, n, lens);
	}
}

int main(void)
{
#define CASE(fn, with) cmocka_unit_test_setup_teardown(fn, setup_##with, teardown)
	const struct CMUnitTest tests[] = {
		CASE(one_entry_for_a_batch, split),
		CASE(packed_one_entry_for_a_batch, packed),
		CASE(not_negotiated, split_plain),
		CASE(writable_chains_have_their_own, split),
		CASE(writable_chains_have_their_own, packed),
		CASE(mixed, split),
		CASE(mixed, packed),
		CASE(round_and_round, split),
		CASE(round_and_round, packed),
	};

	return cmocka_run_group_tests_name("vq in order", tests, NULL, NULL);
}
