/* SPDX-License-Identifier: MIT */
#include "render/agent_config.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/lab.h"

/* A host takes "{"address":"255.255.255.255","names":["…"]}," and its name; sixteen interfaces take less than 4 KiB. */
#define HOSTS_BYTES (56u << 10)
#define HOST_BYTES  45

static struct json_object *string_list(const char *text)
{
	struct json_object *list = json_object_new_array();

	json_object_array_add(list, json_object_new_string(text));
	return list;
}

static struct json_object *ip_text(struct in_addr address)
{
	char ip[INET_ADDRSTRLEN];

	return json_object_new_string(inet_ntop(AF_INET, &address, ip, sizeof(ip)));
}

static struct json_object *interface(const struct vm *vm, const struct nic *nic)
{
	struct json_object *o = json_object_new_object();
	char mac[NAMES_MAC_LEN + 1], ip[INET_ADDRSTRLEN];
	g_autofree char *name = g_strdup_printf("eth%u", nic->index), *cidr = NULL;

	names_mac_format(nic->mac, mac);
	inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip));
	cidr = g_strdup_printf("%s/%u", ip, nic->network->prefix);
	json_object_object_add(o, "mac", json_object_new_string(mac));
	json_object_object_add(o, "name", json_object_new_string(name));
	json_object_object_add(o, "mtu", json_object_new_int((int)nic->network->mtu));
	json_object_object_add(o, "addresses", string_list(cidr));
	if (nic == vm_way_out(vm))
		json_object_object_add(o, "gateway",
				       ip_text(network_way_out(nic->network)->gateway));
	return o;
}

static void add_host(struct json_object *hosts, const struct nic *nic, const char *name,
		     size_t *bytes)
{
	struct json_object *o = json_object_new_object();
	char ip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip));
	json_object_object_add(o, "address", json_object_new_string(ip));
	json_object_object_add(o, "names", string_list(name));
	json_object_array_add(hosts, o);
	*bytes += HOST_BYTES + strlen(name);
}

/* As guest_conf() has them; NULL where they are too many. */
static struct json_object *hosts_of(const struct lab *lab)
{
	struct json_object *hosts = json_object_new_array();
	size_t bytes = 0;

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		if (vm->nics->len > 0)
			add_host(hosts, vm_nic(vm, 0), vm->name, &bytes);
		for (unsigned j = 0; vm->nics->len > 1 && j < vm->nics->len; j++) {
			g_autofree char *name =
				g_strdup_printf("%s.%s", vm->name, vm_nic(vm, j)->network->name);

			add_host(hosts, vm_nic(vm, j), name, &bytes);
		}
		if (bytes > HOSTS_BYTES) {
			json_object_put(hosts);
			return NULL;
		}
	}
	return hosts;
}

struct json_object *render_agent_config(const struct lab *lab, const struct vm *vm)
{
	struct json_object *o = json_object_new_object(), *interfaces = json_object_new_array();
	struct json_object *hosts = hosts_of(lab);
	const struct nic *out = vm_way_out(vm);
	const struct uplink *uplink = out ? network_way_out(out->network) : NULL;

	json_object_object_add(o, "hostname", json_object_new_string(vm->name));
	for (unsigned i = 0; i < vm->nics->len; i++)
		json_object_array_add(interfaces, interface(vm, vm_nic(vm, i)));
	json_object_object_add(o, "interfaces", interfaces);
	if (uplink && uplink->dns.s_addr)
		json_object_object_add(o, "nameserver", ip_text(uplink->dns));
	if (hosts)
		json_object_object_add(o, "hosts", hosts);
	return o;
}
