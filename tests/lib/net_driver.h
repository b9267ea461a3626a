/* SPDX-License-Identifier: MIT */
/* The guest's side of a network card (virtio 1.3, 5.1), for benches and soaks: what Linux's virtio_net is to the device,
 * on top of driver.h and frontend.h, without a guest.
 *
 *	struct nd n;
 *	nd_open(&n, &(struct nd_options){ 0 }, "/run/lab/n1.vu");
 *	nd_send(&n, frame, len);                 0, or -EAGAIN: the ring is full of what the device has not taken
 *	nd_flush(&n);                            what was sent is visible, the device is kicked if it wants to be, and what it
 *	                                         has done with is ours again
 *	nd_poll(&n, on_frame, ctx);              each frame received, at most `max` of them
 *	nd_close(&n);
 *
 * One queue pair.  It polls: the device is asked for no calls.  Buffers hold one frame each, header and frame in one piece,
 * and are given back to the device when their frame has been seen.
 *
 * Like the driver, it aborts with a message when something fails that cannot fail.
 */
#ifndef TEST_NET_DRIVER_H
#define TEST_NET_DRIVER_H

#include <stdint.h>

#include "driver.h"
#include "frontend.h"

#define ND_HEADER 12 /* of virtio_net_hdr_v1, all zeros where a frame asks for nothing */

struct nd_options {
	uint64_t features; /* wanted beside VERSION_1, MRG_RXBUF and EVENT_IDX */
	uint16_t num;      /* entries of a ring; 256 */
	uint32_t buf_len;  /* bytes of a buffer, header included; 2048 */
};

struct nd {
	struct nd_options o;
	struct frontend fe;
	struct guest guest;
	struct driver rx, tx;
	gpa_t *rx_buf, *tx_buf; /* by number */
	uint16_t *tx_free;      /* numbers of the buffers that the device has not */
	unsigned n_tx_free;
	uint64_t n_sent, n_received;
};

/* Connect to a daemon's socket, waiting for it, and start the card.  0, or what frontend.h says. */
int nd_open(struct nd *n, const struct nd_options *options, const char *path);
void nd_close(struct nd *n);

/* Put a frame (Ethernet header first) into the ring.  0; -EAGAIN: no room; -EMSGSIZE: longer than a buffer. */
int nd_send(struct nd *n, const void *frame, uint32_t len);
void nd_flush(struct nd *n);

/* frame[0..len): without the virtio header. */
typedef void nd_frame_fn(struct nd *n, const uint8_t *frame, uint32_t len, void *ctx);

/* See what was received, at most max frames.  Returns how many; they are counted in n_received. */
unsigned nd_poll(struct nd *n, unsigned max, nd_frame_fn *fn, void *ctx);

#endif
