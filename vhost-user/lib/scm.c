/* SPDX-License-Identifier: MIT */
#include "scm.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

ssize_t scm_send(int sock, const struct iovec *iov, size_t n_iov, int fd)
{
	/* The union is what aligns the buffer for its header. */
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr mh = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n_iov };
	ssize_t n;

	if (fd >= 0) {
		control.align = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
	}
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}
