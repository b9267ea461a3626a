/* SPDX-License-Identifier: MIT */
/* A verb of the command line, and what verbs share: options, help, finding the lab that is meant.
 *
 * Each verb is one file in cmd/ that defines one 'const struct cmd cmd_VERB'; main.c lists them.  Everything a
 * person can learn about a verb is in that struct: parsing, `--help`, shell completion and the test that
 * compares the man page all read it.
 *
 * Options are GOptionEntry tables with static targets.  Every option --some-flag of verb VERB can be given by
 * the variable ORCHESTRATOR_VERB_SOME_FLAG (a switch: 1/yes/true or 0/no/false); --lab is ORCHESTRATOR_LAB for
 * all verbs.  The command line wins over the environment.
 */
#ifndef ORCH_CMD_H
#define ORCH_CMD_H

#include <stdbool.h>
#include <glib.h>

struct lab;
struct lab_paths;
struct state;

/* What a positional argument names: it steers completion only. */
enum cmd_arg {
	CMD_ARG_NONE,
	CMD_ARG_LAB,
	CMD_ARG_VM,
	CMD_ARG_VM_OR_NET,
	CMD_ARG_PLACE,   /* a file, or VM:PATH */
	CMD_ARG_FORWARD, /* what to do with one, then a VM or a network */
	CMD_ARG_LINK,    /* a plug of a switch; of `link` what to do with one before that */
	CMD_ARG_SHELL,
	CMD_ARG_FORM,  /* what `render` makes */
	CMD_ARG_GUEST, /* somebody else's QEMU that is attached */
	CMD_ARG_OTHER
};

struct cmd {
	const char *name;
	const char *
		args; /* positional arguments as shown in the usage line: "[LAB]", "VM"; "" = none */
	const char *summary; /* one line without a full stop */
	const char *help;    /* paragraphs of `--help` after the usage line, lines <= 80 columns */
	const GOptionEntry *options; /* ends with { NULL }; NULL: only --help */
	unsigned min_args, max_args;
	enum cmd_arg arg; /* what the first positional argument is */
	bool hidden;      /* not listed: for our own use */
	bool raw;         /* takes every word as it is: no options, not even --help */
	/* What follows the first positional argument is for somebody else: no option behind it is ours. */
	bool ours_first;
	/* Do it.  'args' are the positional arguments, NULL-terminated, their number already checked.
	 * Returns the exit code; or -1 with *error set, which the caller prints before it exits with the
	 * error's code. */
	int (*run)(char **args, GError **error);
};

/* Parse argv, find the verb in the NULL-terminated 'table', run it.  Returns the exit code. */
int cmd_main(const struct cmd *const *table, int argc, char **argv);
/* The table given to cmd_main(); the verb called 'name' or NULL. */
const struct cmd *const *cmd_table(void);
const struct cmd *cmd_find(const char *name);

/* The text of `orchestrator VERB --help`; caller frees. */
char *cmd_help_text(const struct cmd *cmd);
/* The name of the environment variable of an option; caller frees. */
char *cmd_env_name(const struct cmd *cmd, const char *option);

/* --- which lab -------------------------------------------------------------------------------------------- */

/* Where the lab that is meant was found.  Exactly one of the two is set. */
struct cmd_lab_ref {
	char *path; /* a lab file */
	char *name; /* the name of a lab that runs, or has left its state directory */
};
void cmd_lab_ref_clear(struct cmd_lab_ref *ref);

/* Decide which lab 'arg' means.  A file that exists, or anything with a '/' or ending in ".json", is a lab
 * file; anything else is the name of a lab with a state directory.  NULL: $ORCHESTRATOR_LAB, else ./lab.json
 * if it exists, else the only lab that runs.  Fails with ORCH_ERROR_USAGE and says what to write instead. */
gboolean cmd_find_lab(const char *arg, struct cmd_lab_ref *ret, GError **error);

/* cmd_find_lab(), then load and check the file: the one named, or the copy that a running lab was made from.
 * Every mistake in the file is printed on stderr, gcc-shaped; then *error is ORCH_ERROR_INVALID_LAB with a
 * message that counts them.  The caller frees the lab with lab_free(). */
gboolean cmd_load_lab(const char *arg, struct lab **ret, GError **error);

/* The same, but of a lab that is named, the file it came from as it is now: for `up`. */
gboolean cmd_load_source(const char *arg, struct lab **ret, GError **error);

/* cmd_find_lab(), then only the lab's name: for verbs that speak to a running lab.  A lab file that does not
 * parse is an error as above.  Caller frees. */
char *cmd_lab_name(const char *arg, GError **error);

/* The lab of that name as applied; NULL if there is none, or its copy is damaged.  Free with lab_free(). */
struct lab *cmd_applied_lab(const char *lab_name);
/* What its supervisor has written down of it; NULL if that is damaged.  Free with state_free(). */
struct state *cmd_state(const char *lab_name);

/* Whether the lab of that name, as applied, has that VM.  If not: ORCH_ERROR_USAGE, naming the nearest.  A lab that is
 * down, of which nobody knows the VMs, is no error here. */
gboolean cmd_check_vm(const char *lab_name, const char *vm, GError **error);

#endif
