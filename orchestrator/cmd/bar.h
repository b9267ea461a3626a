/* SPDX-License-Identifier: MIT */
/* How far one copy is, on one line of a terminal; elsewhere nothing.
 *
 *   n1:/var/log   312.4 MiB   98.1 MiB/s   3.2s
 *   app           ███████████░░░░░░░░░  55%   512.0 MiB   101.2 MiB/s   5.1s
 */
#ifndef CMD_BAR_H
#define CMD_BAR_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

struct bar {
	const char *what;
	bool live;
	uint64_t total; /* bytes; 0: not known */
	gint64 begun_us;
	bool drawn;
};

/* what is borrowed.  local: the source, to know how much it is; NULL: it is in a guest. */
void bar_init(struct bar *b, const char *what, const char *local, bool quiet);
void bar_draw(struct bar *b, uint64_t bytes);
/* The last picture, which stays if the copy was good. */
void bar_end(struct bar *b, uint64_t bytes, bool good);

/* "1023 B", "1.0 KiB", "312.4 MiB"; caller frees. */
char *bar_size(uint64_t bytes);

#endif
