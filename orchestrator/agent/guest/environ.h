/* SPDX-License-Identifier: MIT */
/* The environment of a program: what the host said, and below that what every program may expect.
 *
 * The agent's own environment, which is its init's, is passed on to nobody. */
#ifndef ORCHESTRATOR_AGENT_GUEST_ENVIRON_H
#define ORCHESTRATOR_AGENT_GUEST_ENVIRON_H

#include "agent/guest/user.h"

#define ENVIRON_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* GIVEN (NULL-terminated, "NAME=value") and, where it does not say otherwise, PATH, HOME, USER, LOGNAME, SHELL and, if not NULL,
 * TERM.  One allocation, free(); the strings of GIVEN are not copied.  NULL: no memory. */
char **environ_new(char *const *given, const struct user *user, const char *term);

/* The value of NAME, or NULL. */
const char *environ_get(char *const *env, const char *name);

#endif
