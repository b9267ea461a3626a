/* SPDX-License-Identifier: MIT */
/* What the mark of a domain of ours says: plan_vm_settings(), as "key value" lines. */
#include <string.h>

#include "import/domain_impl.h"
#include "model/lab.h"
#include "model/names.h"

/* --- finding it ----------------------------------------------------------------------------------------------------------- */

static bool take_mark(struct reader *r, const struct xml_node *vm)
{
	const struct xml_node *settings = xml_first(vm);

	r->mark.lab = xml_attribute(vm, "lab");
	r->mark.vm = xml_attribute(vm, "name");
	r->mark.settings = settings ? xml_text(settings) : g_strdup("");
	if (r->mark.lab && r->mark.vm && names_valid(r->mark.lab) && names_valid(r->mark.vm))
		return true;
	render_mark_clear(&r->mark);
	return false;
}

void import_mark_read(struct reader *r, const struct xml_node *metadata)
{
	for (const struct xml_node *n = xml_first(metadata); n; n = xml_next(n)) {
		bool here = strcmp(xml_namespace(n), RENDER_LIBVIRT_XMLNS) == 0;

		if (here && !r->ours && take_mark(r, n))
			r->ours = true;
		else
			import_tell(r, n, "<metadata>: what %s has to say of it",
				    xml_namespace(n)[0] ? xml_namespace(n) : xml_name(n));
	}
}

/* --- its lines ------------------------------------------------------------------------------------------------------------ */

/* The number in "nic.3.mac", and where the word behind it begins; NULL: it has none. */
static const char *indexed(const char *key, const char *prefix, uint64_t *ret)
{
	char *end;

	if (!g_str_has_prefix(key, prefix) || !g_ascii_isdigit(key[strlen(prefix)]))
		return NULL;
	*ret = g_ascii_strtoull(key + strlen(prefix), &end, 10);
	return *end == '.' ? end + 1 : NULL;
}

/* A key of a NIC.  The XML has said how many there are. */
static void apply_nic(struct import_domain *d, uint64_t index, const char *word, const char *value)
{
	struct import_nic *nic = index < d->nics->len ? d->nics->pdata[index] : NULL;
	g_auto(GStrv) parts = g_strsplit(value, "/", 2);

	if (!nic)
		return;
	if (strcmp(word, "network") == 0) {
		g_free(nic->network);
		nic->network = names_label(value, LAB_NETWORK_DEFAULT);
	} else if (strcmp(word, "ip") == 0 && parts[0] && parts[1]) {
		g_free(nic->ip);
		nic->ip = g_strdup(parts[0]);
		nic->prefix = (unsigned)import_number(parts[1], 30, 0);
	} else if (strcmp(word, "mtu") == 0) {
		nic->mtu = (unsigned)import_number(value, LAB_MTU_MAX, 0);
	}
}

static struct import_access *access_of(struct import_domain *d, const char *name)
{
	struct import_access *access;

	for (unsigned i = 0; i < d->accesses->len; i++) {
		access = d->accesses->pdata[i];
		if (strcmp(access->name, name) == 0)
			return access;
	}
	access = g_new0(struct import_access, 1);
	access->name = g_strdup(name);
	g_ptr_array_add(d->accesses, access);
	return access;
}

/* "portal.NAME.door". */
static void apply_portal(struct import_domain *d, const char *rest, const char *value)
{
	const char *dot = strrchr(rest, '.');
	g_autofree char *name = dot ? g_strndup(rest, (gsize)(dot - rest)) : NULL;
	struct import_access *a = name && names_valid(name) ? access_of(d, name) : NULL;
	const struct {
		const char *word;
		char **text;
		uint64_t *number;
	} members[] = {
		{ "door", a ? &a->door : NULL, NULL }, { "mode", a ? &a->mode : NULL, NULL },
		{ "file", a ? &a->file : NULL, NULL }, { "quota", NULL, a ? &a->quota : NULL },
		{ "size", NULL, a ? &a->size : NULL }, { "port", NULL, a ? &a->port : NULL },
	};

	for (unsigned i = 0; a && i < G_N_ELEMENTS(members); i++) {
		if (strcmp(dot + 1, members[i].word) != 0)
			continue;
		if (members[i].number) {
			*members[i].number = import_number(value, LAB_PORTAL_MAX, 0);
			continue;
		}
		g_free(*members[i].text);
		*members[i].text = g_strdup(value);
	}
}

/* "readonly PATH". */
static void apply_distro(struct import_domain *d, const char *name, const char *value)
{
	const char *path = strchr(value, ' ');
	struct import_distro *distro;

	if (!path)
		return;
	distro = g_new0(struct import_distro, 1);
	distro->name = g_strdup(name);
	distro->image = g_strdup(path + 1);
	distro->readonly = g_str_has_prefix(value, "readonly ");
	g_ptr_array_add(d->distros, distro);
}

static void apply_peer(struct import_domain *d, const char *value)
{
	uint32_t cid = (uint32_t)import_number(value, NAMES_CID_MAX, 0);

	if (!d->peers)
		d->peers = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	if (cid)
		g_array_append_val(d->peers, cid);
}

/* The type of a domain says less than the lab did, if it does not say otherwise. */
static void apply_sockets(struct import_domain *d, const char *value)
{
	for (enum lab_sockets i = 0; i < LAB_SOCKETS_COUNT; i++)
		if (strcmp(value, lab_sockets_name(i)) == 0)
			d->sockets = i;
}

static void apply_accel(struct import_domain *d, const char *value)
{
	if (strcmp(value, "auto") == 0)
		d->accel = "auto";
}

/* What it boots, in a lab's words; the tiny guest's kernel is ours to know. */
struct boot {
	char *image, *kernel, *initrd, *image_append, *append;
};

static void boot_clear(struct boot *boot)
{
	g_free(boot->image);
	g_free(boot->kernel);
	g_free(boot->initrd);
	g_free(boot->image_append);
	g_free(boot->append);
}

static bool apply_boot(struct boot *boot, const char *key, const char *value)
{
	const struct {
		const char *key;
		char **place;
	} members[] = {
		{ "image", &boot->image },   { "kernel", &boot->kernel },
		{ "initrd", &boot->initrd }, { "image-append", &boot->image_append },
		{ "append", &boot->append },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(members); i++) {
		if (strcmp(key, members[i].key) != 0)
			continue;
		g_free(*members[i].place);
		*members[i].place = g_strdup(value);
		return true;
	}
	return false;
}

static void apply_line(struct reader *r, struct boot *boot, const char *key, const char *value)
{
	struct import_domain *d = r->domain;
	uint64_t index;
	const char *word = indexed(key, "nic.", &index);

	if (word)
		apply_nic(d, index, word, value);
	else if (g_str_has_prefix(key, "portal."))
		apply_portal(d, key + strlen("portal."), value);
	else if (g_str_has_prefix(key, "distro."))
		apply_distro(d, key + strlen("distro."), value);
	else if (strcmp(key, "accel") == 0)
		apply_accel(d, value);
	else if (strcmp(key, "sockets") == 0)
		apply_sockets(d, value);
	else if (strcmp(key, "cid") == 0)
		d->cid = (uint32_t)import_number(value, NAMES_CID_MAX, 0);
	else if (strcmp(key, "port-base") == 0)
		d->port_base = (unsigned)import_number(value, UINT16_MAX, 0);
	else if (strcmp(key, "peers") == 0)
		apply_peer(d, value);
	else
		(void)apply_boot(boot, key, value);
}

/* An image of the lab's own is what the XML boots, unless that has been edited; of two command lines it knows but the sum. */
static void settle_boot(struct import_domain *d, struct boot *boot)
{
	g_autofree char *whole = g_strdup_printf("%s%s%s",
						 boot->image_append ? boot->image_append : "",
						 boot->image_append && boot->append ? " " : "",
						 boot->append ? boot->append : "");
	bool tiny = boot->image && !boot->kernel;

	if (!boot->image)
		return;
	if (!tiny &&
	    (g_strcmp0(boot->kernel, d->kernel) != 0 || g_strcmp0(boot->initrd, d->initrd) != 0 ||
	     strcmp(whole, d->image_append ? d->image_append : "") != 0))
		return;
	if (tiny) {
		g_clear_pointer(&d->kernel, g_free);
		g_clear_pointer(&d->initrd, g_free);
	}
	g_free(d->image_append);
	d->image_append = g_strdup(boot->image_append);
	d->append = g_strdup(boot->append);
	d->image = names_label(boot->image, LAB_IMAGE_DEFAULT);
}

void import_mark_apply(struct reader *r)
{
	g_auto(GStrv) lines = g_strsplit(r->mark.settings, "\n", -1);
	struct boot boot = { NULL };

	r->domain->lab = g_strdup(r->mark.lab);
	g_free(r->domain->name);
	r->domain->name = g_strdup(r->mark.vm);
	for (char **line = lines; *line; line++) {
		char *blank = strchr(*line, ' ');

		if (!blank)
			continue;
		*blank = '\0';
		apply_line(r, &boot, *line, blank + 1);
	}
	settle_boot(r->domain, &boot);
	boot_clear(&boot);
}
