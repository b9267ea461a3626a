/* SPDX-License-Identifier: MIT */
#include "cmd/switches.h"

#include <errno.h>

#include "cmd.h"
#include "err.h"
#include "model/lab.h"
#include "run/client.h"
#include "run/json.h"
#include "run/state.h"
#include "run/state_guest.h"
#include "run/watch.h"

#define CALL_MS 10000

gboolean links_open(const char *opt_lab, struct links_of *ret, GError **error)
{
	g_autofree char *name = cmd_lab_name(opt_lab, error);

	if (!name)
		return FALSE;
	ret->lab = cmd_applied_lab(name);
	if (!ret->lab) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "lab %s is down: `orchestrator up` starts it", name);
		return FALSE;
	}
	ret->state = cmd_state(name);
	ret->lab_name = g_steal_pointer(&name);
	return TRUE;
}

void links_close(struct links_of *l)
{
	g_free(l->lab_name);
	lab_free(l->lab);
	state_free(l->state);
}

gboolean links_find(const struct links_of *l, const char *word, struct link_ref *ret,
		    GError **error)
{
	g_autoptr(GError) why = NULL;

	if (l->state && state_guest_find_link(l->state->guests, l->lab, word, ret, &why))
		return TRUE;
	if (why)
		g_propagate_error(error, g_steal_pointer(&why));
	else if (lab_find_link(l->lab, NULL, word, ret, error))
		return TRUE;
	g_prefix_error(error, "lab %s: ", l->lab_name);
	return FALSE;
}

struct rpc_client *switch_connect(const struct links_of *l, const char *network,
				  rpc_notify_fn *notify, rpc_closed_fn *closed, void *data,
				  GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new_named(l->lab_name, dirs);
	struct daemon_paths *sw = net_paths_new(paths, network);
	int fd = dial_now(sw->ctl);

	daemon_paths_free(sw);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	if (fd >= 0)
		return rpc_client_new(fd, notify, closed, data);
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_FAILED,
		"the switch of network %s does not answer (%s): `orchestrator status` tells more",
		network, g_strerror(-fd));
	return NULL;
}

gboolean switch_ask(const struct links_of *l, const char *network, const char *method,
		    struct json_object *params, struct json_object **ret_result, GError **error)
{
	struct rpc_client *rpc = switch_connect(l, network, NULL, NULL, NULL, error);
	gboolean good;

	if (!rpc) {
		json_object_put(params);
		return FALSE;
	}
	good = rpc_client_call_sync(rpc, method, params, CALL_MS, ret_result, error);
	rpc_client_free(rpc);
	return good;
}

gboolean links_tell(const struct links_of *l, const char *method, struct json_object *params,
		    struct json_object **ret_result, GError **error)
{
	struct client *c = client_require(l->lab_name, error);
	gboolean good;

	if (!c) {
		json_object_put(params);
		return FALSE;
	}
	good = client_call(c, method, params, CALL_MS, ret_result, error);
	client_free(c);
	return good;
}
