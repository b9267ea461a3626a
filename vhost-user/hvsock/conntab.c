/* SPDX-License-Identifier: MIT */
#include "conntab.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

int conntab_init(struct conntab *t, uint64_t seed)
{
	*t = (struct conntab){ .mask = BUCKETS_MIN - 1, .seed = seed };
	t->bucket = calloc(BUCKETS_MIN, sizeof(struct conntab_node *));
	return t->bucket ? 0 : -ENOMEM;
}

void conntab_done(struct conntab *t)
{
	free(t->bucket);
	*t = (struct conntab){ 0 };
}

static struct conntab_node **bucket_of(const struct conntab *t, const struct conntab_node *n)
{
	return &t->bucket[conntab_hash(t, n->guest_port, n->port, n->cid) & t->mask];
}

static void put(struct conntab *t, struct conntab_node *n)
{
	struct conntab_node **b = bucket_of(t, n);

	n->next = *b;
	*b = n;
}

static int grow(struct conntab *t)
{
	uint32_t n_old = t->mask + 1;
	struct conntab_node **old = t->bucket, **fresh;

	fresh = calloc(2 * (size_t)n_old, sizeof(struct conntab_node *));
	if (!fresh)
		return -ENOMEM;
	t->bucket = fresh;
	t->mask = 2 * n_old - 1;
	for (uint32_t i = 0; i < n_old; i++) {
		for (struct conntab_node *n = old[i], *next; n; n = next) {
			next = n->next;
			put(t, n);
		}
	}
	free(old);
	return 0;
}

int conntab_add(struct conntab *t, struct conntab_node *node)
{
	int r = t->n > t->mask ? grow(t) : 0;

	if (r < 0)
		return r;
	if (conntab_find(t, node->guest_port, node->port, node->cid))
		return -EEXIST;
	put(t, node);
	node->added = true;
	t->n++;
	return 0;
}

void conntab_remove(struct conntab *t, struct conntab_node *node)
{
	struct conntab_node **p;

	if (!node->added)
		return;
	for (p = bucket_of(t, node); *p != node; p = &(*p)->next)
		;
	*p = node->next;
	node->added = false;
	t->n--;
}
