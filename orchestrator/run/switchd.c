/* SPDX-License-Identifier: MIT */
#include "run/switchd.h"

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

const char *switch_stage_word(enum switch_stage stage)
{
	static const char *const words[] = {
		[SWITCH_DOWN] = "down",       [SWITCH_STARTING] = "starting",
		[SWITCH_RUNNING] = "running", [SWITCH_STOPPING] = "stopping",
		[SWITCH_FAILED] = "failed",
	};

	return words[stage];
}

static void port_free(void *p)
{
	struct switch_port *port = p;

	g_free(port->name);
	g_free(port->path);
	g_free(port->state);
	g_free(port->problem);
	g_free(port);
}

/* A call about one port under way, in sw->calls; the port may be gone when its answer comes. */
struct port_call {
	struct switchd *sw;
	char *name;
};

static void port_call_free(void *p)
{
	struct port_call *call = p;

	g_free(call->name);
	g_free(call);
}

struct switchd *switchd_new(const char *name, struct daemon_paths *paths,
			    const struct switchd_ops *ops, void *data)
{
	struct switchd *sw = g_new0(struct switchd, 1);

	sw->name = g_strdup(name);
	sw->paths = paths;
	sw->ops = ops;
	sw->data = data;
	sw->ports = g_ptr_array_new_with_free_func(port_free);
	sw->calls = g_ptr_array_new_with_free_func(port_call_free);
	return sw;
}

static void detach(struct switchd *sw)
{
	if (sw->timer)
		g_source_remove(sw->timer);
	sw->timer = 0;
	dial_free(sw->dial);
	sw->dial = NULL;
	rpc_client_free(sw->rpc);
	sw->rpc = NULL;
	g_ptr_array_set_size(sw->calls, 0);
	proc_free(sw->proc);
	sw->proc = NULL;
}

void switchd_free(struct switchd *sw)
{
	if (!sw)
		return;
	detach(sw);
	daemon_paths_free(sw->paths);
	g_ptr_array_unref(sw->ports);
	g_ptr_array_unref(sw->calls);
	g_free(sw->reason);
	g_free(sw->name);
	g_free(sw);
}

bool switchd_alive(const struct switchd *sw)
{
	return sw->proc != NULL;
}

const struct proc_id *switchd_process(const struct switchd *sw)
{
	return sw->proc ? proc_identity(sw->proc) : NULL;
}

struct switch_port *switchd_find_port(const struct switchd *sw, const char *name)
{
	for (guint i = 0; i < sw->ports->len; i++) {
		struct switch_port *p = sw->ports->pdata[i];

		if (strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

static void set_stage(struct switchd *sw, enum switch_stage stage)
{
	sw->stage = stage;
	sw->ops->changed(sw, sw->data);
}

/* --- ports ------------------------------------------------------------------------------------------------ */

static bool negotiated(const char *state)
{
	return state && (strcmp(state, "negotiated") == 0 || strcmp(state, "running") == 0);
}

static void set_port_state(struct switchd *sw, struct switch_port *port, const char *state)
{
	bool was = negotiated(port->state), is = negotiated(state);
	bool there = port->state != NULL;

	g_free(port->state);
	port->state = g_strdup(state);
	port->ours |= state != NULL;
	if (was != is)
		sw->ops->port(sw, port->name, is, sw->data);
	if (there != (state != NULL))
		sw->ops->changed(sw, sw->data);
}

/* What the daemon is to listen on from its first moment. */
static gboolean write_config(const struct switchd *sw, GError **error)
{
	auto_json o = json_object_new_object();
	struct json_object *ports = json_object_new_array();

	for (guint i = 0; i < sw->ports->len; i++) {
		const struct switch_port *p = sw->ports->pdata[i];
		struct json_object *port = json_object_new_object();

		json_put_str(port, "name", p->name);
		json_put_str(port, "socket-path", p->path);
		json_object_array_add(ports, port);
	}
	json_object_object_add(o, "ports", ports);
	return state_write_file(
		sw->paths->config,
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE),
		-1, error);
}

static void port_added(struct json_object *result, const GError *error, void *data)
{
	struct port_call *call = data;
	struct switch_port *port = switchd_find_port(call->sw, call->name);

	if (port && error) {
		g_free(port->problem);
		port->problem = g_strdup(error->message);
		call->sw->ops->changed(call->sw, call->sw->data);
	} else if (port && !port->state) {
		set_port_state(call->sw, port, "listening");
	}
	g_ptr_array_remove_fast(call->sw->calls, call);
}

static void port_removed(struct json_object *result, const GError *error, void *data)
{
	struct switchd *sw = data;

	if (error)
		g_message("switch %s: %s", sw->name, error->message);
}

static void tell_daemon_to_add(struct switchd *sw, const struct switch_port *port)
{
	struct port_call *call = g_new0(struct port_call, 1);
	struct json_object *params = json_object_new_object();

	call->sw = sw;
	call->name = g_strdup(port->name);
	g_ptr_array_add(sw->calls, call);
	json_put_str(params, "name", port->name);
	json_put_str(params, "socket-path", port->path);
	rpc_client_call(sw->rpc, "port.add", params, port_added, call);
}

void switchd_add_port(struct switchd *sw, const char *name, const char *path)
{
	struct switch_port *port = switchd_find_port(sw, name);

	if (port && !port->problem)
		return;
	if (!port) {
		port = g_new0(struct switch_port, 1);
		port->name = g_strdup(name);
		port->path = g_strdup(path);
		g_ptr_array_add(sw->ports, port);
	}
	g_clear_pointer(&port->problem, g_free);
	if (sw->stage == SWITCH_RUNNING)
		tell_daemon_to_add(sw, port);
}

void switchd_remove_port(struct switchd *sw, const char *name)
{
	struct switch_port *port = switchd_find_port(sw, name);

	if (!port)
		return;
	if (sw->stage == SWITCH_RUNNING && port->state) {
		struct json_object *params = json_object_new_object();

		json_put_str(params, "name", name);
		rpc_client_call(sw->rpc, "port.remove", params, port_removed, sw);
	}
	set_port_state(sw, port, NULL);
	g_ptr_array_remove(sw->ports, port);
}

/* --- the control connection ------------------------------------------------------------------------------- */

static void on_notify(const char *method, struct json_object *params, void *data)
{
	struct switchd *sw = data;
	const char *name = json_str(params, "name"), *state = json_str(params, "state");
	struct switch_port *port = name ? switchd_find_port(sw, name) : NULL;

	if (strcmp(method, "port") == 0 && port && state)
		set_port_state(sw, port, strcmp(state, "removed") == 0 ? NULL : state);
}

/* The daemon's ports against ours: take over what it has, give it what it lacks. */
static void on_port_list(struct json_object *result, const GError *error, void *data)
{
	struct switchd *sw = data;
	struct json_object *ports = json_member(result, "ports", json_type_array);

	if (error || sw->stage != SWITCH_STARTING)
		return;
	for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
		struct json_object *o = json_object_array_get_idx(ports, i);
		const char *name = json_str(o, "name"), *path = json_str(o, "socket-path");
		const char *state = json_str(o, "state");

		if (!name || !path || !state)
			continue;
		switchd_add_port(sw, name, path);
		set_port_state(sw, switchd_find_port(sw, name), state);
	}
	sw->ever_up = true;
	g_clear_pointer(&sw->reason, g_free);
	for (guint i = 0; i < sw->ports->len; i++) {
		const struct switch_port *port = sw->ports->pdata[i];

		if (!port->state)
			tell_daemon_to_add(sw, port);
	}
	set_stage(sw, SWITCH_RUNNING);
}

static void on_step(struct json_object *result, const GError *error, void *data)
{
	struct switchd *sw = data;

	if (error)
		g_message("switch %s: %s", sw->name, error->message);
}

static void redial(struct switchd *sw);

static void on_closed(const char *why, void *data)
{
	struct switchd *sw = data;

	rpc_client_free(sw->rpc);
	sw->rpc = NULL;
	/* Either it is dying, which its pidfd tells, or it dropped us: come again. */
	if (sw->proc && (sw->stage == SWITCH_RUNNING || sw->stage == SWITCH_STARTING)) {
		sw->stage = SWITCH_STARTING;
		redial(sw);
	}
}

static void on_dialled(int fd, const GError *error, void *data)
{
	struct switchd *sw = data;

	dial_free(sw->dial);
	sw->dial = NULL;
	if (fd < 0) {
		g_message("switch %s: %s", sw->name, error->message);
		return;
	}
	sw->rpc = rpc_client_new(fd, on_notify, on_closed, sw);
	/* In this order no change of a port falls between the two. */
	rpc_client_call(sw->rpc, "hello", NULL, on_step, sw);
	rpc_client_call(sw->rpc, "subscribe", NULL, on_step, sw);
	rpc_client_call(sw->rpc, "port.list", NULL, on_port_list, sw);
}

static void redial(struct switchd *sw)
{
	sw->dial = dial_new(sw->paths->ctl, on_dialled, sw);
}

/* --- life and death --------------------------------------------------------------------------------------- */

static void daemon_exited(struct proc *p, int status, const char *how, void *data);

/* The daemon itself; NULL with *error set. */
static struct proc *spawn_daemon(struct switchd *sw, GError **error)
{
	const char *argv[] = { NULL,        "--config",     sw->paths->config,
			       "--control", sw->paths->ctl, NULL };
	g_autofree char *binary = NULL;

	if (!host_find_daemon("vhost-user-net", &binary, error) || !write_config(sw, error))
		return NULL;
	argv[0] = binary;
	return proc_spawn(argv, NULL, sw->paths->log, daemon_exited, sw, error);
}

gboolean switchd_start(struct switchd *sw, GError **error)
{
	g_autoptr(GError) start_error = NULL;

	g_assert(!sw->proc);
	if (sw->timer)
		g_source_remove(sw->timer);
	sw->timer = 0;
	(void)unlink(sw->paths->ctl); /* of one that was killed */
	sw->log_from = logfile_size(sw->paths->log);
	sw->started_us = g_get_monotonic_time();
	sw->proc = spawn_daemon(sw, &start_error);
	if (!sw->proc) {
		g_free(sw->reason);
		sw->reason = g_strdup(start_error->message);
		sw->reason_code = err_exit_code(start_error);
		set_stage(sw, SWITCH_FAILED);
		g_propagate_error(error, g_steal_pointer(&start_error));
		return FALSE;
	}
	redial(sw);
	set_stage(sw, SWITCH_STARTING);
	return TRUE;
}

bool switchd_adopt(struct switchd *sw, const struct proc_id *id)
{
	sw->proc = proc_adopt(id, daemon_exited, sw);
	if (!sw->proc)
		return false;
	sw->ever_up = true;
	sw->started_us = g_get_monotonic_time();
	sw->log_from = logfile_size(sw->paths->log);
	sw->stage = SWITCH_STARTING;
	redial(sw);
	return true;
}

static gboolean start_again(gpointer p)
{
	struct switchd *sw = p;

	sw->timer = 0;
	sw->restarts++;
	(void)switchd_start(sw, NULL); /* a failure is in its stage and reason */
	return G_SOURCE_REMOVE;
}

static void restart(struct switchd *sw)
{
	guint pause = 0;

	if (g_get_monotonic_time() - sw->started_us >= LIVED_US)
		sw->quick_deaths = 0;
	if (sw->quick_deaths > 0)
		pause = MIN((guint)RESTART_MS << MIN(sw->quick_deaths - 1, 10u), RESTART_MS_MAX);
	sw->quick_deaths++;
	sw->stage = SWITCH_STARTING;
	if (pause == 0) {
		start_again(sw);
	} else {
		sw->timer = g_timeout_add(pause, start_again, sw);
		sw->ops->changed(sw, sw->data);
	}
}

static void all_ports_gone(struct switchd *sw)
{
	for (guint i = 0; i < sw->ports->len; i++)
		set_port_state(sw, sw->ports->pdata[i], NULL);
}

static void unlink_sockets(const struct switchd *sw)
{
	(void)unlink(sw->paths->ctl);
	for (guint i = 0; i < sw->ports->len; i++) {
		const struct switch_port *port = sw->ports->pdata[i];

		if (port->ours)
			(void)unlink(port->path);
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
	struct switchd *sw = data;
	enum switch_stage was = sw->stage;
	g_autofree char *words = logfile_last_line(sw->paths->log, sw->log_from, LAST_LINE_MAX);
	g_autofree char *text = NULL;

	detach(sw);
	sw->stage = SWITCH_DOWN;
	all_ports_gone(sw);
	g_free(sw->reason);
	sw->reason = g_strdup_printf("the switch ended: %s%s%s", how, words ? ": " : "",
				     words ? message_of(words) : "");
	sw->reason_code = words && strstr(words, "in use") ? ORCH_ERROR_CONFLICT :
							     ORCH_ERROR_FAILED;
	if (was == SWITCH_STOPPING) {
		unlink_sockets(sw);
		set_stage(sw, SWITCH_DOWN);
		return;
	}
	if (!sw->ever_up) {
		set_stage(sw, SWITCH_FAILED);
		return;
	}
	text = g_strdup_printf("%s; it is started again", sw->reason);
	sw->ops->note(sw, text, sw->data);
	restart(sw);
}

static gboolean kill_it(gpointer p)
{
	struct switchd *sw = p;

	sw->timer = 0;
	proc_signal(sw->proc, SIGKILL);
	return G_SOURCE_REMOVE;
}

void switchd_stop(struct switchd *sw)
{
	if (sw->stage == SWITCH_STOPPING)
		return;
	if (!sw->proc) {
		/* Waiting to be started again, or failed. */
		detach(sw);
		unlink_sockets(sw);
		set_stage(sw, SWITCH_DOWN);
		return;
	}
	sw->stage = SWITCH_STOPPING;
	proc_signal(sw->proc, SIGTERM);
	sw->timer = g_timeout_add(TERM_MS, kill_it, sw);
	sw->ops->changed(sw, sw->data);
}
