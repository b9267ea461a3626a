/* SPDX-License-Identifier: MIT */
#include "run/supervisor.h"

#include <string.h>

#include "render/agent_config.h"
#include "render/sockets.h"
#include "render/ssh_config.h"
#include "run/agent.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/state.h"

#define NAME "sockets"

/* --- the daemon's news ------------------------------------------------------------------------------------ */

static void sockets_changed(struct daemon *d, void *data)
{
	struct supervisor *sup = data;

	if (d->stage == DAEMON_RUNNING)
		sup_sync_forwards(sup);
	else if (d->stage != DAEMON_STARTING || !d->rpc)
		sup_lose_forwards(sup, "the daemon of sockets ended before it answered");
	sup->state_dirty = true;
	sup_poke(sup);
}

/* "connected": QEMU has found its way to a daemon that knows nothing of it (yet). */
static void sockets_item(struct daemon *d, const char *vm, const char *state, void *data)
{
	struct supervisor *sup = data;
	struct machine *m = sup_find_machine(sup, vm);

	if (m && g_strcmp0(state, "connected") == 0)
		machine_sockets_back(m);
	else if (m && g_strcmp0(state, "running") == 0)
		machine_sockets_known(m);
	if (g_strcmp0(state, "listening") == 0)
		launch_admit_again(sup, vm);
	guests_sockets_state(sup->guests, vm, state);
	sup_poke(sup);
}

static void all_lost(struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		machine_sockets_lost(value);
	guests_sockets_lost(sup->guests);
}

static void sockets_died(struct daemon *d, const char *text, void *data)
{
	struct supervisor *sup = data;

	all_lost(sup);
	sup_event(sup, "sockets", d->name, daemon_stage_word(DAEMON_STARTING), text);
}

static const struct daemon_ops sockets_ops = {
	.changed = sockets_changed,
	.item = sockets_item,
	.died = sockets_died,
};

static struct json_object *sockets_config(struct daemon *d, void *data)
{
	const struct supervisor *sup = data;
	struct json_object *o = json_object_new_object();

	json_put_str(o, "journal", d->paths->journal);
	json_put_int(o, "ports-base", sup->lab ? sup->lab->port_base : LAB_PORT_BASE);
	return o;
}

struct daemon *sup_sockets(struct supervisor *sup)
{
	if (sup->sockets)
		return sup->sockets;
	sup->sockets = daemon_new(NAME, &daemon_hvsock, daemon_paths_copy(sup->paths->hvsock),
				  &sockets_ops, sup);
	sup->sockets->config = sockets_config;
	(void)g_mkdir_with_parents(sup->sockets->paths->dir,
				   0700); /* who writes there will say so */
	return sup->sockets;
}

/* --- VMs -------------------------------------------------------------------------------------------------- */

void sup_add_sockets(struct supervisor *sup, const struct vm *vm)
{
	daemon_add_item(sup_sockets(sup), render_sockets_vm(vm, sup->paths), NULL);
}

static const struct vm_agent_ops agent_ops = { .changed = machine_agent_changed };

void sup_attend_agent(struct supervisor *sup, struct machine *m)
{
	const struct vm *vm = sup->lab ? lab_find_vm(sup->lab, m->name) : NULL;
	g_autofree char *path = NULL;
	g_autoptr(GError) error = NULL;
	struct vm_agent *agent;

	if (!vm || !m->cid || m->agent)
		return;
	path = vm_paths_vs_port(m->paths, sup->lab->port_base);
	agent = vm_agent_new(path, render_agent_config(sup->lab, vm), vm->probes, vm->distros,
			     &agent_ops, m, &error);
	m->agent_expected = !vm->image->kernel; /* the tiny guest has one */
	if (agent)
		machine_set_agent(m, agent);
	else
		g_warning("%s: %s", m->name, error->message);
}

/* --- files ------------------------------------------------------------------------------------------------ */

void sup_write_ssh_config(const struct supervisor *sup)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autoptr(GPtrArray) guests = guests_with_sockets(sup->guests);
	g_autofree char *text = render_ssh_config(sup->lab, guests, self ? self : "orchestrator");
	g_autoptr(GError) error = NULL;

	if (!state_write_file(sup->paths->ssh_config, text, -1, &error))
		g_warning("%s", error->message);
}

/* --- taking over ------------------------------------------------------------------------------------------ */

void sup_adopt_sockets(struct supervisor *sup, const struct state *state)
{
	const struct state_net *was = state->sockets;
	GHashTableIter iter;
	gpointer value;
	struct daemon *d;

	if (!was)
		return;
	d = sup_sockets(sup);
	d->restarts = was->restarts;
	/* What it is to serve, with what the daemon does not tell about it. */
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct machine *m = value;
		const struct vm *vm = sup->lab ? lab_find_vm(sup->lab, m->name) : NULL;

		if (vm && m->cid == vm->cid && vm->sockets != LAB_SOCKETS_NONE)
			sup_add_sockets(sup, vm);
		sup_attend_agent(sup, m);
	}
	if (daemon_adopt(d, &was->id)) {
		g_message("took over the daemon of sockets, pid %d", (int)was->id.pid);
		return;
	}
	if (!was->id.pid)
		return;
	g_message("the daemon of sockets has died, starting it again");
	all_lost(sup);
	daemon_revive(d);
}
