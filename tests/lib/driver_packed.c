/* SPDX-License-Identifier: MIT */
/* The guest's side of a packed ring (virtio 1.3, 2.8). */
#include <errno.h>

#include "driver_impl.h"

#define AVAIL_FIRST_LAP VRING_PACKED_DESC_F_AVAIL

static struct driver_pos pos_add(const struct driver *d, struct driver_pos at, unsigned n)
{
	unsigned idx = at.idx + n;

	must(n <= d->num);
	return (struct driver_pos){
		.idx = (uint16_t)(idx % d->num),
		.wrap = idx >= d->num ? !at.wrap : at.wrap,
	};
}

static uint32_t pos_code(struct driver_pos at)
{
	return at.idx | (at.wrap ? VRING_PACKED_WRAP : 0);
}

/* How far ahead of `from` a place is, on a round of two laps. */
static unsigned pos_ahead(const struct driver *d, struct driver_pos from, struct driver_pos to)
{
	return (to.idx + (to.wrap == from.wrap ? 0u : d->num) + 2u * d->num - from.idx) %
	       (2u * d->num);
}

static uint64_t state_of(uint32_t len, uint16_t id, unsigned flags)
{
	return len | (uint64_t)id << 32 | (uint64_t)flags << 48;
}

void driver_packed_init(struct driver *d)
{
	for (unsigned i = 0; i < d->num; i++)
		d->slot[i].next = (uint16_t)(i + 1);
	d->avail_at.wrap = d->used_at.wrap = true;
}

void driver_packed_params(const struct driver *d, struct vq_params *ret)
{
	ret->base = pos_code(d->used_at) * 0x10001;
}

/* Write the entry at *at, and go on.  The first of all that are not published keeps its flags back. */
static void entry_write(struct driver *d, struct driver_pos *at, gpa_t addr, uint32_t len,
			uint16_t id, unsigned flags)
{
	uint64_t state;

	flags |= at->wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	state = state_of(len, id, flags);
	le64_store(&d->ring[at->idx].addr, addr.v);
	if (d->n_unpublished == 0) {
		d->first_at = *at;
		d->first_state = state;
	} else {
		le64_store(&d->ring[at->idx].state, state);
	}
	d->n_unpublished++;
	*at = pos_add(d, *at, 1);
}

static int id_take(struct driver *d, unsigned n_desc, bool writable)
{
	uint16_t id = d->free_head;

	d->free_head = d->slot[id].next;
	d->slot[id].n_desc = (uint16_t)n_desc;
	d->slot[id].cookie = NULL;
	driver_order_add(d, id, writable);
	d->n_free = (uint16_t)(d->n_free - n_desc);
	return id;
}

int driver_packed_add(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
		      unsigned n_in)
{
	unsigned n = n_out + n_in;
	uint16_t id = d->free_head;

	must(n > 0);
	if (d->n_free < n)
		return -ENOSPC;
	for (unsigned i = 0; i < n; i++)
		entry_write(d, &d->avail_at, bufs[i].addr, bufs[i].len, id,
			    (i >= n_out ? VRING_DESC_F_WRITE : 0u) |
				    (i + 1 < n ? VRING_DESC_F_NEXT : 0u));
	return id_take(d, n, n_in > 0);
}

int driver_packed_add_indirect(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
			       unsigned n_in)
{
	unsigned n = n_out + n_in;
	struct vring_packed_desc *table;
	gpa_t gpa;

	must(n > 0 && n <= DRIVER_TABLE);
	if (d->n_free < 1)
		return -ENOSPC;
	table = driver_table(d, d->free_head, &gpa);
	for (unsigned i = 0; i < n; i++) {
		le64_store(&table[i].addr, bufs[i].addr.v);
		le64_store(&table[i].state,
			   state_of(bufs[i].len, 0, i >= n_out ? VRING_DESC_F_WRITE : 0));
	}
	entry_write(d, &d->avail_at, gpa, (uint32_t)(n * sizeof(*table)), d->free_head,
		    VRING_DESC_F_INDIRECT);
	return id_take(d, 1, n_in > 0);
}

void driver_packed_publish(struct driver *d)
{
	if (d->n_unpublished == 0)
		return;
	/* Partner: the acquire in the device's pop. */
	le64_store_release(&d->ring[d->first_at.idx].state, d->first_state);
	d->n_unkicked += d->n_unpublished;
	d->n_unpublished = 0;
}

bool driver_packed_wants_kick(struct driver *d)
{
	uint32_t event, mode, n = d->n_unkicked;
	struct driver_pos at, old;

	driver_fence();
	event = le32_load(d->device_event);
	mode = event >> 16;
	must(mode <= VRING_PACKED_EVENT_DESC && (d->event_idx || mode != VRING_PACKED_EVENT_DESC));
	d->n_unkicked = 0;
	if (mode != VRING_PACKED_EVENT_DESC)
		return mode == VRING_PACKED_EVENT_ENABLE;
	if (n > d->num)
		return true; /* the place was passed, whichever it is */
	at = (struct driver_pos){ event & 0x7fff, event & VRING_PACKED_WRAP };
	must(at.idx < d->num);
	/* avail_at, n entries back: that is 2 * num - n entries ahead. */
	old = pos_add(d, pos_add(d, d->avail_at, d->num), d->num - n);
	return pos_ahead(d, old, at) < n;
}

/* Is the next entry used?  Read it, unless the last one tells of the next chain, too. */
static int used_next(struct driver *d, uint32_t *ret_len)
{
	/* Partner: the release in the device's publish. */
	uint64_t state = le64_load_acquire(&d->ring[d->used_at.idx].state);
	unsigned flags = (unsigned)(state >> 48);
	uint16_t id = (uint16_t)(state >> 32);
	bool avail = flags & VRING_PACKED_DESC_F_AVAIL, used = flags & VRING_PACKED_DESC_F_USED;

	if (d->in_batch)
		return driver_order_next(d, ret_len);
	if (avail != used || used != d->used_at.wrap)
		return -EAGAIN;
	must(id < d->num && d->slot[id].n_desc > 0);
	*ret_len = (uint32_t)state;
	must(!!(flags & VRING_DESC_F_WRITE) == (*ret_len > 0));
	if (d->in_order) {
		driver_order_begin(d, id, *ret_len);
		return driver_order_next(d, ret_len);
	}
	must(d->n_out-- > 0);
	return id;
}

int driver_packed_used(struct driver *d, uint32_t *ret_len)
{
	int id = used_next(d, ret_len);

	if (id < 0)
		return id;
	must(d->slot[id].n_desc > 0);
	d->used_at = pos_add(d, d->used_at, d->slot[id].n_desc);
	if (d->in_order && d->n_out + 1u < d->num) { /* an id was free: there is an end to go to */
		d->slot[d->free_tail].next = (uint16_t)id;
	} else {
		d->slot[id].next = d->free_head;
		d->free_head = (uint16_t)id;
	}
	d->free_tail = (uint16_t)id;
	d->n_free = (uint16_t)(d->n_free + d->slot[id].n_desc);
	d->slot[id].n_desc = 0;
	return id;
}

void driver_packed_call_off(struct driver *d)
{
	le32_store(d->driver_event, VRING_PACKED_EVENT(VRING_PACKED_EVENT_DISABLE, 0));
}

bool driver_packed_call_on(struct driver *d)
{
	unsigned flags;

	if (d->event_idx)
		le32_store(d->driver_event,
			   VRING_PACKED_EVENT(VRING_PACKED_EVENT_DESC, pos_code(d->used_at)));
	else
		le32_store(d->driver_event, VRING_PACKED_EVENT(VRING_PACKED_EVENT_ENABLE, 0));
	driver_fence();
	flags = (unsigned)(le64_load(&d->ring[d->used_at.idx].state) >> 48);
	return !!(flags & VRING_PACKED_DESC_F_USED) == d->used_at.wrap &&
	       !!(flags & VRING_PACKED_DESC_F_AVAIL) == d->used_at.wrap;
}

void driver_raw_packed(struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t id,
		       uint32_t flags)
{
	unsigned avail = flags & DRIVER_RAW_NOT_AVAIL ? 0 : AVAIL_FIRST_LAP;

	le64_store(&d->ring[i].addr, addr);
	le64_store(&d->ring[i].state, state_of(len, id, (flags & 0xffff) | avail));
}
