/* SPDX-License-Identifier: MIT */
#include "impair.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base.h"

#define NS_PER_S UINT64_C(1000000000)

/* A medium that was not asked for so many intervals is not followed through each of them. */
#define SLOT_STEPS 64

const struct impair_counter impair_counters[IMPAIR_N_COUNTERS] = {
#define X(name, text) { #name, text, offsetof(struct impair_stats, name) },
	IMPAIR_COUNTERS(X)
#undef X
};

/* The four states of Salsano, Ludovici and Ordine's model, and the two of Gilbert's, the first of each being the one
 * to begin with. */
enum loss_state {
	GAP = 0,       /* 1: arrivals outside of bursts */
	BURST_ARRIVAL, /* 2 */
	BURST_LOSS,    /* 3 */
	GAP_LOSS,      /* 4 */
	GOOD = 0,
	BAD,
};

void impair_init(struct impair *im, impair_drop_fn *drop)
{
	*im = (struct impair){ .drop = drop, .idle = true, .steady = true };
	impair_config_init(&im->config);
}

static void drop(struct impair *im, void *frame, uint64_t *counter)
{
	++*counter;
	im->drop(frame);
}

/* ---- fate ---- */

static bool gemodel_lost(struct impair *im)
{
	const struct impair_config *c = &im->config;
	bool bad = im->state == BAD;
	bool lost = chance_event(&im->chance[IMPAIR_CHANCE_LOSS],
				 1 - (bad ? c->gemodel_h : c->gemodel_k), 0);

	if (chance_event(&im->chance[IMPAIR_CHANCE_STATE], bad ? c->gemodel_r : c->gemodel_p, 0))
		im->state = bad ? GOOD : BAD;
	return lost;
}

static bool markov_lost(struct impair *im)
{
	const struct impair_config *c = &im->config;
	double u = chance_uniform(&im->chance[IMPAIR_CHANCE_STATE]);

	switch ((enum loss_state)im->state) {
	case GAP:
		if (u < c->markov_p13)
			im->state = BURST_LOSS;
		else if (u < c->markov_p13 + c->markov_p14)
			im->state = GAP_LOSS;
		break;
	case BURST_ARRIVAL:
		if (u < c->markov_p23)
			im->state = BURST_LOSS;
		break;
	case BURST_LOSS:
		if (u < c->markov_p31)
			im->state = GAP;
		else if (u < c->markov_p31 + c->markov_p32)
			im->state = BURST_ARRIVAL;
		break;
	case GAP_LOSS:
		im->state = GAP;
		break;
	}
	return im->state == BURST_LOSS || im->state == GAP_LOSS;
}

static bool is_lost(struct impair *im)
{
	const struct impair_config *c = &im->config;

	if (c->gemodel)
		return gemodel_lost(im);
	if (c->markov)
		return markov_lost(im);
	return c->loss > 0 &&
	       chance_event(&im->chance[IMPAIR_CHANCE_LOSS], c->loss, c->loss_correlation);
}

bool impair_is_down(const struct impair *im, uint64_t now_ns, uint64_t *ret_until_ns)
{
	const struct impair_config *c = &im->config;
	uint64_t cycle = c->flap_up_ns + c->flap_down_ns, into;

	*ret_until_ns = IMPAIR_NEVER;
	if (!c->flap)
		return false;
	into = (now_ns - im->flap_from_ns) % cycle;
	*ret_until_ns = now_ns - into + (into < c->flap_up_ns ? c->flap_up_ns : cycle);
	return into >= c->flap_up_ns;
}

static void draw_fate(struct impair *im, uint64_t now_ns, uint32_t len, bool ect,
		      struct impair_verdict *v)
{
	const struct impair_config *c = &im->config;
	uint64_t until;

	if (impair_is_down(im, now_ns, &until)) {
		im->stats.dropped_flap++;
		v->copies = 0;
		return;
	}
	if (c->duplicate > 0 && chance_event(&im->chance[IMPAIR_CHANCE_DUPLICATE], c->duplicate,
					     c->duplicate_correlation)) {
		v->copies = 2;
		im->stats.duplicated++;
	}
	if (is_lost(im)) {
		v->mark = c->ecn && ect;
		v->copies -= !v->mark;
		im->stats.dropped_loss += !v->mark;
		im->stats.marked += v->mark;
	}
	for (unsigned i = 0; c->corrupt > 0 && i < v->copies; i++) {
		v->corrupt[i] = chance_event(&im->chance[IMPAIR_CHANCE_CORRUPT], c->corrupt,
					     c->corrupt_correlation);
		if (!v->corrupt[i])
			continue;
		v->bit[i] = chance_below(&im->chance[IMPAIR_CHANCE_BIT], 8ull * len);
		im->stats.corrupted++;
	}
}

/* ---- the delay line ---- */

static uint64_t spread(struct impair *im, enum impair_chance chance, struct dist_series *series,
		       enum dist dist, uint64_t mean, uint64_t jitter, double correlation)
{
	double ns = (double)mean;

	if (jitter == 0)
		return mean;
	ns += (double)jitter * dist_draw(dist, &im->chance[chance], series, correlation);
	return ns > 0 ? (uint64_t)ns : 0;
}

static bool overtakes(struct impair *im)
{
	const struct impair_config *c = &im->config;

	if (likely(c->reorder <= 0 && c->gap == 0))
		return false;
	im->since_reorder++;
	if (im->since_reorder < c->gap ||
	    (c->reorder > 0 &&
	     !chance_event(&im->chance[IMPAIR_CHANCE_REORDER], c->reorder, c->reorder_correlation)))
		return false;
	im->since_reorder = 0;
	return true;
}

static void line_in(struct impair *im, uint64_t now_ns, struct impair_entry *e)
{
	const struct impair_config *c = &im->config;

	e->at_ns = now_ns;
	if (unlikely(!im->steady) && overtakes(im)) {
		im->stats.reordered++;
	} else {
		e->at_ns += likely(im->steady) ? c->delay_ns :
						 spread(im, IMPAIR_CHANCE_DELAY, &im->delay_series,
							c->distribution, c->delay_ns, c->jitter_ns,
							c->delay_correlation);
		if (c->keep_order)
			e->at_ns = max(e->at_ns, im->last_due_ns);
		im->last_due_ns = max(e->at_ns, im->last_due_ns);
	}
	if (impair_due_push(&im->line, e) < 0)
		drop(im, e->frame, &im->stats.dropped_memory);
	else
		im->line_bytes += e->len;
}

/* ---- the queue and the rate ---- */

/* Bytes whose time can be told by 64-bit numbers. */
#define DURATION_MAX ((uint64_t)IMPAIR_BYTES_MAX)

/* The time that `bytes` take.  What is below a nanosecond is carried on in *fraction. */
static uint64_t duration(const struct impair_config *c, uint64_t bytes, uint64_t *fraction)
{
	uint64_t units = bytes * 8 * NS_PER_S + *fraction;

	*fraction = units % c->rate_bps;
	return units / c->rate_bps;
}

static uint64_t size_on_link(const struct impair_config *c, uint32_t len)
{
	int64_t bytes = (int64_t)len + c->packet_overhead;
	uint64_t n = bytes > 1 ? (uint64_t)bytes : 1;

	if (c->cell_size != 0)
		n = (n + c->cell_size - 1) / c->cell_size * (c->cell_size + c->cell_overhead);
	return min(n, DURATION_MAX);
}

#define LAST_NONE UINT32_MAX

/* The same for a frame.  Most are as long as the one before: then nothing is divided. */
static uint64_t frame_duration(struct impair *im, uint32_t len, uint64_t *fraction)
{
	const struct impair_config *c = &im->config;
	uint64_t ns;

	if (unlikely(im->last.len != len)) {
		im->last.len = len;
		im->last.rest = 0;
		im->last.ns = duration(c, size_on_link(c, len), &im->last.rest);
	}
	ns = im->last.ns;
	*fraction += im->last.rest;
	if (*fraction >= c->rate_bps) {
		*fraction -= c->rate_bps;
		ns++;
	}
	return ns;
}

static void transmit(struct impair *im, uint64_t start_ns, uint32_t len)
{
	if (im->free_ns < start_ns) {
		im->free_ns = start_ns;
		im->fraction = 0;
	}
	im->free_ns += frame_duration(im, len, &im->fraction);
	im->departed_ns = max(start_ns, im->free_ns - min(im->burst_ns, im->free_ns));
}

/* May it be let into the rate?  If not it has been dropped. */
static bool passes_codel(struct impair *im, uint64_t start_ns, struct impair_entry *e)
{
	const struct impair_config *c = &im->config;

	if (!c->codel ||
	    !codel_judge(&im->codel, c->codel_target_ns, c->codel_interval_ns, start_ns,
			 start_ns - e->at_ns, im->waiting_bytes <= im->longest))
		return true;
	if (c->codel_ecn && e->ect) {
		im->stats.marked++;
		e->mark = true;
		return true;
	}
	drop(im, e->frame, &im->stats.dropped_codel);
	return false;
}

/* Its turn has come. */
static void enter(struct impair *im, uint64_t start_ns, struct impair_entry *e)
{
	if (!passes_codel(im, start_ns, e))
		return;
	transmit(im, start_ns, e->len);
	line_in(im, im->departed_ns, e);
}

static void serve_waiting(struct impair *im, uint64_t now_ns)
{
	const struct impair_entry *first;

	while ((first = impair_ring_first(&im->waiting))) {
		struct impair_entry e = *first;
		uint64_t start_ns = max(e.at_ns, im->departed_ns);

		if (start_ns > now_ns && start_ns - now_ns > im->near_ns)
			return;
		impair_ring_pop(&im->waiting);
		im->waiting_bytes -= e.len;
		enter(im, start_ns, &e);
	}
}

/* Is the rate free, or as good as that? */
static inline bool is_free(const struct impair *im, uint64_t now_ns)
{
	return im->departed_ns <= now_ns || im->departed_ns - now_ns <= im->near_ns;
}

/* Let those into the rate whose turn has come. */
static inline void serve(struct impair *im, uint64_t now_ns)
{
	if (im->waiting.n > 0 && is_free(im, now_ns))
		serve_waiting(im, now_ns);
}

/* How long a frame that comes now would have to wait for the rate. */
static uint64_t wait_ns(const struct impair *im, uint64_t now_ns)
{
	uint64_t fraction = 0;

	return (im->departed_ns > now_ns ? im->departed_ns - now_ns : 0) +
	       duration(&im->config, min(im->waiting_bytes, DURATION_MAX), &fraction);
}

static bool has_room(const struct impair *im, uint64_t now_ns, unsigned n, uint32_t len)
{
	const struct impair_config *c = &im->config;

	if (c->rate_bps == 0 || is_free(im, now_ns))
		return true;
	return (c->limit_packets == 0 || im->waiting.n + n <= c->limit_packets) &&
	       (c->limit_bytes == 0 || im->waiting_bytes + (uint64_t)n * len <= c->limit_bytes) &&
	       (c->limit_ns == 0 || wait_ns(im, now_ns) <= c->limit_ns);
}

/* ---- frames in ---- */

static bool holds(const struct impair *im)
{
	return im->waiting.n != 0 || impair_due_count(&im->line) != 0;
}

static bool has_time(const struct impair_config *c)
{
	return c->delay_ns != 0 || c->jitter_ns != 0 || c->rate_bps != 0 || c->slot;
}

/* Nothing is in its way, and the bucket lets it pass, or it has passed soon: it need not be kept. */
static bool passes_at_once(struct impair *im, uint64_t now_ns, uint32_t len)
{
	uint64_t fraction = im->fraction, soon_ns = im->burst_ns + im->near_ns;

	return soon_ns != 0 && im->rate_alone && !holds(im) &&
	       max(im->free_ns, now_ns) + frame_duration(im, len, &fraction) <= now_ns + soon_ns;
}

unsigned impair_straight(struct impair *im, uint64_t now_ns, const uint32_t *len, unsigned n)
{
	uint64_t bytes = 0;
	unsigned went = 0;

	if (holds(im))
		return 0;
	for (; went < n && passes_at_once(im, now_ns, len[went]); went++) {
		transmit(im, max(now_ns, im->departed_ns), len[went]);
		im->longest = max(im->longest, len[went]);
		bytes += len[went];
	}
	im->stats.in_frames += went;
	im->stats.in_bytes += bytes;
	im->stats.out_frames += went;
	im->stats.out_bytes += bytes;
	return went;
}

void impair_judge(struct impair *im, uint64_t now_ns, uint32_t len, bool ect,
		  struct impair_verdict *ret)
{
	im->stats.in_frames++;
	im->stats.in_bytes += len;
	*ret = (struct impair_verdict){ .copies = 1 };
	if (im->draws)
		draw_fate(im, now_ns, len, ect, ret);
	if (im->config.rate_bps != 0) {
		im->longest = max(im->longest, len);
		serve(im, now_ns);
		/* The second copy finds the first in its way, or both find room. */
		while (ret->copies != 0 && !has_room(im, now_ns, ret->copies, len)) {
			im->stats.dropped_limit++;
			ret->copies--;
		}
		ret->straight = ret->copies == 1 && passes_at_once(im, now_ns, len);
		if (ret->straight)
			transmit(im, max(now_ns, im->departed_ns), len);
	} else if (!has_time(&im->config) && !holds(im)) {
		ret->straight = true;
	}
}

void impair_push(struct impair *im, uint64_t now_ns, void *frame, uint32_t len, bool ect)
{
	struct impair_entry e = { .at_ns = now_ns, .frame = frame, .len = len, .ect = ect };

	if (im->config.rate_bps == 0) {
		line_in(im, now_ns, &e);
		return;
	}
	serve(im, now_ns);
	if (im->waiting.n == 0 && is_free(im, now_ns))
		enter(im, max(now_ns, im->departed_ns), &e);
	else if (impair_ring_push(&im->waiting, &e) < 0)
		drop(im, frame, &im->stats.dropped_memory);
	else
		im->waiting_bytes += len;
}

void impair_push_straight(struct impair *im, uint64_t now_ns, void *frame, uint32_t len)
{
	line_in(im, now_ns, &(struct impair_entry){ .frame = frame, .len = len });
}

static void came(struct impair *im, const uint32_t *len, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		im->stats.in_bytes += len[i];
	im->stats.in_frames += n;
}

/* All have the same delay, and are due together. */
static void hold_steady(struct impair *im, uint64_t now_ns, void *const *frame, const uint32_t *len,
			unsigned n)
{
	uint64_t at_ns = now_ns + im->config.delay_ns, bytes = 0;

	if (im->config.keep_order)
		at_ns = max(at_ns, im->last_due_ns);
	im->last_due_ns = max(at_ns, im->last_due_ns);
	if (impair_due_push_together(&im->line, at_ns, frame, len, n) < 0) {
		for (unsigned i = 0; i < n; i++)
			drop(im, frame[i], &im->stats.dropped_memory);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		bytes += len[i];
	im->line_bytes += bytes;
}

void impair_hold(struct impair *im, uint64_t now_ns, void *const *frame, const uint32_t *len,
		 unsigned n)
{
	came(im, len, n);
	if (likely(im->steady)) {
		hold_steady(im, now_ns, frame, len, n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		line_in(im, now_ns, &(struct impair_entry){ .frame = frame[i], .len = len[i] });
}

void impair_hold_failed(struct impair *im, uint32_t len)
{
	came(im, &len, 1);
	im->stats.dropped_memory++;
}

void impair_went(struct impair *im, uint32_t len)
{
	im->stats.out_frames++;
	im->stats.out_bytes += len;
}

void impair_push_failed(struct impair *im)
{
	im->stats.dropped_memory++;
}

/* ---- frames out ---- */

static void slot_open(struct impair *im)
{
	const struct impair_config *c = &im->config;
	uint64_t interval = c->slot_min_ns;

	if (c->slot_delay_ns != 0)
		interval = spread(im, IMPAIR_CHANCE_SLOT, &im->slot_series, c->slot_distribution,
				  c->slot_delay_ns, c->slot_jitter_ns, 0);
	else if (c->slot_max_ns > c->slot_min_ns)
		interval += chance_below(&im->chance[IMPAIR_CHANCE_SLOT],
					 c->slot_max_ns - c->slot_min_ns + 1);
	im->slot_ns += max(interval, UINT64_C(1));
	im->slot_packets = c->slot_packets ? c->slot_packets : UINT64_MAX;
	im->slot_bytes = c->slot_bytes ? c->slot_bytes : UINT64_MAX;
}

/* When the medium takes a frame that is due at due_ns. */
static uint64_t slot_for(struct impair *im, uint64_t due_ns)
{
	for (unsigned i = 0; im->slot_ns < due_ns; i++) {
		if (i == SLOT_STEPS)
			im->slot_ns = due_ns;
		slot_open(im);
	}
	return im->slot_ns;
}

static void slot_use(struct impair *im, uint32_t len)
{
	im->slot_packets--;
	im->slot_bytes -= min(im->slot_bytes, (uint64_t)len);
	if (im->slot_packets == 0 || im->slot_bytes == 0)
		slot_open(im);
}

/* Those of a ring, and nothing else to look at. */
static unsigned take_in_order(struct impair *im, uint64_t now_ns, struct impair_out *ret,
			      unsigned n)
{
	struct impair_ring *r = &im->line.ring;
	uint64_t bytes = 0;
	unsigned got = 0;

	n = min(n, r->n);
	for (; got < n; got++) {
		const struct impair_entry *e = &r->entry[(r->head + got) & (r->size - 1)];

		if (e->at_ns > now_ns)
			break;
		bytes += e->len;
		ret[got] = (struct impair_out){ .frame = e->frame,
						.at_ns = e->at_ns,
						.mark = e->mark };
	}
	r->head += got;
	r->n -= got;
	im->line_bytes -= bytes;
	im->stats.out_frames += got;
	im->stats.out_bytes += bytes;
	return got;
}

static unsigned take_any(struct impair *im, uint64_t now_ns, struct impair_out *ret, unsigned n)
{
	const struct impair_entry *first;
	struct impair_entry e;
	unsigned got = 0;

	while (got < n && (first = impair_due_first(&im->line)) && first->at_ns <= now_ns) {
		uint64_t at_ns = first->at_ns;

		if (im->config.slot && (at_ns = slot_for(im, at_ns)) > now_ns)
			break;
		impair_due_pop(&im->line, &e);
		if (im->config.slot)
			slot_use(im, e.len);
		im->line_bytes -= e.len;
		im->stats.out_frames++;
		im->stats.out_bytes += e.len;
		ret[got++] =
			(struct impair_out){ .frame = e.frame, .at_ns = at_ns, .mark = e.mark };
	}
	return got;
}

unsigned impair_take(struct impair *im, uint64_t now_ns, struct impair_out *ret, unsigned n)
{
	serve(im, now_ns);
	if (likely(im->line.n_heap == 0 && !im->config.slot))
		return take_in_order(im, now_ns, ret, n);
	return take_any(im, now_ns, ret, n);
}

/* When the first of those that wait will have crossed the rate. */
static uint64_t next_departure(const struct impair *im, const struct impair_entry *first)
{
	uint64_t start_ns = max(first->at_ns, im->departed_ns), fraction = 0;
	uint64_t takes_ns =
		im->last.len == first->len ?
			im->last.ns :
			duration(&im->config, size_on_link(&im->config, first->len), &fraction);
	uint64_t free_ns = max(im->free_ns, start_ns) + takes_ns;

	return max(start_ns, free_ns - min(im->burst_ns, free_ns));
}

uint64_t impair_next(const struct impair *im)
{
	const struct impair_config *c = &im->config;
	const struct impair_entry *waits = impair_ring_first(&im->waiting);
	const struct impair_entry *first = impair_due_first(&im->line);
	uint64_t next_ns = IMPAIR_NEVER;

	if (first)
		next_ns = c->slot ? max(first->at_ns, im->slot_ns) : first->at_ns;
	if (waits) {
		next_ns = min(next_ns, next_departure(im, waits) + (im->steady ? c->delay_ns : 0));
	}
	return next_ns;
}

void impair_held(const struct impair *im, uint64_t *ret_frames, uint64_t *ret_bytes)
{
	*ret_frames = im->waiting.n + impair_due_count(&im->line);
	*ret_bytes = im->waiting_bytes + im->line_bytes;
}

void impair_drop_held(struct impair *im)
{
	struct impair_entry *first, e;

	while ((first = impair_ring_first(&im->waiting))) {
		void *frame = first->frame;

		impair_ring_pop(&im->waiting);
		drop(im, frame, &im->stats.dropped_reset);
	}
	while (impair_due_first(&im->line)) {
		impair_due_pop(&im->line, &e);
		drop(im, e.frame, &im->stats.dropped_reset);
	}
	im->waiting_bytes = im->line_bytes = 0;
	im->free_ns = im->departed_ns = im->last_due_ns = 0;
}

void impair_done(struct impair *im)
{
	impair_drop_held(im);
	impair_ring_done(&im->waiting);
	impair_due_done(&im->line);
}

/* ---- settings ---- */

static void seed(struct impair *im)
{
	for (unsigned i = 0; i < IMPAIR_N_CHANCES; i++)
		chance_seed(&im->chance[i], im->config.seed, i + im->salt * IMPAIR_N_CHANCES);
	im->delay_series.any = im->slot_series.any = false;
	im->state = 0;
	im->since_reorder = 0;
}

static void set_rate(struct impair *im)
{
	const struct impair_config *c = &im->config;
	uint64_t fraction = 0;

	im->burst_ns = c->rate_bps ? duration(c, c->burst_bytes, &fraction) : 0;
	im->fraction = 0;
	/* A bucket that was in use is empty; one that was full is full. */
	im->free_ns = im->departed_ns + (im->free_ns > im->departed_ns ? im->burst_ns : 0);
}

static bool same_flap(const struct impair_config *a, const struct impair_config *b)
{
	return a->flap == b->flap && a->flap_up_ns == b->flap_up_ns &&
	       a->flap_down_ns == b->flap_down_ns;
}

void impair_set(struct impair *im, const struct impair_config *config, uint64_t now_ns, bool reseed)
{
	const struct impair_config old = im->config;
	bool model = old.gemodel != config->gemodel || old.markov != config->markov;

	dist_init();
	/* Those that wait leave by the rate and the delay that they found. */
	serve(im, UINT64_MAX);
	im->config = *config;
	im->idle = impair_config_idle(config);
	im->draws = config->loss > 0 || config->gemodel || config->markov ||
		    config->duplicate > 0 || config->corrupt > 0 || config->flap;
	im->steady = config->jitter_ns == 0 && config->reorder <= 0 && config->gap == 0;
	im->rate_alone = config->rate_bps != 0 && config->delay_ns == 0 && config->jitter_ns == 0 &&
			 !config->slot;
	im->holds_all = !im->draws && config->rate_bps == 0 && has_time(config);
	im->last.len = LAST_NONE;
	if (old.rate_bps != config->rate_bps || old.burst_bytes != config->burst_bytes)
		set_rate(im);
	if (!same_flap(&old, config))
		im->flap_from_ns = now_ns;
	if (!config->codel)
		im->codel = (struct codel){ 0 };
	if (model)
		im->state = 0;
	if (reseed || old.seed != config->seed)
		seed(im);
	if (config->slot && !old.slot) {
		im->slot_ns = now_ns;
		slot_open(im);
	}
}
