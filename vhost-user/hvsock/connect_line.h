/* SPDX-License-Identifier: MIT */
/* The first line of a host's client: `CONNECT <port>\n`, or `CONNECT <guid>\n`.
 *
 * These are the words of firecracker's and cloud-hypervisor's vsock sockets, GUIDs are OpenVMM's.  As there, the keyword is
 * taken in either case and white space around the port is none of our business; nothing else may stand on the line.
 * The answer is `OK <number>\n` in the form that was asked for, the number being the port that the host's end of the
 * connection has; a refusal has no words, the connection ends.
 *
 * Behind the newline the client's own data begin, and it need not wait for the answer with them.  So whoever reads takes
 * the line off the socket and not a byte more: connect_line_want() says how many of the bytes that lie there (MSG_PEEK)
 * belong to it.
 *
 * Trust: every byte is a stranger's.  A line ends with its newline, with CONNECT_LINE_MAX bytes, or with the first bytes that
 *        no CONNECT line begins with, whichever is first.
 * Pure:  no system calls, no allocation. */
#ifndef HV_CONNECT_LINE_H
#define HV_CONNECT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ports.h"

/* Bytes with the newline: "CONNECT ", a GUID, and some white space.  (firecracker: 32, OpenVMM: 45.) */
#define CONNECT_LINE_MAX 64

/* "OK <guid>\n" and its terminator. */
#define CONNECT_REPLY_MAX (3 + PORTS_GUID_LEN + 1 + 1)

/* Zero-filled is a line of which nothing has been read. */
struct connect_line {
	char text[CONNECT_LINE_MAX];
	size_t len;
};

/* How many of the `len` bytes that come next belong to the line: up to its newline, and never more than fit. */
size_t connect_line_want(const struct connect_line *line, const char *next, size_t len);

/* Take those in.  len is at most what connect_line_want() said. */
void connect_line_add(struct connect_line *line, const char *bytes, size_t len);

/* What the line says so far.  0: it is whole, *ret_port and *ret_guid (whether it was asked for by GUID) are set.
 * -EAGAIN: it is not whole yet.  -EINVAL: this is not a CONNECT line and will not become one. */
int connect_line_parse(const struct connect_line *line, uint32_t *ret_port, bool *ret_guid);

/* The answer for a connection whose host end has `port`; its length. */
size_t connect_line_reply(uint32_t port, bool guid, char ret_text[CONNECT_REPLY_MAX]);

#endif
