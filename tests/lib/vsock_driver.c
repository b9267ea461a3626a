/* SPDX-License-Identifier: MIT */
#include "vsock_driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

enum { RX, TX, EVENT };

#define HDR_SIZE     sizeof(struct virtio_vsock_hdr)
#define PAYLOAD_MAX  65536u /* Linux's VIRTIO_VSOCK_MAX_PKT_BUF_SIZE, for both transports */
#define BUF_ALLOC    (256u << 10)
#define N_EVENTS     8
#define FIRST_PORT   0x10000u
#define WAIT_STEP_MS 10

#define must(condition) must_be((condition), #condition, __func__)

static void must_be(bool condition, const char *text, const char *where)
{
	if (condition)
		return;
	fprintf(stderr, "%s: failed: %s (%s)\n", where, text, strerror(errno));
	abort();
}

/* The device has broken a rule. */
__attribute__((format(printf, 2, 3))) static void bad(struct vsd *v, const char *format, ...)
{
	va_list args;

	if (v->n_bad++ > 0)
		return;
	va_start(args, format);
	vsnprintf(v->bad, sizeof(v->bad), format, args);
	va_end(args);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- setting up -------------------------------------------------------- */

static void set_defaults(struct vsd_options *o)
{
	o->num = o->num ? o->num : 128;
	o->n_queues = o->n_queues ? o->n_queues : 2;
	o->rx_bufs = o->rx_bufs ? o->rx_bufs : o->num / (o->rx_split ? 2 : 1);
	o->rx_len = o->rx_len ? o->rx_len : 4096;
	o->tx_len = o->tx_len ? o->tx_len : PAYLOAD_MAX;
	o->buf_alloc = o->buf_alloc ? o->buf_alloc : BUF_ALLOC;
	o->cid = o->cid ? o->cid : 3;
}

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

static void make_memory(struct vsd *v)
{
	const struct vsd_options *o = &v->o;
	size_t rings = 3 * (4 + o->num / 64u) * 4096, tables = 3ul * o->num * DRIVER_TABLE * 16;
	size_t buffers;

	v->rx_stride = round_up(HDR_SIZE + o->rx_len, CACHE_LINE);
	v->tx_stride = round_up(HDR_SIZE + o->tx_len, CACHE_LINE);
	buffers = o->rx_bufs * v->rx_stride + o->num * v->tx_stride;
	guest_init(&v->guest, 1,
		   round_up(rings + tables + buffers + o->extra + (64 << 10), 2 << 20));
	v->rx_gpa = guest_alloc(&v->guest, o->rx_bufs * v->rx_stride, 4096);
	v->tx_gpa = guest_alloc(&v->guest, o->num * v->tx_stride, 4096);
	v->event_gpa = guest_alloc(&v->guest, N_EVENTS * sizeof(struct virtio_vsock_event), 64);
	v->rx_mem = guest_ptr(&v->guest, v->rx_gpa, o->rx_bufs * v->rx_stride);
	v->tx_mem = guest_ptr(&v->guest, v->tx_gpa, o->num * v->tx_stride);
}

/* A slot's number travels in the cookie, one up: NULL is no slot. */
static void set_slot(struct driver *d, int head, uint32_t slot)
{
	driver_set_cookie(d, head, (void *)(uintptr_t)(slot + 1));
}

static uint32_t take_slot(struct driver *d, int head)
{
	return (uint32_t)(uintptr_t)driver_cookie(d, head) - 1;
}

/* Give receive buffer `slot` to the device; not yet published. */
static void rx_give(struct vsd *v, uint32_t slot)
{
	gpa_t at = GPA(v->rx_gpa.v + slot * v->rx_stride);
	const struct driver_buf split[2] = {
		{ at, HDR_SIZE },
		{ GPA(at.v + HDR_SIZE), v->o.rx_len },
	};
	const struct driver_buf whole = { at, (uint32_t)HDR_SIZE + v->o.rx_len };
	int head = v->o.rx_split ? driver_add(&v->rx, split, 0, 2) :
				   driver_add(&v->rx, &whole, 0, 1);

	must(head >= 0);
	set_slot(&v->rx, head, slot);
}

static void event_give(struct vsd *v, uint32_t slot)
{
	const uint32_t size = sizeof(struct virtio_vsock_event);
	const struct driver_buf buf = { GPA(v->event_gpa.v + slot * size), size };
	int head = driver_add(&v->event, &buf, 0, 1);

	must(head >= 0);
	set_slot(&v->event, head, slot);
}

static void make_rings(struct vsd *v)
{
	uint16_t num = v->o.num;

	driver_init(&v->rx, &v->guest, num, v->fe.features);
	driver_init(&v->tx, &v->guest, num, v->fe.features);
	driver_init(&v->event, &v->guest, num, v->fe.features);
	driver_call_off(&v->rx);
	driver_call_off(&v->tx);
	driver_call_off(&v->event);
	for (uint32_t i = 0; i < v->o.rx_bufs; i++)
		rx_give(v, i);
	for (uint32_t i = 0; i < N_EVENTS; i++)
		event_give(v, i);
	v->tx_free = calloc(num, sizeof(*v->tx_free));
	must(v->tx_free != NULL);
	for (uint32_t i = 0; i < num; i++)
		v->tx_free[v->n_tx_free++] = i;
}

/* What the device says the guest's address is, if it has a configuration space. */
static int read_cid(struct vsd *v)
{
	struct proto_config answer;
	const struct proto_config ask = { .size = sizeof(struct virtio_vsock_config) };
	size_t size = PROTO_CONFIG_HEAD + sizeof(struct virtio_vsock_config);
	struct proto_header hdr;
	uint64_t cid;
	int r;

	v->cid = v->o.cid;
	if (!(v->fe.protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG)))
		return 0;
	r = frontend_send(&v->fe, VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, &ask, size, NULL, 0);
	if (r == 0)
		r = frontend_recv(&v->fe, &hdr, &answer, sizeof(answer));
	if (r < 0)
		return r;
	if ((size_t)r != size || hdr.request != VHOST_USER_GET_CONFIG)
		return -EBADMSG;
	memcpy(&cid, answer.data, sizeof(cid));
	v->cid = le64toh(cid);
	return 0;
}

static int negotiate(struct vsd *v)
{
	uint64_t wanted = v->o.features | BIT_ULL(VIRTIO_F_VERSION_1) |
			  (v->o.no_seqpacket ? 0 : BIT_ULL(VIRTIO_VSOCK_F_SEQPACKET));
	int r = frontend_negotiate(&v->fe, wanted,
				   BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) |
					   BIT_ULL(VHOST_USER_PROTOCOL_F_MQ));

	return r < 0 ? r : read_cid(v);
}

static int start_rings(struct vsd *v)
{
	struct driver *ring[] = { &v->rx, &v->tx, &v->event };
	int r = frontend_guest(&v->fe, &v->guest);

	for (unsigned i = 0; r == 0 && i < v->o.n_queues; i++) {
		r = frontend_driver_start(&v->fe, i, ring[i], true);
		if (r == 0)
			driver_kick(ring[i]);
	}
	return r;
}

int vsd_start(struct vsd *v, const struct vsd_options *o)
{
	struct frontend fe = v->fe;
	int r;

	*v = (struct vsd){ .fe = fe, .o = *o, .held = -1, .next_port = FIRST_PORT };
	set_defaults(&v->o);
	v->bucket = calloc(VSD_BUCKETS, sizeof(struct vsd_conn *));
	must(v->bucket != NULL);
	r = negotiate(v);
	if (r == 0) {
		make_memory(v);
		make_rings(v);
		r = start_rings(v);
	}
	if (r < 0)
		vsd_done(v);
	return r;
}

int vsd_open(struct vsd *v, const struct vsd_options *o, const char *path)
{
	int r = frontend_connect(&v->fe, path);

	return r < 0 ? r : vsd_start(v, o);
}

int vsd_reopen(struct vsd *v, const char *path)
{
	struct frontend before = v->fe;
	uint64_t features = v->fe.features;
	int r;

	frontend_done(&v->fe);
	r = frontend_connect(&v->fe, path);
	v->fe.pump = before.pump;
	v->fe.ctx = before.ctx;
	if (r == 0)
		r = negotiate(v);
	if (r == 0 && v->fe.features != features)
		r = -EPROTO;
	return r < 0 ? r : start_rings(v);
}

void vsd_done(struct vsd *v)
{
	frontend_done(&v->fe);
	for (size_t i = 0; v->bucket && i < VSD_BUCKETS; i++)
		while (v->bucket[i])
			vsd_free(v->bucket[i]);
	free(v->bucket);
	free(v->tx_free);
	free(v->backlog);
	if (v->guest.va) {
		driver_done(&v->rx);
		driver_done(&v->tx);
		driver_done(&v->event);
		guest_done(&v->guest);
	}
	*v = (struct vsd){ .fe = { .sock = -1, .mem_fd = -1 }, .held = -1 };
}

gpa_t vsd_alloc(struct vsd *v, size_t size)
{
	return guest_alloc(&v->guest, size, CACHE_LINE);
}

/* ---- the table of connections ------------------------------------------ */

static struct vsd_conn **bucket_of(struct vsd *v, uint32_t local_port, uint32_t peer_port)
{
	return &v->bucket[(local_port * 31u + peer_port) % VSD_BUCKETS];
}

struct vsd_conn *vsd_find(struct vsd *v, uint32_t local_port, uint64_t peer_cid, uint32_t peer_port)
{
	struct vsd_conn *c = *bucket_of(v, local_port, peer_port);

	while (c && (c->local_port != local_port || c->peer_port != peer_port ||
		     c->peer_cid != peer_cid))
		c = c->next_in_bucket;
	return c;
}

static struct vsd_conn *conn_new(struct vsd *v, uint32_t local_port, uint64_t peer_cid,
				 uint32_t peer_port, uint16_t type)
{
	struct vsd_conn **bucket = bucket_of(v, local_port, peer_port);
	struct vsd_conn *c = calloc(1, sizeof(*c));

	must(c != NULL);
	*c = (struct vsd_conn){
		.v = v,
		.next_in_bucket = *bucket,
		.type = type,
		.peer_cid = peer_cid,
		.local_port = local_port,
		.peer_port = peer_port,
		.buf_alloc = v->o.buf_alloc,
	};
	*bucket = c;
	v->n_conns++;
	return c;
}

void vsd_free(struct vsd_conn *c)
{
	struct vsd_conn **at;

	if (!c)
		return;
	at = bucket_of(c->v, c->local_port, c->peer_port);
	while (*at != c)
		at = &(*at)->next_in_bucket;
	*at = c->next_in_bucket;
	c->v->n_conns--;
	free(c);
}

static void conn_closed(struct vsd_conn *c)
{
	if (c->state == VSD_CLOSED)
		return;
	c->state = VSD_CLOSED;
	if (c->ops && c->ops->closed)
		c->ops->closed(c);
}

/* ---- sending ----------------------------------------------------------- */

/* A slot and its header in place; false when there is no room. */
static bool tx_slot(struct vsd *v, const struct virtio_vsock_hdr *hdr, uint32_t *ret_slot)
{
	if (v->n_tx_free == 0 || v->tx.n_free < 2)
		return false;
	*ret_slot = v->tx_free[--v->n_tx_free];
	memcpy(v->tx_mem + *ret_slot * v->tx_stride, hdr, sizeof(*hdr));
	return true;
}

/* Header and n bytes of payload, which are at `payload`. */
static void tx_add(struct vsd *v, uint32_t slot, gpa_t payload, size_t n)
{
	gpa_t at = GPA(v->tx_gpa.v + slot * v->tx_stride);
	const struct driver_buf buf[2] = { { at, HDR_SIZE }, { payload, (uint32_t)n } };
	const struct driver_buf whole = { at, (uint32_t)(HDR_SIZE + n) };
	bool split = n > 0 && (v->o.tx_split || payload.v != at.v + HDR_SIZE);
	int head = split ? driver_add(&v->tx, buf, 2, 0) : driver_add(&v->tx, &whole, 1, 0);

	must(head >= 0);
	set_slot(&v->tx, head, slot);
	v->n_tx++;
}

static int send_now(struct vsd *v, const struct virtio_vsock_hdr *hdr, const void *bytes, size_t n)
{
	uint32_t slot;

	must(n <= v->o.tx_len);
	if (!tx_slot(v, hdr, &slot))
		return -EAGAIN;
	if (n > 0)
		memcpy(v->tx_mem + slot * v->tx_stride + HDR_SIZE, bytes, n);
	tx_add(v, slot, GPA(v->tx_gpa.v + slot * v->tx_stride + HDR_SIZE), n);
	return 0;
}

int vsd_send_packet(struct vsd *v, const struct virtio_vsock_hdr *hdr, const void *bytes,
		    size_t n_bytes)
{
	return v->n_backlog > 0 ? -EAGAIN : send_now(v, hdr, bytes, n_bytes);
}

/* A packet without payload: never refused, at worst late. */
static void send_control(struct vsd *v, const struct virtio_vsock_hdr *hdr)
{
	if (v->n_backlog == 0 && send_now(v, hdr, NULL, 0) == 0)
		return;
	if (v->n_backlog == v->backlog_size) {
		v->backlog_size = v->backlog_size ? 2 * v->backlog_size : 64;
		v->backlog = realloc(v->backlog, v->backlog_size * sizeof(*v->backlog));
		must(v->backlog != NULL);
	}
	v->backlog[v->n_backlog++] = *hdr;
}

static void send_backlog(struct vsd *v)
{
	size_t n = 0;

	while (n < v->n_backlog && send_now(v, &v->backlog[n], NULL, 0) == 0)
		n++;
	if (n == 0)
		return;
	v->n_backlog -= n;
	memmove(v->backlog, v->backlog + n, v->n_backlog * sizeof(*v->backlog));
}

struct virtio_vsock_hdr vsd_header(const struct vsd_conn *c, uint16_t op, uint32_t flags)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(c->v->cid),
		.dst_cid = htole64(c->peer_cid),
		.src_port = htole32(c->local_port),
		.dst_port = htole32(c->peer_port),
		.type = htole16(c->type),
		.op = htole16(op),
		.flags = htole32(flags),
		.buf_alloc = htole32(c->buf_alloc),
		.fwd_cnt = htole32(c->fwd_cnt),
	};
}

static void conn_control(struct vsd_conn *c, uint16_t op, uint32_t flags)
{
	const struct virtio_vsock_hdr hdr = vsd_header(c, op, flags);

	c->told_fwd_cnt = c->fwd_cnt;
	send_control(c->v, &hdr);
}

uint32_t vsd_credit(const struct vsd_conn *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight : 0;
}

/* What the next packet of len bytes may carry: > 0, or -errno. */
static ssize_t sendable(const struct vsd_conn *c, size_t len, size_t most)
{
	size_t allowed = min(most, (size_t)vsd_credit(c)), n = min(len, allowed);

	if (c->state != VSD_CONNECTED || c->sent_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND ||
	    c->peer_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)
		return -EPIPE;
	return n > 0 && c->v->n_backlog == 0 ? (ssize_t)n : -EAGAIN;
}

static struct virtio_vsock_hdr data_header(const struct vsd_conn *c, size_t n, size_t len,
					   uint32_t flags)
{
	struct virtio_vsock_hdr hdr = vsd_header(c, VIRTIO_VSOCK_OP_RW, n == len ? flags : 0);

	hdr.len = htole32((uint32_t)n);
	return hdr;
}

static void sent(struct vsd_conn *c, size_t n)
{
	c->tx_cnt += (uint32_t)n;
	c->told_fwd_cnt = c->fwd_cnt;
}

ssize_t vsd_send(struct vsd_conn *c, const void *bytes, size_t len, uint32_t flags)
{
	ssize_t n = sendable(c, len, c->v->o.tx_len);
	struct virtio_vsock_hdr hdr;

	if (n < 0)
		return n;
	hdr = data_header(c, (size_t)n, len, flags);
	if (send_now(c->v, &hdr, bytes, (size_t)n) < 0)
		return -EAGAIN;
	sent(c, (size_t)n);
	return n;
}

ssize_t vsd_send_gpa(struct vsd_conn *c, gpa_t bytes, size_t len, uint32_t flags)
{
	ssize_t n = sendable(c, len, PAYLOAD_MAX);
	struct virtio_vsock_hdr hdr;
	uint32_t slot;

	if (n < 0)
		return n;
	hdr = data_header(c, (size_t)n, len, flags);
	if (!tx_slot(c->v, &hdr, &slot))
		return -EAGAIN;
	tx_add(c->v, slot, bytes, (size_t)n);
	sent(c, (size_t)n);
	return n;
}

/* Linux tells (virtio_transport_stream_do_dequeue()) when less than a packet's worth of what it has told is left. */
void vsd_consumed(struct vsd_conn *c, uint32_t n)
{
	c->fwd_cnt += n;
	if (c->state == VSD_CONNECTED &&
	    c->buf_alloc - (c->fwd_cnt - c->told_fwd_cnt) < min(PAYLOAD_MAX, c->buf_alloc))
		vsd_credit_update(c);
}

void vsd_credit_update(struct vsd_conn *c)
{
	conn_control(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
}

void vsd_credit_request(struct vsd_conn *c)
{
	conn_control(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
}

void vsd_shutdown(struct vsd_conn *c, uint32_t flags)
{
	c->sent_shutdown |= flags;
	conn_control(c, VIRTIO_VSOCK_OP_SHUTDOWN, c->sent_shutdown);
}

void vsd_close(struct vsd_conn *c)
{
	if (c->state == VSD_CONNECTED)
		vsd_shutdown(c, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	else if (c->state == VSD_CONNECTING)
		vsd_reset(c);
}

void vsd_reset(struct vsd_conn *c)
{
	if (c->state == VSD_CLOSED)
		return;
	conn_control(c, VIRTIO_VSOCK_OP_RST, 0);
	c->state = VSD_CLOSED;
}

static uint16_t type_of(int type)
{
	must(type == SOCK_STREAM || type == SOCK_SEQPACKET);
	return type == SOCK_STREAM ? VIRTIO_VSOCK_TYPE_STREAM : VIRTIO_VSOCK_TYPE_SEQPACKET;
}

struct vsd_conn *vsd_connect(struct vsd *v, uint64_t cid, uint32_t port, int type,
			     const struct vsd_ops *ops, void *ctx)
{
	struct vsd_conn *c = conn_new(v, v->next_port++, cid, port, type_of(type));

	if (v->next_port == UINT32_MAX)
		v->next_port = FIRST_PORT;
	c->ops = ops;
	c->ctx = ctx;
	conn_control(c, VIRTIO_VSOCK_OP_REQUEST, 0);
	return c;
}

void vsd_listen(struct vsd *v, uint32_t port, int type, vsd_accept_fn *accept, void *ctx)
{
	must(v->n_listeners < VSD_LISTENERS);
	v->listener[v->n_listeners++] = (struct vsd_listener){ port, type_of(type), accept, ctx };
}

/* ---- receiving --------------------------------------------------------- */

/* RST to the sender of a packet that belongs to nothing, as virtio_transport_reset_no_sock(). */
static void reset_stray(struct vsd *v, const struct virtio_vsock_hdr *in)
{
	struct virtio_vsock_hdr hdr = {
		.src_cid = in->dst_cid,
		.dst_cid = in->src_cid,
		.src_port = in->dst_port,
		.dst_port = in->src_port,
		.type = in->type,
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};

	v->n_stray++;
	if (le16toh(in->op) != VIRTIO_VSOCK_OP_RST)
		send_control(v, &hdr);
}

static void on_request(struct vsd *v, const struct virtio_vsock_hdr *hdr)
{
	uint32_t port = le32toh(hdr->dst_port);
	uint16_t type = le16toh(hdr->type);
	const struct vsd_listener *l = v->listener, *end = l + v->n_listeners;
	enum vsd_answer answer = VSD_ACCEPT;
	struct vsd_conn *c;

	while (l < end && (l->port != port || l->type != type))
		l++;
	if (l == end) {
		reset_stray(v, hdr);
		return;
	}
	c = conn_new(v, port, le64toh(hdr->src_cid), le32toh(hdr->src_port), type);
	c->peer_buf_alloc = le32toh(hdr->buf_alloc);
	c->peer_fwd_cnt = le32toh(hdr->fwd_cnt);
	if (l->accept)
		answer = l->accept(c, l->ctx);
	if (answer == VSD_ACCEPT) {
		c->state = VSD_CONNECTED;
		c->was_connected = true;
		conn_control(c, VIRTIO_VSOCK_OP_RESPONSE, 0);
		if (c->ops && c->ops->connected)
			c->ops->connected(c);
		return;
	}
	vsd_free(c);
	if (answer == VSD_REFUSE)
		reset_stray(v, hdr);
}

/* The peer's two words on credit, in every packet. */
static void update_credit(struct vsd_conn *c, const struct virtio_vsock_hdr *hdr)
{
	uint32_t fwd_cnt = le32toh(hdr->fwd_cnt);

	if (c->tx_cnt - fwd_cnt > c->tx_cnt - c->peer_fwd_cnt)
		bad(c->v, "port %u: fwd_cnt went from %u to %u of %u", c->local_port,
		    c->peer_fwd_cnt, fwd_cnt, c->tx_cnt);
	c->peer_buf_alloc = le32toh(hdr->buf_alloc);
	c->peer_fwd_cnt = fwd_cnt;
}

static void on_connecting(struct vsd_conn *c, uint16_t op)
{
	if (op == VIRTIO_VSOCK_OP_RST) {
		conn_closed(c);
	} else if (op == VIRTIO_VSOCK_OP_RESPONSE) {
		c->state = VSD_CONNECTED;
		c->was_connected = true;
		if (c->ops && c->ops->connected)
			c->ops->connected(c);
	} else {
		bad(c->v, "port %u: op %u while connecting", c->local_port, op);
		conn_control(c, VIRTIO_VSOCK_OP_RST, 0);
		conn_closed(c);
	}
}

static void on_data(struct vsd_conn *c, const struct virtio_vsock_hdr *hdr, const uint8_t *bytes)
{
	uint32_t n = le32toh(hdr->len);

	c->rx_cnt += n;
	if (c->rx_cnt - c->fwd_cnt > c->buf_alloc)
		bad(c->v, "port %u: %u bytes unread, %u allowed", c->local_port,
		    c->rx_cnt - c->fwd_cnt, c->buf_alloc);
	if (!c->manual)
		vsd_consumed(c, n);
	if (c->ops && c->ops->data)
		c->ops->data(c, bytes, n, le32toh(hdr->flags));
}

static void on_shutdown(struct vsd_conn *c, uint32_t flags)
{
	const uint32_t both = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

	c->peer_shutdown |= flags & both;
	if (c->peer_shutdown == both) {
		conn_control(c, VIRTIO_VSOCK_OP_RST, 0);
		conn_closed(c);
	} else if (c->ops && c->ops->shutdown) {
		c->ops->shutdown(c);
	}
}

static void on_connected(struct vsd_conn *c, const struct virtio_vsock_hdr *hdr,
			 const uint8_t *bytes)
{
	bool more = c->ops && c->ops->credit;
	uint32_t credit = vsd_credit(c);

	if (le16toh(hdr->op) !=
	    VIRTIO_VSOCK_OP_RST) /* one from a peer that knows nothing of us has zeros */
		update_credit(c, hdr);
	more = more && vsd_credit(c) > credit;
	switch (le16toh(hdr->op)) {
	case VIRTIO_VSOCK_OP_RW:
		if (more)
			c->ops->credit(c);
		on_data(c, hdr, bytes);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		if (more)
			c->ops->credit(c);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsd_credit_update(c);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		on_shutdown(c, le32toh(hdr->flags));
		break;
	case VIRTIO_VSOCK_OP_RST:
		conn_closed(c);
		break;
	default:
		bad(c->v, "port %u: op %u while connected", c->local_port, le16toh(hdr->op));
	}
}

/* What no packet may be, whatever it belongs to. */
static bool packet_is_sane(struct vsd *v, const struct virtio_vsock_hdr *hdr, uint32_t used_len)
{
	uint32_t len = le32toh(hdr->len);

	if (used_len != HDR_SIZE + len || len > v->o.rx_len)
		bad(v, "%u bytes used for a packet of %u", used_len, len);
	else if (len > 0 && le16toh(hdr->op) != VIRTIO_VSOCK_OP_RW)
		bad(v, "op %u with %u bytes", le16toh(hdr->op), len);
	else if (le64toh(hdr->dst_cid) != v->cid)
		bad(v, "a packet for %llu came to %llu", (unsigned long long)le64toh(hdr->dst_cid),
		    (unsigned long long)v->cid);
	else
		return true;
	return false;
}

static void on_packet(struct vsd *v, const uint8_t *at, uint32_t used_len)
{
	struct virtio_vsock_hdr hdr;
	struct vsd_conn *c;

	memcpy(&hdr, at, sizeof(hdr));
	v->n_rx++;
	if (!packet_is_sane(v, &hdr, used_len))
		return;
	c = vsd_find(v, le32toh(hdr.dst_port), le64toh(hdr.src_cid), le32toh(hdr.src_port));
	if (c && le16toh(hdr.type) != c->type) {
		bad(v, "port %u: type %u", c->local_port, le16toh(hdr.type));
		return;
	}
	if (c && c->state == VSD_CONNECTED) {
		on_connected(c, &hdr, at + HDR_SIZE);
	} else if (c && c->state == VSD_CONNECTING) {
		c->peer_buf_alloc = le32toh(hdr.buf_alloc);
		c->peer_fwd_cnt = le32toh(hdr.fwd_cnt);
		on_connecting(c, le16toh(hdr.op));
	} else if (!c && le16toh(hdr.op) == VIRTIO_VSOCK_OP_REQUEST) {
		on_request(v, &hdr);
	} else {
		reset_stray(v, &hdr);
	}
}

static void give_back_held(struct vsd *v)
{
	if (v->held >= 0)
		rx_give(v, v->held_slot);
	v->held = -1;
}

static void take_back_sent(struct vsd *v)
{
	uint32_t len;
	int head;

	while ((head = driver_used(&v->tx, &len)) >= 0) {
		if (len != 0)
			bad(v, "%u bytes written to what is read only", len);
		v->tx_free[v->n_tx_free++] = take_slot(&v->tx, head);
	}
	send_backlog(v);
}

static unsigned receive(struct vsd *v)
{
	unsigned n = 0;
	uint32_t len;
	int head;

	give_back_held(v);
	while (n < v->o.rx_bufs && (head = driver_used(&v->rx, &len)) >= 0) {
		uint32_t slot = take_slot(&v->rx, head);

		on_packet(v, v->rx_mem + slot * v->rx_stride, len);
		rx_give(v, slot);
		n++;
	}
	return n;
}

/* The device has lost its connections (virtio 1.3, 5.10.6.7): ours end, and it says its new address. */
static void transport_reset(struct vsd *v)
{
	v->n_resets++;
	must(read_cid(v) == 0);
	for (size_t i = 0; i < VSD_BUCKETS; i++) {
		struct vsd_conn *c = v->bucket[i];

		while (c) {
			bool was_open = c->state != VSD_CLOSED;

			/* Whoever is told may change the chain. */
			conn_closed(c);
			c = was_open ? v->bucket[i] : c->next_in_bucket;
		}
	}
}

static unsigned receive_events(struct vsd *v)
{
	const struct virtio_vsock_event *event;
	unsigned n = 0;
	uint32_t len;
	int head;

	while ((head = driver_used(&v->event, &len)) >= 0) {
		uint32_t slot = take_slot(&v->event, head);

		event = guest_ptr(&v->guest, GPA(v->event_gpa.v + slot * sizeof(*event)),
				  sizeof(*event));
		if (len != sizeof(*event) ||
		    le32toh(event->id) != VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)
			bad(v, "event %u of %u bytes", le32toh(event->id), len);
		event_give(v, slot);
		n++;
	}
	if (n > 0) {
		v->n_kicks += driver_kick(&v->event);
		transport_reset(v);
	}
	return n;
}

void vsd_flush(struct vsd *v)
{
	v->n_kicks += driver_kick(&v->tx);
}

unsigned vsd_poll(struct vsd *v)
{
	unsigned n;

	take_back_sent(v);
	n = receive(v);
	if (n > 0)
		v->n_kicks += driver_kick(&v->rx);
	vsd_flush(v);
	return n + receive_events(v);
}

int vsd_wait(struct vsd *v, int timeout_ms)
{
	struct driver *ring[] = { &v->rx, &v->tx, &v->event };
	struct pollfd pfd[array_size(ring)];
	bool there = false;

	for (unsigned i = 0; i < array_size(ring); i++) {
		pfd[i] = (struct pollfd){ .fd = ring[i]->call_fd, .events = POLLIN };
		there |= driver_call_on(ring[i]);
	}
	if (!there)
		there = poll(pfd, array_size(pfd), timeout_ms) > 0;
	for (unsigned i = 0; i < array_size(ring); i++) {
		driver_call_off(ring[i]);
		driver_calls(ring[i]);
	}
	return there ? 0 : -ETIMEDOUT;
}

unsigned vsd_turn(struct vsd *v)
{
	unsigned n = vsd_poll(v);

	if (n == 0 && v->fe.pump)
		frontend_pump(&v->fe);
	else if (n == 0)
		vsd_wait(v, WAIT_STEP_MS);
	return n;
}

bool vsd_until(struct vsd *v, bool (*done)(void *ctx), void *ctx)
{
	uint64_t deadline = now_ms() + VSD_TIMEOUT_MS;

	while (!done(ctx) && now_ms() < deadline)
		vsd_turn(v);
	return done(ctx);
}

int vsd_packet(struct vsd *v, struct vsd_packet *ret)
{
	uint32_t len;
	int head;

	if (v->held >= 0) {
		give_back_held(v);
		v->n_kicks += driver_kick(&v->rx);
	}
	take_back_sent(v);
	vsd_flush(v);
	head = driver_used(&v->rx, &len);
	if (head < 0)
		return head;
	v->n_rx++;
	v->held = head;
	v->held_slot = take_slot(&v->rx, head);
	ret->bytes = v->rx_mem + v->held_slot * v->rx_stride + HDR_SIZE;
	ret->n_bytes = len < HDR_SIZE ? 0 : len - HDR_SIZE;
	memcpy(&ret->hdr, ret->bytes - HDR_SIZE, HDR_SIZE);
	packet_is_sane(v, &ret->hdr, len);
	return 0;
}

int vsd_expect(struct vsd *v, struct vsd_packet *ret)
{
	uint64_t deadline = now_ms() + VSD_TIMEOUT_MS;

	while (vsd_packet(v, ret) < 0) {
		if (now_ms() >= deadline)
			return -ETIMEDOUT;
		if (v->fe.pump)
			frontend_pump(&v->fe);
		else
			vsd_wait(v, WAIT_STEP_MS);
	}
	return 0;
}
