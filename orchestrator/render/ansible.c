/* SPDX-License-Identifier: MIT */
#include "render/ansible.h"

#include <arpa/inet.h>
#include <glib.h>

#include "model/lab.h"
#include "render/qemu.h"

#define SSH_PORT 22
/* A guest that is made anew has a new key.  For ssh, scp and sftp alike. */
#define ANY_KEY "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

/* A YAML string in double quotes: names may be words like "no", and paths may hold anything. */
static void put_quoted(GString *out, const char *text)
{
	g_string_append_c(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			g_string_append_c(out, '\\');
		g_string_append_c(out, *text);
	}
	g_string_append_c(out, '"');
}

/* --- hosts -------------------------------------------------------------------------------------------------------- */

static void put_by_sockets(GString *out, const struct lab *lab, const struct vm *vm,
			   const char *program)
{
	g_autofree char *word = render_sh_quote(program);
	g_autofree char *command = g_strdup_printf("ProxyCommand=%s vsock-connect --lab %s %s %u",
						   word, lab->name, vm->name, SSH_PORT);
	g_autofree char *quoted = render_sh_quote(command);
	g_autofree char *args = g_strdup_printf("-o %s -o HostKeyAlias=%s.%s.vhost-lab " ANY_KEY,
						quoted, vm->name, lab->name);

	g_string_append(out, "      ansible_ssh_common_args: ");
	put_quoted(out, args);
	g_string_append_c(out, '\n');
}

/* A way from the host to the VM's ssh; NULL: there is none. */
static const struct nat_forward *forward_to(const struct lab *lab, const struct vm *vm)
{
	for (unsigned i = 0; i < lab->networks->len; i++)
		for (unsigned j = 0; j < lab_network(lab, i)->uplinks->len; j++) {
			const struct uplink *u = network_uplink(lab_network(lab, i), j);

			for (unsigned k = 0; k < u->forwards->len; k++) {
				const struct nat_forward *f = u->forwards->pdata[k];

				for (unsigned n = 0; n < vm->nics->len; n++)
					if (!f->udp && f->guest_port == SSH_PORT &&
					    f->guest.s_addr == vm_nic(vm, n)->ip.s_addr)
						return f;
			}
		}
	return NULL;
}

static void put_by_network(GString *out, const struct lab *lab, const struct vm *vm)
{
	const struct nat_forward *f = forward_to(lab, vm);
	char ip[INET_ADDRSTRLEN];

	if (f)
		g_string_append_printf(out, "      ansible_host: \"%s\"\n      ansible_port: %u\n",
				       f->host, f->host_port);
	else if (vm->nics->len > 0)
		g_string_append_printf(out, "      ansible_host: \"%s\"\n",
				       inet_ntop(AF_INET, &vm_nic(vm, 0)->ip, ip, sizeof(ip)));
}

static void put_addresses(GString *out, const struct vm *vm)
{
	g_autoptr(GHashTable) said = g_hash_table_new(NULL, NULL);
	char ip[INET_ADDRSTRLEN];

	g_string_append(out, "      lab_addresses: {");
	for (unsigned i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		if (!g_hash_table_add(said, nic->network)) /* the first of several there */
			continue;
		g_string_append_printf(out, "%s\"%s\": \"%s\"", i > 0 ? ", " : "",
				       nic->network->name,
				       inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip)));
	}
	g_string_append(out, "}\n");
}

static void put_host(GString *out, const struct lab *lab, const struct vm *vm, const char *program)
{
	g_string_append_printf(out, "    \"%s\":\n", vm->name);
	if (vm->sockets != LAB_SOCKETS_NONE)
		put_by_sockets(out, lab, vm, program);
	else
		put_by_network(out, lab, vm);
	put_addresses(out, vm);
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

static bool has_role(const struct vm *vm, const void *role)
{
	return g_strcmp0(vm->role, role) == 0;
}

static bool is_on(const struct vm *vm, const void *network)
{
	for (unsigned i = 0; i < vm->nics->len; i++)
		if (vm_nic(vm, i)->network == network)
			return true;
	return false;
}

static bool shares(const struct vm *vm, const void *portal)
{
	return vm_find_portal(vm, portal) != NULL;
}

/* The VMs for which that holds; a group of none is none. */
static void put_group(GString *out, const struct lab *lab, const char *kind, const char *name,
		      bool (*holds)(const struct vm *, const void *), const void *data)
{
	g_autofree char *title = g_strdelimit(g_strconcat(kind, "_", name, NULL), "-", '_');
	bool begun = false;

	for (unsigned i = 0; i < lab->vms->len; i++) {
		if (!holds(lab_vm(lab, i), data))
			continue;
		if (!begun)
			g_string_append_printf(out, "    %s:\n      hosts:\n", title);
		begun = true;
		g_string_append_printf(out, "        \"%s\": {}\n", lab_vm(lab, i)->name);
	}
}

static void put_groups(GString *out, const struct lab *lab)
{
	g_autoptr(GHashTable) roles = g_hash_table_new(g_str_hash, g_str_equal);

	for (unsigned i = 0; i < lab->vms->len; i++)
		if (lab_vm(lab, i)->role && g_hash_table_add(roles, lab_vm(lab, i)->role))
			put_group(out, lab, "role", lab_vm(lab, i)->role, has_role,
				  lab_vm(lab, i)->role);
	for (unsigned i = 0; i < lab->networks->len; i++)
		put_group(out, lab, "net", lab_network(lab, i)->name, is_on, lab_network(lab, i));
	for (unsigned i = 0; i < lab->portals->len; i++)
		put_group(out, lab, "portal", lab_portal(lab, i)->name, shares, lab_portal(lab, i));
}

char *render_ansible(const struct lab *lab, const char *program)
{
	GString *out = g_string_new(NULL);
	g_autoptr(GString) groups = g_string_new(NULL);

	g_string_append_printf(out, "# Lab %s: ansible-inventory -i THIS --graph\nall:\n",
			       lab->name);
	g_string_append(out, "  vars:\n"
			     "    ansible_user: \"root\"\n"
			     "    ansible_ssh_common_args: \"" ANY_KEY "\"\n"
			     "  hosts:\n");
	for (unsigned i = 0; i < lab->vms->len; i++)
		put_host(out, lab, lab_vm(lab, i), program);
	put_groups(groups, lab);
	if (groups->len > 0)
		g_string_append_printf(out, "  children:\n%s", groups->str);
	return g_string_free(out, FALSE);
}
