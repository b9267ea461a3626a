/* SPDX-License-Identifier: MIT */
#include "run/hotplug_impl.h"

#include <string.h>

#include "render/qemu.h"
#include "run/json.h"

const struct hotplug_verbs hotplug_kinds[HOTPLUG_KINDS] = {
	[HOTPLUG_CHARDEV] = { "chardev", "chardev-add", "chardev-remove" },
	[HOTPLUG_CONNECTED] = { NULL, "query-chardev", NULL }, /* of the chardev before it */
	[HOTPLUG_NETDEV] = { "netdev", "netdev_add", "netdev_del" },
	[HOTPLUG_OBJECT] = { "object", "object-add", "object-del" },
	[HOTPLUG_DEVICE] = { "device", "device_add", "device_del" },
};

/* --- steps --------------------------------------------------------------------------------------------------------- */

/* Takes over id and arguments. */
static struct hotplug_step *add_step(struct hotplug *h, enum hotplug_kind kind, char *id,
				     struct json_object *arguments)
{
	struct hotplug_step *s = g_new0(struct hotplug_step, 1);

	s->kind = kind;
	s->id = id;
	s->arguments = arguments;
	s->part = h->parts;
	g_ptr_array_add(h->steps, s);
	return s;
}

/* What something is called that is below a device.  g_free(). */
static char *below(const char *device, const char *what)
{
	return g_strdup_printf("%s.%s", device, what);
}

struct json_object *hotplug_with_id(const char *id)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "id", id);
	return o;
}

/* {"id","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path"}},"server":false,"reconnect…"}}} */
static struct json_object *socket_chardev(const char *id, const char *path,
					  const struct hotplug_facts *facts)
{
	struct json_object *o = hotplug_with_id(id), *backend = json_object_new_object();
	struct json_object *data = json_object_new_object(), *addr = json_object_new_object();
	struct json_object *where = json_object_new_object();
	const char *member;
	int value;

	json_put_str(where, "path", path);
	json_put_str(addr, "type", "unix");
	json_object_object_add(addr, "data", where);
	json_object_object_add(data, "addr", addr);
	json_put_bool(data, "server", false);
	member = hotplug_reconnect_member(facts, &value);
	json_put_int(data, member, value);
	json_put_str(backend, "type", "socket");
	json_object_object_add(backend, "data", data);
	json_object_object_add(o, "backend", backend);
	return o;
}

static void add_chardev(struct hotplug *h, const char *device, const char *path)
{
	g_autofree char *id = below(device, "chardev");

	h->parts++;
	add_step(h, HOTPLUG_CHARDEV, g_strdup(id), socket_chardev(id, path, h->facts));
	add_step(h, HOTPLUG_CONNECTED, g_strdup(id), NULL);
}

/* {"driver","id","bus"}: the caller adds what else it has. */
static struct json_object *add_device(struct hotplug *h, const char *id, const char *driver,
				      uint64_t window)
{
	struct json_object *o = json_object_new_object();
	const char *bus = hotplug_take_bus(h->facts, window);

	g_assert(bus);
	json_put_str(o, "driver", driver);
	json_put_str(o, "id", id);
	json_put_str(o, "bus", bus);
	add_step(h, HOTPLUG_DEVICE, g_strdup(id), o);
	return o;
}

void hotplug_add_nic(struct hotplug *h, const char *id, const char *socket_path, const char *mac,
		     unsigned mtu)
{
	g_autofree char *chardev = below(id, "chardev"), *netdev = below(id, "netdev");
	struct json_object *o;

	add_chardev(h, id, socket_path);
	o = hotplug_with_id(netdev);
	json_put_str(o, "type", "vhost-user");
	json_put_str(o, "chardev", chardev);
	add_step(h, HOTPLUG_NETDEV, g_strdup(netdev), o);
	o = add_device(h, id, "virtio-net-pci", 0);
	json_put_str(o, "netdev", netdev);
	json_put_str(o, "mac", mac);
	json_put_str(o, "romfile", ""); /* a ROM to boot from comes too late */
	if (hotplug_vectors(h->facts) >= 0)
		json_put_int(o, "vectors", hotplug_vectors(h->facts));
	if (mtu)
		json_put_int(o, "host_mtu", mtu);
}

void hotplug_add_vsock(struct hotplug *h, const char *id, const char *socket_path)
{
	g_autofree char *chardev = below(id, "chardev");
	struct json_object *o;

	add_chardev(h, id, socket_path);
	o = add_device(h, id, "vhost-user-vsock-pci", 0);
	json_put_str(o, "chardev", chardev);
	if (hotplug_vectors(h->facts) >= 0)
		json_put_int(o, "vectors", hotplug_vectors(h->facts));
}

/* The file as an object of QEMU's, and the device that is made of it: the last two steps. */
static void add_memory(struct hotplug *h, const char *id, const char *file, uint64_t size,
		       const char *driver, uint64_t window)
{
	g_autofree char *object = below(id, "memory");
	struct json_object *o = hotplug_with_id(object);

	h->parts++;
	json_put_str(o, "qom-type", "memory-backend-file");
	json_put_str(o, "mem-path", file);
	json_put_int(o, "size", (int64_t)size);
	json_put_bool(o, "share", true);
	add_step(h, HOTPLUG_OBJECT, g_strdup(object), o);
	o = add_device(h, id, driver, window);
	json_put_str(o, "memdev", object);
}

void hotplug_add_ivshmem(struct hotplug *h, const char *id, const char *file, uint64_t size)
{
	add_memory(h, id, file, size, "ivshmem-plain", size);
}

void hotplug_add_served(struct hotplug *h, const char *id, const char *socket_path, uint64_t size)
{
	g_autofree char *chardev = below(id, "chardev");
	struct json_object *o;

	add_chardev(h, id, socket_path);
	o = add_device(h, id, RENDER_PMEM_DEVICE, 0);
	json_put_str(o, "chardev", chardev);
	json_put_int(o, "size", (int64_t)size);
}

void hotplug_add_pmem(struct hotplug *h, const char *id, const char *file, uint64_t size)
{
	add_memory(h, id, file, size, "virtio-pmem-pci", 0);
	for (guint i = h->steps->len - 2; i < h->steps->len; i++)
		((struct hotplug_step *)h->steps->pdata[i])->permanent = true;
}

static struct json_object *list_steps(const struct hotplug *h, bool there)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < h->steps->len; i++) {
		const struct hotplug_step *s = h->steps->pdata[i];
		struct json_object *o;

		if (!hotplug_kinds[s->kind].remove || s->permanent || (there && !s->there))
			continue;
		o = json_object_new_object();
		json_put_str(o, "kind", hotplug_kinds[s->kind].word);
		json_put_str(o, "id", s->id);
		json_put_int(o, "part", s->part);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *hotplug_steps(const struct hotplug *h)
{
	return list_steps(h, false);
}

struct json_object *hotplug_left(const struct hotplug *h)
{
	struct json_object *list = list_steps(h, true);

	if (json_object_array_length(list) > 0)
		return list;
	json_object_put(list);
	return NULL;
}

void hotplug_read_steps(struct hotplug *h, struct json_object *list)
{
	g_ptr_array_set_size(h->steps, 0);
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *word = json_str(o, "kind"), *id = json_str(o, "id");

		for (unsigned kind = 0; word && id && kind < HOTPLUG_KINDS; kind++) {
			struct hotplug_step *s;

			if (g_strcmp0(hotplug_kinds[kind].word, word) != 0)
				continue;
			s = add_step(h, (enum hotplug_kind)kind, g_strdup(id), NULL);
			s->part = (unsigned)json_int(o, "part", 0);
			s->there = true;
		}
	}
}
