/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "model/build_impl.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/names.h"
#include "model/units.h"

/* --- portals -------------------------------------------------------------------------------------------------------- */

static uint64_t default_size(void)
{
	uint64_t size = 0;
	const char *problem = unit_parse_size(LAB_PORTAL_SIZE, &size);

	g_assert(!problem);
	return size;
}

static void check_size(struct builder *b, const struct jt_node *node)
{
	if (node && node->decoded % LAB_PORTAL_UNIT != 0)
		lab_error_at(b->errors, node, "has to be a multiple of %u MiB",
			     (unsigned)(LAB_PORTAL_UNIT >> 20));
}

/* What an arena has room for, and a client's name in it. */
static bool name_fits(const char *name)
{
	return strlen(name) <= LAB_PORTAL_NAME_MAX;
}

static void build_portal(struct builder *b, struct jt_node *node)
{
	struct portal *p = g_new0(struct portal, 1);

	if (!name_fits(node->key))
		lab_error_at_key(b->errors, node,
				 "is too long for the name of a portal: %u bytes are allowed",
				 LAB_PORTAL_NAME_MAX);
	p->name = g_strdup(node->key);
	p->description = build_good_string(node, "description");
	p->size = build_good_number(node, "size", default_size());
	check_size(b, build_good(node, "size"));
	p->file = build_lab_relative(b->lab, build_good_string(node, "file"));
	p->index = b->lab->portals->len;
	g_ptr_array_add(b->lab->portals, p);
	g_ptr_array_add(b->portal_nodes, node);
}

/* Two daemons on one file would be two truths about it; the second refuses it. */
static void check_files(struct builder *b)
{
	g_autoptr(GHashTable) by_file = g_hash_table_new(g_str_hash, g_str_equal);

	for (unsigned i = 0; i < b->lab->portals->len; i++) {
		struct portal *p = lab_portal(b->lab, i);
		const struct portal *owner = p->file ? g_hash_table_lookup(by_file, p->file) : NULL;

		if (owner)
			lab_error_at(b->errors, build_good(b->portal_nodes->pdata[i], "file"),
				     "is the file of portal %s already", owner->name);
		else if (p->file)
			g_hash_table_insert(by_file, p->file, p);
	}
}

void build_portals(struct builder *b)
{
	struct jt_node *map = build_good(b->root, "portals");

	b->portals_known = map || !jt_get(b->root, "portals");
	for (struct jt_node *n = map ? map->child : NULL; n; n = n->next)
		if (build_usable(n))
			build_portal(b, n);
	check_files(b);
}

/* --- their ports ---------------------------------------------------------------------------------------------------- */

/* Whose the port is already, for people; NULL: nobody's.  g_free(). */
static char *port_owner(const struct builder *b, uint32_t port)
{
	unsigned base = b->lab->port_base;

	if (port >= base && port < base + LAB_PORTS)
		return g_strdup("of the agent");
	for (unsigned i = 0; i < b->lab->portals->len; i++)
		if (lab_portal(b->lab, i)->port == port)
			return g_strdup_printf("of portal %s", lab_portal(b->lab, i)->name);
	for (unsigned i = 0; i < b->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(b->lab, i);

		for (unsigned j = 0; j < vm->forwards->len; j++) {
			const struct forward *f = vm->forwards->pdata[j];

			if (!f->to_guest && f->port == port)
				return g_strdup_printf("of a forward of VM %s", vm->name);
		}
	}
	return NULL;
}

/* What is written goes first, so that what is derived gives way to it. */
static void give_ports(struct builder *b)
{
	for (unsigned i = 0; i < b->lab->portals->len; i++) {
		struct jt_node *said = build_good(b->portal_nodes->pdata[i], "port");
		g_autofree char *owner = said ? port_owner(b, (uint32_t)said->decoded) : NULL;

		if (owner)
			lab_error_at(b->errors, said, "%" G_GINT64_FORMAT " is a port %s",
				     said->integer, owner);
		else if (said)
			lab_portal(b->lab, i)->port = (uint32_t)said->decoded;
	}
	for (unsigned i = 0; i < b->lab->portals->len; i++) {
		struct portal *p = lab_portal(b->lab, i);

		for (unsigned attempt = 0; p->port == 0; attempt++) {
			uint32_t port = names_portal_port(b->lab->name, p->name, attempt);
			g_autofree char *owner = port_owner(b, port);

			if (!owner)
				p->port = port;
		}
	}
}

/* --- what VMs have of them ------------------------------------------------------------------------------------------ */

static struct portal_access *add_access(struct builder *b, struct vm *vm,
					const struct jt_node *node, const char *name)
{
	struct portal *portal = lab_find_portal(b->lab, name);
	struct portal_access *a;

	if (!portal)
		return NULL;
	a = g_new0(struct portal_access, 1);
	a->portal = portal;
	a->index = vm->portals->len;
	g_ptr_array_add(vm->portals, a);
	if (++portal->n_vms == LAB_PORTAL_VMS_MAX + 1)
		lab_error_at(b->errors, node, "portal %s has more than %u VMs", portal->name,
			     LAB_PORTAL_VMS_MAX);
	if (!name_fits(vm->name))
		lab_error_at(b->errors, node,
			     "the VM's name is too long for a portal: %u bytes are allowed",
			     LAB_PORTAL_NAME_MAX);
	return a;
}

/* Where it is a PCI BAR its size is a power of two; and of ivshmem nobody can keep the guest from writing to it.  What "vhost-user"
 * asks for is the QEMU's to say (render_qemu_check()). */
static void check_door(struct builder *b, const struct portal_access *a, const struct jt_node *node)
{
	uint64_t size = a->portal->size;

	if (a->door == PORTAL_DOOR_IVSHMEM && (size & (size - 1)) != 0)
		lab_error_at(
			b->errors, build_good(node, "door"),
			"needs a portal whose size is a power of two, as that of a PCI BAR is");
	if (a->door == PORTAL_DOOR_IVSHMEM && a->readonly)
		lab_error_at(b->errors, build_good(node, "mode"),
			     "\"ivshmem\" has no read-only side: take the door \"pmem\"");
}

/* The device that is made for it no stock QEMU has. */
static void want_qemu(struct builder *b, struct vm *vm)
{
	if (!vm->qemu && vm->arch == LAB_ARCH_X86_64 &&
	    !build_machine_setting(b, b->vm_nodes->pdata[vm->index], "qemu"))
		vm->qemu = g_strdup(LAB_QEMU_PATCHED);
}

static void build_access(struct builder *b, struct vm *vm, struct jt_node *node)
{
	struct portal_access *a = add_access(b, vm, node, node->key);
	const struct jt_node *quota = build_good(node, "quota");

	if (!a) {
		if (b->portals_known)
			build_no_such(b, node, "portal", b->lab->portals);
		return;
	}
	a->readonly = build_good_number(node, "mode", 0) != 0;
	a->door = (enum portal_door)build_good_number(node, "door", PORTAL_DOOR_PMEM);
	a->quota = build_good_number(node, "quota", 0);
	check_size(b, quota);
	if (quota && a->readonly)
		lab_error_at_key(b->errors, quota, "has no use: who only reads is granted nothing");
	check_door(b, a, node);
	if (a->door == PORTAL_DOOR_VHOST_USER)
		want_qemu(b, vm);
}

static void build_accesses(struct builder *b, struct vm *vm)
{
	const struct jt_node *list = build_good(b->vm_nodes->pdata[vm->index], "portals");
	bool names = list && list->type == JT_ARRAY;

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next) {
		if (!names && build_usable(n))
			build_access(b, vm, n);
		else if (names && n->ok && !add_access(b, vm, n, n->string) && b->portals_known)
			build_no_such(b, n, "portal", b->lab->portals);
	}
}

void build_portal_duties(struct builder *b)
{
	give_ports(b);
	for (unsigned i = 0; i < b->lab->vms->len; i++)
		if (lab_vm(b->lab, i)->sockets != LAB_SOCKETS_NONE)
			build_accesses(b, lab_vm(b->lab, i));
}
