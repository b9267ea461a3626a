/* SPDX-License-Identifier: MIT */
#include "match.h"

#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <linux/if_ether.h>

#include "base.h"
#include "fdb.h"

#define TAG_LEN         4
#define IPV6_EXTENSIONS 8 /* headers followed; a packet with more has no port */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void look_at_ports(struct match_view *v, uint32_t at)
{
	switch (v->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
		break;
	default:
		return;
	}
	if (at + 4 > v->len)
		return;
	v->port[0] = be16(v->bytes + at);
	v->port[1] = be16(v->bytes + at + 2);
	v->has |= MATCH_PORT;
}

static void look_at_ipv4(struct match_view *v, uint32_t at)
{
	const uint8_t *ip = v->bytes + at;
	uint32_t header;

	if (at + 20 > v->len || ip[0] >> 4 != 4)
		return;
	header = (ip[0] & 15u) * 4;
	v->dscp = ip[1] >> 2;
	v->protocol = ip[9];
	v->has |= MATCH_DSCP | MATCH_PROTOCOL;
	if (header >= 20 && (be16(ip + 6) & 0x1fff) == 0) /* not a later fragment */
		look_at_ports(v, at + header);
}

static void look_at_ipv6(struct match_view *v, uint32_t at)
{
	const uint8_t *ip = v->bytes + at;

	if (at + 40 > v->len || ip[0] >> 4 != 6)
		return;
	v->dscp = (uint8_t)((ip[0] & 15) << 2 | ip[1] >> 6);
	v->protocol = ip[6];
	v->has |= MATCH_DSCP | MATCH_PROTOCOL;
	at += 40;
	for (unsigned i = 0; i < IPV6_EXTENSIONS && at + 8 <= v->len; i++) {
		const uint8_t *header = v->bytes + at;

		switch (v->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			at += 8 + 8u * header[1];
			break;
		case IPPROTO_FRAGMENT:
			if ((be16(header + 2) & 0xfff8) != 0) {
				v->protocol = header[0];
				return;
			}
			at += 8;
			break;
		default:
			look_at_ports(v, at);
			return;
		}
		v->protocol = header[0];
	}
}

void match_look(const struct sw_frame *f, struct match_view *ret)
{
	struct match_view *v = ret;
	uint32_t at = 12;

	v->wire_len = f->len;
	v->len = min(f->len, (uint32_t)MATCH_LOOK_LEN);
	v->has = MATCH_SRC | MATCH_DST | MATCH_ETHERTYPE | MATCH_BPF;
	sw_frame_copy(f, 0, v->len, v->bytes);
	v->dst = fdb_key(v->bytes);
	v->src = fdb_key(v->bytes + 6);
	v->vlan = f->vid;
	if (f->vid != 0)
		v->has |= MATCH_VLAN;

	v->ethertype = be16(v->bytes + at);
	for (unsigned tags = 0; (v->ethertype == ETH_P_8021Q || v->ethertype == ETH_P_8021AD) &&
				at + TAG_LEN + 2 <= v->len;
	     tags++) {
		if (tags == 0) { /* the outer one counts */
			uint16_t tci = be16(v->bytes + at + 2);

			v->pcp = (uint8_t)(tci >> 13);
			v->has |= MATCH_PCP;
			if (f->vid == 0 && (tci & 0xfff) != 0) {
				v->vlan = tci & 0xfff;
				v->has |= MATCH_VLAN;
			}
		}
		at += TAG_LEN;
		v->ethertype = be16(v->bytes + at);
	}
	if (v->ethertype == ETH_P_IP)
		look_at_ipv4(v, at + 2);
	else if (v->ethertype == ETH_P_IPV6)
		look_at_ipv6(v, at + 2);
}

bool match_holds(const struct match *m, const struct match_view *v)
{
	const unsigned g = m->given;

	return (g & ~v->has) == 0 && (!(g & MATCH_SRC) || m->src == v->src) &&
	       (!(g & MATCH_DST) || m->dst == v->dst) &&
	       (!(g & MATCH_VLAN) || m->vlan == v->vlan) &&
	       (!(g & MATCH_PCP) || m->pcp == v->pcp) &&
	       (!(g & MATCH_ETHERTYPE) || m->ethertype == v->ethertype) &&
	       (!(g & MATCH_PROTOCOL) || m->protocol == v->protocol) &&
	       (!(g & MATCH_PORT) || m->port == v->port[0] || m->port == v->port[1]) &&
	       (!(g & MATCH_DSCP) || m->dscp == v->dscp) &&
	       (!(g & MATCH_BPF) || bpf_matches(m->bpf, v->bytes, v->len, v->wire_len));
}

void match_done(struct match *m)
{
	bpf_free(m->bpf);
	free(m->bpf_text);
	*m = (struct match){ 0 };
}
