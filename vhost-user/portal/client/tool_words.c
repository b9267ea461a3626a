/* SPDX-License-Identifier: MIT */
/* Words and numbers of portal(1): what people type, what they read. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "tool.h"

/* What an error of the library means to the one who typed the command. */
static const struct {
	int error;
	const char *text;
} meanings[] = {
	{ -EACCES, "the daemon does not admit this client to that" },
	{ -EAGAIN, "the arena pauses" },
	{ -EDQUOT, "this client has its share of the arena" },
	{ -EEXIST, "the name is taken" },
	{ -EFBIG, "the arena is larger than what is there: the file was cut" },
	{ -ENODATA, "the arena lives in memory: nothing is durable" },
	{ -ENODEV,
	  "no arena can be shared by this: a raw /dev/pmem or another block device goes through the page "
	  "cache, which other machines do not see; use /dev/dax, a file, or ivshmem" },
	{ -ENOSPC, "the arena is full" },
	{ -ENOTCONN, "there is no lease: the daemon is away, or this is an observer" },
	{ -ENXIO, "the arena does not say where leases are given; use --lease" },
	{ -EOPNOTSUPP, "an arena of another version or byte order" },
	{ -EPIPE, "the other end has gone" },
	{ -EPROTO, "no arena, or something in it is broken" },
	{ -EPROTOTYPE, "the name is something of another type" },
	{ -EROFS, "this client may only read" },
	{ -ESTALE, "the lease is over" },
	{ -EUSERS, "no lease is left" },
};

static const char *meaning_of(int error)
{
	for (unsigned i = 0; i < array_size(meanings); i++)
		if (meanings[i].error == error)
			return meanings[i].text;
	return strerror(-error);
}

int tool_fail(int error, const char *what, ...)
{
	va_list args;

	fflush(stdout);
	fputs("portal: ", stderr);
	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fprintf(stderr, ": %s\n", meaning_of(error));
	return error == -ETIMEDOUT ? TOOL_TIMEOUT : TOOL_FAILED;
}

int tool_misuse(const struct tool *tool)
{
	fprintf(stderr, "usage: portal %s %s\n", tool->command->name, tool->command->arguments);
	return TOOL_USAGE;
}

struct portal *tool_attach(struct tool *tool)
{
	const char *where = tool->where ? tool->where : getenv("PORTAL_PATH");
	struct portal *p;
	int r;

	if (!where) {
		fputs("portal: which arena?  Say --portal WHERE, or set PORTAL_PATH\n", stderr);
		return NULL;
	}
	r = portal_attach(where, &tool->options, &p);
	if (r < 0) {
		(void)tool_fail(r, "%s", where);
		return NULL;
	}
	return p;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static bool take_unit(const char *text, const struct unit *units, size_t n, uint64_t *ret_value)
{
	char *end;
	uint64_t number, value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	for (size_t i = 0; i < n; i++)
		if (errno == 0 && strcasecmp(end, units[i].name) == 0 &&
		    !__builtin_mul_overflow(number, units[i].factor, &value)) {
			*ret_value = value;
			return true;
		}
	return false;
}

bool tool_size(const char *text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{ "", 1 },          { "k", 1 << 10 }, { "KiB", 1 << 10 }, { "M", 1 << 20 },
		{ "MiB", 1 << 20 }, { "G", 1 << 30 }, { "GiB", 1 << 30 },
	};

	return take_unit(text, units, array_size(units), ret_bytes);
}

bool tool_duration(const char *text, uint64_t *ret_ns)
{
	static const struct unit units[] = {
		{ "s", NS_PER_SEC },
		{ "ms", NS_PER_MS },
		{ "us", 1000 },
		{ "min", 60 * NS_PER_SEC },
	};

	return take_unit(text, units, array_size(units), ret_ns);
}

uint64_t tool_deadline(uint64_t ns)
{
	uint64_t deadline;

	return __builtin_add_overflow(clock_ns(), ns, &deadline) ? PORTAL_FOREVER : deadline;
}

const char *tool_bytes(uint64_t bytes, char *buf)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	unsigned unit = 0;
	double value = (double)bytes;

	for (; value >= 1024 && unit + 1 < array_size(units); unit++)
		value /= 1024;
	snprintf(buf, 16, value < 10 && value != (double)(int)value ? "%.1f %s" : "%.0f %s", value,
		 units[unit]);
	return buf;
}

void tool_json_bytes(FILE *to, const void *bytes, size_t len)
{
	const unsigned char *c = bytes;

	fputc('"', to);
	for (size_t i = 0; i < len; i++) {
		if (c[i] == '"' || c[i] == '\\')
			fprintf(to, "\\%c", c[i]);
		else if (c[i] < ' ' || c[i] > '~')
			fprintf(to, "\\u%04x", c[i]);
		else
			fputc(c[i], to);
	}
	fputc('"', to);
}

void tool_json_string(FILE *to, const char *text)
{
	tool_json_bytes(to, text, strlen(text));
}

const char *tool_type(uint32_t type, char *buf)
{
	switch (type) {
	case PORTAL_OBJECT_BYTES:
		return "bytes";
	case PORTAL_OBJECT_RING:
		return "ring";
	default:
		snprintf(buf, 16, "%#x", type);
		return buf;
	}
}
