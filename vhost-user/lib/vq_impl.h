/* SPDX-License-Identifier: MIT */
/* The seam between the virtqueue API (vq.c), the ring formats (vq_split.c, vq_packed.c) and what these two share
 * (vq_chain.c).  For these files only.
 *
 * What is written is logged outside of the formats: vq_dirty.c.
 *
 * vq.c owns what every format shares: parameters, asserts, the call descriptor, the broken state.  A format owns the
 * bytes in guest memory: it finds its parts, reads chains, writes used entries, and knows both notification areas.
 * What lies behind a descriptor is the same in both formats: vq_chain.c.
 */
#ifndef VU_VQ_IMPL_H
#define VU_VQ_IMPL_H

#include <string.h>

#include "vq.h"

/* ---- what a format does: see the function of vq.h of that name ---------- */

/* Find the parts in guest memory and take over the used index.  0, -EINVAL, -EFAULT; on failure *vq is of no use. */
int vq_split_start(struct vq *vq, const struct mem *mem, const struct vq_params *p);
int vq_packed_start(struct vq *vq, const struct mem *mem, const struct vq_params *p);

/* The base to go on from, all that is in flight being given back. */
uint32_t vq_split_base(const struct vq *vq);
uint32_t vq_packed_base(const struct vq *vq);

int vq_split_pop(struct vq *vq, struct vq_burst *b, unsigned max);
int vq_packed_pop(struct vq *vq, struct vq_burst *b, unsigned max);

void vq_split_unpop(struct vq *vq, unsigned n);
void vq_packed_unpop(struct vq *vq, unsigned n);

void vq_split_write_staged(struct vq *vq);
void vq_packed_write_staged(struct vq *vq);

void vq_split_publish(struct vq *vq);
void vq_packed_publish(struct vq *vq);

/* Does the driver want to hear of the n_uncalled that were published last? */
bool vq_split_wants_call(const struct vq *vq);
bool vq_packed_wants_call(const struct vq *vq);

void vq_split_kick_off(struct vq *vq);
void vq_packed_kick_off(struct vq *vq);

bool vq_split_kick_on(struct vq *vq);
bool vq_packed_kick_on(struct vq *vq);

/* ---- vq_chain.c ---------------------------------------------------------- */

/* A descriptor in private memory. */
struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* VRING_DESC_F_* */
	uint16_t next;  /* packed: the buffer id */
};

/* Find a part of a ring.  What is aligned in the frontend must also be in here, or accesses would not be single ones.
 * 0, -EINVAL (alignment), -EFAULT (not in guest memory). */
int vq_part_find(const struct mem *mem, uva_t addr, size_t size, unsigned align, void **ret);

/* Add one descriptor to a chain, split where it crosses regions.  `room`: iovecs left in the burst. */
enum vq_cause vq_chain_add(struct vq *vq, struct vq_chain *c, const struct vq_desc *d,
			   unsigned room);

/* Find the table that an indirect descriptor points to.  It must lie in one region: virtio gives no rule for one that
 * does not, and no driver makes one.  *ret_table has any alignment. */
enum vq_cause vq_table_find(struct vq *vq, const struct vq_desc *d, const void **ret_table,
			    unsigned *ret_n);

/* ---- vq_dirty.c: the dirty log of a ring ---------------------------------- */

/* Begin to log.  The format has been started.  -ENOMEM. */
int vq_dirty_start(struct vq *vq, const struct vq_params *p);
void vq_dirty_stop(struct vq *vq);

/* Note where these chains may be written to. */
void vq_dirty_popped(struct vq *vq, const struct vq_burst *b);

/* Log what was written into the staged chains, which are about to leave the stage. */
void vq_dirty_staged(struct vq *vq);

/* Log the n used entries from used_idx `from` on, and tell the frontend. */
void vq_dirty_published(struct vq *vq, uint16_t from, unsigned n);

/* Log our side of notification suppression. */
void vq_dirty_event(struct vq *vq);

/* ---- the hot part of both ------------------------------------------------ */

/* Fetch a line in order to write it, so that its other owner is asked once and not twice.  gcc makes nothing of
 * __builtin_prefetch(p, 1) on plain x86-64, where the instruction is a hint that every processor takes. */
static inline void vq_prefetch_write(const char *p)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/* A buffer starts with a small header that is often not line-aligned: the second line is wanted as well. */
static inline void vq_prefetch_buffer(const void *va, bool write)
{
	const char *p = va;

	if (write) {
		vq_prefetch_write(p);
		vq_prefetch_write(p + CACHE_LINE);
	} else {
		__builtin_prefetch(p);
		__builtin_prefetch(p + CACHE_LINE);
	}
}

/* The one read of the i-th 16 bytes of a table.  Two plain loads (an indirect table may lie at any address), and a
 * barrier that keeps the compiler from going back to guest memory for a value it has already got. */
static inline void vq_entry_copy(const void *table, unsigned i, uint64_t ret[2])
{
	uint64_t word[2];

#ifdef __SANITIZE_THREAD__
	/* The same for who watches threads: a driver may write meanwhile, and what is read is checked. */
	for (unsigned k = 0; k < sizeof(word); k++)
		((uint8_t *)word)[k] = __atomic_load_n(
			(const uint8_t *)table + i * sizeof(word) + k, __ATOMIC_RELAXED);
#else
	memcpy(word, (const char *)table + i * sizeof(word), sizeof(word));
#endif
	__asm__ volatile("" : "+r"(word[0]), "+r"(word[1]));
	ret[0] = le64toh(word[0]);
	ret[1] = le64toh(word[1]);
}

/* The region of the last buffer, which is mostly that of the next: a copy, for the burst at hand. */
struct vq_window {
	uint64_t gpa, size;
	uint8_t *va;
};

static inline struct vq_window vq_window(const struct vq *vq)
{
	const struct mem_region *r = &vq->mem->region[vq->hint];

	return (struct vq_window){ r->gpa, r->size, r->va };
}

/* The chain of most packets: one descriptor, in that region.  False: it is none of these, *c is as it was. */
static inline bool vq_chain_simple(const struct vq_window *w, uint64_t addr, uint32_t len,
				   uint16_t flags, struct vq_chain *c, struct iovec *iov)
{
	bool write = flags & VRING_DESC_F_WRITE;
	uint64_t off = addr - w->gpa; /* wraps to something huge when it lies below */
	uint8_t *va;

	if (unlikely(flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) || unlikely(len == 0) ||
	    unlikely(off >= w->size) || unlikely(len > w->size - off))
		return false;
	va = w->va + off;
	vq_prefetch_buffer(va, write);
	*iov = (struct iovec){ .iov_base = va, .iov_len = len };
	c->iov = iov;
	c->n_out = !write;
	c->n_in = write;
	c->out_len = write ? 0 : len;
	c->in_len = write ? len : 0;
	return true;
}

/* vq_chain_add() for most descriptors of a long chain: in one region, in order, with room for it. */
static inline enum vq_cause vq_chain_append(struct vq *vq, struct vq_chain *c,
					    const struct vq_desc *d, unsigned room)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	unsigned n = (unsigned)c->n_out + c->n_in;
	uint32_t total;
	void *va;

	if (unlikely(d->len == 0) || unlikely(!write && c->n_in > 0) || unlikely(n >= room) ||
	    unlikely(__builtin_add_overflow(write ? c->in_len : c->out_len, d->len, &total)) ||
	    unlikely(mem_gpa_span(vq->mem, &vq->hint, GPA(d->addr), d->len, &va) != d->len))
		return vq_chain_add(vq, c, d, room);
	vq_prefetch_buffer(va, write);
	c->iov[n] = (struct iovec){ .iov_base = va, .iov_len = d->len };
	*(write ? &c->in_len : &c->out_len) = total;
	(*(write ? &c->n_in : &c->n_out))++;
	return VQ_OK;
}

/* Under IN_ORDER: the last of the staged chains that the used entry of staged[i] stands for.  Chains that could not be
 * written to are left out in favour of what follows them. */
static inline unsigned vq_batch_end(const struct vq *vq, unsigned i)
{
	if (vq->in_order)
		while (i + 1u < vq->n_staged && !(vq->staged[i].head & VQ_HEAD_WRITABLE))
			i++;
	return i;
}

/* The bit of a head that vq_batch_end() looks at. */
static inline uint32_t vq_head_bit(const struct vq *vq, const struct vq_chain *c)
{
	return vq->in_order && c->n_in > 0 ? VQ_HEAD_WRITABLE : 0;
}

/* A full fence: orders our store (of an index) before our load (of the other side's event), which neither acquire nor
 * release does.  The other side has the same pair the other way round. */
static inline void vq_fence(void)
{
#ifdef __SANITIZE_THREAD__
	/* gcc's thread sanitizer does not model fences; a sequentially consistent exchange is one on every machine we
	 * build it for. */
	static uint32_t word;

	__atomic_exchange_n(&word, 0, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#endif
