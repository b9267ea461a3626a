/* SPDX-License-Identifier: MIT */
/* orchestrator exec: run a program in a VM, or in many at once. */
#include "cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/attached.h"
#include "cmd/many.h"
#include "cmd/prefix.h"
#include "cmd/reach.h"
#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/json.h"

static char *opt_lab, *opt_user, *opt_dir, *opt_vms;
static char **opt_env;
static gboolean opt_tty, opt_all, opt_json;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "tty", 't', 0, G_OPTION_ARG_NONE, &opt_tty, "Give the program a terminal", NULL },
	{ "user", 'u', 0, G_OPTION_ARG_STRING, &opt_user, "Run as that user of the guest (root)",
	  "USER" },
	{ "dir", 'w', 0, G_OPTION_ARG_STRING, &opt_dir, "Start in that directory (the user's home)",
	  "DIR" },
	{ "env", 'e', 0, G_OPTION_ARG_STRING_ARRAY, &opt_env,
	  "Set a variable, NAME=VALUE; may be repeated", "VAR" },
	{ "all", 'a', 0, G_OPTION_ARG_NONE, &opt_all, "In every VM of the lab that has sockets",
	  NULL },
	{ "vms", 'n', 0, G_OPTION_ARG_STRING, &opt_vms, "In these VMs, separated by commas",
	  "LIST" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Print one JSON object per VM, when it has ended", NULL },
	G_OPTION_ENTRY_NULL,
};

/* --- in many ---------------------------------------------------------------------------------------------- */

struct together {
	struct prefix *prefix; /* NULL: JSON */
	GPtrArray *jobs;
};

/* What a job's lines have no end of yet, by stream. */
struct tails {
	GString *line[2];
};

static struct tails *tails_of(struct many_job *job)
{
	struct tails *t = job->data;

	if (!t) {
		t = g_new(struct tails, 1);
		t->line[0] = g_string_new(NULL);
		t->line[1] = g_string_new(NULL);
		job->data = t;
	}
	return t;
}

static void tails_free(struct many_job *job)
{
	struct tails *t = g_steal_pointer(&job->data);

	if (!t)
		return;
	g_string_free(t->line[0], TRUE);
	g_string_free(t->line[1], TRUE);
	g_free(t);
}

static size_t on_output(struct many_job *job, unsigned stream, const uint8_t *bytes, size_t len,
			void *data)
{
	struct together *t = data;

	return prefix_add(t->prefix, job->label, tails_of(job)->line[stream], stream, bytes, len);
}

static void on_room(void *data)
{
	many_resume(((struct together *)data)->jobs);
}

static void on_done(struct many_job *job, void *data)
{
	struct together *t = data;

	for (unsigned i = 0; i < 2; i++)
		prefix_end(t->prefix, job->label, tails_of(job)->line[i], i);
	tails_free(job);
}

/* Text as text; what is not UTF-8 as base64. */
static void put_output(struct json_object *o, const char *key, const GByteArray *bytes)
{
	g_autofree char *base64_key = g_strdup_printf("%s-base64", key);
	g_autofree char *base64 = NULL;

	if (bytes->len == 0) {
		json_put_str(o, key, "");
		return;
	}
	if (g_utf8_validate_len((const char *)bytes->data, bytes->len, NULL)) {
		json_object_object_add(o, key,
				       json_object_new_string_len((const char *)bytes->data,
								  (int)bytes->len));
		return;
	}
	base64 = g_base64_encode(bytes->data, bytes->len);
	json_put_str(o, base64_key, base64);
}

static void print_json(struct many_job *job, void *data)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "vm", job->target.vm);
	json_put_str(o, "distro", job->target.distro);
	json_put_int(o, "code", job->end.code);
	if (job->end.signal)
		json_put_int(o, "signal", job->end.signal);
	put_output(o, "stdout", job->output[0]);
	put_output(o, "stderr", job->output[1]);
	if (job->dropped[0] || job->dropped[1])
		json_put_int(o, "dropped-bytes", (int64_t)(job->dropped[0] + job->dropped[1]));
	if (job->error)
		json_put_str(o, "error", job->error->message);
	out_json_line(o);
}

/* One status for all: theirs if they agree. */
static int common_code(const GPtrArray *jobs)
{
	const struct many_job *first = jobs->pdata[0];

	for (guint i = 0; i < jobs->len; i++) {
		const struct many_job *job = jobs->pdata[i];

		if (job->error && jobs->len == 1)
			return job->end.code;
		if (job->error || job->end.code != first->end.code)
			return ORCH_ERROR_PARTIAL;
	}
	return first->end.code;
}

static void tell_errors(const GPtrArray *jobs)
{
	for (guint i = 0; i < jobs->len; i++) {
		const struct many_job *job = jobs->pdata[i];

		if (job->error)
			out_error("%s: %s", job->label, job->error->message);
		else if (job->end.code != 0 && jobs->len > 1)
			out_info("%s: exit status %d", job->label, job->end.code);
	}
}

static int with_prefixes(const struct reach *r, GPtrArray *jobs, GError **error)
{
	static const struct many_ops ops = { .output = on_output, .done = on_done };
	struct together t = { .jobs = jobs };
	unsigned width = 0;
	int left, err;

	for (guint i = 0; i < jobs->len; i++)
		width = MAX(width, (unsigned)strlen(((struct many_job *)jobs->pdata[i])->label));
	t.prefix = prefix_new(width, on_room, &t);
	left = many_run(r, jobs, MANY_AT_ONCE, &ops, &t);
	for (guint i = 0; i < jobs->len; i++)
		tails_free(jobs->pdata[i]);
	err = prefix_error(t.prefix);
	prefix_free(t.prefix);
	if (left)
		return 128 + left;
	tell_errors(jobs);
	if (!err)
		return common_code(jobs);
	err_set_errno(error, ORCH_ERROR_FAILED, err, "cannot write");
	return -1;
}

static int as_json(const struct reach *r, GPtrArray *jobs)
{
	static const struct many_ops ops = { .done = print_json };
	int left = many_run(r, jobs, MANY_AT_ONCE, &ops, NULL);

	return left ? 128 + left : common_code(jobs);
}

static GStrv all_vms(const struct reach *r, GError **error)
{
	g_autoptr(GStrvBuilder) list = g_strv_builder_new();
	GStrv words;

	for (guint i = 0; r->lab && i < r->lab->vms->len; i++)
		if (lab_vm(r->lab, i)->sockets != LAB_SOCKETS_NONE)
			g_strv_builder_add(list, lab_vm(r->lab, i)->name);
	words = g_strv_builder_end(list);
	if (*words)
		return words;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
		    r->lab ? "no VM of lab %s has sockets" :
			     "lab %s is down: `orchestrator up` starts it",
		    r->lab_name);
	g_strfreev(words);
	return NULL;
}

static int run_many(const struct reach *r, const char *const *words,
		    const struct exec_command *command, GError **error)
{
	g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func(many_job_free);

	for (; *words; words++) {
		struct many_job *job = many_job_new(r, *words, error);

		if (!job)
			return -1;
		job->command = *command;
		g_ptr_array_add(jobs, job);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	return opt_json ? as_json(r, jobs) : with_prefixes(r, jobs, error);
}

/* --- the verb --------------------------------------------------------------------------------------------- */

static gboolean check_env(GError **error)
{
	for (unsigned i = 0; opt_env && opt_env[i]; i++) {
		if (strchr(opt_env[i], '=') && opt_env[i][0] != '=')
			continue;
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--env=%s: NAME=VALUE is wanted",
			    opt_env[i]);
		return FALSE;
	}
	return TRUE;
}

/* They travel as JSON, which has no other text; what GLib's options take is UTF-8 already. */
static gboolean check_argv(const char *const *words, GError **error)
{
	for (; *words; words++) {
		g_autofree char *shown = NULL;

		if (g_utf8_validate(*words, -1, NULL))
			continue;
		shown = g_strescape(*words, NULL);
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_USAGE,
			"the argument \"%s\" is not UTF-8: other bytes go to the guest by standard input or `cp`",
			shown);
		return FALSE;
	}
	return TRUE;
}

/* 'bare': no "--" stands before the words, and what begins with "-" is no program. */
static gboolean check_usage(char **words, bool bare, GError **error)
{
	const char *problem = NULL;

	if (opt_all && opt_vms)
		problem = "either --all or --vms";
	else if (opt_tty && (opt_all || opt_vms || opt_json))
		problem = "--tty is for one VM, without --json";
	else if (!*words)
		problem = "which program? orchestrator exec VM -- CMD...";
	else if (bare && **words == '-')
		problem =
			"options of ours stand before the VM: orchestrator exec [OPTION...] VM -- CMD...";
	if (!problem)
		return check_env(error);
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE, problem);
	return FALSE;
}

static int run_in(const struct reach *r, const char *word, struct exec_command *command,
		  GError **error)
{
	const char *const one[] = { word, NULL };
	struct target target;
	int code;

	if (opt_json)
		return run_many(r, one, command, error);
	if (!target_parse(word, &target, error))
		return -1;
	command->input = true;
	command->tty = opt_tty;
	code = attached_run(r, &target, command, error);
	target_clear(&target);
	return code;
}

static int run_exec(char **args, GError **error)
{
	bool many = opt_all || opt_vms;
	const char *word = many ? NULL : *args++;
	char **words = *args && strcmp(*args, "--") == 0 ? args + 1 : args;
	struct exec_command command = {
		.argv = (const char *const *)words,
		.env = (const char *const *)opt_env,
		.cwd = opt_dir,
		.user = opt_user,
	};
	g_auto(GStrv) list = NULL;
	struct reach *r;
	int code;

	if (!check_usage(words, !many && words == args, error) || !check_argv(command.argv, error))
		return -1;
	r = reach_new(opt_lab, error);
	if (!r)
		return -1;
	list = many ? opt_all ? all_vms(r, error) : g_strsplit(opt_vms, ",", -1) : NULL;
	if (many)
		code = list ? run_many(r, (const char *const *)list, &command, error) : -1;
	else
		code = run_in(r, word, &command, error);
	reach_free(r);
	return code;
}

const struct cmd cmd_exec = {
	.name = "exec",
	.args = "VM[/DISTRO] -- CMD...",
	.summary = "Run a program in a VM, or in many at once",
	.help = "Its standard input, output and error are those of this command, its exit status is\n"
		"ours: 128 and the number of the signal that ended it, 127 if there is no such\n"
		"program. SIGINT and SIGTERM go to it. No shell is in between:\n"
		"\n"
		"    orchestrator exec n1 -- sh -c 'dmesg | tail'\n"
		"\n"
		"With --all or --vms the program runs in all of them at once, without input; each line\n"
		"has its VM before it. The exit status is theirs if they agree, else 6:\n"
		"\n"
		"    orchestrator exec --all -- uptime\n"
		"\n"
		"Options stand before the VM. It needs the agent in the guest, and says what is\n"
		"missing where none answers.",
	.options = options,
	.min_args = 1,
	.max_args = 4096,
	.arg = CMD_ARG_VM,
	.ours_first = true,
	.run = run_exec,
};
