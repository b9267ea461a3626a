/* SPDX-License-Identifier: MIT */
/* Bursts of datagrams, one frame in each: what port_dgram.h and port_vxlan.h share.
 *
 * Trust:   what is received is cut at DGRAM_ROOM bytes; whose it is, the caller judges by `from`.
 * Threads: those of the caller. */
#ifndef NET_DGRAMS_H
#define NET_DGRAMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "inetaddr.h"
#include "port.h"

/* A frame of the longest kind, a tunnel's header in front, and a byte more, which tells one that is too long. */
#define DGRAM_ROOM (16 + SW_FRAME_MAX + 1)

struct dgrams_in {
	struct mmsghdr msg[SW_BURST]; /* after dgrams_recv(): msg_len bytes of room[i] each */
	struct iovec iov[SW_BURST];
	union inetaddr from[SW_BURST]; /* family AF_UNSPEC unless UDP */
	uint8_t room[SW_BURST][DGRAM_ROOM];
};

/* Receive what is there, SW_BURST datagrams at most, without waiting.  How many; 0: none; -errno. */
int dgrams_recv(struct dgrams_in *in, int fd);

/* Pieces of a burst to be sent: a common frame has two, and one for a tunnel's header. */
#define DGRAMS_IOVS 256

struct dgrams_out {
	unsigned n, n_iov;
	struct mmsghdr msg[SW_BURST];
	struct iovec iov[DGRAMS_IOVS];
	int error[SW_BURST]; /* after dgrams_send(): 0, or a positive errno for each */
	bool flat_used;
	uint8_t flat[SW_FRAME_MAX];
};

/* Put a datagram behind the others: `hdr_len` bytes of hdr (0: none), then the frame, for `to`; hdr and `to` are
 * borrowed until it is sent.  False: there is no room; send first. */
bool dgrams_add(struct dgrams_out *out, const struct sw_frame *f, const void *hdr, uint32_t hdr_len,
		const void *to, socklen_t to_len);

/* Count a frame of len bytes that was sent with this result: 0, or a positive errno. */
void dgrams_count(struct port_stats *s, int error, uint32_t len);

/* Send all, without waiting, and tell for each how it went.  Returns how many there were; the burst is empty then. */
unsigned dgrams_send(struct dgrams_out *out, int fd);

#endif
