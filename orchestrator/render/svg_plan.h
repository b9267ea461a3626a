/* SPDX-License-Identifier: MIT */
/* The inside of svg_layout.c: how high the rows are, who stands in which column, and where the columns are.  For svg_plan.c,
 * svg_plan_height.c and svg_layout.c alone.  Pure.
 *
 * y is counted from the top of the first row.  svg_plan_new() does all of it: hubs to sides and columns, rows with their wires,
 * then heights, the uplinks beside them, and last x.
 */
#ifndef RENDER_SVG_PLAN_H
#define RENDER_SVG_PLAN_H

#include "render/svg_content.h"
#include "render/svg_layout.h"

#define SVG_MARGIN     28.0
#define SVG_ROW_GAP    18.0
#define SVG_COLUMN_GAP 34.0
#define SVG_UPLINK_GAP 14.0
#define SVG_TEXT_GAP   14.0 /* from a wire's end to its text */

enum svg_side { SVG_LEFT, SVG_RIGHT, SVG_SIDES };

/* A VM and its wires; or, without a VM, room for hubs that have none. */
struct svg_plan_row {
	struct svg_content *content; /* NULL: no VM */
	const struct graph_node *vm;
	GPtrArray *wires[SVG_SIDES]; /* of struct svg_plan_wire */
	double wires_height[SVG_SIDES];
	double y, h;
};

struct svg_plan_wire {
	const struct graph_edge *edge;
	struct svg_content *below;
	char *vlan, *label; /* cut; NULL: none */
	double above,
		gap; /* room for the label above the wire; from the wire to what is below it */
	double height, width;
};

/* A network or a portal. */
struct svg_plan_hub {
	struct svg_content *content;
	const struct graph_node *node;
	enum svg_side side;
	unsigned column;      /* from the cards outward */
	unsigned first, last; /* rows */
	unsigned n_wires;     /* of VMs */
	GPtrArray *uplinks;   /* of struct svg_plan_card */
	double uplinks_y;
	struct svg_rect rect;
};

/* An uplink. */
struct svg_plan_card {
	struct svg_content *content;
	const struct graph_node *node;
	unsigned column;
	double y, wire_y;
};

struct svg_plan_column {
	double width, x;
};

struct svg_plan {
	const struct graph *graph;
	GPtrArray *rows; /* of struct svg_plan_row: the VMs, then those without one */
	GPtrArray *hubs; /* of struct svg_plan_hub */
	GHashTable *hub; /* struct graph_node -> struct svg_plan_hub */
	GPtrArray *columns[SVG_SIDES];
	unsigned n_rows;
	double gutter[SVG_SIDES]; /* between the innermost column and the cards */
	double card_width, cards_x;
	double width, height; /* margins at both sides are in the width */
};

struct svg_plan *svg_plan_new(const struct graph *graph);
void svg_plan_free(struct svg_plan *plan);

/* svg_plan_height.c: rows get as high as they have to, hubs and uplinks their y. */
void svg_plan_heights(struct svg_plan *plan);

static inline struct svg_plan_row *svg_plan_row_at(const struct svg_plan *plan, unsigned i)
{
	return plan->rows->pdata[i];
}

static inline struct svg_plan_hub *svg_plan_hub_at(const struct svg_plan *plan, unsigned i)
{
	return plan->hubs->pdata[i];
}

/* Made if it is not there. */
struct svg_plan_column *svg_plan_column_at(const struct svg_plan *plan, enum svg_side side,
					   unsigned i);
void svg_plan_widen(const struct svg_plan *plan, enum svg_side side, unsigned column, double width);

double svg_plan_card_height(const struct svg_plan_card *card);
/* Where a row's first wire of that side begins: `above` that it has its line. */
double svg_plan_first_wire(const struct svg_plan_row *row, enum svg_side side);
/* Where one looks for what a hub is: its middle, but of a long one not far from its beginning. */
double svg_plan_middle_of(const struct svg_plan_hub *hub);

#endif
