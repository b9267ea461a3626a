/* SPDX-License-Identifier: MIT */
/* vhost-user-net: a learning switch whose ports are virtio-net devices of QEMU machines. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "config.h"
#include "ctl.h"
#include "log.h"
#include "net.h"
#include "setup_ctl.h"

/* A socket of the command line, by path, becomes a port as one of the file does. */
static int add_path(struct net *net, const struct backend_socket *s)
{
	struct json_object *o = json_object_new_object();
	struct port_spec spec;
	auto_free char *why = NULL;
	int r;

	json_object_object_add(o, "name", json_object_new_string(s->name));
	json_object_object_add(o, "socket-path", json_object_new_string(s->path));
	r = port_spec_read(o, &spec, &why);
	if (r == 0) {
		r = net_add_port(net, &spec, &why);
		port_spec_done(&spec);
	}
	if (r < 0)
		log_error(s->name, "%s", net_port_error(r, why));
	json_object_put(o);
	return r;
}

static int add_inherited(struct net *net, const struct backend_socket *s)
{
	struct port_vu *p;
	int r;

	if (s->connected)
		r = port_vu_adopt(net_group(net), s->name, s->fd, &p);
	else
		r = port_vu_open(net_group(net), s->name, NULL, s->fd, &p);
	if (r < 0)
		log_error(s->name, "inherited socket: %s", net_port_error(r, NULL));
	return r;
}

static int add_ports(struct net *net, const struct config *c)
{
	const struct backend *b = net->backend;
	int r = 0;

	for (unsigned i = 0; i < b->n_sockets && r == 0; i++)
		r = b->sockets[i].path ? add_path(net, &b->sockets[i]) :
					 add_inherited(net, &b->sockets[i]);
	for (unsigned i = 0; i < c->n_ports && r == 0; i++) {
		auto_free char *why = NULL;

		r = net_add_port(net, &c->port[i], &why);
		if (r < 0)
			log_error(c->port[i].name, "%s: /ports/%u: %s", b->config_path, i,
				  net_port_error(r, why));
	}
	return r;
}

static int start_with(struct backend *b, const struct config *c)
{
	static struct net net; /* one per process; outlives the loop, whose last work frees ports */
	uint64_t seed;
	int r;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	net.backend = b;
	r = net_init(&net, c, seed);
	if (r < 0) {
		log_error(NULL, "forwarding database or threads: %s", strerror(-r));
		return r;
	}
	b->device = &net;
	r = add_ports(&net, c);
	if (r == 0)
		r = setup_run(b, c->setup);
	if (r < 0)
		net_done(&net);
	return r;
}

static int net_start(struct backend *b)
{
	struct config c;
	int r = config_read(b->config, b->config_path, &c);

	if (r < 0)
		return r;
	if (b->threads > 0)
		c.threads = (uint16_t)b->threads;
	r = start_with(b, &c);
	config_done(&c);
	return r;
}

static void net_stop(struct backend *b)
{
	net_done(b->device);
}

int main(int argc, char **argv)
{
	struct backend_desc desc = {
		.name = "vhost-user-net",
		.summary = "A learning switch whose ports are virtio-net devices over vhost-user.",
		.type = "net",
		.max_sockets = BACKEND_SOCKETS_MAX,
		.max_threads = WORKERS_MAX,
		.methods = ctl_methods,
		.n_methods = ctl_n_methods,
		.start = net_start,
		.stop = net_stop,
	};

	return backend_main(&desc, argc, argv);
}
