/* SPDX-License-Identifier: MIT */
/* The guest's side of a virtqueue, for tests: guest memory out of memfds, and a driver for either format of ring.
 *
 *	struct guest g;
 *	struct driver d;
 *	guest_init(&g, 1, 4 << 20);
 *	driver_init(&d, &g, 256, features);
 *	mem_init(&mem), guest_share(&g, &mem);         or guest_table() and a SET_MEM_TABLE message
 *	driver_params(&d, &params), vq_start(&vq, &mem, &params);
 *	driver_add(&d, bufs, n_out, n_in), driver_publish(&d);
 *	... the device works ...
 *	while ((head = driver_used(&d, &len)) >= 0) ...
 *
 * It behaves by the rules and may run in a thread of its own.  A hostile driver writes through d->desc, d->avail and
 * d->used, or d->ring, and driver_raw_*(), instead.  All of it aborts with a message when something fails that cannot fail.
 */
#ifndef TEST_DRIVER_H
#define TEST_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "mem.h"
#include "vq.h"
#include "vring.h"

#define GUEST_MAX_REGIONS 4
#define GUEST_GPA         0x100000ULL /* the first region's; the others follow without a gap */
#define GUEST_UVA \
	0x7f0000000000ULL /* the first region's; the others follow, each GUEST_UVA_STEP further */
#define GUEST_UVA_STEP 0x100000000ULL

/* Contiguous for the guest and in `va`; several files, and so several regions, for the device. */
struct guest {
	unsigned n_regions;
	size_t region_size;
	size_t used; /* bytes given out by guest_alloc() */
	uint8_t *va;
	bool shared_address; /* va is the device's mapping, not ours */
	int fd[GUEST_MAX_REGIONS];
};

/* n regions of region_size bytes (a multiple of the page size), all zeros. */
void guest_init(struct guest *g, unsigned n_regions, size_t region_size);
void guest_done(struct guest *g);

/* Take memory; align is a power of two.  Never given back. */
gpa_t guest_alloc(struct guest *g, size_t size, size_t align);

/* Our pointer to guest memory; aborts when [addr, addr+len) is not in it. */
void *guest_ptr(const struct guest *g, gpa_t addr, size_t len);
uva_t guest_uva(const struct guest *g, gpa_t addr);

/* Describe the regions for a message; *ret_fds are duplicates that the caller owns.  Returns the number of regions. */
unsigned guest_table(const struct guest *g, struct mem_region_desc ret[GUEST_MAX_REGIONS],
		     int ret_fds[GUEST_MAX_REGIONS]);

/* The same, straight into a memory table. */
void guest_share(const struct guest *g, struct mem *m);

/* Share the memory, and let the driver work through the device's own mapping (one region only; before driver_init()).
 * The thread sanitizer knows memory by its address: only so it sees that both sides touch the same. */
void guest_share_address(struct guest *g, struct mem *m);

struct driver_buf {
	gpa_t addr;
	uint32_t len;
};

/* Beside each head: a descriptor's index in a split ring, a buffer id in a packed one. */
struct driver_slot {
	uint16_t n_desc; /* descriptors of the chain that starts here, 0: none */
	uint16_t next;   /* packed: list of free ids */
	bool writable;   /* the chain has room to write into */
	void *cookie;    /* the test's own, see driver_cookie() */
};

/* A place in a packed ring. */
struct driver_pos {
	uint16_t idx;
	bool wrap;
};

struct driver {
	struct guest *guest;
	uint16_t num;
	uint64_t features;
	bool event_idx, packed, in_order;
	union {
		struct { /* split */
			struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
		};
		struct { /* packed */
			struct vring_packed_desc *ring;
			le32_t *driver_event;
			le32_t *device_event;
		};
	};
	gpa_t desc_gpa, avail_gpa, used_gpa;
	gpa_t tables;       /* room for one indirect table of DRIVER_TABLE entries per head */
	uint16_t avail_idx; /* next to be published; ahead of avail->idx until then */
	uint16_t kick_idx;  /* avail->idx at the last driver_wants_kick() */
	uint16_t last_used;
	uint16_t free_head; /* the head that the next chain will have */
	uint16_t n_free;
	uint16_t free_tail; /* in order: what is freed goes here, so that descriptors are used in ring order */
	uint16_t *order; /* in order: the outstanding heads, n_out of them from order[first % num] on */
	uint32_t first, n_out;
	bool in_batch;       /* in order: more chains are used by the entry that was read last, */
	uint16_t batch_last; /* up to this one, */
	uint32_t batch_len;  /* which has this length */
	struct driver_pos avail_at, first_at,
		used_at;      /* packed: next to fill; first not published; next to reclaim */
	uint64_t first_state; /* what publishes at first_at */
	uint32_t n_unpublished, n_unkicked; /* entries */
	int kick_fd, call_fd;               /* eventfds, non-blocking, owned */
	struct driver_slot *slot;
};

#define DRIVER_TABLE 64

/* A ring of num entries in fresh guest memory.  Of the features RING_PACKED, EVENT_IDX, INDIRECT_DESC and IN_ORDER
 * count. */
void driver_init(struct driver *d, struct guest *g, uint16_t num, uint64_t features);
void driver_done(struct driver *d);

/* Where the ring is, as the messages would say it.  base is where the driver looks for the next used chain. */
void driver_params(const struct driver *d, struct vq_params *ret);

/* Put a chain into the ring, not yet visible: bufs[0..n_out) for the device to read, then n_in to write.  Returns the
 * head, or -ENOSPC. */
int driver_add(struct driver *d, const struct driver_buf *bufs, unsigned n_out, unsigned n_in);

/* The same with one indirect descriptor (at most DRIVER_TABLE buffers). */
int driver_add_indirect(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
			unsigned n_in);

/* A pointer of the test's own beside each outstanding head. */
void driver_set_cookie(struct driver *d, int head, void *cookie);
void *driver_cookie(const struct driver *d, int head);

/* Make all added chains visible, by one store. */
void driver_publish(struct driver *d);

/* Does the device want to hear of what was published since the last call of this? */
bool driver_wants_kick(struct driver *d);

/* driver_publish(), then write the kick descriptor if wanted; true if written. */
bool driver_kick(struct driver *d);

/* Take one used chain back: its head and the length the device gave, or -EAGAIN.  Aborts on a head that is not
 * outstanding.  In order: chains that a used entry stands for besides its own come with length 0; aborts if one of them
 * had room to write into. */
int driver_used(struct driver *d, uint32_t *ret_len);

/* No calls wanted; calls wanted (true: something is used already); calls counted since the last time this was asked. */
void driver_call_off(struct driver *d);
bool driver_call_on(struct driver *d);
uint64_t driver_calls(struct driver *d);
uint64_t driver_kicks(struct driver *d);

/* For scripts that break the rules. */
void driver_raw_desc(struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next);
void driver_raw_avail(struct driver *d, uint16_t head); /* one entry, and publish */

/* One entry of a packed ring, available in the first lap unless the flags say otherwise. */
#define DRIVER_RAW_NOT_AVAIL (1u << 16)
void driver_raw_packed(struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t id,
		       uint32_t flags);

#endif
