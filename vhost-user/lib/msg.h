/* SPDX-License-Identifier: MIT */
/* One vhost-user message in, one out: bytes and descriptors over a socket.
 *
 * Receiving is resumable.  A frontend may send a message byte by byte, with
 * its descriptors on any byte of it: a partial message is a state of struct
 * msg_rx, neither an error nor a reason to wait.  Sending is resumable in the
 * same way; a session reads no further request while a reply is still on its
 * way out, so one reply is all that is ever held.
 *
 * No call here blocks, whatever flags the other end puts on the socket:
 * MSG_DONTWAIT is per call and cannot be undone from outside.
 *
 * Trust:     the sizes come from the frontend.  A header is judged before its
 *            payload is read; a message is handed out only after proto_check(),
 *            or what its protocol has in that place.
 * Ownership: every descriptor belongs to struct msg_rx from the recvmsg() on
 *            (close-on-exec), then to struct msg, then to whoever takes it with
 *            msg_take_fd().  What nobody took, msg_done() closes.
 * Threads:   the session's.  No allocation.
 */
#ifndef VU_MSG_H
#define VU_MSG_H

#include <stdbool.h>
#include <stddef.h>

#include "proto.h"

/* The largest reply there is. */
#define MSG_REPLY_MAX sizeof(struct proto_shmem_config)

/* A parsed message.  Unlike the wire image it owns descriptors. */
struct msg {
	struct proto_header hdr;
	union proto_payload payload; /* hdr.size bytes are valid, the rest is zero */
	unsigned n_fds;
	int fds[VU_MAX_FDS]; /* -1 where taken */
};

/* A message being received. */
struct msg_rx {
	size_t have; /* bytes of header and payload received so far */
	struct msg msg;
};

/* A reply being sent; all zeros: none. */
struct msg_tx {
	size_t size; /* bytes to send; 0: idle */
	size_t sent;
	bool has_fd; /* fd goes with the first byte, and is closed then */
	int fd;
	struct {
		struct proto_header hdr;
		uint8_t payload[MSG_REPLY_MAX];
	} wire;
};

/* What messages there are, and how they are judged: functions like those of proto.h.  A device that speaks another protocol
 * in vhost-user's framing has its own. */
struct msg_protocol {
	/* A header by itself, before a byte of payload is read. */
	int (*check_header)(const struct proto_header *hdr, const char **ret_why);
	/* A whole message. */
	int (*check)(const struct proto_header *hdr, const union proto_payload *payload,
		     unsigned n_fds, const char **ret_why);
	/* A message whose descriptors could not be had, for this process has too many, comes without any. */
	bool without_fds;
};

void msg_rx_init(struct msg_rx *rx);

/* Drop a message that is half received, closing its descriptors. */
void msg_rx_done(struct msg_rx *rx);

/* Receive what there is, up to the end of one message.
 * Returns 1 and moves the message, with its descriptors, into *ret_msg;
 *   0           the message is not complete yet, nothing more to read now;
 *   -ENODATA    the frontend closed the socket between two messages;
 *   -EPROTO     malformed: *ret_why says how (a static string);
 *   other       the socket failed: -ECONNRESET (also: closed within a message) and such.
 * After a negative return the stream is lost: call msg_rx_done(). */
int msg_recv(struct msg_rx *rx, int sock, struct msg *ret_msg, const char **ret_why);

/* The same of another protocol. */
int msg_recv_as(struct msg_rx *rx, int sock, const struct msg_protocol *protocol,
		struct msg *ret_msg, const char **ret_why);

/* The message's i-th descriptor, which is the caller's from now on; -1 if it
 * was taken before or never came. */
int msg_take_fd(struct msg *msg, unsigned i);

/* Close the descriptors nobody took. */
void msg_done(struct msg *msg);

/* Stage a reply to `to`: size bytes of payload, at most MSG_REPLY_MAX.  Only
 * while msg_tx_idle(). */
void msg_reply(struct msg_tx *tx, const struct proto_header *to, const void *payload, size_t size);

/* The same with a descriptor, which is the reply's from the call on. */
void msg_reply_fd(struct msg_tx *tx, const struct proto_header *to, const void *payload,
		  size_t size, int fd);

/* Drop a reply that is not sent yet, closing its descriptor. */
void msg_tx_done(struct msg_tx *tx);

static inline bool msg_tx_idle(const struct msg_tx *tx)
{
	return tx->size == 0;
}

/* Send what is staged.  Returns 1 when all of it is gone (or there was
 * nothing), 0 when the socket took only part of it: wait for EPOLLOUT; a
 * negative errno when the socket failed. */
int msg_send(struct msg_tx *tx, int sock);

#endif
