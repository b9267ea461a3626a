/* SPDX-License-Identifier: MIT */
/* Kicks and calls: vhost-user/lib/eventfd.c.
 *
 * A descriptor passed to us keeps its flags with its other owner, who can clear O_NONBLOCK whenever it likes.
 * preadv2(RWF_NOWAIT) of an eventfd asks the kernel not to wait whatever the flags are.  A full counter says
 * EAGAIN to a writer that is non-blocking.  With EPOLLET each write is an event of its own, read or not.  Regular
 * files cannot be watched.  /proc tells an eventfd from all else by a name that no path can have. */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "expect.h"

static void flags_are_shared_with_every_duplicate(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), theirs = dup(fd);

	EXPECT(fcntl(theirs, F_SETFL, 0) == 0);
	EXPECT(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	close(theirs);
	close(fd);
}

static void nowait_reads_never_wait(void)
{
	int fd = eventfd(0, EFD_CLOEXEC); /* blocking */
	uint64_t n = 0;
	struct iovec iov = { &n, sizeof(n) };

	EXPECT(preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == -1 && errno == EAGAIN);
	EXPECT(eventfd_write(fd, 3) == 0 && eventfd_write(fd, 4) == 0);
	EXPECT(preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(n));
	EXPECT(n == 7);
	EXPECT(preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == -1 && errno == EAGAIN);
	close(fd);
}

static void full_counter_is_eagain(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t full = UINT64_MAX - 1, one = 1;

	EXPECT(write(fd, &full, sizeof(full)) == sizeof(full));
	EXPECT(write(fd, &one, sizeof(one)) == -1 && errno == EAGAIN);
	close(fd);
}

static void edges_come_without_reading(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	EXPECT(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	for (int i = 0; i < 3; i++) {
		EXPECT(eventfd_write(fd, 1) == 0);
		EXPECT(epoll_wait(ep, &ev, 1, 0) == 1);
		EXPECT(epoll_wait(ep, &ev, 1, 0) == 0);
	}
	close(ep);
	close(fd);
}

/* A duplicate keeps a closed descriptor in the epoll set: sources are deleted before they are closed. */
static void closing_does_not_unwatch(void)
{
	int fd = eventfd(1, EFD_CLOEXEC), theirs = dup(fd), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };

	EXPECT(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	close(fd);
	EXPECT(epoll_wait(ep, &ev, 1, 0) == 1);
	close(theirs);
	EXPECT(epoll_wait(ep, &ev, 1, 0) == 0);
	close(ep);
}

static int is_named(int fd, const char *name)
{
	char link[32], text[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, text, sizeof(text));
	return n == (ssize_t)strlen(name) && memcmp(text, name, strlen(name)) == 0;
}

static void what_is_no_eventfd(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), memfd = memfd_create("file", MFD_CLOEXEC);
	int fd = eventfd(0, EFD_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	struct stat st;

	EXPECT(epoll_ctl(ep, EPOLL_CTL_ADD, memfd, &ev) == -1 && errno == EPERM);
	/* An anonymous inode is of no file type at all; everything that could stand behind a path is of one. */
	EXPECT(fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0);
	EXPECT(fstat(memfd, &st) == 0 && S_ISREG(st.st_mode));
	EXPECT(is_named(fd, "anon_inode:[eventfd]"));
	EXPECT(is_named(ep, "anon_inode:[eventpoll]"));
	EXPECT(is_named(memfd, "/memfd:file (deleted)"));
	close(ep);
	close(memfd);
	close(fd);
}

int main(void)
{
	alarm(20); /* where it is about not waiting, waiting must end */
	flags_are_shared_with_every_duplicate();
	nowait_reads_never_wait();
	full_counter_is_eagain();
	edges_come_without_reading();
	closing_does_not_unwatch();
	what_is_no_eventfd();
	return 0;
}
