/* SPDX-License-Identifier: MIT */
/* Whatever an agent says to the host: a session with requests of every kind under way.
 *
 * The first byte of the input says how the rest comes: bits 0-2, in pieces of 2^n bytes; bit 3, after an "OK" of its VM's
 * socket; bit 4, one of the callbacks frees the session.  Every request has to hear of its end, once. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "agent/client/session.h"

#define CALLS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct call {
	unsigned n_answers, n_errors;
};

static struct agent_session *session;
static bool free_in_callback;
static unsigned n_closed;

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct call *call = data;

	assert(!body == !!error);
	assert(call->n_errors == 0);
	call->n_answers += body != NULL;
	call->n_errors += error != NULL;
	if (free_in_callback)
		agent_session_free(g_steal_pointer(&session));
}

static void on_closed(const GError *error, void *data)
{
	assert(error);
	n_closed++;
}

static void run_main(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

static void say(int fd, const uint8_t *data, size_t size, size_t piece)
{
	while (size > 0) {
		ssize_t n = send(fd, data, MIN(size, piece), MSG_NOSIGNAL | MSG_DONTWAIT);

		run_main();
		if (n < 0)
			return; /* it has hung up */
		data += n;
		size -= (size_t)n;
	}
}

static void ask(struct call *calls)
{
	static const struct {
		enum agent_type type;
		uint32_t last_step;
	} kinds[CALLS] = {
		{ AGENT_PING, 2 }, { AGENT_EXEC, 3 }, { AGENT_COPY, 2 },
		{ AGENT_WAIT, 2 }, { AGENT_EXEC, 3 },
	};

	for (unsigned i = 0; i < CALLS; i++)
		agent_session_request(session, kinds[i].type, NULL, kinds[i].last_step, on_answer,
				      &calls[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct link_address address = { .path = "", .port = size && data[0] & 8 ? 1 : 0 };
	struct call calls[CALLS] = { 0 };
	int pair[2];

	if (size == 0)
		return 0;
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	assert(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
	free_in_callback = data[0] & 16;
	n_closed = 0;
	session = agent_session_adopt(pair[0], &address, on_closed, NULL);
	ask(calls);
	say(pair[1], data + 1, size - 1, (size_t)1 << (data[0] & 7) << 3);
	close(pair[1]);
	run_main();
	assert(n_closed == (session ? 1 : 0));
	for (unsigned i = 0; i < CALLS && session; i++)
		assert(calls[i].n_errors == 1 || calls[i].n_answers == (i == 1 || i == 4 ? 2 : 1));
	agent_session_free(session);
	run_main();
	return 0;
}
