/* SPDX-License-Identifier: MIT */
/* print_message() in place of cmocka's, which prints by it what tests have to say, and its own TAP.
 *
 * cmocka's line of a test that was skipped has the test's name where TAP has the reason, and before 1.1.6 it begins with "not
 * ok", which meson takes for a failure.  A test prints "# SKIP reason" before it skips: here the two become what TAP wants, "ok
 * 3 - real_qemu # SKIP no qemu-system-x86_64 here".  A cmocka that was linked to itself alone goes on as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MARK "# SKIP "

static char reason[512]; /* all that print_message() looks at */

static void keep_reason(const char *text)
{
	(void)snprintf(reason, sizeof(reason), "%s", text);
	reason[strcspn(reason, "\n")] = '\0';
}

/* "not ok 3 # SKIP real_qemu\n", as cmocka says it.  False: it is something else. */
static bool put_skipped(const char *text)
{
	const char *ok = strncmp(text, "not ", 4) == 0 ? text + 4 : text;
	const char *mark = strstr(ok, " " MARK);
	const char *name = mark ? mark + strlen(" " MARK) : NULL;

	if (!name || strncmp(ok, "ok ", 3) != 0)
		return false;
	printf("%.*s - %.*s " MARK "%s\n", (int)(mark - ok), ok, (int)strcspn(name, "\n"), name,
	       *reason ? reason : "it does not say why");
	reason[0] = '\0';
	return true;
}

void print_message(const char *const format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (strncmp(text, MARK, strlen(MARK)) == 0)
		keep_reason(text + strlen(MARK));
	if (put_skipped(text))
		return;
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
}
