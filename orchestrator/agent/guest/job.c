/* SPDX-License-Identifier: MIT */
#include "agent/guest/job.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/agent.h"

static unsigned n_jobs;

/* --- the child -------------------------------------------------------------------------------------------- */

enum { FD_PIPE = 3, FD_JOB, FD_FIRST_OTHER };

/* Put the two descriptors where nothing else is, and close all others. */
static int keep(int pipe, int fd)
{
	int p = fcntl(pipe, F_DUPFD, 64), j = fd >= 0 ? fcntl(fd, F_DUPFD, 64) : -1;

	if (p < 0 || (fd >= 0 && j < 0) || dup2(p, FD_PIPE) < 0 || (j >= 0 && dup2(j, FD_JOB) < 0))
		return -errno;
	if (j < 0)
		close(FD_JOB);
	return syscall(SYS_close_range, FD_FIRST_OTHER, ~0U, 0) < 0 ? -errno : 0;
}

static void default_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int become(const struct job_self *self)
{
	const struct user *user = self ? self->user : NULL;
	int r = self && self->door ? self->door->enter(self->door->data) : 0;

	if (r < 0)
		return r;
	if (user && !(geteuid() != 0 && user->uid == geteuid())) {
		if (setgroups((size_t)user->n_groups, user->groups) < 0 ||
		    setresgid(user->gid, user->gid, user->gid) < 0 ||
		    setresuid(user->uid, user->uid, user->uid) < 0)
			return -errno;
	}
	if ((!user || chdir(user->home) < 0) && chdir("/") < 0)
		return -errno;
	return 0;
}

static void run(struct job *job, const struct job_self *self, int pipe, int fd)
{
	int r;

	setpgid(0, 0);
	default_signals();
	r = become(self); /* before keep(): the door is made of descriptors */
	if (r == 0)
		r = keep(pipe, fd);
	if (r == 0)
		r = job->work(job, fd >= 0 ? FD_JOB : -1);
	if (write(FD_PIPE, &r, sizeof(r)) != sizeof(r) ||
	    write(FD_PIPE, job->result, job->result_size) != (ssize_t)job->result_size)
		_exit(1);
	_exit(0);
}

/* --- the agent -------------------------------------------------------------------------------------------- */

/* All of it, or it was killed: the child wrote before it ended. */
static int read_result(struct job *job)
{
	unsigned char buf[JOB_RESULT_MAX];
	int r;

	if (read(job->pipe, &r, sizeof(r)) != sizeof(r) ||
	    read(job->pipe, buf, job->result_size) != (ssize_t)job->result_size)
		return -EINTR;
	memcpy(job->result, buf, job->result_size);
	return r;
}

static void end(struct job *job)
{
	close(job->pipe);
	job->pipe = -1;
	n_jobs--;
}

static void child_ended(struct child *child, int status)
{
	struct job *job = container_of(child, struct job, child);
	int r = read_result(job);

	end(job);
	child->pid = 0;
	job->done(job, r);
}

int job_start(struct agent *agent, struct job *job, const struct job_self *self, int fd)
{
	int ends[2];
	pid_t pid;

	if (n_jobs >= JOB_MAX)
		return -EAGAIN;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run(job, self, ends[1], fd);
	close(ends[1]);
	if (pid < 0) {
		int err = errno;

		close(ends[0]);
		return -err;
	}
	setpgid(pid, pid);
	job->agent = agent;
	job->pipe = ends[0];
	n_jobs++;
	child_watch(agent, &job->child, pid, child_ended);
	return 0;
}

void job_stop(struct job *job)
{
	if (job->child.pid <= 0)
		return;
	kill(-job->child.pid, SIGKILL);
	child_forget(&job->child);
	end(job);
}
