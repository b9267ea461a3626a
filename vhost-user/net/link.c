/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "ecn.h"
#include "impair_frame.h"
#include "qos.h"

/* Bursts given back in one go, between which others get their turn. */
#define GIVE_BACK_BURSTS 4

/* Two directions that were set by one request began to flap within this time, however busy the machine was. */
#define IN_STEP_NS 100000000

const char *link_direction_name(enum sw_direction d)
{
	return d == SW_INGRESS ? "from-guest" : "to-guest";
}

static uint64_t now(const struct links *links)
{
	return links->sw->clock_ns();
}

static void drop_buf(void *frame)
{
	sw_buf_unref(frame);
}

/* ---- behind the link ---- */

static void pass_on(struct link_way *way, struct sw_frame *const *frame, unsigned n)
{
	if (n == 0)
		return;
	if (way->direction == SW_INGRESS)
		sw_stage_ingress_done(way->link->port, frame, n);
	else
		sw_stage_egress_done(way->link->port, frame, n);
}

/* A burst that goes on at once, with the buffers that were made for it. */
struct straight {
	struct link_way *way;
	unsigned n;
	struct sw_frame *frame[SW_BURST];
	struct sw_buf *buf[SW_BURST]; /* NULL: the frame is as it came */
};

static void straight_flush(struct straight *s)
{
	pass_on(s->way, s->frame, s->n);
	for (unsigned i = 0; i < s->n; i++)
		sw_buf_unref(s->buf[i]);
	s->n = 0;
}

static void straight_add(struct straight *s, struct sw_frame *f, struct sw_buf *b)
{
	if (s->n == SW_BURST)
		straight_flush(s);
	s->frame[s->n] = b ? sw_buf_frame(b) : f;
	s->buf[s->n++] = b;
}

/* ---- frames in ---- */

static void take_in(struct link_way *way, uint64_t now_ns, struct sw_frame *f, struct straight *s)
{
	struct impair *im = &way->im;
	struct impair_verdict v;
	bool ect = way->ecn && ecn_capable(f);

	impair_judge(im, now_ns, f->len, ect, &v);
	for (unsigned i = 0; i < v.copies; i++) {
		bool changed = impair_changes(&v, i);
		struct sw_buf *b = NULL;

		if (changed)
			b = impair_copy(&way->link->links->sw->bufs, f, &v, i);
		else if (!v.straight)
			b = sw_buf_keep(&way->link->links->sw->bufs, f);
		if (!b && (changed || !v.straight)) {
			impair_push_failed(im);
		} else if (v.straight) {
			impair_went(im, f->len);
			straight_add(s, f, b);
		} else {
			impair_push(im, now_ns, b, f->len, ect);
		}
	}
}

static void hold_burst(struct link_way *way, uint64_t now_ns, struct sw_frame *const *frame,
		       unsigned n)
{
	struct sw_bufs *bufs = &way->link->links->sw->bufs;
	uint32_t len[SW_BURST];
	void *kept[SW_BURST];
	unsigned n_kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct sw_buf *b = sw_buf_keep(bufs, frame[i]);

		if (unlikely(!b)) {
			impair_hold_failed(&way->im, frame[i]->len);
			continue;
		}
		len[n_kept] = frame[i]->len;
		kept[n_kept++] = b;
	}
	impair_hold(&way->im, now_ns, kept, len, n_kept);
}

/* Pass on those in front that have only to be counted.  Returns how many. */
static unsigned pass_straight(struct link_way *way, uint64_t now_ns, struct sw_frame *const *frame,
			      unsigned n)
{
	uint32_t len[SW_BURST];

	if (n == 0 || !impair_only_rates(&way->im))
		return 0;
	for (unsigned i = 0; i < n; i++)
		len[i] = frame[i]->len;
	n = impair_straight(&way->im, now_ns, len, n);
	pass_on(way, frame, n);
	return n;
}

static void impair_burst(struct link_way *way, uint64_t now_ns, struct sw_frame *const *frame,
			 unsigned n)
{
	struct straight s;

	if (impair_holds_all(&way->im)) {
		hold_burst(way, now_ns, frame, n);
		return;
	}
	s.way = way;
	s.n = 0;
	for (unsigned i = pass_straight(way, now_ns, frame, n); i < n; i++)
		take_in(way, now_ns, frame[i], &s);
	straight_flush(&s);
}

/* What the policy lets go now goes into the engine, at the time it went. */
static void from_qos(struct link_way *way, uint64_t now_ns)
{
	struct qos_out out[SW_BURST];
	unsigned n;

	do {
		n = qos_take(way->qos, now_ns, out, array_size(out));
		for (unsigned i = 0; i < n; i++) {
			struct sw_frame *f = sw_buf_frame(out[i].frame);

			impair_burst(way, out[i].at_ns, &f, 1);
			sw_buf_unref(out[i].frame);
		}
	} while (n == array_size(out));
}

static void qos_burst(struct link_way *way, uint64_t now_ns, struct sw_frame *const *frame,
		      unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct qos_class *class = qos_classify(way->qos, frame[i]);
		struct sw_buf *b;

		if (!qos_has_room(way->qos, class, now_ns, frame[i]->len))
			continue;
		b = sw_buf_keep(&way->link->links->sw->bufs, frame[i]);
		if (b)
			qos_push(way->qos, class, now_ns, b, frame[i]->len);
		else
			qos_push_failed(way->qos, class);
	}
	from_qos(way, now_ns);
}

/* What the emit function of offload.h needs to know. */
struct cutting {
	struct link_way *way;
	uint64_t now_ns;
};

static void burst(struct link_way *way, uint64_t now_ns, struct sw_frame *const *frame, unsigned n)
{
	if (way->qos)
		qos_burst(way, now_ns, frame, n);
	else
		impair_burst(way, now_ns, frame, n);
}

static void on_cut(void *arg, struct sw_frame *const *frame, unsigned n)
{
	struct cutting *c = arg;

	burst(c->way, c->now_ns, frame, n);
}

/* ---- frames out ---- */

static uint64_t lost(const struct link_way *way)
{
	const struct impair_stats *s = &way->im.stats;

	return s->dropped_loss + s->dropped_flap + s->dropped_limit + s->dropped_codel +
	       s->dropped_memory + s->dropped_reset + (way->qos ? qos_dropped(way->qos) : 0);
}

static void count_lost(struct link_way *way)
{
	struct port_stats *s = &way->link->port->stats;
	uint64_t n = lost(way);

	if (way->direction == SW_INGRESS)
		s->ingress_drop_impaired += n - way->lost;
	else
		s->egress_drop_impaired += n - way->lost;
	way->lost = n;
}

static uint64_t next(const struct link_way *way)
{
	uint64_t at_ns = impair_next(&way->im);

	return way->qos ? min(at_ns, qos_next(way->qos)) : at_ns;
}

/* What was kept for a while is in no cache any more. */
static inline void fetch(const struct sw_buf *b)
{
	__builtin_prefetch(b, 1);
	__builtin_prefetch((const uint8_t *)b + CACHE_LINE, 1);
	__builtin_prefetch(b->bytes + CACHE_LINE / 2);
}

/* Fetch as many as were due now, which are probably due next, while others have their turn. */
static void fetch_next(const struct impair_due *line, unsigned n)
{
	const struct impair_ring *r = &line->ring;

	n = min(n, r->n);
	for (unsigned i = 0; i < n; i++)
		fetch(r->entry[(r->head + i) & (r->size - 1)].frame);
}

static unsigned give_back(struct link_way *way, uint64_t now_ns)
{
	struct impair_out out[SW_BURST];
	struct sw_frame *frame[SW_BURST];
	unsigned n = impair_take(&way->im, now_ns, out, SW_BURST);

	for (unsigned i = 0; i < n; i++)
		fetch(out[i].frame);
	for (unsigned i = 0; i < n; i++) {
		if (out[i].mark)
			out[i].frame = impair_marked(&way->link->links->sw->bufs, out[i].frame);
		frame[i] = sw_buf_frame(out[i].frame);
	}
	pass_on(way, frame, n);
	for (unsigned i = 0; i < n; i++)
		sw_buf_unref(out[i].frame);
	fetch_next(&way->im.line, n);
	return n;
}

/* Give back what is due, and be called again when more is. */
static void settle(struct link_way *way, uint64_t now_ns)
{
	struct link_clock *clock = &way->link->links->clock;

	way->last_ns = now_ns;
	if (way->qos)
		from_qos(way, now_ns);
	for (unsigned i = 0; i < GIVE_BACK_BURSTS && next(way) <= now_ns; i++)
		if (give_back(way, now_ns) < SW_BURST)
			break;
	count_lost(way);
	link_clock_set(clock, &way->event, next(way), now_ns);
	way->link->links->sw->awake_ns = clock->awake_ns;
}

/* Frames that ask for a segmentation that cannot be done. */
static void count_uncut(struct link_way *way, unsigned n)
{
	struct port_stats *s = &way->link->port->stats;

	if (way->direction == SW_INGRESS)
		s->ingress_drop_impaired += n;
	else
		s->egress_drop_offload += n;
}

static void on_burst(struct sw_stage *s, struct sw_port *p, struct sw_frame *const *frame,
		     unsigned n)
{
	struct link_way *way = container_of(s, struct link_way, stage);
	struct link_clock *clock = &way->link->links->clock;
	uint64_t now_ns = now(way->link->links);
	struct cutting c = { way, max(link_clock_arrival(clock, now_ns), way->last_ns) };

	if (way->cuts)
		count_uncut(way, offload_lower(&way->link->links->work[way->direction], frame, n,
					       way->cut_to, on_cut, &c));
	else
		burst(way, c.now_ns, frame, n);
	settle(way, now_ns);
}

/* ---- in and out of the port ---- */

static struct sw_stage **hook(const struct link_way *way)
{
	struct sw_port *p = way->link->port;

	return way->direction == SW_INGRESS ? &p->ingress : &p->egress;
}

static bool is_needed(const struct link_way *way)
{
	uint64_t frames, bytes;

	link_way_held(way, &frames, &bytes);
	return !way->im.idle || way->qos || frames != 0;
}

static void hook_in_or_out(struct link_way *way)
{
	*hook(way) = is_needed(way) ? &way->stage : NULL;
}

static void on_due(struct link_event *e, uint64_t now_ns)
{
	struct link_way *way = container_of(e, struct link_way, event);

	settle(way, now_ns);
	if (way->im.idle)
		hook_in_or_out(way);
}

void link_way_held(const struct link_way *way, uint64_t *ret_frames, uint64_t *ret_bytes)
{
	uint64_t frames = 0, bytes = 0;

	impair_held(&way->im, ret_frames, ret_bytes);
	if (way->qos)
		qos_held(way->qos, &frames, &bytes);
	*ret_frames += frames;
	*ret_bytes += bytes;
}

/* ---- settings ---- */

static void tell(struct link_way *way, enum link_cause cause)
{
	struct links *links = way->link->links;

	if (links->changed)
		links->changed(links, way, cause);
}

static void look_at_settings(struct link_way *way)
{
	const struct impair_config *c = &way->im.config;

	way->cuts = way->qos || impair_config_segments(c);
	way->cut_to = impair_cut_to(c);
	way->ecn = impair_asks_ecn(c);
	way->event.precise = c->precise;
}

/* Both directions flap, and in step: then it is the cable, and the guest sees its carrier go. */
static bool flaps_as_one(const struct link *link)
{
	const struct impair *a = &link->way[0].im, *b = &link->way[1].im;
	int64_t apart = (int64_t)(a->flap_from_ns - b->flap_from_ns);

	return a->config.flap && b->config.flap && a->config.flap_up_ns == b->config.flap_up_ns &&
	       a->config.flap_down_ns == b->config.flap_down_ns && llabs(apart) < IN_STEP_NS;
}

/* Who begins to flap right behind the other direction goes with it from then on. */
static void fall_into_step(struct link *link)
{
	struct impair *a = &link->way[0].im, *b = &link->way[1].im;

	if (flaps_as_one(link))
		a->flap_from_ns = b->flap_from_ns = min(a->flap_from_ns, b->flap_from_ns);
}

static void look_at_flap(struct link *link)
{
	struct links *links = link->links;
	uint64_t until = IMPAIR_NEVER;
	bool down = flaps_as_one(link) && impair_is_down(&link->way[0].im, now(links), &until);
	bool was_down = link->port->down & SW_DOWN_FLAP;

	if (flaps_as_one(link) && links->loop)
		loop_timer_set(links->loop, &link->flap, until);
	else if (links->loop)
		loop_timer_cancel(links->loop, &link->flap);
	if (down == was_down)
		return;
	sw_set_link(link->port, SW_DOWN_FLAP, !down);
	tell(&link->way[SW_EGRESS], down ? LINK_DOWN : LINK_UP);
}

static void on_flap(struct loop_timer *timer)
{
	look_at_flap(container_of(timer, struct link, flap));
}

void link_way_set(struct link_way *way, const struct impair_config *config, bool reseed,
		  enum link_cause cause)
{
	struct links *links = way->link->links;
	uint64_t now_ns = now(links);

	way->last_ns = now_ns;
	impair_set(&way->im, config, now_ns, reseed);
	look_at_settings(way);
	fall_into_step(way->link);
	look_at_flap(way->link);
	hook_in_or_out(way);
	count_lost(way);
	link_clock_set(&links->clock, &way->event, next(way), now_ns);
	tell(way, cause);
}

void link_way_set_qos(struct link_way *way, struct qos *qos)
{
	struct qos *old = way->qos;
	struct qos_out out[SW_BURST];
	unsigned n;
	uint64_t now_ns = now(way->link->links);

	count_lost(way);
	while (old && (n = qos_take_all(old, out, SW_BURST)) > 0)
		for (unsigned i = 0; i < n; i++) {
			struct sw_frame *f = sw_buf_frame(out[i].frame);

			way->qos = qos;
			burst(way, now_ns, &f, 1);
			sw_buf_unref(out[i].frame);
		}
	qos_free(old);
	way->qos = qos;
	way->lost = lost(way);
	look_at_settings(way);
	hook_in_or_out(way);
	settle(way, now_ns);
}

void link_way_drop_held(struct link_way *way)
{
	impair_drop_held(&way->im);
	if (way->qos)
		qos_drop_held(way->qos);
	count_lost(way);
	link_clock_set(&way->link->links->clock, &way->event, IMPAIR_NEVER, now(way->link->links));
	hook_in_or_out(way);
}

/* ---- timers of settings ---- */

static void on_expire(struct loop_timer *timer)
{
	struct link_way *way = container_of(timer, struct link_way, expire);

	way->expire_ns = 0;
	way->profile = way->stays_profile;
	link_way_set(way, &way->stays, false, LINK_EXPIRED);
}

static void on_step(struct loop_timer *timer)
{
	struct link_way *way = container_of(timer, struct link_way, step);

	way->link->links->step(way);
}

/* ---- coming and going ---- */

/* The link's own stage is told; the directions' need not be. */
static void on_way_detached(struct sw_stage *s, struct sw_port *p)
{
}

static void on_no_burst(struct sw_stage *s, struct sw_port *p, struct sw_frame *const *frame,
			unsigned n)
{
	assert(false);
}

static void way_done(struct link_way *way)
{
	struct links *links = way->link->links;

	impair_drop_held(&way->im);
	if (way->qos)
		qos_drop_held(way->qos);
	count_lost(way);
	link_clock_set(&links->clock, &way->event, IMPAIR_NEVER, now(links));
	if (links->loop) {
		loop_timer_cancel(links->loop, &way->expire);
		loop_timer_cancel(links->loop, &way->step);
	}
	if (way->steps)
		links->forget(way);
	qos_free(way->qos);
	impair_done(&way->im);
}

static void on_detached(struct sw_stage *s, struct sw_port *p)
{
	struct link *link = container_of(s, struct link, stage), **at = &link->links->first;

	for (unsigned i = 0; i < array_size(link->way); i++)
		way_done(&link->way[i]);
	if (link->links->loop)
		loop_timer_cancel(link->links->loop, &link->flap);
	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	link_clock_leave(&link->links->clock, array_size(link->way));
	free(link);
}

static const struct sw_stage_ops way_ops = { .burst = on_burst, .detached = on_way_detached };
static const struct sw_stage_ops link_ops = { .burst = on_no_burst, .detached = on_detached };

struct link *link_find(const struct sw_port *p)
{
	return p->link ? container_of(p->link, struct link, stage) : NULL;
}

int link_make(struct links *links, struct sw_port *p, struct link **ret)
{
	struct link *link = link_find(p);

	if (link) {
		*ret = link;
		return 0;
	}
	if (link_clock_room(&links->clock, array_size(link->way)) < 0 ||
	    !(link = calloc(1, sizeof(*link))))
		return -ENOMEM;
	*link = (struct link){
		.links = links, .port = p, .stage.ops = &link_ops, .next = links->first
	};
	loop_timer_init(&link->flap, on_flap);
	for (unsigned i = 0; i < array_size(link->way); i++) {
		struct link_way *way = &link->way[i];

		way->stage.ops = &way_ops;
		way->link = link;
		way->direction = (enum sw_direction)i;
		way->event.fn = on_due;
		impair_init(&way->im, drop_buf);
		way->im.salt = i;
		way->im.near_ns = LINK_CLOCK_NEAR_NS;
		loop_timer_init(&way->expire, on_expire);
		loop_timer_init(&way->step, on_step);
		impair_config_init(&way->stays);
	}
	links->first = link;
	p->link = &link->stage;
	*ret = link;
	return 0;
}

void links_init(struct links *links, struct loop *loop, struct sw *sw)
{
	*links = (struct links){ .loop = loop, .sw = sw };
	link_clock_init(&links->clock, loop, sw->clock_ns);
}

void links_done(struct links *links)
{
	assert(!links->first);
	link_clock_done(&links->clock);
}
