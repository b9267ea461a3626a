/* SPDX-License-Identifier: MIT */
/* The lives of channels: asked for, offered, opened, rescinded, released. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "checked.h"
#include "cleanup.h"
#include "eventfd.h"
#include "log.h"
#include "port_vmbus_impl.h"
#include "ports.h"

/* With fewer bytes free a guest's ring is not written to: what is less than a packet of a page is not worth its head. */
#define LOW vmpipe_size(VMBUS_PAGE_SIZE)

/* Descriptors that channels leave to others: QEMUs, clients of the host, control clients. */
#define SPARE_FDS 32

/* ---- finding ------------------------------------------------------------------------------------ */

static struct conntab_node endpoint_key(const struct vmbus_guid *g)
{
	uint32_t word[4];

	/* Of a Linux guest's endpoints all but the first word is the same.  One that differs from another in the last alone is
	 * refused while that lives. */
	memcpy(word, g->b, sizeof(word));
	return (struct conntab_node){ .guest_port = word[0], .port = word[1], .cid = word[2] };
}

static struct vmbus_channel *find_endpoint(const struct vmbus_port *port,
					   const struct vmbus_guid *endpoint)
{
	struct conntab_node key = endpoint_key(endpoint), *found;

	found = conntab_find(&port->endpoints, key.guest_port, key.port, key.cid);
	return found ? container_of(found, struct vmbus_channel, endpoint) : NULL;
}

static struct vmbus_channel *find_offer(const struct vmbus_port *port, uint64_t cookie)
{
	struct conntab_node *found =
		conntab_find(&port->offers, (uint32_t)(cookie >> 32), (uint32_t)cookie, 0);

	return found ? container_of(found, struct vmbus_channel, offer) : NULL;
}

static int senseless(struct vmbus_port *port, enum vmbus_message message, const char *why)
{
	vmbus_link_end(&port->link, -EPROTO, "%s: %s", vmbus_message_name(message), why);
	return -EPROTO;
}

static void read_payload(const struct msg *msg, union vmbus_payload *ret)
{
	memcpy(ret, &msg->payload, msg->hdr.size); /* vmbus_check() has looked at it */
}

/* The channel that a message names, or NULL: then the link has been ended. */
static struct vmbus_channel *named(struct vmbus_port *port, enum vmbus_message message, uint32_t id)
{
	struct vmbus_channel *ch = port->by_id[id];

	if (!ch)
		(void)senseless(port, message, "no such channel");
	return ch;
}

/* ---- making and freeing ------------------------------------------------------------------------- */

static void on_late(struct loop_timer *timer);

static struct vmbus_channel *channel_new(struct vmbus_port *port, struct vmbus_conn *conn)
{
	struct vmbus_channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	ch->port = port;
	ch->conn = conn;
	conn->channel = ch;
	ch->pipe.kick_fd = ch->pipe.call_fd = -1;
	loop_timer_init(&ch->timer, on_late);
	ch->next = port->first;
	if (ch->next)
		ch->next->prev = ch;
	port->first = ch;
	port->n_channels++;
	return ch;
}

static void pipe_close(struct vmbus_channel *ch)
{
	struct vmbus_pipe *p = &ch->pipe;

	vmbus_asleep(ch);
	loop_del(&p->kick);
	fd_drop(&p->kick_fd);
	fd_drop(&p->call_fd);
	free(p->pfn);
	p->pfn = NULL;
}

/* Its connection has ended, and is not told by this. */
static struct vmbus_conn *detach(struct vmbus_channel *ch)
{
	struct vmbus_conn *conn = ch->conn;

	ch->conn = NULL;
	if (conn)
		conn->channel = NULL;
	return conn;
}

static void on_retry(struct loop_work *work);

static void channel_free(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;

	(void)detach(ch);
	pipe_close(ch);
	loop_timer_cancel(hv_vm_loop(&port->vm), &ch->timer);
	conntab_remove(&port->endpoints, &ch->endpoint);
	conntab_remove(&port->offers, &ch->offer);
	port->by_id[ch->id] = NULL;
	*(ch->prev ? &ch->prev->next : &port->first) = ch->next;
	if (ch->next)
		ch->next->prev = ch->prev;
	port->n_channels--;
	if (port->n_waiting > 0)
		loop_defer(hv_vm_loop(&port->vm), &port->retry, on_retry);
	free(ch);
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void refuse(struct vmbus_port *port, const struct vmbus_guid *endpoint,
		   const struct vmbus_guid *service)
{
	struct vmbus_connect_result result = { .endpoint = *endpoint,
					       .service = *service,
					       .status = VMBUS_REFUSED };

	vmbus_link_send(&port->link, VMBUS_CONNECT_RESULT, &result);
}

static void send_channel(struct vmbus_channel *ch, enum vmbus_message message)
{
	struct vmbus_channel_id id = { .channel = ch->id };

	vmbus_link_send(&ch->port->link, message, &id);
}

static void rescind(struct vmbus_channel *ch)
{
	ch->state = CHANNEL_RESCINDED;
	send_channel(ch, VMBUS_RESCIND);
}

void vmbus_channel_end(struct vmbus_channel *ch)
{
	struct vmbus_conn *conn = detach(ch);

	pipe_close(ch);
	loop_timer_cancel(hv_vm_loop(&ch->port->vm), &ch->timer);
	switch (ch->state) {
	case CHANNEL_ASKED:
		refuse(ch->port, &ch->instance, &ch->service);
		channel_free(ch);
		break;
	case CHANNEL_OFFERED:
	case CHANNEL_OPEN:
		rescind(ch);
		break;
	case CHANNEL_OFFERING: /* when its number is known */
	case CHANNEL_RESCINDED:
		break;
	}
	if (conn)
		hv_guest_done(&conn->hv);
}

void vmbus_channel_break(struct vmbus_channel *ch, const char *why)
{
	struct vmbus_port *port = ch->port;

	log_limited(&port->seat.log, LOG_LEVEL_WARNING, port->vm.name,
		    "channel %u is over, the guest broke its ring: %s", ch->id, why);
	vmbus_channel_end(ch);
}

/* The guest does not open what it asked for, has closed what it does not read from any more, or has had its time to see what has
 * ended already. */
static void on_late(struct loop_timer *timer)
{
	struct vmbus_channel *ch = container_of(timer, struct vmbus_channel, timer);

	if (ch->state == CHANNEL_OPEN && ch->far_gone) {
		if (!vmbus_lingers(ch))
			vmbus_channel_end(ch);
		return;
	}
	if (ch->state == CHANNEL_OPEN && vmbus_is_read(ch))
		return;
	ch->port->vm.stats.reset_timeout++;
	if (ch->state == CHANNEL_OPEN)
		vmbus_take_rest(ch);
	vmbus_channel_end(ch);
}

/* ---- offers ------------------------------------------------------------------------------------- */

static int offer(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;
	struct vmbus_offer o = { .cookie = ++port->cookie,
				 .type = ch->service,
				 .instance = ch->instance,
				 .to_guest = ch->to_guest };
	int r;

	ch->offer = (struct conntab_node){ .guest_port = (uint32_t)(o.cookie >> 32),
					   .port = (uint32_t)o.cookie };
	r = conntab_add(&port->offers, &ch->offer);
	if (r < 0)
		return r;
	ch->state = CHANNEL_OFFERING;
	vmbus_link_send(&port->link, VMBUS_OFFER, &o);
	return 0;
}

int vmbus_channel_to_guest(struct vmbus_port *port, struct vmbus_conn *conn)
{
	struct vmbus_channel *ch;
	int r;

	if (port->n_channels >= VMBUS_CHANNELS) {
		port->vm.stats.refused_channel++;
		return -EMFILE;
	}
	ch = channel_new(port, conn);
	if (!ch)
		return -ENOMEM;
	ch->to_guest = true;
	ports_guid_bytes(conn->hv.guest_port, ch->service.b);
	r = getrandom(ch->instance.b, sizeof(ch->instance.b), 0) < 0 ? -ENOMEM : offer(ch);
	if (r < 0)
		channel_free(ch);
	return r;
}

void vmbus_channel_accepted(struct vmbus_channel *ch)
{
	if (ch->state != CHANNEL_ASKED)
		return;
	if (offer(ch) < 0) {
		vmbus_channel_end(ch);
		return;
	}
	loop_timer_set(hv_vm_loop(&ch->port->vm), &ch->timer, loop_now_ns() + HV_CONNECT_NS);
}

/* The frontend could not offer it: the guest's VMBus is not up, or has no channel left. */
static void not_offered(struct vmbus_channel *ch, int status)
{
	struct vmbus_port *port = ch->port;
	struct vmbus_conn *conn = detach(ch);

	log_debug(port->vm.name, "a channel was not offered: %s", strerror(-status));
	port->vm.stats.refused_channel++;
	if (!ch->to_guest)
		refuse(port, &ch->instance, &ch->service);
	channel_free(ch);
	if (conn)
		hv_guest_done(&conn->hv);
}

void vmbus_on_offered(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_channel *ch;
	union vmbus_payload p;

	read_payload(msg, &p);
	ch = find_offer(port, p.offered.cookie);
	if (!ch) {
		(void)senseless(port, VMBUS_OFFERED, "no such offer");
		return;
	}
	if (p.offered.status < 0) {
		not_offered(ch, p.offered.status);
		return;
	}
	if (port->by_id[p.offered.channel]) {
		(void)senseless(port, VMBUS_OFFERED, "channel is taken");
		return;
	}
	conntab_remove(&port->offers, &ch->offer);
	ch->id = p.offered.channel;
	port->by_id[ch->id] = ch;
	vmbus_port_ready(port);
	if (ch->conn)
		ch->state = CHANNEL_OFFERED;
	else
		rescind(ch);
}

/* ---- connects of the guest ---------------------------------------------------------------------- */

/* Ask the host, or refuse. */
static void request(struct vmbus_port *port, const struct vmbus_guid *endpoint,
		    const struct vmbus_guid *service)
{
	struct hv_conn *hv = NULL;
	struct vmbus_channel *ch = NULL;
	uint32_t guest_port, host_port;

	memcpy(&guest_port, endpoint->b, sizeof(guest_port));
	if (ports_from_guid_bytes(service->b, &host_port) < 0)
		port->vm.stats.refused_by_host++;
	else if (port->n_channels >= VMBUS_CHANNELS)
		port->vm.stats.refused_channel++;
	else if (hv_conn_allowed(&port->vm, HV_CID_HOST) == 0)
		hv = hv_conn_new(&port->vm, le32toh(guest_port), HV_CID_HOST, host_port, false);
	if (hv)
		ch = channel_new(port, vmbus_conn_of(hv));
	if (ch) {
		ch->service = *service;
		ch->instance = *endpoint;
		ch->endpoint = endpoint_key(endpoint);
		if (conntab_add(&port->endpoints, &ch->endpoint) == 0) {
			hv_conn_ask(hv);
			return;
		}
		channel_free(ch);
	}
	if (hv)
		hv_conn_abandon(hv);
	refuse(port, endpoint, service);
}

/* ---- those that wait for their port ---- */

static void arm_waited(struct vmbus_port *port)
{
	if (port->waiting)
		loop_timer_set(hv_vm_loop(&port->vm), &port->waited, port->waiting->until_ns);
	else
		loop_timer_cancel(hv_vm_loop(&port->vm), &port->waited);
}

/* Take the one at *p out; its successor is at *p then. */
static void waiting_remove(struct vmbus_port *port, struct vmbus_waiting **p)
{
	struct vmbus_waiting *w = *p;

	*p = w->next;
	if (!*p)
		port->waiting_tail = p;
	port->n_waiting--;
	free(w);
}

static void wait_for_release(struct vmbus_port *port, const struct vmbus_connect_request *c)
{
	struct vmbus_waiting *w = port->n_waiting < VMBUS_WAITING ? calloc(1, sizeof(*w)) : NULL;

	if (!w) {
		port->vm.stats.refused_channel++;
		refuse(port, &c->endpoint, &c->service);
		return;
	}
	w->endpoint = c->endpoint;
	w->service = c->service;
	w->until_ns = loop_now_ns() + HV_CONNECT_NS;
	*port->waiting_tail = w;
	port->waiting_tail = &w->next;
	port->n_waiting++;
	arm_waited(port);
}

void vmbus_on_waited(struct loop_timer *timer)
{
	struct vmbus_port *port = container_of(timer, struct vmbus_port, waited);
	uint64_t now_ns = loop_now_ns();

	while (port->waiting && port->waiting->until_ns <= now_ns) {
		port->vm.stats.reset_timeout++;
		refuse(port, &port->waiting->endpoint, &port->waiting->service);
		waiting_remove(port, &port->waiting);
	}
	arm_waited(port);
}

static void on_retry(struct loop_work *work)
{
	struct vmbus_port *port = container_of(work, struct vmbus_port, retry);
	struct vmbus_waiting **p = &port->waiting;

	while (*p) {
		struct vmbus_waiting w = **p;

		if (find_endpoint(port, &w.endpoint)) {
			p = &(*p)->next;
			continue;
		}
		waiting_remove(port, p);
		request(port, &w.endpoint, &w.service);
	}
	arm_waited(port);
}

static bool is_same(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The guest connects from the port of an older channel, which it has therefore given up.  False: nothing shows that. */
static bool give_up(struct vmbus_channel *old)
{
	if (old->state == CHANNEL_OPEN && !vmbus_has_ended(old))
		return false;
	if (old->state == CHANNEL_OPEN)
		vmbus_take_rest(old);
	vmbus_channel_end(old);
	return true;
}

/* Each is answered once, by an offer or a refusal. */
void vmbus_on_connect_request(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_connect_request c;
	struct vmbus_channel *old;
	union vmbus_payload p;

	read_payload(msg, &p);
	c = p.connect_request;
	vmbus_port_ready(port);
	old = find_endpoint(port, &c.endpoint);
	if (old && !is_same(&old->instance, &c.endpoint)) {
		port->vm.stats.refused_channel++;
		refuse(port, &c.endpoint, &c.service);
		return;
	}
	if (old && old->state == CHANNEL_ASKED && is_same(&old->service, &c.service))
		return; /* the answer that is due serves both */
	if (old && give_up(old))
		old = find_endpoint(port, &c.endpoint);
	if (old)
		wait_for_release(port, &c);
	else
		request(port, &c.endpoint, &c.service);
}

/* ---- opening ------------------------------------------------------------------------------------ */

/* Where its pages lie.  -EFAULT: not in guest memory, or not so that their words can be read in one go. */
static int find_pages(struct vmbus_channel *ch)
{
	struct vmbus_pipe *p = &ch->pipe;

	for (unsigned i = 0; i < p->n_pages; i++) {
		void *va;

		if (p->pfn[i] > UINT64_MAX / VMBUS_PAGE_SIZE ||
		    mem_gpa_to_va(&ch->port->mem, GPA(p->pfn[i] * VMBUS_PAGE_SIZE), VMBUS_PAGE_SIZE,
				  &va) < 0 ||
		    (uintptr_t)va % sizeof(uint64_t))
			return -EFAULT;
		p->page[i] = va;
	}
	return 0;
}

static int open_rings(struct vmbus_pipe *p)
{
	int r;

	if (p->in_page > p->n_pages)
		return -EINVAL;
	r = vmbus_ring_open(&p->from_guest, false, p->page, p->in_page);
	if (r == 0)
		r = vmbus_ring_open(&p->to_guest, true, p->page + p->in_page,
				    p->n_pages - p->in_page);
	p->low = min(LOW, p->to_guest.size / 2);
	return r;
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct vmbus_channel *ch = container_of(src, struct vmbus_channel, pipe.kick);
	struct vmbus_port *port = ch->port;
	int r = eventfd_drain(ch->pipe.kick_fd);

	if (r < 0) {
		vmbus_link_end(&port->link, -EPROTO, "channel %u: kick descriptor is of no use: %s",
			       ch->id, strerror(-r));
		return;
	}
	port->vm.stats.queue_kicks++;
	vmbus_wake(ch);
}

/* What comes with OPEN becomes the channel's. */
static int pipe_open(struct vmbus_channel *ch, const struct vmbus_open *o, struct msg *msg)
{
	struct vmbus_pipe *p = &ch->pipe;
	size_t pfn_size = o->n_pages * sizeof(*p->pfn);
	int r;

	p->kick_fd = msg_take_fd(msg, 0);
	p->call_fd = msg_take_fd(msg, 1);
	p->n_pages = o->n_pages;
	p->in_page = o->in_page;
	p->pfn = malloc(pfn_size + o->n_pages * sizeof(*p->page));
	if (!p->pfn)
		return -ENOMEM;
	memcpy(p->pfn, o->pfn, pfn_size);
	p->page = (uint8_t **)(void *)(p->pfn + o->n_pages);
	r = find_pages(ch);
	if (r == 0)
		r = open_rings(p);
	if (r < 0)
		return r;
	(void)fcntl(p->call_fd, F_SETFL, O_NONBLOCK);
	return loop_add(hv_vm_loop(&ch->port->vm), &p->kick, p->kick_fd, EPOLLIN, on_kick);
}

/* The guest has opened it, and the host's end is ready: both are connected. */
static void opened(struct vmbus_channel *ch)
{
	ch->state = CHANNEL_OPEN;
	ch->pipe.opened_ns = loop_now_ns();
	ch->pipe.first_read = ch->pipe.to_guest.theirs;
	ch->pipe.first_write = ch->pipe.from_guest.theirs;
	loop_timer_cancel(hv_vm_loop(&ch->port->vm), &ch->timer);
	if (ch->to_guest)
		hv_guest_accepted(&ch->conn->hv);
	if (ch->state == CHANNEL_OPEN)
		vmbus_wake(ch);
}

/* This process had no room for the descriptors, or has little left: the kernel gives the lowest number that is free. */
static bool out_of_fds(const struct msg *msg)
{
	struct rlimit limit;

	if (msg->n_fds == 0)
		return true;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	       (rlim_t)max(msg->fds[0], msg->fds[1]) + SPARE_FDS >= limit.rlim_cur;
}

/* What became of an OPEN; the guest hears of a refusal by the rescind as well. */
static void answer_open(struct vmbus_channel *ch, int status)
{
	struct vmbus_open_result result = { .channel = ch->id, .status = status };
	struct vmbus_port *port = ch->port;

	vmbus_link_send(&port->link, VMBUS_OPEN_RESULT, &result);
	if (status == 0) {
		opened(ch);
	} else if (status == -EMFILE) {
		port->vm.stats.refused_channel++;
		log_limited(&port->seat.log, LOG_LEVEL_WARNING, port->vm.name,
			    "channel %u is refused: %s", ch->id, strerror(-status));
		vmbus_channel_end(ch);
	} else {
		port->vm.stats.queue_broken++;
		vmbus_channel_break(ch, strerror(-status));
	}
}

void vmbus_on_open(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_channel *ch;
	union vmbus_payload p;

	read_payload(msg, &p);
	ch = named(port, VMBUS_OPEN, p.open.channel);
	if (!ch || ch->state == CHANNEL_RESCINDED)
		return;
	if (ch->state != CHANNEL_OFFERED)
		(void)senseless(port, VMBUS_OPEN, "channel is open");
	else if (out_of_fds(msg))
		answer_open(ch, -EMFILE);
	else if (!eventfd_is(msg->fds[0]) || !eventfd_is(msg->fds[1]))
		(void)senseless(port, VMBUS_OPEN, "a descriptor is no eventfd");
	else
		answer_open(ch, pipe_open(ch, &p.open, msg));
}

/* ---- closing ------------------------------------------------------------------------------------ */

/* The guest closes by itself only what has no socket any more, but it may. */
void vmbus_on_close(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_channel *ch;
	union vmbus_payload p;

	read_payload(msg, &p);
	ch = named(port, VMBUS_CLOSE, p.channel.channel);
	if (!ch)
		return;
	if (ch->state == CHANNEL_OPEN)
		vmbus_take_rest(ch);
	vmbus_channel_end(ch);
	send_channel(ch, VMBUS_CLOSED);
}

void vmbus_on_released(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_channel *ch;
	struct vmbus_conn *conn;
	union vmbus_payload p;

	read_payload(msg, &p);
	ch = named(port, VMBUS_RELEASED, p.channel.channel);
	if (!ch)
		return;
	conn = detach(ch);
	channel_free(ch);
	if (conn)
		hv_guest_done(&conn->hv);
}

/* ---- all of them -------------------------------------------------------------------------------- */

/* Has it a page there?  No page number is so large that its address would not be one: find_pages(). */
static bool lies_in(const struct vmbus_pipe *p, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < p->n_pages; i++)
		if (range_overlaps(p->pfn[i] * VMBUS_PAGE_SIZE, VMBUS_PAGE_SIZE, gpa, size))
			return true;
	return false;
}

void vmbus_channels_lose(struct vmbus_port *port, uint64_t gpa, uint64_t size)
{
	for (struct vmbus_channel *ch = port->first, *next; ch; ch = next) {
		next = ch->next;
		if (ch->state != CHANNEL_OPEN || !lies_in(&ch->pipe, gpa, size))
			continue;
		port->vm.stats.queue_broken++;
		vmbus_channel_break(ch, "its memory is gone");
	}
}

void vmbus_channels_drain(struct vmbus_port *port)
{
	uint64_t now_ns = loop_now_ns(), since_ns = now_ns - port->drained_ns;
	uint64_t until_ns = now_ns + min(since_ns / VMBUS_DRAIN_PART, (uint64_t)VMBUS_DRAIN_NS);

	for (struct vmbus_channel *ch = port->first, *next; ch; ch = next) {
		next = ch->next;
		if (mem_damaged(&port->mem) || loop_now_ns() >= until_ns)
			break;
		if (ch->state == CHANNEL_OPEN)
			vmbus_take_rest(ch);
	}
	port->drained_ns = loop_now_ns();
}

void vmbus_channels_drop(struct vmbus_port *port)
{
	while (port->waiting)
		waiting_remove(port, &port->waiting);
	while (port->first)
		channel_free(port->first);
	loop_timer_cancel(hv_vm_loop(&port->vm), &port->waited);
	loop_defer_cancel(hv_vm_loop(&port->vm), &port->retry);
}
