/* SPDX-License-Identifier: MIT */
#include "render/svg_content.h"

#include <string.h>

#include "render/graph.h"
#include "render/svg_text.h"

#define TEXT_MAX   240.0 /* pixels: what is longer is cut */
#define WRAP_MAX   176.0 /* the same, of what is wrapped instead */
#define WRAP_LINES 3u
#define LIST_MAX   5u /* lines of one kind; then it says how many are missing */

const struct svg_font svg_fonts[SVG_STYLES] = {
	[SVG_HEAD] = { "head", 24, .bold = true },
	[SVG_ABOUT] = { "about", 14 },
	[SVG_TITLE] = { "title", 15, .bold = true },
	[SVG_LINE] = { "line", 12 },
	[SVG_SOCKET] = { "socket", 12 },
	[SVG_BADGE] = { "badge", 11, .pill = true },
	[SVG_VLAN] = { "vlan", 11, .bold = true, .pill = true },
	[SVG_LABEL] = { "label", 12 },
	[SVG_EFFECT] = { "effect", 12 },
	[SVG_TRAIT] = { "trait", 12 },
	[SVG_TERM] = { "term", 12, .bold = true },
	[SVG_NOTE] = { "note", 12 },
};

double svg_content_width(enum svg_style style, const char *text)
{
	const struct svg_font *font = &svg_fonts[style];

	return svg_text_width(text, font->size, font->bold) + (font->pill ? 14 : 0);
}

struct svg_rect svg_text_rect(const struct svg_text *text)
{
	double size = svg_fonts[text->style].size;
	double left = text->anchor == SVG_START ? 0 : text->width;
	struct svg_rect r = { .x = text->x - (text->anchor == SVG_MIDDLE ? left / 2 : left),
			      .y = text->y - size * 0.8,
			      .w = text->width,
			      .h = size };

	if (svg_fonts[text->style].pill) {
		r.y -= 3.5;
		r.h += 6.5;
	}
	return r;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void line_clear(void *p)
{
	struct svg_line *line = p;

	g_free(line->text);
	g_free(line->whole);
}

static struct svg_content *content_new(void)
{
	struct svg_content *c = g_new0(struct svg_content, 1);

	c->lines = g_array_new(FALSE, FALSE, sizeof(struct svg_line));
	g_array_set_clear_func(c->lines, line_clear);
	return c;
}

void svg_content_free(struct svg_content *content)
{
	if (!content)
		return;
	g_array_unref(content->lines);
	g_free(content);
}

/* A line below those that are there; takes text, copies whole (NULL: text is all). */
static void put(struct svg_content *c, enum svg_style style, char *text, const char *whole,
		unsigned hue)
{
	double high = style == SVG_TITLE ? 19 : style == SVG_VLAN ? 21 : 16;
	struct svg_line line = { .style = style,
				 .text = text,
				 .whole = whole && strcmp(whole, text) != 0 ? g_strdup(whole) :
									      NULL,
				 .width = svg_content_width(style, text),
				 .y = c->height + high - 4,
				 .hue = hue };

	c->width = MAX(c->width, line.width);
	c->height += high;
	g_array_append_val(c->lines, line);
}

static void put_cut(struct svg_content *c, enum svg_style style, const char *text)
{
	put(c, style, svg_text_cut(text, TEXT_MAX, svg_fonts[style].size), text, 0);
}

static void put_wrapped(struct svg_content *c, enum svg_style style, const char *text)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new();

	svg_text_wrap(text, WRAP_MAX, svg_fonts[style].size, WRAP_LINES, lines);
	for (unsigned i = 0; i < lines->len; i++)
		put(c, style, lines->pdata[i], g_str_has_suffix(lines->pdata[i], "…") ? text : NULL,
		    0);
}

static void put_missing(struct svg_content *c, enum svg_style style, unsigned n)
{
	if (n > 0)
		put(c, style, g_strdup_printf("and %u more", n), NULL, 0);
}

/* All of a list, or its first ones and how many are missing. */
static void put_list(struct svg_content *c, enum svg_style style, const GPtrArray *list)
{
	unsigned n = list->len <= LIST_MAX ? list->len : LIST_MAX - 1;

	for (unsigned i = 0; i < n; i++)
		put_cut(c, style, list->pdata[i]);
	put_missing(c, style, list->len - n);
}

/* --- nodes and wires ---------------------------------------------------------------------------------------------- */

static void put_groups(struct svg_content *c, const GPtrArray *groups)
{
	unsigned n = groups->len <= LIST_MAX ? groups->len : LIST_MAX - 1;

	for (unsigned i = 0; i < n; i++) {
		const struct graph_group *group = groups->pdata[i];

		put(c, SVG_VLAN, g_strdup_printf("VLAN %u", group->vlan), NULL, group->index + 1);
	}
	put_missing(c, SVG_LINE, groups->len - n);
}

/* An uplink has one edge, and what is to be said of that stands in its box. */
static void put_edge(struct svg_content *c, const struct graph_edge *edge)
{
	if (edge->vlan)
		put(c, SVG_VLAN, g_strconcat("VLAN ", edge->vlan, NULL), NULL,
		    edge->group ? edge->group->index + 1 : 0);
	for (unsigned i = 0; i < edge->effects->len; i++)
		put_wrapped(c, SVG_EFFECT, edge->effects->pdata[i]);
	put_list(c, SVG_TRAIT, edge->traits);
}

/* Beside the title. */
static void put_badge(struct svg_content *c, const char *badge)
{
	const struct svg_line *title = &g_array_index(c->lines, struct svg_line, 0);
	struct svg_line line = { .style = SVG_BADGE,
				 .text = svg_text_cut(badge, TEXT_MAX / 2,
						      svg_fonts[SVG_BADGE].size),
				 .y = title->y };

	line.whole = strcmp(line.text, badge) != 0 ? g_strdup(badge) : NULL;
	line.width = svg_content_width(SVG_BADGE, line.text);
	c->width = MAX(c->width, title->width + 12 + line.width);
	g_array_append_val(c->lines, line);
}

struct svg_content *svg_content_of_node(const struct graph_node *node)
{
	struct svg_content *c = content_new();

	put(c, SVG_TITLE, svg_text_cut(node->title, TEXT_MAX, svg_fonts[SVG_TITLE].size),
	    node->title, 0);
	put_list(c, SVG_LINE, node->lines);
	put_list(c, SVG_SOCKET, node->sockets);
	put_groups(c, node->groups);
	if (node->kind == GRAPH_UPLINK && node->edges->len > 0)
		put_edge(c, node->edges->pdata[0]);
	if (node->badge)
		put_badge(c, node->badge);
	return c;
}

struct svg_content *svg_content_of_wire(const struct graph_edge *edge)
{
	struct svg_content *c = content_new();

	for (unsigned i = 0; i < edge->effects->len; i++)
		put_wrapped(c, SVG_EFFECT, edge->effects->pdata[i]);
	put_list(c, SVG_TRAIT, edge->traits);
	return c;
}
