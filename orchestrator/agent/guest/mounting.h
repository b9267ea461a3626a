/* SPDX-License-Identifier: MIT */
/* Mounting as mount(8) does it: options by their words.
 *
 * For CONFIG, whose mounts are there or not; MOUNT (mount.h) finds disks and file systems by itself. */
#ifndef ORCHESTRATOR_AGENT_GUEST_MOUNTING_H
#define ORCHESTRATOR_AGENT_GUEST_MOUNTING_H

#include <stddef.h>

/* "ro,noatime,size=1m": the flags of words that mount(2) knows, and in DATA the others, for the file system.
 * Returns 0 or -ENAMETOOLONG. */
int mounting_options(const char *options, unsigned long *ret_flags, char *data, size_t size);

/* Mount SOURCE on TARGET, which is made if it is not there.  The file system of this TYPE there already is left as it is.
 * OPTIONS may be NULL.  Returns 0 or a negative errno. */
int mounting_mount(const char *source, const char *target, const char *type, const char *options);

#endif
