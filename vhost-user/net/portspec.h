/* SPDX-License-Identifier: MIT */
/* A port as JSON describes it: an element of the file's "ports", and the params of port.add and
 * port.set.
 *
 * Reading is strict and has no effect: what is unknown, missing, of another type or out of range is
 * said with its place inside the object ("vlan/trunk/3: outside 1..4094"), and nothing was made yet.
 *
 * Ownership: a spec borrows from the object it was read from, but for its VLAN set: port_spec_done().
 *            Texts in *why are of malloc() and the caller's.
 * Threads:   none. */
#ifndef NET_PORTSPEC_H
#define NET_PORTSPEC_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include "port_type.h"
#include "storm.h"
#include "vlan.h"

/* The members of "storm". */
extern const char *const storm_names[STORM_N_KINDS];

/* Stations one port can be given: as many as a table holds on it by default. */
#define PORT_SPEC_STATIONS_MAX 1024

/* What can be changed while the port runs.  Bits of port_spec.given. */
enum port_spec_given {
	SPEC_VLAN = 1 << 0,
	SPEC_ISOLATED = 1 << 1,
	SPEC_OFFLOADS = 1 << 2,
	SPEC_STORM = 1 << 3,
	SPEC_FDB_MAX = 1 << 4,
	SPEC_STATIONS = 1 << 5,
};

struct port_spec {
	const char *name;
	const struct port_type *type; /* NULL in port.set */
	struct json_object *object;   /* all of it: for the type's own members */

	unsigned given; /* enum port_spec_given: which of these were said */
	struct vlan_port vlan;
	bool isolated;
	bool offloads; /* true unless said otherwise */
	uint32_t storm_pps[STORM_N_KINDS];
	unsigned storm_given; /* bit by enum storm_kind */
	uint32_t fdb_max;     /* addresses learned on it; 0: the table's per-port bound */
	unsigned n_stations;
	uint64_t *station; /* fdb_key() of each, no VLAN in it; owned */
};

/* Read the object of a new port.  -EINVAL and *why; -ENOMEM. */
int port_spec_read(struct json_object *o, struct port_spec *ret, char **why);

/* Read the params of port.set: a name, and only what can be changed. */
int port_spec_read_set(struct json_object *o, struct port_spec *ret, char **why);

void port_spec_done(struct port_spec *spec);

/* Write a text into *why and return -EINVAL. */
int spec_wrong(char **why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For the own members of a type.  Absent: 0 and *ret untouched.  Of another type, empty, or out of
 * range: -EINVAL and *why.  Strings live as long as the object. */
int spec_string(const struct port_spec *spec, const char *name, const char **ret, char **why);
int spec_uint(const struct port_spec *spec, const char *name, uint64_t low, uint64_t high,
	      uint64_t *ret, char **why);
int spec_bool(const struct port_spec *spec, const char *name, bool *ret, char **why);
/* NULL if absent. */
struct json_object *spec_member(const struct port_spec *spec, const char *name);

/* "52:54:00:00:00:01" as fdb_key() has it.  False: it is no address of a station. */
bool spec_mac(const char *text, uint64_t *ret_key);

/* A name of a port or a mirror: 1 to 63 of A-Z a-z 0-9 . _ : - */
bool spec_name_is_good(const char *name);

/* What can be set, as it is now, into an object of port.list. */
void port_spec_describe(const struct sw_port *p, struct json_object *o);

/* Carry out what was given, on a port that is attached.  All or nothing: -EINVAL, -ENOMEM, -ENOSPC and
 * *why. */
int port_spec_apply(struct sw_port *p, const struct port_spec *spec, char **why);

#endif
