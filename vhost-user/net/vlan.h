/* SPDX-License-Identifier: MIT */
/* VLANs (IEEE 802.1Q): which one a frame is in, which ports are in it, and how it leaves there.
 *
 * A port is one of
 *   plain     it has no setting.  Tags pass as they are.  Where some other port has a setting, this
 *             one is in every VLAN: what is tagged, here and there, is of that VLAN, and what is not
 *             is in "VLAN 0", where only plain ports are;
 *   access    everything it sends and gets is in one VLAN and has no tag.  A tagged frame from it is
 *             dropped; one with a priority tag (VID 0), and no other behind it, is not, and leaves
 *             without it;
 *   tunnel    the same, but tags are its own affair: they pass inside (QinQ);
 *   trunk     frames of a set of VLANs, tagged; without a tag, frames of the native one, if any.
 *
 * A tag is one of type 0x8100.  Whatever follows it, and tags of other types (0x88a8), is payload.
 * The priority bits of a tag are kept as long as the frame has one.
 *
 * Threads: the owner's of the port. */
#ifndef NET_VLAN_H
#define NET_VLAN_H

#include <stdbool.h>
#include <stdint.h>

#define VLAN_TPID     0x8100
#define VLAN_VID(tci) ((tci)&0xfff)
#define VLAN_MAX      4094 /* 0 and 4095 are not VLANs */

enum vlan_mode {
	VLAN_PLAIN, /* zero-filled is a valid setting */
	VLAN_ACCESS,
	VLAN_TUNNEL,
	VLAN_TRUNK,
};

struct vlan_set {
	uint64_t word[64];
};

struct vlan_port {
	enum vlan_mode mode;
	uint16_t pvid;        /* of what has no tag; 0 on a trunk: such frames are dropped */
	struct vlan_set *set; /* of a trunk, the native one included; owned */
};

static inline void vlan_set_add(struct vlan_set *s, uint16_t vid)
{
	s->word[vid / 64] |= 1ull << vid % 64;
}

static inline bool vlan_set_has(const struct vlan_set *s, uint16_t vid)
{
	return s->word[vid / 64] >> vid % 64 & 1;
}

/* Is the port in VLAN `vid`? */
static inline bool vlan_member(const struct vlan_port *p, uint16_t vid)
{
	if (p->mode == VLAN_PLAIN)
		return true;
	return p->mode == VLAN_TRUNK ? vlan_set_has(p->set, vid) : p->pvid == vid;
}

/* Do frames of VLAN `vid` leave here with a tag?  For a member. */
static inline bool vlan_tagged(const struct vlan_port *p, uint16_t vid)
{
	return vid != 0 && (p->mode == VLAN_PLAIN || (p->mode == VLAN_TRUNK && p->pvid != vid));
}

/* A setting equal to `from`, with a set of its own.  0 or -ENOMEM. */
int vlan_port_copy(const struct vlan_port *from, struct vlan_port *ret);
void vlan_port_done(struct vlan_port *p);
bool vlan_port_equal(const struct vlan_port *a, const struct vlan_port *b);

struct sw_frame;

/* Put `f`, fresh from the port (head 14/14), into its VLAN: f->vid, and head 18/18 or 14/18 where a
 * tag was looked at.  False: the port does not take such a frame. */
bool vlan_ingress(const struct vlan_port *p, struct sw_frame *f);

/* May `f`, in its VLAN, leave at this port?  A member takes it; but a trunk's native VLAN leaves without its tag, and
 * what has another behind it would be of that one's VLAN then. */
bool vlan_takes(const struct vlan_port *p, const struct sw_frame *f);

/* Is the tag of its VLAN in f->head?  For a frame that vlan_ingress() has seen. */
bool vlan_has_tag(const struct sw_frame *f);

/* Make of f->head what leaves with a tag of its VLAN (18) or without one (14); the offsets in f->hdr
 * and the length move along. */
void vlan_set_tag(struct sw_frame *f, bool tagged);

/* The priority of a frame, 0..7: of its tag, or 0. */
uint8_t vlan_priority(const struct sw_frame *f);

#endif
