/* SPDX-License-Identifier: MIT */
/* The seam between the virtqueue API (vq.c) and the ring formats (vq_split.c).  For these files only.
 *
 * vq.c owns what every format shares: parameters, asserts, the call descriptor, the broken state.  A format owns the
 * bytes in guest memory: it finds its parts, reads chains, writes used entries, and knows both notification areas.
 */
#ifndef VU_VQ_IMPL_H
#define VU_VQ_IMPL_H

#include "vq.h"

/* Find the parts in guest memory and take over the used index.  0, -EINVAL, -EFAULT; on failure *vq is as it was. */
int vq_split_start(struct vq *vq, const struct mem *mem, const struct vq_params *p);

int vq_split_pop(struct vq *vq, struct vq_burst *b, unsigned max);
void vq_split_write_staged(struct vq *vq);
void vq_split_publish(struct vq *vq);

/* Does the driver want to hear of what was published since call_idx? */
bool vq_split_wants_call(const struct vq *vq);

void vq_split_kick_off(struct vq *vq);
bool vq_split_kick_on(struct vq *vq);

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
