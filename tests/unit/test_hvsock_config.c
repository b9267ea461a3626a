/* SPDX-License-Identifier: MIT */
/* The socket daemon's configuration file: what may stand in it, and what is said of what may not. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "ports.h"

static struct json_object *root;
static struct config config;

/* The verdict, and what is logged in *ret_text. */
static int verdict(const char *text, const char **ret_text)
{
	static char logged[512];
	int pipe_fd[2], saved = dup(STDERR_FILENO), r;
	ssize_t n;

	json_object_put(root);
	root = json_tokener_parse(text);
	assert_non_null(root);
	assert_int_equal(pipe(pipe_fd), 0);
	dup2(pipe_fd[1], STDERR_FILENO);
	r = config_read(root, "h.json", &config);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipe_fd[1]);
	n = read(pipe_fd[0], logged, sizeof(logged) - 1);
	close(pipe_fd[0]);
	logged[n > 0 ? n : 0] = '\0';
	*ret_text = logged;
	return r;
}

static void accept_text(const char *text)
{
	const char *logged;
	int r = verdict(text, &logged);

	assert_string_equal(logged, "");
	assert_int_equal(r, 0);
}

static void refuse(const char *text, const char *why)
{
	const char *logged;

	assert_int_equal(verdict(text, &logged), -EINVAL);
	if (!strstr(logged, why))
		fail_msg("%s: logged %s, not %s", text, logged, why);
}

static void test_no_file(void **state)
{
	assert_int_equal(config_read(NULL, NULL, &config), 0);
	assert_int_equal(config.ports_base, PORTS_BASE_DEFAULT);
	assert_int_equal(config.n_vms + config.n_forwards, 0);
	assert_null(config.journal);
	accept_text("{}");
	accept_text("{\"vms\":[],\"forwards\":[]}");
}

static void test_everything(void **state)
{
	struct config_forward f;
	struct config_vm vm;

	accept_text(
		"{\"vms\":[{\"name\":\"n1\",\"cid\":3,\"socket-path\":\"/n1.vu\"},"
		"{\"name\":\"n2\",\"cid\":4294967294,\"socket-path\":\"/n2.vu\",\"uds-path\":\"/n2.vs\","
		"\"limits\":{\"connections\":65536,\"connects-per-second\":0,\"buffer-bytes\":1},"
		"\"allow\":[3,5]}],"
		"\"forwards\":[{\"vm\":\"n1\",\"direction\":\"to-guest\",\"guest-port\":22,"
		"\"host\":\"tcp:0\"},{\"id\":\"x\",\"vm\":\"n2\",\"direction\":\"to-host\","
		"\"guest-port\":\"CRASH_DUMP\",\"host\":\"unix:/c\",\"may-fail\":true}],"
		"\"journal\":\"/j\",\"ports-base\":51000}");
	assert_string_equal(config.journal, "/j");
	config_vm(&config, 0, &vm);
	assert_string_equal(vm.vm.vm.name, "n1");
	assert_int_equal(vm.vm.vm.cid, 3);
	assert_int_equal(vm.vm.vm.limits.connections, 0); /* the default */
	assert_false(vm.vm.vm.allow_listed);
	assert_null(vm.vm.uds_path);
	config_vm(&config, 1, &vm);
	assert_string_equal(vm.vm.socket_path, "/n2.vu");
	assert_string_equal(vm.vm.uds_path, "/n2.vs");
	assert_int_equal(vm.vm.vm.limits.connections, HV_CONNECTIONS_MAX);
	assert_int_equal(vm.vm.vm.limits.buffer_bytes, 1);
	assert_true(vm.vm.vm.allow_listed);
	assert_int_equal(vm.vm.vm.n_allow, 2);
	assert_int_equal(vm.vm.vm.allow[1], 5);
	config_forward(&config, 0, &f);
	assert_string_equal(f.vm, "n1");
	assert_true(f.forward.to_guest);
	assert_null(f.forward.id);
	assert_false(f.may_fail);
	config_forward(&config, 1, &f);
	assert_false(f.forward.to_guest);
	assert_string_equal(f.forward.id, "x");
	assert_true(f.may_fail);
	assert_int_equal(f.forward.guest_port, 51005); /* whatever the order of members */
	assert_int_equal(f.forward.target.family, AF_UNIX);
}

static void test_allow(void **state)
{
	static const char form[] =
		"{\"vms\":[{\"name\":\"n\",\"cid\":3,\"socket-path\":\"/s\",\"allow\":%s}]}";
	static char list[16384], text[sizeof(list) + sizeof(form)];
	struct config_vm vm;

	(void)snprintf(text, sizeof(text), form, "null");
	accept_text(text);
	config_vm(&config, 0, &vm);
	assert_false(vm.vm.vm.allow_listed);
	(void)snprintf(text, sizeof(text), form, "[]");
	accept_text(text);
	config_vm(&config, 0, &vm);
	assert_true(vm.vm.vm.allow_listed);
	assert_int_equal(vm.vm.vm.n_allow, 0);

	for (unsigned n = HV_VMS_MAX; n <= HV_VMS_MAX + 1; n++) {
		strcpy(list, "[");
		for (unsigned i = 0; i < n; i++)
			strcat(list, i ? ",3" : "3");
		strcat(list, "]");
		(void)snprintf(text, sizeof(text), form, list);
		if (n == HV_VMS_MAX)
			accept_text(text);
		else
			refuse(text, "h.json: /vms/0/allow: more than 4096 CIDs");
	}
}

static void refuse_vm(const char *members, const char *why)
{
	char text[512];

	(void)snprintf(text, sizeof(text),
		       "{\"vms\":[{\"name\":\"n\",\"cid\":3,\"socket-path\":\"/s\",%s}]}", members);
	refuse(text, why);
}

static void test_vms(void **state)
{
	char members[256] = "\"uds-path\":\"";

	refuse("{\"vms\":{}}", "h.json: /vms: not an array");
	refuse("{\"vms\":[1]}", "/vms/0/not an object");
	refuse("{\"vms\":[{\"cid\":3,\"socket-path\":\"/s\"}]}", "needs name, cid and socket-path");
	refuse("{\"vms\":[{\"name\":\"n\",\"socket-path\":\"/s\"}]}", "needs name");
	refuse("{\"vms\":[{\"name\":\"n\",\"cid\":3}]}", "needs name");
	refuse_vm("\"cid\":2", "/vms/0/cid: outside 3..4294967294");
	refuse_vm("\"cid\":4294967295", "cid: outside");
	refuse_vm("\"cid\":-3", "cid: outside");
	refuse_vm("\"cid\":\"3\"", "cid: not a whole number");
	refuse_vm("\"cid\":3.5", "cid: not a whole number");
	refuse_vm("\"name\":\"\"", "name: empty");
	refuse_vm("\"name\":\"a\\u0000b\"", "a NUL");
	refuse_vm("\"name\":7", "name: not a string");
	refuse_vm("\"colour\":7", "/vms/0/colour: not one of name, cid");
	refuse_vm("\"limits\":7", "limits: not an object");
	refuse_vm("\"limits\":{\"connections\":0}", "limits/connections: outside 1..65536");
	refuse_vm("\"limits\":{\"connections\":65537}", "limits/connections: outside");
	refuse_vm("\"limits\":{\"buffer-bytes\":0}", "limits/buffer-bytes: outside");
	refuse_vm("\"limits\":{\"bytes\":1}", "limits/bytes: not one of");
	refuse_vm("\"allow\":3", "allow: neither null nor");
	refuse_vm("\"allow\":[2]", "allow: outside 3..");
	memset(members + strlen(members), 'x', HYBRID_PATH_MAX);
	strcat(members, "\"");
	refuse_vm("\"cid\":2", "cid");
	{
		char text[512];

		(void)snprintf(text, sizeof(text),
			       "{\"vms\":[{\"name\":\"n\",\"cid\":3,\"socket-path\":\"/s\",%s}]}",
			       members);
		accept_text(text);
	}
	members[strlen(members) - 1] = 'x';
	strcat(members, "\"");
	refuse_vm(members, "uds-path: longer than 96 bytes");
}

static void test_transport(void **state)
{
	struct config_vm vm;

	accept_text("{\"vms\":[{\"name\":\"h\",\"transport\":\"hvsock\",\"socket-path\":\"/s\","
		    "\"allow\":null},{\"name\":\"v\",\"cid\":3,\"transport\":\"vsock\","
		    "\"socket-path\":\"/v\"}]}");
	config_vm(&config, 0, &vm);
	assert_true(vm.vm.hvsock);
	assert_int_equal(vm.vm.vm.cid, 0);
	config_vm(&config, 1, &vm);
	assert_false(vm.vm.hvsock);
	refuse_vm("\"transport\":\"tcp\"", "/vms/0/transport: neither vsock nor hvsock");
	refuse_vm("\"transport\":1", "transport: not a string");
	refuse_vm("\"transport\":\"hvsock\"", "cid: a guest of Hyper-V sockets has none");
	refuse("{\"vms\":[{\"name\":\"h\",\"transport\":\"hvsock\",\"socket-path\":\"/s\","
	       "\"allow\":[3]}]}",
	       "allow: a guest of Hyper-V sockets reaches no other");
	refuse("{\"vms\":[{\"name\":\"h\",\"transport\":\"hvsock\"}]}",
	       "needs name and socket-path");
	refuse("{\"vms\":[{\"name\":\"v\",\"transport\":\"vsock\",\"socket-path\":\"/s\"}]}",
	       "needs name, cid and socket-path");
}

static void refuse_forward(const char *members, const char *why)
{
	char text[512];

	(void)snprintf(text, sizeof(text),
		       "{\"forwards\":[{\"vm\":\"n\",\"direction\":\"to-host\",\"guest-port\":1,"
		       "\"host\":\"tcp:1\",%s}]}",
		       members);
	refuse(text, why);
}

static void test_forwards(void **state)
{
	refuse("{\"forwards\":[{}]}", "h.json: /forwards/0/a forward needs vm, direction");
	refuse("{\"forwards\":[{\"vm\":\"n\",\"direction\":\"to-host\",\"host\":\"tcp:1\"}]}",
	       "a forward needs");
	refuse_forward("\"direction\":\"up\"", "direction: neither to-guest nor to-host");
	refuse_forward("\"guest-port\":4294967295", "guest-port: outside 0..4294967294");
	refuse_forward("\"guest-port\":\"4294967295\"", "guest-port: neither a port's number");
	refuse_forward("\"guest-port\":\"SSH\"", "guest-port: neither");
	refuse_forward("\"guest-port\":[]", "guest-port: not a string");
	refuse_forward("\"host\":\"22\"", "host: write tcp:ADDRESS:PORT or unix:/PATH");
	refuse_forward("\"host\":\"tcp:example.org:22\"", "host: the host is an address");
	refuse_forward("\"host\":\"tcp:0\"", "host: port 0 is for listening");
	refuse_forward("\"may-fail\":1", "may-fail: neither true nor false");
	refuse_forward("\"to\":1", "/forwards/0/to: not one of id, vm");
}

static void test_top(void **state)
{
	refuse("{\"journal\":\"\"}", "h.json: /journal: empty");
	refuse("{\"ports-base\":-1}", "/ports-base: outside 0..4294967289");
	refuse("{\"ports-base\":4294967290}", "/ports-base: outside");
	refuse("{\"vm\":[]}", "/vm: not one of vms, forwards, journal, ports-base");
	accept_text("{\"ports-base\":4294967289}");
	json_object_put(root);
	root = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_file),   cmocka_unit_test(test_everything),
		cmocka_unit_test(test_allow),     cmocka_unit_test(test_vms),
		cmocka_unit_test(test_transport), cmocka_unit_test(test_forwards),
		cmocka_unit_test(test_top),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
