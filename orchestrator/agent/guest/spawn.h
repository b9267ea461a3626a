/* SPDX-License-Identifier: MIT */
/* Starting a program.
 *
 * The agent's memory is shared until exec (CLONE_VM | CLONE_VFORK), so that this costs the same in a large agent and a small one,
 * and everything that fails before the program runs is known when spawn() returns. */
#ifndef ORCHESTRATOR_AGENT_GUEST_SPAWN_H
#define ORCHESTRATOR_AGENT_GUEST_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct user;

struct spawn {
	const char *path; /* of the program; no search */
	char *const *argv, *const *env;
	int fds[3];              /* become 0, 1, 2; -1: /dev/null.  Set to blocking, not closed */
	bool tty;                /* fds[0] is a terminal: make it the controlling one */
	const char *cwd;         /* NULL: / */
	const struct user *user; /* NULL: as the agent */
	int pid_ns;              /* descriptor of a PID namespace to be born in; 0: the agent's */
	/* Called in the child first (namespaces, chroot), before user and cwd are looked at.  It runs in the agent's memory: only system calls,
	 * nothing allocated.  Returns 0 or a negative errno.  NULL: nothing to do. */
	int (*enter)(void *data);
	void *enter_data;
};

/* Every signal's disposition and mask are the default ones in the program; it leads its own session and process group.
 * Returns the PID, or the negative errno of the step that failed; *ret_step (if not NULL) then names it: "cwd", "user", "exec", … */
pid_t spawn(const struct spawn *spawn, const char **ret_step);

#endif
