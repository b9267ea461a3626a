/* SPDX-License-Identifier: MIT */
/* The named objects: the truth, and its mirror in the arena.
 *
 * A name stands for a range of its owner's extents, from its publication until it is withdrawn by the owner, or the
 * owner's end.  The mirror is what clients look names up in, without asking anybody (layout.h: seq, copy, seq).
 *
 * A daemon started anew reads the mirror back: what is not a name of an owner that it knows, in extents that the owner has,
 * is forgotten.
 *
 * Trust:   names, types and ranges are a client's.  Whether the range is his is the caller's to check (extents_hold()).
 * Threads: loop thread.
 */
#ifndef PORTAL_NAMES_H
#define PORTAL_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct name {
	uint32_t type; /* PORTAL_TYPE_NONE: free */
	uint64_t offset, len, owner, generation;
	char name[PORTAL_NAME_MAX];
};

struct names {
	struct name *entry; /* PORTAL_NAMES */
	struct portal_name *mirror;
	uint32_t n_used;
	uint32_t top;        /* entries from here on are free */
	uint64_t generation; /* the last one given */
};

/* May this entry of a mirror be believed? */
typedef bool names_check_fn(const struct name *entry, void *context);

/* check NULL: begin anew.  -ENOMEM. */
int names_init(struct names *n, struct portal_name *mirror, names_check_fn *check, void *context);
void names_done(struct names *n);

/* Is it one: 1 to PORTAL_NAME_MAX-1 bytes of printable ASCII other than space, terminated, zeros to the end? */
bool names_valid(const char name[PORTAL_NAME_MAX]);
/* Its index, or -1. */
int names_find(const struct names *n, const char *name);

/* The index in *ret_index.  -EINVAL (no name, no type, no length), -EEXIST, -ENOSPC. */
int names_publish(struct names *n, const struct name *entry, uint32_t *ret_index);
/* Whoever puts his word into what the name stood for, and then finds it still there, is seen by all who look for such
 * words after this. */
void names_withdraw(struct names *n, uint32_t index);

/* The first entry of `owner` (0: of anybody) at or behind *at.  False: there is none. */
bool names_next(const struct names *n, uint64_t owner, uint32_t *at);
/* Does a name lie in [offset, offset+len)? */
bool names_within(const struct names *n, uint64_t offset, uint64_t len);

#endif
