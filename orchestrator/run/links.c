/* SPDX-License-Identifier: MIT */
/* What clients ask about links and NAT forwards of a running lab: each call is passed on to the switch, and what it takes
 * is kept in place of what the lab file says (network.c), so that no restart of switch or supervisor loses it. */
#include "run/supervisor.h"

#include <string.h>

#include "err.h"
#include "model/numbers.h"
#include "render/switch.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/proc.h"
#include "run/state.h"

#define FOR_NS_MAX (G_GINT64_CONSTANT(7) * 24 * 3600 * 1000000000)

/* A call of a client, in sup->link_calls, that waits for a switch. */
struct link_call {
	struct supervisor *sup;
	struct rpc_call *call; /* NULL: it was answered before the switch did */
	unsigned parts;        /* answers still to come */
	char *network, *port;
	/* Once the switch has taken it; frees nothing. */
	void (*done)(struct link_call *c);
	GPtrArray *keys; /* what it is about */
	struct json_object *settings;
	bool replace, taken_back;
	gint64 for_ns;
	char *params; /* forwards: as told */
};

static void link_call_free(void *p)
{
	struct link_call *c = p;

	g_free(c->network);
	g_free(c->port);
	g_ptr_array_unref(c->keys);
	json_object_put(c->settings);
	g_free(c->params);
	g_free(c);
}

GPtrArray *link_calls_new(void)
{
	return g_ptr_array_new_with_free_func(link_call_free);
}

void link_calls_lost(struct supervisor *sup, const char *network, const char *why)
{
	for (guint i = sup->link_calls->len; i-- > 0;) {
		struct link_call *c = sup->link_calls->pdata[i];

		if (network && strcmp(c->network, network) != 0)
			continue;
		if (c->call)
			rpc_fail_text(c->call, ORCH_ERROR_FAILED, "%s", why);
		g_ptr_array_remove_index_fast(sup->link_calls, i);
	}
}

/* --- the switch ----------------------------------------------------------------------------------------------------- */

/* The switch of a network that can be asked; NULL: the call has been answered. */
static struct daemon *switch_of(struct supervisor *sup, struct rpc_call *call, const char *network)
{
	struct daemon *sw = sup_find_switch(sup, network);

	if (sw && sw->stage == DAEMON_RUNNING && sw->rpc)
		return sw;
	rpc_fail_text(call, ORCH_ERROR_FAILED, "the switch of network %s does not run", network);
	return NULL;
}

static struct link_call *call_new(struct supervisor *sup, struct rpc_call *call,
				  const char *network, const char *port,
				  void (*done)(struct link_call *c))
{
	struct link_call *c = g_new0(struct link_call, 1);

	c->sup = sup;
	c->call = call;
	c->network = g_strdup(network);
	c->port = g_strdup(port);
	c->done = done;
	c->keys = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(sup->link_calls, c);
	return c;
}

static struct json_object *subject_of(const struct link_call *c)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "network", c->network);
	json_put_str(o, "port", c->port);
	return o;
}

/* Kept before it is answered: what a client was told holds. */
static void on_answer(struct json_object *result, const GError *error, void *data)
{
	struct link_call *c = data;
	struct rpc_call *call = c->call;

	c->parts--;
	if (error && call)
		rpc_fail(call, error);
	if (error)
		c->call = NULL;
	if (c->parts > 0)
		return;
	if (c->call) {
		c->done(c);
		sup_save_state(c->sup);
		network_compare_again(c->sup, c->network);
		rpc_reply(c->call, subject_of(c));
	}
	g_ptr_array_remove_fast(c->sup->link_calls, c);
}

static void tell(struct link_call *c, const struct daemon *sw, const char *method,
		 struct json_object *params)
{
	c->parts++;
	rpc_client_call(sw->rpc, method, params, on_answer, c);
}

/* --- which link ----------------------------------------------------------------------------------------------------- */

static bool find(struct supervisor *sup, struct rpc_call *call, struct json_object *params,
		 struct link_ref *ret)
{
	const char *text = json_str(params, "link");
	g_autoptr(GError) error = NULL;

	if (!sup->lab) {
		rpc_fail_text(call, ORCH_ERROR_CONFLICT, "lab %s is being taken down", sup->name);
		return false;
	}
	if (text && guests_find_link(sup->guests, sup->lab, text, ret, &error))
		return true;
	rpc_fail_text(call, ORCH_ERROR_USAGE, "%s", error ? error->message : "\"link\" is missing");
	return false;
}

/* The keys of the directions that are meant.  False: the call has been answered. */
static bool read_directions(struct rpc_call *call, struct json_object *params,
			    bool ret_meant[LAB_DIRECTIONS])
{
	const char *said = json_str(params, "direction");
	bool any = false;

	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		ret_meant[i] = !said || strcmp(said, "both") == 0 ||
			       strcmp(said, lab_direction_name((enum lab_direction)i)) == 0;
		any |= ret_meant[i];
	}
	if (!any)
		rpc_fail_text(call, ORCH_ERROR_USAGE,
			      "a direction is to-guest, from-guest or both, not \"%s\"", said);
	return any;
}

static char *link_key(const char *port, unsigned direction)
{
	return g_strdup_printf("link:%s:%s", port,
			       lab_direction_name((enum lab_direction)direction));
}

/* --- set ------------------------------------------------------------------------------------------------------------ */

/* Of the three models of loss the one that is named ends the others, as in the switch. */
static void end_other_losses(struct json_object *base, struct json_object *named)
{
	static const char *const models[] = { "loss", "gemodel", "markov" };
	bool any = false;

	for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
		any |= json_object_object_get_ex(named, models[i], NULL);
	for (unsigned i = 0; any && i < G_N_ELEMENTS(models); i++)
		if (!json_object_object_get_ex(named, models[i], NULL))
			json_object_object_del(base, models[i]);
}

/* base with settings over it, as link.set takes it for one direction; a profile begins anew. */
static char *merged(const char *base, const char *port, const char *direction,
		    struct json_object *settings, bool replace)
{
	auto_json o = NULL;

	if (base && !replace && !json_object_object_get_ex(settings, "profile", NULL))
		o = json_tokener_parse(base);
	if (!o)
		o = render_link_set(port, direction, NULL);
	end_other_losses(o, settings);
	numbers_merge(o, settings);
	return g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void keep_passing(struct state_setting *change, struct link_call *c, const char *direction)
{
	auto_json o = json_object_new_object();
	auto_json was = network_passes(change) ? json_tokener_parse(change->passing) : NULL;

	json_put_str(o, "port", c->port);
	json_put_str(o, "direction", direction);
	if (was)
		numbers_merge(o, was);
	numbers_merge(o, c->settings);
	g_free(change->passing);
	change->passing = g_strdup(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	change->until_us = proc_boottime_us() + c->for_ns / 1000;
}

/* What passes lies over something: a link of which nothing else was said is one that does nothing. */
static void begin_with_nothing(struct link_call *c, struct state_setting *change,
			       const char *direction)
{
	auto_json nothing = json_object_new_object();

	if (change->params)
		return;
	change->params = merged(NULL, c->port, direction, nothing, true);
	network_note_told(c->sup, c->network, change->key, change->params);
}

static void set_done(struct link_call *c)
{
	for (guint i = 0; i < c->keys->len; i++) {
		const char *key = c->keys->pdata[i], *direction = strrchr(key, ':') + 1;
		struct state_setting *change = network_make_change(c->sup, c->network, key);
		char *params;

		if (c->for_ns) {
			keep_passing(change, c, direction);
			begin_with_nothing(c, change, direction);
			continue;
		}
		params = merged(change->params, c->port, direction, c->settings, c->replace);
		g_free(change->params);
		change->params = params;
		network_note_told(c->sup, c->network, key, params);
	}
}

/* What link.set is given besides port and direction.  NULL: the call has been answered. */
static struct json_object *read_settings(struct supervisor *sup, struct rpc_call *call,
					 struct json_object *params)
{
	struct json_object *said = json_member(params, "settings", json_type_object);
	const char *profile = json_str(params, "profile");
	struct json_object *settings = json_object_new_object();
	g_autoptr(GString) known = g_string_new(NULL);
	bool found = !profile;

	for (guint i = 0; i < sup->lab->profiles->len; i++) {
		const struct named *n = sup->lab->profiles->pdata[i];

		found |= profile && strcmp(n->name, profile) == 0;
		g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", n->name);
	}
	if (!found) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "no profile \"%s\" (there are: %s)", profile,
			      known->str);
		json_object_put(settings);
		return NULL;
	}
	json_put_str(settings, "profile", profile);
	if (said)
		numbers_merge(settings, said);
	return settings;
}

void link_method_set(struct supervisor *sup, struct rpc_call *call, struct json_object *params)
{
	gint64 for_ns = json_int(params, "for-ns", 0);
	bool meant[LAB_DIRECTIONS];
	struct json_object *settings;
	const struct daemon *sw;
	struct link_ref link;
	struct link_call *c;

	if (!find(sup, call, params, &link) || !read_directions(call, params, meant))
		return;
	if (for_ns < 0 || for_ns > FOR_NS_MAX) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "\"for-ns\" is out of range");
		return;
	}
	sw = switch_of(sup, call, link.network->name);
	settings = sw ? read_settings(sup, call, params) : NULL;
	if (!settings)
		return;
	c = call_new(sup, call, link.network->name, link.port, set_done);
	c->settings = settings;
	c->replace = json_flag(params, "replace", false);
	c->for_ns = for_ns;
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++)
		if (meant[i])
			g_ptr_array_add(c->keys, link_key(link.port, i));
	/* One call for both directions: the switch takes all of it, or nothing. */
	params = json_object_new_object();
	json_put_str(params, "port", link.port);
	json_put_str(params, "direction",
		     c->keys->len == LAB_DIRECTIONS ?
			     "both" :
			     strrchr((const char *)c->keys->pdata[0], ':') + 1);
	if (c->replace)
		json_put_bool(params, "replace", true);
	if (for_ns)
		json_put_int(params, "for-ns", for_ns);
	numbers_merge(params, settings);
	tell(c, sw, "link.set", params);
}

/* --- reset ---------------------------------------------------------------------------------------------------------- */

/* What link.reset ended, too: it begins anew. */
static void tell_timeline(struct link_call *c, const struct daemon *sw, unsigned direction)
{
	g_autofree char *key = g_strdup_printf("timeline:%s:%s", c->port,
					       lab_direction_name((enum lab_direction)direction));
	g_autofree char *file = network_file_setting(c->sup, c->network, key);

	if (file)
		tell(c, sw, "timeline.set", json_tokener_parse(file));
}

static void reset_done(struct link_call *c)
{
	for (guint i = 0; i < c->keys->len; i++) {
		const char *key = c->keys->pdata[i];
		g_autofree char *file = network_file_setting(c->sup, c->network, key);

		network_forget_change(c->sup, c->network, key);
		network_note_told(c->sup, c->network, key, file);
	}
}

void link_method_reset(struct supervisor *sup, struct rpc_call *call, struct json_object *params)
{
	bool meant[LAB_DIRECTIONS];
	const struct daemon *sw;
	struct link_ref link;
	struct link_call *c;

	if (!find(sup, call, params, &link) || !read_directions(call, params, meant))
		return;
	sw = switch_of(sup, call, link.network->name);
	if (!sw)
		return;
	c = call_new(sup, call, link.network->name, link.port, reset_done);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		g_autofree char *key = link_key(link.port, i), *file = NULL;
		struct json_object *reset;

		if (!meant[i])
			continue;
		file = network_file_setting(sup, c->network, key);
		reset = json_object_new_object();
		json_put_str(reset, "port", link.port);
		json_put_str(reset, "direction", lab_direction_name((enum lab_direction)i));
		g_ptr_array_add(c->keys, g_steal_pointer(&key));
		tell(c, sw, "link.reset", reset);
		if (file)
			tell(c, sw, "link.set", json_tokener_parse(file));
		tell_timeline(c, sw, i);
	}
}

/* --- up and down ---------------------------------------------------------------------------------------------------- */

/* The machine and NIC of a port: n1.0.  NULL: it is an uplink's or a guest's, or does not run. */
static struct machine *machine_of(struct supervisor *sup, const char *port, unsigned *ret_nic)
{
	const char *dot = strrchr(port, '.');
	g_autofree char *vm = dot ? g_strndup(port, (gsize)(dot - port)) : NULL;

	*ret_nic = dot ? (unsigned)g_ascii_strtoull(dot + 1, NULL, 10) : 0;
	return vm ? sup_find_machine(sup, vm) : NULL;
}

static void show_carrier(struct supervisor *sup, const char *port, bool up, bool again)
{
	unsigned nic;
	struct machine *m = machine_of(sup, port, &nic);

	if (m)
		machine_set_carrier(m, nic, up, again);
	else
		guests_set_carrier(sup->guests, port, up, again);
}

/* While it has no daemon, QEMU shows no carrier by itself. */
static bool has_frontend(const struct daemon_item *item)
{
	return item->state && strcmp(item->state, "listening") != 0;
}

void link_show_carriers(struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct daemon *sw = value;

		for (guint i = 0; sw->stage == DAEMON_RUNNING && i < sw->items->len; i++) {
			const struct daemon_item *item = sw->items->pdata[i];

			if (has_frontend(item))
				show_carrier(sup, item->name, !item->link_down, false);
		}
	}
}

static void carrier_done(struct link_call *c)
{
	const char *key = c->keys->pdata[0];
	struct state_setting *change;

	network_forget_change(c->sup, c->network, key);
	network_note_told(c->sup, c->network, key, c->taken_back ? NULL : c->params);
	show_carrier(c->sup, c->port, c->taken_back, true);
	if (c->taken_back)
		return;
	change = network_make_change(c->sup, c->network, key);
	if (c->for_ns) {
		change->passing = g_strdup(c->params);
		change->until_us = proc_boottime_us() + c->for_ns / 1000;
	} else {
		change->params = g_strdup(c->params);
	}
}

void link_method_carrier(struct supervisor *sup, struct rpc_call *call, struct json_object *params,
			 bool up)
{
	gint64 for_ns = json_int(params, "for-ns", 0);
	const struct daemon *sw;
	struct json_object *o;
	struct link_ref link;
	struct link_call *c;

	if (!find(sup, call, params, &link))
		return;
	if (for_ns < 0 || for_ns > FOR_NS_MAX || (up && for_ns)) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "\"for-ns\" is out of range");
		return;
	}
	sw = switch_of(sup, call, link.network->name);
	if (!sw)
		return;
	c = call_new(sup, call, link.network->name, link.port, carrier_done);
	c->for_ns = for_ns;
	c->taken_back = up;
	g_ptr_array_add(c->keys, g_strdup_printf("carrier:%s", link.port));
	o = json_object_new_object();
	json_put_str(o, "name", link.port);
	c->params = g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	tell(c, sw, up ? "port.up" : "port.down", o);
}

/* --- forwards of NAT ------------------------------------------------------------------------------------------------ */

/* The NAT uplink of a network.  NULL: the call has been answered. */
static const struct uplink *nat_of(struct supervisor *sup, struct rpc_call *call, const char *name,
				   const struct network **ret_network)
{
	const struct network *n = sup->lab && name ? lab_find_network(sup->lab, name) : NULL;

	for (guint i = 0; n && i < n->uplinks->len; i++) {
		if (network_uplink(n, i)->type != UPLINK_NAT)
			continue;
		*ret_network = n;
		return network_uplink(n, i);
	}
	if (!n)
		rpc_fail_text(call, ORCH_ERROR_USAGE, "lab %s has no network \"%s\"", sup->name,
			      name ? name : "");
	else
		rpc_fail_text(call, ORCH_ERROR_FAILED,
			      "network %s has no NAT uplink (\"uplink\": {\"type\": \"nat\"})",
			      name);
	return NULL;
}

static void nat_done(struct link_call *c)
{
	const char *key = c->keys->pdata[0];
	struct state_setting *change = network_make_change(c->sup, c->network, key);

	g_free(change->params);
	change->params = c->taken_back ? NULL : g_strdup(c->params);
	network_note_told(c->sup, c->network, key, change->params);
	/* As the file says, or not there as in the file: no change any more. */
	if (g_strcmp0(change->params, change->file) == 0)
		network_forget_change(c->sup, c->network, key);
}

/* Whether it is wanted now. */
static bool is_wanted(const struct supervisor *sup, const char *network, const char *key)
{
	const struct state_setting *change = network_change(sup, network, key);
	g_autofree char *file = network_file_setting(sup, network, key);

	return change ? change->params != NULL : file != NULL;
}

static void tell_nat(struct supervisor *sup, struct rpc_call *call, const struct network *n,
		     const struct uplink *u, const struct nat_forward *f, bool add)
{
	const struct daemon *sw = switch_of(sup, call, n->name);
	g_autofree char *key = g_strdup_printf("forward:%s:%s", u->port, f->text);
	struct json_object *o;
	struct link_call *c;

	if (!sw)
		return;
	if (is_wanted(sup, n->name, key) == add) {
		rpc_fail_text(call, ORCH_ERROR_FAILED,
			      add ? "%s is forwarded already" : "no forward \"%s\"", f->text);
		return;
	}
	c = call_new(sup, call, n->name, u->port, nat_done);
	c->taken_back = !add;
	o = render_nat_forward(u->port, f);
	c->params = g_strdup(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	if (!add)
		json_object_put(o);
	if (!add)
		o = setting_undo_params(setting_kind_of(key), c->params);
	g_ptr_array_add(c->keys, g_steal_pointer(&key));
	tell(c, sw, add ? "forward.add" : "forward.remove", o);
}

void link_method_nat(struct supervisor *sup, struct rpc_call *call, struct json_object *params,
		     bool add)
{
	const char *text = json_str(params, "forward");
	const struct network *n = NULL;
	const struct uplink *u = nat_of(sup, call, json_str(params, "network"), &n);
	struct nat_forward *f = NULL;
	g_autofree char *fault = NULL;

	if (!u)
		return;
	fault = nat_forward_parse(sup->lab, n, text ? text : "", &f);
	if (fault) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "\"%s\": %s", text ? text : "", fault);
		return;
	}
	tell_nat(sup, call, n, u, f, add);
	nat_forward_free(f);
}

/* One line of the list. */
static void list_forward(struct supervisor *sup, struct json_object *list, const char *network,
			 const char *key, const char *origin)
{
	struct json_object *o = json_object_new_object();
	const char *text = strchr(strchr(key, ':') + 1, ':') + 1;
	g_autofree char *told = network_text_told(sup, network);
	g_autofree char *line = g_strdup_printf("%s ", key);
	g_autofree char *problem = network_problem(sup, network);

	json_put_str(o, "network", network);
	json_put_str(o, "forward", text);
	json_put_str(o, "origin", origin);
	json_put_bool(o, "active", strstr(told, line) && !(problem && strstr(problem, key)));
	json_object_array_add(list, o);
}

static void list_network(struct supervisor *sup, const struct network *n, struct json_object *list)
{
	g_autoptr(GPtrArray) settings = render_switch_settings(sup->lab, n);
	GHashTableIter iter;
	gpointer value;

	for (guint i = 0; i < settings->len; i++) {
		const struct setting *s = settings->pdata[i];

		if (g_str_has_prefix(s->key, "forward:") && is_wanted(sup, n->name, s->key))
			list_forward(sup, list, n->name, s->key, "file");
	}
	g_hash_table_iter_init(&iter, sup->changed_settings);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct state_setting *c = value;

		if (strcmp(c->network, n->name) == 0 && g_str_has_prefix(c->key, "forward:") &&
		    c->params && !c->file)
			list_forward(sup, list, n->name, c->key, "added");
	}
}

void link_method_nat_list(struct supervisor *sup, struct rpc_call *call, struct json_object *params)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	const char *only = json_str(params, "network");

	for (guint i = 0; sup->lab && i < sup->lab->networks->len; i++)
		if (!only || strcmp(lab_network(sup->lab, i)->name, only) == 0)
			list_network(sup, lab_network(sup->lab, i), list);
	json_object_object_add(o, "forwards", list);
	rpc_reply(call, o);
}

/* --- reports -------------------------------------------------------------------------------------------------------- */

/* What holds in one direction, without what only says which it is; NULL: nothing. */
static struct json_object *way_report(struct supervisor *sup, const char *network, const char *key)
{
	const struct state_setting *c = network_change(sup, network, key);
	g_autofree char *file = c ? NULL : network_file_setting(sup, network, key);
	const char *params = c ? c->params : file;
	struct json_object *o = params ? json_tokener_parse(params) : json_object_new_object();
	auto_json passing = c && network_passes(c) ? json_tokener_parse(c->passing) : NULL;

	if (passing)
		numbers_merge(o, passing);
	json_object_object_del(o, "port");
	json_object_object_del(o, "direction");
	json_object_object_del(o, "replace");
	if (g_strcmp0(json_str(o, "profile"), "default") == 0)
		json_object_object_del(o, "profile");
	if (json_object_object_length(o) > 0)
		return o;
	json_object_put(o);
	return NULL;
}

struct json_object *link_report(struct supervisor *sup, const char *network, const char *port)
{
	g_autofree char *carrier = g_strdup_printf("carrier:%s", port);
	const struct state_setting *c = network_change(sup, network, carrier);
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		g_autofree char *key = link_key(port, i);
		struct json_object *way = way_report(sup, network, key);

		if (way)
			json_object_object_add(o, lab_direction_name((enum lab_direction)i), way);
	}
	if (c && (c->params || network_passes(c)))
		json_put_bool(o, "down", true);
	return o;
}
