/* SPDX-License-Identifier: MIT */
/* The portal's control methods, through the line interface of lib/control, with a real client beside. */
#include "ctl.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "base.h"
#include "call.h"
#include "portal_fixture.h"
#include "portald.h"

static struct backend backend;
static struct portald portald;
static struct config config;
static struct pf pf; /* its directory only: the daemon here is a whole one */
static struct pf_client client;
static char path[4][96];

static int setup(void **state)
{
	memset(&backend, 0, sizeof(backend));
	memset(&config, 0, sizeof(config));
	client.fd = client.arena_fd = -1;
	pf_init(&pf);
	assert_int_equal(loop_init(&backend.loop), 0);
	loop_done(pf.loop);
	pf.loop = &backend.loop;
	config.arena = (struct arena_config){
		.name = "test",
		.path = tmp_path(&pf.dir, "arena", path[0], sizeof(path[0])),
		.size = PF_FILE_SIZE,
	};
	config.freeze_max_ms = 60000;
	config.n_clients = 1;
	config.clients[0].lease = (struct leases_client_config){
		.name = "a",
		.socket_path = tmp_path(&pf.dir, "a", path[1], sizeof(path[1])),
		.mode = PORTAL_READ_WRITE,
		.quota = 8,
	};
	assert_int_equal(control_new(&backend.loop, -1, ctl_methods, ctl_n_methods, &backend,
				     &backend.control),
			 0);
	assert_int_equal(portald_start(&portald, &backend, &config), 0);
	backend.device = &portald;
	return 0;
}

static int teardown(void **state)
{
	pf_hang_up(&client);
	portald_stop(&portald);
	control_free(backend.control);
	loop_done(&backend.loop);
	tmp_dir_done(&pf.dir);
	return 0;
}

static const char *answer; /* the last one */

static const char *call(const char *method, const char *params)
{
	return answer = control_call(backend.control, NULL, method, params);
}

static bool is_recovered(struct pf *p, void *arg)
{
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (portald.leases.lease[i].state == PORTAL_LEASE_RECOVERING)
			return false;
	return true;
}

static void until_recovered(void)
{
	assert_true(pf_run(&pf, is_recovered, NULL, PF_PATIENCE_MS));
}

static void test_what_there_is(void **state)
{
	uint32_t first = 0;

	assert_says(call("info", "{}"), "\"name\":\"test\",\"uuid\":\"");
	assert_says(answer, "\"size\":33554432,\"arena-size\":31457280,\"extents\":15,\"free\":13,"
			    "\"quarantined\":0,\"orphans\":0,\"generation\":1,\"incarnation\":1,");
	assert_says(
		answer,
		"\"flush-error\":0,\"vsock-port\":0,\"leases\":0,\"names\":0,\"quiesce\":{"
		"\"epoch\":0,\"state\":\"running\",\"waiting\":0,\"laggards\":0,\"left-ms\":0}");
	assert_says(
		answer,
		"/a\",\"mode\":\"rw\",\"quota\":16777216,\"used\":0,\"leases\":0,\"state\":\"listening\"}]}");
	assert_says(call("leases", "{}"), "\"leases\":[]");

	pf_hello(&pf, &client, "a", "me");
	assert_int_equal(pf_get(&client, 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(pf_publish(&client, "thing", 5, (uint64_t)first * PORTAL_EXTENT, 100), 0);
	assert_says(call("leases", "{}"),
		    "[{\"id\":0,\"generation\":1,\"client\":\"a\",\"name\":\"me\","
		    "\"state\":\"live\",\"mode\":\"rw\",\"extents\":2,\"pid\":");
	assert_says(answer, "\"names\":1}]");
	assert_says(call("names", "{}"),
		    "[{\"name\":\"thing\",\"type\":5,\"offset\":27262976,\"length\":100,"
		    "\"lease\":0,\"generation\":1}]");
	assert_says(call("extents", "{}"),
		    "[{\"first\":13,\"count\":2,\"kind\":\"huge\",\"lease\":0,"
		    "\"alive\":true}]");
	assert_says(call("extents", "{\"lease\":1}"), "\"grants\":[]");
	assert_says(call("info", "{}"), "\"used\":4194304,\"leases\":1,\"state\":\"connected\"}]}");
	assert_says(call("stats", "{}"), "\"hellos\":1,");
	assert_says(answer, "\"grants\":1,\"returned\":0,\"published\":1,");
}

/* Clients come and go while others stay; with one goes all it had. */
static void test_clients(void **state)
{
	struct pf_client other = { .fd = -1, .arena_fd = -1 };
	struct portal_frame f;
	char params[256];
	uint32_t first = 0;

	(void)tmp_path(&pf.dir, "b", path[2], sizeof(path[2]));
	(void)snprintf(params, sizeof(params),
		       "{\"name\":\"b\",\"socket-path\":\"%s\",\"quota\":4194304}", path[2]);
	assert_says(call("client.add", params), "\"result\":{}");
	assert_says(call("client.add", params), "there is a client \\\"b\\\"");
	assert_says(call("client.add", "{\"name\":\"c\",\"socket-path\":\"/x\",\"mode\":\"rx\"}"),
		    "mode: neither rw nor ro");
	assert_says(call("client.add", "{\"name\":\"c\",\"socket-path\":\"/no/such/place\"}"),
		    "/no/such/place: ");
	assert_says(call("client.list", "{}"),
		    "/b\",\"mode\":\"rw\",\"quota\":4194304,\"used\":0,\"leases\":0,"
		    "\"state\":\"listening\"}]");
	pf_hello(&pf, &client, "a", "me");
	pf_hello(&pf, &other, "b", "you");
	assert_int_equal(pf_get(&other, 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(pf_publish(&other, "thing", 5, (uint64_t)first * PORTAL_EXTENT, 100), 0);
	assert_says(call("client.list", "{}"),
		    "\"used\":4194304,\"leases\":1,\"state\":\"connected\"}]");

	assert_says(call("client.remove", "{\"name\":\"z\"}"), "-32001");
	assert_says(call("client.remove", "{\"name\":\"b\"}"), "\"result\":{}");
	pf_notice(&other, PORTAL_REVOKED, &f);
	pf_hang_up(&other);
	until_recovered();
	assert_int_equal(access(path[2], F_OK), -1);
	assert_says(call("leases", "{}"), "[{\"id\":0,\"generation\":1,\"client\":\"a\"");
	assert_null(strstr(answer, "\"b\""));
	assert_says(call("names", "{}"), "\"names\":[]");
	assert_says(call("info", "{}"), "\"free\":13,");
	assert_int_equal(pf_get(&client, 1, PORTAL_EXTENT_HUGE, &first), 0);
	assert_says(call("client.add", params), "\"result\":{}");
}

/* A client's device comes and goes with it; one that cannot be had is no client either. */
static void test_client_device(void **state)
{
	char params[512];

	(void)tmp_path(&pf.dir, "b", path[2], sizeof(path[2]));
	(void)snprintf(params, sizeof(params),
		       "{\"name\":\"b\",\"socket-path\":\"%s\",\"pmem-path\":\"/no/such/place\"}",
		       path[2]);
	assert_says(call("client.add", params), "/no/such/place: ");
	assert_null(strstr(call("client.list", "{}"), "\"b\""));
	assert_int_equal(access(path[2], F_OK), -1);
	(void)snprintf(
		params, sizeof(params),
		"{\"name\":\"b\",\"socket-path\":\"%s\",\"mode\":\"ro\",\"pmem-path\":\"%s.vu\"}",
		path[2], path[2]);
	assert_says(call("client.add", params), "\"result\":{}");
	assert_says(call("info", "{}"),
		    "\"pmem\":[{\"name\":\"b\",\"mode\":\"ro\",\"state\":\"listening\"");
	assert_says(call("client.remove", "{\"name\":\"a\"}"), "\"result\":{}");
	assert_says(call("info", "{}"), "\"pmem\":[{\"name\":\"b\"");
	assert_says(call("client.remove", "{\"name\":\"b\"}"), "\"result\":{}");
	assert_null(strstr(call("info", "{}"), "\"pmem\""));
	(void)snprintf(params, sizeof(params), "%s.vu", path[2]);
	assert_int_equal(access(params, F_OK), -1);
}

static void test_revoke(void **state)
{
	struct portal_frame f;

	assert_says(call("revoke", "{\"lease\":0}"), "-32001");
	assert_says(call("revoke", "{\"lease\":256}"), "-32602");
	assert_says(call("revoke", "{}"), "-32602");
	pf_hello(&pf, &client, "a", "me");
	assert_says(call("revoke", "{\"lease\":0}"), "\"result\":{}");
	pf_notice(&client, PORTAL_REVOKED, &f);
	until_recovered();
	assert_says(call("leases", "{}"), "\"leases\":[]");
	assert_says(call("stats", "{}"), "\"revoked\":1,\"recovered\":1,");
}

static void test_quiesce(void **state)
{
	assert_says(call("thaw", "{}"), "-32001");
	assert_says(call("quiesce", "{\"deadline-ms\":50}"),
		    "\"state\":\"frozen\""); /* nobody to wait for */
	assert_says(call("quiesce", "{}"), "the arena is frozen already");
	assert_says(call("thaw", "{}"), "\"result\":{}");
	pf_hello(&pf, &client, "a", "me");
	assert_says(call("quiesce", "{\"deadline-ms\":30000,\"hold-ms\":30000}"),
		    "\"epoch\":2,\"state\":\"draining\",\"waiting\":1,");
	assert_int_equal(pf_simple(&client, PORTAL_ACK, 2, 0), 0);
	assert_says(call("info", "{}"), "\"state\":\"frozen\",\"waiting\":0,\"laggards\":0,");
	assert_says(call("quiesce", "{\"deadline-ms\":-1}"), "-32602");
}

static void test_flush(void **state)
{
	assert_says(call("flush", "{}"), "\"result\":{}");
	assert_says(call("flush", "{}"), "\"result\":{}"); /* before the first is done */
	pf_hello(&pf, &client, "a", "me");
	assert_int_equal(pf_simple(&client, PORTAL_FLUSH, 0, 0), 0);
	assert_says(call("stats", "{}"), "\"flush_requests\":3,");
	portald.flush.error = -EIO;
	assert_says(call("flush", "{}"), "a flush has failed before");
	assert_int_equal(pf_simple(&client, PORTAL_FLUSH, 0, 0), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_there_is, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_revoke, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
