/* SPDX-License-Identifier: MIT */
#include "run/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"

/* The number of the field "starttime" in /proc/PID/stat, proc(5). */
#define STAT_START 22

struct proc {
	struct proc_id id;
	int pidfd;
	guint source;
	bool child; /* ours to wait for */
	proc_exit_fn *exited;
	void *data;
};

static bool gone_within(int pidfd, int ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

/* Whether all of a process whose first thread is a zombie has ended: another thread may still hold its sockets and locks. */
static bool all_threads_gone(pid_t pid)
{
	int pidfd = pidfd_open(pid, 0);
	bool gone = pidfd < 0 || gone_within(pidfd, 0);

	if (pidfd >= 0)
		close(pidfd);
	return gone;
}

bool proc_id_read(pid_t pid, struct proc_id *ret_id)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
	g_autofree char *text = NULL;
	g_auto(GStrv) fields = NULL;
	const char *rest;

	if (pid <= 0 || !g_file_get_contents(path, &text, NULL, NULL))
		return false;
	/* The second field is the name in parentheses, in which anything may stand. */
	rest = strrchr(text, ')');
	if (!rest || rest[1] != ' ')
		return false;
	/* From here on the third field is the first. */
	fields = g_strsplit(rest + 2, " ", -1);
	if (g_strv_length(fields) < STAT_START)
		return false;
	if ((*fields[0] == 'Z' || *fields[0] == 'X') && all_threads_gone(pid))
		return false;
	ret_id->pid = pid;
	ret_id->start = g_ascii_strtoull(fields[STAT_START - 3], NULL, 10);
	return true;
}

bool proc_id_alive(const struct proc_id *id)
{
	struct proc_id now;

	return proc_id_read(id->pid, &now) && now.start == id->start;
}

void proc_boot_id(char ret_id[PROC_BOOT_ID_LEN + 1])
{
	g_autofree char *text = NULL;

	memset(ret_id, 0, PROC_BOOT_ID_LEN + 1);
	if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
		g_strlcpy(ret_id, g_strstrip(text), PROC_BOOT_ID_LEN + 1);
}

gint64 proc_id_start_us(const struct proc_id *id)
{
	long hz = sysconf(_SC_CLK_TCK);

	return (gint64)(id->start * (uint64_t)G_USEC_PER_SEC / (uint64_t)hz);
}

gint64 proc_boottime_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * G_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static char *describe(int status)
{
	if (status < 0)
		return g_strdup("ended");
	if (WIFSIGNALED(status))
		return g_strdup_printf("killed by signal %d (%s)", WTERMSIG(status),
				       strsignal(WTERMSIG(status)));
	return g_strdup_printf("exit status %d", WEXITSTATUS(status));
}

static gboolean ended(gint fd, GIOCondition condition, gpointer p)
{
	struct proc *proc = p;
	g_autofree char *how = NULL;
	int status = -1;

	if (proc->child && waitpid(proc->id.pid, &status, WNOHANG) != proc->id.pid)
		status = -1;
	how = describe(status);
	proc->source = 0;
	proc->exited(proc, status, how, proc->data);
	return G_SOURCE_REMOVE;
}

static struct proc *watch(const struct proc_id *id, int pidfd, bool child, proc_exit_fn *exited,
			  void *data)
{
	struct proc *p = g_new0(struct proc, 1);

	p->id = *id;
	p->pidfd = pidfd;
	p->child = child;
	p->exited = exited;
	p->data = data;
	p->source = g_unix_fd_add(pidfd, G_IO_IN, ended, p);
	return p;
}

struct proc *proc_adopt(const struct proc_id *id, proc_exit_fn *exited, void *data)
{
	int pidfd = id->pid > 0 ? pidfd_open(id->pid, 0) : -1;

	if (pidfd < 0)
		return NULL;
	/* Looked at after the pidfd is there: from here on it cannot become another one. */
	if (!proc_id_alive(id)) {
		close(pidfd);
		return NULL;
	}
	return watch(id, pidfd, false, exited, data);
}

int proc_spawn_session(const char *const *argv, char **environment, int log_fd, int extra_fd,
		       pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int r;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, log_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	if (extra_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, extra_fd, PROC_EXTRA_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions,
						 extra_fd >= 0 ? PROC_EXTRA_FD + 1 : PROC_EXTRA_FD);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSID);
	/* posix_spawn() takes char *const[] for history's sake and changes nothing. */
	r = posix_spawn(ret_pid, argv[0], &actions, &attr, (char **)(uintptr_t)argv,
			environment ? environment : environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

struct proc *proc_spawn(const char *const *argv, char **environment, const char *log_path,
			int extra_fd, proc_exit_fn *exited, void *data, GError **error)
{
	int log_fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	struct proc_id id = { 0 };
	int pidfd, r;

	if (log_fd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot write %s", log_path);
		return NULL;
	}
	r = proc_spawn_session(argv, environment, log_fd, extra_fd, &id.pid);
	close(log_fd);
	if (r != 0) {
		err_set_errno(error,
			      r == ENOENT || r == EACCES ? ORCH_ERROR_HOST_UNFIT :
							   ORCH_ERROR_FAILED,
			      r, "cannot start %s", argv[0]);
		return NULL;
	}
	/* A child that has ended already is a zombie until we wait: its pid is still its own. */
	pidfd = pidfd_open(id.pid, 0);
	if (pidfd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot watch %s", argv[0]);
		kill(id.pid, SIGKILL);
		waitpid(id.pid, NULL, 0);
		return NULL;
	}
	if (!proc_id_read(id.pid, &id))
		id.start = 0;
	return watch(&id, pidfd, true, exited, data);
}

void proc_free(struct proc *p)
{
	if (!p)
		return;
	if (p->source)
		g_source_remove(p->source);
	close(p->pidfd);
	g_free(p);
}

const struct proc_id *proc_identity(const struct proc *p)
{
	return &p->id;
}

void proc_signal(struct proc *p, int sig)
{
	/* The one error that can come is that it has ended, which its watch tells. */
	(void)pidfd_send_signal(p->pidfd, sig, NULL, 0);
}

bool proc_id_end(const struct proc_id *id, int grace_ms)
{
	int pidfd = id->pid > 0 ? pidfd_open(id->pid, 0) : -1;
	bool gone;

	if (pidfd < 0)
		return true;
	gone = !proc_id_alive(id);
	if (!gone && pidfd_send_signal(pidfd, SIGTERM, NULL, 0) == 0)
		gone = gone_within(pidfd, grace_ms);
	if (!gone && pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0)
		gone = gone_within(pidfd, 5000);
	close(pidfd);
	return gone;
}
