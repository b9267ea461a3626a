/* SPDX-License-Identifier: MIT */
/* What a portal's daemon takes for an answer, in an arena of any size with any number of clients.
 *
 *	bench_portal_leases MIB CLIENTS [DIR]
 *
 * Each client has a lease, two grants and a name; the arena is otherwise half full of grants of one extent.  Then, by one of
 * them, over its socket:
 *
 *	grant_us    an extent is asked for and given back: two answers
 *	publish_us  a name is published and withdrawn: two answers
 *	bell_us     a bell to another client, until that one has it
 *	death_ms    a client with a quarter of the extents dies, until another is told that all of it is back
 *
 * The last is bounded by the daemon's wish to serve others meanwhile.  Prints one JSON object.  The arena is a file in DIR, or
 * in $TMPDIR.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "leases.h"
#include "log.h"
#include "wire.h"

#define CHECK(condition)                                            \
	do {                                                        \
		if (!(condition)) {                                 \
			fprintf(stderr, "%s failed\n", #condition); \
			exit(1);                                    \
		}                                                   \
	} while (0)

#define CLIENTS_MAX 200u
#define E           ((uint64_t)PORTAL_EXTENT)

static char socket_path[96], arena_path[96];

/* ---- the daemon, a process of its own ---- */

static void serve(uint64_t size, int ready)
{
	static struct loop loop;
	static struct arena arena;
	static struct flush flush;
	static struct leases leases;
	const struct arena_config ac = { .name = "bench", .path = arena_path, .size = size };
	const struct leases_config lc = { .hold_max_ms = 1000 };
	const struct leases_client_config client = {
		.name = "bench",
		.socket_path = socket_path,
		.mode = PORTAL_READ_WRITE,
		.quota = PORTAL_EXTENTS_MAX,
		.max_leases = CLIENTS_MAX + 2,
	};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_set_level(LOG_LEVEL_ERROR);
	CHECK(loop_init(&loop) == 0);
	CHECK(arena_open(&arena, &ac) == 0);
	CHECK(flush_init(&flush, &loop, arena.fd, false, 0) == 0);
	leases_prepare(&leases, &loop, &arena, &flush, &lc);
	CHECK(leases_add_client(&leases, &client) == 0);
	CHECK(leases_start(&leases) == 0);
	CHECK(write(ready, "", 1) == 1);
	(void)loop_run(&loop);
	exit(0);
}

/* ---- clients ---- */

struct client {
	int fd;
	uint64_t owner;
};

static void next(const struct client *c, struct portal_frame *f)
{
	CHECK(recv(c->fd, f, sizeof(*f), MSG_WAITALL) == sizeof(*f));
}

static void tell(const struct client *c, const struct portal_frame *f)
{
	CHECK(send(c->fd, f, sizeof(*f), MSG_NOSIGNAL) == sizeof(*f));
}

/* The reply's first argument. */
static uint64_t ask(const struct client *c, uint32_t type, uint64_t a, uint64_t b, uint64_t len,
		    const char *name)
{
	struct portal_frame f = {
		.type = le32_of(type),
		.seq = le32_of(1),
		.args = { le64_of(a), le64_of(b), le64_of(len) },
	};

	(void)snprintf(f.name, sizeof(f.name), "%s", name);
	tell(c, &f);
	next(c, &f);
	CHECK(le32_get(f.seq) == 1 && le32_get(f.status) == 0);
	return le64_get(f.args[0]);
}

static void come(struct client *c)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	c->owner = ask(c, PORTAL_HELLO, PORTAL_WIRE_VERSION, 0, 0, "bench");
}

static void settle(struct client *c, unsigned i)
{
	uint64_t first;
	char name[32];

	come(c);
	first = ask(c, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_SEGMENT, 0, "");
	(void)ask(c, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_HUGE, 0, "");
	(void)snprintf(name, sizeof(name), "of-%u", i);
	(void)ask(c, PORTAL_PUBLISH, PORTAL_TYPE_BYTES, first * E, 64, name);
}

/* ---- what is measured ---- */

static double us_since(uint64_t start_ns, unsigned n)
{
	return (double)(loop_now_ns() - start_ns) / 1e3 / n;
}

static double grants(const struct client *c, unsigned n)
{
	uint64_t start = loop_now_ns();

	for (unsigned i = 0; i < n; i++) {
		uint64_t first = ask(c, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_SEGMENT, 0, "");

		(void)ask(c, PORTAL_EXTENT_PUT, first, 1, 0, "");
	}
	return us_since(start, n);
}

static double publications(const struct client *c, unsigned n)
{
	uint64_t first = ask(c, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_SEGMENT, 0, ""),
		 start = loop_now_ns();

	for (unsigned i = 0; i < n; i++) {
		(void)ask(c, PORTAL_PUBLISH, PORTAL_TYPE_BYTES, first * E, 64, "measured");
		(void)ask(c, PORTAL_UNPUBLISH, 0, 0, 0, "measured");
	}
	return us_since(start, n);
}

static double bells(const struct client *from, const struct client *to, unsigned n)
{
	uint64_t start = loop_now_ns();

	for (unsigned i = 0; i < n; i++) {
		struct portal_frame f = {
			.type = le32_of(PORTAL_BELL),
			.args = { le64_of(to->owner), le64_of(i) },
		};

		tell(from, &f);
		next(to, &f);
		CHECK(le32_get(f.type) == PORTAL_RANG && le64_get(f.args[1]) == i);
	}
	return us_since(start, n);
}

static double death(const struct client *witness, uint32_t n_extents)
{
	struct portal_frame f;
	struct client mortal;
	uint64_t start;

	come(&mortal);
	for (uint32_t i = 0; i < n_extents; i++)
		(void)ask(&mortal, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_HUGE, 0, "");
	(void)ask(witness, PORTAL_NOTIFY, PORTAL_NOTIFY_DEATHS, 0, 0, "");
	start = loop_now_ns();
	close(mortal.fd);
	do
		next(witness, &f);
	while (le32_get(f.type) != PORTAL_DIED);
	return us_since(start, 1) / 1e3;
}

int main(int argc, char **argv)
{
	static struct client client[CLIENTS_MAX], crowd;
	uint64_t size = argc > 1 ? strtoull(argv[1], NULL, 10) << 20 : 0;
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	uint32_t n_extents = (uint32_t)(size / E);
	const char *dir = argc > 3 ? argv[3] : getenv("TMPDIR");
	double grant, publish, bell, ms;
	int ready[2];
	pid_t pid;
	char byte;

	if (argc < 3 || n < 2 || n > CLIENTS_MAX || n_extents < 4 * n) {
		fprintf(stderr, "usage: %s MIB CLIENTS [DIR]    2 to %u clients, 8 MiB for each\n",
			argv[0], CLIENTS_MAX);
		return 2;
	}
	(void)snprintf(socket_path, sizeof(socket_path), "%.64s/bench-portal-%d.sock",
		       dir ? dir : "/tmp", getpid());
	(void)snprintf(arena_path, sizeof(arena_path), "%.64s/bench-portal-%d", dir ? dir : "/tmp",
		       getpid());
	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0)
		serve(size, ready[1]);
	close(ready[1]);
	CHECK(read(ready[0], &byte, 1) == 1);

	for (unsigned i = 0; i < n; i++)
		settle(&client[i], i);
	come(&crowd);
	for (uint32_t i = 0; i < n_extents / 2 - 2 * n; i++)
		(void)ask(&crowd, PORTAL_EXTENT_GET, 1, PORTAL_EXTENT_SEGMENT, 0, "");
	grant = grants(&client[0], 2000);
	publish = publications(&client[0], 2000);
	bell = bells(&client[0], &client[1], 2000);
	ms = death(&client[1], n_extents / 4);
	printf("{\"mib\":%llu,\"clients\":%u,\"grant_us\":%.1f,\"publish_us\":%.1f,\"bell_us\":%.1f,"
	       "\"death_ms\":%.2f}\n",
	       (unsigned long long)size >> 20, n, grant, publish, bell, ms);
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)unlink(arena_path);
	(void)unlink(socket_path);
	return 0;
}
