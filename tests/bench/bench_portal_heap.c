/* SPDX-License-Identifier: MIT */
/* Four classic workloads of allocators, and recovery.
 *
 *	bench_portal_heap CASE ALLOCATOR PROCESSES [MILLIONS]
 *
 *	threadtest  each process allocates 10^5 objects of 64 bytes and frees them, again and again
 *	shbench     objects of 64 to 400 bytes, small ones most, freed in part soon and in part late
 *	larson      a thousand objects of 64 to 400 bytes, each time a random one is replaced; after a while the thread ends and
 *	            leaves them to a new one
 *	prodcon     one thread allocates, another one frees.  With two processes and the portal's heap these are two clients: the
 *	            consumer takes each block by its handle
 *	recover     a client dies with 10^5 blocks: milliseconds until they are back
 *
 * ALLOCATOR is `portal`, the heap on shared memory, or `malloc`, whichever the process has got: glibc's, or one that
 * is preloaded.  Prints {"mops":N}, millions of pairs of allocation and free per second in all; {"ms":N} for
 * `recover`.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "ground.h"
#include "relax.h"

#define CHECK(condition)                                            \
	do {                                                        \
		if (!(condition)) {                                 \
			fprintf(stderr, "%s failed\n", #condition); \
			exit(1);                                    \
		}                                                   \
	} while (0)

#define EXTENTS   256u
#define PROCESSES 2u

/* ---- the allocator ---------------------------------------------------------- */

static bool is_portal;
static struct ground ground;
static struct ground_client client;
static struct heap *heap;

static inline void *get(size_t size)
{
	void *p = is_portal ? heap_alloc(heap, size) : malloc(size);

	CHECK(p);
	return p;
}

static inline void put(void *p)
{
	if (is_portal)
		CHECK(heap_free(heap, p) == 0);
	else
		free(p);
}

static void enter(unsigned process)
{
	if (!is_portal)
		return;
	ground_enter(&ground, &client, process, 1);
	heap = client.heap;
}

/* ---- the workloads: each does n pairs ------------------------------------------ */

static inline uint32_t roll(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static void threadtest(uint64_t n)
{
	static void *objects[100000];

	for (; n > 0; n -= min(n, (uint64_t)array_size(objects))) {
		for (unsigned i = 0; i < array_size(objects); i++) {
			objects[i] = get(64);
			*(uint64_t *)objects[i] = i;
		}
		for (unsigned i = 0; i < array_size(objects); i++)
			put(objects[i]);
	}
}

/* Half of the sizes are below 128 bytes. */
static inline size_t a_size(uint64_t *seed)
{
	uint32_t r = roll(seed);

	return 64 + (r & 1 ? (r >> 1) % 64 : (r >> 1) % 337);
}

static void shbench(uint64_t n)
{
	static void *late[4096];
	void *soon[16];
	uint64_t seed = 1;

	for (uint64_t done = 0; done < n; done += array_size(soon)) {
		for (unsigned i = 0; i < array_size(soon); i++) {
			soon[i] = get(a_size(&seed));
			*(uint64_t *)soon[i] = i;
		}
		for (unsigned i = 0; i < array_size(soon); i++) {
			void **slot = &late[roll(&seed) % array_size(late)];

			if (i % 4) {
				put(soon[i]);
			} else {
				if (*slot)
					put(*slot);
				*slot = soon[i];
			}
		}
	}
	for (unsigned i = 0; i < array_size(late); i++) {
		if (late[i])
			put(late[i]);
		late[i] = NULL;
	}
}

#define LARSON_OBJECTS 1000u
#define LARSON_LIFE    100000u

static void *larson_life(void *arg)
{
	void **objects = arg;
	uint64_t seed = (uintptr_t)objects[0];

	for (unsigned i = 0; i < LARSON_LIFE; i++) {
		void **slot = &objects[roll(&seed) % LARSON_OBJECTS];

		put(*slot);
		*slot = get(a_size(&seed));
		*(uint64_t *)*slot = i;
	}
	return NULL;
}

static void larson(uint64_t n)
{
	static void *objects[LARSON_OBJECTS];
	pthread_t thread;
	uint64_t seed = 2;

	for (unsigned i = 0; i < LARSON_OBJECTS; i++)
		objects[i] = get(a_size(&seed));
	for (uint64_t done = 0; done < n; done += LARSON_LIFE) {
		CHECK(pthread_create(&thread, NULL, larson_life, objects) == 0);
		pthread_join(thread, NULL);
	}
	for (unsigned i = 0; i < LARSON_OBJECTS; i++)
		put(objects[i]);
}

/* ---- producer and consumer ------------------------------------------------------ */

#define LANE 1024u

struct lane {
	uint64_t head __attribute__((aligned(128)));
	uint64_t tail __attribute__((aligned(128)));
	uint64_t item[LANE] __attribute__((aligned(128)));
};

static struct lane *lane;

/* Spin for a moment; then let the other side have the processor. */
static inline void pause_a_little(unsigned *spins)
{
	if (++*spins % 256)
		cpu_relax();
	else
		sched_yield();
}

static void send_items(uint64_t n, bool handles)
{
	uint64_t room = LANE;
	unsigned spins = 0;

	for (uint64_t i = 0; i < n; i++) {
		void *p = get(64);

		*(uint64_t *)p = i;
		while (i == room) {
			room = __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE) + LANE;
			if (i == room)
				pause_a_little(&spins);
		}
		lane->item[i % LANE] = handles ? heap_handle(heap, p) : (uint64_t)(uintptr_t)p;
		__atomic_store_n(&lane->head, i + 1, __ATOMIC_RELEASE);
	}
}

static void receive_items(uint64_t n, bool handles)
{
	uint64_t there = 0;
	unsigned spins = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t item;
		void *p;

		while (i == there) {
			there = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);
			if (i == there)
				pause_a_little(&spins);
		}
		item = lane->item[i % LANE];
		__atomic_store_n(&lane->tail, i + 1, __ATOMIC_RELEASE);
		p = handles ? heap_take(heap, item, 64) : (void *)(uintptr_t)item;
		CHECK(p);
		CHECK(*(uint64_t *)p == i);
		put(p);
	}
}

static void *consumer(void *arg)
{
	receive_items(*(uint64_t *)arg, false);
	return NULL;
}

static void prodcon(uint64_t n)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, consumer, &n) == 0);
	send_items(n, false);
	pthread_join(thread, NULL);
	lane->head = lane->tail = 0;
}

/* ---- running ---------------------------------------------------------------------- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct meeting {
	unsigned ready, go;
	double end[PROCESSES];
};

static void wait_for_all(struct meeting *meeting, unsigned n)
{
	__atomic_add_fetch(&meeting->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&meeting->ready, __ATOMIC_ACQUIRE) < n)
		sched_yield();
}

static void worker(void (*run)(uint64_t n), unsigned process, unsigned n_processes, uint64_t n,
		   struct meeting *meeting)
{
	enter(process);
	if (run) {
		run(n / 10); /* pages are there, pools are filled */
		wait_for_all(meeting, n_processes + 1);
		run(n);
	} else {
		wait_for_all(meeting, n_processes + 1);
		if (process == 0)
			send_items(n, true);
		else
			receive_items(n, true);
	}
	meeting->end[process] = now();
	if (is_portal && process == 0 && !run)
		heap_collect(heap);
}

static double measure(void (*run)(uint64_t n), unsigned n_processes, uint64_t n)
{
	struct meeting *meeting = mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double begin, end = 0;
	int status;

	for (unsigned i = 0; i < n_processes; i++) {
		if (fork() == 0) {
			worker(run, i, n_processes, n, meeting);
			_exit(0);
		}
	}
	while (__atomic_load_n(&meeting->ready, __ATOMIC_ACQUIRE) < n_processes)
		usleep(1000);
	begin = now();
	wait_for_all(meeting, n_processes + 1);
	for (unsigned i = 0; i < n_processes; i++) {
		CHECK(wait(&status) > 0 && status == 0);
	}
	for (unsigned i = 0; i < n_processes; i++)
		end = max(end, meeting->end[i]);
	return end - begin;
}

static double recovery(void)
{
	static const struct heap_leases everybody = { { ~0ULL, ~0ULL, ~0ULL, ~0ULL } };
	struct heap_recovered sum;
	double begin;

	if (fork() == 0) {
		enter(1);
		for (unsigned i = 0; i < 100000; i++)
			*(uint64_t *)get(64 + i % 400) = i;
		_exit(0);
	}
	wait(NULL);
	begin = now();
	ground_recover(&ground, 1, &everybody, &sum);
	CHECK(sum.blocks == 100000 && ground_has(&ground, 1) == 0);
	return (now() - begin) * 1e3;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(uint64_t n);
	} cases[] = { { "threadtest", threadtest },
		      { "shbench", shbench },
		      { "larson", larson },
		      { "prodcon", prodcon } };
	unsigned n_processes = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	uint64_t n = (argc > 4 ? strtoull(argv[4], NULL, 10) : 20) * 1000000;

	if (argc < 3 || (n_processes != 1 && n_processes != PROCESSES) || !n) {
		fprintf(stderr, "usage: %s CASE portal|malloc 1|2 [MILLIONS]\n", argv[0]);
		return 2;
	}
	is_portal = strcmp(argv[2], "portal") == 0;
	ground_up(&ground, EXTENTS);
	lane = mmap(NULL, sizeof(*lane), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(lane != MAP_FAILED);
	if (strcmp(argv[1], "recover") == 0) {
		is_portal = true;
		printf("{\"ms\":%.3f}\n", recovery());
		return 0;
	}
	for (unsigned i = 0; i < array_size(cases); i++) {
		bool handles = cases[i].run == prodcon && n_processes == 2 && is_portal;
		bool one = cases[i].run == prodcon && !handles; /* its two threads are the load */
		double seconds;

		if (strcmp(argv[1], cases[i].name) != 0)
			continue;
		seconds = measure(handles ? NULL : cases[i].run, one ? 1 : n_processes, n);
		printf("{\"mops\":%.3f}\n",
		       (double)n * (cases[i].run == prodcon ? 1 : n_processes) / seconds / 1e6);
		return 0;
	}
	fprintf(stderr, "no such case\n");
	return 2;
}
