/* SPDX-License-Identifier: MIT */
/* The switch's --config file: vhost-user-net(8), CONFIGURATION.
 *
 * What may stand in it is checked here in full, before anything is made of it, and every mistake is
 * said with its place: "net.json: /fdb/size: outside 1..1048576". */
#ifndef NET_CONFIG_H
#define NET_CONFIG_H

#include <stdint.h>
#include <json-c/json.h>

#include "fdb.h"

struct config {
	struct fdb_config fdb;
	uint16_t mtu; /* 0: not said */
	unsigned n_ports;
	struct json_object *ports; /* borrowed from the file's object */
};

/* Read `root` (NULL: there is no file), that came from `path`.  Logs what is wrong.  0 or -EINVAL. */
int config_read(struct json_object *root, const char *path, struct config *ret_config);

/* Port i of n_ports; the strings live as long as `root`. */
void config_port(const struct config *c, unsigned i, const char **ret_name, const char **ret_path);

#endif
