/* SPDX-License-Identifier: MIT */
#include "cmd/many.h"

#include <signal.h>
#include <glib-unix.h>

#include "agent/client/session.h"
#include "err.h"
#include "model/names.h"

#define PATIENCE 3 /* signals until we leave */

struct many {
	const struct reach *reach;
	GPtrArray *jobs;
	const struct many_ops *ops;
	void *data;
	guint next; /* of jobs, to be begun */
	unsigned at_once, running, n_signals;
	int left;
};

struct many_job *many_job_new(const struct reach *r, const char *word, GError **error)
{
	struct many_job *job = g_new0(struct many_job, 1);

	job->output[0] = g_byte_array_new();
	job->output[1] = g_byte_array_new();
	job->label = g_strdup(word);
	if (target_parse(word, &job->target, error))
		job->paths = reach_vm(r, job->target.vm, error);
	if (job->paths)
		return job;
	many_job_free(job);
	return NULL;
}

void many_job_free(void *p)
{
	struct many_job *job = p;

	if (!job)
		return;
	g_clear_handle_id(&job->timer, g_source_remove);
	exec_free(job->exec);
	target_clear(&job->target);
	vm_paths_free(job->paths);
	g_clear_error(&job->error);
	g_byte_array_unref(job->output[0]);
	g_byte_array_unref(job->output[1]);
	g_free(job->label);
	g_free(job);
}

/* --- one job ---------------------------------------------------------------------------------------------- */

static void begin_more(struct many *m);

static void finish(struct many_job *job)
{
	struct many *m = job->many;

	g_clear_handle_id(&job->timer, g_source_remove);
	job->took_us = g_get_monotonic_time() - job->begun_us;
	job->done = true;
	m->running--;
	if (m->ops->done)
		m->ops->done(job, m->data);
	g_clear_pointer(&job->exec, exec_free);
}

static size_t collect(struct many_job *job, unsigned stream, const uint8_t *bytes, size_t len)
{
	size_t room = MANY_KEEP - job->output[stream]->len;
	size_t n = MIN(len, room);

	g_byte_array_append(job->output[stream], bytes, (guint)n);
	job->dropped[stream] += len - n;
	return len;
}

static size_t on_output(struct exec *x, enum exec_stream stream, const uint8_t *bytes, size_t len,
			void *data)
{
	struct many_job *job = data;
	struct many *m = job->many;

	if (m->ops->output)
		return m->ops->output(job, stream == EXEC_STDERR, bytes, len, m->data);
	return collect(job, stream == EXEC_STDERR, bytes, len);
}

static void on_ended(struct exec *x, const struct exec_end *end, const GError *error, void *data)
{
	struct many_job *job = data;
	struct many *m = job->many;

	job->end = *end;
	if (error && !exec_greeted(x)) {
		job->error = g_error_copy(error);
		reach_explain(m->reach, job->target.vm, &job->error);
	} else if (error) {
		job->error = g_error_new_literal(ORCH_ERROR, end->code, error->message);
	}
	finish(job);
	begin_more(m);
}

static const struct exec_ops exec_ops = { .output = on_output, .ended = on_ended };

static gboolean on_timeout(gpointer p)
{
	struct many_job *job = p;
	struct many *m = job->many;

	job->timer = 0;
	job->timed_out = true;
	job->end.ran = true;
	job->end.code = ORCH_ERROR_TIMEOUT;
	job->error = g_error_new(ORCH_ERROR, ORCH_ERROR_TIMEOUT, "it has not ended within %.1f s",
				 (double)job->timeout_ms / 1000);
	finish(job);
	begin_more(m);
	return G_SOURCE_REMOVE;
}

static void begin(struct many *m, struct many_job *job)
{
	struct link_address address = reach_agent(m->reach, job->paths);

	job->many = m;
	job->begun_us = g_get_monotonic_time();
	job->command.distro = job->target.distro;
	m->running++;
	job->exec = exec_new(&address, &job->command, &exec_ops, job, &job->error);
	if (!job->exec) {
		job->end.code = ORCH_ERROR_FAILED;
		reach_explain(m->reach, job->target.vm, &job->error);
		finish(job);
		return;
	}
	if (job->timeout_ms)
		job->timer = g_timeout_add((guint)job->timeout_ms, on_timeout, job);
}

/* --- all of them ------------------------------------------------------------------------------------------ */

static void begin_more(struct many *m)
{
	while (!m->left && m->next < m->jobs->len && m->running < m->at_once)
		begin(m, m->jobs->pdata[m->next++]);
}

static void on_signal(struct many *m, int signal)
{
	if (++m->n_signals >= PATIENCE)
		m->left = signal;
	for (guint i = 0; i < m->next; i++) {
		struct many_job *job = m->jobs->pdata[i];

		if (job->exec)
			exec_signal(job->exec, signal);
	}
}

static gboolean on_interrupt(gpointer p)
{
	on_signal(p, SIGINT);
	return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer p)
{
	on_signal(p, SIGTERM);
	return G_SOURCE_CONTINUE;
}

int many_run(const struct reach *r, GPtrArray *jobs, unsigned at_once, const struct many_ops *ops,
	     void *data)
{
	struct many m = {
		.reach = r,
		.jobs = jobs,
		.ops = ops,
		.data = data,
		.at_once = at_once,
	};
	guint interrupt = g_unix_signal_add(SIGINT, on_interrupt, &m);
	guint terminate = g_unix_signal_add(SIGTERM, on_terminate, &m);

	begin_more(&m);
	while (!m.left && m.running > 0)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	return m.left;
}

void many_resume(GPtrArray *jobs)
{
	for (guint i = 0; i < jobs->len; i++) {
		struct many_job *job = jobs->pdata[i];

		if (!job->exec)
			continue;
		exec_resume(job->exec, EXEC_STDOUT);
		exec_resume(job->exec, EXEC_STDERR);
	}
}
