/* SPDX-License-Identifier: MIT */
/* A frame as the kernel's system calls want it: the pieces it is delivered in, `head` in front.
 *
 * Threads: pure functions. */
#ifndef NET_PIECES_H
#define NET_PIECES_H

#include <sys/uio.h>

#include "port.h"

/* Pieces of one frame: the header, and more than a driver makes of 64 KiB in pages (17). */
#define PIECES_MAX 24

/* Fill iov[0..PIECES_MAX) with the frame as it is delivered.  Returns how many were filled; 0: it has more pieces
 * than that, see pieces_flat(). */
unsigned pieces_of(const struct sw_frame *f, struct iovec *iov);

/* The same for any frame: one of too many pieces is copied to `flat` (SW_FRAME_MAX bytes) and becomes one. */
unsigned pieces_flat(const struct sw_frame *f, struct iovec *iov, void *flat);

#endif
