/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "control_impl.h"

int control_error(struct control_call *call, enum control_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(call->message, sizeof(call->message), fmt, ap);
	va_end(ap);
	call->code = code;
	return -EREMOTEIO; /* any -errno: the code above is what counts */
}

void *control_context(const struct control_call *call)
{
	return call->control->context;
}

/* The answer to one request; `id` (borrowed) may be NULL, which is JSON's null too. */
static struct json_object *answer(struct json_object *id, const char *key,
				  struct json_object *value)
{
	struct json_object *o = json_object_new_object();

	if (!o) {
		json_object_put(value);
		return NULL;
	}
	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "id", json_object_get(id));
	json_object_object_add(o, key, value);
	return o;
}

/* `text` made safe to be put into JSON: a message may quote what the peer sent, cut anywhere. */
static struct json_object *safe_string(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	return json_object_new_string(text);
}

/* Bytes of the UTF-8 character at s, where there are `room`; 0: it is none. */
static size_t character_len(const uint8_t *s, size_t room)
{
	size_t n = s[0] < 0x80 ? 1 :
		   s[0] < 0xc2 ? 0 :
		   s[0] < 0xe0 ? 2 :
		   s[0] < 0xf0 ? 3 :
		   s[0] < 0xf5 ? 4 :
				 0;
	/* Of the second byte: nothing that a shorter one could say, no surrogates, nothing beyond U+10FFFF. */
	uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
	uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;

	if (n > room || (n > 1 && (s[1] < low || s[1] > high)))
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

void control_mend_utf8(char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = character_len((const uint8_t *)text + i, len - i);

		if (n == 0)
			text[i] = '?';
		i += max(n, (size_t)1);
	}
}

struct json_object *control_answer_error(struct json_object *id, struct control_call *call)
{
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "code", json_object_new_int(call->code));
	json_object_object_add(error, "message", safe_string(call->message));
	return answer(id, "error", error);
}

/* The first word of a method's list is *ret_len bytes long at `list`; the place of the next. */
static const char *member_next(const char *list, size_t *ret_len, bool *ret_optional)
{
	size_t len = strcspn(list, ",");

	*ret_optional = len > 0 && list[len - 1] == '?';
	*ret_len = len - *ret_optional;
	return list[len] == ',' ? list + len + 1 : list + len;
}

static bool member_listed(const char *list, const char *name)
{
	while (*list) {
		const char *word = list;
		bool optional;
		size_t len;

		list = member_next(list, &len, &optional);
		if (strlen(name) == len && memcmp(word, name, len) == 0)
			return true;
	}
	return false;
}

static int check_members(struct control_call *call, const char *list, struct json_object *params)
{
	json_object_object_foreach(params, key, value)
	{
		(void)value;
		if (!member_listed(list, key))
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "unknown member \"%.64s\"", key);
	}
	while (*list) {
		const char *word = list;
		char name[64];
		bool optional;
		size_t len;

		list = member_next(list, &len, &optional);
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, word);
		if (!optional && !json_object_object_get_ex(params, name, NULL))
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "missing member \"%s\"", name);
	}
	return 0;
}

static const struct control_method subscribe_method = { "subscribe", control_subscribe, "" };

static const struct control_method *find_method(const struct control *control, const char *name)
{
	if (strcmp(name, subscribe_method.name) == 0)
		return &subscribe_method;
	for (unsigned i = 0; i < control->n_methods; i++)
		if (strcmp(name, control->methods[i].name) == 0)
			return &control->methods[i];
	return NULL;
}

/* The members of a request, borrowed from it. */
struct request {
	struct json_object *id, *method, *params;
	bool has_id;
};

static bool id_valid(struct json_object *id)
{
	switch (json_object_get_type(id)) {
	case json_type_null:
	case json_type_string:
		return true;
	case json_type_int: /* json-c saturates: these two may not be what was sent */
		return json_object_get_int64(id) != INT64_MIN &&
		       json_object_get_uint64(id) != UINT64_MAX;
	case json_type_double:
		return isfinite(json_object_get_double(id)); /* json-c reads NaN */
	case json_type_boolean:
	case json_type_object:
	case json_type_array:
		break;
	}
	return false;
}

/* Take a request apart.  The id is found first, so that every later complaint can bear it. */
static int request_parse(struct control_call *call, struct json_object *o, struct request *ret)
{
	struct json_object *version = NULL;

	if (json_object_is_type(o, json_type_array))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "no batches: send one request a line");
	if (!json_object_is_type(o, json_type_object))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST, "a request is an object");
	if (json_object_object_get_ex(o, "id", &ret->id)) {
		if (!id_valid(ret->id)) {
			ret->id = NULL;
			return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
					     "id must be a string, a number or null");
		}
		ret->has_id = true;
	}
	json_object_object_foreach(o, key, value)
	{
		if (strcmp(key, "jsonrpc") == 0)
			version = value;
		else if (strcmp(key, "method") == 0)
			ret->method = value;
		else if (strcmp(key, "params") == 0)
			ret->params = value;
		else if (strcmp(key, "id") != 0)
			return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
					     "unknown member \"%.64s\"", key);
	}
	if (!json_object_is_type(version, json_type_string) ||
	    strcmp(json_object_get_string(version), "2.0") != 0)
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "\"jsonrpc\" must be \"2.0\"");
	if (!json_object_is_type(ret->method, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "\"method\" must be a string");
	return 0;
}

/* Carry a request out.  0 and a new reference in *ret_result, or negative and the error in call. */
static int request_run(struct control_call *call, const struct request *req,
		       struct json_object **ret_result)
{
	const char *name = json_object_get_string(req->method);
	const struct control_method *m = find_method(call->control, name);
	struct json_object *params;
	int r;

	if (!m)
		return control_error(call, CONTROL_ERROR_NO_METHOD, "no method \"%.64s\"", name);
	params = req->params ? json_object_get(req->params) : json_object_new_object();
	if (!json_object_is_type(params, json_type_object))
		r = control_error(call, CONTROL_ERROR_INVALID_PARAMS, "params must be an object");
	else
		r = m->members ? check_members(call, m->members, params) : 0;
	if (r == 0)
		r = m->fn(call, params, ret_result);
	if (r < 0 && !call->code)
		(void)control_error(call, CONTROL_ERROR_FAILED, "%s", strerror(-r));
	json_object_put(params);
	return r;
}

/* The whole line as one JSON value; NULL and the error in call. */
static struct json_object *parse(struct control_call *call, const char *line, size_t len)
{
	struct json_tokener *tok = call->control->tokener;
	enum json_tokener_error error;
	struct json_object *o;

	json_tokener_reset(tok);
	/* The terminator is what tells the tokener that a number or a literal is over. */
	o = json_tokener_parse_ex(tok, line, (int)len);
	error = json_tokener_get_error(tok);
	if (error == json_tokener_continue) {
		o = json_tokener_parse_ex(tok, "", 1);
		error = json_tokener_get_error(tok);
		if (error == json_tokener_continue)
			error = json_tokener_error_parse_eof;
	} else if (error == json_tokener_success && json_tokener_get_parse_end(tok) != len) {
		error = json_tokener_error_parse_unexpected;
	}
	if (error == json_tokener_success)
		return o;
	json_object_put(o);
	(void)control_error(call, CONTROL_ERROR_PARSE, "%s", json_tokener_error_desc(error));
	return NULL;
}

struct json_object *control_run_line(struct control_call *call, const char *line, size_t len)
{
	struct json_object *result = NULL, *reply = NULL, *o;
	struct request req = { 0 };

	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0)
		return NULL;
	o = parse(call, line, len);
	if (call->code || request_parse(call, o, &req) < 0)
		reply = control_answer_error(req.id, call); /* answered even without id: 5.1 */
	else if (request_run(call, &req, &result) < 0)
		reply = req.has_id ? control_answer_error(req.id, call) : NULL;
	else if (req.has_id)
		reply = answer(req.id, "result",
			       result ? json_object_get(result) : json_object_new_object());
	json_object_put(result);
	json_object_put(o);
	return reply;
}

struct json_object *control_line(struct control *control, const char *line, size_t len)
{
	struct control_call call = { .control = control };

	return control_run_line(&call, line, len);
}

/* ---- members of params ---- */

int control_string(struct control_call *call, struct json_object *params, const char *name,
		   const char **ret)
{
	struct json_object *o;
	const char *s;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	if (!json_object_is_type(o, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s: must be a string",
				     name);
	s = json_object_get_string(o);
	if (s[0] == '\0' || strlen(s) != (size_t)json_object_get_string_len(o))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be neither empty nor hold a NUL", name);
	*ret = s;
	return 0;
}

int control_uint(struct control_call *call, struct json_object *params, const char *name,
		 uint64_t max_value, uint64_t *ret)
{
	struct json_object *o;
	bool negative;
	uint64_t n;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	negative = json_object_get_int64(o) < 0;
	n = json_object_get_uint64(o);
	if (!json_object_is_type(o, json_type_int) || negative || n > max_value)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be a whole number from 0 to %llu", name,
				     (unsigned long long)max_value);
	*ret = n;
	return 0;
}

int control_bool(struct control_call *call, struct json_object *params, const char *name, bool *ret)
{
	struct json_object *o;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	if (!json_object_is_type(o, json_type_boolean))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be true or false", name);
	*ret = json_object_get_boolean(o);
	return 0;
}

int control_json_flags(void)
{
	struct json_tokener *tok = json_tokener_new();
	int flags = JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8;

	if (!tok)
		return flags;
	json_tokener_set_flags(tok, flags);
	json_object_put(json_tokener_parse_ex(tok, "\"\xc3\xa4\"", 5));
	if (json_tokener_get_error(tok) != json_tokener_success)
		flags = JSON_TOKENER_VALIDATE_UTF8;
	json_tokener_free(tok);
	return flags;
}
