/* SPDX-License-Identifier: MIT */
/* Watching processes that are not our children: the orchestrator's supervisor, after it was killed and started again.
 *
 * pidfd_open() works on any process of ours; the descriptor is readable when the process ends, also where another
 * is its parent; and pidfd_send_signal() never hits a stranger that got the number since. */
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

static int pidfd_open_(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int pidfd_signal(int fd, int sig)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
}

static int wait_end(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms);
}

/* A grandchild: it is not ours to wait for. */
static pid_t start_grandchild(void)
{
	int p[2];
	pid_t pid;

	EXPECT(pipe(p) == 0);
	if (fork() == 0) {
		pid = fork();
		if (pid == 0)
			for (;;)
				pause();
		_exit(write(p[1], &pid, sizeof(pid)) != sizeof(pid));
	}
	EXPECT(read(p[0], &pid, sizeof(pid)) == sizeof(pid));
	EXPECT(wait(NULL) > 0);
	close(p[0]);
	close(p[1]);
	return pid;
}

int main(void)
{
	pid_t pid = start_grandchild();
	int fd = pidfd_open_(pid);

	EXPECT(fd >= 0);
	EXPECT(wait_end(fd, 0) == 0);
	EXPECT(waitpid(pid, NULL, WNOHANG) == -1 && errno == ECHILD);
	EXPECT(pidfd_signal(fd, 0) == 0);
	EXPECT(pidfd_signal(fd, SIGKILL) == 0);
	EXPECT(wait_end(fd, 20000) == 1);
	/* Once it is reaped (by init or a subreaper) the descriptor leads nowhere. */
	for (int i = 0; i < 2000 && pidfd_signal(fd, 0) == 0; i++)
		usleep(10000);
	EXPECT(pidfd_signal(fd, 0) == -1 && errno == ESRCH);
	close(fd);
	return 0;
}
