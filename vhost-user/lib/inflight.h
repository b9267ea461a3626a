/* SPDX-License-Identifier: MIT */
/* The region in which a frontend keeps for us what must outlive us (GET_INFLIGHT_FD, SET_INFLIGHT_FD).
 *
 * The specification lays out a table of descriptors for each ring, for devices that finish them in any order, and says
 * itself that one that works in order needs none: what is in flight is what lies between the used and the available
 * place, and these can be read from the ring.  Our devices that offer INFLIGHT_SHMFD work in order (device.h).  So the
 * tables are there, sound and empty, and nothing is written to them for a descriptor:
 *
 *	split    nothing at all: the used index in guest memory is the place
 *	packed   the place, for a backend of another make; and behind all tables, for one of ours, a record (place.h)
 *
 *	+--------------+-----+--------------+---------------+----------------+-----+----------------+
 *	| queue region | ... | queue region | inflight_mark | struct vq_place   | ... | struct vq_place   |
 *	+--------------+-----+--------------+---------------+----------------+-----+----------------+
 *	  each aligned to 64 bytes                            rings of queue_size entries
 *
 * The memory is a memfd of ours, sealed against a change of size; nothing of it is kept here until the frontend gives it
 * back.  A region without the mark was not made by us and is refused: descriptors in flight there would be lost.
 *
 * Trust:     what comes back may be any file with any content.  File, size and offset are judged and mapped as guest
 *            memory is (mem.c); numbers in it are read once and checked by who uses them.
 * Ownership: descriptors passed in are this module's from the call on.
 */
#ifndef VU_INFLIGHT_H
#define VU_INFLIGHT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"
#include "place.h"

#define INFLIGHT_VERSION 1 /* of the specification's layout */
#define INFLIGHT_ALIGN   64u

struct inflight_desc_split {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
static_assert(sizeof(struct inflight_desc_split) == 16, "vhost-user: DescStateSplit");

struct inflight_split {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc_split desc[];
};
static_assert(sizeof(struct inflight_split) == 16, "vhost-user: QueueRegionSplit");

struct inflight_desc_packed {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next; /* free entry */
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
static_assert(sizeof(struct inflight_desc_packed) == 32, "vhost-user: DescStatePacked");

struct inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[7];
	struct inflight_desc_packed desc[];
};
static_assert(offsetof(struct inflight_packed, used_wrap_counter) == 20,
	      "vhost-user: QueueRegionPacked");
static_assert(offsetof(struct inflight_packed, desc) == 32, "vhost-user: QueueRegionPacked");

/* What a frontend says of a region, and asks for. */
struct inflight_shape {
	uint16_t n_queues;
	uint16_t queue_size;
	bool packed;
};

struct inflight {
	struct mem map; /* the region, at address 0; none: no frontend has given one */
	struct inflight_shape shape;
};

/* *in must stay where it is until inflight_done(). */
void inflight_init(struct inflight *in);
void inflight_done(struct inflight *in);

/* Forget the region. */
void inflight_drop(struct inflight *in);

/* Bytes of a region; at most a few hundred million. */
uint64_t inflight_size(const struct inflight_shape *shape);

/* A fresh region.  *ret_fd is the caller's.  -EINVAL: no queues, or more than max_queues, or a queue size that cannot
 * be; -ENOMEM, -EMFILE, ...: memfd_create(), ftruncate(). */
int inflight_make(const struct inflight_shape *shape, unsigned max_queues, int *ret_fd);

/* Take a region back: `size` bytes at `offset` of the file.  The one before is dropped in any case.
 * -EINVAL: as above, or too small, or not aligned, or not ours; or what mem_set_table() says. */
int inflight_take(struct inflight *in, const struct inflight_shape *shape, unsigned max_queues,
		  int fd, uint64_t size, uint64_t offset);

/* What ring `index` of num entries may use: both are NULL without a region, for a ring that it has no room for, and but
 * for the record for a split ring.  -EINVAL: the region was sized for fewer entries, or for the other format. */
int inflight_ring(const struct inflight *in, unsigned index, uint32_t num, bool packed,
		  struct vq_place **ret_place, struct inflight_packed **ret_packed);

#endif
