/* SPDX-License-Identifier: MIT */
/* What the file says about networks beyond their subnets: uplinks, and, once the NICs are known, mirrors, rules, captures
 * and forwards. */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/build.h"
#include "model/build_impl.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/numbers.h"

#define BIT(id) (1u << UPLINK_##id)

/* Which keys are of which types; the others are of all. */
static const struct {
	const char *key;
	unsigned types;
	bool needed;
	bool ours; /* it means something to us, or is made by us: not given on as it is */
} uplink_keys[] = {
	{ "forward", BIT(NAT), false, true },
	{ "domain", BIT(NAT), false, false },
	{ "restricted", BIT(NAT), false, false },
	{ "host-loopback", BIT(NAT), false, false },
	{ "ifname", BIT(TAP), true, false },
	{ "create", BIT(TAP), false, false },
	{ "switch", BIT(VDE), true, true },
	{ "switch-port", BIT(VDE), false, false },
	{ "socket-path", BIT(STREAM), false, true },
	{ "address", BIT(STREAM), false, false },
	{ "client", BIT(STREAM), false, false },
	{ "local", BIT(DGRAM) | BIT(VXLAN), false, true },
	{ "remote", BIT(DGRAM), true, true },
	{ "vni", BIT(VXLAN), true, false },
	{ "peers", BIT(VXLAN), true, false },
	{ "underlay-mtu", BIT(VXLAN), false, false },
};

static const char *const type_words[] = {
#define X(id, word) word,
	UPLINK_TYPES(X)
#undef X
};

/* --- uplinks -------------------------------------------------------------------------------------------------------- */

/* Keys of other types, and those that are missing. */
static void check_uplink_keys(struct builder *b, struct jt_node *node, enum uplink_type type)
{
	const char *word = type_words[type];

	for (unsigned i = 0; i < G_N_ELEMENTS(uplink_keys); i++) {
		struct jt_node *member = jt_get(node, uplink_keys[i].key);
		bool of_type = uplink_keys[i].types >> type & 1;

		if (member && !of_type)
			lab_error_at_key(b->errors, member, "means nothing to a %s uplink", word);
		else if (!member && of_type && uplink_keys[i].needed)
			lab_error_at(b->errors, node, "a %s uplink needs \"%s\"", word,
				     uplink_keys[i].key);
	}
	if (type == UPLINK_STREAM && !jt_get(node, "socket-path") == !jt_get(node, "address"))
		lab_error_at(b->errors, node,
			     "a stream uplink needs one of \"socket-path\" and \"address\"");
	if (type == UPLINK_DGRAM && !jt_get(node, "local"))
		lab_error_at(b->errors, node, "a dgram uplink needs \"local\"");
}

/* Whether a text is "ADDRESS:PORT" or the like, not a path. */
static bool is_address(const char *text)
{
	return strchr(text, ':') || !strchr(text, '/');
}

/* A member that may be a path: made absolute, seen from the directory of the lab file. */
static void put_place(struct builder *b, struct json_object *own, struct jt_node *node,
		      const char *key)
{
	struct jt_node *n = build_good(node, key);
	bool address = n && strcmp(key, "socket-path") != 0 && is_address(n->string);
	g_autofree char *path = n && !address ? build_lab_relative(b->lab, g_strdup(n->string)) :
						NULL;

	if (path && strlen(path) > NAMES_SOCKET_PATH_MAX)
		lab_error_at(b->errors, n, "the path is too long for a socket");
	if (n)
		json_object_object_add(own, key, json_object_new_string(path ? path : n->string));
}

static struct json_object *own_members(struct builder *b, struct jt_node *node,
				       enum uplink_type type)
{
	struct json_object *all = numbers_of(&field_uplink, node), *own = json_object_new_object();

	json_object_object_add(own, "type", json_object_new_string(type_words[type]));
	for (unsigned i = 0; i < G_N_ELEMENTS(uplink_keys); i++) {
		struct json_object *value;

		if (!(uplink_keys[i].types >> type & 1))
			continue;
		if (!uplink_keys[i].ours &&
		    json_object_object_get_ex(all, uplink_keys[i].key, &value))
			json_object_object_add(own, uplink_keys[i].key, json_object_get(value));
		else if (uplink_keys[i].ours && strcmp(uplink_keys[i].key, "forward") != 0)
			put_place(b, own, node, uplink_keys[i].key);
	}
	json_object_put(all);
	return own;
}

/* Its type, with a number from the second of that type on. */
static char *uplink_port(const struct network *n, enum uplink_type type)
{
	unsigned same = 1;

	for (unsigned i = 0; i < n->uplinks->len; i++)
		same += network_uplink(n, i)->type == type;
	return same == 1 ? g_strdup(type_words[type]) :
			   g_strdup_printf("%s-%u", type_words[type], same);
}

static void add_uplink(struct builder *b, struct network *n, struct jt_node *node)
{
	struct jt_node *type = build_good(node, "type");
	struct uplink *u;

	if (!type)
		return;
	u = uplink_new(uplink_port(n, (enum uplink_type)type->decoded));
	u->type = (enum uplink_type)type->decoded;
	check_uplink_keys(b, node, u->type);
	u->own = own_members(b, node, u->type);
	g_ptr_array_add(n->uplinks, u);
	g_hash_table_insert(b->uplink_nodes, u, node);
}

void build_uplinks(struct builder *b, struct network *n)
{
	const struct jt_node *node = b->network_nodes->pdata[n->index];
	struct jt_node *one = build_good(node, "uplink"), *list = build_good(node, "uplinks");
	bool vxlan = false;

	if (one)
		add_uplink(b, n, one);
	for (struct jt_node *i = list ? list->child : NULL; i; i = i->next)
		if (i->ok)
			add_uplink(b, n, i);
	for (unsigned i = 0; i < n->uplinks->len; i++)
		vxlan |= network_uplink(n, i)->type == UPLINK_VXLAN;
	if (vxlan && !jt_get(node, "mtu"))
		n->mtu = LAB_MTU_VXLAN;
}

/* --- addresses of uplinks ------------------------------------------------------------------------------------------- */

/* An address of an uplink: said, or what it has otherwise (0: none).  owned: nobody else may have it. */
static struct in_addr uplink_address(struct builder *b, const struct network *n,
				     const struct jt_node *node, const char *key,
				     uint32_t otherwise, bool owned)
{
	struct jt_node *said = build_good(node, key);
	uint32_t ip = said ? (uint32_t)said->decoded : otherwise;
	bool free_to_take = true;

	if (said && (owned || strcmp(key, "gateway") == 0))
		free_to_take = build_check_ip(b, n, said);
	if (ip && owned && free_to_take) {
		g_autofree char *owner = g_strdup_printf(
			"%s of the network's uplink",
			strcmp(key, "dns") == 0 ? "the name server" : "the gateway");

		build_take_ip(b, ip, said, owner);
	}
	return (struct in_addr){ htonl(ip) };
}

void build_uplink_addresses(struct builder *b, struct network *n)
{
	uint32_t subnet = ntohl(n->subnet.s_addr);

	for (unsigned i = 0; n->prefix > 0 && i < n->uplinks->len; i++) {
		struct uplink *u = n->uplinks->pdata[i];
		const struct jt_node *node = g_hash_table_lookup(b->uplink_nodes, u);
		bool nat = u->type == UPLINK_NAT;
		uint32_t last = subnet + (uint32_t)names_ip_count(n->prefix);

		u->gateway = uplink_address(b, n, node, "gateway", nat ? subnet + 1 : 0, nat);
		u->dns = uplink_address(b, n, node, "dns", nat ? last : 0, nat);
	}
}

/* --- forwards ------------------------------------------------------------------------------------------------------- */

static bool read_port(const char *text, unsigned *ret)
{
	guint64 port;

	if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &port, NULL))
		return false;
	*ret = (unsigned)port;
	return true;
}

static const char *fill_forward(char **part, struct nat_forward *f)
{
	struct in_addr host;

	f->udp = strcmp(part[0], "udp") == 0;
	if (!f->udp && strcmp(part[0], "tcp") != 0)
		return "the protocol is tcp or udp";
	if (inet_pton(AF_INET, part[1], &host) != 1)
		return "the host's address has to be an IPv4 address";
	if (!read_port(part[2], &f->host_port) || !read_port(part[4], &f->guest_port))
		return "a port is 1 to 65535";
	f->host = g_strdup(part[1]);
	return NULL;
}

char *nat_forward_parse(const struct lab *lab, const struct network *network, const char *text,
			struct nat_forward **ret)
{
	g_auto(GStrv) part = g_strsplit(text, ":", -1);
	struct nat_forward *f;
	g_autoptr(GError) error = NULL;
	struct link_ref link;
	const char *fault;

	if (g_strv_length(part) != 5)
		return g_strdup(
			"a forward is written PROTOCOL:ADDRESS:PORT:VM:PORT, as in \"tcp:127.0.0.1:2222:n1:22\"");
	f = g_new0(struct nat_forward, 1);
	f->text = g_strdup(text);
	fault = fill_forward(part, f);
	if (!fault && lab_find_link(lab, network, part[3], &link, &error) && !link.nic)
		fault = "its guest is a VM";
	if (fault || error) {
		nat_forward_free(f);
		return g_strdup(fault ? fault : error->message);
	}
	f->guest = link.nic->ip;
	*ret = f;
	return NULL;
}

static void build_nat_forwards(struct builder *b, const struct network *n, struct uplink *u,
			       GHashTable *listeners)
{
	struct jt_node *list = build_good(g_hash_table_lookup(b->uplink_nodes, u), "forward");

	for (struct jt_node *node = list ? list->child : NULL; node; node = node->next) {
		struct nat_forward *f = NULL;
		g_autofree char *fault = node->ok ? nat_forward_parse(b->lab, n, node->string, &f) :
						    NULL;
		g_autofree char *quoted = node->ok ? jt_quote(node->string) : NULL;
		g_autofree char *key = NULL;

		if (fault)
			lab_error_at(b->errors, node, "%s: %s", quoted, fault);
		if (!f)
			continue;
		key = g_strdup_printf("%s:%s:%u", f->udp ? "udp" : "tcp", f->host, f->host_port);
		if (g_hash_table_contains(listeners, key))
			lab_error_at(b->errors, node, "%s is forwarded already", key);
		g_hash_table_add(listeners, g_steal_pointer(&key));
		g_ptr_array_add(u->forwards, f);
	}
}

/* --- mirrors, rules, captures --------------------------------------------------------------------------------------- */

/* The port that a link's name in the file means; NULL: reported. */
static const char *port_of(struct builder *b, const struct network *n, const struct jt_node *node)
{
	g_autoptr(GError) error = NULL;
	struct link_ref link;

	if (!node || !node->ok)
		return NULL;
	if (lab_find_link(b->lab, n, node->string, &link, &error))
		return link.port;
	lab_error_at(b->errors, node, "%s", error->message);
	return NULL;
}

static struct json_object *ports_of(struct builder *b, const struct network *n,
				    const struct jt_node *list)
{
	struct json_object *ports = json_object_new_array();

	for (struct jt_node *node = list->child; node; node = node->next) {
		const char *port = port_of(b, n, node);

		if (port)
			json_object_array_add(ports, json_object_new_string(port));
	}
	return ports;
}

static void put_port(struct builder *b, const struct network *n, struct json_object *params,
		     const struct jt_node *node, const char *key)
{
	const char *port = port_of(b, n, build_good(node, key));

	if (port)
		json_object_object_add(params, key, json_object_new_string(port));
}

/* Keep params under the element's name, which nothing of its kind has yet. */
static void keep(struct builder *b, GPtrArray *list, const struct jt_node *node, const char *kind,
		 struct json_object *params)
{
	struct jt_node *name = build_good(node, "name");
	struct named *item;

	for (unsigned i = 0; name && i < list->len; i++)
		if (g_strcmp0(((const struct named *)list->pdata[i])->name, name->string) == 0)
			lab_error_at(b->errors, name, "a %s called \"%s\" is there already", kind,
				     name->string);
	item = g_new0(struct named, 1);
	item->name = build_good_string(node, "name");
	item->params = params;
	g_ptr_array_add(list, item);
}

static void add_mirror(struct builder *b, struct network *n, struct jt_node *node)
{
	struct json_object *params = json_object_new_object();
	struct jt_node *from = build_good(node, "from"), *direction = build_good(node, "direction");
	struct jt_node *name = build_good(node, "name");
	const char *to = port_of(b, n, build_good(node, "to"));

	for (struct jt_node *i = from ? from->child : NULL; to && i; i = i->next) {
		struct link_ref link;

		if (i->ok && lab_find_link(b->lab, n, i->string, &link, NULL) &&
		    strcmp(link.port, to) == 0)
			lab_error_at(b->errors, i, "cannot be shown to itself");
	}
	if (name)
		json_object_object_add(params, "name", json_object_new_string(name->string));
	if (to)
		json_object_object_add(params, "to", json_object_new_string(to));
	if (from)
		json_object_object_add(params, "from", ports_of(b, n, from));
	json_object_object_add(params, "direction",
			       json_object_new_string(direction ? direction->string : "both"));
	keep(b, n->mirrors, node, "mirror", params);
}

/* The switch knows types of Ethernet by their numbers. */
static struct json_object *match_of(const struct jt_node *node)
{
	static const unsigned ethertypes[] = { 0x0800, 0x0806, 0x86dd }; /* as the table's words */
	struct json_object *match = numbers_of(&field_match, node);
	struct jt_node *type = build_good(node, "ethertype");

	if (type && type->type == JT_STRING)
		json_object_object_add(match, "ethertype",
				       json_object_new_int64(ethertypes[type->decoded]));
	return match;
}

/* Whether any key of an impairment is there, right or wrong. */
static bool says_what(const struct jt_node *rule)
{
	for (const struct jt_node *n = rule->child; n; n = n->next)
		if (field_find(&field_impairment, n->key))
			return true;
	return false;
}

static void add_rule(struct builder *b, struct network *n, struct jt_node *node)
{
	struct json_object *params = numbers_of(&field_impairment, node);
	struct jt_node *match = build_good(node, "match"), *name = build_good(node, "name");
	const char *fault = impair_fault(params, true);

	if (fault)
		lab_error_at(b->errors, node, "%s", fault);
	if (!says_what(node))
		lab_error_at(b->errors, node, "does nothing: say what, as in \"loss\": \"2%%\"");
	if (name)
		json_object_object_add(params, "id", json_object_new_string(name->string));
	put_port(b, n, params, node, "in");
	put_port(b, n, params, node, "out");
	if (match)
		json_object_object_add(params, "match", match_of(match));
	keep(b, n->rules, node, "rule", params);
}

static void add_capture(struct builder *b, struct network *n, struct jt_node *node)
{
	struct json_object *params = json_object_new_object(), *to = json_object_new_object();
	struct json_object *said = numbers_of(&field_capture, node), *value;
	struct jt_node *links = build_good(node, "links");
	g_autofree char *file = build_lab_relative(b->lab, build_good_string(node, "file"));
	static const char *const given_on[] = { "direction", "snaplen", "filter" };

	if (json_object_object_get_ex(said, "name", &value))
		json_object_object_add(params, "id", json_object_get(value));
	for (unsigned i = 0; i < G_N_ELEMENTS(given_on); i++)
		if (json_object_object_get_ex(said, given_on[i], &value))
			json_object_object_add(params, given_on[i], json_object_get(value));
	if (links)
		json_object_object_add(params, "ports", ports_of(b, n, links));
	if (jt_get(node, "files") && !jt_get(node, "rotate"))
		lab_error_at_key(b->errors, jt_get(node, "files"),
				 "means nothing without \"rotate\"");
	json_object_object_add(to, "file", json_object_new_string(file ? file : ""));
	if (json_object_object_get_ex(said, "rotate-bytes", &value))
		json_object_object_add(to, "rotate-bytes", json_object_get(value));
	if (json_object_object_get_ex(said, "files", &value))
		json_object_object_add(to, "files", json_object_get(value));
	json_object_object_add(params, "to", to);
	json_object_put(said);
	keep(b, n->captures, node, "capture", params);
}

typedef void add_fn(struct builder *b, struct network *n, struct jt_node *node);

static void each(struct builder *b, struct network *n, const char *key, add_fn *add)
{
	struct jt_node *list = build_good(b->network_nodes->pdata[n->index], key);

	for (struct jt_node *node = list ? list->child : NULL; node; node = node->next)
		if (node->ok)
			add(b, n, node);
}

static void build_duties(struct builder *b, struct network *n, GHashTable *listeners)
{
	struct jt_node *storm = build_good(b->network_nodes->pdata[n->index], "storm");

	for (unsigned i = 0; i < n->uplinks->len; i++) {
		struct uplink *u = n->uplinks->pdata[i];

		build_link(b, &u->link, g_hash_table_lookup(b->uplink_nodes, u));
		build_nat_forwards(b, n, u, listeners);
	}
	if (storm && storm->n_children > 0)
		n->storm = numbers_of(&field_storm, storm);
	each(b, n, "mirrors", add_mirror);
	each(b, n, "rules", add_rule);
	each(b, n, "captures", add_capture);
}

void build_network_duties(struct builder *b)
{
	g_autoptr(GHashTable)
		listeners = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (unsigned i = 0; i < b->lab->networks->len; i++)
		build_duties(b, lab_network(b->lab, i), listeners);
}
