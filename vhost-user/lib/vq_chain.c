/* SPDX-License-Identifier: MIT */
/* From a descriptor to pieces of memory: what the two ring formats have in common. */
#include <errno.h>

#include "checked.h"
#include "vq_impl.h"

int vq_part_find(const struct mem *mem, uva_t addr, size_t size, unsigned align, void **ret)
{
	void *va;
	int err;

	if (addr.v & (align - 1))
		return -EINVAL;
	err = mem_uva_to_va(mem, addr, size, &va);
	if (err < 0)
		return err;
	if ((uintptr_t)va & (align - 1))
		return -EINVAL;
	*ret = va;
	return 0;
}

enum vq_cause vq_chain_add(struct vq *vq, struct vq_chain *c, const struct vq_desc *d,
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
		vq_prefetch_buffer(va, write);
		c->iov[n] = (struct iovec){ .iov_base = va, .iov_len = got };
		(*n_pieces)++;
		addr += got;
		left -= (uint32_t)got;
	}
	return VQ_OK;
}

enum vq_cause vq_table_find(struct vq *vq, const struct vq_desc *d, const void **ret_table,
			    unsigned *ret_n)
{
	const unsigned entry = sizeof(struct vring_desc);
	void *va;

	if (!vq->indirect)
		return VQ_INDIRECT_OFF;
	if (d->flags & VRING_DESC_F_NEXT)
		return VQ_INDIRECT_NEXT;
	if (d->len == 0 || d->len % entry != 0 || d->len / entry > vq->num)
		return VQ_INDIRECT_SIZE;
	if (mem_gpa_span(vq->mem, &vq->table_hint, GPA(d->addr), d->len, &va) != d->len)
		return VQ_UNMAPPED;
	*ret_table = va;
	*ret_n = d->len / entry;
	return VQ_OK;
}
