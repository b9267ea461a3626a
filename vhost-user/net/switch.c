/* SPDX-License-Identifier: MIT */
#include "switch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "loop.h"

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

_Thread_local unsigned sw_thread;

static int grow_worker(struct sw_worker *w, uint32_t n)
{
	struct sw_batch *batch;
	int r = grow_array(&w->touched, n);

	if (r < 0)
		return r;
	batch = reallocarray(w->batch, n, sizeof(*batch));
	if (!batch)
		return -ENOMEM;
	w->batch = batch;
	for (uint32_t i = 0; i < n; i++) /* no burst is under way */
		batch[i].n = 0;
	return 0;
}

static int grow(struct sw *sw)
{
	uint32_t n = max(16u, 2 * sw->n_port);
	int r;

	if ((r = grow_array(&sw->port, n)) < 0 || (r = grow_array(&sw->up, n)) < 0 ||
	    (r = fdb_port_room(&sw->fdb, n)) < 0)
		return r;
	for (unsigned i = 0; i < sw->n_worker; i++)
		if ((r = grow_worker(&sw->worker[i], n)) < 0)
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
	p->up = p->ready = false;
	p->memo.generation = UINT64_MAX;
	pthread_mutex_init(&p->lock, NULL);
	sw->port[id] = p;
	sw->n_vlan += p->vlan.mode != VLAN_PLAIN;
	return 0;
}

/* Tell all who hook into the port; each may free itself. */
static void unhook(struct sw_port *p)
{
	struct sw_stage *ingress = p->ingress, *egress = p->egress;
	struct sw_stage *link = p->link;
	struct sw_tap *tap = p->tap;
	struct sw_between *between = p->sw->between;

	p->ingress = p->egress = p->link = NULL;
	p->tap = NULL;
	if (ingress)
		ingress->ops->detached(ingress, p);
	if (egress && egress != ingress)
		egress->ops->detached(egress, p);
	if (link)
		link->ops->detached(link, p);
	if (tap)
		tap->ops->detached(tap, p);
	if (between)
		between->ops->detached(between, p);
}

/* Frames from a port that is gone, or to it. */
static void handoff_forget(struct sw_port *p)
{
	struct sw_handoff *h = &p->sw->handoff;
	struct sw_buf **at = &h->first, *b;

	while ((b = *at)) {
		if (b->port != p) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		h->n--;
		sw_buf_unref(b);
	}
	h->last = at;
}

void sw_detach(struct sw_port *p)
{
	if (!p->sw)
		return;
	unhook(p);
	sw_mirror_forget(p);
	sw_set_up(p, false);
	sw_set_vlan(p, &(struct vlan_port){ 0 });
	fdb_unpin_port(&p->sw->fdb, p->id);
	fdb_set_port_max(&p->sw->fdb, p->id, 0);
	handoff_forget(p);
	pthread_mutex_destroy(&p->lock);
	p->sw->port[p->id] = NULL;
	p->sw = NULL;
}

static void set_forwarding(struct sw_port *p, bool up)
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

void sw_set_up(struct sw_port *p, bool up)
{
	p->ready = up;
	set_forwarding(p, p->ready && !p->down);
}

void sw_set_link(struct sw_port *p, enum sw_down who, bool up)
{
	struct sw *sw = p->sw;
	bool was_up = !p->down;

	p->down = (uint8_t)(up ? p->down & ~who : p->down | who);
	if (was_up == !p->down)
		return;
	set_forwarding(p, p->ready && !p->down);
	if (p->ops->carrier)
		p->ops->carrier(p, !p->down);
	if (sw->link_changed)
		sw->link_changed(sw, p);
}

void sw_set_vlan(struct sw_port *p, struct vlan_port *vlan)
{
	if (vlan_port_equal(&p->vlan, vlan)) {
		vlan_port_done(vlan);
		return;
	}
	p->sw->n_vlan -= p->vlan.mode != VLAN_PLAIN;
	vlan_port_done(&p->vlan);
	p->vlan = *vlan;
	*vlan = (struct vlan_port){ 0 };
	p->sw->n_vlan += p->vlan.mode != VLAN_PLAIN;
	fdb_flush_port(&p->sw->fdb, p->id);
}

void sw_set_storm(struct sw_port *p, enum storm_kind kind, uint32_t pps)
{
	storm_set(&p->storm, kind, pps, p->sw->clock_ns());
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

static void free_worker(struct sw_worker *w)
{
	free(w->touched);
	free(w->batch);
}

int sw_set_threads(struct sw *sw, unsigned n)
{
	struct sw_worker *worker;
	int r = 0;

	while (sw->n_worker > n + 1)
		free_worker(&sw->worker[--sw->n_worker]);
	sw->threads = n > 0;
	worker = reallocarray(sw->worker, n + 1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	sw->worker = worker;
	while (sw->n_worker < n + 1 && r == 0) {
		worker[sw->n_worker] = (struct sw_worker){ 0 };
		r = grow_worker(&worker[sw->n_worker++], max(1u, sw->n_port));
	}
	return r;
}

int sw_init(struct sw *sw, const struct fdb_config *fdb, uint64_t seed)
{
	int r;

	*sw = (struct sw){ .clock_ns = loop_now_ns };
	sw_bufs_init(&sw->bufs, 0);
	sw->handoff.last = &sw->handoff.first;
	pthread_mutex_init(&sw->handoff.lock, NULL);
	pthread_mutex_init(&sw->fdb_lock, NULL);
	r = sw_set_threads(sw, 0);
	if (r == 0)
		r = fdb_init(&sw->fdb, fdb, seed);
	if (r < 0)
		sw_done(sw);
	return r;
}

void sw_done(struct sw *sw)
{
	assert(!sw_next(sw, NULL));
	fdb_done(&sw->fdb);
	free(sw->port);
	free(sw->up);
	for (unsigned i = 0; i < sw->n_worker; i++)
		free_worker(&sw->worker[i]);
	free(sw->worker);
	sw_bufs_done(&sw->bufs);
	pthread_mutex_destroy(&sw->handoff.lock);
	pthread_mutex_destroy(&sw->fdb_lock);
	*sw = (struct sw){ 0 };
}
