/* SPDX-License-Identifier: MIT */
/* A NAT port as a guest's frames see it.  What needs a TCP stack in the guest is in test_port_nat_stack.c. */
#include "nat_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cleanup.h"
#include "csum.h"
#include "nat_forward.h"

static struct nat_bench b;
static uint8_t frame[2048];

static void arp_of(uint32_t target)
{
	assert_true(nat_bench_ask(&b, frame, make_arp(frame, N1_MAC, N1_IP, target)));
	assert_int_equal(b.n, 1);
	assert_int_equal(inet_be16(b.got[0] + 12), 0x0806);
	assert_int_equal(b.got[0][21], NAT_ARP_REPLY);
	assert_int_equal(inet_be32(b.got[0] + 28), target);
	assert_memory_equal(b.got[0], N1_MAC, 6);
	assert_int_equal(b.got[0][22], 0x52);
	assert_int_equal(b.got[0][23], 0x55);
	assert_int_equal(inet_be32(b.got[0] + 24), target);
}

static void test_arp(void **state)
{
	nat_bench_up(&b, "");
	arp_of(GW_IP);
	arp_of(DNS_IP);
	/* Another guest's address is that guest's to answer. */
	assert_false(nat_bench_ask(&b, frame, make_arp(frame, N1_MAC, N1_IP, N2_IP)));
	nat_bench_down(&b);
}

static void test_ping_gateway(void **state)
{
	nat_bench_up(&b, "");
	/* The port learns who is where from the ping itself: no ARP before the answer. */
	assert_true(nat_bench_ask(&b, frame, make_ping(frame, N1_MAC, N1_IP, GW_IP)));
	assert_int_equal(b.n, 1);
	assert_int_equal(inet_be16(b.got[0] + 12), 0x0800);
	assert_memory_equal(b.got[0], N1_MAC, 6);
	assert_int_equal(b.got[0][34], 0);
	assert_true(nat_bench_ask(&b, frame, make_ping(frame, N1_MAC, N1_IP, DNS_IP)));
	nat_bench_down(&b);
}

/* More guests than libslirp remembers, all in one burst. */
static void test_many_neighbours(void **state)
{
	nat_bench_up(&b, "");
	for (unsigned i = 0; i < 60; i++) {
		char mac[6] = { 0x52, 0x54, 0, 0, 1, (char)i };

		nat_bench_send(&b, frame, make_ping(frame, mac, N1_IP + 20 + i, GW_IP));
	}
	assert_true(nat_bench_run(&b, 60, 500));
	assert_int_equal(b.n, 60);
	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(inet_be16(b.got[i] + 12), 0x0800);
		assert_int_equal(inet_be32(b.got[i] + 30) & 0xff, 30 + b.got[i][5]);
	}
	nat_bench_down(&b);
}

static size_t make_dhcp(uint8_t *msg, const char *mac, uint8_t type, uint32_t requested)
{
	memset(msg, 0, 300);
	msg[0] = 1;
	msg[1] = 1;
	msg[2] = 6;
	inet_put_be32(msg + 4, 0x12345678);
	memcpy(msg + 28, mac, 6);
	memcpy(msg + 236, "\x63\x82\x53\x63\x35\x01", 6);
	msg[242] = type;
	msg[243] = 50;
	msg[244] = 4;
	inet_put_be32(msg + 245, requested);
	msg[249] = 255;
	return 300;
}

static void test_dhcp(void **state)
{
	uint8_t msg[300];
	size_t len;

	nat_bench_up(&b, "");
	len = make_dhcp(msg, N1_MAC, 3, N1_IP);
	len = make_udp(frame, N1_MAC, 0, 68, INADDR_BROADCAST, 67, msg, len);
	assert_true(nat_bench_ask(&b, frame, len));
	assert_int_equal(b.n, 1);
	assert_memory_equal(b.got[0], N1_MAC, 6);
	assert_int_equal(inet_be32(b.got[0] + 26), GW_IP);
	assert_int_equal(inet_be32(b.got[0] + 30), N1_IP);
	assert_int_equal(b.got[0][42], 2);
	assert_int_equal(inet_be32(b.got[0] + 42 + 16), N1_IP);
	assert_int_equal(b.got[0][42 + 242], 5);
	assert_int_equal(b.nat->counters.dhcp_answers, 1);

	/* For a MAC that is not the sender's: no. */
	len = make_dhcp(msg, "\x52\x54\0\0\0\x0b", 3, N2_IP);
	len = make_udp(frame, N1_MAC, 0, 68, INADDR_BROADCAST, 67, msg, len);
	assert_false(nat_bench_ask(&b, frame, len));
	assert_int_equal(b.nat->counters.spoofed, 1);
	nat_bench_down(&b);
}

/* "n2" and "n2.lab", A. */
static size_t make_question(uint8_t *msg, const char *labels, size_t len)
{
	memcpy(msg, "\xab\xcd\x01\0\0\x01\0\0\0\0\0", 12);
	memcpy(msg + 12, labels, len);
	memcpy(msg + 12 + len, "\0\0\x01\0\x01", 5);
	return 12 + len + 5;
}

static void test_dns(void **state)
{
	uint8_t msg[64];
	size_t len = make_question(msg, "\x02N2\x03lab", 7);

	nat_bench_up(&b, "");
	len = make_udp(frame, N1_MAC, N1_IP, 5353, DNS_IP, 53, msg, len);
	assert_true(nat_bench_ask(&b, frame, len));
	assert_int_equal(inet_be32(b.got[0] + 26), DNS_IP);
	assert_int_equal(inet_be16(b.got[0] + 34), 53);
	assert_int_equal(inet_be16(b.got[0] + 36), 5353);
	assert_int_equal(inet_be16(b.got[0] + 42), 0xabcd);
	assert_int_equal(inet_be16(b.got[0] + 42 + 6), 1);
	assert_int_equal(inet_be32(b.got[0] + b.len[0] - 4), N2_IP);
	assert_int_equal(b.nat->counters.dns_answers, 1);

	/* Live: n2 is gone, n3 is there. */
	assert_says(nat_bench_call(&b, "hosts.set",
				   "{\"hosts\":[{\"name\":\"n3\",\"ip\":\"192.168.100.11\"}]}"),
		    "\"result\":{}");
	assert_true(nat_bench_ask(&b, frame, len));
	assert_int_equal(b.got[0][42 + 3] & 15, 3);
	len = make_question(msg, "\x02n3", 3);
	len = make_udp(frame, N1_MAC, N1_IP, 5353, DNS_IP, 53, msg, len);
	assert_true(nat_bench_ask(&b, frame, len));
	assert_int_equal(inet_be32(b.got[0] + b.len[0] - 4), N2_IP);
	nat_bench_down(&b);
}

/* A listener on 127.0.0.1 that a guest should not find. */
static int listen_on_loopback(uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

/* The first datagram after a long silence opens a flow that lives until the answer comes. */
static void test_udp_out(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char buf[64];

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	nat_bench_up(&b, "\"host-loopback\":true");
	nat_bench_send(&b, frame,
		       make_udp(frame, N1_MAC, N1_IP, 4000, GW_IP, ntohs(a.sin_port), "ask", 3));
	nat_bench_run(&b, 1, 20);
	assert_int_equal(b.nat->flows.n_udp, 1);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len),
			 3);
	assert_int_equal(sendto(fd, "answer", 6, 0, (struct sockaddr *)&a, len), 6);
	assert_true(nat_bench_run(&b, 1, 500));
	assert_int_equal(inet_be32(b.got[0] + 26), GW_IP);
	assert_int_equal(inet_be16(b.got[0] + 36), 4000);
	assert_memory_equal(b.got[0] + NAT_UDP4_LEN, "answer", 6);
	nat_bench_down(&b);
}

static bool was_connected(int listener)
{
	return poll(&(struct pollfd){ listener, POLLIN, 0 }, 1, 100) == 1;
}

static void test_host_loopback(void **state)
{
	uint16_t port;
	auto_fd int fd = listen_on_loopback(&port);
	static const uint32_t names[] = { 0x7f000001, 0x7f000002, 0x00000000, GW_IP,
					  DNS_IP,     0xc0a864ff, 0xffffffff, 0xa9fea9fe };

	nat_bench_up(&b, "");
	for (unsigned i = 0; i < array_size(names); i++) {
		nat_bench_send(&b, frame,
			       make_tcp(frame, N1_MAC, N1_IP, (uint16_t)(4000 + i), names[i], port,
					NAT_TCP_SYN));
		nat_bench_run(&b, 2, 30);
		for (unsigned j = 0; j < b.n; j++) /* nothing but refusals */
			assert_true(b.got[j][23] != INET_TCP || b.got[j][47] & 0x04);
	}
	assert_false(was_connected(fd));
	nat_bench_down(&b);

	nat_bench_up(&b, "\"host-loopback\":true");
	nat_bench_send(&b, frame,
		       make_tcp(frame, N1_MAC, N1_IP, 4000, 0x7f000001, port, NAT_TCP_SYN));
	nat_bench_run(&b, 1, 30);
	assert_false(was_connected(fd));
	nat_bench_send(&b, frame, make_tcp(frame, N1_MAC, N1_IP, 4001, GW_IP, port, NAT_TCP_SYN));
	assert_true(nat_bench_run(&b, 1, 500));
	assert_true(was_connected(fd));
	assert_int_equal(b.got[0][47], NAT_TCP_SYN | NAT_TCP_ACK);
	nat_bench_down(&b);
}

static void test_spoofed(void **state)
{
	nat_bench_up(&b, "");
	/* n2's address from n1's MAC; the gateway's; one from elsewhere. */
	assert_false(nat_bench_ask(&b, frame, make_ping(frame, N1_MAC, N2_IP, GW_IP)));
	assert_int_equal(b.nat->counters.spoofed, 1);
	assert_false(nat_bench_ask(&b, frame, make_arp(frame, N1_MAC, N2_IP, GW_IP)));
	assert_int_equal(b.nat->counters.spoofed, 2);
	assert_false(nat_bench_ask(&b, frame, make_arp(frame, N1_MAC, GW_IP, GW_IP)));
	assert_false(nat_bench_ask(&b, frame, make_ping(frame, N1_MAC, GW_IP, GW_IP)));
	assert_false(nat_bench_ask(&b, frame, make_ping(frame, N1_MAC, 0x0a000001, GW_IP)));
	/* A frame that was flooded, for somebody else. */
	make_ping(frame, N1_MAC, N1_IP, GW_IP);
	frame[5] ^= 0x40;
	assert_false(nat_bench_ask(&b, frame, 50));
	assert_int_equal(b.nat->counters.refused, 3);
	nat_bench_down(&b);
}

/* One guest that opens whatever it can: its share, and no more; another still gets a connection. */
static void test_limits(void **state)
{
	uint16_t port;
	auto_fd int fd = listen_on_loopback(&port);

	nat_bench_up(&b, "\"host-loopback\":true,\"sockets\":64");
	for (unsigned i = 0; i < 200; i++) {
		nat_bench_send(&b, frame,
			       make_udp(frame, N1_MAC, N1_IP, (uint16_t)(1000 + i), GW_IP, port,
					"x", 1));
		nat_bench_run(&b, 1, 0);
	}
	nat_bench_run(&b, BENCH_KEEP, 20);
	assert_int_equal(b.nat->flows.n, 16); /* a quarter for a guest that is known */
	assert_int_equal(b.nat->flows.n_udp, 16);
	assert_int_equal(b.nat->counters.limited, 184);
	assert_says(nat_bench_call(&b, "port.list", "{}"),
		    "\"sockets\":{\"max\":64,\"open\":16,\"tcp\":0,\"udp\":16,\"icmp\":0}");
	/* What is open goes on. */
	nat_bench_send(&b, frame, make_udp(frame, N1_MAC, N1_IP, 1000, GW_IP, port, "x", 1));
	nat_bench_run(&b, BENCH_KEEP, 5);
	assert_int_equal(b.nat->counters.limited, 184);
	/* Strangers all together: half, of which UDP gets no more than half of all. */
	for (unsigned i = 0; i < 200; i++) {
		nat_bench_send(&b, frame,
			       make_tcp(frame, "\x52\x54\0\0\1\1", N1_IP + 50 + i % 4,
					(uint16_t)(1000 + i), GW_IP, port, NAT_TCP_SYN));
		nat_bench_run(&b, 1, 0);
	}
	assert_true(b.nat->flows.n_tcp <= 32 && b.nat->flows.n_tcp > 0);
	/* And n2 gets one all the same. */
	nat_bench_send(&b, frame,
		       make_tcp(frame, "\x52\x54\0\0\0\x0b", N2_IP, 999, GW_IP, port, NAT_TCP_SYN));
	nat_bench_run(&b, BENCH_KEEP, 50);
	assert_true(nat_flows_admit(&b.nat->flows,
				    &(struct nat_packet){ .kind = NAT_KIND_IP4,
							  .proto = INET_UDP,
							  .src = nat_addr_of_ip4(N2_IP) },
				    true));
	nat_bench_down(&b);
}

/* What guests hold leaves descriptors for the rest of the process. */
static void test_descriptor_limit(void **state)
{
	struct rlimit before, low;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 200;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	nat_bench_up(&b, "");
	assert_int_equal(b.nat->flows.max, 100);
	nat_bench_down(&b);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* Fragments that never become a packet: bounded by bytes. */
static void test_fragments(void **state)
{
	uint8_t big[1480] = { 0 };
	unsigned n = NAT_FRAGMENT_BYTES / 1500;

	nat_bench_up(&b, "");
	make_udp(frame, N1_MAC, N1_IP, 1, 0x08080808, 9, big, sizeof(big) - 8);
	for (unsigned i = 0; i < n + 500; i++) {
		uint16_t sum;

		inet_put_be16(frame + 18, i);
		frame[20] = 0x20; /* more to come */
		memset(frame + 24, 0, 2);
		sum = csum_fold(csum_add(0, frame + 14, 20));
		memcpy(frame + 24, &sum, 2);
		nat_bench_send(&b, frame, 14 + 20 + sizeof(big));
		nat_bench_run(&b, 1, 0);
	}
	nat_bench_run(&b, 1, 5);
	assert_true(b.nat->counters.limited > 400);
	assert_true(b.nat->counters.limited < 600);
	assert_int_equal(b.nat->flows.n, 0);
	nat_bench_down(&b);
}

/* Frames of no sense: nothing is answered, and nothing is read beyond their end (the sanitizer says). */
static void test_malformed(void **state)
{
	size_t len;

	nat_bench_up(&b, "\"subnet6\":\"fd00:100::/64\"");
	len = make_udp(frame, N1_MAC, N1_IP, 5353, DNS_IP, 53, "\1\2\3", 3);
	for (size_t cut = 14; cut < len; cut++) {
		nat_bench_send(&b, frame, cut);
		nat_bench_run(&b, 1, 0);
		assert_int_equal(b.n, 0);
	}
	assert_true(b.nat->counters.malformed > 20);
	nat_bench_down(&b);
}

static void test_forward_errors(void **state)
{
	uint16_t port;
	auto_fd int fd = listen_on_loopback(&port);
	char params[256];
	const char *answer;

	nat_bench_up(&b, "");
	snprintf(params, sizeof(params),
		 "{\"host-port\":%u,\"guest\":\"192.168.100.10\",\"guest-port\":22}", port);
	answer = nat_bench_call(&b, "forward.add", params);
	assert_says(answer, "-32000");
	assert_says(answer, "127.0.0.1:");
	assert_says(answer, "Address already in use");
	assert_says(nat_bench_call(&b, "forward.list", "{}"), "\"forwards\":[]");

	answer = nat_bench_call(&b, "forward.add",
				"{\"host-port\":0,\"guest\":\"192.168.100.10\",\"guest-port\":22}");
	assert_int_equal(sscanf(strstr(answer, "host-port"), "host-port\":%hu", &port), 1);
	assert_true(port > 0);
	snprintf(params, sizeof(params),
		 "{\"host-port\":%u,\"guest\":\"192.168.100.11\",\"guest-port\":22}", port);
	assert_says(nat_bench_call(&b, "forward.add", params), "-32002");
	snprintf(params, sizeof(params),
		 "{\"forwards\":[{\"port\":\"up\",\"proto\":\"tcp\",\"host\":"
		 "\"127.0.0.1\",\"host-port\":%u,\"guest\":\"192.168.100.10\","
		 "\"guest-port\":22}]}",
		 port);
	assert_says(nat_bench_call(&b, "forward.list", "{}"), params);
	snprintf(params, sizeof(params), "{\"host-port\":%u}", port);
	assert_says(nat_bench_call(&b, "forward.remove", params), "\"result\":{}");
	assert_says(nat_bench_call(&b, "forward.remove", params), "-32001");
	assert_says(nat_bench_call(&b, "forward.list", "{}"), "\"forwards\":[]");

	assert_says(nat_bench_call(&b, "forward.add",
				   "{\"host-port\":1,\"guest\":\"10.0.0.1\",\"guest-port\":22}"),
		    "guest: not an address for a guest of the subnet");
	assert_says(nat_bench_call(
			    &b, "forward.add",
			    "{\"host-port\":70000,\"guest\":\"192.168.100.10\",\"guest-port\":22}"),
		    "host-port: outside");
	assert_says(
		nat_bench_call(
			&b, "forward.add",
			"{\"proto\":\"sctp\",\"host-port\":0,\"guest\":\"192.168.100.10\",\"guest-port\":22}"),
		"proto: neither");
	assert_says(
		nat_bench_call(
			&b, "forward.add",
			"{\"host\":\"192.0.2.1\",\"host-port\":0,\"guest\":\"192.168.100.10\",\"guest-port\":22}"),
		"tcp 192.0.2.1:0: Cannot assign requested address");
	assert_says(nat_bench_call(&b, "forward.add",
				   "{\"port\":\"n1\",\"host-port\":0,\"guest\":"
				   "\"192.168.100.10\",\"guest-port\":22}"),
		    "is no NAT port");
	nat_bench_down(&b);
}

/* The same for UDP, where two could bind one port without noticing. */
static void test_forward_udp_taken(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int one = 1;
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char params[256];

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	nat_bench_up(&b, "");
	snprintf(
		params, sizeof(params),
		"{\"proto\":\"udp\",\"host-port\":%u,\"guest\":\"192.168.100.10\",\"guest-port\":53}",
		ntohs(a.sin_port));
	assert_says(nat_bench_call(&b, "forward.add", params), "Address already in use");
	nat_bench_down(&b);
}

static const struct {
	const char *members, *error;
} wrong[] = {
	{ "\"subnet\":\"192.168.100.0\"", "subnet: not ADDRESS/PREFIX" },
	{ "\"subnet\":\"192.168.100.1/24\"",
	  "subnet: 192.168.100.1/24 has bits beyond its prefix" },
	{ "\"subnet\":\"192.168.100.0/31\"", "subnet: not ADDRESS/PREFIX" },
	{ "\"gateway\":\"10.0.0.1\"", "gateway: not an address of the subnet" },
	{ "\"gateway\":\"192.168.100.255\"", "gateway: not an address of the subnet" },
	{ "\"gateway\":\"x\"", "gateway: \\\"x\\\" is not an IPv4 address" },
	{ "\"dns\":\"192.168.100.1\"", "dns: the gateway's address" },
	{ "\"subnet6\":\"fd00::/48\"", "subnet6: not ADDRESS/64" },
	{ "\"subnet6\":\"fe80::/64\"", "subnet6: neither unique local" },
	{ "\"gateway6\":\"fd00::1\"", "gateway6: there is no subnet6" },
	{ "\"mtu\":67", "mtu: outside 68..65521" },
	{ "\"mtu\":1000,\"subnet6\":\"fd00::/64\"", "mtu: below 1280" },
	{ "\"domain\":\"a..b\"", "domain: \\\"a..b\\\" is not a domain name" },
	{ "\"pool\":{\"first\":\"192.168.100.9\"}", "pool/last: not an address of the subnet" },
	{ "\"pool\":{\"first\":\"192.168.100.9\",\"last\":\"192.168.100.8\"}",
	  "pool/last: before first" },
	{ "\"lease-s\":1", "lease-s: outside" },
	{ "\"sockets\":1", "sockets: outside 64..16384" },
	{ "\"restricted\":1", "restricted: not true or false" },
	{ "\"hosts\":[1]", "hosts/0: not an object" },
	{ "\"hosts\":[{\"name\":\"a\"},{\"name\":\"A\"}]",
	  "hosts/1/its name, mac or an address is another host's" },
	{ "\"hosts\":[{\"name\":\"-a\"}]", "hosts/0/name: \\\"-a\\\" is not a host name" },
	{ "\"hosts\":[{\"name\":\"a\",\"ip\":\"192.168.100.1\"}]", "hosts/0/ip: not an address" },
	{ "\"hosts\":[{\"name\":\"a\",\"mac\":\"5\"}]", "hosts/0/mac: \\\"5\\\" is not" },
	{ "\"hosts\":[{\"name\":\"a\",\"nic\":\"5\"}]", "hosts/0/nic: not one of" },
	{ "\"hosts\":[{}]", "hosts/0/name: missing" },
	{ "\"forwards\":[{\"host-port\":1,\"guest\":\"192.168.100.9\"}]",
	  "forwards/0/guest-port: missing" },
	{ "\"bridge\":\"br0\"", "bridge" },
};

static void test_wrong_spec(void **state)
{
	char params[512];

	nat_bench_up(&b, "");
	for (unsigned i = 0; i < array_size(wrong); i++) {
		const char *answer;
		bool subnet = strncmp(wrong[i].members, "\"subnet\"", 8) == 0;

		snprintf(params, sizeof(params), "{\"name\":\"x\",\"type\":\"nat\",%s%s}",
			 subnet ? "" : "\"subnet\":\"192.168.100.0/24\",", wrong[i].members);
		answer = nat_bench_call(&b, "port.add", params);
		assert_says(answer, "-32602");
		assert_says(answer, wrong[i].error);
		assert_null(sw_find(&b.net.sw, "x"));
	}
	nat_bench_down(&b);
}

/* A forward that cannot be had with the port: no port, and none of the forwards before it stays. */
static void test_port_with_taken_forward(void **state)
{
	uint16_t port, other;
	auto_fd int fd = listen_on_loopback(&port);
	int free_fd = listen_on_loopback(&other);
	char params[512];

	close(free_fd);
	nat_bench_up(&b, "");
	snprintf(params, sizeof(params),
		 "{\"name\":\"x\",\"type\":\"nat\",\"subnet\":\"10.1.0.0/16\",\"forwards\":["
		 "{\"host-port\":%u,\"guest\":\"10.1.0.9\",\"guest-port\":1},"
		 "{\"host-port\":%u,\"guest\":\"10.1.0.9\",\"guest-port\":2}]}",
		 other, port);
	assert_says(nat_bench_call(&b, "port.add", params), "forwards/1: tcp 127.0.0.1:");
	assert_null(sw_find(&b.net.sw, "x"));
	free_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(free_fd,
			      (struct sockaddr *)&(struct sockaddr_in){
				      .sin_family = AF_INET,
				      .sin_port = htons(other),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			      sizeof(struct sockaddr_in)),
			 0);
	close(free_fd);
	nat_bench_down(&b);
}

/* With nothing to do the port sleeps, also when it listens for a forward. */
static void test_idle(void **state)
{
	nat_bench_up(
		&b,
		"\"forwards\":[{\"host-port\":0,\"guest\":\"192.168.100.10\",\"guest-port\":22}]");
	nat_bench_run(&b, 1, 20);
	loop_timer_cancel(&b.backend.loop, &b.net.tick);
	assert_null(b.backend.loop.timers);
	nat_bench_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_out), /* first: libslirp's clock has not run yet */
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_ping_gateway),
		cmocka_unit_test(test_many_neighbours),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_dns),
		cmocka_unit_test(test_host_loopback),
		cmocka_unit_test(test_spoofed),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_descriptor_limit),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_forward_errors),
		cmocka_unit_test(test_forward_udp_taken),
		cmocka_unit_test(test_wrong_spec),
		cmocka_unit_test(test_port_with_taken_forward),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
