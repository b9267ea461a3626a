/* SPDX-License-Identifier: MIT */
#include "agent/guest/distro.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/child.h"
#include "agent/guest/distro_init.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)

enum { NS_PID, NS_MNT, NS_UTS, NS_IPC, NS_COUNT };

static const struct {
	const char *name;
	int flag;
} spaces[NS_COUNT] = {
	[NS_PID] = { "pid", CLONE_NEWPID },
	[NS_MNT] = { "mnt", CLONE_NEWNS },
	[NS_UTS] = { "uts", CLONE_NEWUTS },
	[NS_IPC] = { "ipc", CLONE_NEWIPC },
};

enum state { STARTING, UP, STOPPING };

struct distro {
	struct list link;
	struct agent *agent;
	char name[DISTRO_NAME_MAX];
	bool readonly;
	enum state state;
	struct child init;
	struct loop_source report; /* what init says of its beginning */
	struct loop_timer patience;
	int ns[NS_COUNT];
	struct list waiters; /* struct waiter: of MOUNT, then of UMOUNT */
};

struct waiter {
	struct operation op;
	struct list link;
};

static unsigned n_distros;

static struct distro *find(struct agent *agent, const char *name)
{
	list_each(&agent->distros, it) {
		struct distro *d = container_of(it, struct distro, link);

		if (strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

static void tell(struct distro *d, const char *state)
{
	struct json_writer *w = event_begin(d->agent, AGENT_EVENT_DISTRO);

	if (!w)
		return;
	json_put_string(w, "name", d->name);
	json_put_string(w, "state", state);
	event_end(d->agent);
}

static void root_of(const struct distro *d, char out[256])
{
	snprintf(out, 256, "/proc/%d/root", (int)d->init.pid);
}

/* --- the door --------------------------------------------------------------------------------------------- */

/* System calls alone: spawn() runs this in the agent's own memory.  The PID namespace is spawn()'s. */
static int enter(void *data)
{
	const struct distro *d = data;

	for (int i = NS_MNT; i < NS_COUNT; i++) {
		if (syscall(SYS_setns, d->ns[i], spaces[i].flag) < 0)
			return -errno;
	}
	return chdir("/") < 0 ? -errno : 0;
}

int distro_find(struct agent *agent, const char *name, struct distro_door *ret_door)
{
	struct distro *d = find(agent, name);

	if (!d || d->state != UP)
		return -ENOENT;
	root_of(d, ret_door->root);
	ret_door->pid_ns = d->ns[NS_PID];
	ret_door->enter = enter;
	ret_door->data = d;
	return 0;
}

static int open_door(struct distro *d)
{
	for (int i = 0; i < NS_COUNT; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)d->init.pid, spaces[i].name);
		d->ns[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (d->ns[i] < 0)
			return -errno;
	}
	return 0;
}

/* Open namespaces keep the mounts, and with them the disk. */
static void close_door(struct distro *d)
{
	for (int i = 0; i < NS_COUNT; i++) {
		if (d->ns[i] >= 0)
			close(d->ns[i]);
		d->ns[i] = -1;
	}
}

/* --- who waits for it ------------------------------------------------------------------------------------- */

static void waiter_free(struct waiter *w)
{
	operation_stop(&w->op);
	list_remove(&w->link);
	free(w);
}

static void waiter_orphaned(struct operation *op)
{
	waiter_free(container_of(op, struct waiter, op));
}

static void wait_for(struct distro *d, struct session *session, const struct request *request)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w) {
		session_errno(session, request, ENOMEM, "%s", d->name);
		return;
	}
	operation_start(&w->op, session, request, waiter_orphaned);
	list_append(&d->waiters, &w->link);
}

/* R and TEXT are the answer to those who asked for TYPE. */
static void answer_waiters(struct distro *d, uint32_t type, int r, const char *text)
{
	list_each(&d->waiters, it) {
		struct waiter *w = container_of(it, struct waiter, link);
		char root[256];

		if (w->op.request.type != type)
			continue;
		if (r < 0) {
			operation_error(&w->op, agent_error_from_errno(-r), "%s: %s", d->name,
					text);
		} else if (type == AGENT_MOUNT) {
			root_of(d, root);
			json_put_string(operation_begin(&w->op, type, 2), "target", root);
			operation_end(&w->op);
		} else {
			operation_ok(&w->op);
		}
		waiter_free(w);
	}
}

/* --- beginning and end ------------------------------------------------------------------------------------ */

static void report_done(struct distro *d)
{
	if (d->report.fd < 0)
		return;
	loop_remove(&d->agent->loop, &d->report);
	close(d->report.fd);
	d->report.fd = -1;
}

static void distro_free(struct distro *d)
{
	report_done(d);
	close_door(d);
	loop_timer_stop(&d->patience);
	list_remove(&d->link);
	free(d);
	n_distros--;
}

static void init_ended(struct child *child, int status)
{
	struct distro *d = container_of(child, struct distro, init);
	enum state state = d->state;

	close_door(d);
	answer_waiters(d, AGENT_MOUNT, -EIO, "its init ended before it was up");
	answer_waiters(d, AGENT_UMOUNT, 0, NULL);
	if (state != STARTING)
		tell(d, "ended");
	distro_free(d);
}

static void out_of_patience(struct loop_timer *timer)
{
	struct distro *d = container_of(timer, struct distro, patience);

	kill(d->init.pid, SIGKILL);
}

static void stop(struct distro *d)
{
	if (d->state == STOPPING)
		return;
	d->state = STOPPING;
	kill(d->init.pid, SIGTERM);
	loop_timer_start(&d->agent->loop, &d->patience, DISTRO_GRACE_MS + 2000, out_of_patience);
}

static void on_report(struct loop_source *source, uint32_t events)
{
	struct distro *d = container_of(source, struct distro, report);
	struct distro_report report;
	int r;

	if (read(source->fd, &report, sizeof(report)) != sizeof(report)) {
		report_done(d); /* it has died: init_ended() tells */
		return;
	}
	report_done(d);
	r = report.r < 0 ? report.r : open_door(d);
	if (r < 0) {
		if (report.r == 0)
			snprintf(report.text, sizeof(report.text), "its namespaces: %s",
				 strerror(-r));
		answer_waiters(d, AGENT_MOUNT, r, report.text);
		list_remove(&d->link); /* it ends, and nobody is to find it meanwhile */
		kill(d->init.pid, SIGKILL);
		return;
	}
	d->state = UP;
	tell(d, "mounted");
	answer_waiters(d, AGENT_MOUNT, 0, NULL);
}

static int start_init(struct distro *d, const struct mount_plan *plan)
{
	int ends[2], r;
	long pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = syscall(SYS_clone, NAMESPACES | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		distro_init(d->name, plan, ends[1]);
	r = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (r == 0) {
		child_watch(d->agent, &d->init, (pid_t)pid, init_ended);
		r = loop_add(&d->agent->loop, &d->report, ends[0], EPOLLIN, on_report);
		if (r == 0)
			return 0;
		kill((pid_t)pid, SIGKILL);
		child_forget(&d->init);
	}
	close(ends[0]);
	return r;
}

/* Its init is started and reports later.  NULL with *ret_err set. */
static struct distro *distro_new(struct agent *agent, const char *name,
				 const struct mount_plan *plan, int *ret_err)
{
	struct distro *d = n_distros < DISTRO_MAX ? calloc(1, sizeof(*d)) : NULL;
	int r;

	if (!d) {
		*ret_err = n_distros < DISTRO_MAX ? -ENOMEM : -EMFILE;
		return NULL;
	}
	d->agent = agent;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->readonly = plan->overlay;
	for (int i = 0; i < NS_COUNT; i++)
		d->ns[i] = -1;
	d->report.fd = -1;
	list_init(&d->waiters);
	r = start_init(d, plan);
	if (r < 0) {
		free(d);
		*ret_err = r;
		return NULL;
	}
	list_append(&agent->distros, &d->link);
	n_distros++;
	return d;
}

/* --- requests --------------------------------------------------------------------------------------------- */

/* It becomes a directory's and a host's name. */
static bool parse_name(struct json body, char out[DISTRO_NAME_MAX])
{
	int len = json_string(json_get(body, "distro"), out, DISTRO_NAME_MAX);

	return len > 0 && out[0] != '.' &&
	       strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
		       (size_t)len;
}

void distro_mount(struct session *session, const struct request *request)
{
	struct agent *agent = session_agent(session);
	struct mount_plan plan;
	char name[DISTRO_NAME_MAX];
	const char *bad;
	struct distro *d;
	int err = 0;

	if (!parse_name(request->body, name)) {
		session_bad(session, request, "distro");
		return;
	}
	bad = mount_plan_parse(&plan, request->body);
	if (bad) {
		session_bad(session, request, bad);
		return;
	}
	plan.overlay |= plan.readonly;
	d = find(agent, name);
	if (d && d->state == STOPPING) {
		session_error(session, request, AGENT_ERROR_BUSY, "%s: it is being stopped", name);
		return;
	}
	if (!d)
		d = distro_new(agent, name, &plan, &err);
	if (!d) {
		session_errno(session, request, -err, "%s", name);
		return;
	}
	wait_for(d, session, request);
	if (d->state == UP)
		answer_waiters(d, AGENT_MOUNT, 0, NULL);
}

void distro_umount(struct session *session, const struct request *request)
{
	char name[DISTRO_NAME_MAX];
	struct distro *d;

	if (!parse_name(request->body, name)) {
		session_bad(session, request, "distro");
		return;
	}
	d = find(session_agent(session), name);
	if (!d) {
		session_error(session, request, AGENT_ERROR_NOT_FOUND, "%s: not mounted", name);
		return;
	}
	wait_for(d, session, request);
	stop(d);
}

void distros_request(struct session *session, const struct request *request)
{
	struct json_writer *w = session_begin(session, request);

	json_open(w, "distros", '[');
	list_each(&session_agent(session)->distros, it) {
		const struct distro *d = container_of(it, struct distro, link);

		if (d->state == STARTING)
			continue;
		json_open(w, NULL, '{');
		json_put_string(w, "name", d->name);
		json_put_int(w, "pid", d->init.pid);
		json_put_bool(w, "readonly", d->readonly);
		json_put_bool(w, "stopping", d->state == STOPPING);
		json_close(w, '}');
	}
	json_close(w, ']');
	session_end(session);
}
