/* SPDX-License-Identifier: MIT */
/* What others hook into the switch: taps, stages, rules; links that go down; isolation. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "switch_fixture.h"

#define ALL 0xffffffffffffu

static struct rig rig;

/* In which order hooks were called: a letter each. */
static char trace[64];

static void note(char what)
{
	size_t n = strlen(trace);

	assert_true(n + 1 < sizeof(trace));
	trace[n] = what;
	trace[n + 1] = '\0';
}

#define expect_trace(text)                          \
	do {                                        \
		assert_string_equal(trace, (text)); \
		trace[0] = '\0';                    \
	} while (0)

/* A stage that passes on at once, keeps, or drops. */
struct fake_stage {
	struct sw_stage stage;
	char name;
	enum { PASS, KEEP, DROP } mode;
	unsigned n;
	struct sw_buf *kept[4 * SW_BURST];
	bool gone;
};

static void stage_pass(struct fake_stage *s, struct sw_port *p, struct sw_frame *const *frame,
		       unsigned n)
{
	if (&s->stage == p->ingress)
		sw_stage_ingress_done(p, frame, n);
	else
		sw_stage_egress_done(p, frame, n);
}

static void stage_burst(struct sw_stage *stage, struct sw_port *p, struct sw_frame *const *frame,
			unsigned n)
{
	struct fake_stage *s = container_of(stage, struct fake_stage, stage);

	note(s->name);
	if (s->mode == PASS)
		stage_pass(s, p, frame, n);
	for (unsigned i = 0; i < n && s->mode == KEEP; i++) {
		s->kept[s->n] = sw_buf_keep(&p->sw->bufs, frame[i]);
		assert_non_null(s->kept[s->n++]);
	}
}

static void stage_release(struct fake_stage *s, struct sw_port *p)
{
	struct sw_frame *frame[SW_BURST] = { NULL };
	unsigned n = s->n;

	s->n = 0;
	for (unsigned i = 0; i < n; i++)
		frame[i] = sw_buf_frame(s->kept[i]);
	stage_pass(s, p, frame, n);
	for (unsigned i = 0; i < n; i++)
		sw_buf_unref(s->kept[i]);
}

static void stage_detached(struct sw_stage *stage, struct sw_port *p)
{
	struct fake_stage *s = container_of(stage, struct fake_stage, stage);

	assert_null(p->ingress);
	assert_null(p->egress);
	while (s->n > 0)
		sw_buf_unref(s->kept[--s->n]);
	s->gone = true;
}

static const struct sw_stage_ops stage_ops = { .burst = stage_burst, .detached = stage_detached };

struct fake_tap {
	struct sw_tap tap;
	char name;
	unsigned n[2]; /* by direction */
	uint32_t len;  /* of the last frame */
	bool gone;
};

static void tap_see(struct sw_tap *tap, struct sw_port *p, enum sw_direction direction,
		    struct sw_frame *const *frame, unsigned n)
{
	struct fake_tap *t = container_of(tap, struct fake_tap, tap);

	note(direction == SW_INGRESS ? t->name : (char)(t->name - 'a' + 'A'));
	t->n[direction] += n;
	t->len = frame[n - 1]->len;
}

static void tap_detached(struct sw_tap *tap, struct sw_port *p)
{
	assert_null(p->tap);
	container_of(tap, struct fake_tap, tap)->gone = true;
}

static const struct sw_tap_ops tap_ops = { .see = tap_see, .detached = tap_detached };

struct fake_rules {
	struct sw_between between;
	bool keep;
	unsigned n_asked, n_kept, n_detached;
	struct sw_buf *kept[SW_BURST];
	struct sw_port *to[SW_BURST];
	uint32_t len;
};

static bool rules_pass(struct sw_between *between, struct sw_port *in, struct sw_port *out,
		       struct sw_frame *f)
{
	struct fake_rules *r = container_of(between, struct fake_rules, between);

	note('r');
	r->n_asked++;
	r->len = f->len;
	if (!r->keep)
		return true;
	r->kept[r->n_kept] = sw_buf_keep(&in->sw->bufs, f);
	r->to[r->n_kept++] = out;
	return false;
}

static void rules_detached(struct sw_between *between, struct sw_port *p)
{
	container_of(between, struct fake_rules, between)->n_detached++;
}

static const struct sw_between_ops rules_ops = { .pass = rules_pass, .detached = rules_detached };

/* Two stations that know each other, on p0 and p1. */
static void meet(void)
{
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	rig_clear(&rig);
	trace[0] = '\0';
}

static void test_order(void **state)
{
	struct fake_tap tap0 = { .tap.ops = &tap_ops, .name = 'a' },
			tap1 = { .tap.ops = &tap_ops, .name = 'b' };
	struct fake_stage in = { .stage.ops = &stage_ops, .name = 'i' },
			  out = { .stage.ops = &stage_ops, .name = 'o' };
	struct fake_rules rules = { .between.ops = &rules_ops };
	struct sw_port *p2 = &rig.p[2].port, *source = &rig.p[1].port;
	struct fake_tap tap2 = { .tap.ops = &tap_ops, .name = 'm' };

	rig_up(&rig);
	meet();
	rig.p[0].port.tap = &tap0.tap;
	rig.p[0].port.ingress = &in.stage;
	rig.p[1].port.egress = &out.stage;
	rig.p[1].port.tap = &tap1.tap;
	rig.sw.between = &rules.between;
	p2->tap = &tap2.tap;
	assert_int_equal(sw_mirror_add(&rig.sw, "m", p2, &source, 1, true, true), 0);

	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	expect_trace("airMoB"); /* its copy is shown before it meets the stage */
	rig_expect(&rig, "0,1,1,0,0,0");
	rig_say(&rig, 1, 0xa, 0xb, RIG_UNTAGGED);
	expect_trace("bMrA");
	rig_expect(&rig, "1,0,1,0,0,0");
	rig_down(&rig);
	assert_true(tap0.gone && tap1.gone && in.gone && out.gone);
	assert_int_equal(rules.n_detached, RIG_PORTS);
}

/* What a stage keeps on the way in is learned and delivered when it comes back, and from where it was copied nobody
 * cares any more. */
static void test_ingress_stage(void **state)
{
	struct fake_stage in = { .stage.ops = &stage_ops, .name = 'i', .mode = KEEP };
	uint8_t bytes[64], want[64];
	uint32_t len = rig_frame(bytes, ALL, 0xa, NULL, 0, 46);

	rig_up(&rig);
	memcpy(want, bytes, sizeof(bytes));
	rig.p[0].port.ingress = &in.stage;
	rig_send_pieces(&rig, 0, bytes, len, 7, NULL);
	memset(bytes, 0xee, sizeof(bytes));
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(fdb_count(&rig.sw.fdb), 0);
	assert_int_equal(rig.p[0].port.stats.ingress_frames, 1);

	stage_release(&in, &rig.p[0].port);
	assert_memory_equal(rig.p[5].got[0].bytes, want, len);
	rig_expect(&rig, "0,1,1,1,1,1");
	assert_int_equal(fdb_count(&rig.sw.fdb), 1);
	assert_int_equal(rig.p[0].port.stats.ingress_frames, 1);
	in.mode = DROP;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,0,0,0");
	rig_down(&rig);
}

/* The same frame twice in one burst, into VLANs: tags are put in once each. */
static void test_duplicate(void **state)
{
	struct fake_stage in = { .stage.ops = &stage_ops, .name = 'i', .mode = KEEP };

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig.p[0].port.ingress = &in.stage;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	in.kept[1] = in.kept[2] = sw_buf_ref(sw_buf_ref(in.kept[0]));
	in.n = 3;
	stage_release(&in, &rig.p[0].port);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rig.p[1].got[i].len, 60);
		assert_int_equal(rig_tci(&rig.p[1].got[i]), -1);
		assert_int_equal(rig.p[2].got[i].len, 64);
		assert_int_equal(rig_tci(&rig.p[2].got[i]), 10);
	}
	rig_expect(&rig, "0,3,3,3,3,3");
	rig_down(&rig);
}

/* On the way out a frame is kept in the form it leaves in. */
static void test_egress_stage(void **state)
{
	struct fake_stage tagged = { .stage.ops = &stage_ops, .name = 't', .mode = KEEP },
			  untagged = { .stage.ops = &stage_ops, .name = 'u', .mode = KEEP };

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig.p[1].port.egress = &untagged.stage;
	rig.p[2].port.egress = &tagged.stage;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,1,1,1");
	assert_int_equal(tagged.kept[0]->frame.len, 64);
	assert_int_equal(tagged.kept[0]->frame.vid, 10);
	stage_release(&tagged, &rig.p[2].port);
	stage_release(&untagged, &rig.p[1].port);
	assert_int_equal(rig_tci(&rig.p[1].got[0]), -1);
	assert_int_equal(rig_tci(&rig.p[2].got[0]), 10);
	assert_int_equal(rig.p[2].got[0].len, 64);
	rig_expect(&rig, "0,1,1,0,0,0");

	/* A frame that both keep and that is untagged for both exists once. */
	rig_access(&rig, 2, 10);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	assert_int_equal(tagged.n, 1);
	assert_int_equal(untagged.n, 1);
	sw_detach(&rig.p[2].port); /* it gives up what is kept */
	assert_true(tagged.gone);
	assert_int_equal(tagged.n, 0);
	assert_int_equal(sw_attach(&rig.sw, &rig.p[2].port), 0);
	rig_down(&rig);
}

/* Delayed on the way in and on the way out, a frame is copied once. */
static void test_kept_twice(void **state)
{
	struct fake_stage in = { .stage.ops = &stage_ops, .name = 'i', .mode = KEEP },
			  out = { .stage.ops = &stage_ops, .name = 'o', .mode = KEEP };
	struct sw_buf *b;

	rig_up(&rig);
	meet();
	rig.p[0].port.ingress = &in.stage;
	rig.p[1].port.egress = &out.stage;
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	b = in.kept[0];
	stage_release(&in, &rig.p[0].port);
	assert_ptr_equal(out.kept[0], b);
	assert_int_equal(b->refs, 1);
	stage_release(&out, &rig.p[1].port);
	rig_expect(&rig, "0,1,0,0,0,0");
	rig_down(&rig);
}

static void test_rules(void **state)
{
	struct fake_rules rules = { .between.ops = &rules_ops };

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig.sw.between = &rules.between;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	assert_int_equal(rules.n_asked, 5); /* each way of a flood is one */
	rig_expect(&rig, "0,1,1,1,1,1");
	rules.keep = true;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rules.n_kept, 5);
	for (unsigned i = 0; i < rules.n_kept; i++) {
		struct sw_frame *f = sw_buf_frame(rules.kept[i]);

		assert_int_equal(f->len, rules.to[i] == &rig.p[1].port ? 60 : 64);
		sw_between_done(rules.to[i], &f, 1);
		sw_buf_unref(rules.kept[i]);
	}
	rig_expect(&rig, "0,1,1,1,1,1");
	rig.sw.between = NULL;
	rig_down(&rig);
}

static void test_link(void **state)
{
	struct sw_port *p = &rig.p[1].port;

	rig_up(&rig);
	meet();
	assert_int_equal(fdb_pin(&rig.sw.fdb, 0xb, p->id), 0);
	sw_set_link(p, SW_DOWN_ADMIN, false);
	assert_int_equal(rig.p[1].n_carrier, 1);
	assert_false(rig.p[1].carrier);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,1,1,1,1");
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED); /* pinned: known, and lost */
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(p->stats.egress_drop_link, 1);
	rig_say(&rig, 1, ALL, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(p->stats.ingress_drop_link, 1);

	/* Two hold it down: both must let go, and what its owner says counts as well. */
	sw_set_link(p, SW_DOWN_FLAP, false);
	sw_set_link(p, SW_DOWN_ADMIN, true);
	assert_int_equal(rig.p[1].n_carrier, 1);
	sw_set_up(p, false);
	sw_set_link(p, SW_DOWN_FLAP, true);
	assert_int_equal(rig.p[1].n_carrier, 2);
	assert_true(rig.p[1].carrier);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,1,1,1,1");
	sw_set_up(p, true);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,1,1,1,1");
	rig_down(&rig);
}

static void test_isolated(void **state)
{
	rig_up(&rig);
	meet();
	rig.p[0].port.isolated = rig.p[1].port.isolated = rig.p[2].port.isolated = true;
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,1,1,1");
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[0].port.stats.ingress_drop_isolated, 1);
	rig_say(&rig, 3, ALL, 0xc, RIG_UNTAGGED);
	rig_expect(&rig, "1,1,1,0,1,1");
	rig_say(&rig, 0, 0xc, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,1,0,0");
	rig_say(&rig, 3, 0xa, 0xc, RIG_UNTAGGED);
	rig_expect(&rig, "1,0,0,0,0,0");
	rig_down(&rig);
}

static void test_pinned(void **state)
{
	rig_up(&rig);
	assert_int_equal(fdb_pin(&rig.sw.fdb, 0xb, rig.p[1].port.id), 0);
	rig_say(&rig, 0, 0xb, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,1,0,0,0,0");
	rig_say(&rig, 2, ALL, 0xb, RIG_UNTAGGED); /* an impostor */
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[2].port.stats.ingress_drop_pinned, 1);
	assert_int_equal(rig.p[2].port.stats.ingress_drop_source, 0);
	rig_say(&rig, 1, ALL, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "1,0,1,1,1,1");
	rig_down(&rig);
}

/* A TCP packet of two segments, of which no more than the headers are looked at. */
static uint32_t big_frame(uint8_t *to, struct nethdr *h)
{
	uint32_t len = rig_frame(to, ALL, 0xa, NULL, 0, 20 + 20 + 2000);
	static const uint8_t ip[20] = { 0x45, 0, 0,  0, 0, 1, 0,  0, 64, 6,
					0,    0, 10, 0, 0, 1, 10, 0, 0,  2 };
	static const uint8_t tcp[20] = { 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0 };

	to[12] = 8;
	to[13] = 0;
	memcpy(to + 14, ip, 20);
	to[16] = (uint8_t)((len - 14) >> 8);
	to[17] = (uint8_t)(len - 14);
	memcpy(to + 34, tcp, 20);
	*h = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
			      .hdr_len = le16_of(54),
			      .gso_size = le16_of(1000),
			      .csum_start = le16_of(34),
			      .csum_offset = le16_of(16) };
	return len;
}

/* Each port is given what it can take, also in its tagged form. */
static void test_offloads(void **state)
{
	static uint8_t bytes[2200];
	struct nethdr h;
	uint32_t len = big_frame(bytes, &h);

	rig_up(&rig);
	rig.p[1].port.offloads = 0;
	rig.p[2].port.no_offloads = true;
	rig.p[3].port.offloads = OFFLOAD_CSUM;
	rig_send_pieces(&rig, 0, bytes, len, 0, &h);
	assert_int_equal(rig.p[4].got[0].len, len);
	assert_int_equal(rig.p[1].got[0].len, 1054);
	assert_int_equal(rig.p[1].got[1].hdr.flags, 0);
	assert_int_equal(rig.p[3].got[1].hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(rig.p[3].got[1].hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	rig_expect(&rig, "0,2,2,2,1,1");

	rig_access(&rig, 0, 10);
	rig_send_pieces(&rig, 0, bytes, len, 100, &h);
	assert_int_equal(rig.p[1].got[0].len, 1058);
	assert_int_equal(rig_tci(&rig.p[1].got[1]), 10);
	rig_expect(&rig, "0,2,2,2,1,1");

	bytes[14] = 0x55; /* no IPv4: whoever takes it as it is may; for others it cannot be cut */
	rig_send_pieces(&rig, 0, bytes, len, 0, &h);
	assert_int_equal(rig.p[1].port.stats.egress_drop_offload, 1);
	assert_int_equal(rig.p[4].n, 1);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),      cmocka_unit_test(test_ingress_stage),
		cmocka_unit_test(test_duplicate),  cmocka_unit_test(test_egress_stage),
		cmocka_unit_test(test_kept_twice), cmocka_unit_test(test_rules),
		cmocka_unit_test(test_link),       cmocka_unit_test(test_isolated),
		cmocka_unit_test(test_pinned),     cmocka_unit_test(test_offloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
