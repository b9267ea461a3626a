/* SPDX-License-Identifier: MIT */
#include "agent/guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/user.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define STACK_SIZE 65536

/* The parent sleeps until the child is done with it, so that one stack serves all. */
static char stack[STACK_SIZE] __attribute__((aligned(64)));

struct birth {
	const struct spawn *spawn;
	int null_fd;
	enum spawn_step step;
	int err;
};

/* Raw system calls: the C library's setuid() and its like may want to tell other threads, and there are none. */
static int become(const struct user *user)
{
	if (!user || (geteuid() && user->uid == getuid()))
		return 0;
	if (syscall(SYS_setgroups, user->n_groups, user->groups) ||
	    syscall(SYS_setresgid, user->gid, user->gid, user->gid) ||
	    syscall(SYS_setresuid, user->uid, user->uid, user->uid))
		return -errno;
	return 0;
}

static int set_fds(const struct birth *b)
{
	for (int i = 0; i < 3; i++) {
		int fd = b->spawn->fds[i];

		if (dup2(fd < 0 ? b->null_fd : fd, i) < 0)
			return -errno;
	}
	return 0;
}

static int change_dir(const struct spawn *s)
{
	if (!s->cwd || chdir(s->cwd) == 0)
		return s->cwd || chdir("/") == 0 ? 0 : -errno;
	if (s->cwd_optional)
		return chdir("/") == 0 ? 0 : -errno;
	return -errno;
}

/* Returns only if it fails.  Directories without the program are passed over before exec, which would make an address space first. */
static int run(const struct spawn *s)
{
	static char path[PATH_MAX];
	const char *program = s->program ? s->program : s->argv[0];
	const char *dir = s->search;
	int err = -ENOENT;

	if (strchr(program, '/') || !*program) {
		execve(program, s->argv, s->env);
		return -errno;
	}
	while (dir) {
		const char *end = strchr(dir, ':');
		size_t len = end ? (size_t)(end - dir) : strlen(dir);

		if ((size_t)snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, program) <
			    sizeof(path) &&
		    access(path, F_OK) == 0) {
			execve(path, s->argv, s->env);
			err = -errno;
		}
		dir = end ? end + 1 : NULL;
	}
	return err;
}

/* Each step up to exec, in the order of enum spawn_step. */
static int prepare(struct birth *b, enum spawn_step step)
{
	const struct spawn *s = b->spawn;
	sigset_t none;

	switch (step) {
	case SPAWN_FORK:
		sigemptyset(&none);
		signal(SIGPIPE, SIG_DFL);
		sigprocmask(SIG_SETMASK, &none, NULL);
		return setsid() < 0 ? -errno : 0;
	case SPAWN_ENTER:
		return s->enter ? s->enter(s->enter_data) : 0;
	case SPAWN_TTY:
		if (set_fds(b) || (s->tty && ioctl(0, TIOCSCTTY, 0)))
			return -errno;
		return 0;
	case SPAWN_USER:
		return become(s->user);
	case SPAWN_CWD:
		return change_dir(s);
	case SPAWN_EXEC:
		return run(s);
	}
	return -EINVAL;
}

static int child(void *data)
{
	struct birth *b = data;

	for (b->step = SPAWN_FORK; !b->err; b->step++)
		b->err = prepare(b, b->step);
	b->step--;
	_exit(127);
}

/* Shared file offsets and flags: what a socket is set to here, it is for the child. */
static void set_blocking(const int fds[3])
{
	for (int i = 0; i < 3; i++) {
		int flags = fds[i] < 0 ? 0 : fcntl(fds[i], F_GETFL);

		if (flags > 0 && flags & O_NONBLOCK)
			(void)fcntl(fds[i], F_SETFL, flags & ~O_NONBLOCK);
	}
}

static int null_device(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return fd;
}

/* Children of the agent are born in PID_NS from now on.  Returns a descriptor of the namespace before. */
static int switch_pid_ns(int pid_ns)
{
	int before = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	int err;

	if (before < 0)
		return -errno;
	if (setns(pid_ns, CLONE_NEWPID) == 0)
		return before;
	err = -errno;
	close(before);
	return err;
}

static pid_t give_birth(struct birth *b)
{
	sigset_t all, before;
	pid_t pid;

#ifdef __SANITIZE_ADDRESS__
	/* What the last child's frames left behind. */
	__asan_unpoison_memory_region(stack, sizeof(stack));
#endif
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone(child, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, b);
	if (pid < 0)
		b->err = -errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

pid_t spawn(const struct spawn *s, enum spawn_step *ret_step)
{
	struct birth b = { .spawn = s, .null_fd = null_device(), .step = SPAWN_FORK };
	int before = s->pid_ns ? switch_pid_ns(s->pid_ns) : -1;
	pid_t pid = -1;

	if (s->pid_ns && before < 0)
		b.err = before;
	set_blocking(s->fds);
	if (!b.err)
		pid = give_birth(&b);
	if (before >= 0) {
		(void)setns(before, CLONE_NEWPID);
		close(before);
	}
	if (!b.err)
		return pid;
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (ret_step)
		*ret_step = b.step;
	return b.err;
}
