/* SPDX-License-Identifier: MIT */
#include "doors.h"

#include <string.h>

#include "log.h"

static int open_ivshmem(struct doors *d, struct loop *loop, const struct config *config,
			const struct arena *arena)
{
	const struct ivshmem_config c = {
		.path = config->ivshmem_path,
		.memory_fd = arena->fd,
		.size = arena->file_size,
		.vectors = config->ivshmem_vectors,
		.label = arena->head.name,
	};
	int r = ivshmem_new(loop, &c, &d->ivshmem);

	if (r < 0)
		log_error(arena->head.name, "ivshmem at %s: %s", c.path, strerror(-r));
	return r;
}

static int open_pmem(struct doors *d, struct loop *loop, const struct config_pmem *config,
		     const struct arena *arena, struct flush *flush)
{
	bool writable = config->mode == PORTAL_READ_WRITE;
	const struct pmem_config c = {
		.name = config->name,
		.path = config->socket_path,
		.memory_fd = writable ? arena->fd : arena->ro_fd,
		.size = arena->file_size,
		.writable = writable,
		.flush = flush,
	};
	int r = pmem_new(loop, &c, &d->pmem[d->n_pmem]);

	if (r < 0)
		log_error(c.name, "pmem at %s: %s", c.path, strerror(-r));
	else
		d->n_pmem++;
	return r;
}

int doors_open(struct doors *doors, struct loop *loop, const struct config *config,
	       const struct arena *arena, struct flush *flush)
{
	int r = 0;

	memset(doors, 0, sizeof(*doors));
	if (config->ivshmem_path)
		r = open_ivshmem(doors, loop, config, arena);
	for (unsigned i = 0; i < config->n_pmem && r == 0; i++)
		r = open_pmem(doors, loop, &config->pmem[i], arena, flush);
	if (r < 0)
		doors_close(doors);
	return r;
}

void doors_close(struct doors *doors)
{
	ivshmem_close(doors->ivshmem);
	for (unsigned i = 0; i < doors->n_pmem; i++)
		pmem_close(doors->pmem[i]);
	memset(doors, 0, sizeof(*doors));
}
