/* SPDX-License-Identifier: MIT */
#include "dirtylog.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "checked.h"
#include "cleanup.h"

void dirtylog_init(struct dirtylog *log)
{
	(void)mem_init(&log->map);
	log->event_fd = -1;
	log->touched = false;
}

void dirtylog_done(struct dirtylog *log)
{
	mem_done(&log->map);
	fd_drop(&log->event_fd);
}

int dirtylog_set(struct dirtylog *log, int fd, uint64_t size, uint64_t offset)
{
	const struct mem_region_desc whole = { .size = size, .mmap_offset = offset };

	return mem_set_table(&log->map, &whole, 1, &fd);
}

void dirtylog_set_event(struct dirtylog *log, int fd)
{
	fd_drop(&log->event_fd);
	if (fd >= 0)
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	log->event_fd = fd;
}

void dirtylog_mark(struct dirtylog *log, uint64_t addr, uint64_t len)
{
	const struct mem_region *r = &log->map.region[0];
	uint64_t last;

	if (len == 0 || !range_fits(addr, len))
		return;
	last = (addr + (len - 1)) / DIRTYLOG_PAGE;
	for (uint64_t page = addr / DIRTYLOG_PAGE; page <= last && page / 8 < r->size; page++) {
		/* Partner: the frontend's exchange, after which it reads the page. */
		__atomic_or_fetch(&r->va[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELEASE);
		__atomic_store_n(&log->touched, true, __ATOMIC_RELAXED);
	}
}

void dirtylog_tell(struct dirtylog *log, bool *blocked)
{
	const uint64_t one = 1;

	/* Rings of several threads share it. */
	if (log->event_fd < 0 || (blocked && __atomic_load_n(blocked, __ATOMIC_RELAXED)) ||
	    !__atomic_exchange_n(&log->touched, false, __ATOMIC_RELAXED))
		return;
	if (write(log->event_fd, &one, sizeof(one)) < 0 && errno == EINTR && blocked)
		__atomic_store_n(blocked, true, __ATOMIC_RELAXED); /* see vq_call() */
}
