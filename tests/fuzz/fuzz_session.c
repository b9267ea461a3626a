/* SPDX-License-Identifier: MIT */
/* A frontend that does anything, in any order, to a session whose device works on
 * what it is given.
 *
 * Input: a script.  Each step begins with a byte:
 *
 *   0-63      this request: flags (VU_FLAG_*, version added unless bit 7), number of
 *             descriptors, kind of descriptor, payload size (u16, little-endian), payload
 *   64 R      kick ring R
 *   65 O O L  write L bytes, which follow, at O (times 4) of guest memory
 *   66 P      truncate guest memory to P pages
 *   67 L      send L bytes, which follow, as they are
 *   68        let time pass: turns of the loop
 *   69        listen: receive all replies (otherwise the frontend is deaf)
 *   70 L      write L bytes, which follow, into the pipe
 *   71        close the pipe: who reads it sees its end
 *   72 K O L  write L bytes, which follow, at O (times 8) of inflight region K
 *   73 L      answer: write L bytes, which follow, into the socket whose other end is FD_SOCKET
 *   other     taken modulo 74
 *
 * Checked: no crash, no hang, no leak of memory or descriptors, a device that is
 * called only as device.h says, and a session that ends when its frontend does.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "fds.h"
#include "frontend.h"
#include "inflight.h"
#include "log.h"
#include "loop.h"
#include "mem.h"
#include "session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE        4096u
#define MEMORY      (16 * PAGE)
#define QUEUES      4
#define MAX_STEPS   256
#define CONFIG_SIZE 12
#define SHMEM_SIZE  PAGE

/* Kinds of descriptor a script can send. */
enum {
	FD_MEMORY,
	FD_KICK,
	FD_CALL,
	FD_BLOCKING,
	FD_PIPE,
	FD_DEAD_PIPE,
	FD_NULL,
	FD_PIPE_END, /* to write into FD_PIPE */
	FD_SOCKET,
	FD_INFLIGHT,        /* a region of ours: QUEUES rings of INFLIGHT_NUM entries */
	FD_INFLIGHT_PACKED, /* the same for packed rings */
	FD_COUNT
};

#define INFLIGHT_NUM 16

struct script {
	const uint8_t *data;
	size_t size;
};

struct scene {
	struct loop loop;
	struct vu_session *session;
	struct log_limit log;
	struct frontend fe;
	int fds[FD_COUNT];
	int socket_peer;
	uint8_t *mem;
	bool up[QUEUES];
	bool closed;
	unsigned n_asked; /* of the frontend, and not answered */
	uint64_t sum;     /* of what was read from guest memory, so that it is read */
};

/* ---- a device that works ------------------------------------------------ */

static struct scene *of(struct vu_session *s)
{
	return vu_session_device(s);
}

static void queue_start(struct vu_session *s, struct vu_queue *q)
{
	assert(!of(s)->up[q->index] && q->started && !of(s)->closed);
	assert(vu_session_features(s) != 0);
	of(s)->up[q->index] = true;
}

static void queue_stop(struct vu_session *s, struct vu_queue *q)
{
	assert(of(s)->up[q->index]);
	of(s)->up[q->index] = false;
}

/* Read what is to be read, fill what is to be filled, give all of it back. */
static void use(struct scene *sc, struct vq *vq, struct vq_chain *c)
{
	unsigned i;

	for (i = 0; i < c->n_out; i++)
		sc->sum += *(const uint8_t *)c->iov[i].iov_base;
	for (; i < (unsigned)c->n_out + c->n_in; i++)
		memset(c->iov[i].iov_base, 0x55, min(c->iov[i].iov_len, (size_t)64));
	vq_push(vq, c->head, c->in_len);
}

/* Map and unmap by turns. */
static void ask(struct vu_session *s, unsigned i)
{
	const struct vu_shmem_map map = { .shmid = (uint8_t)i, .len = SHMEM_SIZE };
	int r;

	of(s)->n_asked++;
	r = i % 2 ? vu_session_shmem_unmap(s, &map) :
		    vu_session_shmem_map(s, &map, of(s)->fds[FD_MEMORY]);
	assert(r != -EINVAL || i > 1);
	if (r < 0 || !(vu_session_protocol_features(s) & BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK)))
		of(s)->n_asked--;
}

static void queue_kick(struct vu_session *s, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n;

	assert(of(s)->up[q->index]);
	if (!vu_session_check(s))
		return;
	n = vq_pop(&q->vq, &burst, VQ_BURST);
	if (n < 0) {
		vu_session_queue_broken(s, q);
		assert(!q->started && !of(s)->up[q->index]);
		return;
	}
	for (int i = 0; i < n; i++)
		use(of(s), &q->vq, &burst.chain[i]);
	vq_publish(&q->vq);
	(void)vq_call(&q->vq);
	if (of(s)->sum % 3 == 0)
		(void)vu_session_config_changed(s);
	ask(s, q->index);
}

static int get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	if (off > CONFIG_SIZE || len > CONFIG_SIZE - off)
		return -EINVAL;
	memset(buf, 0xc0, len);
	return 0;
}

static int set_config(struct vu_session *s, const void *buf, uint32_t off, uint32_t len,
		      uint32_t flags)
{
	if (off > CONFIG_SIZE || len > CONFIG_SIZE - off)
		return -EINVAL;
	for (uint32_t i = 0; i < len; i++)
		of(s)->sum += ((const uint8_t *)buf)[i];
	return 0;
}

static int rarp(struct vu_session *s, const uint8_t mac[6])
{
	of(s)->sum += mac[5];
	return mac[0] & 1 ? -EINVAL : 0;
}

static int set_mtu(struct vu_session *s, uint16_t mtu)
{
	return mtu < 68 ? -EINVAL : 0;
}

static void reset(struct vu_session *s)
{
	for (unsigned i = 0; i < QUEUES; i++)
		assert(!of(s)->up[i]);
}

static int save_state(struct vu_session *s, void *buf, size_t max)
{
	memset(buf, 0x5a, max);
	return (int)max;
}

static int load_state(struct vu_session *s, const void *buf, size_t size)
{
	for (unsigned i = 0; i < QUEUES; i++)
		assert(!of(s)->up[i]);
	for (size_t i = 0; i < size; i++)
		of(s)->sum += ((const uint8_t *)buf)[i];
	return 0;
}

static void shmem_config(struct vu_session *s, uint64_t size[VU_SHMEM_REGIONS])
{
	size[0] = size[1] = SHMEM_SIZE;
}

static void shmem_answered(struct vu_session *s, uint8_t shmid, bool mapped, int result)
{
	assert(!of(s)->closed && of(s)->n_asked > 0 && mapped == (shmid % 2 == 0));
	of(s)->n_asked--;
}

static void closed(struct vu_session *s, int reason)
{
	for (unsigned i = 0; i < QUEUES; i++)
		assert(!of(s)->up[i]);
	of(s)->closed = true;
	of(s)->session = NULL;
}

static const struct vu_device_ops ops = {
	.name = "fuzz",
	.features = BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) |
		    BIT_ULL(VHOST_USER_F_LOG_ALL),
	.protocol_features = BIT_ULL(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_STATUS) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ),
	.rarp = rarp,
	.set_mtu = set_mtu,
	.reset = reset,
	.save_state = save_state,
	.load_state = load_state,
	.max_queues = QUEUES,
	.rings_per_queue = 2,
	.get_config = get_config,
	.set_config = set_config,
	.shmem_config = shmem_config,
	.shmem_answered = shmem_answered,
	.queue_start = queue_start,
	.queue_stop = queue_stop,
	.queue_kick = queue_kick,
	.closed = closed,
};

/* ---- the script --------------------------------------------------------- */

/* The next n bytes, zeros where the script is over. */
static void take(struct script *sc, void *to, size_t n)
{
	size_t have = min(n, sc->size);

	memset(to, 0, n);
	memcpy(to, sc->data, have);
	sc->data += have;
	sc->size -= have;
}

static uint8_t take_u8(struct script *sc)
{
	uint8_t v;

	take(sc, &v, 1);
	return v;
}

static uint16_t take_u16(struct script *sc)
{
	uint8_t v[2];

	take(sc, v, 2);
	return (uint16_t)(v[0] | v[1] << 8);
}

static void step_request(struct scene *sc, struct script *script, uint32_t request)
{
	uint8_t payload[VU_PAYLOAD_MAX + 16];
	int fds[VU_MAX_FDS + 1];
	uint8_t flags = take_u8(script);
	unsigned n_fds = take_u8(script) % (VU_MAX_FDS + 2);
	unsigned kind = take_u8(script);
	size_t size = take_u16(script) % (VU_PAYLOAD_MAX + 2);

	take(script, payload, size);
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = sc->fds[(kind >> 4 ? kind + i : kind) % FD_COUNT];
	(void)frontend_send(&sc->fe, request, flags & 0x80 ? flags & 0x7f : flags | VU_FLAG_VERSION,
			    payload, size, fds, n_fds);
}

static void step_write(struct scene *sc, struct script *script)
{
	size_t off = 4u * take_u16(script) % MEMORY;
	size_t len = take_u8(script);
	uint8_t bytes[256];

	take(script, bytes, len);
	/* Through the file, since our own mapping may have been truncated. */
	(void)!pwrite(sc->fds[FD_MEMORY], bytes, min(len, MEMORY - off), (off_t)off);
}

static void step_inflight(struct scene *sc, struct script *script)
{
	int fd = sc->fds[take_u8(script) % 2 ? FD_INFLIGHT_PACKED : FD_INFLIGHT];
	off_t off = 8 * (off_t)take_u16(script);
	size_t len = take_u8(script);
	uint8_t bytes[256];

	take(script, bytes, len);
	(void)!pwrite(fd, bytes, len, off);
}

static void listen_to(struct scene *sc)
{
	uint8_t bytes[4096];

	while (recv(sc->fe.sock, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void turn(struct scene *sc)
{
	for (unsigned i = 0; i < 3; i++)
		assert(loop_once(&sc->loop, 0) == 0);
}

static void step(struct scene *sc, struct script *script)
{
	uint8_t bytes[256];
	uint8_t op = take_u8(script) % 74;
	size_t len;

	switch (op) {
	case 64:
		(void)!write(sc->fds[FD_KICK], &(uint64_t){ 1 }, 8);
		(void)take_u8(script);
		break;
	case 65:
		step_write(sc, script);
		break;
	case 66:
		(void)!ftruncate(sc->fds[FD_MEMORY], take_u8(script) % 17 * PAGE);
		break;
	case 67:
		len = take_u8(script);
		take(script, bytes, len);
		if (len)
			(void)frontend_send_bytes(&sc->fe, bytes, len, NULL, 0);
		break;
	case 68:
		turn(sc);
		break;
	case 69:
		listen_to(sc);
		break;
	case 70:
		len = take_u8(script);
		take(script, bytes, len);
		(void)!write(sc->fds[FD_PIPE_END], bytes, len);
		break;
	case 71:
		(void)dup2(sc->fds[FD_NULL], sc->fds[FD_PIPE_END]);
		break;
	case 72:
		step_inflight(sc, script);
		break;
	case 73:
		len = take_u8(script);
		take(script, bytes, len);
		(void)send(sc->socket_peer, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	default:
		step_request(sc, script, op);
		break;
	}
	turn(sc);
}

static void open_fds(struct scene *sc)
{
	struct inflight_shape shape = { QUEUES, INFLIGHT_NUM, false };
	int live[2], dead[2], pair[2];

	assert(pipe2(live, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(dead, O_CLOEXEC) == 0);
	close(dead[1]);
	sc->fds[FD_PIPE_END] = live[1];
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	sc->fds[FD_SOCKET] = pair[0];
	sc->socket_peer = pair[1];
	shape.packed = false;
	assert(inflight_make(&shape, QUEUES, &sc->fds[FD_INFLIGHT]) == 0);
	shape.packed = true;
	assert(inflight_make(&shape, QUEUES, &sc->fds[FD_INFLIGHT_PACKED]) == 0);
	sc->fds[FD_MEMORY] = memfd_create("fuzz", MFD_CLOEXEC);
	sc->fds[FD_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sc->fds[FD_CALL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sc->fds[FD_BLOCKING] = eventfd(1, EFD_CLOEXEC);
	sc->fds[FD_PIPE] = live[0];
	sc->fds[FD_DEAD_PIPE] = dead[0];
	sc->fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert(ftruncate(sc->fds[FD_MEMORY], MEMORY) == 0);
}

static void close_fds(struct scene *sc)
{
	for (unsigned i = 0; i < FD_COUNT; i++)
		close(sc->fds[i]);
	close(sc->socket_peer);
}

static void once(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	signal(SIGPIPE, SIG_IGN);       /* as in backend_main() */
	log_set_level(LOG_LEVEL_ERROR); /* warnings are what this is all about */
	assert(mem_guard_install() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script script = { data, size };
	struct scene sc = { 0 };
	unsigned before;
	int backend;

	once();
	before = count_fds();
	open_fds(&sc);
	assert(loop_init(&sc.loop) == 0);
	assert(frontend_pair(&sc.fe, &backend) == 0);
	assert(fcntl(sc.fe.sock, F_SETFL, O_NONBLOCK) == 0);
	assert(vu_session_new(&sc.loop, backend, &ops, &sc, "fuzz", &sc.log, &sc.session) == 0);
	for (unsigned i = 0; i < MAX_STEPS && script.size && sc.session; i++)
		step(&sc, &script);

	frontend_done(&sc.fe);
	for (unsigned i = 0; i < 64 && sc.session; i++)
		turn(&sc);
	assert(sc.closed && !sc.session);
	loop_done(&sc.loop);
	close_fds(&sc);
	assert(count_fds() == before);
	return 0;
}
