/* SPDX-License-Identifier: MIT */
/* What the file says about links: VLANs, profiles, impairment, timelines, policies. */
#include <json-c/json.h>
#include <string.h>

#include "model/build_impl.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/numbers.h"

const char *const lab_profiles_built_in[] = { "default",   "constrained", "lossy", "wan",
					      "satellite", "wifi",        NULL };

/* --- do settings make sense together? ------------------------------------------------------------------------------- */

static bool has(struct json_object *numbers, const char *member)
{
	return json_object_object_get_ex(numbers, member, NULL);
}

static double number(struct json_object *numbers, const char *member)
{
	struct json_object *value;

	return json_object_object_get_ex(numbers, member, &value) ? json_object_get_double(value) :
								    0;
}

static struct json_object *object_in(struct json_object *numbers, const char *member)
{
	struct json_object *value;

	return json_object_object_get_ex(numbers, member, &value) ? value : NULL;
}

static const char *markov_fault(struct json_object *markov)
{
	if (number(markov, "p13") + number(markov, "p14") > 1)
		return "markov: p13 and p14 are more than 100% together";
	if (number(markov, "p31") + number(markov, "p32") > 1)
		return "markov: p31 and p32 are more than 100% together";
	return NULL;
}

static const char *slot_fault(struct json_object *slot)
{
	bool interval = has(slot, "min-ns") || has(slot, "max-ns");
	bool mean = has(slot, "delay-ns") || has(slot, "jitter-ns") || has(slot, "distribution");

	if (interval && mean)
		return "slot: either min and max, or delay, jitter and distribution";
	if (has(slot, "max-ns") && number(slot, "max-ns") < number(slot, "min-ns"))
		return "slot: max is less than min";
	if (number(slot, "min-ns") + number(slot, "max-ns") + number(slot, "delay-ns") == 0)
		return "slot: needs min, or delay";
	return NULL;
}

const char *impair_fault(struct json_object *numbers, bool whole)
{
	const char *fault = NULL;

	if ((number(numbers, "loss") > 0) + has(numbers, "gemodel") + has(numbers, "markov") > 1)
		return "one of loss, gemodel and markov at a time";
	if (has(numbers, "markov"))
		fault = markov_fault(object_in(numbers, "markov"));
	if (!fault && has(numbers, "slot"))
		fault = slot_fault(object_in(numbers, "slot"));
	if (!fault && whole && (number(numbers, "reorder") > 0 || number(numbers, "gap") > 0) &&
	    number(numbers, "delay-ns") == 0)
		return "reorder and gap need a delay: a frame can only overtake others that are delayed";
	return fault;
}

/* --- profiles and policies ------------------------------------------------------------------------------------------ */

static struct named *find_named(const GPtrArray *list, const char *name)
{
	for (unsigned i = 0; i < list->len; i++) {
		struct named *n = list->pdata[i];

		if (strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

static void add_named(GPtrArray *list, const char *name, struct json_object *params)
{
	struct named *n = g_new0(struct named, 1);

	n->name = g_strdup(name);
	n->params = params;
	g_ptr_array_add(list, n);
}

/* One of the file takes the place of a built-in one. */
static void add_profile(GPtrArray *list, const char *name, struct json_object *params)
{
	struct named *n = find_named(list, name);

	if (n)
		n->params = params;
	else
		add_named(list, name, params);
}

static void build_profiles(struct builder *b)
{
	struct jt_node *map = build_good(b->root, "profiles");

	for (const char *const *name = lab_profiles_built_in; *name; name++)
		add_named(b->lab->profiles, *name, NULL);
	for (struct jt_node *n = map ? map->child : NULL; n; n = n->next) {
		struct json_object *numbers;
		const char *fault;

		if (!build_usable(n))
			continue;
		if (find_named(b->lab->profiles, n->key)) {
			lab_error_at_key(b->errors, n, "\"%s\" is built in: choose another name",
					 n->key);
			continue;
		}
		if (strcmp(n->key, "default") == 0) {
			lab_error_at_key(
				b->errors, n,
				"\"default\" is a link that does nothing: choose another name");
			continue;
		}
		numbers = numbers_of(&field_profile, n);
		fault = impair_fault(numbers, true);
		if (fault)
			lab_error_at(b->errors, n, "%s", fault);
		add_profile(b->lab->profiles, n->key, numbers);
	}
}

/* The rest of a policy's rate has to be there for what its classes are sure of. */
static void check_classes(struct builder *b, struct jt_node *policy)
{
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
	struct jt_node *list = build_good(policy, "classes");
	uint64_t rate = build_good_number(policy, "rate", UINT64_MAX), sum = 0;

	if (list && list->n_children == 0)
		lab_error_at(b->errors, list, "must not be empty");
	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next) {
		struct jt_node *name = build_good(n, "name"), *ceil = build_good(n, "ceil");

		if (name && !g_hash_table_add(names, (char *)(uintptr_t)name->string))
			lab_error_at(b->errors, name, "a class called \"%s\" is there already",
				     name->string);
		if (ceil && ceil->decoded < build_good_number(n, "rate", 0))
			lab_error_at(b->errors, ceil, "is less than the class's rate");
		sum += build_good_number(n, "rate", 0);
	}
	if (sum > rate)
		lab_error_at(b->errors, list,
			     "the rates of the classes are more than the policy's");
}

static void build_policies(struct builder *b)
{
	struct jt_node *map = build_good(b->root, "qos");

	for (struct jt_node *n = map ? map->child : NULL; n; n = n->next) {
		if (!build_usable(n))
			continue;
		check_classes(b, n);
		add_named(b->lab->policies, n->key, numbers_of(&field_policy, n));
	}
}

void build_link_kinds(struct builder *b)
{
	build_profiles(b);
	build_policies(b);
}

/* --- VLANs ---------------------------------------------------------------------------------------------------------- */

static struct json_object *vlan_of(struct builder *b, struct jt_node *node)
{
	static const char *const kinds[] = { "access", "tunnel", "trunk" };
	struct json_object *vlan;
	unsigned n = 0;

	if (node->type == JT_NUMBER) {
		vlan = json_object_new_object();
		json_object_object_add(vlan, "access", json_object_new_int64(node->integer));
		return vlan;
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
		n += jt_get(node, kinds[i]) != NULL;
	if (n != 1)
		lab_error_at(b->errors, node,
			     "needs one of \"access\", \"tunnel\" and \"trunk\", has %s",
			     n == 0 ? "none" : "several");
	else if (jt_get(node, "native") && !jt_get(node, "trunk"))
		lab_error_at_key(b->errors, jt_get(node, "native"), "means nothing but on a trunk");
	return numbers_of(&field_vlan, node);
}

/* --- one or one for each direction ---------------------------------------------------------------------------------- */

/* The names in a value that is a name, or an object of one for each direction. */
static void names_of(struct jt_node *node, struct jt_node *ret[LAB_DIRECTIONS])
{
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		ret[i] = node;
		if (node && node->type == JT_OBJECT)
			ret[i] = build_good(node, lab_direction_name((enum lab_direction)i));
	}
}

/* Those of them that list has; the others are reported, each once. */
static void known_names(struct builder *b, struct jt_node *node, const char *kind, GPtrArray *list,
			const struct named *ret[LAB_DIRECTIONS])
{
	struct jt_node *names[LAB_DIRECTIONS];

	names_of(node, names);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		ret[i] = names[i] ? find_named(list, names[i]->string) : NULL;
		if (names[i] && !ret[i] && (i == 0 || names[i] != names[i - 1]))
			build_no_such(b, names[i], kind, list);
	}
}

/* What an "impair" says for one direction. */
static struct json_object *one_way(struct jt_node *impair, enum lab_direction d)
{
	struct json_object *numbers = impair ? numbers_of(&field_impairment, impair) :
					       json_object_new_object();
	struct jt_node *side = impair ? build_good(impair, lab_direction_name(d)) : NULL;
	struct json_object *own = side ? numbers_of(&field_impairment, side) : NULL;

	if (own)
		numbers_merge(numbers, own);
	json_object_put(own);
	return numbers;
}

/* Together with what its profile says, where that is known: nobody here knows what is in the built-in ones. */
static const char *way_fault(struct json_object *numbers, const struct named *profile)
{
	struct json_object *all = NULL;
	const char *fault;

	if (!profile || !profile->params)
		return impair_fault(numbers, !profile || strcmp(profile->name, "default") == 0);
	json_object_deep_copy(profile->params, &all, NULL);
	numbers_merge(all, numbers);
	fault = impair_fault(all, true);
	json_object_put(all);
	return fault;
}

static void build_impair(struct builder *b, struct link *link, const struct jt_node *node)
{
	struct jt_node *impair = build_good(node, "impair");
	const struct named *profile[LAB_DIRECTIONS];
	const char *told = NULL;

	known_names(b, build_good(node, "profile"), "profile", b->lab->profiles, profile);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		struct json_object *numbers = one_way(impair, (enum lab_direction)i);
		const char *fault = way_fault(numbers, profile[i]);

		if (fault && impair && fault != told)
			lab_error_at(b->errors, impair, "%s", fault);
		told = fault;
		if (profile[i] && strcmp(profile[i]->name, "default") != 0)
			json_object_object_add(numbers, "profile",
					       json_object_new_string(profile[i]->name));
		if (json_object_object_length(numbers) > 0)
			link->impair[i] = numbers;
		else
			json_object_put(numbers);
	}
}

/* --- timelines ------------------------------------------------------------------------------------------------------ */

static void check_moments(struct builder *b, struct jt_node *list, uint64_t repeat)
{
	uint64_t last = 0;

	for (struct jt_node *n = list->child; n; n = n->next) {
		struct jt_node *at = build_good(n, "at"), *set = build_good(n, "set");
		struct json_object *numbers = set ? one_way(set, LAB_TO_GUEST) : NULL;
		const char *fault = numbers ? impair_fault(numbers, false) : NULL;

		if (fault)
			lab_error_at(b->errors, set, "%s", fault);
		json_object_put(numbers);
		if (at && at->decoded < last)
			lab_error_at(b->errors, at, "is before the one in front of it");
		else if (at && repeat && at->decoded >= repeat)
			lab_error_at(b->errors, at, "is not before \"timeline-repeat\"");
		last = at ? at->decoded : last;
	}
}

static struct json_object *steps_of(struct jt_node *list, enum lab_direction d)
{
	struct json_object *steps = json_object_new_array();

	for (struct jt_node *n = list->child; n; n = n->next) {
		struct jt_node *at = build_good(n, "at"), *set = build_good(n, "set");
		struct json_object *numbers = set ? one_way(set, d) : NULL, *step;

		if (!at || !numbers || json_object_object_length(numbers) == 0) {
			json_object_put(numbers);
			continue;
		}
		step = json_object_new_object();
		json_object_object_add(step, "at-ns", json_object_new_int64((int64_t)at->decoded));
		json_object_object_add(step, "set", numbers);
		json_object_array_add(steps, step);
	}
	return steps;
}

static void build_timeline(struct builder *b, struct link *link, const struct jt_node *node)
{
	struct jt_node *list = build_good(node, "timeline"),
		       *every = jt_get(node, "timeline-repeat");
	uint64_t repeat = build_good_number(node, "timeline-repeat", 0);

	if (every && !jt_get(node, "timeline"))
		lab_error_at_key(b->errors, every, "means nothing without a \"timeline\"");
	if (!list)
		return;
	check_moments(b, list, repeat);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		struct json_object *steps = steps_of(list, (enum lab_direction)i);

		if (json_object_array_length(steps) == 0) {
			json_object_put(steps);
			continue;
		}
		link->timeline[i] = json_object_new_object();
		json_object_object_add(link->timeline[i], "steps", steps);
		if (repeat)
			json_object_object_add(link->timeline[i], "repeat",
					       json_object_new_int64((int64_t)repeat));
	}
}

/* --- a link --------------------------------------------------------------------------------------------------------- */

void build_link(struct builder *b, struct link *link, const struct jt_node *node)
{
	struct jt_node *vlan = build_good(node, "vlan"), *isolated = build_good(node, "isolated");
	const struct named *policy[LAB_DIRECTIONS];

	link->port = json_object_new_object();
	if (vlan)
		json_object_object_add(link->port, "vlan", vlan_of(b, vlan));
	if (isolated && isolated->boolean)
		json_object_object_add(link->port, "isolated", json_object_new_boolean(true));
	build_impair(b, link, node);
	build_timeline(b, link, node);
	known_names(b, build_good(node, "qos"), "policy", b->lab->policies, policy);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++)
		link->qos[i] = policy[i] ? g_strdup(policy[i]->name) : NULL;
}
