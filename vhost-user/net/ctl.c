/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include "base.h"
#include "capture.h"
#include "ctl_impl.h"
#include "link_ctl.h"
#include "port_nat_ctl.h"

struct net *ctl_net(const struct control_call *call)
{
	struct backend *b = control_context(call);

	return b->device;
}

void ctl_add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

void ctl_add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

int ctl_find_port(struct control_call *call, const char *name, struct sw_port **ret_port)
{
	struct sw_port *p = sw_find(&ctl_net(call)->sw, name);

	if (!p)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no port \"%.64s\"", name);
	*ret_port = p;
	return 0;
}

int ctl_port(struct control_call *call, struct json_object *params, const char *key,
	     struct sw_port **ret_port)
{
	const char *name = NULL;
	int r = control_string(call, params, key, &name);

	return r < 0 || !name ? r : ctl_find_port(call, name, ret_port);
}

void ctl_port_changed(struct control *control, const char *name, const char *state)
{
	control_notify_state(control, "port", name, state);
}

struct json_object *ctl_counters(const struct sw_port *p)
{
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < PORT_N_COUNTERS; i++)
		ctl_add_number(o, port_counters[i].name,
			       port_counter_value(&p->stats, &port_counters[i]));
	return o;
}

static struct json_object *fdb_json(const struct fdb *fdb)
{
	struct json_object *o = json_object_new_object();

	ctl_add_number(o, "entries", fdb_count(fdb));
	ctl_add_number(o, "size", fdb->config.size);
	ctl_add_number(o, "per-port", fdb->config.per_port);
	ctl_add_number(o, "ageing-s", fdb->config.ageing_s);
	return o;
}

static int stats(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	struct sw *sw = &ctl_net(call)->sw;
	struct json_object *ports;
	struct sw_port *only = NULL;
	int r = ctl_port(call, params, "port", &only);

	if (r < 0)
		return r;
	ports = json_object_new_array();
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p)) {
		struct json_object *o;

		if (only && p != only)
			continue;
		o = json_object_new_object();
		ctl_add_string(o, "name", p->name);
		json_object_object_add(o, "counters", ctl_counters(p));
		json_object_array_add(ports, o);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "ports", ports);
	json_object_object_add(*ret_result, "fdb", fdb_json(&sw->fdb));
	return 0;
}

const struct control_method ctl_methods[] = {
	{ "port.add", ctl_port_add, NULL },
	{ "port.set", ctl_port_set, NULL },
	{ "port.remove", ctl_port_remove, "name" },
	{ "port.list", ctl_port_list, "" },
	{ "port.up", ctl_port_up, "name" },
	{ "port.down", ctl_port_down, "name" },
	{ "stats", stats, "port?" },
	{ "fdb.add", ctl_fdb_add, "mac,port,vlan?" },
	{ "fdb.remove", ctl_fdb_remove, "mac,vlan?" },
	{ "fdb.list", ctl_fdb_list, "port?" },
	{ "fdb.flush", ctl_fdb_flush, "port?" },
	{ "mirror.add", ctl_mirror_add, "name,to,from,direction?" },
	{ "mirror.remove", ctl_mirror_remove, "name" },
	{ "mirror.list", ctl_mirror_list, "" },
	{ "capture.start", capture_start_method, CAPTURE_START_MEMBERS },
	{ "capture.stop", capture_stop_method, "id" },
	{ "capture.list", capture_list_method, "" },
	{ "hosts.set", port_nat_hosts_set, "port?,hosts" },
	{ "forward.add", port_nat_forward_add, "port?,proto?,host?,host-port,guest,guest-port" },
	{ "forward.remove", port_nat_forward_remove, "port?,proto?,host?,host-port" },
	{ "forward.list", port_nat_forward_list, "port?" },
	LINK_METHODS,
};
const unsigned ctl_n_methods = array_size(ctl_methods);
