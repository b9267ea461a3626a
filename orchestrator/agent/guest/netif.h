/* SPDX-License-Identifier: MIT */
/* Network interfaces: found by MAC, named, given addresses and an MTU, brought up.
 *
 * All of it is idempotent: what is as it should be stays untouched. */
#ifndef ORCHESTRATOR_AGENT_GUEST_NETIF_H
#define ORCHESTRATOR_AGENT_GUEST_NETIF_H

#include <net/if.h>
#include <stdint.h>

struct netif_mac {
	uint8_t byte[6];
};

/* "52:54:00:1a:2b:3c".  Returns 0 or -EINVAL. */
int netif_parse_mac(const char *text, struct netif_mac *ret_mac);

/* The name of the interface with this MAC.  Returns 0 or -ENODEV. */
int netif_find(const struct netif_mac *mac, char ret_name[IFNAMSIZ]);

/* Give interface FROM the name TO.  Another one of that name steps aside: it becomes "oldTO". */
int netif_rename(const char *from, const char *to);

/* "192.168.1.10/24", or the same in IPv6; an IPv4 one gets its broadcast address.  -EINVAL: this is no address. */
int netif_add_address(const char *name, const char *text);

/* The way out of the guest, through an interface that is up: "192.168.1.1".  It takes the place of an earlier one. */
int netif_add_gateway(const char *name, const char *text);

int netif_set_mtu(const char *name, unsigned mtu);
int netif_up(const char *name);

#endif
