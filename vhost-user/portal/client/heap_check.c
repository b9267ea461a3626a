/* SPDX-License-Identifier: MIT */
#include "heap_check.h"

#include "base.h"
#include "heap_class.h"

static const char *check_word(const struct heap_head *head, uint64_t word, unsigned class,
			      bool is_told, struct heap_census *census)
{
	unsigned state = HEAP_WORD_STATE(word), holder = HEAP_WORD_HOLDER(word);

	if (state > HEAP_BLOCK_FREED)
		return "a block in no state";
	if (HEAP_WORD_CLASS(word) != class)
		return "a block of another class than its span";
	if (state == HEAP_BLOCK_LIVE && holder >= PORTAL_LEASES)
		return "a block held by no lease there can be";
	if (state == HEAP_BLOCK_FREED && !is_told)
		return "a block given back of which its owner was not told";
	census->freed += state == HEAP_BLOCK_FREED;
	if (state == HEAP_BLOCK_LIVE) {
		census->live++;
		census->bytes += heap_classes[class].size;
		census->handed_over += holder != portal_owner_id(le64_load(&head->owner));
	}
	return NULL;
}

static bool check_span(const struct heap_head *head, unsigned slot, unsigned class,
		       struct heap_census *census, struct heap_flaw *ret_flaw)
{
	const struct heap_class *c = &heap_classes[class];
	const le64_t *words = (const le64_t *)(const void *)((const uint8_t *)head +
							     heap_words_offset(c->kind, slot));

	for (unsigned i = 0; i < c->n_blocks; i++) {
		uint64_t word = le64_load_acquire(&words[i]);
		bool is_told = le64_load(&head->inbox[slot]) >> i / 64 & 1;

		const char *what = check_word(head, word, class, is_told, census);

		if (what) {
			*ret_flaw = (struct heap_flaw){ what, slot, i };
			return false;
		}
	}
	return true;
}

/* The span that begins at a slot whose word is not 0: how many slots it has; 0: it is none. */
static unsigned span_slots(const struct heap_head *head, unsigned kind, unsigned slot,
			   uint32_t word)
{
	unsigned class = HEAP_SLOT_CLASS(word), n;

	if (!HEAP_SLOT_USED(word) || HEAP_SLOT_BACK(word) != 0 || class >= HEAP_CLASSES ||
	    heap_classes[class].kind != kind)
		return 0;
	n = heap_classes[class].n_slots;
	if (n > HEAP_SLOTS - slot)
		return 0;
	for (unsigned i = 1; i < n; i++)
		if (le32_load_acquire(&head->slots[slot + i]) != HEAP_SLOT_WORD(class, i))
			return 0;
	return n;
}

bool heap_check(const struct heap_head *head, unsigned kind, struct heap_census *census,
		struct heap_flaw *ret_flaw)
{
	unsigned n;

	for (unsigned slot = heap_first_slot(kind); slot < HEAP_SLOTS; slot += n) {
		uint32_t word = le32_load_acquire(&head->slots[slot]);

		n = word ? span_slots(head, kind, slot, word) : 1;
		if (!n) {
			*ret_flaw = (struct heap_flaw){ "a slot that is no span's", slot, 0 };
			return false;
		}
		if (word && !check_span(head, slot, HEAP_SLOT_CLASS(word), census, ret_flaw))
			return false;
	}
	return true;
}
