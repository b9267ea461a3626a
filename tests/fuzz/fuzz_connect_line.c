/* SPDX-License-Identifier: MIT */
/* The CONNECT line on arbitrary bytes, whole and in pieces: both verdicts agree, nothing behind the newline is taken, and
 * what is accepted is what a plain reading of the line says. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "connect_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct outcome {
	int r;
	size_t taken;
	uint32_t port;
	bool guid;
};

static struct outcome feed(const char *bytes, size_t size, size_t piece)
{
	struct connect_line line = { 0 };
	struct outcome o = { .r = -EAGAIN };

	while (o.r == -EAGAIN && o.taken < size) {
		size_t n = connect_line_want(&line, bytes + o.taken, min(piece, size - o.taken));

		CHECK(n > 0 && n <= piece);
		connect_line_add(&line, bytes + o.taken, n);
		o.taken += n;
		o.r = connect_line_parse(&line, &o.port, &o.guid);
	}
	CHECK(o.taken <= CONNECT_LINE_MAX);
	return o;
}

/* The answer to a line that was accepted, read back, names the same port in the same form. */
static void check_reply(const struct outcome *o)
{
	char reply[CONNECT_REPLY_MAX];
	size_t len = connect_line_reply(o->port, o->guid, reply);
	uint32_t port;

	CHECK(len == strlen(reply) && reply[len - 1] == '\n' && memcmp(reply, "OK ", 3) == 0);
	CHECK((o->guid ? ports_from_guid : ports_from_number)(reply + 3, len - 4, &port) == 0);
	CHECK(port == o->port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data + 1;
	struct outcome whole, pieces;

	if (size < 2)
		return 0;
	size--;
	whole = feed(bytes, size, size);
	pieces = feed(bytes, size, (size_t)data[0] % 16 + 1);
	CHECK(pieces.r == whole.r);
	if (whole.r == 0) {
		CHECK(bytes[whole.taken - 1] == '\n');
		CHECK(memchr(bytes, '\n', whole.taken - 1) == NULL);
		CHECK(pieces.taken == whole.taken && pieces.port == whole.port);
		check_reply(&whole);
	}
	return 0;
}
