/* SPDX-License-Identifier: MIT */
/* A seat that looks for its frontend: at once, again and again, and not too often. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "frontend.h"
#include "listen.h"
#include "seat.h"
#include "tmp.h"

#define MS 1000000ull

struct fixture {
	struct loop loop;
	struct seat seat;
	struct tmp_dir dir;
	char path[96];
	int listen_fd; /* the frontend's */
	unsigned n_closed;
	uint64_t n_sessions;
	bool closing;
};

static void closed(struct vu_session *s, int reason)
{
	struct fixture *f = vu_session_device(s);

	f->n_closed++;
	if (f->closing)
		return;
	seat_vacate(&f->seat);
	seat_next(&f->seat, reason);
}

static void queue_nothing(struct vu_session *s, struct vu_queue *q)
{
}

static const struct vu_device_ops ops = {
	.name = "seat",
	.max_queues = 2,
	.queue_start = queue_nothing,
	.queue_stop = queue_nothing,
	.queue_kick = queue_nothing,
	.closed = closed,
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&f->dir);
	tmp_path(&f->dir, "frontend", f->path, sizeof(f->path));
	assert_int_equal(loop_init(&f->loop), 0);
	seat_init(&f->seat, &f->loop, &ops, f, "seat");
	f->seat.n_sessions = &f->n_sessions;
	f->listen_fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->closing = true;
	seat_close(&f->seat);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_once(&f->loop, 0), 0);
	assert_int_equal(f->n_closed, f->n_sessions);
	fd_drop(&f->listen_fd);
	tmp_dir_done(&f->dir);
	loop_done(&f->loop);
	free(f);
	return 0;
}

static void run(struct fixture *f, uint64_t ns)
{
	uint64_t end = loop_now_ns() + ns;

	while (loop_now_ns() < end)
		assert_int_equal(loop_once(&f->loop, 1), 0);
}

static void listens(struct fixture *f)
{
	assert_int_equal(listen_unix(f->path, 0600, &f->listen_fd), 0);
}

/* The frontend's end, within `ns`; -1: nobody came. */
static int accepted(struct fixture *f, uint64_t ns)
{
	uint64_t end = loop_now_ns() + ns;
	int fd = -1;

	while (fd < 0 && loop_now_ns() < end) {
		assert_int_equal(loop_once(&f->loop, 1), 0);
		fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	return fd;
}

static void finds_one_that_waits(void **state)
{
	struct fixture *f = *state;
	auto_fd int fd = -1;

	listens(f);
	assert_int_equal(seat_dial(&f->seat, f->path), 0);
	assert_string_equal(seat_state(&f->seat), "dialling");
	fd = accepted(f, 5000 * MS);
	assert_true(fd >= 0);
	assert_string_equal(seat_state(&f->seat), "connected");
	assert_int_equal(f->n_sessions, 1);
}

static void finds_one_that_comes_later(void **state)
{
	struct fixture *f = *state;
	auto_fd int fd = -1;

	assert_int_equal(seat_dial(&f->seat, f->path), 0);
	run(f, 300 * MS);
	assert_string_equal(seat_state(&f->seat), "dialling");
	listens(f);
	fd = accepted(f, 2 * SEAT_DIAL_MAX_NS);
	assert_true(fd >= 0);
	/* A frontend that asks is answered. */
	{
		struct frontend fe = { .sock = fd, .mem_fd = -1 };
		uint64_t features;

		assert_int_equal(frontend_send(&fe, VHOST_USER_GET_FEATURES, VU_FLAG_VERSION, NULL,
					       0, NULL, 0),
				 0);
		run(f, 20 * MS);
		assert_int_equal(recv(fd, &features, 1, MSG_PEEK | MSG_DONTWAIT), 1);
	}
}

/* It restarts, as often as it likes. */
static void comes_back_for_ever(void **state)
{
	struct fixture *f = *state;

	listens(f);
	assert_int_equal(seat_dial(&f->seat, f->path), 0);
	for (unsigned i = 0; i < 5; i++) {
		int fd = accepted(f, 5000 * MS);

		assert_true(fd >= 0);
		assert_int_equal(f->n_sessions, i + 1);
		if (i == 2)
			fd_drop(&f->listen_fd); /* gone altogether, for a while */
		close(fd);
		run(f, i == 2 ? 200 * MS : 10 * MS);
		assert_string_equal(seat_state(&f->seat), "dialling");
		if (i == 2)
			listens(f);
	}
}

/* One that breaks the rules is not called again at once. */
static void keeps_its_distance(void **state)
{
	struct fixture *f = *state;
	int fd, again;

	listens(f);
	assert_int_equal(seat_dial(&f->seat, f->path), 0);
	fd = accepted(f, 5000 * MS);
	assert_int_equal(send(fd, "xxxxxxxxxxxx", 12, MSG_NOSIGNAL), 12);
	run(f, 20 * MS);
	assert_int_equal(f->n_closed, 1);
	close(fd);
	again = accepted(f, SEAT_BACKOFF_NS - 300 * MS);
	assert_int_equal(again, -1);
	again = accepted(f, 5000 * MS);
	assert_true(again >= 0);
	close(again);
}

/* It accepts nobody and its backlog is full: the loop does not wait for it. */
static void does_not_wait(void **state)
{
	struct fixture *f = *state;
	struct frontend other;
	uint64_t begun;

	listens(f);
	assert_int_equal(listen(f->listen_fd, 0), 0);
	assert_int_equal(frontend_connect(&other, f->path), 0); /* now it is full */
	begun = loop_now_ns();
	assert_int_equal(seat_dial(&f->seat, f->path), 0);
	assert_int_equal(loop_once(&f->loop, 0), 0);
	assert_true(loop_now_ns() - begun < 1000 * MS);
	assert_string_equal(seat_state(&f->seat), "dialling");
	frontend_done(&other);
}

static void bad_paths(void **state)
{
	struct fixture *f = *state;
	char longest[200];

	memset(longest, 'x', sizeof(longest));
	longest[199] = '\0';
	assert_int_equal(seat_dial(&f->seat, longest), -ENAMETOOLONG);
	assert_string_equal(seat_state(&f->seat), "closed");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(finds_one_that_waits), CASE(finds_one_that_comes_later),
		CASE(comes_back_for_ever),  CASE(keeps_its_distance),
		CASE(does_not_wait),        CASE(bad_paths),
	};

	return cmocka_run_group_tests_name("seat", tests, NULL, NULL);
}
