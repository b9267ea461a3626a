/* SPDX-License-Identifier: MIT */
/* The host's end of the agent's protocol against scripted agents, most of them hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "agent/client/link.h"
#include "agent/client/session.h"
#include "err.h"
#include "run/json.h"

static const struct link_address direct = { .path = "", .port = 0 };
static const struct link_address hybrid = { .path = "", .port = 50000 };

/* One request's fate, and the session's. */
struct fate {
	unsigned n_answers, n_errors;
	uint32_t last_type;
	int64_t value; /* "v" of the last answer */
	GError *error;
	struct agent_session *free_this; /* when an answer comes */
};

struct agent {
	struct agent_session *session;
	int fd; /* the agent's end */
	unsigned n_closed;
	GError *why;
};

static void on_closed(const GError *error, void *data)
{
	struct agent *a = data;

	a->n_closed++;
	a->why = g_error_copy(error);
}

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct fate *f = data;

	if (error) {
		f->n_errors++;
		g_clear_error(&f->error);
		f->error = g_error_copy(error);
	} else {
		f->n_answers++;
		f->last_type = type;
		f->value = json_int(body, "v", -1);
	}
	if (f->free_this)
		agent_session_free(g_steal_pointer(&f->free_this));
}

static void run_main(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

static void meet_by(struct agent *a, const struct link_address *address)
{
	int pair[2];

	*a = (struct agent){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	a->fd = pair[1];
	a->session = agent_session_adopt(pair[0], address, on_closed, a);
}

static void meet(struct agent *a)
{
	meet_by(a, &direct);
}

static void part(struct agent *a)
{
	agent_session_free(a->session);
	g_clear_error(&a->why);
	if (a->fd >= 0)
		close(a->fd);
	run_main();
}

static void say_bytes(struct agent *a, const void *bytes, size_t len)
{
	assert_int_equal(send(a->fd, bytes, len, MSG_NOSIGNAL), len);
	run_main();
}

static size_t put(uint8_t *out, uint32_t type, uint32_t transaction, uint32_t step,
		  const char *body)
{
	const struct agent_header h = {
		.type = type,
		.size = AGENT_HEADER_SIZE + (uint32_t)strlen(body),
		.transaction = transaction,
		.step = step,
	};

	agent_header_put(out, &h);
	memcpy(out + AGENT_HEADER_SIZE, body, strlen(body));
	return h.size;
}

static void say(struct agent *a, uint32_t type, uint32_t transaction, uint32_t step,
		const char *body)
{
	uint8_t message[4096];

	say_bytes(a, message, put(message, type, transaction, step, body));
}

#define HELLO "{\"version\":[1,1],\"agent\":\"x\",\"capabilities\":[\"exec\",\"wings\",7]}"

static void say_piece(struct agent *a, struct agent_piece piece)
{
	uint8_t message[AGENT_PIECE_HEAD + 64];
	size_t n = agent_piece_put(message, 2, &piece);

	if (piece.len)
		memcpy(message + n, piece.bytes, piece.len);
	say_bytes(a, message, n + piece.len);
}

/* HELLO is the session's first request. */
static void greet(struct agent *a)
{
	say(a, AGENT_HELLO, 1, 2, HELLO);
	assert_true(agent_session_greeted(a->session));
}

static void ask(struct agent *a, enum agent_type type, uint32_t last_step, struct fate *f)
{
	*f = (struct fate){ 0 };
	agent_session_request(a->session, type, NULL, last_step, on_answer, f);
}

static void assert_broken(struct agent *a, struct fate *f, const char *words)
{
	run_main();
	assert_int_equal(a->n_closed, 1);
	assert_non_null(strstr(a->why->message, words));
	assert_int_equal(f->n_errors, 1);
	assert_non_null(agent_session_error(a->session));
	g_clear_error(&f->error);
	part(a);
}

/* --- as it should be -------------------------------------------------------------------------------------- */

static void test_hello(void **state)
{
	uint8_t got[256];
	struct agent_header h;
	struct agent a;
	ssize_t n;

	meet(&a);
	n = recv(a.fd, got, sizeof(got), MSG_DONTWAIT);
	assert_true(n > AGENT_HEADER_SIZE);
	agent_header_get(got, &h);
	assert_int_equal(h.type, AGENT_HELLO);
	assert_int_equal(h.size, n);
	assert_int_equal(h.step, 1);
	assert_int_equal(h.transaction, 1);
	assert_memory_equal(got + AGENT_HEADER_SIZE, "{\"version\":[1,1]}", 17);
	assert_false(agent_session_greeted(a.session));
	greet(&a);
	assert_true(agent_session_can(a.session, AGENT_CAPABILITY_EXEC));
	assert_false(agent_session_can(a.session, AGENT_CAPABILITY_COPY));
	part(&a);
}

static void test_answers_in_any_order(void **state)
{
	struct fate first, second, exec;
	struct agent a;

	meet(&a);
	ask(&a, AGENT_PING, 2, &first);
	ask(&a, AGENT_WAIT, 2, &second);
	ask(&a, AGENT_EXEC, 3, &exec);
	greet(&a);
	say(&a, AGENT_EXEC, 4, 2, "{\"pid\":1,\"v\":7}");
	say(&a, AGENT_WAIT, 3, 2, "{\"v\":2}");
	say(&a, AGENT_EVENT, 0, 0, "{\"event\":\"ready\"}");
	say(&a, 4711, 0, 0, "anything");
	say(&a, AGENT_EXIT, 4, 3, "{\"v\":8}");
	say(&a, AGENT_PING, 2, 2, "{\"v\":1}");
	assert_int_equal(first.value, 1);
	assert_int_equal(second.value, 2);
	assert_int_equal(exec.value, 8);
	assert_int_equal(exec.n_answers, 2);
	assert_int_equal(exec.last_type, AGENT_EXIT);
	assert_int_equal(first.n_errors + second.n_errors + exec.n_errors, 0);
	/* Nothing is under way: an answer again is one to nobody. */
	say(&a, AGENT_PING, 2, 2, "{}");
	assert_int_equal(first.n_answers, 1);
	assert_int_equal(a.n_closed, 0);
	part(&a);
}

static void test_byte_by_byte(void **state)
{
	uint8_t all[1024];
	struct fate f;
	struct agent a;
	size_t n;

	meet_by(&a, &hybrid);
	ask(&a, AGENT_PING, 2, &f);
	memcpy(all, "OK 1073741824\n", 14);
	n = 14 + put(all + 14, AGENT_HELLO, 1, 2, HELLO);
	n += put(all + n, AGENT_PING, 2, 2, "{\"v\":5}");
	for (size_t i = 0; i < n; i++)
		say_bytes(&a, all + i, 1);
	assert_int_equal(f.value, 5);
	part(&a);
}

static void test_refusals(void **state)
{
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_COPY, 2, &f);
	say(&a, AGENT_ERROR, 2, 2,
	    "{\"code\":\"not-found\",\"text\":\"no \\u001b[31msuch\\u0007 \\u009bfile\"}");
	assert_true(g_error_matches(f.error, AGENT_REFUSAL, AGENT_ERROR_NOT_FOUND));
	for (const char *p = f.error->message; *p; p++)
		assert_true((unsigned char)*p >= ' ' && (unsigned char)*p != 0x7f);
	g_clear_error(&f.error);
	ask(&a, AGENT_COPY, 2, &f);
	say(&a, AGENT_ERROR, 3, 2, "{\"code\":\"of tomorrow\"}");
	assert_true(g_error_matches(f.error, AGENT_REFUSAL, AGENT_ERROR_FAILED));
	assert_true(*f.error->message);
	g_clear_error(&f.error);
	ask(&a, AGENT_COPY, 2, &f);
	say(&a, AGENT_ERROR, 4, 2, "{\"code\":7,\"text\":[]}");
	assert_true(g_error_matches(f.error, AGENT_REFUSAL, AGENT_ERROR_FAILED));
	g_clear_error(&f.error);
	assert_int_equal(a.n_closed, 0);
	part(&a);
}

static void test_a_request_too_long(void **state)
{
	struct json_object *body = json_object_new_object();
	g_autofree char *text = g_strnfill(AGENT_MESSAGE_MAX, 'x');
	struct fate f = { 0 }, next;
	struct agent a;

	meet(&a);
	greet(&a);
	json_put_str(body, "text", text);
	agent_session_request(a.session, AGENT_PING, body, 2, on_answer, &f);
	assert_int_equal(f.n_errors, 0); /* from the main loop, not from here */
	ask(&a, AGENT_PING, 2, &next);
	run_main();
	assert_int_equal(f.n_errors, 1);
	g_clear_error(&f.error);
	say(&a, AGENT_PING, 3, 2, "{\"v\":3}");
	assert_int_equal(next.value, 3);
	assert_int_equal(a.n_closed, 0);
	part(&a);
}

/* The longest message that may come does. */
static void test_the_longest_answer(void **state)
{
	g_autofree char *text = g_strnfill(AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE, ' ');
	g_autofree uint8_t *message = g_malloc(AGENT_MESSAGE_MAX);
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_PING, 2, &f);
	memcpy(text, "{\"v\":9", 6);
	text[strlen(text) - 1] = '}';
	assert_int_equal(put(message, AGENT_PING, 2, 2, text), AGENT_MESSAGE_MAX);
	say_bytes(&a, message, 1000);
	say_bytes(&a, message + 1000, AGENT_MESSAGE_MAX - 1000);
	assert_int_equal(f.value, 9);
	part(&a);
}

static void test_free_in_a_callback(void **state)
{
	struct fate f, other;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_PING, 2, &f);
	ask(&a, AGENT_PING, 2, &other);
	f.free_this = g_steal_pointer(&a.session);
	say(&a, AGENT_PING, 2, 2, "{}");
	assert_int_equal(f.n_answers, 1);
	assert_int_equal(other.n_answers + other.n_errors, 0);
	assert_int_equal(a.n_closed, 0);
	part(&a);

	/* The same from the end of a session. */
	meet(&a);
	ask(&a, AGENT_PING, 2, &f);
	f.free_this = g_steal_pointer(&a.session);
	close(a.fd);
	a.fd = -1;
	run_main();
	assert_int_equal(f.n_errors, 1);
	assert_int_equal(a.n_closed, 0);
	g_clear_error(&f.error);
	part(&a);
}

static void test_forget(void **state)
{
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_PING, 2, &f);
	agent_session_forget(a.session, &f);
	say(&a, AGENT_PING, 2, 2, "{}");
	assert_int_equal(f.n_answers + f.n_errors, 0);
	part(&a);
}

/* --- as it should not be ---------------------------------------------------------------------------------- */

static void say_header(struct agent *a, uint32_t type, uint32_t size, uint32_t step)
{
	const struct agent_header h = { .type = type, .size = size, .transaction = 2, .step = step };
	uint8_t bytes[AGENT_HEADER_SIZE];

	agent_header_put(bytes, &h);
	say_bytes(a, bytes, sizeof(bytes));
}

static void assert_header_breaks(uint32_t type, uint32_t size)
{
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_PING, 2, &f);
	say_header(&a, type, size, 2);
	assert_broken(&a, &f, "broke the protocol");
}

static void test_frames(void **state)
{
	assert_header_breaks(AGENT_PING, UINT32_MAX); /* 4 GiB */
	assert_header_breaks(AGENT_PING, AGENT_MESSAGE_MAX + 1);
	assert_header_breaks(AGENT_PING, AGENT_HEADER_SIZE - 1);
	assert_header_breaks(AGENT_PING, 0);
	assert_header_breaks(4711, UINT32_MAX);
	assert_header_breaks(AGENT_ATTACH, AGENT_ATTACH_SIZE); /* not on a control connection */
	assert_header_breaks(AGENT_EXTENT, 64);
}

static void assert_answer_breaks(enum agent_type asked, uint32_t last_step, uint32_t type,
				 uint32_t step, const char *body)
{
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, asked, last_step, &f);
	say(&a, type, 2, step, body);
	assert_broken(&a, &f, "broke the protocol");
}

static void test_answers_that_are_none(void **state)
{
	assert_answer_breaks(AGENT_PING, 2, AGENT_WAIT, 2, "{}");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 3, "{}");
	assert_answer_breaks(AGENT_EXEC, 3, AGENT_EXIT, 3, "{}"); /* without its step 2 */
	assert_answer_breaks(AGENT_EXEC, 3, AGENT_EXIT, 2, "{}");
	assert_answer_breaks(AGENT_EXEC, 3, 4711, 2, "{}");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2, "[]");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2, "{");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2, "{}{}");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2, "\"x\"");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2, "{\"a\":\"\xff\"}");
	assert_answer_breaks(AGENT_PING, 2, AGENT_PING, 2,
			     "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}");
	assert_answer_breaks(AGENT_PING, 2, AGENT_ERROR, 2, "no JSON");
}

struct pieces {
	unsigned n;
	enum agent_type last;
	char text[64];
	size_t len;
	bool refuse;
	struct agent_session *free_this;
};

static bool on_piece(uint32_t transaction, const struct agent_piece *piece, void *data)
{
	struct pieces *p = data;

	assert_int_equal(transaction, 2);
	p->n++;
	p->last = piece->type;
	if (piece->len)
		memcpy(p->text + p->len, piece->bytes, piece->len);
	p->len += piece->len;
	if (p->free_this)
		agent_session_free(g_steal_pointer(&p->free_this));
	return !p->refuse;
}

static const struct agent_piece some_bytes = {
	.type = AGENT_BYTES, .stream = 1, .bytes = (const uint8_t *)"abc", .len = 3
};

/* Also after the last answer of their request; and those that nobody wants are passed over. */
static void test_pieces(void **state)
{
	struct agent a;
	struct fate f;
	struct pieces p = { 0 };

	meet(&a);
	greet(&a);
	ask(&a, AGENT_EXEC, 3, &f);
	say_piece(&a, some_bytes);
	agent_session_pieces(a.session, on_piece, &p);
	say_piece(&a, some_bytes);
	say(&a, AGENT_EXEC, 2, 2, "{}");
	say(&a, AGENT_EXIT, 2, 3, "{}");
	say_piece(&a, some_bytes);
	say_piece(&a, (struct agent_piece){ .type = AGENT_GRANT, .stream = 1, .granted = 5 });
	say_piece(&a, (struct agent_piece){ .type = AGENT_CLOSE, .stream = 1 });
	assert_int_equal(p.n, 4);
	assert_int_equal(p.last, AGENT_CLOSE);
	assert_string_equal(p.text, "abcabc");
	assert_int_equal(f.n_answers, 2);
	part(&a);

	/* The callback frees the session. */
	meet(&a);
	greet(&a);
	p = (struct pieces){ .free_this = a.session };
	agent_session_pieces(a.session, on_piece, &p);
	a.session = NULL;
	say_piece(&a, some_bytes);
	assert_int_equal(p.n, 1);
	part(&a);
}

static void test_pieces_against_the_rules(void **state)
{
	struct agent a;
	struct fate f;
	struct pieces p = { .refuse = true };

	meet(&a);
	ask(&a, AGENT_EXEC, 3, &f);
	say_piece(&a, some_bytes);
	assert_broken(&a, &f, "BYTES where none may be");

	meet(&a);
	greet(&a);
	ask(&a, AGENT_EXEC, 3, &f);
	agent_session_pieces(a.session, on_piece, &p);
	say_piece(&a, some_bytes);
	assert_broken(&a, &f, "BYTES against the rules");

	meet(&a);
	greet(&a);
	ask(&a, AGENT_EXEC, 3, &f);
	say(&a, AGENT_GRANT, 2, 0, "abcde");
	assert_broken(&a, &f, "GRANT where none may be");
}

static void test_answer_before_hello(void **state)
{
	struct fate f;
	struct agent a;

	meet(&a);
	ask(&a, AGENT_PING, 2, &f);
	say(&a, AGENT_PING, 2, 2, "{}");
	assert_int_equal(f.n_answers, 0);
	assert_broken(&a, &f, "before HELLO");
}

static void test_hello_refused(void **state)
{
	struct fate f;
	struct agent a;

	meet(&a);
	ask(&a, AGENT_PING, 2, &f);
	say(&a, AGENT_ERROR, 1, 2, "{\"code\":\"version\",\"text\":\"too old\"}");
	assert_broken(&a, &f, "too old");
}

static void test_notices_without_end(void **state)
{
	uint8_t message[4096];
	size_t n = put(message, AGENT_EVENT, 0, 0, "{\"event\":\"x\"}");
	struct fate f;
	struct agent a;

	meet(&a);
	greet(&a);
	ask(&a, AGENT_PING, 2, &f);
	for (unsigned i = 0; i < 5000; i++)
		say_bytes(&a, message, n);
	say(&a, AGENT_PING, 2, 2, "{\"v\":1}");
	assert_int_equal(f.value, 1);
	part(&a);
}

/* It dies after every byte of a whole conversation: whoever waits hears of it, once. */
static void test_death_at_each_step(void **state)
{
	uint8_t all[1024];
	size_t n;

	memcpy(all, "OK 7\n", 5);
	n = 5 + put(all + 5, AGENT_HELLO, 1, 2, HELLO);
	n += put(all + n, AGENT_EXEC, 2, 2, "{\"pid\":3}");
	n += put(all + n, AGENT_EXIT, 2, 3, "{\"code\":0}");
	for (size_t i = 0; i < n; i++) {
		struct fate f;
		struct agent a;

		meet_by(&a, &hybrid);
		ask(&a, AGENT_EXEC, 3, &f);
		if (i > 0)
			say_bytes(&a, all, i);
		close(a.fd);
		a.fd = -1;
		run_main();
		assert_int_equal(f.n_errors, 1);
		assert_true(f.n_answers <= 1);
		assert_int_equal(a.n_closed, 1);
		g_clear_error(&f.error);
		part(&a);
	}
}

static void test_late_requests(void **state)
{
	struct fate f;
	struct agent a;

	meet(&a);
	close(a.fd);
	a.fd = -1;
	run_main();
	assert_int_equal(a.n_closed, 1);
	ask(&a, AGENT_PING, 2, &f);
	assert_int_equal(f.n_errors, 0);
	run_main();
	assert_int_equal(f.n_errors, 1);
	assert_int_equal(a.n_closed, 1);
	g_clear_error(&f.error);
	part(&a);
}

/* --- the hybrid socket's answer --------------------------------------------------------------------------- */

static void assert_answer(const char *text, ssize_t taken, bool done)
{
	struct link_answer a;

	link_answer_init(&a, &hybrid);
	assert_int_equal(link_answer_take(&a, text, strlen(text)), taken);
	if (taken >= 0)
		assert_int_equal(a.done, done);
}

static void test_link_answer(void **state)
{
	g_autofree char *longest = g_strnfill(LINK_ANSWER_MAX, '1');
	g_autofree char *longer = g_strnfill(LINK_ANSWER_MAX + 1, '1');
	struct link_answer a;

	memcpy(longest, "OK ", 3);
	memcpy(longer, "OK ", 3);
	longest[LINK_ANSWER_MAX - 1] = '\n';
	longer[LINK_ANSWER_MAX] = '\n';
	assert_answer("OK 1\n", 5, true);
	assert_answer("OK 1\nbytes\n", 5, true);
	assert_answer("OK 0000c350-facb-11e6-bd58-64006a7986d3\n", 40, true);
	assert_answer("O", 1, false);
	assert_answer("OK", 2, false);
	assert_answer(longest, LINK_ANSWER_MAX, true);
	assert_answer(longer, -EPROTO, false);
	assert_answer("NO\n", -EPROTO, false);
	assert_answer("OKAY\n", -EPROTO, false);
	assert_answer("\n", -EPROTO, false);
	assert_answer("OK\n", -EPROTO, false);
	link_answer_init(&a, &direct);
	assert_true(a.done);
}

static void test_no_answer(void **state)
{
	struct fate f;
	struct agent a;

	meet_by(&a, &hybrid);
	ask(&a, AGENT_PING, 2, &f);
	say_bytes(&a, "HTTP/1.1 400 Bad Request\r\n", 26);
	assert_broken(&a, &f, "neither OK");
	meet_by(&a, &hybrid);
	ask(&a, AGENT_PING, 2, &f);
	close(a.fd);
	a.fd = -1;
	assert_broken(&a, &f, "no agent answers");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_answers_in_any_order),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_request_too_long),
		cmocka_unit_test(test_the_longest_answer),
		cmocka_unit_test(test_free_in_a_callback),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_answers_that_are_none),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_pieces_against_the_rules),
		cmocka_unit_test(test_answer_before_hello),
		cmocka_unit_test(test_hello_refused),
		cmocka_unit_test(test_notices_without_end),
		cmocka_unit_test(test_death_at_each_step),
		cmocka_unit_test(test_late_requests),
		cmocka_unit_test(test_link_answer),
		cmocka_unit_test(test_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
