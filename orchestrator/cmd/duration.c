/* SPDX-License-Identifier: MIT */
#include "cmd/duration.h"

#include <string.h>

#define DURATION_MAX_MS (G_GINT64_CONSTANT(7) * 24 * 3600 * 1000)

static const struct {
	const char *unit;
	gint64 ms;
} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };

/* Milliseconds of the unit at *p, moving behind it; 0: there is none. */
static gint64 take_unit(const char **p)
{
	size_t len = strspn(*p, "abcdefghijklmnopqrstuvwxyz");

	for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
		if (strlen(units[i].unit) != len || strncmp(*p, units[i].unit, len) != 0)
			continue;
		*p += len;
		return units[i].ms;
	}
	return 0;
}

bool duration_parse(const char *text, gint64 *ret_ms)
{
	const char *p = text;
	gint64 total = 0;

	if (!*p)
		return false;
	while (*p) {
		const char *digits = p;
		guint64 number;
		char *end;
		gint64 unit;

		if (!g_ascii_isdigit(*p))
			return false;
		number = g_ascii_strtoull(p, &end, 10);
		p = end;
		/* A bare number stands alone. */
		unit = !*p && digits == text ? 1000 : take_unit(&p);
		if (!unit || number > (guint64)(DURATION_MAX_MS / unit))
			return false;
		total += (gint64)number * unit;
		if (total > DURATION_MAX_MS)
			return false;
	}
	*ret_ms = total;
	return true;
}
