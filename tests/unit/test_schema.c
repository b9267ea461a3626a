/* SPDX-License-Identifier: MIT */
/* The schema, judged by a small reader of draft-07: what schema.c uses of it, and nothing it does not know passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>
#include <json-c/json.h>

#include "golden.h"
#include "model/lab.h"
#include "model/schema.h"
#include "random_lab.h"

static struct json_object *root;

static bool valid(struct json_object *schema, struct json_object *value);

/* The schema a "#/definitions/NAME" means. */
static struct json_object *resolve(const char *ref)
{
	struct json_object *target = NULL;

	assert_int_equal(json_pointer_get(root, ref + 1, &target), 0);
	return target;
}

static bool matches(const char *pattern, const char *text)
{
	return g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0);
}

static bool valid_type(const char *type, struct json_object *value)
{
	static const struct {
		const char *name;
		enum json_type type;
	} types[] = { { "object", json_type_object },
		      { "array", json_type_array },
		      { "boolean", json_type_boolean },
		      { "string", json_type_string } };

	if (strcmp(type, "integer") == 0)
		return json_object_is_type(value, json_type_int) ||
		       (json_object_is_type(value, json_type_double) &&
			json_object_get_double(value) == (double)json_object_get_int64(value));
	for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
		if (strcmp(types[i].name, type) == 0)
			return json_object_is_type(value, types[i].type);
	fail_msg("type %s", type);
	return false;
}

static bool valid_property(struct json_object *schema, const char *key, struct json_object *value)
{
	struct json_object *properties, *patterns, *rest, *own;

	if (json_object_object_get_ex(schema, "properties", &properties) &&
	    json_object_object_get_ex(properties, key, &own))
		return valid(own, value);
	if (json_object_object_get_ex(schema, "patternProperties", &patterns)) {
		json_object_object_foreach(patterns, pattern, sub)
		{
			if (matches(pattern, key))
				return valid(sub, value);
		}
	}
	if (!json_object_object_get_ex(schema, "additionalProperties", &rest))
		return true;
	return valid(rest, value);
}

static bool valid_object(struct json_object *schema, struct json_object *value)
{
	struct json_object *required, *names, *o;
	int64_t n = json_object_object_length(value);

	if (json_object_object_get_ex(schema, "minProperties", &o) && n < json_object_get_int64(o))
		return false;
	if (json_object_object_get_ex(schema, "maxProperties", &o) && n > json_object_get_int64(o))
		return false;
	for (size_t i = 0; json_object_object_get_ex(schema, "required", &required) &&
			   i < json_object_array_length(required);
	     i++)
		if (!json_object_object_get_ex(
			    value, json_object_get_string(json_object_array_get_idx(required, i)),
			    NULL))
			return false;
	json_object_object_foreach(value, key, member)
	{
		if (json_object_object_get_ex(schema, "propertyNames", &names)) {
			struct json_object *name = json_object_new_string(key);
			bool ok = valid(names, name);

			json_object_put(name);
			if (!ok)
				return false;
		}
		if (!valid_property(schema, key, member))
			return false;
	}
	return true;
}

static bool valid_array(struct json_object *schema, struct json_object *value)
{
	size_t n = json_object_array_length(value);
	struct json_object *o;

	if (json_object_object_get_ex(schema, "minItems", &o) &&
	    n < (size_t)json_object_get_int64(o))
		return false;
	if (json_object_object_get_ex(schema, "maxItems", &o) &&
	    n > (size_t)json_object_get_int64(o))
		return false;
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(value, i);

		if (json_object_object_get_ex(schema, "items", &o) && !valid(o, item))
			return false;
		for (size_t j = 0; json_object_object_get_ex(schema, "uniqueItems", NULL) && j < i;
		     j++)
			if (json_object_equal(item, json_object_array_get_idx(value, j)))
				return false;
	}
	return true;
}

/* One keyword of a schema for one value. */
static bool valid_keyword(const char *key, struct json_object *wanted, struct json_object *value)
{
	bool is_string = json_object_is_type(value, json_type_string);
	const char *text = is_string ? json_object_get_string(value) : NULL;

	if (strcmp(key, "$ref") == 0)
		return valid(resolve(json_object_get_string(wanted)), value);
	if (strcmp(key, "type") == 0)
		return valid_type(json_object_get_string(wanted), value);
	if (strcmp(key, "pattern") == 0)
		return !is_string || matches(json_object_get_string(wanted), text);
	if (strcmp(key, "minLength") == 0)
		return !is_string || g_utf8_strlen(text, -1) >= json_object_get_int64(wanted);
	if (strcmp(key, "maxLength") == 0)
		return !is_string || g_utf8_strlen(text, -1) <= json_object_get_int64(wanted);
	if (strcmp(key, "minimum") == 0)
		return json_object_get_double(value) >= json_object_get_double(wanted);
	if (strcmp(key, "maximum") == 0)
		return json_object_get_double(value) <= json_object_get_double(wanted);
	if (strcmp(key, "anyOf") == 0) {
		for (size_t i = 0; i < json_object_array_length(wanted); i++)
			if (valid(json_object_array_get_idx(wanted, i), value))
				return true;
		return false;
	}
	if (strcmp(key, "enum") == 0 || strcmp(key, "allOf") == 0) {
		bool all = strcmp(key, "allOf") == 0, ok = all;

		for (size_t i = 0; i < json_object_array_length(wanted); i++) {
			struct json_object *each = json_object_array_get_idx(wanted, i);

			ok = all ? ok && valid(each, value) : ok || json_object_equal(each, value);
		}
		return ok;
	}
	return true;
}

static bool valid(struct json_object *schema, struct json_object *value)
{
	if (json_object_is_type(schema, json_type_boolean))
		return json_object_get_boolean(schema);
	json_object_object_foreach(schema, key, wanted)
	{
		if (!valid_keyword(key, wanted, value))
			return false;
	}
	if (json_object_is_type(value, json_type_object))
		return valid_object(schema, value);
	if (json_object_is_type(value, json_type_array))
		return valid_array(schema, value);
	return true;
}

static bool schema_takes(const char *text)
{
	struct json_object *value = json_tokener_parse(text);
	bool ok;

	assert_non_null(value);
	ok = valid(root, value);
	json_object_put(value);
	return ok;
}

static bool loader_takes(const char *text)
{
	struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };
	struct lab_errors *errors;
	struct lab *lab;

	if (lab_parse(text, strlen(text), "t.json", &dirs, &lab, &errors)) {
		lab_free(lab);
		return true;
	}
	lab_errors_free(errors);
	return false;
}

/* --- tests -------------------------------------------------------------------------------------------------------------- */

static void test_committed_schema_is_this_one(void **state)
{
	g_autofree char *committed = source_text("orchestrator/lab.schema.json"),
			*text = schema_text();

	/* Renew it with: orchestrator schema >orchestrator/lab.schema.json */
	assert_string_equal(committed, text);
}

static void test_committed_table_is_this_one(void **state)
{
	g_autofree char *committed = source_text("nix/lab/fields.json"),
			*text = schema_table_text();

	/* Renew it with: orchestrator schema --table >nix/lab/fields.json */
	assert_string_equal(committed, text);
}

/* Mistakes in one value: both refuse.  What takes two values to see is the loader's alone. */
static void test_both_refuse(void **state)
{
	static const char *const texts[] = {
		"[]",
		"{}",
		"{\"vms\": {}}",
		"{\"vms\": []}",
		"{\"vms\": {\"a\": 1}}",
		"{\"vms\": {\"A\": {}}}",
		"{\"vms\": {\"-a\": {}}}",
		"{\"vms\": {\"\": {}}}",
		"{\"vms\": {\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": {}}}",
		"{\"vms\": {\"a\": {}}, \"vmz\": 1}",
		"{\"vms\": {\"a\": {}}, \"version\": 2}",
		"{\"vms\": {\"a\": {}}, \"version\": \"1\"}",
		"{\"vms\": {\"a\": {}}, \"version\": null}",
		"{\"vms\": {\"a\": {}}, \"name\": \"a b\"}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"subnet\": \"10.0.0.0/31\"}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"subnet\": \"10.0.0.0/7\"}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"subnet\": \"10.0.0/8\"}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"subnet\": \"10.0.0.256/24\"}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"mtu\": 575}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"mtu\": 65522}}}",
		"{\"vms\": {\"a\": {}}, \"networks\": {\"n\": {\"vlan\": 1}}}",
		"{\"vms\": {\"a\": {}}, \"images\": {\"i\": {}}}",
		"{\"vms\": {\"a\": {}}, \"images\": {\"i\": {\"kernel\": \"\"}}}",
		"{\"vms\": {\"a\": {}}, \"defaults\": {\"memory\": 512}}",
		"{\"vms\": {\"a\": {}}, \"defaults\": {\"memory\": \"512\"}}",
		"{\"vms\": {\"a\": {}}, \"defaults\": {\"memory\": \"512 MiB\"}}",
		"{\"vms\": {\"a\": {}}, \"defaults\": {\"nics\": []}}",
		"{\"vms\": {\"a\": {\"vcpus\": 0}}}",
		"{\"vms\": {\"a\": {\"vcpus\": 256}}}",
		"{\"vms\": {\"a\": {\"vcpus\": 1.5}}}",
		"{\"vms\": {\"a\": {\"arch\": \"arm\"}}}",
		"{\"vms\": {\"a\": {\"accel\": \"hvf\"}}}",
		"{\"vms\": {\"a\": {\"after\": \"b\"}, \"b\": {}}}",
		"{\"vms\": {\"a\": {\"after\": [\"b\", \"b\"]}, \"b\": {}}}",
		"{\"vms\": {\"a\": {\"nics\": {}}}}",
		"{\"vms\": {\"a\": {\"nics\": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"ip\": \"10.0.0.1/24\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"ip\": \"010.0.0.1\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"mac\": \"53:54:00:00:00:01\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"mac\": \"52-54-00-00-00-01\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"queues\": 9}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"profil\": \"x\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"vlan\": \"10\"}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"vlan\": {\"trunk\": []}}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"impair\": {\"loss\": \"2\"}}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"impair\": {\"delay\": \"-2ms\"}}]}}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"impair\": {\"packet-overhead\": -1501}}]}}}",
		"{\"vms\": {\"a\": {\"role\": \"k3s server\"}}}",
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		if (schema_takes(texts[i]) || loader_takes(texts[i]))
			print_message("schema %d, loader %d: %s\n", schema_takes(texts[i]),
				      loader_takes(texts[i]), texts[i]);
		assert_false(schema_takes(texts[i]));
		assert_false(loader_takes(texts[i]));
	}
}

static void test_both_take(void **state)
{
	static const char *const texts[] = {
		"{\"vms\": {\"a\": {}}}",
		"{\"$schema\": \"./lab.schema.json\", \"version\": 1, \"name\": \"l\", \"description\": \"\", \"x-y\": [null], "
		"\"vms\": {\"x-a\": {\"x-b\": {}}}}",
		"{\"vms\": {\"a\": {\"vcpus\": 2.0}}, \"networks\": {\"n\": {\"mtu\": 9e3}}}",
		"{\"vms\": {\"a\": {\"memory\": \"65536KiB\", \"nics\": []}}, \"networks\": {}}",
		"{\"vms\": {\"a\": {\"nics\": [{\"network\": \"lan\", \"ip\": \"192.168.100.254\", \"mac\": \"fE:54:00:12:34:56\", "
		"\"queues\": 8}]}}}",
		"{\"vms\": {\"a\": {\"image\": \"i\"}}, \"images\": {\"i\": {\"kernel\": \"k\", \"initrd\": \"r\", \"append\": \"\"}}}",
		"{\"vms\": {\"a\": {\"after\": [\"b\"], \"role\": \"r\", \"accel\": \"kvm\"}, \"b\": {}}, \"defaults\": {\"arch\": "
		"\"x86_64\"}}",
	};
	static const char *const examples[] = { "examples/three-nodes/lab.json",
						"examples/one-vm/lab.json" };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		assert_true(schema_takes(texts[i]));
		assert_true(loader_takes(texts[i]));
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(examples); i++) {
		g_autofree char *text = source_text(examples[i]);

		assert_true(schema_takes(text));
		assert_true(loader_takes(text));
	}
	for (guint32 seed = 0; seed < 200; seed++) {
		g_autofree char *text = random_lab_text(seed, 8, 90);

		assert_true(loader_takes(text));
		assert_true(schema_takes(text));
	}
}

/* Every key explains itself, in plain words and in Markdown. */
static void check_described(struct json_object *properties)
{
	json_object_object_foreach(properties, key, schema)
	{
		struct json_object *plain, *markdown;

		assert_true(json_object_object_get_ex(schema, "description", &plain));
		assert_true(json_object_object_get_ex(schema, "markdownDescription", &markdown));
		if (strchr(json_object_get_string(plain), '`') ||
		    !strchr(json_object_get_string(plain), '.'))
			fail_msg("%s: %s", key, json_object_get_string(plain));
	}
}

static void test_descriptions(void **state)
{
	struct json_object *definitions, *properties;

	assert_true(json_object_object_get_ex(root, "properties", &properties));
	check_described(properties);
	assert_true(json_object_object_get_ex(root, "definitions", &definitions));
	json_object_object_foreach(definitions, name, definition)
	{
		if (json_object_object_get_ex(definition, "properties", &properties))
			check_described(properties);
		else
			assert_string_equal(name, "name");
	}
}

static int setup(void **state)
{
	g_autofree char *text = schema_text();

	root = json_tokener_parse(text);
	return root ? 0 : -1;
}

static int teardown(void **state)
{
	json_object_put(root);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_committed_schema_is_this_one),
		cmocka_unit_test(test_committed_table_is_this_one),
		cmocka_unit_test(test_both_refuse),
		cmocka_unit_test(test_both_take),
		cmocka_unit_test(test_descriptions),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
