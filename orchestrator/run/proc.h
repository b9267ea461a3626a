/* SPDX-License-Identifier: MIT */
/* A process that we started, or that an earlier supervisor of the same lab did.
 *
 * A pid alone names nothing: it may have been given to another process since.  A process is identified by pid and start
 * time (field 22 of /proc/PID/stat) within one boot; it is watched and signalled through a pidfd, which never refers to
 * another process.  So nothing here can hit a stranger.
 *
 * Every process gets its own session: a signal to a process group (a closed terminal, Ctrl-C) reaches only one of ours, and
 * each outlives the one that started it.  That is wanted: no process of a lab may take another one down.
 */
#ifndef RUN_PROC_H
#define RUN_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

struct proc_id {
	pid_t pid;      /* 0: none */
	uint64_t start; /* clock ticks after boot */
};

#define PROC_BOOT_ID_LEN 36

/* Identity of a process that exists now.  False: there is none, or it is a zombie. */
bool proc_id_read(pid_t pid, struct proc_id *ret_id);
/* Whether exactly this process still runs. */
bool proc_id_alive(const struct proc_id *id);
/* This boot of the kernel: identities of another one mean nothing. */
void proc_boot_id(char ret_id[PROC_BOOT_ID_LEN + 1]);
/* When it started, in microseconds of CLOCK_BOOTTIME. */
gint64 proc_id_start_us(const struct proc_id *id);
gint64 proc_boottime_us(void);

/* Start argv[0] (a path) in a session of its own: stdin from /dev/null, stdout and stderr to log_fd, default signal
 * dispositions, and of our descriptors none but extra_fd, as number PROC_EXTRA_FD (-1: none).  environment NULL is ours.
 * 0 or an errno. */
#define PROC_EXTRA_FD 3
int proc_spawn_session(const char *const *argv, char **environment, int log_fd, int extra_fd,
		       pid_t *ret_pid);

struct proc;

/* The process has ended.  how is for people: "exit status 1", "killed by signal 9 (Killed)", "ended" where it was not our
 * child and nobody knows.  status is that of waitpid(), or -1.  May free the proc. */
typedef void proc_exit_fn(struct proc *p, int status, const char *how, void *data);

/* proc_spawn_session() with its words appended to log_path, and watched.
 * Errors: ORCH_ERROR_HOST_UNFIT (no such program), ORCH_ERROR_FAILED. */
struct proc *proc_spawn(const char *const *argv, char **environment, const char *log_path,
			int extra_fd, proc_exit_fn *exited, void *data, GError **error);

/* Watch a process started by somebody else.  NULL: it does not run (any more). */
struct proc *proc_adopt(const struct proc_id *id, proc_exit_fn *exited, void *data);

/* Stop watching; the process goes on. */
void proc_free(struct proc *p);

const struct proc_id *proc_identity(const struct proc *p);
void proc_signal(struct proc *p, int sig);

/* SIGTERM, then SIGKILL if it has not ended after grace_ms; blocks until it is gone or could not be killed (false).  For a
 * process that is nobody's child here: gc. */
bool proc_id_end(const struct proc_id *id, int grace_ms);

#endif
