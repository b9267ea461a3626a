/* SPDX-License-Identifier: MIT */
/* The framing against a hostile peer, and both ends of JSON-RPC against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "err.h"
#include "run/json.h"
#include "run/jsonline.h"
#include "run/jsonrpc.h"

#define LINE_MAX_TESTED 64

/* --- framing ---------------------------------------------------------------------------------------------- */

struct heard {
	struct jsonline *stream;
	GString *log; /* one letter an event: o(bject), b(ad), c(losed) */
	char *why;
	bool free_on_object;
};

static void heard_object(struct jsonline *s, struct json_object *o, void *data)
{
	struct heard *h = data;

	g_string_append_c(h->log, 'o');
	if (h->free_on_object) {
		jsonline_free(h->stream);
		h->stream = NULL;
	}
}

static void heard_bad(struct jsonline *s, const char *why, void *data)
{
	struct heard *h = data;

	g_string_append_c(h->log, 'b');
	g_free(h->why);
	h->why = g_strdup(why);
}

static void heard_closed(struct jsonline *s, const char *why, void *data)
{
	struct heard *h = data;

	g_string_append_c(h->log, 'c');
	g_free(h->why);
	h->why = g_strdup(why);
}

static const struct jsonline_ops heard_ops = {
	.object = heard_object,
	.bad = heard_bad,
	.closed = heard_closed,
};

static void run_main(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

static void hear(struct heard *h, int *ret_peer)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	h->log = g_string_new(NULL);
	h->stream = jsonline_new(pair[0], LINE_MAX_TESTED, 256, &heard_ops, h);
	*ret_peer = pair[1];
}

static void hear_no_more(struct heard *h, int peer)
{
	jsonline_free(h->stream);
	g_string_free(h->log, TRUE);
	g_free(h->why);
	if (peer >= 0)
		close(peer);
}

static void say(int fd, const void *text, size_t len)
{
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	run_main();
}

/* What one burst of bytes, sent whole and sent byte by byte, is taken for. */
static void assert_heard(const char *text, size_t len, const char *expected)
{
	for (unsigned split = 0; split < 2; split++) {
		struct heard h = { 0 };
		int peer;

		hear(&h, &peer);
		if (split)
			for (size_t i = 0; i < len; i++)
				say(peer, text + i, 1);
		else
			say(peer, text, len);
		assert_string_equal(h.log->str, expected);
		hear_no_more(&h, peer);
	}
}

#define HEARD(text, expected) assert_heard(text, sizeof(text) - 1, expected)

static void test_lines(void **state)
{
	HEARD("{}\n", "o");
	HEARD("{}\r\n", "o");
	HEARD("{}\n{\"a\":1}\n{}", "oo");
	HEARD("  {\"a\":[1,2,{}]}\n", "o");
	HEARD("", "");
}

static void test_bad_lines(void **state)
{
	HEARD("\n", "b");
	HEARD("[]\n", "b");
	HEARD("1\n", "b");
	HEARD("null\n", "b");
	HEARD("{\n", "b");
	HEARD("{} {}\n", "b");
	HEARD("{}x\n{}\n", "bo");
	HEARD("{\"a\":\"\xff\xfe\"}\n{}\n", "bo");
	HEARD("{\"a\":\0}\n{}\n", "bo");
	HEARD("nonsense\n{}\n", "bo");
}

static void test_depth(void **state)
{
	char text[2 * JSONLINE_DEPTH + 16];
	size_t n = 0;

	/* LINE_MAX_TESTED holds it: 1 for the object and the rest in arrays. */
	n += (size_t)g_snprintf(text, sizeof(text), "{\"a\":");
	memset(text + n, '[', 40);
	n += 40;
	text[n++] = '\n';
	assert_heard(text, n, "b");
}

static void test_line_length(void **state)
{
	char text[LINE_MAX_TESTED + 2];

	memset(text, ' ', sizeof(text));
	text[0] = '{';
	text[1] = '}';
	text[LINE_MAX_TESTED] = '\n';
	assert_heard(text, LINE_MAX_TESTED + 1, "o");
	text[LINE_MAX_TESTED] = ' ';
	text[LINE_MAX_TESTED + 1] = '\n';
	assert_heard(text, LINE_MAX_TESTED + 2, "c");
	/* Without any newline at all it does not grow without bound either. */
	assert_heard(text, LINE_MAX_TESTED + 1, "c");
}

static void test_end(void **state)
{
	struct heard h = { 0 };
	int peer;

	hear(&h, &peer);
	say(peer, "{}\n{", 4);
	close(peer);
	run_main();
	assert_string_equal(h.log->str, "oc");
	assert_null(h.why);
	/* Into the void, without a signal and without a second end. */
	jsonline_send(h.stream, json_object_new_object());
	run_main();
	assert_string_equal(h.log->str, "oc");
	hear_no_more(&h, -1);
}

static void test_free_in_callback(void **state)
{
	struct heard h = { .free_on_object = true };
	int peer;

	hear(&h, &peer);
	say(peer, "{}\n{}\n{}\n", 9);
	assert_string_equal(h.log->str, "o");
	hear_no_more(&h, peer);
}

static void test_slow_reader(void **state)
{
	struct heard h = { 0 };
	int peer, small = 1;

	hear(&h, &peer);
	setsockopt(jsonline_fd(h.stream), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (unsigned i = 0; i < 10000 && !h.log->len; i++) {
		struct json_object *o = json_object_new_object();

		json_put_str(o, "text", "twenty-four bytes of it.");
		jsonline_send(h.stream, o);
		assert_true(jsonline_queued(h.stream) <= 256);
		run_main();
	}
	assert_string_equal(h.log->str, "c");
	assert_non_null(strstr(h.why, "slowly"));
	hear_no_more(&h, peer);
}

/* --- JSON-RPC --------------------------------------------------------------------------------------------- */

static struct rpc_call *kept; /* the last one of method_later() */
static GPtrArray *all_kept;

static void method_echo(struct rpc_call *call, struct json_object *params, void *data)
{
	rpc_reply(call, json_object_get(params));
}

static void method_fail(struct rpc_call *call, struct json_object *params, void *data)
{
	rpc_fail_text(call, ORCH_ERROR_CONFLICT, "no, %s", "not now");
}

static void method_later(struct rpc_call *call, struct json_object *params, void *data)
{
	kept = call;
	g_ptr_array_add(all_kept, call);
}

static void method_subscribe(struct rpc_call *call, struct json_object *params, void *data)
{
	rpc_subscribe(call);
	rpc_reply(call, NULL);
}

static const struct rpc_method methods[] = {
	{ "echo", "text,number", method_echo },
	{ "fail", "", method_fail },
	{ "later", "", method_later },
	{ "subscribe", "", method_subscribe },
	{ NULL, NULL, NULL },
};

struct ends {
	struct rpc_server *server;
	struct rpc_client *client;
	unsigned n_notified, n_closed;
	char *last_params;
};

static void on_notify(const char *method, struct json_object *params, void *data)
{
	struct ends *e = data;

	assert_string_equal(method, "event");
	e->n_notified++;
	g_free(e->last_params);
	e->last_params = g_strdup(json_object_to_json_string(params));
}

static void on_closed(const char *why, void *data)
{
	((struct ends *)data)->n_closed++;
}

static int setup(void **state)
{
	struct ends *e = g_new0(struct ends, 1);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	e->server = rpc_server_new(-1, methods, e);
	rpc_server_adopt(e->server, pair[0]);
	e->client = rpc_client_new(pair[1], on_notify, on_closed, e);
	kept = NULL;
	all_kept = g_ptr_array_new();
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;

	rpc_client_free(e->client);
	rpc_server_free(e->server);
	g_ptr_array_unref(all_kept);
	g_free(e->last_params);
	g_free(e);
	return 0;
}

static void test_call(void **state)
{
	struct ends *e = *state;
	struct json_object *params = json_object_new_object();
	auto_json result = NULL;
	g_autoptr(GError) error = NULL;

	json_put_str(params, "text", "ä \" \n");
	json_put_int(params, "number", -7);
	assert_true(rpc_client_call_sync(e->client, "echo", params, 1000, &result, &error));
	assert_string_equal(json_str(result, "text"), "ä \" \n");
	assert_int_equal(json_int(result, "number", 0), -7);
}

/* A failure keeps its kind across the socket. */
static void test_failures(void **state)
{
	struct ends *e = *state;
	struct json_object *wrong = json_object_new_object();
	g_autoptr(GError) failed = NULL, unknown = NULL, member = NULL;

	assert_false(rpc_client_call_sync(e->client, "fail", NULL, 1000, NULL, &failed));
	assert_true(g_error_matches(failed, ORCH_ERROR, ORCH_ERROR_CONFLICT));
	assert_string_equal(failed->message, "no, not now");
	assert_false(rpc_client_call_sync(e->client, "nope", NULL, 1000, NULL, &unknown));
	assert_non_null(strstr(unknown->message, "\"nope\""));
	json_put_str(wrong, "texts", "");
	assert_false(rpc_client_call_sync(e->client, "echo", wrong, 1000, NULL, &member));
	assert_non_null(strstr(member->message, "\"texts\""));
}

static void count_answer(struct json_object *result, const GError *error, void *data)
{
	unsigned *n = data;

	*n += error ? 100 : 1;
}

static void test_deferred(void **state)
{
	struct ends *e = *state;
	unsigned first = 0, second = 0;

	rpc_client_call(e->client, "later", NULL, count_answer, &first);
	rpc_client_call(e->client, "echo", NULL, count_answer, &second);
	run_main();
	assert_int_equal(first, 0);
	assert_int_equal(second, 1);
	rpc_reply(kept, NULL);
	run_main();
	assert_int_equal(first, 1);
}

static void test_timeout(void **state)
{
	struct ends *e = *state;
	g_autoptr(GError) error = NULL;

	assert_false(rpc_client_call_sync(e->client, "later", NULL, 20, NULL, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_TIMEOUT));
	rpc_reply(kept, NULL); /* too late: dropped */
	run_main();
}

/* The server goes: everything that waits is answered, once, and later calls are, too. */
static void test_lost(void **state)
{
	struct ends *e = *state;
	unsigned n = 0;

	rpc_client_call(e->client, "later", NULL, count_answer, &n);
	run_main();
	rpc_server_free(e->server);
	e->server = NULL;
	run_main();
	assert_int_equal(n, 100);
	assert_int_equal(e->n_closed, 1);
	rpc_client_call(e->client, "echo", NULL, count_answer, &n);
	assert_int_equal(n, 100);
	run_main();
	assert_int_equal(n, 200);
	rpc_reply(kept, NULL);
}

/* The client goes while its call is under way: the answer is for nobody. */
static void test_client_gone(void **state)
{
	struct ends *e = *state;
	unsigned n = 0;

	rpc_client_call(e->client, "later", NULL, count_answer, &n);
	run_main();
	rpc_client_free(e->client);
	e->client = NULL;
	run_main();
	rpc_reply(kept, NULL);
	run_main();
	assert_int_equal(n, 0);
}

static void test_notifications(void **state)
{
	struct ends *e = *state;
	struct json_object *params = json_object_new_object();

	rpc_notify(e->server, "event", json_object_new_object());
	run_main();
	assert_int_equal(e->n_notified, 0);
	assert_true(rpc_client_call_sync(e->client, "subscribe", NULL, 1000, NULL, NULL));
	json_put_int(params, "n", 1);
	rpc_notify(e->server, "event", params);
	run_main();
	assert_int_equal(e->n_notified, 1);
	assert_string_equal(e->last_params, "{ \"n\": 1 }");
}

static void test_too_many_calls(void **state)
{
	struct ends *e = *state;
	unsigned failed = 0;

	for (unsigned i = 0; i < RPC_CALLS_MAX; i++)
		rpc_client_call(e->client, "later", NULL, count_answer, &failed);
	run_main();
	assert_int_equal(failed, 0);
	rpc_client_call(e->client, "later", NULL, count_answer, &failed);
	run_main();
	assert_int_equal(failed, 100);
	for (guint i = 0; i < all_kept->len; i++)
		rpc_reply(all_kept->pdata[i], NULL);
	run_main();
	assert_int_equal(failed, 100 + RPC_CALLS_MAX);
}

/* One raw line to the server, and its answer. */
static char *raw(const char *line)
{
	struct rpc_server *server = rpc_server_new(-1, methods, NULL);
	char answer[1024] = "";
	int pair[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	rpc_server_adopt(server, pair[0]);
	say(pair[1], line, strlen(line));
	n = recv(pair[1], answer, sizeof(answer) - 1, MSG_DONTWAIT);
	answer[MAX(n, 0)] = '\0';
	close(pair[1]);
	run_main();
	rpc_server_free(server);
	return g_strdup(answer);
}

static void assert_raw(const char *line, const char *part)
{
	g_autofree char *answer = raw(line);

	if (part)
		assert_non_null(strstr(answer, part));
	else
		assert_string_equal(answer, "");
}

static void test_requests(void **state)
{
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"echo\"}\n",
		   "\"id\":\"x\",\"result\":{}");
	assert_raw("{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n", NULL);
	assert_raw("{\"jsonrpc\":\"2.0\",\"method\":\"fail\"}\n", NULL);
	assert_raw("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"echo\"}\n", "-32600");
	assert_raw("{\"id\":1,\"method\":\"echo\"}\n", "-32600");
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"echo\"}\n", "-32600");
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}\n", "-32600");
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[]}\n", "-32602");
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ech\"}\n", "-32601");
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\"}\n", "\"exit\":7");
	assert_raw("rubbish\n", "-32700");
	/* "number" is known, "numb" is not: no prefix will do. */
	assert_raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"numb\":1}}\n",
		   "-32602");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_line_length),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_free_in_callback),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test_setup_teardown(test_call, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deferred, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notifications, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_calls, setup, teardown),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
