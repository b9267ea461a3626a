/* SPDX-License-Identifier: MIT */
/* The messages of vmbus-hvsock: what passes, and every field that does not. */
#include "vmbus_proto.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static union vmbus_payload p;

static int judge_flags(uint32_t number, uint32_t flags, uint32_t size, unsigned n_fds)
{
	struct proto_header hdr = { number, flags, size };
	union proto_payload payload = { 0 };
	const char *why = NULL;
	int r;

	memcpy(&payload, &p, sizeof(p));
	r = vmbus_check(&hdr, &payload, n_fds, &why);
	assert_true(r == 0 || (r == -EPROTO && why));
	return r;
}

static int judge(uint32_t number, uint32_t size, unsigned n_fds)
{
	return judge_flags(number, VU_FLAG_VERSION, size, n_fds);
}

/* A message of each kind that passes. */
static void fill_in(uint32_t number)
{
	memset(&p, 0, sizeof(p));
	switch (number) {
	case VMBUS_HELLO:
		p.hello.version = 1;
		break;
	case VMBUS_OFFERED:
		p.offered.channel = 1;
		break;
	case VMBUS_OPEN:
		p.open.channel = 1;
		p.open.n_pages = 4;
		break;
	case VMBUS_CLOSE:
	case VMBUS_RELEASED:
		p.channel.channel = 1;
		break;
	case VMBUS_READY:
		p.ready.up = 1;
		break;
	default:
		break;
	}
}

static const struct {
	uint32_t number, size;
	unsigned n_fds;
} ours[] = {
	/* Only QEMU sends these; the numbers are the contract. */
	{ 37, 40, 1 }, { 38, 40, 0 }, { 64, 16, 0 }, { 65, 32, 0 }, { 68, 16, 0 },
	{ 69, 48, 2 }, { 72, 8, 0 },  { 74, 8, 0 },  { 75, 8, 0 },  { 77, 8, 0 },
};

static void test_good_and_sizes(void **state)
{
	for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		uint32_t number = ours[i].number, size = ours[i].size;
		unsigned n_fds = ours[i].n_fds;

		fill_in(number);
		assert_int_equal(judge(number, size, n_fds), 0);
		assert_int_equal(judge(number, size - 1, n_fds), -EPROTO);
		assert_int_equal(judge(number, size + 1, n_fds), -EPROTO);
		assert_int_equal(judge(number, size + 8, n_fds), -EPROTO);
		assert_int_equal(judge(number, 0, n_fds), -EPROTO);
		assert_int_equal(judge(number, UINT32_MAX, n_fds), -EPROTO);
		assert_int_equal(judge(number, size, n_fds + 1), -EPROTO);
		if (n_fds > 0)
			assert_int_equal(judge(number, size, n_fds - 1), -EPROTO);
		if (n_fds > 1) /* OPEN: this process had no room for them */
			assert_int_equal(judge(number, size, 0), 0);
		for (uint32_t flags = 0; flags < 16; flags++)
			assert_int_equal(judge_flags(number, flags, size, n_fds),
					 flags == 1 ? 0 : -EPROTO);
		assert_string_not_equal(vmbus_message_name(number), "unknown message");
	}
}

static void test_not_theirs(void **state)
{
	static const uint32_t numbers[] = {
		66, 67, 70, 71, 73, 76, 0, 1, 36, 39, 63, 78, UINT32_MAX
	};

	memset(&p, 0, sizeof(p));
	p.channel.channel = 1;
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint32_t size = vmbus_message_size(numbers[i]);

		assert_int_equal(judge(numbers[i], size ? size : 8, 0), -EPROTO);
	}
	assert_int_equal(vmbus_message_size(66), 40);
	assert_int_equal(vmbus_message_size(67), 48);
	assert_int_equal(vmbus_message_size(70), 8);
	assert_int_equal(vmbus_message_size(78), 0);
}

static void test_fields(void **state)
{
#define WRONG(number, size, n_fds, change)                             \
	do {                                                           \
		fill_in(number);                                       \
		assert_int_equal(judge(number, size, n_fds), 0);       \
		change;                                                \
		assert_int_equal(judge(number, size, n_fds), -EPROTO); \
	} while (0)
	WRONG(VMBUS_HELLO, 16, 0, p.hello.version = 2);
	WRONG(VMBUS_HELLO, 16, 0, p.hello.version = 0);
	WRONG(VMBUS_HELLO, 16, 0, p.hello.reserved = 1);
	WRONG(VMBUS_OFFERED, 16, 0, p.offered.channel = 0);
	WRONG(VMBUS_OFFERED, 16, 0, p.offered.channel = VMBUS_CHANNELS + 1);
	WRONG(VMBUS_OFFERED, 16, 0, p.offered.channel = UINT32_MAX);
	WRONG(VMBUS_OFFERED, 16, 0, p.offered.status = 1);
	WRONG(VMBUS_OFFERED, 16, 0, p.offered.status = -ENOSPC); /* and a channel */
	WRONG(VMBUS_OPEN, 48, 2, p.open.channel = 0);
	WRONG(VMBUS_OPEN, 48, 2, p.open.channel = VMBUS_CHANNELS + 1);
	WRONG(VMBUS_OPEN, 48, 2, p.open.n_pages = 3);
	WRONG(VMBUS_OPEN, 48, 2, p.open.n_pages = 5);
	WRONG(VMBUS_OPEN, 48, 2, p.open.n_pages = UINT32_MAX);
	WRONG(VMBUS_OPEN, 48, 2, p.open.n_pages = 0x20000004u); /* times 8, 32 again */
	WRONG(VMBUS_CLOSE, 8, 0, p.channel.channel = 0);
	WRONG(VMBUS_CLOSE, 8, 0, p.channel.channel = VMBUS_CHANNELS + 1);
	WRONG(VMBUS_CLOSE, 8, 0, p.channel.reserved = 1);
	WRONG(VMBUS_RELEASED, 8, 0, p.channel.channel = 0);
	WRONG(VMBUS_RELEASED, 8, 0, p.channel.reserved = 1);
	WRONG(VMBUS_RESET, 8, 0, p.reset.reserved = 1);
	WRONG(VMBUS_READY, 8, 0, p.ready.up = 0);
	WRONG(VMBUS_READY, 8, 0, p.ready.up = 2);
	WRONG(VMBUS_READY, 8, 0, p.ready.reserved = 1);
}

/* The most pages, and one more; and what a guest may choose is no fault of QEMU's. */
static void test_pages(void **state)
{
	fill_in(VMBUS_OPEN);
	p.open.n_pages = VMBUS_PAGES_MAX;
	assert_int_equal(judge(VMBUS_OPEN, 16 + 8 * VMBUS_PAGES_MAX, 2), 0);
	p.open.in_page = UINT32_MAX;
	assert_int_equal(judge(VMBUS_OPEN, 16 + 8 * VMBUS_PAGES_MAX, 2), 0);
	p.open.n_pages = VMBUS_PAGES_MAX + 1;
	assert_int_equal(judge(VMBUS_OPEN, 16 + 8 * VMBUS_PAGES_MAX, 2), -EPROTO);
	p.open.n_pages = 0;
	assert_int_equal(judge(VMBUS_OPEN, 16, 2), -EPROTO);
	fill_in(VMBUS_OFFERED);
	p.offered.channel = VMBUS_CHANNELS;
	assert_int_equal(judge(VMBUS_OFFERED, 16, 0), 0);
	p.offered.channel = 0;
	p.offered.status = -EBUSY;
	assert_int_equal(judge(VMBUS_OFFERED, 16, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_and_sizes),
		cmocka_unit_test(test_not_theirs),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
