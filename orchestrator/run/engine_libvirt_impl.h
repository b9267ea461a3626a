/* SPDX-License-Identifier: MIT */
/* What the files of the engine on libvirt share: engine_libvirt.c (the connection, its events, the lab), engine_libvirt_domain.c
 * (a VM's domain) and engine_libvirt_jobs.c (what is under way).
 *
 * What blocks is a job, done in a thread by engine_libvirt_work.c: one of a domain after the other, while there is a
 * connection; only ending a domain goes past that queue.  A job's end is an event of the main loop.
 *
 * Threads:   the main thread, but for a job's work(): that reads what is constant in its domain, and writes into the job.
 * Ownership: references are counted, in the main thread: a job keeps its engine and its domain, a domain its engine.
 */
#ifndef RUN_ENGINE_LIBVIRT_IMPL_H
#define RUN_ENGINE_LIBVIRT_IMPL_H

#include <stdbool.h>
#include <glib.h>

#include "run/engine.h"
#include "run/engine_libvirt_api.h"
#include "run/engine_libvirt_work.h"

struct job;
typedef gboolean work_fn(struct job *job, GError **error);
typedef void done_fn(struct job *job, const GError *error);

struct libvirt {
	struct engine engine;
	unsigned refs; /* its owner's, and one of each job and domain */
	struct work_lab lab;
	const struct engine_ops *ops;
	void *data;
	virConnectPtr conn; /* NULL: none */
	int lifecycle, reboot;
	bool closed;
	bool list_again; /* something has come up while the connection was made */
	guint retry_timer;
	unsigned retry_ms;
	char *problem;
	GHashTable *domains; /* "three-nodes.n1" -> struct domain: those that a machine has */
	enum { CLEAR_NOT, CLEAR_WAITS, CLEAR_RUNS, CLEAR_DONE } clear;
	guint clear_timer;
};

struct domain {
	struct engine_vm vm;
	unsigned refs; /* its machine's, and one of each job */
	struct libvirt *libvirt;
	struct work_domain its;
	const struct engine_vm_ops *ops; /* NULL: its machine has forgotten it */
	void *data;
	struct proc *proc; /* NULL: not known */
	char *console;
	GQueue jobs; /* those that wait */
	bool busy;
	bool begun;  /* to start it: then START_MS counts */
	bool start;  /* it is being started: the job's end says what became of it */
	bool resume; /* its start was cut short */
	bool up, paused;
	int said_paused; /* by events since the job that is under way has begun; -1: nothing */
	int stopped;     /* detail of a VIR_DOMAIN_EVENT_STOPPED that came meanwhile; -1: none */
	guint start_timer, reset_timer, why_timer, end_idle;
	gint64 log_from;
};

struct job {
	struct libvirt *libvirt;
	struct domain *domain; /* NULL: it is about the whole lab */
	virConnectPtr conn;
	work_fn *work;
	done_fn *done;
	bool urgent;
	/* What it is given, and what it finds. */
	char *text;
	unsigned nic;
	bool flag, lost;
	virConnectPtr opened;
	int lifecycle, reboot;
	struct work_found found;
	GPtrArray *listed;
	GError *error;
};

extern const struct engine_class engine_class_libvirt;

/* --- engine_libvirt_jobs.c -------------------------------------------------------------------------------- */

void libvirt_unref(struct libvirt *l);
void domain_unref(struct domain *d);

/* domain: NULL, it is about the whole lab. */
struct job *job_new(struct libvirt *l, struct domain *d, work_fn *work, done_fn *done);
/* Now, in a thread; it frees itself when it is done. */
void job_run(struct job *job);
/* An order of which nobody waits for the end: its machine goes on by itself. */
void job_order_done(struct job *job, const GError *error);

/* When its turn has come. */
void domain_submit(struct domain *d, struct job *job);
/* Its turn may have come: there is a connection. */
void domain_next_job(struct domain *d);
/* Those that wait. */
void domain_drop_jobs(struct domain *d);

/* --- engine_libvirt_domain.c ------------------------------------------------------------------------------ */

/* Ask how it is; then it is up, or it has ended. */
void domain_look(struct domain *d);
/* From now on it has so long to come up. */
void domain_time_start(struct domain *d);
/* It has ended, with a detail of VIR_DOMAIN_EVENT_STOPPED. */
void domain_ended_with(struct domain *d, int detail);

/* Of struct engine_class. */
struct engine_vm *domain_start(struct engine *e, const struct engine_start *s,
			       const struct engine_vm_ops *ops, void *data, GError **error);
struct engine_vm *domain_adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data);
void domain_forget(struct engine_vm *v);
const struct proc_id *domain_process(const struct engine_vm *v);
bool domain_reachable(const struct engine_vm *v);
const char *domain_console(const struct engine_vm *v);
void domain_press_button(struct engine_vm *v);
void domain_quit(struct engine_vm *v);
void domain_kill(struct engine_vm *v);
void domain_set_link(struct engine_vm *v, unsigned nic, bool up);
void domain_refresh(struct engine_vm *v);

#endif
