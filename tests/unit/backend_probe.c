/* SPDX-License-Identifier: MIT */
/* The smallest daemon on backend.h: greets whoever connects to one of its frontend sockets with
 * that socket's name.  test_backend.c runs it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"
#include "base.h"
#include "listen.h"
#include "log.h"

struct door {
	struct loop_source src;
	const struct backend_socket *socket;
	int fd;
};

struct probe {
	struct door doors[4];
	unsigned n;
};

static void greet(const struct door *d, int fd)
{
	(void)!send(fd, d->socket->name, strlen(d->socket->name), MSG_NOSIGNAL);
}

static void knock(struct loop_source *src, uint32_t events)
{
	struct door *d = container_of(src, struct door, src);
	int fd;

	if (listen_accept(d->fd, &fd) < 0)
		return;
	greet(d, fd);
	close(fd);
}

static int open_door(struct backend *b, struct door *d)
{
	int r = 0;

	d->fd = d->socket->fd;
	if (d->socket->path)
		r = listen_unix(d->socket->path, 0600, &d->fd);
	if (r < 0) {
		log_error(NULL, "%s: %s", d->socket->path, strerror(-r));
		return r;
	}
	if (d->socket->connected)
		greet(d, d->fd);
	else
		r = loop_add(&b->loop, &d->src, d->fd, EPOLLIN, knock);
	return r;
}

static void probe_stop(struct backend *b)
{
	struct probe *p = b->device;

	for (unsigned i = 0; i < p->n; i++) {
		struct door *d = &p->doors[i];

		loop_del(&d->src);
		close(d->fd);
		if (d->socket->path)
			listen_unlink(d->socket->path);
	}
	free(p);
}

static int probe_start(struct backend *b)
{
	struct probe *p = calloc(1, sizeof(*p));

	b->device = p;
	for (unsigned i = 0; i < b->n_sockets; i++) {
		int r;

		p->doors[i].socket = &b->sockets[i];
		r = open_door(b, &p->doors[i]);
		if (r < 0) {
			probe_stop(b);
			return r;
		}
		p->n++;
	}
	return 0;
}

static int probe_sockets(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result)
{
	const struct backend *b = control_context(call);

	*ret_result = json_object_new_array();
	for (unsigned i = 0; i < b->n_sockets; i++)
		json_object_array_add(*ret_result, json_object_new_string(b->sockets[i].name));
	return 0;
}

static const struct control_method methods[] = { { "sockets", probe_sockets, "" } };

static const char *const features[] = { "one", "two", NULL };

static const struct backend_desc desc = {
	.name = "vhost-user-probe",
	.summary = "Greets its frontends.",
	.type = "probe",
	.features = features,
	.max_sockets = 4,
	.methods = methods,
	.n_methods = array_size(methods),
	.start = probe_start,
	.stop = probe_stop,
};

int main(int argc, char **argv)
{
	return backend_main(&desc, argc, argv);
}
