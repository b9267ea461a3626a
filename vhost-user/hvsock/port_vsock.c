/* SPDX-License-Identifier: MIT */
#include "port_vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "journal.h"
#include "port_vsock_impl.h"
#include "relax.h"

/* Pauses between two looks in vain: a look at epoll, which comes after some of them, is not free for those who write
 * either. */
#define RELAX 4

/* ---- who has something for the guest ------------------------------------------------------------ */

static void list_remove(struct vsock_conn *vc)
{
	struct vsock_list *l = vc->list;

	*(vc->prev ? &vc->prev->next : &l->first) = vc->next;
	*(vc->next ? &vc->next->prev : &l->last) = vc->prev;
	vc->list = NULL;
	l->n--;
}

static void list_append(struct vsock_list *l, struct vsock_conn *vc)
{
	vc->list = l;
	vc->next = NULL;
	vc->prev = l->last;
	*(vc->prev ? &vc->prev->next : &l->first) = vc;
	l->last = vc;
	l->n++;
}

void vsock_ready(struct vsock_conn *vc)
{
	struct vsock_port *port = port_of(vc->hv.vm);

	if (vc->list == &port->ready)
		return;
	if (vc->list)
		list_remove(vc);
	list_append(&port->ready, vc);
	vsock_wake(port);
}

void vsock_unready(struct vsock_conn *vc)
{
	if (vc->list)
		list_remove(vc);
}

/* Those who have been gathering for long enough. */
static void gathered(struct vsock_port *port)
{
	uint64_t now_ns = loop_now_ns();

	while (port->gathering.first && now_ns - port->gathering.first->read_ns >= VSOCK_GATHER_NS)
		vsock_ready(port->gathering.first);
}

/* ---- what the relay asks of a transport --------------------------------------------------------- */

static const char *on_state(const struct hv_vm *vm)
{
	const struct vsock_port *port = (const void *)vm; /* its first member */
	const char *state;

	if (vm->closing)
		return "closed";
	if (port->up)
		return "running";
	state = seat_state(&port->seat);
	return strcmp(state, "running") == 0 ? "negotiated" : state;
}

static int on_request(struct hv_conn *hv)
{
	struct vsock_port *port = port_of(hv->vm);
	struct vsock_conn *vc = vsock_of(hv);
	int r;

	if (!port->up)
		return -ENOTCONN;
	if (hv->seqpacket && !port->seqpacket)
		return -EPROTONOSUPPORT;
	vc->node = (struct conntab_node){ .guest_port = hv->guest_port,
					  .port = hv->port,
					  .cid = hv->cid };
	r = conntab_add(&port->tab, &vc->node);
	if (r < 0)
		return r == -EEXIST ? -EADDRINUSE : r;
	conn_init_connecting(&vc->m,
			     hv->seqpacket ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM,
			     HV_BUFFER_SIZE);
	port->reset_due = false;
	vsock_ready(vc);
	return 0;
}

static void on_accepted(struct hv_conn *hv)
{
	struct vsock_conn *vc = vsock_of(hv);

	/* It may be over for the guest since it asked. */
	if (vc->m.state == CONN_REQUESTED)
		conn_accept(&vc->m);
	vsock_ready(vc);
}

static void on_readable(struct hv_conn *hv)
{
	struct vsock_port *port = port_of(hv->vm);
	struct vsock_conn *vc = vsock_of(hv);

	if (vc->read_ns == 0 || loop_now_ns() - vc->read_ns >= VSOCK_GATHER_NS) {
		vsock_ready(vc);
	} else if (!vc->list) {
		list_append(&port->gathering, vc);
		vsock_wake(port);
	}
}

static void on_taken(struct hv_conn *hv, uint32_t len)
{
	struct vsock_conn *vc = vsock_of(hv);

	conn_forward(&vc->m, len);
	if (vc->m.owed)
		vsock_ready(vc);
}

static void on_far_shutdown(struct hv_conn *hv, unsigned how)
{
	struct vsock_conn *vc = vsock_of(hv);

	conn_shutdown(&vc->m, how);
	if (vc->m.owed)
		vsock_ready(vc);
}

static void on_reset(struct hv_conn *hv)
{
	vsock_reset(vsock_of(hv));
}

static void on_released(struct hv_conn *hv)
{
	struct vsock_port *port = port_of(hv->vm);
	struct vsock_conn *vc = vsock_of(hv);

	vsock_unready(vc);
	conntab_remove(&port->tab, &vc->node);
	if (port->found == vc)
		port->found = NULL;
}

static void port_free(struct vsock_port *port)
{
	hv_vm_done(&port->vm);
	conntab_done(&port->tab);
	free(port);
}

static void on_free(struct loop_work *work)
{
	port_free(container_of(work, struct vsock_port, work));
}

static void port_sleep(struct vsock_port *port)
{
	if (port->polling)
		loop_poller_del(hv_vm_loop(&port->vm), &port->poller);
	port->polling = false;
}

static void on_close(struct hv_vm *vm)
{
	struct vsock_port *port = port_of(vm);

	port_sleep(port);
	if (!seat_close(&port->seat))
		loop_defer(hv_vm_loop(vm), &port->work, on_free);
}

static const struct hv_transport_ops transport = {
	.name = "virtio-vsock",
	.conn_size = sizeof(struct vsock_conn),
	.state = on_state,
	.request = on_request,
	.accepted = on_accepted,
	.readable = on_readable,
	.taken = on_taken,
	.far_shutdown = on_far_shutdown,
	.reset = on_reset,
	.released = on_released,
	.close = on_close,
};

void vsock_reset(struct vsock_conn *vc)
{
	conn_reset(&vc->m);
	hv_guest_shutdown(&vc->hv, HV_SHUTDOWN_BOTH);
	if (vc->m.owed)
		vsock_ready(vc);
	else
		hv_guest_done(&vc->hv);
}

void vsock_lost_memory(struct vsock_port *port, const struct vu_queue *q)
{
	if (q)
		vu_session_close(q->session, -EFAULT);
}

/* ---- polling ------------------------------------------------------------------------------------ */

/* Ask for the kicks that are of use.  True: there is something already. */
static bool arm(struct vsock_port *port)
{
	struct vq *tx = &port->queue[VSOCK_TX]->vq, *rx = &port->queue[VSOCK_RX]->vq;

	/* A transmitq that must wait for room for resets is woken by the receiveq. */
	if (port->n_resets <= VSOCK_RESETS - VQ_BURST && vq_kick_on(tx)) {
		vq_kick_off(tx);
		return true;
	}
	if (port->rx_full && vq_kick_on(rx)) {
		vq_kick_off(rx);
		return true;
	}
	return false;
}

/* Nothing came.  Go on looking for a while, then ask for a kick. */
static bool found_nothing(struct vsock_port *port)
{
	uint64_t now_ns = loop_now_ns();
	struct vu_queue *q = port->queue[VSOCK_TX];

	if (port->idle_since_ns == 0)
		port->idle_since_ns = now_ns;
	if (port->gathering.n > 0 || now_ns - port->idle_since_ns < port->spin_ns) {
		for (unsigned i = 0; i < RELAX; i++)
			cpu_relax();
		return true;
	}
	if (arm(port)) {
		port->idle_since_ns = 0;
		return true;
	}
	port->quiet_since_ns = port->idle_since_ns;
	port_sleep(port);
	vu_session_check(q->session); /* a ring of which nothing is left looks idle */
	return false;
}

/* It slept: would it have been better to go on looking? */
static void learn(struct vsock_port *port)
{
	if (loop_now_ns() - port->quiet_since_ns < VSOCK_SPIN_NS)
		port->spin_ns = min(max(2 * port->spin_ns, (uint64_t)VSOCK_SPIN_MIN_NS),
				    (uint64_t)VSOCK_SPIN_NS);
	else
		port->spin_ns /= 2;
}

/* Tell the driver that its connections are lost, by the event queue, while it has no new ones. */
static void send_transport_reset(struct vsock_port *port)
{
	struct vu_queue *q = port->queue[VSOCK_EVENT];
	struct virtio_vsock_event event = { .id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) };
	const struct vq_chain *c;
	const struct iovec *v;
	uint32_t len = 0;
	int n;

	if (!q || !q->enabled)
		return;
	n = vq_pop(&q->vq, &port->rx, 1);
	if (n < 0)
		vu_session_queue_broken(q->session, q);
	if (n <= 0)
		return;
	port->reset_due = false;
	c = &port->rx.chain[0];
	v = &c->iov[c->n_out];
	if (c->n_in > 0 && v->iov_len >= sizeof(event)) {
		memcpy(v->iov_base, &event, sizeof(event));
		len = sizeof(event);
	}
	vq_push(&q->vq, c->head, len);
	port->rx.n = port->rx_next = 0;
	vq_publish(&q->vq);
	port->vm.stats.queue_calls += vq_call(&q->vq);
}

static bool poll_port(struct loop_poller *poller)
{
	struct vsock_port *port = container_of(poller, struct vsock_port, poller);
	bool found;

	if (unlikely(port->reset_due))
		send_transport_reset(port);
	if (port->gathering.n > 0)
		gathered(port);
	found = vsock_transmit(port);
	if (port->up)
		found |= vsock_receive(port);
	if (!port->up) {
		port_sleep(port);
		return false;
	}
	if (!found)
		return found_nothing(port);
	port->idle_since_ns = 0;
	return true;
}

void vsock_wake(struct vsock_port *port)
{
	port->idle_since_ns = 0;
	if (port->polling || !port->up)
		return;
	learn(port);
	vq_kick_off(&port->queue[VSOCK_TX]->vq);
	vq_kick_off(&port->queue[VSOCK_RX]->vq);
	port->polling = true;
	loop_poller_add(hv_vm_loop(&port->vm), &port->poller, poll_port);
}

/* ---- the device --------------------------------------------------------------------------------- */

/* The guest has gone.  What it sent may still be on its way to a far end that is slow, but for nobody: the addresses are
 * free, for a guest that starts anew, and for the resets of one that comes again and has not noticed. */
static void lose_guest(struct vsock_port *port, bool known)
{
	for (struct hv_conn *hv = port->vm.first; hv; hv = hv->next) {
		struct vsock_conn *vc = vsock_of(hv);

		conn_lost(&vc->m);
		vsock_unready(vc);
		conntab_remove(&port->tab, &vc->node);
	}
	port->n_resets = 0;
	hv_vm_guest_lost(&port->vm, known);
}

/* A ring on which nothing has ever been done belongs to a driver that has just started.  It knows of no connection. */
static bool is_fresh(const struct vu_queue *q)
{
	bool first_round = !q->vq.packed || (q->vq.avail_wrap && q->vq.used_wrap);

	return first_round && q->vq.last_avail == 0 && q->vq.used_idx == 0;
}

static void come_up(struct vsock_port *port)
{
	struct hv_vm *vm = &port->vm;

	if (is_fresh(port->queue[VSOCK_RX]) && is_fresh(port->queue[VSOCK_TX]))
		lose_guest(port, true);
	port->has_orphans = journal_orphans(hv_vm_journal(vm), vm->cid) > 0;
	port->reset_due = port->has_orphans;
	port->rx_full = false;
	vsock_wake(port);
}

static bool is_ready(const struct vsock_port *port, unsigned i)
{
	return port->queue[i] && port->queue[i]->enabled;
}

/* A ring has come or gone. */
static void update(struct vsock_port *port)
{
	bool up = !port->vm.closing && is_ready(port, VSOCK_RX) && is_ready(port, VSOCK_TX);

	if (up != port->up) {
		port->up = up;
		if (up)
			come_up(port);
		else
			port_sleep(port);
	}
	hv_vm_tell_state(&port->vm);
}

static void on_queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct vsock_port *port = vu_session_device(s);

	if (port->vm.closing)
		return;
	port->queue[q->index] = q;
	update(port);
	if (q->index == VSOCK_EVENT)
		vsock_wake(port);
}

static void on_queue_stop(struct vu_session *s, struct vu_queue *q)
{
	struct vsock_port *port = vu_session_device(s);

	port->queue[q->index] = NULL;
	if (q->index == VSOCK_RX)
		port->rx.n = port->rx_next = 0;
	update(port);
}

static void on_queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	update(vu_session_device(s));
}

static void on_queue_kick(struct vu_session *s, struct vu_queue *q)
{
	struct vsock_port *port = vu_session_device(s);

	port->vm.stats.queue_kicks++;
	if (!port->vm.closing)
		vsock_wake(port);
}

static void on_negotiated(struct vu_session *s, uint64_t features)
{
	struct vsock_port *port = vu_session_device(s);

	port->seqpacket = features & BIT_ULL(VIRTIO_VSOCK_F_SEQPACKET);
}

static void on_state_changed(struct vu_session *s)
{
	struct vsock_port *port = vu_session_device(s);

	if (port->seat.session)
		hv_vm_tell_state(&port->vm);
}

static int on_get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	const struct vsock_port *port = vu_session_device(s);
	struct virtio_vsock_config c = { .guest_cid = htole64(port->vm.cid) };

	if (off > sizeof(c) || len > sizeof(c) - off)
		return -EINVAL;
	memcpy(buf, (const char *)&c + off, len);
	return 0;
}

static void on_closed(struct vu_session *s, int reason)
{
	struct vsock_port *port = vu_session_device(s);

	if (port->vm.closing) {
		port_free(port);
		return;
	}
	/* Its guest may still be there, and come again by another connection. */
	lose_guest(port, false);
	seat_vacate(&port->seat);
	hv_vm_tell_state(&port->vm);
	seat_next(&port->seat, reason);
}

const struct vu_device_ops port_vsock_ops = {
	.name = "vsock",
	.features = BIT_ULL(VIRTIO_VSOCK_F_SEQPACKET) | BIT_ULL(VIRTIO_F_RING_PACKED),
	.resumed = true,
	.max_queues = VSOCK_QUEUES,
	.get_config = on_get_config,
	.negotiated = on_negotiated,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.queue_enable = on_queue_enable,
	.queue_kick = on_queue_kick,
	.state_changed = on_state_changed,
	.closed = on_closed,
};

/* A frontend that was connected to our predecessor does not negotiate again. */
static void on_seated(struct seat *seat)
{
	struct vsock_port *port = container_of(seat, struct vsock_port, seat);

	port->seqpacket = false;
	vu_session_resume(seat->session, vu_offered_protocol_features(&port_vsock_ops));
	hv_vm_tell_state(&port->vm);
}

/* ---- making ------------------------------------------------------------------------------------- */

static int port_new(struct hv_relay *relay, const struct hv_vm_config *config,
		    struct vsock_port **ret_port)
{
	struct vsock_port *port = calloc(1, sizeof(*port));
	uint64_t seed;
	int r;

	if (!port)
		return -ENOMEM;
	port->vm.ops = &transport;
	r = getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? 0 : -errno;
	if (r == 0)
		r = conntab_init(&port->tab, seed);
	if (r == 0)
		r = hv_vm_init(&port->vm, relay, config);
	if (r < 0) {
		conntab_done(&port->tab);
		free(port);
		return r;
	}
	seat_init(&port->seat, hv_vm_loop(&port->vm), &port_vsock_ops, port, port->vm.name);
	port->seat.seated = on_seated;
	port->seat.n_sessions = &port->vm.stats.sessions;
	port->seat.n_refused = &port->vm.stats.sessions_refused;
	*ret_port = port;
	return 0;
}

int port_vsock_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm)
{
	auto_fd int fd = listen_fd;
	struct vsock_port *port;
	int r = port_new(relay, config, &port);

	if (r < 0)
		return r;
	r = seat_open(&port->seat, path, fd_take(&fd));
	if (r < 0) {
		port_free(port);
		return r;
	}
	port->vm.state = on_state(&port->vm);
	*ret_vm = &port->vm;
	return 0;
}

int port_vsock_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm)
{
	auto_fd int owned = fd;
	struct vsock_port *port;
	int r = port_new(relay, config, &port);

	if (r < 0)
		return r;
	seat_adopt(&port->seat, fd_take(&owned));
	port->vm.state = on_state(&port->vm);
	*ret_vm = &port->vm;
	return 0;
}
