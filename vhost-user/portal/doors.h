/* SPDX-License-Identifier: MIT */
/* The doors of an arena that are sockets of this daemon's own: ivshmem.h, and a pmem.h for each VM that has one.
 *
 * Which door a VM comes by does not matter to what it finds; what each can and cannot promise is in SECURITY.md.
 *
 * Ownership: what is opened is the doors' until doors_close(); arena and flush are borrowed and outlive that.
 * Threads:   the loop's.
 */
#ifndef PORTAL_DOORS_H
#define PORTAL_DOORS_H

#include "arena.h"
#include "config.h"
#include "flush.h"
#include "ivshmem.h"
#include "pmem.h"

struct doors {
	struct ivshmem *ivshmem; /* NULL: not asked for */
	unsigned n_pmem;
	struct pmem *pmem[CONFIG_PMEM_MAX];
};

/* Open those of the configuration.  Logs what is wrong; then nothing is left open.  0 or -errno. */
int doors_open(struct doors *doors, struct loop *loop, const struct config *config,
	       const struct arena *arena, struct flush *flush);

/* Zero-filled is fine. */
void doors_close(struct doors *doors);

#endif
