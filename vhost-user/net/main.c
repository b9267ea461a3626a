/* SPDX-License-Identifier: MIT */
/* vhost-user-net: a learning switch whose ports are virtio-net devices of QEMU machines. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base.h"
#include "config.h"
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
	int r = add_sockets(net);

	for (unsigned i = 0; i < c->n_ports && r == 0; i++) {
		const char *name, *path;

		config_port(c, i, &name, &path);
		r = net_add_port(net, name, path);
		if (r < 0)
			log_error(name, "%s: %s", path, strerror(-r));
	}
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
	struct config c;
	uint64_t seed;
	int r = config_read(b->config, b->config_path, &c);

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
					    .mtu = c.mtu,
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
