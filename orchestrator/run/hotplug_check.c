/* SPDX-License-Identifier: MIT */
#include "run/hotplug_check.h"

#include <string.h>

#include "render/qemu.h"
#include "run/json.h"

#define MIB ((guint64)1 << 20)

#define CLASS_PCI_BRIDGE 0x604

/* Ports into which a device can be plugged while the guest runs, and which take exactly one. */
static const struct {
	int64_t vendor, device;
} ports[] = {
	{ 0x1b36, 0x000c }, /* pcie-root-port */
	{ 0x8086, 0x3420 }, /* ioh3420 */
	{ 0x104c, 0x8233 }, /* xio3130-downstream */
};
/* The host bridge of the machine "pc": its own bus takes devices, one a slot. */
#define I440FX_VENDOR 0x8086
#define I440FX_DEVICE 0x1237
#define I440FX_BUS    "pci.0"
#define I440FX_SLOTS  32

const struct hotplug_question hotplug_questions[HOTPLUG_QUESTIONS] = {
	{ "version", "query-version", NULL, NULL },
	{ "kvm", "query-kvm", NULL, NULL },
	{ "memdevs", "query-memdev", NULL, NULL },
	{ "memory-backend", "qom-get", "memory-backend", NULL },
	{ "memory", "qom-get", "memory",
	  NULL }, /* since QEMU 7.1: older ones cannot be asked for slots */
	{ "memory-size", "query-memory-size-summary", NULL, NULL },
	{ "memory-devices", "query-memory-devices", NULL, NULL },
	{ "pci", "query-pci", NULL, NULL },
	{ "served", "device-list-properties", NULL, RENDER_PMEM_DEVICE },
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

static bool is_memory_device(struct json_object *devices, const char *memdev)
{
	g_autofree char *path = g_strdup_printf("/objects/%s", memdev);

	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *o = json_object_array_get_idx(devices, i);
		struct json_object *data = json_member(o, "data", json_type_object);

		if (g_strcmp0(json_str(data, "memdev"), path) == 0)
			return true;
	}
	return false;
}

/* The guest's memory is the machine's backend or, where that is none, the nodes': all that is no memory device. */
static void judge_sharing(struct hotplug_facts *f, struct json_object *answers)
{
	struct json_object *memdevs = json_member(answers, "memdevs", json_type_array);
	struct json_object *devices = json_member(answers, "memory-devices", json_type_array);
	const char *backend = json_str(answers, "memory-backend");
	const char *id = backend && strrchr(backend, '/') ? strrchr(backend, '/') + 1 : "";
	bool any = false;

	f->numa = !*id;
	for (size_t i = 0; memdevs && i < json_object_array_length(memdevs); i++) {
		struct json_object *o = json_object_array_get_idx(memdevs, i);
		const char *name = json_str(o, "id") ? json_str(o, "id") : "";

		if (*id ? strcmp(name, id) != 0 : is_memory_device(devices, name))
			continue;
		any = true;
		if (!json_flag(o, "share", false) && !f->private_memory)
			f->private_memory = g_strdup(name);
	}
	if (!any && !f->private_memory)
		f->private_memory = g_strdup(id);
}

static void read_slots(struct hotplug_facts *f, struct json_object *answers)
{
	struct json_object *memory = json_member(answers, "memory", json_type_object);
	struct json_object *devices = json_member(answers, "memory-devices", json_type_array);
	uint64_t most = (uint64_t)MAX(json_int(memory, "max-size", 0), 0);

	f->slots = (unsigned)CLAMP(json_int(memory, "slots", 0), 0, 65536);
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *data = json_member(json_object_array_get_idx(devices, i),
						       "data", json_type_object);

		f->slots_used++;
		f->slots_bytes += (uint64_t)MAX(json_int(data, "size", 0), 0);
		if (json_str(data, "id"))
			g_ptr_array_add(f->memory_devices, g_strdup(json_str(data, "id")));
	}
	f->room = most > f->memory + f->slots_bytes ? most - f->memory - f->slots_bytes : 0;
}

/* --- PCI ---------------------------------------------------------------------------------------------------------- */

static bool is_port(struct json_object *device)
{
	struct json_object *id = json_member(device, "id", json_type_object);

	for (size_t i = 0; i < G_N_ELEMENTS(ports); i++)
		if (json_int(id, "vendor", -1) == ports[i].vendor &&
		    json_int(id, "device", -1) == ports[i].device)
			return true;
	return false;
}

static void add_bus(struct hotplug_facts *f, const char *name, uint64_t first, uint64_t last)
{
	struct hotplug_bus *b = g_new0(struct hotplug_bus, 1);

	b->name = g_strdup(name);
	b->first = first;
	b->last = last;
	g_ptr_array_add(f->buses, b);
}

static uint64_t room_of(const struct hotplug_bus *b)
{
	return b->last > b->first ? b->last - b->first : 0;
}

/* A BAR lies at a multiple of its size; the firmware gives windows without regard to that. */
static bool has_room(const struct hotplug_bus *b, uint64_t size)
{
	uint64_t skip = size ? (size - b->first % size) % size : 0;

	return size == 0 || (room_of(b) >= skip && room_of(b) - skip >= size - 1);
}

static void bus_free(void *p)
{
	struct hotplug_bus *b = p;

	g_free(b->name);
	g_free(b);
}

static void add_port(struct hotplug_facts *f, const char *name, struct json_object *bus)
{
	struct json_object *range = json_member(bus, "prefetchable_range", json_type_object);
	int64_t base = json_int(range, "base", 0), limit = json_int(range, "limit", 0);
	bool sane = base > 0 && limit > base;

	add_bus(f, name, sane ? (uint64_t)base : 1, sane ? (uint64_t)limit : 0);
}

static void look_at_bus(struct hotplug_facts *f, struct json_object *devices);

/* A bus behind it is one that its firmware or the guest has given a number; until then QEMU does not tell what is on it. */
static void look_at_bridge(struct hotplug_facts *f, struct json_object *device)
{
	struct json_object *bridge = json_member(device, "pci_bridge", json_type_object);
	struct json_object *bus = json_member(bridge, "bus", json_type_object);
	struct json_object *behind = json_member(bridge, "devices", json_type_array);
	const char *name = json_str(device, "qdev_id");
	bool numbered = json_int(bus, "secondary", 0) != 0;

	f->asleep |= is_port(device) && !numbered;
	if (!numbered)
		return;
	if (behind && json_object_array_length(behind) > 0)
		look_at_bus(f, behind);
	else if (is_port(device) && name && *name) /* a bus that has no name cannot be meant */
		add_port(f, name, bus);
}

static void look_at_bus(struct hotplug_facts *f, struct json_object *devices)
{
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		struct json_object *class = json_member(device, "class_info", json_type_object);

		if (json_int(class, "class", 0) == CLASS_PCI_BRIDGE &&
		    json_member(device, "pci_bridge", json_type_object))
			look_at_bridge(f, device);
	}
}

/* The slots of the machine "pc" that nobody is in. */
static void look_at_i440fx(struct hotplug_facts *f, struct json_object *devices)
{
	bool taken[I440FX_SLOTS] = { false }, found = false;

	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		struct json_object *id = json_member(device, "id", json_type_object);
		int64_t slot = json_int(device, "slot", -1);

		if (slot >= 0 && slot < I440FX_SLOTS)
			taken[slot] = true;
		found |= slot == 0 && json_int(id, "vendor", -1) == I440FX_VENDOR &&
			 json_int(id, "device", -1) == I440FX_DEVICE;
	}
	for (unsigned i = 0; found && i < I440FX_SLOTS; i++)
		if (!taken[i])
			add_bus(f, I440FX_BUS, 0, G_MAXUINT64);
}

static void read_pci(struct hotplug_facts *f, struct json_object *buses)
{
	for (size_t i = 0; buses && i < json_object_array_length(buses); i++) {
		struct json_object *bus = json_object_array_get_idx(buses, i);
		struct json_object *devices = json_member(bus, "devices", json_type_array);

		look_at_bus(f, devices);
		if (json_int(bus, "bus", -1) == 0)
			look_at_i440fx(f, devices);
	}
}

/* --- facts -------------------------------------------------------------------------------------------------------- */

struct hotplug_facts *hotplug_facts_new(struct json_object *answers)
{
	struct hotplug_facts *f = g_new0(struct hotplug_facts, 1);
	struct json_object *version = json_member(answers, "version", json_type_object);
	struct json_object *qemu = json_member(version, "qemu", json_type_object);
	struct json_object *size = json_member(answers, "memory-size", json_type_object);

	f->buses = g_ptr_array_new_with_free_func(bus_free);
	f->memory_devices = g_ptr_array_new_with_free_func(g_free);
	f->version = (unsigned)CLAMP(json_int(qemu, "major", 0), 0, 1000) * 100 +
		     (unsigned)CLAMP(json_int(qemu, "minor", 0), 0, 99);
	f->kvm = json_flag(json_member(answers, "kvm", json_type_object), "enabled", false);
	f->serves = json_member(answers, "served", json_type_array) != NULL;
	f->memory = (uint64_t)MAX(json_int(size, "base-memory", 0), 0);
	judge_sharing(f, answers);
	read_slots(f, answers);
	read_pci(f, json_member(answers, "pci", json_type_array));
	return f;
}

void hotplug_facts_free(struct hotplug_facts *f)
{
	if (!f)
		return;
	g_free(f->private_memory);
	g_ptr_array_unref(f->buses);
	g_ptr_array_unref(f->memory_devices);
	g_free(f);
}

const char *hotplug_take_bus(struct hotplug_facts *f, uint64_t window)
{
	struct hotplug_bus *best = NULL;

	for (guint i = 0; i < f->buses->len; i++) {
		struct hotplug_bus *b = f->buses->pdata[i];

		if (!b->taken && has_room(b, window) && (!best || room_of(b) < room_of(best)))
			best = b;
	}
	if (!best)
		return NULL;
	best->taken = true;
	return best->name;
}

bool hotplug_has_memory_device(const struct hotplug_facts *f, const char *id)
{
	for (guint i = 0; i < f->memory_devices->len; i++)
		if (strcmp(f->memory_devices->pdata[i], id) == 0)
			return true;
	return false;
}

const char *hotplug_reconnect_member(const struct hotplug_facts *f, int *ret_value)
{
	*ret_value = f->version >= 902 ? 200 : 1;
	return f->version >= 902 ? "reconnect-ms" : "reconnect";
}

int hotplug_vectors(const struct hotplug_facts *f)
{
	return !f->kvm && f->version < 1000 ? 0 : -1;
}

/* --- what is missing ---------------------------------------------------------------------------------------------- */

static void complain(GString *out, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void complain(GString *out, const char *format, ...)
{
	va_list ap;

	if (out->len > 0)
		g_string_append(out, "; ");
	va_start(ap, format);
	g_string_append_vprintf(out, format, ap);
	va_end(ap);
}

static void want_sharing(GString *out, const struct hotplug_facts *f)
{
	g_autofree char *size = f->memory ?
					g_strdup_printf("%" G_GUINT64_FORMAT "M", f->memory / MIB) :
					g_strdup("SIZE");

	if (!f->private_memory)
		return;
	if (f->numa)
		complain(
			out,
			"the guest's memory is not shared (%s): each -object of its NUMA nodes needs "
			"share=on, as in -object memory-backend-memfd,id=%s,size=%s,share=on",
			*f->private_memory ? f->private_memory : "no backend",
			*f->private_memory ? f->private_memory : "mem0", size);
	else
		complain(
			out,
			"the guest's memory is not shared: start QEMU with "
			"-object memory-backend-memfd,id=mem0,size=%s,share=on -machine memory-backend=mem0",
			size);
}

static unsigned n_buses(const struct hotplug_facts *f, uint64_t window)
{
	unsigned n = 0;

	for (guint i = 0; i < f->buses->len; i++)
		n += has_room(f->buses->pdata[i], window);
	return n;
}

/* Ports that keep room for memory are ports, too.  Twice as much has a multiple of the size in it, wherever it begins. */
static void want_buses(GString *out, const struct hotplug_facts *f, const struct hotplug_need *need)
{
	g_autoptr(GString) words = g_string_new(NULL);
	unsigned there = n_buses(f, 0), roomy = n_buses(f, need->window);
	unsigned windows = need->windows > roomy ? need->windows - roomy : 0;
	unsigned lacking = MAX(need->buses > there ? need->buses - there : 0, windows);
	g_autofree char *with =
		need->windows ?
			g_strdup_printf(", %u of them with room for %" G_GUINT64_FORMAT " MiB",
					need->windows, need->window / MIB) :
			g_strdup("");

	for (unsigned i = 0; i < lacking; i++) {
		g_string_append_printf(words, " -device pcie-root-port,id=hot%u,chassis=%u",
				       200 + i, 200 + i);
		if (i < windows)
			g_string_append_printf(words, ",pref64-reserve=%" G_GUINT64_FORMAT "M",
					       2 * need->window / MIB);
	}
	if (lacking > 0)
		complain(
			out,
			"%u free PCI port%s needed%s, and there %s %u that can be plugged into: start "
			"QEMU (-machine q35) with%s",
			need->buses, need->buses == 1 ? " is" : "s are", with,
			there == 1 ? "is" : "are", there, words->str);
}

static void want_slots(GString *out, const struct hotplug_facts *f, const struct hotplug_need *need)
{
	uint64_t most = f->memory + f->slots_bytes + need->slots_bytes;

	if (need->slots == 0 ||
	    (f->slots >= f->slots_used + need->slots && f->room >= need->slots_bytes))
		return;
	complain(out,
		 "no slot for a memory device of %" G_GUINT64_FORMAT
		 " MiB is free: start QEMU with "
		 "-m %" G_GUINT64_FORMAT "M,slots=%u,maxmem=%" G_GUINT64_FORMAT "M",
		 need->slots_bytes / MIB, f->memory / MIB, f->slots_used + need->slots, most / MIB);
}

static void want_served(GString *out, const struct hotplug_facts *f,
			const struct hotplug_need *need)
{
	if (need->served && !f->serves)
		complain(out, "it has no " RENDER_PMEM_DEVICE
			      ", which is the patched QEMU's (qemu-patches/build): the doors "
			      "ivshmem and pmem do without");
}

char *hotplug_missing(const struct hotplug_facts *f, const struct hotplug_need *need)
{
	GString *out = g_string_new(NULL);

	want_served(out, f, need);
	want_sharing(out, f);
	if (f->asleep && n_buses(f, 0) < need->buses)
		complain(
			out,
			"its firmware has not set up the PCI ports yet: try again when the guest boots");
	else
		want_buses(out, f, need);
	want_slots(out, f, need);
	return g_string_free(out, out->len == 0);
}
