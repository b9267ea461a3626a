/* SPDX-License-Identifier: MIT */
/* Message type → function: what this agent can do. */
#include "agent/guest/session.h"

#include "agent/guest/config.h"
#include "agent/guest/copy.h"
#include "agent/guest/distro.h"
#include "agent/guest/exec.h"
#include "agent/guest/listen.h"
#include "agent/guest/mount.h"
#include "agent/guest/shutdown.h"
#include "agent/guest/wait.h"

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
	{ AGENT_COPY, copy_request },
	{ AGENT_WAIT, wait_request },
	{ AGENT_RELAY, relay_request },
	{ AGENT_LISTEN, listen_request },
	{ AGENT_UNLISTEN, unlisten_request },
	{ AGENT_MOUNT, mount_request },
	{ AGENT_UMOUNT, umount_request },
	{ AGENT_DISTROS, distros_request },
};

handler_fn *handler_find(uint32_t type)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		if (handlers[i].type == type)
			return handlers[i].handler;
	}
	return NULL;
}
