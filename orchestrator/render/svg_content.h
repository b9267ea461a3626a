/* SPDX-License-Identifier: MIT */
/* What is written in a box or at a wire, line by line, and the room that takes.  For svg_layout.c alone.  Pure. */
#ifndef RENDER_SVG_CONTENT_H
#define RENDER_SVG_CONTENT_H

#include "render/svg_layout.h"

#define SVG_PAD  12.0 /* in a box, at each side */
#define SVG_ICON 26.0 /* from a box's pad to its text */

struct svg_line {
	enum svg_style style;
	char *text;
	char *whole;  /* as in struct svg_text */
	double width; /* of pills: with their ends */
	double y;     /* of the base line, from the top of the content */
	unsigned hue;
};

struct svg_content {
	GArray *lines; /* of struct svg_line */
	double width, height;
};

/* A node's text, as its box has it.  SVG_BADGE, if there is one, is the last line and stands beside the first. */
struct svg_content *svg_content_of_node(const struct graph_node *node);
/* What stands below a wire. */
struct svg_content *svg_content_of_wire(const struct graph_edge *edge);
void svg_content_free(struct svg_content *content);

/* The room that text takes in that style; of a pill, with its ends. */
double svg_content_width(enum svg_style style, const char *text);

#endif
