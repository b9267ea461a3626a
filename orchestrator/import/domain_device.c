/* SPDX-License-Identifier: MIT */
/* The devices of a domain. */
#include <string.h>

#include "import/domain_impl.h"
#include "model/lab.h"
#include "model/names.h"

#define RATE_MAX UINT64_C(1000000000000) /* bits a second: a link's */

/* --- NICs ----------------------------------------------------------------------------------------------------------------- */

static void read_mac(struct reader *r, const struct xml_node *node)
{
	g_free(r->nic->mac); /* of what is said twice the last */
	r->nic->mac = xml_attribute(node, "address");
}

/* What it was plugged into, as the network's name. */
static void read_source(struct reader *r, const struct xml_node *node)
{
	static const char *const names[] = { "network", "bridge", "dev" };

	for (unsigned i = 0; i < G_N_ELEMENTS(names) && !r->nic->network; i++) {
		g_autofree char *name = xml_attribute(node, names[i]);

		if (name)
			r->nic->network = names_label(name, LAB_NETWORK_DEFAULT);
	}
	if (xml_attribute_is(node, "mode", "server"))
		import_tell(r, node, "<source mode='server'>: QEMU connects to the switch");
}

static void read_model(struct reader *r, const struct xml_node *node)
{
	g_autofree char *type = xml_attribute(node, "type");

	if (type && !g_str_has_prefix(type, "virtio"))
		import_tell(r, node, "<model type='%s'>: the NICs of a VM are virtio", type);
}

static bool is_off(const struct xml_node *driver, const char *side)
{
	const struct xml_node *node = xml_child(driver, side);

	return node && xml_attribute_is(node, "csum", "off");
}

static void read_driver(struct reader *r, const struct xml_node *node)
{
	g_autofree char *queues = xml_attribute(node, "queues");
	uint64_t n = queues ? import_number(queues, UINT32_MAX, 1) : 1;
	bool host = is_off(node, "host"), guest = is_off(node, "guest");

	if (n < 1 || n > LAB_QUEUES_MAX)
		import_tell(r, node, "<driver queues='%s'>: a NIC has 1 to %u pairs", queues,
			    LAB_QUEUES_MAX);
	r->nic->queues = (unsigned)CLAMP(n, 1, LAB_QUEUES_MAX);
	r->nic->no_offloads = host || guest;
	if (host != guest)
		import_tell(r, node, "<driver>: offloads are on, or off in both directions: off");
	if (xml_attribute_is(node, "packed", "on"))
		import_tell(r, node, "<driver packed='on'>: rings are split");
}

static void read_mtu(struct reader *r, const struct xml_node *node)
{
	g_autofree char *size = xml_attribute(node, "size");
	uint64_t n = import_number(size, UINT32_MAX, 0);

	if (n < LAB_MTU_MIN || n > LAB_MTU_MAX)
		import_tell(r, node, "<mtu size='%s'>: a network has %u to %u", size ? size : "",
			    LAB_MTU_MIN, LAB_MTU_MAX);
	else
		r->nic->mtu = (unsigned)n;
}

static void read_vlan(struct reader *r, const struct xml_node *node)
{
	const struct xml_node *tag = xml_child(node, "tag");
	g_autofree char *id = tag ? xml_attribute(tag, "id") : NULL;
	uint64_t n = import_number(id, LAB_VLAN_MAX, 0);

	if (n < 1 || xml_next(tag) || xml_attribute_is(node, "trunk", "yes"))
		import_tell(r, node,
			    "<vlan>: of its VLANs none is kept, or it is a trunk: say "
			    "\"vlan\": {\"trunk\": […]} in the lab");
	else
		r->nic->vlan = (unsigned)n;
}

/* libvirt counts KiB a second, from the host's side. */
static uint64_t read_rate(struct reader *r, const struct xml_node *node)
{
	g_autofree char *average = xml_attribute(node, "average");
	g_autofree char *burst = xml_attribute(node, "burst"), *peak = xml_attribute(node, "peak");

	uint64_t rate = import_number(average, RATE_MAX / 8192, 0) * 8192;

	if (burst || peak || (average && !rate))
		import_tell(r, node, "<%s>: a link has one rate, of at most 1000gbit",
			    xml_name(node));
	return rate;
}

static void read_inbound(struct reader *r, const struct xml_node *node)
{
	r->nic->rate_to_guest = read_rate(r, node);
}

static void read_outbound(struct reader *r, const struct xml_node *node)
{
	r->nic->rate_from_guest = read_rate(r, node);
}

static void read_bandwidth(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "inbound", read_inbound },
		{ "outbound", read_outbound },
		{ NULL },
	};

	import_walk(r, node, rules);
}

static void read_link(struct reader *r, const struct xml_node *node)
{
	if (xml_attribute_is(node, "state", "down"))
		import_tell(r, node, "<link state='down'>: links are up when a VM starts");
}

static const struct import_rule nic_rules[] = {
	{ "mac", read_mac },
	{ "source", read_source },
	{ "model", read_model },
	{ "driver", read_driver },
	{ "mtu", read_mtu },
	{ "vlan", read_vlan },
	{ "bandwidth", read_bandwidth },
	{ "link", read_link },
	{ "target" },
	{ "alias" },
	{ "address" },
	{ "rom" },
	{ "boot", NULL, "a VM boots its kernel" },
	{ "ip", NULL, "a guest's addresses are the lab's to say" },
	{ "filterref", NULL, "a lab has no filters of libvirt's; \"rules\" of its networks" },
	{ NULL },
};

/* Not all of what a network of libvirt's or of the host's does can be seen from a domain. */
static void name_network(struct reader *r, const struct xml_node *node, const char *type)
{
	bool known = type && (strcmp(type, "network") == 0 || strcmp(type, "bridge") == 0 ||
			      strcmp(type, "direct") == 0);

	if (r->nic->network && r->ours)
		return;
	if (!r->nic->network)
		r->nic->network =
			g_strdup(type && strcmp(type, "user") == 0 ? "user" : LAB_NETWORK_DEFAULT);
	if (known)
		import_tell(
			r, node,
			"<interface type='%s'>: network %s is a switch of the lab's own: what the "
			"other one did (DHCP, a way out) say as its \"uplink\"",
			type, r->nic->network);
	else if (!r->ours)
		import_tell(r, node, "<interface type='%s'>: it is on network %s of the lab",
			    type ? type : "", r->nic->network);
}

static void read_interface(struct reader *r, const struct xml_node *node)
{
	g_autofree char *type = xml_attribute(node, "type");

	if (r->domain->nics->len == LAB_NICS_MAX) {
		import_tell(r, node, "<interface>: a VM has at most %u NICs", LAB_NICS_MAX);
		return;
	}
	r->nic = import_nic_new(r->domain);
	import_walk(r, node, nic_rules);
	name_network(r, node, type);
}

/* --- memory that is plugged in, disks ------------------------------------------------------------------------------------- */

static void read_memory_device(struct reader *r, const struct xml_node *node)
{
	const struct xml_node *target = xml_child(node, "target");
	const struct xml_node *size = target ? xml_child(target, "size") : NULL;
	g_autofree char *model = xml_attribute(node, "model");
	bool pmem = g_strcmp0(model, "virtio-pmem") == 0;
	uint64_t bytes = size ? import_bytes(size) : 0;

	if (pmem || g_strcmp0(model, "nvdimm") == 0)
		r->plugged += MIN(bytes, LAB_MEMORY_MAX);
	if (!pmem || !r->ours)
		import_tell(r, node,
			    "<memory model='%s'>: %" G_GUINT64_FORMAT
			    " MiB: memory that a VM shares is a \"portal\" of the lab",
			    model ? model : "", bytes >> 20);
}

static void read_shmem(struct reader *r, const struct xml_node *node)
{
	if (!r->ours)
		import_tell(r, node, "<shmem>: memory that a VM shares is a \"portal\" of the lab");
}

/* Those of our own are distributions, of which the mark tells. */
static void read_disk(struct reader *r, const struct xml_node *node)
{
	const struct xml_node *source = xml_child(node, "source");
	const struct xml_node *serial = xml_child(node, "serial");
	g_autofree char *file = source ? xml_attribute(source, "file") : NULL;

	if (r->ours && serial)
		return;
	import_tell(r, node, "<disk>%s%s: a VM has no disks but its \"distros\"", file ? " " : "",
		    file ? file : "");
}

/* --- sockets -------------------------------------------------------------------------------------------------------------- */

static void read_vsock(struct reader *r, const struct xml_node *node)
{
	const struct xml_node *cid = xml_child(node, "cid");
	g_autofree char *address = cid ? xml_attribute(cid, "address") : NULL;
	uint64_t n = import_number(address, NAMES_CID_MAX, 0);

	if (n >= NAMES_CID_MIN && !xml_attribute_is(cid, "auto", "yes"))
		r->domain->cid = (uint32_t)n;
}

/* --- the rest ------------------------------------------------------------------------------------------------------------- */

static void read_controller(struct reader *r, const struct xml_node *node)
{
	static const char *const usual[] = { "pci", "usb", "sata", "ide", "virtio-serial" };
	g_autofree char *type = xml_attribute(node, "type");

	for (unsigned i = 0; i < G_N_ELEMENTS(usual); i++)
		if (g_strcmp0(type, usual[i]) == 0)
			return;
	import_tell(r, node, "<controller type='%s'>: a VM has nothing to plug into it",
		    type ? type : "");
}

static void read_input(struct reader *r, const struct xml_node *node)
{
	/* libvirt writes these two into every domain of a PC. */
	if (!xml_attribute_is(node, "bus", "ps2"))
		import_tell(r, node, "<input>: a VM has its console");
}

/* No balloon is what we ask for. */
static void read_balloon(struct reader *r, const struct xml_node *node)
{
	if (!xml_attribute_is(node, "model", "none"))
		import_tell(r, node, "<memballoon>: a VM has all of its memory from the beginning");
}

static void read_video(struct reader *r, const struct xml_node *node)
{
	const struct xml_node *model = xml_child(node, "model");

	if (!model || !xml_attribute_is(model, "type", "none"))
		import_tell(r, node, "<video>: a VM has its console");
}

static void read_audio(struct reader *r, const struct xml_node *node)
{
	if (!xml_attribute_is(node, "type", "none"))
		import_tell(r, node, "<audio>: a VM has no sound");
}

static void read_watchdog(struct reader *r, const struct xml_node *node)
{
	/* A q35 has it, and libvirt from 9.1 on says so. */
	if (!xml_attribute_is(node, "model", "itco"))
		import_tell(r, node, "<watchdog>: a VM has none");
}

static const struct import_rule device_rules[] = {
	{ "emulator" },
	{ "interface", read_interface },
	{ "memory", read_memory_device },
	{ "shmem", read_shmem },
	{ "disk", read_disk },
	{ "vsock", read_vsock },
	{ "serial" },
	{ "console" },
	{ "rng" },
	{ "controller", read_controller },
	{ "input", read_input },
	{ "memballoon", read_balloon },
	{ "video", read_video },
	{ "audio", read_audio },
	{ "watchdog", read_watchdog },
	{ "graphics", NULL, "a VM has its console" },
	{ "sound", NULL, "a VM has no sound" },
	{ "channel", NULL, "who speaks with the guest is the lab's agent" },
	{ "parallel", NULL, "a VM has its console" },
	{ "filesystem", NULL, "files get into a VM by `orchestrator cp`" },
	{ "hostdev", NULL, "a VM has no devices of the host" },
	{ "redirdev", NULL, "a VM has no devices of the host" },
	{ "tpm", NULL, "a VM has none" },
	{ "iommu", NULL, "a VM has none" },
	{ "panic", NULL, "a VM has none" },
	{ NULL },
};

void import_devices(struct reader *r, const struct xml_node *node)
{
	import_walk(r, node, device_rules);
}
