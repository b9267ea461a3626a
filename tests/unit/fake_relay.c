/* SPDX-License-Identifier: MIT */
#include "fake_relay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "listen.h"
#include "port_vmbus.h"
#include "port_vsock.h"

struct hv_vm {
	struct hv_relay *relay;
	char name[HV_VM_NAME_MAX];
	uint32_t cid;
	const char *transport;
	struct hv_limits limits;
	const char *state;
	char *path;
	int fd;
	void *data;
	struct hv_vm *next;
};

struct hv_relay {
	struct loop *loop;
	const struct hv_host_ops *ops;
	void *context;
	struct hv_vm *vms;
};

int fake_connect_error;
static struct hv_conn *conns;
struct hv_stats fake_stats;

const struct hv_counter hv_counters[HV_N_COUNTERS] = {
#define X(name, text) { #name, text, offsetof(struct hv_stats, name) },
	HV_COUNTERS(X)
#undef X
};

/* ---- what the test says ---- */

static struct hv_conn *conn_new(struct hv_vm *vm, enum fake_state state, int type)
{
	struct hv_conn *c = calloc(1, sizeof(*c));

	assert(c);
	c->vm = vm;
	c->state = state;
	c->type = type;
	c->fd = -1;
	c->next = conns;
	conns = c;
	return c;
}

struct hv_conn *fake_newest(void)
{
	return conns;
}

unsigned fake_count(enum fake_state state)
{
	unsigned n = 0;

	for (struct hv_conn *c = conns; c; c = c->next)
		n += c->state == state;
	return n;
}

void fake_answer(struct hv_conn *conn, int result)
{
	assert(conn->state == FAKE_ASKED);
	loop_del(&conn->src);
	conn->state = result == 0 ? FAKE_CONNECTED : FAKE_REFUSED;
	conn->done(conn, result, conn->data);
	if (result < 0)
		conn->fd = -1; /* the caller's, still */
}

struct hv_conn *fake_request(struct hv_vm *vm, uint32_t port, int type)
{
	struct hv_conn *c = conn_new(vm, FAKE_REQUESTED, type);

	c->port = port;
	c->guest_port = 1024;
	vm->relay->ops->request(c, vm->relay->context);
	return c;
}

void fake_give_up(struct hv_conn *conn)
{
	assert(conn->state == FAKE_REQUESTED);
	conn->state = FAKE_GONE;
	conn->vm->relay->ops->gone(conn, conn->vm->relay->context);
}

void fake_set_state(struct hv_vm *vm, const char *state)
{
	vm->state = state;
	vm->relay->ops->vm_state(vm, vm->relay->context);
}

void fake_clear(void)
{
	while (conns) {
		struct hv_conn *next = conns->next;

		if (conns->state == FAKE_CONNECTED)
			close(conns->fd);
		free(conns);
		conns = next;
	}
	fake_connect_error = 0;
}

/* ---- relay.h ---- */

static void on_hangup(struct loop_source *src, uint32_t events)
{
	struct hv_conn *c = container_of(src, struct hv_conn, src);

	hv_cancel(c);
	c->done(c, -ECONNABORTED, c->data);
}

int hv_connect(struct hv_vm *vm, uint32_t port, int type, int fd, hv_connected_fn *done, void *data,
	       struct hv_conn **ret_conn)
{
	struct hv_conn *c;

	if (fake_connect_error)
		return fake_connect_error;
	c = conn_new(vm, FAKE_ASKED, type);
	c->guest_port = port;
	c->port = HV_HOST_PORT_MIN;
	c->fd = fd;
	c->done = done;
	c->data = data;
	*ret_conn = c;
	return loop_add(vm->relay->loop, &c->src, fd, 0, on_hangup);
}

void hv_cancel(struct hv_conn *conn)
{
	assert(conn->state == FAKE_ASKED);
	loop_del(&conn->src);
	conn->state = FAKE_CANCELLED;
	conn->fd = -1;
}

int hv_accept(struct hv_conn *conn, int fd)
{
	assert(conn->state == FAKE_REQUESTED);
	assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	conn->state = FAKE_CONNECTED;
	conn->fd = fd;
	return 0;
}

void hv_refuse(struct hv_conn *conn)
{
	assert(conn->state == FAKE_REQUESTED);
	conn->state = FAKE_REFUSED;
}

struct hv_vm *hv_conn_vm(const struct hv_conn *conn)
{
	return conn->vm;
}

int hv_conn_type(const struct hv_conn *conn)
{
	return conn->type;
}

uint32_t hv_conn_guest_port(const struct hv_conn *conn)
{
	return conn->guest_port;
}

uint32_t hv_conn_port(const struct hv_conn *conn)
{
	return conn->port;
}

uint32_t hv_conn_cid(const struct hv_conn *conn)
{
	return HV_CID_HOST;
}

bool hv_conn_to_guest(const struct hv_conn *conn)
{
	return conn->done != NULL;
}

const char *hv_conn_state(const struct hv_conn *conn)
{
	return conn->state == FAKE_CONNECTED ? "connected" : "connecting";
}

uint64_t hv_conn_bytes_from_guest(const struct hv_conn *conn)
{
	return 1;
}

uint64_t hv_conn_bytes_to_guest(const struct hv_conn *conn)
{
	return 2;
}

uint32_t hv_conn_buffered(const struct hv_conn *conn)
{
	return 3;
}

void hv_conn_set_data(struct hv_conn *conn, void *data)
{
	conn->data = data;
}

void *hv_conn_data(const struct hv_conn *conn)
{
	return conn->data;
}

struct hv_conn *hv_conn_next(const struct hv_vm *vm, const struct hv_conn *conn)
{
	struct hv_conn *c = conn ? conn->next : conns;

	while (c && c->vm != vm)
		c = c->next;
	return c;
}

int hv_relay_new(struct loop *loop, const struct hv_host_ops *ops, void *context,
		 const char *journal_path, struct hv_relay **ret_relay)
{
	struct hv_relay *r = calloc(1, sizeof(*r));

	assert(r);
	r->loop = loop;
	r->ops = ops;
	r->context = context;
	*ret_relay = r;
	return 0;
}

void hv_relay_free(struct hv_relay *relay)
{
	assert(!relay->vms);
	free(relay);
}

struct hv_vm *hv_vm_find(const struct hv_relay *relay, const char *name)
{
	struct hv_vm *vm = relay->vms;

	while (vm && strcmp(vm->name, name) != 0)
		vm = vm->next;
	return vm;
}

struct hv_vm *hv_vm_next(const struct hv_relay *relay, const struct hv_vm *vm)
{
	return vm ? vm->next : relay->vms;
}

const char *hv_vm_name(const struct hv_vm *vm)
{
	return vm->name;
}

uint32_t hv_vm_cid(const struct hv_vm *vm)
{
	return vm->cid;
}

const char *hv_vm_state(const struct hv_vm *vm)
{
	return vm->state;
}

const char *hv_vm_transport(const struct hv_vm *vm)
{
	return vm->transport;
}

const struct hv_stats *hv_vm_stats(const struct hv_vm *vm)
{
	return &fake_stats;
}

const struct hv_limits *hv_vm_limits(const struct hv_vm *vm)
{
	return &vm->limits;
}

unsigned hv_vm_connections(const struct hv_vm *vm)
{
	return fake_count(FAKE_CONNECTED);
}

uint64_t hv_vm_buffered(const struct hv_vm *vm)
{
	return 0;
}

void hv_vm_set_data(struct hv_vm *vm, void *data)
{
	vm->data = data;
}

void *hv_vm_data(const struct hv_vm *vm)
{
	return vm->data;
}

void hv_vm_close(struct hv_vm *vm)
{
	struct hv_vm **p = &vm->relay->vms;

	/* The host's side has let go of everything that is not connected. */
	for (struct hv_conn *c = conns; c; c = c->next)
		assert(c->vm != vm || (c->state != FAKE_ASKED && c->state != FAKE_REQUESTED));
	while (*p != vm)
		p = &(*p)->next;
	*p = vm->next;
	close(vm->fd);
	if (vm->path)
		listen_unlink(vm->path);
	free(vm->path);
	free(vm);
}

/* ---- port_vsock.h, port_vmbus.h ---- */

int port_vsock_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm)
{
	struct hv_vm *vm, **p = &relay->vms;
	int r = strchr(config->name, ' ') ? -EINVAL : 0;

	for (vm = relay->vms; vm; vm = vm->next)
		if (strcmp(vm->name, config->name) == 0 || (vm->cid && vm->cid == config->cid))
			r = -EEXIST;
	if (r < 0) {
		close(listen_fd);
		return r;
	}
	vm = calloc(1, sizeof(*vm));
	assert(vm);
	vm->relay = relay;
	(void)snprintf(vm->name, sizeof(vm->name), "%s", config->name);
	vm->cid = config->cid;
	vm->transport = "fake";
	vm->limits = config->limits;
	vm->state = "listening";
	vm->path = path ? strdup(path) : NULL;
	vm->fd = listen_fd;
	while (*p)
		p = &(*p)->next;
	*p = vm;
	*ret_vm = vm;
	return 0;
}

int port_vsock_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm)
{
	return port_vsock_open(relay, config, NULL, fd, ret_vm);
}

int port_vmbus_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm)
{
	int r = port_vsock_open(relay, config, path, listen_fd, ret_vm);

	assert(config->cid == 0);
	if (r == 0)
		(*ret_vm)->transport = "fake hvsock";
	return r;
}

int port_vmbus_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm)
{
	return port_vmbus_open(relay, config, NULL, fd, ret_vm);
}
