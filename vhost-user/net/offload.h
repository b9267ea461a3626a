/* SPDX-License-Identifier: MIT */
/* The work that senders left to us, for receivers that do not do it themselves.
 *
 * Between guests that negotiated the same offloads a frame passes as it came: nobody cuts it and
 * nobody sums it up, which is most of a switch's TCP speed.  Where it leaves that circle (an uplink, a guest
 * without the feature, an impairment that wants single packets, a capture) it is *lowered*:
 *
 *   segmentation   TCP over IPv4 or IPv6 is cut at gso_size bytes of payload.  Each segment has the
 *                  headers, with the length, the IPv4 identification (counting up) and the sequence number
 *                  of its own; CWR goes with the first, FIN and PSH with the last.  UDP is cut into
 *                  datagrams.  VLAN tags, IPv4 options, IPv6 extension headers and TCP options are
 *                  repeated as they are.
 *   checksum       the 16-bit sum asked for is computed and stored, unless the receiver takes
 *                  OFFLOAD_CSUM; then it is the pseudo-header's alone, as a driver leaves it.
 *
 * Segments are lists of pieces: fresh headers in a struct offload_work, and the payload where it is already.
 * Nothing is copied but headers, nothing is allocated, nothing can run out.  So what is emitted lives no
 * longer than the call; who keeps a frame copies it (buf.h), as with any other.
 *
 * A sender can ask for what cannot be done: a packet that is not what its header says, headers beyond
 * OFFLOAD_HEAD_MAX, more segments than OFFLOAD_SEGMENTS_MAX.  Such a frame is dropped and counted.  Between guests it
 * passes untouched: what its header promised was checked in nethdr_read(), and the rest is for the
 * receiver to judge, as it is for a frame from any wire.
 *
 * Trust:   the bytes are a guest's and may change while we look: headers are copied once, and what is
 *          decided on is what is sent.  Payload that changes between sum and delivery gets a wrong
 *          checksum, which its sender could have had in the first place.
 * Threads: one per struct offload_work. */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "nethdr.h"
#include "port.h"

/* Ethernet, two tags, IP with options or extension headers, TCP with options; and the farthest byte of
 * a checksum that is to be put in. */
#define OFFLOAD_HEAD_MAX 256

/* 64 KiB in pieces of 48 bytes.  Linux sends none smaller than 48 (TCP_MIN_SND_MSS), nor more than 128 at once by
 * UDP; what this bounds is the work that one descriptor can make. */
#define OFFLOAD_SEGMENTS_MAX 1366

/* A frame of the most pieces that a chain can have, cut to a burst of segments. */
#define OFFLOAD_IOVS (1024 + 2 * SW_BURST)

/* Work space: 40 KiB, once per thread.  Needs no initialisation. */
struct offload_work {
	unsigned n, n_iov; /* in use of the arrays below */
	struct sw_frame *out[SW_BURST];
	struct sw_frame frame[SW_BURST];
	struct iovec iov[OFFLOAD_IOVS];
	uint8_t head[SW_BURST][OFFLOAD_HEAD_MAX];
};

/* Called with 1 to SW_BURST frames, which live until it returns. */
typedef void offload_emit_fn(void *arg, struct sw_frame *const *frame, unsigned n);

/* Can a receiver that takes `offloads` have this frame as it is? */
static inline bool offload_fits(const struct sw_frame *f, uint32_t offloads)
{
	return likely((nethdr_needs(&f->hdr) & ~offloads) == 0);
}

/* Emit frame[0..n) in order and in bursts, each as it is if it fits `offloads`, else lowered.  Returns
 * how many were dropped since what they ask for cannot be done. */
unsigned offload_lower(struct offload_work *o, struct sw_frame *const *frame, unsigned n,
		       uint32_t offloads, offload_emit_fn *emit, void *arg);

/* How many packets this frame is on a wire, and how many bytes they have in all: 1 and f->len unless
 * it is to be cut. */
unsigned offload_segments(const struct sw_frame *f);
uint32_t offload_wire_len(const struct sw_frame *f);

/* For a frame that was copied into one piece: put in the checksum that *h asks for, over the whole of a packet
 * that was to be cut, too (as a capture on a Linux host shows it).  *h must have been checked against len. */
void offload_complete(uint8_t *bytes, uint32_t len, const struct nethdr *h);

/* Are the checksums of this complete Ethernet frame right: that of an IPv4 header, and of TCP, UDP, ICMP or ICMPv6
 * behind it?  What is none of these, a fragment, or without a sum is right.  False also for lengths that lie. */
bool offload_verify(const uint8_t *bytes, uint32_t len);

#endif
