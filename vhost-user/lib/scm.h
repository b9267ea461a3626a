/* SPDX-License-Identifier: MIT */
/* Bytes through a Unix stream socket, and with them a descriptor (SCM_RIGHTS). */
#ifndef VU_SCM_H
#define VU_SCM_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Send what the socket takes of these bytes, of which there must be one at least, without blocking and without SIGPIPE; with
 * them `fd`, unless it is -1: it stays the caller's, the peer gets another of the same file.
 * Returns how many bytes went, the descriptor with the first of them; or -errno, and nothing went (-EAGAIN: no room). */
ssize_t scm_send(int sock, const struct iovec *iov, size_t n_iov, int fd);

#endif
