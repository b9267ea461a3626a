/* SPDX-License-Identifier: MIT */
/* The VXLAN header, and which peer a station is behind. */
#include "vxlan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fdb.h"

#define PER_PEER 4
#define AGEING   10

static struct vxlan x;

static union inetaddr at(const char *text)
{
	union inetaddr a;

	assert_int_equal(inetaddr_parse(text, VXLAN_PORT, &a), 0);
	return a;
}

static int setup(void **state)
{
	memset(&x, 0, sizeof(x));
	x.vni = 0x123456;
	x.n_peers = 2;
	x.peer[0] = at("10.0.0.1");
	x.peer[1] = at("10.0.0.2");
	return vxlan_init(&x, PER_PEER, AGEING, 1);
}

static int teardown(void **state)
{
	vxlan_done(&x);
	return 0;
}

/* A datagram with a frame in it that comes from station `from`. */
static bool arrives(const char *peer, uint8_t from, uint32_t now_s)
{
	uint8_t bytes[VXLAN_HDR_LEN + 60] = { 0 };
	union inetaddr a = at(peer);

	memcpy(bytes, x.hdr, VXLAN_HDR_LEN);
	bytes[VXLAN_HDR_LEN + 11] = from;
	return vxlan_open(&x, &a, bytes, sizeof(bytes), now_s);
}

static uint32_t route(uint8_t to, uint32_t now_s)
{
	const uint8_t mac[6] = { [5] = to };

	return vxlan_route(&x, mac, now_s);
}

static void test_header(void **state)
{
	static const uint8_t want[] = { 0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0 };
	union inetaddr a = at("10.0.0.1:33333"); /* any port */
	uint8_t bytes[VXLAN_HDR_LEN + 60];

	assert_memory_equal(x.hdr, want, sizeof(want));

	memset(bytes, 0xff, sizeof(bytes)); /* what is reserved is ignored */
	memcpy(bytes + 4, want + 4, 3);
	assert_true(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
	assert_true(
		vxlan_open(&x, &a, bytes, VXLAN_HDR_LEN, 0)); /* no frame: the switch counts it */
	assert_int_equal(x.strangers, 0);
	assert_false(vxlan_open(&x, &a, bytes, VXLAN_HDR_LEN - 1, 0));
	assert_false(vxlan_open(&x, &a, bytes, 0, 0));
	bytes[0] = (uint8_t)~0x08;
	assert_false(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
	bytes[0] = 0x08;
	for (unsigned i = 4; i < 7; i++) { /* another network */
		bytes[i] ^= 1;
		assert_false(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
		bytes[i] ^= 1;
	}
	assert_true(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
	assert_int_equal(x.strangers, 6);
}

static void test_learns(void **state)
{
	assert_int_equal(route(7, 0), VXLAN_PEER_NONE);
	assert_true(arrives("10.0.0.2", 7, 0));
	assert_int_equal(route(7, 0), 1);
	assert_true(arrives("10.0.0.1", 7, 1)); /* it moved */
	assert_int_equal(route(7, 1), 0);
	assert_int_equal(route(7, 1 + AGEING - 1), 0);
	assert_int_equal(route(7, 1 + AGEING + 1), VXLAN_PEER_NONE);
}

static void test_strangers_teach_nothing(void **state)
{
	assert_false(arrives("10.0.0.3", 7, 0));
	assert_int_equal(route(7, 0), VXLAN_PEER_NONE);
	assert_int_equal(x.strangers, 1);
}

static void test_groups(void **state)
{
	uint8_t group[6] = { 0x01, 0, 0x5e, 0, 0, 1 };
	uint8_t bytes[VXLAN_HDR_LEN + 60] = { 0 };
	union inetaddr a = at("10.0.0.1");

	assert_int_equal(vxlan_route(&x, group, 0), VXLAN_PEER_NONE);
	/* A group address, or none at all, is nobody's source. */
	memcpy(bytes, x.hdr, VXLAN_HDR_LEN);
	memcpy(bytes + VXLAN_HDR_LEN + 6, group, 6);
	assert_true(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
	memset(bytes + VXLAN_HDR_LEN + 6, 0, 6);
	assert_true(vxlan_open(&x, &a, bytes, sizeof(bytes), 0));
	assert_int_equal(fdb_count(&x.stations), 0);
}

/* A peer that invents stations loses its own, not another's. */
static void test_flood_of_stations(void **state)
{
	for (uint8_t i = 0; i < PER_PEER; i++)
		assert_true(arrives("10.0.0.1", (uint8_t)(100 + i), 0));
	for (uint8_t i = 1; i < 50; i++)
		assert_true(arrives("10.0.0.2", i, 0));
	assert_int_equal(fdb_count(&x.stations), 2 * PER_PEER);
	for (uint8_t i = 0; i < PER_PEER; i++)
		assert_int_equal(route((uint8_t)(100 + i), 0), 0);
	assert_int_equal(route(49, 0), 1);
	assert_int_equal(route(1, 0), VXLAN_PEER_NONE);
}

static void test_one_peer_gets_all(void **state)
{
	const uint8_t group[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	x.n_peers = 1;
	assert_int_equal(route(9, 0), 0);
	assert_int_equal(vxlan_route(&x, group, 0), 0);
	x.n_peers = 2;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_learns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers_teach_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flood_of_stations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_peer_gets_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
