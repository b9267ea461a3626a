/* SPDX-License-Identifier: MIT */
/* The functions of portal.h that move records: which lane, whose turn, who is to be woken. */
#include "ring.h"

/* How often an end that finds nothing looks whether the other one is still there. */
#define LOOKS_PER_CHECK 64
/* Records that a lane gives before the next one's turn: enough to make a visit pay, few enough to be fair. */
#define LANE_BUDGET 32

/* ---- producer --------------------------------------------------------------- */

/* Why is there no room? */
static int no_room(struct portal_ring *r, int why)
{
	if (why != -EAGAIN)
		return why;
	return r->empties++ % LOOKS_PER_CHECK == 0 && ring_check_peers(r) < 0 ? -EPIPE : -EAGAIN;
}

/* A producer begins to write, until its record is published or refused; a reservation is a record that is being written. */
static inline bool begin(struct portal_ring *r)
{
	return likely(ring_begin(&r->writing, r->quiesce));
}

static int refused(struct portal_ring *r, int why)
{
	r->producer.reserved = 0;
	ring_end(&r->writing);
	return why;
}

/* The arena pauses, or the end is none of a producer. */
static int paused(struct portal_ring *r)
{
	return refused(r, r->role == PORTAL_PRODUCER ? -EAGAIN : -EINVAL);
}

static __attribute__((noinline)) int reserve(struct portal_ring *r, uint32_t len, void **ret_data)
{
	struct lane_producer *p = &r->producer;
	int res;

	if (!begin(r))
		return paused(r);
	if (unlikely(len > p->max_record))
		return refused(r, -EMSGSIZE);
	if (unlikely(r->broadcast)) {
		res = broadcast_make_room(r, ring_span(len));
		if (res < 0)
			return refused(r, res);
	}
	res = lane_reserve(p, len, ret_data);
	return likely(res == 0) ? 0 : refused(r, no_room(r, res));
}

static __attribute__((noinline)) int wake(struct portal_ring *r, uint64_t sleep)
{
	ring_wake(r, r->far, sleep, &r->producer.rung);
	ring_end(&r->writing);
	return 0;
}

/* 0, as portal_commit() returns it. */
static inline int published(struct portal_ring *r)
{
	uint64_t sleep;

	if (unlikely(r->broadcast))
		le64_store_release(&r->end->position, r->producer.tail);
	sleep = lane_sleeper(&r->producer);
	if (unlikely(sleep))
		return wake(r, sleep);
	ring_end(&r->writing);
	return 0;
}

/* Calls come last on the quick paths, here and below: what they need is not kept across anything. */
int portal_reserve(struct portal_ring *r, uint32_t len, void **ret_data)
{
	struct lane_producer *p = &r->producer;

	/* Until the commit. */
	if (unlikely(len > p->max_record) || unlikely(r->broadcast) ||
	    unlikely(!lane_has_room(p, len)) || unlikely(!begin(r)))
		return reserve(r, len, ret_data);
	lane_reserve_here(p, len, ret_data);
	return 0;
}

int portal_commit(struct portal_ring *r, uint32_t len, uint32_t type)
{
	if (unlikely(len >= r->producer.reserved) || unlikely(type > 0xff))
		return -EINVAL;
	lane_publish(&r->producer, RING_DATA, len, type);
	return published(r);
}

/* Anything that portal_send() does not do at once. */
static __attribute__((noinline)) int send_slowly(struct portal_ring *r, const void *data,
						 uint32_t len, uint32_t type)
{
	void *at = NULL;
	int res;

	if (unlikely(type > 0xff))
		return -EINVAL;
	res = reserve(r, len, &at);
	if (unlikely(res < 0))
		return res;
	if (len) /* data may be NULL then */
		memcpy(at, data, len);
	lane_publish(&r->producer, RING_DATA, len, type);
	return published(r);
}

int portal_send(struct portal_ring *r, const void *data, uint32_t len, uint32_t type)
{
	struct lane_producer *p = &r->producer;
	/* Loaded once: for all that the compiler knows, stores to the lane change them. */
	uint64_t at = p->tail, end = at + ring_span_small(len), mask = p->mask, sleep;
	uint8_t *lane = p->data, *record = lane + (at & mask);

	if (unlikely((int64_t)len > p->short_most) || unlikely(end > p->limit) ||
	    unlikely(type > 0xff) || unlikely(!begin(r)))
		return send_slowly(r, data, len, type);
	lane_copy_short(record + sizeof(le64_t), data, len);
	lane_publish_at(p, end, (le64_t *)(void *)record, (le64_t *)(void *)(lane + (end & mask)),
			ring_word(at, RING_DATA, type, len));
	lane_fetch_line(p, LANE_AHEAD);
	sleep = lane_sleeper(p);
	if (unlikely(sleep))
		return wake(r, sleep);
	ring_end(&r->writing);
	return 0;
}

int portal_send_batch(struct portal_ring *r, const struct portal_record *records, unsigned n)
{
	unsigned i = 0;
	int res = 0;

	if (unlikely(!begin(r)))
		return paused(r);
	if (unlikely(r->broadcast)) {
		while (i < n && (res = portal_send(r, records[i].data, records[i].len,
						   records[i].type)) == 0)
			i++;
		return i > 0 ? (int)i : refused(r, res);
	}
	res = lane_send_batch(&r->producer, records, n);
	if (unlikely(res < 0))
		return refused(r, no_room(r, res));
	(void)published(r);
	return res;
}

int portal_send_array(struct portal_ring *r, const void *data, uint32_t len, unsigned n,
		      uint32_t type)
{
	int res;

	if (unlikely(!begin(r)))
		return paused(r);
	if (unlikely(len > r->producer.max_record))
		return refused(r, -EMSGSIZE);
	if (unlikely(type > 0xff) || unlikely(n == 0))
		return refused(r, -EINVAL);
	if (unlikely(r->broadcast)) {
		res = broadcast_make_room(r, ring_span(ring_longest(r->geo.size)));
		if (res < 0)
			return refused(r, res);
	}
	res = lane_send_array(&r->producer, data, len, n, type);
	if (unlikely(res < 0))
		return refused(r, no_room(r, res));
	(void)published(r);
	return res;
}

/* ---- consumer ---------------------------------------------------------------- */

/* During a pause it is not said: whoever sleeps is found again by the next release, or by our own sleep. */
static void room_made(struct portal_ring *r, struct lane_consumer *c, uint64_t sleep)
{
	if (!ring_begin(&r->writing, r->env.quiesce))
		return;
	sleep = lane_room_wanted(c, sleep);
	if (sleep)
		ring_wake(r, ring_producer_end(r, c->index), sleep, &c->rung);
	ring_end(&r->writing);
}

/* The lane was empty, and that was said: a producer that fell asleep before is woken. */
static void emptied(struct portal_ring *r, struct lane_consumer *c)
{
	uint64_t sleep;

	c->told = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	sleep = RING_LOAD(&c->peer->sleep);
	if ((sleep & RING_SLEEP_MASK) != 0 && sleep != c->rung)
		room_made(r, c, sleep);
}

void ring_say(struct portal_ring *r)
{
	for (uint32_t i = 0; i < r->geo.lanes; i++) {
		struct lane_consumer *c = &r->lanes[i];

		if (c->said != c->pos)
			(void)lane_tell(c);
		emptied(r, c);
	}
}

static int nothing(struct portal_ring *r, int why)
{
	if (why != -EAGAIN)
		return why;
	/* A broadcast's producer waits for nobody, whatever its end says. */
	if (r->lane->told && !r->broadcast)
		emptied(r, r->lane);
	return r->empties++ % LOOKS_PER_CHECK == 0 && ring_check_peers(r) < 0 ? -EPIPE : -EAGAIN;
}

static void next_lane(struct portal_ring *r)
{
	uint32_t next = r->lane->index + 1;

	r->lane = &r->lanes[next < r->geo.lanes ? next : 0];
	r->budget = LANE_BUDGET;
}

/* The lane whose turn it is, if it has something and has not had its share; otherwise the next one that has.  A poisoned
 * lane is told of once, and then passed by. */
static int sweep(struct portal_ring *r, struct portal_record *ret_record)
{
	if (r->budget == 0)
		next_lane(r);
	for (uint32_t i = 0; i < r->geo.lanes; i++, next_lane(r)) {
		bool was_sound = r->lane->fault == RING_FAULT_NONE;
		int res = lane_front(r->lane, ret_record);

		if (res == 0 || (res == -EPROTO && was_sound))
			return res;
		if (r->lane->told)
			emptied(r, r->lane);
	}
	return -EAGAIN;
}

static int front_of_many(struct portal_ring *r, struct portal_record *ret_record)
{
	int res = r->untold;

	r->untold = 0;
	if (res < 0)
		return res;
	return r->broadcast ? broadcast_front(r, ret_record) : sweep(r, ret_record);
}

static inline int front(struct portal_ring *r, struct portal_record *ret_record)
{
	int res;

	if (unlikely(!r->lane))
		return -EINVAL;
	res = unlikely(r->many || r->broadcast) ? front_of_many(r, ret_record) :
						  lane_front(r->lane, ret_record);
	return likely(res == 0) ? 0 : nothing(r, res);
}

static inline void advance(struct portal_ring *r, uint32_t len)
{
	lane_advance(r->lane, len);
	if (unlikely(r->many)) {
		r->budget--;
		r->peeked |= 1ULL << r->lane->index;
	}
}

static void release_many(struct portal_ring *r)
{
	while (r->peeked) {
		struct lane_consumer *c = &r->lanes[__builtin_ctzll(r->peeked)];
		uint64_t sleep = lane_release(c);

		r->peeked &= r->peeked - 1;
		if (sleep)
			room_made(r, c, sleep);
	}
}

static __attribute__((noinline)) int release_slowly(struct portal_ring *r)
{
	if (unlikely(!r->lane))
		return -EINVAL;
	if (r->broadcast)
		return broadcast_release(r);
	release_many(r);
	return 0;
}

/* 0, as portal_release() returns it. */
static __attribute__((noinline)) int room(struct portal_ring *r, uint64_t sleep)
{
	room_made(r, r->lane, sleep);
	return 0;
}

static inline int release(struct portal_ring *r)
{
	uint64_t sleep;

	if (unlikely(r->lane != r->direct))
		return release_slowly(r);
	sleep = lane_release(r->lane);
	return likely(sleep == 0) ? 0 : room(r, sleep);
}

/* What a call that goes through several records returns: how many it has, or why there is none.  What is told but once is
 * kept for the next call. */
static int counted(struct portal_ring *r, unsigned n, int res)
{
	if (n == 0)
		return res;
	if (res == -EOVERFLOW || (res == -EPROTO && r->many))
		r->untold = res;
	return (int)n;
}

/* The first message, given the word at the direct lane's next position, which is not loaded again. */
static int front_given(struct portal_ring *r, uint64_t word, struct portal_record *ret_record)
{
	int res;

	if (r->lane != r->direct)
		return front(r, ret_record);
	res = lane_front_of(r->lane, word, ret_record);
	return likely(res == 0) ? 0 : nothing(r, res);
}

static __attribute__((noinline)) int peek_slowly(struct portal_ring *r, uint64_t word,
						 struct portal_record *ret_record)
{
	int res = front_given(r, word, ret_record);

	if (likely(res == 0))
		advance(r, ret_record->len);
	return res;
}

int portal_peek(struct portal_ring *r, struct portal_record *ret_record)
{
	struct lane_consumer *c = r->direct;
	uint64_t word = lane_next_word(c);

	if (unlikely(!lane_is_plain(c, word)))
		return peek_slowly(r, word, ret_record);
	*ret_record = lane_record(c, word);
	c->next += ring_span(ret_record->len);
	return 0;
}

int portal_peek_batch(struct portal_ring *r, struct portal_record *records, unsigned n)
{
	unsigned i = 0;
	int res = 0;

	while (i < n && (res = portal_peek(r, &records[i])) == 0)
		i++;
	/* Behind -EOVERFLOW stands what is new: what was peeked at before is lost, and is not to be released as sound. */
	return res == -EOVERFLOW ? res : counted(r, i, res);
}

int portal_release(struct portal_ring *r)
{
	return release(r);
}

/* Anything that portal_recv() does not do at once.  `word` is what it has loaded, which is not loaded again. */
static __attribute__((noinline)) int64_t recv_slowly(struct portal_ring *r, uint64_t word,
						     void *data, uint32_t size, uint32_t *ret_type)
{
	struct portal_record record;
	int res = front_given(r, word, &record);

	if (unlikely(res < 0))
		return res;
	if (unlikely(record.len > size))
		return -EMSGSIZE;
	if (record.len)
		memcpy(data, record.data, record.len);
	advance(r, record.len);
	res = release(r);
	if (unlikely(res < 0))
		return res;
	if (ret_type)
		*ret_type = record.type;
	return record.len;
}

static __attribute__((noinline)) int64_t received(struct portal_ring *r, uint64_t sleep,
						  uint32_t len)
{
	room_made(r, r->lane, sleep);
	return len;
}

int64_t portal_recv(struct portal_ring *r, void *data, uint32_t size, uint32_t *ret_type)
{
	struct lane_consumer *c = r->direct;
	uint64_t next = c->next, mask = c->mask, place = (next & mask) + sizeof(le64_t), sleep;
	const uint8_t *record = c->data + place;
	uint64_t word = lane_next_word(c);
	uint32_t len = word & RING_LEN_MAX;

	if (unlikely(word >> 32 != ring_mark(next, RING_DATA)) || unlikely(len > c->short_most) ||
	    unlikely(len > size) || unlikely(len > mask + 1 - place))
		return lane_still_empty(c, word) ? -EAGAIN :
						   recv_slowly(r, word, data, size, ret_type);
	lane_copy_short(data, record, len);
	c->next = next + ring_span_small(len);
	if (ret_type)
		*ret_type = word >> 24 & 0xff;
	sleep = lane_release(c);
	return likely(sleep == 0) ? len : received(r, sleep, len);
}

/* Of a ring of many, or of a broadcast: one by one. */
static int recv_singly(struct portal_ring *r, uint8_t *data, uint32_t len, unsigned n)
{
	struct portal_record record;
	unsigned i = 0;
	int res = 0;

	for (; i < n; i++) {
		res = front(r, &record);
		if (res == 0 && record.len != len)
			res = -EMSGSIZE;
		if (res < 0)
			break;
		if (len)
			memcpy(data + (size_t)i * len, record.data, len);
		advance(r, len);
		res = release(r);
		if (res < 0)
			break;
	}
	return counted(r, i, res);
}

int portal_recv_array(struct portal_ring *r, void *data, uint32_t len, unsigned n)
{
	int res;

	if (unlikely(!r->lane) || unlikely(n == 0))
		return -EINVAL;
	if (r->many || r->broadcast)
		return recv_singly(r, data, len, n);
	res = lane_recv_array(r->lane, data, len, n);
	if (unlikely(res < 0))
		return nothing(r, res);
	(void)release(r);
	return res;
}
