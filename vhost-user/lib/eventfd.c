/* SPDX-License-Identifier: MIT */
#include "eventfd.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

bool eventfd_is(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char link[32], text[sizeof(name)];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, text, sizeof(text)) == sizeof(name) - 1 &&
	       memcmp(text, name, sizeof(name) - 1) == 0;
}

int eventfd_drain(int fd)
{
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };
	ssize_t n;

	do
		n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return 0;
	return n == 0 ? -EPIPE : -errno;
}

bool eventfd_signal(int fd, bool *blocked)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) == sizeof(one))
		return true;
	/* A write that does not wait is not interrupted: the descriptor was made blocking behind our back.  Any other
	 * failure is the stranger's own. */
	if (errno == EINTR && blocked)
		__atomic_store_n(blocked, true, __ATOMIC_RELAXED);
	return false;
}
