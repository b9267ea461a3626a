/* SPDX-License-Identifier: MIT */
/* What a ring costs beside what nobody can do without: a turn of a message and its answer against a cache line that two
 * processes pass to each other; records written in place against memcpy() of the same bytes; wake-ups of a busy ring.
 *
 *	bench_portal_turns turns|copy|wakes [BYTES]
 *
 * Both sides alternate in slices of a few milliseconds, so that they share whatever the machine does; one JSON object.
 */
#include "clock.h"
#include "relax.h"
#include "ring_pair.h"

#define TURNS  4000
#define SLICES 40

/* Two lines that are passed to and fro, each with one writer. */
struct raw {
	uint64_t there __attribute__((aligned(128)));
	uint64_t back __attribute__((aligned(128)));
};

struct bench {
	struct raw *raw;
	struct ring_pair there, back;
};

static void expect(struct portal_ring *r, uint64_t expected)
{
	uint64_t value = 0;

	while (portal_recv(r, &value, sizeof(value), NULL) < 0)
		cpu_relax();
	if (value != expected)
		race_die("a wrong answer");
}

static void raw_turn(struct bench *b, uint64_t i, bool first)
{
	if (first)
		__atomic_store_n(&b->raw->there, i, __ATOMIC_RELEASE);
	while (__atomic_load_n(first ? &b->raw->back : &b->raw->there, __ATOMIC_ACQUIRE) != i)
		cpu_relax();
	if (!first)
		__atomic_store_n(&b->raw->back, i, __ATOMIC_RELEASE);
}

static void ring_turn(struct bench *b, uint64_t i, bool first)
{
	if (first)
		(void)portal_send(b->there.producer, &i, sizeof(i), 0);
	expect(first ? b->back.consumer : b->there.consumer, i);
	if (!first)
		(void)portal_send(b->back.producer, &i, sizeof(i), 0);
}

static void turns(void)
{
	static double ns[2][SLICES * TURNS];
	struct bench b = { race_memory(4096), ring_pair_make(1 << 16), ring_pair_make(1 << 16) };
	bool first = race_fork() != 0;
	unsigned n[2] = { 0, 0 };
	uint64_t i = 1;

	race_pin(first ? 0 : 1);
	for (unsigned slice = 0; slice < 2 * SLICES; slice++)
		for (unsigned k = 0; k < TURNS; k++, i++) {
			uint64_t begin = clock_ns();

			(slice % 2 ? ring_turn : raw_turn)(&b, i, first);
			ns[slice % 2][n[slice % 2]++] = (double)(clock_ns() - begin);
		}
	if (!first)
		_exit(0);
	for (unsigned k = 0; k < 2; k++)
		qsort(ns[k], n[k], sizeof(double), race_compare);
	printf("{\"ring_p50\": %.0f, \"ring_p99\": %.0f, \"raw_p50\": %.0f, \"raw_p99\": %.0f}\n",
	       ns[1][n[1] / 2], ns[1][n[1] / 100 * 99], ns[0][n[0] / 2], ns[0][n[0] / 100 * 99]);
}

/* A slice of a copy: so many records, in bursts that a ring has room for. */
#define COPY_RING  (1u << 20)
#define COPY_BURST (COPY_RING / 2)
#define COPY_SLICE (16 * COPY_BURST)

static void write_records(struct ring_pair *ring, const uint8_t *from, uint32_t bytes)
{
	for (uint32_t k = 0; k < COPY_BURST / bytes; k++) {
		void *at;

		if (portal_reserve(ring->producer, bytes, &at) < 0)
			race_die("portal_reserve");
		memcpy(at, from, bytes);
		if (portal_commit(ring->producer, bytes, 0) < 0)
			race_die("portal_commit");
	}
}

static void look_at_records(struct ring_pair *ring, uint32_t bytes)
{
	for (uint32_t k = 0; k < COPY_BURST / bytes; k++) {
		struct portal_record record;

		if (portal_peek(ring->consumer, &record) < 0 || record.len != bytes ||
		    portal_release(ring->consumer) < 0)
			race_die("portal_peek");
	}
}

static void write_plainly(uint8_t *plain, const uint8_t *from, uint32_t bytes, uint64_t place)
{
	for (uint32_t k = 0; k < COPY_BURST / bytes; k++, place += bytes) {
		memcpy(plain + place % COPY_RING, from, bytes);
		__asm__ volatile("" : : "r"(plain) : "memory");
	}
}

static double middle(double figures[SLICES])
{
	qsort(figures, SLICES, sizeof(double), race_compare);
	return figures[SLICES / 2];
}

/* The same bytes into as much memory in the same order: in records that are reserved and committed, and without.  The
 * consumer copies nothing and is mostly another process: what it takes to look at each record's place and give that back is
 * not counted with the producer; with both ends it is. */
static void copy(uint32_t bytes)
{
	static double rates[3][SLICES], ratios[2][SLICES];
	struct ring_pair ring = ring_pair_make(COPY_RING);
	uint8_t *from = race_memory(bytes), *plain = race_memory(COPY_RING);

	for (unsigned slice = 0; slice < SLICES; slice++) {
		uint64_t ns[3] = { 0 };

		for (uint64_t done = 0; done < COPY_SLICE; done += COPY_BURST) {
			uint64_t begin = clock_ns(), written, seen;

			write_records(&ring, from, bytes);
			written = clock_ns();
			look_at_records(&ring, bytes);
			seen = clock_ns();
			write_plainly(plain, from, bytes, done);
			ns[0] += written - begin;
			ns[1] += clock_ns() - seen;
			ns[2] += seen - written;
		}
		ns[2] += ns[0];
		for (unsigned k = 0; k < 3; k++)
			rates[k][slice] = COPY_SLICE / (double)ns[k];
		for (unsigned k = 0; k < 2; k++)
			ratios[k][slice] = (double)ns[1] / (double)ns[2 * k];
	}
	printf("{\"ring_gb\": %.2f, \"memcpy_gb\": %.2f, \"both_gb\": %.2f, \"ratio\": %.3f, \"both_ratio\": %.3f}\n",
	       middle(rates[0]), middle(rates[1]), middle(rates[2]), middle(ratios[0]),
	       middle(ratios[1]));
}

/* Whether a call was in vain, and is to be made again when there was something to wait for. */
static bool in_vain(struct portal_ring *r, int64_t result, const char *what)
{
	if (result == -EAGAIN) {
		result = portal_wait(r, PORTAL_FOREVER);
		if (result == 0)
			return true;
		what = "portal_wait";
	}
	if (result < 0) {
		errno = (int)-result;
		race_die(what);
	}
	return false;
}

/* One side sends as fast as it can, both wait when they have to: how often is the other one woken? */
static void wakes(void)
{
	const uint64_t messages = 2000000;
	struct ring_pair ring = ring_pair_make(1 << 18);
	struct portal_ring_info *info = race_memory(4096);
	bool first = race_fork() != 0;
	int status;

	race_pin(first ? 0 : 1);
	for (uint64_t i = 0; i < messages; i++) {
		uint64_t value = ~i;

		if (first) {
			while (in_vain(ring.producer, portal_send(ring.producer, &i, sizeof(i), 0),
				       "portal_send"))
				;
			continue;
		}
		while (in_vain(ring.consumer,
			       portal_recv(ring.consumer, &value, sizeof(value), NULL),
			       "portal_recv"))
			;
		if (value != i) {
			errno = EBADMSG;
			race_die("a wrong message");
		}
	}
	if (!first) {
		portal_ring_info(ring.consumer, info);
		_exit(0);
	}
	if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		errno = ECHILD;
		race_die("the consumer");
	}
	portal_ring_info(ring.producer, info + 1);
	printf("{\"wakes_per_message\": %.6f}\n",
	       (double)(info[0].wakes + info[1].wakes) / (double)messages);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "turns") == 0)
		turns();
	else if (strcmp(what, "copy") == 0 && argc > 2)
		copy((uint32_t)atoi(argv[2]));
	else if (strcmp(what, "wakes") == 0)
		wakes();
	else
		return 2;
	return 0;
}
