/* SPDX-License-Identifier: MIT */
/* What a driver may ask for, by the byte. */
#include "nethdr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	NEEDS_CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	DATA_VALID = VIRTIO_NET_HDR_F_DATA_VALID,
	TCP4 = VIRTIO_NET_HDR_GSO_TCPV4,
	TCP6 = VIRTIO_NET_HDR_GSO_TCPV6,
	UDP = NETHDR_GSO_UDP_L4,
	ECN = VIRTIO_NET_HDR_GSO_ECN,
};

#define LEN 3000

static struct nethdr header(uint8_t flags, uint8_t type, uint16_t size, uint16_t start,
			    uint16_t offset)
{
	return (struct nethdr){
		.flags = flags,
		.gso_type = type,
		.hdr_len = le16_of(66),
		.gso_size = le16_of(size),
		.csum_start = le16_of(start),
		.csum_offset = le16_of(offset),
		.num_buffers = le16_of(7),
	};
}

/* Does a frame of len bytes get in with this? */
static bool allowed(struct nethdr h, uint32_t len, uint32_t offloads)
{
	struct nethdr got;

	return nethdr_read(&h, len, offloads, &got);
}

static void complete_frames_need_nothing(void **state)
{
	static const struct nethdr zero;
	struct nethdr h = header(0xfc, VIRTIO_NET_HDR_GSO_NONE, 9, 8, 7), got;

	assert_true(nethdr_read(&h, 60, 0, &got)); /* bits that nobody knows */
	assert_memory_equal(&got, &zero, sizeof(got));
	assert_int_equal(nethdr_needs(&got), 0);
	h.flags = DATA_VALID;
	assert_true(nethdr_read(&h, 60, 0, &got));
	assert_int_equal(got.flags, DATA_VALID);
	assert_int_equal(nethdr_needs(&got), 0);
}

static void only_what_was_negotiated(void **state)
{
	static const struct {
		uint8_t type;
		uint16_t offset;
		uint32_t needs;
	} row[] = {
		{ VIRTIO_NET_HDR_GSO_NONE, 16, OFFLOAD_CSUM },
		{ TCP4, 16, OFFLOAD_CSUM | OFFLOAD_TSO4 },
		{ TCP6, 16, OFFLOAD_CSUM | OFFLOAD_TSO6 },
		{ TCP4 | ECN, 16, OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_ECN },
		{ TCP6 | ECN, 16, OFFLOAD_CSUM | OFFLOAD_TSO6 | OFFLOAD_ECN },
		{ UDP, 6, OFFLOAD_CSUM | OFFLOAD_USO4 | OFFLOAD_USO6 },
	};

	for (unsigned i = 0; i < array_size(row); i++) {
		struct nethdr h = header(NEEDS_CSUM, row[i].type, 1448, 54, row[i].offset);

		assert_int_equal(nethdr_needs(&h), row[i].needs);
		assert_true(allowed(h, LEN, row[i].needs));
		assert_true(allowed(h, LEN, OFFLOAD_ALL));
		for (uint32_t bit = 1; bit < OFFLOAD_ALL; bit <<= 1)
			if (row[i].needs & bit)
				assert_false(allowed(h, LEN, OFFLOAD_ALL & ~bit));
	}
}

static void unknown_types_are_refused(void **state)
{
	for (unsigned type = 1; type < 256; type++) {
		bool known = type == TCP4 || type == TCP6 || type == (TCP4 | ECN) ||
			     type == (TCP6 | ECN);

		assert_int_equal(allowed(header(NEEDS_CSUM, (uint8_t)type, 1448, 54, 16), LEN,
					 OFFLOAD_ALL),
				 known);
		/* 5.1.6.2.1: with a type comes NEEDS_CSUM. */
		assert_false(allowed(header(0, (uint8_t)type, 1448, 54, 16), LEN, OFFLOAD_ALL));
	}
	assert_true(allowed(header(NEEDS_CSUM, UDP, 1448, 54, 6), LEN, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, UDP | ECN, 1448, 54, 6), LEN, OFFLOAD_ALL));
}

/* CVE-2024-11614: a checksum to be put outside the packet.  The naive check, of csum_start alone or in 16
 * bits, lets most of these in. */
static void cve_2024_11614_checksum_outside(void **state)
{
	assert_true(allowed(header(NEEDS_CSUM, 0, 0, 34, 16), 52, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 34, 16), 51, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 60, 0), 60, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 60, 0), 61, OFFLOAD_CSUM));
	assert_true(allowed(header(NEEDS_CSUM, 0, 0, 60, 0), 62, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 65535, 0), 60, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 34, 65535), 1514, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 34, 65502), 1514, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 65535, 65535), 65550, OFFLOAD_CSUM));
	/* With a tag in front it would begin at 0. */
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 65532, 14), 65554, OFFLOAD_CSUM));
	assert_true(allowed(header(NEEDS_CSUM, 0, 0, 65531, 14), 65554, OFFLOAD_CSUM));
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 0, 16), 1514,
			     OFFLOAD_CSUM)); /* in the Ethernet header */
	assert_false(allowed(header(NEEDS_CSUM, 0, 0, 13, 16), 1514, OFFLOAD_CSUM));
}

/* CVE-2022-2132 and its like: a packet shorter than the headers it is said to have. */
static void cve_2022_2132_shorter_than_its_headers(void **state)
{
	assert_true(allowed(header(NEEDS_CSUM, TCP4, 1448, 34, 16), 54, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, TCP4, 1448, 34, 16), 53, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, TCP4, 1448, 33, 16), LEN, OFFLOAD_ALL));
	assert_true(allowed(header(NEEDS_CSUM, TCP6, 1448, 54, 16), 74, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, TCP6, 1448, 53, 16), LEN, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, UDP, 1448, 34, 6), 41, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, TCP4, 0, 34, 16), LEN, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, TCP4, 1448, 34, 6), LEN, OFFLOAD_ALL));
	assert_false(allowed(header(NEEDS_CSUM, UDP, 1448, 34, 16), LEN, OFFLOAD_ALL));
}

static void what_is_kept_is_clean(void **state)
{
	struct nethdr h = header(0xff, TCP4, 1448, 34, 16), got;

	h.hdr_len = le16_of(9000);
	assert_true(nethdr_read(&h, LEN, OFFLOAD_ALL, &got));
	assert_int_equal(got.flags, NEEDS_CSUM);
	assert_int_equal(le16_get(got.hdr_len), LEN); /* a hint, and not beyond the frame */
	assert_int_equal(le16_get(got.num_buffers), 0);
	h = header(NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE, 1448, 34, 16);
	assert_true(nethdr_read(&h, LEN, OFFLOAD_ALL, &got));
	assert_int_equal(le16_get(got.gso_size), 0);
	assert_int_equal(le16_get(got.hdr_len), 0);
}

static void a_tag_shifts_it(void **state)
{
	struct nethdr h = header(NEEDS_CSUM, TCP4, 1448, 34, 16), none = { 0 };

	nethdr_shift(&h, 4);
	assert_int_equal(le16_get(h.csum_start), 38);
	assert_int_equal(le16_get(h.hdr_len), 70);
	assert_int_equal(le16_get(h.csum_offset), 16);
	nethdr_shift(&h, -4);
	assert_int_equal(le16_get(h.csum_start), 34);
	h.hdr_len = le16_of(1);
	nethdr_shift(&h, -4);
	assert_int_equal(le16_get(h.hdr_len), 0);
	h.hdr_len = le16_of(65534);
	nethdr_shift(&h, 4);
	assert_int_equal(le16_get(h.hdr_len), 65535);
	nethdr_shift(&none, 4);
	assert_int_equal(le16_get(none.csum_start), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(complete_frames_need_nothing),
		cmocka_unit_test(only_what_was_negotiated),
		cmocka_unit_test(unknown_types_are_refused),
		cmocka_unit_test(cve_2024_11614_checksum_outside),
		cmocka_unit_test(cve_2022_2132_shorter_than_its_headers),
		cmocka_unit_test(what_is_kept_is_clean),
		cmocka_unit_test(a_tag_shifts_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
