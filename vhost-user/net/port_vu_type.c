/* SPDX-License-Identifier: MIT */
/* The row of port_vu.h in the table of port types. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "listen.h"
#include "net.h"

/* Whoever can connect is a guest's whole machine: ports are their owner's alone. */
#define PORT_SOCKET_MODE 0600

static int check_port(const struct port_spec *spec, char **why)
{
	const char *path;

	return spec_string(spec, "socket-path", &path, why);
}

static int open_port(struct net *net, const struct port_spec *spec, struct sw_port **ret,
		     char **why)
{
	const char *path = json_object_get_string(spec_member(spec, "socket-path"));
	struct port_vu *p;
	int fd, r;

	r = listen_unix(path, PORT_SOCKET_MODE, &fd);
	if (r < 0) {
		(void)spec_wrong(why, "socket-path: %s: %s", path, strerror(-r));
		return r;
	}
	r = port_vu_open(net_group(net), spec->name, path, fd, &p);
	if (r < 0) {
		listen_unlink(path);
		return r;
	}
	*ret = &p->port;
	return 0;
}

static void close_port(struct sw_port *p)
{
	port_vu_close(port_vu_of(p));
}

static void describe_port(const struct sw_port *sp, struct json_object *o)
{
	const struct port_vu *p = container_of_const(sp, struct port_vu, port);
	char features[2 + 16 + 1];

	(void)snprintf(features, sizeof(features), "0x%" PRIx64,
		       p->seat.session ? vu_session_features(p->seat.session) : 0);
	if (p->seat.path)
		json_object_object_add(o, "socket-path", json_object_new_string(p->seat.path));
	json_object_object_add(o, "state", json_object_new_string(port_vu_state(p)));
	json_object_object_add(o, "queues", json_object_new_int64(p->n_receiveq));
	json_object_object_add(o, "features", json_object_new_string(features));
}

const struct port_type port_vu_type = {
	.name = "vhost-user",
	.members = "socket-path",
	.check = check_port,
	.open = open_port,
	.close = close_port,
	.describe = describe_port,
};
