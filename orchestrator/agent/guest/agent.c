/* SPDX-License-Identifier: MIT */
#include "agent/guest/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/link.h"
#include "agent/guest/stream.h"

static void turned(struct loop *loop)
{
	sessions_flush(container_of(loop, struct agent, loop));
}

static void read_boot_id(char id[37])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, id, 36);

	id[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

int agent_init(struct agent *agent)
{
	int err;

	memset(agent, 0, sizeof(*agent));
	list_init(&agent->sessions);
	list_init(&agent->streams);
	list_init(&agent->stream_waits);
	list_init(&agent->children);
	list_init(&agent->execs);
	list_init(&agent->listeners);
	list_init(&agent->distros);
	agent->capabilities = 1U << AGENT_CAPABILITY_EXEC | 1U << AGENT_CAPABILITY_TTY |
			      1U << AGENT_CAPABILITY_STREAMS | 1U << AGENT_CAPABILITY_COPY |
			      1U << AGENT_CAPABILITY_WAIT | 1U << AGENT_CAPABILITY_RELAY |
			      1U << AGENT_CAPABILITY_MOUNT | 1U << AGENT_CAPABILITY_DISTRO |
			      1U << AGENT_CAPABILITY_SHUTDOWN;
	read_boot_id(agent->boot_id);
	agent->doc = json_doc_new();
	if (!agent->doc)
		return -ENOMEM;
	err = loop_init(&agent->loop);
	if (err)
		json_doc_free(agent->doc);
	agent->loop.turned = turned;
	return err;
}

void agent_done(struct agent *agent)
{
	link_stop(agent);
	sessions_end(agent);
	streams_done(agent);
	loop_done(&agent->loop);
	json_doc_free(agent->doc);
}

static void tell_trouble(struct agent *agent, const char *text)
{
	struct json_writer *w = event_begin(agent, AGENT_EVENT_FAILED);

	if (!w)
		return;
	json_put_string(w, "text", text);
	event_end(agent);
}

void agent_trouble(struct agent *agent, const char *format, ...)
{
	char text[sizeof(agent->troubles[0])];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fprintf(stderr, "vhost-lab-agent: %s\n", text);
	if (agent->dialled)
		tell_trouble(agent, text);
	else if (agent->n_troubles < AGENT_TROUBLES)
		memcpy(agent->troubles[agent->n_troubles++], text, sizeof(text));
}

void agent_met(struct agent *agent)
{
	agent->link.dial_ms = LINK_FIRST_MS;
	for (unsigned i = 0; i < agent->n_troubles; i++)
		tell_trouble(agent, agent->troubles[i]);
	agent->n_troubles = 0;
}
