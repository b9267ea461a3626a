/* SPDX-License-Identifier: MIT */
/* orchestrator completion: the scripts that make a shell ask `orchestrator __complete`. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include "err.h"

static const char bash[] =
	"# bash completion of orchestrator: `source <(orchestrator completion bash)`\n"
	"_orchestrator() {\n"
	"\tlocal cur words cword\n"
	"\tif declare -F _get_comp_words_by_ref >/dev/null; then\n"
	"\t\t_get_comp_words_by_ref -n =: cur words cword\n"
	"\telse\n"
	"\t\twords=(\"${COMP_WORDS[@]}\") cword=$COMP_CWORD\n"
	"\tfi\n"
	"\tlocal IFS=$'\\n'\n"
	"\tCOMPREPLY=($(\"${words[0]}\" __complete \"${words[@]:1:cword}\" 2>/dev/null))\n"
	"\t[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null\n"
	"\treturn 0\n"
	"}\n"
	"# Where nothing is offered, files are: labs are named by their files, too.\n"
	"complete -o default -F _orchestrator orchestrator\n";

static const char zsh[] =
	"#compdef orchestrator\n"
	"# zsh completion of orchestrator: `source <(orchestrator completion zsh)`\n"
	"_orchestrator() {\n"
	"\tlocal -a found\n"
	"\tfound=(${(f)\"$(${words[1]} __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	"\tlocal -a plain=(${found:#*=}) valued=(${(M)found:#*=})\n"
	"\t(( $#plain )) && compadd -- $plain\n"
	"\t(( $#valued )) && compadd -S '' -- $valued\n"
	"\t(( $#found )) || _files\n"
	"}\n"
	"# As a file of $fpath this is the function's first call itself, sourced it is not.\n"
	"if [[ ${funcstack[1]} == _orchestrator ]]; then\n"
	"\t_orchestrator \"$@\"\n"
	"else\n"
	"\tcompdef _orchestrator orchestrator\n"
	"fi\n";

static const char fish[] =
	"# fish completion of orchestrator: `orchestrator completion fish | source`\n"
	"function __orchestrator_complete\n"
	"\tset -l words (commandline -opc) (commandline -ct)\n"
	"\t$words[1] __complete $words[2..-1] 2>/dev/null\n"
	"end\n"
	"complete -c orchestrator -a '(__orchestrator_complete)'\n";

static int run_completion(char **args, GError **error)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++) {
		if (strcmp(args[0], scripts[i].shell) != 0)
			continue;
		fputs(scripts[i].script, stdout);
		return 0;
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "no completion for \"%s\": bash, zsh or fish", args[0]);
	return -1;
}

const struct cmd cmd_completion = {
	.name = "completion",
	.args = "SHELL",
	.summary = "Print the completion script of bash, zsh or fish",
	.help = "Completes verbs, options, and the names of labs, VMs and networks that there are:\n"
		"\n"
		"    source <(orchestrator completion bash)",
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_SHELL,
	.run = run_completion,
};
