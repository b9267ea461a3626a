/* SPDX-License-Identifier: MIT */
/* The hosts of a lab: names, and the addresses that belong to them.
 *
 * DHCP asks by MAC, DNS by name and by address.  All of them are unique: two hosts never answer to one
 * name.  A table is made once and then only read; hosts.set makes a new one and swaps it in.
 *
 * Trust:     the operator's; names are checked to be host names (RFC 1123, 2.1).
 * Ownership: nat_hosts_done() frees; zero-filled is an empty table.
 * Threads:   none. */
#ifndef NET_NAT_HOSTS_H
#define NET_NAT_HOSTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAT_LABEL_MAX 63   /* RFC 1035, 2.3.4 */
#define NAT_NAME_MAX  63   /* of all labels: "n1", or "n1.1" for a second card */
#define NAT_HOSTS_MAX 4096 /* as many as a switch has ports */

struct nat_host {
	char name[NAT_NAME_MAX + 1]; /* in lower case */
	uint32_t hash;               /* of the name */
	bool has_mac, has_ip, has_ip6;
	uint8_t mac[6];
	uint32_t ip; /* in the machine's byte order, like all IPv4 addresses of nat_*.h that are numbers */
	struct in6_addr ip6;
};

struct nat_hosts {
	struct nat_host *host;
	unsigned n, room;
};

/* Add a copy of *host; its `hash`, and the case of its name, need not be right.  -EINVAL: the name is
 * no label; -EEXIST: its name, MAC, or an address is another's; -ENOSPC: NAT_HOSTS_MAX; -ENOMEM. */
int nat_hosts_add(struct nat_hosts *hosts, const struct nat_host *host);
void nat_hosts_done(struct nat_hosts *hosts);

/* NULL: there is none.  A name is compared without regard to case. */
const struct nat_host *nat_hosts_by_name(const struct nat_hosts *hosts, const char *name,
					 size_t len);
const struct nat_host *nat_hosts_by_mac(const struct nat_hosts *hosts, const uint8_t mac[6]);
const struct nat_host *nat_hosts_by_ip(const struct nat_hosts *hosts, uint32_t ip);
const struct nat_host *nat_hosts_by_ip6(const struct nat_hosts *hosts, const struct in6_addr *ip6);

/* Whether these are labels with dots between: letters, digits and hyphens, no hyphen at either end. */
bool nat_name_valid(const char *text, size_t len);

#endif
