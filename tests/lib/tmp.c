/* SPDX-License-Identifier: MIT */
#include "tmp.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what)
{
	perror(what);
	abort();
}

void tmp_dir_init(struct tmp_dir *dir)
{
	const char *base = getenv("TMPDIR");
	int n = snprintf(dir->path, sizeof(dir->path), "%s/vltest-XXXXXX", base ? base : "/tmp");

	if (n < 0 || (size_t)n >= sizeof(dir->path))
		snprintf(dir->path, sizeof(dir->path), "/tmp/vltest-XXXXXX");
	if (!mkdtemp(dir->path))
		die(dir->path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

void tmp_dir_done(struct tmp_dir *dir)
{
	if (dir->path[0])
		(void)nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	dir->path[0] = '\0';
}

char *tmp_path(const struct tmp_dir *dir, const char *name, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s", dir->path, name);

	if (n < 0 || (size_t)n >= size)
		abort();
	return buf;
}

char *tmp_file(const struct tmp_dir *dir, const char *name, const char *text, char *buf,
	       size_t size)
{
	FILE *f = fopen(tmp_path(dir, name, buf, size), "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		die(buf);
	return buf;
}
