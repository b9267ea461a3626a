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
	/* The program: a path if there is a slash in it, else it is looked up in SEARCH ("/bin:/usr/bin").  NULL: argv[0]. */
	const char *program;
	char *const *argv, *const *env;
	const char *search;
	int fds[3];              /* become 0, 1, 2, and blocking ones; -1: /dev/null.  Not closed */
	bool tty;                /* fds[0] is a terminal: make it the controlling one */
	const char *cwd;         /* NULL: / */
	bool cwd_optional;       /* where cwd is none, take / */
	const struct user *user; /* NULL: as the agent */
	int pid_ns;              /* descriptor of a PID namespace to be born in; 0: the agent's */
	/* Called in the child first (namespaces, chroot), before user and cwd are looked at.  It runs in the agent's memory: only
	 * system calls, nothing allocated.  Returns 0 or a negative errno.  NULL: nothing to do. */
	int (*enter)(void *data);
	void *enter_data;
};

enum spawn_step { SPAWN_FORK, SPAWN_ENTER, SPAWN_TTY, SPAWN_USER, SPAWN_CWD, SPAWN_EXEC };

/* In the program every signal has its default disposition, none is blocked, and it leads its own session and process group.
 * Returns the PID, or the negative errno of the step that failed, *ret_step (if not NULL) telling which. */
pid_t spawn(const struct spawn *spawn, enum spawn_step *ret_step);

#endif
