/* SPDX-License-Identifier: MIT */
#include "nat_flows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "inet.h"

#define NONE UINT32_MAX

static uint32_t hash_of(const struct nat_flows *f, const struct in6_addr *src, uint16_t sport,
			uint8_t proto)
{
	uint64_t a, b, h;

	memcpy(&a, src->s6_addr, 8);
	memcpy(&b, src->s6_addr + 8, 8);
	h = (a ^ f->seed) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 32 ^ b) * 0xd6e8feb86659fd93u;
	h = (h ^ h >> 32 ^ ((uint64_t)sport << 8 | proto)) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32) & f->mask;
}

int nat_flows_init(struct nat_flows *flows, unsigned max, uint64_t seed)
{
	struct nat_flows f = { .max = max, .room = 2 * max, .seed = seed };
	uint32_t n_bucket = 64;

	while (n_bucket < max)
		n_bucket *= 2;
	f.mask = n_bucket - 1;
	f.flow = calloc(f.room, sizeof(*f.flow));
	f.bucket = malloc(n_bucket * sizeof(*f.bucket));
	if (!f.flow || !f.bucket) {
		nat_flows_done(&f);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_bucket; i++)
		f.bucket[i] = NONE;
	*flows = f;
	return 0;
}

void nat_flows_done(struct nat_flows *flows)
{
	free(flows->flow);
	free(flows->bucket);
	*flows = (struct nat_flows){ 0 };
}

static bool exists(const struct nat_flows *f, const struct nat_packet *p)
{
	uint32_t i = f->bucket[hash_of(f, &p->src, p->sport, p->proto)];

	for (; i != NONE; i = f->flow[i].next)
		if (f->flow[i].proto == p->proto && f->flow[i].sport == p->sport &&
		    memcmp(&f->flow[i].src, &p->src, sizeof(p->src)) == 0)
			return true;
	return false;
}

/* How many of the sockets count for the same guest. */
static unsigned share_of(const struct nat_flows *f, const struct in6_addr *src, bool pinned)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n; i++)
		n += f->flow[i].proto != 0 && f->flow[i].pinned == pinned &&
		     (!pinned || memcmp(&f->flow[i].src, src, sizeof(*src)) == 0);
	return n;
}

static bool has_room(const struct nat_flows *f, const struct nat_packet *p, bool pinned)
{
	if (f->n >= f->max)
		return false;
	if (p->proto == INET_TCP && f->n_tcp >= f->max / 4 * 3)
		return false;
	if (p->proto == INET_UDP && f->n_udp >= f->max / 2)
		return false;
	if (p->proto == INET_ICMP && f->n_icmp >= f->max / 16)
		return false;
	return share_of(f, &p->src, pinned) < (pinned ? f->max / 4 : f->max / 2);
}

bool nat_flows_admit(const struct nat_flows *flows, const struct nat_packet *p, bool pinned)
{
	switch (p->proto) {
	case INET_TCP:
		if ((p->type & (NAT_TCP_SYN | NAT_TCP_ACK)) != NAT_TCP_SYN)
			return true; /* opens nothing */
		break;
	case INET_UDP:
		if (exists(flows, p))
			return true;
		break;
	case INET_ICMP:
		break;
	default:
		return true;
	}
	return has_room(flows, p, pinned);
}

static void turn_window(struct nat_flows *f, uint32_t now_s)
{
	uint32_t age = now_s - f->window_s;

	if (age < NAT_FRAGMENT_WINDOW_S)
		return;
	f->before_bytes = age < 2 * NAT_FRAGMENT_WINDOW_S ? f->window_bytes : 0;
	f->window_bytes = 0;
	f->window_s = now_s;
}

bool nat_flows_admit_fragment(struct nat_flows *flows, uint32_t len, uint32_t now_s)
{
	turn_window(flows, now_s);
	if (flows->window_bytes + flows->before_bytes + len > NAT_FRAGMENT_BYTES)
		return false;
	flows->window_bytes += len;
	return true;
}

bool nat_flows_has_fragments(const struct nat_flows *flows, uint32_t now_s)
{
	return flows->window_bytes + flows->before_bytes > 0 &&
	       now_s - flows->window_s < 2 * NAT_FRAGMENT_WINDOW_S;
}

static unsigned *counter_of(struct nat_flows *f, uint8_t proto)
{
	switch (proto) {
	case INET_TCP:
		return &f->n_tcp;
	case INET_UDP:
		return &f->n_udp;
	case INET_ICMP:
		return &f->n_icmp;
	default:
		return NULL;
	}
}

static uint32_t *bucket_of(struct nat_flows *f, const struct nat_flow *flow)
{
	return &f->bucket[hash_of(f, &flow->src, flow->sport, flow->proto)];
}

/* The link that leads to flow i: a bucket's head or another's `next`. */
static uint32_t *link_to(struct nat_flows *f, uint32_t i)
{
	uint32_t *at = bucket_of(f, &f->flow[i]);

	while (*at != i)
		at = &f->flow[*at].next;
	return at;
}

void nat_flows_opened(struct nat_flows *flows, int fd, const struct nat_packet *p, bool pinned)
{
	struct nat_flow *flow = &flows->flow[flows->n];
	unsigned *counter;
	uint32_t *head;

	if (flows->n == flows->room)
		return;
	*flow = (struct nat_flow){ .fd = fd, .pinned = pinned };
	if (p && p->kind != NAT_KIND_ARP) {
		flow->src = p->src;
		flow->sport = p->sport;
		flow->proto = p->proto;
	}
	counter = counter_of(flows, flow->proto);
	if (counter)
		++*counter;
	head = bucket_of(flows, flow);
	flow->next = *head;
	*head = flows->n++;
}

static uint32_t find_fd(const struct nat_flows *f, int fd)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->flow[i].fd == fd)
			return i;
	return NONE;
}

bool nat_flows_knows(const struct nat_flows *flows, int fd)
{
	return find_fd(flows, fd) != NONE;
}

void nat_flows_closed(struct nat_flows *flows, int fd)
{
	uint32_t i = find_fd(flows, fd), last = flows->n - 1;
	unsigned *counter;

	if (i == NONE)
		return;
	counter = counter_of(flows, flows->flow[i].proto);
	if (counter)
		--*counter;
	*link_to(flows, i) = flows->flow[i].next;
	if (i != last) {
		*link_to(flows, last) = i;
		flows->flow[i] = flows->flow[last];
	}
	flows->n--;
}
