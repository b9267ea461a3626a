/* SPDX-License-Identifier: MIT */
#include "vq.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "checked.h"
#include "eventfd.h"
#include "vq_impl.h"

const char *vq_cause_name(enum vq_cause cause)
{
	static const char *const text[] = {
#define X(name, words) [name] = words,
		VQ_CAUSES(X)
#undef X
	};

	static_assert(array_size(text) == VQ_CAUSE_COUNT, "a text for each cause");
	assert(cause < VQ_CAUSE_COUNT);
	return text[cause];
}

int vq_start(struct vq *vq, const struct mem *mem, const struct vq_params *p)
{
	struct vq fresh = {
		.mem = mem,
		.num = (uint16_t)p->num,
		.packed = p->features & BIT_ULL(VIRTIO_F_RING_PACKED),
		.event_idx = p->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		.indirect = p->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = p->features & BIT_ULL(VIRTIO_F_IN_ORDER),
		.generation = mem_generation(mem),
		.blocked = p->blocked,
	};
	int err;

	assert(!vq->started);
	if (p->num == 0 || p->num > VQ_MAX_NUM)
		return -EINVAL;
	err = fresh.packed ? vq_packed_start(&fresh, mem, p) : vq_split_start(&fresh, mem, p);
	if (!err && p->log)
		err = vq_dirty_start(&fresh, p);
	if (err < 0)
		return err;
	fresh.started = true;
	*vq = fresh;
	vq_set_call(vq, p->call_fd);
	vq_kick_on(vq);
	return 0;
}

void vq_stop(struct vq *vq, uint32_t *ret_base)
{
	uint32_t base = 0;

	if (vq->started) {
		vq_publish(vq);
		base = vq->packed ? vq_packed_base(vq) : vq_split_base(vq);
		vq_dirty_stop(vq);
	}
	memset(vq, 0, sizeof(*vq));
	vq->call_fd = -1;
	*ret_base = base;
}

void vq_set_call(struct vq *vq, int fd)
{
	/* A write to a full eventfd blocks unless told not to, and its counter is the frontend's to fill. */
	if (fd >= 0) {
		int flags = fcntl(fd, F_GETFL);

		if (flags >= 0)
			fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	}
	vq->call_fd = fd;
	vq->call_any = true;
}

int vq_pop(struct vq *vq, struct vq_burst *b, unsigned max)
{
	int n;

	assert(max <= VQ_BURST);
	b->n = 0;
	if (unlikely(vq->cause != VQ_OK))
		return -EBADMSG;
	assert(vq->started && vq->generation == mem_generation(vq->mem));
	n = vq->packed ? vq_packed_pop(vq, b, max) : vq_split_pop(vq, b, max);
	if (unlikely(vq->dirty))
		vq_dirty_popped(vq, b);
	return n;
}

void vq_unpop(struct vq *vq, unsigned n)
{
	if (vq->packed)
		vq_packed_unpop(vq, n);
	else
		vq_split_unpop(vq, n);
}

void vq_write_staged(struct vq *vq)
{
	if (unlikely(vq->dirty))
		vq_dirty_staged(vq);
	if (vq->packed)
		vq_packed_write_staged(vq);
	else
		vq_split_write_staged(vq);
}

void vq_publish(struct vq *vq)
{
	uint16_t from = vq->used_idx;
	uint64_t before = vq->n_uncalled;

	if (unlikely(vq->dirty))
		vq_dirty_staged(vq);
	if (vq->packed)
		vq_packed_publish(vq);
	else
		vq_split_publish(vq);
	if (unlikely(vq->dirty))
		vq_dirty_published(vq, from, (unsigned)(vq->n_uncalled - before));
}

bool vq_call(struct vq *vq)
{
	bool wanted;

	if (vq->n_uncalled == 0 || vq->call_fd < 0)
		return false;
	wanted = vq->packed ? vq_packed_wants_call(vq) : vq_split_wants_call(vq);
	vq->n_uncalled = 0;
	if (!wanted || (vq->blocked && __atomic_load_n(vq->blocked, __ATOMIC_RELAXED)))
		return false;
	vq->call_any = false;
	return eventfd_signal(vq->call_fd, vq->blocked);
}

void vq_kick_off(struct vq *vq)
{
	if (vq->packed)
		vq_packed_kick_off(vq);
	else
		vq_split_kick_off(vq);
	if (unlikely(vq->dirty))
		vq_dirty_event(vq);
}

bool vq_kick_on(struct vq *vq)
{
	bool more = vq->packed ? vq_packed_kick_on(vq) : vq_split_kick_on(vq);

	if (unlikely(vq->dirty))
		vq_dirty_event(vq);
	return more;
}
