/* SPDX-License-Identifier: MIT */
/* What is about the session as a whole: how bytes become messages, whole
 * conversations of real frontends, ends of all kinds. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "log.h"
#include "wire.h"

#define VERSION_1 (1ull << 32)

/* ---- bytes --------------------------------------------------------------- */

static void byte_by_byte(void **state)
{
	struct wire *w = *state;
	const struct {
		struct proto_header hdr;
		struct proto_vring_state vring;
	} bytes = { { VHOST_USER_SET_VRING_ENABLE, VU_FLAG_VERSION, 8 }, { 1, 1 } };

	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(w->queue[1].n_enable, 0);
		assert_int_equal(
			frontend_send_bytes(&w->fe, (const uint8_t *)&bytes + i, 1, NULL, 0), 0);
		frontend_pump(&w->fe);
	}
	assert_int_equal(w->queue[1].n_enable, 1);
	wire_expect_alive(w);
}

/* The descriptor may come with any byte. */
static void descriptor_on_any_byte(void **state)
{
	struct wire *w = *state;
	const struct {
		struct proto_header hdr;
		uint32_t low, high; /* the u64, without padding */
	} bytes = { { VHOST_USER_SET_VRING_CALL, VU_FLAG_VERSION, 8 }, 0, 0 };

	for (size_t at = 0; at < sizeof(bytes); at++) {
		for (size_t i = 0; i < sizeof(bytes); i++) {
			assert_int_equal(frontend_send_bytes(&w->fe, (const uint8_t *)&bytes + i, 1,
							     &w->ring[0].call_fd, i == at),
					 0);
			frontend_pump(&w->fe);
		}
		assert_true(vu_session_queue(w->session, 0)->call_fd >= 0);
	}
	wire_expect_alive(w);
}

/* Several messages in one write, more than one pass serves. */
static void many_at_once(void **state)
{
	struct wire *w = *state;
	struct {
		struct proto_header hdr;
		struct proto_vring_state vring;
	} bytes[100];

	for (unsigned i = 0; i < array_size(bytes); i++) {
		bytes[i].hdr =
			(struct proto_header){ VHOST_USER_SET_VRING_ENABLE, VU_FLAG_VERSION, 8 };
		bytes[i].vring = (struct proto_vring_state){ 1, (i + 1) % 2 };
	}
	assert_int_equal(frontend_send_bytes(&w->fe, bytes, sizeof(bytes), NULL, 0), 0);
	wire_turn(w);
	assert_in_range(w->queue[1].n_enable, 1, 99); /* others get their turn in between */
	frontend_pump(&w->fe);
	assert_int_equal(w->queue[1].n_enable, 100);
}

static void wrong_headers(void **state)
{
	struct wire *w = *state;
	const uint32_t flags[] = { 0,
				   2,
				   3,
				   VU_FLAG_VERSION | VU_FLAG_REPLY,
				   VU_FLAG_VERSION | VU_FLAG_REPLY | VU_FLAG_NEED_REPLY,
				   UINT32_MAX };
	const uint32_t sizes[] = { VU_PAYLOAD_MAX + 1, 0x10000, 0x80000000, UINT32_MAX };

	for (unsigned i = 0; i < array_size(flags); i++) {
		assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_FEATURES, flags[i], NULL, 0,
					       NULL, 0),
				 0);
		wire_expect_ended(w, -EPROTO);
		wire_restart(w);
	}
	for (unsigned i = 0; i < array_size(sizes); i++) {
		const struct proto_header hdr = { 60, VU_FLAG_VERSION, sizes[i] };

		/* Judged by the header alone: no payload ever comes. */
		assert_int_equal(frontend_send_bytes(&w->fe, &hdr, sizeof(hdr), NULL, 0), 0);
		wire_expect_ended(w, -EPROTO);
		wire_restart(w);
	}
}

static void noise(void **state)
{
	struct wire *w = *state;
	uint32_t seed = 1;

	for (unsigned round = 0; round < 200; round++) {
		uint8_t bytes[64];

		for (unsigned i = 0; i < sizeof(bytes); i++) {
			seed = seed * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(seed >> 24);
		}
		assert_int_equal(frontend_send_bytes(&w->fe, bytes, sizeof(bytes), NULL, 0), 0);
		frontend_pump(&w->fe);
		wire_restart(w);
	}
}

/* ---- descriptors --------------------------------------------------------- */

/* CVE-2019-14818: more than a message may carry, all of them closed. */
static void too_many_descriptors_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	int fds[253];
	const unsigned counts[] = { VU_MAX_FDS + 1, 64, 253 };

	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = w->ring[0].kick_fd;
	for (unsigned i = 0; i < array_size(counts); i++)
		wire_drops(w, VHOST_USER_SET_OWNER, NULL, 0, fds, counts[i]);
	wire_drops(w, 60, NULL, 0, fds, VU_MAX_FDS + 1);
}

/* Spread over the bytes of one message, they add up. */
static void too_many_in_pieces(void **state)
{
	struct wire *w = *state;
	const struct proto_header hdr = { 60, VU_FLAG_VERSION, 8 };
	int fds[VU_MAX_FDS];

	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = w->ring[0].kick_fd;
	assert_int_equal(frontend_send_bytes(&w->fe, &hdr, 4, fds, VU_MAX_FDS), 0);
	frontend_pump(&w->fe);
	assert_non_null(w->session);
	assert_int_equal(frontend_send_bytes(&w->fe, (const uint8_t *)&hdr + 4, 4, fds, 1), 0);
	wire_expect_ended(w, -EPROTO);
	wire_restart(w);
}

/* No descriptor left in this process: the kernel cuts them off, the message is not
 * taken for one without. */
static void none_left_here(void **state)
{
	struct wire *w = *state;
	struct rlimit old, tight;
	const uint64_t word = 1;
	int probe = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	close(probe);
	tight = old, tight.rlim_cur = (rlim_t)probe;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_VRING_CALL, VU_FLAG_VERSION, &word, 8,
				       &w->ring[1].call_fd, 1),
			 0);
	frontend_pump(&w->fe);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wire_expect_ended(w, -EPROTO);
	wire_restart(w);
}

/* ---- ends ---------------------------------------------------------------- */

static void hang_up(void **state)
{
	struct wire *w = *state;

	shutdown(w->fe.sock, SHUT_WR);
	wire_expect_ended(w, 0);
	wire_restart(w);
}

static void hang_up_in_a_message(void **state)
{
	struct wire *w = *state;
	const struct proto_header hdr = { VHOST_USER_SET_VRING_CALL, VU_FLAG_VERSION, 8 };

	assert_int_equal(frontend_send_bytes(&w->fe, &hdr, 7, &w->ring[0].call_fd, 1), 0);
	frontend_pump(&w->fe);
	shutdown(w->fe.sock, SHUT_WR);
	wire_expect_ended(w, -ECONNRESET);
	wire_restart(w);
}

static void closed_from_here(void **state)
{
	struct wire *w = *state;

	vu_session_close(w->session, -ETIME);
	assert_string_equal(vu_session_state(w->session), "closing");
	vu_session_close(w->session, -EIO); /* the first reason counts */
	assert_int_equal(w->n_closed, 0);
	wire_expect_ended(w, -ETIME);
	assert_int_equal(w->queue[0].n_stop, 1);
	wire_restart(w);
}

static void close_on_kick(struct wire *w, struct vu_queue *q)
{
	vu_session_close(q->session, 0);
}

/* From within a callback, for that callback's own source. */
static void closed_from_a_callback(void **state)
{
	struct wire *w = *state;

	w->on_kick = close_on_kick;
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	wire_expect_ended(w, 0);
	assert_int_equal(w->queue[0].n_kick, 1);
	wire_restart(w);
}

/* A frontend that asks and never listens is not read any further; when it listens
 * again, nothing was lost. */
static void deaf_frontend(void **state)
{
	struct wire *w = *state;
	const struct proto_header ask = { VHOST_USER_GET_FEATURES, VU_FLAG_VERSION, 0 };
	unsigned sent = 0, received = 0;
	int small = 1;

	setsockopt(w->fe.sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (unsigned idle = 0; idle < 64; idle++) {
		while (send(w->fe.sock, &ask, sizeof(ask), MSG_DONTWAIT) == sizeof(ask))
			sent++, idle = 0;
		wire_turn(w);
	}
	wire_expect_alive_sibling(w);
	assert_true(sent > 100);
	while (received < sent) {
		struct proto_header hdr;
		uint64_t features;

		assert_int_equal(frontend_recv(&w->fe, &hdr, &features, sizeof(features)), 8);
		assert_int_equal(features, vu_offered_features(&wire_ops));
		received++;
	}
	wire_expect_alive(w);
}

/* ---- what is logged ------------------------------------------------------ */

/* Run fn with stderr in a file; returns the lines it wrote, the text in buf. */
static unsigned lines_of(struct wire *w, void (*fn)(struct wire *w), char *buf, size_t size)
{
	auto_fd int file = memfd_create("stderr", MFD_CLOEXEC);
	auto_fd int kept = dup(STDERR_FILENO);
	unsigned lines = 0;
	ssize_t n;

	assert_true(file >= 0 && kept >= 0);
	log_set_level(LOG_LEVEL_WARNING);
	dup2(file, STDERR_FILENO);
	fn(w);
	dup2(kept, STDERR_FILENO);
	log_set_level(LOG_LEVEL_ERROR);
	n = pread(file, buf, size - 1, 0);
	assert_true(n >= 0);
	buf[n] = '\0';
	for (const char *c = buf; *c; c++)
		lines += *c == '\n';
	return lines;
}

static void send_short(struct wire *w)
{
	const uint32_t half = 0;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_VRING_NUM, VU_FLAG_VERSION, &half, 4,
				       NULL, 0),
			 0);
	wire_expect_ended(w, -EPROTO);
}

static void send_refusable(struct wire *w)
{
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 0, 3), 1);
}

/* A malformed message: one line, with the session, the request and the fault. */
static void one_line_for_the_end(void **state)
{
	struct wire *w = *state;
	char text[4096];

	assert_int_equal(lines_of(w, send_short, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "[wire]"));
	assert_non_null(strstr(text, "SET_VRING_NUM: payload too short"));
	wire_restart(w);
}

static void reconnect(struct wire *w)
{
	for (unsigned i = 0; i < 100; i++) {
		send_short(w);
		wire_restart(w);
	}
}

/* Nor does it help to connect again: the limit is not the session's. */
static void few_lines_for_reconnects(void **state)
{
	struct wire *w = *state;
	char text[4096];

	assert_int_equal(lines_of(w, reconnect, text, sizeof(text)), LOG_LIMIT_BURST);
	wire_expect_alive(w);
}

/* Refusals come as fast as a frontend likes; lines do not. */
static void few_lines_for_refusals(void **state)
{
	struct wire *w = *state;
	char text[4096];

	assert_in_range(lines_of(w, send_refusable, text, sizeof(text)), 1, LOG_LIMIT_BURST);
	assert_non_null(strstr(text, "refused SET_VRING_NUM"));
	wire_expect_alive(w);
}

/* ---- whole conversations -------------------------------------------------- */

/* QEMU 7.2 with one pair of rings, without waiting for acknowledgements where it
 * does not; then a reset of the guest, and the driver again. */
static void like_qemu(void **state)
{
	struct wire *w = *state;
	struct frontend *fe = &w->fe;
	uint64_t n;
	uint32_t base;

	for (uint32_t i = 0; i < 2; i++) {
		uint64_t word = i;

		assert_int_equal(frontend_send(fe, VHOST_USER_SET_VRING_CALL, VU_FLAG_VERSION,
					       &word, 8, &w->ring[i].call_fd, 1),
				 0);
	}
	assert_int_equal(frontend_negotiate(fe, VERSION_1 | WIRE_FEATURE, ~0ull), 0);
	assert_int_equal(frontend_get_u64(fe, VHOST_USER_GET_QUEUE_NUM, &n), 0);
	assert_int_equal(frontend_get_u64(fe, VHOST_USER_GET_MAX_MEM_SLOTS, &n), 0);
	for (uint32_t boot = 1; boot <= 2; boot++) {
		for (uint32_t i = 0; i < 2; i++)
			assert_int_equal(frontend_ask_state(fe, VHOST_USER_SET_VRING_ENABLE, i, 1),
					 0);
		assert_int_equal(frontend_ask_u64(fe, VHOST_USER_SET_FEATURES, fe->features), 0);
		if (boot == 1)
			assert_int_equal(frontend_memory(fe, WIRE_MEMORY), 0);
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(frontend_ring_start(fe, i, &w->ring[i], false), 0);
			assert_int_equal(w->queue[i].n_start, boot);
			assert_true(w->queue[i].enabled);
		}
		assert_string_equal(vu_session_state(w->session), "running");
		for (uint32_t i = 0; i < 2; i++)
			assert_int_equal(frontend_ring_stop(fe, i, &base), 0);
		assert_string_equal(vu_session_state(w->session), "negotiated");
	}
}

/* QEMU with two pairs negotiates each, the second while the first one runs. */
static void like_qemu_with_two_pairs(void **state)
{
	struct wire *w = *state;
	struct frontend *fe = &w->fe;

	assert_int_equal(frontend_negotiate(fe, VERSION_1 | WIRE_FEATURE, ~0ull), 0);
	assert_int_equal(frontend_memory(fe, WIRE_MEMORY), 0);
	for (uint32_t pair = 0; pair < 2; pair++) {
		uint64_t features;

		assert_int_equal(frontend_get_u64(fe, VHOST_USER_GET_FEATURES, &features), 0);
		assert_int_equal(frontend_ask_u64(fe, VHOST_USER_SET_FEATURES, fe->features), 0);
		for (uint32_t i = 2 * pair; i < 2 * pair + 2; i++)
			assert_int_equal(frontend_ring_start(fe, i, &w->ring[i], true), 0);
	}
	for (uint32_t i = 0; i < WIRE_QUEUES; i++) {
		assert_int_equal(w->queue[i].n_start, 1);
		assert_int_equal(w->queue[i].n_stop, 0);
	}
	assert_int_equal(w->n_negotiated, 1);
}

/* DPDK's virtio-user: calls first, memory before the rings, kicks last. */
static void like_virtio_user(void **state)
{
	struct wire *w = *state;
	struct frontend *fe = &w->fe;
	const uint64_t acks = 1 << VHOST_USER_PROTOCOL_F_REPLY_ACK | 1 << VHOST_USER_PROTOCOL_F_MQ;
	const uint64_t features = VERSION_1 | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES);

	assert_int_equal(frontend_send(fe, VHOST_USER_SET_OWNER, VU_FLAG_VERSION, NULL, 0, NULL, 0),
			 0);
	assert_int_equal(frontend_send(fe, VHOST_USER_SET_PROTOCOL_FEATURES, VU_FLAG_VERSION, &acks,
				       8, NULL, 0),
			 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(
			frontend_ask_fd(fe, VHOST_USER_SET_VRING_CALL, i, w->ring[i].call_fd), 0);
	assert_int_equal(frontend_ask_u64(fe, VHOST_USER_SET_FEATURES, features), 0);
	assert_int_equal(frontend_memory(fe, WIRE_MEMORY), 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(frontend_ring_start(fe, i, &w->ring[i], false), 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(frontend_ask_state(fe, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_true(w->queue[i].n_start == 1 && w->queue[i].enabled);
}

/* A frontend of the first days: no protocol features, rings start enabled. */
static void without_protocol_features(void **state)
{
	struct wire *w = *state;
	struct frontend *fe = &w->fe;
	const uint64_t features = VERSION_1;

	assert_int_equal(frontend_send(fe, VHOST_USER_SET_FEATURES, VU_FLAG_VERSION, &features, 8,
				       NULL, 0),
			 0);
	frontend_pump(fe);
	for (unsigned i = 0; i < WIRE_QUEUES; i++)
		assert_true(w->queue[i].enabled);
	assert_true(frontend_silent(fe));
}

static void states(void **state)
{
	struct wire *w = *state;
	struct frontend *fe = &w->fe;
	uint32_t base;

	assert_string_equal(vu_session_state(w->session), "connected");
	assert_int_equal(frontend_negotiate(fe, VERSION_1, ~0ull), 0);
	assert_string_equal(vu_session_state(w->session), "connected");
	assert_int_equal(frontend_memory(fe, WIRE_MEMORY), 0);
	assert_string_equal(vu_session_state(w->session), "negotiated");
	assert_int_equal(frontend_ring_start(fe, 0, &w->ring[0], false), 0);
	assert_int_equal(frontend_ring_start(fe, 1, &w->ring[1], false), 0);
	assert_string_equal(vu_session_state(w->session), "running");
	assert_int_equal(frontend_ring_stop(fe, 0, &base), 0);
	assert_string_equal(vu_session_state(w->session), "running");
	assert_int_equal(frontend_ring_stop(fe, 1, &base), 0);
	assert_string_equal(vu_session_state(w->session), "negotiated");
	assert_int_equal(w->n_state, 3); /* told of each change, of nothing else */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(byte_by_byte, acks),
		WIRE_TEST(descriptor_on_any_byte, running),
		WIRE_TEST(many_at_once, acks),
		WIRE_TEST(wrong_headers, connected),
		WIRE_TEST(noise, connected),
		WIRE_TEST(too_many_descriptors_cve_2019_14818, running),
		WIRE_TEST(too_many_in_pieces, running),
		WIRE_TEST(none_left_here, running),
		WIRE_TEST(hang_up, running),
		WIRE_TEST(hang_up_in_a_message, running),
		WIRE_TEST(closed_from_here, running),
		WIRE_TEST(closed_from_a_callback, running),
		WIRE_TEST(deaf_frontend, connected),
		WIRE_TEST(one_line_for_the_end, running),
		WIRE_TEST(few_lines_for_reconnects, connected),
		WIRE_TEST(few_lines_for_refusals, acks),
		WIRE_TEST(like_qemu, acks),
		WIRE_TEST(like_qemu_with_two_pairs, acks),
		WIRE_TEST(like_virtio_user, connected),
		WIRE_TEST(without_protocol_features, connected),
		WIRE_TEST(states, connected),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
