/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "base.h"
#include "session_impl.h"

int session_send_rarp(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	uint8_t mac[6];

	memcpy(mac, &msg->payload.u64, sizeof(mac));
	return s->ops->rarp(s, mac);
}

int session_net_set_mtu(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.u64 > UINT16_MAX)
		return -EINVAL;
	return s->ops->set_mtu(s, (uint16_t)msg->payload.u64);
}

/* ---- the driver's life ------------------------------------------------- */

int session_reset_device(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	for (unsigned i = 0; i < s->ops->max_queues; i++) {
		struct vu_queue *ring = &s->queue[i];

		session_ring_finish(s, ring);
		session_ring_enable(s, ring, false);
		ring->num = 0;
		ring->base = 0;
		ring->has_addr = false;
		ring->log_used = false;
	}
	s->has_features = false;
	s->features = 0;
	s->status = 0;
	if (s->ops->reset)
		s->ops->reset(s);
	return 0;
}

int session_set_status(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	if (msg->payload.u64 > UINT8_MAX)
		return -EINVAL;
	s->status = (uint8_t)msg->payload.u64;
	if (!s->has_features)
		s->status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	for (unsigned i = 0; s->status == 0 && i < s->ops->max_queues; i++)
		session_ring_finish(s, &s->queue[i]);
	return 0;
}

int session_get_status(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	msg->payload.u64 = s->status;
	return 0;
}
