/* SPDX-License-Identifier: MIT */
/* Descriptors that this process has open, counted to find out whether any was lost. */
#ifndef TEST_FDS_H
#define TEST_FDS_H

#include <dirent.h>
#include <stdlib.h>

/* A number to compare with another of this function: what it opens to look is counted each time.  Aborts without /proc. */
static inline unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		abort();
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
