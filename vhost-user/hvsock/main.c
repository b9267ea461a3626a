/* SPDX-License-Identifier: MIT */
/* vhost-user-hvsock: sockets between guests and the host, and among guests. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "base.h"
#include "config.h"
#include "ctl.h"
#include "host.h"
#include "log.h"

/* P of a VM whose vhost-user socket was given on the command line. */
#define UDS_SUFFIX ".vs"

static void on_event(struct host *host, const char *vm_name, const char *state)
{
	const struct backend *b = host->context;

	ctl_vm_changed(b->control, vm_name, state);
}

/* What is wrong with a VM, beyond what the system says of its sockets. */
static const char *vm_error(int r)
{
	switch (r) {
	case -EEXIST:
		return "there is a VM of that name or CID";
	case -EINVAL:
		return "a VM's name is 1 to 63 of A-Z a-z 0-9 . _ : -";
	case -ENOSPC:
		return "too many VMs";
	default:
		return strerror(-r);
	}
}

static int add_vm(struct host *host, const struct host_vm_config *c)
{
	const char *where;
	struct host_vm *vm;
	int r = host_add_vm(host, c, &vm, &where);

	if (r < 0)
		log_error(c->vm.name, "%s: %s", where ? where : "VM", vm_error(r));
	return r;
}

/* The VMs of the command line have CIDs in order. */
static int add_sockets(struct host *host, const struct backend *b)
{
	int r = 0;

	for (unsigned i = 0; i < b->n_sockets && r == 0; i++) {
		const struct backend_socket *s = &b->sockets[i];
		char uds_path[HYBRID_PATH_MAX + 2];
		struct host_vm_config c = {
			.vm = { .name = s->name, .cid = HV_CID_MIN + i },
			.socket_path = s->path,
			.fd = s->fd,
			.fd_connected = s->connected,
		};

		if (s->path) {
			(void)snprintf(uds_path, sizeof(uds_path), "%s" UDS_SUFFIX, s->path);
			c.uds_path = uds_path;
		}
		r = add_vm(host, &c);
	}
	return r;
}

static int add_forward(struct host *host, const struct config_forward *c)
{
	struct host_vm *vm = host_find_vm(host, c->vm);
	char text[TARGET_TEXT_MAX];
	struct forward *f;
	int r;

	target_format(&c->forward.target, text);
	if (!vm) {
		log_error(c->vm, "forward %s: no VM of that name", text);
		return -ENOENT;
	}
	r = forward_add(vm, &c->forward, &f);
	if (r < 0)
		log_write(c->may_fail ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, c->vm,
			  "forward %s: %s", text,
			  r == -EEXIST ? "its id, or its VM and port, is taken" : strerror(-r));
	return c->may_fail ? 0 : r;
}

static int add_configured(struct host *host, const struct config *c)
{
	int r = 0;

	for (unsigned i = 0; i < c->n_vms && r == 0; i++) {
		struct config_vm vm;

		config_vm(c, i, &vm);
		r = add_vm(host, &vm.vm);
	}
	for (unsigned i = 0; i < c->n_forwards && r == 0; i++) {
		struct config_forward f;

		config_forward(c, i, &f);
		r = add_forward(host, &f);
	}
	return r;
}

static int hvsock_start(struct backend *b)
{
	static struct host host; /* one per process; the relay's last work runs after stop() */
	struct config c;
	int r = config_read(b->config, b->config_path, &c);

	if (r < 0)
		return r;
	host = (struct host){
		.loop = &b->loop, .ports_base = c.ports_base, .event = on_event, .context = b
	};
	r = host_init(&host, c.journal);
	if (r < 0) {
		log_error(NULL, "%s: %s", c.journal ? c.journal : "relay", strerror(-r));
		return r;
	}
	b->device = &host;
	r = add_sockets(&host, b);
	if (r == 0)
		r = add_configured(&host, &c);
	if (r < 0)
		host_done(&host);
	return r;
}

static void hvsock_stop(struct backend *b)
{
	host_done(b->device);
}

int main(int argc, char **argv)
{
	struct backend_desc desc = {
		.name = "vhost-user-hvsock",
		.summary =
			"Sockets between guests and the host, and among guests, over vhost-user.",
		.type = "vsock",
		.max_sockets = BACKEND_SOCKETS_MAX,
		.methods = ctl_methods,
		.n_methods = ctl_n_methods,
		.start = hvsock_start,
		.stop = hvsock_stop,
	};

	return backend_main(&desc, argc, argv);
}
