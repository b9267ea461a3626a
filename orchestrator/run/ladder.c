/* SPDX-License-Identifier: MIT */
#include "run/ladder.h"

#include <string.h>
#include <glib.h>

#define STAGE_WORD(id, word) [id] = word,
static const char *const words[STAGE_COUNT] = { LADDER_STAGES(STAGE_WORD) };

const char *stage_word(enum stage stage)
{
	return words[stage];
}

enum stage stage_from_word(const char *word)
{
	unsigned i = 0;

	while (i < STAGE_COUNT && (!word || strcmp(words[i], word) != 0))
		i++;
	return (enum stage)i;
}

bool stage_on_its_way(enum stage stage)
{
	return stage >= STAGE_STARTING && stage < STAGE_READY;
}

enum stage ladder_stage(const struct ladder *l)
{
	if (!l->process)
		return STAGE_STARTING;
	if (!l->qmp)
		return STAGE_PROCESS;
	if (l->n_negotiated < l->n_nics)
		return STAGE_QMP;
	return l->ready ? STAGE_READY : STAGE_NEGOTIATED;
}

const char *ladder_waits_for(enum stage stage)
{
	static const char *const next[STAGE_COUNT] = {
		[STAGE_PLANNED] = "its turn",
		[STAGE_STARTING] = "QEMU to start",
		[STAGE_PROCESS] = "QEMU's monitor",
		[STAGE_QMP] = "the guest's driver to set up its NICs (as the switch sees it)",
		[STAGE_NEGOTIATED] = "the guest's ready mark",
		[STAGE_STOPPING] = "QEMU to end",
	};

	return next[stage] ? next[stage] : "";
}

/* The next whole line from *text on, which moves behind it; NULL: there is none.  *ret_len is without its end. */
static const char *next_line(const char **text, const char *end, unsigned long *ret_len)
{
	const char *line = *text;
	const char *newline = line < end ? memchr(line, '\n', (unsigned long)(end - line)) : NULL;
	unsigned long len;

	if (!newline)
		return NULL; /* half a line is none yet */
	*text = newline + 1;
	len = (unsigned long)(newline - line);
	*ret_len = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
	return line;
}

bool ladder_ready_mark(const char *text, unsigned long len)
{
	static const char mark[] = "ready 1";
	const char *end = text + len, *line;
	unsigned long line_len;

	while ((line = next_line(&text, end, &line_len)))
		if (line_len == sizeof(mark) - 1 && memcmp(line, mark, line_len) == 0)
			return true;
	return false;
}

char *ladder_error_line(const char *text, unsigned long len)
{
	static const char word[] = "error ";
	const char *end = text + len, *line;
	unsigned long line_len;

	while ((line = next_line(&text, end, &line_len)))
		if (line_len > sizeof(word) - 1 && memcmp(line, word, sizeof(word) - 1) == 0)
			return g_strndup(line + sizeof(word) - 1, line_len - (sizeof(word) - 1));
	return NULL;
}
