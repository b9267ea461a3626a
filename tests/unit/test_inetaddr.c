/* SPDX-License-Identifier: MIT */
/* Addresses as text. */
#include "inetaddr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base.h"

static void expect(const char *text, uint16_t port, const char *want)
{
	char got[INETADDR_TEXT_MAX];
	union inetaddr a;

	assert_int_equal(inetaddr_parse(text, port, &a), 0);
	assert_string_equal(inetaddr_text(&a, got), want);
	assert_int_equal(inetaddr_len(&a), a.sa.sa_family == AF_INET ? sizeof(struct sockaddr_in) :
								       sizeof(struct sockaddr_in6));
}

static void test_good(void **state)
{
	expect("127.0.0.1:1", 0, "127.0.0.1:1");
	expect("127.0.0.1:65535", 7, "127.0.0.1:65535");
	expect("10.1.2.3", 4789, "10.1.2.3:4789");
	expect("[::1]:80", 0, "[::1]:80");
	expect("::1", 4789, "[::1]:4789");
	expect("[2001:DB8::7]", 4789, "[2001:db8::7]:4789");
	expect("2001:db8::7:80", 4789, "[2001:db8::7:80]:4789");
}

static void test_bad(void **state)
{
	static const char *const bad[] = { "",
					   ":1",
					   "127.0.0.1",
					   "127.0.0.1:",
					   "127.0.0.1:0",
					   "127.0.0.1:65536",
					   "127.0.0.1:1x",
					   "127.0.0.1:+1",
					   "127.0.0.1:100000",
					   "[127.0.0.1]:1",
					   "[::1",
					   "[::1]",
					   "[::1]x:1",
					   "::1",
					   "localhost:1",
					   "1.2.3:1",
					   "1.2.3.4.5:1" };
	union inetaddr a = { .in.sin_port = 77 };
	char longer[300];

	for (unsigned i = 0; i < array_size(bad); i++)
		if (inetaddr_parse(bad[i], 0, &a) != -EINVAL)
			fail_msg("\"%s\" is taken for an address", bad[i]);
	snprintf(longer, sizeof(longer), "[%0200d]:1", 0);
	assert_int_equal(inetaddr_parse(longer, 0, &a), -EINVAL);
	assert_int_equal(a.in.sin_port, 77); /* untouched */
}

static void test_compares(void **state)
{
	union inetaddr a, b;

	assert_int_equal(inetaddr_parse("127.0.0.1:1", 0, &a), 0);
	assert_int_equal(inetaddr_parse("127.0.0.1:2", 0, &b), 0);
	assert_true(inetaddr_same_host(&a, &b));
	assert_false(inetaddr_equal(&a, &b));
	assert_true(inetaddr_equal(&a, &a));
	assert_int_equal(inetaddr_parse("[::1]:1", 0, &b), 0);
	assert_false(inetaddr_same_host(&a, &b));
	assert_int_equal(inetaddr_parse("[::2]:1", 0, &a), 0);
	assert_false(inetaddr_same_host(&a, &b));
	a.sa.sa_family = AF_UNSPEC;
	b.sa.sa_family = AF_INET;
	assert_false(inetaddr_same_host(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_compares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
