/* SPDX-License-Identifier: MIT */
#include "run/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"
#include "plan/observed.h"
#include "render/switch.h"
#include "run/dirs.h"
#include "run/json.h"
#include "run/logfile.h"
#include "run/proc.h"
#include "run/remains.h"
#include "run/state.h"
#include "run/watch.h"

/* A supervisor that has just been started by another `up` listens within that time. */
#define RACE_MS      5000
#define RACE_STEP_US 10000
#define HELLO_MS     10000
#define GONE_MS      10000

static void on_notify(const char *method, struct json_object *params, void *data)
{
	struct client *c = data;

	if (c->event && strcmp(method, "event") == 0)
		c->event(params, c->data);
}

static void on_closed(const char *why, void *data)
{
	((struct client *)data)->lost = true;
}

static struct client *client_new(const char *lab_name, int fd)
{
	struct client *c = g_new0(struct client, 1);

	c->lab = g_strdup(lab_name);
	c->pidfd = -1;
	c->rpc = rpc_client_new(fd, on_notify, on_closed, c);
	return c;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	rpc_client_free(c->rpc);
	if (c->pidfd >= 0)
		close(c->pidfd);
	g_free(c->lab);
	g_free(c);
}

gboolean client_call(struct client *c, const char *method, struct json_object *params,
		     int timeout_ms, struct json_object **ret_result, GError **error)
{
	return rpc_client_call_sync(c->rpc, method, params, timeout_ms, ret_result, error);
}

/* Ask who it is, and hold on to its process. */
static gboolean greet(struct client *c, GError **error)
{
	auto_json result = NULL;

	if (!client_call(c, "hello", NULL, HELLO_MS, &result, error)) {
		g_prefix_error(error, "the supervisor of %s: ", c->lab);
		return FALSE;
	}
	c->pidfd = pidfd_open((pid_t)json_int(result, "pid", 0), 0);
	return TRUE;
}

static struct client *connect_at(const char *lab_name, const char *path, GError **error)
{
	g_autoptr(GError) problem = NULL;
	int fd = dial_now(path);
	struct client *c;

	if (fd < 0) {
		if (fd != -ENOENT && fd != -ECONNREFUSED)
			err_set_errno(error, ORCH_ERROR_FAILED, -fd, "cannot connect to %s", path);
		return NULL;
	}
	c = client_new(lab_name, fd);
	if (greet(c, &problem))
		return c;
	/* One that hung up in place of a hello was just dying: it is not there any more. */
	if (!rpc_client_ended(c->rpc))
		g_propagate_error(error, g_steal_pointer(&problem));
	client_free(c);
	return NULL;
}

struct client *client_connect(const char *lab_name, GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new_named(lab_name, dirs);
	struct client *c = connect_at(lab_name, paths->sup_sock, error);

	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return c;
}

/* --- starting one ----------------------------------------------------------------------------------------- */

static int spawn(const char *lab_name, int log_fd, int client_fd, pid_t *ret_pid)
{
	/* Its own path: /proc/self/exe would be its name in ps. */
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *fd_text = g_strdup_printf("--client-fd=%d", PROC_EXTRA_FD);
	const char *argv[] = { self, "supervise", fd_text, lab_name, NULL };

	return self ? proc_spawn_session(argv, NULL, log_fd, client_fd, ret_pid) : ENOENT;
}

/* A supervisor that ended before it said hello: its exit status is the kind of error, its last line the reason. */
static void explain_end(pid_t pid, const struct lab_paths *paths, gint64 log_from, GError **error)
{
	g_autofree char *words = NULL;
	int status = 0;

	(void)waitpid(pid, &status, 0);
	words = logfile_last_line(paths->supervisor_log, log_from, 400);
	g_set_error(error, ORCH_ERROR,
		    (int)err_from_exit_code(WIFEXITED(status) ? WEXITSTATUS(status) :
								ORCH_ERROR_FAILED),
		    "the supervisor ended at once: %s", words ? words : "it said nothing");
}

/* A supervisor with us as its first client.  NULL with ORCH_ERROR_CONFLICT: another one holds the lab. */
static struct client *spawn_supervisor(const char *lab_name, const struct lab_paths *paths,
				       GError **error)
{
	int log_fd = open(paths->supervisor_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	gint64 log_from = logfile_size(paths->supervisor_log);
	struct client *c;
	int pair[2], r;
	pid_t pid;

	if (log_fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot write %s",
			      paths->supervisor_log);
		return NULL;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make a socket pair");
		close(log_fd);
		return NULL;
	}
	r = spawn(lab_name, log_fd, pair[1], &pid);
	close(log_fd);
	close(pair[1]);
	if (r != 0) {
		close(pair[0]);
		err_set_errno(error, ORCH_ERROR_FAILED, r, "cannot start a supervisor");
		return NULL;
	}
	c = client_new(lab_name, pair[0]);
	if (greet(c, NULL))
		return c;
	client_free(c);
	explain_end(pid, paths, log_from, error);
	return NULL;
}

/* Somebody else has just started one: it will listen in a moment; or it is about to end: then it is our turn. */
static struct client *connect_or_spawn(const char *lab_name, const struct lab_dirs *dirs,
				       const struct lab_paths *paths, GError **error)
{
	gint64 deadline = g_get_monotonic_time() + RACE_MS * G_GINT64_CONSTANT(1000);

	for (;;) {
		g_autoptr(GError) problem = NULL;
		struct client *c = connect_at(lab_name, paths->sup_sock, &problem);

		if (!c && !problem && dirs_make(dirs, paths, &problem))
			c = spawn_supervisor(lab_name, paths, &problem);
		if (c)
			return c;
		if (!g_error_matches(problem, ORCH_ERROR, ORCH_ERROR_CONFLICT) ||
		    g_get_monotonic_time() > deadline) {
			g_propagate_error(error, g_steal_pointer(&problem));
			return NULL;
		}
		g_usleep(RACE_STEP_US);
	}
}

struct client *client_require(const char *lab_name, GError **error)
{
	g_autoptr(GError) problem = NULL;
	struct client *c = client_connect(lab_name, &problem);

	if (problem)
		g_propagate_error(error, g_steal_pointer(&problem));
	else if (!c)
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_FAILED,
			"lab %s has no supervisor: it is down, or it was killed; run `orchestrator up`",
			lab_name);
	return c;
}

struct client *client_start(const char *lab_name, GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new_named(lab_name, dirs);
	struct client *c = connect_or_spawn(lab_name, dirs, paths, error);

	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return c;
}

void client_wait_gone(struct client *c)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };

	if (c->pidfd >= 0)
		(void)poll(&p, 1, GONE_MS);
}

/* --- what runs -------------------------------------------------------------------------------------------- */

/* Ports of uplinks are told by the settings; those of VMs by the VMs. */
static void observe_net(struct observed *o, const struct state_net *n)
{
	g_auto(GStrv) lines = g_strsplit(n->settings ? n->settings : "", "\n", -1);

	observed_add_network(o, n->name);
	observed_add_settings(o, n->name, n->settings ? n->settings : "");
	for (char **line = lines; *line; line++) {
		g_autofree char *key = g_strndup(*line, strcspn(*line, " "));
		g_autofree char *port = g_str_has_prefix(key, "uplink:") ? setting_port_of(key) :
									   NULL;

		if (port)
			observed_add_port(o, n->name, port);
	}
}

static struct observed *observe_state(const struct state *state)
{
	struct observed *o = observed_new();

	for (guint i = 0; i < state->nets->len; i++) {
		const struct state_net *n = state->nets->pdata[i];

		if (proc_id_alive(&n->id))
			observe_net(o, n);
	}
	o->sockets = state->sockets && proc_id_alive(&state->sockets->id);
	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *v = state->vms->pdata[i];

		if (!proc_id_alive(&v->id))
			continue;
		if (o->sockets && v->cid)
			observed_add_sockets_of(o, v->name);
		observed_add_vm(o, v->name, v->settings ? v->settings : "");
		for (guint j = 0; j < v->ports->len; j++) {
			const struct state_port *p = v->ports->pdata[j];

			observed_add_port(o, p->network, p->name);
		}
	}
	return o;
}

static struct observed *observe_remains(const char *lab_name)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct remains *remains = remains_read(lab_name, dirs);
	struct observed *observed = observe_state(remains->state);

	remains_free(remains);
	lab_dirs_free(dirs);
	return observed;
}

gboolean client_observe(const char *lab_name, struct observed **ret_observed, GError **error)
{
	g_autoptr(GError) problem = NULL;
	struct client *c = client_connect(lab_name, &problem);
	auto_json result = NULL;
	gboolean good;

	if (problem) {
		g_propagate_error(error, g_steal_pointer(&problem));
		return FALSE;
	}
	if (!c) {
		*ret_observed = observe_remains(lab_name);
		return TRUE;
	}
	good = client_call(c, "observe", NULL, HELLO_MS, &result, error) &&
	       observed_from_json(result, ret_observed, error);
	client_free(c);
	return good;
}
