/* SPDX-License-Identifier: MIT */
#include "cmd/testreport.h"

#include <string.h>

void test_result_clear(struct test_result *r)
{
	g_free(r->command);
	g_free(r->failure);
	g_free(r->out);
	g_free(r->err);
}

char *report_text(const guint8 *bytes, gsize len)
{
	gsize from = len > REPORT_SHOWN ? len - REPORT_SHOWN : 0;

	/* Of nothing there is no address. */
	if (len == 0)
		return g_strdup("");
	return g_utf8_make_valid((const char *)bytes + from, (gssize)(len - from));
}

/* --- TAP -------------------------------------------------------------------------------------------------- */

/* A quoted scalar of YAML, on one line. */
static void yaml_scalar(GString *s, const char *key, const char *text)
{
	g_string_append_printf(s, "  %s: \"", key);
	for (const char *p = text; *p; p++) {
		if (*p == '"' || *p == '\\')
			g_string_append_c(s, '\\');
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			g_string_append_printf(s, "\\x%02x", *p);
		else
			g_string_append_c(s, *p);
	}
	g_string_append(s, "\"\n");
}

/* A literal block, if all of it may stand in one; else a quoted scalar. */
static void yaml_text(GString *s, const char *key, const char *text)
{
	g_auto(GStrv) lines = NULL;
	g_autofree char *body = g_strchomp(g_strdup(text));

	if (!*body)
		return;
	for (const char *p = body; *p; p++) {
		if (((unsigned char)*p < ' ' && *p != '\n' && *p != '\t') || *p == 0x7f) {
			yaml_scalar(s, key, body);
			return;
		}
	}
	/* The indentation is said, for a text that begins with blanks. */
	g_string_append_printf(s, "  %s: |2\n", key);
	lines = g_strsplit(body, "\n", -1);
	for (unsigned i = 0; lines[i]; i++)
		g_string_append_printf(s, "    %s\n", lines[i]);
}

/* In a description '#' would begin a directive. */
static void tap_description(GString *s, const char *text)
{
	for (; *text; text++) {
		if (*text == '#' || *text == '\\')
			g_string_append_c(s, '\\');
		g_string_append_c(s, (unsigned char)*text < ' ' ? ' ' : *text);
	}
	g_string_append_c(s, '\n');
}

void report_tap(GString *s, unsigned number, const struct test_result *r)
{
	g_autofree char *took = g_strdup_printf("%.3f", (double)r->took_us / G_USEC_PER_SEC);

	g_string_append_printf(s, "%sok %u - ", r->failure ? "not " : "", number);
	tap_description(s, r->name);
	if (!r->failure)
		return;
	g_string_append(s, "  ---\n");
	yaml_scalar(s, "message", r->failure);
	yaml_scalar(s, "severity", r->broken ? "error" : "fail");
	yaml_scalar(s, "vm", r->vm);
	yaml_scalar(s, "command", r->command);
	if (r->hint)
		yaml_scalar(s, "hint", r->hint);
	g_string_append_printf(s, "  seconds: %s\n", took);
	yaml_text(s, "stdout", r->out);
	yaml_text(s, "stderr", r->err);
	g_string_append(s, "  ...\n");
}

/* --- JUnit ------------------------------------------------------------------------------------------------ */

/* XML 1.0 has no way to write most control characters, not even escaped. */
static void xml_text(GString *s, const char *text)
{
	g_autofree char *clean = g_strdup(text), *escaped = NULL;

	for (char *p = clean; *p; p++)
		if (((unsigned char)*p < ' ' && *p != '\n' && *p != '\t') || *p == 0x7f)
			*p = '?';
	escaped = g_markup_escape_text(clean, -1);
	g_string_append(s, escaped);
}

static void xml_attribute(GString *s, const char *name, const char *value)
{
	g_string_append_printf(s, " %s=\"", name);
	xml_text(s, value);
	g_string_append_c(s, '"');
}

static void xml_seconds(GString *s, gint64 us)
{
	g_string_append_printf(s, " time=\"%.3f\"", (double)us / G_USEC_PER_SEC);
}

static void xml_element(GString *s, const char *name, const char *text)
{
	if (!*text)
		return;
	g_string_append_printf(s, "      <%s>", name);
	xml_text(s, text);
	g_string_append_printf(s, "</%s>\n", name);
}

static void junit_case(GString *s, const char *suite, const struct test_result *r)
{
	g_autofree char *class = g_strdup_printf("%s.%s", suite, r->vm);
	const char *kind = r->broken ? "error" : "failure";

	g_string_append(s, "    <testcase");
	xml_attribute(s, "classname", class);
	xml_attribute(s, "name", r->name);
	xml_seconds(s, r->took_us);
	g_string_append(s, ">\n");
	if (r->failure) {
		g_string_append_printf(s, "      <%s", kind);
		xml_attribute(s, "message", r->failure);
		g_string_append(s, ">");
		xml_text(s, r->command);
		if (r->hint) {
			g_string_append(s, "\nhint: ");
			xml_text(s, r->hint);
		}
		g_string_append_printf(s, "</%s>\n", kind);
	}
	xml_element(s, "system-out", r->out);
	xml_element(s, "system-err", r->err);
	g_string_append(s, "    </testcase>\n");
}

void report_junit(GString *s, const char *suite, const struct test_result *results, unsigned n,
		  gint64 took_us)
{
	unsigned failures = 0, errors = 0;

	for (unsigned i = 0; i < n; i++) {
		failures += results[i].failure && !results[i].broken;
		errors += results[i].failure && results[i].broken;
	}
	g_string_append(s,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite");
	xml_attribute(s, "name", suite);
	g_string_append_printf(s, " tests=\"%u\" failures=\"%u\" errors=\"%u\"", n, failures,
			       errors);
	xml_seconds(s, took_us);
	g_string_append(s, ">\n");
	for (unsigned i = 0; i < n; i++)
		junit_case(s, suite, &results[i]);
	g_string_append(s, "  </testsuite>\n</testsuites>\n");
}
