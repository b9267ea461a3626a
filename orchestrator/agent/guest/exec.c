/* SPDX-License-Identifier: MIT */
#include "agent/guest/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/child.h"
#include "agent/guest/distro.h"
#include "agent/guest/environ.h"
#include "agent/guest/pump.h"
#include "agent/guest/relay.h"
#include "agent/guest/signals.h"
#include "agent/guest/spawn.h"
#include "agent/guest/stream.h"
#include "agent/guest/tty.h"
#include "agent/guest/user.h"

/* Which of the program's descriptors a stream is to be. */
static const struct {
	const char *name;
	unsigned fds; /* 1 << 0, 1, 2 */
} stream_names[] = {
	{ "stdin", 1 },  { "stdout", 2 }, { "stderr", 4 },
	{ "output", 6 }, { "stdio", 7 },  { "tty", 7 },
};

/* From the request to EXIT: waits for its data connections, runs, and with a terminal waits until that is read empty.  Pipes that are
 * not at their end yet go on after EXIT. */
struct exec {
	struct list link;
	struct agent *agent;
	struct operation operation;
	struct stream_wait wait;
	struct child child;
	struct loop_timer killer;

	char **argv, **given, **env;
	char cwd[PATH_MAX];
	char distro[DISTRO_NAME_MAX]; /* "": in the guest itself */
	struct user user;

	unsigned n_streams;
	unsigned fds[STREAM_MAX]; /* of each stream */
	bool piped;               /* over the control connection: */
	struct pump pumps[STREAM_MAX];
	uint8_t token[AGENT_TOKEN_SIZE]; /* else of its data connections */

	bool tty;
	struct tty_size size;
	char term[64];
	struct relay *relay; /* of the terminal, while there is one */

	bool ended; /* with this: */
	int status;
	bool killed; /* and all that was left of its group */
	bool reported;
};

static struct exec *exec_new(struct agent *agent)
{
	struct exec *e = agent->n_execs < AGENT_MAX_EXECS ? calloc(1, sizeof(*e)) : NULL;

	if (!e)
		return NULL;
	e->agent = agent;
	list_append(&agent->execs, &e->link);
	agent->n_execs++;
	return e;
}

static void close_relay(struct exec *e)
{
	if (!e->relay)
		return;
	relay_stop(e->relay);
	free(e->relay);
	e->relay = NULL;
}

static void close_pumps(struct exec *e)
{
	for (unsigned i = 0; i < e->n_streams; i++)
		pump_close(&e->pumps[i]);
}

static void exec_free(struct exec *e)
{
	close_pumps(e);
	operation_stop(&e->operation);
	stream_wait_stop(&e->wait);
	child_forget(&e->child);
	loop_timer_stop(&e->killer);
	close_relay(e);
	list_remove(&e->link);
	e->agent->n_execs--;
	free(e->argv);
	free(e->given);
	free(e->env);
	free(e);
}

/* --- reading the request ----------------------------------------------------------------------------------- */

/* One of "streams": no two may be the same descriptor, and a terminal is all three and alone. */
static bool read_stream(struct exec *e, struct json item, unsigned *taken)
{
	char name[16];

	if (e->n_streams == STREAM_MAX || json_string(item, name, sizeof(name)) < 0)
		return false;
	for (size_t i = 0; i < sizeof(stream_names) / sizeof(stream_names[0]); i++) {
		if (strcmp(stream_names[i].name, name) != 0)
			continue;
		if (*taken & stream_names[i].fds || e->tty != (strcmp(name, "tty") == 0))
			return false;
		*taken |= stream_names[i].fds;
		e->fds[e->n_streams++] = stream_names[i].fds;
		return true;
	}
	return false;
}

static const char *read_streams(struct exec *e, struct json body)
{
	struct json streams = json_get(body, "streams");
	char hex[AGENT_TOKEN_HEX];
	unsigned taken = 0;

	if (json_present(streams) && !json_is_array(streams))
		return "streams";
	for (struct json v = json_first(streams); v.at >= 0; v = json_next(streams, v)) {
		if (!read_stream(e, v, &taken))
			return "streams";
	}
	if (e->tty && !e->n_streams)
		return "streams";
	e->piped = !e->tty && !json_present(json_get(body, "token"));
	if (e->piped)
		return taken == 7 && e->n_streams == 1 ? "token" :
							 NULL; /* no pipe goes both ways */
	if (json_string(json_get(body, "token"), hex, sizeof(hex)) < 0 ||
	    !agent_token_from_hex(hex, e->token))
		return "token";
	return NULL;
}

static const char *read_tty(struct exec *e, struct json body)
{
	struct json tty = json_get(body, "tty");
	int err;

	e->tty = json_present(tty);
	if (!e->tty)
		return NULL;
	if (!json_is_object(tty) || tty_size_read(tty, &e->size))
		return "tty";
	err = json_string(json_get(tty, "term"), e->term, sizeof(e->term));
	if (err == -ENOENT)
		strcpy(e->term, "vt102");
	else if (err < 0)
		return "term";
	return NULL;
}

static const char *read_vectors(struct exec *e, struct json body)
{
	int err;

	e->argv = json_strv(json_get(body, "argv"), AGENT_MAX_ARGS, &err);
	if (!e->argv || !e->argv[0])
		return "argv";
	e->given = json_strv(json_get(body, "env"), AGENT_MAX_ARGS, &err);
	for (char **s = e->given; s && *s; s++) {
		if (**s == '=' || !strchr(*s, '='))
			return "env";
	}
	return e->given ? NULL : "env";
}

static const char *read_cwd(struct exec *e, struct json body)
{
	int err = json_string(json_get(body, "cwd"), e->cwd, sizeof(e->cwd));

	return err == -ENOENT || err > 0 ? NULL : "cwd";
}

static const char *read_distro(struct exec *e, struct json body)
{
	int err = json_string(json_get(body, "distro"), e->distro, sizeof(e->distro));

	return err == -ENOENT || err > 0 ? NULL : "distro";
}

/* The first member that is wrong; NULL if none is. */
static const char *read_request(struct exec *e, struct json body)
{
	const char *wrong = read_vectors(e, body);

	if (!wrong)
		wrong = read_cwd(e, body);
	if (!wrong)
		wrong = read_tty(e, body);
	if (!wrong)
		wrong = read_distro(e, body);
	return wrong ? wrong : read_streams(e, body);
}

/* Whose program it is to be.  An error has been answered when false. */
static bool read_user(struct exec *e, struct session *s, const struct request *request)
{
	struct distro_door door = { 0 };
	char who[64];
	int err = json_string(json_get(request->body, "user"), who, sizeof(who));

	if (err == -ENOENT) {
		snprintf(who, sizeof(who), "%u", geteuid());
	} else if (err < 1) {
		session_bad(s, request, "user");
		return false;
	}
	if (*e->distro && distro_find(e->agent, e->distro, &door)) {
		session_error(s, request, AGENT_ERROR_NOT_FOUND,
			      "the distribution \"%s\" is not mounted", e->distro);
		return false;
	}
	err = user_find(door.root, who, &e->user);
	if (err == -ENOENT)
		session_error(s, request, AGENT_ERROR_NOT_FOUND, "there is no user \"%s\"", who);
	else if (err)
		session_errno(s, request, -err, "/etc/passwd");
	return !err;
}

/* --- the end ----------------------------------------------------------------------------------------------- */

/* Signal the program's group, which may have outlived it. */
static int signal_group(const struct exec *e, int signal)
{
	return kill(-e->child.pid, signal) ? -errno : 0;
}

/* All is said: how it ended, and whether some of its processes go on. */
static void report(struct exec *e)
{
	struct json_writer *w = operation_begin(&e->operation, AGENT_EXIT, 3);

	json_put_int(w, "pid", e->child.pid);
	if (WIFSIGNALED(e->status))
		json_put_int(w, "signal", WTERMSIG(e->status));
	else
		json_put_int(w, "code", WEXITSTATUS(e->status));
	if (signal_group(e, 0) == 0)
		json_put_bool(w, "left", true);
	operation_end(&e->operation);
}

static bool output_open(const struct exec *e)
{
	for (unsigned i = 0; i < e->n_streams; i++) {
		if (!e->pumps[i].in && pump_is_open(&e->pumps[i]))
			return true;
	}
	return false;
}

static void end_unless_output(struct exec *e)
{
	if (e->reported && !output_open(e))
		exec_free(e);
}

/* All that it wrote goes before EXIT as far as the host takes it; the rest, and what others write who were left behind, follows. */
static void say_last(struct exec *e)
{
	for (unsigned i = 0; i < e->n_streams; i++) {
		if (!e->pumps[i].in && pump_is_open(&e->pumps[i])) {
			pump_drain(&e->pumps[i]);
			pump_watch(&e->pumps[i]);
		}
	}
	report(e);
	e->reported = true;
	end_unless_output(e);
}

/* The program has ended; its group may live on, and if the host is gone it has until the killer comes. */
static void child_ended(struct child *child, int status)
{
	struct exec *e = container_of(child, struct exec, child);

	e->ended = true;
	e->status = status;
	if (!e->operation.session) {
		if (e->killed || signal_group(e, 0))
			exec_free(e);
		return;
	}
	if (!e->relay)
		say_last(e);
}

static void relay_ended(struct relay *relay, int err)
{
	struct exec *e = relay->owner;

	close_relay(e);
	if (e->ended)
		say_last(e);
}

static void kill_group(struct loop_timer *timer)
{
	struct exec *e = container_of(timer, struct exec, killer);

	(void)signal_group(e, SIGKILL);
	e->killed = true;
	if (e->ended)
		exec_free(e);
}

static void orphaned(struct operation *op)
{
	struct exec *e = container_of(op, struct exec, operation);

	if (!e->child.pid || e->reported || (e->ended && signal_group(e, 0))) {
		exec_free(e);
		return;
	}
	close_relay(e);
	close_pumps(e);
	(void)signal_group(e, SIGHUP);
	(void)signal_group(e, SIGCONT);
	loop_timer_start(&e->agent->loop, &e->killer, EXEC_KILL_MS, kill_group);
}

/* --- the start --------------------------------------------------------------------------------------------- */

static void refuse(struct exec *e, enum spawn_step step, int err)
{
	const char *program = e->argv[0];

	if (step == SPAWN_EXEC && (err == ENOENT || err == ENOTDIR))
		operation_error(&e->operation, AGENT_ERROR_NOT_FOUND, "%s: not found", program);
	else if (step == SPAWN_EXEC && (err == EACCES || err == ENOEXEC || err == EISDIR))
		operation_error(&e->operation, AGENT_ERROR_NOT_EXECUTABLE, "%s: cannot be run: %s",
				program, strerror(err));
	else if (step == SPAWN_CWD)
		operation_errno(&e->operation, err, "%s", e->cwd);
	else if (step == SPAWN_USER)
		operation_errno(&e->operation, err, "become user %s", e->user.name);
	else
		operation_errno(&e->operation, err, "%s", program);
	exec_free(e);
}

/* Close what the streams brought; the program has its own copies. */
static void close_streams(struct exec *e)
{
	for (unsigned i = 0; i < e->n_streams; i++)
		close(e->wait.fds[i]);
}

static pid_t start(struct exec *e, const int fds[3], enum spawn_step *step)
{
	struct distro_door door = { 0 };
	struct spawn s = { .argv = e->argv,
			   .env = e->env,
			   .search = environ_get(e->env, "PATH"),
			   .fds = { fds[0], fds[1], fds[2] },
			   .tty = e->tty,
			   .cwd = *e->cwd ? e->cwd : e->user.home,
			   .cwd_optional = !*e->cwd,
			   .user = &e->user };

	/* Again: it may have been unmounted while the streams were waited for. */
	if (*e->distro && distro_find(e->agent, e->distro, &door)) {
		*step = SPAWN_ENTER;
		return -ENOENT;
	}
	s.pid_ns = door.pid_ns;
	s.enter = door.enter;
	s.enter_data = door.data;
	return spawn(&s, step);
}

/* Most programs have something to say soon, if only that they have ended.  On connections of their own that is no news of the start. */
static void started(struct exec *e, pid_t pid)
{
	struct json_writer *w = operation_begin(&e->operation, AGENT_EXEC, 2);

	json_put_int(w, "pid", pid);
	operation_end(&e->operation);
	if (e->piped && e->n_streams)
		operation_dally(&e->operation);
	child_watch(e->agent, &e->child, pid, child_ended);
	for (unsigned i = 0; e->piped && i < e->n_streams; i++)
		pump_watch(&e->pumps[i]);
}

/* The program's descriptors from its streams' ENDS.  Closes those; the program has its own copies. */
static void start_with(struct exec *e, const int ends[STREAM_MAX])
{
	enum spawn_step step = SPAWN_FORK;
	int fds[3] = { -1, -1, -1 };
	pid_t pid;

	for (unsigned i = 0; i < e->n_streams; i++) {
		for (unsigned fd = 0; fd < 3; fd++) {
			if (e->fds[i] >> fd & 1)
				fds[fd] = ends[i];
		}
	}
	pid = start(e, fds, &step);
	for (unsigned i = 0; i < e->n_streams && i < STREAM_MAX; i++)
		close(ends[i]);
	if (pid < 0)
		refuse(e, step, -pid);
	else
		started(e, pid);
}

static int take_piece(struct operation *op, const struct agent_piece *piece)
{
	struct exec *e = container_of(op, struct exec, operation);

	if (piece->stream >= e->n_streams || !e->piped)
		return -EPROTO;
	return pump_take(&e->pumps[piece->stream], piece);
}

/* Who closes its output mostly ends. */
static void pump_closed(struct pump *p)
{
	struct exec *e = container_of(p->operation, struct exec, operation);

	if (!e->ended)
		operation_dally(&e->operation);
	end_unless_output(e);
}

static void on_room(struct operation *op)
{
	struct exec *e = container_of(op, struct exec, operation);

	for (unsigned i = 0; i < e->n_streams; i++)
		pump_watch(&e->pumps[i]);
	end_unless_output(e);
}

/* One that its user may open again by name. */
static int open_pump(struct exec *e, unsigned i)
{
	int end = pump_open(&e->pumps[i], &e->agent->loop, &e->operation, i, e->fds[i] & 1,
			    pump_closed);

	if (end >= 0 && e->user.uid != geteuid()) {
		int r = fchown(end, e->user.uid, e->user.gid);

		(void)r; /* the program can still use it, if not by name */
	}
	return end;
}

static void start_piped(struct exec *e)
{
	int ends[STREAM_MAX] = { -1, -1, -1 };

	for (unsigned i = 0; i < e->n_streams; i++) {
		ends[i] = open_pump(e, i);
		if (ends[i] >= 0)
			continue;
		e->n_streams = i;
		operation_errno(&e->operation, -ends[i], "pipe");
		while (i-- > 0)
			close(ends[i]);
		exec_free(e);
		return;
	}
	e->operation.piece = take_piece;
	e->operation.room = on_room;
	start_with(e, ends);
}

static void start_with_tty(struct exec *e)
{
	enum spawn_step step = SPAWN_TTY;
	int master, slave = tty_open(&e->size, e->user.uid, &master);
	pid_t pid = slave;

	if (slave >= 0) {
		pid = start(e, (const int[]){ slave, slave, slave }, &step);
		close(slave);
		if (pid < 0)
			close(master);
	}
	if (pid < 0) {
		close_streams(e);
		refuse(e, step, -pid);
		return;
	}
	started(e, pid);
	e->relay = calloc(1, sizeof(*e->relay));
	if (!e->relay ||
	    relay_start(e->relay, &e->agent->loop, master, e->wait.fds[0], true, relay_ended)) {
		/* The terminal is closed, or will be by this: the program is hung up. */
		if (!e->relay) {
			close(master);
			close_streams(e);
		}
		free(e->relay);
		e->relay = NULL;
		return;
	}
	e->relay->owner = e;
}

static void streams_came(struct stream_wait *wait, int err)
{
	struct exec *e = container_of(wait, struct exec, wait);

	if (err) {
		operation_error(&e->operation, AGENT_ERROR_TIMEOUT,
				"the data connections did not come");
		exec_free(e);
	} else if (e->tty) {
		start_with_tty(e);
	} else {
		start_with(e, e->wait.fds);
	}
}

void exec_request(struct session *s, const struct request *request)
{
	struct exec *e = exec_new(session_agent(s));
	const char *wrong;

	if (!e) {
		session_error(s, request, AGENT_ERROR_LIMIT, "too many programs run");
		return;
	}
	wrong = read_request(e, request->body);
	if (wrong)
		session_bad(s, request, wrong);
	if (wrong || !read_user(e, s, request)) {
		exec_free(e);
		return;
	}
	e->env = environ_new(e->given, &e->user, e->tty ? e->term : NULL);
	if (!e->env) {
		session_errno(s, request, ENOMEM, "%s", e->argv[0]);
		exec_free(e);
		return;
	}
	operation_start(&e->operation, s, request, orphaned);
	if (e->piped)
		start_piped(e);
	else if (stream_wait_start(e->agent, &e->wait, e->token, e->n_streams, streams_came)) {
		operation_error(&e->operation, AGENT_ERROR_EXISTS, "the token is in use");
		exec_free(e);
	}
}

/* --- to a running one -------------------------------------------------------------------------------------- */

/* The program of this session that the request's "pid" names.  An error has been answered when NULL. */
static struct exec *find(struct session *s, const struct request *request)
{
	int64_t pid;

	if (json_int(json_get(request->body, "pid"), 1, INT_MAX, &pid)) {
		session_bad(s, request, "pid");
		return NULL;
	}
	list_each(&session_agent(s)->execs, it) {
		struct exec *e = container_of(it, struct exec, link);

		if (e->operation.session == s && e->child.pid == pid && !e->ended)
			return e;
	}
	session_error(s, request, AGENT_ERROR_NOT_FOUND, "no program of this connection has PID %d",
		      (int)pid);
	return NULL;
}

static int read_signal(struct json value)
{
	char name[16];
	int64_t number;

	if (json_int(value, 1, 64, &number) == 0)
		return (int)number;
	return json_string(value, name, sizeof(name)) < 0 ? -1 : signal_find(name);
}

void exec_signal_request(struct session *s, const struct request *request)
{
	struct exec *e = find(s, request);
	int signal = read_signal(json_get(request->body, "signal"));
	int err;

	if (!e)
		return;
	if (signal < 0) {
		session_bad(s, request, "signal");
		return;
	}
	err = signal_group(e, signal);
	if (err)
		session_errno(s, request, -err, "PID %d", (int)e->child.pid);
	else
		session_ok(s, request);
}

void exec_winsize_request(struct session *s, const struct request *request)
{
	struct exec *e = find(s, request);
	struct tty_size size;

	if (!e)
		return;
	if (tty_size_read(request->body, &size))
		session_bad(s, request, "rows\", \"cols");
	else if (!e->relay)
		session_error(s, request, AGENT_ERROR_BAD_REQUEST, "PID %d has no terminal",
			      (int)e->child.pid);
	else {
		tty_resize(e->relay->ends[0].source.fd, &size);
		session_ok(s, request);
	}
}
