/* SPDX-License-Identifier: MIT */
#include "run/daemon.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "host/caps.h"
#include "model/names.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/logfile.h"
#include "run/state.h"
#include "run/watch.h"

/* One that lived that long has not died of what killed it the last time. */
#define LIVED_US       (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)
#define RESTART_MS     50
#define RESTART_MS_MAX 5000
#define TERM_MS        3000
#define LAST_LINE_MAX  240

static const char *const port_members[] = { "name", "socket-path", NULL };
/* A name with '?' is of some items only: one of Hyper-V's sockets has no CID. */
static const char *const vm_members[] = { "name",        "cid?",     "transport?",
					  "socket-path", "uds-path", NULL };

static const char *const client_members[] = { "name", "socket-path", "mode", NULL };

const struct daemon_kind daemon_switch = {
	.program = "vhost-user-net",
	.noun = "switch",
	.list = "ports",
	.list_method = "port.list",
	.add_method = "port.add",
	.remove_method = "port.remove",
	.notification = "port",
	.members = port_members,
};

const struct daemon_kind daemon_hvsock = {
	.program = "vhost-user-hvsock",
	.noun = "daemon of sockets",
	.list = "vms",
	.list_method = "vm.list",
	.add_method = "vm.add",
	.remove_method = "vm.remove",
	.notification = "vm",
	.members = vm_members,
};

const struct daemon_kind daemon_portal = {
	.program = "vhost-user-portal",
	.noun = "daemon of portal",
	.list = "clients",
	.list_method = "client.list",
	.add_method = "client.add",
	.remove_method = "client.remove",
	.notification = "client",
	.members = client_members,
};

const char *daemon_stage_word(enum daemon_stage stage)
{
	static const char *const words[] = {
		[DAEMON_DOWN] = "down",       [DAEMON_STARTING] = "starting",
		[DAEMON_RUNNING] = "running", [DAEMON_STOPPING] = "stopping",
		[DAEMON_FAILED] = "failed",
	};

	return words[stage];
}

static void item_free(void *p)
{
	struct daemon_item *item = p;

	g_free(item->name);
	g_free(item->params);
	g_free(item->more);
	g_free(item->state);
	g_free(item->problem);
	g_free(item);
}

/* A call about one item under way, in d->calls; the item may be gone when its answer comes. */
struct item_call {
	struct daemon *d;
	char *name;
};

static void item_call_free(void *p)
{
	struct item_call *call = p;

	g_free(call->name);
	g_free(call);
}

struct daemon *daemon_new(const char *name, const struct daemon_kind *kind,
			  struct daemon_paths *paths, const struct daemon_ops *ops, void *data)
{
	struct daemon *d = g_new0(struct daemon, 1);

	d->name = g_strdup(name);
	d->kind = kind;
	d->paths = paths;
	d->ops = ops;
	d->data = data;
	d->items = g_ptr_array_new_with_free_func(item_free);
	d->calls = g_ptr_array_new_with_free_func(item_call_free);
	return d;
}

static void detach(struct daemon *d)
{
	if (d->timer)
		g_source_remove(d->timer);
	d->timer = 0;
	dial_free(d->dial);
	d->dial = NULL;
	rpc_client_free(d->rpc);
	d->rpc = NULL;
	g_ptr_array_set_size(d->calls, 0);
	proc_free(d->proc);
	d->proc = NULL;
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	detach(d);
	daemon_paths_free(d->paths);
	g_ptr_array_unref(d->items);
	g_ptr_array_unref(d->calls);
	g_free(d->reason);
	g_free(d->name);
	g_free(d);
}

bool daemon_alive(const struct daemon *d)
{
	return d->proc != NULL;
}

bool daemon_did_not_last(const struct daemon *d)
{
	return d->quick_deaths > 1; /* the one that is at hand is counted already */
}

const struct proc_id *daemon_process(const struct daemon *d)
{
	return d->proc ? proc_identity(d->proc) : NULL;
}

struct daemon_item *daemon_find_item(const struct daemon *d, const char *name)
{
	for (guint i = 0; i < d->items->len; i++) {
		struct daemon_item *p = d->items->pdata[i];

		if (strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

static void set_stage(struct daemon *d, enum daemon_stage stage)
{
	d->stage = stage;
	d->ops->changed(d, d->data);
}

/* --- items ------------------------------------------------------------------------------------------------ */

bool daemon_negotiated(const char *state)
{
	return state && (strcmp(state, "negotiated") == 0 || strcmp(state, "running") == 0);
}

static void set_item_state(struct daemon *d, struct daemon_item *item, const char *state)
{
	bool there = item->state != NULL;

	if (g_strcmp0(item->state, state) == 0)
		return;
	g_free(item->state);
	item->state = g_strdup(state);
	item->ours |= state != NULL;
	d->ops->item(d, item->name, state, d->data);
	if (there != (state != NULL))
		d->ops->changed(d, d->data);
}

/* All that add_method takes. */
static struct json_object *whole_params(const struct daemon_item *item)
{
	struct json_object *params = json_tokener_parse(item->params);
	auto_json more = item->more ? json_tokener_parse(item->more) : NULL;

	if (!more)
		return params;
	json_object_object_foreach(more, key, value)
		json_object_object_add(params, key, json_object_get(value));
	return params;
}

/* What the daemon is to listen on from its first moment. */
static gboolean write_config(struct daemon *d, GError **error)
{
	auto_json o = d->config ? d->config(d, d->data) : json_object_new_object();
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < d->items->len; i++) {
		const struct daemon_item *item = d->items->pdata[i];

		json_object_array_add(list, whole_params(item));
	}
	json_object_object_add(o, d->kind->list, list);
	return state_write_file(
		d->paths->config,
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE),
		-1, error);
}

static void item_added(struct json_object *result, const GError *error, void *data)
{
	struct item_call *call = data;
	struct daemon_item *item = daemon_find_item(call->d, call->name);

	if (item && error) {
		g_free(item->problem);
		item->problem = g_strdup(error->message);
		call->d->ops->changed(call->d, call->d->data);
	} else if (item && !item->state) {
		set_item_state(call->d, item, "listening");
	}
	g_ptr_array_remove_fast(call->d->calls, call);
}

static void told(struct json_object *result, const GError *error, void *data)
{
	const struct daemon *d = data;

	if (error)
		g_message("%s %s: %s", d->kind->noun, d->name, error->message);
}

void daemon_tell(struct daemon *d, const char *method, struct json_object *params)
{
	daemon_ask(d, method, params, told, d);
}

void daemon_ask(struct daemon *d, const char *method, struct json_object *params, rpc_answer_fn *fn,
		void *data)
{
	if (d->stage == DAEMON_RUNNING && d->rpc)
		rpc_client_call(d->rpc, method, params, fn, data);
	else
		json_object_put(params);
}

static void tell_daemon_to_add(struct daemon *d, const struct daemon_item *item)
{
	struct item_call *call = g_new0(struct item_call, 1);

	call->d = d;
	call->name = g_strdup(item->name);
	g_ptr_array_add(d->calls, call);
	rpc_client_call(d->rpc, d->kind->add_method, whole_params(item), item_added, call);
}

void daemon_add_item(struct daemon *d, struct json_object *params, struct json_object *more)
{
	const char *name = json_str(params, "name");
	const char *text = json_object_to_json_string_ext(params, JSON_C_TO_STRING_PLAIN);
	struct daemon_item *item = daemon_find_item(d, name);
	auto_json taken G_GNUC_UNUSED = params;
	auto_json more_taken G_GNUC_UNUSED = more;

	if (item && strcmp(item->params, text) != 0) {
		daemon_remove_item(d, name);
		item = NULL;
	}
	if (item && more) {
		g_free(item->more);
		item->more = g_strdup(json_object_to_json_string_ext(more, JSON_C_TO_STRING_PLAIN));
	}
	if (item && !item->problem)
		return;
	if (!item) {
		item = g_new0(struct daemon_item, 1);
		item->name = g_strdup(name);
		item->params = g_strdup(text);
		if (more)
			item->more = g_strdup(
				json_object_to_json_string_ext(more, JSON_C_TO_STRING_PLAIN));
		g_ptr_array_add(d->items, item);
	}
	g_clear_pointer(&item->problem, g_free);
	if (d->stage == DAEMON_RUNNING && d->rpc)
		tell_daemon_to_add(d, item);
}

void daemon_remove_item(struct daemon *d, const char *name)
{
	struct daemon_item *item = daemon_find_item(d, name);

	if (!item)
		return;
	if (item->state) {
		struct json_object *params = json_object_new_object();

		json_put_str(params, "name", name);
		daemon_tell(d, d->kind->remove_method, params);
	}
	set_item_state(d, item, NULL);
	g_ptr_array_remove(d->items, item);
}

static void set_item_link(struct daemon *d, struct daemon_item *item, bool down)
{
	if (item->link_down == down)
		return;
	item->link_down = down;
	if (d->ops->link)
		d->ops->link(d, item->name, d->data);
}

/* --- the control connection ------------------------------------------------------------------------------- */

static void on_notify(const char *method, struct json_object *params, void *data)
{
	struct daemon *d = data;
	const char *name = json_str(params, "name"), *state = json_str(params, "state");
	struct daemon_item *item = name ? daemon_find_item(d, name) : NULL;

	if (strcmp(method, d->kind->notification) != 0 || !item || !state)
		return;
	/* Of the link, not of who is behind it. */
	if (g_str_has_prefix(state, "link-"))
		set_item_link(d, item, strcmp(state, "link-down") == 0);
	else if (strcmp(state, "removed") == 0)
		set_item_state(d, item, NULL);
	else if (strcmp(state, "added") != 0) /* the answer to our own call says so, too */
		set_item_state(d, item, state);
}

/* What add_method would have taken for an item that the daemon has. */
static struct json_object *params_of(const struct daemon *d, struct json_object *listed)
{
	struct json_object *params = json_object_new_object(), *value;

	for (const char *const *m = d->kind->members; *m; m++) {
		g_autofree char *key = g_strndup(*m, strcspn(*m, "?"));

		if (json_object_object_get_ex(listed, key, &value))
			json_object_object_add(params, key, json_object_get(value));
	}
	return params;
}

/* Whether what the daemon lists of an item is all that makes it. */
static bool is_whole(const struct daemon *d, struct json_object *listed)
{
	for (const char *const *m = d->kind->members; *m; m++)
		if (!g_str_has_suffix(*m, "?") && !json_object_object_get_ex(listed, *m, NULL))
			return false;
	return true;
}

/* The daemon's items against ours: take over what it has, give it what it lacks. */
static void on_list(struct json_object *result, const GError *error, void *data)
{
	struct daemon *d = data;
	struct json_object *list = json_member(result, d->kind->list, json_type_array);

	if (error || d->stage != DAEMON_STARTING)
		return;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *name = json_str(o, "name"), *state = json_str(o, "state");

		if (!name || !state)
			continue;
		/* Of an uplink that nobody knows (the lab's copy is damaged) it does not tell all. */
		if (!daemon_find_item(d, name) && !is_whole(d, o))
			continue;
		if (!daemon_find_item(d, name))
			daemon_add_item(d, params_of(d, o), NULL);
		set_item_state(d, daemon_find_item(d, name), state);
		set_item_link(d, daemon_find_item(d, name),
			      g_strcmp0(json_str(o, "link"), "down") == 0);
	}
	d->ever_up = true;
	g_clear_pointer(&d->reason, g_free);
	for (guint i = 0; i < d->items->len; i++) {
		const struct daemon_item *item = d->items->pdata[i];

		if (!item->state)
			tell_daemon_to_add(d, item);
	}
	set_stage(d, DAEMON_RUNNING);
}

static void redial(struct daemon *d);

static void on_closed(const char *why, void *data)
{
	struct daemon *d = data;

	rpc_client_free(d->rpc);
	d->rpc = NULL;
	/* Either it is dying, which its pidfd tells, or it dropped us: come again. */
	if (d->proc && (d->stage == DAEMON_RUNNING || d->stage == DAEMON_STARTING)) {
		redial(d);
		set_stage(d, DAEMON_STARTING);
	}
}

static void on_dialled(int fd, const GError *error, void *data)
{
	struct daemon *d = data;

	dial_free(d->dial);
	d->dial = NULL;
	if (fd < 0) {
		g_message("%s %s: %s", d->kind->noun, d->name, error->message);
		return;
	}
	d->rpc = rpc_client_new(fd, on_notify, on_closed, d);
	/* In this order no change of an item falls between the two. */
	rpc_client_call(d->rpc, "hello", NULL, told, d);
	rpc_client_call(d->rpc, "subscribe", NULL, told, d);
	rpc_client_call(d->rpc, d->kind->list_method, NULL, on_list, d);
}

static void redial(struct daemon *d)
{
	d->dial = dial_new(d->paths->ctl, on_dialled, d);
}

/* --- life and death --------------------------------------------------------------------------------------- */

static void daemon_exited(struct proc *p, int status, const char *how, void *data);

/* What one has left that was killed is removed by the next; but where somebody listens he is not called, and not cut off: a
 * service manager may hold it for a unit of the lab. */
static gboolean check_control(const struct daemon *d, GError **error)
{
	if (!listened_at(d->paths->ctl))
		return TRUE;
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
		"somebody listens on %s already: if the lab's daemons are units of systemd (`orchestrator "
		"render systemd`), stop these first",
		d->paths->ctl);
	return FALSE;
}

/* The daemon itself; NULL with *error set. */
static struct proc *spawn_daemon(struct daemon *d, GError **error)
{
	const char *argv[] = {
		NULL, "--config", d->paths->config, "--control", d->paths->ctl, NULL
	};
	g_autofree char *binary = NULL;

	if (!check_control(d, error) || !host_find_daemon(d->kind->program, &binary, error) ||
	    !write_config(d, error))
		return NULL;
	argv[0] = binary;
	return proc_spawn(argv, NULL, d->paths->log, -1, daemon_exited, d, error);
}

gboolean daemon_start(struct daemon *d, GError **error)
{
	g_autoptr(GError) start_error = NULL;

	g_assert(!d->proc);
	if (d->timer)
		g_source_remove(d->timer);
	d->timer = 0;
	d->log_from = logfile_size(d->paths->log);
	d->started_us = g_get_monotonic_time();
	d->proc = spawn_daemon(d, &start_error);
	if (!d->proc) {
		g_free(d->reason);
		d->reason = g_strdup(start_error->message);
		d->reason_code = err_exit_code(start_error);
		set_stage(d, DAEMON_FAILED);
		g_propagate_error(error, g_steal_pointer(&start_error));
		return FALSE;
	}
	redial(d);
	set_stage(d, DAEMON_STARTING);
	return TRUE;
}

void daemon_revive(struct daemon *d)
{
	d->ever_up = true;
	d->restarts++;
	(void)daemon_start(d, NULL); /* a failure is in its stage and reason */
}

bool daemon_adopt(struct daemon *d, const struct proc_id *id)
{
	d->proc = proc_adopt(id, daemon_exited, d);
	if (!d->proc)
		return false;
	d->ever_up = true;
	d->started_us = g_get_monotonic_time();
	d->log_from = logfile_size(d->paths->log);
	d->stage = DAEMON_STARTING;
	redial(d);
	return true;
}

static gboolean start_again(gpointer p)
{
	struct daemon *d = p;

	d->timer = 0;
	d->restarts++;
	(void)daemon_start(d, NULL); /* a failure is in its stage and reason */
	return G_SOURCE_REMOVE;
}

static void restart(struct daemon *d)
{
	guint pause = 0;

	if (g_get_monotonic_time() - d->started_us >= LIVED_US)
		d->quick_deaths = 0;
	if (d->quick_deaths > 0)
		pause = MIN((guint)RESTART_MS << MIN(d->quick_deaths - 1, 10u), RESTART_MS_MAX);
	d->quick_deaths++;
	d->stage = DAEMON_STARTING;
	if (pause == 0) {
		start_again(d);
	} else {
		d->timer = g_timeout_add(pause, start_again, d);
		d->ops->changed(d, d->data);
	}
}

static void all_items_gone(struct daemon *d)
{
	for (guint i = 0; i < d->items->len; i++)
		set_item_state(d, d->items->pdata[i], NULL);
}

/* The sockets that an item's params name.  Ports of VMs (P_PORT) are their listeners' own. */
static void unlink_item(const struct daemon_item *item)
{
	static const char *const keys[] = { "socket-path", "uds-path" };
	auto_json params = json_tokener_parse(item->params);

	for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++)
		if (json_str(params, keys[i]))
			(void)unlink(json_str(params, keys[i]));
}

static void unlink_sockets(const struct daemon *d)
{
	if (!listened_at(d->paths->ctl))
		(void)unlink(d->paths->ctl);
	if (d->paths->journal)
		(void)unlink(d->paths->journal);
	for (guint i = 0; i < d->items->len; i++) {
		const struct daemon_item *item = d->items->pdata[i];

		if (item->ours)
			unlink_item(item);
	}
}

/* Without the time and the level in front, which are for its log. */
static const char *message_of(const char *line)
{
	const char *time_end = line ? strstr(line, "Z ") : NULL;
	const char *level;

	if (!time_end || !g_ascii_isdigit(*line))
		return line;
	level = time_end + 2;
	return level + strcspn(level, " ") + strspn(level + strcspn(level, " "), " ");
}

static void daemon_exited(struct proc *p, int status, const char *how, void *data)
{
	struct daemon *d = data;
	enum daemon_stage was = d->stage;
	g_autofree char *words = logfile_last_line(d->paths->log, d->log_from, LAST_LINE_MAX);
	g_autofree char *text = NULL;

	detach(d);
	d->stage = DAEMON_DOWN;
	all_items_gone(d);
	g_free(d->reason);
	d->reason = g_strdup_printf("the %s ended: %s%s%s", d->kind->noun, how, words ? ": " : "",
				    words ? message_of(words) : "");
	d->reason_code = words && strstr(words, "in use") ? ORCH_ERROR_CONFLICT : ORCH_ERROR_FAILED;
	if (was == DAEMON_STOPPING) {
		unlink_sockets(d);
		set_stage(d, DAEMON_DOWN);
		return;
	}
	if (!d->ever_up) {
		set_stage(d, DAEMON_FAILED);
		return;
	}
	text = g_strdup_printf("%s; it is started again", d->reason);
	d->ops->died(d, text, d->data);
	restart(d);
}

static gboolean kill_it(gpointer p)
{
	struct daemon *d = p;

	d->timer = 0;
	proc_signal(d->proc, SIGKILL);
	return G_SOURCE_REMOVE;
}

void daemon_stop(struct daemon *d)
{
	if (d->stage == DAEMON_STOPPING)
		return;
	if (!d->proc) {
		/* Waiting to be started again, or failed. */
		detach(d);
		unlink_sockets(d);
		set_stage(d, DAEMON_DOWN);
		return;
	}
	d->stage = DAEMON_STOPPING;
	proc_signal(d->proc, SIGTERM);
	d->timer = g_timeout_add(TERM_MS, kill_it, d);
	d->ops->changed(d, d->data);
}
