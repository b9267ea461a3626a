/* SPDX-License-Identifier: MIT */
/* JSON bodies: a checked reader, and a writer into a fixed buffer.
 *
 * The reader lets jsmn find the tokens and then checks what jsmn does not: one object and nothing else, commas and colons
 * where they belong, depth, UTF-8, no control characters in strings.  Values are looked up in place; strings are
 * unescaped as they are copied out, and one with \u0000 in it is no string for C and refused.
 *
 * Trust: the text is the host's, and hostile. */
#ifndef ORCHESTRATOR_AGENT_GUEST_JSON_H
#define ORCHESTRATOR_AGENT_GUEST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names and addresses of a lab of 1,000 VMs in one CONFIG are some 9,000 tokens. */
#define JSON_MAX_TOKENS 16384

struct json_doc; /* room for the tokens of one text */

struct json_doc *json_doc_new(void); /* NULL: no memory */
void json_doc_free(struct json_doc *doc);

/* A value within a document; valid until the next json_parse() of it.  By value, as it is two words. */
struct json {
	const struct json_doc *doc;
	int at; /* -1: there is none */
};

/* Read TEXT, which must stay while values are used.  An empty text is {}.  *ret_root: the object.
 * Returns 0; -EBADMSG, this is not one JSON object; -E2BIG, too many tokens or too deep. */
int json_parse(struct json_doc *doc, const char *text, size_t size, struct json *ret_root);

/* All of these may be asked of an absent value: it is nothing, has no members and no items. */
bool json_present(struct json value); /* there, and not null */
bool json_is_object(struct json value);
bool json_is_array(struct json value);

/* The member KEY of an object; the first, where there are several. */
struct json json_get(struct json object, const char *key);
/* for (v = json_first(array); v.at >= 0; v = json_next(array, v)) */
struct json json_first(struct json array);
struct json json_next(struct json array, struct json item);
size_t json_count(struct json array);

/* Copy a string out, unescaped, with its NUL.  Returns its length; -ENOENT, absent; -EINVAL, no string, or a NUL in it; -ENAMETOOLONG. */
int json_string(struct json value, char *out, size_t size);
/* The same on the heap; NULL with *ret_err set. */
char *json_strdup(struct json value, int *ret_err);
/* Returns 0; -ENOENT, absent; -EINVAL, no whole number; -ERANGE, not in [min, max]. */
int json_int(struct json value, int64_t min, int64_t max, int64_t *ret_number);
/* An absent value is FALLBACK.  Returns 0 or -EINVAL. */
int json_bool(struct json value, bool fallback, bool *ret_value);
/* Strings of an array as a NULL-terminated vector: one allocation, free().  An absent array is an empty one.
 * NULL with *ret_err: -EINVAL, -E2BIG (more than MAX), -ENOMEM. */
char **json_strv(struct json array, size_t max, int *ret_err);

/* Appends to a buffer.  What does not fit is left out and OVERFLOW set: the text is no JSON then. */
struct json_writer {
	char *buf;
	size_t size, len;
	bool comma, overflow;
};

void json_writer_init(struct json_writer *w, char *buf, size_t size);
/* KEY is NULL for the outermost object and within arrays. */
void json_open(struct json_writer *w, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json_writer *w, char bracket);                 /* '}' or ']' */
/* Bytes that are no UTF-8 become U+FFFD. */
void json_put_string(struct json_writer *w, const char *key, const char *value);
void json_put_int(struct json_writer *w, const char *key, int64_t value);
void json_put_bool(struct json_writer *w, const char *key, bool value);

#endif
