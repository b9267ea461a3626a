/* SPDX-License-Identifier: MIT */
/* The receiveq: packets to the guest.
 *
 * Buffers are fetched as they are needed, filled, and those left over given back; one publication and one call for a
 * whole round.  The data of a stream goes from its descriptor straight into as many buffers as it fills, by one
 * readv(2) behind the room that is left for each header. */
#include <assert.h>
#include <errno.h>

#include "journal.h"
#include "port_vsock_impl.h"

/* What one connection may take of a round: then it is another's turn. */
#define ROUND_BYTES (256u << 10)

/* Resets of a predecessor's connections in one round. */
#define ROUND_ORPHANS 64

/* Buffers fetched for the first read of a connection; doubled while they are filled, at most VQ_BURST. */
#define WANT_MIN 4

enum served {
	SERVED,         /* nothing more for now */
	SERVED_MORE,    /* there is more, it is another's turn */
	SERVED_BLOCKED, /* there was no buffer */
};

/* ---- buffers ------------------------------------------------------------------------------------ */

/* Give back what was fetched and not used. */
static void give_back(struct vsock_port *port)
{
	struct vu_queue *q = port->queue[VSOCK_RX];

	if (q)
		vq_unpop(&q->vq, port->rx.n - port->rx_next);
	port->rx.n = port->rx_next = 0;
}

/* Have fetched buffers at hand, `want` if there are so many.  Returns how many; 0: none, or the ring is gone. */
static unsigned have(struct vsock_port *port, unsigned want)
{
	struct vu_queue *q = port->queue[VSOCK_RX];
	int n;

	if (!q)
		return 0;
	if (port->rx_next < port->rx.n)
		return port->rx.n - port->rx_next;
	port->rx_next = 0;
	n = vq_pop(&q->vq, &port->rx, want);
	if (unlikely(n < 0)) {
		port->rx.n = 0;
		port->vm.stats.queue_broken++;
		vu_session_queue_broken(q->session, q);
		return 0;
	}
	return (unsigned)n;
}

static struct vq_chain *next_chain(struct vsock_port *port)
{
	return &port->rx.chain[port->rx_next];
}

/* Return the next buffer with a header, and p->len bytes of data that are in it already. */
static void put(struct vsock_port *port, struct pkt *p)
{
	const struct vq_chain *c = next_chain(port);

	p->dst_cid = port->vm.cid;
	pkt_put(p, c->iov + c->n_out, c->n_in);
	vq_push(&port->queue[VSOCK_RX]->vq, c->head, PKT_HDR_LEN + p->len);
	port->rx_next++;
	port->vm.stats.packets_to_guest++;
}

static void put_for(struct vsock_port *port, const struct vsock_conn *vc, struct pkt *p)
{
	p->src_cid = vc->hv.cid;
	p->src_port = vc->hv.port;
	p->dst_port = vc->hv.guest_port;
	put(port, p);
}

/* A buffer for a packet without data.  One that cannot even hold a header goes back as it is. */
static bool have_header(struct vsock_port *port)
{
	while (have(port, 1) > 0) {
		struct vq_chain *c = next_chain(port);

		if (likely(c->in_len >= PKT_HDR_LEN))
			return true;
		vq_push(&port->queue[VSOCK_RX]->vq, c->head, 0);
		port->rx_next++;
	}
	return false;
}

/* Lay out up to max bytes of room over the fetched buffers, beginning with the next: pieces in port->iov, the room of
 * each in room[].  Returns the buffers, and *ret_iovs, *ret_len. */
static unsigned lay_out(struct vsock_port *port, uint32_t max, uint32_t room[VQ_BURST],
			unsigned *ret_iovs, uint32_t *ret_len)
{
	unsigned n = 0, n_iov = 0;
	uint32_t len = 0;

	for (unsigned i = port->rx_next; i < port->rx.n && len < max; i++, n++) {
		const struct vq_chain *c = &port->rx.chain[i];
		unsigned got = pkt_room(c->iov + c->n_out, c->n_in, port->iov + n_iov, &room[n]);

		if (unlikely(got == 0)) /* too small for data: it will do for a header */
			break;
		n_iov += got;
		len += room[n];
	}
	for (; len > max && n_iov > 0; n_iov--) {
		struct iovec *v = &port->iov[n_iov - 1];
		uint32_t cut = (uint32_t)min(v->iov_len, (size_t)(len - max));

		v->iov_len -= cut;
		len -= cut;
		if (v->iov_len > 0)
			break;
	}
	*ret_iovs = n_iov;
	*ret_len = len;
	return n;
}

static unsigned wanted(const struct vsock_conn *vc)
{
	return max((unsigned)vc->want, (unsigned)WANT_MIN);
}

/* ---- data --------------------------------------------------------------------------------------- */

/* Send off len bytes that lie in the next buffers, laid out by lay_out(). */
static void send_off(struct vsock_port *port, struct vsock_conn *vc, uint32_t len,
		     const uint32_t room[VQ_BURST], uint32_t last_flags)
{
	struct pkt p;

	port->vm.stats.bytes_to_guest += len;
	for (unsigned i = 0; len > 0; i++) {
		uint32_t part = min(len, room[i]);

		len -= part;
		conn_data(&vc->m, part, len ? 0 : last_flags, &p);
		put_for(port, vc, &p);
	}
}

/* The far end has something and the guest's credit is used up. */
static enum served starve(struct vsock_conn *vc)
{
	conn_starved(&vc->m);
	return SERVED;
}

/* The next buffer has no room for data: a guest whose buffers are all like that gets none. */
static enum served too_small(struct vsock_port *port, struct vsock_conn *vc)
{
	port->vm.stats.reset_message++;
	vsock_reset(vc);
	return SERVED;
}

/* A read of r bytes left some of its room, or none: then it is followed by a larger one. */
static void learn(struct vsock_conn *vc, uint32_t r, bool filled)
{
	vc->want = filled ? (uint8_t)min(2 * wanted(vc), (unsigned)VQ_BURST) : WANT_MIN;
	vc->read_ns = filled || r >= VSOCK_GATHER_BYTES ? 0 : loop_now_ns();
}

/* No more was read: because there is none, or because it is to be tried again. */
static enum served stopped(const struct vsock_conn *vc)
{
	return hv_far_readable(&vc->hv) ? SERVED_MORE : SERVED;
}

static enum served send_stream(struct vsock_port *port, struct vsock_conn *vc)
{
	uint32_t room[VQ_BURST], budget = ROUND_BYTES;

	while (hv_far_readable(&vc->hv)) {
		uint32_t max = min(conn_room(&vc->m), budget), len;
		unsigned n_iov;
		ssize_t r;

		if (max == 0)
			return budget ? starve(vc) : SERVED_MORE;
		if (have(port, wanted(vc)) == 0)
			return SERVED_BLOCKED;
		if (lay_out(port, max, room, &n_iov, &len) == 0)
			return too_small(port, vc);
		r = hv_far_read(&vc->hv, port->iov, n_iov, len);
		if (r == -EFAULT)
			vsock_lost_memory(port, port->queue[VSOCK_RX]);
		if (r <= 0)
			return stopped(vc);
		learn(vc, (uint32_t)r, r == (ssize_t)len);
		budget -= (uint32_t)r;
		send_off(port, vc, (uint32_t)r, room, 0);
	}
	return SERVED;
}

/* Fetch buffers until there is room for a whole message of len bytes.  False: there are not so many yet. */
static bool have_room(struct vsock_port *port, uint32_t len, uint32_t room[VQ_BURST],
		      unsigned *ret_iovs)
{
	uint32_t got;

	if (have(port, WANT_MIN) > 0) {
		(void)lay_out(port, len, room, ret_iovs, &got);
		if (got == len)
			return true;
	}
	give_back(port);
	if (have(port, VQ_BURST) == 0)
		return false;
	(void)lay_out(port, len, room, ret_iovs, &got);
	return got == len;
}

/* A message is passed on whole or not at all. */
static enum served send_messages(struct vsock_port *port, struct vsock_conn *vc)
{
	uint32_t room[VQ_BURST], budget = ROUND_BYTES;

	while (hv_far_readable(&vc->hv)) {
		ssize_t len = hv_far_peek(&vc->hv), r;
		unsigned n_iov, flags = 0;

		if (len <= 0)
			return stopped(vc);
		if ((uint64_t)len > vc->m.credit.peer_buf_alloc)
			return too_small(port, vc);
		if (budget == 0)
			return SERVED_MORE;
		if (conn_room(&vc->m) < (uint32_t)len)
			return starve(vc);
		if (!have_room(port, (uint32_t)len, room, &n_iov))
			return port->rx.n < VQ_BURST ? SERVED_BLOCKED : too_small(port, vc);
		r = hv_far_read_message(&vc->hv, port->iov, n_iov, (uint32_t)len, &flags);
		if (r == -EFAULT)
			vsock_lost_memory(port, port->queue[VSOCK_RX]);
		if (r <= 0)
			return stopped(vc);
		budget -= min(budget, (uint32_t)r);
		send_off(port, vc, (uint32_t)r, room,
			 VIRTIO_VSOCK_SEQ_EOM | (flags & HV_MSG_EOR ? VIRTIO_VSOCK_SEQ_EOR : 0));
	}
	return SERVED;
}

/* ---- control ------------------------------------------------------------------------------------ */

/* Does another connection have its address by now?  Then an RST would hit that one. */
static bool is_replaced(const struct vsock_port *port, const struct vsock_conn *vc)
{
	return !vc->node.added &&
	       conntab_find(&port->tab, vc->node.guest_port, vc->node.port, vc->node.cid);
}

/* All that is owed.  An RST is the last that is said. */
static enum served send_owed(struct vsock_port *port, struct vsock_conn *vc)
{
	struct pkt p;

	while (vc->m.owed) {
		bool silent = is_replaced(port, vc);

		if (!silent && !have_header(port))
			return SERVED_BLOCKED;
		(void)conn_owed(&vc->m, &p);
		port->vm.stats.credit_updates += p.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE;
		port->vm.stats.credit_requests += p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST;
		if (!silent)
			put_for(port, vc, &p);
	}
	if (vc->m.state == CONN_CLOSED) {
		conntab_remove(&port->tab, &vc->node);
		hv_guest_done(&vc->hv);
	}
	return SERVED;
}

static enum served serve(struct vsock_port *port, struct vsock_conn *vc)
{
	enum served r = SERVED;

	/* Credit alone waits for the data: that carries it. */
	if (vc->m.owed & ~(1u << VIRTIO_VSOCK_OP_CREDIT_UPDATE))
		r = send_owed(port, vc);
	if (r == SERVED && vc->m.state == CONN_CONNECTED)
		r = vc->hv.seqpacket ? send_messages(port, vc) : send_stream(port, vc);
	if (r != SERVED_BLOCKED && vc->m.owed && send_owed(port, vc) == SERVED_BLOCKED)
		r = SERVED_BLOCKED;
	return r;
}

/* An RST for a connection that we do not have.  False: there was no buffer. */
static bool send_reset(struct vsock_port *port, const struct vsock_reset *r)
{
	struct pkt p = {
		.op = VIRTIO_VSOCK_OP_RST,
		.type = r->type,
		.src_cid = r->cid,
		.src_port = r->port,
		.dst_port = r->guest_port,
	};

	if (!have_header(port))
		return false;
	put(port, &p);
	return true;
}

/* For packets that belong to no connection. */
static bool send_resets(struct vsock_port *port)
{
	while (port->n_resets > 0) {
		if (!send_reset(port, &port->reset[port->first_reset]))
			return false;
		port->first_reset = (port->first_reset + 1) % VSOCK_RESETS;
		port->n_resets--;
	}
	return true;
}

/* For the connections of a predecessor. */
static bool send_orphans(struct vsock_port *port)
{
	struct hv_journal *journal = hv_vm_journal(&port->vm);
	struct journal_entry e;

	for (unsigned i = 0; port->has_orphans && i < ROUND_ORPHANS; i++) {
		struct vsock_reset r;

		if (!have_header(port))
			return false;
		port->has_orphans = journal_take_orphan(journal, port->vm.cid, &e);
		if (!port->has_orphans || conntab_find(&port->tab, e.guest_port, e.port, e.cid))
			continue;
		r = (struct vsock_reset){ e.cid, e.port, e.guest_port, (uint16_t)e.type };
		(void)send_reset(port, &r);
		port->vm.stats.resets_restored++;
	}
	return true;
}

/* ---- a round ------------------------------------------------------------------------------------ */

/* One turn for each that is ready now. */
static bool serve_ready(struct vsock_port *port)
{
	for (unsigned left = port->ready.n; left > 0 && port->ready.first; left--) {
		struct vsock_conn *vc = port->ready.first;
		uint64_t before = port->vm.stats.packets_to_guest;
		enum served r = serve(port, vc);

		if (r == SERVED_BLOCKED) {
			/* Who had the last buffers does not get the next as well. */
			if (port->vm.stats.packets_to_guest != before) {
				vsock_unready(vc);
				vsock_ready(vc);
			}
			return false;
		}
		vsock_unready(vc);
		if (r == SERVED_MORE || vc->m.owed)
			vsock_ready(vc);
	}
	return true;
}

bool vsock_receive(struct vsock_port *port)
{
	struct vu_queue *q = port->queue[VSOCK_RX];
	uint64_t before = port->vm.stats.packets_to_guest;

	if (!vsock_has_output(port) || (port->rx_full && !vq_more(&q->vq)))
		return false;
	port->rx_full = !send_resets(port) || !send_orphans(port) || !serve_ready(port);
	give_back(port);
	q = port->queue[VSOCK_RX];
	if (q) {
		vq_publish(&q->vq);
		port->vm.stats.queue_calls += vq_call(&q->vq);
		vu_session_check(q->session);
	}
	return port->vm.stats.packets_to_guest != before;
}
