/* SPDX-License-Identifier: MIT */
/* MOUNT and UMOUNT: disks by serial number, and whatever file systems the guest's kernel has. */
#ifndef ORCHESTRATOR_AGENT_GUEST_MOUNT_H
#define ORCHESTRATOR_AGENT_GUEST_MOUNT_H

#include <limits.h>
#include <stdbool.h>

#include "agent/guest/json.h"
#include "agent/guest/session.h"

#define MOUNT_TEXT_MAX 512
#define MOUNT_STAGE    "/run/vhost-lab" /* where overlays keep what is written */

/* A file system and where it goes. */
struct mount_plan {
	char serial[64]; /* of a disk; "": source is said */
	char source[PATH_MAX]; /* a device, a directory ("bind"), a tag (9p, virtiofs), or nothing ("tmpfs") */
	char type[32];     /* "": what is found on the disk */
	char options[512]; /* as mount(8)'s -o: flags, and what is left for the file system */
	bool readonly;     /* the source is not written to … */
	bool overlay;      /* … but the mount can be: to memory */
};

/* Read the members of a MOUNT.  Returns the name of one that is wrong, or NULL. */
const char *mount_plan_parse(struct mount_plan *plan, struct json body);

/* Carry it out: find the disk (waiting a little for one that is just being plugged in), look what is on it, mount it at TARGET, which is
 * made if it is not there.  STAGE: an empty directory, or a name for one, that an overlay may use; it stays.
 * May block: for children of the agent.  Returns 0, or a negative errno with TEXT saying what could not be done. */
int mount_carry_out(const struct mount_plan *plan, const char *target, const char *stage,
		    char text[MOUNT_TEXT_MAX]);

/* MOUNT {"serial"|"source", "target"|"distro", "type"?, "options"?, "readonly"?, "overlay"?}; UMOUNT {"target"|"distro"} */
handler_fn mount_request, umount_request;

#endif
