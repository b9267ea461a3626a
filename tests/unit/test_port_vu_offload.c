/* SPDX-License-Identifier: MIT */
/* Offloads between guests: what passes, what is done for whom, and what is refused at the door. */
#include "port_vu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "inet.h"
#include "offload.h"
#include "port_vu_features.h"
#include "vu_station.h"

#define ALL_OFFLOADS PORT_VU_OFFLOAD_FEATURES

#define L4   34
#define HEAD (L4 + INET_TCP_LEN)

/* A TCP packet over IPv4 with n bytes of payload, to be cut at `mss`; its header in front.  Returns the bytes of
 * both. */
static uint32_t make_tcp(uint8_t *b, uint32_t n, uint16_t mss)
{
	struct nethdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			      .gso_type = mss ? VIRTIO_NET_HDR_GSO_TCPV4 : 0,
			      .hdr_len = le16_of(mss ? HEAD : 0),
			      .gso_size = le16_of(mss),
			      .csum_start = le16_of(L4),
			      .csum_offset = le16_of(16) };
	uint32_t len = HEAD + n;
	uint8_t *f = b + NETHDR_LEN;

	make_frame(f, len, 0xb, 0xa, 1);
	memcpy(f + 12, "\x08\0\x45\0\0\0\0\1\0\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2", 22);
	inet_put_be16(f + 16, len - 14);
	f[L4 + 12] = 0x50;
	f[L4 + 13] = 0x18;
	inet_put_be16(f + L4 + 16,
		      0x0a00 + 1 + 0x0a00 + 2 + INET_TCP + len - L4); /* fits 16 bits */
	memcpy(b, &hdr, sizeof(hdr));
	return NETHDR_LEN + len;
}

/* Two guests of these features, who know each other's place. */
static void bring_up_two(struct station *a, uint64_t a_features, struct station *b,
			 uint64_t b_features, struct fixture *fx, uint32_t buf)
{
	bring_up(a, fx, 0, a_features, 1);
	bring_up(b, fx, 1, b_features, 1);
	post_buffers(a, 0, BUF_SIZE);
	send_frame(b, 60, 0xa, 0xb);
	expect_frame(a, 60, 0xa, 0xb, 7);
	post_buffers(b, 0, buf);
}

static void send_bytes(struct station *st, const void *bytes, uint32_t len)
{
	queue_bytes(st, 0, bytes, len, 0);
	driver_kick(&st->tx[0]);
	settle(st->fx);
	assert_int_equal(reap_sent(st), 1);
}

/* Guest to guest a large packet stays one, header and all. */
static void test_passes(void **state)
{
	static const uint32_t payload[] = { 0, 1000, 1448, 30000, 65000 };
	static uint8_t b[MAX_SIZE];
	static struct station one, two;
	struct fixture *fx = *state;

	for (unsigned i = 0; i < array_size(payload); i++) {
		const struct nethdr *got = (const void *)two.got, *sent = (const void *)b;
		uint32_t len = make_tcp(b, payload[i], i ? 1448 : 0);

		bring_up_two(&one, MRG | ALL_OFFLOADS, &two, MRG | ALL_OFFLOADS, fx, 1526);
		send_bytes(&one, b, len);
		assert_int_equal(receive(&two, 0), len - NETHDR_LEN);
		assert_memory_equal(got, sent, offsetof(struct nethdr, num_buffers));
		assert_int_equal(le16_get(got->num_buffers), (len + 1525) / 1526);
		assert_memory_equal(two.got + NETHDR_LEN, b + NETHDR_LEN, len - NETHDR_LEN);
		expect_nothing(&two);
		assert_int_equal(fx->port[1]->port.stats.egress_frames, 1);
		go_away(&one);
		go_away(&two);
		fx->port[1]->port.stats.egress_frames = 0;
	}
}

/* A guest that takes no part in it gets what any wire would bring. */
static void test_lowered(void **state)
{
	static const uint64_t features[] = { 0, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM),
					     BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |
						     BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) };
	static uint8_t b[MAX_SIZE];
	static struct station one, two;
	struct fixture *fx = *state;
	uint32_t len = make_tcp(b, 20000, 1448);

	for (unsigned i = 0; i < array_size(features); i++) {
		struct nethdr *got = (void *)two.got;
		uint32_t at = 0;

		bring_up_two(&one, MRG | ALL_OFFLOADS, &two, MRG | features[i], fx, BUF_SIZE);
		send_bytes(&one, b, len);
		for (unsigned k = 0; k < 14; k++) {
			int n = receive(&two, 0);

			assert_int_equal(n, HEAD + min(1448u, 20000 - at));
			assert_int_equal(got->gso_type, VIRTIO_NET_HDR_GSO_NONE);
			assert_int_equal(got->flags, features[i] ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
			offload_complete(two.got + NETHDR_LEN, (uint32_t)n, got);
			assert_true(offload_verify(two.got + NETHDR_LEN, (uint32_t)n));
			assert_memory_equal(two.got + NETHDR_LEN + HEAD, b + NETHDR_LEN + HEAD + at,
					    (uint32_t)n - HEAD);
			at += (uint32_t)n - HEAD;
		}
		assert_int_equal(at, 20000);
		expect_nothing(&two);
		go_away(&one);
		go_away(&two);
	}
}

/* What was not negotiated is refused, and costs nobody else anything. */
static void test_refused(void **state)
{
	static uint8_t b[MAX_SIZE];
	static struct station one, two;
	struct fixture *fx = *state;
	const struct port_stats *stats = &fx->port[0]->port.stats;
	uint32_t len;

	bring_up_two(&one, MRG | BIT_ULL(VIRTIO_NET_F_CSUM), &two, MRG | ALL_OFFLOADS, fx,
		     BUF_SIZE);
	len = make_tcp(b, 5000, 1448);
	send_bytes(&one, b, len);
	assert_int_equal(stats->ingress_drop_header, 1);
	len = make_tcp(b, 100, 0);
	((struct nethdr *)b)->csum_start = le16_of((uint16_t)(len - NETHDR_LEN));
	send_bytes(&one, b, len);
	assert_int_equal(stats->ingress_drop_header, 2);
	expect_nothing(&two);
	len = make_tcp(b, 100, 0);
	send_bytes(&one, b, len);
	assert_int_equal(receive(&two, 0), len - NETHDR_LEN);
	assert_int_equal(((struct nethdr *)two.got)->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	go_away(&one);
	go_away(&two);
}

/* DATA_VALID reaches who negotiated to see it, and nobody else. */
static void test_data_valid(void **state)
{
	static uint8_t b[MAX_SIZE];
	static struct station one, two;
	struct fixture *fx = *state;

	for (unsigned takes = 0; takes < 2; takes++) {
		uint64_t features = takes ? BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) : 0;
		uint32_t len = make_tcp(b, 100, 0);

		bring_up_two(&one, MRG, &two, MRG | features, fx, BUF_SIZE);
		memset(b, 0, NETHDR_LEN);
		b[0] = VIRTIO_NET_HDR_F_DATA_VALID;
		send_bytes(&one, b, len);
		assert_int_equal(receive(&two, 0), len - NETHDR_LEN);
		assert_int_equal(two.got[0], takes ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
		go_away(&one);
		go_away(&two);
	}
}

/* A frontend that asks us for the link's state is told when it changes. */
static void test_carrier(void **state)
{
	static struct station one;
	struct fixture *fx = *state;
	struct sw_port *p = &fx->port[0]->port;
	struct virtio_net_config c;
	struct proto_header hdr;
	int pair[2];

	bring_up(&one, fx, 0, MRG | BIT_ULL(VIRTIO_NET_F_STATUS), 1);
	assert_int_equal(frontend_ask_u64(&one.fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
						  BIT_ULL(VHOST_USER_PROTOCOL_F_MQ) |
						  BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) |
						  BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ)),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	assert_int_equal(frontend_ask(&one.fe, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
			 0);
	close(pair[1]);
	for (unsigned up = 0; up < 2; up++) {
		sw_set_link(p, SW_DOWN_ADMIN, up);
		assert_int_equal(read(pair[0], &hdr, sizeof(hdr)), sizeof(hdr));
		assert_int_equal(hdr.request, VU_BACKEND_CONFIG_CHANGE_MSG);
		assert_int_equal(
			port_vu_ops.get_config(fx->port[0]->seat.session, &c, 0, sizeof(c)), 0);
		assert_int_equal(c.status, up ? VIRTIO_NET_S_LINK_UP : 0);
	}
	close(pair[0]);
	go_away(&one);
}

#define PORT_TEST(name)                                                  \
	{ #name, name, setup, teardown, NULL },                          \
		{ #name "_packed", name, setup_packed, teardown, NULL }, \
	{                                                                \
#name "_mixed", name, setup_mixed, teardown, NULL        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PORT_TEST(test_passes),
		PORT_TEST(test_lowered),
		PORT_TEST(test_refused),
		PORT_TEST(test_data_valid),
		cmocka_unit_test_setup_teardown(test_carrier, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
