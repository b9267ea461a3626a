/* SPDX-License-Identifier: MIT */
/* One stream of a program: over a data connection (ATTACH, then raw bytes both ways), or in pieces over the session of its EXEC.
 *
 * A stream never waits and holds no more than STREAM_BUFFER bytes, so that the guest's program waits for whoever reads slowly here:
 * what is not taken from a connection is left in its socket, and for what is not taken of pieces no more is granted.  What the guest
 * does not take is left with the caller.
 *
 * Ownership: it owns its connection; a session is borrowed, and outlives it.  Every callback may free the stream.
 * Threads:   the thread of the default main context, whose loop all callbacks come from.
 */
#ifndef AGENT_CLIENT_STREAM_H
#define AGENT_CLIENT_STREAM_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

#include "agent/client/link.h"
#include "agent/client/session.h"
#include "agent/protocol.h"

#define STREAM_BUFFER (256u << 10)

static_assert(STREAM_BUFFER >= AGENT_WINDOW, "a window of pieces has to fit");

struct stream;

struct stream_ops {
	/* Bytes from the guest; returns how many were taken.  After less than all of them nothing more comes until
	 * stream_resume().  NULL: nothing is expected, and what comes is dropped. */
	size_t (*bytes)(struct stream *s, const uint8_t *bytes, size_t len, void *data);
	/* No more bytes will come: the guest's end of file (error is NULL), or the connection was lost. */
	void (*ended)(struct stream *s, const GError *error, void *data);
	/* There is room again after stream_send() took less than all.  May be NULL. */
	void (*room)(struct stream *s, void *data);
};

struct stream *stream_new(const struct link_address *address, const struct agent_attach *attach,
			  const struct stream_ops *ops, void *data, GError **error);
/* Stream number 'index' of the EXEC that is 'transaction' of the session. */
struct stream *stream_in_pieces(struct agent_session *session, uint32_t transaction, uint32_t index,
				const struct stream_ops *ops, void *data);
/* A piece of it came.  False: it is against the rules. */
bool stream_take(struct stream *s, const struct agent_piece *piece);
void stream_free(struct stream *s);

/* To the guest: returns how many were taken, all of them once it reads no more (they are lost then, as in a pipe without a
 * reader; stream_deaf() tells). */
size_t stream_send(struct stream *s, const void *bytes, size_t len);
bool stream_deaf(const struct stream *s);
/* The end of file for the guest. */
void stream_finish(struct stream *s);

/* Offer again what was not taken. */
void stream_resume(struct stream *s);
/* Read no more: the guest's next write fails as one to a pipe without a reader does. */
void stream_refuse(struct stream *s);
bool stream_ended(const struct stream *s);

#endif
