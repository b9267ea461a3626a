/* SPDX-License-Identifier: MIT */
/* One large TCP or UDP packet as a row of segments: what the headers of each are, and which bytes of
 * payload belong to it.
 *
 * It works on a copy of the headers and knows neither pieces nor frames; offload.c does.
 *
 * Trust:   header and bytes are a guest's.  gso_plan() finds out whether they fit each other; what
 *          follows relies on nothing else.
 * Threads: pure functions. */
#ifndef NET_GSO_H
#define NET_GSO_H

#include <stdbool.h>
#include <stdint.h>

#include "csum.h"
#include "nethdr.h"

/* How a packet is to be cut. */
struct gso {
	const uint8_t *head; /* its first head_len bytes: up to and with the transport header */
	uint32_t head_len;
	uint32_t payload; /* bytes behind it */
	uint32_t size;    /* of these in each segment but the last */
	uint32_t n;       /* segments: at least 1 */
	uint16_t l3, l4;
	uint8_t version, protocol;
	csum_t pseudo; /* the pseudo-header's sum, without a length */
};

/* How long the headers of a packet with the header *h are, of which `head` has the first n bytes.
 * 0: n is too few to tell. */
uint32_t gso_head_len(const struct nethdr *h, const uint8_t *head, uint32_t n);

/* Look at the first n bytes of a packet of len bytes in all that is to be cut as *h says.  False: it is not such
 * a packet, or its headers are longer than n. */
bool gso_plan(const struct nethdr *h, const uint8_t *head, uint32_t n, uint32_t len,
	      struct gso *ret);

/* Bytes of payload in segment i, which begin i * gso->size bytes behind the headers. */
static inline uint32_t gso_len(const struct gso *g, uint32_t i)
{
	return i + 1 < g->n ? g->size : g->payload - i * g->size;
}

/* Write the headers of segment i to `to`, head_len bytes.  The checksum field has the sum of the
 * pseudo-header, as a driver leaves it. */
void gso_head(const struct gso *g, uint32_t i, uint8_t *to);

/* Complete the checksum in these headers; `payload` is the sum of the segment's bytes. */
void gso_sum(const struct gso *g, uint8_t *to, csum_t payload);

#endif
