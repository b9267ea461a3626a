/* SPDX-License-Identifier: MIT */
#include "host/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"

#define TICK_MS 200

char *command_find(const char *name, const char *path)
{
	g_auto(GStrv) dirs = NULL;

	if (strchr(name, '/'))
		return g_file_test(name, G_FILE_TEST_IS_EXECUTABLE) ? g_strdup(name) : NULL;
	if (!path)
		path = g_getenv("PATH");
	if (!path || !*path)
		path = "/usr/local/bin:/usr/bin:/bin";
	dirs = g_strsplit(path, ":", -1);
	for (char **dir = dirs; *dir; dir++) {
		g_autofree char *file = g_build_filename(**dir ? *dir : ".", name, NULL);

		if (g_file_test(file, G_FILE_TEST_IS_REGULAR) &&
		    g_file_test(file, G_FILE_TEST_IS_EXECUTABLE))
			return g_steal_pointer(&file);
	}
	return NULL;
}

char *command_last_line(const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

	for (guint i = g_strv_length(lines); i-- > 0;) {
		if (*g_strstrip(lines[i]))
			return g_strdup(lines[i]);
	}
	return g_strdup("");
}

void command_result_clear(struct command_result *result)
{
	g_clear_pointer(&result->out, g_free);
	g_clear_pointer(&result->err, g_free);
}

static void own_group(void *data)
{
	setpgid(0, 0);
}

/* Take what a pipe has.  False at its end. */
static gboolean drain(int fd, GString *text)
{
	char buf[16384];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n > 0 && text->len < COMMAND_OUTPUT_MAX)
		g_string_append_len(text, buf, n);
	return n > 0;
}

struct running {
	GPid pid;
	int out, err; /* -1 once closed */
	GString *text[2];
};

static void close_pipe(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* One turn: wait for a pipe or for TICK_MS. */
static void turn(struct running *r)
{
	struct pollfd fds[] = {
		{ .fd = r->out, .events = POLLIN },
		{ .fd = r->err, .events = POLLIN },
	};

	if (poll(fds, G_N_ELEMENTS(fds), TICK_MS) <= 0)
		return;
	if (fds[0].revents && !drain(r->out, r->text[0]))
		close_pipe(&r->out);
	if (fds[1].revents && !drain(r->err, r->text[1]))
		close_pipe(&r->err);
}

static gboolean overdue(const struct command *command, gint64 deadline, GError **error)
{
	if (g_cancellable_set_error_if_cancelled(command->cancellable, error))
		return TRUE;
	if (!command->timeout_ms || g_get_monotonic_time() < deadline)
		return FALSE;
	g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT, "%s did not end within %u ms",
		    command->argv[0], command->timeout_ms);
	return TRUE;
}

/* Until both outputs are at their end: then the child is gone or about to go.  False: killed. */
static gboolean attend(struct running *r, const struct command *command, GError **error)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)command->timeout_ms * 1000;
	gint64 next_tick = 0;

	while (r->out >= 0 || r->err >= 0) {
		turn(r);
		if (overdue(command, deadline, error)) {
			kill(-r->pid, SIGKILL);
			return FALSE;
		}
		if (command->tick && g_get_monotonic_time() >= next_tick) {
			command->tick(command->tick_data);
			next_tick = g_get_monotonic_time() + TICK_MS * 1000L;
		}
	}
	return TRUE;
}

static int reap(GPid pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The input as a file: no pipe to feed, no SIGPIPE from a child that does not read. */
static int input_fd(const char *input)
{
	size_t len = input ? strlen(input) : 0;
	int fd = input ? memfd_create("stdin", MFD_CLOEXEC) :
			 open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && len && (write(fd, input, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET))) {
		close(fd);
		return -1;
	}
	return fd;
}

static gboolean spawn(const struct command *command, struct running *r, GError **error)
{
	g_autofree char *program = command_find(command->argv[0], command->path);
	g_auto(GStrv) argv = g_strdupv((char **)(uintptr_t)command->argv);
	g_auto(GStrv) envp = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	gboolean ok;
	int in;

	if (!program) {
		g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "%s: no such program",
			    command->argv[0]);
		return FALSE;
	}
	g_free(argv[0]);
	argv[0] = g_steal_pointer(&program);
	in = input_fd(command->input);
	if (in < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s: no input", argv[0]);
		return FALSE;
	}
	ok = g_spawn_async_with_pipes_and_fds(command->cwd, (const char *const *)argv,
					      (const char *const *)envp,
					      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES,
					      own_group, NULL, in, -1, -1, NULL, NULL, 0, &r->pid,
					      NULL, &r->out, &r->err, error);
	close(in);
	return ok;
}

gboolean command_run(const struct command *command, struct command_result *ret_result,
		     GError **error)
{
	struct running r = { .out = -1, .err = -1 };
	gboolean ok;
	int status;

	if (!spawn(command, &r, error))
		return FALSE;
	r.text[0] = g_string_new(NULL);
	r.text[1] = g_string_new(NULL);
	ok = attend(&r, command, error);
	close_pipe(&r.out);
	close_pipe(&r.err);
	status = reap(r.pid);
	if (ok)
		*ret_result = (struct command_result){
			.status = status,
			.out = g_string_free(g_steal_pointer(&r.text[0]), FALSE),
			.err = g_string_free(g_steal_pointer(&r.text[1]), FALSE),
		};
	for (guint i = 0; i < G_N_ELEMENTS(r.text); i++) {
		if (r.text[i])
			g_string_free(r.text[i], TRUE);
	}
	return ok;
}
