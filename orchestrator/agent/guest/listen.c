/* SPDX-License-Identifier: MIT */
#include "agent/guest/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/guest/address.h"
#include "agent/guest/agent.h"
#include "agent/guest/relay.h"
#include "agent/guest/stream.h"

#define CONNECT_MS 10000
#define BACKLOG    128
#define REST_MS    100 /* of a listener that cannot take more for now */

/* Two sockets that will be one: A is there, B is connecting. */
struct bond {
	struct operation op; /* of RELAY, until it is answered; zeroed for a client of LISTEN */
	struct agent *agent;
	struct stream_wait wait;
	struct loop_source connecting;
	struct loop_timer timer;
	struct relay relay;
	int a, b; /* -1: not there yet, or the relay's */
	bool connected;
	char to[ADDRESS_TEXT_MAX];
};

struct listener {
	struct operation op; /* the LISTEN it came from: answered, but its end is this one's, too */
	struct list link;
	struct agent *agent;
	struct loop_source source;
	struct loop_timer rest;
	struct address address;
	int fd;
	uint32_t port;
	int64_t id;
};

static unsigned n_bonds, n_listeners;
static int64_t last_id;

/* --- bonds ------------------------------------------------------------------------------------------------ */

static struct bond *bond_new(struct agent *agent)
{
	struct bond *bond = n_bonds < LISTEN_RELAY_MAX ? calloc(1, sizeof(*bond)) : NULL;

	if (!bond)
		return NULL;
	bond->agent = agent;
	bond->a = bond->b = -1;
	n_bonds++;
	return bond;
}

static void bond_free(struct bond *bond)
{
	operation_stop(&bond->op);
	stream_wait_stop(&bond->wait);
	loop_remove(&bond->agent->loop, &bond->connecting);
	loop_timer_stop(&bond->timer);
	relay_stop(&bond->relay);
	if (bond->a >= 0)
		close(bond->a);
	if (bond->b >= 0)
		close(bond->b);
	free(bond);
	n_bonds--;
}

static void bond_fail(struct bond *bond, int err)
{
	if (bond->op.session)
		operation_errno(&bond->op, err, "%s", bond->to);
	bond_free(bond);
}

static void relay_ended(struct relay *relay, int err)
{
	bond_free(container_of(relay, struct bond, relay));
}

/* Both ends are there: from now on it lives as long as they do, and not as the request. */
static void bond_tie(struct bond *bond)
{
	int a = bond->a, b = bond->b;

	if (a < 0 || !bond->connected)
		return;
	loop_timer_stop(&bond->timer);
	if (bond->op.session)
		operation_ok(&bond->op);
	operation_stop(&bond->op);
	bond->a = bond->b = -1;
	if (relay_start(&bond->relay, &bond->agent->loop, a, b, false, relay_ended) < 0)
		bond_free(bond);
}

static void on_connected(struct loop_source *source, uint32_t events)
{
	struct bond *bond = container_of(source, struct bond, connecting);
	socklen_t len = sizeof(int);
	int err = 0;

	loop_remove(&bond->agent->loop, source);
	if (getsockopt(bond->b, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		bond_fail(bond, err);
		return;
	}
	bond->connected = true;
	bond_tie(bond);
}

static void too_late(struct loop_timer *timer)
{
	bond_fail(container_of(timer, struct bond, timer), ETIMEDOUT);
}

/* B is connecting, or a negative errno that says why not.  The bond is gone if this fails. */
static void bond_connect(struct bond *bond, int b)
{
	int r = b;

	if (b >= 0) {
		bond->b = b;
		r = loop_add(&bond->agent->loop, &bond->connecting, b, EPOLLOUT, on_connected);
		loop_timer_start(&bond->agent->loop, &bond->timer, CONNECT_MS, too_late);
	}
	if (r < 0)
		bond_fail(bond, -r);
}

/* --- RELAY ------------------------------------------------------------------------------------------------ */

static void attached(struct stream_wait *wait, int err)
{
	struct bond *bond = container_of(wait, struct bond, wait);

	if (err < 0) {
		bond_fail(bond, -err);
		return;
	}
	bond->a = wait->fds[0];
	bond_tie(bond);
}

static void relay_orphaned(struct operation *op)
{
	bond_free(container_of(op, struct bond, op));
}

void relay_request(struct session *session, const struct request *request)
{
	struct agent *agent = session_agent(session);
	uint8_t token[AGENT_TOKEN_SIZE];
	char hex[AGENT_TOKEN_HEX], to[ADDRESS_TEXT_MAX];
	struct address address;
	struct bond *bond;
	int r;

	if (json_string(json_get(request->body, "to"), to, sizeof(to)) < 0 ||
	    address_parse(to, &address) < 0) {
		session_bad(session, request, "to");
		return;
	}
	if (json_string(json_get(request->body, "token"), hex, sizeof(hex)) < 0 ||
	    !agent_token_from_hex(hex, token)) {
		session_bad(session, request, "token");
		return;
	}
	bond = bond_new(agent);
	if (!bond) {
		session_error(session, request, AGENT_ERROR_LIMIT, "too many relays");
		return;
	}
	address_format(&address, bond->to);
	operation_start(&bond->op, session, request, relay_orphaned);
	r = stream_wait_start(agent, &bond->wait, token, 1, attached);
	if (r < 0)
		bond_fail(bond, -r);
	else
		bond_connect(bond, address_connect(&address));
}

/* --- LISTEN ----------------------------------------------------------------------------------------------- */

static void listener_free(struct listener *l)
{
	const void *sa = &l->address.sa;

	operation_stop(&l->op);
	list_remove(&l->link);
	loop_remove(&l->agent->loop, &l->source);
	loop_timer_stop(&l->rest);
	close(l->fd);
	if (l->address.sa.ss_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)sa)->sun_path);
	free(l);
	n_listeners--;
}

static void rested(struct loop_timer *timer)
{
	struct listener *l = container_of(timer, struct listener, rest);

	loop_change(&l->agent->loop, &l->source, EPOLLIN);
}

/* No room for the client: it waits in the backlog, and the loop does not spin. */
static void take_rest(struct listener *l)
{
	loop_change(&l->agent->loop, &l->source, 0);
	loop_timer_start(&l->agent->loop, &l->rest, REST_MS, rested);
}

static void on_client(struct loop_source *source, uint32_t events)
{
	struct listener *l = container_of(source, struct listener, source);
	struct bond *bond = bond_new(l->agent);

	if (!bond) {
		take_rest(l);
		return;
	}
	bond->a = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (bond->a < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			take_rest(l);
		bond_free(bond);
		return;
	}
	bond_connect(bond, agent_dial(l->agent, l->port));
}

static void listen_orphaned(struct operation *op)
{
	listener_free(container_of(op, struct listener, op));
}

static void answer(struct session *session, const struct request *request, struct listener *l)
{
	char on[ADDRESS_TEXT_MAX];
	struct json_writer *w;

	l->address.len = sizeof(l->address.sa);
	if (l->address.sa.ss_family != AF_UNIX)
		(void)getsockname(l->fd, (struct sockaddr *)&l->address.sa, &l->address.len);
	address_format(&l->address, on);
	w = session_begin(session, request);
	json_put_int(w, "id", l->id);
	json_put_string(w, "on", on);
	session_end(session);
}

static int listener_start(struct listener *l)
{
	int r;

	l->fd = address_listen(&l->address, BACKLOG);
	if (l->fd < 0)
		return l->fd;
	r = loop_add(&l->agent->loop, &l->source, l->fd, EPOLLIN, on_client);
	if (r < 0)
		close(l->fd);
	return r;
}

void listen_request(struct session *session, const struct request *request)
{
	char on[ADDRESS_TEXT_MAX];
	struct address address;
	struct listener *l;
	int64_t port;
	int r;

	if (json_string(json_get(request->body, "on"), on, sizeof(on)) < 0 ||
	    address_parse(on, &address) < 0) {
		session_bad(session, request, "on");
		return;
	}
	if (json_int(json_get(request->body, "port"), 1, UINT32_MAX - 1, &port) < 0) {
		session_bad(session, request, "port");
		return;
	}
	l = n_listeners < LISTEN_MAX ? calloc(1, sizeof(*l)) : NULL;
	if (!l) {
		session_error(session, request, AGENT_ERROR_LIMIT, "too many listeners");
		return;
	}
	l->agent = session_agent(session);
	l->address = address;
	l->port = (uint32_t)port;
	r = listener_start(l);
	if (r < 0) {
		session_errno(session, request, -r, "%s", on);
		free(l);
		return;
	}
	l->id = ++last_id;
	n_listeners++;
	list_append(&l->agent->listeners, &l->link);
	operation_start(&l->op, session, request, listen_orphaned);
	answer(session, request, l);
}

void unlisten_request(struct session *session, const struct request *request)
{
	int64_t id;

	if (json_int(json_get(request->body, "id"), 1, INT64_MAX, &id) < 0) {
		session_bad(session, request, "id");
		return;
	}
	list_each(&session_agent(session)->listeners, it) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->id == id && l->op.session == session) {
			listener_free(l);
			session_ok(session, request);
			return;
		}
	}
	session_error(session, request, AGENT_ERROR_NOT_FOUND,
		      "no listener %lld of this connection", (long long)id);
}
