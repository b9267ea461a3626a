/* SPDX-License-Identifier: MIT */
/* Bytes that wait for somebody slow: a queue over chunks of memory, or a queue of messages.
 *
 * A connection whose far end keeps up never has one byte in here.  Chunks come from a pool, which is a VM's: it has a
 * limit on the memory in use, and keeps a few free ones, so that a connection that waits again and again does not ask
 * the allocator each time.
 *
 * As a queue of messages (SOCK_SEQPACKET) a buffer holds records: a word that says how long the message is and whether
 * it is whole, and its bytes.  The parts of a message are joined as they come in, whatever the size they come in, so
 * that one whole message is a few pieces of memory.
 *
 * Trust:     lengths are the caller's word, who has checked them against the connection's credit.
 * Ownership: a buffer owns its chunks until buffer_clear().
 * Threads:   those that share a pool are one thread's.
 */
#ifndef HVSOCK_BUFFER_H
#define HVSOCK_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Bytes of a chunk, with its link. */
#define BUFFER_CHUNK_SIZE (16u << 10)
#define BUFFER_CHUNK_DATA (BUFFER_CHUNK_SIZE - sizeof(void *))

/* Free chunks a pool keeps. */
#define BUFFER_POOL_KEEP 32

/* Pieces that buffer_peek() may give for one connection's whole credit of 256 KiB, its records' words included. */
#define BUFFER_IOVS 20

struct buffer_chunk {
	struct buffer_chunk *next;
	uint8_t data[BUFFER_CHUNK_DATA];
};

struct buffer_pool {
	uint64_t limit; /* bytes of chunks in use */
	uint64_t used;
	struct buffer_chunk *free;
	unsigned n_free;
};

/* All zeros: empty. */
struct buffer {
	struct buffer_chunk *first, *last;
	uint32_t head; /* where in *first it begins */
	uint32_t tail; /* where in *last it ends */
	uint32_t len;  /* bytes in it, the words of records included */
	/* The message that is not whole yet. */
	uint8_t *open; /* its word, or NULL */
	uint32_t open_len;
};

void buffer_pool_init(struct buffer_pool *pool, uint64_t limit);
/* Frees the free ones; none may be in use. */
void buffer_pool_done(struct buffer_pool *pool);

/* Append bytes [skip, skip + len) of a list of pieces, which must be there.  -ENOBUFS: the pool's limit; -ENOMEM;
 * the buffer is then good for buffer_clear() only. */
int buffer_append(struct buffer *b, struct buffer_pool *pool, const struct iovec *iov,
		  uint32_t skip, uint32_t len);

/* The first pieces of it, at most BUFFER_IOVS and about max bytes: ret[0..n).  Returns n. */
unsigned buffer_peek(const struct buffer *b, uint32_t max, struct iovec ret[BUFFER_IOVS]);

/* Drop the first len bytes, which must be there. */
void buffer_consume(struct buffer *b, struct buffer_pool *pool, uint32_t len);

void buffer_clear(struct buffer *b, struct buffer_pool *pool);

/* ---- messages ---- */

/* Append a part of a message, its last one if `end`; flags are remembered with it.  As buffer_append(). */
int buffer_append_part(struct buffer *b, struct buffer_pool *pool, const struct iovec *iov,
		       uint32_t skip, uint32_t len, bool end, uint8_t flags);

/* Is a whole message in front?  Its length and flags. */
bool buffer_message(const struct buffer *b, uint32_t *ret_len, uint8_t *ret_flags);

/* The pieces of the message in front, whole.  Returns their number. */
unsigned buffer_peek_message(const struct buffer *b, struct iovec ret[BUFFER_IOVS]);

void buffer_consume_message(struct buffer *b, struct buffer_pool *pool);

static inline bool buffer_is_empty(const struct buffer *b)
{
	return b->len == 0;
}

#endif
