/* SPDX-License-Identifier: MIT */
/* What only a packed ring has: its wrap counters, its event suppression, chains over its end, its base; and the rules
 * that its driver can break.  What it shares with the split ring is in test_vq.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checked.h"
#include "driver.h"
#include "vq.h"

#define NUM       8
#define NUM_ODD   7 /* a packed ring needs no power of two */
#define REGION    (1ULL << 30)
#define NEXT      VRING_DESC_F_NEXT
#define WRITE     VRING_DESC_F_WRITE
#define INDIR     VRING_DESC_F_INDIRECT
#define USED      VRING_PACKED_DESC_F_USED
#define DATA      (GUEST_GPA + (1 << 20))
#define TABLE     (GUEST_GPA + (2 << 20))
#define END       (GUEST_GPA + REGION)
#define NOWHERE   0x1000ULL
#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define BASE_0    0x80008000u

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

static int setup_ring(void **state, uint16_t num, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	guest_init(&f->guest, 1, REGION);
	driver_init(&f->driver, &f->guest, num, features | PACKED);
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_ring(state, NUM, INDIRECT);
}

static int setup_plain(void **state)
{
	return setup_ring(state, NUM, 0);
}

static int setup_event_idx(void **state)
{
	return setup_ring(state, NUM, INDIRECT | EVENT_IDX);
}

static int setup_odd(void **state)
{
	return setup_ring(state, NUM_ODD, INDIRECT | EVENT_IDX);
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

static int add(struct fixture *f, unsigned n_out, unsigned n_in)
{
	struct driver_buf bufs[NUM];

	for (unsigned i = 0; i < n_out + n_in; i++)
		bufs[i] = (struct driver_buf){ GPA(DATA + i * 64), 10 + i };
	return driver_add(&f->driver, bufs, n_out, n_in);
}

static void pop(struct fixture *f, unsigned n)
{
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), n);
}

static void push(struct fixture *f, unsigned i)
{
	vq_push(&f->vq, f->burst.chain[i].head, f->burst.chain[i].in_len);
}

static void expect_used(struct fixture *f, int id, uint32_t want_len)
{
	uint32_t len = 0;

	assert_int_equal(driver_used(&f->driver, &len), id);
	assert_int_equal(len, want_len);
}

static void expect_none_used(struct fixture *f)
{
	uint32_t len;

	assert_int_equal(driver_used(&f->driver, &len), -EAGAIN);
}

/* One chain of `n` descriptors goes round. */
static void circulate(struct fixture *f, unsigned n)
{
	int id = add(f, n, 0);

	assert_true(id >= 0);
	driver_publish(&f->driver);
	pop(f, 1);
	push(f, 0);
	vq_publish(&f->vq);
	expect_used(f, id, 0);
}

/* ---- going round ---------------------------------------------------------- */

/* Chains of every length over every place of the ring, over the end of it above all. */
static void test_chains_over_the_end(void **state)
{
	struct fixture *f = *state;

	for (unsigned lap = 0; lap < 50; lap++) {
		for (unsigned n = 1; n <= f->driver.num; n++) {
			const struct vq_chain *c = f->burst.chain;
			int id = add(f, n - n / 2, n / 2);

			driver_publish(&f->driver);
			pop(f, 1);
			assert_int_equal(c->n_out, n - n / 2);
			assert_int_equal(c->n_in, n / 2);
			for (unsigned i = 0; i < n; i++)
				assert_int_equal(c->iov[i].iov_len, 10 + i);
			push(f, 0);
			vq_publish(&f->vq);
			expect_used(f, id, c->in_len);
		}
	}
}

/* Every entry is in flight: nothing more is available, although the flags are those of a lap ago. */
static void test_full(void **state)
{
	struct fixture *f = *state;
	int id[NUM];

	for (unsigned lap = 0; lap < 5; lap++) {
		for (unsigned i = 0; i < f->driver.num; i++)
			id[i] = add(f, 0, 1);
		assert_int_equal(add(f, 0, 1), -ENOSPC);
		driver_publish(&f->driver);
		pop(f, f->driver.num);
		assert_false(vq_more(&f->vq));
		assert_int_equal(vq_pop(&f->vq, &(struct vq_burst){ 0 }, VQ_BURST), 0);
		for (unsigned i = 0; i < f->driver.num; i++)
			push(f, i);
		expect_none_used(f);
		vq_publish(&f->vq);
		for (unsigned i = 0; i < f->driver.num; i++)
			expect_used(f, id[i], 10);
		expect_none_used(f);
	}
}

/* Used entries go over the ring in the order of completion, whatever was popped first. */
static void test_completed_out_of_order(void **state)
{
	struct fixture *f = *state;

	for (unsigned lap = 0; lap < 20; lap++) {
		int a = add(f, 2, 0), b = add(f, 0, 1), c = add(f, 1, 2);
		struct vq_burst *burst = &f->burst;

		driver_publish(&f->driver);
		pop(f, 3);
		push(f, 1);
		vq_publish(&f->vq);
		expect_used(f, b, 10);
		expect_none_used(f);
		vq_push(&f->vq, burst->chain[2].head, 5);
		vq_push(&f->vq, burst->chain[0].head, 0);
		expect_none_used(f);
		vq_publish(&f->vq);
		expect_used(f, c, 5);
		expect_used(f, a, 0);
	}
}

/* A batch is written while the driver looks: the first entry of it is the last to change. */
static void test_one_store_shows_all(void **state)
{
	struct fixture *f = *state;
	int first = add(f, 0, 1), second = add(f, 0, 2);

	driver_publish(&f->driver);
	pop(f, 2);
	push(f, 0);
	push(f, 1);
	vq_write_staged(&f->vq);
	expect_none_used(f);
	vq_publish(&f->vq);
	expect_used(f, first, 10);
	expect_used(f, second, 21);
}

static void test_unpop_over_the_end(void **state)
{
	struct fixture *f = *state;

	for (unsigned lap = 0; lap < 20; lap++) {
		int id[3] = { add(f, 2, 0), add(f, 1, 0), add(f, 3, 0) };
		uint32_t head;

		driver_publish(&f->driver);
		pop(f, 3);
		head = f->burst.chain[1].head;
		push(f, 0);
		vq_unpop(&f->vq, 1);
		vq_unpop(&f->vq, 1);
		assert_true(vq_more(&f->vq));
		pop(f, 2);
		assert_int_equal(f->burst.chain[0].head, head);
		push(f, 0);
		push(f, 1);
		vq_publish(&f->vq);
		for (unsigned i = 0; i < 3; i++)
			expect_used(f, id[i], 0);
		circulate(f, 1); /* so that laps begin elsewhere */
	}
}

/* ---- indirect -------------------------------------------------------------- */

static void desc(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint32_t flags)
{
	driver_raw_packed(&f->driver, i, addr, len, 0, flags);
}

static void table_at(struct fixture *f, uint64_t at, unsigned i, uint64_t addr, uint32_t len,
		     uint16_t flags)
{
	const struct vring_packed_desc d = { le64_of(addr), le64_of(len | 0xabcdULL << 32 |
								    (uint64_t)flags << 48) };

	memcpy(guest_ptr(&f->guest, GPA(at + i * sizeof(d)), sizeof(d)), &d, sizeof(d));
}

static void table(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	table_at(f, TABLE, i, addr, len, flags);
}

/* 2.8.7: entries follow one another; NEXT, the id and the two flags of the ring mean nothing. */
static void test_indirect_table_is_a_sequence(void **state)
{
	struct fixture *f = *state;
	const struct vq_chain *c = f->burst.chain;

	table_at(f, TABLE + 3, 0, DATA, 5, 0);
	table_at(f, TABLE + 3, 1, DATA, 6, NEXT | USED);
	table_at(f, TABLE + 3, 2, DATA, 7, WRITE);
	desc(f, 0, TABLE + 3, 3 * 16, INDIR | WRITE); /* WRITE of the indirect one means nothing */
	pop(f, 1);
	assert_int_equal(c->n_out, 2);
	assert_int_equal(c->n_in, 1);
	assert_int_equal(c->out_len, 11);
	assert_int_equal(c->in_len, 7);
}

/* ---- suppression ----------------------------------------------------------- */

static uint32_t device_event(const struct fixture *f)
{
	return le32_load(f->driver.device_event);
}

static void test_kick_modes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(device_event(f), VRING_PACKED_EVENT(VRING_PACKED_EVENT_ENABLE, 0));
	vq_kick_off(&f->vq);
	assert_int_equal(device_event(f), VRING_PACKED_EVENT(VRING_PACKED_EVENT_DISABLE, 0));
	assert_false(vq_kick_on(&f->vq));
	assert_int_equal(device_event(f), VRING_PACKED_EVENT(VRING_PACKED_EVENT_ENABLE, 0));
}

/* With EVENT_IDX we name the entry that we wait for, with the counter of its lap; and none while we poll. */
static void test_kick_names_the_entry(void **state)
{
	struct fixture *f = *state;
	unsigned num = f->driver.num;

	for (unsigned at = 0; at < 5 * num; at++) {
		uint32_t place = at % num | (at / num % 2 ? 0 : VRING_PACKED_WRAP);
		int id;

		assert_false(vq_kick_on(&f->vq));
		assert_int_equal(device_event(f),
				 VRING_PACKED_EVENT(VRING_PACKED_EVENT_DESC, place));
		if (at % 3 == 0)
			vq_kick_off(&f->vq);
		id = add(f, 1, 0);
		driver_publish(&f->driver);
		assert_int_equal(driver_wants_kick(&f->driver), at % 3 != 0);
		assert_true(vq_kick_on(&f->vq));
		pop(f, 1);
		push(f, 0);
		vq_publish(&f->vq);
		expect_used(f, id, 0);
	}
}

static void driver_event(struct fixture *f, uint32_t mode, uint32_t at)
{
	le32_store(f->driver.driver_event, VRING_PACKED_EVENT(mode, at));
}

static void test_call_modes(void **state)
{
	struct fixture *f = *state;

	driver_event(f, VRING_PACKED_EVENT_DISABLE, 0);
	circulate(f, 1);
	assert_false(vq_call(&f->vq));
	driver_event(f, VRING_PACKED_EVENT_ENABLE, 5);
	assert_false(vq_call(&f->vq)); /* nothing new */
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	/* Modes that were not negotiated or do not exist: rather a call too many. */
	driver_event(f, VRING_PACKED_EVENT_DESC, 0);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	driver_event(f, 3, 0);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	assert_int_equal(driver_calls(&f->driver), 3);
}

/* Each place that a driver may name against each number of entries used: called if the place is among them. */
static void test_call_for_each_place(void **state)
{
	struct fixture *f = *state;
	unsigned num = f->driver.num, at = 0;

	driver_event(f, VRING_PACKED_EVENT_ENABLE, 0);
	circulate(f, 1);
	assert_true(vq_call(&f->vq)); /* the first one always */
	at = 1;
	for (unsigned n = 1; n <= num; n++) {
		for (unsigned ahead = 0; ahead < num; ahead++) {
			unsigned place = (at + ahead) % (2 * num);

			driver_event(f, VRING_PACKED_EVENT_DESC,
				     place % num | (place < num ? VRING_PACKED_WRAP : 0));
			for (unsigned i = 0; i < n; i++)
				circulate(f, 1);
			assert_int_equal(vq_call(&f->vq), ahead < n);
			at = (at + n) % (2 * num);
		}
	}
}

/* A chain of several entries passes all of them, and so does one that goes over the end. */
static void test_call_inside_a_chain(void **state)
{
	struct fixture *f = *state;
	unsigned num = f->driver.num;

	circulate(f, 1);
	vq_call(&f->vq);
	for (unsigned round = 0, at = 1; round < 40; round++) {
		unsigned place = (at + 2) % (2 * num);

		driver_event(f, VRING_PACKED_EVENT_DESC,
			     place % num | (place < num ? VRING_PACKED_WRAP : 0));
		circulate(f, 2);
		assert_false(vq_call(&f->vq));
		circulate(f, 3);
		assert_true(vq_call(&f->vq));
		at = (at + 5) % (2 * num);
	}
}

/* More than two laps without a call: whatever was asked for was passed.  And a place outside of the ring. */
static void test_call_late_or_nowhere(void **state)
{
	struct fixture *f = *state;

	circulate(f, 1);
	vq_call(&f->vq);
	driver_event(f, VRING_PACKED_EVENT_DESC, 0); /* a place of the other lap */
	for (unsigned i = 0; i < 2 * NUM; i++)
		circulate(f, 1);
	assert_true(vq_call(&f->vq));
	driver_event(f, VRING_PACKED_EVENT_DESC, f->driver.num);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	driver_event(f, VRING_PACKED_EVENT_DESC, UINT16_MAX);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
}

/* ---- start and stop --------------------------------------------------------- */

static int start_with(struct fixture *f, const struct vq_params *p)
{
	struct vq vq = { 0 };
	uint32_t base;
	int err = vq_start(&vq, &f->mem, p);

	assert_int_equal(vq.started, err == 0);
	vq_stop(&vq, &base);
	if (err == 0)
		assert_int_equal(base, (p->base & UINT16_MAX) * 0x10001);
	return err;
}

static void test_start_refuses(void **state)
{
	struct fixture *f = *state;
	const uint32_t bad_num[] = { 0, VQ_MAX_NUM + 1, 65536, UINT32_MAX };
	const uint32_t good_num[] = { 1, 3, 255, 257, VQ_MAX_NUM - 1, VQ_MAX_NUM };
	const uint64_t end = GUEST_UVA + REGION;
	struct vq_params good, p;

	driver_params(&f->driver, &good);
	assert_int_equal(good.base, BASE_0);
	for (unsigned i = 0; i < array_size(bad_num); i++) {
		p = good, p.num = bad_num[i];
		assert_int_equal(start_with(f, &p), -EINVAL);
	}
	for (unsigned i = 0; i < array_size(good_num); i++) {
		p = good, p.num = good_num[i];
		assert_int_equal(start_with(f, &p), 0);
	}

	/* Positions: inside the ring, in either lap.  The used half may be anything. */
	p = good, p.base = NUM - 1;
	assert_int_equal(start_with(f, &p), 0);
	p.base = NUM;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p.base = 0x8000 | NUM;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p.base = 0xffff8003;
	assert_int_equal(start_with(f, &p), 0);
	p.base = 0x00008000; /* DPDK's virtio-user */
	assert_int_equal(start_with(f, &p), 0);

	p = good, p.desc.v += 8;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p = good, p.avail.v += 2;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p = good, p.used.v += 2;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p = good, p.desc = UVA(end - NUM * 16);
	assert_int_equal(start_with(f, &p), 0);
	p.desc.v += 16;
	assert_int_equal(start_with(f, &p), -EFAULT);
	p = good, p.avail = UVA(end - 4);
	assert_int_equal(start_with(f, &p), 0);
	p.avail.v += 4;
	assert_int_equal(start_with(f, &p), -EFAULT);
	p = good, p.used = UVA(end - 4);
	assert_int_equal(start_with(f, &p), 0);
	p.used = UVA(0);
	assert_int_equal(start_with(f, &p), -EFAULT);
}

/* At every place of two laps: what was popped and not pushed comes again, and the driver notices nothing. */
static void test_stop_anywhere(void **state)
{
	struct fixture *f = *state;
	unsigned num = f->driver.num;

	for (unsigned at = 0; at < 4 * num;) {
		int a = add(f, 1, 0), b = add(f, 2, 0), c = add(f, 1, 1);
		struct vq_params p;
		uint32_t base, idx;

		driver_publish(&f->driver);
		pop(f, 3);
		push(f, 0);
		vq_stop(&f->vq, &base);
		idx = at + 1;
		assert_int_equal(base,
				 (idx % num | (idx / num % 2 ? 0 : VRING_PACKED_WRAP)) * 0x10001);
		expect_used(f, a, 0);
		driver_params(&f->driver, &p);
		assert_int_equal(p.base, base);
		assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
		pop(f, 2);
		push(f, 0);
		push(f, 1);
		vq_publish(&f->vq);
		expect_used(f, b, 0);
		expect_used(f, c, 11);
		at += 5;
	}
}

/* ---- a driver that breaks the rules ----------------------------------------- */

static void expect_broken(struct fixture *f, enum vq_cause cause)
{
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, cause);
	assert_int_equal(f->burst.n, 0);
	desc(f, 0, DATA, 1, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
}

/* An entry that is in flight is made available once more. */
static void test_more_available_than_entries(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < NUM; i++)
		desc(f, i, DATA, 1, 0);
	pop(f, NUM);
	desc(f, 0, DATA, 1, USED | DRIVER_RAW_NOT_AVAIL); /* available, in the second lap */
	expect_broken(f, VQ_AVAIL_JUMP);
}

static void test_id_out_of_range(void **state)
{
	struct fixture *f = *state;

	driver_raw_packed(&f->driver, 0, DATA, 1, NUM - 1, 0);
	driver_raw_packed(&f->driver, 1, DATA, 1, NUM, 0);
	pop(f, 1);
	expect_broken(f, VQ_HEAD_RANGE);
}

/* Of a chain only the last one's id counts. */
static void test_id_of_the_last(void **state)
{
	struct fixture *f = *state;

	driver_raw_packed(&f->driver, 0, DATA, 1, UINT16_MAX, NEXT);
	driver_raw_packed(&f->driver, 1, DATA, 1, 3, 0);
	pop(f, 1);
	assert_int_equal(f->burst.chain[0].head & UINT16_MAX, 3);
	driver_raw_packed(&f->driver, 2, DATA, 1, 3, NEXT);
	driver_raw_packed(&f->driver, 3, DATA, 1, UINT16_MAX, 0);
	expect_broken(f, VQ_HEAD_RANGE);
}

/* CVE-2026-86847: every entry links to the next, for ever. */
static void test_chain_without_end(void **state)
{
	for (unsigned i = 0; i < NUM; i++)
		desc(*state, i, DATA, 1, NEXT);
	expect_broken(*state, VQ_CHAIN_LOOP);
}

static void test_chain_into_what_is_in_flight(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < NUM; i++)
		desc(f, i, DATA, 1, i < 3 ? 0 : NEXT);
	pop(f, 3);
	expect_broken(f, VQ_CHAIN_LOOP);
}

static void test_chain_of_all(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < NUM; i++)
		desc(f, i, DATA, 1, i < NUM - 1 ? NEXT : 0);
	pop(f, 1);
	assert_int_equal(f->burst.chain[0].n_out, NUM);
}

static void test_zero_length(void **state)
{
	desc(*state, 0, DATA, 0, 0);
	expect_broken(*state, VQ_ZERO_LEN);
}

static void test_zero_length_later(void **state)
{
	desc(*state, 0, DATA, 1, NEXT);
	desc(*state, 1, DATA, 0, WRITE);
	expect_broken(*state, VQ_ZERO_LEN);
}

static void test_unmapped(void **state)
{
	desc(*state, 0, NOWHERE, 64, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

static void test_ends_outside(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, END - 64, 64, 0);
	desc(f, 1, END - 64, 65, WRITE);
	pop(f, 1);
	expect_broken(f, VQ_UNMAPPED);
}

static void test_address_wraps(void **state)
{
	desc(*state, 0, UINT64_MAX - 15, 64, 0);
	expect_broken(*state, VQ_UNMAPPED);
}

static void test_readable_after_writable(void **state)
{
	desc(*state, 0, DATA, 1, NEXT | WRITE);
	desc(*state, 1, DATA, 1, 0);
	expect_broken(*state, VQ_ORDER);
}

static void test_four_gigabytes(void **state)
{
	for (unsigned i = 0; i < 5; i++)
		desc(*state, i, GUEST_GPA, 0x3ffff000, i < 4 ? NEXT : 0);
	expect_broken(*state, VQ_CHAIN_SIZE);
}

static void test_indirect_not_negotiated(void **state)
{
	table(*state, 0, DATA, 1, 0);
	desc(*state, 0, TABLE, 16, INDIR);
	expect_broken(*state, VQ_INDIRECT_OFF);
}

static void test_indirect_with_next(void **state)
{
	table(*state, 0, DATA, 1, 0);
	desc(*state, 0, TABLE, 16, INDIR | NEXT);
	desc(*state, 1, DATA, 1, 0);
	expect_broken(*state, VQ_INDIRECT_NEXT);
}

/* 2.8.19: unlike in a split ring, no direct ones in front of it. */
static void test_indirect_behind_direct(void **state)
{
	table(*state, 0, DATA, 1, 0);
	desc(*state, 0, DATA, 1, NEXT);
	desc(*state, 1, TABLE, 16, INDIR);
	expect_broken(*state, VQ_INDIRECT_NEXT);
}

static void test_indirect_in_indirect(void **state)
{
	table(*state, 0, DATA, 1, 0);
	table(*state, 1, TABLE, 16, INDIR);
	desc(*state, 0, TABLE, 32, INDIR);
	expect_broken(*state, VQ_INDIRECT_NESTED);
}

static void test_indirect_into_the_ring(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, f->driver.desc_gpa.v, NUM * 16, INDIR);
	expect_broken(f, VQ_INDIRECT_NESTED);
}

static void test_indirect_size(void **state)
{
	struct fixture *f = *state;
	const uint32_t bad[] = { 0, 1, 15, 17, (NUM + 1) * 16, UINT32_MAX, 0xfffffff0 };
	struct vq_params p;
	uint32_t base;

	for (unsigned i = 0; i < NUM; i++)
		table(f, i, DATA, 1, 0);
	desc(f, 0, TABLE, NUM * 16, INDIR);
	pop(f, 1);
	assert_int_equal(f->burst.chain[0].n_out, NUM);
	for (unsigned i = 0; i < array_size(bad); i++) {
		vq_stop(&f->vq, &base);
		assert_int_equal(base, BASE_0);
		driver_params(&f->driver, &p);
		assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
		desc(f, 0, TABLE, bad[i], INDIR);
		expect_broken(f, VQ_INDIRECT_SIZE);
	}
}

static void test_indirect_table_ends_outside(void **state)
{
	desc(*state, 0, END - 16, 32, INDIR);
	expect_broken(*state, VQ_UNMAPPED);
}

/* Good chains in front of a bad one go out, and what they gave is not lost. */
static void test_good_chains_first(void **state)
{
	struct fixture *f = *state;
	int a = add(f, 1, 0), b = add(f, 2, 0);

	driver_publish(&f->driver);
	desc(f, 3, DATA, 0, 0);
	pop(f, 2);
	push(f, 0);
	push(f, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_ZERO_LEN);
	vq_publish(&f->vq);
	expect_used(f, a, 0);
	expect_used(f, b, 0);
}

struct mutator {
	struct fixture *f;
	bool stop;
};

/* Flip entries between good and bad, available and not, as fast as can be. */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	struct driver *d = &m->f->driver;
	unsigned n = 0;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		unsigned i = n % NUM, flags = n / NUM % 8; /* WRITE, NEXT, INDIR */

		if (n / (8 * NUM) % 2)
			flags |= USED | DRIVER_RAW_NOT_AVAIL; /* available in the second lap */
		driver_raw_packed(d, i, n % 5 ? DATA : NOWHERE, n % 7 ? 64 : UINT32_MAX,
				  (uint16_t)(n % 9), flags);
		table(m->f, i, n % 3 ? DATA : NOWHERE, n % 11, n & 2);
		if (flags & INDIR)
			driver_raw_packed(d, i, TABLE, NUM * 16, 0, flags & ~(unsigned)NEXT);
		n++;
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

/* CVE-2026-86562, CVE-2026-86848: whatever is handed out lies in guest memory, and is what was checked. */
static void test_entries_change_under_us(void **state)
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
	driver_params(&f->driver, &p);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	/* The other thread may get its turn late: until there was enough of both. */
	for (unsigned round = 0; (good < 20000 || bad < 20000) && round < 1U << 30; round++) {
		int n = vq_pop(&f->vq, &f->burst, VQ_BURST);

		for (int i = 0; i < n; i++) {
			check_inside_guest(f, &f->burst.chain[i]);
			push(f, (unsigned)i);
			good++;
		}
		vq_publish(&f->vq);
		if (n >= 0)
			continue;
		bad++;
		vq_stop(&f->vq, &base);
		p.base = base;
		assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(good >= 20000 && bad >= 20000);
}

/* Memory that its owner truncates reads as zeros: in a first lap these are nobody's, in a second one they are used. */
static void test_memory_truncated_while_running(void **state)
{
	struct fixture *f = *state;

	add(f, 1, 0);
	driver_publish(&f->driver);
	assert_int_equal(mem_guard_install(), 0);
	pop(f, 1);
	push(f, 0);
	assert_int_equal(ftruncate(f->guest.fd[0], 0), 0);
	assert_int_equal(*(volatile uint8_t *)f->burst.iov[0].iov_base, 0);
	vq_publish(&f->vq);
	pop(f, 0);
	assert_true(mem_damaged(&f->mem));
}

int main(void)
{
#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define WITH(name, with) cmocka_unit_test_setup_teardown(name, with, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_chains_over_the_end),
		WITH(test_chains_over_the_end, setup_odd),
		TEST(test_full),
		WITH(test_full, setup_odd),
		TEST(test_completed_out_of_order),
		WITH(test_completed_out_of_order, setup_odd),
		TEST(test_one_store_shows_all),
		WITH(test_unpop_over_the_end, setup_odd),
		TEST(test_indirect_table_is_a_sequence),
		TEST(test_kick_modes),
		WITH(test_kick_names_the_entry, setup_event_idx),
		WITH(test_kick_names_the_entry, setup_odd),
		TEST(test_call_modes),
		WITH(test_call_for_each_place, setup_event_idx),
		WITH(test_call_for_each_place, setup_odd),
		WITH(test_call_inside_a_chain, setup_event_idx),
		WITH(test_call_inside_a_chain, setup_odd),
		WITH(test_call_late_or_nowhere, setup_event_idx),
		TEST(test_start_refuses),
		TEST(test_stop_anywhere),
		WITH(test_stop_anywhere, setup_odd),
		TEST(test_more_available_than_entries),
		TEST(test_id_out_of_range),
		TEST(test_id_of_the_last),
		TEST(test_chain_without_end),
		TEST(test_chain_into_what_is_in_flight),
		TEST(test_chain_of_all),
		TEST(test_zero_length),
		TEST(test_zero_length_later),
		TEST(test_unmapped),
		TEST(test_ends_outside),
		TEST(test_address_wraps),
		TEST(test_readable_after_writable),
		TEST(test_four_gigabytes),
		WITH(test_indirect_not_negotiated, setup_plain),
		TEST(test_indirect_with_next),
		TEST(test_indirect_behind_direct),
		TEST(test_indirect_in_indirect),
		TEST(test_indirect_into_the_ring),
		TEST(test_indirect_size),
		TEST(test_indirect_table_ends_outside),
		TEST(test_good_chains_first),
		TEST(test_entries_change_under_us),
		TEST(test_memory_truncated_while_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
