/* SPDX-License-Identifier: MIT */
#include "csum.h"

#include <string.h>

/* A lane adds words and counts its carries by themselves: an add and an add-with-carry each, and no lane
 * waits for another. */
struct lane {
	uint64_t sum, carries;
};

static inline void lane_add(struct lane *lane, const uint8_t *from)
{
	uint64_t word;

	memcpy(&word, from, sizeof(word));
	lane->sum += word;
	lane->carries += lane->sum < word;
}

csum_t csum_add(csum_t sum, const void *bytes, uint32_t len)
{
	struct lane lane[4] = { 0 };
	const uint8_t *from = bytes;
	uint64_t last = 0;

	for (; len >= 64; len -= 64, from += 64) {
		for (unsigned i = 0; i < 8; i++)
			lane_add(&lane[i % 4], from + 8 * (size_t)i);
	}
	for (; len >= 8; len -= 8, from += 8)
		lane_add(&lane[0], from);
	memcpy(&last, from, len);
	lane_add(&lane[1], (const uint8_t *)&last);

	for (unsigned i = 0; i < 4; i++)
		sum = csum_plus(csum_plus(sum, lane[i].sum), lane[i].carries);
	return sum;
}
