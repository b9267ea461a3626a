/* SPDX-License-Identifier: MIT */
#include "dgrams.h"

#include <errno.h>

#include "base.h"
#include "pieces.h"

int dgrams_recv(struct dgrams_in *in, int fd)
{
	int n;

	for (unsigned i = 0; i < SW_BURST; i++) {
		in->iov[i] = (struct iovec){ in->room[i], DGRAM_ROOM };
		in->from[i].sa.sa_family = AF_UNSPEC;
		in->msg[i].msg_hdr = (struct msghdr){ .msg_name = &in->from[i],
						      .msg_namelen = sizeof(in->from[i]),
						      .msg_iov = &in->iov[i],
						      .msg_iovlen = 1 };
	}
	n = recvmmsg(fd, in->msg, SW_BURST, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

bool dgrams_add(struct dgrams_out *out, const struct sw_frame *f, const void *hdr, uint32_t hdr_len,
		const void *to, socklen_t to_len)
{
	struct iovec *iov = &out->iov[out->n_iov];
	unsigned n = 0;

	if (out->n == SW_BURST || out->n_iov + 1 + PIECES_MAX > DGRAMS_IOVS || out->flat_used)
		return false;
	if (hdr_len > 0)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)hdr, hdr_len };
	if (likely(f->n_iov < PIECES_MAX)) {
		n += pieces_of(f, iov + n);
	} else {
		n += pieces_flat(f, iov + n, out->flat);
		out->flat_used = true; /* it is the last */
	}
	out->msg[out->n++].msg_hdr = (struct msghdr){ .msg_name = (void *)(uintptr_t)to,
						      .msg_namelen = to_len,
						      .msg_iov = iov,
						      .msg_iovlen = n };
	out->n_iov += n;
	return true;
}

void dgrams_count(struct port_stats *s, int error, uint32_t len)
{
	switch (error) {
	case 0:
		s->egress_frames++;
		s->egress_bytes += len;
		break;
	case EMSGSIZE:
		s->egress_drop_size++;
		break;
	case EAGAIN:
	case EINTR:
	case ENOBUFS:
	case ENOMEM:
		s->egress_drop_full++;
		break;
	default: /* nobody is there, or no way leads there */
		s->egress_drop_down++;
		break;
	}
}

unsigned dgrams_send(struct dgrams_out *out, int fd)
{
	unsigned n = out->n, i = 0;

	while (i < n) {
		int sent = sendmmsg(fd, out->msg + i, n - i, MSG_DONTWAIT | MSG_NOSIGNAL);

		for (; sent > 0; sent--)
			out->error[i++] = 0;
		if (sent < 0) /* the first of them is to blame */
			out->error[i++] = errno;
	}
	out->n = out->n_iov = 0;
	out->flat_used = false;
	return n;
}
