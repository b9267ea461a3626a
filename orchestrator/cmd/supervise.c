/* SPDX-License-Identifier: MIT */
/* orchestrator supervise: the lab's own process.  Started by `up` and `down`, not by people. */
#include "cmd.h"

#include "err.h"
#include "model/names.h"
#include "run/supervisor.h"

static int opt_client_fd = -1;

static const GOptionEntry options[] = {
	{ "client-fd", 0, 0, G_OPTION_ARG_INT, &opt_client_fd, "The first client's connection",
	  "N" },
	G_OPTION_ENTRY_NULL,
};

static int run_supervise(char **args, GError **error)
{
	if (names_valid(args[0]))
		return supervise(args[0], opt_client_fd);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "\"%s\" is no name of a lab", args[0]);
	return -1;
}

const struct cmd cmd_supervise = {
	.name = "supervise",
	.args = "NAME",
	.summary = "Keep a lab (started by `up`)",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_OTHER,
	.hidden = true,
	.run = run_supervise,
};
