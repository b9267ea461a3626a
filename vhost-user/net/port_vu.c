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
#include "port_vu_features.h"
#include "portspec.h"

static bool is_transmitq(const struct vu_queue *q)
{
	return q->index & 1; /* virtio 1.3, 5.1.2: receiveq1, transmitq1, receiveq2, ... */
}

static void on_egress(struct sw_port *sp, struct sw_frame *const *frame, unsigned n)
{
	receiveq_deliver(container_of(sp, struct port_vu, port), frame, n);
}

void port_vu_queue_broken(struct port_vu *p, struct vu_queue *q)
{
	if (sw_thread == 0) {
		p->port.stats.queue_broken++;
		vu_session_queue_broken(q->session, q);
		return;
	}
	if (is_transmitq(q))
		transmitq_deactivate(&p->transmitq[q->index / 2]);
	__atomic_store_n(&p->broken[q->index], true, __ATOMIC_RELAXED);
	__atomic_store_n(&p->trouble, true, __ATOMIC_RELAXED);
	p->group->ring(p->group);
}

void port_vu_check(struct port_vu *p, struct vu_session *s)
{
	if (likely(sw_thread == 0)) {
		vu_session_check(s);
	} else if (unlikely(vu_session_suspect(s))) {
		__atomic_store_n(&p->trouble, true, __ATOMIC_RELAXED);
		p->group->ring(p->group);
	}
}

void port_vu_look_into(struct port_vu *p)
{
	if (!p->trouble)
		return;
	p->trouble = false;
	for (unsigned i = 0; i < array_size(p->broken); i++) {
		struct vu_queue *q = i & 1 ? p->transmitq[i / 2].q : p->started[i / 2];

		if (p->broken[i] && q)
			port_vu_queue_broken(p, q);
		p->broken[i] = false;
	}
	if (p->seat.session)
		vu_session_check(p->seat.session);
}

/* A frontend that gave us a channel for it reads the configuration space again.  QEMU gives none for network
 * cards; who holds its monitor hears of it from the control socket. */
static void on_carrier(struct sw_port *sp, bool up)
{
	const struct port_vu *p = container_of(sp, struct port_vu, port);

	if (p->seat.session)
		(void)vu_session_config_changed(p->seat.session);
}

/* Queue pairs that are started, or were and have counted. */
static unsigned n_pairs(const struct port_vu *p)
{
	unsigned n = PORT_VU_MAX_PAIRS;

	while (n > 1 && !p->started[n - 1] && !p->transmitq[n - 1].q &&
	       !p->queue[2 * n - 2].frames && !p->queue[2 * n - 1].frames)
		n--;
	return n;
}

static const struct queue_stats *on_queue(const struct sw_port *port, unsigned i, bool *ret_ingress)
{
	const struct port_vu *p = (const struct port_vu *)(const void *)port;

	static_assert(offsetof(struct port_vu, port) == 0, "a port is the beginning of it");

	if (i >= 2 * n_pairs(p))
		return NULL;
	*ret_ingress = i % 2; /* virtio 1.3, 5.1.2: receiveq1, transmitq1, receiveq2, ... */
	return &p->queue[i];
}

static const struct sw_port_ops port_ops = {
	.type = "vhost-user",
	.threads = true,
	.egress = on_egress,
	.carrier = on_carrier,
	.queue = on_queue,
};

/* ---- the device --------------------------------------------------------------------------------- */

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

	if (p->seat.session && p->n_receiveq > 0 && any_transmitq(p))
		return "running";
	state = seat_state(&p->seat);
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
	if (p->port.sw) {
		bool was_up = p->port.up;

		if (was_up && p->n_receiveq == 0)
			port_state_note(p);
		sw_set_up(&p->port, p->n_receiveq > 0);
		if (!was_up && p->port.up)
			port_state_restore(p);
	}
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
		t->idle_since_ns = 0;
		t->spin = (struct spin){ 0 };
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

	p->broken[q->index] = false; /* that was this one, and not its successor */
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
	p->may_ask = port_vu_may_ask(features);
	p->port.offloads = port_vu_takes(features);
	p->hdr_flags = 0;
	if (p->port.offloads & OFFLOAD_CSUM)
		p->hdr_flags = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
}

static void on_state_changed(struct vu_session *s)
{
	struct port_vu *p = vu_session_device(s);

	if (p->seat.session)
		tell_state(p);
}

/* The address in it is for drivers that negotiated it; none does. */
static int on_get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	const struct port_vu *p = vu_session_device(s);
	struct virtio_net_config c = {
		.status = htole16(p->port.down ? 0 : VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16(PORT_VU_MAX_PAIRS),
		.mtu = htole16(p->mtu ? p->mtu : p->group->mtu),
	};

	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (const char *)&c + off, len);
	return 0;
}

static void port_free(struct port_vu *p)
{
	places_close(p->places);
	free(p);
}

static void on_closed(struct vu_session *s, int reason)
{
	struct port_vu *p = vu_session_device(s);

	if (p->closing) {
		port_free(p);
		return;
	}
	seat_vacate(&p->seat);
	collect_receiveqs(p);
	seat_next(&p->seat, reason);
}

/* The driver moved here from another host, and does not say so by itself: tell the switches on the way, by the frame that
 * QEMU would have sent. */
static int on_rarp(struct vu_session *s, const uint8_t mac[6])
{
	static const uint8_t reverse_request[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
	struct port_vu *p = vu_session_device(s);
	uint8_t b[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct iovec iov = { b, sizeof(b) };
	struct sw_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(b) };

	if (mac[0] & 1)
		return -EINVAL;
	memcpy(b + 6, mac, 6);
	memcpy(b + 12, reverse_request, sizeof(reverse_request));
	memcpy(b + 22, mac, 6); /* sender */
	memcpy(b + 32, mac, 6); /* target */
	if (p->port.sw)
		sw_input(&p->port, &f, 1);
	return 0;
}

/* Any that the field can say: the switch takes frames of 64 KiB. */
static int on_set_mtu(struct vu_session *s, uint16_t mtu)
{
	struct port_vu *p = vu_session_device(s);

	if (mtu < PORT_VU_MTU_MIN)
		return -EINVAL;
	p->mtu = mtu;
	return 0;
}

static void on_reset(struct vu_session *s)
{
	struct port_vu *p = vu_session_device(s);

	p->kept.n = 0;
	on_negotiated(s, 0);
}

#define PORT_VU_OPS(features_)                                                                 \
	{                                                                                      \
		.name = "net", .features = (features_), .max_queues = 2 * PORT_VU_MAX_PAIRS,   \
		.rings_per_queue = 2, .get_config = on_get_config, .rarp = on_rarp,            \
		.protocol_features = PORT_VU_PROTOCOL_FEATURES, .save_state = port_state_save, \
		.load_state = port_state_load, .set_mtu = on_set_mtu, .reset = on_reset,       \
		.negotiated = on_negotiated, .queue_start = on_queue_start,                    \
		.queue_stop = on_queue_stop, .queue_enable = on_queue_enable,                  \
		.queue_kick = on_queue_kick, .state_changed = on_state_changed,                \
		.closed = on_closed,                                                           \
	}

const struct vu_device_ops port_vu_ops = PORT_VU_OPS(PORT_VU_FEATURES | PORT_VU_OFFLOAD_FEATURES);
static const struct vu_device_ops ops_without_offloads = PORT_VU_OPS(PORT_VU_FEATURES);

static void on_seating(struct seat *seat)
{
	const struct port_vu *p = container_of(seat, struct port_vu, seat);

	seat->ops = p->port.no_offloads ? &ops_without_offloads : &port_vu_ops;
}

static void on_seated(struct seat *seat)
{
	struct port_vu *p = container_of(seat, struct port_vu, seat);

	on_negotiated(p->seat.session, 0);
	p->mtu = 0;
	p->kept.n = 0;
	tell_state(p);
}

/* ---- making and closing ------------------------------------------------------------------------- */

static int port_new(struct port_vu_group *g, const char *name, struct port_vu **ret_port)
{
	struct port_vu *p;
	int r;

	if (!spec_name_is_good(name))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->group = g;
	p->port.ops = &port_ops;
	memcpy(p->port.name, name, strlen(name) + 1); /* spec_name_is_good() has measured it */
	p->state = "";
	seat_init(&p->seat, g->loop, &port_vu_ops, p, p->port.name);
	p->seat.seating = on_seating;
	p->seat.seated = on_seated;
	p->seat.n_sessions = &p->port.stats.sessions;
	p->seat.n_refused = &p->port.stats.sessions_refused;
	for (unsigned i = 0; i < PORT_VU_MAX_PAIRS; i++)
		p->transmitq[i].port = p;
	r = sw_attach(g->sw, &p->port);
	if (r < 0) {
		free(p);
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
	int r = port_new(g, name, &p);

	if (r < 0)
		return r;
	r = seat_open(&p->seat, path, fd_take(&fd));
	if (r < 0) {
		sw_detach(&p->port);
		free(p);
		return r;
	}
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

int port_vu_dial(struct port_vu_group *g, const char *name, const char *path,
		 struct port_vu **ret_port)
{
	struct port_vu *p;
	int r = port_new(g, name, &p);

	if (r < 0)
		return r;
	r = seat_dial(&p->seat, path);
	if (r < 0) {
		sw_detach(&p->port);
		free(p);
		return r;
	}
	p->state = port_vu_state(p);
	*ret_port = p;
	return 0;
}

int port_vu_keep_places(struct port_vu *p, const char *path)
{
	int r = places_open(path, port_vu_ops.max_queues, &p->places);

	p->seat.places = p->places;
	return r;
}

int port_vu_adopt(struct port_vu_group *g, const char *name, int fd, struct port_vu **ret_port)
{
	auto_fd int owned = fd;
	struct port_vu *p;
	int r = port_new(g, name, &p);

	if (r < 0)
		return r;
	seat_adopt(&p->seat, fd_take(&owned));
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

	if (!seat_close(&p->seat)) /* else on_closed() frees the port */
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
