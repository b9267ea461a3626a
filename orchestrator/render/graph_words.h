/* SPDX-License-Identifier: MIT */
/* What graph.c says about the parts of a lab, in words.  For graph.c alone.  Pure. */
#ifndef RENDER_GRAPH_WORDS_H
#define RENDER_GRAPH_WORDS_H

#include <glib.h>
#include <stdbool.h>

struct json_object;
struct lab;
struct link;
struct uplink;
struct vm;

/* "10", "tunnel 10", "trunk 20 30, native 10", "trunk all".  g_free(). */
char *graph_words_vlan(struct json_object *vlan);

/* What a link does to frames; both directions in one where they are the same.  uplink: its directions are "out" and "in". */
void graph_words_effects(const struct link *link, bool uplink, GPtrArray *effects);

/* What a VM waits for, and what its sockets are. */
void graph_words_vm(const struct vm *vm, GPtrArray *lines, GPtrArray *sockets);

/* "NAT", "tap"; g_free(). */
char *graph_words_uplink_title(const struct uplink *uplink);
void graph_words_uplink(const struct uplink *uplink, GPtrArray *lines);

/* Each note is handed over: title and text are take()'s. */
void graph_words_notes(const struct lab *lab, void (*take)(char *title, char *text, void *data),
		       void *data);

#endif
