/* SPDX-License-Identifier: MIT */
/* Arithmetic on numbers that came from a stranger.
 *
 * A range is tested by subtraction, never as `off + len <= size`, which wraps for a hostile `off`.  The
 * additions and products return false on overflow and leave *ret alone.
 */
#ifndef VU_CHECKED_H
#define VU_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* Does [off, off+len) lie within [0, size)?  An empty range at the very end does. */
static inline bool range_within(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* Do [a, a+a_len) and [b, b+b_len) share a byte?  Both must have passed range_fits(). */
static inline bool range_overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a_len && b_len && (a <= b ? b - a < a_len : a - b < b_len);
}

/* Does [start, start+len) end at or before 2^64, that is: is its last byte addressable? */
static inline bool range_fits(uint64_t start, uint64_t len)
{
	return len == 0 || len - 1 <= UINT64_MAX - start;
}

static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*ret = product;
	return true;
}

/* Round up to a power of two `align`. */
static inline bool align_up_u64(uint64_t value, uint64_t align, uint64_t *ret)
{
	uint64_t sum;

	if (!add_u64(value, align - 1, &sum))
		return false;
	*ret = sum & ~(align - 1);
	return true;
}

static inline bool is_power_of_two(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

#endif
