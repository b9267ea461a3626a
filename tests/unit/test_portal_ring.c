/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "clock.h"
#include "ring.h"

#define ALICE 0x10001 /* owner words: generation 1 of leases 1, 2, 3 */
#define BOB   0x10002
#define CAROL 0x10003

/* Who is alive. */
static bool dead[4];

static bool is_alive(void *ctx, uint64_t owner)
{
	return !dead[owner & 3];
}

static bool is_near(void *ctx, uint64_t owner)
{
	return true;
}

static void no_bell(void *ctx, uint64_t owner)
{
	fail();
}

static uint64_t no_bells(void *ctx)
{
	return 0;
}

static int no_nap(void *ctx, uint64_t seen, uint64_t until_ns)
{
	fail();
	return 0;
}

static int no_rest(void *ctx)
{
	return 0;
}

static const struct ring_ops world = { is_alive, is_near, no_bell, no_bells, no_nap, no_rest };

/* A ring on memory of exactly its size, so that ASan sees every step beyond it. */
struct fixture {
	struct ring_geometry geo;
	uint64_t total;
	void *mem;
	struct portal_ring *producer, *consumer;
};

static struct portal_ring *end_of(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self, .ops = &world };
	struct portal_ring *r;

	assert_int_equal(ring_open(f->mem, f->total, role, &env, &r), 0);
	return r;
}

static void make(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t max_record,
		 uint32_t lanes)
{
	struct portal_ring_options options = {
		.kind = kind, .size = size, .max_record = max_record, .lanes = lanes
	};

	memset(dead, 0, sizeof(dead));
	*f = (struct fixture){ 0 };
	assert_int_equal(ring_plan(&options, &f->geo), 0);
	f->total = ring_total(f->geo.lanes, f->geo.size);
	f->mem = aligned_alloc(RING_PAGE, f->total);
	assert_non_null(f->mem);
	/* What lay there before is nobody's ring. */
	memset(f->mem, 0xa5, f->total);
	ring_format(f->mem, &f->geo);
}

static void make_pair(struct fixture *f, enum portal_ring_kind kind, uint64_t size,
		      uint32_t max_record)
{
	make(f, kind, size, max_record, 0);
	f->producer = end_of(f, PORTAL_PRODUCER, ALICE);
	f->consumer = end_of(f, PORTAL_CONSUMER, BOB);
}

static void drop(struct fixture *f)
{
	ring_close(f->producer);
	ring_close(f->consumer);
	free(f->mem);
}

static void expect(struct portal_ring *r, const void *data, uint32_t len, uint32_t type)
{
	struct portal_record record;

	assert_int_equal(portal_peek(r, &record), 0);
	assert_int_equal(record.len, len);
	assert_int_equal(record.type, type);
	assert_memory_equal(record.data, data, len);
}

static void expect_text(struct portal_ring *r, const char *text)
{
	expect(r, text, (uint32_t)strlen(text), 0);
	assert_int_equal(portal_release(r), 0);
}

static void send_text(struct portal_ring *r, const char *text)
{
	assert_int_equal(portal_send(r, text, (uint32_t)strlen(text), 0), 0);
}

/* ---- geometry ------------------------------------------------------------------ */

static void options_have_bounds(void **state)
{
	struct ring_geometry geo;

	assert_int_equal(ring_plan(&(struct portal_ring_options){ 0 }, &geo), 0);
	assert_int_equal(geo.size, 1 << 20);
	assert_int_equal(geo.max_record, 1 << 18);
	assert_int_equal(geo.lanes, 1);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .size = 1 }, &geo), 0);
	assert_int_equal(geo.size, RING_SIZE_MIN);
	assert_int_equal(
		ring_plan(&(struct portal_ring_options){ .size = RING_SIZE_MIN + 1 }, &geo), 0);
	assert_int_equal(geo.size, 2 * RING_SIZE_MIN);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .size = RING_SIZE_MAX }, &geo),
			 0);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .size = RING_SIZE_MAX + 1ULL },
				   &geo),
			 -EINVAL);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .kind = PORTAL_MPSC,
								  .lanes = RING_LANES_MAX },
				   &geo),
			 0);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .kind = PORTAL_MPSC,
								  .lanes = RING_LANES_MAX + 1 },
				   &geo),
			 -EINVAL);
	assert_int_equal(
		ring_plan(&(struct portal_ring_options){ .size = 4096, .max_record = 2040 }, &geo),
		0);
	assert_int_equal(
		ring_plan(&(struct portal_ring_options){ .size = 4096, .max_record = 2041 }, &geo),
		-EINVAL);
	assert_int_equal(ring_plan(&(struct portal_ring_options){ .kind = PORTAL_BROADCAST + 1 },
				   &geo),
			 -EINVAL);
}

static void foreign_heads_are_refused(void **state)
{
	struct fixture f;
	struct ring_geometry geo;
	struct ring_head good, *head;

	make(&f, PORTAL_MPSC, 4096, 1000, 3);
	head = f.mem;
	good = *head;
	assert_int_equal(ring_look(f.mem, f.total, &geo), 0);
	assert_int_equal(geo.kind, PORTAL_MPSC);
	assert_int_equal(geo.lanes, 3);
	assert_int_equal(geo.size, 4096);
	assert_int_equal(geo.max_record, 1000);
	assert_int_equal(ring_look(f.mem, f.total - 1, &geo), -EPROTO);
	assert_int_equal(ring_look(f.mem, 100, &geo), -EPROTO);
#define REFUSED(change)                                                     \
	do {                                                                \
		change;                                                     \
		assert_int_equal(ring_look(f.mem, f.total, &geo), -EPROTO); \
		*head = good;                                               \
	} while (0)
	REFUSED(head->magic[0] ^= 1);
	REFUSED(head->version = le32_of(RING_VERSION + 1));
	REFUSED(head->kind = le32_of(PORTAL_BROADCAST + 1));
	REFUSED(head->kind = le32_of(PORTAL_SPSC)); /* of three lanes */
	REFUSED(head->lanes = le32_of(0));
	REFUSED(head->lanes = le32_of(4)); /* more than there is memory for */
	REFUSED(head->lanes = le32_of(RING_LANES_MAX + 1));
	REFUSED(head->size_log2 = le32_of(11));
	REFUSED(head->size_log2 = le32_of(13));
	REFUSED(head->size_log2 = le32_of(31));
	REFUSED(head->size_log2 = le32_of(64));
	REFUSED(head->max_record = le32_of(ring_longest(4096) + 1));
	free(f.mem);
}

/* ---- records --------------------------------------------------------------------- */

static void a_record_arrives_as_it_was_sent(void **state)
{
	struct fixture f;
	struct portal_record record;
	void *at;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	assert_int_equal(portal_send(f.producer, "hello", 5, 255), 0);
	assert_int_equal(portal_send(f.producer, "", 0, 0), 0);
	assert_int_equal(portal_reserve(f.producer, 100, &at), 0);
	memcpy(at, "abc", 3);
	assert_int_equal(portal_commit(f.producer, 3, 7), 0);
	expect(f.consumer, "hello", 5, 255);
	expect(f.consumer, "", 0, 0);
	expect(f.consumer, "abc", 3, 7);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	assert_int_equal(portal_release(f.consumer), 0);
	drop(&f);
}

static void what_is_not_committed_was_not_sent(void **state)
{
	struct fixture f;
	struct portal_record record;
	void *at, *again;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_commit(f.producer, 0, 0), -EINVAL); /* nothing is reserved */
	assert_int_equal(portal_reserve(f.producer, 64, &at), 0);
	memset(at, 0xff, 64);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	assert_int_equal(portal_reserve(f.producer, 8, &again), 0);
	assert_ptr_equal(at, again);
	assert_int_equal(portal_commit(f.producer, 9, 0), -EINVAL);
	assert_int_equal(portal_commit(f.producer, 8, 256), -EINVAL);
	assert_int_equal(portal_commit(f.producer, 8, 0), 0);
	assert_int_equal(portal_commit(f.producer, 8, 0), -EINVAL);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	/* The producer's next record begins at what the abandoned one left: it is cleared. */
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	drop(&f);
}

static void lengths_have_bounds(void **state)
{
	struct fixture f;
	uint8_t data[1001] = { 0 }, got[1001];
	void *at;

	make_pair(&f, PORTAL_SPSC, 4096, 1000);
	assert_int_equal(portal_send(f.producer, data, 1000, 0), 0);
	assert_int_equal(portal_send(f.producer, data, 1001, 0), -EMSGSIZE);
	assert_int_equal(portal_reserve(f.producer, 1001, &at), -EMSGSIZE);
	assert_int_equal(portal_send_array(f.producer, data, 1001, 1, 0), -EMSGSIZE);
	assert_int_equal(portal_send(f.producer, data, 1, 256), -EINVAL);
	assert_int_equal(portal_recv(f.consumer, got, 999, NULL), -EMSGSIZE);
	assert_int_equal(portal_recv(f.consumer, got, 1000, NULL), 1000);
	/* Each end does its own work only. */
	assert_int_equal(portal_send(f.consumer, data, 1, 0), -EINVAL);
	assert_int_equal(portal_reserve(f.consumer, 1, &at), -EINVAL);
	assert_int_equal(portal_commit(f.consumer, 0, 0), -EINVAL);
	assert_int_equal(portal_recv(f.producer, got, 1, NULL), -EINVAL);
	assert_int_equal(portal_release(f.producer), -EINVAL);
	drop(&f);
}

/* The longest record there is, again and again: also when it does not fit behind the one before. */
static void the_longest_record_always_fits_into_an_empty_lane(void **state)
{
	struct fixture f;
	uint8_t data[2040], got[2040];

	make_pair(&f, PORTAL_SPSC, 4096, 2040);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t odd = i % 7 * 24 + 1;

		memset(data, (int)i, sizeof(data));
		assert_int_equal(portal_send(f.producer, data, odd, 0), 0);
		assert_int_equal(portal_recv(f.consumer, got, sizeof(got), NULL), odd);
		assert_int_equal(portal_recv(f.consumer, got, sizeof(got), NULL), -EAGAIN);
		assert_int_equal(portal_send(f.producer, data, sizeof(data), 0), 0);
		assert_int_equal(portal_recv(f.consumer, got, sizeof(got), NULL), sizeof(got));
		assert_memory_equal(data, got, sizeof(got));
		assert_int_equal(portal_recv(f.consumer, got, sizeof(got), NULL), -EAGAIN);
	}
	drop(&f);
}

/* As if so much had gone through the lane already, and had been read. */
static void go_on_at(struct fixture *f, uint64_t at)
{
	struct lane_producer *p = &f->producer->producer;
	struct lane_consumer *c = f->consumer->lane;

	p->tail = p->seen = p->limit = at;
	le64_store(lane_word(p, at), 0);
	le64_store(&p->own->position, at);
	le64_store(&p->own->claim, at);
	lane_consumer_init(c, p->data, f->geo.size, at);
	le64_store(&c->place->position, at);
}

/* A lane may have more room left than a record's length can say: eight bytes too little for the longest one. */
static void what_fills_a_large_lane_has_a_length(void **state)
{
	const uint64_t size = 64 << 20;
	const uint32_t longest = ring_longest(size);
	const uint64_t at = size - (ring_span(longest) + RING_LINE - 8);
	static const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_BROADCAST };

	for (unsigned i = 0; i < array_size(kinds); i++) {
		uint64_t out[] = { 1, 2, 3 }, in[3];
		struct portal_record record;
		struct fixture f;
		void *data;

		make_pair(&f, kinds[i], size, longest);
		go_on_at(&f, at);
		assert_int_equal(portal_reserve(f.producer, longest, &data), 0);
		assert_int_equal(f.producer->producer.tail % size, RING_LINE - 8);
		memset(data, 0x42, 3);
		assert_int_equal(portal_commit(f.producer, longest, 7), 0);
		assert_int_equal(portal_peek(f.consumer, &record), 0);
		assert_ptr_equal(record.data, data);
		assert_int_equal(record.len, longest);
		assert_int_equal(portal_release(f.consumer), 0);

		go_on_at(&f, at);
		assert_int_equal(portal_send_array(f.producer, out, 8, 3, 0), 3);
		assert_int_equal(portal_recv_array(f.consumer, in, 8, 3), 3);
		assert_memory_equal(in, out, sizeof(out));
		drop(&f);
	}
}

static void a_full_lane_says_so_and_goes_on(void **state)
{
	struct fixture f;
	unsigned n = 0, got = 0;
	uint64_t value;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	while (portal_send(f.producer, &n, sizeof(n), 0) == 0)
		n++;
	assert_int_equal(n, 4096 / 16 - 1); /* the word behind the last one stays free */
	assert_int_equal(portal_send(f.producer, &n, sizeof(n), 0), -EAGAIN);
	for (unsigned i = 0; i < 4096 / 8 / 16; i++, got++) {
		assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), 4);
		assert_int_equal((uint32_t)value, i);
	}
	/* An eighth has been read: the producer hears of it. */
	assert_int_equal(portal_send(f.producer, &n, sizeof(n), 0), 0);
	while (portal_recv(f.consumer, &value, 8, NULL) == 4)
		assert_int_equal((uint32_t)value, got++);
	assert_int_equal(got, n + 1);
	drop(&f);
}

static void arrays_arrive_as_records(void **state)
{
	struct fixture f;
	uint8_t out[40][12], in[40][12];
	struct portal_record record;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	for (unsigned i = 0; i < 40; i++)
		memset(out[i], (int)i + 1, 12);
	assert_int_equal(portal_send_array(f.producer, out, 12, 40, 9), 40);
	assert_int_equal(portal_send(f.producer, "x", 1, 0), 0);
	/* One by one, in place; then the rest copied; the one behind has another length. */
	for (unsigned i = 0; i < 10; i++)
		expect(f.consumer, out[i], 12, 9);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_recv_array(f.consumer, in, 11, 5), -EMSGSIZE);
	assert_int_equal(portal_recv_array(f.consumer, in, 12, 5), 5);
	assert_memory_equal(in, out[10], 60);
	assert_int_equal(portal_recv(f.consumer, in, 12, NULL), 12);
	assert_memory_equal(in, out[15], 12);
	assert_int_equal(portal_recv_array(f.consumer, in, 12, 40), 24);
	assert_memory_equal(in, out[16], 24 * 12);
	assert_int_equal(portal_recv_array(f.consumer, in, 12, 40), -EMSGSIZE);
	expect(f.consumer, "x", 1, 0);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	/* Of nothing, and of messages of no length. */
	assert_int_equal(portal_send_array(f.producer, out, 12, 0, 0), -EINVAL);
	assert_int_equal(portal_send_array(f.producer, out, 0, 3, 0), 1);
	expect(f.consumer, "", 0, 0);
	drop(&f);
}

static void an_array_takes_what_room_there_is(void **state)
{
	struct fixture f;
	uint64_t out[1024], in[1024], next = 0, got = 0;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	for (unsigned round = 0; round < 1000; round++) {
		unsigned n = (unsigned)(round * 7919) % 1024 + 1;
		int r;

		for (unsigned i = 0; i < n; i++)
			out[i] = next + i;
		r = portal_send_array(f.producer, out, 8, n, 0);
		assert_true(r == -EAGAIN || (r > 0 && r <= (int)n));
		if (r > 0)
			next += (unsigned)r;
		r = portal_recv_array(f.consumer, in, 8, (unsigned)(round * 104729) % 300 + 1);
		for (int i = 0; i < r; i++)
			assert_int_equal(in[i], got++);
	}
	assert_true(got > 10000);
	drop(&f);
}

static void batches_are_published_together(void **state)
{
	struct fixture f;
	struct portal_record out[] = { { "one", 3, 1 }, { "", 0, 2 }, { "three", 5, 3 } }, in[8];
	uint8_t big[1024] = { 0 };
	struct portal_record many[] = { { big, 1000, 0 },
					{ big, 1001, 1 },
					{ big, 1002, 2 },
					{ big, 1003, 3 },
					{ big, 4, 4 } };

	make_pair(&f, PORTAL_SPSC, 4096, 1003);
	assert_int_equal(portal_send_batch(f.producer, out, 3), 3);
	assert_int_equal(portal_peek_batch(f.consumer, in, 8), 3);
	assert_memory_equal(in[2].data, "three", 5);
	assert_int_equal(in[1].type, 2);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_peek_batch(f.consumer, in, 8), -EAGAIN);
	/* As many as fit, twice round the lane. */
	for (unsigned i = 0; i < 9; i++) {
		int sent = portal_send_batch(f.producer, many, 5);

		assert_in_range(sent, 2, 5);
		for (int k = 0; k < sent; k++)
			expect(f.consumer, big, many[k].len, (uint32_t)k);
		assert_int_equal(portal_release(f.consumer), 0);
		assert_int_equal(portal_peek_batch(f.consumer, in, 8), -EAGAIN);
	}
	/* The ones before a record that is too long go. */
	many[1].len = 1004;
	assert_int_equal(portal_send_batch(f.producer, many, 5), 1);
	assert_int_equal(portal_send_batch(f.producer, many + 1, 4), -EMSGSIZE);
	drop(&f);
}

/* ---- against a plain queue --------------------------------------------------------- */

struct model {
	uint8_t bytes[1 << 16];
	uint32_t len[1 << 14];
	unsigned head, tail; /* of len */
	uint64_t seed;
};

static uint32_t roll(struct model *m, uint32_t n)
{
	m->seed = m->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(m->seed >> 33) % n;
}

static void fill(uint8_t *data, unsigned number, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(number * 131 + i);
}

static void note_sent(struct model *m, uint32_t len, int n)
{
	for (int i = 0; i < n; i++)
		m->len[m->tail++ % array_size(m->len)] = len;
}

static void send_something(struct model *m, struct portal_ring *r, uint32_t longest)
{
	uint32_t len = roll(m, 4) ? roll(m, 40) : roll(m, longest + 1);
	unsigned n = 1 + roll(m, 20);
	void *at;

	switch (roll(m, 3)) {
	case 0:
		fill(m->bytes, m->tail, len);
		if (portal_send(r, m->bytes, len, m->tail & 0xff) == 0)
			note_sent(m, len, 1);
		break;
	case 1:
		if (portal_reserve(r, len, &at) == 0 && roll(m, 5)) {
			len = roll(m, len + 1);
			fill(at, m->tail, len);
			assert_int_equal(portal_commit(r, len, m->tail & 0xff), 0);
			note_sent(m, len, 1);
		}
		break;
	default:
		len = min(len, (uint32_t)64);
		for (unsigned i = 0; i < n; i++)
			fill(m->bytes + (size_t)i * len, m->tail + i, len);
		note_sent(m, len, portal_send_array(r, m->bytes, len, n, m->tail & 0xff));
	}
}

static void take_something(struct model *m, struct portal_ring *r)
{
	struct portal_record records[5];
	uint8_t expected[1 << 12];
	int n = portal_peek_batch(r, records, 1 + roll(m, 5));

	assert_true(n > 0 ? m->tail - m->head >= (unsigned)n : n == -EAGAIN && m->head == m->tail);
	for (int i = 0; i < n; i++, m->head++) {
		uint32_t len = m->len[m->head % array_size(m->len)];

		assert_int_equal(records[i].len, len);
		fill(expected, m->head, len);
		assert_memory_equal(records[i].data, expected, len);
	}
	assert_int_equal(portal_release(r), 0);
}

static void does_what_a_plain_queue_does(void **state)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	for (unsigned size = 4096; size <= 16384; size *= 2) {
		struct fixture f;

		make_pair(&f, PORTAL_SPSC, size, 1500);
		m->head = m->tail = 0;
		m->seed = size;
		for (unsigned i = 0; i < 30000; i++) {
			/* Full at times, and empty at others. */
			if (roll(m, 8) < (i / 1000 % 2 ? 5 : 3))
				send_something(m, f.producer, 1500);
			else
				take_something(m, f.consumer);
		}
		while (m->head != m->tail)
			take_something(m, f.consumer);
		drop(&f);
	}
	free(m);
}

/* ---- ends ----------------------------------------------------------------------------- */

static int try_open(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self, .ops = &world };
	struct portal_ring *r;
	int res = ring_open(f->mem, f->total, role, &env, &r);

	if (res == 0)
		ring_close(r);
	return res;
}

static void an_end_has_one_owner(void **state)
{
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, CAROL), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, BOB), -EBUSY);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, 0), -EROFS);
	assert_int_equal(try_open(&f, PORTAL_CONSUMER, 0), -EROFS);
	ring_close(f.producer);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), 0);
	f.producer = NULL;
	drop(&f);
}

static void a_closed_producer_is_told_of_behind_its_last_record(void **state)
{
	struct fixture f;
	struct portal_record record;
	int r;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	send_text(f.producer, "last");
	ring_close(f.producer);
	f.producer = NULL;
	expect_text(f.consumer, "last");
	while ((r = portal_peek(f.consumer, &record)) == -EAGAIN)
		;
	assert_int_equal(r, -EPIPE);
	assert_int_equal(portal_wait(f.consumer, PORTAL_FOREVER), -EPIPE);
	/* Another one comes, and goes on. */
	f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(f.producer, "more");
	expect_text(f.consumer, "more");
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	drop(&f);
}

static void nobody_yet_is_not_nobody_any_more(void **state)
{
	struct fixture f;
	struct portal_record record;

	make(&f, PORTAL_SPSC, 4096, 0, 0);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	drop(&f);
	make(&f, PORTAL_SPSC, 4096, 0, 0);
	f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	while (portal_send(f.producer, &f, sizeof(f), 0) == 0)
		;
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_send(f.producer, &f, sizeof(f), 0), -EAGAIN);
	drop(&f);
}

/* A producer dies with records committed and one reserved; the next one goes on behind the committed ones. */
static void a_dead_producers_records_are_all_read(void **state)
{
	for (unsigned before = 0; before < 300; before += 7) {
		struct fixture f;
		struct portal_ring *corpse;
		void *at;

		make_pair(&f, PORTAL_SPSC, 4096, 0);
		for (unsigned i = 0; i < before; i++) {
			send_text(f.producer, "sixteen bytes ..");
			expect_text(f.consumer, "sixteen bytes ..");
		}
		send_text(f.producer, "first");
		assert_int_equal(portal_send_array(f.producer, "abcdef", 3, 2, 0), 2);
		assert_int_equal(portal_reserve(f.producer, 500, &at), 0);
		memset(at, 0xff, 500);
		corpse = f.producer;
		dead[ALICE & 3] = true;
		f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
		send_text(f.producer, "second");
		expect_text(f.consumer, "first");
		expect_text(f.consumer, "abc");
		expect_text(f.consumer, "def");
		expect_text(f.consumer, "second");
		free(corpse);
		drop(&f);
	}
}

/* A consumer dies; the next one sees what it had not said it had read, in order, and all that is new. */
static void a_dead_consumers_place_is_taken(void **state)
{
	struct fixture f;
	struct portal_ring *corpse;
	unsigned value, first;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_send(f.producer, &i, sizeof(i), 0), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(portal_recv(f.consumer, &value, sizeof(value), NULL),
				 sizeof(value));
	corpse = f.consumer;
	dead[BOB & 3] = true;
	f.consumer = end_of(&f, PORTAL_CONSUMER, CAROL);
	assert_int_equal(portal_recv(f.consumer, &first, sizeof(first), NULL), sizeof(first));
	assert_in_range(first, 100 - 4096 / 8 / 16, 100);
	for (unsigned i = first + 1; i < 200; i++) {
		assert_int_equal(portal_recv(f.consumer, &value, sizeof(value), NULL),
				 sizeof(value));
		assert_int_equal(value, i);
	}
	free(corpse->lanes);
	free(corpse);
	drop(&f);
}

static void a_producer_hears_that_the_consumer_is_gone(void **state)
{
	struct fixture f;
	int r;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	dead[BOB & 3] = true;
	while ((r = portal_send(f.producer, "x", 1, 0)) == 0 || r == -EAGAIN)
		;
	assert_int_equal(r, -EPIPE);
	assert_int_equal(portal_wait(f.producer, PORTAL_FOREVER), -EPIPE);
	drop(&f);
}

static void a_pause_lets_nothing_new_begin(void **state)
{
	struct fixture f;
	le64_t quiesce = le64_of(PORTAL_QUIESCE(1, PORTAL_RUNNING));
	struct ring_env env = { .self = ALICE, .quiesce = &quiesce };
	struct portal_record record = { "x", 1 };
	void *at;

	make(&f, PORTAL_SPSC, 4096, 0, 0);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_PRODUCER, &env, &f.producer), 0);
	assert_int_equal(portal_reserve(f.producer, 1, &at), 0);
	le64_store(&quiesce, PORTAL_QUIESCE(2, PORTAL_DRAINING));
	/* What is begun may be ended. */
	assert_int_equal(portal_commit(f.producer, 1, 0), 0);
	assert_int_equal(portal_reserve(f.producer, 1, &at), -EAGAIN);
	assert_int_equal(portal_send(f.producer, "x", 1, 0), -EAGAIN);
	assert_int_equal(portal_send_array(f.producer, "x", 1, 1, 0), -EAGAIN);
	assert_int_equal(portal_send_batch(f.producer, &record, 1), -EAGAIN);
	le64_store(&quiesce, PORTAL_QUIESCE(2, PORTAL_RUNNING));
	assert_int_equal(portal_send(f.producer, "x", 1, 0), 0);
	drop(&f);
}

static void memory_is_inherited_by_who_lives(void **state)
{
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(ring_heir(f.mem, f.total, is_alive, NULL), BOB);
	dead[BOB & 3] = true;
	assert_int_equal(ring_heir(f.mem, f.total, is_alive, NULL), ALICE);
	dead[ALICE & 3] = true;
	assert_int_equal(ring_heir(f.mem, f.total, is_alive, NULL), 0);
	assert_int_equal(ring_heir("no ring", 8, is_alive, NULL), 0);
	drop(&f);
}

/* ---- many producers ------------------------------------------------------------------- */

static void lanes_are_swept_in_turn(void **state)
{
	struct fixture f;
	struct portal_ring *p[3];
	unsigned seen[3] = { 0 }, in_a_row = 0, longest = 0;
	uint32_t last = 99;

	make(&f, PORTAL_MPSC, 4096, 0, 3);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	for (unsigned i = 0; i < 3; i++)
		p[i] = end_of(&f, PORTAL_PRODUCER, i == 0 ? ALICE : CAROL);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	for (unsigned round = 0; round < 1000; round++) {
		struct portal_record record;

		for (unsigned i = 0; i < 3; i++)
			(void)portal_send(p[i], &round, sizeof(round), i);
		assert_int_equal(portal_peek(f.consumer, &record), 0);
		assert_int_equal(record.lane, record.type);
		seen[record.lane]++;
		in_a_row = record.lane == last ? in_a_row + 1 : 1;
		longest = max(longest, in_a_row);
		last = record.lane;
		assert_int_equal(portal_release(f.consumer), 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_in_range(seen[i], 280, 380);
		ring_close(p[i]);
	}
	assert_in_range(longest, 1, 32);
	/* A lane that was given back is another one's. */
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), 0);
	drop(&f);
}

static void a_poisoned_lane_does_not_stop_the_others(void **state)
{
	struct fixture f;
	struct portal_ring *p[2];
	struct portal_record record;
	struct portal_ring_info info;

	make(&f, PORTAL_MPSC, 4096, 0, 2);
	f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
	p[0] = end_of(&f, PORTAL_PRODUCER, ALICE);
	p[1] = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(p[0], "good");
	*(uint64_t *)(void *)ring_lane_data(f.consumer, 1) = ring_word(8, RING_DATA, 0, 5);
	assert_int_equal(portal_peek(f.consumer, &record), -EPROTO);
	expect_text(f.consumer, "good");
	send_text(p[0], "better");
	expect_text(f.consumer, "better");
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	portal_ring_info(f.consumer, &info);
	assert_int_equal(info.fault, PORTAL_FAULT_TAG);
	/* Its producer is told, and nobody gets that lane again. */
	while (portal_send(p[1], &info, sizeof(info), 0) == 0)
		;
	assert_int_equal(portal_wait(p[1], PORTAL_FOREVER), -EPIPE);
	ring_close(p[1]);
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EPIPE);
	ring_close(p[0]);
	drop(&f);
}

/* ---- broadcast --------------------------------------------------------------------------- */

static void everybody_reads_a_broadcast(void **state)
{
	struct fixture f;
	struct portal_ring *late;
	struct portal_record record;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	send_text(f.producer, "one");
	late = end_of(&f, PORTAL_CONSUMER, 0); /* who may not write may read */
	assert_int_equal(portal_peek(late, &record), -EAGAIN);
	send_text(f.producer, "two");
	expect_text(f.consumer, "one");
	expect_text(f.consumer, "two");
	expect_text(late, "two");
	assert_int_equal(try_open(&f, PORTAL_PRODUCER, CAROL), -EBUSY);
	ring_close(late);
	drop(&f);
}

/* A producer that says it sleeps is not woken: its readers may not be allowed to write. */
static void readers_of_a_broadcast_write_nothing(void **state)
{
	struct fixture f;
	struct portal_record record;
	struct portal_ring *reader;
	void *before;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	reader = end_of(&f, PORTAL_CONSUMER, 0);
	before = malloc(f.total);
	send_text(f.producer, "one");
	le64_store(&f.producer->end->sleep, 1 << 2 | RING_SLEEP_FUTEX);
	memcpy(before, f.mem, f.total);
	expect_text(reader, "one");
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(portal_peek(reader, &record), -EAGAIN);
	assert_int_equal(portal_wait(reader, clock_ns() + 2 * NS_PER_MS), -ETIMEDOUT);
	ring_close(reader);
	assert_memory_equal(f.mem, before, f.total);
	free(before);
	drop(&f);
}

static void the_slow_are_overtaken(void **state)
{
	struct fixture f;
	struct portal_record record;
	struct portal_ring_info info;
	uint64_t i = 0, value;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	/* Seven eighths of the lane are the reader's, whatever happens. */
	for (; i < 4096 / 16 * 7 / 8 - 2; i++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	expect(f.consumer, &(uint64_t){ 0 }, 8, 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	for (; i < 1000; i++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	/* What is in its hand is gone, and said to be. */
	assert_int_equal(portal_release(f.consumer), -EOVERFLOW);
	portal_ring_info(f.consumer, &info);
	assert_true(info.lost >= 4096);
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), 8);
	assert_int_equal(value, i);
	for (unsigned k = 0; k < 1000; k++)
		assert_int_equal(portal_send(f.producer, &i, 8, 0), 0);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EOVERFLOW);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EAGAIN);
	drop(&f);
}

static void a_dead_broadcaster_is_followed(void **state)
{
	struct fixture f;
	struct portal_ring *corpse;
	struct portal_record record;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 500; i++) {
		send_text(f.producer, "on and on");
		expect_text(f.consumer, "on and on");
	}
	corpse = f.producer;
	dead[ALICE & 3] = true;
	f.producer = end_of(&f, PORTAL_PRODUCER, CAROL);
	send_text(f.producer, "anew");
	expect_text(f.consumer, "anew");
	assert_int_equal(portal_peek(f.consumer, &record), -EAGAIN);
	free(corpse);
	drop(&f);
}

static void arrays_and_batches_are_broadcast(void **state)
{
	struct fixture f;
	uint64_t out[16], in[16], next = 0, got = 0;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned round = 0; round < 500; round++) {
		struct portal_record pair[2] = { { &out[0], 8, 0 }, { &out[1], 8, 0 } };

		for (unsigned i = 0; i < 16; i++)
			out[i] = next + i;
		assert_int_equal(portal_send_array(f.producer, out, 8, 16, 0), 16);
		next += 16;
		out[0] = next++;
		out[1] = next++;
		assert_int_equal(portal_send_batch(f.producer, pair, 2), 2);
		for (int n; (n = portal_recv_array(f.consumer, in, 8, 16)) > 0;)
			for (int i = 0; i < n; i++)
				assert_int_equal(in[i], got++);
	}
	assert_int_equal(got, next);
	drop(&f);
}

/* Records so long that the producer must say again and again what it overwrites: a reader that keeps up gets each one, and
 * one that does not is told, whatever lies where its record was. */
static void large_broadcasts_are_sound(void **state)
{
	static const uint32_t lens[] = { 1024, 4000, 200000 };
	static uint8_t bytes[200000];

	for (unsigned k = 0; k < array_size(lens); k++) {
		struct portal_record record;
		struct fixture f;
		unsigned told = 0;

		make_pair(&f, PORTAL_BROADCAST, 1 << 20, 0);
		for (unsigned round = 0; round < 400; round++) {
			unsigned more = round * 8 % (3 * (1 << 20) / lens[k] / 2);
			int r;

			while (portal_peek(f.consumer, &record) == -EOVERFLOW)
				;
			memset(bytes, (int)(round & 0x7f), lens[k]);
			assert_int_equal(portal_send(f.producer, bytes, lens[k], 1), 0);
			expect(f.consumer, bytes, lens[k], 1);
			assert_int_equal(portal_release(f.consumer), 0);
			assert_int_equal(portal_send(f.producer, bytes, lens[k], 1), 0);
			assert_int_equal(portal_peek(f.consumer, &record), 0);
			memset(bytes, 0xff, lens[k]);
			for (unsigned i = 0; i < more; i++)
				assert_int_equal(
					portal_send(f.producer, bytes, lens[k] - i % 100, 2), 0);
			r = *(const uint8_t *)record.data == 0xff ? -EOVERFLOW : 0;
			if (portal_release(f.consumer) < 0)
				told++;
			else
				assert_int_equal(r, 0);
			/* What it still has to read, or has missed. */
			while ((r = portal_peek(f.consumer, &record)) == 0 || r == -EOVERFLOW)
				if (r == 0)
					(void)portal_release(f.consumer);
			assert_int_equal(r, -EAGAIN);
		}
		assert_true(told > 10);
		drop(&f);
	}
}

/* A record of no bytes has no place in the caller's memory either. */
static void nothing_may_be_nowhere(void **state)
{
	const struct portal_record none = { .type = 5 };
	struct fixture f;
	uint32_t type = 0;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_send(f.producer, NULL, 0, 4), 0);
	assert_int_equal(portal_send_batch(f.producer, &none, 1), 1);
	assert_int_equal(portal_send_array(f.producer, NULL, 0, 1, 6), 1);
	for (uint32_t i = 4; i < 6; i++) {
		assert_int_equal(portal_recv(f.consumer, NULL, 0, &type), 0);
		assert_int_equal(type, i);
	}
	assert_int_equal(portal_recv_array(f.consumer, NULL, 0, 1), 1);
	drop(&f);
}

/* Given up for a longer one near the lane's end: padding, the end, padding. */
static void a_reservation_given_up_is_padding(void **state)
{
	static uint8_t bytes[16384];
	struct fixture f;
	void *at;

	make_pair(&f, PORTAL_SPSC, 65536, 16384);
	for (unsigned filled = 40000; filled < 65536; filled += 8) {
		uint32_t rest = (uint32_t)(filled - f.producer->producer.tail % 65536) % 65536;

		for (uint32_t n; rest > 16; rest -= (uint32_t)ring_span(n)) {
			n = min(rest - 16, 900u) & ~7u;
			assert_int_equal(portal_send(f.producer, bytes, n, 1), 0);
			expect(f.consumer, bytes, n, 1);
			assert_int_equal(portal_release(f.consumer), 0);
		}
		assert_int_equal(portal_reserve(f.producer, 2000, &at), 0);
		assert_int_equal(portal_reserve(f.producer, 16000, &at), 0);
		memset(at, 0x42, 16000);
		memset(bytes, 0x42, 16000);
		assert_int_equal(portal_commit(f.producer, 16000, 3), 0);
		expect(f.consumer, bytes, 16000, 3);
		assert_int_equal(portal_release(f.consumer), 0);
	}
	drop(&f);
}

/* Who goes to sleep behind a release has said how far it is: the producer may be waiting for just that. */
static void who_waits_has_said_where_it_is(void **state)
{
	static const uint8_t bytes[2040];
	struct portal_record record;
	struct fixture f;
	void *at;

	make_pair(&f, PORTAL_SPSC, 4096, 2040);
	assert_int_equal(portal_send(f.producer, bytes, 300, 0), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 2040, 0), 0);
	assert_int_equal(portal_reserve(f.producer, 2000, &at), -EAGAIN);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(record.len, 2040);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 400, 0), 0);
	assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_not_equal(f.consumer->lane->said, f.consumer->lane->pos);
	assert_int_equal(portal_wait(f.consumer, 0), -ETIMEDOUT);
	assert_int_equal(le64_load(&f.consumer->lane->place->position), f.consumer->lane->pos);
	drop(&f);
}

/* An end's sleeps are counted on by whoever has it next: a waker takes none for one that it has ended. */
static void sleeps_are_counted_across_owners(void **state)
{
	struct fixture f;
	uint64_t last;

	make_pair(&f, PORTAL_SPSC, 4096, 0);
	assert_int_equal(portal_wait(f.consumer, clock_ns() + NS_PER_MS), -ETIMEDOUT);
	last = f.consumer->sleep_number;
	assert_true(last > 0);
	for (unsigned i = 0; i < 3; i++) {
		ring_close(f.consumer);
		f.consumer = end_of(&f, PORTAL_CONSUMER, i % 2 ? BOB : CAROL);
		assert_int_equal(portal_wait(f.consumer, clock_ns() + NS_PER_MS), -ETIMEDOUT);
		assert_true(f.consumer->sleep_number > last);
		last = f.consumer->sleep_number;
	}
	drop(&f);
}

/* A reader has just released a record, and looks whether the memory is still the ring's: a lap goes by. */
static bool a_lap_goes_by(void *ctx, const void *mem, uint64_t block)
{
	struct portal_ring **producer = ctx, *p = *producer;
	uint64_t value = 8;

	*producer = NULL;
	for (unsigned i = 0; p && i < 1000; i++)
		assert_int_equal(portal_send(p, &value, 8, 0), 0);
	return true;
}

/* What a call of several records cannot return, because it has some, the next one does; it is not waited for. */
static void what_is_told_once_is_told(void **state)
{
	struct ring_ops ops = world;
	struct portal_ring *p[2];
	struct ring_env env = { .self = BOB, .ops = &ops, .ctx = p, .block = 1 };
	struct fixture f;
	struct portal_record records[4];
	uint64_t value = 7, values[4];

	make(&f, PORTAL_BROADCAST, 4096, 0, 0);
	ops.intact = a_lap_goes_by;
	p[0] = f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_CONSUMER, &env, &f.consumer), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_recv_array(f.consumer, values, 8, 4), 1);
	assert_int_equal(values[0], 7);
	assert_int_equal(portal_wait(f.consumer, 0), 0);
	assert_int_equal(portal_recv_array(f.consumer, values, 8, 4), -EOVERFLOW);
	assert_int_equal(portal_recv(f.consumer, &value, 8, NULL), -EAGAIN);
	assert_int_equal(portal_wait(f.consumer, 0), -ETIMEDOUT);
	drop(&f);

	for (unsigned way = 0; way < 2; way++) {
		make(&f, PORTAL_MPSC, 4096, 0, 2);
		f.consumer = end_of(&f, PORTAL_CONSUMER, BOB);
		p[0] = end_of(&f, PORTAL_PRODUCER, ALICE);
		p[1] = end_of(&f, PORTAL_PRODUCER, CAROL);
		assert_int_equal(portal_send(p[0], &value, 8, 0), 0);
		*(uint64_t *)(void *)ring_lane_data(f.consumer, 1) = ring_word(8, RING_DATA, 0, 5);
		f.consumer->budget = 32; /* lane 0 first */
		assert_int_equal(way ? portal_recv_array(f.consumer, values, 8, 4) :
				       portal_peek_batch(f.consumer, records, 4),
				 1);
		assert_int_equal(portal_wait(f.consumer, 0), 0);
		assert_int_equal(portal_peek(f.consumer, records), -EPROTO);
		assert_int_equal(portal_peek(f.consumer, records), -EAGAIN);
		ring_close(p[0]);
		ring_close(p[1]);
		drop(&f);
	}
}

/* A producer waits for what it was refused last, and no longer when it has got it, or a part. */
static void room_that_was_had_is_not_waited_for(void **state)
{
	static const uint8_t bytes[4096];
	struct portal_record record;
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 4096, 1000);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(portal_send(f.producer, bytes, 1000, 0), 0);
	assert_int_equal(portal_send_array(f.producer, bytes, 100, 15, 0), 9);
	assert_int_equal(portal_wait(f.producer, 0), 0);
	assert_int_equal(portal_send(f.producer, bytes, 1000, 0), -EAGAIN);
	assert_int_equal(portal_wait(f.producer, 0), -ETIMEDOUT);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(portal_peek(f.consumer, &record), 0);
	assert_int_equal(portal_release(f.consumer), 0);
	assert_int_equal(portal_send(f.producer, bytes, 1000, 0), 0);
	assert_int_equal(f.producer->producer.wanted, 0);
	drop(&f);
}

/* What is left of a batch that went by is not given out as sound. */
static void a_batch_that_went_by_is_not_had(void **state)
{
	struct portal_record records[8];
	struct fixture f;
	uint64_t value = 1;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 2), 2);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 8), -EOVERFLOW);
	assert_int_equal(portal_send(f.producer, &value, 8, 0), 0);
	assert_int_equal(portal_peek_batch(f.consumer, records, 8), 1);
	assert_int_equal(portal_release(f.consumer), 0);
	drop(&f);
}

static bool is_there(void *ctx, const void *mem, uint64_t block)
{
	return !*(bool *)ctx;
}

/* Asked when a sleep is about to be told of. */
static bool goes_now(void *ctx, uint64_t owner)
{
	*(bool *)ctx = true;
	return true;
}

/* A reader that falls asleep while the ring goes leaves its memory alone. */
static void nobody_sleeps_in_anothers_memory(void **state)
{
	struct ring_ops ops = world;
	bool gone = false;
	struct ring_env env = { .self = BOB, .ops = &ops, .ctx = &gone, .block = 1 };
	struct fixture f;

	ops.intact = is_there;
	ops.near = goes_now;
	make(&f, PORTAL_BROADCAST, 4096, 0, 0);
	f.producer = end_of(&f, PORTAL_PRODUCER, ALICE);
	assert_int_equal(ring_open(f.mem, f.total, PORTAL_CONSUMER, &env, &f.consumer), 0);
	assert_false(gone);
	assert_int_equal(portal_wait(f.consumer, clock_ns() + 1000 * NS_PER_MS), -EPIPE);
	assert_true(gone);
	assert_int_equal(le64_load(&f.producer->far->sleep), 0);
	drop(&f);
}

/* Each sleep of a broadcast's reader is ended, not the first one alone. */
static void a_broadcast_wakes_each_time(void **state)
{
	struct fixture f;
	uint64_t rung = 99;

	make_pair(&f, PORTAL_BROADCAST, 4096, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct portal_record record;
		uint32_t bell = le32_load(&f.producer->far->bell);

		assert_int_equal(portal_wait(f.consumer, clock_ns() + 2 * NS_PER_MS), -ETIMEDOUT);
		assert_int_not_equal(le64_load(&f.producer->far->sleep), 0);
		send_text(f.producer, "wake up");
		assert_int_equal(le64_load(&f.producer->far->sleep), 0);
		assert_int_equal(le32_load(&f.producer->far->bell), bell + 1);
		assert_int_equal(f.producer->producer.rung, 0);
		assert_int_equal(portal_peek(f.consumer, &record), 0);
		assert_int_equal(portal_release(f.consumer), 0);
	}
	ring_wake(f.producer, f.producer->far, 0, &rung);
	assert_int_equal(rung, 0);
	drop(&f);
}

/* The first one is put in step with cache lines; those behind it are, but for a lap's first. */
static void large_records_need_no_padding(void **state)
{
	static const uint32_t lens[] = { RING_LARGE, 1500, 4096, 16384 };
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 65536, 0);
	for (unsigned i = 0; i < array_size(lens); i++) {
		const struct lane_producer *p = &f.producer->producer;
		unsigned padded = 0, n = 2 * 65536 / lens[i];

		for (unsigned k = 0; k < n; k++) {
			uint64_t tail = p->tail;
			struct portal_record record;
			void *at;

			assert_int_equal(portal_reserve(f.producer, lens[i], &at), 0);
			assert_int_equal((uintptr_t)at % RING_LINE, 0);
			assert_int_equal(portal_commit(f.producer, lens[i], 0), 0);
			padded += p->tail - tail != ring_span(lens[i]);
			assert_int_equal(portal_peek(f.consumer, &record), 0);
			assert_ptr_equal(record.data, at);
			assert_int_equal(record.len, lens[i]);
			assert_int_equal(portal_release(f.consumer), 0);
		}
		assert_in_range(padded, 1,
				4); /* out of step at first, and two or three ends of the lane */
		send_text(f.producer, "out of step");
		assert_int_equal(portal_recv(f.consumer, (char[16]){ 0 }, 16, NULL), 11);
	}
	drop(&f);
}

/* Its payload lies in the lane, what it is rounded up to does not. */
static void a_record_ends_before_its_lane(void **state)
{
	const uint64_t at = 65536 - ring_span_small(RING_LARGE + 8);
	struct portal_record record;
	struct fixture f;

	make_pair(&f, PORTAL_SPSC, 65536, 0);
	f.consumer->lane->next = f.consumer->lane->pos = at;
	le64_store((le64_t *)(void *)(ring_lane_data(f.producer, 0) + at),
		   ring_word(at, RING_DATA, 0, RING_LARGE + 8));
	assert_int_equal(portal_peek(f.consumer, &record), -EPROTO);
	drop(&f);
}

static bool is_withdrawn(void *ctx, const struct portal_object *object)
{
	return false;
}

/* Who has just put itself into an end of a ring that was withdrawn takes itself out again, and touches nothing else. */
static void a_withdrawn_ring_is_left_alone(void **state)
{
	struct ring_ops ops = world;
	struct portal_object object = { 0 };
	struct ring_env env = { .self = CAROL, .ops = &ops, .object = &object };
	static const enum portal_ring_kind kinds[] = { PORTAL_SPSC, PORTAL_MPSC };

	ops.still = is_withdrawn;
	for (unsigned i = 0; i < 8; i++) {
		struct portal_ring *r;
		struct fixture f;
		void *before;

		make(&f, kinds[i / 2 % 2], 4096, 0, 2);
		if (i >= 4) { /* somebody had the end, and died */
			r = end_of(&f, (enum portal_role)(i % 2), ALICE);
			dead[ALICE & 3] = true;
			free(r->lanes);
			free(r);
		}
		before = malloc(f.total);
		memcpy(before, f.mem, f.total);
		assert_int_equal(ring_open(f.mem, f.total, (enum portal_role)(i % 2), &env, &r),
				 -ENOENT);
		assert_memory_equal(f.mem, before, f.total);
		free(before);
		free(f.mem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_have_bounds),
		cmocka_unit_test(foreign_heads_are_refused),
		cmocka_unit_test(a_record_arrives_as_it_was_sent),
		cmocka_unit_test(what_is_not_committed_was_not_sent),
		cmocka_unit_test(lengths_have_bounds),
		cmocka_unit_test(the_longest_record_always_fits_into_an_empty_lane),
		cmocka_unit_test(what_fills_a_large_lane_has_a_length),
		cmocka_unit_test(a_full_lane_says_so_and_goes_on),
		cmocka_unit_test(arrays_arrive_as_records),
		cmocka_unit_test(an_array_takes_what_room_there_is),
		cmocka_unit_test(batches_are_published_together),
		cmocka_unit_test(does_what_a_plain_queue_does),
		cmocka_unit_test(an_end_has_one_owner),
		cmocka_unit_test(a_closed_producer_is_told_of_behind_its_last_record),
		cmocka_unit_test(nobody_yet_is_not_nobody_any_more),
		cmocka_unit_test(a_dead_producers_records_are_all_read),
		cmocka_unit_test(a_dead_consumers_place_is_taken),
		cmocka_unit_test(a_producer_hears_that_the_consumer_is_gone),
		cmocka_unit_test(a_pause_lets_nothing_new_begin),
		cmocka_unit_test(memory_is_inherited_by_who_lives),
		cmocka_unit_test(lanes_are_swept_in_turn),
		cmocka_unit_test(a_poisoned_lane_does_not_stop_the_others),
		cmocka_unit_test(everybody_reads_a_broadcast),
		cmocka_unit_test(readers_of_a_broadcast_write_nothing),
		cmocka_unit_test(the_slow_are_overtaken),
		cmocka_unit_test(a_dead_broadcaster_is_followed),
		cmocka_unit_test(arrays_and_batches_are_broadcast),
		cmocka_unit_test(large_broadcasts_are_sound),
		cmocka_unit_test(a_reservation_given_up_is_padding),
		cmocka_unit_test(nothing_may_be_nowhere),
		cmocka_unit_test(who_waits_has_said_where_it_is),
		cmocka_unit_test(sleeps_are_counted_across_owners),
		cmocka_unit_test(what_is_told_once_is_told),
		cmocka_unit_test(room_that_was_had_is_not_waited_for),
		cmocka_unit_test(a_batch_that_went_by_is_not_had),
		cmocka_unit_test(nobody_sleeps_in_anothers_memory),
		cmocka_unit_test(a_broadcast_wakes_each_time),
		cmocka_unit_test(a_withdrawn_ring_is_left_alone),
		cmocka_unit_test(large_records_need_no_padding),
		cmocka_unit_test(a_record_ends_before_its_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
