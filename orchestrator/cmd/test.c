/* SPDX-License-Identifier: MIT */
/* orchestrator test: the lab's own checks, reported as TAP and JUnit. */
#include "cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/many.h"
#include "cmd/reach.h"
#include "cmd/testreport.h"
#include "err.h"
#include "model/lab.h"
#include "out.h"

#define JOBS_UNSAID 16

static char *opt_junit, *opt_only;
static gboolean opt_tap;
static int opt_jobs;

static const GOptionEntry options[] = {
	{ "tap", 0, 0, G_OPTION_ARG_NONE, &opt_tap, "Print TAP (as without --junit)", NULL },
	{ "junit", 0, 0, G_OPTION_ARG_FILENAME, &opt_junit,
	  "Write JUnit's XML to that file, in place of TAP or, with --tap, too", "FILE" },
	{ "only", 'o', 0, G_OPTION_ARG_STRING, &opt_only,
	  "Only the tests whose names match, as a shell matches files", "PATTERN" },
	{ "jobs", 'j', 0, G_OPTION_ARG_INT, &opt_jobs, "Run at most N at a time (16)", "N" },
	G_OPTION_ENTRY_NULL,
};

/* One run of them. */
struct testing {
	GPtrArray *jobs;             /* of struct many_job; its data is the struct lab_test */
	struct test_result *results; /* by job */
	guint n_printed;             /* in order: those before are out */
	unsigned n_failed;
};

/* --- the verdict ------------------------------------------------------------------------------------------ */

static char *judge(const struct lab_test *test, const struct many_job *job)
{
	g_autoptr(GRegex) regex = NULL;
	g_autofree char *text = NULL;

	if (job->error)
		return g_strdup(job->error->message);
	if (job->end.signal)
		return g_strdup_printf("ended by signal %d (%s)", job->end.signal,
				       strsignal(job->end.signal));
	if ((unsigned)job->end.code != test->status)
		return g_strdup_printf("exit status %d, not %u", job->end.code, test->status);
	if (!test->stdout_regex)
		return NULL;
	regex = g_regex_new(test->stdout_regex, G_REGEX_MULTILINE, 0, NULL);
	text = job->output[0]->len ? g_utf8_make_valid((const char *)job->output[0]->data,
						       (gssize)job->output[0]->len) :
				     g_strdup("");
	if (regex && g_regex_match(regex, text, 0, NULL))
		return NULL;
	return g_strdup_printf("its output does not match /%s/", test->stdout_regex);
}

static char *command_line(char **argv)
{
	GString *s = g_string_new(NULL);

	for (; *argv; argv++) {
		g_autofree char *quoted = strpbrk(*argv, " \t\n\"'\\$`*?[]{}()<>|&;!#~") ||
							  !**argv ?
						  g_shell_quote(*argv) :
						  g_strdup(*argv);

		g_string_append_printf(s, "%s%s", s->len ? " " : "", quoted);
	}
	return g_string_free(s, FALSE);
}

static struct test_result result_of(const struct many_job *job)
{
	const struct lab_test *test = job->data;

	return (struct test_result){
		.name = test->name,
		.vm = test->vm->name,
		.hint = test->hint,
		.command = command_line(test->command),
		.failure = judge(test, job),
		.broken = job->error != NULL && !job->timed_out,
		.out = report_text(job->output[0]->data, job->output[0]->len),
		.err = report_text(job->output[1]->data, job->output[1]->len),
		.took_us = job->took_us,
	};
}

/* In the order of the file, each as soon as those before it are out. */
static void print_finished(struct testing *t)
{
	while (t->n_printed < t->jobs->len) {
		const struct many_job *job = t->jobs->pdata[t->n_printed];
		g_autoptr(GString) text = g_string_new(NULL);

		if (!job->done)
			return;
		report_tap(text, t->n_printed + 1, &t->results[t->n_printed]);
		t->n_printed++;
		if (opt_junit && !opt_tap)
			continue;
		fputs(text->str, stdout);
		fflush(stdout);
	}
}

static void on_done(struct many_job *job, void *data)
{
	struct testing *t = data;
	guint index;

	g_assert(g_ptr_array_find(t->jobs, job, &index));
	t->results[index] = result_of(job);
	t->n_failed += t->results[index].failure != NULL;
	print_finished(t);
}

/* --- the run ---------------------------------------------------------------------------------------------- */

static bool wanted(const struct lab_test *test)
{
	return !opt_only || g_pattern_match_simple(opt_only, test->name);
}

/* Those that are wanted, in their order. */
static GPtrArray *jobs_of(const struct reach *r, GError **error)
{
	GPtrArray *jobs = g_ptr_array_new_with_free_func(many_job_free);

	for (guint i = 0; i < r->lab->tests->len; i++) {
		struct lab_test *test = r->lab->tests->pdata[i];
		struct many_job *job;

		if (!wanted(test))
			continue;
		job = many_job_new(r, test->vm->name, error);
		if (!job) {
			g_ptr_array_unref(jobs);
			return NULL;
		}
		job->command.argv = (const char *const *)test->command;
		job->command.user = test->user;
		job->timeout_ms = test->timeout_ms;
		job->data = test;
		g_ptr_array_add(jobs, job);
	}
	if (jobs->len > 0)
		return jobs;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
		    r->lab->tests->len ? "no test of lab %s matches" : "lab %s has no \"tests\"",
		    r->lab_name);
	g_ptr_array_unref(jobs);
	return NULL;
}

static gboolean write_junit(const struct reach *r, const struct testing *t, gint64 took_us,
			    GError **error)
{
	g_autoptr(GString) s = g_string_new(NULL);

	report_junit(s, r->lab_name, t->results, t->jobs->len, took_us);
	return g_file_set_contents(opt_junit, s->str, (gssize)s->len, error);
}

static int run_jobs(const struct reach *r, struct testing *t, GError **error)
{
	static const struct many_ops ops = { .done = on_done };
	gint64 begun_us = g_get_monotonic_time();
	int left;

	if (!opt_junit || opt_tap)
		printf("TAP version 13\n1..%u\n", t->jobs->len);
	left = many_run(r, t->jobs, opt_jobs > 0 ? (unsigned)opt_jobs : JOBS_UNSAID, &ops, t);
	if (left) {
		if (!opt_junit || opt_tap)
			printf("Bail out! %s\n", strsignal(left));
		return 128 + left;
	}
	if (opt_junit && !write_junit(r, t, g_get_monotonic_time() - begun_us, error))
		return -1;
	if (t->n_failed)
		out_info("%u of %u tests failed", t->n_failed, t->jobs->len);
	return t->n_failed ? ORCH_ERROR_FAILED : 0;
}

static int run_tests(const struct reach *r, GError **error)
{
	struct testing t = { 0 };
	int code;

	if (!r->lab) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "lab %s is down: `orchestrator up` starts it", r->lab_name);
		return -1;
	}
	t.jobs = jobs_of(r, error);
	if (!t.jobs)
		return -1;
	t.results = g_new0(struct test_result, t.jobs->len);
	code = run_jobs(r, &t, error);
	for (guint i = 0; i < t.jobs->len; i++)
		test_result_clear(&t.results[i]);
	g_free(t.results);
	g_ptr_array_unref(t.jobs);
	return code;
}

static int run_test(char **args, GError **error)
{
	struct reach *r;
	int code;

	if (opt_jobs < 0 || opt_jobs > MANY_AT_ONCE) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--jobs=%d: 1 to %d", opt_jobs,
			    MANY_AT_ONCE);
		return -1;
	}
	r = reach_new(args[0], error);
	code = r ? run_tests(r, error) : -1;
	reach_free(r);
	return code;
}

const struct cmd cmd_test = {
	.name = "test",
	.args = "[LAB]",
	.summary = "Run the lab's own tests",
	.help = "Each of the lab file's \"tests\" runs its command in its VM, up to 16 at once, and\n"
		"is judged by its exit status and output. The report is TAP version 13, in the order of\n"
		"the file; a test that fails shows its command, its output and its hint. The exit\n"
		"status is 0 if all have passed.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run_test,
};
