/* SPDX-License-Identifier: MIT */
/* What the guest is told about itself, set one thing at a time: by CONFIG, and by PID 1 at boot.
 *
 * All return 0 or a negative errno, and change nothing that is as it should be. */
#ifndef ORCHESTRATOR_AGENT_GUEST_SETTINGS_H
#define ORCHESTRATOR_AGENT_GUEST_SETTINGS_H

#include <stdint.h>
#include <sys/types.h>

#define SETTINGS_CLOCK_SLACK_NS 50000000LL /* a clock that is less off is left to itself */

/* The kernel's, and /etc/hostname.  -EINVAL: this is no host name. */
int settings_hostname(const char *name);

/* The lab's part of /etc/hosts: LINES, "ADDRESS NAME…\n" each.  What else stands there stays; a file that is missing begins with
 * localhost. */
int settings_hosts(const char *lines);

/* The one name server.  Where /etc/resolv.conf is a link, it is somebody's who knows better: nothing is done. */
int settings_nameserver(const char *address);

/* CLOCK_REALTIME, nanoseconds since 1970. */
int settings_clock(int64_t realtime_ns);

/* A user and his group, if there is none of that name, and his home.  -EINVAL: a name or path with a colon or control character. */
int settings_user(const char *name, uid_t uid, gid_t gid, const char *home, const char *shell);

#endif
