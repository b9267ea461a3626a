/* SPDX-License-Identifier: MIT */
#include "buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "copy.h"

/* The last has room for the longest frame and one tag more. */
static const uint32_t class_room[SW_BUF_CLASSES] = { 72, 256, 1536, 9280, SW_FRAME_MAX + 10 };

static uint64_t class_size(uint32_t size_class)
{
	return sizeof(struct sw_buf) + class_room[size_class];
}

void sw_bufs_init(struct sw_bufs *bufs, uint64_t max)
{
	*bufs = (struct sw_bufs){ .max = max ? max : SW_BUFS_DEFAULT };
}

static void give_back(struct sw_bufs *bufs, uint32_t size_class)
{
	struct sw_buf *b = bufs->free[size_class];

	bufs->free[size_class] = b->next;
	bufs->held -= class_size(size_class);
	free(b);
}

void sw_bufs_done(struct sw_bufs *bufs)
{
	assert(bufs->used == 0);
	for (uint32_t i = 0; i < SW_BUF_CLASSES; i++)
		while (bufs->free[i])
			give_back(bufs, i);
}

/* Take what lies idle in other classes back, until `size` bytes more are within the bound. */
static bool make_room(struct sw_bufs *bufs, uint64_t size)
{
	if (bufs->used + size > bufs->max)
		return false;
	for (uint32_t i = 0; i < SW_BUF_CLASSES; i++)
		while (bufs->held + size > bufs->max && bufs->free[i])
			give_back(bufs, i);
	return true;
}

static __attribute__((noinline)) struct sw_buf *take_more(struct sw_bufs *bufs, uint64_t size)
{
	struct sw_buf *b = make_room(bufs, size) ? malloc(size) : NULL;

	if (!b)
		return NULL;
	bufs->held += size;
	bufs->used += size;
	return b;
}

static inline struct sw_buf *take(struct sw_bufs *bufs, uint32_t size_class)
{
	uint64_t size = class_size(size_class);
	struct sw_buf *b = bufs->free[size_class];

	if (unlikely(!b))
		return take_more(bufs, size);
	bufs->free[size_class] = b->next;
	bufs->used += size;
	return b;
}

static inline uint32_t class_of(uint32_t len)
{
	uint32_t size_class = 0;

	while (class_room[size_class] < len)
		size_class++;
	return size_class;
}

struct sw_buf *sw_buf_new(struct sw_bufs *bufs, uint32_t len)
{
	uint32_t size_class = class_of(len);
	struct sw_buf *b = take(bufs, size_class);

	if (!b)
		return NULL;
	*b = (struct sw_buf){ .frame = { .iov = &b->iov, .len = len, .n_iov = 1, .buf = b },
			      .iov = { b->bytes, len },
			      .bufs = bufs,
			      .refs = 1,
			      .size_class = size_class };
	return b;
}

struct sw_buf *sw_buf_of(struct sw_bufs *bufs, const struct sw_frame *f)
{
	uint32_t size_class = class_of(f->len);
	struct sw_buf *b = take(bufs, size_class);

	if (!b)
		return NULL;
	*b = (struct sw_buf){ .frame = { .iov = &b->iov,
					 .len = f->len,
					 .n_iov = 1,
					 .head_len = SW_HEAD_LEN,
					 .skip = SW_HEAD_LEN,
					 .vid = f->vid,
					 .hdr = f->hdr,
					 .buf = b },
			      .iov = { b->bytes, f->len },
			      .bufs = bufs,
			      .refs = 1,
			      .size_class = size_class };
	copy_frame(b->bytes, f, &(struct copy_ahead){ 0 });
	memcpy(b->frame.head, b->bytes, SW_HEAD_LEN);
	return b;
}

/* Does the buffer hold the frame in the form that `f` has? */
static bool same_form(const struct sw_frame *f, const struct sw_frame *kept)
{
	return f->iov == kept->iov && f->len == kept->len && f->head_len == SW_HEAD_LEN &&
	       f->skip == SW_HEAD_LEN && memcmp(f->head, kept->head, SW_HEAD_LEN) == 0 &&
	       memcmp(&f->hdr, &kept->hdr, sizeof(f->hdr)) == 0;
}

struct sw_buf *sw_buf_keep(struct sw_bufs *bufs, const struct sw_frame *f)
{
	struct sw_buf *b = f->buf;

	if (!b || !same_form(f, &b->frame))
		return sw_buf_of(bufs, f);
	if (b->frame.vid != f->vid) {
		if (b->refs > 1)
			return sw_buf_of(bufs, f);
		b->frame.vid = f->vid; /* nobody else looks at it */
	}
	return sw_buf_ref(b);
}

void sw_buf_free(struct sw_buf *b)
{
	struct sw_bufs *bufs = b->bufs;
	uint64_t size = class_size(b->size_class);

	bufs->used -= size;
	if (unlikely(bufs->held - bufs->used > SW_BUFS_IDLE_MAX || bufs->held > bufs->max)) {
		bufs->held -= size;
		free(b);
		return;
	}
	b->next = bufs->free[b->size_class];
	bufs->free[b->size_class] = b;
}
