/* SPDX-License-Identifier: MIT */
#include "render/graph.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/fields_net.h"
#include "model/lab.h"
#include "model/units.h"
#include "render/graph_words.h"

/* --- pieces ------------------------------------------------------------------------------------------------------- */

static void node_free(void *p)
{
	struct graph_node *node = p;

	g_free(node->id);
	g_free(node->title);
	g_free(node->badge);
	g_free(node->about);
	g_ptr_array_unref(node->lines);
	g_ptr_array_unref(node->sockets);
	g_ptr_array_unref(node->groups);
	g_ptr_array_unref(node->edges);
	g_free(node);
}

static void edge_free(void *p)
{
	struct graph_edge *edge = p;

	g_free(edge->name);
	g_free(edge->vlan);
	g_ptr_array_unref(edge->effects);
	g_ptr_array_unref(edge->traits);
	g_free(edge);
}

static void group_free(void *p)
{
	struct graph_group *group = p;

	g_ptr_array_unref(group->edges);
	g_free(group);
}

static void note_free(void *p)
{
	struct graph_note *note = p;

	g_free(note->title);
	g_free(note->text);
	g_free(note);
}

void graph_free(struct graph *graph)
{
	if (!graph)
		return;
	g_free(graph->name);
	g_free(graph->about);
	g_ptr_array_unref(graph->nodes);
	g_ptr_array_unref(graph->edges);
	g_ptr_array_unref(graph->groups);
	g_ptr_array_unref(graph->notes);
	g_free(graph);
}

/* Takes id and title. */
static struct graph_node *add_node(struct graph *g, enum graph_kind kind, char *id, char *title,
				   const char *about)
{
	struct graph_node *node = g_new0(struct graph_node, 1);

	*node = (struct graph_node){
		.kind = kind,
		.index = g->nodes->len,
		.id = id,
		.title = title,
		.about = g_strdup(about),
		.lines = g_ptr_array_new_with_free_func(g_free),
		.sockets = g_ptr_array_new_with_free_func(g_free),
		.groups = g_ptr_array_new(),
		.edges = g_ptr_array_new(),
	};
	g_ptr_array_add(g->nodes, node);
	return node;
}

static struct graph_edge *add_edge(struct graph *g, struct graph_node *from, struct graph_node *to)
{
	struct graph_edge *edge = g_new0(struct graph_edge, 1);

	*edge = (struct graph_edge){
		.index = g->edges->len,
		.from = from,
		.to = to,
		.effects = g_ptr_array_new_with_free_func(g_free),
		.traits = g_ptr_array_new_with_free_func(g_free),
	};
	g_ptr_array_add(g->edges, edge);
	g_ptr_array_add(from->edges, edge);
	g_ptr_array_add(to->edges, edge);
	return edge;
}

static void G_GNUC_PRINTF(2, 3) say(GPtrArray *list, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	g_ptr_array_add(list, g_strdup_vprintf(format, ap));
	va_end(ap);
}

/* --- VLANs -------------------------------------------------------------------------------------------------------- */

static struct graph_group *group_of(const struct graph_node *network, unsigned vlan)
{
	for (unsigned i = 0; i < network->groups->len; i++) {
		struct graph_group *group = network->groups->pdata[i];

		if (group->vlan == vlan)
			return group;
	}
	return NULL;
}

/* The group of that VLAN, made if it is not there. */
static struct graph_group *join(struct graph_edge *edge, unsigned vlan)
{
	struct graph_group *group = group_of(edge->to, vlan);

	if (!group) {
		group = g_new0(struct graph_group, 1);
		group->network = edge->to;
		group->vlan = vlan;
		group->edges = g_ptr_array_new();
		g_ptr_array_add(edge->to->groups, group);
	}
	/* The native VLAN of a trunk may be in its list, too. */
	if (group->edges->len == 0 || group->edges->pdata[group->edges->len - 1] != edge)
		g_ptr_array_add(group->edges, edge);
	return group;
}

static int by_vlan(const void *a, const void *b)
{
	const struct graph_group *const *x = a, *const *y = b;

	return (*x)->vlan < (*y)->vlan ? -1 : (*x)->vlan > (*y)->vlan;
}

static void join_trunk(struct graph_edge *edge, struct json_object *vlan, struct json_object *trunk)
{
	struct json_object *native;

	for (size_t i = 0;
	     json_object_is_type(trunk, json_type_array) && i < json_object_array_length(trunk);
	     i++)
		join(edge, (unsigned)json_object_get_int(json_object_array_get_idx(trunk, i)));
	if (json_object_object_get_ex(vlan, "native", &native))
		join(edge, (unsigned)json_object_get_int(native));
}

static void join_vlans(struct graph_edge *edge, struct json_object *port)
{
	struct json_object *vlan, *member;

	if (!json_object_object_get_ex(port, "vlan", &vlan) || !vlan)
		return;
	edge->vlan = graph_words_vlan(vlan);
	if (json_object_object_get_ex(vlan, "access", &member) ||
	    json_object_object_get_ex(vlan, "tunnel", &member))
		edge->group = join(edge, (unsigned)json_object_get_int(member));
	else if (json_object_object_get_ex(vlan, "trunk", &member))
		join_trunk(edge, vlan, member);
}

/* Groups in the order of networks and numbers: then their colours do not hang on who is plugged in first. */
static void collect_groups(struct graph *g)
{
	for (unsigned i = 0; i < g->nodes->len; i++) {
		GPtrArray *groups = graph_node(g, i)->groups;

		g_ptr_array_sort(groups, by_vlan);
		for (unsigned j = 0; j < groups->len; j++) {
			struct graph_group *group = groups->pdata[j];

			group->index = g->groups->len;
			g_ptr_array_add(g->groups, group);
		}
	}
}

/* --- edges -------------------------------------------------------------------------------------------------------- */

static bool flag(struct json_object *o, const char *key, bool otherwise)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_boolean(value) :
							   otherwise;
}

static void put_link(struct graph_edge *edge, const struct link *link, bool uplink)
{
	join_vlans(edge, link->port);
	graph_words_effects(link, uplink, edge->effects);
	if (flag(link->port, "isolated", false))
		say(edge->traits, "isolated");
}

static void add_nic(struct graph *g, struct graph_node *node, GPtrArray *networks,
		    const struct nic *nic)
{
	struct graph_edge *edge = add_edge(g, node, networks->pdata[nic->network->index]);
	char ip[INET_ADDRSTRLEN];

	edge->name = g_strdup_printf("eth%u %s", nic->index,
				     inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip)));
	put_link(edge, &nic->link, false);
	if (nic->queues > 1)
		say(edge->traits, "%u queues", nic->queues);
	if (!nic->offloads)
		say(edge->traits, "no offloads");
}

static void add_share(struct graph *g, struct graph_node *node, GPtrArray *portals,
		      const struct portal_access *access)
{
	struct graph_edge *edge = add_edge(g, node, portals->pdata[access->portal->index]);

	edge->name = g_strdup(portal_door_name(access->door));
	edge->readonly = access->readonly;
	if (edge->readonly)
		say(edge->traits, "read-only");
	if (access->quota > 0) {
		g_autofree char *size = unit_format_size(access->quota);

		say(edge->traits, "up to %s", size);
	}
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static void add_vm(struct graph *g, const struct vm *vm)
{
	struct graph_node *node = add_node(g, GRAPH_VM, g_strconcat("vm-", vm->name, NULL),
					   g_strdup(vm->name), vm->description);
	g_autofree char *memory = unit_format_size(vm->memory);

	node->badge = g_strdup(vm->role);
	say(node->lines, "%u vCPU%s, %s%s%s", vm->vcpus, vm->vcpus == 1 ? "" : "s", memory,
	    vm->arch == LAB_ARCH_X86_64 ? "" : ", ",
	    vm->arch == LAB_ARCH_X86_64 ? "" : lab_arch_name(vm->arch));
	if (strcmp(vm->image->name, LAB_IMAGE_DEFAULT) != 0)
		say(node->lines, "image %s", vm->image->name);
	graph_words_vm(vm, node->lines, node->sockets);
}

static void add_network(struct graph *g, const struct network *n)
{
	struct graph_node *node = add_node(g, GRAPH_NETWORK, g_strconcat("net-", n->name, NULL),
					   g_strdup(n->name), n->description);
	char subnet[INET_ADDRSTRLEN];

	say(node->lines, "%s/%u", inet_ntop(AF_INET, &n->subnet, subnet, sizeof(subnet)),
	    n->prefix);
	if (n->mtu != LAB_MTU_DEFAULT)
		say(node->lines, "MTU %u", n->mtu);
	if (n->threads > 1)
		say(node->lines, "%u threads", n->threads);
}

static void add_portal(struct graph *g, const struct portal *p)
{
	struct graph_node *node = add_node(g, GRAPH_PORTAL, g_strconcat("portal-", p->name, NULL),
					   g_strdup(p->name), p->description);
	g_autofree char *size = unit_format_size(p->size);

	say(node->lines, "%s", size);
	if (p->file) {
		g_autofree char *file = g_path_get_basename(p->file);

		say(node->lines, "%s", file);
	}
}

static void add_uplink(struct graph *g, const struct network *n, const struct uplink *u)
{
	struct graph_node *node = add_node(g, GRAPH_UPLINK,
					   g_strconcat("up-", n->name, "-", u->port, NULL),
					   graph_words_uplink_title(u), NULL);

	graph_words_uplink(u, node->lines);
}

/* Nodes of one kind, in their order. */
static GPtrArray *nodes_of(const struct graph *g, enum graph_kind kind)
{
	GPtrArray *list = g_ptr_array_new();

	for (unsigned i = 0; i < g->nodes->len; i++)
		if (graph_node(g, i)->kind == kind)
			g_ptr_array_add(list, graph_node(g, i));
	return list;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void add_edges(struct graph *g, const struct lab *lab)
{
	g_autoptr(GPtrArray) networks = nodes_of(g, GRAPH_NETWORK);
	g_autoptr(GPtrArray) uplinks = nodes_of(g, GRAPH_UPLINK);
	g_autoptr(GPtrArray) portals = nodes_of(g, GRAPH_PORTAL);
	unsigned next = 0;

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		for (unsigned j = 0; j < vm->nics->len; j++)
			add_nic(g, graph_node(g, i), networks, vm_nic(vm, j));
		for (unsigned j = 0; j < vm->portals->len; j++)
			add_share(g, graph_node(g, i), portals, vm_portal(vm, j));
	}
	for (unsigned i = 0; i < lab->networks->len; i++) {
		const struct network *n = lab_network(lab, i);

		for (unsigned j = 0; j < n->uplinks->len; j++)
			put_link(add_edge(g, uplinks->pdata[next++], networks->pdata[i]),
				 &network_uplink(n, j)->link, true);
	}
}

static void take_note(char *title, char *text, void *data)
{
	struct graph *g = data;
	struct graph_note *note = g_new0(struct graph_note, 1);

	note->title = title;
	note->text = text;
	g_ptr_array_add(g->notes, note);
}

struct graph *graph_new(const struct lab *lab)
{
	struct graph *g = g_new0(struct graph, 1);

	g->name = g_strdup(lab->name);
	g->about = g_strdup(lab->description);
	g->nodes = g_ptr_array_new_with_free_func(node_free);
	g->edges = g_ptr_array_new_with_free_func(edge_free);
	g->groups = g_ptr_array_new_with_free_func(group_free);
	g->notes = g_ptr_array_new_with_free_func(note_free);
	for (unsigned i = 0; i < lab->vms->len; i++)
		add_vm(g, lab_vm(lab, i));
	for (unsigned i = 0; i < lab->networks->len; i++)
		add_network(g, lab_network(lab, i));
	for (unsigned i = 0; i < lab->networks->len; i++)
		for (unsigned j = 0; j < lab_network(lab, i)->uplinks->len; j++)
			add_uplink(g, lab_network(lab, i), network_uplink(lab_network(lab, i), j));
	for (unsigned i = 0; i < lab->portals->len; i++)
		add_portal(g, lab_portal(lab, i));
	add_edges(g, lab);
	collect_groups(g);
	graph_words_notes(lab, take_note, g);
	return g;
}

static void append(GString *out, const char *separator, const char *prefix, const char *text)
{
	if (text)
		g_string_append_printf(out, "%s%s%s", out->len > 0 ? separator : "", prefix, text);
}

char *graph_edge_words(const struct graph_edge *edge, const char *separator)
{
	GString *out = g_string_new(edge->name);

	append(out, separator, "VLAN ", edge->vlan);
	for (unsigned i = 0; i < edge->effects->len; i++)
		append(out, separator, "", edge->effects->pdata[i]);
	for (unsigned i = 0; i < edge->traits->len; i++)
		append(out, separator, "", edge->traits->pdata[i]);
	return g_string_free(out, FALSE);
}

char *graph_node_words(const struct graph_node *node)
{
	GString *out = g_string_new(node->title);

	if (node->badge)
		g_string_append_printf(out, " (%s)", node->badge);
	for (unsigned i = 0; i < node->lines->len; i++)
		append(out, "\n", "", node->lines->pdata[i]);
	for (unsigned i = 0; i < node->sockets->len; i++)
		append(out, "\n", "", node->sockets->pdata[i]);
	return g_string_free(out, FALSE);
}

void graph_put_lines(GString *out, const char *words, const char *line_break,
		     void (*escape)(GString *out, const char *text))
{
	g_auto(GStrv) lines = g_strsplit(words, "\n", -1);

	for (unsigned i = 0; lines[i]; i++) {
		g_string_append(out, i > 0 ? line_break : "");
		escape(out, lines[i]);
	}
}
