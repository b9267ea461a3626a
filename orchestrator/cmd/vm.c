/* SPDX-License-Identifier: MIT */
/* orchestrator start, stop, restart: one VM of a lab that is up. */
#include "cmd.h"

#include "cmd/duration.h"
#include "err.h"
#include "out.h"
#include "run/client.h"
#include "run/json.h"

#define START_UNSAID "5m"
#define STOP_UNSAID  "10s"
/* Beyond the guest's grace: a QEMU that must be killed. */
#define MARGIN_MS 10000

static char *opt_lab, *opt_timeout, *opt_grace;

#define LAB_OPTION                                                                             \
	{                                                                                      \
		"lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" \
	}
#define TIMEOUT_OPTION                                                               \
	{                                                                            \
		"timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout,                \
			"Give up waiting after that time (" START_UNSAID ")", "TIME" \
	}
#define GRACE_OPTION                                                                               \
	{                                                                                          \
		"grace", 'g', 0, G_OPTION_ARG_STRING, &opt_grace,                                  \
			"Let the guest power off for so long (" STOP_UNSAID "; 0: do not ask it)", \
			"TIME"                                                                     \
	}

static const GOptionEntry start_options[] = { LAB_OPTION, TIMEOUT_OPTION, G_OPTION_ENTRY_NULL };
static const GOptionEntry stop_options[] = { LAB_OPTION, GRACE_OPTION, G_OPTION_ENTRY_NULL };
static const GOptionEntry restart_options[] = { LAB_OPTION, GRACE_OPTION, TIMEOUT_OPTION,
						G_OPTION_ENTRY_NULL };

static gboolean parse_time(const char *option, const char *given, const char *unsaid,
			   gint64 *ret_ms, GError **error)
{
	if (duration_parse(given ? given : unsaid, ret_ms))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--%s=%s: a time like 90s or 5m", option,
		    given);
	return FALSE;
}

/* A VM verb speaks to a supervisor that is there. */
static struct client *reach(const char *vm, GError **error)
{
	g_autofree char *name = cmd_lab_name(opt_lab, error);

	return name && cmd_check_vm(name, vm, error) ? client_require(name, error) : NULL;
}

static int call(const char *method, const char *vm, bool starts, const char *done, GError **error)
{
	struct json_object *params;
	gint64 timeout_ms, grace_ms;
	struct client *c;
	gboolean good;

	if (!parse_time("timeout", opt_timeout, START_UNSAID, &timeout_ms, error) ||
	    !parse_time("grace", opt_grace, STOP_UNSAID, &grace_ms, error))
		return -1;
	c = reach(vm, error);
	if (!c)
		return -1;
	params = json_object_new_object();
	json_put_str(params, "vm", vm);
	if (g_strcmp0(method, "vm.start") != 0)
		json_put_int(params, "grace-ms", grace_ms);
	timeout_ms = starts ? timeout_ms : grace_ms + MARGIN_MS;
	good = client_call(c, method, params, timeout_ms ? (int)timeout_ms : -1, NULL, error);
	if (good)
		out_info("%s %s", vm, done);
	else if (starts && error && g_error_matches(*error, ORCH_ERROR, ORCH_ERROR_TIMEOUT))
		g_prefix_error(error,
			       "%s is not ready (it goes on booting: orchestrator status %s): ", vm,
			       c->lab);
	client_free(c);
	return good ? 0 : -1;
}

static int run_start(char **args, GError **error)
{
	return call("vm.start", args[0], true, "is ready", error);
}

static int run_stop(char **args, GError **error)
{
	return call("vm.stop", args[0], false, "has stopped", error);
}

static int run_restart(char **args, GError **error)
{
	return call("vm.restart", args[0], true, "is ready again", error);
}

const struct cmd cmd_start = {
	.name = "start",
	.args = "VM",
	.summary = "Start a VM that was stopped or has failed",
	.help = "Waits until it is ready. The lab must be up; those the VM is \"after\" are not waited for.",
	.options = start_options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_start,
};

const struct cmd cmd_stop = {
	.name = "stop",
	.args = "VM",
	.summary = "Stop a VM; the rest of the lab goes on",
	.help = "Presses its power button, and ends its QEMU if it has not powered off in time. The\n"
		"next `up` starts it again.",
	.options = stop_options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_stop,
};

const struct cmd cmd_restart = {
	.name = "restart",
	.args = "VM",
	.summary = "Stop a VM and start it with the settings the lab has now",
	.help = "How changes of a running VM's memory, NICs or image take effect: after `up` has read\n"
		"the changed file. Waits until it is ready again.",
	.options = restart_options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_restart,
};
