/* SPDX-License-Identifier: MIT */
/* Records of COPY: their bytes, and the order in which they may come.  Pure: no I/O, no allocation.
 *
 * A tree is told as it is walked; a name is one component, and what it is within is what has been entered and not left:
 *
 *      ENTRY directory "a"   ENTRY file "b"  EXTENT…  HASH   ENTRY symlink "c"   LEAVE   END        a/b, a/c
 *
 *      ENTRY   kind u32, mode u32, size u64, mtime i64 s, u32 ns, uid u32, gid u32, name length u16, target length u16; name, target
 *      EXTENT  offset u64, then the bytes.  Offsets rise; what no extent covers is a hole
 *      HASH    size u64, XXH64 u64 (seed 0) over the bytes of all extents in order; the file ends, and is `size` long
 *      LEAVE   the directory entered last is done        END  the root is done
 *      RESULT  errno u32 (Linux's numbers), text.  From the receiver, once: 0 after END when all is in place.  From either
 *              at any time: it has given up
 *
 * All numbers little-endian.  The root's name may be empty: a directory's contents are meant.
 *
 * Trust: what the decoders let through is safe to use as it is: a name is not "." or "..", has no slash and no NUL. */
#ifndef ORCHESTRATOR_AGENT_COPY_WIRE_H
#define ORCHESTRATOR_AGENT_COPY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/protocol.h"

#define COPY_NAME_MAX   255  /* NAME_MAX of Linux, in bytes */
#define COPY_TARGET_MAX 4095 /* PATH_MAX without the NUL */
#define COPY_DEPTH_MAX \
	200 /* directories in each other: each is an open descriptor at the receiver */

#define COPY_ENTRY_FIXED 40
#define COPY_ENTRY_MAX   (COPY_ENTRY_FIXED + COPY_NAME_MAX + COPY_TARGET_MAX)
#define COPY_EXTENT_HEAD 8
#define COPY_EXTENT_MAX  (512l * 1024) /* bytes of a file that the sender puts into a record */
#define COPY_HASH_SIZE   16
#define COPY_RESULT_HEAD 4
#define COPY_RESULT_MAX  512

enum copy_kind {
	COPY_FILE = 1,
	COPY_DIRECTORY = 2,
	COPY_SYMLINK = 3,
};

struct copy_entry {
	enum copy_kind kind;
	uint32_t mode; /* permissions, set-ID and sticky bits */
	uint32_t uid, gid;
	uint64_t size; /* what the sender expects: for displays only */
	int64_t mtime_s;
	uint32_t mtime_ns;
	char name[COPY_NAME_MAX + 1];
	char target[COPY_TARGET_MAX + 1]; /* of a symlink, else "" */
};

/* Returns the size of the body written to OUT. */
size_t copy_entry_put(uint8_t out[COPY_ENTRY_MAX], const struct copy_entry *entry);
/* Returns 0, or -EBADMSG: lengths that do not add up, an unknown kind, a mode or time out of range, a bad name. */
int copy_entry_get(const uint8_t *body, size_t size, struct copy_entry *ret_entry);

/* Is this a name that the receiver will take below a root? */
bool copy_name_valid(const char *name, size_t len);

void copy_u64_put(uint8_t out[8], uint64_t value);
uint64_t copy_u64_get(const uint8_t in[8]);
void copy_u32_put(uint8_t out[4], uint32_t value);
uint32_t copy_u32_get(const uint8_t in[4]);

/* The receiver's place in the stream. */
struct copy_order {
	enum {
		COPY_AT_ROOT, /* an ENTRY must come */
		COPY_IN_DIRECTORY,
		COPY_IN_FILE,
		COPY_AT_END, /* END must come */
		COPY_DONE,
	} state;
	unsigned depth;  /* directories entered */
	uint64_t offset; /* in the file: where the last extent ended */
};

/* May a record of this header come now?  Sizes of all but ENTRY are checked here, too.
 * Returns 0, -EBADMSG. */
int copy_order_check(const struct copy_order *order, const struct agent_header *header);
/* It came, was read, and is taken note of.  Returns 0, -EBADMSG (an empty name below the root), -ELOOP (too deep). */
int copy_order_entry(struct copy_order *order, const struct copy_entry *entry);
/* Returns 0; -EBADMSG, an offset that does not rise, or an end that no file has. */
int copy_order_extent(struct copy_order *order, uint64_t offset, uint64_t len);
int copy_order_hash(struct copy_order *order, uint64_t size);
void copy_order_leave(struct copy_order *order);
void copy_order_end(struct copy_order *order);

#endif
