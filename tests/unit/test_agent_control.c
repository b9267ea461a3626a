/* SPDX-License-Identifier: MIT */
/* The agent's control connections, message by message: HELLO, what is refused and how, CONFIG, the connection that it dials. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/protocol.h"
#include "agent_peer.h"

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

/* A message as it is, whether it is allowed or not. */
static void send_raw(int fd, uint32_t type, uint32_t size, uint32_t transaction, uint32_t step,
		     const char *body)
{
	const struct agent_header header = {
		.type = type, .size = size, .transaction = transaction, .step = step
	};
	uint8_t bytes[AGENT_HEADER_SIZE];

	agent_header_put(bytes, &header);
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	if (*body)
		assert_int_equal(send(fd, body, strlen(body), MSG_NOSIGNAL), strlen(body));
}

static void send_message(int fd, uint32_t type, uint32_t transaction, uint32_t step,
			 const char *body)
{
	send_raw(fd, type, (uint32_t)(AGENT_HEADER_SIZE + strlen(body)), transaction, step, body);
}

static void assert_closed(int fd)
{
	struct agent_header header;

	assert_null(peer_next(fd, &header));
	close(fd);
}

static void assert_lives(int fd)
{
	peer_expect(fd, peer_ask(fd, AGENT_PING, "{}"), AGENT_PING, NULL);
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value;

	assert_true(json_object_object_get_ex(o, key, &value));
	return value;
}

static bool array_has(struct json_object *array, const char *word)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		if (strcmp(json_object_get_string(json_object_array_get_idx(array, i)), word) == 0)
			return true;
	}
	return false;
}

/* --- HELLO ------------------------------------------------------------------------------------------------- */

static void hello_tells_version_and_capabilities(void **state)
{
	int fd = peer_connect(*state);
	uint32_t asked = peer_ask(fd, AGENT_HELLO, "{\"version\": [1, 7], \"new\": true}");
	struct json_object *hello = peer_answer(fd, asked, AGENT_HELLO, NULL);
	struct json_object *version = member(hello, "version");

	assert_int_equal(json_object_get_int(json_object_array_get_idx(version, 0)),
			 AGENT_VERSION_MIN);
	assert_int_equal(json_object_get_int(json_object_array_get_idx(version, 1)),
			 AGENT_VERSION_MAX);
	assert_true(array_has(member(hello, "capabilities"), "exec"));
	assert_true(array_has(member(hello, "capabilities"), "tty"));
	assert_false(array_has(member(hello, "capabilities"), "init"));
	assert_int_equal(json_object_get_string_len(member(hello, "boot-id")), 36);
	json_object_put(hello);
	close(fd);
}

static void no_version_in_common_is_told(void **state)
{
	static const char *const ranges[] = { "[2, 9]", "[0, 0]" };

	for (size_t i = 0; i < 2; i++) {
		int fd = peer_connect(*state);

		peer_expect(fd, peer_ask(fd, AGENT_HELLO, "{\"version\": %s}", ranges[i]),
			    AGENT_HELLO, "version");
		assert_closed(fd);
	}
}

static void a_wrong_hello_is_told(void **state)
{
	static const char *const bodies[] = { "{}", "{\"version\": 1}", "{\"version\": [1]}",
					      "{\"version\": [3, 1]}",
					      "{\"version\": [\"1\", 1]}" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		int fd = peer_connect(*state);

		peer_expect(fd, peer_ask(fd, AGENT_HELLO, "%s", bodies[i]), AGENT_HELLO,
			    "bad-request");
		assert_closed(fd);
	}
}

static void first_is_hello_or_attach(void **state)
{
	int fd = peer_connect(*state);

	send_message(fd, AGENT_PING, 1, 1, "{}");
	assert_closed(fd);
	fd = peer_connect(*state);
	send_message(fd, AGENT_HELLO, 1, 2, "{\"version\": [1, 1]}");
	assert_closed(fd);
	fd = peer_connect(*state);
	send_message(fd, AGENT_HELLO, 1, 1, "no JSON at all");
	assert_closed(fd);
	fd = peer_connect(*state);
	send_raw(fd, AGENT_ATTACH, AGENT_ATTACH_SIZE + 1, 0, 0, "0123456789abcdef01234");
	assert_closed(fd);
	fd = peer_connect(*state);
	assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
	assert_closed(fd);
}

static void hello_comes_once(void **state)
{
	int fd = peer_control(*state);

	peer_expect(fd, peer_ask(fd, AGENT_HELLO, "{\"version\": [1, 1]}"), AGENT_HELLO,
		    "bad-request");
	assert_lives(fd);
	close(fd);
}

/* --- framing ----------------------------------------------------------------------------------------------- */

static void a_wrong_size_ends_the_connection(void **state)
{
	static const uint32_t sizes[] = { 0, 15, AGENT_MESSAGE_MAX + 1, 0x7fffffff, 0xffffffff };
	int other = peer_control(*state);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = peer_control(*state);

		send_raw(fd, AGENT_PING, sizes[i], 1, 1, "");
		assert_closed(fd);
		assert_lives(other);
	}
	close(other);
}

static void the_largest_message_is_taken(void **state)
{
	int fd = peer_control(*state);
	char *body = malloc(AGENT_MESSAGE_MAX);
	size_t len = AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE;

	memset(body, ' ', len);
	memcpy(body, "{}", 2);
	body[len] = '\0';
	send_message(fd, AGENT_PING, 77, 1, body);
	peer_expect(fd, 77, AGENT_PING, NULL);
	free(body);
	close(fd);
}

static void data_records_do_not_belong_here(void **state)
{
	static const uint32_t types[] = { AGENT_ATTACH, AGENT_ENTRY, AGENT_EXTENT, AGENT_HASH,
					  AGENT_END };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = peer_control(*state);

		send_message(fd, types[i], 1, 0, "");
		assert_closed(fd);
	}
}

static void bytes_may_come_one_by_one(void **state)
{
	int fd = peer_connect(*state);
	static const char hello[] = "{\"version\": [1, 1]}";
	uint8_t bytes[AGENT_HEADER_SIZE + sizeof(hello) - 1];
	const struct agent_header header = {
		.type = AGENT_HELLO, .size = sizeof(bytes), .transaction = 9, .step = 1
	};

	agent_header_put(bytes, &header);
	memcpy(bytes + AGENT_HEADER_SIZE, hello, sizeof(hello) - 1);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
		usleep(500);
	}
	peer_expect(fd, 9, AGENT_HELLO, NULL);
	assert_lives(fd);
	close(fd);
}

static void everything_may_come_at_once(void **state)
{
	int fd = peer_connect(*state);

	send_message(fd, AGENT_HELLO, 1, 1, "{\"version\": [1, 1]}");
	for (uint32_t i = 2; i < 300; i++)
		send_message(fd, AGENT_PING, i, 1, "");
	peer_expect(fd, 1, AGENT_HELLO, NULL);
	for (uint32_t i = 2; i < 300; i++)
		peer_expect(fd, i, AGENT_PING, NULL);
	close(fd);
}

/* --- requests ---------------------------------------------------------------------------------------------- */

static void unknown_types_are_refused_politely(void **state)
{
	static const uint32_t types[] = { 0, 4711, 0xffffffff, AGENT_EVENT, AGENT_EXIT };
	int fd = peer_control(*state);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		peer_expect(fd, peer_ask(fd, types[i], "{\"a\": 1}"), 0, "unknown-type");
	assert_lives(fd);
	close(fd);
}

static void bad_bodies_are_refused_politely(void **state)
{
	static const char *const bodies[] = {
		"{", "[]", "1", "{\"a\": \xff}", "{} {}", "{\"a\" 1}"
	};
	int fd = peer_control(*state);

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		peer_expect(fd, peer_ask(fd, AGENT_PING, "%s", bodies[i]), 0, "bad-request");
	peer_expect(fd, peer_ask(fd, AGENT_PING, "{\"a\": [[[[[[[[]]]]]]]]}"), 0, "limit");
	assert_lives(fd);
	close(fd);
}

static void step_0_is_not_answered(void **state)
{
	int fd = peer_control(*state);

	send_message(fd, AGENT_PING, 5, 0, "");
	send_message(fd, AGENT_EXEC, 6, 0, "{}");
	send_message(fd, 4711, 7, 0, "");
	assert_lives(fd); /* its answer is the first that comes */
	close(fd);
}

static void answers_nobody_asked_for_are_nothing(void **state)
{
	int fd = peer_control(*state);

	send_message(fd, AGENT_PING, 1, 2, "{}");
	send_message(fd, AGENT_ERROR, 1, 2, "{\"code\": \"failed\"}");
	send_message(fd, AGENT_EXEC, 1, 3, "{}");
	assert_lives(fd);
	close(fd);
}

/* Who does not fetch his answers is not read from; the others are served, and nothing is lost. */
static void a_lazy_reader_waits_for_himself(void **state)
{
	int lazy = peer_control(*state), other = peer_control(*state);
	uint8_t ping[AGENT_HEADER_SIZE];
	struct agent_header header = { .type = AGENT_PING, .size = sizeof(ping), .step = 1 };
	struct pollfd can = { .fd = lazy, .events = POLLOUT };
	uint32_t sent = 0;

	while (sent < 200000 && poll(&can, 1, 200) == 1) {
		header.transaction = ++sent;
		agent_header_put(ping, &header);
		if (send(lazy, ping, sizeof(ping), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(ping)) {
			sent--;
			break;
		}
	}
	assert_in_range(sent, 1000, 199999);
	assert_lives(other);
	for (uint32_t i = 1; i <= sent; i++)
		peer_expect(lazy, i, AGENT_PING, NULL);
	assert_lives(lazy);
	close(lazy);
	close(other);
}

static void sessions_have_a_limit(void **state)
{
	int fds[AGENT_MAX_SESSIONS];
	int one_more;

	for (unsigned i = 0; i < AGENT_MAX_SESSIONS; i++)
		fds[i] = peer_control(*state);
	one_more = peer_connect(*state);
	assert_closed(one_more);
	assert_lives(fds[0]);
	for (unsigned i = 0; i < AGENT_MAX_SESSIONS; i++)
		close(fds[i]);
}

/* --- CONFIG ------------------------------------------------------------------------------------------------ */

/* "failed" of the answer, joined. */
static void config(int fd, const char *body, char *out, size_t size)
{
	uint32_t asked = peer_ask(fd, AGENT_CONFIG, "%s", body);
	struct json_object *answer = peer_answer(fd, asked, AGENT_CONFIG, NULL);
	struct json_object *failed = member(answer, "failed");
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < json_object_array_length(failed); i++)
		len += (size_t)snprintf(
			out + len, size - len, "%s;",
			json_object_get_string(json_object_array_get_idx(failed, i)));
	json_object_put(answer);
}

static void config_writes_files(void **state)
{
	struct peer *peer = *state;
	int fd = peer_control(peer);
	char body[512], failed[512], path[128], text[32] = "";
	struct stat st;
	FILE *file;

	tmp_path(&peer->tmp, "a/b/motd", path, sizeof(path));
	snprintf(
		body, sizeof(body),
		"{\"files\": [{\"path\": \"%s\", \"text\": \"caf\\u00e9\\n\", \"mode\": \"0640\"}]}",
		path);
	for (int i = 0; i < 2; i++) {
		config(fd, body, failed, sizeof(failed));
		assert_string_equal(failed, "");
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0640);
		file = fopen(path, "r");
		assert_non_null(file);
		assert_int_equal(fread(text, 1, sizeof(text), file), 6);
		assert_string_equal(text, "caf\xc3\xa9\n");
		fclose(file);
	}
	close(fd);
}

static void config_tells_each_failure(void **state)
{
	static const struct {
		const char *body, *failed;
	} cases[] = {
		{ "{}", "" },
		{ "{\"later\": [1], \"hostname\": null}", "" },
		{ "{\"hostname\": \"a b\"}", "hostname: Invalid argument;" },
		{ "{\"hostname\": \"\"}", "hostname: Invalid argument;" },
		{ "{\"hostname\": 7}", "hostname: Invalid argument;" },
		{ "{\"hosts\": [{\"names\": []}]}", "hosts: \"address\" is missing or wrong;" },
		{ "{\"hosts\": [{\"address\": \"10.0.0.1\", \"names\": [\"a b\"]}]}",
		  "hosts: this is no name;" },
		{ "{\"interfaces\": [{\"mac\": \"0e:ff:ff:ff:ff:fe\"}, {\"mac\": \"x\"}, {}]}",
		  "no NIC has MAC 0e:ff:ff:ff:ff:fe;no NIC has MAC x;interfaces: \"mac\" is missing or "
		  "wrong;" },
		{ "{\"users\": [{\"name\": \"a:b\", \"uid\": 5}, {\"name\": \"x\"}]}",
		  "user a:b: Invalid argument;x: \"uid\" is missing or wrong;" },
		{ "{\"users\": [{\"name\": \"root\", \"uid\": 5}]}", "user root: File exists;" },
		{ "{\"files\": [{\"path\": \"relative\", \"text\": \"\"}]}",
		  "relative: Invalid argument;" },
		{ "{\"files\": [{\"path\": \"/x\", \"text\": \"\", \"mode\": \"0999\"}]}",
		  "/x: Invalid argument;" },
		{ "{\"files\": [{\"path\": \"/proc/x/y\", \"text\": \"\"}]}",
		  "/proc/x/y: No such file or directory;" },
		{ "{\"mounts\": [{\"type\": \"tmpfs\"}]}",
		  "mounts: \"target\" is missing or wrong;" },
		{ "{\"clock\": {\"realtime-ns\": -1}}",
		  "clock: \"realtime-ns\" is missing or wrong;" },
	};
	int fd = peer_control(*state);
	char failed[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		config(fd, cases[i].body, failed, sizeof(failed));
		assert_string_equal(failed, cases[i].failed);
	}
	peer_expect(fd, peer_ask(fd, AGENT_CONFIG, "{\"more\": 1}"), 0, "bad-request");
	close(fd);
}

/* --- the connection that the agent dials ------------------------------------------------------------------- */

static int host_listen(struct peer *peer)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", peer->host);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int host_accept(int listener)
{
	struct pollfd wait = { .fd = listener, .events = POLLIN };
	int fd;

	assert_int_equal(poll(&wait, 1, PEER_MS), 1);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* The agent asks, the host answers. */
static int host_meet(int listener)
{
	int fd = host_accept(listener);
	struct agent_header header;
	struct json_object *hello = peer_next(fd, &header);

	assert_non_null(hello);
	assert_int_equal(header.type, AGENT_HELLO);
	assert_int_equal(header.step, 1);
	json_object_put(hello);
	send_message(fd, AGENT_HELLO, header.transaction, 2, "{\"version\": [1, 1]}");
	return fd;
}

static void assert_event(int fd, const char *event, const char *text)
{
	struct agent_header header;
	struct json_object *body = peer_next(fd, &header);

	assert_non_null(body);
	assert_int_equal(header.type, AGENT_EVENT);
	assert_int_equal(header.step, 0);
	assert_string_equal(json_object_get_string(member(body, "event")), event);
	if (text)
		assert_string_equal(json_object_get_string(member(body, "text")), text);
	json_object_put(body);
}

static void ready_follows_a_good_config(void **state)
{
	int listener = host_listen(*state), fd = host_meet(listener);

	send_message(fd, AGENT_CONFIG, 1, 1, "{}");
	peer_expect(fd, 1, AGENT_CONFIG, NULL);
	assert_event(fd, "ready", NULL);
	send_message(fd, AGENT_CONFIG, 2, 1, "{\"hostname\": \"a b\", \"more\": true}");
	peer_expect(fd, 2, AGENT_CONFIG, NULL);
	assert_event(fd, "failed", "hostname: Invalid argument");
	send_message(fd, AGENT_CONFIG, 3, 1, "{}"); /* its first part has failed */
	peer_expect(fd, 3, AGENT_CONFIG, NULL);
	send_message(fd, AGENT_CONFIG, 4, 1, "{}");
	peer_expect(fd, 4, AGENT_CONFIG, NULL);
	assert_event(fd, "ready", NULL);
	close(fd);
	close(listener);
}

static void it_dials_again(void **state)
{
	int listener = host_listen(*state);

	for (int i = 0; i < 3; i++) {
		int fd = host_meet(listener);

		assert_lives(fd);
		close(fd);
	}
	close(host_accept(listener)); /* without a word */
	close(host_meet(listener));
	close(listener);
}

static void what_answers_wrongly_is_dropped(void **state)
{
	static const char *const answers[] = { "{\"version\": [5, 6]}", "{}", "rubbish" };
	int listener = host_listen(*state);

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		int fd = host_accept(listener);
		struct agent_header header;

		json_object_put(peer_next(fd, &header));
		send_message(fd, AGENT_HELLO, header.transaction, 2, answers[i]);
		while (true) {
			struct json_object *word = peer_next(fd, &header);

			if (!word)
				break;
			assert_int_equal(header.type, AGENT_ERROR);
			json_object_put(word);
		}
		close(fd);
	}
	close(host_meet(listener));
	close(listener);
}

#define AGENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(hello_tells_version_and_capabilities),
		AGENT_TEST(no_version_in_common_is_told),
		AGENT_TEST(a_wrong_hello_is_told),
		AGENT_TEST(first_is_hello_or_attach),
		AGENT_TEST(hello_comes_once),
		AGENT_TEST(a_wrong_size_ends_the_connection),
		AGENT_TEST(the_largest_message_is_taken),
		AGENT_TEST(data_records_do_not_belong_here),
		AGENT_TEST(bytes_may_come_one_by_one),
		AGENT_TEST(everything_may_come_at_once),
		AGENT_TEST(unknown_types_are_refused_politely),
		AGENT_TEST(bad_bodies_are_refused_politely),
		AGENT_TEST(step_0_is_not_answered),
		AGENT_TEST(answers_nobody_asked_for_are_nothing),
		AGENT_TEST(a_lazy_reader_waits_for_himself),
		AGENT_TEST(sessions_have_a_limit),
		AGENT_TEST(config_writes_files),
		AGENT_TEST(config_tells_each_failure),
		AGENT_TEST(ready_follows_a_good_config),
		AGENT_TEST(it_dials_again),
		AGENT_TEST(what_answers_wrongly_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
