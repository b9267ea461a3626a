/* SPDX-License-Identifier: MIT */
/* Leases: what each request does. */
#include <errno.h>
#include <string.h>

#include "base.h"
#include "leases_impl.h"
#include "log.h"

static uint64_t arg(const struct portal_frame *frame, unsigned i)
{
	return le64_get(frame->args[i]);
}

static void set(struct portal_frame *reply, unsigned i, uint64_t value)
{
	reply->args[i] = le64_of(value);
}

/* ---- HELLO ---- */

static void welcome(struct leases_conn *c, struct portal_frame *reply)
{
	const struct arena *a = c->leases->arena;

	set(reply, 0, c->lease->owner);
	set(reply, 1, a->generation);
	set(reply, 2, c->client->mode);
	set(reply, 3, c->client->quota);
	set(reply, 4, a->size);
	set(reply, 5, PORTAL_LABEL_SIZE);
	memcpy(reply->name, a->head.name, sizeof(a->head.name));
}

static int on_hello(struct leases_conn *c, const struct portal_frame *frame,
		    struct portal_frame *reply)
{
	char name[PORTAL_LABEL_MAX] = { 0 };
	uint64_t flags = arg(frame, 3);
	int r;

	set(reply, 0, PORTAL_WIRE_VERSION);
	if (arg(frame, 0) != PORTAL_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if (flags & ~(uint64_t)PORTAL_HELLO_FD || !leases_label_valid(frame->name))
		return -EINVAL;
	memcpy(name, frame->name, strnlen(frame->name, sizeof(name) - 1));
	r = lease_take(c->leases, c, arg(frame, 2), arg(frame, 1), name);
	if (r < 0) {
		c->leases->stats.refused++;
		return r;
	}
	leases_conn_welcome(c);
	c->wants_fd = flags & PORTAL_HELLO_FD;
	c->n_before_fd = c->n_out;
	c->tell_quiesce = !quiesce_running(&c->leases->quiesce);
	c->bell_all = arg(frame, 2) != 0; /* whatever rang while it was away */
	welcome(c, reply);
	return 0;
}

/* ---- extents ---- */

/* May this client change what is there? */
static int may_claim(const struct leases_conn *c)
{
	if (c->client->mode != PORTAL_READ_WRITE)
		return -EACCES;
	return quiesce_running(&c->leases->quiesce) ? 0 : -EAGAIN;
}

static int may_release(const struct leases_conn *c)
{
	if (c->client->mode != PORTAL_READ_WRITE)
		return -EACCES;
	return c->leases->quiesce.state == PORTAL_FROZEN ? -EAGAIN : 0;
}

static int on_extent_get(struct leases_conn *c, const struct portal_frame *frame,
			 struct portal_frame *reply)
{
	struct leases *l = c->leases;
	uint64_t n = arg(frame, 0), kind = arg(frame, 1);
	uint32_t first = 0;
	int r = may_claim(c);

	if (r < 0)
		return r;
	if (n == 0 || n > PORTAL_EXTENTS_MAX || kind > PORTAL_EXTENT_HUGE)
		return -EINVAL;
	if (n > leases_credit(c->client))
		return -EDQUOT;
	r = extents_get(&l->extents, c->lease->owner, (uint32_t)n, (enum portal_extent_kind)kind,
			&first);
	if (r < 0)
		return r;
	l->stats.grants++;
	leases_charge(l, c->client, first);
	lease_show(c->lease);
	leases_show(l);
	set(reply, 0, first);
	return 0;
}

static int on_extent_put(struct leases_conn *c, const struct portal_frame *frame,
			 struct portal_frame *reply)
{
	struct leases *l = c->leases;
	uint64_t first = arg(frame, 0), n = arg(frame, 1);
	int r = may_release(c);

	if (r < 0)
		return r;
	if (first > PORTAL_EXTENTS_MAX || n > PORTAL_EXTENTS_MAX)
		return -EINVAL;
	if (extents_hold(&l->extents, c->lease->owner, first * PORTAL_EXTENT, PORTAL_EXTENT) &&
	    names_within(&l->names, first * PORTAL_EXTENT, n * PORTAL_EXTENT))
		return -EBUSY;
	r = leases_give_back(l, c->lease->owner, (uint32_t)first, (uint32_t)n);
	if (r < 0)
		return r;
	l->stats.returned++;
	lease_show(c->lease);
	leases_show(l);
	return 0;
}

/* ---- names ---- */

static int on_publish(struct leases_conn *c, const struct portal_frame *frame,
		      struct portal_frame *reply)
{
	struct leases *l = c->leases;
	struct name entry = {
		.offset = arg(frame, 1),
		.len = arg(frame, 2),
		.owner = c->lease->owner,
	};
	uint32_t index = 0;
	int r = may_claim(c);

	if (r < 0)
		return r;
	if (arg(frame, 0) > UINT32_MAX || !names_valid(frame->name))
		return -EINVAL;
	entry.type = (uint32_t)arg(frame, 0);
	memcpy(entry.name, frame->name, sizeof(entry.name));
	if (!extents_hold(&l->extents, entry.owner, entry.offset, entry.len))
		return -EPERM;
	r = names_publish(&l->names, &entry, &index);
	if (r < 0)
		return r;
	l->stats.published++;
	leases_show(l);
	set(reply, 0, l->names.generation);
	set(reply, 1, index);
	leases_tell_name(l, index, l->names.generation, entry.name);
	return 0;
}

static int on_unpublish(struct leases_conn *c, const struct portal_frame *frame,
			struct portal_frame *reply)
{
	struct leases *l = c->leases;
	int i, r = may_release(c);

	if (r < 0)
		return r;
	if (!names_valid(frame->name))
		return -EINVAL;
	i = names_find(&l->names, frame->name);
	if (i < 0)
		return -ENOENT;
	if (l->names.entry[i].owner != c->lease->owner)
		return -EPERM;
	names_withdraw(&l->names, (uint32_t)i);
	l->stats.withdrawn++;
	leases_show(l);
	leases_tell_name(l, (uint32_t)i, 0, frame->name);
	return 0;
}

/* ---- bells ---- */

static int on_bell(struct leases_conn *c, const struct portal_frame *frame,
		   struct portal_frame *reply)
{
	struct leases *l = c->leases;
	uint64_t owner = arg(frame, 0);

	if (!leases_alive(l, owner) || !l->lease[portal_owner_id(owner)].conn)
		return -ESRCH;
	leases_conn_ring(l->lease[portal_owner_id(owner)].conn, c->lease->owner,
			 (uint32_t)arg(frame, 1));
	return 0;
}

/* ---- quiescence ---- */

/* 1: answered later. */
static int on_quiesce(struct leases_conn *c, const struct portal_frame *frame,
		      struct portal_frame *reply)
{
	struct leases *l = c->leases;
	uint64_t bits[PORTAL_LEASES / 64];
	int r;

	if (!c->client->may_quiesce)
		return -EACCES;
	if (!quiesce_running(&l->quiesce))
		return -EALREADY;
	leases_writers(l, lease_id(c->lease), bits);
	c->quiesce_seq = le32_get(frame->seq);
	c->quiesce_asked = true;
	r = quiesce_begin(&l->quiesce, lease_id(c->lease), bits, arg(frame, 0), arg(frame, 1));
	if (r < 0)
		return r;
	l->stats.quiesces++;
	return 1;
}

int leases_quiesce(struct leases *l, uint64_t deadline_ms, uint64_t hold_ms)
{
	uint64_t bits[PORTAL_LEASES / 64];
	int r;

	leases_writers(l, QUIESCE_NOBODY, bits);
	r = quiesce_begin(&l->quiesce, QUIESCE_NOBODY, bits, deadline_ms, hold_ms);
	l->stats.quiesces += r == 0;
	return r;
}

static int on_thaw(struct leases_conn *c, const struct portal_frame *frame,
		   struct portal_frame *reply)
{
	struct quiesce *q = &c->leases->quiesce;

	return q->starter == lease_id(c->lease) ? quiesce_thaw(q) : -EINVAL;
}

static int on_ack(struct leases_conn *c, const struct portal_frame *frame,
		  struct portal_frame *reply)
{
	return quiesce_ack(&c->leases->quiesce, lease_id(c->lease), arg(frame, 0));
}

/* Who asked for it is answered once: when it is frozen, or has been given up. */
static void answer_quiesce(struct leases_conn *c, const struct quiesce *q)
{
	struct portal_frame reply = {
		.type = le32_of(PORTAL_QUIESCE),
		.seq = le32_of(c->quiesce_seq),
		.status = le32_of(q->state == PORTAL_FROZEN ? 0 : (uint32_t)-ECANCELED),
		.args = { le64_of(q->epoch), le64_of(q->n_laggards) },
	};

	if (!c->quiesce_asked || q->state == PORTAL_DRAINING)
		return;
	c->quiesce_asked = false;
	if (c->quiesce_seq != 0)
		leases_conn_send(c, &reply);
}

/* Who could not send its word, because its connection was away or full, has left it in its page. */
static void read_acks(struct leases *l, struct quiesce *q)
{
	for (uint32_t i = 0; i < PORTAL_LEASES && q->n_waiting; i++)
		if (q->waiting[i / 64] & BIT_ULL(i % 64) &&
		    le64_load_acquire(&arena_page(l->arena, i)->ack_epoch) == q->epoch)
			(void)quiesce_ack(q, i, q->epoch);
}

void leases_on_quiesce(struct quiesce *q)
{
	struct leases *l = container_of(q, struct leases, quiesce);

	if (q->state == PORTAL_FROZEN)
		read_acks(l, q);
	for (struct leases_conn *c = l->conns, *next; c; c = next) {
		next = c->next;
		answer_quiesce(c, q);
		c->tell_quiesce = c->lease != NULL;
		leases_conn_kick(c);
	}
	if (q->state == PORTAL_RUNNING)
		loop_defer(l->loop, &l->recovery, l->recovery.fn);
	if (l->config.changed)
		l->config.changed(l, NULL);
}

/* ---- flush, stat, notify ---- */

static void on_flushed(struct flush_request *request, int status)
{
	struct leases_flush *f = container_of(request, struct leases_flush, request);
	struct leases_conn *c = f->conn;
	const struct portal_frame reply = {
		.type = le32_of(PORTAL_FLUSH),
		.seq = le32_of(f->seq),
		.status = le32_of((uint32_t)status),
		.args = { le64_of(c->leases->flush->durable) },
	};

	c->leases->stats.failures += status < 0;
	if (f->seq != 0)
		leases_conn_send(c, &reply);
}

static int on_flush(struct leases_conn *c, const struct portal_frame *frame,
		    struct portal_frame *reply)
{
	for (unsigned i = 0; i < PORTAL_FLUSHES_MAX; i++) {
		struct leases_flush *f = &c->flush[i];

		if (f->request.queued)
			continue;
		f->seq = le32_get(frame->seq);
		flush_request(c->leases->flush, &f->request, on_flushed);
		return 1;
	}
	return -EBUSY;
}

static int on_stat(struct leases_conn *c, const struct portal_frame *frame,
		   struct portal_frame *reply)
{
	const struct leases *l = c->leases;

	set(reply, 0, l->extents.n_free);
	set(reply, 1, c->lease->n_extents);
	set(reply, 2, c->client->quota);
	set(reply, 3, l->n_live);
	set(reply, 4, l->names.n_used);
	set(reply, 5, l->flush->durable);
	return 0;
}

static int on_notify(struct leases_conn *c, const struct portal_frame *frame,
		     struct portal_frame *reply)
{
	uint64_t flags = arg(frame, 0);

	if (flags & ~(uint64_t)(PORTAL_NOTIFY_DEATHS | PORTAL_NOTIFY_NAMES))
		return -EINVAL;
	c->notify = (uint32_t)flags;
	return 0;
}

static int on_bye(struct leases_conn *c, const struct portal_frame *frame,
		  struct portal_frame *reply)
{
	struct lease *lease = c->lease;

	c->lease = NULL;
	lease_give_back(lease);
	leases_conn_end(c);
	return 1;
}

void leases_tell_death(struct leases *l, uint64_t owner)
{
	const struct portal_frame frame = {
		.type = le32_of(PORTAL_DIED),
		.args = { le64_of(owner) },
	};

	for (struct leases_conn *c = l->conns; c; c = c->next)
		if (c->notify & PORTAL_NOTIFY_DEATHS)
			(void)leases_conn_tell(c, &frame);
}

void leases_tell_name(struct leases *l, uint32_t index, uint64_t generation, const char *name)
{
	struct portal_frame frame = {
		.type = le32_of(PORTAL_NAMED),
		.args = { le64_of(index), le64_of(generation) },
	};

	memcpy(frame.name, name, strnlen(name, sizeof(frame.name) - 1));
	for (struct leases_conn *c = l->conns; c; c = c->next)
		if (c->notify & PORTAL_NOTIFY_NAMES)
			(void)leases_conn_tell(c, &frame);
}

/* ---- all of them ---- */

/* 0, -errno, or 1: it will be answered later. */
typedef int request_fn(struct leases_conn *c, const struct portal_frame *frame,
		       struct portal_frame *reply);

static request_fn *find(uint32_t type)
{
	static const struct {
		uint32_t type;
		request_fn *fn;
	} table[] = {
		{ PORTAL_EXTENT_GET, on_extent_get },
		{ PORTAL_EXTENT_PUT, on_extent_put },
		{ PORTAL_PUBLISH, on_publish },
		{ PORTAL_UNPUBLISH, on_unpublish },
		{ PORTAL_BELL, on_bell },
		{ PORTAL_QUIESCE, on_quiesce },
		{ PORTAL_THAW, on_thaw },
		{ PORTAL_ACK, on_ack },
		{ PORTAL_FLUSH, on_flush },
		{ PORTAL_STAT, on_stat },
		{ PORTAL_NOTIFY, on_notify },
		{ PORTAL_BYE, on_bye },
	};

	for (unsigned i = 0; i < array_size(table); i++)
		if (table[i].type == type)
			return table[i].fn;
	return NULL;
}

bool leases_request(struct leases_conn *c, const struct portal_frame *frame)
{
	uint32_t type = le32_get(frame->type);
	struct portal_frame reply = { .type = frame->type, .seq = frame->seq };
	request_fn *fn = type == PORTAL_HELLO ? on_hello : find(type);
	int r = -EINVAL;

	if ((type == PORTAL_HELLO) == (c->lease != NULL))
		return false;
	if (fn && le32_get(frame->flags) == 0)
		r = fn(c, frame, &reply);
	c->leases->stats.requests++;
	c->leases->stats.failures += r < 0;
	if (r == 1 || le32_get(frame->seq) == 0)
		return true;
	reply.status = le32_of(r < 0 ? (uint32_t)r : 0);
	leases_conn_send(c, &reply);
	return true;
}
