/* SPDX-License-Identifier: MIT */
/* Tap ports, in a network namespace of the test's own: frames both ways, offloads, devices that come and go, TCP through
 * a bridge. */
#include "port_tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "csum.h"
#include "netns.h"
#include "uplink_fixture.h"

static struct lab lab;
static bool allowed; /* a namespace of our own */

static int setup(void **state)
{
	lab_up(&lab);
	return 0;
}

static int teardown(void **state)
{
	lab_down(&lab);
	return 0;
}

static struct sw_port *open_tap(const char *name, const char *more)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"name\":\"%s\",\"type\":\"tap\",\"ifname\":\"%s\"%s}", name,
		 name, more);
	return lab_open(&lab, json);
}

static void need_namespace(void)
{
	if (allowed)
		return;
	print_message("# SKIP needs a network namespace: neither root nor user namespaces here\n");
	skip();
}

static short flags_of(const char *name)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	close(fd);
	return ifr.ifr_flags;
}

/* A frame that the device was given, which has to come. */
static void expect_on_device(int packet, const uint8_t *frame, uint32_t len)
{
	uint8_t got[2048];

	assert_int_equal(recv(packet, got, sizeof(got), 0), len);
	assert_memory_equal(got, frame, len);
	assert_true(recv(packet, got, sizeof(got), 0) < 0);
}

static void test_both_ways(void **state)
{
	uint8_t frame[1514];
	struct sw_port *p;
	int packet;

	need_namespace();
	p = open_tap("tap0", ",\"create\":true");
	assert_non_null(p);
	assert_true(p->up);
	assert_string_equal(lab_describe(p, "state"), "running");
	assert_string_equal(lab_describe(p, "ifname"), "tap0");
	assert_true(flags_of("tap0") & IFF_UP);

	packet = netns_packet_socket("tap0");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 5);
	lab_send(&lab, frame, sizeof(frame));
	expect_on_device(packet, frame, sizeof(frame));
	lab_send_pieces(&lab, frame, 1000, 3); /* more pieces than the port passes on */
	expect_on_device(packet, frame, 1000);
	assert_int_equal(p->stats.egress_frames, 2);
	assert_int_equal(p->stats.egress_bytes, 2514);

	for (unsigned i = 0; i < 150; i++) {
		lab_frame(frame, 60 + i, LAB_GROUP, 2, (uint8_t)i);
		assert_int_equal(send(packet, frame, 60 + i, 0), 60 + i);
	}
	lab_wait_frames(&lab, 150);
	for (unsigned i = 0; i < 150; i++) {
		lab_frame(frame, 60 + i, LAB_GROUP, 2, (uint8_t)i);
		assert_true(lab_is(&lab, i, frame, 60 + i));
	}
	close(packet);
	lab_close(&lab, p);
	assert_int_equal(if_nametoindex("tap0"), 0);
}

/* An Ethernet frame with a TCP segment over IPv4 in it, its checksum left to others. */
static uint32_t tcp_frame(uint8_t *bytes, uint32_t payload)
{
	uint16_t total = htons((uint16_t)(40 + payload)), sum;

	lab_frame(bytes, 54 + payload, LAB_GROUP, 1, 0);
	memset(bytes + 12, 0, 42);
	bytes[12] = 0x08;
	bytes[14] = 0x45;
	memcpy(bytes + 16, &total, 2);
	bytes[22] = 64;
	bytes[23] = 6;
	bytes[26] = bytes[30] = 10;
	bytes[29] = 1;
	bytes[33] = 2;
	bytes[46] = 0x50;
	sum = csum_fold(csum_add(0, bytes + 14, 20));
	memcpy(bytes + 24, &sum, 2); /* the bridge may be one that looks at it */
	return 54 + payload;
}

static bool has_come_back(void *frame)
{
	if (lab.probe.n < 2)
		sw_input(&lab.probe.port, frame, 1);
	return lab.probe.n >= 2;
}

static void test_offloads(void **state)
{
	static uint8_t bytes[SW_FRAME_MAX];
	struct nethdr want = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			       .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
			       .hdr_len = le16_of(54),
			       .gso_size = le16_of(1448),
			       .csum_start = le16_of(34),
			       .csum_offset = le16_of(16) };
	uint32_t len = tcp_frame(bytes, 60000);
	struct iovec iov = { bytes, len };
	struct sw_frame f = { .iov = &iov, .n_iov = 1, .len = len, .hdr = want };
	struct sw_port *a, *b;

	need_namespace();
	/* Isolated: or what is sent would go round and round. */
	a = open_tap("tap0", ",\"create\":true,\"isolated\":true");
	b = open_tap("tap1", ",\"create\":true,\"isolated\":true");
	assert_true(a && b);
	assert_true((a->offloads & (OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6)) ==
		    (OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6));
	/* A bridge: what one device is given the other one gives. */
	netns_run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0");
	netns_run("ip", "link", "set", "tap0", "master", "br0");
	netns_run("ip", "link", "set", "tap1", "master", "br0");
	netns_run("ip", "link", "set", "br0", "up");
	/* It does so a moment after it is set up. */
	assert_true(lab_wait(&lab, has_come_back, &f));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(lab.probe.len[i], len);
		assert_memory_equal(lab.probe.bytes[i] + 54, bytes + 54, len - 54);
		assert_int_equal(lab.probe.hdr[i].gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
		assert_int_equal(le16_get(lab.probe.hdr[i].gso_size), 1448);
	}
	netns_run("ip", "link", "del", "br0");
}

static void test_offloads_off(void **state)
{
	struct sw_port *p;

	need_namespace();
	p = open_tap("tap0", ",\"create\":true,\"offloads\":false");
	assert_non_null(p);
	assert_int_equal(p->offloads, 0);
}

static bool make_persistent(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	bool good;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	good = fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0 && ioctl(fd, TUNSETPERSIST, 1) == 0;
	if (fd >= 0)
		close(fd);
	return good;
}

static void test_comes_and_goes(void **state)
{
	uint8_t frame[60];
	struct sw_port *p;
	int packet;

	need_namespace();
	p = open_tap("tap0", "");
	assert_non_null(p);
	assert_string_equal(lab_describe(p, "state"), "down");
	assert_string_equal(lab_describe(p, "why"), "ifname: there is no device tap0");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 5);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(make_persistent("tap0"));
		lab_wait_state(&lab, p, "running");
		assert_null(lab_describe(p, "why"));

		/* Set down by the host: what is sent is lost, and said so. */
		lab_send(&lab, frame, sizeof(frame));
		assert_int_equal(p->stats.egress_drop_down, i + 1);
		netns_run("ip", "link", "set", "tap0", "up");
		packet = netns_packet_socket("tap0");
		lab_send(&lab, frame, sizeof(frame));
		expect_on_device(packet, frame, sizeof(frame));
		close(packet);

		netns_run("ip", "link", "del", "tap0");
		lab_wait_state(&lab, p, "down");
		assert_false(p->up);
		assert_non_null(lab_describe(p, "why"));
	}
	/* It goes while a frame is on its way out. */
	assert_true(make_persistent("tap0"));
	lab_wait_state(&lab, p, "running");
	netns_run("ip", "link", "set", "tap0", "up");
	netns_run("ip", "link", "del", "tap0");
	lab_send_burst(&lab, frame, sizeof(frame), 3);
	assert_int_equal(p->stats.egress_drop_down + p->stats.egress_drop_full, 2 + 3);
	assert_string_equal(lab_describe(p, "state"), "down");
}

static void test_used_by_another(void **state)
{
	struct sw_port *p;

	need_namespace();
	assert_non_null(open_tap("tap0", ",\"create\":true"));
	p = lab_open(&lab, "{\"name\":\"second\",\"type\":\"tap\",\"ifname\":\"tap0\"}");
	assert_non_null(p);
	assert_string_equal(lab_describe(p, "state"), "down");
	assert_string_equal(lab_describe(p, "why"), "ifname: tap0 is used by somebody else");
}

static bool has_carrier(const char *name)
{
	struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = { .ifr_data = (void *)&link };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	close(fd);
	return link.data;
}

static void test_link_down(void **state)
{
	struct sw_port *p;

	need_namespace();
	p = open_tap("tap0", ",\"create\":true");
	assert_non_null(p);
	assert_true(has_carrier("tap0"));
	sw_set_link(p, SW_DOWN_ADMIN, false);
	assert_false(has_carrier("tap0"));
	sw_set_link(p, SW_DOWN_ADMIN, true);
	assert_true(has_carrier("tap0"));
}

static void test_bad_members(void **state)
{
	assert_null(open_tap("a-name-too-long-for-this", ""));
	assert_string_equal(lab.why, "ifname: \"a-name-too-long-for-this\" is no name of a device");
	assert_null(lab_open(&lab, "{\"name\":\"t\",\"type\":\"tap\",\"ifname\":\"tap%d\"}"));
	assert_null(lab_open(&lab, "{\"name\":\"t\",\"type\":\"tap\",\"ifname\":\"..\"}"));
	assert_null(lab_open(&lab, "{\"name\":\"t\",\"type\":\"tap\"}"));
	need_namespace();
	assert_null(lab_open(&lab, "{\"name\":\"t\",\"type\":\"tap\",\"ifname\":\"lo\"}"));
	assert_string_equal(lab.why, "ifname: lo is no tap device");
}

/* ---- TCP: tap1 → switch → tap0 → bridge → veth → another namespace ---------------------------- */

#define TRANSFER (24u << 20)

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static int sink(pid_t ns, int ready)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(7777) };
	static uint8_t bytes[65536];
	uint64_t got = 0;
	int listen_fd, fd;

	if (!netns_join(ns))
		return 2;
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listen_fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(listen_fd, 1) < 0)
		return 3;
	(void)!write(ready, "x", 1);
	fd = accept(listen_fd, NULL, NULL);
	for (;;) {
		ssize_t n = read(fd, bytes, sizeof(bytes));

		if (n <= 0)
			return n == 0 && got == TRANSFER ? 0 : 4;
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i] != pattern(got++))
				return 5;
	}
}

static int source(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(7777) };
	static uint8_t bytes[65536];
	uint64_t sent = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "10.0.0.2", &in.sin_addr);
	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0)
		return 2;
	while (sent < TRANSFER) {
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = pattern(sent + i);
		if (write(fd, bytes, sizeof(bytes)) != sizeof(bytes))
			return 3;
		sent += sizeof(bytes);
	}
	close(fd);
	return 0;
}

static bool has_ended(void *arg)
{
	int *status = arg;
	pid_t pid = waitpid(status[0], &status[1], WNOHANG);

	return pid == status[0];
}

static void test_tcp_through_a_bridge(void **state)
{
	int sink_end[2], source_end[2], ready[2];
	struct sw_port *a, *b;
	char ns_text[16], byte;
	pid_t ns;

	need_namespace();
	a = open_tap("tap0", ",\"create\":true");
	b = open_tap("tap1", ",\"create\":true");
	assert_true(a && b);
	sw_set_up(&lab.probe.port, false); /* so that it is not asked to keep all this */
	ns = netns_child();
	snprintf(ns_text, sizeof(ns_text), "%d", ns);
	netns_run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0");
	netns_run("ip", "link", "set", "br0", "up");
	netns_run("ip", "link", "set", "tap0", "master", "br0");
	netns_run("ip", "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1");
	netns_run("ip", "link", "set", "veth0", "master", "br0");
	netns_run("ip", "link", "set", "veth0", "up");
	netns_run("ip", "link", "set", "veth1", "netns", ns_text);
	netns_run_in(ns, "ip", "addr", "add", "10.0.0.2/24", "dev", "veth1");
	netns_run_in(ns, "ip", "link", "set", "veth1", "up");
	netns_run("ip", "addr", "add", "10.0.0.1/24", "dev", "tap1");

	assert_int_equal(pipe(ready), 0);
	sink_end[0] = fork();
	if (sink_end[0] == 0)
		_exit(sink(ns, ready[1]));
	assert_int_equal(read(ready[0], &byte, 1), 1);
	source_end[0] = fork();
	if (source_end[0] == 0)
		_exit(source());
	assert_true(lab_wait(&lab, has_ended, source_end));
	assert_int_equal(source_end[1], 0);
	assert_true(lab_wait(&lab, has_ended, sink_end));
	assert_int_equal(sink_end[1], 0);
	close(ready[0]);
	close(ready[1]);
	/* Segments passed as the stack made them: many times the MTU. */
	assert_true(a->stats.egress_bytes >= TRANSFER);
	assert_true(a->stats.egress_bytes / a->stats.egress_frames > 4000);
	netns_run("ip", "link", "del", "br0");
	netns_run("ip", "link", "del", "veth0");
	netns_child_end(ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offloads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offloads_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_used_by_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link_down, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_members, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_through_a_bridge, setup, teardown),
	};

	allowed = netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
