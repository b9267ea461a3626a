/* SPDX-License-Identifier: MIT */
#include "render/svg.h"

#include <glib.h>
#include <string.h>

#include "render/graph.h"
#include "render/svg_layout.h"
#include "render/svg_text.h"

#define HUES   6   /* of VLANs; then they begin anew */
#define RADIUS 9   /* of a box's corners */
#define PORT   9.0 /* a socket at a box, where a wire ends */

static const char style[] =
	".bg{fill:#ffffff}"
	"text{fill:#4a5768}"
	".head,.title{fill:#1d2733;font-weight:600}"
	".term,.vlan text{font-weight:600}"
	".rule{stroke:#d5dae2}"
	".box{stroke-width:1.6}"
	".vm .box{fill:#eef5ff;stroke:#3b78c2}.vm .icon{stroke:#3b78c2}"
	".network .box{fill:#e9f7ee;stroke:#2f8f57}.network .icon{stroke:#2f8f57}"
	".uplink .box{fill:#f4f6f9;stroke:#7b8798}.uplink .icon{stroke:#5b6b82}"
	".portal .box{fill:#fff4dc;stroke:#c08a1e}.portal .icon{stroke:#c08a1e}"
	".icon{fill:none;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}"
	".socket{fill:#7a4fb5}.effect{fill:#c2461f}"
	".plug{fill:none;stroke:#7a4fb5;stroke-width:1.4;stroke-linecap:round}"
	".wire{fill:none;stroke:#2f8f57;stroke-width:2.4}"
	".wire.up{stroke:#7b8798}.wire.share{stroke:#c08a1e;stroke-width:4}"
	".wire.only{stroke-width:1.6}"
	".port{fill:#2f8f57}.port.up{fill:#7b8798}.port.share{fill:#c08a1e}"
	".badge rect{fill:#d9e6f7}.badge text{fill:#2c5a92}"
	".vlan rect{fill:#5b6b82}.vlan text{fill:#ffffff}"
	".h0 rect{fill:#0e7490}.h1 rect{fill:#b83280}.h2 rect{fill:#4c51bf}"
	".h3 rect{fill:#5f7311}.h4 rect{fill:#8d5524}.h5 rect{fill:#466b8a}"
	".wire.h0{stroke:#0e7490}.wire.h1{stroke:#b83280}.wire.h2{stroke:#4c51bf}"
	".wire.h3{stroke:#5f7311}.wire.h4{stroke:#8d5524}.wire.h5{stroke:#466b8a}"
	".port.h0{fill:#0e7490}.port.h1{fill:#b83280}.port.h2{fill:#4c51bf}"
	".port.h3{fill:#5f7311}.port.h4{fill:#8d5524}.port.h5{fill:#466b8a}"
	".wire.bad{stroke:#d0542f;stroke-dasharray:9 5}.port.bad{fill:#d0542f}";

static const char dark_style[] =
	".bg{fill:#10151c}"
	"text{fill:#aeb9c8}"
	".head,.title{fill:#eef2f7}"
	".rule{stroke:#303a48}"
	".vm .box{fill:#15263c;stroke:#5b9be6}.vm .icon{stroke:#5b9be6}"
	".network .box{fill:#12291d;stroke:#4fb97c}.network .icon{stroke:#4fb97c}"
	".uplink .box{fill:#1b222c;stroke:#7f8da0}.uplink .icon{stroke:#9aa7b8}"
	".portal .box{fill:#2e2410;stroke:#dfae4b}.portal .icon{stroke:#dfae4b}"
	".socket{fill:#bb9bea}.effect{fill:#ff9270}.plug{stroke:#bb9bea}"
	".wire{stroke:#4fb97c}.wire.up{stroke:#7f8da0}.wire.share{stroke:#dfae4b}"
	".port{fill:#4fb97c}.port.up{fill:#7f8da0}.port.share{fill:#dfae4b}"
	".badge rect{fill:#24405f}.badge text{fill:#bcd6f5}"
	".vlan rect{fill:#8795a8}.vlan text{fill:#0b1016}"
	".h0 rect{fill:#3bb8d6}.h1 rect{fill:#f07ab9}.h2 rect{fill:#959af7}"
	".h3 rect{fill:#aac343}.h4 rect{fill:#d79b62}.h5 rect{fill:#86b0d3}"
	".wire.h0{stroke:#3bb8d6}.wire.h1{stroke:#f07ab9}.wire.h2{stroke:#959af7}"
	".wire.h3{stroke:#aac343}.wire.h4{stroke:#d79b62}.wire.h5{stroke:#86b0d3}"
	".port.h0{fill:#3bb8d6}.port.h1{fill:#f07ab9}.port.h2{fill:#959af7}"
	".port.h3{fill:#aac343}.port.h4{fill:#d79b62}.port.h5{fill:#86b0d3}"
	".wire.bad{stroke:#ff7f57}.port.bad{fill:#ff7f57}";

static const char *const kinds[GRAPH_KINDS] = {
	[GRAPH_VM] = "vm",
	[GRAPH_NETWORK] = "network",
	[GRAPH_UPLINK] = "uplink",
	[GRAPH_PORTAL] = "portal",
};

/* 18 by 18 pixels: a screen, arrows both ways, a cloud, memory between its pins. */
static const char *const icons[GRAPH_KINDS] = {
	[GRAPH_VM] = "M1.5 2.5h15v10h-15zM6 16h6M9 12.5V16",
	[GRAPH_NETWORK] = "M2 6h13l-3.5-3.5M16 12H3l3.5 3.5",
	[GRAPH_UPLINK] = "M5 14.5a3.6 3.6 0 0 1-.3-7.2 5 5 0 0 1 9.4-.8 4 4 0 0 1-.3 8z",
	[GRAPH_PORTAL] =
		"M4.5 4h9v10h-9zM7.5 7h3v4h-3zM1.5 6h3M1.5 9h3M1.5 12h3M13.5 6h3M13.5 9h3M13.5 12h3",
};

/* As every locale reads it, with at most two digits behind the point. */
static void put_number(GString *out, const char *attribute, double value)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];
	size_t len;

	g_ascii_formatd(text, sizeof(text), "%.2f", value);
	len = strlen(text);
	while (text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	g_string_append_printf(out, " %s=\"%.*s\"", attribute, (int)len, text);
}

/* Text of anybody: what XML 1.0 has no way to write is left out. */
static void put_escaped(GString *out, const char *text)
{
	for (; *text; text = svg_text_next(text)) {
		gunichar c = g_utf8_get_char(text);

		if (c == '<')
			g_string_append(out, "&lt;");
		else if (c == '>')
			g_string_append(out, "&gt;");
		else if (c == '&')
			g_string_append(out, "&amp;");
		else if (c == '"')
			g_string_append(out, "&quot;");
		else if (c >= ' ' && c != 0xfffe && c != 0xffff)
			g_string_append_unichar(out, c);
	}
}

static void put_title(GString *out, const char *text)
{
	if (!text)
		return;
	g_string_append(out, "<title>");
	put_escaped(out, text);
	g_string_append(out, "</title>");
}

static void put_rect(GString *out, const char *class, struct svg_rect r, double radius)
{
	g_string_append(out, "<rect");
	if (class)
		g_string_append_printf(out, " class=\"%s\"", class);
	put_number(out, "x", r.x);
	put_number(out, "y", r.y);
	put_number(out, "width", r.w);
	put_number(out, "height", r.h);
	if (radius > 0)
		put_number(out, "rx", radius);
	g_string_append(out, "/>");
}

/* --- wires -------------------------------------------------------------------------------------------------------- */

/* What distinguishes a wire: " bad", " h2"; static. */
static const char *wire_class(const struct graph_edge *edge)
{
	static const char *const hues[HUES] = { " h0", " h1", " h2", " h3", " h4", " h5" };

	if (edge->to->kind == GRAPH_PORTAL)
		return edge->readonly ? " share only" : " share";
	if (edge->effects->len > 0)
		return " bad";
	if (edge->group)
		return hues[edge->group->index % HUES];
	return edge->from->kind == GRAPH_UPLINK ? " up" : "";
}

static void put_port(GString *out, const struct graph_edge *edge, double x, double y)
{
	struct svg_rect r = { x - PORT / 2, y - PORT / 2, PORT, PORT };
	g_autofree char *class = g_strconcat("port", wire_class(edge), NULL);

	put_rect(out, class, r, 2);
}

static void put_wires(GString *out, const struct svg_layout *layout)
{
	for (unsigned i = 0; i < layout->wires->len; i++) {
		const struct svg_wire *w = &g_array_index(layout->wires, struct svg_wire, i);
		g_autofree char *words = graph_edge_words(w->edge, ", ");

		g_string_append_printf(out, "<line class=\"wire%s\"", wire_class(w->edge));
		put_number(out, "x1", w->x1);
		put_number(out, "y1", w->y);
		put_number(out, "x2", w->x2);
		put_number(out, "y2", w->y);
		g_string_append_c(out, '>');
		put_title(out, *words ? words : NULL);
		g_string_append(out, "</line>\n");
	}
}

static void put_ports(GString *out, const struct svg_layout *layout)
{
	for (unsigned i = 0; i < layout->wires->len; i++) {
		const struct svg_wire *w = &g_array_index(layout->wires, struct svg_wire, i);

		put_port(out, w->edge, w->x1, w->y);
		put_port(out, w->edge, w->x2, w->y);
		g_string_append_c(out, '\n');
	}
}

/* --- text and boxes ----------------------------------------------------------------------------------------------- */

static void put_words(GString *out, const struct svg_text *t, double x, double y,
		      const char *anchor)
{
	g_string_append(out, "<text");
	if (!svg_fonts[t->style].pill)
		g_string_append_printf(out, " class=\"%s\"", svg_fonts[t->style].class);
	put_number(out, "x", x);
	put_number(out, "y", y);
	put_number(out, "font-size", svg_fonts[t->style].size);
	if (anchor)
		g_string_append_printf(out, " text-anchor=\"%s\"", anchor);
	g_string_append_c(out, '>');
	put_title(out, t->whole);
	put_escaped(out, t->text);
	g_string_append(out, "</text>");
}

static void put_pill(GString *out, const struct svg_text *t)
{
	struct svg_rect r = svg_text_rect(t);

	g_string_append_printf(out, "<g class=\"%s", svg_fonts[t->style].class);
	if (t->hue > 0)
		g_string_append_printf(out, " h%u", (t->hue - 1) % HUES);
	g_string_append(out, "\">");
	put_rect(out, NULL, r, r.h / 2);
	put_words(out, t, r.x + r.w / 2, t->y, "middle");
	g_string_append(out, "</g>");
}

static void put_text(GString *out, const struct svg_text *t)
{
	static const char *const anchors[] = { NULL, "middle", "end" };

	if (svg_fonts[t->style].pill)
		put_pill(out, t);
	else
		put_words(out, t, t->x, t->y, anchors[t->anchor]);
	g_string_append_c(out, '\n');
}

/* Beside the title, or above it where that stands in the middle. */
static void put_icon(GString *out, enum graph_kind kind, const struct svg_text *title)
{
	bool above = title->anchor == SVG_MIDDLE;
	double x = above ? title->x - 9 : title->x - 27;
	double y = above ? title->y - 38 : title->y - 14;
	char tx[G_ASCII_DTOSTR_BUF_SIZE], ty[G_ASCII_DTOSTR_BUF_SIZE];

	g_string_append_printf(out,
			       "<path class=\"icon\" transform=\"translate(%s %s)\" d=\"%s\"/>\n",
			       g_ascii_formatd(tx, sizeof(tx), "%.2f", x),
			       g_ascii_formatd(ty, sizeof(ty), "%.2f", y), icons[kind]);
}

/* In a card's column of icons, beside the first line about sockets: a plug. */
static void put_plug(GString *out, const struct svg_text *line)
{
	char tx[G_ASCII_DTOSTR_BUF_SIZE], ty[G_ASCII_DTOSTR_BUF_SIZE];

	g_string_append_printf(out,
			       "<path class=\"plug\" transform=\"translate(%s %s)\" d=\"%s\"/>\n",
			       g_ascii_formatd(tx, sizeof(tx), "%.2f", line->x - 24),
			       g_ascii_formatd(ty, sizeof(ty), "%.2f", line->y - 10),
			       "M3 1v3M8 1v3M1.5 4h8v2.5a4 4 0 0 1-8 0zM5.5 10.5V13");
}

static void put_box_texts(GString *out, const GPtrArray *texts)
{
	bool plugged = false;

	for (unsigned i = 0; i < texts->len; i++) {
		const struct svg_text *t = texts->pdata[i];

		if (t->style == SVG_SOCKET && !plugged)
			put_plug(out, t);
		plugged = plugged || t->style == SVG_SOCKET;
		put_text(out, t);
	}
}

static void put_boxes(GString *out, const struct svg_layout *layout)
{
	g_autofree GPtrArray **texts = g_new0(GPtrArray *, layout->boxes->len + 1);

	for (unsigned i = 0; i < layout->boxes->len; i++)
		texts[i] = g_ptr_array_new();
	for (unsigned i = 0; i < layout->texts->len; i++) {
		struct svg_text *t = layout->texts->pdata[i];

		if (t->box >= 0)
			g_ptr_array_add(texts[t->box], t);
	}
	for (unsigned i = 0; i < layout->boxes->len; i++) {
		const struct svg_box *box = &g_array_index(layout->boxes, struct svg_box, i);

		g_string_append_printf(out, "<g id=\"%s\" class=\"%s\">", box->node->id,
				       kinds[box->node->kind]);
		put_title(out, box->node->about);
		put_rect(out, "box", box->rect, RADIUS);
		g_string_append_c(out, '\n');
		put_icon(out, box->node->kind, texts[i]->pdata[0]);
		put_box_texts(out, texts[i]);
		g_string_append(out, "</g>\n");
		g_ptr_array_unref(texts[i]);
	}
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void put_head(GString *out, const struct graph *graph, const struct svg_layout *layout)
{
	g_string_append(out, "<svg xmlns=\"http://www.w3.org/2000/svg\"");
	g_string_append_printf(out, " viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\"",
			       layout->width, layout->height, layout->width, layout->height);
	g_string_append(
		out,
		" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\""
		" role=\"img\">\n<title>");
	put_escaped(out, graph->name);
	g_string_append(out, "</title>\n");
	if (graph->about) {
		g_string_append(out, "<desc>");
		put_escaped(out, graph->about);
		g_string_append(out, "</desc>\n");
	}
	g_string_append_printf(out,
			       "<style>\n%s\n@media (prefers-color-scheme: dark){%s}\n</style>\n",
			       style, dark_style);
	g_string_append(out, "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n");
}

static void put_rule(GString *out, const struct svg_layout *layout)
{
	if (layout->rule <= 0)
		return;
	g_string_append(out, "<line class=\"rule\" x1=\"28\"");
	put_number(out, "y1", layout->rule);
	put_number(out, "x2", layout->width - 28);
	put_number(out, "y2", layout->rule);
	g_string_append(out, "/>\n");
}

char *render_svg(const struct graph *graph)
{
	struct svg_layout *layout = svg_layout_new(graph);
	GString *out = g_string_new(NULL);

	layout->height = (double)(guint64)(layout->height + 1);
	layout->width = (double)(guint64)(layout->width + 1);
	put_head(out, graph, layout);
	put_wires(out, layout);
	put_boxes(out, layout);
	put_ports(out, layout);
	for (unsigned i = 0; i < layout->texts->len; i++)
		if (((struct svg_text *)layout->texts->pdata[i])->box < 0)
			put_text(out, layout->texts->pdata[i]);
	put_rule(out, layout);
	g_string_append(out, "</svg>\n");
	svg_layout_free(layout);
	return g_string_free(out, FALSE);
}
