/* SPDX-License-Identifier: MIT */
#include "nat_dhcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "inet.h"

enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };

#define GATEWAY 0xc0a86401u
#define N1      0xc0a8640au
#define FIRST   0xc0a86480u /* of the pool: .128 to .131 */

static const uint8_t n1_mac[6] = { 0x52, 0x54, 0, 0, 0, 0x0a };
static const uint8_t guest[6][6] = {
	{ 0x52, 0x54, 0, 0, 1, 0 }, { 0x52, 0x54, 0, 0, 1, 1 }, { 0x52, 0x54, 0, 0, 1, 2 },
	{ 0x52, 0x54, 0, 0, 1, 3 }, { 0x52, 0x54, 0, 0, 1, 4 }, { 0x52, 0x54, 0, 0, 1, 5 },
};

static struct nat_net net;
static struct nat_hosts hosts;
static struct nat_dhcp dhcp;
static struct nat_dhcp_reply reply;
static uint64_t now_s;

static int set_up(void **state)
{
	struct nat_host n1 = { .name = "n1", .has_mac = true, .has_ip = true, .ip = N1 };
	/* In the middle of the pool. */
	struct nat_host n2 = { .name = "n2", .has_ip = true, .ip = FIRST + 1 };

	net = (struct nat_net){ .subnet = 0xc0a86400,
				.mask = 0xffffff00,
				.gateway = GATEWAY,
				.dns = 0xc0a864fe,
				.mtu = 1400,
				.domain = "lab" };
	memcpy(n1.mac, n1_mac, 6);
	assert_int_equal(nat_hosts_add(&hosts, &n1), 0);
	assert_int_equal(nat_hosts_add(&hosts, &n2), 0);
	assert_int_equal(nat_dhcp_init(&dhcp, &net, &hosts, FIRST, FIRST + 3, 3600), 0);
	now_s = 1000;
	return 0;
}

static int tear_down(void **state)
{
	nat_dhcp_done(&dhcp);
	nat_hosts_done(&hosts);
	return 0;
}

struct message {
	uint8_t bytes[700];
	size_t len;
};

static struct message message(const uint8_t mac[6], uint8_t type)
{
	struct message m = { .len = 240 };

	m.bytes[0] = 1;
	m.bytes[1] = 1;
	m.bytes[2] = 6;
	inet_put_be32(m.bytes + 4, 0xdeadbeef);
	memcpy(m.bytes + 28, mac, 6);
	memcpy(m.bytes + 236, "\x63\x82\x53\x63", 4);
	m.bytes[m.len++] = 53;
	m.bytes[m.len++] = 1;
	m.bytes[m.len++] = type;
	return m;
}

static void option(struct message *m, uint8_t code, const void *value, size_t len)
{
	m->bytes[m->len++] = code;
	m->bytes[m->len++] = (uint8_t)len;
	memcpy(m->bytes + m->len, value, len);
	m->len += len;
}

static void number(struct message *m, uint8_t code, uint32_t value)
{
	uint8_t bytes[4];

	inet_put_be32(bytes, value);
	option(m, code, bytes, 4);
}

/* On the heap, so that the sanitizer sees the first byte beyond it. */
static bool answer(const struct message *m)
{
	uint8_t *copy = malloc(m->len);
	bool r;

	memcpy(copy, m->bytes, m->len);
	r = nat_dhcp_answer(&dhcp, copy, m->len, now_s, &reply);
	free(copy);
	return r;
}

static const uint8_t *option_of(uint8_t code, size_t *ret_len)
{
	for (const uint8_t *p = reply.bytes + 240; p < reply.bytes + reply.len && *p != 255;
	     p += 2 + p[1])
		if (*p == code) {
			*ret_len = p[1];
			return p + 2;
		}
	return NULL;
}

static uint32_t number_of(uint8_t code)
{
	size_t len = 0;
	const uint8_t *p = option_of(code, &len);

	assert_non_null(p);
	assert_int_equal(len, 4);
	return inet_be32(p);
}

static unsigned type_of(void)
{
	size_t len = 0;
	const uint8_t *p = option_of(53, &len);

	assert_non_null(p);
	return p[0];
}

static uint32_t yiaddr(void)
{
	return inet_be32(reply.bytes + 16);
}

static bool discover(const uint8_t mac[6])
{
	struct message m = message(mac, DISCOVER);

	return answer(&m);
}

/* SELECTING: after an offer. */
static bool take(const uint8_t mac[6], uint32_t ip)
{
	struct message m = message(mac, REQUEST);

	number(&m, 50, ip);
	number(&m, 54, GATEWAY);
	return answer(&m);
}

/* INIT-REBOOT: with the address it had. */
static bool reboot(const uint8_t mac[6], uint32_t ip)
{
	struct message m = message(mac, REQUEST);

	number(&m, 50, ip);
	return answer(&m);
}

/* RENEWING. */
static bool renew(const uint8_t mac[6], uint32_t ip)
{
	struct message m = message(mac, REQUEST);

	inet_put_be32(m.bytes + 12, ip);
	return answer(&m);
}

static void release(const uint8_t mac[6], uint32_t ip)
{
	struct message m = message(mac, RELEASE);

	inet_put_be32(m.bytes + 12, ip);
	assert_false(answer(&m));
}

static void test_host(void **state)
{
	size_t len;

	assert_true(discover(n1_mac));
	assert_int_equal(type_of(), OFFER);
	assert_int_equal(yiaddr(), N1);
	assert_int_equal(inet_be32(reply.bytes + 4), 0xdeadbeef);
	assert_int_equal(reply.bytes[0], 2);
	assert_int_equal(number_of(54), GATEWAY);
	assert_int_equal(reply.ip, N1);
	assert_memory_equal(reply.mac, n1_mac, 6);
	assert_true(reply.len >= 300);

	assert_true(take(n1_mac, N1));
	assert_int_equal(type_of(), ACK);
	assert_int_equal(yiaddr(), N1);
	assert_int_equal(number_of(1), 0xffffff00);
	assert_int_equal(number_of(3), GATEWAY);
	assert_int_equal(number_of(6), 0xc0a864fe);
	assert_int_equal(number_of(28), 0xc0a864ff);
	assert_int_equal(number_of(51), 3600);
	assert_int_equal(number_of(58), 1800);
	assert_int_equal(number_of(59), 3150);
	assert_memory_equal(option_of(12, &len), "n1", 2);
	assert_int_equal(len, 2);
	assert_memory_equal(option_of(15, &len), "lab", 3);
	assert_memory_equal(option_of(119, &len), "\x03lab", 5);
	assert_int_equal(len, 5);
	assert_int_equal(inet_be16(option_of(26, &len)), 1400);
	assert_int_equal(len, 2);

	/* Any other address is not for it. */
	assert_true(take(n1_mac, N1 + 1));
	assert_int_equal(type_of(), NAK);
	assert_int_equal(yiaddr(), 0);
	assert_int_equal(reply.ip, INADDR_BROADCAST);
	assert_true(reboot(n1_mac, 0x0a000001));
	assert_int_equal(type_of(), NAK);
	assert_true(renew(n1_mac, N1));
	assert_int_equal(type_of(), ACK);
	assert_int_equal(reply.ip, N1);
	assert_int_equal(inet_be32(reply.bytes + 12), N1);
}

static void test_restricted_has_no_router(void **state)
{
	size_t len;

	net.restricted = true;
	assert_true(take(n1_mac, N1));
	assert_null(option_of(3, &len));
	assert_int_equal(number_of(6), 0xc0a864fe);
}

/* The pool has .128, .130 and .131: .129 is n2's. */
static void test_pool(void **state)
{
	uint32_t got[3];

	for (unsigned i = 0; i < 3; i++) {
		assert_true(discover(guest[i]));
		got[i] = yiaddr();
		assert_true(got[i] - FIRST < 4 && got[i] != FIRST + 1);
		assert_true(take(guest[i], got[i]));
		assert_int_equal(type_of(), ACK);
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(got[i], got[j]);
	}
	assert_false(discover(guest[3]));
	assert_true(reboot(guest[3], got[0])); /* another's */
	assert_int_equal(type_of(), NAK);
	assert_true(reboot(guest[3], FIRST + 1)); /* a host's */
	assert_int_equal(type_of(), NAK);

	/* The same again for who had it, also a long time later. */
	assert_true(discover(guest[1]));
	assert_int_equal(yiaddr(), got[1]);
	now_s += 100000;
	assert_true(discover(guest[1]));
	assert_int_equal(yiaddr(), got[1]);
	/* The others' have run out: the one that ended first is given to a new one. */
	assert_true(discover(guest[3]));
	assert_int_equal(yiaddr(), got[0]);
}

static void test_offer_runs_out(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		assert_true(discover(guest[i]));
	assert_false(discover(guest[3]));
	now_s += NAT_DHCP_OFFER_S;
	assert_true(discover(guest[3]));
}

static void test_release(void **state)
{
	assert_true(take(guest[0], FIRST));
	assert_true(take(guest[1], FIRST + 2));
	assert_true(take(guest[2], FIRST + 3));
	release(guest[3], FIRST); /* not its own */
	assert_false(discover(guest[3]));
	release(guest[0], FIRST + 2); /* nor that */
	assert_false(discover(guest[3]));
	release(guest[0], FIRST);
	assert_true(discover(guest[3]));
	assert_int_equal(yiaddr(), FIRST);
	/* A renewal of what was released and given away. */
	assert_true(renew(guest[0], FIRST));
	assert_int_equal(type_of(), NAK);
}

static void test_decline(void **state)
{
	struct message m = message(guest[0], DECLINE);

	assert_true(take(guest[0], FIRST));
	number(&m, 50, FIRST);
	assert_false(answer(&m));
	assert_true(discover(guest[0]));
	assert_int_not_equal(yiaddr(), FIRST);
	now_s += NAT_DHCP_DECLINED_S;
	assert_true(reboot(guest[1], FIRST));
	assert_int_equal(type_of(), ACK);
}

/* The daemon was started anew: nothing is known, and clients go on with what they have. */
static void test_after_restart(void **state)
{
	assert_true(renew(guest[0], FIRST + 2));
	assert_int_equal(type_of(), ACK);
	assert_int_equal(yiaddr(), FIRST + 2);
	assert_true(reboot(guest[1], FIRST));
	assert_int_equal(type_of(), ACK);
	assert_true(discover(guest[2]));
	assert_int_equal(yiaddr(), FIRST + 3);
}

static bool used_by_another(void *arg, uint32_t ip, const uint8_t mac[6])
{
	return ip == FIRST;
}

static void test_used(void **state)
{
	dhcp.is_used = used_by_another;
	assert_true(discover(guest[0]));
	assert_int_equal(yiaddr(), FIRST + 2);
	assert_true(reboot(guest[0], FIRST));
	assert_int_equal(type_of(), NAK);
}

static void test_other_server(void **state)
{
	struct message m = message(n1_mac, REQUEST);

	number(&m, 50, N1);
	number(&m, 54, GATEWAY + 1);
	assert_false(answer(&m));
}

static void test_inform(void **state)
{
	struct message m = message(n1_mac, INFORM);
	size_t len;

	assert_false(answer(&m)); /* it has to say its address */
	inet_put_be32(m.bytes + 12, 0x0a000001);
	assert_false(answer(&m)); /* and that has to be here */
	inet_put_be32(m.bytes + 12, N1);
	assert_true(answer(&m));
	assert_int_equal(type_of(), ACK);
	assert_int_equal(yiaddr(), 0);
	assert_int_equal(reply.ip, N1);
	assert_null(option_of(51, &len));
	assert_int_equal(number_of(3), GATEWAY);
}

static void test_broadcast_flag(void **state)
{
	struct message m = message(n1_mac, DISCOVER);

	m.bytes[10] = 0x80;
	assert_true(answer(&m));
	assert_int_equal(reply.ip, INADDR_BROADCAST);
	assert_memory_equal(reply.mac, "\xff\xff\xff\xff\xff\xff", 6);
	assert_int_equal(reply.bytes[10], 0x80);
	/* Who has an address is told there. */
	m = message(n1_mac, REQUEST);
	m.bytes[10] = 0x80;
	inet_put_be32(m.bytes + 12, N1);
	assert_true(answer(&m));
	assert_int_equal(reply.ip, N1);
}

/* Everything at its longest: what matters is in, and it fits. */
static void test_longest(void **state)
{
	struct nat_host h = { .has_mac = true, .has_ip = true, .ip = N1 + 5 };
	struct message m;
	uint8_t id[32] = { 1, 2, 3 };
	size_t len;

	memset(h.name, 'x', NAT_LABEL_MAX);
	memcpy(h.mac, guest[5], 6);
	assert_int_equal(nat_hosts_add(&hosts, &h), 0);
	memset(net.domain, 'd', NAT_DOMAIN_MAX);
	m = message(guest[5], DISCOVER);
	option(&m, 61, id, sizeof(id));
	assert_true(answer(&m));
	assert_true(reply.len <= NAT_DHCP_REPLY_MAX);
	assert_int_equal(number_of(6), 0xc0a864fe);
	assert_non_null(option_of(12, &len));
	assert_int_equal(len, NAT_LABEL_MAX);
	assert_non_null(option_of(15, &len));
	assert_non_null(option_of(119, &len));
	assert_int_equal(len, NAT_DOMAIN_MAX + 2);
	assert_memory_equal(option_of(61, &len), id, sizeof(id));
	assert_int_equal(reply.bytes[reply.len - 1], 255);
}

static void test_malformed(void **state)
{
	struct message good = message(n1_mac, DISCOVER), m;

	for (good.len = 0; good.len < 243; good.len++)
		assert_false(answer(&good));
	assert_true(answer(&good));
	m = good;
	m.bytes[0] = 2; /* a reply */
	assert_false(answer(&m));
	m = good;
	m.bytes[2] = 16;
	assert_false(answer(&m));
	m = good;
	m.bytes[236] = 0;
	assert_false(answer(&m));
	m = good;
	m.bytes[27] = 1; /* relayed */
	assert_false(answer(&m));
	m = good;
	m.bytes[28] |= 1; /* a group's MAC */
	assert_false(answer(&m));
	m = good;
	m.bytes[241] = 2; /* an option that reaches beyond the end */
	assert_false(answer(&m));
	m = good;
	m.bytes[242] = 0;
	assert_false(answer(&m));
	m = good;
	m.bytes[240] = 255; /* no type: BOOTP */
	assert_false(answer(&m));
}

static void test_init(void **state)
{
	struct nat_dhcp d;

	assert_int_equal(nat_dhcp_init(&d, &net, &hosts, 2, 1, 60), -EINVAL);
	assert_int_equal(nat_dhcp_init(&d, &net, &hosts, 0, NAT_DHCP_POOL_MAX, 60), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_host),           TEST(test_restricted_has_no_router),
		TEST(test_pool),           TEST(test_offer_runs_out),
		TEST(test_release),        TEST(test_decline),
		TEST(test_after_restart),  TEST(test_used),
		TEST(test_other_server),   TEST(test_inform),
		TEST(test_broadcast_flag), TEST(test_longest),
		TEST(test_malformed),      TEST(test_init),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
