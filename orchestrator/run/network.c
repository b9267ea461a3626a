/* SPDX-License-Identifier: MIT */
/* What switches are told beside their ports: the settings of the lab file (render/switch.h), with those that clients have
 * changed in their place.
 *
 * It is level-triggered like everything here: what is wanted is compared with what the switch was told, and the difference
 * is told.  So a switch that was started anew is told everything, one whose lab file has changed what has changed, and a
 * supervisor that took over (what was told is in the state file) nothing.  A setting of a port waits until the port is there.
 *
 * One that is started again is given what its predecessor had taken in its configuration: what comes later by call would come
 * after the first frames.  What hangs on the host, a forward or a file, is told: it may be refused this time.
 *
 * What a switch refuses is kept as a problem and not tried again until it is another setting, or another switch. */
#include "run/supervisor.h"

#include <string.h>

#include "render/switch.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/proc.h"
#include "run/state.h"

/* Of one switch. */
struct told {
	struct supervisor *sup;
	char *network;
	GHashTable *settings; /* key -> params as told, refused ones included */
	GHashTable *problems; /* key -> why it was refused */
	GHashTable *had;      /* key -> params: what its predecessor had taken when it died */
	GPtrArray *calls;     /* of struct told_call: under way */
	bool due;             /* to be compared again */
};

struct told_call {
	struct told *told;
	char *key; /* NULL: something is taken back, which always works */
};

static void told_call_free(void *p)
{
	struct told_call *c = p;

	g_free(c->key);
	g_free(c);
}

static void told_free(void *p)
{
	struct told *t = p;

	g_ptr_array_unref(t->calls);
	g_hash_table_unref(t->settings);
	g_hash_table_unref(t->problems);
	g_hash_table_unref(t->had);
	g_free(t->network);
	g_free(t);
}

GHashTable *network_told_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, told_free);
}

static struct told *told_of(struct supervisor *sup, const char *network)
{
	struct told *t = g_hash_table_lookup(sup->told, network);

	if (t)
		return t;
	t = g_new0(struct told, 1);
	t->sup = sup;
	t->network = g_strdup(network);
	t->settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	t->problems = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	t->had = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	t->calls = g_ptr_array_new_with_free_func(told_call_free);
	t->due = true;
	g_hash_table_insert(sup->told, t->network, t);
	return t;
}

/* --- what clients have changed -------------------------------------------------------------------------------------- */

/* In sup->changed_settings, by "network key". */
static char *change_name(const char *network, const char *key)
{
	return g_strconcat(network, " ", key, NULL);
}

static void change_free(void *p)
{
	state_setting_free(p);
}

GHashTable *network_changes_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, change_free);
}

struct state_setting *network_change(const struct supervisor *sup, const char *network,
				     const char *key)
{
	g_autofree char *name = change_name(network, key);

	return g_hash_table_lookup(sup->changed_settings, name);
}

struct state_setting *network_make_change(struct supervisor *sup, const char *network,
					  const char *key)
{
	struct state_setting *c = network_change(sup, network, key);

	if (c)
		return c;
	c = g_new0(struct state_setting, 1);
	c->network = g_strdup(network);
	c->key = g_strdup(key);
	c->file = network_file_setting(sup, network, key);
	c->params = g_strdup(c->file);
	g_hash_table_insert(sup->changed_settings, change_name(network, key), c);
	return c;
}

void network_forget_change(struct supervisor *sup, const char *network, const char *key)
{
	g_autofree char *name = change_name(network, key);

	g_hash_table_remove(sup->changed_settings, name);
}

void network_forget_port(struct supervisor *sup, const char *network, const char *port)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->changed_settings);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct state_setting *c = value;
		g_autofree char *own = setting_port_of(c->key);

		if (strcmp(c->network, network) == 0 && g_strcmp0(own, port) == 0)
			g_hash_table_iter_remove(&iter);
	}
	network_compare_again(sup, network);
}

bool network_passes(const struct state_setting *change)
{
	return change->passing && change->until_us > proc_boottime_us();
}

char *network_file_setting(const struct supervisor *sup, const char *network, const char *key)
{
	const struct network *n = sup->lab ? lab_find_network(sup->lab, network) : NULL;
	g_autoptr(GPtrArray) list = n ? render_switch_settings(sup->lab, n) : NULL;

	for (guint i = 0; list && i < list->len; i++) {
		const struct setting *s = list->pdata[i];

		if (strcmp(s->key, key) == 0)
			return g_strdup(s->params);
	}
	return NULL;
}

/* The file says something else than when the change was made, or its network is gone: the file wins. */
static gboolean is_over(gpointer name, gpointer value, gpointer data)
{
	const struct supervisor *sup = data;
	const struct state_setting *c = value;
	g_autofree char *file = network_file_setting(sup, c->network, c->key);

	return !lab_find_network(sup->lab, c->network) || g_strcmp0(file, c->file) != 0;
}

void network_prune_changes(struct supervisor *sup)
{
	if (sup->lab)
		g_hash_table_foreach_remove(sup->changed_settings, is_over, sup);
	else
		g_hash_table_remove_all(sup->changed_settings);
}

/* --- what is wanted ------------------------------------------------------------------------------------------------- */

static void want(GPtrArray *keys, GHashTable *wanted, const char *key, const char *params)
{
	if (!g_hash_table_contains(wanted, key))
		g_ptr_array_add(keys, g_strdup(key));
	g_hash_table_replace(wanted, g_strdup(key), g_strdup(params));
}

/* What a change comes to now; NULL: nothing is told.  Of a link that is changed for a time this is what remains. */
static const char *params_now(const struct state_setting *c)
{
	bool carrier = g_str_has_prefix(c->key, "carrier:");

	return carrier && network_passes(c) ? c->passing : c->params;
}

/* The only setting in which guests have a part that no client has changed. */
static bool is_of_hosts(const char *key)
{
	return g_str_has_prefix(key, "hosts:");
}

/* key -> params; *ret_keys in the order in which they are told. */
static GHashTable *wanted_settings(const struct supervisor *sup, const char *network,
				   GPtrArray **ret_keys)
{
	GHashTable *wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	const struct network *n = sup->lab ? lab_find_network(sup->lab, network) : NULL;
	g_autoptr(GPtrArray) list = n ? render_switch_settings(sup->lab, n) : NULL;
	GPtrArray *keys = g_ptr_array_new_with_free_func(g_free);
	GHashTableIter iter;
	gpointer value;

	for (guint i = 0; list && i < list->len; i++) {
		const struct setting *s = list->pdata[i];
		const struct state_setting *c = network_change(sup, network, s->key);
		g_autofree char *hosts = NULL;

		if (is_of_hosts(s->key))
			hosts = guests_add_hosts(sup->guests, network, s->params);
		if (!c)
			want(keys, wanted, s->key, hosts ? hosts : s->params);
	}
	g_hash_table_iter_init(&iter, sup->changed_settings);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct state_setting *c = value;

		if (strcmp(c->network, network) == 0 && params_now(c))
			want(keys, wanted, c->key, params_now(c));
	}
	*ret_keys = keys;
	return wanted;
}

/* --- telling -------------------------------------------------------------------------------------------------------- */

static void on_answer(struct json_object *result, const GError *error, void *data)
{
	struct told_call *c = data;
	struct told *t = c->told;
	const struct daemon *sw = sup_find_switch(t->sup, t->network);

	if (error && c->key && sw && (!sw->rpc || rpc_client_ended(sw->rpc))) {
		/* Nobody knows whether it was heard. */
		g_hash_table_remove(t->settings, c->key);
		t->due = true;
	} else if (error && c->key) {
		g_hash_table_replace(t->problems, g_strdup(c->key), g_strdup(error->message));
		g_message("switch %s: %s: %s", t->network, c->key, error->message);
	}
	g_ptr_array_remove_fast(t->calls, c);
	t->sup->state_dirty = true;
	sup_poke(t->sup);
}

/* key: what the call is about; NULL: its failure means nothing. */
static void tell(struct told *t, const struct daemon *sw, const char *method,
		 struct json_object *params, const char *key)
{
	struct told_call *c = g_new0(struct told_call, 1);

	c->told = t;
	c->key = g_strdup(key);
	g_ptr_array_add(t->calls, c);
	rpc_client_call(sw->rpc, method, params, on_answer, c);
}

static bool port_is_there(const struct daemon *sw, const char *key)
{
	g_autofree char *port = setting_port_of(key);
	const struct daemon_item *item = port ? daemon_find_item(sw, port) : NULL;

	return !port || (item && item->state);
}

/* What was told and is no longer wanted; of a port that is gone it has gone with it. */
static void take_back(struct told *t, const struct daemon *sw, GHashTable *wanted)
{
	GHashTableIter iter;
	gpointer key, params;

	g_hash_table_iter_init(&iter, t->settings);
	while (g_hash_table_iter_next(&iter, &key, &params)) {
		const struct setting_kind *kind = setting_kind_of(key);
		bool there = port_is_there(sw, key);

		if (there && g_hash_table_contains(wanted, key))
			continue;
		if (there && kind && kind->undo && !g_hash_table_contains(t->problems, key))
			tell(t, sw, kind->undo, setting_undo_params(kind, params), NULL);
		g_hash_table_remove(t->problems, key);
		g_hash_table_iter_remove(&iter);
	}
}

/* What a client has put over a link for a time, as far as that is still to last; NULL: nothing. */
static struct json_object *passing_params(const struct told *t, const char *key)
{
	const struct state_setting *c = network_change(t->sup, t->network, key);
	struct json_object *params;

	if (!c || !network_passes(c) || !g_str_has_prefix(key, "link:"))
		return NULL;
	params = json_tokener_parse(c->passing);
	json_put_int(params, "for-ns", (c->until_us - proc_boottime_us()) * 1000);
	return params;
}

static void tell_one(struct told *t, const struct daemon *sw, const char *key, const char *params)
{
	const struct setting_kind *kind = setting_kind_of(key);
	const char *was = g_hash_table_lookup(t->settings, key);
	struct json_object *passing;

	if (g_strcmp0(was, params) == 0 || !kind)
		return;
	if (was && kind->anew && kind->undo && !g_hash_table_contains(t->problems, key))
		tell(t, sw, kind->undo, setting_undo_params(kind, was), NULL);
	g_hash_table_remove(t->problems, key);
	g_hash_table_replace(t->settings, g_strdup(key), g_strdup(params));
	if (kind->method)
		tell(t, sw, kind->method, json_tokener_parse(params), key);
	passing = passing_params(t, key);
	if (passing)
		tell(t, sw, "link.set", passing, key);
}

static void compare(struct told *t, const struct daemon *sw)
{
	g_autoptr(GPtrArray) keys = NULL;
	g_autoptr(GHashTable) wanted = wanted_settings(t->sup, t->network, &keys);

	t->due = false;
	take_back(t, sw, wanted);
	for (guint i = 0; i < keys->len; i++)
		if (port_is_there(sw, keys->pdata[i]))
			tell_one(t, sw, keys->pdata[i],
				 g_hash_table_lookup(wanted, keys->pdata[i]));
}

static bool can_be_told(const struct daemon *sw)
{
	return sw && sw->stage == DAEMON_RUNNING && sw->rpc;
}

bool network_is_told(struct supervisor *sup, const char *network)
{
	const struct daemon *sw = sup_find_switch(sup, network);
	struct told *t = told_of(sup, network);

	if (!can_be_told(sw))
		return false;
	if (t->due)
		compare(t, sw);
	return t->calls->len == 0;
}

void network_tell_all(struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer name;

	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, &name, NULL))
		(void)network_is_told(sup, name);
}

char *network_problem(struct supervisor *sup, const char *network)
{
	struct told *t = told_of(sup, network);
	g_autoptr(GList)
		keys = g_list_sort(g_hash_table_get_keys(t->problems), (GCompareFunc)strcmp);
	GString *text;

	if (!keys)
		return NULL;
	text = g_string_new(NULL);
	for (const GList *l = keys; l; l = l->next)
		g_string_append_printf(text, "%s%s: %s", text->len ? "; " : "",
				       (const char *)l->data,
				       (const char *)g_hash_table_lookup(t->problems, l->data));
	return g_string_free(text, FALSE);
}

void network_note_told(struct supervisor *sup, const char *network, const char *key,
		       const char *params)
{
	struct told *t = told_of(sup, network);

	g_hash_table_remove(t->problems, key);
	if (params)
		g_hash_table_replace(t->settings, g_strdup(key), g_strdup(params));
	else
		g_hash_table_remove(t->settings, key);
}

/* --- events --------------------------------------------------------------------------------------------------------- */

static gboolean when_over(gpointer p)
{
	struct supervisor *sup = p;

	sup->expiry = 0;
	network_compare_again(sup, NULL);
	return G_SOURCE_REMOVE;
}

/* Look again when the next change that was made for a time is over. */
static void arm_expiry(struct supervisor *sup)
{
	gint64 now = proc_boottime_us(), next = G_MAXINT64;
	GHashTableIter iter;
	gpointer value;

	if (sup->expiry)
		g_source_remove(sup->expiry);
	sup->expiry = 0;
	g_hash_table_iter_init(&iter, sup->changed_settings);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct state_setting *c = value;

		if (network_passes(c))
			next = MIN(next, c->until_us);
	}
	if (next != G_MAXINT64)
		sup->expiry = g_timeout_add((guint)MIN((next - now) / 1000 + 1, G_MAXINT),
					    when_over, sup);
}

void network_compare_again(struct supervisor *sup, const char *network)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->told);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct told *t = value;

		t->due |= !network || strcmp(t->network, network) == 0;
	}
	arm_expiry(sup);
	sup_poke(sup);
}

/* Whether a switch has taken a setting, as far as is known. */
static bool is_taken(const struct told *t, const char *key)
{
	for (guint i = 0; i < t->calls->len; i++) {
		const struct told_call *c = t->calls->pdata[i];

		if (g_strcmp0(c->key, key) == 0)
			return false;
	}
	return !g_hash_table_contains(t->problems, key);
}

static void keep_what_it_had(struct told *t)
{
	GHashTableIter iter;
	gpointer key, params;

	if (g_hash_table_size(t->settings) == 0)
		return; /* this death is known */
	g_hash_table_remove_all(t->had);
	g_hash_table_iter_init(&iter, t->settings);
	while (g_hash_table_iter_next(&iter, &key, &params))
		if (is_taken(t, key))
			g_hash_table_insert(t->had, g_strdup(key), g_strdup(params));
}

static void add_call(struct json_object *list, const char *method, struct json_object *params)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "method", method);
	json_object_object_add(o, "params", params);
	json_object_array_add(list, o);
}

/* Whether it can be done while the switch starts, as it could before. */
static bool can_begin_with(const struct told *t, const char *key, const char *params)
{
	const struct setting_kind *kind = setting_kind_of(key);
	const struct daemon *sw = sup_find_switch(t->sup, t->network);
	g_autofree char *port = setting_port_of(key);
	const struct daemon_item *item = sw && port ? daemon_find_item(sw, port) : NULL;

	return kind && kind->inward && kind->method &&
	       g_strcmp0(g_hash_table_lookup(t->had, key), params) == 0 &&
	       (!port || (item && !item->problem));
}

struct json_object *network_setup(struct supervisor *sup, const char *network)
{
	struct told *t = told_of(sup, network);
	g_autoptr(GPtrArray) keys = NULL;
	g_autoptr(GHashTable) wanted = wanted_settings(sup, network, &keys);
	struct json_object *list = NULL;

	for (guint i = 0; i < keys->len; i++) {
		const char *key = keys->pdata[i], *params = g_hash_table_lookup(wanted, key);
		struct json_object *passing;

		if (!can_begin_with(t, key, params))
			continue;
		list = list ? list : json_object_new_array();
		add_call(list, setting_kind_of(key)->method, json_tokener_parse(params));
		passing = passing_params(t, key);
		if (passing)
			add_call(list, "link.set", passing);
		g_hash_table_replace(t->settings, g_strdup(key), g_strdup(params));
	}
	return list;
}

void network_switch_died(struct supervisor *sup, const char *network)
{
	struct told *t = told_of(sup, network);

	keep_what_it_had(t);
	g_hash_table_remove_all(t->settings);
	g_hash_table_remove_all(t->problems);
	t->due = true;
}

void network_connection_lost(struct supervisor *sup, const char *network)
{
	struct told *t = told_of(sup, network);

	/* Nobody knows which of these calls were heard. */
	for (guint i = 0; i < t->calls->len; i++) {
		const struct told_call *c = t->calls->pdata[i];

		if (c->key)
			g_hash_table_remove(t->settings, c->key);
	}
	t->due |= t->calls->len > 0;
	g_ptr_array_set_size(t->calls, 0);
}

/* --- what is kept --------------------------------------------------------------------------------------------------- */

/* As the file has it, where a client has changed it or a guest has a part in it.  g_free(); NULL: it has nothing. */
static char *of_file(const struct supervisor *sup, const char *network, const char *key,
		     const char *params)
{
	const struct state_setting *c = network_change(sup, network, key);

	if (is_of_hosts(key))
		return guests_drop_hosts(sup->guests, network, params);
	return g_strdup(c ? c->file : params);
}

/* What the file has and a client has taken back. */
static void append_taken_back(const struct told *t, GString *out)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, t->sup->changed_settings);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct state_setting *c = value;

		if (strcmp(c->network, t->network) == 0 && c->file &&
		    !g_hash_table_contains(t->settings, c->key))
			g_string_append_printf(out, "%s %s\n", c->key, c->file);
	}
}

static char *text_of(struct supervisor *sup, const char *network, bool as_file)
{
	struct told *t = told_of(sup, network);
	g_autoptr(GList)
		keys = g_list_sort(g_hash_table_get_keys(t->settings), (GCompareFunc)strcmp);
	GString *out = g_string_new(NULL);

	for (const GList *l = keys; l; l = l->next) {
		const char *params = g_hash_table_lookup(t->settings, l->data);
		g_autofree char *own = as_file ? of_file(sup, network, l->data, params) : NULL;

		if (as_file)
			params = own;
		if (params)
			g_string_append_printf(out, "%s %s\n", (const char *)l->data, params);
	}
	if (as_file)
		append_taken_back(t, out);
	return g_string_free(out, FALSE);
}

char *network_text_of_file(struct supervisor *sup, const char *network)
{
	return text_of(sup, network, true);
}

char *network_text_told(struct supervisor *sup, const char *network)
{
	return text_of(sup, network, false);
}

void network_adopt_told(struct supervisor *sup, const char *network, const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	struct told *t = told_of(sup, network);

	for (char **line = lines; *line; line++) {
		char *params = strchr(*line, ' ');

		if (params)
			g_hash_table_replace(t->settings, g_strndup(*line, (gsize)(params - *line)),
					     g_strdup(params + 1));
	}
}

static struct state_setting *copy_change(const struct state_setting *from, struct state_setting *to)
{
	to->params = g_strdup(from->params);
	to->file = g_strdup(from->file);
	to->passing = network_passes(from) ? g_strdup(from->passing) : NULL;
	to->until_us = to->passing ? from->until_us : 0;
	return to;
}

void network_save_changes(const struct supervisor *sup, struct state *state)
{
	g_autoptr(GList) names =
		g_list_sort(g_hash_table_get_keys(sup->changed_settings), (GCompareFunc)strcmp);

	for (const GList *l = names; l; l = l->next) {
		const struct state_setting *c = g_hash_table_lookup(sup->changed_settings, l->data);

		/* One that was made for a time, and is over, is none. */
		if (c->params || c->file || network_passes(c))
			copy_change(c, state_add_setting(state, c->network, c->key));
	}
}

void network_adopt_changes(struct supervisor *sup, const struct state *state)
{
	for (guint i = 0; i < state->settings->len; i++) {
		const struct state_setting *was = state->settings->pdata[i];
		struct state_setting *c = g_new0(struct state_setting, 1);

		c->network = g_strdup(was->network);
		c->key = g_strdup(was->key);
		g_hash_table_replace(sup->changed_settings, change_name(c->network, c->key),
				     copy_change(was, c));
	}
	if (sup->lab)
		network_prune_changes(sup);
	arm_expiry(sup);
}
