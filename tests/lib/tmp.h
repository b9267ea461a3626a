/* SPDX-License-Identifier: MIT */
/* A directory of a test's own, under $TMPDIR, short enough for socket paths. */
#ifndef TEST_TMP_H
#define TEST_TMP_H

#include <stddef.h>

struct tmp_dir {
	char path[64];
};

/* Make one, mode 0700.  Fails the test program (abort) if that is impossible. */
void tmp_dir_init(struct tmp_dir *dir);

/* Remove it with all that is in it.  Legal on one already removed. */
void tmp_dir_done(struct tmp_dir *dir);

/* "DIR/name" in a buffer of the caller's, which is returned. */
char *tmp_path(const struct tmp_dir *dir, const char *name, char *buf, size_t size);

/* Write a file into it: its path in a buffer of the caller's, which is returned. */
char *tmp_file(const struct tmp_dir *dir, const char *name, const char *text, char *buf,
	       size_t size);

#endif
