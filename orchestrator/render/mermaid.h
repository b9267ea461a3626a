/* SPDX-License-Identifier: MIT */
/* A lab as a Mermaid flowchart, as forges and editors show them in Markdown.  Pure. */
#ifndef RENDER_MERMAID_H
#define RENDER_MERMAID_H

struct graph;

/* g_free(). */
char *render_mermaid(const struct graph *graph);

#endif
