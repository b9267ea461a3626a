/* SPDX-License-Identifier: MIT */
#include "link_ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base.h"
#include "ctl_impl.h"
#include "link_ctl_impl.h"
#include "log.h"

/* Steps that come around more often than this are a mistake. */
#define REPEAT_MIN_NS 1000000

/* Members of a request that are none of the settings. */
#define SET_OTHERS  "port,direction,profile,replace,for-ns"
#define STEP_OTHERS "profile,replace"

static const char *const cause_names[] = {
	[LINK_SET] = "set",           [LINK_RESET] = "reset", [LINK_EXPIRED] = "expired",
	[LINK_TIMELINE] = "timeline", [LINK_UP] = "up",       [LINK_DOWN] = "down",
};

/* Which directions a request means: bits by enum sw_direction. */
int link_read_direction(struct control_call *call, struct json_object *params, unsigned *ret)
{
	const char *name = "both";
	int r = control_string(call, params, "direction", &name);

	if (r < 0)
		return r;
	if (strcmp(name, "both") == 0)
		*ret = BIT_ULL(SW_INGRESS) | BIT_ULL(SW_EGRESS);
	else if (strcmp(name, link_direction_name(SW_INGRESS)) == 0)
		*ret = BIT_ULL(SW_INGRESS);
	else if (strcmp(name, link_direction_name(SW_EGRESS)) == 0)
		*ret = BIT_ULL(SW_EGRESS);
	else
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "direction: must be to-guest, from-guest or both");
	return 0;
}

/* ---- reading settings ---- */

int link_read_settings(struct net *net, struct json_object *o, const char *others,
		       struct link_settings *inout, char why[IMPAIR_WHY_MAX])
{
	struct link_settings s = *inout;
	struct json_object *profile, *replace;
	const uint64_t seed = s.config.seed;
	int r;

	if (json_object_object_get_ex(o, "replace", &replace)) {
		if (!json_object_is_type(replace, json_type_boolean)) {
			(void)snprintf(why, IMPAIR_WHY_MAX, "replace: must be true or false");
			return -EINVAL;
		}
		if (json_object_get_boolean(replace)) {
			impair_config_init(&s.config);
			s.profile.text[0] = '\0';
		}
	}
	if (json_object_object_get_ex(o, "profile", &profile)) {
		const char *name = json_object_get_string(profile);
		const struct profile *p = json_object_is_type(profile, json_type_string) ?
						  profile_find(&net->profiles, name) :
						  NULL;

		if (!p) {
			(void)snprintf(why, IMPAIR_WHY_MAX,
				       "profile: there is no profile \"%.40s\"",
				       name ? name : "null");
			return -EINVAL;
		}
		s.config = p->config;
		(void)snprintf(s.profile.text, sizeof(s.profile.text), "%s", p->name);
	}
	s.config.seed = seed;
	r = impair_json_read(o, others, &s.config, &s.seeded, why);
	if (r == 0)
		*inout = s;
	return r;
}

/* A link that draws has a seed, so that what happened can be repeated. */
void link_choose_seed(struct impair_config *c)
{
	if (c->seed == 0 && !impair_config_idle(c) &&
	    getrandom(&c->seed, sizeof(c->seed), GRND_NONBLOCK) == sizeof(c->seed))
		c->seed = c->seed % 1000000000 + 1; /* short enough to be read out */
}

static struct link_settings current_settings(const struct link_way *way)
{
	return (struct link_settings){ .config = way->im.config, .profile = way->profile };
}

/* Those that are left when for-ns is over. */
static struct link_settings lasting_settings(const struct link_way *way)
{
	if (way->expire_ns == 0)
		return current_settings(way);
	return (struct link_settings){ .config = way->stays, .profile = way->stays_profile };
}

/* ---- answers ---- */

static struct json_object *timeline_json(const struct link_way *way)
{
	struct json_object *o = json_object_new_object();

	ctl_add_number(o, "steps", json_object_array_length(way->steps));
	ctl_add_number(o, "next", way->steps_next);
	if (way->steps_repeat_ns)
		ctl_add_number(o, "repeat-ns", way->steps_repeat_ns);
	return o;
}

struct json_object *link_held_json(uint64_t frames, uint64_t bytes)
{
	struct json_object *o = json_object_new_object();

	ctl_add_number(o, "frames", frames);
	ctl_add_number(o, "bytes", bytes);
	return o;
}

static struct json_object *way_json(const struct link_way *way, uint64_t now_ns)
{
	struct json_object *o = json_object_new_object();
	uint64_t frames, bytes;

	if (way->profile.text[0])
		ctl_add_string(o, "profile", way->profile.text);
	json_object_object_add(o, "settings", impair_json_settings(&way->im.config));
	json_object_object_add(o, "counters", impair_json_counters(&way->im.stats));
	link_way_held(way, &frames, &bytes);
	json_object_object_add(o, "held", link_held_json(frames, bytes));
	if (way->qos)
		ctl_add_string(o, "qos", way->qos->policy->name);
	if (way->expire_ns)
		ctl_add_number(o, "reverts-in-ns",
			       way->expire_ns > now_ns ? way->expire_ns - now_ns : 0);
	if (way->steps)
		json_object_object_add(o, "timeline", timeline_json(way));
	if (way->qos)
		json_object_object_add(o, "classes", qos_classes_json(way->qos));
	return o;
}

static struct json_object *idle_way_json(void)
{
	struct json_object *o = json_object_new_object();
	const struct impair_stats none = { 0 };
	struct impair_config unset;

	impair_config_init(&unset);
	json_object_object_add(o, "settings", impair_json_settings(&unset));
	json_object_object_add(o, "counters", impair_json_counters(&none));
	json_object_object_add(o, "held", link_held_json(0, 0));
	return o;
}

static struct json_object *link_json(struct net *net, struct sw_port *p, unsigned directions)
{
	struct json_object *o = json_object_new_object();
	const struct link *link = link_find(p);
	uint64_t now_ns = net->sw.clock_ns();

	ctl_add_string(o, "port", p->name);
	json_object_object_add(o, "up", json_object_new_boolean(p->down == 0));
	for (enum sw_direction d = SW_EGRESS + 1; d-- > SW_INGRESS;)
		if (directions & BIT_ULL(d))
			json_object_object_add(o, link_direction_name(d),
					       link ? way_json(&link->way[d], now_ns) :
						      idle_way_json());
	return o;
}

int link_ctl_list(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct json_object *list = json_object_new_array();

	for (struct sw_port *p = sw_next(&net->sw, NULL); p; p = sw_next(&net->sw, p))
		json_object_array_add(list, link_json(net, p, ~0u));
	*ret = json_object_new_object();
	json_object_object_add(*ret, "links", list);
	return 0;
}

int link_ctl_get(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct sw_port *p = NULL;
	unsigned directions = 0;
	int r = ctl_port(call, params, "port", &p);

	if (r == 0)
		r = link_read_direction(call, params, &directions);
	if (r == 0)
		*ret = link_json(ctl_net(call), p, directions);
	return r;
}

/* ---- set ---- */

/* What a request makes of a direction, before anything is done. */
struct change {
	struct link_settings current;
	struct link_settings stays; /* what is left when for-ns is over */
};

static int read_change(struct net *net, struct link_way *way, struct json_object *params,
		       bool passes, struct change *ret, char why[IMPAIR_WHY_MAX])
{
	int r;

	ret->current = current_settings(way);
	ret->stays = lasting_settings(way);
	r = link_read_settings(net, params, SET_OTHERS, &ret->current, why);
	if (r == 0 && !passes)
		r = link_read_settings(net, params, SET_OTHERS, &ret->stays, why);
	link_choose_seed(&ret->current.config);
	if (ret->stays.config.seed == 0)
		ret->stays.config.seed = ret->current.config.seed;
	return r;
}

static void set_expiry(struct link_way *way, uint64_t at_ns)
{
	struct links *links = way->link->links;

	way->expire_ns = at_ns;
	if (links->loop)
		loop_timer_set(links->loop, &way->expire, at_ns);
}

static void carry_out(struct link_way *way, const struct change *c, uint64_t until_ns)
{
	if (until_ns != 0)
		set_expiry(way, until_ns);
	way->stays = c->stays.config;
	way->stays_profile = c->stays.profile;
	way->profile = c->current.profile;
	link_way_set(way, &c->current.config, c->current.seeded, LINK_SET);
}

int link_ctl_set(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct sw_port *p = NULL;
	struct link *link = NULL;
	struct change change[2];
	unsigned directions = 0;
	uint64_t for_ns = 0, until_ns;
	char why[IMPAIR_WHY_MAX];
	int r = ctl_port(call, params, "port", &p);

	if (r == 0)
		r = link_read_direction(call, params, &directions);
	if (r == 0)
		r = control_uint(call, params, "for-ns", IMPAIR_TIME_MAX, &for_ns);
	if (r == 0)
		r = link_make(&net->links, p, &link);
	if (r < 0 || !link)
		return r;
	for (unsigned d = 0; d < array_size(change); d++)
		if (directions & BIT_ULL(d) &&
		    read_change(net, &link->way[d], params, for_ns != 0, &change[d], why) < 0)
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	until_ns = for_ns ? net->sw.clock_ns() + for_ns : 0;
	for (unsigned d = 0; d < array_size(change); d++)
		if (directions & BIT_ULL(d))
			carry_out(&link->way[d], &change[d], until_ns);
	*ret = link_json(net, p, directions);
	return 0;
}

/* ---- reset ---- */

static void end_timeline(struct link_way *way)
{
	json_object_put(way->steps);
	way->steps = NULL;
	if (way->link->links->loop)
		loop_timer_cancel(way->link->links->loop, &way->step);
}

static void reset(struct link_way *way, bool drop)
{
	struct impair_config unset;

	impair_config_init(&unset);
	end_timeline(way);
	way->expire_ns = 0;
	if (way->link->links->loop)
		loop_timer_cancel(way->link->links->loop, &way->expire);
	way->profile.text[0] = '\0';
	link_way_set(way, &unset, false, LINK_RESET);
	if (drop)
		link_way_drop_held(way);
}

int link_ctl_reset(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct sw_port *only = NULL;
	unsigned directions = 0;
	bool drop = false;
	int r = ctl_port(call, params, "port", &only);

	if (r == 0)
		r = link_read_direction(call, params, &directions);
	if (r == 0)
		r = control_bool(call, params, "drop", &drop);
	for (struct link *link = net->links.first; r == 0 && link; link = link->next)
		for (unsigned d = 0; d < array_size(link->way); d++)
			if (directions & BIT_ULL(d) && (!only || link->port == only))
				reset(&link->way[d], drop);
	return r;
}

/* ---- timelines ---- */

static uint64_t step_at(const struct link_way *way, uint32_t i)
{
	struct json_object *at =
		json_object_object_get(json_object_array_get_idx(way->steps, i), "at-ns");

	return way->steps_from_ns + json_object_get_uint64(at);
}

static void set_step_timer(struct link_way *way)
{
	struct links *links = way->link->links;

	if (way->steps_next == json_object_array_length(way->steps)) {
		if (way->steps_repeat_ns == 0)
			return;
		way->steps_from_ns += way->steps_repeat_ns;
		way->steps_next = 0;
	}
	if (links->loop)
		loop_timer_set(links->loop, &way->step, step_at(way, way->steps_next));
}

static void on_step(struct link_way *way)
{
	struct net *net = way->link->links->context;
	struct json_object *set = json_object_object_get(
		json_object_array_get_idx(way->steps, way->steps_next), "set");
	struct link_settings s = current_settings(way);
	char why[IMPAIR_WHY_MAX];

	way->steps_next++;
	if (link_read_settings(net, set, STEP_OTHERS, &s, why) == 0) {
		link_choose_seed(&s.config);
		way->profile = s.profile;
		link_way_set(way, &s.config, s.seeded, LINK_TIMELINE);
	} else {
		/* It was right when it was given; what it stands on has been changed by somebody. */
		log_warning(way->link->port->name, "timeline, step %u: %s", way->steps_next - 1,
			    why);
	}
	set_step_timer(way);
}

static void forget_steps(struct link_way *way)
{
	json_object_put(way->steps);
	way->steps = NULL;
}

static int check_step(struct control_call *call, struct json_object *step, size_t i,
		      uint64_t *at_ns, struct link_settings *s)
{
	struct json_object *at = NULL, *set = NULL;
	char why[IMPAIR_WHY_MAX];
	int64_t ns;

	json_object_object_get_ex(step, "at-ns", &at);
	json_object_object_get_ex(step, "set", &set);
	if (!json_object_is_type(step, json_type_object) || !at || !set ||
	    json_object_object_length(step) != 2 || !json_object_is_type(set, json_type_object))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "steps/%zu: must be {\"at-ns\", \"set\": {…}}", i);
	ns = json_object_get_int64(at);
	if (!json_object_is_type(at, json_type_int) || ns < (int64_t)*at_ns ||
	    ns > 24 * IMPAIR_TIME_MAX)
		return control_error(
			call, CONTROL_ERROR_INVALID_PARAMS,
			"steps/%zu/at-ns: must be a number, not before the step in front", i);
	*at_ns = (uint64_t)ns;
	if (link_read_settings(ctl_net(call), set, STEP_OTHERS, s, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "steps/%zu/set/%s", i,
				     why);
	return 0;
}

/* All steps, one after the other, from what is set now. */
static int check_steps(struct control_call *call, struct json_object *steps,
		       const struct link_way *way, uint64_t *ret_last_ns)
{
	struct link_settings s = current_settings(way);
	uint64_t at_ns = 0;

	if (!json_object_is_type(steps, json_type_array) ||
	    json_object_array_length(steps) > LINK_STEPS_MAX)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "steps: must be an array of at most %d", LINK_STEPS_MAX);
	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		int r = check_step(call, json_object_array_get_idx(steps, i), i, &at_ns, &s);

		if (r < 0)
			return r;
	}
	*ret_last_ns = at_ns;
	return 0;
}

/* "repeat": a period, or true for one that ends with the last step. */
static int read_repeat(struct control_call *call, struct json_object *params, uint64_t last_ns,
		       uint64_t *ret)
{
	struct json_object *o;
	uint64_t ns = 0;
	int r = 0;

	if (!json_object_object_get_ex(params, "repeat", &o))
		return 0;
	if (json_object_is_type(o, json_type_boolean))
		ns = json_object_get_boolean(o) ? last_ns : 0;
	else
		r = control_uint(call, params, "repeat", 24 * IMPAIR_TIME_MAX, &ns);
	if (r == 0 && ns < max(last_ns, (uint64_t)REPEAT_MIN_NS) &&
	    !(json_object_is_type(o, json_type_boolean) && !json_object_get_boolean(o)))
		return control_error(
			call, CONTROL_ERROR_INVALID_PARAMS,
			"repeat: must be a millisecond at least, and not end before the last step");
	*ret = ns;
	return r;
}

static void begin_timeline(struct link_way *way, struct json_object *steps, uint64_t repeat_ns)
{
	end_timeline(way);
	if (json_object_array_length(steps) == 0)
		return;
	way->steps = json_object_get(steps);
	way->steps_from_ns = way->link->links->sw->clock_ns();
	way->steps_repeat_ns = repeat_ns;
	way->steps_next = 0;
	set_step_timer(way);
}

int link_ctl_timeline_set(struct control_call *call, struct json_object *params,
			  struct json_object **ret)
{
	struct net *net = ctl_net(call);
	struct json_object *steps = json_object_object_get(params, "steps");
	struct sw_port *p = NULL;
	struct link *link;
	unsigned directions = 0;
	uint64_t last_ns = 0, repeat_ns = 0;
	int r = ctl_port(call, params, "port", &p);

	if (r == 0)
		r = link_read_direction(call, params, &directions);
	if (r == 0)
		r = link_make(&net->links, p, &link);
	for (unsigned d = 0; r == 0 && d < array_size(link->way); d++)
		if (directions & BIT_ULL(d))
			r = check_steps(call, steps, &link->way[d], &last_ns);
	if (r == 0)
		r = read_repeat(call, params, last_ns, &repeat_ns);
	for (unsigned d = 0; r == 0 && d < array_size(link->way); d++)
		if (directions & BIT_ULL(d))
			begin_timeline(&link->way[d], steps, repeat_ns);
	return r;
}

/* ---- profiles ---- */

int link_ctl_profile_set(struct control_call *call, struct json_object *params,
			 struct json_object **ret)
{
	struct impair_config c;
	const char *name = NULL;
	char why[IMPAIR_WHY_MAX];
	bool seeded;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	impair_config_init(&c);
	if (impair_json_read(params, "name", &c, &seeded, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	r = profile_set(&ctl_net(call)->profiles, name, &c);
	if (r == -EPERM)
		return control_error(call, CONTROL_ERROR_EXISTS, "name: \"%.64s\" is built in",
				     name);
	if (r == -EINVAL)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "name: longer than %d bytes", PROFILE_NAME_MAX - 1);
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d profiles",
				     PROFILES_MAX);
	return r;
}

int link_ctl_profile_remove(struct control_call *call, struct json_object *params,
			    struct json_object **ret)
{
	const char *name = NULL;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	r = profile_remove(&ctl_net(call)->profiles, name);
	if (r == -EPERM)
		return control_error(call, CONTROL_ERROR_FAILED, "name: \"%.64s\" is built in",
				     name);
	if (r == -ENOENT)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no profile \"%.64s\"", name);
	return r;
}

int link_ctl_profile_list(struct control_call *call, struct json_object *params,
			  struct json_object **ret)
{
	struct json_object *list = json_object_new_array();
	const struct profile *p = NULL;

	while ((p = profile_next(&ctl_net(call)->profiles, p))) {
		struct json_object *o = json_object_new_object();

		ctl_add_string(o, "name", p->name);
		json_object_object_add(o, "built-in", json_object_new_boolean(p->text != NULL));
		if (p->text)
			ctl_add_string(o, "text", p->text);
		json_object_object_add(o, "settings", impair_json_settings(&p->config));
		json_object_array_add(list, o);
	}
	*ret = json_object_new_object();
	json_object_object_add(*ret, "profiles", list);
	return 0;
}

/* ---- events ---- */

static void on_changed(struct links *links, struct link_way *way, enum link_cause cause)
{
	struct net *net = links->context;
	struct control *control = net->backend->control;
	struct json_object *o;

	if (!control || !control_has_subscribers(control))
		return;
	o = json_object_new_object();
	ctl_add_string(o, "name", way->link->port->name);
	ctl_add_string(o, "direction",
		       cause == LINK_UP || cause == LINK_DOWN ?
			       "both" :
			       link_direction_name(way->direction));
	ctl_add_string(o, "cause", cause_names[cause]);
	control_notify(control, "link", o);
}

void link_ctl_init(struct net *net)
{
	net->links.context = net;
	net->links.changed = on_changed;
	net->links.step = on_step;
	net->links.forget = forget_steps;
}
