/* SPDX-License-Identifier: MIT */
/* The dirty log: which pages of guest memory the device has written, told to a frontend that migrates its guest.
 *
 * It is shared memory of the frontend's: one bit for each 4 KiB, from guest address 0 on.  The frontend takes bits away
 * while we set them, so both use atomic operations; and a bit is set after the bytes that it stands for have been
 * written, so that whoever takes it copies them.
 *
 * Trust:     file, size and offset come from the frontend, and mem.c judges and maps them as it does guest memory.  A page
 *            beyond the log is not logged: how much there is to know is the frontend's to say.
 * Ownership: descriptors passed in are the log's from the call on.
 * Threads:   bits may be set by any thread while the log stays what it is.
 */
#ifndef VU_DIRTYLOG_H
#define VU_DIRTYLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

#define DIRTYLOG_PAGE 4096u

struct dirtylog {
	struct mem map; /* the log as the only region, at address 0 */
	int event_fd;   /* written when bits were set; -1: nobody wants to know */
	bool touched;   /* bits were set since the last dirtylog_tell() */
};

/* An empty log, in which nothing is found worth a mark.  *log must stay where it is until dirtylog_done(). */
void dirtylog_init(struct dirtylog *log);
void dirtylog_done(struct dirtylog *log);

/* The log is now `size` bytes at `offset` of the file.  Returns what mem_set_table() says; then the old one stays. */
int dirtylog_set(struct dirtylog *log, int fd, uint64_t size, uint64_t offset);

/* Tell of new bits by this eventfd; -1: by none. */
void dirtylog_set_event(struct dirtylog *log, int fd);

/* The len bytes at guest address addr have been written. */
void dirtylog_mark(struct dirtylog *log, uint64_t addr, uint64_t len);

/* Write the eventfd, if there is one and something to tell.  *blocked as in vq.h; may be NULL. */
void dirtylog_tell(struct dirtylog *log, bool *blocked);

#endif
