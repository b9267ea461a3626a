/* SPDX-License-Identifier: MIT */
/* What a NAT port remembers of guests: hosts, neighbours, flows, who may be answered.  All of it is bounded. */
#include "nat_flows.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "inet.h"
#include "nat_hosts.h"
#include "nat_neigh.h"
#include "nat_replies.h"

static struct in6_addr ip(uint32_t a)
{
	return nat_addr_of_ip4(a);
}

static void test_hosts(void **state)
{
	struct nat_hosts hosts = { 0 };
	struct nat_host a = { .name = "Web-1",
			      .has_mac = true,
			      .mac = { 2, 0, 0, 0, 0, 1 },
			      .has_ip = true,
			      .ip = 10 };
	struct nat_host b = { .name = "web-1" };
	const struct nat_host *found;

	assert_int_equal(nat_hosts_add(&hosts, &a), 0);
	assert_int_equal(nat_hosts_add(&hosts, &b), -EEXIST);
	memcpy(b.name, "b", 2);
	b.has_ip = true;
	b.ip = 10;
	assert_int_equal(nat_hosts_add(&hosts, &b), -EEXIST);
	b.ip = 11;
	b.has_mac = true;
	memcpy(b.mac, a.mac, 6);
	assert_int_equal(nat_hosts_add(&hosts, &b), -EEXIST);
	b.mac[5] = 2;
	assert_int_equal(nat_hosts_add(&hosts, &b), 0);
	found = nat_hosts_by_name(&hosts, "WEB-1", 5);
	assert_non_null(found);
	assert_string_equal(found->name, "web-1");
	assert_ptr_equal(nat_hosts_by_mac(&hosts, a.mac), found);
	assert_ptr_equal(nat_hosts_by_ip(&hosts, 10), found);
	assert_null(nat_hosts_by_name(&hosts, "web-", 4));
	assert_null(nat_hosts_by_ip(&hosts, 0));
	nat_hosts_done(&hosts);
}

static void test_labels(void **state)
{
	char longest[NAT_LABEL_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	assert_true(nat_name_valid("a", 1));
	assert_true(nat_name_valid("9z-A", 4));
	assert_true(nat_name_valid(longest, NAT_LABEL_MAX));
	assert_false(nat_name_valid(longest, NAT_LABEL_MAX + 1));
	assert_false(nat_name_valid("", 0));
	assert_false(nat_name_valid("-a", 2));
	assert_false(nat_name_valid("a-", 2));
	assert_true(nat_name_valid("a.b", 3));
	assert_false(nat_name_valid("a..b", 4));
	assert_false(nat_name_valid(".a", 2));
	assert_false(nat_name_valid("a.", 2));
	assert_false(nat_name_valid("a.-b", 4));
	assert_false(nat_name_valid("a_b", 3));
	assert_false(nat_name_valid("a\0b", 3));
}

static void test_hosts_bound(void **state)
{
	struct nat_hosts hosts = { 0 };
	struct nat_host h = { 0 };

	for (unsigned i = 0; i < NAT_HOSTS_MAX; i++) {
		snprintf(h.name, sizeof(h.name), "n%u", i);
		assert_int_equal(nat_hosts_add(&hosts, &h), 0);
	}
	memcpy(h.name, "more", 5);
	assert_int_equal(nat_hosts_add(&hosts, &h), -ENOSPC);
	assert_non_null(nat_hosts_by_name(&hosts, "n4095", 5));
	nat_hosts_done(&hosts);
}

static void test_neighbours(void **state)
{
	static struct nat_neigh neigh;
	static const uint8_t a[6] = { 2, 0, 0, 0, 0, 1 }, b[6] = { 2, 0, 0, 0, 0, 2 };
	struct nat_hosts hosts = { 0 };
	struct nat_host h = { .name = "a", .has_mac = true, .has_ip = true, .ip = 10 };
	struct in6_addr ten = ip(10), eleven = ip(11);
	unsigned known = 0;

	memcpy(h.mac, a, 6);
	assert_int_equal(nat_hosts_add(&hosts, &h), 0);
	assert_true(nat_neigh_seen(&neigh, &ten, b, 1));
	assert_int_equal(nat_neigh_pin(&neigh, &hosts), 0);
	/* Pinned: what was learned is forgotten, and nobody else gets it. */
	assert_true(nat_neigh_is_pinned(&neigh, &ten));
	assert_memory_equal(nat_neigh_find(&neigh, &ten)->mac, a, 6);
	assert_false(nat_neigh_seen(&neigh, &ten, b, 2));
	assert_true(nat_neigh_seen(&neigh, &ten, a, 2));
	/* Learned: the last word counts. */
	assert_null(nat_neigh_find(&neigh, &eleven));
	assert_true(nat_neigh_seen(&neigh, &eleven, a, 2));
	assert_true(nat_neigh_seen(&neigh, &eleven, b, 3));
	assert_memory_equal(nat_neigh_find(&neigh, &eleven)->mac, b, 6);
	assert_false(nat_neigh_is_pinned(&neigh, &eleven));
	/* A guest that invents addresses: the table does not grow, a subnet's worth fits, the pinned one stays. */
	for (uint32_t i = 0; i < 250; i++) {
		struct in6_addr x = ip(0xc0a86400 + i);

		assert_true(nat_neigh_seen(&neigh, &x, b, 4));
	}
	for (uint32_t i = 0; i < 250; i++) {
		struct in6_addr x = ip(0xc0a86400 + i);

		known += nat_neigh_find(&neigh, &x) != NULL;
	}
	assert_true(known > 240);
	for (uint32_t i = 0; i < 100000; i++) {
		struct in6_addr x = ip(0x0a000000 + i);

		assert_true(nat_neigh_seen(&neigh, &x, b, 5));
		assert_non_null(nat_neigh_find(&neigh, &x));
	}
	assert_memory_equal(nat_neigh_find(&neigh, &ten)->mac, a, 6);
	nat_neigh_done(&neigh);
	nat_hosts_done(&hosts);
}

static struct nat_packet packet(uint8_t proto, uint32_t src, uint16_t sport)
{
	return (struct nat_packet){ .kind = NAT_KIND_IP4,
				    .proto = proto,
				    .type = proto == INET_TCP ? NAT_TCP_SYN : 0,
				    .src = ip(src),
				    .sport = sport };
}

/* What libslirp would do: a socket for each packet that may open one.  How many were opened. */
static unsigned open_all(struct nat_flows *f, uint8_t proto, uint32_t src, bool pinned, unsigned n,
			 int first_fd)
{
	unsigned opened = 0;

	for (unsigned i = 0; i < n; i++) {
		struct nat_packet p = packet(proto, src, (uint16_t)i);

		if (nat_flows_admit(f, &p, pinned))
			nat_flows_opened(f, first_fd + (int)opened++, &p, pinned);
	}
	return opened;
}

static void test_flows(void **state)
{
	struct nat_flows f;
	struct nat_packet p;

	assert_int_equal(nat_flows_init(&f, 64, 1), 0);
	/* A pinned guest has a quarter, whatever it does. */
	assert_int_equal(open_all(&f, INET_UDP, 1, true, 100, 100), 16);
	assert_int_equal(open_all(&f, INET_TCP, 1, true, 100, 200), 0);
	/* All others together one half, and pings of all a sixteenth. */
	assert_int_equal(open_all(&f, INET_ICMP, 2, false, 100, 300), 4);
	assert_int_equal(open_all(&f, INET_TCP, 3, false, 100, 400), 28);
	assert_int_equal(open_all(&f, INET_TCP, 4, false, 100, 500), 0);
	/* Another pinned one finds room. */
	assert_int_equal(open_all(&f, INET_TCP, 5, true, 100, 600), 16);
	assert_int_equal(f.n, 64);
	assert_int_equal(open_all(&f, INET_TCP, 6, true, 1, 700), 0);
	/* What is open goes on; what opens nothing passes. */
	p = packet(INET_UDP, 1, 0);
	assert_true(nat_flows_admit(&f, &p, true));
	p = packet(INET_UDP, 1, 99);
	assert_false(nat_flows_admit(&f, &p, true));
	p = packet(INET_TCP, 6, 1);
	p.type = NAT_TCP_ACK;
	assert_true(nat_flows_admit(&f, &p, true));
	/* Closed in any order, all of it is free again. */
	for (int fd = 100; fd < 116; fd += 2)
		nat_flows_closed(&f, fd);
	p = packet(INET_UDP, 1, 0);
	assert_true(nat_flows_admit(&f, &p, true));
	assert_int_equal(f.n_udp, 8);
	for (int fd = 115; fd > 100; fd -= 2)
		nat_flows_closed(&f, fd);
	nat_flows_closed(&f, 9999);
	assert_int_equal(f.n_udp, 0);
	assert_int_equal(f.n, 48);
	assert_int_equal(open_all(&f, INET_UDP, 1, true, 100, 100), 16);
	nat_flows_done(&f);
}

/* Connections by forwards are counted, remembered up to as many again, and forgotten well. */
static void test_flows_incoming(void **state)
{
	struct nat_flows f;

	assert_int_equal(nat_flows_init(&f, 64, 1), 0);
	for (int fd = 0; fd < 200; fd++)
		nat_flows_opened(&f, fd, NULL, false);
	assert_int_equal(f.n, 128);
	assert_int_equal(f.n_tcp + f.n_udp + f.n_icmp, 0);
	assert_int_equal(open_all(&f, INET_TCP, 1, true, 1, 300), 0);
	for (int fd = 0; fd < 200; fd++)
		nat_flows_closed(&f, fd);
	assert_int_equal(f.n, 0);
	assert_int_equal(open_all(&f, INET_TCP, 1, true, 1, 300), 1);
	nat_flows_done(&f);
}

/* Random opening and closing against a plain count. */
static void test_flows_random(void **state)
{
	struct nat_flows f;
	bool open[300] = { false };
	unsigned seed = 7, n = 0;

	assert_int_equal(nat_flows_init(&f, 256, 42), 0);
	for (unsigned i = 0; i < 20000; i++) {
		int fd = rand_r(&seed) % 300;
		struct nat_packet p =
			packet(fd % 3 ? INET_UDP : INET_TCP, (uint32_t)fd % 7, (uint16_t)fd);

		if (open[fd]) {
			nat_flows_closed(&f, fd);
			n--;
		} else {
			nat_flows_opened(&f, fd, &p, fd % 2);
			n++;
		}
		open[fd] = !open[fd];
		assert_int_equal(f.n, n);
		assert_int_equal(f.n_tcp + f.n_udp, n);
	}
	nat_flows_done(&f);
}

static void test_fragments(void **state)
{
	struct nat_flows f;
	unsigned n = 0;

	assert_int_equal(nat_flows_init(&f, 64, 1), 0);
	assert_false(nat_flows_has_fragments(&f, 100));
	while (nat_flows_admit_fragment(&f, 1500, 100))
		n++;
	assert_int_equal(n, NAT_FRAGMENT_BYTES / 1500);
	assert_true(nat_flows_has_fragments(&f, 100));
	/* Half a minute later libslirp may still have them. */
	assert_false(nat_flows_admit_fragment(&f, 1500, 100 + NAT_FRAGMENT_WINDOW_S));
	assert_true(nat_flows_admit_fragment(&f, 1500, 100 + 2 * NAT_FRAGMENT_WINDOW_S));
	assert_false(nat_flows_has_fragments(&f, 100 + 9 * NAT_FRAGMENT_WINDOW_S));
	nat_flows_done(&f);
}

static struct nat_packet datagram(uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport)
{
	return (struct nat_packet){ .kind = NAT_KIND_IP4,
				    .proto = INET_UDP,
				    .src = ip(src),
				    .sport = sport,
				    .dst = ip(dst),
				    .dport = dport };
}

static void test_replies(void **state)
{
	static struct nat_replies r;
	struct nat_packet p = datagram(1, 5000, 10, 53);

	nat_replies_note(&r, &p, 100);
	p = datagram(10, 53, 1, 5000);
	assert_true(nat_replies_allow(&r, &p, 100));
	assert_false(nat_replies_allow(&r, &p, 100 + NAT_REPLY_S));
	p = datagram(10, 53, 1, 5001);
	assert_false(nat_replies_allow(&r, &p, 100));
	p = datagram(10, 54, 1, 5000);
	assert_false(nat_replies_allow(&r, &p, 100));
	p = datagram(11, 53, 1, 5000);
	assert_false(nat_replies_allow(&r, &p, 100));
	p = datagram(10, 53, 2, 5000);
	assert_false(nat_replies_allow(&r, &p, 100));
	/* The newest are remembered. */
	for (uint16_t i = 0; i < 2 * NAT_REPLIES; i++) {
		p = datagram(1, i, 10, 53);
		nat_replies_note(&r, &p, 101);
	}
	for (uint16_t i = 0; i < 2 * NAT_REPLIES; i++) {
		p = datagram(10, 53, 1, i);
		assert_int_equal(nat_replies_allow(&r, &p, 101), i >= NAT_REPLIES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),        cmocka_unit_test(test_labels),
		cmocka_unit_test(test_hosts_bound),  cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_flows),        cmocka_unit_test(test_flows_incoming),
		cmocka_unit_test(test_flows_random), cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
