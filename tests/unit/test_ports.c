/* SPDX-License-Identifier: MIT */
/* Ports by number, GUID and word. */
#include "ports.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

#define GUID_22 "00000016-facb-11e6-bd58-64006a7986d3"

static int number(const char *text, uint32_t *ret)
{
	return ports_from_number(text, strlen(text), ret);
}

static int guid(const char *text, uint32_t *ret)
{
	return ports_from_guid(text, strlen(text), ret);
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {
		"",  "-1",  "+1",         " 1", "1 ",
		"x", "0x1", "4294967296", "1.", "99999999999999999999999"
	};
	uint32_t port = 7;

	assert_int_equal(number("0", &port), 0);
	assert_int_equal(port, 0);
	assert_int_equal(number("00000000000000000000022", &port), 0);
	assert_int_equal(port, 22);
	assert_int_equal(number("4294967295", &port), 0);
	assert_int_equal(port, UINT32_MAX);
	assert_int_equal(ports_from_number("221", 2, &port), 0);
	assert_int_equal(port, 22);
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(number(bad[i], &port), -EINVAL);
		assert_int_equal(port, 22);
	}
}

static void test_guids(void **state)
{
	char text[PORTS_GUID_LEN + 1];
	uint32_t port = 0;

	ports_guid(22, text);
	assert_string_equal(text, GUID_22);
	assert_int_equal(guid(text, &port), 0);
	assert_int_equal(port, 22);
	ports_guid(UINT32_MAX, text);
	assert_string_equal(text, "ffffffff-facb-11e6-bd58-64006a7986d3");
	assert_int_equal(guid("FFFFfffE-FACB-11E6-BD58-64006A7986D3", &port), 0);
	assert_int_equal(port, UINT32_MAX - 1);

	/* The guest communication service of Hyper-V: a GUID, but no port's. */
	assert_int_equal(guid("34d14be3-dee4-41c8-9ae7-6b174977c192", &port), -ENOENT);
	assert_int_equal(guid("00000016-facb-11e6-bd58-64006a7986d4", &port), -ENOENT);
	assert_int_equal(port, UINT32_MAX - 1);
}

static void test_what_is_no_guid(void **state)
{
	char text[] = GUID_22;
	uint32_t port;

	assert_int_equal(ports_from_guid(text, PORTS_GUID_LEN - 1, &port), -EINVAL);
	assert_int_equal(guid(GUID_22 "0", &port), -EINVAL);
	assert_int_equal(guid("{0000016-facb-11e6-bd58-64006a7986d}", &port), -EINVAL);
	/* Every character spoilt in its turn; a digit in place of a hyphen, and the reverse. */
	for (size_t i = 0; i < PORTS_GUID_LEN; i++) {
		char right = text[i];

		text[i] = right == '-' ? '0' : '-';
		assert_int_equal(guid(text, &port), -EINVAL);
		text[i] = 'g';
		assert_int_equal(guid(text, &port), -EINVAL);
		text[i] = '\0';
		assert_int_equal(ports_from_guid(text, PORTS_GUID_LEN, &port), -EINVAL);
		text[i] = right;
	}
	assert_int_equal(guid(text, &port), 0);
}

static void test_words(void **state)
{
	static const char *const words[] = { "INIT",        "PLAN9",    "PLAN9_DRVFS",
					     "DRVFS_ADMIN", "VIRTIOFS", "CRASH_DUMP" };
	uint32_t port = 0;

	for (uint32_t i = 0; i < array_size(words); i++) {
		assert_string_equal(ports_name(PORTS_BASE_DEFAULT, 50000 + i), words[i]);
		assert_string_equal(ports_name(51000, 51000 + i), words[i]);
		assert_int_equal(ports_parse(51000, words[i], &port), 0);
		assert_int_equal(port, 51000 + i);
	}
	assert_null(ports_name(PORTS_BASE_DEFAULT, 49999));
	assert_null(ports_name(PORTS_BASE_DEFAULT, 50006));
	assert_null(ports_name(51000, 50000));
	assert_string_equal(ports_name(PORTS_BASE_MAX, UINT32_MAX - 1), "CRASH_DUMP");
	assert_null(ports_name(PORTS_BASE_MAX, UINT32_MAX));

	assert_int_equal(ports_parse(50000, "plan9", &port), 0);
	assert_int_equal(port, 50001);
	assert_int_equal(ports_parse(50000, "22", &port), 0);
	assert_int_equal(port, 22);
	assert_int_equal(ports_parse(50000, GUID_22, &port), 0);
	assert_int_equal(port, 22);
	assert_int_equal(ports_parse(50000, "", &port), -EINVAL);
	assert_int_equal(ports_parse(50000, "INIT ", &port), -EINVAL);
	assert_int_equal(ports_parse(50000, "PLAN", &port), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_guids),
		cmocka_unit_test(test_what_is_no_guid),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
