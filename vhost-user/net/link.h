/* SPDX-License-Identifier: MIT */
/* Links: what stands between a port of the switch and what is plugged into it.
 *
 * A link has two directions, each a stage of its port (stage.h) with an engine (impair.h) and a policy in front of it
 * (qos.h): what a guest sends goes through "from-guest" before the switch looks at it, what it is sent through
 * "to-guest" after.  A direction that does nothing and holds nothing is taken off the port, and costs nothing.
 *
 * Single packets: a link that loses, repeats, reorders or rates cuts large packets (GSO) before it looks, so that 1 %
 * loss is a packet in a hundred and not a 64 KiB burst in a hundred.  Checksums are left to the receiver as before,
 * unless bits are flipped: then they are completed first, or nobody would notice.
 *
 * What is kept lies in the switch's bounce buffers, never in a guest's memory: a guest that is waiting for its own
 * frames back would stall.  A frame that is lost is not copied at all.
 *
 * Ownership: a link is made when first asked for and goes with its port; frames under way go with it, counted as
 *            dropped_reset.
 * Threads:   the loop thread. */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "impair.h"
#include "link_clock.h"
#include "offload.h"
#include "profile.h"
#include "stage.h"
#include "switch.h"

/* Steps of a timeline; a request has to fit CONTROL_LINE_MAX. */
#define LINK_STEPS_MAX 1024

struct link;
struct links;
struct qos;

struct link_way {
	struct sw_stage stage;
	struct link *link;
	enum sw_direction direction; /* SW_INGRESS: from the guest */
	struct impair im;
	struct qos *qos; /* NULL: none */
	struct link_event event;
	uint64_t last_ns; /* until when the engine has gone */
	uint64_t lost;    /* what the port's counters have been told of */
	bool cuts;        /* large packets */
	uint32_t cut_to;
	bool ecn; /* frames are asked whether they may be marked */

	/* Settings. */
	struct profile_name profile; /* they began with; "": none */
	struct impair_config stays;  /* what is left when for-ns is over, and its profile */
	struct profile_name stays_profile;
	struct loop_timer expire;
	uint64_t expire_ns; /* 0: it is not set */
	void *steps;        /* of a timeline, its maker's; NULL: there is none */
	struct loop_timer step;
	uint64_t steps_from_ns, steps_repeat_ns;
	uint32_t steps_next;
};

struct link {
	struct links *links;
	struct sw_port *port;
	struct sw_stage stage;  /* sees no frames */
	struct link_way way[2]; /* by enum sw_direction */
	struct loop_timer flap;
	struct link *next;
};

enum link_cause {
	LINK_SET,
	LINK_RESET,
	LINK_EXPIRED,
	LINK_TIMELINE,
	LINK_UP,
	LINK_DOWN,
};

struct links {
	struct loop *loop; /* NULL: no timers, for tests */
	struct sw *sw;
	struct link_clock clock;
	struct link *first;
	struct offload_work
		work[2]; /* a frame from a guest is cut while one to another is being cut */

	/* Something happened to settings or carrier.  NULL: nobody wants to know. */
	void (*changed)(struct links *links, struct link_way *way, enum link_cause cause);
	/* A step of a timeline is due; a timeline goes with its link. */
	void (*step)(struct link_way *way);
	void (*forget)(struct link_way *way);
	void *context;
};

void links_init(struct links *links, struct loop *loop, struct sw *sw);

/* All ports must have been detached. */
void links_done(struct links *links);

/* The link of a port, or NULL if it was never asked for anything. */
struct link *link_find(const struct sw_port *p);

/* The same, made if need be: one that does nothing.  -ENOMEM. */
int link_make(struct links *links, struct sw_port *p, struct link **ret);

/* Put settings into force (impair_set()). */
void link_way_set(struct link_way *way, const struct impair_config *config, bool reseed,
		  enum link_cause cause);

/* Shape by a policy from now on, or no more (NULL).  Frames waiting in the old one go into the new one, or on their way.
 * Owned from here. */
void link_way_set_qos(struct link_way *way, struct qos *qos);

/* Throw away what is under way. */
void link_way_drop_held(struct link_way *way);

/* Frames and bytes in the policy and the engine. */
void link_way_held(const struct link_way *way, uint64_t *ret_frames, uint64_t *ret_bytes);

const char *link_direction_name(enum sw_direction d);

#endif
