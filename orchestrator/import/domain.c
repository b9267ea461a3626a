/* SPDX-License-Identifier: MIT */
#include "import/domain.h"

#include <string.h>

#include "err.h"
#include "import/domain_impl.h"
#include "model/lab.h"
#include "model/names.h"
#include "render/qemu.h"

#define QEMU_XMLNS "http://libvirt.org/schemas/domain/qemu/1.0"
#define MIB        ((uint64_t)1 << 20)
#define TEXT_MAX   1024 /* bytes of a lab's descriptions and command lines */

/* --- life ----------------------------------------------------------------------------------------------------------------- */

static void nic_free(void *p)
{
	struct import_nic *nic = p;

	g_free(nic->mac);
	g_free(nic->network);
	g_free(nic->ip);
	g_free(nic);
}

static void distro_free(void *p)
{
	struct import_distro *distro = p;

	g_free(distro->name);
	g_free(distro->image);
	g_free(distro);
}

static void access_free(void *p)
{
	struct import_access *access = p;

	g_free(access->name);
	g_free(access->door);
	g_free(access->mode);
	g_free(access->file);
	g_free(access);
}

static struct import_domain *domain_new(const char *path)
{
	struct import_domain *d = g_new0(struct import_domain, 1);

	d->where = g_strdup(path);
	d->nics = g_ptr_array_new_with_free_func(nic_free);
	d->distros = g_ptr_array_new_with_free_func(distro_free);
	d->accesses = g_ptr_array_new_with_free_func(access_free);
	d->vcpus = 1;
	return d;
}

void import_domain_free(struct import_domain *d)
{
	if (!d)
		return;
	g_free(d->where);
	g_free(d->name);
	g_free(d->lab);
	g_free(d->description);
	g_free(d->image);
	g_free(d->kernel);
	g_free(d->initrd);
	g_free(d->image_append);
	g_free(d->append);
	g_ptr_array_unref(d->nics);
	g_ptr_array_unref(d->distros);
	g_ptr_array_unref(d->accesses);
	if (d->peers)
		g_array_unref(d->peers);
	g_free(d);
}

struct import_nic *import_nic_new(struct import_domain *domain)
{
	struct import_nic *nic = g_new0(struct import_nic, 1);

	nic->queues = 1;
	g_ptr_array_add(domain->nics, nic);
	return nic;
}

/* --- walking -------------------------------------------------------------------------------------------------------------- */

/* As rules call it. */
static char *full_name(const struct xml_node *node)
{
	const char *ns = xml_namespace(node);
	const char *prefix = ns[0] == '\0' ? "" : strcmp(ns, QEMU_XMLNS) == 0 ? "qemu:" : "other:";

	return g_strconcat(prefix, xml_name(node), NULL);
}

void import_tell(struct reader *r, const struct xml_node *node, const char *format, ...)
{
	const char *vm = r->domain->name;
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_ptr_array_add(r->lost, g_strdup_printf("%s:%u: %s%s%s", r->path, xml_line(node),
						 vm ? vm : "", vm ? ": " : "", text));
}

void import_walk(struct reader *r, const struct xml_node *node, const struct import_rule *rules)
{
	for (const struct xml_node *n = xml_first(node); n; n = xml_next(n)) {
		g_autofree char *name = full_name(n);
		const struct import_rule *rule = rules;

		while (rule->name && strcmp(rule->name, name) != 0)
			rule++;
		if (rule->read)
			rule->read(r, n);
		else if (!rule->name)
			import_tell(r, n, "<%s>: nothing of a lab is like it", name);
		else if (rule->lost)
			import_tell(r, n, "<%s>: %s", name, rule->lost);
	}
}

uint64_t import_number(const char *text, uint64_t max, uint64_t otherwise)
{
	guint64 n;

	return text && g_ascii_string_to_unsigned(text, 10, 0, max, &n, NULL) ? n : otherwise;
}

uint64_t import_bytes(const struct xml_node *node)
{
	static const struct {
		const char *names[4];
		uint64_t bytes;
	} units[] = {
		{ { "b", "bytes" }, 1 },       { { "KB" }, 1000 },
		{ { "k", "KiB" }, 1024 },      { { "MB" }, 1000000 },
		{ { "M", "MiB" }, MIB },       { { "GB" }, 1000000000 },
		{ { "G", "GiB" }, MIB << 10 }, { { "T", "TiB" }, MIB << 20 },
	};
	g_autofree char *text = xml_text(node), *unit = xml_attribute(node, "unit");
	uint64_t n = import_number(text, LAB_MEMORY_MAX, 0);

	for (unsigned i = 0; i < G_N_ELEMENTS(units); i++)
		for (unsigned k = 0; units[i].names[k]; k++)
			if (strcmp(unit ? unit : "KiB", units[i].names[k]) == 0)
				return n <= LAB_MEMORY_MAX / units[i].bytes ? n * units[i].bytes :
									      LAB_MEMORY_MAX + 1;
	return 0;
}

/* --- what it is called ---------------------------------------------------------------------------------------------------- */

/* A text of the lab file: what is too long for it, or has more than text in it, is lost. */
static char *take_text(struct reader *r, const struct xml_node *node)
{
	char *text = xml_text(node);

	for (char *c = text; *c; c++)
		*c = g_ascii_iscntrl(*c) ? ' ' : *c;
	if (strlen(text) <= TEXT_MAX)
		return text;
	import_tell(r, node, "<%s>: longer than %d bytes", xml_name(node), TEXT_MAX);
	g_free(text);
	return NULL;
}

static void read_description(struct reader *r, const struct xml_node *node)
{
	/* Of ours it says what has to be there before it starts. */
	if (!r->ours && !r->domain->description)
		r->domain->description = take_text(r, node);
}

/* --- memory and processors ------------------------------------------------------------------------------------------------ */

static void read_memory(struct reader *r, const struct xml_node *node)
{
	r->memory = import_bytes(node);
}

static void read_memory_now(struct reader *r, const struct xml_node *node)
{
	if (import_bytes(node) != r->memory && r->memory > 0)
		import_tell(r, node,
			    "<currentMemory>: a VM of a lab has all of its memory from the "
			    "beginning");
}

/* A VM's memory is a shared memfd anyway. */
static void read_backing(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "source" },
		{ "access" },
		{ "allocation" },
		{ "hugepages", NULL, "guest memory is of ordinary pages" },
		{ "locked", NULL, "guest memory may be swapped out" },
		{ NULL },
	};

	import_walk(r, node, rules);
}

static void read_vcpu(struct reader *r, const struct xml_node *node)
{
	g_autofree char *text = xml_text(node), *now = xml_attribute(node, "current");
	g_autofree char *set = xml_attribute(node, "cpuset");
	uint64_t n = import_number(text, UINT32_MAX, 1);

	if (n < 1 || n > LAB_VCPUS_MAX)
		import_tell(r, node, "<vcpu>: %s: a VM has 1 to %u", text, LAB_VCPUS_MAX);
	r->domain->vcpus = (unsigned)CLAMP(n, 1, LAB_VCPUS_MAX);
	if (now && import_number(now, UINT32_MAX, 0) != n)
		import_tell(r, node, "<vcpu>: a VM has all of its processors from the beginning");
	if (set)
		import_tell(r, node, "<vcpu>: VMs are not bound to processors of the host");
}

static void read_cell(struct reader *r, const struct xml_node *node)
{
	g_autofree char *memory = xml_attribute(node, "memory");
	g_autofree char *unit = xml_attribute(node, "unit");
	uint64_t kib = import_number(memory, LAB_MEMORY_MAX >> 10, 0);

	if (r->cells > 0)
		import_tell(r, node, "<cell>: a VM has one NUMA node");
	/* libvirt gives it back in KiB; we write MiB. */
	r->cells += g_strcmp0(unit, "MiB") == 0 ? MIN(kib, LAB_MEMORY_MAX >> 20) << 20 : kib << 10;
}

static void read_numa(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "cell", read_cell },
		{ NULL },
	};

	import_walk(r, node, rules);
}

static void read_cpu(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "numa", read_numa },
		{ "topology", NULL, "processors are sockets of one core each" },
		{ "model" }, /* these three go with the mode */
		{ "vendor" },
		{ "feature" },
		{ NULL },
	};
	g_autofree char *mode = xml_attribute(node, "mode");

	if (mode && strcmp(mode, "maximum") != 0 && strcmp(mode, "host-passthrough") != 0)
		import_tell(
			r, node,
			"<cpu mode='%s'>: a VM has the host's processor under KVM, else all that "
			"QEMU can",
			mode);
	import_walk(r, node, rules);
}

/* --- what it boots -------------------------------------------------------------------------------------------------------- */

static void read_type(struct reader *r, const struct xml_node *node)
{
	g_autofree char *arch = xml_attribute(node, "arch"), *type = xml_text(node);
	g_autofree char *machine = xml_attribute(node, "machine");
	bool arm = g_strcmp0(arch, "aarch64") == 0;

	if (strcmp(type, "hvm") != 0)
		import_tell(r, node, "<type>: %s: VMs are whole machines (hvm)", type);
	/* Another one is found by import_domain_read(). */
	r->domain->arch = arm ? "aarch64" : "x86_64";
	if (machine && !strstr(machine, "q35") && !g_str_has_prefix(machine, "virt"))
		import_tell(r, node, "<type machine='%s'>: a VM is a %s", machine,
			    arm ? "virt" : "q35");
}

/* What is said twice is what was said last.  Takes text over. */
static void replace(char **place, char *text)
{
	g_free(*place);
	*place = text;
}

static void read_kernel(struct reader *r, const struct xml_node *node)
{
	replace(&r->domain->kernel, xml_text(node));
}

static void read_initrd(struct reader *r, const struct xml_node *node)
{
	replace(&r->domain->initrd, xml_text(node));
}

static void read_cmdline(struct reader *r, const struct xml_node *node)
{
	replace(&r->domain->image_append, take_text(r, node));
}

static void read_os(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "type", read_type },
		{ "kernel", read_kernel },
		{ "initrd", read_initrd },
		{ "cmdline", read_cmdline },
		{ "boot" }, /* told with the disk */
		{ "bootmenu", NULL, "a VM boots its kernel" },
		{ "loader", NULL, "a VM has no firmware of its own" },
		{ "nvram", NULL, "a VM has no firmware of its own" },
		{ "firmware", NULL, "a VM has no firmware of its own" },
		{ "smbios", NULL, "a VM has QEMU's own SMBIOS" },
		{ NULL },
	};
	g_autofree char *firmware = xml_attribute(node, "firmware");

	if (firmware)
		import_tell(r, node, "<os firmware='%s'>: a VM has no firmware of its own",
			    firmware);
	import_walk(r, node, rules);
	if (r->domain->kernel)
		return;
	g_clear_pointer(&r->domain->initrd, g_free);
	g_clear_pointer(&r->domain->image_append, g_free);
	import_tell(r, node, "it boots from a disk: the VM boots the built-in guest, tiny");
}

/* The guest's configuration, which every VM is given. */
static void read_sysinfo(struct reader *r, const struct xml_node *node)
{
	for (const struct xml_node *n = xml_first(node); n; n = xml_next(n)) {
		if (!xml_attribute_is(n, "name", "opt/org.vhost-lab/config"))
			import_tell(r, n, "<sysinfo>: a VM is given what a lab says of it alone");
	}
}

static void read_features(struct reader *r, const struct xml_node *node)
{
	static const struct import_rule rules[] = {
		{ "acpi" }, { "apic" }, { "pae" }, { "gic" }, { "vmport" }, { NULL },
	};

	import_walk(r, node, rules);
}

static void read_clock(struct reader *r, const struct xml_node *node)
{
	g_autofree char *offset = xml_attribute(node, "offset");

	if (offset && strcmp(offset, "utc") != 0)
		import_tell(r, node, "<clock offset='%s'>: a VM's is in UTC", offset);
}

/* --- life and death ------------------------------------------------------------------------------------------------------- */

static void read_event(struct reader *r, const struct xml_node *node)
{
	bool reboot = strcmp(xml_name(node), "on_reboot") == 0;
	const char *usual = reboot ? "restart" : "destroy";
	g_autofree char *text = xml_text(node);

	/* What libvirt writes into a domain that says nothing. */
	if (strcmp(text, usual) != 0 && strcmp(text, "restart") != 0)
		import_tell(r, node, "<%s>: %s: a VM that powers off or crashes ends",
			    xml_name(node), text);
}

/* "max-x86_64-cpu.erms=off". */
static bool is_our_property(const char *word)
{
	static const char ours[] = "," RENDER_TCG_X86_64 "," RENDER_TCG_FSRS "," RENDER_TCG_AARCH64
				   "," RENDER_HYPERV_CPU ",";
	const char *dot = strchr(word, '.');
	g_autofree char *property = dot ? g_strdup_printf(",%s,", dot + 1) : NULL;

	return property && strstr(ours, property);
}

/* Words of ours, by the ids that they carry; the mark says what they are for. */
static bool is_our_word(const char *word)
{
	static const char *const whole[] = { "-chardev", "-device", "-global", "-object",
					     "vmbus-bridge" };
	static const char *const ids[] = { RENDER_VSOCK_CHARDEV, RENDER_HVSOCK_CHARDEV, "portal" };

	for (unsigned i = 0; i < G_N_ELEMENTS(whole); i++)
		if (strcmp(word, whole[i]) == 0)
			return true;
	for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++)
		if (strstr(word, ids[i]))
			return true;
	return is_our_property(word);
}

static void read_commandline(struct reader *r, const struct xml_node *node)
{
	for (const struct xml_node *n = xml_first(node); n; n = xml_next(n)) {
		g_autofree char *word = xml_attribute(n, "value");

		if (!r->ours || !word || !is_our_word(word))
			import_tell(r, n, "<qemu:%s>: %s: what QEMU is told is ours to say",
				    xml_name(n), word ? word : "");
	}
}

static void read_override(struct reader *r, const struct xml_node *node)
{
	if (!r->ours)
		import_tell(r, node, "<qemu:override>: what QEMU is told is ours to say");
}

static void read_seclabel(struct reader *r, const struct xml_node *node)
{
	if (!r->ours && !xml_attribute_is(node, "type", "dynamic"))
		import_tell(r, node, "<seclabel>: which user a QEMU runs as is the engine's");
}

/* --- the domain ----------------------------------------------------------------------------------------------------------- */

static const struct import_rule domain_rules[] = {
	{ "name" },
	{ "uuid" },
	{ "genid", NULL, "a VM has none" },
	{ "title", NULL, "a VM has a name and a description" },
	{ "description", read_description },
	{ "metadata" }, /* read before all others */
	{ "memory", read_memory },
	{ "currentMemory", read_memory_now },
	{ "maxMemory" }, /* follows from what is plugged in */
	{ "memoryBacking", read_backing },
	{ "memtune", NULL, "a VM's memory is bounded by its size" },
	{ "vcpu", read_vcpu },
	{ "vcpus", NULL, "a VM has all of its processors from the beginning" },
	{ "iothreads", NULL, "a VM has none" },
	{ "cputune", NULL, "VMs are not bound to processors of the host" },
	{ "numatune", NULL, "VMs are not bound to nodes of the host" },
	{ "blkiotune", NULL, "nothing shapes the disks of VMs" },
	{ "resource" },
	{ "sysinfo", read_sysinfo },
	{ "os", read_os },
	{ "features", read_features },
	{ "cpu", read_cpu },
	{ "clock", read_clock },
	{ "on_poweroff", read_event },
	{ "on_reboot", read_event },
	{ "on_crash", read_event },
	{ "pm" },
	{ "seclabel", read_seclabel },
	{ "devices", import_devices },
	{ "qemu:commandline", read_commandline },
	{ "qemu:override", read_override },
	{ NULL },
};

static void settle_memory(struct reader *r, const struct xml_node *root)
{
	uint64_t own = r->cells > 0 ? r->cells : r->memory - MIN(r->plugged, r->memory);
	uint64_t whole = own > LAB_MEMORY_MAX - MIB ? LAB_MEMORY_MAX : (own + MIB - 1) / MIB * MIB;

	r->domain->memory = CLAMP(whole, LAB_MEMORY_MIN, LAB_MEMORY_MAX);
	if (r->domain->memory != own)
		import_tell(r, root,
			    "memory of %" G_GUINT64_FORMAT " bytes: the VM has %" G_GUINT64_FORMAT
			    " MiB",
			    own, r->domain->memory / MIB);
}

static void read_name(struct reader *r, const struct xml_node *root)
{
	const struct xml_node *node = xml_child(root, "name");
	g_autofree char *name = node ? xml_text(node) : g_strdup("");

	r->domain->name = names_label(name, "vm");
	if (strcmp(r->domain->name, name) != 0 && !r->ours)
		import_tell(r, node ? node : root, "its name was \"%s\"", name);
}

static void read_all(struct reader *r, const struct xml_node *root)
{
	const struct xml_node *metadata = xml_child(root, "metadata");

	if (metadata)
		import_mark_read(r, metadata);
	read_name(r, root);
	import_walk(r, root, domain_rules);
	settle_memory(r, root);
	if (r->ours)
		import_mark_apply(r);
}

/* --- whose it is ---------------------------------------------------------------------------------------------------------- */

static gboolean refuse(const struct reader *r, const struct xml_node *node, GError **error,
		       const char *format, ...) G_GNUC_PRINTF(4, 5);

static gboolean refuse(const struct reader *r, const struct xml_node *node, GError **error,
		       const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB, "%s:%u: %s", r->path, xml_line(node),
		    text);
	return FALSE;
}

/* Whether a lab can have anything like it. */
static gboolean check_root(struct reader *r, const struct xml_node *root, GError **error)
{
	g_autofree char *type = xml_attribute(root, "type"), *arch = NULL;
	const struct xml_node *os = xml_child(root, "os");
	const struct xml_node *kind = os ? xml_child(os, "type") : NULL;

	if (strcmp(xml_name(root), "domain") != 0 || xml_namespace(root)[0] != '\0')
		return refuse(r, root, error, "<%s>: that is no libvirt domain", xml_name(root));
	if (!type || (strcmp(type, "qemu") != 0 && strcmp(type, "kvm") != 0))
		return refuse(r, root, error, "domain type %s: only qemu and kvm",
			      type ? type : "not said");
	r->domain->accel = strcmp(type, "kvm") == 0 ? "kvm" : "tcg";
	r->domain->arch = "x86_64";
	arch = kind ? xml_attribute(kind, "arch") : NULL;
	if (arch && strcmp(arch, "x86_64") != 0 && strcmp(arch, "aarch64") != 0)
		return refuse(r, kind, error, "arch %s: only x86_64 and aarch64", arch);
	if (g_strcmp0(arch, "aarch64") == 0 && !xml_child(os, "kernel"))
		return refuse(
			r, os, error,
			"an aarch64 that boots from a disk: a VM boots a kernel, and the built-in "
			"guest is x86_64");
	return TRUE;
}

struct import_domain *import_domain_read(const char *path, const char *text, size_t len,
					 GPtrArray *lost, GError **error)
{
	struct xml *xml = xml_read(path, text, len, error);
	struct reader r = { .path = path, .lost = lost };
	const struct xml_node *root;

	if (!xml)
		return NULL;
	r.domain = domain_new(path);
	root = xml_root(xml);
	if (check_root(&r, root, error))
		read_all(&r, root);
	else
		g_clear_pointer(&r.domain, import_domain_free);
	render_mark_clear(&r.mark);
	xml_free(xml);
	return r.domain;
}
