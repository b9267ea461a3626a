/* SPDX-License-Identifier: MIT */
/* What the files of a session share, and nobody else sees.
 *
 *   session.c          the connection: its life, its state, one message after another
 *   session_request.c  what each request does
 *   session_device.c   those that are passed on to the device
 *   session_backend.c  the channel on which we speak first: what the device says by itself, shared memory regions
 *   session_region.c   those that give us memory beside the guest's: dirty log, inflight region
 *   session_state.c    the device's state, to and from another process
 *   session_ring.c     rings: when they start and stop, how their driver is heard
 *
 * A message goes session.c -> session_obey() -> session_ring.c -> the device; what ends a session comes back through
 * session_end() or vu_session_check().
 */
#ifndef VU_SESSION_IMPL_H
#define VU_SESSION_IMPL_H

#include "dirtylog.h"
#include "inflight.h"
#include "msg.h"
#include "session.h"

/* The state of the device on its way, through a pipe. */
struct session_transfer {
	int fd; /* -1: none is under way */
	struct loop_source source;
	bool saving;
	int result;   /* of the last one */
	uint8_t *buf; /* NULL unless one is under way */
	size_t size;  /* saving: bytes to write; loading: room */
	size_t done;
};

/* What was asked of the frontend and not answered yet. */
struct session_asked {
	uint32_t request;
	uint8_t shmid;
};

/* The answers to what we ask are all u64. */
struct session_answer {
	struct proto_header hdr;
	uint8_t result[sizeof(uint64_t)]; /* bytes: it has no alignment here */
};
static_assert(sizeof(struct session_answer) == 20, "wire size");

/* SET_BACKEND_REQ_FD's socket.  It is read too: answers come there. */
struct session_backend {
	int fd; /* -1: none */
	struct loop_source source;
	struct session_asked asked[VU_SHMEM_PENDING];
	unsigned first, n_asked;
	struct session_answer answer;
	size_t have; /* bytes of it */
};

struct vu_session {
	struct loop *loop;
	const struct vu_device_ops *ops;
	void *device;
	char *tag;
	int fd;
	struct loop_source source;
	uint32_t events; /* what source waits for: EPOLLIN, or EPOLLOUT while a reply is stuck */
	struct loop_work teardown;
	enum vu_state state;
	int reason;   /* valid when CLOSING */
	bool resumed; /* vu_session_resume(), and no sign of a new beginning since */
	bool has_features;
	uint64_t features;
	uint64_t protocol_features;
	unsigned n_started;
	bool mapped;    /* a change of memory was served, or refused, in this pass */
	bool blocked;   /* it let a write to one of its descriptors wait */
	uint8_t status; /* as SET_STATUS said */
	bool has_shmem; /* the frontend has asked for the regions: what SHMEM_MAP means is what it means for us */
	struct session_backend backend;
	struct places *places;
	struct dirtylog dirty;
	struct inflight inflight;
	struct session_transfer transfer;
	struct mem mem;
	struct msg_rx rx;
	struct msg_tx tx;
	struct log_limit *log; /* the device's */
	struct vu_queue queue[];
};

/* ---- session.c --------------------------------------------------------- */

/* End the session for what the frontend did, and say so: a warning, or without a reason an information. */
void session_end(struct vu_session *s, int reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The bit that means SHMEM_MAP with this device's frontends. */
unsigned session_shmem_bit(const struct vu_device_ops *ops);

/* Derive the state anew after something that may have changed it. */
void session_update_state(struct vu_session *s);

/* ---- session_request.c ------------------------------------------------- */

/* Obey a message that proto_check() has passed.  q is the ring that it names, else NULL.  Where the request has a reply
 * of its own, that is left in msg->payload.  Returns 0, or the -errno of a refusal: -EOPNOTSUPP and -EBUSY also when
 * the request was not offered, or is not for this state. */
int session_obey(struct vu_session *s, const struct proto_request_info *info, struct vu_queue *q,
		 struct msg *msg);

/* Was the bit of the table's last column but one negotiated?  SHMEM_MAP's is the device's choice. */
bool session_has_feature(const struct vu_session *s, int protocol_feature);

/* ---- session_device.c, _backend.c, _region.c, _state.c: handlers, as in session_request.c -- */

int session_send_rarp(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_net_set_mtu(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_reset_device(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_set_status(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_get_status(struct vu_session *s, struct vu_queue *q, struct msg *msg);

int session_set_backend_req_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_get_shmem_config(struct vu_session *s, struct vu_queue *q, struct msg *msg);

int session_set_log_base(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_set_log_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_get_inflight_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_set_inflight_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg);

int session_set_device_state_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg);
int session_check_device_state(struct vu_session *s, struct vu_queue *q, struct msg *msg);

/* Close the channel on which we speak first; what is not answered yet is given up.  Legal without one. */
void session_backend_done(struct vu_session *s);

/* End what is under way, as failed. */
void session_transfer_done(struct vu_session *s);

/* ---- session_ring.c ---------------------------------------------------- */

void session_ring_init(struct vu_session *s, unsigned i);

/* Close the descriptors.  The ring is stopped. */
void session_ring_done(struct vu_queue *q);

/* Start a ring if all it needs is known; when something is missing that is no error.  Returns 0, or -errno if its parts
 * do not fit. */
int session_ring_start(struct vu_session *s, struct vu_queue *q);

/* The frontend is done with this ring: stop it, and let it start again only on a new kick descriptor.  Its base is known
 * to the frontend, or of no interest any more, so its record is forgotten. */
void session_ring_finish(struct vu_session *s, struct vu_queue *q);

/* Legal on a ring that is stopped, as are the next two. */
void session_ring_stop(struct vu_session *s, struct vu_queue *q);
void session_ring_enable(struct vu_session *s, struct vu_queue *q, bool on);

/* Hear the driver no longer. */
void session_ring_disarm(struct vu_session *s, struct vu_queue *q);

/* Take fd, or -1, in the place of the kick descriptor.  Returns as session_ring_start(). */
int session_ring_set_kick(struct vu_session *s, struct vu_queue *q, int fd);

void session_ring_stop_all(struct vu_session *s);

/* Start every ring that can be.  One that cannot is told about; its siblings and the message that brought us here are
 * not to blame for it. */
void session_ring_start_all(struct vu_session *s);

#endif
