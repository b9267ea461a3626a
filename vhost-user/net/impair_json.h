/* SPDX-License-Identifier: MIT */
/* Settings of an impairment as JSON, for the control socket and the configuration file.
 *
 * The names and ranges are those of impair_config.h's list, and so are the messages: "loss: 1.2 is outside 0..1".
 *
 * Trust:   JSON that parsed; all else is checked.
 * Threads: none. */
#ifndef NET_IMPAIR_JSON_H
#define NET_IMPAIR_JSON_H

#include <stdbool.h>
#include <json-c/json.h>

#include "impair.h"

#define IMPAIR_WHY_MAX 160

/* Change what the members of `o` name: null puts one to its default.  Members in `others` (names between commas, as
 * "name,port") are somebody else's.  Of the three models of loss, naming one ends the others.  *ret_seeded: a seed was
 * named.  0; or -EINVAL, *why saying what is wrong, beginning with the member's name, and nothing has changed. */
int impair_json_read(struct json_object *o, const char *others, struct impair_config *inout,
		     bool *ret_seeded, char why[IMPAIR_WHY_MAX]);

/* What differs from the default, and the seed.  A new reference. */
struct json_object *impair_json_settings(const struct impair_config *c);

/* All counters.  A new reference. */
struct json_object *impair_json_counters(const struct impair_stats *s);

#endif
