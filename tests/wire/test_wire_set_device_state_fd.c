/* SPDX-License-Identifier: MIT */
/* SET_DEVICE_STATE_FD: the device's state through a pipe, and what is no state. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "wire.h"

#define HEAD 20

static const struct proto_device_state save = { VU_STATE_SAVE, VU_STATE_STOPPED };
static const struct proto_device_state load = { VU_STATE_LOAD, VU_STATE_STOPPED };

static uint64_t ask(struct wire *w, const struct proto_device_state *what, int fd)
{
	struct proto_header hdr;
	uint64_t answer = 0;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_DEVICE_STATE_FD, VU_FLAG_VERSION,
				       what, sizeof(*what), &fd, 1),
			 0);
	assert_int_equal(frontend_recv(&w->fe, &hdr, &answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(hdr.request, VHOST_USER_SET_DEVICE_STATE_FD);
	assert_true(frontend_silent(&w->fe));
	return answer;
}

static uint64_t check(struct wire *w)
{
	uint64_t result;

	assert_int_equal(frontend_get_u64(&w->fe, VHOST_USER_CHECK_DEVICE_STATE, &result), 0);
	return result;
}

static void make_pipe(int ret[2])
{
	signal(SIGPIPE, SIG_IGN); /* as in backend_main() */
	assert_int_equal(pipe2(ret, O_CLOEXEC), 0);
}

/* Save: all bytes, until the end of the file. */
static size_t saved(struct wire *w, uint8_t *buf, size_t max)
{
	size_t size = 0;
	ssize_t n;
	int p[2];

	make_pipe(p);
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD);
	close(p[1]);
	frontend_pump(&w->fe);
	while ((n = read(p[0], buf + size, max - size)) > 0) {
		size += (size_t)n;
		frontend_pump(&w->fe);
	}
	assert_int_equal(n, 0);
	close(p[0]);
	assert_int_equal(check(w), 0);
	return size;
}

/* Load these bytes.  Returns what CHECK_DEVICE_STATE says. */
static uint64_t loaded(struct wire *w, const uint8_t *buf, size_t size)
{
	int p[2];

	make_pipe(p);
	assert_int_equal(ask(w, &load, p[0]), VU_STATE_NOFD);
	close(p[0]);
	for (size_t at = 0; at < size; frontend_pump(&w->fe)) {
		ssize_t n = write(p[1], buf + at, min(size - at, (size_t)3000));

		if (n < 0) /* it wants no more of this */
			break;
		at += (size_t)n;
	}
	close(p[1]);
	return check(w);
}

static void give_state(struct wire *w, size_t size)
{
	for (size_t i = 0; i < size; i++)
		w->saved[i] = (uint8_t)(i * 7 + size);
	w->saved_size = size;
}

static void there_and_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 4096, VU_STATE_MAX };
	static uint8_t buf[HEAD + VU_STATE_MAX + 1], before[VU_STATE_MAX];
	struct wire *w = *state;

	for (unsigned i = 0; i < array_size(sizes); i++) {
		give_state(w, sizes[i]);
		memcpy(before, w->saved, sizes[i]);
		assert_int_equal(saved(w, buf, sizeof(buf)), HEAD + sizes[i]);
		memset(w->saved, 0, sizeof(w->saved));
		w->saved_size = 99;
		assert_int_equal(loaded(w, buf, HEAD + sizes[i]), 0);
		assert_int_equal(w->saved_size, sizes[i]);
		assert_memory_equal(w->saved, before, sizes[i]);
		assert_int_equal(w->n_load, i + 1);
	}
}

/* What is written is told in test text, since other versions read it. */
static void layout(void **state)
{
	static const uint8_t want[] = "u-st\1\0\0\0wire\0\0\0\0\3\0\0\0abc";
	struct wire *w = *state;
	uint8_t buf[64];

	memcpy(w->saved, "abc", 3);
	w->saved_size = 3;
	assert_int_equal(saved(w, buf, sizeof(buf)), HEAD + 3);
	assert_memory_equal(buf, want, HEAD + 3);
}

/* One byte wrong in the head, a byte too few or too many, nothing at all: the device is not asked. */
static void not_a_state(void **state)
{
	static uint8_t buf[HEAD + 100 + 1], bad[HEAD + 100 + 1];
	struct wire *w = *state;

	give_state(w, 100);
	assert_int_equal(saved(w, buf, sizeof(buf)), HEAD + 100);
	for (unsigned i = 0; i < HEAD; i++) {
		memcpy(bad, buf, sizeof(bad));
		bad[i] ^= 0x40;
		assert_int_equal(loaded(w, bad, HEAD + 100), 1);
	}
	assert_int_equal(loaded(w, buf, HEAD + 99), 1);
	assert_int_equal(loaded(w, buf, HEAD + 101), 1);
	assert_int_equal(loaded(w, buf, HEAD - 1), 1);
	assert_int_equal(loaded(w, buf, 0), 1);
	assert_int_equal(w->n_load, 0);
	wire_expect_alive(w);
}

static void endless(void **state)
{
	static const uint8_t zeros[HEAD + VU_STATE_MAX + 1];
	struct wire *w = *state;

	assert_int_equal(loaded(w, zeros, sizeof(zeros)), 1);
	assert_int_equal(w->n_load, 0);
	wire_expect_alive(w);
}

static void refused_by_the_device(void **state)
{
	struct wire *w = *state;
	uint8_t buf[HEAD + 8];
	int p[2];

	give_state(w, 8);
	assert_int_equal(saved(w, buf, sizeof(buf)), sizeof(buf));
	w->load_result = -EINVAL;
	assert_int_equal(loaded(w, buf, sizeof(buf)), 1);
	w->save_result = -ENOMEM;
	make_pipe(p);
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD | 1);
	close(p[0]);
	close(p[1]);
	wire_expect_alive(w);
}

/* The other end never reads, never writes, or goes away. */
static void half_done(void **state)
{
	struct wire *w = *state;
	static uint8_t full[1 << 20];
	unsigned before = count_fds();
	int p[2];

	give_state(w, VU_STATE_MAX);
	make_pipe(p);
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	while (write(p[1], full, sizeof(full)) > 0)
		;
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD);
	assert_int_equal(check(w), 1);
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD);
	close(p[0]);
	close(p[1]);
	frontend_pump(&w->fe);
	assert_int_equal(check(w), 1);
	make_pipe(p);
	assert_int_equal(ask(w, &load, p[0]), VU_STATE_NOFD);
	assert_int_equal(check(w), 1); /* the writer has not closed its end */
	close(p[0]);
	close(p[1]);
	assert_int_equal(count_fds(), before);
	wire_expect_alive(w);
}

/* Each ends the one before. */
static void repeated(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();
	int p[2];

	make_pipe(p);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ask(w, &load, p[0]), VU_STATE_NOFD);
	assert_int_equal(count_fds(), before + 3);
	close(p[0]);
	close(p[1]);
	assert_int_equal(check(w), 1);
	assert_int_equal(count_fds(), before);
}

/* The session ends in the middle of it. */
static void interrupted(void **state)
{
	struct wire *w = *state;
	int p[2];

	make_pipe(p);
	assert_int_equal(ask(w, &load, p[0]), VU_STATE_NOFD);
	close(p[0]);
	wire_restart(w);
	assert_int_equal(write(p[1], "x", 1), -1);
	close(p[1]);
}

static void no_pipe(void **state)
{
	struct wire *w = *state;
	auto_fd int mem = memfd_create("pipe:[1]", MFD_CLOEXEC);
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned before = count_fds();

	assert_int_equal(ask(w, &save, mem), VU_STATE_NOFD | 1);
	assert_int_equal(ask(w, &load, null), VU_STATE_NOFD | 1);
	assert_int_equal(ask(w, &load, w->fe.sock), VU_STATE_NOFD | 1);
	assert_int_equal(count_fds(), before);
	wire_expect_alive(w);
}

static void directions_and_phases(void **state)
{
	static const struct proto_device_state bad[] = {
		{ 2, 0 }, { UINT32_MAX, 0 }, { VU_STATE_SAVE, 1 }, { VU_STATE_LOAD, UINT32_MAX }
	};
	struct wire *w = *state;
	int p[2];

	make_pipe(p);
	for (unsigned i = 0; i < array_size(bad); i++)
		assert_int_equal(ask(w, &bad[i], p[1]), VU_STATE_NOFD | 1);
	close(p[0]);
	close(p[1]);
	wire_expect_alive(w);
}

static void not_while_running(void **state)
{
	struct wire *w = *state;
	int p[2];

	make_pipe(p);
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD | 1);
	assert_int_equal(ask(w, &load, p[0]), VU_STATE_NOFD | 1);
	close(p[0]);
	close(p[1]);
	assert_int_equal(w->queue[0].n_stop, 0);
}

static void not_negotiated(void **state)
{
	struct wire *w = *state;
	int p[2];

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, 8), 0);
	make_pipe(p);
	assert_int_equal(ask(w, &save, p[1]), VU_STATE_NOFD | 1);
	close(p[0]);
	close(p[1]);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_SET_DEVICE_STATE_FD, &save, sizeof(save), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(there_and_back, acks),
		WIRE_TEST(there_and_back, negotiated),
		WIRE_TEST(layout, acks),
		WIRE_TEST(not_a_state, acks),
		WIRE_TEST(endless, acks),
		WIRE_TEST(refused_by_the_device, acks),
		WIRE_TEST(half_done, acks),
		WIRE_TEST(repeated, acks),
		WIRE_TEST(interrupted, acks),
		WIRE_TEST(no_pipe, acks),
		WIRE_TEST(directions_and_phases, acks),
		WIRE_TEST(not_while_running, running),
		WIRE_TEST(not_negotiated, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_DEVICE_STATE_FD", tests, NULL, NULL);
}
