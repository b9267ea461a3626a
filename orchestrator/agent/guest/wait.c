/* SPDX-License-Identifier: MIT */
#include "agent/guest/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/environ.h"
#include "agent/guest/job.h"

#define PAUSE_MIN_MS 20 /* between two looks, doubling … */
#define PAUSE_MAX_MS 250
#define TIMEOUT_MS   (60 * 1000l)
#define TIMEOUT_MAX  (24l * 3600 * 1000)
#define TCP_LISTEN   0x0a /* of <netinet/tcp.h>, as /proc/net/tcp writes it */

struct waiting {
	struct operation op;
	struct job job;
	struct {
		int64_t ms;    /* how long it took */
		int last_code; /* of a command: how it ended at last */
	} result;
	int64_t timeout_ms, port;
	bool in_distro;
	struct distro_door door;
	char **argv; /* NULL: no command */
	char file[PATH_MAX];
	bool (*look)(struct waiting *w, int64_t left_ms);
};

/* --- in the child: looking -------------------------------------------------------------------------------- */

static bool file_there(struct waiting *w, int64_t left_ms)
{
	struct stat st;

	return stat(w->file, &st) == 0;
}

/* A line of the table: slot, local and remote address with their ports, state, all in hexadecimal:
 * "0: 0100007F:0016 00000000:0000 0A …". */
static bool line_listens(const char *line, int64_t port)
{
	const char *at = strchr(line, ':');
	char *end;

	at = at ? strchr(at + 1, ':') : NULL;
	if (!at || strtoul(at + 1, &end, 16) != (unsigned long)port)
		return false;
	at = strchr(end, ':');
	if (!at)
		return false;
	(void)strtoul(at + 1, &end, 16);
	return strtoul(end, NULL, 16) == TCP_LISTEN;
}

/* The kernel's table tells without a connection that the listener would have to deal with. */
static bool listed(const char *table, int64_t port)
{
	FILE *file = fopen(table, "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = line_listens(line, port);
	if (file)
		fclose(file);
	return found;
}

static bool port_open(struct waiting *w, int64_t left_ms)
{
	return listed("/proc/net/tcp", w->port) || listed("/proc/net/tcp6", w->port);
}

static void run_command(char **argv)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; null >= 0 && i < 3; i++)
		(void)dup2(null, i);
	(void)signal(SIGPIPE, SIG_DFL);
	if (!getenv("PATH"))
		(void)setenv("PATH", ENVIRON_PATH, 1);
	execvp(argv[0], argv);
	_exit(errno == ENOENT ? 127 : 126);
}

static int64_t now_ms(void)
{
	return (int64_t)loop_now_ms();
}

static void pause_ms(int64_t ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

/* Once, within what time is left; the whole process group ends with the job. */
static bool command_succeeds(struct waiting *w, int64_t left_ms)
{
	int64_t until = now_ms() + left_ms;
	pid_t pid = fork(), ended;
	int status;

	if (pid == 0)
		run_command(w->argv);
	if (pid < 0)
		return false;
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && now_ms() < until)
		pause_ms(5);
	if (ended == 0) {
		kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	}
	w->result.last_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return ended == pid && w->result.last_code == 0;
}

static int work(struct job *job, int fd)
{
	struct waiting *w = container_of(job, struct waiting, job);
	int64_t begin = now_ms(), pause = PAUSE_MIN_MS, left = w->timeout_ms;

	while (!w->look(w, left)) {
		left = begin + w->timeout_ms - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		pause_ms(pause < left ? pause : left);
		pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	}
	w->result.ms = now_ms() - begin;
	return 0;
}

/* --- in the agent ----------------------------------------------------------------------------------------- */

static void finish(struct waiting *w)
{
	operation_stop(&w->op);
	job_stop(&w->job);
	free(w->argv);
	free(w);
}

static void tell_timeout(struct waiting *w)
{
	if (w->argv)
		operation_error(&w->op, AGENT_ERROR_TIMEOUT,
				"%s: still fails, at last with code %d", w->argv[0],
				w->result.last_code);
	else if (w->port)
		operation_error(&w->op, AGENT_ERROR_TIMEOUT, "nothing listens on TCP port %d",
				(int)w->port);
	else
		operation_error(&w->op, AGENT_ERROR_TIMEOUT, "%s: still not there", w->file);
}

static void done(struct job *job, int r)
{
	struct waiting *w = container_of(job, struct waiting, job);

	if (r == 0) {
		json_put_int(operation_begin(&w->op, AGENT_WAIT, 2), "ms", w->result.ms);
		operation_end(&w->op);
	} else if (r == -ETIMEDOUT) {
		tell_timeout(w);
	} else {
		operation_errno(&w->op, -r, "WAIT");
	}
	finish(w);
}

static void orphaned(struct operation *op)
{
	finish(container_of(op, struct waiting, op));
}

/* Exactly one of the three.  Returns the member that is wrong; NULL: none. */
static const char *parse_what(struct waiting *w, struct json body)
{
	struct json file = json_get(body, "file"), port = json_get(body, "port"),
		    command = json_get(body, "command");
	int err = 0;

	if (json_present(file) + json_present(port) + json_present(command) != 1)
		return "file, port or command";
	if (json_present(file)) {
		w->look = file_there;
		return json_string(file, w->file, sizeof(w->file)) > 0 ? NULL : "file";
	}
	if (json_present(port)) {
		w->look = port_open;
		return json_int(port, 1, 65535, &w->port) == 0 ? NULL : "port";
	}
	w->look = command_succeeds;
	w->argv = json_strv(command, AGENT_MAX_ARGS, &err);
	return w->argv && w->argv[0] ? NULL : "command";
}

static const char *parse(struct waiting *w, struct json body)
{
	int r = json_int(json_get(body, "timeout-ms"), 0, TIMEOUT_MAX, &w->timeout_ms);

	if (r == -ENOENT)
		w->timeout_ms = TIMEOUT_MS;
	else if (r < 0)
		return "timeout-ms";
	return parse_what(w, body);
}

void wait_request(struct session *session, const struct request *request)
{
	struct json distro = json_get(request->body, "distro");
	struct waiting *w = calloc(1, sizeof(*w));
	struct job_self self = { 0 };
	const char *bad = w ? parse(w, request->body) : NULL;
	char name[128] = "";
	int r = w ? 0 : -ENOMEM;

	if (w && !bad && json_present(distro)) {
		self.door = &w->door;
		r = json_string(distro, name, sizeof(name));
		r = r < 0 ? r : distro_find(session_agent(session), name, &w->door);
	}
	if (bad || r < 0) {
		if (bad)
			session_bad(session, request, bad);
		else
			session_errno(session, request, -r, w ? "distribution \"%s\"" : "WAIT%s",
				      name);
		if (w)
			free(w->argv);
		free(w);
		return;
	}
	w->job.work = work;
	w->job.done = done;
	w->job.result = &w->result;
	w->job.result_size = sizeof(w->result);
	operation_start(&w->op, session, request, orphaned);
	r = job_start(session_agent(session), &w->job, &self, -1);
	if (r < 0) {
		operation_errno(&w->op, -r, "WAIT");
		finish(w);
	}
}
