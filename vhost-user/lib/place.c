/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "vq.h"

void place_forget(struct vq_place *p)
{
	__atomic_store_n(&p->word, 0, __ATOMIC_RELEASE);
}

void place_begin(struct vq_place *p, uint64_t ring_uva, uint16_t num, uint16_t at)
{
	place_forget(p);
	p->ring = ring_uva;
	p->num = num;
	__atomic_store_n(&p->word, PLACE_WORD(at, 0, 0, PLACE_VALID), __ATOMIC_RELEASE);
}

static uint64_t state_at(const struct vring_packed_desc *ring, uint16_t at)
{
	return le64_load(&ring[at & ~VRING_PACKED_WRAP].state);
}

static bool avail_at(const struct vring_packed_desc *ring, uint16_t at, bool lap_later)
{
	bool wrap = at & VRING_PACKED_WRAP;

	return vq_packed_is_avail(state_at(ring, at), lap_later ? !wrap : wrap);
}

/* Has any device worked on this ring?  The driver sets USED only for laps that follow a device's. */
static bool any_used(const struct vring_packed_desc *ring, uint16_t num)
{
	for (unsigned i = 0; i < num; i++)
		if (le64_load(&ring[i].state) >> 48 & VRING_PACKED_DESC_F_USED)
			return true;
	return false;
}

static bool has_addr(const struct vring_packed_desc *ring, uint16_t at, uint64_t addr)
{
	return le64_load(&ring[at & ~VRING_PACKED_WRAP].addr) == addr;
}

/* Are there traces of us?  A batch's first entry is what we made of it, or what the driver made of that in its next lap;
 * for that the ring must have been full, so that also what comes behind the last batch is available.  A batch at hand may
 * have overwritten the one before, but its own first entry has kept its address. */
static bool left_by_us(const struct vq_place *p, const struct vring_packed_desc *ring,
		       uint64_t word)
{
	uint16_t at = PLACE_AT(word), prev = PLACE_PREV(word);
	unsigned flags = PLACE_FLAGS(word), i = !!(flags & PLACE_FIRST_1);

	if (PLACE_N(word) > 0)
		return has_addr(ring, at, p->first[!i].addr) || avail_at(ring, at, true);
	if (has_addr(ring, prev, p->first[i].addr) && state_at(ring, prev) == p->first[i].state)
		return true;
	return avail_at(ring, prev, true) && avail_at(ring, at, false);
}

bool place_find(const struct vq_place *p, const struct vring_packed_desc *ring, uint64_t ring_uva,
		uint16_t num, uint64_t *ret_word)
{
	uint64_t word = __atomic_load_n(&p->word, __ATOMIC_ACQUIRE);
	const uint16_t idx = (uint16_t)~VRING_PACKED_WRAP;

	if (!(PLACE_FLAGS(word) & PLACE_VALID) || p->ring != ring_uva || p->num != num ||
	    (PLACE_AT(word) & idx) >= num || (PLACE_PREV(word) & idx) >= num || PLACE_N(word) > num)
		return false;
	/* Nothing was published since the frontend said where to begin. */
	if (!(PLACE_FLAGS(word) & PLACE_HAS_PREV) && PLACE_N(word) == 0)
		return false;
	if (!any_used(ring, num) && !left_by_us(p, ring, word))
		return false;
	*ret_word = word;
	return true;
}

/* ---- a file of records -------------------------------------------------- */

#define PLACES_MAGIC   0x6c61702d62616c76ull /* "vlab-pla" */
#define PLACES_VERSION 1u

struct places_head {
	uint64_t magic;
	uint32_t version;
	uint32_t n_rings;
};

struct places {
	int fd; /* holds the lock */
	unsigned n_rings;
	size_t size;
	uint8_t *map;
};

/* Each ring at a page of its own, so that one that is not used costs nothing. */
#define PAGE 4096u
#define STRIDE                                                                           \
	((sizeof(struct vq_place) + VQ_MAX_NUM * sizeof(struct place_used) + PAGE - 1) & \
	 ~(size_t)(PAGE - 1))

/* What is written to all the time is not left to a file system that may be full by then. */
static int reserve(int fd, unsigned i, uint32_t num)
{
	off_t at = (off_t)(PAGE + i * STRIDE), size = max((off_t)PAGE, (off_t)place_size(num));

	return fallocate(fd, 0, at, size) < 0 ? -errno : 0;
}

/* Bring the file into shape, all zeros unless it is what it should be. */
static int shape(int fd, size_t size, const struct places_head *want)
{
	struct places_head head;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (pread(fd, &head, sizeof(head), 0) == sizeof(head) && st.st_size == (off_t)size &&
	    memcmp(&head, want, sizeof(head)) == 0)
		return 0;
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	for (unsigned i = 0; i < want->n_rings; i++) {
		int r = reserve(fd, i, 0);

		if (r < 0)
			return r;
	}
	return pwrite(fd, want, sizeof(*want), 0) == sizeof(*want) ? 0 : -EIO;
}

int places_open(const char *path, unsigned n_rings, struct places **ret_places)
{
	const struct places_head head = { PLACES_MAGIC, PLACES_VERSION, n_rings };
	size_t size = PAGE + n_rings * STRIDE;
	auto_free struct places *p = calloc(1, sizeof(*p));
	auto_fd int fd = -1;
	int r;

	if (!p)
		return -ENOMEM;
	if (n_rings == 0 || n_rings > UINT16_MAX)
		return -EINVAL;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	r = shape(fd, size, &head);
	if (r < 0)
		return r;
	p->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->map == MAP_FAILED)
		return -errno;
	p->fd = fd_take(&fd);
	p->n_rings = n_rings;
	p->size = size;
	*ret_places = p;
	p = NULL;
	return 0;
}

void places_close(struct places *p)
{
	if (!p)
		return;
	munmap(p->map, p->size);
	close(p->fd);
	free(p);
}

struct vq_place *places_ring(struct places *p, unsigned i)
{
	assert(i < p->n_rings);
	return (struct vq_place *)(void *)(p->map + PAGE + i * STRIDE);
}

int places_reserve(struct places *p, unsigned i, uint32_t num)
{
	assert(i < p->n_rings && num <= VQ_MAX_NUM);
	return reserve(p->fd, i, num);
}
