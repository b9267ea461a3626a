/* SPDX-License-Identifier: MIT */
/* A portal in this process: an arena, its leases, and clients that speak the lease protocol over real sockets.
 *
 * Everything runs on one thread: what waits for the other side (pf_ask(), pf_next()) runs the loop meanwhile, and fails the
 * test when nothing comes within PF_PATIENCE_MS.
 */
#ifndef PORTAL_FIXTURE_H
#define PORTAL_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "leases.h"
#include "tmp.h"
#include "wire.h"

#define PF_PATIENCE_MS 20000
#define PF_LINGER_MS   1500 /* long enough for a slow machine to come back in time */
#define PF_FILE_SIZE   (32ull << 20)
#define PF_EXTENTS     15u /* of the arena */

struct pf {
	struct tmp_dir dir;
	char path[96];               /* of the arena's file, in dir */
	struct loop own_loop, *loop; /* a test may have another one run */
	struct arena arena;
	struct flush flush;
	struct leases leases;
	struct leases_config config;
	uint64_t n_changed;
};

/* A client's end. */
struct pf_client {
	struct pf *pf;
	int fd; /* -1: none */
	uint32_t seq;
	uint64_t owner;
	int arena_fd; /* that came with HELLO's reply; -1: none did */
	/* Said unasked, while a reply was waited for. */
	struct portal_frame notice[256];
	unsigned n_notices;
};

/* The directory and the loop; nothing runs. */
void pf_init(struct pf *pf);
void pf_done(struct pf *pf);

/* Open the arena (its file is made if there is none), with clients "a" and "b" (rw, "a" may quiesce, quota 8 extents), "r"
 * (ro), and "l" (rw, lingers for PF_LINGER_MS). */
void pf_start(struct pf *pf);
/* As the daemon ends: in order, or as if killed (nothing is written any more). */
void pf_stop(struct pf *pf);

/* Run the loop until `done` says so, or for `ms`. */
bool pf_run(struct pf *pf, bool (*done)(struct pf *pf, void *arg), void *arg, int ms);
void pf_run_for(struct pf *pf, int ms);

/* Connect to a client's door, without HELLO. */
void pf_connect(struct pf *pf, struct pf_client *c, const char *client);
/* And with it.  Fails the test if it is refused. */
void pf_hello(struct pf *pf, struct pf_client *c, const char *client, const char *name);
void pf_hang_up(struct pf_client *c);

/* Send a request (type, args, name are the caller's) and wait for its reply, which *frame becomes.  Its status. */
int pf_ask(struct pf_client *c, struct portal_frame *frame);
void pf_send(struct pf_client *c, struct portal_frame *frame);
/* The next frame.  False: the connection has ended. */
bool pf_next(struct pf_client *c, struct portal_frame *ret_frame);
/* The next notice of this type, which may have come already. */
void pf_notice(struct pf_client *c, uint32_t type, struct portal_frame *ret_frame);

/* Requests in short: the status, and what came back. */
int pf_get(struct pf_client *c, uint64_t n, uint64_t kind, uint32_t *ret_first);
int pf_put(struct pf_client *c, uint64_t first, uint64_t n);
int pf_publish(struct pf_client *c, const char *name, uint64_t type, uint64_t offset, uint64_t len);
int pf_unpublish(struct pf_client *c, const char *name);
int pf_simple(struct pf_client *c, uint32_t type, uint64_t arg0, uint64_t arg1);

static inline uint64_t pf_arg(const struct portal_frame *frame, unsigned i)
{
	return le64_get(frame->args[i]);
}

#endif
