/* SPDX-License-Identifier: MIT */
/* Datagrams from anybody, at a VXLAN port that knows three peers: vxlan.h.
 *
 * Each record of the input is a sender, a time, a length, and the datagram.  Only what is of a peer and our network is
 * taken, what is learned stays within its bounds, and a station is only ever behind a peer that it was heard from. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "vxlan.h"

#define PEERS    3
#define PER_PEER 8
#define AGEING   5
#define HEAD     3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static union inetaddr address(uint8_t i)
{
	return (union inetaddr){ .in = { .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(0x0a000000u | i),
					 .sin_port = htons((uint16_t)(1000 + i)) } };
}

static bool is_ours(uint8_t sender, const uint8_t *bytes, uint32_t len)
{
	return sender < PEERS && len >= VXLAN_HDR_LEN && (bytes[0] & 8) && bytes[4] == 1 &&
	       bytes[5] == 2 && bytes[6] == 3;
}

static void one(struct vxlan *x, uint8_t sender, uint32_t now_s, const uint8_t *bytes, uint32_t len)
{
	union inetaddr from = address(sender);
	uint64_t strangers = x->strangers;
	bool taken = vxlan_open(x, &from, bytes, len, now_s);

	assert(taken == is_ours(sender, bytes, len));
	assert(x->strangers == strangers + !taken);
	assert(fdb_count(&x->stations) <= PEERS * PER_PEER);
	if (taken && len >= VXLAN_HDR_LEN + 14 && !(bytes[VXLAN_HDR_LEN + 6] & 1) &&
	    fdb_key(bytes + VXLAN_HDR_LEN + 6) != 0)
		assert(vxlan_route(x, bytes + VXLAN_HDR_LEN + 6, now_s) == sender);
	if (len >= 6) {
		uint32_t peer = vxlan_route(x, bytes, now_s);

		assert(peer < PEERS || peer == VXLAN_PEER_NONE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vxlan x = { .vni = 0x010203, .n_peers = PEERS };
	uint32_t now_s = 0;

	for (uint8_t i = 0; i < PEERS; i++)
		x.peer[i] = address(i);
	if (vxlan_init(&x, PER_PEER, AGEING, 1) < 0)
		return 0;
	while (size >= HEAD) {
		uint8_t sender = data[0] % (PEERS + 1);
		uint32_t len = min((uint32_t)data[2], (uint32_t)(size - HEAD));
		uint8_t *bytes = malloc(len + 1); /* of its size: a byte too many is found */

		assert(bytes);
		memcpy(bytes, data + HEAD, len);
		now_s += data[1] % 3;
		one(&x, sender, now_s, bytes, len);
		free(bytes);
		data += HEAD + len;
		size -= HEAD + len;
	}
	vxlan_done(&x);
	return 0;
}
