/* SPDX-License-Identifier: MIT */
#include "render/mermaid.h"

#include <glib.h>
#include <string.h>

#include "render/graph.h"

/* What stands around a node's text, and its class. */
static const struct {
	const char *open, *close, *class;
} shapes[GRAPH_KINDS] = {
	[GRAPH_VM] = { "[", "]", "vm" },
	[GRAPH_NETWORK] = { "{{", "}}", "network" },
	[GRAPH_UPLINK] = { "([", "])", "uplink" },
	[GRAPH_PORTAL] = { "[(", ")]", "portal" },
};

/* Within quotes; what Mermaid, or the HTML or Markdown that it makes of it, would take for its own goes by number. */
static void put_escaped(GString *out, const char *text)
{
	for (; *text; text++) {
		if ((guchar)*text < 0x80 && !g_ascii_isalnum(*text) && !strchr(" ,.:/-()+", *text))
			g_string_append_printf(out, "#%u;", (guchar)*text);
		else
			g_string_append_c(out, *text);
	}
}

/* Numbers: names may be words of the language, "end" for one. */
static void put_node(GString *out, const struct graph_node *node)
{
	g_autofree char *words = graph_node_words(node);

	g_string_append_printf(out, "\tn%u%s\"", node->index, shapes[node->kind].open);
	graph_put_lines(out, words, "<br/>", put_escaped);
	g_string_append_printf(out, "\"%s:::%s\n", shapes[node->kind].close,
			       shapes[node->kind].class);
}

static const char *stroke(const struct graph_edge *edge)
{
	if (edge->to->kind == GRAPH_PORTAL)
		return "===";
	return edge->effects->len > 0 ? "-.-" : "---";
}

static void put_edge(GString *out, const struct graph_edge *edge)
{
	g_autofree char *words = graph_edge_words(edge, "\n");
	/* Ways out stand beyond their networks. */
	bool out_of = edge->from->kind == GRAPH_UPLINK;

	g_string_append_printf(out, "\tn%u %s", out_of ? edge->to->index : edge->from->index,
			       stroke(edge));
	if (*words)
		g_string_append(out, "|\"");
	graph_put_lines(out, words, "<br/>", put_escaped);
	g_string_append_printf(out, "%s n%u\n", *words ? "\"|" : "",
			       out_of ? edge->from->index : edge->to->index);
}

char *render_mermaid(const struct graph *graph)
{
	GString *out = g_string_new("flowchart LR\n");

	g_string_append_printf(out, "\taccTitle: %s\n", graph->name);
	for (unsigned i = 0; i < graph->nodes->len; i++)
		put_node(out, graph_node(graph, i));
	for (unsigned i = 0; i < graph->edges->len; i++)
		put_edge(out, graph_edge(graph, i));
	g_string_append(out, "\tclassDef vm fill:#eef5ff,stroke:#3b78c2,color:#1d2733\n"
			     "\tclassDef network fill:#e9f7ee,stroke:#2f8f57,color:#1d2733\n"
			     "\tclassDef uplink fill:#f4f6f9,stroke:#7b8798,color:#1d2733\n"
			     "\tclassDef portal fill:#fff4dc,stroke:#c08a1e,color:#1d2733\n");
	return g_string_free(out, FALSE);
}
