/* SPDX-License-Identifier: MIT */
#include "render/sockets.h"

#include <json-c/json.h>

#include "model/lab.h"

static void put_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, int64_t n)
{
	json_object_object_add(o, key, json_object_new_int64(n));
}

struct json_object *render_sockets_config(const struct lab *lab, const struct lab_paths *paths)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "journal", paths->hvsock->journal);
	put_number(o, "ports-base", lab->port_base);
	return o;
}

static struct json_object *allowed(const struct vm *vm)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < vm->peers->len; i++)
		json_object_array_add(
			list, json_object_new_int64(((const struct vm *)vm->peers->pdata[i])->cid));
	return list;
}

struct json_object *render_sockets_vm(const struct vm *vm, const struct lab_paths *paths)
{
	const struct vm_paths *p = lab_paths_vm(paths, vm->index);
	struct json_object *o = json_object_new_object();

	put_text(o, "name", vm->name);
	if (vm->sockets == LAB_SOCKETS_HVSOCK)
		put_text(o, "transport", "hvsock");
	else
		put_number(o, "cid", vm->cid);
	put_text(o, "socket-path", p->vsock);
	put_text(o, "uds-path", p->vs);
	if (vm->peers)
		json_object_object_add(o, "allow", allowed(vm));
	return o;
}

struct json_object *render_sockets_forward(const char *id, const char *vm, const struct forward *f)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "id", id);
	put_text(o, "vm", vm);
	put_text(o, "direction", f->to_guest ? "to-guest" : "to-host");
	put_number(o, "guest-port", f->port);
	put_text(o, "host", f->host);
	return o;
}
