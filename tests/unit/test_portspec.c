/* SPDX-License-Identifier: MIT */
/* Ports as JSON describes them: what is understood, what is refused and with which words, what it does to a port. */
#include "portspec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "switch_fixture.h"

static struct rig rig;

static struct json_object *parse(const char *text)
{
	struct json_object *o = json_tokener_parse(text);

	assert_non_null(o);
	return o;
}

static void test_all(void **state)
{
	struct json_object *o = parse(
		"{\"name\":\"n1\",\"type\":\"vhost-user\",\"socket-path\":\"/x\",\"vlan\":{\"trunk\":[10,4094],"
		"\"native\":1},\"isolated\":true,\"offloads\":false,\"fdb-max\":7,\"storm\":{\"broadcast-pps\":5,"
		"\"unknown-pps\":0},\"stations\":[\"52:54:00:AB:cd:ef\"]}");
	struct port_spec s;
	char *why = NULL;

	assert_int_equal(port_spec_read(o, &s, &why), 0);
	assert_string_equal(s.name, "n1");
	assert_ptr_equal(s.type, port_type_default());
	assert_int_equal(s.given, SPEC_VLAN | SPEC_ISOLATED | SPEC_OFFLOADS | SPEC_STORM |
					  SPEC_FDB_MAX | SPEC_STATIONS);
	assert_int_equal(s.vlan.mode, VLAN_TRUNK);
	assert_int_equal(s.vlan.pvid, 1);
	assert_true(vlan_set_has(s.vlan.set, 1) && vlan_set_has(s.vlan.set, 10) &&
		    vlan_set_has(s.vlan.set, 4094));
	assert_false(vlan_set_has(s.vlan.set, 2));
	assert_true(s.isolated);
	assert_false(s.offloads);
	assert_int_equal(s.fdb_max, 7);
	assert_int_equal(s.storm_given, 1 << STORM_BROADCAST | 1 << STORM_UNKNOWN);
	assert_int_equal(s.storm_pps[STORM_BROADCAST], 5);
	assert_int_equal(s.n_stations, 1);
	assert_int_equal(s.station[0], 0x525400abcdefu);
	port_spec_done(&s);
	json_object_put(o);
}

static void test_least(void **state)
{
	struct json_object *o = parse("{\"name\":\"n1\",\"socket-path\":\"/x\"}");
	struct port_spec s;
	char *why = NULL;

	assert_int_equal(port_spec_read(o, &s, &why), 0);
	assert_int_equal(s.given, 0);
	assert_true(s.offloads);
	assert_int_equal(s.vlan.mode, VLAN_PLAIN);
	port_spec_done(&s);
	json_object_put(o);
}

/* What is wrong in the object, beside a name and a path that are right; and what is said. */
static void test_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "\"x\":1", "x: not one of name" },
		{ "\"type\":\"carrier-pigeon\"", "type: not one of vhost-user" },
		{ "\"type\":1", "type: not a string" },
		{ "\"isolated\":1", "isolated: not true or false" },
		{ "\"offloads\":\"no\"", "offloads: not true or false" },
		{ "\"vlan\":10", "vlan: neither an object nor null" },
		{ "\"vlan\":{}", "vlan: needs one of" },
		{ "\"vlan\":{\"access\":1,\"trunk\":[2]}", "vlan: needs one of" },
		{ "\"vlan\":{\"access\":0}", "vlan/access: outside 1..4094" },
		{ "\"vlan\":{\"access\":4095}", "vlan/access: outside 1..4094" },
		{ "\"vlan\":{\"access\":\"10\"}", "vlan/access: not a whole number" },
		{ "\"vlan\":{\"access\":10,\"native\":1}", "vlan/native: a trunk's alone" },
		{ "\"vlan\":{\"native\":1}", "vlan: needs one of" },
		{ "\"vlan\":{\"tunnel\":-1}", "vlan/tunnel: outside" },
		{ "\"vlan\":{\"trunk\":\"some\"}", "vlan/trunk: neither" },
		{ "\"vlan\":{\"trunk\":5}", "vlan/trunk: neither" },
		{ "\"vlan\":{\"trunk\":[5,4095]}", "vlan/trunk/1: outside 1..4094" },
		{ "\"vlan\":{\"trunk\":[5.5]}", "vlan/trunk/0: not a whole number" },
		{ "\"vlan\":{\"trunk\":[5],\"native\":0}", "vlan/native: outside" },
		{ "\"vlan\":{\"trunks\":[5]}", "vlan/trunks: not one of" },
		{ "\"storm\":1", "storm: not an object" },
		{ "\"storm\":{\"pps\":1}", "storm/pps: not one of broadcast-pps" },
		{ "\"storm\":{\"multicast-pps\":1000000001}", "storm/multicast-pps: outside" },
		{ "\"fdb-max\":-1", "fdb-max: outside 0..1048576" },
		{ "\"fdb-max\":1048577", "fdb-max: outside 0..1048576" },
		{ "\"stations\":{}", "stations: not an array" },
		{ "\"stations\":[1]", "stations/0: not a station's address" },
		{ "\"stations\":[\"52:54:00:00:00:01\",\"52:54:00:00:00\"]", "stations/1: not" },
		{ "\"stations\":[\"52:54:00:00:00:01:\"]", "stations/0: not" },
		{ "\"stations\":[\"52-54-00-00-00-01\"]", "stations/0: not" },
		{ "\"stations\":[\"5254:00:00:00:001\"]", "stations/0: not" },
		{ "\"stations\":[\"00:00:00:00:00:00\"]", "stations/0: not" },
		{ "\"stations\":[\"01:00:5e:00:00:01\"]", "stations/0: not" },
	};

	for (unsigned i = 0; i < array_size(bad); i++) {
		char text[256];
		struct json_object *o;
		struct port_spec s = { .given = 99 };
		auto_free char *why = NULL;

		(void)snprintf(text, sizeof(text), "{\"name\":\"a\",\"socket-path\":\"/x\",%s}",
			       bad[i][0]);
		o = parse(text);
		assert_int_equal(port_spec_read(o, &s, &why), -EINVAL);
		assert_non_null(why);
		if (strncmp(why, bad[i][1], strlen(bad[i][1])) != 0)
			fail_msg("%s: said \"%s\"", bad[i][0], why);
		assert_int_equal(s.given, 99);
		json_object_put(o);
	}
}

static void test_names(void **state)
{
	static const char *const bad[][2] = {
		{ "1", "not an object" },
		{ "{\"socket-path\":\"/x\"}", "name: missing" },
		{ "{\"name\":\"\",\"socket-path\":\"/x\"}", "name: empty" },
		{ "{\"name\":\"a b\",\"socket-path\":\"/x\"}", "name: not 1 to 63" },
		{ "{\"name\":\"a\\u0000b\",\"socket-path\":\"/x\"}", "name: empty, or with a NUL" },
		{ "{\"name\":\"0123456789012345678901234567890123456789012345678901234567890123\","
		  "\"socket-path\":\"/x\"}",
		  "name: not 1 to 63" },
		{ "{\"name\":\"a\"}", "socket-path: missing" },
		{ "{\"name\":\"a\",\"socket-path\":1}", "socket-path: not a string" },
	};

	for (unsigned i = 0; i < array_size(bad); i++) {
		struct json_object *o = parse(bad[i][0]);
		auto_free char *why = NULL;
		struct port_spec s;

		assert_int_equal(port_spec_read(o, &s, &why), -EINVAL);
		assert_non_null(strstr(why, bad[i][1]));
		json_object_put(o);
	}
	assert_true(spec_name_is_good("A-z.0_9:"));
	assert_true(spec_name_is_good(
		"012345678901234567890123456789012345678901234567890123456789012"));
}

/* port.set: no type, no members of one, and a name. */
static void test_set(void **state)
{
	static const char *const bad[] = { "{\"name\":\"a\",\"type\":\"vhost-user\"}",
					   "{\"name\":\"a\",\"socket-path\":\"/x\"}",
					   "{\"isolated\":true}" };
	struct json_object *o = parse("{\"name\":\"a\",\"vlan\":null}");
	struct port_spec s;
	char *why = NULL;

	assert_int_equal(port_spec_read_set(o, &s, &why), 0);
	assert_int_equal(s.given, SPEC_VLAN);
	assert_int_equal(s.vlan.mode, VLAN_PLAIN);
	port_spec_done(&s);
	json_object_put(o);
	for (unsigned i = 0; i < array_size(bad); i++) {
		o = parse(bad[i]);
		assert_int_equal(port_spec_read_set(o, &s, &why), -EINVAL);
		json_object_put(o);
	}
	free(why);
}

/* Set port 0 of the rig. */
static int set(const char *members, char **why)
{
	char text[512];
	struct json_object *o;
	struct port_spec s;
	int r;

	(void)snprintf(text, sizeof(text), "{\"name\":\"p0\",%s}", members);
	o = parse(text);
	assert_int_equal(port_spec_read_set(o, &s, why), 0);
	r = port_spec_apply(&rig.p[0].port, &s, why);
	port_spec_done(&s);
	json_object_put(o);
	return r;
}

static void assert_described(const char *want)
{
	struct json_object *o = json_object_new_object();

	port_spec_describe(&rig.p[0].port, o);
	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), want);
	json_object_put(o);
}

static void test_apply(void **state)
{
	struct sw_port *p = &rig.p[0].port;
	char *why = NULL;

	rig_up(&rig);
	assert_described("{\"link\":\"up\"}");
	assert_int_equal(
		set("\"vlan\":{\"trunk\":[7,5],\"native\":6},\"isolated\":true,\"offloads\":false,"
		    "\"storm\":{\"unknown-pps\":3},\"fdb-max\":2,\"stations\":[\"02:00:00:00:00:01\"]",
		    &why),
		0);
	assert_described(
		"{\"link\":\"up\",\"vlan\":{\"trunk\":[5,6,7],\"native\":6},\"isolated\":true,"
		"\"offloads\":false,\"storm\":{\"unknown-pps\":3},\"fdb-max\":2}");
	assert_true(p->no_offloads);
	assert_int_equal(rig.sw.n_vlan, 1);
	assert_int_equal(fdb_lookup(&rig.sw.fdb, 0x020000000001u | fdb_key_vlan(6)), p->id);

	/* What is not said stays; a storm limit is one of three. */
	assert_int_equal(set("\"storm\":{\"broadcast-pps\":4}", &why), 0);
	assert_described(
		"{\"link\":\"up\",\"vlan\":{\"trunk\":[5,6,7],\"native\":6},\"isolated\":true,"
		"\"offloads\":false,\"storm\":{\"broadcast-pps\":4,\"unknown-pps\":3},\"fdb-max\":2}");
	assert_int_equal(
		set("\"vlan\":{\"trunk\":\"all\"},\"isolated\":false,\"offloads\":true,"
		    "\"storm\":{\"broadcast-pps\":0,\"unknown-pps\":0},\"fdb-max\":0,\"stations\":[]",
		    &why),
		0);
	assert_described("{\"link\":\"up\",\"vlan\":{\"trunk\":\"all\"}}");
	assert_int_equal(fdb_count(&rig.sw.fdb), 0);
	assert_int_equal(set("\"vlan\":{\"tunnel\":9}", &why), 0);
	assert_described("{\"link\":\"up\",\"vlan\":{\"tunnel\":9}}");
	assert_int_equal(set("\"vlan\":null", &why), 0);
	assert_int_equal(rig.sw.n_vlan, 0);
	sw_set_link(p, SW_DOWN_ADMIN, false);
	assert_described("{\"link\":\"down\"}");
	rig_down(&rig);
}

/* Refused for one member, none of the others has had an effect. */
static void test_all_or_nothing(void **state)
{
	struct sw_port *p = &rig.p[0].port;
	char *why = NULL;

	rig_up(&rig);
	assert_int_equal(fdb_pin(&rig.sw.fdb, 1u | fdb_key_vlan(6), rig.p[1].port.id), 0);
	assert_int_equal(
		set("\"vlan\":{\"access\":6},\"isolated\":true,\"stations\":[\"00:00:00:00:00:01\"]",
		    &why),
		-EINVAL);
	assert_string_equal(why, "stations/0: pinned to port \"p1\"");
	assert_int_equal(set("\"vlan\":{\"access\":6},\"isolated\":true,\"fdb-max\":65", &why),
			 -EINVAL);
	assert_string_equal(why, "fdb-max: more than the table's 64");
	assert_described("{\"link\":\"up\"}");
	assert_int_equal(p->vlan.mode, VLAN_PLAIN);
	free(why);
	rig_down(&rig);
}

static void test_station_bound(void **state)
{
	struct json_object *o, *stations = json_object_new_array();
	struct port_spec s;
	char *why = NULL, mac[18];

	rig_up(&rig);
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string("p0"));
	json_object_object_add(o, "stations", stations);
	for (unsigned i = 0; i <= PORT_SPEC_STATIONS_MAX; i++) {
		(void)snprintf(mac, sizeof(mac), "02:00:00:00:%02x:%02x", i >> 8, i & 0xff);
		json_object_array_add(stations, json_object_new_string(mac));
		if (i == 31) { /* half of the table */
			assert_int_equal(port_spec_read_set(o, &s, &why), 0);
			assert_int_equal(port_spec_apply(&rig.p[0].port, &s, &why), 0);
			assert_int_equal(port_spec_apply(&rig.p[0].port, &s, &why), 0);
			port_spec_done(&s);
		}
		if (i == 32) {
			assert_int_equal(port_spec_read_set(o, &s, &why), 0);
			assert_int_equal(port_spec_apply(&rig.p[0].port, &s, &why), -ENOSPC);
			port_spec_done(&s);
		}
	}
	assert_int_equal(fdb_port_pinned(&rig.sw.fdb, rig.p[0].port.id), 32);
	assert_int_equal(port_spec_read_set(o, &s, &why), -EINVAL);
	assert_string_equal(why, "stations: more than 1024");
	free(why);
	json_object_put(o);
	rig_down(&rig);
}

static void test_own_members(void **state)
{
	struct port_spec s = { .object = parse("{\"t\":\"x\",\"e\":\"\",\"n\":5,\"b\":true}") };
	const char *text = "unsaid";
	uint64_t n = 9;
	bool b = false;
	char *why = NULL;

	assert_int_equal(spec_string(&s, "no", &text, &why), 0);
	assert_string_equal(text, "unsaid");
	assert_int_equal(spec_string(&s, "t", &text, &why), 0);
	assert_string_equal(text, "x");
	assert_int_equal(spec_string(&s, "e", &text, &why), -EINVAL);
	assert_int_equal(spec_uint(&s, "no", 1, 2, &n, &why), 0);
	assert_int_equal(n, 9);
	assert_int_equal(spec_uint(&s, "n", 0, 4, &n, &why), -EINVAL);
	assert_string_equal(why, "n: outside 0..4");
	assert_int_equal(spec_uint(&s, "n", 0, 5, &n, &why), 0);
	assert_int_equal(n, 5);
	assert_int_equal(spec_bool(&s, "n", &b, &why), -EINVAL);
	assert_int_equal(spec_bool(&s, "b", &b, &why), 0);
	assert_true(b);
	assert_null(spec_member(&s, "no"));
	free(why);
	json_object_put(s.object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_all_or_nothing),
		cmocka_unit_test(test_station_bound),
		cmocka_unit_test(test_own_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
