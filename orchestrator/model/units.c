/* SPDX-License-Identifier: MIT */
#include "model/units.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

/* Digits behind the point that are read: more than any unit here can use. */
#define FRACTION_MAX 12

struct unit {
	const char *name;
	uint64_t scale; /* how many of the number's unit it is */
};

/* Largest first; the last row ends the table. */
static const struct unit sizes[] = { { "TiB", 1ull << 40 },
				     { "GiB", 1ull << 30 },
				     { "MiB", 1ull << 20 },
				     { "KiB", 1ull << 10 },
				     { "B", 1 },
				     { NULL, 0 } };
static const struct unit times[] = {
	{ "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 }
};
static const struct unit delays[] = {
	{ "h", 3600000000000 }, { "m", 60000000000 }, { "s", 1000000000 }, { "ms", 1000000 },
	{ "us", 1000 },         { "ns", 1 },          { NULL, 0 }
};
static const struct unit chances[] = { { "%", UNIT_CERTAIN / 100 }, { NULL, 0 } };
static const struct unit rates[] = {
	{ "gbit", 1000000000 }, { "mbit", 1000000 }, { "kbit", 1000 }, { "bit", 1 }, { NULL, 0 }
};

/* --- parsing -------------------------------------------------------------------------------------------------------- */

/* A decimal number without a sign, in parts: digits before the point, and those behind it. */
struct decimal {
	uint64_t whole, fraction;
	uint64_t fraction_scale; /* 10^digits; 1: there is no fraction */
};

enum scan { SCAN_GOOD, SCAN_BAD, SCAN_LARGE };

static enum scan scan_digits(const char **text, uint64_t *ret, unsigned max_digits)
{
	const char *p = *text;
	uint64_t n = 0;

	for (; g_ascii_isdigit(*p); p++) {
		if (p - *text >= max_digits || __builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return SCAN_LARGE;
	}
	if (p == *text)
		return SCAN_BAD;
	*text = p;
	*ret = n;
	return SCAN_GOOD;
}

static enum scan scan_decimal(const char **text, bool fractions, struct decimal *ret)
{
	const char *begin = *text;
	enum scan result = scan_digits(text, &ret->whole, 20);

	if (result != SCAN_GOOD)
		return result;
	if (begin[0] == '0' && *text > begin + 1)
		return SCAN_BAD;
	ret->fraction = 0;
	ret->fraction_scale = 1;
	if (**text != '.' || !fractions)
		return SCAN_GOOD;
	begin = ++*text;
	result = scan_digits(text, &ret->fraction, FRACTION_MAX);
	for (; result == SCAN_GOOD && begin < *text; begin++)
		ret->fraction_scale *= 10;
	return result;
}

/* What is said about a text that cannot be read. */
struct complaints {
	const char *form, *unit, *negative;
};

static const char *too_large = "is too large";
static const char *too_fine = "has more digits than mean anything";

static const char *scale(const struct decimal *d, uint64_t by, uint64_t *ret)
{
	unsigned __int128 part = (unsigned __int128)d->fraction * by;
	uint64_t n;

	if (part % d->fraction_scale != 0)
		return too_fine;
	if (__builtin_mul_overflow(d->whole, by, &n) ||
	    __builtin_add_overflow(n, (uint64_t)(part / d->fraction_scale), &n))
		return too_large;
	*ret = n;
	return NULL;
}

static const char *parse(const char *text, const struct unit *units, bool fractions,
			 const struct complaints *say, uint64_t *ret)
{
	struct decimal d;

	if (text[0] == '-' && g_ascii_isdigit(text[1]))
		return say->negative;
	switch (scan_decimal(&text, fractions, &d)) {
	case SCAN_BAD:
		return say->form;
	case SCAN_LARGE:
		return too_large;
	case SCAN_GOOD:
		break;
	}
	for (; units->name; units++)
		if (strcmp(text, units->name) == 0)
			return scale(&d, units->scale, ret);
	return say->unit;
}

const char *unit_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const struct complaints say = {
		"is not a size: write it like \"512MiB\"",
		"is not a size: its unit is B, KiB, MiB, GiB or TiB, as in \"512MiB\"",
		"is negative",
	};

	return parse(text, sizes, false, &say, ret_bytes);
}

const char *unit_parse_time(const char *text, uint64_t *ret_ms)
{
	static const struct complaints say = {
		"is not a time: write it like \"30s\"",
		"is not a time: its unit is ms, s, m or h, as in \"30s\"",
		"is negative",
	};

	return parse(text, times, false, &say, ret_ms);
}

const char *unit_parse_delay(const char *text, uint64_t *ret_ns)
{
	static const struct complaints say = {
		"is not a delay: write it like \"20ms\"",
		"is not a delay: its unit is ns, us, ms, s, m or h, as in \"20ms\"",
		"is negative",
	};

	return parse(text, delays, true, &say, ret_ns);
}

const char *unit_parse_chance(const char *text, uint64_t *ret_billionths)
{
	static const struct complaints say = {
		"is not a percentage: write it like \"2%\"",
		"is not a percentage: it ends with %, as in \"2%\"",
		"is negative",
	};

	return parse(text, chances, true, &say, ret_billionths);
}

const char *unit_parse_rate(const char *text, uint64_t *ret_bps)
{
	static const struct complaints say = {
		"is not a rate: write it like \"100mbit\"",
		"is not a rate: its unit is bit, kbit, mbit or gbit (per second), as in \"100mbit\"",
		"is negative",
	};

	return parse(text, rates, true, &say, ret_bps);
}

/* --- formatting ----------------------------------------------------------------------------------------------------- */

/* In the largest unit that divides it. */
static char *format_whole(uint64_t n, const struct unit *units)
{
	for (; units->name; units++)
		if ((n > 0 && n % units->scale == 0) || units->scale == 1)
			return g_strdup_printf("%" G_GUINT64_FORMAT "%s", n / units->scale,
					       units->name);
	g_assert_not_reached();
}

/* In the largest unit of which there is at least one, with as many digits behind the point as it takes. */
static char *format_decimal(uint64_t n, const struct unit *units)
{
	GString *out;
	uint64_t rest;

	while (n < units->scale && units[1].name)
		units++;
	out = g_string_new(NULL);
	g_string_append_printf(out, "%" G_GUINT64_FORMAT, n / units->scale);
	rest = n % units->scale;
	if (rest > 0)
		g_string_append_c(out, '.');
	for (uint64_t left = rest, place = units->scale; left > 0 && place > 1; left %= place) {
		place /= 10;
		g_string_append_c(out, (char)('0' + left / place));
	}
	g_string_append(out, units->name);
	return g_string_free(out, FALSE);
}

char *unit_format_size(uint64_t bytes)
{
	return format_whole(bytes, sizes);
}

char *unit_format_time(uint64_t ms)
{
	return format_whole(ms, times);
}

char *unit_format_delay(uint64_t ns)
{
	/* Minutes and hours have no decimal fractions. */
	return ns % delays[1].scale == 0 && ns > 0 ? format_whole(ns, delays) :
						     format_decimal(ns, delays + 2);
}

char *unit_format_chance(uint64_t billionths)
{
	return format_decimal(billionths, chances);
}

char *unit_format_rate(uint64_t bps)
{
	return format_decimal(bps, rates);
}
