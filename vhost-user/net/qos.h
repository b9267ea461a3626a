/* SPDX-License-Identifier: MIT */
/* Shaping by classes: who goes first when a link is full.
 *
 * A policy has a rate and classes of frames.  Whenever the link is free, the next frame is that of
 *
 *   1. a class below its own rate (what it is guaranteed), the highest priority first;
 *   2. any class below its ceiling, the highest priority first;
 *
 * and among classes of one priority by deficit round robin, so that they share bytes evenly whatever their frames'
 * sizes.  A frame belongs to the first class whose match holds; what no class wants is in a class of its own, "other",
 * of priority 0.  Rates and ceilings are token buckets of burst_bytes.
 *
 * Time is virtual, as in impair.h: rates are exact however late one looks.
 *
 * Trust:     frames are guests', matches check them.  A class holds limit_bytes at most.
 * Ownership: a policy is counted by reference, by its name's table and by each shaper of it; frames pushed are the
 *            shaper's until taken.
 * Threads:   plain data. */
#ifndef NET_QOS_H
#define NET_QOS_H

#include <stdbool.h>
#include <stdint.h>

#include "impair.h"
#include "match.h"

#define QOS_NAME_MAX      64 /* with the terminating zero */
#define QOS_CLASSES_MAX   32
#define QOS_PRIORITIES    8
#define QOS_LIMIT_DEFAULT (1u << 20)
#define QOS_QUANTUM       1514 /* bytes: a frame of the common MTU a turn */
#define QOS_BURST_DEFAULT 3028 /* two such: a class that is bound is not late for its turn */

struct qos_class_config {
	char name[QOS_NAME_MAX];
	unsigned priority; /* 7 is first */
	struct match match;
	uint64_t rate_bps; /* guaranteed; 0: nothing is */
	uint64_t ceil_bps; /* 0: the policy's rate */
	uint64_t burst_bytes;
	uint64_t limit_bytes;
};

struct qos_policy {
	unsigned refs;
	char name[QOS_NAME_MAX];
	uint64_t rate_bps;  /* 0: no limit but the classes' */
	unsigned n_classes; /* "other" is the last */
	struct qos_class_config class[QOS_CLASSES_MAX + 1];
};

struct qos_class {
	const struct qos_class_config *config;
	struct impair_ring ring;
	uint64_t bytes;
	uint64_t deficit;
	uint64_t rate_ns, ceil_ns; /* when its bucket would be empty of debt */
	uint64_t sent_frames, sent_bytes, dropped;
};

struct qos {
	struct qos_policy *policy;
	struct qos_class class[QOS_CLASSES_MAX + 1];
	unsigned turn[QOS_PRIORITIES]; /* whose it is, among equals */
	uint64_t held_frames, held_bytes;
	bool sending; /* entry: on the link until free_ns */
	struct impair_entry entry;
	uint64_t free_ns, fraction;
	impair_drop_fn *drop;
};

struct qos_out {
	void *frame;
	uint64_t at_ns;
};

void qos_policy_unref(struct qos_policy *p);

/* Takes a reference of its own.  NULL: no memory. */
struct qos *qos_new(struct qos_policy *policy, impair_drop_fn *drop);

/* Drops what is held.  NULL is fine. */
void qos_free(struct qos *q);

/* Never NULL. */
struct qos_class *qos_classify(struct qos *q, const struct sw_frame *f);

/* Is there room for a frame?  If not, it has been counted as dropped. */
bool qos_has_room(struct qos *q, struct qos_class *c, uint64_t now_ns, uint32_t len);

/* Keep a frame.  For want of memory it is dropped and counted. */
void qos_push(struct qos *q, struct qos_class *c, uint64_t now_ns, void *frame, uint32_t len);
void qos_push_failed(struct qos *q, struct qos_class *c);

/* Those that have crossed the link by now, at most n. */
unsigned qos_take(struct qos *q, uint64_t now_ns, struct qos_out *ret, unsigned n);

/* All that is held, whatever the time; at most n, again until 0. */
unsigned qos_take_all(struct qos *q, struct qos_out *ret, unsigned n);

/* When there may be something to take; IMPAIR_NEVER: not before the next push. */
uint64_t qos_next(const struct qos *q);

void qos_drop_held(struct qos *q);
void qos_held(const struct qos *q, uint64_t *ret_frames, uint64_t *ret_bytes);
uint64_t qos_dropped(const struct qos *q);

#endif
