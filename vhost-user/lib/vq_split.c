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

static inline struct vq_desc desc_copy(const void *table, unsigned i)
{
	uint64_t word[2];

	vq_entry_copy(table, i, word);
	return (struct vq_desc){
		.addr = word[0],
		.len = (uint32_t)word[1],
		.flags = (uint16_t)(word[1] >> 32),
		.next = (uint16_t)(word[1] >> 48),
	};
}

int vq_split_start(struct vq *vq, const struct mem *mem, const struct vq_params *p)
{
	size_t num = p->num, event = vq->event_idx ? sizeof(le16_t) : 0;
	size_t avail_size = sizeof(struct vring_avail) + num * sizeof(le16_t) + event;
	size_t used_size = sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) + event;
	void *desc, *avail, *used, *va;
	int err;

	if (!is_power_of_two(p->num) || p->base > UINT16_MAX)
		return -EINVAL;
	err = vq_part_find(mem, p->desc, num * sizeof(struct vring_desc), VRING_DESC_ALIGN, &desc);
	if (!err)
		err = vq_part_find(mem, p->avail, avail_size, VRING_AVAIL_ALIGN, &avail);
	if (!err)
		err = vq_part_find(mem, p->used, used_size, VRING_USED_ALIGN, &used);
	if (err)
		return err;
	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	if (vq->event_idx) {
		va = &vq->used->ring[num];
		vq->used_event = &vq->avail->ring[num];
		vq->avail_event = va;
	}
	vq->mask = (uint16_t)(num - 1);
	vq->used_idx = vq->last_avail = vq->seen_avail = le16_load(&vq->used->idx);
	return 0;
}

/* Any chain: some direct descriptors, then perhaps one that is indirect (2.7.5.3.2).  Each table is left after as many
 * steps as it has entries, so that a loop ends. */
static __attribute__((noinline)) enum vq_cause chain_walk(struct vq *vq, struct vq_desc d,
							  struct vq_chain *c, unsigned room)
{
	const void *table = vq->desc;
	unsigned n_table = vq->num, steps = 0;
	bool in_table =
		false; /* not `table != vq->desc`: a guest may give its ring as an indirect table */
	enum vq_cause cause;

	for (;;) {
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (in_table)
				return VQ_INDIRECT_NESTED;
			cause = vq_table_find(vq, &d, &table, &n_table);
			if (cause != VQ_OK)
				return cause;
			in_table = true;
			steps = 0;
			d = desc_copy(table, 0);
			continue;
		}
		cause = vq_chain_append(vq, c, &d, room);
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

/* Pop heads[from..n) as far as they are simple chains; returns where another one begins. */
static __attribute__((noinline)) unsigned pop_simple(const struct vq *vq, struct vq_burst *b,
						     const uint16_t *head, unsigned from,
						     unsigned n, unsigned n_iov)
{
	const struct vq_window window = vq_window(vq);
	const struct vring_desc *desc = vq->desc;
	const uint32_t writable = vq->in_order ? VQ_HEAD_WRITABLE : 0;
	struct iovec *iov = &b->iov[n_iov];

	n = min(n, from + VQ_BURST_IOVS - n_iov);
	for (; from < n; from++, iov++) {
		struct vq_chain *c = &b->chain[from];
		struct vq_desc d = desc_copy(desc, head[from]);

		if (unlikely(!vq_chain_simple(&window, d.addr, d.len, d.flags, c, iov)))
			break;
		c->head = head[from] | (c->n_in ? writable : 0);
	}
	return from;
}

int vq_split_pop(struct vq *vq, struct vq_burst *b, unsigned max)
{
	enum vq_cause cause = VQ_HEAD_RANGE; /* what ends the burst if the heads end early */
	unsigned n = 0, n_heads, n_iov = 0;
	uint16_t head[VQ_BURST];
	int count;

	count = avail_count(vq, max);
	if (count <= 0)
		return count;
	n_heads = heads_copy(vq, head, (unsigned)count);

	while (n < n_heads) {
		unsigned simple = pop_simple(vq, b, head, n, n_heads, n_iov);
		struct vq_chain *c = &b->chain[simple];

		n_iov += simple - n;
		n = simple;
		if (n == n_heads)
			break;
		*c = (struct vq_chain){ .head = head[n], .iov = &b->iov[n_iov] };
		cause = chain_walk(vq, desc_copy(vq->desc, head[n]), c, VQ_BURST_IOVS - n_iov);
		if (unlikely(cause != VQ_OK))
			break;
		c->head |= vq_head_bit(vq, c);
		n_iov += (unsigned)c->n_out + c->n_in;
		n++;
	}

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

void vq_split_unpop(struct vq *vq, unsigned n)
{
	assert(n + vq->n_staged + vq->n_written <= vq->in_flight);
	vq->last_avail = (uint16_t)(vq->last_avail - n);
	vq->in_flight = (uint16_t)(vq->in_flight - n);
}

uint32_t vq_split_base(const struct vq *vq)
{
	return (uint16_t)(vq->last_avail - vq->in_flight);
}

void vq_split_write_staged(struct vq *vq)
{
	unsigned idx = (unsigned)vq->used_idx + vq->n_written, n = vq->n_staged, mask = vq->mask;
	struct vring_used_elem *ring = vq->used->ring;
	bool in_order = vq->in_order;

	/* 2.7.9: a batch's one entry has the first one's place and the last one's id. */
	for (unsigned i = 0, last; i < n; i = last + 1) {
		last = in_order ? vq_batch_end(vq, i) : i;
		ring[(idx + i) & mask] = (struct vring_used_elem){
			.id = le32_of(VQ_HEAD_ID(vq->staged[last].head)),
			.len = le32_of(vq->staged[last].len),
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
	vq->n_uncalled += vq->n_written;
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
	return (uint16_t)(vq->used_idx - event - 1) < vq->n_uncalled;
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
