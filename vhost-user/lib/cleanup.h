/* SPDX-License-Identifier: MIT */
/* The only cleanup attributes used in daemons: for setup code with several ways out.
 *
 *	auto_fd int fd = open(...);      closed at the end of its scope unless fd_take() moved it out
 *	auto_free char *text = NULL;     freed at the end of its scope
 */
#ifndef VU_CLEANUP_H
#define VU_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

#define auto_fd   __attribute__((cleanup(cleanup_close_fd)))
#define auto_free __attribute__((cleanup(cleanup_free)))

/* Move a descriptor out of its variable: the caller owns what is returned, *fd becomes -1. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Close *fd if it is open, and forget it. */
static inline void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

#endif
