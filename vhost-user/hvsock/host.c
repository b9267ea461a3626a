/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "listen.h"
#include "port_vmbus.h"
#include "port_vsock.h"
#include "request.h"

/* Only its owner may be a VM's QEMU. */
#define SOCKET_MODE 0600

static void tell(const struct host_vm *vm, const char *state)
{
	struct host *host = vm->host;

	if (host->event)
		host->event(host, hv_vm_name(vm->vm), state);
}

static void on_vm_state(struct hv_vm *vm, void *context)
{
	const struct host_vm *hvm = hv_vm_data(vm);

	if (hvm) /* not while it is being made */
		tell(hvm, hv_vm_state(vm));
}

static const struct hv_host_ops host_ops = {
	.request = request_new,
	.gone = request_gone,
	.vm_state = on_vm_state,
};

int host_init(struct host *host, const char *journal_path)
{
	return hv_relay_new(host->loop, &host_ops, host, journal_path, &host->relay);
}

struct host_vm *host_find_vm(const struct host *host, const char *name)
{
	struct hv_vm *vm = hv_vm_find(host->relay, name);

	return vm ? hv_vm_data(vm) : NULL;
}

/* The ways into a guest. */
struct transport {
	int (*open)(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm);
	int (*adopt)(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm);
};

static const struct transport vsock = { port_vsock_open, port_vsock_adopt };
static const struct transport hvsock = { port_vmbus_open, port_vmbus_adopt };

/* A VM of the relay's at the socket that was asked for. */
static int open_port(struct host *host, const struct host_vm_config *c, struct hv_vm **ret_vm)
{
	const struct transport *t = c->hvsock ? &hvsock : &vsock;
	int fd = c->fd, r = 0;

	if (!c->socket_path)
		return c->fd_connected ? t->adopt(host->relay, &c->vm, fd, ret_vm) :
					 t->open(host->relay, &c->vm, NULL, fd, ret_vm);
	r = listen_unix(c->socket_path, SOCKET_MODE, &fd);
	if (r < 0)
		return r;
	r = t->open(host->relay, &c->vm, c->socket_path, fd, ret_vm);
	if (r < 0)
		listen_unlink(c->socket_path);
	return r;
}

static void vm_free(struct host_vm *vm)
{
	hybrid_close(&vm->hybrid);
	request_refuse_all(vm);
	if (vm->vm)
		hv_vm_close(vm->vm);
	free(vm->socket_path);
	free(vm);
}

int host_add_vm(struct host *host, const struct host_vm_config *config, struct host_vm **ret_vm,
		const char **ret_where)
{
	struct host_vm *vm = calloc(1, sizeof(*vm));
	int r = -ENOMEM;

	*ret_where = NULL;
	if (vm && config->socket_path)
		vm->socket_path = strdup(config->socket_path);
	if (!vm || (config->socket_path && !vm->socket_path)) {
		if (!config->socket_path)
			close(config->fd);
		free(vm);
		return r;
	}
	vm->host = host;
	*ret_where = config->socket_path;
	r = open_port(host, config, &vm->vm);
	if (r == 0 && config->uds_path) {
		*ret_where = config->uds_path;
		r = hybrid_open(&vm->hybrid, host->loop, vm->vm, config->uds_path);
	}
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	hv_vm_set_data(vm->vm, vm);
	tell(vm, "added");
	*ret_vm = vm;
	return 0;
}

void host_remove_vm(struct host_vm *vm)
{
	while (vm->forwards)
		forward_remove(vm->forwards);
	tell(vm, "removed");
	vm_free(vm);
}

/* The relay outlives the VMs by the work that they have deferred. */
struct relay_end {
	struct loop_work work;
	struct hv_relay *relay;
};

static void on_relay_end(struct loop_work *work)
{
	struct relay_end *end = container_of(work, struct relay_end, work);

	hv_relay_free(end->relay);
	free(end);
}

void host_done(struct host *host)
{
	struct relay_end *end = calloc(1, sizeof(*end));
	struct hv_vm *vm;

	while ((vm = hv_vm_next(host->relay, NULL)))
		host_remove_vm(hv_vm_data(vm));
	if (!end)
		return; /* the process ends anyway */
	end->relay = host->relay;
	loop_defer(host->loop, &end->work, on_relay_end);
}
