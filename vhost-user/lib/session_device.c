/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
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

/* ---- a frontend that is told ------------------------------------------- */

/* A socket answers this without asking anybody else; another file does not answer. */
static bool is_unix_stream(int fd)
{
	int domain, type;
	socklen_t size = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

int session_set_backend_req_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	int fd = msg_take_fd(msg, 0);

	if (!is_unix_stream(fd)) {
		close(fd);
		return -ENOTSOCK;
	}
	fd_drop(&s->backend_fd);
	s->backend_fd = fd;
	return 0;
}

bool vu_session_config_changed(struct vu_session *s)
{
	const struct proto_header hdr = { VU_BACKEND_CONFIG_CHANGE_MSG, VU_FLAG_VERSION, 0 };
	ssize_t n;

	if (s->backend_fd < 0)
		return false;
	do
		n = send(s->backend_fd, &hdr, sizeof(hdr), MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* So much is on its way that nothing fits: then one is, of which the answer will be right. */
	if (n == sizeof(hdr) || (n < 0 && errno == EAGAIN))
		return true;
	fd_drop(&s->backend_fd); /* gone, or out of step */
	return false;
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
