/* SPDX-License-Identifier: MIT */
#include "flow.h"

#include <stdbool.h>
#include <string.h>

#include "base.h"

static inline uint32_t mix(uint32_t h, uint32_t v)
{
	h = (h ^ v) * 0x9e3779b1u;
	return h ^ h >> 15;
}

uint32_t flow_hash(const struct sw_frame *f)
{
	uint8_t b[78] = { 0 }; /* Ethernet, IPv6 or IPv4 with all options, and the ports */
	uint32_t n = min(f->len, (uint32_t)sizeof(b));
	uint16_t type;
	uint32_t h = 0, w[8] = { 0 };
	unsigned ports = 0;

	sw_frame_copy(f, 0, n, b);
	type = (uint16_t)(b[12] << 8 | b[13]);
	if (type == 0x0800 && n >= 34) {
		bool fragment = (b[20] & 0x3f) | b[21];

		memcpy(w, b + 26, 8);
		h = w[0] ^ w[1];
		if (!fragment && (b[23] == 6 || b[23] == 17))
			ports = 14 + 4u * (b[14] & 15);
	} else if (type == 0x86dd && n >= 54) {
		memcpy(w, b + 22, 32);
		h = w[0] ^ w[1] ^ w[2] ^ w[3] ^ w[4] ^ w[5] ^ w[6] ^ w[7];
		if (b[20] == 6 || b[20] == 17)
			ports = 54;
	} else {
		return mix(mix(0, (b[4] ^ b[10]) << 8 | (b[5] ^ b[11])), type);
	}
	if (ports >= 34 && ports + 4 <= n)
		h = mix(h,
			(uint32_t)((b[ports] ^ b[ports + 2]) << 8 | (b[ports + 1] ^ b[ports + 3])));
	return mix(0, h);
}
