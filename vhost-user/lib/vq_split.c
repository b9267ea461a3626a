/* SPDX-License-Identifier: MIT */
/* The split ring (virtio 1.3, 2.7).
 *
 * Pop goes over a burst twice: first the head indices are copied out of the available ring and their descriptors
 * prefetched, then the descriptors are copied, checked and translated and their buffers prefetched.  Most chains of a
 * network are one descriptor in one region: these are done in the loop; all others go through chain_walk().
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "checked.h"
#include "vq_impl.h"

/* A descriptor in private memory. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* The one read of a descriptor.  Two plain loads (an indirect table may lie at any address), and a barrier that keeps
 * the compiler from going back to guest memory for a value it has already got. */
static inline struct desc desc_copy(const struct vring_desc *table, unsigned i)
{
	uint64_t word[2];

	memcpy(word, (const char *)table + i * sizeof(*table), sizeof(word));
	__asm__ volatile("" : "+r"(word[0]), "+r"(word[1]));
	word[0] = le64toh(word[0]);
	word[1] = le64toh(word[1]);
	return (struct desc){
		.addr = word[0],
		.len = (uint32_t)word[1],
		.flags = (uint16_t)(word[1] >> 32),
		.next = (uint16_t)(word[1] >> 48),
	};
}

/* Fetch a line in order to write it, so that its other owner is asked once and not twice.  gcc makes nothing of
 * __builtin_prefetch(p, 1) on plain x86-64, where the instruction is a hint that every processor takes. */
static inline void prefetch_write(const char *p)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/* A buffer starts with a small header that is often not line-aligned: the second line is wanted as well. */
static inline void prefetch_buffer(const void *va, bool write)
{
	const char *p = va;

	if (write) {
		prefetch_write(p);
		prefetch_write(p + CACHE_LINE);
	} else {
		__builtin_prefetch(p);
		__builtin_prefetch(p + CACHE_LINE);
	}
}

static int part_find(const struct mem *mem, uva_t addr, size_t size, unsigned align, void **ret)
{
	if (addr.v & (align - 1))
		return -EINVAL;
	return mem_uva_to_va(mem, addr, size, ret);
}

int vq_split_start(struct vq *vq, const struct mem *mem, const struct vq_params *p)
{
	size_t num = p->num, event = vq->event_idx ? sizeof(le16_t) : 0;
	size_t avail_size = sizeof(struct vring_avail) + num * sizeof(le16_t) + event;
	size_t used_size = sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) + event;
	void *desc, *avail, *used, *va;
	int err;

	err = part_find(mem, p->desc, num * sizeof(struct vring_desc), VRING_DESC_ALIGN, &desc);
	if (!err)
		err = part_find(mem, p->avail, avail_size, VRING_AVAIL_ALIGN, &avail);
	if (!err)
		err = part_find(mem, p->used, used_size, VRING_USED_ALIGN, &used);
	if (err)
		return err;
	/* What is aligned in the frontend must also be in here, or the index accesses would not be single ones. */
	if ((uintptr_t)desc % VRING_DESC_ALIGN || (uintptr_t)avail % VRING_AVAIL_ALIGN ||
	    (uintptr_t)used % VRING_USED_ALIGN)
		return -EINVAL;

	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	if (vq->event_idx) {
		va = &vq->used->ring[num];
		vq->used_event = &vq->avail->ring[num];
		vq->avail_event = va;
	}
	vq->used_idx = le16_load(&vq->used->idx);
	return 0;
}

/* Add one descriptor to a chain, split where it crosses regions.  `room`: iovecs left in the burst. */
static enum vq_cause chain_add(struct vq *vq, struct vq_chain *c, const struct desc *d,
			       unsigned room)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	uint32_t *total = write ? &c->in_len : &c->out_len;
	uint16_t *n_pieces = write ? &c->n_in : &c->n_out;
	uint64_t addr = d->addr;
	uint32_t left = d->len;

	if (left == 0)
		return VQ_ZERO_LEN;
	if (!write && c->n_in > 0)
		return VQ_ORDER;
	if (!range_fits(addr, left))
		return VQ_UNMAPPED;
	if (__builtin_add_overflow(*total, left, total))
		return VQ_CHAIN_SIZE;
	while (left > 0) {
		unsigned n = (unsigned)c->n_out + c->n_in;
		size_t got;
		void *va;

		if (n >= room)
			return VQ_CHAIN_LONG;
		got = mem_gpa_span(vq->mem, &vq->hint, GPA(addr), left, &va);
		if (got == 0)
			return VQ_UNMAPPED;
		prefetch_buffer(va, write);
		c->iov[n] = (struct iovec){ .iov_base = va, .iov_len = got };
		(*n_pieces)++;
		addr += got;
		left -= (uint32_t)got;
	}
	return VQ_OK;
}

/* Find the table that an indirect descriptor points to.  It must lie in one region: virtio gives no rule for one
 * that does not, and no driver makes one. */
static enum vq_cause table_find(struct vq *vq, const struct desc *d,
				const struct vring_desc **ret_table, unsigned *ret_n)
{
	void *va;

	if (!vq->indirect)
		return VQ_INDIRECT_OFF;
	if (d->flags & VRING_DESC_F_NEXT)
		return VQ_INDIRECT_NEXT;
	if (d->len == 0 || d->len % sizeof(struct vring_desc) != 0 ||
	    d->len / sizeof(struct vring_desc) > vq->num)
		return VQ_INDIRECT_SIZE;
	if (mem_gpa_span(vq->mem, &vq->table_hint, GPA(d->addr), d->len, &va) != d->len)
		return VQ_UNMAPPED;
	*ret_table = va;
	*ret_n = d->len / sizeof(struct vring_desc);
	return VQ_OK;
}

/* Any chain: some direct descriptors, then perhaps one that is indirect (2.7.5.3.2).  Each table is left after as many
 * steps as it has entries, so that a loop ends. */
static __attribute__((noinline)) enum vq_cause chain_walk(struct vq *vq, struct desc d,
							  struct vq_chain *c, unsigned room)
{
	const struct vring_desc *table = vq->desc;
	unsigned n_table = vq->num, steps = 0;
	bool in_table =
		false; /* not `table != vq->desc`: a guest may give its ring as an indirect table */
	enum vq_cause cause;

	for (;;) {
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (in_table)
				return VQ_INDIRECT_NESTED;
			cause = table_find(vq, &d, &table, &n_table);
			if (cause != VQ_OK)
				return cause;
			in_table = true;
			steps = 0;
			d = desc_copy(table, 0);
			continue;
		}
		cause = chain_add(vq, c, &d, room);
		if (cause != VQ_OK)
			return cause;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return VQ_OK;
		if (d.next >= n_table)
			return VQ_NEXT_RANGE;
		if (++steps == n_table)
			return VQ_CHAIN_LOOP;
		d = desc_copy(table, d.next);
	}
}

/* How many chains can be popped now: up to max, or -EBADMSG. */
static int avail_count(struct vq *vq, unsigned max)
{
	uint16_t n = (uint16_t)(vq->seen_avail - vq->last_avail);

	if (n >= max)
		return (int)max;
	/* Partner: the driver's release of this index after it wrote descriptors and ring entries. */
	vq->seen_avail = le16_load_acquire(&vq->avail->idx);
	n = (uint16_t)(vq->seen_avail - vq->last_avail);
	if (unlikely(n + vq->in_flight > vq->num)) {
		vq->cause = VQ_AVAIL_JUMP;
		return -EBADMSG;
	}
	return (int)(n < max ? n : max);
}

/* Copy up to n heads out of the available ring, stopping in front of one that is out of range. */
static inline unsigned heads_copy(const struct vq *vq, uint16_t *head, unsigned n)
{
	const struct vring_desc *desc = vq->desc;
	const le16_t *ring = vq->avail->ring;
	unsigned first = vq->last_avail, mask = vq->mask;

	for (unsigned i = 0; i < n; i++) {
		unsigned id = le16_load(&ring[(first + i) & mask]);

		if (unlikely(id > mask))
			return i;
		__builtin_prefetch(&desc[id]);
		head[i] = (uint16_t)id;
	}
	return n;
}

/* The chain of most packets: one descriptor, in one region.  False: it is none of these, *c is half filled. */
static inline bool chain_simple(const struct mem *mem, unsigned *hint, const struct desc *d,
				struct vq_chain *c)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	void *va;

	if (unlikely(d->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) ||
	    unlikely(d->len == 0) ||
	    unlikely(mem_gpa_span(mem, hint, GPA(d->addr), d->len, &va) != d->len))
		return false;
	prefetch_buffer(va, write);
	*c->iov = (struct iovec){ .iov_base = va, .iov_len = d->len };
	c->n_out = !write;
	c->n_in = write;
	c->out_len = write ? 0 : d->len;
	c->in_len = write ? d->len : 0;
	return true;
}

int vq_split_pop(struct vq *vq, struct vq_burst *b, unsigned max)
{
	const struct vring_desc *desc = vq->desc;
	const struct mem *mem = vq->mem;
	enum vq_cause cause = VQ_HEAD_RANGE; /* what ends the burst if the heads end early */
	unsigned n, n_heads, n_iov = 0, hint = vq->hint;
	uint16_t head[VQ_BURST];
	int count;

	count = avail_count(vq, max);
	if (count <= 0)
		return count;
	n_heads = heads_copy(vq, head, (unsigned)count);

	for (n = 0; n < n_heads; n++) {
		struct vq_chain *c = &b->chain[n];
		struct desc d = desc_copy(desc, head[n]);

		c->head = head[n];
		c->iov = &b->iov[n_iov];
		if (likely(n_iov < VQ_BURST_IOVS) && likely(chain_simple(mem, &hint, &d, c))) {
			n_iov++;
			continue;
		}
		c->n_out = c->n_in = 0;
		c->out_len = c->in_len = 0;
		cause = chain_walk(vq, d, c, VQ_BURST_IOVS - n_iov);
		if (unlikely(cause != VQ_OK))
			break;
		n_iov += (unsigned)c->n_out + c->n_in;
	}
	vq->hint = hint;

	/* Good chains in front of a bad one go out first; it is met again, as the first, by the next call.  That also
	 * gives a chain that only found too little room a whole burst to itself. */
	if (unlikely(n == 0)) {
		vq->cause = cause;
		return -EBADMSG;
	}
	vq->last_avail = (uint16_t)(vq->last_avail + n);
	vq->in_flight = (uint16_t)(vq->in_flight + n);
	b->n = n;
	return (int)n;
}

void vq_split_write_staged(struct vq *vq)
{
	unsigned idx = (unsigned)vq->used_idx + vq->n_written;

	for (unsigned i = 0; i < vq->n_staged; i++) {
		vq->used->ring[(idx + i) & vq->mask] = (struct vring_used_elem){
			.id = le32_of(vq->staged[i].head),
			.len = le32_of(vq->staged[i].len),
		};
	}
	vq->n_written = (uint16_t)(vq->n_written + vq->n_staged);
	vq->n_staged = 0;
}

void vq_split_publish(struct vq *vq)
{
	vq_split_write_staged(vq);
	if (vq->n_written == 0)
		return;
	assert(vq->n_written <= vq->in_flight);
	vq->used_idx = (uint16_t)(vq->used_idx + vq->n_written);
	vq->in_flight = (uint16_t)(vq->in_flight - vq->n_written);
	vq->n_written = 0;
	/* Partner: the driver's acquire of this index before it reads entries and buffers. */
	le16_store_release(&vq->used->idx, vq->used_idx);
}

bool vq_split_wants_call(const struct vq *vq)
{
	uint16_t event;

	/* The index is stored before the driver's wish is read; the driver writes its wish before it reads the
	 * index.  So at least one of the two sees the other. */
	vq_fence();
	if (!vq->event_idx)
		return !(le16_load(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (vq->call_any)
		return true;
	/* 2.7.10: has the used index moved over the event index since the last look?  In 16-bit arithmetic. */
	event = le16_load(vq->used_event);
	return (uint16_t)(vq->used_idx - event - 1) < (uint16_t)(vq->used_idx - vq->call_idx);
}

void vq_split_kick_off(struct vq *vq)
{
	if (!vq->event_idx)
		le16_store(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool vq_split_kick_on(struct vq *vq)
{
	if (vq->event_idx)
		le16_store(vq->avail_event, vq->last_avail);
	else
		le16_store(&vq->used->flags, 0);
	/* The same pair as in vq_split_wants_call(), the other way round. */
	vq_fence();
	return le16_load(&vq->avail->idx) != vq->last_avail;
}
