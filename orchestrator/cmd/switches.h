/* SPDX-License-Identifier: MIT */
/* The switches of a running lab, asked directly: each listens on its control socket (vhost-user-net(8)), so that looking at
 * links needs nobody else.  What changes something goes through the supervisor, who keeps it. */
#ifndef CMD_SWITCHES_H
#define CMD_SWITCHES_H

#include <glib.h>

#include "run/jsonrpc.h"

struct json_object;
struct lab;
struct link_ref;
struct state;

/* A lab whose links a verb speaks about. */
struct links_of {
	char *lab_name;
	struct lab *lab;     /* as applied */
	struct state *state; /* what runs; its guests have links, too */
};

/* opt_lab: as for cmd_find_lab().  FALSE: no such lab, or it does not run. */
gboolean links_open(const char *opt_lab, struct links_of *ret, GError **error);
void links_close(struct links_of *l);

/* The link that a word means; ORCH_ERROR_USAGE names what there is. */
gboolean links_find(const struct links_of *l, const char *word, struct link_ref *ret,
		    GError **error);

/* A connection to the switch of a network; free with rpc_client_free().  NULL: it does not run. */
struct rpc_client *switch_connect(const struct links_of *l, const char *network,
				  rpc_notify_fn *notify, rpc_closed_fn *closed, void *data,
				  GError **error);

/* One call to it, on a connection of its own. */
gboolean switch_ask(const struct links_of *l, const char *network, const char *method,
		    struct json_object *params, struct json_object **ret_result, GError **error);

/* One call to the lab's supervisor. */
gboolean links_tell(const struct links_of *l, const char *method, struct json_object *params,
		    struct json_object **ret_result, GError **error);

#endif
