/* SPDX-License-Identifier: MIT */
/* The place of a packed ring, in memory that outlives the process.
 *
 * A split ring tells in guest memory how far its device has come (used->idx).  A packed ring does not: its flags mean
 * something only to who knows the position and the wrap counter.  A frontend that lost its backend does not know them
 * either: QEMU sends as SET_VRING_BASE what it learned when the ring was last stopped in good order.  So the device
 * writes its place down, once for each batch that it publishes, and who comes after a `kill -9` goes on from there.
 *
 * A batch is published by many stores into the ring, of which the last one counts.  If the process dies between them,
 * descriptors that its successor would have to read are overwritten already.  So the batch is written down first, whole:
 *
 *	1. `batch` and `first`, then `word` with the number of chains: from here on the batch will be published
 *	2. the ring's entries, the first one last                     (vq_packed_publish())
 *	3. `word` with the new place, and no batch
 *
 * and a successor that finds a batch repeats 2 and 3.  Nothing here is per descriptor but the copy of 8 bytes in 1.
 *
 * A record may be older than the ring: the guest was started anew while nobody served it.  place_find() compares it with
 * the ring before it is believed: the same addresses, and the traces that we left there.  A ring that a driver has
 * just made has never had a USED flag.
 *
 * The memory is either a file of the port's own (struct places) or part of the region that a frontend keeps for us
 * (inflight.h).
 *
 * Trust:     whoever has the file can write to it.  Each number is read once and checked before it is used.
 * Threads:   the ring's.
 */
#ifndef VU_PLACE_H
#define VU_PLACE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "vring.h"

/* One pushed chain: as vq_push() has it. */
struct place_used {
	uint32_t head;
	uint32_t len;
};

/* The record of one ring.  All zeros: there is none.  Both ends are the same machine's, so integers are in host order. */
struct vq_place {
	uint64_t word; /* one store: PLACE_WORD() */
	uint64_t ring; /* the ring's address, as the frontend has it */
	uint32_t num;
	uint32_t padding;
	struct {
		uint64_t addr, state; /* what was in the ring; what we wrote there */
	} first[2];                /* the first entry of the last batch, and of the one at hand */
	struct place_used batch[]; /* num */
};
static_assert(sizeof(struct vq_place) == 56, "kept over a restart");

/* Positions are 16 bits, with the wrap counter in the highest: where the next used entry belongs, and where the last
 * batch began, if PLACE_HAS_PREV.  n chains are being published. */
#define PLACE_WORD(at, prev, n, flags) \
	((uint64_t)(at) | (uint64_t)(prev) << 16 | (uint64_t)(n) << 32 | (uint64_t)(flags) << 56)
#define PLACE_AT(word)    ((uint16_t)(word))
#define PLACE_PREV(word)  ((uint16_t)((word) >> 16))
#define PLACE_N(word)     ((uint16_t)((word) >> 32))
#define PLACE_FLAGS(word) ((unsigned)((word) >> 56))

#define PLACE_VALID    1u
#define PLACE_HAS_PREV 2u
#define PLACE_FIRST_1  4u /* first[1] is the last batch's, else first[0] */

static inline size_t place_size(uint32_t num)
{
	return (sizeof(struct vq_place) + num * sizeof(struct place_used) + 63) & ~(size_t)63;
}

/* The frontend knows the place: it was told. */
void place_forget(struct vq_place *p);

/* Compare the record with the ring of num entries at `ring`, and copy its word.  False: it is not this ring's. */
bool place_find(const struct vq_place *p, const struct vring_packed_desc *ring, uint64_t ring_uva,
		uint16_t num, uint64_t *ret_word);

/* Begin a record: the ring starts at `at`, of which nothing is to be told that the frontend does not know. */
void place_begin(struct vq_place *p, uint64_t ring_uva, uint16_t num, uint16_t at);

/* ---- a file of records -------------------------------------------------- */

struct places;

/* Map the file at `path`, made if there is none (mode 0600), with room for n_rings rings of any size; it is sparse.  What
 * is in a file of another layout is forgotten.  -EBUSY: another process has it; -EINVAL: n_rings; -ELOOP, -EISDIR,
 * -EACCES, ...: the path. */
int places_open(const char *path, unsigned n_rings, struct places **ret_places);
/* Leaves the file; NULL is legal. */
void places_close(struct places *p);
struct vq_place *places_ring(struct places *p, unsigned i);
/* Have the file system give what record i of a ring of num entries takes, so that no store into it fails.  To be called
 * before place_begin().  -ENOSPC, ...: the record must not be used. */
int places_reserve(struct places *p, unsigned i, uint32_t num);

#endif
