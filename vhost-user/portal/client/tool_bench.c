/* SPDX-License-Identifier: MIT */
/* portal bench: how fast are rings between this client and another one, wherever that is?
 *
 *	one side:     portal bench --serve NAME
 *	the other:    portal bench NAME
 *
 * The server makes two rings, NAME/there and NAME/back, and copies what it gets.  PING it sends back, DATA it counts, HASHED it
 * also hashes; at END it says what it got. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cleanup.h"
#include "clock.h"
#include "tool.h"

enum { PING = 1, DATA, HASHED, END };

#define RING_SIZE  (4u << 20)
#define MAX_RECORD (64u << 10)
#define TRIPS      20000u
#define TRIPS_SIZE 64u

struct bench {
	const char *name;
	bool serve, once, verify;
	uint64_t seconds_ns, bytes, wait_ns;
	uint32_t sizes[8];
	unsigned n_sizes;
	struct portal_ring *there, *back;
};

/* What END tells. */
struct account {
	uint64_t records, bytes, hash;
};

static uint64_t hash_more(uint64_t hash, const uint8_t *bytes, size_t len)
{
	uint64_t word;

	for (; len >= sizeof(word); bytes += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	for (; len > 0; bytes++, len--)
		hash = (hash ^ *bytes) * 0x100000001b3;
	return hash;
}

/* ---- both sides ------------------------------------------------------------------ */

/* portal_wait() spins before it sleeps: with a processor for each side, nobody sleeps in a round trip. */
static int next_record(struct portal_ring *ring, struct portal_record *ret_record)
{
	int r;

	while ((r = portal_peek(ring, ret_record)) == -EAGAIN) {
		r = portal_wait(ring, PORTAL_FOREVER);
		if (r < 0 && r != -EPIPE)
			return r;
	}
	return r;
}

static int send_record(struct portal_ring *ring, const void *data, uint32_t len, uint32_t type)
{
	int r;

	while ((r = portal_send(ring, data, len, type)) == -EAGAIN) {
		r = portal_wait(ring, PORTAL_FOREVER);
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- the server -------------------------------------------------------------------- */

/* Into memory of our own, as what comes by a socket is: a stream that nobody touches would say little. */
static int receive(struct portal_ring *ring, uint8_t *data, struct portal_record *ret_record)
{
	uint32_t type;
	int64_t n;

	while ((n = portal_recv(ring, data, MAX_RECORD, &type)) == -EAGAIN) {
		int r = portal_wait(ring, PORTAL_FOREVER);

		if (r < 0 && r != -EPIPE)
			return r;
	}
	if (n < 0)
		return (int)n;
	*ret_record = (struct portal_record){ .data = data, .len = (uint32_t)n, .type = type };
	return 0;
}

static int make_rings(struct portal *p, struct bench *b)
{
	struct portal_ring_options options = { .size = RING_SIZE, .max_record = MAX_RECORD };
	char name[PORTAL_NAME_SIZE];
	int r;

	options.role = PORTAL_CONSUMER;
	snprintf(name, sizeof(name), "%s/there", b->name);
	r = portal_ring_create(p, name, &options, &b->there);
	if (r < 0)
		return r;
	options.role = PORTAL_PRODUCER;
	snprintf(name, sizeof(name), "%s/back", b->name);
	return portal_ring_create(p, name, &options, &b->back);
}

static int serve_record(struct bench *b, const struct portal_record *record, struct account *a)
{
	switch (record->type) {
	case PING:
		return send_record(b->back, record->data, record->len, PING);
	case HASHED:
		a->hash = hash_more(a->hash, record->data, record->len);
		__attribute__((fallthrough));
	case DATA:
		a->records++;
		a->bytes += record->len;
		return 0;
	case END: {
		struct account told = *a;

		*a = (struct account){ 0 };
		return send_record(b->back, &told, sizeof(told), END);
	}
	default:
		return -EPROTO;
	}
}

static int serve(struct portal *p, struct bench *b)
{
	static uint8_t data[MAX_RECORD];
	struct account account = { 0 };
	struct portal_record record;
	int r = make_rings(p, b);

	if (r == 0)
		fprintf(stderr, "%s: serving\n", b->name);
	while (r == 0) {
		r = receive(b->there, data, &record);
		if (r == 0)
			r = serve_record(b, &record, &account);
	}
	return r;
}

/* The other side comes and goes; rings are made anew for the next one. */
static int serve_all(struct portal *p, struct bench *b)
{
	int r;

	do {
		r = serve(p, b);
		portal_ring_close(b->there);
		portal_ring_close(b->back);
		b->there = b->back = NULL;
	} while (r == -EPIPE && !b->once);
	return r == -EPIPE ? 0 : r;
}

/* ---- the one that measures -------------------------------------------------------------- */

static int open_rings(struct portal *p, struct bench *b)
{
	char name[PORTAL_NAME_SIZE];
	int r;

	snprintf(name, sizeof(name), "%s/there", b->name);
	r = tool_open_ring(p, name, PORTAL_PRODUCER, b->wait_ns, &b->there);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s/back", b->name);
	return tool_open_ring(p, name, PORTAL_CONSUMER, b->wait_ns, &b->back);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int one_trip(struct bench *b, const void *data, uint32_t len, uint64_t *ret_ns)
{
	struct portal_record record = { 0 };
	uint64_t begin = clock_ns();
	int r = send_record(b->there, data, len, PING);

	if (r == 0)
		r = next_record(b->back, &record);
	if (r < 0)
		return r;
	*ret_ns = clock_ns() - begin;
	if (record.type != PING || record.len != len)
		return -EPROTO;
	return portal_release(b->back);
}

static int measure_trips(const struct tool *tool, struct bench *b)
{
	auto_free uint64_t *ns = calloc(TRIPS, sizeof(*ns));
	uint8_t data[TRIPS_SIZE] = { 0 };
	uint64_t end = clock_ns() + b->seconds_ns, p50, p99;
	unsigned n = 0;
	int r = 0;

	if (!ns)
		return -ENOMEM;
	while (r == 0 && n < TRIPS && (n == 0 || clock_ns() < end))
		r = one_trip(b, data, sizeof(data), &ns[n++]);
	if (r < 0)
		return r;
	qsort(ns, n, sizeof(*ns), compare_u64);
	p50 = ns[n / 2];
	p99 = ns[n - n / 100 - 1];
	if (tool->json)
		printf("{\"case\":\"round-trip\",\"size\":%u,\"trips\":%u,\"p50_ns\":%" PRIu64
		       ",\"p99_ns\":%" PRIu64 "}\n",
		       TRIPS_SIZE, n, p50, p99);
	else
		printf("%6u B round trip   %8.2f us p50, %.2f us p99\n", TRIPS_SIZE,
		       (double)p50 / 1000, (double)p99 / 1000);
	return 0;
}

/* Send until the time or the bytes are over; the clock is looked at now and then. */
static int send_stream(struct bench *b, uint32_t size, uint8_t *data, struct account *sent)
{
	uint64_t end = clock_ns() + b->seconds_ns;
	uint32_t type = b->verify ? HASHED : DATA;
	int r = 0;

	while (r == 0 &&
	       (b->bytes ? sent->bytes < b->bytes : (sent->records & 63) || clock_ns() < end)) {
		memcpy(data, &sent->records, min((size_t)size, sizeof(sent->records)));
		r = send_record(b->there, data, size, type);
		if (b->verify)
			sent->hash = hash_more(sent->hash, data, size);
		sent->records++;
		sent->bytes += size;
	}
	return r < 0 ? r : send_record(b->there, NULL, 0, END);
}

static int receive_account(struct bench *b, struct account *ret_account)
{
	struct portal_record record;
	int r = next_record(b->back, &record);

	if (r < 0)
		return r;
	if (record.type != END || record.len != sizeof(*ret_account))
		return -EPROTO;
	memcpy(ret_account, record.data, sizeof(*ret_account));
	return portal_release(b->back);
}

static void print_stream(const struct tool *tool, uint32_t size, const struct account *a,
			 uint64_t ns, bool verified)
{
	double seconds = (double)ns / NS_PER_SEC;

	if (tool->json)
		printf("{\"case\":\"stream\",\"size\":%u,\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
		       ",\"seconds\":%.3f,\"records_per_s\":%.0f,\"bytes_per_s\":%.0f,\"verified\":%s}\n",
		       size, a->records, a->bytes, seconds, (double)a->records / seconds,
		       (double)a->bytes / seconds, verified ? "true" : "false");
	else
		printf("%6u B records  %9.3f M/s  %9.1f MB/s%s\n", size,
		       (double)a->records / seconds / 1e6, (double)a->bytes / seconds / 1e6,
		       verified ? "  verified" : "");
}

static int measure_stream(const struct tool *tool, struct bench *b, uint32_t size)
{
	static uint8_t data[MAX_RECORD];
	struct account sent = { 0 }, got = { 0 };
	uint64_t begin = clock_ns();
	int r = send_stream(b, size, data, &sent);

	if (r == 0)
		r = receive_account(b, &got);
	if (r < 0)
		return r;
	if (memcmp(&sent, &got, sizeof(sent)) != 0) {
		fprintf(stderr,
			"portal: sent %" PRIu64 " records, %" PRIu64
			" bytes, and there came %" PRIu64 ", %" PRIu64 ", hash %s\n",
			sent.records, sent.bytes, got.records, got.bytes,
			sent.hash == got.hash ? "the same" : "another");
		return -EIO;
	}
	print_stream(tool, size, &sent, clock_ns() - begin, b->verify);
	return 0;
}

static int measure(const struct tool *tool, struct portal *p, struct bench *b)
{
	int r = open_rings(p, b);

	if (r == 0 && !b->bytes)
		r = measure_trips(tool, b);
	for (unsigned i = 0; i < b->n_sizes && r == 0; i++)
		r = measure_stream(tool, b, b->sizes[i]);
	portal_ring_close(b->there);
	portal_ring_close(b->back);
	return r;
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool take_sizes(struct bench *b, char *list)
{
	b->n_sizes = 0;
	for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
		uint64_t size;

		if (b->n_sizes == array_size(b->sizes) || !tool_size(item, &size) ||
		    size > MAX_RECORD)
			return false;
		b->sizes[b->n_sizes++] = (uint32_t)size;
	}
	return b->n_sizes > 0;
}

static bool take_option(struct bench *b, int option)
{
	switch (option) {
	case 's':
		b->serve = true;
		return true;
	case 'o':
		b->once = true;
		return true;
	case 'v':
		b->verify = true;
		return true;
	case 'z':
		return take_sizes(b, optarg);
	case 'b':
		return tool_size(optarg, &b->bytes) && b->bytes > 0;
	case 't':
		return tool_duration(optarg, &b->seconds_ns);
	case 'w':
		return tool_duration(optarg, &b->wait_ns);
	default:
		return false;
	}
}

static int take_bench(struct tool *tool, int argc, char **argv, struct bench *b)
{
	static const struct option options[] = { { "serve", no_argument, NULL, 's' },
						 { "once", no_argument, NULL, 'o' },
						 { "verify", no_argument, NULL, 'v' },
						 { "sizes", required_argument, NULL, 'z' },
						 { "bytes", required_argument, NULL, 'b' },
						 { "time", required_argument, NULL, 't' },
						 { "wait", required_argument, NULL, 'w' },
						 { 0 } };
	int option;

	while ((option = getopt_long(argc, argv, "sovz:b:t:w:", options, NULL)) != -1)
		if (!take_option(b, option))
			return tool_misuse(tool);
	if (optind + 1 != argc || strlen(argv[optind]) > PORTAL_NAME_SIZE - 8)
		return tool_misuse(tool);
	b->name = argv[optind];
	return 0;
}

static int run_bench(struct tool *tool, int argc, char **argv)
{
	struct bench b = { .seconds_ns = NS_PER_SEC,
			   .sizes = { 8, 64, 4096, 65536 },
			   .n_sizes = 4 };
	struct portal *p;
	int r = take_bench(tool, argc, argv, &b);

	if (r)
		return r;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = b.serve ? serve_all(p, &b) : measure(tool, p, &b);
	portal_detach(p);
	return r < 0 ? tool_fail(r, "%s", b.name) : TOOL_OK;
}

const struct tool_command tool_bench = {
	"bench", "[--sizes LIST] [--bytes N] [--verify] [--time TIME] [--serve] NAME",
	"measure rings to a client that serves", run_bench
};
