/* SPDX-License-Identifier: MIT */
/* A DNS responder (RFC 1035) for the names of a lab, without I/O.
 *
 * It answers A, AAAA and ANY for "name" and "name.domain", and PTR for addresses inside the subnets: with
 * authority, also when it says that there is no such name, so that nothing about the lab is asked
 * outside.  All other questions are somebody else's: NAT_DNS_FORWARD, or REFUSED where nothing may leave.
 *
 * One question in a message, as everybody sends; EDNS (RFC 6891) is understood and answered in kind.
 * Answers are short: never truncated, never more than 512 bytes.
 *
 * Trust:   a query is a guest's.  Names are read label by label within the message; a compression pointer
 *          has no business in a question and makes it a format error, so that there are no loops to walk.
 * Threads: none. */
#ifndef NET_NAT_DNS_H
#define NET_NAT_DNS_H

#include "nat_hosts.h"
#include "nat_net.h"

#define NAT_DNS_REPLY_MAX 512
#define NAT_DNS_TTL_S     60 /* hosts.set changes names live */

enum nat_dns_way {
	NAT_DNS_NOTHING, /* no query: do not answer */
	NAT_DNS_ANSWER,
	NAT_DNS_FORWARD,
};

struct nat_dns {
	const struct nat_net *net;
	const struct nat_hosts *hosts;
};

/* With NAT_DNS_ANSWER `reply` holds *ret_len bytes. */
enum nat_dns_way nat_dns_answer(const struct nat_dns *dns, const uint8_t *query, size_t len,
				uint8_t reply[NAT_DNS_REPLY_MAX], size_t *ret_len);

#endif
