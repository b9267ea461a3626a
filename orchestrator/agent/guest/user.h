/* SPDX-License-Identifier: MIT */
/* Users of the guest, read from /etc/passwd and /etc/group themselves: a static program has no nsswitch. */
#ifndef ORCHESTRATOR_AGENT_GUEST_USER_H
#define ORCHESTRATOR_AGENT_GUEST_USER_H

#include <stddef.h>
#include <sys/types.h>

#define USER_GROUPS_MAX 64

struct user {
	uid_t uid;
	gid_t gid;
	char name[64];
	char home[256];
	char shell[256];
	gid_t groups[USER_GROUPS_MAX]; /* supplementary ones, gid included */
	int n_groups;
};

/* WHO: a name, or a number (a number that is in no passwd is fine: home /, shell /bin/sh).  ROOT: a directory below which etc/ is, "" for
 * the guest's own.  Returns 0; -ENOENT, no such user; another errno of reading. */
int user_find(const char *root, const char *who, struct user *ret_user);

#endif
