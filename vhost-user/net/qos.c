/* SPDX-License-Identifier: MIT */
#include "qos.h"

#include <stdlib.h>

#include "base.h"

#define NS_PER_S UINT64_C(1000000000)

static uint64_t duration(uint64_t bytes, uint64_t rate_bps, uint64_t *fraction)
{
	uint64_t units = bytes * 8 * NS_PER_S + *fraction;

	*fraction = units % rate_bps;
	return units / rate_bps;
}

void qos_policy_unref(struct qos_policy *p)
{
	if (!p || --p->refs > 0)
		return;
	for (unsigned i = 0; i < p->n_classes; i++)
		match_done(&p->class[i].match);
	free(p);
}

struct qos *qos_new(struct qos_policy *policy, impair_drop_fn *drop)
{
	struct qos *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	policy->refs++;
	q->policy = policy;
	q->drop = drop;
	for (unsigned i = 0; i < policy->n_classes; i++)
		q->class[i].config = &policy->class[i];
	return q;
}

void qos_free(struct qos *q)
{
	if (!q)
		return;
	qos_drop_held(q);
	for (unsigned i = 0; i < q->policy->n_classes; i++)
		impair_ring_done(&q->class[i].ring);
	qos_policy_unref(q->policy);
	free(q);
}

struct qos_class *qos_classify(struct qos *q, const struct sw_frame *f)
{
	unsigned last = q->policy->n_classes - 1;
	struct match_view v;

	match_look(f, &v);
	for (unsigned i = 0; i < last; i++)
		if (match_holds(&q->class[i].config->match, &v))
			return &q->class[i];
	return &q->class[last];
}

/* ---- who is next ---- */

/* When a bucket of this rate lets a frame pass. */
static uint64_t bucket_ns(uint64_t debt_ns, uint64_t rate_bps, uint64_t burst_bytes)
{
	uint64_t fraction = 0, burst_ns;

	if (rate_bps == 0)
		return 0;
	burst_ns = duration(burst_bytes, rate_bps, &fraction);
	return debt_ns > burst_ns ? debt_ns - burst_ns : 0;
}

/* When the first frame of a class may go. */
static uint64_t ready_ns(const struct qos_class *c, const struct impair_entry *first)
{
	return max(first->at_ns,
		   bucket_ns(c->ceil_ns, c->config->ceil_bps, c->config->burst_bytes));
}

/* May it go at that time?  guaranteed: as one below its rate. */
static bool may_go(const struct qos_class *c, uint64_t at_ns, bool guaranteed)
{
	const struct impair_entry *first = impair_ring_first(&c->ring);

	if (!first || ready_ns(c, first) > at_ns)
		return false;
	return !guaranteed ||
	       (c->config->rate_bps != 0 &&
		bucket_ns(c->rate_ns, c->config->rate_bps, c->config->burst_bytes) <= at_ns);
}

/* Deficit round robin among the classes of a priority that may go.  Ends: each round adds a quantum. */
static struct qos_class *choose_equal(struct qos *q, unsigned priority, uint64_t at_ns,
				      bool guaranteed)
{
	const unsigned n = q->policy->n_classes;
	unsigned *turn = &q->turn[priority], candidates = 0;

	for (unsigned i = 0; i < n; i++)
		candidates += q->class[i].config->priority == priority &&
			      may_go(&q->class[i], at_ns, guaranteed);
	while (candidates > 0) {
		struct qos_class *c = &q->class[*turn % n];

		if (c->config->priority == priority && may_go(c, at_ns, guaranteed)) {
			if (c->deficit >= impair_ring_first(&c->ring)->len)
				return c;
			c->deficit += QOS_QUANTUM;
		}
		*turn = (*turn + 1) % n;
	}
	return NULL;
}

static struct qos_class *choose(struct qos *q, uint64_t at_ns)
{
	for (unsigned i = 0; i < 2 * QOS_PRIORITIES; i++) {
		struct qos_class *c = choose_equal(q, QOS_PRIORITIES - 1 - i % QOS_PRIORITIES,
						   at_ns, i < QOS_PRIORITIES);

		if (c)
			return c;
	}
	return NULL;
}

/* When somebody may go; IMPAIR_NEVER: nobody waits. */
static uint64_t start_ns(const struct qos *q)
{
	uint64_t at_ns = UINT64_MAX;

	for (unsigned i = 0; i < q->policy->n_classes; i++) {
		const struct impair_entry *first = impair_ring_first(&q->class[i].ring);

		if (first)
			at_ns = min(at_ns, ready_ns(&q->class[i], first));
	}
	return at_ns == UINT64_MAX ? at_ns : max(at_ns, q->free_ns);
}

static void charge(uint64_t *debt_ns, uint64_t at_ns, uint32_t len, uint64_t rate_bps)
{
	uint64_t fraction = 0;

	if (rate_bps != 0)
		*debt_ns = max(*debt_ns, at_ns) + duration(len, rate_bps, &fraction);
}

static void send(struct qos *q, struct qos_class *c, uint64_t at_ns)
{
	struct impair_entry *first = impair_ring_first(&c->ring);

	q->entry = *first;
	q->sending = true;
	impair_ring_pop(&c->ring);
	c->bytes -= q->entry.len;
	c->deficit = c->ring.n > 0 ? c->deficit - q->entry.len : 0;
	c->sent_frames++;
	c->sent_bytes += q->entry.len;
	charge(&c->rate_ns, at_ns, q->entry.len, c->config->rate_bps);
	charge(&c->ceil_ns, at_ns, q->entry.len, c->config->ceil_bps);
	if (q->free_ns < at_ns)
		q->fraction = 0;
	q->free_ns = at_ns;
	if (q->policy->rate_bps != 0)
		q->free_ns += duration(q->entry.len, q->policy->rate_bps, &q->fraction);
}

/* ---- in and out ---- */

void qos_push_failed(struct qos *q, struct qos_class *c)
{
	c->dropped++;
}

bool qos_has_room(struct qos *q, struct qos_class *c, uint64_t now_ns, uint32_t len)
{
	if (c->bytes + len <= c->config->limit_bytes)
		return true;
	c->dropped++;
	return false;
}

void qos_push(struct qos *q, struct qos_class *c, uint64_t now_ns, void *frame, uint32_t len)
{
	const struct impair_entry e = { .at_ns = now_ns, .frame = frame, .len = len };

	if (impair_ring_push(&c->ring, &e) < 0) {
		c->dropped++;
		q->drop(frame);
		return;
	}
	c->bytes += len;
	q->held_frames++;
	q->held_bytes += len;
}

static void give(struct qos *q, const struct impair_entry *e, uint64_t at_ns, struct qos_out *ret)
{
	q->held_frames--;
	q->held_bytes -= e->len;
	*ret = (struct qos_out){ .frame = e->frame, .at_ns = at_ns };
}

unsigned qos_take(struct qos *q, uint64_t now_ns, struct qos_out *ret, unsigned n)
{
	unsigned got = 0;

	for (;;) {
		uint64_t at_ns;

		if (q->sending) {
			if (q->free_ns > now_ns || got == n)
				return got;
			q->sending = false;
			give(q, &q->entry, q->free_ns, &ret[got++]);
		}
		at_ns = start_ns(q);
		if (at_ns > now_ns)
			return got;
		send(q, choose(q, at_ns), at_ns);
	}
}

unsigned qos_take_all(struct qos *q, struct qos_out *ret, unsigned n)
{
	unsigned got = 0;

	if (q->sending && n > 0) {
		q->sending = false;
		give(q, &q->entry, q->free_ns, &ret[got++]);
	}
	for (unsigned i = 0; i < q->policy->n_classes; i++) {
		struct qos_class *c = &q->class[i];
		const struct impair_entry *first;

		for (; got < n && (first = impair_ring_first(&c->ring));
		     impair_ring_pop(&c->ring)) {
			c->bytes -= first->len;
			give(q, first, first->at_ns, &ret[got++]);
		}
	}
	return got;
}

uint64_t qos_next(const struct qos *q)
{
	return q->sending ? q->free_ns : start_ns(q);
}

void qos_drop_held(struct qos *q)
{
	struct qos_out out[16];
	unsigned n;

	while ((n = qos_take_all(q, out, array_size(out))) > 0)
		for (unsigned i = 0; i < n; i++) {
			q->class[q->policy->n_classes - 1].dropped++;
			q->drop(out[i].frame);
		}
}

void qos_held(const struct qos *q, uint64_t *ret_frames, uint64_t *ret_bytes)
{
	*ret_frames = q->held_frames;
	*ret_bytes = q->held_bytes;
}

uint64_t qos_dropped(const struct qos *q)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < q->policy->n_classes; i++)
		n += q->class[i].dropped;
	return n;
}
