/* SPDX-License-Identifier: MIT */
#include "render/libvirt.h"

#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "model/lab.h"
#include "plan/plan.h"
#include "render/libvirt_impl.h"
#include "render/qemu.h"

#define HASH_LEN 16 /* of SHA-256's 64 digits: to tell versions of one text apart */

/* --- text ------------------------------------------------------------------------------------------------------------ */

void domain_add(struct domain *d, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_markup_vprintf_escaped(format, ap);
	va_end(ap);
	g_string_append(d->out, text);
}

void domain_add_words(struct domain *d, GStrv words)
{
	for (char **word = words; *word; word++)
		g_ptr_array_add(d->words, *word);
	g_free(words); /* not what is in it */
}

void domain_tell(struct domain *d, const char *format, ...)
{
	va_list ap;

	if (!d->told)
		return;
	va_start(ap, format);
	g_ptr_array_add(d->told, g_strdup_vprintf(format, ap));
	va_end(ap);
}

/* Whether XML can hold it and gives it back unchanged, in an attribute too. */
static bool is_sayable(const char *text)
{
	if (!g_utf8_validate(text, -1, NULL))
		return false;
	for (const char *c = text; *c; c = g_utf8_find_next_char(c, NULL)) {
		gunichar u = g_utf8_get_char(c);

		if (u < ' ' || u == 0xfffe || u == 0xffff)
			return false;
	}
	return true;
}

/* Names are DNS labels; what is left are paths and the kernel's command line. */
static gboolean check_texts(const struct domain *d, GError **error)
{
	const char *texts[] = { d->qemu->binary,     d->image->kernel, d->image->initrd,
				d->image->append,    d->vm->append,    d->paths->run_dir,
				d->paths->state_dir, d->p->guest_conf };
	g_autoptr(GPtrArray) all = g_ptr_array_new();

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++)
		if (texts[i])
			g_ptr_array_add(all, (char *)(uintptr_t)texts[i]);
	for (unsigned i = 0; i < d->vm->distros->len; i++)
		g_ptr_array_add(all, ((struct distro *)d->vm->distros->pdata[i])->image);
	for (unsigned i = 0; i < d->vm->portals->len; i++) {
		unsigned portal = vm_portal(d->vm, i)->portal->index;

		g_ptr_array_add(all, lab_paths_portal(d->paths, portal)->memory);
	}
	for (guint i = 0; i < all->len; i++) {
		g_autofree char *shown = g_strescape(all->pdata[i], NULL);

		if (is_sayable(all->pdata[i]))
			continue;
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"VM %s: \"%s\" has a character that a libvirt domain, being XML, cannot hold",
			d->vm->name, shown);
		return FALSE;
	}
	return TRUE;
}

/* --- the domain ------------------------------------------------------------------------------------------------------- */

/* What has to be there before it starts, for who starts it by hand. */
static void add_description(struct domain *d)
{
	const struct vm *vm = d->vm;

	domain_add(d, "  <description>VM %s of lab %s. Before it starts, these have to be there:\n",
		   vm->name, d->lab->name);
	domain_add(d, "%s, its configuration\n", d->p->guest_conf);
	for (unsigned i = 0; i < vm->nics->len; i++)
		domain_add(d, "%s, where the switch of network %s listens\n",
			   vm_paths_port(d->p, i), vm_nic(vm, i)->network->name);
	if (render_qemu_has_sockets(vm, d->qemu))
		domain_add(d, "%s, where vhost-user-hvsock listens\n", d->p->vsock);
	for (unsigned i = 0; i < vm->portals->len; i++) {
		const struct portal_access *a = vm_portal(vm, i);
		const struct portal_paths *own = lab_paths_portal(d->paths, a->portal->index);
		g_autofree char *socket = vm_paths_pmem(d->p, a->index);

		if (a->door == PORTAL_DOOR_PMEM)
			domain_add(d, "%s, made by vhost-user-portal of portal %s\n", own->memory,
				   a->portal->name);
		else
			domain_add(d, "%s, where vhost-user-portal of portal %s listens\n",
				   a->door == PORTAL_DOOR_IVSHMEM ? own->ivshmem : socket,
				   a->portal->name);
	}
	domain_add(d, "</description>\n");
}

static void add_head(struct domain *d)
{
	g_autofree char *name = names_domain(d->lab->name, d->vm->name);
	char uuid[NAMES_UUID_LEN + 1];

	names_uuid(d->lab->name, d->vm->name, d->paths->state_dir, uuid);
	domain_add(d,
		   "<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n",
		   d->kvm ? "kvm" : "qemu");
	domain_add(d, "  <name>%s</name>\n  <uuid>%s</uuid>\n", name, uuid);
	add_description(d);
}

/* MiB of the portals that are memory devices: all of them, or those alone that libvirt counts as memory. */
static uint64_t portal_memory(const struct domain *d, bool native_only, unsigned *ret_n)
{
	uint64_t size = 0;

	*ret_n = 0;
	for (unsigned i = 0; i < d->vm->portals->len; i++) {
		const struct portal_access *a = vm_portal(d->vm, i);

		if (!render_qemu_takes_room(a, d->qemu) ||
		    (native_only && !domain_portal_is_native(d, a)))
			continue;
		size += a->portal->size >> 20;
		(*ret_n)++;
	}
	return size;
}

/* <memory> is the guest's own and what libvirt plugs into it; the NUMA cell, without which no memory can be plugged, is the
 * guest's own alone. */
static void add_memory(struct domain *d)
{
	uint64_t own = d->vm->memory >> 20, all, native;
	unsigned slots, n_native;

	all = portal_memory(d, false, &slots);
	native = portal_memory(d, true, &n_native);
	if (slots > 0)
		domain_add(d,
			   "  <maxMemory slots='%u' unit='MiB'>%" G_GUINT64_FORMAT "</maxMemory>\n",
			   slots, own + all);
	domain_add(d, "  <memory unit='MiB'>%" G_GUINT64_FORMAT "</memory>\n", own + native);
	domain_add(d, "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n"
		      "  </memoryBacking>\n");
	domain_add(d, "  <vcpu>%u</vcpu>\n", d->vm->vcpus);
}

static void add_cpu(struct domain *d)
{
	const char *mode = d->kvm ? "host-passthrough" : "maximum";
	unsigned slots, last = d->vm->vcpus - 1;
	g_autofree char *cpus = last > 0 ? g_strdup_printf("0-%u", last) : g_strdup("0");

	if (!d->kvm)
		domain_add_words(d, render_qemu_tcg_words(d->vm->arch, d->qemu));
	(void)portal_memory(d, false, &slots);
	if (slots == 0) {
		domain_add(d, "  <cpu mode='%s'/>\n", mode);
		return;
	}
	domain_add(d, "  <cpu mode='%s'>\n    <numa>\n", mode);
	domain_add(d, "      <cell id='0' cpus='%s' memory='%" G_GUINT64_FORMAT "' unit='MiB'/>\n",
		   cpus, d->vm->memory >> 20);
	domain_add(d, "    </numa>\n  </cpu>\n");
}

static void add_boot(struct domain *d)
{
	bool x86 = d->vm->arch == LAB_ARCH_X86_64;
	const char *append = d->image->append, *own = d->vm->append ? d->vm->append : "";

	domain_add(d, "  <sysinfo type='fwcfg'>\n    <entry name='%s' file='%s'/>\n  </sysinfo>\n",
		   GUEST_CONF_FW_CFG, d->p->guest_conf);
	domain_add(d, "  <os>\n    <type arch='%s' machine='%s'>hvm</type>\n",
		   lab_arch_name(d->vm->arch), render_qemu_machine(d->vm->arch));
	domain_add(d, "    <kernel>%s</kernel>\n", d->image->kernel);
	if (d->image->initrd[0] != '\0')
		domain_add(d, "    <initrd>%s</initrd>\n", d->image->initrd);
	if (append[0] != '\0' || own[0] != '\0')
		domain_add(d, "    <cmdline>%s%s%s</cmdline>\n", append,
			   append[0] != '\0' && own[0] != '\0' ? " " : "", own);
	domain_add(d, "  </os>\n");
	/* Elsewhere ACPI is the firmware's, and there is none. */
	if (x86)
		domain_add(d, "  <features>\n    <acpi/>\n    <apic/>\n  </features>\n");
	add_cpu(d);
	domain_add(d, "  <clock offset='utc'/>\n  <on_poweroff>destroy</on_poweroff>\n"
		      "  <on_reboot>restart</on_reboot>\n  <on_crash>destroy</on_crash>\n");
}

/* QEMU runs as the lab's owner, whose sockets and files are for nobody else. */
static void add_label(struct domain *d)
{
	if (d->caps->label)
		domain_add(d,
			   "  <seclabel type='static' model='dac' relabel='yes'>\n"
			   "    <label>%s</label>\n  </seclabel>\n",
			   d->caps->label);
}

static void add_what_libvirt_lacks(struct domain *d)
{
	if (d->words->len > 0) {
		domain_add(d, "  <qemu:commandline>\n");
		for (guint i = 0; i < d->words->len; i++)
			domain_add(d, "    <qemu:arg value='%s'/>\n", (char *)d->words->pdata[i]);
		domain_add(d, "  </qemu:commandline>\n");
	}
	if (d->overrides->len > 0)
		g_string_append_printf(d->out, "  <qemu:override>\n%s  </qemu:override>\n",
				       d->overrides->str);
}

/* --- the mark --------------------------------------------------------------------------------------------------------- */

static const char *const owner_names[RENDER_OWNERS] = {
	[RENDER_OWNER_FILE] = "file",
	[RENDER_OWNER_SUPERVISOR] = "supervisor",
};

/* Into the domain, at that place of it. */
static void insert_mark(struct domain *d, size_t at)
{
	g_autofree char *settings = plan_vm_settings(d->lab, d->vm);
	g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, d->out->str, -1);
	g_autofree char *mark = NULL;

	hash[HASH_LEN] = '\0';
	mark = g_markup_printf_escaped("  <metadata>\n"
				       "    <vl:vm xmlns:vl='" RENDER_LIBVIRT_XMLNS
				       "' lab='%s' name='%s' owner='%s'"
				       " state='%s' text='%s'>\n"
				       "      <vl:settings>%s</vl:settings>\n"
				       "    </vl:vm>\n"
				       "  </metadata>\n",
				       d->lab->name, d->vm->name, owner_names[d->owner],
				       d->paths->state_dir, hash, settings);
	g_string_insert(d->out, (gssize)at, mark);
}

struct mark_reader {
	struct render_mark mark;
	bool in_mark, in_settings;
};

/* "vm" of "vl:vm": libvirt gives it back with or without the prefix. */
static const char *local_name(const char *name)
{
	const char *colon = strchr(name, ':');

	return colon ? colon + 1 : name;
}

/* The mark is all that there is, or it stands among the metadata of a domain, beside others'. */
static bool is_mark(GMarkupParseContext *context, const char *element, const char **values)
{
	const GSList *stack = g_markup_parse_context_get_element_stack(context);

	if (strcmp(local_name(element), "vm") != 0)
		return false;
	if (!stack->next)
		return true;
	return strcmp(stack->next->data, "metadata") == 0 &&
	       g_strv_contains(values, RENDER_LIBVIRT_XMLNS);
}

static void take_mark(struct render_mark *m, const char **names, const char **values)
{
	const struct {
		const char *name;
		char **value;
	} known[] = { { "lab", &m->lab },
		      { "name", &m->vm },
		      { "owner", &m->owner },
		      { "state", &m->state_dir },
		      { "text", &m->text } };

	for (unsigned i = 0; names[i]; i++)
		for (unsigned k = 0; k < G_N_ELEMENTS(known); k++)
			if (strcmp(names[i], known[k].name) == 0 && !*known[k].value)
				*known[k].value = g_strdup(values[i]);
}

static void mark_element(GMarkupParseContext *context, const char *element, const char **names,
			 const char **values, gpointer data, GError **error)
{
	struct mark_reader *r = data;

	if (r->in_mark) {
		r->in_settings = strcmp(local_name(element), "settings") == 0;
	} else if (is_mark(context, element, values)) {
		r->in_mark = true;
		take_mark(&r->mark, names, values);
	}
}

static void mark_element_end(GMarkupParseContext *context, const char *element, gpointer data,
			     GError **error)
{
	struct mark_reader *r = data;

	r->in_settings = false;
	if (strcmp(local_name(element), "vm") == 0)
		r->in_mark = false;
}

static void mark_text(GMarkupParseContext *context, const char *text, gsize len, gpointer data,
		      GError **error)
{
	struct mark_reader *r = data;

	if (r->in_settings && !r->mark.settings)
		r->mark.settings = g_strndup(text, len);
}

bool render_libvirt_read_mark(const char *xml, struct render_mark *ret)
{
	static const GMarkupParser parser = {
		.start_element = mark_element,
		.end_element = mark_element_end,
		.text = mark_text,
	};
	struct mark_reader reader = { .in_mark = false };
	g_autoptr(GMarkupParseContext)
		context = g_markup_parse_context_new(&parser, 0, &reader, NULL);

	if (!g_markup_parse_context_parse(context, xml, -1, NULL) ||
	    !g_markup_parse_context_end_parse(context, NULL) || !reader.mark.lab ||
	    !reader.mark.vm || !reader.mark.owner) {
		render_mark_clear(&reader.mark);
		return false;
	}
	*ret = reader.mark;
	return true;
}

void render_mark_clear(struct render_mark *mark)
{
	g_free(mark->lab);
	g_free(mark->vm);
	g_free(mark->owner);
	g_free(mark->state_dir);
	g_free(mark->text);
	g_free(mark->settings);
	*mark = (struct render_mark){ NULL };
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

static gboolean check_kvm(const struct domain *d, GError **error)
{
	if (!d->kvm || (d->caps->has_kvm[d->vm->arch] && d->qemu->kvm_usable))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		    "VM %s of lab %s wants KVM (\"accel\": \"kvm\"), which the libvirt at %s does "
		    "not have: see `orchestrator doctor`",
		    d->vm->name, d->lab->name, d->caps->uri);
	return FALSE;
}

static void add_all(struct domain *d)
{
	size_t mark;

	add_head(d);
	mark = d->out->len;
	add_memory(d);
	add_boot(d);
	add_label(d);
	domain_add(d, "  <devices>\n");
	domain_add_devices(d);
	domain_add(d, "  </devices>\n");
	add_what_libvirt_lacks(d);
	domain_add(d, "</domain>\n");
	insert_mark(d, mark);
}

char *render_libvirt(const struct lab *lab, const struct vm *vm, const struct libvirt_caps *caps,
		     const struct qemu_caps *qemu, const struct image *image,
		     const struct lab_paths *paths, enum render_owner owner, GPtrArray *told,
		     GError **error)
{
	struct domain d = {
		.lab = lab,
		.vm = vm,
		.caps = caps,
		.qemu = qemu,
		.image = image,
		.paths = paths,
		.p = lab_paths_vm(paths, vm->index),
		.owner = owner,
		.kvm = vm->accel == LAB_ACCEL_KVM ||
		       (caps->has_kvm[vm->arch] && render_qemu_uses_kvm(vm, qemu)),
		.told = told,
	};

	if (!check_kvm(&d, error) || !render_qemu_check(vm, qemu, error) || !check_texts(&d, error))
		return NULL;
	if (vm->qemu && caps->system && (caps->apparmor || caps->selinux))
		domain_tell(&d,
			    "%s: %s confines its QEMUs, by rules that may keep it from running %s: "
			    "one at qemu:///session does not",
			    vm->name, caps->uri, qemu->binary);
	d.out = g_string_new(NULL);
	d.words = g_ptr_array_new_with_free_func(g_free);
	d.overrides = g_string_new(NULL);
	add_all(&d);
	g_ptr_array_unref(d.words);
	g_string_free(d.overrides, TRUE);
	return g_string_free(d.out, FALSE);
}
