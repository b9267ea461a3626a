/* SPDX-License-Identifier: MIT */
#include "render/svg_text.h"

#include <string.h>

#define ELLIPSIS "…"

/* Thousandths of the font's size, from the space on. */
static const unsigned short advance[] = {
	318,  401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337,
	636,  636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531,
	1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
	603,  787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500,
	500,  613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612,
	635,  635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
};

static unsigned width_of(gunichar c, bool bold)
{
	unsigned w = 1000;

	if (c >= ' ' && c < ' ' + G_N_ELEMENTS(advance))
		w = advance[c - ' '];
	else if (g_unichar_iszerowidth(c))
		w = 0;
	return bold && w > 0 ? w + w / 16 + 60 : w;
}

double svg_text_width(const char *text, double size, bool bold)
{
	guint64 sum = 0;

	for (; *text; text = svg_text_next(text))
		sum += width_of(g_utf8_get_char(text), bold);
	return (double)sum * size / 1000;
}

char *svg_text_cut(const char *text, double width, double size)
{
	double room = width - svg_text_width(ELLIPSIS, size, false), used = 0;
	const char *end = text;

	if (svg_text_width(text, size, false) <= width)
		return g_strdup(text);
	while (*end) {
		used += width_of(g_utf8_get_char(end), false) * size / 1000;
		if (used > room)
			break;
		end = svg_text_next(end);
	}
	while (end > text && end[-1] == ' ')
		end--;
	return g_strdup_printf("%.*s" ELLIPSIS, (int)(end - text), text);
}

/* The end of the words that fit, at least one; its start is not a space. */
static const char *line_end(const char *text, double width, double size)
{
	const char *end = NULL;
	double used = 0;

	for (const char *p = text; *p; p = svg_text_next(p)) {
		if (*p == ' ' && p > text)
			end = used <= width || !end ? p : end;
		used += width_of(g_utf8_get_char(p), false) * size / 1000;
		if (used > width && end)
			return end;
	}
	return used <= width || !end ? text + strlen(text) : end;
}

void svg_text_wrap(const char *text, double width, double size, unsigned max_lines,
		   GPtrArray *lines)
{
	for (unsigned n = 1;; n++) {
		const char *end;
		g_autofree char *line = NULL;

		text += strspn(text, " ");
		end = line_end(text, width, size);
		line = n < max_lines ? g_strndup(text, (gsize)(end - text)) : g_strdup(text);
		g_ptr_array_add(lines, svg_text_cut(line, width, size));
		if (n >= max_lines || !end[strspn(end, " ")])
			return;
		text = end;
	}
}
