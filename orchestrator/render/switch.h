/* SPDX-License-Identifier: MIT */
/* What the switch of a network is told: its ports, and its settings.
 *
 * A port is made from two objects: what it is (port.add takes it, and a change of it means another port), and what can be
 * set while it runs.  Everything else is a setting: a call of one method, under a key by which two versions of a lab are
 * compared.  All texts are JSON in one line, so equal settings are equal texts.
 *
 *   profile:slow          profile.set          link:n1.0:to-guest      link.set
 *   policy:policy-a       qos.policy.set       timeline:n1.0:to-guest  timeline.set
 *   port:n1.0             port.set             shape:n1.0:to-guest     qos.set
 *   hosts:nat             hosts.set            rule:r                  rule.set
 *   forward:nat:tcp:…     forward.add          mirror:m, capture:c     mirror.add, capture.start
 *   carrier:n1.0          port.down: never said by a lab file, only while it runs
 *   uplink:nat            none: what a port is, so that it is made anew where that changes
 *
 * They come in an order in which a switch can be told them.  Pure.
 */
#ifndef RENDER_SWITCH_H
#define RENDER_SWITCH_H

#include <stdbool.h>
#include <glib.h>

struct json_object;
struct lab;
struct link;
struct nat_forward;
struct network;
struct uplink;

/* How a setting is made, changed and taken back. */
struct setting_kind {
	const char *word;   /* "link" */
	const char *method; /* "link.set"; NULL: nothing is told */
	const char *undo;   /* the method that takes it back */
	const char *const
		*names; /* the members of the first method's params that the other takes, too */
	const char *
		nothing; /* members that say "nothing" to undo, as JSON; NULL: its name is enough */
	bool of_port;    /* the word behind the first colon of its keys is a port */
	bool anew;       /* a change is to take it back, then make it */
	bool inward;     /* takes nothing but the switch itself, no file or address of the host */
};

struct setting {
	char *key;
	char *port;   /* it means nothing without that port; NULL: of none alone */
	char *params; /* what the method takes */
	const struct setting_kind *kind;
};

/* Of a network; of struct setting.  Free with g_ptr_array_unref(). */
GPtrArray *render_switch_settings(const struct lab *lab, const struct network *network);

/* The kind that a key is of; NULL: none (it is of another version of us). */
const struct setting_kind *setting_kind_of(const char *key);
/* The port that a key is about; NULL: none alone.  g_free(). */
char *setting_port_of(const char *key);
/* What undo takes, from what the method took.  The caller owns it. */
struct json_object *setting_undo_params(const struct setting_kind *kind, const char *params);

/* "key params\n" for each setting whose port is in ports (a set of names; NULL: all).  g_free(). */
char *render_switch_text(const struct lab *lab, const struct network *network, GHashTable *ports);

/* What a port is, and what is set about it from the beginning: the caller owns both.  *ret_port of a NIC: by its socket. */
void render_nic_port(const struct network *network, const char *port, const char *socket_path,
		     const struct link *link, struct json_object **ret_port,
		     struct json_object **ret_more);
void render_uplink_port(const struct lab *lab, const struct network *network,
			const struct uplink *uplink, struct json_object **ret_port,
			struct json_object **ret_more);

/* What link.set takes for a direction of a link that is to be exactly so; impair: NULL for one that does nothing. */
struct json_object *render_link_set(const char *port, const char *direction,
				    struct json_object *impair);

/* What forward.add takes. */
struct json_object *render_nat_forward(const char *uplink, const struct nat_forward *forward);

/* Members of the daemon's configuration, beside its ports. */
struct json_object *render_switch_config(const struct network *network);

#endif
