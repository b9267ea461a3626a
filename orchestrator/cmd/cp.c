/* SPDX-License-Identifier: MIT */
/* orchestrator cp: files and trees between this host and guests. */
#include "cmd.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <glib-unix.h>

#include "agent/client/transfer.h"
#include "cmd/bar.h"
#include "cmd/reach.h"
#include "err.h"
#include "model/names.h"
#include "out.h"

#define REDRAW_MS 100

static char *opt_lab, *opt_user;
static gboolean opt_recursive, opt_quiet;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "user", 'u', 0, G_OPTION_ARG_STRING, &opt_user,
	  "In the VMs with the rights of that user (root)", "USER" },
	{ "recursive", 'r', 0, G_OPTION_ARG_NONE, &opt_recursive,
	  "Nothing: directories are always copied whole", NULL },
	{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &opt_quiet, "Show no progress", NULL },
	G_OPTION_ENTRY_NULL,
};

/* A word of the command line as an end of a copy; what it points to lives as long as this. */
struct place {
	struct target target;
	struct vm_paths *paths;
	struct transfer_end end;
};

static void place_done(struct place *p)
{
	target_clear(&p->target);
	vm_paths_free(p->paths);
}

static gboolean place_init(struct place *p, const struct reach *r, const char *word, GError **error)
{
	size_t n = target_prefix(word);
	g_autofree char *vm = g_strndup(word, n);

	*p = (struct place){ .end.path = n ? word + n + 1 : word };
	if (n == 0)
		return TRUE;
	if (!target_parse(vm, &p->target, error))
		return FALSE;
	p->paths = reach_vm(r, p->target.vm, error);
	if (!p->paths)
		return FALSE;
	p->end.vm = p->target.vm;
	p->end.distro = p->target.distro;
	p->end.address = reach_agent(r, p->paths);
	p->end.user = opt_user;
	if (*p->end.path)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "%s: a path is missing", word);
	return FALSE;
}

/* --- one copy --------------------------------------------------------------------------------------------- */

struct copying {
	struct transfer *transfer;
	bool interrupted;
};

static gboolean on_interrupt(gpointer p)
{
	struct copying *c = p;

	c->interrupted = true;
	transfer_cancel(c->transfer);
	return G_SOURCE_CONTINUE;
}

static gboolean on_redraw(gpointer p)
{
	return G_SOURCE_CONTINUE;
}

static gboolean run_transfer(struct copying *c, struct bar *bar,
			     const struct transfer_end **ret_unreached, GError **error)
{
	guint interrupt = g_unix_signal_add(SIGINT, on_interrupt, c);
	guint terminate = g_unix_signal_add(SIGTERM, on_interrupt, c);
	guint hangup = g_unix_signal_add(SIGHUP, on_interrupt, c);
	guint redraw = g_timeout_add(REDRAW_MS, on_redraw, c);
	struct copy_report report = { 0 };
	gboolean good;

	while (!transfer_done(c->transfer)) {
		struct copy_report so_far = transfer_so_far(c->transfer);

		bar_draw(bar, so_far.bytes);
		g_main_context_iteration(NULL, TRUE);
	}
	good = transfer_result(c->transfer, &report, ret_unreached, error);
	bar_end(bar, report.bytes, good);
	if (report.skipped)
		out_warning("%s: %" PRIu64 " sockets, devices and the like were left out",
			    bar->what, report.skipped);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	g_source_remove(hangup);
	g_source_remove(redraw);
	return good;
}

static gboolean copy_one(const struct reach *r, const char *word, const struct transfer_end *to,
			 GError **error)
{
	const struct transfer_end *unreached = NULL;
	struct copying c = { 0 };
	gboolean good = FALSE;
	struct place from;
	struct bar bar;

	if (!place_init(&from, r, word, error)) {
		place_done(&from);
		return FALSE;
	}
	if (!from.end.vm && !to->vm) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "neither is in a guest: VM:PATH is wanted on one side");
		place_done(&from);
		return FALSE;
	}
	bar_init(&bar, word, from.end.vm ? NULL : from.end.path, opt_quiet);
	c.transfer = transfer_new(&from.end, to, &unreached, error);
	if (c.transfer)
		good = run_transfer(&c, &bar, &unreached, error);
	transfer_free(c.transfer);
	if (unreached)
		reach_explain(r, unreached->vm, error);
	place_done(&from);
	return good;
}

/* --- the verb --------------------------------------------------------------------------------------------- */

/* Where several go, or the word says so, there has to be a directory: a guest's end is asked for what is in it. */
static gboolean check_directory(const struct transfer_end *to, const char *word, unsigned n_sources,
				GError **error)
{
	if (n_sources == 1 || to->vm || g_file_test(to->path, G_FILE_TEST_IS_DIR))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "%s is no directory, for %u sources", word,
		    n_sources);
	return FALSE;
}

static int copy_all(const struct reach *r, char **words, unsigned n, GError **error)
{
	g_autofree char *inside = NULL;
	unsigned n_failed = 0;
	struct place to;
	int code = 0;

	if (!place_init(&to, r, words[n], error) || !check_directory(&to.end, words[n], n, error)) {
		place_done(&to);
		return -1;
	}
	/* Of a guest's directory only the guest knows whether it is one. */
	if (n > 1 && to.end.vm) {
		inside = g_strdup_printf("%s/.", to.end.path);
		to.end.path = inside;
	}
	for (unsigned i = 0; i < n && code != ORCH_ERROR_INTERRUPTED; i++) {
		g_autoptr(GError) problem = NULL;

		if (copy_one(r, words[i], &to.end, &problem))
			continue;
		code = err_exit_code(problem);
		out_error("%s: %s", words[i], problem->message);
		n_failed++;
	}
	place_done(&to);
	if (code != ORCH_ERROR_INTERRUPTED && n_failed && n_failed < n)
		return ORCH_ERROR_PARTIAL;
	return code;
}

static int run_cp(char **args, GError **error)
{
	struct reach *r = reach_new(opt_lab, error);
	int code = r ? copy_all(r, args, g_strv_length(args) - 1, error) : -1;

	reach_free(r);
	return code;
}

const struct cmd cmd_cp = {
	.name = "cp",
	.args = "SRC... DST",
	.summary = "Copy files and directories between this host and VMs, or between VMs",
	.help = "A place in a VM is VM[/DISTRO]:PATH, everything else is a file of this host (one\n"
		"whose name looks like a place is written ./NAME). Into a directory that is there a\n"
		"copy goes under its own name; DIR/. means what is in it:\n"
		"\n"
		"    orchestrator cp build/app n1:/usr/bin/\n"
		"    orchestrator cp n1:/var/log logs\n"
		"    orchestrator cp n1:/etc/hosts n2:/etc/hosts\n"
		"\n"
		"Directories are copied whole, links as links, holes as holes, with modes and times.\n"
		"Each file has its hash compared and is in its place whole or not at all, also when\n"
		"the copy is interrupted.",
	.options = options,
	.min_args = 2,
	.max_args = 4096,
	.arg = CMD_ARG_PLACE,
	.run = run_cp,
};
