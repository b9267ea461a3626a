/* SPDX-License-Identifier: MIT */
#include "rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "ecn.h"
#include "impair_frame.h"

/* A frame in an engine, and where it goes. */
struct rule_held {
	struct rules *rules;
	struct sw_buf *buf;
	struct sw_port *out; /* NULL: gone meanwhile */
	struct rule_held *next, **at;
};

/* ---- what is held ---- */

static struct rule_held *hold(struct rules *rules, struct sw_buf *buf, struct sw_port *out)
{
	struct rule_held *h = rules->spare;

	if (h)
		rules->spare = h->next;
	else
		h = malloc(sizeof(*h));
	if (!h)
		return NULL;
	*h = (struct rule_held){
		.rules = rules, .buf = buf, .out = out, .next = rules->held, .at = &rules->held
	};
	if (h->next)
		h->next->at = &h->next;
	rules->held = h;
	return h;
}

static void let_go(struct rule_held *h)
{
	*h->at = h->next;
	if (h->next)
		h->next->at = h->at;
	sw_buf_unref(h->buf);
	h->next = h->rules->spare;
	h->rules->spare = h;
}

static void drop_held(void *frame)
{
	let_go(frame);
}

/* ---- frames in ---- */

static void keep(struct rule *r, uint64_t now_ns, struct sw_buf *b, struct sw_port *out, bool ect,
		 bool straight)
{
	struct rule_held *h = b ? hold(r->rules, b, out) : NULL;

	if (h && straight) {
		impair_push_straight(&r->im, now_ns, h, b->frame.len);
	} else if (h) {
		impair_push(&r->im, now_ns, h, b->frame.len, ect);
	} else {
		sw_buf_unref(b);
		impair_push_failed(&r->im);
	}
}

/* Returns whether the frame itself goes on at once. */
static bool judge(struct rule *r, uint64_t now_ns, struct sw_port *out, struct sw_frame *f,
		  bool may_pass)
{
	struct sw_bufs *bufs = &r->rules->sw->bufs;
	bool ect = impair_asks_ecn(&r->im.config) && ecn_capable(f);
	struct impair_verdict v;

	impair_judge(&r->im, now_ns, f->len, ect, &v);
	if (may_pass && v.straight && v.copies == 1 && !impair_changes(&v, 0)) {
		impair_went(&r->im, f->len);
		return true;
	}
	for (unsigned i = 0; i < v.copies; i++)
		keep(r, now_ns,
		     impair_changes(&v, i) ? impair_copy(bufs, f, &v, i) : sw_buf_keep(bufs, f),
		     out, ect, v.straight);
	return false;
}

struct cutting {
	struct rule *rule;
	struct sw_port *out;
	uint64_t now_ns;
};

static void on_cut(void *arg, struct sw_frame *const *frame, unsigned n)
{
	struct cutting *c = arg;

	for (unsigned i = 0; i < n; i++)
		(void)judge(c->rule, c->now_ns, c->out, frame[i], false);
}

static bool apply(struct rule *r, struct sw_port *out, struct sw_frame *f)
{
	struct rules *rules = r->rules;
	struct cutting c = { r, out, rules->sw->clock_ns() };
	uint32_t cut_to = impair_cut_to(&r->im.config);
	bool passes = false;

	if (impair_config_segments(&r->im.config) && !offload_fits(f, cut_to))
		out->stats.egress_drop_offload +=
			offload_lower(&rules->work, &f, 1, cut_to, on_cut, &c);
	else
		passes = judge(r, c.now_ns, out, f, true);
	link_clock_set(rules->clock, &r->event, impair_next(&r->im), c.now_ns);
	rules->sw->awake_ns = rules->clock->awake_ns;
	return passes;
}

static bool on_pass(struct sw_between *b, struct sw_port *in, struct sw_port *out,
		    struct sw_frame *f)
{
	struct rules *rules = container_of(b, struct rules, between);
	struct match_view view;
	bool looked = false;

	for (struct rule *r = rules->first; r; r = r->next) {
		if ((r->in && r->in != in) || (r->out && r->out != out))
			continue;
		if (r->match.given != 0 && !looked) {
			match_look(f, &view);
			looked = true;
		}
		if (r->match.given == 0 || match_holds(&r->match, &view))
			return apply(r, out, f);
	}
	return true;
}

/* ---- frames out ---- */

/* Those of one receiver, in a row. */
static void give_row(struct impair_out *out, unsigned n)
{
	struct sw_port *to = ((struct rule_held *)out[0].frame)->out;
	struct sw_frame *frame[SW_BURST];

	for (unsigned i = 0; i < n; i++) {
		struct rule_held *h = out[i].frame;

		if (out[i].mark)
			h->buf = impair_marked(&h->rules->sw->bufs, h->buf);
		frame[i] = sw_buf_frame(h->buf);
	}
	if (to)
		sw_between_done(to, frame, n);
	for (unsigned i = 0; i < n; i++)
		let_go(out[i].frame);
}

static unsigned give_back(struct rule *r, uint64_t now_ns)
{
	struct impair_out out[SW_BURST];
	unsigned n = impair_take(&r->im, now_ns, out, SW_BURST);

	for (unsigned i = 0, end; i < n; i = end) {
		const struct sw_port *to = ((struct rule_held *)out[i].frame)->out;

		for (end = i + 1; end < n && ((struct rule_held *)out[end].frame)->out == to; end++)
			;
		give_row(out + i, end - i);
	}
	return n;
}

static void on_due(struct link_event *e, uint64_t now_ns)
{
	struct rule *r = container_of(e, struct rule, event);

	give_back(r, now_ns);
	link_clock_set(r->rules->clock, &r->event, impair_next(&r->im), now_ns);
}

/* ---- coming and going ---- */

/* Without rules nobody asks. */
static void hook_in_or_out(struct rules *rules)
{
	rules->sw->between = rules->first ? &rules->between : NULL;
}

struct rule *rule_find(const struct rules *rules, const char *id)
{
	struct rule *r = rules->first;

	while (r && strcmp(r->id, id) != 0)
		r = r->next;
	return r;
}

int rule_new(struct rules *rules, const char *id, struct rule **ret)
{
	struct rule **at = &rules->first, *r;

	if (id[0] == '\0' || strlen(id) >= RULE_ID_MAX)
		return -EINVAL;
	if (rule_find(rules, id))
		return -EEXIST;
	if (rules->n == RULES_MAX)
		return -ENOSPC;
	r = calloc(1, sizeof(*r));
	if (!r || link_clock_room(rules->clock, 1) < 0) {
		free(r);
		return -ENOMEM;
	}
	r->rules = rules;
	(void)snprintf(r->id, sizeof(r->id), "%s", id);
	r->event.fn = on_due;
	impair_init(&r->im, drop_held);
	r->im.near_ns = LINK_CLOCK_NEAR_NS;
	while (*at)
		at = &(*at)->next;
	*at = r;
	rules->n++;
	hook_in_or_out(rules);
	*ret = r;
	return 0;
}

static void unlink_rule(struct rule *r)
{
	struct rule **at = &r->rules->first;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->rules->n--;
	hook_in_or_out(r->rules);
}

static void destroy(struct rule *r)
{
	unlink_rule(r);
	link_clock_set(r->rules->clock, &r->event, IMPAIR_NEVER, r->rules->sw->clock_ns());
	link_clock_leave(r->rules->clock, 1);
	impair_done(&r->im);
	match_done(&r->match);
	free(r);
}

void rule_free(struct rule *r)
{
	while (give_back(r, UINT64_MAX) > 0)
		;
	destroy(r);
}

void rule_set(struct rule *r, const struct impair_config *config, bool reseed)
{
	uint64_t now_ns = r->rules->sw->clock_ns();

	impair_set(&r->im, config, now_ns, reseed);
	r->event.precise = config->precise;
	link_clock_set(r->rules->clock, &r->event, impair_next(&r->im), now_ns);
}

static void on_detached(struct sw_between *b, struct sw_port *p)
{
	struct rules *rules = container_of(b, struct rules, between);
	struct rule *next;

	for (struct rule_held *h = rules->held; h; h = h->next)
		if (h->out == p)
			h->out = NULL;
	for (struct rule *r = rules->first; r; r = next) {
		next = r->next;
		if (r->in == p || r->out == p)
			destroy(r);
	}
}

static const struct sw_between_ops between_ops = { .pass = on_pass, .detached = on_detached };

void rules_init(struct rules *rules, struct sw *sw, struct link_clock *clock)
{
	memset(rules, 0, sizeof(*rules));
	rules->between.ops = &between_ops;
	rules->sw = sw;
	rules->clock = clock;
}

void rules_done(struct rules *rules)
{
	while (rules->first)
		destroy(rules->first);
	while (rules->spare) {
		struct rule_held *gone = rules->spare;

		rules->spare = gone->next;
		free(gone);
	}
}
