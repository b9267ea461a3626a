/* SPDX-License-Identifier: MIT */
/* SET_INFLIGHT_FD: the region comes back, and a ring goes on where a predecessor of ours died. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "inflight.h"
#include "wire.h"

#define VERSION_1 (1ull << 32)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define NUM       16

struct scene {
	struct guest guest;
	struct driver driver;
	gpa_t data;
	uint64_t features;
	uint32_t base; /* what the frontend goes on saying */
	struct proto_inflight shape;
	int fd;
	int heads[NUM];
};

static void get(struct wire *w, struct scene *s, uint16_t n_queues, uint16_t queue_size)
{
	struct proto_header hdr;

	s->shape = (struct proto_inflight){ .n_queues = n_queues, .queue_size = queue_size };
	assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_INFLIGHT_FD, VU_FLAG_VERSION,
				       &s->shape, sizeof(s->shape), NULL, 0),
			 0);
	assert_int_equal(frontend_recv_fd(&w->fe, &hdr, &s->shape, sizeof(s->shape), &s->fd),
			 sizeof(s->shape));
	assert_true(s->fd >= 0);
}

static int set(struct wire *w, struct proto_inflight shape, int fd)
{
	return frontend_ask(&w->fe, VHOST_USER_SET_INFLIGHT_FD, &shape, sizeof(shape), &fd, 1);
}

/* Pop and push, but publish only as told; then the driver hears nothing. */
static unsigned serve_n;

static void serve(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n = vq_pop(&q->vq, &burst, serve_n);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		vq_push(&q->vq, burst.chain[i].head, burst.chain[i].in_len);
	vq_publish(&q->vq);
}

static void begin(struct wire *w, struct scene *s)
{
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | s->features, ~0ull), 0);
	assert_int_equal(frontend_guest(&w->fe, &s->guest), 0);
	w->on_kick = serve;
}

static void scene_init(struct wire *w, struct scene *s, uint64_t features)
{
	struct vq_params p;

	*s = (struct scene){ .features = features, .fd = -1 };
	guest_init(&s->guest, 1, 1 << 20);
	driver_init(&s->driver, &s->guest, NUM, features);
	s->data = guest_alloc(&s->guest, 4096, 64);
	driver_params(&s->driver, &p);
	s->base = p.base;
	begin(w, s);
}

static void scene_done(struct scene *s)
{
	fd_drop(&s->fd);
	driver_done(&s->driver);
	guest_done(&s->guest);
}

/* A frontend that knows nothing of what happened since the ring was set up. */
static int ring_start(struct wire *w, struct scene *s)
{
	struct vq_params p;
	struct proto_vring_addr addr;
	int r;

	driver_params(&s->driver, &p);
	addr = (struct proto_vring_addr){ .desc_uva = p.desc.v,
					  .avail_uva = p.avail.v,
					  .used_uva = p.used.v };
	r = frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 0, s->driver.num);
	if (r == 0)
		r = frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_BASE, 0, s->base);
	if (r == 0)
		r = frontend_ask(&w->fe, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (r == 0)
		r = frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_CALL, 0, s->driver.call_fd);
	if (r == 0)
		r = frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_KICK, 0, s->driver.kick_fd);
	return r;
}

/* n chains of two go to the device, which returns `back` of them. */
static void circulate(struct wire *w, struct scene *s, unsigned n, unsigned back)
{
	const struct driver_buf bufs[2] = { { s->data, 10 }, { GPA(s->data.v + 64), 20 } };
	uint32_t len;

	for (unsigned i = 0; i < n; i++)
		assert_true(driver_add(&s->driver, bufs, 1, 1) >= 0);
	driver_publish(&s->driver);
	serve_n = back;
	assert_int_equal(write(s->driver.kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
	for (unsigned i = 0; i < back; i++) {
		assert_true(driver_used(&s->driver, &len) >= 0);
		assert_int_equal(len, 20);
	}
	assert_int_equal(driver_used(&s->driver, &len), -EAGAIN);
}

/* Dies at every place of several laps, with chains that are available, and goes on as if nothing had been. */
static void goes_on(void **state, uint64_t features)
{
	struct wire *w = *state;
	struct scene s;

	scene_init(w, &s, features);
	get(w, &s, 2, NUM);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	for (unsigned i = 0; i < 5 * NUM; i++) {
		circulate(w, &s, 3, 1 + i % 2);
		/* The connection breaks; nobody asks for the base. */
		wire_restart(w);
		begin(w, &s);
		assert_int_equal(set(w, s.shape, s.fd), 0);
		assert_int_equal(ring_start(w, &s), 0);
		circulate(w, &s, 0, 2 - i % 2);
	}
	scene_done(&s);
}

static void split_goes_on(void **state)
{
	goes_on(state, 0);
}

static void packed_goes_on(void **state)
{
	goes_on(state, PACKED);
}

/* What another backend would read there: the place, before and after. */
static void told_to_others(void **state)
{
	struct wire *w = *state;
	const struct inflight_packed *r;
	struct scene s;
	void *p;

	scene_init(w, &s, PACKED);
	get(w, &s, 1, NUM);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	p = mmap(NULL, s.shape.size, PROT_READ, MAP_SHARED, s.fd, 0);
	assert_true(p != MAP_FAILED);
	r = p;
	for (unsigned i = 1; i < 3 * NUM; i++) {
		circulate(w, &s, 1, 1);
		assert_int_equal(r->used_idx, s.driver.used_at.idx);
		assert_int_equal(r->used_wrap_counter, s.driver.used_at.wrap);
		assert_int_equal(r->old_used_idx, s.driver.used_at.idx);
		assert_int_equal(r->old_used_wrap_counter, s.driver.used_at.wrap);
	}
	munmap(p, s.shape.size);
	scene_done(&s);
}

/* GET_VRING_BASE was answered: from then on the frontend knows better than the region. */
static void stopped_in_good_order(void **state)
{
	struct wire *w = *state;
	struct scene s;

	scene_init(w, &s, PACKED);
	get(w, &s, 1, NUM);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	circulate(w, &s, 3, 3);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &s.base), 0);
	wire_restart(w);
	begin(w, &s);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	circulate(w, &s, 4, 4);
	scene_done(&s);
}

/* CVE-2021-3839: counts, sizes and offsets that nobody has checked. */
static void counts_cve_2021_3839(void **state)
{
	struct wire *w = *state;
	struct proto_inflight bad;
	struct scene s;
	unsigned before;

	scene_init(w, &s, PACKED);
	get(w, &s, 2, NUM);
	before = count_fds();
	bad = s.shape, bad.n_queues = 0;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.n_queues = WIRE_QUEUES + 1;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.n_queues = UINT16_MAX;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.n_queues = 1; /* not the region that we made */
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.n_queues = 3;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.queue_size = 0;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.queue_size = VQ_MAX_NUM;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.queue_size = UINT16_MAX;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.size = 0;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.size--;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.size = UINT64_MAX;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.offset = UINT64_MAX - 63;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.offset = 64;
	assert_int_equal(set(w, bad, s.fd), 1);
	bad = s.shape, bad.offset = 8;
	assert_int_equal(set(w, bad, s.fd), 1);
	assert_int_equal(count_fds(), before);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	wire_expect_alive(w);
	scene_done(&s);
}

/* CVE-2026-86565: the ring is larger than what the region was made for. */
static void size_changed_later_cve_2026_86565(void **state)
{
	struct wire *w = *state;
	struct scene s;
	uint32_t base;

	scene_init(w, &s, PACKED);
	get(w, &s, 1, NUM - 1);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 1);
	assert_int_equal(w->queue[0].n_start, 0);
	wire_expect_alive(w);
	/* Nor may the region shrink below a ring that runs. */
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	fd_drop(&s.fd);
	get(w, &s, 1, NUM);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	assert_int_equal(set(w, s.shape, s.fd), 1);
	circulate(w, &s, 3, 3);
	scene_done(&s);
}

/* CVE-2022-0669, CVE-2020-10726: each drops the one before; descriptors that do not belong there end the session. */
static void repeated_cve_2022_0669_cve_2020_10726(void **state)
{
	struct wire *w = *state;
	struct scene s;
	unsigned before;

	scene_init(w, &s, 0);
	get(w, &s, 2, 1024);
	before = count_fds();
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(count_fds(), before);
	wire_drops(w, VHOST_USER_SET_INFLIGHT_FD, &s.shape, sizeof(s.shape), (int[]){ s.fd, s.fd },
		   2);
	scene_done(&s);
}

/* Made for the other format of ring. */
static void other_format(void **state)
{
	struct wire *w = *state;
	struct scene s;

	scene_init(w, &s, 0);
	get(w, &s, 1, NUM);
	s.features = PACKED;
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | PACKED, ~0ull), 0);
	assert_int_equal(set(w, s.shape, s.fd), 1);
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1, ~0ull), 0);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | PACKED, ~0ull), 0);
	assert_int_equal(ring_start(w, &s), 1);
	wire_expect_alive(w);
	scene_done(&s);
}

/* A stranger's file: zeros, no file at all, and one that goes away. */
static void not_ours(void **state)
{
	struct wire *w = *state;
	auto_fd int mem = memfd_create("inflight", MFD_CLOEXEC);
	auto_fd int event = eventfd(0, EFD_CLOEXEC);
	struct scene s;

	scene_init(w, &s, PACKED);
	get(w, &s, 1, NUM);
	assert_int_equal(ftruncate(mem, 1 << 20), 0);
	assert_int_equal(set(w, s.shape, mem), 1);
	assert_int_equal(set(w, s.shape, event), 1);
	wire_expect_alive(w);
	scene_done(&s);
}

/* The content changes while the ring works on it: the region is the frontend's to spoil, and nobody else's loss. */
static void spoiled_while_running(void **state)
{
	struct wire *w = *state;
	struct scene s;
	uint8_t *p;

	scene_init(w, &s, PACKED);
	get(w, &s, 1, NUM);
	assert_int_equal(set(w, s.shape, s.fd), 0);
	assert_int_equal(ring_start(w, &s), 0);
	p = mmap(NULL, s.shape.size, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd, 0);
	assert_true(p != MAP_FAILED);
	for (unsigned i = 0; i < 50; i++) {
		memset(p, (int)(i * 37), s.shape.size);
		circulate(w, &s, 3, 3);
	}
	munmap(p, s.shape.size);
	wire_expect_alive(w);
	scene_done(&s);
}

static void acks(void **state)
{
	struct wire *w = *state;
	struct scene s;

	scene_init(w, &s, 0);
	get(w, &s, 1, NUM);
	wire_check_ack(w, VHOST_USER_SET_INFLIGHT_FD, &s.shape, sizeof(s.shape), &s.fd, 1, false);
	s.shape.size = 1;
	wire_check_ack(w, VHOST_USER_SET_INFLIGHT_FD, &s.shape, sizeof(s.shape), &s.fd, 1, true);
	wire_check_not_negotiated(w, VHOST_USER_SET_INFLIGHT_FD, &s.shape, sizeof(s.shape), &s.fd,
				  1);
	scene_done(&s);
}

static void shape(void **state)
{
	const struct proto_inflight bad[2] = { 0 };
	struct wire *w = *state;

	wire_drops(w, VHOST_USER_SET_INFLIGHT_FD, bad, 19, &w->ring[0].kick_fd, 1);
	wire_drops(w, VHOST_USER_SET_INFLIGHT_FD, bad, 21, &w->ring[0].kick_fd, 1);
	wire_drops(w, VHOST_USER_SET_INFLIGHT_FD, bad, 25, &w->ring[0].kick_fd, 1);
	wire_drops(w, VHOST_USER_SET_INFLIGHT_FD, bad, 24, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(split_goes_on, connected),
		WIRE_TEST(packed_goes_on, connected),
		WIRE_TEST(told_to_others, connected),
		WIRE_TEST(stopped_in_good_order, connected),
		WIRE_TEST(counts_cve_2021_3839, connected),
		WIRE_TEST(size_changed_later_cve_2026_86565, connected),
		WIRE_TEST(repeated_cve_2022_0669_cve_2020_10726, connected),
		WIRE_TEST(other_format, connected),
		WIRE_TEST(not_ours, connected),
		WIRE_TEST(spoiled_while_running, connected),
		WIRE_TEST(acks, connected),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_INFLIGHT_FD", tests, NULL, NULL);
}
