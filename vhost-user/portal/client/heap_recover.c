/* SPDX-License-Identifier: MIT */
#include "heap_recover.h"

#include "base.h"
#include "heap_class.h"

/* What one pass over the words of a segment is for. */
struct pass {
	uint32_t dead;
	const struct heap_leases
		*alive; /* NULL: a visit, which concerns what the dead one held and nothing else */
	struct heap_recovered *sum;
	uint64_t kept;
};

static bool swap(le64_t *at, uint64_t from, uint64_t to)
{
	uint64_t expected = htole64(from);

	return __atomic_compare_exchange_n(&at->raw, &expected, htole64(to), false,
					   __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static bool lives(const struct heap_leases *leases, unsigned id)
{
	return id < PORTAL_LEASES && leases->bits[id / 64] >> id % 64 & 1;
}

/* Is a lease other than the dead one entitled to what this word says?  In a visit everybody else is. */
static bool is_held(const struct pass *pass, uint64_t word)
{
	unsigned holder = HEAP_WORD_HOLDER(word);

	if (HEAP_WORD_STATE(word) != HEAP_BLOCK_LIVE || holder == pass->dead)
		return false;
	return !pass->alive || lives(pass->alive, holder);
}

/* What a word of no living holder is to become. */
static uint64_t successor(const struct pass *pass, uint64_t word, const void *block, uint64_t size)
{
	unsigned state = pass->alive ? HEAP_BLOCK_FREE : HEAP_BLOCK_FREED;
	unsigned holder = 0, heir = HEAP_NOBODY;

	if (HEAP_WORD_STATE(word) == HEAP_BLOCK_LIVE && pass->alive && pass->alive->heir)
		heir = pass->alive->heir(pass->alive, block, size);
	if (heir != pass->dead && lives(pass->alive, heir)) {
		state = HEAP_BLOCK_LIVE;
		holder = heir;
	}
	return HEAP_WORD(state, HEAP_WORD_CLASS(word), holder) | (word & HEAP_TAG_MASK);
}

/* One word: what the dead one held is its heir's if there is one, else free, for the owner if that lives (FREED), else for
 * good.  A word that changes meanwhile is being taken or freed by somebody who lives: twice is enough, as who took it
 * has it. */
static unsigned clear_word(struct pass *pass, le64_t *at, const void *block, uint64_t size)
{
	for (int look = 0; look < 2; look++) {
		uint64_t word = le64_load_acquire(at), to;

		if (is_held(pass, word)) {
			pass->kept++;
			return HEAP_BLOCK_LIVE;
		}
		to = successor(pass, word, block, size);
		if (HEAP_WORD_STATE(word) != HEAP_BLOCK_LIVE && (!pass->alive || word == to))
			return HEAP_WORD_STATE(word);
		if (!swap(at, word, to))
			continue;
		if (HEAP_WORD_STATE(to) == HEAP_BLOCK_LIVE) {
			pass->kept++;
		} else if (HEAP_WORD_STATE(word) == HEAP_BLOCK_LIVE) {
			pass->sum->blocks++;
			pass->sum->bytes += size;
		}
		return HEAP_WORD_STATE(to);
	}
	pass->kept++;
	return HEAP_BLOCK_LIVE;
}

static void clear_span(struct pass *pass, struct heap_head *head, unsigned kind, unsigned slot,
		       unsigned class)
{
	le64_t *words = (le64_t *)(void *)((uint8_t *)head + heap_words_offset(kind, slot));
	const uint8_t *block = (const uint8_t *)head + (size_t)slot * HEAP_SLOT;
	uint64_t size = heap_classes[class].size, groups = 0;

	for (unsigned i = 0; i < heap_classes[class].n_blocks; i++, block += size)
		if (clear_word(pass, &words[i], block, size) == HEAP_BLOCK_FREED)
			groups |= BIT_ULL(i / 64);
	if (groups && !pass->alive) /* also hints that the dead one did not live to give */
		__atomic_fetch_or(&head->inbox[slot].raw, htole64(groups), __ATOMIC_SEQ_CST);
}

static void clear_segment(struct pass *pass, struct heap_head *head, unsigned kind)
{
	for (unsigned slot = heap_first_slot(kind); slot < HEAP_SLOTS; slot++) {
		uint32_t word = le32_load_acquire(&head->slots[slot]);
		unsigned class = HEAP_SLOT_CLASS(word);

		if (HEAP_SLOT_USED(word) && HEAP_SLOT_BACK(word) == 0 && class < HEAP_CLASSES &&
		    heap_classes[class].kind == kind &&
		    heap_classes[class].n_slots <= HEAP_SLOTS - slot)
			clear_span(pass, head, kind, slot, class);
	}
}

static void clear_huge(struct pass *pass, struct heap_head *head, uint32_t n)
{
	(void)clear_word(pass, &head->huge, (const uint8_t *)head + HEAP_HEAD,
			 (uint64_t)n * PORTAL_EXTENT - HEAP_HEAD);
}

/* The head of a grant, if it is a heap's, and what it says it is. */
static struct heap_head *head_of(void *base, uint64_t size, uint32_t first, uint32_t n,
				 uint64_t *ret_what)
{
	struct heap_head *head;
	uint64_t what;

	if (n == 0 || first >= size / PORTAL_EXTENT || n > size / PORTAL_EXTENT - first)
		return NULL;
	head = (struct heap_head *)(void *)((uint8_t *)base + (uint64_t)first * PORTAL_EXTENT);
	what = le64_load_acquire(&head->what);
	if (HEAP_WHAT_FORMAT(what) != HEAP_WHAT_FORMAT(HEAP_WHAT(0, 0, 0)) ||
	    HEAP_WHAT_RUN(what) != n)
		return NULL;
	if (HEAP_WHAT_STATE(what) != HEAP_LIVE && HEAP_WHAT_STATE(what) != HEAP_ORPHAN)
		return NULL;
	*ret_what = what;
	return head;
}

static void clear(struct pass *pass, struct heap_head *head, uint64_t what, uint32_t n)
{
	if (HEAP_WHAT_KIND(what) == HEAP_FINE || HEAP_WHAT_KIND(what) == HEAP_COARSE)
		clear_segment(pass, head, HEAP_WHAT_KIND(what));
	else if (HEAP_WHAT_KIND(what) == HEAP_HUGE)
		clear_huge(pass, head, n);
}

bool heap_recover_grant(void *base, uint64_t size, uint32_t first, uint32_t n, uint32_t dead,
			const struct heap_leases *alive, struct heap_recovered *sum)
{
	struct pass pass = { .dead = dead, .alive = alive, .sum = sum };
	struct heap_head *head;
	uint64_t what;

	head = head_of(base, size, first, n, &what);
	if (!head)
		return true; /* never begun, or wiped before */
	clear(&pass, head, what, n);
	sum->kept += pass.kept;
	if (pass.kept) {
		le64_store_release(&head->what, HEAP_WHAT(HEAP_WHAT_KIND(what), HEAP_ORPHAN, n));
		return false;
	}
	le64_store_release(&head->what, 0);
	return true;
}

void heap_recover_visit(void *base, uint64_t size, uint32_t first, uint32_t n, uint32_t dead,
			struct heap_recovered *sum)
{
	struct pass pass = { .dead = dead, .sum = sum };
	uint64_t bit = BIT_ULL(dead % 64), what;
	struct heap_head *head;
	le64_t *visitors;

	head = dead < PORTAL_LEASES ? head_of(base, size, first, n, &what) : NULL;
	if (!head)
		return;
	visitors = &head->visitors[dead / 64];
	if (!(le64_load(visitors) & bit))
		return;
	clear(&pass, head, what, n);
	/* Last: who is killed before this begins anew. */
	__atomic_fetch_and(&visitors->raw, htole64(~bit), __ATOMIC_SEQ_CST);
}
