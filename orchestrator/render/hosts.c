/* SPDX-License-Identifier: MIT */
#include "render/hosts.h"

#include <arpa/inet.h>
#include <glib.h>

#include "model/lab.h"

/* "10.0.0.1  n1 n1.lan": the VM's own name is of its first NIC, as in the guests. */
static void put_nic(GString *out, const struct vm *vm, const struct nic *nic)
{
	char ip[INET_ADDRSTRLEN];

	g_string_append_printf(out, "%-15s\t", inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip)));
	if (nic->index == 0)
		g_string_append_printf(out, "%s ", vm->name);
	g_string_append_printf(out, "%s.%s\n", vm->name, nic->network->name);
}

char *render_hosts(const struct lab *lab)
{
	GString *out = g_string_new(NULL);

	g_string_append_printf(out, "# Lab %s: VM, and VM.NETWORK\n", lab->name);
	for (unsigned i = 0; i < lab->vms->len; i++)
		for (unsigned j = 0; j < lab_vm(lab, i)->nics->len; j++)
			put_nic(out, lab_vm(lab, i), vm_nic(lab_vm(lab, i), j));
	return g_string_free(out, FALSE);
}
