/* SPDX-License-Identifier: MIT */
/* The CONNECT line: what is one, what will become one, what never will; and that not a byte behind it is taken. */
#include "connect_line.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

#define GUID_22 "00000016-facb-11e6-bd58-64006a7986d3"

static uint32_t port;
static bool guid;

/* Feed `len` bytes in pieces of `piece` until the verdict is not -EAGAIN; *ret_taken: how many were. */
static int feed(const char *bytes, size_t len, size_t piece, size_t *ret_taken)
{
	struct connect_line line = { 0 };
	size_t at = 0;
	int r = connect_line_parse(&line, &port, &guid);

	while (r == -EAGAIN && at < len) {
		size_t n = connect_line_want(&line, bytes + at, min(piece, len - at));

		assert_true(n > 0 && n <= piece);
		connect_line_add(&line, bytes + at, n);
		at += n;
		r = connect_line_parse(&line, &port, &guid);
	}
	*ret_taken = at;
	return r;
}

static int verdict(const char *text)
{
	size_t whole, single;
	int r = feed(text, strlen(text), strlen(text) + 1, &whole);

	/* In pieces it is the same, at the latest where the whole was judged. */
	assert_int_equal(feed(text, strlen(text), 1, &single), r);
	assert_true(single <= whole);
	return r;
}

static void test_lines_of_firecracker(void **state)
{
	static const char *const good[] = {
		"CONNECT 52\n",   "connect 52\n",   "CoNnEcT 52\n",
		"CONNECT   52\n", "CONNECT\t52\n",  "CONNECT 52 \n",
		"CONNECT 52\r\n", "CONNECT 0052\n", "CONNECT 52 \t \r\n"
	};

	for (size_t i = 0; i < array_size(good); i++) {
		port = 0;
		guid = true;
		assert_int_equal(verdict(good[i]), 0);
		assert_int_equal(port, 52);
		assert_false(guid);
	}
	assert_int_equal(verdict("CONNECT 4294967295\n"), 0);
	assert_int_equal(port, UINT32_MAX);
	assert_int_equal(verdict("CONNECT " GUID_22 "\n"), 0);
	assert_int_equal(port, 22);
	assert_true(guid);
}

static void test_rubbish(void **state)
{
	static const char *const bad[] = {
		"\n",
		"GET / HTTP/1.1\r\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT52\n",
		"CONNECT 52x\n",
		"CONNECT 52 53\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"CONNECT INIT\n",
		"CONNECT 34d14be3-dee4-41c8-9ae7-6b174977c192\n",
		" CONNECT 52\n",
		"CONNECTED 52\n",
		"CONN\n",
		"X",
		"CONNECTX",
		"\xff\xfe",
	};

	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(verdict(bad[i]), -EINVAL);
	assert_int_equal(verdict("\x16\x03\x01"), -EINVAL); /* TLS */
}

static void test_nul_bytes(void **state)
{
	static const char inside[] = "CONNECT 5\0002\n", keyword[] = "CON\0ECT 52\n";
	size_t taken;

	assert_int_equal(feed(inside, sizeof(inside) - 1, 64, &taken), -EINVAL);
	assert_int_equal(feed(keyword, sizeof(keyword) - 1, 1, &taken), -EINVAL);
	assert_int_equal(taken, 4);
}

static void test_rubbish_is_known_at_its_first_byte(void **state)
{
	size_t taken;

	assert_int_equal(feed("HELO", 4, 1, &taken), -EINVAL);
	assert_int_equal(taken, 1);
	assert_int_equal(feed("CONNEXT 52\n", 11, 1, &taken), -EINVAL);
	assert_int_equal(taken, 6);
}

static void test_incomplete(void **state)
{
	static const char line[] = "CONNECT 52";
	size_t taken;

	for (size_t n = 0; n < sizeof(line); n++)
		assert_int_equal(feed(line, n, 64, &taken), -EAGAIN);
}

static void test_what_follows_is_left(void **state)
{
	static const char stream[] = "CONNECT 52\nCONNECT 53\nhello";
	size_t taken;

	for (size_t piece = 1; piece <= sizeof(stream); piece++) {
		assert_int_equal(feed(stream, sizeof(stream) - 1, piece, &taken), 0);
		assert_int_equal(taken, 11);
		assert_int_equal(port, 52);
	}
}

/* A line of `len` bytes with its newline: blanks fill it up. */
static int verdict_of_length(size_t len)
{
	char text[2 * CONNECT_LINE_MAX];
	size_t taken;

	memset(text, ' ', sizeof(text));
	memcpy(text, "CONNECT", 7);
	memcpy(text + len - 3, "52\n", 3);
	return feed(text, len, len, &taken);
}

static void test_longest_line(void **state)
{
	assert_int_equal(verdict_of_length(CONNECT_LINE_MAX), 0);
	assert_int_equal(port, 52);
	assert_int_equal(verdict_of_length(CONNECT_LINE_MAX + 1), -EINVAL);
}

static void test_reply(void **state)
{
	char text[CONNECT_REPLY_MAX];

	assert_int_equal(connect_line_reply(1073741824, false, text), 14);
	assert_string_equal(text, "OK 1073741824\n");
	assert_int_equal(connect_line_reply(UINT32_MAX, false, text), 14);
	assert_int_equal(connect_line_reply(22, true, text), 3 + PORTS_GUID_LEN + 1);
	assert_string_equal(text, "OK " GUID_22 "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_of_firecracker),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_rubbish_is_known_at_its_first_byte),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_what_follows_is_left),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
