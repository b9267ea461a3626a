/* SPDX-License-Identifier: MIT */
/* EXEC, SIGNAL, WINSIZE: programs of the host in the agent's hands. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/protocol.h"
#include "agent_peer.h"

#define OUT_MAX (4 << 20)

static int setup(void **state)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	peer_start(peer, NULL);
	*state = peer;
	return 0;
}

static int teardown(void **state)
{
	struct peer *peer = *state;

	peer_stop(peer);
	free(peer);
	return 0;
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value;

	assert_true(json_object_object_get_ex(o, key, &value));
	return value;
}

static int number(struct json_object *o, const char *key)
{
	return json_object_get_int(member(o, key));
}

/* --- a program and its connections ------------------------------------------------------------------------- */

struct program {
	int control;
	int fd[3]; /* data connections, in the order of "streams" */
	uint32_t asked;
	pid_t pid;
	char *out[3]; /* what came on each, with a NUL */
	size_t len[3];
	int code, signal; /* -1: not this */
	bool left;
};

/* Ask for it, with N streams in JSON and MORE members ("", or ", \"env\": …"). */
static void ask(struct peer *peer, struct program *p, const char *argv, const char *streams,
		unsigned n, const char *more)
{
	const char *token = peer_token();

	*p = (struct program){ .control = peer_control(peer), .code = -1, .signal = -1 };
	for (unsigned i = 0; i < 3; i++)
		p->fd[i] = i < n ? peer_attach(peer, token, i) : -1;
	p->asked = peer_ask(p->control, AGENT_EXEC,
			    "{\"argv\": %s, \"streams\": %s, \"token\": \"%s\"%s}", argv, streams,
			    token, more);
}

static void started(struct program *p)
{
	struct json_object *body = peer_answer(p->control, p->asked, AGENT_EXEC, NULL);

	p->pid = number(body, "pid");
	assert_true(p->pid > 1);
	json_object_put(body);
}

/* Until TEXT has come. */
static void expect(struct program *p, const char *text)
{
	if (!p->out[0])
		p->out[0] = calloc(1, OUT_MAX + 1);
	while (!strstr(p->out[0], text)) {
		struct pollfd wait = { .fd = p->fd[0], .events = POLLIN };
		ssize_t n;

		if (poll(&wait, 1, PEER_MS) != 1)
			fail_msg("no \"%s\" in: %s", text, p->out[0]);
		n = recv(p->fd[0], p->out[0] + p->len[0], OUT_MAX - p->len[0], 0);
		if (n <= 0)
			fail_msg("no \"%s\" until the end of: %s", text, p->out[0]);
		p->len[0] += (size_t)n;
	}
}

/* All that comes on a stream until its end. */
static void drain(struct program *p, unsigned i)
{
	ssize_t n = 1;

	if (!p->out[i])
		p->out[i] = malloc(OUT_MAX + 1);
	while (n > 0) {
		struct pollfd wait = { .fd = p->fd[i], .events = POLLIN };

		assert_int_equal(poll(&wait, 1, PEER_MS), 1);
		n = recv(p->fd[i], p->out[i] + p->len[i], OUT_MAX - p->len[i], 0);
		p->len[i] += n > 0 ? (size_t)n : 0;
	}
	p->out[i][p->len[i]] = '\0';
}

static void ended(struct program *p)
{
	struct agent_header header;
	struct json_object *body = peer_next(p->control, &header), *value;

	assert_non_null(body);
	assert_int_equal(header.type, AGENT_EXIT);
	assert_int_equal(header.step, 3);
	assert_int_equal(header.transaction, p->asked);
	assert_int_equal(number(body, "pid"), p->pid);
	if (json_object_object_get_ex(body, "code", &value))
		p->code = json_object_get_int(value);
	if (json_object_object_get_ex(body, "signal", &value))
		p->signal = json_object_get_int(value);
	p->left = json_object_object_get_ex(body, "left", &value);
	json_object_put(body);
}

static void forget(struct program *p)
{
	for (unsigned i = 0; i < 3; i++) {
		if (p->fd[i] >= 0)
			close(p->fd[i]);
		free(p->out[i]);
	}
	if (p->control >= 0)
		close(p->control);
}

/* From beginning to end, with INPUT on a stdin that is stream 0, stdout 1, stderr 2. */
static void run(struct peer *peer, struct program *p, const char *argv, const char *input,
		const char *more)
{
	ask(peer, p, argv, "[\"stdin\", \"stdout\", \"stderr\"]", 3, more);
	started(p);
	if (*input)
		assert_int_equal(send(p->fd[0], input, strlen(input), MSG_NOSIGNAL), strlen(input));
	shutdown(p->fd[0], SHUT_WR);
	drain(p, 1);
	drain(p, 2);
	ended(p);
}

static void assert_gone(pid_t pid)
{
	const struct timespec t = { .tv_nsec = 10000000 };

	for (int i = 0; i < PEER_MS / 10 && kill(pid, 0) == 0; i++)
		nanosleep(&t, NULL);
	assert_int_equal(kill(pid, 0), -1);
}

/* --- plain programs ---------------------------------------------------------------------------------------- */

static void streams_are_the_programs_own(void **state)
{
	struct program p;

	run(*state, &p, "[\"sh\", \"-c\", \"cat; echo wrong >&2; exit 7\"]", "hello", "");
	assert_string_equal(p.out[1], "hello");
	assert_string_equal(p.out[2], "wrong\n");
	assert_int_equal(p.code, 7);
	assert_false(p.left);
	forget(&p);
}

static void what_is_not_named_is_null(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"read x; echo $? >&2; echo lost\"]", "[\"stderr\"]", 1,
	    "");
	started(&p);
	drain(&p, 0);
	ended(&p);
	assert_string_equal(p.out[0], "1\n");
	assert_int_equal(p.code, 0);
	forget(&p);
	ask(*state, &p, "[\"true\"]", "[]", 0, "");
	started(&p);
	ended(&p);
	assert_int_equal(p.code, 0);
	forget(&p);
}

static void streams_can_be_joined(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"echo 1; echo 2 >&2; echo 3\"]", "[\"output\"]", 1, "");
	started(&p);
	drain(&p, 0);
	ended(&p);
	assert_string_equal(p.out[0], "1\n2\n3\n");
	forget(&p);
	ask(*state, &p, "[\"sh\", \"-c\", \"read x; echo $x; echo e >&2\"]", "[\"stdio\"]", 1, "");
	started(&p);
	assert_int_equal(send(p.fd[0], "in\n", 3, MSG_NOSIGNAL), 3);
	drain(&p, 0);
	ended(&p);
	assert_string_equal(p.out[0], "in\ne\n");
	forget(&p);
}

static void all_output_comes(void **state)
{
	struct program p;

	run(*state, &p, "[\"sh\", \"-c\", \"head -c 3000000 /dev/zero | tr '\\\\000' x\"]", "", "");
	assert_int_equal(p.len[1], 3000000);
	assert_int_equal(strspn(p.out[1], "x"), 3000000);
	forget(&p);
}

static void streams_may_come_later(void **state)
{
	struct program p = { .control = peer_control(*state), .fd = { -1, -1, -1 }, .code = -1 };
	const char *token = peer_token();

	p.asked = peer_ask(p.control, AGENT_EXEC,
			   "{\"argv\": [\"cat\"], \"streams\": [\"stdin\", \"stdout\"], "
			   "\"token\": \"%s\"}",
			   token);
	p.fd[1] = peer_attach(*state, token, 1);
	p.fd[0] = peer_attach(*state, token, 0);
	started(&p);
	assert_int_equal(send(p.fd[0], "late", 4, MSG_NOSIGNAL), 4);
	shutdown(p.fd[0], SHUT_WR);
	drain(&p, 1);
	ended(&p);
	assert_string_equal(p.out[1], "late");
	forget(&p);
}

/* One that exists twice, and one that nobody asked for. */
static void a_stream_too_much_is_closed(void **state)
{
	struct program p = { .control = peer_control(*state), .fd = { -1, -1, -1 } };
	const char *token = peer_token();
	int again, beyond;
	char c;

	p.asked = peer_ask(p.control, AGENT_EXEC,
			   "{\"argv\": [\"cat\"], \"streams\": [\"stdin\", \"stdout\"], "
			   "\"token\": \"%s\"}",
			   token);
	peer_expect(p.control, peer_ask(p.control, AGENT_PING, "{}"), AGENT_PING, NULL);
	p.fd[0] = peer_attach(*state, token, 0);
	again = peer_attach(*state, token, 0);
	assert_int_equal(recv(again, &c, 1, 0), 0);
	beyond = peer_attach(*state, token, 2);
	assert_int_equal(recv(beyond, &c, 1, 0), 0);
	p.fd[1] = peer_attach(*state, token, 1);
	started(&p);
	shutdown(p.fd[0], SHUT_WR);
	ended(&p);
	close(again);
	close(beyond);
	forget(&p);
}

static uint32_t ask_stdin(int fd, const char *token)
{
	return peer_ask(fd, AGENT_EXEC,
			"{\"argv\": [\"true\"], \"streams\": [\"stdin\"], \"token\": \"%s\"}",
			token);
}

static void a_token_is_for_one(void **state)
{
	int fd = peer_control(*state);
	const char *token = peer_token();

	ask_stdin(fd, token);
	peer_expect(fd, ask_stdin(fd, token), 0, "exists");
	close(fd);
}

static void environment_and_directory(void **state)
{
	struct peer *peer = *state;
	struct program p;
	char more[256];

	snprintf(more, sizeof(more),
		 ", \"env\": [\"A=b c\", \"E=\", \"HOME=/nowhere\"], \"cwd\": \"%s\"",
		 peer->tmp.path);
	run(peer, &p,
	    "[\"sh\", \"-c\", \"echo $A,$E,$HOME,${PATH:+path},${USER:+user},${SHELL:+shell},$TERM; pwd\"]",
	    "", more);
	assert_non_null(strstr(p.out[1], "b c,,/nowhere,path,user,shell,\n"));
	assert_non_null(strstr(p.out[1], peer->tmp.path));
	forget(&p);
}

static void arguments_come_as_they_are(void **state)
{
	struct program p;

	run(*state, &p,
	    "[\"printf\", \"%s|\", \"a b\", \"\", \"\\\"$HOME\\\\\", \"\\u00e9\\n\", \"*\"]", "",
	    "");
	assert_string_equal(p.out[1], "a b||\"$HOME\\|\xc3\xa9\n|*|");
	forget(&p);
}

static void signals_are_as_usual(void **state)
{
	struct program p;

	run(*state, &p, "[\"sh\", \"-c\", \"grep -E '^Sig(Blk|Ign)' /proc/self/status\"]", "", "");
	assert_string_equal(p.out[1], "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	forget(&p);
	run(*state, &p, "[\"sh\", \"-c\", \"kill -SEGV $$\"]", "", "");
	assert_int_equal(p.signal, SIGSEGV);
	assert_int_equal(p.code, -1);
	forget(&p);
}

/* Three sockets: none of the agent's own, and none of another program's. */
static void no_descriptor_is_left_open(void **state)
{
	struct program p, other;

	ask(*state, &other, "[\"sleep\", \"60\"]", "[\"stdin\", \"output\"]", 2, "");
	started(&other);
	run(*state, &p,
	    "[\"sh\", \"-c\", \"for f in /proc/$$/fd/*; do readlink $f; done | cut -d: -f1 | sort | uniq -c\"]",
	    "", "");
	assert_non_null(strstr(p.out[1], "3 socket\n"));
	assert_null(strstr(p.out[1], "anon_inode"));
	forget(&p);
	forget(&other);
}

static void who_is_left_behind_is_told(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"sleep 60 & echo $!\"]", "[\"stdout\"]", 1, "");
	started(&p);
	ended(&p);
	assert_true(p.left);
	assert_int_equal(p.code, 0);
	assert_int_equal(kill(-p.pid, 0), 0);
	kill(-p.pid, SIGKILL);
	drain(&p, 0);
	forget(&p);
}

/* --- what cannot be run ------------------------------------------------------------------------------------ */

static void refusals_say_why(void **state)
{
	static const struct {
		const char *members, *code;
	} cases[] = {
		{ "\"argv\": [\"no-such-program\"]", "not-found" },
		{ "\"argv\": [\"/no/such/program\"]", "not-found" },
		{ "\"argv\": [\"\"]", "not-found" },
		{ "\"argv\": [\"/etc/passwd\"]", "not-executable" },
		{ "\"argv\": [\"/\"]", "not-executable" },
		{ "\"argv\": [\"true\"], \"cwd\": \"/no/such\"", "not-found" },
		{ "\"argv\": [\"true\"], \"user\": \"no-such-user\"", "not-found" },
		{ "\"argv\": [\"true\"], \"distro\": \"no-such-distro\"", "not-found" },
		{ "\"argv\": [\"true\"], \"env\": [\"PATH=/nowhere\"]", "not-found" },
		{ "\"a\": 1", "bad-request" },
		{ "\"argv\": []", "bad-request" },
		{ "\"argv\": \"true\"", "bad-request" },
		{ "\"argv\": [1]", "bad-request" },
		{ "\"argv\": [\"a\\u0000b\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"env\": [\"A\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"env\": [\"=a\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"cwd\": 1", "bad-request" },
		{ "\"argv\": [\"true\"], \"user\": 1", "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": \"stdin\"", "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"stdio\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"stdout\", \"output\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"tty\"]", "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"stdin\"], \"token\": \"12\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"in\"], \"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"stdin\", \"stdin\"], \"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"stdout\", \"output\"], \"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"streams\": [\"tty\"], \"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"tty\": {\"rows\": 1, \"cols\": 1}", "bad-request" },
		{ "\"argv\": [\"true\"], \"tty\": {\"rows\": 0, \"cols\": 1}, \"streams\": [\"tty\"], "
		  "\"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
		{ "\"argv\": [\"true\"], \"tty\": {\"rows\": 1, \"cols\": 65536}, \"streams\": [\"tty\"], "
		  "\"token\": \"00112233445566778899aabbccddeeff\"",
		  "bad-request" },
	};
	int fd = peer_control(*state);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t asked = peer_ask(fd, AGENT_EXEC, "{%s}", cases[i].members);

		peer_expect(fd, asked, 0, cases[i].code);
	}
	close(fd);
}

/* N arguments in all. */
static uint32_t ask_arguments(int fd, unsigned n)
{
	char *body = malloc(8 * n + 64), *p = stpcpy(body, "{\"argv\": [\"true\"");
	uint32_t asked;

	for (unsigned i = 1; i < n; i++)
		p = stpcpy(p, ",\"x\"");
	strcpy(p, "]}");
	asked = peer_ask(fd, AGENT_EXEC, "%s", body);
	free(body);
	return asked;
}

static void arguments_have_a_limit(void **state)
{
	int fd = peer_control(*state);
	uint32_t asked = ask_arguments(fd, AGENT_MAX_ARGS);

	peer_expect(fd, asked, AGENT_EXEC, NULL);
	peer_expect(fd, asked, AGENT_EXIT, NULL);
	peer_expect(fd, ask_arguments(fd, AGENT_MAX_ARGS + 1), 0, "bad-request");
	close(fd);
}

static void programs_have_a_limit(void **state)
{
	int fd = peer_control(*state);
	uint32_t asked;

	for (unsigned i = 0; i < AGENT_MAX_EXECS; i++)
		peer_expect(fd, peer_ask(fd, AGENT_EXEC, "{\"argv\": [\"sleep\", \"60\"]}"),
			    AGENT_EXEC, NULL);
	peer_expect(fd, peer_ask(fd, AGENT_EXEC, "{\"argv\": [\"true\"]}"), 0, "limit");
	close(fd); /* they all end, and there is room again */
	fd = peer_control(*state);
	for (int i = 0; i < 1000; i++) {
		struct json_object *body;
		uint32_t type, transaction;

		asked = peer_ask(fd, AGENT_EXEC, "{\"argv\": [\"true\"]}");
		body = peer_read(fd, &type, &transaction);
		json_object_put(body);
		if (type == AGENT_EXEC) {
			peer_expect(fd, asked, AGENT_EXIT, NULL);
			close(fd);
			return;
		}
		usleep(10000);
	}
	fail_msg("there is no room");
}

/* --- signals ----------------------------------------------------------------------------------------------- */

static void ask_signal(struct program *p, const char *signal, const char *code)
{
	uint32_t asked =
		peer_ask(p->control, AGENT_SIGNAL, "{\"pid\": %d, \"signal\": %s}", p->pid, signal);

	peer_expect(p->control, asked, AGENT_SIGNAL, code);
}

static void signals_reach_the_group(void **state)
{
	struct program p;

	/* A shell that is just starting its program may lose an interrupt: it comes when the program has spoken. */
	ask(*state, &p, "[\"sh\", \"-c\", \"tail -n 1 -f /etc/passwd; echo not reached\"]",
	    "[\"output\"]", 1, "");
	started(&p);
	expect(&p, "\n");
	ask_signal(&p, "\"INT\"", NULL);
	ended(&p);
	assert_int_equal(p.signal, SIGINT);
	drain(&p, 0); /* also tail has let go of it */
	assert_null(strstr(p.out[0], "not reached"));
	forget(&p);
	ask(*state, &p, "[\"sleep\", \"60\"]", "[\"output\"]", 1, "");
	started(&p);
	ask_signal(&p, "15", NULL);
	ended(&p);
	assert_int_equal(p.signal, SIGTERM);
	forget(&p);
}

static void signals_are_for_ones_own(void **state)
{
	struct program p, other;

	ask(*state, &p, "[\"sleep\", \"60\"]", "[\"output\"]", 1, "");
	started(&p);
	other = p;
	other.control = peer_control(*state);
	ask_signal(&other, "\"KILL\"", "not-found");
	ask_signal(&p, "\"NOSUCH\"", "bad-request");
	ask_signal(&p, "0", "bad-request");
	ask_signal(&p, "65", "bad-request");
	other.control = p.control;
	other.pid = 1;
	ask_signal(&other, "\"KILL\"", "not-found");
	other.pid = -1;
	ask_signal(&other, "\"KILL\"", "bad-request");
	ask_signal(&p, "\"SIGKILL\"", NULL);
	ended(&p);
	assert_int_equal(p.signal, SIGKILL);
	ask_signal(&p, "\"TERM\"", "not-found");
	forget(&p);
}

static void they_die_with_their_connection(void **state)
{
	struct program p;
	char line[32] = "";

	ask(*state, &p, "[\"sh\", \"-c\", \"trap '' HUP TERM; sleep 61 & echo $!; wait\"]",
	    "[\"stdout\"]", 1, "");
	started(&p);
	assert_true(recv(p.fd[0], line, sizeof(line) - 1, 0) > 0);
	close(p.control);
	p.control = -1;
	assert_gone(p.pid);
	assert_gone(atoi(line));
	forget(&p);
}

/* It is not even started then. */
static void a_request_dies_with_its_connection(void **state)
{
	struct program p;
	const char *token = peer_token();
	int fd = peer_control(*state), data;
	char c;

	peer_ask(fd, AGENT_EXEC,
		 "{\"argv\": [\"true\"], \"streams\": [\"stdin\", \"stdout\"], \"token\": \"%s\"}",
		 token);
	data = peer_attach(*state, token, 0);
	peer_expect(fd, peer_ask(fd, AGENT_PING, "{}"), AGENT_PING, NULL);
	close(fd);
	assert_int_equal(recv(data, &c, 1, 0), 0);
	close(data);
	run(*state, &p, "[\"true\"]", "", "");
	forget(&p);
}

/* --- terminals --------------------------------------------------------------------------------------------- */

#define TTY ", \"tty\": {\"rows\": 33, \"cols\": 99, \"term\": \"xterm\"}"

static void type(struct program *p, const char *text)
{
	assert_int_equal(send(p->fd[0], text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void a_terminal_is_one(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"tty; stty size; echo $TERM; read x; echo got $x\"]",
	    "[\"tty\"]", 1, TTY);
	started(&p);
	expect(&p, "/dev/pts/");
	expect(&p, "33 99\r\nxterm\r\n");
	type(&p, "line\n");
	expect(&p, "got line\r\n");
	ended(&p);
	assert_int_equal(p.code, 0);
	forget(&p);
}

static void a_terminal_controls_jobs(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-i\"]", "[\"tty\"]", 1,
	    TTY ", \"env\": [\"PS1=> \", \"ENV=\", \"HISTFILE=\"]");
	started(&p);
	expect(&p, "> ");
	/* What is typed is echoed: the words that are waited for are not in it. */
	type(&p,
	     "sh -c 'trap \"printf caugh%s t; exit\" INT; printf read%s y; while :; do sleep 0.1; done'\n");
	expect(&p, "ready");
	type(&p, "\x03");
	expect(&p, "caught");
	expect(&p, "> ");
	type(&p, "sleep 1001 & jobs; kill -9 %1; stty -echo; echo do''ne\n");
	expect(&p, "sleep 1001");
	expect(&p, "done");
	type(&p, "exit 5\n");
	drain(&p, 0);
	ended(&p);
	assert_int_equal(p.code, 5);
	forget(&p);
}

static void a_terminal_can_be_resized(void **state)
{
	struct program p;
	uint32_t asked;

	ask(*state, &p,
	    "[\"sh\", \"-c\", \"trap 'stty size; exit' WINCH; echo set; while :; do sleep 0.1; done\"]",
	    "[\"tty\"]", 1, TTY);
	started(&p);
	expect(&p, "set");
	asked = peer_ask(p.control, AGENT_WINSIZE, "{\"pid\": %d, \"rows\": 50, \"cols\": 132}",
			 p.pid);
	peer_expect(p.control, asked, AGENT_WINSIZE, NULL);
	expect(&p, "50 132");
	ended(&p);
	asked = peer_ask(p.control, AGENT_WINSIZE, "{\"pid\": %d, \"rows\": 50, \"cols\": 132}",
			 p.pid);
	peer_expect(p.control, asked, AGENT_WINSIZE, "not-found");
	forget(&p);
	ask(*state, &p, "[\"sleep\", \"60\"]", "[\"stdin\"]", 1, "");
	started(&p);
	asked = peer_ask(p.control, AGENT_WINSIZE, "{\"pid\": %d, \"rows\": 50, \"cols\": 132}",
			 p.pid);
	peer_expect(p.control, asked, AGENT_WINSIZE, "bad-request");
	forget(&p);
}

static void a_half_close_is_the_terminals_end_of_file(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"cat; echo after\"]", "[\"tty\"]", 1, TTY);
	started(&p);
	type(&p, "text\n");
	expect(&p, "text\r\ntext\r\n");
	shutdown(p.fd[0], SHUT_WR);
	drain(&p, 0);
	ended(&p);
	assert_int_equal(p.code, 0);
	forget(&p);
}

static void exit_comes_after_all_output_of_a_terminal(void **state)
{
	struct program p;
	struct pollfd none = { .events = POLLIN };

	ask(*state, &p,
	    "[\"sh\", \"-c\", \"stty -opost; head -c 1000000 /dev/zero | tr '\\\\000' y\"]",
	    "[\"tty\"]", 1, TTY);
	started(&p);
	none.fd = p.control;
	assert_int_equal(poll(&none, 1, 300), 0); /* nobody reads the terminal yet */
	drain(&p, 0);
	ended(&p);
	assert_int_equal(p.len[0], 1000000);
	forget(&p);
}

static void a_terminal_hangs_up_with_its_connection(void **state)
{
	struct program p;

	ask(*state, &p, "[\"sh\", \"-c\", \"echo here; sleep 62\"]", "[\"tty\"]", 1, TTY);
	started(&p);
	expect(&p, "here");
	close(p.fd[0]);
	p.fd[0] = -1;
	ended(&p);
	assert_int_equal(p.signal, SIGHUP);
	forget(&p);
}

#define AGENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(streams_are_the_programs_own),
		AGENT_TEST(what_is_not_named_is_null),
		AGENT_TEST(streams_can_be_joined),
		AGENT_TEST(all_output_comes),
		AGENT_TEST(streams_may_come_later),
		AGENT_TEST(a_stream_too_much_is_closed),
		AGENT_TEST(a_token_is_for_one),
		AGENT_TEST(environment_and_directory),
		AGENT_TEST(arguments_come_as_they_are),
		AGENT_TEST(signals_are_as_usual),
		AGENT_TEST(no_descriptor_is_left_open),
		AGENT_TEST(who_is_left_behind_is_told),
		AGENT_TEST(refusals_say_why),
		AGENT_TEST(arguments_have_a_limit),
		AGENT_TEST(programs_have_a_limit),
		AGENT_TEST(signals_reach_the_group),
		AGENT_TEST(signals_are_for_ones_own),
		AGENT_TEST(they_die_with_their_connection),
		AGENT_TEST(a_request_dies_with_its_connection),
		AGENT_TEST(a_terminal_is_one),
		AGENT_TEST(a_terminal_controls_jobs),
		AGENT_TEST(a_terminal_can_be_resized),
		AGENT_TEST(a_half_close_is_the_terminals_end_of_file),
		AGENT_TEST(exit_comes_after_all_output_of_a_terminal),
		AGENT_TEST(a_terminal_hangs_up_with_its_connection),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
