/* SPDX-License-Identifier: MIT */
#include "render/systemd.h"

#include <json-c/json.h>
#include <string.h>

#include "err.h"
#include "model/lab.h"
#include "render/libvirt.h"
#include "render/portal.h"
#include "render/qemu.h"
#include "render/sockets.h"
#include "render/switch.h"

#define SOCKETS_MAX \
	1000 /* of a service: it begins with 1024 descriptors, whatever it may have later */

struct rendering {
	const struct lab *lab;
	const struct lab_paths *paths;
	const struct systemd_host *host;
	GPtrArray *files;
	GString *wants;  /* of the target: its units, a blank before each */
	GString *before; /* of the machines: what has to be there */
	char *bad;       /* a path that no unit can hold; NULL: none */
	char *crowded;   /* a daemon of too many sockets, by its unit */
};

/* A daemon on its way into units. */
struct unit {
	char *name; /* without its suffix: "vhost-lab-LAB.net-NET" */
	char *stem; /* "net-NET" */
	char *what; /* "switch of network NET" */
	enum systemd_daemon daemon;
	const char *control;
	GPtrArray *listen; /* of char * */
	struct json_object *config;
	bool eager; /* it starts with the target, not with who needs it */
};

static const char *const daemon_names[SYSTEMD_DAEMONS] = {
	[SYSTEMD_NET] = "vhost-user-net",
	[SYSTEMD_HVSOCK] = "vhost-user-hvsock",
	[SYSTEMD_PORTAL] = "vhost-user-portal",
};

/* --- text -------------------------------------------------------------------------------------------------------------- */

static void file_free(void *p)
{
	struct systemd_file *file = p;

	g_free(file->name);
	g_free(file->text);
	g_free(file);
}

/* Takes name and text over. */
static struct systemd_file *add_file(struct rendering *r, char *name, char *text)
{
	struct systemd_file *file = g_new0(struct systemd_file, 1);

	file->name = name;
	file->text = text;
	g_ptr_array_add(r->files, file);
	return file;
}

static void G_GNUC_PRINTF(3, 4)
	add_unit_file(struct rendering *r, char *name, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add_file(r, name, g_strdup_vprintf(format, ap))->shown = true;
	va_end(ap);
}

/* A unit file is lines of UTF-8. */
static void check_path(struct rendering *r, const char *path)
{
	bool fine = g_utf8_validate(path, -1, NULL);

	for (const char *c = path; fine && *c; c++)
		fine = !g_ascii_iscntrl(*c);
	if (!fine && !r->bad)
		r->bad = g_strdup(path);
}

/* As a setting takes it that is one path: '%' begins a specifier. */
static char *setting_path(struct rendering *r, const char *path)
{
	g_auto(GStrv) parts = g_strsplit(path, "%", -1);

	check_path(r, path);
	return g_strjoinv("%%", parts);
}

/* A word of a command line. */
static char *command_word(struct rendering *r, const char *word)
{
	GString *out = g_string_new("\"");

	check_path(r, word);
	for (; *word; word++) {
		if (strchr("\"\\", *word))
			g_string_append_c(out, '\\');
		else if (strchr("%$", *word))
			g_string_append_c(out, *word);
		g_string_append_c(out, *word);
	}
	g_string_append_c(out, '"');
	return g_string_free(out, FALSE);
}

static char *target_name(const struct rendering *r)
{
	return g_strdup_printf("vhost-lab-%s.target", r->lab->name);
}

/* --- one daemon ---------------------------------------------------------------------------------------------------------- */

static struct unit *unit_new(const struct rendering *r, enum systemd_daemon daemon, char *stem,
			     char *what, const struct daemon_paths *paths)
{
	struct unit *u = g_new0(struct unit, 1);

	u->name = g_strdup_printf("vhost-lab-%s.%s", r->lab->name, stem);
	u->stem = stem;
	u->what = what;
	u->daemon = daemon;
	u->control = paths->ctl;
	u->listen = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(u->listen, g_strdup(paths->ctl));
	return u;
}

static void unit_free(struct unit *u)
{
	g_free(u->name);
	g_free(u->stem);
	g_free(u->what);
	g_ptr_array_unref(u->listen);
	json_object_put(u->config);
	g_free(u);
}

/* What a libvirt of the system, which starts VMs by itself, is to find when it does. */
#define BEFORE_LIBVIRT "Before=libvirtd.service virtqemud.service libvirt-guests.service\n"

/* What [Unit] says about order. */
static char *ordering(const struct rendering *r, bool socket)
{
	g_autofree char *directory =
		g_strdup_printf("vhost-lab-%s.directory.service", r->lab->name);

	if (!r->host->system)
		return g_strdup("");
	/* The directory may be its user's, who is no part of what the system needs to come up: sockets.target, before which a
	 * socket is by default, would be too early. */
	return g_strdup_printf(
		BEFORE_LIBVIRT "Requires=%s\nAfter=%s\n%s", directory, directory,
		socket ?
			"DefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n" :
			"");
}

static char *socket_access(const struct rendering *r)
{
	if (!r->host->system)
		return g_strdup("SocketMode=0600\nDirectoryMode=0700\n");
	return g_strdup_printf("SocketUser=%u\nSocketGroup=%u\nSocketMode=0600\n",
			       (unsigned)r->host->uid, (unsigned)r->host->gid);
}

static void add_socket(struct rendering *r, const struct unit *u)
{
	g_autofree char *target = target_name(r), *order = ordering(r, true),
			*access = socket_access(r);
	g_autoptr(GString) listen = g_string_new(NULL);

	for (guint i = 0; i < u->listen->len; i++) {
		g_autofree char *path = setting_path(r, u->listen->pdata[i]);

		g_string_append_printf(listen, "ListenStream=%s\n", path);
	}
	if (u->listen->len > SOCKETS_MAX && !r->crowded)
		r->crowded = g_strdup(u->what);
	add_unit_file(r, g_strconcat(u->name, ".socket", NULL),
		      "[Unit]\nDescription=Sockets of the %s, lab %s\n"
		      "Documentation=man:%s(8)\nPartOf=%s\n%s\n"
		      "[Socket]\n%s%sRemoveOnStop=yes\n",
		      u->what, r->lab->name, daemon_names[u->daemon], target, order, listen->str,
		      access);
	g_string_append_printf(r->wants, " %s.socket", u->name);
	g_string_append_printf(r->before, " %s.socket", u->name);
}

static void add_service(struct rendering *r, const struct unit *u)
{
	const struct systemd_host *h = r->host;
	g_autofree char *target = target_name(r), *order = ordering(r, false);
	g_autofree char *program = command_word(r, h->program[u->daemon]);
	g_autofree char *json = g_strconcat(u->stem, ".json", NULL);
	g_autofree char *path = g_build_filename(h->dir, json, NULL);
	g_autofree char *config = command_word(r, path), *control = command_word(r, u->control);
	g_autofree char *user = h->system ? g_strdup_printf("User=%u\nGroup=%u\n", (unsigned)h->uid,
							    (unsigned)h->gid) :
					    g_strdup("");

	add_unit_file(r, g_strconcat(u->name, ".service", NULL),
		      "[Unit]\nDescription=The %s, lab %s\nDocumentation=man:%s(8)\n"
		      "PartOf=%s\nRequires=%s.socket\nAfter=%s.socket\n%s"
		      "# QEMUs wait for it as long as they live.\nStartLimitIntervalSec=0\n\n"
		      "[Service]\nType=notify\nExecStart=%s --config %s --control %s\n%s"
		      "Restart=on-failure\nRestartSec=200ms\nNoNewPrivileges=yes\nUMask=0077\n",
		      u->what, r->lab->name, daemon_names[u->daemon], target, u->name, u->name,
		      order, program, config, control, user);
	if (!u->eager)
		return;
	g_string_append_printf(r->wants, " %s.service", u->name);
	g_string_append_printf(r->before, " %s.service", u->name);
}

/* Consumes u. */
static void add_unit(struct rendering *r, struct unit *u)
{
	const char *text = json_object_to_json_string_ext(
		u->config, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);

	add_socket(r, u);
	add_service(r, u);
	add_file(r, g_strconcat(u->stem, ".json", NULL), g_strconcat(text, "\n", NULL));
	unit_free(u);
}

/* --- what daemons are told ---------------------------------------------------------------------------------------------- */

/* All that port.add takes.  Consumes more. */
static void add_port(struct json_object *ports, struct json_object *port, struct json_object *more)
{
	json_object_object_foreach(more, key, value)
		json_object_object_add(port, key, json_object_get(value));
	json_object_put(more);
	json_object_array_add(ports, port);
}

static struct json_object *ports_of(const struct rendering *r, const struct network *n,
				    GPtrArray *listen)
{
	struct json_object *ports = json_object_new_array(), *port, *more;

	for (unsigned i = 0; i < r->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(r->lab, i);

		for (unsigned j = 0; j < vm->nics->len; j++) {
			const struct nic *nic = vm_nic(vm, j);
			const char *path = vm_paths_port(lab_paths_vm(r->paths, i), j);

			if (nic->network != n)
				continue;
			render_nic_port(n, nic->port, path, &nic->link, &port, &more);
			add_port(ports, port, more);
			g_ptr_array_add(listen, g_strdup(path));
		}
	}
	for (unsigned i = 0; i < n->uplinks->len; i++) {
		render_uplink_port(r->lab, n, network_uplink(n, i), &port, &more);
		add_port(ports, port, more);
	}
	return ports;
}

/* What its ports do not say of themselves.  What hangs on the host may fail. */
static struct json_object *setup_of(const struct rendering *r, const struct network *n)
{
	g_autoptr(GPtrArray) settings = render_switch_settings(r->lab, n);
	struct json_object *setup = json_object_new_array();

	for (guint i = 0; i < settings->len; i++) {
		const struct setting *s = settings->pdata[i];
		struct json_object *call;

		if (!s->kind->method || g_str_equal(s->kind->word, "port") ||
		    g_str_equal(s->kind->word, "hosts"))
			continue;
		call = json_object_new_object();
		json_object_object_add(call, "method", json_object_new_string(s->kind->method));
		json_object_object_add(call, "params", json_tokener_parse(s->params));
		if (!s->kind->inward)
			json_object_object_add(call, "may-fail", json_object_new_boolean(true));
		json_object_array_add(setup, call);
	}
	return setup;
}

static void add_switch(struct rendering *r, const struct network *n)
{
	struct unit *u = unit_new(r, SYSTEMD_NET, g_strconcat("net-", n->name, NULL),
				  g_strconcat("switch of network ", n->name, NULL),
				  lab_paths_net(r->paths, n->index));

	u->config = render_switch_config(n);
	json_object_object_add(u->config, "ports", ports_of(r, n, u->listen));
	json_object_object_add(u->config, "setup", setup_of(r, n));
	add_unit(r, u);
}

static void add_forwards(struct json_object *list, const struct vm *vm)
{
	for (unsigned i = 0; i < vm->forwards->len; i++) {
		const struct forward *f = vm->forwards->pdata[i];
		struct json_object *o = render_sockets_forward(f->id, vm->name, f);

		json_object_object_add(o, "may-fail", json_object_new_boolean(true));
		json_object_array_add(list, o);
	}
}

static void add_sockets(struct rendering *r)
{
	struct json_object *vms = json_object_new_array(), *forwards = json_object_new_array();
	struct unit *u = unit_new(r, SYSTEMD_HVSOCK, g_strdup("hvsock"),
				  g_strdup("daemon of sockets"), r->paths->hvsock);

	for (unsigned i = 0; i < r->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(r->lab, i);

		if (vm->sockets == LAB_SOCKETS_NONE)
			continue;
		json_object_array_add(vms, render_sockets_vm(vm, r->paths));
		add_forwards(forwards, vm);
		g_ptr_array_add(u->listen, g_strdup(lab_paths_vm(r->paths, i)->vsock));
		g_ptr_array_add(u->listen, g_strdup(lab_paths_vm(r->paths, i)->vs));
	}
	u->config = render_sockets_config(r->lab, r->paths);
	json_object_object_add(u->config, "vms", vms);
	json_object_object_add(u->config, "forwards", forwards);
	add_unit(r, u);
}

/* The sockets at which a portal's daemon waits for a VM: for its leases, and for its device. */
static void listen_for_access(const struct rendering *r, const struct vm *vm,
			      const struct portal_access *a, GPtrArray *listen)
{
	const struct vm_paths *p = lab_paths_vm(r->paths, vm->index);

	g_ptr_array_add(listen, vm_paths_vs_port(p, a->portal->port));
	if (a->door == PORTAL_DOOR_VHOST_USER)
		g_ptr_array_add(listen, vm_paths_pmem(p, a->index));
}

static void add_portal(struct rendering *r, const struct portal *portal)
{
	const struct portal_paths *own = lab_paths_portal(r->paths, portal->index);
	struct json_object *clients = json_object_new_array();
	struct unit *u = unit_new(r, SYSTEMD_PORTAL, g_strconcat("portal-", portal->name, NULL),
				  g_strconcat("daemon of portal ", portal->name, NULL),
				  own->daemon);

	u->eager = true;
	u->config = render_portal_config(r->lab, portal, r->paths);
	g_ptr_array_add(u->listen, g_strdup(own->lease));
	if (json_object_object_get_ex(u->config, "ivshmem", NULL))
		g_ptr_array_add(u->listen, g_strdup(own->ivshmem));
	json_object_array_add(clients, render_portal_host(portal, r->paths));
	for (unsigned i = 0; i < r->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(r->lab, i);
		const struct portal_access *a = vm_find_portal(vm, portal);

		if (!a)
			continue;
		json_object_array_add(clients, render_portal_client(vm, a, r->paths));
		listen_for_access(r, vm, a, u->listen);
	}
	json_object_object_add(u->config, "clients", clients);
	add_unit(r, u);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

/* The sockets' directory, and the one of all labs that it lies in, are for their user alone. */
static void add_directory(struct rendering *r)
{
	g_autofree char *above = g_path_get_dirname(r->paths->run_dir);
	g_autofree char *outer = command_word(r, above),
			*inner = command_word(r, r->paths->run_dir);
	unsigned uid = (unsigned)r->host->uid, gid = (unsigned)r->host->gid;
	g_autofree char *user = g_strdup_printf("/run/user/%u/", uid), *runtime = NULL;

	if (!r->host->system)
		return;
	if (g_str_has_prefix(r->paths->run_dir, user))
		runtime = g_strdup_printf("Requires=user-runtime-dir@%u.service\n"
					  "After=user-runtime-dir@%u.service\n",
					  uid, uid);
	add_unit_file(r, g_strdup_printf("vhost-lab-%s.directory.service", r->lab->name),
		      "[Unit]\nDescription=Directory of the sockets of lab %s\n"
		      "Documentation=man:orchestrator(1)\n%s\n"
		      "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
		      "ExecStart=install -d -o %u -g %u -m 0700 %s %s\n",
		      r->lab->name, runtime ? runtime : "", uid, gid, outer, inner);
}

/* Nothing starts the libvirt of a session but who asks it something; it then starts what is to come up with it.  Its QEMUs
 * outlive this unit, as they outlive any other who asked. */
static void add_machines(struct rendering *r)
{
	g_autofree char *uri = command_word(r, r->host->uri);

	if (r->host->system)
		return;
	add_unit_file(
		r, g_strdup_printf("vhost-lab-%s.machines.service", r->lab->name),
		"[Unit]\nDescription=Wakes the session's libvirt, which starts the machines of lab %s\n"
		"Documentation=man:orchestrator(1)\nRequires=%s\nAfter=%s\n\n"
		"[Service]\nType=oneshot\nRemainAfterExit=yes\nKillMode=process\n"
		"ExecStart=virsh --connect %s list --name\n\n"
		"[Install]\nWantedBy=default.target\n",
		r->lab->name, r->before->str + 1, r->before->str + 1, uri);
}

static void add_target(struct rendering *r)
{
	add_unit_file(r, target_name(r),
		      "[Unit]\nDescription=What the machines of lab %s are plugged into\n"
		      "Documentation=man:orchestrator(1)\nWants=%s\n\n"
		      "[Install]\nWantedBy=%s.target\n",
		      r->lab->name, r->wants->str + 1, r->host->system ? "multi-user" : "default");
}

/* The names of all units, and of all VMs, a blank between them. */
static char *unit_names(const struct rendering *r)
{
	g_autoptr(GString) out = g_string_new(NULL);

	for (guint i = 0; i < r->files->len; i++) {
		const struct systemd_file *file = r->files->pdata[i];

		if (file->shown)
			g_string_append_printf(out, "%s%s", out->len > 0 ? " " : "", file->name);
	}
	return g_strdup(out->str);
}

static char *vm_names(const struct rendering *r)
{
	g_autoptr(GString) out = g_string_new(NULL);

	for (unsigned i = 0; i < r->lab->vms->len; i++)
		g_string_append_printf(out, "%s%s", i > 0 ? " " : "", lab_vm(r->lab, i)->name);
	return g_strdup(out->str);
}

static const char install_head[] =
	"#!/bin/sh\n"
	"# Lab %s in the hands of systemd and libvirt:\n"
	"#   sh install              its daemons start when they are needed; machines whose domains lie here are defined\n"
	"#   sh install --autostart  and these come up with the host\n"
	"#   sh install --remove     none of it any more: its machines end\n"
	"# What lies beside this file is used where it is: leave it here.\n"
	"set -eu\n"
	"here=$(CDPATH='' cd -- \"$(dirname -- \"$0\")\" && pwd)\n"
	"lab=%s\n"
	"machines='%s'\n"
	"units='%s'\n"
	"uri=%s\n";

static const char install_user[] = "dir=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user\n"
				   "manager() { systemctl --user \"$@\"; }\n";

static const char install_system[] = "dir=/etc/systemd/system\n"
				     "manager() { systemctl \"$@\"; }\n";

static const char install_tail[] =
	"autostart=\n"
	"remove=\n"
	"case ${1-} in\n"
	"'') ;;\n"
	"--autostart) autostart=1 ;;\n"
	"--remove) remove=1 ;;\n"
	"*) sed -n '2,6s/^# //p' \"$0\" >&2; exit 2 ;;\n"
	"esac\n"
	"\n"
	"if [ -n \"$remove\" ]; then\n"
	"\tfor vm in $machines; do\n"
	"\t\t# Nobody else's: not those of `up`, which are called the same.\n"
	"\t\tvirsh --connect \"$uri\" metadata \"$lab.$vm\" " RENDER_LIBVIRT_XMLNS
	" 2>/dev/null |\n"
	"\t\t\tgrep -q \"owner=.file.\" || continue\n"
	"\t\tvirsh --connect \"$uri\" destroy \"$lab.$vm\" 2>/dev/null || true # it does not run\n"
	"\t\tvirsh --connect \"$uri\" undefine \"$lab.$vm\"\n"
	"\tdone\n"
	"\tfor unit in $units; do\n"
	"\t\tmanager disable --now \"$unit\" 2>/dev/null || true # it is not there\n"
	"\t\trm -f -- \"$dir/$unit\"\n"
	"\tdone\n"
	"\tmanager daemon-reload\n"
	"\texit 0\n"
	"fi\n"
	"\n"
	"# Nothing is left behind where there is nobody to start it.\n"
	"problem=$(manager show-environment 2>&1 >/dev/null) || {\n"
	"\techo \"$0: no systemd answers (${problem:-without a word}): start the daemons as ExecStart in $here/*.service says\" >&2\n"
	"\texit 1\n"
	"}\n"
	"mkdir -p -- \"$dir\"\n"
	"for unit in $units; do\n"
	"\tcp -- \"$here/$unit\" \"$dir/$unit\"\n"
	"done\n"
	"manager daemon-reload\n"
	"manager enable \"vhost-lab-$lab.target\"\n"
	"manager restart \"vhost-lab-$lab.target\"\n"
	"for vm in $machines; do\n"
	"\t[ -e \"$here/$vm.xml\" ] || continue\n"
	"\tvirsh --connect \"$uri\" define \"$here/$vm.xml\"\n"
	"\t[ -z \"$autostart\" ] || virsh --connect \"$uri\" autostart \"$lab.$vm\"\n"
	"done\n";

static const char install_user_end[] =
	"[ -n \"$autostart\" ] || exit 0\n"
	"manager enable --now \"vhost-lab-$lab.machines.service\"\n"
	"loginctl enable-linger # with the host, not with the first login\n";

static void add_install(struct rendering *r)
{
	bool system = r->host->system;
	g_autofree char *units = unit_names(r), *vms = vm_names(r),
			*uri = render_sh_quote(r->host->uri);
	g_autofree char *head =
		g_strdup_printf(install_head, r->lab->name, r->lab->name, vms, units, uri);

	add_file(r, g_strdup("install"),
		 g_strconcat(head, system ? install_system : install_user, install_tail,
			     system ? "" : install_user_end, NULL))
		->executable = true;
}

static gboolean check(const struct rendering *r, GError **error)
{
	g_autofree char *shown = r->bad ? g_strescape(r->bad, NULL) : NULL;

	if (shown)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "\"%s\" has a character that no unit of systemd can hold", shown);
	else if (r->crowded)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "the %s has more than %d sockets, which is what systemd passes to a "
			    "service: `orchestrator up` has no such bound",
			    r->crowded, SOCKETS_MAX);
	return !shown && !r->crowded;
}

static void add_all(struct rendering *r)
{
	for (unsigned i = 0; i < r->lab->networks->len; i++)
		add_switch(r, lab_network(r->lab, i));
	for (unsigned i = 0; i < r->lab->portals->len; i++)
		add_portal(r, lab_portal(r->lab, i));
	if (lab_has_sockets(r->lab))
		add_sockets(r);
	if (r->wants->len == 0)
		return;
	add_directory(r);
	add_machines(r);
	add_target(r);
	add_install(r);
}

GPtrArray *render_systemd(const struct lab *lab, const struct lab_paths *paths,
			  const struct systemd_host *host, GError **error)
{
	struct rendering r = {
		.lab = lab,
		.paths = paths,
		.host = host,
		.files = g_ptr_array_new_with_free_func(file_free),
		.wants = g_string_new(NULL),
		.before = g_string_new(NULL),
	};
	gboolean ok;

	add_all(&r);
	ok = check(&r, error);
	g_free(r.bad);
	g_free(r.crowded);
	g_string_free(r.wants, TRUE);
	g_string_free(r.before, TRUE);
	if (ok)
		return r.files;
	g_ptr_array_unref(r.files);
	return NULL;
}
