/* SPDX-License-Identifier: MIT */
/* The doors of an arena that are sockets of this daemon's own: ivshmem.h, and a pmem.h for each VM that has one: of the
 * configuration's `pmem`, which stay, and of clients, which go with them.
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

#define DOORS_PMEM_MAX (CONFIG_PMEM_MAX + LEASES_CLIENTS_MAX)

struct doors {
	struct loop *loop;
	const struct arena *arena;
	struct flush *flush;
	struct ivshmem *ivshmem; /* NULL: not asked for */
	unsigned n_pmem;
	struct pmem *pmem[DOORS_PMEM_MAX];
	bool of_client[DOORS_PMEM_MAX];
};

/* Open those of the configuration.  Logs what is wrong; then nothing is left open.  0 or -errno. */
int doors_open(struct doors *doors, struct loop *loop, const struct config *config,
	       const struct arena *arena, struct flush *flush);

/* The device of a client that has a pmem_path; logs what is wrong.  0 or -errno. */
int doors_add_client(struct doors *doors, const struct config_client *client);
/* Close the device of the client of that name, if it has one. */
void doors_remove_client(struct doors *doors, const char *name);

/* Zero-filled is fine. */
void doors_close(struct doors *doors);

#endif
