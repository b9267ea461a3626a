/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

/* In front of a message: never split over two chunks. */
struct word {
	uint32_t len;
	uint8_t flags;
	bool whole;
	uint8_t pad[2];
};

static_assert(sizeof(struct word) == 8, "the word of a record");
static_assert(sizeof(struct buffer_chunk) == BUFFER_CHUNK_SIZE, "a chunk has no gaps");

void buffer_pool_init(struct buffer_pool *pool, uint64_t limit)
{
	*pool = (struct buffer_pool){ .limit = limit };
}

void buffer_pool_done(struct buffer_pool *pool)
{
	assert(pool->used == 0);
	while (pool->free) {
		struct buffer_chunk *c = pool->free;

		pool->free = c->next;
		free(c);
	}
	pool->n_free = 0;
}

static int chunk_get(struct buffer_pool *pool, struct buffer_chunk **ret)
{
	struct buffer_chunk *c = pool->free;

	if (pool->used + BUFFER_CHUNK_SIZE > pool->limit)
		return -ENOBUFS;
	if (c) {
		pool->free = c->next;
		pool->n_free--;
	} else {
		c = malloc(sizeof(*c));
		if (!c)
			return -ENOMEM;
	}
	c->next = NULL;
	pool->used += BUFFER_CHUNK_SIZE;
	*ret = c;
	return 0;
}

static void chunk_put(struct buffer_pool *pool, struct buffer_chunk *c)
{
	pool->used -= BUFFER_CHUNK_SIZE;
	if (pool->n_free >= BUFFER_POOL_KEEP) {
		free(c);
		return;
	}
	c->next = pool->free;
	pool->free = c;
	pool->n_free++;
}

/* Have at least `least` bytes of room behind the end. */
static int make_room(struct buffer *b, struct buffer_pool *pool, uint32_t least)
{
	struct buffer_chunk *c;
	int r;

	if (b->last && BUFFER_CHUNK_DATA - b->tail >= least)
		return 0;
	r = chunk_get(pool, &c);
	if (r < 0)
		return r;
	if (b->last)
		b->last->next = c;
	else
		b->first = c;
	b->last = c;
	b->tail = 0;
	return 0;
}

static int append_bytes(struct buffer *b, struct buffer_pool *pool, const uint8_t *from,
			uint32_t len)
{
	while (len > 0) {
		uint32_t n;
		int r = make_room(b, pool, 1);

		if (r < 0)
			return r;
		n = min(len, (uint32_t)BUFFER_CHUNK_DATA - b->tail);
		memcpy(b->last->data + b->tail, from, n);
		b->tail += n;
		b->len += n;
		from += n;
		len -= n;
	}
	return 0;
}

int buffer_append(struct buffer *b, struct buffer_pool *pool, const struct iovec *iov,
		  uint32_t skip, uint32_t len)
{
	int r = 0;

	for (; skip >= iov->iov_len && len > 0; iov++)
		skip -= (uint32_t)iov->iov_len;
	for (; len > 0 && r == 0; iov++) {
		uint32_t n = (uint32_t)min((size_t)len, iov->iov_len - skip);

		r = append_bytes(b, pool, (const uint8_t *)iov->iov_base + skip, n);
		len -= n;
		skip = 0;
	}
	return r;
}

/* Pieces of `len` bytes from `at` in chunk c on. */
static unsigned pieces(const struct buffer *b, struct buffer_chunk *c, uint32_t at, uint32_t len,
		       struct iovec ret[BUFFER_IOVS])
{
	unsigned n = 0;

	for (; c && len > 0 && n < BUFFER_IOVS; c = c->next) {
		uint32_t end = c == b->last ? b->tail : (uint32_t)BUFFER_CHUNK_DATA;
		uint32_t got = min(end - at, len);

		if (got > 0)
			ret[n++] = (struct iovec){ c->data + at, got };
		len -= got;
		at = 0;
	}
	return n;
}

unsigned buffer_peek(const struct buffer *b, uint32_t max, struct iovec ret[BUFFER_IOVS])
{
	return pieces(b, b->first, b->head, min(max, b->len), ret);
}

static void drop_first(struct buffer *b, struct buffer_pool *pool)
{
	struct buffer_chunk *c = b->first;

	b->first = c->next;
	if (!b->first)
		b->last = NULL;
	b->head = 0;
	chunk_put(pool, c);
}

void buffer_consume(struct buffer *b, struct buffer_pool *pool, uint32_t len)
{
	assert(len <= b->len);
	b->len -= len;
	while (len > 0) {
		uint32_t end = b->first == b->last ? b->tail : (uint32_t)BUFFER_CHUNK_DATA;
		uint32_t n = min(len, end - b->head);

		b->head += n;
		len -= n;
		if (b->head == end && (len > 0 || b->len == 0 || b->first != b->last))
			drop_first(b, pool);
	}
}

void buffer_clear(struct buffer *b, struct buffer_pool *pool)
{
	while (b->first)
		drop_first(b, pool);
	*b = (struct buffer){ 0 };
}

/* ---- messages ---- */

/* A word that does not fit into what is left of a chunk begins the next: the rest is filled up, and skipped by
 * find_word() in the same way. */
static int open_message(struct buffer *b, struct buffer_pool *pool)
{
	uint32_t left = b->last ? (uint32_t)BUFFER_CHUNK_DATA - b->tail : 0;
	struct word w = { 0 };
	int r = make_room(b, pool, sizeof(w));

	if (r < 0)
		return r;
	if (b->tail == 0 && left > 0 && left < sizeof(w) && b->first != b->last)
		b->len += left;
	b->open = b->last->data + b->tail;
	b->open_len = 0;
	memcpy(b->open, &w, sizeof(w));
	b->tail += (uint32_t)sizeof(w);
	b->len += (uint32_t)sizeof(w);
	return 0;
}

int buffer_append_part(struct buffer *b, struct buffer_pool *pool, const struct iovec *iov,
		       uint32_t skip, uint32_t len, bool end, uint8_t flags)
{
	struct word w = { 0 };
	int r = b->open ? 0 : open_message(b, pool);

	if (r == 0)
		r = buffer_append(b, pool, iov, skip, len);
	if (r < 0)
		return r;
	b->open_len += len;
	if (end) {
		w = (struct word){ .len = b->open_len, .flags = flags, .whole = true };
		memcpy(b->open, &w, sizeof(w));
		b->open = NULL;
	}
	return 0;
}

/* The word in front, and how many unused bytes lie before it. */
static bool find_word(const struct buffer *b, struct word *ret, struct buffer_chunk **ret_chunk,
		      uint32_t *ret_at, uint32_t *ret_gap)
{
	struct buffer_chunk *c = b->first;
	uint32_t at = b->head, gap = 0;

	if (b->len == 0)
		return false;
	if (BUFFER_CHUNK_DATA - at < sizeof(*ret)) {
		gap = (uint32_t)BUFFER_CHUNK_DATA - at;
		c = c->next;
		at = 0;
	}
	memcpy(ret, c->data + at, sizeof(*ret));
	*ret_chunk = c;
	*ret_at = at;
	*ret_gap = gap;
	return true;
}

bool buffer_message(const struct buffer *b, uint32_t *ret_len, uint8_t *ret_flags)
{
	struct buffer_chunk *c;
	uint32_t at, gap;
	struct word w;

	if (!find_word(b, &w, &c, &at, &gap) || !w.whole)
		return false;
	*ret_len = w.len;
	*ret_flags = w.flags;
	return true;
}

unsigned buffer_peek_message(const struct buffer *b, struct iovec ret[BUFFER_IOVS])
{
	struct buffer_chunk *c;
	uint32_t at, gap;
	struct word w;

	if (!find_word(b, &w, &c, &at, &gap) || !w.whole)
		return 0;
	return pieces(b, c, at + (uint32_t)sizeof(w), w.len, ret);
}

void buffer_consume_message(struct buffer *b, struct buffer_pool *pool)
{
	struct buffer_chunk *c;
	uint32_t at, gap;
	struct word w;

	if (find_word(b, &w, &c, &at, &gap) && w.whole)
		buffer_consume(b, pool, gap + (uint32_t)sizeof(w) + w.len);
}
