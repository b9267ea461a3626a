/* SPDX-License-Identifier: MIT */
/* Times on the command line: "90s", "5m", "1m30s", "250ms", "2h"; a bare number is seconds.  Pure. */
#ifndef CMD_DURATION_H
#define CMD_DURATION_H

#include <stdbool.h>
#include <glib.h>

/* At most a week; negative times and nonsense are refused. */
bool duration_parse(const char *text, gint64 *ret_ms);

#endif
