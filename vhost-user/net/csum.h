/* SPDX-License-Identifier: MIT */
/* The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words.
 *
 * A sum under way is a csum_t in the machine's byte order, so that nothing is swapped: the sum of
 * swapped words is the swapped sum (RFC 1071, 2.B).  csum_fold() makes of it the value that is stored,
 * as it lies in the packet: store it with memcpy().
 *
 * Threads: pure functions. */
#ifndef NET_CSUM_H
#define NET_CSUM_H

#include <stdint.h>

typedef uint64_t csum_t;

/* Add len bytes that begin at an even place of what is summed up.  An odd last byte is followed by a
 * zero: only the last piece may be odd, or csum_swap() has to make up for it. */
csum_t csum_add(csum_t sum, const void *bytes, uint32_t len);

/* The sum of the same bytes at a place one further. */
static inline csum_t csum_swap(csum_t sum)
{
	/* Folded to 32 bits first, so that no carry is lost. */
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	return (sum << 8 & 0xff00ff00) + (sum >> 8 & 0x00ff00ff);
}

/* Two sums in one. */
static inline csum_t csum_plus(csum_t a, csum_t b)
{
	csum_t sum;

	return __builtin_add_overflow(a, b, &sum) ? sum + 1 : sum;
}

/* In 16 bits, not inverted: what a driver leaves in the checksum field for a pseudo-header. */
static inline uint16_t csum_fold_plain(csum_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum: 0 if the sum covers a checksum that is right. */
static inline uint16_t csum_fold(csum_t sum)
{
	return (uint16_t)~csum_fold_plain(sum);
}

#endif
