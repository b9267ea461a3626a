/* SPDX-License-Identifier: MIT */
/* A virtqueue from the device's side, in bursts.
 *
 * The driver makes chains of buffers available; the device pops them, reads or fills them, and pushes them back as
 * used.  Which of the two ring formats lies below (vq_split.c, vq_packed.c) does not show.  The canonical loop of a
 * device that polls:
 *
 *	n = vq_pop(vq, &burst, VQ_BURST);
 *	if (n < 0)
 *		stop the queue and tell: vq_cause_name(vq->cause)
 *	for each chain: work, vq_push(vq, chain->head, bytes_written);
 *	vq_publish(vq);                  one release store for all of them
 *	vq_call(vq);                     at most one eventfd write
 *
 * and before it sleeps:
 *
 *	if (vq_kick_on(vq))              more came in while arming
 *		vq_kick_off(vq) and go on;
 *
 * Trust:     the ring, the descriptors and the buffers lie in guest memory, and the guest may change them at any time.
 *            Each index and each descriptor is read once into private memory, checked there, and used from there.  What
 *            a chain hands out has been checked: every iovec lies inside mapped guest memory, none is empty, all
 *            readable ones come first, the sums fit 32 bits.  The *bytes* behind an iovec still belong to the guest:
 *            copy a header before looking at it twice.
 *            The call descriptor's file is shared with the frontend.  It is made non-blocking here, but a frontend could
 *            undo that, fill its counter, and let our next call wait: the kernel has no write to an eventfd that
 *            cannot.  Where a signal ends that wait (loop_guard()), *blocked is set, and no call is made while it
 *            is: of all rings of one frontend, one call waits.
 * Ownership: a chain's iovecs point into guest memory and live until the burst is used again, or the memory table
 *            changes, whatever comes first.  The call descriptor is the caller's.
 * Threads:   one thread per virtqueue.
 * Cost:      no allocation, no log, no system call but the eventfd write in vq_call().  vq_start() and vq_stop() allocate
 *            and free for a ring whose writes are logged.
 *
 * With VIRTIO_F_IN_ORDER chains are pushed in the order in which they were popped, and a batch of them is shown by one
 * used entry, that of its last chain, where nothing is lost by that: the driver takes the others for used from end to
 * end, so a chain with room to write into is never left out.
 */
#ifndef VU_VQ_H
#define VU_VQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "addr.h"
#include "base.h"
#include "dirtylog.h"
#include "mem.h"
#include "place.h"
#include "vring.h"

/* Largest ring: virtio 1.3, 2.7: "The maximum Queue Size value is 32768". */
#define VQ_MAX_NUM 32768

/* Chains handled in one go: enough to spread the cost of a publication, few enough that a burst's headers stay in the
 * first-level cache. */
#define VQ_BURST 64

/* Pieces of memory in one burst, and so the longest chain: QEMU's own limit (VIRTQUEUE_MAX_SIZE) for a chain is 1024. A
 * descriptor that crosses a border between regions takes two. */
#define VQ_BURST_IOVS 1024

/* One buffer chain: iov[0..n_out) is for the device to read, iov[n_out..n_out+n_in) to write. */
struct vq_chain {
	uint32_t head; /* its name in vq_push(): all 32 bits, whose meaning is the format's */
	uint16_t n_out;
	uint16_t n_in;
	uint32_t out_len; /* bytes in all readable parts */
	uint32_t in_len;  /* bytes in all writable parts */
	struct iovec *iov;
};

/* What one vq_pop() fetched.  18 KiB: a static or heap object, not one for the stack of a deep call. */
struct vq_burst {
	unsigned n;
	struct vq_chain chain[VQ_BURST];
	struct iovec iov[VQ_BURST_IOVS];
};

/* Why a virtqueue is broken. */
#define VQ_CAUSES(X)                                                          \
	X(VQ_OK, "ok")                                                        \
	X(VQ_AVAIL_JUMP, "more made available than the ring has entries")     \
	X(VQ_HEAD_RANGE, "head index or buffer id outside the ring")          \
	X(VQ_NEXT_RANGE, "next index outside the descriptor table")           \
	X(VQ_CHAIN_LOOP, "chain has more descriptors than its table")         \
	X(VQ_CHAIN_LONG, "chain has more pieces than a burst can hold")       \
	X(VQ_CHAIN_SIZE, "chain has 4 GiB or more")                           \
	X(VQ_ZERO_LEN, "descriptor of no length")                             \
	X(VQ_UNMAPPED, "descriptor outside guest memory")                     \
	X(VQ_ORDER, "readable descriptor behind a writable one")              \
	X(VQ_INDIRECT_OFF, "indirect descriptor without the feature")         \
	X(VQ_INDIRECT_NEXT, "indirect descriptor linked by a next flag")      \
	X(VQ_INDIRECT_NESTED, "indirect descriptor inside an indirect table") \
	X(VQ_INDIRECT_SIZE, "indirect table of a bad length")

enum vq_cause {
#define X(name, text) name,
	VQ_CAUSES(X)
#undef X
		VQ_CAUSE_COUNT
};

/* For log lines and counters: a constant string. */
const char *vq_cause_name(enum vq_cause cause);

/* How a ring is set up, from SET_VRING_NUM, _ADDR, _BASE, _CALL and the negotiated features. */
struct vq_params {
	uint32_t num; /* entries, up to VQ_MAX_NUM; a power of two in a split ring */
	uva_t desc, avail,
		used;  /* packed: the ring, the driver's and the device's event suppression */
	uint32_t base; /* where to begin, as SET_VRING_BASE says it: see vq_stop() */
	uint64_t features; /* VIRTIO_F_RING_PACKED, _IN_ORDER, VIRTIO_RING_F_EVENT_IDX and _INDIRECT_DESC count */
	int call_fd; /* eventfd or -1; borrowed; set to O_NONBLOCK */
	bool *blocked; /* shared by the frontend's rings: it let a call wait; NULL: nobody wants to know */

	/* A packed ring's record (place.h), and the same for who comes after us and is of another make; NULL: none. */
	struct vq_place *place;
	struct inflight_packed *inflight;

	/* Where writes to guest memory are logged; NULL: nowhere.  log_used: also those to the used ring (packed: to
	 * the ring and to our event suppression), whose first byte counts as used_gpa. */
	struct dirtylog *log;
	bool log_used;
	gpa_t used_gpa;
};

/* A head is the descriptor's index or the buffer id; under VIRTIO_F_IN_ORDER this bit says that the chain has room to
 * write into; above it is the format's. */
#define VQ_HEAD_ID(head) ((uint16_t)((head)&0x7fff))
#define VQ_HEAD_WRITABLE 0x8000u

struct vq_used {
	uint32_t head;
	uint32_t len;
};

/* Fields are for vq*.c, but for `cause` (reading) and those that the functions below use.  All zeros: not started. */
struct vq {
	const struct mem *mem;
	union {
		struct {
			const struct vring_desc *desc;
			const struct vring_avail *avail;
			struct vring_used *used;
			const le16_t *used_event; /* behind the avail ring: driver → us */
			le16_t *avail_event;      /* behind the used ring: us → driver */
		};
		struct {
			struct vring_packed_desc *ring;
			const le32_t *driver_event; /* driver → us */
			le32_t *device_event;       /* us → driver */
			uint64_t first_state; /* of the first entry written and not published */
			uint32_t event;       /* what *device_event says */
			bool avail_wrap;      /* the wrap counters of last_avail, */
			bool used_wrap;       /* of used_idx, */
			bool write_wrap;      /* and of write_idx */
			uint16_t write_idx;   /* used_idx and n_written further */
			struct vq_place *place;
			struct inflight_packed *inflight;
			uint64_t place_word; /* what place->word says when no batch is at hand */
			uint16_t n_batch;    /* chains in place->batch */
			uint16_t n_popped;   /* chains of the last vq_pop() */
			uint16_t popped[VQ_BURST]; /* and how many entries each has */
		};
	};
	uint16_t num;
	uint16_t mask;
	uint16_t last_avail; /* next available index to pop; packed: position in the ring */
	uint16_t seen_avail; /* the driver's index when last read */
	uint16_t used_idx;   /* next used index to publish; packed: position in the ring */
	/* These three count chains; in a packed ring, the entries that these take. */
	uint16_t in_flight;  /* popped, neither published nor given back */
	uint16_t n_written;  /* in the ring, not yet published */
	uint64_t n_uncalled; /* published since the last vq_call() */
	uint16_t n_staged;   /* chains pushed, not yet in the ring */
	bool packed;
	bool event_idx;
	bool indirect;
	bool in_order;
	bool call_any; /* call whatever the event index says: none was sent since the start */
	bool started;
	enum vq_cause cause;
	unsigned hint;       /* region of the last buffer */
	unsigned table_hint; /* region of the last indirect table */
	uint32_t generation; /* of *mem, when the pointers above were made */
	int call_fd;
	bool *blocked;
	struct vq_dirty *dirty; /* NULL: writes are not logged */
	struct vq_used staged[VQ_BURST] __attribute__((aligned(CACHE_LINE)));
};

/* Start a ring: find its three parts in guest memory, and ask the driver for kicks (it may have been told not to send
 * them by a predecessor that died).  Something may be available already: poll once.  *mem must outlive the ring and not
 * change while it runs.
 *
 * Where it goes on: a split ring at its used index, as guest memory has it.  Nothing is in flight at a start, so base says
 * the same, or is that of a frontend that has not heard of what a predecessor did before it died.  A packed ring goes on
 * at its record's place if there is one, else at base.
 * Returns 0; -EINVAL (num, base or alignment); -EFAULT (a part lies outside guest memory); -ENOMEM (logging). */
int vq_start(struct vq *vq, const struct mem *mem, const struct vq_params *p);

/* Stop: publish what was pushed, give back what was popped and not pushed, forget the pointers.  What is given back is
 * what is popped next only if chains were pushed in the order they were popped: a device that does otherwise pushes all
 * of them first.  Does not call.  Legal on a ring that is not started (*ret_base 0).
 *
 * *ret_base is what GET_VRING_BASE answers and SET_VRING_BASE will say: the next available index, 16 bits; for a packed
 * ring the available position in bits 0-14 with its wrap counter in bit 15, and the used position in bits 16-31 alike.
 * Nothing is in flight in a stopped ring, so the two are equal, and vq_start() looks at the first alone: DPDK's
 * frontend leaves the other half 0. */
void vq_stop(struct vq *vq, uint32_t *ret_base);

/* Change the call descriptor of a running ring (drivers mask and unmask their vectors any time); -1 for none.  The old
 * one is not closed.  The next vq_call() with something new to tell writes in any case, since a call that the old
 * descriptor swallowed cannot be known. */
void vq_set_call(struct vq *vq, int fd);

/* Fetch up to max (at most VQ_BURST) chains into *b.  Returns b->n, which is fewer when no more are available or the
 * iovecs run out, 0 when there is none; -EBADMSG: the ring is broken, for vq->cause, and stays so until it is started
 * anew.  Chains in front of a bad one are handed out first. */
int vq_pop(struct vq *vq, struct vq_burst *b, unsigned max);

/* Give the n chains popped last back, unused: the next vq_pop() fetches them again.  Only those of the last vq_pop(),
 * and none that was pushed. */
void vq_unpop(struct vq *vq, unsigned n);

/* Move staged entries into the used ring without telling the driver. */
void vq_write_staged(struct vq *vq);

/* Return a chain, with the bytes written into it (0 for one that was read).  The driver sees it at vq_publish(). */
static inline void vq_push(struct vq *vq, uint32_t head, uint32_t len)
{
	if (unlikely(vq->n_staged == VQ_BURST))
		vq_write_staged(vq);
	vq->staged[vq->n_staged++] = (struct vq_used){ head, len };
}

/* Show all pushed chains to the driver, by one store. */
void vq_publish(struct vq *vq);

/* Interrupt the driver if it wants to hear of what was published since the last vq_call().  True if it was written.
 * Sets *blocked if the write was held up until a signal came. */
bool vq_call(struct vq *vq);

/* No kicks wanted: the caller polls.  In a split ring under EVENT_IDX there is no such thing as "off", only an event
 * index that the driver has already passed: so nothing is written then, above all no new event index. */
void vq_kick_off(struct vq *vq);

/* Ask for a kick with the next chain.  True: chains came in meanwhile whose kick may never come; do not sleep. */
bool vq_kick_on(struct vq *vq);

/* Is this descriptor state available to a reader with this wrap counter? */
static inline bool vq_packed_is_avail(uint64_t state, bool wrap)
{
	uint16_t flags = (uint16_t)(state >> 48);
	bool avail = flags & VRING_PACKED_DESC_F_AVAIL, used = flags & VRING_PACKED_DESC_F_USED;

	return avail == wrap && used != wrap;
}

/* Is something available?  One read; no promise about order. */
static inline bool vq_more(const struct vq *vq)
{
	if (vq->packed)
		return vq_packed_is_avail(le64_load(&vq->ring[vq->last_avail].state),
					  vq->avail_wrap);
	return vq->seen_avail != vq->last_avail || le16_load(&vq->avail->idx) != vq->last_avail;
}

#endif
