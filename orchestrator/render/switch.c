/* SPDX-License-Identifier: MIT */
#include "render/switch.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/lab.h"

/* --- kinds ---------------------------------------------------------------------------------------------------------- */

enum kind {
	KIND_PROFILE,
	KIND_POLICY,
	KIND_UPLINK,
	KIND_PORT,
	KIND_HOSTS,
	KIND_FORWARD,
	KIND_LINK,
	KIND_CARRIER,
	KIND_TIMELINE,
	KIND_SHAPE,
	KIND_RULE,
	KIND_MIRROR,
	KIND_CAPTURE,
	KIND_COUNT
};

static const char *const by_name[] = { "name", NULL };
static const char *const by_id[] = { "id", NULL };
static const char *const by_port[] = { "port", NULL };
static const char *const by_way[] = { "port", "direction", NULL };
static const char *const by_forward[] = { "port", "proto", "host", "host-port", NULL };

static const struct setting_kind kinds[KIND_COUNT] = {
	[KIND_PROFILE] = { "profile", "profile.set", "profile.remove", by_name, .inward = true },
	[KIND_POLICY] = { "policy", "qos.policy.set", "qos.policy.remove", by_name,
			  .inward = true },
	[KIND_UPLINK] = { "uplink", .of_port = true },
	[KIND_PORT] = { "port", "port.set", "port.set", by_name,
			"{\"vlan\":null,\"isolated\":false,\"offloads\":true}", .of_port = true,
			.inward = true },
	[KIND_HOSTS] = { "hosts", "hosts.set", "hosts.set", by_port, "{\"hosts\":[]}",
			 .of_port = true, .inward = true },
	[KIND_FORWARD] = { "forward", "forward.add", "forward.remove", by_forward, .of_port = true,
			   .anew = true },
	[KIND_LINK] = { "link", "link.set", "link.reset", by_way, .of_port = true, .inward = true },
	[KIND_CARRIER] = { "carrier", "port.down", "port.up", by_name, .of_port = true,
			   .inward = true },
	[KIND_TIMELINE] = { "timeline", "timeline.set", "timeline.set", by_way, "{\"steps\":[]}",
			    .of_port = true, .inward = true },
	[KIND_SHAPE] = { "shape", "qos.set", "qos.set", by_way, "{\"policy\":null}",
			 .of_port = true, .inward = true },
	[KIND_RULE] = { "rule", "rule.set", "rule.remove", by_id, .inward = true },
	[KIND_MIRROR] = { "mirror", "mirror.add", "mirror.remove", by_name, .anew = true,
			  .inward = true },
	[KIND_CAPTURE] = { "capture", "capture.start", "capture.stop", by_id, .anew = true },
};

const struct setting_kind *setting_kind_of(const char *key)
{
	size_t len = strcspn(key, ":");

	for (unsigned i = 0; i < KIND_COUNT; i++)
		if (strlen(kinds[i].word) == len && strncmp(kinds[i].word, key, len) == 0)
			return &kinds[i];
	return NULL;
}

char *setting_port_of(const char *key)
{
	const struct setting_kind *kind = setting_kind_of(key);
	const char *port = strchr(key, ':');

	if (!kind || !kind->of_port || !port)
		return NULL;
	port++;
	return g_strndup(port, strcspn(port, ":"));
}

static void copy_members(struct json_object *into, struct json_object *from,
			 const char *const *names)
{
	struct json_object *value;

	for (; *names; names++)
		if (json_object_object_get_ex(from, *names, &value))
			json_object_object_add(into, *names, json_object_get(value));
}

/* Every member of `more` (NULL: none) into `into`. */
static void add_members(struct json_object *into, struct json_object *more)
{
	if (!more)
		return;
	json_object_object_foreach(more, key, value)
		json_object_object_add(into, key, json_object_get(value));
}

struct json_object *setting_undo_params(const struct setting_kind *kind, const char *params)
{
	struct json_object *said = json_tokener_parse(params), *o = json_object_new_object();
	struct json_object *nothing = kind->nothing ? json_tokener_parse(kind->nothing) : NULL;

	copy_members(o, said, kind->names);
	if (nothing)
		add_members(o, nothing);
	json_object_put(nothing);
	json_object_put(said);
	return o;
}

/* --- a list of settings --------------------------------------------------------------------------------------------- */

static void setting_free(void *p)
{
	struct setting *s = p;

	g_free(s->key);
	g_free(s->port);
	g_free(s->params);
	g_free(s);
}

/* Consumes params. */
static void G_GNUC_PRINTF(5, 6) add(GPtrArray *list, enum kind kind, const char *port,
				    struct json_object *params, const char *name, ...)
{
	struct setting *s = g_new0(struct setting, 1);
	g_autofree char *rest = NULL;
	va_list ap;

	va_start(ap, name);
	rest = g_strdup_vprintf(name, ap);
	va_end(ap);
	s->kind = &kinds[kind];
	s->key = g_strconcat(s->kind->word, ":", rest, NULL);
	s->port = g_strdup(port);
	s->params = g_strdup(json_object_to_json_string_ext(
		params, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(params);
	g_ptr_array_add(list, s);
}

static void put_str(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void put_int(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

static void put_ip(struct json_object *o, const char *key, struct in_addr ip)
{
	char text[INET_ADDRSTRLEN];

	put_str(o, key, inet_ntop(AF_INET, &ip, text, sizeof(text)));
}

/* --- ports ---------------------------------------------------------------------------------------------------------- */

/* All that can be set about a port, said in full, so that it is so whatever it was. */
static struct json_object *port_settings(const struct network *n, const struct link *link)
{
	static const char *const bounds[] = { "broadcast-pps", "multicast-pps", "unknown-pps" };
	struct json_object *o = json_object_new_object(), *storm = json_object_new_object();

	json_object_object_add(o, "vlan", NULL);
	json_object_object_add(o, "isolated", json_object_new_boolean(false));
	json_object_object_add(o, "offloads", json_object_new_boolean(true));
	for (unsigned i = 0; i < G_N_ELEMENTS(bounds); i++)
		put_int(storm, bounds[i], 0);
	add_members(storm, n->storm);
	json_object_object_add(o, "storm", storm);
	add_members(o, link->port);
	return o;
}

void render_nic_port(const struct network *network, const char *port, const char *socket_path,
		     const struct link *link, struct json_object **ret_port,
		     struct json_object **ret_more)
{
	*ret_port = json_object_new_object();
	put_str(*ret_port, "name", port);
	put_str(*ret_port, "socket-path", socket_path);
	*ret_more = port_settings(network, link);
}

/* The VMs of the network, for DHCP and names. */
static struct json_object *hosts_of(const struct lab *lab, const struct network *n)
{
	g_autoptr(GHashTable) named = g_hash_table_new(g_str_hash, g_str_equal);
	struct json_object *hosts = json_object_new_array();

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		for (unsigned j = 0; j < vm->nics->len; j++) {
			const struct nic *nic = vm_nic(vm, j);
			struct json_object *host;
			char mac[NAMES_MAC_LEN + 1];

			if (nic->network != n)
				continue;
			host = json_object_new_object();
			names_mac_format(nic->mac, mac);
			/* A second NIC of one VM on one network has its address, and no name of its own. */
			put_str(host, "name",
				g_hash_table_add(named, vm->name) ? vm->name : nic->port);
			put_str(host, "mac", mac);
			put_ip(host, "ip", nic->ip);
			json_object_array_add(hosts, host);
		}
	}
	return hosts;
}

struct json_object *render_nat_forward(const char *uplink, const struct nat_forward *f)
{
	struct json_object *o = json_object_new_object();

	if (uplink)
		put_str(o, "port", uplink);
	put_str(o, "proto", f->udp ? "udp" : "tcp");
	put_str(o, "host", f->host);
	put_int(o, "host-port", f->host_port);
	put_ip(o, "guest", f->guest);
	put_int(o, "guest-port", f->guest_port);
	return o;
}

static void put_nat(struct json_object *o, const struct network *n, const struct uplink *u)
{
	char subnet[INET_ADDRSTRLEN];
	g_autofree char *cidr = NULL;

	inet_ntop(AF_INET, &n->subnet, subnet, sizeof(subnet));
	cidr = g_strdup_printf("%s/%u", subnet, n->prefix);
	put_str(o, "subnet", cidr);
	put_ip(o, "gateway", u->gateway);
	put_ip(o, "dns", u->dns);
	put_int(o, "mtu", n->mtu);
}

/* Forwards are not among the members: one whose port is taken must not keep the switch from starting. */
void render_uplink_port(const struct lab *lab, const struct network *network,
			const struct uplink *uplink, struct json_object **ret_port,
			struct json_object **ret_more)
{
	*ret_port = json_object_new_object();
	put_str(*ret_port, "name", uplink->port);
	add_members(*ret_port, uplink->own);
	*ret_more = port_settings(network, &uplink->link);
	if (uplink->type == UPLINK_NAT) {
		put_nat(*ret_port, network, uplink);
		json_object_object_add(*ret_more, "hosts", hosts_of(lab, network));
	}
}

/* --- links ---------------------------------------------------------------------------------------------------------- */

static struct json_object *way(const char *port, enum lab_direction d)
{
	struct json_object *o = json_object_new_object();

	put_str(o, "port", port);
	put_str(o, "direction", lab_direction_name(d));
	return o;
}

struct json_object *render_link_set(const char *port, const char *direction,
				    struct json_object *impair)
{
	struct json_object *o = json_object_new_object();

	put_str(o, "port", port);
	put_str(o, "direction", direction);
	json_object_object_add(o, "replace", json_object_new_boolean(true));
	add_members(o, impair);
	return o;
}

static void add_link(GPtrArray *list, const struct network *n, const char *port,
		     const struct link *link)
{
	struct json_object *set = port_settings(n, link), *o = json_object_new_object();

	put_str(o, "name", port);
	add_members(o, set);
	json_object_put(set);
	add(list, KIND_PORT, port, o, "%s", port);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		const char *side = lab_direction_name((enum lab_direction)i);

		if (link->impair[i])
			add(list, KIND_LINK, port, render_link_set(port, side, link->impair[i]),
			    "%s:%s", port, side);
		if (link->timeline[i]) {
			o = way(port, (enum lab_direction)i);
			add_members(o, link->timeline[i]);
			add(list, KIND_TIMELINE, port, o, "%s:%s", port, side);
		}
		if (link->qos[i]) {
			o = way(port, (enum lab_direction)i);
			put_str(o, "policy", link->qos[i]);
			add(list, KIND_SHAPE, port, o, "%s:%s", port, side);
		}
	}
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* All of the lab: a running link may be given any of them. */
static void add_kinds(GPtrArray *list, const GPtrArray *named, enum kind kind)
{
	for (unsigned i = 0; i < named->len; i++) {
		const struct named *item = named->pdata[i];
		struct json_object *o;

		if (!item->params)
			continue;
		o = json_object_new_object();
		put_str(o, "name", item->name);
		add_members(o, item->params);
		add(list, kind, NULL, o, "%s", item->name);
	}
}

static void add_uplink(GPtrArray *list, const struct lab *lab, const struct network *n,
		       const struct uplink *u)
{
	struct json_object *port, *more;

	render_uplink_port(lab, n, u, &port, &more);
	json_object_put(more);
	add(list, KIND_UPLINK, u->port, port, "%s", u->port);
	add_link(list, n, u->port, &u->link);
	if (u->type == UPLINK_NAT) {
		struct json_object *hosts = json_object_new_object();

		put_str(hosts, "port", u->port);
		json_object_object_add(hosts, "hosts", hosts_of(lab, n));
		add(list, KIND_HOSTS, u->port, hosts, "%s", u->port);
	}
	for (unsigned i = 0; i < u->forwards->len; i++) {
		const struct nat_forward *f = u->forwards->pdata[i];

		add(list, KIND_FORWARD, u->port, render_nat_forward(u->port, f), "%s:%s", u->port,
		    f->text);
	}
}

static void add_links(GPtrArray *list, const struct lab *lab, const struct network *n)
{
	g_autoptr(GPtrArray) nics = lab_network_nics(lab, n);

	for (unsigned i = 0; i < nics->len; i++) {
		const struct nic *nic = nics->pdata[i];

		add_link(list, n, nic->port, &nic->link);
	}
	for (unsigned i = 0; i < n->uplinks->len; i++)
		add_uplink(list, lab, n, network_uplink(n, i));
}

/* The ports of the network that a capture without any means. */
static void put_all_ports(struct json_object *params, const struct lab *lab,
			  const struct network *n)
{
	g_autoptr(GPtrArray) nics = lab_network_nics(lab, n);
	struct json_object *ports = json_object_new_array();

	for (unsigned i = 0; i < nics->len; i++)
		json_object_array_add(
			ports, json_object_new_string(((const struct nic *)nics->pdata[i])->port));
	for (unsigned i = 0; i < n->uplinks->len; i++)
		json_object_array_add(ports, json_object_new_string(network_uplink(n, i)->port));
	json_object_object_add(params, "ports", ports);
}

static void add_duties(GPtrArray *list, const struct lab *lab, const struct network *n)
{
	for (unsigned i = 0; i < n->rules->len; i++) {
		const struct named *rule = n->rules->pdata[i];

		add(list, KIND_RULE, NULL, json_object_get(rule->params), "%s", rule->name);
	}
	for (unsigned i = 0; i < n->mirrors->len; i++) {
		const struct named *mirror = n->mirrors->pdata[i];

		add(list, KIND_MIRROR, NULL, json_object_get(mirror->params), "%s", mirror->name);
	}
	for (unsigned i = 0; i < n->captures->len; i++) {
		const struct named *capture = n->captures->pdata[i];
		struct json_object *params = NULL;

		json_object_deep_copy(capture->params, &params, NULL);
		if (!json_object_object_get_ex(params, "ports", NULL))
			put_all_ports(params, lab, n);
		add(list, KIND_CAPTURE, NULL, params, "%s", capture->name);
	}
}

GPtrArray *render_switch_settings(const struct lab *lab, const struct network *network)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(setting_free);

	add_kinds(list, lab->profiles, KIND_PROFILE);
	add_kinds(list, lab->policies, KIND_POLICY);
	add_links(list, lab, network);
	add_duties(list, lab, network);
	return list;
}

char *render_switch_text(const struct lab *lab, const struct network *network, GHashTable *ports)
{
	g_autoptr(GPtrArray) list = render_switch_settings(lab, network);
	GString *out = g_string_new(NULL);

	for (unsigned i = 0; i < list->len; i++) {
		const struct setting *s = list->pdata[i];

		if (!s->port || !ports || g_hash_table_contains(ports, s->port))
			g_string_append_printf(out, "%s %s\n", s->key, s->params);
	}
	return g_string_free(out, FALSE);
}

struct json_object *render_switch_config(const struct network *network)
{
	struct json_object *o = json_object_new_object();

	put_int(o, "mtu", network->mtu);
	if (network->threads > 1)
		put_int(o, "threads", network->threads);
	return o;
}
