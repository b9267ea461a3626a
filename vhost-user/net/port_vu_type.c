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
	const char *path, *state;
	bool client;
	int r = spec_string(spec, "socket-path", &path, why);

	if (r == 0)
		r = spec_bool(spec, "client", &client, why);
	if (r == 0)
		r = spec_string(spec, "state-path", &state, why);
	return r;
}

/* On the socket, ours or the frontend's. */
static int open_on_socket(struct net *net, const struct port_spec *spec, struct port_vu **ret,
			  char **why)
{
	const char *path = json_object_get_string(spec_member(spec, "socket-path"));
	bool client = json_object_get_boolean(spec_member(spec, "client"));
	int fd, r;

	if (client) {
		r = port_vu_dial(net_group(net), spec->name, path, ret);
		if (r == -ENAMETOOLONG)
			(void)spec_wrong(why, "socket-path: %s: %s", path, strerror(-r));
		return r;
	}
	r = listen_unix(path, PORT_SOCKET_MODE, &fd);
	if (r < 0) {
		(void)spec_wrong(why, "socket-path: %s: %s", path, strerror(-r));
		return r;
	}
	r = port_vu_open(net_group(net), spec->name, path, fd, ret);
	if (r < 0)
		listen_unlink(path);
	return r;
}

static int open_port(struct net *net, const struct port_spec *spec, struct sw_port **ret,
		     char **why)
{
	const char *state = json_object_get_string(spec_member(spec, "state-path"));
	struct port_vu *p;
	int r = open_on_socket(net, spec, &p, why);

	if (r < 0)
		return r;
	r = state ? port_vu_keep_places(p, state) : 0;
	if (r < 0) {
		(void)spec_wrong(why, "state-path: %s: %s", state, strerror(-r));
		port_vu_close(p);
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
	if (p->seat.path || p->seat.dial_path)
		json_object_object_add(o, "socket-path",
				       json_object_new_string(p->seat.path ? p->seat.path :
									     p->seat.dial_path));
	json_object_object_add(o, "client", json_object_new_boolean(p->seat.dial_path != NULL));
	json_object_object_add(o, "state", json_object_new_string(port_vu_state(p)));
	json_object_object_add(o, "queues", json_object_new_int64(p->n_receiveq));
	json_object_object_add(o, "features", json_object_new_string(features));
}

const struct port_type port_vu_type = {
	.name = "vhost-user",
	.members = "socket-path,client?,state-path?",
	.check = check_port,
	.open = open_port,
	.close = close_port,
	.describe = describe_port,
};
