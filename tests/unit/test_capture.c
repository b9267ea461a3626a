/* SPDX-License-Identifier: MIT */
/* Captures, read back by tshark: what is in them, files that rotate, disks that are full, viewers that go away. */
#include "capture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "capture_impl.h"
#include "csum.h"
#include "listen.h"
#include "netns.h"
#include "pcapng.h"
#include "tmp.h"
#include "uplink_fixture.h"

static struct lab lab;
static struct tmp_dir dir;
static struct sw_port *other; /* a second port, behind which nobody is */
static char path[96], params[1024], text[1 << 20];

static int setup(void **state)
{
	char json[512], local[96], remote[96];

	lab_up(&lab);
	lab_control(&lab);
	tmp_dir_init(&dir);
	tmp_path(&dir, "c.pcapng", path, sizeof(path));
	tmp_path(&dir, "local", local, sizeof(local));
	tmp_path(&dir, "remote", remote, sizeof(remote));
	snprintf(json, sizeof(json),
		 "{\"name\":\"other\",\"type\":\"dgram\",\"local\":\"%s\",\"remote\":\"%s\"}",
		 local, remote);
	other = lab_open(&lab, json);
	assert_non_null(other);
	return 0;
}

static int teardown(void **state)
{
	lab_down(&lab);
	tmp_dir_done(&dir);
	return 0;
}

/* A capture of the probe into `path`, with more members; its id is "x". */
static void start(const char *more)
{
	snprintf(params, sizeof(params),
		 "{\"id\":\"x\",\"port\":\"probe\",\"to\":{\"file\":\"%s\"}%s}", path, more);
	json_object_put(lab_call(&lab, "capture.start", params));
}

static struct json_object *list(void)
{
	return lab_call(&lab, "capture.list", "{}");
}

/* A number of the only capture there is. */
static uint64_t number(const char *key)
{
	struct json_object *l = list(), *value, *captures;
	uint64_t n;

	assert_true(json_object_object_get_ex(l, "captures", &captures));
	assert_int_equal(json_object_array_length(captures), 1);
	assert_true(json_object_object_get_ex(json_object_array_get_idx(captures, 0), key, &value));
	n = json_object_get_uint64(value);
	json_object_put(l);
	return n;
}

static void stop(void)
{
	json_object_put(lab_call(&lab, "capture.stop", "{\"id\":\"x\"}"));
	lab_wait_event(&lab, "capture", "x", "stopped");
}

/* What a program prints into `text`; it must not complain. */
static const char *output_of(const char *const words[])
{
	int out[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		/* Nobody's own settings. */
		setenv("HOME", dir.path, 1);
		setenv("XDG_CONFIG_HOME", dir.path, 1);
		execvp(words[0], (char *const *)(uintptr_t)words);
		_exit(127);
	}
	close(out[1]);
	while ((n = read(out[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(out[0]);
	text[len] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("%s: %d: %s", words[0], status, text);
	/* Run by root, tshark says so, whatever it reads. */
	return strncmp(text, "Running as user", 15) == 0 ? strchr(text, '\n') + 1 : text;
}

#define tshark(file, ...) \
	output_of((const char *const[]){ "tshark", "-n", "-r", file, __VA_ARGS__, NULL })

static void send_numbered(uint32_t len, unsigned from, unsigned n)
{
	static uint8_t frame[SW_FRAME_MAX];

	for (unsigned i = from; i < from + n; i++) {
		lab_frame(frame, len, LAB_GROUP, 1, (uint8_t)i);
		lab_send(&lab, frame, len);
	}
}

/* ---- what is in it ------------------------------------------------------------------------------ */

static void test_contents(void **state)
{
	struct stat st;

	snprintf(params, sizeof(params),
		 "{\"ports\":[\"probe\",\"other\"],\"comment\":\"n1 \\u00e4 lab\","
		 "\"to\":{\"file\":\"%s\"}}",
		 path);
	json_object_put(lab_call(&lab, "capture.start", params));
	lab_wait_event(&lab, "capture", "c1", "running");
	send_numbered(60, 0, 1);
	send_numbered(1514, 1, 1);
	assert_int_equal(number("frames"), 4); /* in at one, out at the other */
	assert_int_equal(number("bytes"), 2 * (60 + 1514));
	json_object_put(lab_call(&lab, "capture.stop", "{\"id\":\"c1\"}"));
	lab_wait_event(&lab, "capture", "c1", "stopped");

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.interface_name", "-e",
				   "frame.interface_description", "-e", "frame.len", "-e",
				   "frame.cap_len", "-e", "frame.packet_flags_direction"),
			    "probe\tprobe port probe\t60\t60\t0x00000001\n"
			    "other\tdgram port other\t60\t60\t0x00000002\n"
			    "probe\tprobe port probe\t1514\t1514\t0x00000001\n"
			    "other\tdgram port other\t1514\t1514\t0x00000002\n");
	output_of((const char *const[]){ "capinfos", path, NULL });
	assert_non_null(strstr(text, "n1 \xc3\xa4 lab"));
	assert_non_null(strstr(text, "vhost-user-net"));
	assert_non_null(strstr(text, "Number of interfaces in file: 2"));
	assert_non_null(strstr(text, "nanoseconds"));
}

static void test_bytes_and_time(void **state)
{
	uint8_t frame[60];
	char hex[2 * sizeof(frame) + 2] = "";
	time_t before = time(NULL), at;

	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 33);
	for (unsigned i = 14; i < sizeof(frame); i++)
		snprintf(hex + 2 * (i - 14), 3, "%02x", frame[i]);
	start("");
	lab_send_pieces(&lab, frame, sizeof(frame), 7);
	stop();
	strcat(hex, "\n");
	assert_string_equal(tshark(path, "-T", "fields", "-e", "data.data"), hex);
	at = (time_t)strtoull(tshark(path, "-T", "fields", "-e", "frame.time_epoch"), NULL, 10);
	assert_true(at >= before && at <= time(NULL));
}

static void test_direction(void **state)
{
	uint8_t frame[60];

	start(",\"direction\":\"out\"");
	send_numbered(60, 0, 3);
	lab_frame(frame, sizeof(frame), LAB_GROUP, 2, 0);
	sw_input(other,
		 &(struct sw_frame){ .iov = &(struct iovec){ frame, 60 }, .n_iov = 1, .len = 60 },
		 1);
	stop();
	assert_string_equal(tshark(path, "-T", "fields", "-e", "eth.src"), "52:52:52:52:52:02\n");
}

static void test_snaplen(void **state)
{
	start(",\"snaplen\":64");
	send_numbered(63, 0, 1);
	send_numbered(64, 0, 1);
	send_numbered(65, 0, 1);
	send_numbered(1514, 0, 1);
	stop();
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"),
			    "63\t63\n64\t64\n65\t64\n1514\t64\n");
}

static void test_filter(void **state)
{
	uint8_t frame[1514];

	start(",\"filter\":\"ether src 52:52:52:52:52:02 and ether[600] = 9\",\"snaplen\":32");
	for (unsigned i = 0; i < 10; i++) {
		lab_frame(frame, sizeof(frame), LAB_GROUP, (uint8_t)(1 + i % 2), 0);
		frame[600] = 9;
		lab_send(&lab, frame, sizeof(frame));
	}
	/* Beyond what a filter is shown with this snaplen: it does not hold. */
	assert_int_equal(number("frames"), 0);
	stop();
	start(",\"filter\":\"ether src 52:52:52:52:52:02 and ether[500] = 9\",\"snaplen\":32");
	for (unsigned i = 0; i < 10; i++) {
		lab_frame(frame, sizeof(frame), LAB_GROUP, (uint8_t)(1 + i % 2), 0);
		frame[500] = 9;
		lab_send(&lab, frame, sizeof(frame));
	}
	assert_int_equal(number("frames"), 5);
	stop();
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.cap_len"),
			    "32\n32\n32\n32\n32\n");
	output_of((const char *const[]){ "capinfos", path, NULL });
	assert_non_null(strstr(text, "ether src 52:52:52:52:52:02"));
}

/* ---- offloads ----------------------------------------------------------------------------------- */

/* A TCP segment over IPv4, its checksum left as a driver leaves it: the pseudo-header's. */
static struct sw_frame tcp_frame(uint8_t *bytes, struct iovec *iov, uint32_t payload,
				 uint16_t gso_size)
{
	uint16_t total = htobe16((uint16_t)(40 + payload)),
		 tcp_len = htobe16((uint16_t)(20 + payload));
	uint16_t proto = htobe16(6), sum;
	uint32_t len = 54 + payload;

	lab_frame(bytes, len, LAB_GROUP, 1, 0);
	memset(bytes + 12, 0, 42);
	bytes[12] = 0x08;
	bytes[14] = 0x45;
	memcpy(bytes + 16, &total, 2);
	bytes[22] = 64;
	bytes[23] = 6;
	bytes[26] = bytes[30] = 10;
	bytes[29] = 1;
	bytes[33] = 2;
	bytes[35] = bytes[37] = 99;
	bytes[46] = 0x50;
	bytes[47] = 0x10;
	sum = csum_fold(csum_add(0, bytes + 14, 20));
	memcpy(bytes + 24, &sum, 2);
	sum = csum_fold_plain(
		csum_add(csum_add(csum_add(0, bytes + 26, 8), &proto, 2), &tcp_len, 2));
	memcpy(bytes + 50, &sum, 2);
	*iov = (struct iovec){ bytes, len };
	return (struct sw_frame){
		.iov = iov,
		.n_iov = 1,
		.len = len,
		.hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			 .gso_type = gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
			 .hdr_len = le16_of(gso_size ? 54 : 0),
			 .gso_size = le16_of(gso_size),
			 .csum_start = le16_of(34),
			 .csum_offset = le16_of(16) },
	};
}

static void test_unfinished_frames(void **state)
{
	static uint8_t bytes[SW_FRAME_MAX];
	struct iovec iov;
	struct sw_frame f;
	unsigned good = 0, frames = 0;

	start("");
	f = tcp_frame(bytes, &iov, 333, 0);
	sw_input(&lab.probe.port, &f, 1);
	f = tcp_frame(bytes, &iov, 60000, 1448);
	sw_input(&lab.probe.port, &f, 1);
	assert_int_equal(number("frames"), 2);
	stop();
	tshark(path, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T",
	       "fields", "-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "tcp.len");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, "Running", 7) == 0)
			continue;
		frames++;
		good += strncmp(line, "1\t1\t", 4) == 0;
	}
	assert_int_equal(frames, 1 + 42);
	assert_int_equal(good, frames);
}

static void test_unfinished_and_cut(void **state)
{
	static uint8_t bytes[SW_FRAME_MAX];
	struct iovec iov;
	struct sw_frame f;

	start(",\"snaplen\":60");
	f = tcp_frame(bytes, &iov, 3000, 1000);
	sw_input(&lab.probe.port, &f, 1);
	stop();
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len",
				   "-e", "tcp.seq_raw"),
			    "1054\t60\t0\n1054\t60\t1000\n1054\t60\t2000\n");
}

/* ---- files -------------------------------------------------------------------------------------- */

static void test_rotation(void **state)
{
	char name[128];
	struct stat st;
	unsigned next = 0;

	snprintf(params, sizeof(params),
		 "{\"id\":\"x\",\"port\":\"probe\",\"comment\":\"part\",\"to\":"
		 "{\"file\":\"%s\",\"rotate-bytes\":65536,\"files\":3}}",
		 path);
	json_object_put(lab_call(&lab, "capture.start", params));
	send_numbered(1000, 0, 250); /* some 260 KB: five files, of which three are kept */
	stop();
	snprintf(name, sizeof(name), "%s.3", path);
	assert_int_equal(stat(name, &st), -1);
	for (int i = 2; i >= 0;
	     i--) { /* the eldest first: each is whole, and they follow upon each other */
		char *line;

		if (i > 0)
			snprintf(name, sizeof(name), "%s.%d", path, i);
		else
			snprintf(name, sizeof(name), "%s", path);
		assert_int_equal(stat(name, &st), 0);
		assert_true(st.st_size <= 65536);
		assert_int_equal(st.st_mode & 0777, 0600);
		tshark(name, "-T", "fields", "-e", "data.data");
		for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			unsigned first;

			if (strncmp(line, "Running", 7) == 0)
				continue;
			assert_int_equal(sscanf(line, "%2x", &first), 1);
			first = (uint8_t)(first - 14);
			if (next > 0)
				assert_int_equal(first, next);
			next = first + 1;
		}
		assert_true(i == 0 || st.st_size > 60000);
	}
	assert_int_equal(next, 250);
}

static void test_full_disk(void **state)
{
	char small[96], file[128];
	struct json_object *event, *error, *l;
	unsigned passed = 0, n;

	tmp_path(&dir, "small", small, sizeof(small));
	assert_int_equal(mkdir(small, 0700), 0);
	if (!netns_mount_small(small)) {
		print_message(
			"# SKIP needs a mount namespace: neither root nor user namespaces here\n");
		skip();
	}
	snprintf(file, sizeof(file), "%s/full.pcapng", small);
	snprintf(params, sizeof(params),
		 "{\"id\":\"x\",\"port\":\"probe\",\"to\":{\"file\":\"%s\"}}", file);
	json_object_put(lab_call(&lab, "capture.start", params));
	for (; lab.net.captures && passed < 100000; passed += 10) {
		send_numbered(1000, passed, 10);
		lab_pass(&lab);
	}
	event = lab_wait_event(&lab, "capture", "x", "failed");
	assert_true(json_object_object_get_ex(event, "error", &error));
	snprintf(text, sizeof(text), "%s: No space left on device", file);
	assert_string_equal(json_object_get_string(error), text);
	l = list();
	assert_string_equal(json_object_to_json_string(l), "{ \"captures\": [ ] }");
	json_object_put(l);

	/* Traffic goes on, and what was written can be read: nothing is cut short. */
	send_numbered(1000, 0, 10);
	assert_int_equal(lab.probe.port.stats.ingress_frames, passed + 10);
	tshark(file, "-T", "fields", "-e", "frame.number");
	assert_null(strstr(text, "cut short"));
	n = (unsigned)atoi(strrchr((text[strlen(text) - 1] = '\0', text), '\n') + 1);
	assert_true(n > 100 && n < 300);
	umount2(small, MNT_DETACH);
}

/* ---- viewers ------------------------------------------------------------------------------------ */

static int listen_fd, viewer;

static void start_viewer(const char *more)
{
	assert_int_equal(listen_unix(path, 0600, &listen_fd), 0);
	snprintf(params, sizeof(params),
		 "{\"id\":\"x\",\"port\":\"probe\",\"to\":{\"socket\":\"%s\"}%s}", path, more);
	json_object_put(lab_call(&lab, "capture.start", params));
	viewer = accept(listen_fd, NULL, NULL);
	assert_true(viewer >= 0);
	close(listen_fd);
}

/* All that the viewer is sent until its end, into a file. */
static void save(const char *file)
{
	static uint8_t bytes[65536];
	FILE *f = fopen(file, "w");
	ssize_t n;

	assert_non_null(f);
	while ((n = read(viewer, bytes, sizeof(bytes))) > 0)
		assert_int_equal(fwrite(bytes, 1, (size_t)n, f), n);
	assert_int_equal(n, 0);
	assert_int_equal(fclose(f), 0);
	close(viewer);
}

static void test_viewer(void **state)
{
	char file[96];

	tmp_path(&dir, "seen", file, sizeof(file));
	start_viewer("");
	send_numbered(60, 0, 100);
	stop();
	save(file);
	tshark(file, "-T", "fields", "-e", "frame.number");
	assert_non_null(strstr(text, "\n100\n"));
	assert_null(strstr(text, "\n101\n"));
}

static void test_viewer_goes_away(void **state)
{
	start_viewer("");
	send_numbered(60, 0, 3);
	close(viewer);
	lab_wait_event(&lab, "capture", "x", "ended"); /* at once, with no frame to be written */
	send_numbered(60, 0, 3);
	assert_null(lab.probe.port.tap);
	assert_int_equal(other->stats.egress_drop_down, 6);
}

/* Asked for on a connection of its own, to which it is tied: that ends, as of a program that was killed. */
static void test_tied(void **state)
{
	static const char more[] = ",\"tied\":true}}\n";
	char line[512], answer[256];
	uint64_t until = loop_now_ns() + 10000000000ull;
	int pair[2], len;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(control_attach(lab.backend.control, pair[0]), 0);
	len = snprintf(line, sizeof(line),
		       "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"capture.start\",\"params\":"
		       "{\"id\":\"x\",\"port\":\"probe\",\"to\":{\"file\":\"%s\"}%s",
		       path, more);
	assert_int_equal(send(pair[1], line, (size_t)len, 0), len);
	while (recv(pair[1], answer, sizeof(answer), MSG_DONTWAIT) < 0 && loop_now_ns() < until)
		loop_once(&lab.backend.loop, loop_now_ns() + 1000000);
	send_numbered(60, 0, 3);
	assert_int_equal(number("frames"), 3);
	assert_int_equal(number("tied"), 1);
	close(pair[1]);
	lab_wait_event(&lab, "capture", "x", "ended");
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.number"), "1\n2\n3\n");

	/* One that was stopped has let go of its connection, and one that was never begun, too. */
	start(",\"tied\":true");
	stop();
	lab_call_fails(&lab, "capture.start",
		       "{\"port\":\"probe\",\"tied\":true,\"to\":{\"file\":\"/nowhere/x\"}}");
}

/* The last block of the file, which no tool shows: if_statistics with isb_ifrecv and isb_ifdrop. */
static void expect_statistics(const char *file, uint64_t received, uint64_t dropped)
{
	static uint8_t bytes[8 << 20];
	FILE *f = fopen(file, "r");
	size_t len = fread(bytes, 1, sizeof(bytes), f);
	uint32_t block[2], last;
	uint64_t value;

	fclose(f);
	memcpy(&last, bytes + len - 4, 4);
	memcpy(block, bytes + len - last, sizeof(block));
	assert_int_equal(block[0], 5);
	assert_int_equal(block[1], last);
	/* Behind interface and time stand isb_starttime, isb_endtime, isb_ifrecv, isb_ifdrop: twelve bytes each. */
	memcpy(&value, bytes + len - last + 20 + 2 * 12 + 4, 8);
	assert_int_equal(value, received);
	memcpy(&value, bytes + len - last + 20 + 3 * 12 + 4, 8);
	assert_int_equal(value, dropped);
}

/* It reads nothing: memory is bounded, the rest is counted, in the file, too. */
static void test_slow_viewer(void **state)
{
	char file[96];
	uint64_t frames, dropped;
	unsigned n, sent = 0;

	tmp_path(&dir, "seen", file, sizeof(file));
	start_viewer(",\"buffer-bytes\":262144");
	while (number("dropped") == 0 && sent < 100000) {
		send_numbered(1000, 0, 100);
		sent += 100;
	}
	frames = number("frames");
	dropped = number("dropped");
	assert_int_equal(frames + dropped, sent);
	json_object_put(lab_call(&lab, "capture.stop", "{\"id\":\"x\"}"));
	save(file); /* now it reads */
	lab_wait_event(&lab, "capture", "x", "stopped");
	tshark(file, "-T", "fields", "-e", "frame.number");
	text[strlen(text) - 1] = '\0';
	n = (unsigned)atoi(strrchr(text, '\n') + 1);
	assert_int_equal(n, frames);
	expect_statistics(file, frames + dropped, dropped);
}

static void test_stuck_viewer(void **state)
{
	start_viewer(",\"buffer-bytes\":262144");
	while (number("dropped") == 0)
		send_numbered(1000, 0, 100);
	json_object_put(lab_call(&lab, "capture.stop", "{\"id\":\"x\"}"));
	lab_wait_event(&lab, "capture", "x", "ended"); /* after its time of grace */
	close(viewer);
}

/* ---- ports and methods -------------------------------------------------------------------------- */

static void test_port_goes_away(void **state)
{
	snprintf(params, sizeof(params),
		 "{\"id\":\"x\",\"ports\":[\"other\"],\"to\":{\"file\":\"%s\"}}", path);
	json_object_put(lab_call(&lab, "capture.start", params));
	send_numbered(60, 0, 2);
	lab_close(&lab, other);
	lab_wait_event(&lab, "capture", "x", "ended");
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.number"), "1\n2\n");
}

static void test_several_of_one_port(void **state)
{
	char second[96];

	tmp_path(&dir, "second", second, sizeof(second));
	start("");
	snprintf(
		params, sizeof(params),
		"{\"id\":\"y\",\"port\":\"probe\",\"filter\":\"ether[14] = 1\",\"to\":{\"file\":\"%s\"}}",
		second);
	json_object_put(lab_call(&lab, "capture.start", params));
	send_numbered(60, (uint8_t)(1 - 14), 2);
	stop();
	send_numbered(60, (uint8_t)(1 - 14), 1);
	json_object_put(lab_call(&lab, "capture.stop", "{\"id\":\"y\"}"));
	lab_wait_event(&lab, "capture", "y", "stopped");
	assert_null(lab.probe.port.tap);
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.number"), "1\n2\n");
	assert_string_equal(tshark(second, "-T", "fields", "-e", "frame.number"), "1\n2\n");
}

static void test_end_of_daemon(void **state)
{
	start("");
	send_numbered(60, 0, 5);
	capture_stop_all(&lab.net);
	assert_null(lab.net.captures);
	assert_string_equal(tshark(path, "-T", "fields", "-e", "frame.number"), "1\n2\n3\n4\n5\n");
}

static void expect_refused(const char *members, const char *message)
{
	assert_string_equal(lab_call_fails(&lab, "capture.start", members), message);
	assert_null(lab.net.captures);
	assert_null(lab.probe.port.tap);
}

#define TO "\"to\":{\"file\":\"/nowhere/x\"}"

static void test_bad_params(void **state)
{
	expect_refused("{" TO "}", "ports: either this or port has to be given");
	expect_refused("{\"port\":\"probe\",\"ports\":[\"probe\"]," TO "}",
		       "ports: either this or port has to be given");
	expect_refused("{\"port\":\"nobody\"," TO "}", "no port \"nobody\"");
	expect_refused("{\"ports\":[]," TO "}", "ports: not an array of ports");
	expect_refused("{\"ports\":[\"probe\",\"probe\"]," TO "}", "ports/1: said twice");
	expect_refused("{\"port\":\"probe\",\"direction\":\"up\"," TO "}",
		       "direction: not one of in, out, both");
	expect_refused("{\"port\":\"probe\",\"snaplen\":13," TO "}", "snaplen: outside 14..262144");
	expect_refused("{\"port\":\"probe\",\"buffer-bytes\":1000," TO "}",
		       "buffer-bytes: outside 262144..1073741824");
	expect_refused("{\"port\":\"probe\",\"id\":\"a b\"," TO "}",
		       "id: not 1 to 63 of A-Z a-z 0-9 . _ : -");
	assert_non_null(
		strstr(lab_call_fails(&lab, "capture.start",
				      "{\"port\":\"probe\",\"filter\":\"tcp and and\"," TO "}"),
		       "filter: "));
	assert_non_null(strstr(lab_call_fails(&lab, "capture.start",
					      "{\"port\":\"probe\",\"filter\":\"host n1\"," TO "}"),
			       "not looked up"));
	expect_refused("{\"port\":\"probe\"," TO "}",
		       "to/file: /nowhere/x: No such file or directory");
	expect_refused("{\"port\":\"probe\",\"to\":{\"file\":\"/dev/full\"}}",
		       "to/file: /dev/full is no regular file");
	expect_refused("{\"port\":\"probe\",\"to\":{\"socket\":\"/nowhere/x\"}}",
		       "to/socket: /nowhere/x: No such file or directory");
	expect_refused("{\"port\":\"probe\",\"to\":{}}",
		       "to: either file or socket has to be given");
	expect_refused("{\"port\":\"probe\",\"to\":{\"file\":\"/x\",\"socket\":\"/x\"}}",
		       "to: either file or socket has to be given");
	expect_refused("{\"port\":\"probe\",\"to\":{\"file\":\"/x\",\"rotate\":1}}",
		       "to/rotate: unknown member");
	expect_refused("{\"port\":\"probe\",\"to\":{\"socket\":\"/x\",\"files\":3}}",
		       "to/files: unknown member");
	expect_refused("{\"port\":\"probe\",\"to\":{\"file\":\"/x\",\"files\":3}}",
		       "to/files: needs rotate-bytes");
	expect_refused("{\"port\":\"probe\",\"to\":{\"file\":\"/x\",\"rotate-bytes\":65535}}",
		       "rotate-bytes: outside 65536..9223372036854775807");
	assert_string_equal(lab_call_fails(&lab, "capture.stop", "{\"id\":\"x\"}"),
			    "no capture \"x\"");
	start("");
	assert_string_equal(lab_call_fails(&lab, "capture.start", params),
			    "there is a capture \"x\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_and_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_direction, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snaplen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unfinished_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unfinished_and_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_viewer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_viewer_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_viewer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_viewer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_of_one_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_params, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
