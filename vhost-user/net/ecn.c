/* SPDX-License-Identifier: MIT */
#include "ecn.h"

#include <linux/if_ether.h>

#include "base.h"

#define ECN_MASK 3 /* of the byte that was the type of service; CE is both bits */

/* Addresses, two tags, the type, and of IPv4 what is up to the checksum. */
#define LOOK_LEN (12 + 2 * 4 + 2 + 12)

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Where IP begins; 0: there is none, or it is cut off. */
static uint32_t find_ip(const uint8_t *bytes, uint32_t len, bool *ret_v6)
{
	uint32_t at = 12;
	uint16_t type;

	for (unsigned tags = 0; tags < 2 && at + 6 <= len; tags++) {
		type = be16(bytes + at);
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		at += 4;
	}
	if (at + 2 + 12 > len)
		return 0;
	type = be16(bytes + at);
	*ret_v6 = type == ETH_P_IPV6;
	return type == ETH_P_IP || type == ETH_P_IPV6 ? at + 2 : 0;
}

static bool capable(const uint8_t *bytes, uint32_t len, uint32_t *ret_ip, bool *ret_v6)
{
	uint32_t ip = find_ip(bytes, len, ret_v6);

	*ret_ip = ip;
	if (ip == 0)
		return false;
	return ((*ret_v6 ? bytes[ip + 1] >> 4 : bytes[ip + 1]) & ECN_MASK) != 0;
}

bool ecn_capable(const struct sw_frame *f)
{
	uint8_t bytes[LOOK_LEN];
	uint32_t len = min(f->len, (uint32_t)LOOK_LEN), ip;
	bool v6;

	sw_frame_copy(f, 0, len, bytes);
	return capable(bytes, len, &ip, &v6);
}

/* HC' = ~(~HC + ~m + m'), over the word that has the type of service. */
static void update_checksum(uint8_t *sum, uint16_t before, uint16_t after)
{
	uint32_t n = (uint16_t)~be16(sum) + (uint32_t)(uint16_t)~before + after;

	n = (n & 0xffff) + (n >> 16);
	n = (n & 0xffff) + (n >> 16);
	sum[0] = (uint8_t)(~n >> 8);
	sum[1] = (uint8_t)~n;
}

void ecn_mark(uint8_t *bytes, uint32_t len)
{
	uint16_t before;
	uint32_t ip;
	bool v6;

	if (!capable(bytes, len, &ip, &v6))
		return;
	if (v6) {
		bytes[ip + 1] |= ECN_MASK << 4;
		return;
	}
	before = be16(bytes + ip);
	bytes[ip + 1] |= ECN_MASK;
	update_checksum(bytes + ip + 10, before, be16(bytes + ip));
}
