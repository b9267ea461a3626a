/* SPDX-License-Identifier: MIT */
#include "portspec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "fdb.h"

#define COMMON "name,type?,vlan?,isolated?,offloads?,storm?,fdb-max?,stations?"
#define SET    "name,vlan?,isolated?,offloads?,storm?,fdb-max?,stations?"

int spec_wrong(char **why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	free(*why);
	if (vasprintf(why, fmt, ap) < 0)
		*why = NULL;
	va_end(ap);
	return -EINVAL;
}

bool spec_name_is_good(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	return n > 0 && n < SW_PORT_NAME_MAX && name[n] == '\0';
}

static unsigned hex_digit(char c)
{
	if (c <= '9')
		return (unsigned)(c - '0');
	return (unsigned)((c | 0x20) - 'a' + 10);
}

bool spec_mac(const char *text, uint64_t *ret_key)
{
	uint64_t key = 0;

	for (unsigned i = 0; i < 6; i++, text += 3) {
		if (strspn(text, "0123456789abcdefABCDEF") != 2 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		key = key << 8 | hex_digit(text[0]) << 4 | hex_digit(text[1]);
	}
	if (key == 0 || key & UINT64_C(1) << 40)
		return false;
	*ret_key = key;
	return true;
}

/* ---- values ------------------------------------------------------------------------------------- */

static int read_number(struct json_object *value, const char *where, uint64_t low, uint64_t high,
		       uint64_t *ret, char **why)
{
	int64_t n = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int))
		return spec_wrong(why, "%s: not a whole number", where);
	if (n < 0 || (uint64_t)n < low || (uint64_t)n > high)
		return spec_wrong(why, "%s: outside %" PRIu64 "..%" PRIu64, where, low, high);
	*ret = (uint64_t)n;
	return 0;
}

static int read_flag(struct json_object *value, const char *where, bool *ret, char **why)
{
	if (!json_object_is_type(value, json_type_boolean))
		return spec_wrong(why, "%s: not true or false", where);
	*ret = json_object_get_boolean(value);
	return 0;
}

static int read_text(struct json_object *value, const char *where, const char **ret, char **why)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return spec_wrong(why, "%s: not a string", where);
	if (*text == '\0' || strlen(text) != (size_t)json_object_get_string_len(value))
		return spec_wrong(why, "%s: empty, or with a NUL in it", where);
	*ret = text;
	return 0;
}

/* ---- members ------------------------------------------------------------------------------------ */

/* Does the list name `key`, as needed or not? */
static bool listed(const char *list, const char *key)
{
	size_t len = strlen(key);

	while (*list) {
		size_t n = strcspn(list, "?,");

		if (n == len && memcmp(list, key, n) == 0)
			return true;
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return false;
}

static int check_needed(struct json_object *o, const char *list, char **why)
{
	while (*list) {
		size_t n = min(strcspn(list, "?,"), (size_t)63);
		char name[64] = "";

		memcpy(name, list, n);
		if (list[n] != '?' && !json_object_object_get_ex(o, name, NULL))
			return spec_wrong(why, "%s: missing", name);
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return 0;
}

/* All members are in one of the two lists, and those needed are there. */
static int check_members(struct json_object *o, const char *common, const char *own, char **why)
{
	int r;

	json_object_object_foreach(o, key, value)
	{
		(void)value;
		if (!listed(common, key) && !listed(own, key))
			return spec_wrong(why, "%.64s: not one of %s%s%s", key, common,
					  *own ? "," : "", own);
	}
	r = check_needed(o, common, why);
	return r < 0 ? r : check_needed(o, own, why);
}

struct json_object *spec_member(const struct port_spec *spec, const char *name)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(spec->object, name, &value);
	return value;
}

int spec_string(const struct port_spec *spec, const char *name, const char **ret, char **why)
{
	struct json_object *value;

	if (!json_object_object_get_ex(spec->object, name, &value))
		return 0;
	return read_text(value, name, ret, why);
}

int spec_uint(const struct port_spec *spec, const char *name, uint64_t low, uint64_t high,
	      uint64_t *ret, char **why)
{
	struct json_object *value;

	if (!json_object_object_get_ex(spec->object, name, &value))
		return 0;
	return read_number(value, name, low, high, ret, why);
}

int spec_bool(const struct port_spec *spec, const char *name, bool *ret, char **why)
{
	struct json_object *value;

	if (!json_object_object_get_ex(spec->object, name, &value))
		return 0;
	return read_flag(value, name, ret, why);
}

/* ---- what all ports have ------------------------------------------------------------------------ */

static int read_trunk(struct json_object *value, struct vlan_set *set, char **why)
{
	if (json_object_is_type(value, json_type_string) &&
	    strcmp(json_object_get_string(value), "all") == 0) {
		for (uint16_t vid = 1; vid <= VLAN_MAX; vid++)
			vlan_set_add(set, vid);
		return 0;
	}
	if (!json_object_is_type(value, json_type_array))
		return spec_wrong(why, "vlan/trunk: neither an array of VLANs nor \"all\"");
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		char where[40];
		uint64_t vid = 0;
		int r;

		(void)snprintf(where, sizeof(where), "vlan/trunk/%zu", i);
		r = read_number(json_object_array_get_idx(value, i), where, 1, VLAN_MAX, &vid, why);
		if (r < 0)
			return r;
		vlan_set_add(set, (uint16_t)vid);
	}
	return 0;
}

/* One of the three kinds, and "native" with a trunk alone. */
static int read_vlan_kind(struct json_object *o, struct vlan_port *v, char **why)
{
	struct json_object *trunk = NULL;
	bool native = false;
	unsigned kinds = 0;
	uint64_t vid = 0;
	int r = 0;

	json_object_object_foreach(o, key, value)
	{
		char where[32];

		(void)snprintf(where, sizeof(where), "vlan/%.16s", key);
		if (strcmp(key, "trunk") == 0) {
			v->mode = VLAN_TRUNK;
			trunk = value;
			kinds++;
			continue;
		}
		if (strcmp(key, "native") == 0) {
			native = true;
		} else if (strcmp(key, "access") == 0 || strcmp(key, "tunnel") == 0) {
			v->mode = *key == 'a' ? VLAN_ACCESS : VLAN_TUNNEL;
			kinds++;
		} else {
			return spec_wrong(why, "%s: not one of access, trunk, native, tunnel",
					  where);
		}
		r = read_number(value, where, 1, VLAN_MAX, &vid, why);
		if (r < 0)
			return r;
	}
	if (kinds != 1)
		return spec_wrong(why, "vlan: needs one of access, trunk, tunnel");
	if (native && v->mode != VLAN_TRUNK)
		return spec_wrong(why, "vlan/native: a trunk's alone");
	v->pvid = (uint16_t)vid;
	if (trunk) {
		v->set = calloc(1, sizeof(*v->set));
		if (!v->set)
			return -ENOMEM;
		if (native)
			vlan_set_add(v->set, v->pvid);
		r = read_trunk(trunk, v->set, why);
	}
	return r;
}

static int read_vlan(struct json_object *value, struct port_spec *spec, char **why)
{
	if (json_object_is_type(value, json_type_null))
		return 0; /* plain */
	if (!json_object_is_type(value, json_type_object))
		return spec_wrong(why, "vlan: neither an object nor null");
	return read_vlan_kind(value, &spec->vlan, why);
}

const char *const storm_names[STORM_N_KINDS] = {
	[STORM_BROADCAST] = "broadcast-pps",
	[STORM_MULTICAST] = "multicast-pps",
	[STORM_UNKNOWN] = "unknown-pps",
};

static int read_storm(struct json_object *o, struct port_spec *spec, char **why)
{
	if (!json_object_is_type(o, json_type_object))
		return spec_wrong(why, "storm: not an object");
	json_object_object_foreach(o, key, value)
	{
		unsigned kind = 0;
		char where[32];
		uint64_t pps = 0;
		int r;

		while (kind < STORM_N_KINDS && strcmp(key, storm_names[kind]) != 0)
			kind++;
		(void)snprintf(where, sizeof(where), "storm/%.20s", key);
		if (kind == STORM_N_KINDS)
			return spec_wrong(why, "%s: not one of %s, %s, %s", where, storm_names[0],
					  storm_names[1], storm_names[2]);
		r = read_number(value, where, 0, STORM_PPS_MAX, &pps, why);
		if (r < 0)
			return r;
		spec->storm_pps[kind] = (uint32_t)pps;
		spec->storm_given |= 1u << kind;
	}
	return 0;
}

static int read_stations(struct json_object *value, struct port_spec *spec, char **why)
{
	size_t n;

	if (!json_object_is_type(value, json_type_array))
		return spec_wrong(why, "stations: not an array");
	n = json_object_array_length(value);
	if (n > PORT_SPEC_STATIONS_MAX)
		return spec_wrong(why, "stations: more than %d", PORT_SPEC_STATIONS_MAX);
	spec->station = calloc(n + 1, sizeof(*spec->station));
	if (!spec->station)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct json_object *mac = json_object_array_get_idx(value, i);

		if (!json_object_is_type(mac, json_type_string) ||
		    !spec_mac(json_object_get_string(mac), &spec->station[i]))
			return spec_wrong(why, "stations/%zu: not a station's address", i);
	}
	spec->n_stations = (unsigned)n;
	return 0;
}

static int read_fdb_max(struct json_object *value, struct port_spec *spec, char **why)
{
	uint64_t n = 0;
	int r = read_number(value, "fdb-max", 0, FDB_SIZE_MAX, &n, why);

	if (r == 0)
		spec->fdb_max = (uint32_t)n;
	return r;
}

static int read_isolated(struct json_object *value, struct port_spec *spec, char **why)
{
	return read_flag(value, "isolated", &spec->isolated, why);
}

static int read_offloads(struct json_object *value, struct port_spec *spec, char **why)
{
	return read_flag(value, "offloads", &spec->offloads, why);
}

static const struct {
	const char *name;
	enum port_spec_given bit;
	int (*read)(struct json_object *value, struct port_spec *spec, char **why);
} settings[] = {
	{ "vlan", SPEC_VLAN, read_vlan },
	{ "isolated", SPEC_ISOLATED, read_isolated },
	{ "offloads", SPEC_OFFLOADS, read_offloads },
	{ "storm", SPEC_STORM, read_storm },
	{ "fdb-max", SPEC_FDB_MAX, read_fdb_max },
	{ "stations", SPEC_STATIONS, read_stations },
};

static int read_settings(struct port_spec *spec, char **why)
{
	for (unsigned i = 0; i < array_size(settings); i++) {
		struct json_object *value;
		int r;

		if (!json_object_object_get_ex(spec->object, settings[i].name, &value))
			continue;
		spec->given |= settings[i].bit;
		r = settings[i].read(value, spec, why);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_name(struct port_spec *spec, char **why)
{
	int r = spec_string(spec, "name", &spec->name, why);

	if (r < 0)
		return r;
	if (!spec->name)
		return spec_wrong(why, "name: missing");
	if (!spec_name_is_good(spec->name))
		return spec_wrong(why, "name: not 1 to %d of A-Z a-z 0-9 . _ : -",
				  SW_PORT_NAME_MAX - 1);
	return 0;
}

static int read_type(struct port_spec *spec, char **why)
{
	const char *type = port_type_default()->name;
	int r = spec_string(spec, "type", &type, why);

	if (r < 0)
		return r;
	spec->type = port_type_find(type);
	if (!spec->type)
		return spec_wrong(why, "type: not one of %s", port_type_names());
	return 0;
}

static int read_object(struct json_object *o, bool set, struct port_spec *ret, char **why)
{
	struct port_spec spec = { .object = o, .offloads = true };
	int r;

	if (!json_object_is_type(o, json_type_object))
		return spec_wrong(why, "not an object");
	r = read_name(&spec, why);
	if (r == 0 && !set)
		r = read_type(&spec, why);
	if (r == 0)
		r = check_members(o, set ? SET : COMMON, set ? "" : spec.type->members, why);
	if (r == 0)
		r = read_settings(&spec, why);
	if (r == 0 && !set && spec.type->check)
		r = spec.type->check(&spec, why);
	if (r < 0) {
		port_spec_done(&spec);
		return r;
	}
	*ret = spec;
	return 0;
}

int port_spec_read(struct json_object *o, struct port_spec *ret, char **why)
{
	return read_object(o, false, ret, why);
}

int port_spec_read_set(struct json_object *o, struct port_spec *ret, char **why)
{
	return read_object(o, true, ret, why);
}

void port_spec_done(struct port_spec *spec)
{
	vlan_port_done(&spec->vlan);
	free(spec->station);
	spec->station = NULL;
}
