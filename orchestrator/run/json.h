/* SPDX-License-Identifier: MIT */
/* Reading JSON objects that others wrote: typed access to a member, absent and of the wrong type being one case.
 *
 * Ownership: json-c counts references.  auto_json drops one at the end of the scope; strings and objects handed out
 * here belong to the object they were read from.
 */
#ifndef RUN_JSON_H
#define RUN_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

static inline void json_drop(struct json_object **o)
{
	json_object_put(*o);
}

#define auto_json __attribute__((cleanup(json_drop))) struct json_object *

/* How to read JSON: strictly, in UTF-8.  json-c 0.18 refuses everything that is not ASCII when it is strict; there the
 * syntax is taken less strictly and UTF-8 is still checked. */
static inline int json_read_flags(void)
{
	struct json_tokener *tok = json_tokener_new();
	int flags = JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8;

	json_tokener_set_flags(tok, flags);
	json_object_put(json_tokener_parse_ex(tok, "\"\xc3\xa4\"", 5));
	if (json_tokener_get_error(tok) != json_tokener_success)
		flags = JSON_TOKENER_VALIDATE_UTF8;
	json_tokener_free(tok);
	return flags;
}

/* The member, if it has that type; else NULL. */
static inline struct json_object *json_member(struct json_object *o, const char *key,
					      enum json_type type)
{
	struct json_object *member;

	if (!json_object_is_type(o, json_type_object))
		return NULL;
	if (!json_object_object_get_ex(o, key, &member) || !json_object_is_type(member, type))
		return NULL;
	return member;
}

/* NULL without such a string. */
static inline const char *json_str(struct json_object *o, const char *key)
{
	struct json_object *member = json_member(o, key, json_type_string);

	return member ? json_object_get_string(member) : NULL;
}

static inline int64_t json_int(struct json_object *o, const char *key, int64_t otherwise)
{
	struct json_object *member = json_member(o, key, json_type_int);

	return member ? json_object_get_int64(member) : otherwise;
}

static inline bool json_flag(struct json_object *o, const char *key, bool otherwise)
{
	struct json_object *member = json_member(o, key, json_type_boolean);

	return member ? json_object_get_boolean(member) : otherwise;
}

/* Setters that read well in a row; a NULL text is left out. */
static inline void json_put_str(struct json_object *o, const char *key, const char *text)
{
	if (text)
		json_object_object_add(o, key, json_object_new_string(text));
}

static inline void json_put_int(struct json_object *o, const char *key, int64_t number)
{
	json_object_object_add(o, key, json_object_new_int64(number));
}

static inline void json_put_bool(struct json_object *o, const char *key, bool flag)
{
	json_object_object_add(o, key, json_object_new_boolean(flag));
}

#endif
