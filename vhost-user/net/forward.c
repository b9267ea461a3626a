/* SPDX-License-Identifier: MIT */
/* A burst's way through the switch: switch.h says what, stage.h in which order. */
#include <assert.h>
#include <string.h>

#include "base.h"
#include "frame.h"
#include "switch.h"

/* No address has this key, so it starts a memo that matches nothing. */
#define KEY_NONE UINT64_MAX

#define KEY_GROUP BIT_ULL(40) /* the I/G bit of an address's first byte */
#define KEY_MAC   (BIT_ULL(48) - 1)

/* What the rest of the switch looks at. */
static inline void read_head(struct sw_frame *f)
{
	if (likely(f->iov[0].iov_len >= SW_HEAD_LEN))
		memcpy(f->head, f->iov[0].iov_base, SW_HEAD_LEN);
	else
		frame_copy_pieces(f, 0, SW_HEAD_LEN, f->head);
	f->head_len = f->skip = SW_HEAD_LEN;
	f->vid = 0;
}

static inline struct sw_worker *worker_of(const struct sw *sw)
{
	return &sw->worker[sw_thread];
}

/* ---- handing over to the main thread -------------------------------------------------------------- */

/* Which way a buffer goes that was handed over (sw_buf.at_ns). */
enum { GOING_IN, GOING_OUT };

/* `in` is the worker's own port, and bears the loss. */
static void hand_over(struct sw_port *in, struct sw_port *port, unsigned way,
		      struct sw_frame *const *frame, unsigned n)
{
	struct sw_handoff *h = &in->sw->handoff;
	unsigned done = 0;

	pthread_mutex_lock(&h->lock);
	for (; done < n && h->n < SW_HANDOFF_MAX; done++) {
		struct sw_buf *b = sw_buf_of(&in->sw->bufs, frame[done]);

		if (!b)
			break;
		b->port = port;
		b->at_ns = way;
		b->next = NULL;
		*h->last = b;
		h->last = &b->next;
		h->n++;
	}
	pthread_mutex_unlock(&h->lock);
	in->stats.ingress_drop_busy += n - done;
	in->sw->wake(in->sw);
}

/* May a worker deliver to this port? */
static inline bool is_open_to_workers(const struct sw_port *out)
{
	return out->ops->threads && !out->egress && !out->tap && out->n_mirror_out == 0;
}

/* ---- delivery ----------------------------------------------------------------------------------- */

/* The edge of the port, on the way out. */
static void leave(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	if (unlikely(out->tap))
		out->tap->ops->see(out->tap, out, SW_EGRESS, frame, n);
	histogram_add(&out->histograms.egress_burst, n);
	out->ops->egress(out, frame, n);
}

static void leave_lowered(void *arg, struct sw_frame *const *frame, unsigned n)
{
	leave(arg, frame, n);
}

/* Make of the frames what `out` can take. */
static void lower(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	uint32_t offloads = out->no_offloads ? 0 : out->offloads;

	if (unlikely(out->down)) {
		out->stats.egress_drop_link += n;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		if (!offload_fits(frame[i], offloads)) {
			out->stats.egress_drop_offload +=
				offload_lower(&worker_of(out->sw)->offload, frame, n, offloads,
					      leave_lowered, out);
			return;
		}
	leave(out, frame, n);
}

static void lower_locked(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	pthread_mutex_lock(&out->lock);
	lower(out, frame, n);
	pthread_mutex_unlock(&out->lock);
}

static void through_stage(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	if (unlikely(out->egress))
		out->egress->ops->burst(out->egress, out, frame, n);
	else if (unlikely(out->sw->threads))
		lower_locked(out, frame, n);
	else
		lower(out, frame, n);
}

static void show(struct sw_port *p, bool came_in, struct sw_frame *const *frame, unsigned n)
{
	for (struct sw_mirror *m = p->sw->mirrors; m; m = m->next) {
		if (came_in ? !m->in : !m->out)
			continue;
		for (unsigned i = 0; i < m->n_from; i++)
			if (m->from[i] == p) {
				m->to->stats.egress_mirrored += n;
				through_stage(m->to, frame, n);
			}
	}
}

/* Is there nothing between a frame that asks for nothing and the port's edge? */
static inline bool takes_all(const struct sw_port *out)
{
	return !(out->down || out->egress || out->tap || out->n_mirror_out > 0);
}

static inline void leave_at_once(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	if (unlikely(out->sw->threads))
		pthread_mutex_lock(&out->lock);
	histogram_add(&out->histograms.egress_burst, n);
	out->ops->egress(out, frame, n);
	if (unlikely(out->sw->threads))
		pthread_mutex_unlock(&out->lock);
}

static void forward_out(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	if (unlikely(out->n_mirror_out > 0))
		show(out, false, frame, n);
	through_stage(out, frame, n);
}

void sw_between_done(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	forward_out(out, frame, n);
}

void sw_stage_egress_done(struct sw_port *out, struct sw_frame *const *frame, unsigned n)
{
	lower(out, frame, n);
}

/* ---- where to ----------------------------------------------------------------------------------- */

/* What one burst remembers.  Neighbouring frames mostly belong to one flow, so the last answer of
 * the FDB is kept and asked first. */
struct burst {
	struct sw *sw;
	struct sw_worker *w;
	struct sw_port *in;
	uint64_t src, dst;
	bool src_good;
	struct sw_port *out;    /* of `dst`; NULL: flood */
	struct sw_batch *batch; /* of `out` */
	uint32_t n_touched;
	uint64_t generation;
	uint8_t asks; /* VIRTIO_NET_HDR_F_ of all frames */
	/* For what is not plain forwarding. */
	unsigned index;      /* of the frame at hand */
	uint64_t other_made; /* of which frames w->other was made, a bit each */
	uint64_t now_ns;     /* where the port has a storm limit */
};

static inline void batch_put(struct burst *b, struct sw_batch *batch, struct sw_port *out,
			     struct sw_frame *f)
{
	if (batch->n == 0)
		b->w->touched[b->n_touched++] = out;
	batch->frame[batch->n++] = f;
}

static void batch_add(struct burst *b, struct sw_port *out, struct sw_frame *f)
{
	batch_put(b, &b->w->batch[out->id], out, f);
}

static inline void set_out(struct burst *b, struct sw_port *out)
{
	b->out = out;
	b->batch = out ? &b->w->batch[out->id] : NULL;
}

static void fdb_lock(struct sw *sw)
{
	if (unlikely(sw->threads))
		pthread_mutex_lock(&sw->fdb_lock);
}

static void fdb_unlock(struct sw *sw)
{
	if (unlikely(sw->threads))
		pthread_mutex_unlock(&sw->fdb_lock);
}

static void learn(struct burst *b, uint64_t src)
{
	struct sw_port *in = b->in;
	enum fdb_event event;

	b->src = src;
	b->src_good = (src & KEY_MAC) != 0 && !(src & KEY_GROUP);
	if (!b->src_good)
		return;

	fdb_lock(b->sw);
	event = fdb_learn(&b->sw->fdb, src, in->id, b->sw->now_s);
	fdb_unlock(b->sw);
	b->src_good = event != FDB_PINNED;
	if (event == FDB_KNOWN || event == FDB_PINNED)
		return;
	in->stats.fdb_learned += event != FDB_MOVED;
	in->stats.fdb_moved += event == FDB_MOVED;
	in->stats.fdb_evicted += event == FDB_EVICTED;
	b->dst = KEY_NONE; /* what was remembered may have changed */
}

static void drop_source(struct burst *b)
{
	bool nobody = (b->src & KEY_MAC) == 0 || (b->src & KEY_GROUP);

	b->in->stats.ingress_drop_source += nobody;
	b->in->stats.ingress_drop_pinned += !nobody;
}

static void look_up(struct burst *b, uint64_t dst)
{
	uint32_t id = FDB_NONE;

	if (!(dst & KEY_GROUP)) {
		fdb_lock(b->sw);
		id = fdb_lookup(&b->sw->fdb, dst);
		fdb_unlock(b->sw);
	}
	b->dst = dst;
	set_out(b, id == FDB_NONE ? NULL : b->sw->port[id]);
}

/* Nothing in the switch asks for more than addresses. */
static void flood(struct burst *b, struct sw_frame *f)
{
	b->in->stats.ingress_flooded++;
	for (uint32_t i = 0; i < b->sw->n_up; i++)
		if (b->sw->up[i] != b->in)
			batch_add(b, b->sw->up[i], f);
}

static inline void classify(struct burst *b, struct sw_frame *f)
{
	uint64_t dst = fdb_key(f->head), src = fdb_key(f->head + 6);

	if (unlikely(src != b->src))
		learn(b, src);
	if (unlikely(!b->src_good)) {
		drop_source(b);
		return;
	}
	if (unlikely(dst != b->dst))
		look_up(b, dst);

	if (unlikely(!b->out))
		flood(b, f);
	else if (unlikely(b->out == b->in))
		b->in->stats.ingress_drop_local++;
	else
		batch_put(b, b->batch, b->out, f);
}

/* ---- where to, with all that ports can be set to ------------------------------------------------- */

/* The frame with or without the tag of its VLAN. */
static struct sw_frame *in_form(struct burst *b, struct sw_frame *f, bool tagged)
{
	struct sw_frame *other = &b->w->other[b->index];

	if (f->vid == 0 || vlan_has_tag(f) == tagged)
		return f;
	if (!(b->other_made & BIT_ULL(b->index))) {
		b->other_made |= BIT_ULL(b->index);
		*other = *f;
		vlan_set_tag(other, tagged);
	}
	return other;
}

/* `out` may have this frame: in its form there, if the rules let it. */
static void admit(struct burst *b, struct sw_port *out, struct sw_frame *f)
{
	struct sw_between *between = b->sw->between;

	f = in_form(b, f, vlan_tagged(&out->vlan, f->vid));
	if (!between || between->ops->pass(between, b->in, out, f))
		batch_add(b, out, f);
}

static void flood_some(struct burst *b, struct sw_frame *f)
{
	b->in->stats.ingress_flooded++;
	for (uint32_t i = 0; i < b->sw->n_up; i++) {
		struct sw_port *out = b->sw->up[i];

		if (out != b->in && !(b->in->isolated && out->isolated) &&
		    vlan_takes(&out->vlan, f))
			admit(b, out, f);
	}
}

/* A group address, within the storm limit. */
static bool group_passes(struct burst *b, uint64_t mac)
{
	bool broadcast = mac == KEY_MAC;

	if (!b->in->storm.on ||
	    storm_pass(&b->in->storm, broadcast ? STORM_BROADCAST : STORM_MULTICAST, b->now_ns))
		return true;
	b->in->stats.ingress_drop_broadcast += broadcast;
	b->in->stats.ingress_drop_multicast += !broadcast;
	return false;
}

static void to_unknown(struct burst *b, struct sw_frame *f)
{
	if (b->in->storm.on && !storm_pass(&b->in->storm, STORM_UNKNOWN, b->now_ns))
		b->in->stats.ingress_drop_unknown++;
	else
		flood_some(b, f);
}

static void to_station(struct burst *b, struct sw_frame *f)
{
	struct sw_port *out = b->out;

	if (out == b->in)
		b->in->stats.ingress_drop_local++;
	else if (b->in->isolated && out->isolated)
		b->in->stats.ingress_drop_isolated++;
	else if (!vlan_takes(&out->vlan, f))
		b->in->stats.ingress_drop_vlan++;
	else
		admit(b, out, f);
}

/* May it be given a tag, and still be no longer than a frame can be? */
static bool has_room_for_tag(const struct sw_frame *f)
{
	return f->vid == 0 || vlan_has_tag(f) ||
	       f->len <= SW_FRAME_MAX - (SW_HEAD_LEN_MAX - SW_HEAD_LEN);
}

static void classify_all(struct burst *b, struct sw_frame *f)
{
	uint64_t dst, src;

	if (b->sw->n_vlan > 0 && !vlan_ingress(&b->in->vlan, f)) {
		b->in->stats.ingress_drop_vlan++;
		return;
	}
	if (!has_room_for_tag(f)) {
		b->in->stats.ingress_drop_long++;
		return;
	}
	dst = fdb_key(f->head) | fdb_key_vlan(f->vid);
	src = fdb_key(f->head + 6) | fdb_key_vlan(f->vid);
	if (dst & KEY_GROUP && !group_passes(b, dst & KEY_MAC))
		return;
	if (src != b->src)
		learn(b, src);
	if (!b->src_good) {
		drop_source(b);
		return;
	}
	if (dst != b->dst)
		look_up(b, dst);
	if (b->out)
		to_station(b, f);
	else if (dst & KEY_GROUP)
		flood_some(b, f);
	else
		to_unknown(b, f);
}

/* ---- bursts ------------------------------------------------------------------------------------- */

static inline void burst_begin(struct burst *b, struct sw_port *in)
{
	b->sw = in->sw;
	b->w = worker_of(in->sw);
	b->in = in;
	b->n_touched = 0;
	b->generation = fdb_generation(&in->sw->fdb);
	if (likely(in->memo.generation == b->generation && in->memo.now_s == in->sw->now_s)) {
		b->src = in->memo.src;
		b->dst = in->memo.dst;
		set_out(b, in->memo.out);
		b->src_good = true;
	} else {
		b->src = b->dst = KEY_NONE;
		b->src_good = false;
		set_out(b, NULL);
	}
}

static inline void remember(struct burst *b)
{
	if (unlikely(!b->src_good))
		return;
	b->in->memo.src = b->src;
	b->in->memo.dst = b->dst;
	b->in->memo.out = b->out;
	b->in->memo.generation = b->generation;
	b->in->memo.now_s = b->sw->now_s;
}

static inline void burst_end(struct burst *b)
{
	remember(b);
	for (uint32_t i = 0; i < b->n_touched; i++) {
		struct sw_port *out = b->w->touched[i];
		struct sw_batch *batch = &b->w->batch[out->id];

		if (unlikely(sw_thread != 0) && !is_open_to_workers(out))
			hand_over(b->in, out, GOING_OUT, batch->frame, batch->n);
		else if (likely(b->asks == 0 && takes_all(out)))
			leave_at_once(out, batch->frame, batch->n);
		else
			forward_out(out, batch->frame, batch->n);
		batch->n = 0;
	}
}

/* Frames behind the ingress stage, with their heads read. */
static void forward_all(struct sw_port *in, struct sw_frame *const *frame, unsigned n)
{
	struct burst b;

	if (in->n_mirror_in > 0)
		show(in, true, frame, n);
	burst_begin(&b, in);
	b.asks = UINT8_MAX; /* whatever it is */
	b.other_made = 0;
	b.now_ns = in->storm.on ? in->sw->clock_ns() : 0;
	for (b.index = 0; b.index < n; b.index++)
		classify_all(&b, frame[b.index]);
	burst_end(&b);
}

/* The same where nothing asks for more than addresses: then nobody changes a frame. */
static void forward_plain(struct sw_port *in, struct sw_frame *const *frame, unsigned n)
{
	struct burst b;

	burst_begin(&b, in);
	b.asks = 0;
	for (unsigned i = 0; i < n; i++) {
		b.asks |= frame[i]->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
		classify(&b, frame[i]);
	}
	burst_end(&b);
}

/* Does anything behind the port's edge ask for more than addresses? */
static inline bool is_plain_inside(const struct sw_port *in)
{
	const struct sw *sw = in->sw;

	return !(in->isolated || in->storm.on || in->n_mirror_in > 0 || sw->between ||
		 sw->n_vlan > 0);
}

/* What comes from a stage may come twice, and others may have it as well: what may be changed is worked on in a copy. */
void sw_stage_ingress_done(struct sw_port *in, struct sw_frame *const *frame, unsigned n)
{
	struct sw_frame *again = worker_of(in->sw)->again, *list[SW_BURST];

	assert(n <= SW_BURST);
	if (likely(is_plain_inside(in))) {
		forward_plain(in, frame, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		again[i] = *frame[i];
		read_head(&again[i]);
		list[i] = &again[i];
	}
	forward_all(in, list, n);
}

static inline bool take(struct sw_port *in, struct sw_frame *f)
{
	if (unlikely(f->len < SW_HEAD_LEN)) {
		in->stats.ingress_drop_short++;
		return false;
	}
	if (unlikely(f->len > SW_FRAME_MAX)) {
		in->stats.ingress_drop_long++;
		return false;
	}
	read_head(f);
	return true;
}

/* What asks for it is the main thread's: it keeps frames, sets timers, and knows no locks. */
static bool is_main_threads(const struct sw_port *in)
{
	return in->tap || in->ingress || in->n_mirror_in > 0 || in->sw->between;
}

/* True: nobody holds the frames up. */
static bool pass_edge(struct sw_port *in, struct sw_frame *const *frame, unsigned n)
{
	if (in->tap)
		in->tap->ops->see(in->tap, in, SW_INGRESS, frame, n);
	if (!in->ingress)
		return true;
	in->ingress->ops->burst(in->ingress, in, frame, n);
	return false;
}

static void input_all(struct sw_port *in, struct sw_frame *frame, unsigned n)
{
	struct sw_frame *list[SW_BURST];
	unsigned n_list = 0;

	for (unsigned i = 0; i < n; i++) {
		in->stats.ingress_bytes += frame[i].len;
		if (take(in, &frame[i]))
			list[n_list++] = &frame[i];
	}
	if (n_list == 0)
		return;
	if (in->down)
		in->stats.ingress_drop_link += n_list;
	else if (sw_thread != 0 && is_main_threads(in))
		hand_over(in, in, GOING_IN, list, n_list);
	else if (pass_edge(in, list, n_list))
		forward_all(in, list, n_list);
}

static void resume(struct sw_port *p, unsigned way, struct sw_frame *const *frame, unsigned n)
{
	if (way == GOING_OUT)
		forward_out(p, frame, n);
	else if (p->down)
		p->stats.ingress_drop_link += n;
	else if (pass_edge(p, frame, n))
		sw_stage_ingress_done(p, frame, n);
}

/* In bursts of what goes the same way at the same port. */
void sw_handoff_run(struct sw *sw)
{
	struct sw_handoff *h = &sw->handoff;
	struct sw_frame *frame[SW_BURST];
	struct sw_buf *b;

	while ((b = h->first)) {
		struct sw_port *p = b->port;
		uint64_t way = b->at_ns;
		unsigned n = 0;

		for (; b && n < SW_BURST && b->port == p && b->at_ns == way; b = b->next)
			frame[n++] = sw_buf_frame(b);
		h->first = b;
		h->n -= n;
		if (!b)
			h->last = &h->first;
		resume(p, (unsigned)way, frame, n);
		for (unsigned i = 0; i < n; i++)
			sw_buf_unref(frame[i]->buf);
	}
}

static void input_plain(struct sw_port *in, struct sw_frame *frame, unsigned n)
{
	uint64_t bytes = 0;
	struct burst b;

	burst_begin(&b, in);
	b.asks = 0;
	for (unsigned i = 0; i < n; i++) {
		struct sw_frame *f = &frame[i];

		bytes += f->len;
		if (unlikely(!take(in, f)))
			continue;
		b.asks |= f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
		classify(&b, f);
	}
	in->stats.ingress_bytes += bytes;
	burst_end(&b);
}

/* Does anything about the port or the switch? */
static inline bool is_plain(const struct sw_port *in)
{
	return !(in->tap || in->ingress || in->down) && is_plain_inside(in);
}

void sw_input(struct sw_port *in, struct sw_frame *frame, unsigned n)
{
	assert(n <= SW_BURST);
	in->stats.ingress_frames += n;
	if (likely(n > 0))
		histogram_add(&in->histograms.ingress_burst, n);
	if (likely(is_plain(in)))
		input_plain(in, frame, n);
	else
		input_all(in, frame, n);
}
