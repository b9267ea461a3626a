/* SPDX-License-Identifier: MIT */
/* orchestrator console: a VM's serial console, from a terminal or a pipe. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

#include "err.h"
#include "model/lab.h"
#include "model/names.h"
#include "out.h"
#include "run/state.h"
#include "run/watch.h"

#define ESCAPE 0x1d /* Ctrl-] */
/* When a pipe has ended, what it has asked for may still be answered: until it is silent for so long. */
#define LINGER_MS 500

static char *opt_lab;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	G_OPTION_ENTRY_NULL,
};

struct session {
	int fd;
	bool terminal; /* stdin is one: raw, and Ctrl-] leaves */
	bool input_ended;
	struct termios before;
	char pending[4096]; /* for the guest, not yet taken */
	size_t n_pending;
};

static volatile sig_atomic_t signalled;

static void on_signal(int sig)
{
	signalled = sig;
}

static void catch_signals(void)
{
	const struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static void make_raw(struct session *s)
{
	struct termios raw;

	s->terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->before) == 0;
	if (!s->terminal)
		return;
	raw = s->before;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

/* From the guest; false: it is over. */
static bool guest_says(struct session *s)
{
	char chunk[4096];
	ssize_t n = read(s->fd, chunk, sizeof(chunk));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	for (ssize_t done = 0; done < n;) {
		ssize_t w = write(STDOUT_FILENO, chunk + done, (size_t)(n - done));

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return false;
		done += w;
	}
	return true;
}

/* From the user, up to Ctrl-]; false: that was it. */
static bool user_says(struct session *s)
{
	ssize_t n = read(STDIN_FILENO, s->pending, sizeof(s->pending));
	char *escape;

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		s->input_ended = true;
		return true;
	}
	s->n_pending = (size_t)n;
	escape = s->terminal ? memchr(s->pending, ESCAPE, s->n_pending) : NULL;
	if (escape)
		s->n_pending = (size_t)(escape - s->pending);
	return !escape;
}

/* To the guest, as much as its serial port takes now. */
static bool pass_on(struct session *s)
{
	ssize_t n = write(s->fd, s->pending, s->n_pending); /* SIGPIPE is ignored */

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	s->n_pending -= (size_t)n;
	memmove(s->pending, s->pending + n, s->n_pending);
	return true;
}

/* True: the user left; false: the guest did. */
static bool converse(struct session *s)
{
	while (!signalled) {
		/* Nothing is read from the user that the guest has no room for. */
		bool listen = !s->input_ended && s->n_pending == 0;
		struct pollfd p[] = {
			{ .fd = s->fd, .events = (short)(POLLIN | (s->n_pending ? POLLOUT : 0)) },
			{ .fd = listen ? STDIN_FILENO : -1, .events = POLLIN },
		};
		int n = poll(p, 2, s->input_ended && s->n_pending == 0 ? LINGER_MS : -1);

		if (n == 0)
			return true;
		if (n < 0)
			continue; /* a signal */
		if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) && !guest_says(s))
			return false;
		if ((p[0].revents & POLLOUT) && !pass_on(s))
			return false;
		if (p[1].revents && !user_says(s))
			return true;
	}
	return true;
}

/* A serial port has one user: QEMU would leave a second one waiting without a word. */
static int take_turn(const char *vm, const char *directory, GError **error)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
			    "somebody else is on the console of %s", vm);
		return -1;
	}
	if (fd < 0)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "VM %s does not run", vm);
	return fd;
}

/* Of a domain of libvirt: its terminal, which other users of libvirt have, too. */
static int open_terminal(const char *lab, const char *vm, const char *engine, const char *terminal,
			 GError **error)
{
	int fd = open(terminal, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	g_autofree char *domain = names_domain(lab, vm);
	struct termios raw;

	if (fd >= 0 && tcgetattr(fd, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(fd, TCSANOW, &raw);
	}
	if (fd < 0)
		err_set_errno(error, ORCH_ERROR_FAILED, errno,
			      "cannot open %s: `virsh -c %s console %s` goes by libvirt", terminal,
			      lab_engine_text_uri(engine), domain);
	return fd;
}

static int open_socket(const char *vm, const struct vm_paths *paths, GError **error)
{
	int fd = dial_now(paths->con);

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "VM %s does not run", vm);
	else if (fd == -EAGAIN)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
			    "another program is on the console of %s", vm);
	else if (fd < 0)
		err_set_errno(error, ORCH_ERROR_FAILED, -fd, "cannot connect to %s", paths->con);
	return fd < 0 ? -1 : fd;
}

/* What the supervisor wrote down says where it is. */
static int open_console(const char *vm, const struct lab_paths *lab, const struct vm_paths *paths,
			GError **error)
{
	const struct state_vm *v = NULL;
	struct state *state = NULL;
	int fd;

	if (state_load(lab->state_json, &state, NULL))
		v = state_find_vm(state, vm);
	if (v && v->engine && v->console && proc_id_alive(&v->id))
		fd = open_terminal(state->lab, vm, v->engine, v->console, error);
	else
		fd = open_socket(vm, paths, error);
	state_free(state);
	return fd;
}

static int talk(const char *vm, const struct lab_paths *lab, const struct vm_paths *paths,
		GError **error)
{
	int lock_fd = take_turn(vm, paths->dir, error);
	struct session s = { .fd = lock_fd < 0 ? -1 : open_console(vm, lab, paths, error) };
	bool left;

	if (s.fd < 0) {
		if (lock_fd >= 0)
			close(lock_fd);
		return -1;
	}
	catch_signals();
	make_raw(&s);
	if (s.terminal)
		fprintf(stderr, "on the console of %s; Ctrl-] leaves, Enter shows a prompt\r\n",
			vm);
	left = converse(&s);
	if (s.terminal) {
		tcsetattr(STDIN_FILENO, TCSADRAIN, &s.before);
		fputc('\n', stderr);
	}
	if (!left)
		out_info("VM %s has closed its console", vm);
	close(s.fd);
	close(lock_fd);
	return signalled ? ORCH_ERROR_INTERRUPTED : 0;
}

static int run_console(char **args, GError **error)
{
	g_autofree char *name = cmd_lab_name(opt_lab, error);
	struct lab_dirs *dirs;
	struct lab_paths *paths;
	struct vm_paths *vm;
	int code = -1;

	if (!name)
		return -1;
	dirs = lab_dirs_new();
	paths = lab_paths_new_named(name, dirs);
	vm = vm_paths_new(paths, args[0], 0);
	if (cmd_check_vm(name, args[0], error))
		code = talk(args[0], paths, vm, error);
	vm_paths_free(vm);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return code;
}

const struct cmd cmd_console = {
	.name = "console",
	.args = "VM",
	.summary = "Talk to a VM's serial console",
	.help = "On a terminal everything typed goes to the VM, but for Ctrl-], which leaves. From a\n"
		"pipe everything in it goes to the VM, and the command ends when the VM has been\n"
		"silent for half a second after the pipe's end:\n"
		"\n"
		"    echo uptime | orchestrator console n1\n"
		"\n"
		"One at a time can be on a console; what the VM writes is also in `orchestrator logs\n"
		"VM`.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_VM,
	.run = run_console,
};
