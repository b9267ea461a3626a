/* SPDX-License-Identifier: MIT */
/* The devdax info block, against the one that ndctl writes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "label.h"

#define MIB (1ull << 20)

static const uint8_t uuid[16] = { 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44,
				  0x85, 0x55, 0x66, 0x66, 0x77, 0x77, 0x88, 0x88 };

/* ndctl 75: truncate -s 64M F; ndctl write-infoblock -o F -m devdax -M mem -s 64M -a 2M -u 11112222-3333-4444-8555-666677778888.
 * What lies between is zeros. */
static const uint8_t head_of_64m[104] = {
	0x4e, 0x56, 0x44, 0x49, 0x4d, 0x4d, 0x5f, 0x44, 0x41, 0x58, 0x5f, 0x49, 0x4e, 0x46, 0x4f,
	0x00, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x85, 0x55, 0x66, 0x66, 0x77, 0x77,
	0x88, 0x88, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x20, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x3e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x10,
	0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const uint8_t sum_of_64m[8] = { 0xac, 0xa1, 0xeb, 0x2c, 0xc6, 0x0f, 0xe3, 0xd1 };

static void test_same_as_ndctl(void **state)
{
	uint8_t want[LABEL_SIZE] = { 0 }, got[LABEL_SIZE];

	memcpy(want, head_of_64m, sizeof(head_of_64m));
	memcpy(want + LABEL_SIZE - 8, sum_of_64m, sizeof(sum_of_64m));
	label_make(got, 64 * MIB, uuid);
	assert_memory_equal(got, want, LABEL_SIZE);
	assert_true(label_valid(want, 64 * MIB));
}

/* Every size, up to the largest. */
static void test_own_is_valid(void **state)
{
	uint8_t block[LABEL_SIZE];

	for (uint64_t size = 8 * MIB; size <= 16384 * MIB; size *= 2) {
		label_make(block, size, uuid);
		assert_true(label_valid(block, size));
		assert_false(label_valid(block, size / 2)); /* it would lead beyond the end */
	}
}

/* No bit of it may differ. */
static void test_any_damage_is_seen(void **state)
{
	uint8_t block[LABEL_SIZE];

	label_make(block, 64 * MIB, uuid);
	for (unsigned i = 0; i < LABEL_SIZE; i++) {
		block[i] ^= 1;
		assert_false(label_valid(block, 64 * MIB));
		block[i] ^= 1;
	}
	memset(block, 0, sizeof(block));
	assert_false(label_valid(block, 64 * MIB));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_ndctl),
		cmocka_unit_test(test_own_is_valid),
		cmocka_unit_test(test_any_damage_is_seen),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
