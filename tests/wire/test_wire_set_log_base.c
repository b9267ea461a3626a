/* SPDX-License-Identifier: MIT */
/* SET_LOG_BASE, and what is in the log then: every page that was written, and no other. */
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "wire.h"

#define VERSION_1 (1ull << 32)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define IN_ORDER  BIT_ULL(VIRTIO_F_IN_ORDER)
#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define LOG_ALL   BIT_ULL(VHOST_USER_F_LOG_ALL)
#define PAGE      4096u
#define NUM       64
#define MEMORY    (2u << 20)

/* The guest's memory ends here, and one bit stands for a page. */
#define LOG_SIZE ((GUEST_GPA + MEMORY) / PAGE / 8)

struct scene {
	struct guest guest;
	struct driver driver;
	gpa_t data; /* on a page border, far from the ring */
	int fd;
	uint8_t *log;    /* LOG_SIZE bytes, */
	uint64_t offset; /* at this place of the file */
	uint8_t *shadow; /* what the log should say: as many bytes */
	bool all;        /* every change must be in the log: the used ring is, too */
	uint8_t *before; /* guest memory as it was */
};

static uint32_t fill_len; /* bytes that the device writes into each chain */

static void serve(struct wire *w, struct vu_queue *q)
{
	static struct vq_burst burst;
	int n = vq_pop(&q->vq, &burst, VQ_BURST);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		const struct vq_chain *c = &burst.chain[i];
		uint32_t left = fill_len < c->in_len ? fill_len : c->in_len, done = 0;

		for (unsigned k = c->n_out; k < (unsigned)c->n_out + c->n_in && left > 0; k++) {
			uint32_t len = (uint32_t)c->iov[k].iov_len < left ?
					       (uint32_t)c->iov[k].iov_len :
					       left;

			memset(c->iov[k].iov_base, 0xd1, len);
			left -= len;
			done += len;
		}
		vq_push(&q->vq, c->head, done);
	}
	vq_publish(&q->vq);
	vq_call(&q->vq);
	(void)vq_kick_on(&q->vq);
}

static int set_base(struct wire *w, int fd, uint64_t size, uint64_t offset)
{
	const struct proto_log log = { size, offset };
	struct proto_header hdr;
	uint64_t failed = 2;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_LOG_BASE, VU_FLAG_VERSION, &log,
				       sizeof(log), &fd, 1),
			 0);
	assert_int_equal(frontend_recv(&w->fe, &hdr, &failed, sizeof(failed)), sizeof(failed));
	assert_int_equal(hdr.request, VHOST_USER_SET_LOG_BASE);
	assert_true(frontend_silent(&w->fe));
	return (int)failed;
}

/* A log in the middle of a file: with bytes before and behind it that nobody may touch. */
static void scene_init(struct wire *w, struct scene *s, uint64_t features, uint64_t offset)
{
	s->all = false;
	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | features, ~0ull), 0);
	assert_int_equal(w->fe.features & features, features);
	guest_init(&s->guest, 1, MEMORY);
	driver_init(&s->driver, &s->guest, NUM, features);
	s->data = guest_alloc(&s->guest, 64 * PAGE, PAGE);
	assert_int_equal(frontend_guest(&w->fe, &s->guest), 0);
	s->offset = offset;
	s->fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(s->fd, (off_t)(offset + 2 * LOG_SIZE)), 0);
	s->log = mmap(NULL, offset + 2 * LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	assert_true(s->log != MAP_FAILED);
	s->shadow = test_calloc(1, LOG_SIZE);
	s->before = test_malloc(MEMORY);
	w->on_kick = serve;
}

static void scene_done(struct scene *s)
{
	munmap(s->log, s->offset + 2 * LOG_SIZE);
	close(s->fd);
	test_free(s->shadow);
	test_free(s->before);
	driver_done(&s->driver);
	guest_done(&s->guest);
}

static void expect_page(struct scene *s, uint64_t gpa)
{
	s->shadow[gpa / PAGE / 8] |= (uint8_t)(1u << gpa / PAGE % 8);
}

static bool is_logged(const struct scene *s, uint64_t gpa)
{
	return s->log[s->offset + gpa / PAGE / 8] >> gpa / PAGE % 8 & 1;
}

/* Nothing outside of the log, and in it exactly the pages that were told to expect_page(). */
static void expect_log(const struct scene *s)
{
	for (uint64_t i = 0; i < s->offset; i++)
		assert_int_equal(s->log[i], 0);
	for (uint64_t i = 0; i < LOG_SIZE; i++)
		assert_int_equal(s->log[s->offset + LOG_SIZE + i], 0);
	assert_memory_equal(s->log + s->offset, s->shadow, LOG_SIZE);
}

static void snapshot(struct scene *s)
{
	memcpy(s->before, s->guest.va, MEMORY);
}

/* Whatever differs from the snapshot must be in the log. */
static void expect_changes_logged(const struct scene *s)
{
	for (uint64_t at = 0; at < MEMORY; at += PAGE)
		if (memcmp(s->before + at, s->guest.va + at, PAGE) != 0)
			assert_true(is_logged(s, GUEST_GPA + at));
}

/* The ring starts with or without the flag that logs its used ring, too. */
static void ring_start(struct wire *w, struct scene *s, bool log_used)
{
	struct proto_vring_addr addr = { .flags = log_used ? VU_VRING_F_LOG : 0 };
	struct vq_params p;

	assert_int_equal(frontend_driver_start(&w->fe, 0, &s->driver, true), 0);
	driver_params(&s->driver, &p);
	addr.desc_uva = p.desc.v;
	addr.avail_uva = p.avail.v;
	addr.used_uva = p.used.v;
	addr.log_gpa = s->driver.used_gpa.v;
	assert_int_equal(
		frontend_ask(&w->fe, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
}

/* The device works on what is available; what differs from then on is its doing. */
static void let_work(struct wire *w, struct scene *s)
{
	driver_publish(&s->driver);
	snapshot(s);
	assert_int_equal(write(s->driver.kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&w->fe);
}

/* A chain through the device and back. */
static void circulate(struct wire *w, struct scene *s, const struct driver_buf *bufs,
		      unsigned n_out, unsigned n_in)
{
	uint32_t len;

	assert_true(driver_add(&s->driver, bufs, n_out, n_in) >= 0);
	let_work(w, s);
	if (s->all)
		expect_changes_logged(s);
	assert_true(driver_used(&s->driver, &len) >= 0);
}

/* Only what was written, by the page: not what was read, not what had room. */
static void buffers(void **state, uint64_t features, uint64_t offset)
{
	struct wire *w = *state;
	struct scene s;
	struct driver_buf bufs[3];

	scene_init(w, &s, features | LOG_ALL, offset);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, offset), 0);
	ring_start(w, &s, false);
	bufs[0] = (struct driver_buf){ s.data, PAGE };
	bufs[1] = (struct driver_buf){ GPA(s.data.v + 3 * PAGE - 10), 20 };
	bufs[2] = (struct driver_buf){ GPA(s.data.v + 8 * PAGE), 4 * PAGE };

	fill_len = 0;
	circulate(w, &s, bufs, 1, 2);
	expect_log(&s);
	fill_len = 10; /* up to the last byte of a page */
	circulate(w, &s, bufs, 1, 2);
	expect_page(&s, s.data.v + 2 * PAGE);
	expect_log(&s);
	fill_len = 11;
	circulate(w, &s, bufs, 1, 2);
	expect_page(&s, s.data.v + 3 * PAGE);
	expect_log(&s);
	fill_len = 20 + PAGE;
	circulate(w, &s, bufs, 1, 2);
	expect_page(&s, s.data.v + 8 * PAGE);
	expect_log(&s);
	fill_len = 20 + PAGE + 1;
	circulate(w, &s, bufs, 1, 2);
	expect_page(&s, s.data.v + 9 * PAGE);
	expect_log(&s);
	scene_done(&s);
}

static void split_buffers(void **state)
{
	buffers(state, 0, 0);
}

static void packed_buffers(void **state)
{
	buffers(state, PACKED, 0);
}

/* CVE-2026-86563: an offset that counts twice, once in mmap() and once in each access. */
static void offset_counts_once_cve_2026_86563(void **state)
{
	buffers(state, EVENT_IDX, PAGE);
}

/* Not on a page's border, either: mmap() cannot do that by itself. */
static void odd_offset(void **state)
{
	buffers(state, PACKED | IN_ORDER, PAGE + 24);
}

/* All that changes in guest memory is in the log, the used ring and event suppression among it. */
static void everything(void **state, uint64_t features)
{
	struct wire *w = *state;
	struct scene s;

	scene_init(w, &s, features | LOG_ALL, 0);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	ring_start(w, &s, true);
	s.all = true;
	fill_len = 100;
	for (unsigned i = 0; i < 100; i++) {
		const struct driver_buf bufs[2] = { { s.data, 10 },
						    { GPA(s.data.v + (1 + i % 60) * PAGE), 200 } };

		memset(s.log, 0, LOG_SIZE);
		circulate(w, &s, bufs, 1, i % 4 ? 1 : 0);
		assert_false(is_logged(&s, s.data.v));
		assert_true(
			is_logged(&s, s.driver.packed ? s.driver.desc_gpa.v : s.driver.used_gpa.v));
	}
	scene_done(&s);
}

static void split_everything(void **state)
{
	everything(state, 0);
}

static void split_event_idx_everything(void **state)
{
	everything(state, EVENT_IDX | IN_ORDER);
}

static void packed_everything(void **state)
{
	everything(state, PACKED);
}

static void packed_event_idx_everything(void **state)
{
	everything(state, PACKED | EVENT_IDX);
}

/* More pieces than are told apart: too much may be logged, too little may not. */
static void many_pieces(void **state)
{
	struct wire *w = *state;
	struct driver_buf bufs[40];
	struct scene s;
	uint32_t len;

	scene_init(w, &s, LOG_ALL | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC), 0);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	ring_start(w, &s, true);
	for (unsigned i = 0; i < 40; i++)
		bufs[i] = (struct driver_buf){ GPA(s.data.v + (i * 17 % 40) * PAGE), 100 };
	fill_len = 3333;
	assert_true(driver_add_indirect(&s.driver, bufs, 0, 40) >= 0);
	let_work(w, &s);
	assert_true(driver_used(&s.driver, &len) >= 0);
	assert_int_equal(len, 3333);
	expect_changes_logged(&s);
	scene_done(&s);
}

/* As QEMU does it: features and addresses again while the ring runs, and off again. */
static void begins_and_ends_while_running(void **state)
{
	struct wire *w = *state;
	struct driver_buf buf;
	struct scene s;

	scene_init(w, &s, PACKED, 0);
	fill_len = 8;
	assert_int_equal(frontend_driver_start(&w->fe, 0, &s.driver, true), 0);
	buf = (struct driver_buf){ s.data, 64 };
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	circulate(w, &s, &buf, 0, 1);
	expect_log(&s);

	assert_int_equal(
		frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES, w->fe.features | LOG_ALL), 0);
	assert_true(vu_session_queue(w->session, 0)->started);
	circulate(w, &s, &buf, 0, 1);
	expect_page(&s, s.data.v);
	expect_log(&s);

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES, w->fe.features), 0);
	buf.addr.v += PAGE;
	circulate(w, &s, &buf, 0, 1);
	expect_log(&s);
	/* Nothing else may change while a ring runs. */
	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES,
					  (w->fe.features | LOG_ALL) & ~PACKED),
			 1);
	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_FEATURES,
					  w->fe.features | WIRE_NO_FEATURE),
			 1);
	circulate(w, &s, &buf, 0, 1);
	scene_done(&s);
}

/* CVE-2020-10722: size and offset that overflow, or lie beyond the file. */
static void out_of_range_cve_2020_10722(void **state)
{
	struct wire *w = *state;
	struct driver_buf buf;
	struct scene s;
	unsigned before;

	scene_init(w, &s, LOG_ALL, 0);
	before = count_fds();
	assert_int_equal(set_base(w, s.fd, UINT64_MAX, 0), 1);
	assert_int_equal(set_base(w, s.fd, UINT64_MAX, 1), 1);
	assert_int_equal(set_base(w, s.fd, UINT64_MAX - 4095, 4096), 1);
	assert_int_equal(set_base(w, s.fd, PAGE, UINT64_MAX - 4095), 1);
	assert_int_equal(set_base(w, s.fd, 2 * LOG_SIZE + 1, 0), 1);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 2 * LOG_SIZE), 1);
	assert_int_equal(set_base(w, s.fd, 0, 0), 1);
	assert_int_equal(count_fds(), before);

	/* Logging without a log, and with one that is too small: what it has no bit for is not logged. */
	ring_start(w, &s, true);
	fill_len = 64;
	buf = (struct driver_buf){ s.data, 64 };
	circulate(w, &s, &buf, 0, 1);
	expect_log(&s);
	assert_int_equal(set_base(w, s.fd, 1, 0), 0);
	circulate(w, &s, &buf, 0, 1);
	expect_log(&s);
	wire_expect_alive(w);
	scene_done(&s);
}

/* A log is replaced, and its file closed, each time. */
static void repeated(void **state)
{
	struct wire *w = *state;
	struct scene s;
	unsigned before;

	scene_init(w, &s, LOG_ALL, 0);
	before = count_fds();
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	assert_int_equal(count_fds(), before);
	scene_done(&s);
}

/* The used ring may count as an address outside of guest memory, and the log need not reach so far. */
static void used_ring_anywhere(void **state)
{
	struct wire *w = *state;
	struct proto_vring_addr addr = { .flags = VU_VRING_F_LOG };
	static const uint64_t at[] = { 0, 5 * PAGE - 2, UINT64_MAX - 3, 1ull << 62 };
	struct driver_buf buf;
	struct vq_params p;
	struct scene s;

	scene_init(w, &s, LOG_ALL, 0);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	ring_start(w, &s, true);
	driver_params(&s.driver, &p);
	addr.desc_uva = p.desc.v;
	addr.avail_uva = p.avail.v;
	addr.used_uva = p.used.v;
	fill_len = 0;
	buf = (struct driver_buf){ s.data, 64 };
	for (unsigned i = 0; i < 4; i++) {
		memset(s.log, 0, LOG_SIZE);
		addr.log_gpa = at[i];
		assert_int_equal(frontend_ask(&w->fe, VHOST_USER_SET_VRING_ADDR, &addr,
					      sizeof(addr), NULL, 0),
				 0);
		circulate(w, &s, &buf, 0, 1);
		if (i == 0)
			assert_int_equal(s.log[0], 1);
		if (i == 1)
			assert_int_equal(s.log[0], 3 << 4);
		assert_false(is_logged(&s, s.driver.used_gpa.v));
	}
	wire_expect_alive(w);
	scene_done(&s);
}

/* SET_LOG_FD: one event for each publication that set bits. */
static void events(void **state)
{
	struct wire *w = *state;
	auto_fd int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct driver_buf buf;
	uint64_t count;
	struct scene s;

	scene_init(w, &s, LOG_ALL, 0);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	assert_int_equal(frontend_ask(&w->fe, VHOST_USER_SET_LOG_FD, NULL, 0, &event, 1), 0);
	ring_start(w, &s, false);
	buf = (struct driver_buf){ s.data, 64 };
	fill_len = 0;
	circulate(w, &s, &buf, 0, 1);
	assert_int_equal(read(event, &count, sizeof(count)), -1);
	fill_len = 1;
	circulate(w, &s, &buf, 0, 1);
	assert_int_equal(read(event, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	scene_done(&s);
}

/* The frontend truncates its log: its own session ends, nobody else's. */
static void truncated(void **state)
{
	struct wire *w = *state;
	struct driver_buf buf;
	struct scene s;

	assert_int_equal(mem_guard_install(), 0);
	scene_init(w, &s, LOG_ALL, 0);
	assert_int_equal(set_base(w, s.fd, LOG_SIZE, 0), 0);
	ring_start(w, &s, false);
	assert_int_equal(ftruncate(s.fd, 0), 0);
	buf = (struct driver_buf){ s.data, 64 };
	fill_len = 64;
	assert_true(driver_add(&s.driver, &buf, 0, 1) >= 0);
	driver_publish(&s.driver);
	assert_int_equal(write(s.driver.kick_fd, &(uint64_t){ 1 }, 8), 8);
	wire_expect_ended(w, -EFAULT);
	scene_done(&s);
	w->on_kick = NULL;
	wire_restart(w);
}

/* Without the protocol feature nobody waits for an answer that was not asked for. */
static void not_negotiated(void **state)
{
	const struct proto_log log = { LOG_SIZE, 0 };
	struct wire *w = *state;
	auto_fd int fd = memfd_create("log", MFD_CLOEXEC);

	wire_check_not_negotiated(w, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), &fd, 1);
	wire_check_ack(w, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), &fd, 1, true);
}

static void no_file(void **state)
{
	struct wire *w = *state;
	auto_fd int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(set_base(w, fd, LOG_SIZE, 0), 1);
	wire_expect_alive(w);
}

static void shape(void **state)
{
	const struct proto_log log = { LOG_SIZE, 0 };

	wire_check_shape(*state, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(split_buffers, connected),
		WIRE_TEST(packed_buffers, connected),
		WIRE_TEST(offset_counts_once_cve_2026_86563, connected),
		WIRE_TEST(odd_offset, connected),
		WIRE_TEST(split_everything, connected),
		WIRE_TEST(split_event_idx_everything, connected),
		WIRE_TEST(packed_everything, connected),
		WIRE_TEST(packed_event_idx_everything, connected),
		WIRE_TEST(many_pieces, connected),
		WIRE_TEST(begins_and_ends_while_running, connected),
		WIRE_TEST(out_of_range_cve_2020_10722, connected),
		WIRE_TEST(repeated, connected),
		WIRE_TEST(used_ring_anywhere, connected),
		WIRE_TEST(events, connected),
		WIRE_TEST(truncated, connected),
		WIRE_TEST(not_negotiated, acks),
		WIRE_TEST(no_file, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_LOG_BASE", tests, NULL, NULL);
}
