/* SPDX-License-Identifier: MIT */
#include "plan/plan.h"

#include <string.h>

#include "model/lab.h"
#include "plan/plan_impl.h"
#include "render/switch.h"

/* --- building steps ------------------------------------------------------------------------------------------------- */

static void step_free(void *data)
{
	struct step *s = data;

	g_free(s->subject);
	g_free(s->network);
	g_free(s->portal);
	g_free(s->reason);
	g_array_unref(s->deps);
	g_free(s);
}

/* The VM a port belongs to, by its name: "n1" of "n1.0"; "" of an uplink's. */
static char *port_vm(const char *port)
{
	const char *dot = strrchr(port, '.');

	return dot ? g_strndup(port, (size_t)(dot - port)) : g_strdup("");
}

/* An uplink is made anew in each network; of a NIC's port there is one socket. */
static void frees_socket(struct planner *p, const char *port, const struct step *step)
{
	if (strchr(port, '.'))
		put_step(p->freed_by, port, step);
}

/* --- what is wanted ------------------------------------------------------------------------------------------------- */

static void want_port(struct planner *p, const char *network, const char *name)
{
	struct wanted_port w = { .network = network, .name = name };

	if (put(p->ports_wanted, port_key(p, network, name)))
		g_array_append_val(p->ports, w);
}

/* A VM that is left alone keeps the ports it was started with, and their networks with them. */
static void want_held_ports(struct planner *p, const struct vm *vm)
{
	const struct observed_vm *running = g_hash_table_lookup(p->running, vm->name);
	g_auto(GStrv) lines = g_strsplit(running->settings, "\n", -1);
	g_autoptr(GPtrArray) networks = plan_settings_networks(lines);

	for (unsigned i = 0; i < networks->len; i++) {
		const char *network = g_string_chunk_insert_const(p->texts, networks->pdata[i]);
		g_autofree char *port = names_port(vm->name, i);

		if (contains(p->nets_observed, network))
			put(p->nets_wanted, network);
		if (contains(p->nets_wanted, network))
			want_port(p, network, g_string_chunk_insert_const(p->texts, port));
	}
}

static enum fate decide(struct planner *p, const struct vm *vm, enum plan_flags flags)
{
	const struct observed_vm *running = g_hash_table_lookup(p->running, vm->name);
	g_autofree char *settings = NULL;

	if (!running)
		return FATE_START;
	settings = plan_vm_settings(p->lab, vm);
	if (strcmp(running->settings, settings) == 0)
		return FATE_KEEP;
	return flags & PLAN_RESTART ? FATE_RESTART : FATE_HELD;
}

static void find_wanted(struct planner *p, enum plan_flags flags)
{
	if (!p->lab)
		return;
	for (unsigned i = 0; i < p->lab->networks->len; i++) {
		const struct network *n = lab_network(p->lab, i);

		put(p->nets_wanted, n->name);
		for (unsigned j = 0; j < n->uplinks->len; j++)
			want_port(p, n->name, network_uplink(n, j)->port);
	}
	for (unsigned i = 0; i < p->lab->portals->len; i++)
		put(p->portals_wanted, lab_portal(p->lab, i)->name);
	for (unsigned i = 0; i < p->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(p->lab, i);

		p->fates[i] = decide(p, vm, flags);
		if (p->fates[i] == FATE_HELD) {
			want_held_ports(p, vm);
			plan_want_held_accesses(p, vm);
			if (contains(p->sockets_observed, vm->name))
				put(p->sockets_wanted, vm->name);
			continue;
		}
		if (vm->sockets != LAB_SOCKETS_NONE)
			put(p->sockets_wanted, vm->name);
		plan_want_accesses(p, vm);
		for (unsigned j = 0; j < vm->nics->len; j++)
			want_port(p, vm_nic(vm, j)->network->name, vm_nic(vm, j)->port);
	}
}

/* --- what goes ------------------------------------------------------------------------------------------------------ */

static char *change_of(const struct planner *p, const struct vm *vm)
{
	const struct observed_vm *running = g_hash_table_lookup(p->running, vm->name);
	g_autofree char *settings = plan_vm_settings(p->lab, vm);

	return plan_describe_change(running->settings, settings);
}

static void stop_vms(struct planner *p)
{
	GHashTable *stops = p->done_by[STEP_VM_STOP];

	for (unsigned i = 0; i < p->observed->vms->len; i++) {
		const struct observed_vm *running = p->observed->vms->pdata[i];
		const struct vm *vm = p->lab ? lab_find_vm(p->lab, running->name) : NULL;
		char *reason;

		if (contains(stops, running->name) || (vm && p->fates[vm->index] != FATE_RESTART))
			continue;
		reason = vm ? change_of(p, vm) : g_strdup("no longer wanted");
		put_step(stops, running->name, add_step(p, STEP_VM_STOP, running->name, reason));
	}
}

static void remove_ports(struct planner *p)
{
	for (unsigned i = 0; i < p->observed->ports->len; i++) {
		const struct observed_port *port = p->observed->ports->pdata[i];
		const char *key = port_key(p, port->network, port->name);
		g_autofree char *vm = port_vm(port->name);
		struct step *s;

		/* Ports of a switch that stops go with it. */
		if (!contains(p->nets_wanted, port->network) || contains(p->ports_wanted, key))
			continue;
		/* Removed once, however often it is listed; and not at all if its switch does not run. */
		if (!g_hash_table_remove(p->ports_observed, key))
			continue;
		s = add_step(p, STEP_PORT_REMOVE, port->name, g_strdup("no longer wanted"));
		s->network = g_strdup(port->network);
		depend(s, p->done_by[STEP_VM_STOP], vm);
		frees_socket(p, port->name, s);
	}
}

static void stop_networks(struct planner *p)
{
	GHashTable *stops = p->done_by[STEP_NET_STOP];

	for (unsigned i = 0; i < p->observed->networks->len; i++) {
		const char *name = p->observed->networks->pdata[i];

		if (!contains(p->nets_wanted, name) && !contains(stops, name))
			put_step(stops, name,
				 add_step(p, STEP_NET_STOP, name, g_strdup("no longer wanted")));
	}
	/* After the VMs on it. */
	for (unsigned i = 0; i < p->observed->ports->len; i++) {
		const struct observed_port *port = p->observed->ports->pdata[i];
		unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(stops, port->network));
		g_autofree char *vm = port_vm(port->name);

		if (n == 0)
			continue;
		depend(p->plan->steps->pdata[n - 1], p->done_by[STEP_VM_STOP], vm);
		frees_socket(p, port->name, p->plan->steps->pdata[n - 1]);
	}
}

/* Sockets are made anew with a VM that is restarted, if it is they that have changed. */
static bool sockets_changed(const struct planner *p, const char *name)
{
	const struct vm *vm = p->lab ? lab_find_vm(p->lab, name) : NULL;
	g_autofree char *settings = NULL, *before = NULL, *after = NULL;

	if (!vm || p->fates[vm->index] != FATE_RESTART)
		return false;
	settings = plan_vm_settings(p->lab, vm);
	before = plan_settings_sockets(
		((const struct observed_vm *)g_hash_table_lookup(p->running, name))->settings);
	after = plan_settings_sockets(settings);
	return g_strcmp0(before, after) != 0;
}

static void remove_sockets(struct planner *p)
{
	for (unsigned i = 0; i < p->observed->sockets_of->len; i++) {
		const char *name = p->observed->sockets_of->pdata[i];
		struct step *s;

		bool wanted = contains(p->sockets_wanted, name);

		/* With the daemon they all go. */
		if (g_hash_table_size(p->sockets_wanted) == 0 ||
		    (wanted && !sockets_changed(p, name)) ||
		    !g_hash_table_remove(p->sockets_observed, name))
			continue;
		s = add_step(p, STEP_SOCKETS_REMOVE, name,
			     g_strdup(wanted ? "their settings changed" : "no longer wanted"));
		depend(s, p->done_by[STEP_VM_STOP], name);
		put_step(p->done_by[STEP_SOCKETS_REMOVE], name, s);
	}
}

/* With all that it serves, after the VMs. */
static void stop_sockets(struct planner *p)
{
	struct step *s;

	if (!p->observed->sockets || g_hash_table_size(p->sockets_wanted) > 0)
		return;
	s = add_step(p, STEP_SOCKETS_STOP, PLAN_SOCKETS, g_strdup("no longer wanted"));
	for (unsigned i = 0; i < p->observed->sockets_of->len; i++)
		depend(s, p->done_by[STEP_VM_STOP], p->observed->sockets_of->pdata[i]);
}

/* --- what comes ----------------------------------------------------------------------------------------------------- */

static bool starts(const struct planner *p, const struct vm *vm)
{
	return p->fates[vm->index] == FATE_START || p->fates[vm->index] == FATE_RESTART;
}

static void prepare_images(struct planner *p)
{
	GHashTable *images = p->done_by[STEP_IMAGE];

	for (unsigned i = 0; i < p->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(p->lab, i);
		const char *name = vm->image->name;

		if (starts(p, vm) && !contains(images, name))
			put_step(images, name,
				 add_step(p, STEP_IMAGE, name, g_strdup("VMs start from it")));
	}
}

static void start_networks(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->networks->len; i++) {
		const char *name = lab_network(p->lab, i)->name;

		if (!contains(p->nets_observed, name))
			put_step(p->done_by[STEP_NET_START], name,
				 add_step(p, STEP_NET_START, name, g_strdup("not running")));
	}
}

static void add_ports(struct planner *p)
{
	for (unsigned i = 0; i < p->ports->len; i++) {
		const struct wanted_port *w = &g_array_index(p->ports, struct wanted_port, i);
		const char *key = port_key(p, w->network, w->name);
		struct step *s;

		if (contains(p->ports_observed, key))
			continue;
		s = add_step(p, STEP_PORT_ADD, w->name, g_strdup("not there"));
		s->network = g_strdup(w->network);
		depend(s, p->freed_by, w->name);
		depend(s, p->done_by[STEP_NET_START], w->network);
		put_step(p->done_by[STEP_PORT_ADD], key, s);
	}
}

/* The names of a network's ports that were there before and stay. */
static GHashTable *lasting_ports(struct planner *p, const char *network)
{
	GHashTable *names = g_hash_table_new(g_str_hash, g_str_equal);

	for (unsigned i = 0; i < p->ports->len; i++) {
		const struct wanted_port *w = &g_array_index(p->ports, struct wanted_port, i);

		if (strcmp(w->network, network) == 0 &&
		    contains(p->ports_observed, port_key(p, network, w->name)))
			put(names, w->name);
	}
	return names;
}

/* The lines of a switch's settings that are of those ports, or of no port; g_free(). */
static char *lines_of_ports(const char *settings, GHashTable *ports)
{
	g_auto(GStrv) lines = g_strsplit(settings, "\n", -1);
	GString *out = g_string_new(NULL);

	for (char **line = lines; *line; line++) {
		g_autofree char *key = g_strndup(*line, strcspn(*line, " "));
		g_autofree char *port = setting_port_of(key);

		if (**line && (!port || contains(ports, port)))
			g_string_append_printf(out, "%s\n", *line);
	}
	return g_string_free(out, FALSE);
}

static void update_networks(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->networks->len; i++) {
		const struct network *n = lab_network(p->lab, i);
		const char *told = g_hash_table_lookup(p->observed->switches, n->name);
		g_autoptr(GHashTable) ports = lasting_ports(p, n->name);
		g_autofree char *before = NULL, *after = NULL;
		char *reason;
		struct step *s;

		if (!contains(p->nets_observed, n->name))
			continue;
		before = lines_of_ports(told ? told : "", ports);
		after = render_switch_text(p->lab, n, ports);
		reason = plan_describe_change(before, after);
		if (!reason)
			continue;
		s = add_step(p, STEP_NET_UPDATE, n->name, reason);
		for (unsigned j = 0; j < s->index; j++) {
			const struct step *other = plan_step(p->plan, j);

			if (other->network && strcmp(other->network, n->name) == 0)
				g_array_append_val(s->deps, j);
		}
		put_step(p->done_by[STEP_NET_UPDATE], n->name, s);
	}
}

static void start_sockets(struct planner *p)
{
	if (!p->observed->sockets && g_hash_table_size(p->sockets_wanted) > 0)
		put_step(p->done_by[STEP_SOCKETS_START], PLAN_SOCKETS,
			 add_step(p, STEP_SOCKETS_START, PLAN_SOCKETS, g_strdup("not running")));
}

static void add_sockets(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->vms->len; i++) {
		const char *name = lab_vm(p->lab, i)->name;
		struct step *s;

		if (!contains(p->sockets_wanted, name) || contains(p->sockets_observed, name))
			continue;
		s = add_step(p, STEP_SOCKETS_ADD, name, g_strdup("not there"));
		depend(s, p->done_by[STEP_SOCKETS_REMOVE], name);
		depend(s, p->done_by[STEP_SOCKETS_START], PLAN_SOCKETS);
		put_step(p->done_by[STEP_SOCKETS_ADD], name, s);
	}
}

static void start_vm(struct planner *p, const struct vm *vm)
{
	GHashTable *vm_starts = p->done_by[STEP_VM_START];
	struct step *s;

	if (!starts(p, vm) || contains(vm_starts, vm->name))
		return;
	/* `after` has no cycle, and at most LAB_VMS_MAX levels. */
	for (unsigned i = 0; i < vm->after->len; i++)
		start_vm(p, vm->after->pdata[i]);
	s = add_step(p, STEP_VM_START, vm->name,
		     p->fates[vm->index] == FATE_RESTART ? change_of(p, vm) :
							   g_strdup("not running"));
	depend(s, p->done_by[STEP_VM_STOP], vm->name);
	depend(s, p->done_by[STEP_IMAGE], vm->image->name);
	depend(s, p->done_by[STEP_SOCKETS_ADD], vm->name);
	for (unsigned i = 0; i < vm->portals->len; i++)
		depend(s, p->done_by[STEP_PORTAL_ADD],
		       port_key(p, vm_portal(vm, i)->portal->name, vm->name));
	for (unsigned i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		depend(s, p->done_by[STEP_PORT_ADD], port_key(p, nic->network->name, nic->port));
		depend(s, p->done_by[STEP_NET_UPDATE], nic->network->name);
	}
	for (unsigned i = 0; i < vm->after->len; i++)
		depend(s, vm_starts, ((struct vm *)vm->after->pdata[i])->name);
	put_step(vm_starts, vm->name, s);
}

static void tell_held(struct planner *p)
{
	for (unsigned i = 0; i < p->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(p->lab, i);

		if (p->fates[i] != FATE_HELD)
			continue;
		add_step(p, STEP_VM_RESTART, vm->name, change_of(p, vm))->held = true;
		p->plan->n_todo--;
	}
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static void planner_init(struct planner *p, const struct lab *lab, const struct observed *observed)
{
	*p = (struct planner){
		.lab = lab,
		.observed = observed,
		.plan = g_new0(struct plan, 1),
		.fates = g_new0(enum fate, lab ? lab->vms->len : 1),
		.running = plan_set_new(),
		.nets_observed = plan_set_new(),
		.nets_wanted = plan_set_new(),
		.ports_observed = plan_set_new(),
		.ports_wanted = plan_set_new(),
		.sockets_observed = plan_set_new(),
		.sockets_wanted = plan_set_new(),
		.portals_observed = plan_set_new(),
		.portals_wanted = plan_set_new(),
		.accesses_observed = plan_set_new(),
		.accesses_wanted = plan_set_new(),
		.ports = g_array_new(FALSE, FALSE, sizeof(struct wanted_port)),
		.freed_by = plan_set_new(),
		.texts = g_string_chunk_new(4096),
	};
	p->plan->steps = g_ptr_array_new_with_free_func(step_free);
	for (unsigned i = 0; i < STEP_KIND_COUNT; i++)
		p->done_by[i] = plan_set_new();
}

static void planner_done(struct planner *p)
{
	g_free(p->fates);
	g_hash_table_unref(p->running);
	g_hash_table_unref(p->nets_observed);
	g_hash_table_unref(p->nets_wanted);
	g_hash_table_unref(p->ports_observed);
	g_hash_table_unref(p->ports_wanted);
	g_hash_table_unref(p->sockets_observed);
	g_hash_table_unref(p->sockets_wanted);
	g_hash_table_unref(p->portals_observed);
	g_hash_table_unref(p->portals_wanted);
	g_hash_table_unref(p->accesses_observed);
	g_hash_table_unref(p->accesses_wanted);
	g_array_unref(p->ports);
	for (unsigned i = 0; i < STEP_KIND_COUNT; i++)
		g_hash_table_unref(p->done_by[i]);
	g_hash_table_unref(p->freed_by);
	g_string_chunk_free(p->texts);
}

static void find_observed(struct planner *p)
{
	const struct observed *o = p->observed;

	for (unsigned i = 0; i < o->networks->len; i++)
		put(p->nets_observed, o->networks->pdata[i]);
	for (unsigned i = 0; i < o->ports->len; i++) {
		const struct observed_port *port = o->ports->pdata[i];

		/* A port without its switch is none. */
		if (contains(p->nets_observed, port->network))
			put(p->ports_observed, port_key(p, port->network, port->name));
	}
	/* Sockets without their daemon are none. */
	for (unsigned i = 0; o->sockets && i < o->sockets_of->len; i++)
		put(p->sockets_observed, o->sockets_of->pdata[i]);
	plan_find_portals(p);
	for (unsigned i = 0; i < o->vms->len; i++) {
		struct observed_vm *vm = o->vms->pdata[i];

		g_hash_table_insert(p->running, vm->name, vm);
	}
}

static int compare_unsigned(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

/* Ascending, each once. */
static void tidy_deps(GArray *deps)
{
	unsigned n = 0;

	g_array_sort(deps, compare_unsigned);
	for (unsigned i = 0; i < deps->len; i++)
		if (i == 0 ||
		    g_array_index(deps, unsigned, i) != g_array_index(deps, unsigned, n - 1))
			g_array_index(deps, unsigned, n++) = g_array_index(deps, unsigned, i);
	g_array_set_size(deps, n);
}

struct plan *plan_make(const struct lab *lab, const struct observed *observed,
		       enum plan_flags flags)
{
	struct planner p;

	planner_init(&p, lab, observed);
	find_observed(&p);
	find_wanted(&p, flags);
	stop_vms(&p);
	remove_ports(&p);
	stop_networks(&p);
	remove_sockets(&p);
	stop_sockets(&p);
	plan_stop_portals(&p);
	plan_remove_accesses(&p);
	if (lab) {
		prepare_images(&p);
		start_networks(&p);
		add_ports(&p);
		update_networks(&p);
		start_sockets(&p);
		add_sockets(&p);
		plan_start_portals(&p);
		plan_add_accesses(&p);
		for (unsigned i = 0; i < lab->vms->len; i++)
			start_vm(&p, lab_vm(lab, i));
		tell_held(&p);
		plan_tell_held_portals(&p);
	}
	for (unsigned i = 0; i < p.plan->steps->len; i++)
		tidy_deps(plan_step(p.plan, i)->deps);
	planner_done(&p);
	return p.plan;
}

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	g_ptr_array_unref(plan->steps);
	g_free(plan);
}
