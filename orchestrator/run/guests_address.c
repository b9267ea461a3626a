/* SPDX-License-Identifier: MIT */
#include "run/guests_impl.h"

#include <arpa/inet.h>
#include <string.h>

#include "err.h"

/* --- whose is what ------------------------------------------------------------------------------------------------ */

/* The card whose MAC or address is that text, as in struct guest_nic; NULL: none of these has. */
static const char *card_of(const GPtrArray *nics, const char *text)
{
	for (guint i = 0; i < nics->len; i++) {
		const struct guest_nic *nic = nics->pdata[i];

		if (g_strcmp0(nic->mac, text) == 0 || g_strcmp0(nic->ip, text) == 0)
			return nic->port;
	}
	return NULL;
}

static const char *guest_of(const struct guests *all, const char *text)
{
	const char *found = NULL;

	for (guint i = 0; all && i < all->list->len && !found; i++)
		found = card_of(((const struct guest *)all->list->pdata[i])->is->nics, text);
	return found;
}

static char *ip_text(const struct network *n, struct in_addr ip)
{
	char address[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &ip, address, sizeof(address));
	return g_strdup_printf("%s/%u", address, n->prefix);
}

const char *guest_ip_owner(const struct guests *all, const struct lab *lab, const struct network *n,
			   struct in_addr ip)
{
	g_autofree char *text = ip_text(n, ip);

	for (guint i = 0; i < lab->vms->len; i++)
		for (guint j = 0; j < lab_vm(lab, i)->nics->len; j++)
			if (vm_nic(lab_vm(lab, i), j)->ip.s_addr == ip.s_addr)
				return vm_nic(lab_vm(lab, i), j)->port;
	for (guint i = 0; i < n->uplinks->len; i++)
		if (network_uplink(n, i)->gateway.s_addr == ip.s_addr ||
		    network_uplink(n, i)->dns.s_addr == ip.s_addr)
			return network_uplink(n, i)->port;
	return guest_of(all, text);
}

const char *guest_mac_owner(const struct guests *all, const struct lab *lab, const char *text)
{
	char other[NAMES_MAC_LEN + 1];

	for (guint i = 0; i < lab->vms->len; i++) {
		for (guint j = 0; j < lab_vm(lab, i)->nics->len; j++) {
			names_mac_format(vm_nic(lab_vm(lab, i), j)->mac, other);
			if (strcmp(other, text) == 0)
				return vm_nic(lab_vm(lab, i), j)->port;
		}
	}
	return guest_of(all, text);
}

bool guest_cid_is_taken(const struct guests *all, const struct lab *lab, uint32_t cid)
{
	bool taken = false;

	for (guint i = 0; i < lab->vms->len; i++)
		taken |= lab_vm(lab, i)->cid == cid;
	for (guint i = 0; all && i < all->list->len; i++)
		taken |= ((const struct guest *)all->list->pdata[i])->is->cid == cid;
	return taken;
}

/* --- MACs --------------------------------------------------------------------------------------------------------- */

static const char *mac_owner(const struct guests *all, const struct state_guest *own,
			     const char *text)
{
	const char *owner = guest_mac_owner(all, all->sup->lab, text);

	return owner ? owner : card_of(own->nics, text);
}

static char *derive_mac(const struct guests *all, const struct state_guest *own)
{
	char text[NAMES_MAC_LEN + 1];
	unsigned attempt = 0;
	uint8_t mac[6];

	do {
		names_mac(all->sup->lab->name, own->name, own->nics->len, attempt++, mac);
		names_mac_format(mac, text);
	} while (mac_owner(all, own, text));
	return g_strdup(text);
}

char *guest_give_mac(const struct guests *all, const struct state_guest *own, const char *said,
		     GError **error)
{
	char text[NAMES_MAC_LEN + 1];
	const char *owner;
	uint8_t mac[6];
	uint64_t number;

	if (!said)
		return derive_mac(all, own);
	if (!names_mac_parse(said, &number) || number == 0 || number >> 40 & 1) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "\"%s\" is no MAC address of a card: write it like 52:54:00:12:34:56",
			    said);
		return NULL;
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(mac); i++)
		mac[i] = (uint8_t)(number >> (40 - 8 * i));
	names_mac_format(mac, text);
	owner = mac_owner(all, own, text);
	if (!owner)
		return g_strdup(text);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT, "%s is the MAC address of %s already",
		    text, owner);
	return NULL;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static const char *ip_owner(const struct guests *all, const struct network *n,
			    const struct state_guest *own, struct in_addr ip)
{
	const char *owner = guest_ip_owner(all, all->sup->lab, n, ip);
	g_autofree char *text = ip_text(n, ip);

	return owner ? owner : card_of(own->nics, text);
}

/* From the middle of the subnet down: what labs deal to their VMs comes from below, and above is what NAT's DHCP leases.  NULL:
 * the subnet is full. */
static char *derive_ip(const struct guests *all, const struct network *n,
		       const struct state_guest *own)
{
	for (uint32_t host = MAX(names_ip_count(n->prefix) / 2, 1); host > 0; host--) {
		struct in_addr ip = { htonl(ntohl(n->subnet.s_addr) + host) };

		if (!ip_owner(all, n, own, ip))
			return ip_text(n, ip);
	}
	return NULL;
}

gboolean guest_give_ip(const struct guests *all, const struct network *n,
		       const struct state_guest *own, const char *said, char **ret, GError **error)
{
	const char *fault, *owner;
	g_autofree char *subnet = ip_text(n, n->subnet);
	struct in_addr ip;

	if (!said) {
		*ret = derive_ip(all, n, own);
		return TRUE;
	}
	if (inet_pton(AF_INET, said, &ip) != 1) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "\"%s\" is no IPv4 address", said);
		return FALSE;
	}
	fault = network_ip_fault(n, ntohl(ip.s_addr));
	if (fault) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "%s %s %s, the subnet of \"%s\"",
			    said, fault, subnet, n->name);
		return FALSE;
	}
	owner = ip_owner(all, n, own, ip);
	if (owner) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
			    "%s is the address of %s already", said, owner);
		return FALSE;
	}
	*ret = ip_text(n, ip);
	return TRUE;
}

uint32_t guest_give_cid(const struct guests *all, const char *name)
{
	unsigned attempt = 0;
	uint32_t cid;

	do
		cid = names_cid(all->sup->lab->name, name, attempt++);
	while (guest_cid_is_taken(all, all->sup->lab, cid));
	return cid;
}
