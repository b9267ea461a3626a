/* SPDX-License-Identifier: MIT */
/* The ivshmem server through its socket: the order of what is said, and peers that die, sleep or speak. */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "ivshmem.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "tmp.h"
#include "wire.h"

#define SIZE    (4u << 20)
#define VECTORS 2

struct place {
	struct loop loop;
	struct tmp_dir dir;
	char path[128];
	int fd;
	unsigned n_fds;
	struct ivshmem *server;
};

static void turn(struct place *p)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(loop_once(&p->loop, 0), 0);
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct ivshmem_config config = { .size = SIZE, .vectors = VECTORS, .label = "test" };

	assert_non_null(p);
	p->n_fds = count_fds();
	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&p->dir);
	config.path = tmp_path(&p->dir, "ivshmem", p->path, sizeof(p->path));
	assert_int_equal(loop_init(&p->loop), 0);
	p->fd = memfd_create("arena", MFD_CLOEXEC);
	assert_int_equal(ftruncate(p->fd, SIZE), 0);
	config.memory_fd = p->fd;
	assert_int_equal(ivshmem_new(&p->loop, &config, &p->server), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	ivshmem_close(p->server);
	turn(p);
	assert_int_equal(access(p->path, F_OK), -1);
	loop_done(&p->loop);
	close(p->fd);
	tmp_dir_done(&p->dir);
	assert_int_equal(count_fds(), p->n_fds);
	free(p);
	return 0;
}

/* ---- a peer ------------------------------------------------------------------ */

static int enter_quietly(struct place *p)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, p->path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static int enter(struct place *p)
{
	int fd = enter_quietly(p);

	turn(p);
	return fd;
}

/* The next message and its descriptor, or -1; false: there is none. */
static bool next(int peer, int64_t *ret, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	uint64_t wire;
	struct iovec iov = { &wire, sizeof(wire) };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };
	ssize_t n = recvmsg(peer, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return false;
	assert_int_equal(n, sizeof(wire));
	*ret = (int64_t)le64toh(wire);
	*ret_fd = -1;
	if (CMSG_FIRSTHDR(&mh))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(int));
	return true;
}

static void expect(int peer, int64_t number)
{
	int64_t got;
	int fd;

	assert_true(next(peer, &got, &fd));
	assert_int_equal(got, number);
	assert_int_equal(fd, -1);
}

/* The same with a descriptor, which is returned. */
static int expect_fd(int peer, int64_t number)
{
	int64_t got;
	int fd;

	assert_true(next(peer, &got, &fd));
	assert_int_equal(got, number);
	assert_true(fd >= 0);
	return fd;
}

static void expect_nothing(int peer)
{
	int64_t got;
	int fd;

	assert_false(next(peer, &got, &fd));
	assert_int_equal(errno, EAGAIN);
}

static void expect_come(int peer, int64_t id, int fds[VECTORS])
{
	for (unsigned i = 0; i < VECTORS; i++) {
		int fd = expect_fd(peer, id);

		if (fds)
			fds[i] = fd;
		else
			close(fd);
	}
}

static void expect_welcome(int peer, int64_t id)
{
	expect(peer, 0);
	expect(peer, id);
	close(expect_fd(peer, -1));
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void close_all(int fds[VECTORS])
{
	for (unsigned i = 0; i < VECTORS; i++)
		close(fds[i]);
}

/* ---- what is said --------------------------------------------------------------- */

static void alone(void **state)
{
	struct place *p = *state;
	struct stat ours, theirs;
	int peer = enter(p), memory;

	expect(peer, 0);
	expect(peer, 0);
	memory = expect_fd(peer, -1);
	assert_int_equal(fstat(memory, &theirs), 0);
	assert_int_equal(fstat(p->fd, &ours), 0);
	assert_int_equal(theirs.st_ino, ours.st_ino);
	close(memory);
	expect_come(peer, 0, NULL);
	expect_nothing(peer);
	assert_int_equal(ivshmem_stats(p->server)->peers, 1);
	close(peer);
	turn(p);
	assert_int_equal(ivshmem_stats(p->server)->peers, 0);
}

/* Each rings the other, by the vector that it means, and itself. */
static void doorbells(void **state)
{
	struct place *p = *state;
	int a = enter(p), b = enter(p);
	int a_at_a[VECTORS], a_at_b[VECTORS], b_at_a[VECTORS], b_at_b[VECTORS];
	const uint64_t one = 1;

	expect_welcome(a, 0);
	expect_come(a, 0, a_at_a);
	expect_come(a, 1, b_at_a);
	expect_nothing(a);
	expect_welcome(b, 1);
	expect_come(b, 0, a_at_b);
	expect_come(b, 1, b_at_b);
	expect_nothing(b);

	assert_int_equal(write(b_at_a[1], &one, sizeof(one)), sizeof(one));
	assert_int_equal(count(b_at_b[0]), 0);
	assert_int_equal(count(b_at_b[1]), 1);
	assert_int_equal(write(a_at_b[0], &one, sizeof(one)), sizeof(one));
	assert_int_equal(count(a_at_a[0]), 1);
	assert_int_equal(count(a_at_a[1]), 0);
	close_all(a_at_a);
	close_all(a_at_b);
	close_all(b_at_a);
	close_all(b_at_b);
	close(a);
	close(b);
}

static void comings_and_goings(void **state)
{
	struct place *p = *state;
	int a = enter(p), b = enter(p), c;

	expect_welcome(a, 0);
	expect_come(a, 0, NULL);
	expect_come(a, 1, NULL);
	close(b);
	turn(p);
	expect(a, 1);
	expect_nothing(a);
	c = enter(p); /* 1 is not given again so soon */
	expect_come(a, 2, NULL);
	expect_welcome(c, 2);
	expect_come(c, 0, NULL);
	expect_come(c, 2, NULL);
	expect_nothing(c);
	close(a);
	turn(p);
	expect(c, 0);
	close(c);
}

/* Who came and went while a peer slept: it hears nothing of that, and what it hears is true. */
static void sleeper(void **state)
{
	struct place *p = *state;
	int a = enter(p), others[8];
	int64_t id;
	unsigned known[1024] = { 0 };
	int fd;

	expect_welcome(a, 0);
	expect_come(a, 0, NULL);
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < array_size(others); i++)
			others[i] = enter(p);
		for (unsigned i = 0; i < array_size(others); i++) {
			close(others[i]);
			turn(p);
		}
	}
	while (next(a, &id, &fd)) {
		assert_in_range(id, 1, 60 * array_size(others));
		if (fd >= 0) {
			assert_true(known[id] < VECTORS);
			known[id]++;
			close(fd);
		} else {
			assert_true(known[id] > 0); /* nobody goes who had not come */
			known[id] = 0;
		}
		turn(p);
	}
	for (unsigned i = 0; i < array_size(known); i++)
		assert_int_equal(known[i], 0);
	close(a);
}

/* ---- peers that are none --------------------------------------------------------- */

static void who_speaks_is_dropped(void **state)
{
	struct place *p = *state;
	int a = enter(p), b = enter(p);
	char byte;

	expect_welcome(a, 0);
	expect_come(a, 0, NULL);
	expect_come(a, 1, NULL);
	assert_int_equal(send(b, "x", 1, 0), 1);
	turn(p);
	expect(a, 1);
	assert_int_equal(ivshmem_stats(p->server)->dropped, 1);
	assert_int_equal(ivshmem_stats(p->server)->peers, 1);
	while (recv(b, &byte, 1, 0) > 0)
		;
	close(a);
	close(b);
}

/* It reads nothing at all, and hangs up in the middle: nobody waits, nothing leaks. */
static void deaf(void **state)
{
	struct place *p = *state;
	int peers[64];

	for (unsigned i = 0; i < array_size(peers); i++)
		peers[i] = enter(p);
	assert_int_equal(ivshmem_stats(p->server)->peers, array_size(peers));
	for (unsigned i = 0; i < array_size(peers); i += 2)
		close(peers[i]);
	turn(p);
	assert_int_equal(ivshmem_stats(p->server)->peers, array_size(peers) / 2);
	for (unsigned i = 1; i < array_size(peers); i += 2)
		close(peers[i]);
	turn(p);
	assert_int_equal(ivshmem_stats(p->server)->peers, 0);
}

static bool hung_up(int peer)
{
	struct pollfd poll_fd = { .fd = peer, .events = POLLRDHUP };

	return poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & (POLLRDHUP | POLLHUP);
}

static void one_too_many(void **state)
{
	struct place *p = *state;
	int peers[IVSHMEM_PEERS_MAX], more;

	for (unsigned i = 0; i < array_size(peers); i++)
		peers[i] = enter(p);
	assert_int_equal(ivshmem_stats(p->server)->peers, IVSHMEM_PEERS_MAX);
	assert_false(hung_up(peers[IVSHMEM_PEERS_MAX - 1]));
	more = enter(p);
	assert_true(hung_up(more));
	assert_int_equal(ivshmem_stats(p->server)->refused, 1);
	close(more);
	close(peers[0]);
	turn(p);
	more = enter(p);
	assert_false(hung_up(more));
	close(more);
	for (unsigned i = 1; i < array_size(peers); i++)
		close(peers[i]);
	turn(p);
}

/* teardown() closes the server with peers in it. */
static void closed_with_peers(void **state)
{
	struct place *p = *state;
	int a = enter(p), b = enter_quietly(p);

	ivshmem_close(p->server);
	p->server = NULL;
	turn(p);
	assert_true(hung_up(a));
	close(a);
	close(b);
}

static void limits(void **state)
{
	struct place *p = *state;
	struct ivshmem_config c = { .path = "/nonexistent/ivshmem",
				    .memory_fd = p->fd,
				    .size = SIZE };
	struct ivshmem *server = NULL;

	assert_int_equal(ivshmem_new(&p->loop, &c, &server), -EINVAL); /* no vector */
	c.vectors = IVSHMEM_VECTORS_MAX + 1;
	assert_int_equal(ivshmem_new(&p->loop, &c, &server), -EINVAL);
	c.vectors = IVSHMEM_VECTORS_MAX;
	assert_int_equal(ivshmem_new(&p->loop, &c, &server), -ENOENT);
	c.size = 6u << 20;
	assert_int_equal(ivshmem_new(&p->loop, &c, &server), -EINVAL);
	c.size = SIZE;
	c.path = p->path;
	assert_int_equal(ivshmem_new(&p->loop, &c, &server), -EADDRINUSE);
	assert_null(server);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(alone),
		TEST(doorbells),
		TEST(comings_and_goings),
		TEST(sleeper),
		TEST(who_speaks_is_dropped),
		TEST(deaf),
		TEST(one_too_many),
		TEST(closed_with_peers),
		TEST(limits),
	};

	struct rlimit files;
	int fd;

	/* As backend_main() does: what is on its way to peers that sleep counts, too. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)listen_accept(-1, &fd); /* it keeps one descriptor for ever, from its first call on */
	return cmocka_run_group_tests_name("ivshmem", tests, NULL, NULL);
}
