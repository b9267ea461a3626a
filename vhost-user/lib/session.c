/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "log.h"
#include "session_impl.h"

/* Messages served in one pass of the loop, so that a frontend that never stops
 * talking leaves time for the others; but only one that changes the memory table,
 * which costs more than all else. */
#define MESSAGES_PER_PASS 16

/* ---- what is offered, what is known ----------------------------------- */

uint64_t vu_offered_features(const struct vu_device_ops *ops)
{
	return ops->features | BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
	       BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES);
}

unsigned session_shmem_bit(const struct vu_device_ops *ops)
{
	return ops->shmem_bit ? ops->shmem_bit : VHOST_USER_PROTOCOL_F_SHMEM_MAP;
}

static uint64_t shmem_features(const struct vu_device_ops *ops)
{
	if (!ops->shmem_config)
		return 0;
	return BIT_ULL(session_shmem_bit(ops)) | BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
}

uint64_t vu_offered_protocol_features(const struct vu_device_ops *ops)
{
	return ops->protocol_features | shmem_features(ops) | BIT_ULL(VHOST_USER_PROTOCOL_F_MQ) |
	       BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
	       (ops->resumed || ops->no_mem_slots ?
			0 :
			BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)) |
	       (ops->get_config ? BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) : 0) |
	       (ops->rarp ? BIT_ULL(VHOST_USER_PROTOCOL_F_RARP) : 0) |
	       (ops->set_mtu ? BIT_ULL(VHOST_USER_PROTOCOL_F_NET_MTU) : 0) |
	       (ops->save_state && ops->load_state ? BIT_ULL(VHOST_USER_PROTOCOL_F_DEVICE_STATE) :
						     0);
}

void *vu_session_device(const struct vu_session *s)
{
	return s->device;
}

struct mem *vu_session_mem(struct vu_session *s)
{
	return &s->mem;
}

uint64_t vu_session_features(const struct vu_session *s)
{
	return s->features;
}

uint64_t vu_session_protocol_features(const struct vu_session *s)
{
	return s->protocol_features;
}

struct vu_queue *vu_session_queue(struct vu_session *s, unsigned i)
{
	return i < s->ops->max_queues ? &s->queue[i] : NULL;
}

const char *vu_session_state(const struct vu_session *s)
{
	static const char *const names[VU_STATE_COUNT] = {
#define X(name, text) [VU_STATE_##name] = text,
		VU_STATES(X)
#undef X
	};

	return names[s->state];
}

void session_update_state(struct vu_session *s)
{
	enum vu_state state = s->n_started                    ? VU_STATE_RUNNING :
			      s->has_features && s->mem.n > 0 ? VU_STATE_NEGOTIATED :
								VU_STATE_CONNECTED;

	if (s->state == VU_STATE_CLOSING || s->state == state)
		return;
	s->state = state;
	log_debug(s->tag, "session is %s", vu_session_state(s));
	if (s->ops->state_changed)
		s->ops->state_changed(s);
}

/* ---- one message ------------------------------------------------------ */

void session_end(struct vu_session *s, int reason, const char *fmt, ...)
{
	va_list ap;

	if (s->state == VU_STATE_CLOSING)
		return;
	va_start(ap, fmt);
	log_vlimited(s->log, reason ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, s->tag, fmt, ap);
	va_end(ap);
	vu_session_close(s, reason);
}

/* Stage the answer, if there is to be one.  Returns 0; -EPROTO if the request
 * failed, is waited for, and has no way to say so.  A base that is not known has
 * one: vu_session_resume(). */
static int answer(struct vu_session *s, const struct proto_request_info *info, struct msg *msg,
		  int result)
{
	enum proto_reply_kind kind = info ? info->reply : PROTO_REPLY_ACK;
	bool acks = s->protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	uint64_t failed = result < 0;
	size_t size = 0;

	if (kind == PROTO_REPLY_LOG)
		kind = s->protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_LOG_SHMFD) ?
			       PROTO_REPLY_RESULT :
			       PROTO_REPLY_ACK;
	switch (kind) {
	case PROTO_REPLY_STATE_FD:
	case PROTO_REPLY_RESULT:
	case PROTO_REPLY_LOG:
		failed |= kind == PROTO_REPLY_STATE_FD ? VU_STATE_NOFD : 0;
		msg_reply(&s->tx, &msg->hdr, &failed, sizeof(failed));
		return 0;
	case PROTO_REPLY_SHMEM:
		if (result < 0)
			memset(&msg->payload.shmem_config, 0, sizeof(msg->payload.shmem_config));
		msg_reply(&s->tx, &msg->hdr, &msg->payload, sizeof(msg->payload.shmem_config));
		return 0;
	case PROTO_REPLY_INFLIGHT:
		if (result < 0)
			memset(&msg->payload, 0, sizeof(msg->payload.inflight));
		if (result < 0)
			msg_reply(&s->tx, &msg->hdr, &msg->payload, msg->hdr.size);
		else
			msg_reply_fd(&s->tx, &msg->hdr, &msg->payload, msg->hdr.size,
				     msg_take_fd(msg, 0));
		return 0;
	case PROTO_REPLY_ACK:
		if (acks && msg->hdr.flags & VU_FLAG_NEED_REPLY)
			msg_reply(&s->tx, &msg->hdr, &failed, sizeof(failed));
		return 0;
	case PROTO_REPLY_CONFIG:
		size = result < 0 ? 0 : PROTO_CONFIG_HEAD + msg->payload.config.size;
		msg_reply(&s->tx, &msg->hdr, &msg->payload, size);
		return 0;
	case PROTO_REPLY_U64:
		size = sizeof(msg->payload.u64);
		break;
	case PROTO_REPLY_VRING_STATE:
		size = result == -ENODATA ? 0 : sizeof(msg->payload.state);
		break;
	}
	if (result < 0 && size > 0)
		return -EPROTO;
	msg_reply(&s->tx, &msg->hdr, &msg->payload, size);
	return 0;
}

/* Serve one well-formed message: obey or refuse, and answer. */
static void serve(struct vu_session *s, struct msg *msg)
{
	const struct proto_request_info *info = proto_request_info(msg->hdr.request);
	const char *name = proto_request_name(msg->hdr.request);
	struct vu_queue *q = NULL;
	uint32_t index;
	int r;

	if (proto_vring_index(&msg->hdr, &msg->payload, &index)) {
		q = vu_session_queue(s, index);
		if (!q) {
			session_end(s, -EPROTO, "%s: there is no ring %" PRIu32, name, index);
			return;
		}
	}
	r = info ? session_obey(s, info, q, msg) : -EOPNOTSUPP;
	if (r < 0)
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag, "refused %s (%" PRIu32 "): %s", name,
			    msg->hdr.request, strerror(-r));
	else
		log_debug(s->tag, "%s", name);
	if (answer(s, info, msg, r) < 0) {
		session_end(s, -EPROTO, "%s: cannot be refused: %s", name, strerror(-r));
		return;
	}
	session_update_state(s);
	(void)vu_session_check(s);
}

/* ---- the socket ------------------------------------------------------- */

/* Push the staged reply out.  Returns true when it is gone and the next request
 * may be read. */
static bool flush(struct vu_session *s)
{
	int r = msg_send(&s->tx, s->fd);
	uint32_t events = r ? EPOLLIN : EPOLLOUT;

	if (r >= 0 && events != s->events) {
		s->events = events;
		if (loop_mod(&s->source, events) < 0)
			r = -EIO;
	}
	if (r < 0)
		session_end(s, r, "connection lost: %s", strerror(-r));
	return r > 0;
}

/* Read and serve one message.  Returns true if there may be more. */
static bool receive(struct vu_session *s)
{
	const char *why = "";
	struct msg msg;
	int r = msg_recv(&s->rx, s->fd, &msg, &why);

	if (r == 1) {
		serve(s, &msg);
		msg_done(&msg);
	} else if (r == -ENODATA) {
		session_end(s, 0, "frontend disconnected");
	} else if (r == -EPROTO) {
		session_end(s, r, "%s: %s", proto_request_name(s->rx.msg.hdr.request), why);
	} else if (r < 0) {
		session_end(s, r, "connection lost: %s", strerror(-r));
	}
	return r == 1 && s->state != VU_STATE_CLOSING;
}

static void on_socket(struct loop_source *src, uint32_t events)
{
	struct vu_session *s = container_of(src, struct vu_session, source);

	s->mapped = false;
	for (unsigned i = 0; i < MESSAGES_PER_PASS && !s->mapped; i++) {
		if (!flush(s) || !receive(s))
			return;
	}
	(void)flush(s);
}

/* ---- life ------------------------------------------------------------- */

static void session_free(struct vu_session *s)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		session_ring_done(&s->queue[i]);
	session_transfer_done(s);
	session_backend_done(s);
	msg_rx_done(&s->rx);
	msg_tx_done(&s->tx);
	dirtylog_done(&s->dirty);
	inflight_done(&s->inflight);
	mem_done(&s->mem);
	close(s->fd);
	free(s->tag);
	free(s);
}

static void on_teardown(struct loop_work *work)
{
	struct vu_session *s = container_of(work, struct vu_session, teardown);

	session_ring_stop_all(s);
	s->ops->closed(s, s->reason);
	session_free(s);
}

void vu_session_close(struct vu_session *s, int reason)
{
	if (s->state == VU_STATE_CLOSING)
		return;
	s->state = VU_STATE_CLOSING;
	s->reason = reason;
	loop_del(&s->source);
	session_transfer_done(s);
	session_backend_done(s);
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		session_ring_disarm(s, &s->queue[i]);
	loop_defer(s->loop, &s->teardown, on_teardown);
}

bool vu_session_suspect(const struct vu_session *s)
{
	return mem_damaged(&s->mem) || mem_damaged(&s->dirty.map) ||
	       mem_damaged(&s->inflight.map) || __atomic_load_n(&s->blocked, __ATOMIC_RELAXED);
}

bool vu_session_check(struct vu_session *s)
{
	if (unlikely(mem_damaged(&s->mem)))
		session_end(s, -EFAULT, "guest memory was truncated by the frontend");
	else if (unlikely(mem_damaged(&s->dirty.map) || mem_damaged(&s->inflight.map)))
		session_end(s, -EFAULT, "its log or inflight region was truncated by the frontend");
	else if (unlikely(__atomic_load_n(&s->blocked, __ATOMIC_RELAXED)))
		session_end(s, -EPROTO, "a descriptor was made blocking by the frontend");
	return s->state != VU_STATE_CLOSING;
}

int vu_session_new(struct loop *loop, int fd, const struct vu_device_ops *ops, void *device,
		   const char *tag, struct log_limit *log, struct vu_session **ret_session)
{
	size_t size = sizeof(struct vu_session) + ops->max_queues * sizeof(struct vu_queue);
	struct vu_session *s;
	int r;

	if (ops->max_queues == 0 || ops->max_queues > VU_MAX_QUEUES) {
		close(fd);
		return -EINVAL;
	}
	s = aligned_alloc(_Alignof(struct vu_session), size);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	memset(s, 0, size);
	s->loop = loop;
	s->ops = ops;
	s->device = device;
	s->fd = fd;
	s->log = log;
	msg_rx_init(&s->rx);
	for (unsigned i = 0; i < ops->max_queues; i++)
		session_ring_init(s, i);
	(void)mem_init(&s->mem);
	dirtylog_init(&s->dirty);
	inflight_init(&s->inflight);
	s->backend.fd = -1;
	s->transfer = (struct session_transfer){ .fd = -1, .result = -ENODATA };
	s->tag = strdup(tag);
	s->events = EPOLLIN;
	r = s->tag ? loop_add(loop, &s->source, fd, s->events, on_socket) : -ENOMEM;
	if (r < 0) {
		session_free(s);
		return r;
	}
	*ret_session = s;
	return 0;
}

void vu_session_resume(struct vu_session *s, uint64_t protocol_features)
{
	s->resumed = true;
	s->protocol_features = protocol_features & vu_offered_protocol_features(s->ops);
}

void vu_session_set_places(struct vu_session *s, struct places *places)
{
	s->places = places;
}
