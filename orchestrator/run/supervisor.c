/* SPDX-License-Identifier: MIT */
#include "run/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"
#include "plan/observed.h"
#include "plan/plan.h"
#include "render/switch.h"
#include "run/agent.h"
#include "run/dirs.h"
#include "run/executor.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/logfile.h"
#include "run/remains.h"
#include "run/service.h"
#include "run/state.h"

#define BOUND_LOGS_S 3

/* --- one round -------------------------------------------------------------------------------------------- */

void sup_save_state(struct supervisor *sup)
{
	struct state *state = sup_state(sup);
	g_autoptr(GError) error = NULL;

	sup->state_dirty = false;
	if (!state_save(sup->paths->state_json, state, &error))
		g_warning("%s", error->message);
	state_free(state);
}

static gboolean round_of_all(gpointer p)
{
	struct supervisor *sup = p;

	sup->poke = 0;
	network_tell_all(sup);
	link_show_carriers(sup);
	guests_run(sup->guests);
	executor_run(sup->executor);
	if (sup->state_dirty && !sup->leaving)
		sup_save_state(sup);
	service_run(sup->service);
	return G_SOURCE_REMOVE;
}

void sup_poke(struct supervisor *sup)
{
	if (!sup->poke)
		sup->poke = g_idle_add_full(G_PRIORITY_DEFAULT, round_of_all, sup, NULL);
}

void sup_event(struct supervisor *sup, const char *kind, const char *subject, const char *stage,
	       const char *text)
{
	struct json_object *o = json_object_new_object();
	const struct machine *m = strcmp(kind, "vm") == 0 ? sup_find_machine(sup, subject) : NULL;

	g_message("%s %s: %s%s%s", kind, subject, stage, text ? ": " : "", text ? text : "");
	json_put_int(o, "time-ms", g_get_real_time() / 1000);
	json_put_str(o, "kind", kind);
	json_put_str(o, "subject", subject);
	json_put_str(o, "stage", stage);
	json_put_str(o, "text", text);
	if (m && m->started_us)
		json_put_int(o, "elapsed-ms", (proc_boottime_us() - m->started_us) / 1000);
	service_event(sup->service, o);
}

/* --- what there is ---------------------------------------------------------------------------------------- */

static void machine_changed(struct machine *m, void *data)
{
	struct supervisor *sup = data;

	/* What its agent is about is for `status`; an event is a stage, a reason or a reset. */
	if (m->told_stage != m->stage || m->told_resets != m->resets ||
	    g_strcmp0(m->told_reason, m->reason) != 0) {
		m->told_stage = m->stage;
		m->told_resets = m->resets;
		g_free(m->told_reason);
		m->told_reason = g_strdup(m->reason);
		sup_event(sup, "vm", m->name, stage_word(m->stage), m->reason);
	}
	sup->state_dirty = true;
	sup_poke(sup);
}

static const struct machine_ops machine_ops = { .changed = machine_changed };

static void switch_changed(struct daemon *sw, void *data)
{
	struct supervisor *sup = data;

	/* Without its connection nothing is answered any more. */
	if (!sw->rpc) {
		network_connection_lost(sup, sw->name);
		link_calls_lost(sup, sw->name, "the switch ended before it answered");
	}
	if (!daemon_alive(sw))
		network_switch_died(sup, sw->name);
	sup->state_dirty = true;
	sup_poke(sup);
}

static void switch_port(struct daemon *sw, const char *port, const char *state, void *data)
{
	struct supervisor *sup = data;
	g_autofree char *vm = g_strndup(port, strcspn(port, "."));
	struct machine *m = sup_find_machine(sup, vm);

	if (m)
		machine_port_changed(m, port, daemon_negotiated(state));
	if (state && strcmp(state, "listening") == 0)
		launch_admit_again(sup, vm);
	/* It has come, or gone: what is told about it, too. */
	if (!state || strcmp(state, "listening") == 0)
		network_compare_again(sup, sw->name);
	sup_poke(sup);
}

static void switch_link(struct daemon *sw, const char *port, void *data)
{
	sup_poke(data);
}

static void switch_died(struct daemon *sw, const char *text, void *data)
{
	network_switch_died(data, sw->name);
	sup_event(data, "network", sw->name, daemon_stage_word(DAEMON_STARTING), text);
}

static struct json_object *switch_config(struct daemon *sw, void *data)
{
	struct supervisor *sup = data;
	const struct network *n = sup->lab ? lab_find_network(sup->lab, sw->name) : NULL;
	struct json_object *o = n ? render_switch_config(n) : json_object_new_object();
	struct json_object *setup = daemon_did_not_last(sw) ? NULL : network_setup(sup, sw->name);

	if (setup)
		json_object_object_add(o, "setup", setup);
	return o;
}

static const struct daemon_ops switch_ops = {
	.changed = switch_changed,
	.item = switch_port,
	.link = switch_link,
	.died = switch_died,
};

struct daemon *sup_find_switch(struct supervisor *sup, const char *name)
{
	return g_hash_table_lookup(sup->switches, name);
}

struct machine *sup_find_machine(struct supervisor *sup, const char *name)
{
	return g_hash_table_lookup(sup->machines, name);
}

struct daemon *sup_switch(struct supervisor *sup, const char *name)
{
	struct daemon *sw = sup_find_switch(sup, name);

	if (sw)
		return sw;
	sw = daemon_new(name, &daemon_switch, net_paths_new(sup->paths, name), &switch_ops, sup);
	sw->config = switch_config;
	(void)g_mkdir_with_parents(sw->paths->dir, 0700); /* what is written there will say so */
	g_hash_table_insert(sup->switches, sw->name, sw);
	return sw;
}

struct machine *sup_machine(struct supervisor *sup, const char *name)
{
	struct machine *m = sup_find_machine(sup, name);

	if (m)
		return m;
	m = machine_new(name, vm_paths_new(sup->paths, name, 0), &machine_ops, sup);
	g_hash_table_insert(sup->machines, m->name, m);
	return m;
}

static void want_nic(struct supervisor *sup, struct daemon *sw, const struct network *network,
		     const struct link_ref *link)
{
	const struct vm_paths *paths = lab_paths_vm(sup->paths, link->vm->index);
	struct json_object *params, *more;

	render_nic_port(network, link->port, vm_paths_port(paths, link->nic->index), link->link,
			&params, &more);
	daemon_add_item(sw, params, more);
}

void sup_want_port(struct supervisor *sup, struct daemon *sw, const struct network *network,
		   const char *port)
{
	struct json_object *params, *more;
	struct link_ref link;

	/* A VM that is left alone may have a port that the lab file no longer has. */
	if (!lab_find_link(sup->lab, network, port, &link, NULL))
		return;
	if (link.nic) {
		want_nic(sup, sw, network, &link);
		return;
	}
	render_uplink_port(sup->lab, network, link.uplink, &params, &more);
	daemon_add_item(sw, params, more);
}

void sup_forget_switch(struct supervisor *sup, const char *name)
{
	g_hash_table_remove(sup->told, name);
	g_hash_table_remove(sup->switches, name);
	sup->state_dirty = true;
}

void sup_forget_machine(struct supervisor *sup, const char *name)
{
	sup_drop_elsewhere(sup, name, NULL);
	g_hash_table_remove(sup->machines, name);
	sup->state_dirty = true;
}

/* One that serves nobody but guests is none of the plan's. */
static void observe_sockets(const struct supervisor *sup, struct observed *o)
{
	const struct daemon *d = sup->sockets;

	if (!d || !daemon_alive(d) || d->stage == DAEMON_STOPPING)
		return;
	o->sockets = d->items->len == 0;
	for (guint i = 0; i < d->items->len; i++) {
		const struct daemon_item *item = d->items->pdata[i];
		bool guest = guests_own(sup->guests, item->name);

		o->sockets |= !guest;
		if (!item->problem && !guest)
			observed_add_sockets_of(o, item->name);
	}
}

static void observe_portal(const struct supervisor *sup, const struct daemon *d, struct observed *o)
{
	struct observed_portal *portal;

	if (!daemon_alive(d) || d->stage == DAEMON_STOPPING)
		return;
	portal = observed_add_portal(o, d->name, sup_portal_text(sup, d->name));
	for (guint i = 0; i < d->items->len; i++) {
		const struct daemon_item *item = d->items->pdata[i];

		/* The processes of the host are no VM, nor are guests. */
		if (!item->problem && names_valid(item->name) &&
		    !guests_own(sup->guests, item->name))
			g_ptr_array_add(portal->vms, g_strdup(item->name));
	}
}

static void observe_settings(struct supervisor *sup, const struct daemon *sw, struct observed *o)
{
	g_autofree char *text = network_text_of_file(sup, sw->name);

	observed_add_settings(o, sw->name, text);
}

struct observed *sup_observe(struct supervisor *sup)
{
	struct observed *o = observed_new();
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct daemon *sw = value;

		if (!daemon_alive(sw) || sw->stage == DAEMON_STOPPING)
			continue;
		observed_add_network(o, sw->name);
		observe_settings(sup, sw, o);
		for (guint i = 0; i < sw->items->len; i++) {
			const struct daemon_item *port = sw->items->pdata[i];

			if (!port->problem && !guests_own(sup->guests, port->name))
				observed_add_port(o, sw->name, port->name);
		}
	}
	observe_sockets(sup, o);
	g_hash_table_iter_init(&iter, sup->portals);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		observe_portal(sup, value, o);
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct machine *m = value;

		if (machine_alive(m) && m->stage != STAGE_STOPPING)
			observed_add_vm(o, m->name, m->settings ? m->settings : "");
	}
	return o;
}

static void state_of_machine(struct supervisor *sup, struct state *s, const struct machine *m)
{
	struct state_vm *v = state_add_vm(s, m->name);

	if (machine_process(m))
		v->id = *machine_process(m);
	v->stage = m->stage;
	v->engine = sup_engine_text(sup, m);
	v->console = g_strdup(machine_console(m));
	v->paused = m->paused;
	v->settings = g_strdup(m->settings);
	v->reason = g_strdup(m->reason);
	v->ready_us = m->ready_us;
	v->cid = m->cid;
	v->waits_for = g_strdup(machine_waits_for(m));
	if (m->agent) {
		v->agent = g_strdup(vm_agent_state_word(vm_agent_state(m->agent)));
		v->agent_version = g_strdup(vm_agent_version(m->agent));
	}
	if (sup->sockets && m->cid) {
		const struct daemon_item *item = daemon_find_item(sup->sockets, m->name);

		v->sockets = g_strdup(item ? item->state : NULL);
	}
	for (guint i = 0; i < m->ports->len; i++) {
		const struct state_port *p = m->ports->pdata[i];
		const struct daemon *sw = sup_find_switch(sup, p->network);
		const struct daemon_item *port = sw ? daemon_find_item(sw, p->name) : NULL;

		state_add_port(v, p->name, p->network, p->path)->state =
			g_strdup(port ? port->state : NULL);
	}
}

static void state_of_daemon(struct state_net *n, const struct daemon *d)
{
	if (daemon_alive(d))
		n->id = *daemon_process(d);
	n->restarts = d->restarts;
	n->stage = daemon_stage_word(d->stage);
	n->reason = g_strdup(d->reason);
}

struct state *sup_state(struct supervisor *sup)
{
	struct state *s = state_new(sup->name, sup->lab_path);
	GHashTableIter iter;
	gpointer value;

	(void)proc_id_read(getpid(), &s->supervisor);
	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct daemon *sw = value;

		struct state_net *n = state_add_net(s, sw->name);

		state_of_daemon(n, sw);
		n->settings = network_text_told(sup, sw->name);
	}
	if (sup->sockets)
		state_of_daemon(state_add_sockets(s), sup->sockets);
	g_hash_table_iter_init(&iter, sup->portals);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct daemon *d = value;
		struct state_net *n = state_add_portal(s, d->name);

		state_of_daemon(n, d);
		n->settings = g_strdup(sup_portal_text(sup, d->name));
	}
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		state_of_machine(sup, s, value);
	sup_save_forwards(sup, s);
	network_save_changes(sup, s);
	guests_save(sup->guests, s);
	return s;
}

bool sup_anything_runs(struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;
	bool runs = sup->sockets && daemon_alive(sup->sockets);

	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		runs |= daemon_alive(value);
	g_hash_table_iter_init(&iter, sup->portals);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		runs |= daemon_alive(value);
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		runs |= machine_alive(value);
	return runs;
}

void sup_set_lab(struct supervisor *sup, struct lab *lab)
{
	g_hash_table_remove_all(sup->images);
	lab_paths_free(sup->paths);
	lab_free(sup->lab);
	sup->lab = lab;
	sup->paths = lab ? lab_paths_new(lab, sup->dirs) :
			   lab_paths_new_named(sup->name, sup->dirs);
	if (lab) {
		g_free(sup->lab_path);
		sup->lab_path = g_strdup(lab->path);
	}
	sup_prune_forwards(sup);
	sup_sync_forwards(sup);
	network_prune_changes(sup);
	network_compare_again(sup, NULL);
	sup->state_dirty = true;
}

void sup_leave(struct supervisor *sup)
{
	sup->leaving = true;
	g_main_context_wakeup(NULL);
}

/* --- taking over ------------------------------------------------------------------------------------------ */

/* As the VM was started with it, whatever the lab file says by now. */
static void adopt_port(struct supervisor *sup, struct daemon *sw, const struct network *n,
		       const struct state_port *was)
{
	struct json_object *params, *more = NULL;
	static const struct link nothing_said;
	struct link_ref link = { .link = &nothing_said };
	struct network bare = { 0 };

	if (n)
		(void)lab_find_link(sup->lab, n, was->name, &link, NULL);
	render_nic_port(n ? n : &bare, was->name, was->path, link.link, &params, &more);
	daemon_add_item(sw, params, more);
}

static void adopt_switch(struct supervisor *sup, const struct state_net *was,
			 const struct state *state)
{
	const struct network *n = sup->lab ? lab_find_network(sup->lab, was->name) : NULL;
	struct daemon *sw = sup_switch(sup, was->name);

	sw->restarts = was->restarts;
	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *v = state->vms->pdata[i];

		for (guint j = 0; j < v->ports->len; j++) {
			const struct state_port *p = v->ports->pdata[j];

			if (strcmp(p->network, was->name) == 0)
				adopt_port(sup, sw, n, p);
		}
	}
	for (guint i = 0; n && i < n->uplinks->len; i++)
		sup_want_port(sup, sw, n, network_uplink(n, i)->port);
	if (daemon_adopt(sw, &was->id)) {
		network_adopt_told(sup, sw->name, was->settings);
		g_message("took over switch %s, pid %d", sw->name, (int)was->id.pid);
	} else if (was->id.pid) {
		/* It died while nobody looked; its VMs wait for it. */
		g_message("switch %s has died, starting it again", sw->name);
		network_adopt_told(sup, sw->name, was->settings);
		network_switch_died(sup, sw->name);
		daemon_revive(sw);
	}
}

static void adopt(struct supervisor *sup)
{
	struct remains *remains = remains_read(sup->name, sup->dirs);
	const struct state *state = remains->state;

	if (remains->damage)
		g_warning("%s", remains->damage);
	if (remains->lab)
		sup_set_lab(sup, g_steal_pointer(&remains->lab));
	/* A damaged state does not say where the lab came from: then it is from nowhere, not from its copy. */
	g_free(sup->lab_path);
	sup->lab_path = g_strdup(state->path);
	/* What it keeps of the lab is there, whatever the state says. */
	if (sup->lab) {
		g_autofree char *engine = lab_engine_text(&sup->lab->engine);

		(void)sup_engine(sup, engine);
	}
	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *was = state->vms->pdata[i];
		struct machine *m = sup_machine(sup, was->name);

		if (machine_adopt(m, sup_engine(sup, was->engine), was))
			g_message("took over VM %s, pid %d", m->name, (int)was->id.pid);
	}
	if (state_anything_alive(state)) {
		network_adopt_changes(sup, state);
		guests_adopt(sup->guests, state);
	}
	if (state_anything_alive(state))
		for (guint i = 0; i < state->nets->len; i++)
			adopt_switch(sup, state->nets->pdata[i], state);
	if (state_anything_alive(state)) {
		sup_adopt_forwards(sup, state);
		sup_adopt_sockets(sup, state);
		for (guint i = 0; i < state->portals->len; i++)
			sup_adopt_portal(sup, state->portals->pdata[i]);
	}
	sup->state_dirty = true;
	remains_free(remains);
}

/* --- life ------------------------------------------------------------------------------------------------- */

static gboolean bound_logs(gpointer p)
{
	struct supervisor *sup = p;
	GHashTableIter iter;
	gpointer value;

	logfile_bound(sup->paths->supervisor_log);
	if (sup->sockets)
		logfile_bound(sup->sockets->paths->log);
	g_hash_table_iter_init(&iter, sup->switches);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		logfile_bound(((struct daemon *)value)->paths->log);
	g_hash_table_iter_init(&iter, sup->portals);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		logfile_bound(((struct daemon *)value)->paths->log);
	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct vm_paths *paths = ((struct machine *)value)->paths;

		logfile_bound(paths->console_log);
		logfile_bound(paths->qemu_log);
		logfile_bound(paths->ready);
	}
	return G_SOURCE_CONTINUE;
}

/* SIGTERM to a supervisor ends it, and it alone: the lab is taken down by `down`. */
static gboolean on_sigterm(gpointer p)
{
	struct supervisor *sup = p;

	g_message("asked to end by a signal; the lab goes on");
	sup->leaving = true;
	return G_SOURCE_CONTINUE;
}

/* One line, with the time: g_message() and its like, of GLib too. */
static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
				  gpointer data)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *time = g_date_time_format(now, "%F %T.%f");
	const char *message = "";

	if (level & G_LOG_LEVEL_DEBUG)
		return G_LOG_WRITER_HANDLED;
	for (gsize i = 0; i < n_fields; i++)
		if (strcmp(fields[i].key, "MESSAGE") == 0)
			message = fields[i].value;
	fprintf(stderr, "%.23s %s%s\n", time, level & G_LOG_LEVEL_WARNING ? "warning: " : "",
		message);
	return G_LOG_WRITER_HANDLED;
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void machine_free_value(void *p)
{
	machine_free(p);
}

static void daemon_free_value(void *p)
{
	daemon_free(p);
}

static struct supervisor *sup_new(const char *lab_name)
{
	struct supervisor *sup = g_new0(struct supervisor, 1);

	sup->name = g_strdup(lab_name);
	sup->dirs = lab_dirs_new();
	sup->paths = lab_paths_new_named(lab_name, sup->dirs);
	sup->switches = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, daemon_free_value);
	sup->portals = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, daemon_free_value);
	sup->portal_texts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	sup->engines = engines_new();
	sup->caps = g_new0(struct launch_caps, 1);
	sup->machines = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, machine_free_value);
	sup->forwards = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	sup->changes = forward_changes_new();
	sup->forward_calls = forward_calls_new();
	sup->told = network_told_new();
	sup->changed_settings = network_changes_new();
	sup->link_calls = link_calls_new();
	sup->images = launch_images_new();
	sup->guests = guests_new(sup);
	sup->executor = executor_new(sup);
	sup->lock_fd = -1;
	return sup;
}

static void sup_free(struct supervisor *sup)
{
	if (sup->poke)
		g_source_remove(sup->poke);
	if (sup->bound_timer)
		g_source_remove(sup->bound_timer);
	executor_free(sup->executor);
	sup_lose_forwards(sup, "the supervisor has ended");
	link_calls_lost(sup, NULL, "the supervisor has ended");
	guests_free(sup->guests);
	if (sup->expiry)
		g_source_remove(sup->expiry);
	service_free(sup->service);
	g_hash_table_unref(sup->switches);
	daemon_free(sup->sockets);
	g_hash_table_unref(sup->portals);
	g_hash_table_unref(sup->portal_texts);
	g_hash_table_unref(sup->machines);
	g_hash_table_unref(sup->engines);
	g_hash_table_unref(sup->forwards);
	g_hash_table_unref(sup->changes);
	g_ptr_array_unref(sup->forward_calls);
	g_hash_table_unref(sup->told);
	g_hash_table_unref(sup->changed_settings);
	g_ptr_array_unref(sup->link_calls);
	g_hash_table_unref(sup->images);
	launch_caps_free(sup->caps);
	lab_free(sup->lab);
	lab_paths_free(sup->paths);
	lab_dirs_free(sup->dirs);
	g_free(sup->lab_path);
	g_free(sup->name);
	if (sup->lock_fd >= 0)
		close(sup->lock_fd);
	g_free(sup);
}

static gboolean begin(struct supervisor *sup, int client_fd, GError **error)
{
	sup->lock_fd = state_lock(sup->paths->lock, error);
	if (sup->lock_fd < 0)
		return FALSE;
	sup->service = service_new(sup, sup->paths->sup_sock, client_fd, error);
	if (!sup->service)
		return FALSE;
	adopt(sup);
	sup->bound_timer = g_timeout_add_seconds(BOUND_LOGS_S, bound_logs, sup);
	sup_poke(sup);
	return TRUE;
}

int supervise(const char *lab_name, int client_fd)
{
	struct supervisor *sup = sup_new(lab_name);
	g_autoptr(GError) error = NULL;

	g_log_set_writer_func(write_log, NULL, NULL);
	(void)umask(0077);
	(void)!chdir("/");
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	g_unix_signal_add(SIGTERM, on_sigterm, sup);
	raise_fd_limit();
	g_message("supervisor of %s, pid %d, version " VHOST_LAB_VERSION, lab_name, (int)getpid());
	if (!begin(sup, client_fd, &error)) {
		g_warning("%s", error->message);
		sup_free(sup);
		return err_exit_code(error);
	}
	while (!sup->leaving)
		g_main_context_iteration(NULL, TRUE);
	g_message("supervisor of %s ends", lab_name);
	if (sup->state_dirty && sup_anything_runs(sup))
		sup_save_state(sup);
	sup_free(sup);
	return 0;
}
