/* SPDX-License-Identifier: MIT */
/* What people say with units, as the numbers that a switch takes; and the table of impairment against the switch's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "err.h"
#include "model/fields.h"
#include "model/lab.h"
#include "model/numbers.h"
#include "model/units.h"
#include "impair_config.h"

/* --- units ---------------------------------------------------------------------------------------------------------- */

typedef const char *parse_fn(const char *text, uint64_t *ret);
typedef char *format_fn(uint64_t n);

static void takes(parse_fn *parse, format_fn *format, const char *text, uint64_t expected,
		  const char *shortest)
{
	uint64_t n = 7, back = 7;
	g_autofree char *said = NULL;

	assert_null(parse(text, &n));
	assert_true(n == expected);
	said = format(n);
	assert_string_equal(said, shortest);
	assert_null(parse(said, &back));
	assert_true(back == expected);
}

static void refuses(parse_fn *parse, const char *text, const char *why)
{
	uint64_t n = 7;
	const char *said = parse(text, &n);

	assert_non_null(said);
	assert_non_null(strstr(said, why));
	assert_true(n == 7);
}

static void test_delays(void **state)
{
	takes(unit_parse_delay, unit_format_delay, "20ms", 20000000, "20ms");
	takes(unit_parse_delay, unit_format_delay, "0.5us", 500, "500ns");
	takes(unit_parse_delay, unit_format_delay, "1500us", 1500000, "1.5ms");
	takes(unit_parse_delay, unit_format_delay, "90s", 90000000000, "90s");
	takes(unit_parse_delay, unit_format_delay, "120s", 120000000000, "2m");
	takes(unit_parse_delay, unit_format_delay, "0ms", 0, "0ns");
	takes(unit_parse_delay, unit_format_delay, "1.000000001s", 1000000001, "1.000000001s");
	refuses(unit_parse_delay, "-5ms", "negative");
	refuses(unit_parse_delay, "20", "unit");
	refuses(unit_parse_delay, "0.5ns", "digits");
	refuses(unit_parse_delay, "1.ms", "write it like");
	refuses(unit_parse_delay, "01ms", "write it like");
	refuses(unit_parse_delay, "99999999999999h", "too large");
}

static void test_chances_and_rates(void **state)
{
	takes(unit_parse_chance, unit_format_chance, "2%", 20000000, "2%");
	takes(unit_parse_chance, unit_format_chance, "100%", UNIT_CERTAIN, "100%");
	takes(unit_parse_chance, unit_format_chance, "0.0000001%", 1, "0.0000001%");
	takes(unit_parse_chance, unit_format_chance, "12.50%", 125000000, "12.5%");
	refuses(unit_parse_chance, "2", "ends with %");
	refuses(unit_parse_chance, "0.00000001%", "digits");
	refuses(unit_parse_chance, "-1%", "negative");
	takes(unit_parse_rate, unit_format_rate, "100mbit", 100000000, "100mbit");
	takes(unit_parse_rate, unit_format_rate, "1.5gbit", 1500000000, "1.5gbit");
	takes(unit_parse_rate, unit_format_rate, "1500kbit", 1500000, "1.5mbit");
	takes(unit_parse_rate, unit_format_rate, "8bit", 8, "8bit");
	refuses(unit_parse_rate, "100Mbit", "unit");
	refuses(unit_parse_rate, "0.5bit", "digits");
}

/* --- words of a command line ---------------------------------------------------------------------------------------- */

/* The numbers of words, as JSON; or the error's text.  g_free(). */
static char *from_words(const char *line)
{
	g_auto(GStrv) words = g_strsplit(line, " ", -1);
	struct json_object *numbers = NULL;
	g_autoptr(GError) error = NULL;
	char *text;

	if (!numbers_from_words(&field_impairment, words, &numbers, &error)) {
		assert_int_equal(error->code, ORCH_ERROR_USAGE);
		return g_strdup(error->message);
	}
	text = g_strdup(json_object_to_json_string_ext(numbers, JSON_C_TO_STRING_PLAIN));
	json_object_put(numbers);
	return text;
}

static void assert_words(const char *line, const char *expected)
{
	g_autofree char *got = from_words(line);

	assert_string_equal(got, expected);
}

static void test_words(void **state)
{
	assert_words("delay=20ms rate=10mbit limit-packets=50",
		     "{\"delay-ns\":20000000,\"rate-bps\":10000000,\"limit-packets\":50}");
	assert_words("gemodel.p=1% gemodel.r=10%", "{\"gemodel\":{\"p\":0.01,\"r\":0.1}}");
	assert_words("codel=on keep-order=yes ecn=false",
		     "{\"codel\":{},\"keep-order\":true,\"ecn\":false}");
	assert_words("precise=yes", "{\"precise\":true}");
	assert_words("packet-overhead=-4", "{\"packet-overhead\":-4}");
	assert_words("loss=120%", "loss: \"120%\" is out of range: 0% to 100%");
	assert_words(
		"delay=-1ms los=1%",
		"delay: \"-1ms\" is negative\nlos: unknown key \"los\" (did you mean \"loss\"?)");
	assert_words("gemodel.q=1%", "gemodel.q: unknown key \"q\"\n"
				     "gemodel: the key \"p\" is missing\n"
				     "gemodel: the key \"r\" is missing");
	assert_words("limit-packets=many", "limit-packets: expected an integer, got a string");
	assert_words("loss", "\"loss\" is not KEY=VALUE, as in loss=2%");
	assert_words("loss=\"1%", "loss: \"\"1%\" is not a percentage: write it like \"2%\"");
	assert_words("delay.x=1", "delay.x: unknown key \"delay.x\" (did you mean \"delay\"?)");
}

static void test_back_to_words(void **state)
{
	struct json_object *numbers = json_tokener_parse(
		"{\"loss\":0.025,\"delay-ns\":20000000,\"keep-order\":true,\"ecn\":false,\"distribution\":\"normal\","
		"\"slot\":{\"min-ns\":1000000,\"max-ns\":0,\"distribution\":\"uniform\",\"packets\":0},\"codel\":{},"
		"\"rate-bps\":1500000,\"limit-bytes\":65536,\"whatever\":1}");
	struct json_object *said = numbers_said(&field_impairment, numbers);
	g_autofree char *words = numbers_words(&field_impairment, numbers);

	assert_string_equal(
		words,
		"delay 20ms, distribution normal, keep-order, loss 2.5%, ecn false, rate 1.5mbit, "
		"slot (min 1ms), limit-bytes 64KiB, codel");
	assert_string_equal(json_object_get_string(json_object_object_get(said, "rate")),
			    "1.5mbit");
	assert_null(json_object_object_get(said, "whatever"));
	json_object_put(said);
	json_object_put(numbers);
}

static void test_merge(void **state)
{
	struct json_object *into = json_tokener_parse("{\"a\":1,\"b\":{\"c\":1,\"d\":2},\"e\":3}");
	struct json_object *from =
		json_tokener_parse("{\"b\":{\"d\":5},\"e\":null,\"f\":{\"g\":1}}");

	numbers_merge(into, from);
	assert_string_equal(json_object_to_json_string_ext(into, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":1,\"b\":{\"c\":1,\"d\":5},\"e\":null,\"f\":{\"g\":1}}");
	json_object_put(into);
	json_object_put(from);
}

/* --- against the switch --------------------------------------------------------------------------------------------- */

/* The row whose member a name of the switch's list is: "delay-ns", "gemodel.p". */
static const struct field *row_of(const char *name)
{
	const char *dot = strchr(name, '.');
	g_autofree char *outer = dot ? g_strndup(name, (gsize)(dot - name)) : g_strdup(name);
	const struct field_object *object = &field_impairment;

	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f)) {
		if (strcmp(f->member ? f->member : f->key, outer) != 0)
			continue;
		if (!dot)
			return f;
		for (const struct field *in = f->object->fields; in->key; in++)
			if (strcmp(in->member ? in->member : in->key, dot + 1) == 0)
				return in;
	}
	return NULL;
}

static double number_of(const struct field *f, uint64_t bound)
{
	return f->kind == FIELD_CHANCE ? (double)bound / UNIT_CERTAIN :
	       f->kind == FIELD_COUNT  ? (double)(int64_t)bound :
					 (double)bound;
}

#define X(kind_, field, name_, low_, high_, default_, text_) \
	{ .kind = IMPAIR_KIND_##kind_, .name = (name_), .low = (low_), .high = (high_) },
static const struct impair_field theirs[] = { IMPAIR_FIELDS(X) };
#undef X

/* Every setting that the switch has can be said, within the same bounds, and no other. */
static void test_same_as_the_switch(void **state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(theirs); i++) {
		const struct field *f = row_of(theirs[i].name);

		if (!f)
			fail_msg("no key for %s", theirs[i].name);
		if (theirs[i].kind == IMPAIR_KIND_NUMBER || theirs[i].kind == IMPAIR_KIND_INTEGER ||
		    theirs[i].kind == IMPAIR_KIND_FRACTION) {
			assert_float_equal(number_of(f, f->min), theirs[i].low, 1e-9);
			assert_float_equal(number_of(f, f->max), theirs[i].high, 1e-9);
		}
		assert_int_equal(f->kind == FIELD_OBJECT, theirs[i].kind == IMPAIR_KIND_OBJECT);
		assert_int_equal(f->kind == FIELD_FLAG, theirs[i].kind == IMPAIR_KIND_FLAG);
		assert_int_equal(f->kind == FIELD_WORD, theirs[i].kind == IMPAIR_KIND_WORD);
	}
	for (const struct field *f = field_next(&field_impairment, NULL); f;
	     f = field_next(&field_impairment, f)) {
		n++;
		for (const struct field *in = f->object ? f->object->fields : NULL; in && in->key;
		     in++)
			n++;
	}
	assert_int_equal(n, G_N_ELEMENTS(theirs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delays), cmocka_unit_test(test_chances_and_rates),
		cmocka_unit_test(test_words),  cmocka_unit_test(test_back_to_words),
		cmocka_unit_test(test_merge),  cmocka_unit_test(test_same_as_the_switch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
