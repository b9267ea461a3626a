/* SPDX-License-Identifier: MIT */
#include "image/guest_conf.h"

#include <arpa/inet.h>
#include <glib.h>

#include "model/lab.h"

static const char *address(const struct nic *nic, char buf[INET_ADDRSTRLEN])
{
	return inet_ntop(AF_INET, &nic->ip, buf, INET_ADDRSTRLEN);
}

static void put_nic(GString *text, const struct nic *nic)
{
	const uint8_t *m = nic->mac;
	char ip[INET_ADDRSTRLEN];
	unsigned i = nic->index;

	g_string_append_printf(text, "nic.%u.mac %02x:%02x:%02x:%02x:%02x:%02x\n", i, m[0], m[1],
			       m[2], m[3], m[4], m[5]);
	g_string_append_printf(text, "nic.%u.ip %s/%u\n", i, address(nic, ip),
			       nic->network->prefix);
	g_string_append_printf(text, "nic.%u.mtu %u\n", i, nic->network->mtu);
	g_string_append_printf(text, "nic.%u.network %s\n", i, nic->network->name);
}

static void put_way_out(GString *text, const struct vm *vm)
{
	const struct nic *nic = vm_way_out(vm);
	const struct uplink *u = nic ? network_way_out(nic->network) : NULL;
	char ip[INET_ADDRSTRLEN];

	if (!u)
		return;
	g_string_append_printf(text, "nic.%u.gateway %s\n", nic->index,
			       inet_ntop(AF_INET, &u->gateway, ip, sizeof(ip)));
	if (u->dns.s_addr)
		g_string_append_printf(text, "dns %s\n",
				       inet_ntop(AF_INET, &u->dns, ip, sizeof(ip)));
}

static void put_hosts(GString *text, const struct vm *vm)
{
	char ip[INET_ADDRSTRLEN];

	if (vm->nics->len)
		g_string_append_printf(text, "host %s %s\n", address(vm_nic(vm, 0), ip), vm->name);
	for (unsigned i = 0; vm->nics->len > 1 && i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		g_string_append_printf(text, "host %s %s.%s\n", address(nic, ip), vm->name,
				       nic->network->name);
	}
}

char *guest_conf(const struct lab *lab, const struct vm *vm)
{
	GString *text = g_string_new("format 1\n");

	g_string_append_printf(text, "lab %s\nhostname %s\n", lab->name, vm->name);
	if (lab->port_base != LAB_PORT_BASE)
		g_string_append_printf(text, "agent-port %u\n", lab->port_base);
	if (vm->sockets == LAB_SOCKETS_HVSOCK)
		g_string_append(text, "sockets hvsock\n");
	for (unsigned i = 0; i < vm->nics->len; i++)
		put_nic(text, vm_nic(vm, i));
	put_way_out(text, vm);
	for (unsigned i = 0; i < vm->portals->len; i++)
		g_string_append_printf(text, "portal %s %s\n", vm_portal(vm, i)->portal->name,
				       portal_door_name(vm_portal(vm, i)->door));
	for (unsigned i = 0; i < lab->vms->len; i++)
		put_hosts(text, lab_vm(lab, i));
	return g_string_free(text, FALSE);
}
