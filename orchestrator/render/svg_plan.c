/* SPDX-License-Identifier: MIT */
#include "render/svg_plan.h"

#include <math.h>
#include <stdint.h>

#include "render/graph.h"
#include "render/svg_text.h"

#define CARD_WIDTH  168.0 /* at least */
#define HUB_WIDTH   108.0 /* at least */
#define GUTTER      96.0  /* between a hub and the cards, at least */
#define ABOVE       20.0  /* a wire's text above it */
#define PILL_BESIDE 160.0 /* width of a wire's text and its pill, beside each other, at most */

/* --- pieces ------------------------------------------------------------------------------------------------------- */

static void wire_free(void *p)
{
	struct svg_plan_wire *wire = p;

	svg_content_free(wire->below);
	g_free(wire->vlan);
	g_free(wire->label);
	g_free(wire);
}

static void row_free(void *p)
{
	struct svg_plan_row *row = p;

	svg_content_free(row->content);
	g_ptr_array_unref(row->wires[SVG_LEFT]);
	g_ptr_array_unref(row->wires[SVG_RIGHT]);
	g_free(row);
}

static void card_free(void *p)
{
	struct svg_plan_card *card = p;

	svg_content_free(card->content);
	g_free(card);
}

static void hub_free(void *p)
{
	struct svg_plan_hub *hub = p;

	svg_content_free(hub->content);
	g_ptr_array_unref(hub->uplinks);
	g_free(hub);
}

struct svg_plan_column *svg_plan_column_at(const struct svg_plan *plan, enum svg_side side,
					   unsigned i)
{
	while (plan->columns[side]->len <= i)
		g_ptr_array_add(plan->columns[side], g_new0(struct svg_plan_column, 1));
	return plan->columns[side]->pdata[i];
}

void svg_plan_widen(const struct svg_plan *plan, enum svg_side side, unsigned column, double width)
{
	struct svg_plan_column *c = svg_plan_column_at(plan, side, column);

	c->width = MAX(c->width, ceil(width));
}

static struct svg_plan_row *add_row(struct svg_plan *plan)
{
	struct svg_plan_row *row = g_new0(struct svg_plan_row, 1);

	row->wires[SVG_LEFT] = g_ptr_array_new_with_free_func(wire_free);
	row->wires[SVG_RIGHT] = g_ptr_array_new_with_free_func(wire_free);
	g_ptr_array_add(plan->rows, row);
	return row;
}

/* --- sides -------------------------------------------------------------------------------------------------------- */

static struct svg_plan_card *card_new(const struct graph_node *node)
{
	struct svg_plan_card *card = g_new0(struct svg_plan_card, 1);

	card->node = node;
	card->content = svg_content_of_node(node);
	return card;
}

static void add_hub(struct svg_plan *plan, const struct graph_node *node)
{
	struct svg_plan_hub *hub = g_new0(struct svg_plan_hub, 1);

	hub->node = node;
	hub->content = svg_content_of_node(node);
	hub->first = G_MAXUINT;
	hub->uplinks = g_ptr_array_new_with_free_func(card_free);
	for (unsigned i = 0; i < node->edges->len; i++) {
		const struct graph_edge *edge = node->edges->pdata[i];

		if (edge->from->kind == GRAPH_UPLINK) {
			g_ptr_array_add(hub->uplinks, card_new(edge->from));
			continue;
		}
		/* VMs are the first nodes: a row has its VM's index. */
		hub->first = MIN(hub->first, edge->from->index);
		hub->last = MAX(hub->last, edge->from->index);
		hub->n_wires++;
	}
	g_ptr_array_add(plan->hubs, hub);
	g_hash_table_insert(plan->hub, (void *)(uintptr_t)node, hub);
}

/* Hubs that join nobody: below all others, each in a row of its own. */
static void give_row(struct svg_plan *plan, struct svg_plan_hub *hub)
{
	if (hub->first == G_MAXUINT)
		hub->first = hub->last = plan->n_rows++;
}

/* Who has most wires first: it stands nearest, and fewest pass behind others. */
static int by_wires(const void *a, const void *b)
{
	const struct svg_plan_hub *x = *(struct svg_plan_hub *const *)a,
				  *y = *(struct svg_plan_hub *const *)b;

	if (x->n_wires != y->n_wires)
		return x->n_wires > y->n_wires ? -1 : 1;
	return x->node->index < y->node->index ? -1 : 1;
}

/* The innermost column of that side in which none of the first n_placed hubs is in its way. */
static unsigned free_column(const struct svg_plan *plan, const struct svg_plan_hub *hub,
			    enum svg_side side, unsigned n_placed)
{
	unsigned column = 0;

	for (unsigned i = 0; i < n_placed; i++) {
		const struct svg_plan_hub *other = svg_plan_hub_at(plan, i);

		if (other->side != side || other->column != column || other->first > hub->last ||
		    other->last < hub->first)
			continue;
		column++;
		i = G_MAXUINT; /* from the first again */
	}
	return column;
}

/* Where the drawing gets least wide, then where fewer wires are; of two alike, networks begin at the left, portals at the
 * right. */
static enum svg_side best_side(const struct svg_plan *plan, const struct svg_plan_hub *hub,
			       unsigned n_placed, const unsigned load[SVG_SIDES])
{
	unsigned left = free_column(plan, hub, SVG_LEFT, n_placed);
	unsigned right = free_column(plan, hub, SVG_RIGHT, n_placed);
	bool left_grows = left >= plan->columns[SVG_LEFT]->len;
	bool right_grows = right >= plan->columns[SVG_RIGHT]->len;

	if (left_grows != right_grows && plan->columns[SVG_LEFT]->len &&
	    plan->columns[SVG_RIGHT]->len)
		return left_grows ? SVG_RIGHT : SVG_LEFT;
	if (left != right)
		return left < right ? SVG_LEFT : SVG_RIGHT;
	if (load[SVG_LEFT] != load[SVG_RIGHT])
		return load[SVG_LEFT] < load[SVG_RIGHT] ? SVG_LEFT : SVG_RIGHT;
	return hub->node->kind == GRAPH_PORTAL ? SVG_RIGHT : SVG_LEFT;
}

static void choose_columns(struct svg_plan *plan)
{
	unsigned load[SVG_SIDES] = { 0, 0 };

	g_ptr_array_sort(plan->hubs, by_wires);
	for (unsigned i = 0; i < plan->hubs->len; i++) {
		struct svg_plan_hub *hub = svg_plan_hub_at(plan, i);
		enum svg_side side = best_side(plan, hub, i, load);

		hub->column = free_column(plan, hub, side, i);
		hub->side = side;
		load[side] += hub->n_wires;
		plan->gutter[side] = GUTTER;
		svg_plan_widen(plan, side, hub->column,
			       MAX(HUB_WIDTH, hub->content->width + 2 * SVG_PAD));
	}
}

static void make_hubs(struct svg_plan *plan)
{
	for (unsigned i = 0; i < plan->graph->nodes->len; i++) {
		const struct graph_node *node = graph_node(plan->graph, i);

		plan->n_rows += node->kind == GRAPH_VM;
		if (node->kind == GRAPH_NETWORK || node->kind == GRAPH_PORTAL)
			add_hub(plan, node);
	}
	for (unsigned i = 0; i < plan->hubs->len; i++)
		give_row(plan, svg_plan_hub_at(plan, i));
	choose_columns(plan);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* A pill at the wire stands beside the text above and below, or where both are long, between them. */
static void measure(struct svg_plan_wire *wire)
{
	double label = wire->label ? svg_content_width(SVG_LABEL, wire->label) : 0;
	double vlan = wire->vlan ? svg_content_width(SVG_VLAN, wire->vlan) : 0;
	double text = MAX(label, wire->below->width);
	bool between = vlan > 0 && text + SVG_TEXT_GAP + vlan > PILL_BESIDE;

	wire->above = between ? ABOVE + 6 : ABOVE;
	wire->gap = between ? 8 : 3;
	wire->height = wire->above + wire->gap + wire->below->height + 5;
	wire->width = between ? MAX(text, vlan + SVG_TEXT_GAP) :
				text + (vlan > 0 ? vlan + SVG_TEXT_GAP : 0);
	wire->width += 2 * SVG_TEXT_GAP;
}

static struct svg_plan_wire *wire_new(const struct graph_edge *edge)
{
	struct svg_plan_wire *wire = g_new0(struct svg_plan_wire, 1);

	wire->edge = edge;
	wire->below = svg_content_of_wire(edge);
	if (edge->name)
		wire->label = svg_text_cut(edge->name, 200, svg_fonts[SVG_LABEL].size);
	if (edge->vlan)
		wire->vlan = svg_text_cut(edge->vlan, 176, svg_fonts[SVG_VLAN].size);
	measure(wire);
	return wire;
}

static void add_wire(struct svg_plan *plan, struct svg_plan_row *row, const struct graph_edge *edge)
{
	struct svg_plan_hub *hub = g_hash_table_lookup(plan->hub, edge->to);
	struct svg_plan_wire *wire = wire_new(edge);

	g_ptr_array_add(row->wires[hub->side], wire);
	row->wires_height[hub->side] += wire->height;
	plan->gutter[hub->side] = MAX(plan->gutter[hub->side], ceil(wire->width));
}

static void add_vm_row(struct svg_plan *plan, const struct graph_node *vm)
{
	struct svg_plan_row *row = add_row(plan);

	row->vm = vm;
	row->content = svg_content_of_node(vm);
	for (unsigned i = 0; i < vm->edges->len; i++)
		add_wire(plan, row, vm->edges->pdata[i]);
	row->h = MAX(row->wires_height[SVG_LEFT], row->wires_height[SVG_RIGHT]);
	row->h = MAX(row->h, row->content->height + 2 * SVG_PAD);
	plan->card_width =
		MAX(plan->card_width, ceil(row->content->width + 2 * SVG_PAD + SVG_ICON));
}

static void make_rows(struct svg_plan *plan)
{
	plan->card_width = CARD_WIDTH;
	for (unsigned i = 0; i < plan->graph->nodes->len; i++)
		if (graph_node(plan->graph, i)->kind == GRAPH_VM)
			add_vm_row(plan, graph_node(plan->graph, i));
	while (plan->rows->len < plan->n_rows)
		add_row(plan);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static double side_width(const struct svg_plan *plan, enum svg_side side)
{
	double w = plan->gutter[side];

	for (unsigned i = 0; i < plan->columns[side]->len; i++)
		w += svg_plan_column_at(plan, side, i)->width + (i > 0 ? SVG_COLUMN_GAP : 0);
	return w;
}

static void make_x(struct svg_plan *plan)
{
	double wide = side_width(plan, SVG_LEFT) + plan->card_width + side_width(plan, SVG_RIGHT);
	double x;

	plan->width = wide + 2 * SVG_MARGIN;
	plan->cards_x = SVG_MARGIN + side_width(plan, SVG_LEFT);
	x = plan->cards_x - plan->gutter[SVG_LEFT];
	for (unsigned i = 0; i < plan->columns[SVG_LEFT]->len; i++) {
		struct svg_plan_column *c = svg_plan_column_at(plan, SVG_LEFT, i);

		c->x = x - c->width;
		x = c->x - SVG_COLUMN_GAP;
	}
	x = plan->cards_x + plan->card_width + plan->gutter[SVG_RIGHT];
	for (unsigned i = 0; i < plan->columns[SVG_RIGHT]->len; i++) {
		struct svg_plan_column *c = svg_plan_column_at(plan, SVG_RIGHT, i);

		c->x = x;
		x += c->width + SVG_COLUMN_GAP;
	}
	for (unsigned i = 0; i < plan->hubs->len; i++) {
		struct svg_plan_hub *hub = svg_plan_hub_at(plan, i);
		const struct svg_plan_column *c = svg_plan_column_at(plan, hub->side, hub->column);

		hub->rect.x = c->x;
		hub->rect.w = c->width;
	}
}

struct svg_plan *svg_plan_new(const struct graph *graph)
{
	struct svg_plan *plan = g_new0(struct svg_plan, 1);

	plan->graph = graph;
	plan->rows = g_ptr_array_new_with_free_func(row_free);
	plan->hubs = g_ptr_array_new_with_free_func(hub_free);
	plan->hub = g_hash_table_new(NULL, NULL);
	for (unsigned i = 0; i < SVG_SIDES; i++)
		plan->columns[i] = g_ptr_array_new_with_free_func(g_free);
	make_hubs(plan);
	make_rows(plan);
	svg_plan_heights(plan);
	make_x(plan);
	return plan;
}

void svg_plan_free(struct svg_plan *plan)
{
	if (!plan)
		return;
	g_ptr_array_unref(plan->rows);
	g_ptr_array_unref(plan->hubs);
	g_hash_table_unref(plan->hub);
	for (unsigned i = 0; i < SVG_SIDES; i++)
		g_ptr_array_unref(plan->columns[i]);
	g_free(plan);
}
