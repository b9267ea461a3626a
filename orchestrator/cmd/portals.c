/* SPDX-License-Identifier: MIT */
#include "cmd/portals.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "out.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/watch.h"

#define CALL_MS 2000

/* --- asking --------------------------------------------------------------------------------------------------------- */

/* What is worth telling of the daemon's "info" and "stats". */
static struct json_object *use_of(struct json_object *info, struct json_object *stats)
{
	struct json_object *o = json_object_new_object(),
			   *quiesce = json_member(info, "quiesce", json_type_object);
	int64_t extents = json_int(info, "extents", 0), free = json_int(info, "free", 0);

	json_put_int(o, "arena-mib", extents * 2);
	json_put_int(o, "free-mib", free * 2);
	json_put_int(o, "quarantined-mib", json_int(info, "quarantined", 0) * 2);
	json_put_int(o, "leases", json_int(info, "leases", 0));
	json_put_int(o, "names", json_int(info, "names", 0));
	json_put_int(o, "recovered-leases", json_int(stats, "recovered", 0));
	json_put_int(o, "recovered-mib", json_int(stats, "recovered_extents", 0) * 2);
	json_put_str(o, "state", json_str(quiesce, "state"));
	json_put_bool(o, "durable", json_flag(info, "durable", false));
	if (json_int(info, "flush-error", 0))
		json_put_int(o, "flush-error", json_int(info, "flush-error", 0));
	return o;
}

static void ask(struct json_object *portal)
{
	auto_json info = NULL;
	auto_json stats = NULL;
	const char *path = json_str(portal, "control-socket");
	int fd = path && g_strcmp0(json_str(portal, "stage"), "running") == 0 ? dial_now(path) : -1;
	struct rpc_client *rpc;

	if (fd < 0)
		return;
	rpc = rpc_client_new(fd, NULL, NULL, NULL);
	if (rpc_client_call_sync(rpc, "info", NULL, CALL_MS, &info, NULL) &&
	    rpc_client_call_sync(rpc, "stats", NULL, CALL_MS, &stats, NULL))
		json_object_object_add(portal, "use", use_of(info, stats));
	rpc_client_free(rpc);
}

void portals_ask(struct json_object *report)
{
	struct json_object *list = json_member(report, "portals", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		ask(json_object_array_get_idx(list, i));
}

/* --- showing -------------------------------------------------------------------------------------------------------- */

/* "12", "12 MiB"; NULL (shown as nothing is) where it is not known. */
static char *number(struct json_object *use, const char *key, const char *unit)
{
	return use ? g_strdup_printf("%" PRId64 "%s", json_int(use, key, 0), unit) : NULL;
}

/* "left, right, looker (ro)"; g_free(). */
static char *vms_words(struct json_object *list)
{
	GString *s = g_string_new(NULL);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		bool readonly = g_strcmp0(json_str(o, "mode"), "ro") == 0;

		g_string_append_printf(s, "%s%s%s", s->len ? ", " : "", json_str(o, "vm"),
				       readonly ? " (ro)" : "");
	}
	return g_string_free(s, FALSE);
}

/* What somebody has to know, the worst first. */
static const char *note(struct json_object *portal, struct json_object *use)
{
	const char *state = json_str(use, "state");

	if (json_str(portal, "reason"))
		return json_str(portal, "reason");
	if (json_int(use, "flush-error", 0))
		return "a flush has failed: nothing is durable any more";
	if (json_flag(portal, "needs-restart", false))
		return "to be made anew: stop its VMs, then `orchestrator up`";
	if (state && strcmp(state, "running") != 0)
		return state;
	return use && !json_flag(use, "durable", false) ? "not durable" : "";
}

static void print_one(struct out_table *t, struct json_object *portal)
{
	struct json_object *use = json_member(portal, "use", json_type_object);
	const char *stage = json_str(portal, "stage");
	g_autofree char *size = number(use, "arena-mib", " MiB");
	g_autofree char *left = number(use, "free-mib", " MiB");
	g_autofree char *leases = number(use, "leases", "");
	g_autofree char *names = number(use, "names", "");
	g_autofree char *recovered = number(use, "recovered-leases", "");
	g_autofree char *vms = vms_words(json_member(portal, "vms", json_type_array));
	g_autofree char *restarts = g_strdup_printf("%" PRId64, json_int(portal, "restarts", 0));
	const char *cells[] = { json_str(portal, "name"),
				stage,
				vms,
				size,
				left,
				leases,
				names,
				recovered,
				restarts,
				note(portal, use) };

	out_table_row(t, cells);
	out_table_style(t, 1,
			g_strcmp0(stage, "running") == 0 ? OUT_GOOD :
			g_strcmp0(stage, "failed") == 0  ? OUT_BAD :
							   OUT_PLAIN);
}

void portals_print(struct json_object *portals)
{
	static const char *const headings[] = { "PORTAL", "DAEMON", "VMS",       "SIZE",     "FREE",
						"LEASES", "NAMES",  "RECOVERED", "RESTARTS", "" };
	struct out_table *t = out_table_new(headings, G_N_ELEMENTS(headings));

	for (size_t i = 0; i < json_object_array_length(portals); i++)
		print_one(t, json_object_array_get_idx(portals, i));
	out_table_print(t, stdout);
	out_table_free(t);
}
