/* SPDX-License-Identifier: MIT */
/* Size classes: which block a size gets, and where blocks lie in a span.
 *
 * Blocks are whole units of 64 bytes: no two share a cache line, so that two clients that write two blocks never
 * share one.  From 4 KiB on they are whole pages, and aligned to them.  A class wastes at most a fifth of a block, a
 * span at most a sixteenth of its slots.
 *
 * Constant and private: what the arena says is turned into places by this table, or not at all.
 */
#ifndef PORTAL_HEAP_CLASS_H
#define PORTAL_HEAP_CLASS_H

#include "heap_layout.h"

/* X(bytes, slots of a span), ascending.  Up to HEAP_FINE_MAX they live in fine segments. */
/* clang-format off */
#define HEAP_CLASS_LIST(X) \
	X(64, 1) X(128, 1) X(192, 1) X(256, 1) X(320, 1) X(384, 1) X(448, 1) X(512, 1) \
	X(640, 1) X(768, 1) X(896, 1) X(1024, 1) X(1280, 1) X(1536, 1) X(1792, 1) X(2048, 1) \
	X(2560, 1) X(3072, 1) X(3584, 1) X(4096, 1) X(8192, 1) X(12288, 1) X(16384, 1) X(20480, 1) \
	X(24576, 3) X(28672, 4) X(32768, 1) X(40960, 5) X(49152, 3) X(57344, 7) X(65536, 1) X(81920, 5) \
	X(98304, 3) X(114688, 7) X(131072, 2) X(163840, 5) X(196608, 3) X(229376, 7) X(262144, 4) X(327680, 5) \
	X(393216, 6) X(458752, 7) X(524288, 8) X(655360, 10) X(786432, 12) X(983040, 15)
/* clang-format on */

#define HEAP_FINE_MAX  1024u
#define HEAP_BLOCK_MAX 983040u /* above, a block is huge */

#define HEAP_RECIPROCAL_SHIFT 28 /* exact, as no span has 2^14 units */

struct heap_class {
	uint32_t size;
	uint32_t reciprocal; /* ceil(2^28 / units of a block); units of an offset times it, >> 28, is the index */
	uint16_t n_blocks; /* of a span */
	uint8_t n_slots;   /* of a span */
	uint8_t kind;      /* enum heap_kind of the segments it lives in */
};

#define HEAP_CLASS_ONE(size, slots) +1
enum { HEAP_CLASSES = HEAP_CLASS_LIST(HEAP_CLASS_ONE) };
#undef HEAP_CLASS_ONE

extern const struct heap_class heap_classes[HEAP_CLASSES];

/* The class of blocks of at least `size` bytes, 1 to HEAP_BLOCK_MAX.  Up to HEAP_QUICK_MAX it is one load. */
#define HEAP_QUICK_MAX 8192u
extern const uint8_t heap_quick_classes[HEAP_QUICK_MAX / HEAP_UNIT];
unsigned heap_class_of(size_t size);

/* Which block begins `offset` bytes into a span?  False: none does. */
static inline bool heap_index(uint32_t offset, uint32_t size, uint32_t reciprocal,
			      uint32_t n_blocks, uint32_t *ret_index)
{
	uint32_t index =
		(uint32_t)((uint64_t)(offset / HEAP_UNIT) * reciprocal >> HEAP_RECIPROCAL_SHIFT);

	*ret_index = index;
	return index * size == offset && index < n_blocks;
}

static inline bool heap_class_index(const struct heap_class *class, uint32_t offset,
				    uint32_t *ret_index)
{
	return heap_index(offset, class->size, class->reciprocal, class->n_blocks, ret_index);
}

/* The first slot that has blocks, and the words of each slot. */
static inline unsigned heap_first_slot(unsigned kind)
{
	return kind == HEAP_FINE ? HEAP_FINE_FIRST : HEAP_COARSE_FIRST;
}

static inline unsigned heap_slot_words(unsigned kind)
{
	return kind == HEAP_FINE ? HEAP_FINE_WORDS : HEAP_COARSE_WORDS;
}

/* Offset in the segment of the first word of a span that begins at `slot`. */
static inline uint32_t heap_words_offset(unsigned kind, unsigned slot)
{
	return HEAP_HEAD + (slot - heap_first_slot(kind)) * heap_slot_words(kind) * 8;
}

#endif
