/* SPDX-License-Identifier: MIT */
/* orchestrator: turns a lab file into running virtual machines.
 *
 * This file is the list of verbs.  What a verb is, and what they share, is in cmd.h.
 */
#include "cmd.h"

extern const struct cmd cmd_validate, cmd_plan, cmd_up, cmd_down, cmd_status, cmd_console, cmd_logs,
	cmd_start, cmd_stop, cmd_restart, cmd_shutdown, cmd_wait, cmd_exec, cmd_shell, cmd_cp,
	cmd_ssh, cmd_vsock_connect, cmd_forward, cmd_attach, cmd_detach, cmd_link, cmd_capture,
	cmd_stats, cmd_test, cmd_render, cmd_import, cmd_schema, cmd_doctor, cmd_gc, cmd_completion,
	cmd_supervise, cmd_complete;

/* In the order of `orchestrator --help`: as one needs them. */
static const struct cmd *const verbs[] = {
	&cmd_validate,  &cmd_plan,          &cmd_up,      &cmd_down,   &cmd_status,
	&cmd_console,   &cmd_logs,          &cmd_start,   &cmd_stop,   &cmd_restart,
	&cmd_shutdown,  &cmd_wait,          &cmd_exec,    &cmd_shell,  &cmd_cp,
	&cmd_ssh,       &cmd_vsock_connect, &cmd_forward, &cmd_attach, &cmd_detach,
	&cmd_link,      &cmd_capture,       &cmd_stats,   &cmd_test,   &cmd_render,
	&cmd_import,    &cmd_schema,        &cmd_doctor,  &cmd_gc,     &cmd_completion,
	&cmd_supervise, &cmd_complete,      NULL,
};

int main(int argc, char **argv)
{
	return cmd_main(verbs, argc, argv);
}
