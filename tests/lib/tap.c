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

/* Whether it is such a line of cmocka's. */
static bool put_skipped(const char *text, const char *reason)
{
	const char *line = strncmp(text, "not ", 4) == 0 ? text + 4 : text;
	unsigned number;
	char name[128];

	if (sscanf(line, "ok %u # SKIP %127s", &number, name) != 2)
		return false;
	printf("ok %u - %s # SKIP %s\n", number, name, *reason ? reason : "it does not say why");
	return true;
}

void print_message(const char *const format, ...)
{
	static char reason[256];
	char text[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)sscanf(text, "# SKIP %255[^\n]", reason);
	if (put_skipped(text, reason)) {
		reason[0] = '\0';
		return;
	}
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
}
