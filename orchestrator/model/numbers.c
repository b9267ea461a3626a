/* SPDX-License-Identifier: MIT */
#include "model/numbers.h"

#include <json-c/json.h>
#include <math.h>
#include <string.h>

#include "err.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/units.h"

static const char *member_of(const struct field *f)
{
	return f->member ? f->member : f->key;
}

/* --- the tree to numbers -------------------------------------------------------------------------------------------- */

static struct json_object *number_of(const struct field *f, const struct jt_node *node);

/* As written: 2% is 0.02, not what a binary fraction makes of it. */
static struct json_object *fraction(uint64_t billionths)
{
	g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT ".%09u",
						billionths / UNIT_CERTAIN,
						(unsigned)(billionths % UNIT_CERTAIN));
	size_t len = strlen(text);

	while (text[len - 1] == '0' && text[len - 2] != '.')
		text[--len] = '\0';
	return json_object_new_double_s((double)billionths / UNIT_CERTAIN, text);
}

static struct json_object *array_of(const struct field *f, const struct jt_node *node)
{
	struct json_object *list = json_object_new_array();

	for (struct jt_node *n = node->child; n; n = n->next) {
		if (!n->ok)
			continue;
		if (f->kind == FIELD_LIST)
			json_object_array_add(list, numbers_of(f->object, n));
		else if (f->kind == FIELD_COUNTS)
			json_object_array_add(list, json_object_new_int64((int64_t)n->decoded));
		else
			json_object_array_add(list, json_object_new_string(n->string));
	}
	return list;
}

static struct json_object *number_of(const struct field *f, const struct jt_node *node)
{
	switch (f->kind) {
	case FIELD_SIZE:
	case FIELD_BYTES:
	case FIELD_COUNT:
	case FIELD_TIME:
	case FIELD_DELAY:
	case FIELD_RATE:
		return json_object_new_int64((int64_t)node->decoded);
	case FIELD_CHANCE:
		return fraction(node->decoded);
	case FIELD_FLAG:
		return json_object_new_boolean(node->decoded != 0);
	case FIELD_TEXT:
	case FIELD_NAME:
	case FIELD_WORD:
	case FIELD_SUBNET:
	case FIELD_IP:
	case FIELD_MAC:
	case FIELD_LINK:
		return json_object_new_string(node->string);
	case FIELD_NAMES:
	case FIELD_TEXTS:
	case FIELD_COUNTS:
	case FIELD_LINKS:
	case FIELD_LIST:
		return array_of(f, node);
	case FIELD_OBJECT:
		return numbers_of(f->object, node);
	case FIELD_EITHER:
		return number_of(field_choice(f, node), node);
	case FIELD_MAP: /* no switch takes one */
	case FIELD_KIND_COUNT:
		break;
	}
	g_assert_not_reached();
}

struct json_object *numbers_of(const struct field_object *object, const struct jt_node *node)
{
	struct json_object *numbers = json_object_new_object();

	for (struct jt_node *n = node->child; n; n = n->next) {
		const struct field *f = n->ok ? field_find(object, n->key) : NULL;

		if (f && !n->duplicate)
			json_object_object_add(numbers, member_of(f), number_of(f, n));
	}
	return numbers;
}

/* --- words of a command line ---------------------------------------------------------------------------------------- */

/* The row that "gemodel.p" is of; NULL: none.  *ret_rest: what the key is within its object. */
static const struct field *find_word(const struct field_object *object, const char *key, size_t len,
				     const char **ret_rest, size_t *ret_rest_len)
{
	const char *dot = memchr(key, '.', len);
	g_autofree char *outer = g_strndup(key, dot ? (size_t)(dot - key) : len);
	const struct field *f = field_find(object, outer);

	*ret_rest = dot ? dot + 1 : NULL;
	*ret_rest_len = dot ? len - (size_t)(dot + 1 - key) : 0;
	return f;
}

/* A value as the file would have it: numbers and flags bare, everything else a string. */
static struct json_object *said_value(const struct field *f, const char *value)
{
	gint64 n;

	if (f && f->kind == FIELD_COUNT &&
	    g_ascii_string_to_signed(value, 10, G_MININT64, G_MAXINT64, &n, NULL))
		return json_object_new_int64(n);
	if (f && f->kind == FIELD_FLAG && (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0))
		return json_object_new_boolean(true);
	if (f && f->kind == FIELD_FLAG && (strcmp(value, "false") == 0 || strcmp(value, "no") == 0))
		return json_object_new_boolean(false);
	return json_object_new_string(value);
}

/* Put one word into an object as the lab file would have it. */
static void say(const struct field_object *object, struct json_object *said, const char *key,
		size_t len, const char *value)
{
	const char *rest;
	size_t rest_len;
	const struct field *f = find_word(object, key, len, &rest, &rest_len);
	g_autofree char *whole = g_strndup(key, len);

	if (rest && f && f->kind == FIELD_OBJECT) {
		struct json_object *inner;

		if (!json_object_object_get_ex(said, f->key, &inner) ||
		    !json_object_is_type(inner, json_type_object)) {
			inner = json_object_new_object();
			json_object_object_add(said, f->key, inner);
		}
		say(f->object, inner, rest, rest_len, value);
		return;
	}
	if (!rest && f && f->kind == FIELD_OBJECT && strcmp(value, "on") == 0)
		json_object_object_add(said, whole, json_object_new_object());
	else
		json_object_object_add(said, whole, said_value(rest ? NULL : f, value));
}

/* "/gemodel/p" is "gemodel.p" on a command line. */
static char *key_of(const char *pointer)
{
	char *key = g_strdup(*pointer == '/' ? pointer + 1 : pointer);

	return g_strdelimit(key, "/", '.');
}

static void complain(struct lab_errors *errors, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);

	for (unsigned i = 0; i < errors->list->len; i++) {
		const struct lab_error *e = errors->list->pdata[i];
		g_autofree char *key = key_of(e->pointer);

		g_string_append_printf(text, "%s%s%s%s", i > 0 ? "\n" : "", key, *key ? ": " : "",
				       e->text);
	}
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE, text->str);
}

gboolean numbers_from_words(const struct field_object *object, char **words,
			    struct json_object **ret_numbers, GError **error)
{
	struct json_object *said = json_object_new_object();
	struct lab_errors *errors = lab_errors_new("");
	struct jt_tree *tree;
	const char *text;
	gboolean good;

	for (; *words; words++) {
		const char *equals = strchr(*words, '=');

		if (!equals || equals == *words || !g_utf8_validate(*words, -1, NULL)) {
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "\"%s\" is not KEY=VALUE, as in loss=2%%", *words);
			json_object_put(said);
			lab_errors_free(errors);
			return FALSE;
		}
		say(object, said, *words, (size_t)(equals - *words), equals + 1);
	}
	text = json_object_to_json_string_ext(said, JSON_C_TO_STRING_PLAIN);
	lab_errors_set_text(errors, text, strlen(text));
	tree = jt_parse(text, strlen(text), errors);
	if (tree)
		field_check(object, jt_root(tree), errors);
	good = lab_errors_count(errors) == 0;
	if (good)
		*ret_numbers = numbers_of(object, jt_root(tree));
	else
		complain(errors, error);
	jt_free(tree);
	lab_errors_free(errors);
	json_object_put(said);
	return good;
}

/* --- numbers to words ----------------------------------------------------------------------------------------------- */

static uint64_t whole(struct json_object *value)
{
	int64_t n = json_object_get_int64(value);

	return n > 0 ? (uint64_t)n : 0;
}

/* As the lab file has it; NULL: it is no plain value.  g_free(). */
static char *said(const struct field *f, struct json_object *value)
{
	static char *(*const format[FIELD_KIND_COUNT])(uint64_t) = {
		[FIELD_SIZE] = unit_format_size, [FIELD_BYTES] = unit_format_size,
		[FIELD_TIME] = unit_format_time, [FIELD_DELAY] = unit_format_delay,
		[FIELD_RATE] = unit_format_rate,
	};

	if (format[f->kind])
		return format[f->kind](whole(value));
	if (f->kind == FIELD_CHANCE)
		return unit_format_chance(
			(uint64_t)llround(json_object_get_double(value) * UNIT_CERTAIN));
	if (json_object_is_type(value, json_type_object) ||
	    json_object_is_type(value, json_type_array))
		return NULL;
	return g_strdup(json_object_get_string(value));
}

/* Inside an object a zero, or no distribution, says nothing. */
static bool says_nothing(const struct field *f, struct json_object *value)
{
	if (f->kind == FIELD_WORD)
		return f->words[0] && g_strcmp0(json_object_get_string(value), f->words[0]) == 0;
	return f->kind != FIELD_OBJECT && json_object_get_double(value) == 0;
}

static char *words_of(const struct field_object *object, struct json_object *numbers, bool inside);

char *numbers_words(const struct field_object *object, struct json_object *numbers)
{
	return words_of(object, numbers, false);
}

static char *words_of(const struct field_object *object, struct json_object *numbers, bool inside)
{
	GString *out = g_string_new(NULL);

	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f)) {
		struct json_object *value;
		g_autofree char *text = NULL, *inner = NULL;

		if (!json_object_object_get_ex(numbers, member_of(f), &value) || !value ||
		    (inside && says_nothing(f, value)))
			continue;
		text = said(f, value);
		if (f->kind == FIELD_OBJECT)
			inner = words_of(f->object, value, true);
		if (!text && !inner)
			continue;
		g_string_append_printf(out, "%s%s", out->len > 0 ? ", " : "", f->key);
		if (inner && *inner)
			g_string_append_printf(out, " (%s)", inner);
		else if (!inner && (f->kind != FIELD_FLAG || !json_object_get_boolean(value)))
			g_string_append_printf(out, " %s", text);
	}
	return g_string_free(out, FALSE);
}

struct json_object *numbers_said(const struct field_object *object, struct json_object *numbers)
{
	struct json_object *out = json_object_new_object();

	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f)) {
		struct json_object *value;
		g_autofree char *text = NULL;

		if (!json_object_object_get_ex(numbers, member_of(f), &value) || !value)
			continue;
		text = said(f, value);
		if (f->kind == FIELD_OBJECT)
			json_object_object_add(out, f->key, numbers_said(f->object, value));
		else if (!text || f->kind == FIELD_COUNT || f->kind == FIELD_FLAG)
			json_object_object_add(out, f->key, json_object_get(value));
		else
			json_object_object_add(out, f->key, json_object_new_string(text));
	}
	return out;
}

void numbers_merge(struct json_object *into, struct json_object *from)
{
	json_object_object_foreach(from, key, value)
	{
		struct json_object *has;

		if (json_object_is_type(value, json_type_object) &&
		    json_object_object_get_ex(into, key, &has) &&
		    json_object_is_type(has, json_type_object))
			numbers_merge(has, value);
		else
			json_object_object_add(into, key, json_object_get(value));
	}
}
