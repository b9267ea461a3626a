/* SPDX-License-Identifier: MIT */
#include "heap_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- grants ---------------------------------------------------------------- */

/* The private notes for what begins at an extent; they stay until the heap is closed, so that any thread may look. */
static struct heap_segment *notes_for(struct heap *heap, uint32_t extent)
{
	struct heap_segment *segment = heap->segments[extent];

	if (segment)
		return segment;
	segment = aligned_alloc(CACHE_LINE, sizeof(*segment));
	if (!segment)
		return NULL;
	memset(segment, 0, sizeof(*segment));
	segment->extent = extent;
	heap_list_init(&segment->link);
	__atomic_store_n(&heap->segments[extent], segment, __ATOMIC_RELEASE);
	return segment;
}

static uint32_t *count_of(struct heap *heap, unsigned kind)
{
	return kind == PORTAL_EXTENT_HUGE ? &heap->n_huge : &heap->n_segments;
}

/* Try again to give back what was not taken. */
static void put_kept(struct heap *heap)
{
	struct heap_link *next;

	for (struct heap_link *link = heap->kept.next; link != &heap->kept; link = next) {
		struct heap_segment *segment = container_of(link, struct heap_segment, link);
		int error = heap->source.put(heap->source.ctx, segment->extent, segment->run);

		next = link->next;
		if (error == -EBUSY)
			continue;
		if (error)
			return;
		heap_list_remove(&segment->link);
		segment->run = 0;
	}
}

int heap_grant(struct heap *heap, unsigned kind, uint32_t run, struct heap_segment **ret_segment)
{
	struct heap_segment *segment;
	uint32_t first;
	int error;

	put_kept(heap);
	error = heap->source.get(heap->source.ctx, kind, run, &first);
	if (error)
		return error < 0 ? error : -EPROTO;
	if (first < HEAP_FIRST_EXTENT || first >= heap->n_extents || run > heap->n_extents - first)
		return -EPROTO;
	segment = notes_for(heap, first);
	if (!segment || segment->run) {
		error = segment ? -EPROTO : -ENOMEM;
		if (!segment)
			(void)heap->source.put(heap->source.ctx, first, run);
		return error;
	}
	segment->run = run;
	__atomic_add_fetch(count_of(heap, kind), run, __ATOMIC_RELAXED);
	*ret_segment = segment;
	return 0;
}

void heap_ungrant(struct heap *heap, struct heap_segment *segment)
{
	bool huge = segment->kind == HEAP_HUGE;

	le64_store_release(&heap_head_at(heap->base, segment->extent)->what, 0);
	__atomic_store_n(&segment->kind, HEAP_NONE, __ATOMIC_RELEASE);
	segment->cache = NULL;
	__atomic_sub_fetch(count_of(heap, huge ? PORTAL_EXTENT_HUGE : PORTAL_EXTENT_SEGMENT),
			   segment->run, __ATOMIC_RELAXED);
	heap_list_append(&heap->kept, &segment->link);
	put_kept(heap);
}

/* ---- huge blocks -------------------------------------------------------------- */

static void write_huge(struct heap *heap, struct heap_segment *segment)
{
	struct heap_head *head = heap_head_at(heap->base, segment->extent);

	le64_store_release(&head->what, 0);
	memset((uint8_t *)head + sizeof(head->what), 0, sizeof(*head) - sizeof(head->what));
	le64_store(&head->owner, heap->owner);
	le64_store(&head->huge,
		   HEAP_WORD(HEAP_BLOCK_LIVE, HEAP_CLASS_HUGE, heap->id) | heap_tag(heap));
	le64_store_release(&head->what, HEAP_WHAT(HEAP_HUGE, HEAP_LIVE, segment->run));
}

/* Behind its head there is nothing but the block: whatever lies there that looks like a heap's is not. */
static void note_inside(struct heap *heap, const struct heap_segment *segment,
			struct heap_span *note)
{
	struct heap_span **at = heap_span_at(heap, (uint64_t)(segment->extent + 1) * PORTAL_EXTENT);

	for (uint32_t i = 0; i < (segment->run - 1) * HEAP_SLOTS; i++)
		__atomic_store_n(at + i, note, __ATOMIC_RELEASE);
}

void *heap_huge_alloc(struct heap *heap, size_t size)
{
	uint32_t run = (uint32_t)((size + HEAP_HEAD + PORTAL_EXTENT - 1) / PORTAL_EXTENT);
	struct heap_segment *segment;
	int error;

	heap_huge_collect(heap);
	error = heap_grant(heap, PORTAL_EXTENT_HUGE, run, &segment);
	if (error) {
		errno = -error;
		return NULL;
	}
	note_inside(heap, segment, &heap_no_span);
	write_huge(heap, segment);
	__atomic_store_n(&segment->handed, false, __ATOMIC_RELAXED);
	__atomic_store_n(&segment->kind, HEAP_HUGE, __ATOMIC_RELEASE);
	heap_list_append(&heap->huge, &segment->link);
	return heap->base + (uint64_t)segment->extent * PORTAL_EXTENT + HEAP_HEAD;
}

static void release(struct heap *heap, struct heap_segment *segment)
{
	heap_list_remove(&segment->link);
	note_inside(heap, segment, NULL);
	heap_ungrant(heap, segment);
}

int heap_huge_free(struct heap *heap, struct heap_segment *segment)
{
	le64_t *word = &heap_head_at(heap->base, segment->extent)->huge;
	int error = 0;

	if (__atomic_load_n(&segment->handed, __ATOMIC_ACQUIRE))
		error = heap_withdraw(heap, word,
				      HEAP_WORD(HEAP_BLOCK_LIVE, HEAP_CLASS_HUGE, heap->id),
				      HEAP_WORD(HEAP_BLOCK_FREE, HEAP_CLASS_HUGE, 0));
	else
		le64_store_release(word, le64_load(word) & HEAP_TAG_MASK);
	if (!error)
		release(heap, segment);
	return error;
}

void heap_huge_collect(struct heap *heap)
{
	struct heap_link *next;

	for (struct heap_link *link = heap->huge.next; link != &heap->huge; link = next) {
		struct heap_segment *segment = container_of(link, struct heap_segment, link);
		struct heap_head *head = heap_head_at(heap->base, segment->extent);

		next = link->next;
		if (!__atomic_load_n(&segment->handed, __ATOMIC_ACQUIRE) ||
		    HEAP_WORD_STATE(le64_load_acquire(&head->huge)) != HEAP_BLOCK_FREED)
			continue;
		__atomic_add_fetch(&heap->collected, 1, __ATOMIC_RELAXED);
		release(heap, segment);
	}
	put_kept(heap);
}
