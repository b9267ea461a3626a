/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <unistd.h>

#include "base.h"
#include "eventfd.h"
#include "session_impl.h"

/* The rings go on over it: nobody holds a pointer into the log. */
int session_set_log_base(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_log *log = &msg->payload.log;

	return dirtylog_set(&s->dirty, msg_take_fd(msg, 0), log->size, log->offset);
}

int session_set_log_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	int fd = msg_take_fd(msg, 0);

	if (fd >= 0 && !eventfd_is(fd)) {
		close(fd);
		return -EINVAL;
	}
	dirtylog_set_event(&s->dirty, fd);
	return 0;
}

static struct inflight_shape shape_of(const struct vu_session *s,
				      const struct proto_inflight *asked)
{
	return (struct inflight_shape){
		.n_queues = asked->n_queues,
		.queue_size = asked->queue_size,
		.packed = s->features & BIT_ULL(VIRTIO_F_RING_PACKED),
	};
}

int session_get_inflight_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct proto_inflight *in = &msg->payload.inflight;
	struct inflight_shape shape = shape_of(s, in);
	int r = inflight_make(&shape, s->ops->max_queues, &msg->fds[0]);

	if (r < 0)
		return r;
	msg->n_fds = 1; /* for the answer */
	in->size = inflight_size(&shape);
	in->offset = 0;
	return 0;
}

int session_set_inflight_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_inflight *in = &msg->payload.inflight;
	struct inflight_shape shape = shape_of(s, in);

	return inflight_take(&s->inflight, &shape, s->ops->max_queues, msg_take_fd(msg, 0),
			     in->size, in->offset);
}
