/* SPDX-License-Identifier: MIT */
#include "fdb.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Lists are doubly linked through indices, so that an entry stays 48 bytes and the arrays can be
 * moved.  One macro body for the two lists an entry stands in keeps them in step. */
#define LIST_APPEND(f, list, i, prev, next)                  \
	do {                                                 \
		(f)->entry[i].prev = (list)->last;           \
		(f)->entry[i].next = FDB_NONE;               \
		if ((list)->last == FDB_NONE)                \
			(list)->first = (i);                 \
		else                                         \
			(f)->entry[(list)->last].next = (i); \
		(list)->last = (i);                          \
	} while (0)

#define LIST_REMOVE(f, list, i, prev, next)                                         \
	do {                                                                        \
		uint32_t before_ = (f)->entry[i].prev, after_ = (f)->entry[i].next; \
		if (before_ == FDB_NONE)                                            \
			(list)->first = after_;                                     \
		else                                                                \
			(f)->entry[before_].next = after_;                          \
		if (after_ == FDB_NONE)                                             \
			(list)->last = before_;                                     \
		else                                                                \
			(f)->entry[after_].prev = before_;                          \
	} while (0)

static void peers_insert(struct fdb *f, uint32_t port)
{
	struct fdb_port *p = &f->port[port];
	uint32_t *head = &f->by_count[p->count];

	p->peer_prev = FDB_NONE;
	p->peer_next = *head;
	if (*head != FDB_NONE)
		f->port[*head].peer_prev = port;
	*head = port;
	if (p->count > f->fullest)
		f->fullest = p->count;
}

static void peers_remove(struct fdb *f, uint32_t port)
{
	struct fdb_port *p = &f->port[port];

	if (p->peer_prev == FDB_NONE)
		f->by_count[p->count] = p->peer_next;
	else
		f->port[p->peer_prev].peer_next = p->peer_next;
	if (p->peer_next != FDB_NONE)
		f->port[p->peer_next].peer_prev = p->peer_prev;
}

static void port_attach(struct fdb *f, uint32_t port, uint32_t i)
{
	LIST_APPEND(f, &f->port[port].entries, i, port_prev, port_next);
	peers_remove(f, port);
	f->port[port].count++;
	peers_insert(f, port);
}

static void port_detach(struct fdb *f, uint32_t port, uint32_t i)
{
	LIST_REMOVE(f, &f->port[port].entries, i, port_prev, port_next);
	peers_remove(f, port);
	f->port[port].count--;
	peers_insert(f, port);
	/* A count falls by one, so the fullest list lost its last port to the one right below. */
	if (f->by_count[f->fullest] == FDB_NONE && f->fullest > 0)
		f->fullest--;
}

/* Take a free entry, of which there must be one, for `key`. */
static uint32_t entry_new(struct fdb *f, uint64_t key, uint32_t port)
{
	uint32_t i = f->free, *head = &f->bucket[fdb_hash(f, key)];
	struct fdb_entry *e = &f->entry[i];

	f->free = e->next_hash;
	f->count++;
	__atomic_store_n(&f->generation, f->generation + 1, __ATOMIC_RELAXED);
	*e = (struct fdb_entry){ .key = key, .port = port, .next_hash = *head };
	*head = i;
	return i;
}

static void entry_free(struct fdb *f, uint32_t i)
{
	struct fdb_entry *e = &f->entry[i];
	uint32_t *link = &f->bucket[fdb_hash(f, e->key)];

	while (*link != i)
		link = &f->entry[*link].next_hash;
	*link = e->next_hash;

	e->port = FDB_NONE;
	e->next_hash = f->free;
	f->free = i;
	f->count--;
	__atomic_store_n(&f->generation, f->generation + 1, __ATOMIC_RELAXED);
}

static void entry_forget(struct fdb *f, uint32_t i)
{
	port_detach(f, f->entry[i].port, i);
	LIST_REMOVE(f, &f->age, i, age_prev, age_next);
	entry_free(f, i);
}

static void entry_unpin(struct fdb *f, uint32_t i)
{
	struct fdb_port *p = &f->port[f->entry[i].port];

	LIST_REMOVE(f, &p->fixed, i, port_prev, port_next);
	p->n_fixed--;
	f->n_fixed--;
	entry_free(f, i);
}

/* Make room for one more address on `port`.  Returns whether one was given up. */
static bool make_room(struct fdb *f, uint32_t port)
{
	uint32_t victim;

	if (f->port[port].count == f->port[port].max)
		victim = port;
	else if (f->free == FDB_NONE)
		victim = f->by_count[f->fullest];
	else
		return false;
	entry_forget(f, f->port[victim].entries.first);
	return true;
}

static void refresh(struct fdb *f, uint32_t i, uint32_t now_s)
{
	struct fdb_entry *e = &f->entry[i];

	e->seen_s = now_s;
	LIST_REMOVE(f, &f->age, i, age_prev, age_next);
	LIST_APPEND(f, &f->age, i, age_prev, age_next);
	LIST_REMOVE(f, &f->port[e->port].entries, i, port_prev, port_next);
	LIST_APPEND(f, &f->port[e->port].entries, i, port_prev, port_next);
}

enum fdb_event fdb_learn(struct fdb *f, uint64_t key, uint32_t port, uint32_t now_s)
{
	uint32_t i = fdb_find(f, key);
	enum fdb_event event = FDB_LEARNED;

	if (i != FDB_NONE) {
		bool here = f->entry[i].port == port;

		if (f->entry[i].fixed)
			return here ? FDB_KNOWN : FDB_PINNED;
		if (here) {
			if (f->entry[i].seen_s != now_s)
				refresh(f, i, now_s);
			return FDB_KNOWN;
		}
		entry_forget(f, i);
		event = FDB_MOVED;
	}

	if (make_room(f, port) && event == FDB_LEARNED)
		event = FDB_EVICTED;
	i = entry_new(f, key, port);
	f->entry[i].seen_s = now_s;
	LIST_APPEND(f, &f->age, i, age_prev, age_next);
	port_attach(f, port, i);
	return event;
}

int fdb_pin(struct fdb *f, uint64_t key, uint32_t port)
{
	uint32_t i = fdb_find(f, key);

	if (i != FDB_NONE && f->entry[i].fixed)
		return f->entry[i].port == port ? 0 : -EEXIST;
	if (f->n_fixed >= f->config.size / 2)
		return -ENOSPC;

	if (i != FDB_NONE)
		entry_forget(f, i);
	else if (f->free == FDB_NONE)
		entry_forget(f, f->port[f->by_count[f->fullest]].entries.first);
	i = entry_new(f, key, port);
	f->entry[i].fixed = true;
	LIST_APPEND(f, &f->port[port].fixed, i, port_prev, port_next);
	f->port[port].n_fixed++;
	f->n_fixed++;
	return 0;
}

int fdb_unpin(struct fdb *f, uint64_t key)
{
	uint32_t i = fdb_find(f, key);

	if (i == FDB_NONE || !f->entry[i].fixed)
		return -ENOENT;
	entry_unpin(f, i);
	return 0;
}

void fdb_unpin_port(struct fdb *f, uint32_t port)
{
	while (f->port[port].fixed.first != FDB_NONE)
		entry_unpin(f, f->port[port].fixed.first);
}

int fdb_set_port_max(struct fdb *f, uint32_t port, uint32_t max)
{
	struct fdb_port *p = &f->port[port];

	if (max > f->config.size)
		return -EINVAL;
	p->max = max ? max : f->config.per_port;
	while (p->count > p->max)
		entry_forget(f, p->entries.first);
	return 0;
}

uint32_t fdb_expire(struct fdb *f, uint32_t now_s, uint32_t budget)
{
	uint32_t n = 0;

	if (f->config.ageing_s == 0)
		return 0;
	while (n < budget && f->age.first != FDB_NONE &&
	       now_s - f->entry[f->age.first].seen_s >= f->config.ageing_s) {
		entry_forget(f, f->age.first);
		n++;
	}
	return n;
}

uint32_t fdb_flush(struct fdb *f)
{
	uint32_t n = 0;

	for (; f->age.first != FDB_NONE; n++)
		entry_forget(f, f->age.first);
	return n;
}

uint32_t fdb_flush_port(struct fdb *f, uint32_t port)
{
	uint32_t n = 0;

	for (; f->port[port].entries.first != FDB_NONE; n++)
		entry_forget(f, f->port[port].entries.first);
	return n;
}

void fdb_walk(const struct fdb *f, fdb_walk_fn *fn, void *arg)
{
	for (uint32_t i = f->age.first; i != FDB_NONE; i = f->entry[i].age_next)
		fn(&f->entry[i], arg);
	for (uint32_t port = 0; port < f->n_port; port++)
		for (uint32_t i = f->port[port].fixed.first; i != FDB_NONE;
		     i = f->entry[i].port_next)
			fn(&f->entry[i], arg);
}

int fdb_port_room(struct fdb *f, uint32_t n_port)
{
	struct fdb_port *port;

	if (n_port <= f->n_port)
		return 0;
	port = reallocarray(f->port, n_port, sizeof(*port));
	if (!port)
		return -ENOMEM;
	f->port = port;
	for (; f->n_port < n_port; f->n_port++) {
		f->port[f->n_port] = (struct fdb_port){ .entries = { FDB_NONE, FDB_NONE },
							.fixed = { FDB_NONE, FDB_NONE },
							.max = f->config.per_port };
		peers_insert(f, f->n_port);
	}
	return 0;
}

int fdb_init(struct fdb *f, const struct fdb_config *config, uint64_t seed)
{
	struct fdb_config c = *config;
	unsigned bits = 1;

	if (c.size == 0)
		c.size = FDB_SIZE_DEFAULT;
	if (c.per_port == 0)
		c.per_port = c.size < FDB_PER_PORT_DEFAULT ? c.size : FDB_PER_PORT_DEFAULT;
	if (c.size > FDB_SIZE_MAX || c.per_port > c.size)
		return -EINVAL;

	while (1u << bits < c.size)
		bits++;
	*f = (struct fdb){
		.config = c,
		.seed = seed,
		.hash_shift = 64 - bits,
		.bucket = malloc(sizeof(*f->bucket) << bits),
		.entry = calloc(c.size, sizeof(*f->entry)),
		.by_count = malloc(sizeof(*f->by_count) * (c.size + 1)),
		.free = FDB_NONE,
		.age = { FDB_NONE, FDB_NONE },
	};
	if (!f->bucket || !f->entry || !f->by_count) {
		fdb_done(f);
		return -ENOMEM;
	}

	memset(f->bucket, 0xff, sizeof(*f->bucket) << bits);
	memset(f->by_count, 0xff, sizeof(*f->by_count) * (c.size + 1));
	for (uint32_t i = c.size; i-- > 0;) {
		f->entry[i].port = FDB_NONE;
		f->entry[i].next_hash = f->free;
		f->free = i;
	}
	return 0;
}

void fdb_done(struct fdb *f)
{
	free(f->bucket);
	free(f->entry);
	free(f->by_count);
	free(f->port);
	*f = (struct fdb){ 0 };
}
