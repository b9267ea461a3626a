/* SPDX-License-Identifier: MIT */
/* Bytes and descriptors over a socket, in pieces of any size, into msg_recv().
 *
 * Input: pieces.  Each begins with two bytes, the number of bytes it carries and
 * the number of descriptors sent with them; its bytes follow.
 *
 * Checked: a message that is handed out has passed every check that proto.h
 * promises; all descriptors are closed; the end is an end.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "fds.h"
#include "frontend.h"
#include "msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What session.c relies on. */
static void check(struct msg *msg)
{
	const struct proto_request_info *info = proto_request_info(msg->hdr.request);
	const char *why;
	uint32_t index;

	assert(msg->hdr.size <= VU_PAYLOAD_MAX && msg->n_fds <= VU_MAX_FDS);
	assert(proto_check(&msg->hdr, &msg->payload, msg->n_fds, &why) == 0);
	for (size_t i = msg->hdr.size; i < VU_PAYLOAD_MAX; i++)
		assert(msg->payload.bytes[i] == 0);
	for (unsigned i = 0; i < msg->n_fds; i++)
		assert(msg->fds[i] >= 0);
	assert(msg_take_fd(msg, msg->n_fds) == -1);
	if (!info)
		return;
	assert(msg->n_fds >= info->fds_min && msg->n_fds <= info->fds_max);
	if (info->payload == PROTO_PAYLOAD_MEM_TABLE)
		assert(msg->payload.mem_table.n_regions == msg->n_fds);
	if (info->payload == PROTO_PAYLOAD_CONFIG)
		assert(msg->payload.config.size <= VU_CONFIG_MAX);
	if (info->payload == PROTO_PAYLOAD_VRING_FD) {
		assert(proto_vring_index(&msg->hdr, &msg->payload, &index) && index <= 0xff);
		assert(msg->n_fds == !(msg->payload.u64 & VU_VRING_NOFD));
	}
}

/* Receive all there is.  Returns false when the stream is over. */
static bool receive(struct msg_rx *rx, int sock)
{
	for (;;) {
		const char *why = NULL;
		struct msg msg;
		int r = msg_recv(rx, sock, &msg, &why);

		assert(r != -EPROTO || why);
		if (r <= 0)
			return r == 0;
		check(&msg);
		if (msg.n_fds)
			close(msg_take_fd(&msg, 0)); /* one taken, the others for msg_done() */
		msg_done(&msg);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned before = count_fds();
	struct frontend fe;
	struct msg_rx rx;
	int fds[VU_MAX_FDS + 1];
	int backend, event;

	assert(frontend_pair(&fe, &backend) == 0);
	event = eventfd(0, EFD_CLOEXEC);
	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = event;
	msg_rx_init(&rx);
	while (size > 2) {
		size_t len = min((size_t)data[0], size - 2);
		unsigned n_fds = data[1] % (VU_MAX_FDS + 2);

		if (len && frontend_send_bytes(&fe, data + 2, len, fds, n_fds) < 0)
			break;
		if (!receive(&rx, backend))
			break;
		data += 2 + len;
		size -= 2 + len;
	}
	frontend_done(&fe);
	(void)receive(&rx, backend);
	msg_rx_done(&rx);
	close(backend);
	close(event);
	assert(count_fds() == before);
	return 0;
}
