/* SPDX-License-Identifier: MIT */
/* Guest memory as the frontend described it.
 *
 * A frontend (QEMU) shares its guest's memory as a list of regions, each a piece of a file with the address the guest
 * knows it by (gpa: descriptors) and the address the frontend knows it by (uva: ring addresses).  This module maps the
 * regions and turns both kinds of address into pointers.  Nothing else in the daemon does.
 *
 * Trust:     every field of a region comes from the frontend.  A whole table is checked before any of it is mapped:
 *            sizes, overflow, overlap in either space, and the file's own size.  Only regular files (memfd, tmpfs,
 *            hugetlbfs, disk files) are accepted: a device behind the descriptor could do anything.  After that the
 *            frontend may still truncate the file; mem_guard_install() makes that its own session's problem.
 * Ownership: descriptors passed in belong to this module from the call on, also when it fails.  None is kept open: a
 *            mapping holds its file by itself.
 * Threads:   changes in the loop thread, with no ring running on this table (the session stops its queues around each
 *            change).  Translation is read-only but for *hint.  mem_generation() changes with every table change: a
 *            pointer got before that must not be used after it, unless it is known to lie in a region that
 *            mem_add_region() and mem_del_region() were not called for: they move nothing else.
 */
#ifndef VU_MEM_H
#define VU_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "base.h"

/* Regions in one table, and the answer to GET_MAX_MEM_SLOTS.  QEMU uses one slot for each DIMM and asks for no more. */
#define MEM_MAX_REGIONS 64

/* Bytes in one table.  A sparse file costs its owner nothing, and a process has 128 TiB of addresses for the tables of
 * all its frontends: unbounded, one of them could leave the others without.  A change of table holds two for a moment.
 * No lab has a VM that large. */
#define MEM_MAX_BYTES BIT_ULL(40)

/* One region as a message describes it. */
struct mem_region_desc {
	gpa_t gpa;
	uva_t uva;
	uint64_t size;        /* bytes; any value above 0, no alignment is asked for */
	uint64_t mmap_offset; /* where in the file it begins */
};

/* One mapped region; `size` 0 in the unused ones, so that a stale hint finds nothing there. */
struct mem_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *va; /* first byte of the region */
	uint64_t uva;
	void *map; /* what mmap returned: at or below va */
	size_t map_size;
};

struct mem {
	struct mem_region region[MEM_MAX_REGIONS];
	unsigned n;
	uint32_t generation;
	bool damaged;     /* atomic: set by the SIGBUS handler */
	struct mem *next; /* all tables of the process, for the handler */
};

/* An empty table.  *m must stay where it is until mem_done().  Returns 0. */
int mem_init(struct mem *m);

/* Unmap everything.  A table that is all zeros is legal here. */
void mem_done(struct mem *m);

/* Replace the table by the n regions r[0..n), region i in the file fds[i]; n 0 empties it.  All or nothing: on failure
 * the old table stays as it was.  All n descriptors are closed in every case.
 * Returns 0; -EINVAL (a size or address that cannot be, an overlap, n above MEM_MAX_REGIONS, file too small);
 * -ENOSPC (more than MEM_MAX_BYTES); -EBADF, -ENODEV (not a regular file), or what mmap said (-EACCES, -ENOMEM, …). */
int mem_set_table(struct mem *m, const struct mem_region_desc *r, unsigned n, const int *fds);

/* Add one region, under the same checks.  -ENOSPC also for MEM_MAX_REGIONS. */
int mem_add_region(struct mem *m, const struct mem_region_desc *r, int fd);

/* Remove the region with this gpa, uva and size; mmap_offset does not matter.  Returns 0 or -ENOENT. */
int mem_del_region(struct mem *m, const struct mem_region_desc *r);

/* Translate [addr, addr+len), len above 0.  Never splits: a range that crosses regions is not contiguous.
 * Returns 0, or -EFAULT (no region holds the whole range).  *ret_va untouched on failure. */
int mem_gpa_to_va(const struct mem *m, gpa_t addr, size_t len, void **ret_va);
int mem_uva_to_va(const struct mem *m, uva_t addr, size_t len, void **ret_va);

/* The guest's address of what lies at va, one of the pointers got from here.  -EFAULT: it was not. */
int mem_va_to_gpa(const struct mem *m, const void *va, gpa_t *ret_gpa);

/* The slow half of mem_gpa_span(). */
size_t mem_gpa_span_search(const struct mem *m, unsigned *hint, gpa_t addr, size_t len,
			   void **ret_va);

/* Translate as much of [addr, addr+len) as lies in one region.  Returns the bytes reachable at *ret_va, at most len;
 * 0: addr is in no region, *ret_va untouched.  *hint is any number below MEM_MAX_REGIONS that the caller keeps between
 * calls (start with 0): the region that served last time is tried first. */
static inline size_t mem_gpa_span(const struct mem *m, unsigned *hint, gpa_t addr, size_t len,
				  void **ret_va)
{
	const struct mem_region *r = &m->region[*hint];
	uint64_t off = addr.v - r->gpa; /* wraps to something huge when addr lies below */

	if (unlikely(off >= r->size))
		return mem_gpa_span_search(m, hint, addr, len, ret_va);
	*ret_va = r->va + off;
	return len <= r->size - off ? len : (size_t)(r->size - off);
}

/* Did a SIGBUS hit one of the regions?  Then its bytes are zeros now and the session has to end. */
static inline bool mem_damaged(const struct mem *m)
{
	return __atomic_load_n(&m->damaged, __ATOMIC_RELAXED);
}

static inline uint32_t mem_generation(const struct mem *m)
{
	return m->generation;
}

/* Install the process-wide SIGBUS handler, once, before the first table is set.  On a fault inside any region of any
 * table it puts anonymous zero pages in the place of the WHOLE region, marks the table damaged and returns: the access
 * is repeated and reads zeros, so a burst in flight needs no error path.  A fault elsewhere gets the action that was
 * installed before (by default: the process dies).  Returns 0 or -errno. */
int mem_guard_install(void);

#endif
