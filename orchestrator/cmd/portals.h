/* SPDX-License-Identifier: MIT */
/* What the daemons of a lab's portals say of them, for `status`. */
#ifndef CMD_PORTALS_H
#define CMD_PORTALS_H

struct json_object;

/* Ask each portal of a report (run/report.h) that runs, and put the answer into it as "use".  One that does not answer within
 * seconds has none. */
void portals_ask(struct json_object *report);

/* The report's portals as a table on stdout. */
void portals_print(struct json_object *portals);

#endif
