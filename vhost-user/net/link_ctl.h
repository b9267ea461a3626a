/* SPDX-License-Identifier: MIT */
/* What the control socket can do to links: impairment, rules, profiles and timelines.
 *
 *   link.list {} → {"links":[LINK…]}
 *   link.get {"port","direction"?} → LINK
 *   link.set {"port","direction"?,"profile"?,"replace"?,"for-ns"?,…SETTINGS} → LINK
 *   link.reset {"port"?,"direction"?,"drop"?} → {}
 *   timeline.set {"port","direction"?,"steps":[{"at-ns","set":{"profile"?,"replace"?,…SETTINGS}}…],"repeat"?} → {}
 *   rule.set {"id","in"?,"out"?,"match"?,"profile"?,"replace"?,…SETTINGS} → RULE
 *   rule.remove {"id"} → {}
 *   rule.list {} → {"rules":[RULE…]}
 *   profile.set {"name",…SETTINGS} → {}
 *   profile.remove {"name"} → {}
 *   profile.list {} → {"profiles":[{"name","built-in","text"?,"settings"}…]}
 *
 *   LINK = {"port","up","to-guest":WAY,"from-guest":WAY}         of one direction alone if that was asked for
 *   WAY  = {"profile"?,"settings":{…SETTINGS},"counters":{…},"held":{"frames","bytes"},"qos"?,"reverts-in-ns"?,
 *           "timeline"?:{"steps","next","repeat-ns"}}
 *   RULE = {"id","in"?,"out"?,"match"?,"profile"?,"settings","counters","held"}
 *
 * SETTINGS are the members of impair_config.h; null is a member's default.  "settings" in an answer has those that
 * differ from the default, and always the seed, so that a run can be repeated.  "direction" is "to-guest", "from-guest"
 * or "both" (the default).  A set changes what it names and leaves the rest ("replace": true starts from a link that
 * does nothing; so does "profile", from the profile).  With "for-ns" the settings named go back by themselves; what is
 * set meanwhile without it, stays.  "drop": true throws away frames under way, which a reset otherwise lets arrive.
 *
 * After "subscribe" comes {"method":"link","params":{"name","direction","cause"}} when a link's settings change; cause
 * is set, reset, expired (for-ns), timeline, up or down (flap).
 *
 * Threads: the loop thread. */
#ifndef NET_LINK_CTL_H
#define NET_LINK_CTL_H

#include "control.h"
#include "impair_config.h"

/* Of lib/control's methods; rows of ctl_methods. */
int link_list(struct control_call *, struct json_object *, struct json_object **);
int link_get(struct control_call *, struct json_object *, struct json_object **);
int link_set(struct control_call *, struct json_object *, struct json_object **);
int link_reset(struct control_call *, struct json_object *, struct json_object **);
int link_timeline_set(struct control_call *, struct json_object *, struct json_object **);
int link_rule_set(struct control_call *, struct json_object *, struct json_object **);
int link_rule_remove(struct control_call *, struct json_object *, struct json_object **);
int link_rule_list(struct control_call *, struct json_object *, struct json_object **);
int link_profile_set(struct control_call *, struct json_object *, struct json_object **);
int link_profile_remove(struct control_call *, struct json_object *, struct json_object **);
int link_profile_list(struct control_call *, struct json_object *, struct json_object **);

/* clang-format off */
#define LINK_METHODS                                                                                       \
	{ "link.list", link_list, "" },                                                                    \
	{ "link.get", link_get, "port,direction?" },                                                       \
	{ "link.set", link_set, "port,direction?,profile?,replace?,for-ns?" IMPAIR_MEMBERS },              \
	{ "link.reset", link_reset, "port?,direction?,drop?" },                                            \
	{ "timeline.set", link_timeline_set, "port,direction?,steps,repeat?" },                            \
	{ "rule.set", link_rule_set, "id,in?,out?,match?,profile?,replace?" IMPAIR_MEMBERS },              \
	{ "rule.remove", link_rule_remove, "id" },                                                         \
	{ "rule.list", link_rule_list, "" },                                                               \
	{ "profile.set", link_profile_set, "name" IMPAIR_MEMBERS },                                        \
	{ "profile.remove", link_profile_remove, "name" },                                                 \
	{ "profile.list", link_profile_list, "" }
/* clang-format on */

#endif
