/* SPDX-License-Identifier: MIT */
/* Message type → function: what this agent can do. */
#include "agent/guest/session.h"

#include "agent/guest/config.h"
#include "agent/guest/exec.h"
#include "agent/guest/shutdown.h"

static void ping(struct session *session, const struct request *request)
{
	session_ok(session, request);
}

static const struct {
	uint32_t type;
	handler_fn *handler;
} handlers[] = {
	{ AGENT_PING, ping },
	{ AGENT_CONFIG, config_request },
	{ AGENT_EXEC, exec_request },
	{ AGENT_SIGNAL, exec_signal_request },
	{ AGENT_WINSIZE, exec_winsize_request },
	{ AGENT_SHUTDOWN, shutdown_request },
};

handler_fn *handler_find(uint32_t type)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		if (handlers[i].type == type)
			return handlers[i].handler;
	}
	return NULL;
}
