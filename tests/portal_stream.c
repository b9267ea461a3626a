/* SPDX-License-Identifier: MIT */
/* One end of a long stream through a ring, by libportal: run on the host and in guests by tests/portal-matrix.
 *
 *	portal_stream produce WHERE RING BYTES     make the ring, send so much, wait until it is read
 *	portal_stream consume WHERE RING BYTES     take so much out of it; less if the producer ends
 *
 * Both print "BYTES HASH MB/s [end]": the producer hashes what it means to send, from its own memory, the consumer what it
 * got.  Records are of all lengths up to RECORD_MAX.  What portal_attach() takes is WHERE.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "portal.h"

#define RING_SIZE   (1u << 20)
#define RECORD_MAX  (32u << 10)
#define SOURCE      (256u << 10)
#define RETRY_NS    20000000
#define PATIENCE_MS 60000 /* four emulated guests on two CPUs */

struct stream {
	uint64_t bytes, hash[4];
	uint64_t started_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	return (hash ^ word) * 0x9e3779b97f4a7c15ull;
}

/* Lengths are multiples of 32: four words at a time that do not wait for each other. */
static void add(struct stream *s, const void *data, uint32_t len)
{
	const uint8_t *at = data;
	uint64_t word[4];

	for (uint32_t i = 0; i < len; i += sizeof(word)) {
		memcpy(word, at + i, sizeof(word));
		for (unsigned lane = 0; lane < 4; lane++)
			s->hash[lane] = mix(s->hash[lane], word[lane]);
	}
	s->bytes += len;
}

static int finish(const struct stream *s, int r)
{
	uint64_t took_ns = now_ns() - s->started_ns + 1, hash = 0;

	for (unsigned lane = 0; lane < 4; lane++)
		hash = mix(hash, s->hash[lane]);
	printf("%llu %016llx %llu MB/s%s%s\n", (unsigned long long)s->bytes,
	       (unsigned long long)hash, (unsigned long long)(s->bytes * 1000 / took_ns),
	       r < 0 ? " " : "", r < 0 ? strerror(-r) : "");
	return r < 0 && r != -EPIPE;
}

static int fail(const char *what, int r)
{
	printf("%s: %s\n", what, strerror(-r));
	return 1;
}

/* Until somebody says so, a client that the daemon finds when it asks. */
static void await_end(struct portal *p)
{
	struct pollfd fds[] = { { .fd = 0, .events = POLLIN },
				{ .fd = portal_fd(p), .events = POLLIN } };

	while (poll(fds, 2, -1) >= 0 && !fds[0].revents)
		(void)portal_dispatch(p);
}

static int produce(struct portal *p, const char *name, uint64_t total)
{
	static uint8_t source[SOURCE + RECORD_MAX];
	const struct portal_ring_options options = { .kind = PORTAL_SPSC,
						     .role = PORTAL_PRODUCER,
						     .size = RING_SIZE,
						     .max_record = RECORD_MAX };
	struct stream s = { .started_ns = now_ns() };
	uint64_t state = s.started_ns | 1;
	struct portal_ring *ring;
	int r = portal_ring_create(p, name, &options, &ring);

	if (r < 0)
		return fail("create", r);
	for (size_t i = 0; i < sizeof(source); i += sizeof(state)) {
		state = mix(state, i) ^ state >> 29;
		memcpy(source + i, &state, sizeof(state));
	}
	while (s.bytes < total && r >= 0) {
		uint64_t left = total - s.bytes;
		uint32_t len, from;
		void *data;

		state = mix(state, s.bytes) ^ state >> 29;
		len = (uint32_t)(state % RECORD_MAX) / 32 * 32 + 32;
		len = left < len ? (uint32_t)left : len;
		from = (uint32_t)(state >> 40) % SOURCE / 8 * 8;
		r = portal_reserve(ring, len, &data);
		if (r == -EAGAIN) {
			r = portal_wait(ring, PORTAL_FOREVER);
			continue;
		}
		if (r < 0)
			break;
		memcpy(data, source + from, len);
		add(&s, source + from, len);
		r = portal_commit(ring, len, 0);
	}
	/* It is the creator's: when this end goes, so does what nobody has read. */
	finish(&s, r);
	fflush(stdout);
	await_end(p);
	portal_ring_close(ring);
	return r < 0;
}

static int consume(struct portal *p, const char *name, uint64_t total)
{
	struct stream s = { 0 };
	struct portal_ring *ring;
	int r;

	while ((r = portal_ring_open(p, name, PORTAL_CONSUMER, &ring)) == -ENOENT)
		nap();
	if (r < 0)
		return fail("open", r);
	s.started_ns = now_ns();
	while (s.bytes < total && r >= 0) {
		struct portal_record record;

		r = portal_peek(ring, &record);
		if (r == -EAGAIN) {
			r = portal_wait(ring, PORTAL_FOREVER);
			continue;
		}
		if (r < 0)
			break;
		add(&s, record.data, record.len / 32 * 32);
		portal_release(ring);
	}
	r = finish(&s, r);
	portal_ring_close(ring);
	return r;
}

int main(int argc, char **argv)
{
	const struct portal_options options = { .client = "stream", .timeout_ms = PATIENCE_MS };
	struct portal *p;
	int r;

	if (argc != 5) {
		fprintf(stderr, "usage: portal_stream produce|consume WHERE RING BYTES\n");
		return 2;
	}
	r = portal_attach(argv[2], &options, &p);
	if (r < 0)
		return fail("attach", r);
	if (strcmp(argv[1], "produce") == 0)
		r = produce(p, argv[3], strtoull(argv[4], NULL, 0) / 32 * 32);
	else
		r = consume(p, argv[3], strtoull(argv[4], NULL, 0) / 32 * 32);
	portal_detach(p);
	return r;
}
