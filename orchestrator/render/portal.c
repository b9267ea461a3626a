/* SPDX-License-Identifier: MIT */
#include "render/portal.h"

#include <json-c/json.h>
#include <string.h>

#include "model/lab.h"
#include "render/qemu.h"

static void put_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

static const char *mode_word(bool readonly)
{
	return readonly ? "ro" : "rw";
}

/* The devices of VMs by the door "vhost-user"; NULL: there is none. */
static struct json_object *pmem_devices(const struct lab *lab, const struct portal *portal,
					const struct lab_paths *paths)
{
	struct json_object *list = NULL;

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		const struct portal_access *a = vm_find_portal(vm, portal);
		g_autofree char *path = NULL;
		struct json_object *o;

		if (!a || a->door != PORTAL_DOOR_VHOST_USER)
			continue;
		path = vm_paths_pmem(lab_paths_vm(paths, i), a->index);
		o = json_object_new_object();
		put_text(o, "name", vm->name);
		put_text(o, "socket-path", path);
		put_text(o, "mode", mode_word(a->readonly));
		list = list ? list : json_object_new_array();
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *render_portal_config(const struct lab *lab, const struct portal *portal,
					 const struct lab_paths *paths)
{
	const struct portal_paths *p = lab_paths_portal(paths, portal->index);
	struct json_object *o = json_object_new_object(), *pmem = pmem_devices(lab, portal, paths);

	put_text(o, "name", portal->name);
	put_number(o, "size", portal->size);
	put_text(o, "path", p->memory);
	put_number(o, "vsock-port", portal->port);
	/* Anything else is no PCI BAR. */
	if ((portal->size & (portal->size - 1)) == 0) {
		struct json_object *ivshmem = json_object_new_object();

		put_text(ivshmem, "socket-path", p->ivshmem);
		put_number(ivshmem, "vectors", RENDER_IVSHMEM_VECTORS);
		json_object_object_add(o, "ivshmem", ivshmem);
	}
	if (pmem)
		json_object_object_add(o, "pmem", pmem);
	return o;
}

static struct json_object *client(const char *name, const char *socket_path, bool readonly)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "name", name);
	put_text(o, "socket-path", socket_path);
	put_text(o, "mode", mode_word(readonly));
	return o;
}

struct json_object *render_portal_client(const struct vm *vm, const struct portal_access *access,
					 const struct lab_paths *paths)
{
	const struct vm_paths *p = lab_paths_vm(paths, vm->index);
	g_autofree char *path = vm_paths_vs_port(p, access->portal->port);
	struct json_object *o = client(vm->name, path, access->readonly);

	put_number(o, "linger-ms", RENDER_PORTAL_LINGER_MS);
	if (access->quota)
		put_number(o, "quota", access->quota);
	return o;
}

struct json_object *render_portal_host(const struct portal *portal, const struct lab_paths *paths)
{
	struct json_object *o =
		client(RENDER_PORTAL_HOST, lab_paths_portal(paths, portal->index)->lease, false);

	json_object_object_add(o, "quiesce", json_object_new_boolean(true));
	return o;
}

/* The memory itself. */
static char *memory_text(const struct portal *portal)
{
	GString *out = g_string_new(NULL);

	g_string_append_printf(out, "size %" G_GUINT64_FORMAT "\nport %" G_GUINT32_FORMAT "\n",
			       portal->size, portal->port);
	if (portal->file)
		g_string_append_printf(out, "file %s\n", portal->file);
	return g_string_free(out, FALSE);
}

/* "pmem.n1 ro": a device of the daemon's; "" of a VM by another door. */
static char *device_text(const struct vm *vm, const struct portal_access *access)
{
	if (access->door != PORTAL_DOOR_VHOST_USER)
		return g_strdup("");
	return g_strdup_printf("pmem.%s %s\n", vm->name, mode_word(access->readonly));
}

char *render_portal_text(const struct lab *lab, const struct portal *portal)
{
	g_autofree char *memory = memory_text(portal);
	GString *out = g_string_new(memory);

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct portal_access *a = vm_find_portal(lab_vm(lab, i), portal);
		g_autofree char *device = a ? device_text(lab_vm(lab, i), a) : NULL;

		if (device)
			g_string_append(out, device);
	}
	return g_string_free(out, FALSE);
}

bool render_portal_serves(const char *text, const struct vm *vm, const struct portal_access *access)
{
	g_autofree char *memory = memory_text(access->portal), *device = device_text(vm, access);
	size_t len = strlen(memory);

	return strncmp(text, memory, len) == 0 &&
	       (text[len] == '\0' || g_str_has_prefix(text + len, "pmem.")) &&
	       strstr(text + len, device);
}

void render_portal_accesses(const struct vm *vm, GString *out)
{
	for (unsigned i = 0; i < vm->portals->len; i++) {
		const struct portal_access *a = vm_portal(vm, i);
		const char *name = a->portal->name;
		g_autofree char *text = memory_text(a->portal);
		g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

		g_string_append_printf(out, "portal.%s.door %s\nportal.%s.mode %s\n", name,
				       portal_door_name(a->door), name, mode_word(a->readonly));
		if (a->quota)
			g_string_append_printf(out, "portal.%s.quota %" G_GUINT64_FORMAT "\n", name,
					       a->quota);
		for (char **line = lines; **line; line++)
			g_string_append_printf(out, "portal.%s.%s\n", name, *line);
	}
}
