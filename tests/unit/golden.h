/* SPDX-License-Identifier: MIT */
/* Golden files: what a program prints, kept beside its test.
 *
 * golden_check() compares text with tests/unit/golden/NAME.  GOLDEN_UPDATE=1 in the environment writes the file instead: run
 * the test so, then read the diff before committing it. */
#ifndef TESTS_UNIT_GOLDEN_H
#define TESTS_UNIT_GOLDEN_H

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The path of a file in the source tree; g_free(). */
static inline char *source_path(const char *name)
{
	const char *top = g_getenv("VHOST_LAB_SOURCE");

	return g_build_filename(top ? top : ".", name, NULL);
}

/* The text of a file in the source tree; g_free().  Aborts if it cannot be read. */
static inline char *source_text(const char *name)
{
	g_autofree char *path = source_path(name);
	char *text;

	if (!g_file_get_contents(path, &text, NULL, NULL)) {
		fprintf(stderr, "cannot read %s\n", path);
		abort();
	}
	return text;
}

/* 0 if they are the same (or the file was written). */
static inline int golden_check(const char *name, const char *text)
{
	g_autofree char *file = g_build_filename("tests/unit/golden", name, NULL);
	g_autofree char *path = source_path(file), *expected = NULL;

	if (g_getenv("GOLDEN_UPDATE"))
		return g_file_set_contents(path, text, -1, NULL) ? 0 : 1;
	expected = source_text(file);
	if (strcmp(expected, text) == 0)
		return 0;
	fprintf(stderr, "# differs from %s:\n%s", path, text);
	return 1;
}

#endif
