/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "model/errors.h"
#include "model/jsontree.h"

/* What reading `text` reports, as `t:LINE:COLUMN: …` lines; the tree goes to *ret_tree if that is wanted. */
static char *reports(const char *text, size_t len, struct jt_tree **ret_tree)
{
	struct lab_errors *errors = lab_errors_new("t");
	struct jt_tree *tree;
	char *out;

	lab_errors_set_text(errors, text, len);
	tree = jt_parse(text, len, errors);
	lab_errors_locate(errors);
	out = lab_errors_format(errors);
	if (!tree)
		assert_true(lab_errors_count(errors) > 0);
	lab_errors_free(errors);
	if (ret_tree)
		*ret_tree = tree;
	else
		jt_free(tree);
	return out;
}

static struct jt_tree *read_good(const char *text)
{
	struct jt_tree *tree;
	g_autofree char *said = reports(text, strlen(text), &tree);

	assert_string_equal(said, "");
	assert_non_null(tree);
	return tree;
}

static void test_values(void **state)
{
	struct jt_tree *tree = read_good(
		"\xef\xbb\xbf { \"s\" : \"a\\u00e9\\n\\\"\\/\\ud83d\\ude00\", \"n\": -12, \"r\": 1.5e1, \"big\": 9223372036854775807,\n"
		"\t\"t\": true, \"f\": false, \"z\": null, \"a\": [1, [], {}], \"e\": -0, \"small\": -9223372036854775808 }\r\n");
	struct jt_node *root = jt_root(tree), *a = jt_get(root, "a");

	assert_int_equal(root->type, JT_OBJECT);
	assert_int_equal(root->n_children, 10);
	assert_string_equal(jt_get(root, "s")->string, "a\xc3\xa9\n\"/\xf0\x9f\x98\x80");
	assert_int_equal(jt_get(root, "n")->integer, -12);
	assert_true(jt_get(root, "r")->is_integer);
	assert_int_equal(jt_get(root, "r")->integer, 15);
	assert_true(jt_get(root, "big")->integer == INT64_MAX);
	assert_true(jt_get(root, "small")->integer == INT64_MIN);
	assert_true(jt_get(root, "t")->boolean);
	assert_false(jt_get(root, "f")->boolean);
	assert_int_equal(jt_get(root, "z")->type, JT_NULL);
	assert_int_equal(jt_get(root, "e")->integer, 0);
	assert_int_equal(a->n_children, 3);
	assert_int_equal(a->child->next->next->type, JT_OBJECT);
	assert_null(jt_get(root, "nothing"));
	assert_null(jt_get(a, "s"));
	assert_null(jt_get(NULL, "s"));
	jt_free(tree);
}

static void test_fractions_are_no_integers(void **state)
{
	struct jt_tree *tree = read_good("[1.5, 1e300, 9007199254740993.0, 2.0]");
	struct jt_node *n = jt_root(tree)->child;

	assert_false(n->is_integer);
	assert_false(n->next->is_integer);
	assert_true(n->next->next->next->is_integer);
	jt_free(tree);
}

static void test_pointers(void **state)
{
	struct jt_tree *tree = read_good("{\"a/b\": {\"m~n\": [0, {\"\\u001b[2J\": 1}]}, \"\": 2}");
	struct jt_node *deep = jt_get(jt_get(jt_root(tree), "a/b"), "m~n")->child->next->child;
	g_autofree char *root = jt_pointer(jt_root(tree)), *pointer = jt_pointer(deep);
	g_autofree char *empty = jt_pointer(jt_get(jt_root(tree), ""));

	assert_string_equal(root, "");
	assert_string_equal(pointer, "/a~1b/m~0n/1/\\u001b[2J");
	assert_string_equal(empty, "/");
	jt_free(tree);
}

static void test_quote(void **state)
{
	g_autofree char *plain = jt_quote("lan1"), *escape = jt_quote("\x1b[31m\xc2\x9b\n");
	g_autofree char *long_text = g_strnfill(100, 'x'), *cut = jt_quote(long_text);

	assert_string_equal(plain, "\"lan1\"");
	assert_string_equal(escape, "\"\\u001b[31m\\u009b\\u000a\"");
	assert_int_equal(strlen(cut), 60 + strlen("\"…\""));
}

/* Each text and everything that is said about it. */
static const struct {
	const char *text, *said;
} bad[] = {
	{ "", "t:1:1: error: expected a value, got the end of the file\n" },
	{ " \n ", "t:2:2: error: expected a value, got the end of the file\n" },
	{ "{", "t:1:2: error: expected a key in double quotes, got the end of the file\n" },
	{ "[1", "t:1:3: error: expected ',' or ']', got the end of the file\n" },
	{ "[1,]", "t:1:4: error: expected a value behind the ',', got ']'\n" },
	{ "{\"a\":1,}", "t:1:8: error: expected a key behind the ',', got '}'\n" },
	{ "{\"a\" 1}", "t:1:6: error: /a: expected ':', got '1'\n" },
	{ "{a: 1}", "t:1:2: error: expected a key in double quotes, got 'a'\n" },
	{ "{'a': 1}",
	  "t:1:2: error: expected a key in double quotes, got ''' (strings have double quotes)\n" },
	{ "{\"a\": [1 2]}", "t:1:10: error: /a: expected ',' or ']', got '2'\n" },
	{ "{\"a\": // x\n1}",
	  "t:1:7: error: /a: expected a value, got '/' (JSON has no comments; a key \"x-…\" can hold any text)\n" },
	{ "tru", "t:1:1: error: expected a value, got 't'\n" },
	{ "nullx", "t:1:5: error: expected the end of the file, got 'x'\n" },
	{ "{} {}", "t:1:4: error: expected the end of the file, got '{'\n" },
	{ "01", "t:1:1: error: expected a number without leading zeros, got '0'\n" },
	{ "-", "t:1:2: error: expected a digit, got the end of the file\n" },
	{ "1.", "t:1:3: error: expected a digit, got the end of the file\n" },
	{ "1e+", "t:1:4: error: expected a digit, got the end of the file\n" },
	{ "+1", "t:1:1: error: expected a value, got '+'\n" },
	{ ".5", "t:1:1: error: expected a value, got '.'\n" },
	{ "0x10", "t:1:2: error: expected the end of the file, got 'x'\n" },
	{ "\xff", "t:1:1: error: expected a value, got byte 0xff\n" },
	{ "[\"abc\n\"]", "t:1:2: error: /0: this string has no closing '\"' on its line\n" },
	{ "[\"abc\\", "t:1:2: error: /0: this string has no closing '\"' on its line\n" },
	{ "[9223372036854775808, 1e999, -9223372036854775809]",
	  "t:1:2: error: /0: number out of range\nt:1:23: error: /1: number out of range\n"
	  "t:1:30: error: /2: number out of range\n" },
	{ "[\"\\x\", \"\\u12g4\", \"\\u0000\"]",
	  "t:1:3: error: /0: unknown escape: a backslash is written \\\\\n"
	  "t:1:9: error: /1: \\u wants four hexadecimal digits\n"
	  "t:1:19: error: /2: \\u0000: a string cannot hold a NUL\n" },
	{ "[\"\\ud800\", \"\\udc00\", \"\\ud800\\u0041\", \"\\ud800\\ud800\"]",
	  "t:1:3: error: /0: lone surrogate: \\ud800 to \\udbff and \\udc00 to \\udfff come in pairs\n"
	  "t:1:13: error: /1: lone surrogate: \\ud800 to \\udbff and \\udc00 to \\udfff come in pairs\n"
	  "t:1:23: error: /2: lone surrogate: \\ud800 to \\udbff and \\udc00 to \\udfff come in pairs\n"
	  "t:1:39: error: /3: lone surrogate: \\ud800 to \\udbff and \\udc00 to \\udfff come in pairs\n" },
	/* Stray continuation, overlong, surrogate in UTF-8, beyond U+10FFFF, cut sequence; columns count characters. */
	{ "[\"\xc3\xa9\x80\", \"\xc0\xaf\", \"\xed\xa0\x80\", \"\xf4\x90\x80\x80\", \"\xe2\x82\"]",
	  "t:1:4: error: /0: bad UTF-8\nt:1:9: error: /1: bad UTF-8\nt:1:15: error: /2: bad UTF-8\n"
	  "t:1:22: error: /3: bad UTF-8\nt:1:30: error: /4: bad UTF-8\n" },
	{ "[\"a\tb\", \"\x01\"]", "t:1:4: error: /0: control character: write it as an escape\n"
				  "t:1:10: error: /1: control character: write it as an escape\n" },
	{ "{\"a\": 1,\n \"a\": 2, \"b\": {\"a\": 3}, \"a\": 4}",
	  "t:2:2: error: /a: duplicate key (first on line 1)\nt:2:25: error: /a: duplicate key (first on line 1)\n" },
};

static void test_errors(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autofree char *said = reports(bad[i].text, strlen(bad[i].text), NULL);

		if (strcmp(said, bad[i].said) != 0)
			print_message("%s\n", bad[i].text);
		assert_string_equal(said, bad[i].said);
	}
}

static void test_nul_bytes(void **state)
{
	static const char outside[] = "{}\0", inside[] = "\"a\0b\"";
	g_autofree char *a = reports(outside, sizeof(outside) - 1, NULL);
	g_autofree char *b = reports(inside, sizeof(inside) - 1, NULL);

	assert_string_equal(a, "t:1:3: error: expected the end of the file, got byte 0x00\n");
	assert_string_equal(b, "t:1:3: error: control character: write it as an escape\n");
}

static char *repeat(const char *unit, unsigned n, const char *tail)
{
	GString *out = g_string_new(NULL);

	while (n-- > 0)
		g_string_append(out, unit);
	g_string_append(out, tail);
	return g_string_free(out, FALSE);
}

static void test_depth_limit(void **state)
{
	g_autofree char *good = NULL, *deep = repeat("[", JT_DEPTH_MAX + 1, ""), *said = NULL;
	g_autofree char *closing = repeat("]", JT_DEPTH_MAX, "");

	good = repeat("[", JT_DEPTH_MAX, closing);
	jt_free(read_good(good));
	said = reports(deep, strlen(deep), NULL);
	assert_non_null(strstr(said, "t:1:33: error: "));
	assert_non_null(strstr(said, "nested deeper than 32 levels\n"));
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void test_ten_megabytes_of_nesting(void **state)
{
	g_autofree char *text = g_strnfill(10000000, '['),
			*said = reports(text, strlen(text), NULL);
	g_autofree char *objects = repeat("{\"a\":", 1000000, ""),
			*said2 = reports(objects, strlen(objects), NULL);

	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
	assert_ptr_equal(strchr(said2, '\n'), said2 + strlen(said2) - 1);
}

static void test_node_limit(void **state)
{
	g_autofree char *good = repeat("0,", JT_NODES_MAX - 2, "0]"),
			*text = g_strconcat("[", good, NULL);
	g_autofree char *more = g_strconcat("[0,", good, NULL), *said = NULL;

	jt_free(read_good(text));
	said = reports(more, strlen(more), NULL);
	assert_non_null(strstr(said, "error: more than 1048576 values in one file\n"));
}

static void test_duplicates_in_large_objects(void **state)
{
	GString *text = g_string_new("{");
	g_autofree char *said = NULL, *line = NULL;
	unsigned lines = 0;

	for (unsigned i = 0; i < 50000; i++)
		g_string_append_printf(text, "\"k%u\": 0,\n", i % 49000);
	g_string_append(text, "\"end\": 0}");
	said = reports(text->str, text->len, NULL);
	for (const char *p = said; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 1000);
	assert_true(
		g_str_has_prefix(said, "t:49001:1: error: /k0: duplicate key (first on line 1)\n"));
	g_string_free(text, TRUE);
}

static void test_error_limit(void **state)
{
	g_autofree char *text = repeat("\"\\x\",", LAB_ERRORS_MAX + 7, "0]"),
			*array = g_strconcat("[", text, NULL);
	g_autofree char *said = reports(array, strlen(array), NULL);

	assert_true(g_str_has_suffix(said, "\nt: error: and 7 more errors\n"));
}

static void test_nearest(void **state)
{
	static const char *const words[] = { "memory", "vcpus", "image", "accel", "lan1" };
	static const struct {
		const char *word, *near;
	} cases[] = {
		{ "memroy", "memory" }, { "memoty", "memory" }, { "mem", "memory" },
		{ "vcpu", "vcpus" },    { "lan2", "lan1" },     { "images", "image" },
		{ "x", NULL },          { "quite-else", NULL }, { "", NULL },
		{ "aceel", "accel" },   { "Image", "image" },
	};
	struct lab_errors *errors = lab_errors_new("t");

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		const char *near =
			lab_errors_nearest(errors, cases[i].word, words, G_N_ELEMENTS(words));

		if (cases[i].near)
			assert_string_equal(near, cases[i].near);
		else
			assert_null(near);
	}
	lab_errors_free(errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_fractions_are_no_integers),
		cmocka_unit_test(test_pointers),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_depth_limit),
		cmocka_unit_test(test_ten_megabytes_of_nesting),
		cmocka_unit_test(test_node_limit),
		cmocka_unit_test(test_duplicates_in_large_objects),
		cmocka_unit_test(test_error_limit),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
