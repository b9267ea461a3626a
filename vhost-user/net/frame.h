/* SPDX-License-Identifier: MIT */
/* The pieces of a frame, for the switch's own files: the bytes as they came, whatever `head` stands for. */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include "port.h"

/* Copy bytes [skip, skip + len) of the pieces; they must be there. */
void frame_copy_pieces(const struct sw_frame *f, uint32_t skip, uint32_t len, void *to);

#endif
