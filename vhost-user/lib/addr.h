/* SPDX-License-Identifier: MIT */
/* Addresses in address spaces that are not ours.
 *
 * gpa_t is an address as the guest's hardware sees it: descriptors carry these.  uva_t is an address in the
 * frontend's own process: SET_VRING_ADDR carries these.  Neither can be dereferenced; mem.h turns them into pointers.
 */
#ifndef VU_ADDR_H
#define VU_ADDR_H

#include <stdint.h>

typedef struct {
	uint64_t v;
} gpa_t;

typedef struct {
	uint64_t v;
} uva_t;

#define GPA(x) ((gpa_t){ (x) })
#define UVA(x) ((uva_t){ (x) })

#endif
