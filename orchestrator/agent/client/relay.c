/* SPDX-License-Identifier: MIT */
#include "agent/client/relay.h"

#include <unistd.h>

#include "agent/client/ask.h"
#include "agent/client/session.h"
#include "agent/client/token.h"
#include "run/json.h"

/* The data connection, then what it is for: the order does not matter to the agent. */
static int attach(const struct link_address *address, char hex[AGENT_TOKEN_HEX], GError **error)
{
	uint8_t first[AGENT_ATTACH_SIZE];
	struct agent_attach a;

	token_new(&a, hex);
	agent_attach_put(first, &a);
	return link_open(address, first, sizeof(first), error);
}

int relay_open(const struct link_address *address, const char *to, int timeout_ms,
	       bool *ret_answered, GError **error)
{
	struct agent_session *s = agent_session_new(address, NULL, NULL, error);
	struct json_object *body = json_object_new_object();
	char hex[AGENT_TOKEN_HEX];
	int fd = s ? attach(address, hex, error) : -1;

	*ret_answered = false;
	if (fd < 0) {
		json_object_put(body);
		agent_session_free(s);
		return -1;
	}
	json_put_str(body, "to", to);
	json_put_str(body, "token", hex);
	if (agent_ask(s, AGENT_RELAY, body, timeout_ms, NULL, error) &&
	    link_wait(fd, address, timeout_ms, error))
		return fd;
	*ret_answered = agent_session_greeted(s);
	agent_session_free(s);
	close(fd);
	return -1;
}
