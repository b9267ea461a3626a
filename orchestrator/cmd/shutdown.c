/* SPDX-License-Identifier: MIT */
/* orchestrator shutdown: VMs end as their own system ends them. */
#include "cmd.h"

#include "agent/client/ask.h"
#include "agent/client/session.h"
#include "cmd/duration.h"
#include "cmd/reach.h"
#include "cmd/stage.h"
#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/client.h"
#include "run/json.h"

#define TIMEOUT_UNSAID "1m"
#define ANSWER_MS      20000
#define MARGIN_MS      10000

static char *opt_lab, *opt_timeout;
static gboolean opt_reboot, opt_no_wait;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "reboot", 'r', 0, G_OPTION_ARG_NONE, &opt_reboot, "Let them boot again", NULL },
	{ "timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout,
	  "Give up waiting after that time (" TIMEOUT_UNSAID ")", "TIME" },
	{ "no-wait", 0, 0, G_OPTION_ARG_NONE, &opt_no_wait, "Return when they have been asked",
	  NULL },
	G_OPTION_ENTRY_NULL,
};

/* By the agent: every service in the guest is ended first. */
static gboolean ask_agent(const struct reach *r, const char *vm, GError **error)
{
	struct vm_paths *paths = reach_vm(r, vm, error);
	struct json_object *body = json_object_new_object();
	struct agent_session *s = NULL;
	struct link_address address;
	gboolean good = FALSE;

	json_put_str(body, "how", opt_reboot ? "reboot" : "poweroff");
	if (paths) {
		address = reach_agent(r, paths);
		s = agent_session_new(&address, NULL, NULL, error);
	}
	if (s)
		good = agent_ask(s, AGENT_SHUTDOWN, json_object_get(body), ANSWER_MS, NULL, error);
	json_object_put(body);
	agent_session_free(s);
	vm_paths_free(paths);
	return good;
}

/* By the power button, which the supervisor presses. */
static gboolean press_button(const struct reach *r, const char *vm, gint64 grace_ms, GError **error)
{
	struct client *c = client_connect(r->lab_name, NULL);
	struct json_object *params;
	gboolean good;

	if (!c) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "neither an agent in %s nor a supervisor of lab %s answers", vm,
			    r->lab_name);
		return FALSE;
	}
	params = json_object_new_object();
	json_put_str(params, "vm", vm);
	json_put_int(params, "grace-ms", grace_ms);
	good = client_call(c, "vm.stop", params, (int)(grace_ms + MARGIN_MS), NULL, error);
	client_free(c);
	return good;
}

static enum stage_verdict until_ended(enum stage stage)
{
	return stage >= STAGE_STOPPED || stage == STAGE_PLANNED ? STAGE_THERE : STAGE_NOT_YET;
}

static gboolean runs(const struct reach *r, const char *vm)
{
	g_autofree char *word = reach_stage(r, vm);

	return word && until_ended(stage_from_word(word)) == STAGE_NOT_YET;
}

/* True: it has been asked, or pressed; *ret_asked says which. */
static gboolean begin(const struct reach *r, const char *vm, gint64 timeout_ms, bool *ret_asked,
		      GError **error)
{
	g_autoptr(GError) problem = NULL;

	if (!cmd_check_vm(r->lab_name, vm, error))
		return FALSE;
	if (!runs(r, vm)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "VM %s does not run", vm);
		return FALSE;
	}
	*ret_asked = ask_agent(r, vm, &problem);
	if (*ret_asked)
		return TRUE;
	if (opt_reboot) {
		g_propagate_prefixed_error(error, g_steal_pointer(&problem), "%s: ", vm);
		return FALSE;
	}
	out_info("%s: %s; pressing its power button", vm, problem->message);
	return press_button(r, vm, timeout_ms, error);
}

static gboolean finish(const struct reach *r, const char *vm, gint64 deadline_us, GError **error)
{
	if (opt_no_wait || opt_reboot)
		return TRUE;
	if (!stage_await(r, vm, until_ended, deadline_us, error))
		return FALSE;
	out_info("%s has shut down", vm);
	return TRUE;
}

/* All are asked before any is waited for. */
static int shut_down(const struct reach *r, char **vms, gint64 timeout_ms)
{
	gint64 deadline_us = g_get_monotonic_time() + timeout_ms * 1000;
	unsigned n = g_strv_length(vms), n_failed = 0;
	g_autofree bool *asked = g_new0(bool, n);
	int code = 0;

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < n; i++) {
			g_autoptr(GError) error = NULL;
			gboolean good = round == 0 ?
						begin(r, vms[i], timeout_ms, &asked[i], &error) :
						!asked[i] || finish(r, vms[i], deadline_us, &error);

			if (good)
				continue;
			out_error("%s", error->message);
			code = agent_exit_code(error);
			n_failed++;
		}
	}
	return n_failed && n_failed < n ? ORCH_ERROR_PARTIAL : code;
}

static int run_shutdown(char **args, GError **error)
{
	struct reach *r;
	gint64 timeout_ms;
	int code;

	if (!duration_parse(opt_timeout ? opt_timeout : TIMEOUT_UNSAID, &timeout_ms)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--timeout=%s: a time like 90s or 5m", opt_timeout);
		return -1;
	}
	r = reach_new(opt_lab, error);
	if (!r)
		return -1;
	code = shut_down(r, args, timeout_ms);
	reach_free(r);
	return code;
}

const struct cmd cmd_shutdown = {
	.name = "shutdown",
	.args = "VM...",
	.summary = "Shut VMs down as their own system does, or reboot them",
	.help = "The agent in each guest ends what runs there and powers it off; where none answers,\n"
		"the supervisor presses the power button, as `stop` does. It waits until they have\n"
		"ended; one that has not in time goes on, `stop` ends it. `start` or `up` starts them\n"
		"again.",
	.options = options,
	.min_args = 1,
	.max_args = LAB_VMS_MAX,
	.arg = CMD_ARG_VM,
	.run = run_shutdown,
};
