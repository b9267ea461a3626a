/* SPDX-License-Identifier: MIT */
#include "vxlan.h"

#include <string.h>

#include "base.h"
#include "port.h"

#define FLAG_VNI 0x08 /* RFC 7348, 5: the I flag; all else in the header is reserved, and ignored */

/* Stations forgotten at one look, so that none takes long. */
#define EXPIRE_BUDGET 64

int vxlan_init(struct vxlan *x, uint32_t per_peer, uint32_t ageing_s, uint64_t seed)
{
	struct fdb_config config = {
		.size = min((uint64_t)per_peer * x->n_peers, (uint64_t)FDB_SIZE_MAX),
		.per_port = per_peer,
		.ageing_s = ageing_s,
	};
	int r = fdb_init(&x->stations, &config, seed);

	if (r < 0)
		return r;
	r = fdb_port_room(&x->stations, x->n_peers);
	if (r < 0) {
		fdb_done(&x->stations);
		return r;
	}
	memset(x->hdr, 0, sizeof(x->hdr));
	x->hdr[0] = FLAG_VNI;
	x->hdr[4] = (uint8_t)(x->vni >> 16);
	x->hdr[5] = (uint8_t)(x->vni >> 8);
	x->hdr[6] = (uint8_t)x->vni;
	return 0;
}

void vxlan_done(struct vxlan *x)
{
	fdb_done(&x->stations);
}

/* By the address alone: the port of the source is the flow's (RFC 7348, 5). */
static uint32_t peer_of(const struct vxlan *x, const union inetaddr *from)
{
	for (uint32_t i = 0; i < x->n_peers; i++)
		if (inetaddr_same_host(&x->peer[i], from))
			return i;
	return VXLAN_PEER_NONE;
}

static void learn(struct vxlan *x, uint32_t peer, const uint8_t mac[6], uint32_t now_s)
{
	uint64_t key = fdb_key(mac);

	if (key != 0 && !(mac[0] & 1))
		(void)fdb_learn(&x->stations, key, peer, now_s);
}

bool vxlan_open(struct vxlan *x, const union inetaddr *from, const uint8_t *bytes, uint32_t len,
		uint32_t now_s)
{
	uint32_t peer;

	if (len < VXLAN_HDR_LEN || !(bytes[0] & FLAG_VNI) ||
	    memcmp(bytes + 4, x->hdr + 4, 3) != 0) {
		x->strangers++;
		return false;
	}
	peer = peer_of(x, from);
	if (peer == VXLAN_PEER_NONE) {
		x->strangers++;
		return false;
	}
	if (len >= VXLAN_HDR_LEN + SW_HEAD_LEN)
		learn(x, peer, bytes + VXLAN_HDR_LEN + 6, now_s);
	return true;
}

uint32_t vxlan_route(struct vxlan *x, const uint8_t mac[6], uint32_t now_s)
{
	uint32_t peer;

	if (mac[0] & 1)
		return x->n_peers == 1 ? 0 : VXLAN_PEER_NONE;
	(void)fdb_expire(&x->stations, now_s, EXPIRE_BUDGET);
	peer = fdb_lookup(&x->stations, fdb_key(mac));
	if (peer == FDB_NONE)
		return x->n_peers == 1 ? 0 : VXLAN_PEER_NONE;
	return peer;
}
