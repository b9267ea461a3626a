/* SPDX-License-Identifier: MIT */
/* What a configuration file has the switch do before any frame passes: methods of the control socket, in order.
 *
 * A switch that is started anew for guests that are there already has its links, rules and mirrors in force for their first
 * frame.  What it is told over the control socket comes too late for that. */
#ifndef NET_SETUP_CTL_H
#define NET_SETUP_CTL_H

#include <json-c/json.h>

#include "backend.h"

/* Carry out `calls`, an array of {"method","params"?,"may-fail"?} as config.h has checked it (NULL: none), on the net of b.
 * Stops at the first that fails though it may not, and logs which it was, and why: -EINVAL. */
int setup_run(struct backend *b, struct json_object *calls);

#endif
