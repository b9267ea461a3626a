/* SPDX-License-Identifier: MIT */
/* Threads that do nothing but move frames (--threads N, N above 1).
 *
 * Each worker polls the transmitqs of its share of the vhost-user ports, classifies what they send and
 * copies it into the receivers' memory.  Everything else stays with the main thread and its loop:
 * sessions, control, timers, uplinks, and all frames that meet a stage, a tap, a mirror, a rule
 * or a port of another kind; a worker hands those over in bounce buffers.
 *
 * Two states of the world:
 *   standing   the main thread does anything, and no worker anything at all.  That is the rule: it is so
 *              from the end of each wait in the loop to the beginning of the next.  So nothing outside of
 *              the path of a burst knows of threads: a memory table, a ring, a port, a setting changes
 *              while nobody looks.
 *   moving     the main thread waits for descriptors, and the workers run.
 * To stop the world takes as long as the longest burst under way.
 *
 * While the world moves a worker shares with others, and locks for as short as it can:
 *   an FDB     sw.fdb_lock, to learn and to look up.  A port remembers its last answers as long as the table does
 *              not change (sw_port.memo), so that a steady flow takes the lock once a second;
 *   a receiver sw_port.lock, for one burst into it;
 *   handing over  sw.handoff.lock.
 * Order: a receiver's lock or one of the others, never two.
 *
 * A worker that finds a ring broken, or a session's memory damaged, can do nothing about it: it leaves the
 * ring alone, and the main thread ends it.
 *
 * A worker without an active transmitq sleeps.  Kicks come to the main thread, which wakes it: some
 * microseconds more than with one thread, when a silent guest begins to speak.
 *
 * Threads: the main thread's functions. */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#include "loop.h"
#include "port_vu.h"
#include "switch.h"

#define WORKERS_MAX 16

struct worker;

struct workers {
	struct loop *loop;
	struct sw *sw;
	pthread_mutex_t lock; /* whoever has it may let the world move or make it stand */
	bool standing, quit;
	unsigned n_waiting; /* workers that would run */
	unsigned n;
	struct worker *worker[WORKERS_MAX];
	int bell_fd; /* a worker has something for the main thread */
	bool rung;
	struct loop_source bell;
};

/* Start n workers, 2 to WORKERS_MAX, whose groups are made as `like`.  The world stands until the loop
 * waits.  -errno; nothing is left then. */
int workers_start(struct workers *ws, struct loop *loop, struct sw *sw,
		  const struct port_vu_group *like, unsigned n);

/* End them.  Their ports must be gone, or never be used again; zero-filled is fine. */
void workers_stop(struct workers *ws);

/* The group of worker i. */
struct port_vu_group *workers_group(struct workers *ws, unsigned i);

#endif
