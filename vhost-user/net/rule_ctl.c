/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "base.h"
#include "link_ctl_impl.h"

#define RULE_OTHERS "id,in,out,match,profile,replace"

/* What a request makes of a rule, before anything is done. */
struct change {
	struct sw_port *in, *out;
	bool matches; /* "match" was said */
	struct match match;
	struct link_settings settings;
};

static struct json_object *rule_json(const struct rule *r)
{
	struct json_object *o = json_object_new_object();
	uint64_t frames, bytes;

	ctl_add_string(o, "id", r->id);
	if (r->in)
		ctl_add_string(o, "in", r->in->name);
	if (r->out)
		ctl_add_string(o, "out", r->out->name);
	if (r->match.given)
		json_object_object_add(o, "match", match_json(&r->match));
	if (r->profile.text[0])
		ctl_add_string(o, "profile", r->profile.text);
	json_object_object_add(o, "settings", impair_json_settings(&r->im.config));
	json_object_object_add(o, "counters", impair_json_counters(&r->im.stats));
	impair_held(&r->im, &frames, &bytes);
	json_object_object_add(o, "held", link_held_json(frames, bytes));
	return o;
}

static int read_change(struct control_call *call, struct json_object *params, struct change *c)
{
	struct json_object *match;
	char why[IMPAIR_WHY_MAX];
	int r = ctl_port(call, params, "in", &c->in);

	if (r == 0)
		r = ctl_port(call, params, "out", &c->out);
	if (r < 0)
		return r;
	if (link_read_settings(ctl_net(call), params, RULE_OTHERS, &c->settings, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	c->matches = json_object_object_get_ex(params, "match", &match);
	if (c->matches && match_json_read(match, ~0u, &c->match, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	return 0;
}

static int make(struct control_call *call, const char *id, struct rule **ret)
{
	int r = rule_new(&ctl_net(call)->rules, id, ret);

	if (r == -EINVAL)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "id: longer than %d bytes",
				     RULE_ID_MAX - 1);
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d rules", RULES_MAX);
	return r;
}

static void carry_out(struct rule *rule, struct change *c)
{
	rule->in = c->in;
	rule->out = c->out;
	if (c->matches) {
		match_done(&rule->match);
		rule->match = c->match;
	}
	rule->profile = c->settings.profile;
	link_choose_seed(&c->settings.config);
	rule_set(rule, &c->settings.config, c->settings.seeded);
}

int link_ctl_rule_set(struct control_call *call, struct json_object *params,
		      struct json_object **ret)
{
	const char *id = NULL;
	struct change c = { 0 };
	struct rule *rule;
	int r = control_string(call, params, "id", &id);

	if (r < 0)
		return r;
	rule = rule_find(&ctl_net(call)->rules, id);
	if (rule)
		c = (struct change){ .in = rule->in,
				     .out = rule->out,
				     .settings = { rule->im.config, rule->profile, false } };
	else
		impair_config_init(&c.settings.config);
	r = read_change(call, params, &c);
	if (r == 0 && !rule)
		r = make(call, id, &rule);
	if (r < 0 || !rule) {
		match_done(&c.match);
		return r;
	}
	carry_out(rule, &c);
	*ret = rule_json(rule);
	return 0;
}

int link_ctl_rule_remove(struct control_call *call, struct json_object *params,
			 struct json_object **ret)
{
	const char *id = NULL;
	struct rule *rule;
	int r = control_string(call, params, "id", &id);

	if (r < 0)
		return r;
	rule = rule_find(&ctl_net(call)->rules, id);
	if (!rule)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no rule \"%.64s\"", id);
	rule_free(rule);
	return 0;
}

int link_ctl_rule_list(struct control_call *call, struct json_object *params,
		       struct json_object **ret)
{
	struct json_object *list = json_object_new_array();

	for (struct rule *r = ctl_net(call)->rules.first; r; r = r->next)
		json_object_array_add(list, rule_json(r));
	*ret = json_object_new_object();
	json_object_object_add(*ret, "rules", list);
	return 0;
}
