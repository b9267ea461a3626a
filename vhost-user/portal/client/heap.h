/* SPDX-License-Identifier: MIT */
/* The allocator of one client: blocks out of extents that somebody grants.
 *
 * A heap stands on a piece of memory (the arena, mapped anywhere) and a source of extents (the lease; in tests a
 * bitmap).  It cuts its extents into blocks by size class; what is larger than 960 KiB is a run of extents of its
 * own. heap_layout.h says what others see of it.
 *
 * Each thread that uses a heap gets segments of its own: it allocates and frees their blocks without lock or atomic
 * read-modify-write, by private bitmaps of what is free.  Who frees a block of another thread's or another client's
 * segment marks its word (one CAS) and the owner's inbox; the owner collects when it next runs dry.  When a thread
 * ends, the next thread that is short takes its segments over.  Empty segments go back to the source, but for a
 * reserve of eight of each kind for each thread.
 *
 * Handing over.  A block is its allocator's until it is freed or *taken*: heap_handle() makes a number of it, which
 * may be sent anywhere; heap_take() with that number makes the taker its holder.  Only the holder may free a block.
 * A block dies with its holder, not with the client in whose segment it lies.  heap_resolve() looks without taking.
 *
 * Trust:     the private notes decide what is allocated; nothing in the arena can make a heap reach beyond it, loop, or
 *            grant a block twice that was never offered to anybody.  A peer that rewrites words can make handles miss,
 *            and frees of what was offered fail, and no more.
 * Ownership: the memory belongs to the caller and outlives the heap.
 * Threads:   every function but heap_open() and heap_close() from any thread; not after a fork(), in the child.  The
 *            source is called with the heap's lock held: one call at a time, and it must not call back.
 * Blocking:  only in the source, and for the lock around it: once for about every 2 MiB.
 */
#ifndef PORTAL_HEAP_H
#define PORTAL_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap;

/* Where extents come from.  get: n extents in a row, to be used as `kind` (PORTAL_EXTENT_SEGMENT, n = 1, or
 * PORTAL_EXTENT_HUGE); 0, -ENOSPC, -EDQUOT, -EAGAIN (no new claims now), -ENOTCONN, ...  put: a grant back, whole; if
 * it fails the heap keeps it and tries again later.  -EBUSY: that one cannot go now, others may. */
struct heap_source {
	int (*get)(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first);
	int (*put)(void *ctx, uint32_t first, uint32_t n);
	void *ctx;
};

struct heap_options {
	void *base;     /* of the arena; 64-byte aligned */
	uint64_t size;  /* of the arena, as far as it is mapped; whole extents */
	uint64_t owner; /* portal_owner() of this client; 0: an observer, which can only resolve */
	struct heap_source source;
};

/* 0, -ENOMEM, -EINVAL (a size that is no arena's). */
int heap_open(const struct heap_options *options, struct heap **ret_heap);

/* Give back to the source what has no blocks any more, and end; the rest goes with the lease.  No other thread may be
 * in the heap or come back to it.  NULL is legal. */
void heap_close(struct heap *heap);

/* A block of at least `size` bytes, uninitialised, aligned to 64 bytes, and to 4096 if size >= 4096.  NULL with errno
 * EINVAL (0 bytes), EROFS (an observer), ENOMEM (private memory, or a size beyond the arena), or what the source
 * says. */
void *heap_alloc(struct heap *heap, size_t size);

/* 0; -EINVAL: no block begins there; -ENOENT: the block is free; -EPERM: another client holds it; -EROFS.  NULL is
 * legal. */
int heap_free(struct heap *heap, void *ptr);

/* Bytes of the block at ptr; 0 if it is not one that this client may free. */
size_t heap_usable(const struct heap *heap, const void *ptr);

/* The handle of a live block, anyone's; 0: it is none. */
uint64_t heap_handle(const struct heap *heap, const void *ptr);

/* The block of a handle, of which `len` bytes lie in the arena.  NULL with errno ESTALE (freed since) or EINVAL (no
 * handle, or the block is smaller). */
void *heap_resolve(const struct heap *heap, uint64_t handle, size_t len);

/* The same, and this client is its holder from now on.  NULL also with EROFS, and ESTALE if another one has taken it. */
void *heap_take(struct heap *heap, uint64_t handle, size_t len);

/* Look for blocks that others freed, and give back what is empty.  Allocating does this when it must; a client that
 * has stopped allocating calls it now and then.  Of this thread's segments and of those nobody uses. */
void heap_collect(struct heap *heap);

struct heap_stats {
	uint32_t segments;  /* extents of blocks */
	uint32_t huge;      /* extents of huge blocks */
	uint64_t collected; /* blocks that others freed */
	uint64_t lies;      /* words in the arena that contradict the private notes */
};

void heap_stats(struct heap *heap, struct heap_stats *ret_stats);

#endif
