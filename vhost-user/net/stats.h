/* SPDX-License-Identifier: MIT */
/* What a port counts.
 *
 * One list makes the structure, the names in the control protocol and the table in
 * the man page's source of truth.  To add a counter: one row here, one line in
 * vhost-user-net(8), one assertion in a test.
 *
 * Directions are the switch's: ingress is what a guest sent us, egress is what we
 * gave to a guest.  A frame dropped is counted under its one cause, with the port at
 * which it was lost; ingress_frames counts every frame that came in, delivered or not.
 *
 * Threads: the loop thread counts and reads. */
#ifndef NET_STATS_H
#define NET_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define NET_COUNTERS(X)                                                                       \
	X(ingress_frames, "frames taken from the guest")                                      \
	X(ingress_bytes, "bytes in them, without virtio header")                              \
	X(ingress_flooded, "frames sent to every port: destination unknown or a group")       \
	X(ingress_drop_short, "frames shorter than an Ethernet header")                       \
	X(ingress_drop_long, "frames longer than 65558 bytes")                                \
	X(ingress_drop_header, "frames asking for an offload that was not negotiated")        \
	X(ingress_drop_source, "frames from a group address or from address zero")            \
	X(ingress_drop_local, "frames to a station on the port they came from")               \
	X(ingress_drop_vlan, "frames of a VLAN that the port, or the station's, is not in")   \
	X(ingress_drop_isolated, "frames from an isolated port to another one")               \
	X(ingress_drop_pinned, "frames from an address that is pinned to another port")       \
	X(ingress_drop_broadcast, "broadcasts beyond the storm limit")                        \
	X(ingress_drop_multicast, "multicasts beyond the storm limit")                        \
	X(ingress_drop_unknown, "frames to unknown stations beyond the storm limit")          \
	X(ingress_drop_link, "frames that came while the link was down")                      \
	X(ingress_drop_impaired, "frames lost to the impairment of the link")                 \
	X(ingress_drop_busy, "frames that the main thread could not take over from a worker") \
	X(ingress_drop_disabled, "frames sent on a queue that is not enabled")                \
	X(egress_frames, "frames given to the guest")                                         \
	X(egress_bytes, "bytes in them, without virtio header")                               \
	X(egress_drop_full, "frames lost because the guest had no buffer ready")              \
	X(egress_drop_size, "frames lost because the guest's buffers are too small")          \
	X(egress_drop_down, "frames lost because the port had no running receive queue")      \
	X(egress_drop_link, "frames lost because the link was down")                          \
	X(egress_drop_offload, "frames that could not be made what the receiver can take")    \
	X(egress_drop_impaired, "frames lost to the impairment of the link")                  \
	X(egress_mirrored, "frames of other ports that were shown to this one")               \
	X(fdb_learned, "addresses learned")                                                   \
	X(fdb_moved, "addresses that came here from another port")                            \
	X(fdb_evicted, "addresses given up, here or elsewhere, for one learned here")         \
	X(queue_broken, "queues stopped because the driver broke the ring")                   \
	X(queue_kicks, "times the guest woke us")                                             \
	X(queue_calls, "times we interrupted the guest")                                      \
	X(sessions, "frontends that connected")                                               \
	X(sessions_refused, "frontends turned away because one was connected")

struct port_stats {
#define X(name, text) uint64_t name;
	NET_COUNTERS(X)
#undef X
};

/* X(name, unit, values to one unit, first and last bucket that metrics.h tells, text): distributions, see histogram.h. */
#define NET_HISTOGRAMS(X)                                         \
	X(ingress_burst, frames, 1, 0, 7, "frames taken at once") \
	X(egress_burst, frames, 1, 0, 7, "frames given at once")  \
	X(latency, seconds, 1000000000, 7, 27,                    \
	  "time inside the switch, from taking a burst to giving it, of one burst in 64")

#define LATENCY_SAMPLE 64 /* two looks at the clock cost less than a thousandth of so many bursts */

struct port_histograms {
#define X(name, unit, scale, first, last, text) struct histogram name;
	NET_HISTOGRAMS(X)
#undef X
};

struct port_histogram {
	const char *name, *unit, *text;
	uint64_t scale;
	unsigned first, last;
	size_t offset; /* in struct port_histograms */
};

enum {
#define X(name, unit, scale, first, last, text) +1
	PORT_N_HISTOGRAMS = 0 NET_HISTOGRAMS(X)
#undef X
};

extern const struct port_histogram port_histograms[PORT_N_HISTOGRAMS];

static inline const struct histogram *port_histogram_of(const struct port_histograms *p,
							const struct port_histogram *h)
{
	return (const struct histogram *)(const void *)((const char *)p + h->offset);
}

/* What a queue of a port counts: frames that went through it, and those lost at it. */
struct queue_stats {
	uint64_t frames, bytes, dropped;
};

struct port_counter {
	const char *name;
	const char *text;
	size_t offset; /* in struct port_stats */
};

enum {
#define X(name, text) +1
	PORT_N_COUNTERS = 0 NET_COUNTERS(X)
#undef X
};

/* In the order of the list above. */
extern const struct port_counter port_counters[PORT_N_COUNTERS];

static inline uint64_t port_counter_value(const struct port_stats *s, const struct port_counter *c)
{
	return *(const uint64_t *)(const void *)((const char *)s + c->offset);
}

#endif
