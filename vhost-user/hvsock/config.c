/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "log.h"
#include "ports.h"

#define BUFFER_BYTES_MAX (1ull << 40)

static int wrong(char why[CONFIG_WHY_MAX], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int wrong(char why[CONFIG_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, CONFIG_WHY_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int read_number(const char *key, struct json_object *value, uint64_t low, uint64_t high,
		       uint64_t *ret, char *why)
{
	bool is_int = json_object_is_type(value, json_type_int);
	bool negative = is_int && json_object_get_int64(value) < 0;
	uint64_t n = is_int ? json_object_get_uint64(value) : 0;

	if (!is_int)
		return wrong(why, "%s: not a whole number", key);
	if (negative || n < low || n > high)
		return wrong(why, "%s: outside %" PRIu64 "..%" PRIu64, key, low, high);
	*ret = n;
	return 0;
}

static int read_u32(const char *key, struct json_object *value, uint32_t low, uint32_t high,
		    uint32_t *ret, char *why)
{
	uint64_t n = 0;
	int r = read_number(key, value, low, high, &n, why);

	if (r == 0)
		*ret = (uint32_t)n;
	return r;
}

static int read_string(const char *key, struct json_object *value, const char **ret, char *why)
{
	const char *s;

	if (!json_object_is_type(value, json_type_string))
		return wrong(why, "%s: not a string", key);
	s = json_object_get_string(value);
	if (!*s || strlen(s) != (size_t)json_object_get_string_len(value))
		return wrong(why, "%s: empty, or with a NUL in it", key);
	*ret = s;
	return 0;
}

/* ---- a VM ---- */

static int read_limits(struct json_object *o, struct hv_limits *limits, char *why)
{
	int r = 0;

	if (!json_object_is_type(o, json_type_object))
		return wrong(why, "limits: not an object");
	json_object_object_foreach(o, key, value)
	{
		if (strcmp(key, "connections") == 0)
			r = read_u32("limits/connections", value, 1, HV_CONNECTIONS_MAX,
				     &limits->connections, why);
		else if (strcmp(key, "connects-per-second") == 0)
			r = read_u32("limits/connects-per-second", value, 0, UINT32_MAX,
				     &limits->connects_per_second, why);
		else if (strcmp(key, "buffer-bytes") == 0)
			r = read_number("limits/buffer-bytes", value, 1, BUFFER_BYTES_MAX,
					&limits->buffer_bytes, why);
		else
			r = wrong(why,
				  "limits/%.32s: not one of connections, connects-per-second, "
				  "buffer-bytes",
				  key);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_allow(struct json_object *o, struct config_vm *c, char *why)
{
	size_t n;
	int r = 0;

	if (json_object_is_type(o, json_type_null))
		return 0;
	if (!json_object_is_type(o, json_type_array))
		return wrong(why, "allow: neither null nor an array of CIDs");
	n = json_object_array_length(o);
	if (n > array_size(c->allow))
		return wrong(why, "allow: more than %zu CIDs", array_size(c->allow));
	for (size_t i = 0; i < n && r == 0; i++)
		r = read_u32("allow", json_object_array_get_idx(o, i), HV_CID_MIN, HV_CID_MAX,
			     &c->allow[i], why);
	c->vm.vm.allow_listed = true;
	c->vm.vm.allow = c->allow;
	c->vm.vm.n_allow = (unsigned)n;
	return r;
}

static int read_transport(struct json_object *o, bool *ret_hvsock, char *why)
{
	const char *text = "";
	int r = read_string("transport", o, &text, why);

	if (r < 0)
		return r;
	*ret_hvsock = strcmp(text, "hvsock") == 0;
	if (!*ret_hvsock && strcmp(text, "vsock") != 0)
		return wrong(why, "transport: neither vsock nor hvsock");
	return 0;
}

static int read_vm_member(struct config_vm *c, const char *key, struct json_object *value,
			  char *why)
{
	struct host_vm_config *vm = &c->vm;

	if (strcmp(key, "name") == 0)
		return read_string(key, value, &vm->vm.name, why);
	if (strcmp(key, "cid") == 0)
		return read_u32(key, value, HV_CID_MIN, HV_CID_MAX, &vm->vm.cid, why);
	if (strcmp(key, "socket-path") == 0)
		return read_string(key, value, &vm->socket_path, why);
	if (strcmp(key, "transport") == 0)
		return read_transport(value, &vm->hvsock, why);
	if (strcmp(key, "uds-path") == 0)
		return read_string(key, value, &vm->uds_path, why);
	if (strcmp(key, "limits") == 0)
		return read_limits(value, &vm->vm.limits, why);
	if (strcmp(key, "allow") == 0)
		return read_allow(value, c, why);
	return wrong(why,
		     "%.32s: not one of name, cid, socket-path, transport, uds-path, limits, allow",
		     key);
}

/* What a VM needs depends on how its guest is reached. */
static int check_vm(const struct host_vm_config *vm, char *why)
{
	if (vm->hvsock && vm->vm.cid)
		return wrong(why, "cid: a guest of Hyper-V sockets has none");
	if (vm->hvsock && vm->vm.allow_listed)
		return wrong(why, "allow: a guest of Hyper-V sockets reaches no other");
	if (vm->hvsock && (!vm->vm.name || !vm->socket_path))
		return wrong(why, "a VM with Hyper-V sockets needs name and socket-path");
	if (!vm->hvsock && (!vm->vm.name || !vm->vm.cid || !vm->socket_path))
		return wrong(why, "a VM needs name, cid and socket-path");
	if (vm->uds_path && strlen(vm->uds_path) > HYBRID_PATH_MAX)
		return wrong(why, "uds-path: longer than %zu bytes", HYBRID_PATH_MAX);
	return 0;
}

int config_vm_read(struct json_object *o, struct config_vm *ret_vm, char why[CONFIG_WHY_MAX])
{
	*ret_vm = (struct config_vm){ .vm.fd = -1 };
	if (!json_object_is_type(o, json_type_object))
		return wrong(why, "not an object");
	json_object_object_foreach(o, key, value)
	{
		int r = read_vm_member(ret_vm, key, value, why);

		if (r < 0)
			return r;
	}
	return check_vm(&ret_vm->vm, why);
}

/* ---- a forward ---- */

/* A number, or a string: a number, a GUID, a word. */
static int read_port(const char *key, struct json_object *value, uint32_t base, uint32_t *ret,
		     char *why)
{
	const char *text = "";
	int r;

	if (json_object_is_type(value, json_type_int))
		return read_u32(key, value, 0, UINT32_MAX - 1, ret, why);
	r = read_string(key, value, &text, why);
	if (r == 0 && (ports_parse(base, text, ret) < 0 || *ret == UINT32_MAX))
		r = wrong(why, "%s: neither a port's number, nor its GUID, nor a word for it", key);
	return r;
}

static int read_direction(const char *key, struct json_object *value, bool *ret_to_guest, char *why)
{
	const char *text = "";
	int r = read_string(key, value, &text, why);

	if (r < 0)
		return r;
	*ret_to_guest = strcmp(text, "to-guest") == 0;
	if (!*ret_to_guest && strcmp(text, "to-host") != 0)
		return wrong(why, "%s: neither to-guest nor to-host", key);
	return 0;
}

static int read_host(const char *key, struct json_object *value, struct target *ret, char *why)
{
	const char *text = "", *reason = "";
	int r = read_string(key, value, &text, why);

	if (r == 0 && target_parse(text, ret, &reason) < 0)
		r = wrong(why, "%s: %s", key, reason);
	return r;
}

/* Members that every forward has. */
enum { SEEN_VM = 1, SEEN_DIRECTION = 2, SEEN_PORT = 4, SEEN_HOST = 8, SEEN_ALL = 15 };

static int read_forward_member(struct config_forward *c, const char *key, struct json_object *value,
			       uint32_t base, unsigned *seen, char *why)
{
	struct forward_config *f = &c->forward;

	if (strcmp(key, "id") == 0)
		return read_string(key, value, &f->id, why);
	if (strcmp(key, "vm") == 0) {
		*seen |= SEEN_VM;
		return read_string(key, value, &c->vm, why);
	}
	if (strcmp(key, "direction") == 0) {
		*seen |= SEEN_DIRECTION;
		return read_direction(key, value, &f->to_guest, why);
	}
	if (strcmp(key, "guest-port") == 0) {
		*seen |= SEEN_PORT;
		return read_port(key, value, base, &f->guest_port, why);
	}
	if (strcmp(key, "host") == 0) {
		*seen |= SEEN_HOST;
		return read_host(key, value, &f->target, why);
	}
	if (strcmp(key, "may-fail") == 0) {
		c->may_fail = json_object_get_boolean(value);
		return json_object_is_type(value, json_type_boolean) ?
			       0 :
			       wrong(why, "may-fail: neither true nor false");
	}
	return wrong(why, "%.32s: not one of id, vm, direction, guest-port, host, may-fail", key);
}

int config_forward_read(struct json_object *o, uint32_t ports_base,
			struct config_forward *ret_forward, char why[CONFIG_WHY_MAX])
{
	unsigned seen = 0;

	*ret_forward = (struct config_forward){ 0 };
	if (!json_object_is_type(o, json_type_object))
		return wrong(why, "not an object");
	json_object_object_foreach(o, key, value)
	{
		int r = read_forward_member(ret_forward, key, value, ports_base, &seen, why);

		if (r < 0)
			return r;
	}
	if (seen != SEEN_ALL)
		return wrong(why, "a forward needs vm, direction, guest-port and host");
	if (!ret_forward->forward.to_guest && ret_forward->forward.target.family != AF_UNIX &&
	    target_port(&ret_forward->forward.target) == 0)
		return wrong(why, "host: port 0 is for listening");
	return 0;
}

/* ---- the file ---- */

static int read_array(const char *key, struct json_object *value, struct json_object **ret_array,
		      unsigned *ret_n, char *why)
{
	if (!json_object_is_type(value, json_type_array))
		return wrong(why, "%s: not an array", key);
	*ret_array = value;
	*ret_n = (unsigned)json_object_array_length(value);
	return 0;
}

static int read_member(struct config *c, const char *key, struct json_object *value, char *why)
{
	if (strcmp(key, "vms") == 0)
		return read_array(key, value, &c->vms, &c->n_vms, why);
	if (strcmp(key, "forwards") == 0)
		return read_array(key, value, &c->forwards, &c->n_forwards, why);
	if (strcmp(key, "journal") == 0)
		return read_string(key, value, &c->journal, why);
	if (strcmp(key, "ports-base") == 0)
		return read_u32(key, value, 0, PORTS_BASE_MAX, &c->ports_base, why);
	return wrong(why, "%.32s: not one of vms, forwards, journal, ports-base", key);
}

/* Every VM and forward, once ports-base is known. */
static int check_elements(const struct config *c, const char *path)
{
	char why[CONFIG_WHY_MAX];

	for (unsigned i = 0; i < c->n_vms; i++) {
		struct config_vm vm;

		if (config_vm_read(json_object_array_get_idx(c->vms, i), &vm, why) < 0) {
			log_error(NULL, "%s: /vms/%u/%s", path, i, why);
			return -EINVAL;
		}
	}
	for (unsigned i = 0; i < c->n_forwards; i++) {
		struct config_forward f;

		if (config_forward_read(json_object_array_get_idx(c->forwards, i), c->ports_base,
					&f, why) < 0) {
			log_error(NULL, "%s: /forwards/%u/%s", path, i, why);
			return -EINVAL;
		}
	}
	return 0;
}

int config_read(struct json_object *root, const char *path, struct config *ret_config)
{
	struct config c = { .ports_base = PORTS_BASE_DEFAULT };
	char why[CONFIG_WHY_MAX];
	int r = 0;

	if (root) {
		json_object_object_foreach(root, key, value)
		{
			r = read_member(&c, key, value, why);
			if (r < 0) {
				log_error(NULL, "%s: /%s", path, why);
				return r;
			}
		}
		r = check_elements(&c, path);
	}
	if (r == 0)
		*ret_config = c;
	return r;
}

void config_vm(const struct config *c, unsigned i, struct config_vm *ret_vm)
{
	char why[CONFIG_WHY_MAX];

	(void)config_vm_read(json_object_array_get_idx(c->vms, i), ret_vm, why);
}

void config_forward(const struct config *c, unsigned i, struct config_forward *ret_forward)
{
	char why[CONFIG_WHY_MAX];

	(void)config_forward_read(json_object_array_get_idx(c->forwards, i), c->ports_base,
				  ret_forward, why);
}
