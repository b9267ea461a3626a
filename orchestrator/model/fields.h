/* SPDX-License-Identifier: MIT */
/* Every key of a lab file, in one table.
 *
 * The table says what a key is called, what kind of value it takes, its bounds, and its meaning in a sentence.  Four readers
 * keep in step because of it: the checker below, the JSON Schema (schema.h), the man page lab.5 (a test compares), and the
 * suggestions for misspelt keys.  A new key is a new row, and code in build.c that gives it a meaning.
 *
 * The checker judges each value alone: its type, its form, its bounds, unknown and missing keys.  What takes two values to
 * judge (a reference, a duplicate address, a cycle) is build.c's.
 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct jt_node;
struct lab_errors;

/* Kinds of values; what jt_node.decoded holds once the checker has set jt_node.ok is in brackets. */
enum field_kind {
	FIELD_TEXT,   /* a string without control characters; min..max bytes */
	FIELD_NAME,   /* a DNS label (names.h), whether it defines or refers */
	FIELD_SIZE,   /* "512MiB" in whole MiB; min..max bytes [bytes] */
	FIELD_COUNT,  /* an integer, min..max [it] */
	FIELD_WORD,   /* one of words[] [index] */
	FIELD_FLAG,   /* true or false [1 or 0] */
	FIELD_TIME,   /* "500ms", "30s"; min..max milliseconds [milliseconds] */
	FIELD_SUBNET, /* "192.168.100.0/24", prefix min..max [address << 8 | prefix] */
	FIELD_IP,     /* "192.168.100.10" [address, host byte order] */
	FIELD_MAC,    /* "52:54:00:12:34:56", unicast [48 bits, first byte highest] */
	FIELD_NAMES,  /* an array of FIELD_NAME, at most max, none twice */
	FIELD_TEXTS,  /* an array of min..max FIELD_TEXTs, each of at most FIELD_TEXTS_BYTES */
	FIELD_OBJECT, /* an object of object->fields */
	FIELD_LIST,   /* an array of such objects, at most max */
	FIELD_MAP,    /* an object from names (FIELD_NAME) to such objects, min..max */
	FIELD_KIND_COUNT
};

#define FIELD_TEXTS_BYTES 1024

struct field_object;

struct field {
	const char *key; /* NULL ends the table */
	enum field_kind kind;
	bool required;
	uint64_t min, max;
	const char *const *words; /* NULL-terminated */
	const struct field_object *object;
	const char *
		unsaid; /* what holds when the key is not given, as shown to people; NULL: nothing */
	const char *
		brief; /* its meaning: sentences of Markdown that also read as plain text without the `s */
};

struct field_object {
	const char *name;  /* "nic": its name in the schema and its section in lab.5 */
	const char *brief; /* as in struct field */
	const struct field *fields;
};

/* The whole file. */
extern const struct field_object field_lab;

/* Every object there is, field_lab first; NULL-terminated. */
extern const struct field_object *const field_objects[];

/* Judge node and everything below it as an object of that kind: adds to errors, sets ok and decoded on what is right. */
void field_check(const struct field_object *object, struct jt_node *node,
		 struct lab_errors *errors);

/* "512MiB" to bytes.  NULL, or why it is no size (a sentence without a subject, static). */
const char *field_parse_size(const char *text, uint64_t *ret_bytes);
/* "500ms", "30s", "2m", "1h" to milliseconds.  As field_parse_size(). */
const char *field_parse_time(const char *text, uint64_t *ret_ms);
/* The shortest text that field_parse_size() reads as bytes; g_free(). */
char *field_format_size(uint64_t bytes);

#endif
