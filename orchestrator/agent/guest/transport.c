/* SPDX-License-Identifier: MIT */
#include "agent/guest/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BACKLOG 128
/* Bytes, of which the kernel makes twice as many.  Of Hyper-V's sockets this is the size of each of the two rings, which lie in one piece
 * of physical memory: what the kernel takes by itself makes half a MiB for each connection. */
#define RING_SIZE  (32 << 10)
#define SOCK_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

union address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

int transport_parse(const char *text, uint32_t port, struct transport *ret_transport)
{
	struct transport t = { .port = port };
	unsigned long number;
	char *end;

	if (strcmp(text, "none") == 0) {
		t.kind = TRANSPORT_NONE;
	} else if (strncmp(text, "unix:", 5) == 0 && text[5]) {
		t.kind = TRANSPORT_UNIX;
		if ((size_t)snprintf(t.path, sizeof(t.path), "%s", text + 5) >= sizeof(t.path))
			return -EINVAL;
	} else if (strcmp(text, "vsock") == 0) {
		t.kind = TRANSPORT_VSOCK;
	} else if (strncmp(text, "vsock:", 6) == 0 && text[6] >= '1' && text[6] <= '9') {
		number = strtoul(text + 6, &end, 10);
		if (*end || number >= UINT32_MAX)
			return -EINVAL;
		t.kind = TRANSPORT_VSOCK;
		t.port = (uint32_t)number;
	} else {
		return -EINVAL;
	}
	*ret_transport = t;
	return 0;
}

static int unix_address(const struct transport *t, uint32_t port, union address *a, socklen_t *len)
{
	char suffix[16] = "";
	int n;

	if (port)
		snprintf(suffix, sizeof(suffix), ".%u", port);
	*a = (union address){ .un.sun_family = AF_UNIX };
	*len = sizeof(a->un);
	n = snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%s%s", t->path, suffix);
	return n < (int)sizeof(a->un.sun_path) ? 0 : -ENAMETOOLONG;
}

static void vsock_address(uint32_t cid, uint32_t port, union address *a, socklen_t *len)
{
	*a = (union address){ 0 };
	a->vm.svm_family = AF_VSOCK;
	a->vm.svm_cid = cid;
	a->vm.svm_port = port;
	*len = sizeof(a->vm);
}

static int make_address(const struct transport *t, uint32_t cid, uint32_t port, union address *a,
			socklen_t *len)
{
	if (t->kind == TRANSPORT_NONE)
		return -EADDRNOTAVAIL;
	if (t->kind == TRANSPORT_UNIX)
		return unix_address(t, port, a, len);
	vsock_address(cid, port ? port : t->port, a, len);
	return 0;
}

/* Other kinds have no use for it.  An accepted socket has its listener's. */
static void size_rings(const struct transport *t, int fd)
{
	static const int size = RING_SIZE;

	if (t->kind != TRANSPORT_VSOCK)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

int transport_listen(const struct transport *t)
{
	union address a;
	socklen_t len;
	int err = make_address(t, VMADDR_CID_ANY, 0, &a, &len);
	int fd = err ? -1 : socket(a.any.sa_family, SOCK_STREAM | SOCK_FLAGS, 0);

	if (fd < 0)
		return err ? err : -errno;
	if (t->kind == TRANSPORT_UNIX)
		(void)unlink(t->path);
	size_rings(t, fd);
	if (bind(fd, &a.any, len) || listen(fd, BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int transport_accept(const struct transport *t, int listener)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);
	int fd = accept4(listener, &a.any, &len, SOCK_FLAGS);

	if (fd < 0)
		return -errno;
	if (t->kind == TRANSPORT_VSOCK && a.vm.svm_cid != VMADDR_CID_HOST) {
		close(fd);
		return -ECONNREFUSED;
	}
	return fd;
}

int transport_dial(const struct transport *t, uint32_t port)
{
	union address a;
	socklen_t len;
	int err = make_address(t, VMADDR_CID_HOST, port, &a, &len);
	int fd = err ? -1 : socket(a.any.sa_family, SOCK_STREAM | SOCK_FLAGS, 0);

	if (fd < 0)
		return err ? err : -errno;
	size_rings(t, fd);
	if (connect(fd, &a.any, len) && errno != EINPROGRESS) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
