/* SPDX-License-Identifier: MIT */
/* Addresses of IPv4 and IPv6 with a port, as text: "127.0.0.1:1234", "[::1]:1234"; numbers only, nothing is looked up.
 *
 * Threads: pure functions. */
#ifndef NET_INETADDR_H
#define NET_INETADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>

union inetaddr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* "[", an IPv6 address, its zone, "]:65535". */
#define INETADDR_TEXT_MAX 80

/* default_port: for a text without one ("192.0.2.1", "2001:db8::1", "[2001:db8::1]"); 0: a port must be said.  A port of 0
 * cannot be said.  -EINVAL: it is none of these. */
int inetaddr_parse(const char *text, uint16_t default_port, union inetaddr *ret);

/* As above, with brackets and port: into `text`, which is returned. */
const char *inetaddr_text(const union inetaddr *a, char text[INETADDR_TEXT_MAX]);

static inline socklen_t inetaddr_len(const union inetaddr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

/* The same host; ports may differ. */
bool inetaddr_same_host(const union inetaddr *a, const union inetaddr *b);

/* The same host and port. */
bool inetaddr_equal(const union inetaddr *a, const union inetaddr *b);

#endif
