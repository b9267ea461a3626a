/* SPDX-License-Identifier: MIT */
/* What the files of a session share: session.c (connections, and what comes in) and session_out.c (what goes out).  Nobody
 * else includes it. */
#ifndef AGENT_GUEST_SESSION_IMPL_H
#define AGENT_GUEST_SESSION_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/json.h"
#include "agent/guest/list.h"
#include "agent/guest/loop.h"
#include "agent/guest/session.h"

#define IN_SIZE 2048                      /* to begin with: most requests are small */
#define HOLD_AT (2ul * AGENT_MESSAGE_MAX) /* so much unsent, and no more requests are taken */

enum session_state {
	STATE_FIRST,   /* came in: HELLO or ATTACH will tell what it is */
	STATE_DIALLED, /* we said HELLO, the answer is to come */
	STATE_OPEN,
	STATE_DEAD, /* nothing in, nothing out; freed at the end of the loop's round */
};

struct session {
	struct list link;
	struct agent *agent;
	enum session_state state;
	struct loop_source source;
	struct loop_timer timer; /* first message, dallying, then burial */
	struct list operations;
	void (*ended)(struct agent *agent); /* of the dialled one */

	uint8_t *in;
	size_t in_len, in_size;
	uint8_t *out; /* [out_sent, out_len) is to be sent */
	size_t out_sent, out_len, out_size;
	bool unsent;   /* something was queued since the last attempt to send */
	bool hurry;    /* and not all of it can wait */
	bool hurried;  /* nor could it before the last message */
	bool greeting; /* HELLO is among it, which can wait with the answer to the EXEC behind it */
	bool overflowed; /* who does not read his answers is cut off */
	bool crowded;    /* an operation waits for room */
	bool held;       /* whole messages lie in IN until answers are fetched */
};

/* From any depth of its own callbacks: what is left of it goes when the loop comes round. */
void session_doom(struct session *s);

/* At least `needed` bytes in a buffer that doubles.  0, or -ENOMEM. */
int session_make_room(uint8_t **buf, size_t *size, size_t needed);

/* Send what the socket takes; then who waited for room goes on.  It may be doomed by that. */
void session_flush(struct session *s);

/* The one message that is being written, to be followed by session_written(), which queues it; s NULL: for nobody.  What
 * became too big is an error, not a damaged message. */
struct json_writer *session_write(struct session *s, uint32_t type, uint32_t transaction,
				  uint32_t step);
void session_written(void);

#endif
