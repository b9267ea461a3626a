/* SPDX-License-Identifier: MIT */
/* The monitor client against a scripted QEMU. */
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
#include "run/qmp.h"

#define GREETING \
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": [\"oob\"]}}\r\n"
#define DONE    "{\"return\": {}}\r\n"
#define RUNNING "{\"return\": {\"status\": \"running\", \"running\": true}}\r\n"

struct monitor {
	struct qmp *qmp;
	int qemu;
	GString *log; /* what has come, a word an event */
	bool free_on_closed;
};

static void ready(struct qmp *q, const char *status, void *data)
{
	g_string_append_printf(((struct monitor *)data)->log, "ready:%s ", status);
}

static void event(struct qmp *q, const char *name, struct json_object *event_data, void *data)
{
	g_string_append_printf(((struct monitor *)data)->log, "%s:%s ", name,
			       event_data ? json_object_to_json_string_ext(event_data,
									   JSON_C_TO_STRING_PLAIN) :
					    "-");
}

static void closed(struct qmp *q, const char *why, void *data)
{
	struct monitor *m = data;

	g_string_append(m->log, "closed ");
	if (m->free_on_closed)
		g_clear_pointer(&m->qmp, qmp_free);
}

static const struct qmp_ops ops = { .ready = ready, .event = event, .closed = closed };

static void answered(struct json_object *result, const GError *error, void *data)
{
	struct monitor *m = data;

	if (error)
		g_string_append_printf(m->log, "error:%s ", error->message);
	else
		g_string_append_printf(m->log, "result:%s ",
				       json_object_to_json_string_ext(result,
								      JSON_C_TO_STRING_PLAIN));
}

static void run_main(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

/* What the client has said since the last time. */
static char *said(const struct monitor *m)
{
	char text[4096];
	ssize_t n = recv(m->qemu, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[MAX(n, 0)] = '\0';
	return g_strdup(text);
}

static void qemu_says(const struct monitor *m, const char *text)
{
	assert_int_equal(write(m->qemu, text, strlen(text)), (ssize_t)strlen(text));
	run_main();
}

static int setup(void **state)
{
	struct monitor *m = g_new0(struct monitor, 1);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	m->log = g_string_new(NULL);
	m->qemu = pair[1];
	m->qmp = qmp_new(pair[0], &ops, m);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct monitor *m = *state;

	qmp_free(m->qmp);
	if (m->qemu >= 0)
		close(m->qemu);
	g_string_free(m->log, TRUE);
	g_free(m);
	return 0;
}

static void test_greeting(void **state)
{
	struct monitor *m = *state;
	g_autofree char *before = NULL, *after = NULL;

	run_main();
	before = said(m);
	assert_string_equal(before, "");
	qemu_says(m, GREETING);
	after = said(m);
	assert_string_equal(after,
			    "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n");
	assert_string_equal(m->log->str, "");
	qemu_says(m, DONE RUNNING);
	assert_string_equal(m->log->str, "ready:running ");
}

static void test_commands(void **state)
{
	struct monitor *m = *state;
	struct json_object *arguments = json_object_new_object();
	g_autofree char *text = NULL;

	/* Before the greeting: it waits its turn, behind the handshake. */
	json_put_str(arguments, "id", "n\"1");
	qmp_execute(m->qmp, "device_del", arguments, answered, m);
	qemu_says(m, GREETING);
	text = said(m);
	assert_true(g_str_has_suffix(
		text, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"n\\\"1\"}}\n"));
	qmp_execute(m->qmp, "system_powerdown", NULL, NULL, NULL);
	qmp_execute(m->qmp, "query-x", NULL, answered, m);
	/* An event may come between any two answers. */
	qemu_says(m, DONE RUNNING
		  "{\"event\": \"RESUME\", \"timestamp\": {}}\r\n"
		  "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no such\"}}\r\n" DONE
		  "{\"return\": [1]}\r\n");
	assert_string_equal(m->log->str, "ready:running RESUME:- error:QEMU: no such result:[1] ");
}

static void test_events(void **state)
{
	struct monitor *m = *state;

	qemu_says(
		m, GREETING DONE RUNNING
		"{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-shutdown\"}}\r\n");
	assert_string_equal(
		m->log->str,
		"ready:running SHUTDOWN:{\"guest\":true,\"reason\":\"guest-shutdown\"} ");
}

/* A QEMU that dies, or one that somebody has taken over and that talks nonsense. */
static void test_end(void **state)
{
	struct monitor *m = *state;

	qemu_says(m, GREETING DONE RUNNING);
	qmp_execute(m->qmp, "quit", NULL, answered, m);
	m->free_on_closed = true;
	close(m->qemu);
	m->qemu = -1;
	run_main();
	assert_string_equal(m->log->str, "ready:running error:QEMU's monitor closed closed ");
}

static void test_rubbish(void **state)
{
	struct monitor *m = *state;

	/* Answers to nothing, and a greeting that is none: not taken for anything. */
	qemu_says(m, "{\"return\": {}}\r\n{\"hello\": 1}\r\n{\"QMP\": 1}\r\n");
	assert_string_equal(m->log->str, "");
	qemu_says(m, GREETING DONE RUNNING DONE DONE "{\"error\": 1}\r\n{\"event\": 2}\r\n{}\r\n");
	assert_string_equal(m->log->str, "ready:running ");
	assert_false(qmp_ended(m->qmp));
	qemu_says(m, "no JSON\r\n");
	assert_string_equal(m->log->str, "ready:running closed ");
	assert_true(qmp_ended(m->qmp));
}

static void test_status_of_nonsense(void **state)
{
	struct monitor *m = *state;

	qemu_says(m, GREETING DONE "{\"return\": {\"status\": 1}}\r\n");
	assert_string_equal(m->log->str, "ready:unknown ");
}

static enum qmp_chardev chardev(const char *answer)
{
	auto_json o = json_tokener_parse(answer);

	return qmp_chardev(o, "vs0");
}

/* As QEMU 7.2 and 10.0 tell it; and nonsense. */
static void test_chardev(void **state)
{
#define OTHER "{\"frontend-open\": true, \"filename\": \"pty:/dev/pts/1\", \"label\": \"con0\"}"
#define SOCKET(filename)                                                   \
	"[" OTHER ", {\"frontend-open\": false, \"filename\": \"" filename \
	"\", \"label\": \"vs0\"}]"
	assert_int_equal(chardev("[" OTHER "]"), QMP_CHARDEV_NONE);
	assert_int_equal(chardev("[]"), QMP_CHARDEV_NONE);
	assert_int_equal(chardev(SOCKET("disconnected:unix:/run/x")), QMP_CHARDEV_WAITS);
	assert_int_equal(chardev(SOCKET("unix:/run/x")), QMP_CHARDEV_CONNECTED);
	assert_int_equal(chardev("[{\"label\": \"vs0\"}]"), QMP_CHARDEV_WAITS);
	assert_int_equal(chardev("[1, {\"label\": [\"vs0\"]}, null]"), QMP_CHARDEV_NONE);
	assert_int_equal(chardev("{\"label\": \"vs0\"}"), QMP_CHARDEV_NONE);
	assert_int_equal(qmp_chardev(NULL, "vs0"), QMP_CHARDEV_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_of_nonsense, setup, teardown),
		cmocka_unit_test(test_chardev),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
