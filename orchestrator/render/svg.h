/* SPDX-License-Identifier: MIT */
/* A lab as a picture: one SVG 1.1 document that needs nothing beside it, light or dark as its reader is (prefers-color-scheme;
 * a program that does not know that shows it light).  Every node has an id, as in graph.h, and its kind as a class; what is
 * cut has all its text as a title.  Pure. */
#ifndef RENDER_SVG_H
#define RENDER_SVG_H

struct graph;

/* g_free(). */
char *render_svg(const struct graph *graph);

#endif
