/* SPDX-License-Identifier: MIT */
/* fdb.add, fdb.remove, fdb.list, fdb.flush. */
#include <errno.h>
#include <stdio.h>

#include "ctl.h"
#include "ctl_impl.h"

/* "mac" and "vlan" of params; `vid` is what the second is if it is not said. */
static int key_argument(struct control_call *call, struct json_object *params, uint16_t vid,
			uint64_t *ret_key)
{
	const char *mac = NULL;
	uint64_t vlan = vid, key;
	int r = control_string(call, params, "mac", &mac);

	if (r == 0)
		r = control_uint(call, params, "vlan", VLAN_MAX, &vlan);
	if (r < 0)
		return r;
	if (!spec_mac(mac, &key))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "mac: not a station's address");
	*ret_key = key | fdb_key_vlan((uint16_t)vlan);
	return 0;
}

int ctl_fdb_add(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct sw_port *p = NULL;
	uint64_t key = 0;
	int r = ctl_port(call, params, "port", &p);

	if (r == 0)
		r = key_argument(call, params, p->vlan.pvid, &key);
	if (r < 0)
		return r;
	if (!vlan_member(&p->vlan, fdb_key_to_vid(key)))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "vlan: port \"%s\" is not in VLAN %u", p->name,
				     fdb_key_to_vid(key));
	r = fdb_pin(&p->sw->fdb, key, p->id);
	if (r == -EEXIST)
		return control_error(call, CONTROL_ERROR_EXISTS,
				     "mac: pinned to another port already");
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT,
				     "half of the address table is pinned");
	return r;
}

int ctl_fdb_remove(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	uint64_t key = 0;
	int r = key_argument(call, params, 0, &key);

	if (r < 0)
		return r;
	if (fdb_unpin(&ctl_net(call)->sw.fdb, key) < 0)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "mac: not pinned in that VLAN");
	return 0;
}

struct listing {
	const struct sw *sw;
	const struct sw_port *only;
	struct json_object *entries;
	uint64_t total;
};

static void list_entry(const struct fdb_entry *e, void *arg)
{
	struct listing *l = arg;
	struct json_object *o;
	uint8_t mac[6];
	char text[18];

	if (l->only && l->only->id != e->port)
		return;
	if (l->total++ >= CTL_FDB_MAX)
		return;
	fdb_key_to_mac(e->key, mac);
	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		       mac[3], mac[4], mac[5]);
	o = json_object_new_object();
	ctl_add_string(o, "mac", text);
	if (fdb_key_to_vid(e->key) != 0)
		ctl_add_number(o, "vlan", fdb_key_to_vid(e->key));
	ctl_add_string(o, "port", l->sw->port[e->port]->name);
	if (e->fixed)
		json_object_object_add(o, "static", json_object_new_boolean(true));
	else
		ctl_add_number(o, "age-s", l->sw->now_s - e->seen_s);
	json_object_array_add(l->entries, o);
}

int ctl_fdb_list(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct listing l = { .sw = &ctl_net(call)->sw };
	struct sw_port *only = NULL;
	int r = ctl_port(call, params, "port", &only);

	if (r < 0)
		return r;
	l.only = only;
	l.entries = json_object_new_array();
	fdb_walk(&l.sw->fdb, list_entry, &l);
	*ret = json_object_new_object();
	json_object_object_add(*ret, "entries", l.entries);
	ctl_add_number(*ret, "total", l.total);
	return 0;
}

int ctl_fdb_flush(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct sw *sw = &ctl_net(call)->sw;
	struct sw_port *only = NULL;
	int r = ctl_port(call, params, "port", &only);

	if (r < 0)
		return r;
	*ret = json_object_new_object();
	ctl_add_number(*ret, "flushed",
		       only ? fdb_flush_port(&sw->fdb, only->id) : fdb_flush(&sw->fdb));
	return 0;
}
