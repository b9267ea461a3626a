/* SPDX-License-Identifier: MIT */
/* Where everything of a drawn lab goes.  Pure.
 *
 * The VMs are cards, one below the other in the order of the file.  Hubs (networks and portals) stand upright at both sides of
 * them, each as high as the VMs that it joins, so that every wire is a horizontal line, with room for words above and below
 * it:
 *
 *   ┌────────┐            ┌─────┐            ┌────────┐     ┌─────┐
 *   │ office ├────────────┤ hq  ├────────────┤  inter ├─────┤ NAT │
 *   │        │            └─────┘            │   net  │     └─────┘
 *   │        │            ┌─────┐            │        │
 *   │        │            │ ... ├────────────┤        │
 *
 * Hubs whose VMs do not meet share a column; of two that do, one stands further out, and wires to it pass behind the other.
 * Uplinks are cards beyond their network, where no wire passes.  So the drawing of a lab of few networks is about 1,000 pixels
 * wide however many VMs it has, and it gets as long as it has to.
 *
 * What holds of every layout (tests/unit/test_render_graph.c): boxes do not overlap; no text leaves the drawing; text in a
 * box stays in it; text at a wire touches neither a box nor other text.
 */
#ifndef RENDER_SVG_LAYOUT_H
#define RENDER_SVG_LAYOUT_H

#include <glib.h>
#include <stdbool.h>

struct graph;
struct graph_edge;
struct graph_node;

/* x and y: of the upper left corner, y downward; pixels. */
struct svg_rect {
	double x, y, w, h;
};

enum svg_style {
	SVG_HEAD,  /* the lab's name */
	SVG_ABOUT, /* what it is for */
	SVG_TITLE, /* of a node */
	SVG_LINE,  /* in a node */
	SVG_SOCKET,
	SVG_BADGE, /* a pill: a VM's role */
	SVG_VLAN,  /* a pill */
	SVG_LABEL, /* at a wire */
	SVG_EFFECT,
	SVG_TRAIT,
	SVG_TERM, /* of a note */
	SVG_NOTE,
	SVG_STYLES
};

struct svg_font {
	const char *class;
	double size;
	bool bold, pill;
};
extern const struct svg_font svg_fonts[SVG_STYLES];

enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END };

struct svg_text {
	enum svg_style style;
	enum svg_anchor anchor;
	double x, y;  /* of the anchor, on the base line */
	double width; /* at most */
	char *text;
	char *whole;  /* where text is only a part of it; NULL: it is all */
	unsigned hue; /* SVG_VLAN: 1 + the group's index; 0: several */
	int box;      /* in boxes; -1: in none */
};

struct svg_box {
	struct svg_rect rect;
	const struct graph_node *node;
};

struct svg_wire {
	const struct graph_edge *edge;
	double x1, x2, y; /* x1 < x2 */
};

struct svg_layout {
	double width, height;
	GArray *boxes;    /* of struct svg_box */
	GArray *wires;    /* of struct svg_wire */
	GPtrArray *texts; /* of struct svg_text */
	double rule;      /* y of the line above the notes; 0: there are none */
};

/* The nodes and edges are borrowed from the graph. */
struct svg_layout *svg_layout_new(const struct graph *graph);
void svg_layout_free(struct svg_layout *layout);

/* What a text covers; of a pill, all of it. */
struct svg_rect svg_text_rect(const struct svg_text *text);

#endif
