/* SPDX-License-Identifier: MIT */
#include "heap_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Full spans looked at before another one is made: what others freed is used soon, and a search stays short. */
#define LOOKS 8u

struct heap_span heap_no_span;

void heap_cache_init(struct heap_cache *cache, struct heap *heap)
{
	static uint64_t last;

	memset(cache, 0, sizeof(*cache));
	cache->token = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	cache->heap = heap;
	cache->tag = heap_tag(heap);
	for (unsigned class = 0; class < HEAP_CLASSES; class ++) {
		cache->hand[class].span = &heap_no_span;
		for (unsigned list = 0; list < HEAP_SPAN_LISTS; list++)
			heap_list_init(&cache->spans[class][list]);
	}
	for (unsigned kind = 0; kind < HEAP_HUGE; kind++) {
		heap_list_init(&cache->roomy[kind]);
		heap_list_init(&cache->crowded[kind]);
	}
}

/* ---- a span's lists -------------------------------------------------------- */

static void move_span(struct heap_cache *cache, struct heap_span *span, unsigned list)
{
	heap_list_remove(&span->link);
	span->list = (uint8_t)list;
	heap_list_push(&cache->spans[span->class][list], &span->link);
}

static struct heap_span *first_of(struct heap_cache *cache, unsigned class, unsigned list)
{
	struct heap_link *head = &cache->spans[class][list];

	return heap_list_empty(head) ? NULL : container_of(head->next, struct heap_span, link);
}

void heap_span_refilled(struct heap_cache *cache, struct heap_span *span, unsigned group)
{
	span->summary |= 1u << group;
	if (span->list == HEAP_SPAN_FULL)
		move_span(cache, span, HEAP_SPAN_PARTIAL);
}

/* ---- segments ---------------------------------------------------------------- */

static uint32_t slots_of(const struct heap_span *span)
{
	return (BIT_ULL(heap_classes[span->class].n_slots) - 1) << span->slot;
}

static void list_segment(struct heap_cache *cache, struct heap_segment *segment)
{
	heap_list_remove(&segment->link);
	if (!segment->free_slots)
		heap_list_push(&cache->crowded[segment->kind], &segment->link);
	else if (segment->free_slots == segment->all_slots)
		heap_list_append(&cache->roomy[segment->kind],
				 &segment->link); /* the last to be cut */
	else
		heap_list_push(&cache->roomy[segment->kind], &segment->link);
}

static void occupy(struct heap_cache *cache, struct heap_segment *segment, uint32_t slots)
{
	bool was_empty = segment->free_slots == segment->all_slots;

	segment->free_slots &= ~slots;
	if (was_empty)
		cache->n_empty[segment->kind]--;
	if (was_empty || !segment->free_slots)
		list_segment(cache, segment);
}

static struct heap_span **note_of(const struct heap_segment *segment, unsigned slot)
{
	return heap_span_at(segment->cache->heap,
			    (uint64_t)segment->extent * PORTAL_EXTENT + (uint64_t)slot * HEAP_SLOT);
}

static struct heap_head *head_of(const struct heap_segment *segment)
{
	return heap_head_at(segment->cache->heap->base, segment->extent);
}

/* Forget the idle span that has this slot, if there is one: it is wanted for something else. */
static void retire(struct heap_segment *segment, unsigned slot)
{
	struct heap_span *span = *note_of(segment, slot);

	if (!span)
		return;
	for (unsigned i = span->slot; i < span->slot + heap_classes[span->class].n_slots; i++) {
		le32_store_release(&head_of(segment)->slots[i], 0);
		__atomic_store_n(note_of(segment, i), NULL, __ATOMIC_RELEASE);
	}
	heap_list_remove(&span->link);
}

static void give_segment_back(struct heap_cache *cache, struct heap_segment *segment)
{
	for (unsigned slot = 0; slot < HEAP_SLOTS; slot++)
		retire(segment, slot);
	heap_list_remove(&segment->link);
	cache->n_empty[segment->kind]--;
	pthread_mutex_lock(&cache->heap->lock);
	heap_ungrant(cache->heap, segment);
	pthread_mutex_unlock(&cache->heap->lock);
}

static void give_empty_back(struct heap_cache *cache, unsigned kind, unsigned keep)
{
	struct heap_link *roomy = &cache->roomy[kind], *before;

	for (struct heap_link *link = roomy->prev; link != roomy && cache->n_empty[kind] > keep;
	     link = before) {
		struct heap_segment *segment = container_of(link, struct heap_segment, link);

		before = link->prev;
		if (segment->free_slots == segment->all_slots)
			give_segment_back(cache, segment);
	}
}

static void free_slots(struct heap_cache *cache, struct heap_span *span)
{
	struct heap_segment *segment = span->segment;

	move_span(cache, span, HEAP_SPAN_IDLE);
	if (cache->hand[span->class].span == span)
		cache->hand[span->class] = (struct heap_hand){ &heap_no_span, 0 };
	segment->free_slots |= slots_of(span);
	if (segment->free_slots == segment->all_slots)
		cache->n_empty[segment->kind]++;
	list_segment(cache, segment);
}

void heap_span_emptied(struct heap_cache *cache, struct heap_span *span)
{
	struct heap_link *partial = &cache->spans[span->class][HEAP_SPAN_PARTIAL];
	unsigned kind = span->segment->kind;

	if (partial->next == &span->link && partial->prev == &span->link)
		return; /* the class's last: it will be wanted */
	free_slots(cache, span);
	give_empty_back(cache, kind, HEAP_RESERVE);
}

/* ---- new spans ------------------------------------------------------------------ */

/* The first of `n` free slots in a row; -1: there are none. */
static int find_run(uint32_t free, unsigned n)
{
	for (unsigned have = 1; have < n && free;) {
		unsigned more = min(have, n - have);

		free &= free >> more;
		have += more;
	}
	return free ? __builtin_ctz(free) : -1;
}

/* Words first, slots last: who finds the span finds its words in order. */
static void write_span(struct heap_head *head, struct heap_span *span)
{
	const struct heap_class *class = &heap_classes[span->class];

	for (unsigned i = 0; i < class->n_blocks; i++)
		le64_store(&span->words[i], HEAP_WORD(HEAP_BLOCK_FREE, span->class, 0));
	le64_store(&head->inbox[span->slot], 0);
	for (unsigned i = 0; i < class->n_slots; i++)
		le32_store_release(&head->slots[span->slot + i], HEAP_SLOT_WORD(span->class, i));
}

static void note_span(struct heap_span *span, struct heap_segment *segment, unsigned slot,
		      unsigned class)
{
	const struct heap_class *c = &heap_classes[class];
	uint8_t *base = (uint8_t *)head_of(segment);

	memset(span, 0, sizeof(*span));
	span->words = (le64_t *)(void *)(base + heap_words_offset(segment->kind, slot));
	span->blocks = base + (size_t)slot * HEAP_SLOT;
	span->live = HEAP_WORD(HEAP_BLOCK_LIVE, class, segment->cache->heap->id);
	span->token = segment->cache->token;
	span->size = c->size;
	span->reciprocal = c->reciprocal;
	span->n_blocks = c->n_blocks;
	span->class = (uint8_t) class;
	span->slot = (uint8_t)slot;
	span->segment = segment;
	heap_list_init(&span->link);
	for (unsigned group = 0; group * 64 < c->n_blocks; group++) {
		unsigned rest = c->n_blocks - group * 64;

		span->free[group] = rest >= 64 ? ~0ULL : BIT_ULL(rest) - 1;
		span->summary |= 1u << group;
	}
}

static struct heap_span *cut(struct heap_cache *cache, struct heap_segment *segment, unsigned slot,
			     unsigned class)
{
	struct heap_span *span = &segment->spans[slot];
	unsigned n = heap_classes[class].n_slots;

	for (unsigned i = slot; i < slot + n; i++)
		retire(segment, i);
	note_span(span, segment, slot, class);
	write_span(head_of(segment), span);
	for (unsigned i = slot; i < slot + n; i++)
		__atomic_store_n(note_of(segment, i), span, __ATOMIC_RELEASE);
	occupy(cache, segment, slots_of(span));
	move_span(cache, span, HEAP_SPAN_PARTIAL);
	return span;
}

/* A span out of slots that this thread has. */
static struct heap_span *claim(struct heap_cache *cache, unsigned class)
{
	struct heap_span *span = first_of(cache, class, HEAP_SPAN_IDLE);
	struct heap_link *roomy = &cache->roomy[heap_classes[class].kind];
	int slot;

	if (span) {
		occupy(cache, span->segment, slots_of(span));
		move_span(cache, span, HEAP_SPAN_PARTIAL);
		return span;
	}
	for (struct heap_link *link = roomy->next; link != roomy; link = link->next) {
		struct heap_segment *segment = container_of(link, struct heap_segment, link);

		slot = find_run(segment->free_slots, heap_classes[class].n_slots);
		if (slot >= 0)
			return cut(cache, segment, (unsigned)slot, class);
	}
	return NULL;
}

/* ---- what others freed ------------------------------------------------------------ */

/* Have these blocks be free.  None of them is. */
static void free_group(struct heap_cache *cache, struct heap_span *span, unsigned group,
		       uint64_t bits)
{
	uint64_t free = span->free[group];

	for (uint64_t rest = bits; rest; rest &= rest - 1)
		le64_store_release(&span->words[group * 64 + (unsigned)__builtin_ctzll(rest)],
				   HEAP_WORD(HEAP_BLOCK_FREE, span->class, 0));
	__atomic_store_n(&span->free[group], free | bits, __ATOMIC_RELEASE);
	span->used -= (uint32_t)__builtin_popcountll(bits);
	if (bits)
		heap_span_refilled(cache, span, group);
}

/* Pairs with free_across(): first the hint is cleared, then what it hints at is looked at. */
static unsigned collect_gone(struct heap_cache *cache, struct heap_span *span)
{
	unsigned n = 0;
	uint32_t groups;

	__atomic_fetch_and(&span->watch, ~(uint32_t)HEAP_WATCH_GONE, __ATOMIC_SEQ_CST);
	groups = __atomic_exchange_n(&span->gone_groups, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&span->collecting, true, __ATOMIC_SEQ_CST);
	for (; groups; groups &= groups - 1) {
		unsigned group = (unsigned)__builtin_ctz(groups);
		uint64_t bits = __atomic_load_n(&span->gone[group], __ATOMIC_SEQ_CST);

		/* Free before it is gone no more: who frees it again sees one or the other, see is_second(). */
		free_group(cache, span, group, bits & ~span->free[group]);
		__atomic_fetch_and(&span->gone[group], ~bits, __ATOMIC_SEQ_CST);
		n += (unsigned)__builtin_popcountll(bits);
	}
	__atomic_store_n(&span->collecting, false, __ATOMIC_RELEASE);
	return n;
}

/* Which of the group's blocks were given out and are FREED?  Their notes are cleared. */
static uint64_t take_freed(struct heap_span *span, unsigned group)
{
	uint64_t exported = __atomic_load_n(&span->exported[group], __ATOMIC_SEQ_CST) &
			    ~span->free[group];
	uint64_t freed = 0;

	for (uint64_t rest = exported; rest; rest &= rest - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(rest);

		if (HEAP_WORD_STATE(le64_load_acquire(&span->words[group * 64 + bit])) ==
		    HEAP_BLOCK_FREED)
			freed |= BIT_ULL(bit);
	}
	if (freed)
		__atomic_fetch_and(&span->exported[group], ~freed, __ATOMIC_SEQ_CST);
	return freed;
}

/* Pairs with heap_notify() in the same way. */
static unsigned collect_inbox(struct heap_cache *cache, struct heap_span *span)
{
	struct heap_head *head = head_of(span->segment);
	unsigned n = 0;
	uint64_t groups;

	if (!le64_load(&head->inbox[span->slot]))
		return 0;
	groups = __atomic_exchange_n(&head->inbox[span->slot].raw, 0, __ATOMIC_SEQ_CST);
	groups = le64_get((le64_t){ groups }) & (BIT_ULL(HEAP_GROUPS) - 1);
	for (; groups; groups &= groups - 1) {
		unsigned group = (unsigned)__builtin_ctzll(groups);
		uint64_t freed = take_freed(span, group);

		free_group(cache, span, group, freed);
		n += (unsigned)__builtin_popcountll(freed);
	}
	return n;
}

/* Once nothing of the span is exported, its frees need not look for it. */
static void watch_less(struct heap_span *span)
{
	uint64_t any = 0;

	__atomic_fetch_and(&span->watch, ~(uint32_t)HEAP_WATCH_EXPORTED, __ATOMIC_SEQ_CST);
	for (unsigned group = 0; group < HEAP_GROUPS; group++)
		any |= __atomic_load_n(&span->exported[group], __ATOMIC_SEQ_CST);
	if (any)
		__atomic_fetch_or(&span->watch, HEAP_WATCH_EXPORTED, __ATOMIC_SEQ_CST);
}

unsigned heap_span_collect(struct heap_cache *cache, struct heap_span *span)
{
	uint32_t watch = __atomic_load_n(&span->watch, __ATOMIC_SEQ_CST);
	unsigned n = 0, foreign = 0;

	if (watch & HEAP_WATCH_GONE)
		n = collect_gone(cache, span);
	if (watch & HEAP_WATCH_EXPORTED)
		foreign = collect_inbox(cache, span);
	if (foreign)
		watch_less(span);
	if (n + foreign)
		__atomic_fetch_add(&cache->heap->collected, n + foreign, __ATOMIC_RELAXED);
	return n + foreign;
}

/* ---- a span with a free block ------------------------------------------------------ */

static struct heap_span *look_in_partial(struct heap_cache *cache, unsigned class)
{
	struct heap_span *span;
	unsigned group;

	while ((span = first_of(cache, class, HEAP_SPAN_PARTIAL))) {
		if (heap_span_advance(span, &group) || heap_span_collect(cache, span))
			return span;
		heap_list_remove(&span->link);
		span->list = HEAP_SPAN_FULL;
		heap_list_append(&cache->spans[class][HEAP_SPAN_FULL], &span->link);
	}
	return NULL;
}

/* Those at the head have been full for the longest time. */
static struct heap_span *look_in_full(struct heap_cache *cache, unsigned class, unsigned looks)
{
	struct heap_link *full = &cache->spans[class][HEAP_SPAN_FULL];
	struct heap_link *last = full->prev;

	while (looks-- && !heap_list_empty(full)) {
		struct heap_link *link = full->next;
		struct heap_span *span = container_of(link, struct heap_span, link);

		if (heap_span_collect(cache, span))
			return span;
		heap_list_remove(link);
		heap_list_append(full, link);
		if (link == last)
			break;
	}
	return NULL;
}

/* ---- more segments ------------------------------------------------------------------- */

static void adopt_segments(struct heap_cache *cache, struct heap_link *to, struct heap_link *from)
{
	for (struct heap_link *link = from->next; link != from; link = link->next)
		container_of(link, struct heap_segment, link)->cache = cache;
	heap_list_splice(to, from);
}

static void adopt_spans(struct heap_cache *cache, struct heap_link *to, struct heap_link *from)
{
	for (struct heap_link *link = from->next; link != from; link = link->next)
		__atomic_store_n(&container_of(link, struct heap_span, link)->token, cache->token,
				 __ATOMIC_RELAXED);
	heap_list_splice(to, from);
}

bool heap_cache_adopt(struct heap_cache *cache)
{
	struct heap *heap = cache->heap;
	struct heap_cache *idle;

	pthread_mutex_lock(&heap->lock);
	idle = heap->idle;
	if (idle) {
		heap->idle = idle->next_idle;
		heap_list_remove(&idle->link);
	}
	pthread_mutex_unlock(&heap->lock);
	if (!idle)
		return false;
	for (unsigned class = 0; class < HEAP_CLASSES; class ++)
		for (unsigned list = 0; list < HEAP_SPAN_LISTS; list++)
			adopt_spans(cache, &cache->spans[class][list], &idle->spans[class][list]);
	for (unsigned kind = 0; kind < HEAP_HUGE; kind++) {
		adopt_segments(cache, &cache->roomy[kind], &idle->roomy[kind]);
		adopt_segments(cache, &cache->crowded[kind], &idle->crowded[kind]);
		cache->n_empty[kind] += idle->n_empty[kind];
	}
	free(idle);
	return true;
}

static void write_head(struct heap_head *head, unsigned kind, uint64_t owner)
{
	le64_store_release(&head->what, 0);
	memset((uint8_t *)head + sizeof(head->what), 0, sizeof(*head) - sizeof(head->what));
	le64_store(&head->owner, owner);
	le64_store_release(&head->what, HEAP_WHAT(kind, HEAP_LIVE, 1));
}

/* Another segment: 0 or -errno. */
static int grow(struct heap_cache *cache, unsigned kind)
{
	struct heap *heap = cache->heap;
	struct heap_segment *segment;
	int error;

	pthread_mutex_lock(&heap->lock);
	error = heap_grant(heap, PORTAL_EXTENT_SEGMENT, 1, &segment);
	pthread_mutex_unlock(&heap->lock);
	if (error)
		return error;
	segment->all_slots = ~0u << heap_first_slot(kind);
	segment->free_slots = segment->all_slots;
	write_head(heap_head_at(heap->base, segment->extent), kind, heap->owner);
	segment->cache = cache;
	__atomic_store_n(&segment->kind, (uint8_t)kind, __ATOMIC_RELEASE);
	heap_list_push(&cache->roomy[kind], &segment->link);
	cache->n_empty[kind]++;
	return 0;
}

static struct heap_span *look_everywhere(struct heap_cache *cache, unsigned class)
{
	struct heap_span *span = look_in_partial(cache, class);

	if (!span)
		span = look_in_full(cache, class, LOOKS);
	if (!span)
		span = claim(cache, class);
	return span ? span : look_in_full(cache, class, ~0u);
}

bool heap_span_find(struct heap_cache *cache, unsigned class)
{
	struct heap_hand *hand = &cache->hand[class];
	struct heap_span *span;
	int error;

	do {
		span = look_everywhere(cache, class);
	} while (!span && heap_cache_adopt(cache));
	if (!span) {
		error = grow(cache, heap_classes[class].kind);
		if (error) {
			errno = -error;
			return false;
		}
		span = claim(cache, class);
	}
	hand->span = span;
	return heap_span_advance(span, &hand->group);
}

/* ---- trimming -------------------------------------------------------------------------- */

static void trim_list(struct heap_cache *cache, struct heap_link *list)
{
	struct heap_link *next;

	for (struct heap_link *link = list->next; link != list; link = next) {
		struct heap_span *span = container_of(link, struct heap_span, link);

		next = link->next;
		(void)heap_span_collect(cache, span);
		if (!span->used)
			free_slots(cache, span);
	}
}

void heap_cache_trim(struct heap_cache *cache, unsigned keep)
{
	for (unsigned class = 0; class < HEAP_CLASSES; class ++) {
		trim_list(cache, &cache->spans[class][HEAP_SPAN_FULL]);
		trim_list(cache, &cache->spans[class][HEAP_SPAN_PARTIAL]);
	}
	for (unsigned kind = HEAP_FINE; kind < HEAP_HUGE; kind++)
		give_empty_back(cache, kind, keep);
}
