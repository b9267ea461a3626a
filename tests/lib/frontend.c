/* SPDX-License-Identifier: MIT */
#include "frontend.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"

/* Enough turns for a backend in this thread to do all it is going to do. */
#define PUMP_TURNS 8

static void init(struct frontend *fe)
{
	*fe = (struct frontend){ .sock = -1, .mem_fd = -1 };
}

int frontend_pair(struct frontend *fe, int *ret_backend_fd)
{
	int pair[2];

	init(fe);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	fe->sock = pair[0];
	*ret_backend_fd = pair[1];
	return 0;
}

static int connect_once(int sock, const struct sockaddr_un *sa)
{
	return connect(sock, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;
}

int frontend_connect(struct frontend *fe, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };
	int r;

	init(fe);
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	fe->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fe->sock < 0)
		return -errno;
	for (int waited = 0;; waited += 10) {
		r = connect_once(fe->sock, &sa);
		if ((r != -ENOENT && r != -ECONNREFUSED) || waited >= FRONTEND_TIMEOUT_MS)
			break;
		nanosleep(&nap, NULL);
	}
	if (r < 0)
		fd_drop(&fe->sock);
	return r;
}

void frontend_done(struct frontend *fe)
{
	fd_drop(&fe->sock);
	fd_drop(&fe->mem_fd);
	if (fe->mem)
		munmap(fe->mem, fe->mem_size);
	fe->mem = NULL;
}

void frontend_pump(struct frontend *fe)
{
	for (int i = 0; fe->pump && i < PUMP_TURNS; i++)
		fe->pump(fe->ctx);
}

/* ---- raw --------------------------------------------------------------- */

int frontend_send_bytes(struct frontend *fe, const void *bytes, size_t size, const int *fds,
			unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(253 * sizeof(int))]; /* what the kernel takes at most */
	} control;
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	assert(n_fds <= 253);
	if (n_fds) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	n = sendmsg(fe->sock, &mh, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EPIPE ? -ENODATA : -errno;
	return n == (ssize_t)size ? 0 : -EAGAIN;
}

int frontend_send(struct frontend *fe, uint32_t request, uint32_t flags, const void *payload,
		  size_t size, const int *fds, unsigned n_fds)
{
	uint8_t wire[sizeof(struct proto_header) + VU_PAYLOAD_MAX + 64];
	const struct proto_header hdr = { request, flags, (uint32_t)size };

	assert(sizeof(hdr) + size <= sizeof(wire));
	memcpy(wire, &hdr, sizeof(hdr));
	if (size)
		memcpy(wire + sizeof(hdr), payload, size);
	return frontend_send_bytes(fe, wire, sizeof(hdr) + size, fds, n_fds);
}

/* Wait for something to read.  A backend in this thread has PUMP_TURNS. */
static int wait_readable(struct frontend *fe)
{
	struct pollfd pfd = { .fd = fe->sock, .events = POLLIN };
	int n;

	frontend_pump(fe);
	n = poll(&pfd, 1, fe->pump ? 0 : FRONTEND_TIMEOUT_MS);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

/* One recvmsg().  A descriptor goes to *fd; one that nobody wants is closed. */
static ssize_t recv_part(struct frontend *fe, void *buf, size_t size, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { buf, size };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };
	ssize_t n = recvmsg(fe->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&mh);
	int got;

	if (c && c->cmsg_type == SCM_RIGHTS) {
		memcpy(&got, CMSG_DATA(c), sizeof(got));
		if (fd)
			*fd = got;
		else
			close(got);
	}
	return n;
}

static int recv_all(struct frontend *fe, void *buf, size_t size, int *fd)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n;
		int r = wait_readable(fe);

		if (r < 0)
			return r;
		n = recv_part(fe, (uint8_t *)buf + have, size - have, fd);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return -ENODATA;
		if (n < 0)
			return -errno;
		have += (size_t)n;
	}
	return 0;
}

static int receive(struct frontend *fe, struct proto_header *ret_hdr, void *payload, size_t max,
		   int *fd)
{
	int r = recv_all(fe, ret_hdr, sizeof(*ret_hdr), fd);

	if (r < 0)
		return r;
	if (ret_hdr->size > max)
		return -EMSGSIZE;
	r = recv_all(fe, payload, ret_hdr->size, NULL);
	return r < 0 ? r : (int)ret_hdr->size;
}

int frontend_recv(struct frontend *fe, struct proto_header *ret_hdr, void *payload, size_t max)
{
	return receive(fe, ret_hdr, payload, max, NULL);
}

int frontend_recv_fd(struct frontend *fe, struct proto_header *ret_hdr, void *payload, size_t max,
		     int *ret_fd)
{
	*ret_fd = -1;
	return receive(fe, ret_hdr, payload, max, ret_fd);
}

bool frontend_silent(struct frontend *fe)
{
	struct pollfd pfd = { .fd = fe->sock, .events = POLLIN };

	frontend_pump(fe);
	return poll(&pfd, 1, fe->pump ? 0 : 100) == 0;
}

bool frontend_hung_up(struct frontend *fe)
{
	char byte;
	ssize_t n;

	if (wait_readable(fe) < 0)
		return false;
	n = recv(fe->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* ---- conversation ------------------------------------------------------ */

/* Receive the u64 that answers `request`. */
static int recv_u64(struct frontend *fe, uint32_t request, uint64_t *ret_value)
{
	struct proto_header hdr;
	uint64_t value;
	int r = frontend_recv(fe, &hdr, &value, sizeof(value));

	if (r < 0)
		return r;
	if (r != sizeof(value) || hdr.request != request ||
	    hdr.flags != (VU_FLAG_VERSION | VU_FLAG_REPLY))
		return -EBADMSG;
	*ret_value = value;
	return 0;
}

int frontend_get_u64(struct frontend *fe, uint32_t request, uint64_t *ret_value)
{
	int r = frontend_send(fe, request, VU_FLAG_VERSION, NULL, 0, NULL, 0);

	return r < 0 ? r : recv_u64(fe, request, ret_value);
}

int frontend_ask(struct frontend *fe, uint32_t request, const void *payload, size_t size,
		 const int *fds, unsigned n_fds)
{
	uint32_t flags = VU_FLAG_VERSION | (fe->no_reply_ack ? 0 : VU_FLAG_NEED_REPLY);
	uint64_t failed = 0, offered;
	int r = frontend_send(fe, request, flags, payload, size, fds, n_fds);

	if (r == 0 && fe->no_reply_ack)
		return frontend_get_u64(fe, VHOST_USER_GET_FEATURES, &offered);
	if (r == 0)
		r = recv_u64(fe, request, &failed);
	return r < 0 ? r : failed != 0;
}

int frontend_ask_u64(struct frontend *fe, uint32_t request, uint64_t value)
{
	return frontend_ask(fe, request, &value, sizeof(value), NULL, 0);
}

int frontend_ask_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t num)
{
	const struct proto_vring_state state = { index, num };

	return frontend_ask(fe, request, &state, sizeof(state), NULL, 0);
}

int frontend_ask_fd(struct frontend *fe, uint32_t request, uint32_t index, int fd)
{
	uint64_t word = index | (fd < 0 ? VU_VRING_NOFD : 0);

	return frontend_ask(fe, request, &word, sizeof(word), &fd, fd < 0 ? 0 : 1);
}

int frontend_negotiate(struct frontend *fe, uint64_t features, uint64_t protocol_features)
{
	uint64_t offered, protocol_offered;
	int r;

	r = frontend_get_u64(fe, VHOST_USER_GET_FEATURES, &offered);
	if (r == 0)
		r = frontend_get_u64(fe, VHOST_USER_GET_PROTOCOL_FEATURES, &protocol_offered);
	if (r < 0)
		return r;
	fe->features = offered & (features | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES));
	fe->protocol_features = protocol_offered &
				(protocol_features | BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK));
	fe->no_reply_ack = !(fe->protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK));
	r = frontend_send(fe, VHOST_USER_SET_PROTOCOL_FEATURES, VU_FLAG_VERSION,
			  &fe->protocol_features, sizeof(uint64_t), NULL, 0);
	if (r == 0)
		r = frontend_ask(fe, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	if (r == 0)
		r = frontend_ask_u64(fe, VHOST_USER_SET_FEATURES, fe->features);
	return r > 0 ? -EOPNOTSUPP : r;
}

struct proto_region frontend_region(const struct frontend *fe)
{
	return (struct proto_region){
		.gpa = FRONTEND_GPA,
		.size = fe->mem_size,
		.uva = FRONTEND_UVA,
		.mmap_offset = 0,
	};
}

static int make_memory(struct frontend *fe, size_t size)
{
	auto_fd int fd = memfd_create("guest", MFD_CLOEXEC);
	void *mem;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	fe->mem = mem;
	fe->mem_size = size;
	fe->mem_fd = fd_take(&fd);
	return 0;
}

int frontend_memory(struct frontend *fe, size_t size)
{
	struct proto_mem_table table = { .n_regions = 1 };
	int r = fe->mem ? -EBUSY : make_memory(fe, size);

	if (r < 0)
		return r;
	table.region[0] = frontend_region(fe);
	r = frontend_ask(fe, VHOST_USER_SET_MEM_TABLE, &table,
			 PROTO_MEM_TABLE_HEAD + sizeof(table.region[0]), &fe->mem_fd, 1);
	return r > 0 ? -EOPNOTSUPP : r;
}

/* virtio 1.3, 2.7: descriptors 16 bytes each, then the two rings, each with its
 * event index. */
static size_t desc_size(uint32_t num)
{
	return 16u * num;
}

static size_t avail_size(uint32_t num)
{
	return (6 + 2u * num + 3) & ~(size_t)3;
}

size_t frontend_ring_size(uint32_t num)
{
	return desc_size(num) + avail_size(num) + 6 + 8u * num;
}

int frontend_ring_init(struct frontend_ring *ring, uint32_t num, uint64_t at)
{
	*ring = (struct frontend_ring){
		.num = num,
		.desc = at,
		.avail = at + desc_size(num),
		.used = at + desc_size(num) + avail_size(num),
		.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (ring->kick_fd >= 0 && ring->call_fd >= 0 && ring->err_fd >= 0)
		return 0;
	frontend_ring_done(ring);
	return -EMFILE;
}

void frontend_ring_done(struct frontend_ring *ring)
{
	fd_drop(&ring->kick_fd);
	fd_drop(&ring->call_fd);
	fd_drop(&ring->err_fd);
}

/* In QEMU's order; err_fd may be -1. */
static int start(struct frontend *fe, uint32_t index, const struct vq_params *p, int kick_fd,
		 int call_fd, int err_fd, bool enable)
{
	const struct proto_vring_addr addr = {
		.index = index,
		.desc_uva = p->desc.v,
		.avail_uva = p->avail.v,
		.used_uva = p->used.v,
	};
	int r;

	r = frontend_ask_state(fe, VHOST_USER_SET_VRING_NUM, index, p->num);
	if (r == 0)
		r = frontend_ask_state(fe, VHOST_USER_SET_VRING_BASE, index, p->base);
	if (r == 0)
		r = frontend_ask(fe, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (r == 0)
		r = frontend_ask_fd(fe, VHOST_USER_SET_VRING_KICK, index, kick_fd);
	if (r == 0)
		r = frontend_ask_fd(fe, VHOST_USER_SET_VRING_CALL, index, call_fd);
	if (r == 0)
		r = frontend_ask_fd(fe, VHOST_USER_SET_VRING_ERR, index, err_fd);
	if (r == 0 && enable)
		r = frontend_ask_state(fe, VHOST_USER_SET_VRING_ENABLE, index, 1);
	return r > 0 ? -EOPNOTSUPP : r;
}

int frontend_ring_start(struct frontend *fe, uint32_t index, const struct frontend_ring *ring,
			bool enable)
{
	const struct vq_params params = {
		.num = ring->num,
		.base = ring->base,
		.desc = UVA(FRONTEND_UVA + ring->desc),
		.avail = UVA(FRONTEND_UVA + ring->avail),
		.used = UVA(FRONTEND_UVA + ring->used),
	};

	return start(fe, index, &params, ring->kick_fd, ring->call_fd, ring->err_fd, enable);
}

int frontend_guest(struct frontend *fe, const struct guest *guest)
{
	struct proto_mem_table table = { 0 };
	struct mem_region_desc region[GUEST_MAX_REGIONS];
	int fds[GUEST_MAX_REGIONS];
	int r;

	table.n_regions = guest_table(guest, region, fds);
	for (unsigned i = 0; i < table.n_regions; i++)
		table.region[i] = (struct proto_region){
			.gpa = region[i].gpa.v,
			.uva = region[i].uva.v,
			.size = region[i].size,
			.mmap_offset = region[i].mmap_offset,
		};
	r = frontend_ask(fe, VHOST_USER_SET_MEM_TABLE, &table,
			 PROTO_MEM_TABLE_HEAD + table.n_regions * sizeof(table.region[0]), fds,
			 table.n_regions);
	for (unsigned i = 0; i < table.n_regions; i++)
		close(fds[i]);
	return r > 0 ? -EOPNOTSUPP : r;
}

int frontend_driver_start(struct frontend *fe, uint32_t index, const struct driver *driver,
			  bool enable)
{
	struct vq_params params;

	driver_params(driver, &params);
	return start(fe, index, &params, driver->kick_fd, driver->call_fd, -1, enable);
}

int frontend_ring_stop(struct frontend *fe, uint32_t index, uint32_t *ret_base)
{
	const struct proto_vring_state ask = { index, 0 };
	struct proto_vring_state answer;
	struct proto_header hdr;
	int r = frontend_send(fe, VHOST_USER_GET_VRING_BASE, VU_FLAG_VERSION, &ask, sizeof(ask),
			      NULL, 0);

	if (r == 0)
		r = frontend_recv(fe, &hdr, &answer, sizeof(answer));
	if (r < 0)
		return r;
	if (r != sizeof(answer) || hdr.request != VHOST_USER_GET_VRING_BASE ||
	    hdr.flags != (VU_FLAG_VERSION | VU_FLAG_REPLY) || answer.index != index)
		return -EBADMSG;
	*ret_base = answer.num;
	return 0;
}
