/* SPDX-License-Identifier: MIT */
/* orchestrator link: what links do to frames, shown and changed while the lab runs. */
#include "cmd.h"

#include <inttypes.h>
#include <string.h>

#include "cmd/duration.h"
#include "cmd/switches.h"
#include "err.h"
#include "model/fields.h"
#include "model/lab.h"
#include "model/numbers.h"
#include "out.h"
#include "run/json.h"
#include "run/state.h"
#include "run/state_guest.h"

static char *opt_lab, *opt_for, *opt_direction;
static gboolean opt_json, opt_replace;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "for", 'f', 0, G_OPTION_ARG_STRING, &opt_for,
	  "set, profile, down: go back by itself after that time", "TIME" },
	{ "direction", 'd', 0, G_OPTION_ARG_STRING, &opt_direction,
	  "set, profile, reset: to-guest or from-guest alone", "DIRECTION" },
	{ "replace", 0, 0, G_OPTION_ARG_NONE, &opt_replace,
	  "set: begin with a link that does nothing, instead of adding to what holds", NULL },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "list, show: print JSON instead of text",
	  NULL },
	G_OPTION_ENTRY_NULL,
};

/* --- showing -------------------------------------------------------------------------------------------------------- */

/* "lossy: loss 5%, down" of one direction as the switch tells it; g_free(). */
static char *way_words(struct json_object *link, const char *direction)
{
	struct json_object *way = json_member(link, direction, json_type_object);
	struct json_object *settings = json_member(way, "settings", json_type_object), *seed;
	const char *profile = json_str(way, "profile"), *qos = json_str(way, "qos");
	GString *out = g_string_new(NULL);
	auto_json shown = NULL;
	g_autofree char *words = NULL;

	/* The seed is always there, to repeat a run: `show --json` has it. */
	if (settings)
		json_object_deep_copy(settings, &shown, NULL);
	if (json_object_object_get_ex(shown, "seed", &seed))
		json_object_object_del(shown, "seed");
	words = shown ? numbers_words(&field_impairment, shown) : g_strdup("");
	if (profile && strcmp(profile, "default") != 0)
		g_string_append_printf(out, "%s%s", profile, *words ? ": " : "");
	g_string_append(out, words);
	if (qos)
		g_string_append_printf(out, "%sqos %s", out->len ? ", " : "", qos);
	if (json_int(way, "reverts-in-ns", 0) > 0) {
		g_autofree char *left = out_elapsed(json_int(way, "reverts-in-ns", 0) / 1000);

		g_string_append_printf(out, " (for %s)", left);
	}
	return g_string_free(out, FALSE);
}

/* The link of that port in what link.list says; NULL: it is not there. */
static struct json_object *find_link(struct json_object *result, const char *port)
{
	struct json_object *links = json_member(result, "links", json_type_array);

	for (size_t i = 0; links && i < json_object_array_length(links); i++) {
		struct json_object *link = json_object_array_get_idx(links, i);

		if (g_strcmp0(json_str(link, "port"), port) == 0)
			return link;
	}
	return NULL;
}

/* With what the lab calls it. */
static struct json_object *named_link(struct json_object *link, const struct link_ref *ref)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "link", ref->uplink ? NULL : ref->port);
	if (ref->uplink) {
		g_autofree char *name = g_strdup_printf("%s:%s", ref->network->name, ref->port);

		json_put_str(o, "link", name);
	}
	json_put_str(o, "network", ref->network->name);
	json_put_str(o, "vm", ref->vm ? ref->vm->name : NULL);
	json_put_str(o, "guest", ref->guest);
	json_object_object_foreach(link, key, value)
		json_object_object_add(o, key, json_object_get(value));
	return o;
}

static void add_row(struct out_table *t, struct json_object *link)
{
	bool up = json_flag(link, "up", true);
	g_autofree char *to = way_words(link, "to-guest"), *from = way_words(link, "from-guest");
	bool same = *to && strcmp(to, from) == 0;
	const char *cells[] = { json_str(link, "link"), json_str(link, "network"),
				up ? "up" : "down", to, same ? "the same" : from };

	out_table_row(t, cells);
	out_table_style(t, 2, up ? OUT_GOOD : OUT_BAD);
}

/* Of struct json_object. */
static void json_free(void *o)
{
	json_object_put(o);
}

/* The cards of guests on a network. */
static void list_guests(const struct links_of *l, const struct network *n,
			struct json_object *result, GPtrArray *list)
{
	for (guint i = 0; l->state && i < l->state->guests->len; i++) {
		const GPtrArray *nics =
			((const struct state_guest *)l->state->guests->pdata[i])->nics;

		for (guint j = 0; j < nics->len; j++) {
			const char *port = ((const struct guest_nic *)nics->pdata[j])->port;
			struct json_object *link = find_link(result, port);
			struct link_ref ref;

			if (link && links_find(l, port, &ref, NULL) && ref.network == n)
				g_ptr_array_add(list, named_link(link, &ref));
		}
	}
}

/* All links of a network, in the order of the file, then those of guests, added to list. */
static gboolean list_network(const struct links_of *l, const struct network *n, GPtrArray *list,
			     GError **error)
{
	g_autoptr(GPtrArray) nics = lab_network_nics(l->lab, n);
	auto_json result = NULL;

	if (!switch_ask(l, n->name, "link.list", NULL, &result, error))
		return FALSE;
	for (guint i = 0; i < nics->len + n->uplinks->len; i++) {
		const char *port = i < nics->len ? ((const struct nic *)nics->pdata[i])->port :
						   network_uplink(n, i - nics->len)->port;
		struct json_object *link = find_link(result, port);
		struct link_ref ref;

		if (link && lab_find_link(l->lab, n, port, &ref, NULL))
			g_ptr_array_add(list, named_link(link, &ref));
	}
	list_guests(l, n, result, list);
	return TRUE;
}

static int list(const struct links_of *l, const char *only, GError **error)
{
	static const char *const headings[] = { "LINK", "NETWORK", "STATE", "TO GUEST",
						"FROM GUEST" };
	g_autoptr(GPtrArray) links = g_ptr_array_new_with_free_func(json_free);
	struct out_table *t;

	if (only && !lab_find_network(l->lab, only)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "lab %s has no network \"%s\"",
			    l->lab_name, only);
		return -1;
	}
	for (guint i = 0; i < l->lab->networks->len; i++) {
		const struct network *n = lab_network(l->lab, i);

		if ((!only || strcmp(n->name, only) == 0) && !list_network(l, n, links, error))
			return -1;
	}
	if (opt_json) {
		struct json_object *all = json_object_new_array();

		for (guint i = 0; i < links->len; i++)
			json_object_array_add(all, json_object_get(links->pdata[i]));
		out_json(all);
		return 0;
	}
	t = out_table_new(headings, G_N_ELEMENTS(headings));
	for (guint i = 0; i < links->len; i++)
		add_row(t, links->pdata[i]);
	out_table_print(t, stdout);
	out_table_free(t);
	return 0;
}

static struct json_object *get_link(const struct links_of *l, const struct link_ref *ref,
				    GError **error)
{
	struct json_object *params = json_object_new_object(), *named;
	auto_json result = NULL;

	json_put_str(params, "port", ref->port);
	if (!switch_ask(l, ref->network->name, "link.get", params, &result, error))
		return NULL;
	named = named_link(result, ref);
	return named;
}

/* Counters that say something, one a line. */
static void print_counters(struct json_object *way)
{
	struct json_object *counters = json_member(way, "counters", json_type_object);

	if (!counters)
		return;
	json_object_object_foreach(counters, key, value)
	{
		if (json_object_get_int64(value) != 0)
			printf("  %-16s %" PRId64 "\n", key, json_object_get_int64(value));
	}
}

static int show(const struct links_of *l, const struct link_ref *ref, GError **error)
{
	auto_json link = get_link(l, ref, error);

	if (!link)
		return -1;
	if (opt_json) {
		out_json(json_object_get(link));
		return 0;
	}
	printf("%s on %s is %s\n", json_str(link, "link"), ref->network->name,
	       json_flag(link, "up", true) ? "up" : "down");
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		const char *direction = lab_direction_name((enum lab_direction)i);
		g_autofree char *words = way_words(link, direction);

		printf("%s: %s\n", direction, *words ? words : "nothing");
		print_counters(json_member(link, direction, json_type_object));
	}
	return 0;
}

/* --- changing ------------------------------------------------------------------------------------------------------- */

/* --for, in the switch's unit; 0: it was not said. */
static gboolean read_for(gint64 *ret_ns, GError **error)
{
	gint64 ms = 0;

	if (opt_for && (!duration_parse(opt_for, &ms) || ms == 0)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--for: \"%s\" is not a time: write it like 30s", opt_for);
		return FALSE;
	}
	*ret_ns = ms * 1000000;
	return TRUE;
}

static struct json_object *new_params(const char *word)
{
	struct json_object *params = json_object_new_object();

	json_put_str(params, "link", word);
	json_put_str(params, "direction", opt_direction);
	return params;
}

static int tell(const struct links_of *l, const char *method, struct json_object *params,
		GError **error)
{
	gint64 for_ns;

	if (!read_for(&for_ns, error)) {
		json_object_put(params);
		return -1;
	}
	if (for_ns)
		json_put_int(params, "for-ns", for_ns);
	return links_tell(l, method, params, NULL, error) ? 0 : -1;
}

static int set(const struct links_of *l, const char *word, char **words, GError **error)
{
	struct json_object *settings = NULL, *params;

	if (!numbers_from_words(&field_impairment, words, &settings, error)) {
		g_prefix_error(error, "link %s: ", word);
		return -1;
	}
	params = new_params(word);
	json_object_object_add(params, "settings", settings);
	if (opt_replace)
		json_put_bool(params, "replace", true);
	return tell(l, "link.set", params, error);
}

static int profile(const struct links_of *l, const char *word, const char *name, GError **error)
{
	struct json_object *params = new_params(word);

	json_put_str(params, "profile", name);
	return tell(l, "link.set", params, error);
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *word, *more;
	bool timed, directed; /* --for and --direction mean something */
} forms[] = {
	{ "list", "[NETWORK]", false, false },
	{ "show", "LINK", false, false },
	{ "set", "LINK KEY=VALUE...", true, true },
	{ "profile", "LINK NAME", true, true },
	{ "reset", "LINK", false, true },
	{ "down", "LINK", true, false },
	{ "up", "LINK", false, false },
};

/* What is wrong with the words, once none of the forms has fitted. */
static void explain(const char *word, GError **error)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
		if (strcmp(forms[i].word, word) != 0)
			continue;
		if (opt_for && !forms[i].timed)
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "--for goes with set, profile and down, not with %s", word);
		else if (opt_direction && !forms[i].directed)
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "--direction goes with set, profile and reset, not with %s",
				    word);
		else
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "usage: orchestrator link %s %s", word, forms[i].more);
		return;
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "\"%s\" is none of list, show, set, profile, reset, down and up", word);
}

static int change(const struct links_of *l, char **args, unsigned n, GError **error)
{
	const char *what = args[0];

	if (strcmp(what, "set") == 0 && (n > 2 || opt_replace))
		return set(l, args[1], args + 2, error);
	if (strcmp(what, "profile") == 0 && n == 3)
		return profile(l, args[1], args[2], error);
	if (strcmp(what, "reset") == 0 && n == 2 && !opt_for)
		return tell(l, "link.reset", new_params(args[1]), error);
	if (!opt_direction && strcmp(what, "down") == 0 && n == 2)
		return tell(l, "link.down", new_params(args[1]), error);
	if (!opt_direction && strcmp(what, "up") == 0 && n == 2 && !opt_for)
		return tell(l, "link.up", new_params(args[1]), error);
	explain(what, error);
	return -1;
}

static int run_link(char **args, GError **error)
{
	struct links_of l = { 0 };
	unsigned n = g_strv_length(args);
	struct link_ref ref;
	int code = -1;

	if (!links_open(opt_lab, &l, error))
		return -1;
	if (strcmp(args[0], "list") == 0 && n <= 2)
		code = list(&l, args[1], error);
	else if (n >= 2 && !links_find(&l, args[1], &ref, error))
		code = -1;
	else if (strcmp(args[0], "show") == 0 && n == 2)
		code = show(&l, &ref, error);
	else
		code = change(&l, args, n, error);
	links_close(&l);
	return code;
}

const struct cmd cmd_link = {
	.name = "link",
	.args = "list|show|set|profile|reset|down|up [LINK [WORD...]]",
	.summary = "Show and change what links do to frames: delay, loss, rate, up and down",
	.help = "    link list [NETWORK]              every link, and what it does\n"
		"    link show LINK                   one of them, with its counters\n"
		"    link set LINK KEY=VALUE...       delay=20ms loss=2% rate=10mbit gemodel.p=1%: the\n"
		"                                     keys of an impairment in the lab file; what is not\n"
		"                                     named stays\n"
		"    link profile LINK NAME           all that a profile says: constrained, lossy, wan,\n"
		"                                     satellite, wifi, the lab's own; default: nothing\n"
		"    link reset LINK                  as the lab file has it\n"
		"    link down LINK, link up LINK     pull the plug, put it in again\n"
		"\n"
		"LINK is a VM (its only NIC), VM.0 (its first), VM:NETWORK, a guest that is attached in the\n"
		"same words, or an uplink by its network: NETWORK:nat. What is changed holds until it is\n"
		"reset, or the lab file says something else about that link, or the lab goes down.",
	.options = options,
	.min_args = 1,
	.max_args = 64,
	.arg = CMD_ARG_LINK,
	.run = run_link,
};
