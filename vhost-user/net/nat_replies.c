/* SPDX-License-Identifier: MIT */
#include "nat_replies.h"

static unsigned find(const struct nat_replies *r, const struct in6_addr *guest, uint16_t guest_port,
		     const struct in6_addr *remote, uint16_t remote_port)
{
	unsigned i;

	for (i = 0; i < r->n; i++) {
		const struct nat_reply *e = &r->reply[i];

		if (e->guest_port == guest_port && e->remote_port == remote_port &&
		    IN6_ARE_ADDR_EQUAL(&e->guest, guest) && IN6_ARE_ADDR_EQUAL(&e->remote, remote))
			break;
	}
	return i;
}

void nat_replies_note(struct nat_replies *replies, const struct nat_packet *p, uint32_t now_s)
{
	unsigned i = find(replies, &p->dst, p->dport, &p->src, p->sport);

	if (i == replies->n && i < NAT_REPLIES)
		replies->n++;
	if (i == NAT_REPLIES) {
		i = replies->next;
		replies->next = (i + 1) % NAT_REPLIES;
	}
	replies->reply[i] = (struct nat_reply){ .guest = p->dst,
						.remote = p->src,
						.guest_port = p->dport,
						.remote_port = p->sport,
						.seen_s = now_s };
}

bool nat_replies_allow(const struct nat_replies *replies, const struct nat_packet *p,
		       uint32_t now_s)
{
	unsigned i = find(replies, &p->src, p->sport, &p->dst, p->dport);

	return i < replies->n && now_s - replies->reply[i].seen_s < NAT_REPLY_S;
}
