/* SPDX-License-Identifier: MIT */
/* Links between the switch and its ports: what frames meet there, and what operators can say about it. */
#include "link_fixture.h"

#include "offload.h"

static void test_delay_each_way(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":10000000}");
	lab_do("link.set", "{\"port\":\"a\",\"direction\":\"from-guest\",\"delay-ns\":5000000}");
	lab_send(0, 1, 100, 7);
	lab_send(1, 0, 100, 8); /* the other way nothing is in the way */
	assert_int_equal(port[0].n, 1);
	lab_pass(at_ns + 15 * MS - 1);
	assert_int_equal(port[1].n, 0);
	lab_pass(at_ns + 1);
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[1].got[0].bytes[50], 7);
	assert_int_equal(port[1].got[0].len, 100);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* A link that does nothing is not in the way; one that still holds frames stays until they are out. */
static void test_hooks_come_and_go(void **state)
{
	lab_start(false);
	assert_null(port[1].port.egress);
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":10000000}");
	assert_non_null(port[1].port.egress);
	assert_non_null(port[1].port.ingress);
	lab_send(0, 1, 100, 1);
	lab_do("link.reset", "{\"port\":\"b\"}");
	assert_non_null(port[1].port.egress);
	assert_null(port[1].port.ingress);
	lab_send(0, 1, 100, 2); /* overtakes what is delayed */
	assert_int_equal(port[1].n, 1);
	lab_pass(at_ns + 10 * MS);
	assert_int_equal(port[1].n, 2);
	assert_null(port[1].port.egress);

	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":10000000}");
	lab_send(0, 1, 100, 3);
	lab_do("link.reset", "{\"port\":\"b\",\"drop\":true}");
	assert_null(port[1].port.egress);
	assert_int_equal(net.sw.bufs.used, 0);
	assert_int_equal(port[1].port.stats.egress_drop_impaired, 1);
	lab_finish();
}

static void test_port_goes_with_frames_under_way(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":10000000,\"rate-bps\":100000}");
	lab_do("rule.set", "{\"id\":\"r\",\"out\":\"b\",\"delay-ns\":1000}");
	lab_do("rule.set", "{\"id\":\"s\",\"delay-ns\":3000}");
	for (unsigned i = 0; i < 20; i++)
		lab_send(0, 1, 100, 1);
	lab_pass(at_ns + 5 * US);
	for (unsigned i = 0; i < 20; i++)
		lab_send(0, 1, 100, 1);
	assert_int_equal(lab_way(1, SW_EGRESS)->im.stats.in_frames, 20);
	sw_detach(&port[1].port);
	lab_pass(at_ns + S);
	assert_int_equal(net.sw.bufs.used, 0);
	assert_int_equal(port[1].n, 0);
	assert_says(lab_call("rule.list", "{}"), "{\"rules\":[{\"id\":\"s\"");
	assert_int_equal(sw_attach(&net.sw, &port[1].port), 0);
	assert_null(link_find(&port[1].port));
	lab_finish();
}

static void test_loss_is_counted_everywhere(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"loss\":0.5,\"seed\":1}");
	for (unsigned i = 0; i < 1000; i++)
		lab_send(0, 1, 100, (uint8_t)i);
	assert_in_range(port[1].n, 440, 560);
	assert_int_equal(port[1].port.stats.egress_drop_impaired, 1000 - port[1].n);
	assert_int_equal(lab_way(1, SW_EGRESS)->im.stats.dropped_loss, 1000 - port[1].n);
	assert_int_equal(net.sw.bufs.held, 0); /* what is lost, or goes at once, is not copied */
	lab_finish();
}

/* The switch has no buffer to keep a frame in: it is lost, counted, and the link goes on. */
static void test_buffers_run_out(void **state)
{
	const struct impair_stats *s;

	lab_start(false);
	net.sw.bufs.max = 4096;
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":1000000,\"duplicate\":0.5}");
	lab_do("rule.set", "{\"id\":\"r\",\"out\":\"c\",\"delay-ns\":1000000}");
	for (unsigned i = 0; i < 50; i++) {
		lab_send(0, 1, 100, 0);
		lab_send(0, 2, 100, 0);
	}
	s = &lab_way(1, SW_EGRESS)->im.stats;
	assert_true(s->dropped_memory > 50);
	assert_true(rule_find(&net.rules, "r")->im.stats.dropped_memory > 30);
	lab_pass(at_ns + 2 * MS);
	assert_int_equal(port[1].n, 50 + s->duplicated - s->dropped_memory);
	assert_true(port[1].n > 0);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_send(0, 1, 100, 0);
	lab_pass(at_ns + MS);
	assert_int_equal(port[1].n, 51 + s->duplicated - s->dropped_memory);
	lab_finish();
}

/* A link's two directions have one seed, and not one fate. */
static void test_directions_differ(void **state)
{
	unsigned same = 0;

	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"loss\":0.5,\"seed\":1}");
	for (unsigned i = 0; i < 1000; i++) {
		lab_forget();
		lab_send(0, 1, 100, 0);
		lab_send(1, 0, 100, 0);
		same += port[0].n == port[1].n;
	}
	assert_in_range(same, 440, 560);
	lab_finish();
}

/* ---- packets ---- */

static uint8_t packet[SW_FRAME_MAX];

static void put16(uint8_t *to, unsigned n)
{
	to[0] = (uint8_t)(n >> 8);
	to[1] = (uint8_t)n;
}

/* A TCP packet over IPv4 from a to b, with ECT(0), whose checksum is left out and which is to be cut if payload is more
 * than mss. */
static uint32_t make_tcp(uint32_t payload, uint16_t mss, struct nethdr *hdr)
{
	uint32_t sum = 0, len = 54 + payload;
	uint8_t *ip = packet + 14, *tcp = packet + 34;

	memset(packet, 0x5a, sizeof(packet));
	memcpy(packet, "\x52\x54\0\0\0\x0b\x52\x54\0\0\0\x0a\x08\0", 14);
	memcpy(ip, "\x45\x02\0\0\0\1\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20);
	put16(ip + 2, 40 + payload);
	for (unsigned i = 0; i < 20; i += 2)
		sum += (unsigned)(ip[i] << 8 | ip[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~sum & 0xffff);
	memcpy(tcp, "\x04\xd2\0\x50\0\0\0\1\0\0\0\1\x50\x10\x10\0\0\0\0\0", 20);
	sum = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 20 + payload;
	put16(tcp + 16, (sum & 0xffff) + (sum >> 16));
	*hdr = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.csum_start = le16_of(34),
				.csum_offset = le16_of(16) };
	if (payload > mss) {
		hdr->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		hdr->gso_size = le16_of(mss);
		hdr->hdr_len = le16_of(54);
	}
	return len;
}

static void send_tcp(uint32_t payload, uint16_t mss)
{
	struct iovec iov = { packet, 0 };
	struct sw_frame f = { .iov = &iov, .n_iov = 1 };

	f.len = make_tcp(payload, mss, &f.hdr);
	iov.iov_len = f.len;
	sw_input(&port[0].port, &f, 1);
}

/* A link that only delays lets a large packet be; one that loses, or has a rate, sees each of its segments. */
static void test_large_packets_are_cut(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":1000}");
	send_tcp(14000, 1400);
	lab_pass(at_ns + MS);
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[1].got[0].len, 14054);
	lab_forget();

	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"rate-bps\":100000000}");
	send_tcp(14000, 1400);
	lab_pass(at_ns + 10 * MS);
	assert_int_equal(port[1].n, 10);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(port[1].got[i].len, 1454);
		/* The checksum is still left to the receiver. */
		assert_int_equal(port[1].got[i].hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(port[1].got[i].hdr.gso_type, 0);
	}
	assert_int_equal(port[1].got[9].at_ns - port[1].got[0].at_ns, 9 * 1454 * 80);
	lab_forget();

	lab_do("link.set", "{\"port\":\"b\",\"replace\":true,\"loss\":0.3,\"seed\":3}");
	for (unsigned i = 0; i < 10; i++)
		send_tcp(14000, 1400);
	assert_in_range(port[1].n, 50, 90);
	lab_finish();
}

/* At 100 Gbit/s a frame has passed before anybody could be woken for it: it is not copied. */
static void test_what_has_passed_at_once_is_not_kept(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"rate-bps\":100000000000}");
	for (unsigned i = 0; i < 100; i++)
		lab_send(0, 1, 60, 1); /* 4.8 ns each */
	assert_int_equal(port[1].n, 100);
	assert_int_equal(net.sw.bufs.held, 0);
	for (unsigned i = 0; i < 10; i++)
		lab_send(0, 1, 1514, 1); /* 121 ns each: not all within a microsecond */
	assert_in_range(port[1].n, 102, 106);
	lab_pass(at_ns + 10 * US);
	assert_int_equal(port[1].n, 110);
	assert_int_equal(link_find(&port[1].port)->way[SW_EGRESS].im.stats.in_frames, 110);
	assert_int_equal(link_find(&port[1].port)->way[SW_EGRESS].im.stats.out_bytes,
			 100 * 60 + 10 * 1514);
	lab_finish();
}

/* A burst of which the rate lets the first frames go on at once, as they are, and the rest is copied: in order, and none twice. */
static void test_a_burst_is_split(void **state)
{
	static uint8_t bytes[10][1514];
	const struct impair_stats *stats;
	uint64_t frames, held;
	struct sw_frame f[10];
	struct iovec iov[10];

	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"rate-bps\":25000000000}");
	stats = &link_find(&port[1].port)->way[SW_EGRESS].im.stats;
	for (uint8_t i = 0; i < 10; i++) {
		memset(bytes[i], i, sizeof(bytes[i]));
		memcpy(bytes[i], "\x52\x54\0\0\0\x0b\x52\x54\0\0\0\x0a\x88\xb5", 14);
		iov[i] = (struct iovec){ bytes[i], sizeof(bytes[i]) };
		f[i] = (struct sw_frame){ .iov = &iov[i], .len = sizeof(bytes[i]), .n_iov = 1 };
	}
	sw_input(&port[0].port, f, 10);
	assert_int_equal(port[1].n, 2); /* of 484.48 ns each */
	impair_held(&link_find(&port[1].port)->way[SW_EGRESS].im, &frames, &held);
	assert_int_equal(frames, 8);
	assert_int_equal(stats->in_frames, 10);
	assert_int_equal(stats->out_frames, 2);
	lab_pass(at_ns + 10 * US);
	assert_int_equal(port[1].n, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(port[1].got[i].bytes[20], i);
	assert_int_equal(stats->out_frames, 10);
	assert_int_equal(stats->out_bytes, 10 * 1514);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* One bit of one copy of a packet whose checksum has been put in: so the receiver notices. */
static void test_corruption_is_noticed(void **state)
{
	struct nethdr hdr;
	unsigned noticed = 0, same = 0;

	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"corrupt\":1,\"seed\":9}");
	for (unsigned i = 0; i < 200; i++) {
		unsigned bits = 0;

		lab_forget();
		send_tcp(20, 1400);
		assert_int_equal(port[1].n, 1);
		assert_int_equal(port[1].got[0].hdr.flags, 0);
		noticed += !offload_verify(port[1].got[0].bytes, 74);
		make_tcp(20, 1400, &hdr);
		offload_complete(packet, 74, &hdr);
		for (unsigned k = 0; k < 74; k++)
			bits += (unsigned)__builtin_popcount(port[1].got[0].bytes[k] ^ packet[k]);
		same += bits != 1;
	}
	assert_int_equal(same, 0);
	assert_true(noticed > 150); /* not in the Ethernet header */
	lab_finish();
}

static void test_duplicates(void **state)
{
	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"duplicate\":1}");
	for (unsigned i = 0; i < 50; i++)
		lab_send(0, 1, 100, (uint8_t)i);
	assert_int_equal(port[1].n, 100);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":1000}");
	lab_forget();
	for (unsigned i = 0; i < 50; i++)
		lab_send(0, 1, 100, (uint8_t)i);
	lab_pass(at_ns + MS);
	assert_int_equal(port[1].n, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(port[1].got[i].bytes[20], i / 2);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* Marked in place of lost; the header's checksum goes along; what cannot be marked is lost. */
static void test_ecn(void **state)
{
	struct nethdr hdr;

	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"loss\":1,\"ecn\":true}");
	send_tcp(20, 1400);
	assert_int_equal(port[1].n, 1);
	assert_int_equal(port[1].got[0].bytes[15] & 3, 3);
	make_tcp(20, 1400, &hdr);
	offload_complete(port[1].got[0].bytes, 74, &hdr);
	assert_true(offload_verify(port[1].got[0].bytes, 74));
	lab_send(0, 1, 100, 0);
	assert_int_equal(port[1].n, 1);

	/* CoDel marks what has waited too long, in a buffer that another port has as well. */
	lab_forget();
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"replace\":true,\"rate-bps\":1000000,"
	       "\"codel\":{\"target-ns\":1000000,\"interval-ns\":10000000,\"ecn\":true}}");
	for (unsigned i = 0; i < 100; i++)
		send_tcp(1000, 1400);
	lab_pass(at_ns + 2 * S);
	assert_int_equal(port[1].n, 100);
	assert_true(lab_way(1, SW_EGRESS)->im.stats.marked > 5);
	lab_finish();
}

/* ---- settings ---- */

static void test_set_get_reset(void **state)
{
	lab_start(false);
	assert_says(
		lab_call("link.get", "{\"port\":\"b\"}"),
		"{\"port\":\"b\",\"up\":true,\"to-guest\":{\"settings\":{\"seed\":0},\"counters\":{\"in_frames\":0");
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":1000,\"seed\":5}");
	assert_says(lab_call("link.set",
			     "{\"port\":\"b\",\"direction\":\"to-guest\",\"loss\":0.25}"),
		    "\"to-guest\":{\"settings\":{\"delay-ns\":1000,\"loss\":0.25,\"seed\":5}");
	assert_says(
		lab_call("link.get", "{\"port\":\"b\",\"direction\":\"from-guest\"}"),
		"{\"port\":\"b\",\"up\":true,\"from-guest\":{\"settings\":{\"delay-ns\":1000,\"seed\":5}");
	assert_says(lab_call("link.list", "{}"), "{\"links\":[{\"port\":\"a\"");
	lab_do("link.set", "{\"port\":\"b\",\"profile\":\"wan\",\"loss\":0.5}");
	assert_says(
		lab_call("link.get", "{\"port\":\"b\"}"),
		"\"profile\":\"wan\",\"settings\":{\"delay-ns\":40000000,\"jitter-ns\":1000000,"
		"\"distribution\":\"paretonormal\",\"keep-order\":true,\"loss\":0.5,\"rate-bps\":100000000,\"seed\":5}");
	lab_do("link.reset", "{\"port\":\"b\"}");
	assert_says(lab_call("link.get", "{\"port\":\"b\"}"),
		    "\"to-guest\":{\"settings\":{\"seed\":0}");
	/* Unsaid, a seed is drawn, and told. */
	lab_do("link.set", "{\"port\":\"b\",\"loss\":0.5}");
	assert_null(strstr(lab_call("link.get", "{\"port\":\"b\"}"), "\"seed\":0"));
	lab_finish();
}

static void test_mistakes_change_nothing(void **state)
{
	static const struct {
		const char *method, *params, *says;
	} wrong[] = {
		{ "link.set", "{\"port\":\"x\",\"loss\":0.1}", "no port \\\"x\\\"" },
		{ "link.set", "{\"port\":\"b\",\"loss\":1.2}", "loss: 1.2 is outside 0..1" },
		{ "link.set", "{\"port\":\"b\",\"delay-ns\":5,\"jitter-ns\":-1}",
		  "jitter-ns: -1 is outside" },
		{ "link.set", "{\"port\":\"b\",\"rate-bps\":0}", "rate-bps: 0 is outside" },
		{ "link.set", "{\"port\":\"b\",\"lossy\":1}", "unknown member \\\"lossy\\\"" },
		{ "link.set", "{\"port\":\"b\",\"profile\":\"moon\"}",
		  "profile: there is no profile \\\"moon\\\"" },
		{ "link.set", "{\"port\":\"b\",\"direction\":\"up\",\"loss\":0}",
		  "direction: must be" },
		{ "link.set", "{\"port\":\"b\",\"for-ns\":-1,\"loss\":0}", "for-ns: must be" },
		{ "link.set", "{\"port\":\"b\",\"replace\":1,\"loss\":0}",
		  "replace: must be true or false" },
		{ "timeline.set",
		  "{\"port\":\"b\",\"steps\":[{\"at-ns\":0,\"set\":{\"loss\":1.2}}]}",
		  "steps/0/set/loss: 1.2 is outside 0..1" },
		{ "timeline.set",
		  "{\"port\":\"b\",\"steps\":[{\"at-ns\":5,\"set\":{}},{\"at-ns\":4,\"set\":{}}]}",
		  "steps/1/at-ns: must be" },
		{ "timeline.set", "{\"port\":\"b\",\"steps\":[{\"at-ns\":5}]}",
		  "steps/0: must be" },
		{ "timeline.set", "{\"port\":\"b\",\"steps\":{}}", "steps: must be an array" },
		{ "timeline.set",
		  "{\"port\":\"b\",\"steps\":[{\"at-ns\":5000000,\"set\":{}}],\"repeat\":4999999}",
		  "repeat: must be" },
		{ "profile.set", "{\"name\":\"wan\",\"loss\":0.1}",
		  "name: \\\"wan\\\" is built in" },
		{ "profile.set", "{\"name\":\"mine\",\"loss\":2}", "loss: 2 is outside" },
		{ "profile.remove", "{\"name\":\"mine\"}", "no profile \\\"mine\\\"" },
		{ "rule.set", "{\"id\":\"r\",\"in\":\"x\",\"loss\":0.1}", "no port \\\"x\\\"" },
		{ "rule.set", "{\"id\":\"r\",\"match\":{\"vlan\":5000}}",
		  "match/vlan: must be a whole number" },
		{ "rule.set", "{\"id\":\"r\",\"match\":{\"src\":\"52:54\"}}",
		  "match/src: must be an address" },
		{ "rule.set", "{\"id\":\"r\",\"match\":{\"bpf\":\"tcp prot 5\"}}",
		  "match/bpf: \\\"prot\\\"" },
		{ "rule.set", "{\"id\":\"r\",\"match\":{\"bpf\":\"tcp and\"}}", "match/bpf: " },
		{ "rule.set", "{\"id\":\"r\",\"match\":{\"size\":5}}",
		  "match/size: unknown member" },
		{ "rule.remove", "{\"id\":\"r\"}", "no rule \\\"r\\\"" },
		{ "qos.set", "{\"port\":\"b\",\"policy\":\"p\"}", "no policy \\\"p\\\"" },
		{ "qos.policy.set", "{\"name\":\"p\",\"rate-bps\":0,\"classes\":[]}",
		  "rate-bps: must be" },
		{ "qos.policy.set",
		  "{\"name\":\"p\",\"classes\":[{\"name\":\"x\",\"priority\":8}]}",
		  "classes/0/priority: must be a whole number from 0 to 7" },
		{ "qos.policy.set", "{\"name\":\"p\",\"classes\":[{\"name\":\"x\",\"prio\":8}]}",
		  "classes/0/prio: unknown member" },
		{ "qos.policy.set",
		  "{\"name\":\"p\",\"classes\":[{\"name\":\"x\"},{\"name\":\"x\"}]}",
		  "classes/1/name: there is one" },
		{ "qos.policy.set",
		  "{\"name\":\"p\",\"classes\":[{\"name\":\"x\",\"match\":{\"bpf\":\"ip\"}}]}",
		  "classes/0/match/bpf: unknown member" },
		{ "qos.policy.set",
		  "{\"name\":\"p\",\"classes\":[{\"name\":\"x\",\"rate-bps\":100,\"ceil-bps\":50}]}",
		  "classes/0/ceil-bps: less than rate-bps" },
	};
	char *before;

	lab_start(false);
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":1000,\"loss\":0.125,\"seed\":5}");
	before = strdup(lab_call("link.list", "{}"));
	for (unsigned i = 0; i < array_size(wrong); i++) {
		const char *said = lab_call(wrong[i].method, wrong[i].params);

		if (!strstr(said, "\"error\":") || !strstr(said, wrong[i].says))
			fail_msg("%s %s: %s", wrong[i].method, wrong[i].params, said);
	}
	assert_string_equal(lab_call("link.list", "{}"), before);
	assert_says(lab_call("rule.list", "{}"), "\"rules\":[]");
	assert_says(lab_call("qos.policy.list", "{}"), "\"policies\":[]");
	free(before);
	lab_finish();
}

static void test_profiles(void **state)
{
	static const char *const names[] = { "default", "constrained", "lossy",
					     "wan",     "satellite",   "wifi" };
	char params[128];

	lab_start(false);
	for (unsigned i = 0; i < array_size(names); i++) {
		snprintf(params, sizeof(params), "{\"port\":\"b\",\"profile\":\"%s\"}", names[i]);
		lab_do("link.set", params);
		assert_null(impair_config_wrong(&lab_way(1, SW_EGRESS)->im.config));
		assert_int_equal(lab_way(1, SW_EGRESS)->im.idle, i == 0);
	}
	lab_do("profile.set", "{\"name\":\"mine\",\"loss\":0.5}");
	lab_do("profile.set", "{\"name\":\"mine\",\"loss\":0.25}");
	assert_says(
		lab_call("profile.list", "{}"),
		"{\"name\":\"mine\",\"built-in\":false,\"settings\":{\"loss\":0.25,\"seed\":0}}");
	lab_do("link.set", "{\"port\":\"b\",\"profile\":\"mine\"}");
	assert_true(lab_way(1, SW_EGRESS)->im.config.loss == 0.25);
	lab_do("profile.remove", "{\"name\":\"mine\"}");
	lab_finish();
}

/* ---- what happens by itself, by the real clock ---- */

static double loss_of_b(void)
{
	return lab_way(1, SW_EGRESS)->im.config.loss;
}

static void test_for_a_while(void **state)
{
	lab_start(true);
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":1000}");
	assert_says(
		lab_call("link.set",
			 "{\"port\":\"b\",\"profile\":\"lossy\",\"loss\":0.5,\"for-ns\":30000000}"),
		"\"reverts-in-ns\":");
	assert_true(loss_of_b() == 0.5);
	lab_do("link.set", "{\"port\":\"b\",\"duplicate\":0.125}"); /* this stays */
	lab_run(40 * MS);
	assert_true(loss_of_b() == 0);
	assert_says(lab_call("link.get", "{\"port\":\"b\",\"direction\":\"to-guest\"}"),
		    "\"to-guest\":{\"settings\":{\"delay-ns\":1000,\"duplicate\":0.125,");
	lab_finish();
}

static void test_timeline(void **state)
{
	uint64_t begun;

	lab_start(true);
	lab_do("link.set", "{\"port\":\"b\",\"delay-ns\":1000}");
	lab_do("timeline.set",
	       "{\"port\":\"b\",\"steps\":[{\"at-ns\":10000000,\"set\":{\"loss\":0.1}},"
	       "{\"at-ns\":60000000,\"set\":{\"loss\":0.2}}],\"repeat\":110000000}");
	begun = loop_now_ns();
	assert_true(loss_of_b() == 0);
	lab_run(30 * MS);
	if (loop_now_ns() - begun < 55 * MS)
		assert_true(loss_of_b() == 0.1);
	lab_run(60 * MS);
	if (loop_now_ns() - begun < 105 * MS)
		assert_true(loss_of_b() == 0.2);
	lab_run(50 * MS);
	if (loop_now_ns() - begun < 165 * MS)
		assert_true(loss_of_b() == 0.1); /* from the beginning again */
	assert_int_equal(lab_way(1, SW_EGRESS)->im.config.delay_ns, 1000);
	assert_says(lab_call("link.get", "{\"port\":\"b\"}"),
		    "\"timeline\":{\"steps\":2,\"next\":1,\"repeat-ns\":110000000}");
	lab_do("timeline.set", "{\"port\":\"b\",\"steps\":[]}");
	assert_null(strstr(lab_call("link.get", "{\"port\":\"b\"}"), "timeline"));
	lab_finish();
}

/* Both directions in step: the carrier goes, and what comes meanwhile is lost. */
static void test_flap_takes_the_carrier(void **state)
{
	lab_start(true);
	lab_do("link.set", "{\"port\":\"b\",\"flap\":{\"up-ns\":20000000,\"down-ns\":20000000}}");
	assert_int_equal(port[1].port.down, 0);
	lab_run(30 * MS);
	assert_int_equal(port[1].port.down, SW_DOWN_FLAP);
	assert_int_equal(port[1].carrier, 0);
	lab_send(0, 1, 100, 0);
	assert_int_equal(port[1].n, 0);
	lab_run(20 * MS);
	assert_int_equal(port[1].carrier, 1);
	lab_run(20 * MS);
	assert_int_equal(port[1].carrier, 0);
	lab_do("link.reset", "{\"port\":\"b\"}");
	assert_int_equal(port[1].port.down, 0);
	assert_int_equal(port[1].carrier, 1);
	/* One direction alone loses frames, and its guest sees nothing. */
	lab_do("link.set",
	       "{\"port\":\"b\",\"direction\":\"to-guest\",\"flap\":{\"up-ns\":1000000,\"down-ns\":3600000000000}}");
	lab_run(5 * MS);
	assert_int_equal(port[1].port.down, 0);
	lab_send(0, 1, 100, 0);
	assert_int_equal(lab_way(1, SW_EGRESS)->im.stats.dropped_flap, 1);
	lab_finish();
}

/* A machine that is busy lets a moment pass between the two. */
static void test_flap_set_one_after_the_other(void **state)
{
	const char *flap = ",\"flap\":{\"up-ns\":300000000,\"down-ns\":3600000000000}}";
	char params[128];

	lab_start(true);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(params, sizeof(params), "{\"port\":\"b\",\"direction\":\"%s\"%s",
			       i ? "to-guest" : "from-guest", flap);
		lab_do("link.set", params);
		lab_run(5 * MS);
	}
	assert_int_equal(port[1].port.down, 0);
	lab_run(310 * MS);
	assert_int_equal(port[1].port.down, SW_DOWN_FLAP);
	assert_int_equal(port[1].carrier, 0);
	lab_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delay_each_way),
		cmocka_unit_test(test_hooks_come_and_go),
		cmocka_unit_test(test_port_goes_with_frames_under_way),
		cmocka_unit_test(test_loss_is_counted_everywhere),
		cmocka_unit_test(test_buffers_run_out),
		cmocka_unit_test(test_directions_differ),
		cmocka_unit_test(test_large_packets_are_cut),
		cmocka_unit_test(test_what_has_passed_at_once_is_not_kept),
		cmocka_unit_test(test_a_burst_is_split),
		cmocka_unit_test(test_corruption_is_noticed),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_ecn),
		cmocka_unit_test(test_set_get_reset),
		cmocka_unit_test(test_mistakes_change_nothing),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_for_a_while),
		cmocka_unit_test(test_timeline),
		cmocka_unit_test(test_flap_takes_the_carrier),
		cmocka_unit_test(test_flap_set_one_after_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
