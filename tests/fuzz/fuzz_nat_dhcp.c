/* SPDX-License-Identifier: MIT */
/* DHCP messages from guests, one after the other, each behind its length and a step of time: no two MACs are ever told
 * the same address, no address is told that is not a guest's, and every reply can be read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "inet.h"
#include "nat_dhcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define FIRST 0xc0a86478u
#define N     16

/* Who was told of which address, until when. */
static struct {
	uint8_t mac[6];
	uint64_t until_s;
} told[N];

static void forget(const uint8_t *mac)
{
	for (unsigned i = 0; i < N; i++)
		if (memcmp(told[i].mac, mac, 6) == 0)
			told[i].until_s = 0;
}

static void check_reply(const struct nat_net *net, const struct nat_dhcp_reply *r, uint64_t now_s)
{
	uint32_t ip = inet_be32(r->bytes + 16);
	size_t at = 240;

	CHECK(r->len >= 300 && r->len <= NAT_DHCP_REPLY_MAX && r->bytes[0] == 2);
	while (r->bytes[at] != 255) {
		at += 2u + r->bytes[at + 1];
		CHECK(at < r->len);
	}
	if (ip == 0)
		return;
	CHECK(nat_net_is_guest(net, ip));
	if (r->bytes[242] == 5 && ip - FIRST < N) { /* an ACK */
		CHECK(told[ip - FIRST].until_s <= now_s ||
		      memcmp(told[ip - FIRST].mac, r->bytes + 28, 6) == 0);
		forget(r->bytes + 28); /* a client has one address */
		memcpy(told[ip - FIRST].mac, r->bytes + 28, 6);
		told[ip - FIRST].until_s = now_s + 60;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nat_net net = { .subnet = 0xc0a86400,
			       .mask = 0xffffff00,
			       .gateway = 0xc0a86401,
			       .dns = 0xc0a864fe,
			       .domain = "lab" };
	struct nat_hosts hosts = { 0 };
	struct nat_host n1 = { .name = "n1",
			       .has_mac = true,
			       .mac = { 0x52, 0x54, 0, 0, 0, 1 },
			       .has_ip = true,
			       .ip = FIRST + 3 };
	struct nat_dhcp dhcp;
	struct nat_dhcp_reply reply;
	uint64_t now_s = 1;

	memset(told, 0, sizeof(told));
	CHECK(nat_hosts_add(&hosts, &n1) == 0);
	CHECK(nat_dhcp_init(&dhcp, &net, &hosts, FIRST, FIRST + N - 1, 60) == 0);
	while (size >= 3) {
		size_t len = min((size_t)inet_be16(data), size - 3);

		now_s += data[2];
		if (nat_dhcp_answer(&dhcp, data + 3, len, now_s, &reply))
			check_reply(&net, &reply, now_s);
		else if (len >= 240)
			forget(data + 3 +
			       28); /* perhaps a release; which address, the server knows */
		data += 3 + len;
		size -= 3 + len;
	}
	nat_dhcp_done(&dhcp);
	nat_hosts_done(&hosts);
	return 0;
}
