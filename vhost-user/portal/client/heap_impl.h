/* SPDX-License-Identifier: MIT */
/* The inside of a heap: the private notes.  For heap*.c alone.
 *
 *	heap.c          open, close; the paths that most calls take
 *	heap_span.c     a thread's spans and segments: what happens when a span runs dry, fills up, becomes empty
 *	heap_huge.c     runs of extents
 *	heap_foreign.c  blocks of other clients, by what the arena says of them
 *	heap_recover.c  after a death: stands alone, has no private notes
 *
 *	heap ── by slot ──▶ span: bitmaps of its blocks ──▶ segment
 *	  └── caches: one for each thread ── by class: spans that have free blocks, full ones, those whose slots are free
 *
 * A bit of span->free says that a block is free, and is the truth.  Only the thread of the cache that has the segment
 * changes it (other threads of the process look at it, hence the relaxed atomics).  Other threads' frees are bits of
 * span->gone, other clients' are FREED words in the arena; heap_span_collect() turns both into bits of span->free.
 * What another client claims to have freed counts only if its handle was ever given out (span->exported).
 */
#ifndef PORTAL_HEAP_IMPL_H
#define PORTAL_HEAP_IMPL_H

#include <pthread.h>
#include <stdbool.h>

#include "base.h"
#include "heap.h"
#include "heap_class.h"

#define HEAP_FIRST_EXTENT 2u /* before it lies the daemon's and the leases' */
#define HEAP_BLOCKS_MAX   (HEAP_SLOT / HEAP_UNIT)
#define HEAP_GROUPS       (HEAP_BLOCKS_MAX / 64)

/* Empty segments of a kind that a thread keeps: what comes and goes in waves needs no daemon. */
#define HEAP_RESERVE 8u

struct heap_link {
	struct heap_link *next, *prev;
};

/* Where a span is listed. */
enum heap_span_list {
	HEAP_SPAN_IDLE, /* its slots are free; the words are still in order, should the class want it again */
	HEAP_SPAN_PARTIAL, /* at least one block is free: summary is not 0 */
	HEAP_SPAN_FULL,
	HEAP_SPAN_LISTS,
};

/* What makes a free look twice. */
enum heap_watch {
	HEAP_WATCH_GONE = 1,     /* another thread freed a block: a bit of `gone` */
	HEAP_WATCH_EXPORTED = 2, /* a handle was asked for: a bit of `exported` */
};

struct heap_span {
	/* Read by every allocation and every free, by other threads too; rarely changed. */
	le64_t *words;        /* in the arena */
	uint8_t *blocks;      /* in the arena */
	uint64_t live;        /* HEAP_WORD(LIVE, class, this lease) */
	uint64_t token;       /* of the cache that has the segment; atomic */
	uint32_t size;        /* of a block */
	uint32_t reciprocal;  /* as that of the class */
	uint32_t watch;       /* atomic: enum heap_watch */
	uint32_t gone_groups; /* atomic: bit g, gone[g] may not be 0 */
	uint16_t n_blocks;
	uint8_t class, slot;
	struct heap_segment *segment;

	/* Written by the owner; others look at `free`. */
	uint32_t used __attribute__((aligned(CACHE_LINE))); /* blocks that are not free */
	uint32_t summary;      /* bit g: free[g] may be other than 0; where it is, the bit is set */
	uint8_t list;          /* enum heap_span_list */
	bool collecting;       /* atomic: bits of `gone` are being made bits of `free` */
	struct heap_link link; /* cache->spans[class][list] */
	uint64_t free[HEAP_GROUPS]; /* atomic */

	/* Written by others. */
	uint64_t gone[HEAP_GROUPS] __attribute__((aligned(CACHE_LINE))); /* atomic */
	uint64_t exported[HEAP_GROUPS];                                  /* atomic */
};

struct heap_segment {
	struct heap_cache *cache; /* that has it; NULL: huge, or not ours any more */
	uint32_t extent, run;
	uint32_t free_slots, all_slots;
	uint8_t kind;          /* enum heap_kind; atomic */
	bool handed;           /* huge: the handle was asked for; atomic */
	struct heap_link link; /* cache->roomy or crowded, heap->huge or kept */
	struct heap_span spans[HEAP_SLOTS];
};

/* Where the next block of a class comes from, if there is a free one in that group. */
struct heap_hand {
	struct heap_span *span; /* a partial one, or heap_no_span */
	unsigned group;
};

/* One thread's. */
struct heap_cache {
	uint64_t token; /* of this process: no other cache has or had it */
	uint64_t tag;   /* of the last block allocated */
	struct heap_hand hand[HEAP_CLASSES];
	struct heap *heap;
	struct heap_link spans[HEAP_CLASSES][HEAP_SPAN_LISTS];
	struct heap_link roomy[HEAP_HUGE];   /* by kind: segments with free slots */
	struct heap_link crowded[HEAP_HUGE]; /* and without */
	uint32_t n_empty[HEAP_HUGE];
	struct heap_link link; /* heap->caches */
	struct heap_cache *next_idle;
} __attribute__((aligned(CACHE_LINE)));

struct heap {
	uint8_t *base;
	uint64_t size;
	uint64_t serial;          /* of this process: no other heap has or had it */
	struct heap_span **spans; /* by slot of the arena, atomic: the span there, also an idle one */
	struct heap_segment **segments; /* by extent, atomic; not freed before the heap is */
	uint32_t n_extents;
	uint16_t id; /* of the lease */
	uint64_t owner;
	struct heap_source source;
	pthread_key_t
		key; /* its value is the thread's cache: at the thread's end it goes to `idle` */

	pthread_mutex_t lock; /* of what follows, and around the source */
	struct heap_link caches;
	struct heap_cache *idle;     /* of threads that ended */
	struct heap_link huge;       /* segments */
	struct heap_link kept;       /* extents that the source did not take back */
	uint64_t seed;               /* of tags; atomic */
	uint32_t n_segments, n_huge; /* extents; atomic */
	uint64_t collected, lies;    /* atomic */
};

/* The cache that this thread used last.  Heaps and caches are known by numbers: their addresses may have been others'. */
struct heap_mine {
	uint64_t serial; /* of the heap */
	uint64_t token;  /* of the cache */
	struct heap_cache *cache;
};
extern __thread struct heap_mine heap_mine __attribute__((tls_model("initial-exec")));

extern struct heap_span
	heap_no_span; /* of which nothing is ever free; notes the inside of huge blocks of ours */

/* ---- heap.c ---- */

/* This thread's cache; NULL: no memory. */
struct heap_cache *heap_cache_find(struct heap *heap);

static inline struct heap_cache *heap_cache_of(struct heap *heap)
{
	return likely(heap_mine.serial == heap->serial) ? heap_mine.cache : heap_cache_find(heap);
}

/* A tag out of the blue: no two are related. */
uint64_t heap_tag(struct heap *heap);

/* May somebody have a handle of the block at `offset`?  Where this client's notes know the extent they decide: a handle that was
 * never given out is a forgery, and to take by it would be to have one's own memory twice. */
bool heap_offered(const struct heap *heap, uint64_t offset);

static inline struct heap_head *heap_head_at(uint8_t *base, uint32_t extent)
{
	return (struct heap_head *)(void *)(base + (uint64_t)extent * PORTAL_EXTENT);
}

/* Where the span that has this byte of the arena is noted. */
static inline struct heap_span **heap_span_at(const struct heap *heap, uint64_t offset)
{
	return &heap->spans[offset / HEAP_SLOT];
}

static inline struct heap_segment *heap_segment_at(const struct heap *heap, uint64_t offset)
{
	return __atomic_load_n(&heap->segments[offset / PORTAL_EXTENT], __ATOMIC_ACQUIRE);
}

/* ---- heap_span.c ---- */

/* A group with a free block.  False: the span has none. */
static inline bool heap_span_advance(struct heap_span *span, unsigned *ret_group)
{
	for (; span->summary; span->summary &= span->summary - 1) {
		unsigned group = (unsigned)__builtin_ctz(span->summary);

		if (span->free[group]) {
			*ret_group = group;
			return true;
		}
	}
	return false;
}

void heap_cache_init(struct heap_cache *cache, struct heap *heap);

/* Have cache->hand of the class be at a free block.  False with errno: there is none to be had. */
bool heap_span_find(struct heap_cache *cache, unsigned class);

/* Group g of the span had no free block and has one now. */
void heap_span_refilled(struct heap_cache *cache, struct heap_span *span, unsigned group);

/* The last block that was in use is free. */
void heap_span_emptied(struct heap_cache *cache, struct heap_span *span);

/* Make free what others freed.  Returns how many blocks. */
unsigned heap_span_collect(struct heap_cache *cache, struct heap_span *span);

/* Take over what threads that ended left, if anything: false, nothing. */
bool heap_cache_adopt(struct heap_cache *cache);

/* Collect from all spans, and give back empty segments beyond `keep` of each kind. */
void heap_cache_trim(struct heap_cache *cache, unsigned keep);

/* ---- heap_huge.c: with the heap's lock held ---- */

void *heap_huge_alloc(struct heap *heap, size_t size);
int heap_huge_free(struct heap *heap, struct heap_segment *segment);
void heap_huge_collect(struct heap *heap);

/* A grant from the source or from what it would not take back, and the private notes for it.  0 or -errno. */
int heap_grant(struct heap *heap, unsigned kind, uint32_t run, struct heap_segment **ret_segment);

/* Give it back: the caller has unlinked it.  Others see no block there from now on. */
void heap_ungrant(struct heap *heap, struct heap_segment *segment);

/* ---- heap_foreign.c ---- */

/* A block as the arena describes it. */
struct heap_place {
	struct heap_head *head;
	le64_t *word;
	uint8_t *block;
	uint64_t size;
	unsigned class; /* or HEAP_CLASS_HUGE */
	unsigned slot, index;
};

/* What block begins at `offset`?  False: none that the arena knows. */
bool heap_locate(uint8_t *base, uint32_t n_extents, uint64_t offset, struct heap_place *ret_place);

int heap_foreign_free(struct heap *heap, uint64_t offset);

/* A block of this client's whose handle was given out: make its word say `word` (with the old tag) if this client
 * still holds it. 0, -EPERM, -ENOENT.  A word that cannot be is put right, and counted. */
int heap_withdraw(struct heap *heap, le64_t *at, uint64_t live, uint64_t word);

/* Say in the inbox that block `index` of the span at `slot` is FREED. */
void heap_notify(struct heap_head *head, unsigned slot, unsigned index);

/* ---- lists ---- */

static inline void heap_list_init(struct heap_link *list)
{
	list->next = list->prev = list;
}

static inline bool heap_list_empty(const struct heap_link *list)
{
	return list->next == list;
}

static inline void heap_list_remove(struct heap_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	heap_list_init(link);
}

static inline void heap_list_append(struct heap_link *list, struct heap_link *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static inline void heap_list_push(struct heap_link *list, struct heap_link *link)
{
	heap_list_append(list->next, link);
}

/* Move all of `from` to the end of `list`. */
static inline void heap_list_splice(struct heap_link *list, struct heap_link *from)
{
	if (heap_list_empty(from))
		return;
	from->next->prev = list->prev;
	list->prev->next = from->next;
	from->prev->next = list;
	list->prev = from->prev;
	heap_list_init(from);
}

#endif
