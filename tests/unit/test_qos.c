/* SPDX-License-Identifier: MIT */
/* Policies: who goes first, who is guaranteed what, and what an operator says about it. */
#include "link_fixture.h"

static unsigned dropped;

static void on_drop(void *frame)
{
	dropped++;
}

/* A policy of `n` classes, to be filled in. */
static struct qos_policy *policy(uint64_t rate_bps, unsigned n)
{
	struct qos_policy *p = calloc(1, sizeof(*p));

	p->refs = 1;
	p->rate_bps = rate_bps;
	p->n_classes = n;
	for (unsigned i = 0; i < n; i++)
		p->class[i].limit_bytes = 100000;
	return p;
}

/* For `seconds`, each class is offered `offer` bits a second in frames of `len` bytes; returns what passed, in bits a
 * second. */
static void offer(struct qos_policy *p, const uint64_t *offered, const uint32_t *len, double *ret)
{
	struct qos *q = qos_new(p, on_drop);
	uint64_t next[8] = { 0 }, end = 5 * S;
	struct qos_out out[64];

	for (uint64_t now = 0; now < end; now += 20 * US) {
		for (unsigned i = 0; i < p->n_classes; i++)
			for (; offered[i] && next[i] <= now; next[i] += len[i] * 8 * S / offered[i])
				if (qos_has_room(q, &q->class[i], now, len[i]))
					qos_push(q, &q->class[i], now, q, len[i]);
		while (qos_take(q, now, out, array_size(out)) > 0)
			;
	}
	for (unsigned i = 0; i < p->n_classes; i++)
		ret[i] = (double)q->class[i].sent_bytes * 8 * S / end;
	qos_free(q);
}

static void expect_rate(double got, double expected)
{
	if (got < expected * 0.985 || got > expected * 1.015)
		fail_msg("%.0f bit/s, not %.0f", got, expected);
}

static void test_strict_priority(void **state)
{
	struct qos_policy *p = policy(10000000, 3);
	double got[3];

	p->class[0].priority = 0;
	p->class[1].priority = 7;
	p->class[2].priority = 3;
	offer(p, (const uint64_t[]){ 20000000, 4000000, 20000000 },
	      (const uint32_t[]){ 1000, 200, 1500 }, got);
	expect_rate(got[1], 4000000);
	expect_rate(got[2], 6000000);
	assert_true(got[0] < 100000);
	qos_policy_unref(p);
}

/* Equals share bytes, whatever their frames' sizes. */
static void test_round_robin(void **state)
{
	struct qos_policy *p = policy(9000000, 3);
	double got[3];

	offer(p, (const uint64_t[]){ 20000000, 20000000, 20000000 },
	      (const uint32_t[]){ 64, 1518, 700 }, got);
	for (unsigned i = 0; i < 3; i++)
		expect_rate(got[i], 3000000);
	offer(p, (const uint64_t[]){ 20000000, 1000000, 20000000 },
	      (const uint32_t[]){ 64, 1518, 700 }, got);
	expect_rate(got[0], 4000000);
	expect_rate(got[1], 1000000);
	expect_rate(got[2], 4000000);
	qos_policy_unref(p);
}

/* What is guaranteed comes before any priority; what is left goes by it; a ceiling holds when all else is silent. */
static void test_guarantee_and_ceiling(void **state)
{
	struct qos_policy *p = policy(10000000, 2);
	double got[2];

	p->class[0] = (struct qos_class_config){ .priority = 7,
						 .limit_bytes = 100000,
						 .ceil_bps = 9000000,
						 .burst_bytes = QOS_BURST_DEFAULT };
	p->class[1] = (struct qos_class_config){ .priority = 0,
						 .limit_bytes = 100000,
						 .rate_bps = 3000000,
						 .burst_bytes = QOS_BURST_DEFAULT };
	offer(p, (const uint64_t[]){ 20000000, 20000000 }, (const uint32_t[]){ 1000, 1000 }, got);
	expect_rate(got[0], 7000000);
	expect_rate(got[1], 3000000);
	offer(p, (const uint64_t[]){ 20000000, 0 }, (const uint32_t[]){ 1000, 1000 }, got);
	expect_rate(got[0], 9000000);
	offer(p, (const uint64_t[]){ 0, 20000000 }, (const uint32_t[]){ 1000, 1000 }, got);
	expect_rate(got[1], 10000000); /* the guarantee is no ceiling */
	qos_policy_unref(p);
}

static void test_burst_of_a_class(void **state)
{
	struct qos_policy *p = policy(0, 1);
	struct qos *q;
	struct qos_out out[16];

	p->class[0].ceil_bps = 8000000;
	p->class[0].burst_bytes = 3000;
	q = qos_new(p, on_drop);
	for (unsigned i = 0; i < 6; i++)
		qos_push(q, &q->class[0], S, q, 1000);
	assert_int_equal(qos_take(q, S, out, 16), 4); /* until the bucket is in debt */
	assert_int_equal(qos_next(q), S + MS);
	assert_int_equal(qos_take(q, S + MS, out, 16), 1);
	assert_int_equal(out[0].at_ns, S + MS);
	dropped = 0;
	qos_free(q);
	assert_int_equal(dropped, 1);
	qos_policy_unref(p);
}

static void test_limit(void **state)
{
	struct qos_policy *p = policy(8000, 1);
	struct qos *q;
	unsigned n = 0;

	p->class[0].limit_bytes = 5000;
	q = qos_new(p, on_drop);
	for (unsigned i = 0; i < 10; i++)
		if (qos_has_room(q, &q->class[0], 0, 1000)) {
			qos_push(q, &q->class[0], 0, q, 1000);
			n++;
		}
	assert_int_equal(n, 5);
	assert_int_equal(qos_dropped(q), 5);
	qos_free(q);
	qos_policy_unref(p);
}

/* ---- through the switch ---- */

static void send_udp(uint16_t to_port, uint8_t tos, uint32_t len)
{
	static uint8_t bytes[1514];
	struct iovec iov = { bytes, len };
	struct sw_frame f = { .iov = &iov, .len = len, .n_iov = 1 };

	memcpy(bytes, "\x52\x54\0\0\0\x0b\x52\x54\0\0\0\x0a\x08\0\x45", 15);
	bytes[15] = tos;
	bytes[23] = 17;
	bytes[36] = (uint8_t)(to_port >> 8);
	bytes[37] = (uint8_t)to_port;
	sw_input(&port[0].port, &f, 1);
}

static void test_policy_on_a_link(void **state)
{
	unsigned voice = 0;

	lab_start(false);
	lab_do("qos.policy.set",
	       "{\"name\":\"policy-a\",\"rate-bps\":8000000,\"classes\":["
	       "{\"name\":\"voice\",\"priority\":7,\"match\":{\"dscp\":46}},"
	       "{\"name\":\"dns\",\"priority\":5,\"match\":{\"protocol\":\"udp\",\"port\":53},\"ceil-bps\":4000000}]}");
	lab_do("qos.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"policy\":\"policy-a\"}");
	lab_do("link.set", "{\"port\":\"b\",\"direction\":\"to-guest\",\"delay-ns\":1000000}");
	for (unsigned i = 0; i < 20; i++) {
		send_udp(1000, 0, 1000);
		send_udp(53, 0, 1000);
	}
	for (unsigned i = 0; i < 5; i++)
		send_udp(1000, 46 << 2, 1000);
	lab_pass(at_ns + 7 * MS);
	/* The first on the link was there before; then the voices, a millisecond each, and a millisecond late. */
	assert_int_equal(port[1].n, 6);
	for (unsigned i = 0; i < 6; i++)
		voice += port[1].got[i].bytes[15] == 46 << 2;
	assert_int_equal(voice, 5);
	assert_says(
		lab_call("link.get", "{\"port\":\"b\",\"direction\":\"to-guest\"}"),
		"\"qos\":\"policy-a\",\"classes\":[{\"name\":\"voice\",\"frames\":5,\"bytes\":5000,\"dropped\":0,");
	/* A change of the policy loses nothing; nor does its end. */
	lab_do("qos.policy.set", "{\"name\":\"policy-a\",\"rate-bps\":16000000,\"classes\":[]}");
	lab_pass(at_ns + 5 * MS);
	lab_do("qos.policy.remove", "{\"name\":\"policy-a\"}");
	lab_pass(at_ns + 2 * MS);
	assert_int_equal(port[1].n, 45);
	assert_null(lab_way(1, SW_EGRESS)->qos);
	assert_int_equal(net.sw.bufs.used, 0);
	lab_finish();
}

/* Per VLAN, from the guest: classes that match it. */
static void test_rate_per_vlan(void **state)
{
	lab_start(false);
	lab_do("qos.policy.set",
	       "{\"name\":\"p\",\"classes\":["
	       "{\"name\":\"v10\",\"match\":{\"vlan\":10},\"ceil-bps\":8000000,\"burst-bytes\":0},"
	       "{\"name\":\"v20\",\"match\":{\"vlan\":20},\"ceil-bps\":800000,\"burst-bytes\":0}]}");
	lab_do("qos.set", "{\"port\":\"a\",\"direction\":\"from-guest\",\"policy\":\"p\"}");
	for (unsigned i = 0; i < 40; i++) {
		static uint8_t bytes[1000] =
			"\x52\x54\0\0\0\x0b\x52\x54\0\0\0\x0a\x81\0\0\x0a\x88\xb5";
		struct iovec iov = { bytes, sizeof(bytes) };
		struct sw_frame f = { .iov = &iov, .len = sizeof(bytes), .n_iov = 1 };

		bytes[15] = i % 2 ? 10 : 20;
		sw_input(&port[0].port, &f, 1);
	}
	lab_pass(at_ns + 19 * MS + 500 * US);
	assert_int_equal(port[1].n, 20 + 2);
	lab_do("qos.set", "{\"port\":\"a\",\"direction\":\"from-guest\",\"policy\":null}");
	assert_int_equal(port[1].n, 40);
	assert_null(port[0].port.ingress);
	lab_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strict_priority),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_guarantee_and_ceiling),
		cmocka_unit_test(test_burst_of_a_class),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_policy_on_a_link),
		cmocka_unit_test(test_rate_per_vlan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
