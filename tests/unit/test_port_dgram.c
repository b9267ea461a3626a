/* SPDX-License-Identifier: MIT */
/* The port for QEMU's dgram netdev: Unix and UDP, peers that are not there, strangers, long frames. */
#include "port_dgram.h"

#include <errno.h>
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

#include "tmp.h"
#include "uplink_fixture.h"

static struct lab lab;
static struct tmp_dir dir;
static char ours[108], theirs[108], json[512];

static int setup(void **state)
{
	lab_up(&lab);
	tmp_dir_init(&dir);
	tmp_path(&dir, "ours", ours, sizeof(ours));
	tmp_path(&dir, "theirs", theirs, sizeof(theirs));
	return 0;
}

static int teardown(void **state)
{
	lab_down(&lab);
	tmp_dir_done(&dir);
	return 0;
}

static struct sw_port *open_port(const char *local, const char *remote)
{
	snprintf(json, sizeof(json),
		 "{\"name\":\"d\",\"type\":\"dgram\",\"local\":\"%s\",\"remote\":\"%s\"}", local,
		 remote);
	return lab_open(&lab, json);
}

static int unix_peer(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void send_unix(int fd, const void *bytes, size_t len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", ours);
	assert_int_equal(sendto(fd, bytes, len, 0, (struct sockaddr *)&un, sizeof(un)), len);
}

/* A UDP socket at a port that the kernel chooses. */
static int udp_peer(struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*ret = (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static void test_unix(void **state)
{
	struct sw_port *p = open_port(ours, theirs);
	uint8_t frame[60], got[2048], other[1514];
	struct stat st;
	int fd;

	assert_non_null(p);
	assert_true(p->up);
	assert_int_equal(stat(ours, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	/* Nobody is there yet: lost, and nothing else. */
	lab_frame(other, sizeof(other), LAB_GROUP, 2, 9);
	lab_send(&lab, other, sizeof(other));
	assert_int_equal(p->stats.egress_drop_down, 1);
	assert_string_equal(lab_describe(p, "state"), "running");

	for (unsigned i = 0; i < 2; i++) { /* a peer, and another in its place */
		fd = unix_peer(theirs);
		lab_send_burst(&lab, other, sizeof(other), 3);
		for (int k = 0; k < 3; k++) {
			assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), sizeof(other));
			assert_memory_equal(got, other, sizeof(other));
		}
		assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
		lab_frame(frame, sizeof(frame), LAB_GROUP, 1, (uint8_t)i);
		send_unix(fd, frame, sizeof(frame));
		lab_wait_frames(&lab, i + 1);
		assert_true(lab_is(&lab, i, frame, sizeof(frame)));
		close(fd);
		unlink(theirs);
	}
	assert_int_equal(p->stats.egress_frames, 6);
	assert_int_equal(p->stats.egress_bytes, 6 * sizeof(other));
	lab_close(&lab, p);
	assert_int_equal(stat(ours, &st), -1);
}

static void test_a_full_peer(void **state)
{
	struct sw_port *p = open_port(ours, theirs);
	int fd = unix_peer(theirs);
	uint8_t frame[1514];
	unsigned sent = 0, got = 0;

	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 9);
	for (; p->stats.egress_drop_full == 0 && sent < 100000; sent += 64)
		lab_send_burst(&lab, frame, sizeof(frame), 64);
	assert_int_equal(p->stats.egress_frames + p->stats.egress_drop_full, sent);
	while (recv(fd, frame, sizeof(frame), MSG_DONTWAIT) > 0)
		got++;
	assert_int_equal(got, p->stats.egress_frames);
	close(fd);
}

static void test_a_file_left_behind(void **state)
{
	struct sw_port *p;
	int fd = unix_peer(ours);
	FILE *f;

	assert_null(open_port(ours, theirs)); /* somebody receives there */
	assert_string_equal(lab.why, "local: Address already in use");
	close(fd);
	p = open_port(ours, theirs);
	assert_non_null(p);
	lab_close(&lab, p);

	f = fopen(ours, "w"); /* a file that is no socket is not ours to remove */
	assert_non_null(f);
	fclose(f);
	assert_null(open_port(ours, theirs));
	assert_int_equal(access(ours, F_OK), 0);
}

static void test_udp(void **state)
{
	struct sockaddr_in peer_addr, our_addr;
	int peer = udp_peer(&peer_addr), stranger, spare = udp_peer(&our_addr);
	char local[64], remote[64];
	uint8_t frame[60], got[2048];
	static uint8_t longest[SW_FRAME_MAX];
	struct sw_port *p;

	close(spare);
	snprintf(local, sizeof(local), "127.0.0.1:%u", ntohs(our_addr.sin_port));
	snprintf(remote, sizeof(remote), "127.0.0.1:%u", ntohs(peer_addr.sin_port));
	p = open_port(local, remote);
	assert_non_null(p);
	assert_string_equal(lab_describe(p, "local"), local);

	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 4);
	stranger = udp_peer(&(struct sockaddr_in){ 0 });
	assert_int_equal(sendto(stranger, frame, sizeof(frame), 0, (struct sockaddr *)&our_addr,
				sizeof(our_addr)),
			 sizeof(frame));
	assert_int_equal(sendto(peer, frame, sizeof(frame), 0, (struct sockaddr *)&our_addr,
				sizeof(our_addr)),
			 sizeof(frame));
	lab_wait_frames(&lab, 1);
	assert_string_equal(lab_describe(p, "strangers"), "1");

	lab_frame(longest, sizeof(longest), LAB_GROUP, 2, 9);
	lab_send(&lab, longest, 60);
	assert_int_equal(recv(peer, got, sizeof(got), 0), 60);
	assert_memory_equal(got, longest, 60);
	lab_send(&lab, longest, 65507);
	assert_int_equal(p->stats.egress_frames, 2);
	lab_send(&lab, longest, 65508);
	lab_send_pieces(&lab, longest, 1000, 1);
	assert_int_equal(p->stats.egress_frames, 3);
	assert_int_equal(p->stats.egress_drop_size, 1);

	close(peer); /* its host says that nobody is there: frames are lost, the port goes on */
	for (int i = 0; i < 3; i++) {
		lab_send(&lab, longest, 60);
		lab_pass(&lab);
	}
	assert_string_equal(lab_describe(p, "state"), "running");
	close(stranger);
}

static void test_bad_members(void **state)
{
	assert_null(open_port("/x/y", "127.0.0.1:5"));
	assert_string_equal(lab.why, "remote: of another kind than local");
	assert_null(open_port("127.0.0.1", "127.0.0.1:5"));
	assert_string_equal(lab.why,
			    "local: \"127.0.0.1\" is neither a path nor like 127.0.0.1:1234");
	assert_null(open_port("127.0.0.1:70000", "127.0.0.1:5"));
	assert_null(open_port("192.0.2.1:5555", "127.0.0.1:5"));
	assert_string_equal(lab.why, "local: Cannot assign requested address");
	assert_null(open_port("/nowhere/at/all", "/tmp/x"));
	assert_string_equal(lab.why, "local: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_file_left_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_udp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_members, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
