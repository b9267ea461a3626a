/* SPDX-License-Identifier: MIT */
/* VXLAN ports: two switches over loopback, a peer of the test's own that looks at outer headers, strangers, bad members. */
#include "port_vxlan.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "uplink_fixture.h"

/* All of 127.0.0.0/8 is ours; the ports are not those of a real VXLAN that might run here. */
#define PORT "47890"

static struct lab a, b;

static int setup(void **state)
{
	lab_up(&a);
	lab_up(&b);
	return 0;
}

static int teardown(void **state)
{
	lab_down(&a);
	lab_down(&b);
	return 0;
}

static struct sw_port *open_port(struct lab *l, const char *local, const char *peers, unsigned vni)
{
	char json[512];

	snprintf(json, sizeof(json),
		 "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":%u,\"local\":\"%s:" PORT
		 "\",\"peers\":[%s]}",
		 vni, local, peers);
	return lab_open(l, json);
}

/* A peer that is no switch: a plain socket at 127.0.0.x. */
static int plain_peer(uint8_t x, bool any_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000000 | x),
				  .sin_port = any_port ? 0 : htons(47890) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static void send_to(int fd, uint8_t x, const void *bytes, size_t len)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000000 | x),
				  .sin_port = htons(47890) };

	assert_int_equal(sendto(fd, bytes, len, 0, (struct sockaddr *)&in, sizeof(in)), len);
}

static void test_two_switches(void **state)
{
	struct sw_port *pa = open_port(&a, "127.0.0.1", "\"127.0.0.2:" PORT "\"", 5);
	struct sw_port *pb = open_port(&b, "127.0.0.2", "\"127.0.0.1:" PORT "\"", 5);
	static uint8_t frame[SW_FRAME_MAX], answer[60];

	assert_non_null(pa);
	assert_non_null(pb);
	lab_frame(frame, 1514, LAB_GROUP, 1, 0);
	lab_send(&a, frame, 1514);
	lab_wait_frames(&b, 1);
	assert_true(lab_is(&b, 0, frame, 1514));
	lab_frame(answer, sizeof(answer), 1, 2, 9);
	lab_send(&b, answer, sizeof(answer));
	lab_wait_frames(&a, 1);
	assert_true(lab_is(&a, 0, answer, sizeof(answer)));
	assert_string_equal(lab_describe(pb, "peers"),
			    "[ { \"address\": \"127.0.0.1:" PORT "\", \"stations\": 1 } ]");

	/* A burst, in order; and the longest that fits a datagram. */
	for (uint8_t i = 0; i < 64; i++) {
		lab_frame(frame, 60, 2, 1, i);
		lab_send(&a, frame, 60);
	}
	lab_wait_frames(&b, 65);
	for (uint8_t i = 0; i < 64; i++) {
		lab_frame(frame, 60, 2, 1, i);
		assert_true(lab_is(&b, 1 + i, frame, 60));
	}
	lab_frame(frame, 65507 - 8, 2, 1, 3);
	lab_send_pieces(&a, frame, 65507 - 8, 100);
	lab_wait_frames(&b, 66);
	assert_true(lab_is(&b, 65, frame, 65507 - 8));
	lab_send(&a, frame, 65507 - 7);
	assert_int_equal(pa->stats.egress_drop_size, 1);
	assert_int_equal(pa->stats.egress_frames, 66);
	assert_int_equal(pb->stats.ingress_frames, 66);
}

/* Three of the same network: a known station's frames reach it alone, and nothing is passed on from peer to peer. */
static void test_flood_and_learn(void **state)
{
	struct sw_port *pa =
		open_port(&a, "127.0.0.1", "\"127.0.0.2:" PORT "\",\"127.0.0.3:" PORT "\"", 5);
	struct sw_port *pb =
		open_port(&b, "127.0.0.2", "\"127.0.0.1:" PORT "\",\"127.0.0.3:" PORT "\"", 5);
	int c = plain_peer(3, false);
	uint8_t frame[60], got[128];

	assert_non_null(pa);
	assert_non_null(pb);
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 0);
	lab_send(&a, frame, sizeof(frame)); /* to both */
	lab_wait_frames(&b, 1);
	assert_int_equal(recv(c, got, sizeof(got), 0), 68);
	assert_memory_equal(got + 8, frame, sizeof(frame));
	assert_int_equal(recv(c, got, sizeof(got), MSG_DONTWAIT), -1);
	assert_int_equal(pa->stats.egress_frames, 1);

	lab_frame(frame, sizeof(frame), 1, 2, 0);
	lab_send(&b, frame, sizeof(frame)); /* b has heard 1: to a alone */
	lab_wait_frames(&a, 1);
	lab_frame(frame, sizeof(frame), 2, 1, 0);
	lab_send(&a, frame, sizeof(frame)); /* and a has heard 2 */
	lab_wait_frames(&b, 2);
	assert_int_equal(recv(c, got, sizeof(got), MSG_DONTWAIT), -1);
	lab_frame(frame, sizeof(frame), 3, 1, 0);
	lab_send(&a, frame, sizeof(frame)); /* 3 is unknown: to both again */
	lab_wait_frames(&b, 3);
	assert_int_equal(recv(c, got, sizeof(got), 0), 68);
	close(c);
}

/* Each flow has a source port of its own, and keeps it. */
static void test_entropy(void **state)
{
	struct sw_port *p = open_port(&a, "127.0.0.1", "\"127.0.0.3:" PORT "\"", 5);
	int c = plain_peer(3, false);
	uint16_t first[32];
	unsigned different = 0;

	assert_non_null(p);
	for (unsigned round = 0; round < 2; round++)
		for (uint8_t i = 0; i < 32; i++) {
			struct sockaddr_in from;
			socklen_t len = sizeof(from);
			uint8_t frame[60], got[128];

			lab_frame(frame, sizeof(frame), (uint8_t)(i + 1), 200, 0);
			lab_send(&a, frame, sizeof(frame));
			assert_int_equal(recvfrom(c, got, sizeof(got), 0, (struct sockaddr *)&from,
						  &len),
					 68);
			assert_int_equal(ntohl(from.sin_addr.s_addr), 0x7f000001);
			assert_int_not_equal(ntohs(from.sin_port), 47890);
			if (round == 0)
				first[i] = from.sin_port;
			else
				assert_int_equal(from.sin_port, first[i]);
			different += i > 0 && first[i] != first[i - 1];
		}
	assert_true(different > 10);
	close(c);
}

static void test_strangers(void **state)
{
	struct sw_port *p = open_port(&a, "127.0.0.1", "\"127.0.0.3:" PORT "\"", 5);
	int c = plain_peer(3, true), stranger = plain_peer(4, false);
	uint8_t bytes[8 + 60] = { 0x08, 0, 0, 0, 0, 0, 5 };

	assert_non_null(p);
	lab_frame(bytes + 8, 60, LAB_GROUP, 1, 0);
	send_to(stranger, 1, bytes, sizeof(bytes));
	bytes[6] = 6;
	send_to(c, 1, bytes, sizeof(bytes)); /* another network's */
	bytes[6] = 5;
	send_to(c, 1, bytes, 7);
	send_to(c, 1, bytes, 0);
	send_to(c, 1, bytes, 8 + 13); /* a frame too short */
	send_to(c, 1, bytes, sizeof(bytes));
	lab_wait_frames(&a, 1);
	assert_string_equal(lab_describe(p, "strangers"), "4");
	assert_int_equal(p->stats.ingress_drop_short, 1);
	close(c);
	close(stranger);
}

static void test_mtu(void **state)
{
	struct sw_port *p;

	p = lab_open(&a, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":1,\"local\":\"127.0.0.1:" PORT
			 "\",\"peers\":[\"127.0.0.2\"],\"underlay-mtu\":1500}");
	assert_non_null(p);
	assert_string_equal(lab_describe(p, "mtu"), "1450");
	lab_close(&a, p);
	p = lab_open(&a, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":1,\"local\":\"127.0.0.1:" PORT
			 "\",\"peers\":[\"127.0.0.2\"]}");
	assert_non_null(p);
	assert_int_equal(atoi(lab_describe(p, "mtu")), 65535 - 50); /* loopback has 65536 */
	lab_close(&a, p);
}

static void test_ipv6(void **state)
{
	struct sw_port *p =
		lab_open(&a, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":1,\"local\":\"[::1]:" PORT
			     "\",\"peers\":[\"[::1]:47891\"],\"underlay-mtu\":1500}");
	struct sw_port *q = lab_open(
		&b, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":1,\"local\":\"[::1]:47891\""
		    ",\"peers\":[\"[::1]:" PORT "\"]}");
	uint8_t frame[60];

	if (!p && strstr(a.why, "Cannot assign")) {
		print_message("# SKIP no IPv6 loopback on this host\n");
		skip();
	}
	assert_non_null(p);
	assert_non_null(q);
	assert_string_equal(lab_describe(p, "mtu"), "1430");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 0);
	lab_send(&a, frame, sizeof(frame));
	lab_wait_frames(&b, 1);
	assert_true(lab_is(&b, 0, frame, sizeof(frame)));
}

static void expect_refused(const char *members, const char *why)
{
	char json[2048];

	snprintf(json, sizeof(json), "{\"name\":\"x\",\"type\":\"vxlan\",%s}", members);
	assert_null(lab_open(&a, json));
	assert_string_equal(a.why, why);
}

static void test_bad_members(void **state)
{
	char many[2048] = "\"vni\":1,\"peers\":[";

	expect_refused("\"vni\":1,\"peers\":[]", "peers: not 1 to 64 of them");
	expect_refused("\"vni\":1,\"peers\":\"127.0.0.2\"", "peers: not an array");
	expect_refused("\"vni\":1,\"peers\":[\"host\"]", "peers/0: not an address");
	expect_refused("\"vni\":1,\"peers\":[\"127.0.0.2\",7]", "peers/1: not an address");
	expect_refused("\"vni\":1,\"peers\":[\"127.0.0.2\",\"::1\"]",
		       "peers/1: IPv4 and IPv6 do not mix");
	expect_refused("\"vni\":1,\"peers\":[\"127.0.0.2\",\"127.0.0.3\",\"127.0.0.2:5\"]",
		       "peers/2: the same host as peers/0");
	expect_refused("\"vni\":1,\"peers\":[\"127.0.0.2\"],\"local\":\"::1\"",
		       "local: IPv4 and IPv6 do not mix");
	expect_refused("\"vni\":1,\"peers\":[\"127.0.0.2\"],\"local\":\"192.0.2.1\"",
		       "local: Cannot assign requested address");
	for (unsigned i = 0; i < 65; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s\"127.0.1.%u\"",
			 i ? "," : "", i);
	strcat(many, "]");
	expect_refused(many, "peers: not 1 to 64 of them");
	assert_null(lab_open(&a, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":16777216,"
				 "\"peers\":[\"127.0.0.2\"]}"));
	assert_non_null(open_port(&a, "127.0.0.1", "\"127.0.0.2\"", 16777215));
	assert_null(lab_open(
		&b, "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":1,\"local\":\"127.0.0.1:" PORT
		    "\",\"peers\":[\"127.0.0.2\"]}"));
	assert_string_equal(b.why, "local: Address already in use");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_two_switches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flood_and_learn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entropy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mtu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_members, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
