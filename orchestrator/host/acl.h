/* SPDX-License-Identifier: MIT */
/* Access control lists of files (acl(5)), as far as letting in one user more goes.
 *
 * What the kernel keeps is read and written as it is: there is no library in between.
 *
 * Threads: any. */
#ifndef ORCHESTRATOR_HOST_ACL_H
#define ORCHESTRATOR_HOST_ACL_H

#include <glib.h>
#include <sys/types.h>

/* Have that user, whom the list does not name otherwise, do this (R_OK, W_OK, X_OK, together) at path besides what he may
 * already, and nobody else more than before.  Nothing is written where he may.  Symbolic links are followed.  ORCH_ERROR_FAILED:
 * no such file, it is another's, or its file system has no lists. */
gboolean acl_grant(const char *path, uid_t uid, int may, GError **error);

#endif
