/* SPDX-License-Identifier: MIT */
/* Bounce buffers: frames that are kept for longer than a burst.
 *
 * A buffer holds one frame in one piece, with its header, VLAN and offload request as they were when
 * it was copied.  It is counted by reference: whoever keeps it has one.  Buffers come from a pool in
 * a few size classes; what was freed is kept for the next, and all of a switch's together are
 * bounded in bytes, in use or not, so that a long delay at a high rate costs frames and not the host's
 * memory.
 *
 * Ownership: sw_bufs_done() frees the pool; no buffer may be in use then.
 * Threads:   those of the pool's owner. */
#ifndef NET_BUF_H
#define NET_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"

#define SW_BUFS_DEFAULT (256u << 20) /* bytes: 20 Gbit/s for 100 ms */

/* Buffers that nobody uses are kept up to so many bytes; more go back to the system. */
#define SW_BUFS_IDLE_MAX (16u << 20)

/* Room for a frame's bytes: an acknowledgement (with its header three lines of a cache), a short one, an MTU of 1500 with tags, 9216 bytes, a GSO segment. */
#define SW_BUF_CLASSES 5

struct sw_bufs;

struct sw_buf {
	struct sw_frame frame; /* of this buffer: frame.iov == &iov, frame.buf == this */
	struct iovec iov;
	struct sw_bufs *bufs;
	/* The keeper's own while it has the only reference. */
	struct sw_buf *next;  /* e.g. a queue; free list of the pool otherwise */
	uint64_t at_ns;       /* e.g. when it is due */
	struct sw_port *port; /* e.g. where it is going */
	uint32_t refs;
	uint32_t size_class;
	uint8_t bytes[];
};

struct sw_bufs {
	uint64_t max;  /* bytes; may be changed at any time */
	uint64_t held; /* bytes taken from the system */
	uint64_t used; /* of these, in buffers with a reference */
	struct sw_buf *free[SW_BUF_CLASSES];
};

/* max 0: SW_BUFS_DEFAULT.  Nothing is allocated yet. */
void sw_bufs_init(struct sw_bufs *bufs, uint64_t max);
void sw_bufs_done(struct sw_bufs *bufs);

/* A buffer with room for `len` bytes, at most SW_FRAME_MAX, with one reference: frame is one piece of
 * that length, all else zero; the caller fills in bytes and head.  NULL: the bound is reached. */
struct sw_buf *sw_buf_new(struct sw_bufs *bufs, uint32_t len);

/* A copy of `f` as it would be delivered now, with one reference: one piece, head 14/14 and equal to
 * the first bytes, same vid and hdr.  NULL: the bound is reached, and the caller counts a drop. */
struct sw_buf *sw_buf_of(struct sw_bufs *bufs, const struct sw_frame *f);

/* A reference to `f` for longer than this burst: f->buf with one more reference if it may be kept as it
 * is, else a copy.  NULL as above. */
struct sw_buf *sw_buf_keep(struct sw_bufs *bufs, const struct sw_frame *f);

static inline struct sw_buf *sw_buf_ref(struct sw_buf *b)
{
	b->refs++;
	return b;
}

/* Nobody has it any more; for the one below. */
void sw_buf_free(struct sw_buf *b);

/* NULL is fine. */
static inline void sw_buf_unref(struct sw_buf *b)
{
	if (b && --b->refs == 0)
		sw_buf_free(b);
}

static inline struct sw_frame *sw_buf_frame(struct sw_buf *b)
{
	return &b->frame;
}

#endif
