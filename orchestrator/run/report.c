/* SPDX-License-Identifier: MIT */
#include "run/report.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "model/lab.h"
#include "plan/plan.h"
#include "render/portal.h"
#include "run/json.h"
#include "run/remains.h"
#include "run/state.h"

/* Of state->nets or state->portals. */
static const struct state_net *find_by_name(const GPtrArray *nets, const char *name)
{
	for (guint i = 0; i < nets->len; i++) {
		const struct state_net *n = nets->pdata[i];

		if (strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

static const struct state_port *find_port(const struct state_vm *v, const char *name)
{
	for (guint i = 0; v && i < v->ports->len; i++) {
		const struct state_port *p = v->ports->pdata[i];

		if (strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

static void put_address(struct json_object *o, const char *key, struct in_addr address,
			unsigned prefix)
{
	char text[INET_ADDRSTRLEN];
	g_autofree char *cidr = NULL;

	inet_ntop(AF_INET, &address, text, sizeof(text));
	cidr = g_strdup_printf("%s/%u", text, prefix);
	json_put_str(o, key, cidr);
}

static struct json_object *report_nic(const struct nic *nic, const struct state_vm *was)
{
	struct json_object *o = json_object_new_object();
	const struct state_port *port = find_port(was, nic->port);
	char mac[NAMES_MAC_LEN + 1];

	names_mac_format(nic->mac, mac);
	json_put_str(o, "network", nic->network->name);
	put_address(o, "ip", nic->ip, nic->network->prefix);
	json_put_str(o, "mac", mac);
	json_put_str(o, "port", nic->port);
	json_put_str(o, "state", port && port->state ? port->state : "unknown");
	return o;
}

/* The stage as far as it is still true: a saved one may be of a QEMU that is gone. */
static enum stage stage_of(const struct state_vm *was)
{
	if (!was)
		return STAGE_PLANNED;
	if (was->id.pid && !proc_id_alive(&was->id))
		return STAGE_FAILED;
	return was->stage;
}

static void report_run(struct json_object *o, const struct state_vm *was)
{
	enum stage stage = stage_of(was);
	bool alive = was && was->id.pid && stage != STAGE_FAILED;

	const char *waits_for = was && was->waits_for ? was->waits_for : ladder_waits_for(stage);

	json_put_str(o, "stage", stage_word(stage));
	if (was && was->paused)
		json_put_bool(o, "paused", true);
	if (*waits_for)
		json_put_str(o, "waits-for", waits_for);
	if (!was)
		return;
	if (alive) {
		json_put_int(o, "pid", was->id.pid);
		json_put_int(o, "uptime-ms",
			     (proc_boottime_us() - proc_id_start_us(&was->id)) / 1000);
	}
	if (was->ready_us)
		json_put_int(o, "ready-after-ms", was->ready_us / 1000);
	if (was->reason)
		json_put_str(o, "reason", was->reason);
	else if (stage == STAGE_FAILED)
		json_put_str(o, "reason", "QEMU ended while no supervisor ran");
}

static void report_forward(struct json_object *list, const char *id, const struct forward *f,
			   const char *origin)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "id", id);
	json_put_str(o, "direction", f->to_guest ? "to-guest" : "to-host");
	json_put_int(o, "guest-port", f->port);
	json_put_str(o, "host", f->host);
	json_put_str(o, "origin", origin);
	json_object_array_add(list, o);
}

/* What was done while the lab runs about one of the file; NULL: nothing. */
static const struct state_forward *find_change(const struct state *s, const char *id)
{
	for (guint i = 0; i < s->forwards->len; i++) {
		const struct state_forward *f = s->forwards->pdata[i];
		size_t len = strlen(f->vm);

		if (strncmp(f->vm, id, len) == 0 && id[len] == '.' &&
		    strcmp(f->text, id + len + 1) == 0)
			return f;
	}
	return NULL;
}

/* Those of the file that were not taken back, and those that were added. */
static struct json_object *report_forwards(const struct vm *vm, const struct state *state)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < vm->forwards->len; i++) {
		const struct forward *f = vm->forwards->pdata[i];

		if (!find_change(state, f->id))
			report_forward(list, f->id, f, "file");
	}
	for (guint i = 0; i < state->forwards->len; i++) {
		const struct state_forward *added = state->forwards->pdata[i];
		g_autofree char *id = g_strdup_printf("%s.%s", added->vm, added->text);
		struct forward f = { 0 };

		if (added->removed || strcmp(added->vm, vm->name) != 0 ||
		    forward_parse(added->text, &f))
			continue;
		report_forward(list, id, &f, "added");
		g_free(f.host);
	}
	return list;
}

static struct json_object *report_probes(const struct vm *vm)
{
	static const char *const kinds[] = {
		[PROBE_PORT] = "port", [PROBE_FILE] = "file", [PROBE_COMMAND] = "command"
	};
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < vm->probes->len; i++) {
		const struct probe *p = vm->probes->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "name", p->name);
		if (p->kind == PROBE_PORT)
			json_put_int(o, kinds[p->kind], p->port);
		else
			json_put_str(o, kinds[p->kind], p->text);
		json_put_str(o, "hint", p->hint);
		json_object_array_add(list, o);
	}
	return list;
}

/* How the VM is reached without a network, and who answers there. */
static struct json_object *report_sockets(const struct vm *vm, const struct vm_paths *files,
					  unsigned port_base, const struct state_vm *was,
					  const struct state *state)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "kind", lab_sockets_name(vm->sockets));
	if (vm->sockets == LAB_SOCKETS_NONE)
		return o;
	if (vm->sockets == LAB_SOCKETS_VSOCK)
		json_put_int(o, "cid", vm->cid);
	json_put_str(o, "uds-path", files->vs);
	json_put_int(o, "agent-port", port_base);
	json_put_str(o, "state", was && was->sockets ? was->sockets : "unknown");
	json_put_str(o, "agent", was && was->agent ? was->agent : "unknown");
	json_put_str(o, "agent-version", was ? was->agent_version : NULL);
	json_object_object_add(o, "forwards", report_forwards(vm, state));
	json_object_object_add(o, "probes", report_probes(vm));
	return o;
}

/* Who has it, and where its console is. */
static void report_engine(struct json_object *o, const struct lab *lab, const struct vm *vm,
			  const struct state_vm *was, const struct vm_paths *files)
{
	g_autofree char *engine = was && was->id.pid ?
					  g_strdup(was->engine ? was->engine : "qemu") :
					  lab_engine_text(&lab->engine);
	g_autofree char *domain = names_domain(lab->name, vm->name);

	json_put_str(o, "engine", engine);
	if (!lab_engine_text_uri(engine)) {
		json_put_str(o, "console-socket", files->con);
		json_put_str(o, "qmp-socket", files->qmp);
		return;
	}
	json_put_str(o, "domain", domain);
	json_put_str(o, "console", was ? was->console : NULL);
}

static struct json_object *report_vm(const struct lab *lab, const struct lab_paths *paths,
				     const struct vm *vm, const struct state *state)
{
	const struct state_vm *was = state_find_vm(state, vm->name);
	const struct vm_paths *files = lab_paths_vm(paths, vm->index);
	g_autofree char *settings = plan_vm_settings(lab, vm);
	struct json_object *o = json_object_new_object(), *nics = json_object_new_array();

	json_put_str(o, "name", vm->name);
	report_run(o, was);
	json_put_bool(o, "needs-restart",
		      was && was->id.pid && was->settings && strcmp(was->settings, settings) != 0);
	json_put_str(o, "role", vm->role);
	json_put_str(o, "image", vm->image->name);
	json_put_int(o, "memory-mib", (int64_t)(vm->memory >> 20));
	json_put_int(o, "vcpus", vm->vcpus);
	for (guint i = 0; i < vm->nics->len; i++)
		json_object_array_add(nics, report_nic(vm_nic(vm, i), was));
	json_object_object_add(o, "nics", nics);
	json_object_object_add(o, "sockets", report_sockets(vm, files, lab->port_base, was, state));
	report_engine(o, lab, vm, was, files);
	json_put_str(o, "console-log", files->console_log);
	json_put_str(o, "qemu-log", files->qemu_log);
	return o;
}

/* One that is no longer in the lab file, and still runs or has just failed. */
static struct json_object *report_stray_vm(const struct state_vm *was)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "name", was->name);
	report_run(o, was);
	json_put_bool(o, "needs-restart", false);
	json_object_object_add(o, "nics", json_object_new_array());
	return o;
}

static struct json_object *report_uplinks(const struct network *network)
{
	struct json_object *list = json_object_new_array(), *type;

	for (guint i = 0; i < network->uplinks->len; i++) {
		const struct uplink *u = network_uplink(network, i);
		struct json_object *o = json_object_new_object();

		json_put_str(o, "name", u->port);
		if (json_object_object_get_ex(u->own, "type", &type))
			json_object_object_add(o, "type", json_object_get(type));
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *report_net(const char *name, const struct network *network,
				      const struct state_net *was, const struct state *state)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();
	bool alive = was && proc_id_alive(&was->id);

	json_put_str(o, "name", name);
	json_put_str(o, "stage", was && was->stage ? was->stage : alive ? "running" : "down");
	if (network) {
		put_address(o, "subnet", network->subnet, network->prefix);
		json_put_int(o, "mtu", network->mtu);
		json_object_object_add(o, "uplinks", report_uplinks(network));
	}
	if (alive)
		json_put_int(o, "pid", was->id.pid);
	json_put_int(o, "restarts", was ? was->restarts : 0);
	json_put_str(o, "reason", was ? was->reason : NULL);
	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *v = state->vms->pdata[i];

		for (guint j = 0; j < v->ports->len; j++) {
			const struct state_port *p = v->ports->pdata[j];
			struct json_object *port;

			if (strcmp(p->network, name) != 0)
				continue;
			port = json_object_new_object();
			json_put_str(port, "name", p->name);
			json_put_str(port, "vm", v->name);
			json_put_str(port, "socket-path", p->path);
			json_put_str(port, "state", p->state ? p->state : "unknown");
			json_object_array_add(ports, port);
		}
	}
	json_object_object_add(o, "ports", ports);
	return o;
}

/* A daemon's process; was may be NULL: it never ran. */
static void report_process(struct json_object *o, const struct state_net *was)
{
	bool alive = was && proc_id_alive(&was->id);

	json_put_str(o, "stage", was && was->stage ? was->stage : alive ? "running" : "down");
	if (alive)
		json_put_int(o, "pid", was->id.pid);
	json_put_int(o, "restarts", was ? was->restarts : 0);
	json_put_str(o, "reason", was ? was->reason : NULL);
}

static struct json_object *report_daemon(const struct state_net *was, const struct lab_paths *paths)
{
	struct json_object *o = json_object_new_object();

	report_process(o, was);
	json_put_str(o, "control-socket", paths->hvsock->ctl);
	return o;
}

static struct json_object *report_access(const struct vm *vm, const struct portal_access *a)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "vm", vm->name);
	json_put_str(o, "mode", a->readonly ? "ro" : "rw");
	json_put_str(o, "door", portal_door_name(a->door));
	if (a->quota)
		json_put_int(o, "quota-mib", (int64_t)(a->quota >> 20));
	return o;
}

static void report_portal_of_lab(struct json_object *o, const struct lab *lab,
				 const struct lab_paths *paths, const struct portal *portal)
{
	const struct portal_paths *files = lab_paths_portal(paths, portal->index);
	struct json_object *accesses = json_object_new_array();

	json_put_int(o, "size-mib", (int64_t)(portal->size >> 20));
	json_put_int(o, "port", portal->port);
	json_put_str(o, "file", files->memory);
	json_put_str(o, "attach", files->lease);
	for (guint i = 0; i < lab->vms->len; i++) {
		const struct portal_access *a = vm_find_portal(lab_vm(lab, i), portal);

		if (a)
			json_object_array_add(accesses, report_access(lab_vm(lab, i), a));
	}
	json_object_object_add(o, "vms", accesses);
}

/* lab NULL: it is no longer in the lab file. */
static struct json_object *report_portal(const char *name, const struct lab *lab,
					 const struct lab_paths *paths, const struct state *state)
{
	const struct portal *portal = lab ? lab_find_portal(lab, name) : NULL;
	const struct state_net *was = find_by_name(state->portals, name);
	struct portal_paths *files = portal_paths_new(paths, name);
	struct json_object *o = json_object_new_object();
	g_autofree char *text = portal ? render_portal_text(lab, portal) : NULL;

	json_put_str(o, "name", name);
	report_process(o, was);
	json_put_str(o, "control-socket", files->daemon->ctl);
	json_put_bool(o, "needs-restart",
		      text && was && was->id.pid && g_strcmp0(was->settings, text) != 0);
	if (portal)
		report_portal_of_lab(o, lab, paths, portal);
	portal_paths_free(files);
	return o;
}

static struct json_object *report_portals(const struct lab *lab, const struct lab_paths *paths,
					  const struct state *state)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; lab && i < lab->portals->len; i++)
		json_object_array_add(list,
				      report_portal(lab_portal(lab, i)->name, lab, paths, state));
	for (guint i = 0; i < state->portals->len; i++) {
		const struct state_net *was = state->portals->pdata[i];

		if (!lab || !lab_find_portal(lab, was->name))
			json_object_array_add(list, report_portal(was->name, lab, paths, state));
	}
	return list;
}

/* QEMUs of others that have devices of the lab. */
static struct json_object *report_guests(const struct state *state)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < state->guests->len; i++)
		json_object_array_add(list, state_guest_report(state->guests->pdata[i]));
	return list;
}

/* "ready": every VM is; "down": nothing runs; "starting": some are on their way; else "partial". */
static const char *summary(struct json_object *vms, const struct state *state)
{
	size_t n = json_object_array_length(vms), ready = 0, moving = 0;

	if (!state_anything_alive(state))
		return "down";
	for (size_t i = 0; i < n; i++) {
		enum stage stage =
			stage_from_word(json_str(json_object_array_get_idx(vms, i), "stage"));

		ready += stage == STAGE_READY;
		moving += stage_on_its_way(stage) || stage == STAGE_PLANNED;
	}
	return ready == n ? "ready" : moving ? "starting" : "partial";
}

struct json_object *report_make(const struct lab *lab, const struct lab_paths *paths,
				const struct state *state)
{
	struct json_object *o = json_object_new_object(), *supervisor = json_object_new_object();
	struct json_object *nets = json_object_new_array(), *vms = json_object_new_array();

	for (guint i = 0; lab && i < lab->networks->len; i++) {
		const struct network *n = lab_network(lab, i);

		json_object_array_add(nets, report_net(n->name, n,
						       find_by_name(state->nets, n->name), state));
	}
	for (guint i = 0; i < state->nets->len; i++) {
		const struct state_net *n = state->nets->pdata[i];

		if (!lab || !lab_find_network(lab, n->name))
			json_object_array_add(nets, report_net(n->name, NULL, n, state));
	}
	for (guint i = 0; lab && i < lab->vms->len; i++)
		json_object_array_add(vms, report_vm(lab, paths, lab_vm(lab, i), state));
	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *v = state->vms->pdata[i];

		if (!lab || !lab_find_vm(lab, v->name))
			json_object_array_add(vms, report_stray_vm(v));
	}
	json_put_str(o, "name", state->lab);
	json_put_str(o, "path", state->path);
	json_put_str(o, "state", summary(vms, state));
	json_put_str(supervisor, "state", state_supervisor_alive(state) ? "running" : "gone");
	if (state_supervisor_alive(state))
		json_put_int(supervisor, "pid", state->supervisor.pid);
	json_object_object_add(o, "supervisor", supervisor);
	if (state->sockets)
		json_object_object_add(o, "sockets", report_daemon(state->sockets, paths));
	if (state->sockets && access(paths->ssh_config, R_OK) == 0)
		json_put_str(o, "ssh-config", paths->ssh_config);
	json_object_object_add(o, "networks", nets);
	json_object_object_add(o, "portals", report_portals(lab, paths, state));
	json_object_object_add(o, "vms", vms);
	json_object_object_add(o, "guests", report_guests(state));
	return o;
}

struct json_object *report_from_files(const char *lab_name)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct remains *remains = remains_read(lab_name, dirs);
	struct json_object *report = report_make(remains->lab, remains->paths, remains->state);

	json_put_str(report, "damage", remains->damage);
	remains_free(remains);
	lab_dirs_free(dirs);
	return report;
}
