/* SPDX-License-Identifier: MIT */
/* One request after the other, for verbs that have nothing else to do meanwhile. */
#ifndef AGENT_CLIENT_ASK_H
#define AGENT_CLIENT_ASK_H

#include <glib.h>

#include "agent/client/session.h"

/* Ask and run the default main context until the answer is there, at most timeout_ms (< 0: for ever).  body as for
 * agent_session_request(); *ret_body (may be NULL) is the caller's.  ORCH_ERROR_TIMEOUT when the time is over. */
gboolean agent_ask(struct agent_session *s, enum agent_type type, struct json_object *body,
		   int timeout_ms, struct json_object **ret_body, GError **error);

#endif
