/* SPDX-License-Identifier: MIT */
#include "nat_dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "inet.h"

enum { A = 1, PTR = 12, MX = 15, AAAA = 28, ANY = 255 };
enum { NOERROR = 0, FORMERR = 1, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5 };

static struct nat_net net;
static struct nat_hosts hosts;
static struct nat_dns dns = { &net, &hosts };
static uint8_t query[600], reply[NAT_DNS_REPLY_MAX];
static size_t len;

static int set_up(void **state)
{
	struct nat_host n1 = { .name = "n1", .has_ip = true, .ip = 0xc0a8640a };
	struct nat_host n2 = { .name = "N2", .has_ip = true, .ip = 0xc0a8640b, .has_ip6 = true };
	struct nat_host longest = { .has_ip6 = true };
	struct nat_host second = { .name = "n1.1", .has_ip = true, .ip = 0xc0a86414 };

	net = (struct nat_net){ .subnet = 0xc0a86400,
				.mask = 0xffffff00,
				.ip6 = true,
				.subnet6 = { .s6_addr = { 0xfd, 0, 1 } },
				.domain = "lab" };
	n2.ip6 = net.subnet6;
	n2.ip6.s6_addr[15] = 0x2b;
	longest.ip6 = net.subnet6;
	longest.ip6.s6_addr[15] = 0xff;
	memset(longest.name, 'x', NAT_LABEL_MAX);
	assert_int_equal(nat_hosts_add(&hosts, &n1), 0);
	assert_int_equal(nat_hosts_add(&hosts, &n2), 0);
	assert_int_equal(nat_hosts_add(&hosts, &longest), 0);
	assert_int_equal(nat_hosts_add(&hosts, &second), 0);
	return 0;
}

static int tear_down(void **state)
{
	nat_hosts_done(&hosts);
	return 0;
}

/* "n1.lab" as labels. */
static size_t put_name(uint8_t *at, const char *name)
{
	size_t n = 0;

	while (*name) {
		size_t label = strcspn(name, ".");

		at[n++] = (uint8_t)label;
		memcpy(at + n, name, label);
		n += label;
		name += label + (name[label] == '.');
	}
	at[n++] = 0;
	return n;
}

static size_t make(const char *name, uint16_t type)
{
	size_t at = 12;

	memcpy(query, "\x12\x34\x01\0\0\x01\0\0\0\0\0", 12);
	at += put_name(query + at, name);
	inet_put_be16(query + at, type);
	inet_put_be16(query + at + 2, 1);
	return at + 4;
}

/* On the heap, so that the sanitizer sees the first byte beyond it. */
static enum nat_dns_way ask_bytes(const void *bytes, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	enum nat_dns_way way;

	memcpy(copy, bytes, n);
	memset(reply, 0xee, sizeof(reply));
	way = nat_dns_answer(&dns, copy, n, reply, &len);
	free(copy);
	if (way == NAT_DNS_ANSWER) {
		assert_true(len >= 12 && len <= sizeof(reply));
		assert_memory_equal(reply, bytes, 2);
		assert_true(reply[2] & 0x80);
	}
	return way;
}

static enum nat_dns_way ask(const char *name, uint16_t type)
{
	return ask_bytes(query, make(name, type));
}

static void expect(unsigned rcode, unsigned answers)
{
	assert_int_equal(reply[3] & 15, rcode);
	assert_int_equal(inet_be16(reply + 4), 1);
	assert_int_equal(inet_be16(reply + 6), answers);
	assert_int_equal(inet_be16(reply + 8), 0);
}

static void test_addresses(void **state)
{
	static const char *const names[] = { "n1", "n1.lab", "N1.LAB", "n1.Lab" };

	for (unsigned i = 0; i < array_size(names); i++) {
		size_t n = make(names[i], A);

		assert_int_equal(ask_bytes(query, n), NAT_DNS_ANSWER);
		expect(NOERROR, 1);
		assert_true(reply[2] & 0x04); /* with authority */
		assert_memory_equal(reply + 12, query + 12, n - 12);
		assert_int_equal(inet_be16(reply + n), 0xc00c);
		assert_int_equal(inet_be16(reply + n + 2), A);
		assert_int_equal(inet_be16(reply + n + 4), 1);
		assert_int_equal(inet_be32(reply + n + 6), NAT_DNS_TTL_S);
		assert_int_equal(inet_be16(reply + n + 10), 4);
		assert_int_equal(inet_be32(reply + n + 12), 0xc0a8640a);
		assert_int_equal(len, n + 16);
	}
	assert_int_equal(ask("n1.1.lab", A), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(reply[len - 1], 20);
	assert_int_equal(ask("20.100.168.192.in-addr.arpa", PTR), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_memory_equal(reply + len - 10,
			    "\x02n1\x01"
			    "1\x03lab",
			    10);
	assert_int_equal(ask("n2.lab", AAAA), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(reply[len - 1], 0x2b);
	assert_int_equal(ask("n2.lab", ANY), NAT_DNS_ANSWER);
	expect(NOERROR, 2);
}

/* The name is there, what is asked is not: no error, no answer.  Or it is not there: with authority. */
static void test_negative(void **state)
{
	assert_int_equal(ask("n1", AAAA), NAT_DNS_ANSWER);
	expect(NOERROR, 0);
	assert_int_equal(ask("n1", MX), NAT_DNS_ANSWER);
	expect(NOERROR, 0);
	assert_int_equal(ask("lab", A), NAT_DNS_ANSWER);
	expect(NOERROR, 0);
	assert_int_equal(ask("n9.lab", A), NAT_DNS_ANSWER);
	expect(NXDOMAIN, 0);
	assert_true(reply[2] & 0x04);
	assert_int_equal(ask("a.n1.lab", A), NAT_DNS_ANSWER);
	expect(NXDOMAIN, 0);
}

static void test_others(void **state)
{
	assert_int_equal(ask("n9", A), NAT_DNS_FORWARD);
	assert_int_equal(ask("example.org", A), NAT_DNS_FORWARD);
	assert_int_equal(ask("n1.lab.org", A), NAT_DNS_FORWARD);
	assert_int_equal(ask("xlab", A), NAT_DNS_FORWARD);
	assert_int_equal(ask("", 2), NAT_DNS_FORWARD);
	assert_int_equal(ask("1.0.0.10.in-addr.arpa", PTR), NAT_DNS_FORWARD);
	net.restricted = true;
	assert_int_equal(ask("example.org", A), NAT_DNS_ANSWER);
	expect(REFUSED, 0);
	assert_int_equal(ask("n1", A), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	net.restricted = false;
}

static void test_reverse(void **state)
{
	static const uint8_t n1_lab[] = "\x02n1\x03lab";

	assert_int_equal(ask("10.100.168.192.in-addr.arpa", PTR), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_memory_equal(reply + len - 8, n1_lab, 8);
	assert_int_equal(inet_be16(reply + len - 10), 8);
	assert_int_equal(ask("99.100.168.192.in-addr.arpa", PTR), NAT_DNS_ANSWER);
	expect(NXDOMAIN, 0);
	assert_int_equal(
		ask("b.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.d.f.ip6.arpa",
		    PTR),
		NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(
		ask("B.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.D.F.ip6.arpa",
		    PTR),
		NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(
		ask("c.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.d.f.ip6.arpa",
		    PTR),
		NAT_DNS_ANSWER);
	expect(NXDOMAIN, 0);
	assert_int_equal(
		ask("g.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.d.f.ip6.arpa",
		    PTR),
		NAT_DNS_FORWARD);
	/* What only looks like an address. */
	assert_int_equal(ask("010.100.168.192.in-addr.arpa", PTR), NAT_DNS_FORWARD);
	assert_int_equal(ask("10.100.168.192.1.in-addr.arpa", PTR), NAT_DNS_FORWARD);
	assert_int_equal(ask("256.100.168.192.in-addr.arpa", PTR), NAT_DNS_FORWARD);
	assert_int_equal(ask("10.100.168.in-addr.arpa", PTR), NAT_DNS_FORWARD);
}

/* The longest reply there is: the longest name for the longest question, with EDNS. */
static void test_longest(void **state)
{
	size_t n = make("f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.d.f.ip6.arpa",
			PTR);

	memset(net.domain, 'd', NAT_DOMAIN_MAX);
	query[11] = 1;
	memcpy(query + n, "\0\0\x29\x10\0\0\0\0\0\0\0", 11);
	assert_int_equal(ask_bytes(query, n + 11), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(inet_be16(reply + 10), 1);
	assert_memory_equal(reply + len - 11, "\0\0\x29", 3);
	assert_int_equal(len, n + 12 + 64 + 64 + 1 + 11);
}

static void test_edns(void **state)
{
	size_t n = make("n1", A);

	query[11] = 1;
	memcpy(query + n, "\0\0\x29\x10\0\0\0\0\0\0\0", 11);
	assert_int_equal(ask_bytes(query, n + 11), NAT_DNS_ANSWER);
	expect(NOERROR, 1);
	assert_int_equal(inet_be16(reply + 10), 1);
	/* Cut short, it is none. */
	assert_int_equal(ask_bytes(query, n + 10), NAT_DNS_ANSWER);
	assert_int_equal(inet_be16(reply + 10), 0);
}

static void test_malformed(void **state)
{
	size_t n = make("n1.lab", A);

	/* Every way to cut it. */
	for (size_t cut = 0; cut < n; cut++)
		if (cut < 12)
			assert_int_equal(ask_bytes(query, cut), NAT_DNS_NOTHING);
		else {
			assert_int_equal(ask_bytes(query, cut), NAT_DNS_ANSWER);
			assert_int_equal(reply[3] & 15, FORMERR);
			assert_int_equal(len, 12);
		}
	/* An answer is not answered: two servers would talk for ever. */
	query[2] |= 0x80;
	assert_int_equal(ask_bytes(query, n), NAT_DNS_NOTHING);
	make("n1.lab", A);
	query[2] = 5 << 3; /* an update */
	assert_int_equal(ask_bytes(query, n), NAT_DNS_ANSWER);
	assert_int_equal(reply[3] & 15, NOTIMP);
	make("n1.lab", A);
	query[5] = 2;
	assert_int_equal(ask_bytes(query, n), NAT_DNS_ANSWER);
	assert_int_equal(reply[3] & 15, FORMERR);
	/* A pointer: to itself, and to a name that is there. */
	make("n1.lab", A);
	memcpy(query + 12, "\xc0\x0c", 2);
	assert_int_equal(ask_bytes(query, n), NAT_DNS_ANSWER);
	assert_int_equal(reply[3] & 15, FORMERR);
	/* A label with a dot in it does not name n1.lab. */
	memcpy(query + 12, "\x06n1.lab\0\0\x01\0\x01", 12);
	assert_int_equal(ask_bytes(query, 24), NAT_DNS_ANSWER);
	assert_int_equal(reply[3] & 15, FORMERR);
	/* A name of more than 255 bytes. */
	n = 12;
	for (unsigned i = 0; i < 5; i++) {
		query[n++] = 63;
		memset(query + n, 'a', 63);
		n += 63;
	}
	memcpy(query + n, "\0\0\x01\0\x01", 5);
	assert_int_equal(ask_bytes(query, n + 5), NAT_DNS_ANSWER);
	assert_int_equal(reply[3] & 15, FORMERR);
}

/* Another class than IN is somebody else's. */
static void test_class(void **state)
{
	size_t n = make("n1", A);

	query[n - 1] = 3; /* CHAOS */
	assert_int_equal(ask_bytes(query, n), NAT_DNS_FORWARD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_addresses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_negative, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reverse, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_longest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_edns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_class, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
