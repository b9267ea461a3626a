/* SPDX-License-Identifier: MIT */
/* The supervisor's end of an agent, against agents that behave, that fail and that attack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <json-c/json.h>

#include "agent/protocol.h"
#include "model/lab.h"
#include "run/agent.h"
#include "run/watch.h"

#define PATIENCE_US (10 * G_USEC_PER_SEC)

struct sample {
	char *dir, *path;
	struct lab *lab;
	struct vm_agent *agent;
	unsigned n_changed, n_refused;
};

static void changed(void *data)
{
	((struct sample *)data)->n_changed++;
}

static const struct vm_agent_ops ops = { .changed = changed };

/* Waits for an agent of VM "n1" of that lab. */
static void attend(struct sample *s, const char *vm_members)
{
	struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };
	g_autofree char *text = g_strdup_printf("{\"vms\": {\"n1\": {%s}}}", vm_members);
	struct json_object *config = json_object_new_object();
	struct lab_errors *errors;
	const struct vm *vm;

	assert_true(lab_parse(text, strlen(text), "t.json", &dirs, &s->lab, &errors));
	vm = lab_vm(s->lab, 0);
	json_object_object_add(config, "hostname", json_object_new_string("n1"));
	s->agent = vm_agent_new(s->path, config, vm->probes, vm->distros, &ops, s, NULL);
	assert_non_null(s->agent);
}

static int set_up(void **state)
{
	struct sample *s = g_new0(struct sample, 1);

	s->dir = g_dir_make_tmp("vm-agent-XXXXXX", NULL);
	s->path = g_build_filename(s->dir, "n1.vs_50000", NULL);
	*state = s;
	return s->dir ? 0 : -1;
}

static int tear_down(void **state)
{
	struct sample *s = *state;

	vm_agent_free(s->agent);
	lab_free(s->lab);
	g_rmdir(s->dir);
	g_free(s->path);
	g_free(s->dir);
	g_free(s);
	return 0;
}

/* --- the guest's side ---------------------------------------------------------------------------------------------- */

static int dial(const struct sample *s)
{
	int fd = dial_now(s->path);

	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, uint32_t type, uint32_t transaction, uint32_t step, const char *body)
{
	struct agent_header h = { .type = type,
				  .size = AGENT_HEADER_SIZE + (uint32_t)strlen(body),
				  .transaction = transaction,
				  .step = step };
	uint8_t bytes[AGENT_HEADER_SIZE];

	agent_header_put(bytes, &h);
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	assert_int_equal(send(fd, body, strlen(body), MSG_NOSIGNAL), strlen(body));
}

/* All of n bytes, the supervisor's loop running meanwhile; false: the connection has ended. */
static bool hear_bytes(int fd, void *bytes, size_t n)
{
	gint64 deadline = g_get_monotonic_time() + PATIENCE_US;
	size_t have = 0;

	while (have < n) {
		ssize_t r = recv(fd, (char *)bytes + have, n - have, MSG_DONTWAIT);

		if (r == 0 || (r < 0 && errno != EAGAIN))
			return false;
		have += r > 0 ? (size_t)r : 0;
		while (g_main_context_iteration(NULL, FALSE))
			;
		if (r < 0)
			g_usleep(1000);
		assert_true(g_get_monotonic_time() < deadline);
	}
	return true;
}

/* The next message, which is of that type and step; its body, to be put. */
static struct json_object *hear(int fd, uint32_t type, uint32_t step, uint32_t *ret_transaction)
{
	uint8_t bytes[AGENT_HEADER_SIZE];
	struct agent_header h;
	g_autofree char *text = NULL;
	size_t len;

	assert_true(hear_bytes(fd, bytes, sizeof(bytes)));
	agent_header_get(bytes, &h);
	assert_string_equal(agent_type_name(h.type), agent_type_name(type));
	assert_int_equal(h.step, step);
	assert_true(h.size >= AGENT_HEADER_SIZE && h.size <= AGENT_MESSAGE_MAX);
	len = h.size - AGENT_HEADER_SIZE;
	text = g_malloc0(len + 1);
	assert_true(hear_bytes(fd, text, len));
	if (ret_transaction)
		*ret_transaction = h.transaction;
	return len ? json_tokener_parse(text) : json_object_new_object();
}

static void expect_state(const struct sample *s, enum vm_agent_state state)
{
	gint64 deadline = g_get_monotonic_time() + PATIENCE_US;

	while (vm_agent_state(s->agent) != state && g_get_monotonic_time() < deadline)
		if (!g_main_context_iteration(NULL, FALSE))
			g_usleep(1000);
	assert_string_equal(vm_agent_state_word(vm_agent_state(s->agent)),
			    vm_agent_state_word(state));
}

#define HELLO \
	"{\"version\": [1, 1], \"agent\": \"0.1.0\", \"capabilities\": [\"shutdown\", \"wait\"]}"

/* An agent that has said HELLO and heard CONFIG; *ret_config is its transaction. */
static int greet(const struct sample *s, uint32_t *ret_config)
{
	int fd = dial(s);
	struct json_object *o, *member;

	say(fd, AGENT_HELLO, 1, 1, HELLO);
	json_object_put(hear(fd, AGENT_HELLO, 2, NULL));
	o = hear(fd, AGENT_CONFIG, 1, ret_config);
	assert_true(json_object_object_get_ex(o, "hostname", &member));
	assert_true(json_object_object_get_ex(o, "clock", &member));
	assert_true(json_object_object_get_ex(member, "realtime-ns", &member));
	assert_true(json_object_get_int64(member) > INT64_C(1500000000000000000));
	json_object_put(o);
	return fd;
}

static int become_configured(const struct sample *s)
{
	uint32_t config;
	int fd = greet(s, &config);

	say(fd, AGENT_CONFIG, config, 2, "{\"failed\": []}");
	say(fd, AGENT_EVENT, 0, 0, "{\"event\": \"ready\"}");
	return fd;
}

/* --- agents that behave -------------------------------------------------------------------------------------------- */

static void test_ready(void **state)
{
	struct sample *s = *state;
	int fd;

	attend(s, "");
	assert_false(vm_agent_seen(s->agent));
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_ABSENT);
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	assert_true(vm_agent_seen(s->agent));
	assert_string_equal(vm_agent_version(s->agent), "0.1.0");
	close(fd);
	expect_state(s, VM_AGENT_ABSENT);
	/* It rebooted: all of it again. */
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	close(fd);
}

/* Neither the answer nor the event is enough alone. */
static void test_ready_needs_both(void **state)
{
	struct sample *s = *state;
	uint32_t config;
	int fd;

	attend(s, "");
	fd = greet(s, &config);
	say(fd, AGENT_EVENT, 0, 0, "{\"event\": \"ready\"}");
	say(fd, AGENT_PING, 9, 1, "");
	json_object_put(hear(fd, AGENT_PING, 2, NULL));
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_CONFIGURING);
	say(fd, AGENT_CONFIG, config, 2, "");
	expect_state(s, VM_AGENT_READY);
	close(fd);
}

static void test_probes(void **state)
{
	struct sample *s = *state;
	struct json_object *o, *member;
	uint32_t wait;
	int fd;

	attend(s,
	       "\"probes\": [{\"name\": \"web\", \"port\": 80, \"interval\": \"10ms\", \"hint\": \"look there\"},"
	       "{\"name\": \"sh\", \"command\": \"exit 0\"}]");
	fd = become_configured(s);
	o = hear(fd, AGENT_WAIT, 1, &wait);
	assert_true(json_object_object_get_ex(o, "port", &member));
	assert_int_equal(json_object_get_int(member), 80);
	json_object_put(o);
	expect_state(s, VM_AGENT_PROBING);
	assert_string_equal(vm_agent_words(s->agent), "probe web (hint: look there)");
	say(fd, AGENT_ERROR, wait, 2,
	    "{\"code\": \"timeout\", \"text\": \"nobody\\u001b listens\"}");
	json_object_put(hear(fd, AGENT_WAIT, 1, &wait)); /* again, after its interval */
	assert_non_null(strstr(vm_agent_words(s->agent), "probe web: nobody"));
	assert_null(strchr(vm_agent_words(s->agent), '\033'));
	assert_non_null(strstr(vm_agent_words(s->agent), "(hint: look there)"));
	say(fd, AGENT_WAIT, wait, 2, "{}");
	o = hear(fd, AGENT_WAIT, 1, &wait);
	assert_true(json_object_object_get_ex(o, "command", &member));
	assert_string_equal(json_object_to_json_string_ext(member,
							   JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE),
			    "[\"/bin/sh\",\"-c\",\"exit 0\"]");
	json_object_put(o);
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_PROBING);
	say(fd, AGENT_WAIT, wait, 2, "{}");
	expect_state(s, VM_AGENT_READY);
	close(fd);
}

static void test_distros_are_mounted(void **state)
{
	struct sample *s = *state;
	struct json_object *o, *member;
	uint32_t config, mount;
	int fd;

	attend(s, "\"distros\": {\"deb\": {\"image\": \"/d.squashfs\"}}");
	fd = greet(s, &config);
	o = hear(fd, AGENT_MOUNT, 1, &mount);
	assert_true(json_object_object_get_ex(o, "serial", &member));
	assert_string_equal(json_object_get_string(member), "deb");
	json_object_put(o);
	say(fd, AGENT_CONFIG, config, 2, "");
	say(fd, AGENT_EVENT, 0, 0, "{\"event\": \"ready\"}");
	say(fd, AGENT_ERROR, mount, 2, "{\"code\": \"not-found\", \"text\": \"no disk deb\"}");
	expect_state(s, VM_AGENT_FAILED);
	assert_string_equal(vm_agent_words(s->agent), "distribution: no disk deb");
	close(fd);
}

static void test_failure_is_told(void **state)
{
	struct sample *s = *state;
	uint32_t config;
	int fd;

	attend(s, "");
	fd = greet(s, &config);
	say(fd, AGENT_CONFIG, config, 2, "{\"failed\": [\"eth0: no such NIC\", \"more\"]}");
	expect_state(s, VM_AGENT_FAILED);
	assert_string_equal(vm_agent_words(s->agent), "eth0: no such NIC");
	/* What comes after it is its consequence. */
	say(fd, AGENT_EVENT, 0, 0, "{\"event\": \"failed\", \"text\": \"later\"}");
	say(fd, AGENT_PING, 9, 1, "");
	json_object_put(hear(fd, AGENT_PING, 2, NULL));
	assert_string_equal(vm_agent_words(s->agent), "eth0: no such NIC");
	close(fd);
}

static void refused(void *data)
{
	((struct sample *)data)->n_refused++;
}

static void test_shutdown(void **state)
{
	struct sample *s = *state;
	struct json_object *o, *member;
	uint32_t shutdown_id;
	int fd;

	attend(s, "");
	assert_false(vm_agent_shutdown(s->agent, 1000, refused, s));
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	assert_true(vm_agent_shutdown(s->agent, 1000, refused, s));
	o = hear(fd, AGENT_SHUTDOWN, 1, &shutdown_id);
	assert_true(json_object_object_get_ex(o, "how", &member));
	assert_string_equal(json_object_get_string(member), "poweroff");
	json_object_put(o);
	say(fd, AGENT_ERROR, shutdown_id, 2, "{\"code\": \"unsupported\", \"text\": \"no\"}");
	say(fd, AGENT_PING, 9, 1, "");
	json_object_put(hear(fd, AGENT_PING, 2, NULL));
	assert_int_equal(s->n_refused, 1);
	close(fd);
}

/* --- agents that attack -------------------------------------------------------------------------------------------- */

static void expect_end(int fd)
{
	char byte;

	while (hear_bytes(fd, &byte, 1))
		;
	close(fd);
}

static void test_breaches_end_the_connection(void **state)
{
	struct sample *s = *state;
	static const struct {
		uint32_t type, size, step;
	} bad[] = {
		{ AGENT_HELLO, 0, 1 },          { AGENT_HELLO, 15, 1 },
		{ AGENT_HELLO, UINT32_MAX, 1 }, { AGENT_HELLO, AGENT_MESSAGE_MAX + 1, 1 },
		{ AGENT_ATTACH, 36, 0 },        { AGENT_EVENT, 16, 0 },
		{ AGENT_PING, 16, 1 },          { 4711, 16, 1 },
	};
	int fd;

	attend(s, "");
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct agent_header h = { bad[i].type, bad[i].size, 1, bad[i].step };
		uint8_t bytes[AGENT_HEADER_SIZE];

		fd = dial(s);
		agent_header_put(bytes, &h);
		assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
		expect_end(fd);
	}
	fd = dial(s);
	say(fd, AGENT_HELLO, 1, 1, "{\"version\": [7, 9]}");
	json_object_put(hear(fd, AGENT_ERROR, 2, NULL));
	expect_end(fd);
	fd = dial(s);
	say(fd, AGENT_HELLO, 1, 1, "[]");
	expect_end(fd);
	assert_false(vm_agent_seen(s->agent));
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	/* A second HELLO is one too many. */
	say(fd, AGENT_HELLO, 2, 1, HELLO);
	expect_end(fd);
	expect_state(s, VM_AGENT_ABSENT);
}

/* Requests nobody knows are refused politely, bodies that mean nothing are passed over. */
static void test_nonsense_is_survived(void **state)
{
	struct sample *s = *state;
	static const char *const events[] = {
		"",
		"{\"event\": 7}",
		"{\"event\": \"ready\", \"text\": [[[]]]}",
		"{\"event\": \"sunrise\"}",
		"{\"event\": \"failed\"}",
	};
	int fd;

	attend(s, "");
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	for (unsigned i = 0; i < G_N_ELEMENTS(events); i++)
		say(fd, AGENT_EVENT, 0, 0, events[i]);
	say(fd, 4711, 5, 1, "{}");
	json_object_put(hear(fd, AGENT_ERROR, 2, NULL));
	say(fd, AGENT_EXIT, 77, 3, "{}"); /* of nothing that was asked */
	say(fd, AGENT_PING, 9, 1, "");
	json_object_put(hear(fd, AGENT_PING, 2, NULL));
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_READY);
	close(fd);
}

/* Random bytes, many callers, and one that asks without reading: the next that behaves is served. */
static void test_floods(void **state)
{
	struct sample *s = *state;
	g_autoptr(GRand) r = g_rand_new_with_seed(3);
	uint8_t bytes[4096];
	struct agent_header ping = { AGENT_PING, AGENT_HEADER_SIZE, 1, 1 };
	gint64 deadline = g_get_monotonic_time() + PATIENCE_US;
	int fd;

	attend(s, "");
	for (unsigned i = 0; i < 300; i++) {
		fd = dial(s);
		for (unsigned j = 0; j < sizeof(bytes); j++)
			bytes[j] = (uint8_t)g_rand_int(r);
		(void)!send(fd, bytes, (size_t)g_rand_int_range(r, 0, sizeof(bytes)),
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		while (g_main_context_iteration(NULL, FALSE))
			;
		close(fd);
	}
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	for (unsigned i = 0; i < sizeof(bytes) / AGENT_HEADER_SIZE; i++)
		agent_header_put(bytes + (size_t)i * AGENT_HEADER_SIZE, &ping);
	while (vm_agent_state(s->agent) == VM_AGENT_READY && g_get_monotonic_time() < deadline) {
		(void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
		g_main_context_iteration(NULL, FALSE);
	}
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_ABSENT);
	close(fd);
	fd = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	close(fd);
}

/* A caller that says nothing does not keep the next one out, nor one that is served from being served. */
static void test_silence(void **state)
{
	struct sample *s = *state;
	int silent, served;

	attend(s, "");
	silent = dial(s);
	served = become_configured(s);
	expect_state(s, VM_AGENT_READY);
	close(silent);
	silent = dial(s);
	say(served, AGENT_PING, 9, 1, "");
	json_object_put(hear(served, AGENT_PING, 2, NULL));
	assert_int_equal(vm_agent_state(s->agent), VM_AGENT_READY);
	close(silent);
	close(served);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ready, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ready_needs_both, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_probes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_distros_are_mounted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failure_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shutdown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_breaches_end_the_connection, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_nonsense_is_survived, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_floods, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
