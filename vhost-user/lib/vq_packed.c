/* SPDX-License-Identifier: MIT */
/* The packed ring (virtio 1.3, 2.8).
 *
 * One ring of descriptors serves both directions.  The driver writes chains into it, each descriptor in an entry of its
 * own, and the device writes one used descriptor over the first entry of each chain's share and skips the rest.  Both go
 * round, each with a wrap counter that turns at the end; an entry's two flag bits against the reader's counter say whose
 * it is.  So there are three positions, in the order in which they run: used_idx (what the driver sees as used ends
 * here), write_idx (what we have written ends here), last_avail (what is popped ends here).  All that is in flight lies
 * between the first and the last, and never is more than the ring: that is checked, since the flags are the driver's.
 *
 * Of a batch of used descriptors the first is held back until vq_packed_publish().  The driver reads them in order, so
 * one store shows all.  Where the place is recorded (place.h) the batch is, too, before the first store into the ring.
 */
#include <assert.h>
#include <errno.h>

#include "inflight.h"
#include "vq_impl.h"

/* A head is what vq_push() must know: the buffer id, and above it how many entries the chain takes. */
#define HEAD(id, n_entries) ((uint32_t)(n_entries) << 16 | (id))
#define HEAD_ENTRIES(head)  ((head) >> 16)

struct position {
	unsigned idx;
	bool wrap;
};

/* n is at most the ring's size. */
static inline struct position advance(struct position at, unsigned n, unsigned num)
{
	at.idx += n;
	if (at.idx >= num) {
		at.idx -= num;
		at.wrap = !at.wrap;
	}
	return at;
}

static uint32_t position_code(unsigned idx, bool wrap)
{
	return (uint32_t)idx | (wrap ? VRING_PACKED_WRAP : 0);
}

static void position_set(struct vq *vq, uint16_t code)
{
	vq->last_avail = vq->used_idx = vq->write_idx = code & (uint16_t)~VRING_PACKED_WRAP;
	vq->avail_wrap = vq->used_wrap = vq->write_wrap = code & VRING_PACKED_WRAP;
}

/* ---- the record of the place -------------------------------------------------------------------- */

static_assert(sizeof(struct place_used) == sizeof(struct vq_used), "one is copied to the other");

/* If the process dies, the stores before this have been made, and those after it have not. */
static inline void place_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* The first entry of a new batch is known. */
static void place_first(struct vq *vq)
{
	unsigned i = !(PLACE_FLAGS(vq->place_word) & PLACE_FIRST_1);

	vq->place->first[i].addr = le64_load(&vq->ring[vq->used_idx].addr);
	vq->place->first[i].state = vq->first_state;
}

/* What is staged will be in the ring. */
static void place_batch(struct vq *vq)
{
	struct vq_place *p = vq->place;

	assert(vq->n_batch + vq->n_staged <= vq->num);
	memcpy(p->batch + vq->n_batch, vq->staged, vq->n_staged * sizeof(vq->staged[0]));
	vq->n_batch = (uint16_t)(vq->n_batch + vq->n_staged);
	__atomic_store_n(&p->word, vq->place_word | PLACE_WORD(0, 0, vq->n_batch, 0),
			 __ATOMIC_RELEASE);
	place_order();
}

/* The batch that began at `from` is in the ring. */
static void place_publish(struct vq *vq, uint16_t from)
{
	unsigned flags = (PLACE_FLAGS(vq->place_word) ^ PLACE_FIRST_1) | PLACE_HAS_PREV;

	vq->place_word = PLACE_WORD(position_code(vq->used_idx, vq->used_wrap), from, 0, flags);
	__atomic_store_n(&vq->place->word, vq->place_word, __ATOMIC_RELEASE);
	place_order();
	vq->n_batch = 0;
}

/* Copy the batch that a predecessor began to publish.  Returns how many entries its chains take; 0: it makes no sense. */
static unsigned batch_check(const struct vq_place *p, unsigned n, unsigned num)
{
	unsigned n_entries = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t head = __atomic_load_n(&p->batch[i].head, __ATOMIC_RELAXED);

		n_entries += HEAD_ENTRIES(head);
		if (VQ_HEAD_ID(head) >= num || HEAD_ENTRIES(head) == 0 || n_entries > num)
			return 0;
	}
	return n_entries;
}

/* Publish it: all of it, since nothing of it counts yet.  The memory may be a frontend's, who changes it meanwhile: what
 * is no longer as batch_check() saw it ends the batch. */
static void batch_redo(struct vq *vq, const struct vq_place *p, unsigned n, unsigned n_entries)
{
	unsigned left = n_entries;

	vq->in_flight = (uint16_t)n_entries;
	for (unsigned i = 0; i < n; i++) {
		uint32_t head = __atomic_load_n(&p->batch[i].head, __ATOMIC_RELAXED);

		if (HEAD_ENTRIES(head) == 0 || HEAD_ENTRIES(head) > left)
			break;
		left -= HEAD_ENTRIES(head);
		if (vq->n_staged == VQ_BURST)
			vq_packed_write_staged(vq);
		vq->staged[vq->n_staged++] = (struct vq_used){ head, p->batch[i].len };
	}
	vq_packed_publish(vq);
	vq->in_flight = 0;
}

/* Go on where the record says.  False: it says nothing of use. */
static bool place_resume(struct vq *vq, struct vq_place *p, uint64_t word)
{
	unsigned flags = PLACE_FLAGS(word), n = PLACE_N(word), n_entries;
	struct position at;

	position_set(vq, PLACE_AT(word));
	vq->place_word = word & ~PLACE_WORD(0, 0, UINT16_MAX, 0);
	if (n == 0)
		return true;
	n_entries = batch_check(p, n, vq->num);
	if (n_entries == 0)
		return false;
	at = advance((struct position){ vq->used_idx, vq->used_wrap }, n_entries, vq->num);
	if (vq_packed_is_avail(le64_load(&vq->ring[vq->used_idx].state), vq->used_wrap)) {
		if (le64_load(&vq->ring[vq->used_idx].addr) !=
		    p->first[!(flags & PLACE_FIRST_1)].addr)
			return false;
		batch_redo(vq, p, n, n_entries);
	}
	position_set(vq, (uint16_t)position_code(at.idx, at.wrap));
	return true;
}

/* Find the place that the frontend cannot know, or begin a record. */
static void place_start(struct vq *vq, const struct vq_params *params)
{
	struct vq_place *p = params->place;
	uint64_t word;

	if (place_find(p, vq->ring, params->desc.v, vq->num, &word) && place_resume(vq, p, word)) {
		vq->place = p;
		if (PLACE_N(word) > 0)
			place_publish(vq, PLACE_AT(word));
		return;
	}
	position_set(vq, (uint16_t)params->base);
	place_begin(p, params->desc.v, vq->num, (uint16_t)params->base);
	vq->place_word = PLACE_WORD((uint16_t)params->base, 0, 0, PLACE_VALID);
	vq->place = p;
}

/* ---- starting ------------------------------------------------------------------------------------ */

int vq_packed_start(struct vq *vq, const struct mem *mem, const struct vq_params *p)
{
	size_t size = p->num * sizeof(struct vring_packed_desc);
	unsigned idx = p->base & ~VRING_PACKED_WRAP & UINT16_MAX;
	void *ring, *driver, *device;
	int err;

	if (idx >= p->num)
		return -EINVAL;
	err = vq_part_find(mem, p->desc, size, VRING_DESC_ALIGN, &ring);
	if (!err)
		err = vq_part_find(mem, p->avail, sizeof(le32_t), VRING_EVENT_ALIGN, &driver);
	if (!err)
		err = vq_part_find(mem, p->used, sizeof(le32_t), VRING_EVENT_ALIGN, &device);
	if (err)
		return err;
	vq->ring = ring;
	vq->driver_event = driver;
	vq->device_event = device;
	vq->event = le32_load(vq->device_event);
	position_set(vq, (uint16_t)p->base);
	vq->inflight = p->inflight;
	if (p->place)
		place_start(vq, p);
	return 0;
}

uint32_t vq_packed_base(const struct vq *vq)
{
	return position_code(vq->used_idx, vq->used_wrap) * 0x10001;
}

static inline struct vq_desc desc_of(uint64_t addr, uint64_t state)
{
	return (struct vq_desc){
		.addr = addr,
		.len = (uint32_t)state,
		.next = (uint16_t)(state >> 32),
		.flags = (uint16_t)(state >> 48),
	};
}

/* 2.8.7: a table's entries follow one another, and no flag counts in them but WRITE. */
static enum vq_cause table_walk(struct vq *vq, const struct vq_desc *indirect, struct vq_chain *c,
				unsigned room)
{
	const void *table;
	unsigned n_table;
	enum vq_cause cause = vq_table_find(vq, indirect, &table, &n_table);

	for (unsigned i = 0; cause == VQ_OK && i < n_table; i++) {
		uint64_t word[2];
		struct vq_desc d;

		vq_entry_copy(table, i, word);
		d = desc_of(word[0], word[1]);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return VQ_INDIRECT_NESTED;
		cause = vq_chain_append(vq, c, &d, room);
	}
	return cause;
}

/* Any chain, whose first descriptor is *d: descriptors linked by NEXT, in entries that follow one another, or a single
 * indirect one (2.8.19 allows no mixture).  The driver has made the first available last, so that all are.  `left`:
 * entries that are not in flight, so that a loop ends.  On return *d is the last descriptor, which has the id. */
static __attribute__((noinline)) enum vq_cause chain_walk(struct vq *vq, struct position at,
							  unsigned left, struct vq_desc *d,
							  struct vq_chain *c, unsigned room,
							  unsigned *ret_n)
{
	unsigned n = 1;

	c->n_out = c->n_in = 0;
	c->out_len = c->in_len = 0;
	*ret_n = 1;
	if (d->flags & VRING_DESC_F_INDIRECT)
		return table_walk(vq, d, c, room);
	for (;; n++) {
		enum vq_cause cause = vq_chain_append(vq, c, d, room);
		uint64_t word[2];

		if (cause != VQ_OK)
			return cause;
		if (!(d->flags & VRING_DESC_F_NEXT))
			break;
		if (n == left)
			return VQ_CHAIN_LOOP;
		at = advance(at, 1, vq->num);
		vq_entry_copy(vq->ring, at.idx, word);
		*d = desc_of(word[0], word[1]);
		if (d->flags & VRING_DESC_F_INDIRECT)
			return VQ_INDIRECT_NEXT;
	}
	*ret_n = n;
	return VQ_OK;
}

/* What a vq_packed_pop() has got so far. */
struct popped {
	struct position at;
	unsigned n, n_iov, in_flight;
};

#define OWNER (VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED)

/* Pop simple chains, up to where there is none, or something else. */
static __attribute__((noinline)) void pop_simple(struct vq *vq, struct vq_burst *b, unsigned max,
						 struct popped *p)
{
	const struct vq_window window = vq_window(vq);
	const struct vring_packed_desc *ring = vq->ring;
	const uint32_t writable = vq->in_order ? VQ_HEAD_WRITABLE : 0;
	const unsigned num = vq->num, room = min(num - p->in_flight, VQ_BURST_IOVS - p->n_iov);
	const unsigned first = p->n, end = min(max, first + room);
	unsigned avail = p->at.wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	unsigned idx = p->at.idx, n = first;
	struct iovec *iov = &b->iov[p->n_iov];

	for (; n < end; n++, iov++) {
		/* Partner: the driver's release of the flags after it wrote the rest of the chain. */
		uint64_t state = le64_load_acquire(&ring[idx].state);
		struct vq_desc d = desc_of(le64_load(&ring[idx].addr), state);
		struct vq_chain *c = &b->chain[n];

		if ((d.flags & OWNER) != avail || unlikely(d.next >= num) ||
		    unlikely(!vq_chain_simple(&window, d.addr, d.len, d.flags, c, iov)))
			break;
		c->head = HEAD(d.next, 1) | (c->n_in ? writable : 0);
		vq->popped[n] = 1;
		if (unlikely(++idx == num)) {
			idx = 0;
			avail ^= OWNER;
		}
	}
	p->at = (struct position){ idx, avail == VRING_PACKED_DESC_F_AVAIL };
	p->n = n;
	p->n_iov += n - first;
	p->in_flight += n - first;
}

/* Pop any one chain, if there is one: *ret_cause is VQ_OK.  False: there is none, or it is bad. */
static __attribute__((noinline)) bool pop_any(struct vq *vq, struct vq_burst *b, struct popped *p,
					      enum vq_cause *ret_cause)
{
	uint64_t state = le64_load_acquire(&vq->ring[p->at.idx].state); /* as above */
	struct vq_chain *c = &b->chain[p->n];
	unsigned n_entries;
	struct vq_desc d;

	if (!vq_packed_is_avail(state, p->at.wrap))
		return false;
	if (unlikely(p->in_flight == vq->num)) {
		*ret_cause = VQ_AVAIL_JUMP;
		return false;
	}
	d = desc_of(le64_load(&vq->ring[p->at.idx].addr), state);
	c->iov = &b->iov[p->n_iov];
	*ret_cause = chain_walk(vq, p->at, vq->num - p->in_flight, &d, c, VQ_BURST_IOVS - p->n_iov,
				&n_entries);
	if (unlikely(*ret_cause != VQ_OK))
		return false;
	if (unlikely(d.next >= vq->num)) {
		*ret_cause = VQ_HEAD_RANGE;
		return false;
	}
	c->head = HEAD(d.next, n_entries) | vq_head_bit(vq, c);
	vq->popped[p->n++] = (uint16_t)n_entries;
	p->n_iov += (unsigned)c->n_out + c->n_in;
	p->in_flight += n_entries;
	p->at = advance(p->at, n_entries, vq->num);
	return true;
}

int vq_packed_pop(struct vq *vq, struct vq_burst *b, unsigned max)
{
	struct popped p = { .at = { vq->last_avail, vq->avail_wrap }, .in_flight = vq->in_flight };
	enum vq_cause cause = VQ_OK;

	do
		pop_simple(vq, b, max, &p);
	while (p.n < max && pop_any(vq, b, &p, &cause));

	/* As in a split ring: good chains in front of a bad one go out first, and it is met again. */
	if (unlikely(p.n == 0 && cause != VQ_OK)) {
		vq->cause = cause;
		return -EBADMSG;
	}
	vq->last_avail = (uint16_t)p.at.idx;
	vq->avail_wrap = p.at.wrap;
	vq->in_flight = (uint16_t)p.in_flight;
	vq->n_popped = (uint16_t)p.n;
	b->n = p.n;
	return (int)p.n;
}

void vq_packed_unpop(struct vq *vq, unsigned n)
{
	unsigned back = 0;

	assert(n <= vq->n_popped);
	for (; n > 0; n--)
		back += vq->popped[--vq->n_popped];
	assert(back + vq->n_staged + vq->n_written <= vq->in_flight);
	vq->in_flight = (uint16_t)(vq->in_flight - back);
	if (back > vq->last_avail) {
		back -= vq->num;
		vq->avail_wrap = !vq->avail_wrap;
	}
	vq->last_avail = (uint16_t)(vq->last_avail - back);
}

/* 2.8.6: in a used descriptor both flags are the writer's wrap counter; WRITE says that len counts. */
static inline uint64_t used_state(const struct vq_used *used, bool wrap)
{
	uint64_t flags = wrap ? VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED : 0;

	if (used->len > 0)
		flags |= VRING_DESC_F_WRITE;
	return used->len | (uint64_t)VQ_HEAD_ID(used->head) << 32 | flags << 48;
}

/* Write staged[i], or the batch that begins with it, at `at`; or keep it, if it is what vq_packed_publish() shows all
 * others by.  Returns how many entries it takes, and in *i the last of the batch. */
static inline unsigned write_one(struct vq *vq, struct position at, bool is_first, unsigned *i)
{
	unsigned n_entries = HEAD_ENTRIES(vq->staged[*i].head), last = *i;
	uint64_t state;

	/* 2.8.6: a batch's one entry has the first one's place and the last one's id. */
	if (unlikely(vq->in_order))
		for (last = vq_batch_end(vq, *i); *i < last;)
			n_entries += HEAD_ENTRIES(vq->staged[++*i].head);
	state = used_state(&vq->staged[last], at.wrap);
	if (is_first)
		vq->first_state = state;
	else
		le64_store(&vq->ring[at.idx].state, state);
	return n_entries;
}

void vq_packed_write_staged(struct vq *vq)
{
	struct position at = { vq->write_idx, vq->write_wrap };
	const unsigned n = vq->n_staged, num = vq->num, in_flight = vq->in_flight;
	unsigned n_written = vq->n_written, i = 0;

	if (n == 0)
		return;
	if (n_written == 0) {
		n_written = write_one(vq, at, true, &i);
		at = advance(at, n_written, num);
		i++;
		if (vq->place)
			place_first(vq);
	}
	if (vq->place)
		place_batch(vq);
	for (; i < n; i++) {
		unsigned n_entries = write_one(vq, at, false, &i);

		n_written += n_entries;
		at = advance(at, n_entries, num);
	}
	assert(n_written <= in_flight);
	vq->n_staged = 0;
	vq->n_written = (uint16_t)n_written;
	vq->write_idx = (uint16_t)at.idx;
	vq->write_wrap = at.wrap;
}

/* For a backend of another make: what will be used, before the entry that makes it so, and what has been, after. */
static void inflight_tell(struct inflight_packed *in, uint16_t idx, bool wrap, bool done)
{
	uint16_t *place = done ? &in->old_used_idx : &in->used_idx;
	uint8_t *counter = done ? &in->old_used_wrap_counter : &in->used_wrap_counter;

	__atomic_store_n(place, idx, __ATOMIC_RELAXED);
	__atomic_store_n(counter, (uint8_t)wrap, __ATOMIC_RELEASE);
	place_order();
}

void vq_packed_publish(struct vq *vq)
{
	uint32_t from = position_code(vq->used_idx, vq->used_wrap);

	vq_packed_write_staged(vq);
	if (vq->n_written == 0)
		return;
	if (vq->inflight)
		inflight_tell(vq->inflight, vq->write_idx, vq->write_wrap, false);
	/* Partner: the driver's acquire of the flags before it reads this entry, those behind it, and buffers. */
	le64_store_release(&vq->ring[vq->used_idx].state, vq->first_state);
	vq->used_idx = vq->write_idx;
	vq->used_wrap = vq->write_wrap;
	vq->in_flight = (uint16_t)(vq->in_flight - vq->n_written);
	vq->n_uncalled += vq->n_written;
	vq->n_written = 0;
	if (vq->place)
		place_publish(vq, (uint16_t)from);
	if (vq->inflight)
		inflight_tell(vq->inflight, vq->used_idx, vq->used_wrap, true);
}

bool vq_packed_wants_call(const struct vq *vq)
{
	uint32_t event, mode, idx, behind;
	bool wrap;

	/* As in vq_split_wants_call(): of two sides that each store and then load, one sees the other. */
	vq_fence();
	event = le32_load(vq->driver_event);
	mode = event >> 16 & 3;
	if (mode == VRING_PACKED_EVENT_DISABLE)
		return false;
	if (mode != VRING_PACKED_EVENT_DESC || !vq->event_idx || vq->call_any)
		return true;
	/* 2.8.10: was the entry that the driver named published since the last look?  It is as far behind used_idx as
	 * the two differ, in a ring of twice the size, for the two laps that the counters tell apart. */
	idx = event & UINT16_MAX & ~VRING_PACKED_WRAP;
	wrap = event & VRING_PACKED_WRAP;
	if (idx >= vq->num)
		return true; /* nonsense: better one call too many */
	behind = vq->used_idx + (wrap == vq->used_wrap ? 0u : vq->num) + 2u * vq->num - idx;
	behind = (behind - 1) % (2u * vq->num);
	return behind < vq->n_uncalled;
}

/* Position and mode change together: one store. */
static void event_set(struct vq *vq, uint32_t event)
{
	if (vq->event != event)
		le32_store(vq->device_event, event);
	vq->event = event;
}

void vq_packed_kick_off(struct vq *vq)
{
	event_set(vq, VRING_PACKED_EVENT(VRING_PACKED_EVENT_DISABLE, 0));
}

bool vq_packed_kick_on(struct vq *vq)
{
	if (vq->event_idx)
		event_set(vq, VRING_PACKED_EVENT(VRING_PACKED_EVENT_DESC,
						 position_code(vq->last_avail, vq->avail_wrap)));
	else
		event_set(vq, VRING_PACKED_EVENT(VRING_PACKED_EVENT_ENABLE, 0));
	/* The same pair as in vq_packed_wants_call(), the other way round. */
	vq_fence();
	return vq_packed_is_avail(le64_load(&vq->ring[vq->last_avail].state), vq->avail_wrap);
}
