/* SPDX-License-Identifier: MIT */
/* An arena's geometry, as its head tells it: read once, checked, kept.
 *
 * Nothing here makes a system call, so that tests and the fuzzer give it any bytes.
 *
 * Trust: the head may say anything, and may change while it is read: it is copied first.  What passes describes tables and
 *        extents that lie inside what is mapped.
 */
#ifndef PORTAL_CLIENT_GEOMETRY_H
#define PORTAL_CLIENT_GEOMETRY_H

#include <stddef.h>
#include <stdint.h>

#include "layout.h"

struct geometry {
	uint64_t arena_size;
	uint32_t n_extents;
	uint32_t vsock_port;
	uint64_t ro_compat; /* features that a writer would have to know, and this library does not */
	uint8_t uuid[16];
	char name[PORTAL_LABEL_MAX]; /* terminated */
};

/* Look for an arena in size bytes at start: at the beginning, as devices show it, or behind a label, as files do.
 * Returns 0, where the arena begins, and its geometry; -EPROTO (there is none, or its head is damaged), -EOPNOTSUPP
 * (another version, or features this library does not know), -EFBIG (the arena is larger than what is mapped). */
int geometry_find(const void *start, size_t size, size_t *ret_offset, struct geometry *ret_geo);

#endif
