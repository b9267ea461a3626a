/* SPDX-License-Identifier: MIT */
/* vhost-user-net: a learning switch whose ports are virtio-net devices of QEMU machines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base.h"
#include "ctl.h"
#include "listen.h"
#include "net.h"

/* Ports can only be made by us: the file that holds them is readable by their owner alone. */
#define PORT_SOCKET_MODE 0600

/* Expiry has more to do than one pass should: how soon to go on. */
#define EXPIRE_AGAIN_NS 1000000

#define SECOND_NS 1000000000ull

int net_add_port(struct net *net, const char *name, const char *path)
{
	struct port_vu *p;
	int fd, r = listen_unix(path, PORT_SOCKET_MODE, &fd);

	if (r < 0)
		return r;
	r = port_vu_open(&net->group, name, path, fd, &p);
	if (r < 0)
		listen_unlink(path);
	return r;
}

void net_close_ports(struct net *net)
{
	struct sw_port *p, *next;

	for (p = sw_next(&net->sw, NULL); p; p = next) {
		next = sw_next(&net->sw, p);
		port_vu_close(port_vu_of(p));
	}
}

static void on_state_changed(struct port_vu *p)
{
	struct net *net = p->group->context;

	ctl_port_changed(net->backend->control, p->port.name, port_vu_state(p));
}

static void on_tick(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, tick);
	uint64_t now_ns = loop_now_ns();
	bool more = sw_tick(&net->sw, (uint32_t)(now_ns / SECOND_NS));

	loop_timer_set(&net->backend->loop, timer, now_ns + (more ? EXPIRE_AGAIN_NS : SECOND_NS));
}

/* ---- --config ----------------------------------------------------------------------------------- */

struct config {
	struct fdb_config fdb;
	uint64_t mtu;
	struct json_object *ports; /* borrowed; an array or NULL */
};

static int config_error(const struct backend *b, const char *where, const char *what)
{
	log_error(NULL, "%s: %s: %s", b->config_path, where, what);
	return -EINVAL;
}

static int config_number(const struct backend *b, const char *where, struct json_object *value,
			 uint64_t low, uint64_t high, uint64_t *ret)
{
	int64_t n;

	if (!json_object_is_type(value, json_type_int))
		return config_error(b, where, "a whole number is wanted");
	n = json_object_get_int64(value);
	if (n < 0 || (uint64_t)n < low || (uint64_t)n > high) {
		log_error(NULL, "%s: %s: outside %llu..%llu", b->config_path, where,
			  (unsigned long long)low, (unsigned long long)high);
		return -EINVAL;
	}
	*ret = (uint64_t)n;
	return 0;
}

static int config_fdb(const struct backend *b, struct json_object *o, struct fdb_config *fdb)
{
	if (!json_object_is_type(o, json_type_object))
		return config_error(b, "/fdb", "an object is wanted");
	json_object_object_foreach(o, key, value)
	{
		uint64_t n;
		int r;

		if (strcmp(key, "size") == 0) {
			r = config_number(b, "/fdb/size", value, 1, FDB_SIZE_MAX, &n);
			fdb->size = r < 0 ? 0 : (uint32_t)n;
		} else if (strcmp(key, "per-port") == 0) {
			r = config_number(b, "/fdb/per-port", value, 1, FDB_SIZE_MAX, &n);
			fdb->per_port = r < 0 ? 0 : (uint32_t)n;
		} else if (strcmp(key, "ageing-s") == 0) {
			r = config_number(b, "/fdb/ageing-s", value, 0, INT32_MAX, &n);
			fdb->ageing_s = r < 0 ? 0 : (uint32_t)n;
		} else {
			r = config_error(b, "/fdb", key);
			log_error(NULL, "members are size, per-port and ageing-s");
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_read(const struct backend *b, struct config *c)
{
	if (!b->config)
		return 0;
	json_object_object_foreach(b->config, key, value)
	{
		int r = 0;

		if (strcmp(key, "ports") == 0) {
			c->ports = value;
			if (!json_object_is_type(value, json_type_array))
				r = config_error(b, "/ports", "an array is wanted");
		} else if (strcmp(key, "fdb") == 0) {
			r = config_fdb(b, value, &c->fdb);
		} else if (strcmp(key, "mtu") == 0) {
			r = config_number(b, "/mtu", value, 68, UINT16_MAX, &c->mtu);
		} else {
			r = config_error(b, key, "no such member; there are ports, fdb and mtu");
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_port(struct net *net, struct json_object *o)
{
	const struct backend *b = net->backend;
	const char *name = NULL, *path = NULL;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return config_error(b, "/ports", "each port is an object");
	json_object_object_foreach(o, key, value)
	{
		const char **ret = strcmp(key, "name") == 0        ? &name :
				   strcmp(key, "socket-path") == 0 ? &path :
								     NULL;

		if (!ret || !json_object_is_type(value, json_type_string))
			return config_error(b, "/ports",
					    "a port has two strings, name and socket-path");
		*ret = json_object_get_string(value);
	}
	if (!name || !path)
		return config_error(b, "/ports", "a port needs name and socket-path");
	r = net_add_port(net, name, path);
	if (r < 0)
		log_error(name, "%s: %s", path, strerror(-r));
	return r;
}

/* ---- start and stop ----------------------------------------------------------------------------- */

static int add_sockets(struct net *net)
{
	const struct backend *b = net->backend;

	for (unsigned i = 0; i < b->n_sockets; i++) {
		const struct backend_socket *s = &b->sockets[i];
		struct port_vu *p;
		int r;

		if (s->path)
			r = net_add_port(net, s->name, s->path);
		else if (s->connected)
			r = port_vu_adopt(&net->group, s->name, s->fd, &p);
		else
			r = port_vu_open(&net->group, s->name, NULL, s->fd, &p);
		if (r < 0) {
			log_error(s->name, "%s: %s", s->path ? s->path : "inherited socket",
				  strerror(-r));
			return r;
		}
	}
	return 0;
}

static int add_ports(struct net *net, const struct config *c)
{
	size_t n = c->ports ? json_object_array_length(c->ports) : 0;
	int r = add_sockets(net);

	for (size_t i = 0; i < n && r == 0; i++)
		r = config_port(net, json_object_array_get_idx(c->ports, i));
	return r;
}

static void net_free(struct net *net)
{
	loop_timer_cancel(&net->backend->loop, &net->tick);
	net_close_ports(net);
	sw_done(&net->sw);
}

static int net_start(struct backend *b)
{
	static struct net net; /* one per process; outlives the loop, whose last work frees ports */
	struct config c = { .fdb.ageing_s = FDB_AGEING_S_DEFAULT };
	uint64_t seed;
	int r = config_read(b, &c);

	if (r < 0)
		return r;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	r = sw_init(&net.sw, &c.fdb, seed);
	if (r < 0) {
		log_error(NULL, "forwarding database: %s", strerror(-r));
		return r;
	}

	net.backend = b;
	net.group = (struct port_vu_group){ .loop = &b->loop,
					    .sw = &net.sw,
					    .mtu = (uint16_t)c.mtu,
					    .context = &net,
					    .state_changed = on_state_changed };
	port_vu_group_init(&net.group);
	b->device = &net;
	loop_timer_init(&net.tick, on_tick);
	on_tick(&net.tick);
	r = add_ports(&net, &c);
	if (r < 0)
		net_free(&net);
	return r;
}

static void net_stop(struct backend *b)
{
	net_free(b->device);
}

int main(int argc, char **argv)
{
	struct backend_desc desc = {
		.name = "vhost-user-net",
		.summary = "A learning switch whose ports are virtio-net devices over vhost-user.",
		.type = "net",
		.max_sockets = BACKEND_SOCKETS_MAX,
		.methods = ctl_methods,
		.n_methods = ctl_n_methods,
		.start = net_start,
		.stop = net_stop,
	};

	return backend_main(&desc, argc, argv);
}
