/* SPDX-License-Identifier: MIT */
/* orchestrator ssh: the system's ssh, told how to reach a VM. */
#include "cmd.h"

#include <errno.h>
#include <unistd.h>

#include "cmd/reach.h"
#include "err.h"
#include "model/names.h"

static char *opt_lab;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	G_OPTION_ENTRY_NULL,
};

static int become_ssh(const char *config, char **args, GError **error)
{
	g_autoptr(GPtrArray) words = g_ptr_array_new();
	char option[] = "-F", program[] = "ssh";
	g_autofree char *file = g_strdup(config);

	g_ptr_array_add(words, program);
	g_ptr_array_add(words, option);
	g_ptr_array_add(words, file);
	for (; *args; args++)
		g_ptr_array_add(words, *args);
	g_ptr_array_add(words, NULL);
	execvp(program, (char **)words->pdata);
	err_set_errno(error, ORCH_ERROR_HOST_UNFIT, errno, "cannot run ssh");
	return -1;
}

static int run_ssh(char **args, GError **error)
{
	struct reach *r = reach_new(opt_lab, error);
	struct vm_paths *vm = r ? reach_vm(r, args[0], error) : NULL;
	int code = -1;

	if (vm && access(r->paths->ssh_config, R_OK) == 0)
		code = become_ssh(r->paths->ssh_config, args, error);
	else if (vm)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "lab %s is down: `orchestrator up` starts it", r->lab_name);
	vm_paths_free(vm);
	reach_free(r);
	return code;
}

const struct cmd cmd_ssh = {
	.name = "ssh",
	.args = "VM [ARG...]",
	.summary = "Run ssh to a VM, over its sockets",
	.help = "What follows the VM is ssh's: its options and the command. The lab's ssh_config says\n"
		"how every VM is reached; programs like rsync take it by themselves:\n"
		"\n"
		"    rsync -e 'orchestrator ssh' -a src/ n1:src/\n"
		"\n"
		"The guest needs an ssh server that listens on its loopback interface; a network it\n"
		"does not need.",
	.options = options,
	.min_args = 1,
	.max_args = 4096,
	.arg = CMD_ARG_VM,
	.ours_first = true,
	.run = run_ssh,
};
