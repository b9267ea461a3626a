/* SPDX-License-Identifier: MIT */
#include "capture_ring.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static_assert(sizeof(struct capture_record) % CAPTURE_RING_ALIGN == 0, "records stay aligned");

int capture_ring_init(struct capture_ring *r, uint32_t size)
{
	assert(size % CAPTURE_RING_ALIGN == 0);
	*r = (struct capture_ring){ .wake_fd = -1, .size = size };
	r->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->bytes == MAP_FAILED) {
		r->bytes = NULL;
		return -ENOMEM;
	}
	r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (r->wake_fd < 0) {
		int e = errno;

		capture_ring_done(r);
		return -e;
	}
	return 0;
}

void capture_ring_done(struct capture_ring *r)
{
	if (r->bytes)
		munmap(r->bytes, r->size);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	*r = (struct capture_ring){ .wake_fd = -1 };
}

void capture_ring_populate(struct capture_ring *r)
{
	(void)madvise(r->bytes, r->size, MADV_POPULATE_WRITE); /* since Linux 5.14 */
}

static uint32_t size_of(uint32_t cap_len)
{
	return (uint32_t)((sizeof(struct capture_record) + cap_len + CAPTURE_RING_ALIGN - 1) &
			  ~(size_t)(CAPTURE_RING_ALIGN - 1));
}

static struct capture_record *at(const struct capture_ring *r, uint64_t position)
{
	return (struct capture_record *)(void *)(r->bytes + position % r->size);
}

/* Is there room for everything up to `end`? */
static bool has_room(struct capture_ring *r, uint64_t end)
{
	if (end - r->tail_seen <= r->size)
		return true;
	/* Pairs with the release in capture_ring_release(). */
	r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
	return end - r->tail_seen <= r->size;
}

struct capture_record *capture_ring_reserve(struct capture_ring *r, uint32_t cap_len)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t left = r->size - head % r->size, start = head;
	uint32_t size = size_of(cap_len);

	if (left < size)
		start += left;
	if (cap_len > r->size - sizeof(struct capture_record) || !has_room(r, start + size))
		return NULL;
	r->reserved = start;
	return at(r, start);
}

void capture_ring_commit(struct capture_ring *r, struct capture_record *record, uint32_t cap_len)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	if (r->reserved != head) { /* said only now, since a record may be left */
		struct capture_record *skip = at(r, head);

		skip->size = (uint32_t)(r->reserved - head); /* there may be no room for more */
		skip->len = CAPTURE_RING_SKIP;
	}
	record->cap_len = cap_len;
	record->size = size_of(cap_len);
	/* Pairs with the acquire in capture_ring_first(). */
	atomic_store_explicit(&r->head, r->reserved + record->size, memory_order_release);
}

void capture_ring_wake(struct capture_ring *r)
{
	/* The commit is seen by who looks once more, or its sleep is seen here. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&r->asleep, memory_order_relaxed) &&
	    atomic_exchange_explicit(&r->asleep, false, memory_order_relaxed))
		(void)eventfd_write(r->wake_fd, 1);
}

const struct capture_record *capture_ring_first(struct capture_ring *r)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	const struct capture_record *record;

	/* Pairs with the release in capture_ring_commit(). */
	if (tail == atomic_load_explicit(&r->head, memory_order_acquire))
		return NULL;
	record = at(r, tail);
	if (record->len != CAPTURE_RING_SKIP)
		return record;
	/* A record follows, committed together with the skip. */
	tail += record->size;
	atomic_store_explicit(&r->tail, tail, memory_order_release);
	return at(r, tail);
}

void capture_ring_release(struct capture_ring *r, const struct capture_record *record)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	atomic_store_explicit(&r->tail, tail + record->size, memory_order_release);
}

bool capture_ring_will_sleep(struct capture_ring *r)
{
	eventfd_t count;

	(void)eventfd_read(r->wake_fd, &count);
	atomic_store_explicit(&r->asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&r->tail, memory_order_relaxed) ==
	    atomic_load_explicit(&r->head, memory_order_relaxed))
		return true;
	atomic_store_explicit(&r->asleep, false, memory_order_relaxed);
	return false;
}
