/* SPDX-License-Identifier: MIT */
/* Log lines: form, levels, limits, and what a stranger's bytes become. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int saved_stderr = -1;
static int pipe_fd = -1;
static char text[65536];

/* stderr becomes a pipe for the time of one test. */
static int setup(void **state)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	pipe_fd = fds[0];
	log_set_level(LOG_LEVEL_INFO);
	unsetenv("JOURNAL_STREAM");
	log_init();
	return 0;
}

static int teardown(void **state)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fd);
	return 0;
}

static const char *logged(void)
{
	ssize_t n = read(pipe_fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void test_plain_form(void **state)
{
	int year, hour, ms;
	char level[16], rest[64];

	log_warning("n1/vq2", "broken: %s", "loop");
	assert_int_equal(sscanf(logged(), "%d-%*d-%*dT%d:%*d:%*d.%dZ %15s %63[^\n]", &year, &hour,
				&ms, level, rest),
			 5);
	assert_true(year >= 2024 && hour < 24 && ms < 1000);
	assert_string_equal(level, "warning");
	assert_string_equal(rest, "[n1/vq2] broken: loop");
	log_error(NULL, "no tag");
	assert_non_null(strstr(logged(), "Z error   no tag\n"));
}

static void test_journal_form(void **state)
{
	struct stat st;
	char stream[64];

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init();
	log_warning("n1", "hello");
	assert_string_equal(logged(), "<4>[n1] hello\n");
	/* Somebody else's journal: stderr was redirected since. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_init();
	log_warning("n1", "hello");
	assert_int_not_equal(logged()[0], '<');
}

static void test_levels(void **state)
{
	enum log_level level = LOG_LEVEL_ERROR;

	log_debug(NULL, "not seen");
	assert_string_equal(logged(), "");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning(NULL, "not seen");
	assert_string_equal(logged(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug(NULL, "seen");
	assert_int_equal(lines(logged()), 1);
	for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
		assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
		assert_int_equal(level, i);
	}
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_COUNT - 1);
}

static void test_control_bytes_are_defused(void **state)
{
	log_error("a\nb", "one\ntwo\x1b[31m\x7f\tthree");
	assert_non_null(strstr(logged(), "[a?b] one?two?[31m??three\n"));
	assert_int_equal(lines(text), 1);
}

static void test_long_line_is_cut(void **state)
{
	char big[4 * LOG_LINE_MAX];
	char tag[512];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_error("t", "%s", big);
	assert_int_equal(strlen(logged()), LOG_LINE_MAX);
	assert_int_equal(text[LOG_LINE_MAX - 1], '\n');
	memset(tag, 't', sizeof(tag) - 1);
	tag[sizeof(tag) - 1] = '\0';
	log_error(tag, "still told");
	assert_non_null(strstr(logged(), "] still told\n"));
}

static void test_errno_survives(void **state)
{
	struct log_limit limit = { 0 };

	errno = ENOSPC;
	log_error(NULL, "%m");
	assert_int_equal(errno, ENOSPC);
	assert_non_null(strstr(logged(), strerror(ENOSPC)));
	log_limited(&limit, LOG_LEVEL_ERROR, NULL, "%m");
	assert_int_equal(errno, ENOSPC);
	assert_non_null(strstr(logged(), strerror(ENOSPC)));
}

static void test_limit(void **state)
{
	struct log_limit a = { 0 }, b = { 0 };

	for (unsigned i = 0; i < 100; i++)
		log_limited(&a, LOG_LEVEL_WARNING, "a", "again");
	assert_int_equal(lines(logged()), LOG_LIMIT_BURST);
	assert_int_equal(a.suppressed, 100 - LOG_LIMIT_BURST);
	log_limited(&b, LOG_LEVEL_WARNING, "b", "another's line");
	assert_int_equal(lines(logged()), 1);
	/* The window passes. */
	a.window_end_ns = 1;
	log_limited(&a, LOG_LEVEL_WARNING, "a", "once more");
	assert_int_equal(lines(logged()), 2);
	assert_non_null(strstr(text, "95 more lines"));
	assert_non_null(strstr(text, "once more"));
	/* Lines below the level use nothing up. */
	b = (struct log_limit){ 0 };
	for (unsigned i = 0; i < 100; i++)
		log_limited(&b, LOG_LEVEL_DEBUG, "b", "unseen");
	assert_int_equal(b.n, 0);
}

static void test_dead_stderr_is_survived(void **state)
{
	/* The pipe is full and non-blocking: the line is lost, nothing else. */
	while (write(STDERR_FILENO, "x", 1) == 1)
		;
	errno = 0;
	log_error(NULL, "lost");
	assert_int_equal(errno, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_plain_form),
		T(test_journal_form),
		T(test_levels),
		T(test_control_bytes_are_defused),
		T(test_long_line_is_cut),
		T(test_errno_survives),
		T(test_limit),
		T(test_dead_stderr_is_survived),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
