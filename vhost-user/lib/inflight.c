/* SPDX-License-Identifier: MIT */
#include "inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "vq.h"

/* Behind the queue regions.  It says who made the region, and for what. */
struct inflight_mark {
	uint64_t magic;
	uint32_t version;
	uint16_t n_queues;
	uint16_t queue_size;
	uint32_t packed;
	uint8_t padding[44];
};
static_assert(sizeof(struct inflight_mark) == INFLIGHT_ALIGN, "what follows is aligned, too");

#define MARK_MAGIC   0x6c666e692d62616cull /* "lab-infl" */
#define MARK_VERSION 1u

static uint64_t region_size(const struct inflight_shape *s)
{
	uint64_t size = s->packed ? sizeof(struct inflight_packed) +
					    s->queue_size * sizeof(struct inflight_desc_packed) :
				    sizeof(struct inflight_split) +
					    s->queue_size * sizeof(struct inflight_desc_split);

	return (size + INFLIGHT_ALIGN - 1) & ~(uint64_t)(INFLIGHT_ALIGN - 1);
}

static uint64_t mark_offset(const struct inflight_shape *s)
{
	return s->n_queues * region_size(s);
}

static uint64_t place_offset(const struct inflight_shape *s, unsigned i)
{
	return mark_offset(s) + sizeof(struct inflight_mark) + i * place_size(s->queue_size);
}

uint64_t inflight_size(const struct inflight_shape *s)
{
	return place_offset(s, s->n_queues);
}

static bool shape_is_good(const struct inflight_shape *s, unsigned max_queues)
{
	return s->n_queues > 0 && s->n_queues <= max_queues && s->queue_size > 0 &&
	       s->queue_size <= VQ_MAX_NUM;
}

static struct inflight_mark mark_of(const struct inflight_shape *s)
{
	return (struct inflight_mark){
		.magic = MARK_MAGIC,
		.version = MARK_VERSION,
		.n_queues = s->n_queues,
		.queue_size = s->queue_size,
		.packed = s->packed,
	};
}

static void region_fill(void *region, const struct inflight_shape *s)
{
	struct inflight_packed *packed = region;
	struct inflight_split *split = region;

	if (!s->packed) {
		split->version = INFLIGHT_VERSION;
		split->desc_num = s->queue_size;
		return;
	}
	packed->version = INFLIGHT_VERSION;
	packed->desc_num = s->queue_size;
	packed->used_wrap_counter = packed->old_used_wrap_counter = 1;
	for (unsigned i = 0; i + 1u < s->queue_size; i++)
		packed->desc[i].next = (uint16_t)(i + 1);
}

static int fill(int fd, const struct inflight_shape *s)
{
	const struct inflight_mark mark = mark_of(s);
	size_t size = (size_t)mark_offset(s) + sizeof(mark);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i < s->n_queues; i++)
		region_fill(map + i * region_size(s), s);
	memcpy(map + mark_offset(s), &mark, sizeof(mark));
	munmap(map, size);
	return 0;
}

int inflight_make(const struct inflight_shape *s, unsigned max_queues, int *ret_fd)
{
	auto_fd int fd = -1;
	int r;

	if (!shape_is_good(s, max_queues))
		return -EINVAL;
	fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)inflight_size(s)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	r = fill(fd, s);
	if (r < 0)
		return r;
	*ret_fd = fd_take(&fd);
	return 0;
}

void inflight_init(struct inflight *in)
{
	(void)mem_init(&in->map);
	in->shape = (struct inflight_shape){ 0 };
}

void inflight_done(struct inflight *in)
{
	mem_done(&in->map);
}

void inflight_drop(struct inflight *in)
{
	(void)mem_set_table(&in->map, NULL, 0, NULL);
}

/* Is the region that is mapped one of ours, of this shape? */
static bool has_mark(const struct inflight *in, const struct inflight_shape *s)
{
	const struct inflight_mark want = mark_of(s);
	struct inflight_mark mark;

	memcpy(&mark, in->map.region[0].va + mark_offset(s), sizeof(mark));
	return memcmp(&mark, &want, sizeof(mark)) == 0;
}

int inflight_take(struct inflight *in, const struct inflight_shape *s, unsigned max_queues, int fd,
		  uint64_t size, uint64_t offset)
{
	const struct mem_region_desc whole = { .size = size, .mmap_offset = offset };
	int r;

	inflight_drop(in);
	if (!shape_is_good(s, max_queues) || size < inflight_size(s) ||
	    offset % INFLIGHT_ALIGN != 0) {
		close(fd);
		return -EINVAL;
	}
	r = mem_set_table(&in->map, &whole, 1, &fd);
	if (r < 0)
		return r;
	if (!has_mark(in, s)) {
		inflight_drop(in);
		return -EINVAL;
	}
	in->shape = *s;
	return 0;
}

int inflight_ring(const struct inflight *in, unsigned index, uint32_t num, bool packed,
		  struct vq_place **ret_place, struct inflight_packed **ret_packed)
{
	const struct inflight_shape *s = &in->shape;
	uint8_t *va = in->map.region[0].va;

	*ret_place = NULL;
	*ret_packed = NULL;
	if (in->map.n == 0 || index >= s->n_queues)
		return 0;
	if (num > s->queue_size || packed != s->packed)
		return -EINVAL;
	if (packed) {
		*ret_place = (struct vq_place *)(void *)(va + place_offset(s, index));
		*ret_packed = (struct inflight_packed *)(void *)(va + index * region_size(s));
	}
	return 0;
}
