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
 *   qos.policy.set {"name","rate-bps"?,"classes":[CLASS…]} → {}
 *   qos.policy.remove {"name"} → {}
 *   qos.policy.list {} → {"policies":[{"name","rate-bps"?,"classes":[CLASS…]}…]}
 *   qos.set {"port","direction"?,"policy":NAME|null} → {}
 *
 *   LINK = {"port","up","to-guest":WAY,"from-guest":WAY}         of one direction alone if that was asked for
 *   WAY  = {"profile"?,"settings":{…SETTINGS},"counters":{…},"held":{"frames","bytes"},"reverts-in-ns"?,
 *           "timeline"?:{"steps","next","repeat-ns"?},"qos"?:POLICY,"classes"?:[{"name","frames","bytes","dropped","held"}…]}
 *   RULE = {"id","in"?,"out"?,"match"?,"profile"?,"settings","counters","held"}
 *   CLASS = {"name","priority"?,"match"?:{"dscp"?,"pcp"?,"vlan"?,"protocol"?,"port"?},"rate-bps"?,"ceil-bps"?,
 *           "burst-bytes"?,"limit-bytes"?}
 *   "match" of a rule = {"src"?,"dst"?,"vlan"?,"pcp"?,"ethertype"?,"protocol"?,"port"?,"dscp"?,"bpf"?}
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
typedef int link_ctl_fn(struct control_call *, struct json_object *, struct json_object **);

link_ctl_fn link_ctl_list, link_ctl_get, link_ctl_set, link_ctl_reset, link_ctl_timeline_set;
link_ctl_fn link_ctl_rule_set, link_ctl_rule_remove, link_ctl_rule_list;
link_ctl_fn link_ctl_profile_set, link_ctl_profile_remove, link_ctl_profile_list;
link_ctl_fn link_ctl_policy_set, link_ctl_policy_remove, link_ctl_policy_list, link_ctl_qos_set;

/* clang-format off */
#define LINK_METHODS                                                                                       \
	{ "link.list", link_ctl_list, "" },                                                                \
	{ "link.get", link_ctl_get, "port,direction?" },                                                   \
	{ "link.set", link_ctl_set, "port,direction?,profile?,replace?,for-ns?" IMPAIR_MEMBERS },          \
	{ "link.reset", link_ctl_reset, "port?,direction?,drop?" },                                        \
	{ "timeline.set", link_ctl_timeline_set, "port,direction?,steps,repeat?" },                        \
	{ "rule.set", link_ctl_rule_set, "id,in?,out?,match?,profile?,replace?" IMPAIR_MEMBERS },          \
	{ "rule.remove", link_ctl_rule_remove, "id" },                                                     \
	{ "rule.list", link_ctl_rule_list, "" },                                                           \
	{ "profile.set", link_ctl_profile_set, "name" IMPAIR_MEMBERS },                                    \
	{ "profile.remove", link_ctl_profile_remove, "name" },                                             \
	{ "profile.list", link_ctl_profile_list, "" },                                                     \
	{ "qos.policy.set", link_ctl_policy_set, "name,rate-bps?,classes" },                               \
	{ "qos.policy.remove", link_ctl_policy_remove, "name" },                                           \
	{ "qos.policy.list", link_ctl_policy_list, "" },                                                   \
	{ "qos.set", link_ctl_qos_set, "port,direction?,policy" }
/* clang-format on */

struct net;

/* Let links tell net's subscribers what happens to them, and carry out their timelines. */
void link_ctl_init(struct net *net);

#endif
