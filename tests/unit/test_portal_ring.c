/* SPDX-License-Identifier: MIT */
/* Rings on plain memory: their geometry, records, and what fills a lane. */
#include "ring_fixture.h"

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
		cmocka_unit_test(a_reservation_given_up_is_padding),
		cmocka_unit_test(nothing_may_be_nowhere),
		cmocka_unit_test(large_records_need_no_padding),
		cmocka_unit_test(a_record_ends_before_its_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
