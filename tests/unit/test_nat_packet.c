/* SPDX-License-Identifier: MIT */
/* Reading and making packets, and where a guest's may go. */
#include "nat_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "csum.h"
#include "inet.h"
#include "nat_policy.h"

#define MAC_A ((const uint8_t *)"\x52\x54\0\0\0\x0a")
#define MAC_B ((const uint8_t *)"\x52\x54\0\0\0\x0b")

static struct in6_addr addr(const char *text)
{
	struct in6_addr a;
	struct in_addr a4;

	if (inet_pton(AF_INET, text, &a4) == 1)
		return nat_addr_of_ip4(ntohl(a4.s_addr));
	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static size_t udp(uint8_t *frame, const char *from, const char *to, const char *payload)
{
	struct nat_end a = { MAC_A, addr(from), 1000 }, b = { MAC_B, addr(to), 53 };

	memcpy(frame + nat_packet_udp_room(&a.addr), payload, strlen(payload));
	return nat_packet_udp(frame, &a, &b, strlen(payload));
}

static void test_udp(void **state)
{
	static const struct {
		const char *from, *to, *payload;
	} each[] = { { "192.168.100.10", "192.168.100.1", "hello" },
		     { "192.168.100.10", "192.168.100.1", "" },
		     { "fd00::a", "fd00::1", "hello" },
		     { "fd00::a", "fd00::1", "even" } };
	uint8_t frame[256];
	struct nat_packet p;

	for (unsigned i = 0; i < array_size(each); i++) {
		size_t len = udp(frame, each[i].from, each[i].to, each[i].payload);
		struct in6_addr from = addr(each[i].from), to = addr(each[i].to);

		assert_int_equal(nat_packet_parse(frame, len, &p), 0);
		assert_memory_equal(&p.src, &from, 16);
		assert_memory_equal(&p.dst, &to, 16);
		assert_int_equal(p.proto, INET_UDP);
		assert_int_equal(p.sport, 1000);
		assert_int_equal(p.dport, 53);
		assert_int_equal(p.payload_len, strlen(each[i].payload));
		assert_memory_equal(p.payload, each[i].payload, p.payload_len);
		assert_memory_equal(p.eth_dst, MAC_B, 6);
		assert_memory_equal(p.eth_src, MAC_A, 6);
		if (p.kind == NAT_KIND_IP4)
			assert_int_equal(csum_fold(csum_add(0, frame + 14, 20)), 0);
		/* Any bit that flips in the datagram is noticed. */
		frame[len - 1] ^= 0x10;
		assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
		frame[len - 1] ^= 0x10;
		/* Trailing bytes, as Ethernet pads, are not part of it. */
		memset(frame + len, 0xaa, 20);
		assert_int_equal(nat_packet_parse(frame, len + 20, &p), 0);
		assert_int_equal(p.payload_len, strlen(each[i].payload));
	}
}

/* Every length that a frame can be cut to, on the heap: nothing is read beyond it. */
static void test_cut(void **state)
{
	static const char *const pairs[][2] = { { "192.168.100.10", "192.168.100.1" },
						{ "fd00::a", "fd00::1" } };

	for (unsigned i = 0; i < array_size(pairs); i++) {
		uint8_t frame[256];
		size_t len = udp(frame, pairs[i][0], pairs[i][1], "hello");

		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *copy = malloc(cut + 1);
			struct nat_packet p;

			memcpy(copy, frame, cut);
			copy = realloc(copy, cut ? cut : 1);
			assert_int_equal(nat_packet_parse(copy, cut, &p), -EINVAL);
			free(copy);
		}
	}
}

static void test_lies(void **state)
{
	uint8_t frame[256];
	size_t len = udp(frame, "10.0.0.1", "10.0.0.2", "hello");
	struct nat_packet p;

	inet_put_be16(frame + 16, (uint32_t)len); /* longer than the frame */
	assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
	inet_put_be16(frame + 16, 19); /* shorter than its header */
	assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
	len = udp(frame, "10.0.0.1", "10.0.0.2", "hello");
	inet_put_be16(frame + 38, 7); /* UDP's own length */
	assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
	inet_put_be16(frame + 38, 14);
	assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
	frame[14] = 0x4f; /* a header of 60 bytes */
	assert_int_equal(nat_packet_parse(frame, len, &p), -EINVAL);
	memset(frame + 12, 0, 2); /* of no kind */
	assert_int_equal(nat_packet_parse(frame, len, &p), 0);
	assert_int_equal(p.kind, NAT_KIND_OTHER);
}

static void test_neighbour_answers(void **state)
{
	struct in6_addr from = addr("fd00::a"), to = addr("fe80::2");
	uint8_t frame[NAT_NA_LEN];
	struct nat_packet p;

	nat_packet_arp_reply(frame, 0x0a000001, MAC_A, 0x0a000002, MAC_B);
	assert_int_equal(nat_packet_parse(frame, NAT_ARP_LEN, &p), 0);
	assert_int_equal(p.kind, NAT_KIND_ARP);
	assert_int_equal(p.type, NAT_ARP_REPLY);
	assert_int_equal(nat_addr_ip4(&p.src), 0x0a000001);
	assert_int_equal(nat_addr_ip4(&p.dst), 0x0a000002);
	frame[11] ^= 1; /* sent for somebody else */
	assert_int_equal(nat_packet_parse(frame, NAT_ARP_LEN, &p), -EINVAL);

	nat_packet_advertise(frame, &from, MAC_A, &to, MAC_B);
	assert_int_equal(nat_packet_parse(frame, NAT_NA_LEN, &p), 0);
	assert_int_equal(p.proto, INET_ICMP6);
	assert_int_equal(p.type, NAT_ND_NA);
	assert_memory_equal(&p.target, &from, 16);
}

/* Where packets may go. */

static struct nat_net net;

static void set_net(bool restricted, bool host_loopback)
{
	net = (struct nat_net){ .subnet = 0xc0a86400,
				.mask = 0xffffff00,
				.gateway = 0xc0a86401,
				.dns = 0xc0a864fe,
				.ip6 = true,
				.subnet6 = addr("fd00::"),
				.gateway6 = addr("fd00::1"),
				.dns6 = addr("fd00::3"),
				.restricted = restricted,
				.host_loopback = host_loopback };
}

static enum nat_way way(const char *src, const char *dst, uint8_t proto, uint8_t type,
			uint16_t dport, bool fragment)
{
	struct in6_addr gateway = addr("192.168.100.1");
	uint8_t mac[6];
	struct nat_packet p = { .eth_dst = mac,
				.eth_src = MAC_A,
				.src = addr(src),
				.dst = addr(dst),
				.proto = proto,
				.type = type,
				.dport = dport,
				.fragment = fragment };

	nat_net_mac(&gateway, mac);
	p.kind = nat_addr_is_ip4(&p.src) ? NAT_KIND_IP4 : NAT_KIND_IP6;
	return nat_policy(&net, &p);
}

#define G4 "192.168.100.10"
#define G6 "fd00::a"

static enum nat_way syn(const char *dst)
{
	return way(strchr(dst, ':') ? G6 : G4, dst, INET_TCP, NAT_TCP_SYN, 80, false);
}

static enum nat_way ack(const char *dst)
{
	return way(strchr(dst, ':') ? G6 : G4, dst, INET_TCP, NAT_TCP_ACK, 80, false);
}

static enum nat_way dgram(const char *dst, uint16_t port)
{
	return way(strchr(dst, ':') ? G6 : G4, dst, INET_UDP, 0, port, false);
}

/* However it is called, nobody gets at this host's loopback, or at link-local addresses. */
static const char *const never[] = {
	"127.0.0.1",
	"127.255.255.254",
	"0.0.0.0",
	"0.1.2.3",
	"169.254.169.254",
	"224.0.0.1",
	"239.255.255.250",
	"255.255.255.255",
	"240.0.0.1",
	"192.168.100.99",
	"192.168.100.0",
	"192.168.100.255",
	"::1",
	"::",
	"::ffff:127.0.0.1",
	"fe80::1",
	"ff02::1",
	"fd00::99",
	"::127.0.0.1",
	"64:ff9b::7f00:1",
	"fec0::1",
};

static void test_policy_never(void **state)
{
	for (unsigned mode = 0; mode < 4; mode++) {
		set_net(mode & 1, mode & 2);
		for (unsigned i = 0; i < array_size(never); i++) {
			struct in6_addr a = addr(never[i]);
			const char *src = nat_addr_is_ip4(&a) ? G4 : G6;

			assert_int_not_equal(way(src, never[i], INET_TCP, NAT_TCP_SYN, 22, false),
					     NAT_WAY_SLIRP);
			assert_int_equal(way(src, never[i], INET_TCP, NAT_TCP_ACK, 22, false),
					 NAT_WAY_NONE);
			assert_int_equal(way(src, never[i], INET_UDP, 0, 22, false), NAT_WAY_NONE);
			assert_int_equal(way(src, never[i], INET_UDP, 0, 22, true), NAT_WAY_NONE);
			assert_int_equal(way(src, never[i], INET_ICMP, NAT_ICMP_ECHO, 0, false),
					 NAT_WAY_NONE);
		}
	}
}

static void test_policy_out(void **state)
{
	set_net(false, false);
	assert_int_equal(syn("1.1.1.1"), NAT_WAY_SLIRP);
	assert_int_equal(dgram("1.1.1.1", 123), NAT_WAY_SLIRP);
	assert_int_equal(syn("2001:db8::1"), NAT_WAY_SLIRP);
	assert_int_equal(dgram("2001:db8::1", 123), NAT_WAY_SLIRP);
	assert_int_equal(way(G4, "1.1.1.1", INET_ICMP, NAT_ICMP_ECHO, 0, false), NAT_WAY_SLIRP);
	assert_int_equal(way(G4, "1.1.1.1", INET_UDP, 0, 0, true), NAT_WAY_SLIRP);
	assert_int_equal(way(G4, "1.1.1.1", INET_TCP, NAT_TCP_ACK, 0, true), NAT_WAY_NONE);
	assert_int_equal(way(G4, "1.1.1.1", 47, 0, 0, false), NAT_WAY_NONE);
	/* The gateway's address is not loopback's, but answers to forwards pass. */
	assert_int_equal(syn("192.168.100.1"), NAT_WAY_RESET);
	assert_int_equal(ack("192.168.100.1"), NAT_WAY_SLIRP);
	assert_int_equal(dgram("192.168.100.1", 9), NAT_WAY_REPLY);
	assert_int_equal(way(G4, "192.168.100.1", INET_UDP, 0, 9, true), NAT_WAY_NONE);
	assert_int_equal(syn("fd00::1"), NAT_WAY_RESET);
	assert_int_equal(dgram("fd00::1", 9), NAT_WAY_REPLY);
	assert_int_equal(syn("169.254.169.254"), NAT_WAY_RESET);
	/* Names. */
	assert_int_equal(dgram("192.168.100.254", 53), NAT_WAY_DNS);
	assert_int_equal(dgram("fd00::3", 53), NAT_WAY_DNS);
	assert_int_equal(dgram("192.168.100.254", 54), NAT_WAY_NONE);
	assert_int_equal(way(G4, "192.168.100.254", INET_TCP, NAT_TCP_SYN, 53, false),
			 NAT_WAY_SLIRP);
	assert_int_equal(syn("192.168.100.254"), NAT_WAY_RESET);
	/* Senders. */
	assert_int_equal(way("10.0.0.1", "1.1.1.1", INET_UDP, 0, 9, false), NAT_WAY_NONE);
	assert_int_equal(way("192.168.100.1", "1.1.1.1", INET_UDP, 0, 9, false), NAT_WAY_NONE);
	assert_int_equal(way("192.168.100.254", "1.1.1.1", INET_UDP, 0, 9, false), NAT_WAY_NONE);
	assert_int_equal(way("2001:db8::2", "2001:db8::1", INET_UDP, 0, 9, false), NAT_WAY_NONE);
	assert_int_equal(way("fd00::1", "2001:db8::1", INET_UDP, 0, 9, false), NAT_WAY_NONE);
	/* DHCP. */
	assert_int_equal(way("0.0.0.0", "255.255.255.255", INET_UDP, 0, 67, false), NAT_WAY_DHCP);
	assert_int_equal(way(G4, "192.168.100.1", INET_UDP, 0, 67, false), NAT_WAY_DHCP);
	assert_int_equal(way("10.0.0.1", "255.255.255.255", INET_UDP, 0, 67, false), NAT_WAY_NONE);
	assert_int_equal(dgram("1.1.1.1", 67), NAT_WAY_SLIRP);
}

static void test_policy_host_loopback(void **state)
{
	set_net(false, true);
	assert_int_equal(syn("192.168.100.1"), NAT_WAY_SLIRP);
	assert_int_equal(dgram("192.168.100.1", 9), NAT_WAY_SLIRP);
	assert_int_equal(dgram("192.168.100.1", 69), NAT_WAY_NONE); /* libslirp's TFTP */
	assert_int_equal(syn("fd00::1"), NAT_WAY_SLIRP);
}

static void test_policy_restricted(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		set_net(true, i);
		assert_int_equal(syn("1.1.1.1"), NAT_WAY_RESET);
		assert_int_equal(ack("1.1.1.1"), NAT_WAY_SLIRP);
		assert_int_equal(dgram("1.1.1.1", 123), NAT_WAY_REPLY);
		assert_int_equal(way(G4, "1.1.1.1", INET_UDP, 0, 0, true), NAT_WAY_NONE);
		assert_int_equal(way(G4, "1.1.1.1", INET_ICMP, NAT_ICMP_ECHO, 0, false),
				 NAT_WAY_NONE);
		assert_int_equal(syn("2001:db8::1"), NAT_WAY_RESET);
		assert_int_equal(dgram("2001:db8::1", 123), NAT_WAY_REPLY);
		assert_int_equal(syn("192.168.100.1"), NAT_WAY_RESET);
		assert_int_equal(syn("fd00::1"), NAT_WAY_RESET);
		assert_int_equal(way(G4, "192.168.100.254", INET_TCP, NAT_TCP_SYN, 53, false),
				 NAT_WAY_RESET);
		assert_int_equal(dgram("192.168.100.254", 53), NAT_WAY_DNS);
	}
}

static void test_policy_mac(void **state)
{
	struct nat_packet p = { .kind = NAT_KIND_IP4,
				.eth_src = MAC_A,
				.src = addr(G4),
				.dst = addr("1.1.1.1"),
				.proto = INET_UDP };

	set_net(false, false);
	p.eth_dst = MAC_B;
	assert_int_equal(nat_policy(&net, &p), NAT_WAY_NONE);
	p.eth_dst = (const uint8_t *)"\xff\xff\xff\xff\xff\xff";
	assert_int_equal(nat_policy(&net, &p), NAT_WAY_NONE);
	p.eth_dst = (const uint8_t *)"\x52\x55\xc0\xa8\x64\xfe"; /* the name server's */
	assert_int_equal(nat_policy(&net, &p), NAT_WAY_SLIRP);
	net.ip6 = false;
	p.eth_dst = (const uint8_t *)"\x52\x56\0\0\0\x02";
	assert_int_equal(nat_policy(&net, &p), NAT_WAY_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_neighbour_answers),
		cmocka_unit_test(test_policy_never),
		cmocka_unit_test(test_policy_out),
		cmocka_unit_test(test_policy_host_loopback),
		cmocka_unit_test(test_policy_restricted),
		cmocka_unit_test(test_policy_mac),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
