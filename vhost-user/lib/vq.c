/* SPDX-License-Identifier: MIT */
#include "vq.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "checked.h"
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
		.last_avail = p->base,
		.seen_avail = p->base,
		.event_idx = p->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		.indirect = p->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
		.generation = mem_generation(mem),
		.blocked = p->blocked,
	};
	int err;

	assert(!vq->started);
	if (p->num > VQ_MAX_NUM || !is_power_of_two(p->num))
		return -EINVAL;
	fresh.num = (uint16_t)p->num;
	fresh.mask = (uint16_t)(p->num - 1);

	err = vq_split_start(&fresh, mem, p);
	if (err < 0)
		return err;
	fresh.started = true;
	fresh.call_idx = fresh.used_idx;
	*vq = fresh;
	vq_set_call(vq, p->call_fd);
	vq_kick_on(vq);
	return 0;
}

void vq_stop(struct vq *vq, uint16_t *ret_base)
{
	uint16_t base = 0;

	if (vq->started) {
		vq_publish(vq);
		base = (uint16_t)(vq->last_avail - vq->in_flight);
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
	assert(max <= VQ_BURST);
	b->n = 0;
	if (unlikely(vq->cause != VQ_OK))
		return -EBADMSG;
	assert(vq->started && vq->generation == mem_generation(vq->mem));
	return vq_split_pop(vq, b, max);
}

void vq_unpop(struct vq *vq, unsigned n)
{
	assert(n + vq->n_staged + vq->n_written <= vq->in_flight);
	vq->last_avail = (uint16_t)(vq->last_avail - n);
	vq->in_flight = (uint16_t)(vq->in_flight - n);
}

void vq_write_staged(struct vq *vq)
{
	vq_split_write_staged(vq);
}

void vq_publish(struct vq *vq)
{
	vq_split_publish(vq);
}

bool vq_call(struct vq *vq)
{
	uint64_t one = 1;
	bool wanted;

	if (vq->used_idx == vq->call_idx || vq->call_fd < 0)
		return false;
	wanted = vq_split_wants_call(vq);
	vq->call_idx = vq->used_idx;
	if (!wanted || (vq->blocked && *vq->blocked))
		return false;
	vq->call_any = false;
	if (write(vq->call_fd, &one, sizeof(one)) == sizeof(one))
		return true;
	/* A full counter (EAGAIN) is a call that is still pending.  A write that does not wait is not interrupted: the
	 * descriptor was made blocking behind our back.  Any other failure is the frontend's own. */
	if (errno == EINTR && vq->blocked)
		*vq->blocked = true;
	return false;
}

void vq_kick_off(struct vq *vq)
{
	vq_split_kick_off(vq);
}

bool vq_kick_on(struct vq *vq)
{
	return vq_split_kick_on(vq);
}
