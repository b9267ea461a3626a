/* SPDX-License-Identifier: MIT */
#include "model/schema.h"

#include <assert.h>
#include <glib.h>
#include <json-c/json.h>
#include <string.h>

#include "model/fields.h"
#include "model/names.h"

#define NAME_PATTERN   "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
#define SIZE_PATTERN   "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|TiB)$"
#define TIME_PATTERN   "^(0|[1-9][0-9]*)(ms|s|m|h)$"
#define NUMBER_PATTERN "(0|[1-9][0-9]*)(\\.[0-9]{1,12})?"
#define DELAY_PATTERN  "^" NUMBER_PATTERN "(ns|us|ms|s|m|h)$"
#define CHANCE_PATTERN "^" NUMBER_PATTERN "%$"
#define RATE_PATTERN   "^" NUMBER_PATTERN "(bit|kbit|mbit|gbit)$"
#define LINK_PATTERN   "^[a-z0-9-]+([.:][a-z0-9-]+)?$"
#define BYTE_PATTERN   "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4_PATTERN   BYTE_PATTERN "(\\." BYTE_PATTERN "){3}"
#define MAC_PATTERN    "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$"

static void put(struct json_object *object, const char *key, struct json_object *value)
{
	json_object_object_add(object, key, value);
}

static void put_string(struct json_object *object, const char *key, const char *value)
{
	put(object, key, json_object_new_string(value));
}

static void put_number(struct json_object *object, const char *key, uint64_t value)
{
	put(object, key, json_object_new_uint64(value));
}

/* {"$ref": "#/definitions/name"} */
static struct json_object *reference(const char *name)
{
	struct json_object *ref = json_object_new_object();
	g_autofree char *path = g_strconcat("#/definitions/", name, NULL);

	put_string(ref, "$ref", path);
	return ref;
}

/* The brief for plain readers (without the `s) and for those who show Markdown, each with what holds if unsaid. */
static void put_description(struct json_object *object, const char *brief, const char *unsaid)
{
	g_autofree char *plain = g_strdup(brief), *text = NULL, *markdown = NULL;
	char *out = plain;

	for (const char *p = brief; *p; p++)
		if (*p != '`')
			*out++ = *p;
	*out = '\0';
	text = unsaid ? g_strdup_printf("%s Default: %s.", plain, unsaid) : g_strdup(plain);
	markdown = unsaid ? g_strdup_printf("%s\n\nDefault: %s.", brief, unsaid) : g_strdup(brief);
	put_string(object, "description", text);
	put_string(object, "markdownDescription", markdown);
}

static struct json_object *string_schema(const char *pattern, uint64_t min, uint64_t max)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "string");
	if (pattern)
		put_string(s, "pattern", pattern);
	if (min > 0)
		put_number(s, "minLength", min);
	if (max > 0)
		put_number(s, "maxLength", max);
	return s;
}

static struct json_object *count_schema(const struct field *f)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "integer");
	put(s, "minimum", json_object_new_int64((int64_t)f->min));
	put(s, "maximum", json_object_new_int64((int64_t)f->max));
	return s;
}

static struct json_object *word_schema(const struct field *f)
{
	struct json_object *s = json_object_new_object(), *words = json_object_new_array();

	for (const char *const *w = f->words; *w; w++)
		json_object_array_add(words, json_object_new_string(*w));
	put(s, "enum", words);
	return s;
}

static struct json_object *array_schema(const struct field *f, const char *item)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "array");
	put_number(s, "maxItems", f->max);
	put(s, "items", reference(item));
	if (f->kind == FIELD_NAMES)
		put(s, "uniqueItems", json_object_new_boolean(true));
	return s;
}

static struct json_object *texts_schema(const struct field *f)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "array");
	if (f->min > 0)
		put_number(s, "minItems", f->min);
	put_number(s, "maxItems", f->max);
	put(s, "items", string_schema(NULL, 0, FIELD_TEXTS_BYTES));
	return s;
}

/* An array of values of one kind, none twice. */
static struct json_object *values_schema(struct json_object *item, uint64_t min, uint64_t max)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "array");
	if (min > 0)
		put_number(s, "minItems", min);
	put_number(s, "maxItems", max);
	put(s, "items", item);
	put(s, "uniqueItems", json_object_new_boolean(true));
	return s;
}

static struct json_object *field_schema(const struct field *f);

static struct json_object *either_schema(const struct field *f)
{
	struct json_object *s = json_object_new_object(), *any = json_object_new_array();

	for (const struct field *c = f->choices; c->key; c++)
		json_object_array_add(any, field_schema(c));
	put(s, "anyOf", any);
	return s;
}

static struct json_object *flag_schema(void)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "boolean");
	return s;
}

static struct json_object *map_schema(const struct field *f)
{
	struct json_object *s = json_object_new_object();

	put_string(s, "type", "object");
	if (f->min > 0)
		put_number(s, "minProperties", f->min);
	put_number(s, "maxProperties", f->max);
	put(s, "propertyNames", reference("name"));
	put(s, "additionalProperties", reference(f->object->name));
	return s;
}

/* draft-07 ignores what stands beside a $ref, so a described reference is wrapped. */
static struct json_object *wrapped_reference(const char *name)
{
	struct json_object *s = json_object_new_object(), *all = json_object_new_array();

	json_object_array_add(all, reference(name));
	put(s, "allOf", all);
	return s;
}

static struct json_object *field_schema(const struct field *f)
{
	switch (f->kind) {
	case FIELD_TEXT:
		return string_schema(NULL, f->min, f->max);
	case FIELD_NAME:
		return wrapped_reference("name");
	case FIELD_SIZE:
	case FIELD_BYTES:
		return string_schema(SIZE_PATTERN, 0, 0);
	case FIELD_DELAY:
		return string_schema(DELAY_PATTERN, 0, 0);
	case FIELD_CHANCE:
		return string_schema(CHANCE_PATTERN, 0, 0);
	case FIELD_RATE:
		return string_schema(RATE_PATTERN, 0, 0);
	case FIELD_LINK:
		return string_schema(LINK_PATTERN, 0, 0);
	case FIELD_LINKS:
		return values_schema(string_schema(LINK_PATTERN, 0, 0), f->min, f->max);
	case FIELD_COUNTS:
		return values_schema(count_schema(f), 1, FIELD_COUNTS_MAX);
	case FIELD_EITHER:
		return either_schema(f);
	case FIELD_COUNT:
		return count_schema(f);
	case FIELD_WORD:
		return word_schema(f);
	case FIELD_FLAG:
		return flag_schema();
	case FIELD_TIME:
		return string_schema(TIME_PATTERN, 0, 0);
	case FIELD_SUBNET:
		return string_schema("^" IPV4_PATTERN "/([89]|[12][0-9]|30)$", 0, 0);
	case FIELD_IP:
		return string_schema("^" IPV4_PATTERN "$", 0, 0);
	case FIELD_MAC:
		return string_schema(MAC_PATTERN, 0, 0);
	case FIELD_NAMES:
		return array_schema(f, "name");
	case FIELD_TEXTS:
		return texts_schema(f);
	case FIELD_OBJECT:
		return wrapped_reference(f->object->name);
	case FIELD_LIST:
		return array_schema(f, f->object->name);
	case FIELD_MAP:
		return map_schema(f);
	case FIELD_KIND_COUNT:
		break;
	}
	g_assert_not_reached();
}

/* A default that a file could say itself, so that editors can fill it in. */
static void put_default(struct json_object *schema, const struct field *f)
{
	guint64 n;

	if (!f->unsaid)
		return;
	if (f->kind == FIELD_COUNT &&
	    g_ascii_string_to_unsigned(f->unsaid, 10, 0, UINT64_MAX, &n, NULL))
		put_number(schema, "default", n);
	else if (f->kind == FIELD_WORD || f->kind == FIELD_SIZE || f->kind == FIELD_TIME ||
		 (f->kind == FIELD_NAME && names_valid(f->unsaid)))
		put_string(schema, "default", f->unsaid);
}

static void put_object(struct json_object *schema, const struct field_object *object)
{
	struct json_object *properties = json_object_new_object(), *required = NULL;
	struct json_object *free_keys = json_object_new_object();

	put_string(schema, "type", "object");
	put_description(schema, object->brief, NULL);
	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f)) {
		struct json_object *s = field_schema(f);

		put_description(s, f->brief, f->unsaid);
		put_default(s, f);
		put(properties, f->key, s);
		if (!f->required)
			continue;
		if (!required)
			required = json_object_new_array();
		json_object_array_add(required, json_object_new_string(f->key));
	}
	put(schema, "properties", properties);
	put(free_keys, "^x-", json_object_new_boolean(true)); /* anything */
	put(schema, "patternProperties", free_keys);
	if (required)
		put(schema, "required", required);
	put(schema, "additionalProperties", json_object_new_boolean(false));
}

/* Frees root. */
static char *document_text(struct json_object *root)
{
	char *text = g_strconcat(
		json_object_to_json_string_ext(
			root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB |
				      JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE),
		"\n", NULL);

	json_object_put(root);
	return text;
}

char *schema_text(void)
{
	struct json_object *root = json_object_new_object(),
			   *definitions = json_object_new_object();

	put_string(root, "$schema", "http://json-schema.org/draft-07/schema#");
	put_string(root, "title", "vhost-lab lab file");
	put_object(root, &field_lab);
	put(definitions, "name", string_schema(NAME_PATTERN, 1, NAMES_LABEL_MAX));
	for (const struct field_object *const *o = field_objects + 1; *o; o++) {
		struct json_object *s = json_object_new_object();

		put_object(s, *o);
		put(definitions, (*o)->name, s);
	}
	put(root, "definitions", definitions);
	return document_text(root);
}

/* --- the table itself ----------------------------------------------------------------------------------------------- */

static const char *const kind_names[] = {
	[FIELD_TEXT] = "text",     [FIELD_NAME] = "name",     [FIELD_SIZE] = "size",
	[FIELD_BYTES] = "bytes",   [FIELD_COUNT] = "count",   [FIELD_WORD] = "word",
	[FIELD_FLAG] = "flag",     [FIELD_TIME] = "time",     [FIELD_DELAY] = "delay",
	[FIELD_CHANCE] = "chance", [FIELD_RATE] = "rate",     [FIELD_SUBNET] = "subnet",
	[FIELD_IP] = "ip",         [FIELD_MAC] = "mac",       [FIELD_LINK] = "link",
	[FIELD_NAMES] = "names",   [FIELD_TEXTS] = "texts",   [FIELD_COUNTS] = "counts",
	[FIELD_LINKS] = "links",   [FIELD_OBJECT] = "object", [FIELD_LIST] = "list",
	[FIELD_MAP] = "map",       [FIELD_EITHER] = "either",
};

static_assert(G_N_ELEMENTS(kind_names) == FIELD_KIND_COUNT, "enum field_kind and its names");

static struct json_object *words_array(const char *const *words)
{
	struct json_object *array = json_object_new_array();

	for (; *words; words++)
		json_object_array_add(array, json_object_new_string(*words));
	return array;
}

static struct json_object *row(const struct field *f);

static struct json_object *choices_array(const struct field *choices)
{
	struct json_object *array = json_object_new_array();

	for (; choices->key; choices++)
		json_object_array_add(array, row(choices));
	return array;
}

/* What is not said in the table is not said here. */
static struct json_object *row(const struct field *f)
{
	struct json_object *r = json_object_new_object();

	put_string(r, "kind", kind_names[f->kind]);
	if (f->required)
		put(r, "required", json_object_new_boolean(true));
	if (f->min)
		put(r, "min", json_object_new_int64((int64_t)f->min));
	if (f->max)
		put(r, "max", json_object_new_int64((int64_t)f->max));
	if (f->words)
		put(r, "words", words_array(f->words));
	if (f->object)
		put_string(r, "object", f->object->name);
	if (f->choices)
		put(r, "choices", choices_array(f->choices));
	if (f->member)
		put_string(r, "member", f->member);
	if (f->unsaid)
		put_string(r, "unsaid", f->unsaid);
	if (f->brief)
		put_string(r, "brief", f->brief);
	return r;
}

char *schema_table_text(void)
{
	struct json_object *root = json_object_new_object();

	for (const struct field_object *const *o = field_objects; *o; o++) {
		struct json_object *object = json_object_new_object(),
				   *rows = json_object_new_object();

		put_string(object, "brief", (*o)->brief);
		for (const struct field *f = field_next(*o, NULL); f; f = field_next(*o, f))
			put(rows, f->key, row(f));
		put(object, "keys", rows);
		put(root, (*o)->name, object);
	}
	return document_text(root);
}
