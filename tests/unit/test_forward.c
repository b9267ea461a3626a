/* SPDX-License-Identifier: MIT */
/* Forwards in both directions, their text, and what stands in their way. */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "dial.h"
#include "fake_relay.h"
#include "host.h"
#include "listen.h"
#include "log.h"
#include "ports.h"
#include "tmp.h"

static struct loop loop;
static struct host host;
static struct host_vm *vm;
static struct tmp_dir dir;

static int setup(void **state)
{
	char path[128];
	const char *where;
	struct host_vm_config c = { .vm = { .name = "n1", .cid = 3 }, .fd = -1 };

	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&dir);
	assert_int_equal(loop_init(&loop), 0);
	host = (struct host){ .loop = &loop, .ports_base = PORTS_BASE_DEFAULT };
	assert_int_equal(host_init(&host, NULL), 0);
	c.socket_path = tmp_path(&dir, "n1.vu", path, sizeof(path));
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

static void pass_until_answered(const struct hv_conn *conn, unsigned ms)
{
	uint64_t end_ns = loop_now_ns() + ms * 1000000ull;

	while (conn->state == FAKE_REQUESTED && loop_now_ns() < end_ns)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 1000000), 0);
}

/* ---- text ---- */

static void assert_formats(const char *text, const char *as)
{
	char again[TARGET_TEXT_MAX];
	const char *why = NULL;
	struct target t;

	assert_int_equal(target_parse(text, &t, &why), 0);
	target_format(&t, again);
	assert_string_equal(again, as);
}

static void test_targets(void **state)
{
	char path[128] = "unix:/";
	const char *why;
	struct target t;

	assert_formats("tcp:22", "tcp:127.0.0.1:22");
	assert_formats("tcp:127.0.0.1:22", "tcp:127.0.0.1:22");
	assert_formats("tcp:0.0.0.0:65535", "tcp:0.0.0.0:65535");
	assert_formats("tcp:[::1]:22", "tcp:[::1]:22");
	assert_formats("tcp:[0:0::1]:0", "tcp:[::1]:0");
	assert_formats("tcp:[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:1",
		       "tcp:[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1");
	assert_formats("tcp:localhost:22", "tcp:localhost:22");
	assert_formats("unix:/run/x.sock", "unix:/run/x.sock");
	memset(path + 6, 'x', 106);
	assert_formats(path, path); /* 107 bytes of path */
	path[6 + 106] = 'x';
	assert_int_equal(target_parse(path, &t, &why), -EINVAL);
}

static void test_what_is_no_target(void **state)
{
	static const char *const bad[] = {
		"",
		"22",
		"udp:1",
		"tcp:",
		"tcp::22",
		"tcp:host:22",
		"tcp:::1:22",
		"tcp:[::1]22",
		"tcp:[::1:22",
		"tcp:[1.2.3.4]:1",
		"tcp:1.2.3.4",
		"tcp:1.2.3:1",
		"tcp:65536",
		"tcp:-1",
		"tcp:127.0.0.1:x",
		"tcp:[::1]:",
		"tcp:[]:1",
		"unix:",
		"unix:x",
		"TCP:22",
		"tcp:[0000000000000000000000000000000000000000000000000000000000000001]:1",
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		const char *why = NULL;
		struct target t;

		assert_int_equal(target_parse(bad[i], &t, &why), -EINVAL);
		assert_non_null(why);
	}
}

/* ---- helpers ---- */

static struct forward_config config(bool to_guest, uint32_t port, const char *text)
{
	struct forward_config c = { .to_guest = to_guest, .guest_port = port };
	const char *why;

	assert_int_equal(target_parse(text, &c.target, &why), 0);
	return c;
}

static struct forward *add(bool to_guest, uint32_t port, const char *text)
{
	struct forward_config c = config(to_guest, port, text);
	struct forward *f;

	assert_int_equal(forward_add(vm, &c, &f), 0);
	return f;
}

/* A listener on loopback with a port of the kernel's choice. */
static int listen_loopback(int family, struct target *ret_target, char ret_text[TARGET_TEXT_MAX])
{
	const char *why;
	int fd;

	assert_int_equal(
		target_parse(family == AF_INET ? "tcp:0" : "tcp:[::1]:0", ret_target, &why), 0);
	if (listen_tcp(&ret_target->addr[0].sa, ret_target->len[0], 4, &fd) < 0)
		return -1;
	target_learn_port(ret_target, fd);
	target_format(ret_target, ret_text);
	return fd;
}

static int dial_now(const struct forward *f, unsigned i)
{
	int fd = socket(f->target.addr[i].sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, &f->target.addr[i].sa, f->target.len[i]) == 0)
		return fd;
	close(fd);
	return -1;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_reads(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

/* ---- to the guest ---- */

static void assert_carries(struct forward *f, unsigned address)
{
	int fd = dial_now(f, address);

	assert_true(fd >= 0);
	say(fd, "early");
	pass();
	assert_int_equal(fake_newest()->state, FAKE_ASKED);
	assert_int_equal(fake_newest()->guest_port, 22);
	fake_answer(fake_newest(), 0);
	assert_reads(fake_newest()->fd, "early");
	say(fake_newest()->fd, "reply"); /* and no OK line before it */
	assert_reads(fd, "reply");
	close(fd);
}

static void test_tcp_to_guest(void **state)
{
	struct forward *f = add(true, 22, "tcp:0");

	assert_true(target_port(&f->target) != 0);
	assert_carries(f, 0);
	assert_int_equal(f->clients.stats.clients_connected, 1);
}

static void test_localhost_to_guest(void **state)
{
	struct forward *f = add(true, 22, "tcp:localhost:0");

	assert_carries(f, 0);
	if (f->acceptor[1].loop) /* a container may lack IPv6 */
		assert_carries(f, 1);
}

static void test_unix_to_guest(void **state)
{
	char path[128], text[140];
	struct forward *f;
	struct stat st;

	snprintf(text, sizeof(text), "unix:%s", tmp_path(&dir, "ssh", path, sizeof(path)));
	f = add(true, 22, text);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(f->acceptor[0].check_peer);
	assert_carries(f, 0);
	forward_remove(f);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_guest_refuses(void **state)
{
	struct forward *f = add(true, 22, "tcp:0");
	int fd = dial_now(f, 0);

	pass();
	fake_answer(fake_newest(), -ECONNREFUSED);
	assert_reads(fd, "");
	close(fd);
	fake_connect_error = -ENOTCONN;
	fd = dial_now(f, 0);
	pass();
	assert_reads(fd, "");
	close(fd);
	assert_int_equal(f->clients.stats.clients_refused, 2);
}

static void test_removal_closes_those_who_wait(void **state)
{
	struct forward *f = add(true, 22, "tcp:0");
	int connected = dial_now(f, 0), waiting;

	pass();
	fake_answer(fake_newest(), 0);
	waiting = dial_now(f, 0);
	pass();
	forward_remove(f);
	assert_int_equal(fake_newest()->state, FAKE_CANCELLED);
	assert_int_equal(fake_newest()->next->state, FAKE_CONNECTED);
	assert_reads(waiting, "");
	say(connected, "on");
	assert_reads(fake_newest()->next->fd, "on");
	assert_null(vm->forwards);
	close(connected);
	close(waiting);
}

static void test_listening_fails(void **state)
{
	char path[128], text[140];
	struct forward_config c;
	struct forward *f, *first = add(true, 22, "tcp:0");

	target_format(&first->target, text);
	c = config(true, 23, text);
	assert_int_equal(forward_add(vm, &c, &f), -EADDRINUSE);
	c = config(true, 23, "tcp:192.0.2.1:0"); /* not an address of ours */
	assert_int_equal(forward_add(vm, &c, &f), -EADDRNOTAVAIL);
	snprintf(text, sizeof(text), "unix:%s", tmp_path(&dir, "no/x", path, sizeof(path)));
	c = config(true, 23, text);
	assert_int_equal(forward_add(vm, &c, &f), -ENOENT);
	snprintf(text, sizeof(text), "unix:%s", tmp_file(&dir, "file", "mine", path, sizeof(path)));
	c = config(true, 23, text);
	assert_int_equal(forward_add(vm, &c, &f), -ENOTSOCK);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(host.n_forwards, 1);
}

/* ---- to the host ---- */

static void assert_reaches(struct hv_conn *conn, int listener)
{
	int fd;

	pass_until_answered(conn, 5000);
	assert_int_equal(conn->state, FAKE_CONNECTED);
	assert_int_equal(listen_accept(listener, &fd), 0);
	say(fd, "hello");
	assert_reads(conn->fd, "hello");
	close(fd);
}

static void test_to_host(void **state)
{
	char path[128], text[140];
	struct forward *f;
	struct target t;
	int tcp = listen_loopback(AF_INET, &t, text), fd;

	assert_true(tcp >= 0);
	f = add(false, 80, text);
	assert_reaches(fake_request(vm->vm, 80, SOCK_STREAM), tcp);
	assert_int_equal(f->n_requests, 1);
	assert_int_equal(f->n_connected, 1);
	assert_int_equal(fake_request(vm->vm, 81, SOCK_STREAM)->state, FAKE_REFUSED);
	/* Messages do not go over TCP. */
	assert_int_equal(fake_request(vm->vm, 80, SOCK_SEQPACKET)->state, FAKE_REFUSED);
	assert_int_equal(f->n_failed, 1);
	close(tcp);

	assert_int_equal(listen_unix(tmp_path(&dir, "app", path, sizeof(path)), 0600, &fd), 0);
	snprintf(text, sizeof(text), "unix:%s", path);
	add(false, 81, text);
	assert_reaches(fake_request(vm->vm, 81, SOCK_STREAM), fd);
	close(fd);
}

/* What nobody listens at, TCP and Unix. */
static void test_to_host_refused(void **state)
{
	char text[TARGET_TEXT_MAX], path[128], unix_text[140];
	struct hv_conn *conn;
	struct forward *f;
	struct target t;
	int fd = listen_loopback(AF_INET, &t, text);

	close(fd);
	f = add(false, 80, text);
	conn = fake_request(vm->vm, 80, SOCK_STREAM);
	pass_until_answered(conn, 5000);
	assert_int_equal(conn->state, FAKE_REFUSED);
	assert_int_equal(f->n_failed, 1);
	snprintf(unix_text, sizeof(unix_text), "unix:%s",
		 tmp_path(&dir, "app", path, sizeof(path)));
	add(false, 81, unix_text);
	assert_int_equal(fake_request(vm->vm, 81, SOCK_STREAM)->state, FAKE_REFUSED);
	assert_null(vm->requests);
}

/* Only IPv6 answers: the second address is tried. */
static void test_to_host_second_address(void **state)
{
	char text[TARGET_TEXT_MAX];
	struct target t;
	int fd = listen_loopback(AF_INET6, &t, text);

	if (fd < 0) {
		print_message("# SKIP no IPv6 loopback on this host\n");
		skip();
	}
	snprintf(text, sizeof(text), "tcp:localhost:%u", target_port(&t));
	add(false, 80, text);
	assert_reaches(fake_request(vm->vm, 80, SOCK_STREAM), fd);
	close(fd);
}

/* A connection that does not come about: nobody waits for it, and removal and the guest's end are safe. */
static void test_to_host_slow(void **state)
{
	char text[TARGET_TEXT_MAX];
	struct hv_conn *conn[16], *quick;
	struct target t;
	struct forward *f;
	int busy = listen_loopback(AF_INET, &t, text), other;
	unsigned i;

	f = add(false, 80, text); /* a full backlog drops SYNs: connecting hangs */
	for (i = 0; i < array_size(conn); i++) {
		conn[i] = fake_request(vm->vm, 80, SOCK_STREAM);
		pass();
	}
	assert_int_equal(conn[15]->state, FAKE_REQUESTED);
	assert_int_equal(conn[14]->state, FAKE_REQUESTED);
	other = listen_loopback(AF_INET, &t, text);
	add(false, 81, text);
	quick = fake_request(vm->vm, 81, SOCK_STREAM);
	assert_reaches(quick, other);

	fake_give_up(conn[15]);
	forward_remove(f);
	assert_int_equal(conn[14]->state, FAKE_REQUESTED);
	host_remove_vm(vm);
	assert_int_equal(conn[14]->state, FAKE_REFUSED);
	assert_int_equal(fake_count(FAKE_REQUESTED), 0);
	close(busy);
	close(other);
}

static void test_to_host_times_out(void **state)
{
	char text[TARGET_TEXT_MAX];
	struct target t;
	int busy = listen_loopback(AF_INET, &t, text);
	struct hv_conn *conn = NULL;

	add(false, 80, text);
	for (unsigned i = 0; i < 16; i++) {
		conn = fake_request(vm->vm, 80, SOCK_STREAM);
		pass();
	}
	assert_int_equal(conn->state, FAKE_REQUESTED);
	pass_until_answered(conn, (unsigned)(DIAL_TIMEOUT_NS / 1000000) + 2000);
	assert_int_equal(conn->state, FAKE_REFUSED);
	close(busy);
}

/* ---- names and limits ---- */

static void test_ids(void **state)
{
	char longest[FORWARD_ID_MAX + 1] = "";
	const char *const bad[] = { "", "a\nb", "\x7f", longest };
	struct forward_config c = config(false, 1, "tcp:1");
	struct forward *f;

	assert_string_equal(add(false, 1, "tcp:1")->id, "f1");
	assert_int_equal(forward_add(vm, &c, &f), -EEXIST); /* the port */
	c.guest_port = 2;
	c.id = "f3";
	assert_int_equal(forward_add(vm, &c, &f), 0);
	c.guest_port = 3;
	assert_int_equal(forward_add(vm, &c, &f), -EEXIST); /* the id */
	assert_string_equal(add(false, 4, "tcp:1")->id, "f2");
	assert_string_equal(add(false, 5, "tcp:1")->id, "f4");
	c.id = "n1.unix:/a b/\xc3\xa4:22"; /* the orchestrator's are what the lab file says */
	c.guest_port = 6;
	assert_int_equal(forward_add(vm, &c, &f), 0);
	memset(longest, 'x', FORWARD_ID_MAX);
	c.id = longest + 1; /* 255 bytes */
	c.guest_port = 7;
	assert_int_equal(forward_add(vm, &c, &f), 0);
	for (size_t i = 0; i < array_size(bad); i++) {
		c.id = bad[i];
		c.guest_port = 100;
		assert_int_equal(forward_add(vm, &c, &f), -EINVAL);
	}
	assert_ptr_equal(forward_find(&host, "f3")->vm, vm);
	assert_null(forward_find(&host, "f5"));
	assert_null(forward_of_port(vm, 100));
}

static void test_limit(void **state)
{
	struct forward_config c = config(false, FORWARDS_MAX, "tcp:1");
	struct forward *f;

	for (uint32_t i = 0; i < FORWARDS_MAX; i++)
		add(false, i, "tcp:1");
	assert_int_equal(forward_add(vm, &c, &f), -ENOSPC);
	forward_remove(forward_find(&host, "f1"));
	assert_int_equal(forward_add(vm, &c, &f), 0);
}

static void test_forwards_go_with_their_vm(void **state)
{
	const char *where;
	char path[128];
	struct host_vm *second;
	struct host_vm_config hc = { .vm = { .name = "n2", .cid = 4 }, .fd = -1 };
	struct forward_config c = config(false, 80, "tcp:1");
	struct forward *f;

	hc.socket_path = tmp_path(&dir, "n2.vu", path, sizeof(path));
	assert_int_equal(host_add_vm(&host, &hc, &second, &where), 0);
	add(true, 22, "tcp:0");
	add(false, 80, "tcp:1");
	assert_int_equal(forward_add(second, &c, &f), 0); /* the same port of another guest */
	host_remove_vm(vm);
	assert_int_equal(host.n_forwards, 1);
	assert_ptr_equal(second->forwards, f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_what_is_no_target),
		TEST(test_tcp_to_guest),
		TEST(test_localhost_to_guest),
		TEST(test_unix_to_guest),
		TEST(test_guest_refuses),
		TEST(test_removal_closes_those_who_wait),
		TEST(test_listening_fails),
		TEST(test_to_host),
		TEST(test_to_host_refused),
		TEST(test_to_host_second_address),
		TEST(test_to_host_slow),
		TEST(test_to_host_times_out),
		TEST(test_ids),
		TEST(test_limit),
		TEST(test_forwards_go_with_their_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
