/* SPDX-License-Identifier: MIT */
/* The daemon: one arena, who may come in to it, and by which doors.
 *
 *	arena.h      the memory: a file or memfd, formatted, allocated, mapped
 *	leases.h     clients: the lease protocol (wire.h), grants (extents.h), names (names.h), rest (quiesce.h), recovery
 *	flush.h      what is written reaches the disk
 *	doors.h      the doors that are sockets of ours
 *	ivshmem.h    the door of ivshmem-doorbell
 *	pmem.h       the door of vhost-user virtio-pmem
 *	ctl.h        the control socket
 *
 * Of a virtual machine that has the file as virtio-pmem-pci over a memory backend, nothing is to be seen here but its lease.
 *
 * A file that somebody cuts is the end: what is written here does not reach it any more, so the daemon says so and ends
 * with an error.
 */
#ifndef PORTAL_PORTALD_H
#define PORTAL_PORTALD_H

#include "arena.h"
#include "config.h"
#include "doors.h"
#include "flush.h"
#include "leases.h"
#include "log.h"

#define PORTALD_LOOK_MS \
	1000u /* between two looks whether somebody has cut the file, or spoilt its head */

struct backend;

struct portald {
	struct backend *backend;
	struct arena arena;
	struct flush flush;
	struct leases leases;
	struct doors doors;
	struct flush_request ctl_flush; /* of the control socket */
	struct loop_timer look;
	struct log_limit log;
};

/* Start with what the configuration says.  Logs what is wrong; on failure nothing is left.  -errno. */
int portald_start(struct portald *p, struct backend *b, const struct config *c);
void portald_stop(struct portald *p);

#endif
