/* SPDX-License-Identifier: MIT */
#include "run/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "run/json.h"

#define STATE_FORMAT 1
/* 4096 VMs of 16 NICs stay well below. */
#define STATE_FILE_MAX (32u << 20)

static void net_free(void *p)
{
	struct state_net *n = p;

	g_free(n->name);
	g_free(n->settings);
	g_free(n->reason);
	g_free(n);
}

static void port_free(void *p)
{
	struct state_port *port = p;

	g_free(port->name);
	g_free(port->network);
	g_free(port->path);
	g_free(port->state);
	g_free(port);
}

static void vm_free(void *p)
{
	struct state_vm *v = p;

	g_free(v->name);
	g_free(v->engine);
	g_free(v->console);
	g_free(v->settings);
	g_free(v->reason);
	g_free(v->sockets);
	g_free(v->agent);
	g_free(v->agent_version);
	g_free(v->waits_for);
	g_ptr_array_unref(v->ports);
	g_free(v);
}

void state_setting_free(struct state_setting *l)
{
	g_free(l->network);
	g_free(l->key);
	g_free(l->params);
	g_free(l->file);
	g_free(l->passing);
	g_free(l);
}

static void setting_free(void *p)
{
	state_setting_free(p);
}

void state_forward_free(struct state_forward *f)
{
	g_free(f->vm);
	g_free(f->text);
	g_free(f);
}

static void guest_free(void *p)
{
	state_guest_free(p);
}

static void forward_free(void *p)
{
	state_forward_free(p);
}

struct state_forward *state_forward_new(const char *vm, const char *text, bool removed)
{
	struct state_forward *f = g_new0(struct state_forward, 1);

	f->vm = g_strdup(vm);
	f->text = g_strdup(text);
	f->removed = removed;
	return f;
}

struct state *state_new(const char *lab, const char *path)
{
	struct state *s = g_new0(struct state, 1);

	s->lab = g_strdup(lab);
	s->path = g_strdup(path);
	proc_boot_id(s->boot_id);
	s->nets = g_ptr_array_new_with_free_func(net_free);
	s->portals = g_ptr_array_new_with_free_func(net_free);
	s->vms = g_ptr_array_new_with_free_func(vm_free);
	s->forwards = g_ptr_array_new_with_free_func(forward_free);
	s->settings = g_ptr_array_new_with_free_func(setting_free);
	s->guests = g_ptr_array_new_with_free_func(guest_free);
	return s;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	g_free(s->lab);
	g_free(s->path);
	g_ptr_array_unref(s->nets);
	if (s->sockets)
		net_free(s->sockets);
	g_ptr_array_unref(s->portals);
	g_ptr_array_unref(s->vms);
	g_ptr_array_unref(s->forwards);
	g_ptr_array_unref(s->settings);
	g_ptr_array_unref(s->guests);
	g_free(s);
}

static struct state_net *net_new(const char *name)
{
	struct state_net *n = g_new0(struct state_net, 1);

	n->name = g_strdup(name);
	return n;
}

struct state_net *state_add_net(struct state *s, const char *name)
{
	struct state_net *n = net_new(name);

	g_ptr_array_add(s->nets, n);
	return n;
}

struct state_net *state_add_sockets(struct state *s)
{
	g_assert(!s->sockets);
	s->sockets = net_new("sockets");
	return s->sockets;
}

struct state_net *state_add_portal(struct state *s, const char *name)
{
	struct state_net *n = net_new(name);

	g_ptr_array_add(s->portals, n);
	return n;
}

struct state_vm *state_add_vm(struct state *s, const char *name)
{
	struct state_vm *v = g_new0(struct state_vm, 1);

	v->name = g_strdup(name);
	v->ports = g_ptr_array_new_with_free_func(port_free);
	g_ptr_array_add(s->vms, v);
	return v;
}

struct state_port *state_add_port(struct state_vm *vm, const char *name, const char *network,
				  const char *path)
{
	struct state_port *p = g_new0(struct state_port, 1);

	p->name = g_strdup(name);
	p->network = g_strdup(network);
	p->path = g_strdup(path);
	g_ptr_array_add(vm->ports, p);
	return p;
}

void state_add_forward(struct state *s, const char *vm, const char *text, bool removed)
{
	g_ptr_array_add(s->forwards, state_forward_new(vm, text, removed));
}

struct state_setting *state_add_setting(struct state *s, const char *network, const char *key)
{
	struct state_setting *l = g_new0(struct state_setting, 1);

	l->network = g_strdup(network);
	l->key = g_strdup(key);
	g_ptr_array_add(s->settings, l);
	return l;
}

void state_add_guest(struct state *s, struct state_guest *guest)
{
	g_ptr_array_add(s->guests, guest);
}

struct state_vm *state_find_vm(const struct state *s, const char *name)
{
	for (guint i = 0; i < s->vms->len; i++) {
		struct state_vm *v = s->vms->pdata[i];

		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

/* --- reading ---------------------------------------------------------------------------------------------- */

static struct proc_id read_id(struct json_object *o)
{
	int64_t pid = json_int(o, "pid", 0), start = json_int(o, "start", 0);
	struct proc_id id = { 0 };

	if (pid > 0 && pid <= G_MAXINT32 && start > 0) {
		id.pid = (pid_t)pid;
		id.start = (uint64_t)start;
	}
	return id;
}

/* A switch, or the daemon of a portal: add puts it into its list. */
static bool read_net(struct state *s, struct json_object *o,
		     struct state_net *(*add)(struct state *s, const char *name))
{
	const char *name = json_str(o, "name");
	struct state_net *n;

	if (!name)
		return false;
	n = add(s, name);
	n->id = read_id(o);
	n->restarts = (unsigned)json_int(o, "restarts", 0);
	n->settings = g_strdup(json_str(o, "settings"));
	return true;
}

static bool read_vm(struct state *s, struct json_object *o)
{
	const char *name = json_str(o, "name");
	struct json_object *ports = json_member(o, "ports", json_type_array);
	enum stage stage = stage_from_word(json_str(o, "stage"));
	struct state_vm *v;

	if (!name || !ports || stage == STAGE_COUNT)
		return false;
	v = state_add_vm(s, name);
	v->id = read_id(o);
	v->stage = stage;
	v->engine = g_strdup(json_str(o, "engine"));
	v->console = g_strdup(json_str(o, "console"));
	v->settings = g_strdup(json_str(o, "settings"));
	v->reason = g_strdup(json_str(o, "reason"));
	v->ready_us = json_int(o, "ready-us", 0);
	v->cid = (uint32_t)json_int(o, "cid", 0);
	for (size_t i = 0; i < json_object_array_length(ports); i++) {
		struct json_object *p = json_object_array_get_idx(ports, i);

		if (!json_str(p, "name") || !json_str(p, "network") || !json_str(p, "path"))
			return false;
		state_add_port(v, json_str(p, "name"), json_str(p, "network"), json_str(p, "path"));
	}
	return true;
}

/* One of an earlier version has none. */
static bool read_forwards(struct state *s, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (!json_str(o, "vm") || !json_str(o, "forward"))
			return false;
		state_add_forward(s, json_str(o, "vm"), json_str(o, "forward"),
				  json_flag(o, "removed", false));
	}
	return true;
}

static bool read_settings(struct state *s, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		struct state_setting *l;

		if (!json_str(o, "network") || !json_str(o, "key"))
			return false;
		l = state_add_setting(s, json_str(o, "network"), json_str(o, "key"));
		l->params = g_strdup(json_str(o, "params"));
		l->file = g_strdup(json_str(o, "file"));
		l->passing = g_strdup(json_str(o, "passing"));
		l->until_us = json_int(o, "until-us", 0);
	}
	return true;
}

static bool read_guests(struct state *s, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct state_guest *g = state_guest_from_json(json_object_array_get_idx(list, i));

		if (!g)
			return false;
		state_add_guest(s, g);
	}
	return true;
}

static bool read_all(struct state *s, struct json_object *o)
{
	struct json_object *nets = json_member(o, "networks", json_type_array);
	struct json_object *portals = json_member(o, "portals", json_type_array);
	struct json_object *vms = json_member(o, "vms", json_type_array);
	const char *boot = json_str(o, "boot");

	if (json_int(o, "format", 0) != STATE_FORMAT || !json_str(o, "lab") || !nets || !vms ||
	    !boot)
		return false;
	s->lab = g_strdup(json_str(o, "lab"));
	s->path = g_strdup(json_str(o, "path"));
	s->supervisor = read_id(json_member(o, "supervisor", json_type_object));
	if (json_member(o, "sockets", json_type_object)) {
		struct json_object *sockets = json_member(o, "sockets", json_type_object);

		state_add_sockets(s)->id = read_id(sockets);
		s->sockets->restarts = (unsigned)json_int(sockets, "restarts", 0);
	}
	for (size_t i = 0; i < json_object_array_length(nets); i++)
		if (!read_net(s, json_object_array_get_idx(nets, i), state_add_net))
			return false;
	/* One of an earlier version has none. */
	for (size_t i = 0; portals && i < json_object_array_length(portals); i++)
		if (!read_net(s, json_object_array_get_idx(portals, i), state_add_portal))
			return false;
	for (size_t i = 0; i < json_object_array_length(vms); i++)
		if (!read_vm(s, json_object_array_get_idx(vms, i)))
			return false;
	return read_forwards(s, json_member(o, "forwards", json_type_array)) &&
	       read_settings(s, json_member(o, "settings", json_type_array)) &&
	       read_guests(s, json_member(o, "guests", json_type_array));
}

/* Nothing of another boot runs. */
static void forget_pids(struct state *s)
{
	s->supervisor.pid = 0;
	g_ptr_array_set_size(s->guests, 0);
	for (guint i = 0; i < s->nets->len; i++)
		((struct state_net *)s->nets->pdata[i])->id.pid = 0;
	for (guint i = 0; i < s->portals->len; i++)
		((struct state_net *)s->portals->pdata[i])->id.pid = 0;
	if (s->sockets)
		s->sockets->id.pid = 0;
	for (guint i = 0; i < s->vms->len; i++) {
		struct state_vm *v = s->vms->pdata[i];

		v->id.pid = 0;
		if (v->stage <= STAGE_STOPPING)
			v->stage = STAGE_STOPPED;
	}
}

static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;

	json_tokener_set_flags(t, json_read_flags());
	o = json_tokener_parse_ex(t, text, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success ||
	    text[json_tokener_get_parse_end(t) +
		 strspn(text + json_tokener_get_parse_end(t), " \t\r\n")]) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(t);
	return o;
}

gboolean state_load(const char *path, struct state **ret_state, GError **error)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) read_error = NULL;
	struct state *s = state_new(NULL, NULL);
	auto_json o = NULL;
	gsize len;

	if (!g_file_get_contents(path, &text, &len, &read_error)) {
		if (g_error_matches(read_error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
			*ret_state = s;
			return TRUE;
		}
		state_free(s);
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, read_error->message);
		return FALSE;
	}
	o = len <= STATE_FILE_MAX ? parse(text, len) : NULL;
	if (!o || !read_all(s, o)) {
		state_free(s);
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "%s is damaged", path);
		return FALSE;
	}
	if (strcmp(s->boot_id, json_str(o, "boot")) != 0)
		forget_pids(s);
	*ret_state = s;
	return TRUE;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static void write_id(struct json_object *o, const struct proc_id *id)
{
	if (id->pid == 0)
		return;
	json_put_int(o, "pid", id->pid);
	json_put_int(o, "start", (int64_t)id->start);
}

static struct json_object *vm_to_json(const struct state_vm *v)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();

	json_put_str(o, "name", v->name);
	write_id(o, &v->id);
	json_put_str(o, "stage", stage_word(v->stage));
	json_put_str(o, "reason", v->reason);
	if (v->engine)
		json_put_str(o, "engine", v->engine);
	if (v->console)
		json_put_str(o, "console", v->console);
	if (v->ready_us)
		json_put_int(o, "ready-us", v->ready_us);
	if (v->cid)
		json_put_int(o, "cid", v->cid);
	for (guint i = 0; i < v->ports->len; i++) {
		const struct state_port *p = v->ports->pdata[i];
		struct json_object *port = json_object_new_object();

		json_put_str(port, "name", p->name);
		json_put_str(port, "network", p->network);
		json_put_str(port, "path", p->path);
		json_object_array_add(ports, port);
	}
	json_object_object_add(o, "ports", ports);
	json_put_str(o, "settings", v->settings);
	return o;
}

static struct json_object *forwards_to_json(const struct state *s)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < s->forwards->len; i++) {
		const struct state_forward *f = s->forwards->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "vm", f->vm);
		json_put_str(o, "forward", f->text);
		if (f->removed)
			json_put_bool(o, "removed", true);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *settings_to_json(const struct state *s)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < s->settings->len; i++) {
		const struct state_setting *l = s->settings->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "network", l->network);
		json_put_str(o, "key", l->key);
		json_put_str(o, "params", l->params);
		json_put_str(o, "file", l->file);
		json_put_str(o, "passing", l->passing);
		if (l->until_us)
			json_put_int(o, "until-us", l->until_us);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *guests_to_json(const struct state *s)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < s->guests->len; i++)
		json_object_array_add(list, state_guest_to_json(s->guests->pdata[i]));
	return list;
}

static struct json_object *nets_to_json(const GPtrArray *nets)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < nets->len; i++) {
		const struct state_net *n = nets->pdata[i];
		struct json_object *net = json_object_new_object();

		json_put_str(net, "name", n->name);
		write_id(net, &n->id);
		json_put_int(net, "restarts", n->restarts);
		json_put_str(net, "settings", n->settings);
		json_object_array_add(list, net);
	}
	return list;
}

gboolean state_save(const char *path, const struct state *s, GError **error)
{
	auto_json o = json_object_new_object();
	struct json_object *supervisor = json_object_new_object();
	struct json_object *vms = json_object_new_array();
	const char *text;

	json_put_int(o, "format", STATE_FORMAT);
	json_put_str(o, "lab", s->lab);
	json_put_str(o, "path", s->path);
	json_put_str(o, "boot", s->boot_id);
	write_id(supervisor, &s->supervisor);
	json_object_object_add(o, "supervisor", supervisor);
	json_object_object_add(o, "networks", nets_to_json(s->nets));
	json_object_object_add(o, "portals", nets_to_json(s->portals));
	if (s->sockets) {
		struct json_object *sockets = json_object_new_object();

		write_id(sockets, &s->sockets->id);
		json_put_int(sockets, "restarts", s->sockets->restarts);
		json_object_object_add(o, "sockets", sockets);
	}
	for (guint i = 0; i < s->vms->len; i++)
		json_object_array_add(vms, vm_to_json(s->vms->pdata[i]));
	json_object_object_add(o, "vms", vms);
	json_object_object_add(o, "forwards", forwards_to_json(s));
	json_object_object_add(o, "settings", settings_to_json(s));
	json_object_object_add(o, "guests", guests_to_json(s));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							 JSON_C_TO_STRING_NOSLASHESCAPE);
	return state_write_file(path, text, -1, error);
}

bool state_anything_alive(const struct state *s)
{
	bool alive = false;

	for (guint i = 0; i < s->nets->len; i++)
		alive |= proc_id_alive(&((struct state_net *)s->nets->pdata[i])->id);
	for (guint i = 0; i < s->portals->len; i++)
		alive |= proc_id_alive(&((struct state_net *)s->portals->pdata[i])->id);
	if (s->sockets)
		alive |= proc_id_alive(&s->sockets->id);
	for (guint i = 0; i < s->vms->len; i++)
		alive |= proc_id_alive(&((struct state_vm *)s->vms->pdata[i])->id);
	return alive;
}

bool state_supervisor_alive(const struct state *s)
{
	return proc_id_alive(&s->supervisor);
}

static bool write_whole(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

gboolean state_write_file(const char *path, const char *text, gssize len, GError **error)
{
	g_autofree char *temporary = g_strdup_printf("%s.new", path);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool written;
	int saved;

	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot write %s", temporary);
		return FALSE;
	}
	written = write_whole(fd, text, len < 0 ? strlen(text) : (size_t)len);
	saved = errno;
	if (close(fd) < 0 && written) {
		written = false;
		saved = errno;
	}
	if (written && rename(temporary, path) < 0) {
		written = false;
		saved = errno;
	}
	if (!written) {
		(void)unlink(temporary);
		err_set_errno(error, ORCH_ERROR_FAILED, saved, "cannot write %s", path);
	}
	return written;
}

/* Whether the descriptor's file still is the one at that path: `down` removes the file while it holds the lock. */
static bool still_there(int fd, const char *path)
{
	struct stat held, there;

	return fstat(fd, &held) == 0 && stat(path, &there) == 0 && held.st_ino == there.st_ino &&
	       held.st_dev == there.st_dev;
}

int state_lock(const char *path, GError **error)
{
	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0) {
			err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot open %s", path);
			return -1;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int saved = errno;

			close(fd);
			if (saved == EWOULDBLOCK)
				g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
					    "another supervisor holds %s", path);
			else
				err_set_errno(error, ORCH_ERROR_FAILED, saved, "cannot lock %s",
					      path);
			return -1;
		}
		if (still_there(fd, path))
			return fd;
		close(fd);
	}
}
