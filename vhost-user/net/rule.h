/* SPDX-License-Identifier: MIT */
/* Impairment of some frames: between two ports, or of those that match.
 *
 * A rule stands between the switch's look-up and the receiver's link, and has an engine like a link's (impair.h), which
 * all frames that it is for go through together.  It may name the port that a frame came in at, the port that it goes
 * to, and what is in the frame (match.h); what it does not name is any.  Rules are asked in the order they were made,
 * and the first that is for a frame is the only one.
 *
 * Without rules a switch does not ask.  With rules it asks for each frame and each receiver of it.
 *
 * Ownership: a rule that names a port goes with it.  Frames under way to a port that goes are dropped.
 * Threads:   the loop thread. */
#ifndef NET_RULE_H
#define NET_RULE_H

#include "impair.h"
#include "link_clock.h"
#include "match.h"
#include "offload.h"
#include "profile.h"
#include "stage.h"
#include "switch.h"

#define RULE_ID_MAX 64 /* with the terminating zero */
#define RULES_MAX   256

struct rule_held;

struct rule {
	struct rules *rules;
	char id[RULE_ID_MAX];
	struct sw_port *in, *out; /* NULL: any */
	struct match match;
	struct profile_name profile;
	struct impair im;
	struct link_event event;
	struct rule *next;
};

struct rules {
	struct sw_between between;
	struct sw *sw;
	struct link_clock *clock;
	struct rule *first;
	unsigned n;
	struct rule_held *held, *spare; /* frames in the engines; what is kept for the next ones */
	struct offload_work work;
};

void rules_init(struct rules *rules, struct sw *sw, struct link_clock *clock);
void rules_done(struct rules *rules);

/* NULL: no such rule. */
struct rule *rule_find(const struct rules *rules, const char *id);

/* A new rule that does nothing to any frame yet, behind all others.  -EEXIST, -EINVAL: its id is empty or too long;
 * -ENOSPC: RULES_MAX; -ENOMEM. */
int rule_new(struct rules *rules, const char *id, struct rule **ret);

/* What it holds goes on at once, if its receiver is there. */
void rule_free(struct rule *r);

void rule_set(struct rule *r, const struct impair_config *config, bool reseed);

#endif
