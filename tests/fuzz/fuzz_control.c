/* SPDX-License-Identifier: MIT */
/* The control socket on arbitrary bytes: they arrive on a connection in pieces whose size the first
 * byte says, and whatever is answered must be lines of JSON-RPC, each with a result or an error. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "control.h"
#include "log.h"
#include "loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static int do_echo(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	*ret = json_object_get(params);
	return 0;
}

static int do_typed(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct control *control = *(struct control **)control_context(call);
	const char *s = NULL;
	uint64_t n = 0;
	bool b = false;
	int r = control_string(call, params, "s", &s);

	if (r == 0)
		r = control_uint(call, params, "n", 1000, &n);
	if (r == 0)
		r = control_bool(call, params, "b", &b);
	if (r < 0)
		return r;
	CHECK(s && *s && n <= 1000);
	control_notify(control, "typed", json_object_get(params));
	return 0;
}

static const struct control_method methods[] = {
	{ "echo", do_echo, "a?,b?" },
	{ "typed", do_typed, "s,n?,b?" },
};

static char answers[1 << 20];

/* Every line is one answer or notification, as the specification has them. */
static void check_line(struct json_tokener *tok, const char *line, size_t len)
{
	struct json_object *o, *member;

	json_tokener_reset(tok);
	o = json_tokener_parse_ex(tok, line, (int)len);
	CHECK(o && json_tokener_get_error(tok) == json_tokener_success);
	CHECK(json_object_object_get_ex(o, "jsonrpc", &member));
	if (json_object_object_get_ex(o, "method", NULL))
		CHECK(!json_object_object_get_ex(o, "id", NULL));
	else
		CHECK(json_object_object_get_ex(o, "id", NULL) &&
		      json_object_object_get_ex(o, "result", NULL) !=
			      json_object_object_get_ex(o, "error", NULL));
	json_object_put(o);
}

static size_t check_answers(size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(CONTROL_DEPTH_MAX + 4);
	char *line = answers, *end;

	json_tokener_set_flags(tok, control_json_flags());
	while ((end = memchr(line, '\n', len - (size_t)(line - answers)))) {
		check_line(tok, line, (size_t)(end - line));
		line = end + 1;
	}
	json_tokener_free(tok);
	len -= (size_t)(line - answers);
	memmove(answers, line, len);
	return len; /* the beginning of a line */
}

static size_t drain(int fd, size_t len)
{
	ssize_t n;

	while ((n = recv(fd, answers + len, sizeof(answers) - len, MSG_DONTWAIT)) > 0)
		len = check_answers(len + (size_t)n);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control *control = NULL;
	struct loop loop;
	size_t piece, len = 0;
	int pair[2];

	if (size == 0 || size > 4 * CONTROL_LINE_MAX)
		return 0;
	piece = data[0] ? (size_t)data[0] * data[0] : size; /* 1 to 65025 bytes, or all */
	data++;
	size--;
	log_set_level(LOG_LEVEL_ERROR);
	CHECK(loop_init(&loop) == 0);
	CHECK(control_new(&loop, -1, methods, array_size(methods), &control, &control) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(control_attach(control, pair[0]) == 0);
	while (size > 0) {
		ssize_t n = send(pair[1], data, min(piece, size), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break; /* it ended the connection */
		data += max(n, (ssize_t)0);
		size -= (size_t)max(n, (ssize_t)0);
		CHECK(loop_once(&loop, 0) == 0);
		len = drain(pair[1], len);
	}
	for (unsigned i = 0; i < 4 * CONTROL_LINE_MAX / 4096 + 2; i++)
		CHECK(loop_once(&loop, 0) == 0);
	len = drain(pair[1], len);
	CHECK(len == 0); /* never half a line */
	close(pair[1]);
	CHECK(loop_once(&loop, 0) == 0);
	control_free(control);
	loop_done(&loop);
	return 0;
}
