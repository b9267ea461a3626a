/* SPDX-License-Identifier: MIT */
#include "nat_neigh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "nat_packet.h"

static unsigned set_of(const struct in6_addr *addr)
{
	uint64_t a, h;

	memcpy(&a, addr->s6_addr, 8);
	memcpy(&h, addr->s6_addr + 8, 8);
	h ^= a * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
	return (unsigned)(h >> 32) % NAT_NEIGH_SETS;
}

static int by_address(const void *a, const void *b)
{
	const struct nat_neighbour *x = a, *y = b;

	return memcmp(&x->addr, &y->addr, sizeof(x->addr));
}

static const struct nat_neighbour *find_pinned(const struct nat_neigh *neigh,
					       const struct in6_addr *addr)
{
	const struct nat_neighbour key = { .addr = *addr };

	if (neigh->n_pinned == 0)
		return NULL;
	return bsearch(&key, neigh->pinned, neigh->n_pinned, sizeof(key), by_address);
}

/* Its place in its set, or NAT_NEIGH_WAYS. */
static unsigned way_of(const struct nat_neighbour *set, const struct in6_addr *addr)
{
	unsigned i;

	for (i = 0; i < NAT_NEIGH_WAYS; i++)
		if (set[i].seen_s != 0 && IN6_ARE_ADDR_EQUAL(&set[i].addr, addr))
			break;
	return i;
}

const struct nat_neighbour *nat_neigh_find(const struct nat_neigh *neigh,
					   const struct in6_addr *addr)
{
	const struct nat_neighbour *pinned = find_pinned(neigh, addr);
	const struct nat_neighbour *set = neigh->learned[set_of(addr)];
	unsigned way = pinned ? 0 : way_of(set, addr);

	if (pinned)
		return pinned;
	return way < NAT_NEIGH_WAYS ? &set[way] : NULL;
}

bool nat_neigh_is_pinned(const struct nat_neigh *neigh, const struct in6_addr *addr)
{
	return find_pinned(neigh, addr) != NULL;
}

static unsigned oldest(const struct nat_neighbour *set)
{
	unsigned victim = 0;

	for (unsigned i = 1; i < NAT_NEIGH_WAYS; i++)
		if (set[i].seen_s < set[victim].seen_s)
			victim = i;
	return victim;
}

bool nat_neigh_seen(struct nat_neigh *neigh, const struct in6_addr *addr, const uint8_t mac[6],
		    uint32_t now_s)
{
	const struct nat_neighbour *pinned = find_pinned(neigh, addr);
	struct nat_neighbour *set = neigh->learned[set_of(addr)];
	unsigned way;

	if (pinned)
		return memcmp(pinned->mac, mac, 6) == 0;
	way = way_of(set, addr);
	if (way == NAT_NEIGH_WAYS)
		way = oldest(set);
	set[way].addr = *addr;
	memcpy(set[way].mac, mac, 6);
	set[way].seen_s = max(now_s, 1u);
	return true;
}

static void pin(struct nat_neigh *neigh, const struct in6_addr *addr, const uint8_t mac[6])
{
	struct nat_neighbour *set = neigh->learned[set_of(addr)];
	struct nat_neighbour *n = &neigh->pinned[neigh->n_pinned++];
	unsigned way = way_of(set, addr);

	if (way < NAT_NEIGH_WAYS)
		set[way].seen_s = 0;
	*n = (struct nat_neighbour){ .addr = *addr };
	memcpy(n->mac, mac, 6);
}

int nat_neigh_pin(struct nat_neigh *neigh, const struct nat_hosts *hosts)
{
	struct nat_neighbour *pinned = calloc(2 * hosts->n + 1, sizeof(*pinned));

	if (!pinned)
		return -ENOMEM;
	free(neigh->pinned);
	neigh->pinned = pinned;
	neigh->n_pinned = 0;
	for (unsigned i = 0; i < hosts->n; i++) {
		const struct nat_host *h = &hosts->host[i];
		struct in6_addr ip4 = nat_addr_of_ip4(h->ip);

		if (h->has_mac && h->has_ip)
			pin(neigh, &ip4, h->mac);
		if (h->has_mac && h->has_ip6)
			pin(neigh, &h->ip6, h->mac);
	}
	qsort(pinned, neigh->n_pinned, sizeof(*pinned), by_address);
	return 0;
}

void nat_neigh_done(struct nat_neigh *neigh)
{
	free(neigh->pinned);
	neigh->pinned = NULL;
	neigh->n_pinned = 0;
}
