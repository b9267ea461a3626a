/* SPDX-License-Identifier: MIT */
/* orchestrator forward: ways between sockets of the host and of a guest, while the lab runs. */
#include "cmd.h"

#include <string.h>

#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/client.h"
#include "run/json.h"

#define CALL_MS 10000

static char *opt_lab;
static gboolean opt_json;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "list: print JSON instead of text", NULL },
	G_OPTION_ENTRY_NULL,
};

/* The supervisor keeps them. */
static gboolean ask(const char *method, struct json_object *params, struct json_object **ret_result,
		    GError **error)
{
	g_autofree char *lab = cmd_lab_name(opt_lab, error);
	struct client *c = lab ? client_require(lab, error) : NULL;
	gboolean good;

	if (!c) {
		json_object_put(params);
		return FALSE;
	}
	good = client_call(c, method, params, CALL_MS, ret_result, error);
	client_free(c);
	return good;
}

/* Whether the word names a network of the running lab, and no VM: then the forward is one of its NAT. */
static bool is_network(const char *word)
{
	g_autofree char *name = cmd_lab_name(opt_lab, NULL);
	struct lab *lab = name ? cmd_applied_lab(name) : NULL;
	bool network = lab && lab_find_network(lab, word) && !lab_find_vm(lab, word);

	lab_free(lab);
	return network;
}

static int change(bool add, const char *subject, const char *text, GError **error)
{
	struct json_object *params = json_object_new_object();
	bool nat = is_network(subject);

	json_put_str(params, nat ? "network" : "vm", subject);
	json_put_str(params, "forward", text);
	if (nat)
		return ask(add ? "nat.add" : "nat.remove", params, NULL, error) ? 0 : -1;
	return ask(add ? "forward.add" : "forward.remove", params, NULL, error) ? 0 : -1;
}

/* The text of a counter; "" of what is not counted, as by NAT. */
static char *counted(struct json_object *f, const char *key)
{
	if (!json_object_object_get_ex(f, key, NULL))
		return g_strdup("");
	return g_strdup_printf("%ld", (long)json_int(f, key, 0));
}

static void print_list(struct json_object *list)
{
	static const char *const headings[] = { "OF",    "FORWARD",   "DIRECTION", "FROM",
						"STATE", "CONNECTED", "FAILED" };
	struct out_table *t = out_table_new(headings, G_N_ELEMENTS(headings));

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);
		g_autofree char *connected = counted(f, "connected");
		g_autofree char *failed = counted(f, "failed");
		const char *vm = json_str(f, "vm");
		const char *cells[] = { vm ? vm : json_str(f, "network"),
					json_str(f, "forward"),
					json_str(f, "direction"),
					json_str(f, "origin"),
					json_flag(f, "active", false) ? "active" : "absent",
					connected,
					failed };

		out_table_row(t, cells);
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

/* Those of NAT, with what only the others have. */
static gboolean add_nat(const char *network, struct json_object *all, GError **error)
{
	struct json_object *params = json_object_new_object(), *list;
	auto_json result = NULL;

	json_put_str(params, "network", network);
	if (!ask("nat.list", params, &result, error))
		return FALSE;
	list = json_member(result, "forwards", json_type_array);
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);

		json_put_str(f, "direction", "nat");
		json_object_array_add(all, json_object_get(f));
	}
	return TRUE;
}

static gboolean add_sockets(const char *vm, struct json_object *all, GError **error)
{
	struct json_object *params = json_object_new_object(), *list;
	auto_json result = NULL;

	json_put_str(params, "vm", vm);
	if (!ask("forward.list", params, &result, error))
		return FALSE;
	list = json_member(result, "forwards", json_type_array);
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		json_object_array_add(all, json_object_get(json_object_array_get_idx(list, i)));
	return TRUE;
}

static int list(const char *subject, GError **error)
{
	auto_json all = json_object_new_array();
	bool nat = subject && is_network(subject);

	if ((!nat && !add_sockets(subject, all, error)) ||
	    ((nat || !subject) && !add_nat(subject, all, error)))
		return -1;
	if (opt_json)
		out_json(json_object_get(all));
	else
		print_list(all);
	return 0;
}

static int run_forward(char **args, GError **error)
{
	unsigned n = g_strv_length(args);

	if (strcmp(args[0], "list") == 0 && n <= 2)
		return list(args[1], error);
	if (strcmp(args[0], "add") == 0 && n == 3)
		return change(true, args[1], args[2], error);
	if ((strcmp(args[0], "remove") == 0 || strcmp(args[0], "rm") == 0) && n == 3)
		return change(false, args[1], args[2], error);
	g_set_error_literal(
		error, ORCH_ERROR, ORCH_ERROR_USAGE,
		"forward add VM|NETWORK FORWARD, forward rm VM|NETWORK FORWARD, or forward list [VM|NETWORK]");
	return -1;
}

const struct cmd cmd_forward = {
	.name = "forward",
	.args = "add|rm|list [VM|NETWORK [FORWARD]]",
	.summary = "Add, remove or list ways between the host and a VM",
	.help = "    forward add n1 tcp:127.0.0.1:2222:22\n"
		"    forward rm n1 tcp:127.0.0.1:2222:22        (or remove)\n"
		"    forward list [VM|NETWORK]\n"
		"\n"
		"By sockets, of a VM: a FORWARD is written as in the lab file, from the listening end to the other:\n"
		"\n"
		"    tcp:127.0.0.1:2222:22       a port of the host leads to vsock port 22 of the VM\n"
		"    unix:/tmp/n1.sock:1234      the same from a Unix socket\n"
		"    8080:tcp:127.0.0.1:80       vsock port 8080 of CID 2, as the VM sees it, leads to\n"
		"                                a port of the host\n"
		"\n"
		"By the network, of one with a NAT uplink:\n"
		"\n"
		"    tcp:127.0.0.1:2222:n1:22    a port of the host leads to TCP port 22 of VM n1\n"
		"    udp:127.0.0.1:5353:n1:53    the same of UDP\n"
		"\n"
		"What is added holds until it is removed, its VM is taken out of the lab or the lab is\n"
		"down, and so does the removal of what the lab file has; \"forwards\" of a VM and\n"
		"\"forward\" of an uplink in the lab file are for good. A connection that stands goes on\n"
		"when its forward is removed.",
	.options = options,
	.min_args = 1,
	.max_args = 3,
	.arg = CMD_ARG_FORWARD,
	.run = run_forward,
};
