/* SPDX-License-Identifier: MIT */
#include "run/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"
#include "run/json.h"
#include "run/logfile.h"
#include "run/qemu_error.h"
#include "run/qmp.h"
#include "run/watch.h"

/* A QEMU that was told to quit, or got SIGTERM, is gone in a few milliseconds; only a host that swaps needs more. */
#define QUIT_MS 3000
/* What of the `ready` file is looked at: one short line is expected. */
#define READY_MAX     4096
#define LAST_LINE_MAX 240

struct machine *machine_new(const char *name, struct vm_paths *paths, const struct machine_ops *ops,
			    void *data)
{
	struct machine *m = g_new0(struct machine, 1);

	m->name = g_strdup(name);
	m->paths = paths;
	m->ops = ops;
	m->data = data;
	m->stage = STAGE_PLANNED;
	m->port_up = g_array_new(FALSE, TRUE, sizeof(bool));
	m->ports = g_ptr_array_new();
	return m;
}

/* Let go of everything that belongs to a running QEMU. */
static void detach(struct machine *m)
{
	if (m->stop_timer)
		g_source_remove(m->stop_timer);
	m->stop_timer = 0;
	dial_free(m->dial);
	m->dial = NULL;
	qmp_free(m->qmp);
	m->qmp = NULL;
	watch_free(m->ready_watch);
	m->ready_watch = NULL;
	proc_free(m->proc);
	m->proc = NULL;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	detach(m);
	vm_paths_free(m->paths);
	g_ptr_array_unref(m->ports);
	g_array_unref(m->port_up);
	g_free(m->settings);
	g_free(m->reason);
	g_free(m->name);
	g_free(m);
}

bool machine_alive(const struct machine *m)
{
	return m->proc != NULL;
}

const struct proc_id *machine_process(const struct machine *m)
{
	return m->proc ? proc_identity(m->proc) : NULL;
}

const char *machine_waits_for(const struct machine *m)
{
	return ladder_waits_for(m->stage);
}

static void set_stage(struct machine *m, enum stage stage)
{
	if (m->stage == stage)
		return;
	m->stage = stage;
	m->ops->changed(m, m->data);
}

/* When the mark was written, as far as one can tell afterwards: by the file's time. */
static gint64 marked_us(const struct machine *m)
{
	gint64 now = proc_boottime_us();
	struct stat st;
	gint64 ago;

	if (!m->adopted || stat(m->paths->ready, &st) < 0)
		return now;
	ago = g_get_real_time() - (st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000);
	return now - CLAMP(ago, 0, now - m->started_us);
}

/* A probe has come true: climb.  Never down again, and not while it is being stopped. */
static void climb(struct machine *m)
{
	enum stage stage = ladder_stage(&m->ladder);

	if (!stage_on_its_way(m->stage) || stage <= m->stage)
		return;
	if (stage == STAGE_READY)
		m->ready_us = marked_us(m) - m->started_us;
	set_stage(m, stage);
}

bool machine_ready_mark(const char *ready_path)
{
	int fd = open(ready_path, O_RDONLY | O_CLOEXEC);
	char text[READY_MAX];
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text));
	close(fd);
	return n > 0 && ladder_ready_mark(text, (unsigned long)n);
}

static void look_at_ready(void *data)
{
	struct machine *m = data;

	if (!machine_ready_mark(m->paths->ready))
		return;
	m->ladder.ready = true;
	climb(m);
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static void unlink_sockets(const struct machine *m)
{
	(void)unlink(m->paths->qmp);
	(void)unlink(m->paths->con);
}

static void qemu_exited(struct proc *p, int status, const char *how, void *data)
{
	struct machine *m = data;
	bool asked = m->stage == STAGE_STOPPING;
	g_autofree char *words = NULL;

	detach(m);
	unlink_sockets(m);
	memset(&m->ladder, 0, sizeof(m->ladder));
	g_free(m->reason);
	m->reason_code = 0;
	if (asked) {
		m->reason = g_strdup("stopped on request");
		set_stage(m, STAGE_STOPPED);
		return;
	}
	if (m->guest_ended) {
		m->reason = g_strdup("the guest powered itself off");
		set_stage(m, STAGE_STOPPED);
		return;
	}
	words = logfile_last_line(m->paths->qemu_log, m->log_from, LAST_LINE_MAX);
	m->reason = qemu_error_explain(words, how, &m->reason_code);
	set_stage(m, STAGE_FAILED);
}

/* --- the monitor ------------------------------------------------------------------------------------------ */

static void redial(struct machine *m);

static void qmp_ready(struct qmp *q, const char *status, void *data)
{
	struct machine *m = data;

	m->ladder.qmp = true;
	climb(m);
}

static void qmp_event(struct qmp *q, const char *name, struct json_object *event_data, void *data)
{
	struct machine *m = data;

	if (strcmp(name, "SHUTDOWN") == 0) {
		const char *reason = json_str(event_data, "reason");

		m->guest_ended = json_flag(event_data, "guest", false) && reason &&
				 strcmp(reason, "guest-panic") != 0;
	} else if (strcmp(name, "RESET") == 0) {
		if (json_flag(event_data, "guest", false)) {
			m->resets++;
			m->ops->changed(m, m->data);
		}
	}
}

static void qmp_closed(struct qmp *q, const char *why, void *data)
{
	struct machine *m = data;

	qmp_free(m->qmp);
	m->qmp = NULL;
	if (m->proc && m->stage != STAGE_STOPPING)
		redial(m);
}

static const struct qmp_ops qmp_ops = {
	.ready = qmp_ready,
	.event = qmp_event,
	.closed = qmp_closed,
};

static void qmp_dialled(int fd, const GError *error, void *data)
{
	struct machine *m = data;

	dial_free(m->dial);
	m->dial = NULL;
	if (fd < 0)
		g_message("%s: %s", m->name, error->message);
	else
		m->qmp = qmp_new(fd, &qmp_ops, m);
}

static void redial(struct machine *m)
{
	m->dial = dial_new(m->paths->qmp, qmp_dialled, m);
}

/* --- the beginning ---------------------------------------------------------------------------------------- */

/* A process is there: watch what it does. */
static void attach(struct machine *m)
{
	g_autoptr(GError) error = NULL;

	m->ladder.process = true;
	m->ladder.n_nics = m->ports->len;
	g_array_set_size(m->port_up, 0);
	g_array_set_size(m->port_up, m->ports->len);
	m->ready_watch = watch_file(m->paths->ready, look_at_ready, m, &error);
	if (!m->ready_watch)
		g_message("%s: %s", m->name, error->message);
	redial(m);
	look_at_ready(m);
}

/* Empty, and there before QEMU appends to it, so that it can be watched; with room for the mark, so that a disk that is full
 * is told now and not by a VM that never gets ready. */
static gboolean fresh_ready_file(const struct machine *m, GError **error)
{
	int fd = open(m->paths->ready, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool full;

	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot write %s", m->paths->ready);
		return FALSE;
	}
	/* Where a file system cannot promise room, we go without. */
	full = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, READY_MAX) < 0 && errno == ENOSPC;
	close(fd);
	if (full)
		err_set_errno(error, ORCH_ERROR_FAILED, ENOSPC, "cannot write %s", m->paths->ready);
	return !full;
}

gboolean machine_start(struct machine *m, const char *const *argv, const char *settings,
		       GPtrArray *ports, GError **error)
{
	g_autoptr(GError) start_error = NULL;

	g_assert(!machine_alive(m));
	g_ptr_array_unref(m->ports);
	m->ports = ports;
	g_free(m->settings);
	m->settings = g_strdup(settings);
	g_clear_pointer(&m->reason, g_free);
	m->reason_code = 0;
	m->guest_ended = false;
	m->adopted = false;
	m->resets = 0;
	m->ready_us = 0;
	m->stop_step = 0;
	memset(&m->ladder, 0, sizeof(m->ladder));
	m->started_us = proc_boottime_us();
	m->log_from = logfile_size(m->paths->qemu_log);
	m->stage = STAGE_STARTING;
	unlink_sockets(m);
	if (fresh_ready_file(m, &start_error))
		m->proc = proc_spawn(argv, NULL, m->paths->qemu_log, qemu_exited, m, &start_error);
	if (!m->proc) {
		m->reason = g_strdup(start_error->message);
		m->reason_code = err_exit_code(start_error);
		set_stage(m, STAGE_FAILED);
		g_propagate_error(error, g_steal_pointer(&start_error));
		return FALSE;
	}
	attach(m);
	climb(m);
	return TRUE;
}

bool machine_adopt(struct machine *m, const struct state_vm *was)
{
	g_free(m->settings);
	m->settings = g_strdup(was->settings);
	g_ptr_array_unref(m->ports);
	m->ports = g_ptr_array_ref(was->ports);
	m->ready_us = was->ready_us;
	m->reason = g_strdup(was->reason);
	m->proc = proc_adopt(&was->id, qemu_exited, m);
	if (!m->proc) {
		m->stage = was->stage;
		/* It was to run, and it ended while nobody looked. */
		if (was->id.pid && was->stage != STAGE_STOPPING) {
			g_free(m->reason);
			m->reason = g_strdup("QEMU ended while no supervisor ran");
			m->stage = STAGE_FAILED;
		} else if (was->stage <= STAGE_STOPPING) {
			m->stage = STAGE_STOPPED;
		}
		unlink_sockets(m);
		return false;
	}
	m->adopted = true;
	m->started_us = proc_id_start_us(&was->id);
	m->log_from = logfile_size(m->paths->qemu_log);
	m->stage = was->stage == STAGE_READY ? STAGE_READY : STAGE_STARTING;
	if (m->stage == STAGE_READY && m->ready_us == 0)
		m->ready_us = marked_us(m) - m->started_us;
	attach(m);
	climb(m);
	return true;
}

void machine_port_changed(struct machine *m, const char *port, bool negotiated)
{
	for (guint i = 0; i < m->ports->len && i < m->port_up->len; i++) {
		const struct state_port *p = m->ports->pdata[i];
		bool *up = &g_array_index(m->port_up, bool, i);

		if (strcmp(p->name, port) != 0 || *up == negotiated)
			continue;
		*up = negotiated;
		m->ladder.n_negotiated += negotiated ? 1u : -1u;
		climb(m);
	}
}

/* --- stopping --------------------------------------------------------------------------------------------- */

enum stop_step { STOP_POWERDOWN, STOP_QUIT, STOP_KILL };

static gboolean stop_next(gpointer p);

static void stop_wait(struct machine *m, enum stop_step next, unsigned ms)
{
	if (m->stop_timer)
		g_source_remove(m->stop_timer);
	m->stop_step = next;
	m->stop_timer = g_timeout_add(ms, stop_next, m);
}

/* QEMU ends on SIGTERM as it does on "quit"; without a monitor that is all there is. */
static void quit(struct machine *m)
{
	if (m->qmp && m->ladder.qmp)
		qmp_execute(m->qmp, "quit", NULL, NULL, NULL);
	else
		proc_signal(m->proc, SIGTERM);
	stop_wait(m, STOP_KILL, QUIT_MS);
}

static gboolean stop_next(gpointer p)
{
	struct machine *m = p;

	m->stop_timer = 0;
	if (m->stop_step == STOP_QUIT)
		quit(m);
	else
		proc_signal(m->proc, SIGKILL);
	return G_SOURCE_REMOVE;
}

void machine_stop(struct machine *m, unsigned grace_ms)
{
	/* Only a guest that is up hears the power button. */
	bool ask = grace_ms > 0 && m->stage == STAGE_READY && m->qmp && m->ladder.qmp;

	if (!m->proc)
		return;
	if (m->stage == STAGE_STOPPING) {
		if (grace_ms == 0 && m->stop_step == STOP_QUIT)
			quit(m);
		return;
	}
	if (ask) {
		qmp_execute(m->qmp, "system_powerdown", NULL, NULL, NULL);
		stop_wait(m, STOP_QUIT, grace_ms);
	} else {
		quit(m);
	}
	set_stage(m, STAGE_STOPPING);
}
