/* SPDX-License-Identifier: MIT */
/* orchestrator up: make what runs what the lab file says, and see it through. */
#include "cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <glib-unix.h>

#include "cmd/duration.h"
#include "cmd/progress.h"
#include "cmd/qemu_build.h"
#include "cmd/reach.h"
#include "err.h"
#include "host/caps.h"
#include "model/lab.h"
#include "out.h"
#include "plan/plan.h"
#include "run/client.h"
#include "run/json.h"
#include "run/supervisor.h"

#define TIMEOUT_UNSAID "5m"
#define STATUS_MS      10000

static gboolean opt_no_wait, opt_dry_run;
static char *opt_timeout;
static int opt_jobs;

static const GOptionEntry options[] = {
	{ "timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout,
	  "Give up waiting after that time (" TIMEOUT_UNSAID "; 0: never)", "TIME" },
	{ "jobs", 'j', 0, G_OPTION_ARG_INT, &opt_jobs, "Boot at most N VMs at a time (all)", "N" },
	{ "no-wait", 0, 0, G_OPTION_ARG_NONE, &opt_no_wait, "Return when the VMs are being started",
	  NULL },
	{ "dry-run", 'n', 0, G_OPTION_ARG_NONE, &opt_dry_run, "Print the plan and do nothing",
	  NULL },
	G_OPTION_ENTRY_NULL,
};

struct up {
	struct lab *lab;
	struct lab_dirs *dirs;
	struct lab_paths *paths;
	struct progress *progress;
	struct client *client;
	gint64 begun_us;
	bool answered, interrupted, timed_out;
	struct json_object *result;
	GError *error;
};

/* --- before anything is started --------------------------------------------------------------------------- */

static void image_progress(void *data, enum image_stage stage, guint64 done, guint64 total,
			   const char *detail)
{
	static enum image_stage last = IMAGE_STAGE_COUNT;
	bool live = out_is_terminal(stderr);

	if (stage == IMAGE_STAGE_DONE)
		fputs(live ? "\r\033[K" : "", stderr);
	else if (live && total)
		fprintf(stderr, "\r\033[Kimage tiny: %s %s %3u%%", image_stage_name(stage), detail,
			(unsigned)(done * 100 / total));
	else if (live)
		fprintf(stderr, "\r\033[Kimage tiny: %s %s", image_stage_name(stage), detail);
	else if (stage != last)
		fprintf(stderr, "image tiny: %s %s\n", image_stage_name(stage), detail);
	last = stage;
	fflush(stderr);
}

static bool plan_has(const struct plan *plan, enum step_kind kind, const char *subject)
{
	for (guint i = 0; i < plan->steps->len; i++) {
		const struct step *step = plan_step(plan, i);

		if (step->kind == kind && (!subject || strcmp(step->subject, subject) == 0))
			return true;
	}
	return false;
}

/* One image on its way, in a thread of its own so that Ctrl-C is heard meanwhile. */
struct making {
	const struct lab_image *from;
	const char *cache_dir;
	bool done;
};

static void make_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
	const struct making *m = data;
	struct image *image = NULL;
	GError *error = NULL;

	if (launch_make_image(m->from, m->cache_dir, image_progress, cancellable, &image, &error))
		g_task_return_boolean(task, TRUE);
	else
		g_task_return_error(task, error);
	image_free(image);
}

static void made(GObject *source, GAsyncResult *result, gpointer data)
{
	((struct making *)data)->done = true;
}

static gboolean cancel(gpointer p)
{
	g_cancellable_cancel(p);
	return G_SOURCE_CONTINUE;
}

static gboolean prepare_image(const struct up *up, const struct lab_image *from, GError **error)
{
	struct making m = { .from = from, .cache_dir = up->dirs->cache };
	g_autoptr(GCancellable) cancellable = g_cancellable_new();
	g_autoptr(GTask) task = g_task_new(NULL, cancellable, made, &m);
	guint interrupt = g_unix_signal_add(SIGINT, cancel, cancellable);
	guint terminate = g_unix_signal_add(SIGTERM, cancel, cancellable);

	/* An error of the work itself says more than "it was cancelled". */
	g_task_set_check_cancellable(task, FALSE);
	g_task_set_task_data(task, &m, NULL);
	g_task_run_in_thread(task, make_in_thread);
	while (!m.done)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	return g_task_propagate_boolean(task, error);
}

/* The images that the plan wants, made here, where a person can see it and stop it. */
static gboolean prepare_images(const struct up *up, const struct plan *plan, GError **error)
{
	for (guint i = 0; i < up->lab->images->len; i++) {
		const struct lab_image *image = up->lab->images->pdata[i];

		if (plan_has(plan, STEP_IMAGE, image->name) && !prepare_image(up, image, error))
			return FALSE;
	}
	return TRUE;
}

/* Before the clock of --timeout runs, which is for VMs. */
static gboolean prepare_qemu(struct up *up, const struct plan *plan, GError **error)
{
	for (guint i = 0; i < up->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(up->lab, i);

		if (!plan_has(plan, STEP_VM_START, vm->name) || !qemu_build_is_due(vm, up->dirs))
			continue;
		if (!qemu_build(error))
			return FALSE;
		up->begun_us = g_get_monotonic_time();
		return TRUE;
	}
	return TRUE;
}

/* Said once, and only when a VM is to be started: TCG is slower, and nobody should wonder why. */
static void say_tcg(const struct up *up, const struct plan *plan, const struct launch_caps *caps)
{
	for (guint i = 0; i < up->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(up->lab, i);

		if (vm->accel != LAB_ACCEL_AUTO || launch_qemu(caps, vm)->kvm_usable ||
		    !plan_has(plan, STEP_VM_START, vm->name))
			continue;
		out_info(
			"KVM cannot be used here: the VMs run under TCG, slower (`orchestrator doctor` says why)");
		return;
	}
}

static struct plan *plan_now(const struct up *up, GError **error)
{
	struct observed *observed = NULL;
	struct plan *plan;

	if (!client_observe(up->lab->name, &observed, error))
		return NULL;
	plan = plan_make(up->lab, observed, PLAN_DEFAULT);
	observed_free(observed);
	return plan;
}

static gboolean prepare(struct up *up, GError **error)
{
	struct launch_caps *caps = g_new0(struct launch_caps, 1);
	struct plan *plan = plan_now(up, error);
	gboolean good = plan && prepare_qemu(up, plan, error) &&
			launch_check(up->lab, up->dirs, caps, error) &&
			prepare_images(up, plan, error);

	if (good)
		say_tcg(up, plan, caps);
	launch_caps_free(caps);
	plan_free(plan);
	return good;
}

static int dry_run(const struct up *up, GError **error)
{
	struct plan *plan = plan_now(up, error);
	g_autofree char *text = plan ? plan_format(plan) : NULL;

	if (!plan)
		return -1;
	fputs(text, stdout);
	plan_free(plan);
	return 0;
}

/* --- waiting ---------------------------------------------------------------------------------------------- */

static void on_event(struct json_object *event, void *data)
{
	progress_event(((struct up *)data)->progress, event);
}

static void on_answer(struct json_object *result, const GError *error, void *data)
{
	struct up *up = data;

	up->answered = true;
	up->result = json_object_get(result);
	up->error = error ? g_error_copy(error) : NULL;
}

static gboolean on_signal(gpointer p)
{
	((struct up *)p)->interrupted = true;
	return G_SOURCE_CONTINUE;
}

static gboolean on_timeout(gpointer p)
{
	((struct up *)p)->timed_out = true;
	return G_SOURCE_CONTINUE;
}

static void wait_for_answer(struct up *up, gint64 timeout_ms)
{
	guint interrupt = g_unix_signal_add(SIGINT, on_signal, up);
	guint terminate = g_unix_signal_add(SIGTERM, on_signal, up);
	gint64 left = timeout_ms - (g_get_monotonic_time() - up->begun_us) / 1000;
	guint timer = timeout_ms ? g_timeout_add((guint)MAX(left, 1), on_timeout, up) : 0;

	while (!up->answered && !up->interrupted && !up->timed_out)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	if (timer)
		g_source_remove(timer);
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static int report_interrupt(const struct up *up)
{
	const char *name = up->lab->name;

	out_info(
		"interrupted; the lab goes on booting. Look: orchestrator status %s; stop it: orchestrator down %s",
		name, name);
	return ORCH_ERROR_INTERRUPTED;
}

/* Who is to blame, what was waited for, and what it said last. */
static int report_timeout(const struct up *up)
{
	g_autofree char *waited = out_elapsed(g_get_monotonic_time() - up->begun_us);

	for (guint i = 0; i < up->progress->rows->len; i++) {
		const struct progress_row *row =
			&g_array_index(up->progress->rows, struct progress_row, i);
		g_autofree char *last = progress_last_line(row), *waits_for = NULL;

		if (row->stage == STAGE_READY)
			continue;
		waits_for = reach_waits_for(up->lab->name, row->name);
		out_error("%s is not ready after %s: at stage %s it waits for %s%s%s%s", row->name,
			  waited, stage_word(row->stage),
			  waits_for ? waits_for : ladder_waits_for(row->stage),
			  last ? "; its last console line: \"" : "", last ? last : "",
			  last ? "\"" : "");
		if (row->stage != STAGE_PLANNED)
			out_info(
				"  look further: orchestrator console -l %s %s, orchestrator logs -l %s %s",
				up->lab->name, row->name, up->lab->name, row->name);
	}
	out_info("the lab is kept; stop it: orchestrator down %s", up->lab->name);
	return ORCH_ERROR_TIMEOUT;
}

/* "n1", or for what is no VM "image tiny", "network lan". */
static int report_failures(const struct up *up, struct json_object *failed)
{
	int64_t ready = json_int(up->result, "ready", 0);
	int code = ORCH_ERROR_FAILED;

	for (size_t i = 0; i < json_object_array_length(failed); i++) {
		struct json_object *o = json_object_array_get_idx(failed, i);

		out_error("%s: %s", json_str(o, "subject"), json_str(o, "text"));
		if (i == 0)
			code = (int)json_int(o, "exit", ORCH_ERROR_FAILED);
	}
	if (json_flag(up->result, "down", false)) {
		client_wait_gone(up->client);
		out_info("nothing was left running; logs: %s", up->paths->state_dir);
		return code;
	}
	out_info("the rest of lab %s is kept: orchestrator status %s", up->lab->name,
		 up->lab->name);
	return ready > 0 ? ORCH_ERROR_PARTIAL : code;
}

static int report_result(const struct up *up)
{
	struct json_object *failed = json_member(up->result, "failed", json_type_array);
	struct json_object *held = json_member(up->result, "held", json_type_array);
	struct json_object *portals = json_member(up->result, "held-portals", json_type_array);
	bool changed = json_flag(up->result, "changed", false);
	g_autofree char *took = out_elapsed(g_get_monotonic_time() - up->begun_us);

	for (size_t i = 0; held && i < json_object_array_length(held); i++) {
		const char *vm = json_object_get_string(json_object_array_get_idx(held, i));

		out_info("%s runs with its old settings: orchestrator restart -l %s %s", vm,
			 up->lab->name, vm);
	}
	for (size_t i = 0; portals && i < json_object_array_length(portals); i++)
		out_info(
			"portal %s keeps its old settings while machines have it: stop them, then `orchestrator up`",
			json_object_get_string(json_object_array_get_idx(portals, i)));
	if (failed && json_object_array_length(failed) > 0)
		return report_failures(up, failed);
	if (changed)
		out_info("lab %s: %u VM%s ready after %s", up->lab->name, up->lab->vms->len,
			 up->lab->vms->len == 1 ? "" : "s", took);
	else
		out_info("lab %s: nothing to do, %u VM%s ready", up->lab->name, up->lab->vms->len,
			 up->lab->vms->len == 1 ? "" : "s");
	return 0;
}

/* --- the verb --------------------------------------------------------------------------------------------- */

static struct json_object *apply_params(const struct up *up)
{
	struct json_object *params = json_object_new_object();

	json_put_str(params, "lab", up->lab->path);
	if (opt_jobs > 0)
		json_put_int(params, "jobs", opt_jobs);
	return params;
}

static int start_only(struct up *up, GError **error)
{
	struct json_object *params = apply_params(up);

	json_put_bool(params, "wait", false);
	if (!client_call(up->client, "apply", params, -1, NULL, error))
		return -1;
	out_info("lab %s is being started: orchestrator status %s", up->lab->name, up->lab->name);
	return 0;
}

static int start_and_wait(struct up *up, gint64 timeout_ms, GError **error)
{
	auto_json status = NULL;

	up->client->event = on_event;
	up->client->data = up;
	/* In this order: what is told meanwhile is older than the status, which replaces it. */
	if (!client_call(up->client, "subscribe", NULL, STATUS_MS, NULL, error) ||
	    !client_call(up->client, "status", NULL, STATUS_MS, &status, error))
		return -1;
	rpc_client_call(up->client->rpc, "apply", apply_params(up), on_answer, up);
	progress_begin(up->progress, status);
	wait_for_answer(up, timeout_ms);
	progress_end(up->progress);
	if (up->interrupted && !up->answered)
		return report_interrupt(up);
	if (!up->answered)
		return report_timeout(up);
	if (up->error) {
		g_propagate_error(error, g_steal_pointer(&up->error));
		if (up->client->lost)
			g_prefix_error(
				error,
				"the supervisor has ended, what it started goes on (see %s; `orchestrator up` "
				"takes it over): ",
				up->paths->supervisor_log);
		return -1;
	}
	return report_result(up);
}

static int go(struct up *up, gint64 timeout_ms, GError **error)
{
	up->begun_us = g_get_monotonic_time();
	up->dirs = lab_dirs_new();
	up->paths = lab_paths_new(up->lab, up->dirs);
	if (opt_dry_run)
		return dry_run(up, error);
	if (!prepare(up, error))
		return -1;
	up->client = client_start(up->lab->name, error);
	if (!up->client)
		return -1;
	up->progress = progress_new(up->lab, up->paths);
	return opt_no_wait ? start_only(up, error) : start_and_wait(up, timeout_ms, error);
}

static int run_up(char **args, GError **error)
{
	const char *timeout = opt_timeout ? opt_timeout : TIMEOUT_UNSAID;
	struct up up = { 0 };
	gint64 timeout_ms;
	int code;

	if (!duration_parse(timeout, &timeout_ms)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--timeout=%s: a time like 90s or 5m", timeout);
		return -1;
	}
	if (opt_jobs < 0) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--jobs=%d: a number of VMs",
			    opt_jobs);
		return -1;
	}
	if (!cmd_load_source(args[0], &up.lab, error))
		return -1;
	code = go(&up, timeout_ms, error);
	progress_free(up.progress);
	client_free(up.client);
	lab_paths_free(up.paths);
	lab_dirs_free(up.dirs);
	lab_free(up.lab);
	json_object_put(up.result);
	g_clear_error(&up.error);
	return code;
}

const struct cmd cmd_up = {
	.name = "up",
	.args = "[LAB]",
	.summary = "Start a lab, or make what runs what its file says",
	.help = "Starts the switches and VMs that are missing, each VM when those it is \"after\" are\n"
		"ready, stops those that the file no longer has, and waits until every VM is ready.\n"
		"Run again, it does what has changed since, or nothing. A VM that runs and whose\n"
		"settings changed is told, not restarted.\n"
		"\n"
		"The lab outlives this command: Ctrl-C, and giving up after --timeout, leave it\n"
		"running. If everything fails and nothing of the lab ran before, nothing is left\n"
		"running.\n"
		"\n"
		"Exits with 0 when all are ready, 3 for a wrong lab file, 4 if the host lacks\n"
		"something, 5 on timeout, 6 if only some VMs are ready, 7 if another lab or process\n"
		"is in the way, 130 on Ctrl-C.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run_up,
};
