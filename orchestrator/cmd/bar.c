/* SPDX-License-Identifier: MIT */
#include "cmd/bar.h"

#include <stdio.h>
#include <sys/stat.h>

#include "out.h"

#define CELLS    20
#define FIRST_US 300000 /* what is over before that is not worth a flicker */

/* Of one file.  A tree would have to be walked twice. */
static uint64_t size_of(const char *path)
{
	struct stat st;

	if (!path || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	/* Holes are not sent. */
	return MIN((uint64_t)st.st_size, (uint64_t)st.st_blocks * 512);
}

void bar_init(struct bar *b, const char *what, const char *local, bool quiet)
{
	*b = (struct bar){
		.what = what,
		.live = !quiet && out_is_terminal(stderr),
		.total = size_of(local),
		.begun_us = g_get_monotonic_time(),
	};
}

char *bar_size(uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	unsigned unit = 0;

	if (bytes < 1024)
		return g_strdup_printf("%u B", (unsigned)bytes);
	n /= 1024;
	while (n >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
		n /= 1024;
		unit++;
	}
	return g_strdup_printf("%.1f %s", n, units[unit]);
}

static void draw_cells(const struct bar *b, uint64_t bytes)
{
	double part = MIN((double)bytes / (double)b->total, 1.0);

	fputs("   ", stderr);
	for (unsigned i = 0; i < CELLS; i++)
		fputs(i < (unsigned)(part * CELLS) ? "█" : "░", stderr);
	fprintf(stderr, " %3u%%", (unsigned)(part * 100));
}

static void draw(struct bar *b, uint64_t bytes, gint64 us)
{
	g_autofree char *size = bar_size(bytes), *time = out_elapsed(us);
	g_autofree char *rate =
		bar_size(us > 0 ? (uint64_t)((double)bytes * G_USEC_PER_SEC / (double)us) : 0);

	fprintf(stderr, "\r%s", b->what);
	if (b->total)
		draw_cells(b, bytes);
	fprintf(stderr, "   %s   %s/s   %s\033[K", size, rate, time);
	fflush(stderr);
	b->drawn = true;
}

void bar_draw(struct bar *b, uint64_t bytes)
{
	gint64 us = g_get_monotonic_time() - b->begun_us;

	if (b->live && us >= FIRST_US)
		draw(b, bytes, us);
}

void bar_end(struct bar *b, uint64_t bytes, bool good)
{
	if (!b->live || !b->drawn)
		return;
	if (good)
		draw(b, bytes, g_get_monotonic_time() - b->begun_us);
	fputs(good ? "\n" : "\r\033[K", stderr);
}
