/* SPDX-License-Identifier: MIT */
/* GET_INFLIGHT_FD: a region, laid out as the specification has it, and sealed. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inflight.h"
#include "wire.h"

#define VERSION_1 (1ull << 32)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)

/* Returns the descriptor, or -1 with an answer of size 0. */
static int get(struct wire *w, uint16_t n_queues, uint16_t queue_size, uint64_t *ret_size)
{
	const struct proto_inflight ask = { .n_queues = n_queues, .queue_size = queue_size };
	struct proto_inflight answer;
	struct proto_header hdr;
	int fd;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_INFLIGHT_FD, VU_FLAG_VERSION, &ask,
				       sizeof(ask), NULL, 0),
			 0);
	assert_int_equal(frontend_recv_fd(&w->fe, &hdr, &answer, sizeof(answer), &fd),
			 sizeof(answer));
	assert_int_equal(hdr.request, VHOST_USER_GET_INFLIGHT_FD);
	assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(answer.size == 0, fd < 0);
	if (fd >= 0) {
		assert_int_equal(answer.offset, 0);
		assert_int_equal(answer.n_queues, n_queues);
		assert_int_equal(answer.queue_size, queue_size);
	}
	*ret_size = answer.size;
	assert_true(frontend_silent(&w->fe));
	return fd;
}

static uint8_t *map(int fd, uint64_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void split(void **state)
{
	struct wire *w = *state;
	const struct inflight_split *r;
	uint64_t size;
	uint8_t *p;
	int fd = get(w, 2, 256, &size);

	assert_true(fd >= 0);
	assert_true(size >= 2 * (16 + 256 * 16));
	p = map(fd, size);
	for (unsigned i = 0; i < 2; i++) {
		/* 16 + 256 * 16 bytes, up to the next multiple of 64 */
		r = (const void *)(p + i * 4160);
		assert_int_equal(r->version, 1);
		assert_int_equal(r->desc_num, 256);
		assert_int_equal(r->features, 0);
		for (unsigned k = 0; k < 256; k++)
			assert_int_equal(r->desc[k].inflight, 0);
	}
	munmap(p, size);
	close(fd);
}

static void packed(void **state)
{
	struct wire *w = *state;
	const struct inflight_packed *r;
	uint64_t size;
	uint8_t *p;
	int fd;

	assert_int_equal(frontend_negotiate(&w->fe, VERSION_1 | PACKED, ~0ull), 0);
	fd = get(w, WIRE_QUEUES, 7, &size);
	assert_true(fd >= 0);
	p = map(fd, size);
	for (unsigned i = 0; i < WIRE_QUEUES; i++) {
		r = (const void *)(p + i * 256); /* 32 + 7 * 32 */
		assert_int_equal(r->version, 1);
		assert_int_equal(r->desc_num, 7);
		assert_int_equal(r->used_wrap_counter, 1);
		assert_int_equal(r->old_used_wrap_counter, 1);
		assert_int_equal(r->used_idx | r->old_used_idx | r->free_head | r->old_free_head,
				 0);
		for (unsigned k = 0; k < 6; k++)
			assert_int_equal(r->desc[k].next, k + 1);
	}
	munmap(p, size);
	close(fd);
}

/* Nobody can take the ground away from under who has mapped it. */
static void sealed(void **state)
{
	struct wire *w = *state;
	struct stat st;
	uint64_t size;
	int fd = get(w, 1, 64, &size);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, (off_t)size * 2), -1);
	close(fd);
}

/* CVE-2021-3839: counts that nobody has checked. */
static void counts_cve_2021_3839(void **state)
{
	struct wire *w = *state;
	uint64_t size;
	int fd;

	assert_int_equal(get(w, 0, 256, &size), -1);
	assert_int_equal(get(w, WIRE_QUEUES + 1, 256, &size), -1);
	assert_int_equal(get(w, UINT16_MAX, 256, &size), -1);
	assert_int_equal(get(w, 1, 0, &size), -1);
	assert_int_equal(get(w, 1, VQ_MAX_NUM + 1, &size), -1);
	assert_int_equal(get(w, UINT16_MAX, UINT16_MAX, &size), -1);
	fd = get(w, WIRE_QUEUES, VQ_MAX_NUM, &size); /* the largest: most of it a hole */
	assert_true(fd >= 0);
	close(fd);
	wire_expect_alive(w);
}

/* CVE-2020-10726, CVE-2022-0669: asked for again and again, it leaves nothing behind here. */
static void repeated_cve_2020_10726_cve_2022_0669(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();
	uint64_t size;

	for (unsigned i = 0; i < 200; i++)
		close(get(w, WIRE_QUEUES, 1024, &size));
	assert_int_equal(count_fds(), before);
}

/* A frontend that does not read: the descriptor of an answer that never leaves is closed with the session. */
static void never_read(void **state)
{
	const struct proto_inflight ask = { .n_queues = 1, .queue_size = 64 };
	struct wire *w = *state;

	assert_int_equal(fcntl(w->fe.sock, F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < 20000; i++)
		if (frontend_send(&w->fe, VHOST_USER_GET_INFLIGHT_FD, VU_FLAG_VERSION, &ask,
				  PROTO_INFLIGHT_MIN, NULL, 0) < 0 ||
		    i > 2000)
			break;
		else if (i % 16 == 0)
			wire_turn(w);
	wire_restart(w);
}

static void not_while_running(void **state)
{
	uint64_t size;

	assert_int_equal(get(*state, 2, 256, &size), -1);
}

static void not_negotiated(void **state)
{
	struct wire *w = *state;
	uint64_t size;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, 8), 0);
	assert_int_equal(get(w, 2, 256, &size), -1);
}

/* The specification's 20 bytes, or QEMU's 24; the answer has as many. */
static void both_sizes(void **state)
{
	const struct proto_inflight ask[2] = { { .n_queues = 1, .queue_size = 64 } };
	struct wire *w = *state;
	struct proto_inflight answer;
	struct proto_header hdr;
	int fd;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_INFLIGHT_FD, VU_FLAG_VERSION, &ask,
				       20, NULL, 0),
			 0);
	assert_int_equal(frontend_recv_fd(&w->fe, &hdr, &answer, sizeof(answer), &fd), 20);
	assert_true(fd >= 0);
	close(fd);
	wire_drops(w, VHOST_USER_GET_INFLIGHT_FD, ask, 19, NULL, 0);
	wire_drops(w, VHOST_USER_GET_INFLIGHT_FD, ask, 22, NULL, 0);
	wire_drops(w, VHOST_USER_GET_INFLIGHT_FD, ask, 25, NULL, 0);
	wire_drops(w, VHOST_USER_GET_INFLIGHT_FD, ask, 24, (int[]){ w->ring[0].kick_fd }, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(split, negotiated),
		WIRE_TEST(packed, connected),
		WIRE_TEST(sealed, acks),
		WIRE_TEST(counts_cve_2021_3839, negotiated),
		WIRE_TEST(repeated_cve_2020_10726_cve_2022_0669, negotiated),
		WIRE_TEST(never_read, acks),
		WIRE_TEST(not_while_running, running),
		WIRE_TEST(not_negotiated, acks),
		WIRE_TEST(both_sizes, acks),
	};

	return cmocka_run_group_tests_name("GET_INFLIGHT_FD", tests, NULL, NULL);
}
