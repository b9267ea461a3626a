/* SPDX-License-Identifier: MIT */
#include "ring_fixture.h"

bool dead[4];

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

const struct ring_ops world = { is_alive, is_near, no_bell, no_bells, no_nap, no_rest };

struct portal_ring *end_of(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self, .ops = &world };
	struct portal_ring *r;

	assert_int_equal(ring_open(f->mem, f->total, role, &env, &r), 0);
	return r;
}

int try_open(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self, .ops = &world };
	struct portal_ring *r;
	int res = ring_open(f->mem, f->total, role, &env, &r);

	if (res == 0)
		ring_close(r);
	return res;
}

void make(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t max_record,
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

void make_pair(struct fixture *f, enum portal_ring_kind kind, uint64_t size, uint32_t max_record)
{
	make(f, kind, size, max_record, 0);
	f->producer = end_of(f, PORTAL_PRODUCER, ALICE);
	f->consumer = end_of(f, PORTAL_CONSUMER, BOB);
}

void drop(struct fixture *f)
{
	ring_close(f->producer);
	ring_close(f->consumer);
	free(f->mem);
}

void expect(struct portal_ring *r, const void *data, uint32_t len, uint32_t type)
{
	struct portal_record record;

	assert_int_equal(portal_peek(r, &record), 0);
	assert_int_equal(record.len, len);
	assert_int_equal(record.type, type);
	assert_memory_equal(record.data, data, len);
}

void expect_text(struct portal_ring *r, const char *text)
{
	expect(r, text, (uint32_t)strlen(text), 0);
	assert_int_equal(portal_release(r), 0);
}

void send_text(struct portal_ring *r, const char *text)
{
	assert_int_equal(portal_send(r, text, (uint32_t)strlen(text), 0), 0);
}
