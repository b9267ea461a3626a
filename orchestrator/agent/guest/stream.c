/* SPDX-License-Identifier: MIT */
#include "agent/guest/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/agent.h"

/* A data connection that nobody wants yet. */
struct stream {
	struct list link;
	struct agent *agent;
	struct loop_timer timer;
	struct agent_attach attach;
	int fd;
};

/* The descriptor is the caller's. */
static void forget(struct stream *stream)
{
	list_remove(&stream->link);
	loop_timer_stop(&stream->timer);
	stream->agent->n_streams--;
	free(stream);
}

static void drop(struct stream *stream)
{
	close(stream->fd);
	forget(stream);
}

static void nobody_came(struct loop_timer *timer)
{
	drop(container_of(timer, struct stream, timer));
}

static struct stream_wait *find_wait(struct agent *agent, const uint8_t token[AGENT_TOKEN_SIZE])
{
	list_each(&agent->stream_waits, it) {
		struct stream_wait *wait = container_of(it, struct stream_wait, link);

		if (memcmp(wait->token, token, AGENT_TOKEN_SIZE) == 0)
			return wait;
	}
	return NULL;
}

static void take(struct stream_wait *wait, uint32_t stream, int fd)
{
	if (stream >= wait->n || wait->fds[stream] >= 0)
		close(fd);
	else
		wait->fds[stream] = fd;
}

static bool complete(const struct stream_wait *wait)
{
	for (unsigned i = 0; i < wait->n; i++) {
		if (wait->fds[i] < 0)
			return false;
	}
	return true;
}

static void finish(struct stream_wait *wait, int err)
{
	list_remove(&wait->link);
	loop_timer_stop(&wait->timer);
	wait->done(wait, err);
}

void stream_wait_stop(struct stream_wait *wait)
{
	if (!wait->link.next || list_empty(&wait->link))
		return;
	list_remove(&wait->link);
	loop_timer_stop(&wait->timer);
	for (unsigned i = 0; i < wait->n; i++) {
		if (wait->fds[i] >= 0)
			close(wait->fds[i]);
	}
}

static void too_late(struct loop_timer *timer)
{
	struct stream_wait *wait = container_of(timer, struct stream_wait, timer);

	stream_wait_stop(wait);
	finish(wait, -ETIMEDOUT);
}

/* Those that came before the operation. */
static void take_waiting(struct stream_wait *wait)
{
	list_each(&wait->agent->streams, it) {
		struct stream *stream = container_of(it, struct stream, link);

		if (memcmp(stream->attach.token, wait->token, AGENT_TOKEN_SIZE) != 0)
			continue;
		take(wait, stream->attach.stream, stream->fd);
		forget(stream);
	}
}

int stream_wait_start(struct agent *agent, struct stream_wait *wait,
		      const uint8_t token[AGENT_TOKEN_SIZE], unsigned n,
		      void (*done)(struct stream_wait *wait, int err))
{
	if (find_wait(agent, token))
		return -EEXIST;
	*wait = (struct stream_wait){ .agent = agent, .n = n, .done = done, .fds = { -1, -1, -1 } };
	memcpy(wait->token, token, AGENT_TOKEN_SIZE);
	list_append(&agent->stream_waits, &wait->link);
	take_waiting(wait);
	if (complete(wait))
		finish(wait, 0);
	else
		loop_timer_start(&agent->loop, &wait->timer, AGENT_ATTACH_MS, too_late);
	return 0;
}

/* The oldest goes if there are too many: it has waited longest for nothing. */
static void keep(struct agent *agent, int fd, const struct agent_attach *attach)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream) {
		close(fd);
		return;
	}
	if (agent->n_streams >= AGENT_MAX_STREAMS)
		drop(container_of(agent->streams.next, struct stream, link));
	*stream = (struct stream){ .agent = agent, .attach = *attach, .fd = fd };
	list_append(&agent->streams, &stream->link);
	agent->n_streams++;
	loop_timer_start(&agent->loop, &stream->timer, AGENT_ATTACH_MS, nobody_came);
}

void stream_arrived(struct agent *agent, int fd, const struct agent_attach *attach)
{
	struct stream_wait *wait = find_wait(agent, attach->token);

	if (!wait) {
		keep(agent, fd, attach);
		return;
	}
	take(wait, attach->stream, fd);
	if (complete(wait))
		finish(wait, 0);
}

void streams_done(struct agent *agent)
{
	while (!list_empty(&agent->streams))
		drop(container_of(agent->streams.next, struct stream, link));
}
