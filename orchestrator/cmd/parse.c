/* SPDX-License-Identifier: MIT */
/* From argv and the environment to one verb's run(): options, help, version. */
#include "cmd.h"

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "host/caps.h"
#include "model/errors.h"
#include "model/names.h"
#include "out.h"

/* Where the explanations of options begin. */
#define OPTION_COLUMN 26

static const struct cmd *const *verbs;

const struct cmd *const *cmd_table(void)
{
	return verbs;
}

const struct cmd *cmd_find(const char *name)
{
	for (unsigned i = 0; verbs[i]; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

/* --- help ------------------------------------------------------------------------------------------------- */

static void option_line(GString *s, const GOptionEntry *o)
{
	g_autoptr(GString) left = g_string_new(NULL);

	if (o->short_name)
		g_string_append_printf(left, "  -%c, ", o->short_name);
	else
		g_string_append(left, "      ");
	g_string_append_printf(left, "--%s", o->long_name);
	if (o->arg_description)
		g_string_append_printf(left, "=%s", o->arg_description);
	g_string_append_printf(s, "%-*s %s\n", OPTION_COLUMN, left->str, o->description);
}

char *cmd_env_name(const struct cmd *cmd, const char *option)
{
	g_autofree char *text = strcmp(option, "lab") == 0 ?
					g_strdup("ORCHESTRATOR_LAB") :
					g_strdup_printf("ORCHESTRATOR_%s_%s", cmd->name, option);
	char *name = g_ascii_strup(text, -1);

	return g_strdelimit(name, "-", '_');
}

char *cmd_help_text(const struct cmd *cmd)
{
	static const GOptionEntry help = { "help", 'h', 0, 0, NULL, "Print this text", NULL };
	GString *s = g_string_new(NULL);
	const GOptionEntry *o = cmd->options;

	g_string_append_printf(s, "Usage: orchestrator %s [OPTION...]%s%s\n\n%s.\n", cmd->name,
			       *cmd->args ? " " : "", cmd->args, cmd->summary);
	if (cmd->help)
		g_string_append_printf(s, "\n%s\n", cmd->help);
	g_string_append(s, "\nOptions:\n");
	for (; o && o->long_name; o++)
		if (!(o->flags & G_OPTION_FLAG_HIDDEN))
			option_line(s, o);
	option_line(s, &help);
	if (cmd->options && cmd->options->long_name) {
		g_autofree char *name = cmd_env_name(cmd, cmd->options->long_name);

		g_string_append_printf(
			s, "\nEach option can also be given by a variable: --%s by %s.\n",
			cmd->options->long_name, name);
	}
	return g_string_free(s, FALSE);
}

static void print_verbs(FILE *stream)
{
	fputs("Usage: orchestrator VERB [OPTION...] [ARGUMENT...]\n\n"
	      "Turns a lab file into running virtual machines.\n\nVerbs:\n",
	      stream);
	for (unsigned i = 0; verbs[i]; i++)
		if (!verbs[i]->hidden)
			fprintf(stream, "  %-13s %s\n", verbs[i]->name, verbs[i]->summary);
	fputs("\nA LAB is a lab file or the name of a lab; unsaid it is ./lab.json, else the only one that runs.\n"
	      "`orchestrator VERB --help` tells more, orchestrator(1) and lab(5) all of it.\n",
	      stream);
}

static int print_version(void)
{
	struct lab_dirs *dirs = lab_dirs_new();
	g_autoptr(GError) error = NULL;
	struct qemu_caps *caps = NULL;

	puts("orchestrator " VHOST_LAB_VERSION);
	if (qemu_caps_probe("x86_64", dirs->cache, &caps, &error))
		printf("QEMU %s (%s)\n", caps->version, caps->binary);
	else
		printf("QEMU not usable: %s\n", error->message);
	qemu_caps_free(caps);
	lab_dirs_free(dirs);
	return 0;
}

/* --- options ---------------------------------------------------------------------------------------------- */

/* A switch from a variable: 1 on, 0 off, -1 nonsense. */
static int switch_value(const char *text)
{
	static const char *const on[] = { "1", "yes", "true", "on" };
	static const char *const off[] = { "", "0", "no", "false", "off" };

	for (size_t i = 0; i < G_N_ELEMENTS(on); i++)
		if (g_ascii_strcasecmp(text, on[i]) == 0)
			return 1;
	for (size_t i = 0; i < G_N_ELEMENTS(off); i++)
		if (g_ascii_strcasecmp(text, off[i]) == 0)
			return 0;
	return -1;
}

/* The words that the environment says, as if they stood first on the command line; --lab is cmd_find_lab()'s. */
static gboolean words_of_environment(const struct cmd *cmd, GPtrArray *words, GError **error)
{
	const GOptionEntry *o = cmd->options;

	for (; o && o->long_name; o++) {
		g_autofree char *name = cmd_env_name(cmd, o->long_name);
		const char *value = getenv(name);
		int on;

		if (!value || strcmp(o->long_name, "lab") == 0)
			continue;
		if (o->arg != G_OPTION_ARG_NONE) {
			g_ptr_array_add(words, g_strdup_printf("--%s=%s", o->long_name, value));
			continue;
		}
		on = switch_value(value);
		if (on < 0) {
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "%s is \"%s\", not yes or no", name, value);
			return FALSE;
		}
		if (on)
			g_ptr_array_add(words, g_strdup_printf("--%s", o->long_name));
	}
	return TRUE;
}

/* What the command line says, without its options: the positional arguments. */
static gboolean parse_words(const struct cmd *cmd, int argc, char **argv, gboolean *ret_help,
			    GStrv *ret_args, GError **error)
{
	g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) problem = NULL;
	g_auto(GStrv) rest = NULL;
	gboolean help = FALSE;
	const GOptionEntry common[] = {
		{ "help", 'h', 0, G_OPTION_ARG_NONE, &help, NULL, NULL },
		G_OPTION_ENTRY_NULL,
	};

	g_ptr_array_add(words, g_strdup(cmd->name));
	if (!words_of_environment(cmd, words, error))
		return FALSE;
	for (int i = 2; i < argc; i++)
		g_ptr_array_add(words, g_strdup(argv[i]));
	g_ptr_array_add(words, NULL);
	rest = (GStrv)g_ptr_array_steal(words, NULL);
	g_option_context_set_help_enabled(context, FALSE);
	g_option_context_set_strict_posix(context, cmd->ours_first);
	g_option_context_add_main_entries(context, common, NULL);
	if (cmd->options)
		g_option_context_add_main_entries(context, cmd->options, NULL);
	if (!g_option_context_parse_strv(context, &rest, &problem)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "%s (`orchestrator %s --help` lists the options)", problem->message,
			    cmd->name);
		return FALSE;
	}
	/* "--" before positional arguments stays in the list. */
	*ret_args = g_strdupv(rest + (rest[1] && strcmp(rest[1], "--") == 0 ? 2 : 1));
	*ret_help = help;
	return TRUE;
}

static gboolean check_count(const struct cmd *cmd, char **args, GError **error)
{
	unsigned n = g_strv_length(args);

	if (n >= cmd->min_args && n <= cmd->max_args)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "%s (usage: orchestrator %s [OPTION...]%s%s)",
		    n < cmd->min_args ? "an argument is missing" : "too many arguments", cmd->name,
		    *cmd->args ? " " : "", cmd->args);
	return FALSE;
}

static int run_verb(const struct cmd *cmd, int argc, char **argv, GError **error)
{
	g_auto(GStrv) args = NULL;
	gboolean help = FALSE;

	if (cmd->raw)
		return cmd->run(argv + 2, error);
	if (!parse_words(cmd, argc, argv, &help, &args, error))
		return -1;
	if (help) {
		g_autofree char *text = cmd_help_text(cmd);

		fputs(text, stdout);
		return 0;
	}
	return check_count(cmd, args, error) ? cmd->run(args, error) : -1;
}

static int unknown_verb(const char *name)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	struct lab_errors *search = lab_errors_new("");
	const char *near;

	for (unsigned i = 0; verbs[i]; i++)
		if (!verbs[i]->hidden)
			g_ptr_array_add(names, (gpointer)(uintptr_t)verbs[i]->name);
	near = lab_errors_nearest(search, name, (const char *const *)names->pdata, names->len);
	if (near)
		out_error("there is no verb \"%s\" (did you mean \"%s\"?)", name, near);
	else
		out_error("there is no verb \"%s\"; `orchestrator --help` lists them", name);
	lab_errors_free(search);
	return ORCH_ERROR_USAGE;
}

static int finish(int code, GError *error)
{
	g_autoptr(GError) own = error;
	g_autoptr(GError) write_error = NULL;

	if (code < 0) {
		out_error("%s", own->message);
		code = err_exit_code(own);
	}
	if (!out_finish(&write_error)) {
		out_error("%s", write_error->message);
		code = code ? code : ORCH_ERROR_FAILED;
	}
	return code;
}

/* A standard descriptor that is closed would become the number of the first thing that is opened.  What is put in its place
 * fails as it does. */
static void hold_standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int cmd_main(const struct cmd *const *table, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct cmd *cmd;
	GError *error = NULL;
	int code;

	verbs = table;
	hold_standard_descriptors();
	setlocale(LC_CTYPE, "");
	if (!name) {
		print_verbs(stderr);
		return ORCH_ERROR_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
	    (strcmp(name, "help") == 0 && argc == 2)) {
		print_verbs(stdout);
		return finish(0, NULL);
	}
	if (strcmp(name, "--version") == 0)
		return finish(print_version(), NULL);
	if (strcmp(name, "help") == 0) {
		char *help_argv[] = { argv[0], argv[2], (char[]){ "--help" }, NULL };

		return cmd_main(table, 3, help_argv);
	}
	cmd = cmd_find(name);
	if (!cmd)
		return unknown_verb(name);
	code = run_verb(cmd, argc, argv, &error);
	return finish(code, error);
}
