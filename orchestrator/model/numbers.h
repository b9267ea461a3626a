/* SPDX-License-Identifier: MIT */
/* What a lab file says with units, as the numbers that a switch takes, and back: by the table of fields.h.
 *
 *   {"delay": "20ms", "loss": "2%"}  →  {"delay-ns": 20000000, "loss": 0.02}  →  "delay 20ms, loss 2%"
 *
 * Delays become nanoseconds, rates bits per second, sizes bytes, chances fractions of 1; words, names and flags stay what
 * they are.  Pure.
 */
#ifndef MODEL_NUMBERS_H
#define MODEL_NUMBERS_H

#include <glib.h>

struct field_object;
struct jt_node;
struct json_object;

/* The members of node that are keys of object and right; others are skipped.  node: an object that field_check() has been
 * over.  The caller owns the result. */
struct json_object *numbers_of(const struct field_object *object, const struct jt_node *node);

/* The same from words of a command line, "delay=20ms", "gemodel.p=1%", as keys of object.  FALSE: ORCH_ERROR_USAGE, every
 * mistake in it, each naming its key. */
gboolean numbers_from_words(const struct field_object *object, char **words,
			    struct json_object **ret_numbers, GError **error);

/* For people: "delay 20ms, loss 2%", in the order of the table; "" if nothing is in it.  Members that object does not have
 * are left out.  g_free(). */
char *numbers_words(const struct field_object *object, struct json_object *numbers);

/* The same as keys with units, as a lab file has them: {"delay":"20ms"}.  The caller owns it. */
struct json_object *numbers_said(const struct field_object *object, struct json_object *numbers);

/* Put `from` over `into`, member by member: what `from` does not name stays.  An object that both have is merged in the same
 * way. */
void numbers_merge(struct json_object *into, struct json_object *from);

#endif
