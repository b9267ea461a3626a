/* SPDX-License-Identifier: MIT */
/* orchestrator status: what runs, as a table or as JSON, once or live. */
#include "cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <inttypes.h>
#include <glib-unix.h>

#include "cmd/portals.h"
#include "err.h"
#include "model/fields.h"
#include "model/numbers.h"
#include "out.h"
#include "run/client.h"
#include "run/json.h"
#include "run/ladder.h"
#include "run/report.h"

#define CALL_MS  10000
#define WATCH_MS 1000

static char *opt_lab;
static gboolean opt_json, opt_watch;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Print JSON: one document, with --watch one a line", NULL },
	{ "watch", 'w', 0, G_OPTION_ARG_NONE, &opt_watch,
	  "Print it again at every change, until Ctrl-C", NULL },
	G_OPTION_ENTRY_NULL,
};

/* --- getting it ------------------------------------------------------------------------------------------- */

/* From the supervisor, or without one from what it left. */
static struct json_object *get_bare_report(const char *name, struct client **c, GError **error)
{
	struct json_object *report = NULL;

	if (*c && (*c)->lost) {
		client_free(*c);
		*c = NULL;
	}
	if (!*c) {
		g_autoptr(GError) problem = NULL;

		*c = client_connect(name, &problem);
		if (problem) {
			g_propagate_error(error, g_steal_pointer(&problem));
			return NULL;
		}
	}
	if (*c && client_call(*c, "status", NULL, CALL_MS, &report, (*c)->lost ? NULL : error))
		return report;
	if (*c)
		return NULL;
	return report_from_files(name);
}

/* With what the daemons of portals say. */
static struct json_object *get_report(const char *name, struct client **c, GError **error)
{
	struct json_object *report = get_bare_report(name, c, error);

	if (report)
		portals_ask(report);
	return report;
}

/* --- showing it ------------------------------------------------------------------------------------------- */

static enum out_style style_of(const char *stage)
{
	if (g_strcmp0(stage, "ready") == 0 || g_strcmp0(stage, "running") == 0)
		return OUT_GOOD;
	if (g_strcmp0(stage, "failed") == 0)
		return OUT_BAD;
	return OUT_PLAIN;
}

static char *elapsed_member(struct json_object *o, const char *key)
{
	int64_t ms = json_int(o, key, -1);

	return ms < 0 ? NULL : out_elapsed(ms * 1000);
}

static char *addresses(struct json_object *vm)
{
	struct json_object *nics = json_member(vm, "nics", json_type_array);
	GString *s = g_string_new(NULL);

	for (size_t i = 0; nics && i < json_object_array_length(nics); i++) {
		const char *ip = json_str(json_object_array_get_idx(nics, i), "ip");

		if (ip)
			g_string_append_printf(s, "%s%s", s->len ? " " : "", ip);
	}
	return g_string_free(s, s->len == 0);
}

/* "lossy", "loss 5%", "down"; both directions if they differ: "wan / loss 5%".  g_free(). */
static char *link_words(struct json_object *link)
{
	static const char *const sides[] = { "to-guest", "from-guest" };
	char *words[G_N_ELEMENTS(sides)];
	g_autofree char *to = NULL, *from = NULL;

	for (unsigned i = 0; i < G_N_ELEMENTS(sides); i++) {
		struct json_object *way = json_member(link, sides[i], json_type_object);
		const char *profile = json_str(way, "profile");
		g_autofree char *rest = way ? numbers_words(&field_impairment, way) : NULL;
		bool more = rest && *rest;

		words[i] = g_strdup_printf("%s%s%s", profile ? profile : "",
					   profile && more ? ": " : "", more ? rest : "");
	}
	to = words[0];
	from = words[1];
	if (json_flag(link, "down", false))
		return g_strdup("down");
	if (strcmp(to, from) == 0)
		return g_steal_pointer(&to);
	return g_strdup_printf("%s / %s", *to ? to : "-", *from ? from : "-");
}

/* Of each NIC or uplink of the list; "" if none does anything.  g_free(). */
static char *links_words(struct json_object *list)
{
	GString *s = g_string_new(NULL);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		struct json_object *link = json_member(o, "link", json_type_object);
		g_autofree char *words = link ? link_words(link) : NULL;

		if (words && *words)
			g_string_append_printf(s, "%s%s", s->len ? "; " : "", words);
	}
	return g_string_free(s, FALSE);
}

static const char *note(struct json_object *vm)
{
	static char text[512];
	const char *stage = json_str(vm, "stage");

	if (json_str(vm, "reason"))
		return json_str(vm, "reason");
	if (json_flag(vm, "paused", false))
		return "paused, by another user of libvirt";
	if (json_flag(vm, "needs-restart", false))
		return "needs a restart to take its new settings";
	if (json_str(vm, "waits-for") && stage_on_its_way(stage_from_word(stage))) {
		g_snprintf(text, sizeof(text), "waits for %s", json_str(vm, "waits-for"));
		return text;
	}
	return "";
}

/* The agent's state; what the sockets are where there is none to have one. */
static const char *agent(struct json_object *vm)
{
	struct json_object *sockets = json_member(vm, "sockets", json_type_object);
	const char *kind = json_str(sockets, "kind"), *state = json_str(sockets, "agent");

	if (g_strcmp0(kind, "none") == 0)
		return "no sockets";
	return state && strcmp(state, "unknown") != 0 ? state : "";
}

/* A table without the column `at`, where no row has anything to say in it. */
static struct out_table *table_without(const char *const *headings, unsigned n, int at)
{
	const char *kept[16];
	unsigned n_kept = 0;

	for (unsigned i = 0; i < n; i++)
		if ((int)i != at)
			kept[n_kept++] = headings[i];
	return out_table_new(kept, n_kept);
}

static void row_without(struct out_table *t, const char **cells, unsigned n, int at)
{
	for (unsigned i = at < 0 ? n : (unsigned)at; i + 1 < n; i++)
		cells[i] = cells[i + 1];
	out_table_row(t, cells);
}

/* Whether any VM has a link that does something. */
static bool any_link(struct json_object *vms)
{
	for (size_t i = 0; i < json_object_array_length(vms); i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		g_autofree char *words = links_words(json_member(vm, "nics", json_type_array));

		if (*words)
			return true;
	}
	return false;
}

static void print_vms(struct json_object *vms)
{
	static const char *const headings[] = { "VM",    "STAGE",   "UPTIME", "BOOTED IN",
						"AGENT", "ADDRESS", "LINK",   "" };
	int without = any_link(vms) ? -1 : 6;
	struct out_table *t = table_without(headings, G_N_ELEMENTS(headings), without);

	for (size_t i = 0; i < json_object_array_length(vms); i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		g_autofree char *uptime = elapsed_member(vm, "uptime-ms");
		g_autofree char *booted = elapsed_member(vm, "ready-after-ms");
		g_autofree char *where = addresses(vm);
		g_autofree char *links = links_words(json_member(vm, "nics", json_type_array));
		const char *cells[] = { json_str(vm, "name"),
					json_str(vm, "stage"),
					uptime,
					booted,
					agent(vm),
					where,
					links,
					note(vm) };

		row_without(t, cells, G_N_ELEMENTS(cells), without);
		out_table_style(t, 1, style_of(cells[1]));
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

/* "nat", "tap (down), vxlan (loss 5%)"; g_free(). */
static char *uplink_words(struct json_object *list)
{
	GString *s = g_string_new(NULL);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		struct json_object *link = json_member(o, "link", json_type_object);
		bool down = g_strcmp0(json_str(o, "state"), "down") == 0;
		g_autofree char *words = link ? link_words(link) : g_strdup("");

		g_string_append_printf(s, "%s%s", s->len ? ", " : "", json_str(o, "name"));
		if (down || *words)
			g_string_append_printf(s, " (%s)", down ? "down" : words);
	}
	return g_string_free(s, FALSE);
}

static bool any_uplink(struct json_object *nets)
{
	bool any = false;

	for (size_t i = 0; i < json_object_array_length(nets); i++) {
		struct json_object *net = json_object_array_get_idx(nets, i);
		struct json_object *list = json_member(net, "uplinks", json_type_array);

		any |= list && json_object_array_length(list) > 0;
	}
	return any;
}

static void print_networks(struct json_object *nets)
{
	static const char *const headings[] = { "NETWORK", "SWITCH",   "SUBNET", "UPLINKS",
						"PORTS",   "RESTARTS", "" };
	int without = any_uplink(nets) ? -1 : 3;
	struct out_table *t = table_without(headings, G_N_ELEMENTS(headings), without);

	for (size_t i = 0; i < json_object_array_length(nets); i++) {
		struct json_object *net = json_object_array_get_idx(nets, i);
		struct json_object *ports = json_member(net, "ports", json_type_array);
		g_autofree char *n_ports =
			g_strdup_printf("%zu", ports ? json_object_array_length(ports) : 0);
		g_autofree char *restarts =
			g_strdup_printf("%" PRId64, json_int(net, "restarts", 0));
		g_autofree char *out = uplink_words(json_member(net, "uplinks", json_type_array));
		const char *reason = json_str(net, "reason");
		const char *cells[] = { json_str(net, "name"),
					json_str(net, "stage"),
					json_str(net, "subnet"),
					out,
					n_ports,
					restarts,
					reason ? reason : "" };

		row_without(t, cells, G_N_ELEMENTS(cells), without);
		out_table_style(t, 1, style_of(cells[1]));
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

/* "lan, sockets, shared": what a guest has of the lab.  g_free(). */
static char *parts_words(struct json_object *guest)
{
	struct json_object *nics = json_member(guest, "nics", json_type_array);
	struct json_object *portals = json_member(guest, "portals", json_type_array);
	GString *s = g_string_new(NULL);

	for (size_t i = 0; nics && i < json_object_array_length(nics); i++)
		g_string_append_printf(s, "%s%s", s->len ? ", " : "",
				       json_str(json_object_array_get_idx(nics, i), "network"));
	if (json_member(guest, "sockets", json_type_object))
		g_string_append_printf(s, "%ssockets", s->len ? ", " : "");
	for (size_t i = 0; portals && i < json_object_array_length(portals); i++)
		g_string_append_printf(s, "%s%s", s->len ? ", " : "",
				       json_str(json_object_array_get_idx(portals, i), "portal"));
	return g_string_free(s, FALSE);
}

static void print_guests(struct json_object *guests)
{
	static const char *const headings[] = { "GUEST", "STAGE", "HAS", "ADDRESS", "MONITOR", "" };
	struct out_table *t = out_table_new(headings, G_N_ELEMENTS(headings));

	for (size_t i = 0; i < json_object_array_length(guests); i++) {
		struct json_object *guest = json_object_array_get_idx(guests, i);
		g_autofree char *parts = parts_words(guest), *where = addresses(guest);
		const char *reason = json_str(guest, "reason");
		const char *cells[] = {
			json_str(guest, "name"),       json_str(guest, "stage"), parts, where,
			json_str(guest, "qmp-socket"), reason ? reason : ""
		};

		out_table_row(t, cells);
		out_table_style(t, 1,
				strcmp(cells[1], "attached") == 0 ? OUT_GOOD : style_of(cells[1]));
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

/* One line, and only when there is more to say than that it runs. */
static void print_sockets(struct json_object *sockets)
{
	const char *stage = json_str(sockets, "stage"), *reason = json_str(sockets, "reason");
	int64_t restarts = json_int(sockets, "restarts", 0);

	if (restarts == 0 && g_strcmp0(stage, "running") == 0)
		return;
	printf("\nsockets: %s, restarts: %" PRId64 "%s%s\n", stage, restarts, reason ? ", " : "",
	       reason ? reason : "");
}

static void print_text(struct json_object *report)
{
	struct json_object *vms = json_member(report, "vms", json_type_array);
	struct json_object *nets = json_member(report, "networks", json_type_array);
	struct json_object *portals = json_member(report, "portals", json_type_array);
	struct json_object *guests = json_member(report, "guests", json_type_array);
	struct json_object *supervisor = json_member(report, "supervisor", json_type_object);
	const char *state = json_str(report, "state"), *path = json_str(report, "path");
	bool gone = g_strcmp0(json_str(supervisor, "state"), "running") != 0;

	printf("lab %s%s%s is %s%s%s\n", out_style(stdout, OUT_BOLD), json_str(report, "name"),
	       out_style(stdout, OUT_PLAIN), state, path ? ", from " : "", path ? path : "");
	if (json_str(report, "damage"))
		out_warning("%s: what runs is told by its sockets", json_str(report, "damage"));
	if (json_str(report, "problem"))
		out_warning("%s", json_str(report, "problem"));
	if (strcmp(state, "down") != 0 && gone)
		printf("its supervisor is gone, what it started goes on; run `orchestrator up` to take it over\n");
	if (json_object_array_length(vms) > 0) {
		putchar('\n');
		print_vms(vms);
	}
	if (guests && json_object_array_length(guests) > 0) {
		putchar('\n');
		print_guests(guests);
	}
	if (json_object_array_length(nets) > 0) {
		putchar('\n');
		print_networks(nets);
	}
	if (portals && json_object_array_length(portals) > 0) {
		putchar('\n');
		portals_print(portals);
	}
	if (strcmp(state, "down") != 0 && json_member(report, "sockets", json_type_object))
		print_sockets(json_member(report, "sockets", json_type_object));
}

static void print_report(struct json_object *report)
{
	if (opt_json && opt_watch)
		out_json_line(json_object_get(report));
	else if (opt_json)
		out_json(json_object_get(report));
	else
		print_text(report);
}

/* --- live ------------------------------------------------------------------------------------------------- */

struct watching {
	bool stop;
	bool due;
	char *last; /* the stages as printed last */
};

static gboolean on_signal(gpointer p)
{
	((struct watching *)p)->stop = true;
	return G_SOURCE_CONTINUE;
}

static gboolean on_timer(gpointer p)
{
	((struct watching *)p)->due = true;
	return G_SOURCE_CONTINUE;
}

static void on_event(struct json_object *event, void *data)
{
	((struct watching *)data)->due = true;
}

/* What a change is: anything but the time that passes. */
static char *without_time(struct json_object *report)
{
	auto_json copy = NULL;
	struct json_object *vms;

	json_object_deep_copy(report, &copy, NULL);
	vms = json_member(copy, "vms", json_type_array);
	for (size_t i = 0; vms && i < json_object_array_length(vms); i++)
		json_object_object_del(json_object_array_get_idx(vms, i), "uptime-ms");
	return g_strdup(json_object_to_json_string(copy));
}

static void show(struct watching *w, struct json_object *report)
{
	bool live = out_is_terminal(stdout) && !opt_json;
	g_autofree char *now = without_time(report);

	if (!live && w->last && strcmp(w->last, now) == 0)
		return;
	if (live)
		fputs("\033[H\033[J", stdout);
	else if (w->last && !opt_json)
		putchar('\n');
	print_report(report);
	fflush(stdout);
	g_free(w->last);
	w->last = g_steal_pointer(&now);
}

static int watch(const char *name, GError **error)
{
	struct watching w = { .due = true };
	guint interrupt = g_unix_signal_add(SIGINT, on_signal, &w);
	guint terminate = g_unix_signal_add(SIGTERM, on_signal, &w);
	guint timer = g_timeout_add(WATCH_MS, on_timer, &w);
	struct client *c = NULL;
	int code = 0;

	while (!w.stop && code == 0) {
		auto_json report = NULL;

		if (!w.due) {
			g_main_context_iteration(NULL, TRUE);
			continue;
		}
		w.due = false;
		report = get_report(name, &c, error);
		if (c && !c->event) {
			c->event = on_event;
			c->data = &w;
			rpc_client_call_sync(c->rpc, "subscribe", NULL, CALL_MS, NULL, NULL);
		}
		if (report)
			show(&w, report);
		else
			code = -1;
	}
	client_free(c);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	g_source_remove(timer);
	g_free(w.last);
	return code;
}

static int run_status(char **args, GError **error)
{
	g_autofree char *name = NULL;
	struct client *c = NULL;
	auto_json report = NULL;

	if (opt_lab && args[0]) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "either --lab or an argument names the lab");
		return -1;
	}
	name = cmd_lab_name(opt_lab ? opt_lab : args[0], error);
	if (!name)
		return -1;
	if (opt_watch)
		return watch(name, error);
	report = get_report(name, &c, error);
	client_free(c);
	if (!report)
		return -1;
	print_report(report);
	return 0;
}

const struct cmd cmd_status = {
	.name = "status",
	.args = "[LAB]",
	.summary = "Show what runs of a lab and how far each VM is",
	.help = "A VM's stage is planned, starting, process, qmp, negotiated, ready, stopping,\n"
		"stopped or failed; the last column says what it waits for, or why it ended.\n"
		"\n"
		"Without a supervisor (it was killed, or the lab is down) it shows what the\n"
		"supervisor has left and what of it still runs, and says so. The exit status is 0\n"
		"whatever the lab's state; scripts read \"state\" in the JSON.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run_status,
};
