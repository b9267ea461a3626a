/* SPDX-License-Identifier: MIT */
#include "port_nat_ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "cleanup.h"
#include "ctl_impl.h"
#include "nat_spec.h"
#include "port_nat.h"

#define SECOND_NS 1000000000ull

/* The NAT port that params name, or the only one. */
static int find_port(struct control_call *call, struct json_object *params, struct port_nat **ret)
{
	struct sw *sw = &ctl_net(call)->sw;
	struct sw_port *named = NULL;
	struct port_nat *found = NULL;
	int r = ctl_port(call, params, "port", &named);

	if (r < 0)
		return r;
	if (named) {
		*ret = port_nat_of(named);
		return *ret ? 0 :
			      control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					    "port: \"%s\" is no NAT port", named->name);
	}
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p)) {
		if (!port_nat_of(p))
			continue;
		if (found)
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "port: there are several NAT ports");
		found = port_nat_of(p);
	}
	*ret = found;
	return found ? 0 : control_error(call, CONTROL_ERROR_NOT_FOUND, "there is no NAT port");
}

static int params_error(struct control_call *call, int r, const char *why)
{
	return control_error(call,
			     r == -EINVAL ? CONTROL_ERROR_INVALID_PARAMS : CONTROL_ERROR_FAILED,
			     "%s", why ? why : strerror(-r));
}

int port_nat_hosts_set(struct control_call *call, struct json_object *params,
		       struct json_object **ret_result)
{
	struct json_object *array = json_object_object_get(params, "hosts");
	struct nat_hosts hosts = { 0 };
	struct port_nat *pn;
	auto_free char *why = NULL;
	int r = find_port(call, params, &pn);

	if (r < 0)
		return r;
	r = nat_spec_hosts(array, &pn->net, &hosts, &why);
	if (r == 0)
		r = port_nat_set_hosts(pn, &hosts);
	if (r < 0) {
		nat_hosts_done(&hosts);
		return params_error(call, r, why);
	}
	return 0;
}

static int forward_error(struct control_call *call, const struct nat_forward *f, int r)
{
	enum control_code code = CONTROL_ERROR_FAILED;
	const char *what = strerror(-r);
	char text[NAT_FORWARD_TEXT];

	nat_forward_text(f, text);
	if (r == -EEXIST) {
		code = CONTROL_ERROR_EXISTS;
		what = "is forwarded already";
	} else if (r == -ENOENT) {
		code = CONTROL_ERROR_NOT_FOUND;
		what = "is not forwarded";
	} else if (r == -ENOSPC) {
		code = CONTROL_ERROR_LIMIT;
		what = "too many forwards";
	}
	return control_error(call, code, "%s: %s", text, what);
}

int port_nat_forward_add(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result)
{
	struct nat_forward f = { 0 };
	struct port_nat *pn;
	auto_free char *why = NULL;
	int r = find_port(call, params, &pn);

	if (r < 0)
		return r;
	r = nat_spec_forward(params, &pn->net, &f, &why);
	if (r < 0)
		return params_error(call, r, why);
	r = nat_forwards_add(&pn->forwards, pn->slirp, &f);
	if (r < 0)
		return forward_error(call, &f, r);
	*ret_result = json_object_new_object();
	ctl_add_number(*ret_result, "host-port", f.host_port);
	return 0;
}

int port_nat_forward_remove(struct control_call *call, struct json_object *params,
			    struct json_object **ret_result)
{
	struct nat_forward f = { 0 };
	struct port_nat *pn;
	auto_free char *why = NULL;
	int r = find_port(call, params, &pn);

	if (r < 0)
		return r;
	r = nat_spec_forward_name(params, &f, &why);
	if (r < 0)
		return params_error(call, r, why);
	r = nat_forwards_remove(&pn->forwards, pn->slirp, &f);
	return r < 0 ? forward_error(call, &f, r) : 0;
}

static void add_address(struct json_object *o, const char *key, const struct in6_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	nat_addr_text(addr, text);
	ctl_add_string(o, key, text);
}

static void list_forwards(const struct port_nat *pn, struct json_object *array)
{
	for (unsigned i = 0; i < pn->forwards.n; i++) {
		const struct nat_forward *f = &pn->forwards.forward[i];
		struct json_object *o = json_object_new_object();

		ctl_add_string(o, "port", pn->port.name);
		ctl_add_string(o, "proto", f->udp ? "udp" : "tcp");
		add_address(o, "host", &f->host);
		ctl_add_number(o, "host-port", f->host_port);
		add_address(o, "guest", &f->guest);
		ctl_add_number(o, "guest-port", f->guest_port);
		json_object_array_add(array, o);
	}
}

int port_nat_forward_list(struct control_call *call, struct json_object *params,
			  struct json_object **ret_result)
{
	struct sw *sw = &ctl_net(call)->sw;
	struct json_object *array;
	struct port_nat *only = NULL;
	int r = json_object_object_get(params, "port") ? find_port(call, params, &only) : 0;

	if (r < 0)
		return r;
	array = json_object_new_array();
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p)) {
		struct port_nat *pn = port_nat_of(p);

		if (pn && (!only || pn == only))
			list_forwards(pn, array);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "forwards", array);
	return 0;
}

/* port.list. */

static void describe_net(const struct nat_net *net, struct json_object *o)
{
	const struct in6_addr subnet = nat_addr_of_ip4(net->subnet),
			      gateway = nat_addr_of_ip4(net->gateway),
			      dns = nat_addr_of_ip4(net->dns);
	char address[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 4];

	nat_addr_text(&subnet, address);
	(void)snprintf(text, sizeof(text), "%s/%d", address, __builtin_popcount(net->mask));
	ctl_add_string(o, "subnet", text);
	add_address(o, "gateway", &gateway);
	add_address(o, "dns", &dns);
	if (net->ip6) {
		nat_addr_text(&net->subnet6, address);
		(void)snprintf(text, sizeof(text), "%s/64", address);
		ctl_add_string(o, "subnet6", text);
		add_address(o, "gateway6", &net->gateway6);
		add_address(o, "dns6", &net->dns6);
	}
	ctl_add_number(o, "mtu", net->mtu);
	ctl_add_string(o, "domain", net->domain);
	json_object_object_add(o, "restricted", json_object_new_boolean(net->restricted));
	json_object_object_add(o, "host-loopback", json_object_new_boolean(net->host_loopback));
}

static struct json_object *sockets_json(const struct nat_flows *f)
{
	struct json_object *o = json_object_new_object();

	ctl_add_number(o, "max", f->max);
	ctl_add_number(o, "open", f->n);
	ctl_add_number(o, "tcp", f->n_tcp);
	ctl_add_number(o, "udp", f->n_udp);
	ctl_add_number(o, "icmp", f->n_icmp);
	return o;
}

static struct json_object *counters_json(const struct nat_counters *c)
{
	struct json_object *o = json_object_new_object();

#define X(name, text) ctl_add_number(o, #name, c->name);
	NAT_COUNTERS(X)
#undef X
	return o;
}

static struct json_object *leases_json(const struct nat_dhcp *d)
{
	struct json_object *array = json_object_new_array();
	uint64_t now_s = loop_now_ns() / SECOND_NS;

	for (unsigned i = 0; i < d->n; i++) {
		const struct nat_lease *l = &d->lease[i];
		const struct in6_addr ip = nat_addr_of_ip4(d->first + i);
		struct json_object *o;
		char mac[18];

		if (l->expires_s <= now_s)
			continue;
		o = json_object_new_object();
		(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", l->mac[0],
			       l->mac[1], l->mac[2], l->mac[3], l->mac[4], l->mac[5]);
		add_address(o, "ip", &ip);
		ctl_add_string(o, "mac", mac);
		json_object_object_add(o, "bound", json_object_new_boolean(l->bound));
		ctl_add_number(o, "expires-s", l->expires_s - now_s);
		json_object_array_add(array, o);
	}
	return array;
}

void port_nat_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_nat *pn = container_of_const(p, struct port_nat, port);

	ctl_add_string(o, "state", "running");
	describe_net(&pn->net, o);
	json_object_object_add(o, "sockets", sockets_json(&pn->flows));
	json_object_object_add(o, "nat", counters_json(&pn->counters));
	json_object_object_add(o, "leases", leases_json(&pn->dhcp));
	ctl_add_number(o, "hosts", pn->hosts.n);
	ctl_add_number(o, "forwards", pn->forwards.n);
}
