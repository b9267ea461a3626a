/* SPDX-License-Identifier: MIT */
#include "flow.h"

#include <string.h>

#include "base.h"
#include "inet.h"

/* Enough for Ethernet, two tags, IPv6 with some extension headers, and the ports. */
#define LOOK_MAX 128

static inline uint32_t mix(uint32_t h, uint32_t v)
{
	h = (h ^ v) * 0x9e3779b1u;
	return h ^ h >> 15;
}

/* Two addresses of n words, in either order. */
static uint32_t mix_pair(uint32_t h, const uint8_t *a, const uint8_t *b, unsigned n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t x, y;

		memcpy(&x, a + 4 * i, 4);
		memcpy(&y, b + 4 * i, 4);
		h = mix(mix(h, x ^ y), x + y);
	}
	return h;
}

static uint32_t mix_ports(uint32_t h, const uint8_t *ports)
{
	uint32_t a = inet_be16(ports), b = inet_be16(ports + 2);

	return mix(mix(h, a ^ b), a + b);
}

uint32_t flow_hash(const struct sw_frame *f)
{
	uint8_t b[LOOK_MAX];
	uint32_t n = min(f->len, (uint32_t)sizeof(b)), h;
	struct inet at;

	sw_frame_copy(f, 0, n, b);
	if (!inet_parse(b, n, &at))
		return mix_pair(0, b + 2, b + 8, 1); /* the ends of the addresses */
	if (at.version == 4)
		h = mix_pair(0, b + at.l3 + 12, b + at.l3 + 16, 1);
	else
		h = mix_pair(0, b + at.l3 + 8, b + at.l3 + 24, 4);
	if (!at.fragment && (at.protocol == INET_TCP || at.protocol == INET_UDP) && at.l4 + 4u <= n)
		h = mix_ports(h, b + at.l4);
	return h;
}
