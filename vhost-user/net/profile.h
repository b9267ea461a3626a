/* SPDX-License-Identifier: MIT */
/* Settings with a name: those that come with the switch, and those an operator made.
 *
 * The built-in ones are of one direction each, so that a round trip has them twice.  They are typical, not measured: a
 * place to begin from.  None of them can be changed or removed; what an operator makes may have any other name.
 *
 * Ownership: links copy settings; a profile that is changed later changes no link.
 * Threads:   the loop thread. */
#ifndef NET_PROFILE_H
#define NET_PROFILE_H

#include "impair_config.h"

#define PROFILE_NAME_MAX 64 /* with the terminating zero */
#define PROFILES_MAX     1024

struct profile_name {
	char text[PROFILE_NAME_MAX];
};

struct profile {
	char name[PROFILE_NAME_MAX];
	const char *text; /* NULL: it is an operator's */
	struct impair_config config;
	struct profile *next;
};

/* Zero-filled is valid. */
struct profiles {
	struct profile *first; /* operators' */
	unsigned n;
};

void profiles_done(struct profiles *p);

/* NULL: no such profile. */
const struct profile *profile_find(const struct profiles *p, const char *name);

/* The next after `after` (NULL: the first), the built-in ones first.  NULL: no more. */
const struct profile *profile_next(const struct profiles *p, const struct profile *after);

/* Make or change one.  -EPERM: it is built in; -EINVAL: no name; -ENOSPC: PROFILES_MAX; -ENOMEM. */
int profile_set(struct profiles *p, const char *name, const struct impair_config *config);

/* -EPERM as above; -ENOENT. */
int profile_remove(struct profiles *p, const char *name);

#endif
