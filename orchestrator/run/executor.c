/* SPDX-License-Identifier: MIT */
#include "run/executor.h"

#include <errno.h>
#include <string.h>

#include "err.h"
#include "plan/plan.h"
#include "run/supervisor.h"

enum step_state { AHEAD, BEGUN, DONE, FAILED };

struct executor {
	struct supervisor *sup;
	struct plan *plan; /* NULL: nothing to do */
	enum step_state *states;
	unsigned jobs, grace_ms;
	GPtrArray *failures;
};

static void failure_free(void *p)
{
	struct executor_failure *f = p;

	g_free(f->subject);
	g_free(f->text);
	g_free(f);
}

struct executor *executor_new(struct supervisor *sup)
{
	struct executor *e = g_new0(struct executor, 1);

	e->sup = sup;
	e->failures = g_ptr_array_new_with_free_func(failure_free);
	return e;
}

void executor_free(struct executor *e)
{
	if (!e)
		return;
	plan_free(e->plan);
	g_free(e->states);
	g_ptr_array_unref(e->failures);
	g_free(e);
}

void executor_set_plan(struct executor *e, struct plan *plan, unsigned jobs, unsigned grace_ms)
{
	plan_free(e->plan);
	g_free(e->states);
	e->plan = plan;
	e->states = g_new0(enum step_state, plan->steps->len);
	e->jobs = jobs;
	e->grace_ms = grace_ms;
	g_ptr_array_set_size(e->failures, 0);
}

const GPtrArray *executor_failures(const struct executor *e)
{
	return e->failures;
}

static bool failed_already(const struct executor *e, const char *subject)
{
	for (guint i = 0; i < e->failures->len; i++)
		if (strcmp(((struct executor_failure *)e->failures->pdata[i])->subject, subject) ==
		    0)
			return true;
	return false;
}

/* Each subject is reported once: its first reason is the cause of the others. */
static enum step_state fail(struct executor *e, const char *subject, int exit_code,
			    const char *text)
{
	struct executor_failure *f;

	if (failed_already(e, subject))
		return FAILED;
	f = g_new0(struct executor_failure, 1);
	f->subject = g_strdup(subject);
	f->text = g_strdup(text ? text : "failed");
	f->exit_code = exit_code ? exit_code : ORCH_ERROR_FAILED;
	g_ptr_array_add(e->failures, f);
	return FAILED;
}

/* --- has it come true? ------------------------------------------------------------------------------------ */

static enum step_state look_at_vm_start(struct executor *e, const struct step *step)
{
	const struct machine *m = sup_find_machine(e->sup, step->subject);

	if (m->stage == STAGE_READY)
		return DONE;
	if (m->stage == STAGE_FAILED)
		return fail(e, m->name, m->reason_code, m->reason);
	if (machine_gave_up(m))
		return fail(e, m->name, m->reason_code, m->reason);
	if (m->stage == STAGE_STOPPED)
		return fail(e, m->name, ORCH_ERROR_FAILED, m->reason);
	return BEGUN;
}

/* Once the switch has been told everything.  What it refused is reported, and keeps nothing else from going on. */
static enum step_state look_at_told(struct executor *e, const char *network)
{
	g_autofree char *problem = NULL;

	if (!network_is_told(e->sup, network))
		return BEGUN;
	problem = network_problem(e->sup, network);
	if (problem)
		(void)fail(e, network,
			   strstr(problem, "in use") ? ORCH_ERROR_CONFLICT : ORCH_ERROR_FAILED,
			   problem);
	return DONE;
}

static enum step_state look_at_net_start(struct executor *e, const struct step *step)
{
	const struct daemon *sw = sup_find_switch(e->sup, step->subject);

	if (sw->stage == DAEMON_RUNNING)
		return look_at_told(e, step->subject);
	if (sw->stage == DAEMON_FAILED)
		return fail(e, sw->name, sw->reason_code, sw->reason);
	return BEGUN;
}

static enum step_state look_at_port(struct executor *e, const struct step *step)
{
	const struct daemon *sw = sup_find_switch(e->sup, step->network);
	const struct daemon_item *port = sw ? daemon_find_item(sw, step->subject) : NULL;

	if (!sw || sw->stage == DAEMON_FAILED)
		return FAILED; /* the switch itself has been reported */
	if (port && port->problem)
		return fail(e, step->subject,
			    strstr(port->problem, "in use") ? ORCH_ERROR_CONFLICT :
							      ORCH_ERROR_FAILED,
			    port->problem);
	return port && port->state ? look_at_told(e, step->network) : BEGUN;
}

static enum step_state look_at_net_update(struct executor *e, const struct step *step)
{
	const struct daemon *sw = sup_find_switch(e->sup, step->subject);

	if (!sw || sw->stage == DAEMON_FAILED || sw->stage == DAEMON_DOWN)
		return FAILED; /* the switch itself has been reported */
	return look_at_told(e, step->subject);
}

static enum step_state look_at_sockets_start(struct executor *e)
{
	const struct daemon *d = sup_sockets(e->sup);

	if (d->stage == DAEMON_RUNNING)
		return DONE;
	if (d->stage == DAEMON_FAILED)
		return fail(e, d->name, d->reason_code, d->reason);
	return BEGUN;
}

static enum step_state look_at_sockets_add(struct executor *e, const struct step *step)
{
	const struct daemon *d = sup_sockets(e->sup);
	const struct daemon_item *item = daemon_find_item(d, step->subject);

	if (d->stage == DAEMON_FAILED)
		return FAILED; /* the daemon itself has been reported */
	if (item && item->problem)
		return fail(e, step->subject, ORCH_ERROR_FAILED, item->problem);
	return item && item->state ? DONE : BEGUN;
}

static enum step_state look_at_portal_stop(struct executor *e, const struct step *step)
{
	const struct daemon *d = sup_find_portal(e->sup, step->subject);

	if (d && d->stage != DAEMON_DOWN)
		return BEGUN;
	sup_clear_portal(e->sup, step->subject);
	return DONE;
}

static enum step_state look_at_portal_start(struct executor *e, const struct step *step)
{
	const struct daemon *d = sup_find_portal(e->sup, step->subject);

	if (d->stage == DAEMON_RUNNING)
		return DONE;
	if (d->stage == DAEMON_FAILED)
		return fail(e, d->name, d->reason_code, d->reason);
	return BEGUN;
}

static enum step_state look_at_portal_add(struct executor *e, const struct step *step)
{
	const struct daemon *d = sup_find_portal(e->sup, step->portal);
	const struct daemon_item *item = d ? daemon_find_item(d, step->subject) : NULL;

	if (!d || d->stage == DAEMON_FAILED)
		return FAILED; /* the portal itself has been reported */
	if (item && item->problem)
		return fail(e, step->subject,
			    strstr(item->problem, "in use") ? ORCH_ERROR_CONFLICT :
							      ORCH_ERROR_FAILED,
			    item->problem);
	return item && item->state ? DONE : BEGUN;
}

static enum step_state look_at_image(struct executor *e, const struct step *step)
{
	const GError *problem = NULL;

	switch (launch_image(e->sup, step->subject, &problem)) {
	case LAUNCH_READY:
		return DONE;
	case LAUNCH_FAILED:
		return fail(e, step->subject, err_exit_code(problem), problem->message);
	case LAUNCH_WAIT:
		break;
	}
	return BEGUN;
}

static enum step_state look(struct executor *e, const struct step *step)
{
	const struct machine *m;
	const struct daemon *sw;

	switch (step->kind) {
	case STEP_VM_STOP:
		m = sup_find_machine(e->sup, step->subject);
		return m && machine_alive(m) ? BEGUN : DONE;
	case STEP_NET_STOP:
		sw = sup_find_switch(e->sup, step->subject);
		return sw && sw->stage != DAEMON_DOWN ? BEGUN : DONE;
	case STEP_PORTAL_STOP:
		return look_at_portal_stop(e, step);
	case STEP_PORTAL_START:
		return look_at_portal_start(e, step);
	case STEP_PORTAL_ADD:
		return look_at_portal_add(e, step);
	case STEP_SOCKETS_STOP:
		return e->sup->sockets && e->sup->sockets->stage != DAEMON_DOWN ? BEGUN : DONE;
	case STEP_SOCKETS_START:
		return look_at_sockets_start(e);
	case STEP_SOCKETS_ADD:
		return look_at_sockets_add(e, step);
	case STEP_IMAGE:
		return look_at_image(e, step);
	case STEP_NET_START:
		return look_at_net_start(e, step);
	case STEP_NET_UPDATE:
		return look_at_net_update(e, step);
	case STEP_PORT_ADD:
		return look_at_port(e, step);
	case STEP_VM_START:
		return look_at_vm_start(e, step);
	case STEP_PORT_REMOVE:
	case STEP_SOCKETS_REMOVE:
	case STEP_PORTAL_REMOVE:
	case STEP_VM_RESTART:
	case STEP_PORTAL_RESTART:
	case STEP_KIND_COUNT:
		break;
	}
	return DONE;
}

/* --- begin ------------------------------------------------------------------------------------------------ */

static void want_port(struct supervisor *sup, const char *network, const char *port)
{
	struct daemon *sw = sup_find_switch(sup, network);
	const struct network *n = lab_find_network(sup->lab, network);

	if (sw && n)
		sup_want_port(sup, sw, n, port);
}

/* What a port is made of may have changed, and what it is added with the next time. */
static void want_all_ports(struct supervisor *sup, const char *network)
{
	struct daemon *sw = sup_find_switch(sup, network);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; sw && i < sw->items->len; i++)
		g_ptr_array_add(names,
				g_strdup(((const struct daemon_item *)sw->items->pdata[i])->name));
	for (guint i = 0; i < names->len; i++)
		want_port(sup, network, names->pdata[i]);
}

/* With all the ports that the plan gives it, so that they are in its first configuration. */
static void begin_net_start(struct executor *e, const struct step *step)
{
	struct daemon *sw = sup_switch(e->sup, step->subject);

	for (guint i = 0; i < e->plan->steps->len; i++) {
		const struct step *other = plan_step(e->plan, i);

		if (other->kind == STEP_PORT_ADD && strcmp(other->network, step->subject) == 0)
			want_port(e->sup, other->network, other->subject);
	}
	if (!daemon_alive(sw))
		(void)daemon_start(sw, NULL); /* a failure is seen when it is looked at */
}

/* With all the VMs that the plan gives it, as with networks. */
static void begin_sockets_start(struct executor *e)
{
	struct daemon *d = sup_sockets(e->sup);

	for (guint i = 0; i < e->plan->steps->len; i++) {
		const struct step *step = plan_step(e->plan, i);

		if (step->kind == STEP_SOCKETS_ADD)
			sup_add_sockets(e->sup, lab_find_vm(e->sup->lab, step->subject));
	}
	if (!daemon_alive(d))
		(void)daemon_start(d, NULL); /* a failure is seen when it is looked at */
}

static void add_access(struct supervisor *sup, const struct step *step)
{
	const struct vm *vm = lab_find_vm(sup->lab, step->subject);
	const struct portal *portal = lab_find_portal(sup->lab, step->portal);

	if (vm && portal)
		sup_add_access(sup, vm, portal);
}

/* With all the VMs that the plan gives it, as with networks. */
static void begin_portal_start(struct executor *e, const struct step *step)
{
	for (guint i = 0; i < e->plan->steps->len; i++) {
		const struct step *other = plan_step(e->plan, i);

		if (other->kind == STEP_PORTAL_ADD && strcmp(other->portal, step->subject) == 0)
			add_access(e->sup, other);
	}
	sup_start_portal(e->sup, lab_find_portal(e->sup->lab, step->subject));
}

static void begin_portal_remove(struct executor *e, const struct step *step)
{
	struct daemon *d = sup_find_portal(e->sup, step->portal);

	if (d)
		daemon_remove_item(d, step->subject);
}

static void begin_port_remove(struct executor *e, const struct step *step)
{
	struct daemon *sw = sup_find_switch(e->sup, step->network);

	if (sw)
		daemon_remove_item(sw, step->subject);
}

static void begin_vm_start(struct executor *e, const struct step *step)
{
	const struct vm *vm = lab_find_vm(e->sup->lab, step->subject);
	g_autoptr(GError) error = NULL;
	struct machine *m = sup_machine(e->sup, step->subject);

	if (machine_alive(m))
		return;
	/* Its portals may be others than the lab's, as long as other VMs have them. */
	if (sup_want_accesses(e->sup, vm, &error) != LAUNCH_FAILED && launch_vm(e->sup, vm, &error))
		return;
	if (m->stage != STAGE_FAILED) {
		g_free(m->reason);
		m->reason = g_strdup(error->message);
		m->reason_code = err_exit_code(error);
		m->stage = STAGE_FAILED;
		m->ops->changed(m, m->data);
	}
}

static void begin(struct executor *e, const struct step *step)
{
	switch (step->kind) {
	case STEP_VM_STOP:
		machine_stop(sup_machine(e->sup, step->subject), e->grace_ms);
		break;
	case STEP_PORT_REMOVE:
		begin_port_remove(e, step);
		break;
	case STEP_NET_STOP:
		daemon_stop(sup_switch(e->sup, step->subject));
		break;
	case STEP_NET_START:
		begin_net_start(e, step);
		break;
	case STEP_NET_UPDATE:
		want_all_ports(e->sup, step->subject);
		break;
	case STEP_PORT_ADD:
		want_port(e->sup, step->network, step->subject);
		break;
	case STEP_VM_START:
		begin_vm_start(e, step);
		break;
	case STEP_SOCKETS_REMOVE:
		daemon_remove_item(sup_sockets(e->sup), step->subject);
		break;
	case STEP_SOCKETS_STOP:
		daemon_stop(sup_sockets(e->sup));
		break;
	case STEP_SOCKETS_START:
		begin_sockets_start(e);
		break;
	case STEP_SOCKETS_ADD:
		sup_add_sockets(e->sup, lab_find_vm(e->sup->lab, step->subject));
		break;
	case STEP_PORTAL_STOP:
		daemon_stop(sup_portal(e->sup, step->subject));
		break;
	case STEP_PORTAL_REMOVE:
		begin_portal_remove(e, step);
		break;
	case STEP_PORTAL_START:
		begin_portal_start(e, step);
		break;
	case STEP_PORTAL_ADD:
		add_access(e->sup, step);
		break;
	case STEP_IMAGE: /* looking at it begins it */
	case STEP_VM_RESTART:
	case STEP_PORTAL_RESTART:
	case STEP_KIND_COUNT:
		break;
	}
}

/* --- whose turn ------------------------------------------------------------------------------------------- */

static unsigned booting(const struct executor *e)
{
	unsigned n = 0;

	for (guint i = 0; i < e->plan->steps->len; i++)
		n += plan_step(e->plan, i)->kind == STEP_VM_START && e->states[i] == BEGUN;
	return n;
}

/* AHEAD: not yet.  BEGUN: its turn.  FAILED: never. */
static enum step_state after_turn(struct executor *e, const struct step *step)
{
	const struct vm *vm = lab_find_vm(e->sup->lab, step->subject);
	const struct machine *self;

	for (guint i = 0; i < vm->after->len; i++) {
		const struct vm *first = vm->after->pdata[i];
		const struct machine *m = sup_find_machine(e->sup, first->name);
		g_autofree char *text = NULL;

		if (m && m->stage == STAGE_READY)
			continue;
		if (!failed_already(e, first->name) &&
		    (!m || (m->stage != STAGE_FAILED && m->stage != STAGE_STOPPED)))
			return AHEAD;
		/* A plan that starts it again has its step before this one: a failure of an earlier run is
		 * over once that step has begun. */
		for (guint j = 0; j < step->index; j++) {
			const struct step *other = plan_step(e->plan, j);

			if (other->kind == STEP_VM_START &&
			    strcmp(other->subject, first->name) == 0 && e->states[j] == AHEAD)
				return AHEAD;
		}
		text = g_strdup_printf("not started: %s, which it comes after, is not ready",
				       first->name);
		return fail(e, step->subject, ORCH_ERROR_FAILED, text);
	}
	/* One that `stop` is ending has to have ended first. */
	self = sup_find_machine(e->sup, step->subject);
	if (self && self->stage == STAGE_STOPPING)
		return AHEAD;
	return e->jobs && booting(e) >= e->jobs ? AHEAD : BEGUN;
}

static enum step_state turn(struct executor *e, const struct step *step)
{
	enum step_state worst = BEGUN;

	for (guint i = 0; i < step->deps->len; i++) {
		enum step_state dep = e->states[g_array_index(step->deps, unsigned, i)];

		if (dep == FAILED)
			worst = FAILED;
		else if (dep != DONE && worst != FAILED)
			worst = AHEAD;
	}
	if (step->kind != STEP_VM_START)
		return worst;
	/* The VMs of its `after` are judged by their readiness, and give the better reason. */
	if (worst == BEGUN || worst == FAILED) {
		enum step_state by_after = after_turn(e, step);

		return worst == FAILED ? FAILED : by_after;
	}
	return worst;
}

/* One step as far as it goes now; true: it moved. */
static bool advance(struct executor *e, unsigned i)
{
	const struct step *step = plan_step(e->plan, i);
	enum step_state was = e->states[i];

	if (was == DONE || was == FAILED)
		return false;
	if (step->held) {
		e->states[i] = DONE;
		return true;
	}
	if (was == AHEAD) {
		e->states[i] = turn(e, step);
		if (e->states[i] == BEGUN)
			begin(e, step);
	}
	if (e->states[i] == BEGUN)
		e->states[i] = look(e, step);
	return e->states[i] != was;
}

/* What is gone from the lab and has ended is forgotten. */
static void prune(struct executor *e)
{
	struct supervisor *sup = e->sup;
	g_autoptr(GList) machines = g_hash_table_get_keys(sup->machines);
	g_autoptr(GList) switches = g_hash_table_get_keys(sup->switches);
	g_autoptr(GList) portals = g_hash_table_get_keys(sup->portals);

	for (GList *l = machines; l; l = l->next) {
		const char *name = l->data;

		if (!(sup->lab && lab_find_vm(sup->lab, name)) &&
		    !machine_alive(sup_find_machine(sup, name)))
			sup_forget_machine(sup, name);
	}
	for (GList *l = switches; l; l = l->next) {
		const char *name = l->data;

		if (!(sup->lab && lab_find_network(sup->lab, name)) &&
		    !daemon_alive(sup_find_switch(sup, name)))
			sup_forget_switch(sup, name);
	}
	for (GList *l = portals; l; l = l->next) {
		const char *name = l->data;

		if (!(sup->lab && lab_find_portal(sup->lab, name)) &&
		    !daemon_alive(sup_find_portal(sup, name)))
			sup_forget_portal(sup, name);
	}
}

void executor_run(struct executor *e)
{
	bool moved = e->plan != NULL;

	while (moved) {
		moved = false;
		for (guint i = 0; i < e->plan->steps->len; i++)
			moved |= advance(e, i);
	}
	if (executor_settled(e))
		prune(e);
}

bool executor_settled(struct executor *e)
{
	GHashTableIter iter;
	gpointer value;

	for (guint i = 0; e->plan && i < e->plan->steps->len; i++)
		if (e->states[i] == AHEAD || e->states[i] == BEGUN)
			return false;
	g_hash_table_iter_init(&iter, e->sup->machines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct machine *m = value;

		if ((stage_on_its_way(m->stage) && !machine_gave_up(m)) ||
		    m->stage == STAGE_STOPPING)
			return false;
	}
	return true;
}

enum launch executor_start_vm(struct supervisor *sup, const struct vm *vm, GError **error)
{
	const GError *problem = NULL;
	bool wait = false;

	for (guint i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);
		const struct daemon *sw = sup_find_switch(sup, nic->network->name);
		const struct daemon_item *port;

		if (!sw) {
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
				    "network %s has no switch: run `orchestrator up`",
				    nic->network->name);
			return LAUNCH_FAILED;
		}
		want_port(sup, nic->network->name, nic->port);
		port = daemon_find_item(sw, nic->port);
		if (port->problem) {
			g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, port->problem);
			return LAUNCH_FAILED;
		}
		wait |= !port->state;
	}
	if (vm->sockets != LAB_SOCKETS_NONE) {
		const struct daemon_item *item;

		if (!sup->sockets || !daemon_alive(sup->sockets)) {
			g_set_error_literal(
				error, ORCH_ERROR, ORCH_ERROR_FAILED,
				"the daemon of sockets does not run: run `orchestrator up`");
			return LAUNCH_FAILED;
		}
		sup_add_sockets(sup, vm);
		item = daemon_find_item(sup->sockets, vm->name);
		if (item->problem) {
			g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, item->problem);
			return LAUNCH_FAILED;
		}
		wait |= !item->state;
	}
	switch (sup_want_accesses(sup, vm, error)) {
	case LAUNCH_FAILED:
		return LAUNCH_FAILED;
	case LAUNCH_WAIT:
		wait = true;
		break;
	case LAUNCH_READY:
		break;
	}
	switch (launch_image(sup, vm->image->name, &problem)) {
	case LAUNCH_WAIT:
		return LAUNCH_WAIT;
	case LAUNCH_FAILED:
		g_propagate_error(error, g_error_copy(problem));
		return LAUNCH_FAILED;
	case LAUNCH_READY:
		break;
	}
	if (wait)
		return LAUNCH_WAIT;
	return launch_vm(sup, vm, error) ? LAUNCH_READY : LAUNCH_FAILED;
}
