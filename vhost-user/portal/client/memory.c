/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "base.h"
#include "heap.h"
#include "impl.h"

static int get_extents(void *ctx, unsigned kind, uint32_t n, uint32_t *ret_first)
{
	struct portal *p = ctx;

	return tether_extent_get(p->tether, p->geo.n_extents, n, (enum portal_extent_kind)kind,
				 ret_first);
}

static int put_extents(void *ctx, uint32_t first, uint32_t n)
{
	struct portal *p = ctx;

	int r = tether_extent_put(p->tether, first, n);

	/* Not ours (any more): there is nothing to be given back. */
	return r == -EPERM ? 0 : r;
}

int memory_open(struct portal *p)
{
	struct heap_options options = {
		.base = p->map.base,
		.size = p->geo.arena_size,
		.owner = p->page ? portal_self(p) : 0,
		.source = { .get = get_extents, .put = put_extents, .ctx = p },
	};

	return heap_open(&options, &p->heap);
}

void memory_close(struct portal *p)
{
	heap_close(p->heap);
	p->heap = NULL;
}

static void *refuse(struct portal *p)
{
	(void)portal_rest(p);
	errno = EAGAIN;
	return NULL;
}

void *portal_alloc(struct portal *p, size_t size)
{
	void *ptr;

	if (unlikely(!portal_begin(p)))
		return refuse(p);
	ptr = heap_alloc(p->heap, size);
	portal_end(p);
	return ptr;
}

int portal_free(struct portal *p, void *ptr)
{
	int r;

	if (unlikely(!portal_begin(p))) {
		(void)refuse(p);
		return -EAGAIN;
	}
	r = heap_free(p->heap, ptr);
	portal_end(p);
	return r;
}

size_t portal_usable(const struct portal *p, const void *ptr)
{
	return heap_usable(p->heap, ptr);
}

uint64_t portal_handle(const struct portal *p, const void *ptr)
{
	return heap_handle(p->heap, ptr);
}

void *portal_resolve(const struct portal *p, uint64_t handle, size_t len)
{
	return heap_resolve(p->heap, handle, len);
}

void *portal_take(struct portal *p, uint64_t handle, size_t len)
{
	void *ptr;

	if (!portal_begin(p))
		return refuse(p);
	ptr = heap_take(p->heap, handle, len);
	portal_end(p);
	return ptr;
}
