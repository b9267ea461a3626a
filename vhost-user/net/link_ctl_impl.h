/* SPDX-License-Identifier: MIT */
/* What the files of the link's control methods share: link_ctl.c, rule_ctl.c and qos_ctl.c.
 *
 * Threads: the loop thread. */
#ifndef NET_LINK_CTL_IMPL_H
#define NET_LINK_CTL_IMPL_H

#include "ctl_impl.h"
#include "impair_json.h"
#include "link_ctl.h"
#include "match.h"

/* Settings as a request names them, over those there were. */
struct link_settings {
	struct impair_config config;
	struct profile_name profile;
	bool seeded; /* a seed was named: begin it anew */
};

/* Read "profile", "replace" and SETTINGS of `o`, beside `others`.  -EINVAL and why; nothing has changed then. */
int link_read_settings(struct net *net, struct json_object *o, const char *others,
		       struct link_settings *inout, char why[IMPAIR_WHY_MAX]);

/* Give settings that do something a seed, if they have none. */
void link_choose_seed(struct impair_config *c);

struct json_object *link_held_json(uint64_t frames, uint64_t bytes);

/* Bits by enum sw_direction: "direction" of params. */
int link_read_direction(struct control_call *call, struct json_object *params, unsigned *ret);

/* match_json.c.  Read an object into *ret, which is the caller's to match_done() after success.  `allowed`: enum
 * match_given.  -EINVAL and why, beginning with the member's name. */
int match_json_read(struct json_object *o, unsigned allowed, struct match *ret,
		    char why[IMPAIR_WHY_MAX]);
struct json_object *match_json(const struct match *m);

/* qos_ctl.c */
struct json_object *qos_classes_json(const struct qos *q);

#endif
