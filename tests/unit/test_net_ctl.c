/* SPDX-License-Identifier: MIT */
/* The switch's control methods, through the line interface of lib/control. */
#include "ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend.h"
#include "base.h"
#include "call.h"
#include "net.h"
#include "setup_ctl.h"
#include "tmp.h"

/* What main.c is to the daemon. */
static struct net net;
static struct backend backend;
static struct tmp_dir dir;

static void start(void)
{
	memset(&net, 0, sizeof(net));
	memset(&backend, 0, sizeof(backend));
	tmp_dir_init(&dir);
	assert_int_equal(loop_init(&backend.loop), 0);
	net.backend = &backend;
	assert_int_equal(net_init(&net, &(struct config){ .fdb = { 64, 8, 300 } }, 1), 0);
	backend.device = &net;
	assert_int_equal(control_new(&backend.loop, -1, ctl_methods, ctl_n_methods, &backend,
				     &backend.control),
			 0);
}

static void finish(void)
{
	net_done(&net);
	control_free(backend.control);
	loop_done(&backend.loop);
	tmp_dir_done(&dir);
}

/* Call a method; DIR in `params` is the directory.  Returns the answer as text, valid until the next
 * call. */
static const char *call(const char *method, const char *params)
{
	return control_call(backend.control, &dir, method, params);
}

static void test_ports(void **state)
{
	char path[128];

	start();
	assert_says(call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/a\"}"),
		    "\"result\":{}");
	assert_int_equal(access(tmp_path(&dir, "a", path, sizeof(path)), F_OK), 0);
	assert_says(call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/b\"}"), "-32002");
	assert_int_equal(access(tmp_path(&dir, "b", path, sizeof(path)), F_OK), -1);
	assert_says(call("port.add", "{\"name\":\"b\",\"socket-path\":\"DIR/a\"}"), "-32000");
	assert_says(call("port.add", "{\"name\":\"b\",\"socket-path\":\"DIR/no/b\"}"),
		    "No such file");
	assert_says(call("port.add", "{\"name\":\"b b\",\"socket-path\":\"DIR/b\"}"), "-32602");
	assert_says(call("port.add", "{\"name\":\"b\"}"), "-32602");
	assert_says(call("port.add", "{\"name\":1,\"socket-path\":\"DIR/b\"}"), "-32602");

	assert_says(call("port.list", "{}"), "\"name\":\"a\",\"type\":\"vhost-user\"");
	assert_says(call("port.list", "{}"),
		    "\"state\":\"listening\",\"queues\":0,\"features\":\"0x0\"");
	assert_says(call("port.list", "{}"), "\"sessions_refused\":0");
	assert_says(call("port.remove", "{\"name\":\"b\"}"), "-32001");
	assert_says(call("port.remove", "{\"name\":\"a\"}"), "\"result\":{}");
	assert_int_equal(access(tmp_path(&dir, "a", path, sizeof(path)), F_OK), -1);
	assert_says(call("port.list", "{}"), "{\"ports\":[]}");
	finish();
}

/* The bad ones are refused by name and change nothing: the good ones are told by port.list. */
static void test_settings(void **state)
{
	start();
	assert_says(call("port.add",
			 "{\"name\":\"a\",\"socket-path\":\"DIR/a\",\"vlan\":{\"access\":4095}}"),
		    "vlan/access: outside 1..4094");
	assert_says(call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/a\",\"fdb-max\":65}"),
		    "-32602");
	assert_says(call("port.list", "{}"), "{\"ports\":[]}"); /* made, and taken back */
	assert_says(call("port.add", "{\"name\":\"a\",\"type\":\"pigeon\"}"),
		    "type: not one of vhost-user");
	assert_says(
		call("port.add",
		     "{\"name\":\"a\",\"socket-path\":\"DIR/a\",\"vlan\":{\"access\":10},\"isolated\":true}"),
		"\"result\":{}");
	assert_says(call("port.list", "{}"),
		    "\"link\":\"up\",\"vlan\":{\"access\":10},\"isolated\":true,\"counters\"");
	assert_says(call("port.set",
			 "{\"name\":\"a\",\"isolated\":false,\"storm\":{\"unknown-pps\":9}}"),
		    "\"result\":{}");
	assert_says(
		call("port.list", "{}"),
		"\"link\":\"up\",\"vlan\":{\"access\":10},\"storm\":{\"unknown-pps\":9},\"counters\"");
	assert_says(call("port.set", "{\"name\":\"b\",\"isolated\":false}"), "-32001");
	assert_says(call("port.set", "{\"name\":\"a\",\"socket-path\":\"/x\"}"), "-32602");
	assert_says(call("port.down", "{\"name\":\"b\"}"), "-32001");
	assert_says(call("port.down", "{\"name\":\"a\"}"), "\"result\":{}");
	assert_says(call("port.list", "{}"), "\"link\":\"down\"");
	assert_says(call("port.up", "{\"name\":\"a\"}"), "\"result\":{}");
	assert_says(call("port.list", "{}"), "\"link\":\"up\"");
	finish();
}

static void test_static_entries(void **state)
{
	start();
	call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/a\",\"vlan\":{\"access\":10}}");
	call("port.add", "{\"name\":\"b\",\"socket-path\":\"DIR/b\"}");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:01\",\"port\":\"a\"}"),
		    "\"result\":{}");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:01\",\"port\":\"a\",\"vlan\":10}"),
		    "\"result\":{}");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:01\",\"port\":\"b\",\"vlan\":10}"),
		    "-32002");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:01\",\"port\":\"a\",\"vlan\":11}"),
		    "-32602");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:01\",\"port\":\"b\",\"vlan\":4095}"),
		    "-32602");
	assert_says(call("fdb.add", "{\"mac\":\"03:00:00:00:00:01\",\"port\":\"b\"}"), "-32602");
	assert_says(call("fdb.add", "{\"mac\":\"02:00:00:00:00:02\",\"port\":\"c\"}"), "-32001");
	assert_says(call("fdb.flush", "{}"), "{\"flushed\":0}");
	assert_says(
		call("fdb.list", "{}"),
		"{\"entries\":[{\"mac\":\"02:00:00:00:00:01\",\"vlan\":10,\"port\":\"a\",\"static\":true}],\"total\":1}");
	assert_says(call("fdb.remove", "{\"mac\":\"02:00:00:00:00:01\"}"), "-32001");
	assert_says(call("fdb.remove", "{\"mac\":\"02:00:00:00:00:01\",\"vlan\":10}"),
		    "\"result\":{}");
	for (unsigned i = 0; i <= 32; i++) {
		char params[80];

		(void)snprintf(params, sizeof(params),
			       "{\"mac\":\"02:00:00:00:00:%02x\",\"port\":\"b\"}", i);
		assert_says(call("fdb.add", params), i < 32 ? "\"result\":{}" : "-32003");
	}
	finish();
}

static void test_mirrors(void **state)
{
	start();
	for (const char *name = "abc"; *name; name++) {
		char params[80];

		(void)snprintf(params, sizeof(params),
			       "{\"name\":\"%c\",\"socket-path\":\"DIR/%c\"}", *name, *name);
		assert_says(call("port.add", params), "\"result\":{}");
	}
	assert_says(call("mirror.add", "{\"name\":\"m\",\"to\":\"c\",\"from\":[\"a\",\"b\"]}"),
		    "\"result\":{}");
	assert_says(call("mirror.add", "{\"name\":\"m\",\"to\":\"c\",\"from\":[\"a\"]}"), "-32002");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"x\",\"from\":[\"a\"]}"), "-32001");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"c\",\"from\":[\"x\"]}"),
		    "no port \\\"x");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"c\",\"from\":[\"a\",\"a\"]}"),
		    "from/1: said twice");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"c\",\"from\":[\"c\"]}"),
		    "from/0: a port cannot be shown to itself");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"c\",\"from\":[1]}"),
		    "from/0: not a port's name");
	assert_says(call("mirror.add", "{\"name\":\"n\",\"to\":\"c\",\"from\":[]}"),
		    "from: not an array");
	assert_says(call("mirror.add",
			 "{\"name\":\"n\",\"to\":\"c\",\"from\":[\"a\"],\"direction\":\"up\"}"),
		    "direction: not one of in, out, both");
	assert_says(call("mirror.add", "{\"name\":\"n o\",\"to\":\"c\",\"from\":[\"a\"]}"),
		    "name: not 1 to");
	assert_says(call("mirror.add",
			 "{\"name\":\"n\",\"to\":\"c\",\"from\":[\"a\"],\"direction\":\"in\"}"),
		    "\"result\":{}");
	assert_says(
		call("mirror.list", "{}"),
		"{\"mirrors\":[{\"name\":\"m\",\"to\":\"c\",\"from\":[\"a\",\"b\"],\"direction\":\"both\"},"
		"{\"name\":\"n\",\"to\":\"c\",\"from\":[\"a\"],\"direction\":\"in\"}]}");
	assert_says(call("mirror.remove", "{\"name\":\"m\"}"), "\"result\":{}");
	assert_says(call("mirror.remove", "{\"name\":\"m\"}"), "-32001");
	assert_says(call("port.remove", "{\"name\":\"a\"}"), "\"result\":{}");
	assert_says(call("mirror.list", "{}"), "{\"mirrors\":[]}");
	finish();
}

static int set_up_with(const char *text)
{
	struct json_object *calls = json_tokener_parse(text);
	int r;

	assert_non_null(calls);
	r = setup_run(&backend, calls);
	json_object_put(calls);
	return r;
}

/* What a configuration has done to begin with: in order, up to the first that cannot be done. */
static void test_setup(void **state)
{
	start();
	backend.config_path = "net.json";
	assert_says(call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/a\"}"), "result");
	assert_says(call("port.add", "{\"name\":\"b\",\"socket-path\":\"DIR/b\"}"), "result");
	assert_int_equal(setup_run(&backend, NULL), 0);
	assert_int_equal(
		set_up_with(
			"[{\"method\":\"link.set\",\"params\":{\"port\":\"a\",\"delay-ns\":5000000}},"
			"{\"method\":\"mirror.add\",\"params\":{\"name\":\"m\",\"from\":[\"a\"],\"to\":\"b\"}},"
			"{\"method\":\"port.list\"},"
			"{\"method\":\"port.down\",\"params\":{\"name\":\"a\"}}]"),
		0);
	assert_says(call("link.get", "{\"port\":\"a\"}"), "\"delay-ns\":5000000");
	assert_says(call("link.get", "{\"port\":\"a\"}"), "\"up\":false");
	assert_says(call("mirror.list", "{}"), "\"name\":\"m\"");
	assert_says(call("capture.start",
			 "{\"port\":\"a\",\"tied\":true,\"to\":{\"file\":\"DIR/x\"}}"),
		    "-32602,\"message\":\"tied: nobody is connected to whom it could be tied");
	assert_int_equal(set_up_with("[{\"method\":\"port.up\",\"params\":{\"name\":\"a\"}},"
				     "{\"method\":\"port.down\",\"params\":{\"name\":\"c\"}},"
				     "{\"method\":\"port.down\",\"params\":{\"name\":\"b\"}}]"),
			 -EINVAL);
	assert_says(call("link.get", "{\"port\":\"a\"}"), "\"up\":true");
	assert_says(call("link.get", "{\"port\":\"b\"}"), "\"up\":true");
	/* Who may fail keeps nobody behind it from being done. */
	assert_int_equal(
		set_up_with(
			"[{\"method\":\"port.down\",\"params\":{\"name\":\"c\"},\"may-fail\":true},"
			"{\"method\":\"port.down\",\"params\":{\"name\":\"b\"},\"may-fail\":true}]"),
		0);
	assert_says(call("link.get", "{\"port\":\"b\"}"), "\"up\":false");
	assert_int_equal(set_up_with("[{\"method\":\"port.fly\"}]"), -EINVAL);
	assert_int_equal(set_up_with("[{\"method\":\"port.up\",\"params\":{\"nam\":\"a\"}}]"),
			 -EINVAL);
	finish();
}

static void test_stats_and_fdb(void **state)
{
	struct sw_port *a, *b;

	start();
	call("port.add", "{\"name\":\"a\",\"socket-path\":\"DIR/a\"}");
	call("port.add", "{\"name\":\"b\",\"socket-path\":\"DIR/b\"}");
	a = sw_find(&net.sw, "a");
	b = sw_find(&net.sw, "b");
	a->stats.ingress_frames = 1ull << 63;
	assert_says(call("stats", "{\"port\":\"a\"}"), "\"ingress_frames\":9223372036854775808");
	assert_null(strstr(call("stats", "{\"port\":\"a\"}"), "\"name\":\"b\""));
	assert_says(call("stats", "{}"), "\"name\":\"b\"");
	assert_says(call("stats", "{\"port\":\"c\"}"), "-32001");

	sw_tick(&net.sw, 100);
	fdb_learn(&net.sw.fdb, 0x525400abcdef, a->id, 90);
	fdb_learn(&net.sw.fdb, 0x525400000001, b->id, 100);
	assert_says(call("stats", "{}"),
		    "\"fdb\":{\"entries\":2,\"size\":64,\"per-port\":8,\"ageing-s\":300}");
	assert_says(call("fdb.list", "{}"),
		    "{\"entries\":[{\"mac\":\"52:54:00:ab:cd:ef\",\"port\":\"a\",\"age-s\":10},"
		    "{\"mac\":\"52:54:00:00:00:01\",\"port\":\"b\",\"age-s\":0}],\"total\":2}");
	assert_says(call("fdb.list", "{\"port\":\"b\"}"), "\"total\":1}");
	assert_says(call("fdb.flush", "{\"port\":\"b\"}"), "{\"flushed\":1}");
	assert_says(call("fdb.flush", "{}"), "{\"flushed\":1}");
	assert_says(call("fdb.list", "{}"), "{\"entries\":[],\"total\":0}");
	assert_says(call("fdb.flush", "{\"vlan\":1}"), "-32602");
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),          cmocka_unit_test(test_settings),
		cmocka_unit_test(test_static_entries), cmocka_unit_test(test_mirrors),
		cmocka_unit_test(test_setup),          cmocka_unit_test(test_stats_and_fdb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
