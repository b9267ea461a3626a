/* SPDX-License-Identifier: MIT */
#include "vlan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "frame.h"
#include "port.h"

/* Where in a header the type stands, or the tag if there is one; and the tag's two fields. */
#define TYPE 12
#define TCI  14

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

int vlan_port_copy(const struct vlan_port *from, struct vlan_port *ret)
{
	struct vlan_port p = *from;

	if (from->set) {
		p.set = malloc(sizeof(*p.set));
		if (!p.set)
			return -ENOMEM;
		*p.set = *from->set;
	}
	*ret = p;
	return 0;
}

void vlan_port_done(struct vlan_port *p)
{
	free(p->set);
	*p = (struct vlan_port){ 0 };
}

bool vlan_port_equal(const struct vlan_port *a, const struct vlan_port *b)
{
	return a->mode == b->mode && a->pvid == b->pvid &&
	       (a->mode != VLAN_TRUNK || memcmp(a->set, b->set, sizeof(*a->set)) == 0);
}

/* Copy the tag into the head.  False: there is none in the frame's length, or what is to be done to the
 * frame begins inside it. */
static bool read_tag(struct sw_frame *f)
{
	if (f->len < SW_HEAD_LEN_MAX)
		return false;
	if ((f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
	    le16_get(f->hdr.csum_start) < SW_HEAD_LEN_MAX)
		return false;
	frame_copy_pieces(f, SW_HEAD_LEN, SW_HEAD_LEN_MAX - SW_HEAD_LEN, f->head + SW_HEAD_LEN);
	f->head_len = f->skip = SW_HEAD_LEN_MAX;
	return true;
}

static void set_vid(struct sw_frame *f, uint16_t vid)
{
	f->vid = vid;
	if (f->head_len == SW_HEAD_LEN_MAX)
		put_be16(f->head + TCI, (uint16_t)((get_be16(f->head + TCI) & 0xf000) | vid));
}

/* A tag with VID 0 says a priority and no VLAN: the frame is in VLAN 0 of plain ports as it came. */
static bool plain_ingress(struct sw_frame *f, bool tagged)
{
	uint16_t vid;

	if (!tagged)
		return true;
	if (!read_tag(f))
		return false;
	vid = VLAN_VID(get_be16(f->head + TCI));
	f->vid = vid;
	return vid <= VLAN_MAX;
}

/* A tag behind that of a priority would be the frame's own where that one is taken out. */
static bool is_priority_tag(const struct sw_frame *f)
{
	return VLAN_VID(get_be16(f->head + TCI)) == 0 && get_be16(f->head + TCI + 2) != VLAN_TPID;
}

static bool access_ingress(const struct vlan_port *p, struct sw_frame *f, bool tagged)
{
	if (tagged && !(read_tag(f) && is_priority_tag(f)))
		return false;
	set_vid(f, p->pvid);
	return true;
}

static bool trunk_ingress(const struct vlan_port *p, struct sw_frame *f, bool tagged)
{
	uint16_t vid = 0;

	if (tagged) {
		if (!read_tag(f))
			return false;
		vid = VLAN_VID(get_be16(f->head + TCI));
	}
	if (vid == 0)
		vid = p->pvid;
	if (vid == 0 || !vlan_set_has(p->set, vid))
		return false;
	set_vid(f, vid);
	return true;
}

bool vlan_ingress(const struct vlan_port *p, struct sw_frame *f)
{
	bool tagged = get_be16(f->head + TYPE) == VLAN_TPID;

	switch (p->mode) {
	case VLAN_PLAIN:
		return plain_ingress(f, tagged);
	case VLAN_ACCESS:
		return access_ingress(p, f, tagged);
	case VLAN_TUNNEL:
		f->vid = p->pvid;
		return true;
	case VLAN_TRUNK:
		return trunk_ingress(p, f, tagged);
	}
	return false;
}

bool vlan_takes(const struct vlan_port *p, const struct sw_frame *f)
{
	if (!vlan_member(p, f->vid))
		return false;
	return p->mode != VLAN_TRUNK || p->pvid != f->vid ||
	       get_be16(f->head + f->head_len - 2) != VLAN_TPID;
}

bool vlan_has_tag(const struct sw_frame *f)
{
	return f->head_len == SW_HEAD_LEN_MAX;
}

void vlan_set_tag(struct sw_frame *f, bool tagged)
{
	if (tagged == vlan_has_tag(f))
		return;
	if (tagged) {
		memcpy(f->head + TCI + 2, f->head + TYPE, 2);
		put_be16(f->head + TYPE, VLAN_TPID);
		put_be16(f->head + TCI, f->vid);
		f->head_len = SW_HEAD_LEN_MAX;
		f->len += SW_HEAD_LEN_MAX - SW_HEAD_LEN;
		nethdr_shift(&f->hdr, SW_HEAD_LEN_MAX - SW_HEAD_LEN);
	} else {
		memcpy(f->head + TYPE, f->head + TCI + 2, 2);
		f->head_len = SW_HEAD_LEN;
		f->len -= SW_HEAD_LEN_MAX - SW_HEAD_LEN;
		nethdr_shift(&f->hdr, SW_HEAD_LEN - SW_HEAD_LEN_MAX);
	}
}

uint8_t vlan_priority(const struct sw_frame *f)
{
	uint8_t tci = 0;

	if (f->len < SW_HEAD_LEN_MAX || get_be16(f->head + TYPE) != VLAN_TPID)
		return 0;
	sw_frame_copy(f, TCI, 1, &tci);
	return tci >> 5;
}
