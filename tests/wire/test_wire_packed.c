/* SPDX-License-Identifier: MIT */
/* Packed rings through the messages: sizes, bases, and a ring that goes round, stops and goes on. */
#include <string.h>

#include "base.h"
#include "wire.h"

#define VERSION_1 (1ull << 32)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define NUM       6 /* no power of two: needless in a packed ring */

struct ring {
	struct guest guest;
	struct driver driver;
	gpa_t data;
};

static void echo(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n = vq_pop(&q->vq, &burst, VQ_BURST);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		vq_push(&q->vq, burst.chain[i].head, burst.chain[i].in_len);
	vq_publish(&q->vq);
	vq_call(&q->vq);
	assert_false(vq_kick_on(&q->vq));
}

static void ring_init(struct wire *w, struct ring *r, uint64_t features)
{
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | features, ~0ull), 0);
	assert_int_equal(w->fe.features & features, features);
	guest_init(&r->guest, 1, 1 << 20);
	driver_init(&r->driver, &r->guest, NUM, features);
	r->data = guest_alloc(&r->guest, 4096, 64);
	assert_int_equal(frontend_guest(&w->fe, &r->guest), 0);
	w->on_kick = echo;
}

static void ring_done(struct ring *r)
{
	driver_done(&r->driver);
	guest_done(&r->guest);
}

/* Chains of two go to the device and come back, with a kick and a call for each. */
static void circulate(struct wire *w, struct ring *r, unsigned n)
{
	const struct driver_buf bufs[2] = { { r->data, 10 }, { GPA(r->data.v + 64), 20 } };

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = 0;
		int id = driver_add(&r->driver, bufs, 1, 1);

		assert_false(driver_call_on(&r->driver));
		assert_true(driver_kick(&r->driver));
		frontend_pump(&w->fe);
		assert_int_equal(driver_calls(&r->driver), 1);
		assert_int_equal(driver_used(&r->driver, &len), id);
		assert_int_equal(len, 20);
	}
}

/* Stopped at every place of two laps, a ring goes on where it was. */
static void goes_on(void **state, uint64_t features)
{
	struct wire *w = *state;
	struct ring r;

	ring_init(w, &r, features);
	for (unsigned lap = 0; lap < 2 * NUM; lap++) {
		struct vq_params p;
		uint32_t base;

		assert_int_equal(frontend_driver_start(&w->fe, 0, &r.driver, true), 0);
		circulate(w, &r, lap % 3);
		driver_params(&r.driver, &p);
		assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
		assert_int_equal(base, p.base);
		assert_int_equal(base & UINT16_MAX, base >> 16);
	}
	ring_done(&r);
}

static void goes_on_by_flags(void **state)
{
	goes_on(state, PACKED);
}

static void goes_on_by_event_index(void **state)
{
	goes_on(state, PACKED | BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
}

/* Without the feature the same numbers are refused, as other tests show. */
static void sizes_and_bases(void **state)
{
	struct wire *w = *state;
	const uint32_t sizes[] = { 1, 3, 255, VQ_MAX_NUM - 1, VQ_MAX_NUM };
	const uint32_t bases[] = { 0, 0x8000, 0x80008000, 0x8003, 0xffffffff };

	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | PACKED, ~0ull), 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 0, sizes[i]),
				 0);
	assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 0, 0), 1);
	assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 0, VQ_MAX_NUM + 1),
			 1);
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		uint32_t base;

		assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_BASE, 0, bases[i]),
				 0);
		assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
		assert_int_equal(base, bases[i]);
	}
}

/* A place outside of the ring: it does not start, and the session goes on. */
static void base_outside(void **state)
{
	struct wire *w = *state;
	struct ring r;

	ring_init(w, &r, PACKED);
	r.driver.used_at.idx = NUM;
	assert_int_equal(frontend_driver_start(&w->fe, 0, &r.driver, true), -EOPNOTSUPP);
	assert_int_equal(w->queue[0].n_start, 0);
	wire_expect_alive(w);
	ring_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(goes_on_by_flags, connected),
		WIRE_TEST(goes_on_by_event_index, connected),
		WIRE_TEST(sizes_and_bases, connected),
		WIRE_TEST(base_outside, connected),
	};

	return cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
