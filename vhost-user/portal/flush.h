/* SPDX-License-Identifier: MIT */
/* Group commit: many ask for what is written to be on the disk, one fdatasync() answers them.
 *
 * fdatasync() may take as long as the disk likes, so that a thread of its own calls it.  A request is answered by the
 * first call that began after it was made: those that come while one runs share the next.
 *
 *	request a ─┐                 request b, c ─┐
 *	           └─ fdatasync ── a done          └─ fdatasync ── b, c done
 *
 * An error is for ever: Linux tells it once and then takes the lost pages for clean, so that a later success would be a lie.
 * Every later request fails with it, and so says the live page.  Memory without a file has nothing to flush: requests
 * succeed in the same pass of the loop and `durable` says what that is worth.
 *
 * Threads: the loop's; the callback too.
 */
#ifndef PORTAL_FLUSH_H
#define PORTAL_FLUSH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct flush_request;

/* status: 0 or the -errno that was latched.  The request is the owner's again, and may be made anew from in here. */
typedef void flush_fn(struct flush_request *request, int status);

/* Embedded in its owner; zero-filled is one that is not made. */
struct flush_request {
	flush_fn *fn;
	struct flush_request *next, *prev;
	bool queued;
};

struct flush {
	struct loop *loop;
	int fd;
	bool durable;
	int error;           /* 0 or -errno, latched */
	int (*sync)(int fd); /* fdatasync(), unless a test has another */
	/* Heads of lists: to be answered by the next call; by the one that runs. */
	struct flush_request next, under_way;
	bool running;
	uint64_t n_requests, n_syncs;
	/* After each call, and before it is answered: counters, error, which may be set here.  May be NULL. */
	void (*changed)(struct flush *);

	struct loop_source done_src;
	struct loop_work done_work; /* without a disk */
	int done_fd;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* guards the two below, between the loop's thread and the other */
	pthread_cond_t wake;
	enum { FLUSH_IDLE, FLUSH_GO, FLUSH_DONE, FLUSH_STOP } step;
	int result;
};

/* fd stays the caller's.  error: one that was latched before (0 or -errno).  -EAGAIN, -ENOMEM, -EMFILE. */
int flush_init(struct flush *f, struct loop *loop, int fd, bool durable, int error);
/* Waits for the call that runs.  Requests not yet answered are forgotten.  Zero-filled is fine. */
void flush_done(struct flush *f);

/* Call fn when everything written until now is on the disk; never from inside this call.  `r` must not be queued. */
void flush_request(struct flush *f, struct flush_request *r, flush_fn *fn);
/* Forget it: fn is not called.  Legal for one that is not queued. */
void flush_cancel(struct flush *f, struct flush_request *r);

#endif
