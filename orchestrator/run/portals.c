/* SPDX-License-Identifier: MIT */
/* The portals of a lab: a daemon each, that owns the memory and admits VMs and processes of the host to it.
 *
 * What a portal was started with holds until it is stopped, whatever the lab file says meanwhile: its memory is in use.  So a
 * daemon that died is started again with the configuration it had, and a VM whose portal should be another one by now is not
 * started before that has been made anew. */
#include "run/supervisor.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "render/portal.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/state.h"

/* --- the daemon's news ---------------------------------------------------------------------------------------------- */

static void portal_changed(struct daemon *d, void *data)
{
	struct supervisor *sup = data;

	sup->state_dirty = true;
	sup_poke(sup);
}

static void portal_client(struct daemon *d, const char *client, const char *state, void *data)
{
	if (g_strcmp0(state, "listening") == 0)
		launch_admit_again(data, client);
	sup_poke(data);
}

static void portal_died(struct daemon *d, const char *text, void *data)
{
	sup_event(data, "portal", d->name, daemon_stage_word(DAEMON_STARTING), text);
}

static const struct daemon_ops portal_ops = {
	.changed = portal_changed,
	.item = portal_client,
	.died = portal_died,
};

/* As the lab says, if that is what it was started with; else as it was told the last time. */
static struct json_object *portal_config(struct daemon *d, void *data)
{
	const struct supervisor *sup = data;
	const struct portal *portal = sup->lab ? lab_find_portal(sup->lab, d->name) : NULL;
	g_autofree char *now = portal ? render_portal_text(sup->lab, portal) : NULL;
	struct json_object *kept;

	if (now && g_strcmp0(now, sup_portal_text(sup, d->name)) == 0)
		return render_portal_config(sup->lab, portal, sup->paths);
	kept = json_object_from_file(d->paths->config);
	if (!json_object_is_type(kept, json_type_object)) {
		json_object_put(kept);
		return json_object_new_object(); /* the daemon will say what is missing */
	}
	json_object_object_del(kept, d->kind->list);
	return kept;
}

/* --- portals -------------------------------------------------------------------------------------------------------- */

struct daemon *sup_find_portal(struct supervisor *sup, const char *name)
{
	return g_hash_table_lookup(sup->portals, name);
}

struct daemon *sup_portal(struct supervisor *sup, const char *name)
{
	struct daemon *d = sup_find_portal(sup, name);
	struct portal_paths *paths;

	if (d)
		return d;
	paths = portal_paths_new(sup->paths, name);
	d = daemon_new(name, &daemon_portal, daemon_paths_copy(paths->daemon), &portal_ops, sup);
	portal_paths_free(paths);
	d->config = portal_config;
	(void)g_mkdir_with_parents(d->paths->dir, 0700); /* who writes there will say so */
	g_hash_table_insert(sup->portals, d->name, d);
	return d;
}

void sup_forget_portal(struct supervisor *sup, const char *name)
{
	g_hash_table_remove(sup->portal_texts, name);
	g_hash_table_remove(sup->portals, name);
	sup->state_dirty = true;
}

void sup_clear_portal(struct supervisor *sup, const char *name)
{
	struct portal_paths *paths = portal_paths_new(sup->paths, name);
	struct daemon *d = sup_find_portal(sup, name);

	/* A file of the lab's own is in another place, and stays. */
	(void)unlink(paths->memory);
	(void)unlink(paths->lease);
	(void)unlink(paths->ivshmem);
	portal_paths_free(paths);
	g_hash_table_remove(sup->portal_texts, name);
	while (d && d->items->len > 0)
		daemon_remove_item(d, ((struct daemon_item *)d->items->pdata[0])->name);
}

const char *sup_portal_text(const struct supervisor *sup, const char *name)
{
	const char *text = g_hash_table_lookup(sup->portal_texts, name);

	return text ? text : "";
}

struct json_object *sup_held_portals(const struct supervisor *sup)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; sup->lab && i < sup->lab->portals->len; i++) {
		const struct portal *portal = lab_portal(sup->lab, i);
		const struct daemon *d = g_hash_table_lookup(sup->portals, portal->name);
		g_autofree char *text = render_portal_text(sup->lab, portal);

		if (d && daemon_alive(d) && strcmp(text, sup_portal_text(sup, portal->name)) != 0)
			json_object_array_add(list, json_object_new_string(portal->name));
	}
	return list;
}

void sup_add_access(struct supervisor *sup, const struct vm *vm, const struct portal *portal)
{
	const struct portal_access *access = vm_find_portal(vm, portal);

	if (access)
		daemon_add_item(sup_portal(sup, portal->name),
				render_portal_client(vm, access, sup->paths), NULL);
}

/* Whether a VM runs that has been started with a portal of that name, or a guest has it. */
static bool is_mapped(const struct supervisor *sup, const char *name)
{
	g_autofree char *lines = g_strdup_printf("\nportal.%s.", name);
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct machine *m = value;

		if (machine_alive(m) && m->settings && strstr(m->settings, lines))
			return true;
	}
	return guests_map(sup->guests, name);
}

/* Whether the memory that is left is of another size, or was made by a daemon that was told another port, which is in its
 * head: what a supervisor that was killed has recorded may be older than either. */
static bool is_leftover(const struct portal *portal, const struct portal_paths *own)
{
	struct json_object *told, *port;
	struct stat st;
	bool differs;

	if (stat(own->memory, &st) < 0)
		return false;
	told = json_object_from_file(own->daemon->config);
	differs = (uint64_t)st.st_size != portal->size ||
		  !json_object_object_get_ex(told, "vsock-port", &port) ||
		  json_object_get_int64(port) != portal->port;
	json_object_put(told);
	return differs;
}

/* Have it be what the lab says now, whatever a daemon has left that died, unless a VM still has that mapped. */
static void renew_portal(struct supervisor *sup, const struct portal *portal)
{
	struct portal_paths *own = portal_paths_new(sup->paths, portal->name);
	char *text = render_portal_text(sup->lab, portal);
	bool differs = strcmp(text, sup_portal_text(sup, portal->name)) != 0 ||
		       is_leftover(portal, own);

	if (differs && !is_mapped(sup, portal->name)) {
		(void)unlink(own->memory); /* a file of the lab's own is in another place */
		g_hash_table_replace(sup->portal_texts, g_strdup(portal->name),
				     g_steal_pointer(&text));
	}
	g_free(text);
	portal_paths_free(own);
}

void sup_start_portal(struct supervisor *sup, const struct portal *portal)
{
	struct daemon *d = sup_portal(sup, portal->name);

	if (daemon_alive(d))
		return;
	renew_portal(sup, portal);
	daemon_add_item(d, render_portal_host(portal, sup->paths), NULL);
	(void)daemon_start(d, NULL); /* a failure is in its stage and reason */
}

/* --- before a VM starts --------------------------------------------------------------------------------------------- */

/* Whether the portal is the one that the lab means: a QEMU that finds a smaller file would make it larger. */
static gboolean is_right(const struct supervisor *sup, const struct vm *vm,
			 const struct portal_access *access, GError **error)
{
	const char *name = access->portal->name;
	const struct daemon *d = g_hash_table_lookup(sup->portals, name);

	if (d && !daemon_alive(d) && d->stage == DAEMON_STARTING) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "portal %s has died and is being started again: try again", name);
		return FALSE;
	}
	if (!d || !daemon_alive(d)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "portal %s does not run: run `orchestrator up`", name);
		return FALSE;
	}
	if (render_portal_serves(sup_portal_text(sup, name), vm, access))
		return TRUE;
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
		"portal %s runs with other settings than the lab file's: stop the VMs that have it, and `orchestrator up` makes it anew",
		name);
	return FALSE;
}

enum launch sup_want_accesses(struct supervisor *sup, const struct vm *vm, GError **error)
{
	bool wait = false;

	for (guint i = 0; i < vm->portals->len; i++) {
		const struct portal *portal = vm_portal(vm, i)->portal;
		const struct daemon_item *item;

		if (!is_right(sup, vm, vm_portal(vm, i), error))
			return LAUNCH_FAILED;
		sup_add_access(sup, vm, portal);
		item = daemon_find_item(sup_find_portal(sup, portal->name), vm->name);
		if (item->problem) {
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "portal %s: %s",
				    portal->name, item->problem);
			return LAUNCH_FAILED;
		}
		wait |= !item->state;
	}
	return wait ? LAUNCH_WAIT : LAUNCH_READY;
}

/* --- taking over ---------------------------------------------------------------------------------------------------- */

/* What it is to serve, with what the daemon does not tell about it. */
static void adopt_accesses(struct supervisor *sup, const struct portal *portal)
{
	GHashTableIter iter;
	gpointer value;

	daemon_add_item(sup_portal(sup, portal->name), render_portal_host(portal, sup->paths),
			NULL);
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct vm *vm = lab_find_vm(sup->lab, ((const struct machine *)value)->name);

		if (vm)
			sup_add_access(sup, vm, portal);
	}
}

void sup_adopt_portal(struct supervisor *sup, const struct state_net *was)
{
	const struct portal *portal = sup->lab ? lab_find_portal(sup->lab, was->name) : NULL;
	struct daemon *d = sup_portal(sup, was->name);

	d->restarts = was->restarts;
	g_hash_table_replace(sup->portal_texts, g_strdup(was->name),
			     g_strdup(was->settings ? was->settings : ""));
	if (portal)
		adopt_accesses(sup, portal);
	if (daemon_adopt(d, &was->id)) {
		g_message("took over portal %s, pid %d", d->name, (int)was->id.pid);
	} else if (was->id.pid) {
		/* It died while nobody looked; its memory is still there. */
		g_message("portal %s has died, starting it again", d->name);
		daemon_revive(d);
	}
}
