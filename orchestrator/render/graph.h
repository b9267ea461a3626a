/* SPDX-License-Identifier: MIT */
/* A lab as a graph, in words for people: what is drawn by dot.h, mermaid.h and svg.h.
 *
 * A node is a VM, a network (its switch), an uplink, or a portal.  An edge goes from a VM or an uplink to the network it is
 * plugged into, or from a VM to a portal it shares: so every edge has a hub (network or portal) at its far end.  A group is a
 * VLAN: the edges of one network that are in it.  What is said of profiles, policies, rules, mirrors, captures and timelines
 * belongs to no single place of a drawing and is a note.
 *
 * Texts are UTF-8 on one line, of any length, with any character but control characters: whoever draws cuts and escapes.
 * Pure.  Everything hangs on the struct graph, and nothing of the lab is borrowed.
 */
#ifndef RENDER_GRAPH_H
#define RENDER_GRAPH_H

#include <glib.h>
#include <stdbool.h>

struct lab;

enum graph_kind { GRAPH_VM, GRAPH_NETWORK, GRAPH_UPLINK, GRAPH_PORTAL, GRAPH_KINDS };

struct graph_node {
	enum graph_kind kind;
	unsigned index; /* in graph->nodes */
	char *id;       /* "vm-n1", "net-lan", "up-lan-nat", "portal-shared": unique; a-z, 0-9, - */
	char *title;    /* "n1", "lan", "NAT", "shared" */
	char *badge;    /* of a VM: its role; NULL: none */
	char *about;    /* what the file says for people; NULL: nothing */
	GPtrArray *lines;   /* of char *: "1 vCPU, 256MiB" */
	GPtrArray *sockets; /* of char *, of a VM: "vsock", "tcp:127.0.0.1:2222 → 22" */
	GPtrArray *groups;  /* of struct graph_group, borrowed, of a network */
	GPtrArray *edges;   /* of struct graph_edge, borrowed: all that begin or end here */
};

struct graph_edge {
	unsigned index;            /* in graph->edges */
	struct graph_node *from;   /* a VM or an uplink */
	struct graph_node *to;     /* a network or a portal */
	char *name;                /* "eth0 192.168.100.11", "pmem"; NULL: of an uplink */
	char *vlan;                /* "10", "trunk 20, native 10"; NULL: none */
	struct graph_group *group; /* the only VLAN it is in; NULL: none, or several */
	GPtrArray *
		effects; /* of char *: what it does to frames, "wan", "to guest: loss 2%"; empty: nothing */
	GPtrArray *traits; /* of char *: "isolated", "4 queues", "read-only" */
	bool readonly;     /* of a portal */
};

struct graph_group {
	struct graph_node *network;
	unsigned vlan;
	unsigned index;   /* in graph->groups: VLANs of different networks are different ones */
	GPtrArray *edges; /* of struct graph_edge, borrowed; not those that are in all VLANs */
};

struct graph_note {
	char *title; /* "profile dsl" */
	char *text;  /* "rate 16mbit, delay 15ms" */
};

struct graph {
	char *name;
	char *about;      /* NULL: nothing */
	GPtrArray *nodes; /* VMs, networks, uplinks, portals, each in the order of the file */
	GPtrArray *
		edges; /* of each VM in the order of its NICs, then its portals; then those of uplinks */
	GPtrArray *groups; /* by network, then by number */
	GPtrArray *notes;
};

struct graph *graph_new(const struct lab *lab);
void graph_free(struct graph *graph);

static inline struct graph_node *graph_node(const struct graph *graph, unsigned i)
{
	return graph->nodes->pdata[i];
}

static inline struct graph_edge *graph_edge(const struct graph *graph, unsigned i)
{
	return graph->edges->pdata[i];
}

/* All that is written at an edge, between separators: "eth0 10.0.0.1", "VLAN 10", "wan".  g_free(); "" is nothing. */
char *graph_edge_words(const struct graph_edge *edge, const char *separator);

/* All that is written in a node's shape where text is all there is, in lines: "n1 (k3s-server)", what is said of it, its
 * sockets.  g_free(). */
char *graph_node_words(const struct graph_node *node);

/* The lines of such words, each as escape() puts it, with a break between. */
void graph_put_lines(GString *out, const char *words, const char *line_break,
		     void (*escape)(GString *out, const char *text));

#endif
