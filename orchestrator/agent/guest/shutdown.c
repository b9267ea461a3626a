/* SPDX-License-Identifier: MIT */
#include "agent/guest/shutdown.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/environ.h"
#include "agent/guest/filesystems.h"
#include "agent/guest/spawn.h"

#define KILLED_MS 500 /* SIGKILL takes no longer, but for what hangs in the kernel */

static struct {
	enum shutdown_how how;
	struct loop_timer timer;
	struct agent *agent;
	bool killed;
} ending;

static const char *const words[] = {
	[SHUTDOWN_POWEROFF] = "poweroff", [SHUTDOWN_REBOOT] = "reboot"
};

/* Does not return but in tests. */
static void go(void)
{
	sessions_flush(ending.agent);
	sync();
	filesystems_detach();
	reboot(ending.how == SHUTDOWN_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
	ending.agent->loop.quit = true;
}

/* PID 1 is the parent of all that has no other: without a child there is no process. */
static bool alone(void)
{
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void time_is_over(struct loop_timer *timer)
{
	if (ending.killed) {
		go();
		return;
	}
	ending.killed = true;
	(void)kill(-1, SIGKILL);
	loop_timer_start(&ending.agent->loop, &ending.timer, KILLED_MS, time_is_over);
}

void shutdown_check(struct agent *agent)
{
	if (agent->closing && agent->init && alone())
		go();
}

static void tell(struct agent *agent, const char *by)
{
	struct json_writer *w = event_begin(agent, AGENT_EVENT_SHUTDOWN);

	if (!w)
		return;
	json_put_string(w, "how", words[ending.how]);
	json_put_string(w, "by", by);
	event_end(agent);
}

/* Interactive shells do not mind TERM, but they do mind HUP. */
static void end_all(struct agent *agent, uint64_t grace_ms)
{
	(void)kill(-1, SIGTERM);
	(void)kill(-1, SIGHUP);
	(void)kill(-1, SIGCONT);
	loop_timer_start(&agent->loop, &ending.timer, grace_ms, time_is_over);
	if (alone())
		loop_timer_start(&agent->loop, &ending.timer, 0, time_is_over);
}

/* The distribution's own program, which knows its services. */
static int ask_distribution(void)
{
	char *argv[] = { (char *)(uintptr_t)words[ending.how], NULL };
	char *env[] = { (char *)(uintptr_t) "PATH=" ENVIRON_PATH, NULL };
	const struct spawn s = {
		.argv = argv, .env = env, .search = ENVIRON_PATH, .fds = { -1, -1, -1 }
	};
	pid_t pid = spawn(&s, NULL);

	return pid < 0 ? pid : 0;
}

int shutdown_start(struct agent *agent, enum shutdown_how how, uint64_t grace_ms, const char *by)
{
	int err = 0;

	if (agent->closing)
		return -EALREADY;
	ending.agent = agent;
	ending.how = how;
	if (!agent->init)
		err = ask_distribution();
	if (err)
		return err;
	agent->closing = true;
	tell(agent, by);
	if (agent->init)
		end_all(agent, grace_ms);
	return 0;
}

void shutdown_request(struct session *s, const struct request *request)
{
	struct agent *agent = session_agent(s);
	int64_t grace_ms = SHUTDOWN_GRACE_MS;
	enum shutdown_how how = SHUTDOWN_POWEROFF;
	char word[16];
	int err = json_string(json_get(request->body, "how"), word, sizeof(word));

	if (err >= 0 && strcmp(word, words[SHUTDOWN_REBOOT]) == 0)
		how = SHUTDOWN_REBOOT;
	else if (err != -ENOENT && (err < 0 || strcmp(word, words[SHUTDOWN_POWEROFF]) != 0)) {
		session_bad(s, request, "how");
		return;
	}
	err = json_int(json_get(request->body, "grace-ms"), 0, 3600000, &grace_ms);
	if (err && err != -ENOENT) {
		session_bad(s, request, "grace-ms");
		return;
	}
	err = shutdown_start(agent, how, (uint64_t)grace_ms, "host");
	if (err && err != -EALREADY)
		session_errno(s, request, -err, "%s", words[how]);
	else
		session_ok(s, request);
}
