/* SPDX-License-Identifier: MIT */
/* orchestrator logs: a VM's console, a switch's words, the supervisor's; once or as they come. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/logfile.h"
#include "run/watch.h"

#define LINE_MAX_SHOWN 4096

static char *opt_lab;
static gboolean opt_follow, opt_qemu;
static int opt_lines = -1;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "follow", 'f', 0, G_OPTION_ARG_NONE, &opt_follow, "Go on until Ctrl-C with what comes",
	  NULL },
	{ "lines", 'n', 0, G_OPTION_ARG_INT, &opt_lines, "Only the last N lines of what is there",
	  "N" },
	{ "qemu", 0, 0, G_OPTION_ARG_NONE, &opt_qemu,
	  "Of a VM: QEMU's own words, not the console's", NULL },
	G_OPTION_ENTRY_NULL,
};

struct tail {
	const char *path;
	int fd;
	off_t at;
	bool clean;    /* a terminal: nothing but text reaches it */
	GString *line; /* what has no end yet */
	bool stop;
	bool broken; /* nobody reads any more */
};

/* A guest's escape sequences could do anything to the terminal of whoever looks at its log. */
static void show(struct tail *t, const char *text, size_t len)
{
	const char *newline;

	if (!t->clean) {
		t->broken |= fwrite(text, 1, len, stdout) != len;
		return;
	}
	g_string_append_len(t->line, text, (gssize)len);
	while ((newline = memchr(t->line->str, '\n', t->line->len))) {
		gssize n = newline - t->line->str;
		g_autofree char *cleaned = logfile_clean(t->line->str, n, LINE_MAX_SHOWN);

		t->broken |= puts(cleaned) < 0;
		g_string_erase(t->line, 0, n + 1);
	}
}

static void show_new(struct tail *t)
{
	char chunk[16384];
	ssize_t n;

	if (logfile_size(t->path) < t->at)
		t->at = 0; /* it was cut: it begins anew */
	while ((n = pread(t->fd, chunk, sizeof(chunk), t->at)) > 0) {
		show(t, chunk, (size_t)n);
		t->at += n;
	}
	t->broken |= fflush(stdout) != 0;
}

/* Where the last n lines begin. */
static off_t last_lines(int fd, off_t size, int n)
{
	char chunk[16384];
	off_t at = size;
	int found = 0;

	while (at > 0) {
		off_t from = MAX(at - (off_t)sizeof(chunk), 0);
		ssize_t len = pread(fd, chunk, (size_t)(at - from), from);

		for (ssize_t i = len - 1; i >= 0; i--) {
			/* The newline at the very end belongs to the last line. */
			if (chunk[i] != '\n' || from + i == size - 1)
				continue;
			if (++found == n)
				return from + i + 1;
		}
		at = len > 0 ? from : 0;
	}
	return 0;
}

static void on_growth(void *data)
{
	struct tail *t = data;

	show_new(t);
	t->stop |= t->broken;
}

static gboolean on_signal(gpointer p)
{
	((struct tail *)p)->stop = true;
	return G_SOURCE_CONTINUE;
}

static gboolean follow(struct tail *t, GError **error)
{
	struct watch *w = watch_file(t->path, on_growth, t, error);
	guint interrupt, terminate;

	if (!w)
		return FALSE;
	interrupt = g_unix_signal_add(SIGINT, on_signal, t);
	terminate = g_unix_signal_add(SIGTERM, on_signal, t);
	on_growth(t); /* what came before the watch was there */
	while (!t->stop)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	watch_free(w);
	return TRUE;
}

static int show_log(const char *path, GError **error)
{
	struct tail t = { .path = path, .clean = isatty(STDOUT_FILENO) };
	gboolean good = TRUE;

	t.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (t.fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot read %s", path);
		return -1;
	}
	t.line = g_string_new(NULL);
	if (opt_lines == 0)
		t.at = logfile_size(path);
	else if (opt_lines > 0)
		t.at = last_lines(t.fd, logfile_size(path), opt_lines);
	show_new(&t);
	if (opt_follow)
		good = follow(&t, error);
	else if (t.line->len)
		show(&t, "\n", 1);
	g_string_free(t.line, TRUE);
	close(t.fd);
	return good ? 0 : -1;
}

/* Subjects are VMs before networks, and these before the daemon of sockets and portals; the supervisor is meant when nothing is
 * said. */
static char *path_of(const char *lab_name, const struct lab_paths *paths, const char *subject,
		     GError **error)
{
	struct portal_paths *portal;
	struct daemon_paths *net;
	struct vm_paths *vm;
	char *path;

	if (!subject || strcmp(subject, "supervisor") == 0)
		return g_strdup(paths->supervisor_log);
	net = net_paths_new(paths, subject);
	portal = portal_paths_new(paths, subject);
	vm = vm_paths_new(paths, subject, 0);
	if (access(vm->dir, F_OK) == 0)
		path = g_strdup(opt_qemu ? vm->qemu_log : vm->console_log);
	else if (access(net->dir, F_OK) == 0)
		path = g_strdup(net->log);
	else if (strcmp(subject, "sockets") == 0)
		path = g_strdup(paths->hvsock->log);
	else if (access(portal->daemon->dir, F_OK) == 0)
		path = g_strdup(portal->daemon->log);
	else
		path = cmd_check_vm(lab_name, subject, error) ? g_strdup(vm->console_log) : NULL;
	portal_paths_free(portal);
	daemon_paths_free(net);
	vm_paths_free(vm);
	return path;
}

static int run_logs(char **args, GError **error)
{
	g_autofree char *name = cmd_lab_name(opt_lab, error);
	g_autofree char *path = NULL;
	struct lab_dirs *dirs;
	struct lab_paths *paths;

	if (!name)
		return -1;
	dirs = lab_dirs_new();
	paths = lab_paths_new_named(name, dirs);
	if (args[0] && strcmp(args[0], "supervisor") != 0 && !names_valid(args[0]))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "lab %s has no VM, network or portal \"%s\"", name, args[0]);
	else
		path = path_of(name, paths, args[0], error);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return path ? show_log(path, error) : -1;
}

const struct cmd cmd_logs = {
	.name = "logs",
	.args = "[VM|NETWORK|sockets|PORTAL|supervisor]",
	.summary =
		"Print what a VM's console, a switch, the daemon of sockets or of a portal, or the supervisor has written",
	.help = "Without an argument, the supervisor's log: what happened to the lab, and when. Logs\n"
		"stay when the lab is down. On a terminal control characters are left out; into a\n"
		"pipe or file the log goes as it is.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_VM_OR_NET,
	.run = run_logs,
};
