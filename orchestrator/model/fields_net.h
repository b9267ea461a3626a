/* SPDX-License-Identifier: MIT */
/* The objects of a lab file about networks and links, for the tables of fields.h and for who gives them a meaning.
 *
 *   network ── uplink, mirror, rule ── match, storm, capture
 *   nic, uplink ── vlan, sides (one name for each direction), impair ── impairment, moment
 *   impairment ── gemodel, markov, slot, codel, flap        what one direction of a link does to frames
 *   policy ── class ── traffic
 */
#ifndef MODEL_FIELDS_NET_H
#define MODEL_FIELDS_NET_H

#include "model/fields.h"

extern const struct field_object field_uplink, field_mirror, field_rule, field_match, field_storm,
	field_capture, field_vlan, field_sides, field_impair, field_gemodel, field_markov,
	field_slot, field_codel, field_flap, field_moment, field_class, field_traffic;

/* Words that the code uses as numbers. */
#define UPLINK_TYPES(X)     \
	X(NAT, "nat")       \
	X(TAP, "tap")       \
	X(VDE, "vde")       \
	X(STREAM, "stream") \
	X(DGRAM, "dgram")   \
	X(VXLAN, "vxlan")

enum uplink_type {
#define X(id, word) UPLINK_##id,
	UPLINK_TYPES(X)
#undef X
		UPLINK_TYPE_COUNT
};

#endif
