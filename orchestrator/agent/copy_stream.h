/* SPDX-License-Identifier: MIT */
/* The socket under a copy: whole records in and out, whether the descriptor blocks or not.
 *
 * Large pieces are read and written as they lie; nothing is buffered here, so that bytes are copied by the kernel only. */
#ifndef ORCHESTRATOR_AGENT_COPY_STREAM_H
#define ORCHESTRATOR_AGENT_COPY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Read exactly SIZE bytes.  Returns 0; -ECONNRESET, the stream ended before; a negative errno. */
int copy_stream_read(int fd, void *buf, size_t size);

/* Write a record: header of TYPE, then BODY (N pieces, at most 3).  Returns 0 or a negative errno (-EPIPE: nobody reads). */
int copy_stream_write(int fd, uint32_t type, const struct iovec *body, int n);

/* Has something come from the other end (its end included)?  Does not wait. */
bool copy_stream_readable(int fd);

/* Read and drop until the stream ends: a socket that is closed with bytes unread is reset, and takes the last word with it.
 * A sender looks for that word before each extent, so what is under way is little: COPY_DRAIN_MAX bytes are the limit. */
#define COPY_DRAIN_MAX (64 << 20)
void copy_stream_drain(int fd);

#endif
