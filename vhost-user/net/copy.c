/* SPDX-License-Identifier: MIT */
#include "copy.h"

/* Whole blocks of four registers of the widest kind that pays off; returns how many bytes they are. */
typedef uint64_t thirty_two_t __attribute__((vector_size(32), aligned(1), may_alias));

/* So far ahead of where it reads.  A processor stops to fetch ahead by itself at the end of each page, and does not at
 * all what it takes for the reader of its own late stores (an address whose lower 12 bits are those of a store at hand). */
#define AHEAD 1024

/* The first block goes to where it goes, all others to aligned addresses: a store over the border of two lines costs two. */
#define COPY_BLOCKS(type)                                                      \
	uint32_t i = 0;                                                        \
                                                                               \
	if (len >= 8 * sizeof(type)) {                                         \
		copy_short(to, from, sizeof(type));                            \
		i = (uint32_t)(-(uintptr_t)to & (sizeof(type) - 1));           \
	}                                                                      \
	for (; len - i >= 4 * sizeof(type); i += 4 * (uint32_t)sizeof(type)) { \
		const type *f = (const type *)(const void *)(from + i);        \
		type *t = (type *)(void *)(to + i);                            \
		type a = f[0], b = f[1], c = f[2], d = f[3];                   \
                                                                               \
		for (uint32_t k = 0; k < 4 * sizeof(type); k += CACHE_LINE)    \
			__builtin_prefetch(from + i + AHEAD + k);              \
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
