/* SPDX-License-Identifier: MIT */
/* What waits for somebody slow: in order, whole, and within its limit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "buffer.h"

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8));
}

static int append(struct buffer *b, struct buffer_pool *pool, uint64_t at, uint32_t len)
{
	uint8_t bytes[40000];
	struct iovec iov[3];
	uint32_t skip = len % 5;

	for (uint32_t i = 0; i < len; i++)
		bytes[skip + i] = pattern(at + i);
	iov[0] = (struct iovec){ bytes, skip / 2 + 1 };
	iov[1] = (struct iovec){ bytes + iov[0].iov_len, 100 };
	iov[2] = (struct iovec){ bytes + iov[0].iov_len + 100, sizeof(bytes) - 200 };
	return buffer_append(b, pool, iov, skip, len);
}

static void check(const struct iovec *iov, unsigned n, uint64_t at, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		for (size_t j = 0; j < iov[i].iov_len; j++, at++, len--)
			assert_int_equal(((uint8_t *)iov[i].iov_base)[j], pattern(at));
	assert_int_equal(len, 0);
}

static void test_stream(void **state)
{
	struct buffer_pool pool;
	struct buffer b = { 0 };
	uint64_t in = 0, out = 0;

	srand(2);
	buffer_pool_init(&pool, 1 << 20);
	for (unsigned i = 0; i < 3000; i++) {
		struct iovec iov[BUFFER_IOVS];
		uint32_t n = (uint32_t)rand() % 30000, max = (uint32_t)rand() % 40000, got = 0;
		unsigned n_iov;

		if (b.len + n <= 256 << 10) {
			assert_int_equal(append(&b, &pool, in, n), 0);
			in += n;
		}
		n_iov = buffer_peek(&b, max, iov);
		for (unsigned j = 0; j < n_iov; j++)
			got += (uint32_t)iov[j].iov_len;
		assert_int_equal(got, min(max, b.len));
		check(iov, n_iov, out, got);
		buffer_consume(&b, &pool, got);
		out += got;
		assert_int_equal(b.len, in - out);
		assert_true(pool.used <= b.len + 2 * BUFFER_CHUNK_SIZE);
	}
	buffer_clear(&b, &pool);
	assert_int_equal(pool.used, 0);
	buffer_pool_done(&pool);
}

/* All of a connection's credit is one list of pieces. */
static void test_whole_credit_in_one_peek(void **state)
{
	struct buffer_pool pool;
	struct buffer b = { 0 };
	struct iovec iov[BUFFER_IOVS];

	buffer_pool_init(&pool, 1 << 20);
	assert_int_equal(append(&b, &pool, 0, 9000), 0);
	buffer_consume(&b, &pool, 8999);
	for (uint64_t at = 9000; at < (256 << 10) + 8999; at += 1000)
		assert_int_equal(append(&b, &pool, at,
					(uint32_t)min((uint64_t)1000, (256 << 10) + 8999 - at)),
				 0);
	assert_int_equal(b.len, 256 << 10);
	check(iov, buffer_peek(&b, UINT32_MAX, iov), 8999, 256 << 10);
	buffer_clear(&b, &pool);
	buffer_pool_done(&pool);
}

static void test_limit(void **state)
{
	struct buffer_pool pool;
	struct buffer a = { 0 }, b = { 0 };

	buffer_pool_init(&pool, 2 * BUFFER_CHUNK_SIZE);
	assert_int_equal(append(&a, &pool, 0, BUFFER_CHUNK_DATA), 0);
	assert_int_equal(append(&b, &pool, 0, BUFFER_CHUNK_DATA), 0);
	assert_int_equal(append(&b, &pool, 0, 1), -ENOBUFS);
	buffer_consume(&a, &pool, BUFFER_CHUNK_DATA);
	assert_int_equal(append(&b, &pool, 0, 1), 0);
	buffer_clear(&b, &pool);
	assert_int_equal(pool.used, 0);
	buffer_pool_done(&pool);
}

/* ---- messages ---- */

static void test_messages(void **state)
{
	struct buffer_pool pool;
	struct buffer b = { 0 };
	struct iovec iov[BUFFER_IOVS];
	uint32_t len[64], n_in = 0, n_out = 0, got;
	uint64_t in = 0, out = 0;
	uint8_t flags;

	srand(3);
	buffer_pool_init(&pool, 4 << 20);
	for (unsigned i = 0; i < 20000; i++) {
		if (n_in - n_out < 8) {
			uint32_t total = (uint32_t)(rand() % 3 ? rand() % 40 : rand() % 20000),
				 left;

			len[n_in % 64] = total;
			/* In parts, the last of which may be empty. */
			for (left = total; left > 0;) {
				uint8_t bytes[1000];
				uint32_t n = min(left, (uint32_t)rand() % 1000 + 1);

				for (uint32_t j = 0; j < n; j++)
					bytes[j] = pattern(in + j);
				assert_int_equal(buffer_append_part(&b, &pool,
								    &(struct iovec){ bytes, n }, 0,
								    n, false, 0),
						 0);
				in += n;
				left -= n;
				if (n_in == n_out)
					assert_false(buffer_message(&b, &got, &flags));
			}
			assert_int_equal(buffer_append_part(&b, &pool, &(struct iovec){ NULL, 0 },
							    0, 0, true, (uint8_t)n_in),
					 0);
			n_in++;
		}
		if (rand() % 2 && n_in > n_out) {
			assert_true(buffer_message(&b, &got, &flags));
			assert_int_equal(got, len[n_out % 64]);
			assert_int_equal(flags, (uint8_t)n_out);
			check(iov, buffer_peek_message(&b, iov), out, got);
			buffer_consume_message(&b, &pool);
			out += got;
			n_out++;
		}
	}
	while (n_out++ < n_in)
		buffer_consume_message(&b, &pool);
	assert_true(buffer_is_empty(&b));
	assert_int_equal(pool.used, 0);
	buffer_pool_done(&pool);
}

/* A message that ends so near the end of a chunk that the next word does not fit. */
static void test_words_are_not_split(void **state)
{
	static const uint8_t bytes[BUFFER_CHUNK_SIZE];

	for (uint32_t left = 0; left <= 16; left++) {
		uint32_t size = (uint32_t)BUFFER_CHUNK_DATA - 8 - left, got;
		struct iovec iov = { (void *)(uintptr_t)bytes, size };
		struct buffer_pool pool;
		struct buffer b = { 0 };
		uint8_t flags;

		buffer_pool_init(&pool, 1 << 20);
		assert_int_equal(buffer_append_part(&b, &pool, &iov, 0, size, true, 1), 0);
		assert_int_equal(buffer_append_part(&b, &pool, &iov, 0, 5, true, 2), 0);
		assert_true(buffer_message(&b, &got, &flags));
		assert_int_equal(got, size);
		buffer_consume_message(&b, &pool);
		assert_true(buffer_message(&b, &got, &flags));
		assert_int_equal(got, 5);
		assert_int_equal(flags, 2);
		buffer_consume_message(&b, &pool);
		assert_false(buffer_message(&b, &got, &flags));
		assert_true(buffer_is_empty(&b));
		assert_int_equal(pool.used, 0);
		buffer_pool_done(&pool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_whole_credit_in_one_peek),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_words_are_not_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
