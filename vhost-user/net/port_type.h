/* SPDX-License-Identifier: MIT */
/* The kinds of port, one row each, for port.add, port.list, port.remove and the file's "ports".
 *
 * A kind is added by: a port_<kind>.c with a `const struct port_type port_<kind>_type`, one row in
 * PORT_TYPES, one section in vhost-user-net(8).  Its members in the JSON object that makes a port stand
 * in `members`; everything common to all ports (name, type, vlan, …) has been read by portspec.h.
 *
 * Threads: the loop thread. */
#ifndef NET_PORT_TYPE_H
#define NET_PORT_TYPE_H

#include <json-c/json.h>

#include "port.h"

struct net;
struct port_spec;

struct port_type {
	const char *name; /* also sw_port_ops.type of its ports */

	/* Names of its own members, separated by commas, "?" after an optional one:
	 * "socket-path,client?".  What is unknown or missing has been refused when open() is called;
	 * values are open()'s to check: spec_string() and so on of portspec.h. */
	const char *members;

	/* Check the values of its own members, and make nothing: for the whole file before its first
	 * port.  0, or -EINVAL and *why as open().  NULL: open() finds out. */
	int (*check)(const struct port_spec *spec, char **why);

	/* Make the port and attach it to net->sw by spec->name.  0, or -errno and perhaps a text in
	 * *why, of malloc(): what is wrong, beginning with the member it is about ("socket-path: ...").
	 * -EINVAL: a value is wrong; -EEXIST, -ENOSPC: sw_attach(); others: it did not work. */
	int (*open)(struct net *net, const struct port_spec *spec, struct sw_port **ret,
		    char **why);

	/* Detach it and free it, now or soon. */
	void (*close)(struct sw_port *p);

	/* Add its own members to what port.list says: at least "state".  May be NULL. */
	void (*describe)(const struct sw_port *p, struct json_object *o);
};

/* X(name of the object); the first is the default. */
#define PORT_TYPES(X)       \
	X(port_vu_type)     \
	X(port_nat_type)    \
	X(port_tap_type)    \
	X(port_vde_type)    \
	X(port_stream_type) \
	X(port_dgram_type)  \
	X(port_vxlan_type)

#define X(object) extern const struct port_type object;
PORT_TYPES(X)
#undef X

/* The kind of a port that does not say one. */
const struct port_type *port_type_default(void);

/* NULL: there is no such kind. */
const struct port_type *port_type_find(const char *name);

/* The kind of a port that stands in a switch; NULL for a test's own. */
const struct port_type *port_type_of(const struct sw_port *p);

/* "vhost-user, nat, tap": for messages. */
const char *port_type_names(void);

#endif
