/* SPDX-License-Identifier: MIT */
/* Listening sockets: stale and live files, modes, inherited descriptors. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listen.h"

static char dir[64];
static char path[96];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_listen_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)unlink(path);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static int connect_to(const char *where)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", where);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(name, &st) == 0;
}

static void test_listen_and_accept(void **state)
{
	struct stat st;
	int fd, peer, conn;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(listen_accept(fd, &conn), -EAGAIN);
	peer = connect_to(path);
	assert_true(peer >= 0);
	assert_int_equal(listen_accept(fd, &conn), 0);
	assert_true(fcntl(conn, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(conn, F_GETFL) & O_NONBLOCK);
	close(conn);
	close(peer);
	close(fd);
	listen_unlink(path);
	assert_false(exists(path));
}

static void test_mode_is_right_under_any_umask(void **state)
{
	mode_t old = umask(0);
	struct stat st;
	int fd;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close(fd);
}

static void test_live_socket_is_not_taken(void **state)
{
	int fd, other = -1, peer;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	assert_int_equal(listen_unix(path, 0600, &other), -EADDRINUSE);
	assert_int_equal(other, -1);
	listen_unlink(path); /* not while somebody listens */
	peer = connect_to(path);
	assert_true(peer >= 0);
	close(peer);
	close(fd);
}

static void test_live_socket_with_a_full_backlog_is_not_taken(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, other, peers[64], n = 0;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	for (; n < 64; n++) {
		peers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(peers[n], (struct sockaddr *)&addr, sizeof(addr)) < 0)
			break;
	}
	assert_true(n < 64);
	assert_int_equal(listen_unix(path, 0600, &other), -EADDRINUSE);
	for (; n >= 0; n--)
		close(peers[n]);
	close(fd);
}

static void test_stale_socket_is_replaced(void **state)
{
	int fd, peer;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	close(fd); /* as kill -9 would */
	assert_true(exists(path));
	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	peer = connect_to(path);
	assert_true(peer >= 0);
	close(peer);
	close(fd);
}

static void test_other_files_are_left_alone(void **state)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), out;

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(listen_unix(path, 0600, &out), -ENOTSOCK);
	listen_unlink(path);
	assert_true(exists(path));
	unlink(path);
	assert_int_equal(symlink("/nonexistent", path), 0);
	assert_int_equal(listen_unix(path, 0600, &out), -ENOTSOCK);
	listen_unlink(path);
	assert_true(exists(path));
}

static void test_bad_paths(void **state)
{
	char longest[108], longer[109];
	int fd;

	assert_int_equal(listen_unix("", 0600, &fd), -EINVAL);
	assert_int_equal(listen_unix("/nonexistent/dir/s", 0600, &fd), -ENOENT);
	snprintf(longest, sizeof(longest), "%s/", dir);
	memset(longest + strlen(longest), 'x', sizeof(longest) - strlen(longest));
	longest[107] = '\0';
	memcpy(longer, longest, 107);
	longer[107] = 'x';
	longer[108] = '\0';
	assert_int_equal(listen_unix(longest, 0600, &fd), 0);
	close(fd);
	listen_unlink(longest);
	assert_false(exists(longest));
	assert_int_equal(listen_unix(longer, 0600, &fd), -ENAMETOOLONG);
	listen_unlink(longer);
}

static void test_relative_path(void **state)
{
	char *cwd = getcwd(NULL, 0);
	int fd;

	assert_int_equal(chdir(dir), 0);
	assert_int_equal(listen_unix("s", 0600, &fd), 0);
	close(fd);
	listen_unlink("s");
	assert_false(exists(path));
	assert_int_equal(chdir(cwd), 0);
	free(cwd);
}

/* Eight processes want the path of a dead daemon at the same moment; one may have it. */
static void test_race_for_a_stale_path_has_one_winner(void **state)
{
	enum { RACERS = 8 };

	for (unsigned round = 0; round < 20; round++) {
		int start[2], hold[2], fd, winners = 0, status;
		pid_t pid[RACERS];
		char byte;

		assert_int_equal(listen_unix(path, 0600, &fd), 0);
		close(fd);
		assert_int_equal(pipe(start), 0);
		assert_int_equal(pipe(hold), 0);
		for (unsigned i = 0; i < RACERS; i++) {
			pid[i] = fork();
			if (pid[i] == 0) {
				int r;

				close(start[1]);
				close(hold[1]);
				(void)!read(start[0], &byte, 1);
				r = listen_unix(path, 0600, &fd);
				if (r == 0) /* stay alive until all have tried */
					(void)!read(hold[0], &byte, 1);
				_exit(r == 0 ? 0 : r == -EADDRINUSE ? 1 : 2);
			}
		}
		close(start[0]);
		close(start[1]);
		close(hold[0]);
		/* The losers end by themselves; then the winner is let go. */
		for (unsigned ended = 0; ended < RACERS - 1; ended++) {
			assert_true(wait(&status) > 0);
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 1);
		}
		close(hold[1]);
		assert_true(wait(&status) > 0);
		winners += WIFEXITED(status) && WEXITSTATUS(status) == 0;
		assert_int_equal(winners, 1);
		unlink(path);
	}
}

static void test_adopt(void **state)
{
	enum listen_kind kind;
	int fd, pair[2], p[2], idle = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
	assert_int_equal(listen_adopt(fd, &kind), 0);
	assert_int_equal(kind, LISTEN_KIND_LISTENING);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(listen_adopt(fd, &kind), -EBADF);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(listen_adopt(pair[0], &kind), 0);
	assert_int_equal(kind, LISTEN_KIND_CONNECTED);
	assert_true(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	close(pair[0]);
	close(pair[1]);

	assert_int_equal(listen_adopt(idle, &kind), -ENOTCONN);
	close(idle);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(listen_adopt(p[0], &kind), -ENOTSOCK);
	close(p[0]);
	close(p[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(listen_adopt(pair[0], &kind), -EPROTOTYPE);
	close(pair[0]);
	close(pair[1]);
}

static void test_no_descriptor_left(void **state)
{
	struct rlimit old, few;
	int fd, peer, conn, fill[64], n = 0;
	char byte;

	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	assert_int_equal(listen_accept(fd, &conn), -EAGAIN); /* makes the reserve */
	peer = connect_to(path);
	assert_true(peer >= 0);
	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){ 40, old.rlim_max };
	setrlimit(RLIMIT_NOFILE, &few);
	while (n < 64 && (fill[n] = dup(fd)) >= 0)
		n++;
	assert_int_equal(listen_accept(fd, &conn), -EMFILE);
	assert_int_equal(listen_accept(fd, &conn), -EAGAIN); /* it waits no more: no spinning */
	setrlimit(RLIMIT_NOFILE, &old);
	while (n-- > 0)
		close(fill[n]);
	assert_int_equal(read(peer, &byte, 1), 0); /* it was told */
	close(peer);
	peer = connect_to(path);
	assert_int_equal(listen_accept(fd, &conn), 0);
	close(conn);
	close(peer);
	close(fd);
}

/* ---- socket activation ---- */

static void set_activation(const char *pid, const char *fds, const char *names)
{
	char self[32];

	snprintf(self, sizeof(self), "%d", (int)getpid());
	setenv("LISTEN_PID", pid ? pid : self, 1);
	setenv("LISTEN_FDS", fds, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

/* SOCK_SEQPACKET: the same care for files, and a backlog of the caller's choice. */
static void test_seqpacket(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, other = -1, type, peer[2], conn;
	socklen_t len = sizeof(type);

	assert_int_equal(listen_unix_type(path, 0600, SOCK_SEQPACKET, 1, &fd), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
	assert_int_equal(type, SOCK_SEQPACKET);
	assert_int_equal(listen_unix_type(path, 0600, SOCK_SEQPACKET, 1, &other), -EADDRINUSE);
	assert_int_equal(listen_unix(path, 0600, &other), -EADDRINUSE);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	for (int i = 0; i < 2; i++) { /* backlog n holds n + 1 */
		peer[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_int_equal(connect(peer[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
	}
	other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(other, (struct sockaddr *)&addr, sizeof(addr)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(listen_accept(fd, &conn), 0);
	assert_int_equal(listen_check_peer(conn), 0); /* ourselves */
	close(conn);
	close(other);
	close(peer[0]);
	close(peer[1]);
	close(fd);
	assert_int_equal(listen_unix(path, 0600, &fd), 0); /* stale, whatever it was */
	close(fd);
}

static void test_tcp(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6 };
	int fd, other, peer, conn;
	socklen_t len = sizeof(addr);

	assert_int_equal(listen_tcp((struct sockaddr *)&addr, len, 4, &fd), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(listen_tcp((struct sockaddr *)&addr, len, 4, &other), -EADDRINUSE);
	peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen_accept(fd, &conn), 0);
	assert_true(fcntl(conn, F_GETFL) & O_NONBLOCK);

	/* We end the connection, and leave the port in TIME_WAIT: a successor has it all the same. */
	close(conn);
	close(peer);
	close(fd);
	assert_int_equal(listen_tcp((struct sockaddr *)&addr, len, 4, &fd), 0);

	/* "::" is IPv6 alone, and does not collide with the port of IPv4. */
	any6.sin6_port = addr.sin_port;
	if (listen_tcp((struct sockaddr *)&any6, sizeof(any6), 4, &other) == 0)
		close(other);
	else
		assert_int_equal(errno, EAFNOSUPPORT); /* a container without it */
	close(fd);
}

static void test_inherited(void **state)
{
	static struct listen_inherited in[LISTEN_INHERITED_MAX];
	char long_name[200];
	int fds[3];

	/* Descriptors 3, 4 and 5 must exist; keep what the test runner has there. */
	for (int i = 0; i < 3; i++) {
		fds[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, 64);
		assert_true(dup2(STDERR_FILENO, 3 + i) >= 0);
	}
	unsetenv("LISTEN_PID");
	assert_int_equal(listen_inherited(in), 0);
	set_activation("1", "2", NULL);
	assert_int_equal(listen_inherited(in), 0);
	assert_null(getenv("LISTEN_FDS"));

	set_activation(NULL, "3", "control:n1");
	assert_int_equal(listen_inherited(in), 3);
	assert_int_equal(in[0].fd, 3);
	assert_string_equal(in[0].name, "control");
	assert_string_equal(in[1].name, "n1");
	assert_string_equal(in[2].name, "");
	assert_true(fcntl(4, F_GETFD) & FD_CLOEXEC);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDNAMES"));

	memset(long_name, 'n', sizeof(long_name));
	memcpy(long_name + sizeof(long_name) - 6, ":last", 6);
	set_activation(NULL, "2", long_name);
	assert_int_equal(listen_inherited(in), 2);
	assert_int_equal(strlen(in[0].name), LISTEN_NAME_MAX - 1);
	assert_string_equal(in[1].name, "last");

	set_activation(NULL, "-1", NULL);
	assert_int_equal(listen_inherited(in), -EINVAL);
	set_activation(NULL, "two", NULL);
	assert_int_equal(listen_inherited(in), -EINVAL);
	set_activation("", "2", NULL);
	assert_int_equal(listen_inherited(in), -EINVAL);
	set_activation(NULL, "99999999999999999999", NULL);
	assert_int_equal(listen_inherited(in), -EINVAL);
	set_activation(NULL, "1001", NULL);
	assert_int_equal(listen_inherited(in), -E2BIG);
	set_activation(NULL, "1000", NULL); /* more than there are */
	assert_int_equal(listen_inherited(in), -EINVAL);
	for (int i = 0; i < 3; i++) {
		close(3 + i);
		if (fds[i] >= 0) {
			dup2(fds[i], 3 + i);
			close(fds[i]);
		}
	}
}

/* ---- listeners that are kept ---- */

static int bound(const char *where, int type, socklen_t len)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (where)
		memcpy(addr.sun_path, where, strnlen(where, sizeof(addr.sun_path)));
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len ? len : sizeof(addr)), 0);
	return fd;
}

static void test_path_of_a_listener(void **state)
{
	char got[LISTEN_PATH_MAX], longest[109];
	int fd = bound(path, SOCK_STREAM, 0), p[2];

	assert_false(listen_path(fd, got)); /* it does not listen yet */
	assert_int_equal(listen(fd, 1), 0);
	assert_true(listen_path(fd, got));
	assert_string_equal(got, path);
	close(fd);
	assert_false(listen_path(fd, got));

	/* A path that fills sun_path has no NUL there. */
	snprintf(longest, sizeof(longest), "%s/", dir);
	memset(longest + strlen(longest), 'x', sizeof(longest) - strlen(longest));
	longest[108] = '\0';
	fd = bound(longest, SOCK_SEQPACKET, 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_true(listen_path(fd, got));
	assert_string_equal(got, longest);
	close(fd);
	unlink(longest);

	/* No path, no name, no Unix socket, no socket. */
	fd = bound("", SOCK_STREAM, 0); /* 108 NULs: an abstract name */
	assert_int_equal(listen(fd, 1), 0);
	assert_false(listen_path(fd, got));
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(listen(fd, 1), -1);
	assert_false(listen_path(fd, got));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_false(listen_path(fd, got));
	close(fd);
	assert_int_equal(pipe(p), 0);
	assert_false(listen_path(p[0], got));
	assert_int_equal(listen_keep(p[0]), -EINVAL);
	close(p[0]);
	close(p[1]);
}

/* Who asks for its path has it, again and again; its file and its queue are left alone. */
static void test_kept_listener(void **state)
{
	int kept = bound(path, SOCK_STREAM, 0), first, second, peer, conn;

	assert_int_equal(listen(kept, 4), 0);
	assert_int_equal(listen_keep(kept), 0);
	assert_int_equal(listen_unix(path, 0600, &first), 0);
	assert_int_not_equal(first, kept);
	assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
	peer = connect_to(path);
	assert_true(peer >= 0);
	assert_int_equal(listen_accept(first, &conn), 0);
	close(conn);
	close(peer);

	close(first);
	listen_unlink(path);
	assert_true(exists(path));
	assert_int_equal(listen_accept(kept, &conn), -EAGAIN); /* nobody has knocked */
	assert_int_equal(listen_unix(path, 0600, &second), 0);
	peer = connect_to(path);
	assert_int_equal(listen_accept(second, &conn), 0);
	close(conn);
	close(peer);
	close(second);

	assert_int_equal(listen_unix_type(path, 0600, SOCK_SEQPACKET, 1, &first), -EPROTOTYPE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_listen_and_accept),
		T(test_mode_is_right_under_any_umask),
		T(test_live_socket_is_not_taken),
		T(test_live_socket_with_a_full_backlog_is_not_taken),
		T(test_stale_socket_is_replaced),
		T(test_other_files_are_left_alone),
		T(test_bad_paths),
		T(test_relative_path),
		T(test_race_for_a_stale_path_has_one_winner),
		T(test_adopt),
		T(test_no_descriptor_left),
		T(test_seqpacket),
		T(test_tcp),
		T(test_inherited),
		T(test_path_of_a_listener),
		T(test_kept_listener),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
