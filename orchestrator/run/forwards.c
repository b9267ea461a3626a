/* SPDX-License-Identifier: MIT */
/* Forwards of a running lab: those of its file, and what `forward add` and `forward remove` have changed about them.
 *
 * The changes are kept here and in the state file; the daemon is given what is wanted whenever it comes up, and asked first
 * what it has: a supervisor that took it over does not know.  So neither the end of the daemon nor that of the supervisor
 * loses one. */
#include "run/supervisor.h"

#include <string.h>

#include "err.h"
#include "render/sockets.h"
#include "run/json.h"
#include "run/state.h"

/* A call of a client that waits for the daemon. */
struct forward_call {
	struct supervisor *sup;
	struct rpc_call *call; /* NULL: it was answered before the daemon did */
	char *vm;              /* NULL: list, of all VMs */
	char *text;            /* NULL: list */
};

static void forward_call_free(void *p)
{
	struct forward_call *c = p;

	g_free(c->vm);
	g_free(c->text);
	g_free(c);
}

static void change_free(void *p)
{
	state_forward_free(p);
}

GHashTable *forward_changes_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, change_free);
}

GPtrArray *forward_calls_new(void)
{
	return g_ptr_array_new_with_free_func(forward_call_free);
}

/* As the daemon calls it: its VM, and its text in the lab file. */
static char *id_of(const char *vm, const char *text)
{
	return g_strdup_printf("%s.%s", vm, text);
}

/* The text in an id; NULL: it is none of ours. */
static const char *text_in(const char *id, const char *vm)
{
	size_t len = vm ? strlen(vm) : 0;

	return id && len && strncmp(id, vm, len) == 0 && id[len] == '.' ? id + len + 1 : NULL;
}

static bool in_file(const struct vm *vm, const char *id)
{
	for (unsigned i = 0; i < vm->forwards->len; i++)
		if (strcmp(((const struct forward *)vm->forwards->pdata[i])->id, id) == 0)
			return true;
	return false;
}

/* --- what is wanted --------------------------------------------------------------------------------------- */

static void json_unref(void *o)
{
	json_object_put(o);
}

static void want_of_file(const struct supervisor *sup, const struct vm *vm, GHashTable *wanted)
{
	for (unsigned i = 0; i < vm->forwards->len; i++) {
		const struct forward *f = vm->forwards->pdata[i];

		if (!g_hash_table_contains(sup->changes, f->id))
			g_hash_table_insert(wanted, g_strdup(f->id),
					    render_sockets_forward(f->id, vm->name, f));
	}
}

static void want_added(const char *id, const struct state_forward *change, GHashTable *wanted)
{
	struct forward f = { 0 };

	if (change->removed || forward_parse(change->text, &f))
		return;
	g_hash_table_insert(wanted, g_strdup(id), render_sockets_forward(id, change->vm, &f));
	g_free(f.host);
}

static bool served(const struct supervisor *sup, const char *vm)
{
	const struct daemon_item *item = sup->sockets ? daemon_find_item(sup->sockets, vm) : NULL;

	return item && item->state;
}

/* id -> what forward.add takes; now: only those whose VM the daemon serves. */
static GHashTable *wanted_forwards(const struct supervisor *sup, bool now)
{
	GHashTable *wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, json_unref);
	GHashTableIter iter;
	gpointer id, value;

	for (unsigned i = 0; sup->lab && i < sup->lab->vms->len; i++)
		if (!now || served(sup, lab_vm(sup->lab, i)->name))
			want_of_file(sup, lab_vm(sup->lab, i), wanted);
	g_hash_table_iter_init(&iter, sup->changes);
	while (g_hash_table_iter_next(&iter, &id, &value))
		if (!now || served(sup, ((const struct state_forward *)value)->vm))
			want_added(id, value, wanted);
	return wanted;
}

/* A change that the lab has no VM for, or that its file says itself by now. */
static gboolean is_idle(gpointer id, gpointer value, gpointer data)
{
	const struct supervisor *sup = data;
	const struct state_forward *change = value;
	const struct vm *vm = lab_find_vm(sup->lab, change->vm);

	return !vm || vm->sockets == LAB_SOCKETS_NONE || in_file(vm, id) != change->removed;
}

void sup_prune_forwards(struct supervisor *sup)
{
	if (sup->lab)
		g_hash_table_foreach_remove(sup->changes, is_idle, sup);
	else
		g_hash_table_remove_all(sup->changes);
}

/* --- the state file --------------------------------------------------------------------------------------- */

void sup_save_forwards(const struct supervisor *sup, struct state *state)
{
	g_autoptr(GList)
		ids = g_list_sort(g_hash_table_get_keys(sup->changes), (GCompareFunc)strcmp);

	for (const GList *l = ids; l; l = l->next) {
		const struct state_forward *f = g_hash_table_lookup(sup->changes, l->data);

		state_add_forward(state, f->vm, f->text, f->removed);
	}
}

static void set_change(struct supervisor *sup, const char *vm, const char *text, bool removed)
{
	g_hash_table_replace(sup->changes, id_of(vm, text), state_forward_new(vm, text, removed));
}

void sup_adopt_forwards(struct supervisor *sup, const struct state *state)
{
	for (guint i = 0; i < state->forwards->len; i++) {
		const struct state_forward *f = state->forwards->pdata[i];

		set_change(sup, f->vm, f->text, f->removed);
	}
	if (sup->lab)
		sup_prune_forwards(sup);
}

/* --- the daemon ------------------------------------------------------------------------------------------- */

static void tell_to_remove(struct supervisor *sup, const char *id)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "id", id);
	daemon_tell(sup->sockets, "forward.remove", o);
}

static void reconcile(struct supervisor *sup)
{
	g_autoptr(GHashTable) wanted = wanted_forwards(sup, true);
	GHashTableIter iter;
	gpointer id, params;

	g_hash_table_iter_init(&iter, sup->forwards);
	while (g_hash_table_iter_next(&iter, &id, NULL)) {
		if (g_hash_table_contains(wanted, id))
			continue;
		tell_to_remove(sup, id);
		g_hash_table_iter_remove(&iter);
	}
	g_hash_table_iter_init(&iter, wanted);
	while (g_hash_table_iter_next(&iter, &id, &params))
		if (g_hash_table_add(sup->forwards, g_strdup(id)))
			daemon_tell(sup->sockets, "forward.add", json_object_get(params));
}

/* What it has of ours.  Without a lab file (its copy is damaged) nobody knows what is wanted: it all stays. */
static void on_known(struct json_object *result, const GError *error, void *data)
{
	struct supervisor *sup = data;
	struct json_object *list = json_member(result, "forwards", json_type_array);

	if (error)
		return; /* it is asked again when it has come back */
	for (size_t i = 0; sup->lab && list && i < json_object_array_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);

		if (text_in(json_str(f, "id"), json_str(f, "vm")))
			g_hash_table_add(sup->forwards, g_strdup(json_str(f, "id")));
	}
	sup->forwards_known = true;
	reconcile(sup);
}

void sup_sync_forwards(struct supervisor *sup)
{
	if (!sup->sockets || sup->sockets->stage != DAEMON_RUNNING)
		return;
	if (sup->forwards_known) {
		reconcile(sup);
	} else if (!sup->forwards_asked) {
		sup->forwards_asked = true;
		daemon_ask(sup->sockets, "forward.list", NULL, on_known, sup);
	}
}

void sup_lose_forwards(struct supervisor *sup, const char *why)
{
	g_hash_table_remove_all(sup->forwards);
	sup->forwards_known = false;
	sup->forwards_asked = false;
	for (guint i = 0; i < sup->forward_calls->len; i++) {
		struct forward_call *c = sup->forward_calls->pdata[i];

		if (c->call)
			rpc_fail_text(c->call, ORCH_ERROR_FAILED, "%s", why);
		c->call = NULL;
	}
	/* With a connection, its answers may still come. */
	if (!sup->sockets || !sup->sockets->rpc)
		g_ptr_array_set_size(sup->forward_calls, 0);
}

/* --- calls of clients ------------------------------------------------------------------------------------- */

static bool runs(const struct supervisor *sup)
{
	return sup->sockets && sup->sockets->stage == DAEMON_RUNNING && sup->sockets->rpc;
}

static struct forward_call *call_new(struct supervisor *sup, struct rpc_call *call, const char *vm,
				     const char *text)
{
	struct forward_call *c = g_new0(struct forward_call, 1);

	c->sup = sup;
	c->call = call;
	c->vm = g_strdup(vm);
	c->text = g_strdup(text);
	g_ptr_array_add(sup->forward_calls, c);
	return c;
}

/* The daemon has answered; NULL: nobody waits for that any more. */
static struct rpc_call *take_call(struct forward_call *c)
{
	return g_steal_pointer(&c->call);
}

static void call_done(struct forward_call *c)
{
	g_ptr_array_remove_fast(c->sup->forward_calls, c);
}

/* Written before it is answered: what a client was told holds. */
static void changed(struct supervisor *sup)
{
	sup_save_state(sup);
	sup_poke(sup);
}

/* The daemon listens.  False with *error set: not for this lab any more. */
static gboolean keep(struct supervisor *sup, const struct forward_call *c, GError **error)
{
	g_autofree char *id = id_of(c->vm, c->text);

	if (!sup->lab || !lab_find_vm(sup->lab, c->vm)) {
		tell_to_remove(sup, id);
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
			    "VM %s has been taken out of the lab", c->vm);
		return FALSE;
	}
	g_hash_table_add(sup->forwards, g_strdup(id));
	set_change(sup, c->vm, c->text, false);
	sup_prune_forwards(sup); /* one of the file: it is as the file says again */
	changed(sup);
	return TRUE;
}

static void on_added(struct json_object *result, const GError *error, void *data)
{
	struct forward_call *c = data;
	struct rpc_call *call = take_call(c);
	g_autoptr(GError) problem = NULL;

	if (call && error)
		rpc_fail(call, error);
	else if (call && !keep(c->sup, c, &problem))
		rpc_fail(call, problem);
	else if (call)
		rpc_reply(call, json_object_get(result));
	call_done(c);
}

/* True: it can be one.  False: the call has been answered. */
static bool check_text(struct rpc_call *call, const char *text, struct forward *ret)
{
	const char *problem = text ? forward_parse(text, ret) : "a forward is missing";

	if (problem)
		rpc_fail_text(call, ORCH_ERROR_USAGE, "\"%s\": %s", text ? text : "", problem);
	return !problem;
}

void sup_forward_add(struct supervisor *sup, struct rpc_call *call, const struct vm *vm,
		     const char *text)
{
	g_autofree char *id = text ? id_of(vm->name, text) : NULL;
	struct forward f = { 0 };

	if (!check_text(call, text, &f))
		return;
	if (vm->sockets == LAB_SOCKETS_NONE)
		rpc_fail_text(call, ORCH_ERROR_FAILED,
			      "VM %s has no sockets (\"sockets\": \"none\" in the lab file)",
			      vm->name);
	else if (!runs(sup))
		rpc_fail_text(call, ORCH_ERROR_FAILED, "lab %s has no sockets that are up",
			      sup->name);
	else
		daemon_ask(sup->sockets, "forward.add", render_sockets_forward(id, vm->name, &f),
			   on_added, call_new(sup, call, vm->name, text));
	g_free(f.host);
}

/* One that was wanted is gone, whatever the daemon says: it may not have been able to listen after a restart. */
static void on_removed(struct json_object *result, const GError *error, void *data)
{
	struct forward_call *c = data;
	struct rpc_call *call = take_call(c);

	if (call)
		rpc_reply(call, NULL);
	call_done(c);
}

static void on_other_removed(struct json_object *result, const GError *error, void *data)
{
	struct forward_call *c = data;
	struct rpc_call *call = take_call(c);

	if (call && error)
		rpc_fail(call, error);
	else if (call)
		rpc_reply(call, NULL);
	call_done(c);
}

/* From now on it is not wanted.  False: it never was. */
static bool drop(struct supervisor *sup, const struct vm *vm, const char *text)
{
	g_autofree char *id = id_of(vm->name, text);
	const struct state_forward *change = g_hash_table_lookup(sup->changes, id);

	if (change ? change->removed : !in_file(vm, id))
		return false;
	if (change)
		g_hash_table_remove(sup->changes, id);
	else
		set_change(sup, vm->name, text, true);
	g_hash_table_remove(sup->forwards, id);
	changed(sup);
	return true;
}

void sup_forward_remove(struct supervisor *sup, struct rpc_call *call, const struct vm *vm,
			const char *text)
{
	g_autofree char *id = text ? id_of(vm->name, text) : NULL;
	struct forward f = { 0 };
	struct json_object *params;
	bool wanted;

	if (!check_text(call, text, &f))
		return;
	g_free(f.host);
	wanted = drop(sup, vm, text);
	if (!runs(sup)) {
		if (wanted)
			rpc_reply(call, NULL);
		else
			rpc_fail_text(call, ORCH_ERROR_FAILED, "no forward \"%s\"", id);
		return;
	}
	params = json_object_new_object();
	json_put_str(params, "id", id);
	daemon_ask(sup->sockets, "forward.remove", params, wanted ? on_removed : on_other_removed,
		   call_new(sup, call, vm->name, text));
}

/* --- the list --------------------------------------------------------------------------------------------- */

/* One more of the list; active: the daemon has it.  Consumes o. */
static void list_one(const struct supervisor *sup, struct json_object *o, bool active,
		     struct json_object *list)
{
	const char *id = json_str(o, "id"), *name = json_str(o, "vm"), *text = text_in(id, name);
	const struct vm *vm = sup->lab && name ? lab_find_vm(sup->lab, name) : NULL;
	const char *origin = "other";

	if (vm && in_file(vm, id))
		origin = "file";
	else if (id && g_hash_table_contains(sup->changes, id))
		origin = "added";
	json_put_str(o, "forward", text ? text : id);
	json_put_str(o, "origin", origin);
	json_put_bool(o, "active", active);
	json_object_array_add(list, o);
}

/* The daemon's, and those that it lacks. */
static struct json_object *make_list(const struct supervisor *sup, struct json_object *has,
				     const char *only)
{
	g_autoptr(GHashTable) wanted = wanted_forwards(sup, false);
	struct json_object *list = json_object_new_array(), *o = json_object_new_object();
	g_autoptr(GList) lacking = NULL;

	for (size_t i = 0; has && i < json_object_array_length(has); i++) {
		struct json_object *f = json_object_array_get_idx(has, i);
		const char *id = json_str(f, "id");

		if (id)
			g_hash_table_remove(wanted, id);
		if (id && (!only || g_strcmp0(json_str(f, "vm"), only) == 0))
			list_one(sup, json_object_get(f), true, list);
	}
	lacking = g_list_sort(g_hash_table_get_keys(wanted), (GCompareFunc)strcmp);
	for (const GList *l = lacking; l; l = l->next) {
		struct json_object *f = g_hash_table_lookup(wanted, l->data);

		if (!only || strcmp(json_str(f, "vm"), only) == 0)
			list_one(sup, json_object_get(f), false, list);
	}
	json_object_object_add(o, "forwards", list);
	return o;
}

static void on_listed(struct json_object *result, const GError *error, void *data)
{
	struct forward_call *c = data;
	struct rpc_call *call = take_call(c);
	struct json_object *has = json_member(result, "forwards", json_type_array);

	if (call && error)
		rpc_fail(call, error);
	else if (call)
		rpc_reply(call, make_list(c->sup, has, c->vm));
	call_done(c);
}

void sup_forward_list(struct supervisor *sup, struct rpc_call *call, const char *vm)
{
	if (runs(sup))
		daemon_ask(sup->sockets, "forward.list", NULL, on_listed,
			   call_new(sup, call, vm, NULL));
	else
		rpc_reply(call, make_list(sup, NULL, vm));
}
