/* SPDX-License-Identifier: MIT */
/* The port for QEMU's stream netdev: framing, both roles, peers that go, come, are slow or lie. */
#include "port_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "listen.h"
#include "port_stream_frame.h"
#include "tmp.h"
#include "uplink_fixture.h"

static struct lab lab;
static struct tmp_dir dir;
static char path[108], json[512];

static int setup(void **state)
{
	lab_up(&lab);
	tmp_dir_init(&dir);
	tmp_path(&dir, "s.sock", path, sizeof(path));
	return 0;
}

static int teardown(void **state)
{
	lab_down(&lab);
	tmp_dir_done(&dir);
	return 0;
}

static struct sw_port *open_port(bool client)
{
	struct sw_port *p;

	snprintf(json, sizeof(json),
		 "{\"name\":\"s\",\"type\":\"stream\",\"socket-path\":\"%s\",\"client\":%s}", path,
		 client ? "true" : "false");
	p = lab_open(&lab, json);
	assert_non_null(p);
	return p;
}

/* A peer of the port, as QEMU is one. */
static int connect_peer(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void write_all(int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static void write_frame(int fd, const uint8_t *frame, uint32_t len)
{
	uint8_t bytes[STREAM_LEN_SIZE + 2048];

	assert_true(len <= 2048);
	stream_len_put(bytes, len);
	memcpy(bytes + STREAM_LEN_SIZE, frame, len);
	write_all(fd, bytes, STREAM_LEN_SIZE + len);
}

/* Read a frame that has to come, while the loop runs. */
static uint32_t read_frame(int fd, uint8_t *to, uint32_t size)
{
	uint8_t bytes[STREAM_LEN_SIZE];
	size_t got = 0, want = STREAM_LEN_SIZE;
	uint32_t len = 0;

	while (got < want) {
		uint8_t *at = got < STREAM_LEN_SIZE ? bytes + got : to + got - STREAM_LEN_SIZE;
		size_t room = (got < STREAM_LEN_SIZE ? STREAM_LEN_SIZE : want) - got;
		ssize_t n = recv(fd, at, room, MSG_DONTWAIT);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			lab_pass(&lab);
			continue;
		}
		assert_true(n > 0);
		got += (size_t)n;
		if (got == STREAM_LEN_SIZE) {
			len = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
			      (uint32_t)bytes[2] << 8 | bytes[3];
			assert_true(len <= size);
			want += len;
		}
	}
	return len;
}

static void test_serves(void **state)
{
	struct sw_port *p = open_port(false);
	uint8_t frame[60], got[2048], other[1514];
	struct stat st;
	int fd;

	assert_string_equal(lab_describe(p, "state"), "listening");
	assert_false(p->up);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	fd = connect_peer();
	lab_wait_state(&lab, p, "running");
	assert_true(p->up);

	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 7);
	write_frame(fd, frame, sizeof(frame));
	lab_wait_frames(&lab, 1);
	assert_true(lab_is(&lab, 0, frame, sizeof(frame)));

	lab_frame(other, sizeof(other), 1, 2, 9);
	lab_send(&lab, other, sizeof(other));
	assert_int_equal(read_frame(fd, got, sizeof(got)), sizeof(other));
	assert_memory_equal(got, other, sizeof(other));
	assert_int_equal(p->stats.egress_frames, 1);
	assert_int_equal(p->stats.egress_bytes, sizeof(other));
	close(fd);
	lab_wait_state(&lab, p, "listening");
	assert_false(p->up);

	fd = connect_peer();
	lab_wait_state(&lab, p, "running");
	close(fd);
	lab_close(&lab, p);
	assert_int_equal(stat(path, &st), -1);
}

static void test_one_peer(void **state)
{
	struct sw_port *p = open_port(false);
	int first = connect_peer(), second;
	uint8_t frame[60];
	char byte;

	lab_wait_state(&lab, p, "running");
	second = connect_peer();
	while (p->stats.sessions_refused == 0)
		lab_pass(&lab);
	assert_int_equal(read(second, &byte, 1), 0);
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 7);
	write_frame(first, frame, sizeof(frame));
	lab_wait_frames(&lab, 1);
	close(first);
	close(second);
}

static void test_pieces_of_a_stream(void **state)
{
	struct sw_port *p = open_port(false);
	int fd = connect_peer();
	uint8_t bytes[STREAM_LEN_SIZE + 100];

	lab_wait_state(&lab, p, "running");
	stream_len_put(bytes, 100);
	lab_frame(bytes + STREAM_LEN_SIZE, 100, LAB_GROUP, 1, 3);
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(lab.probe.n, 0);
		write_all(fd, bytes + i, 1);
		lab_pass(&lab);
	}
	lab_wait_frames(&lab, 1);
	assert_true(lab_is(&lab, 0, bytes + STREAM_LEN_SIZE, 100));
	close(fd);
}

static void test_many_at_once(void **state)
{
	struct sw_port *p = open_port(false);
	int fd = connect_peer();
	static uint8_t bytes[200 * (STREAM_LEN_SIZE + 60)];

	lab_wait_state(&lab, p, "running");
	for (unsigned i = 0; i < 200; i++) {
		uint8_t *at = bytes + i * (STREAM_LEN_SIZE + 60);

		stream_len_put(at, 60);
		lab_frame(at + STREAM_LEN_SIZE, 60, LAB_GROUP, 1, (uint8_t)i);
	}
	write_all(fd, bytes, sizeof(bytes));
	lab_wait_frames(&lab, 200);
	for (unsigned i = 0; i < 200; i++)
		assert_true(
			lab_is(&lab, i, bytes + i * (STREAM_LEN_SIZE + 60) + STREAM_LEN_SIZE, 60));
	close(fd);
}

static void refuse_length(uint32_t len, bool refused)
{
	struct sw_port *p = open_port(false);
	int fd = connect_peer();
	uint8_t bytes[STREAM_LEN_SIZE];
	char byte;

	lab_wait_state(&lab, p, "running");
	stream_len_put(bytes, len);
	write_all(fd, bytes, sizeof(bytes));
	for (int i = 0; i < 10; i++)
		lab_pass(&lab);
	assert_string_equal(lab_describe(p, "state"), refused ? "listening" : "running");
	if (refused)
		assert_int_equal(read(fd, &byte, 1), 0);
	close(fd);
	lab_close(&lab, p);
}

static void test_lengths_that_lie(void **state)
{
	refuse_length(0, true);
	refuse_length(SW_FRAME_MAX, false);
	refuse_length(SW_FRAME_MAX + 1, true);
	refuse_length(UINT32_MAX, true);
}

/* A peer that reads nothing: what is kept is bounded, what is dropped is counted, and the stream stays whole. */
static void test_slow_peer(void **state)
{
	struct sw_port *p = open_port(false);
	int fd = connect_peer();
	static uint8_t frame[1514], got[2048];
	uint64_t sent = 0;

	lab_wait_state(&lab, p, "running");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 0);
	while (p->stats.egress_drop_full == 0) {
		lab_send_burst(&lab, frame, sizeof(frame), 64);
		sent += 64;
		assert_true(sent * sizeof(frame) < 64u << 20);
	}
	assert_true(p->stats.egress_bytes >= PORT_STREAM_OUT_MAX - 2 * sizeof(frame));
	assert_int_equal(p->stats.egress_frames + p->stats.egress_drop_full, sent);
	for (uint64_t i = 0; i < p->stats.egress_frames; i++) {
		assert_int_equal(read_frame(fd, got, sizeof(got)), sizeof(frame));
		assert_memory_equal(got, frame, sizeof(frame));
	}
	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 99);
	lab_send(&lab, frame, sizeof(frame));
	assert_int_equal(read_frame(fd, got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	close(fd);
}

/* More pieces than a system call takes, in a frame of the longest kind. */
static void test_many_pieces(void **state)
{
	struct sw_port *p = open_port(false);
	int fd = connect_peer();
	static uint8_t frame[SW_FRAME_MAX], got[SW_FRAME_MAX];

	lab_wait_state(&lab, p, "running");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 5);
	lab_send_pieces(&lab, frame, sizeof(frame), 100);
	assert_int_equal(read_frame(fd, got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	lab_send_pieces(&lab, frame, 1000, 1);
	assert_int_equal(read_frame(fd, got, sizeof(got)), 1000);
	assert_memory_equal(got, frame, 1000);
	close(fd);
}

static void test_client_comes_back(void **state)
{
	struct sw_port *p = open_port(true);
	int listen_fd, fd;
	uint8_t frame[60];

	assert_string_equal(lab_describe(p, "state"), "down");
	assert_string_equal(lab_describe(p, "why"), "socket-path: No such file or directory");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(listen_unix(path, 0600, &listen_fd), 0);
		lab_wait_state(&lab, p, "running");
		assert_null(lab_describe(p, "why"));
		fd = accept(listen_fd, NULL, NULL);
		assert_true(fd >= 0);
		lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 7);
		write_frame(fd, frame, sizeof(frame));
		lab_wait_frames(&lab, (unsigned)i + 1);
		close(listen_fd);
		close(fd);
		unlink(path);
		lab_wait_state(&lab, p, "down");
		assert_false(p->up);
	}
}

static void test_tcp(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	struct sw_port *server, *client;
	uint8_t frame[60], got[128];

	/* A port that is free just now. */
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	snprintf(json, sizeof(json),
		 "{\"name\":\"srv\",\"type\":\"stream\",\"address\":\"127.0.0.1:%u\"}",
		 ntohs(in.sin_port));
	server = lab_open(&lab, json);
	assert_non_null(server);
	snprintf(json, sizeof(json),
		 "{\"name\":\"again\",\"type\":\"stream\",\"address\":\"127.0.0.1:%u\"}",
		 ntohs(in.sin_port));
	assert_null(lab_open(&lab, json));
	assert_string_equal(lab.why, "address: Address already in use");

	peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&in, sizeof(in)), 0);
	lab_wait_state(&lab, server, "running");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 0);
	lab_send(&lab, frame, sizeof(frame));
	assert_int_equal(read_frame(peer, got, sizeof(got)), sizeof(frame));
	close(peer);
	lab_wait_state(&lab, server, "listening");

	snprintf(
		json, sizeof(json),
		"{\"name\":\"cl\",\"type\":\"stream\",\"address\":\"127.0.0.1:%u\",\"client\":true}",
		ntohs(in.sin_port));
	client = lab_open(&lab, json);
	assert_non_null(client);
	lab_wait_state(&lab, client, "running");
	lab_wait_state(&lab, server, "running");
	lab_close(&lab, server);
	lab_wait_state(&lab, client, "down");
}

static void expect_refused(const char *text, const char *why)
{
	assert_null(lab_open(&lab, text));
	assert_string_equal(lab.why, why);
	assert_null(sw_find(&lab.net.sw, "s"));
}

static void test_bad_members(void **state)
{
	char longer[256];

	expect_refused("{\"name\":\"s\",\"type\":\"stream\"}",
		       "socket-path: either this or address has to be given");
	expect_refused(
		"{\"name\":\"s\",\"type\":\"stream\",\"socket-path\":\"/x\",\"address\":\"1.2.3.4:5\"}",
		"socket-path: either this or address has to be given");
	expect_refused("{\"name\":\"s\",\"type\":\"stream\",\"address\":\"localhost:80\"}",
		       "address: \"localhost:80\" is not like 127.0.0.1:1234 or [::1]:1234");
	expect_refused("{\"name\":\"s\",\"type\":\"stream\",\"address\":\"127.0.0.1\"}",
		       "address: \"127.0.0.1\" is not like 127.0.0.1:1234 or [::1]:1234");
	snprintf(longer, sizeof(longer),
		 "{\"name\":\"s\",\"type\":\"stream\",\"socket-path\":\"/%0107d\"}", 0);
	expect_refused(longer, "socket-path: longer than 107 bytes");
	expect_refused("{\"name\":\"s\",\"type\":\"stream\",\"socket-path\":\"/nowhere/at/all\"}",
		       "socket-path: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_serves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_of_a_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths_that_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_members, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
