/* SPDX-License-Identifier: MIT */
#include "run/guests_impl.h"

#include <arpa/inet.h>
#include <string.h>

#include "err.h"
#include "render/portal.h"
#include "render/switch.h"
#include "run/json.h"

/* --- whose is what ------------------------------------------------------------------------------------------------ */

bool guests_own(const struct guests *all, const char *item)
{
	size_t len = strcspn(item, ".");

	for (guint i = 0; all && i < all->list->len; i++) {
		const char *name = ((const struct guest *)all->list->pdata[i])->is->name;

		if (strlen(name) == len && strncmp(name, item, len) == 0)
			return true;
	}
	return false;
}

GPtrArray *guests_with_sockets(const struct guests *all)
{
	GPtrArray *names = g_ptr_array_new();

	for (guint i = 0; all && i < all->list->len; i++) {
		const struct state_guest *is = ((const struct guest *)all->list->pdata[i])->is;

		if (is->cid)
			g_ptr_array_add(names, is->name);
	}
	return names;
}

bool guests_map(const struct guests *all, const char *portal)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		const struct state_guest *is = ((const struct guest *)all->list->pdata[i])->is;

		for (guint j = 0; j < is->portals->len; j++)
			if (strcmp(((const struct guest_portal *)is->portals->pdata[j])->portal,
				   portal) == 0)
				return true;
	}
	return false;
}

/* --- what is asked for -------------------------------------------------------------------------------------------- */

static gboolean fail(GError **error, enum orch_error code, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

static gboolean fail(GError **error, enum orch_error code, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_set_error_literal(error, ORCH_ERROR, code, text);
	return FALSE;
}

static gboolean check_name(const struct guests *all, const char *name, GError **error)
{
	const struct supervisor *sup = all->sup;

	if (!names_valid(name))
		return fail(error, ORCH_ERROR_USAGE,
			    "\"%s\" is no name for a guest: a-z, 0-9 and '-', as a VM's", name);
	if (lab_find_vm(sup->lab, name))
		return fail(error, ORCH_ERROR_CONFLICT,
			    "lab %s has a VM %s: the guest needs another name", sup->name, name);
	if (guests_own(all, name))
		return fail(
			error, ORCH_ERROR_CONFLICT,
			"a guest %s is attached already: `orchestrator detach %s` first, or take "
			"another name",
			name, name);
	return TRUE;
}

/* What is said of a card: "lan", or {"network":"lan","mac"?,"ip"?}. */
static const char *said_of(struct json_object *card, const char *key)
{
	if (json_object_is_type(card, json_type_object))
		return json_str(card, key);
	return strcmp(key, "network") == 0 ? json_object_get_string(card) : NULL;
}

static const struct network *find_network(struct guests *all, const char *name, GError **error)
{
	const struct lab *lab = all->sup->lab;
	const struct network *network = name ? lab_find_network(lab, name) : NULL;
	const struct daemon *sw = network ? sup_find_switch(all->sup, name) : NULL;

	if (network && sw && daemon_alive(sw))
		return network;
	if (network)
		fail(error, ORCH_ERROR_FAILED, "network %s has no switch: run `orchestrator up`",
		     name);
	else
		fail(error, ORCH_ERROR_USAGE, "lab %s has no network \"%s\"", lab->name,
		     name ? name : "");
	return NULL;
}

static gboolean plan_nic(struct guests *all, struct state_guest *is, const char *path,
			 struct json_object *card, GError **error)
{
	const struct network *n = find_network(all, said_of(card, "network"), error);
	g_autofree char *port = names_port(is->name, is->nics->len), *mac = NULL, *ip = NULL;
	struct guest_nic *nic;

	mac = n ? guest_give_mac(all, is, said_of(card, "mac"), error) : NULL;
	if (!mac || !guest_give_ip(all, n, is, said_of(card, "ip"), &ip, error))
		return FALSE;
	nic = state_guest_add_nic(is, n->name, port, path);
	nic->mac = g_steal_pointer(&mac);
	nic->ip = g_steal_pointer(&ip);
	return TRUE;
}

static gboolean plan_nics(struct guests *all, struct state_guest *is, struct json_object *networks,
			  GError **error)
{
	size_t n = networks ? json_object_array_length(networks) : 0;
	struct vm_paths *paths =
		vm_paths_new(all->sup->paths, is->name, (unsigned)MIN(n, LAB_NICS_MAX));
	gboolean good = n <= LAB_NICS_MAX ||
			fail(error, ORCH_ERROR_USAGE, "at most %u networks", LAB_NICS_MAX);

	for (unsigned i = 0; good && i < n; i++)
		good = plan_nic(all, is, vm_paths_port(paths, i),
				json_object_array_get_idx(networks, i), error);
	vm_paths_free(paths);
	return good;
}

static gboolean plan_sockets(struct guests *all, struct state_guest *is, const char *kind,
			     GError **error)
{
	struct vm_paths *paths;

	if (!kind)
		return TRUE;
	if (strcmp(kind, lab_sockets_name(LAB_SOCKETS_VSOCK)) != 0)
		return fail(error, ORCH_ERROR_USAGE,
			    "\"%s\" are no sockets that can be plugged in: vsock", kind);
	paths = vm_paths_new(all->sup->paths, is->name, 0);
	is->cid = guest_give_cid(all, is->name);
	is->uds_path = g_strdup(paths->vs);
	vm_paths_free(paths);
	return TRUE;
}

/* Whether it can be had by that door, by a guest that runs already. */
static gboolean check_door(const struct portal *p, const char *door, bool permanent, GError **error)
{
	bool pmem = strcmp(door, portal_door_name(PORTAL_DOOR_PMEM)) == 0;
	bool ivshmem = strcmp(door, portal_door_name(PORTAL_DOOR_IVSHMEM)) == 0;

	if (!pmem && !ivshmem && strcmp(door, portal_door_name(PORTAL_DOOR_VHOST_USER)) != 0)
		return fail(error, ORCH_ERROR_USAGE,
			    "\"%s\" is no door: ivshmem, pmem or vhost-user", door);
	if (pmem && !permanent)
		return fail(
			error, ORCH_ERROR_USAGE,
			"no QEMU lets go of a pmem device before it ends: say --permanent if that is "
			"meant, or %s:ivshmem",
			p->name);
	if (ivshmem && (p->size & (p->size - 1)) != 0)
		return fail(
			error, ORCH_ERROR_USAGE,
			"portal %s is no PCI device, since its size is no power of two: %s:pmem "
			"--permanent",
			p->name, p->name);
	return TRUE;
}

/* As the lab says, and running. */
static gboolean check_portal(const struct guests *all, const struct portal *p, GError **error)
{
	const struct daemon *d = sup_find_portal(all->sup, p->name);
	g_autofree char *text = render_portal_text(all->sup->lab, p);

	if (!d || !daemon_alive(d))
		return fail(error, ORCH_ERROR_FAILED,
			    "portal %s does not run: run `orchestrator up`", p->name);
	if (strcmp(text, sup_portal_text(all->sup, p->name)) != 0)
		return fail(
			error, ORCH_ERROR_CONFLICT,
			"portal %s runs with other settings than the lab file's: stop the VMs that "
			"have it, and `orchestrator up` makes it anew",
			p->name);
	return TRUE;
}

static gboolean plan_portals(struct guests *all, struct state_guest *is,
			     struct json_object *portals, bool permanent, GError **error)
{
	size_t n = portals ? json_object_array_length(portals) : 0;

	if (n > LAB_ACCESSES_MAX)
		return fail(error, ORCH_ERROR_USAGE, "at most %u portals", LAB_ACCESSES_MAX);
	if (n > 0 && !is->cid)
		return fail(
			error, ORCH_ERROR_USAGE,
			"what a guest has of a portal it is granted by its sockets: say --sockets "
			"vsock, too");
	if (n > 0 && strlen(is->name) > LAB_PORTAL_NAME_MAX)
		return fail(
			error, ORCH_ERROR_USAGE,
			"%s is too long for the name of a portal's client: %u bytes are allowed",
			is->name, LAB_PORTAL_NAME_MAX);
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(portals, i);
		const char *name = json_str(o, "portal"), *door = json_str(o, "door");
		const struct portal *p = name ? lab_find_portal(all->sup->lab, name) : NULL;

		door = door ? door : portal_door_name(PORTAL_DOOR_IVSHMEM);
		if (!p)
			return fail(error, ORCH_ERROR_USAGE, "lab %s has no portal \"%s\"",
				    all->sup->name, name ? name : "");
		for (guint j = 0; j < is->portals->len; j++)
			if (strcmp(((const struct guest_portal *)is->portals->pdata[j])->portal,
				   name) == 0)
				return fail(error, ORCH_ERROR_USAGE, "portal %s is said twice",
					    name);
		if (!check_door(p, door, permanent, error) || !check_portal(all, p, error))
			return FALSE;
		state_guest_add_portal(is, name, door);
	}
	return TRUE;
}

static gboolean check_paths(const struct state_guest *is, GError **error)
{
	g_autofree char *longest =
		is->uds_path ? g_strdup_printf("%s_%u", is->uds_path, G_MAXUINT32) : g_strdup("");
	size_t len = strlen(longest);

	for (guint i = 0; i < is->nics->len; i++)
		len = MAX(len, strlen(((const struct guest_nic *)is->nics->pdata[i])->path));
	return len <= NAMES_SOCKET_PATH_MAX ||
	       fail(error, ORCH_ERROR_USAGE,
		    "the name %s makes its sockets' paths too long: %u bytes are allowed", is->name,
		    NAMES_SOCKET_PATH_MAX);
}

struct state_guest *guest_plan(struct guests *all, struct json_object *params, GError **error)
{
	const char *name = json_str(params, "name"), *qmp = json_str(params, "qmp");
	bool permanent = json_flag(params, "permanent", false);
	struct state_guest *is;

	if (!name || !qmp || !g_path_is_absolute(qmp)) {
		fail(error, ORCH_ERROR_USAGE,
		     "guest.attach needs \"name\", and \"qmp\", an absolute path");
		return NULL;
	}
	if (!check_name(all, name, error))
		return NULL;
	is = state_guest_new(name, qmp);
	if (plan_nics(all, is, json_member(params, "networks", json_type_array), error) &&
	    plan_sockets(all, is, json_str(params, "sockets"), error) &&
	    plan_portals(all, is, json_member(params, "portals", json_type_array), permanent,
			 error) &&
	    (is->nics->len > 0 || is->cid ||
	     fail(error, ORCH_ERROR_USAGE, "nothing to plug in: --network, --sockets, --portal")) &&
	    check_paths(is, error))
		return is;
	state_guest_free(is);
	return NULL;
}

/* --- its items of daemons ----------------------------------------------------------------------------------------- */

static void want_port(struct supervisor *sup, const struct guest_nic *nic)
{
	const struct network *n = sup->lab ? lab_find_network(sup->lab, nic->network) : NULL;
	static const struct network bare;
	static const struct link nothing_said;
	struct json_object *params, *more = NULL;

	render_nic_port(n ? n : &bare, nic->port, nic->path, &nothing_said, &params, &more);
	daemon_add_item(sup_switch(sup, nic->network), params, more);
}

static void want_sockets(struct supervisor *sup, const struct state_guest *is)
{
	struct vm_paths *paths = vm_paths_new(sup->paths, is->name, 0);
	struct json_object *o = json_object_new_object();

	json_put_str(o, "name", is->name);
	json_put_int(o, "cid", is->cid);
	json_put_str(o, "socket-path", paths->vsock);
	json_put_str(o, "uds-path", paths->vs);
	daemon_add_item(sup_sockets(sup), o, NULL);
	vm_paths_free(paths);
}

char *guest_device_path(struct supervisor *sup, const struct state_guest *is, unsigned index)
{
	struct vm_paths *paths = vm_paths_new(sup->paths, is->name, 0);
	char *path = vm_paths_pmem(paths, index);

	vm_paths_free(paths);
	return path;
}

static void want_access(struct supervisor *sup, const struct state_guest *is, unsigned index)
{
	const struct guest_portal *access = is->portals->pdata[index];
	const char *name = access->portal;
	const struct portal *p = sup->lab ? lab_find_portal(sup->lab, name) : NULL;
	struct vm_paths *paths = vm_paths_new(sup->paths, is->name, 0);
	g_autofree char *path = p ? vm_paths_vs_port(paths, p->port) : NULL;
	g_autofree char *device = guest_device_path(sup, is, index);
	struct json_object *o;

	vm_paths_free(paths);
	if (!p)
		return;
	o = json_object_new_object();
	json_put_str(o, "name", is->name);
	json_put_str(o, "socket-path", path);
	json_put_str(o, "mode", "rw");
	json_put_int(o, "linger-ms", RENDER_PORTAL_LINGER_MS);
	if (strcmp(access->door, portal_door_name(PORTAL_DOOR_VHOST_USER)) == 0)
		json_put_str(o, "pmem-path", device);
	daemon_add_item(sup_portal(sup, name), o, NULL);
}

void guest_want_items(struct guest *g)
{
	struct supervisor *sup = g->all->sup;

	for (guint i = 0; i < g->is->nics->len; i++) {
		const struct guest_nic *nic = g->is->nics->pdata[i];

		want_port(sup, nic);
		network_compare_again(sup, nic->network); /* its DHCP is to know */
	}
	if (g->is->cid)
		want_sockets(sup, g->is);
	for (guint i = 0; i < g->is->portals->len; i++)
		want_access(sup, g->is, i);
}

static enum launch look_at(const struct daemon *d, const char *item, GError **error)
{
	const struct daemon_item *i = d ? daemon_find_item(d, item) : NULL;

	if (!i || d->stage == DAEMON_FAILED) {
		fail(error, ORCH_ERROR_FAILED, "%s",
		     d && d->reason ? d->reason : "its daemon has gone");
		return LAUNCH_FAILED;
	}
	if (i->problem) {
		fail(error, strstr(i->problem, "in use") ? ORCH_ERROR_CONFLICT : ORCH_ERROR_FAILED,
		     "%s", i->problem);
		return LAUNCH_FAILED;
	}
	return i->state ? LAUNCH_READY : LAUNCH_WAIT;
}

enum launch guest_has_items(struct guest *g, GError **error)
{
	struct supervisor *sup = g->all->sup;
	enum launch worst = LAUNCH_READY, one;

	for (guint i = 0; i < g->is->nics->len; i++) {
		const struct guest_nic *nic = g->is->nics->pdata[i];

		one = look_at(sup_find_switch(sup, nic->network), nic->port, error);
		if (one == LAUNCH_FAILED)
			return one;
		worst = one == LAUNCH_WAIT ? one : worst;
	}
	for (guint i = 0; i < g->is->portals->len; i++) {
		const struct guest_portal *p = g->is->portals->pdata[i];

		one = look_at(sup_find_portal(sup, p->portal), g->is->name, error);
		if (one == LAUNCH_FAILED)
			return one;
		worst = one == LAUNCH_WAIT ? one : worst;
	}
	if (!g->is->cid)
		return worst;
	/* A lab without a VM that has sockets has had no use for their daemon. */
	if (sup->sockets->stage == DAEMON_DOWN)
		(void)daemon_start(sup->sockets, NULL); /* a failure is in its stage and reason */
	one = look_at(sup->sockets, g->is->name, error);
	return one == LAUNCH_READY ? worst : one;
}

void guest_drop_items(struct guest *g)
{
	struct supervisor *sup = g->all->sup;

	for (guint i = 0; i < g->is->nics->len; i++) {
		const struct guest_nic *nic = g->is->nics->pdata[i];
		struct daemon *sw = sup_find_switch(sup, nic->network);

		network_forget_port(sup, nic->network, nic->port);
		if (sw)
			daemon_remove_item(sw, nic->port);
	}
	if (g->is->cid && sup->sockets)
		daemon_remove_item(sup->sockets, g->is->name);
	for (guint i = 0; i < g->is->portals->len; i++) {
		const struct guest_portal *p = g->is->portals->pdata[i];
		struct daemon *d = sup_find_portal(sup, p->portal);

		if (d)
			daemon_remove_item(d, g->is->name);
	}
}

/* --- another lab -------------------------------------------------------------------------------------------------- */

/* What of the lab the guest would lose, or has to share; NULL: nothing.  g_free(). */
static char *objection(const struct guest *g, const struct lab *lab)
{
	const struct state_guest *is = g->is;

	if (lab_find_vm(lab, is->name))
		return g_strdup_printf("the lab has a VM of that name");
	for (guint i = 0; i < is->nics->len; i++) {
		const struct guest_nic *nic = is->nics->pdata[i];
		const struct network *n = lab_find_network(lab, nic->network);
		g_autofree char *address = nic->ip ? g_strndup(nic->ip, strcspn(nic->ip, "/")) :
						     NULL;
		struct in_addr ip;
		bool taken = n && address && inet_pton(AF_INET, address, &ip) == 1 &&
			     guest_ip_owner(NULL, lab, n, ip);

		if (!n)
			return g_strdup_printf("the lab file has no network %s any more",
					       nic->network);
		if (taken)
			return g_strdup_printf("the lab file gives away its address %s", address);
		if (nic->mac && guest_mac_owner(NULL, lab, nic->mac))
			return g_strdup_printf("the lab file gives away its MAC %s", nic->mac);
	}
	if (is->cid && guest_cid_is_taken(NULL, lab, is->cid))
		return g_strdup_printf("the lab file gives away its CID %" G_GUINT32_FORMAT,
				       is->cid);
	for (guint i = 0; i < is->portals->len; i++) {
		const char *name = ((const struct guest_portal *)is->portals->pdata[i])->portal;
		const struct portal *p = lab_find_portal(lab, name);
		g_autofree char *text = p ? render_portal_text(lab, p) : NULL;

		if (!text || strcmp(text, sup_portal_text(g->all->sup, name)) != 0)
			return g_strdup_printf("the lab file has portal %s %s", name,
					       p ? "with other settings" : "no more");
	}
	return NULL;
}

gboolean guests_agree(const struct guests *all, const struct lab *lab, GError **error)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		const struct guest *guest = all->list->pdata[i];
		g_autofree char *why = objection(guest, lab);

		if (why)
			return fail(error, ORCH_ERROR_CONFLICT,
				    "guest %s is attached, and %s: `orchestrator detach %s` first",
				    guest->is->name, why, guest->is->name);
	}
	return TRUE;
}
