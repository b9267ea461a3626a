/* SPDX-License-Identifier: MIT */
/* Settings as JSON: what is taken, what is refused and in which words, and what comes out again. */
#include <errno.h>
#include <stdio.h>

#include "impair_fixture.h"
#include "impair_json.h"

static struct impair_config config;
static bool seeded;
static char why[IMPAIR_WHY_MAX];

static int read_text(const char *text)
{
	struct json_object *o = json_tokener_parse(text);
	int r;

	assert_non_null(o);
	r = impair_json_read(o, "port,direction", &config, &seeded, why);
	json_object_put(o);
	return r;
}

static void refuse(const char *text, const char *message)
{
	const struct impair_config before = config;

	assert_int_equal(read_text(text), -EINVAL);
	assert_string_equal(why, message);
	assert_memory_equal(&config, &before, sizeof(config));
}

static void accept(const char *text)
{
	if (read_text(text) != 0)
		fail_msg("%s: %s", text, why);
}

static void says(const char *expected)
{
	struct json_object *o = impair_json_settings(&config);

	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), expected);
	json_object_put(o);
}

static void test_merges(void **state)
{
	impair_config_init(&config);
	says("{\"seed\":0}");
	accept("{\"port\":\"a\",\"delay-ns\":20000000,\"loss\":0.02}");
	accept("{\"jitter-ns\":5000000,\"distribution\":\"normal\",\"seed\":7}");
	assert_true(seeded);
	says("{\"delay-ns\":20000000,\"jitter-ns\":5000000,\"distribution\":\"normal\",\"loss\":0.02,\"seed\":7}");
	accept("{\"delay-ns\":null,\"jitter-ns\":null,\"distribution\":null}");
	assert_false(seeded);
	says("{\"loss\":0.02,\"seed\":7}");
	accept("{\"limit-packets\":0,\"packet-overhead\":-14,\"keep-order\":true,\"precise\":true}");
	says("{\"keep-order\":true,\"precise\":true,\"loss\":0.02,\"packet-overhead\":-14,\"limit-packets\":0,\"seed\":7}");
	accept("{\"seed\":9223372036854775807}");
	assert_int_equal(config.seed, INT64_MAX);
}

static void test_objects(void **state)
{
	impair_config_init(&config);
	accept("{\"gemodel\":{\"p\":0.01,\"r\":0.25}}");
	says("{\"gemodel\":{\"p\":0.01,\"r\":0.25,\"h\":0,\"k\":1},\"seed\":0}");
	accept("{\"codel\":{}}");
	assert_int_equal(config.codel_target_ns, 5000000);
	assert_int_equal(config.codel_interval_ns, 100000000);
	accept("{\"codel\":null,\"slot\":{\"min-ns\":1000,\"packets\":5},\"flap\":{\"up-ns\":1000000,\"down-ns\":2000000}}");
	assert_false(config.codel);
	assert_int_equal(config.slot_packets, 5);
	accept("{\"slot\":{\"delay-ns\":1000}}"); /* an object is whole: packets are gone */
	assert_int_equal(config.slot_packets, 0);
	assert_int_equal(config.slot_min_ns, 0);
}

static void test_one_model_of_loss(void **state)
{
	impair_config_init(&config);
	accept("{\"loss\":0.1}");
	accept("{\"gemodel\":{\"p\":0.01,\"r\":0.25}}");
	assert_true(config.loss == 0 && config.gemodel);
	accept("{\"markov\":{\"p13\":0.01,\"p31\":0.25}}");
	assert_true(!config.gemodel && config.markov);
	accept("{\"loss\":0.2,\"gemodel\":null}");
	assert_true(config.loss == 0.2 && !config.markov);
	accept("{\"loss\":0,\"markov\":{\"p13\":0.01,\"p31\":0.25}}");
	refuse("{\"loss\":0.2,\"markov\":{\"p13\":0.01,\"p31\":0.25}}",
	       "markov: one of loss, gemodel and markov at a time");
	accept("{\"loss\":null}"); /* was not in use: the model stays */
	assert_true(config.markov);
}

static void test_impossible_values(void **state)
{
	impair_config_init(&config);
	accept("{\"delay-ns\":1000,\"reorder\":0.5,\"loss\":0.1}");
	refuse("{\"loss\":1.2}", "loss: 1.2 is outside 0..1");
	refuse("{\"loss\":-0.1}", "loss: -0.1 is outside 0..1");
	refuse("{\"loss\":\"2%\"}", "loss: must be a number");
	refuse("{\"loss-correlation\":1}", "loss-correlation: 1 is outside 0..0.9999");
	refuse("{\"jitter-ns\":5,\"delay-ns\":-1}", "delay-ns: -1 is outside 0..3600000000000");
	refuse("{\"delay-ns\":3600000000001}",
	       "delay-ns: 3600000000001 is outside 0..3600000000000");
	refuse("{\"delay-ns\":1.5}", "delay-ns: must be a whole number");
	refuse("{\"delay-ns\":0}", "delay-ns: a frame can only overtake others that are delayed: "
				   "reorder and gap need it");
	refuse("{\"rate-bps\":0}", "rate-bps: 0 is outside 8..1000000000000");
	refuse("{\"rate-bps\":1e300}", "rate-bps: 1e+300 is outside 8..1000000000000");
	refuse("{\"seed\":-1}", "seed: must be a whole number from 0 to 9223372036854775807");
	refuse("{\"distribution\":\"gauss\"}",
	       "distribution: must be one of uniform, normal, pareto, paretonormal");
	refuse("{\"distribution\":1}",
	       "distribution: must be one of uniform, normal, pareto, paretonormal");
	refuse("{\"keep-order\":1}", "keep-order: must be true or false");
	refuse("{\"los\":0.1}", "los: unknown member");
	refuse("{\"codel.ecn\":true}", "codel.ecn: unknown member");
	refuse("{\"codel\":{\"aim-ns\":5}}", "codel: unknown member \"aim-ns\"");
	refuse("{\"codel\":true}", "codel: must be an object, or null for none");
	refuse("{\"codel\":{\"interval-ns\":0}}",
	       "codel.interval-ns: 0 is outside 1..3600000000000");
	refuse("{\"gemodel\":{\"p\":0.1}}", "gemodel.r: must be given");
	refuse("{\"gemodel\":{\"p\":2,\"r\":1}}", "gemodel.p: 2 is outside 0..1");
	refuse("{\"markov\":{\"p13\":0.6,\"p31\":1,\"p14\":0.6}}",
	       "markov.p14: more than 1 together with p13");
	refuse("{\"markov\":{\"p13\":0.6,\"p31\":0.6,\"p32\":0.6}}",
	       "markov.p32: more than 1 together with p31");
	refuse("{\"slot\":{}}", "slot.min-ns: must be given, or delay-ns");
	refuse("{\"slot\":{\"min-ns\":5,\"max-ns\":4}}", "slot.max-ns: shorter than min-ns");
	refuse("{\"slot\":{\"min-ns\":5,\"delay-ns\":4}}",
	       "slot.delay-ns: either this or min-ns and max-ns");
	refuse("{\"flap\":{\"up-ns\":1000000}}", "flap.down-ns: must be given");
	refuse("{\"flap\":{\"up-ns\":999999,\"down-ns\":1000000}}",
	       "flap.up-ns: 999999 is outside 1000000..3600000000000");
}

/* Every field, at its bounds and just outside of them, by the list itself. */
static void test_ranges(void **state)
{
	for (unsigned i = 0; i < IMPAIR_N_FIELDS; i++) {
		const struct impair_field *f = &impair_fields[i];
		double step = f->kind == IMPAIR_KIND_FRACTION ? 1e-6 : 1;

		impair_config_init(&config);
		assert_true(strlen(f->text) > 3);
		if (f->kind == IMPAIR_KIND_FLAG || f->kind == IMPAIR_KIND_OBJECT)
			continue;
		assert_int_equal(impair_field_set(&config, f, f->low), 0);
		assert_true(impair_field_get(&config, f) == f->low);
		assert_int_equal(impair_field_set(&config, f, f->low - step), -ERANGE);
		assert_true(impair_field_get(&config, f) == f->low);
		if (f->high < 1e15) {
			assert_int_equal(impair_field_set(&config, f, f->high), 0);
			assert_int_equal(impair_field_set(&config, f, f->high + step), -ERANGE);
			assert_true(impair_field_get(&config, f) == f->high);
		}
	}
}

static void test_counters(void **state)
{
	struct impair_stats s = { .in_frames = 5, .dropped_codel = 1ull << 63 };
	struct json_object *o = impair_json_counters(&s);

	assert_int_equal(json_object_object_length(o), IMPAIR_N_COUNTERS);
	assert_int_equal(json_object_get_uint64(json_object_object_get(o, "in_frames")), 5);
	assert_true(json_object_get_uint64(json_object_object_get(o, "dropped_codel")) ==
		    1ull << 63);
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merges),
		cmocka_unit_test(test_objects),
		cmocka_unit_test(test_one_model_of_loss),
		cmocka_unit_test(test_impossible_values),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
