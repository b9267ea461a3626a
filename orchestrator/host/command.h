/* SPDX-License-Identifier: MIT */
/* Run a program of the host to its end and take what it says: apt, busybox, QEMU asked for its abilities, virsh.
 *
 * The child gets LC_ALL=C, no stdin, and its own process group, so that ending it ends what it started.  Output is
 * kept up to COMMAND_OUTPUT_MAX bytes a stream; more is read and dropped, so that the child never blocks on us.
 *
 * Threads: any; needs no main loop and no SIGCHLD. */
#ifndef ORCHESTRATOR_HOST_COMMAND_H
#define ORCHESTRATOR_HOST_COMMAND_H

#include <gio/gio.h>

#define COMMAND_OUTPUT_MAX (4u << 20) /* `apt-cache show` of one package is some KiB */

struct command {
	const char *const *argv; /* argv[0] is looked up in path */
	const char *path;        /* like $PATH; NULL: the process's own */
	const char *cwd;         /* NULL: ours */
	const char *input;       /* text for its stdin; NULL: /dev/null */
	guint timeout_ms;        /* 0: as long as it takes */
	GCancellable *cancellable;
	void (*tick)(void *data); /* called about five times a second while it runs; may be NULL */
	void *tick_data;
};

struct command_result {
	int status; /* exit code, or 128 + signal */
	char *out;  /* always NUL-terminated; bytes as they came */
	char *err;
};

/* Run it.  True: it ran and ended by itself, whatever its exit code.  False: no such program (G_FILE_ERROR_NOENT),
 * timeout (G_IO_ERROR_TIMED_OUT), cancelled (G_IO_ERROR_CANCELLED); then it has been killed and reaped. */
gboolean command_run(const struct command *command, struct command_result *ret_result,
		     GError **error);

void command_result_clear(struct command_result *result);

/* The last non-empty line of TEXT, for one-line error messages; "" if none.  Free with g_free(). */
char *command_last_line(const char *text);

/* Find NAME in PATH (NULL: $PATH).  NULL if there is no such program; free with g_free(). */
char *command_find(const char *name, const char *path);

#endif
