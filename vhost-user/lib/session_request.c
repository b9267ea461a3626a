/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "eventfd.h"
#include "log.h"
#include "session_impl.h"

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

/* Rings run.  All that may change is whether their writes are logged. */
static int set_logging(struct vu_session *s, uint64_t features)
{
	uint64_t change = features ^ s->features;

	if (change == 0)
		return 0;
	if (change != BIT_ULL(VHOST_USER_F_LOG_ALL))
		return -EBUSY;
	if (features & ~vu_offered_features(s->ops))
		return -EOPNOTSUPP;
	session_ring_stop_all(s);
	s->features = features;
	session_ring_start_all(s);
	return 0;
}

static int set_features(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	uint64_t features = msg->payload.u64;
	uint64_t old = s->has_features ? s->features : 0;

	if (s->n_started)
		return set_logging(s, features);
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
			session_ring_enable(s, &s->queue[i], true);
	session_ring_start_all(s);
	return 0;
}

static int set_owner(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	s->resumed = false;
	return 0; /* the connection is the ownership */
}

static int reset_owner(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++)
		session_ring_enable(s, &s->queue[i], false);
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
	s->resumed = false;
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
	session_ring_stop_all(s);
	r = mem_set_table(&s->mem, region, table->n_regions, fds);
	session_ring_start_all(s);
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
	session_ring_stop_all(s);
	r = mem_add_region(&s->mem, &region, msg_take_fd(msg, 0));
	session_ring_start_all(s);
	return r;
}

static int rem_mem_reg(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct mem_region_desc region = region_desc(&msg->payload.mem_reg.region);
	int r;

	if (!has_region(&s->mem, &msg->payload.mem_reg.region))
		return 0;
	s->mapped = true;
	session_ring_stop_all(s);
	r = mem_del_region(&s->mem, &region);
	session_ring_start_all(s);
	return r;
}

static bool is_packed(const struct vu_session *s)
{
	return s->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

static int set_vring_num(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	uint32_t num = msg->payload.state.num;

	if (num == 0 || num > VQ_MAX_NUM || (!is_packed(s) && !is_power_of_two(num)))
		return -EINVAL;
	q->num = num;
	return session_ring_start(s, q);
}

static bool has_same_addr(const struct vu_queue *q, const struct proto_vring_addr *addr)
{
	return q->desc.v == addr->desc_uva && q->avail.v == addr->avail_uva &&
	       q->used.v == addr->used_uva;
}

static int set_vring_addr(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_vring_addr *addr = &msg->payload.addr;
	bool loggable = vu_offered_features(s->ops) & BIT_ULL(VHOST_USER_F_LOG_ALL);

	if (addr->flags & ~(loggable ? VU_VRING_F_LOG : 0))
		return -EOPNOTSUPP;
	if (q->started && !has_same_addr(q, addr))
		return -EBUSY;
	session_ring_stop(s, q);
	q->desc = UVA(addr->desc_uva);
	q->avail = UVA(addr->avail_uva);
	q->used = UVA(addr->used_uva);
	q->has_addr = true;
	q->log_used = addr->flags & VU_VRING_F_LOG;
	q->log_gpa = GPA(addr->log_gpa);
	return session_ring_start(s, q);
}

static int set_vring_base(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.state.num > UINT16_MAX && !is_packed(s))
		return -EINVAL;
	q->base = msg->payload.state.num;
	return 0;
}

static int get_vring_base(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (s->resumed && !q->has_addr)
		return -ENODATA;
	session_ring_finish(s, q);
	msg->payload.state.num = q->base;
	return 0;
}

/* Take the message's eventfd in the place of *fd; none is -1.  Returns 0, or
 * -EINVAL: it is something else, and *fd stays. */
static int take_eventfd(struct msg *msg, int *fd)
{
	int fresh = msg_take_fd(msg, 0);

	if (fresh >= 0 && !eventfd_is(fresh)) {
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

	return r < 0 ? r : session_ring_set_kick(s, q, fresh);
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
	session_ring_enable(s, q, msg->payload.state.num == 1);
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

static bool state_allows(const struct vu_session *s, const struct vu_queue *q, unsigned obeyed_in)
{
	if (!(obeyed_in & (1u << s->state)))
		return false;
	return !q || (obeyed_in & (q->started ? PROTO_IN_RING_STARTED : PROTO_IN_RING_STOPPED));
}

bool session_has_feature(const struct vu_session *s, int protocol_feature)
{
	if (protocol_feature == VHOST_USER_PROTOCOL_F_SHMEM_MAP)
		protocol_feature = (int)session_shmem_bit(s->ops);
	return s->protocol_features & BIT_ULL(protocol_feature);
}

int session_obey(struct vu_session *s, const struct proto_request_info *info, struct vu_queue *q,
		 struct msg *msg)
{
	static request_fn *const handlers[VU_REQUEST_LIMIT] = {
#define X(name, number, payload, lo, hi, reply, in, feature, handler) [number] = handler,
		PROTO_REQUESTS(X)
#undef X
	};

	if (info->protocol_feature != VHOST_USER_PROTOCOL_F_NONE &&
	    !session_has_feature(s, info->protocol_feature))
		return -EOPNOTSUPP;
	if (!state_allows(s, q, info->obeyed_in))
		return -EBUSY;
	return handlers[msg->hdr.request](s, q, msg);
}
