/* SPDX-License-Identifier: MIT */
#include "impair_json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

struct reading {
	struct impair_config c;
	bool seeded;
	char *why;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct reading *r, const char *fmt,
						       ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->why, IMPAIR_WHY_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* `object`: "" for a member of the top, else the object's name and a dot. */
static const struct impair_field *find(const char *object, const char *name)
{
	size_t len = strlen(object);

	for (unsigned i = 0; i < IMPAIR_N_FIELDS && !strchr(name, '.'); i++) {
		const struct impair_field *f = &impair_fields[i];

		if (strncmp(f->name, object, len) == 0 && strcmp(f->name + len, name) == 0)
			return f;
	}
	return NULL;
}

static int read_word(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	const char *text = json_object_get_string(value);

	for (unsigned i = 0; json_object_is_type(value, json_type_string) && i < DIST_COUNT; i++)
		if (strcmp(text, dist_names[i]) == 0)
			return impair_field_set(&r->c, f, i);
	return wrong(r, "%s: must be one of uniform, normal, pareto, paretonormal", f->name);
}

static int read_number(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	double n = json_object_get_double(value);

	if (!json_object_is_type(value, json_type_int) &&
	    !json_object_is_type(value, json_type_double))
		return wrong(r, "%s: must be a number", f->name);
	if (f->kind != IMPAIR_KIND_FRACTION && n != floor(n))
		return wrong(r, "%s: must be a whole number", f->name);
	if (impair_field_set(&r->c, f, n) < 0)
		return wrong(r, "%s: %.15g is outside %.15g..%.15g", f->name, n, f->low, f->high);
	return 0;
}

static int read_seed(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
		return wrong(r, "%s: must be a whole number from 0 to %lld", f->name,
			     (long long)IMPAIR_SEED_MAX);
	r->c.seed = json_object_get_uint64(value) & IMPAIR_SEED_MAX;
	r->seeded = true;
	return 0;
}

static int read_flag(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_boolean))
		return wrong(r, "%s: must be true or false", f->name);
	return impair_field_set(&r->c, f, json_object_get_boolean(value));
}

static int read_field(struct reading *r, const struct impair_field *f, struct json_object *value);

static int read_object(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	char prefix[32];

	if (!json_object_is_type(value, json_type_object))
		return wrong(r, "%s: must be an object, or null for none", f->name);
	impair_field_unset(&r->c, f, true);
	(void)snprintf(prefix, sizeof(prefix), "%s.", f->name);
	json_object_object_foreach(value, key, of_value)
	{
		const struct impair_field *of = find(prefix, key);
		int err = of ? read_field(r, of, of_value) :
			       wrong(r, "%s: unknown member \"%.32s\"", f->name, key);

		if (err < 0)
			return err;
	}
	return 0;
}

static int read_field(struct reading *r, const struct impair_field *f, struct json_object *value)
{
	if (!value) {
		impair_field_unset(&r->c, f, false);
		return 0;
	}
	switch (f->kind) {
	case IMPAIR_KIND_OBJECT:
		return read_object(r, f, value);
	case IMPAIR_KIND_FLAG:
		return read_flag(r, f, value);
	case IMPAIR_KIND_WORD:
		return read_word(r, f, value);
	case IMPAIR_KIND_NUMBER:
	case IMPAIR_KIND_INTEGER:
	case IMPAIR_KIND_FRACTION:
		break;
	}
	if (f->offset == offsetof(struct impair_config, seed))
		return read_seed(r, f, value);
	return read_number(r, f, value);
}

/* Does it name a model of loss, and not the absence of one? */
static bool names_model(const char *key, struct json_object *value)
{
	if (strcmp(key, "loss") == 0)
		return json_object_get_double(value) != 0;
	return value && (strcmp(key, "gemodel") == 0 || strcmp(key, "markov") == 0);
}

static int end_other_models(struct reading *r, struct json_object *o)
{
	const char *named = NULL;

	json_object_object_foreach(o, key, value)
	{
		if (!names_model(key, value))
			continue;
		if (named)
			return wrong(r, "%s: one of loss, gemodel and markov at a time", key);
		named = key;
	}
	if (named) {
		r->c.loss = 0;
		r->c.gemodel = r->c.markov = false;
	}
	return 0;
}

int impair_json_read(struct json_object *o, const char *others, struct impair_config *inout,
		     bool *ret_seeded, char why[IMPAIR_WHY_MAX])
{
	struct reading r = { .c = *inout, .why = why };
	const char *problem;
	int err = end_other_models(&r, o);

	if (err < 0)
		return err;
	json_object_object_foreach(o, key, value)
	{
		const struct impair_field *f = find("", key);

		if (!f && listed(others, key))
			continue;
		err = f ? read_field(&r, f, value) : wrong(&r, "%.32s: unknown member", key);
		if (err < 0)
			return err;
	}
	problem = impair_config_wrong(&r.c);
	if (problem)
		return wrong(&r, "%s", problem);
	*inout = r.c;
	*ret_seeded = r.seeded;
	return 0;
}

/* ---- out ---- */

static struct json_object *value_json(const struct impair_config *c, const struct impair_field *f)
{
	double value = impair_field_get(c, f);
	char text[32];

	switch (f->kind) {
	case IMPAIR_KIND_FLAG:
	case IMPAIR_KIND_OBJECT:
		return json_object_new_boolean(value != 0);
	case IMPAIR_KIND_WORD:
		return json_object_new_string(dist_names[(unsigned)value]);
	case IMPAIR_KIND_FRACTION:
		(void)snprintf(text, sizeof(text), "%.12g", value);
		return json_object_new_double_s(value, text);
	case IMPAIR_KIND_NUMBER:
	case IMPAIR_KIND_INTEGER:
		break;
	}
	return json_object_new_int64((int64_t)value);
}

static struct json_object *object_json(const struct impair_config *c,
				       const struct impair_field *object)
{
	struct json_object *o = json_object_new_object();
	size_t len = strlen(object->name);

	for (unsigned i = 0; i < IMPAIR_N_FIELDS; i++) {
		const struct impair_field *f = &impair_fields[i];

		if (strncmp(f->name, object->name, len) == 0 && f->name[len] == '.')
			json_object_object_add(o, f->name + len + 1, value_json(c, f));
	}
	return o;
}

struct json_object *impair_json_settings(const struct impair_config *c)
{
	struct json_object *o = json_object_new_object();
	struct impair_config unset;

	impair_config_init(&unset);
	for (unsigned i = 0; i < IMPAIR_N_FIELDS; i++) {
		const struct impair_field *f = &impair_fields[i];

		if (strchr(f->name, '.') || impair_field_get(c, f) == impair_field_get(&unset, f))
			continue;
		json_object_object_add(o, f->name,
				       f->kind == IMPAIR_KIND_OBJECT ? object_json(c, f) :
								       value_json(c, f));
	}
	json_object_object_add(o, "seed", json_object_new_int64((int64_t)c->seed));
	return o;
}

struct json_object *impair_json_counters(const struct impair_stats *s)
{
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < IMPAIR_N_COUNTERS; i++)
		json_object_object_add(
			o, impair_counters[i].name,
			json_object_new_uint64(impair_counter_value(s, &impair_counters[i])));
	return o;
}
