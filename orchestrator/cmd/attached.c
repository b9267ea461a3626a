/* SPDX-License-Identifier: MIT */
#include "cmd/attached.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib-unix.h>

#include "agent/client/exec.h"
#include "agent/client/outlet.h"
#include "agent/client/session.h"
#include "agent/client/terminal.h"
#include "cmd/reach.h"
#include "err.h"
#include "model/names.h"
#include "out.h"

#define INPUT_CHUNK  65536
#define INPUT_BULK   (1 << 20) /* bytes of a file that make it worth a connection of its own */
#define PATIENCE     3         /* signals of one kind until we leave */
#define END_OF_INPUT 0x04      /* Ctrl-D */
#define ROWS_UNSAID  24
#define COLS_UNSAID  80

/* One of our descriptors, emptied by somebody else. */
struct sink {
	struct attached *attached;
	enum exec_stream stream;
	struct outlet outlet;
	guint room;
	int error; /* it takes no more */
};

struct attached {
	struct exec *exec;
	bool tty; /* the guest's end is a terminal */
	bool raw; /* and so is ours */
	struct sink sinks[2];
	guint input; /* source of the standard input */
	char typed[INPUT_CHUNK];
	size_t typed_from, n_typed; /* not yet taken by the guest */
	struct terminal_escape escape;
	unsigned n_signals;
	int left; /* the signal by which, or SIGINT for the escape: we leave without waiting for its end */
	bool ended;
	struct exec_end end;
	GError *error;
};

/* --- output ----------------------------------------------------------------------------------------------- */

static gboolean on_sink_room(gint fd, GIOCondition condition, gpointer data)
{
	struct sink *sink = data;

	sink->room = 0;
	exec_resume(sink->attached->exec, sink->stream);
	return G_SOURCE_REMOVE;
}

static size_t on_output(struct exec *x, enum exec_stream stream, const uint8_t *bytes, size_t len,
			void *data)
{
	struct attached *a = data;
	struct sink *sink = &a->sinks[stream == EXEC_STDERR];
	ssize_t n = sink->error ? -sink->error : outlet_write(&sink->outlet, bytes, len);

	if (n < 0) {
		sink->error = (int)-n;
		exec_refuse(x, stream);
		return len;
	}
	if ((size_t)n < len && !sink->room)
		sink->room = g_unix_fd_add(outlet_fd(&sink->outlet), G_IO_OUT, on_sink_room, sink);
	return (size_t)n;
}

static void sink_init(struct attached *a, unsigned i)
{
	a->sinks[i].attached = a;
	a->sinks[i].stream = i == 0 ? EXEC_STDOUT : EXEC_STDERR;
	outlet_init(&a->sinks[i].outlet, i == 0 ? STDOUT_FILENO : STDERR_FILENO);
}

static void sink_done(struct sink *sink)
{
	g_clear_handle_id(&sink->room, g_source_remove);
	outlet_done(&sink->outlet);
}

/* --- input ------------------------------------------------------------------------------------------------ */

static gboolean on_input(gint fd, GIOCondition condition, gpointer data);

static void listen_to_input(struct attached *a)
{
	if (!a->input && !exec_input_deaf(a->exec))
		a->input = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, a);
}

/* All that was typed to the guest; true when it has taken all. */
static bool pass_on(struct attached *a)
{
	size_t n = exec_input(a->exec, a->typed + a->typed_from, a->n_typed);

	a->typed_from += n;
	a->n_typed -= n;
	return a->n_typed == 0;
}

static void on_room(struct exec *x, void *data)
{
	struct attached *a = data;

	if (pass_on(a))
		listen_to_input(a);
}

/* A terminal has no end of file but the one that is typed. */
static void input_ended(struct attached *a)
{
	if (!a->tty) {
		exec_input_end(a->exec);
		return;
	}
	if (a->raw)
		return; /* our terminal was closed: SIGHUP comes */
	a->typed[0] = END_OF_INPUT;
	a->typed_from = 0;
	a->n_typed = 1;
	(void)pass_on(a);
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer data)
{
	struct attached *a = data;
	ssize_t n = read(fd, a->typed, sizeof(a->typed));
	size_t ours;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return G_SOURCE_CONTINUE;
	a->input = 0;
	if (n <= 0) {
		input_ended(a);
		return G_SOURCE_REMOVE;
	}
	ours = a->raw ? terminal_escape(&a->escape, a->typed, (size_t)n, g_get_monotonic_time()) :
			(size_t)n;
	if (ours < (size_t)n)
		a->left = SIGINT;
	a->typed_from = 0;
	a->n_typed = ours;
	if (pass_on(a))
		listen_to_input(a);
	return G_SOURCE_REMOVE;
}

/* --- signals ---------------------------------------------------------------------------------------------- */

static void on_signal(struct attached *a, int signal)
{
	/* On a raw terminal Ctrl-C is a byte for the guest: a signal is from outside and meant for us. */
	if (a->raw || ++a->n_signals >= PATIENCE)
		a->left = signal;
	else
		exec_signal(a->exec, signal);
}

static gboolean on_interrupt(gpointer p)
{
	on_signal(p, SIGINT);
	return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer p)
{
	on_signal(p, SIGTERM);
	return G_SOURCE_CONTINUE;
}

static gboolean on_hangup(gpointer p)
{
	on_signal(p, SIGHUP);
	return G_SOURCE_CONTINUE;
}

static gboolean on_resize(gpointer p)
{
	struct attached *a = p;
	unsigned rows, cols;

	if (a->tty && terminal_size(STDIN_FILENO, &rows, &cols))
		exec_window(a->exec, rows, cols);
	return G_SOURCE_CONTINUE;
}

static const struct {
	int number;
	GSourceFunc fn;
} signals[] = {
	{ SIGINT, on_interrupt },
	{ SIGTERM, on_terminate },
	{ SIGHUP, on_hangup },
	{ SIGWINCH, on_resize },
};

/* --- from beginning to end -------------------------------------------------------------------------------- */

static void on_ended(struct exec *x, const struct exec_end *end, const GError *error, void *data)
{
	struct attached *a = data;

	a->ended = true;
	a->end = *end;
	a->error = error ? g_error_copy(error) : NULL;
}

static const struct exec_ops ops = {
	.output = on_output,
	.room = on_room,
	.ended = on_ended,
};

static void converse(struct attached *a)
{
	guint sources[G_N_ELEMENTS(signals)];

	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		sources[i] = g_unix_signal_add(signals[i].number, signals[i].fn, a);
	listen_to_input(a);
	while (!a->ended && !a->left)
		g_main_context_iteration(NULL, TRUE);
	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		g_source_remove(sources[i]);
	g_clear_handle_id(&a->input, g_source_remove);
	if (a->raw)
		terminal_restore();
}

static void terminal_of(struct exec_command *command)
{
	command->term = getenv("TERM") ? getenv("TERM") : "dumb";
	if (terminal_size(STDIN_FILENO, &command->rows, &command->cols))
		return;
	command->rows = ROWS_UNSAID;
	command->cols = COLS_UNSAID;
}

/* Every stream saved is time where a guest is slow; and what goes to one place keeps its order. */
static void save_streams(struct exec_command *command)
{
	struct stat in, null, out, err;

	if (fstat(STDIN_FILENO, &in) == 0 && stat("/dev/null", &null) == 0) {
		command->input &= !S_ISCHR(in.st_mode) || in.st_rdev != null.st_rdev;
		command->bulk = S_ISREG(in.st_mode) && in.st_size >= INPUT_BULK;
	}
	if (fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0)
		command->merge = out.st_dev == err.st_dev && out.st_ino == err.st_ino;
}

/* Where the output went is not where it was meant to go: what a pipe without a reader is, everybody knows. */
static gboolean written(const struct attached *a, GError **error)
{
	for (unsigned i = 0; i < 2; i++) {
		int err = a->sinks[i].error;

		if (err && err != EPIPE) {
			err_set_errno(error, ORCH_ERROR_FAILED, err, "cannot write to standard %s",
				      i == 0 ? "output" : "error");
			return FALSE;
		}
	}
	return TRUE;
}

static int verdict(struct attached *a, const struct reach *r, const struct target *target,
		   GError **error)
{
	if (a->left) {
		/* The guest's cursor may stand anywhere. */
		if (a->raw)
			out_info("\nleft %s", target->vm);
		return 128 + a->left;
	}
	if (!a->error)
		return written(a, error) ? a->end.code : -1;
	if (a->error->domain == AGENT_REFUSAL && a->end.code >= 126) {
		out_error("%s: %s", target->vm, a->error->message);
		return a->end.code;
	}
	/* An error of the agent's own domain has no exit code in it. */
	*error = g_error_new_literal(ORCH_ERROR, a->end.code, a->error->message);
	if (!exec_greeted(a->exec))
		reach_explain(r, target->vm, error);
	else
		g_prefix_error(error, "%s: ", target->vm);
	return -1;
}

static int run(struct attached *a, const struct reach *r, const struct target *target,
	       const struct link_address *address, struct exec_command *command, GError **error)
{
	int code;

	a->exec = exec_new(address, command, &ops, a, error);
	if (!a->exec) {
		reach_explain(r, target->vm, error);
		return -1;
	}
	a->tty = command->tty;
	a->raw = command->tty && terminal_raw(STDIN_FILENO);
	(void)signal(SIGPIPE, SIG_IGN);
	sink_init(a, 0);
	sink_init(a, 1);
	converse(a);
	code = verdict(a, r, target, error);
	sink_done(&a->sinks[0]);
	sink_done(&a->sinks[1]);
	exec_free(a->exec);
	g_clear_error(&a->error);
	return code;
}

int attached_run(const struct reach *r, const struct target *target, struct exec_command *command,
		 GError **error)
{
	struct vm_paths *paths = reach_vm(r, target->vm, error);
	struct link_address address;
	struct attached *a;
	int code;

	if (!paths)
		return -1;
	address = reach_agent(r, paths);
	if (command->tty)
		terminal_of(command);
	else
		save_streams(command);
	command->distro = target->distro;
	a = g_new0(struct attached, 1);
	code = run(a, r, target, &address, command, error);
	g_free(a);
	vm_paths_free(paths);
	return code;
}
