/* SPDX-License-Identifier: MIT */
/* The request table and its checks, without a socket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "proto.h"

static const struct {
	uint32_t number;
	const char *name;
} rows[] = {
#define X(name, number, ...) { number, #name },
	PROTO_REQUESTS(X)
#undef X
};

/* A payload of `size` bytes that is consistent in itself for this request. */
static union proto_payload payload_of(const struct proto_request_info *info, uint32_t size,
				      unsigned n_fds)
{
	union proto_payload p = { 0 };

	if (info->payload == PROTO_PAYLOAD_MEM_TABLE)
		p.mem_table.n_regions = n_fds;
	if (info->payload == PROTO_PAYLOAD_CONFIG)
		p.config.size = size - PROTO_CONFIG_HEAD;
	if (info->payload == PROTO_PAYLOAD_VRING_FD && n_fds == 0)
		p.u64 = VU_VRING_NOFD;
	return p;
}

static int check(uint32_t request, uint32_t size, unsigned n_fds)
{
	const struct proto_request_info *info = proto_request_info(request);
	const struct proto_header hdr = { request, VU_FLAG_VERSION, size };
	const union proto_payload p = payload_of(info, size, n_fds);
	const char *why = NULL;
	int r = proto_check(&hdr, &p, n_fds, &why);

	assert_int_equal(r != 0, why != NULL);
	return r;
}

static void test_rows(void **state)
{
	for (unsigned i = 0; i < array_size(rows); i++) {
		const struct proto_request_info *info = proto_request_info(rows[i].number);

		assert_non_null(info);
		assert_string_equal(info->name, rows[i].name);
		assert_string_equal(proto_request_name(rows[i].number), rows[i].name);
		assert_true(info->fds_min <= info->fds_max && info->fds_max <= VU_MAX_FDS);
		assert_true(info->obeyed_in & PROTO_IN_OPEN);
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(rows[i].number, rows[j].number);
	}
}

static void test_no_such_row(void **state)
{
	const uint32_t unknown[] = { 0, 22, 45, VU_REQUEST_LIMIT - 1, VU_REQUEST_LIMIT, UINT32_MAX };
	const union proto_payload p = { 0 };
	uint32_t index;

	for (unsigned i = 0; i < array_size(unknown); i++) {
		const struct proto_header hdr = { unknown[i], VU_FLAG_VERSION, 100 };
		const char *why;

		assert_null(proto_request_info(unknown[i]));
		assert_string_equal(proto_request_name(unknown[i]), "unknown request");
		assert_int_equal(proto_check(&hdr, &p, VU_MAX_FDS, &why), 0);
		assert_false(proto_vring_index(&hdr, &p, &index));
	}
}

/* For every request, the sizes that pass are those of its payload, no others. */
static void test_every_size(void **state)
{
	for (unsigned i = 0; i < array_size(rows); i++) {
		const struct proto_request_info *info = proto_request_info(rows[i].number);
		unsigned n_fds = info->payload == PROTO_PAYLOAD_MEM_TABLE ? 2 : info->fds_min;
		unsigned passed = 0;

		for (uint32_t size = 0; size <= VU_PAYLOAD_MAX; size++)
			passed += check(rows[i].number, size, n_fds) == 0;
		if (info->payload == PROTO_PAYLOAD_CONFIG)
			assert_int_equal(passed, VU_CONFIG_MAX + 1);
		else if (info->payload == PROTO_PAYLOAD_INFLIGHT)
			assert_int_equal(passed, 2);
		else
			assert_int_equal(passed, 1);
	}
}

static void test_every_number_of_fds(void **state)
{
	static const uint32_t size_of[] = {
		[PROTO_PAYLOAD_NONE] = 0,        [PROTO_PAYLOAD_U64] = 8,
		[PROTO_PAYLOAD_VRING_STATE] = 8, [PROTO_PAYLOAD_VRING_ADDR] = 40,
		[PROTO_PAYLOAD_VRING_FD] = 8,    [PROTO_PAYLOAD_MEM_REG] = 40,
		[PROTO_PAYLOAD_CONFIG] = 12,     [PROTO_PAYLOAD_LOG] = 16,
		[PROTO_PAYLOAD_INFLIGHT] = 20,   [PROTO_PAYLOAD_DEVICE_STATE] = 8,
	};

	for (unsigned i = 0; i < array_size(rows); i++) {
		const struct proto_request_info *info = proto_request_info(rows[i].number);

		for (unsigned n = 0; n <= VU_MAX_FDS + 1; n++) {
			uint32_t size = info->payload == PROTO_PAYLOAD_MEM_TABLE ?
						PROTO_MEM_TABLE_HEAD + 32 * n :
						size_of[info->payload];
			bool good = n >= info->fds_min && n <= info->fds_max;

			assert_int_equal(check(rows[i].number, size, n), good ? 0 : -EPROTO);
		}
	}
}

static void test_header(void **state)
{
	const struct {
		uint32_t flags, size;
		int result;
	} cases[] = {
		{ VU_FLAG_VERSION, 0, 0 },
		{ VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, 0, 0 },
		{ VU_FLAG_VERSION | 0x100, 0, 0 }, /* flags of the future */
		{ 0, 0, -EPROTO },
		{ 2, 0, -EPROTO },
		{ 3, 0, -EPROTO },
		{ VU_FLAG_VERSION | VU_FLAG_REPLY, 0, -EPROTO },
		{ VU_FLAG_VERSION, 1, -EPROTO },
		{ VU_FLAG_VERSION, UINT32_MAX, -EPROTO },
	};

	for (unsigned i = 0; i < array_size(cases); i++) {
		const struct proto_header hdr = { VHOST_USER_GET_FEATURES, cases[i].flags,
						  cases[i].size };
		const char *why;

		assert_int_equal(proto_check_header(&hdr, &why), cases[i].result);
	}
}

/* The two sizes that wrap in 32 bits. */
static void test_counts_that_wrap(void **state)
{
	struct proto_header hdr = { VHOST_USER_SET_MEM_TABLE, VU_FLAG_VERSION, 8 };
	union proto_payload p = { .mem_table.n_regions = 0x08000000 };
	const char *why;

	assert_int_equal(proto_check(&hdr, &p, 0, &why), -EPROTO);
	hdr = (struct proto_header){ VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, 12 };
	p = (union proto_payload){ .config.size = UINT32_MAX - 11 };
	assert_int_equal(proto_check(&hdr, &p, 0, &why), -EPROTO);
}

static void test_vring_index(void **state)
{
	const union proto_payload p = { .u64 = 0xffffffffffffff17ull };
	uint32_t index;

	for (unsigned i = 0; i < array_size(rows); i++) {
		const struct proto_header hdr = { rows[i].number, VU_FLAG_VERSION, 8 };
		bool names_one = strncmp(rows[i].name, "SET_VRING_", 10) == 0 ||
				 strcmp(rows[i].name, "GET_VRING_BASE") == 0;

		assert_int_equal(proto_vring_index(&hdr, &p, &index), names_one);
		if (!names_one)
			continue;
		if (proto_request_info(rows[i].number)->payload == PROTO_PAYLOAD_VRING_FD)
			assert_int_equal(index, 0x17);
		else
			assert_int_equal(index, 0xffffff17);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),        cmocka_unit_test(test_no_such_row),
		cmocka_unit_test(test_every_size),  cmocka_unit_test(test_every_number_of_fds),
		cmocka_unit_test(test_header),      cmocka_unit_test(test_counts_that_wrap),
		cmocka_unit_test(test_vring_index),
	};

	return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
