/* SPDX-License-Identifier: MIT */
/* Bytes and a descriptor through a socket that takes all of it, a part, or nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "scm.h"

#define LARGE (1u << 20)

static int sock[2], event; /* we send on the first */
static uint8_t data[LARGE], got[LARGE];

static int setup(void **state)
{
	for (unsigned i = 0; i < LARGE; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	event = eventfd(0, EFD_CLOEXEC);
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock);
}

static int teardown(void **state)
{
	close(sock[0]);
	close(sock[1]);
	close(event);
	return 0;
}

/* What there is, at most `size` bytes; with them a descriptor, or -1.  -1: nothing. */
static ssize_t receive(void *to, size_t size, int *ret_fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec iov = { to, size };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock[1], &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&mh);

	*ret_fd = -1;
	if (!cmsg)
		return n;
	assert_int_equal(cmsg->cmsg_type, SCM_RIGHTS);
	assert_int_equal(cmsg->cmsg_len, CMSG_LEN(sizeof(int)));
	memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(int));
	return n;
}

/* It is another descriptor of the same file: what is written to one is read from the other. */
static void expect_event(int fd)
{
	eventfd_t value = 0;

	assert_true(fd >= 0);
	assert_int_not_equal(fd, event);
	assert_int_equal(eventfd_write(fd, 5), 0);
	assert_int_equal(eventfd_read(event, &value), 0);
	assert_int_equal(value, 5);
	close(fd);
}

static void test_whole(void **state)
{
	const struct iovec iov[] = { { data, 3 }, { NULL, 0 }, { data + 3, 5 } };
	int fd;

	assert_int_equal(scm_send(sock[0], iov, 3, event), 8);
	assert_int_equal(receive(got, sizeof(got), &fd), 8);
	assert_memory_equal(got, data, 8);
	expect_event(fd);
	assert_int_equal(scm_send(sock[0], iov, 1, -1), 3);
	assert_int_equal(receive(got, sizeof(got), &fd), 3);
	assert_int_equal(fd, -1);
}

/* Read until there is nothing more, without a descriptor. */
static size_t read_plain(size_t at)
{
	ssize_t n;
	int fd;

	while ((n = receive(got + at, sizeof(got) - at, &fd)) > 0) {
		assert_int_equal(fd, -1);
		at += (size_t)n;
	}
	return at;
}

/* The descriptor goes with the first byte, and not again with the rest; the pieces join. */
static void test_a_part(void **state)
{
	const struct iovec iov[] = { { data, 100 }, { data + 100, LARGE - 100 } };
	ssize_t sent = scm_send(sock[0], iov, 2, event);
	size_t have = 1, at;
	int fd;

	assert_in_range(sent, 101, LARGE - 1);
	assert_int_equal(receive(got, 1, &fd), 1);
	expect_event(fd);
	have = read_plain(have);
	assert_int_equal(have, sent);
	for (at = (size_t)sent; at < LARGE; at += (size_t)sent) {
		const struct iovec rest = { data + at, LARGE - at };

		sent = scm_send(sock[0], &rest, 1, -1);
		assert_true(sent > 0);
		have = read_plain(have);
	}
	assert_int_equal(have, LARGE);
	assert_memory_equal(got, data, LARGE);
}

/* A full socket takes neither: what comes out is what went in before, and the descriptor may be sent anew. */
static void test_nothing(void **state)
{
	const struct iovec all = { data, LARGE }, one = { data, 1 };
	size_t filled = 0;
	ssize_t n;
	int fd;

	while ((n = scm_send(sock[0], &all, 1, -1)) > 0)
		filled += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	for (unsigned i = 0; i < 1000; i++) /* none of them is in flight: the kernel would refuse */
		assert_int_equal(scm_send(sock[0], &one, 1, event), -EAGAIN);
	assert_in_range(filled, 1, LARGE);
	assert_int_equal(read_plain(0), filled);
	assert_int_equal(scm_send(sock[0], &one, 1, event), 1);
	assert_int_equal(receive(got, sizeof(got), &fd), 1);
	expect_event(fd);
}

/* And no SIGPIPE. */
static void test_to_nobody(void **state)
{
	const struct iovec one = { data, 1 };

	shutdown(sock[1], SHUT_RD);
	assert_int_equal(scm_send(sock[0], &one, 1, event), -EPIPE);
	assert_int_equal(scm_send(sock[0], &one, 1, 1 << 20), -EBADF);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_whole),
		TEST(test_a_part),
		TEST(test_nothing),
		TEST(test_to_nobody),
	};

	return cmocka_run_group_tests_name("scm", tests, NULL, NULL);
}
