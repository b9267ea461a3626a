/* SPDX-License-Identifier: MIT */
/* What QEMU's vmbus-hvsock device and this daemon say to each other: "vmbus-user".
 *
 * QEMU keeps what needs the guest's processor: offers, GPADLs, interrupts.  The rings of a channel are the daemon's, which
 * finds them in guest memory by page numbers.  Messages have vhost-user's framing (proto.h, msg.h), numbers of their own, and
 * none is answered in place: every answer is a message.  Integers are in host order, as there; GUIDs lie as VMBus has them.
 *
 *	HELLO ⇄ HELLO, ADD_MEM_REG …                                    a connection begins
 *	READY                                                           the guest's VMBus takes offers, until RESET
 *	CONNECT_REQUEST → (CONNECT_RESULT: no, or) OFFER                the guest connects
 *	OFFER → OFFERED, OPEN → OPEN_RESULT, data in the rings          either way, from here on
 *	RESCIND, CLOSE → CLOSED, RELEASED                               the end; the daemon rescinds, always
 *	RESET → RESET_DONE                                              of the machine, or of the guest's VMBus
 *
 * A channel is known by its relid, 1 to VMBUS_CHANNELS, from OFFERED to RELEASED.  What is sent before RESET_DONE is of no
 * effect after it.  VMBUS_MESSAGES() is the only list of messages: numbers, names and checks come from it.
 *
 * Trust:     the frontend wrote what vmbus_check() is given.  What it lets through has the right size and number of
 *            descriptors, numbers in their ranges, and zeros where they are reserved.  What a guest may choose (page numbers,
 *            the offset of its second ring) is not judged here: that is answered, and ends no connection.
 * Ownership: nothing is owned here.
 * Threads:   pure functions and constants. */
#ifndef HVSOCK_VMBUS_PROTO_H
#define HVSOCK_VMBUS_PROTO_H

#include <assert.h>
#include <stdint.h>

#include "msg.h"

#define VMBUS_USER_VERSION 1

/* Relids that a guest has: 1 to this. */
#define VMBUS_CHANNELS 2047

/* Pages of a channel's two rings, their headers included: 512 KiB each way. */
#define VMBUS_PAGES_MAX 258

/* CONNECT_RESULT's only status: STATUS_CONNECTION_REFUSED. */
#define VMBUS_REFUSED ((int32_t)0xc0000236u)

/* X(name, number, from, payload, descriptors)
 * from: who may send it.  A payload is struct vmbus_…, of that size; OPEN's is followed by its page numbers. */
#define VMBUS_MESSAGES(X)                                    \
	X(ADD_MEM_REG, 37, FRONTEND, mem_reg, 1)             \
	X(REM_MEM_REG, 38, FRONTEND, mem_reg, 0)             \
	X(HELLO, 64, BOTH, hello, 0)                         \
	X(CONNECT_REQUEST, 65, FRONTEND, connect_request, 0) \
	X(CONNECT_RESULT, 66, BACKEND, connect_result, 0)    \
	X(OFFER, 67, BACKEND, offer, 0)                      \
	X(OFFERED, 68, FRONTEND, offered, 0)                 \
	X(OPEN, 69, FRONTEND, open, 2)                       \
	X(OPEN_RESULT, 70, BACKEND, open_result, 0)          \
	X(RESCIND, 71, BACKEND, channel_id, 0)               \
	X(CLOSE, 72, FRONTEND, channel_id, 0)                \
	X(CLOSED, 73, BACKEND, channel_id, 0)                \
	X(RELEASED, 74, FRONTEND, channel_id, 0)             \
	X(RESET, 75, FRONTEND, reset, 0)                     \
	X(RESET_DONE, 76, BACKEND, reset, 0)                 \
	X(READY, 77, FRONTEND, ready, 0)

enum vmbus_message {
#define X(name, number, ...) VMBUS_##name = (number),
	VMBUS_MESSAGES(X)
#undef X
};

struct vmbus_guid {
	uint8_t b[16];
};

struct vmbus_mem_reg {
	uint64_t padding;
	struct proto_region region;
};
static_assert(sizeof(struct vmbus_mem_reg) == sizeof(struct proto_mem_reg), "vhost-user's");

/* The features of both count. */
struct vmbus_hello {
	uint32_t version;
	uint32_t reserved;
	uint64_t features;
};
static_assert(sizeof(struct vmbus_hello) == 16, "wire size");

/* The guest's connect(): its own end, and whom it wants. */
struct vmbus_connect_request {
	struct vmbus_guid endpoint, service;
};
static_assert(sizeof(struct vmbus_connect_request) == 32, "wire size");

struct vmbus_connect_result {
	struct vmbus_guid endpoint, service;
	int32_t status;
	uint32_t reserved;
};
static_assert(sizeof(struct vmbus_connect_result) == 40, "wire size");

/* instance: the guest's endpoint, or a new one for a connection to the guest. */
struct vmbus_offer {
	uint64_t cookie; /* for OFFERED */
	struct vmbus_guid type, instance;
	uint32_t to_guest; /* 0 or 1 */
	uint32_t reserved;
};
static_assert(sizeof(struct vmbus_offer) == 48, "wire size");

struct vmbus_offered {
	uint64_t cookie;
	uint32_t channel; /* 0: none, status says why */
	int32_t status;   /* 0 or -errno */
};
static_assert(sizeof(struct vmbus_offered) == 16, "wire size");

/* Kick and call come with it, in this order.  The guest's outgoing ring is pages [0, in_page), the incoming one the rest. */
struct vmbus_open {
	uint32_t channel;
	uint32_t vp;
	uint32_t n_pages;
	uint32_t in_page;
	uint64_t pfn[]; /* n_pages */
};
static_assert(sizeof(struct vmbus_open) == 16, "wire size");

struct vmbus_open_result {
	uint32_t channel;
	int32_t status;
};
static_assert(sizeof(struct vmbus_open_result) == 8, "wire size");

struct vmbus_channel_id {
	uint32_t channel;
	uint32_t reserved;
};
static_assert(sizeof(struct vmbus_channel_id) == 8, "wire size");

struct vmbus_reset {
	uint32_t sequence;
	uint32_t reserved;
};
static_assert(sizeof(struct vmbus_reset) == 8, "wire size");

struct vmbus_ready {
	uint32_t up; /* 1 */
	uint32_t reserved;
};
static_assert(sizeof(struct vmbus_ready) == 8, "wire size");

/* Any payload. */
union vmbus_payload {
	struct vmbus_mem_reg mem_reg;
	struct vmbus_hello hello;
	struct vmbus_connect_request connect_request;
	struct vmbus_connect_result connect_result;
	struct vmbus_offer offer;
	struct vmbus_offered offered;
	struct vmbus_open open;
	struct vmbus_open_result open_result;
	struct vmbus_channel_id channel;
	struct vmbus_reset reset;
	struct vmbus_ready ready;
	uint64_t words[(sizeof(struct vmbus_open) + VMBUS_PAGES_MAX * sizeof(uint64_t)) /
		       sizeof(uint64_t)];
};
static_assert(sizeof(union vmbus_payload) <= VU_PAYLOAD_MAX, "the framing's limit");

/* "OPEN", or "unknown message".  Never NULL. */
const char *vmbus_message_name(uint32_t number);

/* How many bytes a message has behind its header; OPEN's without its page numbers.  0: there is no such message. */
uint32_t vmbus_message_size(uint32_t number);

/* How a frontend's messages are judged, as in proto.h: 0, or -EPROTO with *ret_why naming the fault.  An OPEN without descriptors
 * passes: this process may have had no room for them. */
int vmbus_check_header(const struct proto_header *hdr, const char **ret_why);
int vmbus_check(const struct proto_header *hdr, const union proto_payload *payload, unsigned n_fds,
		const char **ret_why);
extern const struct msg_protocol vmbus_protocol; /* these two */

#endif
