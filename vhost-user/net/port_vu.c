/* SPDX-License-Identifier: MIT */
#include "port_vu.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"

static void on_egress(struct sw_port *sp, struct sw_frame *const *frame, unsigned n)
{
	receiveq_deliver(container_of(sp, struct port_vu, port), frame, n);
}

static const struct sw_port_ops port_ops = { .type = "vhost-user", .egress = on_egress };

/* ---- the device --------------------------------------------------------------------------------- */

static bool is_transmitq(const struct vu_queue *q)
{
	return q->index & 1; /* virtio 1.3, 5.1.2: receiveq1, transmitq1, receiveq2, ... */
}

static bool any_transmitq(const struct port_vu *p)
{
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		if (p->transmitq[i].q && p->transmitq[i].q->enabled)
			return true;
	return false;
}

const char *port_vu_state(const struct port_vu *p)
{
	const char *state;

	if (!p->session)
		return p->listen_fd >= 0 ? "listening" : "closed";
	if (p->n_receiveq > 0 && any_transmitq(p))
		return "running";
	state = vu_session_state(p->session);
	if (strcmp(state, "running") == 0)
		return "negotiated";
	return state;
}

static void tell_state(struct port_vu *p)
{
	const char *state = port_vu_state(p);

	if (p->closing || strcmp(state, p->state) == 0)
		return;
	p->state = state;
	log_debug(p->port.name, "%s", state);
	if (p->group->state_changed)
		p->group->state_changed(p);
}

/* Keep the list of receiveqs that can be given frames, in the order of their index. */
static void collect_receiveqs(struct port_vu *p)
{
	p->n_receiveq = 0;
	for (unsigned i = 0; !p->closing && i < PORT_VU_MAX_PAIRS; i++) {
		struct vu_queue *q = p->started[i];

		if (q && q->enabled)
			p->receiveq[p->n_receiveq++] = (struct receiveq){ .q = q };
	}
	if (p->port.sw)
		sw_set_up(&p->port, p->n_receiveq > 0);
	tell_state(p);
}

static void on_queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);
	struct transmitq *t = &p->transmitq[q->index / 2];

	if (p->closing)
		return;
	if (is_transmitq(q)) {
		t->q = q;
		transmitq_activate(t);
		tell_state(p);
	} else {
		vq_kick_off(&q->vq); /* buffers are looked for when there is a frame */
		p->started[q->index / 2] = q;
		collect_receiveqs(p);
	}
}

static void on_queue_stop(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);
	struct transmitq *t = &p->transmitq[q->index / 2];

	if (is_transmitq(q)) {
		transmitq_deactivate(t);
		t->q = NULL;
		tell_state(p);
	} else {
		p->started[q->index / 2] = NULL;
		collect_receiveqs(p);
	}
}

static void on_queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	struct port_vu *p = vu_session_device(s);

	if (is_transmitq(q))
		tell_state(p);
	else
		collect_receiveqs(p);
}

static void on_queue_kick(struct vu_session *s, struct vu_queue *q)
{
	struct port_vu *p = vu_session_device(s);

	p->port.stats.queue_kicks++;
	if (is_transmitq(q) && !p->closing)
		transmitq_activate(&p->transmitq[q->index / 2]);
}

static void on_negotiated(struct vu_session *s, uint64_t features)
{
	struct port_vu *p = vu_session_device(s);

	p->mrg_rxbuf = features & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF);
}

static void on_state_changed(struct vu_session *s)
{
	struct port_vu *p = vu_session_device(s);

	if (p->session)
		tell_state(p);
}

/* The address and the link state in it are for drivers that negotiated those features; none does. */
static int on_get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	const struct port_vu *p = vu_session_device(s);
	struct virtio_net_config c = {
		.max_virtqueue_pairs = htole16(PORT_VU_MAX_PAIRS),
		.mtu = htole16(p->group->mtu),
	};

	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (const char *)&c + off, len);
	return 0;
}

static void port_free(struct port_vu *p)
{
	free(p->path);
	free(p);
}

static void serve_pending(struct port_vu *p);
static void back_off(struct port_vu *p);

static void on_closed(struct vu_session *s, int reason)
{
	struct port_vu *p = vu_session_device(s);

	p->session = NULL;
	if (p->closing) {
		port_free(p);
		return;
	}
	collect_receiveqs(p);
	if (p->listen_fd >= 0 && (reason == -EPROTO || reason == -EFAULT))
		back_off(p);
	else
		serve_pending(p);
}

const struct vu_device_ops port_vu_ops = {
	.name = "net",
	.features = BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_MTU) |
		    BIT_ULL(VIRTIO_NET_F_MQ),
	.max_queues = 2 * PORT_VU_MAX_PAIRS,
	.rings_per_queue = 2,
	.get_config = on_get_config,
	.negotiated = on_negotiated,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.queue_enable = on_queue_enable,
	.queue_kick = on_queue_kick,
	.state_changed = on_state_changed,
	.closed = on_closed,
};

/* ---- frontends come and go ---------------------------------------------------------------------- */

static void serve(struct port_vu *p, int fd)
{
	int r = vu_session_new(p->group->loop, fd, &port_vu_ops, p, p->port.name, &p->log,
			       &p->session);

	if (r < 0) {
		log_limited(&p->log, LOG_LEVEL_ERROR, p->port.name, "cannot serve a frontend: %s",
			    strerror(-r));
		return;
	}
	p->port.stats.sessions++;
	p->mrg_rxbuf = false;
	tell_state(p);
}

static void serve_pending(struct port_vu *p)
{
	int fd = fd_take(&p->pending_fd);

	loop_timer_cancel(p->group->loop, &p->pending);
	if (fd >= 0)
		serve(p, fd);
}

/* The last frontend broke the rules.  The next one, also if it waits already, has to wait. */
static void back_off(struct port_vu *p)
{
	(void)loop_mod(&p->listener, 0);
	loop_timer_cancel(p->group->loop, &p->pending);
	loop_timer_set(p->group->loop, &p->backoff, loop_now_ns() + PORT_VU_BACKOFF_NS);
}

static void on_backoff_over(struct loop_timer *timer)
{
	struct port_vu *p = container_of(timer, struct port_vu, backoff);

	(void)loop_mod(&p->listener, EPOLLIN);
	serve_pending(p);
}

static void refuse(struct port_vu *p, int fd)
{
	close(fd);
	p->port.stats.sessions_refused++;
	log_limited(&p->log, LOG_LEVEL_WARNING, p->port.name,
		    "turned a second frontend away: one is connected");
}

static void on_pending_over(struct loop_timer *timer)
{
	struct port_vu *p = container_of(timer, struct port_vu, pending);

	refuse(p, fd_take(&p->pending_fd));
}

static void on_listener(struct loop_source *src, uint32_t events)
{
	struct port_vu *p = container_of(src, struct port_vu, listener);
	int fd, r = listen_accept(p->listen_fd, &fd);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		log_limited(&p->log, LOG_LEVEL_ERROR, p->port.name, "accept: %s", strerror(-r));
	} else if (!p->session) {
		serve(p, fd);
	} else if (p->pending_fd < 0) {
		p->pending_fd = fd;
		loop_timer_set(p->group->loop, &p->pending, loop_now_ns() + PORT_VU_PENDING_NS);
	} else {
		refuse(p, fd);
	}
}

/* ---- making and closing ------------------------------------------------------------------------- */

static bool name_is_good(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	return n > 0 && n < SW_PORT_NAME_MAX && name[n] == '\0';
}

static int port_new(struct port_vu_group *g, const char *name, const char *path,
		    struct port_vu **ret_port)
{
	struct port_vu *p;
	int r;

	if (!name_is_good(name))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->group = g;
	p->port.ops = &port_ops;
	memcpy(p->port.name, name, strlen(name) + 1); /* name_is_good() has measured it */
	p->state = "";
	p->listen_fd = -1;
	p->pending_fd = -1;
	loop_timer_init(&p->pending, on_pending_over);
	loop_timer_init(&p->backoff, on_backoff_over);
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		p->transmitq[i].port = p;
	p->path = path ? strdup(path) : NULL;

	r = path && !p->path ? -ENOMEM : sw_attach(g->sw, &p->port);
	if (r < 0) {
		port_free(p);
		return r;
	}
	*ret_port = p;
	return 0;
}

int port_vu_open(struct port_vu_group *g, const char *name, const char *path, int listen_fd,
		 struct port_vu **ret_port)
{
	auto_fd int fd = listen_fd;
	struct port_vu *p;
	int r = port_new(g, name, path, &p);

	if (r < 0)
		return r;
	r = loop_add(g->loop, &p->listener, fd, EPOLLIN, on_listener);
	if (r < 0) {
		sw_detach(&p->port);
		port_free(p);
		return r;
	}
	p->listen_fd = fd_take(&fd);
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

int port_vu_adopt(struct port_vu_group *g, const char *name, int fd, struct port_vu **ret_port)
{
	auto_fd int owned = fd;
	struct port_vu *p;
	int r = port_new(g, name, NULL, &p);

	if (r < 0)
		return r;
	serve(p, fd_take(&owned));
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

void port_vu_close(struct port_vu *p)
{
	if (p->closing)
		return;
	p->closing = true;
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		transmitq_deactivate(&p->transmitq[i]);
	p->n_receiveq = 0;
	sw_detach(&p->port);

	loop_del(&p->listener);
	loop_timer_cancel(p->group->loop, &p->pending);
	loop_timer_cancel(p->group->loop, &p->backoff);
	fd_drop(&p->pending_fd);
	fd_drop(&p->listen_fd);
	if (p->path)
		listen_unlink(p->path);
	if (p->session)
		vu_session_close(p->session, 0); /* on_closed() frees the port */
	else
		port_free(p);
}

struct port_vu *port_vu_of(struct sw_port *p)
{
	return p->ops == &port_ops ? container_of(p, struct port_vu, port) : NULL;
}

void port_vu_group_init(struct port_vu_group *g)
{
	if (g->mtu == 0)
		g->mtu = PORT_VU_MTU_DEFAULT;
}
