/* SPDX-License-Identifier: MIT */
/* A control connection: HELLO, requests in, answers out; and what goes on in the name of one, streams of programs included.
 *
 * A request is handed to its handler (handlers.c) from the loop.  What cannot be answered at once becomes an operation: it
 * is linked to its session, and told when that ends.  Output is queued; who does not read his answers is not read
 * from either, and cut off when SESSION_OUT_MAX is reached. */
#ifndef ORCHESTRATOR_AGENT_GUEST_SESSION_H
#define ORCHESTRATOR_AGENT_GUEST_SESSION_H

#include "agent/guest/json.h"
#include "agent/guest/list.h"
#include "agent/protocol.h"

struct agent;
struct session;

#define SESSION_OUT_MAX  (4ul * AGENT_MESSAGE_MAX)
#define SESSION_DALLY_MS 20

struct request {
	uint32_t type;
	uint32_t transaction;
	uint32_t step;
	struct json body; /* of an object; valid until the handler returns */
};

typedef void handler_fn(struct session *session, const struct request *request);

/* The handler of TYPE; NULL if this agent has none. */
handler_fn *handler_find(uint32_t type);

struct agent *session_agent(struct session *session);

/* --- answers at once, from within a handler ---------------------------------------------------------------- */

/* Answer step 2 with {}, or with what is put between begin and end.  For a request of step 0 nothing is sent.  One message is
 * being written at a time: no other call on a session may come between. */
void session_ok(struct session *session, const struct request *request);
struct json_writer *session_begin(struct session *session, const struct request *request);
void session_end(struct session *session);
void session_error(struct session *session, const struct request *request, enum agent_error code,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same; code and "errno" from ERR, a positive errno; the text gets ": REASON". */
void session_errno(struct session *session, const struct request *request, int err,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A member that is missing or wrong. */
void session_bad(struct session *session, const struct request *request, const char *member);

/* --- operations: answered later ---------------------------------------------------------------------------- */

struct operation {
	struct list link;
	struct session *session; /* NULL: it has ended, and nobody hears the answer */
	struct request request;  /* its body is gone */
	/* The session has ended; operation.session is NULL already.  May end and free the operation. */
	void (*orphaned)(struct operation *operation);

	/* Of an operation with streams; to be set after operation_start(), else NULL. */

	/* A piece of a stream came.  Returns 0; or -EPROTO: it is against the rules, and the connection ends. */
	int (*piece)(struct operation *operation, const struct agent_piece *piece);
	/* There is room for pieces again, after operation_crowded().  May end and free the operation. */
	void (*room)(struct operation *operation);
};

void operation_start(struct operation *operation, struct session *session,
		     const struct request *request, void (*orphaned)(struct operation *operation));
/* Unlink; the memory is the caller's. */
void operation_stop(struct operation *operation);
/* As session_…(); nothing is sent for an operation whose session has ended (begin gives a writer all the same). */
void operation_ok(struct operation *operation);
struct json_writer *operation_begin(struct operation *operation, uint32_t type, uint32_t step);
void operation_end(struct operation *operation);
void operation_error(struct operation *operation, enum agent_error code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void operation_errno(struct operation *operation, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What was just written is of no hurry: it waits SESSION_DALLY_MS for what the host is rather waiting for, so that one packet carries
 * both. */
void operation_dally(struct operation *operation);

/* A piece of one of its streams.  Dropped if the session has ended. */
void operation_piece(struct operation *operation, const struct agent_piece *piece);
/* Pieces of BYTES wait while those before them have not been sent: true, and room() will be called. */
bool operation_crowded(struct operation *operation);

/* --- connections ------------------------------------------------------------------------------------------- */

/* A connection that came in: its first message decides what it is.  Takes FD (non-blocking), whatever happens. */
void session_accept(struct agent *agent, int fd);
/* The connection that the agent dialled.  Takes FD.  Says HELLO; ENDED is called when it is over. */
void session_dialled(struct agent *agent, int fd, void (*ended)(struct agent *agent));

/* A notice for the host that the agent dialled; dropped if none is there.  NULL: none is there, write nothing. */
struct json_writer *event_begin(struct agent *agent, enum agent_event event);
void event_end(struct agent *agent);

/* Send what was queued in this round of the loop: answers of one round go out together. */
void sessions_flush(struct agent *agent);

/* End all of them, operations included. */
void sessions_end(struct agent *agent);

#endif
