/* SPDX-License-Identifier: MIT */
#include "inet.h"

#define ETHERNET_LEN 14
#define TAG_LEN      4

enum ethertype {
	TYPE_IPV4 = 0x0800,
	TYPE_TAG = 0x8100,
	TYPE_IPV6 = 0x86dd,
	TYPE_SERVICE_TAG = 0x88a8, /* 802.1ad */
	TYPE_OLD_QINQ = 0x9100,
};

/* RFC 8200, 4: headers that may stand between that of IPv6 and what it carries. */
enum extension {
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_AUTHENTICATION = 51,
	EXT_DESTINATION = 60,
	EXT_MOBILITY = 135,
	EXT_HIP = 139,
	EXT_SHIM6 = 140,
};

static bool is_tag(uint16_t type)
{
	return type == TYPE_TAG || type == TYPE_SERVICE_TAG || type == TYPE_OLD_QINQ;
}

static bool parse_ipv4(const uint8_t *b, uint32_t n, struct inet *at)
{
	uint32_t len;

	if (n - at->l3 < INET_IPV4_LEN)
		return false;
	b += at->l3;
	len = 4u * (b[0] & 15);
	if (b[0] >> 4 != 4 || len < INET_IPV4_LEN || len > n - at->l3)
		return false;
	at->version = 4;
	at->protocol = b[9];
	at->fragment_offset = (uint16_t)(inet_be16(b + 6) << 3);
	at->fragment = at->fragment_offset > 0 || b[6] & 0x20;
	at->l4 = (uint16_t)(at->l3 + len);
	return true;
}

/* The length of an extension header; 0: it is none. */
static uint32_t extension_len(uint8_t type, const uint8_t *b)
{
	switch (type) {
	case EXT_HOP_BY_HOP:
	case EXT_ROUTING:
	case EXT_DESTINATION:
	case EXT_MOBILITY:
	case EXT_HIP:
	case EXT_SHIM6:
		return 8 + 8u * b[1];
	case EXT_FRAGMENT:
		return 8;
	case EXT_AUTHENTICATION:
		return 8 + 4u * b[1];
	default:
		return 0;
	}
}

static bool is_extension(uint8_t type)
{
	return extension_len(type, (const uint8_t[2]){ 0 }) > 0;
}

static bool parse_ipv6(const uint8_t *b, uint32_t n, struct inet *at)
{
	uint32_t l4 = at->l3 + INET_IPV6_LEN;

	if (n < l4 || b[at->l3] >> 4 != 6)
		return false;
	at->version = 6;
	at->protocol = b[at->l3 + 6];
	while (is_extension(at->protocol) && at->fragment_offset == 0) {
		const uint8_t *ext = b + l4;

		if (n - l4 < 8)
			return false;
		if (at->protocol == EXT_FRAGMENT) {
			at->fragment_offset = inet_be16(ext + 2) & 0xfff8;
			at->fragment = at->fragment_offset > 0 || ext[3] & 1;
		}
		at->routed |= at->protocol == EXT_ROUTING;
		l4 += extension_len(at->protocol, ext);
		at->protocol = ext[0];
		if (l4 > n)
			return false;
	}
	at->l4 = (uint16_t)l4;
	return true;
}

bool inet_parse(const uint8_t *b, uint32_t n, struct inet *ret)
{
	uint32_t at = ETHERNET_LEN;
	uint16_t type;

	n = n > UINT16_MAX ? UINT16_MAX : n;
	if (n < at)
		return false;
	for (type = inet_be16(b + 12); is_tag(type) && n - at >= TAG_LEN; at += TAG_LEN)
		type = inet_be16(b + at + 2);
	*ret = (struct inet){ .l3 = (uint16_t)at };
	if (type == TYPE_IPV4)
		return parse_ipv4(b, n, ret);
	return type == TYPE_IPV6 && parse_ipv6(b, n, ret);
}
