/* SPDX-License-Identifier: MIT */
#include "agent/guest/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/agent.h"

static void dial(struct loop_timer *timer);

static void dial_later(struct agent *agent)
{
	struct agent_link *l = &agent->link;

	loop_timer_start(&agent->loop, &l->redial, l->dial_ms, dial);
	l->dial_ms = l->dial_ms * 2 < LINK_LAST_MS ? l->dial_ms * 2 : LINK_LAST_MS;
}

static void lost(struct agent *agent)
{
	dial_later(agent);
}

/* A connection whose other end takes it and says nothing is no reason to hurry: only an answered HELLO is (agent_met). */
static void connected(struct loop_source *source, uint32_t events)
{
	struct agent *agent = container_of(source, struct agent, link.dialling);
	int fd = source->fd, err = 0;
	socklen_t len = sizeof(err);

	loop_remove(&agent->loop, source);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		close(fd);
		dial_later(agent);
		return;
	}
	session_dialled(agent, fd, lost);
}

static void dial(struct loop_timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, link.redial);
	int fd = transport_dial(&agent->host, 0);

	if (fd >= 0 && loop_add(&agent->loop, &agent->link.dialling, fd, EPOLLOUT, connected) == 0)
		return;
	if (fd >= 0)
		close(fd);
	dial_later(agent);
}

/* One in a round.  Asking once more than there are connections is no way to know: accept() makes a socket before it finds out
 * that there is nobody for it, and under TCG throws it away again for 2 ms. */
static void accept_one(struct loop_source *source, uint32_t events)
{
	struct agent *agent = container_of(source, struct agent, link.listener);
	int fd = transport_accept(&agent->door, source->fd);

	if (fd >= 0)
		session_accept(agent, fd);
}

static void try_listen(struct loop_timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, link.relisten);
	struct agent_link *l = &agent->link;
	int fd = transport_listen(&agent->door);

	if (fd >= 0 && loop_add(&agent->loop, &l->listener, fd, EPOLLIN, accept_one) == 0)
		return;
	if (fd >= 0)
		close(fd);
	loop_timer_start(&agent->loop, &l->relisten, l->listen_ms, try_listen);
	l->listen_ms = l->listen_ms * 2 < LINK_LAST_MS ? l->listen_ms * 2 : LINK_LAST_MS;
}

void link_start(struct agent *agent)
{
	agent->link.dial_ms = agent->link.listen_ms = LINK_FIRST_MS;
	if (agent->door.kind != TRANSPORT_NONE)
		try_listen(&agent->link.relisten);
	if (agent->host.kind != TRANSPORT_NONE)
		dial(&agent->link.redial);
}

void link_stop(struct agent *agent)
{
	struct agent_link *l = &agent->link;

	loop_timer_stop(&l->redial);
	loop_timer_stop(&l->relisten);
	if (l->dialling.ready) {
		loop_remove(&agent->loop, &l->dialling);
		close(l->dialling.fd);
	}
	if (l->listener.ready) {
		loop_remove(&agent->loop, &l->listener);
		close(l->listener.fd);
	}
}

int agent_dial(const struct agent *agent, uint32_t port)
{
	return transport_dial(&agent->host, port);
}
