/* SPDX-License-Identifier: MIT */
/* A lab as a graph for Graphviz: `dot -Tsvg`, `neato -Tpng`.  Pure. */
#ifndef RENDER_DOT_H
#define RENDER_DOT_H

struct graph;

/* g_free(). */
char *render_dot(const struct graph *graph);

#endif
