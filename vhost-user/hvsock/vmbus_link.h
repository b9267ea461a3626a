/* SPDX-License-Identifier: MIT */
/* A connection with QEMU's vmbus-hvsock: checked messages in, messages out.
 *
 * What it says is passed on one by one; what is said to it never waits: it goes at once, or as soon as the socket takes it, in
 * order.  A frontend that does not read is dropped when VMBUS_LINK_UNSENT bytes wait for it, since everything that is said
 * is the answer to something and none may be lost.
 *
 * Trust:     everything that comes is the frontend's; ops->message() sees it after vmbus_check().
 * Ownership: the link owns its descriptor from vmbus_link_open() on, also on failure.  It is embedded in its owner, who may not
 *            free it before ops->closed().
 * Threads:   the loop's. */
#ifndef HVSOCK_VMBUS_LINK_H
#define HVSOCK_VMBUS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "loop.h"
#include "msg.h"
#include "vmbus_proto.h"

/* Some thousand messages: a few for each channel that a guest can have. */
#define VMBUS_LINK_UNSENT (256u << 10)

struct vmbus_link;

struct vmbus_link_ops {
	/* One message.  Descriptors that it does not take are closed. */
	void (*message)(struct vmbus_link *link, struct msg *msg);

	/* The link is over, and this is the last that it tells.  At the end of the pass in which that was found.  reason: 0
	 * the frontend hung up or vmbus_link_close(link, 0); -EPROTO it broke the protocol; another -errno.  It has been
	 * logged. */
	void (*closed)(struct vmbus_link *link, int reason);
};

/* Zero-filled is one that is not open. */
struct vmbus_link {
	struct loop *loop;
	const struct vmbus_link_ops *ops;
	const char *tag;
	struct log_limit *log;
	bool open; /* until vmbus_link_close() */
	int fd;    /* valid until closed() */
	int reason;
	struct loop_source source;
	uint32_t events; /* what source waits for */
	struct loop_work work;
	struct msg_rx rx;
	uint8_t *out; /* what is not sent yet: [out_sent, out_len) of it */
	size_t out_sent, out_len, out_size;
};

/* Serve the frontend on fd.  `tag` and `log` are borrowed.  What loop_add() says. */
int vmbus_link_open(struct vmbus_link *link, struct loop *loop, int fd,
		    const struct vmbus_link_ops *ops, const char *tag, struct log_limit *log);

/* Say this: vmbus_message_size() bytes.  Without effect on a link that is not open. */
void vmbus_link_send(struct vmbus_link *link, enum vmbus_message number, const void *payload);

/* Has the frontend hung up, heard or not?  What it said before is still told. */
bool vmbus_link_hung_up(const struct vmbus_link *link);

/* End it.  Legal at any time, more than once; closed() follows. */
void vmbus_link_close(struct vmbus_link *link, int reason);

/* The same for what the frontend did, and say so. */
void vmbus_link_end(struct vmbus_link *link, int reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
