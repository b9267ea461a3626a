/* SPDX-License-Identifier: MIT */
#include "impair_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

#define SIZE_MIN 64
#define SIZE_MAX_ENTRIES \
	(1u << 26) /* the switch's buffers end long before: 2 GiB of entries alone */

int impair_ring_grow(struct impair_ring *r)
{
	uint32_t size = max(2 * r->size, (uint32_t)SIZE_MIN);
	struct impair_entry *bigger;

	if (size > SIZE_MAX_ENTRIES)
		return -ENOMEM;
	bigger = malloc(size * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->n; i++)
		bigger[i] = r->entry[(r->head + i) & (r->size - 1)];
	free(r->entry);
	r->entry = bigger;
	r->size = size;
	r->head = 0;
	return 0;
}

void impair_ring_done(struct impair_ring *r)
{
	free(r->entry);
	*r = (struct impair_ring){ 0 };
}

static int ring_make_room(struct impair_ring *r, unsigned n)
{
	while (r->size - r->n < n) {
		int err = impair_ring_grow(r);

		if (err < 0)
			return err;
	}
	return 0;
}

static bool before(const struct impair_entry *a, const struct impair_entry *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static int grow_heap(struct impair_due *q)
{
	uint32_t size = max(2 * q->heap_size, (uint32_t)SIZE_MIN);
	struct impair_entry *bigger;

	if (size > SIZE_MAX_ENTRIES)
		return -ENOMEM;
	bigger = reallocarray(q->heap, size, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	q->heap = bigger;
	q->heap_size = size;
	return 0;
}

int impair_due_push_before(struct impair_due *q, const struct impair_entry *e)
{
	uint32_t i;

	if (q->n_heap == q->heap_size && grow_heap(q) < 0)
		return -ENOMEM;
	for (i = q->n_heap++; i > 0 && before(e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		q->heap[i] = q->heap[(i - 1) / 2];
	q->heap[i] = *e;
	return 0;
}

static void heap_pop(struct impair_due *q)
{
	const struct impair_entry last = q->heap[--q->n_heap];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < q->n_heap) {
		if (child + 1 < q->n_heap && before(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!before(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = last;
}

static int heap_make_room(struct impair_due *q, unsigned n)
{
	while (q->heap_size - q->n_heap < n) {
		int err = grow_heap(q);

		if (err < 0)
			return err;
	}
	return 0;
}

int impair_due_push_together(struct impair_due *q, uint64_t at_ns, void *const *frame,
			     const uint32_t *len, unsigned n)
{
	struct impair_ring *r = &q->ring;
	bool in_order = r->n == 0 || at_ns >= r->entry[(r->head + r->n - 1) & (r->size - 1)].at_ns;
	int err = in_order ? ring_make_room(r, n) : heap_make_room(q, n);

	if (err < 0)
		return err;
	for (unsigned i = 0; i < n; i++) {
		struct impair_entry e = {
			.at_ns = at_ns, .seq = q->seq + i, .frame = frame[i], .len = len[i]
		};

		if (likely(in_order))
			r->entry[(r->head + r->n + i) & (r->size - 1)] = e;
		else
			(void)impair_due_push_before(q, &e); /* there is room */
	}
	q->seq += n;
	r->n += in_order ? n : 0;
	return 0;
}

const struct impair_entry *impair_due_first_of(const struct impair_due *q)
{
	const struct impair_entry *e = impair_ring_first(&q->ring);

	return !e || before(&q->heap[0], e) ? &q->heap[0] : e;
}

void impair_due_pop_first_of(struct impair_due *q, struct impair_entry *ret)
{
	const struct impair_entry *e = impair_due_first_of(q);

	*ret = *e;
	if (e == &q->heap[0])
		heap_pop(q);
	else
		impair_ring_pop(&q->ring);
}

void impair_due_done(struct impair_due *q)
{
	impair_ring_done(&q->ring);
	free(q->heap);
	*q = (struct impair_due){ 0 };
}
