/* SPDX-License-Identifier: MIT */
#include "heap_impl.h"

#include <errno.h>

/* ---- from an offset to a block ----------------------------------------------- */

/* One load says what the extent is; the words of a stranger become a place by the class table alone. */
static bool locate_in_span(struct heap_head *head, unsigned kind, uint32_t offset,
			   struct heap_place *ret_place)
{
	unsigned at = offset / HEAP_SLOT, first = heap_first_slot(kind), class, slot;
	const struct heap_class *c;
	uint32_t word, index;

	if (at < first)
		return false;
	word = le32_load_acquire(&head->slots[at]);
	class = HEAP_SLOT_CLASS(word);
	if (!HEAP_SLOT_USED(word) || class >= HEAP_CLASSES || HEAP_SLOT_BACK(word) > at - first)
		return false;
	c = &heap_classes[class];
	slot = at - HEAP_SLOT_BACK(word);
	if (c->kind != kind || HEAP_SLOT_BACK(word) >= c->n_slots ||
	    c->n_slots > HEAP_SLOTS - slot ||
	    !heap_class_index(c, offset - slot * HEAP_SLOT, &index))
		return false;
	*ret_place = (struct heap_place){
		.head = head,
		.word = (le64_t *)(void *)((uint8_t *)head + heap_words_offset(kind, slot)) + index,
		.block = (uint8_t *)head + offset,
		.size = c->size,
		.class = class,
		.slot = slot,
		.index = index,
	};
	return true;
}

static bool locate_huge(struct heap_head *head, uint64_t what, uint32_t offset, uint32_t n_extents,
			struct heap_place *ret_place)
{
	if (offset != HEAP_HEAD || HEAP_WHAT_RUN(what) == 0 || HEAP_WHAT_RUN(what) > n_extents)
		return false;
	*ret_place = (struct heap_place){
		.head = head,
		.word = &head->huge,
		.block = (uint8_t *)head + HEAP_HEAD,
		.size = (uint64_t)HEAP_WHAT_RUN(what) * PORTAL_EXTENT - HEAP_HEAD,
		.class = HEAP_CLASS_HUGE,
	};
	return true;
}

bool heap_locate(uint8_t *base, uint32_t n_extents, uint64_t offset, struct heap_place *ret_place)
{
	uint64_t extent = offset / PORTAL_EXTENT, what;
	struct heap_head *head;

	if (extent < HEAP_FIRST_EXTENT || extent >= n_extents)
		return false;
	head = heap_head_at(base, (uint32_t)extent);
	what = le64_load_acquire(&head->what);
	if (HEAP_WHAT_FORMAT(what) != HEAP_WHAT_FORMAT(HEAP_WHAT(0, 0, 0)) ||
	    (HEAP_WHAT_STATE(what) != HEAP_LIVE && HEAP_WHAT_STATE(what) != HEAP_ORPHAN))
		return false;
	switch (HEAP_WHAT_KIND(what)) {
	case HEAP_FINE:
	case HEAP_COARSE:
		return locate_in_span(head, HEAP_WHAT_KIND(what),
				      (uint32_t)(offset % PORTAL_EXTENT), ret_place);
	case HEAP_HUGE:
		return locate_huge(head, what, (uint32_t)(offset % PORTAL_EXTENT),
				   n_extents - (uint32_t)extent, ret_place);
	default:
		return false;
	}
}

/* ---- looking, taking ------------------------------------------------------------ */

/* The live block of a handle, and its word as it was: 0, -ESTALE, -EINVAL. */
static int find_handle(const struct heap *heap, uint64_t handle, size_t len,
		       struct heap_place *ret_place, uint64_t *ret_word)
{
	struct heap_place place;
	uint64_t word;

	if (!handle || HEAP_HANDLE_OFFSET(handle) >= heap->size)
		return -EINVAL;
	if (!heap_locate(heap->base, heap->n_extents, HEAP_HANDLE_OFFSET(handle), &place))
		return -ESTALE;
	word = le64_load_acquire(place.word); /* pairs with the allocation's release */
	if (HEAP_WORD_STATE(word) != HEAP_BLOCK_LIVE || HEAP_WORD_CLASS(word) != place.class ||
	    ((word ^ handle) & HEAP_TAG_MASK))
		return -ESTALE;
	if (len > place.size)
		return -EINVAL;
	*ret_place = place;
	*ret_word = word;
	return 0;
}

void *heap_resolve(const struct heap *heap, uint64_t handle, size_t len)
{
	struct heap_place place;
	uint64_t word;
	int error = find_handle(heap, handle, len, &place, &word);

	if (error) {
		errno = -error;
		return NULL;
	}
	return place.block;
}

static bool swap(le64_t *at, uint64_t from, uint64_t to)
{
	uint64_t expected = htole64(from);

	return __atomic_compare_exchange_n(&at->raw, &expected, htole64(to), false,
					   __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

/* Leave a card, so that whoever clears up after us knows where to look.  Before the first change. */
static void visit(struct heap_head *head, unsigned id)
{
	le64_t *visitors = &head->visitors[id / 64 % array_size(head->visitors)];
	uint64_t bit = BIT_ULL(id % 64);

	if (!(le64_load(visitors) & bit))
		__atomic_fetch_or(&visitors->raw, htole64(bit), __ATOMIC_SEQ_CST);
}

void *heap_take(struct heap *heap, uint64_t handle, size_t len)
{
	struct heap_place place;
	uint64_t word;
	int error = heap->owner ? find_handle(heap, handle, len, &place, &word) : -EROFS;

	if (!error && !heap_offered(heap, HEAP_HANDLE_OFFSET(handle)))
		error = -ESTALE;
	if (!error) {
		visit(place.head, heap->id);
		if (!swap(place.word, word,
			  HEAP_WORD(HEAP_BLOCK_LIVE, place.class, heap->id) | heap_tag(heap)))
			error = -ESTALE;
	}
	if (error) {
		errno = -error;
		return NULL;
	}
	return place.block;
}

/* ---- freeing ---------------------------------------------------------------------- */

/* Pairs with collect_inbox(): the word is FREED before this. */
void heap_notify(struct heap_head *head, unsigned slot, unsigned index)
{
	uint64_t bit = BIT_ULL(index / 64);

	if (!(le64_get((le64_t){ __atomic_load_n(&head->inbox[slot].raw, __ATOMIC_SEQ_CST) }) &
	      bit))
		__atomic_fetch_or(&head->inbox[slot].raw, htole64(bit), __ATOMIC_SEQ_CST);
}

int heap_foreign_free(struct heap *heap, uint64_t offset)
{
	struct heap_place place;
	uint64_t word;

	if (!heap_locate(heap->base, heap->n_extents, offset, &place))
		return -EINVAL;
	word = le64_load_acquire(place.word);
	if (HEAP_WORD_STATE(word) != HEAP_BLOCK_LIVE || HEAP_WORD_CLASS(word) != place.class)
		return -ENOENT;
	if (HEAP_WORD_HOLDER(word) != heap->id)
		return -EPERM;
	if (!swap(place.word, word,
		  HEAP_WORD(HEAP_BLOCK_FREED, place.class, 0) | (word & HEAP_TAG_MASK)))
		return -ENOENT; /* a thread of ours was faster */
	heap_notify(place.head, place.slot, place.index);
	return 0;
}

int heap_withdraw(struct heap *heap, le64_t *at, uint64_t live, uint64_t word)
{
	uint64_t old = le64_load_acquire(at);

	if ((old & ~HEAP_TAG_MASK) == live) {
		if (swap(at, old, word | (old & HEAP_TAG_MASK)))
			return 0;
		old = le64_load_acquire(at);
	}
	if (HEAP_WORD_STATE(old) == HEAP_BLOCK_FREED)
		return -ENOENT;
	if (HEAP_WORD_STATE(old) == HEAP_BLOCK_LIVE && HEAP_WORD_HOLDER(old) != heap->id)
		return -EPERM;
	/* Nobody may have written that: we know that the block is ours. */
	__atomic_add_fetch(&heap->lies, 1, __ATOMIC_RELAXED);
	le64_store_release(at, word | (old & HEAP_TAG_MASK));
	return 0;
}
