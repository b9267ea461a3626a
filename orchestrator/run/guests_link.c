/* SPDX-License-Identifier: MIT */
#include "run/guests_impl.h"

#include <string.h>

#include "model/lab.h"
#include "run/json.h"

/* --- which one ---------------------------------------------------------------------------------------------------- */

gboolean guests_find_link(const struct guests *all, const struct lab *lab, const char *text,
			  struct link_ref *ret, GError **error)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new();
	g_autoptr(GError) why = NULL;

	for (guint i = 0; all && i < all->list->len; i++)
		g_ptr_array_add(list, ((const struct guest *)all->list->pdata[i])->is);
	if (state_guest_find_link(list, lab, text, ret, &why))
		return TRUE;
	if (!why)
		return lab_find_link(lab, NULL, text, ret, error);
	g_propagate_error(error, g_steal_pointer(&why));
	return FALSE;
}

/* --- carriers ----------------------------------------------------------------------------------------------------- */

static struct guest_nic *find_card(const struct guest *g, const char *port)
{
	for (guint i = 0; i < g->is->nics->len; i++)
		if (strcmp(((struct guest_nic *)g->is->nics->pdata[i])->port, port) == 0)
			return g->is->nics->pdata[i];
	return NULL;
}

void guests_set_carrier(struct guests *all, const char *port, bool up, bool again)
{
	for (guint i = 0; all && i < all->list->len; i++) {
		struct guest *g = all->list->pdata[i];
		struct guest_nic *nic = find_card(g, port);

		if (!nic || (!again && nic->down == !up))
			continue;
		nic->down = !up;
		nic->again |= again;
		g->in_vain = 0;
		sup_poke(all->sup);
	}
}

/* --- NAT ---------------------------------------------------------------------------------------------------------- */

static char *text_of(struct json_object *o)
{
	return g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* A second card of a guest on one network has its address, and no name of its own, as a VM's has none. */
static void add_hosts_of(const struct state_guest *is, const char *network,
			 struct json_object *hosts)
{
	bool named = false;

	for (guint i = 0; i < is->nics->len; i++) {
		const struct guest_nic *nic = is->nics->pdata[i];
		struct json_object *host;
		g_autofree char *ip = NULL;

		if (strcmp(nic->network, network) != 0 || !nic->mac || !nic->ip)
			continue;
		ip = g_strndup(nic->ip, strcspn(nic->ip, "/"));
		host = json_object_new_object();
		json_put_str(host, "name", named ? nic->port : is->name);
		json_put_str(host, "mac", nic->mac);
		json_put_str(host, "ip", ip);
		json_object_array_add(hosts, host);
		named = true;
	}
}

char *guests_add_hosts(const struct guests *all, const char *network, const char *params)
{
	auto_json o = json_tokener_parse(params);
	struct json_object *hosts = json_member(o, "hosts", json_type_array);

	for (guint i = 0; all && hosts && i < all->list->len; i++)
		add_hosts_of(((const struct guest *)all->list->pdata[i])->is, network, hosts);
	return text_of(o);
}

static bool is_guests(const struct guests *all, const char *network, struct json_object *host)
{
	const char *mac = json_str(host, "mac");

	for (guint i = 0; all && mac && i < all->list->len; i++) {
		const GPtrArray *nics = ((const struct guest *)all->list->pdata[i])->is->nics;

		for (guint j = 0; j < nics->len; j++) {
			const struct guest_nic *nic = nics->pdata[j];

			if (g_strcmp0(nic->mac, mac) == 0 && strcmp(nic->network, network) == 0)
				return true;
		}
	}
	return false;
}

char *guests_drop_hosts(const struct guests *all, const char *network, const char *params)
{
	auto_json o = json_tokener_parse(params);
	struct json_object *hosts = json_member(o, "hosts", json_type_array);

	for (size_t i = hosts ? json_object_array_length(hosts) : 0; i-- > 0;)
		if (is_guests(all, network, json_object_array_get_idx(hosts, i)))
			(void)json_object_array_del_idx(hosts, i, 1);
	return text_of(o);
}
