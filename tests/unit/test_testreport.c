/* SPDX-License-Identifier: MIT */
/* Reports of a lab's tests, whatever a guest has written; and the words that name a guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <pty.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "cmd/bar.h"
#include "cmd/prefix.h"
#include "cmd/reach.h"
#include "cmd/testreport.h"

static struct test_result passed(void)
{
	return (struct test_result){
		.name = "is up",
		.vm = "n1",
		.command = g_strdup("true"),
		.out = g_strdup(""),
		.err = g_strdup(""),
		.took_us = 1500000,
	};
}

static struct test_result failed(const char *out)
{
	return (struct test_result){
		.name = "a # \\ b\nc",
		.vm = "n2",
		.hint = "say \"please\"",
		.command = g_strdup("sh -c 'exit 1'"),
		.failure = g_strdup("exit status 1, not 0"),
		.out = g_strdup(out),
		.err = g_strdup("no\n"),
	};
}

static void test_tap(void **state)
{
	struct test_result good = passed(), bad = failed("  first\nsecond\n");
	g_autoptr(GString) s = g_string_new(NULL);

	report_tap(s, 1, &good);
	report_tap(s, 2, &bad);
	assert_string_equal(s->str, "ok 1 - is up\n"
				    "not ok 2 - a \\# \\\\ b c\n"
				    "  ---\n"
				    "  message: \"exit status 1, not 0\"\n"
				    "  severity: \"fail\"\n"
				    "  vm: \"n2\"\n"
				    "  command: \"sh -c 'exit 1'\"\n"
				    "  hint: \"say \\\"please\\\"\"\n"
				    "  seconds: 0.000\n"
				    "  stdout: |2\n"
				    "      first\n"
				    "    second\n"
				    "  stderr: |2\n"
				    "    no\n"
				    "  ...\n");
	test_result_clear(&good);
	test_result_clear(&bad);
}

/* No line of a guest's may end the block, begin a test point or move a cursor. */
static void test_tap_hostile(void **state)
{
	struct test_result bad = failed("...\nok 3 - forged\n"), raw = failed("\033[2J\rok 3\n");
	g_autoptr(GString) s = g_string_new(NULL);

	report_tap(s, 2, &bad);
	report_tap(s, 3, &raw);
	assert_null(strstr(s->str, "\nok 3"));
	assert_null(strstr(s->str, "\n...\n"));
	assert_null(strchr(s->str, '\033'));
	assert_null(strchr(s->str, '\r'));
	assert_non_null(strstr(s->str, "stdout: \"\\x1b[2J\\x0dok 3\""));
	test_result_clear(&bad);
	test_result_clear(&raw);
}

static void test_junit(void **state)
{
	struct test_result results[] = { passed(), failed("<b> & \033\t\n"), failed("") };
	g_autoptr(GString) s = g_string_new(NULL);

	results[2].broken = true;
	report_junit(s, "web", results, 3, 2000000);
	assert_true(g_str_has_prefix(s->str, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"));
	assert_non_null(strstr(s->str, "<testsuite name=\"web\" tests=\"3\" failures=\"1\" "
				       "errors=\"1\" time=\"2.000\">"));
	assert_non_null(
		strstr(s->str, "<testcase classname=\"web.n1\" name=\"is up\" time=\"1.500\">"));
	assert_non_null(strstr(s->str,
			       "<failure message=\"exit status 1, not 0\">sh -c "
			       "&apos;exit 1&apos;\nhint: say &quot;please&quot;</failure>"));
	assert_non_null(strstr(s->str, "<error message="));
	assert_non_null(strstr(s->str, "<system-out>&lt;b&gt; &amp; ?\t\n</system-out>"));
	for (unsigned i = 0; i < 3; i++)
		test_result_clear(&results[i]);
}

static void test_text(void **state)
{
	g_autofree guint8 *bytes = g_malloc(REPORT_SHOWN + 1);
	g_autofree char *whole = NULL, *cut = NULL, *mended = NULL, *none = report_text(NULL, 0);

	assert_string_equal(none, "");

	memset(bytes, 'x', REPORT_SHOWN + 1);
	bytes[0] = 'a';
	whole = report_text(bytes, REPORT_SHOWN);
	cut = report_text(bytes, REPORT_SHOWN + 1);
	assert_int_equal(strlen(whole), REPORT_SHOWN);
	assert_int_equal(whole[0], 'a');
	assert_int_equal(strlen(cut), REPORT_SHOWN);
	assert_int_equal(cut[0], 'x');
	mended = report_text((const guint8 *)"a\xff", 2);
	assert_true(g_utf8_validate(mended, -1, NULL));
}

static char *shown_on(int to, int from, const char *text)
{
	g_autoptr(GString) line = g_string_new(NULL);
	int kept = dup(STDERR_FILENO);
	char shown[200] = "";
	struct prefix *p;
	ssize_t n;

	assert_int_equal(dup2(to, STDERR_FILENO), STDERR_FILENO);
	p = prefix_new(2, NULL, NULL);
	(void)prefix_add(p, "n1", line, 1, (const uint8_t *)text, strlen(text));
	prefix_free(p);
	assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	close(kept);
	n = read(from, shown, sizeof(shown) - 1);
	assert_true(n > 0);
	return g_strdup(shown);
}

/* Several guests share a terminal, and none of them writes over another's lines; a pipe gets what they wrote. */
static void test_prefix(void **state)
{
	static const char text[] = "\033[2J\xc2\x9bH\ta\rb\xc3\xa4\x7f\r\n";
	g_autofree char *terminal = NULL, *piped = NULL;
	int master, slave, ends[2];

	g_setenv("NO_COLOR", "1", TRUE);
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(pipe(ends), 0);
	terminal = shown_on(slave, master, text);
	assert_non_null(strstr(terminal, "n1 │ ?[2J?H"));
	assert_non_null(strstr(terminal, "a?b\xc3\xa4?\r\n"));
	piped = shown_on(ends[1], ends[0], text);
	assert_non_null(strstr(piped, text));
	close(master);
	close(slave);
	close(ends[0]);
	close(ends[1]);
}

/* --- words ------------------------------------------------------------------------------------------------ */

static void assert_target(const char *word, const char *vm, const char *distro)
{
	g_autoptr(GError) error = NULL;
	struct target t = { 0 };

	assert_int_equal(target_parse(word, &t, &error), vm != NULL);
	assert_int_equal(g_strcmp0(t.vm, vm), 0);
	assert_int_equal(g_strcmp0(t.distro, distro), 0);
	assert_int_equal(error != NULL, vm == NULL);
	target_clear(&t);
}

static void test_targets(void **state)
{
	assert_target("n1", "n1", NULL);
	assert_target("n1/debian", "n1", "debian");
	assert_target("", NULL, NULL);
	assert_target("n1/", NULL, NULL);
	assert_target("/debian", NULL, NULL);
	assert_target("n1/a/b", NULL, NULL);
	assert_target("../n1", NULL, NULL);
	assert_target("N1", NULL, NULL);
	assert_int_equal(target_prefix("n1:/etc"), 2);
	assert_int_equal(target_prefix("n1/debian:/etc"), 9);
	assert_int_equal(target_prefix("n1:"), 2);
	assert_int_equal(target_prefix("n1:a:b"), 2);
	assert_int_equal(target_prefix("n1"), 0);
	assert_int_equal(target_prefix("./n1:x"), 0);
	assert_int_equal(target_prefix("/n1:x"), 0);
	assert_int_equal(target_prefix("a/b/c:x"), 0);
	assert_int_equal(target_prefix(":x"), 0);
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },        { 1023, "1023 B" },      { 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" }, { 1u << 20, "1.0 MiB" }, { UINT64_MAX, "16.0 EiB" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = bar_size(cases[i].bytes);

		assert_string_equal(text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tap),    cmocka_unit_test(test_tap_hostile),
		cmocka_unit_test(test_junit),  cmocka_unit_test(test_text),
		cmocka_unit_test(test_prefix), cmocka_unit_test(test_targets),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
