/* SPDX-License-Identifier: MIT */
/* Rules between ports, what they match, and the filters in them. */
#include "link_fixture.h"

static struct rule *rule(const char *id)
{
	return rule_find(&net.rules, id);
}

static void test_between_two_ports(void **state)
{
	lab_start(false);
	assert_null(net.sw.between);
	lab_do("rule.set", "{\"id\":\"ab\",\"in\":\"a\",\"out\":\"b\",\"delay-ns\":5000000}");
	lab_send(0, 1, 100, 1);
	lab_send(2, 1, 100, 2); /* not from a */
	lab_send(0, 2, 100, 3); /* not to b */
	lab_send(1, 0, 100, 4); /* not that way */
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[1].got[0].bytes[20], 2);
	assert_int_equal(port[2].n + port[0].n, 2);
	lab_pass(at_ns + 5 * MS);
	assert_int_equal(port[1].n, 2);
	assert_int_equal(port[1].got[1].bytes[20], 1);

	/* It merges; frames under way go on when it goes. */
	lab_do("rule.set", "{\"id\":\"ab\",\"duplicate\":1}");
	assert_says(
		lab_call("rule.list", "{}"),
		"{\"id\":\"ab\",\"in\":\"a\",\"out\":\"b\",\"settings\":{\"delay-ns\":5000000,\"duplicate\":1,");
	lab_send(0, 1, 100, 5);
	lab_do("rule.remove", "{\"id\":\"ab\"}");
	assert_int_equal(port[1].n, 4);
	assert_null(net.sw.between);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* A flooded frame meets the rule once for each port. */
static void test_flood(void **state)
{
	static uint8_t bytes[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 0x0a };
	struct iovec iov = { bytes, sizeof(bytes) };
	struct sw_frame f = { .iov = &iov, .len = sizeof(bytes), .n_iov = 1 };

	lab_start(false);
	lab_do("rule.set", "{\"id\":\"b\",\"out\":\"b\",\"delay-ns\":5000000}");
	lab_do("rule.set", "{\"id\":\"all\",\"delay-ns\":7000000}");
	sw_input(&port[0].port, &f, 1);
	lab_pass(at_ns + 5 * MS);
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[2].n, 0);
	lab_pass(at_ns + 2 * MS);
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[2].n, 1);
	lab_finish();
}

static void test_fates(void **state)
{
	lab_start(false);
	lab_do("rule.set", "{\"id\":\"r\",\"loss\":0.5,\"seed\":4}");
	for (unsigned i = 0; i < 1000; i++)
		lab_send(0, 1, 100, 0);
	assert_in_range(port[1].n, 440, 560);
	assert_int_equal(rule("r")->im.stats.dropped_loss, 1000 - port[1].n);
	lab_forget();
	lab_do("rule.set", "{\"id\":\"r\",\"replace\":true,\"corrupt\":1}");
	for (unsigned i = 0; i < 100; i++)
		lab_send(0, 1, 60, 0xff);
	lab_pass(at_ns);
	for (unsigned i = 0; i < 100; i++) {
		unsigned bits = 0;

		for (unsigned k = 14; k < 60; k++)
			bits += (unsigned)__builtin_popcount(port[1].got[i].bytes[k]);
		assert_true(bits >= 46 * 8 - 1);
	}
	assert_int_equal(port[1].n, 100);
	assert_int_equal(rule("r")->im.stats.corrupted, 100);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* What the bucket lets pass and what has to be copied all the same is charged once. */
static void test_a_burst_is_what_it_says(void **state)
{
	lab_start(false);
	lab_do("rule.set",
	       "{\"id\":\"r\",\"rate-bps\":8000000,\"burst-bytes\":10000,\"corrupt\":1}");
	for (unsigned i = 0; i < 12; i++) {
		lab_send(0, 1, 1000, 0);
		lab_pass(at_ns + 10);
	}
	assert_int_equal(port[1].n, 10);
	lab_pass(at_ns + 10 * MS);
	assert_int_equal(port[1].n, 12);
	lab_finish();
}

/* What of five bytes most agree on: one bit of the frame may be wrong. */
static uint8_t number_of(const struct lab_got *g)
{
	for (unsigned i = 20; i < 25; i++)
		if (g->bytes[i] == g->bytes[i + 1])
			return g->bytes[i];
	return 0xff;
}

/* A burst of frames, some of which the rule changes and so has to copy, while its bucket lets them pass at once: they stay in
 * order with those that go on as they are and with those that wait for the rate, and the sums are right. */
static void test_a_burst_stays_in_order(void **state)
{
	const struct impair_stats *stats;
	uint64_t start, frames, bytes;

	lab_start(false);
	start = at_ns;
	lab_do("rule.set",
	       "{\"id\":\"r\",\"rate-bps\":8000000,\"burst-bytes\":6056,\"corrupt\":0.5,"
	       "\"seed\":3}");
	stats = &rule("r")->im.stats;
	for (uint8_t i = 0; i < 10; i++)
		lab_send(0, 1, 1514, i);
	impair_held(&rule("r")->im, &frames, &bytes);
	assert_in_range(stats->corrupted, 1, 9);
	assert_int_equal(stats->in_frames, 10);
	assert_int_equal(stats->in_frames, stats->out_frames + frames);
	assert_int_equal(stats->out_frames, port[1].n);
	lab_pass(at_ns);
	assert_int_equal(port[1].n, 4);
	lab_pass(at_ns + 10 * MS);
	assert_int_equal(port[1].n, 10);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(number_of(&port[1].got[i]), i);
		assert_int_equal(port[1].got[i].at_ns, start + (i < 4 ? 0 : i - 3) * 1514 * US);
	}
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* ---- matching ---- */

/* An Ethernet header with n_tags tags, and an IP packet in it. */
static uint32_t build(uint8_t *to, unsigned n_tags, const void *packet, uint32_t len)
{
	const bool v6 = *(const uint8_t *)packet >> 4 == 6;
	uint32_t at = 12;

	memcpy(to, "\x52\x54\0\0\0\x0b\x52\x54\0\0\0\x0a", 12);
	for (unsigned i = 0; i < n_tags; i++, at += 4)
		memcpy(to + at, i == 0 ? "\x81\0\xa0\x64" : "\x81\0\0\x07",
		       4); /* PCP 5, VLAN 100; VLAN 7 */
	memcpy(to + at, v6 ? "\x86\xdd" : "\x08\0", 2);
	memcpy(to + at + 2, packet, len);
	return at + 2 + len;
}

static void look(const uint8_t *bytes, uint32_t len, uint16_t vid, struct match_view *v)
{
	uint8_t *exact = malloc(len); /* so that a step too far is seen */
	struct iovec iov = { exact, len };
	struct sw_frame f = {
		.iov = &iov, .len = len, .n_iov = 1, .vid = vid, .head_len = 14, .skip = 14
	};

	memcpy(exact, bytes, len);
	memcpy(f.head, bytes, 14);
	match_look(&f, v);
	free(exact);
}

static const uint8_t udp4[28] =
	"\x45\xb8\0\x1c\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2\x30\x39\0\x35\0\x08\0\0";
static const uint8_t tcp6[60] =
	"\x6b\x80\0\0\0\x14\0\x40"
	"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\2"
	"\x06\0\1\4\0\0\0\0\x1f\x90\0\x50";

static void test_looks(void **state)
{
	struct match_view v;
	uint8_t bytes[128];
	uint32_t len = build(bytes, 0, udp4, sizeof(udp4));

	look(bytes, len, 0, &v);
	assert_int_equal(v.ethertype, 0x0800);
	assert_int_equal(v.protocol, 17);
	assert_int_equal(v.dscp, 46);
	assert_int_equal(v.port[0], 12345);
	assert_int_equal(v.port[1], 53);
	assert_int_equal(v.dst, 0x52540000000bull);
	assert_false(v.has & (MATCH_VLAN | MATCH_PCP));

	len = build(bytes, 2, tcp6, sizeof(tcp6)); /* two tags, and a header of options */
	look(bytes, len, 0, &v);
	assert_int_equal(v.ethertype, 0x86dd);
	assert_int_equal(v.vlan, 100);
	assert_int_equal(v.pcp, 5);
	assert_int_equal(v.protocol, 6);
	assert_int_equal(v.dscp, 46);
	assert_int_equal(v.port[1], 80);
	look(bytes, len, 20, &v); /* what the switch says of VLANs counts */
	assert_int_equal(v.vlan, 20);
}

/* However little of a frame there is, nothing beyond it is looked at, and what is not there is not matched. */
static void test_looks_no_further(void **state)
{
	const struct match want_port = { .given = MATCH_PORT, .port = 53 };
	struct match_view v;
	uint8_t bytes[128];

	for (unsigned tags = 0; tags < 3; tags++) {
		uint32_t len4 = build(bytes, tags, udp4, sizeof(udp4));

		for (uint32_t len = 14; len < len4; len++) {
			look(bytes, len, 0, &v);
			assert_int_equal(match_holds(&want_port, &v), len >= len4 - 4);
		}
		len4 = build(bytes, tags, tcp6, sizeof(tcp6));
		for (uint32_t len = 14; len < len4; len++)
			look(bytes, len, 0, &v);
	}
	/* A later fragment has no ports. */
	memcpy(bytes + 100, udp4, sizeof(udp4));
	bytes[107] = 1;
	look(bytes, build(bytes, 0, bytes + 100, sizeof(udp4)), 0, &v);
	assert_false(match_holds(&want_port, &v));
}

static void expect_match(const char *match, bool holds)
{
	char params[512];
	struct iovec iov;
	uint8_t bytes[128];
	struct sw_frame f = { .iov = &iov, .n_iov = 1 };

	snprintf(params, sizeof(params), "{\"id\":\"r\",\"loss\":1,\"match\":%s}", match);
	lab_do("rule.set", params);
	f.len = build(bytes, 0, udp4, sizeof(udp4));
	iov = (struct iovec){ bytes, f.len };
	lab_forget();
	sw_input(&port[0].port, &f, 1);
	if (port[1].n != !holds)
		fail_msg("%s", match);
}

static void test_matches(void **state)
{
	lab_start(false);
	expect_match("{}", true);
	expect_match("{\"src\":\"52:54:00:00:00:0a\"}", true);
	expect_match("{\"src\":\"52:54:00:00:00:0b\"}", false);
	expect_match("{\"dst\":\"52:54:00:00:00:0b\",\"protocol\":\"udp\",\"port\":53,\"dscp\":46}",
		     true);
	expect_match("{\"dst\":\"52:54:00:00:00:0b\",\"protocol\":\"udp\",\"port\":54,\"dscp\":46}",
		     false);
	expect_match("{\"port\":12345}", true);
	expect_match("{\"protocol\":17}", true);
	expect_match("{\"protocol\":\"tcp\"}", false);
	expect_match("{\"ethertype\":2048}", true);
	expect_match("{\"ethertype\":2054}", false);
	expect_match("{\"vlan\":1}", false);
	expect_match("{\"pcp\":0}", false);
	expect_match("{\"bpf\":\"udp port 53 and src host 10.0.0.1\"}", true);
	expect_match("{\"bpf\":\"tcp\"}", false);
	expect_match("{\"bpf\":\"ether[15] & 0xfc = 0xb8\"}", true);
	assert_says(lab_call("rule.list", "{}"), "\"match\":{\"bpf\":\"ether[15] & 0xfc = 0xb8\"}");
	lab_finish();
}

/* A filter is a number's business: no name is ever asked for. */
static void test_filters(void **state)
{
	static const char *const good[] = { "ip6 host fe80::1",
					    "ether host 52:54:00:12:34:56",
					    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
					    "vlan 100 and portrange 1-1024",
					    "icmp6 or arp",
					    "net 10.0.0.0/8",
					    "not multicast",
					    "len <= 100",
					    "less 100" };
	static const char *const bad[] = { "host example.org", "port http", "gateway router",
					   "host localhost",   "tcp port",  "(((",
					   "host bee",         "src de.ad", "wlan type mgt" };
	char why[BPF_WHY_MAX];
	struct bpf *b;

	for (unsigned i = 0; i < array_size(good); i++) {
		if (bpf_new(good[i], &b, why) != 0)
			fail_msg("%s: %s", good[i], why);
		assert_false(bpf_matches(b, (const uint8_t *)"", 0, 0) && i != 6 && i != 7 &&
			     i != 8);
		bpf_free(b);
	}
	for (unsigned i = 0; i < array_size(bad); i++) {
		why[0] = '\0';
		if (bpf_new(bad[i], &b, why) == 0)
			fail_msg("%s was taken", bad[i]);
		assert_true(strlen(why) > 5);
	}
	bpf_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_between_two_ports),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_fates),
		cmocka_unit_test(test_a_burst_is_what_it_says),
		cmocka_unit_test(test_a_burst_stays_in_order),
		cmocka_unit_test(test_looks),
		cmocka_unit_test(test_looks_no_further),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_filters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
