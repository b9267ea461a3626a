/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"

#define SLOTS_MIN 1024u

#define MAGIC "vhlhvsj1"

enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_ORPHAN };

/* In host byte order: nobody but this host's next daemon reads it. */
struct slot {
	uint32_t state;
	struct journal_entry e;
	uint32_t pad[2];
};

struct file {
	char magic[8];
	uint32_t n_slots;
	uint32_t pad[13];
	struct slot slot[];
};

static_assert(sizeof(struct slot) == 32 && sizeof(struct file) == 64, "the layout of the file");

struct hv_journal {
	int fd; /* -1: in memory */
	struct file *file;
	uint32_t n_slots; /* that are mapped; what the file says is for the next daemon */
	uint32_t *free;   /* a stack of free slots */
	uint32_t n_free;
	uint32_t *orphan; /* orphans in no order */
	uint32_t n_orphans;
};

static size_t size_of(uint32_t n_slots)
{
	return sizeof(struct file) + n_slots * sizeof(struct slot);
}

/* Room in memory for what is known about n slots. */
static int grow_lists(struct hv_journal *j, uint32_t n)
{
	uint32_t *f = realloc(j->free, n * sizeof(*f)), *o;

	if (!f)
		return -ENOMEM;
	j->free = f;
	o = realloc(j->orphan, n * sizeof(*o));
	if (!o)
		return -ENOMEM;
	j->orphan = o;
	return 0;
}

static void put_free(struct hv_journal *j, uint32_t slot)
{
	j->file->slot[slot].state = SLOT_FREE;
	j->free[j->n_free++] = slot;
}

/* Twice the slots, at the same place or another. */
static int grow(struct hv_journal *j)
{
	uint32_t n_old = j->n_slots, n = 2 * n_old;
	void *map;
	int r = n > JOURNAL_MAX ? -ENOSPC : grow_lists(j, n);

	if (r < 0)
		return r;
	if (j->fd >= 0 && posix_fallocate(j->fd, 0, (off_t)size_of(n)) != 0)
		return -ENOSPC;
	map = mremap(j->file, size_of(n_old), size_of(n), MREMAP_MAYMOVE);
	if (map == MAP_FAILED)
		return -errno;
	j->file = map;
	j->file->n_slots = j->n_slots = n;
	for (uint32_t i = n; i-- > n_old;)
		put_free(j, i);
	return 0;
}

/* Does the file hold what a predecessor of this version wrote? */
static bool is_ours(int fd, uint32_t *ret_n_slots)
{
	struct file head;
	struct stat st;

	if (fstat(fd, &st) < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || head.n_slots < SLOTS_MIN ||
	    head.n_slots > JOURNAL_MAX || (size_t)st.st_size < size_of(head.n_slots))
		return false;
	*ret_n_slots = head.n_slots;
	return true;
}

static int map_file(struct hv_journal *j)
{
	uint32_t n = SLOTS_MIN;
	bool known = j->fd >= 0 && is_ours(j->fd, &n);
	int flags = j->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, r;
	void *map;

	if (j->fd >= 0 && !known && ftruncate(j->fd, 0) < 0)
		return -errno;
	/* Blocks, not a hole: a full file system is to be met here and not by a store. */
	r = j->fd >= 0 ? posix_fallocate(j->fd, 0, (off_t)size_of(n)) : 0;
	if (r > 0)
		return -r;
	map = mmap(NULL, size_of(n), PROT_READ | PROT_WRITE, flags, j->fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	j->file = map;
	j->file->n_slots = j->n_slots = n;
	memcpy(j->file->magic, MAGIC, sizeof(j->file->magic));
	return grow_lists(j, n);
}

/* Nothing of what is found is alive any more. */
static void sort_slots(struct hv_journal *j)
{
	for (uint32_t i = j->n_slots; i-- > 0;) {
		struct slot *s = &j->file->slot[i];

		if (s->state == SLOT_LIVE || s->state == SLOT_ORPHAN) {
			s->state = SLOT_ORPHAN;
			j->orphan[j->n_orphans++] = i;
		} else {
			put_free(j, i);
		}
	}
}

int journal_open(const char *path, struct hv_journal **ret_journal)
{
	struct hv_journal *j = calloc(1, sizeof(*j));
	int r = 0;

	if (!j)
		return -ENOMEM;
	j->fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (path && j->fd < 0)
		r = -errno;
	if (r == 0)
		r = map_file(j);
	if (r != 0) {
		journal_free(j);
		return r;
	}
	assert(j->file);
	sort_slots(j);
	*ret_journal = j;
	return 0;
}

void journal_free(struct hv_journal *j)
{
	if (!j)
		return;
	if (j->file)
		munmap(j->file, size_of(j->n_slots));
	fd_drop(&j->fd);
	free(j->free);
	free(j->orphan);
	free(j);
}

uint32_t journal_add(struct hv_journal *j, const struct journal_entry *e)
{
	struct slot *s;
	uint32_t slot;

	if (j->n_free == 0 && grow(j) < 0)
		return JOURNAL_NONE;
	slot = j->free[--j->n_free];
	s = &j->file->slot[slot];
	s->e = *e;
	/* After the entry: the process may end between the two. */
	__atomic_store_n(&s->state, SLOT_LIVE, __ATOMIC_RELEASE);
	return slot;
}

void journal_remove(struct hv_journal *j, uint32_t slot)
{
	if (slot != JOURNAL_NONE)
		put_free(j, slot);
}

void journal_orphan(struct hv_journal *j, uint32_t slot)
{
	if (slot == JOURNAL_NONE)
		return;
	j->file->slot[slot].state = SLOT_ORPHAN;
	j->orphan[j->n_orphans++] = slot;
}

unsigned journal_orphans(const struct hv_journal *j, uint32_t vm_cid)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < j->n_orphans; i++)
		n += j->file->slot[j->orphan[i]].e.vm_cid == vm_cid;
	return n;
}

bool journal_take_orphan(struct hv_journal *j, uint32_t vm_cid, struct journal_entry *ret)
{
	for (uint32_t i = j->n_orphans; i-- > 0;) {
		uint32_t slot = j->orphan[i];

		if (j->file->slot[slot].e.vm_cid != vm_cid)
			continue;
		*ret = j->file->slot[slot].e;
		j->orphan[i] = j->orphan[--j->n_orphans];
		put_free(j, slot);
		return true;
	}
	return false;
}

void journal_drop_orphans(struct hv_journal *j, uint32_t vm_cid)
{
	struct journal_entry e;

	while (journal_take_orphan(j, vm_cid, &e))
		;
}
