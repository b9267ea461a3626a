/* SPDX-License-Identifier: MIT */
#include "run/remains.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model/lab.h"
#include "plan/plan.h"
#include "render/portal.h"
#include "run/machine.h"
#include "run/state.h"
#include "run/watch.h"

/* One that listens for a daemon which it starts when somebody calls: that is its own, and it is none of the lab's. */
static bool is_manager(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid), *name = NULL;

	return g_file_get_contents(path, &name, NULL, NULL) && strcmp(name, "systemd\n") == 0;
}

/* The process that listens on a socket of ours. */
static bool listener_of(const char *path, struct proc_id *ret_id)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = dial_now(path);
	bool found;

	if (fd < 0)
		return false;
	found = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
		cred.uid == geteuid() && !is_manager(cred.pid) && proc_id_read(cred.pid, ret_id);
	close(fd);
	return found;
}

static void found_net(struct remains *r, const char *name, const struct proc_id *id)
{
	state_add_net(r->state, name)->id = *id;
}

/* Its settings are taken for the lab's. */
static void found_portal(struct remains *r, const char *name, const struct proc_id *id)
{
	const struct portal *portal = r->lab ? lab_find_portal(r->lab, name) : NULL;
	struct state_net *n = state_add_portal(r->state, name);

	n->id = *id;
	n->settings = portal ? render_portal_text(r->lab, portal) : NULL;
}

static void found_vm(struct remains *r, const char *name, const struct proc_id *id)
{
	struct vm *vm = r->lab ? lab_find_vm(r->lab, name) : NULL;
	struct vm_paths *files = vm_paths_new(r->paths, name, 0);
	struct state_vm *v = state_add_vm(r->state, name);

	v->id = *id;
	v->stage = machine_ready_mark(files->ready) ? STAGE_READY : STAGE_PROCESS;
	vm_paths_free(files);
	if (!vm)
		return;
	v->settings = plan_vm_settings(r->lab, vm);
	v->cid = vm->sockets == LAB_SOCKETS_NONE ? 0 : vm->cid;
	for (guint i = 0; i < vm->nics->len; i++)
		state_add_port(v, vm_nic(vm, i)->port, vm_nic(vm, i)->network->name,
			       vm_paths_port(lab_paths_vm(r->paths, vm->index), i));
}

/* "n1.qmp" is VM n1's monitor, "lan.ctl" the switch of network lan, "shared.pctl" the daemon of portal shared, hvsock.sock that
 * of sockets. */
static void find_by_sockets(struct remains *r)
{
	g_autoptr(GDir) dir = g_dir_open(r->paths->run_dir, 0, NULL);
	struct proc_id sockets;
	const char *file;

	if (listener_of(r->paths->hvsock->ctl, &sockets))
		state_add_sockets(r->state)->id = sockets;
	while (dir && (file = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(r->paths->run_dir, file, NULL);
		const char *dot = strrchr(file, '.');
		g_autofree char *name = dot ? g_strndup(file, (gsize)(dot - file)) : NULL;
		struct proc_id id;

		if (!name || !names_valid(name))
			continue;
		if (strcmp(dot, ".qmp") == 0 && listener_of(path, &id))
			found_vm(r, name, &id);
		else if (strcmp(dot, ".ctl") == 0 && listener_of(path, &id))
			found_net(r, name, &id);
		else if (strcmp(dot, ".pctl") == 0 && listener_of(path, &id))
			found_portal(r, name, &id);
	}
}

/* The lab as it was applied, from its copy; relative paths in it count from where it came from.  False: damaged. */
static bool read_lab(struct remains *r, const struct lab_dirs *dirs)
{
	const char *origin = r->state->path ? r->state->path : r->paths->lab_json;
	struct lab_errors *errors = NULL;
	g_autofree char *text = NULL;
	gsize len;

	if (!g_file_get_contents(r->paths->lab_json, &text, &len, NULL))
		return true;
	if (!lab_parse(text, len, origin, dirs, &r->lab, &errors)) {
		lab_errors_free(errors);
		return false;
	}
	lab_paths_free(r->paths);
	r->paths = lab_paths_new(r->lab, dirs);
	return true;
}

struct remains *remains_read(const char *lab_name, const struct lab_dirs *dirs)
{
	struct remains *r = g_new0(struct remains, 1);
	g_autoptr(GError) error = NULL;
	bool known;

	r->paths = lab_paths_new_named(lab_name, dirs);
	if (!state_load(r->paths->state_json, &r->state, &error)) {
		r->state = state_new(NULL, NULL);
		r->damage = g_strdup(error->message);
	}
	known = r->state->lab != NULL;
	if (!known)
		r->state->lab = g_strdup(lab_name);
	if (!read_lab(r, dirs) && !r->damage)
		r->damage = g_strdup_printf("%s is damaged", r->paths->lab_json);
	if (!known)
		find_by_sockets(r);
	return r;
}

void remains_free(struct remains *r)
{
	if (!r)
		return;
	state_free(r->state);
	lab_free(r->lab);
	lab_paths_free(r->paths);
	g_free(r->damage);
	g_free(r);
}
