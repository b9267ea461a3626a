/* SPDX-License-Identifier: MIT */
/* What a reader can prove of a heap's segment: that slots make spans, and words blocks.
 *
 * On a running heap a word may be looked at just between two stores; who checks looks more than once, and believes
 * what stays.
 *
 * Trust: nothing; the same checks as heap_locate(), and the segment is read only.
 */
#ifndef PORTAL_HEAP_CHECK_H
#define PORTAL_HEAP_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "heap_layout.h"

/* Blocks of a segment; adds up over calls. */
struct heap_census {
	uint64_t live, bytes; /* allocated, by size class */
	uint64_t handed_over; /* of these: held by another lease than the owner */
	uint64_t freed;       /* by such a holder, and not yet collected */
};

struct heap_flaw {
	const char *what; /* a literal */
	unsigned slot, index;
};

/* Look at the segment of `head` (kind FINE or COARSE, as its grant says).  True: it is in order; else *ret_flaw is
 * the first thing that is not. */
bool heap_check(const struct heap_head *head, unsigned kind, struct heap_census *census,
		struct heap_flaw *ret_flaw);

#endif
