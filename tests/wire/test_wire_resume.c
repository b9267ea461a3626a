/* SPDX-License-Identifier: MIT */
/* vu_session_resume(): a frontend that goes on where it was with a backend that died.  The two orders of messages are
 * those of QEMU 7.2's vhost-user-vsock, as logged. */
#include <string.h>

#include "wire.h"

#define VERSION_1         (1ull << 32)
#define PROTOCOL_FEATURES (1ull << 30)

static int setup_resumed(void **state)
{
	int r = wire_setup_connected(state);
	struct wire *w = *state;

	if (r == 0)
		vu_session_resume(w->session, ~0ull);
	return r;
}

static void say(struct frontend *fe, uint32_t request, const void *payload, size_t size)
{
	assert_int_equal(frontend_send(fe, request, VU_FLAG_VERSION, payload, size, NULL, 0), 0);
}

static void say_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t num)
{
	const struct proto_vring_state vring = { index, num };

	say(fe, request, &vring, sizeof(vring));
}

static void say_call(struct wire *w, uint32_t index)
{
	uint64_t word = index;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_VRING_CALL, VU_FLAG_VERSION, &word,
				       sizeof(word), &w->ring[index].call_fd, 1),
			 0);
}

/* What comes on `cont`: of all messages only SET_MEM_TABLE asks for a reply, which it gets. */
static void cont(struct wire *w, uint16_t base)
{
	const uint64_t features = VERSION_1 | PROTOCOL_FEATURES;

	say_call(w, 1);
	say_call(w, 0);
	say(&w->fe, VHOST_USER_SET_FEATURES, &features, sizeof(features));
	assert_int_equal(frontend_memory(&w->fe, WIRE_MEMORY), 0);
	for (uint32_t i = 0; i < 2; i++) {
		w->ring[i].base = base;
		memcpy(w->fe.mem + w->ring[i].used + 2, &base, sizeof(base));
		assert_int_equal(frontend_ring_start(&w->fe, i, &w->ring[i], false), 0);
	}
	for (uint32_t i = 0; i < 2; i++)
		say_state(&w->fe, VHOST_USER_SET_VRING_ENABLE, i, 1);
	frontend_pump(&w->fe);
	for (unsigned i = 0; i < 2; i++)
		assert_true(w->queue[i].n_start == 1 && w->queue[i].enabled);
	assert_int_equal(vu_session_queue(w->session, 0)->vq.last_avail, base);
}

/* The machine was stopped while there was no backend. */
static void stopped_without_us(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	cont(w, 73);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 73);
	wire_expect_alive(w);
}

static void expect_base_unknown(struct frontend *fe, uint32_t index)
{
	struct proto_vring_state vring;
	struct proto_header hdr;

	say_state(fe, VHOST_USER_GET_VRING_BASE, index, 0);
	assert_int_equal(frontend_recv(fe, &hdr, &vring, sizeof(vring)), 0);
	assert_int_equal(hdr.request, VHOST_USER_GET_VRING_BASE);
	assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
}

/* It is stopped with us, who know nothing of its rings: better no base than a wrong one. */
static void stopped_with_us(void **state)
{
	struct wire *w = *state;

	for (uint32_t i = 0; i < 2; i++)
		say_state(&w->fe, VHOST_USER_SET_VRING_ENABLE, i, 0);
	for (uint32_t i = 0; i < 2; i++)
		expect_base_unknown(&w->fe, i);
	say_call(w, 1);
	say_call(w, 0);
	cont(w, 5);
	wire_expect_alive(w);
}

/* What needs a protocol feature can be asked for. */
static void configuration(void **state)
{
	struct wire *w = *state;
	const struct proto_config ask = { .size = 8 };
	struct proto_config got;
	struct proto_header hdr;

	memcpy(w->config, "vhostlab", 8);
	say(&w->fe, VHOST_USER_GET_CONFIG, &ask, PROTO_CONFIG_HEAD + 8);
	assert_int_equal(frontend_recv(&w->fe, &hdr, &got, sizeof(got)), PROTO_CONFIG_HEAD + 8);
	assert_memory_equal(got.data, "vhostlab", 8);
	assert_int_equal(vu_session_protocol_features(w->session),
			 vu_offered_protocol_features(&wire_ops));
}

/* One that negotiates is a new one: it gets what it asks for, and a ring's base is a number. */
static void begins_anew(void **state)
{
	struct wire *w = *state;
	const uint64_t acks = 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK;
	uint32_t base;

	say(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES, &acks, sizeof(acks));
	frontend_pump(&w->fe);
	assert_int_equal(vu_session_protocol_features(w->session), acks);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 0);
	wire_expect_alive(w);
}

static void begins_anew_without_protocol_features(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	say(&w->fe, VHOST_USER_SET_OWNER, NULL, 0);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 0);
}

/* A device whose sessions are resumed must be sent whole memory tables: it does not offer to take parts of them. */
static void whole_memory_tables(void **state)
{
	const uint64_t slots = 1ull << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS;
	struct vu_device_ops ops = wire_ops;

	assert_false(ops.resumed);
	assert_true(vu_offered_protocol_features(&ops) & slots);
	ops.resumed = true;
	assert_int_equal(vu_offered_protocol_features(&ops) | slots,
			 vu_offered_protocol_features(&wire_ops));
	assert_false(vu_offered_protocol_features(&ops) & slots);
}

#define RESUMED(fn) cmocka_unit_test_setup_teardown(fn, setup_resumed, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESUMED(stopped_without_us),
		RESUMED(stopped_with_us),
		RESUMED(configuration),
		RESUMED(begins_anew),
		RESUMED(begins_anew_without_protocol_features),
		cmocka_unit_test(whole_memory_tables),
	};

	return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
