/* SPDX-License-Identifier: MIT */
/* Which frames share a receiveq. */
#include "flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

static uint32_t hash(uint8_t *bytes, uint32_t len)
{
	struct iovec iov = { bytes, len };
	struct sw_frame f = {
		.iov = &iov, .len = len, .n_iov = 1, .head_len = SW_HEAD_LEN, .skip = SW_HEAD_LEN
	};

	memcpy(f.head, bytes, SW_HEAD_LEN);
	return flow_hash(&f);
}

/* Exchange n bytes at a and b: the way back of a flow. */
static void swap(uint8_t *frame, unsigned a, unsigned b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t t = frame[a + i];

		frame[a + i] = frame[b + i];
		frame[b + i] = t;
	}
}

static void make_ipv4(uint8_t f[100], uint8_t protocol, unsigned header_words)
{
	unsigned ports = 14 + 4 * header_words;

	memset(f, 0, 100);
	memcpy(f, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\0", 14);
	f[14] = (uint8_t)(0x40 | header_words);
	f[23] = protocol;
	memcpy(f + 26, "\x0a\0\0\1\x0a\0\0\2", 8);
	memcpy(f + ports, "\x12\x34\x56\x78", 4);
}

static void test_ipv4(void **state)
{
	static const uint8_t protocols[] = { 6, 17 };
	uint8_t f[100];

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned words = 5; words <= 15; words++) {
			unsigned ports = 14 + 4 * words;
			uint32_t h;

			make_ipv4(f, protocols[i], words);
			h = hash(f, sizeof(f));
			f[ports + 4] = 1; /* sequence number: not part of the flow */
			assert_int_equal(hash(f, sizeof(f)), h);
			swap(f, 26, 30, 4);
			swap(f, ports, ports + 2, 2);
			assert_int_equal(hash(f, sizeof(f)), h);
			f[ports]++;
			assert_int_not_equal(hash(f, sizeof(f)), h);
		}
	}
}

/* The first fragment has the ports, the others do not: all go by address. */
static void test_fragments(void **state)
{
	uint8_t first[100], later[100];

	make_ipv4(first, 17, 5);
	make_ipv4(later, 17, 5);
	first[20] = 0x20;
	later[21] = 0xb9;
	later[34] = 0xff;
	assert_int_equal(hash(first, 100), hash(later, 100));
	first[30]++;
	assert_int_not_equal(hash(first, 100), hash(later, 100));
}

static void test_ipv6(void **state)
{
	uint8_t f[100] = "\2\0\0\0\0\1\2\0\0\0\0\2\x86\xdd";
	uint32_t h;

	f[14] = 0x60;
	f[20] = 6;
	f[22] = 0xfd;
	f[38] = 0xfe;
	f[55] = 80;
	h = hash(f, 100);
	swap(f, 22, 38, 16);
	swap(f, 54, 56, 2);
	assert_int_equal(hash(f, 100), h);
	f[55]++;
	assert_int_not_equal(hash(f, 100), h);
}

static void test_not_ip(void **state)
{
	uint8_t f[60] = "\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5";
	uint32_t h = hash(f, 60);

	swap(f, 0, 6, 6);
	assert_int_equal(hash(f, 60), h);
	f[5]++;
	assert_int_not_equal(hash(f, 60), h);
}

/* Tags in front of IP are not part of a flow: one side of it may be tagged and the other not. */
static void test_tags(void **state)
{
	uint8_t plain[100], tagged[108];
	uint32_t h;

	make_ipv4(plain, 6, 5);
	h = hash(plain, 100);
	memcpy(tagged, plain, 12);
	memcpy(tagged + 12, "\x81\0\0\x64", 4);
	memcpy(tagged + 16, plain + 12, 88);
	assert_int_equal(hash(tagged, 104), h);
	memcpy(tagged + 12, "\x88\xa8\0\xc8\x81\0\0\x64", 8);
	memcpy(tagged + 20, plain + 12, 88);
	assert_int_equal(hash(tagged, 108), h);
}

/* Ports are found behind extension headers; a fragment has none. */
static void test_ipv6_extensions(void **state)
{
	uint8_t f[100] = "\2\0\0\0\0\1\2\0\0\0\0\2\x86\xdd";
	uint32_t h;

	f[14] = 0x60;
	f[22] = 0xfd;
	f[38] = 0xfe;
	f[20] = 60; /* destination options, then TCP */
	f[54] = 6;
	f[63] = 80;
	h = hash(f, 100);
	f[56]++; /* an option */
	assert_int_equal(hash(f, 100), h);
	swap(f, 22, 38, 16);
	swap(f, 62, 64, 2);
	assert_int_equal(hash(f, 100), h);
	f[63]++;
	assert_int_not_equal(hash(f, 100), h);
	f[20] = 44; /* a fragment header */
	f[57] = 8;
	h = hash(f, 100);
	f[63]++;
	assert_int_equal(hash(f, 100), h);
}

static void test_table(void **state)
{
	static struct flow_table t;
	const uint32_t a = 0x12345678, b = a + 16 * FLOW_TABLE_SIZE;

	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(flow_pair(&t, i * 2654435761u), -1);
	for (unsigned pair = 0; pair < 256; pair++) {
		flow_note(&t, a, pair);
		assert_int_equal(flow_pair(&t, a), pair);
	}
	assert_int_equal(flow_pair(&t, b), -1); /* its place, and not its entry */
	flow_note(&t, b, 3);
	assert_int_equal(flow_pair(&t, b), 3);
	assert_int_equal(flow_pair(&t, a), -1);
}

/* A frame may end anywhere: sanitizers watch. */
static void test_any_length(void **state)
{
	for (uint32_t len = SW_HEAD_LEN; len <= 100; len++) {
		uint8_t *f = malloc(len), whole[100];

		make_ipv4(whole, 6, 15);
		memcpy(f, whole, len);
		hash(f, len);
		f[12] = 0x86;
		if (len > 13)
			f[13] = 0xdd;
		hash(f, len);
		free(f);
	}
}

/* Eight queues and many flows: none is left out, none gets all. */
static void test_spreads(void **state)
{
	unsigned count[8] = { 0 };
	uint8_t f[100];

	for (unsigned port = 0; port < 4096; port++) {
		make_ipv4(f, 6, 5);
		f[34] = (uint8_t)(port >> 8);
		f[35] = (uint8_t)port;
		count[hash(f, 100) % 8]++;
	}
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(count[i], 256, 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),       cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_ipv6),       cmocka_unit_test(test_not_ip),
		cmocka_unit_test(test_any_length), cmocka_unit_test(test_spreads),
		cmocka_unit_test(test_tags),       cmocka_unit_test(test_ipv6_extensions),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
