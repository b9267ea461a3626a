/* SPDX-License-Identifier: MIT */
/* Credit: how much either side of a connection may send (virtio 1.3, 5.10.6.3).
 *
 * Each packet tells how large its sender's receive buffer is (buf_alloc) and how many bytes have left it so far
 * (fwd_cnt).  What the other side may still send is then
 *
 *	buf_alloc - (tx_cnt - fwd_cnt)
 *
 * in 32-bit counters that run freely.  This file holds both halves of one connection and no more than arithmetic.
 *
 *	ours      what the peer may send to us:   credit_receive() takes bytes in, credit_forward() lets them go,
 *	          credit_due() says that the peer should hear of it, credit_told() that it has
 *	theirs    what we may send:               credit_learn() from each packet, credit_available(), credit_send()
 *
 * The peer hears of our credit with each packet that goes to it, so most of the time it costs nothing.  A packet of its
 * own is due when half of the buffer has been let go since it heard last: early enough for a sender to never stand
 * still, and at most two for each buffer that passes.
 *
 * Trust:   buf_alloc and fwd_cnt are the peer's.  A fwd_cnt of bytes never sent gives no credit; it can only cheat
 *          itself.  A peer that sends more than it may is caught by credit_receive().
 * Threads: any; no state but the structure.
 */
#ifndef HVSOCK_CREDIT_H
#define HVSOCK_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

struct credit {
	/* Ours. */
	uint32_t buf_alloc;
	uint32_t rx_cnt;       /* bytes received */
	uint32_t fwd_cnt;      /* of these, let go */
	uint32_t last_fwd_cnt; /* the fwd_cnt that the peer heard last */
	/* Theirs. */
	uint32_t peer_buf_alloc;
	uint32_t peer_fwd_cnt;
	uint32_t tx_cnt; /* bytes sent */
};

/* A connection on which nothing has been sent; the peer knows nothing of our buffer yet. */
static inline void credit_init(struct credit *c, uint32_t buf_alloc)
{
	*c = (struct credit){ .buf_alloc = buf_alloc };
}

/* Bytes came in.  False: the peer was not allowed to send that many; nothing is counted. */
static inline bool credit_receive(struct credit *c, uint32_t len)
{
	if (len > c->buf_alloc - (c->rx_cnt - c->fwd_cnt))
		return false;
	c->rx_cnt += len;
	return true;
}

/* Bytes that came in have been passed on: at most as many as are held. */
static inline void credit_forward(struct credit *c, uint32_t len)
{
	c->fwd_cnt += len;
}

/* Bytes that came in and have not been passed on. */
static inline uint32_t credit_held(const struct credit *c)
{
	return c->rx_cnt - c->fwd_cnt;
}

/* Is it worth a packet to tell the peer what has been let go? */
static inline bool credit_due(const struct credit *c)
{
	return c->fwd_cnt - c->last_fwd_cnt >= c->buf_alloc / 2;
}

/* A packet with buf_alloc and fwd_cnt goes to the peer. */
static inline void credit_told(struct credit *c)
{
	c->last_fwd_cnt = c->fwd_cnt;
}

/* A packet of the peer says what its buffer is.  True: there is more room in it than there was. */
static inline bool credit_learn(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt);

/* Bytes that we may send now. */
static inline uint32_t credit_available(const struct credit *c)
{
	uint32_t under_way = c->tx_cnt - c->peer_fwd_cnt;

	return under_way < c->peer_buf_alloc ? c->peer_buf_alloc - under_way : 0;
}

/* Bytes went out: at most credit_available(). */
static inline void credit_send(struct credit *c, uint32_t len)
{
	c->tx_cnt += len;
}

static inline bool credit_learn(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	uint32_t before = credit_available(c);

	c->peer_buf_alloc = buf_alloc;
	c->peer_fwd_cnt = fwd_cnt;
	return credit_available(c) > before;
}

#endif
