/* SPDX-License-Identifier: MIT */
/* What the extents of a heap look like: segments cut into blocks, and huge blocks.
 *
 *	segment (one extent)                          huge block (a run of extents)
 *	0          head: what, owner, slots, inbox    0       head
 *	4 KiB      one word for each block            4 KiB   the block
 *	slot 1/4   blocks                             ...
 *	slot 31    blocks
 *
 * A segment has 32 slots of 64 KiB.  A fine one (blocks of up to 1 KiB) gives four of them to the head, a coarse one
 * (up to 960 KiB) one.  A span is a run of slots that holds blocks of one size class (heap_class.h); its first slot's
 * words are those of its blocks.  Words lie apart from blocks, so that who writes past the end of his block meets
 * another block, not the heap.
 *
 * A block's word says everything about it, and changes by one store or one compare-and-swap:
 *
 *	FREE --the owner--> LIVE, held by the owner --take--> LIVE, held by another --that one--> FREED
 *	 ^                        |                                                               |
 *	 +--------the owner-------+                                <-------the owner collects-----+
 *
 * The owner of a segment is the lease that the extent was granted to; it alone makes blocks LIVE or FREE, and it does
 * so by its private notes of what is free, never by what it reads here: the word is what *others* go by, and the
 * daemon when the owner has died.  The holder is who will free the block, at first the owner.  Whoever gets a block's
 * handle may take it (one CAS: of two takers one wins), from when on the block outlives the owner and dies with its
 * holder; a holder that is not the owner gives it back by FREED and a bit in the inbox, and the owner collects it
 * when it next looks for memory.
 *
 * Trust: who reads a foreign head believes of it only what one load gives and what the class table (private, constant)
 *        makes of it: a word that is not well-formed names no block.  Tags make stale handles miss; a hostile peer can
 *        forge them, and gains what it has anyway, bytes of the arena.
 */
#ifndef PORTAL_HEAP_LAYOUT_H
#define PORTAL_HEAP_LAYOUT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

#include "layout.h"

#define HEAP_MAGIC   0x50414548u /* "HEAP" */
#define HEAP_VERSION 1u

#define HEAP_UNIT         64u /* blocks begin at multiples of it, which no two share */
#define HEAP_SLOT         (64u << 10)
#define HEAP_SLOTS        (PORTAL_EXTENT / HEAP_SLOT)
#define HEAP_HEAD         PORTAL_PAGE /* bytes before the words, or before a huge block */
#define HEAP_FINE_WORDS   1024u       /* for each slot of a fine segment */
#define HEAP_COARSE_WORDS 64u         /* of a coarse one */
#define HEAP_FINE_FIRST   4u          /* slot that is not the head's */
#define HEAP_COARSE_FIRST 1u

/* ---- the head's first word ------------------------------------------------- */

enum heap_kind {
	HEAP_NONE = 0,
	HEAP_FINE = 1,
	HEAP_COARSE = 2,
	HEAP_HUGE = 3,
};

enum heap_state {
	HEAP_LIVE = 1,
	HEAP_ORPHAN = 2, /* the owner died; what others hold lives on */
	HEAP_DYING = 3,  /* being wiped: there are no blocks here any more */
};

/* magic:32 | version:8 | kind:4 | state:4 | run:16.  The run is that of a huge block in extents, else 1. */
#define HEAP_WHAT(kind, state, run)                                                     \
	((uint64_t)HEAP_MAGIC | (uint64_t)HEAP_VERSION << 32 | (uint64_t)(kind) << 40 | \
	 (uint64_t)(state) << 44 | (uint64_t)(run) << 48)
#define HEAP_WHAT_KIND(what)   ((unsigned)((what) >> 40 & 15))
#define HEAP_WHAT_STATE(what)  ((unsigned)((what) >> 44 & 15))
#define HEAP_WHAT_RUN(what)    ((unsigned)((what) >> 48))
#define HEAP_WHAT_FORMAT(what) ((what)&0xffffffffffULL) /* magic and version */

/* A slot: 0 is free.  `back` is the distance to the span's first slot. */
#define HEAP_SLOT_WORD(class, back) (1u << 16 | (uint32_t)(back) << 8 | (uint32_t)(class))
#define HEAP_SLOT_USED(slot)        ((slot) >> 16 == 1)
#define HEAP_SLOT_BACK(slot)        ((slot) >> 8 & 0xff)
#define HEAP_SLOT_CLASS(slot)       ((slot)&0xff)

struct heap_head {
	le64_t what;
	le64_t owner; /* portal_owner() */
	le64_t huge;  /* the word of a huge block */
	le64_t reserved[5];
	/* Leases that changed words here without being the owner. */
	le64_t visitors[PORTAL_LEASES / 64];
	le64_t more[4];
	le32_t slots[HEAP_SLOTS]; /* HEAP_SLOT_WORD() */
	/* By slot, one bit for each 64 words of its span: a FREED one is among them. */
	le64_t inbox[HEAP_SLOTS];
};
static_assert(sizeof(struct heap_head) == 512 && sizeof(struct heap_head) <= HEAP_HEAD,
	      "the head's layout");
static_assert(offsetof(struct heap_head, visitors) == 64, "the head's layout");
static_assert(offsetof(struct heap_head, slots) == 128, "the head's layout");
static_assert(offsetof(struct heap_head, inbox) == 256, "the head's layout");
static_assert(HEAP_HEAD + (HEAP_SLOTS - HEAP_FINE_FIRST) * HEAP_FINE_WORDS * 8 <=
			      HEAP_FINE_FIRST * HEAP_SLOT &&
		      HEAP_HEAD + (HEAP_SLOTS - HEAP_COARSE_FIRST) * HEAP_COARSE_WORDS * 8 <=
			      HEAP_COARSE_FIRST * HEAP_SLOT,
	      "the words lie before the first slot that has blocks");

/* ---- the word of a block ------------------------------------------------------ */

enum heap_block_state {
	HEAP_BLOCK_FREE = 0, /* also what a page of zeros says */
	HEAP_BLOCK_LIVE = 1,
	HEAP_BLOCK_FREED = 2, /* by a holder that is not the owner */
};

/* state:4 | class:8 | holder:16 | tag:36.  The holder is a lease's id (its generation is not needed: what a lease
 * held is free before its id is given out again).  Each allocation and each take has another tag; that of a free block means nothing. */
#define HEAP_TAG_SHIFT 28
#define HEAP_TAG_ONE   (1ULL << HEAP_TAG_SHIFT)
#define HEAP_TAG_MASK  (~0ULL << HEAP_TAG_SHIFT)
#define HEAP_WORD(state, class, holder) \
	((uint64_t)(state) | (uint64_t)(class) << 4 | (uint64_t)((holder)&0xffff) << 12)
#define HEAP_WORD_STATE(word)  ((unsigned)((word)&15))
#define HEAP_WORD_CLASS(word)  ((unsigned)((word) >> 4 & 0xff))
#define HEAP_WORD_HOLDER(word) ((unsigned)((word) >> 12 & 0xffff))
#define HEAP_WORD_TAG(word)    ((word) >> HEAP_TAG_SHIFT)

/* The class that a huge block's word has. */
#define HEAP_CLASS_HUGE 0xffu

/* A handle: the block's offset in units, and the tag in the place where the word has it.  0 is no block: extent 0 has
 * none. */
#define HEAP_HANDLE(offset, word)  ((offset) / HEAP_UNIT | ((word)&HEAP_TAG_MASK))
#define HEAP_HANDLE_OFFSET(handle) (((handle) & ~HEAP_TAG_MASK) * HEAP_UNIT)
static_assert((uint64_t)PORTAL_EXTENTS_MAX * PORTAL_EXTENT / HEAP_UNIT <= HEAP_TAG_ONE,
	      "offsets fit");

#endif
