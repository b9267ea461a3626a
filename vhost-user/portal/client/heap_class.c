/* SPDX-License-Identifier: MIT */
#include "heap_class.h"

#define UNITS(bytes) ((bytes) / HEAP_UNIT)
#define ONE          (1u << HEAP_RECIPROCAL_SHIFT)
#define CLASS(bytes, slots)                                      \
	{ .size = (bytes),                                       \
	  .reciprocal = (ONE + UNITS(bytes) - 1) / UNITS(bytes), \
	  .n_blocks = (slots)*HEAP_SLOT / (bytes),               \
	  .n_slots = (slots),                                    \
	  .kind = (bytes) <= HEAP_FINE_MAX ? HEAP_FINE : HEAP_COARSE },

const struct heap_class heap_classes[HEAP_CLASSES] = { HEAP_CLASS_LIST(CLASS) };

/* By (size - 1) / 64: the list above, inverted (a test compares the two). */
const uint8_t heap_quick_classes[HEAP_QUICK_MAX / HEAP_UNIT] = {
	0,
	1,
	2,
	3,
	4,
	5,
	6,
	7,
	[8 ... 9] = 8,
	[10 ... 11] = 9,
	[12 ... 13] = 10,
	[14 ... 15] = 11,
	[16 ... 19] = 12,
	[20 ... 23] = 13,
	[24 ... 27] = 14,
	[28 ... 31] = 15,
	[32 ... 39] = 16,
	[40 ... 47] = 17,
	[48 ... 55] = 18,
	[56 ... 63] = 19,
	[64 ... 127] = 20,
};

unsigned heap_class_of(size_t size)
{
	unsigned low, high = HEAP_CLASSES - 1;

	if (size <= HEAP_QUICK_MAX)
		return heap_quick_classes[(size - 1) / HEAP_UNIT];
	for (low = heap_quick_classes[HEAP_QUICK_MAX / HEAP_UNIT - 1] + 1u; low < high;) {
		unsigned middle = (low + high) / 2;

		if (heap_classes[middle].size < size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
