/* SPDX-License-Identifier: MIT */
#include "nat_forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "cleanup.h"

union address {
	struct sockaddr any;
	struct sockaddr_in ip4;
	struct sockaddr_in6 ip6;
};

static socklen_t address_of(const struct in6_addr *addr, uint16_t port, union address *ret)
{
	*ret = (union address){ 0 };
	if (nat_addr_is_ip4(addr)) {
		ret->ip4.sin_family = AF_INET;
		ret->ip4.sin_port = htons(port);
		ret->ip4.sin_addr.s_addr = htonl(nat_addr_ip4(addr));
		return sizeof(ret->ip4);
	}
	ret->ip6.sin6_family = AF_INET6;
	ret->ip6.sin6_port = htons(port);
	ret->ip6.sin6_addr = *addr;
	return sizeof(ret->ip6);
}

/* Whether the port can be had, and which it is: libslirp says only that it did not work. */
static int try_port(const struct nat_forward *f, uint16_t *ret_port)
{
	union address a;
	socklen_t len = address_of(&f->host, f->host_port, &a);
	int one = 1;
	auto_fd int fd =
		socket(a.any.sa_family, (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (a.any.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (!f->udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, &a.any, len) < 0 || (!f->udp && listen(fd, 1) < 0) ||
	    getsockname(fd, &a.any, &len) < 0)
		return -errno;
	*ret_port = ntohs(a.any.sa_family == AF_INET6 ? a.ip6.sin6_port : a.ip4.sin_port);
	return 0;
}

static unsigned find(const struct nat_forwards *forwards, const struct nat_forward *f)
{
	unsigned i;

	for (i = 0; i < forwards->n; i++) {
		const struct nat_forward *other = &forwards->forward[i];

		if (other->udp == f->udp && other->host_port == f->host_port &&
		    IN6_ARE_ADDR_EQUAL(&other->host, &f->host))
			break;
	}
	return i;
}

static int make_room(struct nat_forwards *forwards)
{
	unsigned room = max(16u, 2 * forwards->room);
	struct nat_forward *bigger;

	if (forwards->n == NAT_FORWARDS_MAX)
		return -ENOSPC;
	if (forwards->n < forwards->room)
		return 0;
	bigger = reallocarray(forwards->forward, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	forwards->forward = bigger;
	forwards->room = room;
	return 0;
}

int nat_forwards_add(struct nat_forwards *forwards, struct nat_slirp *slirp, struct nat_forward *f)
{
	union address host, guest;
	uint16_t port = 0;
	socklen_t len;
	int r;

	if (f->host_port != 0 && find(forwards, f) < forwards->n)
		return -EEXIST;
	r = make_room(forwards);
	if (r == 0)
		r = try_port(f, &port);
	if (r < 0)
		return r;
	len = address_of(&f->host, port, &host);
	address_of(&f->guest, f->guest_port, &guest);
	r = nat_slirp_forward(slirp, f->udp, &host.any, &guest.any, len);
	if (r < 0)
		return r;
	f->host_port = port;
	forwards->forward[forwards->n++] = *f;
	return 0;
}

int nat_forwards_remove(struct nat_forwards *forwards, struct nat_slirp *slirp,
			const struct nat_forward *f)
{
	unsigned i = find(forwards, f);
	union address host;
	socklen_t len = address_of(&f->host, f->host_port, &host);
	int r;

	if (i == forwards->n)
		return -ENOENT;
	r = nat_slirp_unforward(slirp, f->udp, &host.any, len);
	if (r < 0)
		return r;
	forwards->n--;
	memmove(&forwards->forward[i], &forwards->forward[i + 1],
		(forwards->n - i) * sizeof(forwards->forward[0]));
	return 0;
}

bool nat_forwards_lead_to(const struct nat_forwards *forwards, const struct in6_addr *guest,
			  uint16_t port)
{
	for (unsigned i = 0; i < forwards->n; i++)
		if (forwards->forward[i].udp && forwards->forward[i].guest_port == port &&
		    IN6_ARE_ADDR_EQUAL(&forwards->forward[i].guest, guest))
			return true;
	return false;
}

void nat_forwards_done(struct nat_forwards *forwards)
{
	free(forwards->forward);
	*forwards = (struct nat_forwards){ 0 };
}

void nat_forward_text(const struct nat_forward *f, char ret[NAT_FORWARD_TEXT])
{
	char addr[INET6_ADDRSTRLEN];

	nat_addr_text(&f->host, addr);
	snprintf(ret, NAT_FORWARD_TEXT, nat_addr_is_ip4(&f->host) ? "%s %s:%u" : "%s [%s]:%u",
		 f->udp ? "udp" : "tcp", addr, f->host_port);
}
