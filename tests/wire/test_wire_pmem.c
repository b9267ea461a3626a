/* SPDX-License-Identifier: MIT */
/* The virtio-pmem device through its socket: what QEMU asks, what it is told to map, and FLUSH. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "driver.h"
#include "flush.h"
#include "frontend.h"
#include "log.h"
#include "pmem.h"
#include "session.h"
#include "tmp.h"

#define SIZE (4u << 20)
#define NUM  64
#define SLOT 16 /* bytes of guest memory for one request: the type, and at 8 the answer */

struct place {
	struct loop loop;
	struct tmp_dir dir;
	char path[128];
	int fd, ro_fd;
	struct flush flush;
	struct pmem *pmem;
	struct frontend fe;
	int channel; /* the frontend's end */
	struct guest guest;
	struct driver driver;
	gpa_t slots;
};

/* fdatasync() of these tests: takes as long as they like, and says what they like. */
static sem_t may_sync;
static unsigned n_syncs; /* atomic */
static int sync_result;

static int controlled_sync(int fd)
{
	while (sem_wait(&may_sync) < 0)
		;
	__atomic_add_fetch(&n_syncs, 1, __ATOMIC_RELAXED);
	errno = sync_result;
	return sync_result ? -1 : 0;
}

static void turn(struct place *p)
{
	assert_int_equal(loop_once(&p->loop, 0), 0);
}

static void pump(void *context)
{
	turn(context);
}

/* Until the driver has n answers, or five seconds are over. */
static unsigned await(struct place *p, unsigned n)
{
	uint64_t end_ns = loop_now_ns() + 5000000000ull;
	unsigned got = 0;
	uint32_t len;

	while (got < n && loop_now_ns() < end_ns) {
		assert_int_equal(loop_once(&p->loop, loop_now_ns() + 1000000), 0);
		while (got < n && driver_used(&p->driver, &len) >= 0) {
			assert_int_equal(len, 4);
			got++;
		}
	}
	return got;
}

static void make(struct place *p, bool writable)
{
	const struct pmem_config config = {
		.name = "n1",
		.path = p->path,
		.memory_fd = writable ? p->fd : p->ro_fd,
		.size = SIZE,
		.writable = writable,
		.flush = &p->flush,
	};

	assert_int_equal(pmem_new(&p->loop, &config, &p->pmem), 0);
	assert_string_equal(pmem_state(p->pmem), "listening");
}

static int setup_mode(void **state, bool writable)
{
	struct place *p = calloc(1, sizeof(*p));
	char link[64];

	assert_non_null(p);
	log_set_level(LOG_LEVEL_ERROR);
	sem_init(&may_sync, 0, 0);
	n_syncs = 0;
	sync_result = 0;
	tmp_dir_init(&p->dir);
	(void)tmp_path(&p->dir, "pmem", p->path, sizeof(p->path));
	assert_int_equal(loop_init(&p->loop), 0);
	p->fd = memfd_create("arena", MFD_CLOEXEC);
	assert_int_equal(ftruncate(p->fd, SIZE), 0);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", p->fd);
	p->ro_fd = open(link, O_RDONLY | O_CLOEXEC);
	assert_true(p->ro_fd >= 0);
	assert_int_equal(flush_init(&p->flush, &p->loop, p->fd, true, 0), 0);
	p->flush.sync = controlled_sync;
	p->channel = -1;
	make(p, writable);
	*state = p;
	return 0;
}

static int setup(void **state)
{
	return setup_mode(state, true);
}

static int setup_ro(void **state)
{
	return setup_mode(state, false);
}

static int teardown(void **state)
{
	struct place *p = *state;

	pmem_close(p->pmem);
	for (unsigned i = 0; i < 8; i++)
		turn(p);
	for (unsigned i = 0; i < 8; i++)
		sem_post(&may_sync);
	flush_done(&p->flush);
	frontend_done(&p->fe);
	if (p->channel >= 0)
		close(p->channel);
	if (p->driver.num) {
		driver_done(&p->driver);
		guest_done(&p->guest);
	}
	loop_done(&p->loop);
	close(p->fd);
	close(p->ro_fd);
	tmp_dir_done(&p->dir);
	sem_destroy(&may_sync);
	free(p);
	return 0;
}

/* ---- a frontend as QEMU is one ----------------------------------------------- */

static void connect_frontend(struct place *p, uint64_t features)
{
	struct proto_shmem_config c;
	struct proto_header hdr;
	int pair[2];

	assert_int_equal(frontend_connect(&p->fe, p->path), 0);
	p->fe.pump = pump;
	p->fe.ctx = p;
	assert_int_equal(frontend_negotiate(&p->fe, features | BIT_ULL(VIRTIO_F_VERSION_1), ~0ull),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(frontend_ask(&p->fe, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
			 0);
	close(pair[1]);
	p->channel = pair[0];
	assert_int_equal(frontend_send(&p->fe, VHOST_USER_GET_SHMEM_CONFIG, VU_FLAG_VERSION, NULL,
				       0, NULL, 0),
			 0);
	assert_int_equal(frontend_recv(&p->fe, &hdr, &c, sizeof(c)), sizeof(c));
	assert_int_equal(c.n_regions, 1);
	assert_int_equal(c.size[0], SIZE);
}

static void start_driver(struct place *p, uint64_t features)
{
	guest_init(&p->guest, 1, 1 << 20);
	driver_init(&p->driver, &p->guest, NUM, features);
	p->slots = guest_alloc(&p->guest, (size_t)NUM * SLOT, 8);
	assert_int_equal(frontend_guest(&p->fe, &p->guest), 0);
	assert_int_equal(frontend_driver_start(&p->fe, 0, &p->driver, true), 0);
	frontend_pump(&p->fe);
}

static void come_up(struct place *p)
{
	const uint64_t features = BIT_ULL(0) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX);

	connect_frontend(p, features);
	start_driver(p, features);
}

/* The next request on the channel, with its descriptor. */
static int receive_map(struct place *p, struct proto_shmem_map *ret)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct proto_header hdr;
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { ret, sizeof(*ret) } };
	struct msghdr mh = { .msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };
	int fd;

	assert_int_equal(recvmsg(p->channel, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC),
			 sizeof(hdr) + sizeof(*ret));
	assert_int_equal(hdr.request, VU_BACKEND_SHMEM_MAP);
	assert_non_null(CMSG_FIRSTHDR(&mh));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	return fd;
}

static void answer_map(struct place *p, uint64_t result)
{
	struct {
		struct proto_header hdr;
		uint8_t result[8];
	} wire = { .hdr = { VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION | VU_FLAG_REPLY, 8 } };

	memcpy(wire.result, &result, sizeof(result));
	assert_int_equal(send(p->channel, &wire, sizeof(wire), 0), sizeof(wire));
	frontend_pump(&p->fe);
}

/* A request of this type; its slot's number. */
static void add(struct place *p, unsigned slot, uint32_t type)
{
	const gpa_t at = GPA(p->slots.v + slot * SLOT);
	const struct driver_buf bufs[] = { { at, 4 }, { GPA(at.v + 8), 4 } };
	uint32_t *words = guest_ptr(&p->guest, at, SLOT);

	words[0] = htole32(type);
	words[2] = UINT32_MAX;
	assert_true(driver_add(&p->driver, bufs, 1, 1) >= 0);
}

static uint32_t answer_of(const struct place *p, unsigned slot)
{
	const uint32_t *words = guest_ptr(&p->guest, GPA(p->slots.v + slot * SLOT), SLOT);

	return le32toh(words[2]);
}

/* ---- memory ------------------------------------------------------------------- */

static void maps_when_the_driver_starts(void **state)
{
	struct place *p = *state;
	struct proto_shmem_map m;
	struct stat ours, theirs;
	int fd;

	come_up(p);
	assert_string_equal(pmem_state(p->pmem), "running");
	assert_false(pmem_is_mapped(p->pmem));
	fd = receive_map(p, &m);
	assert_int_equal(m.shmid, 0);
	assert_int_equal(m.fd_offset, 0);
	assert_int_equal(m.shm_offset, 0);
	assert_int_equal(m.len, SIZE);
	assert_int_equal(m.flags, VU_SHMEM_MAP_RW);
	assert_int_equal(fstat(fd, &theirs), 0);
	assert_int_equal(fstat(p->fd, &ours), 0);
	assert_int_equal(theirs.st_ino, ours.st_ino);
	close(fd);
	answer_map(p, 0);
	assert_true(pmem_is_mapped(p->pmem));
	assert_int_equal(pmem_stats(p->pmem)->maps, 1);
}

/* Each start maps, because each may follow a reset; that it is there already is no harm. */
static void maps_again(void **state)
{
	struct place *p = *state;
	struct proto_shmem_map m;
	uint32_t base;

	come_up(p);
	close(receive_map(p, &m));
	answer_map(p, 0);
	assert_int_equal(frontend_ask_state(&p->fe, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	assert_int_equal(frontend_ring_stop(&p->fe, 0, &base), 0);
	assert_int_equal(frontend_driver_start(&p->fe, 0, &p->driver, true), 0);
	frontend_pump(&p->fe);
	close(receive_map(p, &m));
	answer_map(p, 1);
	assert_true(pmem_is_mapped(p->pmem));
	assert_int_equal(pmem_stats(p->pmem)->maps, 1);
	assert_int_equal(pmem_stats(p->pmem)->maps_refused, 1);
}

/* QEMU makes what it maps part of the guest's memory, and announces that: no reason to map again. */
static void maps_once_whatever_memory_there_is(void **state)
{
	struct place *p = *state;
	struct proto_shmem_map m;
	char byte;

	come_up(p);
	close(receive_map(p, &m));
	answer_map(p, 0);
	assert_int_equal(frontend_guest(&p->fe, &p->guest), 0);
	frontend_pump(&p->fe);
	assert_string_equal(pmem_state(p->pmem), "running");
	assert_int_equal(recv(p->channel, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* QEMU 11.1 would die of the second start of a driver, if it told us of its memory by slots. */
static void memory_comes_as_whole_tables(void **state)
{
	struct place *p = *state;

	connect_frontend(p, BIT_ULL(0));
	assert_true(p->fe.protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_SHMEM_MAP));
	assert_false(p->fe.protocol_features & BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS));
}

static void read_only(void **state)
{
	struct place *p = *state;
	struct proto_shmem_map m;
	int fd;

	come_up(p);
	fd = receive_map(p, &m);
	assert_int_equal(m.flags, 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);
	answer_map(p, 1);
	assert_false(pmem_is_mapped(p->pmem));
}

/* Its configuration says that there is no memory, and it is not mapped. */
static void driver_without_regions(void **state)
{
	struct place *p = *state;
	struct proto_config ask = { .size = 16 }, c;
	struct proto_header hdr;
	char byte;

	connect_frontend(p, 0);
	assert_int_equal(frontend_send(&p->fe, VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, &ask,
				       PROTO_CONFIG_HEAD + 16, NULL, 0),
			 0);
	assert_int_equal(frontend_recv(&p->fe, &hdr, &c, sizeof(c)), PROTO_CONFIG_HEAD + 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(c.data[i], 0);
	ask.size = 17;
	assert_int_equal(frontend_send(&p->fe, VHOST_USER_GET_CONFIG, VU_FLAG_VERSION, &ask,
				       PROTO_CONFIG_HEAD + 17, NULL, 0),
			 0);
	assert_int_equal(frontend_recv(&p->fe, &hdr, &c, sizeof(c)), 0);
	start_driver(p, 0);
	assert_int_equal(recv(p->channel, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- flush -------------------------------------------------------------------- */

static void flush_one(void **state)
{
	struct place *p = *state;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
	assert_int_equal(answer_of(p, 0), UINT32_MAX); /* not before it is done */
	sem_post(&may_sync);
	assert_int_equal(await(p, 1), 1);
	assert_int_equal(answer_of(p, 0), 0);
	assert_int_equal(__atomic_load_n(&n_syncs, __ATOMIC_RELAXED), 1);
	assert_true(driver_calls(&p->driver) > 0);
}

/* Those that come while one is under way share the next. */
static void flushes_are_grouped(void **state)
{
	struct place *p = *state;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
	for (unsigned i = 1; i < 20; i++) {
		add(p, i, 0);
		driver_kick(&p->driver);
		frontend_pump(&p->fe);
	}
	sem_post(&may_sync);
	assert_int_equal(await(p, 1), 1);
	for (unsigned i = 1; i < 20; i++)
		assert_int_equal(answer_of(p, i), UINT32_MAX);
	sem_post(&may_sync);
	assert_int_equal(await(p, 19), 19);
	assert_int_equal(__atomic_load_n(&n_syncs, __ATOMIC_RELAXED), 2);
	assert_int_equal(pmem_stats(p->pmem)->requests, 20);
	assert_int_equal(pmem_stats(p->pmem)->flushes, 2);
}

/* It fails, and every later one with it. */
static void flush_fails(void **state)
{
	struct place *p = *state;

	come_up(p);
	sync_result = EIO;
	for (unsigned i = 0; i < 3; i++) {
		add(p, i, 0);
		driver_kick(&p->driver);
		sem_post(&may_sync);
		assert_int_equal(await(p, 1), 1);
		assert_int_equal(answer_of(p, i), 1);
		sync_result = 0;
	}
	assert_int_equal(pmem_stats(p->pmem)->failed, 3);
}

/* Who cannot have written need not wait, nor make anybody work. */
static void flush_of_a_reader(void **state)
{
	struct place *p = *state;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	assert_int_equal(await(p, 1), 1);
	assert_int_equal(answer_of(p, 0), 0);
	assert_int_equal(__atomic_load_n(&n_syncs, __ATOMIC_RELAXED), 0);
}

/* The driver is reset, or its machine paused, while a flush is under way: the request is served by who comes next. */
static void ring_stops_during_a_flush(void **state)
{
	struct place *p = *state;
	uint32_t base;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
	assert_int_equal(frontend_ring_stop(&p->fe, 0, &base), 0);
	assert_int_equal(base, 0);
	sem_post(&may_sync);
	frontend_pump(&p->fe);
	assert_int_equal(answer_of(p, 0), UINT32_MAX);
	assert_int_equal(frontend_driver_start(&p->fe, 0, &p->driver, true), 0);
	sem_post(&may_sync);
	assert_int_equal(await(p, 1), 1);
	assert_int_equal(answer_of(p, 0), 0);
}

static void frontend_dies_during_a_flush(void **state)
{
	struct place *p = *state;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
	frontend_done(&p->fe);
	for (unsigned i = 0; i < 8; i++)
		turn(p);
	assert_string_equal(pmem_state(p->pmem), "listening");
	sem_post(&may_sync);
	for (unsigned i = 0; i < 8; i++)
		turn(p);
}

/* teardown() closes the device meanwhile. */
static void closed_during_a_flush(void **state)
{
	struct place *p = *state;

	come_up(p);
	add(p, 0, 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
}

/* ---- a hostile driver ---------------------------------------------------------- */

static void other_types(void **state)
{
	static const uint32_t types[] = { 1, 2, 0x80000000u, UINT32_MAX };
	struct place *p = *state;

	come_up(p);
	for (unsigned i = 0; i < array_size(types); i++)
		add(p, i, types[i]);
	driver_kick(&p->driver);
	assert_int_equal(await(p, array_size(types)), array_size(types));
	for (unsigned i = 0; i < array_size(types); i++)
		assert_int_equal(answer_of(p, i), 1);
	assert_int_equal(pmem_stats(p->pmem)->bad, array_size(types));
	assert_int_equal(__atomic_load_n(&n_syncs, __ATOMIC_RELAXED), 0);
}

/* Chains of any other shape come back, with an answer if there is room for one. */
static void other_shapes(void **state)
{
	struct place *p = *state;
	uint32_t len;
	gpa_t at;

	come_up(p);
	at = p->slots;
	memset(guest_ptr(&p->guest, at, SLOT), 0, SLOT);
	assert_true(driver_add(&p->driver, (struct driver_buf[]){ { at, 4 } }, 1, 0) >= 0);
	assert_true(driver_add(&p->driver, (struct driver_buf[]){ { GPA(at.v + 8), 4 } }, 0, 1) >=
		    0);
	assert_true(driver_add(&p->driver, (struct driver_buf[]){ { at, 3 }, { GPA(at.v + 8), 3 } },
			       1, 1) >= 0);
	driver_kick(&p->driver);
	frontend_pump(&p->fe);
	assert_true(driver_used(&p->driver, &len) >= 0);
	assert_int_equal(len, 0);
	assert_true(driver_used(&p->driver, &len) >= 0);
	assert_int_equal(len, 4);
	assert_int_equal(answer_of(p, 0), 1);
	assert_true(driver_used(&p->driver, &len) >= 0);
	assert_int_equal(len, 0);
	assert_int_equal(pmem_stats(p->pmem)->bad, 3);

	/* Single bytes, which are a request nevertheless. */
	memset(guest_ptr(&p->guest, at, SLOT), 0, SLOT);
	*(uint8_t *)guest_ptr(&p->guest, GPA(at.v + 8), 1) = 0xff;
	assert_true(driver_add(&p->driver,
			       (struct driver_buf[]){ { at, 1 },
						      { GPA(at.v + 1), 2 },
						      { GPA(at.v + 3), 1 },
						      { GPA(at.v + 8), 1 },
						      { GPA(at.v + 9), 3 } },
			       3, 2) >= 0);
	driver_kick(&p->driver);
	sem_post(&may_sync);
	assert_int_equal(await(p, 1), 1);
	assert_int_equal(answer_of(p, 0), 0);
}

static void ring_breaks(void **state)
{
	struct place *p = *state;

	come_up(p);
	driver_raw_avail(&p->driver, NUM);
	assert_int_equal(write(p->driver.kick_fd, &(uint64_t){ 1 }, 8), 8);
	frontend_pump(&p->fe);
	assert_string_equal(pmem_state(p->pmem), "negotiated");
	assert_int_equal(frontend_get_u64(&p->fe, VHOST_USER_GET_FEATURES, &(uint64_t){ 0 }), 0);
}

/* ---- configuration --------------------------------------------------------------- */

static void limits(void **state)
{
	struct place *p = *state;
	static const uint64_t bad[] = { 0, 1, 1u << 20, 3u << 20, (2u << 20) + 1 };
	struct pmem_config c = { .name = "n2", .memory_fd = p->fd, .path = "/nonexistent/pmem" };
	struct pmem *pmem = NULL;

	for (unsigned i = 0; i < array_size(bad); i++) {
		c.size = bad[i];
		assert_int_equal(pmem_new(&p->loop, &c, &pmem), -EINVAL);
	}
	c.size = 2u << 20;
	c.shmem_bit = 19;
	assert_int_equal(pmem_new(&p->loop, &c, &pmem), -EINVAL);
	c.shmem_bit = 20;
	assert_int_equal(pmem_new(&p->loop, &c, &pmem), -ENOENT);
	c.size = 6u << 20;
	assert_int_equal(pmem_new(&p->loop, &c, &pmem), -ENOENT);
	c.path = p->path;
	assert_int_equal(pmem_new(&p->loop, &c, &pmem), -EADDRINUSE);
	assert_null(pmem);
	assert_int_equal(access(p->path, F_OK), 0);
}

#define TEST(fn)    cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define RO_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_ro, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(maps_when_the_driver_starts),
		TEST(maps_again),
		TEST(maps_once_whatever_memory_there_is),
		TEST(memory_comes_as_whole_tables),
		RO_TEST(read_only),
		TEST(driver_without_regions),
		TEST(flush_one),
		TEST(flushes_are_grouped),
		TEST(flush_fails),
		RO_TEST(flush_of_a_reader),
		TEST(ring_stops_during_a_flush),
		TEST(frontend_dies_during_a_flush),
		TEST(closed_during_a_flush),
		TEST(other_types),
		TEST(other_shapes),
		TEST(ring_breaks),
		TEST(limits),
	};

	return cmocka_run_group_tests_name("virtio-pmem", tests, NULL, NULL);
}
