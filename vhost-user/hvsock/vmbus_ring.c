/* SPDX-License-Identifier: MIT */
#include "vmbus_ring.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#pragma GCC diagnostic warning "-Wconversion"

static bool is_index(const struct vmbus_ring *r, uint32_t index)
{
	return index < r->size && index % VMBUS_RING_ALIGN == 0;
}

/* How far it is from one index to another, going round. */
static uint32_t distance(const struct vmbus_ring *r, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + r->size - from;
}

static uint32_t advance(const struct vmbus_ring *r, uint32_t index, uint32_t len)
{
	return len < r->size - index ? index + len : len - (r->size - index);
}

int vmbus_ring_open(struct vmbus_ring *r, bool writer, uint8_t *const *page, unsigned n_pages)
{
	uint32_t write_index, read_index;

	if (n_pages < 2)
		return -EINVAL;
	r->head = (struct vmbus_ring_head *)(void *)page[0];
	r->data = page + 1;
	r->size = (n_pages - 1) * VMBUS_PAGE_SIZE;
	write_index = le32_load_acquire(&r->head->write_index);
	read_index = le32_load(&r->head->read_index);
	if (!is_index(r, write_index) || !is_index(r, read_index))
		return -EBADMSG;
	r->ours = writer ? write_index : read_index;
	r->theirs = writer ? read_index : write_index;
	if (writer)
		le32_store(&r->head->feature_bits,
			   le32_load(&r->head->feature_bits) | VMBUS_RING_PENDING);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------------ */

int vmbus_ring_readable(struct vmbus_ring *r)
{
	uint32_t index = le32_load_acquire(&r->head->write_index); /* the guest's release */

	if (!is_index(r, index))
		return -EBADMSG;
	r->theirs = index;
	return (int)distance(r, r->ours, index);
}

bool vmbus_ring_consume(struct vmbus_ring *r, uint32_t len)
{
	uint32_t pending, index, space;

	r->ours = advance(r, r->ours, len);
	le32_store_release(&r->head->read_index, r->ours);
	/* The index before the writer's wish: it does the same the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	pending = le32_load(&r->head->pending_send_sz);
	if (pending == 0)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	index = le32_load(&r->head->write_index);
	if (!is_index(r, index))
		return false; /* the next look will say so */
	/* All is free when the indices are equal: it must not be taken for none. */
	space = r->size - distance(r, r->ours, index);
	return space > pending && (space < len || space - len <= pending);
}

void vmbus_ring_skip(struct vmbus_ring *r, uint32_t len)
{
	r->ours = advance(r, r->ours, len);
}

void vmbus_ring_mask(struct vmbus_ring *r, bool on)
{
	le32_store(&r->head->interrupt_mask, on);
	/* Before the look that follows. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- writing ------------------------------------------------------------------------------------ */

int vmbus_ring_free(struct vmbus_ring *r)
{
	uint32_t index = le32_load_acquire(&r->head->read_index); /* the guest's release */

	if (!is_index(r, index))
		return -EBADMSG;
	r->theirs = index;
	return (int)(r->size - distance(r, index, r->ours));
}

bool vmbus_ring_publish(struct vmbus_ring *r, uint32_t len)
{
	uint32_t old = r->ours;

	r->ours = advance(r, old, len);
	le32_store_release(&r->head->write_index, r->ours);
	/* The index before the look at the reader: it unmasks before it looks at the index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (le32_load(&r->head->interrupt_mask))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return le32_load(&r->head->read_index) == old; /* it had read all, and may be asleep */
}

void vmbus_ring_want(struct vmbus_ring *r, uint32_t len)
{
	le32_store(&r->head->pending_send_sz, len);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- both --------------------------------------------------------------------------------------- */

uint32_t vmbus_ring_index(const struct vmbus_ring *r, uint32_t at)
{
	return advance(r, r->ours, at);
}

unsigned vmbus_ring_pieces(const struct vmbus_ring *r, uint32_t at, uint32_t len,
			   struct iovec *pieces)
{
	uint32_t index = advance(r, r->ours, at);
	unsigned n = 0;

	while (len > 0) {
		uint32_t off = index % VMBUS_PAGE_SIZE, part = min(len, VMBUS_PAGE_SIZE - off);
		uint8_t *bytes = r->data[index / VMBUS_PAGE_SIZE] + off;

		if (n > 0 && (uint8_t *)pieces[n - 1].iov_base + pieces[n - 1].iov_len == bytes)
			pieces[n - 1].iov_len += part;
		else
			pieces[n++] = (struct iovec){ bytes, part };
		index = advance(r, index, part);
		len -= part;
	}
	return n;
}

void vmbus_ring_get(const struct vmbus_ring *r, uint32_t at, void *buf, uint32_t len)
{
	struct iovec pieces[VMBUS_RING_PIECES(VMBUS_PAGE_SIZE)];
	unsigned n = vmbus_ring_pieces(r, at, len, pieces);
	uint8_t *to = buf;

	for (unsigned i = 0; i < n; i++) {
		memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
		to += pieces[i].iov_len;
	}
}

void vmbus_ring_put(const struct vmbus_ring *r, uint32_t at, const void *buf, uint32_t len)
{
	struct iovec pieces[VMBUS_RING_PIECES(VMBUS_PAGE_SIZE)];
	unsigned n = vmbus_ring_pieces(r, at, len, pieces);
	const uint8_t *from = buf;

	for (unsigned i = 0; i < n; i++) {
		memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
		from += pieces[i].iov_len;
	}
}
