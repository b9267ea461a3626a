/* SPDX-License-Identifier: MIT */
/* orchestrator shell: a login shell in a VM, on a terminal of its own. */
#include "cmd.h"

#include <unistd.h>

#include "agent/client/exec.h"
#include "cmd/attached.h"
#include "cmd/reach.h"

static char *opt_lab, *opt_user;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "user", 'u', 0, G_OPTION_ARG_STRING, &opt_user, "As that user of the guest (root)",
	  "USER" },
	G_OPTION_ENTRY_NULL,
};

/* The agent knows the user's shell, and tells it by $SHELL. */
static const char *const login[] = { "/bin/sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l", NULL };

static int run_shell(char **args, GError **error)
{
	struct exec_command command = {
		.argv = login,
		.user = opt_user,
		.input = true,
		.tty = isatty(STDIN_FILENO),
	};
	struct target target;
	struct reach *r;
	int code;

	if (!target_parse(args[0], &target, error))
		return -1;
	r = reach_new(opt_lab, error);
	code = r ? attached_run(r, &target, &command, error) : -1;
	reach_free(r);
	target_clear(&target);
	return code;
}

const struct cmd cmd_shell = {
	.name = "shell",
	.args = "VM[/DISTRO]",
	.summary = "Open a login shell in a VM",
	.help = "A terminal like any other: job control, Ctrl-C and the window's size are the guest's.\n"
		"`exit` leaves, and so does Ctrl-] typed three times within a second, whatever the guest\n"
		"does. If the standard input is no terminal, the shell reads its commands from it:\n"
		"\n"
		"    echo 'ip address' | orchestrator shell n1",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_shell,
};
