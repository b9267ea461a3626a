/* SPDX-License-Identifier: MIT */
/* VLANs through the whole switch: who gets a frame, and with which tag. */
#include "vlan.h"

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
static const uint16_t ten_twenty[] = { 10, 20, 0 }, ten[] = { 10, 0 };

/* Without a setting anywhere tags mean nothing: whatever they are, frames pass as they came. */
static void test_unaware(void **state)
{
	static const uint32_t tags[] = { 0x81000fff, 0x88a80005, 0x8100e064 };
	uint8_t bytes[80];

	rig_up(&rig);
	for (unsigned n = 0; n <= array_size(tags); n++) {
		uint32_t len = rig_frame(bytes, ALL, 0xa, tags, n, 46);

		rig_send(&rig, 0, bytes, len);
		assert_int_equal(rig.p[5].got[0].len, len);
		assert_memory_equal(rig.p[5].got[0].bytes, bytes, len);
		assert_int_equal(rig.p[5].got[0].vid, 0);
		rig_expect(&rig, "0,1,1,1,1,1");
	}
	/* A tag that is cut off is nobody's business. */
	rig_send(&rig, 0, bytes, 14);
	rig_expect(&rig, "0,1,1,1,1,1");
	rig_down(&rig);
}

static void test_access(void **state)
{
	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig_access(&rig, 2, 20);
	rig_trunk(&rig, 3, 0, ten_twenty);
	rig_trunk(&rig, 4, 20, ten);
	/* p5 is plain: in every VLAN */
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	assert_int_equal(rig_tci(&rig.p[1].got[0]), -1);
	assert_int_equal(rig.p[1].got[0].len, 60);
	assert_int_equal(rig.p[1].got[0].vid, 10);
	assert_int_equal(rig_tci(&rig.p[3].got[0]), 10);
	assert_int_equal(rig.p[3].got[0].len, 64);
	assert_int_equal(rig_tci(&rig.p[4].got[0]), 10);
	assert_int_equal(rig_tci(&rig.p[5].got[0]), 10);
	rig_expect(&rig, "0,1,0,1,1,1");

	/* A native VLAN leaves without its tag. */
	rig_say(&rig, 2, ALL, 0xb, RIG_UNTAGGED);
	assert_int_equal(rig_tci(&rig.p[3].got[0]), 20);
	assert_int_equal(rig_tci(&rig.p[4].got[0]), -1);
	rig_expect(&rig, "0,0,0,1,1,1");

	/* Tagged frames are not an access port's, be it its own VLAN. */
	rig_say(&rig, 0, ALL, 0xa, 10);
	rig_say(&rig, 0, ALL, 0xa, 20);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[0].port.stats.ingress_drop_vlan, 2);

	/* A priority is, and stays as long as there is a tag to bear it. */
	rig_say(&rig, 0, ALL, 0xa, 0xe000);
	assert_int_equal(rig_tci(&rig.p[1].got[0]), -1);
	assert_int_equal(rig.p[1].got[0].len, 60);
	assert_int_equal(rig_tci(&rig.p[3].got[0]), 0xe00a);
	rig_expect(&rig, "0,1,0,1,1,1");
	rig_down(&rig);
}

static void test_trunk(void **state)
{
	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 20);
	rig_access(&rig, 2, 30);
	rig_trunk(&rig, 3, 0, ten_twenty);
	rig_trunk(&rig, 4, 30, ten);

	rig_say(&rig, 3, ALL, 0xa, 0x600a);
	assert_int_equal(rig_tci(&rig.p[0].got[0]), -1);
	assert_int_equal(rig_tci(&rig.p[4].got[0]), 0x600a);
	rig_expect(&rig, "1,0,0,0,1,1");
	rig_say(&rig, 3, ALL, 0xa, 20);
	rig_expect(&rig, "0,1,0,0,0,1");
	rig_say(&rig, 3, ALL, 0xa, 30); /* not in its set */
	rig_say(&rig, 3, ALL, 0xa, RIG_UNTAGGED);
	rig_say(&rig, 3, ALL, 0xa, 0xe000); /* no native VLAN for it */
	rig_say(&rig, 3, ALL, 0xa, 4095);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[3].port.stats.ingress_drop_vlan, 4);

	rig_say(&rig, 4, ALL, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,1,0,0,1");
	rig_say(&rig, 4, ALL, 0xb, 30); /* the native one may have a tag, too */
	assert_int_equal(rig_tci(&rig.p[2].got[0]), -1);
	rig_expect(&rig, "0,0,1,0,0,1");
	rig_say(&rig, 4, ALL, 0xb, 0x2000);
	assert_int_equal(rig_tci(&rig.p[5].got[0]), 0x201e);
	rig_expect(&rig, "0,0,1,0,0,1");
	rig_down(&rig);
}

/* Plain ports beside others: tags are VLANs, no tag is a VLAN of their own. */
static void test_plain_beside_others(void **state)
{
	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_trunk(&rig, 1, 0, ten_twenty);
	rig_say(&rig, 2, ALL, 0xa, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,1,1,1");
	rig_say(&rig, 2, ALL, 0xa, 0xa000);
	assert_int_equal(rig_tci(&rig.p[3].got[0]), 0xa000);
	rig_expect(&rig, "0,0,0,1,1,1");
	rig_say(&rig, 2, ALL, 0xa, 10);
	assert_int_equal(rig_tci(&rig.p[0].got[0]), -1);
	assert_int_equal(rig_tci(&rig.p[3].got[0]), 10);
	rig_expect(&rig, "1,1,0,1,1,1");
	rig_say(&rig, 2, ALL, 0xa, 4095);
	rig_expect(&rig, "0,0,0,0,0,0");
	rig_down(&rig);
}

/* What is behind the first tag is payload, and so is a tag of another type. */
static void test_qinq(void **state)
{
	static const uint32_t two[] = { 0x8100000a, 0x81000063 },
			      service[] = { 0x88a80005, 0x8100000a };
	uint8_t bytes[80];
	uint32_t len;

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_trunk(&rig, 1, 0, ten_twenty);
	sw_set_vlan(&rig.p[2].port, &(struct vlan_port){ .mode = VLAN_TUNNEL, .pvid = 10 });

	len = rig_frame(bytes, ALL, 0xa, two, 2, 46);
	rig_send(&rig, 1, bytes, len);
	assert_int_equal(rig.p[0].got[0].len, len - 4);
	assert_int_equal(rig_tci(&rig.p[0].got[0]), 0x63); /* the inner one */
	assert_int_equal(rig_tci(&rig.p[2].got[0]), 0x63);
	assert_memory_equal(rig.p[3].got[0].bytes, bytes, len);
	rig_expect(&rig, "1,0,1,1,1,1");

	/* A tunnel puts its own tag in front of whatever comes. */
	rig_say(&rig, 2, ALL, 0xb, 77);
	assert_int_equal(rig_tci(&rig.p[1].got[0]), 10);
	assert_int_equal(rig.p[1].got[0].len, 68);
	assert_int_equal(rig.p[1].got[0].bytes[16] << 8 | rig.p[1].got[0].bytes[17], 0x8100);
	assert_int_equal(rig.p[1].got[0].bytes[19], 77);
	rig_expect(&rig, "1,1,0,1,1,1");

	len = rig_frame(bytes, ALL, 0xa, service, 2, 46);
	rig_send(&rig, 0, bytes, len); /* no tag in our sense */
	assert_memory_equal(rig.p[2].got[0].bytes, bytes, len);
	assert_int_equal(rig.p[1].got[0].len, len + 4);
	assert_int_equal(rig_tci(&rig.p[1].got[0]), 10);
	rig_expect(&rig, "0,1,1,1,1,1");
	rig_down(&rig);
}

/* An address can be in several VLANs, at several ports. */
static void test_learning_by_vlan(void **state)
{
	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 20);
	rig_trunk(&rig, 2, 0, ten_twenty);
	rig_say(&rig, 0, ALL, 0xa, RIG_UNTAGGED);
	rig_say(&rig, 1, ALL, 0xa, RIG_UNTAGGED);
	rig_clear(&rig);
	assert_int_equal(fdb_count(&rig.sw.fdb), 2);
	rig_say(&rig, 2, 0xa, 0xb, 10);
	rig_expect(&rig, "1,0,0,0,0,0");
	rig_say(&rig, 2, 0xa, 0xb, 20);
	rig_expect(&rig, "0,1,0,0,0,0");
	rig_say(&rig, 3, 0xa, 0xc, RIG_UNTAGGED); /* in VLAN 0 nobody knows it */
	rig_expect(&rig, "0,0,0,0,1,1");

	/* Moved into another VLAN, a port's stations are forgotten. */
	rig_access(&rig, 0, 20);
	rig_say(&rig, 2, 0xa, 0xb, 10);
	rig_expect(&rig, "0,0,0,1,1,1");
	rig_down(&rig);
}

/* A pinned station whose port is not in the VLAN. */
static void test_pinned_elsewhere(void **state)
{
	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 20);
	assert_int_equal(fdb_pin(&rig.sw.fdb, 0xa | fdb_key_vlan(10), rig.p[1].port.id), 0);
	rig_say(&rig, 0, 0xa, 0xb, RIG_UNTAGGED);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[0].port.stats.ingress_drop_vlan, 1);
	rig_down(&rig);
}

/* The request for a checksum moves with the tag, and one that begins inside it is refused. */
static void test_offsets(void **state)
{
	struct nethdr h = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			    .hdr_len = le16_of(54),
			    .csum_start = le16_of(34),
			    .csum_offset = le16_of(16) };
	uint8_t bytes[80];
	uint32_t len, tag = 0x8100000a;

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig_trunk(&rig, 2, 0, ten_twenty);
	len = rig_frame(bytes, ALL, 0xa, NULL, 0, 60);
	rig_send_pieces(&rig, 0, bytes, len, 0, &h);
	assert_int_equal(le16_get(rig.p[1].got[0].hdr.csum_start), 34);
	assert_int_equal(le16_get(rig.p[2].got[0].hdr.csum_start), 38);
	assert_int_equal(le16_get(rig.p[2].got[0].hdr.hdr_len), 58);
	assert_int_equal(le16_get(rig.p[2].got[0].hdr.csum_offset), 16);
	rig_clear(&rig);

	len = rig_frame(bytes, ALL, 0xa, &tag, 1, 60);
	h.csum_start = le16_of(18);
	rig_send_pieces(&rig, 2, bytes, len, 0, &h);
	assert_int_equal(le16_get(rig.p[0].got[0].hdr.csum_start), 14);
	rig_expect(&rig, "1,1,0,1,1,1");
	h.csum_start = le16_of(17);
	rig_send_pieces(&rig, 2, bytes, len, 0, &h);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[2].port.stats.ingress_drop_vlan, 1);
	rig_down(&rig);
}

/* However the sender cut it, the same comes out; also where the tag is cut, and where it is too short for one. */
static void test_pieces(void **state)
{
	uint32_t tag = 0x8100600a, len;
	uint8_t bytes[80], want[80];

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_trunk(&rig, 1, 0, ten_twenty);
	for (uint32_t piece = 1; piece <= 70; piece++) {
		len = rig_frame(bytes, ALL, 0xa, &tag, 1, 46);
		rig_frame(want, ALL, 0xa, NULL, 0, 46);
		rig_send_pieces(&rig, 1, bytes, len, piece, NULL);
		assert_int_equal(rig.p[0].got[0].len, len - 4);
		assert_memory_equal(rig.p[0].got[0].bytes, want, len - 4);
		assert_memory_equal(rig.p[2].got[0].bytes, bytes, len);
		rig_clear(&rig);

		tag = 0x8100000a;
		len = rig_frame(bytes, ALL, 0xb, NULL, 0, 46);
		rig_frame(want, ALL, 0xb, &tag, 1, 46);
		rig_send_pieces(&rig, 0, bytes, len, piece, NULL);
		assert_int_equal(rig.p[1].got[0].len, len + 4);
		assert_memory_equal(rig.p[1].got[0].bytes, want, len + 4);
		rig_clear(&rig);
		tag = 0x8100600a;
	}
	rig_frame(bytes, ALL, 0xa, &tag, 1, 46);
	for (len = 14; len < 18; len++)
		rig_send(&rig, 1, bytes, len);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[1].port.stats.ingress_drop_vlan, 4);
	rig_send(&rig, 1, bytes, 18);
	assert_int_equal(rig.p[0].got[0].len, 14);
	rig_expect(&rig, "1,0,1,1,1,1");
	rig_down(&rig);
}

/* Many frames in one burst, for ports of both kinds: each keeps its own bytes and its order. */
static void test_burst(void **state)
{
	static uint8_t bytes[SW_BURST][64];
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig_trunk(&rig, 2, 0, ten_twenty);
	for (unsigned i = 0; i < SW_BURST; i++) {
		uint32_t len = rig_frame(bytes[i], ALL, 0x100 + i, NULL, 0, 46);

		iov[i] = (struct iovec){ bytes[i], len };
		frame[i] = (struct sw_frame){ .iov = &iov[i], .len = len, .n_iov = 1 };
	}
	sw_input(&rig.p[0].port, frame, SW_BURST);
	for (unsigned i = 0; i < SW_BURST; i++) {
		assert_int_equal(rig.p[1].got[i].bytes[11], i);
		assert_int_equal(rig.p[2].got[i].bytes[11], i);
		assert_int_equal(rig_tci(&rig.p[1].got[i]), -1);
		assert_int_equal(rig_tci(&rig.p[2].got[i]), 10);
	}
	assert_int_equal(rig.p[2].n_call, 1);
	rig_expect(&rig, "0,64,64,64,64,64");
	rig_down(&rig);
}

/* With a tag, too, a frame is no longer than a frame can be. */
static void test_longest(void **state)
{
	static uint8_t bytes[SW_FRAME_MAX];
	const uint32_t longest = SW_FRAME_MAX - 4;

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_trunk(&rig, 3, 0, ten);
	(void)rig_frame(bytes, ALL, 0xa, NULL, 0, 46);
	rig_send(&rig, 0, bytes, longest);
	assert_int_equal(rig.p[3].got[0].len, SW_FRAME_MAX);
	rig_send(&rig, 0, bytes, longest + 1);
	rig_send_pieces(&rig, 0, bytes, SW_FRAME_MAX, 1024, NULL);
	assert_int_equal(rig.p[0].port.stats.ingress_drop_long, 2);
	rig_expect(&rig, "0,1,1,1,1,1");
	rig_down(&rig);
}

/* A tag behind one that is taken out must not become the frame's own. */
static void test_hidden_tags(void **state)
{
	static const uint32_t hidden[] = { 0x8100e000, 0x81000014 },
			      own[] = { 0x8100000a, 0x81000014 };
	uint8_t bytes[80];
	uint32_t len = rig_frame(bytes, ALL, 0xa, hidden, 2, 46);

	rig_up(&rig);
	rig_access(&rig, 0, 10);
	rig_access(&rig, 1, 10);
	rig_trunk(&rig, 2, 10, ten_twenty);
	rig_trunk(&rig, 3, 10, ten_twenty);
	rig_trunk(&rig, 4, 0, ten_twenty);
	rig_access(&rig, 5, 20);
	rig_send(&rig, 0, bytes, len);
	assert_int_equal(rig.p[0].port.stats.ingress_drop_vlan, 1);
	rig_expect(&rig, "0,0,0,0,0,0");

	/* Of the native VLAN, which leaves a trunk without its tag. */
	rig_send(&rig, 2, bytes, len);
	rig_expect(&rig, "1,1,0,0,1,0");
	len = rig_frame(bytes, ALL, 0xa, own, 2, 46);
	rig_send(&rig, 4, bytes, len);
	rig_expect(&rig, "1,1,0,0,0,0");

	/* The same to a station. */
	rig_say(&rig, 3, ALL, 0xb, RIG_UNTAGGED);
	rig_clear(&rig);
	len = rig_frame(bytes, 0xb, 0xa, own, 2, 46);
	rig_send(&rig, 4, bytes, len);
	rig_expect(&rig, "0,0,0,0,0,0");
	assert_int_equal(rig.p[4].port.stats.ingress_drop_vlan, 1);
	rig_down(&rig);
}

static void test_set_copy(void **state)
{
	struct vlan_set set = { 0 };
	struct vlan_port from = { .mode = VLAN_TRUNK, .pvid = 4094, .set = &set }, to;

	vlan_set_add(&set, 1);
	vlan_set_add(&set, VLAN_MAX);
	assert_int_equal(vlan_port_copy(&from, &to), 0);
	assert_true(vlan_port_equal(&from, &to));
	assert_true(vlan_member(&to, 1) && vlan_member(&to, 4094));
	assert_false(vlan_member(&to, 2) || vlan_member(&to, 0));
	vlan_set_add(&set, 2);
	assert_false(vlan_port_equal(&from, &to));
	assert_false(vlan_member(&to, 2));
	assert_true(vlan_tagged(&to, 1) && !vlan_tagged(&to, 4094));
	vlan_port_done(&to);
	assert_int_equal(to.mode, VLAN_PLAIN);
}

static void test_priority(void **state)
{
	uint8_t bytes[80];
	uint32_t tag = 0x8100e00a, len = rig_frame(bytes, ALL, 1, &tag, 1, 46);
	struct iovec iov = { bytes, len };
	struct sw_frame f = { .iov = &iov, .len = len, .n_iov = 1, .head_len = 14, .skip = 14 };

	memcpy(f.head, bytes, 14);
	assert_int_equal(vlan_priority(&f), 7);
	f.vid = 10;
	vlan_set_tag(&f, false); /* has none in its head: nothing to do */
	assert_int_equal(f.len, len);
	vlan_set_tag(&f, true);
	assert_int_equal(f.len, len + 4);
	assert_int_equal(vlan_priority(&f), 0);
	f.len = 17;
	f.head_len = 14;
	assert_int_equal(vlan_priority(&f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unaware),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_trunk),
		cmocka_unit_test(test_plain_beside_others),
		cmocka_unit_test(test_qinq),
		cmocka_unit_test(test_learning_by_vlan),
		cmocka_unit_test(test_pinned_elsewhere),
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_hidden_tags),
		cmocka_unit_test(test_set_copy),
		cmocka_unit_test(test_priority),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
