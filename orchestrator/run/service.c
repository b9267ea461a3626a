/* SPDX-License-Identifier: MIT */
#include "run/service.h"

#include <string.h>
#include <unistd.h>

#include "err.h"
#include "plan/observed.h"
#include "plan/plan.h"
#include "run/dirs.h"
#include "run/executor.h"
#include "run/guests.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/report.h"
#include "run/state.h"
#include "run/supervisor.h"
#include "run/watch.h"

#define GRACE_MS 10000 /* for a guest to power off */
#define FLUSH_MS 1000
#define ALONE_S  10 /* without a lab, waiting for a first client */

enum want { WANT_APPLIED, WANT_DOWN, WANT_VM };
enum phase { VM_STOPS, VM_LAUNCHES, VM_BOOTS };

/* A call whose answer is still to come true. */
struct waiting {
	enum want want;
	struct rpc_call *call;
	bool changed; /* WANT_APPLIED: the plan was not empty */
	char *vm;     /* WANT_VM */
	bool start;   /* it is to run in the end */
	enum phase phase;
};

struct service {
	struct supervisor *sup;
	struct rpc_server *rpc;
	char *path;
	GPtrArray *waiting;
	bool leaving; /* the lab goes down once its guests have left */
	unsigned grace_ms;
	bool done;        /* somebody has been served: without a lab there is nothing to stay for */
	guint idle_timer; /* … or nobody has come */
	bool fresh; /* nothing ran before the plan under way: if all of it fails, nothing shall stay */
	struct json_object
		*ruins; /* the failures that led to taking it all down again; NULL: it is not so */
};

static void waiting_free(void *p)
{
	struct waiting *w = p;

	g_free(w->vm);
	g_free(w);
}

static struct waiting *wait_for(struct service *s, enum want want, struct rpc_call *call)
{
	struct waiting *w = g_new0(struct waiting, 1);

	w->want = want;
	w->call = call;
	g_ptr_array_add(s->waiting, w);
	sup_poke(s->sup);
	return w;
}

/* --- small methods ---------------------------------------------------------------------------------------- */

static void do_hello(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	struct json_object *o = json_object_new_object();

	json_put_str(o, "name", s->sup->name);
	json_put_str(o, "version", VHOST_LAB_VERSION);
	json_put_int(o, "pid", getpid());
	rpc_reply(call, o);
}

/* What holds on the links of a list of NICs or uplinks, whose names are under `key`. */
static void add_links(struct supervisor *sup, struct json_object *list, const char *network,
		      const char *key)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *port = json_str(o, key);

		if (port)
			json_object_object_add(
				o, "link",
				link_report(sup, network ? network : json_str(o, "network"), port));
	}
}

/* As the switch sees them: "running", "down". */
static void add_states(struct supervisor *sup, struct json_object *list, const char *network)
{
	const struct daemon *sw = sup_find_switch(sup, network);

	for (size_t i = 0; sw && list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const struct daemon_item *item = daemon_find_item(sw, json_str(o, "name"));

		json_put_str(o, "state", item ? item->state : NULL);
	}
}

/* Of VMs, or of guests. */
static void add_nics_links(struct supervisor *sup, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		add_links(sup,
			  json_member(json_object_array_get_idx(list, i), "nics", json_type_array),
			  NULL, "port");
}

static void add_all_links(struct supervisor *sup, struct json_object *report)
{
	struct json_object *nets = json_member(report, "networks", json_type_array);

	if (sup->lab) {
		add_nics_links(sup, json_member(report, "vms", json_type_array));
		add_nics_links(sup, json_member(report, "guests", json_type_array));
	}
	for (size_t i = 0; sup->lab && i < json_object_array_length(nets); i++) {
		struct json_object *net = json_object_array_get_idx(nets, i);

		add_links(sup, json_member(net, "uplinks", json_type_array), json_str(net, "name"),
			  "name");
		add_states(sup, json_member(net, "uplinks", json_type_array),
			   json_str(net, "name"));
	}
}

static void do_status(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	struct state *state = sup_state(s->sup);
	struct json_object *report = report_make(s->sup->lab, s->sup->paths, state);

	add_all_links(s->sup, report);
	json_put_str(report, "problem", sup_engine_problem(s->sup));
	rpc_reply(call, report);
	state_free(state);
}

static void do_observe(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	struct observed *observed = sup_observe(s->sup);

	rpc_reply(call, observed_to_json(observed));
	observed_free(observed);
}

static void do_subscribe(struct rpc_call *call, struct json_object *params, void *data)
{
	rpc_subscribe(call);
	rpc_reply(call, NULL);
}

void service_event(struct service *s, struct json_object *event)
{
	rpc_notify(s->rpc, "event", event);
}

/* --- apply ------------------------------------------------------------------------------------------------ */

/* The same lab from another file is a mistake more often than not: two checkouts of one repository. */
static gboolean check_path(const struct supervisor *sup, const char *path, GError **error)
{
	if (!sup->lab || !sup->lab_path || strcmp(sup->lab_path, path) == 0 ||
	    access(sup->lab_path, F_OK) < 0)
		return TRUE;
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
		"a lab \"%s\" runs already, from %s: take it down first (`orchestrator down %s`), or give "
		"this one another \"name\"",
		sup->name, sup->lab_path, sup->name);
	return FALSE;
}

static struct lab *read_lab(const struct supervisor *sup, const char *path, GError **error)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_load(path, sup->dirs, &lab, &errors)) {
		(void)lab_errors_to_gerror(errors, error);
		return NULL;
	}
	if (strcmp(lab->name, sup->name) == 0)
		return lab;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT, "%s is the lab \"%s\" now", path,
		    lab->name);
	lab_free(lab);
	return NULL;
}

static void begin_plan(struct service *s, struct lab *lab, unsigned jobs, unsigned grace_ms,
		       bool *ret_changed)
{
	struct supervisor *sup = s->sup;
	struct observed *observed;
	struct plan *plan;

	sup_set_lab(sup, lab);
	observed = sup_observe(sup);
	plan = plan_make(lab, observed, PLAN_DEFAULT);
	observed_free(observed);
	*ret_changed = plan->n_todo > 0;
	executor_set_plan(sup->executor, plan, jobs, grace_ms);
	sup_poke(sup);
}

static bool goes_down(const struct service *s)
{
	bool down = s->ruins != NULL;

	for (guint i = 0; i < s->waiting->len; i++)
		down |= ((const struct waiting *)s->waiting->pdata[i])->want == WANT_DOWN;
	return down;
}

static gboolean apply(struct service *s, const char *path, unsigned jobs, bool *ret_changed,
		      GError **error)
{
	struct supervisor *sup = s->sup;
	bool runs = sup_anything_runs(sup);
	struct lab *lab;

	if (goes_down(s)) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
				    "the lab is being taken down");
		return FALSE;
	}
	lab = read_lab(sup, path, error);
	if (!lab)
		return FALSE;
	if ((runs && !check_path(sup, path, error)) || !guests_agree(sup->guests, lab, error) ||
	    !launch_check(lab, sup->dirs, sup->caps, error) ||
	    !state_write_file(sup->paths->lab_json, lab->text, (gssize)lab->text_len, error)) {
		lab_free(lab);
		return FALSE;
	}
	s->fresh = s->fresh || !runs;
	begin_plan(s, lab, jobs, GRACE_MS, ret_changed);
	sup_write_ssh_config(sup);
	return TRUE;
}

/* From here on a new client finds nobody, and starts a supervisor of its own. */
static void close_shop(struct service *s)
{
	rpc_server_stop_listening(s->rpc);
	(void)unlink(s->path);
}

/* A lab of which nothing runs, and nothing will by itself: no reason to stay. */
static void leave_if_idle(struct service *s)
{
	if (!s->done || s->sup->lab || sup_anything_runs(s->sup) || s->waiting->len > 0)
		return;
	close_shop(s);
	(void)dirs_clear(s->sup->dirs, s->sup->paths, s->sup->cleanup);
	sup_leave(s->sup);
}

static void do_apply(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	const char *path = json_str(params, "lab");
	int64_t jobs = json_int(params, "jobs", 0);
	g_autoptr(GError) error = NULL;
	struct waiting *w;
	bool changed;

	if (!path || !g_path_is_absolute(path)) {
		rpc_fail_text(call, ORCH_ERROR_USAGE, "apply needs \"lab\", an absolute path");
		return;
	}
	if (!apply(s, path, jobs > 0 && jobs < G_MAXINT ? (unsigned)jobs : 0, &changed, &error)) {
		rpc_fail(call, error);
		s->done = true;
		leave_if_idle(s);
		return;
	}
	if (!json_flag(params, "wait", true)) {
		struct json_object *o = json_object_new_object();

		json_put_bool(o, "changed", changed);
		rpc_reply(call, o);
		return;
	}
	w = wait_for(s, WANT_APPLIED, call);
	w->changed = changed;
}

static struct json_object *failures_to_json(const GPtrArray *failures)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < failures->len; i++) {
		const struct executor_failure *f = failures->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "subject", f->subject);
		json_put_str(o, "text", f->text);
		json_put_int(o, "exit", f->exit_code);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *outcome(struct service *s, bool changed)
{
	struct supervisor *sup = s->sup;
	struct json_object *o = json_object_new_object(), *held = json_object_new_array();
	unsigned ready = 0;

	for (guint i = 0; sup->lab && i < sup->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(sup->lab, i);
		const struct machine *m = sup_find_machine(sup, vm->name);
		g_autofree char *settings = plan_vm_settings(sup->lab, vm);

		ready += m && m->stage == STAGE_READY;
		if (m && machine_alive(m) && m->settings && strcmp(m->settings, settings) != 0)
			json_object_array_add(held, json_object_new_string(vm->name));
	}
	json_put_bool(o, "changed", changed);
	json_object_object_add(o, "held", held);
	json_object_object_add(o, "held-portals", sup_held_portals(sup));
	json_object_object_add(o, "failed", failures_to_json(executor_failures(sup->executor)));
	json_put_int(o, "ready", ready);
	return o;
}

static bool any_machine_alive(const struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;
	bool alive = false;

	g_hash_table_iter_init(&iter, sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		alive |= machine_alive(value);
	return alive;
}

/* All has failed and nothing ran before: take the rest (switches) down again, keeping the reasons. */
static bool begin_ruin(struct service *s)
{
	const GPtrArray *failures = executor_failures(s->sup->executor);
	bool changed;

	if (!s->fresh || failures->len == 0 || any_machine_alive(s->sup) || s->ruins)
		return false;
	s->ruins = failures_to_json(failures);
	s->done = true;
	begin_plan(s, NULL, 0, 0, &changed);
	return true;
}

static struct json_object *ruin_outcome(struct service *s)
{
	struct json_object *o = json_object_new_object();

	json_put_bool(o, "changed", true);
	json_put_bool(o, "down", true);
	json_put_str(o, "problem", sup_engine_problem(s->sup));
	json_object_object_add(o, "held", json_object_new_array());
	json_object_object_add(o, "failed", json_object_get(s->ruins));
	json_put_int(o, "ready", 0);
	return o;
}

/* --- down ------------------------------------------------------------------------------------------------- */

/* Not before the QEMUs of others have let go of what is to end. */
static void go_down(struct service *s)
{
	bool changed;

	if (!s->leaving || !guests_leave(s->sup->guests))
		return;
	s->leaving = false;
	begin_plan(s, NULL, 0, s->grace_ms, &changed);
}

static void do_down(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	int64_t grace = json_int(params, "grace-ms", GRACE_MS);

	s->sup->cleanup |= json_flag(params, "cleanup", false);
	s->fresh = false;
	s->done = true;
	s->leaving = true;
	s->grace_ms = (unsigned)CLAMP(grace, 0, G_MAXINT);
	sup_event(s->sup, "lab", s->sup->name, "stopping", NULL);
	(void)wait_for(s, WANT_DOWN, call);
	go_down(s);
}

static struct json_object *down_outcome(struct service *s)
{
	struct json_object *o = json_object_new_object();
	bool gone;

	close_shop(s);
	gone = dirs_clear(s->sup->dirs, s->sup->paths, s->sup->cleanup);

	json_put_str(o, "problem", sup_engine_problem(s->sup));
	if (!gone)
		json_put_str(o, "logs", s->sup->paths->state_dir);
	return o;
}

/* --- one VM ----------------------------------------------------------------------------------------------- */

static const struct vm *vm_of_call(struct service *s, struct rpc_call *call,
				   struct json_object *params)
{
	const char *name = json_str(params, "vm");
	const struct lab *lab = s->sup->lab;
	const struct vm *vm = lab && name ? lab_find_vm(lab, name) : NULL;

	if (!name)
		rpc_fail_text(call, ORCH_ERROR_USAGE, "\"vm\" is missing");
	else if (!vm && goes_down(s))
		rpc_fail_text(call, ORCH_ERROR_CONFLICT, "the lab is being taken down");
	else if (!vm)
		rpc_fail_text(call, ORCH_ERROR_USAGE, "lab %s has no VM \"%s\"", s->sup->name,
			      name);
	return vm;
}

static void begin_vm_call(struct service *s, struct rpc_call *call, struct json_object *params,
			  bool stop, bool start)
{
	const struct vm *vm = vm_of_call(s, call, params);
	int64_t grace = json_int(params, "grace-ms", GRACE_MS);
	struct machine *m;
	struct waiting *w;

	if (!vm)
		return;
	m = sup_machine(s->sup, vm->name);
	w = wait_for(s, WANT_VM, call);
	w->vm = g_strdup(vm->name);
	w->start = start;
	/* One that is about to end has to have ended before it can be started again. */
	if (stop || m->stage == STAGE_STOPPING)
		w->phase = VM_STOPS;
	else
		w->phase = machine_alive(m) ? VM_BOOTS : VM_LAUNCHES;
	if (stop)
		machine_stop(m, (unsigned)CLAMP(grace, 0, G_MAXINT));
}

static void do_vm_start(struct rpc_call *call, struct json_object *params, void *data)
{
	begin_vm_call(data, call, params, false, true);
}

static void do_vm_stop(struct rpc_call *call, struct json_object *params, void *data)
{
	begin_vm_call(data, call, params, true, false);
}

static void do_vm_restart(struct rpc_call *call, struct json_object *params, void *data)
{
	begin_vm_call(data, call, params, true, true);
}

/* NICs that a changed lab file has taken away. */
static void drop_old_ports(struct supervisor *sup, const struct machine *m, const struct vm *vm)
{
	for (guint i = 0; i < m->ports->len; i++) {
		const struct state_port *p = m->ports->pdata[i];
		struct daemon *sw = sup_find_switch(sup, p->network);
		bool wanted = false;

		for (guint j = 0; j < vm->nics->len; j++) {
			const struct nic *nic = vm_nic(vm, j);

			wanted |= strcmp(nic->port, p->name) == 0 &&
				  strcmp(nic->network->name, p->network) == 0;
		}
		if (sw && !wanted)
			daemon_remove_item(sw, p->name);
	}
}

static bool vm_launches(struct service *s, struct waiting *w, struct machine *m)
{
	const struct vm *vm = s->sup->lab ? lab_find_vm(s->sup->lab, w->vm) : NULL;
	g_autoptr(GError) error = NULL;

	if (!vm) {
		rpc_fail_text(w->call, ORCH_ERROR_CONFLICT, "VM %s has been taken out of the lab",
			      w->vm);
		return true;
	}
	if (!launch_check(s->sup->lab, s->sup->dirs, s->sup->caps, &error)) {
		rpc_fail(w->call, error);
		return true;
	}
	drop_old_ports(s->sup, m, vm);
	switch (executor_start_vm(s->sup, vm, &error)) {
	case LAUNCH_WAIT:
		break;
	case LAUNCH_FAILED:
		rpc_fail(w->call, error);
		return true;
	case LAUNCH_READY:
		w->phase = VM_BOOTS;
		break;
	}
	return false;
}

/* True: the call has been answered. */
static bool vm_round(struct service *s, struct waiting *w)
{
	struct machine *m = sup_machine(s->sup, w->vm);

	/* Ended; it may run again already, when `up` waited for the same. */
	if (w->phase == VM_STOPS && m->stage != STAGE_STOPPING) {
		if (!w->start) {
			rpc_reply(w->call, NULL);
			return true;
		}
		w->phase = VM_LAUNCHES;
	}
	if (w->phase == VM_LAUNCHES && machine_alive(m))
		w->phase = VM_BOOTS; /* `up` was quicker */
	if (w->phase == VM_LAUNCHES && vm_launches(s, w, m))
		return true;
	if (w->phase != VM_BOOTS)
		return false;
	if (m->stage == STAGE_READY) {
		rpc_reply(w->call, NULL);
		return true;
	}
	if (machine_alive(m) && !machine_gave_up(m))
		return false;
	rpc_fail_text(w->call, m->reason_code ? m->reason_code : ORCH_ERROR_FAILED, "%s: %s", w->vm,
		      m->reason ? m->reason : "it does not run");
	return true;
}

/* --- forwards --------------------------------------------------------------------------------------------- */

static void do_forward_add(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	const struct vm *vm = vm_of_call(s, call, params);

	if (vm)
		sup_forward_add(s->sup, call, vm, json_str(params, "forward"));
}

static void do_forward_remove(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	const struct vm *vm = vm_of_call(s, call, params);

	if (vm)
		sup_forward_remove(s->sup, call, vm, json_str(params, "forward"));
}

static void do_forward_list(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;
	const char *name = json_str(params, "vm");

	if (!name || vm_of_call(s, call, params))
		sup_forward_list(s->sup, call, name);
}

/* --- links ------------------------------------------------------------------------------------------------ */

static void do_link_set(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_set(((struct service *)data)->sup, call, params);
}

static void do_link_reset(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_reset(((struct service *)data)->sup, call, params);
}

static void do_link_up(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_carrier(((struct service *)data)->sup, call, params, true);
}

static void do_link_down(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_carrier(((struct service *)data)->sup, call, params, false);
}

static void do_nat_add(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_nat(((struct service *)data)->sup, call, params, true);
}

static void do_nat_remove(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_nat(((struct service *)data)->sup, call, params, false);
}

static void do_nat_list(struct rpc_call *call, struct json_object *params, void *data)
{
	link_method_nat_list(((struct service *)data)->sup, call, params);
}

/* --- guests ------------------------------------------------------------------------------------------------ */

static void do_guest_attach(struct rpc_call *call, struct json_object *params, void *data)
{
	struct service *s = data;

	if (goes_down(s))
		rpc_fail_text(call, ORCH_ERROR_CONFLICT, "the lab is being taken down");
	else if (!s->sup->lab)
		rpc_fail_text(call, ORCH_ERROR_FAILED,
			      "lab %s is down: `orchestrator up` starts it", s->sup->name);
	else
		guests_attach(s->sup->guests, call, params);
}

static void do_guest_detach(struct rpc_call *call, struct json_object *params, void *data)
{
	guests_detach(((struct service *)data)->sup->guests, call, params);
}

/* --- the round -------------------------------------------------------------------------------------------- */

/* Whether 'w' has been answered.  settled: nothing is under way. */
static bool answer(struct service *s, struct waiting *w, bool settled)
{
	bool down = !s->sup->lab && settled && !sup_anything_runs(s->sup) &&
		    sup_clear_engines(s->sup);

	switch (w->want) {
	case WANT_VM:
		return vm_round(s, w);
	case WANT_DOWN:
		if (down)
			rpc_reply(w->call, down_outcome(s));
		return down;
	case WANT_APPLIED:
		if (s->ruins && down) {
			rpc_reply(w->call, ruin_outcome(s));
			return true;
		}
		if (!s->ruins && !s->sup->lab) {
			rpc_fail_text(w->call, ORCH_ERROR_CONFLICT,
				      "the lab was taken down meanwhile");
			return true;
		}
		if (!s->ruins && settled) {
			rpc_reply(w->call, outcome(s, w->changed));
			return true;
		}
		return false;
	}
	return false;
}

void service_run(struct service *s)
{
	bool settled;

	go_down(s);
	settled = executor_settled(s->sup->executor);
	if (settled && s->sup->lab && begin_ruin(s))
		return; /* another round comes */
	for (guint i = 0; i < s->waiting->len;) {
		struct waiting *w = s->waiting->pdata[i];

		if (answer(s, w, settled))
			g_ptr_array_remove_index(s->waiting, i);
		else
			i++;
	}
	if (settled && s->sup->lab)
		s->fresh = false;
	if (settled)
		leave_if_idle(s);
}

static const struct rpc_method methods[] = {
	{ "hello", "", do_hello },
	{ "status", "", do_status },
	{ "observe", "", do_observe },
	{ "apply", "lab,jobs,wait", do_apply },
	{ "down", "cleanup,grace-ms", do_down },
	{ "vm.start", "vm", do_vm_start },
	{ "vm.stop", "vm,grace-ms", do_vm_stop },
	{ "vm.restart", "vm,grace-ms", do_vm_restart },
	{ "forward.add", "vm,forward", do_forward_add },
	{ "forward.remove", "vm,forward", do_forward_remove },
	{ "forward.list", "vm", do_forward_list },
	{ "link.set", "link,direction,profile,settings,replace,for-ns", do_link_set },
	{ "link.reset", "link,direction", do_link_reset },
	{ "link.up", "link", do_link_up },
	{ "link.down", "link,for-ns", do_link_down },
	{ "nat.add", "network,forward", do_nat_add },
	{ "nat.remove", "network,forward", do_nat_remove },
	{ "nat.list", "network", do_nat_list },
	{ "guest.attach", "name,qmp,networks,sockets,portals,permanent", do_guest_attach },
	{ "guest.detach", "name,force", do_guest_detach },
	{ "subscribe", "", do_subscribe },
	{ NULL, NULL, NULL },
};

static gboolean alone(gpointer p)
{
	struct service *s = p;

	s->idle_timer = 0;
	s->done = true;
	sup_poke(s->sup);
	return G_SOURCE_REMOVE;
}

struct service *service_new(struct supervisor *sup, const char *path, int client_fd, GError **error)
{
	int fd = listen_now(path, error);
	struct service *s;

	if (fd < 0)
		return NULL;
	s = g_new0(struct service, 1);
	s->sup = sup;
	s->path = g_strdup(path);
	s->waiting = g_ptr_array_new_with_free_func(waiting_free);
	s->rpc = rpc_server_new(fd, methods, s);
	if (client_fd >= 0)
		rpc_server_adopt(s->rpc, client_fd);
	s->idle_timer = g_timeout_add_seconds(ALONE_S, alone, s);
	return s;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	if (s->idle_timer)
		g_source_remove(s->idle_timer);
	for (guint i = 0; i < s->waiting->len; i++)
		rpc_fail_text(((struct waiting *)s->waiting->pdata[i])->call, ORCH_ERROR_FAILED,
			      "the supervisor has ended");
	rpc_server_flush(s->rpc, FLUSH_MS);
	close_shop(s);
	rpc_server_free(s->rpc);
	g_ptr_array_unref(s->waiting);
	json_object_put(s->ruins);
	g_free(s->path);
	g_free(s);
}
