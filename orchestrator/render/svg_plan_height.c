/* SPDX-License-Identifier: MIT */
#include "render/svg_plan.h"

#include <math.h>

#include "render/graph.h"

#define CLEAR      6.0   /* two wires closer than that look like one */
#define MIDDLE_MAX 300.0 /* from the top of a hub to its text */

/* --- heights ------------------------------------------------------------------------------------------------------ */

double svg_plan_card_height(const struct svg_plan_card *card)
{
	return card->content->height + 2 * SVG_PAD;
}

static double uplinks_height(const struct svg_plan_hub *hub)
{
	double h = hub->uplinks->len > 1 ? SVG_UPLINK_GAP * (hub->uplinks->len - 1) : 0;

	for (unsigned i = 0; i < hub->uplinks->len; i++)
		h += svg_plan_card_height(hub->uplinks->pdata[i]);
	return h;
}

static double rows_height(const struct svg_plan *plan, const struct svg_plan_hub *hub)
{
	double h = SVG_ROW_GAP * (hub->last - hub->first);

	for (unsigned i = hub->first; i <= hub->last; i++)
		h += svg_plan_row_at(plan, i)->h;
	return h;
}

/* The rows of a hub get higher until it has room for its text, and its uplinks beside it. */
static void stretch(struct svg_plan *plan, const struct svg_plan_hub *hub)
{
	double need = hub->content->height + SVG_ICON + 2 * SVG_PAD;
	double lack = MAX(need, uplinks_height(hub)) - rows_height(plan, hub);

	for (unsigned i = hub->first; lack > 0 && i <= hub->last; i++)
		svg_plan_row_at(plan, i)->h += ceil(lack / (hub->last - hub->first + 1));
}

static int by_rows(const void *a, const void *b)
{
	const struct svg_plan_hub *x = *(struct svg_plan_hub *const *)a,
				  *y = *(struct svg_plan_hub *const *)b;
	unsigned n = x->last - x->first, m = y->last - y->first;

	if (n != m)
		return n < m ? -1 : 1;
	return x->node->index < y->node->index ? -1 : 1;
}

/* Rows below each other, and hubs as high as theirs. */
static void pile_up(struct svg_plan *plan)
{
	double y = 0;

	for (unsigned i = 0; i < plan->rows->len; i++) {
		svg_plan_row_at(plan, i)->y = y;
		y += svg_plan_row_at(plan, i)->h + SVG_ROW_GAP;
	}
	for (unsigned i = 0; i < plan->hubs->len; i++) {
		struct svg_plan_hub *hub = svg_plan_hub_at(plan, i);
		const struct svg_plan_row *last = svg_plan_row_at(plan, hub->last);

		hub->rect.y = svg_plan_row_at(plan, hub->first)->y;
		hub->rect.h = last->y + last->h - hub->rect.y;
	}
	plan->height = y - SVG_ROW_GAP;
}

double svg_plan_middle_of(const struct svg_plan_hub *hub)
{
	double need = hub->content->height / 2 + SVG_ICON + SVG_PAD;

	return hub->rect.y + MIN(hub->rect.h / 2, MAX(need, MIDDLE_MAX));
}

/* The uplinks of a network lie beside its middle, if that is below those that were placed before (*below).  Returns by how
 * much they leave the network. */
static double place_beside(struct svg_plan_hub *hub, double *below)
{
	double h = uplinks_height(hub), bottom = hub->rect.y + hub->rect.h;
	double y = MAX(svg_plan_middle_of(hub) - h / 2, *below);

	if (y + h > bottom || y < hub->rect.y)
		y = MAX(hub->rect.y, *below);
	hub->uplinks_y = y;
	*below = y + h + SVG_UPLINK_GAP;
	return MAX(0, y + h - bottom);
}

static int by_last(const void *a, const void *b)
{
	const struct svg_plan_hub *x = *(struct svg_plan_hub *const *)a,
				  *y = *(struct svg_plan_hub *const *)b;

	if (x->last != y->last)
		return x->last < y->last ? -1 : 1;
	return x->node->index < y->node->index ? -1 : 1;
}

/* No two uplinks of one side are at one height: so a wire to one passes no other.  TRUE: they are placed; FALSE: a row had to
 * get higher first. */
static bool place_all_beside(struct svg_plan *plan)
{
	double below[SVG_SIDES] = { 0, 0 };

	for (unsigned i = 0; i < plan->hubs->len; i++) {
		struct svg_plan_hub *hub = svg_plan_hub_at(plan, i);
		double lack = hub->uplinks->len > 0 ? place_beside(hub, &below[hub->side]) : 0;

		if (lack > 0) {
			svg_plan_row_at(plan, hub->last)->h += ceil(lack);
			return false;
		}
	}
	return true;
}

/* --- uplinks ------------------------------------------------------------------------------------------------------ */

double svg_plan_first_wire(const struct svg_plan_row *row, enum svg_side side)
{
	return row->y + (row->h - row->wires_height[side]) / 2;
}

/* Whether a wire to a hub at least so far out goes through [y1, y2]. */
static bool wire_passes(const struct svg_plan *plan, enum svg_side side, unsigned column, double y1,
			double y2)
{
	for (unsigned i = 0; i < plan->rows->len; i++) {
		const struct svg_plan_row *row = svg_plan_row_at(plan, i);
		double y = svg_plan_first_wire(row, side);

		if (row->y > y2 || row->y + row->h < y1)
			continue;
		for (unsigned j = 0; j < row->wires[side]->len; j++) {
			const struct svg_plan_wire *wire = row->wires[side]->pdata[j];
			const struct svg_plan_hub *hub =
				g_hash_table_lookup(plan->hub, wire->edge->to);

			if (hub->column >= column && y + wire->above >= y1 && y + wire->above <= y2)
				return true;
			y += wire->height;
		}
	}
	return false;
}

static bool column_has_room(const struct svg_plan *plan, enum svg_side side, unsigned column,
			    double y1, double y2)
{
	for (unsigned i = 0; i < plan->hubs->len; i++) {
		const struct svg_plan_hub *hub = svg_plan_hub_at(plan, i);

		if (hub->side == side && hub->column == column && hub->rect.y < y2 &&
		    hub->rect.y + hub->rect.h > y1)
			return false;
	}
	return !wire_passes(plan, side, column, y1, y2);
}

/* The height at which its wire looks like no other's. */
static double uplink_wire(const struct svg_plan *plan, const struct svg_plan_hub *hub, double y,
			  double height)
{
	double middle = y + height / 2;

	for (unsigned i = 0; (i + 1) * CLEAR < height / 2; i++) {
		double off = i * CLEAR;

		if (!wire_passes(plan, hub->side, hub->column + 1, middle + off - CLEAR + 1,
				 middle + off + CLEAR - 1))
			return middle + off;
		if (!wire_passes(plan, hub->side, hub->column + 1, middle - off - CLEAR + 1,
				 middle - off + CLEAR - 1))
			return middle - off;
	}
	return middle;
}

/* All of a network in one column, the nearest that has room. */
static void place_uplinks(struct svg_plan *plan, struct svg_plan_hub *hub)
{
	double y = hub->uplinks_y;
	double y1 = y - SVG_UPLINK_GAP, y2 = y + uplinks_height(hub) + SVG_UPLINK_GAP;
	unsigned column = hub->column + 1;

	if (hub->uplinks->len == 0)
		return;
	while (!column_has_room(plan, hub->side, column, y1, y2))
		column++;
	for (unsigned i = 0; i < hub->uplinks->len; i++) {
		struct svg_plan_card *card = hub->uplinks->pdata[i];

		card->column = column;
		card->y = y;
		card->wire_y = uplink_wire(plan, hub, y, svg_plan_card_height(card));
		y += svg_plan_card_height(card) + SVG_UPLINK_GAP;
		svg_plan_widen(plan, hub->side, column,
			       card->content->width + 2 * SVG_PAD + SVG_ICON);
	}
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Hubs of few rows first: what they need is then there for those of more. */
void svg_plan_heights(struct svg_plan *plan)
{
	g_ptr_array_sort(plan->hubs, by_rows);
	for (unsigned i = 0; i < plan->hubs->len; i++)
		stretch(plan, svg_plan_hub_at(plan, i));
	/* In order of their last rows: one that gets higher then moves none of those that are placed already. */
	g_ptr_array_sort(plan->hubs, by_last);
	do
		pile_up(plan);
	while (!place_all_beside(plan));
	for (unsigned i = 0; i < plan->hubs->len; i++)
		place_uplinks(plan, svg_plan_hub_at(plan, i));
}
