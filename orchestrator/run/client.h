/* SPDX-License-Identifier: MIT */
/* The CLI's side: reaching a lab's supervisor, or making one.
 *
 * A supervisor is a process of its own in a session of its own, its words in supervisor.log; the one who starts it holds
 * the first connection from the beginning, so nothing has to be waited for.
 */
#ifndef RUN_CLIENT_H
#define RUN_CLIENT_H

#include <stdbool.h>
#include <glib.h>

#include "run/jsonrpc.h"

struct json_object;
struct observed;

struct client {
	char *lab;
	struct rpc_client *rpc;
	int pidfd; /* the supervisor's process; -1: unknown */
	bool lost; /* the connection has ended */
	void (*event)(struct json_object *event, void *data); /* may be NULL */
	void *data;
};

void client_free(struct client *c);

/* Connect to the supervisor that runs.  NULL without an error: there is none.  With one: it is there and does not answer. */
struct client *client_connect(const char *lab_name, GError **error);

/* Of a lab that has to have one: ORCH_ERROR_FAILED if it has none. */
struct client *client_require(const char *lab_name, GError **error);

/* client_connect(), or start one: it takes over whatever an earlier one has left. */
struct client *client_start(const char *lab_name, GError **error);

/* One call, to its answer; timeout_ms < 0 waits forever. */
gboolean client_call(struct client *c, const char *method, struct json_object *params,
		     int timeout_ms, struct json_object **ret_result, GError **error);

/* After `down`: wait for the process to be gone. */
void client_wait_gone(struct client *c);

/* What runs of a lab, for the planner: from its supervisor; without one, from what is left of it.  Nothing runs of a lab
 * that nobody knows.  Caller frees. */
gboolean client_observe(const char *lab_name, struct observed **ret_observed, GError **error);

#endif
