/* SPDX-License-Identifier: MIT */
#include "driver.h"
#include "driver_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checked.h"

void must_be(bool condition, const char *text, const char *where)
{
	if (condition)
		return;
	fprintf(stderr, "%s: failed: %s (%s)\n", where, text, strerror(errno));
	abort();
}

static uint64_t guest_size(const struct guest *g)
{
	return (uint64_t)g->n_regions * g->region_size;
}

void guest_init(struct guest *g, unsigned n_regions, size_t region_size)
{
	must(n_regions <= GUEST_MAX_REGIONS);
	*g = (struct guest){ .n_regions = n_regions, .region_size = region_size };
	/* One range of addresses, then a file into each part of it. */
	g->va = mmap(NULL, guest_size(g), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(g->va != MAP_FAILED);
	for (unsigned i = 0; i < n_regions; i++) {
		g->fd[i] = memfd_create("guest", MFD_CLOEXEC);
		must(g->fd[i] >= 0);
		must(ftruncate(g->fd[i], (off_t)region_size) == 0);
		must(mmap(g->va + i * region_size, region_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, g->fd[i], 0) != MAP_FAILED);
	}
}

void guest_done(struct guest *g)
{
	if (!g->shared_address)
		munmap(g->va, guest_size(g));
	for (unsigned i = 0; i < g->n_regions; i++)
		close(g->fd[i]);
	*g = (struct guest){ 0 };
}

gpa_t guest_alloc(struct guest *g, size_t size, size_t align)
{
	size_t start = (g->used + align - 1) & ~(align - 1);

	must(range_within(start, size, guest_size(g)));
	g->used = start + size;
	return GPA(GUEST_GPA + start);
}

void *guest_ptr(const struct guest *g, gpa_t addr, size_t len)
{
	must(addr.v >= GUEST_GPA && range_within(addr.v - GUEST_GPA, len, guest_size(g)));
	return g->va + (addr.v - GUEST_GPA);
}

uva_t guest_uva(const struct guest *g, gpa_t addr)
{
	uint64_t off = addr.v - GUEST_GPA;

	must(off < guest_size(g));
	return UVA(GUEST_UVA + off / g->region_size * GUEST_UVA_STEP + off % g->region_size);
}

unsigned guest_table(const struct guest *g, struct mem_region_desc ret[GUEST_MAX_REGIONS],
		     int ret_fds[GUEST_MAX_REGIONS])
{
	for (unsigned i = 0; i < g->n_regions; i++) {
		ret[i] = (struct mem_region_desc){
			.gpa = GPA(GUEST_GPA + i * g->region_size),
			.uva = UVA(GUEST_UVA + i * GUEST_UVA_STEP),
			.size = g->region_size,
		};
		ret_fds[i] = dup(g->fd[i]);
		must(ret_fds[i] >= 0);
	}
	return g->n_regions;
}

void guest_share(const struct guest *g, struct mem *m)
{
	struct mem_region_desc table[GUEST_MAX_REGIONS];
	int fds[GUEST_MAX_REGIONS];
	unsigned n = guest_table(g, table, fds);

	must(mem_set_table(m, table, n, fds) == 0);
}

void guest_share_address(struct guest *g, struct mem *m)
{
	must(g->n_regions == 1 && !g->shared_address);
	guest_share(g, m);
	munmap(g->va, guest_size(g));
	g->va = m->region[0].va;
	g->shared_address = true;
}

static le16_t *used_event(const struct driver *d)
{
	return &d->avail->ring[d->num];
}

static const le16_t *avail_event(const struct driver *d)
{
	return (const void *)&d->used->ring[d->num];
}

void driver_init(struct driver *d, struct guest *g, uint16_t num, uint64_t features)
{
	size_t avail_size = sizeof(*d->avail) + (num + 1u) * sizeof(le16_t);
	size_t used_size = sizeof(*d->used) + num * sizeof(struct vring_used_elem) + sizeof(le16_t);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	*d = (struct driver){
		.guest = g,
		.num = num,
		.features = features,
		.event_idx = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		.packed = features & BIT_ULL(VIRTIO_F_RING_PACKED),
		.in_order = features & BIT_ULL(VIRTIO_F_IN_ORDER),
		.free_tail = (uint16_t)(num - 1),
		.n_free = num,
	};
	d->desc_gpa = guest_alloc(g, num * sizeof(struct vring_desc), page);
	d->avail_gpa = guest_alloc(g, avail_size, CACHE_LINE);
	d->used_gpa = guest_alloc(g, used_size, page);
	if (features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC))
		d->tables = guest_alloc(g, num * DRIVER_TABLE * sizeof(struct vring_desc), page);
	d->desc = guest_ptr(g, d->desc_gpa, num * sizeof(struct vring_desc));
	d->avail = guest_ptr(g, d->avail_gpa, avail_size);
	d->used = guest_ptr(g, d->used_gpa, used_size);
	d->slot = calloc(num, sizeof(*d->slot));
	d->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->order = calloc(num, sizeof(*d->order));
	must(d->slot && d->order && d->kick_fd >= 0 && d->call_fd >= 0);
	if (d->packed) {
		driver_packed_init(d);
		return;
	}
	for (unsigned i = 0; i < num; i++)
		d->desc[i].next = le16_of((uint16_t)(i + 1));
}

void driver_done(struct driver *d)
{
	free(d->slot);
	free(d->order);
	close(d->kick_fd);
	close(d->call_fd);
	*d = (struct driver){ 0 };
}

void driver_params(const struct driver *d, struct vq_params *ret)
{
	*ret = (struct vq_params){
		.num = d->num,
		.desc = guest_uva(d->guest, d->desc_gpa),
		.avail = guest_uva(d->guest, d->avail_gpa),
		.used = guest_uva(d->guest, d->used_gpa),
		.base = d->last_used,
		.features = d->features,
		.call_fd = d->call_fd,
	};
	if (d->packed)
		driver_packed_params(d, ret);
}

static void desc_write(struct vring_desc *desc, gpa_t addr, uint32_t len, uint16_t flags,
		       uint16_t next)
{
	le64_store(&desc->addr, addr.v);
	le32_store(&desc->len, len);
	le16_store(&desc->flags, flags);
	le16_store(&desc->next, next);
}

static uint16_t desc_flags(unsigned i, unsigned n_out, unsigned n)
{
	return (uint16_t)((i >= n_out ? VRING_DESC_F_WRITE : 0) |
			  (i + 1 < n ? VRING_DESC_F_NEXT : 0));
}

void driver_order_add(struct driver *d, uint16_t head, bool writable)
{
	d->slot[head].writable = writable;
	must(d->n_out < d->num);
	d->order[(d->first + d->n_out++) % d->num] = head;
}

void driver_order_begin(struct driver *d, uint16_t id, uint32_t len)
{
	d->in_batch = true;
	d->batch_last = id;
	d->batch_len = len;
}

int driver_order_next(struct driver *d, uint32_t *ret_len)
{
	uint16_t head = d->order[d->first % d->num];

	must(d->in_batch && d->n_out > 0);
	d->first++;
	d->n_out--;
	d->in_batch = head != d->batch_last;
	must(!d->in_batch || !d->slot[head].writable);
	*ret_len = d->in_batch ? 0 : d->batch_len;
	return head;
}

static int slot_take(struct driver *d, unsigned n_desc, bool writable)
{
	uint16_t head = d->free_head;

	d->slot[head] = (struct driver_slot){ .n_desc = (uint16_t)n_desc };
	driver_order_add(d, head, writable);
	d->n_free = (uint16_t)(d->n_free - n_desc);
	le16_store(&d->avail->ring[d->avail_idx % d->num], head);
	d->avail_idx++;
	return head;
}

int driver_add(struct driver *d, const struct driver_buf *bufs, unsigned n_out, unsigned n_in)
{
	unsigned n = n_out + n_in;
	uint16_t at = d->free_head;
	int head;

	if (d->packed)
		return driver_packed_add(d, bufs, n_out, n_in);
	must(n > 0);
	if (d->n_free < n)
		return -ENOSPC;
	/* The free list runs through `next`, which a used chain keeps: so writing a chain is following it. */
	for (unsigned i = 0; i < n; i++) {
		uint16_t next = le16_load(&d->desc[at].next);

		desc_write(&d->desc[at], bufs[i].addr, bufs[i].len, desc_flags(i, n_out, n), next);
		at = next;
	}
	head = slot_take(d, n, n_in > 0);
	d->free_head = at;
	return head;
}

void *driver_table(const struct driver *d, unsigned head, gpa_t *ret_gpa)
{
	size_t size = DRIVER_TABLE * sizeof(struct vring_desc);

	must(d->tables.v);
	*ret_gpa = GPA(d->tables.v + head * size);
	return guest_ptr(d->guest, *ret_gpa, size);
}

int driver_add_indirect(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
			unsigned n_in)
{
	unsigned n = n_out + n_in;
	struct vring_desc *table;
	gpa_t table_gpa;
	uint16_t next;
	int head;

	if (d->packed)
		return driver_packed_add_indirect(d, bufs, n_out, n_in);
	must(n > 0 && n <= DRIVER_TABLE);
	if (d->n_free < 1)
		return -ENOSPC;
	table = driver_table(d, d->free_head, &table_gpa);
	for (unsigned i = 0; i < n; i++)
		desc_write(&table[i], bufs[i].addr, bufs[i].len, desc_flags(i, n_out, n),
			   (uint16_t)(i + 1));
	next = le16_load(&d->desc[d->free_head].next);
	desc_write(&d->desc[d->free_head], table_gpa, (uint32_t)(n * sizeof(*table)),
		   VRING_DESC_F_INDIRECT, next);
	head = slot_take(d, 1, n_in > 0);
	d->free_head = next;
	return head;
}

void driver_set_cookie(struct driver *d, int head, void *cookie)
{
	d->slot[head].cookie = cookie;
}

void *driver_cookie(const struct driver *d, int head)
{
	return d->slot[head].cookie;
}

void driver_publish(struct driver *d)
{
	if (d->packed) {
		driver_packed_publish(d);
		return;
	}
	/* Partner: the acquire in the device's pop. */
	le16_store_release(&d->avail->idx, d->avail_idx);
}

void driver_fence(void)
{
#ifdef __SANITIZE_THREAD__
	static uint32_t word;

	__atomic_exchange_n(&word, 0, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

bool driver_wants_kick(struct driver *d)
{
	uint16_t old = d->kick_idx, event;

	if (d->packed)
		return driver_packed_wants_kick(d);
	driver_fence();
	d->kick_idx = d->avail_idx;
	if (!d->event_idx)
		return !(le16_load(&d->used->flags) & VRING_USED_F_NO_NOTIFY);
	event = le16_load(avail_event(d));
	return (uint16_t)(d->avail_idx - event - 1) < (uint16_t)(d->avail_idx - old);
}

bool driver_kick(struct driver *d)
{
	uint64_t one = 1;

	driver_publish(d);
	return driver_wants_kick(d) && write(d->kick_fd, &one, sizeof(one)) == sizeof(one);
}

/* Read the used entry that tells of the next chain, unless the last one still does. */
static int used_next(struct driver *d, uint32_t *ret_len)
{
	const struct vring_used_elem *e = &d->used->ring[d->last_used % d->num];
	uint32_t head = le32_get(e->id);

	if (!d->in_order) {
		must(d->n_out-- > 0);
		*ret_len = le32_get(e->len);
		return (int)head;
	}
	must(d->in_batch || head < d->num);
	if (!d->in_batch)
		driver_order_begin(d, (uint16_t)head, le32_get(e->len));
	return driver_order_next(d, ret_len);
}

int driver_used(struct driver *d, uint32_t *ret_len)
{
	uint16_t tail, n;
	int head;

	if (d->packed)
		return driver_packed_used(d, ret_len);
	/* Partner: the release in the device's publish. */
	if (le16_load_acquire(&d->used->idx) == d->last_used)
		return -EAGAIN;
	head = used_next(d, ret_len);
	must(head < d->num && d->slot[head].n_desc > 0);
	d->last_used++;

	/* Back to the free list: to its front, or in order to its end. */
	n = d->slot[head].n_desc;
	tail = (uint16_t)head;
	for (unsigned i = 1; i < n; i++)
		tail = le16_load(&d->desc[tail].next);
	if (d->in_order && d->n_free > 0) {
		le16_store(&d->desc[d->free_tail].next, (uint16_t)head);
	} else {
		le16_store(&d->desc[tail].next, d->free_head);
		d->free_head = (uint16_t)head;
	}
	d->free_tail = tail;
	d->n_free = (uint16_t)(d->n_free + n);
	d->slot[head].n_desc = 0;
	return head;
}

void driver_call_off(struct driver *d)
{
	if (d->packed)
		driver_packed_call_off(d);
	else if (!d->event_idx)
		le16_store(&d->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

bool driver_call_on(struct driver *d)
{
	if (d->packed)
		return driver_packed_call_on(d);
	if (d->event_idx)
		le16_store(used_event(d), d->last_used);
	else
		le16_store(&d->avail->flags, 0);
	driver_fence();
	return le16_load(&d->used->idx) != d->last_used;
}

static uint64_t eventfd_take(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

uint64_t driver_calls(struct driver *d)
{
	return eventfd_take(d->call_fd);
}

uint64_t driver_kicks(struct driver *d)
{
	return eventfd_take(d->kick_fd);
}

void driver_raw_desc(struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	desc_write(&d->desc[i], GPA(addr), len, flags, next);
}

void driver_raw_avail(struct driver *d, uint16_t head)
{
	le16_store(&d->avail->ring[d->avail_idx % d->num], head);
	d->avail_idx++;
	driver_publish(d);
}
