/* SPDX-License-Identifier: MIT */
/* What a daemon tells its operator: lines on stderr.
 *
 * A line is `2026-01-31T12:00:00.123Z warning [port3/vq1] text`; under systemd (stderr is the
 * journal) it is `<4>[port3/vq1] text`, because the journal has its own clock and reads the
 * level from the prefix.  Each line is one write(2).
 *
 * Who logs: whoever knows the context and answers for the error (session.c, control.c, main);
 * functions that return -errno do not, above debug.  Nothing is logged per packet: that is
 * what counters are for.  Whatever a stranger can repeat goes through a struct log_limit that
 * lives beside that stranger's other data, so that one port's noise does not silence another's.
 *
 * Trust:   text may hold what a stranger sent: control bytes come out as '?', a line is cut at
 *          LOG_LINE_MAX.
 * Threads: loop thread only, but log_write() touches no shared state other than the level.
 */
#ifndef VU_LOG_H
#define VU_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX    1024 /* bytes, newline included */
#define LOG_LIMIT_BURST 5    /* lines of one source ... */
#define LOG_LIMIT_WINDOW_MS \
	10000 /* ... in so many milliseconds; the rest is counted, and told with the next line */

/* X(NAME, "name", syslog priority) */
#define LOG_LEVELS(X)            \
	X(ERROR, "error", 3)     \
	X(WARNING, "warning", 4) \
	X(INFO, "info", 6)       \
	X(DEBUG, "debug", 7)

enum log_level {
#define X(name, string, priority) LOG_LEVEL_##name,
	LOG_LEVELS(X)
#undef X
		LOG_LEVEL_COUNT
};

/* One per source of repeatable lines; zero-filled is ready. */
struct log_limit {
	uint64_t window_end_ns;
	unsigned n;
	unsigned suppressed;
};

/* Find out whether stderr is the journal ($JOURNAL_STREAM).  Before it is called lines have
 * the plain form. */
void log_init(void);
void log_set_level(enum log_level level); /* the default is info */
enum log_level log_get_level(void);
const char *log_level_name(enum log_level level);
/* -EINVAL: no such level. */
int log_level_parse(const char *name, enum log_level *ret_level);

/* tag: who it is about ("n1", "n1/vq2", "control"); NULL for the daemon itself.  errno is left
 * as it was. */
void log_write(enum log_level level, const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void log_vwrite(enum log_level level, const char *tag, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
/* The same, at most LOG_LIMIT_BURST lines per window and `limit`. */
void log_limited(struct log_limit *limit, enum log_level level, const char *tag, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
void log_vlimited(struct log_limit *limit, enum log_level level, const char *tag, const char *fmt,
		  va_list ap) __attribute__((format(printf, 4, 0)));

#define log_error(tag, ...)   log_write(LOG_LEVEL_ERROR, tag, __VA_ARGS__)
#define log_warning(tag, ...) log_write(LOG_LEVEL_WARNING, tag, __VA_ARGS__)
#define log_info(tag, ...)    log_write(LOG_LEVEL_INFO, tag, __VA_ARGS__)
#define log_debug(tag, ...)   log_write(LOG_LEVEL_DEBUG, tag, __VA_ARGS__)

#endif
