/* SPDX-License-Identifier: MIT */
/* Streams of programs over their control connection: BYTES, GRANT and CLOSE, word by word. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/protocol.h"
#include "agent_peer.h"

#define STREAMS 3

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

/* --- a program --------------------------------------------------------------------------------------------- */

struct program {
	int control;
	uint32_t transaction;
	int pid;
	char *out[STREAMS]; /* with a NUL */
	size_t len[STREAMS];
	bool closed[STREAMS];
	uint32_t granted[STREAMS];
	bool exited, left;
	int code, signal; /* -1: not this */
	unsigned others;  /* answers to other requests */
};

static void begin_on(int control, struct program *p, const char *script, const char *streams)
{
	*p = (struct program){ .control = control, .code = -1, .signal = -1 };
	p->transaction = peer_ask(control, AGENT_EXEC,
				  "{\"argv\": [\"sh\", \"-c\", \"%s\"], \"streams\": [%s]}", script,
				  streams);
}

static void begin(void **state, struct program *p, const char *script, const char *streams)
{
	begin_on(peer_control(*state), p, script, streams);
}

static void done(struct program *p)
{
	close(p->control);
	for (unsigned i = 0; i < STREAMS; i++)
		free(p->out[i]);
}

static void send_piece(struct program *p, struct agent_piece piece)
{
	uint8_t head[AGENT_PIECE_HEAD];
	size_t n = agent_piece_put(head, p->transaction, &piece);

	assert_int_equal(send(p->control, head, n, MSG_NOSIGNAL), n);
	if (piece.len)
		assert_int_equal(send(p->control, piece.bytes, piece.len, MSG_NOSIGNAL), piece.len);
}

static void say(struct program *p, uint32_t stream, const char *text)
{
	send_piece(p, (struct agent_piece){ .type = AGENT_BYTES,
					    .stream = stream,
					    .bytes = (const uint8_t *)text,
					    .len = strlen(text) });
}

static void end(struct program *p, uint32_t stream)
{
	send_piece(p, (struct agent_piece){ .type = AGENT_CLOSE, .stream = stream });
}

static void grant(struct program *p, uint32_t stream, uint32_t n)
{
	send_piece(p, (struct agent_piece){ .type = AGENT_GRANT, .stream = stream, .granted = n });
}

/* Less than MS of silence, or the end: false. */
static bool receive(int fd, void *data, size_t len, int ms)
{
	uint8_t *at = data;

	while (len > 0) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&wait, 1, ms) == 1 ? recv(fd, at, len, 0) : 0;

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static void take_piece(struct program *p, const struct agent_header *h, const uint8_t *body)
{
	struct agent_piece piece;
	size_t *len;

	assert_int_equal(agent_piece_get(h, body, &piece), 0);
	assert_int_equal(h->transaction, p->transaction);
	assert_in_range(piece.stream, 0, STREAMS - 1);
	assert_false(p->closed[piece.stream]);
	len = &p->len[piece.stream];
	p->closed[piece.stream] = piece.type == AGENT_CLOSE;
	p->granted[piece.stream] += piece.granted;
	if (piece.type != AGENT_BYTES)
		return;
	p->out[piece.stream] = realloc(p->out[piece.stream], *len + piece.len + 1);
	memcpy(p->out[piece.stream] + *len, piece.bytes, piece.len);
	*len += piece.len;
	p->out[piece.stream][*len] = '\0';
}

static int number(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_int(value) : -1;
}

static void take_answer(struct program *p, const struct agent_header *h, const char *text)
{
	struct json_object *body = json_tokener_parse(*text ? text : "{}");

	if (h->transaction != p->transaction) {
		p->others++;
	} else if (h->type == AGENT_EXIT) {
		assert_false(p->exited);
		p->exited = true;
		p->code = number(body, "code");
		p->signal = number(body, "signal");
		p->left = number(body, "left") == 1;
	} else {
		assert_int_equal(h->type, AGENT_EXEC);
		p->pid = number(body, "pid");
	}
	json_object_put(body);
}

/* One message; false: MS of silence, or the agent has hung up. */
static bool take(struct program *p, int ms)
{
	uint8_t bytes[AGENT_HEADER_SIZE];
	static uint8_t body[AGENT_MESSAGE_MAX];
	struct agent_header h;

	if (!receive(p->control, bytes, sizeof(bytes), ms))
		return false;
	agent_header_get(bytes, &h);
	assert_int_equal(agent_header_check(&h, AGENT_CONTROL), 0);
	assert_true(receive(p->control, body, h.size - AGENT_HEADER_SIZE, PEER_MS));
	body[h.size - AGENT_HEADER_SIZE] = '\0';
	if (h.type == AGENT_BYTES || h.type == AGENT_GRANT || h.type == AGENT_CLOSE)
		take_piece(p, &h, body);
	else
		take_answer(p, &h, (char *)body);
	return true;
}

static void until_exit(struct program *p)
{
	while (!p->exited)
		assert_true(take(p, PEER_MS));
}

static void until_closed(struct program *p, unsigned stream)
{
	while (!p->closed[stream])
		assert_true(take(p, PEER_MS));
}

static void until_len(struct program *p, unsigned stream, size_t len)
{
	while (p->len[stream] < len)
		assert_true(take(p, PEER_MS));
}

/* The agent hangs up, within PEER_MS; what it says before that is taken. */
static void assert_hung_up(struct program *p)
{
	char c;

	while (take(p, PEER_MS))
		;
	assert_int_equal(recv(p->control, &c, 1, MSG_DONTWAIT), 0);
}

/* --- what they say ----------------------------------------------------------------------------------------- */

static void everything_comes_before_exit(void **state)
{
	struct program p;

	begin(state, &p, "echo out; echo err >&2; exit 3", "\"stdout\", \"stderr\"");
	until_exit(&p);
	assert_true(p.closed[0] && p.closed[1]);
	assert_string_equal(p.out[0], "out\n");
	assert_string_equal(p.out[1], "err\n");
	assert_int_equal(p.code, 3);
	assert_false(p.left);
	done(&p);
}

static void one_stream_for_both_keeps_the_order(void **state)
{
	struct program p;

	begin(state, &p, "for i in 1 2 3; do echo o$i; echo e$i >&2; done", "\"output\"");
	until_exit(&p);
	assert_string_equal(p.out[0], "o1\ne1\no2\ne2\no3\ne3\n");
	done(&p);
}

/* A pipe has a name that can be opened: /dev/stdout of a socket has none. */
static void they_can_be_opened_by_name(void **state)
{
	struct program p;

	begin(state, &p, "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin",
	      "\"stdout\", \"stderr\", \"stdin\"");
	say(&p, 2, "in\n");
	end(&p, 2);
	until_exit(&p);
	assert_string_equal(p.out[0], "out\nin\n");
	assert_string_equal(p.out[1], "err\n");
	assert_int_equal(p.code, 0);
	done(&p);
}

static void input_may_follow_the_request_at_once(void **state)
{
	struct program p;

	begin(state, &p, "read x; echo got $x; cat", "\"stdin\", \"stdout\"");
	say(&p, 0, "one\ntwo\n");
	until_len(&p, 1, 12);
	say(&p, 0, "three\n");
	until_len(&p, 1, 18);
	assert_string_equal(p.out[1], "got one\ntwo\nthree\n");
	assert_false(p.exited);
	end(&p, 0);
	until_exit(&p);
	assert_int_equal(p.code, 0);
	done(&p);
}

static void two_programs_share_a_connection(void **state)
{
	struct program a, b;
	int fd = peer_control(*state);

	begin_on(fd, &a, "exec sleep 60", "\"stdout\"");
	while (!a.pid)
		assert_true(take(&a, PEER_MS));
	begin_on(fd, &b, "echo b", "\"stdout\"");
	until_exit(&b);
	assert_string_equal(b.out[0], "b\n");
	peer_ask(fd, AGENT_SIGNAL, "{\"pid\": %d, \"signal\": \"TERM\"}", a.pid);
	until_exit(&a);
	assert_int_equal(a.signal, SIGTERM);
	assert_int_equal(a.others, 1);
	free(b.out[0]);
	done(&a);
}

/* --- windows ----------------------------------------------------------------------------------------------- */

/* Nobody grants: no more than the window comes, and requests are answered as ever. */
static void a_slow_reader_holds_up_nothing_else(void **state)
{
	struct program p;

	begin(state, &p, "exec yes", "\"stdout\"");
	until_len(&p, 0, AGENT_WINDOW);
	assert_false(take(&p, 200));
	assert_int_equal(p.len[0], AGENT_WINDOW);
	peer_ask(p.control, AGENT_PING, "{}");
	assert_true(take(&p, PEER_MS));
	assert_int_equal(p.others, 1);
	grant(&p, 0, 1000);
	until_len(&p, 0, AGENT_WINDOW + 1000);
	assert_false(take(&p, 200));
	assert_int_equal(p.len[0], AGENT_WINDOW + 1000);
	peer_ask(p.control, AGENT_SIGNAL, "{\"pid\": %d, \"signal\": 9}", p.pid);
	until_exit(&p);
	assert_int_equal(p.signal, SIGKILL);
	done(&p);
}

/* EXIT does not wait for who reads slowly; the rest follows it. */
static void exit_passes_what_is_not_granted(void **state)
{
	const size_t size = AGENT_WINDOW + 100000;
	struct program p;

	begin(state, &p, "head -c 362144 /dev/zero", "\"stdout\"");
	until_exit(&p);
	assert_in_range(p.len[0], 1, AGENT_WINDOW);
	assert_false(p.closed[0]);
	until_len(&p, 0, AGENT_WINDOW);
	grant(&p, 0, AGENT_WINDOW);
	until_closed(&p, 0);
	assert_int_equal(p.len[0], size);
	done(&p);
}

static void fill(struct program *p, uint32_t stream, size_t len)
{
	static const uint8_t bytes[AGENT_BYTES_MAX];

	while (len > 0) {
		size_t n = len < sizeof(bytes) ? len : sizeof(bytes);

		send_piece(p, (struct agent_piece){ .type = AGENT_BYTES,
						    .stream = stream,
						    .bytes = bytes,
						    .len = n });
		len -= n;
	}
}

/* What the program does not read is kept, and all of it arrives. */
static void input_is_kept(void **state)
{
	struct program p;

	begin(state, &p, "read x; wc -c", "\"stdin\", \"stdout\"");
	fill(&p, 0, AGENT_WINDOW - 1);
	say(&p, 0, "\n");
	end(&p, 0);
	until_exit(&p);
	assert_int_equal(atoi(p.out[1]), 0);
	done(&p);

	begin(state, &p, "sleep 0.2; wc -c", "\"stdin\", \"stdout\"");
	fill(&p, 0, AGENT_WINDOW);
	end(&p, 0);
	until_exit(&p);
	assert_int_equal(atoi(p.out[1]), AGENT_WINDOW);
	done(&p);
}

/* The pipe takes some, the agent keeps a window; what is beyond that was not granted. */
static void input_above_the_window_ends_it(void **state)
{
	struct program p;
	size_t sent = AGENT_WINDOW, granted;

	begin(state, &p, "exec sleep 60", "\"stdin\"");
	fill(&p, 0, AGENT_WINDOW);
	do {
		granted = p.granted[0];
		fill(&p, 0, AGENT_WINDOW + granted - sent);
		sent = AGENT_WINDOW + granted;
		while (take(&p, 200))
			;
	} while (p.granted[0] > granted);
	assert_true(granted > 0);
	peer_ask(p.control, AGENT_PING, "{}");
	while (!p.others)
		assert_true(take(&p, PEER_MS));
	say(&p, 0, "x");
	assert_hung_up(&p);
	done(&p);
}

/* --- ends -------------------------------------------------------------------------------------------------- */

static void a_refused_output_is_a_broken_pipe(void **state)
{
	struct program p;

	begin(state, &p, "exec yes", "\"stdout\"");
	until_len(&p, 0, 1);
	end(&p, 0);
	grant(&p, 0, 1000); /* crossed its CLOSE */
	until_exit(&p);
	assert_int_equal(p.signal, SIGPIPE);
	done(&p);
}

static void input_that_nobody_reads_is_told(void **state)
{
	struct program p;

	begin(state, &p, "exec <&-; echo deaf; exec sleep 60", "\"stdin\", \"stdout\"");
	until_len(&p, 1, 5);
	say(&p, 0, "x");
	until_closed(&p, 0);
	say(&p, 0, "y"); /* crossed it */
	end(&p, 0);
	peer_ask(p.control, AGENT_SIGNAL, "{\"pid\": %d, \"signal\": 15}", p.pid);
	until_exit(&p);
	assert_int_equal(p.signal, SIGTERM);
	done(&p);
}

static void who_is_left_behind_keeps_the_stream(void **state)
{
	struct program p;

	begin(state, &p, "(read x </dev/null; sleep 0.3; echo late; exec sleep 60) & echo started",
	      "\"stdout\"");
	until_exit(&p);
	assert_true(p.left);
	assert_false(p.closed[0]);
	until_len(&p, 0, 13);
	assert_string_equal(p.out[0], "started\nlate\n");
	done(&p);
}

static void programs_die_with_the_connection(void **state)
{
	struct program p;

	begin(state, &p, "echo $$; exec sleep 60", "\"stdout\"");
	until_len(&p, 0, 2);
	done(&p);
	for (unsigned i = 0; i < PEER_MS / 10 && kill(p.pid, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(p.pid, 0), -1);
}

/* --- against the rules ------------------------------------------------------------------------------------- */

static void rules_that_end_the_connection(void **state)
{
	static const struct agent_piece wrong[] = {
		{ .type = AGENT_BYTES, .stream = 1, .bytes = (const uint8_t *)"x", .len = 1 },
		{ .type = AGENT_BYTES, .stream = 2, .bytes = (const uint8_t *)"x", .len = 1 },
		{ .type = AGENT_BYTES, .stream = 0 },
		{ .type = AGENT_GRANT, .stream = 0, .granted = 1 },
		{ .type = AGENT_GRANT, .stream = 1, .granted = 0 },
		{ .type = AGENT_GRANT, .stream = 1, .granted = 1 },
		{ .type = AGENT_GRANT, .stream = 1, .granted = UINT32_MAX },
		{ .type = AGENT_CLOSE, .stream = 2 },
		{ .type = AGENT_CLOSE, .stream = UINT32_MAX },
	};
	struct program p;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		begin(state, &p, "exec sleep 60", "\"stdin\", \"stdout\"");
		while (!p.pid)
			assert_true(take(&p, PEER_MS));
		send_piece(&p, wrong[i]);
		assert_hung_up(&p);
		done(&p);
	}
	begin(state, &p, "exec sleep 60", "\"stdin\"");
	end(&p, 0);
	say(&p, 0, "after the end");
	assert_hung_up(&p);
	done(&p);
}

static void pieces_that_are_none_end_the_connection(void **state)
{
	static const struct agent_header wrong[] = {
		{ .type = AGENT_BYTES, .size = AGENT_HEADER_SIZE },
		{ .type = AGENT_BYTES, .size = AGENT_HEADER_SIZE + 3 },
		{ .type = AGENT_BYTES, .size = AGENT_HEADER_SIZE + 5, .step = 1 },
		{ .type = AGENT_GRANT, .size = AGENT_HEADER_SIZE + 4 },
		{ .type = AGENT_GRANT, .size = AGENT_HEADER_SIZE + 12 },
		{ .type = AGENT_CLOSE, .size = AGENT_HEADER_SIZE },
		{ .type = AGENT_CLOSE, .size = AGENT_HEADER_SIZE + 8 },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct program p = { .control = peer_control(*state) };
		uint8_t bytes[AGENT_HEADER_SIZE + 16] = { 0 };

		memset(bytes + AGENT_HEADER_SIZE, 1, 16);
		agent_header_put(bytes, &wrong[i]);
		assert_int_equal(send(p.control, bytes, wrong[i].size, MSG_NOSIGNAL),
				 wrong[i].size);
		assert_hung_up(&p);
		done(&p);
	}
}

/* Nobody is to blame for a piece that crossed the end of its program. */
static void pieces_of_nobody_are_dropped(void **state)
{
	struct program p;

	begin(state, &p, "true", "\"stdin\", \"stdout\"");
	until_exit(&p);
	say(&p, 0, "too late");
	grant(&p, 1, 5);
	end(&p, 0);
	p.transaction += 1000;
	say(&p, 7, "to nobody");
	peer_ask(p.control, AGENT_PING, "{}");
	while (!p.others)
		assert_true(take(&p, PEER_MS));
	done(&p);
}

#define AGENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(everything_comes_before_exit),
		AGENT_TEST(one_stream_for_both_keeps_the_order),
		AGENT_TEST(they_can_be_opened_by_name),
		AGENT_TEST(input_may_follow_the_request_at_once),
		AGENT_TEST(two_programs_share_a_connection),
		AGENT_TEST(a_slow_reader_holds_up_nothing_else),
		AGENT_TEST(exit_passes_what_is_not_granted),
		AGENT_TEST(input_is_kept),
		AGENT_TEST(input_above_the_window_ends_it),
		AGENT_TEST(a_refused_output_is_a_broken_pipe),
		AGENT_TEST(input_that_nobody_reads_is_told),
		AGENT_TEST(who_is_left_behind_keeps_the_stream),
		AGENT_TEST(programs_die_with_the_connection),
		AGENT_TEST(rules_that_end_the_connection),
		AGENT_TEST(pieces_that_are_none_end_the_connection),
		AGENT_TEST(pieces_of_nobody_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
