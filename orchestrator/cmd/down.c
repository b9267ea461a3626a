/* SPDX-License-Identifier: MIT */
/* orchestrator down: take a lab down, and leave nothing but its logs. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/duration.h"
#include "err.h"
#include "model/names.h"
#include "out.h"
#include "run/client.h"
#include "run/dirs.h"
#include "run/json.h"
#include "run/state.h"

#define TIMEOUT_UNSAID "10s"
/* Beyond the guests' grace: QEMUs that must be killed, switches, files. */
#define MARGIN_MS 20000

static gboolean opt_cleanup, opt_all, opt_yes;
static char *opt_timeout;

static const GOptionEntry options[] = {
	{ "cleanup", 0, 0, G_OPTION_ARG_NONE, &opt_cleanup, "Remove the logs, too", NULL },
	{ "all", 0, 0, G_OPTION_ARG_NONE, &opt_all, "Every lab of this user", NULL },
	{ "yes", 'y', 0, G_OPTION_ARG_NONE, &opt_yes, "With --all: do not ask", NULL },
	{ "timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout,
	  "Let guests power off for so long (" TIMEOUT_UNSAID "; 0: do not ask them)", "TIME" },
	G_OPTION_ENTRY_NULL,
};

static gboolean call_down(struct client *c, gint64 grace_ms, GError **error)
{
	struct json_object *params = json_object_new_object();
	auto_json result = NULL;

	json_put_bool(params, "cleanup", opt_cleanup);
	json_put_int(params, "grace-ms", grace_ms);
	if (!client_call(c, "down", params, (int)grace_ms + MARGIN_MS, &result, error))
		return FALSE;
	client_wait_gone(c);
	if (json_str(result, "problem"))
		out_warning("%s", json_str(result, "problem"));
	if (json_str(result, "logs"))
		out_info("lab %s is down; its logs stay in %s (down --cleanup removes them)",
			 c->lab, json_str(result, "logs"));
	else
		out_info("lab %s is down, and nothing is left of it", c->lab);
	return TRUE;
}

/* Nothing runs: there are at most logs to remove. */
static void only_files(const char *name, const struct lab_dirs *dirs, const struct lab_paths *paths)
{
	bool there = access(paths->state_dir, F_OK) == 0;

	if (there && opt_cleanup) {
		(void)dirs_clear(dirs, paths, true);
		out_info("lab %s was down; its logs are removed", name);
	} else if (there) {
		out_info("lab %s is down; its logs stay in %s (down --cleanup removes them)", name,
			 paths->state_dir);
	} else {
		out_info("lab %s is down; there was nothing to do", name);
	}
}

/* Whether a supervisor is needed: one runs, or processes or files of one are left. */
static bool something_left(const struct lab_paths *paths)
{
	struct state *state = NULL;
	bool left;

	if (access(paths->sup_sock, F_OK) == 0 || access(paths->lab_json, F_OK) == 0)
		return true;
	if (!state_load(paths->state_json, &state, NULL))
		return true;
	left = state->lab != NULL;
	state_free(state);
	return left;
}

/* A supervisor does it; where there is none any more, a new one takes over what is left first. */
static gboolean down_one(const char *name, gint64 grace_ms, GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new_named(name, dirs);
	gboolean good = TRUE;

	if (something_left(paths)) {
		struct client *c = client_start(name, error);

		good = c && call_down(c, grace_ms, error);
		client_free(c);
	} else {
		only_files(name, dirs, paths);
	}
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return good;
}

static bool confirm(const GPtrArray *labs)
{
	char answer[16];

	for (guint i = 0; i < labs->len; i++)
		out_info("  %s", (const char *)labs->pdata[i]);
	fprintf(stderr, "Take %u lab%s down? [y/N] ", labs->len, labs->len == 1 ? "" : "s");
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int down_all(gint64 grace_ms, GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	g_autoptr(GPtrArray) labs = dirs_labs(dirs);
	int code = 0;

	lab_dirs_free(dirs);
	if (labs->len == 0) {
		out_info("there is no lab");
		return 0;
	}
	if (!opt_yes && !isatty(STDIN_FILENO)) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "--all needs --yes where nobody can be asked");
		return -1;
	}
	if (!opt_yes && !confirm(labs))
		return ORCH_ERROR_INTERRUPTED;
	for (guint i = 0; i < labs->len; i++) {
		g_autoptr(GError) problem = NULL;

		if (down_one(labs->pdata[i], grace_ms, &problem))
			continue;
		out_error("%s: %s", (const char *)labs->pdata[i], problem->message);
		code = code ? ORCH_ERROR_PARTIAL : err_exit_code(problem);
	}
	return code;
}

static int run_down(char **args, GError **error)
{
	const char *timeout = opt_timeout ? opt_timeout : TIMEOUT_UNSAID;
	g_autofree char *name = NULL;
	gint64 grace_ms;

	if (!duration_parse(timeout, &grace_ms)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--timeout=%s: a time like 90s or 5m", timeout);
		return -1;
	}
	if (opt_all && args[0]) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE, "either a LAB or --all");
		return -1;
	}
	if (opt_all)
		return down_all(grace_ms, error);
	name = cmd_lab_name(args[0], error);
	return name && down_one(name, grace_ms, error) ? 0 : -1;
}

const struct cmd cmd_down = {
	.name = "down",
	.args = "[LAB]",
	.summary = "Stop a lab: its VMs, its switches, its supervisor",
	.help = "Presses the power button of all VMs at once, ends those that do not power off in\n"
		"time, then the switches, and removes every socket and file that `up` made. Only the\n"
		"logs stay, and their place is said; --cleanup removes them, too.\n"
		"\n"
		"A lab whose supervisor was killed is taken over first, and then taken down.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run_down,
};
