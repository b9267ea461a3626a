/* SPDX-License-Identifier: MIT */
/* A stream socket that carries one JSON object a line, both ways: the framing below JSON-RPC and QMP.
 *
 * Trust:     the peer may send anything.  A line is at most max_line bytes, UTF-8, nested at most JSONLINE_DEPTH deep,
 *            and an object; anything else is reported through bad() (the stream goes on, unless the line was too long:
 *            then there is no telling where the next one starts, and it ends).  What we have queued for a peer that does
 *            not read is bounded too: beyond max_queue the stream ends.
 * Ownership: the stream owns its socket.  Objects handed to callbacks are borrowed.
 * Threads:   the thread of the default main context; sends never block.
 *
 * closed() comes at most once and from the main loop only, never out of jsonline_send(), so that a caller need not expect
 * its own object to vanish under it.  Every callback may free the stream.
 */
#ifndef RUN_JSONLINE_H
#define RUN_JSONLINE_H

#include <stddef.h>
#include <glib.h>

struct json_object;
struct jsonline;

#define JSONLINE_DEPTH 32

struct jsonline_ops {
	/* One object has come. */
	void (*object)(struct jsonline *s, struct json_object *object, void *data);
	/* One line was not an object; why says in which way.  NULL: treat it as the end of the stream. */
	void (*bad)(struct jsonline *s, const char *why, void *data);
	/* The stream has ended: the peer closed it (why == NULL) or it cannot go on.  No callback follows. */
	void (*closed)(struct jsonline *s, const char *why, void *data);
};

/* Takes over fd, a connected stream socket. */
struct jsonline *jsonline_new(int fd, size_t max_line, size_t max_queue,
			      const struct jsonline_ops *ops, void *data);
void jsonline_free(struct jsonline *s);

/* Queue one object, taking the reference.  On a stream that has ended it is dropped. */
void jsonline_send(struct jsonline *s, struct json_object *object);

/* Bytes queued and not yet taken by the kernel. */
size_t jsonline_queued(const struct jsonline *s);
/* Hand what is queued to the kernel, waiting at most timeout_ms for a peer that reads slowly: the last words before an
 * exit. */
void jsonline_flush(struct jsonline *s, int timeout_ms);
int jsonline_fd(const struct jsonline *s);

#endif
