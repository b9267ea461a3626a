/* SPDX-License-Identifier: MIT */
/* The words between host and agent: their bytes, their tables, their limits. */
#include "agent/protocol.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void header_is_little_endian(void **state)
{
	static const uint8_t bytes[AGENT_HEADER_SIZE] = {
		0x10, 0, 0, 0, 0x34, 0x12, 0, 0, 0xef, 0xbe, 0xad, 0xde, 2, 0, 0, 0
	};
	const struct agent_header header = {
		.type = AGENT_EXEC, .size = 0x1234, .transaction = 0xdeadbeef, .step = 2
	};
	struct agent_header back;
	uint8_t out[AGENT_HEADER_SIZE];

	agent_header_put(out, &header);
	assert_memory_equal(out, bytes, sizeof(bytes));
	agent_header_get(bytes, &back);
	assert_memory_equal(&back, &header, sizeof(header));
}

static int check(uint32_t type, uint32_t size, enum agent_place place)
{
	const struct agent_header header = { .type = type, .size = size };

	return agent_header_check(&header, place);
}

static void sizes_have_limits(void **state)
{
	assert_int_equal(check(AGENT_PING, 15, AGENT_CONTROL), -EMSGSIZE);
	assert_int_equal(check(AGENT_PING, 0, AGENT_CONTROL), -EMSGSIZE);
	assert_int_equal(check(AGENT_PING, 16, AGENT_CONTROL), 0);
	assert_int_equal(check(AGENT_PING, AGENT_MESSAGE_MAX, AGENT_CONTROL), 0);
	assert_int_equal(check(AGENT_PING, AGENT_MESSAGE_MAX + 1, AGENT_CONTROL), -EMSGSIZE);
	assert_int_equal(check(AGENT_PING, UINT32_MAX, AGENT_CONTROL), -EMSGSIZE);
	assert_int_equal(check(AGENT_EXTENT, AGENT_RECORD_MAX, AGENT_DATA), 0);
	assert_int_equal(check(AGENT_EXTENT, AGENT_RECORD_MAX + 1, AGENT_DATA), -EMSGSIZE);
}

static void types_have_their_place(void **state)
{
	assert_int_equal(check(AGENT_ATTACH, 36, AGENT_CONTROL), -EPROTO);
	assert_int_equal(check(AGENT_END, 16, AGENT_CONTROL), -EPROTO);
	assert_int_equal(check(AGENT_EXEC, 16, AGENT_DATA), -EPROTO);
	assert_int_equal(check(4711, 16, AGENT_CONTROL), 0);
	assert_int_equal(check(4711, 16, AGENT_DATA), 0);
}

static int piece_of(enum agent_type type, uint32_t size, uint32_t step, struct agent_piece *ret)
{
	static const uint8_t body[] = { 1, 0, 0, 0, 2, 1, 0, 0, 0xff };
	const struct agent_header header = { .type = type, .size = size, .step = step };

	return agent_piece_get(&header, body, ret);
}

static void pieces_have_their_sizes(void **state)
{
	const struct agent_piece bytes = { .type = AGENT_BYTES, .stream = 1, .len = 7 };
	const struct agent_piece grant = { .type = AGENT_GRANT, .stream = 2, .granted = 0x010203 };
	uint8_t out[AGENT_PIECE_HEAD];
	struct agent_header header;
	struct agent_piece piece;

	assert_int_equal(agent_piece_put(out, 9, &bytes), 20);
	agent_header_get(out, &header);
	assert_int_equal(header.type, AGENT_BYTES);
	assert_int_equal(header.size, 27);
	assert_int_equal(header.transaction, 9);
	assert_int_equal(header.step, 0);
	assert_int_equal(agent_piece_put(out, 9, &grant), AGENT_PIECE_HEAD);
	agent_header_get(out, &header);
	assert_int_equal(agent_piece_get(&header, out + AGENT_HEADER_SIZE, &piece), 0);
	assert_int_equal(piece.stream, 2);
	assert_int_equal(piece.granted, 0x010203);

	assert_int_equal(piece_of(AGENT_BYTES, 16 + 9, 0, &piece), 0);
	assert_int_equal(piece.stream, 1);
	assert_int_equal(piece.len, 5);
	assert_int_equal(piece.bytes[4], 0xff);
	assert_int_equal(piece_of(AGENT_CLOSE, 16 + 4, 0, &piece), 0);
	assert_int_equal(piece_of(AGENT_GRANT, 16 + 8, 0, &piece), 0);
	assert_int_equal(piece.granted, 0x102);
	for (uint32_t n = 0; n < 10; n++) {
		if (n < 5)
			assert_int_equal(piece_of(AGENT_BYTES, 16 + n, 0, &piece), -EPROTO);
		if (n != 8)
			assert_int_equal(piece_of(AGENT_GRANT, 16 + n, 0, &piece), -EPROTO);
		if (n != 4)
			assert_int_equal(piece_of(AGENT_CLOSE, 16 + n, 0, &piece), -EPROTO);
	}
	assert_int_equal(piece_of(AGENT_CLOSE, 16 + 4, 1, &piece), -EPROTO);
	assert_int_equal(piece_of(AGENT_PING, 16 + 4, 0, &piece), -EPROTO);
}

static void every_type_is_found_once(void **state)
{
	unsigned n = 0;

	for (uint32_t type = 0; type < 256; type++) {
		const struct agent_type_info *info = agent_type_find(type);

		if (!info)
			continue;
		assert_int_equal(info->number, type);
		assert_string_equal(agent_type_name(type), info->name);
		n++;
	}
#define X(name, number, place, sender, body, step) n--;
	AGENT_TYPES(X)
#undef X
	assert_int_equal(n, 0); /* two rows of one number would leave some */
	assert_string_equal(agent_type_name(4711), "?");
}

static void error_words_go_both_ways(void **state)
{
	for (int code = 0; code < AGENT_ERROR_COUNT; code++)
		assert_int_equal(agent_error_find(agent_error_word(code)), code);
	assert_int_equal(agent_error_find("of a later version"), AGENT_ERROR_FAILED);
	assert_int_equal(agent_error_from_errno(ENOENT), AGENT_ERROR_NOT_FOUND);
	assert_int_equal(agent_error_from_errno(EACCES), AGENT_ERROR_DENIED);
	assert_int_equal(agent_error_from_errno(EIO), AGENT_ERROR_FAILED);
}

static void attach_comes_back(void **state)
{
	struct agent_attach attach = { .stream = 2 }, back;
	uint8_t bytes[AGENT_ATTACH_SIZE];

	for (int i = 0; i < AGENT_TOKEN_SIZE; i++)
		attach.token[i] = (uint8_t)(i * 17);
	agent_attach_put(bytes, &attach);
	assert_int_equal(bytes[0], AGENT_ATTACH);
	assert_int_equal(bytes[4], AGENT_ATTACH_SIZE);
	assert_int_equal(agent_attach_get(bytes, &back), 0);
	assert_memory_equal(&back, &attach, sizeof(back));
	bytes[4]++;
	assert_int_equal(agent_attach_get(bytes, &back), -EPROTO);
	bytes[4]--;
	bytes[0]++;
	assert_int_equal(agent_attach_get(bytes, &back), -EPROTO);
}

static void tokens_are_32_digits(void **state)
{
	static const char *const bad[] = { "",
					   "00",
					   "0123456789abcdef0123456789abcde",
					   "0123456789abcdef0123456789abcdef0",
					   "0123456789ABCDEF0123456789abcdef",
					   "0123456789abcdef 123456789abcdef" };
	uint8_t token[AGENT_TOKEN_SIZE];
	char hex[AGENT_TOKEN_HEX];

	assert_true(agent_token_from_hex("0123456789abcdef00ff10fe20dd3000", token));
	assert_int_equal(token[0], 0x01);
	assert_int_equal(token[9], 0xff);
	agent_token_to_hex(token, hex);
	assert_string_equal(hex, "0123456789abcdef00ff10fe20dd3000");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(agent_token_from_hex(bad[i], token));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_is_little_endian),
		cmocka_unit_test(sizes_have_limits),
		cmocka_unit_test(types_have_their_place),
		cmocka_unit_test(pieces_have_their_sizes),
		cmocka_unit_test(every_type_is_found_once),
		cmocka_unit_test(error_words_go_both_ways),
		cmocka_unit_test(attach_comes_back),
		cmocka_unit_test(tokens_are_32_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
