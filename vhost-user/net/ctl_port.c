/* SPDX-License-Identifier: MIT */
/* port.add, port.set, port.remove, port.list, port.up, port.down. */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "ctl.h"
#include "ctl_impl.h"

static int port_error(struct control_call *call, int r, const char *why)
{
	enum control_code code = CONTROL_ERROR_FAILED;

	if (r == -EINVAL)
		code = CONTROL_ERROR_INVALID_PARAMS;
	else if (r == -EEXIST)
		code = CONTROL_ERROR_EXISTS;
	else if (r == -ENOSPC)
		code = CONTROL_ERROR_LIMIT;
	return control_error(call, code, "%s", net_port_error(r, why));
}

int ctl_port_add(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct port_spec spec;
	auto_free char *why = NULL;
	int r = port_spec_read(params, &spec, &why);

	if (r < 0)
		return port_error(call, r, why);
	r = net_add_port(net, &spec, &why);
	if (r == 0)
		ctl_port_changed(net->backend->control, spec.name, "added");
	else
		r = port_error(call, r, why);
	port_spec_done(&spec);
	return r;
}

int ctl_port_set(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct port_spec spec;
	struct sw_port *p;
	auto_free char *why = NULL;
	int r = port_spec_read_set(params, &spec, &why);

	if (r < 0)
		return port_error(call, r, why);
	r = ctl_find_port(call, spec.name, &p);
	if (r == 0) {
		r = port_spec_apply(p, &spec, &why);
		if (r < 0)
			r = port_error(call, r, why);
	}
	port_spec_done(&spec);
	return r;
}

int ctl_port_remove(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct sw_port *p = NULL;
	int r = ctl_port(call, params, "name", &p);

	if (r < 0)
		return r;
	ctl_port_changed(ctl_net(call)->backend->control, p->name, "removed");
	port_type_of(p)->close(p);
	return 0;
}

static struct json_object *port_json(const struct sw_port *p)
{
	const struct port_type *type = port_type_of(p);
	struct json_object *o = json_object_new_object();

	ctl_add_string(o, "name", p->name);
	ctl_add_string(o, "type", p->ops->type);
	if (type && type->describe)
		type->describe(p, o);
	port_spec_describe(p, o);
	json_object_object_add(o, "counters", ctl_counters(p));
	return o;
}

int ctl_port_list(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct sw *sw = &ctl_net(call)->sw;
	struct json_object *ports = json_object_new_array();

	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
		json_object_array_add(ports, port_json(p));
	*ret = json_object_new_object();
	json_object_object_add(*ret, "ports", ports);
	return 0;
}

static int set_link(struct control_call *call, struct json_object *params, bool up)
{
	struct sw_port *p = NULL;
	int r = ctl_port(call, params, "name", &p);

	if (r < 0)
		return r;
	sw_set_link(p, SW_DOWN_ADMIN, up);
	return 0;
}

int ctl_port_up(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	return set_link(call, params, true);
}

int ctl_port_down(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	return set_link(call, params, false);
}
