/* SPDX-License-Identifier: MIT */
/* The switch core with ports that write down what they get. */
#include "switch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

#define N_PORT 4

struct fake_port {
	struct sw_port port;
	unsigned n_call; /* of egress */
	unsigned n;      /* frames got */
	uint8_t got[4 * SW_BURST][128];
	uint32_t len[4 * SW_BURST];
	bool goes_down; /* in its next egress */
};

static void fake_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct fake_port *fp = container_of(p, struct fake_port, port);

	fp->n_call++;
	for (unsigned i = 0; i < n; i++, fp->n++) {
		fp->len[fp->n] = frame[i]->len;
		sw_frame_copy(frame[i], 0, min(frame[i]->len, 128u), fp->got[fp->n]);
	}
	if (fp->goes_down)
		sw_set_up(p, false);
}

static const struct sw_port_ops fake_ops = { .type = "fake", .egress = fake_egress };

struct bench {
	struct sw sw;
	struct fake_port p[N_PORT];
	uint8_t bytes[SW_BURST][128];
	struct iovec iov[SW_BURST];
	struct sw_frame frame[SW_BURST];
	unsigned n;
};

static void bench_up(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	assert_int_equal(sw_init(&b->sw, &(struct fdb_config){ 64, 16, 300 }, 1), 0);
	for (unsigned i = 0; i < N_PORT; i++) {
		b->p[i].port.ops = &fake_ops;
		snprintf(b->p[i].port.name, sizeof(b->p[i].port.name), "p%u", i);
		assert_int_equal(sw_attach(&b->sw, &b->p[i].port), 0);
		sw_set_up(&b->p[i].port, true);
	}
}

static void bench_down(struct bench *b)
{
	for (unsigned i = 0; i < N_PORT; i++)
		sw_detach(&b->p[i].port);
	sw_done(&b->sw);
}

/* Addresses are numbers here; GROUP makes one a group address. */
#define GROUP 0x010000000000u

static void add_frame(struct bench *b, uint64_t dst, uint64_t src, uint32_t len)
{
	unsigned i = b->n++;

	memset(b->bytes[i], (int)i, sizeof(b->bytes[i]));
	fdb_key_to_mac(dst, b->bytes[i]);
	fdb_key_to_mac(src, b->bytes[i] + 6);
	b->iov[i] = (struct iovec){ b->bytes[i], len };
	b->frame[i] = (struct sw_frame){ .iov = &b->iov[i], .len = len, .n_iov = 1 };
}

static void send_all(struct bench *b, unsigned port)
{
	for (unsigned i = 0; i < N_PORT; i++) {
		b->p[i].n = 0;
		b->p[i].n_call = 0;
	}
	sw_input(&b->p[port].port, b->frame, b->n);
	b->n = 0;
}

static void send_one(struct bench *b, unsigned port, uint64_t dst, uint64_t src)
{
	add_frame(b, dst, src, 60);
	send_all(b, port);
}

static void expect(const struct bench *b, unsigned n0, unsigned n1, unsigned n2, unsigned n3)
{
	assert_int_equal(b->p[0].n, n0);
	assert_int_equal(b->p[1].n, n1);
	assert_int_equal(b->p[2].n, n2);
	assert_int_equal(b->p[3].n, n3);
}

static void test_learns(void **state)
{
	static struct bench b;

	bench_up(&b);
	send_one(&b, 0, 0xb, 0xa); /* unknown: flooded */
	expect(&b, 0, 1, 1, 1);
	assert_int_equal(b.p[0].port.stats.ingress_flooded, 1);
	send_one(&b, 1, 0xa, 0xb); /* the answer goes home */
	expect(&b, 1, 0, 0, 0);
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 0, 0);
	send_one(&b, 2, 0xb, 0xa); /* a moved to port 2 */
	expect(&b, 0, 1, 0, 0);
	assert_int_equal(b.p[2].port.stats.fdb_moved, 1);
	send_one(&b, 1, 0xa, 0xb);
	expect(&b, 0, 0, 1, 0);
	assert_int_equal(b.p[0].port.stats.fdb_learned, 1);
	assert_int_equal(b.p[1].port.stats.fdb_learned, 1);
	bench_down(&b);
}

static void test_groups_flood(void **state)
{
	static struct bench b;

	bench_up(&b);
	send_one(&b, 3, 0xffffffffffffu, 0xa);
	expect(&b, 1, 1, 1, 0);
	send_one(&b, 3, 0x0180c200000eu, 0xa); /* LLDP, too */
	expect(&b, 1, 1, 1, 0);
	sw_set_up(&b.p[1].port, false);
	send_one(&b, 3, 0xffffffffffffu, 0xa);
	expect(&b, 1, 0, 1, 0);
	bench_down(&b);
}

static void test_refuses(void **state)
{
	static struct bench b;
	static uint8_t big[SW_FRAME_MAX + 1];
	struct port_stats *s;

	bench_up(&b);
	s = &b.p[0].port.stats;

	send_one(&b, 0, 0xb, GROUP | 0xa);
	send_one(&b, 0, 0xb, 0);
	expect(&b, 0, 0, 0, 0);
	assert_int_equal(s->ingress_drop_source, 2);
	assert_int_equal(fdb_count(&b.sw.fdb), 0);

	add_frame(&b, 0xb, 0xa, SW_HEAD_LEN - 1);
	add_frame(&b, 0xb, 0xa, SW_HEAD_LEN);
	send_all(&b, 0);
	expect(&b, 0, 1, 1, 1);
	assert_int_equal(s->ingress_drop_short, 1);

	memcpy(big, "\0\0\0\0\0\xb\0\0\0\0\0\xa", 12);
	for (uint32_t len = SW_FRAME_MAX; len <= SW_FRAME_MAX + 1; len++) {
		add_frame(&b, 0xb, 0xa, 60);
		b.iov[0] = (struct iovec){ big, len };
		b.frame[0].len = len;
		send_all(&b, 0);
		expect(&b, 0, len == SW_FRAME_MAX, len == SW_FRAME_MAX, len == SW_FRAME_MAX);
	}
	assert_int_equal(s->ingress_drop_long, 1);

	send_one(&b, 0, 0xa, 0xc); /* a is on this very port */
	expect(&b, 0, 0, 0, 0);
	assert_int_equal(s->ingress_drop_local, 1);
	assert_int_equal(s->ingress_frames, 7);
	bench_down(&b);
}

/* A full burst to several places: one egress call each, order kept, nothing lost. */
static void test_groups_by_destination(void **state)
{
	static struct bench b;

	bench_up(&b);
	for (unsigned i = 0; i < N_PORT; i++)
		send_one(&b, i, 0xffffffffffffu, 0x10 + i);
	for (unsigned i = 0; i < SW_BURST; i++)
		add_frame(&b, i % 8 == 7 ? 0xffffffffffffu : 0x11 + i % 3, 0x10, 60 + i % 60);
	send_all(&b, 0);
	assert_int_equal(b.p[0].n, 0);
	assert_int_equal(b.p[0].n_call, 0);
	for (unsigned p = 1; p < N_PORT; p++) {
		unsigned at = 0;

		assert_int_equal(b.p[p].n_call, 1);
		for (unsigned i = 0; i < SW_BURST; i++) {
			if (i % 8 != 7 && i % 3 != p - 1)
				continue;
			assert_int_equal(b.p[p].len[at], 60 + i % 60);
			assert_memory_equal(b.p[p].got[at], b.bytes[i], 60);
			at++;
		}
		assert_int_equal(b.p[p].n, at);
	}
	bench_down(&b);
}

static void test_down_forgets(void **state)
{
	static struct bench b;

	bench_up(&b);
	send_one(&b, 1, 0xa, 0xb);
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 0, 0);
	sw_set_up(&b.p[1].port, false);
	send_one(&b, 0, 0xb, 0xa); /* unknown again */
	expect(&b, 0, 0, 1, 1);
	sw_set_up(&b.p[1].port, true);
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 1, 1);

	/* Going down amid a burst must not disturb the others. */
	b.p[1].goes_down = true;
	send_one(&b, 0, 0xffffffffffffu, 0xa);
	expect(&b, 0, 1, 1, 1);
	send_one(&b, 0, 0xffffffffffffu, 0xa);
	expect(&b, 0, 0, 1, 1);
	bench_down(&b);
}

static void test_ages(void **state)
{
	static struct bench b;

	bench_up(&b);
	assert_false(sw_tick(&b.sw, 10));
	send_one(&b, 1, 0xa, 0xb);
	assert_false(sw_tick(&b.sw, 309));
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 0, 0);
	assert_false(sw_tick(&b.sw, 310));
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 1, 1);
	bench_down(&b);
}

static void test_names_and_ids(void **state)
{
	static struct bench b;
	static struct fake_port extra[40];
	unsigned n = 0;

	bench_up(&b);
	for (unsigned i = 0; i < array_size(extra); i++) {
		extra[i].port.ops = &fake_ops;
		snprintf(extra[i].port.name, sizeof(extra[i].port.name), "x%u", i);
	}
	strcpy(extra[0].port.name, "p2");
	assert_int_equal(sw_attach(&b.sw, &extra[0].port), -EEXIST);
	strcpy(extra[0].port.name, "");
	assert_int_equal(sw_attach(&b.sw, &extra[0].port), -EINVAL);
	strcpy(extra[0].port.name, "x0");
	sw_detach(&extra[0].port); /* never attached */

	for (unsigned i = 0; i < array_size(extra); i++) {
		assert_int_equal(sw_attach(&b.sw, &extra[i].port), 0);
		sw_set_up(&extra[i].port, true);
	}
	for (struct sw_port *p = sw_next(&b.sw, NULL); p; p = sw_next(&b.sw, p))
		n++;
	assert_int_equal(n, N_PORT + array_size(extra));
	assert_ptr_equal(sw_find(&b.sw, "x39"), &extra[39].port);
	assert_null(sw_find(&b.sw, "x40"));
	send_one(&b, 0, 0xffffffffffffu, 0xa);
	for (unsigned i = 0; i < array_size(extra); i++)
		assert_int_equal(extra[i].n, 1);

	/* An id that is free is used again. */
	sw_detach(&extra[7].port);
	assert_null(sw_find(&b.sw, "x7"));
	assert_int_equal(sw_attach(&b.sw, &extra[7].port), 0);
	assert_int_equal(extra[7].port.id, N_PORT + 7);
	for (unsigned i = 0; i < array_size(extra); i++)
		sw_detach(&extra[i].port);
	bench_down(&b);
}

/* Any cut of a frame into pieces copies to the same bytes, from any offset. */
static void test_copy_pieces(void **state)
{
	uint8_t bytes[64], out[64], head[SW_HEAD_LEN];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	memcpy(head, bytes, sizeof(head));
	for (unsigned cut1 = 1; cut1 < 62; cut1++) {
		for (unsigned cut2 = cut1 + 1; cut2 < 63; cut2++) {
			struct iovec iov[] = { { bytes, cut1 },
					       { bytes + cut1, cut2 - cut1 },
					       { bytes + cut2, 64 - cut2 } };
			struct sw_frame f = { .iov = iov,
					      .len = 64,
					      .n_iov = 3,
					      .head_len = SW_HEAD_LEN,
					      .skip = SW_HEAD_LEN };

			memcpy(f.head, head, sizeof(head));
			for (uint32_t skip = 0; skip < 64; skip += 5) {
				memset(out, 0xee, sizeof(out));
				sw_frame_copy(&f, skip, 64 - skip, out);
				assert_memory_equal(out, bytes + skip, 64 - skip);
			}
		}
	}
}

/* The header that was looked up is the one delivered, whatever the sender does meanwhile. */
static void rewriting_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	memset(frame[0]->iov[0].iov_base, 0xff, 60);
	fake_egress(p, frame, n);
}

static void test_header_is_private(void **state)
{
	static struct bench b;
	static const struct sw_port_ops ops = { .type = "fake", .egress = rewriting_egress };
	uint8_t mac[6];

	bench_up(&b);
	b.p[1].port.ops = &ops;
	send_one(&b, 1, 0xa, 0xb);
	send_one(&b, 0, 0xb, 0xa);
	expect(&b, 0, 1, 0, 0);
	fdb_key_to_mac(0xb, mac);
	assert_memory_equal(b.p[1].got[0], mac, 6);
	assert_int_equal(b.p[1].got[0][20], 0xff);
	bench_down(&b);
}

/* A header scattered over pieces is gathered before it is looked up. */
static void test_split_header(void **state)
{
	static struct bench b;

	for (unsigned cut = 1; cut < SW_HEAD_LEN; cut++) {
		struct iovec iov[2];

		bench_up(&b);
		send_one(&b, 2, 0xa, 0xb);
		add_frame(&b, 0xb, 0xa, 60);
		iov[0] = (struct iovec){ b.bytes[0], cut };
		iov[1] = (struct iovec){ b.bytes[0] + cut, 60 - cut };
		b.frame[0].iov = iov;
		b.frame[0].n_iov = 2;
		send_all(&b, 0);
		expect(&b, 0, 0, 1, 0);
		assert_memory_equal(b.p[2].got[0], b.bytes[0], 60);
		bench_down(&b);
	}
}

static void test_counter_table(void **state)
{
	struct port_stats s = { .ingress_frames = 1, .sessions_refused = 9 };

	assert_int_equal(PORT_N_COUNTERS * sizeof(uint64_t), sizeof(s));
	assert_string_equal(port_counters[0].name, "ingress_frames");
	assert_int_equal(port_counter_value(&s, &port_counters[0]), 1);
	assert_int_equal(port_counter_value(&s, &port_counters[PORT_N_COUNTERS - 1]), 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learns),
		cmocka_unit_test(test_groups_flood),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_groups_by_destination),
		cmocka_unit_test(test_down_forgets),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_names_and_ids),
		cmocka_unit_test(test_copy_pieces),
		cmocka_unit_test(test_header_is_private),
		cmocka_unit_test(test_split_header),
		cmocka_unit_test(test_counter_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
