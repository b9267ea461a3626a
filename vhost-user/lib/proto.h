/* SPDX-License-Identifier: MIT */
/* The vhost-user protocol as data: its numbers, its wire structs, and the one
 * table of requests from which everything else is generated.
 *
 * A message is a header of 12 bytes, a payload whose size the header states,
 * and up to VU_MAX_FDS file descriptors as SCM_RIGHTS.  Both ends run on one
 * host, so integers are in host order: nothing here is swapped.
 *
 * PROTO_REQUESTS() is the only list of requests.  It yields the enum, the
 * names, proto_check(), the dispatch table of session_request.c, the dictionary of the
 * fuzzers, and the list that tests/style compares with tests/wire.  Adding a
 * request is one row here, one handler there, one wire test.
 *
 * Trust:     everything that passes through proto_check() was written by the
 *            frontend.  What it lets through has the right size, the right
 *            number of fds and a sane shape; what the numbers mean (is there a
 *            ring 7? is this address mapped?) is for session.c and mem.c.
 * Ownership: nothing is owned here; no system call is made, nothing is
 *            allocated or logged.
 * Threads:   pure functions and constants.
 */
#ifndef VU_PROTO_H
#define VU_PROTO_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- limits ---------------------------------------------------------- */

/* Descriptors one message may carry.  The specification's own limit is 8
 * (without memory slots); frontends that follow libvhost-user go to 32. */
#define VU_MAX_FDS 32

/* Regions in one SET_MEM_TABLE: one descriptor each. */
#define VU_MEM_TABLE_MAX VU_MAX_FDS

/* Device configuration space carried by GET_CONFIG and SET_CONFIG. */
#define VU_CONFIG_MAX 256

/* No payload is larger, known or unknown.  The largest known one is a full
 * memory table (1032 bytes); the rest is room for requests of the future,
 * which are read, refused and forgotten. */
#define VU_PAYLOAD_MAX 4096

/* ---- header ---------------------------------------------------------- */

struct proto_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, bytes */
};
static_assert(sizeof(struct proto_header) == 12, "wire size");

#define VU_FLAG_VERSION_MASK 0x3u
#define VU_FLAG_VERSION      0x1u
#define VU_FLAG_REPLY        0x4u
#define VU_FLAG_NEED_REPLY   0x8u

/* ---- feature bits ---------------------------------------------------- */

/* Device feature bits are those of linux/virtio_config.h and friends; this one
 * exists on the vhost-user socket only. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* Writes to guest memory are logged: VHOST_F_LOG_ALL of linux/vhost_types.h, told to the backend only. */
#define VHOST_USER_F_LOG_ALL 26

#define VHOST_USER_PROTOCOL_F_MQ                  0
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD           1
#define VHOST_USER_PROTOCOL_F_RARP                2
#define VHOST_USER_PROTOCOL_F_REPLY_ACK           3
#define VHOST_USER_PROTOCOL_F_NET_MTU             4
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ         5
#define VHOST_USER_PROTOCOL_F_CONFIG              9
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD      12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE        13
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS              16
#define VHOST_USER_PROTOCOL_F_DEVICE_STATE        19
#define VHOST_USER_PROTOCOL_F_SHMEM_MAP           22

/* X(bit, whose): SHMEM_MAP was 20 and 21 while it was discussed, which mean something else now (GET_VRING_BASE_INFLIGHT,
 * GPA_ADDRESSES).  The backend speaks first: it offers one of them, by its device's word (vu_device_ops.shmem_bit), because a
 * newer frontend would take an older bit for its new meaning.  That a frontend and we mean the same by it shows when it asks
 * for GET_SHMEM_CONFIG: nothing is mapped before. */
#define PROTO_SHMEM_BITS(X)                             \
	X(20, "crosvm; rust-vmm's vhost before 0.16")   \
	X(21, "QEMU's patches before they were merged") \
	X(VHOST_USER_PROTOCOL_F_SHMEM_MAP, "the specification since QEMU 11.1")

/* No protocol feature is needed: the last column but one of the table. */
#define VHOST_USER_PROTOCOL_F_NONE (-1)

/* ---- payloads -------------------------------------------------------- */

struct proto_vring_state {
	uint32_t index;
	uint32_t num; /* ring size, ring base, or 0/1: depends on the request */
};
static_assert(sizeof(struct proto_vring_state) == 8, "wire size");

struct proto_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_uva;
	uint64_t used_uva;
	uint64_t avail_uva;
	uint64_t log_gpa;
};
static_assert(sizeof(struct proto_vring_addr) == 40, "wire size");
static_assert(offsetof(struct proto_vring_addr, used_uva) == 16, "wire order: desc, used, avail");

/* SET_VRING_ADDR's flags: writes to the used ring are logged, at log_gpa. */
#define VU_VRING_F_LOG 1u

/* SET_VRING_KICK, _CALL, _ERR carry a u64: the ring's index in the low byte,
 * and a bit that says that no descriptor comes with the message. */
#define VU_VRING_INDEX_MASK 0xffull
#define VU_VRING_NOFD       (1ull << 8)

struct proto_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t mmap_offset;
};
static_assert(sizeof(struct proto_region) == 32, "wire size");

struct proto_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct proto_region region[VU_MEM_TABLE_MAX];
};
#define PROTO_MEM_TABLE_HEAD 8
static_assert(offsetof(struct proto_mem_table, region) == PROTO_MEM_TABLE_HEAD, "wire offset");

struct proto_mem_reg {
	uint64_t padding;
	struct proto_region region;
};
static_assert(sizeof(struct proto_mem_reg) == 40, "wire size");

struct proto_config {
	uint32_t offset;
	uint32_t size; /* of data[], bytes */
	uint32_t flags;
	uint8_t data[VU_CONFIG_MAX];
};
#define PROTO_CONFIG_HEAD 12
static_assert(offsetof(struct proto_config, data) == PROTO_CONFIG_HEAD, "wire offset");

/* The dirty log: one bit for each 4 KiB of guest memory. */
struct proto_log {
	uint64_t size;
	uint64_t offset; /* of its first byte, in the file */
};
static_assert(sizeof(struct proto_log) == 16, "wire size");

struct proto_inflight {
	uint64_t size;
	uint64_t offset; /* in the file */
	uint16_t n_queues;
	uint16_t queue_size;
	uint32_t padding; /* QEMU's structure ends here, the specification's before it */
};
#define PROTO_INFLIGHT_MIN 20
static_assert(sizeof(struct proto_inflight) == 24, "wire size");
static_assert(offsetof(struct proto_inflight, padding) == PROTO_INFLIGHT_MIN, "wire offset");

struct proto_device_state {
	uint32_t direction; /* VU_STATE_SAVE, VU_STATE_LOAD */
	uint32_t phase;     /* VU_STATE_STOPPED is all there is */
};
static_assert(sizeof(struct proto_device_state) == 8, "wire size");

#define VU_STATE_SAVE    0u
#define VU_STATE_LOAD    1u
#define VU_STATE_STOPPED 0u

/* In the answer to SET_DEVICE_STATE_FD: no descriptor comes back. */
#define VU_STATE_NOFD (1ull << 8)

/* The device's shared memory regions (virtio 1.3, 2.10): their sizes by their ids, 0 where there is none. */
#define VU_SHMEM_REGIONS 256

struct proto_shmem_config {
	uint32_t n_regions; /* that have a size */
	uint32_t padding;
	uint64_t size[VU_SHMEM_REGIONS];
};
static_assert(sizeof(struct proto_shmem_config) == 2056, "wire size");

/* What we ask of the frontend: show a part of a file in a region, or no longer. */
struct proto_shmem_map {
	uint8_t shmid;
	uint8_t padding[7];
	uint64_t fd_offset;
	uint64_t shm_offset;
	uint64_t len;
	uint64_t flags;
};
static_assert(sizeof(struct proto_shmem_map) == 40, "wire size");

#define VU_SHMEM_MAP_RW 1ull

/* A payload, large enough for any message that is accepted. */
union proto_payload {
	uint64_t u64;
	struct proto_vring_state state;
	struct proto_vring_addr addr;
	struct proto_mem_table mem_table;
	struct proto_mem_reg mem_reg;
	struct proto_config config;
	struct proto_log log;
	struct proto_inflight inflight;
	struct proto_device_state device_state;
	struct proto_shmem_config shmem_config;
	uint8_t bytes[VU_PAYLOAD_MAX];
};
static_assert(sizeof(union proto_payload) == VU_PAYLOAD_MAX, "no payload outgrows the limit");

/* What a request's payload is, and therefore how it is checked. */
enum proto_payload_kind {
	PROTO_PAYLOAD_NONE, /* no bytes */
	PROTO_PAYLOAD_U64,
	PROTO_PAYLOAD_VRING_STATE,
	PROTO_PAYLOAD_VRING_ADDR,
	PROTO_PAYLOAD_VRING_FD,  /* u64; exactly one fd, or none with VU_VRING_NOFD */
	PROTO_PAYLOAD_MEM_TABLE, /* exactly n_regions regions and as many fds */
	PROTO_PAYLOAD_MEM_REG,
	PROTO_PAYLOAD_CONFIG, /* 12 bytes and exactly the size they state */
	PROTO_PAYLOAD_LOG,
	PROTO_PAYLOAD_INFLIGHT, /* 20 or 24 bytes */
	PROTO_PAYLOAD_DEVICE_STATE,
};

/* What answers a request.  A request with PROTO_REPLY_ACK has no answer of its
 * own; it gets a u64, 0 or not, if the frontend set NEED_REPLY and REPLY_ACK
 * was negotiated.  No request gets both. */
enum proto_reply_kind {
	PROTO_REPLY_ACK,
	PROTO_REPLY_U64,
	PROTO_REPLY_VRING_STATE,
	PROTO_REPLY_CONFIG,   /* the request's header and data; an empty payload says "failed" */
	PROTO_REPLY_INFLIGHT, /* with a descriptor; size 0 and none of it says "failed" */
	PROTO_REPLY_RESULT,   /* a u64, 0 or not, asked for or not */
	PROTO_REPLY_LOG, /* the same once its protocol feature is negotiated; PROTO_REPLY_ACK before */
	PROTO_REPLY_SHMEM,    /* all of struct proto_shmem_config; no region says "failed" */
	PROTO_REPLY_STATE_FD, /* a u64: 0 or not in the low byte, and VU_STATE_NOFD */
};

/* ---- states ---------------------------------------------------------- */

/* A session is in exactly one of these; session.c derives it from what has
 * been negotiated.
 *
 *   state       | means                                              | left by
 *   ------------+----------------------------------------------------+------------------------
 *   CONNECTED   | the socket is open                                 | features and memory set
 *   NEGOTIATED  | features accepted, at least one memory region      | a ring starts, memory gone
 *   RUNNING     | at least one ring is started                       | its last ring stops
 *   CLOSING     | no message is read any more, teardown is scheduled | (freed)
 *
 * A ring is stopped or started besides that. */
#define VU_STATES(X)                \
	X(CONNECTED, "connected")   \
	X(NEGOTIATED, "negotiated") \
	X(RUNNING, "running")       \
	X(CLOSING, "closing")

enum vu_state {
#define X(name, text) VU_STATE_##name,
	VU_STATES(X)
#undef X
		VU_STATE_COUNT
};

/* The states in which a request is obeyed; in any other it is refused with
 * -EBUSY.  The two ring bits matter only to requests that name a ring. */
#define PROTO_IN_CONNECTED    (1u << VU_STATE_CONNECTED)
#define PROTO_IN_NEGOTIATED   (1u << VU_STATE_NEGOTIATED)
#define PROTO_IN_RUNNING      (1u << VU_STATE_RUNNING)
#define PROTO_IN_RING_STOPPED (1u << 8)
#define PROTO_IN_RING_STARTED (1u << 9)

#define PROTO_IN_OPEN    (PROTO_IN_CONNECTED | PROTO_IN_NEGOTIATED | PROTO_IN_RUNNING)
#define PROTO_IN_ANY     (PROTO_IN_OPEN | PROTO_IN_RING_STOPPED | PROTO_IN_RING_STARTED)
#define PROTO_IN_STOPPED (PROTO_IN_OPEN | PROTO_IN_RING_STOPPED)
#define PROTO_IN_QUIET   (PROTO_IN_CONNECTED | PROTO_IN_NEGOTIATED) /* no ring is started */

/* ---- the table ------------------------------------------------------- */

/* X(name, number, payload, fds min, fds max, reply, obeyed in, needs protocol feature, handler)
 *
 * Why so many are obeyed in any state: QEMU negotiates protocol features before
 * SET_OWNER, sends SET_VRING_CALL and SET_VRING_ENABLE before SET_FEATURES, and
 * repeats SET_FEATURES for its second queue pair while the first one runs. */
#define PROTO_REQUESTS(X)                                                                        \
	X(GET_FEATURES, 1, NONE, 0, 0, U64, ANY, NONE, get_features)                             \
	X(SET_FEATURES, 2, U64, 0, 0, ACK, ANY, NONE, set_features)                              \
	X(SET_OWNER, 3, NONE, 0, 0, ACK, ANY, NONE, set_owner)                                   \
	X(RESET_OWNER, 4, NONE, 0, 0, ACK, ANY, NONE, reset_owner)                               \
	X(SET_MEM_TABLE, 5, MEM_TABLE, 0, VU_MEM_TABLE_MAX, ACK, ANY, NONE, set_mem_table)       \
	X(SET_LOG_BASE, 6, LOG, 1, 1, LOG, ANY, LOG_SHMFD, session_set_log_base)                 \
	X(SET_LOG_FD, 7, NONE, 0, 1, ACK, ANY, LOG_SHMFD, session_set_log_fd)                    \
	X(SET_VRING_NUM, 8, VRING_STATE, 0, 0, ACK, STOPPED, NONE, set_vring_num)                \
	X(SET_VRING_ADDR, 9, VRING_ADDR, 0, 0, ACK, ANY, NONE, set_vring_addr)                   \
	X(SET_VRING_BASE, 10, VRING_STATE, 0, 0, ACK, STOPPED, NONE, set_vring_base)             \
	X(GET_VRING_BASE, 11, VRING_STATE, 0, 0, VRING_STATE, ANY, NONE, get_vring_base)         \
	X(SET_VRING_KICK, 12, VRING_FD, 0, 1, ACK, ANY, NONE, set_vring_kick)                    \
	X(SET_VRING_CALL, 13, VRING_FD, 0, 1, ACK, ANY, NONE, set_vring_call)                    \
	X(SET_VRING_ERR, 14, VRING_FD, 0, 1, ACK, ANY, NONE, set_vring_err)                      \
	X(GET_PROTOCOL_FEATURES, 15, NONE, 0, 0, U64, ANY, NONE, get_protocol_features)          \
	X(SET_PROTOCOL_FEATURES, 16, U64, 0, 0, ACK, ANY, NONE, set_protocol_features)           \
	X(GET_QUEUE_NUM, 17, NONE, 0, 0, U64, ANY, NONE, get_queue_num)                          \
	X(SET_VRING_ENABLE, 18, VRING_STATE, 0, 0, ACK, ANY, NONE, set_vring_enable)             \
	X(SEND_RARP, 19, U64, 0, 0, ACK, ANY, RARP, session_send_rarp)                           \
	X(NET_SET_MTU, 20, U64, 0, 0, ACK, ANY, NET_MTU, session_net_set_mtu)                    \
	X(SET_BACKEND_REQ_FD, 21, NONE, 1, 1, ACK, ANY, BACKEND_REQ, session_set_backend_req_fd) \
	X(GET_CONFIG, 24, CONFIG, 0, 0, CONFIG, ANY, CONFIG, get_config)                         \
	X(SET_CONFIG, 25, CONFIG, 0, 0, ACK, ANY, CONFIG, set_config)                            \
	X(GET_INFLIGHT_FD, 31, INFLIGHT, 0, 0, INFLIGHT, QUIET, INFLIGHT_SHMFD,                  \
	  session_get_inflight_fd)                                                               \
	X(SET_INFLIGHT_FD, 32, INFLIGHT, 1, 1, ACK, QUIET, INFLIGHT_SHMFD,                       \
	  session_set_inflight_fd)                                                               \
	X(RESET_DEVICE, 34, NONE, 0, 0, ACK, ANY, RESET_DEVICE, session_reset_device)            \
	X(GET_MAX_MEM_SLOTS, 36, NONE, 0, 0, U64, ANY, NONE, get_max_mem_slots)                  \
	X(ADD_MEM_REG, 37, MEM_REG, 1, 1, ACK, ANY, CONFIGURE_MEM_SLOTS, add_mem_reg)            \
	X(REM_MEM_REG, 38, MEM_REG, 0, 1, ACK, ANY, CONFIGURE_MEM_SLOTS, rem_mem_reg)            \
	X(SET_STATUS, 39, U64, 0, 0, ACK, ANY, STATUS, session_set_status)                       \
	X(GET_STATUS, 40, NONE, 0, 0, U64, ANY, STATUS, session_get_status)                      \
	X(SET_DEVICE_STATE_FD, 42, DEVICE_STATE, 1, 1, STATE_FD, QUIET, DEVICE_STATE,            \
	  session_set_device_state_fd)                                                           \
	X(CHECK_DEVICE_STATE, 43, NONE, 0, 0, RESULT, ANY, DEVICE_STATE,                         \
	  session_check_device_state)                                                            \
	X(GET_SHMEM_CONFIG, 44, NONE, 0, 0, SHMEM, ANY, SHMEM_MAP, session_get_shmem_config)

enum proto_request {
#define X(name, number, ...) VHOST_USER_##name = (number),
	PROTO_REQUESTS(X)
#undef X
};

/* What we may ask of the frontend, by SET_BACKEND_REQ_FD's socket. */
#define VU_BACKEND_CONFIG_CHANGE_MSG 2
#define VU_BACKEND_SHMEM_MAP         9
#define VU_BACKEND_SHMEM_UNMAP       10

/* Numbers are below this; it sizes tables that are indexed by request. */
#define VU_REQUEST_LIMIT 64

/* One row of the table, without its handler. */
struct proto_request_info {
	const char *name; /* NULL: no such request */
	enum proto_payload_kind payload;
	unsigned fds_min, fds_max;
	enum proto_reply_kind reply;
	unsigned obeyed_in;   /* PROTO_IN_* */
	int protocol_feature; /* bit that must have been negotiated, or VHOST_USER_PROTOCOL_F_NONE */
};

/* The row of a request, or NULL if there is none. */
const struct proto_request_info *proto_request_info(uint32_t request);

/* Whose SHMEM_MAP this bit is, a static string; NULL: nobody's. */
const char *proto_shmem_bit_name(unsigned bit);

/* "SET_MEM_TABLE", or "unknown request". Never NULL. */
const char *proto_request_name(uint32_t request);

/* Judge a header by itself, before a byte of payload is read.
 * Returns 0, or -EPROTO with *ret_why naming the fault (a static string). */
int proto_check_header(const struct proto_header *hdr, const char **ret_why);

/* Judge a whole message: payload size, the sizes stated inside the payload, and
 * the number of descriptors.  The payload must hold hdr->size bytes; bytes
 * beyond are not looked at.  An unknown request passes: it is not malformed.
 * Returns 0, or -EPROTO with *ret_why naming the fault (a static string). */
int proto_check(const struct proto_header *hdr, const union proto_payload *payload, unsigned n_fds,
		const char **ret_why);

/* Does this request name a ring?  If so, *ret_index is the index it names, not
 * yet compared with any limit.  Only for messages that passed proto_check(). */
bool proto_vring_index(const struct proto_header *hdr, const union proto_payload *payload,
		       uint32_t *ret_index);

#endif
