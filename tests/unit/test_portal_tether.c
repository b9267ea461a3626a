/* SPDX-License-Identifier: MIT */
/* A client's connection to a daemon that does not keep to the protocol: the client says so, or waits for a better one; it takes
 * nothing for granted, keeps no descriptor, and never hangs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "fds.h"
#include "portal.h"
#include "tether.h"
#include "tmp.h"

#define FRAMES 40
#define OWNER  portal_owner(3, 7)

/* What the daemon does with a connection: read a frame, then say all of this, one answer for each frame read if `each`. */
struct script {
	struct portal_frame frame[FRAMES];
	unsigned n;
	int fds[4];
	unsigned n_fds;
	size_t cut;   /* bytes to leave away at the end */
	bool hang_up; /* then, instead of waiting for the client to */
	bool each;
};

static struct tmp_dir dir;
static char where[128];
static int listener;
static pthread_t thread;
static struct script script;

static void say(int sock, const void *bytes, size_t len)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(script.fds))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (script.n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(script.n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(script.n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), script.fds, script.n_fds * sizeof(int));
		script.n_fds = 0;
	}
	(void)sendmsg(sock, &msg, MSG_NOSIGNAL);
}

static bool hear(int sock)
{
	struct portal_frame frame;

	return recv(sock, &frame, sizeof(frame), MSG_WAITALL) == sizeof(frame);
}

static void *play(void *arg)
{
	int sock = accept(listener, NULL, NULL);
	size_t len = script.n * sizeof(script.frame[0]) - script.cut;

	if (sock < 0)
		return NULL;
	for (unsigned i = 0; script.each && i < script.n; i++) {
		if (i == 1)
			(void)hear(sock); /* NOTIFY has no answer */
		if (hear(sock))
			say(sock, &script.frame[i], sizeof(script.frame[i]));
	}
	if (!script.each && hear(sock) && len)
		say(sock, script.frame, len);
	while (!script.hang_up && hear(sock))
		;
	close(sock);
	return NULL;
}

static int set_up(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	tmp_dir_init(&dir);
	tmp_path(&dir, "socket", address.sun_path, sizeof(address.sun_path));
	(void)snprintf(where, sizeof(where), "unix:%s", address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	memset(&script, 0, sizeof(script));
	script.n = 1;
	script.frame[0] = (struct portal_frame){
		.type = le32_of(PORTAL_HELLO),
		.seq = le32_of(1),
		.args = { le64_of(OWNER), le64_of(1), le64_of(PORTAL_READ_WRITE), le64_of(8) },
	};
	return 0;
}

static int tear_down(void **state)
{
	close(listener);
	tmp_dir_done(&dir);
	return 0;
}

static unsigned n_over;

static void count_over(void *ctx)
{
	n_over++;
}

static int open_tether(unsigned timeout_ms, struct tether_grant *grant, struct tether **ret_tether)
{
	const struct tether_request request = {
		.where = where,
		.name = "a name that is longer than any client's name may be",
		.timeout_ms = timeout_ms,
		.want_fd = true,
		.over = count_over,
	};

	n_over = 0;
	assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
	return tether_open(&request, grant, ret_tether);
}

static void *open_later(void *arg)
{
	const struct tether_request request = { .where = where, .name = "x", .timeout_ms = 10000 };
	struct tether_grant grant;

	*(struct tether **)arg = NULL;
	(void)tether_open(&request, &grant, arg);
	return NULL;
}

/* Of attaching; -EEXIST: it worked. */
static int result(unsigned timeout_ms)
{
	struct tether_grant grant = { .fd = -1 };
	struct tether *t = NULL;
	unsigned before = count_fds();
	int r = open_tether(timeout_ms, &grant, &t);

	if (r == 0) {
		tether_close(t);
		if (grant.fd >= 0)
			close(grant.fd);
		r = -EEXIST;
	}
	pthread_join(thread, NULL);
	assert_int_equal(count_fds(), before);
	return r;
}

static void test_sound(void **state)
{
	assert_int_equal(result(5000), -EEXIST);
}

static void test_silence(void **state)
{
	uint64_t begin = clock_ns();

	script.n = 0;
	assert_int_equal(result(100), -ETIMEDOUT);
	assert_true(clock_ns() - begin >= 100 * NS_PER_MS);
}

static void test_hangs_up(void **state)
{
	script.n = 0;
	script.hang_up = true;
	assert_int_equal(result(5000), -ECONNRESET);
}

static void test_half_a_frame(void **state)
{
	script.cut = 1;
	assert_int_equal(result(100), -ETIMEDOUT);
	script.hang_up = true;
	assert_int_equal(result(5000), -ECONNRESET);
}

static void test_wrong_answers(void **state)
{
	struct portal_frame *hello = &script.frame[0];
	const struct portal_frame sound = *hello;

	hello->seq = le32_of(2);
	assert_int_equal(result(5000), -EPROTO);
	*hello = sound;
	hello->type = le32_of(PORTAL_STAT);
	assert_int_equal(result(5000), -EPROTO);
	*hello = sound;
	hello->status = le32_of(5);
	assert_int_equal(result(5000), -EPROTO);
	hello->status = le32_of((uint32_t)-EACCES);
	assert_int_equal(result(5000), -EACCES);
	hello->status = le32_of((uint32_t)-EPROTONOSUPPORT);
	assert_int_equal(result(5000), -EOPNOTSUPP);
	hello->status = le32_of((uint32_t)-ESTALE); /* there was nothing to come back to */
	assert_int_equal(result(5000), -ESTALE);
	*hello = sound;
	hello->args[0] = le64_of(portal_owner(PORTAL_LEASES, 1));
	assert_int_equal(result(5000), -EPROTO);
	hello->args[0] = le64_of(portal_owner(1, 0));
	assert_int_equal(result(5000), -EPROTO);
}

static void test_revoked_at_once(void **state)
{
	script.frame[0] = (struct portal_frame){ .type = le32_of(PORTAL_REVOKED) };
	assert_int_equal(result(5000), -ESTALE);
}

/* The first descriptor is the arena, if there is to be one at all; no other is kept. */
static void test_descriptors(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		script.fds[i] = listener;
	script.n_fds = 4;
	assert_int_equal(result(5000), -EEXIST);
}

static int attach_with(int fd)
{
	struct portal *p = NULL;
	unsigned before = count_fds();
	int r;

	script.fds[0] = fd;
	script.n_fds = fd >= 0;
	assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
	r = portal_attach(where, NULL, &p);
	assert_null(p);
	pthread_join(thread, NULL);
	assert_int_equal(count_fds(), before);
	return r;
}

static void test_no_arena(void **state)
{
	int memory = memfd_create("nothing", MFD_CLOEXEC);

	assert_int_equal(attach_with(-1), -EPROTO);
	assert_int_equal(attach_with(listener), -ENODEV);
	assert_int_equal(attach_with(memory), -EPROTO);
	assert_int_equal(ftruncate(memory, 8 << 20), 0);
	assert_int_equal(attach_with(memory), -EPROTO);
	close(memory);
}

/* The numbers of an answer are checked by who asked. */
static void test_absurd_extents(void **state)
{
	static const uint64_t absurd[] = { 0, 1, 9, 10, UINT32_MAX, UINT64_MAX };
	struct tether_grant grant;
	struct tether *t;
	uint32_t first = 77;

	script.each = true;
	for (unsigned i = 0; i < 7; i++)
		script.frame[1 + i] = (struct portal_frame){
			.type = le32_of(PORTAL_EXTENT_GET),
			.seq = le32_of(2 + i),
			.args = { le64_of(i < 6 ? absurd[i] : 8) },
		};
	script.n = 8;
	assert_int_equal(open_tether(5000, &grant, &t), 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(tether_extent_get(t, 10, 2, PORTAL_EXTENT_HUGE, &first), -EPROTO);
	assert_int_equal(first, 77);
	assert_int_equal(tether_extent_get(t, 10, 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(first, 8);
	tether_close(t);
	pthread_join(thread, NULL);
}

/* Answers that nobody asked for, and notices nobody knows, by the dozen. */
static void test_chatter(void **state)
{
	struct tether_grant grant;
	struct tether *t;

	script.n = FRAMES;
	for (unsigned i = 1; i < FRAMES; i++)
		script.frame[i] = (struct portal_frame){
			.type = le32_of(i % 3 ? PORTAL_RANG : 0xffff),
			.seq = le32_of(i % 2 ? 0 : 1000 + i),
		};
	assert_int_equal(open_tether(5000, &grant, &t), 0);
	while (tether_bells(t) < 21) /* the connection, and notices of odd number */
		assert_int_equal(tether_wait(t, tether_bells(t), clock_ns() + 5 * NS_PER_SEC), 0);
	assert_true(tether_dispatch(t) > 0);
	assert_int_equal(tether_dispatch(t), 0);
	tether_close(t);
	pthread_join(thread, NULL);
}

/* Who comes back to another lease than his own has none. */
static void test_another_lease(void **state)
{
	struct tether_grant grant;
	struct tether *t;

	script.hang_up = true;
	assert_int_equal(open_tether(5000, &grant, &t), 0);
	pthread_join(thread, NULL);
	while (tether_dispatch(t) >= 0)
		;
	script.frame[0].args[0] = le64_of(portal_owner(3, 8));
	script.frame[0].seq = le32_of(2);
	script.hang_up = false;
	assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
	while (tether_wait(t, tether_bells(t), clock_ns() + 5 * NS_PER_SEC) != -ESTALE)
		;
	assert_int_equal(n_over, 1);
	assert_int_equal(tether_dispatch(t), -ESTALE);
	tether_close(t);
	pthread_join(thread, NULL);
}

/* A listener whose queue is full for the moment is tried again, soon. */
static void test_full_queue(void **state)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);
	struct timespec moment = { .tv_nsec = 100 * 1000000 };
	uint64_t begin = clock_ns();
	int waiting[32], n = 0;
	struct tether *t;
	pthread_t other;

	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	for (; n < 32; n++) {
		waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(waiting[n], (struct sockaddr *)&address, size) < 0)
			break;
	}
	assert_int_equal(errno, EAGAIN);
	assert_in_range(n, 1, 31);
	assert_int_equal(pthread_create(&other, NULL, open_later, &t), 0);
	nanosleep(&moment, NULL);
	for (int i = 0; i <= n; i++)
		close(waiting[i]);
	while (n-- > 0)
		close(accept(listener, NULL, NULL));
	assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
	pthread_join(other, NULL);
	assert_non_null(t);
	assert_true(clock_ns() - begin < 3 * NS_PER_SEC);
	tether_close(t);
	pthread_join(thread, NULL);
}

/* Answers a request for extents when nobody waits any more, and hears what comes next. */
static void *answer_late(void *arg)
{
	struct portal_frame *next = arg;
	struct portal_frame grant = { .type = le32_of(PORTAL_EXTENT_GET), .args = { le64_of(5) } };
	struct timespec late = { .tv_nsec = 200 * 1000000 };
	int sock = accept(listener, NULL, NULL);
	struct portal_frame frame;

	if (!hear(sock))
		return NULL;
	say(sock, script.frame, sizeof(script.frame[0]));
	(void)hear(sock); /* NOTIFY */
	if (recv(sock, &frame, sizeof(frame), MSG_WAITALL) == sizeof(frame)) {
		grant.seq = frame.seq;
		nanosleep(&late, NULL);
		say(sock, &grant, sizeof(grant));
		say(sock, &grant, sizeof(grant)); /* once is enough */
	}
	if (recv(sock, next, sizeof(*next), MSG_WAITALL) != sizeof(*next))
		memset(next, 0, sizeof(*next));
	while (recv(sock, &frame, sizeof(frame), MSG_WAITALL) == sizeof(frame))
		if (le32_get(frame.type) != PORTAL_BYE)
			next->flags = le32_of(1); /* another one */
	close(sock);
	return NULL;
}

static void test_late_grant(void **state)
{
	struct tether_request request = { .where = where, .name = "x", .timeout_ms = 100 };
	struct portal_frame put = { 0 };
	struct tether_grant grant;
	struct tether *t;
	uint32_t first;

	assert_int_equal(pthread_create(&thread, NULL, answer_late, &put), 0);
	assert_int_equal(tether_open(&request, &grant, &t), 0);
	assert_int_equal(tether_extent_get(t, 10, 3, PORTAL_EXTENT_HUGE, &first), -ETIMEDOUT);
	(void)tether_wait(t, tether_bells(t), clock_ns() + 400 * NS_PER_MS);
	tether_close(t);
	pthread_join(thread, NULL);
	assert_int_equal(le32_get(put.type), PORTAL_EXTENT_PUT);
	assert_int_equal(le32_get(put.seq), 0);
	assert_int_equal(le32_get(put.flags), 0);
	assert_int_equal(le64_get(put.args[0]), 5);
	assert_int_equal(le64_get(put.args[1]), 3);
}

/* Who goes waits once for a daemon that does not answer, however much there is to give back. */
static void test_hurry(void **state)
{
	struct tether_grant grant;
	struct tether *t;
	uint64_t begin;

	assert_int_equal(open_tether(300, &grant, &t), 0);
	begin = clock_ns();
	tether_hurry(t, 300);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(tether_extent_put(t, 2 + i, 1), -ETIMEDOUT);
	assert_true(clock_ns() - begin < 3 * NS_PER_SEC);
	tether_close(t);
	pthread_join(thread, NULL);
}

int main(void)
{
#define TETHER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TETHER_TEST(test_sound),          TETHER_TEST(test_silence),
		TETHER_TEST(test_hangs_up),       TETHER_TEST(test_half_a_frame),
		TETHER_TEST(test_wrong_answers),  TETHER_TEST(test_revoked_at_once),
		TETHER_TEST(test_descriptors),    TETHER_TEST(test_no_arena),
		TETHER_TEST(test_absurd_extents), TETHER_TEST(test_chatter),
		TETHER_TEST(test_another_lease),  TETHER_TEST(test_full_queue),
		TETHER_TEST(test_late_grant),     TETHER_TEST(test_hurry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
