/* SPDX-License-Identifier: MIT */
#include "run/engine_libvirt_impl.h"

#include <gio/gio.h>

void libvirt_unref(struct libvirt *l)
{
	if (--l->refs > 0)
		return;
	g_free(l->lab.uri);
	g_free(l->lab.lab);
	g_free(l->lab.state_dir);
	g_free(l->problem);
	g_hash_table_unref(l->domains);
	g_free(l);
}

void domain_unref(struct domain *d)
{
	if (--d->refs > 0)
		return;
	libvirt_unref(d->libvirt);
	g_free(d->its.vm);
	g_free(d->its.name);
	g_free(d->its.vsock);
	g_free(d->console);
	g_free(d);
}

struct job *job_new(struct libvirt *l, struct domain *d, work_fn *work, done_fn *done)
{
	struct job *job = g_new0(struct job, 1);

	job->libvirt = l;
	l->refs++;
	job->domain = d;
	if (d)
		d->refs++;
	job->work = work;
	job->done = done;
	return job;
}

static void job_free(struct job *job)
{
	if (job->domain)
		domain_unref(job->domain);
	libvirt_unref(job->libvirt);
	work_found_clear(&job->found);
	if (job->listed)
		g_ptr_array_unref(job->listed);
	g_clear_error(&job->error);
	g_free(job->text);
	g_free(job);
}

static void in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
	struct job *job = data;

	(void)job->work(job, &job->error);
	if (job->conn)
		(void)vir.virConnectClose(job->conn); /* a reference of many */
	g_task_return_boolean(task, TRUE);
}

static void job_done(GObject *source, GAsyncResult *result, gpointer data)
{
	struct job *job = data;
	struct domain *d = job->domain;

	if (d && !job->urgent)
		d->busy = false;
	job->done(job, job->error);
	if (d)
		domain_next_job(d);
	job_free(job);
}

void job_run(struct job *job)
{
	GTask *task = g_task_new(NULL, NULL, job_done, job);

	job->conn = job->libvirt->conn;
	if (job->conn)
		(void)vir.virConnectRef(job->conn);
	g_task_set_task_data(task, job, NULL);
	g_task_run_in_thread(task, in_thread);
	g_object_unref(task);
}

void domain_next_job(struct domain *d)
{
	struct job *job;

	if (d->busy || !d->libvirt->conn || !(job = g_queue_pop_head(&d->jobs)))
		return;
	d->busy = true;
	d->said_paused = -1;
	job_run(job);
}

void domain_submit(struct domain *d, struct job *job)
{
	g_queue_push_tail(&d->jobs, job);
	domain_next_job(d);
}

void domain_drop_jobs(struct domain *d)
{
	struct job *job;

	while ((job = g_queue_pop_head(&d->jobs)))
		job_free(job);
}

void job_order_done(struct job *job, const GError *error)
{
	if (error && !job->libvirt->closed)
		g_message("%s: %s", job->domain->its.name, error->message);
}
