/* SPDX-License-Identifier: MIT */
#include "run/ladder.h"

#include <string.h>

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

bool ladder_ready_mark(const char *text, unsigned long len)
{
	static const char mark[] = "ready 1";
	const unsigned long mark_len = sizeof(mark) - 1;
	const char *end = text + len;

	for (const char *line = text; line < end;) {
		const char *newline = memchr(line, '\n', (unsigned long)(end - line));
		unsigned long line_len;

		if (!newline)
			return false; /* half a line is no mark yet */
		line_len = (unsigned long)(newline - line);
		if (line_len > 0 && line[line_len - 1] == '\r')
			line_len--;
		if (line_len == mark_len && memcmp(line, mark, mark_len) == 0)
			return true;
		line = newline + 1;
	}
	return false;
}
