/* SPDX-License-Identifier: MIT */
/* orchestrator forward: ways between sockets of the host and of a guest, while the lab runs. */
#include "cmd.h"

#include <errno.h>
#include <string.h>

#include "cmd/reach.h"
#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/watch.h"

#define CALL_MS 10000

static char *opt_lab;
static gboolean opt_json;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "list: print JSON instead of text", NULL },
	G_OPTION_ENTRY_NULL,
};

/* The daemon of the lab's sockets knows what there is. */
static gboolean ask_daemon(const struct reach *r, const char *method, struct json_object *params,
			   struct json_object **ret_result, GError **error)
{
	int fd = dial_now(r->paths->hvsock->ctl);
	struct rpc_client *c;
	gboolean good;

	if (fd < 0) {
		json_object_put(params);
		if (fd == -ENOENT || fd == -ECONNREFUSED)
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
				    "lab %s has no sockets that are up", r->lab_name);
		else
			err_set_errno(error, ORCH_ERROR_FAILED, -fd, "cannot connect to %s",
				      r->paths->hvsock->ctl);
		return FALSE;
	}
	c = rpc_client_new(fd, NULL, NULL, NULL);
	good = rpc_client_call_sync(c, method, params, CALL_MS, ret_result, error);
	rpc_client_free(c);
	return good;
}

/* As the lab file names it: its VM, and its text. */
static char *id_of(const char *vm, const char *text)
{
	return g_strdup_printf("%s.%s", vm, text);
}

static gboolean parse(const char *text, struct forward *ret, GError **error)
{
	const char *problem = forward_parse(text, ret);

	if (!problem)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "\"%s\": %s", text, problem);
	return FALSE;
}

static int add(const struct reach *r, const char *vm, const char *text, GError **error)
{
	struct vm_paths *paths = reach_vm(r, vm, error);
	struct json_object *params;
	g_autofree char *id = id_of(vm, text);
	struct forward f = { 0 };

	if (!paths || !parse(text, &f, error)) {
		vm_paths_free(paths);
		return -1;
	}
	vm_paths_free(paths);
	params = json_object_new_object();
	json_put_str(params, "id", id);
	json_put_str(params, "vm", vm);
	json_put_str(params, "direction", f.to_guest ? "to-guest" : "to-host");
	json_put_int(params, "guest-port", f.port);
	json_put_str(params, "host", f.host);
	g_free(f.host);
	return ask_daemon(r, "forward.add", params, NULL, error) ? 0 : -1;
}

static int remove_one(const struct reach *r, const char *vm, const char *text, GError **error)
{
	struct json_object *params = json_object_new_object();
	g_autofree char *id = id_of(vm, text);

	json_put_str(params, "id", id);
	return ask_daemon(r, "forward.remove", params, NULL, error) ? 0 : -1;
}

/* The text by which it was added and is removed. */
static char *text_of(struct json_object *f)
{
	const char *vm = json_str(f, "vm"), *id = json_str(f, "id");
	g_autofree char *prefix = g_strdup_printf("%s.", vm ? vm : "");

	if (id && g_str_has_prefix(id, prefix))
		return g_strdup(id + strlen(prefix));
	return g_strdup(id);
}

static void print_list(struct json_object *list)
{
	static const char *const headings[] = { "VM", "FORWARD", "DIRECTION", "CONNECTED",
						"FAILED" };
	struct out_table *t = out_table_new(headings, G_N_ELEMENTS(headings));

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);
		g_autofree char *text = text_of(f);
		g_autofree char *connected =
			g_strdup_printf("%ld", (long)json_int(f, "connected", 0));
		g_autofree char *failed = g_strdup_printf("%ld", (long)json_int(f, "failed", 0));
		const char *cells[] = { json_str(f, "vm"), text, json_str(f, "direction"),
					connected, failed };

		out_table_row(t, cells);
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

static int list(const struct reach *r, const char *vm, GError **error)
{
	struct json_object *shown = json_object_new_array(), *all;
	auto_json result = NULL;

	if (!ask_daemon(r, "forward.list", NULL, &result, error)) {
		json_object_put(shown);
		return -1;
	}
	all = json_member(result, "forwards", json_type_array);
	for (size_t i = 0; all && i < json_object_array_length(all); i++) {
		struct json_object *f = json_object_array_get_idx(all, i);

		if (!vm || g_strcmp0(json_str(f, "vm"), vm) == 0)
			json_object_array_add(shown, json_object_get(f));
	}
	if (opt_json) {
		out_json(shown);
		return 0;
	}
	print_list(shown);
	json_object_put(shown);
	return 0;
}

static int dispatch(const struct reach *r, char **args, GError **error)
{
	unsigned n = g_strv_length(args);

	if (strcmp(args[0], "list") == 0 && n <= 2)
		return list(r, args[1], error);
	if (strcmp(args[0], "add") == 0 && n == 3)
		return add(r, args[1], args[2], error);
	if (strcmp(args[0], "remove") == 0 && n == 3)
		return remove_one(r, args[1], args[2], error);
	g_set_error_literal(
		error, ORCH_ERROR, ORCH_ERROR_USAGE,
		"forward add VM FORWARD, forward remove VM FORWARD, or forward list [VM]");
	return -1;
}

static int run_forward(char **args, GError **error)
{
	struct reach *r = reach_new(opt_lab, error);
	int code = r ? dispatch(r, args, error) : -1;

	reach_free(r);
	return code;
}

const struct cmd cmd_forward = {
	.name = "forward",
	.args = "add|remove|list [VM [FORWARD]]",
	.summary = "Add, remove or list ways between sockets of the host and of a VM",
	.help = "A FORWARD is written as in the lab file, from the listening end to the other:\n"
		"\n"
		"    tcp:127.0.0.1:2222:22       a port of the host leads to vsock port 22 of the VM\n"
		"    unix:/tmp/n1.sock:1234      the same from a Unix socket\n"
		"    8080:tcp:127.0.0.1:80       vsock port 8080 of CID 2, as the VM sees it, leads to\n"
		"                                a port of the host\n"
		"\n"
		"What is added holds until it is removed or the lab is down; the lab file keeps it. A\n"
		"connection that stands goes on when its forward is removed.",
	.options = options,
	.min_args = 1,
	.max_args = 3,
	.arg = CMD_ARG_FORWARD,
	.run = run_forward,
};
