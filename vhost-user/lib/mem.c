/* SPDX-License-Identifier: MIT */
#include "mem.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checked.h"

/* The handler walks every table of the process, so a table's regions are changed under this lock only.  The lock
 * holder never touches guest memory: a fault cannot come from under the lock, and the handler cannot wait for the
 * thread it interrupted. */
static char guard_lock;
static struct mem *guard_tables;
static struct sigaction guard_previous;

static void guard_acquire(void)
{
	while (__atomic_test_and_set(&guard_lock, __ATOMIC_ACQUIRE))
		;
}

static void guard_release(void)
{
	__atomic_clear(&guard_lock, __ATOMIC_RELEASE);
}

static const struct mem_region *guard_find(uintptr_t addr, struct mem **ret_mem)
{
	for (struct mem *m = guard_tables; m; m = m->next) {
		for (unsigned i = 0; i < m->n; i++) {
			const struct mem_region *r = &m->region[i];

			if (addr - (uintptr_t)r->map < r->map_size) {
				*ret_mem = m;
				return r;
			}
		}
	}
	return NULL;
}

/* Replace the whole region, not the page: the next fault would come at once, and a region of which a part is zeros
 * helps nobody.  mmap() is a bare system call in libc, so that it may be used here. */
static bool guard_replace(uintptr_t addr)
{
	const struct mem_region *r;
	struct mem *m = NULL;
	bool done = false;

	guard_acquire();
	r = guard_find(addr, &m);
	if (r &&
	    mmap(r->map, r->map_size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED) {
		__atomic_store_n(&m->damaged, true, __ATOMIC_RELAXED);
		done = true;
	}
	guard_release();
	return done;
}

static void guard_on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	/* Only a synchronous fault of this thread (BUS_ADRERR and its like, above 0) has an address to look up.  For
	 * all others the former action comes back and the access, repeated, meets it. */
	if (info->si_code == BUS_MCEERR_AO || info->si_code <= 0 ||
	    !guard_replace((uintptr_t)info->si_addr)) {
		sigaction(SIGBUS, &guard_previous, NULL);
		if (info->si_code <= 0)
			raise(sig); /* sent by kill(): nothing would repeat */
	}
	errno = saved_errno;
}

int mem_guard_install(void)
{
	struct sigaction action = {
		.sa_sigaction = guard_on_sigbus,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &guard_previous) < 0)
		return -errno;
	return 0;
}

static void guard_link(struct mem *m)
{
	guard_acquire();
	m->next = guard_tables;
	guard_tables = m;
	guard_release();
}

static void guard_unlink(struct mem *m)
{
	guard_acquire();
	for (struct mem **p = &guard_tables; *p; p = &(*p)->next) {
		if (*p == m) {
			*p = m->next;
			break;
		}
	}
	guard_release();
}

/* The unit in which the file can be mapped: huge pages report theirs as block size. */
static uint64_t map_align(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t block = (uint64_t)st->st_blksize;

	return block > page && block <= BIT_ULL(30) && is_power_of_two(block) ? block : page;
}

/* Is this a region that could exist at all? */
static bool desc_valid(const struct mem_region_desc *d)
{
	return d->size != 0 && range_fits(d->gpa.v, d->size) && range_fits(d->uva.v, d->size);
}

static bool desc_overlaps(const struct mem_region_desc *d, uint64_t gpa, uint64_t uva,
			  uint64_t size)
{
	return range_overlaps(d->gpa.v, d->size, gpa, size) ||
	       range_overlaps(d->uva.v, d->size, uva, size);
}

/* Map one region whose addresses are known to be sane.  Does not close fd. */
static int region_map(const struct mem_region_desc *d, int fd, struct mem_region *ret)
{
	uint64_t align, lead, map_size;
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	if (!range_within(d->mmap_offset, d->size, (uint64_t)st.st_size))
		return -EINVAL;

	/* The offset is rounded down to what mmap accepts, and the size up, so that munmap and the guard's own
	 * mapping cover whole (huge) pages.  The file's size bounds both, so only the addition can overflow. */
	align = map_align(&st);
	lead = d->mmap_offset & (align - 1);
	if (!add_u64(d->size, lead, &map_size) || !align_up_u64(map_size, align, &map_size) ||
	    map_size > SIZE_MAX)
		return -EINVAL;

	map = mmap(NULL, (size_t)map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		   (off_t)(d->mmap_offset - lead));
	if (map == MAP_FAILED)
		return -errno;
	/* A core file of the daemon must not hold the memory of its guests.  Only a wish: no error. */
	madvise(map, (size_t)map_size, MADV_DONTDUMP);

	*ret = (struct mem_region){
		.gpa = d->gpa.v,
		.size = d->size,
		.va = (uint8_t *)map + lead,
		.uva = d->uva.v,
		.map = map,
		.map_size = (size_t)map_size,
	};
	return 0;
}

static void regions_unmap(const struct mem_region *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		munmap(r[i].map, r[i].map_size);
}

int mem_init(struct mem *m)
{
	memset(m, 0, sizeof(*m));
	guard_link(m);
	return 0;
}

void mem_done(struct mem *m)
{
	/* Out of the handler's sight first, then out of the address space. */
	guard_unlink(m);
	regions_unmap(m->region, m->n);
	memset(m->region, 0, sizeof(m->region));
	m->n = 0;
}

static int table_check(const struct mem_region_desc *r, unsigned n)
{
	uint64_t room = MEM_MAX_BYTES;

	if (n > MEM_MAX_REGIONS)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (!desc_valid(&r[i]))
			return -EINVAL;
		if (r[i].size > room)
			return -ENOSPC;
		room -= r[i].size;
		for (unsigned k = 0; k < i; k++) {
			if (desc_overlaps(&r[i], r[k].gpa.v, r[k].uva.v, r[k].size))
				return -EINVAL;
		}
	}
	return 0;
}

static int table_map(const struct mem_region_desc *r, unsigned n, const int *fds,
		     struct mem_region *ret)
{
	for (unsigned i = 0; i < n; i++) {
		int err = region_map(&r[i], fds[i], &ret[i]);

		if (err < 0) {
			regions_unmap(ret, i);
			return err;
		}
	}
	return 0;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

int mem_set_table(struct mem *m, const struct mem_region_desc *r, unsigned n, const int *fds)
{
	struct mem_region fresh[MEM_MAX_REGIONS] = { 0 };
	struct mem_region old[MEM_MAX_REGIONS];
	unsigned n_old = m->n;
	int err;

	err = table_check(r, n);
	if (!err)
		err = table_map(r, n, fds, fresh);
	close_all(fds, n);
	if (err < 0)
		return err;

	memcpy(old, m->region, sizeof(old));
	guard_acquire();
	memcpy(m->region, fresh, sizeof(fresh));
	m->n = n;
	guard_release();
	m->generation++;
	regions_unmap(old, n_old);
	return 0;
}

static int add_check(const struct mem *m, const struct mem_region_desc *d)
{
	uint64_t room = MEM_MAX_BYTES;

	if (!desc_valid(d))
		return -EINVAL;
	if (m->n == MEM_MAX_REGIONS)
		return -ENOSPC;
	for (unsigned i = 0; i < m->n; i++) {
		if (desc_overlaps(d, m->region[i].gpa, m->region[i].uva, m->region[i].size))
			return -EINVAL;
		room -= m->region[i].size;
	}
	return d->size > room ? -ENOSPC : 0;
}

int mem_add_region(struct mem *m, const struct mem_region_desc *r, int fd)
{
	struct mem_region fresh;
	int err;

	err = add_check(m, r);
	if (!err)
		err = region_map(r, fd, &fresh);
	close_all(&fd, 1);
	if (err < 0)
		return err;

	guard_acquire();
	m->region[m->n++] = fresh;
	guard_release();
	m->generation++;
	return 0;
}

static struct mem_region *region_match(struct mem *m, const struct mem_region_desc *d)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct mem_region *r = &m->region[i];

		if (r->gpa == d->gpa.v && r->uva == d->uva.v && r->size == d->size)
			return r;
	}
	return NULL;
}

int mem_del_region(struct mem *m, const struct mem_region_desc *r)
{
	struct mem_region *found = region_match(m, r);
	struct mem_region old;

	if (!found)
		return -ENOENT;

	/* The last one fills the gap: order means nothing. */
	old = *found;
	guard_acquire();
	*found = m->region[--m->n];
	m->region[m->n] = (struct mem_region){ 0 };
	guard_release();
	m->generation++;
	regions_unmap(&old, 1);
	return 0;
}

int mem_gpa_to_va(const struct mem *m, gpa_t addr, size_t len, void **ret_va)
{
	for (unsigned i = 0; i < m->n && len > 0; i++) {
		const struct mem_region *r = &m->region[i];

		if (addr.v >= r->gpa && range_within(addr.v - r->gpa, len, r->size)) {
			*ret_va = r->va + (addr.v - r->gpa);
			return 0;
		}
	}
	return -EFAULT;
}

int mem_uva_to_va(const struct mem *m, uva_t addr, size_t len, void **ret_va)
{
	for (unsigned i = 0; i < m->n && len > 0; i++) {
		const struct mem_region *r = &m->region[i];

		if (addr.v >= r->uva && range_within(addr.v - r->uva, len, r->size)) {
			*ret_va = r->va + (addr.v - r->uva);
			return 0;
		}
	}
	return -EFAULT;
}

int mem_va_to_gpa(const struct mem *m, const void *va, gpa_t *ret_gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];
		uint64_t off = (uint64_t)((uintptr_t)va - (uintptr_t)r->va);

		if (off < r->size) {
			*ret_gpa = GPA(r->gpa + off);
			return 0;
		}
	}
	return -EFAULT;
}

size_t mem_gpa_span_search(const struct mem *m, unsigned *hint, gpa_t addr, size_t len,
			   void **ret_va)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];
		uint64_t off = addr.v - r->gpa;

		if (off < r->size) {
			*hint = i;
			*ret_va = r->va + off;
			return len <= r->size - off ? len : (size_t)(r->size - off);
		}
	}
	return 0;
}
