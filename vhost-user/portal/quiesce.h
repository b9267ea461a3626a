/* SPDX-License-Identifier: MIT */
/* Bringing an arena to rest, so that somebody can copy it.
 *
 *	RUNNING ──begin──▶ DRAINING ──all acknowledged, or the deadline──▶ FROZEN
 *	   ▲                   │                                             │
 *	   └──────thaw─────────┴──────thaw, the starter's end, the hold──────┘
 *
 * begin raises the epoch; each client that writes is told, finishes what it has begun, and acknowledges the epoch.  Who
 * does not in time is a laggard: counted, and not waited for.  Who started it learns how many there are and decides.  A frozen arena
 * always thaws: nobody can hold it for longer than the daemon's limit.
 *
 * The state is in the live page, for clients that look there, and told by `changed` for those that have to be told.
 *
 * Pure but for the timers; who the clients are, and how they are told, is the owner's.
 * Trust:   leases and epochs are clients'; an acknowledgement of another epoch, or of a lease not waited for, is nothing.
 * Threads: loop thread.
 */
#ifndef PORTAL_QUIESCE_H
#define PORTAL_QUIESCE_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "loop.h"

#define QUIESCE_DEADLINE_MS 5000u      /* unless said otherwise */
#define QUIESCE_HOLD_MS     60000u     /* the longest freeze, unless configured otherwise */
#define QUIESCE_NOBODY      UINT32_MAX /* a starter that holds no lease: the control socket */

struct quiesce;

/* The state has changed: tell everybody. */
typedef void quiesce_fn(struct quiesce *q);

struct quiesce {
	struct loop *loop;
	struct portal_live *live;
	quiesce_fn *changed;
	uint64_t hold_max_ms;

	uint64_t epoch;
	enum portal_quiesce_state state;
	uint32_t starter; /* a lease, or QUIESCE_NOBODY */
	uint64_t hold_ms;
	uint64_t until_ns; /* of this state: the deadline, or the thaw */
	uint64_t waiting[PORTAL_LEASES / 64];
	uint32_t n_waiting, n_laggards; /* laggards: of the freeze at hand */
	struct loop_timer timer;
};

/* Runs, whatever the live page says; the epoch goes on from there. */
void quiesce_init(struct quiesce *q, struct loop *loop, struct portal_live *live,
		  uint64_t hold_max_ms, quiesce_fn *changed);
/* Thaws without telling.  Zero-filled is fine. */
void quiesce_done(struct quiesce *q);

/* Start: wait for the leases whose bits are set.  hold_ms 0: the limit.  With nobody to wait for it is frozen when this
 * returns.  -EALREADY: it is not running. */
int quiesce_begin(struct quiesce *q, uint32_t starter, const uint64_t leases[PORTAL_LEASES / 64],
		  uint64_t deadline_ms, uint64_t hold_ms);
/* A lease has come to rest.  -ESTALE: not for this epoch, or not waited for. */
int quiesce_ack(struct quiesce *q, uint32_t lease, uint64_t epoch);
/* A lease has ended: it is not waited for; if it was the starter's, the arena thaws. */
void quiesce_left(struct quiesce *q, uint32_t lease);
/* -EINVAL: it runs. */
int quiesce_thaw(struct quiesce *q);

static inline bool quiesce_running(const struct quiesce *q)
{
	return q->state == PORTAL_RUNNING;
}

/* Milliseconds until the deadline or the thaw; 0 while it runs. */
uint64_t quiesce_left_ms(const struct quiesce *q);

#endif
