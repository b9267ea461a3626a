/* SPDX-License-Identifier: MIT */
#include "copy.h"

/* Whole blocks of four registers of the widest kind that pays off; returns how many bytes they are. */
typedef uint64_t thirty_two_t __attribute__((vector_size(32), aligned(1), may_alias));

#define COPY_BLOCKS(type)                                                      \
	uint32_t i = 0;                                                        \
                                                                               \
	for (; len - i >= 4 * sizeof(type); i += 4 * (uint32_t)sizeof(type)) { \
		const type *f = (const type *)(const void *)(from + i);        \
		type *t = (type *)(void *)(to + i);                            \
		type a = f[0], b = f[1], c = f[2], d = f[3];                   \
                                                                               \
		t[0] = a;                                                      \
		t[1] = b;                                                      \
		t[2] = c;                                                      \
		t[3] = d;                                                      \
	}                                                                      \
	return i

static uint32_t copy_blocks(uint8_t *to, const uint8_t *from, uint32_t len)
{
	COPY_BLOCKS(sixteen_t);
}

#ifdef __x86_64__
static __attribute__((target("avx"))) uint32_t copy_blocks_avx(uint8_t *to, const uint8_t *from,
							       uint32_t len)
{
	COPY_BLOCKS(thirty_two_t);
}
#endif

void copy_bulk(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t done;

#ifdef __x86_64__
	if (likely(__builtin_cpu_supports("avx")))
		done = copy_blocks_avx(to, from, len);
	else
#endif
		done = copy_blocks(to, from, len);
	copy_short(to + done, from + done, len - done);
}
