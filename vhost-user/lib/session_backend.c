/* SPDX-License-Identifier: MIT */
/* SET_BACKEND_REQ_FD's socket, on which we speak first, and GET_SHMEM_CONFIG.
 *
 * What is sent there is small and is sent whole or not at all: a socket that takes half a message is out of step, and
 * closed.  What is read there are answers, each to the oldest request that waits for one.  A frontend that says
 * anything else has its channel closed, and keeps its session: it is the one who has less by that.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "log.h"
#include "scm.h"
#include "session_impl.h"

/* ---- the channel ------------------------------------------------------- */

/* A socket answers this without asking anybody else; another file does not answer. */
static bool is_unix_stream(int fd)
{
	int domain, type;
	socklen_t size = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

void session_backend_done(struct vu_session *s)
{
	loop_del(&s->backend.source);
	fd_drop(&s->backend.fd);
	s->backend.n_asked = 0;
	s->backend.have = 0;
}

static void tell(struct vu_session *s, struct session_asked asked, int result)
{
	if (s->ops->shmem_answered)
		s->ops->shmem_answered(s, asked.shmid, asked.request == VU_BACKEND_SHMEM_MAP,
				       result);
}

static struct session_asked take_asked(struct session_backend *b)
{
	struct session_asked asked = b->asked[b->first];

	b->first = (b->first + 1) % array_size(b->asked);
	b->n_asked--;
	return asked;
}

/* The channel is of no use any more. */
static void lose(struct vu_session *s)
{
	struct session_backend *b = &s->backend;

	loop_del(&b->source);
	fd_drop(&b->fd);
	b->have = 0;
	while (b->n_asked > 0)
		tell(s, take_asked(b), -EPIPE);
}

/* Is this an answer to what was asked first? */
static bool is_answer(const struct session_backend *b)
{
	const struct proto_header *hdr = &b->answer.hdr;

	return b->n_asked > 0 && hdr->request == b->asked[b->first].request &&
	       (hdr->flags & ~VU_FLAG_NEED_REPLY) == (VU_FLAG_VERSION | VU_FLAG_REPLY) &&
	       hdr->size == sizeof(b->answer.result);
}

/* One recv() a call: there is more work in the loop than this. */
static void on_answer(struct loop_source *src, uint32_t events)
{
	static const uint8_t zero[sizeof(uint64_t)];
	struct vu_session *s = container_of(src, struct vu_session, backend.source);
	struct session_backend *b = &s->backend;
	ssize_t n = recv(b->fd, (uint8_t *)&b->answer + b->have, sizeof(b->answer) - b->have,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(s);
		return;
	}
	b->have += (size_t)n;
	if (b->have >= sizeof(b->answer.hdr) && !is_answer(b)) {
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag,
			    "what came on the backend's channel is no answer: closed");
		lose(s);
		return;
	}
	if (b->have < sizeof(b->answer))
		return;
	b->have = 0;
	tell(s, take_asked(b), memcmp(b->answer.result, zero, sizeof(zero)) == 0 ? 0 : -EIO);
}

int session_set_backend_req_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	auto_fd int fd = msg_take_fd(msg, 0);
	int r;

	if (!is_unix_stream(fd))
		return -ENOTSOCK;
	lose(s);
	r = loop_add(s->loop, &s->backend.source, fd, EPOLLIN, on_answer);
	if (r == 0)
		s->backend.fd = fd_take(&fd);
	return r;
}

/* Send one message, whole.  Returns 0; -EAGAIN: nothing fits; -ENOTCONN: the channel is gone, now or before. */
static int send_whole(struct vu_session *s, const void *bytes, size_t size, int fd)
{
	const struct iovec iov = { (void *)(uintptr_t)bytes, size };
	ssize_t n;

	if (s->backend.fd < 0)
		return -ENOTCONN;
	n = scm_send(s->backend.fd, &iov, 1, fd);
	if (n == (ssize_t)size)
		return 0;
	if (n == -EAGAIN)
		return -EAGAIN;
	lose(s); /* gone, or out of step */
	return -ENOTCONN;
}

/* ---- what is said there ------------------------------------------------ */

bool vu_session_config_changed(struct vu_session *s)
{
	const struct proto_header hdr = { VU_BACKEND_CONFIG_CHANGE_MSG, VU_FLAG_VERSION, 0 };
	int r = send_whole(s, &hdr, sizeof(hdr), -1);

	/* So much is on its way that nothing fits: then one is, of which the answer will be right. */
	return r == 0 || r == -EAGAIN;
}

int session_get_shmem_config(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct proto_shmem_config *c = &msg->payload.shmem_config;

	memset(c, 0, sizeof(*c));
	s->ops->shmem_config(s, c->size);
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++)
		c->n_regions += c->size[i] > 0;
	s->has_shmem = true;
	log_debug(s->tag, "shared memory regions, by bit %u: %s", session_shmem_bit(s->ops),
		  proto_shmem_bit_name(session_shmem_bit(s->ops)));
	return 0;
}

static bool is_within(struct vu_session *s, const struct vu_shmem_map *map)
{
	uint64_t size[VU_SHMEM_REGIONS] = { 0 };

	s->ops->shmem_config(s, size);
	return map->len > 0 && range_within(map->shm_offset, map->len, size[map->shmid]);
}

static int ask(struct vu_session *s, uint32_t request, const struct vu_shmem_map *map,
	       uint64_t flags, int fd)
{
	struct session_backend *b = &s->backend;
	bool acks = session_has_feature(s, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	struct {
		struct proto_header hdr;
		uint8_t payload[sizeof(struct proto_shmem_map)];
	} wire = { .hdr = { .request = request,
			    .flags = VU_FLAG_VERSION | (acks ? VU_FLAG_NEED_REPLY : 0),
			    .size = sizeof(struct proto_shmem_map) } };
	const struct proto_shmem_map payload = {
		.shmid = map->shmid,
		.fd_offset = map->fd_offset,
		.shm_offset = map->shm_offset,
		.len = map->len,
		.flags = flags,
	};
	int r;

	static_assert(sizeof(wire) == sizeof(wire.hdr) + sizeof(payload), "one run of bytes");

	if (!s->has_shmem)
		return -EOPNOTSUPP;
	if (!is_within(s, map))
		return -EINVAL;
	if (b->n_asked == array_size(b->asked))
		return -EAGAIN;
	memcpy(wire.payload, &payload, sizeof(payload));
	r = send_whole(s, &wire, sizeof(wire), fd);
	if (r == 0 && acks)
		b->asked[(b->first + b->n_asked++) % array_size(b->asked)] =
			(struct session_asked){ request, map->shmid };
	return r;
}

int vu_session_shmem_map(struct vu_session *s, const struct vu_shmem_map *map, int fd)
{
	return ask(s, VU_BACKEND_SHMEM_MAP, map, map->writable ? VU_SHMEM_MAP_RW : 0, fd);
}

int vu_session_shmem_unmap(struct vu_session *s, const struct vu_shmem_map *map)
{
	struct vu_shmem_map gone = *map;

	gone.fd_offset = 0;
	return ask(s, VU_BACKEND_SHMEM_UNMAP, &gone, 0, -1);
}
