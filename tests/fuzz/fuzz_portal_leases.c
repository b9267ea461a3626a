/* SPDX-License-Identifier: MIT */
/* Two clients of a portal that say what the input tells them to, over their sockets, and a daemon that is started anew over
 * tables that the input has written to.
 *
 * An input is a sequence of steps: a byte that says who (bit 0) does what (bits 1-3), and what that takes.
 *
 *	0    128 bytes: a frame
 *	1    length, bytes: a piece of one
 *	2    hang up, and come again
 *	3    read what has come; the daemon has its turn
 *	4    offset (2 bytes, in units of 4), length, bytes: into the tables of the arena; the daemon is started anew
 *	5-7  type, seq, three arguments of a byte each, a letter: a frame that means something
 *
 * After each step the books must add up.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "leases_impl.h"
#include "log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_CLIENTS 2u
#define FILE_SIZE (16ull << 20)

static struct loop loop;
static struct arena arena;
static struct flush flush;
static struct leases leases;
static int ends[N_CLIENTS];

struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t take(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static size_t take_bytes(struct input *in, void *to, size_t n)
{
	n = min(n, in->size);
	memcpy(to, in->data, n);
	in->data += n;
	in->size -= n;
	return n;
}

/* ---- the daemon ---- */

static void pass(void)
{
	(void)loop_once(&loop, 0);
}

static void start(void)
{
	static const struct leases_config config = { .grace_ms = 0, .hold_max_ms = 1000 };
	char path[64];

	leases_prepare(&leases, &loop, &arena, &flush, &config);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		const struct leases_client_config c = {
			.name = i ? "b" : "a",
			.socket_path = path,
			.mode = PORTAL_READ_WRITE,
			.quota = 3 + i,
			.linger_ms = i,
			.may_quiesce = !i,
		};

		(void)snprintf(path, sizeof(path), "/tmp/fuzz-portal-%d-%u", getpid(), i);
		if (leases_add_client(&leases, &c) < 0)
			abort();
	}
	if (leases_start(&leases) < 0)
		abort();
}

static void connect_client(unsigned i)
{
	int pair[2];

	if (ends[i] >= 0)
		close(ends[i]);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	ends[i] = pair[0];
	leases_conn_accept(&leases.client[i]->acceptor, pair[1]);
	pass();
}

static void connect_all(void)
{
	for (unsigned i = 0; i < N_CLIENTS; i++)
		connect_client(i);
}

static void restart(void)
{
	leases_done(&leases);
	pass();
	start();
	connect_all();
}

static void drain(unsigned i)
{
	char buf[4096];

	pass();
	while (recv(ends[i], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		continue;
}

/* ---- what must hold ---- */

static void check(void)
{
	const struct extents *x = &leases.extents;
	uint32_t granted = 0, orphans = 0, used[N_CLIENTS] = { 0 }, has[PORTAL_LEASES] = { 0 };

	for (uint32_t at = 0; extents_find(x, 0, &at); at += x->e[at].run) {
		const struct extent *e = &x->e[at];

		granted += e->run;
		orphans += e->orphan;
		for (unsigned i = 0; i < N_CLIENTS; i++)
			used[i] += e->payer == leases.client[i] ? e->run : 0;
		if (leases.lease[portal_owner_id(e->owner)].owner == e->owner)
			has[portal_owner_id(e->owner)] += e->run;
	}
	assert(granted + x->n_free + x->n_quarantined == x->n - 2);
	assert(orphans == leases.n_orphans);
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		assert(has[i] == leases.lease[i].n_extents);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		assert(leases.client[i]->n_extents == used[i]);
		assert(used[i] <= leases.client[i]->quota);
	}
	for (uint32_t i = 0; names_next(&leases.names, 0, &i); i++)
		assert(portal_owner_valid(leases.names.entry[i].owner));
}

/* ---- steps ---- */

static void say(unsigned who, const void *bytes, size_t len)
{
	(void)!send(ends[who], bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	pass();
}

/* Small numbers are themselves; the rest are what somebody would try. */
static uint64_t argument(uint8_t v)
{
	switch (v >> 4) {
	case 8:
		return (uint64_t)(v & 15) * PORTAL_EXTENT;
	case 9:
		return portal_owner(v & 1, (v >> 1 & 7) + 1);
	case 10:
		return UINT64_MAX - (v & 15);
	case 11:
		return 1ull << (v & 15) * 4;
	case 12:
		return (uint64_t)(v & 15) * PORTAL_EXTENT + 4096;
	default:
		return v;
	}
}

static void meaningful_frame(struct input *in, unsigned who)
{
	struct portal_frame f = { .type = le32_of(take(in)), .seq = le32_of(take(in)) };

	for (unsigned i = 0; i < 3; i++)
		f.args[i] = le64_of(argument(take(in)));
	f.name[0] = (char)take(in);
	say(who, &f, sizeof(f));
}

static void tamper(struct input *in)
{
	uint32_t offset =
		PORTAL_LEASES_OFFSET + 4u * ((uint32_t)take(in) | (uint32_t)take(in) << 8);
	uint8_t bytes[255];
	size_t n = take_bytes(in, bytes, take(in));

	memcpy(arena.base + offset, bytes, n);
	restart();
}

static void step(struct input *in)
{
	uint8_t op = take(in), bytes[255];
	unsigned who = op & 1;

	switch (op >> 1 & 7) {
	case 0:
		say(who, bytes, take_bytes(in, bytes, PORTAL_FRAME));
		break;
	case 1:
		say(who, bytes, take_bytes(in, bytes, take(in)));
		break;
	case 2:
		connect_client(who);
		break;
	case 3:
		drain(who);
		break;
	case 4:
		tamper(in);
		break;
	default:
		meaningful_frame(in, who);
		break;
	}
}

static void set_up(void)
{
	static const struct arena_config config = { .name = "fuzz", .size = FILE_SIZE };

	log_set_level(LOG_LEVEL_ERROR);
	if (loop_init(&loop) < 0 || arena_open(&arena, &config) < 0 ||
	    flush_init(&flush, &loop, arena.fd, false, 0) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!arena.file)
		set_up();
	arena.fresh = true; /* each input meets the same arena */
	memset(arena.base, 0, PORTAL_EXTENT);
	memset(ends, -1, sizeof(ends));
	start();
	arena.fresh = false;
	connect_all();
	while (in.size > 0) {
		step(&in);
		check();
	}
	for (unsigned i = 0; i < N_CLIENTS; i++)
		close(ends[i]);
	pass();
	leases_done(&leases);
	pass();
	return 0;
}
