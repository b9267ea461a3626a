/* SPDX-License-Identifier: MIT */
/* The writes of a ring's device in the dirty log.
 *
 * Guest addresses are gone once a chain has been handed out, and vq_push() names it by its head alone.  So while a ring
 * is logged, what a popped chain may be written to is kept by its head, and marked as far as vq_push() says it was
 * written.  That costs a ring that is not logged one test in vq_pop() and one in vq_publish().
 */
#include <errno.h>
#include <stdlib.h>

#include "vq_impl.h"

/* Pieces of a chain that are told apart: as many as Linux posts for 64 KiB without MRG_RXBUF.  What lies beyond the last
 * counts as written wherever it is. */
#define PIECES 20

struct piece {
	uint64_t addr;
	uint64_t len;
};

/* The writable part of a chain. */
struct slot {
	unsigned n;
	bool all; /* had more pieces than PIECES: the last stands for the rest, and counts in full */
	struct piece piece[PIECES];
};

struct vq_dirty {
	struct dirtylog *log;
	bool used;          /* the used ring is logged */
	uint64_t used_gpa;  /* where it counts as; packed: where our event suppression does */
	gpa_t ring, event;  /* packed: where the ring and our event suppression are */
	struct slot slot[]; /* by VQ_HEAD_ID(): num */
};

int vq_dirty_start(struct vq *vq, const struct vq_params *p)
{
	struct vq_dirty *d = calloc(1, sizeof(*d) + p->num * sizeof(d->slot[0]));

	if (!d)
		return -ENOMEM;
	d->log = p->log;
	d->used = p->log_used;
	d->used_gpa = p->used_gpa.v;
	if (vq->packed && (mem_va_to_gpa(vq->mem, vq->ring, &d->ring) < 0 ||
			   mem_va_to_gpa(vq->mem, vq->device_event, &d->event) < 0)) {
		free(d);
		return -EFAULT;
	}
	vq->dirty = d;
	return 0;
}

void vq_dirty_stop(struct vq *vq)
{
	free(vq->dirty);
	vq->dirty = NULL;
}

/* One more piece; when there is no room for it the last one grows to hold it, too. */
static void slot_add(struct slot *s, uint64_t addr, uint64_t len)
{
	struct piece *last = &s->piece[PIECES - 1];
	uint64_t end;

	if (s->n < PIECES) {
		s->piece[s->n++] = (struct piece){ addr, len };
		return;
	}
	end = max(last->addr + last->len, addr + len);
	last->addr = min(last->addr, addr);
	last->len = end - last->addr;
	s->all = true;
}

void vq_dirty_popped(struct vq *vq, const struct vq_burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct vq_chain *c = &b->chain[i];
		struct slot *s = &vq->dirty->slot[VQ_HEAD_ID(c->head)];

		s->n = 0;
		s->all = false;
		for (unsigned k = c->n_out; k < (unsigned)c->n_out + c->n_in; k++) {
			gpa_t addr;

			if (mem_va_to_gpa(vq->mem, c->iov[k].iov_base, &addr) == 0)
				slot_add(s, addr.v, c->iov[k].iov_len);
		}
	}
}

void vq_dirty_staged(struct vq *vq)
{
	struct vq_dirty *d = vq->dirty;

	for (unsigned i = 0; i < vq->n_staged; i++) {
		const struct slot *s = &d->slot[VQ_HEAD_ID(vq->staged[i].head)];
		uint64_t left = vq->staged[i].len;

		for (unsigned k = 0; k < s->n && left > 0; k++) {
			uint64_t len = min(left, s->piece[k].len);

			if (s->all && k == PIECES - 1)
				len = s->piece[k].len;
			dirtylog_mark(d->log, s->piece[k].addr, len);
			left -= min(left, len);
		}
	}
}

/* Entries [from, to) of a ring, of `size` bytes each, which begins at `at`. */
static void mark_entries(struct vq_dirty *d, uint64_t at, unsigned size, unsigned from, unsigned to)
{
	dirtylog_mark(d->log, at + (uint64_t)from * size, (uint64_t)(to - from) * size);
}

static void mark_round(struct vq_dirty *d, uint64_t at, unsigned size, unsigned from, unsigned n,
		       unsigned num)
{
	unsigned first = min(n, num - from);

	mark_entries(d, at, size, from, from + first);
	mark_entries(d, at, size, 0, n - first);
}

void vq_dirty_published(struct vq *vq, uint16_t from, unsigned n)
{
	struct vq_dirty *d = vq->dirty;

	if (d->used && n > 0 && vq->packed) {
		mark_round(d, d->ring.v, sizeof(struct vring_packed_desc), from, n, vq->num);
	} else if (d->used && n > 0) {
		mark_round(d, d->used_gpa + offsetof(struct vring_used, ring),
			   sizeof(struct vring_used_elem), from & vq->mask, n, vq->num);
		dirtylog_mark(d->log, d->used_gpa + offsetof(struct vring_used, idx),
			      sizeof(le16_t));
	}
	dirtylog_tell(d->log, vq->blocked);
}

void vq_dirty_event(struct vq *vq)
{
	struct vq_dirty *d = vq->dirty;

	if (!d->used)
		return;
	if (vq->packed) {
		dirtylog_mark(d->log, d->event.v, sizeof(le32_t));
		dirtylog_mark(d->log, d->used_gpa, sizeof(le32_t));
	} else if (vq->event_idx) {
		dirtylog_mark(d->log,
			      d->used_gpa + offsetof(struct vring_used, ring) +
				      vq->num * sizeof(struct vring_used_elem),
			      sizeof(le16_t));
	} else {
		dirtylog_mark(d->log, d->used_gpa, sizeof(le16_t));
	}
}
