/* SPDX-License-Identifier: MIT */
/* What is known of a lab without its supervisor: what the last one left behind, and what of it still runs.
 *
 * The state file says which processes there are.  Where it is damaged or gone, the lab's sockets do: whoever listens in its
 * private runtime directory was started by it, unless it is systemd, and the kernel says who that is.  A new supervisor, `status`, `plan` and
 * `gc` all begin here, so they agree on what there is.
 */
#ifndef RUN_REMAINS_H
#define RUN_REMAINS_H

#include <glib.h>

struct lab;
struct lab_dirs;
struct lab_paths;
struct state;

struct remains {
	struct state *state;     /* never NULL; state->lab is the name */
	struct lab *lab;         /* as applied; NULL: there is no copy, or it is damaged */
	struct lab_paths *paths; /* of that lab, or of its name alone */
	char *damage;            /* what could not be read; NULL: nothing */
};

/* Nothing that is missing or damaged is an error: then less is known. */
struct remains *remains_read(const char *lab_name, const struct lab_dirs *dirs);
void remains_free(struct remains *r);

#endif
