/* SPDX-License-Identifier: MIT */
/* Small files of the guest, written whole or not at all. */
#ifndef ORCHESTRATOR_AGENT_GUEST_WRITEFILE_H
#define ORCHESTRATOR_AGENT_GUEST_WRITEFILE_H

#include <stddef.h>
#include <sys/types.h>

/* Replace PATH by a file with this content, mode and owner, through a temporary name beside it.  Directories on the way are made
 * (0755).  UID, GID: -1 leaves them.  Returns 0 or a negative errno; then PATH is as it was. */
int writefile(const char *path, const char *data, size_t size, mode_t mode, uid_t uid, gid_t gid);

/* Make directory PATH and all above it. */
int writefile_dirs(const char *path);

/* The whole of PATH with a NUL after it, at most MAX bytes; free().  NULL with *ret_err, a negative errno. */
char *readfile(const char *path, size_t max, size_t *ret_size, int *ret_err);

/* Write VALUE to a file of /proc or /sys. */
int writefile_value(const char *path, const char *value);

#endif
