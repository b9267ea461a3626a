/* SPDX-License-Identifier: MIT */
/* One connection to a port of a guest, by its VM's hybrid socket.
 *
 * The socket is asked "CONNECT <port>\n" and answers "OK <number>\n", or closes.  What the guest is to read follows the
 * request at once, without waiting for the answer, so that a connection costs no round trip of its own; the answer comes
 * before the guest's first byte and is taken off the stream by link_answer().
 *
 * Trust:   the answer is the daemon's, but a lab's daemon may be anything that listens there: it is bounded and checked.
 * Threads: any.  Nothing here waits but link_wait(), and, for a full backlog and at most LINK_BUSY_MS, link_open().
 */
#ifndef AGENT_CLIENT_LINK_H
#define AGENT_CLIENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

#define LINK_BUSY_MS    1000
#define LINK_ANSWER_MAX 64 /* bytes of the answer's line; a GUID has 36 */
/* What may follow the request unasked: a Unix socket takes that much while nobody reads. */
#define LINK_FIRST_MAX (128u << 10)

struct link_address {
	const char *path; /* the hybrid socket */
	uint32_t port;    /* of the guest; 0: 'path' is the agent's own socket, as in tests */
};

/* A non-blocking descriptor on which the caller is to send *ret_request first, which is "" where none is needed; or -1. */
#define LINK_REQUEST_MAX 32
int link_dial(const struct link_address *address, char ret_request[LINK_REQUEST_MAX],
	      GError **error);
/* A non-blocking descriptor with the request and the 'len' bytes behind it on their way; or -1. */
int link_open(const struct link_address *address, const void *first, size_t len, GError **error);

/* Wait for the answer, at most timeout_ms, on a descriptor of link_open(): then it is a blocking one, on which the guest's
 * first byte is the next to be read.  No more than the answer is read. */
gboolean link_wait(int fd, const struct link_address *address, int timeout_ms, GError **error);

/* Where one is in the answer. */
struct link_answer {
	char line[LINK_ANSWER_MAX + 1];
	unsigned n;
	bool done;
};

/* There is none to expect where there was no request. */
void link_answer_init(struct link_answer *a, const struct link_address *address);
/* Take the answer off what was received.  Returns how many of the bytes were it; a->done when it is whole; -EPROTO if it
 * is none. */
ssize_t link_answer_take(struct link_answer *a, const void *bytes, size_t len);

#endif
