/* SPDX-License-Identifier: MIT */
/* A VM's sockets on the host: CONNECT and its answer, P_<port>, and clients and listeners that do not behave. */
#include "hybrid.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "connect_line.h"
#include "dial.h"
#include "fake_relay.h"
#include "host.h"
#include "listen.h"
#include "log.h"
#include "tmp.h"

#define GUID_22 "00000016-facb-11e6-bd58-64006a7986d3"

static struct loop loop;
static struct host host;
static struct host_vm *vm;
static struct tmp_dir dir;
static char p_path[128];

static int setup(void **state)
{
	char vu_path[128];
	const char *where;
	struct host_vm_config c = { .vm = { .name = "n1", .cid = 3 }, .fd = -1 };

	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&dir);
	assert_int_equal(loop_init(&loop), 0);
	host = (struct host){ .loop = &loop, .ports_base = PORTS_BASE_DEFAULT };
	assert_int_equal(host_init(&host, NULL), 0);
	c.socket_path = tmp_path(&dir, "n1.vu", vu_path, sizeof(vu_path));
	c.uds_path = tmp_path(&dir, "n1.vs", p_path, sizeof(p_path));
	assert_int_equal(host_add_vm(&host, &c, &vm, &where), 0);
	return 0;
}

static int teardown(void **state)
{
	host_done(&host);
	fake_clear();
	loop_done(&loop);
	tmp_dir_done(&dir);
	return 0;
}

static void pass(void)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_once(&loop, 0), 0);
}

/* Passes until the time is over or there is a connection in that state. */
static void pass_until(enum fake_state state, unsigned ms)
{
	uint64_t end_ns = loop_now_ns() + ms * 1000000ull;

	while (fake_count(state) == 0 && loop_now_ns() < end_ns)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 1000000), 0);
}

static int dial_path(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int client(void)
{
	int fd = dial_path(p_path, SOCK_STREAM);

	assert_true(fd >= 0);
	return fd;
}

static int seq_client(void)
{
	char path[140];
	int fd;

	snprintf(path, sizeof(path), "%s.seq", p_path);
	fd = dial_path(path, SOCK_SEQPACKET);
	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_reads(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

/* Neither data nor an end: it is still being served. */
static void assert_silent(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* What was sent and never read turns the end into a reset. */
static void assert_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static void test_connect(void **state)
{
	int fd = client();

	say(fd, "CONNECT 52\n");
	pass();
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	assert_int_equal(fake_newest()->guest_port, 52);
	assert_int_equal(fake_newest()->type, SOCK_STREAM);
	assert_silent(fd);
	fake_answer(fake_newest(), 0);
	assert_reads(fd, "OK 1073741824\n");
	assert_int_equal(vm->hybrid.clients.stats.clients_connected, 1);
	close(fd);
}

static void test_connect_by_guid(void **state)
{
	int fd = client();

	say(fd, "connect " GUID_22 "\r\n");
	pass();
	assert_int_equal(fake_newest()->guest_port, 22);
	fake_answer(fake_newest(), 0);
	assert_reads(fd, "OK 40000000-facb-11e6-bd58-64006a7986d3\n");
	close(fd);
}

static void test_what_follows_the_line_is_the_guests(void **state)
{
	int fd = client();

	say(fd, "CONNECT 52\nCONNECT 53\nhello");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	pass();
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	fake_answer(fake_newest(), 0);
	assert_reads(fake_newest()->fd, "CONNECT 53\nhello");
	assert_reads(fake_newest()->fd, "");
	assert_reads(fd, "OK 1073741824\n");
	close(fd);
}

static void test_byte_by_byte(void **state)
{
	static const char line[] = "CONNECT 52\nhello";
	int fd = client();

	for (const char *c = line; *c; c++) {
		assert_int_equal(send(fd, c, 1, 0), 1);
		pass();
	}
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	fake_answer(fake_newest(), 0);
	assert_reads(fake_newest()->fd, "hello");
	close(fd);
}

static void test_refused(void **state)
{
	static const int errors[] = { -ENOTCONN, -EMFILE, -EPROTONOSUPPORT };
	int fd = client();

	say(fd, "CONNECT 52\n");
	pass();
	fake_answer(fake_newest(), -ECONNREFUSED);
	assert_closed(fd);
	close(fd);
	for (size_t i = 0; i < array_size(errors); i++) {
		fake_connect_error = errors[i];
		fd = client();
		say(fd, "CONNECT 52\n");
		pass();
		assert_closed(fd);
		close(fd);
	}
	assert_int_equal(vm->hybrid.clients.stats.clients_refused, 4);
	assert_null(vm->hybrid.clients.oldest);
}

static void test_rubbish_is_closed(void **state)
{
	static const char *const bad[] = { "GET / HTTP/1.1\r\n", "\n", "CONNECT x\n", "CONNECT\n",
					   "CONNECT INIT\n" };
	char much[4096];
	int fd;

	for (size_t i = 0; i < array_size(bad); i++) {
		fd = client();
		say(fd, bad[i]);
		pass();
		assert_closed(fd);
		close(fd);
	}
	memset(much, ' ', sizeof(much));
	memcpy(much, "CONNECT", 7);
	fd = client();
	assert_int_equal(send(fd, much, sizeof(much), 0), sizeof(much));
	pass();
	assert_closed(fd);
	close(fd);
	assert_int_equal(vm->hybrid.clients.stats.lines_bad, array_size(bad) + 1);
	assert_null(fake_newest());
}

/* A client that dies: silent, amid its line, behind it, and while the guest thinks. */
static void test_clients_that_die(void **state)
{
	static const char *const last_words[] = { "", "CONN", "CONNECT 52" };
	int fd;

	for (size_t i = 0; i < array_size(last_words); i++) {
		fd = client();
		say(fd, last_words[i]);
		pass();
		close(fd);
		pass();
	}
	assert_null(fake_newest());
	assert_int_equal(vm->hybrid.clients.stats.clients_gone, 3);

	fd = client();
	say(fd, "CONNECT 52\n");
	pass();
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	close(fd);
	pass();
	assert_int_equal(fake_count(FAKE_CANCELLED), 1);
	assert_null(vm->hybrid.clients.oldest);

	/* In the same moment as the answer: the relay has it, and finds it ended. */
	fd = client();
	say(fd, "CONNECT 52\n");
	pass();
	close(fd);
	fake_answer(fake_newest(), 0);
	pass();
	assert_int_equal(fake_count(FAKE_CONNECTED), 1);
}

static void test_silent_client_times_out(void **state)
{
	int silent = client(), slow = client(), fd;

	pass();
	say(slow, "CONNECT ");
	pass();
	assert_int_equal(vm->hybrid.clients.n_half_open, 2);
	/* The clock is not ours to move: what is asserted is the timer that was set. */
	assert_true(loop.timers->at_ns > loop_now_ns() + CLIENT_LINE_NS - 1000000000ull);
	assert_true(loop.timers->at_ns <= loop_now_ns() + CLIENT_LINE_NS);
	loop.timers->fn(loop.timers);
	loop.timers->fn(loop.timers);
	pass();
	assert_closed(silent);
	assert_closed(slow);
	assert_int_equal(vm->hybrid.clients.stats.lines_timeout, 2);

	/* Once the line is there the time is the guest's. */
	fd = client();
	say(fd, "CONNECT 52\n");
	pass();
	assert_null(loop.timers);
	close(silent);
	close(slow);
	close(fd);
}

static void test_half_open_limit(void **state)
{
	int fd[CLIENT_HALF_OPEN_MAX + 1], late;

	for (unsigned i = 0; i < CLIENT_HALF_OPEN_MAX; i++) {
		fd[i] = client();
		pass();
	}
	assert_int_equal(vm->hybrid.clients.n_half_open, CLIENT_HALF_OPEN_MAX);
	assert_int_equal(vm->hybrid.clients.stats.lines_evicted, 0);
	/* One whose line is whole does not count. */
	say(fd[0], "CONNECT 1\n");
	pass();
	assert_int_equal(vm->hybrid.clients.n_half_open, CLIENT_HALF_OPEN_MAX - 1);
	fd[CLIENT_HALF_OPEN_MAX] = client();
	pass();
	assert_int_equal(vm->hybrid.clients.stats.lines_evicted, 0);
	assert_silent(fd[1]);

	/* Nor does one that brings its line along. */
	late = client();
	say(late, "CONNECT 2\n");
	pass();
	assert_int_equal(vm->hybrid.clients.stats.lines_evicted, 0);
	close(late);

	late = client();
	pass();
	assert_int_equal(vm->hybrid.clients.stats.lines_evicted, 1);
	assert_silent(late);
	close(late);
	assert_silent(fd[0]);
	assert_closed(fd[1]);
	assert_silent(fd[2]);
	for (unsigned i = 0; i < array_size(fd); i++)
		close(fd[i]);
	for (unsigned i = 0; i < array_size(fd) / LOOP_BATCH + 1; i++)
		pass();
	assert_null(vm->hybrid.clients.oldest);
}

/* Nothing piles up, and whoever comes last is served like the first. */
static void test_ten_thousand_connects(void **state)
{
	for (unsigned i = 0; i < 10000; i++) {
		int fd = client();

		say(fd, i % 2 ? "CONNECT 52\n" : "rubbish\n");
		pass();
		if (i % 2)
			fake_answer(fake_newest(), -ECONNREFUSED);
		assert_closed(fd);
		close(fd);
	}
	assert_int_equal(vm->hybrid.clients.stats.clients, 10000);
	assert_int_equal(vm->hybrid.clients.stats.clients_refused, 5000);
	assert_null(vm->hybrid.clients.oldest);
}

static void test_accept_budget(void **state)
{
	int fd[ACCEPTOR_BUDGET + 1];

	for (unsigned i = 0; i < array_size(fd); i++)
		fd[i] = client();
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(vm->hybrid.clients.stats.clients, ACCEPTOR_BUDGET);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(vm->hybrid.clients.stats.clients, ACCEPTOR_BUDGET + 1);
	for (unsigned i = 0; i < array_size(fd); i++)
		close(fd[i]);
}

/* Without descriptors nobody is accepted, nothing spins, and those who wait are served afterwards. */
static void test_no_descriptors(void **state)
{
	struct rlimit old, low;
	int waiting[3], used, idle = client();

	pass(); /* the reserve of listen_accept() is there */
	for (unsigned i = 0; i < array_size(waiting); i++)
		waiting[i] = client();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	used = dup(0);
	close(used);
	low = old;
	low.rlim_cur = (rlim_t)used;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_true(vm->hybrid.stream.pause.set);
	assert_closed(waiting[0]); /* it met the lack */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(vm->hybrid.clients.stats.clients, 1);
	assert_silent(waiting[1]);
	assert_int_equal(fake_request(vm->vm, 22, SOCK_STREAM)->state, FAKE_REFUSED);
	pass(); /* its memory goes */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);

	assert_int_equal(loop_once(&loop, loop_now_ns() + 2 * ACCEPTOR_PAUSE_NS), 0);
	say(waiting[1], "CONNECT 52\n");
	pass();
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	for (unsigned i = 0; i < array_size(waiting); i++)
		close(waiting[i]);
	close(idle);
}

static void test_seqpacket(void **state)
{
	int fd = seq_client();

	say(fd, "CONNECT 52\n");
	say(fd, "hello");
	pass();
	assert_int_equal(fake_count(FAKE_ASKED), 1);
	assert_int_equal(fake_newest()->type, SOCK_SEQPACKET);
	fake_answer(fake_newest(), 0);
	assert_reads(fd, "OK 1073741824\n");
	assert_reads(fake_newest()->fd, "hello");
	close(fd);
}

static void test_seqpacket_rubbish(void **state)
{
	static const char *const bad[] = { "CONNECT 52", "CONNECT 52\nhello", "CONNECT 52\nhello\n",
					   "X" };
	char long_packet[CONNECT_LINE_MAX + 1];
	int fd;

	for (size_t i = 0; i < array_size(bad); i++) {
		fd = seq_client();
		say(fd, bad[i]);
		pass();
		assert_closed(fd);
		close(fd);
	}
	memset(long_packet, ' ', sizeof(long_packet));
	memcpy(long_packet, "CONNECT 5", 9);
	long_packet[CONNECT_LINE_MAX - 1] = long_packet[CONNECT_LINE_MAX] = '\n';
	for (size_t len = CONNECT_LINE_MAX; len <= sizeof(long_packet); len++) {
		fd = seq_client();
		assert_int_equal(send(fd, long_packet, len, 0), len);
		pass();
		assert_int_equal(fake_count(FAKE_ASKED), len == CONNECT_LINE_MAX); /* it fits */
		close(fd);
		pass();
	}
	assert_int_equal(vm->hybrid.clients.stats.lines_bad, array_size(bad) + 1);
}

/* ---- from the guest ---- */

static int listen_at(const char *suffix, int type)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s%s", p_path, suffix);
	assert_int_equal(listen_unix_type(path, 0600, type, 4, &fd), 0);
	return fd;
}

static void assert_served_by(const struct hv_conn *conn, int listener)
{
	int fd;

	assert_int_equal(conn->state, FAKE_CONNECTED);
	assert_int_equal(listen_accept(listener, &fd), 0);
	say(fd, "hello");
	assert_reads(conn->fd, "hello");
	close(fd);
}

static void test_guest_connects(void **state)
{
	int by_number = listen_at("_22", SOCK_STREAM), seq = listen_at("_23", SOCK_SEQPACKET);
	int by_guid = listen_at("_" GUID_22, SOCK_STREAM);

	assert_served_by(fake_request(vm->vm, 22, SOCK_STREAM), by_number);
	assert_served_by(fake_request(vm->vm, 23, SOCK_SEQPACKET), seq);
	assert_null(vm->requests);
	close(by_number);
	assert_int_equal(fake_request(vm->vm, 22, SOCK_STREAM)->state, FAKE_REFUSED); /* dead */
	{
		char path[160];

		snprintf(path, sizeof(path), "%s_22", p_path);
		assert_int_equal(unlink(path), 0);
	}
	assert_served_by(fake_request(vm->vm, 22, SOCK_STREAM), by_guid);
	close(seq);
	close(by_guid);
}

static void test_guest_is_refused(void **state)
{
	char path[160];
	int stream = listen_at("_22", SOCK_STREAM), fd;

	assert_int_equal(fake_request(vm->vm, 1, SOCK_STREAM)->state, FAKE_REFUSED); /* nothing */
	assert_int_equal(fake_request(vm->vm, UINT32_MAX, SOCK_STREAM)->state, FAKE_REFUSED);
	assert_int_equal(fake_request(vm->vm, 22, SOCK_SEQPACKET)->state, FAKE_REFUSED);

	snprintf(path, sizeof(path), "%s_2", p_path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(fake_request(vm->vm, 2, SOCK_STREAM)->state, FAKE_REFUSED); /* a file */
	snprintf(path, sizeof(path), "%s_3", p_path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(fake_request(vm->vm, 3, SOCK_STREAM)->state, FAKE_REFUSED);
	snprintf(path, sizeof(path), "%s_4", p_path);
	assert_int_equal(symlink(path, path), 0); /* to itself */
	assert_int_equal(fake_request(vm->vm, 4, SOCK_STREAM)->state, FAKE_REFUSED);
	assert_null(vm->requests);
	close(stream);
}

/* A listener that does not accept holds up its own client alone; room in its backlog serves it. */
static void test_full_backlog(void **state)
{
	struct hv_conn *waiting[8], *last;
	int fd, busy = listen_at("_22", SOCK_STREAM), other = listen_at("_23", SOCK_STREAM);

	for (unsigned i = 0; i < array_size(waiting); i++)
		waiting[i] = fake_request(vm->vm, 22, SOCK_STREAM);
	last = fake_newest();
	assert_int_equal(last->state, FAKE_REQUESTED);
	assert_served_by(fake_request(vm->vm, 23, SOCK_STREAM), other);
	pass();
	assert_int_equal(last->state, FAKE_REQUESTED);

	for (uint64_t end_ns = loop_now_ns() + 5000000000ull;
	     fake_count(FAKE_REQUESTED) && loop_now_ns() < end_ns;) {
		if (listen_accept(busy, &fd) == 0)
			close(fd);
		assert_int_equal(loop_once(&loop, loop_now_ns() + DIAL_RETRY_NS), 0);
	}
	for (unsigned i = 0; i < array_size(waiting); i++)
		assert_int_equal(waiting[i]->state, FAKE_CONNECTED);
	assert_null(vm->requests);
	close(busy);
	close(other);
}

static void test_guest_gives_up(void **state)
{
	int busy = listen_at("_22", SOCK_STREAM);
	struct hv_conn *conn;

	for (unsigned i = 0; i < 8; i++)
		fake_request(vm->vm, 22, SOCK_STREAM);
	conn = fake_newest();
	assert_int_equal(conn->state, FAKE_REQUESTED);
	fake_give_up(conn);
	pass();
	/* Those that still wait are refused when their listener dies. */
	assert_true(fake_count(FAKE_REQUESTED) > 0);
	close(busy);
	pass_until(FAKE_REFUSED, 5000);
	for (unsigned i = 0; i < 8 && fake_count(FAKE_REQUESTED); i++)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 2 * DIAL_RETRY_NS), 0);
	assert_int_equal(fake_count(FAKE_REQUESTED), 0);
	assert_int_equal(conn->state, FAKE_GONE);
	assert_null(vm->requests);
}

static void test_dialing_ends_by_itself(void **state)
{
	int busy = listen_at("_22", SOCK_STREAM);

	for (unsigned i = 0; i < 8; i++)
		fake_request(vm->vm, 22, SOCK_STREAM);
	assert_true(fake_count(FAKE_REQUESTED) > 0);
	pass_until(FAKE_REFUSED, (unsigned)(DIAL_TIMEOUT_NS / 1000000) + 2000);
	for (unsigned i = 0; i < 8 && fake_count(FAKE_REQUESTED); i++)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 2 * DIAL_RETRY_NS), 0);
	assert_int_equal(fake_count(FAKE_REQUESTED), 0);
	close(busy);
}

/* ---- the sockets themselves ---- */

static void assert_mode_0600(const char *suffix)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s%s", p_path, suffix);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_files(void **state)
{
	char path[160];

	assert_mode_0600("");
	assert_mode_0600(".seq");
	host_remove_vm(vm);
	assert_int_equal(access(p_path, F_OK), -1);
	snprintf(path, sizeof(path), "%s.seq", p_path);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_vm_goes_with_its_clients(void **state)
{
	int silent = client(), asking = client(), busy = listen_at("_22", SOCK_STREAM);

	say(asking, "CONNECT 52\n");
	pass();
	for (unsigned i = 0; i < 8; i++)
		fake_request(vm->vm, 22, SOCK_STREAM);
	assert_true(fake_count(FAKE_REQUESTED) > 0);
	host_remove_vm(vm); /* the fake asserts that nothing is left */
	assert_closed(silent);
	assert_closed(asking);
	assert_int_equal(fake_count(FAKE_CANCELLED), 1);
	assert_int_equal(fake_count(FAKE_REQUESTED), 0);
	close(silent);
	close(asking);
	close(busy);
}

static int add_at(const char *uds_path, struct host_vm **ret_vm)
{
	char vu_path[128];
	const char *where;
	struct host_vm_config c = { .vm = { .name = "n2", .cid = 4 }, .fd = -1 };
	int r;

	c.socket_path = tmp_path(&dir, "n2.vu", vu_path, sizeof(vu_path));
	c.uds_path = uds_path;
	r = host_add_vm(&host, &c, ret_vm, &where);
	if (r < 0) {
		assert_ptr_equal(where, uds_path);
		assert_int_equal(access(vu_path, F_OK), -1); /* nothing is left */
		assert_null(host_find_vm(&host, "n2"));
	}
	return r;
}

static void test_longest_path(void **state)
{
	char path[128];
	struct host_vm *second;
	struct target t;
	size_t len = strlen(dir.path);

	memset(path, 'x', sizeof(path));
	memcpy(path, dir.path, len);
	path[len] = '/';
	path[HYBRID_PATH_MAX + 1] = '\0';
	assert_int_equal(add_at(path, &second), -ENAMETOOLONG);
	path[HYBRID_PATH_MAX] = '\0';
	assert_int_equal(add_at(path, &second), 0);
	assert_int_equal(hybrid_target(&second->hybrid, UINT32_MAX, false, &t), 0);
	assert_int_equal(hybrid_target(&second->hybrid, 1, true, &t), -ENAMETOOLONG);
	/* And so a guest is refused, not forgotten. */
	assert_int_equal(fake_request(second->vm, UINT32_MAX, SOCK_STREAM)->state, FAKE_REFUSED);
}

static void test_paths_in_use(void **state)
{
	char path[128], seq[140];
	struct host_vm *second;
	int fd;

	assert_int_equal(add_at(p_path, &second), -EADDRINUSE); /* n1's */
	close(client());                                        /* who lives on */

	/* P.seq taken: P is not left behind. */
	tmp_path(&dir, "n2.vs", path, sizeof(path));
	snprintf(seq, sizeof(seq), "%s.seq", path);
	fd = open(seq, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(add_at(path, &second), -ENOTSOCK);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(unlink(seq), 0);

	/* Stale ones are taken over. */
	assert_int_equal(listen_unix_type(seq, 0600, SOCK_SEQPACKET, 1, &fd), 0);
	close(fd);
	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	close(fd);
	assert_int_equal(add_at(path, &second), 0);
}

/* A process of another user, where the suite may make one. */
static void test_another_user_is_refused(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("# SKIP only root can be another user, too\n");
		skip();
	}
	assert_int_equal(chmod(dir.path, 0755), 0);
	assert_int_equal(chmod(p_path, 0666), 0);
	pid = fork();
	if (pid == 0) {
		int fd;

		if (setuid(65534) < 0)
			_exit(2);
		fd = dial_path(p_path, SOCK_STREAM);
		_exit(fd >= 0 && send(fd, "CONNECT 52\n", 11, MSG_NOSIGNAL) == 11 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pass();
	assert_int_equal(vm->hybrid.stream.n_refused, 1);
	assert_int_equal(vm->hybrid.clients.stats.clients, 0);
	assert_null(fake_newest());
}

/* The other way round: a stranger was first to listen at P_<port>. */
static void test_listener_of_another_user_is_refused(void **state)
{
	char path[160];
	int fd, status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("# SKIP only root can be another user, too\n");
		skip();
	}
	assert_int_equal(chmod(dir.path, 0777), 0);
	snprintf(path, sizeof(path), "%s_22", p_path);
	pid = fork();
	if (pid == 0) {
		if (setuid(65534) < 0 || listen_unix(path, 0666, &fd) < 0)
			_exit(1);
		pause();
	}
	for (unsigned i = 0; i < 500 && access(path, F_OK) < 0; i++)
		usleep(10000);
	usleep(10000); /* from the file to listen() */
	assert_int_equal(fake_request(vm->vm, 22, SOCK_STREAM)->state, FAKE_REFUSED);
	{
		struct forward_config c = { .guest_port = 23 };
		struct forward *f;

		/* Where the operator has named the path himself, he knows who is there. */
		assert_int_equal(target_unix(path, &c.target), 0);
		assert_int_equal(forward_add(vm, &c, &f), 0);
		assert_int_equal(fake_request(vm->vm, 23, SOCK_STREAM)->state, FAKE_CONNECTED);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_connect),
		TEST(test_connect_by_guid),
		TEST(test_what_follows_the_line_is_the_guests),
		TEST(test_byte_by_byte),
		TEST(test_refused),
		TEST(test_rubbish_is_closed),
		TEST(test_clients_that_die),
		TEST(test_silent_client_times_out),
		TEST(test_half_open_limit),
		TEST(test_ten_thousand_connects),
		TEST(test_accept_budget),
		TEST(test_no_descriptors),
		TEST(test_seqpacket),
		TEST(test_seqpacket_rubbish),
		TEST(test_guest_connects),
		TEST(test_guest_is_refused),
		TEST(test_full_backlog),
		TEST(test_guest_gives_up),
		TEST(test_dialing_ends_by_itself),
		TEST(test_files),
		TEST(test_vm_goes_with_its_clients),
		TEST(test_longest_path),
		TEST(test_paths_in_use),
		TEST(test_another_user_is_refused),
		TEST(test_listener_of_another_user_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
