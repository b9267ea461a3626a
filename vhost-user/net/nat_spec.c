/* SPDX-License-Identifier: MIT */
#include "nat_spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "fdb.h"
#include "nat_dhcp.h"
#include "nat_flows.h"

/* The pool's size where none is said: a /16 has more addresses than strangers. */
#define POOL_UNSAID 1024u

static const char host_members[] = "name,mac,ip,ip6";
static const char forward_members[] = "proto,host,host-port,guest,guest-port";

/* Put a place in front of what was said. */
static int under(char **why, const char *place)
{
	char *text = *why;

	*why = NULL;
	if (text)
		spec_wrong(why, "%s%s%s", place, text[0] == ':' ? "" : "/", text);
	free(text);
	return -EINVAL;
}

static int under_element(char **why, const char *list, unsigned i)
{
	char place[32];

	snprintf(place, sizeof(place), "%s/%u", list, i);
	return under(why, place);
}

static bool is_listed(const char *list, const char *key)
{
	size_t len = strlen(key);
	const char *at = list;

	while (at && (strncmp(at, key, len) != 0 || (at[len] != ',' && at[len] != '\0'))) {
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return at && len > 0;
}

static int only_members(struct json_object *o, const char *list, char **why)
{
	if (!json_object_is_type(o, json_type_object))
		return spec_wrong(why, ": not an object");
	json_object_object_foreach(o, key, value)
	{
		(void)value;
		if (!is_listed(list, key))
			return spec_wrong(why, "%s: not one of %s", key, list);
	}
	return 0;
}

/* Addresses.  Absent: 0, and *ret untouched. */

static int read_ip4(const struct port_spec *s, const char *name, uint32_t *ret, char **why)
{
	const char *text = NULL;
	struct in_addr a;
	int r = spec_string(s, name, &text, why);

	if (r < 0 || !text)
		return r;
	if (inet_pton(AF_INET, text, &a) != 1)
		return spec_wrong(why, "%s: \"%s\" is not an IPv4 address", name, text);
	*ret = ntohl(a.s_addr);
	return 0;
}

static int read_ip6(const struct port_spec *s, const char *name, struct in6_addr *ret, bool *found,
		    char **why)
{
	const char *text = NULL;
	struct in6_addr a;
	int r = spec_string(s, name, &text, why);

	if (r < 0 || !text)
		return r;
	if (inet_pton(AF_INET6, text, &a) != 1 || IN6_IS_ADDR_V4MAPPED(&a))
		return spec_wrong(why, "%s: \"%s\" is not an IPv6 address", name, text);
	*ret = a;
	*found = true;
	return 0;
}

static int read_any(const struct port_spec *s, const char *name, struct in6_addr *ret, char **why)
{
	const char *text = NULL;
	struct in_addr ip4;
	struct in6_addr ip6;
	int r = spec_string(s, name, &text, why);

	if (r < 0 || !text)
		return r;
	if (inet_pton(AF_INET, text, &ip4) == 1)
		*ret = nat_addr_of_ip4(ntohl(ip4.s_addr));
	else if (inet_pton(AF_INET6, text, &ip6) == 1 && !IN6_IS_ADDR_V4MAPPED(&ip6))
		*ret = ip6;
	else
		return spec_wrong(why, "%s: \"%s\" is not an address", name, text);
	return 0;
}

/* "ADDRESS/PREFIX" into its parts; *address has room for `size` bytes. */
static bool split(const char *text, char *address, size_t size, unsigned *ret_prefix)
{
	const char *slash = strchr(text, '/');
	char *end;
	size_t len = slash ? (size_t)(slash - text) : 0;

	if (len == 0 || len >= size || slash[1] < '0' || slash[1] > '9')
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	*ret_prefix = (unsigned)strtoul(slash + 1, &end, 10);
	return *end == '\0' && end - slash <= 4;
}

static int read_subnet(const struct port_spec *s, struct nat_net *net, char **why)
{
	const char *text = NULL;
	char address[INET_ADDRSTRLEN];
	struct in_addr a;
	unsigned prefix;
	int r = spec_string(s, "subnet", &text, why);

	if (r < 0)
		return r;
	if (!text || !split(text, address, sizeof(address), &prefix) || prefix < 8 || prefix > 30 ||
	    inet_pton(AF_INET, address, &a) != 1)
		return spec_wrong(why, "subnet: not ADDRESS/PREFIX with a prefix of 8 to 30");
	net->mask = UINT32_MAX << (32 - prefix);
	net->subnet = ntohl(a.s_addr);
	if (net->subnet & ~net->mask)
		return spec_wrong(why, "subnet: %s has bits beyond its prefix", text);
	net->gateway = net->subnet + 1;
	net->dns = (net->subnet | ~net->mask) - 1;
	return 0;
}

static int read_subnet6(const struct port_spec *s, struct nat_net *net, char **why)
{
	static const uint8_t zero[8];
	const char *text = NULL;
	char address[INET6_ADDRSTRLEN];
	unsigned prefix;
	int r = spec_string(s, "subnet6", &text, why);

	if (r < 0 || !text)
		return r;
	if (!split(text, address, sizeof(address), &prefix) || prefix != 64 ||
	    inet_pton(AF_INET6, address, &net->subnet6) != 1)
		return spec_wrong(why, "subnet6: not ADDRESS/64");
	if (memcmp(net->subnet6.s6_addr + 8, zero, 8) != 0)
		return spec_wrong(why, "subnet6: %s has bits beyond its prefix", text);
	if ((net->subnet6.s6_addr[0] & 0xe0) != 0x20 && (net->subnet6.s6_addr[0] & 0xfe) != 0xfc)
		return spec_wrong(why, "subnet6: neither unique local (fc00::/7) nor global");
	net->ip6 = true;
	net->gateway6 = net->dns6 = net->subnet6;
	net->gateway6.s6_addr[15] = 1;
	net->dns6.s6_addr[15] = 3;
	return 0;
}

static int check_own4(const struct nat_net *net, const char *name, uint32_t ip, char **why)
{
	if ((ip & net->mask) != net->subnet || ip == net->subnet ||
	    ip == (net->subnet | ~net->mask))
		return spec_wrong(why, "%s: not an address of the subnet", name);
	return 0;
}

static int check_own6(const struct nat_net *net, const char *name, const struct in6_addr *ip,
		      char **why)
{
	if (!net->ip6)
		return spec_wrong(why, "%s: there is no subnet6", name);
	if (memcmp(ip, &net->subnet6, 8) != 0 || memcmp(ip, &net->subnet6, 16) == 0)
		return spec_wrong(why, "%s: not an address of subnet6", name);
	return 0;
}

static int read_own(const struct port_spec *s, struct nat_net *net, char **why)
{
	bool gateway6 = false, dns6 = false;
	int r;

	if ((r = read_ip4(s, "gateway", &net->gateway, why)) < 0 ||
	    (r = read_ip4(s, "dns", &net->dns, why)) < 0 ||
	    (r = check_own4(net, "gateway", net->gateway, why)) < 0 ||
	    (r = check_own4(net, "dns", net->dns, why)) < 0 ||
	    (r = read_ip6(s, "gateway6", &net->gateway6, &gateway6, why)) < 0 ||
	    (r = read_ip6(s, "dns6", &net->dns6, &dns6, why)) < 0 ||
	    (gateway6 && (r = check_own6(net, "gateway6", &net->gateway6, why)) < 0) ||
	    (dns6 && (r = check_own6(net, "dns6", &net->dns6, why)) < 0))
		return r;
	if (net->gateway == net->dns)
		return spec_wrong(why, "dns: the gateway's address");
	if (net->ip6 && IN6_ARE_ADDR_EQUAL(&net->gateway6, &net->dns6))
		return spec_wrong(why, "dns6: the address of gateway6");
	return 0;
}

static int read_domain(const struct port_spec *s, struct nat_net *net, char **why)
{
	const char *text = "lab";
	int r = spec_string(s, "domain", &text, why);

	if (r < 0)
		return r;
	if (!nat_name_valid(text, strlen(text)))
		return spec_wrong(why, "domain: \"%s\" is not a domain name", text);
	if (strlen(text) > NAT_DOMAIN_MAX)
		return spec_wrong(why, "domain: longer than %d characters", NAT_DOMAIN_MAX);
	memcpy(net->domain, text, strlen(text) + 1);
	return 0;
}

static int read_pool(const struct port_spec *s, struct nat_spec *ret, char **why)
{
	const struct nat_net *net = &ret->net;
	struct json_object *o = spec_member(s, "pool");
	const struct port_spec pool = { .object = o };
	uint32_t size = ~net->mask + 1;
	int r;

	ret->pool_last = net->subnet + size - 2;
	ret->pool_first =
		max(net->subnet + size / 2, ret->pool_last - min(size / 2, POOL_UNSAID) + 1);
	if (!o)
		return 0;
	ret->pool_first = ret->pool_last = 0;
	if ((r = only_members(o, "first,last", why)) < 0 ||
	    (r = read_ip4(&pool, "first", &ret->pool_first, why)) < 0 ||
	    (r = read_ip4(&pool, "last", &ret->pool_last, why)) < 0 ||
	    (r = check_own4(net, "first", ret->pool_first, why)) < 0 ||
	    (r = check_own4(net, "last", ret->pool_last, why)) < 0)
		return r == -EINVAL ? under(why, "pool") : r;
	if (ret->pool_first > ret->pool_last)
		return spec_wrong(why, "pool/last: before first");
	if (ret->pool_last - ret->pool_first >= NAT_DHCP_POOL_MAX)
		return spec_wrong(why, "pool: more than %d addresses", NAT_DHCP_POOL_MAX);
	return 0;
}

static int read_numbers(const struct port_spec *s, uint16_t mtu, struct nat_spec *ret, char **why)
{
	uint64_t given_mtu = mtu, lease = NAT_DHCP_LEASE_DEFAULT, sockets = NAT_SOCKETS_DEFAULT;
	int r;

	if ((r = spec_uint(s, "mtu", 68, 65521, &given_mtu, why)) < 0 ||
	    (r = spec_uint(s, "lease-s", NAT_DHCP_LEASE_MIN, UINT32_MAX - 1, &lease, why)) < 0 ||
	    (r = spec_uint(s, "sockets", NAT_SOCKETS_MIN, NAT_SOCKETS_MAX, &sockets, why)) < 0 ||
	    (r = spec_bool(s, "restricted", &ret->net.restricted, why)) < 0 ||
	    (r = spec_bool(s, "host-loopback", &ret->net.host_loopback, why)) < 0)
		return r;
	ret->net.mtu = (uint16_t)min(given_mtu, (uint64_t)65521);
	if (ret->net.ip6 && ret->net.mtu < 1280)
		return spec_wrong(why, "mtu: below 1280, which IPv6 needs");
	ret->lease_s = (uint32_t)lease;
	ret->sockets = (unsigned)sockets;
	return 0;
}

/* Hosts. */

static int read_mac(const struct port_spec *s, struct nat_host *h, char **why)
{
	const char *text = NULL;
	uint64_t key;
	int r = spec_string(s, "mac", &text, why);

	if (r < 0 || !text)
		return r;
	if (!spec_mac(text, &key))
		return spec_wrong(why, "mac: \"%s\" is not a station's MAC address", text);
	fdb_key_to_mac(key, h->mac);
	h->has_mac = true;
	return 0;
}

static int read_host_addresses(const struct port_spec *s, const struct nat_net *net,
			       struct nat_host *h, char **why)
{
	int r = read_ip4(s, "ip", &h->ip, why);

	if (r < 0)
		return r;
	h->has_ip = spec_member(s, "ip") != NULL;
	if (h->has_ip && !nat_net_is_guest(net, h->ip))
		return spec_wrong(why, "ip: not an address for a guest of the subnet");
	r = read_ip6(s, "ip6", &h->ip6, &h->has_ip6, why);
	return r < 0 || !h->has_ip6 ? r : check_own6(net, "ip6", &h->ip6, why);
}

static int read_host(struct json_object *o, const struct nat_net *net, struct nat_hosts *hosts,
		     char **why)
{
	const struct port_spec s = { .object = o };
	struct nat_host h = { 0 };
	const char *name = NULL;
	int r;

	if ((r = only_members(o, host_members, why)) < 0 ||
	    (r = spec_string(&s, "name", &name, why)) < 0 || (r = read_mac(&s, &h, why)) < 0 ||
	    (r = read_host_addresses(&s, net, &h, why)) < 0)
		return r;
	if (!name)
		return spec_wrong(why, "name: missing");
	if (strlen(name) > NAT_NAME_MAX || !nat_name_valid(name, strlen(name)))
		return spec_wrong(why, "name: \"%s\" is not a host name", name);
	memcpy(h.name, name, strlen(name) + 1);
	r = nat_hosts_add(hosts, &h);
	if (r == -EEXIST)
		return spec_wrong(why, "its name, mac or an address is another host's");
	return r == -ENOSPC ? spec_wrong(why, "more than %d hosts", NAT_HOSTS_MAX) : r;
}

int nat_spec_hosts(struct json_object *array, const struct nat_net *net, struct nat_hosts *ret,
		   char **why)
{
	struct nat_hosts hosts = { 0 };

	if (!json_object_is_type(array, json_type_array))
		return spec_wrong(why, "hosts: not an array");
	for (unsigned i = 0; i < json_object_array_length(array); i++) {
		int r = read_host(json_object_array_get_idx(array, i), net, &hosts, why);

		if (r < 0) {
			nat_hosts_done(&hosts);
			return r == -EINVAL ? under_element(why, "hosts", i) : r;
		}
	}
	*ret = hosts;
	return 0;
}

/* Forwards. */

int nat_spec_forward_name(struct json_object *o, struct nat_forward *ret, char **why)
{
	const struct port_spec s = { .object = o };
	struct nat_forward f = { .host = nat_addr_of_ip4(INADDR_LOOPBACK) };
	const char *proto = "tcp";
	uint64_t port = UINT64_MAX;
	int r;

	if ((r = spec_string(&s, "proto", &proto, why)) < 0 ||
	    (r = read_any(&s, "host", &f.host, why)) < 0 ||
	    (r = spec_uint(&s, "host-port", 0, UINT16_MAX, &port, why)) < 0)
		return r;
	f.udp = strcmp(proto, "udp") == 0;
	if (!f.udp && strcmp(proto, "tcp") != 0)
		return spec_wrong(why, "proto: neither \"tcp\" nor \"udp\"");
	if (port > UINT16_MAX)
		return spec_wrong(why, "host-port: missing");
	f.host_port = (uint16_t)port;
	*ret = f;
	return 0;
}

static bool can_be_guest(const struct nat_net *net, const struct in6_addr *a)
{
	if (nat_addr_is_ip4(a))
		return nat_net_is_guest(net, nat_addr_ip4(a));
	return nat_net_has(net, a) && !IN6_ARE_ADDR_EQUAL(a, &net->gateway6) &&
	       !IN6_ARE_ADDR_EQUAL(a, &net->dns6) && !IN6_ARE_ADDR_EQUAL(a, &net->subnet6);
}

int nat_spec_forward(struct json_object *o, const struct nat_net *net, struct nat_forward *ret,
		     char **why)
{
	const struct port_spec s = { .object = o };
	struct nat_forward f = { 0 };
	uint64_t port = 0;
	int r = nat_spec_forward_name(o, &f, why);

	if (r < 0 || (r = read_any(&s, "guest", &f.guest, why)) < 0 ||
	    (r = spec_uint(&s, "guest-port", 1, UINT16_MAX, &port, why)) < 0)
		return r;
	if (!spec_member(&s, "guest"))
		return spec_wrong(why, "guest: missing");
	if (!can_be_guest(net, &f.guest))
		return spec_wrong(why, "guest: not an address for a guest of the subnet");
	if (nat_addr_is_ip4(&f.guest) != nat_addr_is_ip4(&f.host))
		return spec_wrong(why, "host: not of the same family as guest");
	if (port == 0)
		return spec_wrong(why, "guest-port: missing");
	f.guest_port = (uint16_t)port;
	*ret = f;
	return 0;
}

static int read_forwards(const struct port_spec *s, struct nat_spec *ret, char **why)
{
	struct json_object *array = spec_member(s, "forwards");
	unsigned n;
	int r = 0;

	if (!array)
		return 0;
	if (!json_object_is_type(array, json_type_array))
		return spec_wrong(why, "forwards: not an array");
	n = (unsigned)json_object_array_length(array);
	if (n > NAT_FORWARDS_MAX)
		return spec_wrong(why, "forwards: more than %d", NAT_FORWARDS_MAX);
	ret->forward = calloc(n + 1, sizeof(*ret->forward));
	if (!ret->forward)
		return -ENOMEM;
	for (; ret->n_forward < n && r == 0; ret->n_forward++) {
		struct json_object *o = json_object_array_get_idx(array, ret->n_forward);

		r = only_members(o, forward_members, why);
		if (r == 0)
			r = nat_spec_forward(o, &ret->net, &ret->forward[ret->n_forward], why);
		if (r == -EINVAL)
			under_element(why, "forwards", ret->n_forward);
	}
	return r;
}

int nat_spec_read(const struct port_spec *spec, uint16_t mtu, struct nat_spec *ret, char **why)
{
	struct nat_spec s = { 0 };
	struct json_object *hosts = spec_member(spec, "hosts");
	int r;

	if ((r = read_subnet(spec, &s.net, why)) < 0 || (r = read_subnet6(spec, &s.net, why)) < 0 ||
	    (r = read_own(spec, &s.net, why)) < 0 || (r = read_numbers(spec, mtu, &s, why)) < 0 ||
	    (r = read_domain(spec, &s.net, why)) < 0 || (r = read_pool(spec, &s, why)) < 0 ||
	    (hosts && (r = nat_spec_hosts(hosts, &s.net, &s.hosts, why)) < 0) ||
	    (r = read_forwards(spec, &s, why)) < 0) {
		nat_spec_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void nat_spec_done(struct nat_spec *spec)
{
	nat_hosts_done(&spec->hosts);
	free(spec->forward);
	spec->forward = NULL;
	spec->n_forward = 0;
}
