/* SPDX-License-Identifier: MIT */
/* A switch whose ports have real sessions behind them: scripted frontends and drivers in this thread.
 *
 *	cmocka_unit_test_setup_teardown(test, setup, teardown)    and setup_packed, setup_mixed
 *	bring_up(&a, fx, 0, MRG, 1); post_buffers(&a, 0, BUF_SIZE); ...
 *	send_frame(&a, 60, 0xb, 0xa);
 *	expect_frame(&b, 60, 0xb, 0xa, 7);
 *	go_away(&a);
 *
 * All of it asserts by itself. */
#ifndef TESTS_UNIT_VU_STATION_H
#define TESTS_UNIT_VU_STATION_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "frontend.h"
#include "loop.h"
#include "nethdr.h"
#include "port_vu.h"
#include "switch.h"
#include "tmp.h"

#define N_PORT   3
#define RING_NUM 64
#define BUF_SIZE 2048
#define MAX_SIZE 70000

/* A switch of N_PORT ports, each a socket in a directory of its own. */
struct fixture {
	struct loop loop;
	struct sw sw;
	struct port_vu_group group;
	struct port_vu *port[N_PORT];
	struct tmp_dir dir;
	unsigned packed; /* bit i: what connects to port i has packed rings */
};

/* A guest with one card of n_pairs queue pairs. */
struct station {
	struct fixture *fx;
	struct frontend fe;
	struct guest guest;
	unsigned n_pairs;
	struct driver rx[2], tx[2];
	gpa_t rx_buf[2][RING_NUM]; /* by head */
	uint8_t got[MAX_SIZE];     /* the frame of the last receive(), header first */
};

#define MRG BIT_ULL(VIRTIO_NET_F_MRG_RXBUF)

int setup(void **state);
int setup_packed(void **state);
int setup_mixed(void **state); /* only what connects to port 1 has packed rings */
int teardown(void **state);

/* Let the loop do what there is to do. */
void settle(struct fixture *fx);

/* Let every transmitq be found idle. */
void fall_asleep(struct fixture *fx);

/* A station in three steps, */
void connect_to(struct station *st, struct fixture *fx, unsigned port);
void share_memory(struct station *st);
void start_ring(struct station *st, unsigned index, struct driver *d);

/* or at once: n_pairs rings each way, with nothing in them. */
void bring_up(struct station *st, struct fixture *fx, unsigned port, uint64_t features,
	      unsigned n_pairs);
void go_away(struct station *st);

/* Post receive buffers of `size` bytes until the ring is full. */
void post_buffers(struct station *st, unsigned pair, uint32_t size);

/* Bytes of a frame: addresses, type, and a pattern that its length and `tag` decide. */
void make_frame(uint8_t *f, uint32_t len, uint8_t to, uint8_t from, uint8_t tag);

/* Queue a frame in buffers cut at `cut` (of the header and the frame as one run of bytes; 0: one
 * buffer). */
void queue_bytes(struct station *st, unsigned pair, const void *bytes, uint32_t len, uint32_t cut);
void queue_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from, uint8_t tag,
		 uint32_t cut);

/* How many frames came back as sent. */
unsigned reap_sent(struct station *st);

/* Queue, kick, settle, reap. */
void send_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from);

/* The next frame received on a queue pair, in st->got; the bytes of it without header, or -1. */
int receive(struct station *st, unsigned pair);

/* What make_frame() makes, complete. */
void expect_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from, uint8_t tag);
void expect_nothing(struct station *st);

#endif
