/* SPDX-License-Identifier: MIT */
/* orchestrator wait: until a VM is ready, or something in it is. */
#include "cmd.h"

#include <stdlib.h>

#include "agent/client/ask.h"
#include "agent/client/session.h"
#include "cmd/duration.h"
#include "cmd/reach.h"
#include "cmd/stage.h"
#include "err.h"
#include "model/names.h"
#include "run/json.h"

#define TIMEOUT_UNSAID "5m"
#define AGAIN_MS       200   /* between attempts to reach an agent */
#define MARGIN_MS      10000 /* the agent's answer takes its way, too */
#define FOR_EVER_MS    ((gint64)7 * 24 * 3600 * 1000)

static char *opt_lab, *opt_timeout, *opt_file, *opt_command;
static int opt_port;
static gboolean opt_ready;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "ready", 'r', 0, G_OPTION_ARG_NONE, &opt_ready,
	  "Until the VM is ready (as when nothing is said)", NULL },
	{ "file", 'f', 0, G_OPTION_ARG_STRING, &opt_file, "Until that file exists in the guest",
	  "PATH" },
	{ "port", 'p', 0, G_OPTION_ARG_INT, &opt_port,
	  "Until somebody listens on that TCP port of the guest", "PORT" },
	{ "command", 'c', 0, G_OPTION_ARG_STRING, &opt_command,
	  "Until that command of the guest's shell succeeds", "CMD" },
	{ "timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout,
	  "Give up after that time (" TIMEOUT_UNSAID "; 0: never)", "TIME" },
	G_OPTION_ENTRY_NULL,
};

static enum stage_verdict until_ready(enum stage stage)
{
	if (stage == STAGE_READY)
		return STAGE_THERE;
	return stage == STAGE_STOPPED || stage == STAGE_FAILED ? STAGE_NEVER : STAGE_NOT_YET;
}

static struct json_object *shell_command(void)
{
	struct json_object *argv = json_object_new_array();

	json_object_array_add(argv, json_object_new_string("/bin/sh"));
	json_object_array_add(argv, json_object_new_string("-c"));
	json_object_array_add(argv, json_object_new_string(opt_command));
	return argv;
}

static struct json_object *condition(gint64 timeout_ms)
{
	struct json_object *body = json_object_new_object();

	json_put_str(body, "file", opt_file);
	if (opt_port)
		json_put_int(body, "port", opt_port);
	if (opt_command)
		json_object_object_add(body, "command", shell_command());
	json_put_int(body, "timeout-ms", timeout_ms);
	return body;
}

static gint64 left_ms(gint64 deadline_us)
{
	return deadline_us ? MAX((deadline_us - g_get_monotonic_time()) / 1000, 0) : FOR_EVER_MS;
}

/* One attempt; *ret_answered: an agent was there, so that the error is its last word. */
static gboolean ask_agent(const struct link_address *address, gint64 deadline_us,
			  bool *ret_answered, GError **error)
{
	struct agent_session *s = agent_session_new(address, NULL, NULL, error);
	gint64 left = left_ms(deadline_us);
	gboolean good;

	*ret_answered = false;
	if (!s)
		return FALSE;
	good = agent_ask(s, AGENT_WAIT, condition(left), (int)(left + MARGIN_MS), NULL, error);
	/* A guest that reboots takes its agent along: that is no answer. */
	*ret_answered = good || (error && (*error)->domain == AGENT_REFUSAL);
	agent_session_free(s);
	return good;
}

static gboolean runs(const struct reach *r, const char *vm)
{
	g_autofree char *word = reach_stage(r, vm);

	return word && until_ready(stage_from_word(word)) != STAGE_NEVER;
}

static gboolean await_condition(const struct reach *r, const char *vm,
				const struct link_address *address, gint64 deadline_us,
				GError **error)
{
	for (;;) {
		g_autoptr(GError) problem = NULL;
		bool answered, over;

		if (ask_agent(address, deadline_us, &answered, &problem))
			return TRUE;
		over = left_ms(deadline_us) == 0;
		if (answered || over || !runs(r, vm)) {
			int code = over ? ORCH_ERROR_TIMEOUT : agent_exit_code(problem);

			if (!answered)
				reach_explain(r, vm, &problem);
			g_set_error(error, ORCH_ERROR, code, "%s: %s", vm, problem->message);
			return FALSE;
		}
		g_usleep(AGAIN_MS * 1000ul);
	}
}

static gboolean check_options(gint64 *ret_ms, GError **error)
{
	int n = !!opt_file + !!opt_port + !!opt_command;

	if (!duration_parse(opt_timeout ? opt_timeout : TIMEOUT_UNSAID, ret_ms))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--timeout=%s: a time like 90s or 5m", opt_timeout);
	else if (n > 1)
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "one of --file, --port and --command");
	else if (opt_port < 0 || opt_port > 65535)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--port=%d: 1 to 65535", opt_port);
	else
		return TRUE;
	return FALSE;
}

static gboolean await_all(const struct reach *r, const char *word, gint64 deadline_us,
			  GError **error)
{
	bool in_guest = opt_file || opt_port || opt_command;
	struct vm_paths *paths = NULL;
	struct link_address address;
	gboolean good;

	if (!cmd_check_vm(r->lab_name, word, error))
		return FALSE;
	if ((opt_ready || !in_guest) && !stage_await(r, word, until_ready, deadline_us, error))
		return FALSE;
	if (!in_guest)
		return TRUE;
	paths = reach_vm(r, word, error);
	if (!paths)
		return FALSE;
	address = reach_agent(r, paths);
	good = await_condition(r, word, &address, deadline_us, error);
	vm_paths_free(paths);
	return good;
}

static int run_wait(char **args, GError **error)
{
	gint64 timeout_ms, deadline_us;
	struct reach *r;
	gboolean good;

	if (!check_options(&timeout_ms, error))
		return -1;
	r = reach_new(opt_lab, error);
	if (!r)
		return -1;
	deadline_us = timeout_ms ? g_get_monotonic_time() + timeout_ms * 1000 : 0;
	good = await_all(r, args[0], deadline_us, error);
	reach_free(r);
	return good ? 0 : -1;
}

const struct cmd cmd_wait = {
	.name = "wait",
	.args = "VM",
	.summary = "Wait until a VM is ready, or something in it is",
	.help = "Without an option, until it is ready as `up` waits for it. With --file, --port or\n"
		"--command until that holds in the guest, whose agent looks for it; together with\n"
		"--ready, both. A VM that is being started is waited for, one that has stopped or\n"
		"failed ends the waiting.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_wait,
};
