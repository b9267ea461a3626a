/* SPDX-License-Identifier: MIT */
/* How often a value was how large: buckets of powers of two.
 *
 * Bucket i counts what is at most 2^i and was too large for the one before it; the last takes everything else.  Adding is two
 * increments and the position of a bit: cheap enough for every burst, and a time from 1 ns to 2 s is told within a factor of two.
 *
 * Header only, pure.  Threads: the owner's; one writes. */
#ifndef NET_HISTOGRAM_H
#define NET_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 32

struct histogram {
	uint64_t sum;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
	unsigned i = value <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(value - 1);

	return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	h->sum += value;
	h->bucket[histogram_bucket(value)]++;
}

/* The largest value that bucket i takes; of the last there is none. */
static inline uint64_t histogram_limit(unsigned i)
{
	return 1ull << i;
}

static inline uint64_t histogram_count(const struct histogram *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += h->bucket[i];
	return n;
}

#endif
