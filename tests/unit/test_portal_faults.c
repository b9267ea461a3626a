/* SPDX-License-Identifier: MIT */
/* A daemon that lives through one whole life of a client, with each call that can fail failing once. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "fault.h"
#include "fds.h"
#include "leases.h"
#include "log.h"
#include "tmp.h"
#include "wire.h"

#define SIZE (16ull << 20)

static struct tmp_dir dir;
static char arena_path[96], socket_path[96];

struct world {
	struct loop loop;
	struct arena arena;
	struct flush flush;
	struct leases leases;
};

static int start(struct world *w)
{
	const struct arena_config ac = { .name = "test", .path = arena_path, .size = SIZE };
	const struct leases_config lc = { .grace_ms = 0, .hold_max_ms = 1000 };
	const struct leases_client_config client = {
		.name = "a",
		.socket_path = socket_path,
		.mode = PORTAL_READ_WRITE,
		.quota = 4,
	};
	int r = arena_open(&w->arena, &ac);

	if (r == 0)
		r = flush_init(&w->flush, &w->loop, w->arena.fd, w->arena.durable, 0);
	if (r < 0)
		return r;
	leases_prepare(&w->leases, &w->loop, &w->arena, &w->flush, &lc);
	r = leases_add_client(&w->leases, &client);
	return r < 0 ? r : leases_start(&w->leases);
}

/* Calls of the client's own do not count: it uses none that are wrapped. */
static int talk(struct world *w)
{
	static const uint32_t requests[] = { PORTAL_HELLO, PORTAL_EXTENT_GET, PORTAL_PUBLISH,
					     PORTAL_FLUSH };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	for (unsigned i = 0; i < array_size(requests); i++) {
		struct portal_frame f = {
			.type = le32_of(requests[i]),
			.seq = le32_of(i + 1),
			.args = { le64_of(1), le64_of(PORTAL_EXTENT_SEGMENT), le64_of(0) },
			.name = "x",
		};

		if (i == 2) {
			f.args[1] = le64_of(2ull * PORTAL_EXTENT);
			f.args[2] = le64_of(64);
		}
		(void)!write(fd, &f, sizeof(f));
		for (unsigned k = 0; k < 3; k++)
			(void)loop_once(&w->loop, loop_now_ns() + 1000000);
	}
	return fd;
}

/* 0: all of it came about. */
static int live(void)
{
	static struct world w;
	int r, fd;

	memset(&w, 0, sizeof(w));
	r = loop_init(&w.loop);
	if (r == 0)
		r = start(&w);
	if (r == 0) {
		fd = talk(&w);
		close(fd);
		for (unsigned k = 0; k < 5; k++)
			(void)loop_once(&w.loop, loop_now_ns() + 1000000);
		if (w.leases.stats.published == 0 || w.leases.stats.recovered == 0)
			r = -1;
	}
	leases_done(&w.leases);
	flush_done(&w.flush);
	arena_close(&w.arena);
	loop_done(&w.loop);
	return r;
}

static void test_each_call_fails_once(void **state)
{
	unsigned n_fds, n_failed = 0;

	assert_int_equal(live(), 0);
	n_fds = count_fds();
	for (unsigned n = 1;; n++) {
		bool happened;

		fault_arm(n);
		(void)live();
		happened = fault_disarm();
		assert_int_equal(count_fds(), n_fds);
		/* Whatever failed, the file is an arena, and the next daemon serves it. */
		if (live() != 0)
			fail_msg("after a failure of %s, call %u, it does not work any more",
				 fault_name(), n);
		if (!happened)
			break;
		n_failed++;
		assert_true(n < 1000);
	}
	assert_true(n_failed >= 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_fails_once),
	};
	int r;

	log_set_level(LOG_LEVEL_ERROR);
	(void)signal(SIGPIPE, SIG_IGN);
	tmp_dir_init(&dir);
	tmp_path(&dir, "arena", arena_path, sizeof(arena_path));
	tmp_path(&dir, "a", socket_path, sizeof(socket_path));
	cmocka_set_message_output(CM_OUTPUT_TAP);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tmp_dir_done(&dir);
	return r;
}
