/* SPDX-License-Identifier: MIT */
#include "doors.h"

#include <string.h>

#include "log.h"

static int open_ivshmem(struct doors *d, const struct config *config)
{
	const struct arena *arena = d->arena;
	const struct ivshmem_config c = {
		.path = config->ivshmem_path,
		.memory_fd = arena->fd,
		.size = arena->file_size,
		.vectors = config->ivshmem_vectors,
		.label = arena->head.name,
	};
	int r = ivshmem_new(d->loop, &c, &d->ivshmem);

	if (r < 0)
		log_error(arena->head.name, "ivshmem at %s: %s", c.path, strerror(-r));
	return r;
}

static int open_pmem(struct doors *d, const struct config_pmem *config, bool of_client)
{
	bool writable = config->mode == PORTAL_READ_WRITE;
	const struct pmem_config c = {
		.name = config->name,
		.path = config->socket_path,
		.memory_fd = writable ? d->arena->fd : d->arena->ro_fd,
		.size = d->arena->file_size,
		.writable = writable,
		.flush = d->flush,
	};
	int r = pmem_new(d->loop, &c, &d->pmem[d->n_pmem]);

	if (r < 0)
		log_error(c.name, "pmem at %s: %s", c.path, strerror(-r));
	else
		d->of_client[d->n_pmem++] = of_client;
	return r;
}

int doors_open(struct doors *doors, struct loop *loop, const struct config *config,
	       const struct arena *arena, struct flush *flush)
{
	int r = 0;

	memset(doors, 0, sizeof(*doors));
	doors->loop = loop;
	doors->arena = arena;
	doors->flush = flush;
	if (config->ivshmem_path)
		r = open_ivshmem(doors, config);
	for (unsigned i = 0; i < config->n_pmem && r == 0; i++)
		r = open_pmem(doors, &config->pmem[i], false);
	for (unsigned i = 0; i < config->n_clients && r == 0; i++)
		r = doors_add_client(doors, &config->clients[i]);
	if (r < 0)
		doors_close(doors);
	return r;
}

/* There are no more clients than LEASES_CLIENTS_MAX, whoever adds them. */
int doors_add_client(struct doors *doors, const struct config_client *client)
{
	const struct config_pmem device = {
		.name = client->lease.name,
		.socket_path = client->pmem_path,
		.mode = client->lease.mode,
	};

	return client->pmem_path ? open_pmem(doors, &device, true) : 0;
}

void doors_remove_client(struct doors *doors, const char *name)
{
	for (unsigned i = 0; i < doors->n_pmem; i++) {
		if (!doors->of_client[i] || strcmp(pmem_name(doors->pmem[i]), name) != 0)
			continue;
		pmem_close(doors->pmem[i]);
		doors->n_pmem--;
		doors->pmem[i] = doors->pmem[doors->n_pmem];
		doors->of_client[i] = doors->of_client[doors->n_pmem];
		return;
	}
}

void doors_close(struct doors *doors)
{
	ivshmem_close(doors->ivshmem);
	for (unsigned i = 0; i < doors->n_pmem; i++)
		pmem_close(doors->pmem[i]);
	memset(doors, 0, sizeof(*doors));
}
