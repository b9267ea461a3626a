/* SPDX-License-Identifier: MIT */
/* A scripted vhost-user frontend: what QEMU is to our daemons, without the VM.
 *
 * It says anything, well-formed or not, and tells exactly what came back.  The
 * backend may be another process (frontend_connect()), or a session in this very
 * thread (frontend_pair()): then `pump` is what lets it work while the frontend
 * waits, typically one loop_once().
 *
 *	struct frontend fe;
 *	frontend_pair(&fe, &backend_fd);          hand backend_fd to vu_session_new()
 *	fe.pump = pump, fe.ctx = &loop;
 *	frontend_negotiate(&fe, features, protocol_features);
 *	frontend_memory(&fe, 1 << 20);            guest memory at fe.mem
 *	frontend_ring_start(&fe, 0, &ring);       NUM, BASE, ADDR, KICK, CALL, ERR
 *
 * Functions return 0 or a count, or -errno; -ENODATA when the backend has hung
 * up, -ETIMEDOUT when it says nothing for FRONTEND_TIMEOUT_MS.
 */
#ifndef TEST_FRONTEND_H
#define TEST_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "proto.h"

#define FRONTEND_TIMEOUT_MS 5000

/* Where the guest finds its memory, and where this "frontend process" has it. */
#define FRONTEND_GPA 0x40000000ull
#define FRONTEND_UVA 0x7f1200000000ull

struct frontend {
	int sock; /* -1: none */
	void (*pump)(void *ctx);
	void *ctx;
	uint64_t features, protocol_features; /* as negotiated */
	bool no_reply_ack;                    /* the backend has none: see frontend_ask() */
	int mem_fd;                           /* memfd of guest memory, or -1 */
	uint8_t *mem;
	size_t mem_size;
};

/* One end of a new socket pair; the other is the caller's, for the backend. */
int frontend_pair(struct frontend *fe, int *ret_backend_fd);

/* Connect to a daemon's socket, waiting for it to appear. */
int frontend_connect(struct frontend *fe, const char *path);

/* Hang up and unmap.  Legal more than once. */
void frontend_done(struct frontend *fe);

/* ---- raw --------------------------------------------------------------- */

/* Send one message as it is told, right or wrong.  The descriptors stay the
 * caller's. */
int frontend_send(struct frontend *fe, uint32_t request, uint32_t flags, const void *payload,
		  size_t size, const int *fds, unsigned n_fds);

/* Send bytes that need not be a message. */
int frontend_send_bytes(struct frontend *fe, const void *bytes, size_t size, const int *fds,
			unsigned n_fds);

/* Receive one message; its payload, at most max bytes, goes to *payload.  Returns
 * the size of the payload. */
int frontend_recv(struct frontend *fe, struct proto_header *ret_hdr, void *payload, size_t max);

/* The same, with the descriptor that came with it in *ret_fd, which is the caller's; -1: none came. */
int frontend_recv_fd(struct frontend *fe, struct proto_header *ret_hdr, void *payload, size_t max,
		     int *ret_fd);

/* Is there nothing to receive, after the backend has had time to say it? */
bool frontend_silent(struct frontend *fe);

/* Has the backend hung up? */
bool frontend_hung_up(struct frontend *fe);

/* Let the backend work. */
void frontend_pump(struct frontend *fe);

/* ---- conversation ------------------------------------------------------ */

/* A request that is answered with a u64 of its own. */
int frontend_get_u64(struct frontend *fe, uint32_t request, uint64_t *ret_value);

/* A request without an answer, sent with NEED_REPLY (needs REPLY_ACK).  Returns 0
 * when it was obeyed, 1 when it was refused.  With a backend of which
 * frontend_negotiate() has found that it has no REPLY_ACK: sent as it is, and 0 once
 * the backend answers another request behind it. */
int frontend_ask(struct frontend *fe, uint32_t request, const void *payload, size_t size,
		 const int *fds, unsigned n_fds);

/* frontend_ask() for the payloads that most requests have. */
int frontend_ask_u64(struct frontend *fe, uint32_t request, uint64_t value);
int frontend_ask_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t num);
int frontend_ask_fd(struct frontend *fe, uint32_t request, uint32_t index, int fd); /* -1: none */

/* In QEMU's order: features, protocol features, owner, features again.  Of the
 * features asked for, those not offered are dropped, as QEMU does; REPLY_ACK and
 * VHOST_USER_F_PROTOCOL_FEATURES are always among them, if offered. */
int frontend_negotiate(struct frontend *fe, uint64_t features, uint64_t protocol_features);

/* Make `size` bytes of guest memory and announce them with SET_MEM_TABLE, as one
 * region at FRONTEND_GPA and FRONTEND_UVA. */
int frontend_memory(struct frontend *fe, size_t size);

/* The region that frontend_memory() announces, for tests that vary it. */
struct proto_region frontend_region(const struct frontend *fe);

struct frontend_ring {
	uint32_t num;
	uint32_t base;
	uint64_t desc, avail, used;   /* offsets into guest memory */
	int kick_fd, call_fd, err_fd; /* made by frontend_ring_init() */
};

/* A ring of num entries at offset `at` of guest memory, and its three eventfds. */
int frontend_ring_init(struct frontend_ring *ring, uint32_t num, uint64_t at);
void frontend_ring_done(struct frontend_ring *ring);

/* Bytes that a ring of num entries takes. */
size_t frontend_ring_size(uint32_t num);

/* Announce it as ring `index`, in QEMU's order, and enable it if `enable`. */
int frontend_ring_start(struct frontend *fe, uint32_t index, const struct frontend_ring *ring,
			bool enable);

/* The same for memory and rings that a driver works on (driver.h). */
int frontend_guest(struct frontend *fe, const struct guest *guest);
int frontend_driver_start(struct frontend *fe, uint32_t index, const struct driver *driver,
			  bool enable);

/* GET_VRING_BASE. */
int frontend_ring_stop(struct frontend *fe, uint32_t index, uint32_t *ret_base);

#endif
