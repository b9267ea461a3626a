/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "model/lab.h"
#include "plan/plan_impl.h"
#include "render/portal.h"

/* --- what there is, and what is wanted ------------------------------------------------------------------------------ */

void plan_find_portals(struct planner *p)
{
	for (unsigned i = 0; i < p->observed->portals->len; i++) {
		struct observed_portal *portal = p->observed->portals->pdata[i];

		g_hash_table_insert(p->portals_observed, portal->name, portal->settings);
		for (unsigned j = 0; j < portal->vms->len; j++)
			put(p->accesses_observed, port_key(p, portal->name, portal->vms->pdata[j]));
	}
}

void plan_want_accesses(struct planner *p, const struct vm *vm)
{
	for (unsigned i = 0; i < vm->portals->len; i++)
		put(p->accesses_wanted, port_key(p, vm_portal(vm, i)->portal->name, vm->name));
}

void plan_want_held_accesses(struct planner *p, const struct vm *vm)
{
	for (unsigned i = 0; i < p->observed->portals->len; i++) {
		const struct observed_portal *portal = p->observed->portals->pdata[i];
		const char *key = port_key(p, portal->name, vm->name);

		if (!contains(p->accesses_observed, key))
			continue;
		put(p->accesses_wanted, key);
		put(p->portals_wanted, portal->name);
	}
}

/* --- what goes ------------------------------------------------------------------------------------------------------ */

/* What has changed of a portal that runs and is in the lab; NULL: nothing, or it is not both.  g_free(). */
static char *portal_change(const struct planner *p, const char *name)
{
	const struct portal *portal = p->lab ? lab_find_portal(p->lab, name) : NULL;
	const char *before = g_hash_table_lookup(p->portals_observed, name);
	g_autofree char *after = portal ? render_portal_text(p->lab, portal) : NULL;

	if (!after || !before || strcmp(before, after) == 0)
		return NULL;
	return plan_describe_change(before, after);
}

static void stop_portal(struct planner *p, const struct observed_portal *portal, char *reason)
{
	struct step *s = add_step(p, STEP_PORTAL_STOP, portal->name, reason);

	for (unsigned i = 0; i < portal->vms->len; i++) {
		const char *vm = portal->vms->pdata[i];

		depend(s, p->done_by[STEP_VM_STOP], vm);
		g_hash_table_remove(p->accesses_observed, port_key(p, portal->name, vm));
	}
	put_step(p->done_by[STEP_PORTAL_STOP], portal->name, s);
	g_hash_table_remove(p->portals_observed, portal->name);
}

/* Whether a VM has it that is left running. */
static bool in_use(const struct planner *p, const struct observed_portal *portal)
{
	for (unsigned i = 0; i < portal->vms->len; i++) {
		const char *name = portal->vms->pdata[i];
		const struct vm *vm = p->lab ? lab_find_vm(p->lab, name) : NULL;

		if (vm && (p->fates[vm->index] == FATE_HELD || p->fates[vm->index] == FATE_KEEP))
			return true;
	}
	return false;
}

void plan_stop_portals(struct planner *p)
{
	for (unsigned i = 0; i < p->observed->portals->len; i++) {
		const struct observed_portal *portal = p->observed->portals->pdata[i];
		g_autofree char *change = portal_change(p, portal->name);

		if (contains(p->done_by[STEP_PORTAL_STOP], portal->name))
			continue;
		if (!contains(p->portals_wanted, portal->name))
			stop_portal(p, portal, g_strdup("no longer wanted"));
		else if (change && !in_use(p, portal))
			stop_portal(p, portal, g_steal_pointer(&change));
	}
}

/* The lines of a VM's settings that are about a portal, one behind the other; g_free(). */
static char *lines_about(const char *settings, const char *portal)
{
	g_autofree char *prefix = g_strdup_printf("portal.%s.", portal);
	g_auto(GStrv) lines = g_strsplit(settings, "\n", -1);
	GString *out = g_string_new(NULL);

	for (char **line = lines; *line; line++)
		if (g_str_has_prefix(*line, prefix))
			g_string_append_printf(out, "%s\n", *line);
	return g_string_free(out, FALSE);
}

/* Made anew with a VM that is restarted, if it is what has changed. */
static bool access_changed(const struct planner *p, const char *name, const char *portal)
{
	const struct vm *vm = p->lab ? lab_find_vm(p->lab, name) : NULL;
	const struct observed_vm *running = g_hash_table_lookup(p->running, name);
	g_autofree char *settings = NULL, *before = NULL, *after = NULL;

	if (!vm || !running || p->fates[vm->index] != FATE_RESTART)
		return false;
	settings = plan_vm_settings(p->lab, vm);
	before = lines_about(running->settings, portal);
	after = lines_about(settings, portal);
	return strcmp(before, after) != 0;
}

static void remove_access(struct planner *p, const char *portal, const char *vm)
{
	const char *key = port_key(p, portal, vm);
	bool wanted = contains(p->accesses_wanted, key);
	struct step *s;

	/* With a portal that is stopped they have gone; removed once, however often it is listed. */
	if ((wanted && !access_changed(p, vm, portal)) ||
	    !g_hash_table_remove(p->accesses_observed, key))
		return;
	s = add_step(p, STEP_PORTAL_REMOVE, vm,
		     g_strdup(wanted ? "its settings changed" : "no longer wanted"));
	s->portal = g_strdup(portal);
	depend(s, p->done_by[STEP_VM_STOP], vm);
	put_step(p->done_by[STEP_PORTAL_REMOVE], key, s);
}

void plan_remove_accesses(struct planner *p)
{
	for (unsigned i = 0; i < p->observed->portals->len; i++) {
		const struct observed_portal *portal = p->observed->portals->pdata[i];

		for (unsigned j = 0; j < portal->vms->len; j++)
			remove_access(p, portal->name, portal->vms->pdata[j]);
	}
}

/* --- what comes ----------------------------------------------------------------------------------------------------- */

void plan_start_portals(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->portals->len; i++) {
		const char *name = lab_portal(p->lab, i)->name;
		struct step *s;

		if (contains(p->portals_observed, name))
			continue;
		s = add_step(p, STEP_PORTAL_START, name, g_strdup("not running"));
		depend(s, p->done_by[STEP_PORTAL_STOP], name);
		put_step(p->done_by[STEP_PORTAL_START], name, s);
	}
}

static void add_access(struct planner *p, const struct vm *vm, const char *portal)
{
	const char *key = port_key(p, portal, vm->name);
	struct step *s;

	if (!contains(p->accesses_wanted, key) || contains(p->accesses_observed, key))
		return;
	s = add_step(p, STEP_PORTAL_ADD, vm->name, g_strdup("not there"));
	s->portal = g_strdup(portal);
	depend(s, p->done_by[STEP_PORTAL_REMOVE], key);
	depend(s, p->done_by[STEP_PORTAL_START], portal);
	put_step(p->done_by[STEP_PORTAL_ADD], key, s);
}

void plan_add_accesses(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(p->lab, i);

		for (unsigned j = 0; p->fates[i] != FATE_HELD && j < vm->portals->len; j++)
			add_access(p, vm, vm_portal(vm, j)->portal->name);
	}
}

void plan_tell_held_portals(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->portals->len; i++) {
		const char *name = lab_portal(p->lab, i)->name;
		char *change = portal_change(p, name);

		if (!change)
			continue;
		add_step(p, STEP_PORTAL_RESTART, name, change)->held = true;
		p->plan->n_todo--;
	}
}

/* --- what comes of it ----------------------------------------------------------------------------------------------- */

/* Whether the plan does that to a portal, or to a VM's access to it. */
static bool does(const struct plan *plan, enum step_kind kind, const char *subject,
		 const char *portal)
{
	for (unsigned i = 0; i < plan->steps->len; i++) {
		const struct step *s = plan_step(plan, i);

		if (s->kind == kind && !s->held && strcmp(s->subject, subject) == 0 &&
		    g_strcmp0(s->portal, portal) == 0)
			return true;
	}
	return false;
}

static void keep_portal(const struct plan *plan, const struct observed_portal *portal,
			struct observed *result)
{
	struct observed_portal *kept;

	if (does(plan, STEP_PORTAL_STOP, portal->name, NULL) ||
	    observed_find_portal(result, portal->name))
		return;
	kept = observed_add_portal(result, portal->name, portal->settings);
	for (unsigned i = 0; i < portal->vms->len; i++)
		if (!does(plan, STEP_PORTAL_REMOVE, portal->vms->pdata[i], portal->name))
			g_ptr_array_add(kept->vms, g_strdup(portal->vms->pdata[i]));
}

void plan_result_portals(const struct plan *plan, const struct lab *lab,
			 const struct observed *observed, struct observed *result)
{
	for (unsigned i = 0; i < observed->portals->len; i++)
		keep_portal(plan, observed->portals->pdata[i], result);
	for (unsigned i = 0; i < plan->steps->len; i++) {
		const struct step *s = plan_step(plan, i);

		if (s->kind == STEP_PORTAL_START) {
			g_autofree char *settings =
				render_portal_text(lab, lab_find_portal(lab, s->subject));

			observed_add_portal(result, s->subject, settings);
		} else if (s->kind == STEP_PORTAL_ADD) {
			g_ptr_array_add(observed_find_portal(result, s->portal)->vms,
					g_strdup(s->subject));
		}
	}
}
