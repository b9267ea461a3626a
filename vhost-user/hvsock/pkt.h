/* SPDX-License-Identifier: MIT */
/* Packets of virtio-vsock (virtio 1.3, 5.10.6): the header as it lies in guest memory, and as we think of it.
 *
 *	  0 src_cid   8 dst_cid  16 src_port  20 dst_port  24 len  28 type  30 op  32 flags  36 buf_alloc  40 fwd_cnt
 *
 * all little-endian, 44 bytes, followed by `len` bytes of data.  A driver may lay header and data out over any
 * descriptors (2.7.4): so both directions have a general form that takes an iovec list.
 *
 * Trust:   the bytes are the guest's: pkt_get() copies the header once, and what it says is checked by who knows the
 *          connection.  Nothing is checked here but that 44 bytes are there.
 * Threads: any; no state, no allocation, no log.
 */
#ifndef HVSOCK_PKT_H
#define HVSOCK_PKT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <linux/virtio_vsock.h>

#include "base.h"
#include "le.h"

#define PKT_HDR_LEN 44

/* Bytes of data in one packet that Linux sends at most (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE); no rule of virtio's. */
#define PKT_DATA_MAX (64u << 10)

/* X(NAME): VIRTIO_VSOCK_OP_NAME, in the order of their numbers. */
#define PKT_OPS(X)       \
	X(INVALID)       \
	X(REQUEST)       \
	X(RESPONSE)      \
	X(RST)           \
	X(SHUTDOWN)      \
	X(RW)            \
	X(CREDIT_UPDATE) \
	X(CREDIT_REQUEST)

#define PKT_OP_COUNT 8

#define PKT_SHUTDOWN_MASK (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define PKT_SEQ_MASK      (VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR)

/* On the wire. */
struct pkt_hdr {
	le64_t src_cid, dst_cid;
	le32_t src_port, dst_port;
	le32_t len;
	le16_t type, op;
	le32_t flags;
	le32_t buf_alloc, fwd_cnt;
} __attribute__((packed));

/* In our hands. */
struct pkt {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* bytes of data behind the header */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt; /* the sender's credit, see credit.h */
};

void pkt_decode(const uint8_t bytes[PKT_HDR_LEN], struct pkt *ret);
void pkt_encode(const struct pkt *p, uint8_t ret_bytes[PKT_HDR_LEN]);

/* Take the header off the front of a list of pieces, which then holds the data alone: *iov and *n are moved behind
 * it, and the first piece left is shortened.  False: there are fewer than 44 bytes; all is as it was. */
bool pkt_take(struct iovec **iov, unsigned *n, struct pkt *ret);

/* The room for data in a list of pieces: copies those behind the first 44 bytes, which are left for pkt_put(), to
 * ret[0..n) at most.  Returns their number; *ret_len is the bytes in them.  0: there are no more than 44 bytes. */
unsigned pkt_room(const struct iovec *iov, unsigned n, struct iovec *ret, uint32_t *ret_len);

/* Write the header into the first 44 bytes of a list of pieces, which must be there. */
void pkt_put(const struct pkt *p, const struct iovec *iov, unsigned n);

/* "RW"; "?" for a number that is none. */
const char *pkt_op_name(unsigned op);

static inline bool pkt_type_valid(unsigned type)
{
	return type == VIRTIO_VSOCK_TYPE_STREAM || type == VIRTIO_VSOCK_TYPE_SEQPACKET;
}

#endif
