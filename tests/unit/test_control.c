/* SPDX-License-Identifier: MIT */
/* The control socket: the specification's examples, hostile lines, slow readers, many clients. */
#include <poll.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "control.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "tmp.h"

static struct tmp_dir dir;
static char path[96];
static struct loop loop;
static struct control *control;
static unsigned touched;

#define SLOW_NS 1000000u

/* ---- methods ---- */

static int do_echo(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	*ret = json_object_get(params);
	return 0;
}

static int do_touch(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	assert_ptr_equal(control_context(call), &touched);
	touched++;
	return 0;
}

static int do_fail(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	return -ENOSPC;
}

static int do_refuse(struct control_call *call, struct json_object *params,
		     struct json_object **ret)
{
	return control_error(call, CONTROL_ERROR_NOT_FOUND, "no port \"%s\"", "\xff\n\"");
}

static int do_typed(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	const char *s = "unset";
	uint64_t n = 7;
	bool b = false;
	int r = control_string(call, params, "s", &s);

	if (r == 0)
		r = control_uint(call, params, "n", 1000, &n);
	if (r == 0)
		r = control_bool(call, params, "b", &b);
	if (r == 0) {
		char text[64];

		snprintf(text, sizeof(text), "%s %llu %d", s, (unsigned long long)n, b);
		*ret = json_object_new_string(text);
	}
	return r;
}

/* 1 MiB of answer. */
static int do_big(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	char *text = malloc(1 << 20);

	memset(text, 'b', 1 << 20);
	*ret = json_object_new_string_len(text, 1 << 20);
	free(text);
	return 0;
}

/* Takes a millisecond, and counts. */
static int do_slow(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	uint64_t end = loop_now_ns() + SLOW_NS;

	while (loop_now_ns() < end)
		;
	touched++;
	return 0;
}

static int do_notify(struct control_call *call, struct json_object *params,
		     struct json_object **ret)
{
	control_notify(control, "port", json_object_get(params));
	return 0;
}

/* Text that is none, cut short, overlong, of surrogates, and beyond the last character; between it some that is. */
#define RAW    "\xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \xe2\x82"
#define MENDED "?????????? \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 ??"

static struct json_object *raw_json(void)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "\xfe", json_object_new_string(RAW));
	return o;
}

static int do_raw(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	*ret = raw_json();
	return 0;
}

static struct control_tie ties[3];
static unsigned n_gone;

/* The second takes the third with it. */
static void on_gone(struct control_tie *tie)
{
	n_gone += tie == &ties[1] ? 10 : 1;
	if (tie == &ties[1])
		control_untie(&ties[2]);
}

static int do_tie(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	for (unsigned i = array_size(ties); i-- > 0;) {
		int r = control_tie(call, &ties[i], on_gone);

		if (r < 0)
			return r;
	}
	return 0;
}

static const struct control_method methods[] = {
	{ "echo", do_echo, "a?,bc?" },
	{ "touch", do_touch, "" },
	{ "fail", do_fail, "" },
	{ "refuse", do_refuse, "" },
	{ "typed", do_typed, "s,n?,b?" },
	{ "big", do_big, "" },
	{ "notify", do_notify, "state" },
	{ "slow", do_slow, "" },
	{ "tie", do_tie, "" },
	{ "raw", do_raw, "" },
};

/* ---- fixtures ---- */

static int setup(void **state)
{
	int fd;

	log_set_level(LOG_LEVEL_ERROR);
	touched = 0;
	tmp_dir_init(&dir);
	tmp_path(&dir, "c", path, sizeof(path));
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(listen_unix(path, 0600, &fd), 0);
	assert_int_equal(control_new(&loop, fd, methods, array_size(methods), &touched, &control),
			 0);
	return 0;
}

static int teardown(void **state)
{
	control_free(control);
	loop_done(&loop);
	tmp_dir_done(&dir);
	return 0;
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	return fd;
}

/* Each pass waits a moment, since requests are answered in turns with rests between them. */
static void turn(unsigned passes)
{
	while (passes-- > 0)
		assert_int_equal(loop_once(&loop, loop_now_ns() + 200000), 0);
}

/* Send all of it, with the loop running, to a server that may close. */
static void put(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
		turn(1);
	}
	turn(24);
}

static void puts_to(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

static void await_answer(int fd)
{
	uint64_t until = loop_now_ns() + 10000000000ull;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, 0) == 0 && loop_now_ns() < until)
		turn(1);
}

static char answer_text[3 << 20];

/* What has been answered so far; NULL if the connection has ended with nothing more to read. */
static const char *answers(int fd)
{
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(answer_text) - 1 &&
	       (n = recv(fd, answer_text + len, sizeof(answer_text) - 1 - len, MSG_DONTWAIT)) > 0) {
		len += (size_t)n;
		turn(1);
	}
	answer_text[len] = '\0';
	return len == 0 && n == 0 ? NULL : answer_text;
}

/* One line through the part without I/O; its answer as text. */
static const char *run(const char *line, size_t len)
{
	struct json_object *o = control_line(control, line, len);

	snprintf(answer_text, sizeof(answer_text), "%s",
		 o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "");
	json_object_put(o);
	return answer_text;
}

#define assert_line(line, want) assert_string_equal(run(line, strlen(line)), want)

static void assert_error(const char *line, int code, const char *id)
{
	char want[128];

	snprintf(want, sizeof(want), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,", id,
		 code);
	run(line, strlen(line));
	if (strncmp(answer_text, want, strlen(want)) != 0)
		fail_msg("%s: got %s, want %s", line, answer_text, want);
}

/* ---- one line ---- */

static void test_result_and_ids(void **state)
{
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}",
		    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	assert_line("{\"method\":\"touch\",\"jsonrpc\":\"2.0\",\"id\":\"x\\ny\",\"params\":{}}",
		    "{\"jsonrpc\":\"2.0\",\"id\":\"x\\ny\",\"result\":{}}");
	assert_line("  {\"jsonrpc\": \"2.0\", \"id\": null, \"method\": \"touch\"} \t\r",
		    "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":{}}");
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":-9223372036854775807,\"method\":\"touch\"}",
		    "{\"jsonrpc\":\"2.0\",\"id\":-9223372036854775807,\"result\":{}}");
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":18446744073709551614,\"method\":\"touch\"}",
		    "{\"jsonrpc\":\"2.0\",\"id\":18446744073709551614,\"result\":{}}");
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":1.50,\"method\":\"touch\"}",
		    "{\"jsonrpc\":\"2.0\",\"id\":1.50,\"result\":{}}");
	assert_int_equal(touched, 6);
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"bc\":[{}]}}",
		    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"bc\":[{}]}}");
}

static void test_notification_is_carried_out_and_not_answered(void **state)
{
	assert_line("{\"jsonrpc\":\"2.0\",\"method\":\"touch\"}", "");
	assert_int_equal(touched, 1);
	assert_line("{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}", "");
	assert_line("{\"jsonrpc\":\"2.0\",\"method\":\"fail\"}", "");
	assert_line("", "");
	assert_line(" \r", "");
}

/* What is JSON for json-c alone is refused, but where control_json_flags() has to be lenient. */
static void test_strict_syntax(void **state)
{
	static const char *const lines[] = {
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\",}",
		"{'jsonrpc':'2.0','id':1,'method':'touch'}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"} // comment",
	};

	for (size_t i = 0; i < array_size(lines); i++) {
		if (control_json_flags() & JSON_TOKENER_STRICT)
			assert_error(lines[i], CONTROL_ERROR_PARSE, "null");
		else
			assert_line(lines[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	}
}

static void test_bad_requests(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *id;
	} cases[] = {
		{ "{", CONTROL_ERROR_PARSE, "null" },
		{ "hello", CONTROL_ERROR_PARSE, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"", CONTROL_ERROR_PARSE,
		  "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}}", CONTROL_ERROR_PARSE,
		  "null" },
		{ "{} {}", CONTROL_ERROR_PARSE, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":\"\xc3\x28\",\"method\":\"touch\"}",
		  CONTROL_ERROR_PARSE, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"touch\"}", CONTROL_ERROR_PARSE,
		  "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":\"\xe2\x82", CONTROL_ERROR_PARSE, "null" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", CONTROL_ERROR_PARSE, "null" },
		{ "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
		  "\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}}}}}}}}",
		  CONTROL_ERROR_PARSE, "null" },
		{ "null", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "12", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "true", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "\"touch\"", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "[]", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}]",
		  CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "{}", CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "{\"id\":3}", CONTROL_ERROR_INVALID_REQUEST, "3" },
		{ "{\"id\":3,\"method\":\"touch\"}", CONTROL_ERROR_INVALID_REQUEST, "3" },
		{ "{\"jsonrpc\":\"1.0\",\"id\":3,\"method\":\"touch\"}",
		  CONTROL_ERROR_INVALID_REQUEST, "3" },
		{ "{\"jsonrpc\":2.0,\"id\":3,\"method\":\"touch\"}", CONTROL_ERROR_INVALID_REQUEST,
		  "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":7}", CONTROL_ERROR_INVALID_REQUEST,
		  "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":null}", CONTROL_ERROR_INVALID_REQUEST,
		  "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"touch\"}",
		  CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"touch\"}",
		  CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":NaN,\"method\":\"touch\"}",
		  CONTROL_ERROR_INVALID_REQUEST, "null" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"touch\",\"extra\":1}",
		  CONTROL_ERROR_INVALID_REQUEST, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"Touch\"}", CONTROL_ERROR_NO_METHOD,
		  "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"\"}", CONTROL_ERROR_NO_METHOD, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"touch\",\"params\":[]}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"touch\",\"params\":\"x\"}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"touch\",\"params\":{\"x\":1}}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"echo\",\"params\":{\"b\":1}}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"echo\",\"params\":{\"\":1}}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"echo\",\"params\":{\"a?\":1}}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"typed\",\"params\":{\"n\":1}}",
		  CONTROL_ERROR_INVALID_PARAMS, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"fail\"}", CONTROL_ERROR_FAILED, "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"refuse\"}", CONTROL_ERROR_NOT_FOUND,
		  "3" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"subscribe\"}", CONTROL_ERROR_FAILED,
		  "3" },
	};

	for (unsigned i = 0; i < array_size(cases); i++)
		assert_error(cases[i].line, cases[i].code, cases[i].id);
	assert_int_equal(touched, 0);
	/* The parser is as good as new. */
	assert_line("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}",
		    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
}

/* Some versions of json-c call it a parse error, others read the nearest number there is. */
static void test_id_beyond_64_bits(void **state)
{
	static const char *const ids[] = { "18446744073709551616", "-9223372036854775809" };
	char line[128];

	for (unsigned i = 0; i < array_size(ids); i++) {
		snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"touch\"}",
			 ids[i]);
		assert_non_null(strstr(run(line, strlen(line)), "\"id\":null,\"error\""));
	}
	assert_int_equal(touched, 0);
}

static void test_nul_bytes(void **state)
{
	static const char inside[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}\0";
	static const char alone[] = "\0";
	static const char number[] = "1\0002";

	assert_non_null(strstr(run(inside, sizeof(inside) - 1), "-32700"));
	assert_non_null(strstr(run(alone, 1), "\"error\""));
	assert_non_null(strstr(run(number, 3), "\"error\""));
	assert_int_equal(touched, 0);
}

/* A request whose deepest value lies at `depth`, counting the request itself as 1. */
static const char *run_nested(unsigned depth)
{
	char line[256];
	int n = snprintf(line, sizeof(line),
			 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":");

	assert_true((size_t)n + 2 * depth < sizeof(line));
	memset(line + n, '[', depth - 2);
	memset(line + n + depth - 2, ']', depth - 2);
	memcpy(line + n + 2 * (depth - 2), "}}", 3);
	return run(line, strlen(line));
}

static void test_depth_at_and_over_the_limit(void **state)
{
	assert_non_null(strstr(run_nested(CONTROL_DEPTH_MAX), "\"result\""));
	assert_non_null(strstr(run_nested(CONTROL_DEPTH_MAX + 1), "-32700"));
}

static void test_typed_members(void **state)
{
#define TYPED(params) "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"typed\",\"params\":{" params "}}"
	assert_non_null(
		strstr(run(TYPED("\"s\":\"x\""), strlen(TYPED("\"s\":\"x\""))), "\"x 7 0\""));
	assert_line(TYPED("\"s\":\"x\",\"n\":1000,\"b\":true"),
		    "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":\"x 1000 1\"}");
	assert_error(TYPED("\"s\":\"\""), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"a\\u0000b\""), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":null"), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":1"), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"x\",\"n\":1001"), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"x\",\"n\":-1"), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"x\",\"n\":1.5"), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"x\",\"n\":\"1\""), CONTROL_ERROR_INVALID_PARAMS, "3");
	assert_error(TYPED("\"s\":\"x\",\"b\":1"), CONTROL_ERROR_INVALID_PARAMS, "3");
#undef TYPED
}

/* ---- connections ---- */

#define TOUCH      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"touch\"}\n"
#define TOUCHED    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"
#define SUBSCRIBE  "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"subscribe\"}\n"
#define SUBSCRIBED "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n"

static void test_lines_in_pieces(void **state)
{
	int fd = dial();

	for (const char *p = TOUCH; *p; p++)
		put(fd, p, 1);
	assert_string_equal(answers(fd), TOUCHED);
	puts_to(fd, "\n\r\n" TOUCH "\n" TOUCH TOUCH "{\"jsonrpc\"");
	assert_string_equal(answers(fd), TOUCHED TOUCHED TOUCHED);
	puts_to(fd, ":\"2.0\",\"id\":1,\"method\":\"touch\"}\r\n");
	assert_string_equal(answers(fd), TOUCHED);
	assert_int_equal(touched, 5);
	close(fd);
	turn(2);
	fd = dial(); /* and the next client has a clean buffer */
	puts_to(fd, TOUCH);
	assert_string_equal(answers(fd), TOUCHED);
	close(fd);
}

static void test_line_at_and_over_the_limit(void **state)
{
	int fd = dial();
	char *line = malloc(CONTROL_LINE_MAX + 1);

	memset(line, ' ', CONTROL_LINE_MAX + 1);
	memcpy(line, TOUCH, strlen(TOUCH) - 1);
	line[CONTROL_LINE_MAX - 1] = '\n';
	put(fd, line, CONTROL_LINE_MAX);
	assert_string_equal(answers(fd), TOUCHED);
	line[CONTROL_LINE_MAX - 1] = ' ';
	line[CONTROL_LINE_MAX] = '\n';
	put(fd, line, CONTROL_LINE_MAX + 1);
	assert_non_null(strstr(answers(fd), "\"code\":-32600"));
	assert_null(answers(fd)); /* and the connection is over */
	assert_int_equal(touched, 1);
	free(line);
	close(fd);
	fd = dial();
	puts_to(fd, TOUCH);
	assert_string_equal(answers(fd), TOUCHED);
	close(fd);
}

static void test_half_closed_client_gets_its_answers(void **state)
{
	int fd = dial();

	assert_int_equal(send(fd, TOUCH TOUCH "{\"cut", strlen(TOUCH TOUCH "{\"cut"), 0),
			 strlen(TOUCH TOUCH "{\"cut"));
	shutdown(fd, SHUT_WR);
	turn(4);
	assert_string_equal(answers(fd), TOUCHED TOUCHED);
	assert_null(answers(fd));
	close(fd);
}

static void test_large_answers_arrive_whole(void **state)
{
	int fd = dial();
	size_t len = 0, b = 0;
	ssize_t n;
	char buf[65536];

	puts_to(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n" TOUCH);
	while (b == 0 || buf[b - 1] != '\n' || len < (1 << 20) + 40) {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0) {
			len += (size_t)n;
			b = (size_t)n;
		} else {
			assert_int_equal(errno, EAGAIN);
		}
		turn(1);
	}
	assert_int_equal(len, (1 << 20) +
				      strlen("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\"}\n") +
				      strlen(TOUCHED));
	close(fd);
}

static void test_slow_reader_is_dropped(void **state)
{
	int slow = dial(), other = dial();
	unsigned passes = 0;

	for (unsigned i = 0; i < 2 * (CONTROL_OUT_MAX >> 20); i++) /* an answer has a mebibyte */
		puts_to(slow, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n");
	/* It is gone: writing fails at last, and nobody else felt anything.  A client's turns are measured in time, so on a
	 * busy machine its requests take more passes. */
	while (send(slow, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno == EAGAIN) {
		assert_true(passes++ < 50000);
		turn(1);
	}
	puts_to(other, TOUCH);
	await_answer(other); /* the thread rests for as long as the large answers took */
	assert_string_equal(answers(other), TOUCHED);
	close(slow);
	close(other);
}

static void test_slow_subscriber_is_dropped(void **state)
{
	int slow = dial(), other = dial();
	char *text = malloc(60001);

	memset(text, 's', 60000);
	text[60000] = '\0';
	puts_to(slow, SUBSCRIBE);
	puts_to(other, SUBSCRIBE);
	assert_string_equal(answers(other), SUBSCRIBED);
	assert_true(control_has_subscribers(control));
	for (unsigned i = 0; i < CONTROL_OUT_MAX / 60000 + 10; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "s", json_object_new_string(text));
		control_notify(control, "port", o);
		turn(2);
		assert_non_null(strstr(answers(other), "\"method\":\"port\""));
	}
	assert_true(send(slow, "\n", 1, MSG_NOSIGNAL) < 0);
	assert_true(control_has_subscribers(control));
	close(other);
	turn(2);
	assert_false(control_has_subscribers(control));
	close(slow);
	free(text);
}

static void test_notifications(void **state)
{
	int a = dial(), b = dial(), quiet = dial();

	control_notify(control, "port", json_object_new_object()); /* nobody: nothing */
	control_notify(NULL, "port", json_object_new_object());
	puts_to(a, SUBSCRIBE SUBSCRIBE);
	puts_to(b, SUBSCRIBE);
	assert_string_equal(answers(a), SUBSCRIBED SUBSCRIBED);
	assert_string_equal(answers(b), SUBSCRIBED);
	puts_to(quiet, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"notify\",\"params\":{\"state\":"
		       "\"x\"}}\n");
	assert_string_equal(
		answers(a),
		"{\"jsonrpc\":\"2.0\",\"method\":\"port\",\"params\":{\"state\":\"x\"}}\n");
	assert_string_equal(
		answers(b),
		"{\"jsonrpc\":\"2.0\",\"method\":\"port\",\"params\":{\"state\":\"x\"}}\n");
	assert_string_equal(answers(quiet), "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}\n");
	close(a);
	turn(2);
	assert_true(control_has_subscribers(control));
	close(b);
	turn(2);
	assert_false(control_has_subscribers(control));
	close(quiet);
}

/* Whatever a device says: what goes out is text. */
static void test_only_text_goes_out(void **state)
{
	int fd = dial();

	puts_to(fd, SUBSCRIBE);
	assert_string_equal(answers(fd), SUBSCRIBED);
	puts_to(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"raw\"}\n");
	assert_string_equal(answers(fd),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"?\":\"" MENDED "\"}}\n");
	control_notify(control, "port", raw_json());
	assert_string_equal(answers(fd), "{\"jsonrpc\":\"2.0\",\"method\":\"port\",\"params\":{"
					 "\"?\":\"" MENDED "\"}}\n");
	close(fd);
	turn(2);
}

static void test_client_dies_with_answers_waiting(void **state)
{
	int fd = dial();

	puts_to(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n");
	close(fd);
	turn(4);
	fd = dial();
	puts_to(fd, TOUCH);
	await_answer(fd); /* the rest after so long a request may be long, too */
	assert_string_equal(answers(fd), TOUCHED);
	close(fd);
}

#define TIE  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tie\"}\n"
#define TIED "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"

/* What is tied to a connection hears of its end, once, and not if it was untied before. */
static void test_ties(void **state)
{
	int a = dial(), b = dial();

	n_gone = 0;
	memset(ties, 0, sizeof(ties));
	control_untie(&ties[0]); /* of none */
	puts_to(a, TIE);
	assert_string_equal(answers(a), TIED);
	control_untie(&ties[0]);
	control_untie(&ties[0]);
	close(b);
	turn(2);
	assert_int_equal(n_gone, 0);
	close(a);
	turn(2);
	assert_int_equal(n_gone, 10);

	/* The server's end is theirs. */
	a = dial();
	puts_to(a, TIE);
	assert_string_equal(answers(a), TIED);
	control_free(control);
	control = NULL;
	assert_int_equal(n_gone, 10 + 1 + 10);
	close(a);
}

static void test_ties_need_a_connection(void **state)
{
	assert_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tie\"}", CONTROL_ERROR_FAILED,
		     "1");
}

static void test_clients_are_bounded(void **state)
{
	int fds[CONTROL_CLIENTS_MAX], extra;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = dial();
	extra = dial();
	turn(2);
	assert_non_null(strstr(answers(extra), "\"code\":-32003"));
	assert_null(answers(extra));
	close(extra);
	puts_to(fds[CONTROL_CLIENTS_MAX - 1], TOUCH);
	assert_string_equal(answers(fds[CONTROL_CLIENTS_MAX - 1]), TOUCHED);
	close(fds[0]);
	turn(2);
	fds[0] = dial();
	puts_to(fds[0], TOUCH);
	assert_string_equal(answers(fds[0]), TOUCHED);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void test_attached_connection(void **state)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(control_attach(control, pair[0]), 0);
	puts_to(pair[1], TOUCH);
	assert_string_equal(answers(pair[1]), TOUCHED);
	close(pair[1]);
}

#define SLOW   "{\"jsonrpc\":\"2.0\",\"method\":\"slow\"}\n"
#define SLOW_4 SLOW SLOW SLOW SLOW

/* Requests in a row get half of the time: whatever else the thread has to do waits for one of them at most. */
static void test_flood_is_rationed(void **state)
{
	uint64_t begin = loop_now_ns();
	int fd = dial();

	assert_int_equal(send(fd, SLOW_4 SLOW_4, strlen(SLOW_4 SLOW_4), 0), strlen(SLOW_4 SLOW_4));
	for (unsigned before = 0; touched < 8; before = touched) {
		assert_int_equal(loop_once(&loop, loop_now_ns() + SLOW_NS), 0);
		assert_true(touched <= before + 1);
	}
	/* Not sooner, however slow the machine: a rest is as long as what it follows. */
	assert_true(loop_now_ns() - begin >= (8 + 7) * SLOW_NS);
	close(fd);
}

/* Who sends one request among those who send many has its turn after one of each. */
static void test_flood_leaves_others_their_turn(void **state)
{
	int flood[3] = { dial(), dial(), dial() }, fd = dial();
	const char *text = "";

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send(flood[i], SLOW_4, strlen(SLOW_4), 0), strlen(SLOW_4));
	assert_int_equal(send(fd, TOUCH, strlen(TOUCH), 0), strlen(TOUCH));
	while (!text[0]) {
		turn(1);
		text = answers(fd);
	}
	assert_string_equal(text, TOUCHED);
	assert_true(touched <= 1 + 4);
	while (touched < 1 + 12)
		turn(1);
	for (unsigned i = 0; i < 3; i++)
		close(flood[i]);
	close(fd);
}

/* All that was sent before the end is carried out, over as many turns as it takes. */
static void test_flood_and_gone(void **state)
{
	int fd = dial();

	assert_int_equal(send(fd, SLOW_4, strlen(SLOW_4), 0), strlen(SLOW_4));
	close(fd);
	while (touched < 4)
		turn(1);
	turn(8);
	assert_int_equal(touched, 4);
}

static void test_free_with_clients(void **state)
{
	int fd = dial();

	puts_to(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n{\"half");
	control_free(control);
	control = NULL;
	assert_non_null(answers(fd));
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_result_and_ids),
		T(test_notification_is_carried_out_and_not_answered),
		T(test_strict_syntax),
		T(test_bad_requests),
		T(test_id_beyond_64_bits),
		T(test_nul_bytes),
		T(test_depth_at_and_over_the_limit),
		T(test_typed_members),
		T(test_lines_in_pieces),
		T(test_line_at_and_over_the_limit),
		T(test_half_closed_client_gets_its_answers),
		T(test_large_answers_arrive_whole),
		T(test_slow_reader_is_dropped),
		T(test_slow_subscriber_is_dropped),
		T(test_notifications),
		T(test_only_text_goes_out),
		T(test_ties),
		T(test_ties_need_a_connection),
		T(test_client_dies_with_answers_waiting),
		T(test_clients_are_bounded),
		T(test_attached_connection),
		T(test_flood_is_rationed),
		T(test_flood_leaves_others_their_turn),
		T(test_flood_and_gone),
		T(test_free_with_clients),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
