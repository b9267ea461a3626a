/* SPDX-License-Identifier: MIT */
/* A plan as text and as JSON, and the words of its steps. */
#include <json-c/json.h>

#include "plan/plan.h"

const char *step_kind_word(enum step_kind kind)
{
	static const char *const words[STEP_KIND_COUNT] = {
#define X(id, word, text) word,
		STEP_KINDS(X)
#undef X
	};

	return words[kind];
}

const char *step_kind_text(enum step_kind kind)
{
	static const char *const texts[STEP_KIND_COUNT] = {
#define X(id, word, text) text,
		STEP_KINDS(X)
#undef X
	};

	return texts[kind];
}

static void format_step(const struct step *s, GString *out)
{
	g_string_append_printf(out, "%4u  %s %s", s->index + 1, step_kind_text(s->kind),
			       s->subject);
	if (s->network)
		g_string_append_printf(out, s->kind == STEP_PORT_ADD ? " to %s" : " from %s",
				       s->network);
	if (s->portal)
		g_string_append_printf(out, " to portal %s", s->portal);
	g_string_append_printf(out, "  (%s", s->reason);
	for (unsigned i = 0; i < s->deps->len; i++)
		g_string_append_printf(out, "%s%u", i == 0 ? "; after " : ", ",
				       g_array_index(s->deps, unsigned, i) + 1);
	g_string_append(out, s->held ? "; not done: it runs)\n" : ")\n");
}

char *plan_format(const struct plan *plan)
{
	GString *out = g_string_new(NULL);

	for (unsigned i = 0; i < plan->steps->len; i++)
		format_step(plan_step(plan, i), out);
	if (plan->n_todo == 0)
		g_string_append(out, "nothing to do\n");
	return g_string_free(out, FALSE);
}

static struct json_object *step_to_json(const struct step *s)
{
	struct json_object *json = json_object_new_object(), *deps = json_object_new_array();

	json_object_object_add(json, "kind", json_object_new_string(step_kind_word(s->kind)));
	json_object_object_add(json, "subject", json_object_new_string(s->subject));
	if (s->network)
		json_object_object_add(json, "network", json_object_new_string(s->network));
	if (s->portal)
		json_object_object_add(json, "portal", json_object_new_string(s->portal));
	json_object_object_add(json, "reason", json_object_new_string(s->reason));
	json_object_object_add(json, "held", json_object_new_boolean(s->held));
	for (unsigned i = 0; i < s->deps->len; i++)
		json_object_array_add(deps,
				      json_object_new_int64(g_array_index(s->deps, unsigned, i)));
	json_object_object_add(json, "deps", deps);
	return json;
}

struct json_object *plan_to_json(const struct plan *plan)
{
	struct json_object *json = json_object_new_object(), *steps = json_object_new_array();

	for (unsigned i = 0; i < plan->steps->len; i++)
		json_object_array_add(steps, step_to_json(plan_step(plan, i)));
	json_object_object_add(json, "steps", steps);
	json_object_object_add(json, "todo", json_object_new_int64(plan->n_todo));
	return json;
}
