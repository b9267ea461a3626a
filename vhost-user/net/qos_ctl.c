/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "link_ctl_impl.h"

#define CLASS_MATCHES (MATCH_DSCP | MATCH_PCP | MATCH_VLAN | MATCH_PROTOCOL | MATCH_PORT)

/* ---- reading a policy ---- */

/* A number of an object, within low..high; 0 if absent. */
static int read_number(struct control_call *call, struct json_object *o, const char *where,
		       const char *name, uint64_t low, uint64_t high, uint64_t *ret)
{
	struct json_object *value;
	int64_t n;

	if (!json_object_object_get_ex(o, name, &value))
		return 0;
	n = json_object_get_int64(value);
	if (!json_object_is_type(value, json_type_int) || n < (int64_t)low || n > (int64_t)high)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s%s: must be a whole number from %llu to %llu", where, name,
				     (unsigned long long)low, (unsigned long long)high);
	*ret = (uint64_t)n;
	return 0;
}

static int check_class_members(struct control_call *call, struct json_object *o, const char *where)
{
	static const char *const known[] = { "name",     "priority",    "match",      "rate-bps",
					     "ceil-bps", "burst-bytes", "limit-bytes" };

	json_object_object_foreach(o, key, value)
	{
		unsigned i = 0;

		(void)value;
		while (i < array_size(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == array_size(known))
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "%s%.32s: unknown member", where, key);
	}
	return 0;
}

static int read_class_name(struct control_call *call, struct json_object *o, const char *where,
			   struct qos_class_config *c)
{
	struct json_object *name = json_object_object_get(o, "name");
	const char *text = json_object_get_string(name);

	if (!json_object_is_type(name, json_type_string) || text[0] == '\0' ||
	    strlen(text) >= QOS_NAME_MAX)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%sname: must be 1 to %d bytes", where, QOS_NAME_MAX - 1);
	(void)snprintf(c->name, sizeof(c->name), "%s", text);
	return 0;
}

static int read_class_numbers(struct control_call *call, struct json_object *o, const char *where,
			      struct qos_class_config *c)
{
	uint64_t priority = 0;
	int r = read_number(call, o, where, "priority", 0, QOS_PRIORITIES - 1, &priority);

	c->priority = (unsigned)priority;
	c->limit_bytes = QOS_LIMIT_DEFAULT;
	c->burst_bytes = QOS_BURST_DEFAULT;
	if (r == 0)
		r = read_number(call, o, where, "rate-bps", IMPAIR_RATE_MIN, IMPAIR_RATE_MAX,
				&c->rate_bps);
	if (r == 0)
		r = read_number(call, o, where, "ceil-bps", IMPAIR_RATE_MIN, IMPAIR_RATE_MAX,
				&c->ceil_bps);
	if (r == 0)
		r = read_number(call, o, where, "burst-bytes", 0, IMPAIR_BYTES_MAX,
				&c->burst_bytes);
	if (r == 0)
		r = read_number(call, o, where, "limit-bytes", 1, IMPAIR_BYTES_MAX,
				&c->limit_bytes);
	if (r == 0 && c->ceil_bps != 0 && c->rate_bps > c->ceil_bps)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%sceil-bps: less than rate-bps", where);
	return r;
}

static int read_class(struct control_call *call, struct json_object *o, unsigned i,
		      struct qos_class_config *c)
{
	struct json_object *match;
	char where[32], why[IMPAIR_WHY_MAX];
	int r;

	(void)snprintf(where, sizeof(where), "classes/%u/", i);
	if (!json_object_is_type(o, json_type_object))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "classes/%u: must be an object", i);
	r = check_class_members(call, o, where);
	if (r == 0)
		r = read_class_name(call, o, where, c);
	if (r == 0)
		r = read_class_numbers(call, o, where, c);
	if (r == 0 && json_object_object_get_ex(o, "match", &match) &&
	    match_json_read(match, CLASS_MATCHES, &c->match, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s%s", where, why);
	return r;
}

static int read_policy(struct control_call *call, struct json_object *params, struct qos_policy *p)
{
	struct json_object *classes = json_object_object_get(params, "classes");
	int r = read_number(call, params, "", "rate-bps", IMPAIR_RATE_MIN, IMPAIR_RATE_MAX,
			    &p->rate_bps);

	if (r < 0)
		return r;
	if (!json_object_is_type(classes, json_type_array) ||
	    json_object_array_length(classes) > QOS_CLASSES_MAX)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "classes: must be an array of at most %d", QOS_CLASSES_MAX);
	while (p->n_classes < json_object_array_length(classes)) {
		unsigned i = p->n_classes++;

		r = read_class(call, json_object_array_get_idx(classes, i), i, &p->class[i]);
		if (r < 0)
			return r;
		for (unsigned k = 0; k < i; k++)
			if (strcmp(p->class[k].name, p->class[i].name) == 0)
				return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
						     "classes/%u/name: there is one \"%s\" already",
						     i, p->class[i].name);
	}
	p->class[p->n_classes++] =
		(struct qos_class_config){ .name = "other", .limit_bytes = QOS_LIMIT_DEFAULT };
	return 0;
}

/* ---- the table ---- */

static struct qos_policy **find(struct net *net, const char *name)
{
	for (unsigned i = 0; i < net->n_policies; i++)
		if (strcmp(net->policies[i]->name, name) == 0)
			return &net->policies[i];
	return NULL;
}

static void drop_buf(void *frame)
{
	sw_buf_unref(frame);
}

static int use(struct link_way *way, struct qos_policy *p)
{
	struct qos *qos = p ? qos_new(p, drop_buf) : NULL;

	if (p && !qos)
		return -ENOMEM;
	link_way_set_qos(way, qos);
	return 0;
}

/* Links that are shaped by `old` are by `new` from now on. */
static void exchange(struct net *net, const struct qos_policy *old, struct qos_policy *new)
{
	for (struct link *link = net->links.first; link; link = link->next)
		for (unsigned d = 0; d < array_size(link->way); d++)
			if (link->way[d].qos && link->way[d].qos->policy == old)
				(void)use(&link->way[d], new);
}

static int add(struct control_call *call, struct qos_policy *p)
{
	struct net *net = ctl_net(call);
	struct qos_policy **at = find(net, p->name), *old;

	if (at) {
		old = *at;
		*at = p;
		exchange(net, old, p);
		qos_policy_unref(old);
		return 0;
	}
	if (net->n_policies == NET_POLICIES_MAX)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d policies",
				     NET_POLICIES_MAX);
	net->policies[net->n_policies++] = p;
	return 0;
}

int link_ctl_policy_set(struct control_call *call, struct json_object *params,
			struct json_object **ret)
{
	const char *name = NULL;
	struct qos_policy *p;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	if (strlen(name) >= QOS_NAME_MAX)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "name: longer than %d bytes", QOS_NAME_MAX - 1);
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->refs = 1;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	r = read_policy(call, params, p);
	if (r == 0)
		r = add(call, p);
	if (r < 0)
		qos_policy_unref(p);
	return r;
}

int link_ctl_policy_remove(struct control_call *call, struct json_object *params,
			   struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct qos_policy **at, *gone;
	const char *name = NULL;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	at = find(net, name);
	if (!at)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no policy \"%.64s\"", name);
	gone = *at;
	exchange(net, gone, NULL);
	*at = net->policies[--net->n_policies];
	qos_policy_unref(gone);
	return 0;
}

static struct json_object *class_json(const struct qos_class_config *c)
{
	struct json_object *o = json_object_new_object();

	ctl_add_string(o, "name", c->name);
	ctl_add_number(o, "priority", c->priority);
	if (c->match.given)
		json_object_object_add(o, "match", match_json(&c->match));
	if (c->rate_bps)
		ctl_add_number(o, "rate-bps", c->rate_bps);
	if (c->ceil_bps)
		ctl_add_number(o, "ceil-bps", c->ceil_bps);
	ctl_add_number(o, "burst-bytes", c->burst_bytes);
	ctl_add_number(o, "limit-bytes", c->limit_bytes);
	return o;
}

int link_ctl_policy_list(struct control_call *call, struct json_object *params,
			 struct json_object **ret)
{
	const struct net *net = ctl_net(call);
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < net->n_policies; i++) {
		const struct qos_policy *p = net->policies[i];
		struct json_object *o = json_object_new_object(),
				   *classes = json_object_new_array();

		ctl_add_string(o, "name", p->name);
		if (p->rate_bps)
			ctl_add_number(o, "rate-bps", p->rate_bps);
		for (unsigned k = 0; k + 1 < p->n_classes; k++)
			json_object_array_add(classes, class_json(&p->class[k]));
		json_object_object_add(o, "classes", classes);
		json_object_array_add(list, o);
	}
	*ret = json_object_new_object();
	json_object_object_add(*ret, "policies", list);
	return 0;
}

struct json_object *qos_classes_json(const struct qos *q)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < q->policy->n_classes; i++) {
		const struct qos_class *c = &q->class[i];
		struct json_object *o = json_object_new_object();

		ctl_add_string(o, "name", c->config->name);
		ctl_add_number(o, "frames", c->sent_frames);
		ctl_add_number(o, "bytes", c->sent_bytes);
		ctl_add_number(o, "dropped", c->dropped);
		json_object_object_add(o, "held", link_held_json(c->ring.n, c->bytes));
		json_object_array_add(list, o);
	}
	return list;
}

/* ---- links ---- */

int link_ctl_qos_set(struct control_call *call, struct json_object *params,
		     struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct json_object *policy = json_object_object_get(params, "policy");
	struct qos_policy **at = NULL;
	struct sw_port *p = NULL;
	struct link *link;
	unsigned directions = 0;
	int r = ctl_port(call, params, "port", &p);

	if (r == 0)
		r = link_read_direction(call, params, &directions);
	if (r < 0)
		return r;
	if (policy && !json_object_is_type(policy, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "policy: must be a name, or null");
	if (policy && !(at = find(net, json_object_get_string(policy))))
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no policy \"%.64s\"",
				     json_object_get_string(policy));
	r = link_make(&net->links, p, &link);
	for (unsigned d = 0; r == 0 && d < array_size(link->way); d++)
		if (directions & BIT_ULL(d))
			r = use(&link->way[d], at ? *at : NULL);
	return r;
}
