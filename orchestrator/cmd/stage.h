/* SPDX-License-Identifier: MIT */
/* Waiting for a VM to be somewhere on its way: told by its supervisor's events, or, without one, by looking. */
#ifndef CMD_STAGE_H
#define CMD_STAGE_H

#include <stdbool.h>
#include <glib.h>

#include "run/ladder.h"

struct reach;

enum stage_verdict { STAGE_NOT_YET, STAGE_THERE, STAGE_NEVER };

/* Wait until verdict() says THERE, or, with an error that names the stage, NEVER; ORCH_ERROR_TIMEOUT at the deadline of
 * g_get_monotonic_time() (0: none).  The word of the stage last seen is in the message.  Runs the default main context. */
gboolean stage_await(const struct reach *r, const char *vm,
		     enum stage_verdict (*verdict)(enum stage stage), gint64 deadline_us,
		     GError **error);

#endif
