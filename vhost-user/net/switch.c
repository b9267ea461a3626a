/* SPDX-License-Identifier: MIT */
#include "switch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "frame.h"

/* No address has this key, so it starts a memo that matches nothing. */
#define KEY_NONE UINT64_MAX

#define KEY_GROUP BIT_ULL(40) /* the I/G bit of an address's first byte */

static inline void read_head(struct sw_frame *f)
{
	if (likely(f->iov[0].iov_len >= SW_HEAD_LEN))
		memcpy(f->head, f->iov[0].iov_base, SW_HEAD_LEN);
	else
		frame_copy_pieces(f, 0, SW_HEAD_LEN, f->head);
	f->head_len = f->skip = SW_HEAD_LEN;
	f->vid = 0;
}

/* What one burst remembers.  Neighbouring frames mostly belong to one flow, so the last answer of
 * the FDB is kept and asked first. */
struct burst {
	struct sw *sw;
	struct sw_port *in;
	uint64_t src, dst;
	bool src_good;
	struct sw_port *out; /* of `dst`; NULL: flood */
	uint32_t n_touched;
};

static inline void batch_add(struct burst *b, struct sw_port *out, struct sw_frame *f)
{
	if (out->n_batch == 0)
		b->sw->touched[b->n_touched++] = out;
	out->batch[out->n_batch++] = f;
}

static void flood(struct burst *b, struct sw_frame *f)
{
	b->in->stats.ingress_flooded++;
	for (uint32_t i = 0; i < b->sw->n_up; i++)
		if (b->sw->up[i] != b->in)
			batch_add(b, b->sw->up[i], f);
}

static void learn(struct burst *b, uint64_t src)
{
	struct sw_port *in = b->in;
	enum fdb_event event;

	b->src = src;
	b->src_good = src != 0 && !(src & KEY_GROUP);
	if (!b->src_good)
		return;

	event = fdb_learn(&b->sw->fdb, src, in->id, b->sw->now_s);
	if (event == FDB_KNOWN)
		return;
	in->stats.fdb_learned += event != FDB_MOVED;
	in->stats.fdb_moved += event == FDB_MOVED;
	in->stats.fdb_evicted += event == FDB_EVICTED;
	b->dst = KEY_NONE; /* what was remembered may have changed */
}

static void look_up(struct burst *b, uint64_t dst)
{
	uint32_t id = dst & KEY_GROUP ? FDB_NONE : fdb_lookup(&b->sw->fdb, dst);

	b->dst = dst;
	b->out = id == FDB_NONE ? NULL : b->sw->port[id];
}

static inline void classify(struct burst *b, struct sw_frame *f)
{
	uint64_t dst = fdb_key(f->head), src = fdb_key(f->head + 6);

	if (unlikely(src != b->src))
		learn(b, src);
	if (unlikely(!b->src_good)) {
		b->in->stats.ingress_drop_source++;
		return;
	}
	if (unlikely(dst != b->dst))
		look_up(b, dst);

	if (unlikely(!b->out))
		flood(b, f);
	else if (unlikely(b->out == b->in))
		b->in->stats.ingress_drop_local++;
	else
		batch_add(b, b->out, f);
}

void sw_input(struct sw_port *in, struct sw_frame *frame, unsigned n)
{
	struct burst b = { .sw = in->sw, .in = in, .src = KEY_NONE, .dst = KEY_NONE };
	uint64_t bytes = 0;

	assert(n <= SW_BURST);
	for (unsigned i = 0; i < n; i++) {
		struct sw_frame *f = &frame[i];

		bytes += f->len;
		if (unlikely(f->len < SW_HEAD_LEN)) {
			in->stats.ingress_drop_short++;
		} else if (unlikely(f->len > SW_FRAME_MAX)) {
			in->stats.ingress_drop_long++;
		} else {
			read_head(f);
			classify(&b, f);
		}
	}
	in->stats.ingress_frames += n;
	in->stats.ingress_bytes += bytes;

	for (uint32_t i = 0; i < b.n_touched; i++) {
		struct sw_port *out = in->sw->touched[i];

		out->ops->egress(out, out->batch, out->n_batch);
		out->n_batch = 0;
	}
}

bool sw_tick(struct sw *sw, uint32_t now_s)
{
	sw->now_s = now_s;
	return fdb_expire(&sw->fdb, now_s, SW_EXPIRE_BUDGET) == SW_EXPIRE_BUDGET;
}

static int grow_array(struct sw_port ***array, uint32_t n)
{
	struct sw_port **bigger = reallocarray(*array, n, sizeof(struct sw_port *));

	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	return 0;
}

static int grow(struct sw *sw)
{
	uint32_t n = max(16u, 2 * sw->n_port);
	int r;

	if ((r = grow_array(&sw->port, n)) < 0 || (r = grow_array(&sw->up, n)) < 0 ||
	    (r = grow_array(&sw->touched, n)) < 0 || (r = fdb_port_room(&sw->fdb, n)) < 0)
		return r;
	memset(sw->port + sw->n_port, 0, (n - sw->n_port) * sizeof(struct sw_port *));
	sw->n_port = n;
	return 0;
}

int sw_attach(struct sw *sw, struct sw_port *p)
{
	uint32_t id = 0;
	int r;

	if (p->name[0] == '\0')
		return -EINVAL;
	if (sw_find(sw, p->name))
		return -EEXIST;

	while (id < sw->n_port && sw->port[id])
		id++;
	if (id == SW_PORTS_MAX)
		return -ENOSPC;
	if (id == sw->n_port) {
		r = grow(sw);
		if (r < 0)
			return r;
	}
	p->sw = sw;
	p->id = id;
	p->up = false;
	p->n_batch = 0;
	sw->port[id] = p;
	return 0;
}

void sw_detach(struct sw_port *p)
{
	if (!p->sw)
		return;
	sw_set_up(p, false);
	p->sw->port[p->id] = NULL;
	p->sw = NULL;
}

void sw_set_up(struct sw_port *p, bool up)
{
	struct sw *sw = p->sw;

	if (!up)
		fdb_flush_port(&sw->fdb, p->id); /* a port learns before it is up, too */
	if (p->up == up)
		return;

	p->up = up;
	if (up) {
		sw->up[sw->n_up++] = p;
		return;
	}
	for (uint32_t i = 0; i < sw->n_up; i++)
		if (sw->up[i] == p) {
			sw->up[i] = sw->up[--sw->n_up];
			break;
		}
}

struct sw_port *sw_find(const struct sw *sw, const char *name)
{
	for (uint32_t i = 0; i < sw->n_port; i++)
		if (sw->port[i] && strcmp(sw->port[i]->name, name) == 0)
			return sw->port[i];
	return NULL;
}

struct sw_port *sw_next(const struct sw *sw, const struct sw_port *after)
{
	for (uint32_t i = after ? after->id + 1 : 0; i < sw->n_port; i++)
		if (sw->port[i])
			return sw->port[i];
	return NULL;
}

int sw_init(struct sw *sw, const struct fdb_config *fdb, uint64_t seed)
{
	*sw = (struct sw){ 0 };
	return fdb_init(&sw->fdb, fdb, seed);
}

void sw_done(struct sw *sw)
{
	assert(!sw_next(sw, NULL));
	fdb_done(&sw->fdb);
	free(sw->port);
	free(sw->up);
	free(sw->touched);
	*sw = (struct sw){ 0 };
}
