/* SPDX-License-Identifier: MIT */
/* Descriptors over a Unix socket: vhost-user/lib/msg.c.
 *
 * What does not fit into the receiver's buffer is closed by the kernel, told by MSG_CTRUNC; what fitted has arrived and
 * is ours to close.  A receiver that has no descriptor left gets MSG_CTRUNC as well.  MSG_CMSG_CLOEXEC
 * sets the flag on arrival.  Data read up to a descriptor's message does not run into the next one's. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "expect.h"

#define MAX_SENT 8

static void send_fds(int sock, const char *text, int fd, unsigned n)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(MAX_SENT * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
	EXPECT(sendmsg(sock, &mh, 0) == (ssize_t)strlen(text));
}

/* Receive with room for `room` descriptors; how many came, and with what flags. */
static unsigned receive(int sock, char *text, size_t size, unsigned room, int *fds, int *ret_flags)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(MAX_SENT * sizeof(int))];
	} control;
	struct iovec iov = { text, size - 1 };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = CMSG_LEN(room * sizeof(int)) };
	ssize_t len = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	unsigned n;

	EXPECT(len > 0);
	text[len] = '\0';
	*ret_flags = mh.msg_flags;
	n = c ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
	for (unsigned i = 0; i < n; i++)
		memcpy(&fds[i], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	return n;
}

static bool pipe_has_no_writer(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 0;
}

static void cut_off_descriptors_are_closed(int tx, int rx)
{
	int p[2], fds[MAX_SENT], flags;
	char text[16];

	EXPECT(pipe2(p, O_NONBLOCK | O_CLOEXEC) == 0);
	send_fds(tx, "x", p[1], 4);
	close(p[1]);
	EXPECT(receive(rx, text, sizeof(text), 2, fds, &flags) == 2);
	EXPECT(flags & MSG_CTRUNC);
	EXPECT(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	EXPECT(!pipe_has_no_writer(p[0])); /* two arrived ... */
	close(fds[0]);
	close(fds[1]);
	EXPECT(pipe_has_no_writer(p[0])); /* ... and the other two are nowhere */
	close(p[0]);
}

static void no_descriptor_left_is_ctrunc(int tx, int rx)
{
	int p[2], fds[MAX_SENT], flags;
	struct rlimit old, now;
	char text[16];

	EXPECT(pipe2(p, O_NONBLOCK | O_CLOEXEC) == 0);
	send_fds(tx, "x", p[1], 2);
	close(p[1]);
	EXPECT(getrlimit(RLIMIT_NOFILE, &old) == 0);
	now = (struct rlimit){ 3, old.rlim_max };
	EXPECT(setrlimit(RLIMIT_NOFILE, &now) == 0);
	EXPECT(receive(rx, text, sizeof(text), 2, fds, &flags) == 0);
	EXPECT(flags & MSG_CTRUNC);
	EXPECT(setrlimit(RLIMIT_NOFILE, &old) == 0);
	EXPECT(pipe_has_no_writer(p[0]));
	close(p[0]);
}

/* Two messages lie in the socket; a read with room for both stops where the second's descriptors begin. */
static void descriptors_are_a_boundary(int tx, int rx)
{
	int fds[MAX_SENT], flags;
	char text[16];

	send_fds(tx, "one", STDIN_FILENO, 1);
	send_fds(tx, "two", STDIN_FILENO, 1);
	EXPECT(receive(rx, text, sizeof(text), 2, fds, &flags) == 1);
	EXPECT(strcmp(text, "one") == 0 && !(flags & MSG_CTRUNC));
	close(fds[0]);
	EXPECT(receive(rx, text, sizeof(text), 2, fds, &flags) == 1);
	EXPECT(strcmp(text, "two") == 0);
	close(fds[0]);
}

int main(void)
{
	int pair[2];

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	cut_off_descriptors_are_closed(pair[0], pair[1]);
	no_descriptor_left_is_ctrunc(pair[0], pair[1]);
	descriptors_are_a_boundary(pair[0], pair[1]);
	return 0;
}
