/* SPDX-License-Identifier: MIT */
/* The codec of virtio-vsock packets: every field in its place, whatever the pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pkt.h"

static const struct pkt example = {
	.src_cid = 0x1122334455667788,
	.dst_cid = 0x99aabbccddeeff00,
	.src_port = 0x01020304,
	.dst_port = 0x05060708,
	.len = 0x0a0b0c0d,
	.type = 0x1234,
	.op = 0x5678,
	.flags = 0xdeadbeef,
	.buf_alloc = 0xcafebabe,
	.fwd_cnt = 0x0badf00d,
};

/* The same, byte by byte as virtio 1.3, 5.10.6 has it. */
static const uint8_t image[PKT_HDR_LEN] = {
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa,
	0x99, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05, 0x0d, 0x0c, 0x0b, 0x0a, 0x34, 0x12,
	0x78, 0x56, 0xef, 0xbe, 0xad, 0xde, 0xbe, 0xba, 0xfe, 0xca, 0x0d, 0xf0, 0xad, 0x0b,
};

static void test_image(void **state)
{
	uint8_t bytes[PKT_HDR_LEN];
	struct pkt p;

	pkt_encode(&example, bytes);
	assert_memory_equal(bytes, image, sizeof(image));
	pkt_decode(image, &p);
	assert_memory_equal(&p, &example, PKT_HDR_LEN);
}

/* Cut header and 6 bytes of data into pieces of every two sizes. */
static unsigned cut(uint8_t *bytes, size_t size, size_t first, size_t step, struct iovec *iov)
{
	unsigned n = 0;

	for (size_t at = 0, len = first; at < size; at += len, len = step) {
		len = min(len, size - at);
		iov[n++] = (struct iovec){ bytes + at, len };
	}
	return n;
}

static void test_take_from_pieces(void **state)
{
	uint8_t bytes[PKT_HDR_LEN + 6] = { 0 };

	memcpy(bytes, image, sizeof(image));
	memcpy(bytes + PKT_HDR_LEN, "data!", 6);
	for (size_t first = 1; first <= sizeof(bytes); first++) {
		for (size_t step = 1; step <= sizeof(bytes); step++) {
			struct iovec piece[sizeof(bytes)], *iov = piece;
			unsigned n = cut(bytes, sizeof(bytes), first, step, piece);
			char data[6];
			size_t have = 0;
			struct pkt p;

			assert_true(pkt_take(&iov, &n, &p));
			assert_memory_equal(&p, &example, PKT_HDR_LEN);
			for (; n > 0; n--, iov++) {
				assert_true(iov->iov_len > 0);
				memcpy(data + have, iov->iov_base, iov->iov_len);
				have += iov->iov_len;
			}
			assert_int_equal(have, 6);
			assert_string_equal(data, "data!");
		}
	}
}

static void test_take_bare_header(void **state)
{
	uint8_t bytes[PKT_HDR_LEN];
	struct iovec piece[3], *iov = piece;
	unsigned n = cut(bytes, sizeof(bytes), 20, 20, piece);
	struct pkt p;

	memcpy(bytes, image, sizeof(bytes));
	assert_true(pkt_take(&iov, &n, &p));
	assert_int_equal(n, 0);
	assert_memory_equal(&p, &example, PKT_HDR_LEN);
}

static void test_take_too_short(void **state)
{
	uint8_t bytes[PKT_HDR_LEN - 1] = { 0 };
	struct pkt p = example;

	for (size_t size = 0; size <= sizeof(bytes); size++) {
		struct iovec piece[sizeof(bytes)], *iov = piece;
		unsigned n = cut(bytes, size, 7, 9, piece), before = n;

		assert_false(pkt_take(&iov, &n, &p));
		assert_ptr_equal(iov, piece);
		assert_int_equal(n, before);
		if (n > 0)
			assert_int_equal(piece[0].iov_len, min(size, (size_t)7));
	}
	assert_memory_equal(&p, &example, PKT_HDR_LEN);
}

static void test_put_and_room(void **state)
{
	uint8_t bytes[PKT_HDR_LEN + 6];

	for (size_t first = 1; first <= sizeof(bytes); first++) {
		for (size_t step = 1; step <= sizeof(bytes); step++) {
			struct iovec piece[sizeof(bytes)], room[sizeof(bytes)];
			unsigned n = cut(bytes, sizeof(bytes), first, step, piece), n_room;
			uint32_t len;

			memset(bytes, 0, sizeof(bytes));
			n_room = pkt_room(piece, n, room, &len);
			assert_int_equal(len, 6);
			assert_ptr_equal(room[0].iov_base, bytes + PKT_HDR_LEN);
			for (unsigned i = 0, at = 0; i < n_room; at += room[i++].iov_len)
				memcpy(room[i].iov_base, "data!" + at, room[i].iov_len);
			pkt_put(&example, piece, n);
			assert_memory_equal(bytes, image, sizeof(image));
			assert_string_equal((char *)bytes + PKT_HDR_LEN, "data!");
		}
	}
}

static void test_room_in_bare_header(void **state)
{
	uint8_t bytes[PKT_HDR_LEN];
	struct iovec piece[2], room[2];

	for (size_t size = 1; size <= sizeof(bytes); size++) {
		uint32_t len = 1;

		assert_int_equal(pkt_room(piece, cut(bytes, size, 30, 30, piece), room, &len), 0);
		assert_int_equal(len, 0);
	}
}

static void test_names(void **state)
{
	assert_string_equal(pkt_op_name(VIRTIO_VSOCK_OP_RW), "RW");
	assert_string_equal(pkt_op_name(VIRTIO_VSOCK_OP_CREDIT_REQUEST), "CREDIT_REQUEST");
	assert_string_equal(pkt_op_name(PKT_OP_COUNT), "?");
	assert_false(pkt_type_valid(0));
	assert_true(pkt_type_valid(VIRTIO_VSOCK_TYPE_STREAM));
	assert_true(pkt_type_valid(VIRTIO_VSOCK_TYPE_SEQPACKET));
	assert_false(pkt_type_valid(3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),
		cmocka_unit_test(test_take_from_pieces),
		cmocka_unit_test(test_take_bare_header),
		cmocka_unit_test(test_take_too_short),
		cmocka_unit_test(test_put_and_room),
		cmocka_unit_test(test_room_in_bare_header),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
