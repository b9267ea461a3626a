/* SPDX-License-Identifier: MIT */
#include "agent/guest/child.h"

#include <sys/wait.h>

#include "agent/guest/agent.h"

void child_watch(struct agent *agent, struct child *child, pid_t pid,
		 void (*ended)(struct child *child, int status))
{
	child->pid = pid;
	child->ended = ended;
	list_append(&agent->children, &child->link);
}

void child_forget(struct child *child)
{
	list_remove(&child->link);
	child->pid = 0;
}

static struct child *find(struct agent *agent, pid_t pid)
{
	list_each(&agent->children, it) {
		struct child *child = container_of(it, struct child, link);

		if (child->pid == pid)
			return child;
	}
	return NULL;
}

void children_reap(struct agent *agent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *child = find(agent, pid);

		if (!child)
			continue;
		list_remove(&child->link);
		child->ended(child, status);
	}
}
