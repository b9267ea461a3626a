/* SPDX-License-Identifier: MIT */
/* One ring of a VMBus channel, from the host's end: bytes between two indices, in pages of the guest.
 *
 * A channel has two: the guest writes one and we read it, we write the other.  A ring is a page with its indices and some
 * pages of data behind it, anywhere in guest memory; the data is a circle.  Each index is moved by one end alone, so that ours
 * is never read back:
 *
 *	reading    vmbus_ring_readable() … vmbus_ring_pieces() … vmbus_ring_consume(): true, kick who writes
 *	writing    vmbus_ring_free() … vmbus_ring_pieces() … vmbus_ring_publish(): true, kick who reads
 *
 * Who kicks whom when is Linux's drivers/hv/ring_buffer.c, from the other side:
 *   - a writer kicks when it fills an empty ring, unless the reader has masked it (interrupt_mask);
 *   - a reader kicks when the free space passes what the writer is waiting for (pending_send_sz), masked or not.
 *
 * Trust:     everything in the pages is the guest's, who may change it at any time.  The other end's index is read once, checked
 *            (within the data, a multiple of 8) and used from there: a wrong one is -EBADMSG, and the ring is of no use any
 *            more.  What vmbus_ring_pieces() gives lies in these pages, whatever the indices were.
 * Ownership: pages, and the array of their addresses, are the caller's for as long as the ring is used.
 * Threads:   the loop's.  No allocation, no system call. */
#ifndef HVSOCK_VMBUS_RING_H
#define HVSOCK_VMBUS_RING_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "le.h"

#define VMBUS_PAGE_SIZE 4096u

/* Packets begin at multiples of this, and so do indices. */
#define VMBUS_RING_ALIGN 8u

/* The first page. */
struct vmbus_ring_head {
	le32_t write_index;
	le32_t read_index;
	le32_t interrupt_mask;  /* the reader's: not 0, it looks by itself */
	le32_t pending_send_sz; /* the writer's: bytes that it waits for; 0, it does not */
	le32_t reserved[12];
	le32_t feature_bits;
};
static_assert(offsetof(struct vmbus_ring_head, feature_bits) == 64, "layout");

/* feature_bits: pending_send_sz is kept by the writer and heeded by the reader. */
#define VMBUS_RING_PENDING 1u

/* Pieces that `len` bytes of a ring have at most. */
#define VMBUS_RING_PIECES(len) ((len) / VMBUS_PAGE_SIZE + 2)

struct vmbus_ring {
	struct vmbus_ring_head *head;
	uint8_t *const *data; /* its pages */
	uint32_t size;        /* bytes in them */
	uint32_t ours;        /* the index that we move */
	uint32_t theirs;      /* the other one, as it was when it was looked at last */
};

/* A ring of n_pages pages, its header among them, that we read, or write.  It goes on where its indices are.  Says in a ring
 * that we write that we wait with pending_send_sz.  -EINVAL: fewer than two pages; -EBADMSG: wrong indices. */
int vmbus_ring_open(struct vmbus_ring *r, bool writer, uint8_t *const *page, unsigned n_pages);

/* ---- reading ---- */

/* Bytes to read from our index on; -EBADMSG. */
int vmbus_ring_readable(struct vmbus_ring *r);

/* Give len bytes back to the writer, who has written them.  True: it waits for the space and is to be kicked. */
bool vmbus_ring_consume(struct vmbus_ring *r, uint32_t len);

/* Go on behind them and tell nobody: for a ring of which the writer has no more use. */
void vmbus_ring_skip(struct vmbus_ring *r, uint32_t len);

/* Ask the writer for no kicks, or for them again: look once more after that. */
void vmbus_ring_mask(struct vmbus_ring *r, bool on);

/* ---- writing ---- */

/* Bytes that are free from our index on.  A ring must not be filled to the last of them: then it would look empty.
 * -EBADMSG. */
int vmbus_ring_free(struct vmbus_ring *r);

/* Give len bytes, which were free, to the reader.  True: it is to be kicked. */
bool vmbus_ring_publish(struct vmbus_ring *r, uint32_t len);

/* Ask the reader for a kick once more than len bytes are free; 0: no longer.  Look once more after that. */
void vmbus_ring_want(struct vmbus_ring *r, uint32_t len);

/* ---- both ---- */

/* Where the len bytes lie that are `at` bytes beyond our index, at + len at most the ring's size: pieces[0..n), at most
 * VMBUS_RING_PIECES(len), neighbours joined.  Returns n. */
unsigned vmbus_ring_pieces(const struct vmbus_ring *r, uint32_t at, uint32_t len,
			   struct iovec *pieces);

/* The index of what is `at` bytes beyond ours. */
uint32_t vmbus_ring_index(const struct vmbus_ring *r, uint32_t at);

/* Copy them, once; at most a page. */
void vmbus_ring_get(const struct vmbus_ring *r, uint32_t at, void *buf, uint32_t len);
void vmbus_ring_put(const struct vmbus_ring *r, uint32_t at, const void *buf, uint32_t len);

#endif
