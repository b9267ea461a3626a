/* SPDX-License-Identifier: MIT */
#include "agent/guest/netif.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* One ioctl on interface NAME. */
static int ask(unsigned long command, const char *name, struct ifreq *request)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	memset(request->ifr_name, 0, IFNAMSIZ);
	memcpy(request->ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	/* The kernel knows it as unsigned, musl as int. */
	if (ioctl(fd, (int)command, request))
		err = -errno;
	close(fd);
	return err;
}

int netif_parse_mac(const char *text, struct netif_mac *ret_mac)
{
	struct netif_mac mac;

	for (int i = 0; i < 6; i++) {
		if (strspn(text, "0123456789abcdefABCDEF") != 2 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		mac.byte[i] = (uint8_t)strtoul(text, NULL, 16);
		text += 3;
	}
	*ret_mac = mac;
	return 0;
}

int netif_find(const struct netif_mac *mac, char ret_name[IFNAMSIZ])
{
	struct if_nameindex *all = if_nameindex();
	int err = -ENODEV;

	for (struct if_nameindex *i = all; i && i->if_index && err; i++) {
		struct ifreq request = { 0 };

		if (ask(SIOCGIFHWADDR, i->if_name, &request) == 0 &&
		    memcmp(request.ifr_hwaddr.sa_data, mac->byte, 6) == 0) {
			snprintf(ret_name, IFNAMSIZ, "%s", i->if_name);
			err = 0;
		}
	}
	if (all)
		if_freenameindex(all);
	return err;
}

static int set_name(const char *from, const char *to)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_newname, IFNAMSIZ, "%s", to);
	return ask(SIOCSIFNAME, from, &request);
}

int netif_rename(const char *from, const char *to)
{
	char aside[IFNAMSIZ];

	if (strcmp(from, to) == 0)
		return 0;
	if (strlen(to) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	if (if_nametoindex(to)) {
		int err = (size_t)snprintf(aside, sizeof(aside), "old%s", to) < sizeof(aside) ?
				  set_name(to, aside) :
				  -ENAMETOOLONG;

		if (err)
			return err;
	}
	return set_name(from, to);
}

int netif_set_mtu(const char *name, unsigned mtu)
{
	struct ifreq request = { .ifr_mtu = (int)mtu };

	return ask(SIOCSIFMTU, name, &request);
}

int netif_up(const char *name)
{
	struct ifreq request = { 0 };
	int err = ask(SIOCGIFFLAGS, name, &request);

	if (err || request.ifr_flags & IFF_UP)
		return err;
	request.ifr_flags |= IFF_UP;
	return ask(SIOCSIFFLAGS, name, &request);
}

/* --- addresses, which ioctl() has but one of --------------------------------------------------------------- */

struct address {
	int family;
	unsigned prefix;
	uint8_t byte[16];
	uint8_t broadcast[4];
	size_t size;
};

static int parse_address(const char *text, struct address *a)
{
	char host[64];
	const char *slash = strchr(text, '/');
	char *end;
	unsigned long prefix;
	uint32_t mask, ip;

	if (!slash || (size_t)(slash - text) >= sizeof(host) || slash[1] < '0' || slash[1] > '9')
		return -EINVAL;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	prefix = strtoul(slash + 1, &end, 10);
	a->family = strchr(host, ':') ? AF_INET6 : AF_INET;
	a->size = a->family == AF_INET ? 4 : 16;
	if (*end || prefix > a->size * 8 || inet_pton(a->family, host, a->byte) != 1)
		return -EINVAL;
	a->prefix = (unsigned)prefix;
	mask = prefix >= 32 ? 0 : UINT32_MAX >> prefix;
	memcpy(&ip, a->byte, 4);
	ip |= htonl(mask);
	memcpy(a->broadcast, &ip, 4);
	return 0;
}

/* A new address or route. */
struct new_thing {
	struct nlmsghdr header;
	union {
		struct ifaddrmsg address;
		struct rtmsg route;
	} body;
	uint8_t attributes[64];
};

static void put_attribute(struct new_thing *m, unsigned short type, const void *data, size_t size)
{
	struct rtattr rta = { .rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(size) };
	uint8_t *to = (uint8_t *)m + m->header.nlmsg_len;

	memcpy(to, &rta, sizeof(rta));
	memcpy(to + RTA_LENGTH(0), data, size);
	m->header.nlmsg_len += (uint32_t)RTA_SPACE(size);
}

static int transact(struct new_thing *m)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		uint8_t rest[512];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (send(fd, m, m->header.nlmsg_len, 0) < 0)
		err = -errno;
	else if (recv(fd, &answer, sizeof(answer), 0) < (ssize_t)NLMSG_LENGTH(sizeof(answer.error)))
		err = -EIO;
	else if (answer.header.nlmsg_type != NLMSG_ERROR)
		err = -EPROTO;
	else
		err = answer.error.error;
	close(fd);
	return err;
}

int netif_add_address(const char *name, const char *text)
{
	struct new_thing m = { 0 };
	struct address a = { 0 };
	int err = parse_address(text, &a);

	if (err)
		return err;
	m.header.nlmsg_len = (uint32_t)NLMSG_LENGTH(sizeof(m.body.address));
	m.header.nlmsg_type = RTM_NEWADDR;
	m.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	m.body.address.ifa_family = (uint8_t)a.family;
	m.body.address.ifa_prefixlen = (uint8_t)a.prefix;
	m.body.address.ifa_index = if_nametoindex(name);
	if (!m.body.address.ifa_index)
		return -ENODEV;
	put_attribute(&m, IFA_LOCAL, a.byte, a.size);
	put_attribute(&m, IFA_ADDRESS, a.byte, a.size);
	if (a.family == AF_INET && a.prefix < 31)
		put_attribute(&m, IFA_BROADCAST, a.broadcast, 4);
	err = transact(&m);
	return err == -EEXIST ? 0 : err;
}

int netif_add_gateway(const char *name, const char *text)
{
	struct new_thing m = { 0 };
	uint32_t out = if_nametoindex(name);
	struct in_addr gateway;

	if (inet_pton(AF_INET, text, &gateway) != 1)
		return -EINVAL;
	if (!out)
		return -ENODEV;
	m.header.nlmsg_len = (uint32_t)NLMSG_LENGTH(sizeof(m.body.route));
	m.header.nlmsg_type = RTM_NEWROUTE;
	m.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	m.body.route.rtm_family = AF_INET;
	m.body.route.rtm_table = RT_TABLE_MAIN;
	m.body.route.rtm_protocol = RTPROT_BOOT;
	m.body.route.rtm_scope = RT_SCOPE_UNIVERSE;
	m.body.route.rtm_type = RTN_UNICAST;
	put_attribute(&m, RTA_GATEWAY, &gateway, sizeof(gateway));
	put_attribute(&m, RTA_OIF, &out, sizeof(out));
	return transact(&m);
}
