/* SPDX-License-Identifier: MIT */
/* A DNS message from a guest: whatever it is, the reply fits, answers the same question, and is an answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inet.h"
#include "nat_dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void add(struct nat_hosts *hosts, const char *name, uint32_t ip)
{
	struct nat_host h = { .has_ip = true, .ip = ip, .has_ip6 = true };

	memcpy(h.name, name, strlen(name) + 1);
	h.ip6.s6_addr[0] = 0xfd;
	h.ip6.s6_addr[15] = (uint8_t)ip;
	CHECK(nat_hosts_add(hosts, &h) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nat_net net = { .subnet = 0xc0a86400,
			       .mask = 0xffffff00,
			       .ip6 = true,
			       .subnet6 = { .s6_addr = { 0xfd } },
			       .domain = "lab" };
	struct nat_hosts hosts = { 0 };
	struct nat_dns dns = { &net, &hosts };
	uint8_t reply[NAT_DNS_REPLY_MAX];
	size_t len = 0;

	if (size < 1)
		return 0;
	add(&hosts, "n1", 0xc0a8640a);
	add(&hosts, "n2", 0xc0a8640b);
	net.restricted = data[0] & 1;
	if (nat_dns_answer(&dns, data + 1, size - 1, reply, &len) == NAT_DNS_ANSWER) {
		CHECK(len >= 12 && len <= sizeof(reply));
		CHECK(memcmp(reply, data + 1, 2) == 0);
		CHECK(reply[2] & 0x80 && !(data[3] & 0x80));
		CHECK(inet_be16(reply + 4) <= 1 && inet_be16(reply + 6) <= 2);
	}
	nat_hosts_done(&hosts);
	return 0;
}
