/* SPDX-License-Identifier: MIT */
/* The socket daemon's control methods, through the line interface of lib/control. */
#include "ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend.h"
#include "base.h"
#include "call.h"
#include "fake_relay.h"
#include "host.h"
#include "log.h"
#include "ports.h"
#include "tmp.h"

/* What main.c is to the daemon. */
static struct host host;
static struct backend backend;
static struct tmp_dir dir;

static void on_event(struct host *h, const char *vm_name, const char *state)
{
	ctl_vm_changed(backend.control, vm_name, state);
}

static int setup(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	memset(&backend, 0, sizeof(backend));
	tmp_dir_init(&dir);
	assert_int_equal(loop_init(&backend.loop), 0);
	host = (struct host){ .loop = &backend.loop, .ports_base = 51000, .event = on_event };
	assert_int_equal(host_init(&host, NULL), 0);
	backend.device = &host;
	assert_int_equal(control_new(&backend.loop, -1, ctl_methods, ctl_n_methods, &backend,
				     &backend.control),
			 0);
	return 0;
}

static int teardown(void **state)
{
	host_done(&host);
	fake_clear();
	control_free(backend.control);
	loop_done(&backend.loop);
	tmp_dir_done(&dir);
	return 0;
}

static const char *answer; /* the last one */

static const char *call(const char *method, const char *params)
{
	return answer = control_call(backend.control, &dir, method, params);
}

static bool exists(const char *name)
{
	char path[128];

	return access(tmp_path(&dir, name, path, sizeof(path)), F_OK) == 0;
}

static const char *add_n1(void)
{
	return call("vm.add", "{\"name\":\"n1\",\"cid\":3,\"socket-path\":\"DIR/n1.vu\","
			      "\"uds-path\":\"DIR/n1.vs\"}");
}

static void test_vms(void **state)
{
	assert_says(add_n1(), "\"result\":{}");
	assert_true(exists("n1.vu") && exists("n1.vs") && exists("n1.vs.seq"));
	assert_says(call("vm.list", "{}"),
		    "\"name\":\"n1\",\"cid\":3,\"transport\":\"fake\",\"state\":\"listening\"");
	assert_says(call("vm.list", "{}"), "/n1.vs\",\"limits\":{\"connections\":0,");
	assert_says(call("vm.list", "{}"), "\"connections\":0,\"buffered\":0}]}");

	assert_says(add_n1(), "-32000"); /* n1.vu is somebody's */
	assert_says(call("vm.add", "{\"name\":\"n1\",\"cid\":4,\"socket-path\":\"DIR/x\"}"),
		    "-32002");
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":3,\"socket-path\":\"DIR/x\"}"),
		    "-32002");
	assert_false(exists("x"));
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":4,\"socket-path\":\"DIR/no/x\"}"),
		    "/no/x: No such file");
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":4,\"socket-path\":\"DIR/x\","
				   "\"uds-path\":\"DIR/n1.vs\"}"),
		    "n1.vs: Address already in use");
	assert_false(exists("x"));
	assert_says(call("vm.add", "{\"name\":\"n 2\",\"cid\":4,\"socket-path\":\"DIR/x\"}"),
		    "-32602");
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":2,\"socket-path\":\"DIR/x\"}"),
		    "cid: outside 3..4294967294");
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":4}"), "-32602");
	assert_says(call("vm.add", "{\"name\":\"n2\",\"cid\":4,\"socket-path\":\"DIR/x\",\"x\":1}"),
		    "-32602");

	assert_says(call("vm.remove", "{\"name\":\"n2\"}"), "-32001");
	assert_says(call("vm.remove", "{\"name\":\"n1\"}"), "\"result\":{}");
	assert_false(exists("n1.vu") || exists("n1.vs") || exists("n1.vs.seq"));
	assert_says(call("vm.list", "{}"), "{\"vms\":[]}");
}

/* A guest of Hyper-V sockets has no CID, and is not told by one. */
static void test_vm_of_hvsock(void **state)
{
	assert_says(call("vm.add", "{\"name\":\"h1\",\"transport\":\"hvsock\","
				   "\"socket-path\":\"DIR/h1.vu\",\"uds-path\":\"DIR/h1.vs\"}"),
		    "\"result\":{}");
	assert_true(exists("h1.vu") && exists("h1.vs"));
	assert_says(call("vm.list", "{}"),
		    "{\"name\":\"h1\",\"transport\":\"fake hvsock\",\"state\":\"listening\"");
	assert_says(call("vm.add", "{\"name\":\"h2\",\"transport\":\"hvsock\","
				   "\"socket-path\":\"DIR/h2.vu\"}"),
		    "\"result\":{}");
	assert_says(call("vm.add", "{\"name\":\"h1\",\"transport\":\"hvsock\","
				   "\"socket-path\":\"DIR/x\"}"),
		    "there is a VM of name \\\"h1\\\"\"");
	assert_says(call("vm.add", "{\"name\":\"h3\",\"cid\":3,\"transport\":\"hvsock\","
				   "\"socket-path\":\"DIR/x\"}"),
		    "cid: a guest of Hyper-V sockets has none");
	assert_false(exists("x"));
}

static void test_forwards(void **state)
{
	add_n1();
	assert_says(
		call("forward.add",
		     "{\"vm\":\"n1\",\"direction\":\"to-host\",\"guest-port\":\"INIT\","
		     "\"host\":\"unix:DIR/init\"}"),
		"\"result\":{\"id\":\"f1\",\"vm\":\"n1\",\"direction\":\"to-host\",\"guest-port\":51000,"
		"\"service\":\"INIT\",\"host\":\"unix:/");
	assert_says(call("forward.add", "{\"id\":\"ssh\",\"vm\":\"n1\",\"direction\":\"to-guest\","
					"\"guest-port\":22,\"host\":\"unix:DIR/ssh\"}"),
		    "\"guest-port\":22,\"host\":\"unix:/");
	assert_true(exists("ssh"));
	fake_request(hv_vm_find(host.relay, "n1"), 51000, SOCK_STREAM);
	assert_says(call("forward.list", "{}"),
		    "/init\",\"connected\":0,\"failed\":1,\"waiting\":0},{\"id\":\"ssh\"");
	assert_says(call("forward.list", "{}"),
		    "/ssh\",\"connected\":0,\"failed\":0,\"waiting\":0}]}");

	assert_says(call("forward.add", "{\"id\":\"ssh\",\"vm\":\"n1\",\"direction\":\"to-guest\","
					"\"guest-port\":23,\"host\":\"tcp:0\"}"),
		    "-32002");
	assert_says(call("forward.add", "{\"vm\":\"n2\",\"direction\":\"to-host\",\"guest-port\":1,"
					"\"host\":\"tcp:1\"}"),
		    "no VM \\\"n2\\\"");
	assert_says(call("forward.add",
			 "{\"vm\":\"n1\",\"direction\":\"to-guest\",\"guest-port\":1,"
			 "\"host\":\"unix:DIR/n1.vs\"}"),
		    "n1.vs: Address already in use");
	assert_says(call("forward.add",
			 "{\"id\":\"a\\u0001b\",\"vm\":\"n1\",\"direction\":\"to-host\","
			 "\"guest-port\":1,\"host\":\"tcp:1\"}"),
		    "id: 1 to 255");
	assert_says(call("forward.add", "{\"vm\":\"n1\",\"direction\":\"to-host\",\"guest-port\":1,"
					"\"host\":\"1\"}"),
		    "host: write tcp:");
	assert_says(call("forward.remove", "{\"id\":\"f9\"}"), "-32001");
	assert_says(call("forward.remove", "{\"id\":\"ssh\"}"), "\"result\":{}");
	assert_false(exists("ssh"));
	call("vm.remove", "{\"name\":\"n1\"}");
	assert_says(call("forward.list", "{}"), "{\"forwards\":[]}");
}

/* As many forwards as there may be, each as long as it may be, are one answer: a longer one would drop the client. */
static void test_longest_list_of_forwards(void **state)
{
	char id[FORWARD_ID_MAX], path[108] = "/";
	struct forward_config c = { .id = id };
	struct forward *f;

	call("vm.add",
	     "{\"name\":\"123456789012345678901234567890123456789012345678901234567890123\","
	     "\"cid\":3,\"socket-path\":\"DIR/n1.vu\"}");
	memset(path + 1, '"', sizeof(path) - 2);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(target_unix(path, &c.target), 0);
	for (unsigned i = 0; i < FORWARDS_MAX; i++) {
		memset(id, '"', sizeof(id) - 1);
		id[sizeof(id) - 1] = '\0';
		id[snprintf(id, sizeof(id), "%u", i)] = '"';
		c.guest_port = UINT32_MAX - 1 - i;
		assert_int_equal(forward_add(hv_vm_data(hv_vm_next(host.relay, NULL)), &c, &f), 0);
	}
	assert_says(call("forward.list", "{}"), "\"guest-port\":4294967294,");
	assert_true(strlen(answer) < CONTROL_OUT_MAX - 1);
	assert_int_equal(c.guest_port, UINT32_MAX - FORWARDS_MAX);
	assert_says(answer + strlen(answer) - 800, "\"guest-port\":4294963199,");
}

static void test_connections(void **state)
{
	struct json_object *o, *list;
	struct hv_vm *vm;
	struct hv_conn *conn;

	add_n1();
	call("vm.add", "{\"name\":\"n2\",\"cid\":4,\"socket-path\":\"DIR/n2.vu\"}");
	vm = hv_vm_find(host.relay, "n1");
	fake_request(vm, 51001, SOCK_SEQPACKET);
	assert_says(
		call("connections.list", "{}"),
		"{\"vm\":\"n1\",\"type\":\"seqpacket\",\"state\":\"connecting\","
		"\"direction\":\"from-guest\",\"guest-port\":1024,\"peer-cid\":2,\"peer-port\":51001,"
		"\"service\":\"PLAN9\",\"bytes-from-guest\":1,\"bytes-to-guest\":2,\"buffered\":3}],"
		"\"total\":1}");
	assert_says(call("connections.list", "{\"vm\":\"n2\"}"),
		    "{\"connections\":[],\"total\":0}");
	assert_says(call("connections.list", "{\"vm\":\"n3\"}"), "-32001");

	/* One more than an answer holds: it is counted, and the answer still fits. */
	for (unsigned i = 0; i < CTL_CONNECTIONS_MAX; i++) {
		conn = fake_request(vm, 51005, SOCK_STREAM);
		conn->guest_port = UINT32_MAX;
	}
	assert_says(call("connections.list", "{}"), "\"service\":\"CRASH_DUMP\"");
	assert_true(strlen(answer) < CONTROL_OUT_MAX - 1);
	assert_says(answer + strlen(answer) - 16, "\"total\":8193}}");
	o = json_tokener_parse(answer);
	assert_int_equal(json_pointer_get(o, "/result/connections", &list), 0);
	assert_int_equal(json_object_array_length(list), CTL_CONNECTIONS_MAX);
	json_object_put(o);
}

static void test_stats(void **state)
{
	add_n1();
	call("vm.add", "{\"name\":\"n2\",\"cid\":4,\"socket-path\":\"DIR/n2.vu\"}");
	host_find_vm(&host, "n1")->hybrid.clients.stats.lines_bad = 1ull << 63;
	assert_says(call("stats", "{}"),
		    "\"name\":\"n1\",\"counters\":{\"connections_to_guest\":0");
	assert_says(call("stats", "{\"vm\":\"n1\"}"), "\"lines_bad\":9223372036854775808");
	assert_null(strstr(answer, "\"name\":\"n2\""));
	assert_says(call("stats", "{}"), "\"name\":\"n2\"");
	assert_says(call("stats", "{\"vm\":\"n3\"}"), "-32001");
	assert_says(call("stats", "{\"port\":\"n3\"}"), "-32602");
}

/* As many VMs as there may be, each with as much to say as can be, are one answer. */
static void test_longest_lists_of_vms(void **state)
{
	size_t paths = 2 * 2 * sizeof(((struct sockaddr_un *)NULL)->sun_path);
	char name[HV_VM_NAME_MAX] = "", params[512];
	struct host_vm *vm;

	memset(name, 'n', sizeof(name) - 1);
	(void)snprintf(params, sizeof(params),
		       "{\"name\":\"%s\",\"cid\":4294967294,\"socket-path\":\"DIR/1.vu\","
		       "\"uds-path\":\"DIR/1.vs\",\"limits\":{\"connections\":%u,"
		       "\"connects-per-second\":%u,\"buffer-bytes\":1099511627776}}",
		       name, HV_CONNECTIONS_MAX, UINT32_MAX);
	assert_says(call("vm.add", params), "result");
	vm = host_find_vm(&host, name);
	assert_non_null(vm);
	memset(&vm->hybrid.clients.stats, 0xff, sizeof(vm->hybrid.clients.stats));
	memset(&fake_stats, 0xff, sizeof(fake_stats));
	assert_says(call("vm.list", "{}"), name);
	assert_true((strlen(answer) + paths) * HV_VMS_MAX < CONTROL_OUT_MAX);
	assert_says(call("stats", "{}"), "\"sessions_refused\":18446744073709551615");
	assert_true(strlen(answer) * HV_VMS_MAX < CONTROL_OUT_MAX);
	memset(&fake_stats, 0, sizeof(fake_stats));
}

static void test_events(void **state)
{
	char got[1024] = "";
	int pair[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(control_attach(backend.control, pair[0]), 0);
	assert_int_equal(dprintf(pair[1], "{\"jsonrpc\":\"2.0\",\"method\":\"subscribe\"}\n"), 39);
	assert_int_equal(loop_once(&backend.loop, 0), 0);
	add_n1();
	fake_set_state(hv_vm_find(host.relay, "n1"), "running");
	call("vm.remove", "{\"name\":\"n1\"}");
	n = recv(pair[1], got, sizeof(got) - 1, 0);
	assert_true(n > 0);
	assert_string_equal(
		got,
		"{\"jsonrpc\":\"2.0\",\"method\":\"vm\",\"params\":{\"name\":\"n1\",\"state\":\"added\"}}\n"
		"{\"jsonrpc\":\"2.0\",\"method\":\"vm\",\"params\":{\"name\":\"n1\",\"state\":\"running\"}}\n"
		"{\"jsonrpc\":\"2.0\",\"method\":\"vm\",\"params\":{\"name\":\"n1\",\"state\":\"removed\"}}\n");
	close(pair[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vms),
		TEST(test_vm_of_hvsock),
		TEST(test_forwards),
		TEST(test_longest_list_of_forwards),
		TEST(test_connections),
		TEST(test_stats),
		TEST(test_longest_lists_of_vms),
		TEST(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
