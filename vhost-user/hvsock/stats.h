/* SPDX-License-Identifier: MIT */
/* What is counted for a VM.
 *
 * One list makes the structure, the names in the control protocol and the table in the man page's source of
 * truth.  To add a counter: one row here, one line in vhost-user-hvsock(8), one assertion in a test.
 *
 * "To the guest" and "from the guest" are meant literally; the other end may be a socket of the host or another
 * guest.
 *
 * Threads: the loop thread counts and reads. */
#ifndef HVSOCK_STATS_H
#define HVSOCK_STATS_H

#include <stddef.h>
#include <stdint.h>

#define HV_COUNTERS(X)                                                                            \
	X(connections_to_guest, "connections the guest accepted")                                 \
	X(connections_from_guest, "connections of the guest that were accepted")                  \
	X(refused_by_guest, "connections the guest refused, or did not answer in time")           \
	X(refused_by_host, "connections of the guest that nobody took")                           \
	X(refused_sibling, "connections of the guest to a CID unknown or not allowed")            \
	X(refused_limit_connections, "connections refused because the VM has too many")           \
	X(refused_limit_rate, "connections of the guest refused because they came too fast")      \
	X(refused_channel, "connections for which there is no VMBus channel, or no descriptors")  \
	X(reset_limit_bytes, "connections reset because the VM's buffers are full")               \
	X(reset_credit, "connections reset because the guest sent more than it was allowed")      \
	X(reset_malformed, "connections reset because of a packet that contradicts itself")       \
	X(reset_message, "connections reset because a message was longer than can be passed")     \
	X(reset_timeout, "connections reset because the guest did not end them in time")          \
	X(packets_from_guest, "packets taken from the guest")                                     \
	X(packets_to_guest, "packets given to the guest")                                         \
	X(bytes_from_guest, "bytes of data in packets from the guest")                            \
	X(bytes_to_guest, "bytes of data in packets to the guest")                                \
	X(bytes_buffered, "bytes of data from the guest that the other end did not take at once") \
	X(drop_short, "packets from the guest shorter than their header")                         \
	X(drop_source, "packets from the guest with a CID that is not its own")                   \
	X(drop_disabled, "packets sent on a queue that is not enabled")                           \
	X(packets_unknown, "packets for no connection, answered with a reset")                    \
	X(packets_ignored, "packets that mean nothing in the state of their connection")          \
	X(credit_updates, "packets to the guest that carry nothing but credit")                   \
	X(credit_requests, "packets to the guest that ask for credit")                            \
	X(resets_restored, "connections of a predecessor that were reset for it")                 \
	X(queue_broken, "queues, or channels, stopped because the guest broke the ring")          \
	X(queue_kicks, "times the guest woke us")                                                 \
	X(queue_calls, "times we interrupted the guest")                                          \
	X(sessions, "frontends that connected")                                                   \
	X(sessions_refused, "frontends turned away because one was connected")

struct hv_stats {
#define X(name, text) uint64_t name;
	HV_COUNTERS(X)
#undef X
};

struct hv_counter {
	const char *name;
	const char *text;
	size_t offset; /* in struct hv_stats */
};

enum {
#define X(name, text) +1
	HV_N_COUNTERS = 0 HV_COUNTERS(X)
#undef X
};

/* In the order of the list above. */
extern const struct hv_counter hv_counters[HV_N_COUNTERS];

static inline uint64_t hv_counter_value(const struct hv_stats *s, const struct hv_counter *c)
{
	return *(const uint64_t *)(const void *)((const char *)s + c->offset);
}

#endif
