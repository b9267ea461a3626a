/* SPDX-License-Identifier: MIT */
/* The daemon's --config file: vhost-user-portal(8), CONFIGURATION.
 *
 *	{ "name": "shared", "size": 268435456, "path": "PATH" (or "memfd": true), "vsock-port": 50100,
 *	  "clients": [ CLIENT… ], "ivshmem": {"socket-path","vectors"?}, "pmem": [ {"name","socket-path","mode"?}… ],
 *	  "grace-ms": 10000, "freeze-max-ms": 60000 }
 *
 *	CLIENT = {"name","socket-path","mode"?,"quota"?,"leases"?,"linger-ms"?,"quiesce"?,"pmem-path"?}
 *
 * What may stand in it is checked in full before anything is made of it, and every mistake is said with its place:
 * "portal.json: /clients/0/mode: neither rw nor ro".
 */
#ifndef PORTAL_CONFIG_H
#define PORTAL_CONFIG_H

#include <json-c/json.h>

#include "arena.h"
#include "leases.h"

#define CONFIG_PMEM_MAX LEASES_CLIENTS_MAX

struct config_client {
	struct leases_client_config lease;
	const char *
		pmem_path; /* of a device as those of `pmem`, that comes and goes with the client; NULL: it has none */
};

struct config_pmem {
	const char *name, *socket_path;
	enum portal_mode mode;
};

/* As it was read; strings point into the JSON. */
struct config {
	struct arena_config arena;
	uint32_t grace_ms, freeze_max_ms;
	unsigned n_clients, n_pmem;
	struct config_client clients[LEASES_CLIENTS_MAX];
	struct config_pmem pmem[CONFIG_PMEM_MAX];
	const char *ivshmem_path; /* NULL: no such door */
	unsigned ivshmem_vectors;
};

#define CONFIG_WHY_MAX 160

/* One client, of `clients` or of the control socket.  0, or -EINVAL with `why`: "mode: neither rw nor ro".  Strings point into
 * the JSON. */
int config_client_read(struct json_object *o, struct config_client *ret_client,
		       char why[CONFIG_WHY_MAX]);

/* Read `root` (NULL: there is no file, which is a mistake), that came from `path`.  Logs what is wrong.  0 or -EINVAL. */
int config_read(struct json_object *root, const char *path, struct config *ret_config);

#endif
