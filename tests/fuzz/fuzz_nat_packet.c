/* SPDX-License-Identifier: MIT */
/* A frame of a guest, as far as libslirp: nothing is read beyond it, and whatever it says, nothing that leads to this
 * host's loopback or to link-local addresses goes on.  Fragments and headers are looked at a second time here, by
 * plain reading. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inet.h"
#include "nat_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_ip4(const uint8_t *ip, const struct nat_net *net, const struct nat_packet *p)
{
	uint32_t dst = inet_be32(ip + 16);
	bool fragment = inet_be16(ip + 6) & 0x3fff;

	CHECK(dst >> 24 != 127 && dst >> 24 != 0 && dst >> 29 != 7 && dst >> 16 != 0xa9fe);
	CHECK((inet_be32(ip + 12) & net->mask) == net->subnet);
	CHECK(!(fragment && ip[9] == 6));
	if (dst == net->gateway && ip[9] == 6) {
		size_t head = (size_t)(ip[0] & 15) * 4;

		CHECK(net->host_loopback || (ip[head + 13] & 0x12) != 0x02);
	}
	CHECK(p->proto == ip[9]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nat_net net = { .subnet = 0xc0a86400,
			       .mask = 0xffffff00,
			       .gateway = 0xc0a86401,
			       .dns = 0xc0a864fe,
			       .ip6 = true,
			       .subnet6 = { .s6_addr = { 0xfd } },
			       .gateway6 = { .s6_addr = { 0xfd, [15] = 1 } },
			       .dns6 = { .s6_addr = { 0xfd, [15] = 3 } } };
	struct nat_packet p;

	if (size < 1)
		return 0;
	net.restricted = data[0] & 1;
	net.host_loopback = data[0] & 2;
	if (nat_packet_parse(data + 1, size - 1, &p) < 0)
		return 0;
	if (p.payload)
		CHECK(p.payload + p.payload_len <= data + size);
	if (nat_policy(&net, &p) != NAT_WAY_SLIRP)
		return 0;
	if (p.kind == NAT_KIND_IP4)
		check_ip4(data + 1 + 14, &net, &p);
	else if (p.kind == NAT_KIND_IP6)
		CHECK(!IN6_IS_ADDR_LOOPBACK(&p.dst) && !IN6_IS_ADDR_V4MAPPED(&p.dst) &&
		      !IN6_IS_ADDR_UNSPECIFIED(&p.dst));
	return 0;
}
