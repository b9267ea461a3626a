/* SPDX-License-Identifier: MIT */
#include "agent_peer.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/protocol.h"

static void pause_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static int try_connect(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void exec_agent(const struct peer *peer, const char *const *wrap)
{
	char listen[128], connect[128];
	const char *argv[16];
	unsigned n = 0;

	/* cmocka would take a crash before exec for the test's, and go on with the next test in this process, too. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	snprintf(listen, sizeof(listen), "unix:%s", peer->socket);
	snprintf(connect, sizeof(connect), "unix:%s", peer->host);
	while (wrap && *wrap)
		argv[n++] = *wrap++;
	argv[n++] = getenv("AGENT");
	argv[n++] = "--listen";
	argv[n++] = listen;
	argv[n++] = "--connect";
	argv[n++] = connect;
	argv[n] = NULL;
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void peer_start(struct peer *peer, const char *const *wrap)
{
	int fd = -1;

	assert_non_null(getenv("AGENT"));
	tmp_dir_init(&peer->tmp);
	tmp_path(&peer->tmp, "agent", peer->socket, sizeof(peer->socket));
	tmp_path(&peer->tmp, "host", peer->host, sizeof(peer->host));
	peer->pid = fork();
	assert_true(peer->pid >= 0);
	if (peer->pid == 0)
		exec_agent(peer, wrap);
	for (unsigned i = 0; fd < 0 && i < PEER_MS / 10; i++) {
		pause_ms(10);
		assert_int_equal(waitpid(peer->pid, NULL, WNOHANG), 0);
		fd = try_connect(peer->socket);
	}
	assert_true(fd >= 0);
	close(fd);
}

void peer_kill(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	assert_int_equal(waitpid(peer->pid, NULL, 0), peer->pid);
	tmp_dir_done(&peer->tmp);
}

void peer_stop(struct peer *peer)
{
	int status = -1;
	pid_t ended = 0;

	kill(peer->pid, SIGTERM);
	for (unsigned i = 0; ended == 0 && i < PEER_MS / 10; i++) {
		ended = waitpid(peer->pid, &status, WNOHANG);
		if (ended == 0)
			pause_ms(10);
	}
	assert_int_equal(ended, peer->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	tmp_dir_done(&peer->tmp);
}

static void send_all(int fd, const void *data, size_t size)
{
	assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
}

int peer_connect(struct peer *peer)
{
	int fd = try_connect(peer->socket);

	assert_true(fd >= 0);
	return fd;
}

int peer_attach(struct peer *peer, const char *token, uint32_t stream)
{
	struct agent_attach attach = { .stream = stream };
	uint8_t bytes[AGENT_ATTACH_SIZE];
	int fd = peer_connect(peer);

	assert_true(agent_token_from_hex(token, attach.token));
	agent_attach_put(bytes, &attach);
	send_all(fd, bytes, sizeof(bytes));
	return fd;
}

const char *peer_token(void)
{
	static char hex[AGENT_TOKEN_HEX];
	static uint32_t n;

	snprintf(hex, sizeof(hex), "%024x%08x", 0x5eed, ++n);
	return hex;
}

uint32_t peer_ask(int control, uint32_t type, const char *format, ...)
{
	static uint32_t transaction;
	uint8_t message[AGENT_MESSAGE_MAX];
	struct agent_header header = { .type = type, .transaction = ++transaction, .step = 1 };
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf((char *)message + AGENT_HEADER_SIZE, sizeof(message) - AGENT_HEADER_SIZE,
		      format, args);
	va_end(args);
	assert_in_range(n, 0, AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE - 1);
	header.size = AGENT_HEADER_SIZE + (uint32_t)n;
	agent_header_put(message, &header);
	send_all(control, message, header.size);
	return transaction;
}

/* False: the end came before the first byte. */
static bool read_all(int fd, void *data, size_t size)
{
	uint8_t *p = data;

	while (size > 0) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&wait, 1, PEER_MS), 1);
		n = recv(fd, p, size, 0);
		if (n <= 0 && p == data)
			return false;
		assert_true(n > 0);
		p += n;
		size -= (size_t)n;
	}
	return true;
}

struct json_object *peer_next(int control, struct agent_header *ret_header)
{
	uint8_t bytes[AGENT_HEADER_SIZE];
	char body[AGENT_MESSAGE_MAX];
	struct json_object *object;
	size_t size;

	if (!read_all(control, bytes, sizeof(bytes)))
		return NULL;
	agent_header_get(bytes, ret_header);
	assert_int_equal(agent_header_check(ret_header, AGENT_CONTROL), 0);
	size = ret_header->size - AGENT_HEADER_SIZE;
	assert_true(read_all(control, body, size));
	body[size] = '\0';
	object = json_tokener_parse(body[0] ? body : "{}");
	assert_non_null(object);
	return object;
}

struct json_object *peer_read(int control, uint32_t *ret_type, uint32_t *ret_transaction)
{
	struct agent_header header = { .step = 0 };
	struct json_object *object = NULL;

	while (!header.step) {
		json_object_put(object);
		object = peer_next(control, &header);
		assert_non_null(object);
	}
	*ret_type = header.type;
	*ret_transaction = header.transaction;
	return object;
}

struct json_object *peer_answer(int control, uint32_t transaction, uint32_t type, const char *code)
{
	uint32_t got_type, got_transaction;
	struct json_object *body = peer_read(control, &got_type, &got_transaction);

	if (got_transaction != transaction)
		fail_msg("%s of %u instead of an answer to %u: %s", agent_type_name(got_type),
			 got_transaction, transaction, json_object_to_json_string(body));
	if (got_type != (code ? AGENT_ERROR : type))
		fail_msg("%s instead of %s: %s", agent_type_name(got_type),
			 agent_type_name(code ? AGENT_ERROR : type),
			 json_object_to_json_string(body));
	if (code)
		assert_string_equal(json_object_get_string(json_object_object_get(body, "code")),
				    code);
	return body;
}

void peer_expect(int control, uint32_t transaction, uint32_t type, const char *code)
{
	json_object_put(peer_answer(control, transaction, type, code));
}

int peer_control(struct peer *peer)
{
	int fd = peer_connect(peer);

	peer_expect(fd, peer_ask(fd, AGENT_HELLO, "{\"version\": [1, 1]}"), AGENT_HELLO, NULL);
	return fd;
}
