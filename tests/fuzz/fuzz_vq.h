/* SPDX-License-Identifier: MIT */
/* A virtqueue in hostile memory: what is the same for fuzz_vq_split.c and fuzz_vq_packed.c, which include this file and
 * say what a descriptor looks like.
 *
 * The input is a list of steps, each one byte of kind and its arguments: writes into guest memory (raw, or a whole
 * descriptor, or what makes one available) between calls of the virtqueue API.  Guest memory is two small neighbouring
 * regions and one at the end of the address space, so that borders are near.  Checked after each pop: everything
 * handed out lies in guest memory and sums up; and nothing ever runs for longer than its bound.
 */
#ifndef FUZZ_VQ_H
#define FUZZ_VQ_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checked.h"
#include "inflight.h"
#include "mem.h"
#include "vq.h"

#define REGION   0x4000U
#define GPA_BASE 0x10000ULL
#define GPA_LAST (UINT64_MAX - REGION + 1)
#define UVA_BASE 0x7f0000000000ULL

enum step {
	STEP_WRITE,
	STEP_DESC,
	STEP_AVAIL,
	STEP_POP,
	STEP_PUSH,
	STEP_UNPOP,
	STEP_NOTIFY,
	STEP_START,
	STEP_COUNT
};

struct input {
	const uint8_t *data;
	size_t size;
};

struct state {
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	unsigned n_held; /* chains of the burst not pushed yet */
	unsigned extra;  /* EXTRA_*: what the next start has besides */
	struct dirtylog log;
	struct vq_place *place; /* of the largest ring */
	struct inflight_packed *inflight;
	uint8_t *va[3];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXTRA_IN_ORDER 1u
#define EXTRA_LOG      2u
#define EXTRA_PLACE    4u
#define EXTRA_SPOIL    8u /* write into the place's record now */

/* ---- the format's ---------------------------------------------------------- */

/* Beyond those that an input chooses. */
static const uint64_t format_features;

/* Write one descriptor, as the input has it; make one available. */
static void step_desc(struct state *s, struct input *in);
static void step_avail(struct state *s, struct input *in);

/* A head that has just been popped. */
static void check_head(const struct state *s, uint32_t head);

/* ---- steps ------------------------------------------------------------------ */

static uint8_t take8(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static uint16_t take16(struct input *in)
{
	uint16_t low = take8(in);

	return (uint16_t)(low | take8(in) << 8);
}

/* Made once: the kernel's part of a run would drown ours. */
static struct state *state_get(void)
{
	static struct state *s;
	struct mem_region_desc r[3] = {
		{ GPA(GPA_BASE), UVA(UVA_BASE), REGION, 0 },
		{ GPA(GPA_BASE + REGION), UVA(UVA_BASE + REGION), REGION, 0 },
		{ GPA(GPA_LAST), UVA(UVA_BASE + 2 * REGION), REGION, 0 },
	};
	int fds[3];

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	assert(s);
	mem_init(&s->mem);
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = memfd_create("fuzz", MFD_CLOEXEC);
		assert(fds[i] >= 0 && ftruncate(fds[i], REGION) == 0);
	}
	assert(mem_set_table(&s->mem, r, 3, fds) == 0);
	dirtylog_init(&s->log);
	fds[0] = memfd_create("log", MFD_CLOEXEC);
	assert(fds[0] >= 0 && ftruncate(fds[0], REGION) == 0);
	assert(dirtylog_set(&s->log, fds[0], 100, 24) == 0);
	s->place = calloc(1, place_size(VQ_MAX_NUM));
	s->inflight = calloc(1, sizeof(*s->inflight));
	assert(s->place && s->inflight);
	for (unsigned i = 0; i < 3; i++)
		s->va[i] = s->mem.region[i].va;
	return s;
}

/* Byte `off` of guest memory, the three regions one after the other. */
static uint8_t *guest_byte(struct state *s, unsigned off)
{
	off %= 3 * REGION;
	return s->va[off / REGION] + off % REGION;
}

static void guest_write(struct state *s, unsigned off, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*guest_byte(s, off + (unsigned)i) = ((const uint8_t *)from)[i];
}

/* Fixed places for the three parts, so that an input finds them: the first region. */
#define DESC_OFF  0x0000U
#define AVAIL_OFF 0x1000U
#define USED_OFF  0x2000U

static void step_write(struct state *s, struct input *in)
{
	unsigned off = take16(in);
	size_t len = take8(in) % 32;

	if (len > in->size)
		len = in->size;
	guest_write(s, off, in->data, len);
	in->data += len;
	in->size -= len;
}

/* An address is an offset from one of the places where something may happen. */
static uint64_t take_addr(struct input *in)
{
	static const uint64_t base[] = {
		GPA_BASE, GPA_BASE + REGION, GPA_BASE + 2 * REGION, GPA_LAST, 0, 1ULL << 63
	};

	return base[take8(in) % array_size(base)] + (uint64_t)(int16_t)take16(in);
}

static void check_piece(const struct state *s, const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	for (unsigned i = 0; i < 3; i++) {
		if (p >= s->va[i] && range_within((uint64_t)(p - s->va[i]), iov->iov_len, REGION))
			return;
	}
	abort();
}

static void check_chain(const struct state *s, const struct vq_chain *c)
{
	uint64_t out = 0, in = 0;

	check_head(s, c->head);
	assert(c->n_out + c->n_in > 0);
	assert(c->iov >= s->burst.iov &&
	       c->iov + c->n_out + c->n_in <= s->burst.iov + VQ_BURST_IOVS);
	for (unsigned i = 0; i < (unsigned)c->n_out + c->n_in; i++) {
		assert(c->iov[i].iov_len > 0);
		check_piece(s, &c->iov[i]);
		*(i < c->n_out ? &out : &in) += c->iov[i].iov_len;
	}
	assert(out == c->out_len && in == c->in_len);
}

static void push_held(struct state *s)
{
	for (; s->n_held > 0; s->n_held--) {
		const struct vq_chain *c = &s->burst.chain[s->burst.n - s->n_held];

		vq_push(&s->vq, c->head, c->in_len);
	}
}

static void step_pop(struct state *s, struct input *in)
{
	unsigned max = take8(in) % (VQ_BURST + 1);
	int n;

	push_held(s);
	n = vq_pop(&s->vq, &s->burst, max);
	assert(n == (n < 0 ? -EBADMSG : (int)s->burst.n));
	assert((n < 0) == (s->vq.cause != VQ_OK));
	assert(n <= (int)max && s->vq.in_flight <= s->vq.num);
	for (unsigned i = 0; i < s->burst.n; i++)
		check_chain(s, &s->burst.chain[i]);
	s->n_held = s->burst.n;
}

/* Numbers near the ones that would be right, and others. */
static void spoil(struct state *s, struct input *in)
{
	struct vq_place *p = s->place;

	p->ring = UVA_BASE + DESC_OFF;
	p->num = 1u << (take8(in) & 7);
	p->word = PLACE_WORD(take16(in), take16(in), take8(in), PLACE_VALID | take8(in));
	for (unsigned i = 0; i < 8; i++)
		p->batch[i] =
			(struct place_used){ (uint32_t)take8(in) << 16 | take8(in), take16(in) };
}

static void step_notify(struct state *s, uint8_t which, struct input *in)
{
	if (which & 0x80) {
		s->extra = which & 0x7f;
		if (s->extra & EXTRA_SPOIL)
			spoil(s, in);
	}
	switch (which % 4) {
	case 0:
		vq_publish(&s->vq);
		break;
	case 1:
		vq_call(&s->vq);
		break;
	case 2:
		vq_kick_off(&s->vq);
		break;
	default:
		vq_kick_on(&s->vq);
		vq_more(&s->vq);
		break;
	}
}

static void stop(struct state *s)
{
	uint32_t base;

	s->n_held = 0;
	vq_stop(&s->vq, &base);
}

static void step_start(struct state *s, struct input *in)
{
	uint8_t bits = take8(in);
	struct vq_params p = {
		.num = 1U << (bits & 7), /* up to 128 */
		.desc = UVA(UVA_BASE + DESC_OFF),
		.avail = UVA(UVA_BASE + AVAIL_OFF),
		.used = UVA(UVA_BASE + USED_OFF),
		.features = format_features | (bits & 8 ? BIT_ULL(VIRTIO_RING_F_EVENT_IDX) : 0) |
			    (bits & 16 ? BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) : 0),
		.call_fd = -1,
	};

	if (s->extra & EXTRA_IN_ORDER)
		p.features |= BIT_ULL(VIRTIO_F_IN_ORDER);
	if (s->extra & EXTRA_LOG) {
		p.log = &s->log;
		p.log_used = bits & 2;
		p.used_gpa = GPA(GPA_BASE + USED_OFF);
	}
	if (s->extra & EXTRA_PLACE) {
		p.place = s->place;
		p.inflight = s->inflight;
	}

	if (bits & 32)
		p.base = take16(in);
	if (bits & 64) /* the parts wherever the input wants them, sound or not */
		p.desc.v += take16(in), p.avail.v += take16(in), p.used.v += take16(in);
	if (bits & 128)
		p.num = take16(in);
	stop(s);
	vq_start(&s->vq, &s->mem, &p);
}

static void step_run(struct state *s, enum step step, struct input *in)
{
	switch (step) {
	case STEP_WRITE:
		step_write(s, in);
		return;
	case STEP_DESC:
		step_desc(s, in);
		return;
	case STEP_AVAIL:
		step_avail(s, in);
		return;
	case STEP_START:
		step_start(s, in);
		return;
	case STEP_POP:
	case STEP_PUSH:
	case STEP_UNPOP:
	case STEP_NOTIFY:
	case STEP_COUNT:
		break;
	}
	if (!s->vq.started)
		return;
	if (step == STEP_POP) {
		step_pop(s, in);
	} else if (step == STEP_PUSH) {
		push_held(s);
	} else if (step == STEP_UNPOP) {
		vq_unpop(&s->vq, s->n_held);
		s->n_held = 0;
	} else {
		step_notify(s, take8(in), in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct state *s = state_get();

	for (unsigned i = 0; i < 3; i++)
		memset(s->va[i], 0, REGION);
	memset(s->place, 0, sizeof(*s->place));
	s->extra = 0;
	while (in.size > 0)
		step_run(s, take8(&in) % STEP_COUNT, &in);
	stop(s);
	return 0;
}

#endif
