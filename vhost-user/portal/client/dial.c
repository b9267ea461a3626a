/* SPDX-License-Identifier: MIT */
#include "dial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "cleanup.h"

static int dial_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	auto_fd int sock = -1;

	if (len == 0 || len >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, path, len);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd_take(&sock);
}

/* A decimal number that ends at `stop`; moves *text behind it. */
static bool take_number(const char **text, char stop, uint32_t *ret_number)
{
	char *end;
	unsigned long long number;

	if (**text < '0' || **text > '9')
		return false;
	number = strtoull(*text, &end, 10);
	if (*end != stop || number > UINT32_MAX)
		return false;
	*text = end + 1;
	*ret_number = (uint32_t)number;
	return true;
}

static int dial_vsock(const char *text)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };
	auto_fd int sock = -1;

	if (!take_number(&text, ':', &address.svm_cid) ||
	    !take_number(&text, '\0', &address.svm_port))
		return -EINVAL;
	sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS)
		return -errno;
	return fd_take(&sock);
}

int dial(const char *where)
{
	if (strncmp(where, "unix:", 5) == 0)
		return dial_unix(where + 5);
	if (strncmp(where, "vsock:", 6) == 0)
		return dial_vsock(where + 6);
	return -EINVAL;
}

uint32_t dial_own_cid(void)
{
	auto_fd int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	unsigned int cid = 0;

	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return 0;
	return cid;
}
