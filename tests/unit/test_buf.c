/* SPDX-License-Identifier: MIT */
/* Bounce buffers: what they hold, who frees them, how many there can be. */
#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

static uint8_t bytes[SW_FRAME_MAX + 4];

static struct sw_frame whole(struct iovec *iov, uint32_t len)
{
	struct sw_frame f = { .iov = iov, .len = len, .n_iov = 1, .head_len = 14, .skip = 14 };

	*iov = (struct iovec){ bytes, len };
	memcpy(f.head, bytes, 14);
	return f;
}

/* A copy has the bytes as delivered, at all lengths around the sizes of buffers. */
static void test_copy(void **state)
{
	static const uint32_t lens[] = { 14,   15,   72,   73,   255,  256,   257,         1535,
					 1536, 1537, 9216, 9280, 9281, 65536, SW_FRAME_MAX };
	struct sw_bufs bufs;
	struct iovec iov;

	sw_bufs_init(&bufs, 0);
	assert_int_equal(bufs.max, SW_BUFS_DEFAULT);
	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned i = 0; i < array_size(lens); i++) {
		struct sw_frame f = whole(&iov, lens[i]);
		struct sw_buf *b;

		f.vid = 7;
		f.hdr.flags = 1;
		f.head[0] ^= 0xff; /* what counts is the head */
		b = sw_buf_of(&bufs, &f);
		assert_non_null(b);
		assert_int_equal(b->frame.len, lens[i]);
		assert_int_equal(b->frame.n_iov, 1);
		assert_ptr_equal(b->frame.buf, b);
		assert_int_equal(b->frame.vid, 7);
		assert_int_equal(b->frame.hdr.flags, 1);
		assert_memory_equal(b->frame.head, f.head, 14);
		assert_memory_equal(b->bytes, f.head, 14);
		assert_memory_equal(b->bytes + 14, bytes + 14, lens[i] - 14);
		assert_true(bufs.used >= lens[i]);
		sw_buf_unref(b);
		assert_int_equal(bufs.used, 0);
	}
	sw_bufs_done(&bufs);
	assert_int_equal(bufs.held, 0);
}

static void test_forms(void **state)
{
	struct sw_bufs bufs;
	struct iovec iov;
	struct sw_frame f = whole(&iov, 60);
	struct sw_buf *b;

	sw_bufs_init(&bufs, 0);
	f.vid = 10;
	vlan_set_tag(&f, true);
	b = sw_buf_of(&bufs, &f);
	assert_int_equal(b->frame.len, 64);
	assert_int_equal(b->frame.head_len, 14);
	assert_int_equal(b->bytes[12] << 8 | b->bytes[13], 0x8100);
	assert_int_equal(b->bytes[15], 10);
	assert_memory_equal(b->bytes + 16, bytes + 12, 48);
	sw_buf_unref(b);
	sw_bufs_done(&bufs);
}

/* A frame in a buffer is kept by a reference, unless its form has changed. */
static void test_keep(void **state)
{
	struct sw_bufs bufs;
	struct iovec iov;
	struct sw_frame f = whole(&iov, 100), mine;
	struct sw_buf *b, *c;

	sw_bufs_init(&bufs, 0);
	b = sw_buf_keep(&bufs, &f);
	assert_int_equal(b->refs, 1);
	c = sw_buf_keep(&bufs, sw_buf_frame(b));
	assert_ptr_equal(b, c);
	assert_int_equal(b->refs, 2);

	mine = b->frame;
	mine.vid = 5;
	c = sw_buf_keep(&bufs, &mine); /* two have it, and one of them knows another VLAN */
	assert_ptr_not_equal(b, c);
	assert_int_equal(c->frame.vid, 5);
	sw_buf_unref(c);
	sw_buf_unref(b);
	c = sw_buf_keep(&bufs, &mine);
	assert_ptr_equal(b, c);
	assert_int_equal(b->frame.vid, 5);
	sw_buf_unref(c);

	vlan_set_tag(&mine, true);
	c = sw_buf_keep(&bufs, &mine);
	assert_ptr_not_equal(b, c);
	assert_int_equal(c->frame.len, 104);
	sw_buf_unref(c);
	mine = b->frame;
	mine.head[3] ^= 1;
	c = sw_buf_keep(&bufs, &mine);
	assert_ptr_not_equal(b, c);
	sw_buf_unref(c);
	sw_buf_unref(b);
	sw_buf_unref(NULL);
	assert_int_equal(bufs.used, 0);
	sw_bufs_done(&bufs);
}

/* What lies idle in one class is given up for another; what is in use is not. */
static void test_bound(void **state)
{
	struct sw_buf *small[1000], *big[1000];
	struct sw_bufs bufs;
	unsigned n = 0, m = 0;

	sw_bufs_init(&bufs, 100000);
	while ((small[n] = sw_buf_new(&bufs, 60)))
		n++;
	assert_true(n > 100);
	assert_true(bufs.held <= bufs.max);
	assert_null(sw_buf_new(&bufs, 1500));
	for (unsigned i = 0; i < n / 2; i++)
		sw_buf_unref(small[i]);
	while ((big[m] = sw_buf_new(&bufs, 1500)))
		m++;
	assert_in_range(m, 5, 50);
	assert_true(bufs.held <= bufs.max);
	for (unsigned i = 0; i < m; i++)
		sw_buf_unref(big[i]);
	for (unsigned i = n / 2; i < n; i++)
		sw_buf_unref(small[i]);
	assert_int_equal(bufs.used, 0);
	assert_non_null((small[0] = sw_buf_new(&bufs, SW_FRAME_MAX)));
	bufs.max = 0; /* lowered meanwhile: nothing new, and nothing is kept idle */
	assert_null(sw_buf_new(&bufs, SW_FRAME_MAX));
	sw_buf_unref(small[0]);
	assert_null(sw_buf_new(&bufs, 60));
	sw_bufs_done(&bufs);
}

/* A moment of many buffers does not hold their memory for ever. */
static void test_idle(void **state)
{
	static struct sw_buf *b[400];
	struct sw_bufs bufs;

	sw_bufs_init(&bufs, 0);
	for (unsigned i = 0; i < array_size(b); i++)
		assert_non_null((b[i] = sw_buf_new(&bufs, 65000)));
	assert_true(bufs.held > SW_BUFS_IDLE_MAX);
	for (unsigned i = 0; i < array_size(b); i++)
		sw_buf_unref(b[i]);
	assert_int_equal(bufs.used, 0);
	assert_in_range(bufs.held, 1, SW_BUFS_IDLE_MAX + 70000);
	sw_bufs_done(&bufs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy), cmocka_unit_test(test_forms),
		cmocka_unit_test(test_keep), cmocka_unit_test(test_bound),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
