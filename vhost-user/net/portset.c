/* SPDX-License-Identifier: MIT */
/* What portspec.h describes, done to a port and told of it. */
#include <errno.h>
#include <stdio.h>

#include "portspec.h"
#include "switch.h"

/* The VLAN that a station is in if nobody says it: that of frames without a tag. */
static uint64_t station_key(const struct vlan_port *vlan, uint64_t mac)
{
	return mac | fdb_key_vlan(vlan->pvid);
}

/* Could all stations be pinned to p, if what is pinned to it were not? */
static int check_stations(struct sw_port *p, const struct port_spec *spec, char **why)
{
	const struct vlan_port *vlan = spec->given & SPEC_VLAN ? &spec->vlan : &p->vlan;
	const struct fdb *fdb = &p->sw->fdb;
	uint32_t others = fdb->n_fixed - fdb_port_pinned(fdb, p->id);

	for (unsigned i = 0; i < spec->n_stations; i++) {
		uint32_t e = fdb_find(fdb, station_key(vlan, spec->station[i]));

		if (e != FDB_NONE && fdb->entry[e].fixed && fdb->entry[e].port != p->id)
			return spec_wrong(why, "stations/%u: pinned to port \"%s\"", i,
					  p->sw->port[fdb->entry[e].port]->name);
	}
	if (others + spec->n_stations > fdb->config.size / 2) {
		spec_wrong(why, "stations: more than half of the address table");
		return -ENOSPC;
	}
	return 0;
}

static void pin_stations(struct sw_port *p, const struct port_spec *spec)
{
	fdb_unpin_port(&p->sw->fdb, p->id);
	for (unsigned i = 0; i < spec->n_stations; i++)
		(void)fdb_pin(&p->sw->fdb, station_key(&p->vlan, spec->station[i]), p->id);
}

int port_spec_apply(struct sw_port *p, const struct port_spec *spec, char **why)
{
	struct vlan_port vlan = { 0 };
	int r = 0;

	if (spec->given & SPEC_FDB_MAX && spec->fdb_max > p->sw->fdb.config.size)
		return spec_wrong(why, "fdb-max: more than the table's %u", p->sw->fdb.config.size);
	if (spec->given & SPEC_STATIONS)
		r = check_stations(p, spec, why);
	if (r == 0 && spec->given & SPEC_VLAN)
		r = vlan_port_copy(&spec->vlan, &vlan);
	if (r < 0)
		return r;

	/* Nothing can fail from here on. */
	if (spec->given & SPEC_VLAN)
		sw_set_vlan(p, &vlan);
	if (spec->given & SPEC_ISOLATED)
		p->isolated = spec->isolated;
	if (spec->given & SPEC_OFFLOADS)
		p->no_offloads = !spec->offloads;
	for (unsigned kind = 0; kind < STORM_N_KINDS; kind++)
		if (spec->storm_given & 1u << kind)
			sw_set_storm(p, kind, spec->storm_pps[kind]);
	if (spec->given & SPEC_FDB_MAX)
		fdb_set_port_max(&p->sw->fdb, p->id, spec->fdb_max);
	if (spec->given & SPEC_STATIONS)
		pin_stations(p, spec);
	return 0;
}

/* ---- as it is now ------------------------------------------------------------------------------- */

static struct json_object *trunk_json(const struct vlan_set *set)
{
	struct json_object *o;
	unsigned n = 0;

	for (uint16_t vid = 1; vid <= VLAN_MAX; vid++)
		n += vlan_set_has(set, vid);
	if (n == VLAN_MAX)
		return json_object_new_string("all");
	o = json_object_new_array();
	for (uint16_t vid = 1; vid <= VLAN_MAX; vid++)
		if (vlan_set_has(set, vid))
			json_object_array_add(o, json_object_new_int(vid));
	return o;
}

static struct json_object *vlan_json(const struct vlan_port *v)
{
	static const char *const names[] = {
		[VLAN_ACCESS] = "access", [VLAN_TUNNEL] = "tunnel", [VLAN_TRUNK] = "native"
	};
	struct json_object *o = json_object_new_object();

	if (v->mode == VLAN_TRUNK)
		json_object_object_add(o, "trunk", trunk_json(v->set));
	if (v->pvid != 0)
		json_object_object_add(o, names[v->mode], json_object_new_int(v->pvid));
	return o;
}

static struct json_object *storm_json(const struct storm *s)
{
	struct json_object *o = json_object_new_object();

	for (unsigned kind = 0; kind < STORM_N_KINDS; kind++)
		if (s->bucket[kind].pps != 0)
			json_object_object_add(o, storm_names[kind],
					       json_object_new_int64(s->bucket[kind].pps));
	return o;
}

void port_spec_describe(const struct sw_port *p, struct json_object *o)
{
	const struct fdb *fdb = &p->sw->fdb;

	json_object_object_add(o, "link", json_object_new_string(p->down ? "down" : "up"));
	if (p->vlan.mode != VLAN_PLAIN)
		json_object_object_add(o, "vlan", vlan_json(&p->vlan));
	if (p->isolated)
		json_object_object_add(o, "isolated", json_object_new_boolean(true));
	if (p->no_offloads)
		json_object_object_add(o, "offloads", json_object_new_boolean(false));
	if (p->storm.on)
		json_object_object_add(o, "storm", storm_json(&p->storm));
	if (fdb->port[p->id].max != fdb->config.per_port)
		json_object_object_add(o, "fdb-max", json_object_new_int64(fdb->port[p->id].max));
}
