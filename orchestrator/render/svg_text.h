/* SPDX-License-Identifier: MIT */
/* How much room text takes, before anybody knows by which font it will be shown: that of DejaVu Sans, the widest of those that
 * svg.c asks for, so that text in a box stays in it.  Pure. */
#ifndef RENDER_SVG_TEXT_H
#define RENDER_SVG_TEXT_H

#include <glib.h>
#include <stdbool.h>

/* In pixels; size: of the font. */
double svg_text_width(const char *text, double size, bool bold);

/* A copy that is at most so wide, with "…" for what is missing; g_free(). */
char *svg_text_cut(const char *text, double width, double size);

/* Lines of at most that width, broken at spaces, appended as char *.  Of more than max_lines (at least 1) the last ends in
 * "…". */
void svg_text_wrap(const char *text, double width, double size, unsigned max_lines,
		   GPtrArray *lines);

/* Behind the first character. */
static inline const char *svg_text_next(const char *text)
{
	return text + g_utf8_skip[(guchar)*text];
}

#endif
