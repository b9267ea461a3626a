/* SPDX-License-Identifier: MIT */
/* Packets of Hyper-V sockets: what Linux writes is read, what is written Linux can read, and nothing else is a packet. */
#include "vmpipe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u
#define SIZE (6 * PAGE)

static uint8_t memory[7][PAGE] __attribute__((aligned(4096)));
static uint8_t *page[7];
static struct vmbus_ring ring;

static int setup(void **state)
{
	for (unsigned i = 0; i < 7; i++)
		page[i] = memory[i == 0 ? 0 : 7 - i];
	return 0;
}

static void open_ring(bool writer, uint32_t write_index, uint32_t read_index)
{
	uint32_t *head = (uint32_t *)(void *)memory[0];

	head[0] = write_index;
	head[1] = read_index;
	assert_int_equal(vmbus_ring_open(&ring, writer, page, 7), 0);
}

static uint8_t *byte(uint32_t index)
{
	index %= SIZE;
	return page[1 + index / PAGE] + index % PAGE;
}

static void put16(uint32_t index, uint16_t value)
{
	*byte(index) = (uint8_t)value;
	*byte(index + 1) = (uint8_t)(value >> 8);
}

static void put32(uint32_t index, uint32_t value)
{
	put16(index, (uint16_t)value);
	put16(index + 2, (uint16_t)(value >> 16));
}

static uint32_t get(uint32_t index, unsigned bytes)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)*byte(index + i) << 8 * i;
	return value;
}

/* As Linux's hvs_send_data(). */
static uint32_t linux_packet(uint32_t index, uint32_t len)
{
	uint32_t padded = (len + 7) & ~7u;

	put16(index, 6);
	put16(index + 2, 2);
	put16(index + 4, (uint16_t)((24 + padded) / 8));
	put16(index + 6, 0);
	put32(index + 8, 0);
	put32(index + 12, 0);
	put32(index + 16, 1);
	put32(index + 20, len);
	return 24 + padded + 8;
}

static void test_sizes(void **state)
{
	assert_int_equal(vmpipe_size(0), 32);
	assert_int_equal(vmpipe_size(1), 40);
	assert_int_equal(vmpipe_size(8), 40);
	assert_int_equal(vmpipe_size(4088), 4120);
	assert_int_equal(vmpipe_size(16384), 16416);
	/* The room for data leaves room for the end, and the ring is never full. */
	assert_int_equal(vmpipe_room(0), 0);
	assert_int_equal(vmpipe_room(72), 0);
	assert_int_equal(vmpipe_room(79), 0);
	assert_int_equal(vmpipe_room(80), 8);
	assert_int_equal(vmpipe_room(UINT32_MAX & ~7u), 16384);
	for (uint32_t free = 80; free < SIZE; free++) {
		uint32_t len = vmpipe_room(free);

		assert_true(len > 0 && len % 8 == 0);
		assert_true(vmpipe_size(len) + vmpipe_size(0) < free);
		assert_true(len == 16384 || vmpipe_size(len + 8) + vmpipe_size(0) + 8 > free);
	}
}

/* Of all alignments of its end, at all places of a page, and over the end of the ring. */
static void test_next(void **state)
{
	struct vmpipe_packet p;

	for (uint32_t index = 0; index < SIZE; index += 8) {
		uint32_t len = index / 8 % 4089, size = linux_packet(index, len),
			 start = len % 2 * 64;

		if (start > index)
			start = 0;
		open_ring(false, (index + size) % SIZE, index - start);
		assert_int_equal(vmpipe_next(&ring, start, start + size, &p), 1);
		assert_int_equal(p.len, len);
		assert_int_equal(p.at, start + 24);
		assert_int_equal(p.size, size);
		assert_int_equal(vmpipe_next(&ring, start + size, start + size, &p), 0);
	}
}

static void test_wrong(void **state)
{
	struct vmpipe_packet p = { .at = 77 };
	uint32_t size;

	open_ring(false, 0, 0);
	size = linux_packet(0, 100);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), 1);
	p.at = 77;

	/* Cut off: in its head, its data, its tail. */
	for (uint32_t readable = 8; readable < size; readable += 8)
		assert_int_equal(vmpipe_next(&ring, 0, readable, &p), -EBADMSG);
#define WRONG(change)                                                        \
	do {                                                                 \
		(void)linux_packet(0, 100);                                  \
		change;                                                      \
		assert_int_equal(vmpipe_next(&ring, 0, size, &p), -EBADMSG); \
	} while (0)
	WRONG(put16(0, 7)); /* pages */
	WRONG(put16(0, 0xb));
	WRONG(put16(2, 0)); /* what it carries begins in its own head */
	WRONG(put16(2, 1));
	WRONG(put16(2, 16)); /* or behind its end */
	WRONG(put16(2, 0xffff));
	WRONG(put16(4, 0));
	WRONG(put16(4, 2));  /* no room for a pipe's head */
	WRONG(put16(4, 17)); /* longer than what was written */
	WRONG(put16(4, 0xffff));
	WRONG(put32(16, 0));
	WRONG(put32(16, 2));   /* a part of one */
	WRONG(put32(20, 105)); /* more data than the packet has */
	WRONG(put32(20, 16385));
	WRONG(put32(20, UINT32_MAX));
	WRONG(put32(20, UINT32_MAX - 16));
	assert_int_equal(p.at, 77);
	/* What pads it is no data, and may be of any size. */
	(void)linux_packet(0, 100);
	put32(20, 3);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), 1);
	assert_int_equal(p.len, 3);
	/* So may what lies before the pipe's head. */
	put16(2, 4);
	put32(32, 1);
	put32(36, 50);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), 1);
	assert_int_equal(p.at, 40);
	assert_int_equal(p.len, 50);
}

/* 16384 bytes are the most, also in a packet that has more. */
static void test_longest(void **state)
{
	struct vmpipe_packet p;
	uint32_t size;

	open_ring(false, 0, 0);
	size = linux_packet(0, 16384);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), 1);
	size = linux_packet(0, 16385);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), -EBADMSG);
}

static void test_put(void **state)
{
	for (uint32_t index = 0; index < SIZE; index += 8) {
		uint32_t len = index / 8 % 4089, at = index / 8 % 3 * 40;
		uint32_t start = (index + at) % SIZE, padded = (len + 7) & ~7u;

		open_ring(true, index, index);
		*byte(start + 23) = *byte(start + 24 + padded) = 0x55;
		*byte(start + 24) = 0xaa; /* data that is there */
		assert_int_equal(vmpipe_put(&ring, at, len), 32 + padded);
		assert_int_equal(get(start, 2), 6);
		assert_int_equal(get(start + 2, 2), 2);
		assert_int_equal(get(start + 4, 2), (24 + padded) / 8);
		assert_int_equal(get(start + 6, 2), 0);
		assert_int_equal(get(start + 8, 4) | get(start + 12, 4), 0);
		assert_int_equal(get(start + 16, 4), 1);
		assert_int_equal(get(start + 20, 4), len);
		if (len > 0)
			assert_int_equal(get(start + 24, 1), 0xaa);
		assert_int_equal(get(start + 24 + padded, 4), 0);
		assert_int_equal(get(start + 28 + padded, 4), start);
	}
}

/* A packet that changes while it is read counts as it was at the first look: head and pipe's head once each. */
static void test_read_once(void **state)
{
	struct vmpipe_packet p;
	uint32_t size;

	open_ring(false, 0, 0);
	size = linux_packet(0, 64);
	assert_int_equal(vmpipe_next(&ring, 0, size, &p), 1);
	put32(20, 16384);
	put16(4, 0xffff);
	assert_int_equal(p.len, 64);
	assert_int_equal(p.size, size);
	assert_true(p.at + p.len <= p.size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes), cmocka_unit_test(test_next),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_longest),
		cmocka_unit_test(test_put),   cmocka_unit_test(test_read_once),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
