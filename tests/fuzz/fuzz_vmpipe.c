/* SPDX-License-Identifier: MIT */
/* A ring of Hyper-V sockets whose other end does anything at any time, between pages that must not be touched.
 *
 * Input: a byte of pages, then steps: words of the header, bytes of data, looks, packets taken and made.  Checked: what is
 * handed out lies within the ring's own data pages and within what was written; what is given back or shown never exceeds it;
 * a kick for space comes when Linux waits for it, and only then. */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vmpipe.h"

#define PAGES_MAX 6
#define PAGE      VMBUS_PAGE_SIZE

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	STEP_HEAD,
	STEP_BYTES,
	STEP_TAKE,
	STEP_TAKE_ALL,
	STEP_MAKE,
	STEP_MASK,
	STEP_WANT,
	STEP_PACKET,
	STEP_COUNT
};

struct input {
	const uint8_t *data;
	size_t size;
};

/* Every other page is the ring's; the others, and beyond, stay as they are. */
static uint8_t memory[2 * PAGES_MAX + 1][PAGE] __attribute__((aligned(4096)));
static uint8_t *page[PAGES_MAX];

static uint8_t take8(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static uint32_t take16(struct input *in)
{
	return (uint32_t)(take8(in) << 8) | take8(in);
}

static void check_gaps(void)
{
	static uint8_t clean[PAGE];

	memset(clean, 0xee, sizeof(clean));
	for (unsigned i = 0; i <= 2 * PAGES_MAX; i += 2)
		assert(memcmp(memory[i], clean, PAGE) == 0);
}

/* Is it in a data page of the ring? */
static void check_piece(const struct vmbus_ring *r, const struct iovec *v)
{
	const uint8_t *from = v->iov_base;
	size_t len = v->iov_len;

	assert(len > 0);
	for (uint32_t i = 0; i < r->size / PAGE; i++)
		if (from >= r->data[i] && from < r->data[i] + PAGE) {
			assert(len <=
			       PAGE - (size_t)(from -
					       r->data[i])); /* none of these are neighbours */
			return;
		}
	assert(false);
}

static void check_pieces(const struct vmbus_ring *r, uint32_t at, uint32_t len)
{
	struct iovec iov[VMBUS_RING_PIECES(PAGES_MAX * PAGE)];
	unsigned n = vmbus_ring_pieces(r, at, len, iov);
	size_t sum = 0;

	assert(n <= VMBUS_RING_PIECES(len));
	for (unsigned i = 0; i < n; i++) {
		check_piece(r, &iov[i]);
		sum += iov[i].iov_len;
	}
	assert(sum == len);
}

static void step_head(struct input *in)
{
	static const uint8_t words[] = { 0, 1, 2, 3, 16, 0, 1, 5 };
	le32_t *head = (le32_t *)(void *)page[0];
	uint8_t which = take8(in);
	uint32_t value = take16(in);

	if (which & 0x40)
		value &= ~7u;
	if (which & 0x80)
		value = UINT32_MAX - value;
	le32_store(&head[words[which & 7]], value);
}

static void step_bytes(struct vmbus_ring *r, struct input *in)
{
	uint32_t at = take16(in) % r->size;
	unsigned n = take8(in) % 32;

	for (unsigned i = 0; i < n; i++, at = (at + 1) % r->size)
		r->data[at / PAGE][at % PAGE] = take8(in);
}

/* A packet, as the other end may have written it, in front of what is read next. */
static void step_packet(struct vmbus_ring *r, struct input *in)
{
	uint32_t len = take16(in) % 5000, saved = r->ours;

	(void)vmpipe_put(r, 0, len);
	assert(r->ours == saved);
	le32_store(&r->head->write_index, vmbus_ring_index(r, vmpipe_size(len) % r->size));
}

/* Packets as vmbus_data.c takes them. */
static void step_take(struct vmbus_ring *r, bool all)
{
	int readable = vmbus_ring_readable(r), n;
	uint32_t done = 0, pending, before, after;
	struct vmpipe_packet p;
	bool kick;

	assert(readable == -EBADMSG || (readable >= 0 && (uint32_t)readable < r->size));
	if (readable <= 0)
		return;
	do {
		n = vmpipe_next(r, done, (uint32_t)readable, &p);
		if (n <= 0)
			break;
		assert(p.len <= VMPIPE_DATA_MAX && p.size <= (uint32_t)readable - done);
		assert(p.at >= done + VMPIPE_HEAD && p.at + p.len <= done + p.size - VMPIPE_TAIL);
		check_pieces(r, p.at, p.len);
		done += p.size;
	} while (all);
	assert(n == 0 || n == 1 || n == -EBADMSG);
	if (done == 0)
		return;
	pending = le32_load(&r->head->pending_send_sz);
	before = r->size - (uint32_t)readable;
	after = before + done;
	kick = vmbus_ring_consume(r, done);
	assert(kick == (pending > 0 && before <= pending && pending < after));
	assert(le32_load(&r->head->read_index) == r->ours && r->ours < r->size);
}

static void step_make(struct vmbus_ring *r, struct input *in)
{
	int space = vmbus_ring_free(r);
	uint32_t room, len, at = 0;

	assert(space == -EBADMSG || (space > 0 && (uint32_t)space <= r->size));
	if (space < 0)
		return;
	room = vmpipe_room((uint32_t)space);
	if (room == 0)
		return;
	len = take16(in) % (room + 1);
	check_pieces(r, VMPIPE_HEAD, room);
	at += vmpipe_put(r, 0, len);
	assert(at + vmpipe_size(0) < (uint32_t)space);
	(void)vmbus_ring_publish(r, at);
	assert(le32_load(&r->head->write_index) == r->ours && r->ours < r->size);
}

static void step_run(struct vmbus_ring *r, enum step step, bool writer, struct input *in)
{
	switch (step) {
	case STEP_HEAD:
		step_head(in);
		break;
	case STEP_BYTES:
		step_bytes(r, in);
		break;
	case STEP_PACKET:
		if (!writer)
			step_packet(r, in);
		break;
	case STEP_TAKE:
	case STEP_TAKE_ALL:
		if (!writer)
			step_take(r, step == STEP_TAKE_ALL);
		break;
	case STEP_MAKE:
		if (writer)
			step_make(r, in);
		break;
	case STEP_MASK:
		vmbus_ring_mask(r, take8(in) & 1);
		break;
	case STEP_WANT:
	case STEP_COUNT:
		vmbus_ring_want(r, take16(in));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t first = take8(&in);
	unsigned n_pages = first % (PAGES_MAX + 1);
	bool writer = first & 0x40;
	struct vmbus_ring r;

	memset(memory, 0xee, sizeof(memory));
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		page[i] = memory[1 + 2 * ((i + first / 7) % PAGES_MAX)];
		memset(page[i], 0, PAGE);
	}
	if (first & 0x80)
		step_head(&in);
	if (vmbus_ring_open(&r, writer, page, n_pages) < 0)
		return 0;
	assert(n_pages >= 2 && r.size == (n_pages - 1) * PAGE);
	while (in.size > 0)
		step_run(&r, take8(&in) % STEP_COUNT, writer, &in);
	check_gaps();
	return 0;
}
