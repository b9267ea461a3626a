/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "checked.h"

/* What a mirror may say of generations: the next ones must not wrap. */
#define GENERATION_MAX (UINT64_MAX >> 1)

/* seq is odd while the entry changes; readers copy between two looks at it (layout.h). */
static void show(const struct names *n, uint32_t i)
{
	const struct name *e = &n->entry[i];
	struct portal_name *m = &n->mirror[i];
	uint32_t seq = le32_load(&m->seq) | 1;
	uint8_t text[PORTAL_NAME_MAX];

	le32_store(&m->seq, seq);
	__atomic_thread_fence(
		__ATOMIC_RELEASE); /* the odd seq is seen before any of what follows */
	le32_store(&m->type, e->type);
	le64_store(&m->offset, e->offset);
	le64_store(&m->len, e->len);
	le64_store(&m->owner, e->owner);
	le64_store(&m->generation, e->generation);
	memcpy(text, e->name, sizeof(text));
	for (unsigned k = 0; k < sizeof(text); k++)
		__atomic_store_n(&m->name[k], (char)text[k], __ATOMIC_RELAXED);
	le32_store_release(&m->seq, seq + 1); /* pairs with the reader's first look */
}

bool names_valid(const char name[PORTAL_NAME_MAX])
{
	size_t len = strnlen(name, PORTAL_NAME_MAX);

	if (len == 0 || len == PORTAL_NAME_MAX)
		return false;
	for (size_t i = 0; i < PORTAL_NAME_MAX; i++)
		if (i < len ? name[i] <= ' ' || name[i] > '~' : name[i] != '\0')
			return false;
	return true;
}

static bool entry_valid(const struct name *e)
{
	return e->type != PORTAL_TYPE_NONE && e->len != 0 && names_valid(e->name);
}

static void read_back(struct names *n, names_check_fn *check, void *context)
{
	for (uint32_t i = 0; i < PORTAL_NAMES; i++) {
		const struct portal_name *m = &n->mirror[i];
		struct name e = {
			.type = le32_load(&m->type),
			.offset = le64_load(&m->offset),
			.len = le64_load(&m->len),
			.owner = le64_load(&m->owner),
			.generation = le64_load(&m->generation),
		};
		bool torn = le32_load(&m->seq) & 1;

		memcpy(e.name, m->name, sizeof(e.name));
		if (e.generation > GENERATION_MAX)
			continue;
		n->generation = max(n->generation, e.generation);
		if (torn || !entry_valid(&e) || names_find(n, e.name) >= 0 || !check(&e, context))
			continue;
		n->entry[i] = e;
		n->n_used++;
		n->top = i + 1;
	}
}

int names_init(struct names *n, struct portal_name *mirror, names_check_fn *check, void *context)
{
	*n = (struct names){ .entry = calloc(PORTAL_NAMES, sizeof(*n->entry)), .mirror = mirror };
	if (!n->entry)
		return -ENOMEM;
	if (check)
		read_back(n, check, context);
	for (uint32_t i = 0; i < PORTAL_NAMES; i++)
		show(n, i);
	return 0;
}

void names_done(struct names *n)
{
	free(n->entry);
	*n = (struct names){ 0 };
}

int names_find(const struct names *n, const char *name)
{
	for (uint32_t i = 0; i < n->top; i++)
		if (n->entry[i].type != PORTAL_TYPE_NONE && strcmp(n->entry[i].name, name) == 0)
			return (int)i;
	return -1;
}

int names_publish(struct names *n, const struct name *entry, uint32_t *ret_index)
{
	uint32_t i = 0;

	if (!entry_valid(entry))
		return -EINVAL;
	if (names_find(n, entry->name) >= 0)
		return -EEXIST;
	while (i < PORTAL_NAMES && n->entry[i].type != PORTAL_TYPE_NONE)
		i++;
	if (i == PORTAL_NAMES)
		return -ENOSPC;
	n->entry[i] = *entry;
	n->entry[i].generation = ++n->generation;
	n->n_used++;
	n->top = max(n->top, i + 1);
	show(n, i);
	*ret_index = i;
	return 0;
}

void names_withdraw(struct names *n, uint32_t index)
{
	n->entry[index] = (struct name){ 0 };
	n->n_used--;
	while (n->top > 0 && n->entry[n->top - 1].type == PORTAL_TYPE_NONE)
		n->top--;
	show(n, index);
	/* Pairs with portal_ring_open(): who looks next whether somebody uses what lay here (the recovery, or the owner that
	 * this is answered to) sees his word there, or he sees that the name has gone. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool names_next(const struct names *n, uint64_t owner, uint32_t *at)
{
	for (uint32_t i = *at; i < n->top; i++) {
		const struct name *e = &n->entry[i];

		if (e->type == PORTAL_TYPE_NONE || (owner != 0 && e->owner != owner))
			continue;
		*at = i;
		return true;
	}
	return false;
}

bool names_within(const struct names *n, uint64_t offset, uint64_t len)
{
	for (uint32_t i = 0; i < n->top; i++) {
		const struct name *e = &n->entry[i];

		if (e->type != PORTAL_TYPE_NONE && range_overlaps(e->offset, e->len, offset, len))
			return true;
	}
	return false;
}
