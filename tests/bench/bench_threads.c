/* SPDX-License-Identifier: MIT */
/* What --threads N brings: four ports, each sending frames of 64 bytes to its neighbour and back, through one thread and
 * through several.  One JSON line for each number of threads.
 *
 * The guests must not be what is measured, so they hardly work: their rings stand ready, and one thread makes buffers
 * available again by moving an index, some thousand times a second.  It takes a few hundredths of a processor, and with N
 * threads the switch wants N; "cores" says how many it got (the processor time of all its threads, for each second), so
 * that a figure of a machine with others on it is known for what it is.
 *
 *	bench_threads [SECONDS each [N...]]
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "frontend.h"
#include "nethdr.h"
#include "port_vu.h"
#include "workers.h"

#define PORTS  4
#define NUM    1024
#define FRAME  60 /* 64 on a wire, with its checksum */
#define SLOT   128
#define NAP_NS 20000

struct side {
	struct frontend fe;
	struct guest guest;
	struct driver rx, tx;
	struct port_vu *port;
};

struct bench {
	struct loop loop;
	struct sw sw;
	struct port_vu_group group;
	struct workers workers;
	struct side side[PORTS];
	bool stop;
	double guests_s; /* processor time of the thread that plays them */
};

static void check(int r)
{
	if (r < 0) {
		fprintf(stderr, "bench_threads: %s\n", strerror(-r));
		exit(1);
	}
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pump(void *ctx)
{
	check(loop_once(ctx, 0));
}

/* All of a ring's buffers, in the order of their heads: who makes some available again does not write them anew. */
static void fill(struct side *s, struct driver *d, bool in, uint8_t to, uint8_t from)
{
	for (unsigned i = 0; i < NUM; i++) {
		struct driver_buf buf = { guest_alloc(&s->guest, SLOT, SLOT),
					  in ? SLOT : NETHDR_LEN + FRAME };
		uint8_t *at = guest_ptr(&s->guest, buf.addr, SLOT);

		memset(at, 0, SLOT);
		memcpy(at + NETHDR_LEN,
		       (const uint8_t[]){ 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0 }, 14);
		check(driver_add(d, &buf, !in, in));
	}
}

static void side_up(struct bench *b, unsigned i, struct port_vu_group *g)
{
	struct side *s = &b->side[i];
	char name[8];
	int fd;

	(void)snprintf(name, sizeof(name), "p%u", i);
	check(frontend_pair(&s->fe, &fd));
	s->fe.pump = pump;
	s->fe.ctx = &b->loop;
	check(port_vu_adopt(g, name, fd, &s->port));
	check(frontend_negotiate(&s->fe, BIT_ULL(VIRTIO_F_VERSION_1), 0));
	guest_init(&s->guest, 1, 4 << 20);
	driver_init(&s->rx, &s->guest, NUM, 0);
	driver_init(&s->tx, &s->guest, NUM, 0);
	fill(s, &s->rx, true, 0, 0);
	fill(s, &s->tx, false, (uint8_t)(i ^ 1), (uint8_t)i);
	check(frontend_guest(&s->fe, &s->guest));
	check(frontend_driver_start(&s->fe, 0, &s->rx, true));
	check(frontend_driver_start(&s->fe, 1, &s->tx, true));
	driver_call_off(&s->rx);
	driver_call_off(&s->tx);
}

/* What was used is available again. */
static void turn_over(struct driver *d)
{
	const uint64_t one = 1;
	uint16_t used = le16_load_acquire(&d->used->idx);

	le16_store_release(&d->avail->idx, (uint16_t)(used + NUM));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (le16_load(&d->used->flags) == 0)
		check((int)write(d->kick_fd, &one, sizeof(one)));
}

static void *play_guests(void *arg)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	struct bench *b = arg;

	(void)prctl(PR_SET_TIMERSLACK, 1000);
	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		for (unsigned i = 0; i < PORTS; i++) {
			turn_over(&b->side[i].rx);
			turn_over(&b->side[i].tx);
		}
		nanosleep(&nap, NULL);
	}
	b->guests_s = seconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static uint64_t delivered(const struct bench *b)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PORTS; i++)
		n += b->side[i].port->port.stats.egress_frames;
	return n;
}

static void run_for(struct bench *b, double s)
{
	double end = seconds(CLOCK_MONOTONIC) + s;

	while (seconds(CLOCK_MONOTONIC) < end)
		check(loop_once(&b->loop, loop_now_ns() + 1000000));
}

static void measure(struct bench *b, unsigned n, double s)
{
	double cpu, wall;
	uint64_t frames;
	pthread_t guests;

	b->stop = false;
	check(-pthread_create(&guests, NULL, play_guests, b));
	run_for(b, s / 4);
	frames = delivered(b);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	wall = seconds(CLOCK_MONOTONIC);
	run_for(b, s);
	frames = delivered(b) - frames;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = seconds(CLOCK_MONOTONIC) - wall;
	__atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
	pthread_join(guests, NULL);
	printf("{\"case\":\"net-threads-%u\",\"ours\":%.3f,\"unit\":\"Mpps\",\"ns-frame-core\":%.1f,\"cores\":%.2f,"
	       "\"guests\":%.2f}\n",
	       n, (double)frames / wall / 1e6, cpu * 1e9 / (double)frames, cpu / wall,
	       b->guests_s / (1.25 * s));
	(void)fflush(stdout);
}

static void run(unsigned n, double s)
{
	static struct bench b;

	memset(&b, 0, sizeof(b));
	check(loop_init(&b.loop));
	check(sw_init(&b.sw, &(struct fdb_config){ .ageing_s = 300 }, 1));
	b.group.loop = &b.loop;
	b.group.sw = &b.sw;
	port_vu_group_init(&b.group);
	if (n > 1)
		check(workers_start(&b.workers, &b.loop, &b.sw, &b.group, n));
	for (unsigned i = 0; i < PORTS; i++)
		side_up(&b, i, n > 1 ? workers_group(&b.workers, i % n) : &b.group);
	measure(&b, n, s);
	for (unsigned i = 0; i < PORTS; i++) {
		port_vu_close(b.side[i].port);
		check(loop_once(&b.loop, 0));
		frontend_done(&b.side[i].fe);
		driver_done(&b.side[i].rx);
		driver_done(&b.side[i].tx);
		guest_done(&b.side[i].guest);
	}
	workers_stop(&b.workers);
	loop_done(&b.loop);
	sw_done(&b.sw);
}

int main(int argc, char **argv)
{
	double s = argc > 1 ? atof(argv[1]) : 2;

	if (argc < 3) {
		run(1, s);
		run(2, s);
	}
	for (int i = 2; i < argc; i++)
		run((unsigned)atoi(argv[i]), s);
	return 0;
}
