/* SPDX-License-Identifier: MIT */
/* A ring as somebody else left it: its pages and records are the input, and so is what its ends are made to do.
 *
 *	byte 0     kind (0-2) of the ring | 4: its ends are opened on a good ring, before the input is laid over it
 *	byte 1     how much of the rest is a script: 4 times as many bytes
 *	script     two bytes an operation: which, and a length
 *	the rest   pieces {u16 place / 8, u8 words, words}: written over the ring's memory
 *
 * What is peeked at lies in the ring; the address sanitizer looks at everything else.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define SIZE 4096u

struct input {
	const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static void lay_over(struct input *in, uint8_t *mem, uint64_t total)
{
	while (in->end - in->at >= 3) {
		uint64_t place = (uint64_t)(next(in) | next(in) << 8) * 8 % total;
		uint64_t len = next(in) * 8ULL;

		len = len < total - place ? len : total - place;
		len = len < (uint64_t)(in->end - in->at) ? len : (uint64_t)(in->end - in->at);
		memcpy(mem + place, in->at, len);
		in->at += len;
	}
}

static void look(const uint8_t *mem, uint64_t total, const struct portal_record *record)
{
	static volatile uint8_t sum;
	const uint8_t *data = record->data;

	if (data < mem || data > mem + total || record->len > (uint64_t)(mem + total - data))
		abort();
	for (uint32_t i = 0; i < record->len; i++)
		sum = (uint8_t)(sum + data[i]);
}

static void operate(struct portal_ring *r, const uint8_t *mem, uint64_t total, uint8_t what,
		    uint8_t len)
{
	static const uint8_t zeros[64 * 256];
	struct portal_record records[8];
	uint8_t data[64 * 16];
	void *at;
	int n;

	switch (what % 8) {
	case 0:
		(void)portal_send(r, zeros, len * 8u, len);
		break;
	case 1:
		if (portal_reserve(r, len * 9u, &at) == 0) {
			memset(at, 0xff, len * 9u);
			(void)portal_commit(r, len * 5u, 0);
		}
		break;
	case 2:
		(void)portal_send_array(r, zeros, len / 8, 64, 1);
		break;
	case 3:
		n = portal_peek_batch(r, records, 8);
		for (int i = 0; i < n; i++)
			look(mem, total, &records[i]);
		(void)portal_release(r);
		break;
	case 4:
		(void)portal_recv(r, data, sizeof(data), NULL);
		break;
	case 5:
		(void)portal_recv_array(r, data, len % 64, 16);
		break;
	case 6:
		n = portal_peek(r, &records[0]);
		if (n == 0)
			look(mem, total, &records[0]);
		break;
	default:
		records[0] = records[1] = (struct portal_record){ zeros, len, 0, 0 };
		(void)portal_send_batch(r, records, 2);
		(void)portal_wait(r, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint8_t how = next(&in), n_ops = next(&in);
	struct portal_ring_options options = {
		.kind = how % 4 % 3, .size = SIZE, .max_record = 1500, .lanes = 2
	};
	const struct ring_env producer_env = { .self = 0x10001 },
			      consumer_env = { .self = 0x10002 };
	struct portal_ring *producer = NULL, *consumer = NULL;
	struct ring_geometry geo;
	struct input script = in;
	uint64_t total;
	uint8_t *mem;

	if (ring_plan(&options, &geo) < 0)
		abort();
	total = ring_total(geo.lanes, geo.size);
	mem = aligned_alloc(RING_PAGE, total);
	if (!mem)
		return 0;
	memset(mem, 0, total);
	ring_format(mem, &geo);
	if (in.end - in.at < 4 * n_ops)
		n_ops = (uint8_t)((in.end - in.at) / 4);
	script.end = script.at + 4 * (size_t)n_ops;
	in.at = script.end;
	if (how & 4) {
		(void)ring_open(mem, total, PORTAL_PRODUCER, &producer_env, &producer);
		(void)ring_open(mem, total, PORTAL_CONSUMER, &consumer_env, &consumer);
	}
	lay_over(&in, mem, total);
	if (!producer)
		(void)ring_open(mem, total, PORTAL_PRODUCER, &producer_env, &producer);
	if (!consumer)
		(void)ring_open(mem, total, PORTAL_CONSUMER, &consumer_env, &consumer);
	while (script.at < script.end) {
		uint8_t what = next(&script), len = next(&script);
		struct portal_ring *r = what & 0x80 ? producer : consumer;

		if (r)
			operate(r, mem, total, what, len);
	}
	ring_close(producer);
	ring_close(consumer);
	free(mem);
	return 0;
}
