/* SPDX-License-Identifier: MIT */
#include "model/build.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/build_impl.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/libvirt_uri.h"
#include "model/names.h"
#include "model/units.h"

/* Names of a cycle that are shown; a long one is cut. */
#define CYCLE_SHOWN 12

/* --- reading the tree ----------------------------------------------------------------------------------------------- */

struct jt_node *build_good(const struct jt_node *object, const char *key)
{
	struct jt_node *n = jt_get(object, key);

	return n && n->ok ? n : NULL;
}

char *build_good_string(const struct jt_node *object, const char *key)
{
	struct jt_node *n = build_good(object, key);

	return n ? g_strdup(n->string) : NULL;
}

uint64_t build_good_number(const struct jt_node *object, const char *key, uint64_t otherwise)
{
	struct jt_node *n = build_good(object, key);

	return n ? n->decoded : otherwise;
}

struct jt_node *build_machine_setting(const struct builder *b, const struct jt_node *vm_node,
				      const char *key)
{
	struct jt_node *n = jt_get(vm_node, key);

	if (!n)
		n = jt_get(b->defaults, key);
	return n && n->ok ? n : NULL;
}

bool build_usable(const struct jt_node *member)
{
	return member->ok && !member->duplicate && !member->broken;
}

/* "(did you mean "x"?)", "(there are: x, y)" or "(there is none)", for a reference to one of items (structs that begin with
 * their name). */
static char *suggestion(struct builder *b, const char *wanted, const GPtrArray *items)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	g_autofree char *list = NULL;
	const char *near;

	for (unsigned i = 0; i < items->len; i++)
		g_ptr_array_add(names, *(char **)items->pdata[i]);
	near = lab_errors_nearest(b->errors, wanted, (const char *const *)names->pdata, names->len);
	if (near)
		return g_strdup_printf("did you mean \"%s\"?", near);
	if (items->len == 0)
		return g_strdup("there is none");
	if (items->len > 5)
		return g_strdup_printf("there are %u others", items->len);
	g_ptr_array_add(names, NULL);
	list = g_strjoinv(", ", (char **)names->pdata);
	return g_strdup_printf("there %s: %s", items->len == 1 ? "is" : "are", list);
}

void build_no_such(struct builder *b, const struct jt_node *node, const char *kind,
		   const GPtrArray *items)
{
	bool text = node->type == JT_STRING;
	const char *wanted = text ? node->string : node->key;
	g_autofree char *hint = suggestion(b, wanted, items);

	if (text)
		lab_error_at(b->errors, node, "no %s \"%s\" (%s)", kind, wanted, hint);
	else
		lab_error_at_key(b->errors, node, "no %s \"%s\" (%s)", kind, wanted, hint);
}

/* --- networks ------------------------------------------------------------------------------------------------------- */

static uint32_t subnet_of(const struct network *n)
{
	return ntohl(n->subnet.s_addr);
}

static uint32_t mask_of(unsigned prefix)
{
	return UINT32_MAX << (32 - prefix);
}

/* The first network but `self` that shares addresses with this subnet, or NULL. */
static const struct network *overlapping(const struct builder *b, uint32_t subnet, unsigned prefix,
					 const struct network *self)
{
	for (unsigned i = 0; i < b->lab->networks->len; i++) {
		const struct network *n = lab_network(b->lab, i);
		uint32_t mask;

		if (n == self || n->prefix == 0)
			continue;
		mask = mask_of(MIN(prefix, n->prefix));
		if ((subnet_of(n) & mask) == (subnet & mask))
			return n;
	}
	return NULL;
}

static void add_network(struct builder *b, struct jt_node *node, const char *name)
{
	struct network *n = network_new(name, b->lab->networks->len);
	uint64_t subnet = build_good_number(node, "subnet", 0);

	n->description = build_good_string(node, "description");
	n->mtu = (unsigned)build_good_number(node, "mtu", LAB_MTU_DEFAULT);
	n->threads = (unsigned)build_good_number(node, "threads", 1);
	if (subnet) {
		uint32_t address = (uint32_t)(subnet >> 8);
		unsigned prefix = subnet & 0xff;
		const struct network *other = overlapping(b, address, prefix, NULL);

		if (other)
			lab_error_at(b->errors, jt_get(node, "subnet"),
				     "overlaps the subnet of \"%s\" (line %u)", other->name,
				     lab_errors_line(b->errors,
						     jt_get(b->network_nodes->pdata[other->index],
							    "subnet")
							     ->offset));
		n->subnet.s_addr = htonl(address);
		n->prefix = prefix;
	}
	g_ptr_array_add(b->lab->networks, n);
	g_ptr_array_add(b->network_nodes, node);
	build_uplinks(b, n);
}

/* Give a network that says no subnet the first of 192.168.{100..255,0..99}.0/24 that nobody has. */
static void deal_subnet(struct builder *b, struct network *n)
{
	for (unsigned i = 0; i < 256; i++) {
		uint32_t subnet = 0xc0a80000u | ((100 + i) % 256) << 8;

		if (overlapping(b, subnet, 24, n))
			continue;
		n->subnet.s_addr = htonl(subnet);
		n->prefix = 24;
		return;
	}
	lab_error_at_key(b->errors, b->network_nodes->pdata[n->index],
			 "no subnet of 192.168.0.0/16 is left for it: name one");
}

static void build_networks(struct builder *b)
{
	struct jt_node *networks = jt_get(b->root, "networks");

	if (!networks)
		add_network(b, NULL, LAB_NETWORK_DEFAULT);
	b->networks_known = !networks || networks->ok;
	for (struct jt_node *n = networks && networks->ok ? networks->child : NULL; n; n = n->next)
		if (build_usable(n))
			add_network(b, n, n->key);
	for (unsigned i = 0; i < b->lab->networks->len; i++) {
		struct network *n = lab_network(b->lab, i);

		if (n->prefix == 0 && !jt_get(b->network_nodes->pdata[i], "subnet"))
			deal_subnet(b, n);
	}
}

/* --- images --------------------------------------------------------------------------------------------------------- */

char *build_lab_relative(const struct lab *lab, char *path)
{
	g_autofree char *dir = g_path_get_dirname(lab->path);
	g_autofree char *given = path;

	return given ? g_canonicalize_filename(given, dir) : NULL;
}

static void add_image(struct builder *b, struct jt_node *node, const char *name)
{
	struct lab_image *image = g_new0(struct lab_image, 1);

	image->name = g_strdup(name);
	image->kernel = build_lab_relative(b->lab, build_good_string(node, "kernel"));
	image->initrd = build_lab_relative(b->lab, build_good_string(node, "initrd"));
	image->append = build_good_string(node, "append");
	g_ptr_array_add(b->lab->images, image);
}

static void build_images(struct builder *b)
{
	struct jt_node *images = jt_get(b->root, "images");

	b->images_known = !images || images->ok;
	add_image(b, NULL, LAB_IMAGE_DEFAULT);
	for (struct jt_node *n = images && images->ok ? images->child : NULL; n; n = n->next) {
		if (!build_usable(n))
			continue;
		if (strcmp(n->key, LAB_IMAGE_DEFAULT) == 0)
			lab_error_at_key(b->errors, n, "\"%s\" is built in: choose another name",
					 n->key);
		else
			add_image(b, n, n->key);
	}
}

static struct lab_image *find_image(struct builder *b, const struct jt_node *node)
{
	const GPtrArray *images = b->lab->images;

	for (unsigned i = 0; node && i < images->len; i++) {
		struct lab_image *image = images->pdata[i];

		if (strcmp(image->name, node->string) == 0)
			return image;
	}
	return images->pdata[0];
}

/* Each name once, where it is written: a wrong one in "defaults" is one mistake, however many VMs take it. */
static void check_image_name(struct builder *b, const struct jt_node *object)
{
	struct jt_node *node = build_good(object, "image");

	if (node && b->images_known && strcmp(find_image(b, node)->name, node->string) != 0)
		build_no_such(b, node, "image", b->lab->images);
}

/* --- vms ------------------------------------------------------------------------------------------------------------ */

static void build_machine(struct builder *b, struct vm *vm, const struct jt_node *node)
{
	struct jt_node *n = build_machine_setting(b, node, "memory");

	g_assert(unit_parse_size(LAB_MEMORY_DEFAULT, &vm->memory) == NULL);
	if (n)
		vm->memory = n->decoded;
	n = build_machine_setting(b, node, "vcpus");
	vm->vcpus = n ? (unsigned)n->decoded : 1;
	n = build_machine_setting(b, node, "arch");
	vm->arch = n ? (enum lab_arch)n->decoded : LAB_ARCH_X86_64;
	n = build_machine_setting(b, node, "accel");
	vm->accel = n ? (enum lab_accel)n->decoded : LAB_ACCEL_AUTO;
	vm->image = find_image(b, build_machine_setting(b, node, "image"));
	check_image_name(b, node);
}

static void check_machine(struct builder *b, const struct vm *vm, const struct jt_node *node)
{
	struct jt_node *said = jt_get(node, "image");
	bool tiny;

	if (!said)
		said = jt_get(b->defaults, "image");
	tiny = !said || (said->ok && strcmp(said->string, LAB_IMAGE_DEFAULT) == 0);
	if (tiny && vm->arch != LAB_ARCH_X86_64)
		lab_error_at_key(b->errors, node,
				 "the image \"%s\" does not run on %s: name one of your own",
				 LAB_IMAGE_DEFAULT, lab_arch_name(vm->arch));
}

static void build_vm(struct builder *b, struct jt_node *node)
{
	struct vm *vm = vm_new(node->key, b->lab->vms->len);

	vm->role = build_good_string(node, "role");
	vm->description = build_good_string(node, "description");
	vm->append = build_good_string(node, "append");
	if (strcmp(vm->name, "localhost") == 0)
		lab_error_at_key(b->errors, node,
				 "\"localhost\" is every guest's name for itself: choose another");
	g_ptr_array_add(b->lab->vms, vm);
	g_ptr_array_add(b->vm_nodes, node);
	g_hash_table_insert(b->lab->vms_by_name, vm->name, vm);
	build_machine(b, vm, node);
	check_machine(b, vm, node);
}

/* --- nics ----------------------------------------------------------------------------------------------------------- */

/* The network a NIC is on: named, or the only one there is.  node: the NIC, or the VM that lists none. */
static struct network *find_nic_network(struct builder *b, const struct jt_node *node,
					const struct jt_node *name)
{
	const GPtrArray *networks = b->lab->networks;
	struct network *found;

	if (!b->networks_known || !node->ok || (name && !name->ok))
		return NULL;
	if (name) {
		found = lab_find_network(b->lab, name->string);
		if (!found)
			build_no_such(b, name, "network", networks);
		return found;
	}
	if (networks->len == 1)
		return networks->pdata[0];
	if (networks->len == 0)
		lab_error_at_key(b->errors, node, "the lab has no network to put this NIC on");
	else
		lab_error_at_key(
			b->errors, node,
			"the lab has %u networks: name one of them for each of its \"nics\"",
			networks->len);
	return NULL;
}

/* A NIC of vm; node is NULL for the one a VM without "nics" has. */
static void add_nic(struct builder *b, struct vm *vm, const struct jt_node *vm_node,
		    const struct jt_node *node)
{
	struct nic *nic = g_new0(struct nic, 1);

	nic->index = vm->nics->len;
	nic->queues = (unsigned)build_good_number(node, "queues", 1);
	nic->port = names_port(vm->name, nic->index);
	nic->offloads = build_good_number(node, "offloads", 1) != 0;
	nic->network = find_nic_network(b, node ? node : vm_node, jt_get(node, "network"));
	g_ptr_array_add(vm->nics, nic);
}

static void build_nics(struct builder *b, struct vm *vm)
{
	struct jt_node *node = b->vm_nodes->pdata[vm->index], *nics = jt_get(node, "nics");

	if (!nics && b->lab->networks->len > 0)
		add_nic(b, vm, node, NULL);
	for (struct jt_node *n = nics && nics->ok ? nics->child : NULL; n; n = n->next)
		add_nic(b, vm, node, n);
}

/* The tree's node of a NIC; NULL for the one nobody wrote. */
static struct jt_node *nic_node(const struct builder *b, const struct vm *vm, const struct nic *nic)
{
	struct jt_node *n = jt_get(b->vm_nodes->pdata[vm->index], "nics");

	n = n ? n->child : NULL;
	for (unsigned i = 0; n && i < nic->index; i++)
		n = n->next;
	return n;
}

typedef void nic_fn(struct builder *b, struct vm *vm, struct nic *nic);

static void each_nic(struct builder *b, nic_fn *fn)
{
	for (unsigned i = 0; i < b->lab->vms->len; i++)
		for (unsigned j = 0; j < lab_vm(b->lab, i)->nics->len; j++)
			fn(b, lab_vm(b->lab, i), vm_nic(lab_vm(b->lab, i), j));
}

static void build_nic_link(struct builder *b, struct vm *vm, struct nic *nic)
{
	build_link(b, &nic->link, nic_node(b, vm, nic));
	if (!nic->offloads)
		json_object_object_add(nic->link.port, "offloads", json_object_new_boolean(false));
}

/* --- addresses ------------------------------------------------------------------------------------------------------ */

bool build_check_ip(struct builder *b, const struct network *n, const struct jt_node *said)
{
	const char *fault = network_ip_fault(n, (uint32_t)said->decoded);
	char subnet[INET_ADDRSTRLEN];

	if (!fault)
		return true;
	inet_ntop(AF_INET, &n->subnet, subnet, sizeof(subnet));
	lab_error_at(b->errors, said, "%s %s %s/%u, the subnet of \"%s\"", said->string, fault,
		     subnet, n->prefix, n->name);
	return false;
}

bool build_take_ip(struct builder *b, uint32_t ip, const struct jt_node *said, const char *owner)
{
	const char *other = g_hash_table_lookup(b->by_ip, GUINT_TO_POINTER(ip));

	if (other && said)
		lab_error_at(b->errors, said, "%s is the address of %s already", said->string,
			     other);
	if (!other)
		g_hash_table_insert(b->by_ip, GUINT_TO_POINTER(ip), g_strdup(owner));
	return !other;
}

static void take_given_ip(struct builder *b, struct vm *vm, struct nic *nic)
{
	struct jt_node *node = build_good(nic_node(b, vm, nic), "ip");
	struct network *n = nic->network;

	if (!node || !n || n->prefix == 0 || !build_check_ip(b, n, node) ||
	    !build_take_ip(b, (uint32_t)node->decoded, node, nic->port))
		return;
	nic->ip.s_addr = htonl((uint32_t)node->decoded);
}

/* The next free address of the network, 0 if there is none.  *cursor remembers how far the dealing is, so that dealing a
 * whole lab is linear. */
static uint32_t next_ip(const struct builder *b, const struct network *n, uint32_t *cursor)
{
	while (*cursor < names_ip_count(n->prefix)) {
		uint32_t ip = names_ip(subnet_of(n), n->prefix, (*cursor)++);

		if (!g_hash_table_contains(b->by_ip, GUINT_TO_POINTER(ip)))
			return ip;
	}
	return 0;
}

/* Gateways and name servers of NAT. */
static unsigned taken_by_uplinks(const struct network *n)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < n->uplinks->len; i++)
		if (network_uplink(n, i)->type == UPLINK_NAT)
			taken += 2;
	return taken;
}

static void too_small(struct builder *b, const struct network *n, unsigned wanted)
{
	struct jt_node *node = b->network_nodes->pdata[n->index];
	unsigned room = names_ip_count(n->prefix), taken = MIN(taken_by_uplinks(n), room);

	lab_error_at_key(b->errors, node ? node : b->root,
			 "the subnet of \"%s\" is too small: %u NICs, %u addresses", n->name,
			 wanted, room - taken);
}

/* Give each NIC that says no address the next one of its network. */
static void deal_ips(struct builder *b)
{
	uint32_t cursor[LAB_NETWORKS_MAX] = { 0 };
	unsigned n_nics[LAB_NETWORKS_MAX] = { 0 };

	for (unsigned i = 0; i < b->lab->vms->len; i++) {
		struct vm *vm = lab_vm(b->lab, i);

		for (unsigned j = 0; j < vm->nics->len; j++) {
			struct nic *nic = vm_nic(vm, j);
			const struct network *n = nic->network;

			if (!n || n->prefix == 0)
				continue;
			n_nics[n->index]++;
			if (nic->ip.s_addr == 0)
				nic->ip.s_addr = htonl(next_ip(b, n, &cursor[n->index]));
		}
	}
	for (unsigned i = 0; i < b->lab->networks->len; i++) {
		const struct network *n = lab_network(b->lab, i);

		if (n->prefix > 0 && n_nics[i] + taken_by_uplinks(n) > names_ip_count(n->prefix))
			too_small(b, n, n_nics[i]);
	}
}

static uint64_t mac_number(const uint8_t mac[6])
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 6; i++)
		v = v << 8 | mac[i];
	return v;
}

/* False: somebody has it already; then *ret_owner (may be NULL) is who. */
static bool take_mac(struct builder *b, struct nic *nic, uint64_t mac, struct nic **ret_owner)
{
	struct nic *owner = g_hash_table_lookup(b->by_mac, GSIZE_TO_POINTER(mac));

	if (owner) {
		if (ret_owner)
			*ret_owner = owner;
		return false;
	}
	g_hash_table_insert(b->by_mac, GSIZE_TO_POINTER(mac), nic);
	for (unsigned i = 0; i < 6; i++)
		nic->mac[i] = (uint8_t)(mac >> (40 - 8 * i));
	return true;
}

static void take_given_mac(struct builder *b, struct vm *vm, struct nic *nic)
{
	struct jt_node *node = build_good(nic_node(b, vm, nic), "mac");
	struct nic *owner;

	if (node && !take_mac(b, nic, node->decoded, &owner))
		lab_error_at(b->errors, node, "%s is the MAC address of %s already", node->string,
			     owner->port);
}

static void derive_mac(struct builder *b, struct vm *vm, struct nic *nic)
{
	uint8_t mac[6];

	if (mac_number(nic->mac) != 0)
		return;
	for (unsigned attempt = 0;; attempt++) {
		names_mac(b->lab->name, vm->name, nic->index, attempt, mac);
		if (take_mac(b, nic, mac_number(mac), NULL))
			return;
	}
}

/* --- order ---------------------------------------------------------------------------------------------------------- */

/* Resolve "after".  An element that is right keeps the VM's index in its decoded; the others are no longer ok. */
static void build_after(struct builder *b, struct vm *vm)
{
	struct jt_node *list = build_good(b->vm_nodes->pdata[vm->index], "after");

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next) {
		struct vm *other = n->ok ? lab_find_vm(b->lab, n->string) : NULL;

		if (n->ok && !other)
			build_no_such(b, n, "VM", b->lab->vms);
		else if (other == vm)
			lab_error_at(b->errors, n, "a VM cannot come after itself");
		n->ok = other && other != vm;
		if (!n->ok)
			continue;
		n->decoded = other->index;
		g_ptr_array_add(vm->after, other);
	}
}

/* One VM on the path of a depth-first walk, and the element of its "after" that is being followed. */
struct step_on_path {
	struct vm *vm;
	struct jt_node *edge;
};

/* The path from `start` on closes a cycle. */
static void report_cycle(struct builder *b, const GArray *path, unsigned start)
{
	g_autoptr(GString) text = g_string_new(NULL);
	const struct step_on_path *first = &g_array_index(path, struct step_on_path, start);

	for (unsigned i = start; i < path->len; i++) {
		if (i - start == CYCLE_SHOWN) {
			g_string_append_printf(text, "(%u more) → ", path->len - i);
			break;
		}
		g_string_append_printf(text, "%s → ",
				       g_array_index(path, struct step_on_path, i).vm->name);
	}
	lab_error_at(b->errors, first->edge, "cycle: %s%s", text->str, first->vm->name);
}

/* Walk what `from` comes after.  place[]: 0 = not seen, n = at n - 1 on the path, UINT_MAX = done. */
static void find_cycles(struct builder *b, unsigned from, unsigned *place)
{
	g_autoptr(GArray) path = g_array_new(FALSE, FALSE, sizeof(struct step_on_path));
	struct step_on_path step = { .vm = lab_vm(b->lab, from) };
	struct jt_node *list = build_good(b->vm_nodes->pdata[from], "after");

	step.edge = list ? list->child : NULL;
	g_array_append_val(path, step);
	place[from] = 1;
	while (path->len > 0) {
		struct step_on_path *last =
			&g_array_index(path, struct step_on_path, path->len - 1);
		struct jt_node *edge = last->edge;

		if (!edge) {
			place[last->vm->index] = UINT_MAX;
			g_array_set_size(path, path->len - 1);
			if (path->len > 0) {
				last = &g_array_index(path, struct step_on_path, path->len - 1);
				last->edge = last->edge->next;
			}
		} else if (!edge->ok || place[edge->decoded] == UINT_MAX) {
			last->edge = edge->next;
		} else if (place[edge->decoded] > 0) {
			report_cycle(b, path, place[edge->decoded] - 1);
			last->edge = edge->next;
		} else {
			step.vm = lab_vm(b->lab, (unsigned)edge->decoded);
			list = build_good(b->vm_nodes->pdata[step.vm->index], "after");
			step.edge = list ? list->child : NULL;
			g_array_append_val(path, step);
			place[step.vm->index] = path->len;
		}
	}
}

static void check_order(struct builder *b)
{
	g_autofree unsigned *place = g_new0(unsigned, b->lab->vms->len);

	for (unsigned i = 0; i < b->lab->vms->len; i++)
		if (place[i] == 0)
			find_cycles(b, i, place);
}

/* --- socket paths --------------------------------------------------------------------------------------------------- */

static bool fits(const char *path)
{
	return strlen(path) <= NAMES_SOCKET_PATH_MAX;
}

static void path_too_long(struct builder *b, const struct jt_node *node, const char *path,
			  const char *remedy)
{
	lab_error_at_key(b->errors, node,
			 "the socket %s would have a path of %zu bytes, and the limit is %d: %s",
			 path, strlen(path), NAMES_SOCKET_PATH_MAX, remedy);
}

/* Of a VM with sockets that is where guests reach the host, on the port of the longest number. */
static char *longest_socket(const struct vm *vm, const struct vm_paths *v)
{
	if (vm->sockets != LAB_SOCKETS_NONE)
		return vm_paths_vs_port(v, UINT32_MAX);
	return g_strdup(v->ports->len > 0 ? vm_paths_port(v, v->ports->len - 1) : v->qmp);
}

static void check_socket_paths(struct builder *b)
{
	struct lab_paths *paths = lab_paths_new(b->lab, b->dirs);
	struct jt_node *name = jt_get(b->root, "name");

	if (!fits(paths->sup_sock)) {
		path_too_long(
			b, name ? name : b->root, paths->sup_sock,
			"give the lab a shorter name, or set XDG_RUNTIME_DIR to a shorter directory");
		lab_paths_free(paths);
		return;
	}
	for (unsigned i = 0; i < paths->nets->len; i++)
		if (b->network_nodes->pdata[i] && !fits(lab_paths_net(paths, i)->ctl))
			path_too_long(b, b->network_nodes->pdata[i], lab_paths_net(paths, i)->ctl,
				      "give the network or the lab a shorter name");
	for (unsigned i = 0; i < paths->portals->len; i++)
		if (!fits(lab_paths_portal(paths, i)->ivshmem))
			path_too_long(b, b->portal_nodes->pdata[i],
				      lab_paths_portal(paths, i)->ivshmem,
				      "give the portal or the lab a shorter name");
	for (unsigned i = 0; i < paths->vms->len; i++) {
		g_autofree char *longest =
			longest_socket(lab_vm(b->lab, i), lab_paths_vm(paths, i));

		if (!fits(longest))
			path_too_long(b, b->vm_nodes->pdata[i], longest,
				      "give the VM or the lab a shorter name");
	}
	lab_paths_free(paths);
}

/* --- the engine ----------------------------------------------------------------------------------------------------- */

static void build_uri(struct builder *b, struct jt_node *node)
{
	struct lab_engine *engine = &b->lab->engine;
	struct libvirt_uri parts;
	const char *fault;

	engine->uri = node ? g_strdup(node->string) : g_strdup(LIBVIRT_URI_DEFAULT);
	fault = libvirt_uri_fault(engine->uri, &parts);
	if (fault)
		lab_error_at(b->errors, node, "\"%s\": %s", engine->uri, fault);
}

static void build_engine(struct builder *b)
{
	struct jt_node *node = build_good(b->root, "engine");
	struct jt_node *word = node && node->type == JT_OBJECT ? build_good(node, "name") : node;
	struct jt_node *uri = node && node->type == JT_OBJECT ? build_good(node, "uri") : NULL;
	struct jt_node *user = node && node->type == JT_OBJECT ? build_good(node, "user") : NULL;
	struct lab_engine *engine = &b->lab->engine;

	engine->user = user ? (enum lab_engine_user)user->decoded : LAB_ENGINE_USER_UNSAID;
	if (!word)
		return;
	engine->kind = (enum lab_engine_kind)word->decoded;
	if (engine->kind == LAB_ENGINE_LIBVIRT) {
		build_uri(b, uri);
		return;
	}
	if (uri)
		lab_error_at_key(b->errors, uri, "only \"libvirt\" has a \"uri\"");
	if (user)
		lab_error_at_key(b->errors, user, "only \"libvirt\" has a \"user\"");
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static void build_vms(struct builder *b)
{
	struct jt_node *vms = build_good(b->root, "vms");

	check_image_name(b, b->defaults);
	for (struct jt_node *n = vms ? vms->child : NULL; n; n = n->next)
		if (build_usable(n))
			build_vm(b, n);
	for (unsigned i = 0; i < b->lab->vms->len; i++) {
		build_nics(b, lab_vm(b->lab, i));
		build_after(b, lab_vm(b->lab, i));
	}
	/* What is written goes first, so that what is derived gives way to it. */
	for (unsigned i = 0; i < b->lab->networks->len; i++)
		build_uplink_addresses(b, lab_network(b->lab, i));
	each_nic(b, take_given_ip);
	deal_ips(b);
	each_nic(b, take_given_mac);
	each_nic(b, derive_mac);
	each_nic(b, build_nic_link);
	build_network_duties(b);
	check_order(b);
	build_sockets(b);
	build_portal_duties(b);
}

void lab_build(struct lab *lab, struct jt_node *root, const struct lab_dirs *dirs,
	       struct lab_errors *errors)
{
	struct builder b = { .lab = lab, .dirs = dirs, .errors = errors, .root = root };

	b.defaults = build_good(root, "defaults");
	b.network_nodes = g_ptr_array_new();
	b.vm_nodes = g_ptr_array_new();
	b.portal_nodes = g_ptr_array_new();
	b.by_ip = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	b.uplink_nodes = g_hash_table_new(NULL, NULL);
	b.by_mac = g_hash_table_new(NULL, NULL);
	b.by_cid = g_hash_table_new(NULL, NULL);
	lab->name = build_good_string(root, "name");
	if (!lab->name)
		lab->name = names_lab_default(lab->path);
	lab->description = build_good_string(root, "description");
	build_engine(&b);
	build_link_kinds(&b);
	build_networks(&b);
	build_images(&b);
	build_portals(&b);
	build_vms(&b);
	check_socket_paths(&b);
	g_ptr_array_unref(b.network_nodes);
	g_ptr_array_unref(b.vm_nodes);
	g_ptr_array_unref(b.portal_nodes);
	g_hash_table_unref(b.by_ip);
	g_hash_table_unref(b.uplink_nodes);
	g_hash_table_unref(b.by_mac);
	g_hash_table_unref(b.by_cid);
}
