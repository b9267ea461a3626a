/* SPDX-License-Identifier: MIT */
/* A VXLAN port and the kernel's own vxlan device, in another network namespace, with its IP stack behind it. */
#include "port_vxlan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "netns.h"
#include "uplink_fixture.h"

#define ARP_LEN 42

static struct lab lab;
static bool allowed;

static int setup(void **state)
{
	lab_up(&lab);
	return 0;
}

static int teardown(void **state)
{
	lab_down(&lab);
	return 0;
}

/* Two hosts, 10.99.0.1 here and 10.99.0.2 in the child's namespace; there network 7 has 10.98.0.2 in it. */
static pid_t other_host(void)
{
	pid_t ns = netns_child();
	char text[16];

	snprintf(text, sizeof(text), "%d", ns);
	netns_run("ip", "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1");
	netns_run("ip", "link", "set", "veth1", "netns", text);
	netns_run("ip", "addr", "add", "10.99.0.1/24", "dev", "veth0");
	netns_run("ip", "link", "set", "veth0", "up");
	netns_run_in(ns, "ip", "addr", "add", "10.99.0.2/24", "dev", "veth1");
	netns_run_in(ns, "ip", "link", "set", "veth1", "up");
	netns_run_in(ns, "ip", "link", "add", "vx7", "type", "vxlan", "id", "7", "dstport", "4789",
		     "local", "10.99.0.2", "remote", "10.99.0.1");
	netns_run_in(ns, "ip", "link", "set", "vx7", "address", "52:52:52:52:52:02", "up");
	netns_run_in(ns, "ip", "addr", "add", "10.98.0.2/24", "dev", "vx7");
	return ns;
}

/* Who has 10.98.0.2?  Tell 10.98.0.1, 52:52:52:52:52:01. */
static void arp_request(uint8_t *bytes)
{
	static const uint8_t fixed[] = { 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(bytes, 0, ARP_LEN);
	lab_frame(bytes, 14, LAB_GROUP, 1, 0);
	memcpy(bytes + 12, fixed, sizeof(fixed));
	memcpy(bytes + 22, bytes + 6, 6);
	memcpy(bytes + 28, (const uint8_t[]){ 10, 98, 0, 1 }, 4);
	memcpy(bytes + 38, (const uint8_t[]){ 10, 98, 0, 2 }, 4);
}

static bool answered(void *request)
{
	for (unsigned i = 0; i < lab.probe.n && i < PROBE_KEEP; i++) {
		const uint8_t *b = lab.probe.bytes[i];

		if (lab.probe.len[i] >= ARP_LEN && b[12] == 0x08 && b[13] == 0x06 && b[21] == 2)
			return true;
	}
	if (lab.probe.n == 0)
		lab_send(&lab, request, ARP_LEN); /* once more, until the devices are up */
	return false;
}

static void test_asks_the_kernel(void **state)
{
	static const uint8_t answer[] = { 0x52, 0x52, 0x52, 0x52, 0x52, 1,    0x52, 0x52, 0x52,
					  0x52, 0x52, 2,    0x08, 0x06, 0,    1,    8,    0,
					  6,    4,    0,    2,    0x52, 0x52, 0x52, 0x52, 0x52,
					  2,    10,   98,   0,    2,    0x52, 0x52, 0x52, 0x52,
					  0x52, 1,    10,   98,   0,    1 };
	uint8_t request[ARP_LEN];
	struct sw_port *p;
	pid_t ns;

	if (!allowed) {
		print_message(
			"# SKIP needs a network namespace: neither root nor user namespaces here\n");
		skip();
	}
	if (!netns_try("ip", "link", "add", "probe", "type", "vxlan", "id", "1", "dstport",
		       "4790")) {
		print_message("# SKIP this kernel has no vxlan\n");
		skip();
	}
	ns = other_host();
	p = lab_open(&lab,
		     "{\"name\":\"x\",\"type\":\"vxlan\",\"vni\":7,\"peers\":[\"10.99.0.2\"]}");
	assert_non_null(p);
	assert_string_equal(lab_describe(p, "local"), "0.0.0.0:4789");
	assert_string_equal(lab_describe(p, "mtu"), "1450"); /* the kernel was asked */
	arp_request(request);
	assert_true(lab_wait(&lab, answered, request));
	assert_true(lab.probe.len[0] >= sizeof(answer));
	assert_memory_equal(lab.probe.bytes[0], answer, sizeof(answer));
	assert_string_equal(lab_describe(p, "peers"),
			    "[ { \"address\": \"10.99.0.2:4789\", \"stations\": 1 } ]");
	assert_string_equal(lab_describe(p, "strangers"), "0");
	netns_child_end(ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_asks_the_kernel, setup, teardown),
	};

	allowed = netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
