/* SPDX-License-Identifier: MIT */
/* The Internet checksum against RFC 1071's own example, and against a loop that anybody can check. */
#include "csum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

/* RFC 1071, 4.1, written as slowly as it reads. */
static uint16_t naive(const uint8_t *b, uint32_t len)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum += (uint64_t)b[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint16_t as_bytes(uint16_t folded)
{
	uint8_t b[2];

	memcpy(b, &folded, 2);
	return (uint16_t)(b[0] << 8 | b[1]);
}

static void fill(uint8_t *b, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

static void rfc1071_example(void **state)
{
	static const uint8_t b[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	assert_int_equal(as_bytes(csum_fold_plain(csum_add(0, b, sizeof(b)))), 0xddf2);
	assert_int_equal(as_bytes(csum_fold(csum_add(0, b, sizeof(b)))), 0x220d);
}

static void any_length_anywhere(void **state)
{
	uint8_t b[700];

	fill(b, sizeof(b), 1);
	for (uint32_t at = 0; at < 9; at++)
		for (uint32_t len = 0; len < 600; len++)
			assert_int_equal(as_bytes(csum_fold(csum_add(0, b + at, len))),
					 naive(b + at, len));
}

/* All ones is where a carry that gets lost shows. */
static void carries_are_kept(void **state)
{
	uint8_t *b = malloc(70000);
	csum_t sum = UINT64_MAX;

	memset(b, 0xff, 70000);
	for (uint32_t len = 65530; len < 65540; len++) {
		assert_int_equal(as_bytes(csum_fold(csum_add(0, b, len))), naive(b, len));
		assert_int_equal(as_bytes(csum_fold(csum_add(sum, b, len))), naive(b, len));
	}
	free(b);
}

static void in_pieces(void **state)
{
	uint8_t b[300];

	fill(b, sizeof(b), 2);
	for (uint32_t cut = 0; cut <= 300; cut++) {
		csum_t second = csum_add(0, b + cut, 300 - cut), sum = csum_add(0, b, cut);

		sum = csum_plus(sum, cut & 1 ? csum_swap(second) : second);
		assert_int_equal(as_bytes(csum_fold(sum)), naive(b, 300));
	}
	assert_int_equal(csum_plus(UINT64_MAX, 2), 2); /* ones' complement: the carry comes round */
}

/* Whoever sums up a packet whose checksum is right gets 0. */
static void verifies(void **state)
{
	uint8_t b[101];
	uint16_t sum;

	fill(b, sizeof(b), 3);
	b[10] = b[11] = 0;
	sum = csum_fold(csum_add(0, b, sizeof(b)));
	memcpy(b + 10, &sum, 2);
	assert_int_equal(csum_fold(csum_add(0, b, sizeof(b))), 0);
	b[50] ^= 1;
	assert_int_not_equal(csum_fold(csum_add(0, b, sizeof(b))), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1071_example),  cmocka_unit_test(any_length_anywhere),
		cmocka_unit_test(carries_are_kept), cmocka_unit_test(in_pieces),
		cmocka_unit_test(verifies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
