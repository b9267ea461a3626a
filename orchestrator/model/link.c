/* SPDX-License-Identifier: MIT */
/* Which plug of a lab a LINK means. */
#include "model/lab.h"

#include <arpa/inet.h>
#include <string.h>

#include "err.h"

/* A LINK taken apart: at most one of nic and network. */
struct words {
	char *vm;
	char *nic;
	char *network;
};

static void words_clear(struct words *w)
{
	g_free(w->vm);
	g_free(w->nic);
	g_free(w->network);
}

static struct words take_apart(const char *text)
{
	const char *mark = strpbrk(text, ".:");
	struct words w = { .vm = mark ? g_strndup(text, (gsize)(mark - text)) : g_strdup(text) };

	if (mark && *mark == '.')
		w.nic = g_strdup(mark + 1);
	else if (mark)
		w.network = g_strdup(mark + 1);
	return w;
}

static struct link_ref of_nic(const struct vm *vm, const struct nic *nic)
{
	return (struct link_ref){
		.network = nic->network, .port = nic->port, .link = &nic->link, .vm = vm, .nic = nic
	};
}

/* --- what there is, for messages ------------------------------------------------------------------------------------ */

/* "did you mean "x"?" or "there are: x, y"; g_free(). */
static char *hint(const char *wanted, GPtrArray *names)
{
	struct lab_errors *scratch = lab_errors_new("");
	const char *near =
		lab_errors_nearest(scratch, wanted, (const char *const *)names->pdata, names->len);
	g_autofree char *list = NULL;

	lab_errors_free(scratch);
	if (near)
		return g_strdup_printf("did you mean \"%s\"?", near);
	if (names->len == 0)
		return g_strdup("there is none");
	if (names->len > 8)
		return g_strdup_printf("there are %u others", names->len);
	g_ptr_array_add(names, NULL);
	list = g_strjoinv(", ", (char **)names->pdata);
	return g_strdup_printf("there %s: %s", names->len == 2 ? "is" : "are", list);
}

static gboolean no_vm(const struct lab *lab, const struct network *within, const char *name,
		      GError **error)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	g_autofree char *text = NULL;

	for (unsigned i = 0; i < lab->vms->len; i++)
		g_ptr_array_add(names, lab_vm(lab, i)->name);
	for (unsigned i = 0; within && i < within->uplinks->len; i++)
		g_ptr_array_add(names, network_uplink(within, i)->port);
	text = hint(name, names);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "no VM \"%s\" (%s)", name, text);
	return FALSE;
}

/* A network was named where a link is wanted: with an uplink it does not have, or with none. */
static gboolean no_uplink(const struct network *network, const char *uplink, GError **error)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *list = NULL;

	for (unsigned i = 0; i < network->uplinks->len; i++)
		g_ptr_array_add(names, g_strdup_printf("%s:%s", network->name,
						       network_uplink(network, i)->port));
	g_ptr_array_add(names, NULL);
	list = g_strjoinv(", ", (char **)names->pdata);
	if (uplink)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "network %s has no uplink \"%s\"%s%s", network->name, uplink,
			    *list ? ": " : "", list);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "%s is a network, not a link%s%s",
			    network->name, *list ? "; its uplinks: " : "", list);
	return FALSE;
}

static gboolean no_nic(const struct vm *vm, const char *what, GError **error)
{
	g_autoptr(GString) list = g_string_new(NULL);

	for (unsigned i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		g_string_append_printf(list, "%s%s (%s)", i > 0 ? ", " : "", nic->port,
				       nic->network ? nic->network->name : "?");
	}
	if (vm->nics->len == 0)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "VM %s has no NIC", vm->name);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "VM %s has %s: %s", vm->name, what,
			    list->str);
	return FALSE;
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

static gboolean find_uplink(const struct network *network, const char *name, struct link_ref *ret)
{
	for (unsigned i = 0; i < network->uplinks->len; i++) {
		const struct uplink *u = network_uplink(network, i);

		if (strcmp(u->port, name) != 0)
			continue;
		*ret = (struct link_ref){
			.network = network, .port = u->port, .link = &u->link, .uplink = u
		};
		return TRUE;
	}
	return FALSE;
}

static gboolean by_index(const struct vm *vm, const struct network *within, const char *text,
			 struct link_ref *ret, GError **error)
{
	g_autofree char *port = g_strdup_printf("%s.%s", vm->name, text);

	for (unsigned i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		if (strcmp(nic->port, port) != 0 || (within && nic->network != within))
			continue;
		*ret = of_nic(vm, nic);
		return TRUE;
	}
	return no_nic(vm, "no such NIC", error);
}

/* Its only NIC, or its only one on a network. */
static gboolean only_nic(const struct vm *vm, const struct network *on, struct link_ref *ret,
			 GError **error)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		if (on && nic->network != on)
			continue;
		*ret = of_nic(vm, nic);
		n++;
	}
	if (n == 1)
		return TRUE;
	return no_nic(vm, n == 0 ? "no NIC there" : "several NICs, name one of them", error);
}

static gboolean find(const struct lab *lab, const struct network *within, const struct words *w,
		     struct link_ref *ret, GError **error)
{
	const struct vm *vm = lab_find_vm(lab, w->vm);
	const struct network *first = lab_find_network(lab, w->vm);
	const struct network *on = w->network ? lab_find_network(lab, w->network) : within;

	if (!vm && within && !w->nic && !w->network && find_uplink(within, w->vm, ret))
		return TRUE;
	if (!vm && first && w->network && find_uplink(first, w->network, ret))
		return TRUE;
	if (!vm && first && !within && !w->nic)
		return no_uplink(first, w->network, error);
	if (!vm)
		return no_vm(lab, within, w->vm, error);
	if (w->network && (!on || (within && on != within)))
		return no_nic(vm, "no NIC there", error);
	return w->nic ? by_index(vm, within, w->nic, ret, error) : only_nic(vm, on, ret, error);
}

gboolean lab_find_link(const struct lab *lab, const struct network *within, const char *text,
		       struct link_ref *ret, GError **error)
{
	struct words w = take_apart(text);
	struct link_ref found = { 0 };
	gboolean good = find(lab, within, &w, &found, error);

	if (good)
		*ret = found;
	words_clear(&w);
	return good;
}

const struct uplink *network_way_out(const struct network *network)
{
	for (unsigned i = 0; i < network->uplinks->len; i++)
		if (network_uplink(network, i)->gateway.s_addr != 0)
			return network_uplink(network, i);
	return NULL;
}

const char *network_ip_fault(const struct network *network, uint32_t ip)
{
	uint32_t mask = network->prefix ? UINT32_MAX << (32 - network->prefix) : 0;
	uint32_t host = ip & ~mask;

	if ((ip & mask) != ntohl(network->subnet.s_addr))
		return "is outside";
	if (host == 0)
		return "is the network address of";
	if (host == ~mask)
		return "is the broadcast address of";
	return NULL;
}

const struct nic *vm_way_out(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nics->len; i++)
		if (network_way_out(vm_nic(vm, i)->network))
			return vm_nic(vm, i);
	return NULL;
}
