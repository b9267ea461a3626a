/* SPDX-License-Identifier: MIT */
/* A VM's domain, as its machine sees it: started or found, told, and ended. */
#include "run/engine_libvirt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"
#include "plan/plan.h"
#include "run/logfile.h"
#include "run/qemu_error.h"
#include "run/state.h"

/* How long a VM waits for a connection, and then for libvirt to bring it up: it waits for a switch for ever. */
#define CONNECT_MS 15000
#define START_MS   30000
/* QEMU is gone: libvirt is about to say why. */
#define WHY_MS 5000

static struct domain *domain_of(struct engine_vm *v)
{
	return (struct domain *)v;
}

static const struct domain *domain_of_const(const struct engine_vm *v)
{
	return (const struct domain *)v;
}

/* --- what becomes of a domain ----------------------------------------------------------------------------- */

static void clear_timers(struct domain *d)
{
	g_clear_handle_id(&d->start_timer, g_source_remove);
	g_clear_handle_id(&d->reset_timer, g_source_remove);
	g_clear_handle_id(&d->why_timer, g_source_remove);
	g_clear_handle_id(&d->end_idle, g_source_remove);
}

static void ended(struct domain *d, enum engine_ending how, const char *words, int code)
{
	const struct engine_vm_ops *ops = d->ops;

	if (!ops)
		return;
	d->refs++; /* its machine frees it */
	d->up = false;
	clear_timers(d);
	domain_drop_jobs(d);
	ops->ended(how, words, code, d->data);
	domain_unref(d);
}

/* QEMU is gone, and nobody asked for that. */
static void ended_badly(struct domain *d)
{
	g_autofree char *words = work_last_words(&d->its, d->log_from), *explained = NULL;
	int code;

	explained = qemu_error_explain(words,
				       d->libvirt->conn ?
					       "killed, or it crashed; libvirt does not know" :
					       "libvirt cannot be asked why",
				       &code);
	ended(d, ENGINE_ENDED_FAILED, explained, code);
}

void domain_ended_with(struct domain *d, int detail)
{
	switch (detail) {
	case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
		ended(d, ENGINE_ENDED_ITSELF, NULL, 0);
		break;
	case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
		ended(d, ENGINE_ENDED_ELSEWHERE, "destroyed by another user of libvirt", 0);
		break;
	case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
		ended(d, ENGINE_ENDED_ELSEWHERE, "migrated by another user of libvirt", 0);
		break;
	case VIR_DOMAIN_EVENT_STOPPED_SAVED:
	case VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT:
		ended(d, ENGINE_ENDED_ELSEWHERE, "saved by another user of libvirt", 0);
		break;
	default:
		ended_badly(d);
	}
}

static gboolean nobody_says_why(gpointer p)
{
	struct domain *d = p;

	d->why_timer = 0;
	ended_badly(d);
	return G_SOURCE_REMOVE;
}

static void qemu_exited(struct proc *p, int status, const char *how, void *data)
{
	struct domain *d = data;

	g_clear_pointer(&d->proc, proc_free);
	if (!d->why_timer)
		d->why_timer = g_timeout_add(d->libvirt->conn ? WHY_MS : 0, nobody_says_why, d);
}

/* What was found may be older than what events have said meanwhile: then neither is the last word. */
static void take_paused(struct domain *d, bool paused)
{
	if (d->said_paused >= 0 && d->said_paused != paused) {
		domain_look(d);
	} else if (d->paused != paused) {
		d->paused = paused;
		d->ops->paused(paused, d->data);
	}
}

/* It runs, and this is how. */
static void is_up(struct domain *d, struct work_found *found)
{
	g_clear_handle_id(&d->start_timer, g_source_remove);
	if (found->id.pid && !d->proc)
		d->proc = proc_adopt(&found->id, qemu_exited, d);
	if (found->console) {
		g_free(d->console);
		d->console = g_steal_pointer(&found->console);
	}
	d->up = true;
	take_paused(d, found->paused);
	d->ops->up(d->data);
}

/* --- starting and finding --------------------------------------------------------------------------------- */

static gboolean do_start(struct job *job, GError **error)
{
	return work_start(job->conn, &job->domain->its, job->text, &job->found, error);
}

/* libvirt quotes QEMU, which we know better. */
static void not_started(struct domain *d, const GError *error)
{
	const char *words = strstr(error->message, "Z qemu-system-");
	g_autofree char *explained = NULL;
	int code = err_exit_code(error);

	if (words)
		explained = qemu_error_explain(words + 2, "libvirt cannot start it", &code);
	ended(d, ENGINE_ENDED_FAILED, explained ? explained : error->message, code);
}

static void start_done(struct job *job, const GError *error)
{
	struct domain *d = job->domain;

	d->start = false;
	if (!d->ops)
		return;
	if (error)
		not_started(d, error);
	else if (d->stopped >= 0)
		domain_ended_with(d, d->stopped);
	else
		is_up(d, &job->found);
}

static gboolean do_look(struct job *job, GError **error)
{
	return work_look(job->conn, &job->domain->its, job->flag, &job->found, &job->lost, error);
}

static void look_done(struct job *job, const GError *error)
{
	struct domain *d = job->domain;

	if (!d->ops || job->lost)
		return;
	if (error)
		ended(d, ENGINE_ENDED_FAILED, error->message, err_exit_code(error));
	else
		is_up(d, &job->found);
}

void domain_look(struct domain *d)
{
	struct job *job = job_new(d->libvirt, d, do_look, look_done);

	job->flag = d->resume;
	domain_submit(d, job);
}

static gboolean do_kill(struct job *job, GError **error)
{
	return work_kill(job->conn, &job->domain->its, error);
}

static void urgently(struct domain *d, work_fn *work)
{
	struct job *job = job_new(d->libvirt, d, work, job_order_done);

	job->urgent = true;
	job_run(job);
}

/* It has not come up in time: end what there is of it, and it has failed. */
static gboolean too_long(gpointer p)
{
	struct domain *d = p;
	g_autofree char *words = NULL;

	d->start_timer = 0;
	g_atomic_int_set(&d->its.unwanted, 1);
	if (d->libvirt->conn)
		urgently(d, do_kill);
	words = d->begun ? g_strdup_printf("libvirt did not bring it up within %d s",
					   START_MS / 1000) :
			   g_strdup(d->libvirt->problem ? d->libvirt->problem :
							  "no connection to libvirt");
	ended(d, ENGINE_ENDED_FAILED, words, ORCH_ERROR_HOST_UNFIT);
	return G_SOURCE_REMOVE;
}

void domain_time_start(struct domain *d)
{
	d->begun = d->libvirt->conn != NULL;
	if (d->start_timer)
		g_source_remove(d->start_timer);
	d->start_timer = g_timeout_add(d->begun ? START_MS : CONNECT_MS, too_long, d);
}

/* plug: it has a socket device that is plugged in. */
static struct domain *domain_new(struct libvirt *l, const char *vm, const struct vm_paths *paths,
				 bool plug, const struct engine_vm_ops *ops, void *data)
{
	struct domain *d = g_new0(struct domain, 1);
	g_autofree char *log = NULL;

	d->vm.class = &engine_class_libvirt;
	d->refs = 1;
	d->libvirt = l;
	l->refs++;
	d->its.lab = &l->lab;
	d->its.vm = g_strdup(vm);
	d->its.name = names_domain(l->lab.lab, vm);
	d->its.vsock = plug ? g_strdup(paths->vsock) : NULL;
	d->ops = ops;
	d->data = data;
	d->said_paused = d->stopped = -1;
	g_queue_init(&d->jobs);
	log = work_log_path(&d->its);
	d->log_from = logfile_size(log);
	g_hash_table_replace(l->domains, d->its.name, d);
	return d;
}

/* Ours, before virtlogd makes it its own. */
static gboolean make_console_log(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot write %s", path);
		return FALSE;
	}
	close(fd);
	return TRUE;
}

struct engine_vm *domain_start(struct engine *e, const struct engine_start *s,
			       const struct engine_vm_ops *ops, void *data, GError **error)
{
	struct libvirt *l = (struct libvirt *)e;
	struct domain *d;
	struct job *job;

	if (!make_console_log(s->paths->console_log, error))
		return NULL;
	l->clear = CLEAR_NOT;
	d = domain_new(l, s->name, s->paths, s->cid && !s->hvsock, ops, data);
	d->start = true;
	job = job_new(l, d, do_start, start_done);
	job->text = g_strdup(s->xml);
	domain_time_start(d);
	domain_submit(d, job);
	return &d->vm;
}

struct engine_vm *domain_adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data)
{
	struct domain *d;

	if (was->id.pid ? !proc_id_alive(&was->id) : was->stage >= STAGE_STOPPING)
		return NULL;
	d = domain_new((struct libvirt *)e, was->name, paths,
		       was->cid && !plan_settings_has_hvsock(was->settings), ops, data);
	d->console = g_strdup(was->console);
	d->resume = was->stage == STAGE_STARTING;
	if (was->id.pid)
		d->proc = proc_adopt(&was->id, qemu_exited, d);
	domain_look(d);
	return &d->vm;
}

void domain_forget(struct engine_vm *v)
{
	struct domain *d = domain_of(v);

	d->ops = NULL;
	if (g_hash_table_lookup(d->libvirt->domains, d->its.name) == d)
		g_hash_table_remove(d->libvirt->domains, d->its.name);
	clear_timers(d);
	domain_drop_jobs(d);
	g_clear_pointer(&d->proc, proc_free);
	domain_unref(d);
}

const struct proc_id *domain_process(const struct engine_vm *v)
{
	const struct domain *d = domain_of_const(v);

	return d->proc ? proc_identity(d->proc) : NULL;
}

bool domain_reachable(const struct engine_vm *v)
{
	const struct domain *d = domain_of_const(v);

	return d->up && d->libvirt->conn;
}

const char *domain_console(const struct engine_vm *v)
{
	return domain_of_const(v)->console;
}

/* --- orders ----------------------------------------------------------------------------------------------- */

static gboolean do_press_button(struct job *job, GError **error)
{
	return work_press_button(job->conn, &job->domain->its, error);
}

void domain_press_button(struct engine_vm *v)
{
	struct domain *d = domain_of(v);

	domain_submit(d, job_new(d->libvirt, d, do_press_button, job_order_done));
}

static gboolean never_was(gpointer p)
{
	struct domain *d = p;

	d->end_idle = 0;
	ended(d, ENGINE_ENDED_FAILED,
	      d->libvirt->problem ? d->libvirt->problem : "no connection to libvirt",
	      ORCH_ERROR_HOST_UNFIT);
	return G_SOURCE_REMOVE;
}

/* Without libvirt a signal has to do; what is not even known to run is given up. */
static void end_without(struct domain *d, int sig)
{
	if (d->proc)
		proc_signal(d->proc, sig);
	else if (!d->end_idle)
		d->end_idle = g_idle_add(never_was, d);
}

static gboolean do_quit(struct job *job, GError **error)
{
	return work_destroy(job->conn, &job->domain->its, true, error);
}

void domain_quit(struct engine_vm *v)
{
	struct domain *d = domain_of(v);

	g_atomic_int_set(&d->its.unwanted, 1);
	if (d->libvirt->conn)
		urgently(d, do_quit);
	else
		end_without(d, SIGTERM);
}

void domain_kill(struct engine_vm *v)
{
	struct domain *d = domain_of(v);

	g_atomic_int_set(&d->its.unwanted, 1);
	if (d->proc || !d->libvirt->conn)
		end_without(d, SIGKILL);
	if (d->libvirt->conn)
		urgently(d, do_kill);
}

static gboolean do_set_link(struct job *job, GError **error)
{
	return work_set_link(job->conn, &job->domain->its, job->nic, job->flag, error);
}

void domain_set_link(struct engine_vm *v, unsigned nic, bool up)
{
	struct domain *d = domain_of(v);
	struct job *job = job_new(d->libvirt, d, do_set_link, job_order_done);

	job->nic = nic;
	job->flag = up;
	domain_submit(d, job);
}

static gboolean do_refresh(struct job *job, GError **error)
{
	return work_refresh(job->conn, &job->domain->its, error);
}

void domain_refresh(struct engine_vm *v)
{
	struct domain *d = domain_of(v);

	domain_submit(d, job_new(d->libvirt, d, do_refresh, job_order_done));
}
