/* SPDX-License-Identifier: MIT */
/* What comes of a plan: what was observed, without what it takes away and with what it brings. */
#include <string.h>

#include "model/lab.h"
#include "plan/plan_impl.h"
#include "render/switch.h"

/* What a plan takes away and brings, by name. */
static GHashTable *subjects(const struct plan *plan, enum step_kind kind)
{
	GHashTable *set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (unsigned i = 0; i < plan->steps->len; i++) {
		const struct step *s = plan_step(plan, i);

		if (s->kind == kind && !s->held)
			g_hash_table_add(set, s->network ? g_strconcat(s->network, "/", s->subject,
								       NULL) :
							   g_strdup(s->subject));
	}
	return set;
}

/* What stays of what runs. */
static struct observed *survivors(const struct plan *plan, const struct observed *observed)
{
	g_autoptr(GHashTable) vms = subjects(plan, STEP_VM_STOP),
			      ports = subjects(plan, STEP_PORT_REMOVE);
	g_autoptr(GHashTable) stopped = subjects(plan, STEP_NET_STOP), nets = plan_set_new();
	g_autoptr(GHashTable) sockets = subjects(plan, STEP_SOCKETS_REMOVE),
			      daemon = subjects(plan, STEP_SOCKETS_STOP);
	struct observed *left = observed_new();

	for (unsigned i = 0; i < observed->networks->len; i++) {
		const char *name = observed->networks->pdata[i];

		if (contains(stopped, name) || !put(nets, name))
			continue;
		observed_add_network(left, name);
		if (g_hash_table_contains(observed->switches, name))
			observed_add_settings(left, name,
					      g_hash_table_lookup(observed->switches, name));
	}
	for (unsigned i = 0; i < observed->ports->len; i++) {
		const struct observed_port *p = observed->ports->pdata[i];
		g_autofree char *key = g_strconcat(p->network, "/", p->name, NULL);

		/* A port without its switch is none. */
		if (contains(nets, p->network) && !contains(ports, key))
			observed_add_port(left, p->network, p->name);
	}
	for (unsigned i = 0; i < observed->vms->len; i++) {
		const struct observed_vm *vm = observed->vms->pdata[i];

		if (!contains(vms, vm->name))
			observed_add_vm(left, vm->name, vm->settings);
	}
	left->sockets = observed->sockets && g_hash_table_size(daemon) == 0;
	for (unsigned i = 0; left->sockets && i < observed->sockets_of->len; i++)
		if (!contains(sockets, observed->sockets_of->pdata[i]))
			observed_add_sockets_of(left, observed->sockets_of->pdata[i]);
	return left;
}

/* What comes of the settings of networks that a plan does anything to. */
static void result_settings(const struct plan *plan, const struct lab *lab, struct observed *result)
{
	for (unsigned i = 0; lab && i < lab->networks->len; i++) {
		const struct network *n = lab_network(lab, i);
		g_autoptr(GHashTable) ports = plan_set_new();
		g_autofree char *settings = NULL;
		bool touched = false;

		for (unsigned j = 0; j < plan->steps->len; j++) {
			const struct step *s = plan_step(plan, j);

			touched |= strcmp(s->network ? s->network : s->subject, n->name) == 0 &&
				   s->kind != STEP_VM_START;
		}
		if (!touched)
			continue;
		for (unsigned j = 0; j < result->ports->len; j++) {
			const struct observed_port *port = result->ports->pdata[j];

			if (strcmp(port->network, n->name) == 0)
				put(ports, port->name);
		}
		settings = render_switch_text(lab, n, ports);
		observed_add_settings(result, n->name, settings);
	}
}

struct observed *plan_result(const struct plan *plan, const struct lab *lab,
			     const struct observed *observed)
{
	struct observed *result = survivors(plan, observed);

	for (unsigned i = 0; i < plan->steps->len; i++) {
		const struct step *s = plan_step(plan, i);

		if (s->kind == STEP_NET_START) {
			observed_add_network(result, s->subject);
		} else if (s->kind == STEP_PORT_ADD) {
			observed_add_port(result, s->network, s->subject);
		} else if (s->kind == STEP_SOCKETS_START) {
			result->sockets = true;
		} else if (s->kind == STEP_SOCKETS_ADD) {
			observed_add_sockets_of(result, s->subject);
		} else if (s->kind == STEP_VM_START) {
			g_autofree char *settings =
				plan_vm_settings(lab, lab_find_vm(lab, s->subject));

			observed_add_vm(result, s->subject, settings);
		}
	}
	result_settings(plan, lab, result);
	plan_result_portals(plan, lab, observed, result);
	return result;
}
