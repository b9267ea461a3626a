/* SPDX-License-Identifier: MIT */
#include "run/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"
#include "plan/plan.h"
#include "run/agent.h"
#include "run/engine.h"
#include "run/logfile.h"
#include "run/watch.h"

/* A QEMU that was told to quit is gone in a few milliseconds; only a host that swaps needs more. */
#define QUIT_MS 3000
/* What of the `ready` file is looked at: one short line is expected. */
#define READY_MAX     4096
#define LAST_LINE_MAX 240

static bool tell_rings(void *machine);

struct machine *machine_new(const char *name, struct vm_paths *paths, const struct machine_ops *ops,
			    void *data)
{
	struct machine *m = g_new0(struct machine, 1);

	m->name = g_strdup(name);
	m->paths = paths;
	m->ops = ops;
	m->data = data;
	m->stage = STAGE_PLANNED;
	m->rings = (struct rings){ .tell = tell_rings, .data = m, .again_ms = RINGS_AGAIN_MS };
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
	watch_free(m->ready_watch);
	m->ready_watch = NULL;
	rings_settled(&m->rings);
	g_clear_pointer(&m->agent, vm_agent_free);
	g_clear_pointer(&m->vm, engine_vm_free);
	m->paused = false;
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
	g_free(m->guest_error);
	g_free(m->told_reason);
	g_free(m->name);
	g_free(m);
}

bool machine_alive(const struct machine *m)
{
	return m->vm != NULL;
}

const struct proc_id *machine_process(const struct machine *m)
{
	return m->vm ? engine_vm_process(m->vm) : NULL;
}

const char *machine_console(const struct machine *m)
{
	return m->vm ? engine_vm_console(m->vm) : NULL;
}

/* Whether the agent's word counts: it has given one, or it will. */
static bool agent_counts(const struct machine *m)
{
	return m->agent &&
	       (m->agent_expected || vm_agent_seen(m->agent) || vm_agent_has_probes(m->agent));
}

const char *machine_waits_for(const struct machine *m)
{
	if (m->stage != STAGE_NEGOTIATED || !agent_counts(m))
		return ladder_waits_for(m->stage);
	switch (vm_agent_state(m->agent)) {
	case VM_AGENT_ABSENT:
		return m->marked && !m->agent_expected ? "an agent in the guest, for its probes" :
							 "the agent in the guest to call";
	case VM_AGENT_CONFIGURING:
		return "the agent to set up the guest";
	case VM_AGENT_PROBING:
		return vm_agent_words(m->agent);
	case VM_AGENT_READY:
		return ladder_waits_for(m->stage);
	case VM_AGENT_FAILED:
		break;
	}
	return "";
}

bool machine_gave_up(const struct machine *m)
{
	return m->guest_error && stage_on_its_way(m->stage);
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

/* The beginning of the `ready` file; *len 0 if there is none. */
static void read_ready(const char *path, char text[READY_MAX], size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, READY_MAX);

	if (fd >= 0)
		close(fd);
	*ret_len = n > 0 ? (size_t)n : 0;
}

bool machine_ready_mark(const char *ready_path)
{
	char text[READY_MAX];
	size_t len;

	read_ready(ready_path, text, &len);
	return ladder_ready_mark(text, len);
}

static void set_guest_error(struct machine *m, const char *text)
{
	if (m->guest_error || !stage_on_its_way(m->stage))
		return;
	m->guest_error = g_strdup(text);
	g_free(m->reason);
	m->reason = g_strdup_printf("the guest says: %s", text);
	m->reason_code = ORCH_ERROR_FAILED;
	m->ops->changed(m, m->data);
}

/* Put together what the witnesses of readiness say. */
static void weigh(struct machine *m)
{
	if (agent_counts(m)) {
		enum vm_agent_state state = vm_agent_state(m->agent);

		/* The tiny guest writes its mark when its console is read, too. */
		m->ladder.ready |= state == VM_AGENT_READY && (m->marked || !m->agent_expected);
		if (state == VM_AGENT_FAILED)
			set_guest_error(m, vm_agent_words(m->agent));
	} else {
		m->ladder.ready |= m->marked;
	}
	climb(m);
}

static void look_at_ready(void *data)
{
	struct machine *m = data;
	g_autofree char *error = NULL;
	char text[READY_MAX];
	size_t len;

	read_ready(m->paths->ready, text, &len);
	m->marked |= ladder_ready_mark(text, len);
	error = ladder_error_line(text, len);
	if (error && !m->marked) {
		g_autofree char *clean = logfile_clean(error, -1, LAST_LINE_MAX);

		set_guest_error(m, clean);
	}
	weigh(m);
}

void machine_agent_changed(void *machine)
{
	struct machine *m = machine;

	weigh(m);
	m->ops->changed(m, m->data);
}

void machine_set_agent(struct machine *m, struct vm_agent *agent)
{
	vm_agent_free(m->agent);
	m->agent = agent;
	/* What the mark alone has said of a guest that was taken over counts no more: its probes may not hold yet. */
	if (m->stage != STAGE_READY)
		m->ladder.ready = false;
	weigh(m);
}

/* --- what its engine says --------------------------------------------------------------------------------- */

static void qemu_ended(enum engine_ending how, const char *words, int code, void *data)
{
	struct machine *m = data;
	bool asked = m->stage == STAGE_STOPPING;

	detach(m);
	memset(&m->ladder, 0, sizeof(m->ladder));
	g_free(m->reason);
	g_clear_pointer(&m->guest_error, g_free);
	m->reason_code = 0;
	if (asked) {
		m->reason = g_strdup("stopped on request");
		set_stage(m, STAGE_STOPPED);
		return;
	}
	if (how != ENGINE_ENDED_FAILED) {
		m->reason = g_strdup(how == ENGINE_ENDED_ITSELF ? "the guest powered itself off" :
								  words);
		set_stage(m, STAGE_STOPPED);
		return;
	}
	m->reason = g_strdup(words);
	m->reason_code = code;
	set_stage(m, STAGE_FAILED);
}

static bool tell_rings(void *machine)
{
	struct machine *m = machine;

	if (!m->vm || !engine_vm_reachable(m->vm) || m->stage == STAGE_STOPPING)
		return false;
	if (m->rings.n_told > 0)
		g_message(
			"%s: the daemon of sockets does not know its rings yet, they are told again",
			m->name);
	engine_vm_refresh(m->vm);
	return true;
}

/* It takes part in the lab. */
static void qemu_up(void *data)
{
	struct machine *m = data;

	m->ladder.process = true;
	climb(m);
	m->ladder.qmp = true;
	climb(m);
	rings_pursue(&m->rings);
}

static void guest_reset(void *data)
{
	struct machine *m = data;

	m->resets++;
	m->ops->changed(m, m->data);
}

static void guest_paused(bool paused, void *data)
{
	struct machine *m = data;

	m->paused = paused;
	m->ops->changed(m, m->data);
}

static const struct engine_vm_ops engine_vm_ops = {
	.up = qemu_up,
	.reset = guest_reset,
	.paused = guest_paused,
	.ended = qemu_ended,
};

/* --- the beginning ---------------------------------------------------------------------------------------- */

/* It is there, or will be: watch what it does. */
static void attach(struct machine *m)
{
	g_autoptr(GError) error = NULL;

	m->ladder.process = engine_vm_process(m->vm) != NULL;
	m->ladder.n_nics = m->ports->len;
	g_array_set_size(m->port_up, 0);
	g_array_set_size(m->port_up, m->ports->len);
	m->ready_watch = watch_file(m->paths->ready, look_at_ready, m, &error);
	if (!m->ready_watch)
		g_message("%s: %s", m->name, error->message);
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

gboolean machine_start(struct machine *m, const struct machine_start *start, GError **error)
{
	const struct engine_start its = {
		.name = m->name,
		.argv = start->argv,
		.xml = start->xml,
		.paths = m->paths,
		.cid = start->cid,
		.hvsock = plan_settings_has_hvsock(start->settings),
	};
	g_autoptr(GError) start_error = NULL;

	g_assert(!machine_alive(m));
	m->engine = start->engine;
	g_ptr_array_unref(m->ports);
	m->ports = start->ports;
	g_free(m->settings);
	m->settings = g_strdup(start->settings);
	m->cid = start->cid;
	m->agent_expected = false;
	m->marked = false;
	g_clear_pointer(&m->guest_error, g_free);
	g_clear_pointer(&m->reason, g_free);
	m->reason_code = 0;
	m->links_down = m->links_unknown = 0;
	m->adopted = false;
	m->resets = 0;
	m->ready_us = 0;
	m->stop_step = 0;
	memset(&m->ladder, 0, sizeof(m->ladder));
	m->started_us = proc_boottime_us();
	m->stage = STAGE_STARTING;
	if (fresh_ready_file(m, &start_error))
		m->vm = engine_start(start->engine, &its, &engine_vm_ops, m, &start_error);
	if (!m->vm) {
		m->reason = g_strdup(start_error->message);
		m->reason_code = err_exit_code(start_error);
		set_stage(m, STAGE_FAILED);
		g_propagate_error(error, g_steal_pointer(&start_error));
		return FALSE;
	}
	attach(m);
	climb(m);
	if (m->stage == STAGE_STARTING)
		m->ops->changed(m, m->data); /* it has a VM, and nothing more is known of it */
	return TRUE;
}

bool machine_adopt(struct machine *m, struct engine *engine, const struct state_vm *was)
{
	g_free(m->settings);
	m->settings = g_strdup(was->settings);
	g_ptr_array_unref(m->ports);
	m->ports = g_ptr_array_ref(was->ports);
	m->ready_us = was->ready_us;
	m->cid = was->cid;
	g_free(m->reason);
	m->reason = g_strdup(was->reason);
	m->reason_code = 0;
	g_clear_pointer(&m->guest_error, g_free);
	m->marked = false;
	m->resets = 0;
	m->stop_step = 0;
	m->engine = engine;
	m->vm = engine_adopt(engine, was, m->paths, &engine_vm_ops, m);
	if (!m->vm) {
		m->stage = was->stage;
		/* It was to run, and it ended while nobody looked. */
		if (was->id.pid && was->stage != STAGE_STOPPING) {
			g_free(m->reason);
			m->reason = g_strdup("QEMU ended while no supervisor ran");
			m->stage = STAGE_FAILED;
		} else if (was->stage <= STAGE_STOPPING) {
			m->stage = STAGE_STOPPED;
		}
		return false;
	}
	m->adopted = true;
	m->links_down = 0;
	m->links_unknown = UINT32_MAX;
	m->started_us = was->id.pid ? proc_id_start_us(&was->id) : proc_boottime_us();
	m->stage = was->stage == STAGE_READY ? STAGE_READY : STAGE_STARTING;
	if (m->stage == STAGE_READY && m->ready_us == 0)
		m->ready_us = marked_us(m) - m->started_us;
	/* Whoever started it may have died before its rings were told. */
	machine_sockets_lost(m);
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
		/* QEMU lets the link up when it has connected again. */
		if (negotiated && i < 32)
			m->links_down &= ~(UINT32_C(1) << i);
		climb(m);
	}
}

/* --- the daemon of sockets -------------------------------------------------------------------------------- */

void machine_sockets_lost(struct machine *m)
{
	/* One that has not come so far tells its rings by itself; those of Hyper-V sockets are the guest's channels, which QEMU
	 * tells any daemon. */
	if (m->cid && !plan_settings_has_hvsock(m->settings) && (m->adopted || m->ladder.qmp))
		rings_lost(&m->rings);
}

void machine_sockets_back(struct machine *m)
{
	rings_connected(&m->rings);
}

void machine_sockets_known(struct machine *m)
{
	rings_settled(&m->rings);
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

static void quit(struct machine *m)
{
	engine_vm_quit(m->vm);
	stop_wait(m, STOP_KILL, QUIT_MS);
}

static void press_button(struct machine *m)
{
	engine_vm_press_button(m->vm);
	stop_wait(m, STOP_QUIT, m->stop_grace_ms);
}

static gboolean stop_next(gpointer p)
{
	struct machine *m = p;

	m->stop_timer = 0;
	if (m->stop_step == STOP_POWERDOWN && engine_vm_reachable(m->vm))
		press_button(m);
	else if (m->stop_step == STOP_KILL)
		engine_vm_kill(m->vm);
	else
		quit(m);
	return G_SOURCE_REMOVE;
}

/* The agent will not power off. */
static void agent_refused(void *data)
{
	struct machine *m = data;

	if (m->stage == STAGE_STOPPING && m->stop_step == STOP_POWERDOWN)
		stop_wait(m, STOP_POWERDOWN, 0);
}

/* Ask the guest, which has grace_ms in all: half of it for the agent, where there is one, and half for the button. */
static void ask_guest(struct machine *m, unsigned grace_ms)
{
	m->stop_grace_ms = grace_ms;
	if (m->agent && vm_agent_shutdown(m->agent, grace_ms / 4, agent_refused, m)) {
		m->stop_grace_ms = grace_ms / 2;
		stop_wait(m, STOP_POWERDOWN, grace_ms / 2);
	} else {
		press_button(m);
	}
}

void machine_stop(struct machine *m, unsigned grace_ms)
{
	/* Only a guest that is up hears, and only one that runs. */
	bool ask = grace_ms > 0 && m->stage == STAGE_READY && m->vm && engine_vm_reachable(m->vm);

	if (!m->vm)
		return;
	if (m->stage == STAGE_STOPPING) {
		if (grace_ms == 0 && m->stop_step <= STOP_QUIT)
			quit(m);
		return;
	}
	if (ask)
		ask_guest(m, grace_ms);
	else
		quit(m);
	set_stage(m, STAGE_STOPPING);
}

void machine_set_carrier(struct machine *m, unsigned nic, bool up, bool again)
{
	uint32_t bit;

	if (!m->vm || !engine_vm_reachable(m->vm) || nic >= 32)
		return;
	bit = UINT32_C(1) << nic;
	if (!again && !(m->links_unknown & bit) && up == !(m->links_down & bit))
		return;
	m->links_unknown &= ~bit;
	m->links_down = up ? m->links_down & ~bit : m->links_down | bit;
	engine_vm_set_link(m->vm, nic, up);
}
