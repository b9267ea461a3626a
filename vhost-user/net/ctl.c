/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <stdlib.h>

#include "base.h"
#include "capture.h"
#include "ctl_impl.h"
#include "link_ctl.h"
#include "metrics.h"
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

static struct json_object *queues_json(const struct sw_port *p)
{
	struct json_object *list = json_object_new_array();
	const struct queue_stats *q;
	bool ingress;

	for (unsigned i = 0; p->ops->queue && (q = p->ops->queue(p, i, &ingress)); i++) {
		struct json_object *o = json_object_new_object();

		ctl_add_number(o, "index", i);
		ctl_add_string(o, "direction", ingress ? "ingress" : "egress");
		ctl_add_number(o, "frames", q->frames);
		ctl_add_number(o, "bytes", q->bytes);
		ctl_add_number(o, "dropped", q->dropped);
		json_object_array_add(list, o);
	}
	return list;
}

/* [limit, how many] of each bucket that is not empty; limit null is without one. */
static struct json_object *buckets_json(const struct histogram *h)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		struct json_object *pair;

		if (h->bucket[i] == 0)
			continue;
		pair = json_object_new_array();
		json_object_array_add(pair, i < HISTOGRAM_BUCKETS - 1 ?
						    json_object_new_uint64(histogram_limit(i)) :
						    NULL);
		json_object_array_add(pair, json_object_new_uint64(h->bucket[i]));
		json_object_array_add(list, pair);
	}
	return list;
}

static struct json_object *histograms_json(const struct sw_port *p)
{
	struct json_object *all = json_object_new_object();

	for (unsigned i = 0; i < PORT_N_HISTOGRAMS; i++) {
		const struct histogram *h = port_histogram_of(&p->histograms, &port_histograms[i]);
		struct json_object *o = json_object_new_object();

		ctl_add_number(o, "count", histogram_count(h));
		ctl_add_number(o, "sum", h->sum);
		json_object_object_add(o, "buckets", buckets_json(h));
		json_object_object_add(all, port_histograms[i].name, o);
	}
	return all;
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
		json_object_object_add(o, "queues", queues_json(p));
		json_object_object_add(o, "histograms", histograms_json(p));
		json_object_array_add(ports, o);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "ports", ports);
	json_object_object_add(*ret_result, "fdb", fdb_json(&sw->fdb));
	return 0;
}

static int stats_metrics(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result)
{
	char *text = metrics_text(&ctl_net(call)->sw);

	if (!text)
		return control_error(call, CONTROL_ERROR_FAILED, "no memory");
	*ret_result = json_object_new_object();
	ctl_add_string(*ret_result, "text", text);
	free(text);
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
	{ "stats.metrics", stats_metrics, "" },
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
