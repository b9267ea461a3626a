/* SPDX-License-Identifier: MIT */
#include "render/graph_words.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

#include "model/fields_net.h"
#include "model/lab.h"
#include "model/numbers.h"
#include "model/units.h"

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : NULL;
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? value : NULL;
}

/* An array's elements, or the value itself. */
static char *joined(struct json_object *value, const char *separator)
{
	GString *out = g_string_new(NULL);

	if (!json_object_is_type(value, json_type_array))
		g_string_append(out, json_object_get_string(value));
	else
		for (size_t i = 0; i < json_object_array_length(value); i++)
			g_string_append_printf(
				out, "%s%s", i > 0 ? separator : "",
				json_object_get_string(json_object_array_get_idx(value, i)));
	return g_string_free(out, FALSE);
}

/* --- links -------------------------------------------------------------------------------------------------------- */

char *graph_words_vlan(struct json_object *vlan)
{
	const char *access = text_of(vlan, "access"), *tunnel = text_of(vlan, "tunnel");
	const char *native = text_of(vlan, "native");
	g_autofree char *trunk = NULL;

	if (access)
		return g_strdup(access);
	if (tunnel)
		return g_strconcat("tunnel ", tunnel, NULL);
	trunk = joined(member(vlan, "trunk"), " ");
	return g_strconcat("trunk ", trunk, native ? ", native " : NULL, native, NULL);
}

/* "wan: loss 2%, qos p"; "" for nothing. */
static char *way_words(const struct link *link, enum lab_direction d)
{
	const char *profile = link->impair[d] ? text_of(link->impair[d], "profile") : NULL;
	g_autofree char *own = link->impair[d] ? numbers_words(&field_impairment, link->impair[d]) :
						 g_strdup("");
	GString *out = g_string_new(profile);

	if (*own)
		g_string_append_printf(out, "%s%s", profile ? ": " : "", own);
	if (link->qos[d])
		g_string_append_printf(out, "%sqos %s", out->len > 0 ? ", " : "", link->qos[d]);
	return g_string_free(out, FALSE);
}

void graph_words_effects(const struct link *link, bool uplink, GPtrArray *effects)
{
	static const char *const ways[2][LAB_DIRECTIONS] = { { "to guest", "from guest" },
							     { "out", "in" } };
	g_autofree char *to = way_words(link, LAB_TO_GUEST);
	g_autofree char *from = way_words(link, LAB_FROM_GUEST);

	if (*to && strcmp(to, from) == 0) {
		g_ptr_array_add(effects, g_strdup(to));
	} else {
		if (*to)
			g_ptr_array_add(effects,
					g_strconcat(ways[uplink][LAB_TO_GUEST], ": ", to, NULL));
		if (*from)
			g_ptr_array_add(effects, g_strconcat(ways[uplink][LAB_FROM_GUEST], ": ",
							     from, NULL));
	}
	if (link->timeline[LAB_TO_GUEST] || link->timeline[LAB_FROM_GUEST])
		g_ptr_array_add(effects, g_strdup("changes with time"));
}

/* --- VMs ---------------------------------------------------------------------------------------------------------- */

/* "a, b": names of VMs. */
static char *vm_names(const GPtrArray *vms)
{
	GString *out = g_string_new(NULL);

	for (unsigned i = 0; i < vms->len; i++)
		g_string_append_printf(out, "%s%s", i > 0 ? ", " : "",
				       ((const struct vm *)vms->pdata[i])->name);
	return g_string_free(out, FALSE);
}

static void put_sockets(const struct vm *vm, GPtrArray *sockets)
{
	g_autofree char *peers = vm->peers ? vm_names(vm->peers) : NULL;
	const char *name = lab_sockets_name(vm->sockets);

	if (!peers)
		g_ptr_array_add(sockets, g_strdup(name));
	else
		g_ptr_array_add(sockets, g_strconcat(name, " with ",
						     *peers ? peers : "the host alone", NULL));
	for (unsigned i = 0; i < vm->forwards->len; i++) {
		const struct forward *f = vm->forwards->pdata[i];

		g_ptr_array_add(sockets, f->to_guest ?
						 g_strdup_printf("%s → %u", f->host, f->port) :
						 g_strdup_printf("%u → %s", f->port, f->host));
	}
}

void graph_words_vm(const struct vm *vm, GPtrArray *lines, GPtrArray *sockets)
{
	if (vm->distros->len > 0) {
		GString *out = g_string_new("holds ");

		for (unsigned i = 0; i < vm->distros->len; i++)
			g_string_append_printf(
				out, "%s%s", i > 0 ? ", " : "",
				((const struct distro *)vm->distros->pdata[i])->name);
		g_ptr_array_add(lines, g_string_free(out, FALSE));
	}
	if (vm->after->len > 0) {
		g_autofree char *names = vm_names(vm->after);

		g_ptr_array_add(lines, g_strconcat("after ", names, NULL));
	}
	if (vm->sockets != LAB_SOCKETS_NONE)
		put_sockets(vm, sockets);
}

/* --- uplinks ------------------------------------------------------------------------------------------------------ */

char *graph_words_uplink_title(const struct uplink *uplink)
{
	if (uplink->type == UPLINK_NAT || uplink->type == UPLINK_VXLAN ||
	    uplink->type == UPLINK_VDE)
		return g_ascii_strup(uplink->port, -1);
	return g_strdup(uplink->port);
}

/* "tcp:127.0.0.1:2222:n1:22" as "tcp 127.0.0.1:2222 → n1:22". */
static char *forward_words(const struct nat_forward *f)
{
	const char *guest = strrchr(f->text, ':');

	while (guest > f->text && guest[-1] != ':')
		guest--;
	return g_strdup_printf("%s %s:%u → %s", f->udp ? "udp" : "tcp", f->host, f->host_port,
			       guest);
}

static void put_own(const struct uplink *u, GPtrArray *lines)
{
	json_object_object_foreach(u->own, key, value)
	{
		g_autofree char *text = joined(value, " ");

		if (strcmp(key, "type") != 0)
			g_ptr_array_add(lines, g_strconcat(key, " ", text, NULL));
	}
}

void graph_words_uplink(const struct uplink *uplink, GPtrArray *lines)
{
	char ip[INET_ADDRSTRLEN];

	if (uplink->gateway.s_addr)
		g_ptr_array_add(lines,
				g_strconcat("gateway ",
					    inet_ntop(AF_INET, &uplink->gateway, ip, sizeof(ip)),
					    NULL));
	if (uplink->own)
		put_own(uplink, lines);
	for (unsigned i = 0; i < uplink->forwards->len; i++)
		g_ptr_array_add(lines, forward_words(uplink->forwards->pdata[i]));
}

/* --- notes -------------------------------------------------------------------------------------------------------- */

struct notes {
	void (*take)(char *title, char *text, void *data);
	void *data;
};

/* Takes text; a note that says nothing is none. */
static void G_GNUC_PRINTF(3, 4) note(const struct notes *to, char *text, const char *format, ...)
{
	va_list ap;

	if (!*text) {
		g_free(text);
		return;
	}
	va_start(ap, format);
	to->take(g_strdup_vprintf(format, ap), text, to->data);
	va_end(ap);
}

/* Where it writes, and of which ports; which bounds it has, the file says. */
static char *capture_words(const struct named *capture)
{
	const char *file = text_of(member(capture->params, "to"), "file");
	struct json_object *ports = member(capture->params, "ports");
	g_autofree char *name = file ? g_path_get_basename(file) : g_strdup("?");
	g_autofree char *links = ports ? joined(ports, ", ") : g_strdup("all links");

	return g_strconcat(links, " → ", name, NULL);
}

/* "n1.0, nat → n2.0" */
static char *mirror_words(const struct named *mirror)
{
	const char *direction = text_of(mirror->params, "direction");
	g_autofree char *from = joined(member(mirror->params, "from"), ", ");
	bool both = !direction || strcmp(direction, "both") == 0;

	return g_strconcat(from, " → ", text_of(mirror->params, "to"), both ? NULL : ", only ",
			   direction, NULL);
}

static char *rule_words(const struct named *rule)
{
	return numbers_words(&field_rule, rule->params);
}

static void note_duties(const struct notes *to, const struct network *n)
{
	const struct {
		const char *word;
		const GPtrArray *list;
		char *(*words)(const struct named *);
	} duties[] = {
		{ "rule", n->rules, rule_words },
		{ "mirror", n->mirrors, mirror_words },
		{ "capture", n->captures, capture_words },
	};

	if (n->storm)
		note(to, numbers_words(&field_storm, n->storm), "%s: storm", n->name);
	for (unsigned i = 0; i < G_N_ELEMENTS(duties); i++)
		for (unsigned j = 0; j < duties[i].list->len; j++) {
			const struct named *item = duties[i].list->pdata[j];

			note(to, duties[i].words(item), "%s: %s %s", n->name, duties[i].word,
			     item->name);
		}
}

/* "at 10m: loss 5%; at 11m: loss 0%" */
static char *timeline_words(struct json_object *timeline)
{
	struct json_object *steps = member(timeline, "steps");
	GString *out = g_string_new(NULL);

	for (size_t i = 0; steps && i < json_object_array_length(steps); i++) {
		struct json_object *step = json_object_array_get_idx(steps, i);
		struct json_object *at = member(step, "at-ns");
		g_autofree char *when = unit_format_delay((uint64_t)json_object_get_int64(at));
		g_autofree char *what = numbers_words(&field_impairment, member(step, "set"));

		g_string_append_printf(out, "%sat %s: %s", i > 0 ? "; " : "", when, what);
	}
	return g_string_free(out, FALSE);
}

static void note_timeline(const struct notes *to, const char *port, const struct link *link)
{
	g_autofree char *out = timeline_words(link->timeline[LAB_TO_GUEST]);
	g_autofree char *in = timeline_words(link->timeline[LAB_FROM_GUEST]);

	if (strcmp(out, in) == 0) {
		note(to, g_strdup(out), "%s", port);
	} else {
		note(to, g_strdup(out), "%s to guest", port);
		note(to, g_strdup(in), "%s from guest", port);
	}
}

static void note_links(const struct notes *to, const struct lab *lab)
{
	for (unsigned i = 0; i < lab->vms->len; i++)
		for (unsigned j = 0; j < lab_vm(lab, i)->nics->len; j++) {
			const struct nic *nic = vm_nic(lab_vm(lab, i), j);

			note_timeline(to, nic->port, &nic->link);
		}
}

static const char *profile_said(const struct link *link, unsigned d)
{
	return text_of(link->impair[d], "profile");
}

static const char *policy_said(const struct link *link, unsigned d)
{
	return link->qos[d];
}

/* The names that links say, of what said() finds in them; borrowed. */
static GHashTable *names_said(const struct lab *lab,
			      const char *(*said)(const struct link *, unsigned))
{
	GHashTable *names = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GPtrArray) links = g_ptr_array_new();

	for (unsigned i = 0; i < lab->vms->len; i++)
		for (unsigned j = 0; j < lab_vm(lab, i)->nics->len; j++)
			g_ptr_array_add(links, &vm_nic(lab_vm(lab, i), j)->link);
	for (unsigned i = 0; i < lab->networks->len; i++)
		for (unsigned j = 0; j < lab_network(lab, i)->uplinks->len; j++)
			g_ptr_array_add(
				links,
				(void *)(uintptr_t)&network_uplink(lab_network(lab, i), j)->link);
	for (unsigned i = 0; i < links->len; i++)
		for (unsigned d = 0; d < LAB_DIRECTIONS; d++)
			if (said(links->pdata[i], d))
				g_hash_table_add(names,
						 (char *)(uintptr_t)said(links->pdata[i], d));
	return names;
}

/* "rate 10mbit; voice: priority 7, rate 1mbit; rest: priority 1" */
static char *policy_words(const struct named *policy)
{
	struct json_object *classes = member(policy->params, "classes");
	GString *out = g_string_new(NULL);
	struct json_object *rate = member(policy->params, "rate-bps");

	if (rate) {
		g_autofree char *text = unit_format_rate((uint64_t)json_object_get_int64(rate));

		g_string_append_printf(out, "rate %s", text);
	}
	for (size_t i = 0; classes && i < json_object_array_length(classes); i++) {
		struct json_object *class = json_object_array_get_idx(classes, i), *said = NULL;
		g_autofree char *words = NULL;

		json_object_deep_copy(class, &said, NULL);
		json_object_object_del(said, "name");
		words = numbers_words(&field_class, said);
		json_object_put(said);
		g_string_append_printf(out, "%s%s: %s", out->len > 0 ? "; " : "",
				       text_of(class, "name"), words);
	}
	return g_string_free(out, FALSE);
}

static void note_kinds(const struct notes *to, const struct lab *lab)
{
	g_autoptr(GHashTable) profiles = names_said(lab, profile_said);
	g_autoptr(GHashTable) policies = names_said(lab, policy_said);

	for (unsigned i = 0; i < lab->profiles->len; i++) {
		const struct named *p = lab->profiles->pdata[i];

		if (p->params && g_hash_table_contains(profiles, p->name))
			note(to, numbers_words(&field_impairment, p->params), "profile %s",
			     p->name);
	}
	for (unsigned i = 0; i < lab->policies->len; i++) {
		const struct named *p = lab->policies->pdata[i];

		if (g_hash_table_contains(policies, p->name))
			note(to, policy_words(p), "qos %s", p->name);
	}
}

void graph_words_notes(const struct lab *lab, void (*take)(char *title, char *text, void *data),
		       void *data)
{
	const struct notes to = { take, data };

	note_kinds(&to, lab);
	note_links(&to, lab);
	for (unsigned i = 0; i < lab->networks->len; i++)
		note_duties(&to, lab_network(lab, i));
}
