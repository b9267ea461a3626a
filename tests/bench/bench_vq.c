/* SPDX-License-Identifier: MIT */
/* What a virtqueue alone costs: driver and device in one thread, one JSON line for each case.
 *
 * "forward" is the skeleton of a switch with two ports: pop from one ring, pop as many from another, copy a frame with
 * its 12-byte header, push and publish both.  The driver's own work is in the figure unless the ring is "device only",
 * where descriptors and entries are written once and only the indices move; in a packed ring, which has none, one word
 * of each entry is written again.  That is the device's cost.
 * "two-threads" has the driver on another core, which writes each frame it sends and reads each frame it gets: there
 * the cost is in moving cache lines.  It wants two idle cores.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"
#include "vq.h"

#define NUM    1024
#define BUF    2048
#define SHORT  (12 + 64)
#define LONG   (12 + 1514)
#define ROUNDS 100000 /* bursts of VQ_BURST */

#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)

struct ring {
	struct driver driver;
	struct vq vq;
	struct vq_burst burst;
	gpa_t buffers;
};

struct bench {
	struct guest guest;
	struct mem mem;
	struct ring out, in; /* a transmitq and a receiveq */
	uint32_t frame;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ring_init(struct bench *b, struct ring *r, uint64_t features)
{
	struct vq_params p;

	driver_init(&r->driver, &b->guest, NUM, features);
	r->buffers = guest_alloc(&b->guest, NUM * BUF, CACHE_LINE);
	driver_params(&r->driver, &p);
	if (vq_start(&r->vq, &b->mem, &p) < 0)
		abort();
	vq_kick_off(&r->vq);
	driver_call_off(&r->driver);
}

static struct bench *bench_new(uint64_t features, uint32_t frame)
{
	struct bench *b = aligned_alloc(CACHE_LINE, sizeof(*b));

	if (!b)
		abort();
	memset(b, 0, sizeof(*b));
	b->frame = frame;
	guest_init(&b->guest, 1, 16 << 20);
	mem_init(&b->mem);
	guest_share(&b->guest, &b->mem);
	ring_init(b, &b->out, features);
	ring_init(b, &b->in, features);
	return b;
}

static void bench_free(struct bench *b)
{
	uint32_t base;

	vq_stop(&b->out.vq, &base);
	vq_stop(&b->in.vq, &base);
	driver_done(&b->out.driver);
	driver_done(&b->in.driver);
	mem_done(&b->mem);
	guest_done(&b->guest);
	free(b);
}

static void forward(struct bench *b)
{
	struct vq_burst *from = &b->out.burst, *to = &b->in.burst;
	int n = vq_pop(&b->out.vq, from, VQ_BURST);

	if (n != VQ_BURST || vq_pop(&b->in.vq, to, VQ_BURST) != n)
		abort();
	for (int i = 0; i < n; i++) {
		const struct vq_chain *src = &from->chain[i], *dst = &to->chain[i];

		memcpy(dst->iov->iov_base, src->iov->iov_base, b->frame);
		vq_push(&b->in.vq, dst->head, b->frame);
		vq_push(&b->out.vq, src->head, 0);
	}
	vq_publish(&b->in.vq);
	vq_publish(&b->out.vq);
	vq_call(&b->in.vq);
	vq_call(&b->out.vq);
}

/* The driver as it is: adds, publishes, reclaims. */
static void offer(struct bench *b, struct ring *r, bool write)
{
	struct driver *d = &r->driver;
	uint32_t len;

	while (driver_used(d, &len) >= 0)
		;
	for (unsigned i = 0; i < VQ_BURST; i++) {
		struct driver_buf buf = { GPA(r->buffers.v + d->free_head * BUF + 116),
					  write ? BUF - 116 : b->frame };

		if (driver_add(d, &buf, !write, write) < 0)
			abort();
	}
	driver_publish(d);
}

static void round_whole(struct bench *b)
{
	offer(b, &b->out, false);
	offer(b, &b->in, true);
	forward(b);
}

/* Make VQ_BURST more of the ring available, which stays filled with 0, 1, 2, … */
static void offer_again(struct bench *b, struct ring *r, bool write)
{
	struct driver *d = &r->driver;
	uint16_t first = d->avail_idx % NUM;
	bool wrap = !(d->avail_idx & NUM);

	d->avail_idx = (uint16_t)(d->avail_idx + VQ_BURST);
	if (!d->packed) {
		driver_publish(d);
		return;
	}
	for (uint16_t id = first; id < first + VQ_BURST; id++) {
		uint64_t flags = (write ? VRING_DESC_F_WRITE : 0) |
				 (wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED);
		uint64_t len = write ? BUF - 116 : b->frame;

		le64_store_release(&d->ring[id].state, len | (uint64_t)id << 32 | flags << 48);
	}
}

static void round_device(struct bench *b)
{
	offer_again(b, &b->out, false);
	offer_again(b, &b->in, true);
	forward(b);
}

static void fill(struct bench *b, struct ring *r, bool write)
{
	struct driver *d = &r->driver;

	for (uint16_t i = 0; i < NUM; i++) {
		uint64_t addr = r->buffers.v + i * BUF + 116U;

		if (d->packed) {
			le64_store(&d->ring[i].addr, addr);
			continue;
		}
		driver_raw_desc(d, i, addr, write ? BUF - 116 : b->frame,
				write ? VRING_DESC_F_WRITE : 0, 0);
		le16_store(&d->avail->ring[i], i);
	}
}

static void run(const char *name, uint64_t features, uint32_t frame, bool device_only)
{
	struct bench *b = bench_new(features, frame);
	double best = 0;

	if (device_only) {
		fill(b, &b->out, false);
		fill(b, &b->in, true);
	}
	for (unsigned repeat = 0; repeat < 5; repeat++) {
		double start = now(), rate;

		for (unsigned i = 0; i < ROUNDS / 5; i++)
			(device_only ? round_device : round_whole)(b);
		rate = ROUNDS / 5 * (double)VQ_BURST / (now() - start) / 1e6;
		best = rate > best ? rate : best;
	}
	printf("{\"case\":\"vq-%s\",\"ours\":%.2f,\"unit\":\"Mpps\",\"runs\":5}\n", name, best);
	bench_free(b);
}

struct driver_thread {
	struct bench *b;
	bool stop;
	uint64_t sum; /* of the bytes read, so that they are */
};

static void reclaim_and_touch(struct driver_thread *t, struct ring *r, bool write)
{
	struct driver *d = &r->driver;
	uint32_t len;
	int head;

	while ((head = driver_used(d, &len)) >= 0) {
		if (write)
			t->sum += *(uint64_t *)driver_cookie(d, head);
	}
	while (d->n_free > 0) {
		gpa_t addr = GPA(r->buffers.v + d->free_head * BUF + 116);
		struct driver_buf buf = { addr, write ? BUF - 116 : t->b->frame };
		void *p = guest_ptr(&t->b->guest, addr, t->b->frame);

		if (!write)
			memset(p, d->free_head & 0xff, t->b->frame);
		driver_set_cookie(d, driver_add(d, &buf, !write, write), p);
		if (d->n_free % 32 == 0)
			driver_publish(d);
	}
	driver_publish(d);
}

static void *driver_thread(void *arg)
{
	struct driver_thread *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		reclaim_and_touch(t, &t->b->out, false);
		reclaim_and_touch(t, &t->b->in, true);
	}
	return NULL;
}

/* As much as both rings have; returns how many. */
static unsigned forward_some(struct bench *b)
{
	struct vq_burst *from = &b->out.burst, *to = &b->in.burst;
	int n = vq_pop(&b->out.vq, from, VQ_BURST), m;

	if (n <= 0)
		return 0;
	m = vq_pop(&b->in.vq, to, (unsigned)n);
	if (m < n)
		vq_unpop(&b->out.vq, (unsigned)(n - m));
	for (int i = 0; i < m; i++) {
		memcpy(to->chain[i].iov->iov_base, from->chain[i].iov->iov_base, b->frame);
		vq_push(&b->in.vq, to->chain[i].head, b->frame);
		vq_push(&b->out.vq, from->chain[i].head, 0);
	}
	vq_publish(&b->in.vq);
	vq_publish(&b->out.vq);
	vq_call(&b->in.vq);
	vq_call(&b->out.vq);
	return (unsigned)m;
}

/* The best of many short spells: the one that nothing else disturbed. */
static void run_two_threads(const char *name, uint64_t features, uint32_t frame)
{
	struct bench *b = bench_new(features, frame);
	struct driver_thread t = { .b = b };
	pthread_t thread;
	double best = 0;

	if (pthread_create(&thread, NULL, driver_thread, &t))
		abort();
	for (unsigned spell = 0; spell < 100; spell++) {
		double start = now(), rate;
		uint64_t n = 0;

		while (n < 200000)
			n += forward_some(b);
		rate = (double)n / (now() - start) / 1e6;
		best = rate > best ? rate : best;
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("{\"case\":\"vq-%s\",\"ours\":%.2f,\"unit\":\"Mpps\",\"runs\":100}\n", name, best);
	bench_free(b);
}

int main(void)
{
	run("forward-64b-device-split", EVENT_IDX, SHORT, true);
	run("forward-64b-device-packed", EVENT_IDX | PACKED, SHORT, true);
	run("forward-64b-device-split-flags", 0, SHORT, true);
	run("forward-64b-device-packed-flags", PACKED, SHORT, true);
	run("forward-64b-with-driver-split", EVENT_IDX, SHORT, false);
	run("forward-64b-with-driver-packed", EVENT_IDX | PACKED, SHORT, false);
	run("forward-1518b-device-split", EVENT_IDX, LONG, true);
	run("forward-1518b-device-packed", EVENT_IDX | PACKED, LONG, true);
	run_two_threads("forward-64b-two-threads-split", EVENT_IDX, SHORT);
	run_two_threads("forward-64b-two-threads-packed", EVENT_IDX | PACKED, SHORT);
	run_two_threads("forward-1518b-two-threads-split", EVENT_IDX, LONG);
	run_two_threads("forward-1518b-two-threads-packed", EVENT_IDX | PACKED, LONG);
	return 0;
}
