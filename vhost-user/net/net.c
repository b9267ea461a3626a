/* SPDX-License-Identifier: MIT */
#include "net.h"

#include <errno.h>
#include <string.h>

#include "capture.h"
#include "ctl.h"
#include "link_ctl.h"

/* Expiry has more to do than one pass should: how soon to go on. */
#define EXPIRE_AGAIN_NS 1000000

#define SECOND_NS 1000000000ull

int net_add_port(struct net *net, const struct port_spec *spec, char **why)
{
	struct sw_port *p;
	int r;

	if (sw_find(&net->sw, spec->name))
		return -EEXIST;
	r = spec->type->open(net, spec, &p, why);
	if (r < 0)
		return r;
	r = port_spec_apply(p, spec, why);
	if (r < 0)
		spec->type->close(p);
	return r;
}

const char *net_port_error(int error, const char *why)
{
	if (why)
		return why;
	switch (error) {
	case -EEXIST:
		return "there is a port of that name";
	case -ENOSPC:
		return "too many ports";
	default:
		return strerror(-error);
	}
}

static void on_state_changed(struct port_vu *p)
{
	struct net *net = p->group->context;

	ctl_port_changed(net->backend->control, p->port.name, port_vu_state(p));
}

static void on_link_changed(struct sw *sw, struct sw_port *p)
{
	const struct net *net = container_of(sw, struct net, sw);

	ctl_port_changed(net->backend->control, p->name, p->down ? "link-down" : "link-up");
}

static void on_tick(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, tick);
	uint64_t now_ns = loop_now_ns();
	bool more = sw_tick(&net->sw, (uint32_t)(now_ns / SECOND_NS));

	loop_timer_set(&net->backend->loop, timer, now_ns + (more ? EXPIRE_AGAIN_NS : SECOND_NS));
}

int net_init(struct net *net, const struct config *config, uint64_t seed)
{
	int r = sw_init(&net->sw, &config->fdb, seed);

	if (r < 0)
		return r;
	net->sw.link_changed = on_link_changed;
	net->group = (struct port_vu_group){ .loop = &net->backend->loop,
					     .sw = &net->sw,
					     .mtu = config->mtu,
					     .spin_ns = config->spin_ns,
					     .context = net,
					     .state_changed = on_state_changed };
	port_vu_group_init(&net->group);
	links_init(&net->links, &net->backend->loop, &net->sw);
	rules_init(&net->rules, &net->sw, &net->links.clock);
	link_ctl_init(net);
	loop_timer_init(&net->tick, on_tick);
	on_tick(&net->tick);
	if (config->threads > 1)
		r = workers_start(&net->workers, &net->backend->loop, &net->sw, &net->group,
				  config->threads);
	if (r < 0)
		net_done(net);
	return r;
}

static unsigned ports_of(const struct net *net, const struct port_vu_group *g)
{
	unsigned n = 0;

	for (struct sw_port *p = sw_next(&net->sw, NULL); p; p = sw_next(&net->sw, p)) {
		struct port_vu *pv = port_vu_of(p);

		n += pv && pv->group == g;
	}
	return n;
}

struct port_vu_group *net_group(struct net *net)
{
	struct port_vu_group *best = &net->group;

	for (unsigned i = 0; i < net->workers.n; i++) {
		struct port_vu_group *g = workers_group(&net->workers, i);

		if (i == 0 || ports_of(net, g) < ports_of(net, best))
			best = g;
	}
	return best;
}

void net_done(struct net *net)
{
	struct sw_port *p, *next;

	capture_stop_all(net);
	loop_timer_cancel(&net->backend->loop, &net->tick);
	for (p = sw_next(&net->sw, NULL); p; p = next) {
		next = sw_next(&net->sw, p);
		port_type_of(p)->close(p);
	}
	workers_stop(&net->workers);
	rules_done(&net->rules);
	links_done(&net->links);
	profiles_done(&net->profiles);
	while (net->n_policies > 0)
		qos_policy_unref(net->policies[--net->n_policies]);
	sw_done(&net->sw);
}
