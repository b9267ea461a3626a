/* SPDX-License-Identifier: MIT */
/* orchestrator __complete: what could stand at the cursor, one candidate a line, for the shells' completion.
 *
 * The arguments are the words of the command line behind "orchestrator", the last one being the one under the cursor.  All
 * it says comes from the table of verbs and from the labs that there are; it never fails aloud.
 */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include "cmd/render_form.h"
#include "model/fields.h"
#include "model/lab.h"
#include "run/dirs.h"
#include "run/state.h"

static void offer(const char *prefix, const char *word)
{
	if (g_str_has_prefix(word, prefix))
		puts(word);
}

static void offer_verbs(const char *prefix)
{
	const struct cmd *const *verbs = cmd_table();

	for (unsigned i = 0; verbs[i]; i++)
		if (!verbs[i]->hidden)
			offer(prefix, verbs[i]->name);
	offer(prefix, "--help");
	offer(prefix, "--version");
}

static void offer_options(const struct cmd *cmd, const char *prefix)
{
	const GOptionEntry *o = cmd->options;

	for (; o && o->long_name; o++) {
		g_autofree char *word = g_strdup_printf("--%s%s", o->long_name,
							o->arg == G_OPTION_ARG_NONE ? "" : "=");

		offer(prefix, word);
	}
	offer(prefix, "--help");
}

static void offer_labs(const char *prefix)
{
	struct lab_dirs *dirs = lab_dirs_new();
	g_autoptr(GPtrArray) labs = dirs_labs(dirs);

	for (guint i = 0; i < labs->len; i++)
		offer(prefix, labs->pdata[i]);
	lab_dirs_free(dirs);
}

/* The lab that the words mean: "-l X", "-lX", "--lab X", "--lab=X"; NULL: none is said. */
static const char *lab_said(char **words)
{
	const char *lab = NULL;

	for (unsigned i = 0; words[i] && words[i + 1]; i++) {
		if (strcmp(words[i], "-l") == 0 || strcmp(words[i], "--lab") == 0)
			lab = words[i + 2] ? words[i + 1] : lab;
		else if (g_str_has_prefix(words[i], "--lab="))
			lab = words[i] + strlen("--lab=");
		else if (g_str_has_prefix(words[i], "-l"))
			lab = words[i] + strlen("-l");
	}
	return lab;
}

/* The lab meant, silently; the running copy where the lab is named or unsaid, else the file. */
static struct lab *load(const char *arg)
{
	struct cmd_lab_ref ref = { 0 };
	struct lab_errors *errors = NULL;
	struct lab_dirs *dirs;
	struct lab_paths *paths;
	struct lab *lab = NULL;

	if (!cmd_find_lab(arg, &ref, NULL))
		return NULL;
	dirs = lab_dirs_new();
	paths = ref.name ? lab_paths_new_named(ref.name, dirs) : NULL;
	if (!lab_load(paths ? paths->lab_json : ref.path, dirs, &lab, &errors))
		lab_errors_free(errors);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	cmd_lab_ref_clear(&ref);
	return lab;
}

static void offer_members(char **words, const char *prefix, bool networks)
{
	struct lab *lab = load(lab_said(words));

	for (guint i = 0; lab && i < lab->vms->len; i++)
		offer(prefix, lab_vm(lab, i)->name);
	for (guint i = 0; networks && lab && i < lab->networks->len; i++)
		offer(prefix, lab_network(lab, i)->name);
	for (guint i = 0; networks && lab && i < lab->portals->len; i++)
		offer(prefix, lab_portal(lab, i)->name);
	if (networks) {
		offer(prefix, "sockets");
		offer(prefix, "supervisor");
	}
	lab_free(lab);
}

/* "n1:": what follows is the guest's. */
static void offer_places(char **words, const char *prefix)
{
	struct lab *lab = load(lab_said(words));

	for (guint i = 0; lab && i < lab->vms->len; i++) {
		g_autofree char *word = g_strdup_printf("%s:", lab_vm(lab, i)->name);

		offer(prefix, word);
	}
	lab_free(lab);
}

/* Whether one of these is among the words before the cursor; if not, they are offered. */
static bool said_or_offered(char **words, const char *prefix, const char *const *verbs)
{
	for (unsigned i = 0; words[i] && words[i + 1]; i++)
		if (g_strv_contains(verbs, words[i]))
			return true;
	for (unsigned i = 0; verbs[i]; i++)
		offer(prefix, verbs[i]);
	return false;
}

/* add, rm or list; then a VM or a network. */
static void offer_forward(char **words, const char *prefix)
{
	static const char *const verbs[] = { "add", "rm", "remove", "list", NULL };

	if (said_or_offered(words, prefix, verbs))
		offer_members(words, prefix, false);
}

static void offer_uplinks(const struct network *n, const char *prefix)
{
	for (guint i = 0; i < n->uplinks->len; i++) {
		g_autofree char *word =
			g_strdup_printf("%s:%s", n->name, network_uplink(n, i)->port);

		offer(prefix, word);
	}
}

static void offer_guests(char **words, const char *prefix);

/* Each VM of one NIC by its name, each NIC of the others, uplinks and guests. */
static void offer_links(char **words, const char *prefix)
{
	struct lab *lab = load(lab_said(words));

	for (guint i = 0; lab && i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		if (vm->nics->len == 1)
			offer(prefix, vm->name);
		for (guint j = 0; vm->nics->len > 1 && j < vm->nics->len; j++)
			offer(prefix, vm_nic(vm, j)->port);
	}
	for (guint i = 0; lab && i < lab->networks->len; i++)
		offer_uplinks(lab_network(lab, i), prefix);
	lab_free(lab);
	offer_guests(words, prefix);
}

static void offer_profiles(char **words, const char *prefix)
{
	struct lab *lab = load(lab_said(words));

	for (guint i = 0; lab && i < lab->profiles->len; i++)
		offer(prefix, ((const struct named *)lab->profiles->pdata[i])->name);
	lab_free(lab);
}

/* "delay=": the keys of an impairment. */
static void offer_keys(const char *prefix)
{
	for (const struct field *f = field_next(&field_impairment, NULL); f;
	     f = field_next(&field_impairment, f)) {
		g_autofree char *word =
			g_strdup_printf("%s%s", f->key, f->kind == FIELD_OBJECT ? "." : "=");

		offer(prefix, word);
	}
}

/* What `link` does, then a link, then what is to hold. */
static void offer_link_words(char **words, const char *prefix)
{
	static const char *const verbs[] = { "list",  "show", "set", "profile",
					     "reset", "down", "up",  NULL };
	const char *verb = NULL;
	unsigned after = 0;

	if (!said_or_offered(words, prefix, verbs))
		return;
	for (unsigned i = 0; words[i] && words[i + 1]; i++) {
		if (strcmp(words[i], "-l") == 0 || strcmp(words[i], "--lab") == 0)
			i++; /* what follows is its own */
		else if (verb && words[i][0] != '-')
			after++;
		else if (g_strv_contains(verbs, words[i]))
			verb = words[i];
	}
	if (!verb || strcmp(verb, "list") == 0)
		return;
	if (after == 0)
		offer_links(words, prefix);
	else if (strcmp(verb, "set") == 0)
		offer_keys(prefix);
	else if (strcmp(verb, "profile") == 0)
		offer_profiles(words, prefix);
}

/* A form, then a lab, then a VM of it. */
static void offer_forms(char **words, const char *prefix)
{
	struct lab *lab = NULL;
	const char *said[3];
	unsigned n = 0;

	for (unsigned i = 1; words[i] && words[i + 1] && n < G_N_ELEMENTS(said); i++)
		if (words[i][0] != '-')
			said[n++] = words[i];
	for (unsigned i = 0; n == 0 && render_forms[i]; i++)
		offer(prefix, render_forms[i]->name);
	if (n == 1)
		offer_labs(prefix);
	if (n == 2)
		lab = load(said[1]);
	for (guint i = 0; lab && i < lab->vms->len; i++)
		offer(prefix, lab_vm(lab, i)->name);
	lab_free(lab);
}

/* Of the lab as its supervisor has written it down. */
static void offer_guests(char **words, const char *prefix)
{
	struct lab *lab = load(lab_said(words));
	struct state *state = lab ? cmd_state(lab->name) : NULL;

	for (guint i = 0; state && i < state->guests->len; i++)
		offer(prefix, ((const struct state_guest *)state->guests->pdata[i])->name);
	state_free(state);
	lab_free(lab);
}

/* What an option of `attach` takes; false: it is none of those. */
static bool offer_value(const char *option, char **words, const char *prefix)
{
	bool network = strcmp(option, "--network") == 0 || strcmp(option, "-n") == 0;
	bool portal = strcmp(option, "--portal") == 0 || strcmp(option, "-p") == 0;
	struct lab *lab;

	if (strcmp(option, "--sockets") == 0 || strcmp(option, "-s") == 0) {
		offer(prefix, lab_sockets_name(LAB_SOCKETS_VSOCK));
		return true;
	}
	if (strcmp(option, "--qmp") == 0 || strcmp(option, "-q") == 0)
		return true; /* a file: the shell's business */
	if (!network && !portal)
		return false;
	lab = load(lab_said(words));
	for (guint i = 0; network && lab && i < lab->networks->len; i++)
		offer(prefix, lab_network(lab, i)->name);
	for (guint i = 0; portal && lab && i < lab->portals->len; i++)
		offer(prefix, lab_portal(lab, i)->name);
	lab_free(lab);
	return true;
}

/* Whether a guest that is attached will do where a VM is wanted. */
static bool reaches_guests(const struct cmd *cmd)
{
	static const char *const verbs[] = { "exec", "shell", "ssh", "vsock-connect", NULL };

	return g_strv_contains(verbs, cmd->name);
}

static void offer_argument(const struct cmd *cmd, char **words, const char *prefix)
{
	switch (cmd->arg) {
	case CMD_ARG_LAB:
		offer_labs(prefix);
		break;
	case CMD_ARG_VM:
		offer_members(words, prefix, false);
		if (reaches_guests(cmd))
			offer_guests(words, prefix);
		break;
	case CMD_ARG_VM_OR_NET:
		offer_members(words, prefix, true);
		break;
	case CMD_ARG_PLACE:
		offer_places(words, prefix);
		break;
	case CMD_ARG_FORWARD:
		offer_forward(words, prefix);
		break;
	case CMD_ARG_LINK:
		if (strcmp(cmd->name, "link") == 0)
			offer_link_words(words, prefix);
		else
			offer_links(words, prefix);
		break;
	case CMD_ARG_SHELL:
		offer(prefix, "bash");
		offer(prefix, "zsh");
		offer(prefix, "fish");
		break;
	case CMD_ARG_FORM:
		offer_forms(words, prefix);
		break;
	case CMD_ARG_GUEST:
		offer_guests(words, prefix);
		break;
	case CMD_ARG_NONE:
	case CMD_ARG_OTHER:
		break;
	}
}

static int run_complete(char **args, GError **error)
{
	unsigned n = g_strv_length(args);
	const char *prefix = n ? args[n - 1] : "";
	const char *before = n > 1 ? args[n - 2] : "";
	const struct cmd *cmd = n > 1 ? cmd_find(args[0]) : NULL;

	if (n <= 1)
		offer_verbs(prefix);
	else if (!cmd)
		return 0;
	else if (strcmp(before, "-l") == 0 || strcmp(before, "--lab") == 0)
		offer_labs(prefix);
	else if (prefix[0] == '-')
		offer_options(cmd, prefix);
	else if (strcmp(cmd->name, "attach") != 0 || !offer_value(before, args, prefix))
		offer_argument(cmd, args, prefix);
	return 0;
}

const struct cmd cmd_complete = {
	.name = "__complete",
	.args = "[WORD...]",
	.summary = "What could stand at the cursor (for `completion`)",
	.max_args = 1000,
	.arg = CMD_ARG_OTHER,
	.raw = true,
	.hidden = true,
	.run = run_complete,
};
