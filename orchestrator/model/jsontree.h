/* SPDX-License-Identifier: MIT */
/* JSON as a tree in which everything knows where it stands in the file.
 *
 * json-c gives offsets for syntax errors only, keeps the last of two equal keys without a word and lets a lone surrogate
 * pass; a lab file's errors need the line and column of each key and value.  So this is our own reader of RFC 8259, strict:
 * no comments, no trailing commas, UTF-8 only (a byte order mark is skipped).
 *
 * A mistake that leaves the structure readable (a duplicate key, bad UTF-8, a control character, a lone surrogate, a number
 * out of range) is reported and reading goes on, so that one run shows them all; a mistake in the structure is reported and
 * ends the reading.
 *
 * Trust:     the text is hostile.  Depth, number of values and number of errors are bounded; the time is linear.
 * Ownership: the tree holds copies of all strings; the text may go once jt_parse() has returned.
 */
#ifndef MODEL_JSONTREE_H
#define MODEL_JSONTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lab_errors;

#define JT_DEPTH_MAX 32        /* containers within containers; a lab needs five */
#define JT_NODES_MAX (1 << 20) /* values in one file; about 100 MB of tree */

enum jt_type { JT_NULL, JT_BOOL, JT_NUMBER, JT_STRING, JT_ARRAY, JT_OBJECT };

struct jt_node {
	struct jt_node *parent; /* NULL: the root */
	struct jt_node *next;   /* sibling, in the order of the file */
	struct jt_node *child;  /* first; arrays and objects */
	const char *key;        /* of this member; NULL in arrays and for the root */
	uint32_t key_offset;    /* bytes from the start of the file; 0 without a key */
	uint32_t offset;        /* of the value */
	uint32_t index;         /* among its siblings */
	uint32_t n_children;
	enum jt_type type;
	bool broken;     /* its text was reported already: do not judge the value */
	bool duplicate;  /* an earlier sibling has the same key */
	bool is_integer; /* JT_NUMBER: a whole number that fits in 64 bits; see integer */
	bool ok;         /* for the reader's user: checked, and `decoded` holds what it means */
	union {
		bool boolean;
		int64_t integer;
		const char *string; /* NUL-terminated; holds no NUL itself */
	};
	uint64_t decoded; /* for the reader's user */
};

struct jt_tree;

/* Read text[0..len), where text[len] is NUL.  NULL if the structure is broken; then, and for each lesser mistake, errors has
 * grown.  len < 4 GiB. */
struct jt_tree *jt_parse(const char *text, size_t len, struct lab_errors *errors);
void jt_free(struct jt_tree *tree);

struct jt_node *jt_root(const struct jt_tree *tree);

/* The member `key` of an object (the first one), or NULL; NULL also for a node that is NULL or no object. */
struct jt_node *jt_get(const struct jt_node *object, const char *key);

/* RFC 6901 pointer of the node: "/vms/n1/nics/0"; "" for the root.  Control characters come as \u00XX so that a message
 * cannot harm a terminal; g_free(). */
char *jt_pointer(const struct jt_node *node);

/* "a string", "an object", …: for messages. */
const char *jt_type_name(enum jt_type type);

/* text in double quotes for a message: control characters escaped, cut after 60 characters; g_free(). */
char *jt_quote(const char *text);

#endif
