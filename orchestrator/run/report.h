/* SPDX-License-Identifier: MIT */
/* What there is to say about a lab: the document of `status --json`.
 *
 * The same document with and without a supervisor: it is made from the lab as applied and a struct state, which comes from
 * the living supervisor or from its file.  Its shape is described in orchestrator(1), STATUS.
 */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include <glib.h>

struct json_object;
struct lab;
struct lab_paths;
struct state;

/* lab may be NULL (its copy is damaged or gone): then only what the state knows is told.  Caller owns. */
struct json_object *report_make(const struct lab *lab, const struct lab_paths *paths,
				const struct state *state);

/* Of a lab that has no supervisor, from what is left of it.  A lab that is down, or was never up, is one without processes:
 * "state": "down".  "damage" says what could not be read.  Caller owns. */
struct json_object *report_from_files(const char *lab_name);

#endif
