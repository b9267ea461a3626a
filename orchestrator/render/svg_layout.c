/* SPDX-License-Identifier: MIT */
#include "render/svg_layout.h"

#include <string.h>

#include "render/graph.h"
#include "render/svg_plan.h"
#include "render/svg_text.h"

#define WIDTH_MIN   560.0 /* of a drawing: what is said about the lab has to go somewhere */
#define NOTE_TERM   240.0 /* width of a note's title, at most */
#define ABOUT_LINES 3u
#define NOTE_LINES  3u
#define NOTES_MAX   64u

/* What a layout is made of, and from. */
struct drawing {
	const struct svg_plan *plan;
	struct svg_layout *out;
};

/* --- text --------------------------------------------------------------------------------------------------------- */

static struct svg_text *add_text(const struct drawing *to, enum svg_style style, const char *text,
				 enum svg_anchor anchor, double x, double y)
{
	struct svg_text *t = g_new0(struct svg_text, 1);

	*t = (struct svg_text){ .style = style,
				.anchor = anchor,
				.x = x,
				.y = y,
				.width = svg_content_width(style, text),
				.text = g_strdup(text),
				.box = -1 };
	g_ptr_array_add(to->out->texts, t);
	return t;
}

static struct svg_text *add_line(const struct drawing *to, const struct svg_line *line,
				 enum svg_anchor anchor, double x, double y)
{
	struct svg_text *t = add_text(to, line->style, line->text, anchor, x, y + line->y);

	t->whole = g_strdup(line->whole);
	t->hue = line->hue;
	return t;
}

static int add_box(const struct drawing *to, const struct graph_node *node, struct svg_rect rect)
{
	struct svg_box box = { .rect = rect, .node = node };

	g_array_append_val(to->out->boxes, box);
	return (int)to->out->boxes->len - 1;
}

/* A box with its text beside an icon. */
static void add_card(const struct drawing *to, const struct graph_node *node,
		     const struct svg_content *content, struct svg_rect rect)
{
	int box = add_box(to, node, rect);
	double y = rect.y + (rect.h - content->height) / 2;

	for (unsigned i = 0; i < content->lines->len; i++) {
		const struct svg_line *line = &g_array_index(content->lines, struct svg_line, i);
		bool beside = line->style == SVG_BADGE;
		struct svg_text *t = add_line(
			to, line, beside ? SVG_END : SVG_START,
			beside ? rect.x + rect.w - SVG_PAD : rect.x + SVG_PAD + SVG_ICON, y);

		t->box = box;
	}
}

/* A box with its text in the middle, below an icon. */
static void add_tower(const struct drawing *to, const struct svg_plan_hub *hub)
{
	int box = add_box(to, hub->node, hub->rect);
	double y = svg_plan_middle_of(hub) - (hub->content->height - SVG_ICON) / 2;

	for (unsigned i = 0; i < hub->content->lines->len; i++)
		add_line(to, &g_array_index(hub->content->lines, struct svg_line, i), SVG_MIDDLE,
			 hub->rect.x + hub->rect.w / 2, y)
			->box = box;
}

static void add_wire_text(const struct drawing *to, const struct svg_plan_wire *wire,
			  enum svg_side side, double y)
{
	double near = side == SVG_LEFT ? to->plan->cards_x - SVG_TEXT_GAP :
					 to->plan->cards_x + to->plan->card_width + SVG_TEXT_GAP;
	double far = side == SVG_LEFT ? to->plan->cards_x - to->plan->gutter[side] + SVG_TEXT_GAP :
					to->plan->cards_x + to->plan->card_width +
						to->plan->gutter[side] - SVG_TEXT_GAP;
	enum svg_anchor start = side == SVG_LEFT ? SVG_END : SVG_START;

	if (wire->label) {
		struct svg_text *t =
			add_text(to, SVG_LABEL, wire->label, start, near, y - wire->above + 14);

		if (strcmp(wire->label, wire->edge->name) != 0)
			t->whole = g_strdup(wire->edge->name);
	}
	for (unsigned i = 0; i < wire->below->lines->len; i++)
		add_line(to, &g_array_index(wire->below->lines, struct svg_line, i), start, near,
			 y + wire->gap);
	if (wire->vlan) {
		struct svg_text *t = add_text(to, SVG_VLAN, wire->vlan,
					      side == SVG_LEFT ? SVG_START : SVG_END, far, y + 4);

		if (strcmp(wire->vlan, wire->edge->vlan) != 0)
			t->whole = g_strdup(wire->edge->vlan);
		t->hue = wire->edge->group ? wire->edge->group->index + 1 : 0;
	}
}

/* --- placing ------------------------------------------------------------------------------------------------------ */

static void add_wire_line(const struct drawing *to, const struct graph_edge *edge, double x1,
			  double x2, double y)
{
	struct svg_wire wire = { .edge = edge, .x1 = x1, .x2 = x2, .y = y };

	g_array_append_val(to->out->wires, wire);
}

static void put_wires(const struct drawing *to, const struct svg_plan_row *row, enum svg_side side)
{
	double y = svg_plan_first_wire(row, side);

	for (unsigned i = 0; i < row->wires[side]->len; i++) {
		const struct svg_plan_wire *wire = row->wires[side]->pdata[i];
		const struct svg_plan_hub *hub = g_hash_table_lookup(to->plan->hub, wire->edge->to);

		y += wire->above;
		if (side == SVG_LEFT)
			add_wire_line(to, wire->edge, hub->rect.x + hub->rect.w, to->plan->cards_x,
				      y);
		else
			add_wire_line(to, wire->edge, to->plan->cards_x + to->plan->card_width,
				      hub->rect.x, y);
		add_wire_text(to, wire, side, y);
		y += wire->height - wire->above;
	}
}

static void put_row(const struct drawing *to, const struct svg_plan_row *row)
{
	double text = row->vm ? row->content->height + 2 * SVG_PAD : 0;
	double wires = MAX(row->wires_height[SVG_LEFT], row->wires_height[SVG_RIGHT]);
	struct svg_rect rect = { .x = to->plan->cards_x,
				 .w = to->plan->card_width,
				 .h = MAX(text, wires) };

	if (!row->vm)
		return;
	rect.y = row->y + (row->h - rect.h) / 2;
	add_card(to, row->vm, row->content, rect);
	put_wires(to, row, SVG_LEFT);
	put_wires(to, row, SVG_RIGHT);
}

static void put_uplink(const struct drawing *to, const struct svg_plan_hub *hub,
		       const struct svg_plan_card *card)
{
	const struct svg_plan_column *c = svg_plan_column_at(to->plan, hub->side, card->column);
	struct svg_rect rect = {
		.x = c->x, .y = card->y, .w = c->width, .h = svg_plan_card_height(card)
	};

	if (hub->side == SVG_LEFT)
		add_wire_line(to, card->node->edges->pdata[0], rect.x + rect.w, hub->rect.x,
			      card->wire_y);
	else
		add_wire_line(to, card->node->edges->pdata[0], hub->rect.x + hub->rect.w, rect.x,
			      card->wire_y);
	add_card(to, card->node, card->content, rect);
}

static void put_hub(const struct drawing *to, const struct svg_plan_hub *hub)
{
	add_tower(to, hub);
	for (unsigned i = 0; i < hub->uplinks->len; i++)
		put_uplink(to, hub, hub->uplinks->pdata[i]);
}

/* --- what stands above and below ---------------------------------------------------------------------------------- */

/* Wrapped lines from y on; where the next one would be. */
static double put_wrapped(const struct drawing *to, enum svg_style style, const char *text,
			  double x, double y, unsigned max_lines)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
	double size = svg_fonts[style].size;

	svg_text_wrap(text, to->out->width - SVG_MARGIN - x, size, max_lines, lines);
	for (unsigned i = 0; i < lines->len; i++) {
		struct svg_text *t = add_text(to, style, lines->pdata[i], SVG_START, x, y + size);

		if (g_str_has_suffix(t->text, "…"))
			t->whole = g_strdup(text);
		y += size + 5;
	}
	return y;
}

static void put_head(const struct drawing *to)
{
	double y = put_wrapped(to, SVG_HEAD, to->plan->graph->name, SVG_MARGIN, SVG_MARGIN - 6, 1);

	if (to->plan->graph->about)
		put_wrapped(to, SVG_ABOUT, to->plan->graph->about, SVG_MARGIN, y, ABOUT_LINES);
}

/* The same, without putting it there. */
static double head_height(const struct drawing *to)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

	if (to->plan->graph->about)
		svg_text_wrap(to->plan->graph->about, to->out->width - 2 * SVG_MARGIN,
			      svg_fonts[SVG_ABOUT].size, ABOUT_LINES, lines);
	return SVG_MARGIN + svg_fonts[SVG_HEAD].size +
	       lines->len * (svg_fonts[SVG_ABOUT].size + 5) + 20;
}

/* How wide the titles are, of which the texts stand beside. */
static double term_width(const struct graph *graph, unsigned n)
{
	double w = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct graph_note *note = graph->notes->pdata[i];

		w = MAX(w, svg_content_width(SVG_TERM, note->title));
	}
	return MIN(w, NOTE_TERM);
}

static double put_notes(const struct drawing *to, double y)
{
	const GPtrArray *notes = to->plan->graph->notes;
	unsigned n = MIN(notes->len, NOTES_MAX);
	double x = SVG_MARGIN + term_width(to->plan->graph, n) + 16;

	if (n == 0)
		return y;
	to->out->rule = y + 24;
	y += 36;
	for (unsigned i = 0; i < n; i++) {
		const struct graph_note *note = notes->pdata[i];
		g_autofree char *title =
			svg_text_cut(note->title, NOTE_TERM / 1.2, svg_fonts[SVG_TERM].size);

		add_text(to, SVG_TERM, title, SVG_START, SVG_MARGIN, y + svg_fonts[SVG_TERM].size);
		y = put_wrapped(to, SVG_NOTE, note->text, x, y, NOTE_LINES) + 3;
	}
	if (notes->len > n) {
		g_autofree char *more = g_strdup_printf("and %u more", notes->len - n);

		y = put_wrapped(to, SVG_NOTE, more, SVG_MARGIN, y, 1);
	}
	return y;
}

/* What was placed from 0 on goes down, below the head. */
static void shift(struct svg_layout *out, double by)
{
	for (unsigned i = 0; i < out->boxes->len; i++)
		g_array_index(out->boxes, struct svg_box, i).rect.y += by;
	for (unsigned i = 0; i < out->wires->len; i++)
		g_array_index(out->wires, struct svg_wire, i).y += by;
	for (unsigned i = 0; i < out->texts->len; i++)
		((struct svg_text *)out->texts->pdata[i])->y += by;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void text_free(void *p)
{
	struct svg_text *text = p;

	g_free(text->text);
	g_free(text->whole);
	g_free(text);
}

void svg_layout_free(struct svg_layout *layout)
{
	if (!layout)
		return;
	g_array_unref(layout->boxes);
	g_array_unref(layout->wires);
	g_ptr_array_unref(layout->texts);
	g_free(layout);
}

struct svg_layout *svg_layout_new(const struct graph *graph)
{
	struct svg_plan *plan = svg_plan_new(graph);
	struct svg_layout *out = g_new0(struct svg_layout, 1);
	const struct drawing to = { plan, out };

	out->width = MAX(plan->width, WIDTH_MIN);
	out->boxes = g_array_new(FALSE, FALSE, sizeof(struct svg_box));
	out->wires = g_array_new(FALSE, FALSE, sizeof(struct svg_wire));
	out->texts = g_ptr_array_new_with_free_func(text_free);
	for (unsigned i = 0; i < plan->rows->len; i++)
		put_row(&to, svg_plan_row_at(plan, i));
	for (unsigned i = 0; i < plan->hubs->len; i++)
		put_hub(&to, svg_plan_hub_at(plan, i));
	shift(out, head_height(&to));
	put_head(&to);
	out->height = put_notes(&to, plan->height + head_height(&to)) + SVG_MARGIN;
	svg_plan_free(plan);
	return out;
}
