/* SPDX-License-Identifier: MIT */
/* The shared main(), from outside: a real process (backend_probe.c), its options, sockets, signals
 * and exit statuses.  $BACKEND_PROBE is the program. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "tmp.h"

#define PATIENCE_MS 20000 /* a sanitized daemon on a busy machine */
#define ARGS(...)   ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_ARGS     ((const char *const[]){ NULL })

static struct tmp_dir dir;
static char sock_a[96], sock_b[96], ctl[96], notify_path[96];
static char output[8192];

struct run {
	pid_t pid;
	int out;    /* its stdout and stderr */
	int notify; /* its $NOTIFY_SOCKET */
};

static int setup(void **state)
{
	tmp_dir_init(&dir);
	tmp_path(&dir, "a", sock_a, sizeof(sock_a));
	tmp_path(&dir, "b", sock_b, sizeof(sock_b));
	tmp_path(&dir, "c", ctl, sizeof(ctl));
	tmp_path(&dir, "n", notify_path, sizeof(notify_path));
	return 0;
}

static int teardown(void **state)
{
	tmp_dir_done(&dir);
	return 0;
}

static int bound_socket(int type, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	(void)unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Start the probe.  inherit: descriptors it finds at 3, 4, ..., ended by -1; NULL for none.
 * activation: LISTEN_FDNAMES, with LISTEN_FDS and LISTEN_PID to match; NULL for none. */
static struct run start(const char *const *args, const int *inherit, const char *activation)
{
	const char *argv[32] = { getenv("BACKEND_PROBE") };
	int n_inherit = 0, pipe_fds[2];
	struct run r = { .notify = bound_socket(SOCK_DGRAM, notify_path) };

	assert_non_null(argv[0]);
	for (unsigned i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	while (inherit && inherit[n_inherit] >= 0)
		n_inherit++;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	r.out = pipe_fds[0];
	r.pid = fork();
	if (r.pid == 0) {
		char text[16];
		int moved[8];

		dup2(pipe_fds[1], STDOUT_FILENO);
		dup2(pipe_fds[1], STDERR_FILENO);
		for (int i = 0; i < n_inherit; i++)
			moved[i] = fcntl(inherit[i], F_DUPFD_CLOEXEC, 32);
		for (int i = 0; i < n_inherit; i++)
			dup2(moved[i], 3 + i);
		setenv("NOTIFY_SOCKET", notify_path, 1);
		if (activation) {
			snprintf(text, sizeof(text), "%d", (int)getpid());
			setenv("LISTEN_PID", text, 1);
			snprintf(text, sizeof(text), "%d", n_inherit);
			setenv("LISTEN_FDS", text, 1);
			setenv("LISTEN_FDNAMES", activation, 1);
		}
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(pipe_fds[1]);
	return r;
}

static bool wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, PATIENCE_MS) == 1;
}

static void wait_ready(struct run *r)
{
	char text[64];
	ssize_t n;

	assert_true(wait_readable(r->notify));
	n = recv(r->notify, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "READY=1\n");
}

/* Its exit status, once it ends by itself; what it wrote is in output. */
static int finish(struct run *r)
{
	size_t len = 0;
	ssize_t n;
	int status;

	while (len < sizeof(output) - 1 && wait_readable(r->out) &&
	       (n = read(r->out, output + len, sizeof(output) - 1 - len)) > 0)
		len += (size_t)n;
	output[len] = '\0';
	close(r->out);
	close(r->notify);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int terminate(struct run *r, int signal_number)
{
	assert_int_equal(kill(r->pid, signal_number), 0);
	return finish(r);
}

static int run_to_end(const char *const *args)
{
	struct run r = start(args, NULL, NULL);

	return finish(&r);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int dial(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* What arrives on fd next, as text. */
static const char *receive(int fd)
{
	ssize_t n;

	assert_true(wait_readable(fd));
	n = read(fd, output, sizeof(output) - 1);
	output[n > 0 ? n : 0] = '\0';
	return output;
}

static const char *greeting(const char *path)
{
	int fd = dial(path);

	receive(fd);
	close(fd);
	return output;
}

static const char *ask(int fd, const char *line)
{
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	return receive(fd);
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

/* ---- printing ---- */

static void test_print_capabilities(void **state)
{
	const char *want = "{\"type\":\"probe\",\"features\":[\"one\",\"two\"]}\n";

	assert_int_equal(run_to_end(ARGS("--print-capabilities")), 0);
	assert_string_equal(output, want);
	assert_int_equal(run_to_end(ARGS("--fd", "x", "--no-such", "--print-capabilities")), 0);
	assert_string_equal(output, want);
}

static void test_version_and_help(void **state)
{
	assert_int_equal(run_to_end(ARGS("--version")), 0);
	assert_string_equal(output, "vhost-user-probe " VHOST_LAB_VERSION "\n");
	assert_int_equal(run_to_end(ARGS("--help")), 0);
	assert_non_null(strstr(output, "--socket-path"));
	assert_non_null(strstr(output, "Greets its frontends."));
}

static void test_usage_errors(void **state)
{
	const char *const *const cases[] = {
		NO_ARGS,
		ARGS("--no-such"),
		ARGS("--socket-path"),
		ARGS("--socket-path="),
		ARGS("--fd", "three"),
		ARGS("--fd", "-1"),
		ARGS("--fd", "99999999999"),
		ARGS("--fd", "5", "--fd", "5"),
		ARGS("--fd", "5", "--control-fd", "5"),
		ARGS("--fd", "5", "--socket-path", sock_a),
		ARGS("--control", ctl, "--control", ctl),
		ARGS("--control", ctl, "--log-level", "loud"),
		ARGS("--control", ctl, "surplus"),
		ARGS("--sandbox", "on", "--control", ctl),
		ARGS("--socket-path=1", "--socket-path=2", "--socket-path=3", "--socket-path=4",
		     "--socket-path=5"),
	};

	for (unsigned i = 0; i < array_size(cases); i++) {
		assert_int_equal(run_to_end(cases[i]), 2);
		assert_int_equal(lines(output), 1);
		assert_ptr_equal(strstr(output, "vhost-user-probe: "), output);
	}
	assert_false(exists(ctl));
}

static void test_start_failures(void **state)
{
	char config[96];
	struct run r;
	int p[2];

	assert_int_equal(run_to_end(ARGS("--socket-path", "/nonexistent/s")), 1);
	assert_int_equal(lines(output), 1);
	assert_non_null(strstr(output, "/nonexistent/s: No such file"));
	assert_int_equal(run_to_end(ARGS("--control", "/nonexistent/s")), 1);
	assert_int_equal(lines(output), 1);
	assert_int_equal(run_to_end(ARGS("--fd", "77")), 1);
	assert_int_equal(lines(output), 1);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	r = start(ARGS("--fd", "3"), (int[]){ p[0], -1 }, NULL);
	assert_int_equal(finish(&r), 1);
	assert_int_equal(lines(output), 1);
	close(p[0]);
	close(p[1]);
	assert_int_equal(run_to_end(ARGS("--config", "/nonexistent/config")), 1);
	assert_int_equal(lines(output), 1);
	tmp_file(&dir, "config", "{\n  \"a\": [1,\n  oops]\n}\n", config, sizeof(config));
	assert_int_equal(run_to_end(ARGS("--config", config)), 1);
	assert_non_null(strstr(output, "config:3:3: error: "));
	tmp_file(&dir, "config", "{}\n{}", config, sizeof(config));
	assert_int_equal(run_to_end(ARGS("--config", config)), 1);
	assert_non_null(strstr(output, "config:2:1: error: "));
	tmp_file(&dir, "config", "[]", config, sizeof(config));
	assert_int_equal(run_to_end(ARGS("--config", config)), 1);
	tmp_file(&dir, "config", "", config, sizeof(config));
	assert_int_equal(run_to_end(ARGS("--config", config)), 1);
	assert_int_equal(lines(output), 1);
}

/* ---- serving ---- */

static void test_socket_paths(void **state)
{
	struct run r = start(ARGS("--socket-path", sock_a, "--socket-path", sock_b), NULL, NULL);
	struct stat st;

	wait_ready(&r);
	assert_string_equal(greeting(sock_a), "port0");
	assert_string_equal(greeting(sock_b), "port1");
	assert_int_equal(stat(sock_a, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A second one does not take a living one's place, and does not harm it. */
	assert_int_equal(run_to_end(ARGS("--socket-path", sock_a)), 1);
	assert_non_null(strstr(output, "Address already in use"));
	assert_string_equal(greeting(sock_a), "port0");
	assert_int_equal(terminate(&r, SIGTERM), 0);
	assert_false(exists(sock_a));
	assert_false(exists(sock_b));
}

static void test_killed_and_started_again(void **state)
{
	struct run r = start(ARGS("--socket-path", sock_a, "--control", ctl), NULL, NULL);

	wait_ready(&r);
	assert_int_equal(kill(r.pid, SIGKILL), 0);
	assert_int_equal(waitpid(r.pid, NULL, 0), r.pid);
	close(r.out);
	close(r.notify);
	assert_true(exists(sock_a) && exists(ctl));
	r = start(ARGS("--socket-path", sock_a, "--control", ctl), NULL, NULL);
	wait_ready(&r);
	assert_string_equal(greeting(sock_a), "port0");
	assert_int_equal(terminate(&r, SIGINT), 0);
	assert_false(exists(sock_a) || exists(ctl));
}

static void test_inherited_listener(void **state)
{
	int fd = bound_socket(SOCK_STREAM, sock_a);
	struct run r;

	assert_int_equal(listen(fd, 4), 0);
	r = start(ARGS("--fd", "3"), (int[]){ fd, -1 }, NULL);
	wait_ready(&r);
	assert_string_equal(greeting(sock_a), "port0");
	assert_int_equal(terminate(&r, SIGTERM), 0);
	assert_true(exists(sock_a)); /* whoever made it removes it */
	close(fd);
}

static void test_inherited_connection(void **state)
{
	int pair[2];
	struct run r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r = start(ARGS("--fd=3"), (int[]){ pair[0], -1 }, NULL);
	close(pair[0]);
	wait_ready(&r);
	assert_string_equal(receive(pair[1]), "port0");
	assert_int_equal(terminate(&r, SIGTERM), 0);
	assert_string_equal(receive(pair[1]), "");
	close(pair[1]);
}

static void test_socket_activation(void **state)
{
	int a = bound_socket(SOCK_STREAM, sock_a), b = bound_socket(SOCK_STREAM, sock_b);
	int c = bound_socket(SOCK_STREAM, ctl), fd;
	struct run r;

	listen(a, 4);
	listen(b, 4);
	listen(c, 4);
	r = start(NO_ARGS, (int[]){ a, c, b, -1 }, "n1:control:n1");
	wait_ready(&r);
	assert_string_equal(greeting(sock_a), "n1");
	assert_string_equal(greeting(sock_b), "port1"); /* n1 is taken */
	fd = dial(ctl);
	assert_string_equal(ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sockets\"}\n"),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[\"n1\",\"port1\"]}\n");
	close(fd);
	assert_int_equal(terminate(&r, SIGTERM), 0);
	close(a);
	close(b);
	close(c);
}

static int listening(const char *path)
{
	int fd = bound_socket(SOCK_STREAM, path);

	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* Whether somebody has connected to a listener whom nobody has served. */
static bool has_caller(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* A listener at a path that the command line names is that socket; its maker removes it. */
static void test_activation_by_path(void **state)
{
	int a = listening(sock_a), c = listening(ctl), fd;
	struct run r =
		start(ARGS("--socket-path", sock_a, "--socket-path", sock_b, "--control", ctl),
		      (int[]){ c, a, -1 }, "x.socket:x.socket");

	wait_ready(&r);
	assert_string_equal(greeting(sock_a), "port0");
	assert_string_equal(greeting(sock_b), "port1"); /* nobody passed it: it is made */
	fd = dial(ctl);
	assert_string_equal(ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sockets\"}\n"),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[\"port0\",\"port1\"]}\n");
	close(fd);
	assert_int_equal(terminate(&r, SIGTERM), 0);
	assert_true(exists(sock_a) && exists(ctl));
	assert_false(exists(sock_b));
	/* To look whether they are stale would have been to start the next one. */
	assert_false(has_caller(a) || has_caller(c));
	close(a);
	close(c);
}

/* So is one that the configuration has as a string, wherever; another is a frontend's, by its name. */
static void test_activation_by_configuration(void **state)
{
	char config[96], text[256];
	int a = listening(sock_a), b = listening(sock_b);
	struct run r;

	snprintf(text, sizeof(text), "{\"n\":1,\"doors\":[null,{\"at\":\"%s\"}],\"e\":{}}", sock_a);
	tmp_file(&dir, "config", text, config, sizeof(config));
	r = start(ARGS("--config", config), (int[]){ a, b, -1 }, "n1:n2");
	wait_ready(&r);
	assert_string_equal(greeting(sock_b), "n2");
	close(dial(sock_a)); /* kept for who asks for it: of this daemon nobody does */
	assert_true(has_caller(a));
	assert_int_equal(terminate(&r, SIGTERM), 0);
	close(a);
	close(b);
}

static void test_control_methods(void **state)
{
	struct run r = start(ARGS("--control", ctl), NULL, NULL);
	char want[128];
	int fd;

	wait_ready(&r);
	fd = dial(ctl);
	snprintf(want, sizeof(want),
		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"daemon\":\"vhost-user-probe\","
		 "\"version\":\"%s\",\"pid\":%d}}\n",
		 VHOST_LAB_VERSION, (int)r.pid);
	assert_string_equal(ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\"}\n"), want);
	ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"log.level\",\"params\":{\"level\":"
		"\"debug\"}}\n");
	assert_non_null(strstr(output, "\"result\":{}"));
	ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"log.level\",\"params\":{\"level\":"
		"\"loud\"}}\n");
	assert_non_null(strstr(output, "\"code\":-32602"));
	/* The answer to "shutdown" is sent before it happens. */
	assert_string_equal(ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"shutdown\"}\n"),
			    "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n");
	assert_int_equal(finish(&r), 0);
	assert_false(exists(ctl));
	close(fd);
}

static void test_inherited_control_connection(void **state)
{
	int pair[2];
	struct run r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r = start(ARGS("--control-fd", "3"), (int[]){ pair[0], -1 }, NULL);
	close(pair[0]);
	wait_ready(&r);
	assert_string_equal(ask(pair[1], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sockets\"}\n"),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[]}\n");
	assert_int_equal(terminate(&r, SIGTERM), 0);
	close(pair[1]);
}

static void test_dead_log_reader_does_not_kill_it(void **state)
{
	struct run r = start(ARGS("--socket-path", sock_a, "--log-level", "debug"), NULL, NULL);
	int status;

	wait_ready(&r);
	close(r.out); /* from here on stderr is a broken pipe */
	assert_string_equal(greeting(sock_a), "port0");
	assert_int_equal(kill(r.pid, SIGTERM), 0); /* it logs that */
	assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(r.notify);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_print_capabilities),
		T(test_version_and_help),
		T(test_usage_errors),
		T(test_start_failures),
		T(test_socket_paths),
		T(test_killed_and_started_again),
		T(test_inherited_listener),
		T(test_inherited_connection),
		T(test_socket_activation),
		T(test_activation_by_path),
		T(test_activation_by_configuration),
		T(test_control_methods),
		T(test_inherited_control_connection),
		T(test_dead_log_reader_does_not_kill_it),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
