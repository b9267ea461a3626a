/* SPDX-License-Identifier: MIT */
/* What lies where in a portal: the format that VMs, host processes and the daemon share.
 *
 *	file      arena     what                                    written by
 *	0         -         label: zeros, and the devdax info block the daemon, once (label.h)
 *	2 MiB     0         extent 0: head, live page, tables       the daemon alone
 *	4 MiB     2 MiB     extent 1: one page for each lease       page i: the client that holds lease i
 *	6 MiB     4 MiB     extents 2, 3, ...: granted to leases    client/heap_layout.h, client/ring_format.h
 *
 * The label makes a guest that gets the file as virtio-pmem show it as /dev/dax0.0, which begins where the arena does.
 * Who maps the file (or a PCI BAR that holds all of it) finds the head at PORTAL_LABEL_SIZE.  Everything below counts
 * from the arena's base: offsets, never pointers.  Integers are little-endian and of fixed width; what is reserved is
 * zero and not looked at.
 *
 * What extent 0 says is the daemon's copy of what it knows privately: nobody can change the truth by writing here, only
 * what others believe.  Clients read it, the daemon reads it back once, when it is started anew over the same file.
 *
 * Trust: nothing read from an arena is trusted, by anyone.  A field is loaded once, with one atomic load, for one decision;
 *        what has more than one field is copied, checked, and used from the copy.  The geometry is checked when a
 *        client attaches, kept in its private memory, and not read again.  A client that may write can write anywhere:
 *        what others lose by it is what the checks leave them (SECURITY.md).
 */
#ifndef PORTAL_LAYOUT_H
#define PORTAL_LAYOUT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

#define PORTAL_MAGIC   "VHLPORTL" /* 8 bytes, no terminator */
#define PORTAL_VERSION 1          /* another one is another format: refused */

#define PORTAL_PAGE 4096u
#define PORTAL_EXTENT \
	(2u << 20) /* what is granted: a huge page of x86-64 and aarch64, and devdax's alignment */
#define PORTAL_LABEL_SIZE PORTAL_EXTENT /* of the file, before the arena */

#define PORTAL_EXTENTS_MAX 8192u /* 16 GiB */
#define PORTAL_EXTENTS_MIN 3u    /* the daemon's, the leases', and one to grant */
#define PORTAL_LEASES      256u
#define PORTAL_NAMES       1024u
#define PORTAL_NAME_MAX    64u /* of an object, terminator included */
#define PORTAL_LABEL_MAX   32u /* of an arena, a client, a lease: terminator included */

/* ---- owners ------------------------------------------------------------------ */

/* Who has something: a lease and its generation, in one word.
 *
 *	bits  0-15  id, the lease's place in the table
 *	bits 16-47  generation, counted up each time the id is given to a new lease; never 0
 *	bits 48-63  zero here; the lease table keeps its state there
 *
 * 0 is nobody.  An owner word is alive while the lease table's word for its id is the same with PORTAL_LEASE_LIVE. */
#define PORTAL_OWNER_BITS 48
#define PORTAL_OWNER_MASK ((1ULL << PORTAL_OWNER_BITS) - 1)

static inline uint64_t portal_owner(uint32_t id, uint32_t generation)
{
	return (uint64_t)generation << 16 | (id & 0xffff);
}

static inline uint32_t portal_owner_id(uint64_t owner)
{
	return owner & 0xffff;
}

static inline uint32_t portal_owner_generation(uint64_t owner)
{
	return (uint32_t)(owner >> 16);
}

/* Could it name a lease?  (Not: does it.) */
static inline bool portal_owner_valid(uint64_t owner)
{
	return owner >> PORTAL_OWNER_BITS == 0 && portal_owner_id(owner) < PORTAL_LEASES &&
	       portal_owner_generation(owner) != 0;
}

/* ---- extent 0, page 0: the head ---------------------------------------------- */

/* Features of the format.  A client that does not know an `incompat` bit must not attach; one that does not know an
 * `ro_compat` bit may attach to read. */
#define PORTAL_INCOMPAT_KNOWN  0ULL
#define PORTAL_RO_COMPAT_KNOWN 0ULL

/* Written when the arena is made, and never again: `crc` covers it all. */
struct portal_head {
	uint8_t magic[8];
	le32_t version;
	le32_t head_size; /* sizeof(struct portal_head) */
	le64_t incompat, ro_compat, compat;
	le64_t arena_size; /* n_extents * PORTAL_EXTENT */
	uint8_t uuid[16];
	char name[PORTAL_LABEL_MAX]; /* terminated, and zeros to the end */
	le32_t extent_size;          /* PORTAL_EXTENT */
	le32_t n_extents;
	le32_t n_leases;
	le32_t n_names;
	le64_t live_offset, leases_offset, extents_offset, names_offset, pages_offset;
	le32_t vsock_port; /* where CID 2 serves leases to guests; 0: nowhere */
	le32_t reserved[4];
	le32_t crc; /* CRC-32C of the bytes before it */
};
static_assert(sizeof(struct portal_head) == 176, "the head's layout");
static_assert(offsetof(struct portal_head, uuid) == 48, "the head's layout");
static_assert(offsetof(struct portal_head, live_offset) == 112, "the head's layout");

/* Version 1 has its tables here; the head says so, and a reader refuses a head that says otherwise. */
#define PORTAL_LIVE_OFFSET    0x1000u
#define PORTAL_LEASES_OFFSET  0x2000u
#define PORTAL_EXTENTS_OFFSET 0xa000u
#define PORTAL_NAMES_OFFSET   0x2a000u
#define PORTAL_PAGES_OFFSET   PORTAL_EXTENT

/* ---- extent 0, page 1: what changes ------------------------------------------- */

/* Quiescence is one word: epoch << 8 | state.  The epoch counts quiesces; it goes up with RUNNING -> DRAINING. */
enum portal_quiesce_state {
	PORTAL_RUNNING = 0,
	PORTAL_DRAINING = 1, /* finish what is begun, claim nothing new, acknowledge the epoch */
	PORTAL_FROZEN = 2,   /* nobody who acknowledged writes anything */
};
#define PORTAL_QUIESCE(epoch, state) ((uint64_t)(epoch) << 8 | (uint64_t)(state))
#define PORTAL_QUIESCE_EPOCH(word)   ((uint64_t)(word) >> 8)
#define PORTAL_QUIESCE_STATE(word)   ((unsigned)((word)&0xff))

struct portal_live {
	le64_t generation; /* of the arena: goes up when it is made anew, and with each restore of a copy */
	le64_t incarnation; /* of the daemon: goes up with each of its starts */
	le64_t quiesce;     /* PORTAL_QUIESCE() */
	le32_t durable;     /* 1: flushed data outlives the host's power; 0: memory alone */
	le32_t flush_error; /* errno of the flush that failed: no flush succeeds any more; 0: none did */
	le64_t flushes; /* fdatasync() calls that succeeded */
	le32_t leases_live;
	le32_t names_used;
	le32_t extents_free;
	le32_t extents_quarantined;
	le64_t leases_recovered; /* leases whose end has been cleaned up after */
	le64_t extents_recovered;
	le64_t file_id; /* of the file this was written in: a copy of it has another, and is a new generation */
	le64_t reserved[6];
};
static_assert(sizeof(struct portal_live) == 128, "the live page's layout");
static_assert(offsetof(struct portal_live, quiesce) % 8 == 0, "one load");

/* ---- extent 0: leases ---------------------------------------------------------- */

/* The state and the owner in one word: PORTAL_LEASE_WORD().  Only a LIVE lease's client may claim anything.
 *
 *	FREE -> LIVE          HELLO; the generation is one more than the last
 *	LIVE -> LOST          the connection ended: by its death, or because the daemon was started anew
 *	LOST -> LIVE          the client came back in time
 *	LOST -> RECOVERING    it did not: what it had is being taken back
 *	RECOVERING -> FREE    done; the word keeps the generation
 */
enum portal_lease_state {
	PORTAL_LEASE_FREE = 0,
	PORTAL_LEASE_LIVE = 1,
	PORTAL_LEASE_LOST = 2,
	PORTAL_LEASE_RECOVERING = 3,
};
#define PORTAL_LEASE_WORD(owner, state) ((uint64_t)(state) << PORTAL_OWNER_BITS | (owner))
#define PORTAL_LEASE_STATE(word)        ((unsigned)((word) >> PORTAL_OWNER_BITS))
#define PORTAL_LEASE_OWNER(word)        ((word)&PORTAL_OWNER_MASK)

enum portal_mode { PORTAL_READ_ONLY = 0, PORTAL_READ_WRITE = 1 };

struct portal_lease {
	le64_t word;
	le64_t kernel; /* which kernel it runs on: futexes wake within one.  A client's claim */
	le32_t mode;
	le32_t extents; /* that it has */
	le32_t quota;   /* that it may have */
	le32_t reserved_word;
	char client[PORTAL_LABEL_MAX]; /* as the daemon's configuration calls it: the socket says who it is */
	char name[PORTAL_LABEL_MAX]; /* as it calls itself, in printable ASCII */
	le64_t reserved[4];
};
static_assert(sizeof(struct portal_lease) == 128, "the lease table's layout");

/* ---- extent 0: extents --------------------------------------------------------- */

/* What an extent is for.  A grant is a run of extents, given and taken back as a whole. */
enum portal_extent_kind {
	PORTAL_EXTENT_FREE = 0,
	PORTAL_EXTENT_SYSTEM = 1,     /* 0 and 1 */
	PORTAL_EXTENT_SEGMENT = 2,    /* one extent of a heap, cut into blocks */
	PORTAL_EXTENT_HUGE = 3,       /* one object */
	PORTAL_EXTENT_QUARANTINE = 4, /* a daemon started anew could not tell whose it is */
};

/* `what` in one word: kind, the distance to the first extent of the grant, the grant's length, and a serial that goes up
 * each time the extent is granted.
 *
 * To change an entry the daemon stores owner 0, then `what`, then the owner, each with release.  To read one: owner
 * (acquire), what (acquire), owner again; if the owner is 0 or has changed there is no grant to be relied on. */
#define PORTAL_WHAT(kind, back, run, serial)                                \
	((uint64_t)(kind) | (uint64_t)(back) << 8 | (uint64_t)(run) << 24 | \
	 (uint64_t)((serial)&0xffffff) << 40)
#define PORTAL_WHAT_KIND(what)   ((unsigned)((what)&0xff))
#define PORTAL_WHAT_BACK(what)   ((unsigned)((what) >> 8 & 0xffff))
#define PORTAL_WHAT_RUN(what)    ((unsigned)((what) >> 24 & 0xffff))
#define PORTAL_WHAT_SERIAL(what) ((unsigned)((what) >> 40))

struct portal_extent {
	le64_t owner;
	le64_t what;
};
static_assert(sizeof(struct portal_extent) == 16, "the extent table's layout");

/* ---- extent 0: names ------------------------------------------------------------ */

/* The type of a named object; from PORTAL_TYPE_USER on they are the users' own. */
enum portal_type {
	PORTAL_TYPE_NONE = 0, /* the entry is free */
	PORTAL_TYPE_BYTES = 1,
	PORTAL_TYPE_RING = 2,
	PORTAL_TYPE_USER = 0x10000,
};

/* A reader: seq (acquire; odd: being changed, again), copies, fence, seq the same.  Names lie in any order, each at most
 * once; an entry never moves. */
struct portal_name {
	le32_t seq;
	le32_t type;
	le64_t offset, len; /* bytes, of extents that `owner` had when it published them */
	le64_t owner;
	le64_t generation; /* counts publications in this arena: never the same twice */
	char name[PORTAL_NAME_MAX];
	le64_t reserved[3];
};
static_assert(sizeof(struct portal_name) == 128, "the name table's layout");

static_assert(PORTAL_LIVE_OFFSET + sizeof(struct portal_live) <= PORTAL_LEASES_OFFSET, "disjoint");
static_assert(PORTAL_LEASES_OFFSET + PORTAL_LEASES * sizeof(struct portal_lease) ==
		      PORTAL_EXTENTS_OFFSET,
	      "disjoint");
static_assert(PORTAL_EXTENTS_OFFSET + PORTAL_EXTENTS_MAX * sizeof(struct portal_extent) ==
		      PORTAL_NAMES_OFFSET,
	      "disjoint");
static_assert(PORTAL_NAMES_OFFSET + PORTAL_NAMES * sizeof(struct portal_name) <= PORTAL_EXTENT,
	      "disjoint");

/* ---- extent 1: the leases' pages -------------------------------------------------- */

/* Page i is written by the client of lease i and by nobody else; the daemon clears it before the lease goes LIVE. */
struct portal_lease_page {
	le64_t owner; /* who writes here */
	le64_t ack_epoch; /* the last quiesce that it has come to rest for: for when ACK cannot be sent */
	uint8_t reserved[PORTAL_PAGE - 16];
};
static_assert(sizeof(struct portal_lease_page) == PORTAL_PAGE, "one page, one writer");
static_assert(PORTAL_PAGES_OFFSET + PORTAL_LEASES * PORTAL_PAGE <= 2 * PORTAL_EXTENT,
	      "in extent 1");

#endif
