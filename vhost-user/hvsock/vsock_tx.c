/* SPDX-License-Identifier: MIT */
/* The transmitq: packets from the guest.
 *
 * A burst is read packet by packet, but its data is passed on connection by connection: what a guest sent in many
 * small packets reaches the far end in one call. */
#include <errno.h>

#include "port_vsock_impl.h"

void vsock_reset_packet(struct vsock_port *port, const struct pkt *p)
{
	if (p->op == VIRTIO_VSOCK_OP_RST) /* an RST is never answered */
		return;
	port->reset[(port->first_reset + port->n_resets++) % VSOCK_RESETS] = (struct vsock_reset){
		.cid = p->dst_cid,
		.port = p->dst_port,
		.guest_port = p->src_port,
		.type = p->type,
	};
}

/* ---- data, connection by connection ------------------------------------------------------------- */

/* The pieces of all its packets, one after the other in port->iov; sets *ret_len. */
static unsigned gather(struct vsock_port *port, const struct vsock_conn *vc, unsigned *ret_items,
		       uint32_t *ret_len)
{
	unsigned n = 0, n_items = 0, i = vc->first_item;
	uint32_t len = 0;

	for (;; i = port->item[i].next) {
		const struct vsock_item *item = &port->item[i];

		memcpy(&port->iov[n], item->iov, item->n_iov * sizeof(*item->iov));
		port->part[n_items++] = (struct hv_part){ .len = item->len,
							  .n_iov = item->n_iov,
							  .flags = item->flags };
		n += item->n_iov;
		len += item->len;
		if (i == vc->last_item)
			break;
	}
	*ret_items = n_items;
	*ret_len = len;
	return n;
}

static void write_failed(struct vsock_port *port, struct vsock_conn *vc, int r)
{
	if (r == -EFAULT) {
		vsock_lost_memory(port, port->queue[VSOCK_TX]);
		return;
	}
	if (r == -EMSGSIZE)
		port->vm.stats.reset_message++;
	else
		port->vm.stats.reset_limit_bytes++;
	vsock_reset(vc);
}

static void pass_on(struct vsock_port *port, struct vsock_conn *vc)
{
	unsigned n_items;
	uint32_t len;
	unsigned n = gather(port, vc, &n_items, &len);
	ssize_t r;

	vc->batched = false;
	port->vm.stats.bytes_from_guest += len;
	if (vc->hv.seqpacket)
		r = hv_far_write_parts(&vc->hv, port->iov, port->part, n_items);
	else
		r = hv_far_write(&vc->hv, port->iov, n, len);
	if (unlikely(r < 0)) {
		write_failed(port, vc, (int)r);
		return;
	}
	conn_forward(&vc->m, (uint32_t)r);
	if (vc->m.owed)
		vsock_ready(vc);
}

static void pass_on_all(struct vsock_port *port)
{
	while (port->first_batch) {
		struct vsock_conn *vc = port->first_batch;

		port->first_batch = vc->next_batch;
		vc->in_batch = false;
		if (vc->batched)
			pass_on(port, vc);
	}
	port->last_batch = &port->first_batch;
}

/* Shorten a list of pieces to len bytes, which are there.  Returns how many are left. */
static unsigned trim(struct iovec *iov, unsigned n, uint32_t len)
{
	unsigned i = 0;

	for (; i < n && len > 0; i++) {
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= (uint32_t)iov[i].iov_len;
	}
	return i;
}

/* Once in a burst, also when what it had was passed on before the end. */
static void join_batch(struct vsock_port *port, struct vsock_conn *vc)
{
	if (vc->in_batch)
		return;
	vc->in_batch = true;
	vc->next_batch = NULL;
	*port->last_batch = vc;
	port->last_batch = &vc->next_batch;
}

static void take_data(struct vsock_port *port, struct vsock_conn *vc, const struct pkt *p,
		      unsigned slot, struct iovec *iov, unsigned n)
{
	port->item[slot] = (struct vsock_item){
		.iov = iov,
		.n_iov = (uint16_t)trim(iov, n, p->len),
		.len = p->len,
		.flags = p->flags & PKT_SEQ_MASK,
	};
	vc->read_ns = 0; /* whoever is spoken to may be about to answer */
	if (vc->batched) {
		port->item[vc->last_item].next = (uint8_t)slot;
	} else {
		vc->batched = true;
		vc->first_item = (uint8_t)slot;
		join_batch(port, vc);
	}
	vc->last_item = (uint8_t)slot;
}

/* ---- packets ------------------------------------------------------------------------------------ */

/* What a packet meant, beyond its data. */
static void act(struct vsock_port *port, struct vsock_conn *vc, unsigned events)
{
	if (events & CONN_EV_IGNORED)
		port->vm.stats.packets_ignored++;
	if (events & CONN_EV_ACCEPTED)
		hv_guest_accepted(&vc->hv);
	if (events & CONN_EV_ROOM && hv_far_readable(&vc->hv))
		vsock_ready(vc);
	if (events & CONN_EV_CREDIT)
		port->vm.stats.reset_credit++;
	if (events & CONN_EV_BROKEN)
		port->vm.stats.reset_malformed++;
	if (events & CONN_EV_OVER) {
		port->n_costly++;
		/* A new connection of this address may come at any time now, unless an RST is still to tell. */
		if (vc->m.state != CONN_RESETTING)
			conntab_remove(&port->tab, &vc->node);
		hv_guest_shutdown(&vc->hv, HV_SHUTDOWN_BOTH);
		if (vc->m.state == CONN_CLOSED)
			hv_guest_done(&vc->hv);
	} else if (events & CONN_EV_SHUTDOWN) {
		hv_guest_shutdown(&vc->hv, vc->m.guest_shutdown);
	}
	if (vc->m.owed)
		vsock_ready(vc);
}

/* The guest's connect(). */
static void request(struct vsock_port *port, const struct pkt *p)
{
	struct vsock_conn *vc;
	struct hv_conn *hv;

	if ((p->type == VIRTIO_VSOCK_TYPE_SEQPACKET && !port->seqpacket) ||
	    hv_conn_allowed(&port->vm, p->dst_cid) < 0) {
		vsock_reset_packet(port, p);
		return;
	}
	hv = hv_conn_new(&port->vm, p->src_port, (uint32_t)p->dst_cid, p->dst_port,
			 p->type == VIRTIO_VSOCK_TYPE_SEQPACKET);
	if (!hv) {
		vsock_reset_packet(port, p);
		return;
	}
	vc = vsock_of(hv);
	conn_init_requested(&vc->m, p, HV_BUFFER_SIZE);
	vc->node = (struct conntab_node){ .guest_port = hv->guest_port,
					  .port = hv->port,
					  .cid = hv->cid };
	if (conntab_add(&port->tab, &vc->node) < 0) {
		hv_conn_abandon(hv);
		vsock_reset_packet(port, p);
		return;
	}
	port->reset_due = false;
	port->n_costly++;
	hv_conn_ask(hv);
}

/* A packet for no connection that we know. */
static void unknown(struct vsock_port *port, const struct pkt *p)
{
	if (p->op == VIRTIO_VSOCK_OP_REQUEST && pkt_type_valid(p->type)) {
		request(port, p);
		return;
	}
	port->vm.stats.packets_unknown += p->op != VIRTIO_VSOCK_OP_RST;
	vsock_reset_packet(port, p);
}

static struct vsock_conn *find(struct vsock_port *port, const struct pkt *p)
{
	struct vsock_conn *vc = port->found;
	struct conntab_node *node;

	if (likely(vc && vc->node.guest_port == p->src_port && vc->node.port == p->dst_port &&
		   vc->node.cid == p->dst_cid && vc->node.added))
		return vc;
	node = p->dst_cid <= HV_CID_MAX ?
		       conntab_find(&port->tab, p->src_port, p->dst_port, (uint32_t)p->dst_cid) :
		       NULL;
	if (!node)
		return NULL;
	port->found = container_of(node, struct vsock_conn, node);
	return port->found;
}

static void take_packet(struct vsock_port *port, const struct vq_chain *c, unsigned slot)
{
	struct iovec *iov = c->iov;
	unsigned n = c->n_out, events;
	struct vsock_conn *vc;
	struct pkt p;

	if (unlikely(!pkt_take(&iov, &n, &p))) {
		port->vm.stats.drop_short++;
		return;
	}
	if (unlikely(p.src_cid != port->vm.cid)) {
		port->vm.stats.drop_source++;
		return;
	}
	vc = find(port, &p);
	if (!vc || vc->m.type != p.type) {
		unknown(port, &p);
		return;
	}
	if (p.op != VIRTIO_VSOCK_OP_RW) {
		/* What it sent before comes before. */
		if (vc->batched)
			pass_on(port, vc);
		act(port, vc, conn_packet(&vc->m, &p));
		return;
	}
	if (unlikely(p.len > c->out_len - PKT_HDR_LEN)) {
		port->vm.stats.reset_malformed++;
		vsock_reset(vc);
		return;
	}
	events = conn_packet(&vc->m, &p);
	if (likely(events & CONN_EV_DATA) && p.len > 0)
		take_data(port, vc, &p, slot, iov, n);
	if (unlikely(events != CONN_EV_DATA))
		act(port, vc, events);
}

bool vsock_transmit(struct vsock_port *port)
{
	struct vu_queue *q = port->queue[VSOCK_TX];
	struct vq_burst *b = &port->tx;
	unsigned done = 0;
	int n;

	if (port->n_resets > VSOCK_RESETS - VQ_BURST)
		return false;
	n = vq_pop(&q->vq, b, VQ_BURST);
	if (n == 0)
		return false;
	if (unlikely(n < 0)) {
		port->vm.stats.queue_broken++;
		vu_session_queue_broken(q->session, q);
		return true;
	}
	port->n_costly = 0;
	port->first_batch = NULL;
	port->last_batch = &port->first_batch;
	while (done < (unsigned)n && port->n_costly < VSOCK_COSTLY) {
		take_packet(port, &b->chain[done], done);
		done++;
	}
	pass_on_all(port);
	port->vm.stats.packets_from_guest += done;
	vq_unpop(&q->vq, (unsigned)n - done);
	for (unsigned i = 0; i < done; i++)
		vq_push(&q->vq, b->chain[i].head, 0);
	vq_publish(&q->vq);
	port->vm.stats.queue_calls += vq_call(&q->vq);
	vu_session_check(q->session);
	return true;
}
