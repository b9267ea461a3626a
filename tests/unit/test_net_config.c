/* SPDX-License-Identifier: MIT */
/* The switch's --config file: what it means, and what is refused. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "log.h"

static int read_text(const char *text, struct json_object **ret_root, struct config *ret)
{
	*ret_root = json_tokener_parse(text);
	assert_non_null(*ret_root);
	return config_read(*ret_root, "net.json", ret);
}

static void test_defaults(void **state)
{
	struct config c;

	assert_int_equal(config_read(NULL, NULL, &c), 0);
	assert_int_equal(c.fdb.size, 0); /* fdb_init()'s own */
	assert_int_equal(c.fdb.ageing_s, FDB_AGEING_S_DEFAULT);
	assert_int_equal(c.mtu, 0);
	assert_int_equal(c.spin_ns, 0);
	assert_int_equal(c.n_ports, 0);
}

static void test_all(void **state)
{
	struct json_object *root;
	struct config c;

	assert_int_equal(
		read_text(
			"{\"ports\":[{\"name\":\"a\",\"socket-path\":\"/x\"},"
			"{\"socket-path\":\"/y\",\"name\":\"b\"}],"
			"\"fdb\":{\"size\":9,\"per-port\":3,\"ageing-s\":0},\"mtu\":65535,\"poll-us\":70}",
			&root, &c),
		0);
	assert_int_equal(c.n_ports, 2);
	assert_string_equal(c.port[1].name, "b");
	assert_string_equal(c.port[1].type->name, "vhost-user");
	assert_string_equal(json_object_get_string(spec_member(&c.port[1], "socket-path")), "/y");
	assert_int_equal(c.fdb.size, 9);
	assert_int_equal(c.fdb.per_port, 3);
	assert_int_equal(c.fdb.ageing_s, 0);
	assert_int_equal(c.mtu, 65535);
	assert_int_equal(c.spin_ns, 70000);
	config_done(&c);
	json_object_put(root);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"{\"port\":[]}",
		"{\"ports\":{}}",
		"{\"ports\":[1]}",
		"{\"ports\":[{\"name\":\"a\"}]}",
		"{\"ports\":[{\"name\":\"a\",\"socket-path\":1}]}",
		"{\"ports\":[{\"name\":\"a\",\"socket-path\":\"/x\",\"vlan\":1}]}",
		"{\"fdb\":[]}",
		"{\"fdb\":{\"sise\":1}}",
		"{\"fdb\":{\"size\":0}}",
		"{\"fdb\":{\"size\":1048577}}",
		"{\"fdb\":{\"size\":\"1\"}}",
		"{\"fdb\":{\"size\":10,\"per-port\":11}}",
		"{\"fdb\":{\"per-port\":16385}}",
		"{\"fdb\":{\"ageing-s\":-1}}",
		"{\"fdb\":{\"ageing-s\":2147483648}}",
		"{\"mtu\":67}",
		"{\"poll-us\":1000001}",
		"{\"poll-us\":-1}",
		"{\"poll-us\":\"always\"}",
		"{\"setup\":{}}",
		"{\"setup\":[1]}",
		"{\"setup\":[{}]}",
		"{\"setup\":[{\"method\":1}]}",
		"{\"setup\":[{\"params\":{}}]}",
		"{\"setup\":[{\"method\":\"port.up\",\"id\":1}]}",
		"{\"setup\":[{\"method\":\"port.up\",\"may-fail\":1}]}",
		"{\"setup\":[{\"may-fail\":true}]}",
		"{\"setup\":[{\"method\":\"port.up\",\"params\":{},\"id\":1}]}",
		"{\"mtu\":65536}",
		"{\"mtu\":1500.5}",
		"{\"mtu\":null}",
	};
	static const char *const good[] = {
		"{}",
		"{\"ports\":[]}",
		"{\"fdb\":{\"size\":1048576}}",
		"{\"fdb\":{\"size\":10,\"per-port\":10}}",
		"{\"fdb\":{\"per-port\":16384}}",
		"{\"mtu\":68}",
		"{\"setup\":[]}",
		"{\"setup\":[{\"method\":\"port.list\",\"may-fail\":false}]}",
		"{\"setup\":[{\"method\":\"port.list\"},{\"params\":{},\"method\":\"what\"}]}",
	};
	struct json_object *root;
	struct config c;

	for (unsigned i = 0; i < array_size(bad); i++) {
		struct config untouched = { .n_ports = 77 };

		assert_int_equal(read_text(bad[i], &root, &untouched), -EINVAL);
		assert_int_equal(untouched.n_ports, 77);
		json_object_put(root);
	}
	for (unsigned i = 0; i < array_size(good); i++) {
		assert_int_equal(read_text(good[i], &root, &c), 0);
		config_done(&c);
		json_object_put(root);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
