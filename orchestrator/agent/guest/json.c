/* SPDX-License-Identifier: MIT */
#include "agent/guest/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guest/utf8.h"
#include "agent/protocol.h"

/* With parent links a closing bracket finds its partner at once: a hostile text cannot make that quadratic. */
#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wswitch-enum"
#include <jsmn.h>
#pragma GCC diagnostic pop

struct json_doc {
	const char *text;
	int n;
	jsmntok_t tokens[JSON_MAX_TOKENS];
};

struct json_doc *json_doc_new(void)
{
	return calloc(1, sizeof(struct json_doc));
}

void json_doc_free(struct json_doc *doc)
{
	free(doc);
}

/* --- checking what jsmn found ------------------------------------------------------------------------------ */

static int skip_space(const char *text, int at, int end)
{
	while (at < end && strchr(" \t\r\n", text[at]) && text[at])
		at++;
	return at;
}

static bool is_number(const char *s, int len)
{
	int i = s[0] == '-';
	int digits = i;

	while (i < len && s[i] >= '0' && s[i] <= '9')
		i++;
	if (i == digits || (i - digits > 1 && s[digits] == '0'))
		return false;
	if (i < len && s[i] == '.') {
		digits = ++i;
		while (i < len && s[i] >= '0' && s[i] <= '9')
			i++;
		if (i == digits)
			return false;
	}
	if (i < len && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		i += i < len && (s[i] == '+' || s[i] == '-');
		digits = i;
		while (i < len && s[i] >= '0' && s[i] <= '9')
			i++;
		if (i == digits)
			return false;
	}
	return i == len;
}

static bool is_word(const char *s, int len, const char *word)
{
	return (size_t)len == strlen(word) && memcmp(s, word, (size_t)len) == 0;
}

static bool is_primitive(const char *s, int len)
{
	return is_number(s, len) || is_word(s, len, "true") || is_word(s, len, "false") ||
	       is_word(s, len, "null");
}

/* jsmn has seen to the escapes. */
static bool has_control(const char *s, int len)
{
	for (int i = 0; i < len; i++) {
		if ((unsigned char)s[i] < 0x20)
			return true;
	}
	return false;
}

/* Where in the text a token is, its quotes included. */
static int first_char(const jsmntok_t *t)
{
	return t->type == JSMN_STRING ? t->start - 1 : t->start;
}

static int past_last_char(const jsmntok_t *t)
{
	return t->type == JSMN_STRING ? t->end + 1 : t->end;
}

static int check_value(const struct json_doc *doc, int *i, int *at, int depth);

/* The members or items between the brackets of T; *I is the token after it. */
static int check_inside(const struct json_doc *doc, const jsmntok_t *t, int *i, int *at, int depth)
{
	int first = *i;
	int err;

	while (*i < doc->n && doc->tokens[*i].start < t->end) {
		if (*i > first) {
			*at = skip_space(doc->text, *at, t->end);
			if (doc->text[(*at)++] != ',')
				return -EBADMSG;
		}
		if (t->type == JSMN_OBJECT) {
			if (doc->tokens[*i].type != JSMN_STRING)
				return -EBADMSG;
			err = check_value(doc, i, at, depth);
			if (err)
				return err;
			*at = skip_space(doc->text, *at, t->end);
			if (doc->text[(*at)++] != ':' || *i >= doc->n ||
			    doc->tokens[*i].start >= t->end)
				return -EBADMSG;
		}
		err = check_value(doc, i, at, depth);
		if (err)
			return err;
	}
	*at = skip_space(doc->text, *at, t->end);
	return *at == t->end - 1 ? 0 : -EBADMSG;
}

/* Token *I begins at *AT but for white space, and is what it should be; both are moved behind it. */
static int check_value(const struct json_doc *doc, int *i, int *at, int depth)
{
	const jsmntok_t *t = &doc->tokens[(*i)++];
	const char *s = doc->text + t->start;
	int err = 0;

	if (skip_space(doc->text, *at, past_last_char(t)) != first_char(t))
		return -EBADMSG;
	*at = first_char(t) + 1;
	if (t->type == JSMN_STRING)
		err = has_control(s, t->end - t->start) ? -EBADMSG : 0;
	else if (t->type == JSMN_PRIMITIVE)
		err = is_primitive(s, t->end - t->start) ? 0 : -EBADMSG;
	else if (!depth)
		err = -E2BIG;
	else
		err = check_inside(doc, t, i, at, depth - 1);
	*at = past_last_char(t);
	return err;
}

int json_parse(struct json_doc *doc, const char *text, size_t size, struct json *ret_root)
{
	jsmn_parser parser;
	int i = 0, at = 0, err;

	if (!size) {
		text = "{}";
		size = 2;
	}
	if (size > AGENT_MESSAGE_MAX || !utf8_valid(text, size))
		return -EBADMSG;
	doc->text = text;
	jsmn_init(&parser);
	doc->n = jsmn_parse(&parser, text, size, doc->tokens, JSON_MAX_TOKENS);
	if (doc->n == JSMN_ERROR_NOMEM)
		return -E2BIG;
	if (doc->n < 1 || doc->tokens[0].type != JSMN_OBJECT)
		return -EBADMSG;
	err = check_value(doc, &i, &at, AGENT_JSON_DEPTH);
	if (err)
		return err;
	if (i != doc->n || skip_space(text, at, (int)size) != (int)size)
		return -EBADMSG;
	*ret_root = (struct json){ doc, 0 };
	return 0;
}

/* --- looking at values ------------------------------------------------------------------------------------- */

static const jsmntok_t *token(struct json value)
{
	return value.at < 0 ? NULL : &value.doc->tokens[value.at];
}

/* The token after VALUE and all that is in it. */
static int past(struct json value)
{
	int end = token(value)->end;
	int i = value.at + 1;

	while (i < value.doc->n && value.doc->tokens[i].start < end)
		i++;
	return i;
}

bool json_present(struct json value)
{
	const jsmntok_t *t = token(value);

	return t && !(t->type == JSMN_PRIMITIVE && value.doc->text[t->start] == 'n');
}

bool json_is_object(struct json value)
{
	return value.at >= 0 && token(value)->type == JSMN_OBJECT;
}

bool json_is_array(struct json value)
{
	return value.at >= 0 && token(value)->type == JSMN_ARRAY;
}

struct json json_get(struct json object, const char *key)
{
	const struct json_doc *doc = object.doc;
	int i = object.at + 1;
	size_t len = strlen(key);

	if (!json_is_object(object))
		return (struct json){ doc, -1 };
	while (i < doc->n && doc->tokens[i].start < token(object)->end) {
		const jsmntok_t *t = &doc->tokens[i];

		if ((size_t)(t->end - t->start) == len &&
		    memcmp(doc->text + t->start, key, len) == 0)
			return (struct json){ doc, i + 1 };
		i = past((struct json){ doc, i + 1 });
	}
	return (struct json){ doc, -1 };
}

static struct json item_at(struct json array, int i)
{
	bool inside = i < array.doc->n && array.doc->tokens[i].start < token(array)->end;

	return (struct json){ array.doc, inside ? i : -1 };
}

struct json json_first(struct json array)
{
	return json_is_array(array) ? item_at(array, array.at + 1) : (struct json){ array.doc, -1 };
}

struct json json_next(struct json array, struct json item)
{
	return item_at(array, past(item));
}

size_t json_count(struct json array)
{
	size_t n = 0;

	for (struct json v = json_first(array); v.at >= 0; v = json_next(array, v))
		n++;
	return n;
}

/* --- copying values out ------------------------------------------------------------------------------------ */

static uint32_t hex4(const char *s)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		char c = s[i];

		v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

/* \uXXXX at S, perhaps with a second half; *RET_LEN: how much of S that is.  A half alone is U+FFFD. */
static uint32_t escaped_rune(const char *s, const char *end, int *ret_len)
{
	uint32_t rune = hex4(s + 2), low;

	*ret_len = 6;
	if (rune < 0xd800 || rune > 0xdfff)
		return rune;
	if (rune > 0xdbff || end - s < 12 || s[6] != '\\' || s[7] != 'u')
		return 0xfffd;
	low = hex4(s + 8);
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*ret_len = 12;
	return 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
}

/* One character of a string, at S: its bytes to OUT, at most 4; how many to *RET_OUT.  Returns how much of S it was. */
static int unescape(const char *s, const char *end, char out[4], int *ret_out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int len;

	*ret_out = 1;
	out[0] = s[0];
	if (s[0] != '\\')
		return 1;
	if (s[1] == 'u') {
		uint32_t rune = escaped_rune(s, end, &len);

		*ret_out = utf8_put(out, rune);
		return len;
	}
	out[0] = to[strchr(from, s[1]) - from];
	return 2;
}

int json_string(struct json value, char *out, size_t size)
{
	const jsmntok_t *t = token(value);
	const char *s, *end;
	size_t len = 0;

	if (!t)
		return -ENOENT;
	if (t->type != JSMN_STRING)
		return -EINVAL;
	end = value.doc->text + t->end;
	for (s = value.doc->text + t->start; s < end;) {
		char rune[4];
		int n;

		s += unescape(s, end, rune, &n);
		if (!rune[0])
			return -EINVAL;
		if (len + (size_t)n >= size)
			return -ENAMETOOLONG;
		memcpy(out + len, rune, (size_t)n);
		len += (size_t)n;
	}
	if (!size)
		return -ENAMETOOLONG;
	out[len] = '\0';
	return (int)len;
}

char *json_strdup(struct json value, int *ret_err)
{
	size_t size = value.at < 0 ? 1 : (size_t)(token(value)->end - token(value)->start) + 1;
	char *out = malloc(size);
	int err = out ? json_string(value, out, size) : -ENOMEM;

	if (err >= 0)
		return out;
	free(out);
	*ret_err = err;
	return NULL;
}

int json_int(struct json value, int64_t min, int64_t max, int64_t *ret_number)
{
	const jsmntok_t *t = token(value);
	const char *s;
	long long number;
	char *end;

	if (!t)
		return -ENOENT;
	s = value.doc->text + t->start;
	if (t->type != JSMN_PRIMITIVE || !is_number(s, t->end - t->start))
		return -EINVAL;
	errno = 0;
	number = strtoll(s, &end, 10); /* a bracket or comma follows */
	if (end != value.doc->text + t->end)
		return -EINVAL;
	if (errno || number < min || number > max)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

int json_bool(struct json value, bool fallback, bool *ret_value)
{
	const jsmntok_t *t = token(value);
	int c = t ? value.doc->text[t->start] : 0;

	if (t && (t->type != JSMN_PRIMITIVE || (c != 't' && c != 'f')))
		return -EINVAL;
	*ret_value = t ? c == 't' : fallback;
	return 0;
}

char **json_strv(struct json array, size_t max, int *ret_err)
{
	size_t n = json_count(array), size = (n + 1) * sizeof(char *), room;
	char **vector = NULL, *p;
	int err = 0;

	if (array.at >= 0 && !json_is_array(array))
		err = -EINVAL;
	else if (n > max)
		err = -E2BIG;
	/* Unescaping makes nothing longer, and a NUL takes no more than the quotes do. */
	room = array.at < 0 ? 0 : (size_t)(token(array)->end - token(array)->start);
	vector = err ? NULL : malloc(size + room);
	if (!vector) {
		*ret_err = err ? err : -ENOMEM;
		return NULL;
	}
	p = (char *)vector + size;
	n = 0;
	for (struct json v = json_first(array); v.at >= 0 && err >= 0; v = json_next(array, v)) {
		vector[n++] = p;
		err = json_string(v, p, room);
		if (err >= 0) {
			p += err + 1;
			room -= (size_t)err + 1;
		}
	}
	vector[n] = NULL;
	if (err >= 0)
		return vector;
	free(vector);
	*ret_err = err;
	return NULL;
}

/* --- writing ----------------------------------------------------------------------------------------------- */

void json_writer_init(struct json_writer *w, char *buf, size_t size)
{
	*w = (struct json_writer){ .buf = buf, .size = size };
}

static void put(struct json_writer *w, const char *s, size_t len)
{
	if (w->overflow || len > w->size - w->len) {
		w->overflow = true;
		return;
	}
	memcpy(w->buf + w->len, s, len);
	w->len += len;
}

static void put_quoted(struct json_writer *w, const char *s)
{
	size_t left = strlen(s);

	put(w, "\"", 1);
	while (left) {
		size_t n = utf8_length(s, left);
		unsigned char c = (unsigned char)*s;
		char escape[8];

		if (!n)
			put(w, "\xef\xbf\xbd", 3);
		else if (c == '"' || c == '\\')
			put(w, (char[]){ '\\', (char)c }, 2);
		else if (c < 0x20)
			put(w, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
		else
			put(w, s, n);
		s += n ? n : 1;
		left -= n ? n : 1;
	}
	put(w, "\"", 1);
}

static void put_key(struct json_writer *w, const char *key)
{
	if (w->comma)
		put(w, ",", 1);
	w->comma = true;
	if (!key)
		return;
	put_quoted(w, key);
	put(w, ":", 1);
}

void json_open(struct json_writer *w, const char *key, char bracket)
{
	put_key(w, key);
	put(w, &bracket, 1);
	w->comma = false;
}

void json_close(struct json_writer *w, char bracket)
{
	put(w, &bracket, 1);
	w->comma = true;
}

void json_put_string(struct json_writer *w, const char *key, const char *value)
{
	put_key(w, key);
	put_quoted(w, value);
}

void json_put_int(struct json_writer *w, const char *key, int64_t value)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%lld", (long long)value);

	put_key(w, key);
	put(w, text, (size_t)len);
}

void json_put_bool(struct json_writer *w, const char *key, bool value)
{
	put_key(w, key);
	put(w, value ? "true" : "false", value ? 4 : 5);
}
