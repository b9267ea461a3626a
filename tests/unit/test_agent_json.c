/* SPDX-License-Identifier: MIT */
/* The agent's JSON: what the checked reader takes, what it refuses, and what the writer makes of anything. */
#include "agent/guest/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/protocol.h"

static struct json_doc *doc;

static int setup(void **state)
{
	doc = json_doc_new();
	return doc ? 0 : -1;
}

static int teardown(void **state)
{
	json_doc_free(doc);
	return 0;
}

/* The text in a buffer of just its size, so that a read beyond is one. */
static int parse(const char *text, size_t size, struct json *root)
{
	static char *copy;

	free(copy);
	copy = NULL;
	if (!text)
		return 0;
	copy = malloc(size ? size : 1);
	memcpy(copy, text, size);
	return json_parse(doc, copy, size, root);
}

static struct json good(const char *text)
{
	struct json root = { 0 };

	assert_int_equal(parse(text, strlen(text), &root), 0);
	return root;
}

static void assert_refused(const char *text)
{
	struct json root;

	if (parse(text, strlen(text), &root) != -EBADMSG)
		fail_msg("taken: %s", text);
}

static void done(void **state)
{
	parse(NULL, 0, NULL);
}

static void takes_every_kind_of_value(void **state)
{
	struct json root =
		good(" {\"s\": \"a b\", \"n\" : -12 , \"z\":0,\"t\":true,\"f\":false,\"x\":null,"
		     "\"o\":{\"k\":{}}, \"a\":[1, \"2\", [ ] ]}\n");
	int64_t n = 0;
	bool b = false;
	char s[8];

	assert_int_equal(json_string(json_get(root, "s"), s, sizeof(s)), 3);
	assert_string_equal(s, "a b");
	assert_int_equal(json_int(json_get(root, "n"), -12, 0, &n), 0);
	assert_int_equal(n, -12);
	assert_int_equal(json_bool(json_get(root, "t"), false, &b), 0);
	assert_true(b);
	assert_int_equal(json_bool(json_get(root, "f"), true, &b), 0);
	assert_false(b);
	assert_false(json_present(json_get(root, "x")));
	assert_true(json_is_object(json_get(json_get(root, "o"), "k")));
	assert_int_equal(json_count(json_get(root, "a")), 3);
	done(state);
}

static void an_empty_text_is_an_empty_object(void **state)
{
	struct json root = good("");

	assert_true(json_is_object(root));
	assert_int_equal(json_count(root), 0);
	assert_int_equal(json_get(root, "a").at, -1);
}

static void refuses_what_is_no_json(void **state)
{
	static const char *const bad[] = {
		" ",
		"[]",
		"1",
		"\"a\"",
		"null",
		"{",
		"}",
		"{]",
		"[}",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\" 1}",
		"{\"a\":1 \"b\":2}",
		"{\"a\":1,}",
		"{,\"a\":1}",
		"{\"a\":1,,\"b\":2}",
		"{\"a\"::1}",
		"{a:1}",
		"{\"a\":b}",
		"{1:2}",
		"{\"a\":[1 2]}",
		"{\"a\":[1,]}",
		"{\"a\":[,1]}",
		"{\"a\":[1:2]}",
		"{\"a\":01}",
		"{\"a\":-}",
		"{\"a\":+1}",
		"{\"a\":1.}",
		"{\"a\":.5}",
		"{\"a\":1e}",
		"{\"a\":1e+}",
		"{\"a\":0x1}",
		"{\"a\":tru}",
		"{\"a\":truee}",
		"{\"a\":nan}",
		"{\"a\":'b'}",
		"{\"a\":\"b}",
		"{\"a\":\"\\x\"}",
		"{\"a\":\"\\u12\"}",
		"{\"a\":\"\\u12g4\"}",
		"{\"a\":\"\n\"}",
		"{\"a\":\"\x1f\"}",
		"{\"a\":1}{}",
		"{} {}",
		"{}x",
		"x{}",
		"{\"a\":{\"b\":1}",
		"{\"a\":1}}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\xc0\xaf\"}",
		"{\"a\":\"\xed\xa0\x80\"}",
		"{\"a\":\"\xf5\x80\x80\x80\"}",
		"{\"a\":\"\xe2\x82\"}",
		"{\"\xff\":1}",
		"{{}:1}",
		"{[]:1}",
		"{\"a\":1/**/}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_refused(bad[i]);
	done(state);
}

/* jsmn stops at a NUL; what is behind it must not slip through. */
static void refuses_a_nul_in_the_text(void **state)
{
	struct json root;

	assert_int_equal(parse("{}\0{}", 5, &root), -EBADMSG);
	assert_int_equal(parse("{\"a\0b\":1}", 9, &root), -EBADMSG);
	done(state);
}

static void nested(char *text, int depth)
{
	char *p = stpcpy(text, "{\"a\":");

	memset(p, '[', (size_t)depth - 1);
	memset(p + depth - 1, ']', (size_t)depth - 1);
	strcpy(p + 2 * (depth - 1), depth > 1 ? "}" : "1}");
}

static void depth_has_a_limit(void **state)
{
	char text[128];
	struct json root;

	nested(text, AGENT_JSON_DEPTH);
	assert_int_equal(parse(text, strlen(text), &root), 0);
	nested(text, AGENT_JSON_DEPTH + 1);
	assert_int_equal(parse(text, strlen(text), &root), -E2BIG);
	done(state);
}

/* {"a":[0,0,…]}: three tokens and one for each item. */
static int parse_items(size_t n)
{
	char *text = malloc(2 * n + 16);
	char *p = stpcpy(text, "{\"a\":[");
	struct json root;
	int err;

	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, i ? ",0" : "0");
	strcpy(p, "]}");
	err = parse(text, strlen(text), &root);
	free(text);
	return err;
}

static void tokens_have_a_limit(void **state)
{
	assert_int_equal(parse_items(JSON_MAX_TOKENS - 3), 0);
	assert_int_equal(parse_items(JSON_MAX_TOKENS - 2), -E2BIG);
	done(state);
}

static void size_has_a_limit(void **state)
{
	char *text = malloc(AGENT_MESSAGE_MAX + 1);
	struct json root;

	memset(text, ' ', AGENT_MESSAGE_MAX + 1);
	memcpy(text, "{}", 2);
	assert_int_equal(parse(text, AGENT_MESSAGE_MAX, &root), 0);
	assert_int_equal(parse(text, AGENT_MESSAGE_MAX + 1, &root), -EBADMSG);
	free(text);
	done(state);
}

static void unescapes_strings(void **state)
{
	struct json root =
		good("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\","
		     "\"half\":\"\\ud83dx\", \"other\":\"\\ude00\", \"no\":\"\\ud83d\\u0041\"}");
	char s[64];

	assert_true(json_string(json_get(root, "a"), s, sizeof(s)) > 0);
	assert_string_equal(s, "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	json_string(json_get(root, "half"), s, sizeof(s));
	assert_string_equal(s, "\xef\xbf\xbdx");
	json_string(json_get(root, "other"), s, sizeof(s));
	assert_string_equal(s, "\xef\xbf\xbd");
	json_string(json_get(root, "no"), s, sizeof(s));
	assert_string_equal(s, "\xef\xbf\xbd"
			       "A");
	done(state);
}

static void a_string_fits_or_is_refused(void **state)
{
	struct json root = good("{\"a\":\"1234\",\"nul\":\"a\\u0000b\",\"n\":1}");
	char s[5];
	int err = 0;

	assert_int_equal(json_string(json_get(root, "a"), s, 5), 4);
	assert_int_equal(json_string(json_get(root, "a"), s, 4), -ENAMETOOLONG);
	assert_int_equal(json_string(json_get(root, "a"), s, 0), -ENAMETOOLONG);
	assert_int_equal(json_string(json_get(root, "nul"), s, 5), -EINVAL);
	assert_int_equal(json_string(json_get(root, "n"), s, 5), -EINVAL);
	assert_int_equal(json_string(json_get(root, "b"), s, 5), -ENOENT);
	assert_null(json_strdup(json_get(root, "b"), &err));
	assert_int_equal(err, -ENOENT);
	done(state);
}

static void numbers_are_whole_and_in_range(void **state)
{
	struct json root = good("{\"max\":9223372036854775807,\"big\":9223372036854775808,"
				"\"min\":-9223372036854775808,\"f\":1.5,\"e\":1e3,\"s\":\"1\"}");
	int64_t n = 7;

	assert_int_equal(json_int(json_get(root, "max"), 0, INT64_MAX, &n), 0);
	assert_int_equal(n, INT64_MAX);
	assert_int_equal(json_int(json_get(root, "min"), INT64_MIN, 0, &n), 0);
	assert_int_equal(n, INT64_MIN);
	n = 7;
	assert_int_equal(json_int(json_get(root, "big"), 0, INT64_MAX, &n), -ERANGE);
	assert_int_equal(json_int(json_get(root, "max"), 0, INT64_MAX - 1, &n), -ERANGE);
	assert_int_equal(json_int(json_get(root, "f"), 0, 9, &n), -EINVAL);
	assert_int_equal(json_int(json_get(root, "e"), 0, 9999, &n), -EINVAL);
	assert_int_equal(json_int(json_get(root, "s"), 0, 9, &n), -EINVAL);
	assert_int_equal(json_int(json_get(root, "none"), 0, 9, &n), -ENOENT);
	assert_int_equal(n, 7);
	done(state);
}

static void vectors_are_strings_and_not_too_many(void **state)
{
	struct json root =
		good("{\"v\":[\"a\",\"\",\"c\\n\"],\"e\":[],\"bad\":[\"a\",1],\"s\":\"a\"}");
	int err = 0;
	char **v = json_strv(json_get(root, "v"), 3, &err);

	assert_string_equal(v[0], "a");
	assert_string_equal(v[1], "");
	assert_string_equal(v[2], "c\n");
	assert_null(v[3]);
	free(v);
	assert_null(json_strv(json_get(root, "v"), 2, &err));
	assert_int_equal(err, -E2BIG);
	assert_null(json_strv(json_get(root, "bad"), 3, &err));
	assert_int_equal(err, -EINVAL);
	assert_null(json_strv(json_get(root, "s"), 3, &err));
	assert_int_equal(err, -EINVAL);
	v = json_strv(json_get(root, "none"), 3, &err);
	assert_null(v[0]);
	free(v);
	v = json_strv(json_get(root, "e"), 0, &err);
	assert_null(v[0]);
	free(v);
	done(state);
}

static void the_first_of_equal_members_counts(void **state)
{
	struct json root = good("{\"o\":{\"a\":1},\"a\":2,\"a\":3}");
	int64_t n = 0;

	assert_int_equal(json_int(json_get(root, "a"), 0, 9, &n), 0);
	assert_int_equal(n, 2);
	done(state);
}

static void writes_what_it_reads(void **state)
{
	char buf[256];
	struct json_writer w;
	struct json root;
	char s[32];

	json_writer_init(&w, buf, sizeof(buf));
	json_open(&w, NULL, '{');
	json_put_string(&w, "k\"\\\n", "v\x01\xff\xc3\xa9");
	json_put_int(&w, "i", INT64_MIN);
	json_open(&w, "a", '[');
	json_put_bool(&w, NULL, true);
	json_put_bool(&w, NULL, false);
	json_close(&w, ']');
	json_open(&w, "o", '{');
	json_close(&w, '}');
	json_close(&w, '}');
	assert_false(w.overflow);
	assert_int_equal(parse(buf, w.len, &root), 0);
	buf[w.len] = '\0';
	assert_non_null(strstr(buf, "\"i\":-9223372036854775808,\"a\":[true,false],\"o\":{}}"));
	assert_non_null(strstr(buf, "\"k\\\"\\\\\\u000a\":"));
	root.at++; /* the escaped key cannot be asked for by json_get() */
	root.at++;
	assert_true(json_string(root, s, sizeof(s)) > 0);
	assert_string_equal(s, "v\x01\xef\xbf\xbd\xc3\xa9");
	done(state);
}

static void what_does_not_fit_is_told(void **state)
{
	char buf[8];
	struct json_writer w;

	json_writer_init(&w, buf, sizeof(buf));
	json_put_string(&w, NULL, "123456");
	assert_false(w.overflow);
	assert_int_equal(w.len, 8);
	json_close(&w, '}');
	assert_true(w.overflow);
	assert_int_equal(w.len, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_every_kind_of_value),
		cmocka_unit_test(an_empty_text_is_an_empty_object),
		cmocka_unit_test(refuses_what_is_no_json),
		cmocka_unit_test(refuses_a_nul_in_the_text),
		cmocka_unit_test(depth_has_a_limit),
		cmocka_unit_test(tokens_have_a_limit),
		cmocka_unit_test(size_has_a_limit),
		cmocka_unit_test(unescapes_strings),
		cmocka_unit_test(a_string_fits_or_is_refused),
		cmocka_unit_test(numbers_are_whole_and_in_range),
		cmocka_unit_test(vectors_are_strings_and_not_too_many),
		cmocka_unit_test(the_first_of_equal_members_counts),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(what_does_not_fit_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
