/* SPDX-License-Identifier: MIT */
/* The VXLAN header in front of each frame (RFC 7348, 5), and which peer a station is behind: no I/O.
 *
 * Trust:   headers and frames come from the network: vxlan_open() looks at nothing beyond `len`.
 * Threads: those of the caller. */
#ifndef NET_VXLAN_H
#define NET_VXLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "fdb.h"
#include "inetaddr.h"

#define VXLAN_HDR_LEN 8
#define VXLAN_PORT    4789
#define VXLAN_VNI_MAX 0xffffff

/* Outer IPv4 or IPv6, UDP, VXLAN and the inner Ethernet header: what an inner payload has less than an outer one. */
#define VXLAN_OVERHEAD_4 50
#define VXLAN_OVERHEAD_6 70

#define VXLAN_PEERS_MAX 64
#define VXLAN_PEER_NONE UINT32_MAX

struct vxlan {
	/* Set by the owner before vxlan_init(). */
	uint32_t vni;
	uint32_t n_peers;
	union inetaddr peer[VXLAN_PEERS_MAX];

	uint8_t hdr[VXLAN_HDR_LEN]; /* what goes in front of our frames */
	struct fdb stations;        /* by MAC address; its "ports" are peers */
	uint64_t strangers;         /* datagrams that vxlan_open() did not take */
};

/* per_peer stations are remembered of each peer, ageing_s as fdb_config.  0, -EINVAL or -ENOMEM. */
int vxlan_init(struct vxlan *x, uint32_t per_peer, uint32_t ageing_s, uint64_t seed);
void vxlan_done(struct vxlan *x);

/* A datagram came from `from`.  If it is of a peer, and has a header of our network, the frame is what lies behind
 * VXLAN_HDR_LEN bytes, its source is remembered, and true is returned; else it was counted.  The frame may be shorter than
 * an Ethernet header: the switch judges that. */
bool vxlan_open(struct vxlan *x, const union inetaddr *from, const uint8_t *bytes, uint32_t len,
		uint32_t now_s);

/* The peer that a frame to `mac` is for; VXLAN_PEER_NONE: all of them. */
uint32_t vxlan_route(struct vxlan *x, const uint8_t mac[6], uint32_t now_s);

#endif
