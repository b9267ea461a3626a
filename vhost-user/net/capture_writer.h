/* SPDX-License-Identifier: MIT */
/* The thread of a capture: takes frames out of its ring, makes pcapng of them, and writes it to a file or a viewer.
 *
 * It ends by itself, in one of these ways, and says so by its eventfd:
 *   asked     capture_writer_stop(): what is in the ring is written, then the statistics
 *   ended     the viewer has closed its socket
 *   failed    the file or the socket gave an error.  A file that could not take a block is cut back to the last whole
 *             one, so that it can be read.
 *
 * A viewer that reads nothing fills the ring, and frames are dropped; the writer waits for it as long as nobody asks it
 * to stop, and then for CAPTURE_WRITER_GRACE_NS.
 *
 * Ownership: the writer owns its descriptors; ring and texts are borrowed until capture_writer_join().
 * Threads:   functions are the loop thread's; everything in `struct capture_writer` but what is said to be
 *            set before the start is the writer's own until it is joined. */
#ifndef NET_CAPTURE_WRITER_H
#define NET_CAPTURE_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "capture_ring.h"
#include "offload.h"
#include "pcapng.h"

/* How long the writer sleeps at least between two looks: a viewer is no later than that, and the switch wakes it no
 * more often. */
#define CAPTURE_NAP_NS 2000000

#define CAPTURE_WRITER_GRACE_NS 1000000000ull

enum capture_end {
	CAPTURE_STOPPED,
	CAPTURE_ENDED,
	CAPTURE_FAILED,
};

/* What the switch counts for the statistics of an interface. */
struct capture_counts {
	_Atomic uint64_t frames; /* that passed the filter and found room */
	_Atomic uint64_t bytes;
	_Atomic uint64_t dropped;
};

struct capture_interface {
	char *name; /* owned by who made the array */
	char *description;
	struct capture_counts counts;
};

struct capture_writer {
	/* Set before the start. */
	struct capture_ring *ring;
	const char *comment; /* may be NULL */
	const char *filter;  /* may be NULL */
	uint32_t snaplen;    /* 0: all */
	struct capture_interface *interface;
	unsigned n_interfaces;
	int fd;
	const char *path;
	bool is_socket;
	uint64_t rotate_bytes; /* 0: one file */
	unsigned files;
	int done_fd; /* an eventfd, written to when it has ended */

	/* To be read when it is joined. */
	enum capture_end end;
	int error; /* a positive errno */

	pthread_t thread;
	_Atomic bool stopping;
	uint64_t start_ns;
	uint64_t stop_ns;    /* when it began to stop, CLOCK_MONOTONIC; 0: not yet */
	uint64_t file_bytes; /* written to this file, whole blocks */
	struct pcapng out;
	struct offload_work offload;
	const struct capture_record *record; /* being cut into segments */
};

/* Begin.  -EAGAIN, -ENOMEM: there is no thread to be had; fd is still the caller's then. */
int capture_writer_start(struct capture_writer *w);

/* Ask it to end.  It will, but perhaps not soon: done_fd tells. */
void capture_writer_stop(struct capture_writer *w);

/* After done_fd has told: clean up behind it. */
void capture_writer_join(struct capture_writer *w);

/* Wait for its end until `until_ns` (CLOCK_MONOTONIC) and join it; false: it is stuck in the kernel, and left. */
bool capture_writer_join_until(struct capture_writer *w, uint64_t until_ns);

#endif
