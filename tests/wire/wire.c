/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "log.h"

/* ---- a device that takes notes ----------------------------------------- */

static struct wire *of(struct vu_session *s)
{
	return vu_session_device(s);
}

static int get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	if (!range_within(off, len, WIRE_CONFIG_SIZE))
		return -EINVAL;
	memcpy(buf, of(s)->config + off, len);
	return 0;
}

static int set_config(struct vu_session *s, const void *buf, uint32_t off, uint32_t len,
		      uint32_t flags)
{
	if (!range_within(off, len, WIRE_CONFIG_SIZE))
		return -EINVAL;
	memcpy(of(s)->config + off, buf, len);
	of(s)->config_flags = flags;
	return 0;
}

static int rarp(struct vu_session *s, const uint8_t mac[6])
{
	if (mac[0] & 1)
		return -EINVAL;
	memcpy(of(s)->mac, mac, 6);
	of(s)->n_rarp++;
	return 0;
}

static int set_mtu(struct vu_session *s, uint16_t mtu)
{
	if (mtu > WIRE_MTU_MAX)
		return -ERANGE;
	of(s)->mtu = mtu;
	return 0;
}

static void reset(struct vu_session *s)
{
	of(s)->n_reset++;
}

static int save_state(struct vu_session *s, void *buf, size_t max)
{
	assert_true(of(s)->saved_size <= max);
	memcpy(buf, of(s)->saved, of(s)->saved_size);
	return of(s)->save_result < 0 ? of(s)->save_result : (int)of(s)->saved_size;
}

static int load_state(struct vu_session *s, const void *buf, size_t size)
{
	of(s)->n_load++;
	if (of(s)->load_result < 0)
		return of(s)->load_result;
	assert_true(size <= WIRE_STATE_MAX);
	memcpy(of(s)->saved, buf, size);
	of(s)->saved_size = size;
	return 0;
}

static void shmem_config(struct vu_session *s, uint64_t size[VU_SHMEM_REGIONS])
{
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++)
		assert_int_equal(size[i], 0);
	size[0] = WIRE_SHMEM_FIRST;
	size[VU_SHMEM_REGIONS - 1] = WIRE_SHMEM_LAST;
}

static void shmem_answered(struct vu_session *s, uint8_t shmid, bool mapped, int result)
{
	struct wire *w = of(s);

	assert_in_range(w->n_answers, 0, array_size(w->answer) - 1);
	w->answer[w->n_answers++] = (struct wire_answer){ shmid, mapped, result };
}

static void negotiated(struct vu_session *s, uint64_t features)
{
	of(s)->n_negotiated++;
	of(s)->features = features;
}

static void queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct wire_queue *wq = &of(s)->queue[q->index];

	assert_int_equal(wq->n_start, wq->n_stop);
	assert_true(q->started);
	wq->n_start++;
}

static void queue_stop(struct vu_session *s, struct vu_queue *q)
{
	struct wire_queue *wq = &of(s)->queue[q->index];

	assert_int_equal(wq->n_start, wq->n_stop + 1);
	wq->n_stop++;
}

static void queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	of(s)->queue[q->index].n_enable++;
	of(s)->queue[q->index].enabled = on;
}

static void queue_kick(struct vu_session *s, struct vu_queue *q)
{
	assert_true(q->started);
	of(s)->queue[q->index].n_kick++;
	if (of(s)->on_kick)
		of(s)->on_kick(of(s), q);
}

static void state_changed(struct vu_session *s)
{
	of(s)->n_state++;
}

static void closed(struct vu_session *s, int reason)
{
	struct wire *w = of(s);

	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		assert_int_equal(w->queue[i].n_start, w->queue[i].n_stop);
	w->n_closed++;
	w->reason = reason;
	w->session = NULL;
}

const struct vu_device_ops wire_ops = {
	.name = "wire",
	.features = WIRE_FEATURE | WIRE_SPECIAL,
	.protocol_features = BIT_ULL(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_STATUS) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
			     BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ),
	.max_queues = WIRE_QUEUES,
	.rings_per_queue = 2,
	.get_config = get_config,
	.set_config = set_config,
	.rarp = rarp,
	.set_mtu = set_mtu,
	.reset = reset,
	.save_state = save_state,
	.load_state = load_state,
	.shmem_config = shmem_config,
	.shmem_answered = shmem_answered,
	.negotiated = negotiated,
	.queue_start = queue_start,
	.queue_stop = queue_stop,
	.queue_enable = queue_enable,
	.queue_kick = queue_kick,
	.state_changed = state_changed,
	.closed = closed,
};

/* The sibling's device does nothing; its being called back at all is a fault. */
static void sibling_closed(struct vu_session *s, int reason)
{
	of(s)->sibling = NULL;
}

static const struct vu_device_ops sibling_ops = {
	.name = "sibling",
	.max_queues = 1,
	.closed = sibling_closed,
};

/* ---- stages ------------------------------------------------------------ */

void wire_turn(struct wire *w)
{
	assert_int_equal(loop_once(&w->loop, 0), 0);
}

static void pump(void *ctx)
{
	wire_turn(ctx);
}

static void connect_pair(struct wire *w, struct frontend *fe, const struct vu_device_ops *ops,
			 struct log_limit *log, struct vu_session **ret_session)
{
	int fd;

	assert_int_equal(frontend_pair(fe, &fd), 0);
	fe->pump = pump;
	fe->ctx = w;
	assert_int_equal(vu_session_new(&w->loop, fd, ops, w, ops->name, log, ret_session), 0);
}

static void advance(struct wire *w)
{
	if (w->stage == WIRE_ACKS) {
		uint64_t acks = vu_offered_protocol_features(&wire_ops);

		assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					       VU_FLAG_VERSION, &acks, sizeof(acks), NULL, 0),
				 0);
		frontend_pump(&w->fe);
	}
	if (w->stage >= WIRE_NEGOTIATED) {
		assert_int_equal(frontend_negotiate(&w->fe, ~WIRE_SPECIAL, ~0ull), 0);
		assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	}
	if (w->stage >= WIRE_RUNNING)
		assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
}

static void begin(struct wire *w)
{
	connect_pair(w, &w->fe, &wire_ops, &w->log, &w->session);
	memset(w->queue, 0, sizeof(w->queue));
	w->n_negotiated = 0;
	w->n_state = 0;
	w->n_closed = 0;
	w->n_answers = 0;
	advance(w);
}

static void finish(struct wire *w)
{
	frontend_done(&w->fe);
	for (int i = 0; w->session && i < 8; i++)
		wire_turn(w);
	assert_null(w->session);
	assert_int_equal(w->n_closed, 1);
}

void wire_restart(struct wire *w)
{
	finish(w);
	begin(w);
}

static int setup(void **state, enum wire_stage stage)
{
	unsigned n_fds = count_fds();
	struct wire *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	log_set_level(LOG_LEVEL_ERROR);
	w->stage = stage;
	w->n_fds = n_fds;
	assert_int_equal(loop_init(&w->loop), 0);
	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		assert_int_equal(frontend_ring_init(&w->ring[i], WIRE_RING_NUM, WIRE_RING_AT(i)),
				 0);
	connect_pair(w, &w->sibling_fe, &sibling_ops, &w->sibling_log, &w->sibling);
	begin(w);
	*state = w;
	return 0;
}

int wire_setup_connected(void **state)
{
	return setup(state, WIRE_CONNECTED);
}

int wire_setup_acks(void **state)
{
	return setup(state, WIRE_ACKS);
}

int wire_setup_negotiated(void **state)
{
	return setup(state, WIRE_NEGOTIATED);
}

int wire_setup_running(void **state)
{
	return setup(state, WIRE_RUNNING);
}

int wire_teardown(void **state)
{
	struct wire *w = *state;

	finish(w);
	assert_non_null(w->sibling);
	frontend_done(&w->sibling_fe);
	for (int i = 0; w->sibling && i < 8; i++)
		wire_turn(w);
	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		frontend_ring_done(&w->ring[i]);
	loop_done(&w->loop);
	assert_int_equal(count_fds(), w->n_fds);
	free(w);
	return 0;
}

/* ---- expectations ------------------------------------------------------ */

static void expect_answers(struct frontend *fe)
{
	uint64_t features;

	assert_int_equal(frontend_get_u64(fe, VHOST_USER_GET_FEATURES, &features), 0);
}

void wire_expect_alive_sibling(struct wire *w)
{
	assert_non_null(w->sibling);
	expect_answers(&w->sibling_fe);
}

void wire_expect_alive(struct wire *w)
{
	assert_non_null(w->session);
	expect_answers(&w->fe);
	wire_expect_alive_sibling(w);
}

void wire_expect_ended(struct wire *w, int reason)
{
	assert_true(frontend_hung_up(&w->fe));
	assert_null(w->session);
	assert_int_equal(w->n_closed, 1);
	assert_int_equal(w->reason, reason);
	wire_expect_alive_sibling(w);
}

void wire_drops(struct wire *w, uint32_t request, const void *payload, size_t size, const int *fds,
		unsigned n_fds)
{
	assert_int_equal(frontend_send(&w->fe, request, VU_FLAG_VERSION, payload, size, fds, n_fds),
			 0);
	wire_expect_ended(w, -EPROTO);
	wire_restart(w);
}

void wire_check_shape(struct wire *w, uint32_t request, const void *payload, size_t size,
		      unsigned n_fds_min, unsigned n_fds_max)
{
	uint8_t longer[VU_PAYLOAD_MAX] = { 0 };
	int fds[VU_MAX_FDS + 1];
	auto_fd int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0 && size < sizeof(longer));
	memcpy(longer, payload ? payload : longer, size);
	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = fd;
	for (size_t less = 0; less < size; less = less < size / 2 ? size / 2 : less + 1)
		wire_drops(w, request, longer, less, fds, n_fds_min);
	wire_drops(w, request, longer, size + 1, fds, n_fds_min);
	wire_drops(w, request, longer, size + 8, fds, n_fds_min);
	for (unsigned n = 0; n < n_fds_min; n++)
		wire_drops(w, request, longer, size, fds, n);
	wire_drops(w, request, longer, size, fds, n_fds_max + 1);
	wire_drops(w, request, longer, size, fds, array_size(fds));
}

void wire_check_ack(struct wire *w, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds, bool refused)
{
	assert_int_equal(frontend_send(&w->fe, request, VU_FLAG_VERSION, payload, size, fds, n_fds),
			 0);
	assert_true(frontend_silent(&w->fe));
	assert_int_equal(frontend_ask(&w->fe, request, payload, size, fds, n_fds), refused);
	assert_true(frontend_silent(&w->fe));
	wire_expect_alive(w);
}

void wire_check_no_eventfd(struct wire *w, uint32_t request, uint32_t index)
{
	int fds[7];
	unsigned before;

	fds[0] = memfd_create("anon_inode:[eventfd]", MFD_CLOEXEC);
	fds[1] = epoll_create1(EPOLL_CLOEXEC);
	fds[2] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	assert_int_equal(pipe2(&fds[3], O_CLOEXEC), 0);
	fds[5] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[6] = open("/dev/null", O_RDWR | O_CLOEXEC);
	before = count_fds();
	for (unsigned i = 0; i < array_size(fds); i++) {
		assert_true(fds[i] >= 0);
		assert_int_equal(frontend_ask_fd(&w->fe, request, index, fds[i]), 1);
	}
	assert_int_equal(count_fds(), before);
	for (unsigned i = 0; i < array_size(fds); i++)
		close(fds[i]);
	wire_expect_alive(w);
}

void wire_check_not_negotiated(struct wire *w, uint32_t request, const void *payload, size_t size,
			       const int *fds, unsigned n_fds)
{
	uint64_t only_acks = BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	unsigned before;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, only_acks), 0);
	before = count_fds();
	assert_int_equal(frontend_ask(&w->fe, request, payload, size, fds, n_fds), 1);
	assert_int_equal(count_fds(), before);
	assert_true(frontend_silent(&w->fe));
	wire_expect_alive(w);
}

void wire_check_one_reply(struct wire *w, uint32_t request, const void *payload, size_t size)
{
	for (unsigned i = 0; i < 2; i++) {
		uint32_t flags = VU_FLAG_VERSION | (i ? VU_FLAG_NEED_REPLY : 0);
		uint8_t reply[VU_PAYLOAD_MAX];
		struct proto_header hdr;

		assert_int_equal(frontend_send(&w->fe, request, flags, payload, size, NULL, 0), 0);
		assert_true(frontend_recv(&w->fe, &hdr, reply, sizeof(reply)) >= 0);
		assert_int_equal(hdr.request, request);
		assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
		assert_true(frontend_silent(&w->fe));
	}
	wire_expect_alive(w);
}
