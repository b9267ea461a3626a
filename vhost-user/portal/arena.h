/* SPDX-License-Identifier: MIT */
/* The memory of a portal: a file or a memfd, made, found again, and mapped.
 *
 * An arena is made whole: all of its space is allocated before it is used (a full disk is an error at start, never a
 * SIGBUS in a guest, as far as the file system can: fallocate), and the head is the last thing written, so that what was
 * begun and not finished is no arena yet.  The holes of one that was copied sparsely are filled as it is found.  A
 * file that is there already is taken if it is an arena of this name, size and version; if it holds nothing (QEMU makes the
 * file of a memory backend that does not exist) it is made one; anything else is somebody's data and is left alone.
 *
 * A memfd is sealed: its size cannot change.  A file's can, by whoever may write to it: the mapping survives that
 * (mem.h's guard puts zeros in its place) and arena_damaged() tells.
 *
 * One daemon has an arena: a lock on the file (flock), on a description of its own that is never passed on, so that it
 * ends with the daemon and not with the last client.
 *
 * Trust:     a file's content is a stranger's, in particular the last daemon's clients'.  The head is checked in full and copied; all
 *            that is used of it later is the copy.
 * Ownership: the descriptors and the mapping are the arena's until arena_close().
 * Threads:   loop thread; `fd` may be given to fdatasync() by any.
 */
#ifndef PORTAL_ARENA_H
#define PORTAL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "mem.h"

#define ARENA_WHY_MAX  256
#define ARENA_SIZE_MIN ((uint64_t)(PORTAL_EXTENTS_MIN + 1) * PORTAL_EXTENT) /* of the file */
#define ARENA_SIZE_MAX (16ull << 30)

struct arena_config {
	const char *name;
	const char *path;    /* NULL: a memfd */
	uint64_t size;       /* of the file, label included: a multiple of PORTAL_EXTENT */
	uint32_t vsock_port; /* of a new arena */
	bool any_vsock_port; /* one that exists may have another */
};

struct arena {
	int fd;        /* read-write: what admitted clients get */
	int ro_fd;     /* the same, read-only */
	int lock_fd;   /* -1: a memfd needs none */
	uint8_t *file; /* where the whole file is mapped */
	uint8_t *base; /* where the arena is: file + PORTAL_LABEL_SIZE */
	uint64_t file_size;
	uint64_t size; /* of the arena */
	uint32_t n_extents;
	bool durable;        /* what is flushed is on a disk */
	bool fresh;          /* made just now: the tables are empty */
	bool copied;         /* it is a copy of another file: all leases in it are void */
	uint64_t generation; /* what the live page said at the start */
	uint64_t file_id;
	struct portal_head head; /* as it was checked */
	struct mem mem;
	char why[ARENA_WHY_MAX]; /* after a failure: in words */
};

/* Open or make it.  On success the generation and incarnation in the live page are this daemon's, and the arena runs (a
 * freeze found in a file is over).
 * On failure nothing is left open and a->why says what is wrong:
 * -EINVAL (size, name); -EEXIST (an arena of another name, size or vsock port); -EPROTONOSUPPORT (another version);
 * -EBADMSG (an arena whose head is damaged); -ENOTEMPTY (no arena, and not empty); -EBUSY (another daemon has it);
 * -ENODEV (no regular file: /dev/pmem0 is not coherent between machines); -ENOSPC, or what the system said. */
int arena_open(struct arena *a, const struct arena_config *c);
/* Zero-filled or failed is fine. */
void arena_close(struct arena *a);

/* Has somebody cut the file?  Then its bytes read as zeros here, and nothing written reaches it. */
bool arena_damaged(const struct arena *a);

/* Write the head, the label, and the words of the live page that tell copies apart again if somebody has changed them, so that guests that boot, clients that come and the next
 * daemon find an arena.  True: somebody had. */
bool arena_mend(struct arena *a);

static inline struct portal_live *arena_live(const struct arena *a)
{
	return (struct portal_live *)(void *)(a->base + PORTAL_LIVE_OFFSET);
}

static inline struct portal_lease *arena_leases(const struct arena *a)
{
	return (struct portal_lease *)(void *)(a->base + PORTAL_LEASES_OFFSET);
}

static inline struct portal_extent *arena_extents(const struct arena *a)
{
	return (struct portal_extent *)(void *)(a->base + PORTAL_EXTENTS_OFFSET);
}

static inline struct portal_name *arena_names(const struct arena *a)
{
	return (struct portal_name *)(void *)(a->base + PORTAL_NAMES_OFFSET);
}

static inline struct portal_lease_page *arena_page(const struct arena *a, uint32_t lease)
{
	return (struct portal_lease_page *)(void *)(a->base + PORTAL_PAGES_OFFSET +
						    (size_t)lease * PORTAL_PAGE);
}

/* Check a head against a file of file_size bytes: for whoever opens an arena.  `copy` is private memory.  0, or
 * -ENOTUNIQ (no arena: another magic), -EPROTONOSUPPORT, -EBADMSG; *ret_why then says it in words (static). */
int arena_check_head(const struct portal_head *copy, uint64_t file_size, const char **ret_why);

#endif
