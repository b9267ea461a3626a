/* SPDX-License-Identifier: MIT */
#include "heap_impl.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Said again: the compiler forgets the declaration's model here, and makes a call of each use. */
__thread struct heap_mine heap_mine __attribute__((tls_model("initial-exec")));

/* ---- tags ---------------------------------------------------------------- */

/* SplitMix64: a bijection, so that tags of one heap begin to repeat only by chance in their 36 bits. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t heap_tag(struct heap *heap)
{
	uint64_t n = __atomic_add_fetch(&heap->seed, 0x9e3779b97f4a7c15ULL, __ATOMIC_RELAXED);

	return mix(n) & HEAP_TAG_MASK;
}

static uint64_t first_seed(uint64_t owner, uint64_t serial)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return mix(owner) ^ mix((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) ^
	       mix(~serial);
}

/* ---- the threads' caches --------------------------------------------------- */

/* A thread ends: its segments wait for the next one that is short. */
static void cache_rest(void *value)
{
	struct heap_cache *cache = value;
	struct heap *heap = cache->heap;

	if (heap_mine.cache == cache)
		heap_mine = (struct heap_mine){ 0 };
	pthread_mutex_lock(&heap->lock);
	cache->next_idle = heap->idle;
	heap->idle = cache;
	pthread_mutex_unlock(&heap->lock);
}

static struct heap_cache *cache_make(struct heap *heap)
{
	struct heap_cache *cache;

	pthread_mutex_lock(&heap->lock);
	cache = heap->idle;
	if (cache) {
		heap->idle = cache->next_idle;
	} else if ((cache = aligned_alloc(CACHE_LINE, sizeof(*cache)))) {
		heap_cache_init(cache, heap);
		heap_list_append(&heap->caches, &cache->link);
	}
	pthread_mutex_unlock(&heap->lock);
	return cache;
}

struct heap_cache *heap_cache_find(struct heap *heap)
{
	struct heap_cache *cache;

	if (!heap->owner) {
		errno = EROFS;
		return NULL;
	}
	cache = pthread_getspecific(heap->key);
	if (!cache) {
		cache = cache_make(heap);
		if (!cache)
			return NULL;
		if (pthread_setspecific(heap->key, cache)) {
			cache_rest(cache);
			errno = ENOMEM;
			return NULL;
		}
	}
	heap_mine = (struct heap_mine){ heap->serial, cache->token, cache };
	return cache;
}

/* ---- open, close ------------------------------------------------------------- */

static uint64_t next_serial(void)
{
	static uint64_t last;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

static int heap_init(struct heap *heap, const struct heap_options *options)
{
	int error;

	heap->base = options->base;
	heap->size = options->size;
	heap->serial = next_serial();
	heap->n_extents = (uint32_t)(options->size / PORTAL_EXTENT);
	heap->id = (uint16_t)portal_owner_id(options->owner);
	heap->owner = options->owner;
	heap->source = options->source;
	heap->seed = first_seed(heap->owner, heap->serial);
	heap_list_init(&heap->caches);
	heap_list_init(&heap->huge);
	heap_list_init(&heap->kept);
	heap->segments = calloc(heap->n_extents, sizeof(struct heap_segment *));
	heap->spans = calloc((size_t)heap->n_extents * HEAP_SLOTS, sizeof(struct heap_span *));
	if (!heap->segments || !heap->spans)
		return -ENOMEM;
	error = pthread_mutex_init(&heap->lock, NULL);
	if (error)
		return -error;
	error = pthread_key_create(&heap->key, cache_rest);
	if (error)
		pthread_mutex_destroy(&heap->lock);
	return -error;
}

int heap_open(const struct heap_options *options, struct heap **ret_heap)
{
	struct heap *heap;
	int error;

	if (!options->size || options->size % PORTAL_EXTENT ||
	    (uintptr_t)options->base % HEAP_UNIT ||
	    options->size / PORTAL_EXTENT > PORTAL_EXTENTS_MAX ||
	    (options->owner && !portal_owner_valid(options->owner)))
		return -EINVAL;
	heap = calloc(1, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	error = heap_init(heap, options);
	if (error) {
		free(heap->segments);
		free(heap->spans);
		free(heap);
		return error;
	}
	*ret_heap = heap;
	return 0;
}

void heap_close(struct heap *heap)
{
	if (!heap)
		return;
	pthread_key_delete(heap->key);
	while (!heap_list_empty(&heap->caches)) {
		struct heap_cache *cache = container_of(heap->caches.next, struct heap_cache, link);

		heap_cache_trim(cache, 0);
		heap_list_remove(&cache->link);
		free(cache);
	}
	heap_huge_collect(heap);
	for (uint32_t i = 0; i < heap->n_extents; i++)
		free(heap->segments[i]);
	pthread_mutex_destroy(&heap->lock);
	free(heap->segments);
	free(heap->spans);
	free(heap);
}

/* ---- allocating ---------------------------------------------------------------- */

/* The first free block of a group that has the bits `free`, not 0.  Its word is written, never read: no peer can make it what
 * it is not, and there is nothing to wait for. */
static inline void *take_of(struct heap_cache *cache, struct heap_span *span, unsigned group,
			    uint64_t free)
{
	size_t index = group * 64 + (unsigned)__builtin_ctzll(free);
	uint8_t *block = span->blocks + index * span->size;

	__atomic_store_n(&span->free[group], free & (free - 1), __ATOMIC_RELAXED);
	span->used++;
	cache->tag += HEAP_TAG_ONE;
	le64_store_release(&span->words[index], span->live | cache->tag);
	return block;
}

static void *take(struct heap_cache *cache, const struct heap_hand *hand)
{
	return take_of(cache, hand->span, hand->group,
		       __atomic_load_n(&hand->span->free[hand->group], __ATOMIC_RELAXED));
}

static __attribute__((noinline)) void *alloc_slow(struct heap *heap, unsigned class)
{
	struct heap_cache *cache = heap_cache_of(heap);

	if (!cache || !heap_span_find(cache, class))
		return NULL;
	return take(cache, &cache->hand[class]);
}

static __attribute__((noinline)) void *alloc_huge(struct heap *heap, size_t size)
{
	void *block;

	if (!heap->owner || size - 1 >= heap->size) {
		errno = !heap->owner ? EROFS : size ? ENOMEM : EINVAL;
		return NULL;
	}
	pthread_mutex_lock(&heap->lock);
	block = heap_huge_alloc(heap, size);
	pthread_mutex_unlock(&heap->lock);
	return block;
}

static __attribute__((noinline)) void *alloc_large(struct heap *heap, size_t size)
{
	return size - 1 < HEAP_BLOCK_MAX ? alloc_slow(heap, heap_class_of(size)) :
					   alloc_huge(heap, size);
}

/* Another group of the same span, or the long way. */
static __attribute__((noinline)) void *alloc_next(struct heap *heap, struct heap_hand *hand,
						  unsigned class)
{
	return heap_span_advance(hand->span, &hand->group) ? take(heap_mine.cache, hand) :
							     alloc_slow(heap, class);
}

/* Calls come last on every path: what they need is not kept across anything, and costs the quick path nothing. */
void *heap_alloc(struct heap *heap, size_t size)
{
	struct heap_cache *cache;
	struct heap_span *span;
	unsigned class, group;
	uint64_t free;

	if (unlikely(size - 1 >= HEAP_QUICK_MAX)) /* 0 is one of them */
		return alloc_large(heap, size);
	class = heap_quick_classes[(size - 1) / HEAP_UNIT];
	if (unlikely(heap_mine.serial != heap->serial))
		return alloc_slow(heap, class);
	cache = heap_mine.cache;
	span = cache->hand[class].span;
	group = cache->hand[class].group;
	free = __atomic_load_n(&span->free[group], __ATOMIC_RELAXED);
	if (unlikely(!free))
		return alloc_next(heap, &cache->hand[class], class);
	return take_of(cache, span, group, free);
}

/* What this client has in an extent: HEAP_NONE, nothing. */
static unsigned kind_of(const struct heap_segment *segment)
{
	return segment ? __atomic_load_n(&segment->kind, __ATOMIC_ACQUIRE) : HEAP_NONE;
}

/* ---- freeing ------------------------------------------------------------------- */

/* The block of a span of ours that begins where ptr, somewhere in that span, points to. */
static inline bool find_block(const struct heap_span *span, const void *ptr, uint32_t *ret_index)
{
	return heap_index((uint32_t)((const uint8_t *)ptr - span->blocks), span->size,
			  span->reciprocal, span->n_blocks, ret_index);
}

static inline uint64_t group_of(const uint64_t *bits, uint32_t index)
{
	return __atomic_load_n(&bits[index / 64], __ATOMIC_RELAXED);
}

static inline bool bit_of(const uint64_t *bits, uint32_t index)
{
	return group_of(bits, index) >> index % 64 & 1;
}

static __attribute__((noinline)) int put_back_edge(struct heap_cache *cache, struct heap_span *span,
						   unsigned group)
{
	heap_span_refilled(cache, span, group);
	if (!span->used)
		heap_span_emptied(cache, span);
	return 0;
}

/* 0, as heap_free() returns it.  `free` is what the block's group has until now.  The next allocation gets what was freed last,
 * as it is in the processor's cache. */
static inline int put_back(struct heap_cache *cache, struct heap_span *span, unsigned class,
			   uint32_t index, uint64_t free)
{
	unsigned group = index / 64;

	__atomic_store_n(&span->free[group], free | BIT_ULL(index % 64), __ATOMIC_RELAXED);
	span->summary |= 1u << group;
	cache->hand[class] = (struct heap_hand){ span, group };
	if (unlikely(--span->used == 0) || unlikely(span->list == HEAP_SPAN_FULL))
		return put_back_edge(cache, span, group);
	return 0;
}

/* This thread's block, in a span with blocks that others know of. */
static __attribute__((noinline)) int free_watched(struct heap_cache *cache, struct heap_span *span,
						  uint32_t index)
{
	uint64_t bit = BIT_ULL(index % 64);
	int error;

	(void)heap_span_collect(cache, span); /* also so that the next free need not look */
	if (bit_of(span->free, index))
		return -ENOENT;
	if (bit_of(span->exported, index)) {
		error = heap_withdraw(cache->heap, &span->words[index], span->live,
				      HEAP_WORD(HEAP_BLOCK_FREE, span->class, 0));
		if (error)
			return error;
		__atomic_fetch_and(&span->exported[index / 64], ~bit, __ATOMIC_RELAXED);
	} else {
		le64_store_release(&span->words[index], HEAP_WORD(HEAP_BLOCK_FREE, span->class, 0));
	}
	return put_back(cache, span, span->class, index, group_of(span->free, index));
}

/* A block was noted as gone.  If it is free: has this note been collected, or had one before it, and this is the second
 * free?  The owner's collection is waited for, which is short, and takes its notes away. */
static bool is_second(struct heap_span *span, uint32_t group, uint64_t bit)
{
	if (likely(!(__atomic_load_n(&span->free[group], __ATOMIC_ACQUIRE) & bit)))
		return false;
	while (__atomic_load_n(&span->collecting, __ATOMIC_ACQUIRE))
		sched_yield();
	return __atomic_fetch_and(&span->gone[group], ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* This client's block, in a segment of another thread's: a bit, which that thread collects.  If the handle was given
 * out the word decides who frees it, and the inbox tells. */
static int free_across(struct heap *heap, struct heap_span *span, const void *ptr)
{
	uint32_t index, group;
	uint64_t bit;
	int error;

	if (!find_block(span, ptr, &index))
		return -EINVAL;
	group = index / 64;
	bit = BIT_ULL(index % 64);
	if (bit_of(span->free, index))
		return -ENOENT;
	if (bit_of(span->exported, index)) {
		error = heap_withdraw(heap, &span->words[index], span->live,
				      HEAP_WORD(HEAP_BLOCK_FREED, span->class, 0));
		if (!error)
			heap_notify(heap_head_at(heap->base, span->segment->extent), span->slot,
				    index);
		return error;
	}
	if (__atomic_fetch_or(&span->gone[group], bit, __ATOMIC_SEQ_CST) & bit)
		return -ENOENT;
	if (is_second(span, group, bit))
		return -ENOENT;
	/* Pairs with collect_gone(): hints after what they hint at; each is cleared before that is looked at. */
	if (!(__atomic_load_n(&span->gone_groups, __ATOMIC_SEQ_CST) & 1u << group))
		__atomic_fetch_or(&span->gone_groups, 1u << group, __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&span->watch, __ATOMIC_SEQ_CST) & HEAP_WATCH_GONE))
		__atomic_fetch_or(&span->watch, HEAP_WATCH_GONE, __ATOMIC_SEQ_CST);
	return 0;
}

static int free_huge(struct heap *heap, struct heap_segment *segment, uint64_t offset)
{
	int error = -EINVAL;

	pthread_mutex_lock(&heap->lock);
	if (segment->run && offset == (uint64_t)segment->extent * PORTAL_EXTENT + HEAP_HEAD)
		error = heap_huge_free(heap, segment);
	pthread_mutex_unlock(&heap->lock);
	return error;
}

/* This thread's block. */
static inline int free_own(struct heap_cache *cache, struct heap_span *span, const void *ptr)
{
	unsigned class;
	uint32_t index;
	uint64_t free;

	if (unlikely(!find_block(span, ptr, &index)))
		return -EINVAL;
	free = group_of(span->free, index);
	if (unlikely(free >> index % 64 & 1))
		return -ENOENT;
	if (unlikely(__atomic_load_n(&span->watch, __ATOMIC_RELAXED)))
		return free_watched(cache, span, index);
	class = span->class;
	le64_store_release(&span->words[index], HEAP_WORD(HEAP_BLOCK_FREE, class, 0));
	return put_back(cache, span, class, index, free);
}

static __attribute__((noinline)) int free_elsewhere(struct heap *heap, struct heap_span *span,
						    const void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)heap->base;
	struct heap_cache *cache;
	struct heap_segment *segment;

	if (!heap->owner)
		return -EROFS;
	if (!span) {
		segment = heap_segment_at(heap, offset);
		return kind_of(segment) == HEAP_HUGE ? free_huge(heap, segment, offset) :
						       heap_foreign_free(heap, offset);
	}
	cache = heap_cache_of(heap); /* this thread may have used another heap last */
	if (cache && __atomic_load_n(&span->token, __ATOMIC_RELAXED) == cache->token)
		return free_own(cache, span, ptr);
	return free_across(heap, span, ptr);
}

static __attribute__((noinline)) int free_nothing(const void *ptr)
{
	return ptr ? -EINVAL : 0;
}

int heap_free(struct heap *heap, void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)heap->base;
	struct heap_span *span;

	if (unlikely(offset >= heap->size))
		return free_nothing(ptr);
	span = __atomic_load_n(heap_span_at(heap, offset), __ATOMIC_ACQUIRE);
	if (unlikely(!span || __atomic_load_n(&span->token, __ATOMIC_RELAXED) != heap_mine.token))
		return free_elsewhere(heap, span, ptr);
	return free_own(heap_mine.cache, span, ptr);
}

/* ---- asking about blocks ---------------------------------------------------------- */

/* Is it allocated, by the private notes? */
static bool is_live(const struct heap_span *span, uint32_t index)
{
	return !bit_of(span->free, index) && !bit_of(span->gone, index);
}

/* Does the word of a block that others know of say that this client holds it? */
static bool is_ours(const struct heap *heap, const le64_t *word, unsigned class)
{
	return (le64_load_acquire(word) & ~HEAP_TAG_MASK) ==
	       HEAP_WORD(HEAP_BLOCK_LIVE, class, heap->id);
}

/* How large our own blocks are the arena is not asked. */
static size_t usable_huge(const struct heap *heap, const struct heap_segment *segment,
			  uint64_t offset)
{
	if (offset % PORTAL_EXTENT != HEAP_HEAD ||
	    (__atomic_load_n(&segment->handed, __ATOMIC_ACQUIRE) &&
	     !is_ours(heap, &heap_head_at(heap->base, segment->extent)->huge, HEAP_CLASS_HUGE)))
		return 0;
	return (size_t)segment->run * PORTAL_EXTENT - HEAP_HEAD;
}

size_t heap_usable(const struct heap *heap, const void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)heap->base;
	const struct heap_segment *segment;
	struct heap_place place;
	struct heap_span *span;
	uint32_t index;

	if (offset >= heap->size)
		return 0;
	span = __atomic_load_n(heap_span_at(heap, offset), __ATOMIC_ACQUIRE);
	if (span) {
		if (!find_block(span, ptr, &index) || !is_live(span, index) ||
		    (bit_of(span->exported, index) &&
		     !is_ours(heap, &span->words[index], span->class)))
			return 0;
		return span->size;
	}
	segment = heap_segment_at(heap, offset);
	if (kind_of(segment) == HEAP_HUGE)
		return usable_huge(heap, segment, offset);
	if (!heap_locate(heap->base, heap->n_extents, offset, &place))
		return 0;
	return is_ours(heap, place.word, place.class) ? place.size : 0;
}

bool heap_offered(const struct heap *heap, uint64_t offset)
{
	const struct heap_span *span =
		__atomic_load_n(heap_span_at(heap, offset), __ATOMIC_ACQUIRE);
	const struct heap_segment *segment = heap_segment_at(heap, offset);
	uint32_t index;

	if (span)
		return find_block(span, heap->base + offset, &index) && is_live(span, index) &&
		       bit_of(span->exported, index);
	if (kind_of(segment) == HEAP_HUGE)
		return offset % PORTAL_EXTENT == HEAP_HEAD &&
		       __atomic_load_n(&segment->handed, __ATOMIC_ACQUIRE);
	return kind_of(segment) == HEAP_NONE;
}

/* Others may know of this block from now on: its word decides. */
static void export_block(struct heap_span *span, uint32_t index)
{
	uint64_t bit = BIT_ULL(index % 64);

	if (__atomic_load_n(&span->exported[index / 64], __ATOMIC_RELAXED) & bit)
		return;
	__atomic_fetch_or(&span->exported[index / 64], bit, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&span->watch, HEAP_WATCH_EXPORTED, __ATOMIC_SEQ_CST);
}

uint64_t heap_handle(const struct heap *heap, const void *ptr)
{
	uint64_t offset = (uintptr_t)ptr - (uintptr_t)heap->base, word;
	struct heap_segment *segment;
	struct heap_place place;
	struct heap_span *span;
	uint32_t index;

	if (offset >= heap->size || !heap_locate(heap->base, heap->n_extents, offset, &place))
		return 0;
	span = __atomic_load_n(heap_span_at(heap, offset), __ATOMIC_ACQUIRE);
	segment = heap_segment_at(heap, offset);
	if (span) {
		if (!find_block(span, ptr, &index) || !is_live(span, index))
			return 0;
		export_block(span, index);
	} else if (kind_of(segment) == HEAP_HUGE) {
		__atomic_store_n(&segment->handed, true, __ATOMIC_RELEASE);
	}
	word = le64_load_acquire(place.word);
	if (HEAP_WORD_STATE(word) != HEAP_BLOCK_LIVE || HEAP_WORD_CLASS(word) != place.class)
		return 0;
	return HEAP_HANDLE(offset, word);
}

void heap_collect(struct heap *heap)
{
	struct heap_cache *cache = heap_cache_of(heap);

	if (!cache)
		return;
	heap_cache_adopt(cache);
	heap_cache_trim(cache, 0);
	pthread_mutex_lock(&heap->lock);
	heap_huge_collect(heap);
	pthread_mutex_unlock(&heap->lock);
}

void heap_stats(struct heap *heap, struct heap_stats *ret_stats)
{
	struct heap_stats stats = {
		.collected = __atomic_load_n(&heap->collected, __ATOMIC_RELAXED),
		.lies = __atomic_load_n(&heap->lies, __ATOMIC_RELAXED),
		.segments = __atomic_load_n(&heap->n_segments, __ATOMIC_RELAXED),
		.huge = __atomic_load_n(&heap->n_huge, __ATOMIC_RELAXED)
	};

	*ret_stats = stats;
}
