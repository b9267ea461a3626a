/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

static const struct {
	const char *name;
	int priority;
} levels[LOG_LEVEL_COUNT] = {
#define X(NAME, string, number) [LOG_LEVEL_##NAME] = { string, number },
	LOG_LEVELS(X)
#undef X
};

static enum log_level max_level = LOG_LEVEL_INFO;
static bool to_journal;

/* Whether $JOURNAL_STREAM, "DEVICE:INODE", is what st describes. */
static bool stream_is(const char *stream, const struct stat *st)
{
	char *end;

	return strtoull(stream, &end, 10) == st->st_dev && *end == ':' &&
	       strtoull(end + 1, &end, 10) == st->st_ino && *end == '\0';
}

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;

	/* The variable is inherited by everything below a service; only the numbers tell whether
	 * stderr is still that stream. */
	to_journal = stream && fstat(STDERR_FILENO, &st) == 0 && stream_is(stream, &st);
}

void log_set_level(enum log_level level)
{
	max_level = level;
}

enum log_level log_get_level(void)
{
	return max_level;
}

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Length of the line's beginning in buf. */
static size_t put_prefix(char *buf, size_t size, enum log_level level, const char *tag)
{
	struct timespec ts;
	struct tm tm;
	int n;

	if (to_journal) {
		n = snprintf(buf, size, "<%d>", levels[level].priority);
	} else {
		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm); /* UTC: needs no file, so a sandbox cannot break it */
		n = (int)strftime(buf, size, "%FT%T", &tm);
		n += snprintf(buf + n, size - (size_t)n, ".%03ldZ %-7s ", ts.tv_nsec / 1000000,
			      levels[level].name);
	}
	if (tag)
		n += snprintf(buf + n, size - (size_t)n, "[%.64s] ", tag);
	return (size_t)n;
}

void log_vwrite(enum log_level level, const char *tag, const char *fmt, va_list ap)
{
	int saved_errno = errno;
	char line[LOG_LINE_MAX];
	size_t len, prefix;
	int n;

	if (level > max_level)
		return;
	prefix = put_prefix(line, sizeof(line), level, tag);
	errno = saved_errno; /* for %m */
	n = vsnprintf(line + prefix, sizeof(line) - prefix, fmt, ap);
	len = prefix + min((size_t)max(n, 0), sizeof(line) - prefix - 1);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	/* There is nobody to tell if this fails. */
	(void)!write(STDERR_FILENO, line, len);
	errno = saved_errno;
}

void log_write(enum log_level level, const char *tag, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(level, tag, fmt, ap);
	va_end(ap);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Whether one more line may be written; tells first how many could not. */
static bool limit_pass(struct log_limit *limit, enum log_level level, const char *tag)
{
	uint64_t now = now_ns();

	if (now >= limit->window_end_ns) {
		unsigned suppressed = limit->suppressed;

		*limit = (struct log_limit){ now + LOG_LIMIT_WINDOW_MS * UINT64_C(1000000), 0, 0 };
		if (suppressed)
			log_write(level, tag, "(%u more lines like the last were left out)",
				  suppressed);
	}
	if (limit->n < LOG_LIMIT_BURST) {
		limit->n++;
		return true;
	}
	limit->suppressed++;
	return false;
}

void log_vlimited(struct log_limit *limit, enum log_level level, const char *tag, const char *fmt,
		  va_list ap)
{
	int saved_errno = errno;

	if (level > max_level || !limit_pass(limit, level, tag))
		return;
	errno = saved_errno;
	log_vwrite(level, tag, fmt, ap);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *tag, const char *fmt,
		 ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vlimited(limit, level, tag, fmt, ap);
	va_end(ap);
}
