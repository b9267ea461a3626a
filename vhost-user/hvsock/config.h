/* SPDX-License-Identifier: MIT */
/* The daemon's --config file: vhost-user-hvsock(8), CONFIGURATION.
 *
 *	{ "vms": [ VM… ], "forwards": [ FORWARD… ], "journal": "PATH", "ports-base": 50000 }
 *
 * A VM and a FORWARD are what the control methods vm.add and forward.add take, so that they are read here for both; but
 * that "may-fail" of a FORWARD means nothing to a method, whose caller sees what has failed.
 * What may stand in it is checked in full before anything is made of it, and every mistake is said with its
 * place: "hvsock.json: /vms/0/cid: outside 3..4294967294". */
#ifndef HV_CONFIG_H
#define HV_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include "host.h"

/* A mistake in words. */
#define CONFIG_WHY_MAX 160

/* A VM as it was read; `vm.vm.allow` points into it, strings into the JSON. */
struct config_vm {
	struct host_vm_config vm;
	uint32_t allow[HV_VMS_MAX];
};

/* A forward as it was read; strings point into the JSON. */
struct config_forward {
	const char *vm;
	bool may_fail; /* of the file alone: the daemon starts without it */
	struct forward_config forward;
};

struct config {
	const char *journal; /* NULL: none */
	uint32_t ports_base;
	unsigned n_vms, n_forwards;
	struct json_object *vms, *forwards; /* borrowed from the file's object */
};

/* Read `root` (NULL: there is no file), that came from `path`.  Logs what is wrong.  0 or -EINVAL. */
int config_read(struct json_object *root, const char *path, struct config *ret_config);

/* VM or forward i of one that has been read; valid as long as `root` is. */
void config_vm(const struct config *c, unsigned i, struct config_vm *ret_vm);
void config_forward(const struct config *c, unsigned i, struct config_forward *ret_forward);

/* A single one.  -EINVAL, and `why` says "cid: outside 3..4294967294". */
int config_vm_read(struct json_object *o, struct config_vm *ret_vm, char why[CONFIG_WHY_MAX]);
int config_forward_read(struct json_object *o, uint32_t ports_base,
			struct config_forward *ret_forward, char why[CONFIG_WHY_MAX]);

#endif
