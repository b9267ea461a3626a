/* SPDX-License-Identifier: MIT */
#include "cmd/reach.h"

#include <string.h>

#include "agent/protocol.h"
#include "cmd.h"
#include "err.h"
#include "model/lab.h"
#include "run/client.h"
#include "run/json.h"
#include "run/ladder.h"
#include "run/report.h"
#include "run/state.h"
#include "run/state_guest.h"

#define STATUS_MS 5000

/* --- words ------------------------------------------------------------------------------------------------ */

void target_clear(struct target *t)
{
	g_clear_pointer(&t->vm, g_free);
	g_clear_pointer(&t->distro, g_free);
}

gboolean target_parse(const char *word, struct target *ret, GError **error)
{
	const char *slash = strchr(word, '/');
	struct target t = {
		.vm = slash ? g_strndup(word, (gsize)(slash - word)) : g_strdup(word),
		.distro = slash ? g_strdup(slash + 1) : NULL,
	};

	if (names_valid(t.vm) && (!t.distro || names_valid(t.distro))) {
		*ret = t;
		return TRUE;
	}
	target_clear(&t);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "\"%s\" is neither VM nor VM/DISTRO",
		    word);
	return FALSE;
}

size_t target_prefix(const char *word)
{
	const char *colon = strchr(word, ':');
	g_autofree char *before = colon ? g_strndup(word, (gsize)(colon - word)) : NULL;
	struct target t;

	if (!before || !target_parse(before, &t, NULL))
		return 0;
	target_clear(&t);
	return (size_t)(colon - word);
}

/* --- the lab ---------------------------------------------------------------------------------------------- */

struct reach *reach_new(const char *opt_lab, GError **error)
{
	char *name = cmd_lab_name(opt_lab, error);
	struct reach *r;

	if (!name)
		return NULL;
	r = g_new0(struct reach, 1);
	r->lab_name = name;
	r->lab = cmd_applied_lab(name);
	r->dirs = lab_dirs_new();
	r->paths = lab_paths_new_named(name, r->dirs);
	return r;
}

void reach_free(struct reach *r)
{
	if (!r)
		return;
	lab_paths_free(r->paths);
	lab_dirs_free(r->dirs);
	lab_free(r->lab);
	g_free(r->lab_name);
	g_free(r);
}

/* A guest that is attached.  False: there is none of that name. */
static bool find_guest(const struct reach *r, const char *name, bool *ret_has_sockets)
{
	struct state *state = cmd_state(r->lab_name);
	bool found = false;

	for (guint i = 0; state && i < state->guests->len; i++) {
		const struct state_guest *g = state->guests->pdata[i];

		if (strcmp(g->name, name) != 0)
			continue;
		*ret_has_sockets = g->cid != 0;
		found = true;
	}
	state_free(state);
	return found;
}

struct vm_paths *reach_vm(const struct reach *r, const char *vm, GError **error)
{
	const struct vm *known = r->lab ? lab_find_vm(r->lab, vm) : NULL;
	bool has_sockets = false;

	if (!known && find_guest(r, vm, &has_sockets)) {
		if (has_sockets)
			return vm_paths_new(r->paths, vm, 0);
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_FAILED,
			"guest %s has no sockets to reach its agent by: `attach --sockets vsock` gives it some",
			vm);
		return NULL;
	}
	if (!known && !cmd_check_vm(r->lab_name, vm, error))
		return NULL;
	if (known && known->sockets == LAB_SOCKETS_NONE) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_FAILED,
			"VM %s has no sockets to reach its agent by (\"sockets\": \"none\" in the lab file); "
			"`orchestrator console %s` works without",
			vm, vm);
		return NULL;
	}
	return vm_paths_new(r->paths, vm, 0);
}

struct link_address reach_agent(const struct reach *r, const struct vm_paths *paths)
{
	return (struct link_address){
		.path = paths->vs,
		.port = r->lab ? r->lab->port_base : AGENT_PORT,
	};
}

/* --- why not ---------------------------------------------------------------------------------------------- */

static struct json_object *get_report(const char *lab_name)
{
	struct client *c = client_connect(lab_name, NULL);
	struct json_object *report = NULL;

	if (c && !client_call(c, "status", NULL, STATUS_MS, &report, NULL))
		report = NULL;
	client_free(c);
	return report ? report : report_from_files(lab_name);
}

/* key: "vms", or "guests" */
static struct json_object *find_in(struct json_object *report, const char *key, const char *name)
{
	struct json_object *list = json_member(report, key, json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (g_strcmp0(json_str(o, "name"), name) == 0)
			return o;
	}
	return NULL;
}

static struct json_object *find_vm(struct json_object *report, const char *name)
{
	return find_in(report, "vms", name);
}

char *reach_stage(const struct reach *r, const char *vm)
{
	auto_json report = get_report(r->lab_name);

	return g_strdup(json_str(find_vm(report, vm), "stage"));
}

char *reach_waits_for(const char *lab_name, const char *vm)
{
	auto_json report = get_report(lab_name);

	return g_strdup(json_str(find_vm(report, vm), "waits-for"));
}

/* The daemon that carries all sockets has ended and is started again, or has just been, and an agent that was there is not back. */
static bool sockets_are_away(struct json_object *report, struct json_object *vm)
{
	struct json_object *daemon = json_member(report, "sockets", json_type_object);
	struct json_object *own = json_member(vm, "sockets", json_type_object);

	if (daemon && g_strcmp0(json_str(daemon, "stage"), "running") != 0)
		return true;
	return own && json_str(own, "agent-version") &&
	       (g_strcmp0(json_str(own, "state"), "running") != 0 ||
		g_strcmp0(json_str(own, "agent"), "absent") == 0);
}

void reach_explain(const struct reach *r, const char *vm, GError **error)
{
	g_autoptr(GError) was = g_steal_pointer(error);
	auto_json report = get_report(r->lab_name);
	struct json_object *found = find_vm(report, vm);
	const char *word = json_str(found, "stage");
	enum stage stage = word ? stage_from_word(word) : STAGE_COUNT;

	if (!found && find_in(report, "guests", vm)) {
		g_set_error(
			error, ORCH_ERROR, err_exit_code(was),
			"guest %s is attached, but no agent in it answers (%s): vhost-lab-agent has to run in it, on a kernel with vsock",
			vm, was->message);
		return;
	}
	if (!word || (!r->lab && stage >= STAGE_STOPPED))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "lab %s is down: `orchestrator up` starts it", r->lab_name);
	else if (stage == STAGE_PLANNED || stage >= STAGE_STOPPING)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "VM %s does not run (%s): `orchestrator start %s` starts it", vm, word,
			    vm);
	else if (stage != STAGE_READY)
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_FAILED,
			"VM %s is not ready yet (%s): `orchestrator wait %s` waits, `orchestrator logs %s` shows how far it is",
			vm, word, vm, vm);
	else if (sockets_are_away(report, found))
		g_set_error(
			error, ORCH_ERROR, err_exit_code(was),
			"VM %s runs, but its sockets are away for a moment (%s): their daemon has ended, and is started again; "
			"`orchestrator logs sockets` says why",
			vm, was->message);
	else
		g_set_error(
			error, ORCH_ERROR, err_exit_code(was),
			"VM %s runs, but no agent in it answers (%s): its image needs vhost-lab-agent and a kernel with vsock; "
			"`orchestrator console %s` works without",
			vm, was->message, vm);
}
