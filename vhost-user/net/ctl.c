/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "net.h"

static struct net *net_of(const struct control_call *call)
{
	struct backend *b = control_context(call);

	return b->device;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

/* The optional member "port": *ret_port stays NULL without it. */
static int port_argument(struct control_call *call, struct json_object *params,
			 struct sw_port **ret_port)
{
	const char *name = NULL;
	int r = control_string(call, params, "port", &name);

	if (r < 0 || !name)
		return r;
	*ret_port = sw_find(&net_of(call)->sw, name);
	if (!*ret_port)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no port \"%s\"", name);
	return 0;
}

void ctl_port_changed(struct control *control, const char *name, const char *state)
{
	control_notify_state(control, "port", name, state);
}

static int port_add(struct control_call *call, struct json_object *params,
		    struct json_object **ret_result)
{
	struct net *net = net_of(call);
	const char *name = NULL, *path = NULL;
	int r = control_string(call, params, "name", &name);

	if (r == 0)
		r = control_string(call, params, "socket-path", &path);
	if (r < 0)
		return r;

	if (sw_find(&net->sw, name))
		return control_error(call, CONTROL_ERROR_EXISTS, "there is a port \"%s\"", name);
	r = net_add_port(net, name, path);
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d ports",
				     SW_PORTS_MAX);
	if (r == -EINVAL)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "a port's name is 1 to %d of A-Z a-z 0-9 . _ : -",
				     SW_PORT_NAME_MAX - 1);
	if (r < 0)
		return control_error(call, CONTROL_ERROR_FAILED, "%s: %s", path, strerror(-r));
	ctl_port_changed(net->backend->control, name, "added");
	return 0;
}

static int port_remove(struct control_call *call, struct json_object *params,
		       struct json_object **ret_result)
{
	struct net *net = net_of(call);
	const char *name = NULL;
	struct sw_port *p;
	struct port_vu *pv;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	p = sw_find(&net->sw, name);
	pv = p ? port_vu_of(p) : NULL;
	if (!pv)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no port \"%s\"", name);
	ctl_port_changed(net->backend->control, name, "removed");
	port_vu_close(pv);
	return 0;
}

static struct json_object *counters_json(const struct sw_port *p)
{
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < PORT_N_COUNTERS; i++)
		add_number(o, port_counters[i].name,
			   port_counter_value(&p->stats, &port_counters[i]));
	return o;
}

static struct json_object *port_json(struct sw_port *p)
{
	struct json_object *o = json_object_new_object();
	const struct port_vu *pv = port_vu_of(p);
	char features[2 + 16 + 1];

	add_string(o, "name", p->name);
	add_string(o, "type", p->ops->type);
	if (pv) {
		snprintf(features, sizeof(features), "0x%" PRIx64,
			 pv->seat.session ? vu_session_features(pv->seat.session) : 0);
		if (pv->seat.path)
			add_string(o, "socket-path", pv->seat.path);
		add_string(o, "state", port_vu_state(pv));
		add_number(o, "queues", pv->n_receiveq);
		add_string(o, "features", features);
	}
	json_object_object_add(o, "counters", counters_json(p));
	return o;
}

static int port_list(struct control_call *call, struct json_object *params,
		     struct json_object **ret_result)
{
	struct sw *sw = &net_of(call)->sw;
	struct json_object *ports = json_object_new_array();

	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
		json_object_array_add(ports, port_json(p));
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "ports", ports);
	return 0;
}

static int stats(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	struct sw *sw = &net_of(call)->sw;
	struct json_object *ports, *fdb;
	struct sw_port *only = NULL;
	int r = port_argument(call, params, &only);

	if (r < 0)
		return r;
	ports = json_object_new_array();
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p)) {
		struct json_object *o;

		if (only && p != only)
			continue;
		o = json_object_new_object();
		add_string(o, "name", p->name);
		json_object_object_add(o, "counters", counters_json(p));
		json_object_array_add(ports, o);
	}
	fdb = json_object_new_object();
	add_number(fdb, "entries", fdb_count(&sw->fdb));
	add_number(fdb, "size", sw->fdb.config.size);
	add_number(fdb, "per-port", sw->fdb.config.per_port);
	add_number(fdb, "ageing-s", sw->fdb.config.ageing_s);
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "ports", ports);
	json_object_object_add(*ret_result, "fdb", fdb);
	return 0;
}

struct fdb_listing {
	const struct sw *sw;
	const struct sw_port *only;
	struct json_object *entries;
	uint64_t total;
};

static void list_entry(const struct fdb_entry *e, void *arg)
{
	struct fdb_listing *l = arg;
	struct json_object *o;
	uint8_t mac[6];
	char text[18];

	if (l->only && l->only->id != e->port)
		return;
	if (l->total++ >= CTL_FDB_MAX)
		return;
	fdb_key_to_mac(e->key, mac);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	o = json_object_new_object();
	add_string(o, "mac", text);
	add_string(o, "port", l->sw->port[e->port]->name);
	add_number(o, "age-s", l->sw->now_s - e->seen_s);
	json_object_array_add(l->entries, o);
}

static int fdb_list(struct control_call *call, struct json_object *params,
		    struct json_object **ret_result)
{
	struct fdb_listing l = { .sw = &net_of(call)->sw };
	struct sw_port *only = NULL;
	int r = port_argument(call, params, &only);

	if (r < 0)
		return r;
	l.only = only;
	l.entries = json_object_new_array();
	fdb_walk(&l.sw->fdb, list_entry, &l);
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "entries", l.entries);
	add_number(*ret_result, "total", l.total);
	return 0;
}

static int fdb_flush_method(struct control_call *call, struct json_object *params,
			    struct json_object **ret_result)
{
	struct sw *sw = &net_of(call)->sw;
	struct sw_port *only = NULL;
	int r = port_argument(call, params, &only);

	if (r < 0)
		return r;
	*ret_result = json_object_new_object();
	add_number(*ret_result, "flushed",
		   only ? fdb_flush_port(&sw->fdb, only->id) : fdb_flush(&sw->fdb));
	return 0;
}

const struct control_method ctl_methods[] = {
	{ "port.add", port_add, "name,socket-path" },
	{ "port.remove", port_remove, "name" },
	{ "port.list", port_list, "" },
	{ "stats", stats, "port?" },
	{ "fdb.list", fdb_list, "port?" },
	{ "fdb.flush", fdb_flush_method, "port?" },
};
const unsigned ctl_n_methods = array_size(ctl_methods);
