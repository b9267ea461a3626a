/* SPDX-License-Identifier: MIT */
#include "run/logfile.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* No last line that is worth showing is longer than that, escapes included. */
#define LAST_WINDOW 8192

/* One escape sequence at p (which is ESC): its length. */
static size_t escape_len(const char *p, size_t left)
{
	size_t i = 1;

	if (left < 2)
		return 1;
	if (p[1] == ']') { /* OSC … BEL or ESC \ */
		for (i = 2; i < left && p[i] != '\a' && p[i] != '\033'; i++)
			;
		return i < left ? i + 1 : left;
	}
	if (p[1] != '[')
		return 2;
	for (i = 2; i < left && (p[i] < 0x40 || p[i] > 0x7e); i++)
		;
	return i < left ? i + 1 : left;
}

char *logfile_clean(const char *text, gssize len, unsigned max)
{
	size_t n = len < 0 ? strlen(text) : (size_t)len;
	g_autoptr(GString) s = g_string_new(NULL);
	g_autofree char *valid = NULL;

	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\033') {
			i += escape_len(text + i, n - i);
			continue;
		}
		if (c == '\t')
			g_string_append_c(s, ' ');
		else if (c >= 0x20 && c != 0x7f)
			g_string_append_c(s, (char)c);
		i++;
	}
	valid = g_utf8_make_valid(s->str, (gssize)s->len);
	g_strstrip(valid);
	return g_utf8_substring(valid, 0, MIN((glong)max, g_utf8_strlen(valid, -1)));
}

gint64 logfile_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : 0;
}

char *logfile_last_line(const char *path, gint64 from, unsigned max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char window[LAST_WINDOW];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return NULL;
	}
	if (from > st.st_size)
		from = 0; /* it was cut meanwhile */
	n = pread(fd, window, sizeof(window), MAX(from, st.st_size - LAST_WINDOW));
	close(fd);
	while (n > 0) {
		const char *newline = memrchr(window, '\n', (size_t)n);
		ssize_t start = newline ? newline - window + 1 : 0;
		g_autofree char *line = logfile_clean(window + start, n - start, max);

		if (*line)
			return g_steal_pointer(&line);
		n = start - 1;
	}
	return NULL;
}

static bool copy_tail(int from, off_t size, const char *to_path)
{
	int to = open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	off_t at = size - LOGFILE_KEEP;
	bool good = to >= 0;
	char chunk[65536];

	while (good && at < size) {
		ssize_t n = pread(from, chunk, sizeof(chunk), at);

		good = n > 0 && write(to, chunk, (size_t)n) == n;
		at += n;
	}
	if (to >= 0)
		close(to);
	return good;
}

void logfile_bound(const char *path)
{
	g_autofree char *kept = g_strdup_printf("%s.1", path);
	struct stat st;
	int fd;

	if (logfile_size(path) <= LOGFILE_MAX)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > LOGFILE_MAX) {
		/* A full disk is a reason to cut, not to keep growing. */
		if (!copy_tail(fd, st.st_size, kept))
			(void)unlink(kept);
		(void)!ftruncate(fd, 0);
	}
	close(fd);
}
