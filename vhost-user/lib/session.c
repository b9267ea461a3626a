/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "log.h"
#include "msg.h"

/* Messages served in one pass of the loop, so that a frontend that never stops
 * talking leaves time for the others; but only one that changes the memory table,
 * which costs more than all else. */
#define MESSAGES_PER_PASS 16

struct vu_session {
	struct loop *loop;
	const struct vu_device_ops *ops;
	void *device;
	char *tag;
	int fd;
	struct loop_source source;
	uint32_t events; /* what source waits for: EPOLLIN, or EPOLLOUT while a reply is stuck */
	struct loop_work teardown;
	enum vu_state state;
	int reason; /* valid when CLOSING */
	bool has_features;
	uint64_t features;
	uint64_t protocol_features;
	unsigned n_started;
	bool mapped;  /* a change of memory was served, or refused, in this pass */
	bool blocked; /* it let a write to one of its descriptors wait */
	struct mem mem;
	struct msg_rx rx;
	struct msg_tx tx;
	struct log_limit *log; /* the device's */
	struct vu_queue queue[];
};

/* ---- what is offered, what is known ----------------------------------- */

uint64_t vu_offered_features(const struct vu_device_ops *ops)
{
	return ops->features | BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
	       BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES);
}

uint64_t vu_offered_protocol_features(const struct vu_device_ops *ops)
{
	return ops->protocol_features | BIT_ULL(VHOST_USER_PROTOCOL_F_MQ) |
	       BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
	       BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |
	       (ops->get_config ? BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) : 0);
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

/* Derive the state anew after something that may have changed it. */
static void update_state(struct vu_session *s)
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

/* ---- rings ------------------------------------------------------------ */

static void queue_log(struct vu_queue *q, const char *what, const char *detail)
{
	log_limited(q->session->log, LOG_LEVEL_WARNING, q->session->tag, "vq%u: %s: %s", q->index,
		    what, detail);
}

/* Empty the kick descriptor.  RWF_NOWAIT because its flags are the frontend's as
 * much as ours: a plain read() of a descriptor made blocking and emptied behind
 * our back would hang every port.  Returns 0, or -errno: it can kick no more. */
static int kick_drain(int fd)
{
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };
	ssize_t n;

	do
		n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return 0;
	return n == 0 ? -EPIPE : -errno;
}

/* The device looks at the ring, and then so do we: on a quiet ring nobody else
 * notices that there is no memory behind it any more. */
static void kicked(struct vu_session *s, struct vu_queue *q)
{
	s->ops->queue_kick(s, q);
	(void)vu_session_check(s);
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct vu_queue *q = container_of(src, struct vu_queue, kick);
	struct vu_session *s = q->session;
	int r = kick_drain(q->kick_fd);

	if (r < 0) {
		queue_log(q, "kick descriptor is of no use", strerror(-r));
		vu_session_close(s, -EPROTO);
		return;
	}
	kicked(s, q);
}

static void on_poll_timer(struct loop_timer *timer)
{
	struct vu_queue *q = container_of(timer, struct vu_queue, poll);
	struct vu_session *s = q->session;

	loop_timer_set(s->loop, timer, loop_now_ns() + VU_POLL_NS);
	kicked(s, q);
}

/* Listen to the driver: through the kick descriptor, or by the clock. */
static int queue_arm(struct vu_session *s, struct vu_queue *q)
{
	if (q->kick_fd >= 0)
		return loop_add(s->loop, &q->kick, q->kick_fd, EPOLLIN, on_kick);
	loop_timer_set(s->loop, &q->poll, loop_now_ns() + VU_POLL_NS);
	return 0;
}

static void queue_disarm(struct vu_session *s, struct vu_queue *q)
{
	loop_del(&q->kick);
	loop_timer_cancel(s->loop, &q->poll);
}

/* Start a ring if all it needs is known; when something is missing that is no
 * error.  Returns 0, or -errno if its parts do not fit. */
static int queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct vq_params params = {
		.num = q->num,
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.base = q->base,
		.features = s->features,
		.call_fd = q->call_fd,
		.blocked = &s->blocked,
	};
	int r;

	if (q->started || q->broken || !q->has_kick || !q->has_addr || !q->num ||
	    !s->has_features || s->mem.n == 0 || s->state == VU_STATE_CLOSING)
		return 0;
	r = vq_start(&q->vq, &s->mem, &params);
	if (r < 0)
		return r;
	r = queue_arm(s, q);
	if (r < 0) {
		vq_stop(&q->vq, &q->base);
		return r;
	}
	q->started = true;
	s->n_started++;
	s->ops->queue_start(s, q);
	return 0;
}

static void queue_stop(struct vu_session *s, struct vu_queue *q)
{
	if (!q->started)
		return;
	queue_disarm(s, q);
	s->ops->queue_stop(s, q);
	vq_stop(&q->vq, &q->base);
	q->started = false;
	s->n_started--;
}

static void queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	if (q->enabled == on)
		return;
	q->enabled = on;
	if (s->ops->queue_enable)
		s->ops->queue_enable(s, q, on);
}

static void stop_all(struct vu_session *s)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		queue_stop(s, &s->queue[i]);
}

/* Start every ring that can be.  One that cannot is told about; its siblings and
 * the message that brought us here are not to blame for it. */
static void start_all(struct vu_session *s)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++) {
		int r = queue_start(s, &s->queue[i]);

		if (r < 0)
			queue_log(&s->queue[i], "cannot start", strerror(-r));
	}
}

void vu_session_queue_broken(struct vu_session *s, struct vu_queue *q)
{
	const uint64_t one = 1;

	if (!q->started)
		return;
	q->broken = true;
	q->n_broken++;
	if (vu_session_check(s)) /* zeros in the place of a ring are not the driver's doing */
		queue_log(q, "stopped, the driver broke it", vq_cause_name(q->vq.cause));
	queue_stop(s, q);
	if (q->err_fd >= 0 && !s->blocked) {
		(void)fcntl(q->err_fd, F_SETFL, O_NONBLOCK);
		if (write(q->err_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			s->blocked = true; /* see vq_call() */
	}
	update_state(s);
}

/* ---- requests --------------------------------------------------------- */

/* One handler per row of PROTO_REQUESTS().  It obeys a message that has been
 * checked, and returns 0 or the -errno of a refusal.  Where the request has a
 * reply of its own, the handler leaves it in msg->payload.  q is the ring that
 * the request names, else NULL. */
typedef int request_fn(struct vu_session *s, struct vu_queue *q, struct msg *msg);

static int get_features(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	msg->payload.u64 = vu_offered_features(s->ops);
	return 0;
}

static int set_features(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	uint64_t features = msg->payload.u64;
	uint64_t old = s->has_features ? s->features : 0;

	if (s->n_started)
		return features == s->features ? 0 : -EBUSY;
	s->has_features = false;
	s->features = 0;
	if (features & ~vu_offered_features(s->ops))
		return -EOPNOTSUPP;
	if (!(features & BIT_ULL(VIRTIO_F_VERSION_1))) {
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag,
			    "legacy drivers (without VIRTIO_F_VERSION_1) are not served");
		return -EOPNOTSUPP;
	}
	s->has_features = true;
	s->features = features;
	if (features != old && s->ops->negotiated)
		s->ops->negotiated(s, features);
	if (!(features & BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES)))
		for (unsigned i = 0; i < s->ops->max_queues; i++)
			queue_enable(s, &s->queue[i], true);
	start_all(s);
	return 0;
}

static int set_owner(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	return 0; /* the connection is the ownership */
}

static int reset_owner(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		queue_enable(s, &s->queue[i], false);
	return 0;
}

static int get_protocol_features(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	msg->payload.u64 = vu_offered_protocol_features(s->ops);
	return 0;
}

static int set_protocol_features(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.u64 & ~vu_offered_protocol_features(s->ops))
		return -EOPNOTSUPP;
	s->protocol_features = msg->payload.u64;
	return 0;
}

static int get_queue_num(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	msg->payload.u64 = s->ops->max_queues / max(s->ops->rings_per_queue, 1u);
	return 0;
}

static int get_max_mem_slots(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	msg->payload.u64 = MEM_MAX_REGIONS;
	return 0;
}

static struct mem_region_desc region_desc(const struct proto_region *r)
{
	return (struct mem_region_desc){
		.gpa = GPA(r->gpa),
		.uva = UVA(r->uva),
		.size = r->size,
		.mmap_offset = r->mmap_offset,
	};
}

/* Memory changes with no ring running on it: every pointer into it dies. */

static int set_mem_table(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_mem_table *table = &msg->payload.mem_table;
	struct mem_region_desc region[VU_MEM_TABLE_MAX];
	int fds[VU_MEM_TABLE_MAX];
	int r;

	for (unsigned i = 0; i < table->n_regions; i++) {
		region[i] = region_desc(&table->region[i]);
		fds[i] = msg_take_fd(msg, i);
	}
	s->mapped = true;
	stop_all(s);
	r = mem_set_table(&s->mem, region, table->n_regions, fds);
	start_all(s);
	return r;
}

/* QEMU 7.2 keeps a list of regions for each pair of queues, and announces and
 * removes every region once for each.  So a region that is there already is no
 * fault, nor is one that has gone already, and neither disturbs a ring. */
static bool has_region(const struct mem *mem, const struct proto_region *r)
{
	for (unsigned i = 0; i < mem->n; i++)
		if (mem->region[i].gpa == r->gpa && mem->region[i].uva == r->uva &&
		    mem->region[i].size == r->size)
			return true;
	return false;
}

static int add_mem_reg(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct mem_region_desc region = region_desc(&msg->payload.mem_reg.region);
	int r;

	if (has_region(&s->mem, &msg->payload.mem_reg.region))
		return 0;
	s->mapped = true;
	stop_all(s);
	r = mem_add_region(&s->mem, &region, msg_take_fd(msg, 0));
	start_all(s);
	return r;
}

static int rem_mem_reg(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct mem_region_desc region = region_desc(&msg->payload.mem_reg.region);
	int r;

	if (!has_region(&s->mem, &msg->payload.mem_reg.region))
		return 0;
	s->mapped = true;
	stop_all(s);
	r = mem_del_region(&s->mem, &region);
	start_all(s);
	return r;
}

static int set_vring_num(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	uint32_t num = msg->payload.state.num;

	if (num == 0 || num > VQ_MAX_NUM || (num & (num - 1)))
		return -EINVAL;
	q->num = num;
	return queue_start(s, q);
}

static int set_vring_addr(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_vring_addr *addr = &msg->payload.addr;

	if (addr->flags) /* logging, which is not offered */
		return -EOPNOTSUPP;
	q->desc = UVA(addr->desc_uva);
	q->avail = UVA(addr->avail_uva);
	q->used = UVA(addr->used_uva);
	q->has_addr = true;
	return queue_start(s, q);
}

static int set_vring_base(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.state.num > UINT16_MAX)
		return -EINVAL;
	q->base = (uint16_t)msg->payload.state.num;
	return 0;
}

static int get_vring_base(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	queue_stop(s, q);
	q->broken = false;
	q->has_kick = false;
	fd_drop(&q->kick_fd);
	msg->payload.state.num = q->base;
	return 0;
}

/* Asked of /proc, since asking the file could mean waiting for who serves it: the
 * name of an anonymous inode is the kernel's, and no path looks like it. */
static bool is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char link[32], text[sizeof(name)];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, text, sizeof(text)) == sizeof(name) - 1 &&
	       memcmp(text, name, sizeof(name) - 1) == 0;
}

/* Take the message's eventfd in the place of *fd; none is -1.  Returns 0, or
 * -EINVAL: it is something else, and *fd stays. */
static int take_eventfd(struct msg *msg, int *fd)
{
	int fresh = msg_take_fd(msg, 0);

	if (fresh >= 0 && !is_eventfd(fresh)) {
		close(fresh);
		return -EINVAL;
	}
	fd_drop(fd);
	*fd = fresh;
	return 0;
}

static int set_vring_kick(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	int fresh = -1;
	int r = take_eventfd(msg, &fresh);

	if (r < 0)
		return r;
	queue_disarm(s, q);
	fd_drop(&q->kick_fd);
	q->kick_fd = fresh;
	q->has_kick = true;
	if (!q->started)
		return queue_start(s, q);
	r = queue_arm(s, q);
	if (r < 0)
		queue_stop(s, q); /* nobody would wake it */
	else
		kicked(s, q); /* for a kick that the old descriptor swallowed */
	return r;
}

static int set_vring_call(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	int r = take_eventfd(msg, &q->call_fd);

	if (r == 0 && q->started)
		vq_set_call(&q->vq, q->call_fd);
	return r;
}

static int set_vring_err(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	return take_eventfd(msg, &q->err_fd);
}

static int set_vring_enable(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.state.num > 1)
		return -EINVAL;
	queue_enable(s, q, msg->payload.state.num == 1);
	return 0;
}

static bool config_range_ok(const struct proto_config *c)
{
	return c->size > 0 && range_within(c->offset, c->size, VU_CONFIG_MAX);
}

static int get_config(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct proto_config *c = &msg->payload.config;

	if (!config_range_ok(c))
		return -EINVAL;
	return s->ops->get_config(s, c->data, c->offset, c->size);
}

static int set_config(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_config *c = &msg->payload.config;

	if (!config_range_ok(c))
		return -EINVAL;
	if (!s->ops->set_config)
		return -EROFS;
	return s->ops->set_config(s, c->data, c->offset, c->size, c->flags);
}

/* ---- one message ------------------------------------------------------ */

/* End the session for what the frontend did, and say so. */
__attribute__((format(printf, 3, 4))) static void end(struct vu_session *s, int reason,
						      const char *fmt, ...)
{
	va_list ap;

	if (s->state == VU_STATE_CLOSING)
		return;
	va_start(ap, fmt);
	log_vlimited(s->log, reason ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, s->tag, fmt, ap);
	va_end(ap);
	vu_session_close(s, reason);
}

static bool state_allows(const struct vu_session *s, const struct vu_queue *q, unsigned obeyed_in)
{
	if (!(obeyed_in & (1u << s->state)))
		return false;
	return !q || (obeyed_in & (q->started ? PROTO_IN_RING_STARTED : PROTO_IN_RING_STOPPED));
}

/* Returns what the handler returns; -EOPNOTSUPP or -EBUSY if it is not even asked. */
static int obey(struct vu_session *s, const struct proto_request_info *info, struct vu_queue *q,
		struct msg *msg)
{
	static request_fn *const handlers[VU_REQUEST_LIMIT] = {
#define X(name, number, payload, lo, hi, reply, in, feature, handler) [number] = handler,
		PROTO_REQUESTS(X)
#undef X
	};

	if (info->protocol_feature != VHOST_USER_PROTOCOL_F_NONE &&
	    !(s->protocol_features & BIT_ULL(info->protocol_feature)))
		return -EOPNOTSUPP;
	if (!state_allows(s, q, info->obeyed_in))
		return -EBUSY;
	return handlers[msg->hdr.request](s, q, msg);
}

/* Stage the answer, if there is to be one.  Returns 0; -EPROTO if the request
 * failed, is waited for, and has no way to say so. */
static int answer(struct vu_session *s, const struct proto_request_info *info, struct msg *msg,
		  int result)
{
	enum proto_reply_kind kind = info ? info->reply : PROTO_REPLY_ACK;
	bool acks = s->protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	uint64_t failed = result < 0;
	size_t size = 0;

	switch (kind) {
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
		size = sizeof(msg->payload.state);
		break;
	}
	if (result < 0)
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
			end(s, -EPROTO, "%s: there is no ring %" PRIu32, name, index);
			return;
		}
	}
	r = info ? obey(s, info, q, msg) : -EOPNOTSUPP;
	if (r < 0)
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag, "refused %s (%" PRIu32 "): %s", name,
			    msg->hdr.request, strerror(-r));
	else
		log_debug(s->tag, "%s", name);
	if (answer(s, info, msg, r) < 0) {
		end(s, -EPROTO, "%s: cannot be refused: %s", name, strerror(-r));
		return;
	}
	update_state(s);
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
		end(s, r, "connection lost: %s", strerror(-r));
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
		end(s, 0, "frontend disconnected");
	} else if (r == -EPROTO) {
		end(s, r, "%s: %s", proto_request_name(s->rx.msg.hdr.request), why);
	} else if (r < 0) {
		end(s, r, "connection lost: %s", strerror(-r));
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
	for (unsigned i = 0; i < s->ops->max_queues; i++) {
		fd_drop(&s->queue[i].kick_fd);
		fd_drop(&s->queue[i].call_fd);
		fd_drop(&s->queue[i].err_fd);
	}
	msg_rx_done(&s->rx);
	mem_done(&s->mem);
	close(s->fd);
	free(s->tag);
	free(s);
}

static void on_teardown(struct loop_work *work)
{
	struct vu_session *s = container_of(work, struct vu_session, teardown);

	stop_all(s);
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
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		queue_disarm(s, &s->queue[i]);
	loop_defer(s->loop, &s->teardown, on_teardown);
}

bool vu_session_check(struct vu_session *s)
{
	if (unlikely(mem_damaged(&s->mem)))
		end(s, -EFAULT, "guest memory was truncated by the frontend");
	else if (unlikely(s->blocked))
		end(s, -EPROTO, "a descriptor was made blocking by the frontend");
	return s->state != VU_STATE_CLOSING;
}

static void queue_init(struct vu_session *s, unsigned i)
{
	struct vu_queue *q = &s->queue[i];

	q->index = i;
	q->session = s;
	q->kick_fd = -1;
	q->call_fd = -1;
	q->err_fd = -1;
	loop_timer_init(&q->poll, on_poll_timer);
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
		queue_init(s, i);
	(void)mem_init(&s->mem);
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
