/* SPDX-License-Identifier: MIT */
/* The switch's --config file: vhost-user-net(8), CONFIGURATION.
 *
 * What may stand in it is checked here in full, before anything is made of it, and every mistake is
 * said with its place: "net.json: /fdb/size: outside 1..1048576", "net.json: /ports/2/vlan/access: ...". */
#ifndef NET_CONFIG_H
#define NET_CONFIG_H

#include <stdint.h>
#include <json-c/json.h>

#include "fdb.h"
#include "portspec.h"

struct config {
	struct fdb_config fdb;
	uint16_t mtu;     /* 0: not said */
	uint16_t threads; /* 0: not said */
	uint64_t spin_ns; /* 0: not said */
	unsigned n_ports;
	struct port_spec *port;    /* they borrow from the file's object */
	struct json_object *setup; /* so does this; NULL: not said.  setup_ctl.h */
};

/* Read `root` (NULL: there is no file), that came from `path`.  Logs what is wrong.  0, -EINVAL or -ENOMEM. */
int config_read(struct json_object *root, const char *path, struct config *ret_config);

/* Zero-filled is fine. */
void config_done(struct config *c);

#endif
