/* SPDX-License-Identifier: MIT */
#include "render/dot.h"

#include <glib.h>

#include "render/graph.h"

/* How a kind of node looks. */
static const char *const looks[GRAPH_KINDS] = {
	[GRAPH_VM] =
		"shape=box, style=\"rounded,filled\", color=\"#3b78c2\", fillcolor=\"#eef5ff\"",
	[GRAPH_NETWORK] =
		"shape=box, style=\"bold,filled\", color=\"#2f8f57\", fillcolor=\"#e9f7ee\"",
	[GRAPH_UPLINK] = "shape=ellipse, style=filled, color=\"#7b8798\", fillcolor=\"#f4f6f9\"",
	[GRAPH_PORTAL] = "shape=box3d, style=filled, color=\"#c08a1e\", fillcolor=\"#fff4dc\"",
};

static const char *const hues[] = {
	"#0e7490", "#b83280", "#4c51bf", "#5f7311", "#8d5524", "#466b8a"
};

/* Within a quoted string: a quote ends it, and a backslash begins an escape of a label. */
static void put_escaped(GString *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			g_string_append_c(out, '\\');
		g_string_append_c(out, *text);
	}
}

static void put_quoted(GString *out, const char *text)
{
	g_string_append_c(out, '"');
	put_escaped(out, text);
	g_string_append_c(out, '"');
}

static void put_node(GString *out, const struct graph_node *node)
{
	g_autofree char *words = graph_node_words(node);

	g_string_append(out, "\t");
	put_quoted(out, node->id);
	g_string_append(out, " [label=\"");
	graph_put_lines(out, words, "\\n", put_escaped);
	g_string_append_printf(out, "\", %s", looks[node->kind]);
	if (node->about) {
		g_string_append(out, ", tooltip=");
		put_quoted(out, node->about);
	}
	g_string_append(out, "];\n");
}

static void put_look(GString *out, const struct graph_edge *edge)
{
	if (edge->to->kind == GRAPH_PORTAL)
		g_string_append(out, ", color=\"#c08a1e\", penwidth=3");
	else if (edge->effects->len > 0)
		g_string_append(out, ", color=\"#d0542f\", fontcolor=\"#c2461f\", style=dashed");
	else if (edge->group)
		g_string_append_printf(out, ", color=\"%s\"",
				       hues[edge->group->index % G_N_ELEMENTS(hues)]);
}

static void put_edge(GString *out, const struct graph_edge *edge)
{
	g_autofree char *words = graph_edge_words(edge, "\n");
	/* Ways out stand beyond their networks. */
	bool out_of = edge->from->kind == GRAPH_UPLINK;

	g_string_append(out, "\t");
	put_quoted(out, out_of ? edge->to->id : edge->from->id);
	g_string_append(out, " -- ");
	put_quoted(out, out_of ? edge->from->id : edge->to->id);
	g_string_append(out, " [label=\"");
	graph_put_lines(out, words, "\\n", put_escaped);
	g_string_append(out, "\"");
	put_look(out, edge);
	g_string_append(out, "];\n");
}

/* "wan\lAn office …\lprofile dsl: …\l": at the left edge, below the drawing. */
static void put_head(GString *out, const struct graph *graph)
{
	g_string_append(out, "graph ");
	put_quoted(out, graph->name);
	g_string_append(out,
			" {\n\tgraph [rankdir=LR, labeljust=l, fontname=\"sans-serif\", label=\"");
	put_escaped(out, graph->name);
	if (graph->about) {
		g_string_append(out, "\\l");
		put_escaped(out, graph->about);
	}
	for (unsigned i = 0; i < graph->notes->len; i++) {
		const struct graph_note *note = graph->notes->pdata[i];

		g_string_append(out, "\\l");
		put_escaped(out, note->title);
		g_string_append(out, ": ");
		put_escaped(out, note->text);
	}
	g_string_append(out, "\\l\"];\n"
			     "\tnode [fontname=\"sans-serif\", fontsize=12];\n"
			     "\tedge [fontname=\"sans-serif\", fontsize=10, color=\"#2f8f57\"];\n");
}

char *render_dot(const struct graph *graph)
{
	GString *out = g_string_new(NULL);

	put_head(out, graph);
	for (unsigned i = 0; i < graph->nodes->len; i++)
		put_node(out, graph_node(graph, i));
	for (unsigned i = 0; i < graph->edges->len; i++)
		put_edge(out, graph_edge(graph, i));
	g_string_append(out, "}\n");
	return g_string_free(out, FALSE);
}
