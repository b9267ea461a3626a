/* SPDX-License-Identifier: MIT */
/* Driver and device in two threads, as they are in life: every byte arrives, and no wake-up is lost.
 *
 * The driver sends chains of one readable and one writable buffer; the device copies the first into the second.  Both
 * sleep on their eventfds whenever they have nothing to do, after arming, so that a missing fence or a wrong event
 * index shows as a sleep that nobody ends.  Under the thread sanitizer a missing acquire or release shows as a race on
 * the buffers.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "vq.h"

#define NUM     64
#define PACKED  BIT_ULL(VIRTIO_F_RING_PACKED)
#define CHAINS  30000
#define SIZE    48
#define PATIENT 20000 /* ms: only a lost wake-up takes that long */

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	gpa_t buffers; /* NUM pairs */
	bool indirect;
	unsigned sleeps;
};

static int setup_features(void **state, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	guest_init(&f->guest, 1, 1 << 20);
	mem_init(&f->mem);
	guest_share_address(&f->guest, &f->mem);
	driver_init(&f->driver, &f->guest, NUM, features);
	f->indirect = features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	f->buffers = guest_alloc(&f->guest, NUM * 2 * SIZE, CACHE_LINE);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	*state = f;
	return 0;
}

static int setup_flags(void **state)
{
	return setup_features(state, 0);
}

static int setup_event_idx(void **state)
{
	return setup_features(state, BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
}

static int setup_all(void **state)
{
	return setup_features(state, BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
					     BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
}

static int setup_packed(void **state)
{
	return setup_features(state, PACKED);
}

static int setup_packed_event_idx(void **state)
{
	return setup_features(state, PACKED | BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
}

static int setup_packed_all(void **state)
{
	return setup_features(state, PACKED | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
					     BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
}

/* Where the ring stands when all chains have passed. */
static uint32_t base_after(const struct fixture *f)
{
	unsigned n = CHAINS * (f->indirect ? 1 : 2);

	if (!f->driver.packed)
		return CHAINS & UINT16_MAX;
	return (n % NUM | (n / NUM % 2 ? 0 : VRING_PACKED_WRAP)) * 0x10001;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	uint32_t base;

	vq_stop(&f->vq, &base);
	assert_int_equal(base, base_after(f));
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	free(f);
	return 0;
}

static bool sleep_on(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, PATIENT) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static void echo(struct vq *vq, const struct vq_chain *c)
{
	assert_int_equal(c->n_out, 1);
	assert_int_equal(c->n_in, 1);
	memcpy(c->iov[1].iov_base, c->iov[0].iov_base, c->out_len);
	vq_push(vq, c->head, c->out_len);
}

/* The canonical loop of vq.h, with a sleep in place of the epoll. */
static void device_run(struct fixture *f)
{
	unsigned done = 0;

	vq_kick_off(&f->vq);
	while (done < CHAINS) {
		int n = vq_pop(&f->vq, &f->burst, VQ_BURST);

		assert_true(n >= 0);
		for (int i = 0; i < n; i++)
			echo(&f->vq, &f->burst.chain[i]);
		vq_publish(&f->vq);
		vq_call(&f->vq);
		done += (unsigned)n;
		if (n > 0 || done == CHAINS)
			continue;
		if (!vq_kick_on(&f->vq)) {
			f->sleeps++;
			assert_true(sleep_on(f->driver.kick_fd));
		}
		vq_kick_off(&f->vq);
	}
}

static void fill(uint8_t *p, unsigned seed)
{
	for (unsigned i = 0; i < SIZE; i++)
		p[i] = (uint8_t)(seed * 31 + i);
}

/* Offer chains until the ring is full.  The pair of buffers belongs to the head that the chain will get. */
static unsigned driver_offer(struct fixture *f, unsigned sent)
{
	struct driver *d = &f->driver;
	unsigned n = 0;

	while (sent + n < CHAINS && d->n_free >= 2) {
		gpa_t out = GPA(f->buffers.v + d->free_head * 2 * SIZE);
		struct driver_buf bufs[2] = { { out, SIZE }, { GPA(out.v + SIZE), SIZE } };
		uint8_t *p = guest_ptr(&f->guest, out, 2 * SIZE);
		int head;

		fill(p, sent + n);
		memset(p + SIZE, 0, SIZE);
		head = f->indirect ? driver_add_indirect(d, bufs, 1, 1) : driver_add(d, bufs, 1, 1);
		if (head < 0)
			return n + CHAINS; /* cannot be: fails the count in the end */
		driver_set_cookie(d, head, p);
		n++;
	}
	if (n > 0)
		driver_kick(d);
	return n;
}

static bool driver_check(struct fixture *f, int head, uint32_t len, unsigned seq)
{
	const uint8_t *p = driver_cookie(&f->driver, head);
	uint8_t want[SIZE];

	fill(want, seq);
	return len == SIZE && memcmp(p + SIZE, want, SIZE) == 0;
}

/* Returns NULL, or what went wrong: cmocka's asserts are for the main thread. */
static void *driver_run(void *arg)
{
	struct fixture *f = arg;
	struct driver *d = &f->driver;
	unsigned sent = 0, done = 0;

	while (done < CHAINS) {
		uint32_t len;
		int head;

		sent += driver_offer(f, sent);
		driver_call_off(d);
		while ((head = driver_used(d, &len)) >= 0) {
			if (!driver_check(f, head, len, done++))
				return "a chain came back wrong";
		}
		if (done == CHAINS || sent - done < NUM / 4)
			continue;
		if (!driver_call_on(d) && !sleep_on(d->call_fd))
			return "a call was lost";
	}
	return sent == CHAINS ? NULL : "lost count";
}

static void test_echo(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	void *failure;

	assert_int_equal(pthread_create(&thread, NULL, driver_run, f), 0);
	device_run(f);
	assert_int_equal(pthread_join(thread, &failure), 0);
	if (failure)
		fail_msg("%s", (const char *)failure);
	print_message("# device slept %u times\n", f->sleeps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "test_echo_flags", test_echo, setup_flags, teardown, NULL },
		{ "test_echo_event_idx", test_echo, setup_event_idx, teardown, NULL },
		{ "test_echo_event_idx_indirect", test_echo, setup_all, teardown, NULL },
		{ "test_echo_packed", test_echo, setup_packed, teardown, NULL },
		{ "test_echo_packed_event_idx", test_echo, setup_packed_event_idx, teardown, NULL },
		{ "test_echo_packed_all", test_echo, setup_packed_all, teardown, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
