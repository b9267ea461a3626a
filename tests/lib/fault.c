/* SPDX-License-Identifier: MIT */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct epoll_event;

static unsigned countdown; /* calls until the fault; 0: none is armed */
static bool paused;
static bool happened;
static const char *name = "none";

void fault_arm(unsigned n)
{
	countdown = n;
	happened = false;
}

bool fault_disarm(void)
{
	countdown = 0;
	return happened;
}

const char *fault_name(void)
{
	return name;
}

void fault_pause(bool pause)
{
	paused = pause;
}

static bool fails(const char *call, int error)
{
	if (paused || countdown == 0 || --countdown > 0)
		return false;
	happened = true;
	name = call;
	errno = error;
	return true;
}

enum {
#define X(call, error) error_of_##call = (error),
	FAULT_CALLS(X)
#undef X
};

/* WRAP(returns, failure, function, (parameters), (arguments)) */
#define WRAP(type, failure, call, params, args)                                        \
	type __real_##call params;                                                     \
	type __wrap_##call params;                                                     \
	type __wrap_##call params                                                      \
	{                                                                              \
		return fails(#call, error_of_##call) ? (failure) : __real_##call args; \
	}

WRAP(void *, NULL, malloc, (size_t size), (size))
WRAP(void *, NULL, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, NULL, realloc, (void *p, size_t size), (p, size))
WRAP(void *, NULL, aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(char *, NULL, strdup, (const char *s), (s))
WRAP(void *, MAP_FAILED, mmap, (void *addr, size_t len, int prot, int flags, int fd, off_t off),
     (addr, len, prot, flags, fd, off))
WRAP(int, -1, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, -1, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event),
     (epfd, op, fd, event))
WRAP(int, -1, eventfd, (unsigned count, int flags), (count, flags))
WRAP(int, -1, dup, (int fd), (fd))
WRAP(ssize_t, -1, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
WRAP(ssize_t, -1, sendmsg, (int fd, const struct msghdr *mh, int flags), (fd, mh, flags))
WRAP(ssize_t, -1, recvmsg, (int fd, struct msghdr *mh, int flags), (fd, mh, flags))
WRAP(ssize_t, -1, preadv2, (int fd, const struct iovec *iov, int n, off_t off, int flags),
     (fd, iov, n, off, flags))

int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...)
{
	va_list ap;
	uintptr_t arg;

	va_start(ap, cmd);
	arg = va_arg(ap, uintptr_t);
	va_end(ap);
	return fails("fcntl", error_of_fcntl) ? -1 : __real_fcntl(fd, cmd, arg);
}

/* meson compiles with _FILE_OFFSET_BITS=64, which renames some functions in the callers: same types, other names. */
typeof(__wrap_mmap) __wrap_mmap64 __attribute__((alias("__wrap_mmap")));
typeof(__wrap_fstat) __wrap_fstat64 __attribute__((alias("__wrap_fstat")));
typeof(__wrap_fcntl) __wrap_fcntl64 __attribute__((alias("__wrap_fcntl")));
typeof(__wrap_preadv2) __wrap_preadv64v2 __attribute__((alias("__wrap_preadv2")));
