/* SPDX-License-Identifier: MIT */
/* Every key of a lab file, in one table.
 *
 * The table says what a key is called, what kind of value it takes, its bounds, and its meaning in a sentence.  Five readers
 * keep in step because of it: the checker below, the JSON Schema (schema.h), the man page lab.5 (a test compares), the
 * suggestions for misspelt keys, and, for what a switch is told, the numbers that it takes (numbers.h).  A new key is a new
 * row, and code in build*.c that gives it a meaning.
 *
 * The checker judges each value alone: its type, its form, its bounds, unknown and missing keys.  What takes two values to
 * judge (a reference, a duplicate address, a cycle) is build*.c's.
 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct jt_node;
struct lab_errors;

/* Kinds of values; what jt_node.decoded holds once the checker has set jt_node.ok is in brackets.  Units: units.h. */
enum field_kind {
	FIELD_TEXT,   /* a string without control characters; min..max bytes */
	FIELD_NAME,   /* a DNS label (names.h), whether it defines or refers */
	FIELD_SIZE,   /* "512MiB" in whole MiB; min..max bytes [bytes] */
	FIELD_BYTES,  /* "64KiB"; min..max bytes [bytes] */
	FIELD_COUNT,  /* an integer, min..max, which are signed [it] */
	FIELD_WORD,   /* one of words[] [index] */
	FIELD_FLAG,   /* true or false [1 or 0] */
	FIELD_TIME,   /* "500ms", "30s"; min..max milliseconds [milliseconds] */
	FIELD_DELAY,  /* "20ms"; min..max nanoseconds [nanoseconds] */
	FIELD_CHANCE, /* "2%"; min..max billionths [billionths] */
	FIELD_RATE,   /* "100mbit"; min..max bits per second [bits per second] */
	FIELD_SUBNET, /* "192.168.100.0/24", prefix min..max [address << 8 | prefix] */
	FIELD_IP,     /* "192.168.100.10" [address, host byte order] */
	FIELD_MAC,    /* "52:54:00:12:34:56", unicast [48 bits, first byte highest] */
	FIELD_LINK,   /* "n1", "n1.0", "n1:lan": lab_find_link() */
	FIELD_NAMES,  /* an array of FIELD_NAME, at most max, none twice */
	FIELD_TEXTS,  /* an array of min..max FIELD_TEXTs, each of at most FIELD_TEXTS_BYTES */
	FIELD_COUNTS, /* an array of 1..FIELD_COUNTS_MAX integers, min..max, none twice */
	FIELD_LINKS,  /* an array of min..max FIELD_LINKs, none twice */
	FIELD_OBJECT, /* an object of object->fields */
	FIELD_LIST,   /* an array of such objects, at most max */
	FIELD_MAP,    /* an object from names (FIELD_NAME) to such objects, min..max */
	FIELD_EITHER, /* one of choices, told apart by their types in JSON [as the choice's] */
	FIELD_KIND_COUNT
};

#define FIELD_TEXTS_BYTES 1024
#define FIELD_COUNTS_MAX  4094

struct field_object;

struct field {
	const char *key; /* NULL ends the table */
	enum field_kind kind;
	bool required;
	uint64_t min, max;
	const char *const *words; /* NULL-terminated */
	const struct field_object *object;
	const struct field *choices; /* FIELD_EITHER: ends with a NULL key; the keys are not read */
	const char *
		unsaid; /* what holds when the key is not given, as shown to people; NULL: nothing */
	const char *
		brief; /* its meaning: sentences of Markdown that also read as plain text without the `s */
	const char *member; /* its name among the numbers that a switch takes; NULL: the key's */
};

struct field_object {
	const char *name;  /* "nic": its name in the schema and its section in lab.5 */
	const char *brief; /* as in struct field */
	const struct field *fields;
	const struct field_object *also; /* all keys of that one, too; NULL: none */
};

/* The whole file. */
extern const struct field_object field_lab;

/* Of networks and links (fields_net.c). */
extern const struct field_object field_network, field_nic, field_impairment, field_profile,
	field_policy;

/* Every object there is, field_lab first; NULL-terminated. */
extern const struct field_object *const field_objects[];

/* The row of a key, in the object or in what it has besides; NULL: there is none. */
const struct field *field_find(const struct field_object *object, const char *key);
/* Each row in turn: field_next(object, NULL) is the first, NULL comes after the last. */
const struct field *field_next(const struct field_object *object, const struct field *f);

/* Judge node and everything below it as an object of that kind: adds to errors, sets ok and decoded on what is right. */
void field_check(const struct field_object *object, struct jt_node *node,
		 struct lab_errors *errors);

/* Which of the choices the value is, by its type in JSON; NULL: none. */
const struct field *field_choice(const struct field *f, const struct jt_node *node);

#endif
