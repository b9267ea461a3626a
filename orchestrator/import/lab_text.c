/* SPDX-License-Identifier: MIT */
#include "import/lab_text.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "import/domain.h"
#include "model/lab.h"
#include "model/names.h"

/* A lab on its way into text. */
struct writer {
	const GPtrArray *domains;
	GPtrArray *lost;
	struct json_object *networks, *portals, *images, *vms;
	GHashTable *taken; /* of MACs, addresses and CIDs: char * */
	unsigned port_base;
};

static void put_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

static void put_size(struct json_object *o, const char *key, uint64_t bytes)
{
	g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "MiB", bytes >> 20);

	put_text(o, key, text);
}

static void G_GNUC_PRINTF(3, 4)
	tell(struct writer *w, const struct import_domain *d, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_ptr_array_add(w->lost, g_strdup_printf("%s: %s: %s", d->where, d->name, text));
}

/* Whether nobody of the lab has it yet: an address, in whatever words. */
static bool take(struct writer *w, const char *kind, const char *value)
{
	return g_hash_table_add(w->taken, g_strconcat(kind, value, NULL));
}

/* The member of that name, made if need be. */
static struct json_object *member(struct json_object *o, const char *name, bool *ret_new)
{
	struct json_object *m;

	*ret_new = !json_object_object_get_ex(o, name, &m);
	if (*ret_new) {
		m = json_object_new_object();
		json_object_object_add(o, name, m);
	}
	return m;
}

/* Have a number said once: true: it is, or can be, n. */
static bool agree_on(struct json_object *o, const char *key, uint64_t n)
{
	struct json_object *has;

	if (json_object_object_get_ex(o, key, &has))
		return json_object_get_int64(has) == (int64_t)n;
	put_number(o, key, n);
	return true;
}

/* --- networks ------------------------------------------------------------------------------------------------------------- */

static char *subnet_of(const struct import_nic *nic)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr ip;

	if (!nic->ip || nic->prefix < 8 || nic->prefix > 30 ||
	    inet_pton(AF_INET, nic->ip, &ip) != 1)
		return NULL;
	ip.s_addr = htonl(ntohl(ip.s_addr) & ~(UINT32_MAX >> nic->prefix));
	inet_ntop(AF_INET, &ip, text, sizeof(text));
	return g_strdup_printf("%s/%u", text, nic->prefix);
}

/* The network of a NIC; true: its address fits there. */
static bool add_network(struct writer *w, const struct import_domain *d,
			const struct import_nic *nic)
{
	bool fresh;
	struct json_object *n = member(w->networks, nic->network, &fresh), *has;
	g_autofree char *subnet = subnet_of(nic);

	if (nic->mtu && !agree_on(n, "mtu", nic->mtu))
		tell(w, d, "an MTU of %u: another VM says otherwise of network %s", nic->mtu,
		     nic->network);
	if (!subnet)
		return false;
	if (!json_object_object_get_ex(n, "subnet", &has)) {
		put_text(n, "subnet", subnet);
		return true;
	}
	return strcmp(json_object_get_string(has), subnet) == 0;
}

static struct json_object *rate(uint64_t bits)
{
	struct json_object *o = json_object_new_object();
	g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "bit", bits);

	put_text(o, "rate", text);
	return o;
}

static void put_rates(struct json_object *o, const struct import_nic *nic)
{
	struct json_object *impair;

	if (!nic->rate_to_guest && !nic->rate_from_guest)
		return;
	impair = json_object_new_object();
	if (nic->rate_to_guest)
		json_object_object_add(impair, "to-guest", rate(nic->rate_to_guest));
	if (nic->rate_from_guest)
		json_object_object_add(impair, "from-guest", rate(nic->rate_from_guest));
	json_object_object_add(o, "impair", impair);
}

/* As a lab writes it; NULL: it is none, or of a group. */
static char *mac_text(const char *mac)
{
	bool fine = mac && strlen(mac) == NAMES_MAC_LEN && strcmp(mac, "00:00:00:00:00:00") != 0;

	for (unsigned i = 0; fine && i < NAMES_MAC_LEN; i++)
		fine = i % 3 == 2 ? mac[i] == ':' : g_ascii_isxdigit(mac[i]);
	return fine && !(g_ascii_xdigit_value(mac[1]) & 1) ? g_ascii_strdown(mac, -1) : NULL;
}

static struct json_object *nic_json(struct writer *w, const struct import_domain *d,
				    const struct import_nic *nic)
{
	struct json_object *o = json_object_new_object();
	g_autofree char *mac = mac_text(nic->mac);
	bool fits = add_network(w, d, nic);

	put_text(o, "network", nic->network);
	if (mac && take(w, "mac ", mac))
		put_text(o, "mac", mac);
	else if (nic->mac)
		tell(w, d, "MAC %s: another NIC has it, or no NIC can", nic->mac);
	if (fits && take(w, nic->network, nic->ip))
		put_text(o, "ip", nic->ip);
	else if (nic->ip)
		tell(w, d, "address %s: another VM has it, or another subnet on network %s",
		     nic->ip, nic->network);
	if (nic->queues > 1)
		put_number(o, "queues", nic->queues);
	if (nic->no_offloads)
		json_object_object_add(o, "offloads", json_object_new_boolean(false));
	if (nic->vlan)
		put_number(o, "vlan", nic->vlan);
	put_rates(o, nic);
	return o;
}

static void put_nics(struct writer *w, struct json_object *vm, const struct import_domain *d)
{
	struct json_object *nics = json_object_new_array();

	for (unsigned i = 0; i < d->nics->len; i++)
		json_object_array_add(nics, nic_json(w, d, d->nics->pdata[i]));
	json_object_object_add(vm, "nics", nics);
}

/* --- images --------------------------------------------------------------------------------------------------------------- */

static struct json_object *image_json(const struct import_domain *d)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "kernel", d->kernel);
	if (d->initrd)
		put_text(o, "initrd", d->initrd);
	if (d->image_append)
		put_text(o, "append", d->image_append);
	return o;
}

/* Its name in the lab; an image that is there already has one.  g_free(). */
static char *add_image(struct writer *w, const struct import_domain *d)
{
	struct json_object *o = image_json(d);
	g_autofree char *base = g_path_get_basename(d->kernel);
	g_autofree char *stem = d->image ? g_strdup(d->image) : names_label(base, "image");
	char *name = NULL;

	json_object_object_foreach(w->images, key, value) if (!name && json_object_equal(value, o))
		name = g_strdup(key);
	for (unsigned i = 1; !name; i++) {
		g_autofree char *tried = i == 1 ? g_strdup(stem) :
						  g_strdup_printf("%.50s-%u", stem, i);

		if (strcmp(tried, LAB_IMAGE_DEFAULT) == 0 ||
		    json_object_object_get_ex(w->images, tried, NULL))
			continue;
		name = g_steal_pointer(&tried);
		json_object_object_add(w->images, name, json_object_get(o));
	}
	json_object_put(o);
	return name;
}

static void put_boot(struct writer *w, struct json_object *vm, const struct import_domain *d)
{
	g_autofree char *name = d->kernel && d->kernel[0] ? add_image(w, d) : NULL;

	if (name)
		put_text(vm, "image", name);
	if (d->append)
		put_text(vm, "append", d->append);
}

/* --- portals -------------------------------------------------------------------------------------------------------------- */

static void add_portal(struct writer *w, const struct import_domain *d,
		       const struct import_access *a)
{
	bool fresh;
	struct json_object *p = member(w->portals, a->name, &fresh);

	if (!fresh)
		return;
	if (a->size % LAB_PORTAL_UNIT == 0 && a->size >= LAB_PORTAL_MIN)
		put_size(p, "size", a->size);
	else
		tell(w, d, "portal %s: its size", a->name);
	if (a->file && a->file[0])
		put_text(p, "file", a->file);
	if (a->port >= 1024 && a->port <= NAMES_CID_MAX)
		put_number(p, "port", a->port);
}

static bool is_door(const char *word)
{
	for (unsigned i = 0; i < PORTAL_DOOR_COUNT; i++)
		if (g_strcmp0(word, portal_door_name((enum portal_door)i)) == 0)
			return true;
	return false;
}

static void put_portals(struct writer *w, struct json_object *vm, const struct import_domain *d)
{
	struct json_object *all = json_object_new_object();

	for (unsigned i = 0; i < d->accesses->len; i++) {
		const struct import_access *a = d->accesses->pdata[i];
		struct json_object *o = json_object_new_object();

		add_portal(w, d, a);
		if (is_door(a->door) && strcmp(a->door, "pmem") != 0)
			put_text(o, "door", a->door);
		if (g_strcmp0(a->mode, "ro") == 0)
			put_text(o, "mode", "ro");
		if (a->quota)
			put_size(o, "quota", a->quota);
		json_object_object_add(all, a->name, o);
	}
	if (d->accesses->len > 0)
		json_object_object_add(vm, "portals", all);
	else
		json_object_put(all);
}

/* --- sockets -------------------------------------------------------------------------------------------------------------- */

/* The VM of a CID; NULL: it is not among the domains. */
static const char *vm_of(const struct writer *w, const char *lab, uint32_t cid)
{
	for (guint i = 0; i < w->domains->len; i++) {
		const struct import_domain *d = w->domains->pdata[i];

		if (d->cid == cid && d->sockets != LAB_SOCKETS_NONE && g_strcmp0(d->lab, lab) == 0)
			return d->name;
	}
	return NULL;
}

static void put_peers(struct writer *w, struct json_object *vm, const struct import_domain *d)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < d->peers->len; i++) {
		uint32_t cid = g_array_index(d->peers, uint32_t, i);
		const char *name = vm_of(w, d->lab, cid);

		if (name)
			json_object_array_add(list, json_object_new_string(name));
		else
			tell(w, d, "the peer of CID %u: it is in no file that was given", cid);
	}
	json_object_object_add(vm, "peers", list);
}

static void put_distros(struct json_object *vm, const struct import_domain *d)
{
	struct json_object *all = json_object_new_object();

	for (unsigned i = 0; i < d->distros->len; i++) {
		const struct import_distro *distro = d->distros->pdata[i];
		struct json_object *o = json_object_new_object();

		put_text(o, "image", distro->image);
		if (distro->readonly)
			json_object_object_add(o, "readonly", json_object_new_boolean(true));
		json_object_object_add(all, distro->name, o);
	}
	json_object_object_add(vm, "distros", all);
}

static void put_sockets(struct writer *w, struct json_object *vm, const struct import_domain *d)
{
	g_autofree char *cid = g_strdup_printf("%u", d->cid);

	if (d->sockets != LAB_SOCKETS_VSOCK)
		put_text(vm, "sockets", lab_sockets_name(d->sockets));
	if (d->sockets == LAB_SOCKETS_NONE)
		return;
	if (d->cid >= NAMES_CID_MIN && take(w, "cid ", cid))
		put_number(vm, "cid", d->cid);
	else if (d->cid)
		tell(w, d, "CID %u: another VM has it", d->cid);
	if (d->peers)
		put_peers(w, vm, d);
	if (d->distros->len > 0)
		put_distros(vm, d);
	if (!w->port_base)
		w->port_base = d->port_base;
	else if (d->port_base && d->port_base != w->port_base)
		tell(w, d, "agents at port %u: other VMs say %u", d->port_base, w->port_base);
}

/* --- VMs ------------------------------------------------------------------------------------------------------------------ */

static void add_vm(struct writer *w, const struct import_domain *d)
{
	struct json_object *vm = json_object_new_object();
	g_autofree char *name = g_strdup(d->name);

	for (unsigned i = 2; json_object_object_get_ex(w->vms, name, NULL); i++) {
		g_free(name);
		name = g_strdup_printf("%.50s-%u", d->name, i);
	}
	if (strcmp(name, d->name) != 0)
		tell(w, d, "its name: another VM is called so, and this one %s", name);
	if (d->description && d->description[0])
		put_text(vm, "description", d->description);
	put_boot(w, vm, d);
	put_size(vm, "memory", d->memory);
	if (d->vcpus != 1)
		put_number(vm, "vcpus", d->vcpus);
	if (strcmp(d->arch, "x86_64") != 0)
		put_text(vm, "arch", d->arch);
	if (strcmp(d->accel, "auto") != 0)
		put_text(vm, "accel", d->accel);
	put_nics(w, vm, d);
	put_sockets(w, vm, d);
	put_portals(w, vm, d);
	json_object_object_add(w->vms, name, vm);
}

/* The lab that all domains are of; NULL: there is no such. */
static const char *common_lab(const GPtrArray *domains)
{
	const char *lab = ((const struct import_domain *)domains->pdata[0])->lab;

	for (guint i = 1; i < domains->len; i++)
		if (g_strcmp0(lab, ((const struct import_domain *)domains->pdata[i])->lab) != 0)
			return NULL;
	return lab;
}

/* Consumes what the writer has. */
static char *finish(struct writer *w)
{
	struct json_object *lab = json_object_new_object();
	const char *name = common_lab(w->domains);
	char *text;

	put_number(lab, "version", LAB_VERSION);
	if (name)
		put_text(lab, "name", name);
	if (w->port_base && w->port_base != LAB_PORT_BASE)
		put_number(lab, "port-base", w->port_base);
	json_object_object_add(lab, "networks", w->networks);
	json_object_object_add(lab, "portals", w->portals);
	json_object_object_add(lab, "images", w->images);
	if (json_object_object_length(w->portals) == 0)
		json_object_object_del(lab, "portals");
	if (json_object_object_length(w->images) == 0)
		json_object_object_del(lab, "images");
	json_object_object_add(lab, "vms", w->vms);
	text = g_strconcat(json_object_to_json_string_ext(
				   lab, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						JSON_C_TO_STRING_NOSLASHESCAPE),
			   "\n", NULL);
	json_object_put(lab);
	return text;
}

char *import_lab_text(const GPtrArray *domains, GPtrArray *lost)
{
	g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	struct writer w = {
		.domains = domains,
		.lost = lost,
		.networks = json_object_new_object(),
		.portals = json_object_new_object(),
		.images = json_object_new_object(),
		.vms = json_object_new_object(),
		.taken = taken,
	};

	for (guint i = 0; i < domains->len; i++)
		add_vm(&w, domains->pdata[i]);
	return finish(&w);
}
