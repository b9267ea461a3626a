/* SPDX-License-Identifier: MIT */
#include "lane.h"

#include "relax.h"

/* Bytes that are fetched ahead at most: there are so many lines that a processor can wait for. */
#define FETCH_MOST 4096
/* PADs in a row that a producer has reason for, one at a lane's end and one before a large record, and the record. */
#define PADS_MAX 4
/* A consumer that catches up with a busy producer reads the very cache lines that are being written, and both wait for each
 * other.  It sees that by records that come one or two at a time, with hardly a look in vain between them.  Then it
 * waits a little when it finds nothing, so that the producer gets some lines ahead, and for longer as long as that is
 * less than a good run; up to about two microseconds.  Who gets answers that quickly looks like that, too, but no run
 * grows by waiting for it: then there is no more waiting for a good while. */
#define LOOKS_BUSY  2
#define STREAK_BUSY 8
#define RUN_GOOD    4096 /* bytes */
#define RUN_NONE \
	256 /* bytes: so few behind a pause of PAUSE_PROOF are answers, or a producer that is slow anyway */
#define PAUSE_PROOF 31u
#define PAUSE_MAX   64u
#define RUNS_CALM   4096

static int producer_poisoned(struct lane_producer *p, enum ring_fault fault)
{
	p->fault = fault;
	p->limit = 0;
	le32_store(&p->own->fault, fault);
	le32_store_release(&p->own->state, RING_END_POISONED);
	return -EPROTO;
}

static bool may_tell(struct lane_consumer *c)
{
	return ring_begin(c->writing, c->quiesce);
}

static void told(struct lane_consumer *c)
{
	ring_end(c->writing);
}

bool lane_tell(struct lane_consumer *c)
{
	if (!may_tell(c))
		return false;
	lane_say(c);
	told(c);
	return true;
}

/* Let the producer see that we do not go on. */
static void tell_fault(struct lane_consumer *c)
{
	if (!c->untold || !may_tell(c))
		return;
	le32_store(&c->place->fault, c->fault);
	le32_store_release(&c->place->state, RING_END_POISONED);
	c->untold = false;
	told(c);
}

static int consumer_poisoned(struct lane_consumer *c, enum ring_fault fault)
{
	/* What it looks at from now on, instead of the lane: nothing ever comes here. */
	static const uint64_t silence;

	c->fault = fault;
	c->data = (const uint8_t *)&silence;
	c->mask = sizeof(silence) - 1;
	c->array.left = 0;
	c->since = LANE_NEVER;
	c->untold = true;
	tell_fault(c);
	return -EPROTO;
}

void lane_consumer_init(struct lane_consumer *c, const uint8_t *data, uint64_t size,
			uint64_t position)
{
	c->data = data;
	c->mask = size - 1;
	c->next = c->pos = c->said = c->since = position;
	c->quantum = size / 8;
	c->fault = RING_FAULT_NONE;
	c->untold = false;
	c->array.left = 0;
}

int lane_reserve_slowly(struct lane_producer *p, uint32_t len, void **ret_data)
{
	uint64_t span = ring_span(len);
	bool align = len >= RING_LARGE && span + RING_LINE <= (p->mask + 1) / 2;
	int r = 0;

	if (align)
		span += RING_LINE;
	if (p->tail + span > p->limit)
		r = lane_make_room(p, span);
	if (r < 0)
		return r;
	if (align && ring_gap(p->tail))
		lane_pad(p, ring_gap(p->tail));
	lane_reserve_here(p, len, ret_data);
	return 0;
}

/* Look how far the consumer is. */
static int look(struct lane_producer *p)
{
	/* Partner: lane_say(). */
	uint64_t position = RING_LOAD_ACQUIRE(&p->place->position);

	if (position - p->seen > p->tail - p->seen || position % sizeof(le64_t) != 0)
		return producer_poisoned(p, RING_FAULT_POSITION);
	p->seen = position;
	return 0;
}

int lane_make_room(struct lane_producer *p, uint64_t span)
{
	uint64_t size = p->mask + 1;
	uint64_t to_end = size - (p->tail & p->mask);
	uint64_t pad = span > to_end ? to_end : 0;
	uint64_t need = pad + span + sizeof(le64_t); /* and the cleared word behind it */
	int r;

	if (p->fault)
		return -EPROTO;
	if (p->tail + need > p->seen + size) {
		r = look(p);
		if (r < 0)
			return r;
		if (p->tail + need > p->seen + size) {
			p->limit = min(p->seen + size - sizeof(le64_t), p->tail + to_end);
			p->wanted = need;
			return -EAGAIN;
		}
	}
	if (pad) {
		lane_pad(p, pad);
		to_end = size;
	}
	p->limit = min(p->seen + size - sizeof(le64_t), p->tail + to_end);
	p->wanted = 0;
	return 0;
}

static void lay_out(uint8_t *to, const uint8_t *from, uint32_t len, uint32_t stride, unsigned n)
{
	if (stride == len) {
		memcpy(to, from, (size_t)len * n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		memcpy(to + (size_t)i * stride, from + (size_t)i * len, len);
}

/* The next record is often as long as this one: begin to fetch its lines while the caller makes it, or those behind it if it is
 * short. */
static void fetch_as_much(const struct lane_producer *p, uint64_t span)
{
	uint64_t from = span < LANE_AHEAD ? LANE_AHEAD - span : 0;

	for (uint64_t at = 0; at <= min(span, (uint64_t)FETCH_MOST); at += 64)
		lane_fetch_line(p, from + at);
}

/* Of n messages, as many as lie in what room there is before the lane's end, now that there is none for all of them. */
static unsigned room_for(const struct lane_producer *p, uint32_t stride, unsigned n)
{
	uint64_t room = p->limit > p->tail ? p->limit - p->tail : 0;
	uint64_t own = ring_span_small(sizeof(struct ring_array));

	/* A large record takes up to a line before it and one behind it. */
	if (room > RING_LARGE)
		room = max((uint64_t)RING_LARGE, room - 2UL * RING_LINE);
	if (stride == 0 || room < own + (size_t)2 * stride)
		return room >= ring_span_small(stride) ? 1 : 0;
	return min(n, (unsigned)((room - own) / stride));
}

int lane_send_array(struct lane_producer *p, const void *data, uint32_t len, unsigned n,
		    uint32_t type)
{
	uint32_t stride = (uint32_t)ring_stride(len), own = sizeof(struct ring_array);
	void *at = NULL;
	int r;

	n = stride ? min(n, (ring_longest(p->mask + 1) - own) / stride) : 1;
	r = lane_reserve(p, n > 1 ? own + n * stride : len, &at);
	if (r == -EAGAIN) {
		n = room_for(p, stride, n);
		if (n == 0)
			return -EAGAIN;
		r = lane_reserve(p, n > 1 ? own + n * stride : len, &at);
	}
	if (r < 0)
		return r;
	p->wanted = 0; /* some go: who waits now has not been refused yet */
	if (n <= 1) {
		if (len)
			memcpy(at, data, len);
		lane_publish(p, RING_DATA, len, type);
		return 1;
	}
	*(struct ring_array *)at = (struct ring_array){ le32_of(len), le32_of(n) };
	lay_out((uint8_t *)at + own, data, len, stride, n);
	lane_publish(p, RING_ARRAY, own + n * stride, type);
	fetch_as_much(p, (uint64_t)n * stride);
	return (int)n;
}

int lane_send_batch(struct lane_producer *p, const struct portal_record *records, unsigned n)
{
	unsigned i = 0;
	int r = 0;

	/* Those that lie together: the first one's word is stored last, and until then nobody sees any of them. */
	while (i < n && r == 0) {
		uint64_t first = p->tail, first_word = 0;

		for (; i < n; i++) {
			const struct portal_record *record = &records[i];
			uint64_t span = ring_span(record->len), word;

			if (record->len > p->max_record) {
				r = -EMSGSIZE;
				break;
			}
			if (p->tail + span > p->limit) {
				if (p->tail != first)
					break;
				r = lane_make_room(p, span);
				if (r < 0)
					break;
				first = p->tail;
			}
			word = ring_word(p->tail, RING_DATA, record->type, record->len);
			if (p->tail == first)
				first_word = word;
			else
				le64_store(lane_word(p, p->tail), word);
			if (record->len)
				memcpy(p->data + (p->tail & p->mask) + sizeof(le64_t), record->data,
				       record->len);
			p->tail += span;
		}
		if (p->tail == first)
			break;
		le64_store(lane_word(p, p->tail), 0);
		/* Partner: lane_front(). */
		le64_store_release(lane_word(p, first), first_word);
	}
	p->reserved = 0;
	return i > 0 ? (int)i : r;
}

/* The lane was found empty behind a run of records. */
static void run_over(struct lane_consumer *c)
{
	uint64_t run = c->next - c->since;

	c->since = c->next;
	c->streak = c->looks <= LOOKS_BUSY || c->streak < 0 ? c->streak + 1 : 0;
	c->looks = 0;
	if (c->pause >= PAUSE_PROOF && run < RUN_NONE)
		c->streak = -RUNS_CALM;
	if (c->streak < STREAK_BUSY)
		c->pause = 0;
	else if (run < RUN_GOOD)
		c->pause = min(2 * c->pause + 1, PAUSE_MAX);
	else
		c->pause -= c->pause / 4;
	for (uint32_t i = 0; i < c->pause; i++)
		cpu_relax();
}

static int empty(struct lane_consumer *c)
{
	if (c->said != c->pos && lane_tell(c))
		c->told = true;
	if (c->next != c->since)
		run_over(c);
	else
		c->looks++;
	return -EAGAIN;
}

bool lane_record_valid(uint64_t word, uint64_t position, uint64_t size, uint32_t max_record,
		       uint64_t *ret_span)
{
	enum ring_record_kind kind = word >> RING_KIND_SHIFT & 3;
	uint32_t len = word & RING_LEN_MAX;
	uint64_t left = size - (position & (size - 1));
	uint64_t span = kind == RING_PAD ? ring_span_small(len) : ring_span(len);

	if (word >> 32 != ring_mark(position, kind) || kind > RING_PAD || span > left)
		return false;
	if ((kind == RING_DATA && len > max_record) ||
	    (kind == RING_ARRAY && len < sizeof(struct ring_array)))
		return false;
	*ret_span = span;
	return true;
}

static enum ring_fault record_fault(const struct lane_consumer *c, uint64_t word)
{
	enum ring_record_kind kind = word >> RING_KIND_SHIFT & 3;

	return word >> 32 != ring_mark(c->next, kind) || kind > RING_PAD ? RING_FAULT_TAG :
									   RING_FAULT_LENGTH;
}

/* Take an array's own header into private memory. */
static int array_begin(struct lane_consumer *c, uint64_t word)
{
	const uint8_t *payload = c->data + (c->next & c->mask) + sizeof(le64_t);
	uint32_t payload_len = word & RING_LEN_MAX;
	/* Both numbers with one load. */
	uint64_t both = RING_LOAD((const le64_t *)(const void *)payload);
	uint32_t len = (uint32_t)both, n = (uint32_t)(both >> 32);
	uint64_t stride = ring_stride(len);

	if (len > c->max_record || stride == 0 || n == 0 ||
	    n * stride != payload_len - sizeof(struct ring_array))
		return consumer_poisoned(c, RING_FAULT_ARRAY);
	c->array = (struct lane_array){ .at = payload + sizeof(struct ring_array),
					.left = n,
					.len = len,
					.stride = (uint32_t)stride,
					.type = word >> 24 & 0xff,
					.end = c->next + ring_span(payload_len) };
	return 0;
}

void lane_array_advance(struct lane_consumer *c, unsigned n)
{
	struct lane_array *a = &c->array;

	a->at += (size_t)n * a->stride;
	a->left -= n;
	if (a->left == 0)
		c->next = a->end;
}

/* Find the next message, given the word at the next position: skip PADs, open an array.  0: it is the next one of the array,
 * or *word is that of a record whose length is in bounds. */
static int settle(struct lane_consumer *c, uint64_t *word)
{
	if (c->fault) {
		tell_fault(c);
		return -EPROTO;
	}
	if (c->array.left)
		return 0;
	for (unsigned pads = 0; pads < PADS_MAX; pads++) {
		enum ring_record_kind kind = *word >> RING_KIND_SHIFT & 3;
		uint64_t span;

		if (!(*word & RING_COMMITTED))
			return empty(c);
		if (!lane_record_valid(*word, c->next, c->mask + 1, c->max_record, &span))
			return consumer_poisoned(c, record_fault(c, *word));
		if (kind == RING_DATA)
			return 0;
		if (kind == RING_ARRAY)
			return array_begin(c, *word);
		/* Nobody has peeked at a PAD: it goes with what is released next. */
		if (c->pos == c->next)
			c->pos += span;
		c->next += span;
		*word = lane_next_word(c);
	}
	return consumer_poisoned(c, RING_FAULT_PADS);
}

int lane_front_odd(struct lane_consumer *c, uint64_t word, struct portal_record *ret_record)
{
	int r = settle(c, &word);

	if (r < 0)
		return r;
	if (c->array.left)
		*ret_record = (struct portal_record){ c->array.at, c->array.len, c->array.type,
						      c->index };
	else
		*ret_record = lane_record(c, word);
	return 0;
}

/* Up to n messages of len bytes of what settle() found. */
static unsigned take(struct lane_consumer *c, uint64_t word, uint8_t *to, uint32_t len, unsigned n)
{
	if (c->array.left == 0) {
		if (len)
			memcpy(to, c->data + (c->next & c->mask) + sizeof(le64_t), len);
		c->next += ring_span(word & RING_LEN_MAX);
		return 1;
	}
	n = min(n, c->array.left);
	if (c->array.stride == len) {
		memcpy(to, c->array.at, (size_t)len * n);
	} else {
		for (unsigned i = 0; i < n; i++)
			memcpy(to + (size_t)i * len, c->array.at + (size_t)i * c->array.stride,
			       len);
	}
	lane_array_advance(c, n);
	return n;
}

int lane_recv_array(struct lane_consumer *c, void *data, uint32_t len, unsigned n)
{
	unsigned done = 0;
	int r = 0;

	while (done < n) {
		uint64_t word = lane_next_word(c);

		r = settle(c, &word);
		if (r == 0 && (c->array.left ? c->array.len : word & RING_LEN_MAX) != len)
			r = -EMSGSIZE;
		if (r < 0)
			break;
		done += take(c, word, (uint8_t *)data + (size_t)done * len, len, n - done);
	}
	return done > 0 ? (int)done : r;
}

uint64_t lane_room_wanted(struct lane_consumer *c, uint64_t sleep)
{
	uint64_t until = RING_LOAD_ACQUIRE(&c->peer->until);

	lane_say(c);
	/* A place behind the next record can only be reached by reading on: as good as now, and any other value is not one. */
	if ((int64_t)(c->pos - until) < 0)
		return 0;
	c->rung = sleep;
	return sleep;
}

int lane_find_tail(const uint8_t *data, uint64_t size, uint32_t max_record, uint64_t from,
		   uint64_t *ret_tail)
{
	uint64_t at = from;

	if (from % sizeof(le64_t) != 0)
		return -EPROTO;
	while (at - from < size) {
		uint64_t word =
			RING_LOAD_ACQUIRE((const le64_t *)(const void *)(data + (at & (size - 1))));
		uint64_t span;

		if (!(word & RING_COMMITTED)) {
			*ret_tail = at;
			return 0;
		}
		if (!lane_record_valid(word, at, size, max_record, &span))
			return -EPROTO;
		at += span;
	}
	return -EPROTO;
}
