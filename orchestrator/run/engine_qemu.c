/* SPDX-License-Identifier: MIT */
/* QEMU as a process of ours, with its monitor in our hands.
 *
 * It has two: one on a socket pair, for the supervisor that starts it, and one that listens, for a supervisor that finds it
 * running.  A QEMU that has just begun to listen had better not be called: its main loop hands the listener over to the
 * monitors' thread, both may see the one call, and who comes second waits in accept() for another, as a rule for ever (7.2 to 10.2
 * at least; on a busy host once in some hundred starts).  What is connected from the beginning is not accepted.
 *
 * A QEMU with a socket device waits in -preconfig (render/qemu.h): it is told to go on as soon as the device's chardev is
 * connected.
 */
#include "run/engine.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"
#include "render/qemu.h"
#include "run/json.h"
#include "run/logfile.h"
#include "run/qemu_error.h"
#include "run/qmp.h"
#include "run/state.h"
#include "run/watch.h"

/* Between two looks at a chardev that is not connected; QEMU connects it in its first moment. */
#define CHARDEV_MS 5
/* So many before rings are told: its daemon sees the connection already. */
#define CHARDEV_LOOKS 100u
#define LAST_LINE_MAX 240
/* A monitor that listens answers within that time, if nobody else holds it. */
#define ANSWER_MS 3000

static const struct engine_class class_qemu;

struct qemu {
	struct engine_vm vm;
	const struct engine_vm_ops *ops;
	void *data;
	const struct vm_paths *paths;
	struct proc *proc;
	struct dial *dial;
	struct qmp *qmp;
	guint answer_timer;  /* of the monitor that was called */
	guint chardev_timer; /* to ask again whether the socket device's chardev is connected, */
	unsigned looks;      /* and how often; 0: nobody asks */
	gint64 log_from;     /* where this run's words begin in qemu.log */
	bool has_sockets;
	bool up;          /* it has made its devices */
	bool guest_ended; /* QMP said that the guest powered itself off */
};

static struct qemu *qemu_of(struct engine_vm *v)
{
	return (struct qemu *)v;
}

static const struct qemu *qemu_of_const(const struct engine_vm *v)
{
	return (const struct qemu *)v;
}

static void unlink_sockets(const struct vm_paths *paths)
{
	(void)unlink(paths->qmp);
	(void)unlink(paths->con);
}

/* --- the monitor ------------------------------------------------------------------------------------------ */

static void redial(struct qemu *q);

static void devices_made(struct qemu *q)
{
	q->up = true;
	q->ops->up(q->data);
}

static void ask_for_chardev(struct qemu *q);

static gboolean chardev_due(gpointer p)
{
	struct qemu *q = p;

	q->chardev_timer = 0;
	ask_for_chardev(q);
	return G_SOURCE_REMOVE;
}

/* One that an earlier supervisor has told already says that it is too late, and one that cannot make its devices ends. */
static void left_preconfig(struct json_object *result, const GError *error, void *data)
{
	devices_made(data);
}

/* Whatever became of it, this QEMU is to run. */
static void stopped(struct json_object *result, const GError *error, void *data)
{
	struct qemu *q = data;

	if (q->qmp)
		qmp_execute(q->qmp, "cont", NULL, NULL, NULL);
}

static void on_chardevs(struct json_object *result, const GError *error, void *data)
{
	struct qemu *q = data;

	if (!q->qmp)
		return;
	q->looks--;
	if (qmp_chardev(result, RENDER_VSOCK_CHARDEV) == QMP_CHARDEV_WAITS) {
		if (q->looks > 0)
			q->chardev_timer = g_timeout_add(CHARDEV_MS, chardev_due, q);
		return;
	}
	q->looks = 0;
	if (!q->up)
		qmp_execute(q->qmp, "x-exit-preconfig", NULL, left_preconfig, q);
	else if (!error)
		qmp_execute(q->qmp, "stop", NULL, stopped, q);
}

static void ask_for_chardev(struct qemu *q)
{
	if (q->qmp)
		qmp_execute(q->qmp, "query-chardev", NULL, on_chardevs, q);
}

/* Go on as soon as QEMU itself finds the socket device's chardev connected: out of preconfig, or to tell the rings. */
static void await_chardev(struct qemu *q, unsigned looks)
{
	bool under_way = q->looks > 0;

	q->looks = looks;
	if (!under_way)
		ask_for_chardev(q);
}

static void qmp_ready(struct qmp *qmp, const char *status, void *data)
{
	struct qemu *q = data;

	g_clear_handle_id(&q->answer_timer, g_source_remove);
	/* Others are not to pause it (orchestrator(1)): it was left so by stopped()'s predecessor. */
	if (strcmp(status, "paused") == 0)
		qmp_execute(qmp, "cont", NULL, NULL, NULL);
	if (q->has_sockets && strcmp(status, "prelaunch") == 0)
		await_chardev(q, UINT_MAX);
	else
		devices_made(q);
}

static void qmp_event(struct qmp *qmp, const char *name, struct json_object *event_data, void *data)
{
	struct qemu *q = data;

	if (strcmp(name, "SHUTDOWN") == 0) {
		const char *reason = json_str(event_data, "reason");

		q->guest_ended = json_flag(event_data, "guest", false) && reason &&
				 strcmp(reason, "guest-panic") != 0;
	} else if (strcmp(name, "RESET") == 0) {
		if (json_flag(event_data, "guest", false))
			q->ops->reset(q->data);
	}
}

/* Let go of the monitor, and of whatever is expected from it. */
static void drop_monitor(struct qemu *q)
{
	g_clear_handle_id(&q->answer_timer, g_source_remove);
	g_clear_handle_id(&q->chardev_timer, g_source_remove);
	q->looks = 0;
	g_clear_pointer(&q->qmp, qmp_free);
}

static void qmp_closed(struct qmp *qmp, const char *why, void *data)
{
	struct qemu *q = data;

	drop_monitor(q);
	redial(q);
}

static const struct qmp_ops qmp_ops = {
	.ready = qmp_ready,
	.event = qmp_event,
	.closed = qmp_closed,
};

static gboolean answer_due(gpointer p)
{
	struct qemu *q = p;

	q->answer_timer = 0;
	g_message(
		"%s does not answer yet: somebody else may hold this monitor (QEMU serves one at a time)",
		q->paths->qmp);
	return G_SOURCE_REMOVE;
}

static void qmp_dialled(int fd, const GError *error, void *data)
{
	struct qemu *q = data;

	g_clear_pointer(&q->dial, dial_free);
	if (fd < 0) {
		g_message("%s: %s", q->paths->qmp, error->message);
		return;
	}
	q->qmp = qmp_new(fd, &qmp_ops, q);
	q->answer_timer = g_timeout_add(ANSWER_MS, answer_due, q);
}

static void redial(struct qemu *q)
{
	q->dial = dial_new(q->paths->qmp, qmp_dialled, q);
}

/* --- its life --------------------------------------------------------------------------------------------- */

static void qemu_exited(struct proc *p, int status, const char *how, void *data)
{
	struct qemu *q = data;
	g_autofree char *words = NULL, *explained = NULL;
	int code;

	unlink_sockets(q->paths);
	if (q->guest_ended) {
		q->ops->ended(ENGINE_ENDED_ITSELF, NULL, 0, q->data);
		return;
	}
	words = logfile_last_line(q->paths->qemu_log, q->log_from, LAST_LINE_MAX);
	explained = qemu_error_explain(words, how, &code);
	q->ops->ended(ENGINE_ENDED_FAILED, explained, code, q->data);
}

static struct qemu *qemu_new(const struct vm_paths *paths, uint32_t cid,
			     const struct engine_vm_ops *ops, void *data)
{
	struct qemu *q = g_new0(struct qemu, 1);

	q->vm.class = &class_qemu;
	q->paths = paths;
	q->has_sockets = cid != 0;
	q->ops = ops;
	q->data = data;
	q->log_from = logfile_size(paths->qemu_log);
	return q;
}

static struct engine_vm *start(struct engine *e, const struct engine_start *s,
			       const struct engine_vm_ops *ops, void *data, GError **error)
{
	struct qemu *q;
	int pair[2];

	static_assert(RENDER_MONITOR_FD == PROC_EXTRA_FD, "argv names what proc_spawn() gives");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make a socket pair");
		return NULL;
	}
	q = qemu_new(s->paths, s->cid, ops, data);
	unlink_sockets(s->paths);
	q->proc = proc_spawn(s->argv, NULL, s->paths->qemu_log, pair[1], qemu_exited, q, error);
	close(pair[1]);
	if (!q->proc) {
		close(pair[0]);
		g_free(q);
		return NULL;
	}
	q->qmp = qmp_new(pair[0], &qmp_ops, q);
	return &q->vm;
}

static struct engine_vm *adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data)
{
	struct qemu *q = qemu_new(paths, was->cid, ops, data);

	q->proc = proc_adopt(&was->id, qemu_exited, q);
	if (!q->proc) {
		unlink_sockets(paths);
		g_free(q);
		return NULL;
	}
	redial(q);
	return &q->vm;
}

static void forget(struct engine_vm *v)
{
	struct qemu *q = qemu_of(v);

	dial_free(q->dial);
	drop_monitor(q);
	proc_free(q->proc);
	g_free(q);
}

static const struct proc_id *process(const struct engine_vm *v)
{
	return proc_identity(qemu_of_const(v)->proc);
}

static bool reachable(const struct engine_vm *v)
{
	const struct qemu *q = qemu_of_const(v);

	return q->qmp && q->up;
}

/* --- orders ----------------------------------------------------------------------------------------------- */

static void press_button(struct engine_vm *v)
{
	struct qemu *q = qemu_of(v);

	if (q->qmp)
		qmp_execute(q->qmp, "system_powerdown", NULL, NULL, NULL);
}

/* QEMU ends on SIGTERM as it does on "quit"; without a monitor that is all there is. */
static void quit(struct engine_vm *v)
{
	struct qemu *q = qemu_of(v);

	if (reachable(v))
		qmp_execute(q->qmp, "quit", NULL, NULL, NULL);
	else
		proc_signal(q->proc, SIGTERM);
}

static void kill_it(struct engine_vm *v)
{
	proc_signal(qemu_of(v)->proc, SIGKILL);
}

static void set_link(struct engine_vm *v, unsigned nic, bool up)
{
	struct qemu *q = qemu_of(v);
	struct json_object *arguments;
	g_autofree char *name = g_strdup_printf("nic%u", nic);

	if (!q->qmp)
		return;
	arguments = json_object_new_object();
	json_put_str(arguments, "name", name);
	json_put_bool(arguments, "up", up);
	qmp_execute(q->qmp, "set_link", arguments, NULL, NULL);
}

static void refresh(struct engine_vm *v)
{
	struct qemu *q = qemu_of(v);

	if (q->qmp)
		await_chardev(q, CHARDEV_LOOKS);
}

/* It keeps nothing of its own. */
static void close_it(struct engine *e)
{
	g_free(e);
}

static const struct engine_class class_qemu = {
	.name = "qemu",
	.close = close_it,
	.start = start,
	.adopt = adopt,
	.free = forget,
	.process = process,
	.reachable = reachable,
	.press_button = press_button,
	.quit = quit,
	.kill = kill_it,
	.set_link = set_link,
	.refresh = refresh,
};

struct engine *engine_qemu_new(void)
{
	struct engine *e = g_new0(struct engine, 1);

	e->class = &class_qemu;
	return e;
}
