/* SPDX-License-Identifier: MIT */
/* AF_VSOCK for a program that runs on the host of a VM of ours, which has none: linked into Linux's vsock_test with ld's --wrap, so that
 * its one end is where the daemon has it, at Unix sockets (vhost-user-hvsock(8)).
 *
 *   VSOCK_HOST_PATH   P: to connect to port N is "CONNECT N" there, to listen at it is the socket P_N
 *   VSOCK_HOST_CID    who the other end is
 *
 * Only what such a program asks of a stream; packets there are none of. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define FDS_MAX 4096

int __real_socket(int domain, int type, int protocol);
int __real_bind(int fd, const struct sockaddr *address, socklen_t len);
int __real_listen(int fd, int backlog);
int __real_accept(int fd, struct sockaddr *address, socklen_t *len);
int __real_connect(int fd, const struct sockaddr *address, socklen_t len);
int __real_close(int fd);

int __wrap_socket(int domain, int type, int protocol);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_listen(int fd, int backlog);
int __wrap_accept(int fd, struct sockaddr *address, socklen_t *len);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_close(int fd);

static struct {
	bool is_vsock;
	unsigned port; /* 0: bound to none */
} ends[FDS_MAX];

static bool is_ours(int fd)
{
	return fd >= 0 && fd < FDS_MAX && ends[fd].is_vsock;
}

static struct sockaddr_un unix_address(unsigned port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *path = getenv("VSOCK_HOST_PATH");
	int n = port ? snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", path, port) :
		       snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);

	if (!path || n < 0 || (size_t)n >= sizeof(a.sun_path)) {
		fprintf(stderr, "VSOCK_HOST_PATH: missing or too long\n");
		exit(2);
	}
	return a;
}

int __wrap_socket(int domain, int type, int protocol)
{
	int fd;

	if (domain != AF_VSOCK)
		return __real_socket(domain, type, protocol);
	if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) {
		errno = ESOCKTNOSUPPORT;
		return -1;
	}
	fd = __real_socket(AF_UNIX, type, 0);
	if (fd >= 0 && fd < FDS_MAX) {
		ends[fd].is_vsock = true;
		ends[fd].port = 0;
	}
	return fd;
}

/* Nobody finds it before it listens. */
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
	struct sockaddr_vm vm;

	if (!is_ours(fd))
		return __real_bind(fd, address, len);
	memcpy(&vm, address, sizeof(vm));
	ends[fd].port = vm.svm_port;
	return 0;
}

int __wrap_listen(int fd, int backlog)
{
	struct sockaddr_un a;

	if (!is_ours(fd))
		return __real_listen(fd, backlog);
	a = unix_address(ends[fd].port);
	unlink(a.sun_path);
	if (__real_bind(fd, (struct sockaddr *)&a, sizeof(a)))
		return -1;
	/* A guest's next connection may come before the last one was accepted. */
	return __real_listen(fd, backlog < 16 ? 16 : backlog);
}

int __wrap_accept(int fd, struct sockaddr *address, socklen_t *len)
{
	const char *cid = getenv("VSOCK_HOST_CID");
	struct sockaddr_vm peer = { .svm_family = AF_VSOCK,
				    .svm_cid = cid ? (unsigned)strtoul(cid, NULL, 10) : 0 };
	int s;

	if (!is_ours(fd))
		return __real_accept(fd, address, len);
	s = __real_accept(fd, NULL, NULL);
	if (s >= 0 && s < FDS_MAX) {
		ends[s].is_vsock = true;
		ends[s].port = 0;
		memcpy(address, &peer, *len < sizeof(peer) ? *len : sizeof(peer));
		*len = sizeof(peer);
	}
	return s;
}

/* The daemon's answer: "OK ...", or the end. */
static int wait_for_ok(int fd)
{
	char c = 0, first = 0;
	ssize_t n;

	while (c != '\n') {
		n = recv(fd, &c, 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = ECONNRESET;
			return -1;
		}
		first = first ? first : c;
	}
	return first == 'O' ? 0 : -1;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	struct sockaddr_un a;
	struct sockaddr_vm vm;

	if (!is_ours(fd))
		return __real_connect(fd, address, len);
	memcpy(&vm, address, sizeof(vm));
	a = unix_address(0);
	if (__real_connect(fd, (struct sockaddr *)&a, sizeof(a)) ||
	    dprintf(fd, "CONNECT %u\n", vm.svm_port) < 0)
		return -1;
	return wait_for_ok(fd);
}

int __wrap_close(int fd)
{
	if (is_ours(fd))
		ends[fd].is_vsock = false;
	return __real_close(fd);
}
