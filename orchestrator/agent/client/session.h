/* SPDX-License-Identifier: MIT */
/* A control connection to the agent of a guest: HELLO, requests and their answers.
 *
 * Everything is pipelined.  agent_session_new() sends HELLO and does not wait; requests may be made at once and follow it.  Any number
 * may be under way, and answers may come in any order: each finds its request by its transaction.
 *
 * Trust:     the agent is a guest's and may be anything.  What it sends is held to the limits of protocol.h before a byte of it
 *            is looked at; a frame that breaks them, an answer before HELLO's or one that is no answer to what was asked end
 *            the session, notices and unknown types are passed over (of an agent that dialled, unknown requests are
 *            refused).  Words of a guest in a GError are freed of control characters.  Never is more held than one message of
 *            AGENT_MESSAGE_MAX and what one read brought behind it.
 * Ownership: a session owns its connection.  Every callback may free the session.
 * Threads:   the thread of the default main context, whose loop all callbacks come from: none comes out of a call to this
 *            module.
 */
#ifndef AGENT_CLIENT_SESSION_H
#define AGENT_CLIENT_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "agent/client/link.h"
#include "agent/protocol.h"

struct json_object;
struct agent_session;

#define AGENT_SESSION_HELLO_MS 15000 /* for the agent's HELLO */
#define AGENT_SESSION_CALLS    1024  /* under way at once */

/* What the agent refused: the code is an enum agent_error, the message its text. */
#define AGENT_REFUSAL (agent_refusal_quark())
GQuark agent_refusal_quark(void);

/* An answer of that type (the request's, or EXIT), or an error: the agent's (AGENT_REFUSAL) or the session's (ORCH_ERROR).
 * Both are borrowed.  A request has as many answers as its 'last_step' says, or fewer and then an error, after which none
 * comes. */
typedef void agent_answer_fn(uint32_t type, struct json_object *body, const GError *error,
			     void *data);

/* The session has ended and every request has had its error; comes once, and not after agent_session_free().  May be NULL. */
typedef void agent_closed_fn(const GError *error, void *data);

struct agent_session *agent_session_new(const struct link_address *address, agent_closed_fn *closed,
					void *data, GError **error);
/* The other way round: over a connection that an agent has dialled.  It says HELLO, is answered, and from then on has notices for
 * us as well as answers. */
struct agent_session_events {
	/* Its HELLO, which has been answered; requests may be made. */
	void (*hello)(struct agent_session *s, struct json_object *body, void *data);
	/* EVENT, or whatever else it tells without being asked. */
	void (*notice)(struct agent_session *s, uint32_t type, struct json_object *body,
		       void *data);
	agent_closed_fn *closed;
};
struct agent_session *agent_session_accept(int fd, const struct agent_session_events *events,
					   void *data);

/* Over a connection that is there: fd is taken over, non-blocking; address->port says whether an "OK" is to come. */
struct agent_session *agent_session_adopt(int fd, const struct link_address *address,
					  agent_closed_fn *closed, void *data);
/* Requests under way are forgotten without a word. */
void agent_session_free(struct agent_session *s);

/* Ask.  body: an object whose reference is taken, NULL for {}.  last_step: of the last answer, 2 for most.  The answers are
 * fn's; it may be NULL, and then they are dropped.  A body that is too long for a message is answered with an error.
 * Returns the transaction, which pieces of its streams name. */
uint32_t agent_session_request(struct agent_session *s, enum agent_type type,
			       struct json_object *body, uint32_t last_step, agent_answer_fn *fn,
			       void *data);
/* Drop what is still to come for the requests with that 'data'. */
void agent_session_forget(struct agent_session *s, const void *data);

/* Pieces of programs' streams (BYTES, GRANT, CLOSE) are fn's, in the order in which the agent sent them and its answers, the last
 * answer of their request being no end to them; without one they are dropped.  The piece is borrowed.  False: it is against the
 * rules, and the session ends. */
typedef bool agent_piece_fn(uint32_t transaction, const struct agent_piece *piece, void *data);
void agent_session_pieces(struct agent_session *s, agent_piece_fn *fn, void *data);
/* Send one.  It is queued as far as the connection does not take it: the windows of its streams bound that. */
void agent_session_send(struct agent_session *s, uint32_t transaction,
			const struct agent_piece *piece);

/* Whether the agent has said HELLO: before that, nobody is known to be there. */
bool agent_session_greeted(const struct agent_session *s);
/* Whether it has that capability; false before HELLO. */
bool agent_session_can(const struct agent_session *s, enum agent_capability capability);
/* Why it has ended; NULL while it lives. */
const GError *agent_session_error(const struct agent_session *s);

/* The code that an error of a session is worth as an exit status: TIMEOUT stays one, all else is FAILED. */
int agent_exit_code(const GError *error);

#endif
