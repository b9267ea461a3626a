/* SPDX-License-Identifier: MIT */
/* Doubly linked lists whose links lie in their elements.  A list is a link that points to itself when empty. */
#ifndef ORCHESTRATOR_AGENT_GUEST_LIST_H
#define ORCHESTRATOR_AGENT_GUEST_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Each element of the list HEAD; the current one may be removed, no other. */
#define list_each(head, it)                                                       \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
	     it = it##_next, it##_next = it->next)

static inline void list_init(struct list *list)
{
	list->prev = list->next = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_append(struct list *list, struct list *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

/* Removing twice, or what is all zero, is harmless. */
static inline void list_remove(struct list *link)
{
	if (!link->next)
		return;
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

#endif
