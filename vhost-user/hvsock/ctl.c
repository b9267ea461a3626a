/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "backend.h"
#include "base.h"
#include "config.h"
#include "host.h"
#include "ports.h"

static struct host *host_of(const struct control_call *call)
{
	struct backend *b = control_context(call);

	return b->device;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

/* The word for a port, if it has one. */
static void add_service(struct json_object *o, const struct host *host, uint32_t port)
{
	const char *word = ports_name(host->ports_base, port);

	if (word)
		add_string(o, "service", word);
}

/* A VM by the member `key`: if that is absent *ret_vm stays as it was. */
static int vm_argument(struct control_call *call, struct json_object *params, const char *key,
		       struct host_vm **ret_vm)
{
	const char *name = NULL;
	int r = control_string(call, params, key, &name);

	if (r < 0 || !name)
		return r;
	*ret_vm = host_find_vm(host_of(call), name);
	if (!*ret_vm)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no VM \"%s\"", name);
	return 0;
}

void ctl_vm_changed(struct control *control, const char *name, const char *state)
{
	control_notify_state(control, "vm", name, state);
}

/* ---- VMs ---- */

static int vm_add_failed(struct control_call *call, const struct config_vm *c, const char *where,
			 int r)
{
	switch (r) {
	case -EEXIST:
		if (c->vm.vm.cid == 0)
			return control_error(call, CONTROL_ERROR_EXISTS,
					     "there is a VM of name \"%s\"", c->vm.vm.name);
		return control_error(call, CONTROL_ERROR_EXISTS,
				     "there is a VM of name \"%s\" or CID %u", c->vm.vm.name,
				     c->vm.vm.cid);
	case -ENOSPC:
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d VMs", HV_VMS_MAX);
	case -EINVAL:
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "a VM's name is 1 to %d of A-Z a-z 0-9 . _ : -",
				     HV_VM_NAME_MAX - 1);
	default:
		return control_error(call, CONTROL_ERROR_FAILED, "%s: %s", where ? where : "VM",
				     strerror(-r));
	}
}

static int vm_add(struct control_call *call, struct json_object *params,
		  struct json_object **ret_result)
{
	struct config_vm c;
	char why[CONFIG_WHY_MAX];
	const char *where;
	struct host_vm *vm;
	int r;

	if (config_vm_read(params, &c, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	r = host_add_vm(host_of(call), &c.vm, &vm, &where);
	return r < 0 ? vm_add_failed(call, &c, where, r) : 0;
}

static int vm_remove(struct control_call *call, struct json_object *params,
		     struct json_object **ret_result)
{
	struct host_vm *vm = NULL;
	int r = vm_argument(call, params, "name", &vm);

	if (r == 0)
		host_remove_vm(vm);
	return r;
}

static struct json_object *limits_json(const struct hv_limits *l)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "connections", l->connections);
	add_number(o, "connects-per-second", l->connects_per_second);
	add_number(o, "buffer-bytes", l->buffer_bytes);
	return o;
}

static struct json_object *vm_json(const struct host_vm *vm)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "name", hv_vm_name(vm->vm));
	if (hv_vm_cid(vm->vm))
		add_number(o, "cid", hv_vm_cid(vm->vm));
	add_string(o, "transport", hv_vm_transport(vm->vm));
	add_string(o, "state", hv_vm_state(vm->vm));
	if (vm->socket_path)
		add_string(o, "socket-path", vm->socket_path);
	if (vm->hybrid.path[0])
		add_string(o, "uds-path", vm->hybrid.path);
	json_object_object_add(o, "limits", limits_json(hv_vm_limits(vm->vm)));
	add_number(o, "connections", hv_vm_connections(vm->vm));
	add_number(o, "buffered", hv_vm_buffered(vm->vm));
	return o;
}

static int vm_list(struct control_call *call, struct json_object *params,
		   struct json_object **ret_result)
{
	const struct host *host = host_of(call);
	struct json_object *vms = json_object_new_array();

	for (struct hv_vm *vm = hv_vm_next(host->relay, NULL); vm; vm = hv_vm_next(host->relay, vm))
		json_object_array_add(vms, vm_json(hv_vm_data(vm)));
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "vms", vms);
	return 0;
}

/* ---- forwards ---- */

static struct json_object *forward_json(const struct forward *f)
{
	const struct client_stats *s = &f->clients.stats;
	struct json_object *o = json_object_new_object();
	char text[TARGET_TEXT_MAX];

	target_format(&f->target, text);
	add_string(o, "id", f->id);
	add_string(o, "vm", hv_vm_name(f->vm->vm));
	add_string(o, "direction", f->to_guest ? "to-guest" : "to-host");
	add_number(o, "guest-port", f->guest_port);
	add_service(o, f->vm->host, f->guest_port);
	add_string(o, "host", text);
	if (f->to_guest) {
		uint64_t ended = s->clients_connected + s->clients_refused + s->clients_gone;

		add_number(o, "connected", s->clients_connected);
		add_number(o, "failed", s->clients_refused + s->clients_gone);
		add_number(o, "waiting", s->clients - min(ended, s->clients));
	} else {
		add_number(o, "connected", f->n_connected);
		add_number(o, "failed", f->n_failed);
		add_number(o, "waiting", f->n_requests - f->n_connected - f->n_failed);
	}
	return o;
}

static int forward_add_failed(struct control_call *call, const struct config_forward *c, int r)
{
	char text[TARGET_TEXT_MAX];

	target_format(&c->forward.target, text);
	switch (r) {
	case -EEXIST:
		return control_error(call, CONTROL_ERROR_EXISTS,
				     "there is a forward of that id, or of that VM and port");
	case -ENOSPC:
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d forwards",
				     FORWARDS_MAX);
	case -EINVAL:
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "id: 1 to %d bytes, no control characters",
				     FORWARD_ID_MAX - 1);
	default:
		return control_error(call, CONTROL_ERROR_FAILED, "%s: %s", text, strerror(-r));
	}
}

static int method_forward_add(struct control_call *call, struct json_object *params,
			      struct json_object **ret_result)
{
	struct host *host = host_of(call);
	struct host_vm *vm = NULL;
	struct config_forward c;
	char why[CONFIG_WHY_MAX];
	struct forward *f;
	int r;

	if (config_forward_read(params, host->ports_base, &c, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	r = vm_argument(call, params, "vm", &vm);
	if (r < 0)
		return r;
	r = forward_add(vm, &c.forward, &f);
	if (r < 0)
		return forward_add_failed(call, &c, r);
	*ret_result = forward_json(f);
	return 0;
}

static int method_forward_remove(struct control_call *call, struct json_object *params,
				 struct json_object **ret_result)
{
	const char *id = NULL;
	struct forward *f;
	int r = control_string(call, params, "id", &id);

	if (r < 0)
		return r;
	f = forward_find(host_of(call), id);
	if (!f)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no forward \"%s\"", id);
	forward_remove(f);
	return 0;
}

static int forward_list(struct control_call *call, struct json_object *params,
			struct json_object **ret_result)
{
	const struct host *host = host_of(call);
	struct json_object *forwards = json_object_new_array();

	for (struct hv_vm *vm = hv_vm_next(host->relay, NULL); vm;
	     vm = hv_vm_next(host->relay, vm)) {
		const struct host_vm *hvm = hv_vm_data(vm);

		for (const struct forward *f = hvm->forwards; f; f = f->next)
			json_object_array_add(forwards, forward_json(f));
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "forwards", forwards);
	return 0;
}

/* ---- connections ---- */

static struct json_object *connection_json(const struct host *host, const struct hv_conn *conn)
{
	struct json_object *o = json_object_new_object();
	bool to_guest = hv_conn_to_guest(conn);

	add_string(o, "vm", hv_vm_name(hv_conn_vm(conn)));
	add_string(o, "type", hv_conn_type(conn) == SOCK_STREAM ? "stream" : "seqpacket");
	add_string(o, "state", hv_conn_state(conn));
	add_string(o, "direction", to_guest ? "to-guest" : "from-guest");
	add_number(o, "guest-port", hv_conn_guest_port(conn));
	add_number(o, "peer-cid", hv_conn_cid(conn));
	add_number(o, "peer-port", hv_conn_port(conn));
	add_service(o, host, to_guest ? hv_conn_guest_port(conn) : hv_conn_port(conn));
	add_number(o, "bytes-from-guest", hv_conn_bytes_from_guest(conn));
	add_number(o, "bytes-to-guest", hv_conn_bytes_to_guest(conn));
	add_number(o, "buffered", hv_conn_buffered(conn));
	return o;
}

static void list_connections(const struct host *host, const struct hv_vm *vm,
			     struct json_object *connections, uint64_t *total)
{
	for (struct hv_conn *c = hv_conn_next(vm, NULL); c; c = hv_conn_next(vm, c))
		if ((*total)++ < CTL_CONNECTIONS_MAX)
			json_object_array_add(connections, connection_json(host, c));
}

static int connections_list(struct control_call *call, struct json_object *params,
			    struct json_object **ret_result)
{
	const struct host *host = host_of(call);
	struct json_object *connections;
	struct host_vm *only = NULL;
	uint64_t total = 0;
	int r = vm_argument(call, params, "vm", &only);

	if (r < 0)
		return r;
	connections = json_object_new_array();
	for (struct hv_vm *vm = hv_vm_next(host->relay, NULL); vm; vm = hv_vm_next(host->relay, vm))
		if (!only || only->vm == vm)
			list_connections(host, vm, connections, &total);
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "connections", connections);
	add_number(*ret_result, "total", total);
	return 0;
}

/* ---- counters ---- */

static struct json_object *counters_json(const struct hv_stats *s)
{
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < HV_N_COUNTERS; i++)
		add_number(o, hv_counters[i].name, hv_counter_value(s, &hv_counters[i]));
	return o;
}

static struct json_object *clients_json(const struct client_stats *s)
{
	struct json_object *o = json_object_new_object();

#define X(name, text) add_number(o, #name, s->name);
	CLIENT_COUNTERS(X)
#undef X
	return o;
}

static int stats(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	const struct host *host = host_of(call);
	struct json_object *vms;
	struct host_vm *only = NULL;
	int r = vm_argument(call, params, "vm", &only);

	if (r < 0)
		return r;
	vms = json_object_new_array();
	for (struct hv_vm *vm = hv_vm_next(host->relay, NULL); vm;
	     vm = hv_vm_next(host->relay, vm)) {
		const struct host_vm *hvm = hv_vm_data(vm);
		struct json_object *o;

		if (only && only != hvm)
			continue;
		o = json_object_new_object();
		add_string(o, "name", hv_vm_name(vm));
		json_object_object_add(o, "counters", counters_json(hv_vm_stats(vm)));
		json_object_object_add(o, "clients", clients_json(&hvm->hybrid.clients.stats));
		json_object_array_add(vms, o);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "vms", vms);
	return 0;
}

const struct control_method ctl_methods[] = {
	{ "vm.add", vm_add, "name,cid?,socket-path,transport?,uds-path?,limits?,allow?" },
	{ "vm.remove", vm_remove, "name" },
	{ "vm.list", vm_list, "" },
	{ "forward.add", method_forward_add, "id?,vm,direction,guest-port,host" },
	{ "forward.remove", method_forward_remove, "id" },
	{ "forward.list", forward_list, "" },
	{ "connections.list", connections_list, "vm?" },
	{ "stats", stats, "vm?" },
};
const unsigned ctl_n_methods = array_size(ctl_methods);
